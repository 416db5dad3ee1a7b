"""Structures of a CIFTI-2 file, by name."""

import numpy as np
import pytest
from fctoolbox_hcp import files
from fctoolbox_hcp.structures import choose, structures_of, template_axis
from nibabel.cifti2 import BrainModelAxis

from fctoolbox.data import locate
from fctoolbox.errors import InputError

AFFINE = np.array([[-2.0, 0, 0, 90], [0, 2, 0, -126], [0, 0, 2, -72], [0, 0, 0, 1]])


def cortex(side, vertices=(0, 2, 3), n_vertices=5):
    return BrainModelAxis.from_surface(np.array(vertices), n_vertices, name=f"CIFTI_STRUCTURE_CORTEX_{side}")


def voxels(name, ijk=((1, 2, 3), (4, 5, 6))):
    return BrainModelAxis(f"CIFTI_STRUCTURE_{name}", voxel=np.array(ijk), affine=AFFINE, volume_shape=(91, 109, 91))


def whole():
    return cortex("LEFT") + cortex("RIGHT") + voxels("BRAIN_STEM") + voxels("THALAMUS_LEFT") + voxels("THALAMUS_RIGHT")


def test_a_structure_knows_its_rows_and_places():
    found = structures_of(whole(), "a.dscalar.nii")
    assert [(name, each.rows) for name, each in found.items()] == [
        ("CORTEX_LEFT", slice(0, 3)),
        ("CORTEX_RIGHT", slice(3, 6)),
        ("BRAIN_STEM", slice(6, 8)),
        ("THALAMUS_LEFT", slice(8, 10)),
        ("THALAMUS_RIGHT", slice(10, 12)),
    ]
    left, thalamus = found["CORTEX_LEFT"], found["THALAMUS_LEFT"]
    assert (left.vertices.tolist(), left.n_vertices, left.positions) == ([0, 2, 3], 5, None)
    assert thalamus.positions.tolist() == [[88, -122, -66], [82, -116, -60]]
    assert (left.hemisphere, found["BRAIN_STEM"].hemisphere) == ("left", "none")
    assert (thalamus.label, found["BRAIN_STEM"].label) == ("left thalamus", "brain stem")
    assert left.names == ("cortex-left-0", "cortex-left-2", "cortex-left-3")
    assert thalamus.names == ("thalamus-left-1-2-3", "thalamus-left-4-5-6")


def test_right_before_left_gives_the_same_structures():
    axis = voxels("THALAMUS_RIGHT") + voxels("THALAMUS_LEFT") + cortex("RIGHT") + cortex("LEFT", vertices=(1, 4))
    found = structures_of(axis, "a.dscalar.nii")
    assert found["CORTEX_LEFT"].rows == slice(7, 9)
    assert found["CORTEX_LEFT"].vertices.tolist() == [1, 4]
    assert [each.name for each in choose(found, "thalamus", "a")] == ["THALAMUS_LEFT", "THALAMUS_RIGHT"]


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ("CORTEX_LEFT", ["CORTEX_LEFT"]),
        ("cortex-left", ["CORTEX_LEFT"]),
        ("CIFTI_STRUCTURE_CORTEX_LEFT", ["CORTEX_LEFT"]),
        ("THALAMUS", ["THALAMUS_LEFT", "THALAMUS_RIGHT"]),
        ("thalamus right, brain stem", ["THALAMUS_RIGHT", "BRAIN_STEM"]),
        (("BRAIN_STEM", "CORTEX"), ["BRAIN_STEM", "CORTEX_LEFT", "CORTEX_RIGHT"]),
    ],
)
def test_structures_are_chosen_by_name(names, expected):
    assert [each.name for each in choose(structures_of(whole(), "a"), names, "a")] == expected


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ("THALMUS", "a.dconn.nii has no structure THALMUS. Did you mean 'THALAMUS'"),
        ("CORTEX_LEFTT", "Did you mean 'CORTEX_LEFT'"),
        ("THALAMUS,THALAMUS_LEFT", "THALAMUS_LEFT is named more than once"),
        (" , ", "no structure is named; a.dconn.nii has CORTEX_LEFT, CORTEX_RIGHT, BRAIN_STEM"),
    ],
)
def test_wrong_names_are_answered(names, message):
    with pytest.raises(InputError, match=message):
        choose(structures_of(whole(), "a.dconn.nii"), names, "a.dconn.nii")


def test_damaged_lists_are_refused():
    with pytest.raises(InputError, match="CORTEX_LEFT in two pieces"):
        structures_of(cortex("LEFT", (0,)) + cortex("RIGHT") + cortex("LEFT", (3,)), "a")
    with pytest.raises(InputError, match="a lists a vertex of CORTEX_LEFT twice"):
        structures_of(cortex("LEFT", (0, 3, 0)), "a")
    with pytest.raises(InputError, match="from 0 to 7, but its surface has only 5"):
        structures_of(cortex("LEFT", (0, 7)), "a")
    with pytest.raises(InputError, match="a lists a voxel of BRAIN_STEM twice"):
        structures_of(voxels("BRAIN_STEM", ((1, 1, 1), (1, 1, 1))), "a")
    axis = voxels("THALAMUS_LEFT")
    axis._affine = np.diag([2.0, 2, 0, 1])
    with pytest.raises(InputError, match="where the voxels of THALAMUS_LEFT are: its volume has no usable affine"):
        structures_of(axis, "a")


@pytest.mark.mirror
def test_the_standard_space_has_the_published_structures():
    if locate(files.GRAYORDINATES) is None:
        pytest.skip("ones.dscalar.nii is not in FCTOOLBOX_MIRROR")
    found = structures_of(template_axis(), "ones.dscalar.nii")
    assert len(found) == 21
    assert found["CORTEX_LEFT"].rows == slice(0, 29_696)
    assert found["CORTEX_LEFT"].n_vertices == 32_492
    assert [found[f"THALAMUS_{side}"].rows for side in ("LEFT", "RIGHT")] == [
        slice(88_746, 90_034),
        slice(90_034, 91_282),
    ]
    assert found["THALAMUS_LEFT"].positions[:, 0].mean() < -10 < 10 < found["THALAMUS_RIGHT"].positions[:, 0].mean()
