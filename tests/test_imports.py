"""Listing what is there costs nothing: the libraries that take seconds to import stay out of it."""

import json
import subprocess
import sys

import pytest

HEAVY = {
    "brainsmash", "dask", "distributed", "gymnasium", "jinja2", "matplotlib", "neurogym", "nibabel", "nilearn", "nrrd",
    "numba", "openpyxl", "pandas", "pooch", "requests", "sklearn", "torch",
}  # fmt: skip

RUN = """
from fctoolbox.cli import main
try:
    main({arguments})
except SystemExit as end:
    assert not end.code
"""


def imported(code):
    """The libraries in memory after a program has run, in a process of its own."""
    report = "\nimport sys, json; print(json.dumps(sorted({name.partition('.')[0] for name in sys.modules})))"
    done = subprocess.run([sys.executable, "-c", code + report], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.parametrize("arguments", [["sources"], ["sources", "--json"], ["plugins"], ["--help"]], ids=" ".join)
def test_listing_imports_no_heavy_library(arguments):
    modules = imported(RUN.format(arguments=arguments))
    assert "fctoolbox" in modules
    assert not modules & HEAVY


@pytest.mark.parametrize("module", ["fctoolbox", "fctoolbox.testing", "fctoolbox.matrices", "fctoolbox.report"])
def test_a_module_imports_no_heavy_library(module):
    assert not imported(f"import {module}") & HEAVY


def test_the_proof_would_see_one():
    assert imported("import fctoolbox.cli, pooch") & HEAVY
