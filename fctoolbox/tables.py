"""A person's own matrices: read from the files that laboratories have, matched by the names of the units."""

import csv
import math
import re
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from fctoolbox.data import sha256_of
from fctoolbox.errors import InputError, listed, nearest, suggestion
from fctoolbox.safe_pickle import read_array_pickle
from fctoolbox.system import (
    FileRecord,
    Floats,
    Geometry,
    InputProjection,
    Provenance,
    RecurrentActivity,
    RecurrentSystem,
    Scale,
    check_finite,
    check_symmetric,
)

# What programs write where there is no number; refused with its place, instead of becoming NaN.
_MISSING = {"", "na", "n/a", "nan", "null", "none", "inf", "-inf", "+inf", "infinity", "-infinity"} | {
    *("#num!", "#n/a", "#div/0!", "#value!", "#ref!", "#name?", "#null!")
}
_DECIMAL_COMMA = re.compile(r"[-+]?\d*,\d+(e[-+]?\d+)?", re.IGNORECASE)
_UNIT_HEADERS = ("unit", "units", "region", "regions", "name", "names", "area", "areas", "roi", "id", "acronym")
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

    values: Floats
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
    _check_exists(file)
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
            twice = [name for name, count in Counter(names).items() if count > 1]
            raise InputError(f"{file}: the names of its {axis} must be unique, but these repeat: {listed(twice)}")
        if names is not None and "" in names:
            raise InputError(f"{file}: its {axis} have names, but that of number {names.index('') + 1} is empty")
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
        with _about(tables, "positions", "distances"):
            geometry = Geometry(positions=matched.get("positions"), distances=matched.get("distances"))
    scale: Scale = "fisher-z" if fisher_z else "pearson-r"
    with _about(tables, "connectivity", "timeseries"):
        activity = RecurrentActivity(
            timeseries=matched["timeseries"].T if "timeseries" in matched else None,
            connectivity=matched.get("connectivity"),
            scale=scale,
            sampling_interval=sampling_interval,
        )
    files = [FileRecord(table.path.name, sha256_of(table.path)) for table in tables.values()]
    return RecurrentSystem(
        name=name or tables["projection"].path.stem,
        units=units,
        projection=InputProjection(matched["projection"], inputs),
        activity=activity,
        geometry=geometry,
        provenance=Provenance(
            citation="your own data",
            license="not stated",
            files=tuple(dict.fromkeys(files)),  # one file may hold several of the matrices
            notes=notes,
        ),
    )


def read_connectivity(path: str | Path) -> tuple[Floats, tuple[str, ...] | None]:
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
    _check_exists(file)
    rows = _text_rows(file)
    head = [cell.lower() for cell in rows[0]]
    unit_column = next((head.index(word) for word in _UNIT_HEADERS if word in head), None)
    label_column = next((head.index(word) for word in _LABEL_HEADERS if word in head), None)
    if unit_column is not None and label_column is not None:
        rows = rows[1:]
    elif len(head) == 2:
        unit_column, label_column = 0, 1
        if len(rows) == n_units + 1 and rows[0][0] not in (units or ()):
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
        if len(row) != len(head):
            raise InputError(f"{file}: entry {number} has {len(row)} cells instead of {len(head)}: {listed(row)}")
        unit, label = row[unit_column], row[label_column]
        if not label or label.lower() in ("nan", "na"):
            raise InputError(f"{file}: unit '{unit}' has no label (entry {number}); give every unit a community")
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
    rows, columns, values = table.rows or table.columns, table.columns or table.rows, table.values
    if rows is not None and columns is not None and rows != columns:
        if odd := sorted(set(rows) ^ set(columns)):
            raise InputError(
                f"{table.path}: rows and columns of the {what} must name the same units; these differ: {listed(odd)}"
            )
        values = values[:, _order(columns, rows)]
    check_symmetric(values, f"{table.path}: the {what}", rows)
    return Table(values, rows, rows, table.path)


