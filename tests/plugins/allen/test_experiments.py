import ast
import errno
import hashlib
import json
import runpy
import subprocess
import sys
from dataclasses import replace
from urllib.error import URLError

import numpy as np
import pytest
from fctoolbox_allen import experiments, fctoolbox_sources
from fctoolbox_allen.experiment_source import load_experiments, load_miniature
from fctoolbox_allen.experiments import (
    Choice,
    chosen_experiments,
    export_experiments,
    find_uv,
    injection_projection,
    kept_export,
    read_export,
    reference_files,
)
from fctoolbox_allen.experiments_miniature import LINE, write_export
from fctoolbox_allen.miniature import divisions, planted_community
from fctoolbox_allen.sources import load_miniature as load_regional_miniature

from fctoolbox import DataUnavailable, InputError, analyse_origin
from fctoolbox.plugins import load_source
from fctoolbox.testing import check_source

SOURCES = {source.name: source for source in fctoolbox_sources()}


@pytest.fixture(scope="module")
def folder(miniature, tmp_path_factory):
    return write_export(tmp_path_factory.mktemp("export"), miniature, rng=0)


@pytest.fixture(scope="module")
def export(folder):
    return read_export(folder)


@pytest.fixture
def copy(folder, tmp_path):
    """A copy that a test may spoil."""
    for path in folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    return tmp_path


def areas(export, *acronyms):
    return [export.structures[acronym] for acronym in acronyms]


def row(export, experiment, acronym, hemisphere):
    table = export.unionizes
    (index,) = np.flatnonzero(
        (table["experiment_id"] == experiment)
        & (table["structure_id"] == export.structures[acronym].id)
        & (table["hemisphere_id"] == hemisphere)
        & (table["is_injection"] == 0)
    )
    return {name: float(values[index]) for name, values in table.items()}


def read_all(folder):
    reference_files(folder)
    return read_export(folder)


def without(export, keep):
    return replace(export, unionizes={name: values[keep] for name, values in export.unionizes.items()})


@pytest.mark.parametrize("options", [{}, {"side": "contra", "hemisphere": "right", "line": "cre", "scan": 2}])
def test_the_miniature_keeps_the_contract(options):
    assert check_source(SOURCES["mouse-experiments-mini"], **options)


def test_the_miniature_stands_in_for_the_real_thing():
    source = SOURCES["mouse-experiments"]
    assert source.miniature == "mouse-experiments-mini"
    offered, expected = SOURCES[source.miniature].options, source.options
    assert {name: expected[name] for name in offered if name != "seed"} == {
        name: value for name, value in offered.items() if name != "seed"
    }


def test_every_injection_is_an_input():
    system = load_miniature()
    assert system.n_units == 20
    nuclei = [name.split()[0] for name in system.projection.inputs]
    assert sorted(nuclei) == sorted(2 * list(divisions()["Thalamus"]))
    assert set(system.projection.groups) == {"Thalamus"}
    assert system.units == load_regional_miniature().units


def test_what_was_planted_is_found():
    system = load_miniature()
    report = analyse_origin(system, n_nulls=19, rng=0)
    assert report.relationship.pearson_r > 0.8
    assert report.induced.nulls[0].p_value == pytest.approx(1 / 20)
    strongest = [system.projection.inputs[j].split()[0] for j in system.projection.weights.argmax(axis=1)]
    assert strongest[system.units.index("VISp")] == "LGd"
    assert planted_community("VISp") == "visual"


def test_other_structures_are_other_inputs(export):
    both, groups = chosen_experiments(export, Choice(("VISp", "STR")))
    assert [each.structure for each in both] == ["VISp", "CP"]
    assert groups == ("Primary visual area", "Striatum")
    parts, groups = chosen_experiments(export, Choice(("LGd", "TH")))
    assert groups.count("Dorsal part of the lateral geniculate complex") == 2
    assert len(parts) == 2 * len(divisions()["Thalamus"])


def test_weights_are_the_rows_of_the_table_on_the_injected_side(export):
    units = ("VISp", "MOp")
    for side, of_injected in (("ipsi", lambda side: side), ("contra", lambda side: 3 - side), ("both", lambda side: 3)):
        for measure in ("projection_volume", "projection_density", "projection_energy", "normalized_projection_volume"):
            projection, left_out = injection_projection(
                areas(export, *units), export, Choice(measure=measure, side=side)
            )
            assert left_out == {}
            for j, name in enumerate(projection.inputs):
                experiment = int(name.split()[1])
                injected = 1 if (experiment - 100140756) // 7 % 5 == 0 else 2
                expected = [row(export, experiment, unit, of_injected(injected))[measure] for unit in units]
                np.testing.assert_array_equal(projection.weights[:, j], expected)


