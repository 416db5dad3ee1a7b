"""Projections onto parcels: from tables, from parcels × grayordinates, or summed over grayordinates."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from fctoolbox.errors import InputError
from fctoolbox.system import InputProjection
from fctoolbox.tables import read_table
from fctoolbox_hcp.dense_files import open_dense
from fctoolbox_hcp.dense_space import DenseSpace
from fctoolbox_hcp.parcellated import averaging, canonical, parcel_names, places_by_name
from fctoolbox_hcp.projection_files import read_projection
from fctoolbox_hcp.projection_matrices import is_archive
from fctoolbox_hcp.structures import Structure

_TABLES = (".csv", ".tsv", ".txt", ".npz", ".mat", ".xlsx")


@dataclass(frozen=True, eq=False)
class ParcelWeights:
    """Weights by parcel, in whatever order.

    Parameters
    ----------
    matrix : (n_rows, n_inputs) array or scipy.sparse array
    places : (n_parcels,) integers or None
        The row of each parcel; None where there is none.
    inputs : sequence of str
        Empty where they have no names.
    groups : sequence of str or None
    notes : mapping of str to str
    """

    matrix: Any
    places: tuple[int | None, ...]
    inputs: tuple[str, ...] = ()
    groups: tuple[str, ...] | None = None
    notes: Mapping[str, str] = field(default_factory=dict)

    def of(self, kept: NDArray[np.int64]) -> InputProjection:
        """The projection onto these parcels."""
        return InputProjection(self.matrix[[self.places[k] for k in kept]], self.inputs, self.groups)


def read_weights(
    path: Path,
    units: tuple[str, ...],
    parcel: NDArray[np.int64],
    targets: Sequence[Structure],
    sources: Sequence[Structure],
    space: DenseSpace,
    *,
    common: bool,
    fwhm: float | None,
    max_distance: float,
) -> ParcelWeights:
    """The projection of the sources onto parcels, from a file of any kind.

    Parameters
    ----------
    path : Path
        A table, a ``.pdconn.nii``, or what `read_projection` takes: that is summed over the grayordinates of parcels.
    units : sequence of str
        The parcels.
    parcel : (n_grayordinates,) integers
        The unit of each grayordinate of the targets, -1 for none.
    targets, sources : sequence of Structure
    space : DenseSpace
    common : bool
        Allow parcels that the file has not.
    fwhm, max_distance
        See `read_projection`.

    Raises
    ------
    InputError
        If the file cannot be used, or lacks a parcel.
    """
    names = tuple(name for source in sources for name in source.names)
    groups = tuple(source.label for source in sources for _ in range(len(source)))
    if is_table(path):
        return from_table(path, units, common=common)
    if path.name.endswith((".pdconn.nii", ".dpconn.nii")):
        return _of_parcels(path, units, sources, names, groups, common=common)
    surfaces = {each: (mesh.vertices, mesh.faces) for each, mesh in space.meshes.items()}
    weights, notes = read_projection(
        path,
        targets,
        sources,
        surfaces=surfaces,
        fwhm=fwhm,
        max_distance=max_distance,
        structures=space.structures,
    )
    summed = averaging(parcel, len(units), total=True) @ weights
    matrix = sparse.csr_array(summed) if sparse.issparse(summed) else np.asarray(summed)
    notes = {**notes, "Projection": f"{path.name}, summed over the grayordinates of each parcel"}
    return ParcelWeights(matrix, tuple(range(len(units))), names, groups, notes)


def is_table(path: Path) -> bool:
    """Whether a file is a table of numbers (with names), and no sparse matrix."""
    suffix = path.suffix.lower()
    return suffix in _TABLES and not (suffix == ".npz" and is_archive(path) and _is_sparse(path))


def from_table(path: Path, units: tuple[str, ...], *, common: bool) -> ParcelWeights:
    """A projection of parcels × inputs from a table with names, matched by name."""
    table = read_table(path)
    if table.rows is None:
        raise InputError(f"{path} does not name its rows, so its parcels cannot be matched: write the names into it")
    known = set(map(canonical, units))
    if not known & set(map(canonical, table.rows)) and known & set(map(canonical, table.columns or ())):
        raise InputError(f"{path} is transposed: its columns are the parcels. Rows must be parcels, columns inputs")
    found = places_by_name(units, table.rows, str(path), common=common)
    unused = len(table.rows) - len(set(found[found >= 0].tolist()))
    notes = {"Projection": f"{path.name}, a table of {len(table.rows)} parcels × {table.values.shape[1]} inputs"}
    if unused:
        notes["Parcels of the table that are no units"] = str(unused)
    places = tuple(None if each < 0 else int(each) for each in found)
    return ParcelWeights(table.values, places, table.columns or (), None, notes)


def _of_parcels(
    path: Path,
    units: tuple[str, ...],
    sources: Sequence[Structure],
    names: tuple[str, ...],
    groups: tuple[str, ...],
    *,
    common: bool,
) -> ParcelWeights:
    file = open_dense(path, ("pdconn", "dpconn"), "projection")
    found = places_by_name(units, parcel_names(file), str(path), common=common)
    there = found[found >= 0]
    # Grayordinates are found along a second axis; here they may be the first.
    along = file if file.kind == "pdconn" else replace(file, axes=(file.axes[1], file.axes[0]))
    rows = along.rows_of(sources, "projection")
    matrix = file.read(rows, there).T if file.kind == "pdconn" else file.read(there, rows)
    counted = iter(range(len(there)))
    places = tuple(None if each < 0 else next(counted) for each in found)
    return ParcelWeights(matrix, places, names, groups, {"Projection": f"{path.name}, parcels × grayordinates"})


def _is_sparse(path: Path) -> bool:
    with suppress(Exception), np.load(path) as archive:  # who reads it says what is wrong with it
        return "indptr" in archive.files or "format" in archive.files
    return True
