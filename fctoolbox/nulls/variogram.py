"""Maps and partitions that vary with distance as the observed ones do (BrainSMASH)."""

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from tqdm import tqdm

from fctoolbox.errors import InputError, check_whole, listed
from fctoolbox.nulls._maps import indicators
from fctoolbox.nulls._variogram_engines import Engine, Loops, Torch
from fctoolbox.nulls._variogram_space import (
    Dense,
    Nearest,
    Pairs,
    Space,
    check_distances,
    check_number,
    check_reach,
    check_shape,
    counts_of,
    near_pairs,
    nearest_units,
    percentile_of,
    sampled_limit,
    shares_of,
    space_of,
)
from fctoolbox.randomness import generator
from fctoolbox.system import Floats
from fctoolbox.threads import in_threads, n_threads

__all__ = ["Nearest", "VariogramSurrogates", "check_variogram", "nearest_units", "variogram", "variogram_surrogates"]

# Two unrelated maps that one and the same process made differ by 0.05 to 0.3 (median error; simulated Gaussian fields
# of 60 to 600 units and many length scales, equal variance): beyond that, surrogates are no draws from such a process.
POOR_FIT = 0.3
N_LAGS, N_ROWS = 25, 500
_CHUNK_BYTES = 2**28
_LARGEST = 1e140
_BATCH = 10  # surrogates of brainsmash between two steps of the progress bar

Kernel = Literal["exp", "gaussian", "invdist", "uniform"]


@dataclass(frozen=True, eq=False)
class VariogramSurrogates:
    """Surrogates of a map, and how well they fit.

    For a stack of maps, `maps`, `error` and `fitted` have an axis `n_maps` after the first, and `target` before its
    own.

    Parameters
    ----------
    maps : (n_nulls, n_units) array
    error : (n_nulls,) array
        How far each surrogate's variogram is from the target, ``sqrt(Σ_h (fitted_h - target_h)² / Σ_h target_h²)``:
        0 is a perfect fit, and the unit of the map does not matter.
    lags : (n_lags,) array
        Distances at which the variogram is taken; mm.
    target : (n_lags,) array
        Variogram of the observed map; of the sampled rows, averaged over the surrogates, where rows are sampled.
    fitted : (n_nulls, n_lags) array
        Variogram of each surrogate, as it is returned (noise and resampling included).
    """

    maps: NDArray[np.float64]
    error: NDArray[np.float64]
    lags: NDArray[np.float64]
    target: NDArray[np.float64]
    fitted: NDArray[np.float64]


