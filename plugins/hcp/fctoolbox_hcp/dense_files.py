"""CIFTI-2 files too large for memory: what they hold, whether they are whole, and blocks of their numbers."""

import glob
import gzip
import hashlib
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from io import FileIO
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fctoolbox.data import sha256_of
from fctoolbox.errors import InputError, blamed_on, nearest
from fctoolbox.system import FileRecord
from fctoolbox_hcp.cifti import open_cifti
from fctoolbox_hcp.structures import Structure, choose, structures_of

# What an axis of rows and one of columns (in nibabel's order) make together. The intent code of the header says the
# same, but several programs leave it empty.
_KINDS = {
    ("brain models", "brain models"): "dconn",
    ("series", "brain models"): "dtseries",
    ("scalars", "brain models"): "dscalar",
    ("labels", "brain models"): "dlabel",
    ("parcels", "parcels"): "pconn",
    ("series", "parcels"): "ptseries",
    ("scalars", "parcels"): "pscalar",
    ("labels", "parcels"): "plabel",
    ("parcels", "brain models"): "pdconn",
    ("brain models", "parcels"): "dpconn",
}
_HOLDS = {
    "dconn": "numbers between every two grayordinates",
    "dtseries": "a time series of each grayordinate",
    "dscalar": "maps of numbers on grayordinates",
    "dlabel": "labels of grayordinates, a parcellation",
    "pconn": "numbers between every two parcels",
    "ptseries": "a time series of each parcel",
    "pscalar": "maps of numbers on parcels",
    "plabel": "labels of parcels",
    "pdconn": "numbers between parcels and grayordinates",
    "dpconn": "numbers between grayordinates and parcels",
}
# Files beyond this are known by header, size and time of change: reading 33 GB for a digest takes minutes.
_HASHED_WHOLE = 2**30
_NIFTI1_HEADER = 348  # its first number, the length of the header; that of CIFTI-2 is 540
_GAP_VALUES = 2**14  # unwanted numbers between two wanted ones that are sooner read than skipped