def _order(names: Sequence[str], wanted: Sequence[str]) -> list[int]:
    index = {name: i for i, name in enumerate(names)}
    return [index[name] for name in wanted]


def _match(tables: dict[str, Table], *, common: bool) -> tuple[dict[str, Floats], tuple[str, ...], dict[str, str]]:
    """Each table's values with its rows in one order of units, that order, and notes on how they were matched."""
    _refuse_transposed(tables)
    named = {what: table.rows for what, table in tables.items() if table.rows is not None}
    paths = {what: table.path for what, table in tables.items()}
    unnamed = [what for what in tables if what not in named]
    if common:
        if unnamed:
            files = listed(paths[what] for what in unnamed)
            raise InputError(f"--common needs the names of the units in every file, but there are none in {files}")
        units, notes = _shared_units(named)
    else:
        _refuse_disagreement(named, paths)
        n_units = len(tables["projection"].values)
        units = next(iter(named.values()), tuple(f"unit-{i}" for i in range(n_units)))
        notes = {"Units matched by position": f"{listed(unnamed)} without names"} if unnamed else {}
        for what, table in tables.items():
            if len(table.values) != len(units):
                raise InputError(
                    f"{table.path}: the {what} has {len(table.values)} units, but {len(units)} were expected "
                    f"({_sizes(tables)}). Without names in every file, units are matched by position."
                )
    return {what: _in_order(table, what, units) for what, table in tables.items()}, units, notes


def _shared_units(named: dict[str, tuple[str, ...]]) -> tuple[tuple[str, ...], dict[str, str]]:
    first, *others = named.values()
    shared = set(first).intersection(*others)
    if not shared:
        compared = "; ".join(f"{what}: {listed(names, most=4)}" for what, names in named.items())
        raise InputError(f"the files have no unit in common; {compared}")
    left_out = dict.fromkeys(name for names in named.values() for name in names if name not in shared)
    text = f"{len(left_out)}: {listed(left_out, most=40)}"
    notes = {"Units not in all files, left out": text} if left_out else {}
    return tuple(name for name in first if name in shared), notes


def _in_order(table: Table, what: str, units: tuple[str, ...]) -> Floats:
    if table.rows is None or table.rows == units:
        return table.values
    order = _order(table.rows, units)
    return table.values[np.ix_(order, order)] if what in ("connectivity", "distances") else table.values[order]


def _sizes(tables: dict[str, Table]) -> str:
    return ", ".join(f"{what} {len(table.values)}" for what, table in tables.items())


def _refuse_transposed(tables: dict[str, Table]) -> None:
    projection = tables["projection"]
    for what, other in tables.items():
        # The timeseries is kept here with its units along axis 0, as it is not in its file.
        if what == "timeseries" and _fits_transposed(other, projection):
            raise InputError(
                f"{other.path} seems to be transposed: it has shape {other.values.T.shape}, but time must run along "
                f"the rows, with one column for each of the {len(projection.values)} units"
            )
        if what != "projection" and _fits_transposed(projection, other):
            raise InputError(
                f"{projection.path} seems to be transposed: its columns, not its rows, are the units of the {what}. "
                "Rows must be the units that receive, columns the inputs that send; "
                "transpose the file, or say --transposed."
            )


def _fits_transposed(table: Table, other: Table) -> bool:
    """Whether a table's columns, and not its rows, are the units of another: by name, else by number."""
    if other.rows is not None and table.columns is not None:
        as_rows, as_columns = (len(set(names or ()) & set(other.rows)) for names in (table.rows, table.columns))
        return as_columns > as_rows and as_columns > len(other.rows) / 2
    return len(table.values) != len(other.values) == table.values.shape[1]


