"""Against the exact path, which holds every pair; against brute force; and against answers known by hand."""

import numpy as np
import pytest
from scipy import sparse
from scipy.spatial.distance import cdist
from scipy.stats import rankdata

import fctoolbox as fct
from fctoolbox import FactoredMatrix, InputError, cosine_similarity, edge_moments
from fctoolbox.edge_moments import DensePairs, relationship_r
from fctoolbox.nulls.edges import EdgeStatistics, correlation_by_distance
from fctoolbox.origin import correlations
from fctoolbox.similarity import directions

# Of partial r on a folded sheet: distances in 256 classes instead of one by one.
PARTIAL = 1e-3


def on_a_sheet(n, seed=0):
    """Smooth weights and a connectivity that shares more with them than distance."""
    rng = np.random.default_rng(seed)
    across, along = rng.random(n) * 120, rng.random(n) * 90
    positions = np.stack([across, along, 12 * np.sin(across / 9) + 30], axis=1)
    centres = positions[rng.choice(n, 40)]
    weights = np.exp(-((cdist(positions, centres) / 25) ** 2)) + 0.05 * rng.random((n, 40))
    private = np.exp(-((cdist(positions, positions[rng.choice(n, 60)]) / 20) ** 2))
    series = weights @ rng.standard_normal((40, 300)) + private @ rng.standard_normal((60, 300))
    return positions, weights, np.corrcoef(series + 0.2 * rng.standard_normal(series.shape))


@pytest.fixture(scope="module", params=[503, 1500])
def sheet(request):
    positions, weights, connectivity = on_a_sheet(request.param)
    return positions, weights, cosine_similarity(weights), connectivity


@pytest.fixture(scope="module")
def small():
    positions, weights, connectivity = on_a_sheet(101)
    return positions, cosine_similarity(weights).astype(np.float32), connectivity.astype(np.float32)


def test_r_and_rho_are_those_of_the_exact_path(sheet):
    positions, _, similarity, connectivity = sheet
    r, rho = correlations(similarity, connectivity)
    for dtype, atol in ((np.float64, 1e-13), (np.float32, 1e-7)):
        found = DensePairs.of(connectivity.astype(dtype), positions).statistics(similarity.astype(dtype))
        assert found.pearson_r == pytest.approx(r, abs=atol)
        assert found.spearman_rho == pytest.approx(rho, abs=1e-6)
    assert (
        found.pearson_r
        == DensePairs.of(connectivity.astype(np.float32), positions).statistics(similarity.astype(np.float32)).pearson_r
    )


def test_rho_has_the_ranks_of_rounded_values(small):
    _, similarity, connectivity = small
    pairs = np.triu_indices(101, 1)
    ranks = [rankdata(np.round(each[pairs].astype(np.float64), 6)) for each in (similarity, connectivity)]
    expected = np.corrcoef(*ranks)[0, 1]
    assert DensePairs.of(connectivity).statistics(similarity).spearman_rho == pytest.approx(expected, abs=1e-10)


def test_partial_r_is_near_that_of_exact_distances(sheet):
    positions, weights, similarity, connectivity = sheet
    exact = EdgeStatistics.of(connectivity, cdist(positions, positions))
    pairs = DensePairs.of(connectivity, positions)
    found = pairs.statistics(similarity)
    assert found.partial_r == pytest.approx(exact.partial_r(similarity), abs=PARTIAL)
    assert abs(found.partial_r - found.pearson_r) > 20 * PARTIAL  # distance does matter here
    assert pairs.statistics_of_directions(directions(weights)).partial_r == pytest.approx(found.partial_r, abs=1e-12)