Block = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class DenseFile:
    """A whole CIFTI-2 file of known kind, its numbers still on disk.

    Parameters
    ----------
    path : Path
    kind : str
        ``"dconn"``, ``"dtseries"``, ``"pconn"`` …, by the types of its axes.
    axes : two nibabel axes
        In nibabel's order: the first varies fastest on disk.
    dtype : numpy.dtype
        With the byte order of the file.
    offset : int
        Bytes before the first number.
    slope, intercept : float
        What is stored times `slope`, plus `intercept`, is the number meant.
    """

    path: Path
    kind: str
    axes: tuple[Any, Any]
    dtype: np.dtype[Any]
    offset: int
    slope: float = 1.0
    intercept: float = 0.0

    @property
    def shape(self) -> tuple[int, int]:
        """Length of the first and second axis."""
        return len(self.axes[0]), len(self.axes[1])

    @cached_property
    def structures(self) -> dict[str, Structure]:
        """The structures of the second axis, of grayordinates."""
        return structures_of(self.axes[1], self.path)

    def rows_of(self, targets: Sequence[Structure], option: str) -> NDArray[np.int64]:
        """Where along the second axis the grayordinates of `targets` are, found by structure and vertex or voxel.

        Raises
        ------
        InputError
            If the file lacks a structure or some of its grayordinates, or has them on another mesh.
        """
        found = [
            _rows_of(structure, choose(self.structures, structure.name, f"{self.path} ({option})")[0], self.path)
            for structure in targets
        ]
        return np.concatenate(found)

    def read(
        self,
        lines: NDArray[np.integer[Any]],
        within: NDArray[np.integer[Any]],
        *,
        ignore: NDArray[np.integer[Any]] | None = None,
        where: Callable[[int], str] | None = None,
        progress: str = "",
    ) -> Block:
        """Chosen numbers: one row for each of `lines`; nothing else is kept in memory.

        Parameters
        ----------
        lines : (n_lines,) integers
            Along the *second* axis. The numbers of one line lie side by side on disk: the series of a grayordinate, a
            row of a symmetric connectome.
        within : (n_within,) integers
            Along the *first* axis.
        ignore : (n_lines,) integers, optional
            A column of each row of the result that is set to zero, and may be anything in the file (the diagonal).
        where : callable, optional
            Words for the row of that number, for messages.
        progress : str
            What the bar is called; no bar without.

        Returns
        -------
        (n_lines, n_within) array of float32

        Raises
        ------
        InputError
            If a number is not finite, or the file ends too early.
        """
        from tqdm import tqdm

        result = np.empty((len(lines), len(within)), dtype=np.float32)
        order = np.argsort(within, kind="stable")
        spans = _spans(within[order])
        with blamed_on(f"{self.path} cannot be read"), self.path.open("rb", buffering=0) as stream:
            for first, last in spans:
                columns = order[first:last]
                wanted = within[columns]
                rising = slice(first, last) if np.array_equal(order[first:last], np.arange(first, last)) else columns
                bar = tqdm(lines, desc=progress, unit="row", delay=2, disable=None if progress else True, leave=False)
                for row, line in zip(result, bar, strict=True):
                    row[rising] = self._stored(stream, int(line), wanted)
        if ignore is not None:
            result[np.arange(len(result)), ignore] = 0
        if not np.isfinite(result).all():
            self._refuse(result, lines, within, where)
        return result

    def peek(self, line: int, position: int) -> float:
        """One number, which may be anything."""
        with blamed_on(f"{self.path} cannot be read"), self.path.open("rb", buffering=0) as stream:
            return float(self._stored(stream, line, np.array([position]))[0])

    def _stored(self, stream: FileIO, line: int, wanted: NDArray[np.integer[Any]]) -> NDArray[Any]:
        start, stop = int(wanted[0]), int(wanted[-1]) + 1
        stored = np.empty(stop - start, dtype=self.dtype)
        begin = self.offset + self.dtype.itemsize * (line * self.shape[0] + start)
        _read_exactly(stream, stored.view(np.uint8).data, begin, self.path)
        numbers = stored if len(stored) == len(wanted) else stored[wanted - start]
        if (self.slope, self.intercept) == (1.0, 0.0):
            return numbers
        return np.asarray(numbers * self.slope + self.intercept)

    def _refuse(
        self,
        block: Block,
        lines: NDArray[np.integer[Any]],
        within: NDArray[np.integer[Any]],
        where: Callable[[int], str] | None,
    ) -> None:
        bad = ~np.isfinite(block)
        row = int(bad.sum(axis=1).argmax())  # an empty grayordinate stands in all rows, but fills its own
        column = int(bad[row].argmax())
        words = where(row) if where else "a row"
        raise InputError(
            f"{self.path}: {words} (number {int(lines[row])} of the file, counted from 0) holds {block[row, column]} "
            f"at position {int(within[column])} of the other axis; every number must be finite. Find out where it "
            "comes from (an empty grayordinate, a division by zero), and make the file again"
        )


def open_dense(path: str | Path, kinds: Sequence[str], option: str) -> DenseFile:
    """A CIFTI-2 file of one of the kinds asked for, checked to be whole; takes no longer than reading its header.

    Parameters
    ----------
    path : str or Path
    kinds : sequence of str
        ``"dconn"``, ``"dtseries"`` …
    option : str
        What the file was given for, for messages.

    Returns
    -------
    DenseFile

    Raises
    ------
    InputError
        If there is no such file, it is packed, CIFTI-1 or no CIFTI, of another kind, cut short, or does not say where
        its voxels are.
    """
    path = Path(path).expanduser()
    _check_there(path, option)
    image = open_cifti(path)
    axes = _axes(image, path)
    kind = _KINDS.get((_type_of(axes[0]), _type_of(axes[1])), "")
    if kind not in kinds:
        raise InputError(_other_kind(path, kind, kinds, option))
    stored = image.dataobj
    file = DenseFile(
        path,
        kind,
        axes,
        np.dtype(stored.dtype),
        int(stored.offset),
        float(stored.slope),
        float(stored.inter),
    )
    _check_whole(file)
    return file


