"""What relates two matrices over the pairs of very many units, without an array of pairs.

Beyond `LARGE` units, an index, a distance and three values of each pair would take more memory than the matrices.
One pass over them gives, for each of 256 classes of distance, how many pairs there are and the sums of their values,
squares and products; all that is asked follows from these sums.
"""

from collections.abc import Callable
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fctoolbox.errors import InputError
from fctoolbox.nulls.edges import N_KNOTS, DistanceBin, hats, orthonormal
from fctoolbox.similarity import directions, rows_of
from fctoolbox.system import Floats, Integers, Weights, check_finite
from fctoolbox.threads import blocks, in_threads, n_threads

LARGE = 5000  # units beyond which pairs are not held one by one
_ROWS = 64  # of a matrix, in one piece of work
_TILE = 1024
_ORDERS_AT_ONCE = 16
_BINS = 200
_DISTANCE_BINS = 5
_NOTHING = 1e-10  # share of a variance that is rounding

_Sums = NDArray[np.float64]
_S, _F, _SS, _FF, _SF = range(1, 6)  # columns of the sums; the first counts pairs


class JointHistogram(NamedTuple):
    """Pairs counted by both of their values, as `numpy.histogram2d` returns it.

    Parameters
    ----------
    counts : (200, 200) integers
        Rows are similarity, columns connectivity.
    similarity_edges, connectivity_edges : (201,) arrays
    """

    counts: NDArray[np.int64]
    similarity_edges: NDArray[np.float64]
    connectivity_edges: NDArray[np.float64]


@dataclass(frozen=True)
class PairStatistics:
    """How a similarity and a functional connectivity go together over all pairs of units.

    Parameters
    ----------
    pearson_r : float
    spearman_rho : float or None
        Values closer than 1e-6 share a rank. None where the similarity was never stored.
    partial_r : float or None
        With a function of distance taken out of both (see `DensePairs`); None where positions are not known.
    by_distance : tuple of DistanceBin
        Five, of about equally many pairs: a class of distance is not divided.
    joint : JointHistogram or None
        None where the similarity was never stored.
    """

    pearson_r: float
    spearman_rho: float | None
    partial_r: float | None
    by_distance: tuple[DistanceBin, ...]
    joint: JointHistogram | None


