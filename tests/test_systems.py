import json
import re
import warnings
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import wilcoxon

import fctoolbox as fct
from fctoolbox.chunks import Workers
from fctoolbox.systems import analyse_systems, cohens_d, holm, network_labels, rank_biserial
from tests.conftest import make_system
from tests.nulls.meshes import caps, sphere

pytestmark = pytest.mark.filterwarnings("ignore:with .* nulls and .* networks no corrected p")

NO_CACHE = Workers(cache=False)


def quick(system, annotation="nets", **settings):
    return analyse_systems(system, annotation, **({"n_nulls": 199, "rng": 0, "workers": NO_CACHE} | settings))


def on_sphere(labels, weights, surface, **changes):
    n_units = len(labels)
    surface = replace(surface, sphere=surface.vertices, hemispheres=("left",) * n_units)  # a whole sphere is one
    return make_system(
        np.random.default_rng(0),
        n_units=n_units,
        projection=fct.InputProjection(weights),
        activity=fct.RecurrentActivity(connectivity=np.eye(n_units)),
        geometry=fct.Geometry(positions=surface.vertices, surface=surface),
        annotations={"nets": tuple(f"net {label}" for label in labels)},
        **changes,
    )


def smooth_fields(surface, n_fields, mm, rng):
    distances = np.linalg.norm(surface.vertices[:, None] - surface.vertices, axis=2)
    kernel = np.exp(-(distances**2) / (2 * mm**2))
    return kernel @ rng.standard_normal((len(distances), n_fields)) / np.sqrt((kernel**2).sum(axis=1))[:, None]


SURFACE = sphere(300)
LABELS = caps(SURFACE, 8, 3)
PLANTED = {f"net {k}" for k in range(7)}


@pytest.fixture(scope="module")
def planted():
    """Units of a network share a pattern, in all networks but net 7, whose units share nothing."""
    rng = np.random.default_rng(7)
    patterns = rng.standard_normal((8, 30))
    patterns[7] = 0
    return on_sphere(LABELS, patterns[LABELS] + rng.standard_normal((300, 30)), SURFACE)


@pytest.fixture(scope="module")
def found(planted):
    return quick(planted)


def test_planted_networks_are_found(found):
    assert found.null == "spin"
    assert {each.name for each in found.concentrated} == PLANTED
    assert found.networks[-1].name == "net 7"
    for each in found.networks[:-1]:
        assert each.cohens_d > 1
        assert each.rank_biserial > 0.9
    assert abs(found.networks[-1].cohens_d) < 0.5


def test_shuffled_annotations_are_not_found(planted):
    rng = np.random.default_rng(4)
    shuffled = replace(planted, annotations={"nets": tuple(rng.permutation(planted.annotations["nets"]))})
    for null in ("spin", "permutation"):
        assert not quick(shuffled, null=null).concentrated
    assert max(abs(each.cohens_d) for each in quick(shuffled).networks) < 0.5


@pytest.mark.parametrize("null", ["regrow", "permutation"])
def test_other_nulls_find_planted_networks(planted, null):
    report = quick(planted, null=null)
    assert report.null == null
    found = {each.name for each in report.concentrated}
    assert len(found) >= 6  # a small network regrown within a large one is nearly as concentrated
    assert found <= PLANTED


def test_spins_reject_about_as_often_as_they_say():
    # Smooth inputs that know nothing of the networks; the share of p ≤ 0.1 over 60 × 5 networks.
    rng = np.random.default_rng(11)
    rejected = {"spin": [], "permutation": []}
    for k in range(60):
        labels = caps(SURFACE, 5, 100 + k)
        if np.bincount(labels, minlength=5).min() < 2:
            continue
        system = on_sphere(labels, np.abs(smooth_fields(SURFACE, 20, 20.0, rng)), SURFACE)
        for null, its in rejected.items():
            its += [each.test.p_value <= 0.1 for each in quick(system, null=null, n_nulls=49, rng=k).networks]
    assert 0.05 < np.mean(rejected["spin"]) < 0.17
    assert np.mean(rejected["permutation"]) > 0.8  # what a null without space would make of them


