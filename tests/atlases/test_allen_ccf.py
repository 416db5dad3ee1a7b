import importlib.util
import os
from pathlib import Path

import numpy as np
import pytest
from fctoolbox_atlases import load_atlas

from fctoolbox.data import locate

ROOT = Path(__file__).parents[2] / "atlases"
DIVISIONS = {
    "Isocortex",
    "Olfactory areas",
    "Hippocampal formation",
    "Cortical subplate",
    "Striatum",
    "Pallidum",
    "Thalamus",
    "Hypothalamus",
    "Midbrain",
    "Pons",
    "Medulla",
    "Cerebellum",
}


@pytest.fixture(scope="module")
def atlas():
    return load_atlas("allen-ccf")


@pytest.fixture(scope="module")
def build():
    """The build script as a module; skipped where its reader or its files are missing."""
    pytest.importorskip("fctoolbox_allen")
    specification = importlib.util.spec_from_file_location("build_allen_ccf", ROOT / "build" / "allen_ccf.py")
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    for file in module.FILES:
        if not os.environ.get("FCTOOLBOX_MIRROR") or locate(file) is None:
            pytest.skip(f"{file.name} is not in FCTOOLBOX_MIRROR")
    return module


def of(atlas, hemisphere):
    return atlas["hemisphere"] == hemisphere


def region(atlas, acronym, hemisphere="left"):
    (row,) = np.flatnonzero((atlas["acronym"] == acronym) & of(atlas, hemisphere))
    return {column: values[row] for column, values in atlas.columns.items()}


def test_ids_and_acronyms_are_unique_within_a_hemisphere(atlas):
    assert set(atlas["hemisphere"]) == {"left", "right"}
    for hemisphere in ("left", "right"):
        for column in ("id", "acronym"):
            values = atlas[column][of(atlas, hemisphere)]
            assert len(set(values.tolist())) == len(values)


def test_ids_survive(atlas):
    # The largest ids need 30 bits; int8, int16 and float32 would all spoil them.
    assert atlas["id"].dtype == np.int64
    assert atlas["id"].min() > 0
    assert atlas["id"].max() == 614454277
    assert region(atlas, "VISp")["id"] == 385
    assert region(atlas, "LGd")["id"] == 170


def test_left_is_left(atlas):
    assert (atlas["ml_um"][of(atlas, "left")] < 5700).all()
    # The first voxels of the right half lie at 5700 exactly, and one small structure has no other.
    assert (atlas["ml_um"][of(atlas, "right")] >= 5700).all()


def test_axes_run_from_the_front_from_the_top_and_from_the_left(atlas):
    # Frontal pole before visual cortex, cortex above hypothalamus, temporal cortex outside of cingulate.
    assert region(atlas, "FRP")["ap_um"] < region(atlas, "VISp")["ap_um"]
    assert region(atlas, "VISp")["dv_um"] < region(atlas, "HY")["dv_um"]
    assert region(atlas, "TEa", "left")["ml_um"] < region(atlas, "ACA", "left")["ml_um"]
    assert region(atlas, "TEa", "right")["ml_um"] > region(atlas, "ACA", "right")["ml_um"]


def test_names_go_with_their_rows(atlas):
    expected = {
        "VISp": ("Primary visual area", "Isocortex", "VIS", "#08858c"),
        "LGd": ("Dorsal part of the lateral geniculate complex", "Thalamus", "GENd", "#ff8084"),
        "CP": ("Caudoputamen", "Striatum", "STRd", "#98d6f9"),
        "root": ("root", "", "", "#ffffff"),
    }
    for acronym, values in expected.items():
        row = region(atlas, acronym)
        assert (row["name"], row["division"], row["parent"], row["rgb"]) == values


def test_divisions_are_the_twelve(atlas):
    assert set(atlas["division"]) == {*DIVISIONS, ""}
    tops = {str(name) for name in atlas["name"] if name in DIVISIONS}
    assert tops == DIVISIONS


def test_parents_come_before_their_parts_and_hold_them(atlas):
    for hemisphere in ("left", "right"):
        seen = {}
        for acronym, parent, n_voxels in zip(
            *(atlas[column][of(atlas, hemisphere)] for column in ("acronym", "parent", "n_voxels")),
            strict=True,
        ):
            assert not parent or seen[parent] >= n_voxels
            seen[acronym] = n_voxels


