import numpy as np
import pytest
from fctoolbox_allen.space import Grid, check_covered, check_same_space, check_sides, check_size, grid_of

from fctoolbox import InputError
from tests.plugins.allen.bold_files import AFFINE, SHAPE, SPACING

nibabel = pytest.importorskip("nibabel")

LABELS = Grid("labels.nii.gz", SHAPE, AFFINE)


def moved(mm=(0, 0, 0), scale=(1, 1, 1), shape=SHAPE):
    affine = AFFINE @ np.diag([*scale, 1.0])
    affine[:3, 3] += mm
    return Grid("run-1", shape, affine)


# 16 times finer, as labels of 25 µm are beside a run of 0.4 mm.
FINE = moved((-0.19, -0.19, -0.23), scale=(0.0625, 0.0625, 0.0625), shape=(320, 384, 192))


def flipped(*axes):
    affine = AFFINE.copy()
    affine[list(axes)] *= -1
    return Grid("run-1", SHAPE, affine)


def test_a_grid_knows_where_it_is():
    grid = Grid("run", SHAPE, AFFINE)
    assert grid.axis_codes == "RAS"
    assert grid.axis_of_sides == 0
    np.testing.assert_allclose(grid.spacing, SPACING)
    np.testing.assert_allclose(grid.box, [-0.5 * np.array(SHAPE) * SPACING, 0.5 * np.array(SHAPE) * SPACING])


def test_the_axes_of_a_grid_may_be_permuted():
    affine = np.array([[0, 0, 0.1, -5.0], [-0.1, 0, 0, 6.0], [0, -0.1, 0, 4.0], [0, 0, 0, 1]])
    grid = Grid("ccf", (132, 80, 114), affine)
    assert grid.axis_codes == "PIR"
    assert grid.axis_of_sides == 2
    np.testing.assert_allclose(grid.box[1] - grid.box[0], [11.4, 13.2, 8.0])


def test_time_is_no_part_of_a_grid():
    grid = grid_of(nibabel.Nifti1Image(np.zeros((*SHAPE, 4), np.float32), AFFINE), "run")
    assert grid.shape == SHAPE
    assert grid.equals(LABELS)


@pytest.mark.parametrize(
    "other",
    [
        moved(),
        moved((0.3, -0.2, 0.1)),
        moved(scale=(2, 2, 2), shape=(10, 12, 6)),
        moved((2.0, 0, 0)),
        FINE,
        moved(shape=(20, 24, 1)),
    ],
    ids=["equal", "shifted a little", "coarser", "shifted by a quarter", "fine", "a slab"],
)
def test_grids_of_one_space_pass(other):
    check_same_space(LABELS, other)
    check_same_space(other, LABELS)


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (
            flipped(0),
            "run-1 has the axes LAS, but labels.nii.gz has RAS: one is the mirror image of the other from left",
        ),
        (flipped(1), "RPS, but labels.nii.gz has RAS: their axes lead elsewhere and one of them is mirrored"),
        (flipped(0, 1), "LPS, but labels.nii.gz has RAS: their axes lead elsewhere. Where both"),
        (
            moved(scale=(10, 10, 10)),
            r"run-1 is 80 × 96 × 60 mm large \(voxels of 4 × 4 × 5 mm\), but labels.nii.gz is 8 × 9.6 × 6 mm .*: about "
            "10 times. Its header seems enlarged ×10, .* divide the first three rows of the affine by 10 ",
        ),
        (moved(scale=(0.1, 0.1, 0.1)), "labels.nii.gz is 8 × 9.6 × 6 mm large .* but run-1 is 0.8 .* about 10 times"),
        (moved(scale=(1000, 1000, 1000)), "about 1,000 times. Is its header in µm"),
        (moved((6.0, 0, 0)), "not in one space: their fields of view share 25% of the smaller one"),
        (moved((0, 0, -40.0)), "share 0% of the smaller one"),
    ],
)
def test_what_is_wrong_is_said_in_words(other, message):
    with pytest.raises(InputError, match=message):
        check_same_space(LABELS, other)


