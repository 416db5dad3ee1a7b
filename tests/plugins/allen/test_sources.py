import subprocess
import sys

import numpy as np
import pytest
from fctoolbox_allen import fctoolbox_sources
from fctoolbox_allen.ccf import read_structures
from fctoolbox_allen.files import DIVISIONS, PUBLISHED, STRUCTURES, WEIGHTS
from fctoolbox_allen.miniature import divisions
from fctoolbox_allen.oh2014 import find_division, read_connectome, read_divisions
from fctoolbox_allen.regional import area_projection, cortical_areas
from fctoolbox_allen.sources import Choices, load_miniature, load_regional, read_system

from fctoolbox import InputError, analyse_origin, cli, compare_groups, cosine_similarity, modularity
from fctoolbox.chunks import Workers
from fctoolbox.plugins import load_source
from fctoolbox.system import Provenance
from fctoolbox.testing import check_source

SOURCES = {source.name: source for source in fctoolbox_sources()}
UNITS = [
    "FRP",
    "MOp",
    "SSp-n",
    "SSp-bfd",
    "SSp-ll",
    "SSp-m",
    "SSp-ul",
    "SSp-tr",
    "SSs",
    "AUDp",
    "VISal",
    "VISam",
    "VISl",
    "VISp",
    "ACA",
    "ORB",
    "AI",
    "RSP",
    "TEa",
    "ECT",
]


@pytest.fixture(scope="module")
def mini():
    return load_miniature()


@pytest.fixture(scope="module")
def read(miniature, annotation):
    """Like load_miniature, from files that are there already."""
    provenance = Provenance(citation="none", license="CC0-1.0", synthetic=True)
    return lambda **options: read_system(miniature, annotation, Choices(**options), "mouse-mini", provenance)


@pytest.fixture(scope="module")
def real(published):
    for file in PUBLISHED:
        published(file)
    return load_regional()


def table(path):
    header, *rows = [line.split(",") for line in path.read_text().splitlines()]
    return header[1:], [row[0] for row in rows], np.array([row[1:] for row in rows], dtype=float)


def analysed(system, **options):
    return analyse_origin(system, n_nulls=19, rng=0, **options)


def test_listing_the_sources_imports_nothing_heavy():
    code = (
        "import sys, fctoolbox_allen; fctoolbox_allen.fctoolbox_sources();"
        "print([name for name in ('openpyxl', 'nrrd', 'fctoolbox_allen.miniature') if name in sys.modules])"
    )
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert printed.strip() == "[]"


def test_the_miniature_stands_in_for_the_real_thing():
    assert SOURCES["mouse-regional"].miniature == "mouse-mini"
    assert SOURCES["mouse-mini"].synthetic
    offered, expected = SOURCES["mouse-mini"].options, SOURCES["mouse-regional"].options
    assert {name: offered[name] for name in expected} == expected


@pytest.mark.parametrize("options", [{}, {"hemisphere": "right", "scan": 2}, {"sources": "Striatum", "seed": 4}])
def test_the_miniature_keeps_the_contract(options):
    assert check_source(SOURCES["mouse-mini"], **options)


def test_the_miniature_has_the_shape_of_the_real_thing(mini):
    assert list(mini.units) == UNITS
    assert mini.activity.timeseries.shape == (6 * 160, 20)
    assert mini.geometry.axes == ("AP (mm)", "DV (mm)", "ML (mm)")
    assert set(mini.annotations) == {"hemisphere", "division", "group", "name", "planted"}
    assert mini.annotations["name"][UNITS.index("VISp")] == "Primary visual area"
    assert mini.provenance.species == "mouse (synthetic)"


def test_what_was_planted_is_found(mini):
    report = analysed(mini)
    planted = np.unique(mini.annotations["planted"], return_inverse=True)[1]
    similarity = cosine_similarity(mini.projection.weights)
    np.fill_diagonal(similarity, 0)
    assert report.communities.q >= modularity(similarity, planted) - 1e-12
    assert report.relationship.pearson_r > 0.9
    assert report.induced.nulls[0].p_value == pytest.approx(1 / 20)


@pytest.mark.parametrize("sources", ["Midbrain", "Hypothalamus"])
def test_inputs_that_drive_nothing_explain_nothing(sources, read):
    assert abs(analysed(read(sources=sources)).relationship.pearson_r) < 0.3


@pytest.mark.parametrize("sources", sorted(divisions()))
def test_every_division_loads(sources, read):
    system = read(sources=sources)
    assert set(system.projection.inputs) == set(divisions()[sources])
    assert set(system.projection.groups) == {sources}


