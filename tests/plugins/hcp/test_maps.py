"""Maps of the cortex: read from every kind of file, and compared with modules and input strength."""

import sys
from dataclasses import replace
from types import ModuleType

import nibabel
import numpy as np
import pytest
from fctoolbox_hcp.maps import compare_map, unit_means
from fctoolbox_hcp.outputs import sides_of_vertices, write_outputs
from fctoolbox_hcp.surface_maps import fetch_map, read_map
from nibabel.cifti2 import BrainModelAxis, Cifti2Image, ScalarAxis, SeriesAxis
from nibabel.gifti import GiftiDataArray, GiftiImage, GiftiMetaData
from scipy.stats import f_oneway, pearsonr, spearmanr

import fctoolbox as fct
from tests.nulls.meshes import caps, sphere

LETTERS = {"left": "Left", "right": "Right"}


def gifti(path, maps, side=None, names=None):
    arrays = [
        GiftiDataArray(
            np.asarray(values, dtype=np.float32), intent="NIFTI_INTENT_SHAPE", datatype="NIFTI_TYPE_FLOAT32",
            meta=GiftiMetaData({"Name": names[k] if names else f"map {k}"}),
        )
        for k, values in enumerate(maps)
    ]  # fmt: skip
    meta = GiftiMetaData({"AnatomicalStructurePrimary": f"Cortex{LETTERS[side]}"} if side else {})
    GiftiImage(darrays=arrays, meta=meta).to_filename(path)
    return path


def cifti(path, maps, vertices, n_vertices, rows=None):
    models = [
        BrainModelAxis.from_surface(its, n_vertices, name=f"CORTEX_{side.upper()}") for side, its in vertices.items()
    ]
    axis = sum(models[1:], start=models[0])
    maps = np.asarray(maps, dtype=np.float32)
    image = Cifti2Image(maps, (rows or ScalarAxis([f"map {k}" for k in range(len(maps))]), axis))
    image.update_headers()
    image.to_filename(path)
    return path


def analysed(system):
    return fct.analyse_origin(system, n_nulls=1, n_restarts=2, rng=0)


@pytest.fixture(scope="module")
def left():
    return analysed(fct.load("human-mini"))


@pytest.fixture(scope="module")
def both():
    return analysed(fct.load("human-mini", hemisphere="both"))


@pytest.fixture(scope="module")
def values(both):
    """A value for each vertex of both hemispheres; none in the medial wall."""
    surface = both.system.geometry.surface
    made = np.random.default_rng(3).random(len(surface.vertices)).astype(np.float32).astype(float)
    made[np.asarray(surface.unit_of_vertex) < 0] = np.nan
    return made


def test_every_kind_of_file_gives_the_same_map(both, values, tmp_path):
    surface = both.system.geometry.surface
    sides = sides_of_vertices(surface)
    paths = {side: gifti(tmp_path / f"{side}.func.gii", [values[sides == side]], side) for side in LETTERS}
    inside = {side: np.flatnonzero(np.isfinite(values[sides == side])) for side in LETTERS}
    row = np.concatenate([values[sides == side][its] for side, its in inside.items()])
    dense = cifti(tmp_path / "m.dscalar.nii", [row], inside, int((sides == "left").sum()))
    swapped = dict(reversed(inside.items()))
    row = np.concatenate([values[sides == side][its] for side, its in swapped.items()])
    right_first = cifti(tmp_path / "r.dscalar.nii", [row], swapped, int((sides == "left").sum()))
    np.savetxt(tmp_path / "m.csv", values)
    np.savetxt(tmp_path / "row.csv", values[None], delimiter=",")
    for source in (
        paths, [paths["left"], paths["right"]], dense, str(dense), right_first, tmp_path / "m.csv", tmp_path / "row.csv"
    ):  # fmt: skip
        np.testing.assert_allclose(read_map(source, surface), values, rtol=1e-6)


def test_maps_by_number_and_name(left, tmp_path):
    surface = left.system.geometry.surface
    maps = np.random.default_rng(0).random((2, len(surface.vertices)))
    path = gifti(tmp_path / "m.shape.gii", maps, "left", ["curv", "sulc"])
    for which in (1, "sulc"):
        np.testing.assert_allclose(read_map(path, surface, which=which), maps[1], rtol=1e-6)
    with pytest.raises(fct.InputError, match=r"no map named 'sulk'\. Did you mean 'sulc'"):
        read_map(path, surface, which="sulk")
    with pytest.raises(fct.InputError, match="has 2 maps, counted from 0, and map 2 was asked for"):
        read_map(path, surface, which=2)


