"""The null that keeps how values vary with distance."""

import warnings

import numpy as np
from numpy.typing import ArrayLike, NDArray
from tqdm import tqdm

from fctoolbox.errors import InputError
from fctoolbox.system import Floats

_MIN_UNITS = 15
_BATCH = 10


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
        If brainsmash is not installed, there are too few units, or all values are equal.

    References
    ----------
    Burt et al. 2020, NeuroImage 220:117038.
    """
    try:
        from brainsmash.mapgen.base import Base
    except ImportError as error:
        raise InputError(
            "the null 'variogram' uses brainsmash (GPL-3), which is not installed: pip install 'fctoolbox[brainsmash]'"
        ) from error
    values = np.asarray(values, dtype=np.float64)
    n_units = len(values)
    if distances.shape != (n_units, n_units):
        raise InputError(f"distances have shape {distances.shape}, but there are {n_units} values")
    if n_units < _MIN_UNITS:
        raise InputError(
            f"the null 'variogram' needs at least {_MIN_UNITS} units to fit a variogram, and there are {n_units}"
        )
    if n_nulls < 1 or np.ptp(values) == 0:
        raise InputError("the null 'variogram' needs n_nulls of at least 1, and values that are not all equal")
    generator = np.random.default_rng(rng)
    surrogates = np.empty((n_nulls, n_units))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # brainsmash 0.11 calls np.row_stack
        base = Base(
            values,
            np.asarray(distances, dtype=np.float64),
            resample=True,
            seed=int(generator.integers(2**31)),
        )
        with tqdm(total=n_nulls, desc="variogram nulls", unit="null", disable=None) as bar:
            for start in range(0, n_nulls, _BATCH):
                size = min(_BATCH, n_nulls - start)
                # One surrogate comes back without its first axis.
                surrogates[start : start + size] = np.reshape(base(n=size), (size, n_units))
                bar.update(size)
    return surrogates
