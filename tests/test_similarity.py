import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import sparse
from scipy.spatial.distance import cdist

from fctoolbox import (
    FactoredMatrix,
    InputError,
    RecurrentActivity,
    cosine_similarity,
    functional_connectivity,
)
from fctoolbox import similarity as module
from fctoolbox._edges import mirror
from fctoolbox.similarity import connectivity_of, constant_units, directions, rows_of, units_without_input


def test_by_hand():
    similarity = cosine_similarity(np.array([[1.0, 0, 0], [1, 1, 0], [0, 0, -2], [-3, 0, 0]]))
    half = np.sqrt(0.5)
    expected = [[1, half, 0, -1], [half, 1, 0, -half], [0, 0, 1, 0], [-1, -half, 0, 1]]
    np.testing.assert_allclose(similarity, expected, atol=1e-15)


def test_agrees_with_scipy(rng):
    weights = rng.standard_normal((30, 7))
    np.testing.assert_allclose(cosine_similarity(weights), 1 - cdist(weights, weights, "cosine"), atol=1e-14)


def test_sparse_and_factored_agree_with_dense(rng):
    left, right = rng.standard_normal((25, 4)), rng.standard_normal((4, 60))
    dense = cosine_similarity(left @ right)
    np.testing.assert_allclose(cosine_similarity(FactoredMatrix(left, right)), dense, atol=1e-12)
    weights = rng.standard_normal((25, 40)) * (rng.random((25, 40)) < 0.2) + np.eye(25, 40)
    np.testing.assert_allclose(cosine_similarity(sparse.csr_array(weights)), cosine_similarity(weights), atol=1e-14)
    np.testing.assert_allclose(cosine_similarity(sparse.coo_array(weights)), cosine_similarity(weights), atol=1e-14)


def test_factored_never_forms_the_product():
    # The product would hold 5e4 × 2e6 numbers (800 GB).
    rng = np.random.default_rng(0)
    factored = FactoredMatrix(rng.standard_normal((50, 3)), rng.standard_normal((3, 2_000_000)))
    similarity = cosine_similarity(FactoredMatrix(np.tile(factored.left, (4, 1)), factored.right))
    assert similarity.shape == (200, 200)
    np.testing.assert_allclose(similarity[:50, 50:100].diagonal(), 1, atol=1e-12)


@given(
    arrays(np.float64, (6, 4), elements=st.floats(-1e3, 1e3)),
    st.lists(st.floats(1e-250, 1e250), min_size=6, max_size=6),
)
def test_length_of_a_row_does_not_matter(weights, scale):
    weights = weights + 2e3 * np.eye(6, 4) + np.array([0, 0, 0, 0, 5e3, 5e3])[:, None]
    scaled = cosine_similarity(weights * np.array(scale)[:, None])
    np.testing.assert_allclose(scaled, cosine_similarity(weights), atol=1e-12)


def test_rotating_the_inputs_and_permuting_the_units(rng):
    weights = rng.standard_normal((12, 6))
    rotation = np.linalg.qr(rng.standard_normal((6, 6)))[0]
    order = rng.permutation(12)
    similarity = cosine_similarity(weights)
    np.testing.assert_allclose(cosine_similarity(weights @ rotation), similarity, atol=1e-14)
    np.testing.assert_allclose(cosine_similarity(weights[order]), similarity[np.ix_(order, order)], atol=1e-14)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_shape_of_the_result(rng, dtype):
    weights = rng.standard_normal((40, 9)).astype(dtype)
    before = weights.copy()
    similarity = cosine_similarity(weights)
    assert similarity.dtype == dtype
    assert (similarity == similarity.T).all()
    assert (similarity.diagonal() == 1).all()
    assert np.abs(similarity).max() <= 1
    np.testing.assert_array_equal(weights, before)


@pytest.mark.parametrize("kind", [np.asarray, sparse.csr_array, lambda w: FactoredMatrix(w, np.eye(4))])
def test_a_unit_without_input_is_named(kind, rng):
    weights = rng.standard_normal((5, 4))
    weights[[1, 3]] = 0
    assert units_without_input(kind(weights)).tolist() == [False, True, False, True, False]
    with pytest.raises(InputError, match=r"units \[1, 3\] receive no input"):
        cosine_similarity(kind(weights))


def test_a_factored_unit_whose_inputs_cancel_receives_nothing(rng):
    right = rng.standard_normal((1, 50))
    factored = FactoredMatrix(np.array([[0.1, 0.2], [0.3, -0.3]]), np.vstack([right, right]))
    assert units_without_input(factored).tolist() == [False, True]


def test_nan_does_not_travel():
    with pytest.raises(InputError, match="row 0, column 1"):
        cosine_similarity(np.array([[1.0, np.nan], [1.0, 2.0]]))


