"""Long work in chunks: shared among threads or a cluster, and continued where it was interrupted."""

import hashlib
import importlib.metadata
import inspect
import os
import shutil
import sys
import threading
import time
import warnings
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field, fields, is_dataclass
from functools import cache
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from fctoolbox.data import cache_folder, written_whole
from fctoolbox.errors import InputError, check_whole, suggestion
from fctoolbox.randomness import generator
from fctoolbox.threads import n_threads

if TYPE_CHECKING:
    from distributed import Client

BACKENDS = ("threads", "dask")
_WORTH_SECONDS = 5.0  # work that takes less, all chunks together, is not kept
_MOST_BYTES = 4 * 2**30  # of all chunks that are kept
_FREE_BYTES = 2**30  # that keeping a chunk must leave on the disk
_UNUSED_SECONDS = 30 * 24 * 3600
_CONNECT_SECONDS = 10
_WORKER_SECONDS = 60  # until the first worker of a scheduler appears
_BARREN_ROUNDS = 3

# Metadata of a dataclass field that follows from the other fields: gigabytes that need no key of their own.
DERIVED = {"derived": True}

# One array, or several that are counted along the same first axis.
Arrays = TypeVar("Arrays", NDArray[Any], tuple[NDArray[Any], ...])
_Parts = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Workers:
    """Who computes the chunks of long work, and whether finished ones are kept; none of it changes a result.

    Parameters
    ----------
    n_jobs : int
        Threads, -1 for all processors; with ``"dask"``, those of what is not sent to the cluster.
    backend : {"threads", "dask"}
    scheduler : str or None
        Address of a dask.distributed scheduler, such as ``"tcp://node1:8786"``; for ``"dask"`` alone.
    cache : bool
        Keep finished chunks below `cache_folder()`, so that interrupted work continues there.

    Raises
    ------
    InputError
        If these do not go together, or dask.distributed is not installed.
    """

    n_jobs: int = 1
    backend: Literal["threads", "dask"] = "threads"
    scheduler: str | None = None
    cache: bool = True

    def __post_init__(self) -> None:
        n_threads(self.n_jobs)
        if self.backend not in BACKENDS:
            raise InputError(
                f"no backend named {self.backend!r}.{suggestion(str(self.backend), BACKENDS)} "
                f"There are: {', '.join(BACKENDS)}."
            )
        if self.backend == "dask" and not self.scheduler:
            raise InputError(
                "the backend 'dask' needs the address of its scheduler, such as tcp://node1:8786, which the command "
                "dask scheduler prints when it starts"
            )
        if self.backend != "dask" and self.scheduler:
            raise InputError(f"a scheduler ({self.scheduler}) belongs with the backend 'dask', not '{self.backend}'")
        if self.backend == "dask":
            _distributed()

    def check(self) -> None:
        """Refuse a scheduler that does not answer; cheap, so that it comes before anything that is not.

        Raises
        ------
        InputError
        """
        if self.scheduler:
            with _connected(self.scheduler):
                pass


