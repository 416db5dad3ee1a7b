"""CIFTI-2 and GIFTI files of a report: read back by nibabel, and by Workbench where it is installed."""

import shutil
import subprocess
from dataclasses import replace

import nibabel
import numpy as np
import pytest
from fctoolbox_hcp.outputs import central_units, input_strength, write_outputs
from matplotlib.colors import to_rgba
from scipy import sparse

import fctoolbox as fct
from fctoolbox.report.figures import module_colours

CIFTI = ("modules.dlabel.nii", "similarity_to_seed.dscalar.nii", "input_strength.dscalar.nii")


def analysed(system):
    return fct.analyse_origin(system, n_nulls=1, n_restarts=2, rng=0)


def by_vertex(report):
    """A report on the same surface in which each vertex of the left hemisphere is a unit."""
    surface = report.system.geometry.surface
    left = np.array(surface.hemispheres) == "left"
    inside = np.flatnonzero(left & (surface.unit_of_vertex >= 0))
    units = np.full(len(left), -1)
    # In another order than that of the vertices: the files must not depend on it.
    units[inside] = np.random.default_rng(0).permutation(len(inside))
    weights = np.empty((len(inside), report.system.projection.n_inputs), dtype=np.float32)
    weights[units[inside]] = report.system.projection.weights[surface.unit_of_vertex[inside]]
    weights += np.random.default_rng(1).random(weights.shape, dtype=np.float32)
    system = replace(
        report.system,
        units=tuple(f"v{i}" for i in range(len(inside))),
        projection=fct.InputProjection(weights),
        activity=fct.RecurrentActivity(connectivity=np.corrcoef(weights)),
        geometry=fct.Geometry(surface=replace(surface, unit_of_vertex=units)),
        annotations={},
    )
    return analysed(system)


@pytest.fixture(scope="module")
def areas():
    return analysed(fct.load("human-mini", hemisphere="both"))


@pytest.fixture(scope="module", params=["areas", "vertices"])
def written(request, areas, tmp_path_factory):
    report = areas if request.param == "areas" else by_vertex(areas)
    folder = tmp_path_factory.mktemp("outputs")
    return report, folder, write_outputs(report, folder)


def expected(report, of_unit, side):
    """The value of each vertex of one hemisphere, NaN where there is no unit."""
    surface = report.system.geometry.surface
    units = np.asarray(surface.unit_of_vertex)[np.array(surface.hemispheres) == side]
    return np.where(units >= 0, np.asarray(of_unit, dtype=float)[units], np.nan)


def on_vertices(image, row, side):
    """The same from a CIFTI-2 file."""
    axis = image.header.get_axis(1)
    for name, rows, model in axis.iter_structures():
        if name == f"CIFTI_STRUCTURE_CORTEX_{side.upper()}":
            values = np.full(model.nvertices[name], np.nan)
            values[model.vertex] = np.asarray(image.dataobj)[row, rows]
            return values
    raise AssertionError(side)


def sides_of(report):
    surface = report.system.geometry.surface
    return sorted(set(np.array(surface.hemispheres)[np.asarray(surface.unit_of_vertex) >= 0]))


def test_the_files_are_those_that_are_named(written):
    report, folder, paths = written
    gifti = [f"modules.{side[0].upper()}.label.gii" for side in sides_of(report)]
    assert [path.name for path in paths] == [*CIFTI, *gifti]
    assert {path.name for path in folder.iterdir()} == {*CIFTI, *gifti}


def test_modules_lie_where_the_units_are(written):
    report, folder, _ = written
    image = nibabel.load(folder / "modules.dlabel.nii")
    for side in sides_of(report):
        wanted = expected(report, report.communities.labels + 1, side)
        np.testing.assert_array_equal(on_vertices(image, 0, side), wanted)
        gifti = nibabel.load(folder / f"modules.{side[0].upper()}.label.gii")
        assert gifti.meta["AnatomicalStructurePrimary"] == f"Cortex{side.capitalize()}"
        (array,) = gifti.darrays
        assert array.intent == nibabel.nifti1.intent_codes["NIFTI_INTENT_LABEL"]
        np.testing.assert_array_equal(array.data, np.nan_to_num(wanted))
        assert gifti.labeltable.get_labels_as_dict()[0] == "???"
        assert gifti.labeltable.labels[0].rgba == (0, 0, 0, 0)


