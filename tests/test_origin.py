import json
import re
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import pearsonr, spearmanr

import fctoolbox as fct
from fctoolbox import origin
from fctoolbox.chunks import in_chunks
from fctoolbox.nulls import euclidean_distances
from fctoolbox.nulls.edges import EdgeStatistics
from tests.conftest import make_system


def quick(system, **settings):
    return fct.analyse_origin(system, **{"n_nulls": 19, "n_restarts": 3, "rng": 0, **settings})


def test_every_number_from_its_parts(toy):
    report = quick(toy, n_nulls=50)
    similarity = fct.cosine_similarity(toy.projection.weights)
    connectivity = fct.functional_connectivity(toy.activity.timeseries)
    pairs = np.triu_indices(30, 1)
    assert report.relationship.pearson_r == pytest.approx(
        pearsonr(similarity[pairs], connectivity[pairs])[0], abs=1e-12
    )
    assert report.relationship.spearman_rho == pytest.approx(
        spearmanr(similarity[pairs], connectivity[pairs])[0], abs=1e-12
    )
    assert report.communities.q == pytest.approx(fct.modularity(similarity, report.communities.labels), abs=1e-12)
    assert report.induced.q == pytest.approx(fct.modularity(connectivity, report.communities.labels), abs=1e-12)
    assert report.induced.q_best >= report.induced.q
    assert report.induced.nulls[0].n == 50


def test_mantel_nulls_agree_with_scipy(toy):
    similarity = fct.cosine_similarity(toy.projection.weights)
    connectivity = fct.functional_connectivity(toy.activity.timeseries)
    orders = np.stack([np.random.default_rng(i).permutation(30) for i in range(5)])
    pairs = np.triu_indices(30, 1)
    expected = [pearsonr(similarity[np.ix_(o, o)][pairs], connectivity[pairs])[0] for o in orders]
    edges = EdgeStatistics.of(connectivity)
    found = [edges.pearson_r(similarity[np.ix_(order, order)]) for order in orders]
    np.testing.assert_allclose(found, expected, atol=1e-12)


def test_same_rng_same_report_whatever_the_workers(toy):
    def content(**settings):
        report = quick(toy, **settings).to_dict()
        del report["provenance"]["seconds"]
        return report

    assert content(rng=4) == content(rng=4, n_jobs=2)
    other = content(rng=5)
    assert other["induced_modularity"]["nulls"] != content(rng=4)["induced_modularity"]["nulls"]


def test_a_null_does_not_depend_on_which_others_are_asked_for(toy):
    both, one = quick(toy, null=["permutation", "variogram"]), quick(toy, null="variogram")
    assert both.induced.nulls[1].to_dict() == one.induced.nulls[0].to_dict()
    assert [test.model for test in both.induced.nulls] == ["permutation", "variogram"]
    assert [test.model for test in both.relationship.nulls] == ["permutation"]
    assert one.relationship.nulls == ()


def test_without_rng_the_seed_is_drawn_and_named(toy):
    first = quick(toy, rng=None)
    assert first.rng != quick(toy, rng=None).rng
    again = quick(toy, rng=int(first.rng))
    assert again.induced.nulls[0].mean == first.induced.nulls[0].mean
    assert "PCG64" in quick(toy, rng=np.random.default_rng(0)).rng


def test_order_of_the_units_does_not_matter(rng):
    system = make_system(rng)
    order = rng.permutation(system.n_units)
    report, shuffled = quick(system, n_restarts=20), quick(system.select_units(order), n_restarts=20)
    assert shuffled.relationship.pearson_r == pytest.approx(report.relationship.pearson_r, abs=1e-12)
    assert shuffled.communities.q == pytest.approx(report.communities.q, abs=1e-12)
    assert shuffled.induced.q == pytest.approx(report.induced.q, abs=1e-12)