def variogram_surrogates(
    values: ArrayLike,
    *,
    distances: Floats | Nearest,
    n_nulls: int,
    rng: int | np.random.Generator | None = None,
    resample: bool = False,
    neighbourhoods: Sequence[float] | None = None,
    kernel: Kernel = "exp",
    percentile: float | None = None,
    n_lags: int = N_LAGS,
    n_rows: int = N_ROWS,
    jointly: bool = False,
    engine: Literal["fctoolbox", "brainsmash"] = "fctoolbox",
    device: str | None = None,
    n_jobs: int = 1,
) -> VariogramSurrogates:
    """Random maps that vary with distance as a map of numbers does (BrainSMASH, in batches).

    The values are shuffled and smoothed over the nearest units, for several sizes of the neighbourhood. The smoothed
    variogram of each, ``v_h = Σ_ij w_h(d_ij) (x_i - x_j)² / 2 / Σ_ij w_h(d_ij)`` with
    ``w_h(d) = exp(-(2.68 (d - h) / b)² / 2)`` and b three lags, is regressed on that of the observed map; the
    neighbourhood with the least residual gives the surrogate ``sqrt|β| smooth + sqrt|α| noise``.

    Given the same permutations and noise, brainsmash 0.11 gives the same surrogates. Where several units lie at
    exactly the distance of the last neighbour, ours are those that come first (its choice is that of the sorting
    algorithm), and a unit is never its own neighbour, also where others lie at the same place.

    Parameters
    ----------
    values : (n_units,) or (n_maps, n_units) array
        Numbers (not labels: see `variogram`).
    distances : (n_units, n_units) array, or Nearest
        mm. With `Nearest` (see `nearest_units`) the variogram is taken, anew for each surrogate, over the nearest
        units of `n_rows` units drawn at random, and no array (n_units, n_units) is needed: brainsmash's ``Sampled``.
    n_nulls : int
    rng : int, Generator or None
        The first surrogates are the same, whatever their number.
    resample : bool
        Whether each surrogate takes on the observed values, by rank, at some cost to the fit of a skewed map.
        If not, its mean is 0.
    neighbourhoods : sequence of float
        Shares, in (0, 1], of the units (of the given neighbours, with `Nearest`) that a map is smoothed over; by
        default 0.1, 0.2 … 0.9 (0.3, 0.5, 0.7, 0.9).
    kernel : {"exp", "gaussian", "invdist", "uniform"}
        Weight of a neighbour at distance d when the last one is at distance r: exp(-d / r), exp(-1.25 (d / r)²),
        1 / d, or 1.
    percentile : float
        The variogram is fitted to the pairs closer than this percentile of the distances; by default 25 (70).
    n_lags : int
        Distances at which the variogram is taken.
    n_rows : int
        With `Nearest` only.
    jointly : bool
        Whether the maps of a stack share each surrogate's permutation and noise; they then keep much of what they
        have in common.
    engine : {"fctoolbox", "brainsmash"}
        ``"brainsmash"`` calls the original (GPL-3, optional), with all its settings as given here.
    device : str, optional
        Of torch (optional), such as ``"cuda"``; by default our own loops on the processor, in `n_jobs` threads.
    n_jobs : int
        The result does not depend on it.

    Returns
    -------
    VariogramSurrogates

    Warns
    -----
    UserWarning
        If the median error of a map's surrogates is above 0.3: two maps that one process made hardly differ by more.

    Raises
    ------
    InputError
        If the values or distances cannot be used (NaN, wrong shape, not symmetric, infinite, a constant map, fewer
        than 15 units, too many units at one place, a regular grid), a setting is out of its range, or brainsmash,
        torch or the device is asked for and missing.

    References
    ----------
    Burt et al. 2020, NeuroImage 220:117038.
    """
    threads = n_threads(n_jobs)
    check_whole("n_nulls", n_nulls, 1)
    check_whole("n_lags", n_lags, 3)
    if engine not in ("fctoolbox", "brainsmash"):
        raise InputError(f"engine is {engine!r}; it must be 'fctoolbox' or 'brainsmash'")
    if engine == "brainsmash" and (device is not None or jointly):
        raise InputError("engine='brainsmash' knows no device and no maps drawn jointly; leave these out")
    stack = _checked_values(values, distances)
    maps, random = np.atleast_2d(stack), generator(rng)
    shares = shares_of(neighbourhoods, distances)
    percent = percentile_of(percentile, distances)
    classes = _brainsmash() if engine == "brainsmash" else None
    space = space_of(distances, shares, kernel, percent, n_lags, n_rows, threads)
    if classes is not None:
        theirs = {"deltas": np.array(shares), "kernel": kernel, "pv": percent, "nh": n_lags, "resample": bool(resample)}
        parts = [_of_brainsmash(classes, space, maps, n_nulls, random, theirs, threads)]
    else:
        backend = Loops(space, threads) if device is None else Torch(space, device)
        draws = _draws(space, len(maps), n_nulls, random, jointly=jointly)
        parts = [_surrogates(backend, maps, each, resample=resample) for each in draws]
    result = _result(space, _stacked(parts), single=stack.ndim == 1)
    _warn_of_poor_fit(result.error)
    return result


