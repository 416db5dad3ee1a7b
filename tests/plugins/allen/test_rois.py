import nibabel
import nrrd
import numpy as np
import pytest
from fctoolbox_allen.grid import LabelGrid
from fctoolbox_allen.rois import _shares, read_rois, voronoi_rois, write_rois

from fctoolbox import InputError


@pytest.fixture
def voxels():
    return np.argwhere(np.ones((9, 8, 10), dtype=bool))


@pytest.fixture
def groups(voxels):
    return 2 * (voxels[:, 0] > 2) + (voxels[:, 2] >= 5)


def test_the_same_seed_gives_the_same_regions(voxels, groups):
    one, again, other = (voronoi_rois(voxels, groups, n_rois=60, rng=seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(one, again)
    assert (one != other).any()


def test_every_region_lies_in_one_division_and_has_voxels(voxels, groups):
    rois = voronoi_rois(voxels, groups, n_rois=60, rng=0)
    assert np.unique(rois).tolist() == list(range(1, 61))
    for roi in range(1, 61):
        assert len(set(groups[rois == roi])) == 1


def test_a_voxel_belongs_to_the_nearest_seed(voxels, groups):
    """Whatever the seeds: some voxel of the region must be such that all others are nearest to it."""
    rois = voronoi_rois(voxels, groups, n_rois=40, rng=3)
    for group in np.unique(groups):
        inside = np.flatnonzero(groups == group)
        places = voxels[inside].astype(float)
        distances = np.linalg.norm(places[:, None] - places[None], axis=-1)
        rng = np.random.default_rng(3).spawn(4)[group]
        n_seeds = len(np.unique(rois[inside]))
        seeds = np.sort(rng.choice(len(inside), n_seeds, replace=False))
        own = rois[inside] - rois[inside].min()
        np.testing.assert_allclose(distances[np.arange(len(inside)), seeds[own]], distances[:, seeds].min(axis=1))


def test_shares_follow_the_voxels():
    assert _shares(np.array([600, 300, 100]), 10) == [6, 3, 1]
    assert _shares(np.array([1000, 1, 1]), 5) == [3, 1, 1]
    assert sum(_shares(np.array([7, 7, 7, 1]), 9)) == 9
    assert _shares(np.array([3, 2]), 5) == [3, 2]


def test_a_division_keeps_its_regions_whatever_the_others(voxels, groups):
    rois = voronoi_rois(voxels, groups, n_rois=60, rng=0)
    assert (np.diff([rois[groups == group].min() for group in range(4)]) > 0).all()
    sizes = np.bincount(groups)
    seeds = np.array([len(np.unique(rois[groups == group])) for group in range(4)])
    assert np.abs(seeds - 60 * sizes / sizes.sum()).max() < 1


@pytest.mark.parametrize("n_rois", [3, 721])
def test_too_few_or_too_many(voxels, groups, n_rois):
    with pytest.raises(
        InputError, match=f"n_rois is {n_rois}; it must lie between 4, .* and 720, the number of voxels"
    ):
        voronoi_rois(voxels, groups, n_rois=n_rois, rng=0)


@pytest.fixture
def grid():
    return LabelGrid(np.ones((5, 6, 8), dtype=np.int64))


@pytest.fixture
def labels(rng):
    return rng.integers(0, 40, (5, 6, 8))


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_the_volume_overlays_on_the_ccf(tmp_path, grid, labels, name):
    path = write_rois(tmp_path / name, labels, grid)
    image = nibabel.load(path)
    assert nibabel.aff2axcodes(image.affine) == ("P", "I", "R")
    assert image.header.get_xyzt_units()[0] == "mm"
    assert image.get_data_dtype() == np.uint16
    assert int(image.header["sform_code"]) == 2
    np.testing.assert_allclose(image.header.get_qform(), image.header.get_sform(), atol=1e-6)
    np.testing.assert_allclose(image.affine @ [1, 2, 3, 1], [0.3, -0.1, -0.2, 1])
    np.testing.assert_array_equal(np.asarray(image.dataobj), labels)
    np.testing.assert_array_equal(read_rois(path, grid), labels)
    assert [each.name for each in tmp_path.iterdir()] == [name]


def test_axes_may_run_otherwise(tmp_path, grid, labels):
    path = write_rois(tmp_path / "a.nii", labels, grid)
    turned = nibabel.as_closest_canonical(nibabel.load(path))
    assert nibabel.aff2axcodes(turned.affine) == ("R", "A", "S")
    nibabel.save(turned, tmp_path / "b.nii.gz")
    np.testing.assert_array_equal(read_rois(tmp_path / "b.nii.gz", grid), labels)


def test_nrrd(tmp_path, grid, labels):
    nrrd.write(str(tmp_path / "a.nrrd"), labels.astype(np.uint32), index_order="F")
    np.testing.assert_array_equal(read_rois(tmp_path / "a.nrrd", grid), labels)


def test_many_regions_take_wider_numbers(tmp_path, grid, labels):
    path = write_rois(tmp_path / "a.nii", labels * 10_000, grid)
    np.testing.assert_array_equal(read_rois(path, grid), labels * 10_000)


def test_volumes_that_do_not_fit(tmp_path, grid, labels):
    cases = (
        (labels[:, :, :-1].astype(np.int16), 1, "5 × 6 × 7 voxels along AP, DV and ML, but .* 5 × 6 × 8"),
        (labels.astype(np.int16), 2, "voxels of 0.2 × 0.2 × 0.2 mm"),
        ((labels + 0.5).astype(np.float32), 1, "must be whole numbers from 0"),
        (-labels.astype(np.int16), 1, "must be whole numbers from 0"),
        (np.where(labels == 3, np.nan, labels).astype(np.float32), 1, "must be whole numbers"),
        (np.zeros((5, 6, 8), np.int16), 1, "has no region"),
        (np.zeros((5, 6, 8, 2), np.int16), 1, "has 4 dimensions"),
    )
    for array, wider, message in cases:
        nibabel.save(nibabel.Nifti1Image(array, wider * grid.ras_affine), tmp_path / "a.nii")
        with pytest.raises(InputError, match=message):
            read_rois(tmp_path / "a.nii", grid)
    with pytest.raises(InputError, match="which is no file"):
        read_rois(tmp_path / "b.nii", grid)
    with pytest.raises(InputError, match=r"must end in .nii or .nii.gz"):
        write_rois(tmp_path / "a.img", labels, grid)
    (tmp_path / "c.nii.gz").write_text("<html>")
    with pytest.raises(InputError, match="not read as a NIfTI volume"):
        read_rois(tmp_path / "c.nii.gz", grid)