@dataclass(frozen=True, eq=False)
class DensePairs:
    """A functional connectivity of very many units, to be compared with similarities over all pairs.

    Distances are computed from the positions when they are needed, and put into 256 classes of equal width. Partial
    r and the correlations by distance take the distance of a pair to be the middle of its class: the function of
    distance that is taken out of both, piecewise linear with knots at the deciles of distance, is that of
    `fctoolbox.nulls.partial_correlation` evaluated for each class and not for each pair. (With positions on a cortex
    the two partial r differ by less than 0.001.) Pearson r is exact.

    The upper triangles of the matrices are read, wherever they lie: also from a read-only memory map. Made by `of`.

    Parameters
    ----------
    connectivity : (n_units, n_units) array
    positions : (3, n_units) float32 array or None
        mm.
    scale : float
        Classes per mm.
    knots : (≤ 11,) array or None
        mm.
    centre : float
        About the mean of the connectivity; taken off its values before they are squared.
    sums : (256, 6) array
        Of each class: pairs, Σ f (twice), Σ f² (three times).
    n_jobs : int
    """

    connectivity: Floats
    positions: NDArray[np.float32] | None
    scale: float
    knots: NDArray[np.float64] | None
    centre: float
    sums: _Sums
    n_jobs: int = 1

    @classmethod
    def of(cls, connectivity: ArrayLike, positions: ArrayLike | None = None, *, n_jobs: int = 1) -> "DensePairs":
        """Read the connectivity once.

        Parameters
        ----------
        connectivity : (n_units, n_units) array
            Symmetric.
        positions : (n_units, 3) array, optional
            mm.
        n_jobs : int
            Threads; no bit of a result depends on it.

        Raises
        ------
        InputError
            If shapes disagree, a value is not finite, or the connectivity is the same for every pair.
        """
        threads = n_threads(n_jobs)
        matrix = _square(connectivity, "functional connectivity")
        places, scale = None, 0.0
        if positions is not None:
            places = _centred(positions, len(matrix))
            longest = np.sqrt(max(_farthest(places, threads)))
            scale = (_n_classes() - 0.1) / float(longest) if longest > 0 else 0.0
        centre = _about_mean(matrix)
        sums, extremes = _of_matrices(matrix, matrix, places, scale, centre, centre, threads)
        _check(sums, extremes + centre, matrix, "functional connectivity")
        knots = None if places is None else _quantiles(sums[:, 0], scale, np.linspace(0, 1, N_KNOTS + 1))
        return cls(matrix, places, scale, knots, centre, sums, threads)

    @property
    def n_units(self) -> int:
        """How many units there are."""
        return len(self.connectivity)

    def statistics(self, similarity: ArrayLike) -> PairStatistics:
        """How a similarity goes together with the connectivity.

        Parameters
        ----------
        similarity : (n_units, n_units) array
            Symmetric, in [-1, 1].

        Raises
        ------
        InputError
            If the shapes disagree, a value is not finite or beyond 1, or the similarity is the same for every pair.
        """
        matrix = _square(similarity, "similarity of the input projections", self.n_units)
        centre = _about_mean(matrix)
        sums, extremes = _of_matrices(
            matrix, self.connectivity, self.positions, self.scale, centre, self.centre, self.n_jobs
        )
        _check(sums, extremes + centre, matrix, "similarity of the input projections")
        rho, joint = _ranked(matrix, self.connectivity, self.n_jobs)
        return self._from(sums, rho, joint)

    def statistics_of_directions(self, directions: Any) -> PairStatistics:
        """How the cosine similarity of given directions goes together with the connectivity; it is never stored.

        Parameters
        ----------
        directions : (n_units, k) array or sparse array
            Rows of length 1, as `fctoolbox.similarity.directions` returns them.

        Returns
        -------
        PairStatistics
            Without Spearman's ρ and the joint histogram, which need every value twice.

        Raises
        ------
        InputError
            If the shapes disagree, a value is not finite, or the similarity is the same for every pair.
        """
        from threadpoolctl import threadpool_limits

        from fctoolbox._edges import moments

        if len(directions.shape) != 2 or directions.shape[0] != self.n_units:
            raise InputError(
                f"directions have shape {tuple(directions.shape)}, but axis 0 should have one entry for each of the "
                f"{self.n_units} units"
            )
        check_finite(directions if isinstance(directions, np.ndarray) else directions.data[None, :], "directions")
        first = rows_of(directions, slice(0, _TILE))
        centre = _about_mean(first @ first.T)

        def task(corner: tuple[slice, slice]) -> tuple[_Sums, _Sums]:
            rows, columns = corner
            tile = rows_of(directions, rows) @ rows_of(directions, columns).T
            return _added(
                lambda *out: moments(
                    np.clip(tile, -1, 1, out=tile), self.connectivity, self.positions, np.float32(self.scale),
                    centre, self.centre, rows.start, columns.start, *out,
                )
            )  # fmt: skip

        parts = blocks(self.n_units, _TILE)
        corners = [(rows, columns) for rows in parts for columns in parts if columns.start >= rows.start]
        # Each product in one thread: its rounding must not depend on how many there are.
        with threadpool_limits(1, "blas"):
            sums, extremes = _total(in_threads(task, corners, self.n_jobs, "similarity and connectivity"))
        _check(sums, extremes + centre, None, "similarity of the input projections")
        return self._from(sums, None, None)

    def spun(self, similarity: ArrayLike, orders: Integers) -> NDArray[np.float64]:
        """R and partial r of the connectivity with rearranged similarities, ``similarity[order][:, order]``.

        An order may use a unit several times, as rotations of a sphere do that give each unit the nearest: pairs
        whose two units have the same source, whose similarity is 1 by construction, are left out. The knots stay
        those of all pairs.

        Parameters
        ----------
        similarity : (n_units, n_units) array
        orders : (n_orders, n_units) integers
            Unit i takes the place of unit ``order[i]``.

        Returns
        -------
        (n_orders, 1 or 2) array
            r; and partial r, where positions are known. 0 where nothing varies.

        Raises
        ------
        InputError
            If the shapes disagree, an order names a unit that is not there, or a value is not finite.
        """
        matrix = _square(similarity, "similarity of the input projections", self.n_units)
        orders = _orders(orders, self.n_units)
        centres = matrix.dtype.type(_about_mean(matrix)), self.connectivity.dtype.type(self.centre)
        found = [
            self._spun(matrix, orders[start : start + _ORDERS_AT_ONCE], centres)
            for start in range(0, len(orders), _ORDERS_AT_ONCE)
        ]
        return np.concatenate([np.empty((0, 1 if self.positions is None else 2)), *found])

    def _spun(
        self, matrix: Floats, orders: NDArray[np.int32], centres: tuple[np.floating[Any], np.floating[Any]]
    ) -> NDArray[np.float64]:
        from fctoolbox._edges import CLASSES, spun_sums, take_repeats_off

        scale, n_orders = np.float32(self.scale), len(orders)

        def task(rows: slice) -> tuple[_Sums, _Sums]:
            sums, classes = np.zeros((n_orders, 3)), np.zeros((n_orders, CLASSES))
            spun_sums(
                matrix, self.connectivity, self.positions, scale, orders, *centres, rows.start, rows.stop, sums, classes
            )
            return sums, classes

        all_sums, all_classes = _total(
            in_threads(task, blocks(self.n_units, _ROWS), self.n_jobs), lambda one, other: one + other
        )
        # The centre is a number that single precision holds: these sums are taken off the same one.
        counts, of_f, squares = self.sums[:, 0], self.sums[:, _F], self.sums[:, _FF].sum()
        found = []
        for order, sums, of_s in zip(orders, all_sums, all_classes, strict=True):
            left = np.array([*sums, of_f.sum(), squares])
            n, ns, nf = counts.copy(), of_s.copy(), of_f.copy()
            take_repeats_off(matrix, self.connectivity, self.positions, scale, order, *centres, left, n, ns, nf)
            if not np.isfinite(left).all():
                check_finite(matrix, "similarity of the input projections")
                raise InputError("the similarity of the input projections has values too large to be squared")
            s, ss, sf, f, ff = left
            r = _pearson(n.sum(), s, f, ss, ff, sf)
            found.append([r] if self.positions is None else [r, self._partial(n, ns, nf, ss, ff, sf)])
        return np.array(found)

    def _from(self, sums: _Sums, rho: float | None, joint: JointHistogram | None) -> PairStatistics:
        r = _pearson(*sums.sum(axis=0))
        if self.positions is None:
            return PairStatistics(r, rho, None, (), joint)
        squares = sums[:, [_SS, _FF, _SF]].sum(axis=0)
        partial = self._partial(sums[:, 0], sums[:, _S], sums[:, _F], *squares)
        return PairStatistics(r, rho, partial, self._by_distance(sums), joint)

    def _partial(self, counts: _Sums, of_s: _Sums, of_f: _Sums, ss: float, ff: float, sf: float) -> float:
        """Correlation of what a function of distance leaves of either; 0 where nothing is left."""
        seen = counts > 0
        if not seen.any():
            return 0.0
        weight = np.sqrt(counts[seen])
        basis = orthonormal(weight[:, None] * self._hats()[seen])
        one, other = basis.T @ (of_s[seen] / weight), basis.T @ (of_f[seen] / weight)
        left_s, left_f = ss - one @ one, ff - other @ other
        n = counts.sum()
        if left_s <= _NOTHING * (ss - of_s.sum() ** 2 / n) or left_f <= _NOTHING * (ff - of_f.sum() ** 2 / n):
            return 0.0
        return float(np.clip((sf - one @ other) / np.sqrt(left_s * left_f), -1, 1))

    def _hats(self) -> NDArray[np.float64]:
        assert self.knots is not None
        n = _n_classes()
        if len(self.knots) < 2:
            return np.ones((n, 1))
        return hats((np.arange(n, dtype=np.float64) + 0.5) / self.scale, self.knots)

    def _by_distance(self, sums: _Sums) -> tuple[DistanceBin, ...]:
        counts = sums[:, 0]
        middle = (np.cumsum(counts) - counts / 2) / counts.sum()
        group = np.minimum((middle * _DISTANCE_BINS).astype(int), _DISTANCE_BINS - 1)
        bins = []
        for k in range(_DISTANCE_BINS):
            classes = np.flatnonzero((group == k) & (counts > 0))
            if len(classes):
                own = sums[classes].sum(axis=0)
                ends = (classes[0], classes[-1] + 1)
                shortest, longest = (0.0, 0.0) if self.scale == 0 else (float(end / self.scale) for end in ends)
                bins.append(DistanceBin(shortest, longest, int(own[0]), _pearson(*own) if _varies(own) else None))
        return tuple(bins)


