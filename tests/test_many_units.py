"""Systems beyond `edge_moments.LARGE` units: the same answers, without an array of all pairs."""

import csv
import json
import tracemalloc
from dataclasses import replace

import matplotlib as mpl
import numpy as np
import pytest
from scipy.spatial import ConvexHull

import fctoolbox as fct
from fctoolbox import InputError, chunks, communities, edge_moments
from fctoolbox.chance import NEAREST, chosen, is_large, null_names, refusing_early, space_of
from fctoolbox.chunks import Workers
from fctoolbox.counting import announce_units
from fctoolbox.edge_moments import DensePairs
from fctoolbox.nulls import sphere_positions, spin
from fctoolbox.report.dense import block_means
from fctoolbox.report.figures import STYLE, rendered, report_figures
from fctoolbox.report.places import _leading, _principal, modules_figure
from fctoolbox.system import Surface
from tests.conftest import make_system

N = 300


def spiral(n):
    """Points spread evenly over a sphere of 50 mm."""
    height = 1 - 2 * (np.arange(n) + 0.5) / n
    angle = np.pi * (1 + 5**0.5) * np.arange(n)
    ring = np.sqrt(1 - height**2)
    return 50 * np.stack([ring * np.cos(angle), ring * np.sin(angle), height], axis=1)


def on_a_sphere(n=N, *, n_inputs=12, seed=0, surface=True):
    """Units on a sphere with smooth projections, and an FC that they shape; all in float32."""
    rng = np.random.default_rng(seed)
    where = spiral(n)
    centres = spiral(n_inputs)[rng.permutation(n_inputs)]
    weights = np.exp(-(((where[:, None] - centres) ** 2).sum(axis=-1)) / (2 * 25**2)) + 0.05 * rng.random((n, n_inputs))
    signal = rng.standard_normal((200, n_inputs)) @ (weights - weights.mean(axis=0)).T
    connectivity = fct.functional_connectivity(signal + 0.5 * rng.standard_normal(signal.shape)).astype(np.float32)
    mesh = Surface(where, ConvexHull(where).simplices, np.arange(n), sphere=where, hemispheres=("left",) * n)
    return make_system(
        rng,
        n_units=n,
        projection=fct.InputProjection(weights.astype(np.float32)),
        activity=fct.RecurrentActivity(connectivity=(connectivity + connectivity.T) / 2),
        geometry=fct.Geometry(positions=where, surface=mesh if surface else None),
    )


@pytest.fixture(scope="module")
def system():
    return on_a_sphere()


@pytest.fixture
def many(monkeypatch):
    """From here on, more than 100 units are many."""

    def turn_on():
        monkeypatch.setattr(edge_moments, "LARGE", 100)

    return turn_on


def analysed(system, **settings):
    return fct.analyse_origin(system, **{"n_nulls": 20, "n_restarts": 3, "rng": 0, **settings})


@pytest.fixture(scope="module")
def both(system):
    """The report of the exact path, and that of many units."""
    settings = {"null": ["spin", "regrow", "permutation"]}
    exact = analysed(system, **settings)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(edge_moments, "LARGE", 100)
        return exact, analysed(system, **settings)


def test_many_units_get_the_answers_of_few(both):
    exact, large = both
    assert large.relationship.pearson_r == pytest.approx(exact.relationship.pearson_r, abs=1e-6)
    assert large.relationship.spearman_rho == pytest.approx(exact.relationship.spearman_rho, abs=1e-6)
    assert large.relationship.partial_r == pytest.approx(exact.relationship.partial_r, abs=2e-3)  # 256 classes
    assert large.induced.q == exact.induced.q
    assert large.induced.q_best == exact.induced.q_best
    np.testing.assert_array_equal(large.communities.labels, exact.communities.labels)
    bins = large.relationship.by_distance
    assert sum(each.n_pairs for each in bins) == N * (N - 1) // 2
    for one, other in zip(bins, exact.relationship.by_distance, strict=True):
        assert one.pearson_r == pytest.approx(other.pearson_r, abs=0.02)
        assert one.longest == pytest.approx(other.longest, abs=1.0)


def test_nulls_of_many_units_are_those_of_few(both):
    exact, large = both
    for one, other in zip(large.induced.nulls, exact.induced.nulls, strict=True):
        np.testing.assert_array_equal(one.values, other.values)
    for one, other in zip(large.relationship.nulls, exact.relationship.nulls, strict=True):
        np.testing.assert_allclose(one.values, other.values, atol=1e-6)
    for one, other in zip(large.relationship.partial_nulls, exact.relationship.partial_nulls, strict=True):
        np.testing.assert_allclose(one.values, other.values, atol=5e-3)