@pytest.mark.parametrize(("whole", "parts"), [("ACA", ("ACAd", "ACAv")), ("RSP", ("RSPagl", "RSPd", "RSPv"))])
def test_a_whole_is_the_mean_of_its_parts_by_volume(atlas, whole, parts):
    for hemisphere in ("left", "right"):
        row, rows = region(atlas, whole, hemisphere), [region(atlas, part, hemisphere) for part in parts]
        n_voxels = [each["n_voxels"] for each in rows]
        assert row["n_voxels"] == sum(n_voxels)
        for column in ("ap_um", "dv_um", "ml_um"):
            assert row[column] == pytest.approx(np.average([each[column] for each in rows], weights=n_voxels), abs=0.11)


def test_hemispheres_mirror_each_other(atlas):
    left, right = (
        dict(zip(atlas["acronym"][of(atlas, side)], np.flatnonzero(of(atlas, side)), strict=True))
        for side in ("left", "right")
    )
    both = [(left[acronym], right[acronym]) for acronym in left if acronym in right]
    assert len(both) > 800
    i, j = np.array(both).T
    n_left, n_right = atlas["n_voxels"][i], atlas["n_voxels"][j]
    # Structures on the midline are cut unevenly; they are small. The root holds them all.
    large = n_left + n_right > 20_000
    assert (abs(n_left - n_right)[large] / (n_left + n_right)[large]).max() < 0.05
    assert abs(atlas["ap_um"][i] - atlas["ap_um"][j])[large].max() < 50
    assert abs(atlas["dv_um"][i] - atlas["dv_um"][j])[large].max() < 50
    assert abs(atlas["ml_um"][i] + atlas["ml_um"][j] - 2 * 5700)[large].max() < 50


def test_no_number_is_missing_and_colours_are_colours(atlas):
    for column in ("ap_um", "dv_um", "ml_um"):
        assert np.isfinite(atlas[column]).all()
    assert (atlas["n_voxels"] > 0).all()
    assert all(len(colour) == 7 and int(colour[1:], 16) >= 0 and colour[0] == "#" for colour in atlas["rgb"].tolist())


def test_every_column_says_what_it_is(atlas):
    import tomllib

    about = tomllib.loads((ROOT / "fctoolbox_atlases" / "allen-ccf" / "atlas.toml").read_text(encoding="utf-8"))
    assert all(column["about"] for column in about["columns"].values())
    assert "5700" in atlas.space
    assert "Wang et al. 2020" in atlas.citation


def test_the_table_is_small():
    assert (ROOT / "fctoolbox_atlases" / "allen-ccf" / "regions.tsv").stat().st_size < 200_000


@pytest.mark.mirror
def test_the_build_makes_this_very_table(build):
    assert build.build().encode("utf-8") == build.TABLE.read_bytes()


@pytest.mark.mirror
def test_the_build_script_writes_where_it_is_told(build, tmp_path, monkeypatch, capsys):
    out = tmp_path / "new" / "regions.tsv"
    monkeypatch.setattr("sys.argv", ["allen_ccf.py", "--mirror", os.environ["FCTOOLBOX_MIRROR"], "--out", str(out)])
    monkeypatch.setattr(build, "build", lambda: "id\n1\n")
    build.main()
    assert out.read_text() == "id\n1\n"
    assert "1 rows" in capsys.readouterr().out


@pytest.mark.mirror
def test_centroids_are_those_worked_out_independently(atlas):
    path = Path(os.environ.get("FCTOOLBOX_MIRROR", "")) / "derived" / "mouse_oh213_centroids_ccf25_um.csv"
    if not path.is_file():
        pytest.skip("no derived centroids in FCTOOLBOX_MIRROR")
    lines = [line.split(",") for line in path.read_text().splitlines()[1:]]
    sides = {"z<228": "left", "z>=228": "right"}
    acronyms = set()
    for acronym, half, n_voxels, *um in lines:
        if int(n_voxels) == 0:
            continue
        row = region(atlas, acronym, sides[half])
        assert row["n_voxels"] == int(n_voxels)
        assert [row[column] for column in ("ap_um", "dv_um", "ml_um")] == pytest.approx(
            [float(x) for x in um], abs=1e-9
        )
        acronyms.add(acronym)
    assert len(acronyms) == 211  # 213 regions of Oh et al.; SUBd and SUBv have no voxel
