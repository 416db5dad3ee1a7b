"""Parcels of a CIFTI-2 file: where they are, found by name, and what is measured in them."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from fctoolbox.errors import InputError, listed, nearest
from fctoolbox_hcp.dense_files import DenseFile, open_dense
from fctoolbox_hcp.structures import Structure

KINDS = ("dlabel", "ptseries", "pconn", "pdconn", "pscalar", "plabel")
_UNLABELLED = 0  # CIFTI's key for grayordinates that belong to no parcel
_NO_NAMES = ("", "???")
_SUFFIX = "_ROI"  # of the official Glasser labels, which other files leave out
_PREFIX = "CIFTI_STRUCTURE_"
_LINES = 512


@dataclass(frozen=True, eq=False)
class Parcel:
    """A parcel and its grayordinates.

    Parameters
    ----------
    name : str
    vertices : mapping of str to (n,) integers
        By structure (``"CORTEX_LEFT"``).
    voxels : (n, 3) integers
        i, j, k.
    """

    name: str
    vertices: Mapping[str, NDArray[np.int64]]
    voxels: NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Parcellation:
    """The parcels of a file, in its order.

    Parameters
    ----------
    parcels : sequence of Parcel
        Their names are unique.
    path : Path
    notes : mapping of str to str
    """

    parcels: tuple[Parcel, ...]
    path: Path
    notes: Mapping[str, str]

    @property
    def names(self) -> tuple[str, ...]:
        """Of the parcels."""
        return tuple(parcel.name for parcel in self.parcels)

    def parcel_of(self, structures: Sequence[Structure]) -> NDArray[np.int64]:
        """The number of the parcel of each grayordinate of some structures, one after the other; -1 for none.

        Raises
        ------
        InputError
            If a parcel has a vertex that the structure's mesh has not: it belongs to another mesh.
        """
        voxel = {tuple(ijk): k for k, parcel in enumerate(self.parcels) for ijk in parcel.voxels.tolist()}
        found = []
        for structure in structures:
            if structure.vertices is None:
                assert structure.voxels is not None  # a structure has vertices or voxels
                found.append(np.array([voxel.get(tuple(ijk), -1) for ijk in structure.voxels.tolist()], dtype=np.int64))
                continue
            of_vertex = np.full(structure.n_vertices or 0, -1, dtype=np.int64)
            for k, parcel in enumerate(self.parcels):
                vertices = parcel.vertices.get(structure.name, np.empty(0, dtype=np.int64))
                if vertices.size and vertices.max() >= len(of_vertex):
                    raise InputError(
                        f"{self.path}: parcel '{parcel.name}' has vertex {vertices.max()} of {structure.name}, whose "
                        f"surface has {len(of_vertex):,} vertices: the parcellation belongs to another mesh. Resample "
                        "it with wb_command -label-resample"
                    )
                of_vertex[vertices] = k
            found.append(of_vertex[structure.vertices])
        return np.concatenate(found)


def read_parcellation(path: Path) -> Parcellation:
    """The parcels of a label file (``.dlabel.nii``), or of the axis of parcels that another file has.

    Of a label file with several maps, the first is read. Grayordinates with the key 0, or a label ``???``, belong to
    no parcel.

    Parameters
    ----------
    path : Path
        ``.dlabel.nii``, ``.ptseries.nii``, ``.pconn.nii``, ``.pdconn.nii`` …

    Returns
    -------
    Parcellation

    Raises
    ------
    InputError
        If the file cannot be read or has no parcels, two labels have one name, or a key has no label.
    """
    file = open_dense(path, (*KINDS, "dpconn"), "parcellation")
    if file.kind == "dlabel":
        return _of_labels(file)
    return Parcellation(_of_axis(parcels_axis(file), path), path, {})


def parcels_axis(file: DenseFile) -> Any:
    """The axis of parcels of a file; of a ``.pconn.nii`` both are the same."""
    from nibabel.cifti2 import ParcelsAxis

    return next(axis for axis in file.axes if isinstance(axis, ParcelsAxis))


def parcel_names(file: DenseFile) -> tuple[str, ...]:
    """The names of a file's parcels, in its order.

    Raises
    ------
    InputError
        If two of them are the same.
    """
    names = tuple(str(name) for name in parcels_axis(file).name)
    _check_unique(names, file.path)
    return names


def places_by_name(
    wanted: Sequence[str], there: Sequence[str], what: str, *, common: bool = False
) -> NDArray[np.int64]:
    """Where in a list the wanted names are, never by position; -1 for those that are not, where that is allowed.

    Names are the same where they differ only in the ``_ROI`` that the official Glasser labels end in.

    Parameters
    ----------
    wanted, there : sequence of str
    what : str
        What holds the list, for messages.
    common : bool
        Allow names that are not there.

    Raises
    ------
    InputError
        If a name is not there (or none is), with those that are spelt alike.
    """
    exact = {name: k for k, name in enumerate(there)}
    short: dict[str, int] = {}
    for name, k in exact.items():
        short.setdefault(canonical(name), k)
    places = np.array([exact.get(name, short.get(canonical(name), -1)) for name in wanted], dtype=np.int64)
    missing = [name for name, place in zip(wanted, places, strict=True) if place < 0]
    if len(missing) == len(wanted):
        raise InputError(
            f"{what} has none of the {len(wanted)} parcels; they are called {listed(wanted, most=4)}, there "
            f"{listed(there, most=4)}. Names are matched, not positions"
        )
    if missing and not common:
        unused = [name for name, k in exact.items() if k not in set(places.tolist())]
        hints = [(name, nearest(name, unused)) for name in missing[:8]]
        words = [f"'{name}'" + (f" (did you mean '{near}'?)" if near else "") for name, near in hints]
        raise InputError(
            f"{what} lacks {len(missing)} of the {len(wanted)} parcels: {listed([*words, *missing[8:]])}. Correct the "
            "names, or keep the parcels that all files have with common=true"
        )
    return places


def canonical(name: str) -> str:
    """The name as it is compared."""
    return name.removesuffix(_SUFFIX)


def averaging(parcel: NDArray[np.int64], n_parcels: int, *, total: bool = False) -> sparse.csr_array:
    """The matrix that takes the mean (or the sum) over the grayordinates of each parcel.

    Parameters
    ----------
    parcel : (n_grayordinates,) integers
        -1 for none.
    n_parcels : int
    total : bool

    Returns
    -------
    (n_parcels, n_grayordinates) scipy.sparse.csr_array
    """
    inside = np.flatnonzero(parcel >= 0)
    rows = parcel[inside]
    counts = np.bincount(rows, minlength=n_parcels)
    values = np.ones(len(inside)) if total else 1 / counts[rows]
    return sparse.csr_array((values, (rows, inside)), shape=(n_parcels, len(parcel)))


def parcel_series(file: DenseFile, parcel: NDArray[np.int64], n_parcels: int, targets: Sequence[Structure]) -> Any:
    """The mean time series of each parcel, from those of grayordinates; as ``wb_command -cifti-parcellate`` has them.

    Returns
    -------
    (n_times, n_parcels) array of float64
    """
    inside = np.flatnonzero(parcel >= 0)
    names = [name for structure in targets for name in structure.names]
    series = file.read(
        file.rows_of(targets, "timeseries")[inside],
        np.arange(file.shape[0]),
        where=partial(_name_of, names, inside),
        progress=file.path.name,
    )
    mean = averaging(parcel[inside], n_parcels)
    return (mean @ series.astype(np.float64)).T


def parcel_connectivity(
    file: DenseFile, parcel: NDArray[np.int64], n_parcels: int, targets: Sequence[Structure]
) -> NDArray[np.float64]:
    """The mean of a dense connectome over the pairs of grayordinates of every two parcels.

    As much of the file is in memory as 512 of its rows.

    Returns
    -------
    (n_parcels, n_parcels) array
        Of whatever the file holds; zeros on the diagonal.
    """
    from tqdm import tqdm

    inside = np.flatnonzero(parcel >= 0)
    lines = file.rows_of(targets, "connectivity")[inside]
    mean = averaging(parcel[inside], n_parcels)
    names = [name for structure in targets for name in structure.names]
    between = np.zeros((n_parcels, n_parcels))
    for start in tqdm(range(0, len(lines), _LINES), desc=file.path.name, unit="block", delay=2, disable=None):
        block = slice(start, min(start + _LINES, len(lines)))
        rows = file.read(
            lines[block],
            lines,
            ignore=np.arange(block.start, block.stop),  # within a parcel, and not used
            where=partial(_name_of, names, inside[block]),
        )
        between += mean[:, block] @ (mean @ rows.T).T
    np.fill_diagonal(between, 0)
    return (between + between.T) / 2


def _name_of(names: Sequence[str], rows: NDArray[np.int64], row: int) -> str:
    return str(names[rows[row]])


def _of_labels(file: DenseFile) -> Parcellation:
    from fctoolbox_hcp.cifti import read_labels

    keys, table = read_labels(file.path)
    used = [int(key) for key in np.unique(keys)]
    if strange := [key for key in used if key not in table and key != _UNLABELLED]:
        raise InputError(f"{file.path} uses the keys {listed(strange)}, which its label table does not name")
    named = {key: name.strip() for key, (name, _) in table.items() if key != _UNLABELLED}
    keys_of = [key for key in used if named.get(key, "") not in _NO_NAMES]
    _check_unique([named[key] for key in keys_of], file.path)
    if not keys_of:
        raise InputError(f"{file.path} labels no grayordinate: all of them have the key 0, or '???'")
    parcels = []
    structures = file.structures.values()
    for key in keys_of:
        vertices, voxels = {}, [np.empty((0, 3), dtype=np.int64)]
        for structure in structures:
            here = keys[structure.rows] == key
            if not here.any():
                continue
            if structure.vertices is None:
                assert structure.voxels is not None  # a structure has vertices or voxels
                voxels.append(structure.voxels[here])
            else:
                vertices[structure.name] = structure.vertices[here]
        parcels.append(Parcel(named[key], vertices, np.concatenate(voxels)))
    unused = len(set(named) - set(used))
    maps = [str(name) for name in file.axes[0].name]
    notes = {}
    if len(maps) > 1:
        notes["Map of labels"] = f"'{maps[0]}', the first of {len(maps)} in {file.path.name}"
    if unused:
        notes["Labels without grayordinates"] = f"{unused} of the table of {file.path.name}"
    return Parcellation(tuple(parcels), file.path, notes)


def _of_axis(axis: Any, path: Path) -> tuple[Parcel, ...]:
    names = [str(name) for name in axis.name]
    _check_unique(names, path)
    return tuple(
        Parcel(
            name,
            {str(key).removeprefix(_PREFIX): np.asarray(rows, dtype=np.int64) for key, rows in vertices.items()},
            np.asarray(voxels, dtype=np.int64).reshape(-1, 3),
        )
        for name, voxels, vertices in zip(names, axis.voxels, axis.vertices, strict=True)
    )


def _check_unique(names: Sequence[str], path: Path) -> None:
    counts = Counter(map(canonical, names))
    if twice := list(dict.fromkeys(name for name in names if counts[canonical(name)] > 1)):
        raise InputError(
            f"{path} uses the labels {listed(twice)} for more than one parcel; as parcels are matched by name, each "
            "needs one of its own (for both hemispheres: L_… and R_…)"
        )