def relationship_r(weights: Weights | Any, connectivity: ArrayLike, *, n_jobs: int = 1) -> float:
    """Pearson correlation, over all pairs of units, of the similarity of their inputs and their connectivity.

    The similarity is never stored, so that little memory is needed beside the connectivity and the weights: for
    29,696 units less than 1 GB.

    Parameters
    ----------
    weights : (n_units, n_inputs) array, scipy.sparse array or FactoredMatrix
    connectivity : (n_units, n_units) array
        Symmetric; a memory map is read where it lies.
    n_jobs : int
        Threads; no bit of the result depends on it.

    Returns
    -------
    float

    Raises
    ------
    InputError
        If a unit receives no input, shapes disagree, a value is not finite, or one of the two is the same for every
        pair.

    Examples
    --------
    >>> weights = np.array([[1.0, 0.0], [1.0, 1.0], [0.0, 1.0]])
    >>> connectivity = np.array([[1.0, 0.5, 0.0], [0.5, 1.0, 0.5], [0.0, 0.5, 1.0]])
    >>> round(relationship_r(weights, connectivity), 6)
    1.0
    """
    return DensePairs.of(connectivity, n_jobs=n_jobs).statistics_of_directions(directions(weights)).pearson_r


def _square(values: ArrayLike, what: str, n_units: int | None = None) -> Floats:
    """The matrix as the compiled loops read it, read-only; a copy only where it must be."""
    matrix = np.asarray(values)
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or len(matrix) < 2:
        raise InputError(f"the {what} has shape {matrix.shape}, but it must be square (n_units, n_units), 2 or more")
    if n_units is not None and len(matrix) != n_units:
        raise InputError(f"the {what} is one of {len(matrix)} units, but the functional connectivity has {n_units}")
    if matrix.dtype.kind not in "fiub":
        raise InputError(f"the {what} holds {matrix.dtype} values; it needs real numbers")
    if matrix.dtype not in (np.float32, np.float64) or not matrix.dtype.isnative:
        matrix = matrix.astype(np.float32 if matrix.dtype.kind == "f" and matrix.dtype.itemsize <= 4 else np.float64)
    if not matrix.flags.c_contiguous:
        matrix = matrix.T if matrix.flags.f_contiguous else np.ascontiguousarray(matrix)
    matrix = matrix.view()
    matrix.flags.writeable = False
    return matrix


