"""Which group of inputs explains functional connectivity best, and how sure that is."""

import copy
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from html import escape
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from fctoolbox.chunks import Workers, in_chunks
from fctoolbox.communities import Communities, detect_communities
from fctoolbox.errors import InputError, check_whole, listed, suggestion
from fctoolbox.nulls.edges import EdgeStatistics
from fctoolbox.nulls.significance import NullTest, significance
from fctoolbox.origin import (
    MIN_UNITS,
    Dropped,
    call_of,
    correlations,
    fc_scale,
    provenance_in_json,
    seeded,
    system_in_json,
    usable,
)
from fctoolbox.quality import OBJECTIVE, modularity
from fctoolbox.resampling import draws_of_units, interval, redrawn
from fctoolbox.similarity import connectivity_of, cosine_similarity, units_without_input
from fctoolbox.system import Floats, InputProjection, RecurrentSystem

SCHEMA = 1
STATISTICS = {"r": "r", "q": "induced Q*"}
WHERE = {"own": "the units that each reaches", "common": "the units that all reach"}
_MIN_INPUTS = 2
# What a group counts as whose inputs define neither r nor Q*: less than any that do.
_LOWEST = -1.0
_DEALS_A_CHUNK = 20
_FEW_UNITS = 500  # beyond them, a deal takes seconds and is a chunk by itself
_KICKS = 5

Statistic = Literal["r", "q"]
Where = Literal["own", "common"]


@dataclass(frozen=True)
class Estimate:
    """A statistic of one group: how sure it is, and how it stands among the groups.

    Parameters
    ----------
    value : float
    low, high : float or None
        Ends of the bootstrap interval; None where too few draws of units define the statistic.
    rank : int
        1 for the highest of all groups.
    behind : float
        How much the highest is above it; 0 for the highest.
    behind_low, behind_high : float or None
        Ends of the interval of that difference, from the same draws of units for both; None for the highest.
    """

    value: float
    low: float | None
    high: float | None
    rank: int
    behind: float
    behind_low: float | None
    behind_high: float | None


@dataclass(frozen=True, eq=False)
class GroupScore:
    """What a group of inputs explains on one set of units.

    Parameters
    ----------
    units : sequence of str
    r : Estimate
        Pearson correlation of similarity and functional connectivity over pairs of these units.
    q : Estimate
        Induced modularity Q* of the functional connectivity.
    spearman_rho : float
    communities : Communities
        Of the similarity.
    """

    units: tuple[str, ...]
    r: Estimate
    q: Estimate
    spearman_rho: float
    communities: Communities


@dataclass(frozen=True, eq=False)
class Group:
    """A group of inputs.

    Parameters
    ----------
    name : str
    n_inputs : int
    unreached : sequence of str
        Analysed units that receive nothing from it.
    own, common : GroupScore or None
        On the units that the group reaches, and on those that all compared groups reach.
    reason : str
        Why it is not compared, or why it has no score on the common units; empty when all is well.
    """

    name: str
    n_inputs: int
    unreached: tuple[str, ...]
    own: GroupScore | None
    common: GroupScore | None
    reason: str = ""


@dataclass(frozen=True)
class Without:
    """How many units all groups reach once a group, and those named before it, are left out.

    Parameters
    ----------
    group : str
    n_common : int
    """

    group: str
    n_common: int


@dataclass(frozen=True, eq=False)
class HighestTest:
    """Whether a group is above all others by more than chance gives, when inputs are dealt anew to the groups.

    Parameters
    ----------
    where : {"own", "common"}
    statistic : {"r", "q"}
    group : str
        The group that was named beforehand; if none was, the highest, and each deal's highest stands against it.
    second : str
        The highest of the others.
    lead : float
        The group's statistic minus that of `second`; negative where the named group is not the highest.
    test : NullTest
    """

    where: Where
    statistic: Statistic
    group: str
    second: str
    lead: float
    test: NullTest