def in_chunks(
    task: Callable[..., Arrays],
    *,
    n: int,
    chunk_size: int,
    rng: int | np.random.Generator | None,
    what: str,
    arguments: Mapping[str, Any],
    count: str = "n_nulls",
    workers: Workers | None = None,
) -> Arrays:
    """What a random task gives when it is asked for `n`, a chunk at a time.

    Chunk k is ``task(**arguments, n_nulls=chunk_size, rng=generators[k])`` with ``generators`` spawned from `rng`. The
    result therefore depends on the task, its arguments, `rng` and `chunk_size`, and on neither workers nor
    interruptions; that of a smaller `n` is the beginning of that of a larger one.

    A finished chunk is kept in ``cache_folder() / "chunks"`` under the SHA-256 of all it depends on: the task and its
    module's source, fctoolbox's own sources, the versions of the libraries that compute, every argument by content,
    the generator and the chunk's place. Equal work done later, by the same run started again or by another, reads it
    there. Kept is what belongs to work that takes more than 5 s; chunks go when they were not used for 30 days, the
    longest unused first when all take more than 4 GB, and none is written that would leave less than 1 GB on the disk.
    With ``rng=None`` nothing can be repeated, and nothing is kept.

    Parameters
    ----------
    task : function
        At the top level of a module, so that other processes find it; returns an array, or a tuple of arrays, whose
        first axis has as many entries as it was asked for. It must not change its arguments. What it warns of is
        heard neither from a cluster nor when its result was kept: warn of what the result shows instead.
    n : int
    chunk_size : int
        The last chunk may be smaller. One that takes some seconds loses little when interrupted and costs little to
        send; choose it from the arguments, never from `workers`: the result depends on it.
    rng : int, Generator or None
    what : str
        Of which there will be `n`, in words, for the progress bar.
    arguments : mapping
        Keyword arguments: arrays and memory maps, sparse arrays, strings, numbers, None, dataclasses, and sequences
        and dictionaries of these. They are sent to a cluster once, not with every chunk.
    count : str
        The task's keyword for how many.
    workers : Workers or None
        None stands for one thread, and a cache.

    Returns
    -------
    (n, …) array, or tuple of arrays
        As the task returns.

    Raises
    ------
    InputError
        If the scheduler or its workers cannot be used, and whatever the task raises.
    TypeError
        If the task, its arguments or its results are not as above.
    """
    from tqdm import tqdm

    workers = workers or Workers()
    check_whole(count, n, 1)
    check_whole("chunk_size", chunk_size, 1)
    if "<" in task.__qualname__ or not inspect.isfunction(task):
        raise TypeError(f"{task!r} is not a function at the top level of a module, where other processes would find it")
    arguments = {name: _plain(value) for name, value in arguments.items()}
    starts = range(0, n, chunk_size)
    chunks = [
        _Chunk(start, min(start + chunk_size, n), child)
        for start, child in zip(starts, generator(rng).spawn(len(starts)), strict=True)
    ]
    work = _Work(task, arguments, count, _software())
    store = _store(work, chunk_size, chunks) if workers.cache and rng is not None else None

    whole: _Parts = {}
    missing = []
    for chunk in chunks:
        if store and (parts := store.read(chunk)):
            _fill(whole, n, chunk, parts)
        else:
            missing.append(chunk)
    there = n - sum(chunk.size for chunk in missing)
    unit = count.removeprefix("n_").removesuffix("s")
    bar = tqdm(total=n, initial=there, desc=what, unit=unit, delay=2, disable=None, leave=False)
    with bar, closing(_finished(work, missing, workers, store)) as finished:
        for chunk, parts in finished:
            _fill(whole, n, chunk, parts)
            bar.update(chunk.size)
    return whole[_ALONE] if _ALONE in whole else tuple(whole.values())  # type: ignore[return-value]


@dataclass(frozen=True, eq=False)
class _Chunk:
    start: int
    stop: int
    rng: np.random.Generator

    @property
    def size(self) -> int:
        return self.stop - self.start


@dataclass(frozen=True, eq=False)
class _Work:
    """What all chunks have in common."""

    task: Callable[..., Any]
    arguments: Mapping[str, Any]
    count: str
    software: Mapping[str, str]


_ALONE = "array"  # the name of a result that is not a tuple


def _finished(
    work: _Work, chunks: list[_Chunk], workers: Workers, store: "_Store | None"
) -> Generator[tuple[_Chunk, _Parts], None, None]:
    """Chunks with their results, in the order in which they end; each is kept before it is handed on."""
    from joblib import Parallel, delayed

    def kept(chunk: _Chunk, parts: _Parts, seconds: float) -> tuple[_Chunk, _Parts]:
        if store:
            store.keep(chunk, parts, seconds)
        return chunk, parts

    if not chunks:
        return
    if workers.scheduler:
        yield from (kept(*done) for done in _on_cluster(work, chunks, workers.scheduler))
        return
    # A thread keeps its chunk itself: what is finished when another fails is not lost.
    tasks = (delayed(lambda chunk: kept(*_compute(work, chunk)))(chunk) for chunk in chunks)
    n_jobs = min(n_threads(workers.n_jobs), len(chunks))
    with closing(Parallel(n_jobs=n_jobs, backend="threading", return_as="generator_unordered")(tasks)) as finished:
        yield from finished


