"""Connectome spatial smoothing, against the formula written out with dense matrices."""

import itertools

import numpy as np
import pytest
from fctoolbox_hcp.smoothing import Grayordinates, kernel_of, smoothed, surface_kernel, volume_kernel
from fctoolbox_hcp.structures import Structure
from scipy import sparse

from fctoolbox.errors import InputError

SD = 6 / 2.3548200450309493  # of a Gaussian of 6 mm FWHM


def sheet(height=14, width=11, step=3.0):
    """A flat cortex, on which the shortest path is the straight line (fewer than six edges are crossed within 8 mm)."""
    i, j = np.meshgrid(np.arange(height), np.arange(width), indexing="ij")
    vertices = np.column_stack([step * i.ravel(), step * j.ravel(), np.zeros(i.size)])
    corner = (np.arange(height - 1)[:, None] * width + np.arange(width - 1)).ravel()
    faces = np.concatenate(
        [
            np.column_stack([corner, corner + width, corner + 1]),
            np.column_stack([corner + 1, corner + width, corner + width + 1]),
        ]
    )
    return vertices, faces


def written_out(positions, groups=None, sd=SD, epsilon=0.01):
    """K with columns that add up to 1; nothing between grayordinates of different groups."""
    distances = np.linalg.norm(positions[:, None] - positions, axis=2)
    weights = np.exp(-(distances**2) / (2 * sd**2))
    weights[weights < epsilon] = 0
    if groups is not None:
        weights[groups[:, None] != groups] = 0
    return weights / weights.sum(axis=0)


def space():
    """A left and a right sheet of cortex, the left one with a medial wall, and two neighbouring nuclei."""
    vertices, faces = sheet()
    kept = np.flatnonzero((vertices[:, 0] < 14) | (vertices[:, 0] > 19))
    grid = np.argwhere(np.ones((5, 4, 3), dtype=bool))
    at = 2.0 * grid + (0, 0, 30)
    left, right = grid[:, 0] < 3, grid[:, 0] >= 3
    cut = np.cumsum([0, len(kept), len(vertices), left.sum(), right.sum()])
    rows = [slice(*pair) for pair in itertools.pairwise(cut)]
    return Grayordinates.of(
        [
            Structure("CORTEX_LEFT", rows[0], kept, len(vertices)),
            Structure("CORTEX_RIGHT", rows[1], np.arange(len(vertices)), len(vertices)),
            Structure("THALAMUS_LEFT", rows[2], voxels=grid[left], positions=at[left]),
            Structure("THALAMUS_RIGHT", rows[3], voxels=grid[right], positions=at[right]),
        ],
        {"CORTEX_LEFT": (vertices, faces), "CORTEX_RIGHT": (vertices + (0, 0, 3), faces)},
    )


def groups_of(among):
    """Each hemisphere by itself, and one volume."""
    group = {"CORTEX_LEFT": 0, "CORTEX_RIGHT": 1, "THALAMUS_LEFT": 2, "THALAMUS_RIGHT": 2}
    return np.repeat([group[each.name] for each in among.structures], [len(each) for each in among.structures])


def connectome(n, n_streamlines=300, seed=0):
    ends = np.random.default_rng(seed).integers(n, size=(2, n_streamlines))
    one_way = sparse.coo_array((np.ones(n_streamlines), tuple(ends)), shape=(n, n)).tocsr()
    return sparse.csr_array(one_way + one_way.T)


def test_on_a_flat_cortex_the_kernel_is_the_gaussian_of_straight_distances():
    vertices, faces = sheet()
    kernel = surface_kernel(vertices, faces, np.arange(len(vertices)), 6.0).toarray()
    np.testing.assert_allclose(kernel, written_out(vertices), atol=1e-6)


def test_paths_cross_the_medial_wall_but_nothing_stays_there():
    vertices, faces = sheet()
    units = np.flatnonzero((vertices[:, 0] < 14) | (vertices[:, 0] > 16))
    kernel = surface_kernel(vertices, faces, units, 6.0).toarray()
    np.testing.assert_allclose(kernel, written_out(vertices[units]), atol=1e-6)
    across = kernel[vertices[units, 0] < 14][:, vertices[units, 0] > 16]
    assert across.max() > 0.01


