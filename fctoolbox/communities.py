"""Which units belong together: signed modularity and its maximisation."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fctoolbox.errors import InputError
from fctoolbox.system import Floats, check_finite, check_symmetric

OBJECTIVE = "negative_asym"
_MAX_ROUNDS = 1000
_KICKS = 10

Labels = NDArray[np.intp]


@dataclass(frozen=True, eq=False, repr=False)
class Communities:
    """The best partition found.

    Parameters
    ----------
    labels : (n_units,) integers
        From 0, in order of size; equal sizes in order of their first unit.
    q : float
        Its modularity.
    restart_q : (n_restarts,) array
        Modularity that each restart reached; their spread says how rough the landscape is.
    converged : bool
        Whether no single unit can move with a gain, in every restart.
    """

    labels: Labels
    q: float
    restart_q: NDArray[np.float64]
    converged: bool

    def __repr__(self) -> str:
        return f"<Communities: {self.n}, of {self.sizes} units, q = {self.q:.4f}>"

    @property
    def n(self) -> int:
        """How many communities."""
        return int(self.labels.max()) + 1

    @property
    def sizes(self) -> tuple[int, ...]:
        """Units in each community."""
        return tuple(int(size) for size in np.bincount(self.labels))


def modularity(matrix: Floats, labels: ArrayLike, *, resolution: float = 1.0) -> float:
    """Signed modularity Q* of a partition (``negative_asym``), with the diagonal set to zero.

    With W⁺ and W⁻ the positive and negative parts, s± their sums and k± their row sums,

        Q* = Σ_ij [c_i = c_j] { (w⁺_ij − γ k⁺_i k⁺_j / s⁺) / s⁺ − (w⁻_ij − γ k⁻_i k⁻_j / s⁻) / (s⁺ + s⁻) }.

    Evaluated on one matrix with a partition found on another it is the *induced* modularity.

    Parameters
    ----------
    matrix : (n_units, n_units) array
        Symmetric; it is not changed.
    labels : (n_units,) array
        Community of each unit: numbers or names.
    resolution : float
        γ.

    Returns
    -------
    float
        Exactly 0 for a single community at γ = 1.

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
    >>> modularity(matrix, [0, 0, 0, 1, 1, 1]) == 5 / 14
    True
    """
    _check_resolution(resolution)
    matrix = _without_diagonal(matrix)
    return float(_modularities(matrix, _as_partitions(labels, len(matrix), ndim=1)[None], resolution)[0])


def modularities(matrix: Floats, partitions: ArrayLike, *, resolution: float = 1.0) -> NDArray[np.float64]:
    """Signed modularity Q* of many partitions of one matrix; see `modularity`.

    Parameters
    ----------
    matrix : (n_units, n_units) array
    partitions : (n_partitions, n_units) array

    Returns
    -------
    (n_partitions,) array
    """
    _check_resolution(resolution)
    matrix = _without_diagonal(matrix)
    return _modularities(matrix, _as_partitions(partitions, len(matrix), ndim=2), resolution)


def detect_communities(
    matrix: Floats,
    *,
    resolution: float = 1.0,
    n_restarts: int = 100,
    rng: int | np.random.Generator | None = None,
    n_jobs: int = 1,
) -> Communities:
    """The partition with the highest Q* that `n_restarts` runs of Louvain find.

    Each run moves units one by one in random order, merges modules, and goes back to single units until none can
    move with a gain: the result is locally optimal for single moves. It is then disturbed and settled again ten
    times, keeping the best: in noisy matrices that finds more than starting afresh as often.

    Parameters
    ----------
    matrix : (n_units, n_units) array
        Symmetric, signed; the diagonal is taken as zero.
    resolution : float
        γ of `modularity`.
    n_restarts : int
    rng : int, Generator or None
        The result depends on it alone, whatever `n_jobs`.
    n_jobs : int
        Threads.

    Returns
    -------
    Communities

    Raises
    ------
    InputError
        See `modularity`.

    References
    ----------
    Blondel et al. 2008, J Stat Mech P10008 (Louvain); Sun et al. 2009, EPL 86:28004 (fine-tuning);
    Lourenço et al. 2003, Handbook of Metaheuristics, 320-353 (iterated local search).
    """
    if n_restarts < 1:
        raise InputError(f"n_restarts is {n_restarts}; it must be at least 1")
    if n_jobs == 0:
        raise InputError("n_jobs is 0; it must be the number of threads, or -1 for all")
    from joblib import Parallel, delayed
    from tqdm import tqdm

    _check_resolution(resolution)
    matrix = _without_diagonal(matrix)
    quality = _quality_matrix(matrix, resolution)
    generators = np.random.default_rng(rng).spawn(n_restarts)
    tasks = (delayed(_search)(quality, generator) for generator in generators)
    found = Parallel(n_jobs=n_jobs, prefer="threads", return_as="generator")(tasks)
    runs = list(tqdm(found, total=n_restarts, desc="communities", unit="restart", delay=2, disable=None))
    partitions = np.stack([_in_order_of_size(labels) for labels, _ in runs])
    restart_q = _modularities(matrix, partitions, resolution)
    # Restarts that reach one optimum differ in the last digits; the first of them is taken.
    best = int(np.flatnonzero(restart_q >= restart_q.max() - 1e-12)[0])
    labels = partitions[best]
    for array in (labels, restart_q):
        array.flags.writeable = False
    return Communities(labels, float(restart_q[best]), restart_q, all(converged for _, converged in runs))


def _without_diagonal(values: Floats) -> NDArray[np.float64]:
    matrix = np.array(values, dtype=np.float64)
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
        raise InputError(f"the matrix has shape {matrix.shape}, but it must be square (n_units, n_units)")
    if len(matrix) < 2:
        raise InputError("the matrix holds a single unit, which has no communities")
    np.fill_diagonal(matrix, 0)
    check_finite(matrix, "the matrix")
    check_symmetric(matrix, "the matrix")
    if not matrix.any():
        raise InputError("the matrix is zero everywhere off the diagonal: its modularity is undefined")
    return (matrix + matrix.T) / 2  # the two triangles may differ by rounding


def _as_partitions(labels: ArrayLike, n_units: int, *, ndim: int) -> Labels:
    array = np.asarray(labels)
    if array.ndim != ndim or array.shape[-1] != n_units:
        expected = f"({n_units},)" if ndim == 1 else f"(n_partitions, {n_units})"
        raise InputError(f"labels have shape {array.shape}, but the matrix needs {expected}")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise InputError("labels hold NaN or infinity; give every unit a community")
    if array.dtype.kind == "O":
        array = array.astype(str)
    # Names, and numbers that do not count from 0, become module numbers.
    modules: Labels = np.unique(array, return_inverse=True)[1].reshape(array.shape).astype(np.intp)
    return modules


def _modularities(matrix: NDArray[np.float64], partitions: Labels, resolution: float) -> NDArray[np.float64]:
    positive, negative = np.maximum(matrix, 0), np.maximum(-matrix, 0)
    total = np.abs(matrix).sum()
    n_modules = int(partitions.max()) + 1
    members = np.empty((len(matrix), n_modules))
    q = np.empty(len(partitions))
    for row, labels in enumerate(partitions):
        np.equal(labels[:, None], np.arange(n_modules), out=members)
        plus, minus = (members.T @ (part @ members) for part in (positive, negative))
        q[row] = _excess(plus, resolution)
        if minus.any():
            q[row] -= _excess(minus, resolution) * minus.sum() / total
    return q


def _excess(between: NDArray[np.float64], resolution: float) -> float:
    # Share of weight inside modules beyond chance. All sums come from the one module-by-module matrix, so that
    # a single module gives 1 - 1, exactly.
    total = between.sum()
    if total == 0:
        return 0.0
    return float(np.trace(between) / total - resolution * ((between.sum(axis=1) / total) ** 2).sum())


def _check_resolution(resolution: float) -> None:
    if not (np.isfinite(resolution) and resolution >= 0):
        raise InputError(f"resolution is {resolution}; it must be a number of 0 or more")


def _quality_matrix(matrix: NDArray[np.float64], resolution: float) -> NDArray[np.float64]:
    positive, negative = np.maximum(matrix, 0), np.maximum(-matrix, 0)
    total = positive.sum() + negative.sum()
    quality = np.zeros_like(matrix)
    for part, weight in ((positive, positive.sum()), (negative, -total)):
        strength = part.sum(axis=1)
        if strength.any():
            quality += (part - resolution * np.outer(strength, strength) / strength.sum()) / weight
    return (quality + quality.T) / 2


def _search(quality: NDArray[np.float64], rng: np.random.Generator) -> tuple[Labels, bool]:
    """Louvain from single units, then from disturbed copies of the best partition so far."""
    best, converged = _louvain(quality, np.arange(len(quality)), rng)
    q = _sum_within(quality, best)
    for _ in range(_KICKS):
        labels, settled = _louvain(quality, _disturbed(best, rng), rng)
        kicked = _sum_within(quality, labels)
        if kicked >= q:
            best, q, converged = labels, kicked, settled
    return best, converged


def _disturbed(labels: Labels, rng: np.random.Generator) -> Labels:
    """A copy in which 5 to 50 % of the units are in a random module, or in one new one."""
    labels = labels.copy()
    moved = rng.random(len(labels)) < rng.uniform(0.05, 0.5)
    labels[moved] = rng.integers(0, labels.max() + 2, moved.sum())
    return _compact(labels)


def _sum_within(quality: NDArray[np.float64], labels: Labels) -> float:
    return float(quality[labels[:, None] == labels].sum())


def _louvain(quality: NDArray[np.float64], labels: Labels, rng: np.random.Generator) -> tuple[Labels, bool]:
    for _ in range(_MAX_ROUNDS):
        _settle(quality, labels, rng)  # single units; from the second round on, fine-tuning
        labels, merged = _merge(quality, _compact(labels), rng)
        if not merged:
            return labels, True
    return labels, False


def _merge(quality: NDArray[np.float64], labels: Labels, rng: np.random.Generator) -> tuple[Labels, bool]:
    """Move whole modules like single units, again and again; the labels, and whether anything moved."""
    merged = False
    while True:
        members = np.equal(labels[:, None], np.arange(labels.max() + 1)).astype(np.float64)
        of_module = np.arange(members.shape[1])
        if not _settle(members.T @ quality @ members, of_module, rng):
            return labels, merged
        labels, merged = _compact(of_module[labels]), True


def _settle(quality: NDArray[np.float64], labels: Labels, rng: np.random.Generator) -> bool:
    """Pass over all nodes until none moves; whether any did. `labels` is changed in place."""
    from fctoolbox._louvain import move_nodes

    any_moved = False
    for _ in range(_MAX_ROUNDS):
        if not move_nodes(np.ascontiguousarray(quality), labels, rng.permutation(len(labels))):
            break
        any_moved = True
    return any_moved


def _compact(labels: Labels) -> Labels:
    return np.unique(labels, return_inverse=True)[1].astype(np.intp)


def _in_order_of_size(labels: Labels) -> Labels:
    _, first, inverse, counts = np.unique(labels, return_index=True, return_inverse=True, return_counts=True)
    rank = np.empty(len(counts), dtype=np.intp)
    rank[np.lexsort((first, -counts))] = np.arange(len(counts))
    return rank[inverse]
