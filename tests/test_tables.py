import csv
import sys

import numpy as np
import openpyxl
import pytest
from scipy import sparse
from scipy.io import savemat

from fctoolbox.errors import InputError
from fctoolbox.matrices import read_system
from fctoolbox.tables import read_table
from tests.own_files import AREAS, CONNECTIVITY, INPUTS, UNITS, WEIGHTS, npz, numbers, text

SMALL = np.array([[0.25, -1e-12], [3.0, 1e6], [0.0, 2.5]])
SMALL_TEXT = {
    "CSV": text(SMALL, AREAS, ("LGd", "LP")),
    "TSV": text(SMALL, AREAS, ("LGd", "LP"), delimiter="\t"),
    "semicolons": text(SMALL, AREAS, ("LGd", "LP"), delimiter=";"),
    "spaces": text(SMALL, AREAS, ("LGd", "LP"), delimiter="   ", corner="unit"),
    "spaces after commas": text(SMALL, AREAS, ("LGd", "LP"), delimiter=", "),
    "a header over the names": text(SMALL, AREAS, ("LGd", "LP"), corner="region"),
    "a header without corner, as R writes it": text(SMALL, AREAS, ("LGd", "LP"), corner=None),
    "a header without corner, in R's own layout": text(
        SMALL, ('"V1"', '"V2"', '"M1"'), ('"LGd"', '"LP"'), delimiter=" ", corner=None
    ),
    "quotation marks": '"","LGd","LP"\n"V1",0.25,"-1e-12"\n"V2",3.0,1e6\n"M1",0.0,2.5\n',
    "a byte order mark": "\ufeff" + text(SMALL, AREAS, ("LGd", "LP")),
    "Windows line ends": text(SMALL, AREAS, ("LGd", "LP"), newline="\r\n"),
    "old Mac line ends": text(SMALL, AREAS, ("LGd", "LP"), newline="\r"),
    "no last line end": text(SMALL, AREAS, ("LGd", "LP")).rstrip(),
    "empty lines": "\n" + text(SMALL, AREAS, ("LGd", "LP"), newline="\n \n"),
    "a delimiter at each end": text(SMALL, AREAS, ("LGd", "LP"), newline=",\n"),
    "the empty cells of a spreadsheet": text(SMALL, AREAS, ("LGd", "LP"), newline=",,\n") + ",,,,\n,,,,\n",
    "other spellings of numbers": ",LGd,LP\nV1,+.25,-1E-12\nV2,3,1000000\nM1,-0,2.50\n",
}


@pytest.mark.parametrize("layout", SMALL_TEXT)
def test_one_table_in_many_layouts(write, layout):
    table = read_table(write("t.csv", SMALL_TEXT[layout]))
    np.testing.assert_array_equal(table.values, SMALL)
    assert table.rows == AREAS
    assert table.columns == ("LGd", "LP")


@pytest.mark.parametrize(
    ("content", "rows", "columns"),
    [
        ("1,2\n3,4\n5,6\n", None, None),
        ("1 2\n3 4\n5 6\n", None, None),
        ("\ufeff1,2\n3,4\n5,6\n", None, None),
        ("A,B\n1,2\n3,4\n5,6\n", None, ("A", "B")),
        ("A,1,2\nB,3,4\nC,5,6\n", ("A", "B", "C"), None),
        ("1\t2\r\n3\t4\r\n5\t6\r\n", None, None),
        # Region ids are names where the corner is blank or says so, and numbers where nothing says so.
        (",385,409\n10,1,2\n20,3,4\n30,5,6\n", ("10", "20", "30"), ("385", "409")),
        ("id,385,409\n10,1,2\n20,3,4\n30,5,6\n", ("10", "20", "30"), ("385", "409")),
        (",LP,MD\n10,1,2\n20,3,4\n30,5,6\n", ("10", "20", "30"), ("LP", "MD")),
        ("unit,385,409\nA,1,2\nB,3,4\nC,5,6\n", ("A", "B", "C"), ("385", "409")),
        # The acronym of the accumbens, and words that look like numbers to Python.
        ("unit,x,y\nNA,1,2\nV1,3,4\nV2,5,6\n", ("NA", "V1", "V2"), ("x", "y")),
        ("unit,1_1,1_2\n2_1,1,2\n2_2,3,4\n2_3,5,6\n", ("2_1", "2_2", "2_3"), ("1_1", "1_2")),
        # A comma or a semicolon within a name, in quotation marks.
        (',"a, b",c\n"V1; left",1,2\nV2,3,4\nM1,5,6\n', ("V1; left", "V2", "M1"), ("a, b", "c")),
    ],
)
def test_what_is_a_name_and_what_a_number(write, content, rows, columns):
    table = read_table(write("t.csv", content))
    np.testing.assert_array_equal(table.values, [[1, 2], [3, 4], [5, 6]])
    assert (table.rows, table.columns) == (rows, columns)