def test_all_divisions_at_once_are_each_as_it_is_alone(read):
    together = read(sources="all")
    groups = np.array(together.projection.groups)
    assert set(groups) == set(divisions()) - {"Isocortex"}
    for name in dict.fromkeys(groups):
        alone, part = read(sources=name).projection, together.projection.select_inputs(np.flatnonzero(groups == name))
        assert part.inputs == alone.inputs
        np.testing.assert_array_equal(part.weights, alone.weights)
    note = together.provenance.notes["Divisions"]
    assert note.startswith("12: ")
    assert "Thalamus (16)" in note
    assert "Isocortex is left out: its weights are the areas' own recurrent connections, not an input" in note
    assert "Divisions" not in read().provenance.notes


def test_the_sources_say_how_to_load_all_divisions(tmp_path, capsys):
    for name in ("mouse-regional", "mouse-mini", "mouse-voxel", "mouse-voxel-mini"):
        source = SOURCES[name]
        assert source.every_group == {"sources": "all"}
        assert source.expected_groups == ("Thalamus",)
    quick = ["--n-nulls", "1", "--n-restarts", "1", "--n-bootstrap", "10", "--no-cache", "--out", str(tmp_path)]
    cli.main(["run", "mouse-mini", "--by-group", *quick])
    printed = capsys.readouterr().out
    assert "12 groups of inputs are compared" in printed
    assert "the highest r is that of Thalamus" in printed
    assert "The lead of Thalamus over" in printed
    assert "Isocortex is left out" in (tmp_path / "groups.html").read_text(encoding="utf-8").replace("&#39;", "'")


def test_areas_without_any_input_are_dropped_by_the_analysis_and_named(read):
    system = read(sources="Olfactory Areas")
    without = [unit for unit, row in zip(system.units, system.projection.weights, strict=True) if not row.any()]
    assert len(without) >= 8
    assert [each.unit for each in analysed(system).dropped] == without


def test_p_value_removes_weights_and_adds_none(mini, read):
    strict = read(p_value=0.01)
    kept = strict.projection.weights > 0
    assert 0 < kept.sum() < (mini.projection.weights > 0).sum()
    assert (strict.projection.weights <= mini.projection.weights).all()
    assert "0 where p > 0.01" in strict.provenance.notes["Weights"]


def test_hemispheres_share_the_projection_and_differ_in_activity(mini, read):
    right = read(hemisphere="right")
    np.testing.assert_array_equal(right.projection.weights, mini.projection.weights)
    assert not np.allclose(right.activity.connectivity, mini.activity.connectivity)
    assert (right.geometry.positions[:, 2] > 5.7).all()
    assert (mini.geometry.positions[:, 2] < 5.7).all()
    assert set(right.annotations["hemisphere"]) == {"right"}


def test_one_scan_is_part_of_all(mini, read):
    one = read(scan=3)
    np.testing.assert_array_equal(one.activity.timeseries, mini.activity.timeseries[mini.activity.trials == 3])
    assert set(one.activity.trials) == {3}
    np.testing.assert_allclose(one.activity.connectivity, np.corrcoef(one.activity.timeseries.T))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sources": "thalamus"}, "Did you mean 'Thalamus'"),
        ({"sources": "Cerebellum"}, "There are: Cerebellar Cortex, Cerebellar Nuclei, "),
        ({"hemisphere": "both"}, "hemisphere is 'both'; it must be 'left' or 'right'"),
        ({"scan": 7}, "scan is 7; it must be 'all' or one of the scans 1 … 6"),
        ({"p_value": 5}, "p_value is 5; it must lie between 0 and 1"),
        ({"hemi": "left"}, "source 'mouse-mini' has no option 'hemi'"),
    ],
)
def test_options_that_cannot_be_met(options, message):
    with pytest.raises(InputError, match=message):
        load_source(SOURCES["mouse-mini"], **options)


def test_notes_tell_what_was_done(mini):
    notes = mini.provenance.notes
    assert "ACA = ACAd + ACAv" in notes["Areas"]
    assert "RSP = RSPagl + RSPd + RSPv" in notes["Areas"]
    assert "not isocortex: AON, COAp, TR" in notes["Areas"]
    assert notes["Scans"].startswith("6, of 160 volumes at 1 s")
    assert "left" in notes["Positions"]


@pytest.mark.mirror
def test_the_real_thing_keeps_the_contract(real):
    assert check_source(SOURCES["mouse-regional"])
    assert [record.sha256 for record in real.provenance.files] == [file.sha256 for file in PUBLISHED]


