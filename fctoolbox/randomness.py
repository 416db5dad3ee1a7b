"""What `rng` may be; and global generators that stay as they were."""

import operator
import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from fctoolbox.errors import InputError


def generator(rng: int | np.random.Generator | None) -> np.random.Generator:
    """The generator that `rng` stands for: itself, one seeded with it, or (None) one that nobody can repeat.

    Raises
    ------
    InputError
        If it is anything else, such as numpy's older RandomState, or a negative number.
    """
    if isinstance(rng, np.random.Generator):
        return rng
    return np.random.default_rng(None if rng is None else _seed(rng))


@contextmanager
def python_random_kept() -> Iterator[None]:
    """A block after which Python's global generator is as before, even if it ends with an error.

    For libraries that draw from it when they are imported: whoever seeded it shall not notice.
    """
    state = random.getstate()
    try:
        yield
    finally:
        random.setstate(state)


def _seed(rng: object) -> int:
    if not isinstance(rng, bool | np.bool_):
        try:
            seed = operator.index(rng)  # type: ignore[arg-type]
        except TypeError:
            seed = -1
        if seed >= 0:
            return seed
    raise InputError(f"rng is {rng!r}; it must be a whole number of at least 0, a numpy.random.Generator, or None")
