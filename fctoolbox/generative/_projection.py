"""The weights of whatever stands for a projection."""

from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fctoolbox.errors import InputError, listed
from fctoolbox.similarity import units_without_input
from fctoolbox.system import FactoredMatrix, InputProjection, RecurrentSystem, Weights

Projection: TypeAlias = "RecurrentSystem | InputProjection | Weights | ArrayLike"

_MOST_VALUES = 2**27  # of a factored projection that is multiplied out: 1 GB


def weights_of(projection: Projection) -> Weights:
    """The (n_units, n_inputs) weights, in the form that they are kept in."""
    if isinstance(projection, RecurrentSystem):
        return projection.projection.weights
    if isinstance(projection, InputProjection):
        return projection.weights
    return InputProjection(projection).weights  # checks shape and values


def dense_weights_of(projection: Projection) -> NDArray[np.float64]:
    """The same as one array, unless that would be too large."""
    weights = weights_of(projection)
    if weights.shape[0] * weights.shape[1] > _MOST_VALUES:
        raise InputError(
            f"the projection has {weights.shape[0]} × {weights.shape[1]} weights, which are too many to look at one by "
            "one; use a regional system, or choose inputs (InputProjection.select_inputs)"
        )
    if isinstance(weights, FactoredMatrix):
        return np.asarray(weights.left, dtype=np.float64) @ weights.right
    return np.asarray(weights if isinstance(weights, np.ndarray) else weights.toarray(), dtype=np.float64)


def check_driven(weights: Weights) -> None:
    """Refuse units that receive no input."""
    if len(silent := np.flatnonzero(units_without_input(weights))):
        raise InputError(f"units [{listed(silent)}] receive no input; leave them out of the projection")
