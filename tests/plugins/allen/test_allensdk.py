"""The real AllenSDK in its own environment, against a loopback server that answers what it really asks."""

import json
import resource
import subprocess

import numpy as np
import pytest
from fctoolbox_allen.allensdk_call import SCRIPT, export_experiments, find_uv
from fctoolbox_allen.ccf import read_annotation, read_structures
from fctoolbox_allen.experiments import read_export
from fctoolbox_allen.experiments_miniature import columns_of
from fctoolbox_allen.injections import Choice, injection_projection

from fctoolbox import DataUnavailable, InputError
from tests.plugins.allen.allen_server import World, serving

pytestmark = pytest.mark.allensdk

TREE = (
    "/api/v2/data/query.json?q=model::Structure,rma::criteria,[graph_id$in1],rma::include,structure_sets,"
    "rma::options[num_rows$eq'all'][order$eqstructures.graph_order][count$eqfalse]"
)
LISTING = "/api/v2/data/query.json?q=model::ApiConnectivity,rma::options[num_rows$eq'all']"
UNIONIZES = (
    "/api/v2/data/query.json?q=model::ProjectionStructureUnionize,rma::criteria,[section_data_set_id$in{}],"
    "rma::options[num_rows$eq'all'][count$eqfalse]"
)
ANNOTATION = "/informatics-archive/current-release/mouse_ccf/annotation/ccf_2017/annotation_100.nrrd"


@pytest.fixture(scope="module")
def environment():
    """Skips where uv cannot make AllenSDK's environment: no uv, no index."""
    try:
        uv = find_uv()
    except DataUnavailable as error:
        pytest.skip(str(error))
    command = [uv, "run", "--script", "--quiet", str(SCRIPT), "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    if done.returncode:
        pytest.skip(f"uv cannot make the environment of AllenSDK: {done.stderr.strip()[-200:]}")


@pytest.fixture
def server(environment, miniature, tmp_path):
    with serving(World(miniature, tmp_path)) as server:
        yield server


def export(server, folder, structures=("TH",)):
    """Exports, and returns what was asked for meanwhile."""
    before = len(server.log)
    try:
        export_experiments(folder, structures, resolution=100, server=server.address, timeout=20)
    finally:
        asked = server.log[before:]
    return asked


def of(world, acronyms):
    ids = [world.structures[acronym].id for acronym in acronyms]
    return [
        row["data_set_id"]
        for row in world.experiments
        if set(world.structures[row["structure_abbrev"]].path) & set(ids)
    ]


def files(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_four_kinds_of_request_and_each_once(server, tmp_path):
    thalamic, striatal = of(server.world, ["TH"]), of(server.world, ["STR"])
    folder = tmp_path / "export"
    asked = export(server, folder)
    assert asked == [TREE, LISTING, *(UNIONIZES.format(each) for each in thalamic), ANNOTATION]
    assert export(server, folder) == []
    # One more structure: only its experiments are asked for.
    assert export(server, folder, ["TH", "STR"]) == [UNIONIZES.format(each) for each in striatal]

    found = read_export(folder)
    assert found.record["versions"]["allensdk"] == "2.16.2"
    assert [each.id for each in found.experiments] == sorted(thalamic + striatal)
    assert [each.line for each in found.experiments][:2] == ["", "Syt6-Cre_KI148"]
    expected = columns_of([row for each in sorted(thalamic + striatal) for row in server.world.unionizes[each]])
    for name, values in expected.items():
        # AllenSDK keeps them as text, and pandas 1.5 reads that to 15 digits.
        np.testing.assert_allclose(found.unionizes[name], values, rtol=1e-11, atol=0)
    assert read_structures(folder / "structures.json") == server.world.structures
    assert (folder / "annotation_100.nrrd").read_bytes() == server.world.annotation
    assert read_annotation(folder / "annotation_100.nrrd").grid.shape == (132, 80, 114)
    projection, left_out = injection_projection([found.structures["VISp"]], found, Choice())
    assert projection.weights.shape == (1, len(thalamic))
    assert left_out == {}


def test_whatever_the_server_answers_the_next_call_goes_on(server, tmp_path):
    folder = tmp_path / "export"
    first, second, *others = of(server.world, ["TH"])
    # What goes wrong, where, what is said, and what the next call still has to ask for.
    faults = [
        ("500", "model::Structure", "the structure tree: the server answered HTTP Error 500"),
        (
            "html",
            "model::ApiConnectivity",
            "the list of experiments: the server answered something else, perhaps",
        ),
        ("message", "model::ApiConnectivity", "the list of experiments: the server answered something else"),
        ("half", str(second), f"the unionizes of experiment {second}: the answer was cut off"),
        ("html", "annotation_100", "the annotation: the server answered something else, perhaps a page of HTML"),
        ("half", "annotation_100", "the annotation: the answer was cut off"),
    ]
    asked = []
    for fault, where, said in faults:
        server.fault = lambda path, fault=fault, where=where: fault if where in path else ""
        before = len(server.log)
        with pytest.raises(DataUnavailable, match=said):
            export(server, folder)
        asked.append(server.log[before:])
        assert not any(name in files(folder) for name in ("export.json", "unionizes.npz"))
    assert asked == [
        [TREE],
        [TREE, LISTING],
        [LISTING],
        [LISTING, UNIONIZES.format(first), UNIONIZES.format(second)],
        [*(UNIONIZES.format(each) for each in (second, *others)), ANNOTATION],
        [ANNOTATION],
    ]
    server.fault = lambda path: ""
    assert export(server, folder) == [ANNOTATION]
    read_export(folder)


def test_poisoned_files_of_an_earlier_run_are_removed(server, tmp_path):
    folder = tmp_path / "export"
    export(server, folder)
    cache = folder / "cache"
    poison = {
        cache / "space/annotation/ccf_2017/annotation_100.nrrd": b"<html>maintenance</html>",
        cache / "connectivity/experiments.json": b"[{",
        cache / "connectivity/structures.json": b'"no such model"',
        cache / "connectivity/manifest.json": b"",
    }
    for path, content in poison.items():
        path.write_bytes(content)
    first, *_ = of(server.world, ["TH"])
    part = cache / "parts" / f"{first}.npz"
    part.write_bytes(part.read_bytes()[:100])
    table = cache / f"connectivity/experiment_{first}/structure_unionizes.csv"
    table.write_bytes(table.read_bytes()[:1000])  # killed while it was written: whole rows, but not all
    whole = json.loads((folder / "export.json").read_text())["files"]
    assert export(server, folder) == [TREE, LISTING, UNIONIZES.format(first), ANNOTATION]
    assert json.loads((folder / "export.json").read_text())["files"].keys() == whole.keys()
    read_export(folder)


def test_a_full_disk_leaves_nothing_half_written(server, tmp_path):
    folder = tmp_path / "export"
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, old[1]))  # no file may grow beyond it
    try:
        with pytest.raises(DataUnavailable, match="the structure tree: File too large"):
            export(server, folder)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)
    assert files(folder) == ["cache/connectivity/manifest.json", "cache/space/manifest.json"]
    assert (folder / "cache/connectivity/manifest.json").stat().st_size
    assert export(server, folder)[-1] == ANNOTATION


def test_an_unknown_structure_is_named(server, tmp_path):
    with pytest.raises(InputError, match="structures is THX, but the structure tree has no THX"):
        export(server, tmp_path / "export", ["THX"])
