"""What is written here is read back by nibabel, which shares no code with it."""

import gzip
import os
from itertools import permutations, product

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

import fctoolbox as fct
from fctoolbox.report.nifti import coordinate_directions, ras_affine, write_labels
from fctoolbox.system import LabelVolume

LETTERS = {"R": np.array([1, 0, 0]), "A": np.array([0, 1, 0]), "S": np.array([0, 0, 1])}
LETTERS |= {opposite: -LETTERS[letter] for letter, opposite in zip("RAS", "LPI", strict=True)}
ORIENTATIONS = ["".join(letters) for axes in permutations(("RL", "AP", "SI")) for letters in product(*axes)]


@pytest.fixture
def nib():
    return pytest.importorskip("nibabel")


def a_volume(orientation, space, rng, *, shape=(3, 4, 5)):
    """A grid whose axes lead to the letters `orientation`, in a space whose coordinates lead to the letters `space`."""
    spacing, origin = rng.uniform(0.05, 3, 3), rng.normal(0, 20, 3)
    # Rows: the space's coordinates; columns: where the grid's axes lead.
    affine = np.eye(4)
    affine[:3, :3] = [
        [LETTERS[c] @ LETTERS[a] * step for a, step in zip(orientation, spacing, strict=True)] for c in space
    ]
    affine[:3, 3] = origin
    return LabelVolume(rng.integers(-2, 6, shape), affine, orientation)


@pytest.mark.parametrize("space", ORIENTATIONS)
def test_a_voxel_keeps_its_place_whatever_the_letters(space, nib, rng):
    for orientation in ORIENTATIONS:
        volume = a_volume(orientation, space, rng)
        assert coordinate_directions(volume) == space
        ras = ras_affine(volume)
        assert nib.aff2axcodes(ras) == tuple(orientation)
        voxel = [2, 1, 3, 1]
        # Each coordinate of the space is that many mm towards its letter.
        place = sum(mm * LETTERS[letter] for mm, letter in zip((volume.affine @ voxel)[:3], space, strict=True))
        np.testing.assert_allclose((ras @ voxel)[:3], place, atol=1e-12)


def test_a_space_that_is_ras_already_keeps_its_affine(nib, rng):
    turn = Rotation.from_euler("xyz", [10, -15, 20], degrees=True).as_matrix()
    affine = np.eye(4)
    affine[:3, :3] = turn @ np.diag([2, -1, 0.5])
    affine[:3, 3] = [-90, 126, -72]
    volume = LabelVolume(np.zeros((2, 3, 4), dtype=int), affine, "".join(nib.aff2axcodes(affine)))
    np.testing.assert_array_equal(ras_affine(volume), affine)


@pytest.mark.parametrize(
    ("axes", "spacing", "expected"),
    [
        # x and y both change most along the first axis, but only one of them can be R.
        ([(0.8, 0.6, 0), (0.6, 0.55, 0.58), (0, 0, 1)], (1, 1, 1), "RAS"),
        ([(-0.8, -0.6, 0), (0.6, 0.55, 0.58), (0, 0, 1)], (1, 1, 1), "LAS"),
        # A long step is not a better reason than a short one: the second axis follows x most, and the first has y.
        ([(0.8, 0.6, 0), (0.9, 0.44, 0), (0, 0, 1)], (10, 0.1, 1), "ARS"),
    ],
)
def test_a_coordinate_has_one_direction_also_in_a_sheared_grid(axes, spacing, expected):
    affine = np.eye(4)
    affine[:3, :3] = np.transpose(axes) * spacing
    volume = LabelVolume(np.zeros((1, 1, 1), dtype=int), affine, "RAS")
    assert coordinate_directions(volume) == expected


@pytest.fixture
def ccf():
    """25 µm voxels in the order of the Allen CCF: AP, DV, ML."""
    grid = np.full((6, 5, 4), -2)
    grid[0] = -1
    grid[1, 2, 3], grid[4, 0, 1] = 0, 7
    affine = np.diag([0.025, 0.025, 0.025, 1])
    affine[:3, 3] = [0.05, 0, 0]
    return LabelVolume(grid, affine, "PIR", space="Allen CCFv3")


