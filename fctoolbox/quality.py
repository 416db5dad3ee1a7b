"""What a partition is worth: signed modularity and its relatives, for one partition or thousands."""

import math
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fctoolbox.agreement import check_labels
from fctoolbox.devices import torch_for
from fctoolbox.errors import InputError, suggestion
from fctoolbox.system import SYMMETRY_TOLERANCE, Floats, check_finite, not_finite
from fctoolbox.threads import blocks, in_threads, n_threads

OBJECTIVE: Literal["negative_asym"] = "negative_asym"
OBJECTIVES = ("negative_asym", "negative_sym", "modularity", "uniform")
_BLOCK = 1024  # rows and columns of one block: a row of it fills a page of a float32 memory map
_SMALL = 2e8  # pairs of units: below this, threads cost more than they bring
_LABEL_BYTES = 2**29  # labels that one pass over the matrix serves

Labels = NDArray[np.intp]


@dataclass(frozen=True, eq=False)
class LowRankNull:
    """A null model ``P = V diag(values) Vᵀ`` that is too large to be written out.

    The Newman-Girvan null of weights W with strengths k and total s is ``LowRankNull(k, 1 / s)``.

    Parameters
    ----------
    vectors : (n_units, rank) array, or (n_units,)
    values : (rank,) array, or a number
    """

    vectors: NDArray[np.float64]
    values: NDArray[np.float64]

    def __init__(self, vectors: ArrayLike, values: ArrayLike = 1.0) -> None:
        v = np.array(vectors, dtype=np.float64)
        v = v[:, None] if v.ndim == 1 else v
        if v.ndim != 2:
            raise InputError(f"the null's vectors have shape {v.shape}; they need (n_units, rank)")
        check_finite(v, "the null's vectors")
        scales = np.atleast_1d(np.array(values, dtype=np.float64))
        if scales.shape != (v.shape[1],) or not np.isfinite(scales).all():
            raise InputError(f"the null's values are {scales}; each of its {v.shape[1]} vectors needs one finite value")
        for name, array in (("vectors", v), ("values", scales)):
            array.flags.writeable = False
            object.__setattr__(self, name, array)


Objective = Literal["negative_asym", "negative_sym", "modularity", "uniform"] | ArrayLike | LowRankNull


