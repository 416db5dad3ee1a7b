"""What a variogram needs to know of distances: neighbourhoods, pairs of units, and their weights."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fctoolbox.errors import InputError, check_whole, listed, suggestion
from fctoolbox.nulls.distances import nearest_euclidean
from fctoolbox.system import Floats, check_symmetric
from fctoolbox.threads import blocks, in_threads

SMOOTHING = 2.68 / 3  # of the variogram: 3 lags wide, in units of which the Gaussian's argument is 2.68
_MIN_UNITS = 15
# brainsmash's defaults, in its own arithmetic: 0.7 of the units is one unit more or less where that rounds otherwise.
_NEIGHBOURHOODS = tuple(float(share) for share in np.linspace(0.1, 0.9, 9))
_NEIGHBOURHOODS_SAMPLED = tuple(float(share) for share in np.arange(0.3, 1.0, 0.2))
_PERCENTILE, _PERCENTILE_SAMPLED = 25, 70
_BINS_PER_LAG = 32
_ROWS_AT_ONCE = 128


@dataclass(frozen=True, eq=False)
class Nearest:
    """The nearest units of each unit, nearest first, without itself: all that large n needs to know of distances.

    Parameters
    ----------
    indices : (n_units, n_neighbours) integers
    distances : (n_units, n_neighbours) array
        mm; float32 will do.

    Raises
    ------
    InputError
        If the shapes differ, a row is not sorted or holds the unit itself, or a distance is not finite.
    """

    indices: NDArray[np.int32]
    distances: Floats

    def __post_init__(self) -> None:
        indices, distances = np.asarray(self.indices), np.asarray(self.distances)
        if indices.ndim != 2 or indices.shape != distances.shape or indices.dtype.kind not in "iu":
            raise InputError(
                f"nearest units: indices ({indices.dtype}) have shape {indices.shape} and distances {distances.shape}; "
                "they need whole numbers and the same shape (n_units, n_neighbours)"
            )
        n_units = len(indices)
        if distances.dtype not in (np.float32, np.float64):
            distances = distances.astype(np.float64)
        if not np.isfinite(distances).all():
            row = int(np.argmin(np.isfinite(distances).all(axis=1)))
            raise InputError(
                f"the distances of the nearest units are not finite, first for unit {row} (counted from 0): it is "
                "joined to too few others; take fewer neighbours, or leave out the pieces that are too small"
            )
        if (distances < 0).any() or (np.diff(distances, axis=1) < 0).any():
            raise InputError("the distances of the nearest units must be ≥ 0 and rise along each row, nearest first")
        if indices.size and (indices.min() < 0 or indices.max() >= n_units):
            raise InputError(f"the indices of the nearest units must lie in 0 … {n_units - 1}")
        if (indices == np.arange(n_units)[:, None]).any():
            raise InputError(
                "a unit is among its own nearest units; leave out the first column, where the distance is 0"
            )
        object.__setattr__(self, "indices", np.ascontiguousarray(indices, dtype=np.int32))
        object.__setattr__(self, "distances", np.ascontiguousarray(distances))


def nearest_units(positions: ArrayLike, n_neighbours: int = 1000, *, n_jobs: int = 1) -> Nearest:
    """The nearest units of each unit, in a straight line, by a k-d tree.

    Parameters
    ----------
    positions : (n_units, 3) array
        mm.
    n_neighbours : int
        brainsmash takes 1,000.
    n_jobs : int

    Returns
    -------
    Nearest
        Distances in float32.

    Raises
    ------
    InputError
    """
    places = np.asarray(positions, dtype=np.float64)
    if places.ndim != 2 or not np.isfinite(places).all():
        raise InputError(f"positions have shape {places.shape}; they need (n_units, 3) and finite numbers")
    check_whole("n_neighbours", n_neighbours, 1)
    if n_neighbours >= len(places):
        others = len(places) - 1
        raise InputError(f"n_neighbours is {n_neighbours}, but each of the {len(places)} units has {others} others")
    lengths, index = nearest_euclidean(places, n_neighbours + 1, n_jobs=n_jobs)
    return Nearest(index[:, 1:], lengths[:, 1:])


@dataclass(frozen=True, eq=False)
class Weights:
    """Weights of a pair at each lag, ``Σ_d coefficients[h, bin, d] offset^d``: exact to 1e-14, and cheap.

    Bins are so narrow (1 / 35 of the Gaussian's standard deviation) that a polynomial of degree 5 is the Gaussian.
    The pairs of a bin can then be summed with six weights each instead of one per lag.
    """

    lags: NDArray[np.float64]
    bin_width: float
    coefficients: NDArray[np.float64]  # (n_lags, n_bins, 6)


def _weights_at(lags: Floats) -> Weights:
    from fctoolbox.nulls._variogram import DEGREE

    n_bins = _BINS_PER_LAG * (len(lags) - 1)
    width = float(lags[-1] - lags[0]) / n_bins
    nodes = np.cos(np.pi * (np.arange(DEGREE + 1) + 0.5) / (DEGREE + 1))
    lengths = lags[0] + width * (np.arange(n_bins)[:, None] + (1 + nodes) / 2)
    weights = _gaussian(lengths - lags[:, None, None], lags)
    return Weights(
        np.asarray(lags, dtype=np.float64), width, weights @ np.linalg.inv(np.vander(nodes, increasing=True)).T
    )


def _gaussian(apart: Any, lags: Floats) -> Any:
    return np.exp(-np.square(SMOOTHING / (lags[1] - lags[0]) * apart) / 2)


@dataclass(frozen=True, eq=False)
class Pairs:
    """Pairs of units, sorted by their distance into narrow bins.

    Parameters
    ----------
    first, second : (n_pairs,) integers
    lengths : (n_pairs,) array
    offset : (n_pairs,) array
        Of a pair's distance from the centre of its bin, in [-1, 1].
    starts : (n_bins + 1,) integers
    from_moments : (n_lags, n_bins * 6) array
        What turns moments of squared differences into the variogram.
    """

    first: NDArray[np.int32]
    second: NDArray[np.int32]
    lengths: NDArray[np.float64]
    offset: NDArray[np.float64]
    starts: NDArray[np.int64]
    from_moments: NDArray[np.float64]


def _pairs(
    first: NDArray[np.int32], second: NDArray[np.int32], lengths: NDArray[np.float64], weights: Weights
) -> Pairs:
    n_lags, n_bins, n_moments = weights.coefficients.shape
    place = (lengths - weights.lags[0]) / weights.bin_width
    bins = np.clip(place, 0, n_bins - 1).astype(np.int16 if n_bins < 2**15 else np.int64)
    order = np.argsort(bins, kind="stable")
    bins, offset = bins[order], (2 * (place - bins - 0.5))[order]
    starts = np.searchsorted(bins, np.arange(n_bins + 1))
    power, sums = np.ones(len(bins)), np.empty((n_bins, n_moments))
    for degree in range(n_moments):
        sums[:, degree] = np.bincount(bins, weights=power, minlength=n_bins)
        power = power * offset
    flat = weights.coefficients.reshape(n_lags, -1)
    return Pairs(first[order], second[order], lengths[order], offset, starts, flat / (2 * flat @ sums.ravel())[:, None])


@dataclass(frozen=True, eq=False)
class Dense:
    """All units, with all distances between them.

    Parameters
    ----------
    distances : (n_units, n_units) array
    counts : tuple of int
        Neighbours that a map is smoothed over; n_levels of them.
    reach : (n_units, n_levels) array
        Distance of the last of them.
    """

    distances: Floats
    kernel: str
    counts: tuple[int, ...]
    reach: NDArray[np.float64]
    lags: NDArray[np.float64]
    pairs: Pairs
    n_rows: int = 0

    @property
    def n_units(self) -> int:
        return len(self.distances)

    def weights(self, near: NDArray[np.float64], rows: slice, level: int) -> NDArray[np.float64]:
        """Of all units (columns) for the smoothed value of some of them (rows), whose distances are `near`."""
        count, reach = self.counts[level], self.reach[rows, level, None]
        weights = _kernel(self.kernel, near, reach)
        within = near <= reach
        weights *= within
        own = np.arange(len(weights))
        weights[own, own + rows.start] = 0
        for row in np.flatnonzero(within.sum(axis=1) - 1 > count):  # several at the distance of the last
            last = np.flatnonzero(near[row] == reach[row])
            last = last[last != row + rows.start]
            weights[row, last[len(last) - (within[row].sum() - 1 - count) :]] = 0
        weights /= weights.sum(axis=1, keepdims=True)
        return weights

    def smooth(self, maps: NDArray[np.float64], n_jobs: int) -> NDArray[np.float64]:
        """Every map over every neighbourhood: (n_levels, n_units, n_maps) from (n_units, n_maps)."""
        smooth = np.empty((len(self.counts), *maps.shape))

        def task(rows: slice) -> None:
            near = self.distances[rows].astype(np.float64)
            for level in range(len(self.counts)):
                np.matmul(self.weights(near, rows, level), maps, out=smooth[level, rows])

        for _ in in_threads(task, blocks(self.n_units, _ROWS_AT_ONCE), n_jobs):
            pass
        return smooth


@dataclass(frozen=True, eq=False)
class Sampled:
    """Units of which only the nearest of each are known; as `Dense`, with a variogram from rows drawn at random.

    Parameters
    ----------
    limit : float
        Pairs this far apart or farther do not enter the variogram.
    n_rows : int
    """

    nearest: Nearest
    kernel: str
    counts: tuple[int, ...]
    limit: float
    weights_at: Weights
    n_rows: int

    @property
    def n_units(self) -> int:
        return len(self.nearest.indices)

    @property
    def lags(self) -> NDArray[np.float64]:
        return self.weights_at.lags

    def pairs_of(self, rows: NDArray[np.integer[Any]]) -> Pairs:
        """Pairs of each row's unit and its nearest."""
        lengths = self.nearest.distances[rows]
        near = lengths < self.limit
        first = np.repeat(rows.astype(np.int32), near.sum(axis=1))
        return _pairs(first, self.nearest.indices[rows][near], lengths[near].astype(np.float64), self.weights_at)

    def weights(self, rows: slice) -> NDArray[np.float64]:
        """(n_rows, n_levels, n_neighbours); those beyond a level's neighbourhood are 0."""
        near = self.nearest.distances[rows].astype(np.float64)
        weights = np.zeros((len(near), len(self.counts), near.shape[1]))
        for level, count in enumerate(self.counts):
            part = _kernel(self.kernel, near[:, :count], near[:, count - 1, None])
            weights[:, level, :count] = part / part.sum(axis=1, keepdims=True)
        return weights

    def smooth(self, maps: NDArray[np.float64], n_jobs: int) -> NDArray[np.float64]:
        """As `Dense.smooth`."""
        from fctoolbox.nulls._variogram import smooth_nearest

        smooth, counts = np.empty((len(self.counts), *maps.shape)), np.array(self.counts)

        def task(rows: slice) -> None:
            smooth_nearest(maps, self.nearest.indices, self.weights(rows), counts, rows.start, smooth)

        for _ in in_threads(task, blocks(self.n_units, _ROWS_AT_ONCE), n_jobs):
            pass
        return smooth


Space = Dense | Sampled


def _kernel(name: str, lengths: NDArray[np.float64], reach: NDArray[np.float64]) -> NDArray[np.float64]:
    if name == "exp":
        return np.exp(lengths / -reach)
    if name == "gaussian":
        return np.exp(-1.25 * np.square(lengths / reach))
    if name == "invdist":
        return 1 / np.where(lengths > 0, lengths, np.inf)  # the unit itself; others were refused
    return np.ones_like(lengths)


def space_of(
    distances: Floats | Nearest, shares: tuple[float, ...], kernel: str, percentile: float, n_lags: int, n_rows: int,
    n_jobs: int,
) -> Space:  # fmt: skip
    kernels = ("exp", "gaussian", "invdist", "uniform")
    if kernel not in kernels:
        raise InputError(
            f"no kernel named {kernel!r}.{suggestion(str(kernel), kernels)} There are: {', '.join(kernels)}"
        )
    if not isinstance(distances, Nearest):
        check_distances(distances)
    check_number(len(distances.indices) if isinstance(distances, Nearest) else len(distances))
    counts = counts_of(shares, distances)
    if isinstance(distances, Nearest):
        check_whole("n_rows", n_rows, 1)
        for count in counts:
            check_reach(distances.distances[:, count - 1], count)
        if kernel == "invdist" and distances.distances[:, 0].min() == 0:
            raise InputError(_COINCIDENT)
        shortest, limit = sampled_limit(distances, percentile)
        at = _weights_at(np.linspace(shortest, limit, n_lags))
        return Sampled(distances, kernel, counts, limit, at, min(n_rows, len(distances.indices)))
    reach = np.empty((len(distances), len(counts)))

    def task(rows: slice) -> None:
        reach[rows] = np.sort(distances[rows], axis=1)[:, counts]

    for _ in in_threads(task, blocks(len(distances), _ROWS_AT_ONCE), n_jobs):
        pass
    for level, count in enumerate(counts):
        check_reach(reach[:, level], count)
    first, second, lengths = near_pairs(distances, percentile)
    if kernel == "invdist" and lengths.min() == 0:
        raise InputError(_COINCIDENT)
    lags = np.linspace(lengths.min(), lengths.max(), n_lags)
    return Dense(distances, kernel, counts, reach, lags, _pairs(first, second, lengths, _weights_at(lags)))


_COINCIDENT = "the kernel 'invdist' is infinite between units at the same place, and there are such; take kernel='exp'"


def near_pairs(
    distances: Floats, percentile: float
) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.float64]]:
    """Pairs closer than a percentile of all distances."""
    from scipy.spatial.distance import squareform

    from fctoolbox.nulls._variogram import count_near, fill_near

    lengths = squareform(distances, checks=False)
    shortest = lengths.min()
    limit = float(np.percentile(lengths, percentile, overwrite_input=True))
    n_pairs = count_near(distances, limit)
    first, second, lengths = np.empty(n_pairs, np.int32), np.empty(n_pairs, np.int32), np.empty(n_pairs)
    fill_near(distances, limit, first, second, lengths)
    if not n_pairs or np.ptp(lengths) == 0:
        raise InputError(_equally_far(percentile, float(shortest)))
    return first, second, lengths