@pytest.mark.mirror
def test_the_projection_is_the_derived_one(real, derived):
    inputs, units, weights = table(derived("mouse_T_oh_ipsi_20x35.csv"))
    assert list(real.units) == units == UNITS
    assert list(real.projection.inputs) == inputs
    np.testing.assert_allclose(real.projection.weights, weights, rtol=0, atol=1e-12)


@pytest.mark.mirror
def test_the_connectivity_is_the_derived_one(real, derived):
    _, units, connectivity = table(derived("mouse_FC_left_20.csv"))
    assert list(real.units) == units
    np.testing.assert_allclose(real.activity.connectivity, connectivity, rtol=0, atol=1e-12)


@pytest.mark.mirror
def test_positions_are_the_derived_ones(real, derived):
    lines = [line.split(",") for line in derived("mouse_oh213_centroids_ccf25_um.csv").read_text().splitlines()[1:]]
    for side, system in {"z<228": real, "z>=228": load_regional(hemisphere="right")}.items():
        centroids = {acronym: [float(x) for x in um] for acronym, half, _, *um in lines if half == side and um[0]}
        for unit, position in zip(system.units, system.geometry.positions, strict=True):
            if unit in centroids:  # the others are sums of parts
                np.testing.assert_allclose(1000 * position, centroids[unit], atol=0.06)


@pytest.mark.mirror
def test_numbers_to_reach(real):
    report = analysed(real)
    assert report.relationship.pearson_r == pytest.approx(0.513303, abs=1e-6)
    assert report.relationship.spearman_rho == pytest.approx(0.463667, abs=1e-6)
    assert report.communities.n == 5
    assert report.communities.q >= 0.50641
    assert report.induced.q == pytest.approx(0.1256245, abs=1e-7)
    modules = {}
    for unit, label in zip(real.units, report.communities.labels, strict=True):
        modules.setdefault(int(label), set()).add(unit)
    assert {"ACA", "RSP"} in modules.values()
    assert {"VISp", "VISl", "VISal", "VISam"} in modules.values()


@pytest.mark.mirror
def test_the_real_volume(real):
    volume = real.geometry.volume
    assert volume.unit_of_voxel.shape == (132, 80, 114)
    assert volume.unit_of_voxel.dtype == np.int16
    assert set(np.unique(volume.unit_of_voxel)) == set(range(-2, 20))
    assert (np.argwhere(volume.unit_of_voxel >= 0)[:, 2] < 57).all()
    for unit, position in enumerate(real.geometry.positions):
        centre = np.argwhere(volume.unit_of_voxel == unit).mean(axis=0)
        np.testing.assert_allclose((volume.affine @ [*centre, 1])[:3], position, atol=0.02)


@pytest.mark.mirror
def test_thalamus_explains_more_than_any_other_division_outside_the_cortex(real, published):
    connectome, by_name = read_connectome(published(WEIGHTS)), read_divisions(published(DIVISIONS))
    areas = cortical_areas(real.units, read_structures(published(STRUCTURES)), connectome)
    explained = {}
    for name in by_name:
        weights = area_projection(areas, find_division(by_name, name, connectome), connectome).weights
        receives = weights.any(axis=1)
        connectivity = real.activity.connectivity[np.ix_(receives, receives)]
        edges = np.tril_indices(receives.sum(), -1)
        explained[name] = np.corrcoef(cosine_similarity(weights[receives])[edges], connectivity[edges])[0, 1]
    cortex = explained.pop("Isocortex")  # not an input from elsewhere: recurrent connections
    assert max(explained, key=explained.get) == "Thalamus"
    assert cortex > explained["Thalamus"] == pytest.approx(0.513303, abs=1e-6)


@pytest.mark.mirror
@pytest.mark.parametrize(
    ("sources", "without"),
    [
        ("Striatum", ["SSp-ll", "SSp-tr", "VISal"]),
        ("Olfactory Areas", ["SSp-bfd", "SSp-ll", "SSp-ul", "SSp-tr", "VISal", "VISam", "VISl", "VISp"]),
    ],
)
def test_divisions_that_leave_areas_without_input(real, sources, without):
    system = load_regional(sources=sources)
    assert [unit for unit, row in zip(system.units, system.projection.weights, strict=True) if not row.any()] == without
    assert [each.unit for each in analysed(system).dropped] == without


@pytest.mark.mirror
def test_one_real_scan(real):
    one = load_regional(scan=53)
    assert one.activity.timeseries.shape == (160, 20)
    np.testing.assert_array_equal(one.activity.timeseries, real.activity.timeseries[-160:])
    with pytest.raises(InputError, match="1 … 53"):
        load_regional(scan=54)