def test_the_numbers_are_those_of_the_similarity(planted, found):
    similarity = fct.cosine_similarity(planted.projection.weights)
    labels = np.array(planted.annotations["nets"])
    for each in found.networks:
        inside = labels == each.name
        own = (similarity[np.ix_(inside, inside)].sum(axis=1) - 1) / (inside.sum() - 1)
        others = similarity[np.ix_(inside, ~inside)].mean(axis=1)
        assert each.n_units == inside.sum()
        assert each.within == pytest.approx(own.mean())
        assert each.others == pytest.approx(others.mean())
        assert each.cohens_d == pytest.approx((own - others).mean() / (own - others).std(ddof=1))
        assert each.concentration == pytest.approx((own - others).mean())
    assert [each.rank for each in found.networks] == list(range(1, 9))
    values = [each.concentration for each in found.networks]
    assert values == sorted(values, reverse=True)
    assert found.observed_lead == pytest.approx(values[0] - values[1])
    assert (found.lead.values >= 0).all()  # of whichever is first under the null
    nulls = np.sort([each.test.values for each in found.networks], axis=0)
    np.testing.assert_allclose(found.lead.values, nulls[-1] - nulls[-2])


def test_neither_the_order_of_units_nor_the_scale_matters(planted, found):
    order = np.random.default_rng(2).permutation(planted.n_units)
    moved = replace(planted, projection=fct.InputProjection(7.5 * planted.projection.weights)).select_units(order)
    for one, other in zip(found.networks, quick(moved).networks, strict=True):
        assert one.name == other.name
        assert one.concentration == pytest.approx(other.concentration)
        assert one.cohens_d == pytest.approx(other.cohens_d)
        assert one.paper_t == pytest.approx(other.paper_t)


def test_dense_sparse_and_factored_projections_agree(planted, found):
    from scipy import sparse

    weights = planted.projection.weights
    for same in (sparse.csr_array(weights), fct.FactoredMatrix(weights, np.eye(weights.shape[1]))):
        report = quick(replace(planted, projection=fct.InputProjection(same)), n_nulls=9)
        for one, other in zip(found.networks, report.networks, strict=True):
            assert one.name == other.name
            assert one.concentration == pytest.approx(other.concentration)


def test_the_same_seed_gives_the_same_report(planted, found):
    again = quick(planted, n_jobs=2, workers=None)
    assert [each.test.p_value for each in again.networks] == [each.test.p_value for each in found.networks]
    assert [each.test.mean for each in quick(planted, rng=1).networks] != [each.test.mean for each in found.networks]


def test_a_report_is_as_good_as_its_system(planted, found):
    report = fct.analyse_origin(
        replace(planted, activity=fct.RecurrentActivity(np.random.default_rng(0).standard_normal((50, 300)))),
        n_nulls=2, n_restarts=1, rng=0, workers=NO_CACHE,
    )  # fmt: skip
    assert [each.concentration for each in quick(report).networks] == [each.concentration for each in found.networks]


def test_units_without_network_or_input_stay_out(planted):
    labels = [*planted.annotations["nets"]]
    labels[0], labels[1], labels[2], labels[3] = "none", "", "NaN", " ??? "
    weights = planted.projection.weights.copy()
    weights[[3, 10, 11]] = 0
    report = quick(replace(planted, projection=fct.InputProjection(weights), annotations={"nets": labels}), n_nulls=19)
    assert report.n_unlabelled == 3  # the fourth has no input either
    assert [each.unit for each in report.dropped] == ["u3", "u10", "u11"]
    kept = [i for i in range(300) if i not in (0, 1, 2, 3, 10, 11)]
    alone = quick(planted.select_units(kept), n_nulls=19)
    assert [each.test.values.tolist() for each in report.networks] == [
        each.test.values.tolist() for each in alone.networks
    ]
    assert "3 units without a network" in report.caution()


def test_a_network_that_a_null_loses_counts_against_it(planted):
    labels = [*planted.annotations["nets"]]
    tiny = np.argsort(planted.geometry.positions[:, 2])[:2]
    for i in tiny:
        labels[i] = "tiny"
    weights = planted.projection.weights.copy()
    weights[tiny[1]] = weights[tiny[0]]
    report = quick(replace(planted, projection=fct.InputProjection(weights), annotations={"nets": labels}))
    lost = next(each for each in report.networks if each.name == "tiny")
    assert lost.n_lost > 5
    assert lost.concentration > 0.8
    assert lost.test.p_value >= (1 + lost.n_lost) / 200
    assert f"tiny ({lost.n_lost})" in report.caution()


