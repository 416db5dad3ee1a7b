"""What many partitions have in common, and at which resolution they have most."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fctoolbox.agreement import adjusted_rand, mean_agreement
from fctoolbox.communities import compact, detect_communities, in_order_of_size
from fctoolbox.errors import InputError, check_whole
from fctoolbox.quality import OBJECTIVE, Labels, Objective, as_partitions
from fctoolbox.randomness import generator
from fctoolbox.threads import blocks

_MAX_ROUNDS = 100
_BLOCK = 1024


@dataclass(frozen=True, eq=False)
class Consensus:
    """The partition that many partitions agree on.

    Parameters
    ----------
    labels : (n_units,) integers
        From 0, in order of size.
    threshold : float
        Co-assignment below which two units counted as unrelated, in the first round.
    rounds : int
        How often the partitions of the co-assignment were themselves replaced by partitions of theirs.
    converged : bool
        Whether all partitions of the last round are the same.
    agreement : float
        Mean adjusted Rand index between the consensus and the partitions that were handed in.
    """

    labels: Labels
    threshold: float
    rounds: int
    converged: bool
    agreement: float


@dataclass(frozen=True, eq=False)
class ResolutionSweep:
    """Partitions over a range of resolutions.

    Parameters
    ----------
    resolutions : (n_resolutions,) array
        γ.
    labels : (n_resolutions, n_units) integers
        The best partition at each.
    q : (n_resolutions,) array
        Its modularity; values at different γ cannot be compared.
    n_communities : (n_resolutions,) integers
    stability : (n_resolutions,) array
        Mean adjusted Rand index between restarts: 1 where all find the same partition.
    persistence : (n_resolutions,) array
        Mean adjusted Rand index with the best partitions at the neighbouring resolutions: plateaus are robust.
    """

    resolutions: NDArray[np.float64]
    labels: Labels
    q: NDArray[np.float64]
    n_communities: NDArray[np.intp]
    stability: NDArray[np.float64]
    persistence: NDArray[np.float64]

    @property
    def most_stable(self) -> int:
        """Index of the resolution with the highest stability, among those with 2 communities or more.

        Where several are equally stable, the one that persists best; then the coarsest.
        """
        several = (self.n_communities > 1) & (self.n_communities < self.labels.shape[1])
        if not several.any():
            raise InputError("no resolution gave more than one community and fewer than there are units")
        order = np.lexsort((self.resolutions, -self.persistence.round(12), -self.stability.round(12), ~several))
        return int(order[0])


def coassignment(partitions: ArrayLike) -> NDArray[np.float32]:
    """Share of the partitions in which two units belong together.

    Parameters
    ----------
    partitions : (n_partitions, n_units) array

    Returns
    -------
    (n_units, n_units) float32 array
        Symmetric, in [0, 1], with ones on the diagonal.

    References
    ----------
    Lancichinetti & Fortunato 2012, Sci Rep 2:336 (consensus matrix).

    Examples
    --------
    >>> coassignment([[0, 0, 1], [0, 1, 1]])
    array([[1. , 0.5, 0. ],
           [0.5, 1. , 0.5],
           [0. , 0.5, 1. ]], dtype=float32)
    """
    labels = _partitions(partitions)
    n_partitions, n_units = labels.shape
    members = _members(labels)
    shares = np.empty((n_units, n_units), dtype=np.float32)
    for rows in blocks(n_units, _BLOCK):
        for columns in blocks(n_units, _BLOCK):
            if columns.start >= rows.start:
                block = members[rows] @ members[columns].T / np.float32(n_partitions)
                shares[rows, columns], shares[columns, rows] = block, block.T
    np.fill_diagonal(shares, 1)
    return shares


def expected_coassignment(partitions: ArrayLike) -> float:
    """Co-assignment that two units have on average if each partition deals its labels out at random.

    Parameters
    ----------
    partitions : (n_partitions, n_units) array

    Returns
    -------
    float
        ``mean over partitions of Σ_c n_c (n_c − 1) / (n (n − 1))``.
    """
    labels = _partitions(partitions)
    n = labels.shape[1]
    together = [(sizes * (sizes - 1.0)).sum() for sizes in (np.bincount(row) for row in labels)]
    return float(np.mean(together) / (n * (n - 1)))


def consensus_partition(
    partitions: ArrayLike,
    *,
    threshold: float | None = None,
    resolution: float = 1.0,
    n_restarts: int = 20,
    rng: int | np.random.Generator | None = None,
    n_jobs: int = 1,
) -> Consensus:
    """The partition that many partitions, such as the restarts of a search, agree on.

    Co-assignments no higher than chance are set to 0; the rest is partitioned `n_restarts` times by plain
    modularity; and again with the co-assignment of these partitions, until all of them are the same.

    Parameters
    ----------
    partitions : (n_partitions, n_units) array
        `Communities.restart_labels`, or partitions of different animals, subjects or networks.
    threshold : float, optional
        Co-assignments of this or less are set to 0. By default it is `expected_coassignment`, anew in each round.
    resolution : float
        γ of the modularity of the co-assignment.
    n_restarts : int
        Partitions in each round.
    rng : int, Generator or None
    n_jobs : int
        Threads.

    Returns
    -------
    Consensus

    References
    ----------
    Lancichinetti & Fortunato 2012, Sci Rep 2:336 (algorithm); Bassett et al. 2013, Chaos 23:013142 (threshold from
    permuted partitions, here its expected value in closed form).
    """
    given = labels = _partitions(partitions)
    check_whole("n_restarts", n_restarts, 1)
    if threshold is not None and not 0 <= threshold < 1:
        raise InputError(f"threshold is {threshold}; it must be 0 or more and less than 1")
    source, first, rounds = generator(rng), None, 0
    while not (labels == labels[0]).all() and rounds < _MAX_ROUNDS:
        chance = expected_coassignment(labels) if threshold is None else threshold
        first = chance if first is None else first
        shares = coassignment(labels)
        np.fill_diagonal(shares, 0)
        shares[shares <= np.float32(chance) + np.float32(1e-6)] = 0
        rounds += 1
        if not shares.any():  # nothing is shared by more than chance: every unit stands alone
            labels = np.arange(labels.shape[1])[None]
            break
        found = detect_communities(
            shares, objective="modularity", resolution=resolution, n_restarts=n_restarts, rng=source, n_jobs=n_jobs
        )
        labels = found.restart_labels
    if first is None:
        first = expected_coassignment(given) if threshold is None else threshold
    consensus = in_order_of_size(labels[0])
    consensus.flags.writeable = False
    agreement = float(np.mean([adjusted_rand(consensus, row) for row in given]))
    return Consensus(consensus, float(first), rounds, bool((labels == labels[0]).all()), agreement)


def resolution_sweep(
    matrix: ArrayLike,
    resolutions: Sequence[float] | NDArray[np.float64],
    *,
    objective: Objective = OBJECTIVE,
    n_restarts: int = 20,
    n_kicks: int = 10,
    rng: int | np.random.Generator | None = None,
    n_jobs: int = 1,
) -> ResolutionSweep:
    """Communities over a range of resolutions, with the agreement of restarts and of neighbours at each.

    Parameters
    ----------
    matrix : (n_units, n_units) array
    resolutions : (n_resolutions,) array
        Increasing values of γ.
    objective, n_restarts, n_kicks, rng, n_jobs
        As for `detect_communities`.

    Returns
    -------
    ResolutionSweep

    References
    ----------
    Fortunato & Barthélemy 2007, PNAS 104:36 (resolution limit); Lambiotte 2010, WiOpt, 546-553 (robustness of
    partitions against restarts and resolution).
    """
    from tqdm import tqdm

    gammas = np.array(resolutions, dtype=np.float64)
    if gammas.ndim != 1 or not len(gammas) or not np.isfinite(gammas).all() or (np.diff(gammas) <= 0).any():
        raise InputError("resolutions must be a list of increasing finite numbers")
    source = generator(rng)
    found = [
        detect_communities(
            matrix, objective=objective, resolution=float(gamma), n_restarts=n_restarts, n_kicks=n_kicks, rng=source,
            n_jobs=n_jobs,
        )
        for gamma in tqdm(gammas, desc="resolutions", unit="γ", delay=2, disable=None)
    ]  # fmt: skip
    labels = np.stack([each.labels for each in found])
    beside = [adjusted_rand(one, other) for one, other in pairwise(labels)]
    around = [beside[max(0, k - 1) : k + 1] for k in range(len(gammas))]
    arrays = (
        gammas,
        labels,
        np.array([each.q for each in found]),
        np.array([each.n for each in found]),
        np.array([mean_agreement(each.restart_labels) for each in found]),
        np.array([np.mean(pair) if pair else 1.0 for pair in around]),
    )
    for array in arrays:
        array.flags.writeable = False
    return ResolutionSweep(*arrays)


def _partitions(partitions: ArrayLike) -> Labels:
    array = np.asarray(partitions)
    if array.ndim != 2 or not len(array) or array.shape[1] < 2:
        raise InputError(
            f"partitions have shape {array.shape}; they need (n_partitions, n_units) with 2 units at least"
        )
    labels = as_partitions(array, array.shape[1], ndim=2)
    # Each partition counts its communities from 0, so that equal partitions are equal arrays.
    return np.stack([in_order_of_size(compact(row)) for row in labels])


def _members(labels: Labels) -> NDArray[np.float32]:
    """A column for each community of 2 units or more, 1 for its units; labels are in order of size."""
    counts = np.array([np.count_nonzero(np.bincount(row) > 1) for row in labels])
    members = np.zeros((labels.shape[1], int(counts.sum())), dtype=np.float32)
    for row, count, start in zip(labels, counts, np.cumsum(counts) - counts, strict=True):
        units = np.flatnonzero(row < count)
        members[units, start + row[units]] = 1
    return members
