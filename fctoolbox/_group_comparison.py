"""What a comparison of groups of inputs found, as numbers and in words."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from html import escape
from pathlib import Path
from typing import Any, Literal

from fctoolbox.communities import Communities
from fctoolbox.nulls.significance import NullTest
from fctoolbox.origin import Dropped, provenance_in_json, system_in_json
from fctoolbox.system import RecurrentSystem

SCHEMA = 1
STATISTICS = {"r": "r", "q": "induced Q*"}
WHERE = {"own": "the units that each reaches", "common": "the units that all reach"}

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
