import networkx as nx
import numpy as np
import pytest
from scipy import sparse

import fctoolbox as fct
from fctoolbox import InputError
from fctoolbox.nulls.graph import mesh_graph, nearest_graph_of_positions, voxel_graph
from fctoolbox.nulls.regrow import boundary_length, n_pieces, regrow
from tests.nulls.meshes import caps, grid, sphere


@pytest.fixture(scope="module")
def ball():
    """A sphere of 400 vertices in 5 compact modules."""
    surface = sphere(400)
    return mesh_graph(surface, 400), caps(surface, 5, 2), surface.vertices


def sizes(partitions):
    return np.sort([np.unique(row, return_counts=True)[1] for row in np.atleast_2d(partitions)], axis=1)


def of_networkx(labels, graph):
    """Boundary and pieces, by another library."""
    whole = nx.from_scipy_sparse_array(graph)
    cut = [(i, j) for i, j in whole.edges if labels[i] != labels[j]]
    whole.remove_edges_from(cut)
    return len(cut), nx.number_connected_components(whole)


def check(labels, graph, nulls, *, apart=0.03, n_close=0.9):
    assert nulls.shape == (len(nulls), len(labels))
    for null in nulls:
        np.testing.assert_array_equal(np.unique(null, return_counts=True), np.unique(labels, return_counts=True))
    target = boundary_length(labels, graph)
    close = np.abs(boundary_length(nulls, graph) - target) <= apart * target
    assert close.mean() >= n_close


def test_boundary_and_pieces_by_hand_and_by_networkx(ball):
    line = sparse.diags_array([np.ones(5), np.ones(5)], offsets=[-1, 1]).tocsr()
    assert boundary_length([0, 0, 1, 1, 0, 0], line) == 2
    assert n_pieces([0, 0, 1, 1, 0, 0], line) == 3
    graph, labels, _ = ball
    mixed = np.stack([labels, np.arange(400) % 3])
    assert boundary_length(mixed, graph).shape == (2,)
    for row, length, number in zip(mixed, boundary_length(mixed, graph), n_pieces(mixed, graph), strict=True):
        assert of_networkx(row, graph) == (length, number)


def test_modules_of_the_same_sizes_boundary_and_pieces(ball):
    graph, labels, _ = ball
    nulls = regrow(labels, neighbours=graph, n_nulls=40, rng=0)
    check(labels, graph, nulls)
    assert (n_pieces(nulls, graph) == 5).all()


def test_rough_and_scattered_originals_have_rough_and_scattered_nulls(ball):
    graph, labels, positions = ball
    rough = caps(fct.Surface(positions, np.zeros((1, 3), int), np.arange(400)), 5, 2)
    rng = np.random.default_rng(0)
    field = np.argmax(
        np.stack([np.cos(positions @ rng.standard_normal(3) / 15 + k) for k in range(4)]), axis=0
    )  # pieces of many sizes
    rough = np.where(rng.random(400) < 0.06, rng.integers(0, 5, 400), labels)  # and of single units
    for original in (field, rough):
        nulls = regrow(original, neighbours=graph, n_nulls=20, rng=0)
        check(original, graph, nulls)
        pieces = n_pieces(original, graph)
        assert np.abs(n_pieces(nulls, graph) - pieces).mean() < 0.12 * pieces


def test_pieces_of_a_module_do_not_touch(ball):
    graph, _, _ = ball
    cells = caps(sphere(400), 14, 3)
    touching = nx.Graph()
    touching.add_edges_from((int(cells[i]), int(cells[j])) for i, j in zip(*graph.nonzero(), strict=True))
    touching.remove_edges_from(nx.selfloop_edges(touching))
    colour = nx.greedy_color(touching)
    labels = np.array([colour[int(cell)] for cell in cells])
    assert n_pieces(labels, graph) == 14
    nulls = regrow(labels, neighbours=graph, n_nulls=40, rng=0)
    check(labels, graph, nulls)
    assert n_pieces(nulls, graph).mean() > 13.2


