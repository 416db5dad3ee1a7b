import errno
import gzip
import hashlib
import json
import os
import shutil
import tracemalloc

import numpy as np
import pytest
from fctoolbox_allen.knox import store as stores
from fctoolbox_allen.knox.store import NAMES, find_model, open_store

from fctoolbox import InputError
from fctoolbox.errors import DataUnavailable

SHAPE = (60, 7, 90)


@pytest.fixture
def factors(rng):
    n_sources, n_experiments, n_targets = SHAPE
    weights = rng.random((n_sources, n_experiments), dtype=np.float32)
    nodes = np.where(rng.random((n_experiments, n_targets)) < 0.3, rng.random((n_experiments, n_targets)), 0)
    return weights, nodes.astype(np.float32)


def save(path, array):
    with gzip.open(path, "wb") as stream:
        np.savetxt(stream, array, delimiter=",")


@pytest.fixture
def model(tmp_path, factors):
    folder = tmp_path / "model"
    folder.mkdir()
    for name, array in zip(NAMES[:2], factors, strict=True):
        save(folder / name, array)
    for name in NAMES[2:]:
        (folder / name).write_text(json.dumps({"structure_ids": [1], "hemisphere_id": 2}))
    return find_model(folder)


def opened(model, tmp_path, n_sources=SHAPE[0], n_targets=SHAPE[2]):
    return open_store(model, n_sources=n_sources, n_targets=n_targets, folder=tmp_path / "stores")


def kept(tmp_path):
    folder = tmp_path / "stores"
    return sorted(path.name for path in folder.rglob("*")) if folder.is_dir() else []


@pytest.fixture
def reads(monkeypatch):
    """The files that are read from beginning to end."""
    names = []
    original = stores.stream_rows

    def noted(path, *arguments, **options):
        names.append(path.name)
        return original(path, *arguments, **options)

    monkeypatch.setattr(stores, "stream_rows", noted)
    return names


def test_the_factors_come_back(model, factors, tmp_path, reads):
    for _ in range(2):
        store = opened(model, tmp_path)
        assert isinstance(store.weights, np.memmap)
        assert store.weights.dtype == np.float32
        np.testing.assert_array_equal(store.weights, factors[0])
        np.testing.assert_array_equal(store.nodes, factors[1])
        assert set(store.sha256) == set(NAMES)
    assert sorted(reads) == ["nodes.csv.gz", "weights.csv.gz"]  # once
    assert [name for name in kept(tmp_path) if "." in name] == ["nodes.npy", "store.json", "weights.npy"]


def test_a_changed_mask_is_told_by_its_hash_and_converts_nothing(model, tmp_path, reads):
    before = opened(model, tmp_path)
    model.source_mask.write_text(json.dumps({"structure_ids": [1, 2], "hemisphere_id": 2}))
    after = opened(model, tmp_path)
    assert after.sha256 == {
        **before.sha256,
        model.source_mask.name: hashlib.sha256(model.source_mask.read_bytes()).hexdigest(),
    }
    assert after.sha256 != before.sha256
    assert len(reads) == 2


def test_a_changed_file_is_converted_anew(model, factors, tmp_path):
    opened(model, tmp_path)
    save(model.weights, 2 * factors[0])
    os.utime(model.weights, ns=(1, 1))
    np.testing.assert_array_equal(opened(model, tmp_path).weights, 2 * factors[0])


