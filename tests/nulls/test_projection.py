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


def signs_of(seed, n=39):
    return np.random.default_rng(seed).choice([-1.0, 1.0], n)


def test_without_a_change_of_sign_it_is_the_projection(system):
    weights, distances = system
    modes = projection_modes(weights, distances=distances)
    np.testing.assert_allclose(modes.weights(np.ones(39)), weights, rtol=1e-14)
    counts = np.random.default_rng(0).poisson(1.0, (40, 12)) * 1.0  # with many ties
    counts[:, 3] = 7.0  # reaches all alike
    same = projection_modes(counts, distances=distances).weights(np.ones(39))
    np.testing.assert_allclose(same, counts, rtol=1e-14)
    np.testing.assert_array_equal(same == 0, counts == 0)


def test_what_a_surrogate_keeps(system):
    weights, distances = system
    modes = projection_modes(weights, distances=distances)
    np.testing.assert_allclose(modes.modes.T @ modes.modes, np.eye(39), atol=1e-10)
    np.testing.assert_allclose(modes.modes.sum(axis=0), 0, atol=1e-10)
    surrogate = modes.weights(signs_of(0))
    in_units = [np.sort(((each - 0.05) / modes.scale).ravel()) for each in (surrogate, weights)]
    np.testing.assert_allclose(*in_units, atol=1e-12, err_msg="the weights are the same set, in units of their input")
    np.testing.assert_allclose(surrogate.mean(axis=0), weights.mean(axis=0), rtol=0.5)
    off_diagonal = ~np.eye(12, dtype=bool)
    before, after = (np.corrcoef(each.T)[off_diagonal] for each in (weights, surrogate))
    assert np.corrcoef(before, after)[0, 1] > 0.5, "two inputs stay about as alike"
    assert abs(np.corrcoef(surrogate.ravel(), weights.ravel())[0, 1]) < 0.9, "and it is another map"


def test_a_surrogate_is_about_as_smooth():
    distances = cdist(points(150, 3), points(150, 3))
    weights = np.exp(smooth(distances, 30, 1))
    modes = projection_modes(weights, distances=distances)
    near = (distances < 20) & (distances > 0)

    def along(values):
        z = (np.log(values) - np.log(values).mean(axis=0)) / np.log(values).std(axis=0)
        return (z @ z.T / 30)[near].mean()

    observed = along(weights)
    surrogates = [along(modes.weights(signs_of(seed, 149))) for seed in range(5)]
    shuffled = along(np.random.default_rng(0).permuted(weights, axis=0))
    assert observed > 0.6
    assert shuffled < 0.1
    assert np.mean(surrogates) == pytest.approx(observed, rel=0.15)


def test_dense_sparse_and_factored_agree(system):
    weights, distances = system
    left, right = np.linalg.qr(weights)
    expected = projection_modes(weights, distances=distances).weights(signs_of(1))
    for kind in (sparse.csr_array(weights), weights.copy(order="F")):
        found = projection_modes(kind, distances=distances).weights(signs_of(1))
        np.testing.assert_array_equal(found, expected)
    factored = projection_modes(FactoredMatrix(left, right), distances=distances)
    np.testing.assert_allclose(factored.weights(np.ones(39)), weights, atol=1e-12)


def test_the_unit_of_weights_does_not_matter(system):
    weights, distances = system
    one = projection_modes(weights, distances=distances)
    other = projection_modes(1e-6 * weights, distances=distances)
    np.testing.assert_allclose(np.abs(one.modes.T @ other.modes), np.eye(39), atol=1e-6)
    np.testing.assert_allclose(1e6 * other.scale, one.scale)