def test_partial_r_of_distances_that_stand_in_the_middle_of_their_classes_is_exact(rng):
    # Units on a line at whole steps: every distance is one of few, and each class holds one of them.
    steps = rng.permutation(120)[:60].astype(float)
    steps[:2] = 0, 119
    positions = np.stack([steps, 0 * steps, 0 * steps], axis=1)
    similarity, connectivity = (np.corrcoef(rng.standard_normal((60, 9)) + steps[:, None] / 40) for _ in range(2))
    pairs = DensePairs.of(connectivity, positions)
    middles = (np.floor(cdist(positions, positions) * pairs.scale) + 0.5) / pairs.scale
    n = np.triu_indices(60, 1)
    basis = np.stack([np.interp(middles[n], pairs.knots, unit) for unit in np.eye(len(pairs.knots))], axis=1)
    left = [m[n] - basis @ np.linalg.lstsq(basis, m[n], rcond=None)[0] for m in (similarity, connectivity)]
    assert pairs.statistics(similarity).partial_r == pytest.approx(np.corrcoef(*left)[0, 1], abs=1e-12)


def test_a_function_of_distance_leaves_nothing_that_matters(small):
    positions, similarity, connectivity = small
    near = 1 - cdist(positions, positions) / 400
    found = DensePairs.of(connectivity, positions).statistics(near)
    assert abs(found.pearson_r) > 0.3
    assert abs(found.partial_r) < 0.1
    flat = np.zeros_like(positions)  # all in one place: only the mean goes
    found = DensePairs.of(connectivity, flat).statistics(similarity)
    assert found.partial_r == pytest.approx(found.pearson_r, abs=1e-12)
    assert [(each.shortest, each.longest, each.n_pairs) for each in found.by_distance] == [(0.0, 0.0, 5050)]


def test_correlations_by_distance(sheet):
    positions, _, similarity, connectivity = sheet
    apart = cdist(positions, positions)
    found = DensePairs.of(connectivity, positions).statistics(similarity).by_distance
    pairs = np.triu_indices(len(positions), 1)
    assert sum(each.n_pairs for each in found) == len(pairs[0])
    for each, exact in zip(found, correlation_by_distance(similarity, connectivity, apart), strict=True):
        inside = (apart[pairs] >= each.shortest) & (apart[pairs] < each.longest)
        assert inside.sum() == pytest.approx(each.n_pairs, abs=3)  # positions are of single precision
        assert each.pearson_r == pytest.approx(
            np.corrcoef(similarity[pairs][inside], connectivity[pairs][inside])[0, 1], abs=1e-3
        )
        assert each.n_pairs == pytest.approx(exact.n_pairs, rel=0.05)
        assert each.pearson_r == pytest.approx(exact.pearson_r, abs=0.01)


def test_the_joint_histogram_counts_every_pair_once(small):
    _, similarity, connectivity = small
    counts, one, other = DensePairs.of(connectivity).statistics(similarity).joint
    pairs = np.triu_indices(101, 1)
    assert counts.shape == (200, 200)
    assert counts.sum() == 5050
    for edges, values, marginal in (
        (one, similarity[pairs], counts.sum(axis=1)),
        (other, connectivity[pairs], counts.sum(axis=0)),
    ):
        assert edges.shape == (201,)
        assert edges[0] == pytest.approx(values.min(), abs=2e-6)
        assert edges[-1] == pytest.approx(values.max(), abs=2e-6)
        np.testing.assert_allclose(np.cumsum(marginal)[:-1], [(values < edge).sum() for edge in edges[1:-1]], atol=2)


def test_three_units_by_hand():
    similarity = np.array([[1, 0.1, 0.2], [0.1, 1, 0.6], [0.2, 0.6, 1]])
    connectivity = np.array([[7, 0.3, 0.5], [0.3, 7, -0.4], [0.5, -0.4, 7]])
    found = DensePairs.of(connectivity).statistics(similarity)
    s, f = np.array([0.1, 0.2, 0.6]), np.array([0.3, 0.5, -0.4])
    assert found.pearson_r == pytest.approx(np.corrcoef(s, f)[0, 1], abs=1e-12)
    assert found.spearman_rho == pytest.approx(-0.5, abs=1e-12)
    assert found.partial_r is None
    assert found.by_distance == ()
    assert DensePairs.of(1 - 0.5 * similarity).statistics(similarity).pearson_r == pytest.approx(-1, abs=1e-12)