def test_wrong_files(left, both, tmp_path):
    surface = left.system.geometry.surface
    n = len(surface.vertices)
    short = gifti(tmp_path / "short.func.gii", [np.ones(10)], "left")
    with pytest.raises(fct.InputError, match=f"has 10 values, and the system's surface {n} vertices"):
        read_map(short, surface)
    right = gifti(tmp_path / "right.func.gii", [np.ones(n)], "right")
    with pytest.raises(fct.InputError, match="says that it is of the right hemisphere"):
        read_map(right, surface)
    with pytest.raises(fct.InputError, match="a map of one hemisphere, and the system has both"):
        read_map(right, both.system.geometry.surface)
    with pytest.raises(fct.InputError, match="no map of the left hemisphere"):
        read_map({"right": right}, both.system.geometry.surface)
    with pytest.raises(fct.InputError, match="maps are given for lh"):
        read_map({"lh": right}, surface)
    with pytest.raises(fct.InputError, match="is no file"):
        read_map(tmp_path / "nothing.dscalar.nii", surface)
    with pytest.raises(fct.InputError, match="has no CORTEX_LEFT; its structures are CORTEX_RIGHT"):
        read_map(cifti(tmp_path / "r.dscalar.nii", [np.ones(5)], {"right": np.arange(5)}, n), surface)
    with pytest.raises(fct.InputError, match="has 99 vertices, and the system's surface"):
        read_map(cifti(tmp_path / "l.dscalar.nii", [np.ones(5)], {"left": np.arange(5)}, 99), surface)
    series = cifti(tmp_path / "s.dtseries.nii", [np.ones(5)], {"left": np.arange(5)}, n, SeriesAxis(0, 1, 1))
    with pytest.raises(fct.InputError, match=r"a \.dscalar\.nii does"):
        read_map(series, surface)
    (tmp_path / "words.csv").write_text("a\nb\n", encoding="utf-8")
    with pytest.raises(fct.InputError, match="is not a list of numbers"):
        read_map(tmp_path / "words.csv", surface)
    np.savetxt(tmp_path / "two.csv", np.ones((n, 2)), delimiter=",")
    with pytest.raises(fct.InputError, match="has 2 columns"):
        read_map(tmp_path / "two.csv", surface)
    (tmp_path / "broken.func.gii").write_text("<GIFTI", encoding="utf-8")
    with pytest.raises(fct.InputError, match="cannot be read as a GIFTI map"):
        read_map(tmp_path / "broken.func.gii", surface)


def test_numbers_are_those_of_scipy(both, values, tmp_path):
    np.savetxt(tmp_path / "m.csv", values)
    found = compare_map(both, tmp_path / "m.csv", n_nulls=9, rng=0)
    surface, system = both.system.geometry.surface, both.system
    of_unit = np.array([np.nanmean(values[np.asarray(surface.unit_of_vertex) == i]) for i in range(system.n_units)])
    groups = [of_unit[both.communities.labels == module] for module in range(both.communities.n)]
    strength = system.projection.weights.sum(axis=1)
    assert found.n_units == system.n_units
    assert found.f == pytest.approx(f_oneway(*groups).statistic)
    between = sum(len(its) * (its.mean() - of_unit.mean()) ** 2 for its in groups)
    assert found.eta_squared == pytest.approx(between / ((of_unit - of_unit.mean()) ** 2).sum())
    assert found.pearson_r == pytest.approx(pearsonr(of_unit, strength).statistic)
    assert found.spearman_rho == pytest.approx(spearmanr(of_unit, strength).statistic)
    assert [each.mean for each in found.modules] == pytest.approx([its.mean() for its in groups])
    assert [each.sd for each in found.modules] == pytest.approx([its.std(ddof=1) for its in groups])
    assert compare_map(both, tmp_path / "m.csv", n_nulls=9, rng=0).to_dict() == found.to_dict()


