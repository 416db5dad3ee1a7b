import json
import shutil
import subprocess
import sys
from dataclasses import replace

import nibabel
import numpy as np
import pytest
from fctoolbox_allen import fctoolbox_sources
from fctoolbox_allen.ccf import read_structures
from fctoolbox_allen.files import ANNOTATION, STRUCTURES
from fctoolbox_allen.grid import read_grid
from fctoolbox_allen.knox.masks import MaskParams, parts_of, read_mask, voxels_of
from fctoolbox_allen.rois import write_rois
from fctoolbox_allen.voxel import load_voxel, load_voxel_miniature
from fctoolbox_allen.voxel_choices import Choices
from fctoolbox_allen.voxel_miniature import DIVISIONS, write_model
from fctoolbox_allen.voxel_units import World, find_sources, find_structures, parcels_of, side_of, unit_volume

from fctoolbox import InputError, analyse_origin, cli, cosine_similarity
from fctoolbox.data import sha256_of
from fctoolbox.errors import DataUnavailable
from fctoolbox.plugins import load_source
from fctoolbox.testing import check_source

SOURCES = {source.name: source for source in fctoolbox_sources()}
N_ROIS = 600


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("model")
    write_model(path, rng=0, choices=Choices(n_rois=N_ROIS))
    return path


@pytest.fixture(scope="module")
def system(folder):
    return load_voxel(model=str(folder), n_rois=N_ROIS)


@pytest.fixture(scope="module")
def explicit(folder):
    """Everything the slow way: whole matrices as text, loops over voxels."""
    return Explicit(folder)


class Explicit:
    def __init__(self, folder):
        self.weights = np.loadtxt(folder / "weights.csv.gz", delimiter=",")
        self.nodes = np.loadtxt(folder / "nodes.csv.gz", delimiter=",")
        self.labels = read_grid(folder / "annotation_100.nrrd").labels
        self.path_of = {each.id: each.path for each in read_structures(folder / "tree.json").values()}
        self.sources = [voxel for voxel in np.ndindex(self.labels.shape) if self.is_grey(voxel) and voxel[2] >= 14]
        self.targets = {v: c for c, v in enumerate(v for v in np.ndindex(self.labels.shape) if self.is_grey(v))}

    def is_grey(self, voxel):
        return any(each in DIVISIONS for each in self.path_of.get(int(self.labels[voxel]), ()))

    def lies_in(self, voxel, structure):
        return structure in self.path_of[int(self.labels[voxel])]

    def row(self, voxels, source=549):
        """From each source voxel onto a unit on the left, through the voxels opposite."""
        rows = [i for i, voxel in enumerate(self.sources) if self.lies_in(voxel, source)]
        opposite = [(i, j, self.labels.shape[2] - k) for i, j, k in voxels]
        columns = [self.targets[voxel] for voxel in opposite if voxel in self.targets and self.lies_in(voxel, 315)]
        return (self.weights[rows] @ self.nodes[:, columns]).mean(axis=1)


def voxels_of_unit(system, unit):
    return list(map(tuple, np.argwhere(system.geometry.volume.unit_of_voxel == unit)))


def analysed(system, **options):
    return analyse_origin(system, n_nulls=19, n_restarts=10, rng=0, **options)


# --- the contract ----------------------------------------------------------------------------------------------------


def test_listing_the_sources_imports_nothing_heavy():
    code = (
        "import sys, fctoolbox_allen; fctoolbox_allen.fctoolbox_sources();"
        "print([name for name in ('numba', 'nrrd', 'nibabel', 'isal', 'nilearn') if name in sys.modules])"
    )
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert printed.strip() == "[]"


def test_the_miniature_keeps_the_contract():
    assert check_source(SOURCES["mouse-voxel-mini"])


def test_a_model_in_a_folder_keeps_the_contract(folder):
    # What was made up says so, whichever source reads it; in all else the contract holds.
    synthetic = replace(SOURCES["mouse-voxel"], synthetic=True)
    assert check_source(synthetic, model=str(folder), n_rois=N_ROIS)