def test_connectivity_agrees_with_numpy(rng):
    timeseries = rng.standard_normal((50, 8)) * 10.0 ** np.arange(-4, 4) + 5
    np.testing.assert_allclose(functional_connectivity(timeseries), np.corrcoef(timeseries.T), atol=1e-10)


def test_noise_through_a_projection_gives_its_cosine(rng):
    # FACTS C4: with independent unit-variance inputs the population FC *is* the cosine similarity.
    weights = rng.standard_normal((30, 10))
    # Whitened noise has the population's covariance exactly, so there is no sampling error to allow for.
    noise = np.linalg.qr(rng.standard_normal((400, 11)) - 0.0)[0]
    noise = noise - noise.mean(axis=0)
    noise = np.linalg.svd(noise[:, :10], full_matrices=False)[0]
    np.testing.assert_allclose(functional_connectivity(noise @ weights.T), cosine_similarity(weights), atol=1e-12)


def test_sampled_noise_through_a_projection_comes_close(rng):
    weights = rng.standard_normal((100, 10))
    timeseries = rng.standard_normal((5000, 10)) @ weights.T
    pairs = np.triu_indices(100, 1)
    r = np.corrcoef(functional_connectivity(timeseries)[pairs], cosine_similarity(weights)[pairs])[0, 1]
    assert r > 0.998


def test_constant_units_are_found_and_refused(rng):
    timeseries = rng.standard_normal((20, 5))
    timeseries[:, 1] = 0
    timeseries[:, 3] = 0.1
    timeseries[::2, 3] = np.nextafter(0.1, 1)  # constant but for the last bit
    assert constant_units(timeseries).tolist() == [False, True, False, True, False]
    with pytest.raises(InputError, match=r"units \[1, 3\] are constant"):
        functional_connectivity(timeseries)


def test_a_barely_varying_unit_is_not_constant():
    timeseries = np.ones((10, 2))
    timeseries[3, 0] += 1e-9
    assert constant_units(timeseries).tolist() == [False, True]


def test_too_few_time_points():
    with pytest.raises(InputError, match="2 time points"):
        functional_connectivity(np.array([[1.0, 2.0], [2.0, 1.0]]))


def test_fisher_z_is_brought_back_to_r(rng):
    r = functional_connectivity(rng.standard_normal((30, 4)))
    z = np.arctanh(r - np.eye(4) * r)
    np.testing.assert_allclose(
        connectivity_of(RecurrentActivity(connectivity=z, scale="fisher-z")), r - np.eye(4), atol=1e-12
    )
    np.testing.assert_array_equal(connectivity_of(RecurrentActivity(connectivity=r)), r)
    timeseries = rng.standard_normal((9, 4))
    np.testing.assert_array_equal(connectivity_of(RecurrentActivity(timeseries)), functional_connectivity(timeseries))


def test_factored_rows_of_any_length(rng):
    left, right = rng.standard_normal((6, 3)), rng.standard_normal((3, 20))
    scale = 10.0 ** np.array([-250, -100, 0, 100, 200, 250])
    scaled = cosine_similarity(FactoredMatrix(left * scale[:, None], right))
    np.testing.assert_allclose(scaled, cosine_similarity(left @ right), atol=1e-12)


@pytest.mark.parametrize("n_inputs", [50, 100_000])
def test_a_factored_unit_whose_inputs_cancel_but_for_rounding(n_inputs, rng):
    right = rng.standard_normal((1, n_inputs))
    factored = FactoredMatrix(np.array([[0.1, 0.2], [0.1, -0.3]]), np.vstack([right, right / 3]))
    assert (factored.left[1] @ factored.right != 0).any()
    assert units_without_input(factored).tolist() == [False, True]


def test_rounding_never_exceeds_one(rng):
    parallel = np.outer(rng.standard_normal(200), rng.standard_normal(7))
    for similarity in (cosine_similarity(parallel), functional_connectivity(parallel.T)):
        assert np.abs(similarity).max() == 1


def test_single_precision_with_the_offset_of_bold(rng):
    signal = rng.standard_normal((50_000, 4))
    signal[:, 1] += signal[:, 0]
    bold = (signal * 100 + 10_000).astype(np.float32)
    np.testing.assert_allclose(functional_connectivity(bold), np.corrcoef(signal.T), atol=1e-5)
    assert functional_connectivity(bold).dtype == np.float32


def test_single_precision_factors_of_high_rank_are_not_taken_for_silent(rng):
    left, right = (rng.standard_normal(shape).astype(np.float32) for shape in ((5, 2000), (2000, 30)))
    assert not units_without_input(FactoredMatrix(left, right)).any()


