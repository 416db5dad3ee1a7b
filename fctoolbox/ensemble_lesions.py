"""Output lesions over many networks: accuracy without modules against intact networks and random sets of units."""

from collections.abc import Sequence
from dataclasses import dataclass
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fctoolbox.errors import InputError, listed
from fctoolbox.output_lesions import LesionReport, lesion_modules
from fctoolbox.randomness import generator
from fctoolbox.samples import SampleComparison, compare_samples
from fctoolbox.system import RecurrentSystem
from fctoolbox.threads import in_threads, n_threads

# What is compared with what, and what the second is called.
COMPARED = (
    ("mean module", "intact", "the whole network"),
    ("mean module", "mean same size", "random sets of as many units"),
    ("mean module", "mean same weight", "random sets of the same output weight"),
    ("worst module", "worst same size", "the worst of as many random sets of the same sizes"),
    ("worst module", "worst same weight", "the worst of as many random sets of the same output weights"),
)


@dataclass(frozen=True, eq=False)
class LesionComparison:
    """Accuracy of two kinds, in one type of trials, over networks."""

    lesion: str
    beside: str
    type: str
    samples: SampleComparison


@dataclass(frozen=True, eq=False, repr=False)
class EnsembleLesions:
    """Output lesions of many networks.

    Parameters
    ----------
    reports : sequence of LesionReport
        One for each network.
    types : sequence of str
        The types of trials that all networks have; the first is "all".
    accuracy : mapping of str to (n_networks, n_types) arrays
        ``"intact"``; ``"mean module"``, over the modules of a network, and the same of random sets
        (``"mean same size"``, ``"mean same weight"``); ``"worst module"``: the lowest of a network's modules, and the
        same of as many random sets, mean over their draws. Without a network's column where it has no such sets: NaN
        never stands here, the control is left out.
    comparisons : sequence of LesionComparison
        Paired by network, with Welch's test beside it.
    """

    reports: tuple[LesionReport, ...]
    types: tuple[str, ...]
    accuracy: dict[str, NDArray[np.float64]]
    comparisons: tuple[LesionComparison, ...]

    @property
    def n_networks(self) -> int:
        """How many networks."""
        return len(self.reports)

    def between(self, lesion: str, beside: str, type: str = "all") -> SampleComparison:
        """The comparison of these two.

        Raises
        ------
        InputError
            If there is none.
        """
        for each in self.comparisons:
            if (each.lesion, each.beside, each.type) == (lesion, beside, type):
                return each.samples
        known = dict.fromkeys(f"'{each.lesion}' with '{each.beside}'" for each in self.comparisons)
        raise InputError(
            f"'{lesion}' is not compared with '{beside}' in trials '{type}'; there are: {listed(known)}, in "
            f"{listed(self.types)}"
        )

    def to_dict(self) -> dict[str, Any]:
        """All of it, for JSON."""
        return {
            "types": list(self.types),
            "accuracy": {name: values.tolist() for name, values in self.accuracy.items()},
            "comparisons": [
                {"lesion": each.lesion, "beside": each.beside, "type": each.type, **each.samples.to_dict()}
                for each in self.comparisons
            ],
            "networks": [report.to_dict() for report in self.reports],
        }

    def __repr__(self) -> str:
        return f"<EnsembleLesions of {self.n_networks} networks, trials: {', '.join(self.types)}>"


def lesion_ensemble(
    systems: Sequence[RecurrentSystem],
    partitions: Sequence[ArrayLike],
    *,
    by: str = "target",
    full: bool = False,
    n_random: int = 1000,
    rng: int | np.random.Generator | None = None,
    n_jobs: int = 1,
) -> EnsembleLesions:
    """Output lesions per module of many networks, and whether they do more harm than those of random sets of units.

    Networks are the samples: each gives one number of each kind, and numbers of one network are compared as a pair.
    Modules of different networks have no names in common, so that a network's number is the mean over its modules, or
    its worst module. The worst of several is low by that alone: beside it stands the worst of as many random sets.

    Parameters
    ----------
    systems : sequence of RecurrentSystem
    partitions : sequence of (n_units,) integers
        Modules of each network (`fctoolbox.function.module_labels` finds them).
    by, full, n_random : see `lesion_modules`
    rng : int, Generator or None
    n_jobs : int
        Threads, a network to each; the result does not depend on it.

    Returns
    -------
    EnsembleLesions

    Raises
    ------
    InputError
        If there are fewer than two networks, or one lacks what `lesion_modules` needs.
    """
    if len(systems) < 2 or len(partitions) != len(systems):
        raise InputError(
            f"there are {len(systems)} networks and {len(partitions)} partitions; an ensemble needs two networks or "
            "more, and a partition of each"
        )
    generators = generator(rng).spawn(len(systems))
    one_at_a_time = Lock()  # a sequence may load its systems when they are asked for

    def lesioned(k: int) -> LesionReport:
        with one_at_a_time:
            system = systems[k]
        return lesion_modules(system, partitions[k], by=by, full=full, n_random=n_random, rng=generators[k])

    reports = tuple(in_threads(lesioned, range(len(systems)), n_threads(n_jobs)))
    types = tuple(name for name in reports[0].types if all(name in report.types for report in reports))
    rows: dict[str, list[NDArray[np.float64]]] = {}
    for report in reports:
        columns = [report.types.index(name) for name in types]
        for name, values in _of_one(report).items():
            rows.setdefault(name, []).append(values[columns])
    # A control that some network lacks would be of other networks than what it stands beside.
    accuracy = {name: np.array(values) for name, values in rows.items() if len(values) == len(reports)}
    comparisons = tuple(
        LesionComparison(
            lesion, beside, name, compare_samples(accuracy[lesion][:, k], accuracy[beside][:, k], paired=True)
        )
        for lesion, beside, _ in COMPARED
        if beside in accuracy
        for k, name in enumerate(types)
    )
    return EnsembleLesions(reports, types, accuracy, comparisons)


def _of_one(report: LesionReport) -> dict[str, NDArray[np.float64]]:
    """The numbers of one network, by kind, each (n_types,)."""
    numbers = {
        "intact": report.intact,
        "mean module": report.accuracy.mean(axis=0),
        "worst module": report.accuracy.min(axis=0),
    }
    for kind, controls in (("same size", report.same_size), ("same weight", report.same_weight)):
        drawn = [control.accuracy for control in controls if control is not None]
        if len(drawn) < report.n_modules:
            continue
        numbers[f"mean {kind}"] = np.mean([each.mean(axis=0) for each in drawn], axis=0)
        n = min(map(len, drawn))
        numbers[f"worst {kind}"] = np.min([each[:n] for each in drawn], axis=0).mean(axis=0)
    return numbers
