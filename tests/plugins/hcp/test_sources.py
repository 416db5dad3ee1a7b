"""What the distribution brings."""

import subprocess
import sys

import pytest
from fctoolbox_hcp import fctoolbox_sources, files

from fctoolbox.data import locate
from fctoolbox.plugins import find_source
from fctoolbox.testing import check_source


def test_each_source_has_its_miniature():
    sources = {source.name: source for source in fctoolbox_sources()}
    real = [source for source in sources.values() if not source.synthetic]
    assert {source.name: source.miniature for source in real} == {
        "human-template": "human-mini",
        "human-dense": "human-dense-mini",
        "human-parcellated": "human-parcellated-mini",
    }
    assert all(sources[source.miniature].synthetic for source in real)
    template, mini = sources["human-template"], sources["human-mini"]
    assert find_source("human-template").options == {"hemisphere": "left", "fwhm": 0.0, "max_distance": 2.0}
    shared = {name: default for name, default in mini.options.items() if name in template.options}
    assert shared == template.options


def test_listing_them_imports_nothing_heavy():
    heavy = ["nibabel", "nilearn", "torch", "pandas", "matplotlib"]
    listing = "import sys, fctoolbox_hcp; fctoolbox_hcp.fctoolbox_sources()"
    code = f"{listing}; print([name for name in {heavy} if name in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_files_are_named_by_commit_and_content():
    for file in {*files.ALL, *files.DENSE}:
        assert file.url.startswith("https://raw.githubusercontent.com/")
        assert file.url.endswith("/" + file.name)
        assert len(file.url.split("/")[5]) == 40
    assert len({file.sha256 for file in files.ALL}) == len(files.ALL) == 10


@pytest.mark.mirror
@pytest.mark.parametrize("options", [{}, {"hemisphere": "both"}, {"hemisphere": "right", "fwhm": 6.0}])
def test_the_template_keeps_the_contract(options):
    if any(locate(file) is None for file in files.ALL):
        pytest.skip("the files of the template are not in FCTOOLBOX_MIRROR")
    check_source("human-template", **options)


def test_the_dense_miniature_keeps_the_contract():
    check_source("human-dense-mini")


@pytest.mark.mirror
def test_the_dense_human_keeps_the_contract():
    if any(locate(file) is None for file in files.DENSE):
        pytest.skip("the files of the dense human are not in FCTOOLBOX_MIRROR")
    check_source("human-dense", sources="THALAMUS_LEFT", fwhm=0)
