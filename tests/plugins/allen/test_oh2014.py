import numpy as np
import pytest
from fctoolbox_allen.files import DIVISIONS, WEIGHTS
from fctoolbox_allen.oh2014 import Connectome, Division, find_division, read_connectome, read_divisions
from openpyxl import Workbook

from fctoolbox import InputError

REGIONS = ("A", "B", "C")
# From row to column: A sends to B and C, C sends to A; B to nobody.
FROM_ROW = [[0, 0.5, 2], [0, 0, 0], [1, 0, 0]]
P_VALUES = [["#NUM!", 0.04, 1e-5], ["#NUM!", "#NUM!", "#NUM!"], [0.2, "#NUM!", "#NUM!"]]


def write_book(path, **sheets):
    book = Workbook()
    book.remove(book.active)
    for title, rows in sheets.items():
        sheet = book.create_sheet(title)
        for row in rows:
            sheet.append(row)
    book.save(path)
    return path


def square(values, columns=REGIONS, rows=REGIONS):
    return [[None, *columns], *([name, *row] for name, row in zip(rows, values, strict=True))]


@pytest.fixture
def tables(tmp_path):
    return write_book(tmp_path / "s4.xlsx", W_ipsi=square(FROM_ROW), PValue_ipsi=square(P_VALUES))


@pytest.fixture
def divisions_table(tmp_path):
    header = ["ID", "Ontology order", "Acronym", "Name", "Major Region", "Voxel Count"]
    rows = [
        [3, 30, "C", "c", "Pons", 900],
        [2, 10, "B ", "b", "Thalamus", 20],
        [1, 5, "A", "a", "Thalamus", 1],
    ]
    return write_book(tmp_path / "s2.xlsx", Voxel_Count_295_Structures=[header, *rows])


def test_rows_are_sources_and_become_columns(tables):
    connectome = read_connectome(tables)
    assert connectome.regions == REGIONS
    np.testing.assert_array_equal(connectome.weights, [[0, 0, 1], [0.5, 0, 0], [2, 0, 0]])
    assert connectome.weights[2, 0] == 2  # from A onto C


@pytest.mark.parametrize(
    ("p_value", "expected"),
    [
        (1.0, [[0, 0, 1], [0.5, 0, 0], [2, 0, 0]]),
        (0.05, [[0, 0, 0], [0.5, 0, 0], [2, 0, 0]]),
        (0.04, [[0, 0, 0], [0.5, 0, 0], [2, 0, 0]]),
        (0.001, [[0, 0, 0], [0, 0, 0], [2, 0, 0]]),
    ],
)
def test_weights_above_the_p_value_are_zero_and_missing_p_values_are_no_obstacle(tables, p_value, expected):
    np.testing.assert_array_equal(read_connectome(tables, p_value=p_value).weights, expected)


@pytest.mark.parametrize("p_value", [0, -1, 1.5, float("nan"), "0.05", True])
def test_p_value_must_be_a_probability(tables, p_value):
    with pytest.raises(InputError, match=r"p_value is .*between 0 and 1"):
        read_connectome(tables, p_value=p_value)


@pytest.mark.parametrize("bad", ["text", -1, None, "#NUM!"])
def test_a_weight_that_is_no_weight_is_located(tmp_path, bad):
    path = write_book(tmp_path / "s4.xlsx", W_ipsi=square([[0, 1, bad], [0, 0, 0], [1, 1, 0]]))
    where = "row A, column C" if bad in ("text", None) else "from A to C"
    with pytest.raises(InputError, match=rf"s4\.xlsx, sheet W_ipsi: .*{where}"):
        read_connectome(path)


def test_rows_and_columns_must_name_the_same_regions(tmp_path):
    path = write_book(tmp_path / "s4.xlsx", W_ipsi=square(FROM_ROW, rows=("A", "C", "B")))
    with pytest.raises(InputError, match=r"names of its rows differ .* \(first at C and B\)"):
        read_connectome(path)


def test_p_values_must_name_the_same_regions(tmp_path):
    turned = ("C", "B", "A")
    path = write_book(tmp_path / "s4.xlsx", W_ipsi=square(FROM_ROW), PValue_ipsi=square(P_VALUES, turned, turned))
    assert read_connectome(path).regions == REGIONS
    with pytest.raises(InputError, match="W_ipsi and PValue_ipsi name different regions"):
        read_connectome(path, p_value=0.05)


def test_a_weight_without_a_p_value_is_located(tmp_path):
    p_values = square([["#NUM!", 0.04, "#NUM!"], *P_VALUES[1:]])
    path = write_book(tmp_path / "s4.xlsx", W_ipsi=square(FROM_ROW), PValue_ipsi=p_values)
    with pytest.raises(InputError, match="the weight from A to C has no p-value; leave p_value out"):
        read_connectome(path, p_value=0.05)


