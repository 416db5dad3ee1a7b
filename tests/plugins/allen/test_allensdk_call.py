"""The call of AllenSDK, and its script, without AllenSDK; `test_allensdk.py` runs the real one."""

import ast
import errno
import json
import runpy
import subprocess
import sys
from urllib.error import URLError

import pytest
from fctoolbox_allen import allensdk_call
from fctoolbox_allen.allensdk_call import RESOLUTIONS, SCRIPT, export_experiments, find_uv, kept_export

from fctoolbox import DataUnavailable, InputError


def test_an_export_is_made_only_where_it_lacks_something(export_folder, monkeypatch, export_copy):
    asked = []

    def fake(path, structures, **options):
        asked.append((path, tuple(structures), options))
        return export_folder

    monkeypatch.setattr(allensdk_call, "export_experiments", fake)
    kept_export(export_folder, ["TH", "VISp"])  # all grey matter is covered
    assert asked == []
    kept_export(export_copy / "new", ["TH"], resolution=100, server="http://localhost:1")
    assert asked == [(export_copy / "new", ("TH",), {"resolution": 100, "server": "http://localhost:1"})]
    record = json.loads((export_copy / "export.json").read_text())
    (export_copy / "export.json").write_text(json.dumps({**record, "structures": ["TH"], "resolution": 25}))
    kept_export(export_copy, ["LGd"], resolution=100)
    assert len(asked) == 1
    kept_export(export_copy, ["LGd", "STR"], resolution=100)
    assert asked[-1] == (export_copy, ("TH", "STR"), {"resolution": 25, "server": None})


def test_the_script_uses_no_name_of_datetime_that_its_oldest_python_lacks():
    script = SCRIPT.read_text(encoding="utf-8")
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

    monkeypatch.setattr(allensdk_call, "find_uv", lambda: "uv")
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
def test_requests_that_are_none_start_nothing(options, message, monkeypatch, tmp_path, export_folder):
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: pytest.fail("a process was started"))
    monkeypatch.setattr(allensdk_call, "find_uv", lambda: "uv")
    for call in (
        lambda: kept_export(tmp_path, ["TH"], **options),
        lambda: kept_export(export_folder, ["TH"], **options),
        lambda: export_experiments(tmp_path, **options),
    ):
        with pytest.raises(InputError, match=message) as caught:
            call()
        assert not isinstance(caught.value, DataUnavailable)


def test_the_script_offers_the_same_resolutions():
    script = runpy.run_path(str(SCRIPT))
    for resolution in (*RESOLUTIONS, 30):
        code = 0 if resolution in RESOLUTIONS else 2
        with pytest.raises(SystemExit) as caught:
            script["main"](["--out", "x", "--resolution", str(resolution), "--help"])
        assert caught.value.code == code


def test_going_on_is_offered_only_where_it_helps(monkeypatch, tmp_path, export_folder):
    answer = {}

    def run(command, **_):
        return subprocess.CompletedProcess(command, 2, json.dumps(answer), "")

    def said(structures=("TH",)):
        with pytest.raises(InputError) as caught:
            export_experiments(tmp_path, structures)
        return caught.value

    monkeypatch.setattr(allensdk_call, "find_uv", lambda: "uv")
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
    cached.write_bytes((export_folder / "structures.json").read_bytes())
    assert str(said(["TH", "VISpp"])).endswith("the structure tree has no VISpp. Did you mean 'VISp'?")


def test_the_script_tells_the_network_from_the_disk():
    script = runpy.run_path(str(SCRIPT))
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