def test_tiny_pieces_are_put_anywhere_and_a_tiny_piece_of_the_graph_is_filled():
    surface = sphere(1500)
    pair = np.array([[0.0, 1], [1, 0]])
    graph = sparse.block_diag([mesh_graph(surface, 1500), pair]).tocsr()
    labels = caps(surface, 4, 0)
    specks = np.random.default_rng(0).permutation(1500)[:60]
    labels[specks] = (labels[specks] + 1) % 4
    labels = np.r_[labels, 0, 1]
    nulls = regrow(labels, neighbours=graph, n_nulls=20, rng=0)
    check(labels, graph, nulls)
    assert np.abs(n_pieces(nulls, graph) - n_pieces(labels, graph)).mean() < 4
    assert set(map(tuple, nulls[:, 1500:].tolist())) == {(0, 1), (1, 0)}
    alone = [[i for i in range(1500) if (null[graph[[i]].indices] != null[i]).all()] for null in nulls]
    assert len(set().union(*alone)) > 400  # specks lie elsewhere in each null


def test_every_place_is_as_likely_for_every_module(ball):
    graph, labels, positions = ball
    nulls = regrow(labels, neighbours=graph, n_nulls=400, rng=1)
    for module, size in enumerate(np.bincount(labels)):
        share = (nulls == module).mean(axis=0)
        expected = size / 400
        spread = np.sqrt(expected * (1 - expected) / 400)
        assert np.abs(share - expected).max() < 5 * spread
        # No pole, no side: the mean place of a module is the centre of the sphere.
        centre = (nulls == module) @ positions / size / 50
        assert np.abs(centre.mean(axis=0)).max() < 5 * centre.std(axis=0).max() / 20


def test_nulls_know_nothing_of_the_original_or_of_each_other(ball):
    graph, labels, _ = ball
    nulls = regrow(labels, neighbours=graph, n_nulls=60, rng=2)
    with_original = np.array([fct.adjusted_rand(labels, null) for null in nulls])
    among = np.array([fct.adjusted_rand(nulls[i], nulls[(i + 7) % 60]) for i in range(60)])
    error = np.hypot(with_original.std(), among.std()) / np.sqrt(60)
    assert abs(with_original.mean() - among.mean()) < 4 * error
    assert with_original.max() < 0.9
    assert len(np.unique(nulls, axis=0)) == 60


def test_names_do_not_matter(ball):
    graph, labels, _ = ball
    names = np.array([40, 7, -3, 12, 0])
    nulls = regrow(labels, neighbours=graph, n_nulls=3, rng=5)
    np.testing.assert_array_equal(regrow(names[labels], neighbours=graph, n_nulls=3, rng=5), names[nulls])
    words = np.array(["one", "two", "alpha", "x", "b"])
    np.testing.assert_array_equal(regrow(words[labels], neighbours=graph, n_nulls=3, rng=5), words[nulls])


def test_same_rng_same_nulls_whatever_the_threads(ball):
    graph, labels, _ = ball
    nulls = regrow(labels, neighbours=graph, n_nulls=9, rng=3)
    np.testing.assert_array_equal(regrow(labels, neighbours=graph, n_nulls=9, rng=3, n_jobs=3), nulls)
    own = regrow(labels, neighbours=graph, n_nulls=9, rng=np.random.default_rng(3))
    np.testing.assert_array_equal(own, nulls)
    assert (regrow(labels, neighbours=graph, n_nulls=9, rng=4) != nulls).any()
    assert regrow(labels, neighbours=graph, n_nulls=1, rng=0).shape == (1, 400)


def test_compact_modules_are_no_better_than_their_nulls_where_connectivity_is_distance(ball):
    graph, labels, positions = ball
    connectivity = np.exp(-((positions[:, None] - positions) ** 2).sum(axis=2) / 2 / 25**2)
    nulls = regrow(labels, neighbours=graph, n_nulls=99, rng=0)
    q = fct.modularity(connectivity, labels)
    of_nulls = fct.modularities(connectivity, nulls)
    assert 0.05 < (1 + np.count_nonzero(of_nulls >= q)) / 100 < 0.95
    permuted = fct.modularities(connectivity, fct.nulls.permutation(labels, n_nulls=99, rng=0))
    assert permuted.max() < 0.2 * q < of_nulls.min()
    # What is planted along the modules' own borders is found.
    planted = connectivity + 0.2 * (labels[:, None] == labels)
    assert (fct.modularities(planted, nulls) < fct.modularity(planted, labels)).all()


def test_scattered_areas(rng):
    positions = rng.random((20, 3))
    graph = nearest_graph_of_positions(positions)
    labels = np.argsort(np.argsort(positions[:, 0])) // 4
    nulls = regrow(labels, neighbours=graph, n_nulls=50, rng=0)
    check(labels, graph, nulls, apart=0.08)
    assert len(np.unique(nulls, axis=0)) > 25