def test_inputs_of_unequal_strength_stay_so_and_equal_ones_are_free_to_vary():
    distances = cdist(points(60, 3), points(60, 3))
    weights = np.exp(smooth(distances, 40, 1))
    strength = np.exp(2 * np.random.default_rng(0).standard_normal(40))
    unequal = projection_modes(strength * weights, distances=distances)
    equal = projection_modes(weights, distances=distances)
    assert np.log(equal.scale).std() < 0.5 * np.log(weights.std(axis=0)).std(), "they differ by chance alone"
    assert np.corrcoef(np.log(unequal.scale), np.log(strength))[0, 1] > 0.95
    before, after = (np.log(np.linalg.norm(each, axis=0)) for each in (weights, equal.weights(signs_of(3, 59))))
    assert 0.5 < after.std() / before.std() < 2
    kept = np.log(np.linalg.norm(unequal.weights(signs_of(3, 59)), axis=0))
    assert np.corrcoef(kept, np.log(strength))[0, 1] > 0.9


def test_an_input_that_reaches_all_alike_stays_and_lends_nothing(system):
    weights, distances = system
    signs = signs_of(4)
    alone = projection_modes(weights, distances=distances).weights(signs)
    beside = np.column_stack([weights[:, :5], np.full(40, 3.0), weights[:, 5:], np.zeros(40)])
    surrogate = projection_modes(beside, distances=distances).weights(signs)
    np.testing.assert_array_equal(surrogate[:, 5], 3.0)
    np.testing.assert_array_equal(surrogate[:, -1], 0.0)
    np.testing.assert_array_equal(np.delete(surrogate, [5, 13], axis=1), alone)


def test_a_map_goes_on_below_its_floor():
    # Half of each smooth map is cut off; the scores of what is left out are found from what is around it.
    distances = cdist(points(150, 3), points(150, 3))
    maps = smooth(distances, 40, 1, scale=35.0)
    cut = np.maximum(maps, 0)
    modes = projection_modes(cut, distances=distances)
    scores = modes.modes @ modes.coefficients + modes.mean
    below = cut == 0
    assert 0.4 < below.mean() < 0.6
    assert scores[below].max() < scores[~below].min(), "a unit that receives nothing stays below all others"
    assert np.corrcoef(scores[below], maps[below])[0, 1] > 0.4, "with equal scores it would be 0"


def test_a_similarity_that_depends_on_distance_alone_is_about_its_own_surrogate():
    # So many independent maps that only distance is left: then rearranging them changes little.
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
    np.testing.assert_allclose(surrogate, fct.cosine_similarity(modes.weights(signs_of(5))), atol=1e-12)
    np.testing.assert_array_equal(surrogate, surrogate.T)
    assert (np.diagonal(surrogate) == 1).all()
    assert np.abs(surrogate).max() <= 1
    again = modes.similarity(np.random.default_rng(5))
    np.testing.assert_array_equal(surrogate, again)
    assert not np.array_equal(surrogate, modes.similarity(np.random.default_rng(6)))


def test_a_unit_that_receives_nothing_in_a_surrogate_is_alike_to_none():
    distances = cdist(points(12, 0), points(12, 0))
    weights = np.zeros((12, 2))
    weights[:3, 0], weights[3:12, 1] = [1, 2, 3], np.arange(9) + 1
    surrogates = [
        projection_modes(weights, distances=distances).similarity(np.random.default_rng(k)) for k in range(30)
    ]
    alone = [np.flatnonzero((np.abs(each - np.eye(12)) == 0).all(axis=1)) for each in surrogates]
    assert any(len(each) for each in alone)
    assert all(np.isfinite(each).all() for each in surrogates)


def test_bad_input(system):
    weights, distances = system
    with pytest.raises(InputError, match=r"distances have shape \(5, 5\), but the projection has 40 units"):
        projection_modes(weights, distances=distances[:5, :5])
    with pytest.raises(InputError, match="at least 10 units to have spatial modes, and there are 9"):
        projection_modes(weights[:9], distances=distances[:9, :9])
    with pytest.raises(InputError, match="reaches all units alike"):
        projection_modes(0 * weights, distances=distances)
    with pytest.raises(InputError, match="reaches all units alike"):
        projection_modes(np.tile(weights[0], (40, 1)), distances=distances)
    with pytest.raises(InputError, match="at one place"):
        projection_modes(weights, distances=np.zeros((40, 40)))