def test_by_hand(ccf, nib, tmp_path):
    path = write_labels(tmp_path / "new" / "units.nii.gz", ccf, np.arange(8), description="unit + 1")
    image = nib.load(path)
    assert image.shape == (6, 5, 4)
    values = image.get_fdata()
    assert (values[1, 2, 3], values[4, 0, 1], np.count_nonzero(values)) == (1, 8, 2)
    assert image.get_data_dtype() == np.int16
    assert nib.aff2axcodes(image.affine) == ("P", "I", "R")
    # AP 0.075, DV 0.05, ML 0.075: to the right, behind, below.
    np.testing.assert_allclose(image.affine @ [1, 2, 3, 1], [0.075, -0.075, -0.05, 1], atol=1e-7)
    header = image.header
    assert header["descrip"].item() == b"unit + 1; Allen CCFv3 (PIR) as RAS mm"
    assert header.get_xyzt_units()[0] == "mm"
    assert header.get_intent()[0] == "label"
    np.testing.assert_allclose(header.get_zooms(), [0.025] * 3)
    with gzip.open(path) as stream:
        raw = stream.read()
    assert len(raw) == 352 + 2 * 120
    assert (header["sizeof_hdr"], raw[344:348]) == (348, b"n+1\0")


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_qform_and_sform_agree(orientation, nib, rng, tmp_path):
    volume = a_volume(orientation, "PIR", rng)
    image = nib.load(write_labels(tmp_path / "l.nii.gz", volume, np.arange(6)))
    assert (int(image.header["qform_code"]), int(image.header["sform_code"])) == (2, 2)
    np.testing.assert_allclose(image.get_sform(), ras_affine(volume), atol=1e-5)
    np.testing.assert_allclose(image.get_qform(), ras_affine(volume), atol=1e-5)
    expected = np.where(volume.unit_of_voxel >= 0, volume.unit_of_voxel + 1, 0)
    np.testing.assert_array_equal(np.asarray(image.dataobj), expected)


def test_a_turned_and_a_sheared_grid(nib, tmp_path):
    turned = np.eye(4)
    turned[:3, :3] = Rotation.from_euler("xyz", [20, 30, -25], degrees=True).as_matrix() @ np.diag([-1, 2, 0.5])
    image = nib.load(write_labels(tmp_path / "l.nii.gz", LabelVolume(np.zeros((2, 2, 2), int), turned), np.arange(1)))
    np.testing.assert_allclose(image.get_qform(), image.get_sform(), atol=1e-6)
    sheared = np.eye(4)
    sheared[0, 1] = 0.3
    image = nib.load(write_labels(tmp_path / "l.nii.gz", LabelVolume(np.zeros((2, 2, 2), int), sheared), np.arange(1)))
    assert image.get_qform(coded=True)[1] == 0  # a quaternion knows no shear
    np.testing.assert_allclose(image.affine, sheared, atol=1e-6)


@pytest.mark.parametrize(("largest", "dtype"), [(32_766, np.int16), (32_767, np.int32), (70_000, np.int32)])
def test_many_labels(largest, dtype, nib, tmp_path):
    volume = LabelVolume(np.array([[[0, 1, -1, -2]]]), np.eye(4))
    image = nib.load(write_labels(tmp_path / "l.nii.gz", volume, np.array([largest, 0])))
    assert image.get_data_dtype() == dtype
    assert np.asarray(image.dataobj).ravel().tolist() == [largest + 1, 1, 0, 0]


def test_same_volume_same_bytes(ccf, tmp_path, monkeypatch):
    one = write_labels(tmp_path / "one.nii.gz", ccf, np.arange(8)).read_bytes()
    monkeypatch.setattr("time.time", lambda: 1e9)
    two = write_labels(tmp_path / "two.nii.gz", ccf, np.arange(8, dtype=np.int32)).read_bytes()
    assert one == two
    assert {path.name for path in tmp_path.iterdir()} == {"one.nii.gz", "two.nii.gz"}


