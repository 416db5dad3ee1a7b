import gzip
import json

import numpy as np
import pytest
from fctoolbox_allen import voxel_miniature
from fctoolbox_allen.ccf import read_structures
from fctoolbox_allen.files import ANNOTATION
from fctoolbox_allen.grid import mirror_of, read_grid
from fctoolbox_allen.knox.masks import MaskParams, parts_of, voxels_of
from fctoolbox_allen.knox.store import NAMES
from fctoolbox_allen.rois import MINIATURE_N_ROIS
from fctoolbox_allen.voxel import load_voxel_miniature
from fctoolbox_allen.voxel_choices import Choices
from fctoolbox_allen.voxel_miniature import (
    DIVISIONS,
    N_MODULES,
    THALAMUS,
    _level_of,
    _levels,
    write_model,
    write_table,
)

from fctoolbox import InputError


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("model")
    return path, write_model(path, rng=0, choices=Choices(n_rois=600))


def factors(folder):
    return [np.loadtxt(folder / name, delimiter=",") for name in ("weights.csv.gz", "nodes.csv.gz")]


def test_the_same_seed_writes_the_same_content(folder, tmp_path):
    write_model(tmp_path, rng=0, choices=Choices(n_rois=600))
    for one, other in zip(factors(folder[0]), factors(tmp_path), strict=True):
        np.testing.assert_array_equal(one, other)
    write_model(tmp_path, rng=1, choices=Choices(n_rois=600))
    assert not np.array_equal(factors(folder[0])[0], factors(tmp_path)[0])


def test_shapes_fit_the_masks(folder):
    grid, structures = read_grid(folder[0] / "annotation_100.nrrd"), read_structures(folder[0] / "tree.json")
    weights, nodes = factors(folder[0])
    assert len(weights) == len(voxels_of(grid, structures, MaskParams(DIVISIONS, 2)))
    assert nodes.shape == (weights.shape[1], len(voxels_of(grid, structures, MaskParams(DIVISIONS, 3))))
    assert json.loads((folder[0] / "source_mask_params.json").read_text())["hemisphere_id"] == 2
    assert mirror_of(grid).agreement == 1


def test_weights_are_those_of_a_kernel_within_divisions(folder):
    grid, structures = read_grid(folder[0] / "annotation_100.nrrd"), read_structures(folder[0] / "tree.json")
    weights, _ = factors(folder[0])
    np.testing.assert_allclose(weights.sum(axis=1), 1, rtol=1e-3)
    voxels = voxels_of(grid, structures, MaskParams(DIVISIONS, 2))
    whole = parts_of(DIVISIONS, structures)
    division = np.array([whole[int(label)] for label in grid.labels[tuple(voxels.T)]])
    used = [set(np.flatnonzero(weights[division == each].any(axis=0))) for each in DIVISIONS]
    assert sum(map(len, used)) == weights.shape[1] == len(set().union(*used))


def test_thalamic_experiments_project_into_one_module_each(folder):
    path, modules = folder
    weights, nodes = factors(path)
    grid, structures = read_grid(path / "annotation_100.nrrd"), read_structures(path / "tree.json")
    whole = parts_of(DIVISIONS, structures)
    voxels = voxels_of(grid, structures, MaskParams(DIVISIONS, 2))
    thalamic = np.array([whole[int(label)] == THALAMUS for label in grid.labels[tuple(voxels.T)]])
    of_target = modules[tuple(voxels_of(grid, structures, MaskParams(DIVISIONS, 3)).T)]
    means = np.array([nodes[:, of_target == each].mean(axis=1) for each in range(N_MODULES)])
    experiments = np.flatnonzero(weights[thalamic].any(axis=0))
    assert set(means[:, experiments].argmax(axis=0)) == set(range(N_MODULES))
    best, second = np.sort(means[:, experiments], axis=0)[[-1, -2]]
    assert (best > 20 * second).all()
    assert 0.6 < (nodes == 0).mean() < 0.9


def test_the_text_is_what_savetxt_writes(tmp_path, rng):
    words = _levels()
    levels = np.concatenate([[0, 0, 1, 2**16 - 1], rng.integers(0, 2**16, 196)]).astype(np.uint16).reshape(20, 10)
    write_table(tmp_path / "a.csv.gz", [levels[:7], levels[7:]], 10, words)
    values = np.array([[float(bytes(words[level])) for level in row] for row in levels]).astype(np.float32)
    np.savetxt(tmp_path / "b.csv", values, delimiter=",")
    assert gzip.decompress((tmp_path / "a.csv.gz").read_bytes()) == (tmp_path / "b.csv").read_bytes()


def test_levels_are_near_what_they_stand_for(rng):
    values = rng.uniform(0, 5, 1000).astype(np.float32)
    words = _levels()
    found = np.array([float(bytes(words[level])) for level in _level_of(values)])
    np.testing.assert_allclose(found, values, rtol=3e-4)
    assert _level_of(np.zeros(3, np.float32)).tolist() == [0, 0, 0]


def test_the_folder_says_that_it_was_made_up(folder):
    assert "Synthetic data made by fctoolbox" in (folder[0] / "SYNTHETIC.txt").read_text()


def test_the_random_state_of_others_is_left_alone(tmp_path):
    before = np.random.get_state()[1].copy()
    write_model(tmp_path, rng=3, choices=Choices(n_rois=600))
    np.testing.assert_array_equal(before, np.random.get_state()[1])


def test_the_defaults_fit_each_other(tmp_path):
    folder = tmp_path / "one" / "model"
    write_model(str(folder), rng=0)
    assert sorted(path.name for path in folder.iterdir()) == sorted(
        [*NAMES, "SYNTHETIC.txt", "annotation_100.nrrd", "series.npz", "tree.json"]
    )
    with np.load(folder / "series.npz") as series:
        assert int(series["n_rois"]) == MINIATURE_N_ROIS == load_voxel_miniature.__kwdefaults__["n_rois"]


def test_what_cannot_be_met_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(voxel_miniature, "write_table", lambda *_: pytest.fail("written before it was checked"))
    with pytest.raises(InputError, match=r"n_rois is 15,314; it must lie between .* and 5,\d{3}, the number"):
        write_model(tmp_path / "one" / "model", choices=Choices(n_rois=15_314))
    assert list(tmp_path.iterdir()) == []


def test_an_interruption_leaves_what_was_there(tmp_path, monkeypatch):
    def stopped(*_):
        raise KeyboardInterrupt

    (tmp_path / "tree.json").write_text("mine")
    monkeypatch.setattr(voxel_miniature, "write_series", stopped)
    with pytest.raises(KeyboardInterrupt):
        write_model(tmp_path, rng=0)
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("tree.json", "mine")]
    with pytest.raises(InputError, match=r"tree\.json.* cannot be written"):
        write_model(tmp_path / "tree.json")


@pytest.mark.slow
@pytest.mark.mirror
def test_the_full_size_has_the_published_shapes(published, tmp_path):
    published(ANNOTATION)
    write_model(tmp_path, rng=0, full_size=True)
    for name, size in (("weights", 145_052_675), ("nodes", 490_386_367)):  # as published
        assert (tmp_path / f"{name}.csv.gz").stat().st_size == pytest.approx(size, rel=0.1)
    with gzip.open(tmp_path / "weights.csv.gz") as stream:
        assert stream.readline().count(b",") == 427