def _compute(work: _Work, chunk: _Chunk) -> tuple[_Chunk, _Parts, float]:
    """The chunk, its result, and how many seconds that took."""
    started = time.perf_counter()
    result = work.task(**work.arguments, **{work.count: chunk.size}, rng=chunk.rng)
    parts = {str(k): part for k, part in enumerate(result)} if isinstance(result, tuple) else {_ALONE: result}
    _check(parts, chunk)
    return chunk, parts, time.perf_counter() - started


def _check(parts: Mapping[str, object], chunk: _Chunk) -> None:
    for part in parts.values() or [None]:
        if type(part) is not np.ndarray or part.shape[:1] != (chunk.size,) or part.dtype.hasobject:
            found = f"shape {part.shape}, {part.dtype}" if isinstance(part, np.ndarray) else f"a {type(part).__name__}"
            raise TypeError(f"a chunk has {found}; it needs an array of numbers with {chunk.size} entries, or several")


def _fill(whole: _Parts, n: int, chunk: _Chunk, parts: _Parts) -> None:
    if not whole:
        whole.update({name: np.empty((n, *part.shape[1:]), part.dtype) for name, part in parts.items()})
    for name, part in parts.items():
        place = whole[name][chunk.start : chunk.stop]
        if part.dtype != place.dtype or part.shape != place.shape:
            raise TypeError(
                f"chunks differ: {part.dtype} {part.shape[1:]} here, {place.dtype} {place.shape[1:]} elsewhere"
            )
        place[...] = part


# A cluster


def _distributed() -> Any:
    try:
        import distributed
    except ImportError as error:
        raise InputError(
            "the backend 'dask' uses dask.distributed, which is not installed: pip install 'fctoolbox[cluster]'"
        ) from error
    return distributed


@contextmanager
def _connected(address: str) -> Iterator["Client"]:
    import asyncio

    distributed = _distributed()

    async def identity() -> Mapping[str, Any]:
        async with asyncio.timeout(_CONNECT_SECONDS), distributed.rpc(address, timeout=_CONNECT_SECONDS) as scheduler:
            return dict(await scheduler.identity())

    try:
        # Asked first: a Client that finds nobody tries to take leave of them for another 20 s. In a thread of its own,
        # because a notebook's has a loop already.
        with ThreadPoolExecutor(1) as pool:
            found = pool.submit(asyncio.run, identity()).result()["type"]
    except (OSError, ValueError, TypeError, ImportError) as error:  # the last three: no such kind of address
        found = _brief(error) or f"within {_CONNECT_SECONDS} s"
    if found != "Scheduler":
        raise InputError(
            f"no scheduler answers at {address} ({found}). Give the address that the command dask scheduler printed "
            "when it started, and one that this machine can reach."
        )
    with distributed.Client(address, timeout=_CONNECT_SECONDS, set_as_default=False) as client:
        yield client


def _on_cluster(work: _Work, chunks: list[_Chunk], address: str) -> Iterator[tuple[_Chunk, _Parts, float]]:
    """As `_compute`, in the order in which they end; a chunk whose worker dies is given to another."""
    from distributed import as_completed

    missing = {chunk.start: chunk for chunk in chunks}
    barren = 0
    with _connected(address) as client, _blamed_on_cluster(client, address):
        while missing:
            if barren == _BARREN_ROUNDS:
                raise InputError(
                    f"the workers of {address} were lost {barren} times before they had finished anything. Is their "
                    "memory too small?"
                )
            barren += 1
            _wait_for_workers(client, address)
            # On every worker: those that outlive one of them can go on without it.
            [shared] = client.scatter([work], broadcast=True, hash=False)
            futures = client.map(_on_worker, list(missing.values()), work=shared, pure=False)
            for future in as_completed(futures, loop=client.loop):
                try:
                    start, parts, seconds = future.result()
                except CancelledError:  # what it needs is on no living worker: it is sent again
                    continue
                future.release()  # the worker need not keep it
                yield missing.pop(start), parts, seconds
                barren = 0


def _on_worker(chunk: _Chunk, work: _Work) -> tuple[int, _Parts, float]:
    here = _software()
    if different := [
        f"{name} {here[name]} instead of {there}" for name, there in work.software.items() if here[name] != there
    ]:
        raise InputError(
            f"a worker of the cluster has {', '.join(different)}, so that its numbers might differ; install the same "
            "there as here"
        )
    chunk, parts, seconds = _compute(work, chunk)
    return chunk.start, parts, seconds


