import errno
import json
import os
import subprocess
import sys
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
from jinja2 import TemplateNotFound

import fctoolbox as fct
from fctoolbox import cli, plugins
from fctoolbox.chunks import Workers
from fctoolbox.counting import announce_units
from fctoolbox.data import DataFile, fetch
from fctoolbox.plugins import Installed, Source

QUICK = ("--n-nulls", "9", "--n-restarts", "2")


def call(*arguments):
    """Exit code of the command line, as the console script would leave it."""
    try:
        cli.main([str(each) for each in arguments])
    except SystemExit as error:
        return error.code or 0
    return 0


@pytest.fixture
def own_files(tmp_path):
    rng = np.random.default_rng(1)
    units = [f"area{i}" for i in range(8)]
    weights = rng.random((8, 5))
    connectivity = np.corrcoef(weights + 0.3 * rng.standard_normal((8, 5)))

    def write(name, matrix, rows, columns):
        lines = [
            ",".join(["", *columns]),
            *(",".join([row, *map(repr, map(float, values))]) for row, values in zip(rows, matrix, strict=True)),
        ]
        (tmp_path / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
        return tmp_path / name

    projection = write("p.csv", weights, units, [f"nucleus{j}" for j in range(5)])
    return projection, write("f.csv", connectivity, units, units), connectivity, units, write


def test_run_on_a_source(tmp_path, capsys):
    assert call("run", "toy", "-o", "n_units=20", "-o", "planted=false", *QUICK, "--out", tmp_path / "o") == 0
    report = json.loads((tmp_path / "o/report.json").read_text(encoding="utf-8"))
    assert report["system"]["n_units"] == 20
    assert report["system"]["name"] == "toy (synthetic, no communities; planted=false, n_units=20)"
    # Every option is in the command, also those left at their defaults; and the command runs.
    command = report["provenance"]["command"]
    assert "-o n_units=20 -o n_inputs=40" in command
    assert "--rng 0" in command
    assert "Report: " in capsys.readouterr().out
    again = command.replace(str(tmp_path / "o"), str(tmp_path / "again")).split()[1:]
    assert call(*again) == 0
    second = json.loads((tmp_path / "again/report.json").read_text(encoding="utf-8"))
    assert second["induced_modularity"] == report["induced_modularity"]


def test_what_was_left_out_is_said_in_the_terminal(tmp_path, capsys):
    rng = np.random.default_rng(0)
    weights, timeseries = rng.random((6, 3)), rng.standard_normal((30, 6))
    weights[1] = 0
    np.save(tmp_path / "p.npy", weights)
    np.save(tmp_path / "t.npy", timeseries)
    files = ("--projection", tmp_path / "p.npy", "--timeseries", tmp_path / "t.npy")
    assert call("run", *files, "--name", "mine", "--sampling-interval", "0.5", *QUICK, "--out", tmp_path / "o") == 0
    captured = capsys.readouterr().out
    assert captured.startswith("In mine, ")
    assert "Left out of mine: 1 of its units: unit-1 (receives no input)" in captured
    command = json.loads((tmp_path / "o/report.json").read_text(encoding="utf-8"))["provenance"]["command"]
    assert "--name mine" in command
    assert "--sampling-interval 0.5" in command
    assert "--constant-units drop" in command


def test_run_on_own_files_says_the_same_as_python(own_files, tmp_path):
    projection, connectivity, matrix, units, _ = own_files
    assert call("run", "--projection", projection, "--connectivity", connectivity, *QUICK, "--out", tmp_path / "o") == 0
    report = json.loads((tmp_path / "o/report.json").read_text(encoding="utf-8"))
    assert report["system"]["n_units"] == 8
    assert {file["name"] for file in report["provenance"]["files"]} == {"p.csv", "f.csv"}
    assert call("induced-q", "--connectivity", connectivity, "--labels", tmp_path / "o/labels.tsv", "--json") == 0


def test_induced_q_prints_json(own_files, tmp_path, capsys):
    _, connectivity, matrix, units, _ = own_files
    labels = tmp_path / "labels.csv"
    labels.write_text(
        "unit,label\n" + "".join(f"{unit},{'ab'[i % 2]}\n" for i, unit in reversed(list(enumerate(units))))
    )
    assert call("induced-q", "--connectivity", connectivity, "--labels", labels, "--json") == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed == {"q": fct.modularity(matrix, np.arange(8) % 2), "n_communities": 2}
    assert call("induced-q", "--connectivity", connectivity, "--labels", labels) == 0
    assert "2 communities, 8 units" in capsys.readouterr().out


@pytest.fixture
def by_group(own_files, tmp_path):
    """Runs the comparison of the groups of the own inputs; its JSON."""
    projection, connectivity, *_ = own_files
    table = "input,group\n" + "".join(f"nucleus{j},{'first' if j < 3 else 'second'}\n" for j in range(5))
    (tmp_path / "g.csv").write_text(table, encoding="utf-8")
    files = ("--projection", projection, "--connectivity", connectivity, "--groups", tmp_path / "g.csv")

    def run(*words, out="o"):
        quick = ("--n-bootstrap", "20", *QUICK, "--out", tmp_path / out)
        assert call("run", *files, "--by-group", *words, *quick) == 0
        return json.loads((tmp_path / out / "groups.json").read_text(encoding="utf-8"))

    return run


def test_groups_of_own_inputs_are_compared(by_group, tmp_path, capsys):
    content = by_group("--highest", "second")
    printed = capsys.readouterr().out
    assert printed.startswith(
        "In p, 2 groups of inputs are compared. On all 8 units, which each reaches, the highest r"
    )
    assert "The lead of second over the highest of the others" in printed
    assert printed.endswith(f"Report: {tmp_path / 'o' / 'groups.html'}\n")
    assert {group["name"]: group["n_inputs"] for group in content["groups"]} == {"first": 3, "second": 2}
    assert content["highest"]["named"] == "second"
    assert content["policies"]["n_permutations"] == 9
    assert content["policies"]["n_bootstrap"] == 20
    assert {file["name"] for file in content["provenance"]["files"]} == {"p.csv", "f.csv", "g.csv"}
    assert {path.name for path in (tmp_path / "o").iterdir()} == {"groups.html", "groups.json", "groups.tsv", "figures"}
    # The command in the file makes the same file again.
    command = content["provenance"]["command"]
    assert "--by-group --highest second --n-bootstrap 20 --n-nulls 9" in command
    assert call(*command.replace(str(tmp_path / "o"), str(tmp_path / "again")).split()[1:]) == 0
    again = json.loads((tmp_path / "again/groups.json").read_text(encoding="utf-8"))
    assert again["groups"] == content["groups"]
    assert again["highest"] == content["highest"]


def test_a_comparison_of_groups_by_looking(by_group):
    content = by_group()
    assert content["highest"]["named"] is None
    assert "--highest" not in content["provenance"]["command"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--highest", "secnd"], "highest names 'secnd', which is no group of 'p'. Did you mean 'second'?"),
        (["--leave-out", "first"], "needs at least 2 groups of inputs, and 'p' has 1 once first is left out: second"),
    ],
)
def test_bad_names_of_groups_leave_no_folder(by_group, words, message, tmp_path, capsys):
    with pytest.raises(AssertionError):
        by_group(*words)
    assert message in capsys.readouterr().err
    assert not (tmp_path / "o").exists()


