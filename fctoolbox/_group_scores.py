"""What each group of inputs explains of functional connectivity, and how sure that and the ranks are."""

import copy
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fctoolbox._group_comparison import STATISTICS, Estimate, Statistic
from fctoolbox.communities import Communities, detect_communities
from fctoolbox.errors import InputError
from fctoolbox.origin import MIN_UNITS, correlations
from fctoolbox.quality import modularity
from fctoolbox.resampling import interval, redrawn
from fctoolbox.similarity import cosine_similarity
from fctoolbox.system import Floats, InputProjection

_MIN_INPUTS = 2


@dataclass(frozen=True, eq=False)
class Score:
    """What a group of inputs explains on one set of units, and the matrix and partition that it was found with."""

    index: NDArray[np.intp]  # of the units
    similarity: Floats
    r: float
    rho: float
    q: float
    communities: Communities


@dataclass(frozen=True, eq=False)
class Partitioning:
    """All that groups share."""

    connectivity: Floats
    resolution: float
    n_restarts: int
    rng: np.random.Generator
    n_jobs: int

    def score(self, part: InputProjection, units: NDArray[np.bool_]) -> Score:
        index = np.flatnonzero(units)
        if part.n_inputs < _MIN_INPUTS:
            raise InputError("it has a single input, from which all units receive the same pattern")
        if len(index) < MIN_UNITS:
            raise InputError(f"it reaches {len(index)} units, and at least {MIN_UNITS} are needed")
        similarity = cosine_similarity(part.select_units(index).weights)
        connectivity = self.connectivity[np.ix_(index, index)]
        r, rho = correlations(similarity, connectivity)
        communities = detect_communities(
            similarity,
            resolution=self.resolution,
            n_restarts=self.n_restarts,
            rng=copy.deepcopy(self.rng),
            n_jobs=self.n_jobs,
        )
        q = modularity(connectivity, communities.labels, resolution=self.resolution)
        return Score(index, similarity, r, rho, q, communities)


def scored(
    parts: Mapping[str, InputProjection], units: Mapping[str, NDArray[np.bool_]], how: Partitioning
) -> tuple[dict[str, Score], dict[str, str]]:
    """The score of each group on its units, or the reason why it has none."""
    from tqdm import tqdm

    scores, reasons = {}, {}
    bar = tqdm(parts.items(), desc="groups", unit="group", delay=2, disable=None, leave=False)
    for name, part in bar:
        try:
            scores[name] = how.score(part, units[name])
        except InputError as error:
            reasons[name] = str(error)
    return scores, reasons


def estimated(
    scores: Mapping[str, Score],
    draws: NDArray[np.float64],
    connectivity: Floats,
    resolution: float,
    level: float,
) -> dict[str, dict[Statistic, Estimate]]:
    """Values, intervals and ranks of all groups on one set of units."""
    estimates: dict[str, dict[Statistic, Estimate]] = {name: {} for name in scores}
    drawn = {
        name: dict(
            zip(
                STATISTICS,
                redrawn(
                    draws[:, score.index],
                    score.similarity,
                    connectivity[np.ix_(score.index, score.index)],
                    score.communities.labels,
                    resolution=resolution,
                ),
                strict=True,
            )
        )
        for name, score in scores.items()
    }
    statistics: tuple[Statistic, ...] = ("r", "q")
    for statistic in statistics:
        values: dict[str, float] = {name: getattr(score, statistic) for name, score in scores.items()}
        order = sorted(values, key=lambda name: (-values[name], name))
        for rank, name in enumerate(order, start=1):
            low, high = interval(drawn[name][statistic], level) or (None, None)
            behind = None
            if rank > 1:
                behind = interval(drawn[order[0]][statistic] - drawn[name][statistic], level)
            estimates[name][statistic] = Estimate(
                values[name], low, high, rank, values[order[0]] - values[name], *(behind or (None, None))
            )
    return estimates