@pytest.mark.parametrize(
    ("content", "rows", "columns"),
    [
        ("strength\n1\n2\n", None, ("strength",)),
        ("1\n2\n", None, None),
        ("unit,strength\nA,1\nB,2\n", ("A", "B"), ("strength",)),
        ("strength\nA,1\nB,2\n", ("A", "B"), ("strength",)),
        ("A\t1\nB\t2\n", ("A", "B"), None),
        ("\tLGd\nA\t1\nB\t2\n", ("A", "B"), ("LGd",)),
    ],
)
def test_a_single_column(write, content, rows, columns):
    table = read_table(write("t.csv", content))
    np.testing.assert_array_equal(table.values, [[1], [2]])
    assert (table.rows, table.columns) == (rows, columns)


def changed(row, column, cell, **layout):
    """WEIGHTS as CSV with one cell changed, counted from 0 without header and names."""
    names = {"rows": UNITS, "columns": INPUTS, **layout}
    lines = list(csv.reader(text(WEIGHTS, **names).splitlines()))
    lines[row + (names["columns"] is not None)][column + (names["rows"] is not None)] = cell
    return "\n".join(",".join(f'"{each}"' if "," in each else each for each in line) for line in lines)


BAD_CELLS = [
    "",
    "NaN",
    "nan",
    "NA",
    "N/A",
    "inf",
    "-Inf",
    "#NUM!",
    "#N/A",
    "#DIV/0!",
    "null",
    "x",
    "1_0",
    "1e999",
    "1 2",
]


@pytest.mark.parametrize("cell", BAD_CELLS)
@pytest.mark.parametrize(
    ("layout", "place"),
    [
        ({}, "row 'MOp', column 'LP'"),
        ({"columns": None}, "row 'MOp', column 3"),
        ({"rows": None}, "row 4, column 'LP'"),
        ({"rows": None, "columns": None}, "row 3, column 2"),
    ],
)
def test_a_cell_without_a_number_is_named_by_file_row_and_column(write, cell, layout, place):
    path = write("weights.csv", changed(2, 1, cell, **layout))
    with pytest.raises(InputError) as error:
        read_table(path)
    says = "is empty" if cell == "" else f"is '{cell}'"
    assert str(error.value).startswith(f"{path}, {place} {says}, but a finite number is needed. ")


@pytest.mark.parametrize("cell", [cell for cell in BAD_CELLS if cell != "1 2"])
@pytest.mark.parametrize(("row", "column"), [(0, 0), (0, 3), (5, 0), (5, 3)])
@pytest.mark.parametrize("layout", [{}, {"columns": None}, {"rows": None}, {"rows": None, "columns": None}])
def test_no_bad_cell_passes_for_a_name_in_a_corner(write, cell, row, column, layout):
    # In a corner a word could be taken for part of a header or of a column of names.
    with pytest.raises(InputError, match=r"weights\.csv, row"):
        read_table(write("weights.csv", changed(row, column, cell, **layout)))


def test_a_whole_row_without_numbers_is_not_passed_over(write):
    with pytest.raises(InputError, match="row 2, column 1 is empty"):
        read_table(write("t.csv", "1,2\n,\n5,6\n"))
    with pytest.raises(InputError, match="row 1, column 1 is empty"):
        read_table(write("t.csv", ",\n3,4\n5,6\n"))
    with pytest.raises(InputError, match="row 2, column 1 is empty"):
        read_table(write("t.csv", "1\t2\n\t\n5\t6\n"))
    with pytest.raises(InputError, match=r"row 'B', column 'x' is empty"):
        read_table(write("t.csv", "unit,x,y\nA,1,2\nB,,\nC,5,6\n"))
    with pytest.raises(InputError, match="row 'A', column 'y' is empty"):
        read_table(write("t.csv", "unit,x,y\nA,1,\nB,2,\nC,5,\n"))