def test_little_spread_about_a_large_mean_is_kept(small):
    _, similarity, connectivity = small
    close = (0.99 + similarity.astype(np.float64) / 500).astype(np.float32)
    pairs = np.triu_indices(101, 1)
    expected = np.corrcoef(close[pairs].astype(np.float64), connectivity[pairs].astype(np.float64))[0, 1]
    dense = DensePairs.of(connectivity)
    assert dense.statistics(close).pearson_r == pytest.approx(expected, abs=1e-9)
    assert dense.spun(close, np.arange(101)[None])[0, 0] == pytest.approx(expected, abs=1e-6)


def test_relabelling_changes_nothing(small, rng):
    positions, similarity, connectivity = small
    order = rng.permutation(101)
    grid = np.ix_(order, order)
    one = DensePairs.of(connectivity, positions).statistics(similarity)
    other = DensePairs.of(connectivity[grid], positions[order]).statistics(similarity[grid])
    assert other.pearson_r == pytest.approx(one.pearson_r, abs=1e-12)
    assert other.spearman_rho == pytest.approx(one.spearman_rho, abs=1e-12)
    assert other.partial_r == pytest.approx(one.partial_r, abs=1e-9)
    np.testing.assert_array_equal(other.joint.counts, one.joint.counts)
    assert [each.n_pairs for each in other.by_distance] == [each.n_pairs for each in one.by_distance]


def test_noise_is_unrelated(rng):
    one, other = (np.corrcoef(rng.standard_normal((400, 20))) for _ in range(2))
    found = DensePairs.of(other, rng.random((400, 3))).statistics(one)
    assert max(abs(found.pearson_r), abs(found.spearman_rho), abs(found.partial_r)) < 0.02


# Without the similarity


@pytest.mark.parametrize("kind", [np.asarray, sparse.csr_array, lambda w: FactoredMatrix(w, np.eye(40))])
def test_r_without_the_similarity(kind, monkeypatch):
    monkeypatch.setattr(edge_moments, "_TILE", 64)  # not a divisor of 201
    positions, weights, connectivity = on_a_sheet(201)
    weights = np.where(weights > 0.3, weights, 0)
    expected = correlations(cosine_similarity(weights), connectivity)[0]
    assert relationship_r(kind(weights), connectivity) == pytest.approx(expected, abs=1e-12)
    stored = DensePairs.of(connectivity, positions).statistics(cosine_similarity(weights))
    found = DensePairs.of(connectivity, positions).statistics_of_directions(directions(kind(weights)))
    assert found.partial_r == pytest.approx(stored.partial_r, abs=1e-11)
    assert found.spearman_rho is None
    assert found.joint is None
    for one, other in zip(found.by_distance, stored.by_distance, strict=True):
        assert one.pearson_r == pytest.approx(other.pearson_r, abs=1e-11)


def test_it_is_public():
    assert fct.relationship_r is relationship_r


# Rearranged


def by_brute_force(similarity, connectivity, order, pairs=None):
    """r and partial r over the pairs whose units have different sources, one by one, in double precision."""
    i, j = np.triu_indices(len(order), 1)
    i, j = (each[order[i] != order[j]] for each in (i, j))
    s, f = similarity[order[i], order[j]].astype(np.float64), connectivity[i, j].astype(np.float64)
    r = np.corrcoef(s, f)[0, 1]
    if pairs is None:
        return [r]
    apart = np.sqrt(((pairs.positions.T[i] - pairs.positions.T[j]) ** 2).sum(axis=1, dtype=np.float32))
    middles = (np.floor(apart * np.float32(pairs.scale)) + 0.5) / pairs.scale
    basis = np.stack([np.interp(middles, pairs.knots, unit) for unit in np.eye(len(pairs.knots))], axis=1)
    left = [m - basis @ np.linalg.lstsq(basis, m, rcond=None)[0] for m in (s, f)]
    return [r, np.corrcoef(*left)[0, 1]]


