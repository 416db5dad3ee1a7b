"""A matrix from the files that laboratories have: CSV, TSV, NPY, NPZ, MAT and Excel."""

import csv
import itertools
import math
import re
import zipfile
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from fctoolbox.errors import InputError, blamed_on, listed, nearest, suggestion
from fctoolbox.safe_pickle import read_array_pickle
from fctoolbox.system import (
    Floats,
    check_finite,
)

# What programs write where there is no number; refused with its place, instead of becoming NaN.
_MISSING = {"", "na", "n/a", "nan", "null", "none", "inf", "-inf", "+inf", "infinity", "-infinity"} | {
    *("#num!", "#n/a", "#div/0!", "#value!", "#ref!", "#name?", "#null!")
}
_DECIMAL_COMMA = re.compile(r"[-+]?\d*,\d+(e[-+]?\d+)?", re.IGNORECASE)
# What stands above (or is) a list of the units' names, the most telling word first.
_UNIT_HEADERS = (
    *("units?", "regions?", "names?", "areas?", "rois?", "nodes?", "parcels?", "acronyms?"),
    *("id", ".+_id", "index", "unnamed: 0"),
)
_INPUT_HEADERS = ("input", "inputs", "source", "sources", "nucleus", "nuclei", "column", "columns")
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
    with blamed_on(f"{path} cannot be read"):
        return _read_table(Path(path))


def _read_table(path: Path) -> Table:
    match = _BINARY.fullmatch(str(path))
    file, key = (Path(match["file"]), match["key"]) if match and not path.exists() else (path, "")
    check_exists(file)
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


def unit_header(words: Sequence[str]) -> int | None:
    """Which of the words says best that names of units follow; None where none does."""
    found = (i for header in _UNIT_HEADERS for i, word in enumerate(words) if re.fullmatch(header, word, re.IGNORECASE))
    return next(found, None)


def check_exists(file: Path) -> None:
    """Refuse a path that is no file, suggesting one that is spelt alike."""
    if file.is_dir():
        raise InputError(f"{file} is a folder; a file is needed")
    if not file.is_file():
        names = [path.name for path in file.parent.iterdir() if path.is_file()] if file.parent.is_dir() else []
        near = nearest(file.name, names)
        raise InputError(f"there is no file {file}." + (f" Did you mean {file.parent / near}?" if near else ""))


def text_rows(file: Path) -> list[list[str]]:
    """The cells of a CSV or TSV file, without spaces around them and without empty rows and columns at the end."""
    try:
        text = file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(
            f"{file} is not text in UTF-8 ({error.reason} at byte {error.start}); save it as UTF-8"
        ) from error
    lines = [line for line in text.splitlines() if line.strip(" ")]  # a line of tabs is a row of empty cells
    if not lines:
        raise InputError(f"{file} is empty")
    # The header may be a single word, so the second line tells; with ";" a comma may be the decimal mark.
    unquoted = re.sub('"[^"]*"', "", lines[:2][-1])
    delimiter = next((mark for mark in "\t;," if mark in unquoted), " ")
    if delimiter == " ":
        lines = [line.strip() for line in lines]
    try:
        rows = list(csv.reader(lines, delimiter=delimiter, skipinitialspace=True, strict=True))
    except csv.Error as error:
        raise InputError(f"{file} is not a table of cells: {error}. Is a quotation mark left open?") from error
    rows = _trimmed(rows)
    if comment := next((row[0] for row in rows if row[0][:1] in ("#", "%") and row[0].lower() not in _MISSING), ""):
        raise InputError(f"{file}: comment lines are not read; remove the one that begins with '{comment[:40]}'")
    return rows


def _trimmed(rows: list[list[str]]) -> list[list[str]]:
    """The cells without spaces around them, and without the empty rows and columns that spreadsheets put at the end."""
    rows = [[cell.strip() for cell in row] for row in rows]
    height = max((i + 1 for i, row in enumerate(rows) if any(row)), default=0)
    width = max((j + 1 for row in rows for j, cell in enumerate(row) if cell), default=0)
    return [row[:width] for row in rows[:height]]


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


