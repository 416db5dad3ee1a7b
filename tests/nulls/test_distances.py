import os
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy import sparse
from scipy.spatial import ConvexHull
from scipy.spatial.distance import cdist

from fctoolbox import InputError, Surface
from fctoolbox.nulls.distances import (
    check_distances,
    directions_on_sphere,
    euclidean_distances,
    geodesic_distances,
    geodesic_within,
    great_circle_distances,
    nearest_euclidean,
    nearest_geodesic,
    parcel_distances,
)


def grid(columns, rows, step=1.0):
    """A flat sheet of squares, each cut along its rising diagonal; vertex (x, y) is number y * columns + x."""
    x, y = np.meshgrid(np.arange(columns), np.arange(rows))
    vertices = step * np.stack([x.ravel(), y.ravel(), np.zeros(x.size)], axis=1)
    number = np.arange(x.size).reshape(rows, columns)
    low, right, up, far = number[:-1, :-1], number[:-1, 1:], number[1:, :-1], number[1:, 1:]
    faces = [np.stack([low, right, far], axis=-1), np.stack([low, far, up], axis=-1)]
    return vertices, np.concatenate(faces).reshape(-1, 3)


@pytest.fixture(scope="module")
def ball():
    """A fine mesh of a sphere of radius 10, as evenly spaced as a sunflower's seeds."""
    n = 1200
    z = 1 - (2 * np.arange(n) + 1) / n
    turn = np.pi * (1 + 5**0.5) * np.arange(n)
    points = np.stack([np.sqrt(1 - z * z) * np.cos(turn), np.sqrt(1 - z * z) * np.sin(turn), z], axis=1)
    return 10 * points, ConvexHull(points).simplices


@pytest.fixture(scope="module")
def folded(ball):
    """The same mesh with hills and valleys."""
    vertices, faces = ball
    height = 1 + 0.15 * np.sin(vertices[:, 0]) * np.cos(vertices[:, 1] + vertices[:, 2])
    return vertices * height[:, None], faces


@pytest.fixture
def exact_library():
    pytest.importorskip("pygeodesic")


class TestGreatCircles:
    def test_by_hand(self):
        points = 2 * np.array([[1.0, 0, 0], [0, 1, 0], [-1, 0, 0], [np.sqrt(0.5), np.sqrt(0.5), 0]])
        expected = (
            2
            * np.pi
            * np.array([[0, 1 / 2, 1, 1 / 4], [1 / 2, 0, 1 / 2, 1 / 4], [1, 1 / 2, 0, 3 / 4], [1 / 4, 1 / 4, 3 / 4, 0]])
        )
        np.testing.assert_allclose(great_circle_distances(points), expected, atol=1e-7)

    def test_small_angles_are_exact(self):
        angle = 1e-6
        found = great_circle_distances([[1.0, 0, 0], [np.cos(angle), np.sin(angle), 0]])[0, 1]
        assert found == pytest.approx(angle, rel=1e-9)

    def test_not_on_a_sphere(self):
        with pytest.raises(InputError, match="1 to 2 away from the origin"):
            directions_on_sphere([[1.0, 0, 0], [0, 2, 0]])
        with pytest.raises(InputError, match=r"shape \(3,\)"):
            great_circle_distances([1.0, 0, 0])