def _wait_for_workers(client: "Client", address: str) -> None:
    try:
        client.wait_for_workers(1, timeout=_WORKER_SECONDS)
    except TimeoutError as error:
        raise InputError(
            f"the scheduler at {address} has no workers after {_WORKER_SECONDS} s; start some: dask worker {address}"
        ) from error


@contextmanager
def _blamed_on_cluster(client: "Client", address: str) -> Iterator[None]:
    from distributed import KilledWorker
    from distributed.comm import CommClosedError

    try:
        yield
    except OSError as error:
        if client.status == "running" and not isinstance(error, CommClosedError):
            raise  # the task's own
        raise InputError(
            f"the connection to the scheduler at {address} was lost ({_brief(error)}). What is finished is kept, "
            "unless the cache is off: run the same again when the scheduler is back."
        ) from error
    except KilledWorker as error:
        raise InputError(
            f"several workers of {address} died of the same chunk; their memory may be too small: {_brief(error)}"
        ) from error
    except ModuleNotFoundError as error:
        raise InputError(
            f"the cluster at {address} has no module {error.name}; install fctoolbox for its scheduler and workers"
        ) from error


def _brief(error: BaseException) -> str:
    return " ".join(str(error).split())[:200]


# Chunks that are kept


@dataclass(eq=False)
class _Store:
    """Finished chunks of one piece of work; each is written whole or not at all."""

    folder: Path
    name: str
    n_chunks: int
    usable: bool = field(default=True, init=False)
    lock: threading.Lock = field(default_factory=threading.Lock, init=False)

    def path(self, chunk: _Chunk) -> Path:
        return self.folder / f"{self.name}-{chunk.start}-{chunk.stop}.npz"

    def read(self, chunk: _Chunk) -> _Parts | None:
        """None where the chunk is not there, or damaged: the archive has a checksum of each array."""
        path = self.path(chunk)
        try:
            with path.open("rb") as stream, np.load(stream, allow_pickle=False) as archive:
                parts = {name: archive[name] for name in archive.files}
            _check(parts, chunk)
        except FileNotFoundError:
            return None
        except Exception:  # noqa: BLE001  (whatever is wrong with it, it can be computed again)
            with suppress(OSError):
                path.unlink()
            return None
        with suppress(OSError):
            os.utime(path)
        return parts

    def keep(self, chunk: _Chunk, parts: _Parts, seconds: float) -> None:
        """Write a chunk that took that long, if it belongs to work that would be a loss."""
        if seconds * self.n_chunks <= _WORTH_SECONDS:
            return
        with self.lock:
            if not self.usable:
                return
            try:
                self.folder.mkdir(parents=True, exist_ok=True)
                _make_room(self.folder, sum(part.nbytes for part in parts.values()))
                with written_whole(self.path(chunk)) as path:
                    np.savez(path, **parts)  # type: ignore[arg-type]
            except (OSError, InputError) as error:
                self.usable = False
                warnings.warn(
                    f"what is finished cannot be kept, so that it starts afresh if it is interrupted: {_brief(error)}",
                    stacklevel=2,
                )


def _store(work: _Work, chunk_size: int, chunks: list[_Chunk]) -> _Store | None:
    try:
        source = Path(inspect.getfile(work.task)).read_bytes()
    except (OSError, TypeError):
        return None  # typed in: nobody knows whether it is still the same function tomorrow
    # The chunk size says which of the spawned generators stands behind a chunk's place.
    values = (work.task, source, work.arguments, work.count, work.software, chunk_size, chunks[0].rng)
    return _Store(cache_folder() / "chunks", f"{work.task.__name__}-{content_key(values)[:32]}", len(chunks))