def _refuse_disagreement(named: dict[str, tuple[str, ...]], paths: dict[str, Path]) -> None:
    """Refuse files whose units differ, listing the names that do not match, with near misses."""
    if len(named) < 2:
        return
    (reference, known), *others = named.items()
    for what, names in others:
        theirs, ours = set(names), set(known)
        unknown = [name for name in names if name not in ours]
        missing = [name for name in known if name not in theirs]
        if unknown or missing:
            parts = []
            if unknown:
                parts.append(f"only in the {what}: {_with_near_misses(unknown, missing)}")
            if missing:
                parts.append(f"only in the {reference}: {listed([repr(name) for name in missing])}")
            common = "" if "labels" in paths else ", or keep the units that all files share with --common"
            raise InputError(
                f"{paths[what]}: the units of the {what} and the {reference} do not match; {'; '.join(parts)}. "
                f"Please correct the names{common}."
            )


def _with_near_misses(names: list[str], known: list[str]) -> str:
    # Only those that are shown are compared: each comparison costs, and files may differ in every name.
    shown = [(name, nearest(name, known)) for name in names[:8]]
    hints = [f"'{name}'" + (f" (did you mean '{near}'?)" if near else "") for name, near in shown]
    return listed([*hints, *names[8:]])


@contextmanager
def _about(tables: dict[str, Table], *which: str) -> Iterator[None]:
    """Put the names of the files before what is wrong with their content."""
    try:
        yield
    except InputError as error:
        paths = ", ".join(str(tables[what].path) for what in which if what in tables)
        raise InputError(f"{paths}: {error}") from error


def _check_exists(file: Path) -> None:
    if file.is_dir():
        raise InputError(f"{file} is a folder; a file is needed")
    if not file.is_file():
        names = [path.name for path in file.parent.iterdir() if path.is_file()] if file.parent.is_dir() else []
        near = nearest(file.name, names)
        raise InputError(f"there is no file {file}." + (f" Did you mean {file.parent / near}?" if near else ""))


def _text_rows(file: Path) -> list[list[str]]:
    try:
        text = file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(
            f"{file} is not text in UTF-8 ({error.reason} at byte {error.start}); save it as UTF-8"
        ) from error
    lines = [line for line in text.splitlines() if line.strip()]
    if not lines:
        raise InputError(f"{file} is empty")
    # The header may be a single word, so the second line tells; with ";" a comma may be the decimal mark.
    unquoted = re.sub('"[^"]*"', "", lines[:2][-1])
    delimiter = next((mark for mark in "\t;," if mark in unquoted), " ")
    if delimiter == " ":
        lines = [line.strip() for line in lines]
    try:
        rows = list(csv.reader(lines, delimiter=delimiter, skipinitialspace=True))
    except csv.Error as error:
        raise InputError(f"{file} is not a table of cells: {error}. Is a quotation mark left open?") from error
    rows = _trimmed(rows)
    if comment := next((row[0] for row in rows if row[0][:1] in ("#", "%") and row[0].lower() not in _MISSING), ""):
        raise InputError(f"{file}: comment lines are not read; remove the one that begins with '{comment[:40]}'")
    return rows


def _trimmed(rows: list[list[str]]) -> list[list[str]]:
    """The cells without spaces around them, and without the empty rows and columns that spreadsheets add."""
    rows = [[cell.strip() for cell in row] for row in rows]
    filled = [i for i, row in enumerate(rows) if any(row)]
    rows = rows[filled[0] : filled[-1] + 1] if filled else []
    width = max((j + 1 for row in rows for j, cell in enumerate(row) if cell), default=0)
    return [row[:width] for row in rows]


def _is_number(cell: str) -> bool:
    try:
        return math.isfinite(float(cell)) and "_" not in cell  # to Python 1_2 is twelve; here it is a name
    except ValueError:
        return False


def _is_word(cell: str) -> bool:
    return not (_is_number(cell) or cell.lower() in _MISSING or _DECIMAL_COMMA.fullmatch(cell))


def _mostly_words(cells: Sequence[str]) -> bool:
    # One odd word among numbers is a typing error to be reported, not a name.
    return sum(map(_is_word, cells)) > len(cells) / 2


