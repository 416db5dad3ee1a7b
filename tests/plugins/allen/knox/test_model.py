import numpy as np
import pytest
from fctoolbox_allen.knox.model import factored_projection
from fctoolbox_allen.knox.store import Store

from fctoolbox import InputError, cosine_similarity


@pytest.fixture
def store(rng):
    weights = rng.random((50, 9), dtype=np.float32)
    weights[:20, 5:] = 0  # a division has weight in its own experiments only
    weights[20:, :5] = 0
    nodes = np.where(rng.random((9, 40)) < 0.5, rng.random((9, 40)), 0).astype(np.float32)
    return Store(weights, nodes, {})


def test_it_is_the_mean_of_the_explicit_product_turned_over(store, rng):
    sources, targets = np.arange(3, 15), rng.permutation(40)[:24]
    unit = np.arange(24) % 6
    found = factored_projection(store, sources, targets, unit, 6)
    full = store.weights.astype(float) @ store.nodes.astype(float)  # from source to target
    expected = np.array([full[np.ix_(sources, targets[unit == i])].mean(axis=1) for i in range(6)])
    assert found.shape == (6, 12)
    np.testing.assert_allclose(found.left.astype(float) @ found.right, expected, rtol=1e-5)
    assert found.left.shape[1] == 5  # the other division's experiments are left out
    assert found.left.dtype == found.right.dtype == np.float32
    explicit = cosine_similarity(expected)
    np.testing.assert_allclose(cosine_similarity(found), explicit, atol=1e-5)


def test_experiments_that_reach_no_target_are_left_out(store):
    nodes = store.nodes.copy()
    nodes[2] = 0
    found = factored_projection(Store(store.weights, nodes, {}), np.arange(20), np.arange(40), np.arange(40) % 4, 4)
    assert found.left.shape[1] == 4


def test_nothing_to_project(store):
    with pytest.raises(InputError, match="none of the sources projects"):
        factored_projection(
            Store(store.weights, np.zeros_like(store.nodes), {}), np.arange(20), np.arange(4), np.arange(4), 4
        )
    for sources, units in (([], 4), ([0], 5)):
        with pytest.raises(InputError, match="at least one source voxel, and one target voxel for each unit"):
            factored_projection(store, np.array(sources, dtype=int), np.arange(4), np.arange(4), units)