def test_a_file_that_was_damaged_later_is_not_passed_over(model, tmp_path):
    opened(model, tmp_path)
    content = bytearray(model.weights.read_bytes())
    content[len(content) // 2] ^= 255  # neither size nor the checksum at the end tell
    model.weights.write_bytes(content)
    os.utime(model.weights, ns=(1, 1))
    with pytest.raises(InputError, match=r"weights\.csv\.gz"):
        opened(model, tmp_path)


def test_a_damaged_store_is_converted_anew(model, factors, tmp_path):
    opened(model, tmp_path)
    path = next((tmp_path / "stores").rglob("nodes.npy"))
    path.write_bytes(path.read_bytes()[:-50])
    np.testing.assert_array_equal(opened(model, tmp_path).nodes, factors[1])


def test_an_interrupted_conversion_goes_on_with_the_file_that_is_missing(model, factors, tmp_path, reads, monkeypatch):
    original = stores._convert_one

    def killed(part, name, *arguments):
        if name == "nodes":
            raise KeyboardInterrupt
        original(part, name, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(stores, "_convert_one", killed)
        patch.setattr(stores, "ThreadPoolExecutor", one_after_the_other())
        with pytest.raises(KeyboardInterrupt):
            opened(model, tmp_path)
    assert reads == ["weights.csv.gz"]
    assert not any(name == "store.json" for name in kept(tmp_path))
    np.testing.assert_array_equal(opened(model, tmp_path).nodes, factors[1])
    assert reads == ["weights.csv.gz", "nodes.csv.gz"]


def test_what_a_killed_conversion_left_is_removed(model, factors, tmp_path, monkeypatch):
    original = stores._convert_one

    def killed(part, name, *arguments):
        if name == "nodes":  # a process that is killed cleans nothing up
            (part / ".nodes-57oif9ar.npy").write_bytes(b"half")
            raise KeyboardInterrupt
        original(part, name, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(stores, "_convert_one", killed)
        with pytest.raises(KeyboardInterrupt):
            opened(model, tmp_path)
    assert ".nodes-57oif9ar.npy" in kept(tmp_path)
    np.testing.assert_array_equal(opened(model, tmp_path).nodes, factors[1])
    assert [name for name in kept(tmp_path) if "." in name] == ["nodes.npy", "store.json", "weights.npy"]


def test_an_error_leaves_no_empty_folder(model, tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**9, 10**9, 1000))
    with pytest.raises(InputError, match="make room"):
        opened(model, tmp_path)
    assert kept(tmp_path) == []


def one_after_the_other():
    from concurrent.futures import ThreadPoolExecutor

    return lambda _: ThreadPoolExecutor(1)


def test_a_full_disk_leaves_no_store(model, tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(stores, "stream_rows", full)
        with pytest.raises(InputError, match=r"cannot be written: No space left on device"):
            opened(model, tmp_path)
    assert not [name for name in kept(tmp_path) if name.endswith((".npy", ".json", ".done"))]
    opened(model, tmp_path)


def test_too_little_space_is_said_before_the_work(model, tmp_path, monkeypatch, reads):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**9, 10**9, 1000))
    with pytest.raises(
        InputError, match=r"the model needs 0.0 GB in .* 0.0 GB are free: make room, or let FCTOOLBOX_CACHE"
    ):
        opened(model, tmp_path)
    assert not reads


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        (
            {"n_targets": 91},
            "nodes.csv.gz has 90 columns, but target_mask_params.json names 91 voxels of the annotation",
        ),
        (
            {"n_sources": 61},
            "weights.csv.gz has 60 rows, but source_mask_params.json names 61 voxels of the annotation",
        ),
        ({"n_sources": 59}, "weights.csv.gz has more than 59 rows, but source_mask_params.json names 59 voxels"),
    ],
)
def test_counts_that_do_not_match_the_masks(model, tmp_path, counts, message):
    with pytest.raises(InputError) as caught:
        opened(model, tmp_path, **counts)
    assert message in str(caught.value)
    assert not [name for name in kept(tmp_path) if "weights" in name or name == "store.json"]


def test_factors_of_different_models(model, factors, tmp_path):
    save(model.nodes, factors[1][:-1])
    with pytest.raises(InputError, match=r"nodes.csv.gz has 6 rows, but weights.csv.gz has 7 columns: both must have"):
        opened(model, tmp_path)


@pytest.mark.parametrize("name", ["weights", "nodes"])
def test_a_file_that_was_cut_off(model, tmp_path, name):
    path = getattr(model, name)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(InputError, match=f"{name}.csv.gz is damaged or was not downloaded to its end"):
        opened(model, tmp_path)
    assert not [each for each in kept(tmp_path) if each.startswith(name) or each == "store.json"]


def test_what_is_missing_and_how_to_get_it(model, tmp_path):
    model.nodes.unlink()
    with pytest.raises(DataUnavailable, match=r"has no nodes.csv.gz; download weights.csv.gz \(145 MB\)"):
        find_model(model.weights.parent)
    with pytest.raises(DataUnavailable, match="which is no folder"):
        find_model(tmp_path / "nowhere")


def test_files_may_lie_deeper_and_unpacked(model, tmp_path, factors):
    deeper = tmp_path / "other" / "voxel_model"
    shutil.copytree(model.weights.parent, deeper)
    (deeper / "weights.csv").write_bytes(gzip.decompress((deeper / "weights.csv.gz").read_bytes()))
    (deeper / "weights.csv.gz").unlink()
    np.testing.assert_array_equal(opened(find_model(tmp_path / "other"), tmp_path).weights, factors[0])


def test_memory_stays_small(tmp_path, rng, model):
    weights = rng.random((20_000, 100), dtype=np.float32)
    save(model.weights, weights)
    save(model.nodes, np.zeros((100, SHAPE[2])))
    opened(model, tmp_path / "warm", n_sources=20_000)
    tracemalloc.start()
    opened(model, tmp_path, n_sources=20_000)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 24e6  # blocks of two files; the text has 50 MB