def _is_numbering(rows: list[list[str]]) -> bool:
    """Whether the first row numbers the columns from 0 or 1, as pandas does for a matrix without names.

    Not where that row makes the matrix square: the distances between points on a line begin alike.
    """
    numbers = [[str(j + start) for j in range(len(rows[0]))] for start in (0, 1)]
    return len(rows[0]) > 3 and rows[0] in numbers and len(rows) != len(rows[0])


def _refuse_numbering(header: list[str], body: list[list[str]], file: Path) -> None:
    # Read as values, the numbers of the rows would be one more input, and outweigh all others.
    column = [row[0] for row in body]
    if len(body) > 3 and any(column == [str(i + start) for i in range(len(body))] for start in (0, 1)):
        raise InputError(
            f"{file}: the column '{header[0]}' only numbers the rows; call it 'unit' if it names them, or remove it"
        )


def _from_cells(rows: list[list[str]], file: Path) -> Table:
    """Numbers with or without a header row and a first column of names."""
    first = rows[0]
    # Names may be numbers (region ids), where the corner above them is blank or says what they are.
    corner = len(first) > 1 and (first[0].lower() in ("", "label", "labels") or unit_header(first[:1]) is not None)
    has_header = _mostly_words(first[1:] or first) or (corner and all(cell.isdecimal() for cell in first[1:]))
    if not has_header and _is_numbering(rows):
        return _from_cells(rows[1:], file)  # numbers of columns are no names
    body = rows[1:] if has_header else rows
    if not body:
        raise InputError(f"{file} has a header, but no rows below it")
    # R writes no cell above the names, which may be numbers, but hardly with decimals.
    without_corner = has_header and len(first) == len(body[0]) - 1
    without_corner &= all(row[0].isdecimal() or not _is_number(row[0]) for row in body)
    has_names = without_corner or (has_header and corner) or _mostly_words([row[0] for row in body])
    if has_header and not has_names:
        _refuse_numbering(first, body, file)
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
    return _from_cells(text_rows(file), file)


def _read_npy(file: Path, _key: str) -> Table:
    try:
        with file.open("rb") as stream:
            array = np.load(stream, allow_pickle=False)
        if not isinstance(array, np.ndarray):
            raise ValueError("it is a zip archive, like NPZ")
    except Exception as error:  # a damaged header raises whatever its text runs into
        raise InputError(f"{file} could not be read as NPY: {error}") from error
    return _from_array(array, file)


def _read_npz(file: Path, key: str) -> Table:
    try:
        if not zipfile.is_zipfile(file):
            raise ValueError("it is no zip archive")
        with file.open("rb") as stream, np.load(stream, allow_pickle=False) as archive:
            arrays = {name: _npz_array(archive, name) for name in archive.files}
    except Exception as error:  # a damaged file raises whatever zip, zlib or numpy run into
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
    of_inputs = {name: array for name, array in plain.items() if name.lower() in _INPUT_HEADERS}
    of_others = {name: array for name, array in plain.items() if name not in of_inputs}
    rows = _names_for(matrix.shape[0], of_others)
    columns = _names_for(matrix.shape[1], of_inputs) or _names_for(matrix.shape[1], of_others)
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
    """The names that lie beside a matrix: words that are called so, or the only ones that could be names."""
    words = {
        name: tuple(str(each).strip() for each in array.ravel())
        for name, array in arrays.items()
        if array.dtype.kind == "U" and array.size == size
    }
    called_so = unit_header(list(words))
    if called_so is not None:
        return list(words.values())[called_so]
    names = [each for each in words.values() if len(set(each)) == size]
    return names[0] if len(names) == 1 else None


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
    rows = _trimmed(list(itertools.dropwhile(lambda row: not any(row), cells)))
    if not rows:
        raise InputError(f"{file}: sheet '{key or sheets[0]}' is empty")
    return _from_cells(rows, file)