def _centred(positions: ArrayLike, n_units: int) -> NDArray[np.float32]:
    places = np.asarray(positions, dtype=np.float64)
    if places.shape != (n_units, 3):
        raise InputError(f"positions has shape {places.shape}, but it needs ({n_units}, 3)")
    check_finite(places, "positions")
    # About the middle of the extremes, which no order of the units changes, single precision loses nothing.
    return np.ascontiguousarray((places - (places.min(axis=0) + places.max(axis=0)) / 2).T, dtype=np.float32)


def _orders(orders: Integers, n_units: int) -> NDArray[np.int32]:
    array = np.asarray(orders)
    if array.ndim != 2 or array.shape[1] != n_units:
        raise InputError(f"orders has shape {array.shape}, but it needs (n_orders, {n_units})")
    if array.dtype.kind not in "iu":
        raise InputError(f"orders holds {array.dtype} values; it needs whole numbers, the units' places")
    if array.size and (array.min() < 0 or array.max() >= n_units):
        raise InputError(f"orders holds {array.min()} … {array.max()}; places of units are 0 … {n_units - 1}")
    array = np.ascontiguousarray(array, dtype=np.int32).view()
    array.flags.writeable = False
    return array


def _n_classes() -> int:
    from fctoolbox._edges import CLASSES

    return CLASSES


