"""A person's own matrices: read from the files that laboratories have, matched by the names of the units."""

import csv
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fctoolbox.data import sha256_of
from fctoolbox.errors import InputError, listed, nearest, suggestion
from fctoolbox.system import (
    FileRecord,
    Geometry,
    InputProjection,
    Provenance,
    RecurrentActivity,
    RecurrentSystem,
    Scale,
    check_finite,
)

# Words for "there is no number here"; each is refused, with its place, instead of becoming NaN.
_MISSING = {
    "",
    "na",
    "n/a",
    "nan",
    "null",
    "none",
    "#num!",
    "#n/a",
    "inf",
    "-inf",
    "+inf",
    "infinity",
    "-infinity",
}
_UNIT_HEADERS = ("unit", "units", "region", "name", "area", "roi")
_LABEL_HEADERS = ("label", "labels", "community", "module", "cluster")
_BINARY = re.compile(r"(?P<file>.+\.(?:npz|mat|xlsx)):(?P<key>[^/\\]+)", re.IGNORECASE)


@dataclass(frozen=True, eq=False)
class Table:
    """A matrix from a file, with the names of its rows and columns where the file has them.

    Parameters
    ----------
    values : (n_rows, n_columns) array
    rows, columns : sequence of str, or None
    path : Path
    """

    values: NDArray[np.float64]
    rows: tuple[str, ...] | None
    columns: tuple[str, ...] | None
    path: Path

    @property
    def transposed(self) -> "Table":
        """Rows as columns."""
        return Table(self.values.T, self.columns, self.rows, self.path)


def read_table(path: str | Path) -> Table:
    """Read a matrix from CSV, TSV, NPY, NPZ, MAT or XLSX.

    CSV and TSV may have a header row and a first column of names. Where an NPZ, MAT or XLSX file holds several
    matrices (sheets), the one wanted is named after a colon: ``file.npz:T``.

    Parameters
    ----------
    path : str or Path

    Returns
    -------
    Table

    Raises
    ------
    InputError
        If there is no such file, it holds no single matrix, or a cell is not a number; with file, row and column.
    """
    match = _BINARY.fullmatch(str(path))
    file, key = (Path(match["file"]), match["key"]) if match and not Path(path).exists() else (Path(path), "")
    if not file.is_file():
        near = (
            nearest(file.name, [path.name for path in file.parent.iterdir()]) if file.parent.is_dir() else ""
        )
        raise InputError(
            f"there is no file {file}." + (f" Did you mean {file.parent / near}?" if near else "")
        )
    readers: dict[str, Callable[[Path, str], Table]] = {
        ".csv": _read_text,
        ".tsv": _read_text,
        ".txt": _read_text,
        ".npy": _read_npy,
        ".npz": _read_npz,
        ".mat": _read_mat,
        ".xlsx": _read_xlsx,
    }
    if file.suffix.lower() not in readers:
        raise InputError(f"{file} is of a kind that is not read; use one of {', '.join(readers)}")
    table = readers[file.suffix.lower()](file, key)
    for axis, names in (("rows", table.rows), ("columns", table.columns)):
        if names is not None and len(set(names)) < len(names):
            twice = [name for name in dict.fromkeys(names) if names.count(name) > 1]
            raise InputError(
                f"{file}: the names of its {axis} must be unique, but these repeat: {listed(twice)}"
            )
    return table


