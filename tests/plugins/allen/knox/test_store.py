import errno
import fcntl
import gzip
import hashlib
import json
import os
import shutil
import subprocess
import sys
import threading
import tracemalloc

import numpy as np
import pytest
from fctoolbox_allen.knox import lock
from fctoolbox_allen.knox import store as stores
from fctoolbox_allen.knox.lock import one_at_a_time
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


WHOLE = ["nodes.json", "nodes.npy", "weights.json", "weights.npy"]


def files_of(tmp_path):
    """What is kept, without the keys in the names."""
    files = [path for path in (tmp_path / "stores").rglob("*") if path.is_file()]
    return sorted(f"{path.stem.split('-')[0]}{path.suffix}" for path in files)


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
    assert files_of(tmp_path) == WHOLE


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
    assert files_of(tmp_path) == WHOLE  # nothing is left of the file before


@pytest.mark.parametrize("name", ["weights", "nodes"])
def test_a_repaired_file_costs_only_itself(model, factors, tmp_path, reads, name):
    path = getattr(model, name)
    whole = path.read_bytes()
    save(path, factors[name == "nodes"][:-1])
    other = ({"weights", "nodes"} - {name}).pop()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stores, "ThreadPoolExecutor", one_after_the_other())
        patch.setattr(stores, "_in_parallel", last(name, stores._in_parallel))
        with pytest.raises(InputError, match=rf"{path.name} has (59|6) rows, but"):
            opened(model, tmp_path)
    assert files_of(tmp_path) == [f"{other}.json", f"{other}.npy"]
    reads.clear()
    path.write_bytes(whole)
    os.utime(path, ns=(1, 1))
    opened(model, tmp_path)
    assert reads == [path.name]
    assert files_of(tmp_path) == WHOLE


def last(name, convert):
    """Convert that file after the other."""
    return lambda paths, tasks: convert(paths, dict(sorted(tasks.items(), key=lambda each: each[0] == name)))


def test_models_share_a_file(model, factors, tmp_path, reads):
    opened(model, tmp_path)
    other = tmp_path / "other"
    shutil.copytree(model.weights.parent, other)
    save(other / "weights.csv.gz", 2 * factors[0])
    np.testing.assert_array_equal(opened(find_model(other), tmp_path).weights, 2 * factors[0])
    np.testing.assert_array_equal(opened(model, tmp_path).weights, factors[0])  # the first one's is still there
    assert sorted(reads) == ["nodes.csv.gz", "weights.csv.gz", "weights.csv.gz"]


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
    path = next((tmp_path / "stores").rglob("nodes-*.npy"))
    path.write_bytes(path.read_bytes()[:-50])
    np.testing.assert_array_equal(opened(model, tmp_path).nodes, factors[1])


