"""The loader, and what every atlas must keep."""

import tomllib
from importlib import resources

import numpy as np
import pytest
from fctoolbox_atlases import atlas as loader
from fctoolbox_atlases import atlas_names, load_atlas

from fctoolbox.errors import InputError

FOLDER = resources.files("fctoolbox_atlases")


@pytest.fixture
def written(tmp_path, monkeypatch):
    """Write an atlas 'made-up' and load it."""
    monkeypatch.setattr(loader, "_FOLDER", tmp_path)

    def write(table, columns):
        folder = tmp_path / "made-up"
        folder.mkdir(exist_ok=True)
        (folder / "regions.tsv").write_text(table, encoding="utf-8", newline="\n")
        declared = "\n".join(f'{name} = {{ type = "{kind}", about = "x" }}' for name, kind in columns.items())
        (folder / "atlas.toml").write_text(
            f'name = "made-up"\nspace = "s"\nversion = "1"\ncitation = "c"\nlicense = "l"\n[columns]\n{declared}\n',
            encoding="utf-8",
        )
        return load_atlas("made-up")

    return write


def test_columns_have_the_types_that_are_declared(written):
    atlas = written("id\tname\tx\n128\tå\t1.5\n40000000000\tb\t\n", {"id": "int", "name": "str", "x": "float"})
    assert len(atlas) == 2
    # wide integers: 128 in int8 would be -128
    assert atlas["id"].tolist() == [128, 40_000_000_000]
    assert atlas["name"].tolist() == ["å", "b"]
    np.testing.assert_array_equal(atlas["x"], [1.5, np.nan])


def test_a_table_with_other_columns_than_declared(written):
    with pytest.raises(
        InputError, match=r"regions\.tsv has the columns \['name', 'id'\], but .* declares \['id', 'name'\]"
    ):
        written("name\tid\na\t1\n", {"id": "int", "name": "str"})


def test_rows_come_in_the_order_asked_for(written):
    atlas = written("name\tx\na\t1\nb\t2\nc\t3\n", {"name": "str", "x": "float"})
    assert atlas.rows("name", ["c", "a", "c"]).tolist() == [2, 0, 2]
    assert atlas["x"][atlas.rows("name", ["b"])].tolist() == [2.0]


def test_rows_that_cannot_be_found(written):
    atlas = written("name\tside\nL_V1\tleft\nL_V2\tleft\n", {"name": "str", "side": "str"})
    with pytest.raises(InputError, match=r"atlas 'made-up' has no name 'l_v1'\. Did you mean 'L_V1'\?"):
        atlas.rows("name", ["L_V2", "l_v1"])
    with pytest.raises(InputError, match="column 'side' of atlas 'made-up' repeats values"):
        atlas.rows("side", ["left"])
    with pytest.raises(InputError, match=r"no column 'naem'\. Did you mean 'name'\? It has: name, side\."):
        atlas["naem"]


def test_an_unknown_atlas_is_answered_with_what_there_is():
    with pytest.raises(
        InputError, match=r"no atlas named 'glaser-360'\. Did you mean 'glasser-360'\? Installed: .*yeo-7"
    ):
        load_atlas("glaser-360")


def test_the_atlases_of_the_first_release_are_there():
    assert {"allen-ccf", "cifti-91282", "glasser-360", "yeo-7"} <= set(atlas_names())


@pytest.mark.parametrize("name", atlas_names())
def test_every_atlas_says_what_it_is(name):
    about = tomllib.loads((FOLDER / name / "atlas.toml").read_text(encoding="utf-8"))
    assert about["name"] == name
    for key in ("space", "version", "citation", "license"):
        assert about[key].strip(), key
    for column, declared in about["columns"].items():
        assert set(declared) == {"type", "about"}, column
        assert declared["type"] in ("str", "int", "float"), column
        assert declared["about"].strip(), column


@pytest.mark.parametrize("name", atlas_names())
def test_every_atlas_is_a_clean_table(name):
    text = (FOLDER / name / "regions.tsv").read_bytes().decode("utf-8")
    assert text.endswith("\n")
    assert "\r" not in text
    header, *rows = text[:-1].split("\n")
    assert {row.count("\t") for row in rows} == {header.count("\t")}
    assert len(set(rows)) == len(rows)
    atlas = load_atlas(name)
    assert len(atlas) == len(rows)
    for values in atlas.columns.values():
        assert values.dtype.kind == "U" or values.dtype in (np.int64, np.float64)
        if values.dtype.kind == "U":
            assert all(value == value.strip() for value in values)


@pytest.mark.parametrize("name", atlas_names())
def test_hemispheres_are_spelt_in_one_way(name):
    atlas = load_atlas(name)
    if "hemisphere" in atlas.columns:
        assert set(atlas["hemisphere"]) <= {"left", "right", "midline"}


@pytest.mark.parametrize("name", atlas_names())
def test_colours_are_hexadecimal(name):
    atlas = load_atlas(name)
    if "rgb" in atlas.columns:
        assert all(len(value) == 7 and value[0] == "#" and int(value[1:], 16) >= 0 for value in atlas["rgb"])