def test_the_miniature_stands_in_for_the_real_thing():
    assert SOURCES["mouse-voxel"].miniature == "mouse-voxel-mini"
    offered, expected = SOURCES["mouse-voxel-mini"].options, SOURCES["mouse-voxel"].options
    assert set(offered) <= set(expected)
    assert {name for name in offered if offered[name] != expected[name]} == {"n_rois"}


def test_without_the_model_it_says_how_to_get_it():
    with pytest.raises(DataUnavailable, match=r"download weights.csv.gz \(145 MB\).* from https://.*-o model=FOLDER"):
        load_voxel()


# --- the projection --------------------------------------------------------------------------------------------------


def test_rows_are_those_of_the_explicit_product(system, explicit):
    product = system.projection.weights.left.astype(float) @ system.projection.weights.right
    assert system.projection.n_inputs == sum(explicit.lies_in(voxel, 549) for voxel in explicit.sources)
    for unit in (0, 7, system.n_units - 1):
        np.testing.assert_allclose(product[unit], explicit.row(voxels_of_unit(system, unit)), rtol=1e-4)


def test_inputs_are_named_in_the_order_of_the_rows(system, explicit):
    names = [voxel for voxel in explicit.sources if explicit.lies_in(voxel, 549)]
    assert [tuple(map(int, name.rsplit("-", 3)[1:])) for name in system.projection.inputs] == names
    assert set(system.projection.groups) == {"Thalamus"}


def test_similarity_is_that_of_the_explicit_product(system, explicit):
    units = [0, 3, 9, 20]
    rows = np.array([explicit.row(voxels_of_unit(system, unit)) for unit in units])
    found = cosine_similarity(system.projection.weights)[np.ix_(units, units)]
    np.testing.assert_allclose(found, cosine_similarity(rows), atol=1e-5)


def test_units_cover_the_left_cortex_once(system, explicit):
    unit_of_voxel = system.geometry.volume.unit_of_voxel
    covered = {tuple(map(int, voxel)) for voxel in np.argwhere(unit_of_voxel >= 0)}
    assert covered == {v for v in explicit.targets if v[2] < 14 and explicit.lies_in(v, 315)}
    assert (unit_of_voxel[explicit.labels == 0] == -1).all()
    assert set(system.annotations["hemisphere"]) == {"left"}
    assert set(system.annotations["division"]) == {"Isocortex"}
    for unit in (0, 11):
        centre = np.mean(voxels_of_unit(system, unit), axis=0) * 0.1
        np.testing.assert_allclose(system.geometry.positions[unit], centre)
    assert not [area for area in system.annotations["area"] if area[-1:].isdigit() or area.endswith(("6a", "6b"))]


def test_the_right_side_needs_no_mirror(folder, explicit):
    right = load_voxel_with_series(folder, hemisphere="right")
    voxels = voxels_of_unit(right, 4)
    rows = [i for i, voxel in enumerate(explicit.sources) if explicit.lies_in(voxel, 549)]
    expected = (explicit.weights[rows] @ explicit.nodes[:, [explicit.targets[voxel] for voxel in voxels]]).mean(axis=1)
    product = right.projection.weights.left.astype(float) @ right.projection.weights.right
    np.testing.assert_allclose(product[4], expected, rtol=1e-4)
    assert (right.geometry.positions[:, 2] >= 1.4).all()
    assert "own hemisphere" in right.provenance.notes["Mirroring"]


def load_voxel_with_series(folder, **options):
    """With series of all regions of the chosen units."""
    choices = Choices(n_rois=N_ROIS, **options)
    other = folder.parent / f"{folder.name}-{'-'.join(map(str, options.values()))}"
    if not other.is_dir():
        write_model(other, rng=0, choices=choices)
    return load_voxel(model=str(other), n_rois=N_ROIS, **options)