def named_files(value: object, option: str) -> tuple[Path, ...]:
    """The files that an option names: one path, several separated by commas or in a sequence, or a pattern (``*``).

    Raises
    ------
    InputError
        If it names none, or one twice.
    """
    if isinstance(value, str) and not Path(value).expanduser().exists():
        words = [word.strip() for word in value.split(",") if word.strip()]
    else:
        words = [str(each) for each in value] if isinstance(value, list | tuple) else [str(value)]
    found: list[Path] = []
    for word in words:
        path = str(Path(word).expanduser())
        # Path.glob takes no pattern that begins with a slash
        matches = sorted(glob.glob(path, recursive=True)) if glob.has_magic(path) else [path]  # noqa: PTH207
        if not matches:
            raise InputError(f"{option} is {word!r}, but no file has such a name; try the pattern with ls")
        found += map(Path, matches)
    if not found:
        raise InputError(f"{option} is {value!r}; it needs the path of a file")
    if len(set(found)) < len(found):
        raise InputError(f"{option} names {next(path for path in found if found.count(path) > 1)} more than once")
    return tuple(found)


def file_record(path: Path) -> tuple[FileRecord, str]:
    """What provenance keeps of a file, and a note for those too large to be hashed whole (else empty).

    Parameters
    ----------
    path : Path

    Returns
    -------
    FileRecord
    str
    """
    with blamed_on(f"{path} cannot be read"):
        status = path.stat()
        if status.st_size <= _HASHED_WHOLE:
            return FileRecord(path.name, sha256_of(path)), ""
        digest = hashlib.sha256(f"{status.st_size} {status.st_mtime_ns} ".encode())
        with path.open("rb") as stream:
            digest.update(stream.read(2**20))
    note = f"{path.name} ({status.st_size / 1e9:.1f} GB): digest of its first megabyte, size and time of change"
    return FileRecord(path.name, digest.hexdigest()), note


def _check_there(path: Path, option: str) -> None:
    with blamed_on(f"{option} names {path}, which cannot be read"):
        if not path.exists():
            folder = path.parent if path.parent.is_dir() else None
            near = nearest(path.name, [each.name for each in folder.iterdir()]) if folder else ""
            hint = f" Did you mean '{near}'?" if near else "" if folder else f" There is no folder {path.parent}."
            raise InputError(f"{option} names {path}, which does not exist.{hint}")
        if path.is_dir():
            raise InputError(f"{option} names {path}, which is a folder; it needs a file")
        with path.open("rb") as stream:
            head = stream.read(4)
    if head.startswith(b"\x1f\x8b") and _volume_inside(path):
        raise InputError(
            f"{option} names {path}, which is a packed volume (NIfTI), not CIFTI-2. The source human-parcellated "
            "reads volumes, with a label volume (NIfTI too, no .dlabel.nii) as parcellation="
        )
    packed = {b"PK\x03\x04": "a ZIP archive: unpack it (unzip)", b"\x1f\x8b": "compressed: unpack it (gunzip)"}
    for magic, remedy in packed.items():
        if head.startswith(magic):
            raise InputError(f"{option} names {path}, which is {remedy} and name the .nii file that was inside")


def _volume_inside(path: Path) -> bool:
    """Whether a packed file begins like NIfTI-1, which no CIFTI-2 file does."""
    try:
        with gzip.open(path) as stream:
            size = stream.read(4)
    except (EOFError, OSError, zlib.error):
        return False
    return size in (_NIFTI1_HEADER.to_bytes(4, "little"), _NIFTI1_HEADER.to_bytes(4, "big"))