def test_an_area_that_the_table_lacks_is_made_of_its_parts(export):
    aca, parts = export.structures["ACA"], ("ACAd", "ACAv")
    apart = without(export, export.unionizes["structure_id"] != aca.id)
    for measure in experiments.MEASURES:
        whole, _ = injection_projection([aca], export, Choice(measure=measure))
        made, _ = injection_projection([aca], apart, Choice(measure=measure))
        np.testing.assert_allclose(made.weights, whole.weights, rtol=1e-12)
    # By hand: a density is per pixel, so the larger part counts more.
    experiment = apart.experiments[1]
    values = [row(apart, experiment.id, part, 2) for part in parts]
    expected = sum(each["projection_density"] * each["sum_pixels"] for each in values) / sum(
        each["sum_pixels"] for each in values
    )
    made, _ = injection_projection([aca], apart, Choice(measure="projection_density"))
    assert made.weights[0, made.inputs.index(experiment.name)] == pytest.approx(expected, rel=1e-12)


def test_an_injection_without_a_row_for_an_area_is_left_out_and_named(export):
    first = export.experiments[0]
    table = export.unionizes
    keep = ~((table["experiment_id"] == first.id) & (table["structure_id"] == export.structures["MOp"].id))
    projection, left_out = injection_projection(areas(export, "VISp", "MOp"), without(export, keep), Choice())
    assert left_out == {first.name: "no unionize of MOp"}
    assert first.name not in projection.inputs
    nowhere = without(export, table["structure_id"] != export.structures["MOp"].id)
    with pytest.raises(InputError, match=r"none of the 32 experiments has a unionize for every area: LGd .* MOp"):
        injection_projection(areas(export, "VISp", "MOp"), nowhere, Choice())


def test_an_injection_on_no_side_is_left_out(export):
    first = export.experiments[0]
    table = export.unionizes
    keep = ~((table["experiment_id"] == first.id) & (table["is_injection"] == 1))
    _, left_out = injection_projection(areas(export, "VISp"), without(export, keep), Choice())
    assert left_out == {first.name: "its injection site lies in neither hemisphere, or in both alike"}
    _, left_out = injection_projection(areas(export, "VISp"), without(export, keep), Choice(side="both"))
    assert left_out == {}


def test_the_injection_site_is_no_projection(export):
    visp = next(each for each in export.experiments if each.structure == "VISp")
    projection, _ = injection_projection(areas(export, "VISp"), export, Choice(("VISp",), "projection_volume"))
    assert projection.weights[0, 0] == row(export, visp.id, "VISp", 2)["projection_volume"]
    assert projection.weights[0, 0] != visp.volume


def test_the_order_of_the_rows_does_not_matter(export, rng):
    order = rng.permutation(len(export.unionizes["structure_id"]))
    one, _ = injection_projection(areas(export, "VISp", "ACA"), export, Choice())
    other, _ = injection_projection(areas(export, "VISp", "ACA"), without(export, order), Choice())
    np.testing.assert_array_equal(one.weights, other.weights)


def test_a_threshold_removes_weights_and_adds_none():
    all_of_them, strict = load_miniature().projection.weights, load_miniature(threshold=0.05)
    kept = strict.projection.weights > 0
    np.testing.assert_array_equal(kept, all_of_them >= 0.05)
    np.testing.assert_array_equal(strict.projection.weights[kept], all_of_them[kept])
    assert "0 below 0.05" in strict.provenance.notes["Weights"]


def test_lines_and_volumes_choose_experiments(export):
    every, _ = chosen_experiments(export, Choice())
    wild, _ = chosen_experiments(export, Choice(line="wild-type"))
    cre, _ = chosen_experiments(export, Choice(line="cre"))
    assert set(wild) | set(cre) == set(every)
    assert not any(each.line for each in wild)
    assert chosen_experiments(export, Choice(line=LINE))[0] == cre
    large, _ = chosen_experiments(export, Choice(min_injection_volume=0.2))
    assert set(large) == {each for each in every if each.volume >= 0.2}
    assert 0 < len(large) < len(every)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"measure": "density"},
            "measure is 'density'; it must be one of normalized_projection_volume, proj",
        ),
        ({"side": "left"}, "side is 'left'; it must be one of ipsi, contra, both"),
        ({"structures": "Thalamus"}, "the structure tree has no Thalamus"),
        ({"structures": " ,"}, "structures names no structure"),
        ({"structures": 549}, "structures is 549; give acronyms"),
        ({"threshold": -1.0}, "threshold is -1.0; it must be a number of at least 0"),
        ({"min_injection_volume": 5.0}, r"none of the 32 .* min_injection_volume = 5 mm³ \(they have 0.0.* mm³\)"),
        ({"line": "Syt6"}, r"line is 'Syt6'; it must be all, wild-type, cre, or one of: Syt6-Cre_KI148\."),
        ({"structures": "HIP"}, "none of the 0 experiments with an injection into HIP is left"),
        ({"hemisphere": "both"}, "hemisphere is 'both'"),
    ],
)
def test_options_that_cannot_be_met(options, message):
    with pytest.raises(InputError, match=message):
        load_source(SOURCES["mouse-experiments-mini"], **options)


