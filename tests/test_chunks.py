import errno
import importlib.util
import os
import signal
import subprocess
import sys
import threading
import time
from collections import namedtuple
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from scipy import sparse

from fctoolbox import LowRankNull, chunks
from fctoolbox.chunks import DERIVED, Workers, content_key, in_chunks
from fctoolbox.data import cache_folder
from fctoolbox.errors import InputError
from tests import chunk_tasks
from tests.chunk_tasks import lines

REPOSITORY = Path(__file__).resolve().parents[1]
VALUES = chunk_tasks.VALUES
ADDRESS = "tcp://127.0.0.1:9"  # where nobody listens
needs_dask = pytest.mark.skipif(not importlib.util.find_spec("distributed"), reason="dask.distributed is not installed")


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("FCTOOLBOX_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def keep_all(monkeypatch):
    monkeypatch.setattr(chunks, "_WORTH_SECONDS", 0)


@pytest.fixture
def log(tmp_path):
    return tmp_path / "log"


def work(task=chunk_tasks.shuffled, *, workers=None, **changes):
    arguments = changes.pop("arguments", {"values": VALUES})
    settings = {"n": 95, "chunk_size": 10, "rng": 7, "what": "nulls", **changes}
    return in_chunks(task, arguments=arguments, workers=workers, **settings)


def noted(log, *, seconds=0.02, **changes):
    """The work, and how many chunks were computed for it."""
    before = lines(log)
    result = work(chunk_tasks.noted, arguments={"values": VALUES, "log": str(log), "seconds": seconds}, **changes)
    return result, lines(log) - before


PLAIN = Workers(cache=False)


def wait_until(true):
    deadline = time.monotonic() + 60
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def kept():
    folder = cache_folder() / "chunks"
    return sorted(folder.iterdir()) if folder.exists() else []


# What comes back


def test_chunks_stand_one_after_another():
    generators = np.random.default_rng(7).spawn(10)
    sizes = [10] * 9 + [5]
    parts = [chunk_tasks.shuffled(VALUES, n_nulls=n, rng=rng) for n, rng in zip(sizes, generators, strict=True)]
    np.testing.assert_array_equal(work(), np.concatenate(parts))


@pytest.mark.parametrize("n_jobs", [2, 3, -1])
def test_threads_change_nothing(n_jobs):
    np.testing.assert_array_equal(work(workers=Workers(n_jobs)), work())


def test_a_chunk_of_one_has_a_generator_of_its_own_as_the_restarts_of_a_search_have():
    generators = np.random.default_rng(7).spawn(4)
    alone = np.concatenate([chunk_tasks.shuffled(VALUES, n_nulls=1, rng=rng) for rng in generators])
    np.testing.assert_array_equal(work(n=4, chunk_size=1), alone)


@pytest.mark.parametrize("n", [1, 9, 10, 11, 20])
def test_fewer_are_the_beginning_of_more_where_chunks_are_whole(n):
    assert work(n=n).shape == (n, 5)
    whole = n // 10 * 10
    np.testing.assert_array_equal(work(n=n)[:whole], work()[:whole])


def test_several_arrays_come_back_as_several(keep_all):
    first = work(chunk_tasks.several, count="n_restarts")
    labels, q = work(chunk_tasks.several, count="n_restarts")
    assert labels.dtype == np.int32
    assert (labels.shape, q.shape) == ((95, 5), (95,))
    np.testing.assert_array_equal(q, labels[:, 0] / 7)
    np.testing.assert_array_equal(labels, first[0])


def test_arrays_arrive_as_they_would_elsewhere(tmp_path):
    """Whether in this process or in another, so that sums are the same to the last bit."""
    np.save(tmp_path / "values.npy", VALUES)
    for values in (np.load(tmp_path / "values.npy", mmap_mode="r"), np.repeat(VALUES, 2)[::2]):
        assert work(chunk_tasks.described, n=1, arguments={"values": values}).all()


def test_a_generator_goes_on_from_call_to_call():
    rng = np.random.default_rng(7)
    first, second = work(rng=rng), work(rng=rng)
    np.testing.assert_array_equal(first, work())
    assert (first != second).any()


def test_without_a_seed_nothing_is_repeated_or_kept(keep_all):
    assert (work(rng=None) != work(rng=None)).any()
    assert not kept()


# Keys


@dataclass(frozen=True)
class Settings:
    width: float
    names: tuple[str, ...]


@dataclass(frozen=True)
class OtherSettings:
    width: float
    names: tuple[str, ...]


@dataclass(frozen=True)
class Prepared:
    width: float
    square: float = field(metadata=DERIVED)


SQUARE = np.arange(12.0).reshape(3, 4)
Point = namedtuple("Point", "x y")

DIFFERENT = {
    "nothing": None, "false": False, "true": True, "zero": 0, "one": 1, "one, a float": 1.0, "minus nothing": -0.0,
    "one, of numpy": np.float64(1), "no number": float("nan"), "text": "1", "bytes": b"1", "no text": "",
    "path": Path("1"), "tuple": (1, 2), "list": [1, 2], "nested": ((1,), 2), "nested otherwise": (1, (2,)),
    "nothing in it": (), "point": Point(1, 2), "joined": ("ab", "c"), "joined otherwise": ("a", "bc"),
    "set": frozenset({1, 2}), "dict": {"a": 1}, "other key": {"b": 1}, "array": SQUARE, "flat": SQUARE.ravel(),
    "single precision": SQUARE.astype(np.float32), "big-endian": SQUARE.astype(">f8"),
    "the same bytes": SQUARE.view(np.int64),
    "whole numbers": SQUARE.astype(int), "other shape": SQUARE.reshape(4, 3), "transposed": SQUARE.T,
    "columns first": np.asfortranarray(SQUARE), "rows exchanged": SQUARE[[1, 0, 2]],
    "one value": np.where(SQUARE == 11, 11.5, SQUARE), "strided": np.repeat(SQUARE, 2, axis=0)[::2],
    "empty": np.empty((0, 4)), "empty otherwise": np.empty((4, 0)), "scalar": np.array(1.0),
    "strings": np.array(["a", "b"]), "objects": np.array(["a", "b"], dtype=object),
    "sparse": sparse.csr_array(SQUARE), "sparse columns": sparse.csc_array(SQUARE),
    "sparse, wider": sparse.csr_array((SQUARE[SQUARE > 0], np.nonzero(SQUARE)), shape=(3, 5)),
    "sparse, other values": sparse.csr_array(SQUARE * 2),
    "sparse, here": sparse.csr_array(([1.0, 2.0], ([0, 1], [0, 1]))),
    "sparse, elsewhere": sparse.csr_array(([1.0, 2.0], ([0, 1], [1, 0]))),
    "settings": Settings(1.0, ("a",)), "wider": Settings(2.0, ("a",)), "others": OtherSettings(1.0, ("a",)),
    "low rank": LowRankNull(np.arange(3.0), 1.0), "other rank": LowRankNull(np.arange(3.0), 2.0),
    "function": chunk_tasks.shuffled, "other function": chunk_tasks.noted, "type": np.dtype("f8"),
}  # fmt: skip


def test_different_values_have_different_keys():
    keys = {name: content_key(value) for name, value in DIFFERENT.items()}
    same = [(a, b) for a in keys for b in keys if a < b and keys[a] == keys[b]]
    assert not same
    assert all(len(key) == 64 for key in keys.values())


def test_equal_content_has_one_key(tmp_path):
    np.save(tmp_path / "square.npy", SQUARE)
    mapped = np.load(tmp_path / "square.npy", mmap_mode="r")
    assert content_key(mapped) == content_key(SQUARE) == content_key(SQUARE.copy())
    assert content_key({"a": 1, "b": 2}) == content_key({"b": 2, "a": 1})
    assert content_key({"ab", "c", "d"}) == content_key({"d", "c", "ab"})
    assert content_key(Settings(1.0, ("a",))) == content_key(Settings(1.0, ("a",)))
    assert content_key(sparse.csr_array(SQUARE)) == content_key(sparse.csr_array(SQUARE.copy()))


def test_what_follows_from_the_rest_needs_no_key():
    assert content_key(Prepared(2.0, 4.0)) == content_key(Prepared(2.0, object()))
    assert content_key(Prepared(2.0, 4.0)) != content_key(Prepared(3.0, 4.0))


def test_a_key_is_the_same_in_every_process():
    code = "from fctoolbox.chunks import content_key; print(content_key({'a': (1.5, 'é'), 'b': {'x', 'y', 'z'}}))"
    environment = {**os.environ, "PYTHONHASHSEED": "1"}
    there = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert there.stdout.strip() == content_key({"a": (1.5, "é"), "b": {"x", "y", "z"}})


def test_a_generator_counts_with_its_state():
    keys = [content_key(rng) for rng in (np.random.default_rng(1), np.random.default_rng(2))]
    used = np.random.default_rng(1)
    used.random()
    other = np.random.Generator(np.random.Philox(1))
    assert len({*keys, content_key(used), content_key(other)}) == 4
    assert content_key(np.random.default_rng(1)) == keys[0]


@pytest.mark.parametrize(
    "value",
    [object(), (1, object()), np.ma.masked_array([1.0], [True]), lambda: 0, Settings, iter([])],
    ids=["object", "inside", "masked", "function", "class", "iterator"],
)
def test_what_has_no_content_is_refused(value):
    with pytest.raises(TypeError, match="has no content that could be compared"):
        content_key(value)


# What is kept


def test_what_is_kept_is_not_computed_again(keep_all, log):
    (first, computed), (second, again) = noted(log), noted(log)
    assert (computed, again) == (10, 0)
    np.testing.assert_array_equal(first, second)
    assert len(kept()) == 10


@pytest.mark.parametrize(
    "changes",
    [
        {"rng": 8},
        {"chunk_size": 20},
        {"rng": lambda: np.random.Generator(np.random.Philox(7))},
        {"seconds": np.float64(0.02)},
    ],
    ids=["seed", "chunk size", "kind of generator", "an argument's type"],
)
def test_other_work_is_computed(changes, keep_all, log):
    def other(**settings):
        rng = changes.get("rng", 7)
        return noted(log, n=30, **{**changes, "rng": rng() if callable(rng) else rng, **settings})

    noted(log, n=30)
    result, computed = other()
    assert computed == (2 if "chunk_size" in changes else 3)
    np.testing.assert_array_equal(result, other(workers=PLAIN)[0])


def test_a_generator_that_spawned_before_is_another(keep_all, log):
    rng = np.random.default_rng(7)
    assert [noted(log, rng=rng)[1] for _ in range(2)] == [10, 10]
    assert noted(log, rng=7)[1] == 0


def test_other_software_is_other_work(keep_all, log, monkeypatch):
    noted(log)
    monkeypatch.setattr(chunks, "_software", lambda: {"numpy": "another"})
    assert noted(log)[1] == 10


def test_software_is_named_with_the_sources():
    software = chunks._software()
    assert software["numpy"] == np.__version__
    assert software["fctoolbox"].startswith("0.")
    assert len(software["fctoolbox"].split("(")[1]) == 13


def test_more_of_the_same_computes_only_what_is_new(keep_all, log):
    noted(log, n=40)
    result, computed = noted(log, n=95)
    assert computed == 6
    np.testing.assert_array_equal(result, work(workers=PLAIN))


def test_quick_work_is_not_kept(log):
    noted(log)
    assert not kept()


def test_the_cache_can_be_left_out(keep_all, log):
    assert [noted(log, workers=PLAIN)[1] for _ in range(2)] == [10, 10]
    assert not kept()


def _truncated(path):
    path.write_bytes(path.read_bytes()[:-40])


def _flipped(path):
    content = bytearray(path.read_bytes())
    content[content.index(b"NUMPY") + 130] ^= 1  # in the numbers: still an archive of the right shape
    path.write_bytes(content)


def _emptied(path):
    path.write_bytes(b"")


def _another(path):
    np.savez(path, nothing=np.zeros(3), pickled=np.array([{}], dtype=object))


def _shortened(path):
    np.savez(path, array=np.zeros((3, 5)))


@pytest.mark.parametrize("damage", [_truncated, _flipped, _emptied, _another, _shortened])
def test_a_damaged_chunk_is_computed_again(damage, keep_all, log):
    whole, _ = noted(log)
    damage(kept()[3])
    assert [noted(log)[1] for _ in range(2)] == [1, 0]
    damage(kept()[3])
    np.testing.assert_array_equal(noted(log)[0], whole)


@pytest.mark.parametrize("error", [errno.EROFS, errno.ENOSPC, errno.EACCES], ids=errno.errorcode.get)
def test_a_cache_that_cannot_be_written_stops_nothing(error, keep_all, log, monkeypatch):
    def refuse(*_, **__):
        raise OSError(error, os.strerror(error))

    monkeypatch.setattr(np, "savez", refuse)
    with pytest.warns(UserWarning, match=f"cannot be kept, .*{os.strerror(error)}") as caught:
        result, _ = noted(log)
    assert len(caught) == 1  # not once for each chunk
    np.testing.assert_array_equal(result, work(workers=PLAIN))
    assert not kept()


def test_a_cache_folder_that_is_a_file_stops_nothing(keep_all, log):
    cache_folder().write_text("")
    with pytest.warns(UserWarning, match="cannot be kept"):
        result, _ = noted(log)
    np.testing.assert_array_equal(result, work(workers=PLAIN))


def aged(name, size, days):
    path = cache_folder() / "chunks" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"0" * size)
    used = time.time() - days * 24 * 3600
    os.utime(path, (used, used))
    return path