def test_a_description_that_is_too_long_is_cut(ccf, nib, tmp_path):
    header = nib.load(write_labels(tmp_path / "l.nii.gz", ccf, np.arange(8), description="ä" + "x" * 99)).header
    assert header["descrip"].item() == b"?" + b"x" * 78
    unnamed = LabelVolume(ccf.unit_of_voxel, ccf.affine, "PIR")
    header = nib.load(write_labels(tmp_path / "l.nii.gz", unnamed, np.arange(8))).header
    assert header["descrip"].item() == b"space not named (PIR) as RAS mm"


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.arange(7), r"\(7,\) of int64: a label map needs an integer for each of the volume's 8 units"),
        (np.ones(8), "float64"),
        (np.ones((8, 1), dtype=int), r"\(8, 1\)"),
        (np.arange(8) - 1, "reach from -1 to 6"),
        (np.full(8, 2**31 - 1), "to 2147483647; they must lie in 0 … 2147483646"),
    ],
)
def test_labels_that_do_not_fit(labels, message, ccf, tmp_path):
    with pytest.raises(fct.InputError, match=message):
        write_labels(tmp_path / "l.nii.gz", ccf, labels)
    assert list(tmp_path.iterdir()) == []


def test_a_grid_that_nifti_cannot_count(tmp_path):
    volume = LabelVolume(np.zeros((1, 1, 40_000), dtype=np.int8), np.eye(4))
    with pytest.raises(fct.InputError, match=r"\(1, 1, 40000\); NIfTI-1 counts voxels along an axis to 32767"):
        write_labels(tmp_path / "l.nii.gz", volume, np.arange(1))


def test_nothing_is_left_when_it_cannot_be_written(ccf, tmp_path, monkeypatch):
    path = tmp_path / "l.nii.gz"
    path.write_bytes(b"the former one")

    def full(self, data):
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(gzip.GzipFile, "write", full)
    with pytest.raises(fct.InputError, match=r"l\.nii\.gz cannot be written: No space left"):
        write_labels(path, ccf, np.arange(8))
    assert path.read_bytes() == b"the former one"
    assert list(tmp_path.iterdir()) == [path]


def test_labels_of_no_unit(nib, tmp_path):
    image = nib.load(write_labels(tmp_path / "l.nii.gz", LabelVolume(np.full((2, 2, 2), -2), np.eye(4)), np.arange(0)))
    assert not np.asarray(image.dataobj).any()


@pytest.mark.mirror
@pytest.mark.skipif("FCTOOLBOX_MIRROR" not in os.environ, reason="needs the real files")
def test_real_areas_lie_where_the_atlas_has_them(nib, tmp_path):
    pytest.importorskip("fctoolbox_allen")
    system = fct.load("mouse-regional")
    path = write_labels(tmp_path / "u.nii.gz", system.geometry.volume, np.arange(system.n_units))
    image = nib.load(path)
    values = np.asarray(image.dataobj)
    assert b"Allen CCFv3 (PIR)" in image.header["descrip"].item()
    centres = {
        name: (image.affine @ [*np.argwhere(values == unit + 1).mean(axis=0), 1])[:3]
        for unit, name in enumerate(system.units)
    }
    # Centroids of the fine volume, in AP, DV and ML.
    for (ap, dv, ml), centre in zip(system.geometry.positions, centres.values(), strict=True):
        np.testing.assert_allclose(centre, [ml, -ap, -dv], atol=0.05)
    assert centres["VISp"][1] < centres["MOp"][1]  # visual cortex lies behind motor cortex
    assert centres["AI"][2] < centres["MOp"][2]  # insula below it
    assert centres["AUDp"][0] < centres["ACA"][0] < 5.7  # on the left: the far side has the smaller x