def test_units_without_input_and_constant_units_are_dropped_and_named(rng):
    weights, timeseries = rng.standard_normal((12, 5)), rng.standard_normal((50, 12))
    weights[2] = 0
    timeseries[:, [2, 7]] = 1.5
    system = make_system(rng, projection=fct.InputProjection(weights), activity=fct.RecurrentActivity(timeseries))
    report = quick(system)
    assert [(each.unit, each.reason) for each in report.dropped] == [
        ("u2", "receives no input; constant"),
        ("u7", "constant"),
    ]
    kept = [i for i in range(12) if i not in (2, 7)]
    assert report.system.units == tuple(f"u{i}" for i in kept)
    np.testing.assert_allclose(report.connectivity, np.corrcoef(timeseries[:, kept].T), atol=1e-12)
    np.testing.assert_allclose(report.similarity, fct.cosine_similarity(weights[kept]), atol=1e-12)
    with pytest.raises(fct.InputError, match=r"units \[u2, u7\] are constant"):
        quick(system, constant_units="error")


def test_fisher_z_and_r_of_the_same_data_agree(rng):
    r = np.corrcoef(rng.standard_normal((40, 12)).T)
    off = r - np.eye(12)
    as_r = make_system(rng, activity=fct.RecurrentActivity(connectivity=r))
    as_z = fct.RecurrentSystem(
        as_r.name, as_r.units, as_r.projection, fct.RecurrentActivity(connectivity=np.arctanh(off), scale="fisher-z"),
        as_r.provenance,
    )  # fmt: skip
    first, second = quick(as_r), quick(as_z)
    assert second.relationship.pearson_r == pytest.approx(first.relationship.pearson_r, abs=1e-12)
    assert second.induced.q == pytest.approx(first.induced.q, abs=1e-12)
    assert second.policies["fc_scale"] == "fisher-z, brought to r by tanh"


def test_the_keys_of_report_json_are_those_of_schema_1(toy):
    report = quick(toy).to_dict(command="typed")
    null = {"model", "n", "mean", "sd", "z", "p_value"}
    assert list(report) == [
        "schema",
        "system",
        "policies",
        "relationship",
        "communities",
        "induced_modularity",
        "provenance",
    ]
    assert report["schema"] == 1
    assert set(report["system"]) == {
        "name",
        "n_units",
        "n_inputs",
        "species",
        "citation",
        "license",
        "dropped",
    }
    assert set(report["policies"]) == {
        "similarity", "diagonal", "constant_units", "fc_scale", "objective", "resolution", "n_restarts", "null",
    }  # fmt: skip
    assert set(report["relationship"]) == {
        "pearson_r",
        "spearman_rho",
        "nulls",
        "partial_r",
        "partial_nulls",
        "by_distance",
    }
    assert set(report["communities"]) == {"n", "sizes", "q", "labels"}
    assert set(report["induced_modularity"]) == {"q", "q_best", "nulls"}
    assert set(report["provenance"]) == {"versions", "files", "notes", "rng", "command", "seconds"}
    assert set(report["relationship"]["nulls"][0]) == set(report["induced_modularity"]["nulls"][0]) == null
    assert sum(report["communities"]["sizes"]) == report["system"]["n_units"]
    assert json.loads(json.dumps(report, allow_nan=False)) == report


def test_the_call_holds_the_options_of_the_source(toy):
    report = quick(toy)
    again = eval(report.call, {"fct": fct})
    assert again.relationship.pearson_r == report.relationship.pearson_r
    assert again.induced.nulls[0].to_dict() == report.induced.nulls[0].to_dict()
    assert again.call == report.call


def test_the_sentence_says_what_the_numbers_say(toy):
    expected = (
        r"induced Q\* of 0\.\d{3} \(the same modules placed on units at random: -?0\.\d{3} ± 0\.\d{3}, "
        r"p = 0\.05 of 19 nulls, the smallest possible\), against 0\.\d{3} for the best"
    )
    assert re.search(expected, quick(toy).sentence())
    both = quick(toy, null=["permutation", "variogram"]).sentence()
    assert "modules from maps with the same variogram" in both
    null = fct.load("toy", planted=False, n_units=20, n_inputs=8, n_times=200)
    assert "smallest possible" not in quick(null).sentence()
    for word in ("explain", "because", "significant"):
        assert word not in quick(toy).sentence()


def test_the_caution_stands_beside_the_answer(toy):
    report = quick(toy)
    assert "as the size of an association and not as its cause" in report.caution()
    assert "numbered" not in report.caution()
    assert "do not keep modules in one piece" in quick(toy, null="variogram").caution()
    assert "do not keep" not in quick(toy, null="regrow").caution()
    assert "With one input the cosine is 1 or -1" not in report.caution()