def sampled_limit(nearest: Nearest, percentile: float) -> tuple[float, float]:
    """The shortest distance, and the percentile up to which a variogram is fitted."""
    shortest, limit = float(nearest.distances.min()), float(np.percentile(nearest.distances, percentile))
    if not shortest < limit:
        raise InputError(_equally_far(percentile, shortest))
    return shortest, limit


def _equally_far(percentile: float, shortest: float) -> str:
    return (
        f"the null 'variogram' is fitted to the shortest {percentile:g} % of the distances, which are all "
        f"{shortest:g} here: a variogram needs several"
    )


def check_shape(n_units: int, distances: Floats | Nearest, what: str) -> None:
    if isinstance(distances, Nearest):
        if len(distances.indices) != n_units:
            raise InputError(f"the nearest units are those of {len(distances.indices)}, but there are {n_units} {what}")
    elif np.shape(distances) != (n_units, n_units):
        raise InputError(f"distances have shape {np.shape(distances)}, but there are {n_units} {what}")


def shares_of(neighbourhoods: Sequence[float] | None, distances: Floats | Nearest) -> tuple[float, ...]:
    if neighbourhoods is None:
        return _NEIGHBOURHOODS_SAMPLED if isinstance(distances, Nearest) else _NEIGHBOURHOODS
    shares = tuple(float(share) for share in neighbourhoods)
    if not shares or not all(0 < share <= 1 for share in shares):
        raise InputError(f"neighbourhoods are {listed(shares)}; they must be shares of the units, in (0, 1]")
    return shares


