import numpy as np
import pytest
from scipy import sparse
from scipy.spatial.distance import cdist

import fctoolbox as fct
from fctoolbox import FactoredMatrix, InputError
from fctoolbox.nulls.projection import projection_modes


def points(n, seed):
    rng = np.random.default_rng(seed)
    where = rng.standard_normal((n, 3))
    return 50 * where / np.linalg.norm(where, axis=1, keepdims=True)


def smooth(distances, n_maps, seed, scale=25.0):
    values, vectors = np.linalg.eigh(np.exp(-((distances / scale) ** 2) / 2))
    draws = np.random.default_rng(seed).standard_normal((len(distances), n_maps))
    return (vectors * np.sqrt(np.maximum(values, 0))) @ draws


@pytest.fixture
def system():
    distances = cdist(points(40, 0), points(40, 0))
    return np.maximum(smooth(distances, 12, 1), 0) + 0.05, distances


def surrogate_weights(modes, weights, signs):
    """W' written out: the similarity of a surrogate must be that of these weights."""
    mean = weights.mean(axis=0)
    return mean + modes.modes @ (signs[:, None] * (modes.modes.T @ (weights - mean)))


def test_the_similarity_is_that_of_the_surrogate_written_out(system):
    weights, distances = system
    modes = projection_modes(weights, distances=distances)
    signs = np.random.default_rng(3).choice([-1.0, 1.0], 39)
    surrogate = surrogate_weights(modes, weights, signs)
    np.testing.assert_allclose(modes._similarity(signs), fct.cosine_similarity(surrogate), atol=1e-10)


def test_without_a_change_of_sign_it_is_the_projection(system):
    weights, distances = system
    modes = projection_modes(weights, distances=distances)
    np.testing.assert_allclose(modes._similarity(np.ones(39)), fct.cosine_similarity(weights), atol=1e-10)


def test_what_a_surrogate_keeps(system):
    weights, distances = system
    modes = projection_modes(weights, distances=distances)
    np.testing.assert_allclose(modes.modes.T @ modes.modes, np.eye(39), atol=1e-10)
    np.testing.assert_allclose(modes.modes.sum(axis=0), 0, atol=1e-10)
    surrogate = surrogate_weights(modes, weights, np.random.default_rng(0).choice([-1.0, 1.0], 39))
    np.testing.assert_allclose(surrogate.mean(axis=0), weights.mean(axis=0), atol=1e-12)
    np.testing.assert_allclose(np.cov(surrogate.T), np.cov(weights.T), atol=1e-12)
    power, after = ((modes.modes.T @ each) ** 2 for each in (weights, surrogate))
    np.testing.assert_allclose(after, power, atol=1e-10)
    assert abs(np.corrcoef(surrogate.ravel(), weights.ravel())[0, 1]) < 0.9, "and it is another map"


def test_dense_sparse_and_factored_agree(system):
    weights, distances = system
    left, right = np.linalg.qr(weights)
    signs = np.random.default_rng(1).choice([-1.0, 1.0], 39)
    for kind in (sparse.csr_array(weights), FactoredMatrix(left, right), weights.astype(np.float32)):
        modes = projection_modes(kind, distances=distances)
        expected = projection_modes(weights, distances=distances)
        # Eigenvectors may change sign, and rounding may turn those that share an eigenvalue; the spectrum stays.
        np.testing.assert_allclose(np.linalg.eigvalsh(modes.gram), np.linalg.eigvalsh(expected.gram), atol=1e-6)
        assert modes._similarity(signs).shape == (40, 40)


def test_the_scale_of_the_weights_and_the_order_of_the_inputs_do_not_matter(system):
    weights, distances = system
    one = projection_modes(weights, distances=distances).similarity(np.random.default_rng(0))
    for other in (1e-9 * weights, 1e9 * weights[:, ::-1]):
        np.testing.assert_allclose(
            projection_modes(other, distances=distances).similarity(np.random.default_rng(0)), one, atol=1e-6
        )


def test_a_similarity_that_depends_on_distance_alone_is_its_own_surrogate():
    # So many independent maps that only distance is left: then rearranging them changes nothing.
    distances = cdist(points(30, 2), points(30, 2))
    weights = smooth(distances, 20_000, 0)
    modes = projection_modes(weights, distances=distances)
    surrogate = modes.similarity(np.random.default_rng(0))
    pairs = np.triu_indices(30, 1)
    assert np.corrcoef(surrogate[pairs], fct.cosine_similarity(weights)[pairs])[0, 1] > 0.9


def test_a_surrogate_is_a_similarity(system):
    weights, distances = system
    modes = projection_modes(weights, distances=distances)
    surrogate = modes.similarity(np.random.default_rng(5))
    np.testing.assert_array_equal(surrogate, surrogate.T)
    assert (np.diagonal(surrogate) == 1).all()
    assert np.abs(surrogate).max() <= 1
    assert np.linalg.eigvalsh(surrogate).min() > -1e-8
    again = modes.similarity(np.random.default_rng(5))
    np.testing.assert_array_equal(surrogate, again)
    assert not np.array_equal(surrogate, modes.similarity(np.random.default_rng(6)))


def test_bad_input(system):
    weights, distances = system
    with pytest.raises(InputError, match=r"distances have shape \(5, 5\), but the projection has 40 units"):
        projection_modes(weights, distances=distances[:5, :5])
    with pytest.raises(InputError, match="at least 10 units to have spatial modes, and there are 9"):
        projection_modes(weights[:9], distances=distances[:9, :9])
    with pytest.raises(InputError, match="zeros only"):
        projection_modes(0 * weights, distances=distances)
    with pytest.raises(InputError, match="reaches all units alike"):
        projection_modes(np.tile(weights[0], (40, 1)), distances=distances)
    with pytest.raises(InputError, match="at one place"):
        projection_modes(weights, distances=np.zeros((40, 40)))