def test_what_is_done_in_another_way_is_said(both):
    exact, large = both
    assert "pairs" not in exact.policies
    assert "256 classes" in large.policies["pairs"]
    assert "spin" not in large.policies  # so few can each be given a place of their own
    assert large.to_dict()["schema"] == exact.to_dict()["schema"]
    assert set(large.to_dict()) == set(exact.to_dict())


def test_how_many_are_many():
    assert not is_large(edge_moments.LARGE)
    assert is_large(edge_moments.LARGE + 1)


def test_few_restarts_of_many_units_unless_more_are_asked_for(system, many):
    small = on_a_sphere(20)
    assert analysed(small, n_restarts=None, n_nulls=2).policies["n_restarts"] == 100
    many()
    assert analysed(system, n_restarts=None, n_nulls=2).policies["n_restarts"] == 5
    assert analysed(system, n_restarts=7, n_nulls=2).policies["n_restarts"] == 7


def test_a_memory_map_and_threads_change_nothing(both, system, many, tmp_path):
    np.save(tmp_path / "fc.npy", system.activity.connectivity)
    mapped = np.load(tmp_path / "fc.npy", mmap_mode="r")
    activity = fct.RecurrentActivity(connectivity=mapped)
    assert np.shares_memory(activity.connectivity, mapped)
    many()
    report = analysed(replace(system, activity=activity), null=["spin", "regrow"], workers=Workers(2, cache=False))
    before = both[1].to_dict()
    for part in ("communities", "induced_modularity", "relationship"):
        mine, theirs = report.to_dict()[part], before[part]
        for content in (mine, theirs):
            for name in ("nulls", "partial_nulls"):
                content[name] = [test for test in content.get(name, []) if test["model"] != "permutation"]
        assert mine == theirs
    assert np.shares_memory(report.connectivity, mapped)


def test_an_interrupted_run_goes_on_where_it_was(both, system, many, monkeypatch, tmp_path):
    many()
    monkeypatch.setenv("FCTOOLBOX_CACHE", str(tmp_path))
    monkeypatch.setattr(chunks, "_WORTH_SECONDS", 0)
    settings = {"null": "spin", "n_nulls": 80}
    whole = analysed(system, **settings, workers=Workers(cache=False))
    spun, calls = DensePairs.spun, []
    search, searches = communities._search, []

    def searched(*given):
        searches.append(given)
        return search(*given)

    monkeypatch.setattr(communities, "_search", searched)

    def interrupted(self, similarity, orders):
        calls.append(len(orders))
        if len(calls) == 2:
            raise KeyboardInterrupt
        return spun(self, similarity, orders)

    monkeypatch.setattr(DensePairs, "spun", interrupted)
    with pytest.raises(KeyboardInterrupt):
        analysed(system, **settings)
    resumed = analysed(system, **settings)
    assert calls == [32, 32, 32, 16]  # the first chunk is not computed again
    assert len(searches) == 2 * 3  # nor are the communities
    np.testing.assert_array_equal(resumed.induced.nulls[0].values, whole.induced.nulls[0].values)
    np.testing.assert_array_equal(resumed.relationship.nulls[0].values, whole.relationship.nulls[0].values)
    np.testing.assert_array_equal(
        resumed.relationship.partial_nulls[0].values, whole.relationship.partial_nulls[0].values
    )


def test_little_memory_beside_the_matrices(many, monkeypatch):
    n = 2000
    system = on_a_sphere(n)
    matrix = n * n * 4
    many()
    analysed(system, n_nulls=2, n_restarts=1)  # compiled
    tracemalloc.start()
    try:
        analysed(system, null=["spin", "regrow"], n_nulls=2, n_restarts=1, workers=Workers(cache=False))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 3 * matrix + 90e6  # a few matrices, and tables of ranks, which do not grow with the units
    assert peak < n * (n - 1) // 2 * 11 * 8  # what functions of distance take where each pair has its own


def test_spins_of_very_many_take_the_nearest_and_say_so(system, many, monkeypatch):
    many()
    monkeypatch.setattr("fctoolbox.chance.MOST_ASSIGNED", 200)
    report = analysed(system, null="spin")
    assert space_of(system, ["spin"]).assignment == "nearest"
    assert report.policies["spin"].startswith("nearest")
    assert report.controls()["spin"].endswith(NEAREST)
    sphere = sphere_positions(system.geometry.surface, N)
    child = np.random.default_rng(0).spawn(2 + 6)[2 + 2].spawn(1)[0]
    orders = spin(sphere, hemispheres=("left",) * N, n_nulls=20, rng=child, assignment="nearest")
    labels = report.communities.labels
    np.testing.assert_array_equal(report.induced.nulls[0].values, fct.modularities(report.connectivity, labels[orders]))
    assert any(len(set(order)) < N for order in orders.tolist())
    off = ~np.eye(N, dtype=bool)
    for order, found in zip(orders[:3], report.relationship.nulls[0].values, strict=False):
        turned, apart = report.similarity[np.ix_(order, order)], off & (order[:, None] != order)
        assert found == pytest.approx(np.corrcoef(turned[apart], report.connectivity[apart])[0, 1], abs=1e-6)