def test_several_sources_are_groups(folder, explicit):
    system = load_voxel(model=str(folder), n_rois=N_ROIS, sources="TH,Hypothalamus")
    assert set(system.projection.groups) == {"Thalamus", "Hypothalamus"}
    product = system.projection.weights.left.astype(float) @ system.projection.weights.right
    is_thalamus = np.array(system.projection.groups) == "Thalamus"
    np.testing.assert_allclose(product[5][is_thalamus], explicit.row(voxels_of_unit(system, 5)), rtol=1e-4)
    np.testing.assert_allclose(product[5][~is_thalamus], explicit.row(voxels_of_unit(system, 5), 1097), rtol=1e-4)


def test_all_sources_are_the_divisions_without_targets(folder):
    system = load_voxel(model=str(folder), n_rois=N_ROIS, sources="all")
    assert len(set(system.projection.groups)) == 11
    assert "Isocortex" not in system.projection.groups


def test_part_of_the_cortex(folder, explicit):
    system = load_voxel(model=str(folder), n_rois=N_ROIS, targets="Somatosensory areas,MO")
    whole = load_voxel(model=str(folder), n_rois=N_ROIS)
    assert set(system.units) < set(whole.units)
    for unit in range(system.n_units):
        assert any(explicit.lies_in(v, 453) or explicit.lies_in(v, 500) for v in voxels_of_unit(system, unit))


# --- units -----------------------------------------------------------------------------------------------------------


def test_voxels_are_units(folder, explicit):
    system = load_voxel_with_series(folder, units="voxels")
    assert system.n_units == sum(v[2] < 14 and explicit.lies_in(v, 315) for v in explicit.targets)
    unit = 17
    (voxel,) = voxels_of_unit(system, unit)
    assert system.units[unit].rsplit("-", 3)[1:] == [str(each) for each in voxel]
    product = system.projection.weights.left[unit].astype(float) @ system.projection.weights.right
    np.testing.assert_allclose(product, explicit.row([voxel]), rtol=1e-4)