def test_a_negative_seed_leaves_with_2_and_one_sentence(tmp_path, capsys):
    with pytest.raises(SystemExit, match="2"):
        cli.main(["run", "mouse-mini", "-o", "seed=-1", "--out", str(tmp_path)])
    assert capsys.readouterr().err == "Error: seed is -1; it must be a whole number of at least 0\n"


# Scouted beforehand with a program of its own: r and induced Q* on the areas that each division reaches, and on the 12
# that all of them reach.
BY_DIVISION = {
    "Thalamus": (0.5133, 0.1256, 0.6316, 0.1964),
    "Olfactory Areas": (0.3370, 0.0505, 0.3370, 0.0505),
    "Hypothalamus": (0.3029, 0.0922, 0.4112, 0.1117),
    "Medulla": (0.2594, 0.0181, 0.2712, -0.0312),
    "Pons": (0.2488, 0.1117, 0.3848, 0.2704),
    "Pallidum": (0.1967, 0.0136, 0.2029, -0.0286),
    "Cerebellar Cortex": (0.1925, 0.0831, 0.2725, 0.0008),
    "Cortical Subplate": (0.1409, 0.0207, 0.4553, 0.0938),
    "Cerebellar Nuclei": (0.1330, 0.0301, 0.0708, 0.0),
    "Striatum": (0.1106, -0.0610, 0.1915, -0.0613),
    "Hippocampal Formation": (0.0723, -0.0254, 0.1085, -0.0597),
    "Midbrain": (0.0651, 0.0058, 0.2424, 0.0419),
}


@pytest.fixture(scope="module")
def by_division(published):
    for file in PUBLISHED:
        published(file)
    system = load_regional(sources="all")
    return system, compare_groups(
        system, highest="Thalamus", n_bootstrap=100, n_permutations=19, n_restarts=20, rng=0,
        workers=Workers(cache=False),
    )  # fmt: skip


@pytest.mark.mirror
def test_thalamus_comes_first_of_the_twelve_divisions(by_division, real):
    system, comparison = by_division
    assert {name: system.projection.groups.count(name) for name in BY_DIVISION} == {
        "Thalamus": 35, "Olfactory Areas": 11, "Hypothalamus": 20, "Medulla": 25, "Pons": 13, "Pallidum": 8,
        "Cerebellar Cortex": 9, "Cortical Subplate": 7, "Cerebellar Nuclei": 3, "Striatum": 12,
        "Hippocampal Formation": 11, "Midbrain": 21,
    }  # fmt: skip
    assert [group.name for group in comparison.groups] == list(BY_DIVISION)
    for group in comparison.groups:
        found = (group.own.r.value, group.own.q.value, group.common.r.value, group.common.q.value)
        assert found == pytest.approx(BY_DIVISION[group.name], abs=6e-5)
    thalamus, report = comparison.groups[0].own, analysed(real)
    assert thalamus.r.value == pytest.approx(report.relationship.pearson_r, abs=1e-12)
    assert thalamus.q.value == pytest.approx(report.induced.q, abs=1e-12)
    assert thalamus.r.value == pytest.approx(0.513303, abs=1e-6)
    assert thalamus.q.value == pytest.approx(0.1256245, abs=1e-7)


@pytest.mark.mirror
def test_who_is_first_depends_on_the_areas_and_the_statistic(by_division):
    _, comparison = by_division
    first = {
        (where, statistic): comparison.ranked(statistic, where)[0].name
        for where in ("own", "common")
        for statistic in ("r", "q")
    }
    assert first == {
        ("own", "r"): "Thalamus", ("own", "q"): "Thalamus", ("common", "r"): "Thalamus", ("common", "q"): "Pons",
    }  # fmt: skip
    assert len(comparison.common_units) == 12
    assert not any(unit.startswith("VIS") for unit in comparison.common_units)
    assert [(each.group, each.n_common) for each in comparison.without] == [("Olfactory Areas", 17), ("Striatum", 20)]


@pytest.mark.mirror
def test_without_the_divisions_that_reach_few_areas_thalamus_is_first_in_both(by_division):
    system, _ = by_division
    comparison = compare_groups(
        system, leave_out=["Striatum", "Olfactory Areas"], n_bootstrap=2, n_permutations=1, n_restarts=20, rng=0,
        workers=Workers(cache=False),
    )  # fmt: skip
    assert len(comparison.common_units) == 20
    assert [comparison.ranked(statistic, "common")[0].name for statistic in ("r", "q")] == ["Thalamus", "Thalamus"]
