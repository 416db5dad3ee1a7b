"""How much more alike the input projections within a network are than those between networks.

Everything follows from the units' directions u (rows of length 1, whose products are the similarities), so that the
similarity of every two units is never formed: the mean similarity of unit i to network g is
``(u_i · Σ_{j ∈ g} u_j - [i ∈ g] u_i · u_i) / n``, with n the units of g other than i.
"""

from collections.abc import Iterator
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from fctoolbox.chance import Space
from fctoolbox.nulls.permutation import permutation
from fctoolbox.nulls.regrow import regrow
from fctoolbox.nulls.spin import spin
from fctoolbox.system import Floats, Integers

Directions: TypeAlias = Floats | sparse.csr_array

NULLS = ("spin", "regrow", "permutation")

_COLUMNS = 512  # of the directions that are brought to float64 at once
_INDICATORS = 2**23  # of units in networks of several partitions: 64 MB
_SIMILARITIES = 2**23  # that are held at once


def similarity_to_networks(directions: Directions, labels: Integers) -> NDArray[np.float64]:
    """Mean similarity of each unit to the other units of its network, and to all units of other networks.

    Parameters
    ----------
    directions : (n_units, k) array or csr_array
        Rows of length 1 (`fctoolbox.similarity.directions`).
    labels : (n_units,) integers
        Network of each unit, from 0; none without units.

    Returns
    -------
    (n_units, 2) array
        Within, and to others.
    """
    labels = np.asarray(labels)
    n_units, sizes = len(labels), np.bincount(labels)
    order = np.argsort(labels, kind="stable")
    starts = np.cumsum(sizes) - sizes
    products = np.zeros((n_units, 3))  # with the sum of the own network, with the sum of all, with itself
    for block in _columns(directions):
        sums = np.add.reduceat(block[order], starts)
        products[:, 0] += np.einsum("ij,ij->i", block, sums[labels])
        products[:, 1] += block @ sums.sum(axis=0)
        products[:, 2] += np.einsum("ij,ij->i", block, block)
    own, everything, itself = products.T
    n_own = sizes[labels]
    return np.column_stack([(own - itself) / (n_own - 1), (everything - own) / (n_units - n_own)])


