"""The model's two factors, converted once from text and then mapped into memory."""

import json
import shutil
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fctoolbox.data import sha256_of, written_whole
from fctoolbox.errors import DataUnavailable, InputError, blamed_on, listed
from fctoolbox_allen.knox.lock import one_at_a_time
from fctoolbox_allen.knox.text import Stopped, count_columns, stream_rows

NAMES = ("weights.csv.gz", "nodes.csv.gz", "source_mask_params.json", "target_mask_params.json")
ADDRESS = (
    "https://download.alleninstitute.org/publications/A_high_resolution_data-driven_model_of_the_mouse_connectome/"
)
HOW_TO_OBTAIN = (
    f"download {NAMES[0]} (145 MB), {NAMES[1]} (490 MB), {NAMES[2]} and {NAMES[3]} from {ADDRESS} "
    "(Knox et al. 2018) into a folder, and name it: -o model=FOLDER"
)
_VERSION = 1  # of what is kept
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

    The conversion is a stream (some MB of memory), shows its progress on a terminal, and each factor appears only when
    it is whole: after an interruption, or when one file was damaged and is fetched again, the other factor stays. A
    file that changed (size, time of writing or checksum) is converted anew, in place of what was kept of it. A second
    process waits for the first.

    Parameters
    ----------
    model : ModelFiles
    n_sources, n_targets : int
        How many voxels the masks have.
    folder : Path
        Below which the factors are kept, in a folder of their own.

    Returns
    -------
    Store

    Raises
    ------
    InputError
        If a file is damaged, has rows of other lengths, or does not fit the masks; or the disk is full.
    """
    folder = folder / "knox"
    files = dict(zip(_FACTORS, (model.weights, model.nodes), strict=True))
    paths = {name: folder / f"{name}-{_key(file)}.npy" for name, file in files.items()}
    found = _opened(paths)
    tasks = _tasks(model, n_sources, n_targets, found)
    _check_kept(found, tasks)
    if len(found) < len(tasks):
        _convert(tasks, paths, folder)
        found = _opened(paths)
        _check_kept(found, tasks)
    if unread := [str(paths[name]) for name in tasks if name not in found]:
        raise InputError(
            f"{listed(unread)} was written, but cannot be read; is the disk sound? Delete it and try again"
        )
    hashes = {files[name].name: kept.sha256 for name, kept in found.items()}
    for file in (model.source_mask, model.target_mask):
        with blamed_on(f"{file} cannot be read"):
            hashes[file.name] = sha256_of(file)
    return Store(found["weights"].factor, found["nodes"].factor, hashes)


def _key(file: Path) -> str:
    """What tells one file from another without reading 600 MB: size, time, and gzip's own checksum."""
    with blamed_on(f"{file} cannot be read"), file.open("rb") as stream:
        status = file.stat()
        stream.seek(max(0, status.st_size - 8))
        said = f"{_VERSION} {status.st_size} {status.st_mtime_ns} {stream.read().hex()}"
    return sha256(said.encode()).hexdigest()[:16]


@dataclass(frozen=True, eq=False)
class _Kept:
    """A factor that was converted, and the hash of the file that it came from."""

    factor: NDArray[np.float32]
    sha256: str


def _opened(paths: Mapping[str, Path]) -> dict[str, _Kept]:
    """Those of the factors that are there and whole; what says so is written last."""
    found = {}
    for name, path in paths.items():
        with suppress(OSError, ValueError, KeyError, EOFError):
            said = json.loads(_record_of(path).read_text(encoding="utf-8"))
            factor = np.load(path, mmap_mode="r")
            if list(factor.shape) == said["shape"]:
                found[name] = _Kept(factor, str(said["sha256"]))
    return found


def _record_of(path: Path) -> Path:
    return path.with_suffix(".json")


@dataclass(frozen=True)
class _Task:
    """A file to convert, the shape it must have, and what its number of rows is compared with."""

    file: Path
    shape: tuple[int, int]
    compared_with: str

    @property
    def size(self) -> int:
        return self.shape[0] * self.shape[1] * _ITEM