def test_one_input_is_a_matter_of_signs_and_said_to_be(toy):
    one = fct.InputProjection(toy.projection.weights[:, :1])
    report = quick(replace(toy, projection=one))
    assert "With one input the cosine is 1 or -1" in report.caution()
    assert set(np.unique(np.round(report.similarity, 12))) <= {-1, 0, 1}
    assert "Compact modules beat permutation whether" in quick(toy, null=["permutation", "projection"]).caution()
    assert "not as its cause" in report._repr_html_()


def test_units_left_out_before_are_reported_too(rng):
    provenance = fct.Provenance("nobody", "CC0", synthetic=True, left_out={"elsewhere": "not in all files"})
    report = quick(make_system(rng, provenance=provenance))
    assert report.to_dict()["system"]["dropped"] == [{"unit": "elsewhere", "reason": "not in all files"}]


def test_versions_are_of_what_took_part(rng):
    plain = quick(make_system(rng)).to_dict()["provenance"]["versions"]
    assert set(plain) == {"python", "fctoolbox", "numpy", "scipy", "numba"}
    provenance = fct.Provenance("nobody", "CC0", synthetic=True, packages=("pluggy", "no-such-distribution"))
    geometry = fct.Geometry(positions=rng.standard_normal((16, 3)))
    system = make_system(rng, n_units=16, provenance=provenance, geometry=geometry)
    versions = quick(system, null="variogram", n_nulls=3).to_dict()["provenance"]["versions"]
    assert set(versions) - set(plain) == {"pluggy", "no-such-distribution"}
    assert versions["no-such-distribution"] == "not installed"


def test_variogram_uses_distances_or_positions(rng, toy):
    positions = toy.geometry.positions
    by_distance = fct.RecurrentSystem(
        toy.name, toy.units, toy.projection, toy.activity, toy.provenance,
        geometry=fct.Geometry(distances=euclidean_distances(positions)),
    )  # fmt: skip
    first, second = (quick(system, null="variogram").induced.nulls[0] for system in (toy, by_distance))
    np.testing.assert_array_equal(first.values, second.values)
    with pytest.raises(fct.InputError, match="neither positions nor distances"):
        quick(make_system(rng), null="variogram")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"null": "permutaton"}, "Did you mean 'permutation'"),
        ({"null": ()}, "null is empty; name one or several of: permutation, variogram"),
        ({"n_nulls": 0}, "n_nulls is 0"),
        ({"n_nulls": 10.5}, "n_nulls is 10.5; it must be a whole number of at least 1"),
        ({"rng": -1}, "rng is -1"),
        ({"rng": 1.5}, "rng is 1.5; it must be a whole number"),
        ({"rng": True}, "rng is True; it must be a whole number"),
        ({"rng": "7"}, "rng is '7'; it must be a whole number"),
        ({"rng": np.random.RandomState(0)}, "rng is RandomState.*a numpy.random.Generator, or None"),
        ({"constant_units": "ignore"}, "must be 'drop' or 'error'"),
    ],
)
def test_bad_settings(toy, settings, message):
    with pytest.raises(fct.InputError, match=message):
        quick(toy, **settings)


LINE = np.outer(np.arange(16.0), [1, 0, 0])


@pytest.mark.parametrize(
    ("geometry", "message"),
    [
        (None, "neither positions nor distances"),
        (fct.Geometry(positions=LINE[:12]), "at least 15 units"),
        (fct.Geometry(positions=np.ones((16, 3))), "those of 16 units lie at the same place"),
        (fct.Geometry(distances=1 - np.eye(16)), "which are all 1 here: a variogram needs several"),
    ],
    ids=["nowhere", "few units", "one place", "equally far"],
)
def test_a_null_that_cannot_be_made_is_refused_before_the_search(rng, monkeypatch, geometry, message):
    def search(*_, **__):
        raise AssertionError("the search had begun")

    monkeypatch.setattr(origin, "detect_communities", search)
    system = make_system(rng, n_units=12 if "15" in message else 16, geometry=geometry)
    with pytest.raises(fct.InputError, match=message):
        quick(system, null=["permutation", "variogram"])


