"""Which units are neighbours: what contiguity means on a mesh, in a volume and among scattered areas."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse

from fctoolbox.errors import InputError, check_whole, listed
from fctoolbox.system import Floats, Geometry, Integers, LabelVolume, Surface, check_finite, check_symmetric

N_NEAREST = 6  # the mean number of neighbours in a triangulated plane
_SMALLEST = 1e-6  # mm; an entry of 0 would mean no edge
_FRAGMENT = 0.1  # of the largest piece of a mesh: below this it is no hemisphere

# The nearest of some units (sorted indices) to others, as (from, to, distance in mm).
_Nearest = Callable[[NDArray[np.intp], NDArray[np.intp]], tuple[int, int, float]]


def neighbours_of(
    geometry: Geometry | None, n_units: int, name: str, *, hemispheres: Sequence[str] | None = None
) -> sparse.csr_array:
    """The neighbour graph that a geometry gives: of its surface, else its volume, else the nearest units.

    The surface or volume is used if it holds every unit. Pieces of the graph that touch nothing are linked, each to
    the unit nearest to it, until one piece is left in each hemisphere (see `mesh_graph`, `voxel_graph` and
    `nearest_graph`).

    Parameters
    ----------
    geometry : Geometry or None
    n_units : int
    name : str
        Of the system, for the error message.
    hemispheres : (n_units,) str, optional
        Pieces are never linked across them. A mesh knows its own.

    Returns
    -------
    (n_units, n_units) csr_array
        Symmetric, with an empty diagonal; entries are distances in mm between neighbours.

    Raises
    ------
    InputError
        If there is nothing to tell neighbours by.
    """
    if geometry is not None and geometry.surface is not None and _holds_all(geometry.surface.unit_of_vertex, n_units):
        return mesh_graph(geometry.surface, n_units, hemispheres=hemispheres)
    if geometry is not None and geometry.volume is not None and _holds_all(geometry.volume.unit_of_voxel, n_units):
        return voxel_graph(geometry.volume, n_units, hemispheres=hemispheres)
    if geometry is not None and geometry.distances is not None:
        return nearest_graph(geometry.distances, hemispheres=hemispheres)
    if geometry is not None and geometry.positions is not None:
        return nearest_graph_of_positions(geometry.positions, hemispheres=hemispheres)
    raise InputError(
        f"contiguity needs to know which units are neighbours, and {name!r} has no positions or distances, and no "
        "surface or volume that holds all its units; add them (--positions FILE or --distances FILE), or use the "
        "null 'permutation'"
    )


def mesh_graph(surface: Surface, n_units: int, *, hemispheres: Sequence[str] | None = None) -> sparse.csr_array:
    """Units joined by an edge of a mesh: vertices, or parcels of vertices.

    Separate meshes (two hemispheres) stay separate pieces of the graph. Within one, units that nothing joins because
    the vertices between them belong to no unit are linked over the shortest distance. Without `hemispheres` here or
    in the surface, the connected pieces of the mesh with at least a tenth of the vertices of the largest are taken
    for separate.

    Parameters
    ----------
    surface : Surface
    n_units : int
    hemispheres : (n_units,) str, optional

    Returns
    -------
    (n_units, n_units) csr_array
        Symmetric, with an empty diagonal; entries are straight distances in mm between the units' centres (the mean
        of their vertices).

    Raises
    ------
    InputError
        If a unit has no vertex.
    """
    unit_of_vertex = np.asarray(surface.unit_of_vertex, dtype=np.intp)
    centres = _centres(np.asarray(surface.vertices, dtype=np.float64), unit_of_vertex, n_units, "vertex")
    edges = np.concatenate([surface.faces[:, [0, 1]], surface.faces[:, [1, 2]], surface.faces[:, [2, 0]]])
    joined = _joined(unit_of_vertex[edges[:, 0]], unit_of_vertex[edges[:, 1]], centres)
    if hemispheres is not None:
        groups = _groups(hemispheres, n_units)
    elif surface.hemispheres is not None:
        groups = _of_first(np.unique(surface.hemispheres, return_inverse=True)[1], unit_of_vertex, n_units)
    else:
        groups = _of_first(_meshes(edges, unit_of_vertex), unit_of_vertex, n_units)
    return _linked(joined, _nearest_of(centres), groups)


def voxel_graph(volume: LabelVolume, n_units: int, *, hemispheres: Sequence[str] | None = None) -> sparse.csr_array:
    """Units whose voxels share a face: single voxels, or regions of voxels.

    Units that nothing joins (an island, or a region whose neighbours are no units) are linked over the shortest
    distance between centres, though never across `hemispheres` where these are given.

    Parameters
    ----------
    volume : LabelVolume
    n_units : int
    hemispheres : (n_units,) str, optional

    Returns
    -------
    (n_units, n_units) csr_array
        Symmetric, with an empty diagonal; entries are straight distances in mm between the units' centres.

    Raises
    ------
    InputError
        If a unit has no voxel.
    """
    grid = np.asarray(volume.unit_of_voxel, dtype=np.intp)
    voxels = np.argwhere(grid >= 0)
    affine = np.asarray(volume.affine, dtype=np.float64)
    centres = _centres(voxels @ affine[:3, :3].T + affine[:3, 3], grid[tuple(voxels.T)], n_units, "voxel")
    pairs = [(np.moveaxis(grid, axis, 0)[:-1].ravel(), np.moveaxis(grid, axis, 0)[1:].ravel()) for axis in range(3)]
    one, other = (np.concatenate(side) for side in zip(*pairs, strict=True))
    return _linked(_joined(one, other, centres), _nearest_of(centres), _groups(hemispheres, n_units))


def nearest_graph(
    distances: Floats, k: int = N_NEAREST, *, hemispheres: Sequence[str] | None = None
) -> sparse.csr_array:
    """Each unit and its `k` nearest: neighbours are two units of which either is among the nearest of the other.

    If that leaves several pieces, each but the largest is linked to the unit nearest to it, until one is left (the
    links of a minimum spanning tree).

    Parameters
    ----------
    distances : (n_units, n_units) array
        mm; symmetric.
    k : int
        6 is the mean number of neighbours in a triangulated plane.
    hemispheres : (n_units,) str, optional
        Neighbours are of one hemisphere.

    Returns
    -------
    (n_units, n_units) csr_array
        Symmetric, with an empty diagonal; entries are distances in mm.

    Raises
    ------
    InputError
        If the distances are not square, symmetric, finite and at least 0, or `k` is no whole number from 1.
    """
    distances = np.asarray(distances)
    if distances.ndim != 2 or distances.shape[0] != distances.shape[1]:
        raise InputError(f"distances have shape {distances.shape}, but must be square (n_units, n_units)")
    check_finite(distances, "distances")
    check_symmetric(distances, "distances")
    if distances.min() < 0:
        raise InputError(f"distances must be at least 0, and one is {distances.min():g}")
    check_whole("k", k, 1)
    groups = _groups(hemispheres, len(distances))
    ends, lengths = [], []
    for group in range(groups.max() + 1):
        members = np.flatnonzero(groups == group)
        near = min(k, len(members) - 1)
        for unit in members if near else ():
            others = members[members != unit]
            nearest = others[np.argsort(distances[unit, others], kind="stable")[:near]]
            ends.append(np.stack([np.full(near, unit), nearest]))
            lengths.append(distances[unit, nearest])

    def nearest_of(some: NDArray[np.intp], others: NDArray[np.intp]) -> tuple[int, int, float]:
        between = distances[np.ix_(some, others)]
        i, j = np.unravel_index(np.argmin(between), between.shape)
        return int(some[i]), int(others[j]), float(between[i, j])

    return _linked(_graph(len(distances), ends, lengths), nearest_of, groups)


def nearest_graph_of_positions(
    positions: Floats, k: int = N_NEAREST, *, hemispheres: Sequence[str] | None = None
) -> sparse.csr_array:
    """`nearest_graph` of straight distances, which are never all formed.

    Parameters
    ----------
    positions : (n_units, n_dimensions) array
        mm.
    k : int
    hemispheres : (n_units,) str, optional

    Returns
    -------
    (n_units, n_units) csr_array

    Raises
    ------
    InputError
        If the positions are not finite numbers in two dimensions, or `k` is no whole number from 1.
    """
    from scipy.spatial import cKDTree

    points: NDArray[np.float64] = np.asarray(positions, dtype=np.float64)
    if points.ndim != 2:
        raise InputError(f"positions have shape {points.shape}; they need (n_units, n_dimensions)")
    check_finite(points, "positions")
    check_whole("k", k, 1)
    groups = _groups(hemispheres, len(points))
    ends, lengths = [], []
    for group in range(groups.max() + 1):
        members = np.flatnonzero(groups == group)
        near = min(k, len(members) - 1)
        if not near:
            continue
        # One more than asked for: a unit finds itself, though not always first if another lies at its place.
        length, found = cKDTree(points[members]).query(points[members], near + 1)
        own = found == np.arange(len(members))[:, None]
        own[~own.any(axis=1), -1] = True
        ends.append(np.stack([np.repeat(members, near), members[found[~own]]]))
        lengths.append(length[~own])
    return _linked(_graph(len(points), ends, lengths), _nearest_of(points), groups)


def pieces_of(graph: sparse.csr_array) -> NDArray[np.intp]:
    """The connected piece of a graph that each unit belongs to; (n_units,) integers from 0."""
    from scipy.sparse.csgraph import connected_components

    return np.asarray(connected_components(graph, directed=False)[1], dtype=np.intp)


def _holds_all(units: Integers, n_units: int) -> bool:
    return len(np.unique(units[units >= 0])) == n_units


def _centres(points: NDArray[np.float64], units: NDArray[np.intp], n_units: int, what: str) -> NDArray[np.float64]:
    """Mean of the points of each unit."""
    if units.size and units.max() >= n_units:
        raise InputError(f"a {what} belongs to unit {units.max()}, but units are 0 … {n_units - 1}")
    points, units = points[units >= 0], units[units >= 0]
    counts = np.bincount(units, minlength=n_units)
    if len(missing := np.flatnonzero(counts == 0)):
        raise InputError(f"units {listed(missing)} (counted from 0) have no {what}, so that nothing is next to them")
    sums = [np.bincount(units, weights=column, minlength=n_units) for column in points.T]
    return np.asarray(np.stack(sums, axis=1) / counts[:, None])


def _joined(one: NDArray[np.intp], other: NDArray[np.intp], centres: NDArray[np.float64]) -> sparse.csr_array:
    """The graph of units that appear side by side at least once."""
    between = (one != other) & (one >= 0) & (other >= 0)
    n_units = len(centres)
    low, high = np.minimum(one, other)[between], np.maximum(one, other)[between]
    ends = np.stack(np.divmod(np.unique(low * n_units + high), n_units))
    return _graph(n_units, [ends], [np.linalg.norm(centres[ends[0]] - centres[ends[1]], axis=1)])


def _graph(n_units: int, ends: list[NDArray[np.intp]], lengths: list[NDArray[np.float64]]) -> sparse.csr_array:
    """The symmetric graph with these edges, given in one direction or both."""
    shape = (n_units, n_units)
    if not ends:
        return sparse.csr_array(shape)
    one, other = np.concatenate(ends, axis=1)
    length = np.maximum(np.concatenate(lengths), _SMALLEST)
    edges = sparse.csr_array((length, (one, other)), shape=shape)
    edges = edges.maximum(edges.T).tocsr()
    edges.sort_indices()
    return edges


def _linked(graph: sparse.csr_array, nearest: _Nearest, groups: NDArray[np.intp]) -> sparse.csr_array:
    """The graph with the shortest links that leave one piece in each group."""
    n_units = graph.shape[0]
    while True:
        pieces = pieces_of(graph)
        # Pieces that reach over several groups join these into one.
        joint = pieces_of(
            sparse.csr_array(
                (np.ones(2 * n_units), (np.r_[pieces, groups + n_units], np.r_[groups + n_units, pieces])),
                shape=(2 * n_units, 2 * n_units),
            )
        )[pieces]
        ends, lengths = [], []
        for group in np.unique(joint):
            members = np.flatnonzero(joint == group)
            names, sizes = np.unique(pieces[members], return_counts=True)
            largest = names[np.argmax(sizes)]
            for piece in names[names != largest]:
                inside = pieces[members] == piece
                i, j, length = nearest(members[inside], members[~inside])
                ends.append(np.array([[i], [j]]))
                lengths.append(np.array([length]))
        if not ends:
            return graph
        graph = graph.maximum(_graph(n_units, ends, lengths)).tocsr()
        graph.sort_indices()


def _nearest_of(positions: NDArray[np.float64]) -> _Nearest:
    def nearest(some: NDArray[np.intp], others: NDArray[np.intp]) -> tuple[int, int, float]:
        from scipy.spatial import cKDTree

        lengths, found = cKDTree(positions[others]).query(positions[some])
        i = int(np.argmin(lengths))
        return int(some[i]), int(others[found[i]]), float(lengths[i])

    return nearest


def _groups(hemispheres: ArrayLike | None, n_units: int) -> NDArray[np.intp]:
    if hemispheres is None:
        return np.zeros(n_units, dtype=np.intp)
    names = np.asarray(hemispheres)
    if names.shape != (n_units,):
        raise InputError(f"hemispheres have shape {names.shape}, but there are {n_units} units")
    return np.asarray(np.unique(names, return_inverse=True)[1], dtype=np.intp)


def _of_first(group_of_vertex: NDArray[np.intp], unit_of_vertex: NDArray[np.intp], n_units: int) -> NDArray[np.intp]:
    """The group of each unit's first vertex."""
    units, first = np.unique(unit_of_vertex, return_index=True)
    groups = np.empty(n_units, dtype=np.intp)
    groups[units[units >= 0]] = group_of_vertex[first[units >= 0]]
    return groups


def _meshes(edges: Integers, unit_of_vertex: NDArray[np.intp]) -> NDArray[np.intp]:
    """The separate mesh that each vertex belongs to; what is too small to be one goes to the first."""
    n_vertices = len(unit_of_vertex)
    ones = np.ones(len(edges))
    pieces = pieces_of(sparse.csr_array((ones, (edges[:, 0], edges[:, 1])), shape=(n_vertices, n_vertices)))
    sizes = np.bincount(pieces)
    large = np.flatnonzero(sizes >= _FRAGMENT * sizes.max())
    number = np.zeros(len(sizes), dtype=np.intp)
    number[large] = np.arange(len(large))
    return np.asarray(number[pieces])
