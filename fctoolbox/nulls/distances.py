"""How far apart the units are: straight through space, along a mesh, or on a sphere."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse
from scipy.spatial.distance import cdist

from fctoolbox.errors import InputError, check_whole, listed
from fctoolbox.system import Floats, Geometry, Surface, check_finite, check_symmetric
from fctoolbox.threads import blocks, in_threads, n_threads

# Paths may leave the edges for straight lines across up to so many of them: on the fsLR 32k midthickness surfaces paths
# are then 0.4 % longer than exact ones on average (at most 3.6 %); along the edges alone 12 % (at most 53 %), and the
# heat method errs by +1 % ± 2 %, near its source by as much as -29 %.
_CROSSED = 5
_BLOCK = 64  # vertices
_UNEVEN = 0.05  # how much the distances from a sphere's centre may differ, of the largest


def euclidean_distances(positions: Floats) -> NDArray[np.float64]:
    """Straight-line distance between every two units.

    Parameters
    ----------
    positions : (n_units, 3) array
        mm.

    Returns
    -------
    (n_units, n_units) array
        mm.
    """
    positions = np.asarray(positions, dtype=np.float64)
    return np.asarray(cdist(positions, positions))


def distances_of(geometry: Geometry | None, system_name: str) -> Floats:
    """The distances that a geometry gives, or those between its positions.

    Raises
    ------
    InputError
        If it has neither.
    """
    if geometry is not None and geometry.distances is not None:
        return geometry.distances
    if geometry is not None and geometry.positions is not None:
        return euclidean_distances(geometry.positions)
    raise InputError(
        f"a spatial null needs to know where the units are, and {system_name!r} has neither positions nor distances; "
        "add them (--positions FILE or --distances FILE), or use the null 'permutation'"
    )


def great_circle_distances(sphere: ArrayLike) -> NDArray[np.float64]:
    """Distance on the sphere between every two units, ``2 r arcsin(chord / 2 r)``.

    Parameters
    ----------
    sphere : (n_units, 3) array
        Positions on one sphere around the origin, of one hemisphere.

    Returns
    -------
    (n_units, n_units) array
        In the units of the sphere.

    Raises
    ------
    InputError
        If the positions do not lie on such a sphere.
    """
    directions = directions_on_sphere(sphere)
    radius = float(np.linalg.norm(np.asarray(sphere, dtype=np.float64), axis=1).mean())
    return np.asarray(2 * radius * np.arcsin(np.minimum(cdist(directions, directions) / 2, 1)))


def directions_on_sphere(sphere: ArrayLike) -> NDArray[np.float64]:
    """Positions on a sphere around the origin, brought to a radius of 1.

    Parameters
    ----------
    sphere : (n, 3) array

    Returns
    -------
    (n, 3) array

    Raises
    ------
    InputError
        If the shape is another, a value is not finite, or the radii differ by more than 5 %.
    """
    positions = np.asarray(sphere, dtype=np.float64)
    if positions.ndim != 2 or positions.shape[1] != 3 or not len(positions):
        raise InputError(f"the positions on the sphere have shape {positions.shape}; they need (n_units, 3)")
    check_finite(positions, "the sphere")
    radii = np.linalg.norm(positions, axis=1)
    if radii.min() < (1 - _UNEVEN) * radii.max() or radii.max() == 0:
        raise InputError(
            f"these positions are {radii.min():g} to {radii.max():g} away from the origin, so they do not lie on a "
            "sphere around it; give the spherical surface, not the folded one (for parcels: sphere_positions)"
        )
    return np.ascontiguousarray(positions / radii[:, None])


def check_distances(distances: ArrayLike, n_units: int | None = None) -> Floats:
    """A matrix of distances, when it is one.

    Parameters
    ----------
    distances : array
    n_units : int, optional
        How many units there are.

    Returns
    -------
    (n_units, n_units) array
        The same, as floating-point numbers.

    Raises
    ------
    InputError
        If it is not square, of another number of units, not finite (which says into which pieces infinities part the
        units), negative somewhere, not zero on the diagonal or not symmetric.
    """
    matrix = np.asarray(distances)
    if matrix.dtype.kind not in "fiu":
        raise InputError(f"distances hold {matrix.dtype.name} values; they need real numbers")
    matrix = matrix if matrix.dtype.kind == "f" else matrix.astype(np.float64)
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or not matrix.size:
        raise InputError(f"distances have shape {matrix.shape}, but they must be square (n_units, n_units)")
    if n_units is not None and len(matrix) != n_units:
        raise InputError(f"distances have shape {matrix.shape}, but there are {n_units} units")
    if np.isposinf(matrix).any() and not np.isnan(matrix).any():
        raise InputError(f"some distances are infinite: {_in_pieces(sparse.csr_array(np.isfinite(matrix)), 'unit')}")
    check_finite(matrix, "distances")
    if (least := float(matrix.min())) < 0:
        raise InputError(f"distances fall to {least:g}; they must be 0 or more")
    if len(own := np.flatnonzero(np.diagonal(matrix))):
        raise InputError(
            f"the distance of unit {own[0]} (counted from 0) from itself is {matrix[own[0], own[0]]:g}; the diagonal "
            "of distances must be 0"
        )
    check_symmetric(matrix, "distances")
    return matrix


def nearest_euclidean(
    positions: ArrayLike, k: int, *, n_jobs: int = 1
) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    """The k units nearest to each, straight through space.

    Parameters
    ----------
    positions : (n_units, 3) array
        mm.
    k : int
        How many, the unit itself included.
    n_jobs : int
        Threads.

    Returns
    -------
    distances : (n_units, k) array
        mm, ascending along each row; the first is 0.
    index : (n_units, k) integers
        Which unit each of them belongs to; the first is the unit itself.

    Raises
    ------
    InputError
        If there are fewer than k units, or a position is not finite.
    """
    from scipy.spatial import cKDTree

    points = np.asarray(positions, dtype=np.float64)
    if points.ndim != 2 or not len(points):
        raise InputError(f"positions have shape {points.shape}; they need (n_units, 3)")
    check_finite(points, "positions")
    _check_k(k, len(points))
    distances, index = cKDTree(points).query(points, k=np.arange(1, k + 1), workers=n_threads(n_jobs))
    itself = np.arange(len(points))
    for i in np.flatnonzero(index[:, 0] != itself):  # of units at one place, any may come first
        index[i, index[i] == i] = index[i, 0]
        index[i, 0] = i
    return distances.astype(np.float32), index.astype(np.int32)


def geodesic_distances(
    vertices: ArrayLike,
    faces: ArrayLike,
    *,
    sources: ArrayLike | None = None,
    mask: ArrayLike | None = None,
    exact: bool = False,
    n_jobs: int = 1,
) -> NDArray[np.float32]:
    """Lengths of the shortest paths along a mesh.

    Paths run along edges and along straight lines across up to five of them, from vertex to vertex. Each is a path
    on the mesh, so it is never shorter than the shortest; on the fsLR 32k midthickness surfaces it is 0.4 % longer on
    average and 3.6 % at most (from 16 vertices to all, against ``exact=True``). All of 29,696 vertices fill 3.5 GB: see
    `nearest_geodesic`, `geodesic_within` and `parcel_distances`.

    Parameters
    ----------
    vertices : (n_vertices, 3) array
        mm.
    faces : (n_faces, 3) integers
    sources : (n_sources,) integers, optional
        Vertices that the paths start from, counted among all of them; every kept vertex when left out.
    mask : (n_vertices,) booleans, optional
        False for vertices that no path may touch: the medial wall, or the other hemisphere.
    exact : bool
        The exact algorithm of Mitchell, Mount & Papadimitriou from the library pygeodesic, without that excess; it
        takes seconds for each source.
    n_jobs : int
        Threads; not used by ``exact``.

    Returns
    -------
    (n_sources, n_kept) array
        mm. The columns are the vertices that the mask keeps, in their order; all of them without a mask.

    Raises
    ------
    InputError
        If the mesh falls into pieces (which, and what to do), an index is outside, or pygeodesic is not installed.

    References
    ----------
    Mitchell, Mount & Papadimitriou 1987, SIAM J Comput 16:647.
    """
    mesh = _Mesh(vertices, faces, mask)
    starts = mesh.numbers_of(sources)
    mesh.check_one_piece(np.arange(mesh.n_kept))
    distances = np.empty((len(starts), mesh.n_kept), dtype=np.float32)
    for rows, block in mesh.distances_from(starts, exact=exact, n_jobs=n_jobs):
        distances[rows] = block
    return distances


def geodesic_within(
    vertices: ArrayLike,
    faces: ArrayLike,
    limit: float,
    *,
    sources: ArrayLike | None = None,
    mask: ArrayLike | None = None,
    n_jobs: int = 1,
) -> sparse.csr_array:
    """Lengths of the shortest paths along a mesh that are no longer than a limit; see `geodesic_distances`.

    Parameters
    ----------
    vertices, faces, sources, mask, n_jobs
        As for `geodesic_distances`. The mesh may fall into pieces: there is no path from one to another.
    limit : float
        mm.

    Returns
    -------
    (n_sources, n_kept) scipy.sparse.csr_array of float32
        mm. What is not in it is farther than `limit`, or the source itself.

    Raises
    ------
    InputError
        As `geodesic_distances`, and if the limit is not a positive number.
    """
    from fctoolbox.nulls._distances import paths_within

    if not (np.isfinite(limit) and limit > 0):
        raise InputError(f"limit is {limit}; it must be a positive number of mm")
    mesh = _Mesh(vertices, faces, mask)
    starts = mesh.numbers_of(sources)

    def task(rows: slice) -> Any:
        return paths_within(*mesh.graph, starts[rows], float(limit))

    found = list(in_threads(task, blocks(len(starts), _BLOCK), n_threads(n_jobs), "geodesic distances"))
    counts, index, lengths = (np.concatenate(each) for each in zip(*found, strict=True))
    every = sparse.csr_array((lengths, index, np.append(0, np.cumsum(counts))), shape=(len(starts), mesh.n_kept))
    kept = every.indices != np.repeat(starts, counts)
    own = np.append(0, np.cumsum(kept))[every.indptr]
    within = sparse.csr_array((every.data[kept], every.indices[kept], own), shape=every.shape)
    within.sort_indices()
    return within


def nearest_geodesic(
    vertices: ArrayLike, faces: ArrayLike, k: int, *, mask: ArrayLike | None = None, n_jobs: int = 1
) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    """The k vertices nearest to each along a mesh; see `geodesic_distances`.

    Parameters
    ----------
    vertices, faces, mask, n_jobs
        As for `geodesic_distances`. The mesh may fall into pieces of at least k vertices, two hemispheres for instance:
        neighbours are looked for in a vertex's own.
    k : int
        How many, the vertex itself included.

    Returns
    -------
    distances : (n_kept, k) array
        mm, ascending along each row; the first is 0.
    index : (n_kept, k) integers
        Which of the kept vertices each of them belongs to; the first is the vertex itself.

    Raises
    ------
    InputError
        As `geodesic_distances`, and if a piece of the mesh has fewer than k vertices.
    """
    from fctoolbox.nulls._distances import paths_to_nearest

    mesh = _Mesh(vertices, faces, mask)
    _check_k(k, mesh.n_kept)
    mesh.check_pieces_of(k)
    starts = np.arange(mesh.n_kept)
    distances = np.empty((mesh.n_kept, k), dtype=np.float32)
    index = np.empty((mesh.n_kept, k), dtype=np.int32)

    def task(rows: slice) -> None:
        paths_to_nearest(*mesh.graph, starts[rows], distances[rows], index[rows])

    for _ in in_threads(task, blocks(mesh.n_kept, _BLOCK), n_threads(n_jobs), "geodesic distances"):
        pass
    return distances, index


def parcel_distances(
    surface: Surface,
    n_units: int,
    *,
    n_sources: int | None = None,
    mask: ArrayLike | None = None,
    exact: bool = False,
    n_jobs: int = 1,
) -> NDArray[np.float64]:
    """Mean length of the shortest paths from the vertices of one parcel to those of another.

    Parameters
    ----------
    surface : Surface
        Vertices that belong to no unit may be crossed, but do not count.
    n_units : int
    n_sources : int, optional
        Paths start from no more than so many vertices of each parcel, spread evenly over their numbers; from all of
        them when left out. They end at all vertices, and the two directions are averaged.
    mask, exact, n_jobs
        As for `geodesic_distances`.

    Returns
    -------
    (n_units, n_units) array
        mm; symmetric. The diagonal is zero, as that of any distances (not the mean distance within a parcel).

    Raises
    ------
    InputError
        As `geodesic_distances`, and if a unit has no vertex, or one that the mask leaves out.
    """
    mesh = _Mesh(surface.vertices, surface.faces, mask)
    inside, unit_of_vertex = members(surface, n_units)
    numbers = mesh.numbers_of(np.flatnonzero(inside))
    mesh.check_one_piece(numbers)
    sizes = np.bincount(unit_of_vertex, minlength=n_units)
    mean_of = sparse.csr_array((1 / sizes[unit_of_vertex], (numbers, unit_of_vertex)), shape=(mesh.n_kept, n_units))
    chosen = np.arange(len(numbers))
    if n_sources is not None:
        check_whole("n_sources", n_sources, 1)
        by_unit = np.split(np.argsort(unit_of_vertex, kind="stable"), np.cumsum(sizes)[:-1])
        some = [each[np.unique(np.linspace(0, len(each) - 1, n_sources).round().astype(int))] for each in by_unit]
        chosen = np.concatenate(some)
    origin = unit_of_vertex[chosen]
    sums = np.zeros((n_units, n_units))
    for rows, block in mesh.distances_from(numbers[chosen], exact=exact, n_jobs=n_jobs):
        np.add.at(sums, origin[rows], np.where(np.isfinite(block), block, 0) @ mean_of)
    means = sums / np.bincount(origin, minlength=n_units)[:, None]
    means = (means + means.T) / 2
    np.fill_diagonal(means, 0)
    return np.asarray(means)


def members(surface: Surface, n_units: int) -> tuple[NDArray[np.bool_], NDArray[np.intp]]:
    """Which vertices belong to a unit, and to which.

    Parameters
    ----------
    surface : Surface
    n_units : int

    Returns
    -------
    inside : (n_vertices,) booleans
    unit_of_vertex : (n_inside,) integers

    Raises
    ------
    InputError
        If a unit has no vertex, or the surface names one that is not there.
    """
    inside = np.asarray(surface.unit_of_vertex >= 0)
    unit_of_vertex = surface.unit_of_vertex[inside].astype(np.intp)
    if len(unit_of_vertex) and unit_of_vertex.max() >= n_units:
        raise InputError(f"the surface names unit {unit_of_vertex.max()}, but units are 0 … {n_units - 1}")
    empty = np.flatnonzero(np.bincount(unit_of_vertex, minlength=n_units) == 0)
    if len(empty):
        raise InputError(f"no vertex of the surface belongs to units {listed(empty)} (counted from 0)")
    return inside, unit_of_vertex


class _Mesh:
    """The kept vertices of a mesh, and the graph that paths run along."""

    def __init__(self, vertices: ArrayLike, faces: ArrayLike, mask: ArrayLike | None) -> None:
        every = np.asarray(vertices, dtype=np.float64)
        triangles = np.asarray(faces)
        if every.ndim != 2 or triangles.ndim != 2 or every.shape[1] != 3 or triangles.shape[1] != 3:
            raise InputError(f"vertices {every.shape} and faces {triangles.shape} must both have 3 columns")
        if triangles.dtype.kind not in "iu":
            raise InputError(f"faces hold {triangles.dtype.name} values; they need integers, rows of vertices")
        check_finite(every, "vertices")
        if triangles.size and (triangles.min() < 0 or triangles.max() >= len(every)):
            raise InputError(f"faces name vertices outside 0 … {len(every) - 1}; do they count from 1?")
        kept = np.ones(len(every), dtype=bool) if mask is None else np.asarray(mask)
        if kept.shape != (len(every),) or kept.dtype != bool:
            raise InputError(
                f"the mask has shape {kept.shape} and holds {kept.dtype.name}; it needs True or False for each of the "
                f"{len(every)} vertices"
            )
        if not kept.any():
            raise InputError("the mask keeps no vertex")
        self._kept = kept
        self._number = np.where(kept, np.cumsum(kept) - 1, -1)  # of each vertex among the kept ones
        self._vertices = np.ascontiguousarray(every[kept])
        renumbered = self._number[triangles.astype(np.int64)]
        whole = (renumbered >= 0).all(axis=1)
        self._faces = np.ascontiguousarray(renumbered[whole])
        self._graph = _paths(self._vertices, self._faces, _edges(renumbered))

    @property
    def n_kept(self) -> int:
        return len(self._vertices)

    @property
    def graph(self) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.float64]]:
        """Starts, neighbours and lengths, as in a CSR matrix."""
        return self._graph.indptr, self._graph.indices, self._graph.data

    def numbers_of(self, sources: ArrayLike | None) -> NDArray[np.int64]:
        """Where the sources stand among the kept vertices."""
        if sources is None:
            return np.arange(self.n_kept)
        index = np.asarray(sources)
        if index.ndim != 1 or index.dtype.kind not in "iu" or not index.size:
            raise InputError(
                f"sources have shape {index.shape} and hold {index.dtype.name}; they need (n_sources,) integers"
            )
        if index.min() < 0 or index.max() >= len(self._number):
            raise InputError(f"sources name vertices outside 0 … {len(self._number) - 1}")
        if len(lost := index[self._number[index] < 0]):
            raise InputError(f"the mask leaves out {listed(lost)}, but these vertices are needed")
        return np.asarray(self._number[index])

    def check_one_piece(self, needed: NDArray[np.int64]) -> None:
        """Refuse a mesh in which some of the needed vertices cannot be reached from others."""
        _, piece = sparse.csgraph.connected_components(self._graph, directed=False)
        if len(np.unique(piece[needed])) > 1:
            raise InputError(
                f"no path along the mesh joins all vertices: {_in_pieces(self._graph, 'vertex', self._kept)}. "
                "Keep one piece (one hemisphere) with a mask, or repair the mesh"
            )

    def check_pieces_of(self, k: int) -> None:
        """Refuse a mesh with a piece of fewer than k vertices."""
        _, piece = sparse.csgraph.connected_components(self._graph, directed=False)
        if np.bincount(piece).min() < k:
            raise InputError(
                f"{k} vertices are asked for near each vertex, but a piece of the mesh has fewer: "
                f"{_in_pieces(self._graph, 'vertex', self._kept)}. Leave small pieces out with a mask"
            )

    def distances_from(
        self, starts: NDArray[np.int64], *, exact: bool, n_jobs: int
    ) -> Iterator[tuple[slice, NDArray[np.floating[Any]]]]:
        """Some rows at a time: which, and their distances to all kept vertices (infinite in other pieces)."""
        from fctoolbox.nulls._distances import paths_to_all

        parts = blocks(len(starts), _BLOCK)

        def along_lines(rows: slice) -> NDArray[np.floating[Any]]:
            distances = np.full((len(starts[rows]), self.n_kept), np.inf)
            paths_to_all(*self.graph, starts[rows], distances)
            return distances

        task = _exact_task(self._vertices, self._faces, starts) if exact else along_lines
        found = in_threads(task, parts, 1 if exact else n_threads(n_jobs), "geodesic distances")
        yield from zip(parts, found, strict=True)


def _exact_task(
    vertices: NDArray[np.float64], faces: NDArray[np.int64], starts: NDArray[np.int64]
) -> Callable[[slice], NDArray[np.floating[Any]]]:
    try:
        from pygeodesic.geodesic import PyGeodesicAlgorithmExact
    except ImportError as error:
        raise InputError(
            "exact geodesic distances use pygeodesic (MIT), which is not installed: pip install 'fctoolbox[geodesic]'; "
            "or leave exact=True out"
        ) from error
    search = PyGeodesicAlgorithmExact(vertices, faces.astype(np.int32))

    def task(rows: slice) -> NDArray[np.floating[Any]]:
        return np.stack([search.geodesicDistances(np.array([start]), None)[0] for start in starts[rows]])

    return task


def _edges(faces: NDArray[np.int64]) -> NDArray[np.int64]:
    """The edges of faces, (n, 2), as far as both of their ends are kept (not -1)."""
    edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    return np.asarray(edges[(edges >= 0).all(axis=1)])


def _paths(
    vertices: NDArray[np.float64], faces: NDArray[np.int64], edges: NDArray[np.int64], crossed: int = _CROSSED
) -> sparse.csr_array:
    """Edges, and straight lines across up to `crossed` edges, with their lengths, mm."""
    from fctoolbox.nulls._distances import straight_lines

    one, other = edges.T
    lengths = np.linalg.norm(vertices[one] - vertices[other], axis=1)
    across = _across(faces)
    room, count = 64 * len(vertices), -1
    while not 0 <= count <= room:
        room = max(room, count)
        rows, columns, reach = np.empty(room, np.int32), np.empty(room, np.int32), np.empty(room)
        count = straight_lines(vertices, faces, across, crossed, rows, columns, reach) if crossed else 0
    one, other = np.concatenate([one, rows[:count]]), np.concatenate([other, columns[:count]])
    lengths = np.concatenate([lengths, reach[:count]])
    return _shortest(np.concatenate([one, other]), np.concatenate([other, one]), np.tile(lengths, 2), len(vertices))


def _shortest(
    rows: NDArray[np.integer[Any]], columns: NDArray[np.integer[Any]], lengths: NDArray[np.float64], n: int
) -> sparse.csr_array:
    """The shortest link between each two vertices."""
    order = np.lexsort((lengths, rows.astype(np.int64) * n + columns))
    rows, columns, lengths = rows[order], columns[order], lengths[order]
    first = np.append(True, (rows[1:] != rows[:-1]) | (columns[1:] != columns[:-1]))[: len(rows)]
    starts = np.searchsorted(rows[first], np.arange(n + 1)).astype(np.int32)
    return sparse.csr_array((lengths[first], columns[first].astype(np.int32), starts), shape=(n, n))


def _across(faces: NDArray[np.int64]) -> NDArray[np.int64]:
    """For each corner of each face: 3 times the face behind the opposite edge, plus that face's far corner; or -1."""
    edges = np.sort(faces[:, [[1, 2], [2, 0], [0, 1]]], axis=2).reshape(-1, 2)
    across = np.full(len(edges), -1)
    if not len(edges):
        return across.reshape(-1, 3)
    order = np.lexsort(edges.T)
    same = (edges[order[1:]] == edges[order[:-1]]).all(axis=1)
    # The edges with just two faces: lines cross no others.
    twin = same & ~np.append(same[1:], False) & ~np.append(False, same[:-1])
    one, other = order[:-1][twin], order[1:][twin]
    across[one], across[other] = other, one
    return across.reshape(-1, 3)


def _in_pieces(graph: sparse.csr_array, what: str, kept: NDArray[np.bool_] | None = None) -> str:
    """How many pieces a graph falls into, the largest first."""
    n_pieces, piece = sparse.csgraph.connected_components(graph, directed=False)
    sizes = np.bincount(piece)
    _, first = np.unique(piece, return_index=True)
    first = first if kept is None else np.flatnonzero(kept)[first]
    largest = np.argsort(-sizes, kind="stable")
    pieces = listed(f"{sizes[p]:,} (the first is {what} {first[p]})" for p in largest)
    return f"there are {n_pieces} pieces, of {pieces}, counted from 0"


def _check_k(k: int, n: int) -> None:
    check_whole("k", k, 1)
    if k > n:
        raise InputError(f"k is {k}, but there are {n} to choose from, each itself included")