@dataclass(frozen=True, eq=False, repr=False)
class GroupComparison:
    """What `compare_groups` found, and everything needed to say how.

    Parameters
    ----------
    system : RecurrentSystem
        As analysed: without the dropped units, with the inputs of the groups that were not left out.
    groups : sequence of Group
        Those that are compared, by their r on their own units; then those that cannot be, with the reason.
    common_units : sequence of str
        Those that all compared groups reach; empty where they are too few.
    without : sequence of Without
        Groups that cost common units, the most costly first.
    tests : sequence of HighestTest
    highest : str or None
        The group that was named beforehand as the highest.
    left_out : sequence of str
        Groups that were left out on request.
    dropped : sequence of Dropped
        Units without any input, constant units, and those that the source or the reader had left out before.
    policies : mapping
        The choices that the numbers depend on.
    rng : str
        The seed.
    call : str
    seconds : float
        Wall time of the analysis.
    """

    system: RecurrentSystem
    groups: tuple[Group, ...]
    common_units: tuple[str, ...]
    without: tuple[Without, ...]
    tests: tuple[HighestTest, ...]
    highest: str | None
    left_out: tuple[str, ...]
    dropped: tuple[Dropped, ...]
    policies: Mapping[str, Any]
    rng: str
    call: str
    seconds: float

    @property
    def compared(self) -> tuple[Group, ...]:
        """The groups that have a score on their own units."""
        return tuple(group for group in self.groups if group.own is not None)

    @property
    def places(self) -> tuple[Where, ...]:
        """The sets of units that there are scores on, each once: own units are the common ones where all reach all."""
        if len(self.common_units) == self.system.n_units or not self.common_units:
            return ("own",)
        return ("own", "common")

    def ranked(self, statistic: Statistic, where: Where = "own") -> tuple[Group, ...]:
        """The groups with a score on these units, the highest first."""
        scored = [group for group in self.groups if getattr(group, where) is not None]
        return tuple(sorted(scored, key=lambda group: _estimate(group, statistic, where).rank))

    def to_dict(self, *, command: str = "") -> dict[str, Any]:
        """The comparison as in groups.json (schema 1)."""
        analysed = self.system.units
        return {
            "schema": SCHEMA,
            "system": system_in_json(self.system, self.dropped),
            "policies": dict(self.policies),
            "groups": [
                {
                    "name": group.name,
                    "n_inputs": group.n_inputs,
                    "unreached": list(group.unreached),
                    "reason": group.reason,
                    "own": _score_in_json(group.own),
                    "common": _score_in_json(group.common),
                }
                for group in self.groups
            ],
            "left_out": list(self.left_out),
            "common": {
                "units": list(self.common_units),
                "others": [unit for unit in analysed if unit not in self.common_units],
                "without": [asdict(each) for each in self.without],
            },
            "highest": {
                "named": self.highest,
                "tests": [
                    {
                        "units": each.where,
                        "statistic": each.statistic,
                        "group": each.group,
                        "second": each.second,
                        "lead": each.lead,
                        **{key: value for key, value in each.test.to_dict().items() if key != "model"},
                    }
                    for each in self.tests
                ],
            },
            "provenance": provenance_in_json(
                self.system, rng=self.rng, command=command or self.call, seconds=self.seconds
            ),
        }

    def sentence(self) -> str:
        """The answer in a few sentences, with its numbers."""
        n_others = len(self.groups) - len(self.compared)
        others = f" ({n_others} more cannot be)" if n_others else ""
        answer = [f"In {self.system.name}, {len(self.compared)} groups of inputs are compared{others}."]
        n_common, n_units = len(self.common_units), self.system.n_units
        common = f"the {n_common:,} units that all reach"
        own = f"all {n_units:,} units, which each reaches" if n_common == n_units else WHERE["own"]
        answer += [f"On {own if where == 'own' else common}, {self._leaders(where)}." for where in self.places]
        if not self.common_units:
            answer.append("Too few units are reached by all of them to compare them on the same units.")
        return " ".join(answer)

    def chance(self) -> str:
        """What dealing the inputs anew says about the highest group, in a sentence."""
        words = [
            f"{'its own' if each.where == 'own' else 'common'} units, {STATISTICS[each.statistic]}: "
            f"{each.group if self.highest is None else 'lead'} {each.lead:+.3f}, p = {each.test.p_value:.2g}"
            for each in self.tests
            if each.where in self.places
        ]
        n = self.tests[0].test.n
        if self.highest is None:
            asked = "No group was named beforehand as the highest, so the lead of the highest, whichever it is,"
        else:
            asked = f"The lead of {self.highest} over the highest of the others"
        return (
            f"{asked} is compared with its lead after the inputs were dealt anew to groups of the same sizes "
            f"({n:,} times): {'; '.join(words)}."
        )

    def caution(self) -> str:
        """What this comparison cannot say; stands beside the answer wherever it is shown."""
        sizes = [group.n_inputs for group in self.compared]
        answer = (
            f"What this cannot say: there are {self.system.n_units} units, and intervals from drawing them anew "
            f"({self._percent}) "
        )
        answer += "are wide; read them before the ranks. " if self.system.n_units < 100 else "belong with every rank. "
        answer += (
            "Groups are scored on different units where each has its own, and the common ones may leave out whole "
            "systems. "
        )
        if max(sizes) > min(sizes):
            answer += (
                f"Groups of more inputs ({min(sizes)} to {max(sizes)}) describe a unit in more detail; dealing keeps "
                "the sizes, ranks do not. "
            )
        return answer + (
            "p speaks of which inputs make a group, not of distance: near units share inputs and activity for many "
            "reasons."
        )

    def save(self, folder: str | Path, *, command: str = "") -> Path:
        """Write groups.json, groups.html, groups.tsv and the figures (SVG, PNG); the path of the page."""
        from fctoolbox.report import save_groups

        return save_groups(self, Path(folder), command=command)

    def __repr__(self) -> str:
        best = self.ranked("r")[0]
        return f"<GroupComparison of {self.system.name!r}: {len(self.compared)} groups, highest r {best.name!r}>"

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><td>{escape(group.name)}</td><td>{group.n_inputs}</td>"
            + "".join(
                f"<td>{'–' if score is None else format(getattr(score, statistic).value, '.4f')}</td>"
                for score in (group.own, group.common)
                for statistic in STATISTICS
            )
            + "</tr>"
            for group in self.groups
        )
        return (
            f"<p><b>{escape(self.system.name)}</b></p><p>{escape(self.sentence())}</p><p>{escape(self.chance())}</p>"
            f"<p><i>{escape(self.caution())}</i></p>"
            "<table><tr><th>group</th><th>inputs</th><th>r, own units</th><th>induced Q*, own units</th>"
            f"<th>r, common units</th><th>induced Q*, common units</th></tr>{rows}</table>"
        )

    @property
    def _percent(self) -> str:
        return f"{100 * self.policies['level']:g} %"

    def _leaders(self, where: Where) -> str:
        words = []
        for statistic, called in STATISTICS.items():
            first, *others = self.ranked(statistic, where)  # type: ignore[arg-type]
            best = _estimate(first, statistic, where)
            known = "" if best.low is None else f", {self._percent} interval {best.low:.3f} to {best.high:.3f}"
            then = f", then {others[0].name} {_estimate(others[0], statistic, where).value:.3f}" if others else ""
            words.append(f"the highest {called} is that of {first.name} ({best.value:.3f}{known}{then}")
            place = next((k for k, group in enumerate(others, start=2) if group.name == self.highest), 0)
            if place > 2:
                words[-1] += (
                    f"; {self.highest} is no. {place}, {_estimate(others[place - 2], statistic, where).value:.3f}"
                )
            words[-1] += ")"
        return " and ".join(words)


