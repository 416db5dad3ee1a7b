import nrrd
import numpy as np
import pytest
from fctoolbox_allen.ccf import read_structures
from fctoolbox_allen.files import ANNOTATION, STRUCTURES
from fctoolbox_allen.grid import LabelGrid, _agreement, mirror_of, partners, read_grid
from fctoolbox_allen.voxel_miniature import write_annotation

from fctoolbox import InputError


def symmetric(rng, n, total):
    """Labels of voxel z and total - z are the same."""
    labels = rng.integers(1, 50, (6, 5, n))
    z = np.arange(n)
    opposite = total - z
    there = (opposite >= 0) & (opposite < n) & (opposite > z)
    labels[:, :, opposite[there]] = labels[:, :, z[there]]
    return LabelGrid(labels)


@pytest.mark.parametrize(("n", "total"), [(12, 12), (12, 11), (13, 12), (13, 13), (12, 10)])
def test_the_plane_is_found_for_either_parity(rng, n, total):
    mirror = mirror_of(symmetric(rng, n, total))
    assert (mirror.total, mirror.agreement) == (total, 1.0)


def test_partners_by_hand(rng):
    grid = symmetric(rng, 12, 12)
    voxels = np.array([[0, 0, 0], [0, 0, 1], [2, 3, 6], [1, 1, 11]])
    assert partners(grid, mirror_of(grid), voxels).tolist() == [[0, 0, -1], [0, 0, 11], [2, 3, 6], [1, 1, 1]]


def test_an_asymmetric_annotation_is_refused(rng):
    with pytest.raises(InputError, match=r"not symmetric: .*% of its voxels .* take hemisphere=right"):
        mirror_of(LabelGrid(rng.integers(1, 50, (6, 5, 12))))


def test_agreement_is_that_of_the_brain(rng):
    labels = symmetric(rng, 12, 12).labels.copy()
    labels[:3] = 0
    changed = labels.copy()
    changed[3, 0, 2] += 1
    n_brain = 3 * 5 * 11
    assert _agreement(labels, 12) == 1
    assert _agreement(changed, 12) == pytest.approx(1 - 2 / n_brain)


def write(path, volume, spacing):
    directions = np.diag([spacing] * 3)
    nrrd.write(
        str(path),
        volume,
        header={"space": "left-posterior-superior", "space directions": directions, "space origin": np.zeros(3)},
        index_order="F",
    )
    return path


def test_every_fourth_voxel_from_the_first(tmp_path, rng):
    volume = rng.integers(0, 2**31 - 1, (9, 8, 12)).astype(np.uint32)
    np.testing.assert_array_equal(read_grid(write(tmp_path / "a.nrrd", volume, 25.0)).labels, volume[::4, ::4, ::4])
    np.testing.assert_array_equal(read_grid(write(tmp_path / "b.nrrd", volume, 100.0)).labels, volume)


def test_annotations_that_are_none(tmp_path, rng):
    volume = rng.integers(0, 9, (4, 4, 4)).astype(np.uint32)
    with pytest.raises(InputError, match="has voxels of 30 µm"):
        read_grid(write(tmp_path / "a.nrrd", volume, 30.0))
    with pytest.raises(InputError, match="structure ids in 3 were expected"):
        read_grid(write(tmp_path / "b.nrrd", volume.astype(np.float32), 100.0))
    (tmp_path / "c.nrrd").write_text("<html>")
    with pytest.raises(InputError, match="not read as an NRRD volume"):
        read_grid(tmp_path / "c.nrrd")


def test_positions_are_those_of_the_finer_volume(tmp_path):
    grid = LabelGrid(np.ones((4, 5, 6), dtype=np.int64))
    assert (grid.affine @ [1, 2, 3, 1]).tolist() == pytest.approx([0.1, 0.2, 0.3, 1])
    assert (grid.ras_affine @ [1, 2, 3, 1]).tolist() == pytest.approx([0.3, -0.1, -0.2, 1])
    write_annotation(tmp_path / "a.nrrd", grid)
    np.testing.assert_array_equal(read_grid(tmp_path / "a.nrrd").labels, grid.labels)


@pytest.mark.mirror
def test_the_real_annotation(published):
    grid, structures = read_grid(published(ANNOTATION)), read_structures(published(STRUCTURES))
    mirror = mirror_of(grid)
    assert mirror.total == 114
    assert mirror.agreement > 0.95
    assert _agreement(grid.labels, 113) < 0.75
    cortex = np.isin(grid.labels, [each.id for each in structures.values() if 315 in each.path])
    left = np.argwhere(cortex[:, :, :57])
    opposite = partners(grid, mirror, left)
    assert len(left) == 61_367
    assert np.count_nonzero(cortex[tuple(opposite.T)] & (opposite[:, 2] >= 57)) == 60_861