def test_old_chunks_go(keep_all):
    old, recent = aged("a-0-1.npz", 10, days=31), aged("b-0-1.npz", 10, days=29)
    half_written = aged(".c-0-1-x2.npz", 10, days=31)
    work()
    assert [path.exists() for path in (old, half_written, recent)] == [False, False, True]


def test_the_longest_unused_go_when_there_are_too_many(keep_all, log, monkeypatch):
    noted(log, rng=1, n=10)
    [first] = kept()
    monkeypatch.setattr(chunks, "_MOST_BYTES", first.stat().st_size + 1000)
    old, older = aged("a-0-1.npz", 500, days=1), aged("b-0-1.npz", 500, days=2)
    noted(log, rng=2, n=10)  # needs 400 bytes
    assert [path.exists() for path in (first, old, older)] == [True, True, False]
    os.utime(first, (0, 0))
    noted(log, rng=1, n=10)  # what is read was used just now
    assert noted(log, rng=3, n=10)[1] == 1
    assert [path.exists() for path in (first, old)] == [True, False]


def test_what_fits_nowhere_deletes_nothing(keep_all, log, monkeypatch):
    bystander = aged("a-0-1.npz", 10, days=1)
    monkeypatch.setattr(chunks, "_MOST_BYTES", 300)
    with pytest.warns(UserWarning, match="too little space"):
        noted(log)
    assert kept() == [bystander]


