"""Connectome spatial smoothing: each end of a streamline spread over the grayordinates around it."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from fctoolbox.errors import InputError, listed
from fctoolbox.nulls.distances import geodesic_within
from fctoolbox.threads import blocks, in_threads, n_threads
from fctoolbox_hcp.structures import Structure

_FWHM_PER_SD = np.sqrt(8 * np.log(2))
_BLOCK = 1024  # rows of the projection that are multiplied at a time

Mesh = tuple[NDArray[np.floating[Any]], NDArray[np.integer[Any]]]


@dataclass(frozen=True, eq=False)
class Grayordinates:
    """Structures one after the other, and where their grayordinates lie.

    Parameters
    ----------
    structures : tuple of Structure
    rows : mapping of str to slice
        Of each structure, among all of them.
    positions : (n_grayordinates, 3) array
        mm.
    surfaces : mapping of str to (vertices, faces)
        The midthickness of each structure that is a surface.
    """

    structures: tuple[Structure, ...]
    rows: Mapping[str, slice]
    positions: NDArray[np.float64]
    surfaces: Mapping[str, Mesh]

    @classmethod
    def of(cls, structures: Iterable[Structure], surfaces: Mapping[str, Mesh]) -> "Grayordinates":
        """The structures in this order.

        Raises
        ------
        InputError
            If a structure's surface is missing or has another number of vertices.
        """
        every = tuple(structures)
        stops = np.cumsum([len(each) for each in every])
        rows = {each.name: slice(int(stop) - len(each), int(stop)) for each, stop in zip(every, stops, strict=True)}
        return cls(every, rows, np.concatenate([_positions(each, surfaces) for each in every]), surfaces)

    def __len__(self) -> int:
        return len(self.positions)

    def rows_of(self, chosen: Sequence[Structure]) -> NDArray[np.int64]:
        """The rows of some of the structures, in their order."""
        return np.concatenate([np.arange(len(self))[self.rows[each.name]] for each in chosen])


def surface_kernel(
    vertices: NDArray[np.floating[Any]],
    faces: NDArray[np.integer[Any]],
    units: NDArray[np.integer[Any]],
    fwhm: float,
    *,
    epsilon: float = 0.01,
    n_jobs: int = 1,
) -> sparse.csr_array:
    """How the ends of streamlines on a surface are shared out among its vertices.

    An end at vertex j gives ``exp(-d² / 2σ²) / Σ`` to vertex i, where d is the length of the shortest path along the
    whole mesh (it may cross the medial wall, as in the paper's package) and σ = FWHM / √(8 ln 2); nothing where the
    exponential is below ε. Mansour et al. 2022, NeuroImage 250:118930, equations 2 and 3.

    The sum Σ goes over the receivers i, so each *column* adds up to 1: an end is shared out, and ``K A Kᵀ`` has as many
    streamlines as A. The package does the same, though its documentation speaks of rows.

    Parameters
    ----------
    vertices : (n_vertices, 3) array
        Of the midthickness surface, mm.
    faces : (n_faces, 3) integers
    units : (n_units,) integers
        The vertices that receive, usually all but the medial wall.
    fwhm : float
        mm; 0 for no smoothing.
    epsilon : float
        Between 0 and 1.
    n_jobs : int

    Returns
    -------
    (n_units, n_units) scipy.sparse.csr_array

    Raises
    ------
    InputError
        If fwhm or epsilon is not possible, or the mesh is none.
    """
    _check(fwhm, epsilon)
    if fwhm == 0:
        return _identity(len(units))
    # Paths start and end at units but run over the whole mesh, so the other vertices are left out only afterwards.
    within = geodesic_within(vertices, faces, _reach(fwhm, epsilon), sources=units, n_jobs=n_jobs)
    return _shared_out(within.tocsc()[:, units], fwhm)


def volume_kernel(positions: NDArray[np.floating[Any]], fwhm: float, *, epsilon: float = 0.01) -> sparse.csr_array:
    """How the ends of streamlines in a volume are shared out among its voxels.

    As `surface_kernel`, with straight distances. They run across the borders of structures, and from one hemisphere to
    the other, as in the package: of an end in the thalamus, 7 % go to the structures around it with 6 mm FWHM. Surface
    and volume do not exchange anything (its `independent` smoothing).

    Parameters
    ----------
    positions : (n_voxels, 3) array
        mm.
    fwhm, epsilon
        As for `surface_kernel`.

    Returns
    -------
    (n_voxels, n_voxels) scipy.sparse.csr_array
        Each column adds up to 1.

    Raises
    ------
    InputError
        If fwhm or epsilon is not possible.
    """
    from scipy.spatial import cKDTree

    _check(fwhm, epsilon)
    if fwhm == 0:
        return _identity(len(positions))
    tree: Any = cKDTree(positions)
    one, other = tree.query_pairs(_reach(fwhm, epsilon), output_type="ndarray").astype(np.int32).T
    distances = np.linalg.norm(positions[one] - positions[other], axis=1)
    pairs = np.concatenate([one, other]), np.concatenate([other, one])
    # built as CSR at once: no two entries of a pair fall on the same place
    within = sparse.coo_array((np.tile(distances, 2), pairs), shape=(len(positions),) * 2)
    return _shared_out(within.tocsr(), fwhm)


def kernel_of(
    chosen: Sequence[Structure],
    grayordinates: Grayordinates,
    fwhm: float,
    *,
    epsilon: float = 0.01,
    n_jobs: int = 1,
) -> sparse.csr_array:
    """What the grayordinates of some structures receive from all grayordinates.

    Parameters
    ----------
    chosen : sequence of Structure
    grayordinates : Grayordinates
        The chosen structures among them.
    fwhm, epsilon, n_jobs
        As for `surface_kernel`.

    Returns
    -------
    (n_chosen, n_grayordinates) scipy.sparse.csr_array
        The rows of K that belong to the chosen structures.

    Raises
    ------
    InputError
        As for `surface_kernel`.
    """
    _check(fwhm, epsilon)
    if fwhm == 0:
        return sparse.csr_array(_identity(len(grayordinates))[grayordinates.rows_of(chosen)])
    parts: list[sparse.csr_array] = []
    for structure in chosen:
        if structure.vertices is None:
            continue
        vertices, faces = grayordinates.surfaces[structure.name]
        kernel = surface_kernel(vertices, faces, structure.vertices, fwhm, epsilon=epsilon, n_jobs=n_jobs)
        parts.append(_placed(kernel, grayordinates.rows_of([structure]), len(grayordinates)))
    in_volume = [each for each in grayordinates.structures if each.vertices is None]
    if any(each.vertices is None for each in chosen):
        columns = grayordinates.rows_of(in_volume)
        whole = volume_kernel(grayordinates.positions[columns], fwhm, epsilon=epsilon)
        number = np.full(len(grayordinates), -1)
        number[columns] = np.arange(len(columns))
        rows = number[grayordinates.rows_of([each for each in chosen if each.vertices is None])]
        parts.append(_placed(whole[rows], columns, len(grayordinates)))
    stacked = sparse.csr_array(sparse.vstack(parts, format="csr"))
    return sparse.csr_array(stacked[_order(chosen)])


def smoothed(
    connectome: sparse.csr_array, targets: sparse.csr_array, sources: sparse.csr_array, *, n_jobs: int = 1
) -> NDArray[np.float32]:
    """A block of ``K A Kᵀ``, without the rest of it.

    Parameters
    ----------
    connectome : (n_grayordinates, n_grayordinates) scipy.sparse.csr_array
        A: streamlines between grayordinates.
    targets, sources : (n_targets, n_grayordinates) and (n_sources, n_grayordinates) scipy.sparse.csr_array
        The rows of K for the block's rows and columns, from `kernel_of`.
    n_jobs : int

    Returns
    -------
    (n_targets, n_sources) array of float32
    """
    reached = np.flatnonzero(np.bincount(sources.indices, minlength=sources.shape[1]))
    right = sparse.csr_array(sources[:, reached])
    from_sources = sparse.csr_array(connectome[:, reached])
    # Only what is in the connectome at all need be multiplied: of a template, that is little.
    filled = np.flatnonzero(np.diff(from_sources.indptr))
    from_sources, left = sparse.csr_array(from_sources[filled]), sparse.csr_array(targets[:, filled])
    block = np.zeros((targets.shape[0], sources.shape[0]), dtype=np.float32)

    def task(rows: slice) -> None:
        ends = sparse.csr_array(left[rows] @ from_sources)
        some = np.flatnonzero(np.diff(ends.indptr))
        # A sparse matrix times a dense one is quick if the dense one's rows are contiguous.
        dense = np.ascontiguousarray(ends[some].toarray().T)
        block[rows][some] = (right @ dense).T

    for _ in in_threads(task, blocks(len(block), _BLOCK), n_threads(n_jobs), "connectome smoothing"):
        pass
    return block


def check_length(option: str, value: object, *, zero_allowed: bool) -> None:
    """Refuse what is not a number of mm.

    Raises
    ------
    InputError
    """
    number = float(value) if isinstance(value, int | float | np.number) and not isinstance(value, bool) else np.nan
    if not (np.isfinite(number) and (number > 0 or (zero_allowed and number == 0))):
        kind = "number of mm, 0 for none" if zero_allowed else "positive number of mm"
        raise InputError(f"{option} is {value!r}; it must be a {kind}")


def _check(fwhm: float, epsilon: float) -> None:
    check_length("fwhm", fwhm, zero_allowed=True)
    if not 0 < epsilon < 1:
        raise InputError(
            f"epsilon is {epsilon!r}; it must lie between 0 and 1: the share of its peak at which the kernel ends"
        )


def _reach(fwhm: float, epsilon: float) -> float:
    """The distance, mm, at which the Gaussian falls to epsilon of its peak."""
    return float(fwhm / _FWHM_PER_SD * np.sqrt(-2 * np.log(epsilon)))


def _shared_out(within: Any, fwhm: float) -> sparse.csr_array:
    """Weights of distances, 1 for each unit itself, divided by the sum of their column."""
    kernel = within.copy()
    kernel.data = np.exp(-(kernel.data.astype(np.float64) ** 2) / (2 * (fwhm / _FWHM_PER_SD) ** 2))
    kernel = kernel + _identity(kernel.shape[0])
    return sparse.csr_array(kernel @ sparse.diags_array(1 / np.asarray(kernel.sum(axis=0)).ravel()))


def _identity(n: int) -> sparse.csr_array:
    return sparse.csr_array(sparse.eye_array(n, format="csr"))


def _placed(kernel: Any, columns: NDArray[np.int64], n: int) -> sparse.csr_array:
    """The same matrix, its columns at their places among n."""
    rows = sparse.csr_array(kernel)
    placed = sparse.csr_array((rows.data, columns[rows.indices], rows.indptr), shape=(rows.shape[0], n))
    placed.sort_indices()
    return placed


def _order(chosen: Sequence[Structure]) -> NDArray[np.int64]:
    """Where the grayordinates of the chosen structures are, if those on surfaces were put first."""
    sizes = [len(each) for each in chosen]
    of_volume = np.repeat([each.vertices is None for each in chosen], sizes)
    return np.argsort(np.argsort(of_volume, kind="stable"), kind="stable")


def _positions(structure: Structure, surfaces: Mapping[str, Mesh]) -> NDArray[np.float64]:
    if structure.vertices is None:
        assert structure.positions is not None  # voxels without a place are refused when they are read
        return structure.positions
    if structure.name not in surfaces:
        raise InputError(
            f"there is no surface for {structure.name}: where its vertices lie must be known "
            f"(surfaces are given for {listed(surfaces) or 'none'})"
        )
    vertices = np.asarray(surfaces[structure.name][0], dtype=np.float64)
    if len(vertices) != structure.n_vertices:
        raise InputError(
            f"the surface of {structure.name} has {len(vertices):,} vertices, but its grayordinates are those of a "
            f"mesh of {structure.n_vertices:,}: take the surface of the same mesh (32,492 vertices: fsLR-32k)"
        )
    return vertices[structure.vertices]