def test_a_scale_and_an_offset_change_nothing(both, values, tmp_path):
    np.savetxt(tmp_path / "m.csv", values)
    np.savetxt(tmp_path / "n.csv", 100 - 7 * values)
    one, other = (compare_map(both, tmp_path / name, n_nulls=19, rng=0) for name in ("m.csv", "n.csv"))
    assert other.eta_squared == pytest.approx(one.eta_squared)
    assert other.pearson_r == pytest.approx(-one.pearson_r)
    assert other.spearman_rho == pytest.approx(-one.spearman_rho)
    assert other.eta_test.p_value == one.eta_test.p_value
    assert other.pearson_test.p_value == one.pearson_test.p_value  # two-sided
    assert other.spearman_test.p_value == one.spearman_test.p_value


def test_our_own_outputs_can_be_compared(both, tmp_path):
    write_outputs(both, tmp_path)
    found = compare_map(both, tmp_path / "input_strength.dscalar.nii", n_nulls=99, rng=0)
    assert found.pearson_r == pytest.approx(1)
    assert found.spearman_rho == pytest.approx(1)
    assert found.pearson_test.p_value <= 0.03
    assert "input_strength.dscalar.nii" in found.sentence()
    assert "r = 1.000" in repr(found)
    seed = compare_map(both, tmp_path / "similarity_to_seed.dscalar.nii", which=1, n_nulls=9, rng=0)
    assert seed.name == "similarity_to_seed.dscalar.nii (map 1)"


def test_units_without_a_value_stay_out(both, values, tmp_path):
    surface = both.system.geometry.surface
    made = values.copy()
    of_vertex = np.asarray(surface.unit_of_vertex)
    made[np.isin(of_vertex, [0, 5])] = np.nan
    made[np.flatnonzero(of_vertex == 1)[1:]] = np.nan  # one vertex is enough
    np.savetxt(tmp_path / "m.csv", made)
    found = compare_map(both, tmp_path / "m.csv", n_nulls=9, rng=0)
    assert (found.n_units, found.n_without) == (both.system.n_units - 2, 2)
    assert "(2 have no value)" in found.sentence()
    means = unit_means(made, of_vertex, both.system.n_units)
    assert np.isnan(means[[0, 5]]).all()
    assert means[1] == made[np.flatnonzero(of_vertex == 1)[0]]


def test_maps_that_cannot_be_compared(both, values, tmp_path):
    np.savetxt(tmp_path / "flat.csv", np.ones(len(values)))
    with pytest.raises(fct.InputError, match=r"flat\.csv is 1 in every unit"):
        compare_map(both, tmp_path / "flat.csv", n_nulls=9)
    np.savetxt(tmp_path / "empty.csv", np.full(len(values), np.nan))
    with pytest.raises(fct.InputError, match="has a value in 0 units"):
        compare_map(both, tmp_path / "empty.csv", n_nulls=9)
    surface = replace(both.system.geometry.surface, sphere=None)
    bare = replace(both, system=replace(both.system, geometry=fct.Geometry(surface=surface)))
    with pytest.raises(fct.InputError, match="a spin needs the spherical surface"):
        compare_map(bare, tmp_path / "flat.csv", n_nulls=9)


@pytest.fixture(scope="module")
def vertices():
    """A whole sphere of 600 vertices, each a unit, with five modules that are compact."""
    surface = sphere(600)
    surface = replace(surface, sphere=surface.vertices, hemispheres=("left",) * 600)
    rng = np.random.default_rng(1)
    labels = caps(surface, 5, 2)
    weights = rng.random((5, 20))[labels] ** 3 + 0.1 * rng.random((600, 20))
    system = fct.RecurrentSystem(
        "sphere (synthetic)",
        tuple(f"v{i}" for i in range(600)),
        fct.InputProjection(weights),
        fct.RecurrentActivity(connectivity=np.corrcoef(weights)),
        fct.Provenance("nobody", "CC0-1.0", synthetic=True),
        fct.Geometry(surface=surface),
    )
    return analysed(system)


def test_a_planted_map_is_found_and_smooth_noise_is_not(vertices, tmp_path):
    rng = np.random.default_rng(5)
    positions = np.asarray(vertices.system.geometry.surface.vertices)
    labels = vertices.communities.labels
    planted = rng.permutation(vertices.communities.n)[labels] + 0.3 * rng.standard_normal(600)
    np.savetxt(tmp_path / "planted.csv", planted)
    assert compare_map(vertices, tmp_path / "planted.csv", n_nulls=199, rng=0).eta_test.p_value <= 0.01
    distances = np.linalg.norm(positions[:, None] - positions, axis=2)
    kernel = np.exp(-(distances**2) / (2 * 20.0**2))
    rejected, large = [], []
    for k in range(60):
        np.savetxt(tmp_path / "noise.csv", kernel @ rng.standard_normal(600))
        found = compare_map(vertices, tmp_path / "noise.csv", n_nulls=49, rng=k)
        rejected.append([found.eta_test.p_value <= 0.1, found.pearson_test.p_value <= 0.1])
        large.append(found.f)
    # Smooth maps differ between compact modules whatever they are: F alone would find nearly all of them.
    assert np.mean(np.array(large) > 3.4) > 0.8
    assert (np.mean(rejected, axis=0) <= 0.22).all()


