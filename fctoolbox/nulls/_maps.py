"""Partitions as maps, one for each community."""

from typing import Any

import numpy as np
from numpy.typing import NDArray


def indicators(labels: NDArray[Any]) -> tuple[NDArray[Any], NDArray[np.float64]]:
    """The communities' names and their maps (1 inside, 0 outside), in the order of their first units.

    So that what is drawn for them does not depend on what they are called.
    """
    names, first, alphabetical = np.unique(labels, return_index=True, return_inverse=True)
    by_first = np.argsort(first)
    communities = np.argsort(by_first)[alphabetical]
    return names[by_first], (communities == np.arange(len(names))[:, None]).astype(np.float64)