def variogram(
    labels: ArrayLike,
    *,
    distances: Floats | Nearest,
    n_nulls: int,
    rng: int | np.random.Generator | None = None,
    n_jobs: int = 1,
) -> NDArray[Any]:
    """Random partitions into communities of the same sizes, each of which varies with distance as the observed does.

    The labels are names. Each community's indicator (1 in it, 0 elsewhere) is a map of numbers, whose surrogate is
    made as in `variogram_surrogates`, from one permutation and one noise for all communities. Units then go to the
    community where their value is highest: the highest value of all is dealt with first, and a community that has its
    size takes no more. Naming the communities otherwise names those of the surrogates otherwise, and nothing else.

    .. warning::
       The surrogates are **less compact** than the observed partition: a variogram holds what two units share on
       average, and says nothing of connected pieces with smooth borders. Of 300 units on a sphere in six compact
       communities, the five nearest units share a unit's community in 85 % of cases, in 55 % in the surrogates, and
       in 18 % where labels are shuffled. A partition that is merely compact may therefore come out as significant;
       a null that keeps contiguity asks the better question of partitions.

    Parameters
    ----------
    labels : (n_units,) array
        Community of each unit.
    distances : (n_units, n_units) array, or Nearest
        mm; see `variogram_surrogates`.
    n_nulls : int
    rng : int, Generator or None
    n_jobs : int
        The result does not depend on it.

    Returns
    -------
    (n_nulls, n_units) array
        The names of `labels`, each as often as there.

    Raises
    ------
    InputError
        As `variogram_surrogates`; and if there is only one community.

    References
    ----------
    Burt et al. 2020, NeuroImage 220:117038, for maps of numbers.
    """
    threads = n_threads(n_jobs)
    check_whole("n_nulls", n_nulls, 1)
    given = np.asarray(labels)
    if given.ndim != 1 or (given.dtype.kind == "f" and not np.isfinite(given).all()):
        raise InputError(f"labels have shape {given.shape}; they need (n_units,), and a community for every unit")
    check_shape(len(given), distances, "labels")
    names, maps = indicators(given)
    if len(names) == 1:
        raise InputError("the null 'variogram' needs values that are not all equal; there is a single community")
    sizes = maps.sum(axis=1).astype(np.intp)
    space = space_of(
        distances, shares_of(None, distances), "exp", percentile_of(None, distances), N_LAGS, N_ROWS, threads
    )  # fmt: skip
    nulls: list[NDArray[np.intp]] = []
    for draws in _draws(space, len(names), n_nulls, generator(rng), jointly=True):
        fields = _surrogates(Loops(space, threads), maps, draws, resample=False).maps
        nulls += in_threads(lambda each: _filled(each, sizes), list(fields), threads)
    return np.asarray(names[np.stack(nulls)])


def check_variogram(distances: Floats | Nearest) -> None:
    """Refuse what a variogram cannot be fitted to; cheap, so that it comes before anything that is not.

    Parameters
    ----------
    distances : (n_units, n_units) array, or Nearest
        mm.

    Raises
    ------
    InputError
        If the distances are not square, symmetric, finite and zero on the diagonal, there are too few units (a
        variogram of fewer than 15 has too few pairs at each distance), too many of them lie at one place, or the
        shortest distances are all equal.
    """
    if not isinstance(distances, Nearest):
        check_distances(distances)
        check_number(len(distances))
        count = counts_of(shares_of(None, distances)[:1], distances)[0]
        check_reach(np.partition(distances, count, axis=1)[:, count], count)
        near_pairs(distances, percentile_of(None, distances))
        return
    check_number(len(distances.indices))
    count = counts_of(shares_of(None, distances)[:1], distances)[0]
    check_reach(distances.distances[:, count - 1], count)
    sampled_limit(distances, percentile_of(None, distances))


def _filled(fields: NDArray[np.float64], sizes: NDArray[np.intp]) -> NDArray[np.intp]:
    """A partition with given sizes from (n_communities, n_units) values: the highest are dealt with first."""
    from fctoolbox.nulls._variogram import fill_communities

    communities = np.empty(fields.shape[1], dtype=np.intp)
    fill_communities(np.argsort(-fields, axis=None, kind="stable"), sizes, communities)
    return communities


@dataclass(frozen=True, eq=False)
class _Draws:
    """What is random in some surrogates.

    Parameters
    ----------
    permutations : (n_nulls, n_maps or 1, n_units) integers
    noise : (n_nulls, n_maps or 1, n_units) array
        Standard normal.
    rows : (n_nulls, n_rows) integers
        Where rows are sampled.
    """

    permutations: NDArray[np.intp]
    noise: NDArray[np.float64]
    rows: NDArray[np.intp]


@dataclass(frozen=True, eq=False)
class _Fitted:
    """Some surrogates (n_nulls, n_maps, n_units), with their variograms and their targets (n_nulls, n_maps, n_lags)."""

    maps: NDArray[np.float64]
    fitted: NDArray[np.float64]
    target: NDArray[np.float64]


