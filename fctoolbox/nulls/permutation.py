"""The null that knows no space: values change places at random."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fctoolbox.errors import InputError, check_whole
from fctoolbox.randomness import generator


def permutation(
    values: ArrayLike, *, n_nulls: int, rng: int | np.random.Generator | None = None
) -> NDArray[np.generic]:
    """Random permutations of one value per unit.

    With labels they give random partitions of the same sizes; with ``np.arange(n_units)`` the permutations
    themselves (a Mantel test). Neighbouring units are exchangeable with distant ones under this null, so it
    finds almost every spatially compact partition significant: it asks only "better than any arrangement?".

    Parameters
    ----------
    values : (n_units,) array
    n_nulls : int
    rng : int, Generator or None

    Returns
    -------
    (n_nulls, n_units) array

    Raises
    ------
    InputError
        If the values are not one for each unit, or `n_nulls` or `rng` cannot be used.

    References
    ----------
    Mantel 1967, Cancer Research 27:209.
    """
    values = np.asarray(values)
    if values.ndim != 1:
        raise InputError(f"values have shape {values.shape}; there must be one for each unit, (n_units,)")
    check_whole("n_nulls", n_nulls, 1)
    return generator(rng).permuted(np.tile(values, (n_nulls, 1)), axis=1)