def read_system(
    projection: str | Path,
    *,
    connectivity: str | Path | None = None,
    timeseries: str | Path | None = None,
    positions: str | Path | None = None,
    distances: str | Path | None = None,
    fisher_z: bool = False,
    transposed: bool = False,
    common: bool = False,
    sampling_interval: float | None = None,
    name: str = "",
) -> RecurrentSystem:
    """A system from a person's own files.

    Units are matched by name, in any order; where a file has no names, by position. The projection's order of units
    is kept.

    Parameters
    ----------
    projection : path
        (n_units, n_inputs): rows are the units that receive, columns the inputs that send.
    connectivity : path, optional
        (n_units, n_units).
    timeseries : path, optional
        (n_times, n_units): time runs along the rows.
    positions : path, optional
        (n_units, 3), in mm.
    distances : path, optional
        (n_units, n_units), in mm.
    fisher_z : bool
        The connectivity holds Fisher z, not r.
    transposed : bool
        The projection's rows are the inputs.
    common : bool
        Analyse the units that all files share, instead of refusing files that disagree.
    sampling_interval : float, optional
        Seconds between two rows of the timeseries.
    name : str
        Of the system; the projection's file name when left out.

    Returns
    -------
    RecurrentSystem

    Raises
    ------
    InputError
        Names the file, the row and the column, and says what to do.
    """
    if (connectivity is None) == (timeseries is None):
        raise InputError("give the activity as one of a connectivity file and a timeseries file")
    tables = {"projection": read_table(projection)}
    if transposed:
        tables["projection"] = tables["projection"].transposed
    for what, path in (
        ("connectivity", connectivity),
        ("timeseries", timeseries),
        ("positions", positions),
        ("distances", distances),
    ):
        if path is not None:
            tables[what] = read_table(path)
    for what in ("connectivity", "distances"):
        if what in tables:
            tables[what] = _square(tables[what], what)
    if "timeseries" in tables:  # units along axis 0, like everywhere else, until all are matched
        tables["timeseries"] = tables["timeseries"].transposed
    matched, units, notes = _match(tables, common=common)
    inputs = tables["projection"].columns or ()
    geometry = None
    if "positions" in matched or "distances" in matched:
        geometry = Geometry(positions=matched.get("positions"), distances=matched.get("distances"))
    scale: Scale = "fisher-z" if fisher_z else "pearson-r"
    return RecurrentSystem(
        name=name or tables["projection"].path.stem,
        units=units,
        projection=InputProjection(matched["projection"], inputs),
        activity=RecurrentActivity(
            timeseries=None if "timeseries" not in matched else matched["timeseries"].T,
            connectivity=matched.get("connectivity"),
            scale=scale,
            sampling_interval=sampling_interval,
        ),
        geometry=geometry,
        provenance=Provenance(
            citation="your own data",
            license="not stated",
            files=tuple(FileRecord(table.path.name, sha256_of(table.path)) for table in tables.values()),
            notes=notes,
        ),
    )


def read_connectivity(path: str | Path) -> tuple[NDArray[np.float64], tuple[str, ...] | None]:
    """A square matrix from a file, rows and columns in one order, and the names of its units (None without).

    Raises
    ------
    InputError
        See `read_table`; also if it is not square, or rows and columns name different units.
    """
    table = _square(read_table(path), "connectivity")
    return table.values, table.rows


def read_labels(path: str | Path, units: Sequence[str] | None, n_units: int) -> NDArray[np.str_]:
    """The label of each unit, from a CSV or TSV with a unit and a label column.

    Parameters
    ----------
    path : str or Path
    units : sequence of str or None
        Names of the units, in the order wanted; without them, the file's own order is taken.
    n_units : int

    Returns
    -------
    (n_units,) array of str

    Raises
    ------
    InputError
        If a unit is missing, unknown or named twice, or a label is empty.
    """
    file = Path(path)
    rows = _text_rows(file)
    head = [cell.strip().lower() for cell in rows[0]]
    unit_column = next((head.index(word) for word in _UNIT_HEADERS if word in head), None)
    label_column = next((head.index(word) for word in _LABEL_HEADERS if word in head), None)
    if unit_column is not None and label_column is not None:
        rows = rows[1:]
    elif len(head) == 2:
        unit_column, label_column = 0, 1
        known = set(units or ())
        if known and rows[0][0].strip() not in known and len(rows) == n_units + 1:
            rows = rows[1:]  # a header in words of its own
    else:
        raise InputError(
            f"{file} has the columns {listed(rows[0])}; it needs one called 'unit' and one called 'label', "
            "or exactly two columns: unit, label"
        )
    assert unit_column is not None
    assert label_column is not None
    labels: dict[str, str] = {}
    for number, row in enumerate(rows, start=1):
        unit, label = row[unit_column].strip(), row[label_column].strip()
        if not label or label.lower() in ("nan", "na"):
            raise InputError(
                f"{file}: unit '{unit}' has no label (entry {number}); give every unit a community"
            )
        if unit in labels:
            raise InputError(f"{file}: unit '{unit}' occurs twice (entry {number})")
        labels[unit] = label
    if units is None:
        if len(labels) != n_units:
            raise InputError(f"{file} has {len(labels)} labels, but the connectivity has {n_units} units")
        return np.array(list(labels.values()))
    _refuse_disagreement({"connectivity": tuple(units), "labels": tuple(labels)}, {"labels": file})
    return np.array([labels[unit] for unit in units])