class TestPlane:
    """On a flat mesh the shortest path is the straight line."""

    def test_nearby_lines_are_straight(self):
        vertices, faces = grid(4, 4)
        found = geodesic_distances(vertices, faces)
        near = cdist(vertices, vertices)
        np.testing.assert_allclose(found[near < 3], near[near < 3], rtol=1e-6)

    def test_never_shorter_and_little_longer(self):
        vertices, faces = grid(20, 20, step=0.5)
        ratio = geodesic_distances(vertices, faces, sources=[0, 190, 399]) / np.maximum(
            cdist(vertices[[0, 190, 399]], vertices), 1e-9
        )
        ratio = ratio[ratio > 0]
        assert ratio.min() > 1 - 1e-6
        assert ratio.max() < 1.03
        assert ratio.mean() < 1.006

    def test_lines_stay_within_the_sheet(self):
        # around a notch there is no straight line
        vertices, faces = grid(5, 5)
        inside = ~((vertices[:, 0] == 2) & (vertices[:, 1] > 0.5))  # leaves a bridge at y = 0
        found = geodesic_distances(vertices, faces, mask=inside)
        kept = vertices[inside]
        tops = [int(np.flatnonzero((kept == [x, 4, 0]).all(axis=1))[0]) for x in (1, 3)]
        assert found[tops[0], tops[1]] > 4 + 4  # down and up again
        assert found.shape == (21, 21)

    def test_around_a_corner(self):
        # a strip folded by 90 degrees: distances are those of the flat strip
        vertices, faces = grid(7, 3)
        bent = vertices.copy()
        beyond = vertices[:, 0] > 3
        bent[beyond, 0], bent[beyond, 2] = 3, vertices[beyond, 0] - 3
        np.testing.assert_allclose(geodesic_distances(bent, faces), geodesic_distances(vertices, faces), rtol=1e-5)


class TestSphere:
    def test_against_great_circles(self, ball):
        vertices, faces = ball
        expected = great_circle_distances(vertices)[:40]
        found = geodesic_distances(vertices, faces, sources=np.arange(40))
        ratio = (found / np.maximum(expected, 1e-9))[expected > 0]
        assert ratio.min() > 0.997  # a polyhedron lies within its sphere
        assert ratio.max() < 1.03
        assert ratio.mean() == pytest.approx(1.003, abs=0.003)

    def test_exact_against_great_circles(self, ball, exact_library):
        vertices, faces = ball
        expected = great_circle_distances(vertices)[:3]
        found = geodesic_distances(vertices, faces, sources=[0, 1, 2], exact=True)
        np.testing.assert_allclose(found[expected > 0] / expected[expected > 0], 1, atol=0.003)

    def test_against_exact_on_a_folded_mesh(self, folded, exact_library):
        vertices, faces = folded
        exact = geodesic_distances(vertices, faces, sources=[0, 700], exact=True)
        ratio = geodesic_distances(vertices, faces, sources=[0, 700])[exact > 0] / exact[exact > 0]
        assert ratio.min() > 1 - 1e-5
        assert ratio.max() < 1.05
        assert ratio.mean() < 1.01

    def test_much_closer_than_along_the_edges(self, folded):
        vertices, faces = folded
        edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
        lengths = np.linalg.norm(vertices[edges[:, 0]] - vertices[edges[:, 1]], axis=1)
        graph = sparse.coo_array((lengths, edges.T), shape=(1200, 1200)).tocsr()
        graph = graph.maximum(graph.T)
        along = sparse.csgraph.dijkstra(graph, indices=[5])
        found = geodesic_distances(vertices, faces, sources=[5])
        assert (found <= along * (1 + 1e-6)).all()
        assert along.sum() > 1.05 * found.sum()

    def test_dijkstra_against_scipy(self, folded):
        from fctoolbox.nulls.distances import _Mesh

        mesh = _Mesh(*folded, None)
        np.testing.assert_allclose(
            geodesic_distances(*folded, sources=[3, 77, 900]),
            sparse.csgraph.dijkstra(mesh._graph, indices=[3, 77, 900]),
            rtol=1e-6,
        )

    def test_metric(self, folded):
        found = geodesic_distances(*folded, n_jobs=2)
        np.testing.assert_allclose(found, found.T, rtol=1e-5)
        check_distances(found, 1200)
        assert (found <= found[:, [0]] + found[[0]] + 1e-4).all()
        assert (found > euclidean_distances(folded[0]) - 1e-4).all()
        np.testing.assert_array_equal(found[:100], geodesic_distances(*folded, sources=np.arange(100)))

    def test_order_of_vertices_and_corners_does_not_matter(self, folded, rng):
        vertices, faces = folded
        new = rng.permutation(1200)
        turned = np.argsort(new)[faces][:, [2, 1, 0]]
        found = geodesic_distances(vertices[new], turned, sources=[7])
        np.testing.assert_allclose(found[0], geodesic_distances(vertices, faces, sources=[new[7]])[0][new], rtol=1e-6)

    def test_within_and_nearest_are_parts_of_the_whole(self, folded):
        whole = geodesic_distances(*folded)
        within = geodesic_within(*folded, 4.0, n_jobs=2)
        assert within.shape == (1200, 1200)
        np.testing.assert_array_equal(within.toarray(), np.where(whole <= 4, whole, 0))
        some = geodesic_within(*folded, 4.0, sources=[9, 3])
        np.testing.assert_array_equal(some.toarray(), within[[9, 3]].toarray())
        distances, index = nearest_geodesic(*folded, 40, n_jobs=2)
        assert (distances.dtype, index.dtype) == (np.float32, np.int32)
        np.testing.assert_array_equal(distances, np.sort(whole, axis=1)[:, :40])
        np.testing.assert_array_equal(np.take_along_axis(whole, index.astype(int), axis=1), distances)
        np.testing.assert_array_equal(index[:, 0], np.arange(1200))