@pytest.fixture
def grouped_source(monkeypatch):
    """A source that brings one group of inputs, or all of them."""

    def load(*, part="a"):
        toy = plugins.find_source("toy").load(n_units=10, n_inputs=12, n_communities=2, n_times=60)
        groups = ("a", "b", "c") * 4
        kept = [j for j, group in enumerate(groups) if part in ("all", group)]
        projection = fct.InputProjection(toy.projection.weights, groups=groups).select_inputs(np.array(kept))
        return replace(toy, projection=projection)

    toy = plugins.find_source("toy")
    parts = Source("parts", load, "a, b or c", "nobody", "CC0-1.0", synthetic=True, every_group={"part": "all"})
    monkeypatch.setattr(plugins, "installed", lru_cache(lambda: Installed((), {"parts": parts, "toy": toy}, {})))


def test_a_source_loads_all_its_groups_and_its_default_is_named(grouped_source, tmp_path, capsys):
    words = ("--by-group", "--n-bootstrap", "20", *QUICK, "--out", tmp_path)
    for left_out, named, compared in (("c", "a", {"a", "b"}), ("a", None, {"b", "c"})):
        assert call("run", "parts", "--leave-out", left_out, *words) == 0
        content = json.loads((tmp_path / "groups.json").read_text(encoding="utf-8"))
        assert {group["name"] for group in content["groups"]} == compared
        assert content["left_out"] == [left_out]
        assert f"\n  Left out on request: {left_out}\n" in capsys.readouterr().out
        assert content["highest"]["named"] == named
        assert "-o part=all --by-group" in content["provenance"]["command"]
        assert f"--leave-out {left_out} " in content["provenance"]["command"]


