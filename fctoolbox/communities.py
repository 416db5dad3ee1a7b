"""Which units belong together: the partition with the highest modularity."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fctoolbox.chunks import Workers, in_chunks
from fctoolbox.errors import check_whole
from fctoolbox.quality import OBJECTIVE, Labels, Objective, Quality, quality_of
from fctoolbox.randomness import generator
from fctoolbox.threads import blocks, in_threads, n_threads

_MAX_ROUNDS = 1000
_BLOCK = 1024  # nodes
_KICKS = 10
_TABLE_VALUES = 2**23  # 64 MB of sums from modules onto units
_PARTS = 16  # that units are dealt onto: from these, true modules are found more often than from single units
_SPARE = 8  # empty modules
_SMALL_BYTES = 2**23  # below this, threads cost more than they bring
_PART_BYTES = 2**29  # of the matrix within one module, which its own partition copies

Generator = np.random.Generator


@dataclass(frozen=True, eq=False, repr=False)
class Communities:
    """The best partition found, and what each restart found.

    Parameters
    ----------
    labels : (n_units,) integers
        From 0, in order of size; equal sizes in order of their first unit. A unit without any weights is a community
        by itself.
    q : float
        Its modularity.
    restart_q : (n_restarts,) array
        Modularity that each restart reached; their spread says how rough the landscape is.
    restart_labels : (n_restarts, n_units) integers
        The partition that each restart reached, for `consensus_partition`.
    restart_converged : (n_restarts,) booleans
        Whether no single unit can move with a gain (of more than 1e-10, in units of Q: less is taken for rounding).
    passes, moves : (n_restarts,) integers
        How often each restart went through all units, and how many of them moved.
    """

    labels: Labels
    q: float
    restart_q: NDArray[np.float64]
    restart_labels: Labels
    restart_converged: NDArray[np.bool_]
    passes: NDArray[np.intp]
    moves: NDArray[np.intp]

    def __repr__(self) -> str:
        return f"<Communities: {self.n}, of {self.sizes} units, q = {self.q:.4f}>"

    @property
    def n(self) -> int:
        """How many communities."""
        return int(self.labels.max()) + 1

    @property
    def sizes(self) -> tuple[int, ...]:
        """Units in each community."""
        return tuple(int(size) for size in np.bincount(self.labels))

    @property
    def converged(self) -> bool:
        """Whether every restart ended where no single unit can move with a gain."""
        return bool(self.restart_converged.all())


def detect_communities(
    matrix: ArrayLike,
    *,
    objective: Objective = OBJECTIVE,
    resolution: float = 1.0,
    n_restarts: int = 100,
    n_kicks: int = _KICKS,
    rng: int | Generator | None = None,
    n_jobs: int = 1,
    overwrite: bool = False,
    workers: Workers | None = None,
) -> Communities:
    """The partition with the highest modularity that `n_restarts` runs of Louvain find.

    Each run moves units one by one in random order, merges modules, and goes back to single units until none can
    move with a gain: the result is locally optimal for single moves. It is then disturbed and settled again
    `n_kicks` times, keeping the best: in noisy matrices that finds more than starting afresh as often.

    Parameters
    ----------
    matrix : (n_units, n_units) array
        Symmetric; the diagonal is taken as zero. float32 and float64 are read where they are, memory maps included,
        and summed in double precision. Other types are converted to float64. A matrix whose triangles differ by
        rounding is averaged with its transpose, which takes a copy.
    objective : str, array or LowRankNull
        What is maximised, for weights W with total Σ|w|:

        - ``"negative_asym"``: Q*, which lets positive weights count more than negative ones;
        - ``"negative_sym"``: both signs count alike;
        - ``"modularity"``: Newman's, for weights of 0 or more;
        - ``"uniform"``: ``Σ_{i≠j} (w_ij − γ) [c_i = c_j] / Σ|w|``, a habit for correlation matrices; choose γ;
        - a symmetric null model P, as an (n_units, n_units) array or a `LowRankNull`:
          ``Σ_ij (w_ij − γ p_ij) [c_i = c_j] / Σ|w|``, its diagonal included as given.
    resolution : float
        γ: larger values give more and smaller communities.
    n_restarts : int
    n_kicks : int
        How often each restart is disturbed and settled again; 0 makes it a single Louvain run with fine-tuning.
    rng : int, Generator or None
        The result depends on it alone, whatever `n_jobs`.
    n_jobs : int
        Threads, -1 for all: restarts run side by side, or one run shares out the rows.
    overwrite : bool
        Allow the averaging with the transpose to happen in the matrix itself, so that no copy is made of a contiguous
        array of float32 or float64.
    workers : Workers, optional
        In place of `n_jobs`, where restarts are long enough to be kept one by one (`in_chunks`), so that an interrupted
        search continues; the result is the same.

    Returns
    -------
    Communities

    Raises
    ------
    InputError
        If the matrix is not square, symmetric and finite, has no weights, or has weights that the objective cannot
        have.

    Notes
    -----
    ``B`` is never formed. Beyond the matrix, a restart takes 64 MB for the sums from modules onto units, and up to half
    a gigabyte (more where the null is an array) while the largest modules are refined; restarts that run side by side
    take that each.

    References
    ----------
    Rubinov & Sporns 2011, NeuroImage 56:2068 (signed objectives); Blondel et al. 2008, J Stat Mech P10008 (Louvain);
    Sun et al. 2009, EPL 86:28004 (fine-tuning); Lourenço et al. 2003, Handbook of Metaheuristics, 320-353 (iterated
    local search); Bazzi et al. 2016, Multiscale Model Simul 14:1 (uniform null).

    Examples
    --------
    >>> weights = np.kron(np.eye(2), np.ones((3, 3))) - 0.1
    >>> detect_communities(weights, n_restarts=1, rng=0).labels
    array([0, 0, 0, 1, 1, 1])
    """
    from joblib import Parallel, delayed
    from tqdm import tqdm

    check_whole("n_restarts", n_restarts, 1)
    check_whole("n_kicks", n_kicks, 0)
    threads = n_threads(n_jobs if workers is None else workers.n_jobs)
    if workers is not None:
        quality = quality_of(matrix, objective, resolution, n_jobs=threads, overwrite=overwrite)
        return _best(quality, _kept(quality, n_restarts, n_kicks, rng, workers), threads)
    generators = generator(rng).spawn(n_restarts)
    quality = quality_of(matrix, objective, resolution, n_jobs=threads, overwrite=overwrite)
    outer = min(threads, n_restarts)
    with tqdm(total=n_restarts, desc="communities", unit="restart", delay=2, disable=None) as bar:
        so_far = {"passes": 0, "moves": 0}

        def watch(moves: int) -> None:
            so_far["passes"] += 1
            so_far["moves"] += moves
            bar.set_postfix(so_far, refresh=False)
            bar.update(0)

        tasks = (delayed(_search)(quality, generator, n_kicks, threads // outer, watch) for generator in generators)
        runs = []
        # Threads, whatever backend the caller has set joblib to: no process gets a copy of the matrix.
        for run in Parallel(n_jobs=outer, require="sharedmem", return_as="generator")(tasks):
            runs.append(run)
            bar.update()
    return _best(quality, runs, threads)


def _best(quality: Quality, runs: "list[_Run]", n_jobs: int) -> Communities:
    alone = _indifferent(quality)
    partitions = np.stack([in_order_of_size(_set_apart(run.labels, alone)) for run in runs])
    restart_q = quality.of(partitions, n_jobs=n_jobs)
    # Restarts that reach one optimum differ in the last digits; the first of them is taken.
    best = int(np.flatnonzero(restart_q >= restart_q.max() - 1e-12)[0])
    arrays = (
        partitions[best].copy(),
        restart_q,
        partitions,
        np.array([run.converged for run in runs]),
        np.array([run.passes for run in runs]),
        np.array([run.moves for run in runs]),
    )
    for array in arrays:
        array.flags.writeable = False
    labels, *rest = arrays
    return Communities(labels, float(restart_q[best]), *rest)


def _indifferent(quality: Quality) -> Labels:
    """Units whose row of B is zero off the diagonal: Q is the same wherever they are."""

    def all_zero(values: NDArray[np.floating[Any]], unit: int) -> bool:
        row = values[unit] != 0
        row[unit] = False
        return not row.any()

    candidates = np.flatnonzero(~(quality.vectors * quality.values).any(axis=1))
    units = [unit for unit in candidates if all_zero(quality.matrix, unit)]
    if quality.null is not None and quality.null_weight:
        units = [unit for unit in units if all_zero(quality.null, unit)]
    return np.array(units, dtype=np.intp)


def _set_apart(labels: Labels, units: Labels) -> Labels:
    """A copy in which each of these units is a community by itself: kicks have dealt them out, and none came back."""
    labels = labels.copy()
    labels[units] = labels.max() + 1 + np.arange(len(units))
    return labels


@dataclass
class _Run:
    labels: Labels
    q: float
    converged: bool
    passes: int
    moves: int


def _kept(quality: Quality, n_restarts: int, n_kicks: int, rng: int | Generator | None, workers: Workers) -> list[_Run]:
    """The same restarts as `detect_communities` makes of `rng`, each kept when it is finished."""
    columns = in_chunks(
        one_by_one,
        n=n_restarts,
        chunk_size=1,
        rng=rng,
        what="communities",
        arguments={"quality": quality, "n_kicks": n_kicks},
        count="n_restarts",
        workers=workers,
    )
    return [
        _Run(labels, float(q), bool(converged), int(passes), int(moves))
        for labels, q, converged, passes, moves in zip(*columns, strict=True)
    ]


def one_by_one(quality: Quality, n_kicks: int, *, n_restarts: int, rng: Generator) -> tuple[NDArray[Any], ...]:
    """A single restart as arrays, each with one entry; see `in_chunks`."""
    assert n_restarts == 1
    run = _search(quality, rng, n_kicks, 1, None)
    return run.labels[None], *(np.array([each]) for each in (run.q, run.converged, run.passes, run.moves))


def _search(quality: Quality, rng: Generator, n_kicks: int, n_jobs: int, watch: Callable[[int], None] | None) -> _Run:
    """Louvain from single units, refined; then Louvain from disturbed copies of the best partition so far."""
    best = _louvain(quality, np.arange(len(quality.matrix)), rng, n_jobs, watch, refined=True)
    passes, moves = best.passes, best.moves
    for _ in range(n_kicks):
        kicked = _louvain(quality, _disturbed(best.labels, rng), rng, n_jobs, watch, refined=False)
        passes, moves = passes + kicked.passes, moves + kicked.moves
        if kicked.q >= best.q:
            best = kicked
    best.passes, best.moves = passes, moves
    return best


def _disturbed(labels: Labels, rng: Generator) -> Labels:
    """A copy in which units all over, or those of a few modules, are dealt out at random.

    Loose landscapes (noise) are left by the first, tight ones (modules wrongly put together) by the second.
    """
    labels = labels.copy()
    n_modules = int(labels.max()) + 1
    if rng.integers(2):
        dealt = rng.random(len(labels)) < rng.uniform(0.05, 0.5)
        labels[dealt] = rng.integers(0, n_modules + 1, dealt.sum())
    else:
        n_chosen = min(int(rng.integers(1, 4)), n_modules)
        dealt = np.isin(labels, rng.choice(n_modules, n_chosen, replace=False))
        labels[dealt] = n_modules + rng.integers(0, _PARTS, dealt.sum())
    return compact(labels)


def _louvain(
    quality: Quality, labels: Labels, rng: Generator, n_jobs: int, watch: Callable[[int], None] | None, *, refined: bool
) -> _Run:
    modules = _Modules(quality, labels, n_jobs, watch)
    converged = False
    for _ in range(_MAX_ROUNDS):
        settled = modules.settle(rng)  # single units; from the second round on, fine-tuning
        if not modules.merge(rng) and not (refined and modules.refine(rng)):
            converged = settled
            break
    return _Run(modules.labels, modules.q, converged, modules.passes, modules.moves)


@dataclass(eq=False)
class _Modules:
    """Where a search stands: the module of each node, and what can be kept up to date from move to move.

    Nodes are units, or modules of units on the coarser levels.
    """

    quality: Quality
    labels: Labels
    n_jobs: int = 1
    watch: Callable[[int], None] | None = None
    table: NDArray[np.float64] | None = None
    passes: int = 0
    moves: int = 0
    whole: set[int] = field(default_factory=set)  # modules (their units, hashed) that did not fall into parts
    sizes: NDArray[np.int64] = field(init=False)
    mass: NDArray[np.float64] = field(init=False)

    def __post_init__(self) -> None:
        self._count(int(self.labels.max()) + 1)

    @property
    def q(self) -> float:
        quality = self.quality
        if self.table is None:
            return float(quality.of(self.labels[None], n_jobs=self.n_jobs)[0])
        inside = self.table[self.labels, np.arange(len(self.labels))].sum()
        return float(inside - (quality.values[:, None] * self.mass**2).sum() + quality.constant)

    def settle(self, rng: Generator) -> bool:
        """Pass over all nodes until none moves; whether that came to pass."""
        from fctoolbox._louvain import scan_pass, table_pass

        quality = self.quality
        for _ in range(_MAX_ROUNDS):
            self._make_room()
            order = rng.permutation(len(self.labels))
            state = (quality.vectors, quality.values, self.labels, self.sizes, self.mass)
            if self.table is None:
                moves = scan_pass(*quality.pairs, *state, order)
            else:
                moves = table_pass(*quality.pairs, *state, self.table, order)
            self.passes += 1
            self.moves += moves
            if self.watch is not None:
                self.watch(moves)
            if not moves:
                return True
        return False

    def merge(self, rng: Generator) -> bool:
        """Move whole modules like single nodes, and modules of these, until none moves; whether any did."""
        self._renumber()
        coarse = _Modules(self._coarse(), np.arange(len(self.sizes)))
        coarse.settle(rng)
        if not coarse.moves:
            return False
        coarse.merge(rng)
        self._renumber(coarse.labels)
        return True

    def refine(self, rng: Generator) -> bool:
        """Partition each module by itself, and move the parts like single nodes; whether any moved.

        Two true modules that were put together have to be split, which single nodes cannot bring about.
        """
        self._renumber()
        members = [np.flatnonzero(self.labels == module) for module in range(len(self.sizes))]
        parts, n_parts = np.empty_like(self.labels), 0
        for units, labels in zip(members, self._split(members, rng), strict=True):
            parts[units] = n_parts + labels
            n_parts += int(labels.max()) + 1
        if n_parts == len(self.sizes):
            return False
        of_part = np.empty(n_parts, dtype=np.intp)
        of_part[parts] = self.labels
        fine = _Modules(self.quality, parts, self.n_jobs)
        fine._renumber()
        if self.table is not None:
            # Modules that stayed whole keep their sums.
            whole = np.bincount(of_part, minlength=len(self.sizes))[of_part] == 1
            fine.table = np.where(whole[:, None], self.table[of_part], 0.0)
            fine._fill(np.flatnonzero(~whole[parts]))
        coarse = _Modules(fine._coarse(), of_part)
        coarse.settle(rng)
        if not coarse.moves:
            return False
        coarse.merge(rng)
        fine._renumber(coarse.labels)
        self.labels, self.sizes, self.mass, self.table = fine.labels, fine.sizes, fine.mass, fine.table
        return True

    def _split(self, members: list[Labels], rng: Generator) -> Iterator[Labels]:
        """The partition that each module, taken by itself, settles into."""

        def copied(units: Labels) -> int:
            return len(units) ** 2 * self.quality.matrix.itemsize

        def task(part: tuple[Labels, Generator]) -> Labels:
            units, own_rng = part
            name = hash(units.tobytes())
            if name in self.whole or len(units) < 3 or copied(units) > _PART_BYTES:
                return np.zeros(len(units), dtype=np.intp)
            inner = _Modules(self.quality.among(units), compact(own_rng.integers(0, _PARTS, len(units))))
            inner.settle(own_rng)
            inner.merge(own_rng)
            if len(inner.sizes) == 1:
                self.whole.add(name)
            return inner.labels

        largest = max(map(copied, members))
        side_by_side = self.n_jobs if _SMALL_BYTES < largest * self.n_jobs <= _PART_BYTES else 1
        return in_threads(task, list(zip(members, rng.spawn(len(members)), strict=True)), side_by_side, "refinement")

    def _count(self, n_modules: int) -> None:
        vectors = self.quality.vectors
        self.sizes = np.bincount(self.labels, minlength=n_modules)
        self.mass = np.zeros((vectors.shape[1], n_modules))
        for r in range(vectors.shape[1]):
            self.mass[r] = np.bincount(self.labels, vectors[:, r], n_modules)

    def _make_room(self) -> None:
        """Make the table of sums once there are few modules, and keep empty modules at hand."""
        n_nodes, n_used = len(self.labels), np.count_nonzero(self.sizes)
        if len(self.sizes) > n_used + _SPARE:
            self._renumber()
        if self.table is None:
            few = n_nodes if n_nodes <= 512 else min(n_nodes // 8, _TABLE_VALUES // n_nodes)
            if n_used <= few:
                self.table = np.zeros((len(self.sizes), n_nodes))
                self._fill(np.arange(n_nodes))
        if n_used == len(self.sizes):
            self._add(min(_SPARE, n_nodes - n_used))

    def _add(self, n_empty: int) -> None:
        self.sizes = np.append(self.sizes, np.zeros(n_empty, self.sizes.dtype))
        self.mass = np.hstack([self.mass, np.zeros((len(self.mass), n_empty))])
        if self.table is not None:
            self.table = np.vstack([self.table, np.zeros((n_empty, len(self.labels)))])

    def _fill(self, nodes: Labels) -> None:
        from fctoolbox._louvain import fill_table

        def task(part: slice) -> None:
            fill_table(*self.quality.pairs, nodes, self.labels, self.table, part.start, part.stop)

        for _ in in_threads(task, blocks(len(self.labels), _BLOCK), self.n_jobs, "modules"):
            pass

    def _renumber(self, of_module: Labels | None = None) -> None:
        """Give the modules in use numbers without gaps, after `of_module` has put some of them together."""
        target = np.arange(len(self.sizes)) if of_module is None else of_module
        used = self.sizes > 0
        numbers = np.full(len(self.sizes), -1)
        numbers[used] = np.unique(target[used], return_inverse=True)[1]
        self.labels = numbers[self.labels]
        n_modules = int(numbers.max()) + 1
        if self.table is not None:
            table = np.zeros((n_modules, len(self.labels)))
            for module in np.flatnonzero(used):
                table[numbers[module]] += self.table[module]
            self.table = table
        self._count(n_modules)

    def _coarse(self) -> Quality:
        from fctoolbox._louvain import between

        n_modules = len(self.sizes)
        if self.table is None:
            sums = between(*self.quality.pairs, self.labels, n_modules)
        else:
            sums = np.stack([np.bincount(self.labels, row, n_modules) for row in self.table])
        sums -= (self.mass.T * self.quality.values) @ self.mass
        return Quality((sums + sums.T) / 2, 1.0, 1.0, np.zeros((n_modules, 0)), np.zeros(0))


def compact(labels: Labels) -> Labels:
    """Labels renumbered without gaps, in the order of their numbers."""
    return np.unique(labels, return_inverse=True)[1].astype(np.intp)


def in_order_of_size(labels: Labels) -> Labels:
    """Communities renumbered: from 0, the largest first, equal sizes in order of their first unit."""
    _, first, inverse, counts = np.unique(labels, return_index=True, return_inverse=True, return_counts=True)
    rank = np.empty(len(counts), dtype=np.intp)
    rank[np.lexsort((first, -counts))] = np.arange(len(counts))
    return rank[inverse]