def some_orders(n, rng):
    repeating = rng.integers(0, n, n)
    clumped = np.sort(rng.integers(0, n // 3, n))
    return np.stack([np.arange(n), rng.permutation(n), np.arange(n)[::-1], repeating, clumped])


@pytest.mark.parametrize("n", [9, 101, 200])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_rearranged_against_brute_force(n, dtype, rng):
    positions, weights, connectivity = on_a_sheet(n)
    similarity, connectivity = cosine_similarity(weights).astype(dtype), connectivity.astype(dtype)
    orders = some_orders(n, rng)
    plain, placed = DensePairs.of(connectivity), DensePairs.of(connectivity, positions)
    atol = 2e-6 if dtype == np.float32 else 1e-9
    np.testing.assert_allclose(
        plain.spun(similarity, orders), [by_brute_force(similarity, connectivity, o) for o in orders], atol=atol
    )
    if n > 9:
        expected = [by_brute_force(similarity, connectivity, o, placed) for o in orders]
        # A pair at the edge of two classes may be put into either: the sum of squares is rounded in another order.
        np.testing.assert_allclose(placed.spun(similarity, orders), expected, atol=max(atol, 1e-5))


def test_the_identity_gives_what_was_observed(small):
    positions, similarity, connectivity = small
    pairs = DensePairs.of(connectivity, positions)
    found = pairs.statistics(similarity)
    np.testing.assert_allclose(
        pairs.spun(similarity, np.arange(101)[None]), [[found.pearson_r, found.partial_r]], atol=1e-6
    )


def test_more_orders_than_are_taken_at_once(small, rng):
    positions, similarity, connectivity = small
    orders = np.stack([rng.permutation(101) for _ in range(37)])
    pairs = DensePairs.of(connectivity, positions)
    together = pairs.spun(similarity, orders)
    assert together.shape == (37, 2)
    np.testing.assert_array_equal(together, np.concatenate([pairs.spun(similarity, o[None]) for o in orders]))
    assert pairs.spun(similarity, orders[:0]).shape == (0, 2)


def test_an_order_of_one_unit_only_leaves_nothing(small):
    positions, similarity, connectivity = small
    zero = DensePairs.of(connectivity, positions).spun(similarity, np.full((1, 101), 7))
    np.testing.assert_array_equal(zero, [[0, 0]])


def test_orders_are_checked(small):
    _, similarity, connectivity = small
    pairs = DensePairs.of(connectivity)
    for bad, message in (
        (np.arange(101), r"orders has shape \(101,\)"),
        (np.full((1, 101), 101), r"0 … 100"),
        (np.zeros((1, 101)), "whole numbers"),
    ):
        with pytest.raises(InputError, match=message):
            pairs.spun(similarity, bad)


# Whatever holds the matrices


def test_no_bit_depends_on_the_number_of_threads(monkeypatch, rng):
    monkeypatch.setattr(edge_moments, "_ROWS", 16)
    monkeypatch.setattr(edge_moments, "_TILE", 64)
    positions, weights, connectivity = on_a_sheet(211)
    similarity = cosine_similarity(weights)
    orders = some_orders(211, rng)
    results = []
    for n_jobs in (1, 2, 3):
        pairs = DensePairs.of(connectivity, positions, n_jobs=n_jobs)
        found = pairs.statistics(similarity)
        unstored = pairs.statistics_of_directions(directions(weights))
        results.append((found.pearson_r, found.partial_r, unstored.pearson_r, unstored.partial_r))
        results[-1] += tuple(pairs.spun(similarity, orders).ravel())
        assert found.spearman_rho == pytest.approx(correlations(similarity, connectivity)[1], abs=1e-6)
    assert results[0] == results[1] == results[2]


def test_memory_maps_and_other_layouts(small, tmp_path):
    positions, similarity, connectivity = small
    np.save(tmp_path / "fc.npy", connectivity)
    mapped = np.load(tmp_path / "fc.npy", mmap_mode="r")
    expected = DensePairs.of(connectivity, positions).statistics(similarity)
    for other in (
        mapped,
        np.asfortranarray(connectivity),
        connectivity.astype(">f4"),
        np.tile(connectivity, 2)[:, :101],
    ):
        found = DensePairs.of(other, positions).statistics(np.asfortranarray(similarity))
        assert (found.pearson_r, found.partial_r) == (expected.pearson_r, expected.partial_r)
    assert np.shares_memory(DensePairs.of(mapped).connectivity, mapped)
    assert connectivity.flags.writeable


def test_the_diagonals_do_not_matter(small, rng):
    positions, similarity, connectivity = small
    pairs = DensePairs.of(connectivity, positions)
    empty, other = (matrix - np.diag(np.diagonal(matrix)) for matrix in (similarity, connectivity))
    for found, expected in (
        (DensePairs.of(other, positions).statistics(empty), pairs.statistics(similarity)),
        (
            DensePairs.of(other + 9 * np.eye(101, dtype=np.float32)).statistics(empty),
            DensePairs.of(connectivity).statistics(similarity),
        ),
    ):
        assert found.pearson_r == expected.pearson_r
        assert found.spearman_rho == expected.spearman_rho
    orders = some_orders(101, rng)
    np.testing.assert_allclose(pairs.spun(empty, orders), pairs.spun(similarity, orders), atol=1e-6)


# What is refused


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_not_finite_are_placed(value, small):
    positions, similarity, connectivity = small
    bad = similarity.copy()
    bad[3, 70] = bad[70, 3] = value
    pairs = DensePairs.of(connectivity, positions)
    with pytest.raises(InputError, match="row 3, column 70"):
        DensePairs.of(bad)
    with pytest.raises(InputError, match=r"similarity of the input projections.*row 3, column 70"):
        pairs.statistics(bad)
    with pytest.raises(InputError, match=r"similarity of the input projections.*row 3, column 70"):
        pairs.spun(bad, np.arange(101)[None])
    with pytest.raises(InputError, match=r"directions.*row 3, column 70"):
        pairs.statistics_of_directions(bad)


def test_a_matrix_that_is_the_same_everywhere(small):
    _, similarity, connectivity = small
    same = (np.full((101, 101), 0.25) + 1e-7 * similarity).astype(np.float32)
    with pytest.raises(InputError, match=r"the functional connectivity is 0\.25 for every pair"):
        DensePairs.of(same)
    with pytest.raises(InputError, match=r"similarity of the input projections is 0\.25 .*only one input"):
        DensePairs.of(connectivity).statistics(same)
    with pytest.raises(InputError, match="is 1 for every pair"):
        relationship_r(np.ones((101, 3)), connectivity)


def test_shapes_that_disagree(small):
    positions, similarity, connectivity = small
    pairs = DensePairs.of(connectivity)
    with pytest.raises(InputError, match=r"shape \(101, 100\)"):
        DensePairs.of(connectivity[:, :100])
    with pytest.raises(InputError, match=r"positions has shape \(100, 3\).*\(101, 3\)"):
        DensePairs.of(connectivity, positions[:100])
    with pytest.raises(InputError, match="50 units, but the functional connectivity has 101"):
        pairs.statistics(similarity[:50, :50])
    with pytest.raises(InputError, match=r"directions have shape \(50, 101\)"):
        pairs.statistics_of_directions(similarity[:50])
    with pytest.raises(InputError, match="beyond -1"):
        pairs.statistics(3 * similarity)
    with pytest.raises(InputError, match=r"units \[0\] receive no input"):
        relationship_r(np.arange(101)[:, None] * np.ones((1, 2)), connectivity)