def test_coarser_voxels(folder):
    system = load_voxel_with_series(folder, units="voxels", resolution=200)
    unit_of_voxel = system.geometry.volume.unit_of_voxel
    for unit in range(system.n_units):
        voxels = np.argwhere(unit_of_voxel == unit)
        assert len(voxels) <= 8
        assert len(np.unique(voxels // 2, axis=0)) == 1


def test_units_that_would_not_fit_are_refused(folder):
    with pytest.raises(InputError) as caught:
        load_voxel(model=str(folder), units="voxels", max_gb=0.001)
    assert "units need about 0.0 GB" in str(caught.value)
    assert "max_gb=0.001 allows 288 units: take resolution=200, or regions" in str(caught.value)


@pytest.mark.mirror
def test_voxels_of_the_real_cortex_are_refused_with_their_memory(published):
    structures, grid = read_structures(published(STRUCTURES)), read_grid(published(ANNOTATION))
    masks = [MaskParams(DIVISIONS, side) for side in (2, 3)]
    world = World(
        grid, structures, *(voxels_of(grid, structures, each) for each in masks), parts_of(DIVISIONS, structures)
    )
    choices = Choices(units="voxels")
    side = side_of(world, choices)
    with pytest.raises(InputError, match=r"60,861 units need about 44.4 GB .* max_gb=8 allows 25,819 units"):
        parcels_of(world, side, unit_volume(world, side, choices), choices)
    coarse = replace(choices, resolution=200)
    assert 7000 < len(parcels_of(world, side, unit_volume(world, side, coarse), coarse).ids) < 11_000
    rois = Choices()
    parcels = parcels_of(world, side, unit_volume(world, side, rois), rois)
    assert len(parcels.ids) == 2093
    assert side.n_without == 506


def test_a_volume_of_regions_of_ones_own(folder, system, tmp_path, explicit):
    ours = tmp_path / "ours.nii.gz"
    load_voxel(model=str(folder), n_rois=N_ROIS, save_rois=str(ours))
    with np.load(folder / "series.npz") as content:
        kept = {name: content[name] for name in content.files if name not in ("n_rois", "seed")}
    np.savez(tmp_path / "ours.npz", **kept)
    again = load_voxel(model=str(folder), roi_volume=str(ours), series=str(tmp_path / "ours.npz"))
    assert again.units == system.units
    np.testing.assert_array_equal(again.projection.weights.left, system.projection.weights.left)
    numbers = np.asarray(nibabel.load(ours).dataobj)
    unit = 6
    number = int(system.units[unit].rsplit("-", 1)[1])
    assert (numbers[system.geometry.volume.unit_of_voxel == unit] == number).all()
    assert "ours.nii.gz" in again.provenance.notes["Regions"]
    # A region is a unit where at least half of it lies in the targets.
    labels = np.where(np.isin(numbers, np.unique(numbers)[:50]), 1, numbers).astype(np.int64)
    write_rois(tmp_path / "other.nii", labels, read_grid(folder / "annotation_100.nrrd"))
    fewer = load_voxel(model=str(folder), roi_volume=str(tmp_path / "other.nii"), series=str(tmp_path / "ours.npz"))
    assert 3 <= fewer.n_units <= again.n_units


# --- the whole -------------------------------------------------------------------------------------------------------


def test_what_was_planted_is_found():
    system = load_voxel_miniature()
    report = analysed(system, null="permutation")
    assert report.relationship.pearson_r > 0.4
    assert report.induced.nulls[0].p_value == pytest.approx(1 / 20)
    labels = report.communities.labels
    planted = np.unique(report.system.annotations["planted"], return_inverse=True)[1]
    same = np.triu(planted[:, None] == planted, 1)
    together = labels[:, None] == labels
    assert together[same].mean() > 0.8
    assert together[np.triu(~same & (planted[:, None] != planted), 1)].mean() < 0.4


def test_what_was_not_planted_is_not_found():
    report = analysed(load_voxel_miniature(sources="Medulla"), null="permutation")
    assert report.relationship.pearson_r < 0.25


def test_nulls_of_space_run_on_it():
    report = analyse_origin(load_voxel_miniature(), null=["regrow", "moran"], n_nulls=19, n_restarts=5, rng=0)
    assert {each.model for each in report.induced.nulls} == {"regrow", "moran"}


def test_the_command_line(folder, tmp_path, capsys):
    arguments = ["run", "mouse-voxel", "-o", f"model={folder}", "-o", f"n_rois={N_ROIS}", "--null", "regrow"]
    cli.main([*arguments, "--n-nulls", "9", "--n-restarts", "2", "--out", str(tmp_path / "out")])
    assert "mouse-voxel (synthetic" in capsys.readouterr().out
    assert (tmp_path / "out" / "report.html").is_file()


def test_what_is_synthetic_says_so(system):
    assert system.provenance.synthetic
    assert system.name == "mouse-voxel (synthetic)"
    assert "made by fctoolbox" in system.provenance.citation
    assert "Mirroring" in system.provenance.notes


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"hemisphere": "both"}, "hemisphere is 'both'; it must be left or right"),
        ({"units": "areas"}, "units is 'areas'; it must be rois or voxels"),
        ({"resolution": 50}, "resolution is 50; it must be 100 or 200"),
        ({"resolution": 200}, "resolution=200 is for units=voxels; regions"),
        (
            {"sources": "Talamus"},
            "sources is 'Talamus', but the structure tree has no 'Talamus'. Did you mean 'Thalamus'",
        ),
        ({"targets": ","}, "targets is empty"),
        ({"targets": "fiber tracts"}, "has no voxel among the model's targets"),
        ({"n_rois": 10**6}, "n_rois is 1,000,000; it must lie between"),
        ({"n_rois": 24}, "1 unit lies in Isocortex (left), and at least 3 are needed"),
        ({"n_rois": N_ROIS - 1}, "series.npz holds series of regions made with n_rois=600, but n_rois is 599"),
        ({"seed": 1}, "series.npz holds series of regions made with seed=0, but seed is 1"),
        ({"n_rois": 0}, "n_rois is 0"),
        ({"max_gb": 0}, "max_gb is 0"),
        ({"annotation": "nowhere.nrrd"}, "annotation is nowhere.nrrd, which is no file"),
        ({"tree": "nowhere.json"}, "tree is nowhere.json, which is no file"),
        ({"export": "nowhere"}, "nowhere is no export: it has no export.json"),
        ({"export": "x", "tree": "a.json"}, "export has an annotation and a tree already; leave tree out, or export"),
        (
            {"export": "x", "tree": "a.json", "annotation": "a.nrrd"},
            "leave annotation and tree out, or export",
        ),
        ({"structures": "TH"}, "source 'mouse-voxel' has no option 'structures'"),
        ({"roi_volume": "nowhere.nii"}, "roi_volume is nowhere.nii, which is no file"),
        ({"series": "a.npz", "runs": "b.nii"}, "give the activity as one of series"),
        ({"confounds": "c.tsv", "low": 0.02, "t_r": 1.0}, "confounds, low belong to runs of your own"),
        ({"series": "a.npz", "scrub": ["a.txt"]}, "scrub belongs to runs of your own: name their files with runs"),
        ({"mask": "m.nii"}, "mask belongs to runs"),
        ({"columns": "x", "high": 0.2, "smoothing_fwhm": 0}, "columns, high, smoothing_fwhm belong to runs"),
        ({"units": "voxels", "roi_volume": "a.nii"}, "roi_volume is for units=rois"),
        ({"hemi": "left"}, "source 'mouse-voxel' has no option 'hemi'"),
    ],
)
def test_options_that_cannot_be_met(folder, options, message):
    chosen = {"model": str(folder), "n_rois": N_ROIS, **options}
    with pytest.raises(InputError) as caught:
        load_source(SOURCES["mouse-voxel"], **chosen)
    assert message in str(caught.value)