@pytest.mark.parametrize("delimiter", [";", "\t"])
@pytest.mark.parametrize(
    "names", [{}, {"rows": AREAS}, {"columns": ("LGd", "LP")}, {"rows": AREAS, "columns": ("a", "b")}]
)
def test_decimal_commas_are_told_from_a_missing_value(write, delimiter, names):
    content = text(np.full((3, 2), 0.5), delimiter=delimiter, **names).replace(".", ",")
    with pytest.raises(InputError, match=r"is '0,5', but .*Write decimals with a point, not a comma"):
        read_table(write("t.csv", content))


def test_decimal_commas_make_no_header(write):
    with pytest.raises(InputError, match="row 1, column 1 is '0,5'"):
        read_table(write("t.csv", "0,5;0,3\n0,2;0,1\n"))


@pytest.mark.parametrize("cell", ["", "NaN", "Inf"])
def test_a_diagonal_without_numbers_gets_its_own_advice(write, cell):
    rows = [["", *AREAS], *([a, *(cell if a == b else "0.5" for b in AREAS)] for a in AREAS)]
    with pytest.raises(InputError, match=r"row 'V1', column 'V1' is .*diagonal of a connectivity, set it to 0"):
        read_table(write("t.csv", "\n".join(map(",".join, rows))))
    rows[1][1], rows[1][2] = "1", cell
    with pytest.raises(InputError, match=r"row 'V1', column 'V2' is .* never guesses a missing value"):
        read_table(write("t.csv", "\n".join(map(",".join, rows))))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "is empty"),
        ("\n \n", "is empty"),
        (",LGd,LP\n", "has a header, but no rows below it"),
        ("A,B\n1,2\n3\n", r"row 3: 1 values, but 2 in the first row of values"),
        ("A,B\n1.5,2,3\n4,5,6\n7,8,9\n", "has 2 names in its header, but 3 values in the row below it"),
        (",A,B\nu,1,2\nv,3,4,5\n", r"row 'v': 3 values, but 2"),
        ("1,2\n3,4,5\n", r"row 2: 3 values, but 2"),
        (",A,A\nu,1,2\nv,3,4\n", "names of its columns must be unique, but these repeat: A"),
        (",A,B\nu,1,2\nu,3,4\n", "names of its rows must be unique, but these repeat: u"),
        (",A,,C\nu,1,2,3\nv,3,4,5\n", "its columns have names, but that of number 2 is empty"),
        (",A,B\nu,1,2\n,3,4\n", "its rows have names, but that of number 2 is empty"),
        ("# made by hand\n,A,B\nu,1,2\n", "comment lines are not read; remove the one that begins with '# made by"),
        ("% a b\n1 2\n3 4\n", "comment lines are not read"),
        ('A,B\n"1,2\n' + "3,4\n" * 40_000, "is not a table of cells: .* Is a quotation mark left open"),
        ("A,B\nä,1\n".encode("latin-1"), r"is not text in UTF-8 \(.* at byte 4\); save it as UTF-8"),
        ("A\tB\n1\t2\n".encode("utf-16"), "is not text in UTF-8"),
    ],
)
def test_text_that_is_no_table(write, content, message):
    with pytest.raises(InputError, match=message) as error:
        read_table(write("t.csv", content))
    assert "t.csv" in str(error.value)


def test_a_file_that_is_not_there(write, tmp_path):
    write("Projection.csv", "1,2\n3,4\n")
    (tmp_path / "projections").mkdir()
    (tmp_path / "zzz.cs").mkdir()  # a folder is no suggestion
    with pytest.raises(InputError) as error:
        read_table(tmp_path / "projetion.csv")
    expected = f"there is no file {tmp_path / 'projetion.csv'}. Did you mean {tmp_path / 'Projection.csv'}?"
    assert str(error.value) == expected
    for path in (tmp_path / "zzz.csv", tmp_path / "no/such/folder.csv", tmp_path / "zzz.npz:T"):
        with pytest.raises(InputError, match=r"there is no file .*(zzz\.csv|folder\.csv|zzz\.npz)\.$"):
            read_table(path)
    with pytest.raises(InputError, match="projections is a folder; a file is needed"):
        read_table(tmp_path / "projections")