def _axes(image: Any, path: Path) -> tuple[Any, Any]:
    if image.ndim != 2:
        raise InputError(f"{path} has {image.ndim} axes; two are expected")
    first, second = (image.header.get_axis(dimension) for dimension in range(2))
    return first, second


def _type_of(axis: Any) -> str:
    from nibabel.cifti2 import BrainModelAxis, LabelAxis, ParcelsAxis, ScalarAxis, SeriesAxis

    names = {
        BrainModelAxis: "brain models",
        LabelAxis: "labels",
        ParcelsAxis: "parcels",
        ScalarAxis: "scalars",
        SeriesAxis: "series",
    }
    return next((name for kind, name in names.items() if isinstance(axis, kind)), "")


def _other_kind(path: Path, kind: str, kinds: Sequence[str], option: str) -> str:
    is_a = f"a .{kind}.nii ({_HOLDS[kind]})" if kind else "CIFTI-2 of a kind that is not known"
    wanted = " or ".join(f".{each}.nii ({_HOLDS[each]})" for each in kinds)
    hint = ""
    if kind == "dlabel":
        hint = " A parcellation can be given to human-parcellated (-o parcellation=…)."
    elif kind in ("pconn", "ptseries", "pdconn", "dpconn") and kinds[0].startswith("d"):
        hint = " Its units are parcels: use the source human-parcellated."
    elif kind == "dtseries" and "dconn" in kinds:
        hint = " Give it with timeseries=, or with pca= if it is a group PCA."
    elif kind == "dconn" and "dtseries" in kinds:
        hint = " Give it with connectivity=."
    return f"{path} is {is_a}, but {option} needs {wanted}.{hint}"


def _check_whole(file: DenseFile) -> None:
    first, second = file.shape
    needed = file.offset + first * second * file.dtype.itemsize
    there = file.path.stat().st_size
    if there < needed:
        raise InputError(
            f"{file.path} is cut short: its header promises {first:,} × {second:,} numbers, {needed:,} bytes in all, "
            f"but it has {there:,} ({there / needed:.1%}). A copy or a download was interrupted; fetch it again"
        )


def _rows_of(wanted: Structure, there: Structure, path: Path) -> NDArray[np.int64]:
    ours, theirs = (each.voxels if each.vertices is None else each.vertices for each in (wanted, there))
    assert ours is not None  # a structure has vertices or voxels
    assert theirs is not None
    if wanted.n_vertices != there.n_vertices:
        sizes = [f"{each.n_vertices} vertices" if each.n_vertices else "voxels" for each in (there, wanted)]
        raise InputError(f"{path} has {wanted.name} as a mesh of {sizes[0]}, but {sizes[1]} are expected")
    if np.array_equal(ours, theirs):
        return np.arange(there.rows.start, there.rows.stop)
    row = {tuple(np.atleast_1d(each)): index for index, each in enumerate(theirs.tolist())}
    rows = np.array([row.get(tuple(np.atleast_1d(each)), -1) for each in ours.tolist()], dtype=np.int64)
    if (rows < 0).any():
        raise InputError(
            f"{path} lacks {np.count_nonzero(rows < 0):,} of the {len(wanted):,} grayordinates of {wanted.name}; it "
            "must be in the same standard space as the other files (91,282 grayordinates for the HCP)"
        )
    return np.asarray(rows + there.rows.start)


def _spans(rising: NDArray[np.integer[Any]]) -> list[tuple[int, int]]:
    """Runs of positions close enough to be read in one go, as first and last + 1."""
    borders = [0, *(int(each) + 1 for each in np.flatnonzero(np.diff(rising) > _GAP_VALUES)), len(rising)]
    return [span for span in pairwise(borders) if span[0] < span[1]]


def _read_exactly(stream: FileIO, into: memoryview, begin: int, path: Path) -> None:
    stream.seek(begin)
    while into:
        n_read = stream.readinto(into)
        if not n_read:
            raise InputError(f"{path} ended while it was being read, near byte {begin:,}; is it still being written?")
        into = into[n_read:]