def exported(folder, path):
    """An export with annotation and tree of the model's folder, which are taken away there."""
    files = {"annotation": "annotation_100.nrrd", "structures": "tree.json"}
    path.mkdir()
    for name in files.values():
        shutil.move(folder / name, path / name)
    hashes = {key: {"name": name, "sha256": sha256_of(path / name)} for key, name in files.items()}
    hashes |= {key: {"name": f"{key}.none", "sha256": ""} for key in ("experiments", "unionizes")}  # nobody reads them
    record = {"schema": 1, "structures": ["grey"], "resolution": 100, "n_experiments": 0, "files": hashes}
    (path / "export.json").write_text(json.dumps(record))
    return path


def test_annotation_and_tree_of_an_export(folder, system, tmp_path):
    other = tmp_path / "model"
    shutil.copytree(folder, other)
    export = exported(other, tmp_path / "export")
    found = load_voxel(model=str(other), n_rois=N_ROIS, export=str(export))
    assert found.units == system.units
    np.testing.assert_array_equal(found.projection.weights.left, system.projection.weights.left)
    assert str(export) in found.provenance.notes["Annotation"]
    assert found.provenance.files == ()
    with (export / "annotation_100.nrrd").open("ab") as stream:
        stream.write(b" ")
    with pytest.raises(InputError, match=r"annotation_100\.nrrd is not the file that was exported"):
        load_voxel(model=str(other), n_rois=N_ROIS, export=export)


def test_without_activity_it_says_where_the_regions_are(folder, tmp_path):
    other, rois = tmp_path / "model", tmp_path / "rois.nii.gz"
    shutil.copytree(folder, other)
    (other / "series.npz").unlink()
    with pytest.raises(InputError, match=r"or put series\.npz into") as caught:
        load_voxel(model=str(other), n_rois=N_ROIS)
    assert "written" not in str(caught.value)
    with pytest.raises(InputError, match=r"or put series\.npz into") as caught:
        load_voxel(model=str(other), n_rois=N_ROIS, save_rois=str(rois))
    assert str(caught.value).endswith(f"The regions were written to {rois}")
    assert rois.is_file()


