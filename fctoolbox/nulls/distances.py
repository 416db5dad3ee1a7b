"""How far apart the units are."""

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import cdist

from fctoolbox.errors import InputError
from fctoolbox.system import Floats, Geometry


def euclidean_distances(positions: Floats) -> NDArray[np.float64]:
    """Straight-line distance between every two units.

    Parameters
    ----------
    positions : (n_units, 3) array
        mm.

    Returns
    -------
    (n_units, n_units) array
        mm.
    """
    positions = np.asarray(positions, dtype=np.float64)
    return np.asarray(cdist(positions, positions))


def distances_of(geometry: Geometry | None, system_name: str) -> Floats:
    """The distances that a geometry gives, or those between its positions.

    Raises
    ------
    InputError
        If it has neither.
    """
    if geometry is not None and geometry.distances is not None:
        return geometry.distances
    if geometry is not None and geometry.positions is not None:
        return euclidean_distances(geometry.positions)
    raise InputError(
        f"a spatial null needs to know where the units are, and {system_name!r} has neither positions nor distances; "
        "add them (--positions FILE or --distances FILE), or use the null 'permutation'"
    )
