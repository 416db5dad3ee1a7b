"""The null that keeps modules contiguous: pieces of the same sizes, grown again elsewhere."""

import itertools
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse

from fctoolbox.errors import InputError, check_whole, listed
from fctoolbox.nulls.graph import pieces_of
from fctoolbox.randomness import generator
from fctoolbox.system import SYMMETRY_TOLERANCE, Integers
from fctoolbox.threads import in_threads, n_threads

_CRUMB = 1 / 500  # of the units: smaller pieces are put in place as they are
_MOST_LARGE = 64
_MOST_CRUMBS = 0.2  # of the units
_GOOD = 0.03  # relative deviation in boundary (and pieces) with which a null is not grown anew
_PER_PIECE = 0.2  # what relative deviation in pieces counts, against one in boundary
_TELL = 0.05
_ROUGH = (0.1, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5)  # standard deviations of the log of the distances
_SPLITS = 8  # attempts to leave both parts contiguous
_WORK = 10  # times that the average unit is split off anew

Graph = tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.float64]]
Cells = tuple[int, NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]


def regrow(
    labels: ArrayLike,
    *,
    neighbours: sparse.csr_array,
    n_nulls: int,
    rng: int | np.random.Generator | None = None,
    n_jobs: int = 1,
) -> NDArray[Any]:
    """Random partitions whose modules have the sizes, pieces and boundary length of the given ones.

    The graph is split in two between two random seeds that grow against each other (units are ranked by how much
    nearer they are to the first, and cut where the sizes are right, which leaves both parts contiguous), and each part
    again, until there is one part for each contiguous piece of each module. Then pairs of adjacent parts are joined
    and split anew, as long as that brings the boundary nearer to the original's or parts two pieces of a module that
    touch; at last single units are exchanged between adjacent parts, none of which breaks up, until the boundary is
    as long as the original's. Distances are stretched at random for each null (by patches and by units, as in
    first-passage percolation), just so much that the boundary of partitions grows about as long as the original's.

    What is kept: the size of each module, always. The boundary length (the number of edges of the graph between
    modules, see `boundary_length`) and the number and sizes of the pieces (see `n_pieces`), as far as random places
    allow: of several attempts the one nearest to both is taken. Pieces below 1/500 of the units are not grown, but
    put as compact spots anywhere outside their own module; if they hold more than a fifth of the units, the smallest
    are added to the largest piece of their module. Separate pieces of the *graph* (two hemispheres) keep their own
    modules and sizes: modules never grow from one into the other, and one in which there is a single module
    stays as it is.

    Parameters
    ----------
    labels : (n_units,) array
        Module of each unit: numbers or names; which is called what changes nothing.
    neighbours : (n_units, n_units) sparse array
        Symmetric; entries are distances in mm between neighbours (see `fctoolbox.nulls.graph.neighbours_of`).
    n_nulls : int
    rng : int, Generator or None
    n_jobs : int
        Threads; the result does not depend on it.

    Returns
    -------
    (n_nulls, n_units) array
        Labels, each as often as in `labels`.

    Raises
    ------
    InputError
        If labels and graph disagree in size, the graph is not symmetric or holds units without neighbours, or there
        is nothing to regrow (one module in each piece of the graph).

    Warns
    -----
    UserWarning
        If the boundary of the median null differs from the original's by more than 5 %.

    References
    ----------
    DeFord, Duchin & Solomon 2021, Harvard Data Science Review 3(1) (joining and splitting adjacent parts of equal
    size); Hammersley & Welsh 1965 (first-passage percolation).
    """
    labels = np.asarray(labels)
    graph = _checked(labels, neighbours)
    check_whole("n_nulls", n_nulls, 1)
    threads = n_threads(n_jobs)
    names, module = np.unique(labels, return_inverse=True)
    if len(names) < 2:
        raise InputError("labels hold a single module, which leaves nothing to regrow: it is everywhere")
    task = _task(graph, module.astype(np.int64))
    pilots, *generators = generator(rng).spawn(n_nulls + 1)
    task.fit(pilots, threads)
    nulls = np.empty((n_nulls, len(labels)), dtype=labels.dtype)
    deviations = np.empty(n_nulls)
    at_once = max(1, 2000 // len(labels))

    def grow(part: range) -> None:
        for k in part:
            of_unit, deviations[k] = task.null(generators[k])
            nulls[k] = names[of_unit]

    parts = [range(start, min(start + at_once, n_nulls)) for start in range(0, n_nulls, at_once)]
    for _ in in_threads(grow, parts, threads, "regrow"):
        pass
    if (typical := float(np.median(deviations))) > _TELL:
        warnings.warn(
            f"the boundary of these modules could not be matched: the typical null's is {100 * typical:.0f} % "
            "longer or shorter (modules in very many small pieces, or the smoothest possible, have no peers)",
            stacklevel=2,
        )
    return nulls


def boundary_length(labels: ArrayLike, neighbours: sparse.csr_array) -> NDArray[np.intp]:
    """Number of edges of the graph that join two modules.

    Parameters
    ----------
    labels : (..., n_units) array
    neighbours : (n_units, n_units) sparse array
        Symmetric.

    Returns
    -------
    (...) array of integers
    """
    labels = np.asarray(labels)
    one, other = sparse.triu(neighbours, 1).coords
    lengths = [np.count_nonzero(row[one] != row[other]) for row in labels.reshape(-1, labels.shape[-1])]
    return np.array(lengths, dtype=np.intp).reshape(labels.shape[:-1])


def n_pieces(labels: ArrayLike, neighbours: sparse.csr_array) -> NDArray[np.intp]:
    """Number of contiguous pieces of all modules together.

    Parameters
    ----------
    labels : (..., n_units) array
    neighbours : (n_units, n_units) sparse array
        Symmetric.

    Returns
    -------
    (...) array of integers
    """
    labels = np.asarray(labels)
    one, other = neighbours.tocoo().coords
    counts = []
    for row in labels.reshape(-1, labels.shape[-1]):
        same = row[one] == row[other]
        inside = sparse.csr_array((np.ones(same.sum()), (one[same], other[same])), shape=neighbours.shape)
        counts.append(pieces_of(inside).max() + 1)
    return np.array(counts, dtype=np.intp).reshape(labels.shape[:-1])


@dataclass
class _Task:
    """What all nulls of one partition share."""

    graph: Graph
    cells: Cells
    members: NDArray[np.int64]  # units, one piece of the graph after the other
    starts: NDArray[np.int64]
    target: int  # boundary length
    target_pieces: int
    roughness: float = 0.0

    @property
    def has_crumbs(self) -> bool:
        """Whether some pieces are too small to be grown."""
        return self.cells[0] < len(self.cells[1])

    @property
    def n_units(self) -> int:
        """How many units are to be dealt out."""
        return len(self.members)

    def fit(self, rng: np.random.Generator, n_jobs: int) -> None:
        """How rough distances have to be for the boundary to grow as long as the original's."""
        # The least breaks ties, which are many where all neighbours are equally far: cells become rounder.
        self.roughness = _ROUGH[0]
        grown = self._grown(rng, n_jobs, self.roughness)
        for roughness in _ROUGH[1:]:
            if grown >= self.target:
                return
            before, grown = grown, self._grown(rng, n_jobs, roughness)
            share = (self.target - before) / (grown - before) if grown > self.target else 1.0
            self.roughness += share * (roughness - self.roughness)

    def _grown(self, rng: np.random.Generator, n_jobs: int, roughness: float) -> float:
        """Mean boundary length of cells that are left as they have grown."""

        def length(own: np.random.Generator) -> int:
            return self._once(own, roughness, 0)[1]

        n_pilots = int(np.clip(20_000 / self.n_units, 6, 100))
        return float(np.mean(list(in_threads(length, rng.spawn(n_pilots), n_jobs, "regrow: pilots"))))

    def null(self, rng: np.random.Generator) -> tuple[Integers, float]:
        """Modules of one null, and how far its boundary is from the target (a share of it)."""
        best, deviation, least = None, np.inf, np.inf
        for _ in range(12 if self.n_units < 2000 else 3):
            of_unit, length, pieces = self._once(rng, self.roughness, min(2000 + 100 * self.n_units, 400_000))
            apart = abs(length - self.target) / self.target
            badness = apart + _PER_PIECE * abs(pieces - self.target_pieces) / self.target_pieces
            if badness < least:
                best, deviation, least = of_unit, apart, badness
            if least <= _GOOD:
                break
        assert best is not None
        return best, deviation

    def _once(self, rng: np.random.Generator, roughness: float, n_attempts: int) -> tuple[Integers, int, int]:
        """One partition: module of each unit, boundary length and number of pieces.

        With `n_attempts` 0 the boundary is left as it has grown.
        """
        from fctoolbox.nulls import _regrow

        indptr, indices, lengths = self.graph
        module = self.cells[1]
        label = np.full(self.n_units, -1, dtype=np.int32)
        if self.has_crumbs:
            _regrow.place_crumbs(indptr, indices, self.cells, self.members, self.starts, label, rng)
        passable = label >= 0
        room = _room(self.n_units)
        n_patches = min(self.n_units, 8 * self.cells[0] + 8)
        rough = _regrow.roughened(indptr, indices, lengths, roughness, n_patches, rng)
        self._divide(rough, label, passable, room, rng)
        self._swap_crumbs(label, rng)
        length = _regrow.boundary(indptr, indices, module[label])
        touching = _regrow.boundary(indptr, indices, label) - length
        aim = self.target if n_attempts else -1
        _regrow.recombine(
            self.graph, rough, self.cells, label, passable, room, length, touching, aim, _WORK * self.n_units, rng
        )
        self._swap_crumbs(label, rng)
        length = _regrow.boundary(indptr, indices, module[label])
        if n_attempts:
            n_more = min(20 * self.n_units, 20_000)  # exchanges that only mix, once the length is right
            length = _regrow.exchange(self.graph, self.cells, label, length, self.target, n_attempts, n_more, rng)
        of_unit = module[label]
        return of_unit, length, _regrow.pieces(indptr, indices, of_unit, label)

    def _divide(self, rough: Any, label: Integers, passable: Any, room: Any, rng: np.random.Generator) -> None:
        """Large cells of the right sizes: each piece of the graph is split in two until each part is one cell."""
        from fctoolbox.nulls._regrow import split

        n_large, _, size, piece = self.cells
        region = np.full(self.n_units, -1, dtype=np.int32)
        order = rng.permutation(n_large)
        order = order[np.argsort(piece[order], kind="stable")]
        firsts = np.searchsorted(piece[order], np.arange(len(self.starts)))
        stack = []
        for p, (low, high) in enumerate(itertools.pairwise(firsts.tolist())):
            units = self.members[self.starts[p] : self.starts[p + 1]]
            units = units[~passable[units]]
            region[units] = low  # a region has the name of its first cell's place in the order
            stack.append((low, high, units))
        while stack:
            low, high, units = stack.pop()
            if high - low == 1:
                label[units] = order[low]
                continue
            middle = (low + high) // 2
            n_first = int(size[order[low:middle]].sum())
            for attempt in range(_SPLITS):
                far = attempt < _SPLITS / 2
                if split(rough, units, n_first, region, low, middle, passable, far, room, rng):
                    break
                if attempt + 1 < _SPLITS:
                    region[units] = low
            inside = region[units] == low
            stack += [(low, middle, units[inside]), (middle, high, units[~inside])]

    def _swap_crumbs(self, label: Integers, rng: np.random.Generator) -> None:
        if not self.has_crumbs:
            return
        from fctoolbox.nulls._regrow import swap_crumbs

        order = np.argsort(label, kind="stable")
        starts = np.searchsorted(label[order], np.arange(len(self.cells[1]) + 1))
        swap_crumbs(self.graph[0], self.graph[1], self.cells, label, order, starts, rng)


def _room(n_units: int) -> tuple[NDArray[Any], ...]:
    """Arrays that the compiled loops write their intermediate results to."""
    kinds = (np.float64, np.float64, np.bool_, np.int64, np.int32)
    return tuple(np.empty(n_units, dtype=kind) for kind in kinds)


def _checked(labels: NDArray[Any], neighbours: sparse.csr_array) -> Graph:
    if labels.ndim != 1:
        raise InputError(f"labels have shape {labels.shape}; there must be one for each unit, (n_units,)")
    if not sparse.issparse(neighbours):
        raise InputError("neighbours must be a sparse array; fctoolbox.nulls.graph makes one from a geometry")
    if neighbours.shape != (len(labels), len(labels)):
        raise InputError(f"the neighbour graph has shape {neighbours.shape}, but there are {len(labels)} labels")
    graph = sparse.csr_array(neighbours, dtype=np.float64, copy=True)
    graph.setdiag(0)
    graph.sum_duplicates()
    graph.eliminate_zeros()
    if not np.isfinite(graph.data).all() or (graph.data < 0).any():
        raise InputError("the neighbour graph holds distances that are negative or not finite")
    apart = abs(graph - graph.T).tocoo()
    if apart.nnz and apart.data.max() > SYMMETRY_TOLERANCE * graph.data.max():
        i, j = (int(index[np.argmax(apart.data)]) for index in apart.coords)
        raise InputError(
            f"the neighbour graph is not symmetric: [{i}, {j}] is {graph[i, j]:g}, but [{j}, {i}] is {graph[j, i]:g}"
        )
    if len(alone := np.flatnonzero(np.diff(graph.indptr) == 0)):
        raise InputError(
            f"units {listed(alone)} (counted from 0) have no neighbours, so nothing can grow there; link them to the "
            "nearest (fctoolbox.nulls.graph does so within a hemisphere) or leave them out"
        )
    return graph.indptr.astype(np.int32), graph.indices.astype(np.int32), graph.data


def _task(graph: Graph, module: NDArray[np.int64]) -> _Task:
    from fctoolbox.nulls._regrow import boundary, pieces

    indptr, indices, lengths = graph
    n_units = len(module)
    part = np.empty(n_units, dtype=np.int32)
    n_parts = pieces(indptr, indices, np.zeros_like(module), part)
    target = int(boundary(indptr, indices, module))
    if target == 0:
        raise InputError(
            f"the neighbour graph is in {n_parts} pieces, and the modules are unions of them, which leaves nothing to "
            "regrow; link the pieces (fctoolbox.nulls.graph does so within a hemisphere)"
        )
    cell = np.empty(n_units, dtype=np.int32)
    n_cells = pieces(indptr, indices, module, cell)
    first = np.unique(cell, return_index=True)[1]
    cells = _cells(module[first], np.bincount(cell).astype(np.int64), part[first].astype(np.int64), n_units)
    members = np.argsort(part, kind="stable")
    starts = np.concatenate([[0], np.cumsum(np.bincount(part))])
    return _Task((indptr, indices, lengths), cells, members, starts, target, int(n_cells))


def _cells(module: NDArray[np.int64], size: NDArray[np.int64], part: NDArray[np.int64], n_units: int) -> Cells:
    """Which pieces grow and which are crumbs; large ones first, then crumbs, by falling size.

    The order of modules plays no part, so that their names cannot matter.
    """
    order = np.argsort(-size, kind="stable")
    module, size, part = module[order], size[order], part[order]
    large = (size >= _CRUMB * n_units) & (np.arange(len(size)) < _MOST_LARGE)
    large[np.unique(part, return_index=True)[1]] = True  # something has to fill each piece of the graph
    left = int(_MOST_CRUMBS * n_units)
    kept = np.flatnonzero(large).tolist()
    crumbs = []
    size = size.copy()
    for i in np.flatnonzero(~large):
        if size[i] <= left:
            left -= size[i]
            crumbs.append(i)
            continue
        same = [j for j in kept if module[j] == module[i] and part[j] == part[i]]
        if same:
            size[same[0]] += size[i]
        else:
            kept.append(i)
    chosen = np.array(kept + crumbs)
    return len(kept), module[chosen], size[chosen], part[chosen]