def test_of_a_single_module_all_nulls_are_the_same(rng):
    projection = fct.InputProjection(rng.random((16, 5)))
    system = make_system(rng, n_units=16, projection=projection, geometry=fct.Geometry(positions=LINE))
    report = quick(system, null=["permutation", "variogram"], resolution=0.1)
    assert report.communities.n == 1
    assert [(test.z, test.p_value) for test in report.induced.nulls] == [(None, 1.0)] * 2


def test_long_nulls_show_how_far_they_are(toy, monkeypatch):
    shown = []
    monkeypatch.setattr(origin, "in_chunks", lambda task, **how: shown.append(how["what"]) or in_chunks(task, **how))
    quick(toy, null=["permutation", "projection"])
    assert shown == ["permutation nulls", "projection nulls"]


def test_nothing_to_relate(rng):
    same = make_system(rng, projection=fct.InputProjection(np.ones((12, 3))))
    with pytest.raises(fct.InputError, match="the same pattern, or only one input"):
        quick(same)
    silent = np.zeros((12, 5))
    silent[:3] = rng.standard_normal((3, 5))
    with pytest.raises(fct.InputError, match=r"only 3 of the 12 units .* Left out: u3 .receives no input"):
        quick(make_system(rng, projection=fct.InputProjection(silent)))
    with pytest.raises(fct.InputError, match=r"only 3 of the 3 units .* at least 4 are needed$"):
        quick(make_system(rng, n_units=3))


@pytest.mark.parametrize("scale", [None, "pearson-r", "fisher-z"])
def test_nobody_can_change_what_a_report_holds(rng, scale):
    r = 0.9 * np.corrcoef(rng.standard_normal((12, 40)))
    activity = {} if scale is None else {"activity": fct.RecurrentActivity(connectivity=r, scale=scale)}
    report = quick(make_system(rng, **activity))
    for array in (report.similarity, report.connectivity, report.communities.labels, report.induced.nulls[0].values):
        assert not array.flags.writeable


@pytest.mark.parametrize("scale", ["pearson-r", "fisher-z"])
def test_triangles_that_differ_by_rounding_are_averaged(rng, scale):
    # Small correlations beside a large diagonal: the difference is within the tolerance of the whole matrix alone.
    connectivity = 0.02 * np.corrcoef(rng.standard_normal((12, 40)))
    np.fill_diagonal(connectivity, 0.9999)
    connectivity = connectivity + np.triu(np.full((12, 12), 5e-5), 1)
    activity = fct.RecurrentActivity(connectivity=connectivity, scale=scale)
    report = quick(make_system(rng, activity=activity))
    np.testing.assert_array_equal(report.connectivity, report.connectivity.T)
    expected = connectivity if scale == "pearson-r" else np.tanh(connectivity)
    np.testing.assert_allclose(report.connectivity, expected, atol=2.6e-5)


def test_notebook_view_escapes(rng):
    report = quick(make_system(rng, name="<b> (synthetic)"))
    view = report._repr_html_()
    assert "&lt;b&gt;" in view
    assert "induced Q*" in view


def test_the_resolution_is_used_throughout(toy):
    report = quick(toy, resolution=1.7, n_restarts=10)
    connectivity = fct.functional_connectivity(toy.activity.timeseries)
    assert report.induced.q == pytest.approx(
        fct.modularity(connectivity, report.communities.labels, resolution=1.7), abs=1e-12
    )
    best = fct.detect_communities(connectivity, resolution=1.7, n_restarts=10, rng=1).q
    assert report.induced.q_best == pytest.approx(best, abs=1e-9)
    assert report.communities.q == pytest.approx(
        fct.modularity(report.similarity, report.communities.labels, resolution=1.7), abs=1e-12
    )
    # Q of random partitions falls with the resolution.
    assert report.induced.nulls[0].mean < quick(toy).induced.nulls[0].mean - 0.05


def test_q_best_is_never_below_the_induced_q(toy, monkeypatch):
    def poor(matrix, **settings):
        found = fct.detect_communities(matrix, **settings)
        if np.array_equal(matrix, fct.functional_connectivity(toy.activity.timeseries)):
            return replace(found, labels=np.zeros(30, dtype=int), q=-1.0)
        return found

    monkeypatch.setattr(origin, "detect_communities", poor)
    report = quick(toy)
    assert report.induced.q_best == report.induced.q > 0