def test_volumes(rng):
    graph = voxel_graph(grid(8, 9, 7), 504)
    voxels = np.stack(np.unravel_index(np.arange(504), (8, 9, 7)), axis=1)
    labels = np.argmin(((voxels[:, None] - rng.random((5, 3)) * [8, 9, 7]) ** 2).sum(axis=2), axis=1)
    nulls = regrow(labels, neighbours=graph, n_nulls=20, rng=0)
    check(labels, graph, nulls)
    assert (n_pieces(nulls, graph) == 5).all()


def test_the_smoothest_partition_has_no_peers():
    graph = voxel_graph(grid(8, 9, 7), 504)
    i, j, _ = np.unravel_index(np.arange(504), (8, 9, 7))
    with pytest.warns(UserWarning, match="could not be matched"):
        regrow((i >= 4) + 2 * (j >= 3), neighbours=graph, n_nulls=3, rng=0)


def test_each_hemisphere_keeps_its_modules(ball):
    graph, labels, _ = ball
    both = sparse.block_diag([graph, graph]).tocsr()
    twice = np.r_[labels, (labels + 1) % 5 + (labels == 2)]
    nulls = regrow(twice, neighbours=both, n_nulls=10, rng=0)
    for side in (slice(400), slice(400, None)):
        check(twice[side], graph, nulls[:, side], apart=0.2)
    check(twice, both, nulls)


def test_few_units_of_a_line_and_tiny_modules():
    line = sparse.diags_array([np.ones(9), np.ones(9)], offsets=[-1, 1]).tocsr()
    labels = np.array([0, 0, 0, 0, 1, 1, 1, 2, 2, 2])
    nulls = regrow(labels, neighbours=line, n_nulls=200, rng=0)
    assert (boundary_length(nulls, line) == 2).all()
    assert len(np.unique(nulls, axis=0)) == 6  # all orders of the three
    pair = sparse.csr_array(np.array([[0.0, 1], [1, 0]]))
    assert set(map(tuple, regrow([0, 1], neighbours=pair, n_nulls=40, rng=0).tolist())) == {(0, 1), (1, 0)}


def test_labels_without_any_contiguity_keep_their_sizes(ball):
    graph, _, _ = ball
    labels = np.random.default_rng(0).integers(0, 6, 400)
    with pytest.warns(UserWarning, match="could not be matched"):
        nulls = regrow(labels, neighbours=graph, n_nulls=2, rng=0)
    check(labels, graph, nulls, n_close=0)


@pytest.mark.slow
def test_a_thousand_nulls_of_a_whole_hemisphere():
    surface = sphere(29_696)
    graph, labels = mesh_graph(surface, 29_696), caps(surface, 7, 0)
    nulls = regrow(labels, neighbours=graph, n_nulls=20, rng=0, n_jobs=2)
    check(labels, graph, nulls)
    assert (n_pieces(nulls, graph) == 7).all()


def test_bad_input(ball):
    graph, labels, _ = ball
    with pytest.raises(InputError, match=r"shape \(400, 400\), but there are 399 labels"):
        regrow(labels[1:], neighbours=graph, n_nulls=1)
    with pytest.raises(InputError, match=r"labels have shape \(1, 400\)"):
        regrow(labels[None], neighbours=graph, n_nulls=1)
    with pytest.raises(InputError, match="must be a sparse array"):
        regrow(labels, neighbours=graph.toarray(), n_nulls=1)
    with pytest.raises(InputError, match="a single module"):
        regrow(np.zeros(400, int), neighbours=graph, n_nulls=1)
    with pytest.raises(InputError, match="not symmetric"):
        regrow(labels, neighbours=sparse.triu(graph).tocsr(), n_nulls=1)
    with pytest.raises(InputError, match="n_nulls is 0"):
        regrow(labels, neighbours=graph, n_nulls=0)
    alone = sparse.block_diag([graph, np.zeros((2, 2))]).tocsr()
    with pytest.raises(InputError, match=r"units 400, 401 \(counted from 0\) have no neighbours"):
        regrow(np.r_[labels, 0, 1], neighbours=alone, n_nulls=1)
    both = sparse.block_diag([graph, graph]).tocsr()
    with pytest.raises(InputError, match="in 2 pieces, and the modules are unions of them"):
        regrow(np.repeat([0, 1], 400), neighbours=both, n_nulls=1)
    with pytest.raises(InputError, match="negative or not finite"):
        regrow(labels, neighbours=-graph, n_nulls=1)
