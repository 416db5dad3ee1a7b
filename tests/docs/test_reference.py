"""The reference names what there is: no more, no less."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest

import fctoolbox
import fctoolbox.nulls
from fctoolbox.cli import cli
from fctoolbox.report import save_comparison

REFERENCE = Path(__file__).resolve().parents[2] / "docs" / "reference"


def test_the_python_reference_is_up_to_date(build_reference):
    assert (REFERENCE / "api.md").read_text() == build_reference.reference(), "run: python docs/build_reference.py"


def test_the_python_reference_is_complete(build_reference):
    names = {f"fctoolbox.{name}" for name in fctoolbox.__all__}
    names |= {f"fctoolbox.nulls.{name}" for name in fctoolbox.nulls.__all__}
    names |= {"fctoolbox.testing.check_source", "fctoolbox.matrices.read_system", "fctoolbox_atlases.load_atlas"}
    assert names - build_reference.documented() == set()


def test_docstrings_become_markdown(build_reference):
    text = build_reference._markdown(
        "One ``x``.\n\n.. warning::\n   Mind it.\n\nParameters\n----------\na : int\n    First\n    line.\nb\n\n"
        "Examples\n--------\n>>> 1 + 1\n2"
    )
    words = (
        "One `x`. > **Warning** > > Mind it. **Parameters** * `a`: int — First line. * `b` "
        "**Examples** ```pycon >>> 1 + 1 2 ```"
    )
    assert " ".join(text.split()) == words


# --- the command line -----------------------------------------------------------------------------------


@pytest.mark.parametrize("command", sorted(cli.commands))
def test_every_option_is_documented_with_its_default(command):
    documented = _documented_options(command)
    known = {
        name: _spelt(parameter.default)
        for parameter in cli.commands[command].params
        if isinstance(parameter, click.Option)
        for name in parameter.opts
    }
    assert documented == known


def test_every_command_is_documented():
    text = (REFERENCE / "command-line.md").read_text()
    assert sorted(re.findall(r"^## fctoolbox (.+)$", text, re.MULTILINE)) == sorted(cli.commands)


def test_required_options_say_so():
    for command in cli.commands.values():
        for parameter in command.params:
            if isinstance(parameter, click.Option) and parameter.required:
                row = rf"^\| `{parameter.opts[0]}` \|.*\(required\) \|$"
                assert re.search(row, _section(command.name), re.MULTILINE)


def _section(command: str) -> str:
    text = (REFERENCE / "command-line.md").read_text()
    return text.partition(f"\n## fctoolbox {command}\n")[2].partition("\n## ")[0]


def _documented_options(command: str) -> dict[str, str]:
    rows = re.findall(r"^\| (`-.+?) \| (.*?) ?\| .+ \|$", _section(command), re.MULTILINE)
    return {name: default.strip("` ") for names, default in rows for name in re.findall(r"`(-[\w-]+)`", names)}


def _spelt(default: Any) -> str:
    if isinstance(default, (tuple, list)):
        return " ".join(map(str, default))
    return str(default) if isinstance(default, (str, int, float)) and not isinstance(default, bool) else ""


# --- report.json ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def report():
    """With a unit dropped and distances known, so that no list is empty."""
    toy = fctoolbox.load("toy", n_units=20)
    weights = toy.projection.weights.copy()
    weights[3] = 0
    record = fctoolbox.FileRecord("a.csv", "0" * 64)
    system = fctoolbox.RecurrentSystem(
        name="toy (synthetic)",
        units=toy.units,
        projection=fctoolbox.InputProjection(weights),
        activity=toy.activity,
        geometry=toy.geometry,
        provenance=fctoolbox.Provenance("none", "CC0-1.0", files=(record,), notes={"Mind": "all"}, synthetic=True),
    )
    return fctoolbox.analyse_origin(system, n_nulls=19, n_restarts=2, rng=0).to_dict()


def test_every_key_of_the_report_is_documented(report):
    text = (REFERENCE / "report-json.md").read_text()
    table = text.partition("## report.json of a comparison\n")[0]
    documented = re.findall(r"^\| `([\w.\[\]]+)` \| (.+?) \|", table, re.MULTILINE)
    written = dict(_flat(report))
    assert [key for key, _ in documented] == list(written)
    for key, kind in documented:
        assert isinstance(written[key], _TYPES[kind.partition(",")[0]]), f"{key} is said to be: {kind}"


_TYPES: dict[str, Any] = {
    "integer": int,
    "string": str,
    "number": (int, float),
    "string or null": (str, type(None)),
    "number or null": (int, float, type(None)),
    "object of strings": dict,
}


def _flat(content: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(content, dict) and key not in ("provenance.versions", "provenance.notes"):
        for name, value in content.items():
            yield from _flat(value, f"{key}.{name}" if key else name)
    elif isinstance(content, list):
        assert content, f"{key} is empty, so its entries cannot be compared"
        yield from _flat(content[0], f"{key}[]")
    else:
        assert not isinstance(content, (np.generic, np.ndarray)), f"{key} is not plain Python"
        yield key, content


def test_every_key_of_a_comparison_of_groups_is_documented():
    content = _groups()
    section = (REFERENCE / "report-json.md").read_text().partition("## groups.json")[2].partition("\n## ")[0]
    documented = dict(re.findall(r"^\| `([\w.\[\]]+)` \| (.+?) \|", section, re.MULTILINE))
    # What is said of one set of units and one statistic goes for the others; the system is that of a report.
    said = {
        "system", "provenance", "schema", "groups[].common", "groups[].own.q",
        *(f"policies.{name}" for name in ("similarity", "diagonal", "constant_units", "fc_scale", "objective")),
        "policies.resolution", "policies.n_restarts",
    }  # fmt: skip
    written = {
        key: value
        for key, value in _flat(content)
        if not any(key == prefix or key.startswith((f"{prefix}.", f"{prefix}[")) for prefix in said)
    }
    whole = {"groups[].own", "groups[].common", "groups[].own.q"}
    assert set(documented) - whole == set(written)
    for key, kind in documented.items():
        if key not in whole:
            assert isinstance(written[key], _TYPES[kind.partition(",")[0]]), f"{key} is said to be: {kind}"
    assert content["groups"][0]["own"]["q"].keys() == content["groups"][0]["own"]["r"].keys()
    assert content["groups"][0]["own"].keys() == content["groups"][0]["common"].keys()


def _groups() -> dict[str, Any]:
    """With a unit that one group does not reach, and a group left out, so that no list is empty."""
    toy = fctoolbox.load("toy", n_units=20)
    weights = toy.projection.weights.copy()
    weights[3, :10] = 0
    record = fctoolbox.FileRecord("a.csv", "0" * 64)
    system = fctoolbox.RecurrentSystem(
        name="toy (synthetic)",
        units=toy.units,
        projection=fctoolbox.InputProjection(weights, groups=["b"] * 10 + ["a"] * 10 + ["c"] * 10 + ["d"] * 10),
        activity=toy.activity,
        provenance=fctoolbox.Provenance("none", "CC0-1.0", files=(record,), synthetic=True, left_out={"x": "why"}),
    )
    content = fctoolbox.compare_groups(
        system, highest="a", leave_out=["d"], n_bootstrap=5, n_permutations=2, n_restarts=1, rng=0
    ).to_dict()
    content["groups"].sort(key=lambda group: group["name"] != "b")
    return content


def test_the_comparison_is_as_documented(tmp_path, monkeypatch):
    monkeypatch.setattr("fctoolbox.report.write.report_figures", lambda _report: {})  # they take seconds
    system = fctoolbox.load("toy", n_units=20)
    save_comparison([fctoolbox.analyse_origin(system, n_nulls=19, n_restarts=2, rng=0)], tmp_path)
    content = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert list(content) == ["schema", "comparison"]
    (report,) = content["comparison"]
    assert report["communities"]["labels"] == "toy/labels.tsv"
    header = (tmp_path / "toy" / "labels.tsv").read_text(encoding="utf-8").splitlines()[0]
    assert header == "unit\tlabel\tplanted"