def test_the_order_of_the_units_is_that_of_rows_and_columns():
    vertices, faces = sheet()
    units = np.random.default_rng(0).permutation(len(vertices))[:60]
    kernel = surface_kernel(vertices, faces, units, 6.0).toarray()
    np.testing.assert_allclose(kernel, written_out(vertices[units]), atol=1e-6)


def test_the_kernel_in_the_volume():
    positions = np.random.default_rng(0).uniform(0, 20, (150, 3))
    np.testing.assert_allclose(volume_kernel(positions, 6.0).toarray(), written_out(positions), atol=1e-12)


def test_neighbours_at_one_voxel_by_hand():
    kernel = volume_kernel(np.array([(0.0, 0, 0), (2, 0, 0), (100, 0, 0)]), 4.0).toarray()
    weight = np.exp(-(2.0**2) / 2 / (4 / 2.3548200450309493) ** 2)  # 1/2, for 2 mm is half of the width
    assert weight == pytest.approx(0.5)
    np.testing.assert_allclose(kernel, [(2 / 3, 1 / 3, 0), (1 / 3, 2 / 3, 0), (0, 0, 1)])


def test_the_kernel_ends_where_epsilon_says():
    positions = np.column_stack([np.arange(0, 30, 0.25), np.zeros((120, 2))])
    for epsilon in (0.01, 0.1, 0.5):
        kernel = volume_kernel(positions, 6.0, epsilon=epsilon).toarray()
        np.testing.assert_allclose(kernel, written_out(positions, epsilon=epsilon), atol=1e-12)


def test_the_kernel_on_a_surface_ends_there_too():
    vertices, faces = sheet(height=40, width=2, step=0.5)
    along = np.arange(0, len(vertices), 2)  # one edge of a ribbon, along which every path is exact
    for epsilon, reach in ((0.01, 7.7327), (0.1, 5.4678), (0.5, 3.0)):
        kernel = surface_kernel(vertices, faces, along, 6.0, epsilon=epsilon).toarray()
        apart = np.abs(vertices[along, 0][:, None] - vertices[along, 0])
        np.testing.assert_array_equal(kernel > 0, apart <= reach)


