"""The ENIGMA Toolbox's text files: names of areas, connectivity between them, the area of each vertex."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from fctoolbox.errors import InputError, listed, suggestion

_Number = TypeVar("_Number", np.float64, np.int64)

_N_SUBCORTICAL = 14  # structures of ENIGMA's subcortical files


@dataclass(frozen=True, eq=False)
class AreaConnectivity:
    """Functional connectivity between named areas.

    Parameters
    ----------
    areas : tuple of str
    fisher_z : (n_areas, n_areas) array
        Group mean of Fisher z; its publishers set negative values, and the diagonal, to zero.
    """

    areas: tuple[str, ...]
    fisher_z: NDArray[np.float64]

    def between(self, areas: Sequence[str]) -> NDArray[np.float64]:
        """The connectivity between `areas`, found by name, in the order asked for.

        Raises
        ------
        InputError
            If an area is not among them.
        """
        row = {area: index for index, area in enumerate(self.areas)}
        missing = [area for area in areas if area not in row]
        if missing:
            raise InputError(
                f"the connectivity has no area {listed(missing)}.{suggestion(missing[0], self.areas)} It has "
                f"{len(self.areas)}: {listed(self.areas)}"
            )
        index = [row[area] for area in areas]
        return self.fisher_z[np.ix_(index, index)]


def read_connectivity(matrix: Path, names: Path) -> AreaConnectivity:
    """ENIGMA's ``funcMatrix_ctx`` with its ``funcLabels_ctx``.

    Parameters
    ----------
    matrix : Path
        CSV without header, (n_areas, n_areas).
    names : Path
        One line, names separated by commas.

    Returns
    -------
    AreaConnectivity

    Raises
    ------
    InputError
        If matrix and names do not belong together.
    """
    areas = read_names(names)
    values = _read_numbers(matrix, np.float64)
    n_areas = len(areas)
    if values.shape != (n_areas, n_areas):
        subcortical = values.shape == (_N_SUBCORTICAL, n_areas + _N_SUBCORTICAL)
        raise InputError(
            f"{matrix} has shape {values.shape}, but {names.name} names {n_areas} areas: expected "
            f"({n_areas}, {n_areas})."
            + (
                f" This is a subcortical file: {_N_SUBCORTICAL} structures onto {n_areas} areas and then "
                f"onto the {_N_SUBCORTICAL} structures themselves. Use the one with '_ctx_' in its name."
                if subcortical
                else ""
            )
        )
    return AreaConnectivity(areas, values)


def read_names(path: Path) -> tuple[str, ...]:
    """The names in a file of one line, separated by commas.

    Raises
    ------
    InputError
        If a name is empty or repeats.
    """
    names = tuple(name.strip() for name in path.read_text(encoding="utf-8").strip().split(","))
    if not all(names) or len(set(names)) < len(names):
        twice = sorted({name for name in names if names.count(name) > 1})
        raise InputError(
            f"{path} needs names that are neither empty nor repeated; these are: {listed(map(repr, twice))}"
        )
    return names


def read_area_of_vertex(path: Path, n_areas: int) -> dict[str, NDArray[np.int64]]:
    """The area of each vertex of a bilateral surface.

    Parameters
    ----------
    path : Path
        One integer per line, left hemisphere first: 0 where there is no area (the medial wall), else i for
        the i-th area, counted from 1.
    n_areas : int

    Returns
    -------
    dict of (n_vertices,) integers
        For ``"left"`` and ``"right"``: index of the area, -1 where there is none.

    Raises
    ------
    InputError
        If a number is not that of an area, or the two halves cannot be told apart.
    """
    # int64: area 128 and above would wrap around in int8
    numbers = _read_numbers(path, np.int64).ravel()
    if numbers.size % 2:
        raise InputError(
            f"{path} has {numbers.size} lines; two hemispheres of equally many vertices make an even number"
        )
    wrong = np.flatnonzero((numbers < 0) | (numbers > n_areas))
    if wrong.size:
        raise InputError(
            f"{path}, line {wrong[0] + 1}: area {numbers[wrong[0]]} does not exist; there are {n_areas}, and 0 for none"
        )
    left, right = np.split(numbers - 1, 2)
    return {"left": left, "right": right}


def _read_numbers(path: Path, kind: type[_Number]) -> NDArray[_Number]:
    try:
        return np.loadtxt(path, delimiter=",", dtype=kind, ndmin=2)
    except ValueError as error:
        raise InputError(f"{path} is not a table of numbers separated by commas: {error}") from error