def test_lines_do_not_cross_an_edge_of_three_faces():
    # three pages of a book: which of two pages would a line go on to?
    turns = np.array([0, 2, 4]) * np.pi / 3
    tips = np.stack([np.cos(turns), np.sin(turns), np.full(3, 0.5)], axis=1)
    vertices = np.vstack([[[0, 0, 0], [0, 0, 1.0]], tips])
    found = geodesic_distances(vertices, [[0, 1, 2], [0, 1, 3], [0, 1, 4]])
    assert found[2, 3] == pytest.approx(2 * np.sqrt(1.25))
    assert geodesic_distances(vertices[:4], [[0, 1, 2], [0, 1, 3]])[2, 3] == pytest.approx(2)


def two_sheets():
    vertices, faces = grid(4, 3)
    return np.vstack([vertices, vertices + [100, 0, 0], [[0, 0, 50.0]]]), np.vstack([faces, faces + 12])


class TestPieces:
    def test_they_are_named(self):
        message = (
            r"there are 3 pieces, of 12 \(the first is vertex 0\), 12 \(the first is vertex 12\), "
            r"1 \(the first is vertex 24\).* Keep one piece \(one hemisphere\) with a mask"
        )
        with pytest.raises(InputError, match=message):
            geodesic_distances(*two_sheets())

    def test_numbers_count_all_vertices(self):
        mask = np.arange(25) > 0
        with pytest.raises(InputError, match=r"of 12 \(the first is vertex 12\), 11 \(the first is vertex 1\)"):
            geodesic_distances(*two_sheets(), mask=mask)

    def test_one_of_them(self):
        alone = geodesic_distances(*grid(4, 3))
        mask = (np.arange(25) >= 12) & (np.arange(25) < 24)
        np.testing.assert_allclose(geodesic_distances(*two_sheets(), mask=mask), alone, rtol=1e-5)
        np.testing.assert_allclose(geodesic_distances(*two_sheets(), mask=mask, sources=[13]), alone[[1]], rtol=1e-5)

    def test_neighbours_are_looked_for_within_a_piece(self):
        mask = np.arange(25) < 24
        _, index = nearest_geodesic(*two_sheets(), 12, mask=mask)
        assert (index[:12] < 12).all()
        assert (index[12:] >= 12).all()
        with pytest.raises(InputError, match=r"13 vertices are asked for .* 2 pieces, of 12 .* vertex 0\)"):
            nearest_geodesic(*two_sheets(), 13, mask=mask)
        assert geodesic_within(*two_sheets(), 1000.0)[[0, 24]].nnz == 11


