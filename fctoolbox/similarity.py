"""How alike the inputs of two units are, and how alike their activity is."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from fctoolbox.errors import InputError, listed
from fctoolbox.system import FactoredMatrix, Floats, RecurrentActivity, Weights, check_finite, symmetric
from fctoolbox.threads import blocks

_GRAM_BLOCK = 4096
_SPARSE_ROWS = 1024


def cosine_similarity(weights: Weights | Any) -> Floats:
    """Cosine similarity (uncentred) between the rows of a projection.

    ``s_ij = w_i · w_j / (|w_i| |w_j|)``. For factored weights ``L @ R`` the product is never formed: the rows of
    ``L C``, where ``C Cᵀ = R Rᵀ`` is k × k, have the same lengths and angles as those of ``L R``. Beside the result
    this takes no more memory than ``L``.

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
    rows = directions(weights)
    return _bounded(_gram_of_sparse(rows) if sparse.issparse(rows) else _gram(rows))


def directions(weights: Weights | Any) -> Floats | sparse.csr_array:
    """The rows of a projection, or rows with the same angles between them, at length 1.

    Parameters
    ----------
    weights : (n_units, n_inputs) array, scipy.sparse array or FactoredMatrix
        float32 stays float32; everything else becomes float64.

    Returns
    -------
    (n_units, k) array, or csr_array where the weights are sparse
        Products of two rows are their cosine similarity. k is n_inputs, or for factored weights at most their k.

    Raises
    ------
    InputError
        If a unit receives no input at all: its direction is undefined.
    """
    if isinstance(weights, FactoredMatrix):
        rows, without_input = _factored_directions(weights)
    else:
        without_input = units_without_input(weights)
    silent = np.flatnonzero(without_input)
    if len(silent):
        raise InputError(
            f"units [{listed(silent)}] receive no input, so their cosine similarity is undefined; "
            "leave them out of the system"
        )
    if isinstance(weights, FactoredMatrix):
        return rows
    if sparse.issparse(weights):
        unit = sparse.csr_array(weights)
        check_finite(unit.data[None, :], "weights (its stored values)")
        largest = sparse.diags_array(1 / abs(unit).max(axis=1).toarray().ravel())
        unit = largest @ unit
        return sparse.csr_array(sparse.diags_array(1 / np.sqrt(unit.multiply(unit).sum(axis=1))) @ unit)
    rows = _rows_to_unit_maximum(_real_matrix(weights, "weights"))
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return rows


def rows_of(directions: Floats | sparse.csr_array, rows: slice) -> Floats:
    """Some of the `directions`, as a dense array."""
    chosen = directions[rows]
    return np.asarray(chosen.toarray() if isinstance(chosen, sparse.csr_array) else chosen)


def _gram(rows: Floats, dtype: Any = None) -> Floats:
    """``rows @ rows.T``, exactly symmetric.

    In blocks: OpenBLAS, called by numpy for the whole product, can crash where the result passes 2 GB. Blocks above
    the diagonal are computed where they belong, and copied to their mirror images.
    """
    n, dtype = len(rows), rows.dtype if dtype is None else np.dtype(dtype)
    if n <= _GRAM_BLOCK:
        return np.asarray(rows @ rows.T).astype(dtype, copy=False)
    return _in_blocks(n, dtype, lambda one, two: (rows[one], rows[two].T))


def _gram_of_sparse(rows: sparse.csr_array) -> Floats:
    """The same of sparse rows; never as a sparse product of all, which may hold more than the result."""
    n = rows.shape[0]
    if n <= _GRAM_BLOCK:
        return np.asarray((rows @ rows.T).toarray())
    used = np.bincount(rows.indices, minlength=rows.shape[1])
    rows = rows[:, np.flatnonzero(used)]
    rows.sort_indices()  # each product is then summed in the same order as its mirror image
    # One step of a sparse product costs as much as a hundred of a dense one.
    if 100 * np.square(used.astype(np.float64)).sum() < n**2 * rows.shape[1]:
        gram = np.empty((n, n), rows.dtype)
        for start in range(0, n, _SPARSE_ROWS):
            gram[start : start + _SPARSE_ROWS] = (rows[start : start + _SPARSE_ROWS] @ rows.T).toarray()
        return gram
    return _in_blocks(n, rows.dtype, lambda one, two: (rows[one].toarray(), rows[two].toarray().T))