def test_nan_in_a_sparse_projection_does_not_travel():
    with pytest.raises(InputError, match="1 value that is not finite"):
        cosine_similarity(sparse.csr_array(np.array([[1.0, np.nan], [0, 1], [1, 1]])))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_blocks_of_a_large_similarity_fit_together(dtype, rng, monkeypatch):
    weights, timeseries = rng.standard_normal((50, 7)).astype(dtype), rng.standard_normal((30, 50)).astype(dtype)
    whole = cosine_similarity(weights), functional_connectivity(timeseries)
    monkeypatch.setattr(module, "_GRAM_BLOCK", 16)
    for expected, found in zip(whole, (cosine_similarity(weights), functional_connectivity(timeseries)), strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-6 if dtype == np.float32 else 1e-15)
        np.testing.assert_array_equal(found, found.T)
        assert found.dtype == dtype


@pytest.mark.parametrize("density", [0.005, 0.3])  # a sparse product in blocks, and dense blocks of sparse rows
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_large_sparse_projection_goes_in_blocks(density, dtype, rng, monkeypatch):
    weights = rng.random((150, 400)) * (rng.random((150, 400)) < density)
    weights[:, 17] = 0  # an input that reaches nobody
    weights[np.arange(150), rng.integers(18, 400, 150)] += 0.5
    rows = sparse.csr_array(weights.astype(dtype))
    expected = cosine_similarity(weights)
    monkeypatch.setattr(module, "_GRAM_BLOCK", 64)
    monkeypatch.setattr(module, "_SPARSE_ROWS", 50)
    similarity = cosine_similarity(rows)
    assert similarity.dtype == dtype
    np.testing.assert_array_equal(similarity, similarity.T)
    np.testing.assert_allclose(similarity, expected, atol=1e-6 if dtype == np.float32 else 1e-14)


def test_a_large_sparse_product_is_never_whole(rng, monkeypatch):
    # Every two units share an input: all the pairs, as a sparse product, would take three times the result.
    monkeypatch.setattr(module, "_GRAM_BLOCK", 256)
    weights = sparse.random_array((2000, 5000), density=0.002, rng=rng, dtype=np.float32).tocsr()
    weights = sparse.csr_array(sparse.hstack([np.ones((2000, 1), np.float32), weights]))
    expected = cosine_similarity(weights.toarray())
    tracemalloc.start()
    try:
        similarity = cosine_similarity(weights)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    np.testing.assert_allclose(similarity, expected, atol=1e-6)
    assert peak < 2.6 * similarity.nbytes


def test_what_is_above_the_diagonal_is_mirrored(rng):
    matrix = rng.random((150, 150))
    expected = np.triu(matrix) + np.triu(matrix, 1).T
    for rows, columns in (((0, 70), (0, 70)), ((0, 70), (70, 150)), ((70, 150), (70, 150))):
        mirror(matrix, *rows, *columns)
    np.testing.assert_array_equal(matrix, expected)


@pytest.mark.parametrize("kind", [np.asarray, sparse.csr_array, lambda w: FactoredMatrix(w, np.eye(40))])
def test_directions_have_length_one_and_the_angles_of_the_rows(kind, rng):
    weights = rng.standard_normal((25, 40)) * (rng.random((25, 40)) < 0.4) + np.eye(25, 40)
    found = directions(kind(weights))
    assert sparse.issparse(found) == sparse.issparse(kind(weights))
    rows = rows_of(found, slice(0, 25))
    np.testing.assert_allclose(rows @ rows.T, cosine_similarity(weights), atol=1e-13)
    np.testing.assert_array_equal(rows_of(found, slice(3, 9)), rows[3:9])
    weights[4] = 0
    with pytest.raises(InputError, match=r"units \[4\] receive no input"):
        directions(kind(weights))


def test_single_precision_series_of_many_units_go_in_blocks(rng, monkeypatch):
    bold = (rng.standard_normal((40, 70)) * 100 + 10_000).astype(np.float32)
    whole = functional_connectivity(bold)
    monkeypatch.setattr(module, "_GRAM_BLOCK", 32)
    found = functional_connectivity(bold)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, found.T)
    np.testing.assert_allclose(found, whole, atol=1e-7)


def explicit_cosine(factored):
    """In float64, from the product."""
    rows = factored.left.astype(np.float64) @ factored.right.astype(np.float64)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return rows @ rows.T