class TestParcels:
    def test_by_hand(self):
        vertices, faces = grid(4, 2)
        surface = Surface(vertices, faces, [0, -1, -1, 1, 0, -1, -1, 1])
        expected = (3 + 3 + 2 * np.sqrt(10)) / 4
        np.testing.assert_allclose(parcel_distances(surface, 2), [[0, expected], [expected, 0]], rtol=1e-6)

    def test_means_of_vertex_distances(self, folded, rng):
        unit_of_vertex = rng.integers(-1, 6, 1200)
        surface = Surface(*folded, unit_of_vertex)
        whole = geodesic_distances(*folded).astype(float)
        whole = (whole + whole.T) / 2
        expected = np.array(
            [
                [whole[np.ix_(unit_of_vertex == a, unit_of_vertex == b)].mean() * (a != b) for a in range(6)]
                for b in range(6)
            ]
        )
        found = parcel_distances(surface, 6, n_jobs=2)
        np.testing.assert_allclose(found, expected, rtol=1e-6)
        np.testing.assert_array_equal(found, parcel_distances(surface, 6))
        check_distances(found, 6)

    def test_some_sources_are_nearly_enough(self, folded):
        corners = np.argmin(cdist(folded[0], folded[0][::240]), axis=1)
        surface = Surface(*folded, corners)
        whole = parcel_distances(surface, 5)
        some = parcel_distances(surface, 5, n_sources=60)
        np.testing.assert_allclose(some, whole, rtol=0.05)
        np.testing.assert_array_equal(some, some.T)
        np.testing.assert_array_equal(parcel_distances(surface, 5, n_sources=1200), whole)

    def test_exact(self, folded, exact_library):
        surface = Surface(*folded, np.argmin(cdist(folded[0], folded[0][::240]), axis=1))
        close = parcel_distances(surface, 5, n_sources=2)
        np.testing.assert_allclose(parcel_distances(surface, 5, n_sources=2, exact=True), close, rtol=0.01)

    def test_pieces_without_units_do_not_matter(self):
        vertices, faces = two_sheets()
        unit_of_vertex = np.full(25, -1)
        unit_of_vertex[:12] = np.arange(12) // 6
        assert np.isfinite(parcel_distances(Surface(vertices, faces, unit_of_vertex), 2)).all()
        unit_of_vertex[20] = 1
        with pytest.raises(InputError, match="there are 3 pieces"):
            parcel_distances(Surface(vertices, faces, unit_of_vertex), 2)

    def test_bad_input(self):
        vertices, faces = grid(4, 2)
        surface = Surface(vertices, faces, [0, -1, -1, 1, 0, -1, -1, 1])
        with pytest.raises(InputError, match="no vertex of the surface belongs to units 2 "):
            parcel_distances(surface, 3)
        with pytest.raises(InputError, match="the mask leaves out 0, but these vertices are needed"):
            parcel_distances(surface, 2, mask=np.arange(8) > 0)
        with pytest.raises(InputError, match="n_sources is 0"):
            parcel_distances(surface, 2, n_sources=0)


class TestNearestEuclidean:
    def test_against_all_distances(self, rng):
        points = rng.standard_normal((200, 3))
        distances, index = nearest_euclidean(points, 12, n_jobs=2)
        whole = euclidean_distances(points)
        np.testing.assert_array_equal(index, np.argsort(whole, axis=1)[:, :12])
        np.testing.assert_allclose(distances, np.sort(whole, axis=1)[:, :12], rtol=1e-6)
        assert (distances.dtype, index.dtype) == (np.float32, np.int32)
        assert nearest_euclidean(points, 1)[0].shape == (200, 1)

    def test_each_unit_comes_first_among_those_at_its_place(self, rng):
        points = np.repeat(rng.standard_normal((20, 3)), 5, axis=0)
        for k in (1, 3, 5, 8):
            distances, index = nearest_euclidean(points, k)
            np.testing.assert_array_equal(index[:, 0], np.arange(100))
            assert all(len(set(row)) == k for row in index.tolist())
            assert (distances[:, : min(k, 5)] == 0).all()

    def test_bad_input(self):
        with pytest.raises(InputError, match="k is 4, but there are 3 to choose from"):
            nearest_euclidean(np.eye(3), 4)
        with pytest.raises(InputError, match="k is 0"):
            nearest_euclidean(np.eye(3), 0)
        with pytest.raises(InputError, match="positions has 1 value"):
            nearest_euclidean([[np.nan, 0, 0], [1, 2, 3]], 1)