@pytest.mark.parametrize("fwhm", [2.0, 6.0, 12.0])
def test_the_number_of_streamlines_is_kept(fwhm):
    among = space()
    kernel = kernel_of(among.structures, among, fwhm)
    np.testing.assert_allclose(kernel.sum(axis=0), 1, rtol=1e-12)
    streamlines = connectome(len(among))
    both = smoothed(streamlines, kernel, kernel)
    assert both.sum(dtype=np.float64) == pytest.approx(600, rel=1e-6)
    np.testing.assert_allclose(both, both.T, rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize(
    "names", [("CORTEX_LEFT",), ("THALAMUS_RIGHT", "CORTEX_RIGHT", "THALAMUS_LEFT"), ("THALAMUS_LEFT", "CORTEX_LEFT")]
)
def test_a_block_is_that_of_the_whole_matrix_whatever_the_order(names):
    among = space()
    by_name = {each.name: each for each in among.structures}
    targets, sources = [by_name[name] for name in names], [by_name["THALAMUS_RIGHT"], by_name["THALAMUS_LEFT"]]
    whole = written_out(among.positions, groups_of(among))
    streamlines = connectome(len(among))
    expected = whole @ streamlines.toarray() @ whole.T
    kernels = [kernel_of(chosen, among, 6.0) for chosen in (targets, sources)]
    np.testing.assert_allclose(
        smoothed(streamlines, *kernels),
        expected[np.ix_(among.rows_of(targets), among.rows_of(sources))],
        atol=2e-6,
    )


def test_only_one_voxel_filled_gives_the_product_of_two_columns():
    among = space()
    cortex, thalamus = among.structures[0], among.structures[2]
    streamlines = sparse.csr_array((len(among), len(among))).tolil()
    i, j = among.rows[cortex.name].start + 40, among.rows[thalamus.name].start + 7
    streamlines[i, j] = streamlines[j, i] = 5.0
    kernels = [kernel_of([each], among, 6.0) for each in (cortex, thalamus)]
    expected = 5 * kernels[0].toarray()[:, [i]] * kernels[1].toarray()[:, j]
    np.testing.assert_allclose(smoothed(sparse.csr_array(streamlines), *kernels), expected, rtol=1e-6)


def test_nothing_to_smooth_is_nothing():
    among = space()
    kernels = [kernel_of([each], among, 6.0) for each in among.structures[1:3]]
    assert not smoothed(sparse.csr_array((len(among), len(among))), *kernels).any()


def test_without_smoothing_the_kernel_is_the_identity():
    among = space()
    every = kernel_of(among.structures[::-1], among, 0)
    np.testing.assert_array_equal(every.toarray(), np.eye(len(among))[among.rows_of(among.structures[::-1])])
    vertices, faces = sheet()
    np.testing.assert_array_equal(surface_kernel(vertices, faces, np.arange(5), 0).toarray(), np.eye(5))


def test_threads_change_nothing():
    among = space()
    kernels = [kernel_of(among.structures, among, 6.0, n_jobs=n) for n in (1, 2)]
    streamlines = connectome(len(among))
    np.testing.assert_array_equal(
        smoothed(streamlines, kernels[0], kernels[0]), smoothed(streamlines, kernels[1], kernels[1], n_jobs=2)
    )


def test_smoothing_finds_neighbours_of_a_planted_bundle_and_evens_out_noise():
    """Two streamlines that end beside each other have nothing in common before smoothing, and much after it."""
    among = space()
    cortex, thalamus = among.structures[0], among.structures[2]
    start, voxel = among.rows[cortex.name].start, among.rows[thalamus.name].start
    n = len(among)
    ends = np.array([(start + 24, voxel), (start + 25, voxel + 1), (start + 90, voxel + 35)])
    streamlines = sparse.csr_array((np.ones(3), (ends[:, 0], ends[:, 1])), shape=(n, n))
    kernels = [kernel_of([each], among, 6.0) for each in (cortex, thalamus)]
    rows = smoothed(sparse.csr_array(streamlines + streamlines.T), *kernels)[[24, 25, 90]]
    directions = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    near, far = directions[0] @ directions[1], directions[0] @ directions[2]
    assert near > 0.95
    assert far < 0.3  # the nucleus is no longer than 8 mm


@pytest.mark.parametrize("fwhm", [-1.0, np.nan, np.inf, "6", True])
def test_a_width_that_is_none_is_refused(fwhm):
    with pytest.raises(InputError, match=r"fwhm is .*; it must be a number of mm, 0 for none"):
        volume_kernel(np.zeros((2, 3)), fwhm)


@pytest.mark.parametrize("epsilon", [0, 1, -0.5, np.nan])
def test_an_epsilon_that_is_none_is_refused(epsilon):
    with pytest.raises(InputError, match=r"epsilon is .*; it must lie between 0 and 1"):
        volume_kernel(np.zeros((2, 3)), 6.0, epsilon=epsilon)


def test_a_surface_of_another_mesh_is_refused():
    vertices, faces = sheet()
    cortex = Structure("CORTEX_LEFT", slice(0, 3), np.arange(3), 32_492)
    with pytest.raises(
        InputError, match=r"surface of CORTEX_LEFT has 154 vertices, but its grayordinates .* a mesh of 32,492"
    ):
        Grayordinates.of([cortex], {"CORTEX_LEFT": (vertices, faces)})
    with pytest.raises(InputError, match=r"no surface for CORTEX_LEFT.*given for CORTEX_RIGHT"):
        Grayordinates.of([cortex], {"CORTEX_RIGHT": (vertices, faces)})


def test_the_package_of_the_paper_has_the_same_kernel():
    css = pytest.importorskip("Connectome_Spatial_Smoothing").CSS
    vertices, faces = sheet()
    distances = css._local_geodesic_distances(7.7327, vertices, faces.astype(np.int32))
    theirs = css._local_distances_to_smoothing_coefficients(distances, SD)
    ours = surface_kernel(vertices, faces, np.arange(len(vertices)), 6.0)
    np.testing.assert_allclose(ours.toarray(), theirs.toarray(), atol=1e-5)
