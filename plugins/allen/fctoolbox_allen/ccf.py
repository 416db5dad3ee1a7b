"""The Allen mouse brain Common Coordinate Framework (Wang et al. 2020, doi:10.1016/j.cell.2020.04.007).

Axes run from anterior to posterior (AP), dorsal to ventral (DV) and left to right (ML), as the Allen
Institute defines them. The annotation is symmetric but for 1.6 % of its voxels, so nothing in the file itself
proves which half is left, and its NRRD header names the axes wrongly (left-posterior-superior). BrainGlobe
calls the same first half of the volume right: swap the hemispheres when you compare with it.
"""

import json
import zipfile
import zlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fctoolbox.data import cache_folder, sha256_of, written_whole
from fctoolbox.errors import InputError, blamed_on

HEMISPHERES = ("left", "right")
_COARSE_UM = 100.0
# Part of the name of a kept summary: raise it when what is kept, or its meaning, changes.
_SUMMARY_VERSION = 1


@dataclass(frozen=True)
class Structure:
    """A node of the Allen structure tree.

    Parameters
    ----------
    id : int
    acronym, name : str
    path : tuple of int
        Ids from the root to this structure, itself included.
    rgb : tuple of three int
        The colour that the Allen Institute draws it in, 0-255.
    """

    id: int
    acronym: str
    name: str
    path: tuple[int, ...]
    rgb: tuple[int, int, int]

    def lies_in(self, other: "Structure") -> bool:
        """Whether it is `other`, or a part of it."""
        return other.id in self.path


@dataclass(frozen=True, eq=False)
class Annotation:
    """What is needed of an annotation volume: size and centre of each label on each side, and a coarse copy.

    Parameters
    ----------
    labels : (n_labels,) integers
        Structure ids, ascending. A structure with parts has no label of its own: its voxels are theirs.
    n_voxels : (n_labels, 2) integers
        On the left and on the right.
    sums : (n_labels, 2, 3) array
        Sum over these voxels of AP, DV and ML, in µm.
    midline : float
        ML of the plane between the hemispheres, µm; the left lies below.
    grid : (ni, nj, nk) integers
        Labels at about 100 µm, 0 outside the brain.
    affine : (4, 4) array
        From indices of `grid` to AP, DV and ML in µm.
    """

    labels: NDArray[np.int64]
    n_voxels: NDArray[np.int64]
    sums: NDArray[np.float64]
    midline: float
    grid: NDArray[np.uint32]
    affine: NDArray[np.float64]

    def size(self, ids: Collection[int], hemisphere: str) -> int:
        """How many voxels the labels `ids` have together in a hemisphere."""
        return int(self.n_voxels[np.isin(self.labels, list(ids)), HEMISPHERES.index(hemisphere)].sum())

    def centroid(self, ids: Collection[int], hemisphere: str) -> NDArray[np.float64]:
        """Mean AP, DV and ML in µm of the voxels of labels `ids` in a hemisphere; NaN if there is none."""
        n_voxels = self.size(ids, hemisphere)
        total = self.sums[np.isin(self.labels, list(ids)), HEMISPHERES.index(hemisphere)].sum(axis=0)
        return total / n_voxels if n_voxels else np.full(3, np.nan)


def read_structures(path: Path) -> dict[str, Structure]:
    """The structures of the tree by acronym, parents before their parts.

    Parameters
    ----------
    path : Path
        The structure tree as AllenSDK saves it (.json).

    Raises
    ------
    InputError
        If the file is not that list.
    """
    with blamed_on(f"{path} cannot be read"):
        content = path.read_bytes()
    try:
        entries = json.loads(content)
    except ValueError as error:
        why = f"not whole ({error})" if content.lstrip()[:1] in (b"[", b"{") else "empty" if not content else "no JSON"
        raise InputError(
            f"{path} is cut off, damaged or another file: it is {why}, and an Allen structure tree (a JSON list) was "
            "expected; fetch it again"
        ) from error
    try:
        structures = [
            Structure(
                id=int(entry["id"]),
                acronym=str(entry["acronym"]).strip(),
                name=str(entry["name"]).strip(),
                path=tuple(int(each) for each in entry["structure_id_path"]),
                rgb=(
                    int(entry["rgb_triplet"][0]),
                    int(entry["rgb_triplet"][1]),
                    int(entry["rgb_triplet"][2]),
                ),
            )
            for entry in sorted(entries, key=lambda entry: entry["graph_order"])
        ]
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise InputError(
            f"{path.name} is not an Allen structure tree (a JSON list of structures, each with id, acronym, "
            f"name, structure_id_path, rgb_triplet and graph_order): {type(error).__name__} {error}"
        ) from error
    return {structure.acronym: structure for structure in structures}


def ids_within(structures: Mapping[str, Structure], acronym: str) -> frozenset[int]:
    """Ids of a structure and of all its parts.

    Raises
    ------
    InputError
        If the tree has no such structure.
    """
    if acronym not in structures:
        raise InputError(f"the structure tree has no '{acronym}'")
    whole = structures[acronym]
    return frozenset(structure.id for structure in structures.values() if structure.lies_in(whole))