class Stub(ModuleType):
    """What is used of neuromaps, without its data."""

    def __init__(self, files):
        super().__init__("neuromaps")
        self.asked = []
        self.datasets, self.transforms = ModuleType("neuromaps.datasets"), ModuleType("neuromaps.transforms")
        keys = [("hcps1200", "myelinmap", "fsLR", "32k"), ("hcps1200", "thickness", "fsLR", "32k")]
        keys += [("abagen", "genepc1", "fsaverage", "10k"), ("hcps1200", "myelinmap", "fsLR", "164k")]
        self.datasets.available_annotations = lambda: keys

        def fetch(**asked):
            self.asked.append(asked)
            return files

        self.datasets.fetch_annotation = fetch
        self.transforms.fsaverage_to_fslr = lambda its, density: tuple(map(nibabel.load, its))


@pytest.fixture
def neuromaps(both, values, tmp_path, monkeypatch):
    sides = sides_of_vertices(both.system.geometry.surface)
    filled = np.nan_to_num(values)
    files = [str(gifti(tmp_path / f"{side}.func.gii", [filled[sides == side]], side)) for side in LETTERS]
    stub = Stub(files)
    for name in ("neuromaps", "neuromaps.datasets", "neuromaps.transforms"):
        monkeypatch.setitem(sys.modules, name, stub if name == "neuromaps" else getattr(stub, name[10:]))
    monkeypatch.setattr("fctoolbox_hcp.surface_maps._DENSITIES", {int((sides == "left").sum()): "32k"})
    return stub


def test_an_annotation_by_name(both, values, tmp_path, neuromaps):
    found = compare_map(both, "hcps1200/myelinmap", n_nulls=9, rng=0)
    assert found.name == "hcps1200/myelinmap"
    (asked,) = neuromaps.asked
    assert asked == {"source": "hcps1200", "desc": "myelinmap", "space": "fsLR", "den": "32k", "verbose": 0}
    np.savetxt(tmp_path / "m.csv", values)
    same = compare_map(both, tmp_path / "m.csv", n_nulls=9, rng=0)
    assert found.eta_squared == pytest.approx(same.eta_squared)
    np.testing.assert_allclose(fetch_map("hcps1200/myelinmap", both.system.geometry.surface), values, rtol=1e-6)
    # Another space is brought to fsLR, and comes as images and not as files.
    assert compare_map(both, "abagen/genepc1", n_nulls=9, rng=0).eta_squared == pytest.approx(same.eta_squared)


def test_annotations_that_cannot_be_had(both, neuromaps, monkeypatch):
    with pytest.raises(fct.InputError, match="Did you mean 'hcps1200/myelinmap'"):
        compare_map(both, "hcps1200/myelin", n_nulls=9)
    with pytest.raises(fct.InputError, match="stands for several annotations: hcps1200/myelinmap, hcps1200/thickness"):
        compare_map(both, "hcps1200", n_nulls=9)

    def refuse(**_):
        raise OSError("no connection")

    monkeypatch.setattr(neuromaps.datasets, "fetch_annotation", refuse)
    with pytest.raises(fct.DataUnavailable, match=r"no connection\. A map that you have as a file"):
        compare_map(both, "hcps1200/thickness", n_nulls=9)
    monkeypatch.setattr("fctoolbox_hcp.surface_maps._DENSITIES", {})
    with pytest.raises(fct.InputError, match="give a map of its own mesh as a file"):
        compare_map(both, "hcps1200/thickness", n_nulls=9)


def test_without_neuromaps_the_error_says_what_to_install(both, monkeypatch):
    monkeypatch.setitem(sys.modules, "neuromaps", None)
    with pytest.raises(fct.InputError, match=r"fctoolbox-hcp\[neuromaps\]"):
        compare_map(both, "hcps1200/myelinmap", n_nulls=9)