def _square(table: Table, what: str) -> Table:
    if table.values.shape[0] != table.values.shape[1]:
        raise InputError(f"{table.path}: the {what} has shape {table.values.shape}, but it must be square")
    rows, columns = table.rows or table.columns, table.columns or table.rows
    if rows is None or columns is None or rows == columns:
        return Table(table.values, rows, columns, table.path)
    if set(rows) != set(columns):
        odd = [name for name in rows if name not in columns] + [name for name in columns if name not in rows]
        raise InputError(
            f"{table.path}: rows and columns of the {what} must name the same units; these differ: {listed(odd)}"
        )
    order = [columns.index(name) for name in rows]
    return Table(table.values[:, order], rows, rows, table.path)


def _match(
    tables: dict[str, Table], *, common: bool
) -> tuple[dict[str, NDArray[np.float64]], tuple[str, ...], dict[str, str]]:
    """Each table's values with its rows in one order of units, that order, and notes on how they were matched."""
    named = {what: table.rows for what, table in tables.items() if table.rows is not None}
    _refuse_transposed(tables)
    notes = {}
    if common and len(named) == len(tables):
        first, *others = named.values()
        units = tuple(name for name in first if all(name in other for other in others))
        left_out = list(
            dict.fromkeys(name for names in named.values() for name in names if name not in units)
        )
        if left_out:
            notes["Units not in all files, left out"] = f"{len(left_out)}: {listed(left_out, most=40)}"
        if not units:
            raise InputError("the files have no unit in common; " + _compared(named))
    elif common:
        raise InputError("units can be matched by what they share only where every file names its units")
    else:
        _refuse_disagreement(named, {what: table.path for what, table in tables.items()})
        n_units = len(tables["projection"].values)
        units = next(iter(named.values()), tuple(f"unit-{i}" for i in range(n_units)))
        if len(named) < len(tables):
            unnamed = [what for what in tables if what not in named]
            notes["Units matched by position"] = f"{listed(unnamed)} without names"
            for what in tables:
                if len(tables[what].values) != len(units):
                    raise InputError(
                        f"{tables[what].path}: the {what} has {len(tables[what].values)} units, but {len(units)} were expected "
                        f"({_sizes(tables)}). Without names in every file, units are matched by position."
                    )
    matched = {}
    for what, table in tables.items():
        if what not in named:
            matched[what] = table.values
            continue
        index = {name: row for row, name in enumerate(named[what])}
        order = [index[name] for name in units]
        square = what in ("connectivity", "distances")
        matched[what] = table.values[np.ix_(order, order)] if square else table.values[order]
    return matched, units, notes


def _sizes(tables: dict[str, Table]) -> str:
    return ", ".join(f"{what} {table.values.shape}" for what, table in tables.items())


def _compared(named: dict[str, tuple[str, ...]]) -> str:
    return "; ".join(f"{what}: {listed(names, most=4)}" for what, names in named.items())


def _refuse_transposed(tables: dict[str, Table]) -> None:
    projection = tables["projection"]
    for what, other in tables.items():
        if what == "projection":
            continue
        if projection.rows is not None and projection.columns is not None and other.rows is not None:
            as_rows, as_columns = (
                len(set(names) & set(other.rows)) for names in (projection.rows, projection.columns)
            )
            transposed = as_columns > as_rows and as_columns > len(other.rows) / 2
        else:
            n_units, shape = len(other.values), projection.values.shape
            transposed = shape[0] != n_units and shape[1] == n_units
        if transposed:
            raise InputError(
                f"{projection.path} seems to be transposed: its columns, not its rows, are the units of the {what}. "
                "Rows must be the units that receive, columns the inputs that send; "
                "transpose the file, or say --transposed."
            )
        if (
            what == "timeseries"
            and other.rows is None
            and other.values.shape[1] == len(projection.values) != len(other.values)
        ):
            raise InputError(
                f"{other.path} seems to be transposed: it has shape {other.values.T.shape}, but time must run along the "
                f"rows, with one column for each of the {len(projection.values)} units"
            )


