"""Counting streamline ends on voxels, and smoothing the counts."""

import numpy as np
import pytest
from fctoolbox_hcp.grayordinates import ThalamusVoxels
from fctoolbox_hcp.thalamus import (
    CENTRES,
    count_ends,
    hemisphere_of,
    read_bundle_areas,
    smoothed_counts,
    thalamic_ends,
)
from fctoolbox_hcp.tinytrack import Tractogram

from fctoolbox.errors import InputError


def voxels_at(positions, hemispheres=None):
    positions = np.asarray(positions, dtype=float)
    hemispheres = ["left"] * len(positions) if hemispheres is None else hemispheres
    return ThalamusVoxels(np.arange(3 * len(positions)).reshape(-1, 3), positions, np.array(hemispheres))


def grid(n=5, spacing=2.0):
    return spacing * np.argwhere(np.ones((n, n, n)))


def tractogram_of(lines, clusters):
    return Tractogram(np.concatenate(lines), np.cumsum([0, *map(len, lines)]), np.array(clusters))


def test_hemispheres_come_from_names():
    assert hemisphere_of("L_9-46d") == "left"
    assert hemisphere_of("R_V1") == "right"
    with pytest.raises(InputError, match="must begin with L_ or R_"):
        hemisphere_of("V1_L")


def test_hyphens_within_an_areas_name_are_kept(tmp_path):
    path = tmp_path / "bundles.txt"
    path.write_text("thalamus-L_9-46d-autotrack\r\nthalamus-R_p9-46v-autotrack\n\nthalamus-L_1-autotrack")
    assert read_bundle_areas(path) == ("L_9-46d", "R_p9-46v", "L_1")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("thalamus-L_1-autotrack\nL_2", "line 2: 'L_2' should read 'thalamus-AREA-autotrack'"),
        ("thalamus--autotrack", "line 1: 'thalamus--autotrack' should read"),
        ("thalamus-V1-autotrack", "area 'V1' belongs to no hemisphere"),
        ("thalamus-L_1-autotrack\n" * 2, "line 2: area 'L_1' was named before, in line 1"),
    ],
)
def test_other_lines_are_refused(tmp_path, text, message):
    path = tmp_path / "bundles.txt"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        read_bundle_areas(path)


def test_the_thalamic_end_is_found_whichever_way_a_streamline_runs(rng):
    thalamic = np.array([CENTRES["left"], CENTRES["right"]]) + 3
    cortical = np.array([(-40.0, -20, 60), (45.0, 10, 50)])
    lines = [np.linspace(a, b, 30) for a, b in zip(thalamic, cortical, strict=True)]
    areas = ("L_a", "R_a")
    for ways in ((1, 1), (1, -1), (-1, 1), (-1, -1)):
        turned = [line[::way] for line, way in zip(lines, ways, strict=True)]
        np.testing.assert_allclose(thalamic_ends(tractogram_of(turned, [0, 1]), areas), thalamic)


def test_each_side_has_its_own_thalamus():
    # both ends lie near the midline: which one is thalamic depends on the side of the area
    line = np.linspace(CENTRES["left"], CENTRES["right"], 10)
    ends = thalamic_ends(tractogram_of([line, line], [0, 1]), ("L_a", "R_a"))
    np.testing.assert_allclose(ends, [CENTRES["left"], CENTRES["right"]])


def test_a_bundle_that_the_list_does_not_name():
    with pytest.raises(InputError, match=r"1 streamlines belong to bundle 2 or others .* list of 2 bundles"):
        thalamic_ends(tractogram_of([np.zeros((2, 3))] * 2, [0, 2]), ("L_a", "L_b"))


