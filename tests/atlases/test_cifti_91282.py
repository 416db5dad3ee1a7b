"""The atlas of the 91,282 grayordinates."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
from fctoolbox_atlases import load_atlas

from fctoolbox.data import locate

SCRIPT = Path(__file__).parents[2] / "atlases" / "build" / "cifti_91282.py"


@pytest.fixture(scope="module")
def atlas():
    return load_atlas("cifti-91282")


def test_offsets_are_cumulative_counts(atlas):
    np.testing.assert_array_equal(atlas["offset"], np.cumsum([0, *atlas["count"][:-1]]))
    assert atlas["offset"][-1] + atlas["count"][-1] == 91_282


def test_known_structures(atlas):
    known = {
        "CORTEX_LEFT": (29_696, 0),
        "CORTEX_RIGHT": (29_716, 29_696),
        "THALAMUS_LEFT": (1_288, 88_746),
        "THALAMUS_RIGHT": (1_248, 90_034),
    }
    rows = atlas.rows("structure", [f"CIFTI_STRUCTURE_{name}" for name in known])
    pairs = zip(atlas["count"][rows].tolist(), atlas["offset"][rows].tolist(), strict=True)
    assert list(pairs) == list(known.values())


def test_hemispheres_follow_names(atlas):
    for structure, hemisphere in zip(atlas["structure"], atlas["hemisphere"], strict=True):
        expected = "midline" if structure == "CIFTI_STRUCTURE_BRAIN_STEM" else structure.rsplit("_", 1)[1].lower()
        assert hemisphere == expected


def test_the_cortex_is_surface_and_all_else_volume(atlas):
    assert atlas["kind"].tolist() == ["surface"] * 2 + ["volume"] * 19
    assert all("CORTEX" in structure for structure in atlas["structure"][:2])


@pytest.mark.mirror
def test_the_table_is_what_its_script_makes():
    spec = importlib.util.spec_from_file_location("cifti_91282", SCRIPT)
    build = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(build)
    if any(locate(file) is None for file in build.FILES):
        pytest.skip("the origin files are not in FCTOOLBOX_MIRROR")
    assert build.build() == build.TABLE.read_text(encoding="utf-8")