def test_one_group_and_all_of_them_cannot_be_asked_for_together(grouped_source, tmp_path, capsys):
    assert call("run", "parts", "-o", "part=b", "--by-group", "--out", tmp_path / "o") == 2
    assert "loads them all (part=all), so it cannot have part=b; leave that option out" in capsys.readouterr().err


def test_bad_own_files_leave_with_2_and_one_sentence(own_files, tmp_path, capsys):
    projection, connectivity, matrix, units, write = own_files
    weights = np.random.default_rng(0).random((8, 5))
    nuclei = [f"nucleus{j}" for j in range(5)]
    misspelt = write("misspelt.csv", weights, ["area0", "aera1", *units[2:]], nuclei)
    transposed = write("transposed.csv", weights.T, nuclei, units)
    with_nan = weights.copy()
    with_nan[2, 3] = np.nan
    nan = write("nan.csv", with_nan, units, nuclei)
    cases = {
        misspelt: ["'area1' (did you mean 'aera1'?)"],
        transposed: ["transposed.csv seems to be transposed", "--transposed"],
        nan: ["nan.csv, row 'area2', column 'nucleus3' is 'nan'"],
        tmp_path / "pp.csv": ["there is no file", "Did you mean"],
    }
    for path, expected in cases.items():
        assert call("run", "--projection", path, "--connectivity", connectivity, "--out", tmp_path / "bad") == 2
        captured = capsys.readouterr()
        assert captured.err.startswith("Error: ")
        assert captured.err.count("\n") == 1
        for words in expected:
            assert words in captured.err
        assert not (tmp_path / "bad/report.json").exists()
    assert (
        call(
            "run",
            "--projection",
            transposed,
            "--connectivity",
            connectivity,
            "--transposed",
            *QUICK,
            "--out",
            tmp_path / "ok",
        )
        == 0
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "toyy", "--out", "o"], "Did you mean 'toy'?"),
        (["run", "toy", "-o", "n_unit=3", "--out", "o"], "Did you mean 'n_units'?"),
        (["run", "toy", "-o", "n_units=many", "--out", "o"], "'many'; it must be a whole number"),
        (["run", "toy", "-o", "planted=perhaps", "--out", "o"], "it must be true or false"),
        (["run", "toy", "-o", "n_units", "--out", "o"], "write KEY=VALUE"),
        (["run", "toy", "-o", "seed=-1", "--out", "o"], "seed is -1; it must be a whole number of at least 0"),
        (["run", "toy", "-o", "n_inputs=-3", "--out", "o"], "n_inputs is -3; it must be a whole number of at least 1"),
        (["run", "--out", "o"], "name a source"),
        (["run", "toy", "--projection", "x.csv", "--out", "o"], "not both"),
        (["run", "toy", "--fisher-z", "--out", "o"], "--fisher-z belongs with --projection"),
        (["run", "toy", "--null", "spinn", "--out", "o"], "no null named 'spinn'"),
        (["run", "toy"], "Missing option '--out'"),
        (["run", "toy", "--n-nulls", "0", "--out", "o"], "Invalid value for '--n-nulls'"),
        (
            ["run", "toy", "--highest", "a", "--n-bootstrap", "9", "--out", "o"],
            "--highest, --n-bootstrap belongs with --by",
        ),
        (["run", "toy", "--by-group", "--out", "o"], "source 'toy' does not say which groups its inputs belong to"),
        (["run", "toy", "--by-group", "--null", "spin", "--out", "o"], "--null belongs to a run without --by-group"),
        (["run", "toy", "--groups", "g.csv", "--out", "o"], "--groups belongs with --projection"),
        (["run", "toy", "--jobs", "0", "--out", "o"], "n_jobs is 0; it must be the number of threads"),
        (["run", "toy", "--backend", "desk", "--out", "o"], "Invalid value for '--backend'"),
        (["run", "toy", "--backend", "dask", "--out", "o"], "needs the address of its scheduler"),
        (["compare", "toy", "--scheduler", "tcp://n:1", "--out", "o"], "belongs with the backend 'dask'"),
        (["compare", "toy", "toy", "--out", "o"], "these repeat: toy"),
        (["compare", "toy", "-o", "seed=1", "--out", "o"], "SOURCE:KEY=VALUE"),
        (["compare", "toy", "-o", "tyo:seed=1", "--out", "o"], "'tyo' is not compared here. Did you mean 'toy'?"),
        (["run", "toy", "-o", "seed=1", "-o", "seed=2", "--out", "o"], "'seed' was given before"),
        (["induced-q", "--connectivity", "no.csv", "--labels", "no.csv"], "there is no file no.csv"),
        (["nonsense"], "No such command"),
    ],
)
def test_bad_words(arguments, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert call(*arguments) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(("words", "cache"), [([], True), (["--no-cache"], False)])
def test_workers_are_those_asked_for(words, cache, monkeypatch, tmp_path):
    asked = []
    monkeypatch.setattr(cli, "_analyse", lambda system, workers, **_: asked.append(workers) or 1 / 0)
    assert call("run", "toy", "--jobs", "3", *words, "--out", tmp_path) == 1
    assert asked == [Workers(n_jobs=3, cache=cache)]


@pytest.mark.parametrize(
    "error",
    [
        ZeroDivisionError("division by zero"),
        FileNotFoundError(2, "No such file"),
        TemplateNotFound("a.jinja"),
        EOFError("half a file"),
    ],
)
def test_our_own_faults_leave_with_1(error, monkeypatch, capsys, tmp_path):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr("fctoolbox.origin.analyse_origin", fail)
    assert call("run", "toy", "--out", tmp_path) == 1
    captured = capsys.readouterr().err
    assert captured.lstrip().startswith("Traceback")
    assert "fault in fctoolbox" in captured


def test_interrupted_leaves_with_130(monkeypatch, capsys, tmp_path):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("fctoolbox.origin.analyse_origin", interrupt)
    assert call("run", "toy", "--out", tmp_path) == 130
    assert "Interrupted" in capsys.readouterr().err


@pytest.mark.parametrize("out", ["file", "file/below/it"])
def test_a_folder_that_cannot_be_made(out, tmp_path, capsys, monkeypatch):
    (tmp_path / "file").write_text("x")
    monkeypatch.setattr(cli, "load_source", None)  # it is said before the source is loaded
    assert call("run", "toy", "--out", tmp_path / out) == 2
    assert "--out" in capsys.readouterr().err


@pytest.mark.parametrize("words", [["run", "toyy"], ["compare", "toyy"], ["run", "toy", "-o", "seed=-1"]], ids=" ".join)
def test_a_run_that_does_not_begin_leaves_no_folder(words, tmp_path):
    assert call(*words, "--out", tmp_path / "o") == 2
    assert not (tmp_path / "o").exists()


def test_a_path_that_the_system_refuses(own_files, tmp_path, capsys):
    projection, connectivity, *_ = own_files
    name = tmp_path / f"{'x' * 300}.csv"
    assert call("run", "--projection", name, "--connectivity", connectivity, "--out", tmp_path / "o") == 2
    assert call("induced-q", "--connectivity", connectivity, "--labels", name) == 2
    printed = capsys.readouterr().err
    assert printed.count("\n") == 2
    assert printed.count("x" * 300) == 2


def test_what_cannot_be_written_is_the_users_to_repair(tmp_path, capsys):
    (tmp_path / "report.json").mkdir()
    assert call("run", "toy", *QUICK, "--out", tmp_path) == 2
    captured = capsys.readouterr().err
    assert captured.startswith(f"Error: {tmp_path / 'report.json'} cannot be written: ")
    assert captured.count("\n") == 1


def test_a_full_disk_is_the_users_to_repair(tmp_path, capsys, monkeypatch):
    def fill(*_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_bytes", fill)
    assert call("run", "toy", *QUICK, "--out", tmp_path) == 2
    assert "cannot be written: No space left on device" in capsys.readouterr().err


def test_help_and_version(capsys):
    assert call("--help") == 0
    assert "induced-q" in capsys.readouterr().out
    assert call("--version") == 0
    assert fct.__version__ in capsys.readouterr().out


def test_sources_lists_name_summary_and_options(capsys):
    assert call("sources") == 0
    text = capsys.readouterr().out
    assert "toy" in text
    assert "planted=true" in text
    assert call("sources", "--json") == 0
    listed = {source["name"]: source for source in json.loads(capsys.readouterr().out)}
    assert listed["toy"]["options"]["n_units"] == 80
    assert listed["toy"]["synthetic"] is True


def test_check_and_plugins(capsys):
    assert call("check", "toy") == 0
    assert "✓ loading twice gives the same system" in capsys.readouterr().out
    assert call("plugins") == 0
    assert "toy  (fctoolbox " in capsys.readouterr().out
    assert call("plugins", "--json") == 0
    assert json.loads(capsys.readouterr().out)["refused"] == {}


UNREACHABLE = DataFile("far.csv", "http://127.0.0.1:9/far.csv", "0" * 64, 12)


def _load_far(*, option=1):
    fetch(UNREACHABLE)


def _load_far_of_size(*, n_units=9, detail=1):
    fetch(UNREACHABLE)


@pytest.fixture
def far_source(monkeypatch):
    """A source whose data cannot be had, with the toy as its miniature."""
    toy = plugins.find_source("toy")
    far = Source("far", _load_far, "far away", "nobody", "CC0-1.0", files=(UNREACHABLE,), miniature="toy")
    monkeypatch.setattr(plugins, "installed", lru_cache(lambda: Installed((), {"far": far, "toy": toy}, {})))
    monkeypatch.delenv("FCTOOLBOX_MIRROR", raising=False)


def test_missing_data_are_never_replaced_unasked(far_source, tmp_path, capsys):
    assert call("compare", "far", "--out", tmp_path) == 2
    assert "--or-miniature" in capsys.readouterr().err
    assert not (tmp_path / "report.json").exists()


def test_the_miniature_is_announced_as_synthetic(far_source, tmp_path, capsys):
    assert call("compare", "far", "--or-miniature", *QUICK, "--out", tmp_path) == 0
    captured = capsys.readouterr()
    assert "SYNTHETIC miniature 'toy' instead of 'far'" in captured.err
    assert "toy (synthetic" in captured.out
    assert "Synthetic, made up by a program" in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_a_miniature_gets_the_options_of_the_source_that_it_stands_for(monkeypatch, far_source, tmp_path, capsys):
    far = replace(plugins.find_source("far"), load=_load_far_of_size)
    toy = plugins.find_source("toy")
    monkeypatch.setattr(plugins, "installed", lru_cache(lambda: Installed((), {"far": far, "toy": toy}, {})))
    common = ("compare", "far", "--or-miniature", *QUICK, "--out", tmp_path)
    assert call(*common, "-o", "far:n_units=20") == 0
    content = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert content["comparison"][0]["system"]["n_units"] == 20
    assert "-o toy:n_units=20" in content["comparison"][0]["provenance"]["command"]
    capsys.readouterr()
    assert call(*common, "-o", "far:detail=2") == 2
    assert "the miniature 'toy' has no option detail, which 'far' was given" in capsys.readouterr().err


def test_a_miniature_is_not_compared_with_itself(far_source, tmp_path, capsys):
    assert call("compare", "toy", "far", "--or-miniature", *QUICK, "--out", tmp_path) == 2
    assert "its miniature 'toy' is compared already" in capsys.readouterr().err


def test_fetch_says_what_is_missing(far_source, capsys):
    assert call("fetch", "toy") == 0
    assert "needs no files" in capsys.readouterr().out
    assert call("fetch", "far") == 2
    captured = capsys.readouterr().err
    assert "1 of 1 files of 'far' are missing: far.csv" in captured
    assert "FCTOOLBOX_MIRROR" in captured


def test_compare_two_sources_in_one_page(tmp_path, monkeypatch, capsys):
    toy = plugins.find_source("toy")

    def load_other(*, seed=0):
        system = toy.load(planted=False, n_units=20, seed=seed)
        return fct.RecurrentSystem(
            "other (synthetic)", system.units, system.projection, system.activity, system.provenance
        )

    other = Source("other", load_other, "another toy", "nobody", "CC0-1.0", synthetic=True)
    monkeypatch.setattr(plugins, "installed", lru_cache(lambda: Installed((), {"toy": toy, "other": other}, {})))
    assert call("compare", "toy", "other", "-o", "toy:n_units=25", "-o", "other:seed=2", *QUICK, "--out", tmp_path) == 0
    content = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert [each["system"]["n_units"] for each in content["comparison"]] == [25, 20]
    assert "other:seed=2" in content["comparison"][0]["provenance"]["command"]


def test_a_reader_that_stops_listening_is_no_fault():
    shell = f"{sys.executable} -m fctoolbox.cli sources --json | true"  # it ends before there is anything to read
    done = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {shell}"],
        capture_output=True,
        text=True,
        env=os.environ,
        check=False,
    )
    assert done.returncode != 0
    assert done.stderr == ""


def test_systems_beside_the_report(tmp_path, capsys):
    out = tmp_path / "o"
    asked = ("run", "toy", "-o", "n_units=40", "--systems", "planted", "--leave-out", "2", "--n-restarts", "2")
    assert call(*asked, "--n-nulls", "99", "--out", out) == 0
    captured = capsys.readouterr().out
    assert "is most concentrated within" in captured
    assert f"Systems: {out / 'systems.html'}" in captured
    content = json.loads((out / "systems.json").read_text(encoding="utf-8"))
    assert {each["name"] for each in content["networks"]} == {"0", "1", "3"}
    assert content["left_out"] == ["2"]
    command = content["provenance"]["command"]
    assert "--systems planted --leave-out 2" in command
    assert command == json.loads((out / "report.json").read_text(encoding="utf-8"))["provenance"]["command"]
    assert (out / "systems.tsv").exists()
    assert (out / "systems.svg").exists()
    # A later report in the same folder is not of these.
    assert call("run", "toy", "-o", "n_units=12", *QUICK, "--out", out) == 0
    assert not list(out.glob("systems.*"))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--systems", "plantd"), "no annotation named 'plantd'. Did you mean 'planted'?"),
        (("--systems", "planted", "--leave-out", "9"), "annotation 'planted' has no network '9' to leave out"),
        (("--systems", "planted", "--by-group"), "--systems belongs to a run without --by-group"),
        (("--leave-out", "1"), "--leave-out belongs with --by-group"),
        (("--systems", "planted", "--highest", "1"), "--highest belongs with --by-group"),
    ],
)
def test_what_cannot_be_asked_of_systems(tmp_path, capsys, words, message):
    assert call("run", "toy", *words, *QUICK, "--out", tmp_path / "o") == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "o").exists()


