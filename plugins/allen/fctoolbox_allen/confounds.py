"""What is regressed out of a run, and which of its volumes are left out: tables with a row for each volume."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fctoolbox.errors import InputError, blamed_on, counted, listed, suggestion

# sosfiltfilt of a band-pass of order 5 (nilearn's) pads each end with 33 samples of the series.
LEAST_TIMES = 34
_TRUE, _FALSE = ("1", "1.0", "true"), ("0", "0.0", "false")


@dataclass(frozen=True, eq=False)
class Confounds:
    """A table with a name for each column, and a row for each volume.

    Parameters
    ----------
    path : Path
    header : list of str
    rows : list of list of str
    """

    path: Path
    header: list[str]
    rows: list[list[str]]

    def column(self, name: str, option: str) -> list[str]:
        """The cells of the column that an option names."""
        if name not in self.header:
            raise InputError(
                f"{self.path} has no column '{name}'.{suggestion(name, self.header)} It has: {listed(self.header)}. "
                f"Name one of these with {option}"
            )
        return [row[self.header.index(name)] for row in self.rows]


def read_confounds(path: Path, n_times: int, run: str) -> Confounds:
    """Read a run's confounds.

    Raises
    ------
    InputError
        If it is no table, or has another length than the run.
    """
    table = _read_columns(path)
    if len(table.rows) != n_times:
        raise InputError(
            f"{path} has {counted(len(table.rows), 'row')} below its header, but {run} has "
            f"{counted(n_times, 'volume')}: one row for each volume is needed. Is it the table of another run, or from "
            "before volumes were cut off?"
        )
    return table


def _read_columns(path: Path) -> Confounds:
    with blamed_on(f"{path} cannot be read"):
        try:
            text = path.read_text(encoding="utf-8-sig")
        except UnicodeDecodeError as error:
            raise InputError(f"{path} is no text in UTF-8; a table (TSV or CSV) is needed") from error
    lines = [line for line in text.splitlines() if line.strip()]
    if not lines:
        raise InputError(f"{path} is empty")
    delimiter = "\t" if "\t" in lines[0] else ","
    header, *rows = ([cell.strip() for cell in row] for row in csv.reader(lines, delimiter=delimiter))
    if all(_number(cell) is not None for cell in header):
        raise InputError(f"{path} has no header: its first line must name the columns")
    for i, row in enumerate(rows):
        if len(row) != len(header):
            raise InputError(
                f"{path}, row {i + 1} has {counted(len(row), 'cell')}, but its header has {len(header)}; every row "
                "needs a cell for each column"
            )
    return Confounds(path, header, rows)


def _number(cell: str) -> float | None:
    try:
        value = float(cell)
    except ValueError:
        return None
    return value if np.isfinite(value) else None


def regressors_of(
    table: Confounds | None,
    columns: Sequence[str] | None,
    scrub: Any,
    kept: NDArray[np.int64] | None,
    run: str,
) -> NDArray[np.float64] | None:
    """The chosen columns as numbers, (n_times, n_regressors); None where there are none.

    Raises
    ------
    InputError
        If a cell is no finite number, or they leave nothing of the run.
    """
    if table is None:
        return None
    chosen = list(columns) if columns is not None else [name for name in table.header if name != scrub]
    values = np.empty((len(table.rows), len(chosen)))
    for j, name in enumerate(chosen):
        for i, cell in enumerate(table.column(name, "columns")):
            value = _number(cell)
            if value is None:
                raise InputError(
                    f"{table.path}, row {i + 1}, column '{name}' is '{cell}', but a finite number is needed. Choose "
                    "other columns, or fill it in (the first value of a derivative is usually set to 0)"
                )
            values[i, j] = value
    n_times = len(values) if kept is None else kept.size
    if len(chosen) + 3 > n_times:
        raise InputError(
            f"{run}: {table.path} has {counted(len(chosen), 'confound')} to regress out of "
            f"{counted(n_times, 'volume')}, and at most {max(n_times - 3, 0)} leave something; choose fewer with "
            "columns"
        )
    return values if chosen else None


def kept_volumes(scrub: Any, table: Confounds | None, n_times: int, run: str) -> NDArray[np.int64] | None:
    """The numbers of the volumes that stay; None for all. See `fctoolbox_allen.bold.read_runs`.

    Raises
    ------
    InputError
        If the list is not one for this run, or leaves too little of it.
    """
    if scrub is None:
        return None
    what = f"scrub of {run}"
    if isinstance(scrub, str) and table is not None:
        out = _flags(table, scrub)
    elif isinstance(scrub, str | Path):
        what = str(scrub)
        out = _listed_volumes(_read_columns(Path(scrub)), n_times, run)
    else:
        given = np.asarray(scrub)
        if given.dtype == bool:
            out = given
        elif given.size == 0 or given.dtype.kind in "iu":
            out = _from_numbers(given.astype(np.int64), n_times, what, run)
        else:
            raise InputError(f"{what} holds {given.dtype} values; give bools, or numbers of volumes")
    if out.shape != (n_times,):
        raise InputError(
            f"{what} has {counted(out.size, 'entry', 'entries')}, but {run} has {counted(n_times, 'volume')}: one for "
            "each volume is needed (1 or true leaves it out)"
        )
    if not out.any():
        return None
    kept = np.flatnonzero(~out)
    if kept.size < LEAST_TIMES:
        raise InputError(
            f"{run}: scrubbing leaves {kept.size} of {counted(n_times, 'volume')}; at least {LEAST_TIMES} are needed. "
            "1 leaves a volume out, and 0 keeps it: is it the other way round?"
        )
    return kept


def _listed_volumes(table: Confounds, n_times: int, run: str) -> NDArray[np.bool_]:
    """The volumes that a table of its own says are to be left out."""
    if "scrub" in table.header:
        return _flags(table, "scrub")
    if "frame" not in table.header:
        raise InputError(
            f"{table.path} has in its header: {listed(table.header)}; to scrub {run} it needs a column 'frame' (the "
            "numbers, from 0, of the volumes to be left out) or 'scrub' (1 for these, 0 for others)"
        )
    cells = table.column("frame", "scrub")
    frames = [_number(cell) for cell in cells]
    odd = next((i for i, frame in enumerate(frames) if frame is None or frame != int(frame)), None)
    if odd is not None:
        raise InputError(
            f"{table.path}, row {odd + 1}: the frame is '{cells[odd]}'; the number of a volume is needed, counted from "
            "0"
        )
    return _from_numbers(np.array(frames, dtype=float).astype(np.int64), n_times, str(table.path), run)


def _flags(table: Confounds, column: str) -> NDArray[np.bool_]:
    cells = [cell.lower() for cell in table.column(column, "scrub")]
    odd = next((i for i, cell in enumerate(cells) if cell not in _TRUE + _FALSE), None)
    if odd is not None:
        raise InputError(
            f"{table.path}, row {odd + 1}, column '{column}' is '{cells[odd]}'; 1 (leave this volume out) or 0 is "
            "needed"
        )
    return np.array([cell in _TRUE for cell in cells])


def _from_numbers(frames: NDArray[np.int64], n_times: int, what: str, run: str) -> NDArray[np.bool_]:
    strange = frames[(frames < 0) | (frames >= n_times)]
    if strange.size:
        raise InputError(
            f"{what} names volume {strange[0]}, but the volumes of {run} are 0 … {n_times - 1}, counted from 0. Is it "
            "the list of another run, or does it count from 1?"
        )
    out = np.zeros(n_times, bool)
    out[frames] = True
    return out