def _in_blocks(n: int, dtype: np.dtype[Any], factors: Callable[[slice, slice], tuple[Floats, Floats]]) -> Floats:
    from fctoolbox._edges import mirror

    gram = np.empty((n, n), dtype=dtype)
    for one in blocks(n, _GRAM_BLOCK):
        for two in blocks(n, _GRAM_BLOCK):
            if two.start < one.start:
                continue
            left, right = factors(one, two)
            if left.dtype == dtype:
                np.matmul(left, right, out=gram[one, two])
            else:
                gram[one, two] = left @ right
            mirror(gram, one.start, one.stop, two.start, two.stop)
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
        return _factored_directions(weights)[1]
    if sparse.issparse(weights):
        return np.asarray(abs(sparse.csr_array(weights)).max(axis=1).toarray().ravel() == 0)
    return np.asarray(~np.asarray(weights).any(axis=1))


def _factored_directions(weights: FactoredMatrix) -> tuple[Floats, NDArray[np.bool_]]:
    """Rows of unit length with the angles of those of ``left @ right``; and which of these are zero.

    The rows have at most k columns. They are computed in float64 a block at a time, and kept as float32 where the
    factors are. A unit is without input where ``|w_i|`` is zero up to the rounding of a sum of that many products.
    """
    norm, factor = _gram_factor(weights.right)
    n_units = weights.shape[0]
    directions = np.empty((n_units, factor.shape[1]), dtype=np.result_type(weights.left, weights.right))
    without_input = np.empty(n_units, dtype=bool)
    tolerance = 8 * len(norm) * np.finfo(np.float64).eps
    for start in range(0, n_units, _GRAM_BLOCK):
        block = slice(start, start + _GRAM_BLOCK)
        left = _rows_to_unit_maximum(_rows_to_unit_maximum(weights.left[block].astype(np.float64)) * norm)
        rows = left @ factor
        squared = np.einsum("ij,ij->i", rows, rows)
        without_input[block] = squared <= tolerance * np.abs(left).sum(axis=1) ** 2
        directions[block] = rows / np.sqrt(np.where(without_input[block], 1, squared))[:, None]
    return directions, without_input


def _gram_factor(right: Floats) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Relative lengths d of the rows of `right`, and C with ``C Cᵀ = E Eᵀ``, where E is `right` with rows of length 1.

    Rows are brought to one length first: beside an input that is a million times stronger, the others would vanish in
    the rounding of the eigenvalues. C has as many columns as `right` has independent rows.
    """
    k, n_inputs = right.shape
    largest = np.maximum(right.max(axis=1), -right.min(axis=1)).astype(np.float64)
    scale = np.where(largest > 0, largest, 1)[:, None]
    gram = np.zeros((k, k))
    # In blocks, so that no copy of a whole voxel-wise factor is made.
    width = max(1, _GRAM_BLOCK**2 // k)
    for start in range(0, n_inputs, width):
        block = right[:, start : start + width] / scale
        gram += block @ block.T
    length = np.sqrt(np.diagonal(gram))
    silent = length == 0
    gram /= np.where(silent, 1, length)[:, None]
    gram /= np.where(silent, 1, length)[None, :]
    values, vectors = np.linalg.eigh(gram)
    # What rounding leaves of the eigenvalues of dependent rows, also below zero, is no direction.
    kept = values > np.finfo(np.float64).eps * values[-1]
    norm = length * largest
    return norm / (norm.max() or 1), vectors[:, kept] * np.sqrt(values[kept])


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
    return _bounded(_gram(np.ascontiguousarray(centred.T), timeseries.dtype))


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
    return symmetric(connectivity)


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
    largest = np.abs(rows).max(axis=1, keepdims=True)
    return np.asarray(rows / np.where(largest > 0, largest, 1))


def _bounded(similarity: Floats) -> Floats:
    np.clip(similarity, -1, 1, out=similarity)
    np.fill_diagonal(similarity, 1)
    return similarity