def _tasks(model: ModelFiles, n_sources: int, n_targets: int, found: Mapping[str, _Kept]) -> dict[str, _Task]:
    """What there is to convert; the widths are those of the files, or of what was found of them."""
    n_experiments = found["weights"].factor.shape[1] if "weights" in found else count_columns(model.weights)
    n_columns = found["nodes"].factor.shape[1] if "nodes" in found else count_columns(model.nodes)
    if n_columns != n_targets:
        raise InputError(
            f"{model.nodes.name} has {n_columns:,} columns, but {model.target_mask.name} names {n_targets:,} voxels of "
            "the annotation: the two must be of one model, and the annotation that of 2017 at 100 µm"
        )
    return {
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


def _check_kept(found: Mapping[str, _Kept], tasks: Mapping[str, _Task]) -> None:
    for name, kept in found.items():
        _check_rows(tasks[name], kept.factor.shape[0])


def _check_rows(task: _Task, n_rows: int) -> None:
    if n_rows != task.shape[0]:
        raise InputError(f"{task.file} has {n_rows:,} rows, but {task.compared_with}")


def _convert(tasks: dict[str, _Task], paths: dict[str, Path], folder: Path) -> None:
    """Convert the files that no process has converted yet."""
    try:
        with one_at_a_time(folder / "lock", "converts a voxel model") as alone:
            found = _opened(paths)  # perhaps by the process that was waited for
            todo = {name: task for name, task in tasks.items() if name not in found}
            if alone:
                _tidy(folder, todo)
            with blamed_on(f"{folder} cannot be written"):
                folder.mkdir(parents=True, exist_ok=True)
                _check_space(folder, sum(task.size for task in todo.values()))
            _in_parallel(paths, todo)
    finally:
        with suppress(OSError):  # it stays where there is something to go on with
            folder.rmdir()


def _tidy(folder: Path, todo: Mapping[str, _Task]) -> None:
    """Remove what killed processes left, and what was kept of the files before they changed: it would fill the disk."""
    files = {str(task.file.resolve()) for task in todo.values()}
    for name in _FACTORS:
        for abandoned in folder.glob(f".{name}-*"):
            abandoned.unlink(missing_ok=True)
        for record in folder.glob(f"{name}-*.json"):
            if _file_of(record) in files:
                record.unlink(missing_ok=True)
        for factor in folder.glob(f"{name}-*.npy"):
            if not _record_of(factor).exists():
                factor.unlink(missing_ok=True)


def _file_of(record: Path) -> str | None:
    """The file that a factor came from; None where the record is damaged."""
    try:
        return str(json.loads(record.read_text(encoding="utf-8"))["file"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _check_space(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < needed + _SPARE * (needed > 0):
        raise InputError(
            f"the model needs {needed / 1e9:.1f} GB in {folder}, where {free / 1e9:.1f} GB are free: make room, or let "
            "FCTOOLBOX_CACHE name a folder on another disk"
        )


def _in_parallel(paths: Mapping[str, Path], tasks: dict[str, _Task]) -> None:
    """Convert the files side by side; the first that fails stops the other."""
    stop = threading.Event()
    with ThreadPoolExecutor(max(1, len(tasks))) as pool:
        works = [
            pool.submit(_convert_one, paths[name], task, line, stop) for line, (name, task) in enumerate(tasks.items())
        ]
        try:
            wait(works, return_when=FIRST_EXCEPTION)
        finally:  # also when interrupted
            stop.set()
    failures = [work.exception() for work in works]
    for failure in sorted((each for each in failures if each), key=lambda each: isinstance(each, Stopped)):
        raise failure


def _convert_one(path: Path, task: _Task, line: int, stop: threading.Event) -> None:
    n_rows, n_columns = task.shape
    with written_whole(path) as temporary:
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
        _check_rows(task, found)
    said = {"shape": task.shape, "sha256": sha256_of(task.file), "file": str(task.file.resolve())}
    with written_whole(_record_of(path)) as temporary:
        temporary.write_text(json.dumps(said, indent=1), encoding="utf-8")


@contextmanager
def _shown(file: Path, line: int) -> Iterator[Callable[[int], object]]:
    """Progress through a file on a terminal."""
    from tqdm import tqdm

    with tqdm(
        total=file.stat().st_size, unit="B", unit_scale=True, desc=file.name, position=line, leave=False, disable=None
    ) as bar:
        yield lambda done: bar.update(done - bar.n)