def test_colours_are_those_of_the_page(written):
    report, folder, _ = written
    (table,) = nibabel.load(folder / "modules.dlabel.nii").header.get_axis(0).label
    assert table[0] == ("???", (0, 0, 0, 0))
    assert sorted(table) == list(range(report.communities.n + 1))
    gifti = nibabel.load(folder / "modules.L.label.gii").labeltable.labels
    for module, colour in enumerate(module_colours(report.communities.n)):
        name, rgba = table[module + 1]
        assert name == f"module {module}"
        assert rgba == pytest.approx(to_rgba(colour))
        assert gifti[module + 1].label == name
        assert gifti[module + 1].rgba == pytest.approx(rgba)


def test_scalars_are_similarity_and_strength(written):
    report, folder, _ = written
    image = nibabel.load(folder / "similarity_to_seed.dscalar.nii")
    names = list(image.header.get_axis(0).name)
    units = list(report.system.units)
    assert len(names) == report.communities.n
    for module, name in enumerate(names):
        start, _, seed = name.partition(", seed ")
        assert start == f"module {module}"
        assert report.communities.labels[units.index(seed)] == module
        for side in sides_of(report):
            wanted = expected(report, report.similarity[units.index(seed)], side)
            np.testing.assert_allclose(on_vertices(image, module, side), wanted, atol=1e-6)
    image = nibabel.load(folder / "input_strength.dscalar.nii")
    for side in sides_of(report):
        wanted = expected(report, report.system.projection.weights.sum(axis=1), side)
        np.testing.assert_allclose(on_vertices(image, 0, side), wanted, rtol=1e-5)


@pytest.mark.parametrize(("name", "code"), list(zip(CIFTI, (3007, 3006, 3006), strict=True)))
def test_intents(written, name, code):
    assert int(nibabel.load(written[1] / name).nifti_header["intent_code"]) == code


@pytest.mark.skipif(shutil.which("wb_command") is None, reason="Connectome Workbench is not installed")
def test_workbench_reads_all(written):
    report, _, paths = written
    kinds = {"dlabel": "CIFTI - Dense Label", "dscalar": "CIFTI - Dense Scalar", "label": "Label"}
    for path in paths:
        done = subprocess.run(["wb_command", "-file-information", path], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        kind = next(line for line in done.stdout.splitlines() if line.startswith("Type:"))
        assert kind.partition(":")[2].strip() == kinds[path.name.split(".")[-2]]
    assert f"module {report.communities.n - 1}" in done.stdout


def test_the_seed_is_the_most_central_unit(areas):
    similarity, labels = areas.similarity, areas.communities.labels
    seeds = central_units(areas.system.projection.weights / np.linalg.norm(
        areas.system.projection.weights, axis=1, keepdims=True), labels)  # fmt: skip
    for module, seed in enumerate(seeds):
        members = np.flatnonzero(labels == module)
        assert seed == members[similarity[np.ix_(members, members)].sum(axis=1).argmax()]


def test_strength_of_every_kind_of_weights(rng):
    left, right = rng.random((5, 2)), rng.random((2, 7))
    strength = (left @ right).sum(axis=1)
    for weights in (left @ right, sparse.csr_array(left @ right), fct.FactoredMatrix(left, right)):
        np.testing.assert_allclose(input_strength(weights), strength)
        assert input_strength(weights).shape == (5,)


def test_sparse_projections(areas, tmp_path):
    weights = sparse.csr_array(areas.system.projection.weights)
    report = analysed(replace(areas.system, projection=fct.InputProjection(weights)))
    write_outputs(areas, tmp_path / "dense")
    write_outputs(report, tmp_path / "sparse")
    one, other = (nibabel.load(tmp_path / kind / CIFTI[1]) for kind in ("dense", "sparse"))
    np.testing.assert_allclose(np.asarray(one.dataobj), np.asarray(other.dataobj), atol=1e-6)


def test_a_hemisphere_of_an_earlier_report_goes(areas, tmp_path):
    write_outputs(areas, tmp_path)
    assert (tmp_path / "modules.R.label.gii").exists()
    write_outputs(analysed(fct.load("human-mini", hemisphere="left")), tmp_path)
    assert not (tmp_path / "modules.R.label.gii").exists()
    assert (tmp_path / "modules.L.label.gii").exists()


def test_a_system_without_surface_is_refused(areas, tmp_path):
    with pytest.raises(fct.InputError, match="has no surface"):
        write_outputs(analysed(replace(areas.system, geometry=None)), tmp_path / "o")
    assert not (tmp_path / "o").exists()
