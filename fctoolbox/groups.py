"""Which group of inputs explains functional connectivity best, and how sure that is."""

import copy
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from fctoolbox._group_comparison import (
    STATISTICS,
    WHERE,
    Estimate,
    Group,
    GroupComparison,
    GroupScore,
    HighestTest,
    Statistic,
    Where,
    Without,
)
from fctoolbox._group_deals import Deal, highest_tests
from fctoolbox._group_scores import Partitioning, Score, estimated, scored
from fctoolbox.chunks import Workers
from fctoolbox.errors import InputError, check_whole, listed, suggestion
from fctoolbox.origin import MIN_UNITS, call_of, fc_scale, seeded, usable
from fctoolbox.quality import OBJECTIVE
from fctoolbox.resampling import draws_of_units
from fctoolbox.similarity import connectivity_of, units_without_input
from fctoolbox.system import RecurrentSystem

__all__ = [
    "STATISTICS",
    "WHERE",
    "Estimate",
    "Group",
    "GroupComparison",
    "GroupScore",
    "HighestTest",
    "Statistic",
    "Where",
    "Without",
    "compare_groups",
]


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

    how = Partitioning(connectivity, resolution, n_restarts, rng_partition, workers.n_jobs)
    own, reasons = scored(parts, reached, how)
    if highest is not None and highest in reasons:
        raise InputError(f"'{highest}' cannot be the highest, because it is not compared: {reasons[highest]}")
    if len(own) < 2:
        raise InputError(
            f"{len(own)} of the {len(parts)} groups of {system.name!r} can be compared, and at least 2 are needed. "
            + "; ".join(f"{name}: {why}" for name, why in reasons.items())
        )
    compared = {name: parts[name] for name in own}
    shared = np.logical_and.reduce([reached[name] for name in compared])
    common: dict[str, Score] = {}
    if shared.sum() >= MIN_UNITS:
        again = {name: part for name, part in compared.items() if not np.array_equal(reached[name], shared)}
        common, not_common = scored(again, dict.fromkeys(again, shared), how)
        common = {name: common.get(name, own[name]) for name in compared if name not in not_common}
        reasons |= {name: f"on the common units, {why}" for name, why in not_common.items()}

    dealt_out = Deal(
        analysed.projection.select_inputs(np.concatenate([members[name] for name in compared])),
        tuple(part.n_inputs for part in compared.values()),
        shared if common else np.zeros_like(shared),
        connectivity,
        resolution,
    )
    tests = highest_tests(own, common, highest, dealt_out, n_permutations, rng_deals, workers)
    in_alphabet = np.argsort(analysed.units)
    estimates: dict[str, dict[str, dict[Statistic, Estimate]]] = {}
    for where, scores, units in (("own", own, np.ones(analysed.n_units, dtype=bool)), ("common", common, shared)):
        order = in_alphabet[units[in_alphabet]]  # the same unit is drawn equally often wherever it stands
        draws = np.zeros((n_bootstrap, analysed.n_units))
        if scores:
            draws[:, order] = draws_of_units(len(order), n_bootstrap, copy.deepcopy(rng_draws))
        estimates[where] = estimated(scores, draws, connectivity, resolution, level)

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


def _group_score(
    score: Score | None, estimates: Mapping[Statistic, Estimate] | None, names: NDArray[np.str_]
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