def compare_groups(
    system: RecurrentSystem,
    *,
    highest: str | None = None,
    leave_out: Sequence[str] = (),
    n_bootstrap: int = 1000,
    n_permutations: int = 1000,
    n_restarts: int = 100,
    resolution: float = 1.0,
    level: float = 0.95,
    constant_units: Literal["drop", "error"] = "drop",
    rng: int | np.random.Generator | None = None,
    n_jobs: int = 1,
    workers: Workers | None = None,
) -> GroupComparison:
    """Ask which group of inputs (a division of the brain, a cell type) explains functional connectivity best.

    Each group's inputs are analysed as `analyse_origin` would analyse them alone, with the same `rng` to the same
    partition: on the group's *own* units, which it reaches, and on the *common* units, which all groups reach.

    1. A group with fewer than two inputs or four units, or whose inputs make all units equally similar, is listed
       with the reason, takes part in nothing, and costs no common unit.
    2. Groups are ranked by r and by the induced Q*.
    3. Intervals: units are drawn anew with replacement, the same ones for all groups, so that differences between
       groups have intervals, too. Pairs of a unit with itself are left out. The partition is kept: the interval of Q*
       says what it owes to these units, and not what another partition of others would reach.
    4. "The highest" is tested by dealing the inputs anew to groups of the same sizes, and asking how often the named
       group then leads the highest of the others by as much. If no group is named, the highest one was chosen by
       looking: each deal's highest, whichever it is, then leads its second. Every deal is partitioned anew; the common
       units stay those of the groups as they are.

    Parameters
    ----------
    system : RecurrentSystem
        Its projection says the group of each input.
    highest : str, optional
        The group that is expected to be the highest, named before looking.
    leave_out : sequence of str
        Groups to leave out.
    n_bootstrap, n_permutations : int
        Draws of units, and deals of inputs.
    n_restarts : int
        Of the community detection.
    resolution : float
        γ of the modularity.
    level : float
        Of the intervals.
    constant_units : {"drop", "error"}
    rng : int, Generator or None
        Same `rng`, same comparison, in whatever order groups and inputs come. None draws a seed, which the comparison
        names.
    n_jobs : int
        Threads; the result does not depend on it.
    workers : Workers, optional
        In place of `n_jobs`, where deals go to a dask cluster, or their finished chunks are not to be kept.

    Returns
    -------
    GroupComparison

    Raises
    ------
    InputError
        If the projection has no groups or only one, a name is not that of a group, fewer than two groups can be
        compared, or a setting cannot be used.

    References
    ----------
    Tanner et al. 2023, arXiv:2310.20601, Fig. S15; Snijders & Borgatti 1999, Connections 22:161-170.
    """
    started = time.perf_counter()
    check_whole("n_bootstrap", n_bootstrap, 2)
    check_whole("n_permutations", n_permutations, 1)
    if isinstance(level, bool) or not isinstance(level, int | float) or not 0 < level < 1:
        raise InputError(f"level is {level!r}; it must lie between 0 and 1, as 0.95 does")
    workers = workers or Workers(n_jobs)
    rng, seed = seeded(rng)
    # The first is analyse_origin's for the same partition; every group gets a copy, so none depends on the others.
    rng_partition, rng_draws, rng_deals = rng.spawn(3)

    members, left_out = _members(system, highest, leave_out)
    inputs = np.concatenate(list(members.values()))
    projection = system.projection.select_inputs(inputs)
    analysed, dropped = usable(replace(system, projection=projection), constant_units)
    members = _counted(members)
    connectivity = connectivity_of(analysed.activity)
    parts = {name: analysed.projection.select_inputs(index) for name, index in members.items()}
    reached = {name: ~units_without_input(part.weights) for name, part in parts.items()}

    how = _Partitioning(connectivity, resolution, n_restarts, rng_partition, workers.n_jobs)
    own, reasons = _scored(parts, reached, how)
    if highest is not None and highest in reasons:
        raise InputError(f"'{highest}' cannot be the highest, because it is not compared: {reasons[highest]}")
    if len(own) < 2:
        raise InputError(
            f"{len(own)} of the {len(parts)} groups of {system.name!r} can be compared, and at least 2 are needed. "
            + "; ".join(f"{name}: {why}" for name, why in reasons.items())
        )
    compared = {name: parts[name] for name in own}
    shared = np.logical_and.reduce([reached[name] for name in compared])
    common: dict[str, _Score] = {}
    if shared.sum() >= MIN_UNITS:
        again = {name: part for name, part in compared.items() if not np.array_equal(reached[name], shared)}
        common, not_common = _scored(again, dict.fromkeys(again, shared), how)
        common = {name: common.get(name, own[name]) for name in compared if name not in not_common}
        reasons |= {name: f"on the common units, {why}" for name, why in not_common.items()}

    dealt_out = Deal(
        analysed.projection.select_inputs(np.concatenate([members[name] for name in compared])),
        tuple(part.n_inputs for part in compared.values()),
        shared if common else np.zeros_like(shared),
        connectivity,
        resolution,
    )
    tests = _tests(own, common, highest, dealt_out, n_permutations, rng_deals, workers)
    in_alphabet = np.argsort(analysed.units)
    estimates: dict[str, dict[str, dict[Statistic, Estimate]]] = {}
    for where, scores, units in (("own", own, np.ones(analysed.n_units, dtype=bool)), ("common", common, shared)):
        order = in_alphabet[units[in_alphabet]]  # the same unit is drawn equally often wherever it stands
        draws = np.zeros((n_bootstrap, analysed.n_units))
        if scores:
            draws[:, order] = draws_of_units(len(order), n_bootstrap, copy.deepcopy(rng_draws))
        estimates[where] = _estimates(scores, draws, connectivity, resolution, level)

    names = np.array(analysed.units)
    groups = [
        Group(
            name,
            parts[name].n_inputs,
            tuple(names[~reached[name]].tolist()),
            _group_score(own.get(name), estimates["own"].get(name), names),
            _group_score(common.get(name), estimates["common"].get(name), names),
            reasons.get(name, ""),
        )
        for name in parts
    ]
    groups.sort(key=lambda group: (group.own is None, group.own.r.rank if group.own else 0, group.name))
    settings = {
        "highest": highest,
        "leave_out": left_out,
        "n_bootstrap": n_bootstrap,
        "n_permutations": n_permutations,
        "n_restarts": n_restarts,
        "resolution": resolution,
        "level": level,
        "constant_units": constant_units,
        "rng": int(seed) if seed.isdigit() else None,
    }
    return GroupComparison(
        system=analysed,
        groups=tuple(groups),
        common_units=tuple(names[shared].tolist()) if common else (),
        without=tuple(_without({name: reached[name] for name in compared})),
        tests=tests,
        highest=highest,
        left_out=left_out,
        dropped=dropped,
        policies={
            "similarity": "cosine, uncentred; units without input dropped",
            "diagonal": "zero",
            "constant_units": constant_units,
            "fc_scale": fc_scale(analysed),
            "objective": OBJECTIVE,
            "resolution": resolution,
            "n_restarts": n_restarts,
            "bootstrap": "units, with replacement, the same for all groups; pairs of a unit with itself left out; "
            "partitions kept",
            "n_bootstrap": n_bootstrap,
            "level": level,
            "permutation": "inputs dealt anew to groups of the same sizes, partitioned anew; common units kept",
            "n_permutations": n_permutations,
        },
        rng=seed,
        call=call_of("compare_groups", analysed, settings),
        seconds=time.perf_counter() - started,
    )