def test_a_disk_is_never_filled(keep_all, log, monkeypatch):
    monkeypatch.setattr(chunks, "_FREE_BYTES", 2**80)
    with pytest.warns(UserWarning, match="too little space"):
        result, _ = noted(log)
    assert not kept()
    np.testing.assert_array_equal(result, work(workers=PLAIN))


# Interruptions


def child(log, n, *, stop=0):
    """A process that computes `n` nulls, and stands still when `stop` chunks are done."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(REPOSITORY), os.environ.get("PYTHONPATH", "")])}
    return subprocess.Popen(
        [sys.executable, chunk_tasks.__file__, log, str(n), str(stop)],
        env=environment,
        cwd=REPOSITORY,
        stderr=subprocess.PIPE,
    )


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_stopped_at_60_percent_it_continues_there(how, log, keep_all):
    with child(log, 100, stop=6) as process:
        try:
            # Under their own names: one that is still being written has a temporary name, and goes when interrupted.
            wait_until(lambda: sum(not path.name.startswith(".") for path in kept()) == 6)
            process.send_signal(how)
            process.wait(timeout=30)
        finally:
            process.kill()
    assert process.returncode == -how
    result, computed = noted(log, n=100)
    assert computed == 4
    np.testing.assert_array_equal(result, work(n=100, workers=PLAIN))
    assert noted(log, n=100)[1] == 0


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_what_is_finished_outlives_a_chunk_that_fails(n_jobs, keep_all, log):
    log.touch()
    arguments = {"values": VALUES, "after": str(log)}
    with pytest.raises(KeyboardInterrupt):
        work(chunk_tasks.impatient, arguments=arguments, workers=Workers(n_jobs))
    there = lines(log)
    assert there >= 3
    assert there - n_jobs < len(kept()) <= there


def test_two_processes_at_once_do_no_harm(log, keep_all):
    with child(log, 30) as one, child(log, 30) as other:
        pass
    assert (one.returncode, other.returncode) == (0, 0)
    assert lines(log) <= 6
    result, computed = noted(log, n=30)
    assert computed == 0
    np.testing.assert_array_equal(result, work(n=30, workers=PLAIN))


# Refusals


def test_what_a_task_refuses_is_heard():
    with pytest.raises(InputError, match=r"^nothing can be done with these values$"):
        work(chunk_tasks.refusing, workers=Workers(2))


@pytest.mark.parametrize(
    ("task", "message"),
    [
        (chunk_tasks.ragged, r"a chunk has shape \(9, 5\), float64; it needs an array of numbers with 10 entries"),
        (chunk_tasks.silent, "a chunk has a NoneType; it needs an array of numbers"),
        (chunk_tasks.undecided, r"chunks differ: float(32|64) \(5,\) here, float(32|64) \(5,\) elsewhere"),
        (lambda values, n_nulls, rng: None, "not a function at the top level"),
    ],
)
def test_a_task_that_keeps_no_promise(task, message):
    with pytest.raises(TypeError, match=message):
        work(task)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"n": 0}, "n_nulls is 0; it must be a whole number of at least 1"),
        ({"n": 0, "count": "n_fields"}, "n_fields is 0"),
        ({"chunk_size": 0}, "chunk_size is 0; it must be a whole number of at least 1"),
        ({"rng": -1}, "rng is -1"),
    ],
)
def test_bad_words(changes, message):
    with pytest.raises(InputError, match=f"^{message}"):
        work(**changes)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"n_jobs": 0}, "n_jobs is 0; it must be the number of threads, or -1 for all"),
        ({"backend": "task"}, r"no backend named 'task'\. Did you mean 'dask'\? There are: threads, dask\."),
        ({"backend": "dask"}, "the backend 'dask' needs the address of its scheduler, such as tcp://node1:8786"),
        ({"scheduler": ADDRESS}, "a scheduler .* belongs with the backend 'dask', not 'threads'"),
    ],
)
def test_workers_that_cannot_be(settings, message):
    with pytest.raises(InputError, match=message):
        Workers(**settings)


def test_without_dask_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(InputError, match=r"not installed: pip install 'fctoolbox\[cluster\]'"):
        Workers(backend="dask", scheduler=ADDRESS)


@needs_dask
@pytest.mark.parametrize(
    ("address", "why"),
    [(ADDRESS, "within 0.1 s"), ("node1", "missing port number"), ("bar://node1:1", "unknown address scheme")],
)
def test_a_scheduler_that_does_not_answer(address, why, monkeypatch):
    monkeypatch.setattr(chunks, "_CONNECT_SECONDS", 0.1)
    workers = Workers(backend="dask", scheduler=address)
    message = rf"^no scheduler answers at {address} \(.*{why}.*\)\. Give the address that the command dask scheduler"
    for use in (workers.check, lambda: work(workers=workers)):
        with pytest.raises(InputError, match=message):
            use()


def test_threads_need_no_check(monkeypatch):
    asked = []
    monkeypatch.setattr(chunks, "_connected", asked.append)
    Workers().check()
    assert not asked


def test_a_worker_with_other_software_is_refused():
    elsewhere = {**chunks._software(), "scipy": "1.0"}
    work_there = chunks._Work(chunk_tasks.shuffled, {"values": VALUES}, "n_nulls", elsewhere)
    with pytest.raises(InputError, match=r"^a worker of the cluster has scipy 1\.\d+\.\d+ instead of 1\.0, so that"):
        chunks._on_worker(chunks._Chunk(0, 1, np.random.default_rng(0)), work_there)


# A cluster


@pytest.fixture(scope="module")
def cluster():
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=":0", silence_logs=50
    ) as cluster:
        yield cluster


@pytest.fixture
def remote(cluster):
    cluster.wait_for_workers(2)
    return Workers(backend="dask", scheduler=cluster.scheduler_address)


def while_killing(log, pids, do):
    """Do something, and kill processes once the log has 8 lines."""

    def kill():
        wait_until(lambda: lines(log) >= 8)
        for pid in pids():
            os.kill(pid, 9)

    killer = threading.Thread(target=kill)
    killer.start()
    result = do()
    killer.join()
    return result


@pytest.mark.slow
@pytest.mark.parametrize("n_killed", [1, 2])
def test_a_cluster_whose_workers_are_killed_gives_the_same_numbers(n_killed, cluster, remote, log, keep_all):
    pids = [nanny.pid for nanny in cluster.workers.values()]
    assert len(pids) == 2
    result, computed = while_killing(
        log, lambda: pids[:n_killed], lambda: noted(log, n=200, seconds=0.1, workers=remote)
    )
    np.testing.assert_array_equal(result, work(n=200, workers=PLAIN))
    assert 20 <= computed <= 23  # what the dead had not handed over, and no more
    assert len({line.split()[0] for line in log.read_text().splitlines()}) > n_killed  # somebody took over
    # What the cluster finished is found without it.
    assert noted(log, n=200, seconds=0.1)[1] == 0


@pytest.mark.slow
def test_a_cluster_gives_the_same_numbers(remote, tmp_path):
    np.save(tmp_path / "values.npy", VALUES)
    mapped = np.load(tmp_path / "values.npy", mmap_mode="r")
    for task in (chunk_tasks.shuffled, chunk_tasks.spawning):
        np.testing.assert_array_equal(work(task, arguments={"values": mapped}, workers=remote), work(task))
    labels, q = work(chunk_tasks.several, count="n_restarts", workers=remote)
    np.testing.assert_array_equal(labels, work(chunk_tasks.several, count="n_restarts")[0])
    remote.check()


@pytest.mark.slow
def test_arguments_are_sent_once(remote):
    chunk_tasks.Sent.times = 0
    work(chunk_tasks.receiving, arguments={"values": chunk_tasks.Sent(VALUES)}, workers=remote)
    assert 1 <= chunk_tasks.Sent.times <= 2


@pytest.mark.slow
def test_a_cluster_says_what_a_task_refuses(remote):
    with pytest.raises(InputError, match=r"^nothing can be done with these values$"):
        work(chunk_tasks.refusing, workers=remote)


@pytest.mark.slow
def test_a_chunk_that_kills_its_workers_ends_the_work(remote):
    with pytest.raises(InputError, match="memory"):
        work(chunk_tasks.deadly, n=1, workers=remote)


@pytest.mark.slow
def test_a_scheduler_without_workers(monkeypatch):
    distributed = pytest.importorskip("distributed")
    monkeypatch.setattr(chunks, "_WORKER_SECONDS", 0.2)
    with distributed.LocalCluster(n_workers=0, dashboard_address=":0", silence_logs=50) as empty:
        workers = Workers(backend="dask", scheduler=empty.scheduler_address)
        workers.check()
        with pytest.raises(InputError, match=r"has no workers after 0\.2 s; start some: dask worker"):
            work(workers=workers)