def _from_cells(rows: list[list[str]], file: Path) -> Table:
    """Numbers with or without a header row and a first column of names."""
    first = rows[0]
    # Names may be numbers (region ids), where the corner above them is blank or says what they are.
    corner = len(first) > 1 and (first[0] == "" or first[0].lower() in _UNIT_HEADERS)
    has_header = _mostly_words(first[1:] or first) or (corner and all(cell.isdecimal() for cell in first[1:]))
    body = rows[1:] if has_header else rows
    if not body:
        raise InputError(f"{file} has a header, but no rows below it")
    without_corner = has_header and len(first) == len(body[0]) - 1  # as R writes it
    has_names = without_corner or (has_header and corner) or _mostly_words([row[0] for row in body])
    header = first[has_names and not without_corner :] if has_header else None
    width = len(body[0]) - has_names
    if header is not None and len(header) != width:
        raise InputError(f"{file} has {len(header)} names in its header, but {width} values in the row below it")
    values = np.empty((len(body), width))
    for i, row in enumerate(body):
        cells = row[has_names:]
        place = f"{file}, row '{row[0]}'" if has_names else f"{file}, row {i + 1 + has_header}"
        if len(cells) != width:
            raise InputError(f"{place}: {len(cells)} values, but {width} in the first row of values")
        odd = next((j for j, cell in enumerate(cells) if not _is_number(cell)), None)
        if odd is not None:
            column = f"column '{header[odd]}'" if header else f"column {odd + 1 + has_names}"
            raise InputError(f"{place}, {column} {_what_is_odd(cells[odd], diagonal=i == odd and width == len(body))}")
        values[i] = [float(cell) for cell in cells]
    names = tuple(row[0] for row in body) if has_names else None
    return Table(_shared(values), names, None if header is None else tuple(header), file)


def _what_is_odd(cell: str, *, diagonal: bool) -> str:
    text = ("is empty" if cell == "" else f"is '{cell}'") + ", but a finite number is needed. "
    if _DECIMAL_COMMA.fullmatch(cell):
        return text + "Write decimals with a point, not a comma."
    if diagonal and cell.lower() in _MISSING:
        return text + "If it is the diagonal of a connectivity, set it to 0: it is never used."
    return text + "fctoolbox never guesses a missing value: fill it in, or leave that unit or input out."


def _shared(values: NDArray[Any]) -> NDArray[Any]:
    # Nobody else holds the array: read-only, it goes into a system without a copy.
    values.flags.writeable = False
    return values


def _read_text(file: Path, _key: str) -> Table:
    return _from_cells(_text_rows(file), file)


def _read_npy(file: Path, _key: str) -> Table:
    try:
        array = np.load(file, allow_pickle=False)
        if not isinstance(array, np.ndarray):
            raise ValueError("it is a zip archive, like NPZ")
    except (ValueError, OSError, EOFError) as error:
        raise InputError(f"{file} could not be read as NPY: {error}") from error
    return _from_array(array, file)