@pytest.mark.parametrize("name", ["annotation_100.nrrd", "tree.json"])
def test_a_damaged_annotation_or_tree_is_named(folder, tmp_path, name):
    other = tmp_path / "model"
    shutil.copytree(folder, other)
    (other / name).write_bytes((other / name).read_bytes()[:1000])
    with pytest.raises(InputError, match=rf"{other / name} is cut off.* damaged.*; fetch it again"):
        load_voxel(model=str(other), n_rois=N_ROIS)


def test_exchanged_masks_are_named(folder, tmp_path):
    other = tmp_path / "model"
    shutil.copytree(folder, other)
    source, target = other / "source_mask_params.json", other / "target_mask_params.json"
    shutil.copyfile(folder / source.name, target)
    shutil.copyfile(folder / target.name, source)
    with pytest.raises(InputError, match=r"source_mask_params\.json is the mask of the targets .* are exchanged"):
        load_voxel(model=str(other), n_rois=N_ROIS)


def test_one_time_series_is_spoken_of_in_the_singular(folder, tmp_path):
    with np.load(folder / "series.npz") as content:
        arrays = dict(content)
    name = next(name for name, array in arrays.items() if array.ndim == 2)
    few = arrays[name][:, :3].copy()
    few[:, 1:] = 4
    path = tmp_path / "series.npz"
    np.savez(path, rois=arrays["rois"][:3], one=few)
    with pytest.raises(InputError, match=r"^1 of the [\d,]+ units of Isocortex \(left\) has time series of use"):
        load_voxel(model=str(folder), n_rois=N_ROIS, series=str(path))


def test_too_few_time_series_are_told_why(folder, tmp_path):
    with np.load(folder / "series.npz") as content:
        arrays = dict(content)
    name = next(name for name, array in arrays.items() if array.ndim == 2)
    path, first = tmp_path / "series.npz", arrays["rois"][0]
    np.savez(path, **{**arrays, name: np.full_like(arrays[name], 4)})
    with pytest.raises(InputError) as caught:
        load_voxel(model=str(folder), n_rois=N_ROIS, series=str(path))
    assert str(caught.value).startswith("0 of the ")
    assert "have time series of use, and at least 3 are needed" in str(caught.value)
    assert f"{first}: constant in run '{name}' (outside the field of view?)" in str(caught.value)
    assert "another volume" not in str(caught.value)
    np.savez(path, rois=arrays["rois"][:2], one=arrays[name][:, :2])
    with pytest.raises(InputError, match=r"the time series name 2 of the .* do their numbers belong to another volume"):
        load_voxel(model=str(folder), n_rois=N_ROIS, series=str(path))


def test_structures_by_name_and_acronym(folder):
    structures = read_structures(folder / "tree.json")
    one = find_structures("targets", "Primary somatosensory area, nose", structures)
    assert [each.acronym for each in one] == ["SSp-n"]
    assert [each.acronym for each in find_structures("targets", "VISp, VISl,VISp", structures)] == ["VISp", "VISl"]


def test_masks_of_another_annotation_are_told(folder, tmp_path):
    other = tmp_path / "model"
    shutil.copytree(folder, other)
    mask = read_mask(other / "target_mask_params.json")
    text = (other / "target_mask_params.json").read_text().replace(f"{mask.structure_ids[-1]}", "549")
    (other / "target_mask_params.json").write_text(text)
    with pytest.raises(InputError, match=r"nodes.csv.gz has [\d,]+ columns, but target_mask_params.json names"):
        load_voxel(model=str(other), n_rois=N_ROIS)


def test_sources_of_all_leave_out_the_division_of_the_targets(folder):
    grid, structures = read_grid(folder / "annotation_100.nrrd"), read_structures(folder / "tree.json")
    voxels = voxels_of(grid, structures, MaskParams(DIVISIONS, 3))
    world = World(grid, structures, voxels, voxels, parts_of(DIVISIONS, structures))
    found = find_sources(Choices(sources="all", targets="CP"), world)
    assert "STR" not in [each.acronym for each in found]
    assert len(found) == 11