def _draws(space: Space, n_maps: int, n_nulls: int, rng: np.random.Generator, *, jointly: bool) -> Iterator[_Draws]:
    """Chunks of draws, as many as fit into memory once smoothed; one surrogate's after the other's."""
    n_units = space.n_units
    n_drawn = 1 if jointly else n_maps
    at_once = max(1, _CHUNK_BYTES // (len(space.counts) * n_units * n_maps * 8))
    with tqdm(total=n_nulls, desc="variogram nulls", unit="null", delay=2, disable=None) as bar:
        for start in range(0, n_nulls, at_once):
            size = min(at_once, n_nulls - start)
            permutations = np.empty((size, n_drawn, n_units), dtype=np.intp)
            noise, rows = np.empty((size, n_drawn, n_units)), np.empty((size, space.n_rows), dtype=np.intp)
            for k in range(size):
                for each in permutations[k]:
                    each[:] = rng.permutation(n_units)
                rng.standard_normal(out=noise[k])
                if space.n_rows:
                    rows[k] = rng.choice(n_units, space.n_rows, replace=False)
            yield _Draws(permutations, noise, rows)
            bar.update(size)


def _surrogates(backend: Engine, values: NDArray[np.float64], draws: _Draws, *, resample: bool) -> _Fitted:
    """Surrogates of (n_maps, n_units) values from given draws: all that is not random."""
    space, n_maps, n_nulls = backend.space, len(values), len(draws.noise)
    permuted = values[np.arange(n_maps)[:, None], draws.permutations].reshape(n_nulls * n_maps, -1)
    stack = backend.smooth(np.ascontiguousarray(permuted.T))
    ascending = np.sort(values, axis=1)

    def fitted(nulls: slice, pairs: Pairs, n_jobs: int) -> _Fitted:
        part = stack[:, :, nulls.start * n_maps : nulls.stop * n_maps]
        target = backend.variograms(pairs, values.T[None], n_jobs)[0]
        variograms = backend.variograms(pairs, part, n_jobs)
        levels, alpha, beta = _regression(variograms, np.tile(target, (nulls.stop - nulls.start, 1)))
        smooth = backend.chosen(part, levels).reshape(-1, n_maps, space.n_units)
        scale, nugget = (np.sqrt(np.abs(each)).reshape(-1, n_maps, 1) for each in (beta, alpha))
        maps = scale * smooth + nugget * draws.noise[nulls]
        if resample:
            np.put_along_axis(maps, np.argsort(maps, axis=-1), np.broadcast_to(ascending, maps.shape), axis=-1)
        else:
            maps -= maps.mean(axis=-1, keepdims=True)
        return _Fitted(maps, *_compared(backend, pairs, maps, target, n_jobs))

    if isinstance(space, Dense):
        return fitted(slice(0, n_nulls), space.pairs, backend.n_jobs)
    singles = [slice(k, k + 1) for k in range(n_nulls)]
    alone = in_threads(lambda null: fitted(null, space.pairs_of(draws.rows[null.start]), 1), singles, backend.n_jobs)
    return _stacked(list(alone))


def _compared(
    backend: Engine, pairs: Pairs, maps: NDArray[np.float64], target: NDArray[np.float64], n_jobs: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Variograms of surrogates (n_nulls, n_maps, n_units), and the target beside each."""
    columns = maps.reshape(-1, maps.shape[-1]).T[None]
    found = backend.variograms(pairs, columns, n_jobs).reshape(*maps.shape[:2], -1)
    return found, np.broadcast_to(target, found.shape)


def _regression(
    variograms: NDArray[np.float64], target: NDArray[np.float64]
) -> tuple[NDArray[np.intp], NDArray[np.float64], NDArray[np.float64]]:
    """``target ≈ alpha + beta variogram`` by least squares, at the level (n_levels, n_maps, n_lags) that fits best."""
    x = variograms - variograms.mean(axis=-1, keepdims=True)
    y = target - target.mean(axis=-1, keepdims=True)
    spread = (x * x).sum(axis=-1)
    beta = np.divide((x * y).sum(axis=-1), spread, out=np.zeros_like(spread), where=spread > 0)
    alpha = target.mean(axis=-1) - beta * variograms.mean(axis=-1)
    levels = np.square(y - beta[..., None] * x).sum(axis=-1).argmin(axis=0)
    at = (levels, np.arange(len(levels)))
    return levels, alpha[at], beta[at]


def _stacked(parts: Sequence[_Fitted]) -> _Fitted:
    return _Fitted(*(np.concatenate([getattr(p, name) for p in parts]) for name in ("maps", "fitted", "target")))


def _result(space: Space, found: _Fitted, *, single: bool) -> VariogramSurrogates:
    apart = np.square(found.fitted - found.target).sum(axis=-1)
    error = np.sqrt(apart / np.square(found.target).sum(axis=-1))
    target = found.target[0] if isinstance(space, Dense) else found.target.mean(axis=0)
    if single:
        return VariogramSurrogates(found.maps[:, 0], error[:, 0], space.lags, target[0], found.fitted[:, 0])
    return VariogramSurrogates(found.maps, error, space.lags, target, found.fitted)


def _warn_of_poor_fit(error: NDArray[np.float64]) -> None:
    medians = np.median(error.reshape(len(error), -1), axis=0)
    poor = np.flatnonzero(medians > POOR_FIT)
    if len(poor):
        which = "" if medians.size == 1 else f" of {len(poor)} of the {medians.size} maps (first map {poor[0]})"
        warnings.warn(
            f"the variograms of the surrogates{which} differ from the observed one by {medians.max():.0%} (median; "
            f"more than {POOR_FIT:.0%} is poor): compare `fitted` with `target`, and try other neighbourhoods, "
            "resample=False, or another null",
            stacklevel=3,
        )


def _brainsmash() -> tuple[Any, Any]:
    try:
        from brainsmash.mapgen.base import Base
        from brainsmash.mapgen.sampled import Sampled as Rows
    except ImportError as error:
        raise InputError(
            "engine='brainsmash' uses brainsmash (GPL-3), which is not installed: pip install 'fctoolbox[brainsmash]'"
        ) from error
    return Base, Rows


def _of_brainsmash(
    classes: tuple[Any, Any],
    space: Space,
    values: NDArray[np.float64],
    n_nulls: int,
    rng: np.random.Generator,
    settings: dict[str, Any],
    n_jobs: int,
) -> _Fitted:
    surrogates = np.empty((n_nulls, len(values), space.n_units))
    seeds = rng.integers(2**31, size=len(values))
    with (
        warnings.catch_warnings(),
        tqdm(total=surrogates.size // space.n_units, desc="variogram nulls", unit="null", delay=2, disable=None) as bar,
    ):
        warnings.simplefilter("ignore", DeprecationWarning)  # brainsmash 0.11 calls np.row_stack
        for which, seed in enumerate(seeds):
            if isinstance(space, Dense):
                theirs = classes[0](values[which], np.asarray(space.distances, np.float64), seed=int(seed), **settings)
            else:
                # It leaves out the first column, where a unit finds itself.
                lengths, indices = space.nearest.distances, space.nearest.indices
                lengths = np.column_stack([np.zeros(space.n_units, lengths.dtype), lengths])
                indices = np.column_stack([np.arange(space.n_units, dtype=np.int32), indices])
                theirs = classes[1](
                    values[which], lengths, indices, ns=space.n_rows, knn=indices.shape[1] - 1, seed=int(seed),
                    **settings,
                )  # fmt: skip
            for start in range(0, n_nulls, _BATCH):
                size = min(_BATCH, n_nulls - start)
                # One surrogate comes back without its first axis.
                surrogates[start : start + size, which] = np.reshape(theirs(n=size), (size, -1))
                bar.update(size)
    backend = Loops(space, n_jobs)
    rows = np.arange(space.n_units) if space.n_rows == 0 else np.sort(rng.choice(space.n_units, space.n_rows, False))
    pairs = space.pairs if isinstance(space, Dense) else space.pairs_of(rows)
    target = backend.variograms(pairs, values.T[None])[0]
    return _Fitted(surrogates, *_compared(backend, pairs, surrogates, target, n_jobs))


def _checked_values(values: ArrayLike, distances: Floats | Nearest) -> NDArray[np.float64]:
    try:
        stack = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InputError("values must be numbers; for the names of communities there is `variogram`") from error
    if stack.ndim not in (1, 2) or stack.size == 0:
        raise InputError(f"values have shape {stack.shape}; they need (n_units,), or (n_maps, n_units) for a stack")
    check_shape(stack.shape[-1], distances, "values")
    if not np.isfinite(stack).all():
        raise InputError(
            f"{np.count_nonzero(~np.isfinite(stack))} of the values are not finite (NaN or infinity); leave those "
            "units out of the map and of the distances"
        )
    if np.abs(stack).max() > _LARGEST:
        raise InputError(
            f"values reach {np.abs(stack).max():g}, and their squares overflow; give them in a larger unit"
        )
    maps = np.atleast_2d(stack)
    if len(constant := np.flatnonzero(np.ptp(maps, axis=1) == 0)):
        which = "" if stack.ndim == 1 else f"; those of {listed(f'map {k}' for k in constant)} are"
        raise InputError(f"the null 'variogram' needs values that are not all equal{which}")
    return stack
