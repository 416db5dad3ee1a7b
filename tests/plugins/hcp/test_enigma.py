"""ENIGMA's text files, and the ways in which they mislead."""

import numpy as np
import pytest
from fctoolbox_hcp.enigma import read_area_of_vertex, read_connectivity, read_names
from fctoolbox_hcp.files import AREA_NAMES, AREA_OF_VERTEX, CONNECTIVITY

from fctoolbox import DataFile, RecurrentActivity
from fctoolbox.data import locate
from fctoolbox.errors import InputError

SUBCORTICAL = DataFile(
    "strucMatrix_sctx_glasser_360.csv",
    "",
    "1b0e5fc60ae1b26bcc90ecc47aada40a3beec10da4478e4a6be03be5b28d1b95",
    16_082,
)


@pytest.fixture
def names(tmp_path):
    path = tmp_path / "labels.csv"
    path.write_text("L_V1,L_MST,L_9-46d,R_V1\n")
    return path


@pytest.fixture
def matrix(tmp_path):
    path = tmp_path / "matrix.csv"
    values = np.arange(16.0).reshape(4, 4)
    np.savetxt(path, values + values.T, delimiter=",")
    return path


def test_areas_are_found_by_name_in_any_order(matrix, names):
    connectivity = read_connectivity(matrix, names)
    assert connectivity.areas == ("L_V1", "L_MST", "L_9-46d", "R_V1")
    np.testing.assert_array_equal(connectivity.between(["R_V1", "L_V1"]), [[30, 15], [15, 0]])
    np.testing.assert_array_equal(connectivity.between(["L_9-46d"]), [[20]])


def test_an_unknown_area_is_named_with_what_is_near(matrix, names):
    with pytest.raises(InputError, match=r"no area L_9_46d\. Did you mean 'L_9-46d'\? It has 4: L_V1, L_MST"):
        read_connectivity(matrix, names).between(["L_V1", "L_9_46d"])


def test_the_subcortical_file_is_recognised(tmp_path, names):
    # published as "14 × N", it is 14 × (N + 14)
    path = tmp_path / "strucMatrix_sctx.csv"
    np.savetxt(path, np.zeros((14, 18)), delimiter=",")
    with pytest.raises(InputError, match=r"shape \(14, 18\).*expected \(4, 4\)\. This is a subcortical file"):
        read_connectivity(path, names)


def test_matrix_and_names_must_match_in_number(tmp_path, names):
    path = tmp_path / "matrix.csv"
    np.savetxt(path, np.zeros((3, 3)), delimiter=",")
    with pytest.raises(InputError, match=r"matrix\.csv has shape \(3, 3\), but labels\.csv names 4 areas") as caught:
        read_connectivity(path, names)
    assert "subcortical" not in str(caught.value)


def test_text_in_the_matrix_is_refused(tmp_path, names):
    path = tmp_path / "matrix.csv"
    path.write_text("0,1\nx,0\n")
    with pytest.raises(InputError, match=r"matrix\.csv is not a table of numbers"):
        read_connectivity(path, names)


@pytest.mark.parametrize("text", ["L_V1,L_V1", "L_V1,,L_V2", ""])
def test_names_are_whole_and_unique(tmp_path, text):
    path = tmp_path / "labels.csv"
    path.write_text(text)
    with pytest.raises(InputError, match="neither empty nor repeated"):
        read_names(path)


def test_areas_above_127_do_not_wrap_around(tmp_path):
    path = tmp_path / "parcellation.csv"
    np.savetxt(path, [0, 128, 180, 181, 256, 360], fmt="%d")
    areas = read_area_of_vertex(path, 360)
    assert areas["left"].tolist() == [-1, 127, 179]
    assert areas["right"].tolist() == [180, 255, 359]


@pytest.mark.parametrize(("numbers", "message"), [([0, 5], "line 2: area 5 does not exist; there are 4"),
                                                  ([-1, 2], "line 1: area -1 does not exist"),
                                                  ([0, 1, 2], "has 3 lines; two hemispheres")])  # fmt: skip
def test_impossible_areas_are_named(tmp_path, numbers, message):
    path = tmp_path / "parcellation.csv"
    np.savetxt(path, numbers, fmt="%d")
    with pytest.raises(InputError, match=message):
        read_area_of_vertex(path, 4)


@pytest.mark.mirror
def test_the_published_connectivity_is_fisher_z_without_negatives():
    matrix, names = locate(CONNECTIVITY), locate(AREA_NAMES)
    if matrix is None or names is None:
        pytest.skip("ENIGMA's files are not in FCTOOLBOX_MIRROR")
    connectivity = read_connectivity(matrix, names)
    assert connectivity.areas[:2] == ("L_V1", "L_MST")
    assert connectivity.areas[180:182] == ("R_V1", "R_MST")
    assert connectivity.fisher_z.min() == 0
    assert connectivity.fisher_z.max() > 1
    with pytest.raises(InputError, match="scale='fisher-z'"):
        RecurrentActivity(connectivity=connectivity.fisher_z, scale="pearson-r")


@pytest.mark.mirror
def test_the_published_subcortical_file_is_refused():
    matrix, names = locate(SUBCORTICAL), locate(AREA_NAMES)
    if matrix is None or names is None:
        pytest.skip("ENIGMA's files are not in FCTOOLBOX_MIRROR")
    with pytest.raises(InputError, match=r"\(14, 374\), but .* names 360 areas.*subcortical file"):
        read_connectivity(matrix, names)


@pytest.mark.mirror
def test_the_right_half_of_the_published_parcellation_is_the_left_one():
    path = locate(AREA_OF_VERTEX)
    if path is None:
        pytest.skip("ENIGMA's files are not in FCTOOLBOX_MIRROR")
    areas = read_area_of_vertex(path, 360)
    assert len(areas["left"]) == len(areas["right"]) == 32_492
    assert np.unique(areas["left"]).tolist() == [-1, *range(180)]
    # left plus 180, so that where only the left is medial wall, a left area (L_p24) appears on the right
    cortex = areas["right"] >= 0
    assert cortex.sum() == 29_716
    np.testing.assert_array_equal(areas["right"][cortex], areas["left"][cortex] + 180)
    assert (areas["right"] == 179).sum() == 63