@pytest.mark.parametrize("affine", [np.zeros((4, 4)), np.full((4, 4), np.nan), np.eye(3)])
def test_an_affine_that_is_none(affine):
    with pytest.raises(InputError, match="run: its affine is no map from voxels to mm"):
        Grid("run", SHAPE, affine)


def half(side):
    there = np.zeros(SHAPE, bool)
    there[: 8 if side == "left" else None, 4:20, 3:9] = True
    if side == "right":
        there[:12] = False
    return there


def test_labels_on_the_side_that_was_measured_pass():
    check_covered(half("left"), half("left"), LABELS, "labels")
    check_covered(half("left"), np.ones(SHAPE, bool), LABELS, "labels")


def test_labels_on_the_other_side_are_called_mirrored():
    with pytest.raises(InputError, match="signal in 0% of the voxels of labels, but would have it in 100% of them if"):
        check_covered(half("left"), half("right"), LABELS, "labels")


def test_a_brain_that_is_asymmetric_enough_shows_that_it_is_mirrored(rng):
    slab = np.zeros(SHAPE, bool)
    slab[2:14, 2:22, 2:10] = True  # a surface coil on the left
    labelled = np.zeros(SHAPE, bool)
    labelled[3:13, 3:20, 3:9] = True
    check_covered(labelled, slab, LABELS, "labels")
    with pytest.raises(InputError, match="one of the two is mirrored"):
        check_covered(labelled, slab[::-1], LABELS, "labels")


def test_the_axis_between_the_sides_is_the_one_that_is_mirrored():
    turned = Grid("run", (12, 24, 20), AFFINE[:, [2, 1, 0, 3]])
    with pytest.raises(InputError, match="one of the two is mirrored"):
        check_covered(half("left").transpose(2, 1, 0), half("right").transpose(2, 1, 0), turned, "labels")


def test_labels_where_nothing_was_measured():
    far = np.zeros(SHAPE, bool)
    far[:, :2] = True
    brain = np.zeros(SHAPE, bool)
    brain[:, 10:] = True
    with pytest.raises(InputError, match=r"run has signal in only 0% of the voxels of labels .*Are both in one space"):
        check_covered(far, brain, Grid("run", SHAPE, AFFINE), "labels")


def test_sides_are_where_their_names_say():
    check_sides({"a": -3.0, "b": -0.5, "c": 0.6, "d": 3}, {"a": "left", "b": "left", "c": "right", "d": "right"}, "l")
    check_sides({"a": 3.0, "b": 0.5}, {"a": "left", "b": "left"}, "one side only")


def test_labels_of_a_mouse_are_not_larger_than_its_brain():
    there = np.zeros(SHAPE, bool)
    there[2:18, 2:22, 2:10] = True
    check_size(there, LABELS)
    check_size(np.zeros(SHAPE, bool), LABELS)
    one_area = np.zeros(SHAPE, bool)
    one_area[2:10, 2:10, 2:10] = True
    with pytest.raises(InputError, match=r"run-1: its labels are 32 × 32 × 40 mm large, but a mouse .* affine by 10 "):
        check_size(one_area, moved(scale=(10, 10, 10)))
    with pytest.raises(InputError, match=r"Is its header in µm.* affine by 1,000 "):
        check_size(one_area, moved(scale=(1000, 1000, 1000)))


def test_names_of_the_other_side():
    with pytest.raises(InputError, match="l: what is named left lies on the right"):
        check_sides({"a": -3.0, "b": 3.0}, {"a": "right", "b": "left"}, "l")


def test_one_name_of_the_other_side():
    sides = {"a": "left", "b": "left", "c": "left", "d": "right", "e": "right", "f": "right"}
    with pytest.raises(InputError, match=r"l: c, named left, lies on the other side of the midline"):
        check_sides({"a": -3.0, "b": -3.0, "c": 2.0, "d": 3.0, "e": 3.0, "f": 2.5}, sides, "l")
