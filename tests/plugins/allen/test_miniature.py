import pickletools

import nrrd
import numpy as np
import openpyxl
import pytest
from fctoolbox_allen import files as published_files
from fctoolbox_allen.miniature import COMMUNITIES, divisions, planted_community, write_files
from fctoolbox_allen.oh2014 import find_division, read_connectome, read_divisions
from fctoolbox_allen.rsfmri import read_scans


def sheet(path, title):
    book = openpyxl.load_workbook(path, read_only=True)
    rows = list(book[title].iter_rows(values_only=True))
    book.close()
    return rows


def sheet_names(path):
    book = openpyxl.load_workbook(path, read_only=True)
    names = book.sheetnames
    book.close()
    return names


def pickle_globals(path):
    return {argument for opcode, argument, _ in pickletools.genops(path.read_bytes()) if opcode.name == "GLOBAL"}


def test_the_same_seed_writes_the_same_content(miniature, tmp_path):
    again, other = write_files(tmp_path / "a", rng=0), write_files(tmp_path / "b", rng=1)
    for read in (
        lambda files: read_connectome(files.weights).weights,
        lambda files: read_scans(files.scans)[1],
    ):
        np.testing.assert_array_equal(read(miniature), read(again))
        assert not np.array_equal(read(miniature), read(other))


def test_the_random_state_of_others_is_left_alone(tmp_path):
    before = np.random.get_state()[1].copy()
    write_files(tmp_path, rng=3)
    np.testing.assert_array_equal(before, np.random.get_state()[1])


def test_p_values_of_zero_weights_are_text(miniature):
    weights, p_values = sheet(miniature.weights, "W_ipsi"), sheet(miniature.weights, "PValue_ipsi")
    pairs = [pair for w, p in zip(weights[1:], p_values[1:], strict=True) for pair in zip(w[1:], p[1:], strict=True)]
    assert all((p == "#NUM!") == (w == 0) for w, p in pairs)
    assert 0.2 < np.mean([p == "#NUM!" for _, p in pairs]) < 0.8


def test_every_division_can_be_chosen(miniature, connectome):
    found = read_divisions(miniature.divisions)
    assert set(found) == set(divisions())
    for name, regions in divisions().items():
        assert set(find_division(found, name, connectome).regions) == set(regions)


def test_the_trailing_blank_is_there_and_not_in_the_connectome(miniature, connectome):
    acronyms = [row[2] for row in sheet(miniature.divisions, "Voxel_Count_295_Structures")]
    assert "SUM " in acronyms
    assert "SUM" in read_divisions(miniature.divisions)["Hypothalamus"].regions
    assert "SUM" not in connectome.regions


def test_every_area_has_one_planted_community():
    for name, (areas, _) in COMMUNITIES.items():
        assert {planted_community(area) for area in areas.split()} == {name}
    assert planted_community("ACA") == "prefrontal"


def test_scans_are_z_scored(miniature):
    for timeseries in read_scans(miniature.scans).values():
        np.testing.assert_allclose(timeseries.mean(axis=0), 0, atol=1e-12)
        np.testing.assert_allclose(timeseries.std(axis=0), 1)


def test_the_pickle_names_numpy_as_numpy_1_did(miniature):
    assert pickle_globals(miniature.scans) == {
        "numpy.core.multiarray _reconstruct",
        "numpy ndarray",
        "numpy dtype",
    }
    assert miniature.scans.read_bytes()[:2] == b"\x80\x03"


@pytest.mark.mirror
@pytest.mark.filterwarnings("ignore::UserWarning:openpyxl")
def test_formats_are_those_of_the_published_files(miniature, published):
    for name, file in {"weights": published_files.WEIGHTS, "divisions": published_files.DIVISIONS}.items():
        assert sheet_names(getattr(miniature, name)) == sheet_names(published(file))
    assert pickle_globals(miniature.scans) == pickle_globals(published(published_files.SCANS))
    ours, theirs = (
        nrrd.read_header(str(path)) for path in (miniature.annotation, published(published_files.ANNOTATION))
    )
    assert set(ours) == set(theirs)
    for key in ("dimension", "space", "kinds", "encoding", "endian"):
        assert ours[key] == theirs[key]
