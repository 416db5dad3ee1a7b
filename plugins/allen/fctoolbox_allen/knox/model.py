"""The model's projection between chosen sources and units: two thin factors, never a voxel-by-voxel matrix."""

import numpy as np
from numpy.typing import NDArray

from fctoolbox.errors import InputError
from fctoolbox.system import FactoredMatrix
from fctoolbox_allen.knox.store import Store

_BLOCK_ROWS = 4096


def factored_projection(
    store: Store,
    sources: NDArray[np.integer],
    targets: NDArray[np.integer],
    unit_of_target: NDArray[np.integer],
    n_units: int,
) -> FactoredMatrix:
    """From source voxels onto units, each the mean of its target voxels.

    With ``weights @ nodes`` from source to target, the strength of input j onto unit i is the mean over the unit's
    targets t of ``weights[j] @ nodes[:, t]``: left is the mean of the columns of nodes, right the rows of weights,
    turned over. Experiments that none of the sources has weight in, or that reach none of the targets, are left out:
    of 428 often a tenth is left.

    Parameters
    ----------
    store : Store
    sources : (n_inputs,) integers
        Rows of the store's weights.
    targets : (n_targets,) integers
        Columns of the store's nodes.
    unit_of_target : (n_targets,) integers
        The unit that each of them belongs to.
    n_units : int

    Returns
    -------
    FactoredMatrix
        ``left`` (n_units, k) and ``right`` (k, n_inputs), float32.

    Raises
    ------
    InputError
        If there is no source, a unit has no target, or nothing connects them.
    """
    counts = np.bincount(unit_of_target, minlength=n_units)
    if not len(sources) or not counts.all():
        raise InputError("a projection needs at least one source voxel, and one target voxel for each unit")
    right = np.empty((store.weights.shape[1], len(sources)), dtype=np.float32)
    for start in range(0, len(sources), _BLOCK_ROWS):
        block = slice(start, start + _BLOCK_ROWS)
        right[:, block] = store.weights[sources[block]].T
    left = np.zeros((n_units, len(right)), dtype=np.float32)
    for experiment in np.flatnonzero(right.any(axis=1)):
        values = store.nodes[experiment][targets]
        left[:, experiment] = np.bincount(unit_of_target, weights=values, minlength=n_units) / counts
    used = left.any(axis=0)
    if not used.any():
        raise InputError("none of the sources projects to any of the targets in this model")
    return FactoredMatrix(left[:, used], right[used])
