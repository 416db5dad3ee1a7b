import json
from pathlib import Path

import numpy as np
import pytest
from fctoolbox_allen.ccf import Structure, read_structures
from fctoolbox_allen.files import ANNOTATION, STRUCTURES
from fctoolbox_allen.grid import LabelGrid, read_grid
from fctoolbox_allen.knox.masks import MaskParams, check_sides, parts_of, read_mask, voxels_of
from fctoolbox_allen.voxel_miniature import DIVISIONS

from fctoolbox import InputError


def structure(number, path, name=""):
    return Structure(number, f"S{number}", name or f"structure {number}", path, (0, 0, 0))


TREE = {
    each.acronym: each
    for each in (
        structure(1, (1,)),
        structure(10, (1, 10)),
        structure(11, (1, 10, 11)),
        structure(20, (1, 20)),
    )
}


def test_voxels_come_in_c_order_by_hand():
    labels = np.zeros((4, 3, 6), dtype=np.int64)
    for place, label in {
        (0, 2, 5): 10,
        (0, 1, 0): 11,
        (0, 1, 3): 11,
        (3, 0, 2): 10,
        (2, 2, 2): 20,
        (0, 1, 2): 99,
    }.items():
        labels[place] = label
    grid = LabelGrid(labels)
    both = voxels_of(grid, TREE, MaskParams((10,), 3))
    assert both.tolist() == [[0, 1, 0], [0, 1, 3], [0, 2, 5], [3, 0, 2]]
    assert voxels_of(grid, TREE, MaskParams((10,), 1)).tolist() == [[0, 1, 0], [3, 0, 2]]
    assert voxels_of(grid, TREE, MaskParams((10,), 2)).tolist() == [[0, 1, 3], [0, 2, 5]]
    assert voxels_of(grid, TREE, MaskParams((20, 10), 3)).tolist() == sorted([*both.tolist(), [2, 2, 2]])


def test_parts_belong_to_the_deepest():
    assert parts_of((1, 10), TREE) == {1: 1, 10: 10, 11: 10, 20: 1}
    with pytest.raises(InputError, match="no structure with the id 77"):
        parts_of((1, 77), TREE)


def test_the_published_form(tmp_path):
    path = tmp_path / "source_mask_params.json"
    path.write_text(json.dumps({"structure_ids": list(DIVISIONS), "hemisphere_id": 2}, indent=2))
    assert path.stat().st_size == 159  # as published
    assert read_mask(path) == MaskParams(DIVISIONS, 2)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("<html>", "is no mask of the model, such as"),
        ('{"structures": [1]}', "KeyError 'structure_ids'"),
        ('{"structure_ids": ["x"], "hemisphere_id": 2}', "ValueError"),
        ('{"structure_ids": [1], "hemisphere_id": 4}', "hemisphere_id 4"),
        ('{"structure_ids": [], "hemisphere_id": 2}', "0 structure_ids"),
        ("[1, 2]", "TypeError"),
        ('{"structure_ids": "315", "hemisphere_id": 2}', "structure_ids is '315', which is no list"),
        ('{"structure_ids": 315, "hemisphere_id": 2}', "structure_ids is 315, which is no list"),
    ],
)
def test_what_is_no_mask(tmp_path, content, message):
    (tmp_path / "mask.json").write_text(content)
    with pytest.raises(InputError, match=message) as caught:
        read_mask(tmp_path / "mask.json")
    assert str(tmp_path / "mask.json") in str(caught.value)


def test_an_unknown_structure_is_blamed_on_the_file(tmp_path):
    path = tmp_path / "mask.json"
    path.write_text('{"structure_ids": [10, 77], "hemisphere_id": 2}')
    with pytest.raises(InputError) as caught:
        voxels_of(LabelGrid(np.zeros((2, 2, 2), dtype=np.int64)), TREE, read_mask(path))
    assert f"{path}: the structure tree has no structure with the id 77" in str(caught.value)


@pytest.mark.parametrize(
    ("source", "target", "message"),
    [
        (3, 2, r"s\.json is the mask of the targets \(hemisphere_id 3: both sides\), and t\.json that of the sources"),
        (1, 3, r"s\.json has hemisphere_id 1 \(left\), but the model's sources lie on the right \(hemisphere_id 2\)"),
        (3, 3, r"s\.json has hemisphere_id 3 \(both\), but the model's sources lie on the right"),
        (2, 2, r"t\.json has hemisphere_id 2 \(right\), but the model's targets lie on both sides \(hemisphere_id 3\)"),
        (2, 1, r"t\.json has hemisphere_id 1 \(left\), but the model's targets lie on both sides"),
    ],
)
def test_a_mask_of_another_side_is_named(source, target, message):
    with pytest.raises(InputError, match=message):
        check_sides(MaskParams((1,), source, Path("s.json")), MaskParams((1,), target, Path("t.json")))


def test_the_masks_of_the_model_are_right():
    check_sides(MaskParams((1,), 2), MaskParams((1,), 3))


@pytest.mark.mirror
def test_the_published_numbers_of_voxels(published):
    grid, structures = read_grid(published(ANNOTATION)), read_structures(published(STRUCTURES))
    assert grid.labels.shape == (132, 80, 114)
    n = {side: len(voxels_of(grid, structures, MaskParams(DIVISIONS, side))) for side in (1, 2, 3)}
    assert n == {1: 222_616, 2: 226_346, 3: 448_962}
    thalamus = voxels_of(grid, structures, MaskParams((549,), 2))
    assert len(thalamus) == 10_298
