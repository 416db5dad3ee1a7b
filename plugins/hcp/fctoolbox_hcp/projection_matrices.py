"""Matrices of weights between grayordinates: sparse ones (.npz) and dense ones (.dconn.nii)."""

import zipfile
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from fctoolbox.errors import InputError, blamed_on, listed, suggestion
from fctoolbox_hcp.dense_files import DenseFile, open_dense
from fctoolbox_hcp.smoothing import Grayordinates, Mesh, kernel_of, smoothed
from fctoolbox_hcp.structures import Structure, structures_of

Weights: TypeAlias = "sparse.csr_array | NDArray[np.float32]"

_SAME = 1e-5  # relative: what differs less is a rounding of float32
_NIFTI_HEADERS = {348, 540}  # bytes; the first number in a file says how many
_DAMAGE = (OSError, ValueError, EOFError, KeyError, NotImplementedError, zipfile.BadZipFile, zlib.error)
# What other matrices of grayordinates have, so that a message can name them.
_KNOWN_SIZES = {
    29_696: "the left cortex only",
    59_412: "the cortex only, both sides without the medial wall",
    64_984: "the cortex only, both sides with the medial wall",
    32_492: "one whole hemisphere with its medial wall",
    96_854: "all vertices with the medial wall, and the subcortical voxels",
    170_494: "the 1.6 mm space of the HCP's 7T data",
}


@dataclass(frozen=True, eq=False)
class Wanted:
    """What of a file, among which grayordinates."""

    path: Path
    targets: tuple[Structure, ...]
    sources: tuple[Structure, ...]
    every: Mapping[str, Structure]
    surfaces: Mapping[str, Mesh]
    grayordinates: str
    epsilon: float
    n_jobs: int

    @cached_property
    def among(self) -> Grayordinates:
        """All grayordinates in the order of the file, or the chosen structures."""
        names = self.every if self.grayordinates == "all" else {each.name for each in (*self.targets, *self.sources)}
        by_row = sorted((self.every[name] for name in names), key=lambda each: each.rows.start)
        return Grayordinates.of(by_row, self.surfaces)

    @property
    def size(self) -> int:
        """How many grayordinates the file should have."""
        return sum(len(each) for each in self.every.values())

    @property
    def rows(self) -> NDArray[np.int64]:
        """Of the targets, in the file."""
        return self.rows_of(self.targets)

    @property
    def columns(self) -> NDArray[np.int64]:
        """Of the sources, in the file."""
        return self.rows_of(self.sources)

    def rows_of(self, chosen: Iterable[Structure]) -> NDArray[np.int64]:
        """Of some structures, in the file: those of the same names there."""
        slices = [self.every[each.name].rows for each in chosen]
        return np.concatenate([np.arange(each.start, each.stop) for each in slices])

    def smoothed(self, connectome: sparse.csr_array, fwhm: float) -> NDArray[np.float32]:
        """Targets × sources of the smoothed connectome between the grayordinates of `among`."""
        kernels = [
            kernel_of(chosen, self.among, fwhm, epsilon=self.epsilon, n_jobs=self.n_jobs)
            for chosen in (self.targets, self.sources)
        ]
        return smoothed(connectome, *kernels, n_jobs=self.n_jobs)

    def how_smoothed(self, fwhm: float) -> str:
        """For the notes."""
        if not fwhm:
            return "none"
        among = "all structures" if self.grayordinates == "all" else "the chosen structures only"
        return (
            f"connectome spatial smoothing (Mansour et al. 2022), Gaussian of FWHM {fwhm:g} mm cut off at "
            f"{self.epsilon:g} of its peak, along the midthickness in the cortex and straight in the volume, "
            f"among {among}"
        )


def is_archive(path: Path) -> bool:
    """Whether a file begins as an NPZ file does, be it whole or not."""
    with blamed_on(f"{path} cannot be read"), path.open("rb") as stream:
        return stream.read(4) == b"PK\x03\x04"


