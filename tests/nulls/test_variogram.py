import sys

import numpy as np
import pytest
from brainsmash.mapgen.base import Base

from fctoolbox import Geometry, InputError
from fctoolbox.nulls import euclidean_distances, permutation, variogram
from fctoolbox.nulls.distances import distances_of


@pytest.fixture
def positions(rng):
    return rng.standard_normal((60, 3))


def neighbour_difference(maps, distances):
    """Mean squared difference to the nearest neighbour, over that to any unit; 1 for noise."""
    nearest = np.argsort(distances, axis=1)[:, 1]
    maps = np.atleast_2d(maps)
    return ((maps - maps[:, nearest]) ** 2).mean() / (2 * maps.var(axis=1).mean())


def test_values_are_kept_and_their_smoothness_too(positions):
    distances = euclidean_distances(positions)
    smooth = positions @ [1.0, 0.5, -0.5]
    nulls = variogram(smooth, distances=distances, n_nulls=25, rng=0)
    assert nulls.shape == (25, 60)
    np.testing.assert_allclose(np.sort(nulls, axis=1), np.tile(np.sort(smooth), (25, 1)))
    shuffled = permutation(smooth, n_nulls=25, rng=0)
    assert neighbour_difference(smooth, distances) < 0.5
    assert neighbour_difference(nulls, distances) < 0.75 * neighbour_difference(shuffled, distances)


def test_agrees_with_brainsmash_itself(positions):
    distances = euclidean_distances(positions)
    seed = int(np.random.default_rng(5).integers(2**31))
    base = Base(positions[:, 0], distances, resample=True, seed=seed)
    np.testing.assert_array_equal(variogram(positions[:, 0], distances=distances, n_nulls=10, rng=5), base(n=10))


def test_one_null_keeps_its_axis_and_same_rng_same_nulls(positions):
    distances = euclidean_distances(positions)
    first = variogram(positions[:, 0], distances=distances, n_nulls=1, rng=2)
    assert first.shape == (1, 60)
    np.testing.assert_array_equal(first, variogram(positions[:, 0], distances=distances, n_nulls=1, rng=2))


def test_the_documented_weakness_is_real(positions):
    # Naming the same communities otherwise gives other surrogates: labels are names, and this null reads numbers.
    distances = euclidean_distances(positions)
    labels = np.digitize(positions[:, 0], [-0.6, 0.2, 0.9])
    renamed = np.array([2, 0, 3, 1])[labels]
    first, second = (variogram(each, distances=distances, n_nulls=5, rng=0) for each in (labels, renamed))
    assert (np.array([2, 0, 3, 1])[first.astype(int)] != second).any()


def test_bad_input(positions, monkeypatch):
    distances = euclidean_distances(positions)
    with pytest.raises(InputError, match=r"distances have shape \(60, 60\), but there are 20 values"):
        variogram(np.arange(20), distances=distances, n_nulls=1)
    with pytest.raises(InputError, match="at least 15 units"):
        variogram(np.arange(5), distances=distances[:5, :5], n_nulls=1)
    with pytest.raises(InputError, match="not all equal"):
        variogram(np.ones(60), distances=distances, n_nulls=1)
    with pytest.raises(InputError, match="n_nulls is 0"):
        variogram(np.arange(60), distances=distances, n_nulls=0)
    with pytest.raises(InputError, match=r"rng is 1\.5"):
        variogram(np.arange(60), distances=distances, n_nulls=1, rng=1.5)
    crowd = np.vstack([positions[:54], np.tile(positions[54], (7, 1))])
    with pytest.raises(InputError, match=r"those of 7 units lie .* \(the first is unit 54, counted from 0\)"):
        variogram(np.arange(61), distances=euclidean_distances(crowd), n_nulls=1)
    grid = np.stack([*np.mgrid[:4, :4].reshape(2, -1), np.zeros(16)], axis=1)
    with pytest.raises(InputError, match="the shortest 25 % of the distances, which are all 1 here"):
        variogram(np.arange(16), distances=euclidean_distances(grid), n_nulls=1)
    monkeypatch.setitem(sys.modules, "brainsmash.mapgen.base", None)
    with pytest.raises(InputError, match=r"pip install 'fctoolbox\[brainsmash\]'"):
        variogram(np.arange(60), distances=distances, n_nulls=1)


def test_distances():
    geometry = Geometry(positions=np.array([[0.0, 0, 0], [3, 4, 0], [0, 0, 2]]))
    np.testing.assert_allclose(distances_of(geometry, "x"), [[0, 5, 2], [5, 0, np.sqrt(29)], [2, np.sqrt(29), 0]])
    given = np.array([[0.0, 1, 2], [1, 0, 1], [2, 1, 0]])
    np.testing.assert_array_equal(distances_of(Geometry(distances=given), "x"), given)
    with pytest.raises(InputError, match="'x' has neither positions nor distances"):
        distances_of(None, "x")