def _farthest(positions: NDArray[np.float32], n_jobs: int) -> list[float]:
    from fctoolbox._edges import farthest

    parts = blocks(positions.shape[1], _ROWS)
    return [float(each) for each in in_threads(lambda rows: farthest(positions, rows.start, rows.stop), parts, n_jobs)]


def _about_mean(matrix: Floats) -> float:
    """The mean of a few rows, without the diagonal, as a number that single precision holds."""
    chosen = np.unique(np.linspace(0, len(matrix) - 1, 16).astype(int))
    rows = np.asarray(matrix[chosen], dtype=np.float64)
    rows[np.arange(len(chosen)), chosen] = 0
    mean = np.float32(rows.sum() / (len(chosen) * (len(matrix) - 1)))
    return float(mean) if np.isfinite(mean) else 0.0


def _added(run: Callable[..., None]) -> tuple[_Sums, _Sums]:
    sums, extremes = np.zeros((_n_classes(), 6)), np.array([np.inf, -np.inf])
    run(sums, extremes)
    return sums, extremes


def _wider(one: _Sums, other: _Sums) -> _Sums:
    return np.array([min(one[0], other[0]), max(one[1], other[1])])


def _total(parts: Any, second: Callable[[_Sums, _Sums], _Sums] = _wider) -> tuple[_Sums, _Sums]:
    """Added in the order of the parts, so that the sum does not depend on the number of threads."""
    total, rest = next(parts)
    for sums, others in parts:
        total, rest = total + sums, second(rest, others)
    return total, rest


def _of_matrices(
    similarity: Floats,
    connectivity: Floats,
    positions: NDArray[np.float32] | None,
    scale: float,
    centre_s: float,
    centre_f: float,
    n_jobs: int,
) -> tuple[_Sums, _Sums]:
    from fctoolbox._edges import moments

    def task(rows: slice) -> tuple[_Sums, _Sums]:
        return _added(
            lambda *out: moments(
                similarity[rows], connectivity, positions, np.float32(scale), centre_s, centre_f, rows.start, 0, *out
            )
        )

    return _total(in_threads(task, blocks(len(connectivity), _ROWS), n_jobs, "pairs"))


def _check(sums: _Sums, ends: _Sums, matrix: Floats | None, what: str) -> None:
    if not np.isfinite(sums).all():
        if matrix is not None:
            check_finite(matrix, what)
        raise InputError(f"the {what} has values that are not finite, or too large to be squared")
    eps = np.finfo(np.float64 if matrix is None else matrix.dtype).eps
    if ends[1] - ends[0] <= max(1e-12, 32 * float(eps)):
        raise InputError(
            f"the {what} is {ends[0]:g} for every pair of units, so there is nothing to relate or to partition"
            + (" (do all units receive the same pattern, or only one input?)" if "input" in what else "")
        )


def _pearson(n: float, s: float, f: float, ss: float, ff: float, sf: float) -> float:
    """R from the sums; 0 where one of the two does not vary."""
    if n < 2:
        return 0.0
    of_s, of_f = ss - s * s / n, ff - f * f / n
    if of_s <= 0 or of_f <= 0:
        return 0.0
    return float(np.clip((sf - s * f / n) / np.sqrt(of_s * of_f), -1, 1))