def _refuse_disagreement(named: dict[str, tuple[str, ...]], paths: dict[str, Path]) -> None:
    """Refuse files whose units differ, listing the names that do not match, with near misses."""
    if len(named) < 2:
        return
    (reference, known), *others = named.items()
    for what, names in others:
        unknown = [name for name in names if name not in set(known)]
        missing = [name for name in known if name not in set(names)]
        if unknown or missing:
            parts = []
            if unknown:
                near = {name: nearest(name, missing) for name in unknown}
                hints = [
                    f"'{name}'" + (f" (did you mean '{near[name]}'?)" if near[name] else "")
                    for name in unknown
                ]
                parts.append(f"only in the {what}: {listed(hints)}")
            if missing:
                parts.append(f"only in the {reference}: {listed([repr(name) for name in missing])}")
            advice = "correct the names" + (
                ", or keep the units that all files share with --common" if "labels" not in paths else ""
            )
            raise InputError(
                f"{paths[what]}: the units of the {what} and the {reference} do not match; {'; '.join(parts)}. Please {advice}."
            )


def _text_rows(file: Path) -> list[list[str]]:
    if not file.is_file():
        raise InputError(f"there is no file {file}")
    try:
        text = file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(
            f"{file} is not text in UTF-8 ({error.reason} at byte {error.start}); save it as UTF-8"
        ) from error
    first = text.lstrip().partition("\n")[0]
    delimiter = next((mark for mark in ("\t", ",", ";") if mark in first), None)
    lines = text.splitlines()
    rows = list(csv.reader(lines, delimiter=delimiter)) if delimiter else [line.split() for line in lines]
    rows = [row for row in rows if any(cell.strip() for cell in row)]
    if not rows:
        raise InputError(f"{file} is empty")
    return rows


def _is_number(cell: str) -> bool:
    try:
        return math.isfinite(float(cell))
    except ValueError:
        return False


def _read_text(file: Path, _key: str) -> Table:
    return _from_cells(_text_rows(file), file)


def _from_cells(rows: list[list[str]], file: Path) -> Table:
    """Numbers with or without a header row and a first column of names."""
    rows = [[cell.strip() for cell in row] for row in rows]
    numeric = [all(_is_number(cell) or cell.lower() in _MISSING for cell in row) for row in rows]
    # A blank corner marks a header of names even if the names are numbers (region ids).
    corner = rows[0][0] == "" and len(rows) > 1 and len(rows[0]) > 1
    has_header = corner or not numeric[0]
    body = rows[1:] if has_header else rows
    if not body:
        raise InputError(f"{file} has a header, but no rows below it")
    # One odd word among numbers is a typing error to be reported, not a name.
    words = sum(not _is_number(row[0]) and row[0].lower() not in _MISSING for row in body)
    has_names = corner or (has_header and rows[0][0].lower() in _UNIT_HEADERS) or words > len(body) / 2
    header = rows[0] if has_header else None
    if header is not None and has_names and len(header) == len(body[0]):
        header = header[1:]  # otherwise the header has no cell above the names, as R writes it
    width = len(body[0]) - has_names
    if header is not None and len(header) != width:
        raise InputError(
            f"{file} has {len(header)} names in its header, but {width} values in the row below it"
        )
    names = tuple(row[0] for row in body) if has_names else None
    values = np.empty((len(body), width))
    for i, row in enumerate(body):
        cells = row[has_names:]
        row_name = f"row '{names[i]}'" if names else f"row {i + 1 + has_header}"
        if len(cells) != width:
            raise InputError(f"{file}, {row_name}: {len(cells)} values, but {width} in the rows above")
        for j, cell in enumerate(cells):
            if not _is_number(cell):
                column = f"column '{header[j]}'" if header else f"column {j + 1 + has_names}"
                what = "is empty" if cell == "" else f"is '{cell}'"
                raise InputError(
                    f"{file}, {row_name}, {column} {what}, but a finite number is needed. "
                    "fctoolbox never guesses a missing value: fill it in, or leave that unit or input out."
                )
            values[i, j] = float(cell)
    return Table(values, names, None if header is None else tuple(header), file)