def check_is_cifti(path: Path) -> None:
    """Refuse a file that is nothing a projection can be read from, by its first bytes."""
    with blamed_on(f"{path} cannot be read"), path.open("rb") as stream:
        start = stream.read(4)
    sizes = {int.from_bytes(start, order) for order in ("little", "big")}
    if not sizes & _NIFTI_HEADERS and not start.startswith(b"\x1f\x8b"):
        raise InputError(
            f"{path} is nothing that a projection can be read from: a tractogram (.tck, .trk, .tt.gz), a sparse matrix "
            "(.npz of scipy.sparse.save_npz) or a .dconn.nii"
        )


def from_sparse(wanted: Wanted, fwhm: float, direction: str | None) -> tuple[Weights, dict[str, str]]:
    """Targets × sources out of a sparse matrix, and notes on it; see `fctoolbox_hcp.projection_files`."""
    n, rows, columns = wanted.size, wanted.rows, wanted.columns
    _check_size(wanted)
    matrix = _read_sparse(wanted.path)
    if matrix.shape != (n, n):  # what is wanted, and nothing else
        if fwhm:
            raise InputError(
                f"fwhm is {fwhm:g}, but {wanted.path} holds weights of the chosen structures only; smoothing needs the "
                f"whole matrix ({n:,} × {n:,}): give that, or leave fwhm out"
            )
        if direction is not None:
            raise InputError(
                f"direction is {direction!r}, but {wanted.path} holds targets × sources, so it is known: leave it out"
            )
        return _clean(matrix, wanted), {"Projection matrix": "weights of targets × sources, as they are"}
    received, back = sparse.csr_array(matrix[rows][:, columns]), sparse.csr_array(matrix[columns][:, rows].T)
    received, back = _clean(received, wanted), _clean(back, wanted)
    half = direction is None and _is_triangular(matrix)
    turned = False
    if half:
        note = "one half of a symmetric matrix, taken for both"
    else:
        turned, note = _direction(received, back, direction, wanted.path)
    if not fwhm:
        weights = received.maximum(back) if half else back if turned else received
        return sparse.csr_array(weights), {"Projection matrix": note}
    if not np.isfinite(matrix.data).all() or (matrix.data < 0).any():
        raise InputError(
            f"{wanted.path} holds weights that are negative or not finite, and smoothing would spread them"
        )
    whole = matrix.maximum(matrix.T) if half else matrix.T if turned else matrix
    inside = wanted.rows_of(wanted.among.structures)
    return wanted.smoothed(sparse.csr_array(whole)[inside][:, inside], fwhm), {"Projection matrix": note}


def from_dense(wanted: Wanted, fwhm: float, direction: str | None) -> tuple[Weights, dict[str, str]]:
    """Targets × sources out of a ``.dconn.nii``, and notes on it; rows are nibabel's first axis."""
    if fwhm:
        raise InputError(
            f"fwhm is {fwhm:g}, but {wanted.path} is a dense matrix, and those are taken as they are: leave fwhm "
            "out, and smooth before (wb_command -cifti-smoothing), or give the sparse matrix (.npz)"
        )
    file = open_dense(wanted.path, ("dconn",), "projection")
    places = [structures_of(axis, wanted.path) for axis in file.axes]
    for there in places:
        check_chosen((*wanted.targets, *wanted.sources), there, f"{wanted.path}")
    rows, columns = ([_rows(each, there) for there in places] for each in (wanted.targets, wanted.sources))
    received = _clean(_dense_block(file, rows[0], columns[1]), wanted)
    back = _clean(_dense_block(file, columns[0], rows[1]).T, wanted)
    turned, note = _direction(received, back, direction, wanted.path)
    return np.ascontiguousarray(back if turned else received), {"Projection matrix": note}


