"""Tractograms (TCK, TRK, TinyTrack): where their streamlines end, and which grayordinates they join."""

import gzip
import struct
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from fctoolbox.errors import InputError, listed
from fctoolbox.threads import n_threads
from fctoolbox_hcp.tinytrack import read_tinytrack_ends

_BLOCK = 2**16  # streamlines whose ends are kept at a time
_SAMPLE = 20_000  # streamlines that tell how far ends are from grayordinates
_TCK, _TRK, _GZIP = b"mrtrix tracks", b"TRACK", b"\x1f\x8b"
_LARGEST_GRID = 400  # voxels; coordinates from 0 to this may well be voxels


@dataclass(frozen=True, eq=False)
class Joined:
    """The streamlines both of whose ends lie near a grayordinate.

    Parameters
    ----------
    counts : (n_grayordinates, n_grayordinates) scipy.sparse.csr_array
        Symmetric; a streamline counts at (i, j) and at (j, i), and twice at (i, i) if both of its ends are at i.
    n_kept, n_streamlines : int
        Streamlines counted, and in the file.
    median_distance : float
        From ends to the nearest grayordinate, mm; of no more than 20,000 streamlines.
    """

    counts: sparse.csr_array
    n_kept: int
    n_streamlines: int
    median_distance: float


def is_tractogram(path: Path) -> bool:
    """Whether a file is a TCK, TRK or TinyTrack file, by its first bytes."""
    return _format(path) != ""


def read_ends(path: Path) -> NDArray[np.float32]:
    """The two ends of each streamline; a tractogram of any length is read without keeping the points in between.

    Parameters
    ----------
    path : Path
        TCK (MRtrix), TRK (TrackVis) or TinyTrack (DSI Studio), recognised by content.

    Returns
    -------
    (n_streamlines, 2, 3) array
        mm, in the space that the file's header leads to. Streamlines without points are left out.

    Raises
    ------
    InputError
        If the file is no tractogram, is cut short, holds values that are not finite, or does not say how voxels
        become mm.
    """
    kind = _format(path)
    if not kind:
        raise InputError(f"{path} is no tractogram that can be read: TCK, TRK and TinyTrack (.tt.gz) can")
    if kind == "tinytrack":
        ends = np.stack(read_tinytrack_ends(path), axis=1).astype(np.float32)
    else:
        ends = _streamed_ends(path, kind)
    if not len(ends):
        raise InputError(f"{path} holds no streamlines")
    bad = np.flatnonzero(~np.isfinite(ends).all(axis=(1, 2)))
    if len(bad):
        raise InputError(
            f"{path}: {len(bad):,} streamlines, the first of them number {bad[0]} (counted from 0), end at points that "
            "are not finite: write the file again without them"
        )
    return ends


