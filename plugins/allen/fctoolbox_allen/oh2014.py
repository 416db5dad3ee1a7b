"""The mesoscale connectome of the mouse brain (Oh et al. 2014, Nature 508:207-214)."""

import math
import warnings
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fctoolbox.errors import InputError, listed, suggestion

# Of a projection onto the isocortex, this division is no input: its weights are the areas' own recurrent connections.
RECURRENT = "Isocortex"

_DIVISIONS_SHEET = "Voxel_Count_295_Structures"
_DIVISIONS_COLUMNS = ("Acronym", "Major Region", "Ontology order")
# What the p-value sheets hold where the weight is 0 and no p-value exists.
_NO_VALUE = "#NUM!"


@dataclass(frozen=True, eq=False)
class Connectome:
    """Projections between regions of one hemisphere.

    Parameters
    ----------
    regions : tuple of str
        Acronyms.
    weights : (n_regions, n_regions) array
        Normalised connection strength; ``weights[i, j]`` is **from region j onto region i**.
    """

    regions: tuple[str, ...]
    weights: NDArray[np.float64]


@dataclass(frozen=True)
class Division:
    """A major division of the brain, as the paper names it, and its regions in ontology order."""

    name: str
    regions: tuple[str, ...]


def read_connectome(path: Path, *, p_value: float | None = None) -> Connectome:
    """The ipsilateral connectome.

    The file's rows are the sources (injected) and its columns the targets: here it is transposed, so that
    `Connectome.weights` runs from column to row like every matrix of fctoolbox.

    Parameters
    ----------
    path : Path
        Supplementary table 3 (.xlsx).
    p_value : float, optional
        Weights whose p-value in the paper's linear model is larger become 0. All are kept when left out.

    Returns
    -------
    Connectome

    Raises
    ------
    InputError
        If the file is not that table, or `p_value` not a probability.
    """
    if p_value is not None and (isinstance(p_value, bool) or not _is_number(p_value) or not 0 < p_value <= 1):
        raise InputError(f"p_value is {p_value!r}; it must lie between 0 and 1, or be left out to keep all weights")
    regions, from_row_to_column = _read_square(path, "W_ipsi")
    if not (np.isfinite(from_row_to_column) & (from_row_to_column >= 0)).all():
        row, column = np.argwhere(~(from_row_to_column >= 0))[0]
        raise InputError(
            f"{path.name}, sheet W_ipsi: the weight from {regions[row]} to {regions[column]} is missing or "
            "negative; a connection strength ≥ 0 was expected"
        )
    if p_value is not None:
        named, p_values = _read_square(path, "PValue_ipsi")
        if named != regions:
            raise InputError(f"{path.name}: sheets W_ipsi and PValue_ipsi name different regions, or in another order")
        # '#NUM!' has become NaN; it stands where the weight is 0, and nowhere else.
        unknown = np.argwhere(np.isnan(p_values) & (from_row_to_column > 0))
        if unknown.size:
            row, column = unknown[0]
            raise InputError(
                f"{path.name}, sheet PValue_ipsi: the weight from {regions[row]} to {regions[column]} has no p-value; "
                "leave p_value out to keep all weights"
            )
        from_row_to_column = np.where(p_values <= p_value, from_row_to_column, 0.0)
    return Connectome(regions, from_row_to_column.T)


def read_divisions(path: Path) -> dict[str, Division]:
    """The paper's divisions of the brain, by name.

    Parameters
    ----------
    path : Path
        Supplementary table 1 (.xlsx), "nature13186-s2".

    Raises
    ------
    InputError
        If the file is not that table.
    """
    header, *rows = _read_sheet(path, _DIVISIONS_SHEET)
    missing = [column for column in _DIVISIONS_COLUMNS if column not in header]
    if missing:
        raise InputError(f"{path.name}, sheet {_DIVISIONS_SHEET}: no column {listed(missing)}. Is it the right file?")
    acronym, division, order = (header.index(column) for column in _DIVISIONS_COLUMNS)
    members: dict[str, list[str]] = {}
    for row in sorted(rows, key=lambda row: _ontology_order(row[order], path)):
        # One acronym ('SUM ') has a trailing blank in the published file.
        members.setdefault(str(row[division]).strip(), []).append(str(row[acronym]).strip())
    return {name: Division(name, tuple(regions)) for name, regions in members.items()}