def test_a_missing_sheet_is_named_with_those_that_exist(tmp_path):
    path = write_book(tmp_path / "other.xlsx", W_ipsy=square(FROM_ROW))
    with pytest.raises(InputError, match=r"no sheet 'W_ipsi'\. Did you mean 'W_ipsy'\? It has: W_ipsy"):
        read_connectome(path)


def test_an_empty_sheet_holds_no_table(tmp_path):
    with pytest.raises(InputError, match="sheet W_ipsi: it holds no table"):
        read_connectome(write_book(tmp_path / "s4.xlsx", W_ipsi=[]))


def test_what_is_no_workbook_is_refused(tmp_path):
    path = tmp_path / "s4.xlsx"
    path.write_text("<html>404</html>")
    with pytest.raises(InputError, match="is not an Excel workbook"):
        read_connectome(path)


def test_divisions_are_in_ontology_order_and_blanks_are_cut(divisions_table):
    divisions = read_divisions(divisions_table)
    assert divisions["Thalamus"] == Division("Thalamus", ("A", "B"))
    assert divisions["Pons"] == Division("Pons", ("C",))


def test_a_division_is_cut_to_the_connectome():
    divisions = {"Thalamus": Division("Thalamus", ("A", "X", "B")), "Pons": Division("Pons", ("Y",))}
    connectome = Connectome(REGIONS, np.zeros((3, 3)))
    assert find_division(divisions, "Thalamus", connectome).regions == ("A", "B")
    with pytest.raises(InputError, match=r"none of the regions of Pons is in the connectome \(Y\)"):
        find_division(divisions, "Pons", connectome)


@pytest.mark.parametrize("name", ["thalamus", "Talamus"])
def test_an_unknown_division_is_answered_with_a_suggestion(divisions_table, name):
    connectome = Connectome(REGIONS, np.zeros((3, 3)))
    with pytest.raises(InputError, match=r"sources is '.*Did you mean 'Thalamus'\? There are: Pons, Thalamus\."):
        find_division(read_divisions(divisions_table), name, connectome)


def test_a_table_without_its_columns_is_refused(tmp_path):
    path = write_book(tmp_path / "s2.xlsx", Voxel_Count_295_Structures=[["Acronym", "Name"], ["A", "a"]])
    with pytest.raises(InputError, match="no column Major Region, Ontology order"):
        read_divisions(path)


def biology(connectome, divisions):
    """Input of the cortex from the caudoputamen, and of the caudoputamen from the cortex."""
    cortex = [connectome.regions.index(area) for area in find_division(divisions, "Isocortex", connectome).regions]
    caudoputamen = connectome.regions.index("CP")
    return connectome.weights[cortex, caudoputamen].sum(), connectome.weights[caudoputamen, cortex].sum()


def strongest_target(connectome, source):
    return connectome.regions[connectome.weights[:, connectome.regions.index(source)].argmax()]


def test_directions_of_the_miniature(miniature, connectome):
    onto_cortex, onto_caudoputamen = biology(connectome, read_divisions(miniature.divisions))
    assert onto_cortex < 0.2 < 10 < onto_caudoputamen
    assert strongest_target(connectome, "LGd") == "VISp"


@pytest.mark.mirror
def test_directions_are_those_of_biology(published):
    connectome, divisions = read_connectome(published(WEIGHTS)), read_divisions(published(DIVISIONS))
    assert len(connectome.regions) == 213
    assert biology(connectome, divisions) == pytest.approx((0.18090959, 69.71161170), abs=1e-6)
    assert strongest_target(connectome, "LGd") == "VISp"
    assert strongest_target(connectome, "VAL") == "MOp"


@pytest.mark.mirror
def test_every_region_of_the_connectome_has_one_of_thirteen_divisions(published):
    connectome, divisions = read_connectome(published(WEIGHTS)), read_divisions(published(DIVISIONS))
    assert len(divisions) == 13
    members = [find_division(divisions, name, connectome).regions for name in divisions]
    assert sorted(region for regions in members for region in regions) == sorted(connectome.regions)
    assert len(find_division(divisions, "Thalamus", connectome).regions) == 35
    assert len(find_division(divisions, "Isocortex", connectome).regions) == 38


@pytest.mark.mirror
def test_p_value_one_keeps_every_published_weight(published):
    # '#NUM!' stands exactly where the weight is 0, so it never hides one.
    path = published(WEIGHTS)
    everything, nearly_nothing = read_connectome(path), read_connectome(path, p_value=1e-10)
    np.testing.assert_array_equal(read_connectome(path, p_value=1).weights, everything.weights)
    kept = nearly_nothing.weights > 0
    assert 0 < kept.sum() < 0.1 * (everything.weights > 0).sum()
    np.testing.assert_array_equal(nearly_nothing.weights[kept], everything.weights[kept])
