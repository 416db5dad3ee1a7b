import numpy as np
import pytest
from scipy.spatial.distance import cdist, squareform

from fctoolbox import InputError
from fctoolbox.nulls.edges import EdgeStatistics, correlation_by_distance, partial_correlation


def symmetric(n, seed):
    values = np.random.default_rng(seed).standard_normal(n * (n - 1) // 2)
    return squareform(values)


@pytest.fixture
def distances(rng):
    where = rng.standard_normal((30, 3))
    return 20 * cdist(where, where)


def test_r_is_that_over_the_upper_triangle(distances):
    one, other = symmetric(30, 0) + 0.01 * distances, symmetric(30, 1) + 0.02 * distances
    pairs = np.triu_indices(30, 1)
    expected = np.corrcoef(one[pairs], other[pairs])[0, 1]
    assert EdgeStatistics.of(other).pearson_r(one) == pytest.approx(expected, abs=1e-13)
    assert EdgeStatistics.of(other, distances).pearson_r(one) == pytest.approx(expected, abs=1e-13)


def test_partial_r_is_the_correlation_of_residuals(distances):
    one, other = symmetric(30, 0) + 0.05 * distances, symmetric(30, 1) - 0.05 * distances
    pairs = np.triu_indices(30, 1)
    knots = np.quantile(distances[pairs], np.linspace(0, 1, 11))
    hats = np.stack([np.interp(distances[pairs], knots, unit) for unit in np.eye(11)], axis=1)
    left = [m[pairs] - hats @ np.linalg.lstsq(hats, m[pairs], rcond=None)[0] for m in (one, other)]
    expected = np.corrcoef(*left)[0, 1]
    assert partial_correlation(one, other, distances) == pytest.approx(expected, abs=1e-12)
    assert partial_correlation(other, one, distances) == pytest.approx(expected, abs=1e-12)


def test_what_distance_alone_brings_about_goes(distances):
    # Two functions of distance with a little noise of their own: strongly related, and not at all beyond distance.
    one = np.exp(-distances / 20) + 0.02 * symmetric(30, 0)
    other = 1 / (1 + distances / 15) + 0.02 * symmetric(30, 1)
    assert EdgeStatistics.of(other).pearson_r(one) > 0.9
    assert abs(partial_correlation(one, other, distances)) < 0.25
    shared = 0.05 * symmetric(30, 2)
    assert partial_correlation(one + shared, other + shared, distances) > 0.6


def test_linear_in_distance_and_nothing_else_leaves_nothing(distances):
    assert partial_correlation(3 - 2 * distances, symmetric(30, 0), distances) == 0
    assert partial_correlation(symmetric(30, 0), 3 - 2 * distances, distances) == 0


def test_scales_and_order_do_not_matter(distances, rng):
    one, other = symmetric(30, 0) + 0.05 * distances, symmetric(30, 0) + 0.3 * symmetric(30, 1)
    partial = partial_correlation(one, other, distances)
    assert partial_correlation(5 * one - 3, 0.1 * other + 8, 1000 * distances) == pytest.approx(partial, abs=1e-10)
    order = rng.permutation(30)
    grid = np.ix_(order, order)
    assert partial_correlation(one[grid], other[grid], distances[grid]) == pytest.approx(partial, abs=1e-12)


def test_equal_distances_only_take_the_mean(distances):
    flat = 1 - np.eye(30)
    one, other = symmetric(30, 0), symmetric(30, 0) + symmetric(30, 1)
    assert partial_correlation(one, other, flat) == pytest.approx(EdgeStatistics.of(other).pearson_r(one), abs=1e-12)


def test_correlation_by_distance(distances):
    one, other = symmetric(30, 0), symmetric(30, 0) + symmetric(30, 1)
    bins = correlation_by_distance(one, other, distances, n_bins=4)
    pairs = np.triu_indices(30, 1)
    assert sum(each.n_pairs for each in bins) == 435
    assert [each.n_pairs for each in bins] == [109, 109, 109, 108]
    assert bins[0].shortest == pytest.approx(distances[pairs].min())
    assert bins[-1].longest == pytest.approx(distances[pairs].max())
    for each in bins:
        inside = (distances[pairs] >= each.shortest) & (distances[pairs] <= each.longest)
        assert each.pearson_r == pytest.approx(np.corrcoef(one[pairs][inside], other[pairs][inside])[0, 1])
    flat = correlation_by_distance(np.ones((30, 30)), other, distances)
    assert [each.pearson_r for each in flat] == [None] * 5


def test_partial_r_needs_distances():
    with pytest.raises(InputError, match="needs distances"):
        EdgeStatistics.of(symmetric(5, 0)).partial_r(symmetric(5, 1))
