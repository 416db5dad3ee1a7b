import hashlib
import json

import numpy as np
import pytest
from fctoolbox_allen import fctoolbox_sources
from fctoolbox_allen.experiment_source import load_experiments, load_miniature
from fctoolbox_allen.experiments import read_export, reference_files
from fctoolbox_allen.miniature import divisions, planted_community
from fctoolbox_allen.sources import load_miniature as load_regional_miniature

from fctoolbox import InputError, analyse_origin
from fctoolbox.plugins import load_source
from fctoolbox.testing import check_source

SOURCES = {source.name: source for source in fctoolbox_sources()}


def read_all(folder):
    reference_files(folder)
    return read_export(folder)


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


def test_a_threshold_removes_weights_and_adds_none():
    all_of_them, strict = load_miniature().projection.weights, load_miniature(threshold=0.05)
    kept = strict.projection.weights > 0
    np.testing.assert_array_equal(kept, all_of_them >= 0.05)
    np.testing.assert_array_equal(strict.projection.weights[kept], all_of_them[kept])
    assert "0 below 0.05" in strict.provenance.notes["Weights"]


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


def test_an_export_is_read_where_it_lies(export_folder, published):
    from fctoolbox_allen.files import SCANS

    published(SCANS)
    system = load_source(SOURCES["mouse-experiments"], export=str(export_folder))
    assert system.n_units == 20
    assert system.provenance.notes["Export"] == "synthetic"
    assert check_source(SOURCES["mouse-experiments"], export=str(export_folder))
    assert (
        load_experiments(export=export_folder, side="contra").projection.weights.max() < system.projection.weights.max()
    )


def test_a_regional_system_takes_annotation_and_tree_of_an_export(export_folder):
    own, of_export = load_regional_miniature(), load_regional_miniature(export=str(export_folder))
    np.testing.assert_array_equal(own.geometry.positions, of_export.geometry.positions)
    assert set(reference_files(export_folder)) == {"annotation", "structures"}
    with pytest.raises(InputError, match=r"nowhere is no export: it has no export\.json"):
        load_regional_miniature(export="nowhere")


@pytest.mark.parametrize("name", ["structures.json", "experiments.json", "unionizes.npz", "annotation_150.nrrd"])
def test_files_that_were_altered_are_refused(name, export_copy):
    with (export_copy / name).open("ab") as stream:
        stream.write(b" ")
    with pytest.raises(InputError, match=f"{name} is not the file that was exported"):
        read_all(export_copy)
    (export_copy / name).unlink()
    with pytest.raises(InputError, match=f"{name}, which export.json names, cannot be read"):
        read_all(export_copy)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda record: record.pop("files"), "is not the record of an export: KeyError"),
        (lambda record: record.update(schema=2), "has schema 2; this version reads 1"),
        (lambda record: record["files"].pop("unionizes"), "is not the record of an export: KeyError 'unionizes'"),
    ],
)
def test_records_that_are_none(change, message, export_copy):
    record = json.loads((export_copy / "export.json").read_text())
    change(record)
    (export_copy / "export.json").write_text(json.dumps(record))
    with pytest.raises(InputError, match=message):
        read_export(export_copy)


def test_a_table_with_values_that_are_not_finite(export_copy):
    with np.load(export_copy / "unionizes.npz") as arrays:
        table = {name: arrays[name] for name in arrays.files}
    table["projection_density"][3] = np.nan
    np.savez(export_copy / "unionizes.npz", **table)
    record = json.loads((export_copy / "export.json").read_text())
    record["files"]["unionizes"]["sha256"] = hashlib.sha256((export_copy / "unionizes.npz").read_bytes()).hexdigest()
    (export_copy / "export.json").write_text(json.dumps(record))
    with pytest.raises(InputError, match="projection_density has values that are negative or not finite"):
        read_export(export_copy)