def test_an_export_is_read_where_it_lies(folder, published):
    from fctoolbox_allen.files import SCANS

    published(SCANS)
    system = load_source(SOURCES["mouse-experiments"], export=str(folder))
    assert system.n_units == 20
    assert system.provenance.notes["Export"] == "synthetic"
    assert check_source(SOURCES["mouse-experiments"], export=str(folder))
    assert load_experiments(export=folder, side="contra").projection.weights.max() < system.projection.weights.max()


def test_a_regional_system_takes_annotation_and_tree_of_an_export(folder):
    own, of_export = load_regional_miniature(), load_regional_miniature(export=str(folder))
    np.testing.assert_array_equal(own.geometry.positions, of_export.geometry.positions)
    assert set(reference_files(folder)) == {"annotation", "structures"}
    with pytest.raises(InputError, match=r"nowhere is no export: it has no export\.json"):
        load_regional_miniature(export="nowhere")


@pytest.mark.parametrize("name", ["structures.json", "experiments.json", "unionizes.npz", "annotation_150.nrrd"])
def test_files_that_were_altered_are_refused(name, copy):
    with (copy / name).open("ab") as stream:
        stream.write(b" ")
    with pytest.raises(InputError, match=f"{name} is not the file that was exported"):
        read_all(copy)
    (copy / name).unlink()
    with pytest.raises(InputError, match=f"{name}, which export.json names, cannot be read"):
        read_all(copy)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda record: record.pop("files"), "is not the record of an export: KeyError"),
        (lambda record: record.update(schema=2), "has schema 2; this version reads 1"),
        (lambda record: record["files"].pop("unionizes"), "is not the record of an export: KeyError 'unionizes'"),
    ],
)
def test_records_that_are_none(change, message, copy):
    record = json.loads((copy / "export.json").read_text())
    change(record)
    (copy / "export.json").write_text(json.dumps(record))
    with pytest.raises(InputError, match=message):
        read_export(copy)


def test_a_table_with_values_that_are_not_finite(copy):
    with np.load(copy / "unionizes.npz") as arrays:
        table = {name: arrays[name] for name in arrays.files}
    table["projection_density"][3] = np.nan
    np.savez(copy / "unionizes.npz", **table)
    record = json.loads((copy / "export.json").read_text())
    record["files"]["unionizes"]["sha256"] = hashlib.sha256((copy / "unionizes.npz").read_bytes()).hexdigest()
    (copy / "export.json").write_text(json.dumps(record))
    with pytest.raises(InputError, match="projection_density has values that are negative or not finite"):
        read_export(copy)


def test_an_export_is_made_only_where_it_lacks_something(folder, monkeypatch, copy):
    asked = []

    def fake(path, structures, **options):
        asked.append((path, tuple(structures), options))
        return folder

    monkeypatch.setattr(experiments, "export_experiments", fake)
    kept_export(folder, ["TH", "VISp"])  # all grey matter is covered
    assert asked == []
    kept_export(copy / "new", ["TH"], resolution=100, server="http://localhost:1")
    assert asked == [(copy / "new", ("TH",), {"resolution": 100, "server": "http://localhost:1"})]
    record = json.loads((copy / "export.json").read_text())
    (copy / "export.json").write_text(json.dumps({**record, "structures": ["TH"], "resolution": 25}))
    kept_export(copy, ["LGd"], resolution=100)
    assert len(asked) == 1
    kept_export(copy, ["LGd", "STR"], resolution=100)
    assert asked[-1] == (copy, ("TH", "STR"), {"resolution": 25, "server": None})


def test_the_script_uses_no_name_of_datetime_that_its_oldest_python_lacks():
    script = experiments.SCRIPT.read_text(encoding="utf-8")
    assert 'requires-python = ">=3.10,' in script
    names = {
        node.attr
        for node in ast.walk(ast.parse(script))
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "datetime"
    }
    assert names == {"datetime", "timezone"}  # UTC came with 3.11