def _varies(sums: _Sums) -> bool:
    n, s, f, ss, ff, _ = sums
    return bool(n > 2 and min(ss / n - (s / n) ** 2, ff / n - (f / n) ** 2) > 1e-13)


def _quantiles(counts: _Sums, scale: float, shares: ArrayLike) -> NDArray[np.float64]:
    """Quantiles of distance (mm), from the pairs counted in each class."""
    if scale == 0:
        return np.zeros(1)
    seen = np.flatnonzero(counts)
    counts = counts[seen[0] : seen[-1] + 1]
    below = np.concatenate([[0.0], np.cumsum(counts)]) / counts.sum()
    return np.unique(np.interp(np.asarray(shares, dtype=np.float64), below, np.arange(seen[0], seen[-1] + 2) / scale))


def _ranked(similarity: Floats, connectivity: Floats, n_jobs: int) -> tuple[float, JointHistogram]:
    """Spearman's ρ, and the joint histogram, by way of a grid on which values share a rank that share a cell."""
    from fctoolbox._edges import rank_products

    one, other = (
        _Grid.of(matrix, what, n_jobs)
        for matrix, what in (
            (similarity, "similarity of the input projections"),
            (connectivity, "functional connectivity"),
        )
    )
    spare: SimpleQueue[NDArray[np.int64]] = SimpleQueue()
    histograms = [np.zeros((_BINS, _BINS), dtype=np.int64) for _ in range(n_jobs)]
    for histogram in histograms:
        spare.put(histogram)

    def task(rows: slice) -> float:
        histogram = spare.get()
        try:
            return float(
                rank_products(
                    similarity, connectivity, one.ranks, other.ranks, one.bins, other.bins, rows.start, rows.stop,
                    histogram,
                )
            )  # fmt: skip
        finally:
            spare.put(histogram)

    product = sum(in_threads(task, blocks(len(similarity), _ROWS), n_jobs, "ranks of pairs"))
    rho = float(np.clip(product / np.sqrt(one.variance * other.variance), -1, 1))
    return rho, JointHistogram(sum(histograms[1:], histograms[0]), one.edges, other.edges)


@dataclass(frozen=True, eq=False)
class _Grid:
    """The pairs of a matrix on the grid: the rank of each cell (centred, in [-1/2, 1/2]) and its histogram bin."""

    ranks: NDArray[np.float64]
    variance: float
    bins: NDArray[np.uint8]
    edges: NDArray[np.float64]

    @classmethod
    def of(cls, matrix: Floats, what: str, n_jobs: int) -> "_Grid":
        from fctoolbox._edges import GRID, count_cells

        spare: SimpleQueue[NDArray[np.uint32]] = SimpleQueue()
        tables = [np.zeros(2 * GRID + 1, dtype=np.uint32) for _ in range(n_jobs)]
        for table in tables:
            spare.put(table)

        def task(rows: slice) -> int:
            table = spare.get()
            try:
                return int(count_cells(matrix, rows.start, rows.stop, table))
            finally:
                spare.put(table)

        beyond = sum(in_threads(task, blocks(len(matrix), _ROWS), n_jobs, "values of pairs"))
        if beyond:
            raise InputError(f"the {what} has {beyond} pairs with a value beyond -1 … 1, which no correlation has")
        counts = sum(table.astype(np.float64) for table in tables)
        assert isinstance(counts, np.ndarray)
        n = counts.sum()
        ranks = (np.cumsum(counts) - counts / 2) / n - 0.5
        seen = np.flatnonzero(counts)
        low, high = int(seen[0]), int(seen[-1]) + 1
        bins = np.clip((np.arange(len(counts)) - low) * _BINS // (high - low), 0, _BINS - 1).astype(np.uint8)
        edges = (np.linspace(low, high, _BINS + 1) - 0.5) / GRID - 1
        return cls(ranks, float(counts @ ranks**2), bins, edges)