def test_which_null_is_taken(planted):
    bare = replace(planted, geometry=None)
    assert quick(bare, n_nulls=19).policies["null"] == "auto: permutation"
    flat = replace(planted, geometry=fct.Geometry(positions=planted.geometry.positions))
    assert quick(flat, n_nulls=3).policies["null"] == "auto: regrow"
    assert quick(planted, n_nulls=19, null="spin").policies["null"] == "spin"
    with pytest.raises(fct.InputError, match="no surface with a sphere; use 'regrow'"):
        quick(flat, null="spin")
    with pytest.raises(fct.InputError, match=re.escape("no null of networks is named 'spim'. Did you mean 'spin'?")):
        quick(planted, null="spim")
    few = quick(flat.select_units(np.flatnonzero(LABELS < 2)[:40]), n_nulls=3)
    assert few.null == "regrow"


def test_too_few_nulls_for_the_correction_is_said(planted):
    with pytest.warns(UserWarning, match="with 19 nulls and 8 networks no corrected p can be below 0.4; ask for at l"):
        quick(planted, n_nulls=19)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        quick(planted)


def test_errors(planted):
    with pytest.raises(fct.InputError, match=r"no annotation named 'net'\. Did you mean 'nets'\? It has: nets\."):
        quick(planted, "net")
    with pytest.raises(fct.InputError, match="It has none: add one label per unit"):
        quick(replace(planted, annotations={}), "nets")
    one = replace(planted, annotations={"nets": ("all",) * 300})
    with pytest.raises(fct.InputError, match=re.escape("a single network (all)")):
        quick(one)
    with pytest.raises(fct.InputError, match="no network at all"):
        quick(replace(planted, annotations={"nets": ("none",) * 300}))
    single = replace(planted, annotations={"nets": ("alone", *planted.annotations["nets"][1:])})
    with pytest.raises(fct.InputError, match=r'alone: network has only 1 unit .* --leave-out "alone"'):
        quick(single)
    assert quick(single, n_nulls=3, leave_out=["alone"]).left_out == ("alone",)
    with pytest.raises(fct.InputError, match=r"no network 'net 77' to leave out\. Did you mean 'net"):
        quick(planted, leave_out=["net 77"])
    with pytest.raises(fct.InputError, match="n_nulls is 0"):
        quick(planted, n_nulls=0)


def test_labels_are_stripped(planted):
    labels = network_labels(replace(planted, annotations={"nets": (" net 0 ",) * 300}), "nets")
    assert set(labels) == {"net 0"}


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.5]).tolist() == [1, 1]
    assert holm([0.02]).tolist() == [0.02]


def test_effect_sizes():
    differences = np.array([0.3, -0.1, 0.2, 0.4, -0.5])
    positive = wilcoxon(differences, alternative="greater").statistic  # the sum of the ranks of positive ones
    assert rank_biserial(differences) == pytest.approx(2 * positive / 15 - 1)
    assert rank_biserial([0.1, 0.2]) == 1
    assert rank_biserial([0.0, 0.0]) is None
    assert cohens_d([1.0, 3.0]) == pytest.approx(2 / np.sqrt(2))
    assert cohens_d([1.0, 1.0]) is None
    assert cohens_d([1.0]) is None


def test_json_and_words(found):
    content = json.loads(json.dumps(found.to_dict(command="fctoolbox run x"), allow_nan=False))
    first = content["networks"][0]
    assert first["name"] == found.networks[0].name
    assert first["null"]["model"] == "spin"
    assert first["null"]["low"] < first["null"]["mean"] < first["null"]["high"] < first["concentration"]
    assert content["highest"]["second"] == found.networks[1].name
    assert content["policies"]["correction"] == "Holm, over networks"
    assert found.networks[0].name in found.sentence()
    assert "7 of 8 are more so than the null gives" in found.sentence()
    assert "7 concentrated" in repr(found)
    assert "<table>" in found._repr_html_()