def check_filled(weights: Weights, wanted: Wanted, hint: str) -> dict[str, str]:
    """Refuse whole structures without any weight; say how many grayordinates have none."""
    notes = {}
    for what, option, chosen, axis in (
        ("target", "targets", wanted.targets, 1),
        ("source", "sources", wanted.sources, 0),
    ):
        sums = np.asarray(weights.sum(axis=axis)).ravel()
        empty = [int((each == 0).sum()) for each in np.split(sums, np.cumsum([len(one) for one in chosen])[:-1])]
        pairs = [*zip(chosen, empty, strict=True)]
        bare = [each.name for each, count in pairs if count == len(each)]
        if bare:
            raise InputError(
                f"{wanted.path} has no weight at all for {listed(bare)}: leave {'it' if len(bare) == 1 else 'them'} "
                f"out of {option}{hint}"
            )
        if sum(empty):
            notes[f"Empty {what}s"] = (
                f"{sum(empty):,} of {len(sums):,} {what}s have no weight ("
                f"{listed((f'{each.name} {count:,}' for each, count in pairs if count), most=20)})"
            )
    return notes


def check_chosen(
    chosen: Iterable[Structure], every: Mapping[str, Structure], what: str = "the space of the projection"
) -> None:
    """Refuse structures whose grayordinates are others than those of the same name in the projection's space."""
    for structure in chosen:
        there = every.get(structure.name)
        if there is None:
            raise InputError(
                f"{what} has no {structure.name}.{suggestion(structure.name, every)} It has {listed(every, most=30)}."
            )
        if not _same_places(structure, there):
            raise InputError(
                f"{what}: {structure.name} has {len(there):,} grayordinates, and they are not the {len(structure):,} "
                "of the other files: all must be of one mesh and one grid"
            )


def _rows(chosen: Sequence[Structure], there: Mapping[str, Structure]) -> NDArray[np.int64]:
    slices = [there[each.name].rows for each in chosen]
    return np.concatenate([np.arange(each.start, each.stop) for each in slices])


def _dense_block(file: DenseFile, first: NDArray[np.int64], second: NDArray[np.int64]) -> NDArray[np.float32]:
    """Numbers at these places of the first and second axis, (n_first, n_second)."""
    by_first, by_second = np.argsort(first), np.argsort(second)
    read = file.read(second[by_second], first[by_first], progress=file.path.name).T
    if (np.diff(first) > 0).all() and (np.diff(second) > 0).all():  # as a rule; saves a copy
        return read
    block = np.empty_like(read)
    block[np.ix_(by_first, by_second)] = read
    return block


def _direction(received: Any, back: Any, direction: str | None, path: Path) -> tuple[bool, str]:
    """Whether the weights are those of rows × columns (False) or, transposed, of columns × rows; and why."""
    if direction is not None:
        return direction == "columns", f"{direction} hold what a grayordinate receives"
    if _symmetric(received, back):
        return False, "symmetric"
    if not (_largest(received) and _largest(back)):
        turned = not _largest(received)
        return turned, f"only one direction is filled (targets are {'columns' if turned else 'rows'}), and taken"
    raise InputError(
        f"{path} is not symmetric (its two directions differ by up to {_difference(received, back):.3g}; the largest "
        f"weight is {max(_largest(received), _largest(back)):.3g}): say which way it goes, direction='rows' if row i "
        "holds what grayordinate i receives, direction='columns' if column i does; or add its transpose to it"
    )


def _is_triangular(matrix: sparse.csr_array) -> bool:
    """Whether everything off the diagonal lies on one side of it."""
    filled = np.flatnonzero(np.diff(matrix.indptr))
    first, last = matrix.indices[matrix.indptr[filled]], matrix.indices[matrix.indptr[filled + 1] - 1]
    diagonal = not ((first != filled).any() or (last != filled).any())
    return not diagonal and bool((first >= filled).all() or (last <= filled).all())


def _symmetric(one: Any, other: Any) -> bool:
    return _difference(one, other) <= _SAME * max(_largest(one), _largest(other))


def _largest(block: Any) -> float:
    values = block.data if sparse.issparse(block) else block
    return float(values.max()) if values.size else 0.0