def test_ends_count_for_their_nearest_voxel():
    voxels = voxels_at([(0, 0, 0), (2, 0, 0), (4, 0, 0)])
    ends = np.array([(0.9, 0, 0), (1.1, 0, 0), (2.4, 0.5, 0), (4, 0, 1.9)])
    counts = count_ends(ends, np.array(["left"] * 4), np.array([0, 0, 0, 1]), voxels, n_rows=3, max_distance=2.0)
    assert counts.tolist() == [[1, 2, 0], [0, 0, 1], [0, 0, 0]]


def test_ends_count_up_to_the_distance_and_not_beyond():
    voxels = voxels_at([(0, 0, 0)])
    ends = np.array([(0, 0, 2.0), (0, 0, 2.0001), (0, 0, -2.0)])
    sides, rows = np.array(["left"] * 3), np.zeros(3, dtype=int)
    assert count_ends(ends, sides, rows, voxels, n_rows=1, max_distance=2.0).tolist() == [[2]]
    assert count_ends(ends, sides, rows, voxels, n_rows=1, max_distance=2.1).tolist() == [[3]]


def test_ends_never_count_on_the_other_side():
    voxels = voxels_at([(-1, 0, 0), (1, 0, 0)], ["left", "right"])
    ends = np.array([(0.5, 0, 0), (-0.5, 0, 0)])
    counts = count_ends(ends, np.array(["left", "right"]), np.array([0, 1]), voxels, n_rows=2, max_distance=2.0)
    assert counts.tolist() == [[1, 0], [0, 1]]


def test_the_order_of_streamlines_does_not_matter(rng):
    voxels = voxels_at(grid())
    ends, rows, sides = rng.uniform(-1, 9, (200, 3)), rng.integers(0, 4, 200), np.array(["left"] * 200)
    order = rng.permutation(200)
    once = count_ends(ends, sides, rows, voxels, n_rows=4, max_distance=2.0)
    again = count_ends(ends[order], sides[order], rows[order], voxels, n_rows=4, max_distance=2.0)
    np.testing.assert_array_equal(once, again)
    distances = np.linalg.norm(ends[:, None] - voxels.positions, axis=2)
    assert once.sum() == (distances.min(axis=1) <= 2).sum()


def test_no_smoothing_changes_nothing(rng):
    counts = rng.integers(0, 9, (3, 125)).astype(float)
    np.testing.assert_array_equal(smoothed_counts(counts, voxels_at(grid()), 0), counts)


@pytest.mark.parametrize("fwhm", [1.0, 4.0, 30.0])
def test_smoothing_keeps_every_streamline(rng, fwhm):
    counts = rng.integers(0, 9, (3, 125)).astype(float)
    smoothed = smoothed_counts(counts, voxels_at(grid()), fwhm)
    np.testing.assert_allclose(smoothed.sum(axis=1), counts.sum(axis=1))
    assert (smoothed >= 0).all()


def test_half_the_peak_at_half_the_width():
    voxels = voxels_at([(0, 0, 0), (3, 0, 0)])
    smoothed = smoothed_counts(np.array([[3.0, 0.0]]), voxels, 6.0)
    np.testing.assert_allclose(smoothed, [[2, 1]])


def test_the_kernel_ends_at_one_per_cent():
    sd = 6 / np.sqrt(8 * np.log(2))
    reach = sd * np.sqrt(2 * np.log(100))
    for distance, reached in ((reach - 0.01, True), (reach + 0.01, False)):
        smoothed = smoothed_counts(np.array([[1.0, 0.0]]), voxels_at([(0, 0, 0), (distance, 0, 0)]), 6.0)
        assert bool(smoothed[0, 1]) == reached


def test_smoothing_stays_on_its_side():
    voxels = voxels_at([(-1, 0, 0), (1, 0, 0), (-3, 0, 0)], ["left", "right", "left"])
    smoothed = smoothed_counts(np.array([[1.0, 0, 0], [0, 1.0, 0]]), voxels, 10.0)
    assert smoothed[0, 1] == 0
    assert smoothed[0, 2] > 0
    np.testing.assert_array_equal(smoothed[1], [0, 1, 0])