def test_an_interrupted_conversion_goes_on_with_the_file_that_is_missing(model, factors, tmp_path, reads, monkeypatch):
    original = stores._convert_one

    def killed(path, *arguments):
        if path.name.startswith("nodes"):
            raise KeyboardInterrupt
        original(path, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(stores, "_convert_one", killed)
        patch.setattr(stores, "ThreadPoolExecutor", one_after_the_other())
        with pytest.raises(KeyboardInterrupt):
            opened(model, tmp_path)
    assert reads == ["weights.csv.gz"]
    assert files_of(tmp_path) == ["weights.json", "weights.npy"]
    np.testing.assert_array_equal(opened(model, tmp_path).nodes, factors[1])
    assert reads == ["weights.csv.gz", "nodes.csv.gz"]


def test_what_a_killed_conversion_left_is_removed(model, factors, tmp_path, monkeypatch):
    original = stores._convert_one

    def killed(path, *arguments):
        if path.name.startswith("nodes"):  # a process that is killed cleans nothing up
            path.with_name(".nodes-12-57oif9ar.npy").write_bytes(b"half")
            path.write_bytes(b"without a record")
            raise KeyboardInterrupt
        original(path, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(stores, "_convert_one", killed)
        with pytest.raises(KeyboardInterrupt):
            opened(model, tmp_path)
    assert ".nodes-12-57oif9ar.npy" in kept(tmp_path)
    np.testing.assert_array_equal(opened(model, tmp_path).nodes, factors[1])
    assert files_of(tmp_path) == WHOLE


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
    assert kept(tmp_path) == []
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
    assert "weights.json" not in files_of(tmp_path)
    assert not [name for name in kept(tmp_path) if "weights" in name]


def test_counts_are_compared_with_what_was_kept_too(model, tmp_path, reads):
    opened(model, tmp_path)
    with pytest.raises(InputError, match=r"weights.csv.gz has 60 rows, but source_mask_params.json names 59 voxels"):
        opened(model, tmp_path, n_sources=59)
    with pytest.raises(InputError, match=r"nodes.csv.gz has 90 columns, but target_mask_params.json names 89 voxels"):
        opened(model, tmp_path, n_targets=89)
    assert len(reads) == 2


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
    assert not [each for each in kept(tmp_path) if name in each]


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


# --- two processes ---------------------------------------------------------------------------------------------------

SECOND = """
import sys, time
from pathlib import Path
from fctoolbox_allen.knox import lock
from fctoolbox_allen.knox import store as stores
from fctoolbox_allen.knox.lock import one_at_a_time

original = stores._in_parallel

def slowly(*arguments):
    print("converting", flush=True)
    sys.stdin.readline()
    original(*arguments)

stores._in_parallel = slowly
model = stores.find_model(Path(sys.argv[1]))
stores.open_store(model, n_sources=60, n_targets=90, folder=Path(sys.argv[2]))
print("done", flush=True)
"""


@pytest.fixture
def first(model, tmp_path):
    """Another process in the midst of converting the model; a line lets it go on."""
    process = subprocess.Popen(
        [sys.executable, "-c", SECOND, str(model.weights.parent), str(tmp_path / "stores")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "converting\n"
    yield process
    process.kill()
    process.communicate()


def test_the_second_process_waits_for_the_first(model, factors, tmp_path, first, reads, monkeypatch):
    said = []

    def warned(message, **_):  # the first goes on when the second has said that it waits
        said.append(message)
        assert kept(tmp_path) == ["knox", "lock"]
        first.stdin.write("\n")
        first.stdin.flush()

    monkeypatch.setattr(lock.warnings, "warn", warned)
    np.testing.assert_array_equal(opened(model, tmp_path).nodes, factors[1])
    assert said == ["another process converts a voxel model; waiting for it to end"]
    assert reads == []  # it converted nothing itself
    assert files_of(tmp_path) == WHOLE


def test_it_goes_on_when_the_first_was_killed(model, factors, tmp_path, first, reads, monkeypatch):
    half = tmp_path / "stores" / "knox" / ".weights-12-half.npy"
    half.write_bytes(b"half")
    monkeypatch.setattr(lock.warnings, "warn", lambda *_, **__: first.kill())
    np.testing.assert_array_equal(opened(model, tmp_path).nodes, factors[1])
    assert len(reads) == 2
    assert files_of(tmp_path) == WHOLE


def test_the_wait_is_a_warning(tmp_path):
    path = tmp_path / "lock"
    with path.open("ab") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        timer = threading.Timer(0.1, lambda: fcntl.flock(stream, fcntl.LOCK_UN))
        timer.start()
        with (
            pytest.warns(UserWarning, match="another process works; waiting for it to end"),
            one_at_a_time(path, "works") as alone,
        ):
            assert alone
        timer.join()


def test_a_disk_without_locks_converts_all_the_same(model, factors, tmp_path, monkeypatch):
    def refused(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refused)
    np.testing.assert_array_equal(opened(model, tmp_path).nodes, factors[1])


def test_a_lock_that_its_holder_took_away_is_none(tmp_path):
    path = tmp_path / "lock"
    with one_at_a_time(path, "works") as alone:
        assert alone
        assert path.exists()
    assert not path.exists()
    with one_at_a_time(path, "works"), path.open("ab") as stream:  # as if it had been opened just before
        path.unlink()
        assert not lock._is_still(stream.fileno(), path)