def test_a_kind_that_is_not_read(write):
    with pytest.raises(InputError, match=r"t\.docx is of a kind that is not read; use one of \.csv, \.tsv"):
        read_table(write("t.docx", "x"))


def test_upper_case_suffixes(write):
    assert read_table(write("T.CSV", "1,2\n3,4\n")).values.shape == (2, 2)


# ---- arrays


@pytest.mark.parametrize("kind", ["float64", "float32", "int16", "bool", ">f4"])
def test_npy(tmp_path, kind):
    values = (WEIGHTS * 3).astype(kind)
    np.save(tmp_path / "a.npy", values)
    table = read_table(tmp_path / "a.npy")
    np.testing.assert_array_equal(table.values, values)
    assert table.values.dtype == (np.float32 if kind == "float32" else np.float64)
    assert (table.rows, table.columns) == (None, None)


NAMES = {
    "text": np.array(UNITS),
    "bytes": np.array(UNITS, dtype="S"),
    "objects, as pandas keeps them": np.array(UNITS, dtype=object),
    "a column": np.array(UNITS)[:, None],
}


@pytest.mark.parametrize("names", NAMES.values(), ids=NAMES)
def test_npz_with_several_arrays(tmp_path, names):
    arrays = {"T": WEIGHTS, "FC": CONNECTIVITY, "regions": names, "inputs": np.array(INPUTS), "version": np.array(3)}
    path = npz(tmp_path / "m.npz", **arrays)
    table = read_table(f"{path}:T")
    np.testing.assert_array_equal(table.values, WEIGHTS)
    assert (table.rows, table.columns) == (UNITS, INPUTS)
    assert table.path == path
    assert read_table(f"{path}:FC").rows == UNITS
    with pytest.raises(InputError, match=r"holds 2 matrices \(T, FC\); say which: .*m\.npz:T"):
        read_table(path)
    with pytest.raises(InputError, match=r"no matrix 'Tt'\. Did you mean 'T'\? It has: T, FC\."):
        read_table(f"{path}:Tt")


def test_one_matrix_needs_no_name(tmp_path):
    assert read_table(npz(tmp_path / "m.npz", T=WEIGHTS, regions=np.array(UNITS))).rows == UNITS


@pytest.mark.parametrize("called", ["regions", "Units", "acronym"])
def test_of_several_words_for_each_unit_those_that_are_called_so_are_the_names(tmp_path, called):
    hemispheres = np.array(["left"] * 3 + ["right"] * 3)
    named = npz(tmp_path / "m.npz", T=WEIGHTS, hemisphere=hemispheres, **{called: np.array(UNITS)})
    assert read_table(named).rows == UNITS
    unique = npz(tmp_path / "u.npz", T=WEIGHTS, hemisphere=hemispheres, other=np.array(UNITS))
    assert read_table(unique).rows == UNITS
    doubtful = npz(tmp_path / "d.npz", T=WEIGHTS, one=np.array(UNITS[::-1]), other=np.array(UNITS))
    assert read_table(doubtful).rows is None
    none = npz(tmp_path / "n.npz", T=WEIGHTS, hemisphere=hemispheres)
    assert read_table(none).rows is None