def join(ends: NDArray[np.float32], positions: NDArray[np.float64], max_distance: float, *, n_jobs: int = 1) -> Joined:
    """Count the streamlines between grayordinates; each end counts for the nearest one.

    Parameters
    ----------
    ends : (n_streamlines, 2, 3) array
        mm.
    positions : (n_grayordinates, 3) array
        mm, in the same space.
    max_distance : float
        mm; streamlines of which an end is farther than this from all grayordinates are left out.
    n_jobs : int

    Returns
    -------
    Joined
    """
    from scipy.spatial import cKDTree

    tree: Any = cKDTree(positions)
    workers = n_threads(n_jobs)
    nearest = np.empty((len(ends), 2), dtype=np.int64)
    limit = np.nextafter(max_distance, np.inf)  # the bound itself is not within
    for end in (0, 1):  # what is farther gets the number len(positions)
        _, nearest[:, end] = tree.query(ends[:, end], distance_upper_bound=limit, workers=workers)
    kept = nearest[(nearest < len(positions)).all(axis=1)]
    one_way = sparse.coo_array((np.ones(len(kept)), (kept[:, 0], kept[:, 1])), shape=(len(positions),) * 2).tocsr()
    sample = ends[:: -(-len(ends) // _SAMPLE)]
    distances, _ = tree.query(sample.reshape(-1, 3), workers=workers)
    return Joined(sparse.csr_array(one_way + one_way.T), len(kept), len(ends), float(np.median(distances)))


def explain_distance(ends: NDArray[np.float32], median: float) -> str:
    """What is probably wrong with a tractogram none of whose streamlines joins what it should."""
    low, high = float(ends.min()), float(ends.max())
    if median > 10 and low >= 0 and high < _LARGEST_GRID:
        return (
            f"its coordinates run from {low:.0f} to {high:.0f}, with none below 0: they look like voxels, or mm from a "
            "corner of the volume, not like mm of MNI space"
        )
    if np.abs(ends).max() < 1:
        return f"no coordinate is beyond {np.abs(ends).max():.2g}: they look like metres, not mm"
    if median > 4:
        return "it is probably not in MNI space: warp the streamlines to MNI152 (mm) first (MRtrix: tcktransform)"
    return "its streamlines end too early, or too far out: max_distance says how far an end may lie from a grayordinate"


def _format(path: Path) -> str:
    """One of "tck", "trk" and "tinytrack", or nothing."""
    start = _start(path)
    if start.startswith(_GZIP):
        try:
            with gzip.open(path) as stream:
                inside = stream.read(64)
        except (EOFError, OSError):
            return "tinytrack" if path.name.endswith(".tt.gz") else ""
        if inside.startswith((_TCK, _TRK)):
            raise InputError(f"{path} is a packed tractogram: unpack it first (gunzip {path.name})")
        # MATLAB-4 records begin with small numbers: type, rows, columns, imaginary or not, length of the name.
        return "tinytrack" if path.name.endswith(".tt.gz") or _is_matlab4(inside) else ""
    return "tck" if start.startswith(_TCK) else "trk" if start.startswith(_TRK) else ""


def _is_matlab4(start: bytes) -> bool:
    if len(start) < 20:
        return False
    kind, _, _, imaginary, name = struct.unpack("<5i", start[:20])
    return bool(0 <= kind < 100 and imaginary == 0 and 0 < name < 64)


def _start(path: Path) -> bytes:
    try:
        with path.open("rb") as stream:
            return stream.read(16)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}") from error


def _streamed_ends(path: Path, kind: str) -> NDArray[np.float32]:
    import nibabel
    from nibabel.streamlines.tractogram_file import DataError, HeaderError
    from tqdm import tqdm

    try:
        with warnings.catch_warnings(record=True) as remarks:
            warnings.simplefilter("always")
            tractogram = nibabel.streamlines.load(path, lazy_load=True)
            _check_affine(path, [str(remark.message) for remark in remarks])
            announced = _announced(tractogram.header, kind)
            lines = tractogram.tractogram.streamlines
            bar = tqdm(lines, total=announced, desc=path.name, unit="streamline", delay=2, disable=None, leave=False)
            blocks: list[NDArray[np.float32]] = []
            block = np.empty((_BLOCK, 2, 3), dtype=np.float32)
            at = n_read = 0
            for line in bar:
                n_read += 1
                if not len(line):
                    continue
                block[at, 0], block[at, 1] = line[0], line[-1]
                at += 1
                if at == _BLOCK:
                    blocks.append(block.copy())
                    at = 0
    except (DataError, HeaderError, TypeError, ValueError, struct.error, OSError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(
            f"{path} is no whole {kind.upper()} file ({error}); was it cut short, or is it still being written? Make "
            "or copy it again"
        ) from error
    if announced is not None and n_read < announced:
        raise InputError(
            f"{path} holds {n_read:,} streamlines, but its header says {announced:,}: it was cut short. Make or copy "
            "it again"
        )
    return np.concatenate([*blocks, block[:at]])


def _announced(header: dict[str, Any], kind: str) -> int | None:
    """How many streamlines the header says there are; None where it does not."""
    said = str(header.get("count", "") if kind == "tck" else header.get("nb_streamlines", "")).strip()
    return int(said) if said.isdigit() and int(said) else None


def _check_affine(path: Path, remarks: list[str]) -> None:
    if any("vox_to_ras" in remark for remark in remarks):
        raise InputError(
            f"the header of {path} has no affine (vox_to_ras), so where its streamlines lie is not known: write it "
            "again with the reference image, with nibabel or dipy's save_tractogram for instance"
        )
    if others := [remark for remark in remarks if "order" in remark]:
        # Left and right depend on it.
        raise InputError(f"the header of {path} does not say how the axes run ({listed(others)}): write it again")
