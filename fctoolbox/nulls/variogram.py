"""The null that keeps how values vary with distance."""

import warnings
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from tqdm import tqdm

from fctoolbox.errors import InputError, check_whole
from fctoolbox.randomness import generator
from fctoolbox.system import Floats

_MIN_UNITS = 15
_BATCH = 10
# Defaults of brainsmash, beyond which it divides 0 by 0 and hands back one map again and again.
_SMALLEST_NEIGHBOURHOOD = 0.1  # of the units
_FITTED_PERCENT = 25


def variogram(
    values: ArrayLike, *, distances: Floats, n_nulls: int, rng: int | np.random.Generator | None = None
) -> NDArray[np.float64]:
    """Surrogates with the variogram of the values, by brainsmash; each holds the same values, rearranged.

    .. warning::
       For **partitions** this is a weak null. A variogram is a property of *numbers*, and community labels are
       *names*: which community is called 2 changes the surrogates (in one simulation the mean induced Q of
       the nulls went from 0.118 to 0.150 with the order of the same labels), and the surrogates' communities
       are far less compact than the observed ones, so that a partition which is merely compact comes out as
       significant. It is offered because the literature uses it; a contiguity-preserving null is the better
       question for partitions.

    Parameters
    ----------
    values : (n_units,) array
        Numbers; for labels see the warning.
    distances : (n_units, n_units) array
        mm.
    n_nulls : int
    rng : int, Generator or None

    Returns
    -------
    (n_nulls, n_units) array

    Raises
    ------
    InputError
        If brainsmash is not installed, all values are equal, there are too few units, too many of them lie at one
        place, or the shortest distances are all equal (a regular grid).

    References
    ----------
    Burt et al. 2020, NeuroImage 220:117038.
    """
    Base = _brainsmash()
    values = np.asarray(values, dtype=np.float64)
    n_units = len(values)
    if distances.shape != (n_units, n_units):
        raise InputError(f"distances have shape {distances.shape}, but there are {n_units} values")
    check_variogram(distances)
    check_whole("n_nulls", n_nulls, 1)
    if np.ptp(values) == 0:
        raise InputError("the null 'variogram' needs values that are not all equal")
    seed = int(generator(rng).integers(2**31))
    surrogates = np.empty((n_nulls, n_units))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # brainsmash 0.11 calls np.row_stack
        base = Base(
            values,
            np.asarray(distances, dtype=np.float64),
            resample=True,
            seed=seed,
        )
        with tqdm(total=n_nulls, desc="variogram nulls", unit="null", delay=2, disable=None) as bar:
            for start in range(0, n_nulls, _BATCH):
                size = min(_BATCH, n_nulls - start)
                # One surrogate comes back without its first axis.
                surrogates[start : start + size] = np.reshape(base(n=size), (size, n_units))
                bar.update(size)
    return surrogates


def check_variogram(distances: Floats) -> None:
    """Refuse what a variogram cannot be fitted to; cheap, so that it comes before anything that is not.

    Parameters
    ----------
    distances : (n_units, n_units) array
        mm.

    Raises
    ------
    InputError
        If brainsmash is not installed, there are too few units, too many of them lie at one place, or the shortest
        distances are all equal.
    """
    _brainsmash()
    n_units = len(distances)
    if n_units < _MIN_UNITS:
        raise InputError(
            f"the null 'variogram' needs at least {_MIN_UNITS} units to fit a variogram, and there are {n_units}"
        )
    n_nearest = int(_SMALLEST_NEIGHBOURHOOD * n_units)
    crowded = np.flatnonzero(np.partition(distances, n_nearest, axis=1)[:, n_nearest] == 0)
    if len(crowded):
        raise InputError(
            f"the null 'variogram' averages over the {n_nearest} nearest neighbours of each unit, and those of "
            f"{len(crowded)} units lie at the same place (the first is unit {crowded[0]}, counted from 0)"
        )
    lengths = distances[np.triu_indices(n_units, 1)]
    shortest = lengths[lengths < np.percentile(lengths, _FITTED_PERCENT)]
    if not len(shortest) or np.ptp(shortest) == 0:
        raise InputError(
            f"the null 'variogram' is fitted to the shortest {_FITTED_PERCENT} % of the distances, which are all "
            f"{lengths.min():g} here: a variogram needs several"
        )


def _brainsmash() -> Any:
    try:
        from brainsmash.mapgen.base import Base
    except ImportError as error:
        raise InputError(
            "the null 'variogram' uses brainsmash (GPL-3), which is not installed: pip install 'fctoolbox[brainsmash]'"
        ) from error
    return Base
