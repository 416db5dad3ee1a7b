"""A world small enough to look at: two divisions, one behind the other, symmetric but for what a test changes."""

import numpy as np
import pytest
from fctoolbox_allen.ccf import Structure
from fctoolbox_allen.grid import LabelGrid
from fctoolbox_allen.knox.masks import MaskParams, parts_of, voxels_of
from fctoolbox_allen.rois import write_rois
from fctoolbox_allen.voxel_choices import Choices
from fctoolbox_allen.voxel_units import Units, World, _most_common, parcels_of, side_of, unit_volume

from fctoolbox import InputError

FRONT, BACK = 10, 20
TREE = {
    name: Structure(number, name, name, path, (0, 0, 0))
    for name, number, path in (
        ("root", 1, (1,)),
        ("F", FRONT, (1, FRONT)),
        ("B", BACK, (1, BACK)),
        ("Ba", 21, (1, BACK, 21)),
        ("Ba1", 22, (1, BACK, 21, 22)),
    )
}
SHAPE = (6, 5, 12)


@pytest.fixture
def labels():
    labels = np.full(SHAPE, FRONT)
    labels[3:] = 22
    labels[:, :, 0] = 0  # opposite of nothing: the plane lies on column 6
    return labels


def world_of(labels):
    grid = LabelGrid(labels)
    sources, targets = (voxels_of(grid, TREE, MaskParams((FRONT, BACK), side)) for side in (2, 3))
    return World(grid, TREE, sources, targets, parts_of((FRONT, BACK), TREE))


def column_at(world, side, voxel):
    (row,) = np.flatnonzero((world.targets == voxel).all(axis=1))
    return None if side.column[row] < 0 else tuple(map(int, world.targets[side.column[row]]))


def parcels(world, choices):
    side = side_of(world, choices)
    volume = unit_volume(world, side, choices)
    return parcels_of(world, side, volume, choices), volume


def test_the_column_is_that_of_the_voxel_opposite(labels):
    world = world_of(labels)
    side = side_of(world, Choices(targets="F"))
    assert column_at(world, side, (1, 2, 3)) == (1, 2, 9)
    assert column_at(world, side, (4, 2, 3)) is None  # not among the targets
    assert column_at(world, side, (1, 2, 9)) is None  # not on the left
    assert side.n_without == 0
    right = side_of(world, Choices(targets="F", hemisphere="right"))
    assert column_at(world, right, (1, 2, 9)) == (1, 2, 9)
    assert column_at(world, right, (1, 2, 6)) == (1, 2, 6)
    assert right.agreement is None


def test_no_partner_in_another_division_or_outside_the_targets(labels):
    labels[1, 2, 9] = 22
    labels[1, 3, 9] = 0
    world = world_of(labels)
    both = side_of(world, Choices(targets="F,B"))
    assert column_at(world, both, (1, 2, 3)) is None
    assert column_at(world, both, (1, 3, 3)) is None
    assert column_at(world, both, (1, 1, 3)) == (1, 1, 9)
    assert both.n_without == 2


def test_a_region_is_a_unit_where_half_of_it_lies_in_the_targets(labels, tmp_path):
    world = world_of(labels)
    volume = np.zeros(SHAPE, dtype=np.int64)
    volume[0:2, 0, 1:3] = 1  # in front
    volume[2:5, 1, 1:3] = 2  # one third in front
    volume[2:4, 2, 1:3] = 3  # one half
    volume[0:2, 3, 1:3] = 4
    volume[0:2, 4, 8:10] = 5  # on the other side
    path = write_rois(tmp_path / "rois.nii", volume, world.grid)
    found, _ = parcels(world, Choices(targets="F", roi_volume=str(path)))
    assert found.ids.tolist() == [1, 3, 4]
    assert found.names == ("F-1", "F-3", "F-4")
    members = world.targets[found.members]
    assert (members[:, 0] < 3).all()  # those of a unit outside the targets do not count
    assert np.bincount(found.parcel_of_member).tolist() == [4, 2, 4]


def test_a_region_whose_voxels_all_lack_a_partner_is_left_out(labels, tmp_path):
    labels[0, 0, 9:] = 22
    world = world_of(labels)
    volume = np.zeros(SHAPE, dtype=np.int64)
    volume[0, 0, 1:4] = 1
    for number in (2, 3, 4):
        volume[1, number, 1:4] = number
    path = write_rois(tmp_path / "rois.nii", volume, world.grid)
    found, _ = parcels(world, Choices(targets="F", roi_volume=str(path)))
    assert found.ids.tolist() == [2, 3, 4]
    assert found.left_out == {"roi-1": "no voxel of it has a partner"}


def test_what_is_known_of_the_units(labels):
    world = world_of(labels)
    found, volume = parcels(world, Choices(targets="F,B", n_rois=20))
    kept = np.arange(len(found.ids)) != 1
    units = Units.of(world, found, kept)
    assert len(units.names) == kept.sum()
    assert found.names[1] not in units.names
    division = dict(zip(units.names, units.annotations["division"], strict=True))
    assert set(division.values()) == {"F", "B"}
    assert all(name.startswith(division[name]) for name in division)
    assert set(units.annotations["area"]) == {"F", "Ba"}  # a layer stands for its area
    assert set(units.annotations["group"]) == {"F", "Ba"}
    geometry = units.geometry(world.grid)
    for unit in range(len(units.names)):
        voxels = np.argwhere(geometry.volume.unit_of_voxel == unit)
        assert len(set(volume[tuple(voxels.T)])) == 1
        np.testing.assert_allclose(geometry.positions[unit], 0.1 * voxels.mean(axis=0))
    dropped = volume == found.ids[1]
    assert (geometry.volume.unit_of_voxel[dropped] == -2).all()
    assert (geometry.volume.unit_of_voxel[labels == 0] == -1).all()
    assert geometry.volume.space == "Allen CCFv3"


def test_blocks_of_voxels_stay_in_their_division(labels):
    world = world_of(labels)
    found, _ = parcels(world, Choices(targets="F,B", units="voxels", resolution=200))
    for parcel in range(len(found.ids)):
        voxels = world.targets[found.members[found.parcel_of_member == parcel]]
        assert len(np.unique(voxels // 2, axis=0)) == 1
        assert len({labels[tuple(voxel)] for voxel in voxels}) == 1


def test_an_asymmetric_annotation_is_refused_for_the_left_only(labels):
    labels[:, :, 8:] = np.random.default_rng(0).choice([FRONT, 22], labels[:, :, 8:].shape)
    world = world_of(labels)
    with pytest.raises(InputError, match="the annotation is not symmetric"):
        side_of(world, Choices(targets="F"))
    assert side_of(world, Choices(targets="F", hemisphere="right")).chosen.any()


def test_the_most_common_label_by_hand():
    values, unit = np.array([7, 5, 7, 9, 3, 3, 9, 4]), np.array([0, 0, 0, 1, 1, 1, 2, 2])
    assert _most_common(values, unit).tolist() == [7, 3, 4]