def test_a_matrix_of_distances_is_checked(rng):
    good = euclidean_distances(rng.standard_normal((6, 3)))
    assert check_distances(good, 6) is good
    assert check_distances(np.array([[0, 3], [3, 0]])).dtype == np.float64

    def changed(*entries):
        matrix = good.copy()
        for i, j, value in entries:
            matrix[i, j] = value
        return matrix

    apart = good.copy()
    apart[:4, 4:] = apart[4:, :4] = np.inf
    for matrix, message in [
        (good[:, :4], r"shape \(6, 4\), but they must be square"),
        (good[:5, :5], r"shape \(5, 5\), but there are 6 units"),
        (changed((2, 3, 9)), r"distances is not symmetric: \[2, 3\] is 9"),
        (changed((2, 2, 0.5)), "unit 2 .* from itself is 0.5; the diagonal"),
        (changed((2, 3, -1), (3, 2, -1)), "fall to -1"),
        (changed((2, 3, np.nan)), "distances has 1 value .* row 2, column 3"),
        (apart, r"infinite: there are 2 pieces, of 4 \(the first is unit 0\), 2 \(the first is unit 4\)"),
        (good.astype(str), "hold str"),
    ]:
        with pytest.raises(InputError, match=message):
            check_distances(matrix, 6)


def test_bad_meshes(monkeypatch):
    vertices, faces = grid(3, 3)
    for arguments, message in [
        ({"vertices": vertices[:, :2]}, r"vertices \(9, 2\) and faces \(8, 3\) must both have 3 columns"),
        ({"faces": faces + 1}, r"outside 0 … 8; do they count from 1\?"),
        ({"faces": faces.astype(float)}, "faces hold float64 values; they need integers"),
        ({"vertices": np.where(vertices == 2, np.inf, vertices)}, "vertices has 6 values"),
        ({"mask": np.ones(3, dtype=bool)}, r"mask has shape \(3,\) .* the 9 vertices"),
        ({"mask": np.zeros(9, dtype=bool)}, "keeps no vertex"),
        ({"sources": [9]}, "sources name vertices outside 0 … 8"),
        ({"sources": [[1]]}, r"sources have shape \(1, 1\)"),
        ({"sources": [1], "mask": np.arange(9) != 1}, "the mask leaves out 1"),
        ({"n_jobs": 0}, "n_jobs is 0"),
    ]:
        with pytest.raises(InputError, match=message):
            geodesic_distances(**{"vertices": vertices, "faces": faces, **arguments})
    with pytest.raises(InputError, match="limit is 0"):
        geodesic_within(vertices, faces, 0.0)
    monkeypatch.setitem(sys.modules, "pygeodesic.geodesic", None)
    with pytest.raises(InputError, match=r"pip install 'fctoolbox\[geodesic\]'"):
        geodesic_distances(vertices, faces, exact=True)


@pytest.mark.mirror
@pytest.mark.slow
def test_a_cortical_surface(exact_library):
    mirror = Path(os.environ.get("FCTOOLBOX_MIRROR", "")) / "human" / "hcp_geometry"
    if not mirror.is_dir():
        pytest.skip("FCTOOLBOX_MIRROR holds no human/hcp_geometry")
    import nibabel

    vertices, faces = nibabel.load(mirror / "S1200.L.midthickness_MSMAll.32k_fs_LR.surf.gii").agg_data()
    cortex = np.zeros(len(vertices), dtype=bool)
    cortex[np.load(mirror / "fMRI_vertex_info_32k.npz")["grayl"]] = True
    exact = geodesic_distances(vertices, faces, sources=[100, 20000], exact=True)
    ratio = geodesic_distances(vertices, faces, sources=[100, 20000])[exact > 0] / exact[exact > 0]
    assert ratio.min() > 1 - 1e-5
    assert ratio.mean() < 1.01
    assert ratio.max() < 1.05
    distances, index = nearest_geodesic(vertices, faces, 1000, mask=cortex, n_jobs=2)
    assert distances.shape == index.shape == (29696, 1000)
    last = np.linalg.norm(vertices[cortex] - vertices[cortex][index[:, -1]], axis=1)
    assert (distances[:, -1] > last - 1e-3).all()