def counts_of(shares: Sequence[float], distances: Floats | Nearest) -> tuple[int, ...]:
    sampled = isinstance(distances, Nearest)
    whole = distances.indices.shape[1] if isinstance(distances, Nearest) else len(distances)
    counts = tuple(min(int(share * whole), whole if sampled else whole - 1) for share in shares)
    if min(counts) < 1:
        raise InputError(f"a neighbourhood of {min(shares):g} of {whole} units holds none; take larger neighbourhoods")
    return counts


def percentile_of(percentile: float | None, distances: Floats | Nearest) -> float:
    if percentile is None:
        return _PERCENTILE_SAMPLED if isinstance(distances, Nearest) else _PERCENTILE
    if not 0 < percentile <= 100:
        raise InputError(f"percentile is {percentile}; it must be above 0, and 100 at most")
    return percentile


def check_number(n_units: int) -> None:
    if n_units < _MIN_UNITS:
        raise InputError(
            f"the null 'variogram' needs at least {_MIN_UNITS} units to fit a variogram, and there are {n_units}: "
            "too few pairs at each distance"
        )


def check_distances(distances: Floats) -> None:
    shape = np.shape(distances)
    if len(shape) != 2 or shape[0] != shape[1]:
        raise InputError(f"distances have shape {shape}, but they must be square (n_units, n_units)")
    if np.isnan(lowest := distances.min()):
        raise InputError("distances hold NaN; give every two units a distance, or leave units out")
    if np.isposinf(distances.max()):
        raise InputError(_disconnected(distances))
    if lowest < 0 or np.abs(np.diagonal(distances)).max() > 0:
        raise InputError("distances must be ≥ 0, with zeros on the diagonal")
    check_symmetric(distances, "distances")


def _disconnected(distances: Floats) -> str:
    from scipy.sparse import csr_array
    from scipy.sparse.csgraph import connected_components

    n_pieces, piece = connected_components(csr_array(np.isfinite(distances)), directed=False)
    if n_pieces == 1:
        i, j = np.argwhere(np.isinf(distances))[0]
        return f"distances hold infinity, first between units {i} and {j} (counted from 0)"
    sizes = listed(f"{np.count_nonzero(piece == k)} units (with unit {np.argmax(piece == k)})" for k in range(n_pieces))
    return (
        f"distances hold infinity: the units lie in {n_pieces} pieces that nothing joins: {sizes}. Make surrogates of "
        "each piece by itself, or take distances in a straight line"
    )


def check_reach(reach: Floats, count: int) -> None:
    crowded = np.flatnonzero(reach == 0)
    if len(crowded):
        raise InputError(
            f"the null 'variogram' averages over the {count} nearest neighbours of each unit, and those of "
            f"{len(crowded)} units lie at the same place (the first is unit {crowded[0]}, counted from 0)"
        )