def _make_room(folder: Path, size: int) -> None:
    """Delete what was not used for long, and more if `size` bytes would not fit.

    Raises
    ------
    OSError
        If they do not fit anyway.
    """
    full = OSError(f"too little space in {folder}")
    if size > _MOST_BYTES:
        raise full
    files = []
    for path in folder.iterdir():
        with suppress(OSError):  # another process may be tidying up as well
            status = path.stat()
            files.append((status.st_mtime, status.st_size, path))
    files.sort()
    total = sum(bytes_ for _, bytes_, _ in files)
    for used, bytes_, path in files:
        if total + size > _MOST_BYTES or used < time.time() - _UNUSED_SECONDS:
            with suppress(OSError):
                path.unlink()
            total -= bytes_
    if shutil.disk_usage(folder).free - size < _FREE_BYTES:
        raise full


# What a result depends on


@cache
def _software() -> Mapping[str, str]:
    """Versions of what computes, and the hash of our own sources, which change without it while being worked on."""
    sources = hashlib.sha256()
    package = Path(__file__).parent
    for path in sorted(package.rglob("*.py")):
        sources.update(f"{path.relative_to(package)}\0".encode() + path.read_bytes())
    names = ("numpy", "scipy", "scikit-learn", "numba")
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    return {
        "Python": python,
        **{name: importlib.metadata.version(name) for name in names},
        "fctoolbox": f"{importlib.metadata.version('fctoolbox')} ({sources.hexdigest()[:12]})",
    }


def _plain(value: Any) -> Any:
    """Arrays as they arrive in another process: memory maps read, strides gone."""
    if not isinstance(value, np.ndarray):
        return value
    array = np.asarray(value) if type(value) is np.memmap else value
    return array if array.flags.forc else np.ascontiguousarray(array)


def content_key(value: object) -> str:
    """SHA-256 of a value by its content: the same in every process, and different for different values.

    Arrays differ by their values, type, shape and order in memory (which decides in which order they are summed);
    memory maps are read, and equal to arrays. Fields of a dataclass marked as `DERIVED` follow from the others,
    and are passed over.

    Parameters
    ----------
    value : array, sparse array, str, bytes, number, None, path, Generator, function, dataclass, tuple, list, set, dict

    Returns
    -------
    str
        64 hexadecimal digits.

    Raises
    ------
    TypeError
        If it is, or holds, something else.
    """
    return _digest(value).hex()


def _digest(value: object) -> bytes:
    from scipy.sparse import issparse

    kind = type(value)
    sha = hashlib.sha256(f"{kind.__module__}.{kind.__qualname__}\0".encode())
    parts: Sequence[object] = ()
    if value is None or isinstance(value, str | bytes | bool | int | float | complex | PurePath | np.dtype):
        sha.update(repr(value).encode())
    elif isinstance(value, np.generic) or kind in (np.ndarray, np.memmap):
        return _array_digest(np.asarray(value))
    elif issparse(value):
        entries = value.tocoo()  # type: ignore[attr-defined]
        parts = [entries.shape, tuple(entries.coords), entries.data]
    elif isinstance(value, tuple | list):
        parts = list(value)
    elif isinstance(value, Mapping):
        parts = sorted(((_digest(key), _digest(item)) for key, item in value.items()))
    elif isinstance(value, set | frozenset):
        parts = sorted(_digest(item) for item in value)
    elif isinstance(value, np.random.Generator):
        parts = [value.bit_generator.state]
    elif inspect.isfunction(value) and "<" not in value.__qualname__:
        parts = [value.__module__, value.__qualname__]
    elif is_dataclass(value) and not isinstance(value, type):
        parts = [(each.name, getattr(value, each.name)) for each in fields(value) if not each.metadata.get("derived")]
    else:
        raise TypeError(
            f"a {kind.__module__}.{kind.__qualname__} has no content that could be compared: {value!r:.100}"
        )
    for part in parts:
        sha.update(_digest(part))
    return sha.digest()


def _array_digest(array: NDArray[Any]) -> bytes:
    if array.dtype.hasobject:
        return _digest(("objects", array.shape, array.tolist()))
    order = "C" if array.flags.c_contiguous else "F" if array.flags.f_contiguous else "-"
    sha = hashlib.sha256(f"array {array.dtype.descr} {array.shape} {order}\0".encode())
    lines = array.T if order == "F" else array
    if lines.nbytes:
        sha.update(np.ascontiguousarray(lines).reshape(-1).view(np.uint8).data)
    return sha.digest()
