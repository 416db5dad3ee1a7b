from dataclasses import replace
from functools import lru_cache

import pytest

import fctoolbox as fct
from fctoolbox import plugins
from fctoolbox.annotations import annotated, is_file
from fctoolbox.plugins import Installed


@pytest.fixture
def system():
    return fct.load("toy", n_units=6, n_communities=2)


def test_names_and_files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "yeo7").touch()
    assert is_file("yeo7")
    assert is_file("my.dlabel.nii")
    assert is_file("Labels.CSV")
    assert not is_file("yeo17")
    assert not is_file("networks v1.5")


def test_labels_of_a_table_go_by_the_names_of_units(system, tmp_path):
    file = tmp_path / "mine.csv"
    file.write_text(
        "unit,label\n" + "".join(f"{unit},{k % 3}\n" for k, unit in reversed(list(enumerate(system.units))))
    )
    found = annotated(system, file)
    assert found.annotations["mine.csv"] == ("0", "1", "2", "0", "1", "2")
    assert found.annotations["planted"] == system.annotations["planted"]
    assert "mine.csv" not in system.annotations
    assert [each.name for each in found.provenance.files] == ["mine.csv"]


def test_other_files_are_the_source_s(system, tmp_path, monkeypatch):
    file = tmp_path / "mine.dlabel.nii"
    file.touch()
    toy = plugins.find_source("toy")
    able = replace(toy, name="able", read_labels=lambda system, path: [path.stem] * system.n_units)
    monkeypatch.setattr(plugins, "installed", lru_cache(lambda: Installed((), {"toy": toy, "able": able}, {})))
    monkeypatch.setattr("fctoolbox.annotations.installed", plugins.installed)
    with pytest.raises(fct.InputError, match=r"give a CSV or TSV .* and label\. .* read for: able\. .*: planted"):
        annotated(system, file)
    of_able = replace(system, provenance=replace(system.provenance, source="able"))
    assert annotated(of_able, file).annotations["mine.dlabel.nii"] == ("mine.dlabel",) * 6


def test_no_such_file(system, tmp_path):
    with pytest.raises(fct.InputError, match=r"there is no file .*absent\.csv, nor an annotation .* it has: planted"):
        annotated(system, tmp_path / "absent.csv")