def test_systems_of_a_table_of_ones_own(tmp_path, capsys):
    table, out = tmp_path / "mine.tsv", tmp_path / "o"
    rows = [f"{unit}\t{'front' if k < 12 else 'back'}" for k, unit in enumerate(fct.load("toy", n_units=40).units)]
    table.write_text("unit\tlabel\n" + "\n".join(rows[::-1]) + "\n", encoding="utf-8")
    asked = ("run", "toy", "-o", "n_units=40", "--n-restarts", "2", "--n-nulls", "99")
    assert call(*asked, "--systems", table, "--out", out) == 0
    content = json.loads((out / "systems.json").read_text(encoding="utf-8"))
    assert {each["name"]: each["n_units"] for each in content["networks"]} == {"front": 12, "back": 28}
    assert f"--systems {table} " in content["provenance"]["command"]
    assert "mine.tsv" in {file["name"] for file in content["provenance"]["files"]}
    assert call(*asked, "--systems", tmp_path / "absent.dlabel.nii", "--out", tmp_path / "none") == 2
    message = capsys.readouterr().err
    assert f"there is no file {tmp_path / 'absent.dlabel.nii'}, nor an annotation of that name" in message
    assert "Annotations that it has: planted" in message


@pytest.fixture
def many_units(monkeypatch):
    """A source that announces more units than there can be distances of, and must not be asked for more."""

    def load():
        announce_units("vast", 10**5)
        raise fct.InputError("it went on")

    sources = {name: Source(name, load, "large", "nobody", "CC0-1.0", synthetic=True) for name in ("vast", "vaster")}
    monkeypatch.setattr(plugins, "installed", lru_cache(lambda: Installed((), sources, {})))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("run", "vast", "--null", "spin", "--null", "moran"), "the null 'moran' needs the distances of all pairs"),
        (("compare", "vast", "vaster", "--null", "projection"), "the null 'projection' needs the distances of all"),
        (("run", "vast", "--null", "auto"), "it went on"),
        (("run", "vast"), "it went on"),
    ],
)
def test_a_null_of_too_many_units_is_refused_before_they_are_loaded(many_units, tmp_path, capsys, words, message):
    assert call(*words, *QUICK, "--out", tmp_path / "o") == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "o").exists()


def test_units_left_out_are_told_by_reason():
    from fctoolbox.cli import _dropped_in_words
    from fctoolbox.origin import Dropped

    dropped = [Dropped("a", "constant"), *(Dropped(f"u{i}", "no input") for i in range(1200)), Dropped("b", "constant")]
    assert _dropped_in_words(dropped) == (
        "1,202 of its units: a, b (constant); u0, u1, u2, u3, u4, u5, u6, u7 … and 1192 more (no input)"
    )