def find_division(divisions: dict[str, Division], name: str, connectome: Connectome) -> Division:
    """The division of that name, with only those of its regions that the connectome holds.

    Raises
    ------
    InputError
        If there is no such division, or the connectome holds none of its regions.
    """
    if name not in divisions:
        known = sorted(divisions)
        raise InputError(
            f"sources is {name!r}, but there is no such division.{suggestion(str(name), known)} "
            f"There are: {', '.join(known)}."
        )
    regions = tuple(region for region in divisions[name].regions if region in connectome.regions)
    if not regions:
        raise InputError(f"none of the regions of {name} is in the connectome ({listed(divisions[name].regions)})")
    return Division(name, regions)


def input_divisions(divisions: dict[str, Division], connectome: Connectome) -> tuple[Division, ...]:
    """All divisions that project into the isocortex from outside, those of which the connectome holds a region.

    Raises
    ------
    InputError
        If the connectome holds no region of any.
    """
    found = tuple(
        find_division(divisions, name, connectome)
        for name, division in divisions.items()
        if name != RECURRENT and set(division.regions) & set(connectome.regions)
    )
    if not found:
        raise InputError(f"the connectome holds no region of any division: {listed(divisions)}")
    return found


def _read_square(path: Path, sheet: str) -> tuple[tuple[str, ...], NDArray[np.float64]]:
    """Names and values of a square sheet with names in its first row and column; '#NUM!' becomes NaN."""
    header, *rows = _read_sheet(path, sheet)
    regions = tuple(str(name).strip() for name in header[1:])
    named = tuple(str(row[0]).strip() for row in rows)
    if named != regions:
        differ = next((i for i, (a, b) in enumerate(zip(named, regions, strict=False)) if a != b), None)
        where = "" if differ is None else f" (first at {named[differ]} and {regions[differ]})"
        raise InputError(
            f"{path.name}, sheet {sheet}: the {len(named)} names of its rows differ from the {len(regions)} "
            f"of its columns{where}. The same regions in the same order were expected."
        )
    values = np.array(
        [
            [_number(value, path, sheet, row[0], column) for value, column in zip(row[1:], regions, strict=True)]
            for row in rows
        ]
    )
    return regions, values


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and math.isfinite(value)


def _number(value: Any, path: Path, sheet: str, row: Any, column: str) -> float:
    if value == _NO_VALUE:
        return math.nan
    if not _is_number(value):
        raise InputError(
            f"{path.name}, sheet {sheet}: row {row}, column {column} holds {value!r}; a number was expected"
        )
    return float(value)


def _ontology_order(value: Any, path: Path) -> int:
    if not _is_number(value):
        raise InputError(
            f"{path.name}, sheet {_DIVISIONS_SHEET}: 'Ontology order' holds {value!r}; a number was expected"
        )
    return int(value)


def _read_sheet(path: Path, sheet: str) -> list[tuple[Any, ...]]:
    """The rows of a sheet, cut to the width of its header; empty rows are left out."""
    import openpyxl
    from openpyxl.utils.exceptions import InvalidFileException

    # openpyxl warns of headers for the printer and extensions of Excel, which hold no data.
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=UserWarning, module="openpyxl")
        try:
            book = openpyxl.load_workbook(path, read_only=True, data_only=True)
        except (InvalidFileException, zipfile.BadZipFile, KeyError) as error:
            raise InputError(f"{path} is not an Excel workbook (.xlsx): {error}") from error
        try:
            if sheet not in book.sheetnames:
                raise InputError(
                    f"{path.name} has no sheet '{sheet}'.{suggestion(sheet, book.sheetnames)} "
                    f"It has: {', '.join(book.sheetnames)}. Is it the right file?"
                )
            rows = [row for row in book[sheet].iter_rows(values_only=True) if any(value is not None for value in row)]
        finally:
            book.close()
    if len(rows) < 2:
        raise InputError(f"{path.name}, sheet {sheet}: it holds no table")
    width = max(i for i, value in enumerate(rows[0]) if value is not None) + 1
    return [(*row, *[None] * width)[:width] for row in rows]
