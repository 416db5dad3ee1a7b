"""How alike the inputs of two units are, and how alike their activity is."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from fctoolbox.errors import InputError, listed
from fctoolbox.system import FactoredMatrix, Floats, RecurrentActivity, Weights, check_finite

_GRAM_BLOCK = 4096


def cosine_similarity(weights: Weights | Any) -> Floats:
    """Cosine similarity (uncentred) between the rows of a projection.

    ``s_ij = w_i · w_j / (|w_i| |w_j|)``. For factored weights ``L @ R`` the product is never formed: with the
    k × k Gram matrix ``G = R Rᵀ`` the numerator is ``L G Lᵀ``.

    Parameters
    ----------
    weights : (n_units, n_inputs) array, scipy.sparse array or FactoredMatrix
        float32 stays float32; everything else becomes float64.

    Returns
    -------
    (n_units, n_units) array
        Symmetric, in [-1, 1], with ones on the diagonal.

    Raises
    ------
    InputError
        If a unit receives no input at all: its direction is undefined.

    References
    ----------
    Tanner et al. 2023, arXiv:2310.20601, "input projections".

    Examples
    --------
    >>> cosine_similarity(np.array([[1.0, 0.0], [3.0, 4.0], [-2.0, 0.0]])).round(3).tolist()
    [[1.0, 0.6, -1.0], [0.6, 1.0, -0.6], [-1.0, -0.6, 1.0]]
    """
    silent = np.flatnonzero(units_without_input(weights))
    if len(silent):
        raise InputError(
            f"units [{listed(silent)}] receive no input, so their cosine similarity is undefined; "
            "leave them out of the system"
        )
    if isinstance(weights, FactoredMatrix):
        left, right = _rows_to_unit_maximum(weights.left), weights.right / np.abs(weights.right).max()
        gram = right @ right.T
        similarity = (left @ gram) @ left.T
        norm = np.sqrt(np.diagonal(similarity))
        similarity /= norm[:, None]
        similarity /= norm[None, :]
        # The two halves are rounded apart by the order of the products; the mean of both is symmetric.
        similarity = (similarity + similarity.T) / 2
    elif sparse.issparse(weights):
        rows = sparse.csr_array(weights)
        check_finite(rows.data[None, :], "weights (its stored values)")
        largest = sparse.diags_array(1 / abs(rows).max(axis=1).toarray().ravel())
        rows = largest @ rows
        rows = sparse.diags_array(1 / np.sqrt(rows.multiply(rows).sum(axis=1))) @ rows
        similarity = (rows @ rows.T).toarray()
    else:
        rows = _rows_to_unit_maximum(_real_matrix(weights, "weights"))
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        similarity = _gram(rows)
    return _bounded(similarity)


def _gram(rows: Floats) -> Floats:
    """``rows @ rows.T``, exactly symmetric.

    In blocks: OpenBLAS, called by numpy for the whole product, can crash where the result passes 2 GB.
    """
    n = len(rows)
    if n <= _GRAM_BLOCK:
        return np.asarray(rows @ rows.T)
    gram = np.empty((n, n), dtype=rows.dtype)
    for start in range(0, n, _GRAM_BLOCK):
        for other in range(start, n, _GRAM_BLOCK):
            one, two = slice(start, start + _GRAM_BLOCK), slice(other, other + _GRAM_BLOCK)
            block = rows[one] @ rows[two].T
            gram[one, two], gram[two, one] = block, block.T
    return gram


def units_without_input(weights: Weights | Any) -> NDArray[np.bool_]:
    """Which units receive no input at all.

    Parameters
    ----------
    weights : (n_units, n_inputs) array, scipy.sparse array or FactoredMatrix

    Returns
    -------
    (n_units,) array of bool
    """
    if isinstance(weights, FactoredMatrix):
        # |w_i|² = l_i G l_iᵀ, zero up to the rounding of a sum of that many products.
        largest = np.abs(weights.left).max(axis=1, keepdims=True)
        left = (weights.left / np.where(largest > 0, largest, 1)).astype(np.float64)
        right = (weights.right / (np.abs(weights.right).max() or 1)).astype(np.float64)
        gram = right @ right.T
        squared = np.einsum("ik,kl,il->i", left, gram, left, optimize=True)
        bound = np.einsum("ik,k->i", np.abs(left), np.sqrt(np.diagonal(gram))) ** 2
        return np.asarray(squared <= 8 * len(gram) * np.finfo(squared.dtype).eps * bound)
    if sparse.issparse(weights):
        return np.asarray(abs(sparse.csr_array(weights)).max(axis=1).toarray().ravel() == 0)
    return np.asarray(~np.asarray(weights).any(axis=1))


def functional_connectivity(timeseries: Floats) -> Floats:
    """Pearson correlation between the activity of every two units.

    Parameters
    ----------
    timeseries : (n_times, n_units) array

    Returns
    -------
    (n_units, n_units) array
        Symmetric, in [-1, 1], with ones on the diagonal.

    Raises
    ------
    InputError
        If a unit is constant (its correlation is undefined), or there are fewer than 3 time points.
    """
    timeseries = _real_matrix(timeseries, "timeseries")
    if len(timeseries) < 3:
        raise InputError(f"timeseries has {len(timeseries)} time points; a correlation needs at least 3")
    constant = np.flatnonzero(constant_units(timeseries))
    if len(constant):
        raise InputError(
            f"units [{listed(constant)}] are constant, so their correlation is undefined; leave them out of the system"
        )
    # BOLD has an offset of thousands: float32 sums over many time points would lose the signal in it.
    centred = timeseries - timeseries.mean(axis=0, dtype=np.float64)
    centred /= np.abs(centred).max(axis=0)
    centred /= np.linalg.norm(centred, axis=0)
    return _bounded(_gram(np.ascontiguousarray(centred.T)).astype(timeseries.dtype, copy=False))


def constant_units(timeseries: Floats) -> NDArray[np.bool_]:
    """Which units never change (beyond rounding), so that they have no correlation.

    Parameters
    ----------
    timeseries : (n_times, n_units) array

    Returns
    -------
    (n_units,) array of bool
    """
    timeseries = np.asarray(timeseries)
    low, high = timeseries.min(axis=0), timeseries.max(axis=0)
    eps = np.finfo(timeseries.dtype).eps if timeseries.dtype.kind == "f" else 0
    return np.asarray(high - low <= 8 * eps * np.maximum(np.abs(low), np.abs(high)))


def connectivity_of(activity: RecurrentActivity) -> Floats:
    """The functional connectivity of an activity, as Pearson r.

    The connectivity that came with the data is preferred to the correlations of the time series; Fisher z is
    brought back to r by tanh, because a modularity of z is another number (see the glossary). Where its two triangles
    differ by rounding, their mean is taken.

    Returns
    -------
    (n_units, n_units) array
    """
    if activity.connectivity is None:
        assert activity.timeseries is not None  # RecurrentActivity has one of the two
        return functional_connectivity(activity.timeseries)
    connectivity = np.tanh(activity.connectivity) if activity.scale == "fisher-z" else activity.connectivity
    # Without the diagonal, or after tanh, a difference that was small beside the largest value may no longer be.
    return connectivity if np.array_equal(connectivity, connectivity.T) else (connectivity + connectivity.T) / 2


def _real_matrix(values: Any, what: str) -> Floats:
    matrix = np.asarray(values)
    if matrix.ndim != 2:
        raise InputError(f"{what} has shape {matrix.shape}; it needs two dimensions")
    if matrix.dtype not in (np.float32, np.float64):
        matrix = matrix.astype(np.float64)
    check_finite(matrix, what)
    return matrix


def _rows_to_unit_maximum(rows: Floats) -> Floats:
    # Squares of very large or very small weights would overflow or vanish; the direction of a row has no scale.
    return np.asarray(rows / np.abs(rows).max(axis=1, keepdims=True))


def _bounded(similarity: Floats) -> Floats:
    np.clip(similarity, -1, 1, out=similarity)
    np.fill_diagonal(similarity, 1)
    return similarity
