"""What each distribution says about itself, against what is in its folder."""

import ast
import re
import sys
import tomllib
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
FOLDERS = [".", "atlases", "plugins/allen", "plugins/ctrnn", "plugins/hcp"]
CALLED = {"nrrd": "pynrrd", "sklearn": "scikit_learn"}  # imported under another name than that of the distribution


def project(folder):
    return tomllib.loads((REPOSITORY / folder / "pyproject.toml").read_text(encoding="utf-8"))


def package(folder):
    (name,) = project(folder)["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    return REPOSITORY / folder / name


def imported(path):
    source = path.read_text(encoding="utf-8")
    if source.startswith("# /// script\n"):
        return  # it runs in an environment of its own, which its first lines declare
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield node.module.partition(".")[0]


@pytest.mark.parametrize("folder", FOLDERS)
def test_what_is_imported_is_declared(folder):
    about = project(folder)["project"]
    extras = [
        each for extra, names in about.get("optional-dependencies", {}).items() if extra != "test" for each in names
    ]
    declared = {re.match(r"[\w-]+", each)[0].replace("-", "_") for each in [*about["dependencies"], *extras]}
    needed = {CALLED.get(name, name) for path in package(folder).rglob("*.py") for name in imported(path)}
    assert needed - declared - set(sys.stdlib_module_names) - {package(folder).name} == set()


@pytest.mark.parametrize("folder", FOLDERS)
def test_each_wheel_brings_its_licence_and_its_types(folder):
    assert project(folder)["project"]["license-files"] == ["LICENSE"]
    assert (REPOSITORY / folder / "LICENSE").read_bytes() == (REPOSITORY / "LICENSE").read_bytes()
    assert (package(folder) / "py.typed").is_file()
