"""The model's two factors, converted once from text and then mapped into memory."""

import json
import shutil
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fctoolbox.data import sha256_of, written_whole
from fctoolbox.errors import DataUnavailable, InputError, blamed_on, listed
from fctoolbox_allen.knox.text import Stopped, count_columns, stream_rows

NAMES = ("weights.csv.gz", "nodes.csv.gz", "source_mask_params.json", "target_mask_params.json")
ADDRESS = (
    "https://download.alleninstitute.org/publications/A_high_resolution_data-driven_model_of_the_mouse_connectome/"
)
HOW_TO_OBTAIN = (
    f"download {NAMES[0]} (145 MB), {NAMES[1]} (490 MB), {NAMES[2]} and {NAMES[3]} from {ADDRESS} "
    "(Knox et al. 2018) into a folder, and name it: -o model=FOLDER"
)
_VERSION = 1  # of the store's layout
_FACTORS = ("weights", "nodes")
_ITEM = np.dtype(np.float32).itemsize
_SPARE = 64 * 2**20  # bytes that a disk keeps free


@dataclass(frozen=True)
class ModelFiles:
    """The four published files of the model.

    Parameters
    ----------
    weights : Path
        (n_sources, n_experiments) as text.
    nodes : Path
        (n_experiments, n_targets) as text.
    source_mask, target_mask : Path
        Which voxels the sources and the targets are.
    """

    weights: Path
    nodes: Path
    source_mask: Path
    target_mask: Path


@dataclass(frozen=True, eq=False)
class Store:
    """The factors of the model, mapped into memory: ``weights @ nodes`` is from source to target.

    Parameters
    ----------
    weights : (n_sources, n_experiments) float32
    nodes : (n_experiments, n_targets) float32
    sha256 : mapping of str to str
        Of the files that they were read from, and of the masks.
    """

    weights: NDArray[np.float32]
    nodes: NDArray[np.float32]
    sha256: dict[str, str]


def find_model(folder: Path) -> ModelFiles:
    """The model's files in a folder or below it.

    Raises
    ------
    DataUnavailable
        If one of them is missing.
    """
    if not folder.is_dir():
        raise DataUnavailable(f"model is {folder}, which is no folder; {HOW_TO_OBTAIN}")
    found = {name: find_file(folder, name, name.removesuffix(".gz")) for name in NAMES}
    if missing := [name for name, path in found.items() if path is None]:
        raise DataUnavailable(f"the folder {folder} has no {listed(missing)}; {HOW_TO_OBTAIN}")
    weights, nodes, source_mask, target_mask = (path for path in found.values() if path is not None)
    return ModelFiles(weights, nodes, source_mask, target_mask)


def find_file(folder: Path, *names: str) -> Path | None:
    """The file of the first of these names in a folder or below it, the least deep; None without one."""
    for name in names:
        paths = sorted(
            (path for path in folder.rglob(name) if path.is_file()), key=lambda path: (len(path.parts), path)
        )
        if paths:
            return paths[0]
    return None


def open_store(model: ModelFiles, *, n_sources: int, n_targets: int, folder: Path) -> Store:
    """The model's factors, converted from text the first time.

    The conversion is a stream (some MB of memory), shows its progress on a terminal, goes on with the file that was
    not finished when it was interrupted, and the store appears only when it is whole. Files that changed (size,
    time of writing or checksum) are converted anew.

    Parameters
    ----------
    model : ModelFiles
    n_sources, n_targets : int
        How many voxels the masks have.
    folder : Path
        Where stores are kept.

    Returns
    -------
    Store

    Raises
    ------
    InputError
        If a file is damaged, has rows of other lengths, or does not fit the masks; or the disk is full.
    """
    path = folder / f"knox-{_key(model, n_sources, n_targets)}"
    store = _opened(path)
    if store is None:
        _convert(model, n_sources, n_targets, path)
        store = _opened(path)
    if store is None:
        raise InputError(f"{path} was written, but cannot be read; is the disk sound? Delete it and try again")
    # A store serves any masks with as many voxels, so it cannot say which ones are used now.
    hashes = dict(store.sha256)
    for file in (model.source_mask, model.target_mask):
        with blamed_on(f"{file} cannot be read"):
            hashes[file.name] = sha256_of(file)
    return replace(store, sha256=hashes)


def _key(model: ModelFiles, n_sources: int, n_targets: int) -> str:
    """What tells one model from another without reading 600 MB: sizes, times, and gzip's own checksums."""
    parts = [f"{_VERSION} {n_sources} {n_targets}"]
    for path in (model.weights, model.nodes):
        with blamed_on(f"{path} cannot be read"), path.open("rb") as stream:
            status = path.stat()
            stream.seek(max(0, status.st_size - 8))
            parts.append(f"{status.st_size} {status.st_mtime_ns} {stream.read().hex()}")
    return sha256("\n".join(parts).encode()).hexdigest()[:16]


def _opened(path: Path) -> Store | None:
    """A whole store, or None."""
    try:
        said = json.loads((path / "store.json").read_text(encoding="utf-8"))
        weights, nodes = (np.load(path / f"{name}.npy", mmap_mode="r") for name in _FACTORS)
        whole = [list(weights.shape), list(nodes.shape)] == [said["weights"], said["nodes"]]
        return Store(weights, nodes, dict(said["sha256"])) if whole else None
    except (OSError, ValueError, KeyError, EOFError):
        return None