def read_annotation(path: Path) -> Annotation:
    """Read an annotation volume and summarise it.

    Parameters
    ----------
    path : Path
        Structure ids on a grid with axes AP, DV and ML (.nrrd), spacing in µm.

    Returns
    -------
    Annotation

    Raises
    ------
    InputError
        If the file is not such a volume.
    """
    volume, header = read_nrrd(path)
    if volume.ndim != 3 or volume.dtype.kind not in "iu":
        raise InputError(
            f"{path.name} holds {volume.dtype} values in {volume.ndim} dimensions; structure ids in 3 were expected"
        )
    spacing = spacing_of(header.get("space directions"), path)
    if volume.shape[2] % 2:
        raise InputError(
            f"{path.name} has {volume.shape[2]} voxels from left to right, so no midline between two of them"
        )
    labels, n_voxels, index_sums = _summarise(volume)
    # The header's origin is the centre of the first voxel, so voxel i lies at i times the spacing.
    factor = max(1, round(_COARSE_UM / spacing))
    offset = factor // 2
    affine = np.diag([factor * spacing] * 3 + [1.0])
    affine[:3, 3] = offset * spacing
    return Annotation(
        labels=labels,
        n_voxels=n_voxels,
        sums=index_sums * spacing,
        midline=volume.shape[2] // 2 * spacing,
        # One voxel near the middle of each block stands for the block.
        grid=np.ascontiguousarray(volume[offset::factor, offset::factor, offset::factor], dtype=np.uint32),
        affine=affine,
    )


def read_nrrd(path: Path) -> tuple[NDArray[Any], dict[str, Any]]:
    """The values of an NRRD volume, axes in the order of the file, and its header.

    Raises
    ------
    InputError
        If the file is none, or is cut off or damaged.
    """
    import nrrd

    with blamed_on(f"{path} cannot be read"), path.open("rb") as stream:
        begin = stream.read(4)
        stream.seek(max(0, path.stat().st_size - 4))
        end = stream.read()
    if begin != b"NRRD":
        what = "it is empty" if not begin else f"it does not begin with NRRD, but with {begin!r}"
        raise InputError(f"{path} was not read as an NRRD volume: {what}; fetch it again")
    try:
        volume, header = nrrd.read(str(path), index_order="F")
    except FileNotFoundError as error:  # of a header whose values lie in another file
        raise InputError(f"{path} was not read as an NRRD volume: {error}") from error
    # A header that ends early stops an iteration, and compressed values that were altered are zlib's own error.
    except (nrrd.NRRDError, OSError, ValueError, EOFError, StopIteration, zlib.error) as error:
        raise InputError(f"{path} is cut off or damaged: {error or 'it ends early'}; fetch it again") from error
    # All values may be there when the checksum at the end is not. The last of it is the length of what was compressed.
    inside = "data file" not in header and "datafile" not in header
    if inside and header.get("encoding") in ("gzip", "gz") and end != (volume.nbytes % 2**32).to_bytes(4, "little"):
        raise InputError(f"{path} is cut off or damaged: its end is not that of a gzipped volume; fetch it again")
    return volume, header


def kept_annotation(path: Path) -> Annotation:
    """As `read_annotation`, kept in the cache under the file's SHA-256 and therefore quick the next time."""
    kept = cache_folder() / "allen" / f"annotation-{sha256_of(path)[:16]}-{_SUMMARY_VERSION}.npz"
    if kept.is_file():
        try:
            # Opened here, because numpy leaves a file open that turns out to be damaged.
            with kept.open("rb") as stream, np.load(stream) as arrays:
                return _annotation(arrays)
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
            kept.unlink()  # damaged, so made anew
    annotation = read_annotation(path)
    with written_whole(kept) as temporary:
        np.savez_compressed(temporary, **{field.name: getattr(annotation, field.name) for field in fields(Annotation)})
    return annotation


def _annotation(arrays: Mapping[str, NDArray[Any]]) -> Annotation:
    values = {field.name: arrays[field.name] for field in fields(Annotation)}
    return Annotation(midline=float(values.pop("midline")), **values)


def spacing_of(directions: object, path: Path) -> float:
    """The voxels' spacing in µm, the same along all axes."""
    matrix = np.asarray(directions if directions is not None else np.nan, dtype=float)
    if matrix.shape != (3, 3) or not np.allclose(matrix, matrix.flat[0] * np.eye(3)) or not matrix.flat[0] > 0:
        raise InputError(
            f"{path.name}: its header's 'space directions' must be one spacing in µm, the same along all axes"
        )
    return float(matrix.flat[0])


def _summarise(
    volume: NDArray[np.uint32],
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Labels, their numbers of voxels on each side, and the sums of these voxels' indices.

    Worked out on runs of equal labels along the first axis, of which there are thirty times fewer than
    voxels.
    """
    n_ap, n_dv, n_ml = volume.shape
    flat = volume.reshape(-1, order="F")
    begins = np.empty(flat.size, dtype=bool)
    begins[1:] = flat[1:] != flat[:-1]
    begins[::n_ap] = True
    start = np.flatnonzero(begins)
    length = np.diff(start, append=flat.size)
    in_brain = flat[start] > 0
    start, length = start[in_brain], length[in_brain]
    row, ap = np.divmod(start, n_ap)
    ml, dv = np.divmod(row, n_dv)
    labels, which = np.unique(flat[start], return_inverse=True)
    # Left and right of each label are neighbours in one long table.
    side = 2 * which + (ml >= n_ml // 2)
    n_voxels = np.bincount(side, weights=length, minlength=2 * labels.size)
    sums = [
        np.bincount(side, weights=length * middle, minlength=2 * labels.size)
        for middle in (ap + (length - 1) / 2, dv, ml)
    ]
    return (
        labels.astype(np.int64),
        n_voxels.reshape(-1, 2).astype(np.int64),
        np.stack(sums, axis=-1).reshape(-1, 2, 3).astype(np.float64),
    )
