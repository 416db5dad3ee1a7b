"""The tutorial's plugin is a real package: it is built, installed, found, checked and run."""

import json
import os
import shutil
import subprocess
import sys
import tokenize
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[2] / "docs" / "tutorials" / "fctoolbox-zebrafish"


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    """An environment in which the plugin is installed, without the internet and without touching this one."""
    folder = tmp_path_factory.mktemp("plugin")
    shutil.copytree(PACKAGE, folder / "source")
    offline = ["--disable-pip-version-check", "--quiet", "--no-index", "--no-deps", "--no-build-isolation"]
    pip = [sys.executable, "-m", "pip", "install"]
    _run([*pip, *offline, "--target", folder / "packages", folder / "source"], dict(os.environ))
    return {**os.environ, "PYTHONPATH": str(folder / "packages"), "FCTOOLBOX_STRICT": "1"}


def _run(words, environment, **options) -> str:
    words = [str(word) for word in words]
    done = subprocess.run(words, env=environment, capture_output=True, text=True, check=False, **options)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def _fctoolbox(environment, *words) -> str:
    return _run([sys.executable, "-m", "fctoolbox.cli", *words], environment)


def test_it_is_listed(environment):
    sources = {source["name"]: source for source in json.loads(_fctoolbox(environment, "sources", "--json"))}
    assert sources["zebrafish-toy"]["synthetic"]
    assert sources["zebrafish-toy"]["options"] == {"n_times": 600, "seed": 0}


def test_it_runs(environment, tmp_path):
    _fctoolbox(environment, "run", "zebrafish-toy", "-o", "n_times=300", "--n-nulls", "19", "--out", tmp_path)
    report = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert report["system"]["name"] == "zebrafish-toy (synthetic; n_times=300)"
    assert report["communities"]["sizes"] == [12, 12, 12]
    assert "-o n_times=300" in report["provenance"]["command"]
    assert report["provenance"]["versions"]["fctoolbox-zebrafish"] == "0.1.0"


def test_its_own_tests_pass_and_with_them_the_contract(environment, tmp_path):
    # `fctoolbox check` itself is among the commands of plugin.md.
    _run([sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", PACKAGE / "tests"], environment, cwd=tmp_path)


def test_it_is_under_thirty_lines_of_code():
    with (PACKAGE / "fctoolbox_zebrafish.py").open("rb") as stream:
        tokens = list(tokenize.tokenize(stream.readline))
    code = {tokenize.NAME, tokenize.OP, tokenize.NUMBER, tokenize.STRING}
    lines = {line for token in tokens if token.type in code for line in range(token.start[0], token.end[0] + 1)}
    assert len(lines) < 30