def _read_npz(file: Path, key: str) -> Table:
    try:
        if not zipfile.is_zipfile(file):
            raise ValueError("it is no zip archive")
        with np.load(file, allow_pickle=False) as archive:
            arrays = {name: _npz_array(archive, name) for name in archive.files}
    except (ValueError, OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise InputError(f"{file} could not be read as NPZ: {error}") from error
    return _from_arrays(arrays, file, key)


def _npz_array(archive: Any, name: str) -> Any:
    try:
        return archive[name]
    except ValueError as error:
        if "allow_pickle" not in str(error):
            raise
    # Python objects. They may be names that pandas kept, pickled behind the header of 10 bytes and its own length.
    with archive.zip.open(f"{name}.npy") as stream, suppress(Exception):
        stream.seek(10 + int.from_bytes(stream.read(10)[8:], "little"))
        return read_array_pickle(stream)
    return None


def _read_mat(file: Path, key: str) -> Table:
    from scipy.io import loadmat

    try:
        content = loadmat(file, chars_as_strings=True)
    except NotImplementedError as error:
        raise InputError(f"{file} is a MATLAB 7.3 file; save it again with: save(…, '-v7')") from error
    except Exception as error:  # a damaged file raises whatever scipy, zlib or struct run into
        raise InputError(f"{file} could not be read as a MATLAB file: {error}") from error
    return _from_arrays({name: array for name, array in content.items() if name[:2] != "__"}, file, key)


def _from_arrays(arrays: dict[str, Any], file: Path, key: str) -> Table:
    plain = {name: _plain(array) for name, array in arrays.items()}
    matrices = {name: a for name, a in plain.items() if a.ndim == 2 and a.dtype.kind in "fiub" and min(a.shape) > 1}
    if key and key not in matrices:
        raise InputError(
            f"{file} has no matrix '{key}'.{suggestion(key, matrices)} It has: {listed(matrices) or 'none'}."
        )
    if not key and len(matrices) != 1:
        raise InputError(
            f"{file} holds {len(matrices)} matrices ({listed(matrices) or 'none'})"
            + (f"; say which: {file}:{next(iter(matrices))}" if matrices else ", and one is needed")
        )
    matrix = matrices[key or next(iter(matrices))]
    rows, columns = (_names_for(size, plain) for size in matrix.shape)
    return _from_array(matrix, file, rows, columns)


def _plain(array: Any) -> NDArray[Any]:
    """A dense array; cells of text, as MATLAB and pandas keep them, become an array of text."""
    array = np.asarray(array.toarray() if sparse.issparse(array) else array)
    if array.dtype.kind == "O":
        cells = [np.ravel(cell) for cell in array.ravel()]
        if all(cell.size == 1 and cell.dtype.kind == "U" for cell in cells):
            return np.array([str(cell[0]) for cell in cells])
    return np.char.decode(array, "utf-8", "replace") if array.dtype.kind == "S" else array


def _names_for(size: int, arrays: dict[str, NDArray[Any]]) -> tuple[str, ...] | None:
    """The names that lie beside a matrix, where there is no doubt which are meant."""
    found = {name: array for name, array in arrays.items() if array.dtype.kind == "U" and array.size == size}
    if len(found) > 1:
        found = {name: array for name, array in found.items() if name.lower() in _UNIT_HEADERS}
    return tuple(str(each).strip() for each in next(iter(found.values())).ravel()) if len(found) == 1 else None


def _from_array(
    array: NDArray[Any], file: Path, rows: tuple[str, ...] | None = None, columns: tuple[str, ...] | None = None
) -> Table:
    if array.ndim != 2 or array.dtype.kind not in "fiub":
        raise InputError(f"{file} holds {array.dtype.name} of shape {array.shape}; a matrix of numbers is needed")
    values = array if array.dtype == np.float32 else np.asarray(array, dtype=np.float64)
    check_finite(values, str(file))
    return Table(_shared(values), rows, columns, file)


def _read_xlsx(file: Path, key: str) -> Table:
    try:
        import openpyxl
    except ImportError as error:
        raise InputError(
            f"{file} needs openpyxl, which is not installed: pip install 'fctoolbox[excel]', or save it as CSV"
        ) from error
    try:
        book = openpyxl.load_workbook(file, read_only=True, data_only=True)
    except Exception as error:  # openpyxl raises whatever zip, XML or its own parts raise
        raise InputError(f"{file} could not be read as an Excel file: {error}") from error
    try:
        sheets = book.sheetnames
        if key and key not in sheets:
            raise InputError(f"{file} has no sheet '{key}'.{suggestion(key, sheets)} It has: {listed(sheets)}.")
        if not key and len(sheets) > 1:
            raise InputError(f"{file} has {len(sheets)} sheets ({listed(sheets)}); say which: {file}:{sheets[0]}")
        sheet = book[key or sheets[0]]
        cells = [["" if cell is None else str(cell) for cell in row] for row in sheet.iter_rows(values_only=True)]
    finally:
        book.close()
    rows = _trimmed(cells)
    if not rows:
        raise InputError(f"{file}: sheet '{key or sheets[0]}' is empty")
    return _from_cells(rows, file)