def test_without_uv_it_is_said_how_to_get_it(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "uv", None)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(DataUnavailable, match=r"uv is not installed: pip install 'fctoolbox-allen\[allensdk\]'"):
        find_uv()


@pytest.mark.parametrize(
    ("out", "code", "message"),
    [
        ("", 2, "AllenSDK did not run in its own environment .*: no index here"),
        ('{"error": "the annotation: no space left"}\n', 2, "could not export TH: the annotation: no space left. What"),
        ("something\n", 0, "did not run in its own environment"),
    ],
)
def test_an_export_that_fails(out, code, message, monkeypatch, tmp_path):
    def run(command, **_):
        return subprocess.CompletedProcess(command, code, out, "no index here\n")

    monkeypatch.setattr(experiments, "find_uv", lambda: "uv")
    monkeypatch.setattr(subprocess, "run", run)
    with pytest.raises(DataUnavailable, match=message):
        export_experiments(tmp_path)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"resolution": 30}, r"resolution is 30; it must be one of 10, 25, 50, 100 \(µm\)"),
        ({"resolution": "fine"}, "resolution is 'fine'"),
        ({"resolution": True}, "resolution is True"),
        ({"server": "api.brain-map.org"}, "server is 'api.brain-map.org'; it must be an address that begins with http"),
        ({"server": "ftp://api.brain-map.org"}, "server is 'ftp:"),
        ({"server": "http://"}, "server is 'http://'"),
        ({"server": "http://[1"}, "server is"),
        ({"server": "http://localhost:x"}, "server is"),
        ({"server": ""}, "server is ''"),
        ({"server": 5}, "server is 5"),
    ],
)
def test_requests_that_are_none_start_nothing(options, message, monkeypatch, tmp_path, folder):
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: pytest.fail("a process was started"))
    monkeypatch.setattr(experiments, "find_uv", lambda: "uv")
    for call in (
        lambda: kept_export(tmp_path, ["TH"], **options),
        lambda: kept_export(folder, ["TH"], **options),
        lambda: export_experiments(tmp_path, **options),
    ):
        with pytest.raises(InputError, match=message) as caught:
            call()
        assert not isinstance(caught.value, DataUnavailable)


def test_the_script_offers_the_same_resolutions():
    script = runpy.run_path(str(experiments.SCRIPT))
    for resolution in (*experiments.RESOLUTIONS, 30):
        code = 0 if resolution in experiments.RESOLUTIONS else 2
        with pytest.raises(SystemExit) as caught:
            script["main"](["--out", "x", "--resolution", str(resolution), "--help"])
        assert caught.value.code == code


def test_going_on_is_offered_only_where_it_helps(monkeypatch, tmp_path, folder):
    answer = {}

    def run(command, **_):
        return subprocess.CompletedProcess(command, 2, json.dumps(answer), "")

    def said(structures=("TH",)):
        with pytest.raises(InputError) as caught:
            export_experiments(tmp_path, structures)
        return caught.value

    monkeypatch.setattr(experiments, "find_uv", lambda: "uv")
    monkeypatch.setattr(subprocess, "run", run)
    answer |= {"error": "the annotation: the answer was cut off", "again": True, "unknown": []}
    assert str(said()).endswith("run again to go on")
    answer |= {"error": "the annotation: No space left on device", "again": False}
    assert "run again" not in str(said())
    answer |= {"error": "the structure tree has no 'VISpp'", "unknown": ["VISpp"]}
    error = said(["TH", "VISpp"])
    assert str(error) == "structures is TH, VISpp, but the structure tree has no VISpp."
    assert not isinstance(error, DataUnavailable)
    cached = tmp_path / "cache" / "connectivity" / "structures.json"
    cached.parent.mkdir(parents=True)
    cached.write_bytes((folder / "structures.json").read_bytes())
    assert str(said(["TH", "VISpp"])).endswith("the structure tree has no VISpp. Did you mean 'VISp'?")


def test_the_script_tells_the_network_from_the_disk():
    script = runpy.run_path(str(experiments.SCRIPT))
    failures = {
        OSError(errno.ENOSPC, "No space left on device"): False,
        PermissionError(errno.EACCES, "Permission denied"): False,
        URLError(ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused")): True,
        ConnectionResetError(errno.ECONNRESET, "Connection reset by peer"): True,
        TimeoutError(errno.ETIMEDOUT, "timed out"): True,
        json.JSONDecodeError("Expecting value", "<html>", 0): True,
    }
    for failure, again in failures.items():
        with pytest.raises(script["Refused"]) as caught, script["asking_for"]("the annotation"):
            raise failure
        assert caught.value.again is again
