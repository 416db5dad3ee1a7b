"""TinyTrack (``.tt.gz``), the streamline format of DSI Studio.

A gzip stream of MATLAB-4 records: ``dimension``, ``voxel_size``, ``trans_to_mni`` (4 × 4, row by row),
``report``, ``cluster`` (uint16, one per streamline, counted from 0) and ``track``. In ``track`` each
streamline is a uint32 n (three times its number of points), the first point as three int32, and n − 3 int8
steps from point to point. Coordinates are in 1/32 voxel.
"""

import gzip
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fctoolbox.errors import InputError, listed

_UNITS_PER_VOXEL = 32
_LENGTH_BYTES = 4
_START_BYTES = 12
_HEADER_BYTES = _LENGTH_BYTES + _START_BYTES
_RECORDS = ("trans_to_mni", "cluster", "track")
_LARGEST_CLUSTER = np.iinfo(np.uint16).max


@dataclass(frozen=True, eq=False)
class Tractogram:
    """Streamlines, one after the other.

    Parameters
    ----------
    points : (n_points, 3) array
        mm, in the space that the file's affine leads to.
    offsets : (n_streamlines + 1,) integers
        Streamline k has the points ``offsets[k]:offsets[k + 1]``.
    clusters : (n_streamlines,) integers
        The bundle of each streamline: a line, counted from 0, of the list that accompanies the file.
    """

    points: NDArray[np.float64]
    offsets: NDArray[np.int64]
    clusters: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.clusters)

    @property
    def ends(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The first and the last point of each streamline, (n_streamlines, 3) each."""
        return self.points[self.offsets[:-1]], self.points[self.offsets[1:] - 1]


def read_tinytrack(path: Path) -> Tractogram:
    """The streamlines of a TinyTrack file, in mm.

    Parameters
    ----------
    path : Path

    Returns
    -------
    Tractogram

    Raises
    ------
    InputError
        If the file is no TinyTrack file, is cut short, or has another number of streamlines than of clusters.
    """
    records = _read_records(path)
    track = _bytes_of_track(records, path)
    starts, lengths = _streamlines(track.tobytes(), path)
    clusters = records["cluster"].ravel().astype(np.int64)
    if len(clusters) != len(starts):
        raise InputError(
            f"{path} holds {len(starts)} streamlines, but its record 'cluster' names the bundle of {len(clusters)}"
        )
    offsets = np.concatenate([[0], np.cumsum(lengths // 3)])
    affine = _affine(records["trans_to_mni"], path)
    voxels = _coordinates(track, starts, offsets) / _UNITS_PER_VOXEL
    return Tractogram(voxels @ affine[:3, :3].T + affine[:3, 3], offsets, clusters)


def read_tinytrack_ends(path: Path) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The first and the last point of each streamline of a TinyTrack file, in mm, without the points in between.

    Parameters
    ----------
    path : Path
        It need not say which bundles its streamlines belong to.

    Returns
    -------
    first, last : (n_streamlines, 3) array

    Raises
    ------
    InputError
        If the file is no TinyTrack file, or is cut short.
    """
    records = _read_records(path, ("trans_to_mni", "track"))
    track = _bytes_of_track(records, path)
    starts, lengths = _streamlines(track.tobytes(), path)
    affine = _affine(records["trans_to_mni"], path)
    first = _first_points(track, starts)
    travelled = np.empty_like(first)
    for at, (start, length) in enumerate(zip((starts + _HEADER_BYTES).tolist(), (lengths - 3).tolist(), strict=True)):
        travelled[at] = track[start : start + length].view(np.int8).reshape(-1, 3).sum(axis=0, dtype=np.int64)
    first_voxels, last_voxels = first / _UNITS_PER_VOXEL, (first + travelled) / _UNITS_PER_VOXEL
    return first_voxels @ affine[:3, :3].T + affine[:3, 3], last_voxels @ affine[:3, :3].T + affine[:3, 3]


def write_tinytrack(
    path: Path,
    streamlines: Sequence[NDArray[np.floating[Any]]],
    clusters: Sequence[int],
    *,
    affine: NDArray[np.floating[Any]],
    dimension: tuple[int, int, int],
    report: str = "",
) -> None:
    """Write streamlines as a TinyTrack file.

    Parameters
    ----------
    path : Path
    streamlines : sequence of (n, 3) arrays
        mm. They are kept to 1/64 voxel.
    clusters : sequence of int
        The bundle of each streamline, counted from 0.
    affine : (4, 4) array
        From voxels to mm.
    dimension : three int
        Voxels along each axis.
    report : str

    Raises
    ------
    InputError
        If a step between two points is too long for int8 (about 4 voxels), or a cluster for uint16.
    """
    from scipy.io import savemat

    if len(streamlines) != len(clusters):
        raise InputError(f"{len(streamlines)} streamlines, but {len(clusters)} clusters")
    outside = [cluster for cluster in clusters if not 0 <= cluster <= _LARGEST_CLUSTER]
    if outside:
        raise InputError(f"clusters must lie between 0 and {_LARGEST_CLUSTER}, but these do not: {listed(outside)}")
    inverse = np.linalg.inv(affine)
    voxels = [np.asarray(line, dtype=np.float64) @ inverse[:3, :3].T + inverse[:3, 3] for line in streamlines]
    records = {
        "dimension": np.array([dimension], dtype=np.int32),
        "voxel_size": np.linalg.norm(affine[:3, :3], axis=0).astype(np.float32)[None, :],
        "trans_to_mni": np.asarray(affine, dtype=np.float32).reshape(1, 16),
        "report": np.frombuffer((report or " ").encode(), dtype=np.uint8)[None, :],
        "cluster": np.array(clusters, dtype=np.uint16)[:, None],
        "track": np.frombuffer(b"".join(map(_packed, range(len(voxels)), voxels)), dtype=np.uint8)[:, None],
    }
    stream: Any = BytesIO()
    savemat(stream, records, format="4")
    # Without a time stamp the same streamlines give the same file.
    path.write_bytes(gzip.compress(stream.getvalue(), mtime=0))


def _bytes_of_track(records: dict[str, NDArray[Any]], path: Path) -> NDArray[np.uint8]:
    track: NDArray[Any] = records["track"].ravel()
    if track.dtype != np.uint8:
        raise InputError(f"{path}: record 'track' holds {track.dtype.name} values; a TinyTrack file has bytes there")
    return track


def _read_records(path: Path, names: tuple[str, ...] = _RECORDS) -> dict[str, NDArray[Any]]:
    from scipy.io import loadmat
    from scipy.io.matlab import MatReadError

    try:
        with gzip.open(path) as stream:
            content: Any = BytesIO(stream.read())
        records: dict[str, NDArray[Any]] = loadmat(content, variable_names=names)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise InputError(
            f"{path} is not a whole gzip file ({error}); was it cut short on its way? Fetch it again"
        ) from error
    except (MatReadError, ValueError, TypeError, KeyError, NotImplementedError) as error:
        raise InputError(
            f"{path} does not hold MATLAB-4 records, so it is no TinyTrack file (.tt.gz), or a damaged one: {error}"
        ) from error
    missing = [name for name in names if name not in records]
    if missing:
        raise InputError(f"{path} has no record {listed(missing)}; a TinyTrack file needs {listed(names)}")
    return records


def _affine(record: NDArray[Any], path: Path) -> NDArray[np.float64]:
    if record.size != 16:
        raise InputError(f"{path}: record 'trans_to_mni' has {record.size} values; an affine has 16")
    return record.astype(np.float64).reshape(4, 4)


def _streamlines(track: bytes, path: Path) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    # Each streamline says where the next one begins, so this walk cannot be an array operation.
    starts: list[int] = []
    lengths: list[int] = []
    at = 0
    while at < len(track):
        length = int.from_bytes(track[at : at + _LENGTH_BYTES], "little")
        end = at + _HEADER_BYTES + length - 3
        odd = length < 3 or length % 3
        if odd or end > len(track):
            raise InputError(
                f"{path}: streamline {len(starts)} (byte {at} of {len(track)} of record 'track') has "
                f"{length} coordinates, which is "
                f"{'no multiple of 3' if odd else 'more than the record still holds'}: the file is damaged "
                "or cut short"
            )
        starts.append(at)
        lengths.append(length)
        at = end
    return np.array(starts, dtype=np.int64), np.array(lengths, dtype=np.int64)


def _coordinates(track: NDArray[np.uint8], starts: NDArray[np.int64], offsets: NDArray[np.int64]) -> NDArray[np.int64]:
    """Points (n_points, 3) in 1/32 voxel, all streamlines at once."""
    header = (starts[:, None] + np.arange(_HEADER_BYTES)).ravel()
    first = _first_points(track, starts)
    is_step = np.ones(len(track), dtype=bool)
    is_step[header] = False
    is_later = np.ones(offsets[-1], dtype=bool)
    is_later[offsets[:-1]] = False
    steps = np.zeros((offsets[-1], 3), dtype=np.int8)
    steps[is_later] = track[is_step].view(np.int8).reshape(-1, 3)
    # The sum of the steps leaves int8 after a few points; int64 holds it for all streamlines together.
    travelled: NDArray[np.int64] = np.cumsum(steps, axis=0, dtype=np.int64)
    origin: NDArray[np.int64] = first - travelled[offsets[:-1]]
    travelled += np.repeat(origin, np.diff(offsets), axis=0)
    return travelled


def _first_points(track: NDArray[np.uint8], starts: NDArray[np.int64]) -> NDArray[np.int64]:
    """(n_streamlines, 3), in 1/32 voxel."""
    header = starts[:, None] + np.arange(_LENGTH_BYTES, _HEADER_BYTES)
    return track[header].view("<i4").astype(np.int64)


def _packed(index: int, voxels: NDArray[np.float64]) -> bytes:
    if voxels.ndim != 2 or voxels.shape[1] != 3 or not len(voxels) or not np.isfinite(voxels).all():
        raise InputError(f"streamline {index} has shape {voxels.shape}; it needs finite points in 3 columns")
    # Rounding positions, not steps, keeps errors from adding up along the streamline.
    points = np.rint(voxels * _UNITS_PER_VOXEL).astype(np.int64)
    steps = np.diff(points, axis=0)
    bounds = np.iinfo(np.int8)
    if steps.size and (steps.min() < bounds.min or steps.max() > bounds.max):
        at = int(np.argwhere((steps < bounds.min) | (steps > bounds.max))[0, 0])
        raise InputError(
            f"streamline {index} moves {np.abs(steps[at]).max() / _UNITS_PER_VOXEL:.1f} voxels from its "
            f"point {at} to the next, but TinyTrack holds steps of at most "
            f"{bounds.max / _UNITS_PER_VOXEL:.1f}: add points between"
        )
    parts = (np.array([points.size], dtype="<u4"), points[0].astype("<i4"), steps.astype(np.int8))
    return b"".join(part.tobytes() for part in parts)