def concentrations(directions: Directions, partitions: Integers, n_networks: int) -> NDArray[np.float64]:
    """Mean over a network's units of their similarity within it minus that to others, under each partition.

    Parameters
    ----------
    directions : (n_units, k) array
    partitions : (n_partitions, n_units) integers
        Network of each unit, from 0.
    n_networks : int

    Returns
    -------
    (n_partitions, n_networks) array
        NaN where a partition leaves a network fewer than two units, or all of them.
    """
    partitions = np.asarray(partitions)
    n_units = partitions.shape[1]
    at_once = max(1, _INDICATORS // (n_networks * n_units))
    parts = [partitions[start : start + at_once] for start in range(0, len(partitions), at_once)]
    return np.concatenate([_concentrations(directions, part, n_networks) for part in parts])


def edge_t(directions: Directions, labels: Integers) -> NDArray[np.float64]:
    """Student's t of the similarities within each network against those of its units with all others.

    **Not a test.** Its degrees of freedom are pairs of units, which depend on each other by their units and by their
    places; it is here because it has been published.

    Parameters
    ----------
    directions : (n_units, k) array
    labels : (n_units,) integers
        Network of each unit, from 0.

    Returns
    -------
    (n_networks, 3) array
        t (NaN where there is no spread), and the numbers of pairs within and between.
    """
    labels = np.asarray(labels)
    n_units, sizes = len(labels), np.bincount(labels)
    within, between = _squares(directions, labels)
    means = similarity_to_networks(directions, labels)
    itself = np.sum([np.einsum("ij,ij->i", block, block) for block in _columns(directions)], axis=0)
    rows = np.empty((len(sizes), 3))
    for network, size in enumerate(sizes):
        inside = labels == network
        n_pairs, n_others = size * (size - 1) / 2, size * (n_units - size)
        mean, other = means[inside].mean(axis=0)
        squares = (within[network] - (itself[inside] ** 2).sum()) / 2 - n_pairs * mean**2
        squares += between[network] - n_others * other**2
        variance = max(squares, 0.0) / max(n_pairs + n_others - 2, 1)
        no_spread = variance <= 1e-12
        t = np.nan if no_spread else (mean - other) / np.sqrt(variance * (1 / n_pairs + 1 / n_others))
        rows[network] = t, n_pairs, n_others
    return rows


def null_concentrations(
    model: str,
    directions: Directions,
    labels: Integers,
    space: Space,
    *,
    n_nulls: int,
    rng: np.random.Generator,
) -> NDArray[np.float64]:
    """`concentrations` of the same networks elsewhere.

    Parameters
    ----------
    model : {"spin", "regrow", "permutation"}
        ``"spin"`` gives each unit the network of the nearest turned unit, which keeps networks in one piece and
        changes their sizes; the statistic is a difference of means, which does not depend on these.
    directions : (n_units, k) array
    labels : (n_units,) integers
    space : Space
        With what the null needs.
    n_nulls : int
    rng : Generator

    Returns
    -------
    (n_nulls, n_networks) array
        NaN where a null leaves a network fewer than two units.
    """
    if model == "spin":
        assert space.sphere is not None  # who asks has made sure
        orders = spin(space.sphere, hemispheres=space.hemispheres, n_nulls=n_nulls, rng=rng, assignment="nearest")
        partitions: Any = labels[orders]
    elif model == "regrow":
        assert space.neighbours is not None
        partitions = regrow(labels, neighbours=space.neighbours, n_nulls=n_nulls, rng=rng)
    else:
        partitions = permutation(labels, n_nulls=n_nulls, rng=rng)
    return concentrations(directions, partitions, int(labels.max()) + 1)


def _concentrations(directions: Directions, partitions: Integers, n_networks: int) -> NDArray[np.float64]:
    n_partitions, n_units = partitions.shape
    indicators = np.zeros((n_partitions, n_networks, n_units))
    indicators[np.arange(n_partitions)[:, None], partitions, np.arange(n_units)] = 1
    flat = indicators.reshape(-1, n_units)
    own, everything = np.zeros((2, n_partitions, n_networks))
    itself = np.zeros(n_units)
    for block in _columns(directions):
        sums = (flat @ block).reshape(n_partitions, n_networks, -1)
        own += np.einsum("bgk,bgk->bg", sums, sums)
        everything += np.einsum("bgk,k->bg", sums, block.sum(axis=0))
        itself += np.einsum("ij,ij->i", block, block)
    sizes = flat.sum(axis=1).reshape(n_partitions, n_networks)
    own_pairs = sizes * (sizes - 1)
    other_pairs = sizes * (n_units - sizes)
    values = np.full((n_partitions, n_networks), np.nan)
    known = (own_pairs > 0) & (other_pairs > 0)
    within = (own - (flat @ itself).reshape(own.shape))[known] / own_pairs[known]
    values[known] = within - (everything - own)[known] / other_pairs[known]
    return values


def _squares(directions: Directions, labels: Integers) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Sum of the squared similarities of every two units (both ways, and with itself) within each network; of its
    units with all others.

    ``Σ (u_i · u_j)²`` over i in g and j in h is the product, entry by entry, of ``U_gᵀ U_g`` and ``U_hᵀ U_h``; with
    fewer units than columns the similarities themselves are smaller than these.
    """
    n_units, n_columns = directions.shape
    member = np.eye(int(labels.max()) + 1)[labels]
    if n_units <= n_columns:
        sums = np.zeros(member.shape)
        at_once = max(1, _SIMILARITIES // n_units)
        for start in range(0, n_units, at_once):
            similarity: Any = directions[start : start + at_once] @ directions.T
            similarity = similarity.toarray() if sparse.issparse(similarity) else similarity
            sums[start : start + at_once] = similarity.astype(np.float64) ** 2 @ member
        both = member.T @ sums
        within = np.diagonal(both)
        return within, both.sum(axis=1) - within
    everything = _gram(directions)
    grams = (_gram(directions[labels == network]) for network in range(member.shape[1]))
    within, both = np.array([(np.vdot(gram, gram), np.vdot(gram, everything)) for gram in grams]).T
    return within, both - within


def _gram(rows: Directions) -> NDArray[np.float64]:
    gram: Any = rows.T @ rows
    return np.asarray(gram.toarray() if sparse.issparse(gram) else gram, dtype=np.float64)


def _columns(directions: Directions) -> Iterator[NDArray[np.float64]]:
    """Some columns after the others, in double precision."""
    by_column: Any = sparse.csc_array(directions) if sparse.issparse(directions) else directions
    for start in range(0, by_column.shape[1], _COLUMNS):
        block = by_column[:, start : start + _COLUMNS]
        yield np.asarray(block.toarray() if sparse.issparse(block) else block, dtype=np.float64)