def _convert(model: ModelFiles, n_sources: int, n_targets: int, path: Path) -> None:
    n_experiments = count_columns(model.weights)
    n_columns = count_columns(model.nodes)
    if n_columns != n_targets:
        raise InputError(
            f"{model.nodes.name} has {n_columns:,} columns, but {model.target_mask.name} names {n_targets:,} voxels of "
            "the annotation: the two must be of one model, and the annotation that of 2017 at 100 µm"
        )
    tasks = {
        "weights": _Task(
            model.weights,
            (n_sources, n_experiments),
            f"{model.source_mask.name} names {n_sources:,} voxels of the annotation: the two must be of one model, "
            "and the annotation that of 2017 at 100 µm",
        ),
        "nodes": _Task(
            model.nodes,
            (n_experiments, n_targets),
            f"{model.weights.name} has {n_experiments:,} columns: both must have one for each experiment",
        ),
    }
    part = path.with_name(f"{path.name}.part")
    try:
        _convert_in(part, tasks, model, path)
    finally:
        with suppress(OSError):  # it stays where there is something to go on with
            part.rmdir()


def _convert_in(part: Path, tasks: dict[str, "_Task"], model: ModelFiles, path: Path) -> None:
    """Convert into `part`, which becomes `path` when it is whole."""
    with blamed_on(f"{part} cannot be written"):
        part.mkdir(parents=True, exist_ok=True)
        for abandoned in part.glob(".*"):  # by a process that was killed: they would fill the disk
            abandoned.unlink(missing_ok=True)
        todo = {name: task for name, task in tasks.items() if not _is_done(part, name, task)}
        _check_space(part, sum(task.size for task in todo.values()))
    _in_parallel(part, todo)
    said = {
        **{name: list(task.shape) for name, task in tasks.items()},
        "sha256": {file.name: sha256_of(file) for file in (model.weights, model.nodes)},
    }
    with blamed_on(f"{path} cannot be written"):
        with written_whole(part / "store.json") as temporary:
            temporary.write_text(json.dumps(said, indent=1), encoding="utf-8")
        for name in _FACTORS:
            (part / f"{name}.done").unlink(missing_ok=True)
        if path.exists():  # of another process that was quicker, or damaged
            shutil.rmtree(path)
        part.rename(path)


@dataclass(frozen=True)
class _Task:
    """A file to convert, the shape it must have, and what its number of rows is compared with."""

    file: Path
    shape: tuple[int, int]
    compared_with: str

    @property
    def size(self) -> int:
        return self.shape[0] * self.shape[1] * _ITEM


def _is_done(part: Path, name: str, task: _Task) -> bool:
    """Whether an earlier conversion got to the end of this file."""
    try:
        shape = json.loads((part / f"{name}.done").read_text(encoding="utf-8"))
        return tuple(shape) == task.shape and np.load(part / f"{name}.npy", mmap_mode="r").shape == task.shape
    except (OSError, ValueError, EOFError):
        return False


def _check_space(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < needed + _SPARE * (needed > 0):
        raise InputError(
            f"the model needs {needed / 1e9:.1f} GB in {folder}, where {free / 1e9:.1f} GB are free: make room, or let "
            "FCTOOLBOX_CACHE name a folder on another disk"
        )


def _in_parallel(part: Path, tasks: dict[str, _Task]) -> None:
    """Convert the files side by side; the first that fails stops the other."""
    stop = threading.Event()
    with ThreadPoolExecutor(max(1, len(tasks))) as pool:
        works = [
            pool.submit(_convert_one, part, name, task, line, stop) for line, (name, task) in enumerate(tasks.items())
        ]
        try:
            wait(works, return_when=FIRST_EXCEPTION)
        finally:  # also when interrupted
            stop.set()
    failures = [work.exception() for work in works]
    for failure in sorted((each for each in failures if each), key=lambda each: isinstance(each, Stopped)):
        raise failure


def _convert_one(part: Path, name: str, task: _Task, line: int, stop: threading.Event) -> None:
    n_rows, n_columns = task.shape
    with written_whole(part / f"{name}.npy") as temporary:
        with temporary.open("wb") as stream, _shown(task.file, line) as progress:
            layout = {"descr": "<f4", "fortran_order": False, "shape": task.shape}
            np.lib.format.write_array_header_1_0(stream, layout)  # type: ignore[no-untyped-call]
            room = n_rows * n_columns

            def write(values: NDArray[np.float32]) -> None:
                nonlocal room
                room -= values.size
                if room < 0:
                    raise InputError(f"{task.file} has more than {n_rows:,} rows, but {task.compared_with}")
                stream.write(values.data)

            found = stream_rows(task.file, n_columns, write, progress=progress, stop=stop)
        if found != n_rows:
            raise InputError(f"{task.file} has {found:,} rows, but {task.compared_with}")
    with written_whole(part / f"{name}.done") as temporary:
        temporary.write_text(json.dumps(task.shape), encoding="utf-8")


@contextmanager
def _shown(file: Path, line: int) -> Iterator[Callable[[int], object]]:
    """Progress through a file on a terminal."""
    from tqdm import tqdm

    with tqdm(
        total=file.stat().st_size, unit="B", unit_scale=True, desc=file.name, position=line, leave=False, disable=None
    ) as bar:
        yield lambda done: bar.update(done - bar.n)