def test_of_two_hemispheres_the_larger_decides():
    half = on_a_sphere(20).geometry.surface
    hemispheres = tuple("left" if z > 0 else "right" for z in half.vertices[:, 2])
    space = space_of(
        replace(on_a_sphere(20), geometry=fct.Geometry(surface=replace(half, hemispheres=hemispheres))), ["spin"]
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("fctoolbox.chance.MOST_ASSIGNED", 10)
        assert space.assignment == "hungarian"
        patch.setattr("fctoolbox.chance.MOST_ASSIGNED", 9)
        assert space.assignment == "nearest"


@pytest.mark.parametrize("model", ["variogram", "moran", "projection"])
def test_nulls_that_need_all_distances_are_refused_before_the_work(model, system, many):
    many()
    with pytest.raises(
        InputError,
        match=rf"the null '{model}' needs the distances of all pairs of units, which can be had of up to 100 units, "
        r"and 'made up \(synthetic\)' has 300; use 'spin'.*or 'regrow'",
    ):
        analysed(system, null=["permutation", model])


@pytest.mark.parametrize("null", ["moran", ["permutation", "projection"], ("auto", "variogram")])
def test_nulls_that_need_all_distances_are_refused_while_a_source_loads(null, many):
    many()
    with refusing_early(null):
        announce_units("x", 100)
        with pytest.raises(InputError, match=r"needs the distances of all .* 100 units, and 'x' has at least 101; use"):
            announce_units("x", 101)


@pytest.mark.parametrize("null", ["auto", "spin", "regrow", ["permutation", "spin"], ()])
def test_nulls_of_any_number_of_units_are_not(null, many):
    many()
    with refusing_early(null):
        announce_units("x", 10**6)


def test_a_spin_without_a_sphere_does_not_point_to_what_is_refused(many):
    many()
    with pytest.raises(InputError, match="use 'regrow', which needs positions or distances only"):
        analysed(on_a_sphere(120, surface=False), null="spin")


def test_auto_of_many_units(system, many):
    geometry = system.geometry
    assert null_names("auto", geometry, N) == ("projection",)
    many()
    places = {"spin": geometry, "regrow": fct.Geometry(positions=geometry.positions), "permutation": None}
    for model, there in places.items():
        assert null_names("auto", there, N) == (model,)
    assert "sphere" in chosen("auto", ["spin"], N)
    assert "'projection'" in chosen("auto", ["regrow"], N)
    assert chosen("auto", ["permutation"], N) == "auto: permutation, as it is not known where the units are"
    assert analysed(on_a_sphere(120, surface=False), null="auto").policies["null"].startswith("auto: regrow")


def test_without_positions_r_alone_is_compared(system, many):
    many()
    nowhere = analysed(replace(system, geometry=None))
    assert nowhere.relationship.partial_r is None
    assert nowhere.relationship.by_distance == ()
    distances = np.linalg.norm(system.geometry.positions[:, None] - system.geometry.positions, axis=-1)
    far = analysed(replace(system, geometry=fct.Geometry(distances=distances)), null="regrow")
    assert far.relationship.partial_r is None
    assert "distances between units are not used" in far.policies["pairs"]


def test_many_equal_pairs_are_refused(many):
    many()
    rng = np.random.default_rng(0)
    system = make_system(
        rng,
        n_units=120,
        projection=fct.InputProjection(np.ones((120, 3))),
        activity=fct.RecurrentActivity(rng.standard_normal((50, 120))),
    )
    with pytest.raises(InputError, match="similarity of the input projections is 1 for every pair of units"):
        analysed(system)


# --- reports ---------------------------------------------------------------------------------------------------------


def test_a_report_of_many_units(both, tmp_path):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(edge_moments, "LARGE", 100)
        page = both[1].save(tmp_path).read_text(encoding="utf-8")
        figures = report_figures(both[1])
    assert "each pixel is the mean over a block" in page
    assert "counted in cells" in page
    for name in ("similarity", "connectivity"):
        axes = figures[name].axes[0]
        picture = axes.images[0].get_array()
        assert picture.shape == (N // 2, N // 2)
        assert axes.images[0].get_extent() == [-0.5, N - 0.5, N - 0.5, -0.5]
        assert "a pixel: mean of 2 × 2" in axes.get_xlabel()
    cells = figures["relationship"].axes[0].collections[0].get_array()
    joint = both[1].relationship.joint
    assert cells.sum() == N * (N - 1) // 2
    np.testing.assert_array_equal(cells.sum(axis=0), joint.counts.sum(axis=1))  # similarity runs to the right
    assert figures["relationship"].axes[0].get_xlim()[1] == pytest.approx(joint.similarity_edges[-1])
    assert (tmp_path / "figures/modules.png").stat().st_size > 10_000


@pytest.mark.parametrize("geometry", ["positions", "nothing", "activity"])
def test_modules_of_many_units_without_a_surface(geometry, many):
    many()
    system = on_a_sphere(120, surface=False)
    if geometry != "positions":
        system = replace(system, geometry=None)
    if geometry == "activity":
        rng = np.random.default_rng(0)
        weights = system.projection.weights
        system = replace(system, activity=fct.RecurrentActivity(rng.standard_normal((60, 12)) @ weights.T))
    report = analysed(system, n_nulls=2)
    with mpl.rc_context(STYLE):
        one, other = (rendered({"modules": modules_figure(report)})["modules"] for _ in range(2))
    assert one == other
    assert len(one.svg) < 200_000  # dots as a picture


def test_the_leading_components_are_those_of_the_whole(many):
    rng = np.random.default_rng(0)
    centred = rng.standard_normal((200, 150)) * np.geomspace(10, 1, 150)
    similarity = (centred.T @ centred / 1000).astype(np.float32)
    (shares, loadings), (values, vectors) = _principal(centred), _leading(similarity)
    many()
    (few_shares, few_loadings), (few_values, few_vectors) = _principal(centred), _leading(similarity)
    np.testing.assert_allclose(few_shares[:2], shares[:2])
    np.testing.assert_allclose(np.abs(np.sum(few_loadings[:2] * loadings[:2], axis=1)), 1)
    np.testing.assert_allclose(few_values[-2:], values[-2:], rtol=1e-5)
    np.testing.assert_allclose(np.abs(np.sum(few_vectors[:, -2:] * vectors[:, -2:], axis=0)), 1, rtol=1e-4)


def test_block_means_by_hand():
    rng = np.random.default_rng(0)
    matrix = rng.standard_normal((11, 11)).astype(np.float32)
    matrix += matrix.T
    order = rng.permutation(11)
    seen = block_means(matrix, order, 3)
    edges = [0, 3, 7, 11]
    assert seen.size == 4
    for a in range(3):
        for b in range(3):
            pairs = [
                matrix[i, j] for i in order[edges[a] : edges[a + 1]] for j in order[edges[b] : edges[b + 1]] if i != j
            ]
            assert seen.means[a, b] == pytest.approx(np.mean(pairs), abs=1e-6)
    whole = block_means(matrix, order, 1)
    assert whole.means[0, 0] == pytest.approx(matrix[~np.eye(11, dtype=bool)].mean(), abs=1e-6)
    assert block_means(matrix, order).means.shape == (5, 5)


@pytest.fixture
def undrawn(monkeypatch):
    monkeypatch.setattr("fctoolbox.report.write.report_figures", lambda report: {})  # drawn elsewhere, and slow


@pytest.mark.usefixtures("undrawn")
def test_many_units_left_out_are_counted_on_the_page_and_named_in_a_file(tmp_path):
    system = on_a_sphere(160)
    weights = system.projection.weights.copy()
    weights[:60] = 0
    left_out = {f"gone-{i}": "no streamlines" for i in range(1234)}
    system = replace(
        system,
        projection=fct.InputProjection(weights),
        provenance=replace(system.provenance, left_out=left_out),
    )
    report = analysed(system, n_nulls=2)
    page = " ".join(report.save(tmp_path).read_text(encoding="utf-8").split())
    assert "1,294 units left out of everything: no streamlines: 1,234; receives no input: 60." in page
    assert "gone-7" not in page
    assert "dropped.tsv" in page
    with (tmp_path / "dropped.tsv").open(encoding="utf-8", newline="") as stream:
        rows = [tuple(row) for row in csv.reader(stream, delimiter="\t")]
    assert rows == [("unit", "reason"), *((each.unit, each.reason) for each in report.dropped)]
    assert len(json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))["system"]["dropped"]) == 1294
    analysed(on_a_sphere(20), n_nulls=2).save(tmp_path)
    assert not (tmp_path / "dropped.tsv").exists()


@pytest.mark.usefixtures("undrawn")
def test_fifty_units_left_out_are_named(tmp_path):
    system = on_a_sphere(20)
    for n, named in ((50, True), (51, False)):
        left_out = {f"gone-{i}": "elsewhere" for i in range(n)}
        report = analysed(replace(system, provenance=replace(system.provenance, left_out=left_out)), n_nulls=2)
        assert ("gone-49" in report.save(tmp_path).read_text(encoding="utf-8")) is named
        assert (tmp_path / "dropped.tsv").exists() is not named
