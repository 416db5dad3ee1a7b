"""What the distribution brings."""

import subprocess
import sys

import pytest
from fctoolbox_hcp import fctoolbox_sources, files

import fctoolbox as fct
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


@pytest.mark.parametrize("source", ["human-dense-mini", "human-parcellated-mini"])
def test_the_miniatures_keep_the_contract(source):
    check_source(source)


def test_reports_have_files_for_viewers_where_units_lie_on_a_surface(tmp_path):
    source = find_source("human-dense-mini")
    options = {"null": "permutation", "n_nulls": 9, "n_restarts": 1, "rng": 0}
    vertices = fct.analyse_origin(fct.load(source.name), **options)
    assert {path.name for path in source.write_outputs(vertices, tmp_path)} == {
        "modules.dlabel.nii",
        "modules.L.label.gii",
        "similarity_to_seed.dscalar.nii",
        "input_strength.dscalar.nii",
    }
    voxels = fct.load(source.name, targets="THALAMUS_LEFT", sources="CORTEX_LEFT")
    assert not source.write_outputs(fct.analyse_origin(voxels, **options), tmp_path)
    assert all(each.write_outputs for each in fctoolbox_sources())


@pytest.mark.mirror
def test_the_dense_human_keeps_the_contract():
    if any(locate(file) is None for file in files.DENSE):
        pytest.skip("the files of the dense human are not in FCTOOLBOX_MIRROR")
    check_source("human-dense", sources="THALAMUS_LEFT", fwhm=0)
