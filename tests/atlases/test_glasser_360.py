"""The atlas of Glasser's 360 areas."""

import csv
import importlib.util
from pathlib import Path

import numpy as np
import pytest
from fctoolbox_atlases import load_atlas

from fctoolbox import DataFile
from fctoolbox.data import locate

SCRIPT = Path(__file__).parents[2] / "atlases" / "build" / "glasser_360.py"
CENTROIDS = DataFile(
    "human_glasser360_centroids_conte69_mm.csv",
    "",
    "41e5497817f13c4a2007dc7ca164f28999b401ecb704467a44e33fd6d4906cb3",
    13194,
)


@pytest.fixture(scope="module")
def atlas():
    return load_atlas("glasser-360")


def test_360_areas_left_first(atlas):
    assert len(set(atlas["name"])) == len(atlas) == 360
    assert atlas["index"].tolist() == list(range(1, 361))
    assert atlas["hemisphere"].tolist() == ["left"] * 180 + ["right"] * 180
    initials = {"left": "L_", "right": "R_"}
    assert all(name[:2] == initials[side] for name, side in zip(atlas["name"], atlas["hemisphere"], strict=True))


def test_both_hemispheres_have_the_same_areas_in_the_same_order(atlas):
    assert [name[2:] for name in atlas["name"][:180]] == [name[2:] for name in atlas["name"][180:]]


def test_the_official_file_counts_right_areas_first(atlas):
    assert sorted(atlas["key"]) == list(range(1, 361))
    assert atlas["key"][atlas.rows("name", ["R_V1", "L_V1", "L_p24"])].tolist() == [1, 181, 360]
    assert (atlas["key"][:180] > 180).all()


def test_left_is_left(atlas):
    np.testing.assert_array_equal(atlas["x"] < 0, atlas["hemisphere"] == "left")
    rows = atlas.rows("name", ["L_V1", "L_10pp", "L_4", "L_TGv"])
    posterior, anterior, dorsal, ventral = (np.array([atlas[axis][row] for axis in "xyz"]) for row in rows)
    assert posterior[1] < -70 < 50 < anterior[1]
    assert ventral[2] < -20 < 45 < dorsal[2]


def test_homotopic_areas_mirror_each_other(atlas):
    positions = np.stack([atlas[axis] for axis in "xyz"], axis=1)
    mirrored = positions[180:] * (-1, 1, 1)
    assert np.linalg.norm(positions[:180] - mirrored, axis=1).max() < 20


def test_all_cortical_vertices_belong_to_an_area(atlas):
    is_left = atlas["hemisphere"] == "left"
    assert atlas["n_vertices"][is_left].sum() == 29_696
    assert atlas["n_vertices"][~is_left].sum() == 29_716


def test_networks_are_those_of_their_atlases(atlas):
    assert set(atlas["yeo7"]) == {"", *load_atlas("yeo-7")["name"]}
    # most of the hippocampus and the piriform cortex is outside Yeo's networks
    assert set(atlas["name"][atlas["yeo7"] == ""]) == {"L_H", "R_H", "L_Pir", "R_Pir"}
    assert ((atlas["yeo7_share"] > 0.2) & (atlas["yeo7_share"] <= 1)).all()
    assert len(set(atlas["cole_anticevic"])) == 12
    assert (np.unique(atlas["cole_anticevic"], return_counts=True)[1] >= 4).all()


def test_networks_of_well_known_areas(atlas):
    expected = {
        "L_V1": ("Visual", "Visual1"),
        "R_V1": ("Visual", "Visual1"),
        "L_4": ("Somatomotor", "Somatomotor"),
        "L_A1": ("Somatomotor", "Auditory"),
        "R_POS1": ("Default", "Default"),
    }
    rows = atlas.rows("name", list(expected))
    found = zip(atlas["yeo7"][rows], atlas["cole_anticevic"][rows], strict=True)
    assert list(map(tuple, found)) == list(expected.values())


@pytest.mark.mirror
def test_centroids_agree_with_an_independent_computation(atlas):
    path = locate(CENTROIDS)
    if path is None:
        pytest.skip("the derived centroids are not in FCTOOLBOX_MIRROR")
    with path.open(newline="") as stream:
        derived = {row[""]: [float(row[axis]) for axis in "xyz"] for row in csv.DictReader(stream)}
    positions = np.stack([atlas[axis] for axis in "xyz"], axis=1)
    error = np.linalg.norm(positions - [derived[name] for name in atlas["name"]], axis=1)
    # Derived from ENIGMA's parcellation, which is the official one on the left only, and which counts 63
    # vertices of the right hemisphere as L_p24.
    is_left, is_p24 = atlas["hemisphere"] == "left", atlas["name"] == "L_p24"
    assert error[is_left & ~is_p24].max() < 0.002
    assert error[is_p24].min() > 20
    assert error[~is_left].max() < 8


@pytest.mark.mirror
def test_the_table_is_what_its_script_makes():
    spec = importlib.util.spec_from_file_location("glasser_360", SCRIPT)
    build = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(build)
    if any(locate(file) is None for file in build.FILES):
        pytest.skip("the origin files are not in FCTOOLBOX_MIRROR")
    assert build.build() == build.TABLE.read_text(encoding="utf-8")