def _members(
    system: RecurrentSystem, highest: str | None, leave_out: Sequence[str]
) -> tuple[dict[str, NDArray[np.intp]], tuple[str, ...]]:
    """The inputs of each group that is not left out, and which are left out; all in alphabetical order."""
    labels, inputs = system.projection.groups, system.projection.inputs
    if labels is None:
        raise InputError(
            f"the inputs of {system.name!r} belong to no groups, so there is nothing to compare: the projection must "
            "say the group (division) of each input (InputProjection.groups; for your own files --groups FILE)"
        )
    known = sorted(set(labels))
    leave_out = (leave_out,) if isinstance(leave_out, str) else tuple(dict.fromkeys(leave_out))
    for option, asked in (("leave_out", leave_out), ("highest", () if highest is None else (highest,))):
        for name in asked:
            if name not in known:
                raise InputError(
                    f"{option} names '{name}', which is no group of {system.name!r}.{suggestion(str(name), known)} "
                    f"There are: {', '.join(known)}."
                )
    if highest is not None and highest in leave_out:
        raise InputError(f"'{highest}' is to be left out and cannot be the highest; take it out of one of the two")
    kept = [name for name in known if name not in leave_out]
    if len(kept) < 2:
        left = f" once {listed(leave_out)} is left out" if leave_out else ""
        raise InputError(
            f"a comparison needs at least 2 groups of inputs, and {system.name!r} has {len(kept)}{left}: {listed(kept)}"
        )
    # In alphabetical order, so that equal seeds deal equally, however the inputs are ordered.
    order = sorted(range(len(inputs)), key=lambda j: inputs[j])
    return {name: np.array([j for j in order if labels[j] == name], dtype=np.intp) for name in kept}, leave_out


