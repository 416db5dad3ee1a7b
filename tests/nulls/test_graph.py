import numpy as np
import pytest
from scipy import sparse
from scipy.sparse.csgraph import connected_components, minimum_spanning_tree
from scipy.spatial import Delaunay

import fctoolbox as fct
from fctoolbox import InputError
from fctoolbox.nulls import euclidean_distances
from fctoolbox.nulls.graph import (
    mesh_graph,
    nearest_graph,
    nearest_graph_of_positions,
    neighbours_of,
    pieces_of,
    voxel_graph,
)
from tests.nulls.meshes import grid, sphere


def edges(graph):
    return {(int(i), int(j)) for i, j in zip(*graph.tocoo().coords, strict=True) if i < j}


def check(graph):
    assert (graph != graph.T).nnz == 0
    assert not graph.diagonal().any()
    assert (graph.data > 0).all()


def strip(n, unit_of_vertex, offset=0.0):
    """A ladder of 2 n vertices, 1 mm apart."""
    vertices = np.array([[offset + i // 2, i % 2, 0] for i in range(2 * n)], dtype=float)
    faces = [[i, i + 1, i + 2] for i in range(2 * n - 2)]
    return fct.Surface(vertices=vertices, faces=np.array(faces), unit_of_vertex=np.array(unit_of_vertex))


def test_vertices_of_a_mesh():
    graph = mesh_graph(strip(3, range(6)), 6)
    check(graph)
    assert edges(graph) == {(0, 1), (0, 2), (1, 2), (1, 3), (2, 3), (2, 4), (3, 4), (3, 5), (4, 5)}
    assert graph[0, 2] == pytest.approx(1)
    assert graph[1, 2] == pytest.approx(np.sqrt(2))


def test_a_closed_mesh_has_eulers_number_of_edges():
    assert mesh_graph(sphere(500), 500).nnz == 2 * 3 * (500 - 2)


def test_parcels_touch_where_an_edge_joins_them_and_gaps_are_bridged():
    # Parcel 0, 1, then a gap without a unit, then 2.
    graph = mesh_graph(strip(4, [0, 0, 1, 1, -1, -1, 2, 2]), 3)
    check(graph)
    assert edges(graph) == {(0, 1), (1, 2)}
    assert graph[1, 2] == pytest.approx(2)  # from the middle of 1 to that of 2


def two_strips(**changes):
    one, other = strip(3, range(6)), strip(3, range(6, 12), offset=100)
    parts = {
        "vertices": np.concatenate([one.vertices, other.vertices]),
        "faces": np.concatenate([one.faces, other.faces + 6]),
        "unit_of_vertex": np.arange(12),
    }
    return fct.Surface(**{**parts, **changes})


def test_two_hemispheres_stay_apart():
    assert pieces_of(mesh_graph(two_strips(), 12)).tolist() == [0] * 6 + [1] * 6
    joined = mesh_graph(two_strips(hemispheres=("left",) * 12), 12)
    assert edges(joined) - edges(mesh_graph(two_strips(), 12)) == {(4, 6)}
    apart = mesh_graph(two_strips(), 12, hemispheres=["left"] * 6 + ["right"] * 6)
    assert connected_components(apart)[0] == 2
    one = mesh_graph(two_strips(), 12, hemispheres=["left"] * 12)
    assert connected_components(one)[0] == 1


def test_voxels_and_regions():
    graph = voxel_graph(grid(3, 4, 5), 60)
    check(graph)
    assert graph.nnz == 2 * (2 * 20 + 3 * 15 + 4 * 12)
    np.testing.assert_allclose(graph.data, 2)
    regions = np.full((6, 1, 1), -1)
    regions[:, 0, 0] = [0, 0, 1, -2, -1, 2]
    graph = voxel_graph(fct.LabelVolume(unit_of_voxel=regions, affine=np.diag([3.0, 1, 1, 1])), 3)
    assert edges(graph) == {(0, 1), (1, 2)}
    assert graph[0, 1] == pytest.approx(4.5)
    apart = voxel_graph(
        fct.LabelVolume(unit_of_voxel=regions, affine=np.eye(4)), 3, hemispheres=["left", "left", "right"]
    )
    assert edges(apart) == {(0, 1)}


def test_nearest_by_either_side(rng):
    positions = rng.standard_normal((40, 3))
    distances = euclidean_distances(positions)
    graph = nearest_graph(distances, 3)
    check(graph)
    order = np.argsort(distances, axis=1)[:, 1:4]
    wanted = {(min(i, j), max(i, j)) for i in range(40) for j in order[i].tolist()}
    assert wanted <= edges(graph)
    assert connected_components(graph)[0] == 1
    of_positions = nearest_graph_of_positions(positions, 3)
    assert edges(of_positions) == edges(graph)
    np.testing.assert_allclose(of_positions.toarray(), graph.toarray())


def test_pieces_are_linked_as_by_a_minimum_spanning_tree(rng):
    positions = np.concatenate([rng.standard_normal((12, 3)) + [40.0 * k * k, 0, 0] for k in range(4)])
    distances = euclidean_distances(positions)
    graph = nearest_graph(distances, 2)
    assert connected_components(graph)[0] == 1
    links = {edge for edge in edges(graph) if edge[0] // 12 != edge[1] // 12}
    tree = edges(minimum_spanning_tree(sparse.csr_array(distances)).maximum(minimum_spanning_tree(distances).T))
    assert links == {edge for edge in tree if edge[0] // 12 != edge[1] // 12}
    assert edges(nearest_graph_of_positions(positions, 2)) == edges(graph)


def test_units_at_one_place_are_neighbours():
    positions = np.array([[0.0, 0, 0], [0, 0, 0], [5, 0, 0], [9, 0, 0]])
    for graph in (nearest_graph(euclidean_distances(positions), 1), nearest_graph_of_positions(positions, 1)):
        check(graph)
        assert (0, 1) in edges(graph)
        assert connected_components(graph)[0] == 1


def test_neighbours_stay_in_their_hemisphere():
    positions = np.array([[-9.0, 0, 0], [-1, 0, 0], [1, 0, 0], [9, 0, 0]])
    sides = ["left", "left", "right", "right"]
    assert edges(nearest_graph_of_positions(positions, 1, hemispheres=sides)) == {(0, 1), (2, 3)}
    assert edges(nearest_graph(euclidean_distances(positions), 1, hemispheres=sides)) == {(0, 1), (2, 3)}


def test_most_nearest_neighbours_are_those_of_a_triangulation(rng):
    positions = rng.random((300, 2))
    graph = edges(nearest_graph_of_positions(positions))
    triangles = {tuple(sorted((int(a), int(b)))) for t in Delaunay(positions).simplices for a in t for b in t if a < b}
    assert len(graph & triangles) > 0.6 * len(triangles)


def test_surface_before_volume_before_distances_before_positions():
    positions = np.arange(60, dtype=float)[:, None] * [1, 0, 0]
    surface, volume = sphere(60), grid(3, 4, 5)
    whole = fct.Geometry(positions=positions, surface=surface, volume=volume)
    assert edges(neighbours_of(whole, 60, "made up")) == edges(mesh_graph(surface, 60))
    holes = fct.Surface(
        vertices=surface.vertices, faces=surface.faces, unit_of_vertex=np.where(np.arange(60) == 7, -1, np.arange(60))
    )
    partial = fct.Geometry(positions=positions, surface=holes, volume=volume)
    assert edges(neighbours_of(partial, 60, "made up")) == edges(voxel_graph(volume, 60))
    line = fct.Geometry(positions=positions, surface=holes)
    assert edges(neighbours_of(line, 60, "made up")) == edges(nearest_graph_of_positions(positions))
    distances = euclidean_distances(positions[::-1] ** 2)
    both = fct.Geometry(positions=positions, distances=distances)
    assert edges(neighbours_of(both, 60, "made up")) == edges(nearest_graph(distances))


def test_bad_input():
    with pytest.raises(InputError, match="'made up' has no positions or distances"):
        neighbours_of(None, 5, "made up")
    holes = fct.Geometry(surface=strip(2, [0, 1, 2, -1]))
    with pytest.raises(InputError, match="no surface or volume that holds all"):
        neighbours_of(holes, 4, "made up")
    with pytest.raises(InputError, match=r"units 3 \(counted from 0\) have no vertex"):
        mesh_graph(strip(2, [0, 1, 2, -1]), 4)
    with pytest.raises(InputError, match="belongs to unit 3, but units are 0 … 2"):
        mesh_graph(strip(2, range(4)), 3)
    with pytest.raises(InputError, match=r"shape \(2, 3\)"):
        nearest_graph(np.ones((2, 3)))
    with pytest.raises(InputError, match="not symmetric"):
        nearest_graph(np.array([[0.0, 1], [2, 0]]))
    with pytest.raises(InputError, match="not finite"):
        nearest_graph(np.array([[0.0, np.inf], [np.inf, 0]]))
    with pytest.raises(InputError, match="k is 0"):
        nearest_graph(np.zeros((2, 2)), 0)
    with pytest.raises(InputError, match=r"hemispheres have shape \(1,\), but there are 2 units"):
        nearest_graph(np.zeros((2, 2)), hemispheres=["left"])
    with pytest.raises(InputError, match=r"\(n_units, n_dimensions\)"):
        nearest_graph_of_positions(np.zeros(3))