def _read_npy(file: Path, _key: str) -> Table:
    try:
        array = np.load(file, allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise InputError(f"{file} could not be read as NPY: {error}") from error
    return _from_array(array, file, None)


def _read_npz(file: Path, key: str) -> Table:
    import zipfile

    try:
        with np.load(file, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(f"{file} could not be read as NPZ: {error}") from error
    return _from_arrays(arrays, file, key)


def _read_mat(file: Path, key: str) -> Table:
    from scipy.io import loadmat
    from scipy.io.matlab import MatReadError

    try:
        content = loadmat(file, chars_as_strings=True)
    except NotImplementedError as error:
        raise InputError(f"{file} is a MATLAB 7.3 file; save it again with: save(…, '-v7')") from error
    except (MatReadError, ValueError, TypeError, OSError) as error:
        raise InputError(f"{file} could not be read as a MATLAB file: {error}") from error
    arrays = {name: _cell_strings(array) for name, array in content.items() if not name.startswith("__")}
    return _from_arrays(arrays, file, key)


def _cell_strings(array: Any) -> Any:
    if getattr(array, "dtype", None) != object:
        return array
    cells = [np.ravel(cell) for cell in np.ravel(array)]
    if all(cell.size == 1 and cell.dtype.kind == "U" for cell in cells):
        return np.array([str(cell[0]) for cell in cells])
    return array


def _from_arrays(arrays: dict[str, Any], file: Path, key: str) -> Table:
    matrices = {
        name: array
        for name, array in arrays.items()
        if getattr(array, "ndim", 0) == 2 and array.dtype.kind in "fiub" and min(array.shape) > 1
    }
    if key and key not in matrices:
        raise InputError(
            f"{file} has no matrix '{key}'.{suggestion(key, list(matrices))} It has: {listed(matrices) or 'none'}."
        )
    if not key and len(matrices) != 1:
        raise InputError(
            f"{file} holds {len(matrices)} matrices ({listed(matrices) or 'none'})"
            + (f"; say which: {file}:{next(iter(matrices))}" if matrices else ", and one is needed")
        )
    key = key or next(iter(matrices))
    names = [
        tuple(str(each).strip() for each in np.ravel(array))
        for array in arrays.values()
        if getattr(array, "ndim", 0) in (1, 2)
        and array.dtype.kind in "US"
        and array.size == len(matrices[key])
    ]
    # Names are taken only where there is no doubt which ones are meant.
    return _from_array(matrices[key], file, names[0] if len(names) == 1 else None)


def _from_array(array: Any, file: Path, rows: tuple[str, ...] | None) -> Table:
    if array.ndim != 2 or array.dtype.kind not in "fiub":
        raise InputError(
            f"{file} holds {array.dtype.name} of shape {array.shape}; a matrix of numbers is needed"
        )
    values = np.asarray(array, dtype=np.float64)
    check_finite(values, str(file))
    return Table(values, rows, None, file)


def _read_xlsx(file: Path, key: str) -> Table:
    try:
        import openpyxl
    except ImportError as error:
        raise InputError(
            f"{file} needs openpyxl, which is not installed: pip install 'fctoolbox[excel]', or save it as CSV"
        ) from error
    try:
        book = openpyxl.load_workbook(file, read_only=True, data_only=True)
    except Exception as error:  # noqa: BLE001  (openpyxl raises whatever zip, XML or its own parts raise)
        raise InputError(f"{file} could not be read as an Excel file: {error}") from error
    try:
        sheets = book.sheetnames
        if key and key not in sheets:
            raise InputError(
                f"{file} has no sheet '{key}'.{suggestion(key, sheets)} It has: {listed(sheets)}."
            )
        if not key and len(sheets) > 1:
            raise InputError(
                f"{file} has {len(sheets)} sheets ({listed(sheets)}); say which: {file}:{sheets[0]}"
            )
        cells = [
            ["" if cell is None else str(cell) for cell in row]
            for row in book[key or sheets[0]].iter_rows(values_only=True)
        ]
    finally:
        book.close()
    rows = [row for row in cells if any(row)]
    if not rows:
        raise InputError(f"{file}: sheet '{key or sheets[0]}' is empty")
    return replace(_from_cells(rows, file), path=file)