@dataclass(frozen=True, eq=False)
class Quality:
    """A checked matrix and what it weighs: ``Q = Σ_ij B_ij [c_i = c_j] + constant``, B never written out.

    ``B_ij = f(w_ij) - null_weight p_ij - Σ_r values_r vectors_ir vectors_jr`` for i ≠ j, and the same without the
    first two terms on the diagonal.

    Parameters
    ----------
    matrix : (n, n) array
        float32 or float64, exactly symmetric; its diagonal is never read.
    plus, minus : float
        What a positive and a negative weight are multiplied by, in f.
    vectors : (n, rank) array
    values : (rank,) array
    null : (n, n) array or None
    null_weight : float
    constant : float
    single : float
        Q of the partition with one module, free of rounding.
    """

    matrix: Floats
    plus: float
    minus: float
    vectors: NDArray[np.float64]
    values: NDArray[np.float64]
    null: Floats | None = None
    null_weight: float = 0.0
    constant: float = 0.0
    single: float = 0.0

    @property
    def pairs(self) -> tuple[Floats, Floats | None, float, float, float]:
        """What the compiled loops need to know of a pair of units."""
        return self.matrix, self.null, self.plus, self.minus, self.null_weight

    def among(self, units: NDArray[np.intp]) -> "Quality":
        """The same weights and null, for pairs of some units only (a copy of their part of the matrix)."""
        from fctoolbox._louvain import gather

        return replace(
            self,
            matrix=gather(self.matrix, units),
            null=None if self.null is None else gather(self.null, units),
            vectors=self.vectors[units],
        )

    def of(self, partitions: NDArray[Any], *, n_jobs: int = 1, device: str | None = None) -> NDArray[np.float64]:
        """Q of each partition; (n_partitions,) from (n_partitions, n) integers from 0."""
        from fctoolbox._louvain import null_sums

        n_units = len(self.matrix)
        small = np.int16 if partitions.size and partitions.max() < 2**15 else np.int32
        at_once = max(1, _LABEL_BYTES // (n_units * np.dtype(small).itemsize))
        q = np.empty(len(partitions))
        for start in range(0, len(partitions), at_once):
            chunk = np.ascontiguousarray(partitions[start : start + at_once], dtype=small)
            sums = (
                2 * (self._within(chunk, n_jobs) if device is None else self._within_on(device, chunk))
                - null_sums(chunk, self.vectors, self.values)
                + self.constant
            )
            sums[(chunk == chunk[:, :1]).all(axis=1)] = self.single
            q[start : start + at_once] = sums
        return q

    def _within(self, partitions: NDArray[Any], n_jobs: int) -> NDArray[np.float64]:
        from fctoolbox._louvain import within

        n_units = len(self.matrix)

        def task(rows: slice) -> NDArray[np.float64]:
            sums = np.zeros(len(partitions))
            within(*self.pairs, partitions, rows.start, rows.stop, sums)
            return sums

        # Narrow blocks: the first rows of a triangle are the longest. The blocks are added in their order, so that
        # the sum does not depend on the number of threads.
        total = np.zeros(len(partitions))
        threads = n_jobs if n_units**2 * len(partitions) > _SMALL else 1
        for sums in in_threads(task, blocks(n_units, 128), threads, "modularity"):
            total += sums
        return total

    def _within_on(self, device: str, partitions: NDArray[Any]) -> NDArray[np.float64]:
        """The same by products with the modules' indicators, which is what a graphics card is good at."""
        torch = torch_for(device)
        labels = torch.from_numpy(partitions.astype(np.int64)).to(device)
        total = torch.zeros(len(partitions), dtype=torch.float64, device=device)
        n_modules = int(partitions.max()) + 1
        at_once = max(1, _LABEL_BYTES // (8 * n_modules * len(self.matrix)))
        for rows in blocks(len(self.matrix), _BLOCK):
            weights = torch.from_numpy(self._rows(rows)).to(device)
            for start in range(0, len(partitions), at_once):
                chunk = labels[start : start + at_once]
                members = torch.nn.functional.one_hot(chunk, n_modules).to(torch.float64)
                towards = torch.einsum("ij,kjc->kic", weights, members)
                own = chunk[:, rows].unsqueeze(2)
                total[start : start + at_once] += towards.gather(2, own).sum(dim=(1, 2))
        return np.asarray(total.cpu().numpy() / 2)

    def _rows(self, rows: slice) -> NDArray[np.float64]:
        """B of some units with all, without its low-rank terms and with a zero diagonal."""
        weights = np.asarray(self.matrix[rows], dtype=np.float64)
        values = np.where(weights > 0, weights * self.plus, weights * self.minus)
        if self.null is not None:
            values -= self.null_weight * self.null[rows]
        return np.asarray(_off_diagonal(values, rows))


def quality_of(
    matrix: ArrayLike,
    objective: Objective = OBJECTIVE,
    resolution: float = 1.0,
    *,
    n_jobs: int = 1,
    overwrite: bool = False,
) -> Quality:
    """Check a matrix, and find what an objective makes of its weights; see `detect_communities`."""
    if not (isinstance(resolution, int | float | np.number) and np.isfinite(resolution) and resolution >= 0):
        raise InputError(f"resolution is {resolution!r}; it must be a number of 0 or more")
    if isinstance(objective, str) and objective not in OBJECTIVES:
        raise InputError(
            f"no objective named '{objective}'.{suggestion(objective, OBJECTIVES)} There are: {', '.join(OBJECTIVES)}; "
            "a null model of your own goes in as an array (n_units, n_units) or a LowRankNull."
        )
    weights, positive, negative = _checked(matrix, "the matrix", n_jobs, overwrite=overwrite)
    plus, minus = float(positive.sum()), float(negative.sum())
    total = plus + minus
    if total == 0:
        raise InputError("the matrix is zero everywhere off the diagonal: its modularity is undefined")
    if not np.isfinite(total):
        raise InputError(
            "the weights of the matrix are so large that their sum overflows; divide them by their largest"
        )
    if any(0 < part < np.finfo(np.float64).tiny for part in (plus, minus)):
        raise InputError(
            "the positive or the negative weights of the matrix are so small that a double cannot hold their inverse; "
            "multiply the matrix, or set them to 0"
        )
    if isinstance(objective, str):
        if objective == "modularity" and minus > 0:
            raise InputError(_negative(weights))
        if objective == "uniform":
            n = len(weights)
            gamma = resolution / total
            ones = LowRankNull(np.ones(n), gamma)
            alone = (plus - minus) / total - gamma * n * (n - 1)
            return Quality(
                weights, 1 / total, 1 / total, ones.vectors, ones.values, constant=n * gamma, single=alone
            )  # the null of a unit with itself is taken back: the diagonal is zero
        return _newman_girvan(weights, (positive, plus), (negative, minus), objective, resolution)
    scale = 1 / total
    if isinstance(objective, LowRankNull):
        if len(objective.vectors) != len(weights):
            raise InputError(
                f"the null's vectors have {len(objective.vectors)} rows, but the matrix has {len(weights)} units"
            )
        with np.errstate(over="ignore"):
            most = (np.abs(objective.values) * np.abs(objective.vectors).sum(axis=0) ** 2).sum()
        _check_sum(most, resolution * scale)
        values = objective.values * resolution * scale
        alone = (plus - minus) * scale - float((values * objective.vectors.sum(axis=0) ** 2).sum())
        return Quality(weights, scale, scale, objective.vectors, values, single=alone)
    null, above, below = _checked(objective, "the null", n_jobs, overwrite=False)
    if null.shape != weights.shape:
        raise InputError(f"the null has shape {null.shape}, but the matrix has {weights.shape}")
    diagonal = np.diagonal(null).astype(np.float64)
    if not np.isfinite(diagonal).all():
        raise InputError("the null's diagonal holds NaN or infinity; set it to what a unit shares with itself, or to 0")
    with np.errstate(over="ignore"):
        _check_sum(above.sum() + below.sum() + np.abs(diagonal).sum(), resolution * scale)
    expected = float(above.sum() - below.sum() + diagonal.sum())
    nothing = np.zeros((len(weights), 0))
    return Quality(
        weights, scale, scale, nothing, np.zeros(0), null=null, null_weight=resolution * scale,
        constant=-resolution * scale * float(diagonal.sum()), single=(plus - minus - resolution * expected) * scale,
    )  # fmt: skip


def _check_sum(null: float, scale: float) -> None:
    if not np.isfinite(null) or not np.isfinite(null * scale):
        raise InputError("the null's values are so large that their sum overflows; it should be that of the matrix")


def _newman_girvan(
    weights: Floats,
    above: tuple[NDArray[np.float64], float],
    below: tuple[NDArray[np.float64], float],
    objective: str,
    resolution: float,
) -> Quality:
    # Rubinov & Sporns 2011: the parts of either sign have their own null k kᵀ / s. Positive weights count 1 / s⁺ in
    # Q*, and negative ones 1 / (s⁺ + s⁻).
    (positive, plus), (negative, minus) = above, below
    total = plus + minus
    shares = {"plus": 1 / plus if objective == "negative_asym" and plus else 1 / total, "minus": 1 / total}
    vectors, values, alone = [], [], 0.0
    for sign, name, strengths, part in ((1, "plus", positive, plus), (-1, "minus", negative, minus)):
        if part:
            # Squares of very large or small weights leave the range of doubles, so the strengths are brought close
            # to 1: by a power of two, which changes no digit.
            power = math.frexp(part)[1]
            vectors.append(np.ldexp(strengths, -power))
            values.append(sign * resolution * math.ldexp(shares[name], power) / math.ldexp(part, -power))
            alone += sign * (1 - resolution) * shares[name] * part
    return Quality(weights, shares["plus"], shares["minus"], np.stack(vectors, axis=1), np.array(values), single=alone)


def modularity(
    matrix: ArrayLike,
    labels: ArrayLike,
    *,
    objective: Objective = OBJECTIVE,
    resolution: float = 1.0,
    n_jobs: int = 1,
) -> float:
    """Modularity of a partition: by default the signed Q* (``negative_asym``), with the diagonal set to zero.

    With W⁺ and W⁻ the positive and negative parts, s± their sums and k± their row sums,

        Q* = Σ_ij [c_i = c_j] { (w⁺_ij − γ k⁺_i k⁺_j / s⁺) / s⁺ − (w⁻_ij − γ k⁻_i k⁻_j / s⁻) / (s⁺ + s⁻) }.

    Evaluated on one matrix with a partition found on another it is the *induced* modularity.

    Parameters
    ----------
    matrix : (n_units, n_units) array
        Symmetric; it is not changed, and not copied if it holds float32 or float64. Memory maps are read in blocks.
    labels : (n_units,) array
        Community of each unit: numbers or names.
    objective : str, array or LowRankNull
        See `detect_communities`.
    resolution : float
        γ.
    n_jobs : int
        Threads; the result does not depend on it.

    Returns
    -------
    float
        Exactly 0 for a single community at γ = 1, where the null has the strengths of the matrix.

    Raises
    ------
    InputError
        If the matrix is not square, symmetric and finite, has no weights, or the labels do not fit.

    References
    ----------
    Rubinov & Sporns 2011, NeuroImage 56:2068, equations 3-6.

    Examples
    --------
    Two triangles joined by an edge:

    >>> edges = [(0, 1), (0, 2), (1, 2), (2, 3), (3, 4), (3, 5), (4, 5)]
    >>> matrix = np.zeros((6, 6))
    >>> for i, j in edges:
    ...     matrix[i, j] = matrix[j, i] = 1
    >>> print(round(modularity(matrix, [0, 0, 0, 1, 1, 1]), 12), round(5 / 14, 12))
    0.357142857143 0.357142857143
    """
    threads = n_threads(n_jobs)
    quality = quality_of(matrix, objective, resolution, n_jobs=threads)
    return float(quality.of(as_partitions(labels, len(quality.matrix), ndim=1)[None], n_jobs=threads)[0])


def modularities(
    matrix: ArrayLike,
    partitions: ArrayLike,
    *,
    objective: Objective = OBJECTIVE,
    resolution: float = 1.0,
    n_jobs: int = 1,
    device: str | None = None,
) -> NDArray[np.float64]:
    """Modularity of many partitions of one matrix, in one pass over it; see `modularity`.

    Each tile of the matrix is read once and serves all partitions (up to half a gigabyte of labels at a time), so a
    memory map larger than the memory costs one reading of the file, whatever the number of partitions.

    Parameters
    ----------
    matrix : (n_units, n_units) array
    partitions : (n_partitions, n_units) array
    objective, resolution, n_jobs
        As for `modularity`.
    device : str, optional
        Of torch (optional), such as ``"cuda"``; by default our own loops on the processor.

    Returns
    -------
    (n_partitions,) array
    """
    threads = n_threads(n_jobs)
    quality = quality_of(matrix, objective, resolution, n_jobs=threads)
    return quality.of(as_partitions(partitions, len(quality.matrix), ndim=2), n_jobs=threads, device=device)


def as_partitions(labels: ArrayLike, n_units: int, *, ndim: int) -> NDArray[np.integer[Any]]:
    """Labels as integers from 0 (gaps allowed), checked against the number of units."""
    array = np.asarray(labels)
    if array.ndim != ndim or array.shape[-1] != n_units:
        expected = f"({n_units},)" if ndim == 1 else f"(n_partitions, {n_units})"
        raise InputError(f"labels have shape {array.shape}, but the matrix needs {expected}")
    check_labels(array)
    if array.dtype.kind in "iu" and array.size and array.min() >= 0 and array.max() <= n_units:
        return array  # a thousand partitions of many units need not be sorted, nor copied
    if array.dtype.kind == "O":
        array = array.astype(str)
    # Names, and numbers that do not count from 0, become module numbers.
    modules: Labels = np.unique(array, return_inverse=True)[1].reshape(array.shape).astype(np.intp)
    return modules


def _strengths(weights: Floats, n_jobs: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    from fctoolbox._louvain import strengths

    positive, negative = np.empty(len(weights)), np.empty(len(weights))

    def task(rows: slice) -> None:
        strengths(weights, rows.start, rows.stop, positive, negative)

    for _ in in_threads(task, blocks(len(weights), _BLOCK), n_jobs, "strengths"):
        pass
    return positive, negative


def _checked(
    values: ArrayLike, what: str, n_jobs: int, *, overwrite: bool
) -> tuple[Floats, NDArray[np.float64], NDArray[np.float64]]:
    """The matrix, exactly symmetric, and the row sums of its positive and negative parts."""
    given = np.asarray(values)
    if given.ndim != 2 or given.shape[0] != given.shape[1]:
        raise InputError(f"{what} has shape {given.shape}, but it must be square (n_units, n_units)")
    if len(given) < 2:
        raise InputError(f"{what} holds {'a single unit' if len(given) else 'no units'}; communities need 2 or more")
    if given.dtype.kind not in "fiub":
        raise InputError(f"{what} holds {given.dtype} values; it needs real numbers")
    matrix: Floats = given
    if given.dtype not in (np.float32, np.float64) or not given.dtype.isnative:
        matrix = given.astype(np.float64, order="C")
    elif not given.flags.c_contiguous:
        # The transpose of a symmetric matrix is itself.
        matrix = given.T if given.flags.f_contiguous else np.ascontiguousarray(given)
    positive, negative = _strengths(matrix, n_jobs)
    if not np.isfinite(positive + negative).all():
        _check_finite_off_diagonal(given, what)
    apart, scale = _asymmetry(matrix, n_jobs)
    if apart == 0:
        return matrix, positive, negative
    if apart > SYMMETRY_TOLERANCE * scale:
        raise InputError(_directed(given, what, SYMMETRY_TOLERANCE * scale))
    matrix = _averaged(matrix, what, own=overwrite or not np.shares_memory(matrix, given))
    return matrix, *_strengths(matrix, n_jobs)


def _averaged(matrix: Floats, what: str, *, own: bool) -> Floats:
    """The mean of a matrix and its transpose; written into the matrix if it is our own."""
    if own and not matrix.flags.writeable:
        raise InputError(f"overwrite=True, but {what} is read-only, and its two triangles differ by rounding")
    matrix = matrix if own else matrix.copy()
    for rows in blocks(len(matrix), _BLOCK):
        for columns in blocks(len(matrix), _BLOCK):
            if columns.start >= rows.start:
                mean = (matrix[rows, columns] + matrix[columns, rows].T) / 2
                matrix[rows, columns], matrix[columns, rows] = mean, mean.T
    return matrix


def _asymmetry(matrix: Floats, n_jobs: int) -> tuple[float, float]:
    from fctoolbox._louvain import asymmetry

    starts = range(0, len(matrix), _BLOCK)
    corners = [(top, left) for top in starts for left in starts if left >= top]
    found = in_threads(lambda corner: asymmetry(matrix, *corner, _BLOCK), corners, n_jobs, "symmetry")
    apart, scale = zip(*found, strict=True)
    return max(apart), max(scale)


def _check_finite_off_diagonal(matrix: Floats, what: str) -> None:
    count, first = 0, (0, 0)
    for rows in blocks(len(matrix), _BLOCK):
        bad = np.argwhere(_off_diagonal(~np.isfinite(matrix[rows]), rows))
        if len(bad) and not count:
            first = (rows.start + int(bad[0, 0]), int(bad[0, 1]))
        count += len(bad)
    if count:  # otherwise only their sum is not finite
        raise InputError(not_finite(what, count, *first))


def _off_diagonal(block: NDArray[Any], rows: slice) -> NDArray[Any]:
    block[np.arange(len(block)), np.arange(rows.start, rows.stop)] = 0
    return block


def _directed(matrix: NDArray[Any], what: str, tolerance: float) -> str:
    for block in blocks(len(matrix), _BLOCK):
        difference = np.abs(matrix[block].astype(np.float64) - matrix[:, block].T.astype(np.float64))
        if len(where := np.argwhere(_off_diagonal(difference, block) > tolerance)):
            i, j = int(where[0, 0]) + block.start, int(where[0, 1])
            break
    return (
        f"{what} is not symmetric: [{i}, {j}] is {matrix[i, j]:g}, but [{j}, {i}] is {matrix[j, i]:g}. Communities are "
        "those of undirected weights: average it with its transpose if that is what you mean."
    )


def _negative(weights: Floats) -> str:
    for block in blocks(len(weights), _BLOCK):
        rows = _off_diagonal(weights[block] < 0, block)
        if rows.any():
            i, j = (int(index) for index in np.argwhere(rows)[0])
            i += block.start
            return (
                f"the matrix has negative weights, the first at row {i}, column {j} ({weights[i, j]:g}), which plain "
                "modularity cannot weigh: use objective='negative_asym' (Q*)"
            )
    raise AssertionError("there is a negative weight")