def _difference(one: Any, other: Any) -> float:
    if sparse.issparse(one):
        apart = abs(one - other)
        return float(apart.data.max()) if apart.nnz else 0.0
    return max(float(np.abs(a - b).max()) for a, b in zip(one, other, strict=True))  # row by row: no second block


def _check_size(wanted: Wanted) -> None:
    """Refuse a matrix of another size, before its values are read."""
    path, n, n_targets, n_sources = wanted.path, wanted.size, len(wanted.rows), len(wanted.columns)
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as archive:
            names = archive.files
            shape = tuple(int(size) for size in archive["shape"]) if {"shape", "format"} <= {*names} else None
    except _DAMAGE as error:
        raise _no_npz(path, error) from error
    if inside := [name for name in names if name.endswith((".nii", ".nii.gz"))]:
        raise InputError(f"{path} is a ZIP archive: unpack it (unzip) and name {inside[0]}")
    if shape is None:
        raise InputError(
            f"{path} holds {listed(names)}, but no sparse matrix; write it with "
            f"scipy.sparse.save_npz('{path.name}', matrix)"
        )
    if shape in ((n, n), (n_targets, n_sources)):
        return
    size = " × ".join(f"{each:,}" for each in shape)
    if shape == (n_sources, n_targets):
        raise InputError(f"{path} has {size} weights, sources × targets: transpose it, targets are rows")
    known = _KNOWN_SIZES.get(shape[0]) if len({*shape}) == 1 else None
    raise InputError(
        f"{path} has {size} weights{f' ({known})' if known else ''}; it needs all {n:,} × {n:,} grayordinates in CIFTI "
        f"order, or the {n_targets:,} × {n_sources:,} of {names_of(wanted.targets)} × {names_of(wanted.sources)}"
    )


def _read_sparse(path: Path) -> sparse.csr_array:
    try:
        with path.open("rb") as stream:  # numpy leaves a damaged archive open
            matrix = sparse.load_npz(stream)
    except _DAMAGE as error:
        raise _no_npz(path, error) from error
    if matrix.dtype.kind not in "biuf":
        raise InputError(f"{path} holds {matrix.dtype.name} values; weights are real numbers")
    # first to numbers that cannot overflow when entries of the same place are added up
    whole = sparse.csr_array(matrix if matrix.dtype.kind == "f" else matrix.astype(np.float64))
    whole.sum_duplicates()
    whole.eliminate_zeros()
    return whole


def _no_npz(path: Path, error: Exception) -> InputError:
    return InputError(f"{path} is no whole NPZ file ({error}); was it cut short on its way? Make or copy it again")


def _clean(block: Any, wanted: Wanted) -> Any:
    """The same weights, if all are finite and none is negative."""
    is_sparse = sparse.issparse(block)
    values = block.data if is_sparse else block
    for kind, bad in (("not finite", ~np.isfinite(values)), ("negative", values < 0)):
        if not bad.any():
            continue
        if is_sparse:
            entries = block.tocoo()
            row, column = (int(index[bad][0]) for index in entries.coords)
        else:
            row, column = (int(index) for index in np.unravel_index(bad.argmax(), bad.shape))
        raise InputError(
            f"{wanted.path}: {int(bad.sum()):,} weights are {kind}, the first between "
            f"{_name_of(wanted.sources, column)} and {_name_of(wanted.targets, row)}; a projection needs weights of 0 "
            "or more, 0 where there is none"
        )
    return block.astype(np.float32, copy=False)


def _same_places(one: Structure, other: Structure) -> bool:
    pairs = ((one.vertices, other.vertices), (one.voxels, other.voxels))
    return all(a is b or (a is not None and b is not None and np.array_equal(a, b)) for a, b in pairs)


def _name_of(chosen: Sequence[Structure], index: int) -> str:
    for structure in chosen:
        if index < len(structure):
            return structure.names[index]
        index -= len(structure)
    raise IndexError(index)


def names_of(chosen: Sequence[Structure]) -> str:
    """The names of structures, for messages."""
    return listed(each.name for each in chosen)