def _counted(members: Mapping[str, NDArray[np.intp]]) -> dict[str, NDArray[np.intp]]:
    """The same inputs, once they stand one after the other."""
    ends = np.cumsum([len(index) for index in members.values()])
    return {name: np.arange(end - len(index), end) for (name, index), end in zip(members.items(), ends, strict=True)}


@dataclass(frozen=True, eq=False)
class _Score:
    index: NDArray[np.intp]  # of the units
    similarity: Floats
    r: float
    rho: float
    q: float
    communities: Communities


@dataclass(frozen=True, eq=False)
class _Partitioning:
    """All that groups share."""

    connectivity: Floats
    resolution: float
    n_restarts: int
    rng: np.random.Generator
    n_jobs: int

    def score(self, part: InputProjection, units: NDArray[np.bool_]) -> _Score:
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
        return _Score(index, similarity, r, rho, q, communities)


def _scored(
    parts: Mapping[str, InputProjection], units: Mapping[str, NDArray[np.bool_]], how: _Partitioning
) -> tuple[dict[str, _Score], dict[str, str]]:
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


def _estimates(
    scores: Mapping[str, _Score],
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


def _group_score(
    score: _Score | None, estimates: Mapping[Statistic, Estimate] | None, names: NDArray[np.str_]
) -> GroupScore | None:
    if score is None or estimates is None:
        return None
    units = tuple(names[score.index].tolist())
    return GroupScore(units, estimates["r"], estimates["q"], score.rho, score.communities)


def _without(reached: Mapping[str, NDArray[np.bool_]]) -> Iterator[Without]:
    """Groups to leave out, one after the other, until all units are common: each the one that brings back most."""
    remaining = dict(sorted(reached.items()))
    n_units = len(next(iter(remaining.values())))
    while len(remaining) > 2 and not np.logical_and.reduce(list(remaining.values())).all():
        n_common = {
            name: int(np.logical_and.reduce([units for other, units in remaining.items() if other != name]).sum())
            for name in remaining
        }
        # Where no single one brings any back, the one that reaches fewest units.
        costly = max(remaining, key=lambda name: (n_common[name], n_units - int(remaining[name].sum())))
        del remaining[costly]
        yield Without(costly, n_common[costly])


# Whether the highest is higher than inputs at random make it


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


def _tests(
    own: Mapping[str, _Score],
    common: Mapping[str, _Score],
    highest: str | None,
    deal: Deal,
    n_permutations: int,
    rng: np.random.Generator,
    workers: Workers,
) -> tuple[HighestTest, ...]:
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
    places: tuple[tuple[Where, Mapping[str, _Score]], ...] = (("own", own), ("common", common))
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


def _estimate(group: Group, statistic: str, where: str) -> Estimate:
    score = getattr(group, where)
    estimate: Estimate = getattr(score, statistic)
    return estimate


def _score_in_json(score: GroupScore | None) -> dict[str, Any] | None:
    if score is None:
        return None
    return {
        "n_units": len(score.units),
        "r": asdict(score.r),
        "q": asdict(score.q),
        "spearman_rho": score.spearman_rho,
        "communities": {"n": score.communities.n, "sizes": list(score.communities.sizes), "q": score.communities.q},
    }
