"""Whether the highest group is higher than inputs at random make it."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fctoolbox._group_comparison import HighestTest, Statistic, Where
from fctoolbox._group_scores import Score
from fctoolbox.chunks import Workers, in_chunks
from fctoolbox.communities import detect_communities
from fctoolbox.nulls.edges import EdgeStatistics
from fctoolbox.nulls.significance import significance
from fctoolbox.origin import MIN_UNITS
from fctoolbox.quality import modularity
from fctoolbox.similarity import cosine_similarity, units_without_input
from fctoolbox.system import Floats, InputProjection

# What a group counts as whose inputs define neither r nor Q*: less than any that do.
_LOWEST = -1.0
_DEALS_A_CHUNK = 20
_FEW_UNITS = 500  # beyond them, a deal takes seconds and is a chunk by itself
_KICKS = 5


@dataclass(frozen=True, eq=False)
class Deal:
    """What dealing the inputs anew needs to know.

    Parameters
    ----------
    projection : InputProjection
        Of all compared groups, one after the other.
    sizes : sequence of int
        How many inputs each group has.
    common : (n_units,) booleans
        The units that all groups reach.
    connectivity : (n_units, n_units) array
    resolution : float
    """

    projection: InputProjection
    sizes: tuple[int, ...]
    common: NDArray[np.bool_]
    connectivity: Floats
    resolution: float


def dealt_statistics(deal: Deal, *, n_nulls: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Statistics (r, induced Q*) of groups of the same sizes whose inputs are dealt out at random.

    Parameters
    ----------
    deal : Deal
    n_nulls : int
    rng : Generator

    Returns
    -------
    (n_nulls, 2, 2, n_groups) array
        Of own units and common units; of r and Q*. -1, less than any value there is, where a dealt group reaches too
        few units, or makes all equally similar.
    """
    ends = np.cumsum(deal.sizes)[:-1]
    values = np.full((n_nulls, 2, 2, len(deal.sizes)), _LOWEST)
    for one in values:
        for k, index in enumerate(np.split(rng.permutation(deal.projection.n_inputs), ends)):
            part = deal.projection.select_inputs(index)
            own = ~units_without_input(part.weights)
            one[0, :, k] = _of_dealt(deal, part, own, rng)
            common = own & deal.common
            one[1, :, k] = one[0, :, k] if np.array_equal(own, common) else _of_dealt(deal, part, common, rng)
    return values


def _of_dealt(
    deal: Deal, part: InputProjection, units: NDArray[np.bool_], rng: np.random.Generator
) -> tuple[float, float]:
    index = np.flatnonzero(units)
    if len(index) < MIN_UNITS:
        return _LOWEST, _LOWEST
    similarity = cosine_similarity(part.select_units(index).weights)
    connectivity = deal.connectivity[np.ix_(index, index)]
    edges = EdgeStatistics.of(connectivity)
    values = similarity[edges.rows, edges.columns]
    if np.ptp(values) <= max(1e-12, float(32 * np.finfo(values.dtype).eps)) or not edges.centred.any():
        return _LOWEST, _LOWEST
    found = detect_communities(similarity, resolution=deal.resolution, n_restarts=1, n_kicks=_KICKS, rng=rng)
    return edges.pearson_r(similarity), modularity(connectivity, found.labels, resolution=deal.resolution)


def highest_tests(
    own: Mapping[str, Score],
    common: Mapping[str, Score],
    highest: str | None,
    deal: Deal,
    n_permutations: int,
    rng: np.random.Generator,
    workers: Workers,
) -> tuple[HighestTest, ...]:
    """How far the highest group leads, on both sets of units and by both statistics, beside dealt groups."""
    names = list(own)  # in the order of the deal's sizes
    dealt = in_chunks(
        dealt_statistics,
        n=n_permutations,
        chunk_size=_DEALS_A_CHUNK if deal.projection.n_units <= _FEW_UNITS else 1,
        rng=rng,
        what="deals of the inputs",
        arguments={"deal": deal},
        workers=workers,
    )
    tests = []
    places: tuple[tuple[Where, Mapping[str, Score]], ...] = (("own", own), ("common", common))
    statistics: tuple[Statistic, ...] = ("r", "q")
    for k, (where, scores) in enumerate(places):
        if len(scores) < 2 or (highest is not None and highest not in scores):
            continue
        for j, statistic in enumerate(statistics):
            values = {name: getattr(scores[name], statistic) if name in scores else _LOWEST for name in names}
            group = highest or max(names, key=values.__getitem__)
            second = max((name for name in names if name != group), key=values.__getitem__)
            lead = values[group] - values[second]
            if highest is None:
                last_two = np.sort(dealt[:, k, j], axis=1)[:, -2:]
                nulls = last_two[:, 1] - last_two[:, 0]
            else:
                named = names.index(highest)
                nulls = dealt[:, k, j, named] - np.delete(dealt[:, k, j], named, axis=1).max(axis=1)
            tests.append(HighestTest(where, statistic, group, second, lead, significance(lead, nulls, model="deal")))
    return tuple(tests)