# Dependent rows, silent rows, more rows than inputs, and rows of very unequal strength, as tracer experiments have.
_RIGHTS = {
    "full rank": lambda rng: rng.gamma(0.3, size=(12, 90)),
    "dependent rows": lambda rng: rng.standard_normal((12, 3)) @ rng.standard_normal((3, 90)),
    "a row repeated": lambda rng: rng.gamma(0.3, size=(6, 90))[[0, 1, 2, 3, 4, 5, 0, 1, 2, 3, 4, 5]],
    "silent rows": lambda rng: rng.gamma(0.3, size=(12, 90)) * (np.arange(12) % 3 > 0)[:, None],
    "more rows than inputs": lambda rng: rng.standard_normal((12, 5)),
    "a single input": lambda rng: rng.standard_normal((12, 1)),
}


@pytest.mark.parametrize(("dtype", "atol"), [(np.float64, 1e-12), (np.float32, 1e-6)])
@pytest.mark.parametrize("right", _RIGHTS.values(), ids=_RIGHTS)
def test_factored_equals_the_product(right, dtype, atol, rng, monkeypatch):
    monkeypatch.setattr(module, "_GRAM_BLOCK", 16)  # more than one block of units, and of inputs
    factored = FactoredMatrix(rng.standard_normal((40, 12)).astype(dtype), right(rng).astype(dtype))
    similarity = cosine_similarity(factored)
    assert similarity.dtype == dtype
    np.testing.assert_array_equal(similarity, similarity.T)
    np.testing.assert_allclose(similarity, explicit_cosine(factored), atol=atol)


def test_a_weak_factor_counts_for_the_units_that_have_only_that(rng):
    # Weights over nine orders of magnitude: squared, they would vanish in the rounding of the Gram matrix.
    strength = np.repeat([1.0, 1e-9], 4)
    right = (rng.standard_normal((8, 50)) + 1) * strength[:, None]
    left = rng.standard_normal((20, 8))
    left[10:, :4] = 0
    factored = FactoredMatrix(left, right)
    np.testing.assert_allclose(cosine_similarity(factored), explicit_cosine(factored), atol=1e-12)


def test_a_focal_input_counts_beside_diffuse_ones(rng):
    # One weight among 100,000: its row is 300 times shorter than the others, though as high.
    right = rng.random((6, 100_000)) * 0.1 + 0.9
    right[4:] = 0
    right[4, 3], right[5, 7] = 1, 1
    left = rng.standard_normal((12, 6))
    left[6:, :4] = 0
    factored = FactoredMatrix(left, right)
    np.testing.assert_allclose(cosine_similarity(factored), explicit_cosine(factored), atol=1e-12)


def test_nearly_dependent_factors_are_not_taken_for_dependent(rng):
    right = rng.standard_normal((3, 40))
    right[1] = right[0] + 1e-4 * right[1]
    left = np.vstack([rng.standard_normal((6, 3)), [[1, -1, 0], [1, -1, 1e-4]]])  # the last two see the difference
    factored = FactoredMatrix(left, right)
    np.testing.assert_allclose(cosine_similarity(factored), explicit_cosine(factored), atol=1e-7)


@pytest.mark.parametrize("scale", [1e-200, 1e200])
def test_factors_of_any_size(scale, rng):
    left, right = rng.standard_normal((6, 3)), rng.standard_normal((3, 20))
    scaled = cosine_similarity(FactoredMatrix(left, right * scale))
    np.testing.assert_allclose(scaled, cosine_similarity(left @ right), atol=1e-12)


def test_factors_of_two_precisions_give_the_finer(rng):
    left, right = rng.standard_normal((6, 3)).astype(np.float32), rng.standard_normal((3, 20))
    assert cosine_similarity(FactoredMatrix(left, right)).dtype == np.float64


def test_factored_units_without_input_are_named_in_every_block(rng, monkeypatch):
    monkeypatch.setattr(module, "_GRAM_BLOCK", 4)
    left = rng.standard_normal((11, 3))
    left[[2, 9]] = 0
    factored = FactoredMatrix(left, rng.standard_normal((3, 7)))
    assert np.flatnonzero(units_without_input(factored)).tolist() == [2, 9]
    with pytest.raises(InputError, match=r"units \[2, 9\] receive no input"):
        cosine_similarity(factored)
    assert units_without_input(FactoredMatrix(left, np.zeros((3, 7)))).all()


def test_factored_similarity_takes_little_memory_beside_the_result(rng, monkeypatch):
    monkeypatch.setattr(module, "_GRAM_BLOCK", 256)
    n_units, n_inputs = 2000, 50_000
    left, right = rng.random((n_units, 8), np.float32), rng.random((8, n_inputs), np.float32)
    factored = FactoredMatrix(left, right)
    tracemalloc.start()
    try:
        similarity = cosine_similarity(factored)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    # A second n × n matrix would take another 16 MB, the product 400 MB.
    assert similarity.nbytes == 4 * n_units**2
    assert peak < 1.2 * similarity.nbytes