def test_objects_that_could_run_are_left_alone(tmp_path, capsys):
    class Runs:
        def __reduce__(self):
            return (print, ("harm",))

    path = npz(tmp_path / "m.npz", T=WEIGHTS, regions=np.array([Runs()] * 6, dtype=object))
    assert read_table(path).rows is None
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("name", "make", "message"),
    [
        ("a.npy", lambda p: np.save(p, WEIGHTS[0]), r"holds float64 of shape \(4,\); a matrix of numbers is needed"),
        ("a.npy", lambda p: np.save(p, np.array(["a"])), r"holds str32 of shape \(1,\)"),
        ("a.npy", lambda p: np.save(p, WEIGHTS * 1j), r"holds complex128"),
        ("a.npy", lambda p: np.save(p, np.array([{}]), allow_pickle=True), "could not be read as NPY: Object arrays"),
        ("a.npy", lambda p: np.save(p, np.where(WEIGHTS > 0, np.inf, WEIGHTS)), "not finite .* the first at row"),
        ("a.npy", lambda p: p.write_bytes(b"hello"), "could not be read as NPY"),
        ("a.npy", lambda p: p.write_bytes(b""), "could not be read as NPY"),
        ("a.npy", lambda p: np.save(p, WEIGHTS) or p.write_bytes(p.read_bytes()[:-9]), "could not be read as NPY"),
        ("a.npy", lambda p: p.write_bytes(npz(p.with_suffix(".npz"), a=WEIGHTS).read_bytes()), "zip archive, like NPZ"),
        ("a.npz", lambda p: p.write_bytes(b"hello"), "could not be read as NPZ: it is no zip archive"),
        ("a.npz", lambda p: p.write_bytes(npz(p, a=WEIGHTS).read_bytes()[:-99]), "could not be read as NPZ"),
        ("a.npz", lambda p: npz(p, names=np.array(UNITS)), r"holds 0 matrices \(none\), and one is needed"),
        ("a.npz", lambda p: npz(p, T=WEIGHTS, area=np.array(["a", *UNITS[:5]])[[0] * 6]), "must be unique.*repeat: a"),
        ("a.mat", lambda p: p.write_bytes(b"hello"), "could not be read as a MATLAB file"),
        ("a.mat", lambda p: p.write_bytes(b""), "could not be read as a MATLAB file"),
        ("a.mat", lambda p: savemat(p, {"T": WEIGHTS}) or p.write_bytes(p.read_bytes()[:-99]), "read as a MATLAB file"),
        ("a.mat", lambda p: savemat(p, {"s": {"T": WEIGHTS}}), "holds 0 matrices"),
        ("a.mat", lambda p: p.write_bytes(b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM" + b"\x89HDF"), "save.*-v7"),
        ("a.xlsx", lambda p: p.write_bytes(b"hello"), "could not be read as an Excel file"),
    ],
)  # fmt: skip
def test_arrays_that_cannot_be_read(tmp_path, name, make, message):
    make(tmp_path / name)
    with pytest.raises(InputError, match=message) as error:
        read_table(tmp_path / name)
    assert str(tmp_path / name) in str(error.value)


@pytest.mark.parametrize("version", ["4", "5"])
@pytest.mark.parametrize("matrix", [WEIGHTS, WEIGHTS.round(1).astype("float32"), sparse.csc_array(WEIGHTS.round())])
def test_mat(tmp_path, version, matrix):
    if version == "4" and getattr(matrix, "dtype", None) == np.float32:
        matrix = matrix.astype(float)
    path = tmp_path / "m.mat"
    savemat(path, {"T": matrix}, format=version)
    table = read_table(path)
    np.testing.assert_array_equal(table.values, matrix.toarray() if sparse.issparse(matrix) else matrix)
    assert table.rows is None


@pytest.mark.parametrize(
    "names", [np.array(UNITS, dtype=object)[:, None], np.array(UNITS, dtype=object), np.array(UNITS)],
    ids=["a column of cells", "a row of cells", "a matrix of letters"],
)  # fmt: skip
def test_mat_with_names(tmp_path, names):
    path = tmp_path / "m.mat"
    savemat(path, {"T": WEIGHTS, "FC": CONNECTIVITY, "regions": names, "threshold": 0.5, "note": "made by hand"})
    assert read_table(f"{path}:T").rows == UNITS
    with pytest.raises(InputError, match=r"holds 2 matrices \(T, FC\); say which"):
        read_table(path)


def workbook(path, **sheets):
    book = openpyxl.Workbook()
    book.remove(book.active)
    for name, rows in sheets.items():
        sheet = book.create_sheet(name)
        for row in rows:
            sheet.append(row)
    book.save(path)
    return path


def test_excel(tmp_path):
    rows = [[None, *INPUTS], *([unit, *map(float, values)] for unit, values in zip(UNITS, WEIGHTS, strict=True))]
    one = workbook(tmp_path / "one.xlsx", T=[[None], *rows, [None] * 7, [None] * 5])
    table = read_table(one)
    np.testing.assert_allclose(table.values, WEIGHTS, rtol=1e-15)  # Excel keeps 15 digits or so
    assert (table.rows, table.columns) == (UNITS, INPUTS)
    two = workbook(tmp_path / "two.xlsx", W_ipsi=rows, PValue=[[None, "a"], ["u", "#NUM!"]], Blank=[[None]])
    assert read_table(f"{two}:W_ipsi").rows == UNITS
    for path, message in [
        (two, r"has 3 sheets \(W_ipsi, PValue, Blank\); say which: .*two\.xlsx:W_ipsi"),
        (f"{two}:W_ispi", r"has no sheet 'W_ispi'\. Did you mean 'W_ipsi'"),
        (f"{two}:PValue", r"two\.xlsx, row 'u', column 'a' is '#NUM!'"),
        (f"{two}:Blank", r"sheet 'Blank' is empty"),
    ]:
        with pytest.raises(InputError, match=message):
            read_table(path)


def test_without_openpyxl_the_message_says_what_to_install(tmp_path, monkeypatch):
    path = workbook(tmp_path / "one.xlsx", T=[[1, 2], [3, 4]])
    monkeypatch.setitem(sys.modules, "openpyxl", None)
    with pytest.raises(InputError, match=r"needs openpyxl, which is not installed: pip install 'fctoolbox\[excel\]'"):
        read_table(path)


def test_a_large_table_is_shared_not_copied(tmp_path):
    # A dense connectome takes gigabytes: what is in order already is handed on as it is, in its own precision.
    np.save(tmp_path / "t.npy", WEIGHTS)
    np.save(tmp_path / "c.npy", CONNECTIVITY.astype(np.float32))
    assert not read_table(tmp_path / "c.npy").values.flags.writeable
    system = read_system(tmp_path / "t.npy", connectivity=tmp_path / "c.npy")
    assert system.activity.connectivity.dtype == np.float32


@pytest.mark.parametrize("start", [0, 1])
def test_a_row_that_numbers_the_columns_is_a_header(write, start):
    # pandas writes one when a matrix has no names; read as data it would be one more time point.
    columns = [str(j + start) for j in range(4)]
    table = read_table(write("t.csv", numbers(20, 4), columns=columns))
    assert table.columns is None
    np.testing.assert_array_equal(table.values, numbers(20, 4))


def test_distances_on_a_line_are_no_header(write):
    line = np.abs(np.subtract.outer(range(4), range(4)))
    table = read_table(write("d.csv", "\n".join(",".join(map(str, row)) for row in line)))
    np.testing.assert_array_equal(table.values, line)


def test_a_column_that_numbers_the_rows_is_no_input(write):
    rows = "line,a,b\n" + "".join(f"{i},0.5,{i}.5\n" for i in range(6))
    with pytest.raises(InputError, match="column 'line' only numbers the rows"):
        read_table(write("p.csv", rows))


@pytest.mark.parametrize(
    "corner", ["", "unit", "Node", "parcel", "index", "Unnamed: 0", "region_id", "label", "ROI", "acronyms"]
)
def test_numbers_below_a_word_for_units_are_their_names(write, corner):
    table = read_table(write("p.csv", f"{corner},LP,MD\n385,1,2\n409,3,4\n20,5,6\n"))
    assert (table.rows, table.columns) == (("385", "409", "20"), ("LP", "MD"))


@pytest.mark.parametrize("called", ["inputs", "source", "Nuclei", "columns"])
def test_names_of_the_inputs_of_a_square_projection_are_not_those_of_its_units(tmp_path, called):
    senders = np.array([f"from {unit}" for unit in UNITS])
    alone = read_table(npz(tmp_path / "a.npz", T=CONNECTIVITY, **{called: senders}))
    assert (alone.rows, alone.columns) == (None, tuple(senders))
    both = read_table(npz(tmp_path / "b.npz", T=CONNECTIVITY, **{called: senders, "regions": np.array(UNITS)}))
    assert (both.rows, both.columns) == (UNITS, tuple(senders))


def test_of_two_lists_of_names_the_one_with_the_most_telling_word_counts(tmp_path):
    numbered = np.array([f"{i}" for i in range(6)])
    table = read_table(npz(tmp_path / "m.npz", T=WEIGHTS, subject_id=numbered, regions=np.array(UNITS)))
    assert table.rows == UNITS
