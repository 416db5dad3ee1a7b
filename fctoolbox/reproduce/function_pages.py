"""Figures 1 and S1: what modules of trained networks carry, and what their loss costs, over an ensemble."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fctoolbox.chunks import Workers
from fctoolbox.ensemble_lesions import EnsembleLesions, lesion_ensemble
from fctoolbox.function import FunctionReport, ModuleRelations, function_of, input_drive
from fctoolbox.output_lesions import LesionReport
from fctoolbox.reproduce.draw import (
    draw_strips,
    matrix_figure,
    p_in_words,
    relations_figure,
    spread,
    strips_figure,
)
from fctoolbox.reproduce.networks import Networks
from fctoolbox.reproduce.page import Page, Panel, Table
from fctoolbox.samples import SampleComparison, compare_samples
from fctoolbox.similarity import functional_connectivity
from fctoolbox.system import RecurrentSystem
from fctoolbox.threads import in_threads, n_threads

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LEVEL = 0.05
_CONTROLS = {"same size": "random sets of as many units", "same weight": "random sets of the same output weight"}


@dataclass(frozen=True)
class Sizes:
    """How much is computed."""

    n_networks: int
    n_nulls: int
    n_restarts: int


QUICK, FULL = Sizes(8, 200, 20), Sizes(100, 1000, 100)


@dataclass(frozen=True)
class Carried:
    """What modules of one kind carry in one network.

    Parameters
    ----------
    n_modules : int
    strongest : dict of str to float
        For each variable, the largest absolute r of a module with one of its columns.
    p : dict of str to float
        For each variable, the smallest corrected p.
    """

    n_modules: int
    strongest: dict[str, float]
    p: dict[str, float]

    @classmethod
    def of(cls, modules: ModuleRelations) -> "Carried":
        """The summary of a report's relations."""
        names = np.array([column.partition("[")[0] for column in modules.columns])
        known = dict.fromkeys(names.tolist())
        return cls(
            modules.n_modules,
            {name: float(np.abs(modules.r[:, names == name]).max()) for name in known},
            {name: float(modules.p_corrected[:, names == name].min()) for name in known},
        )


@dataclass(frozen=True)
class OneNetwork:
    """What is kept of a network's `FunctionReport`: all but its time series."""

    network: int
    n_constant: int
    activity: Carried
    drive: Carried
    adjusted_rand: float
    p_agreement: float
    labels: tuple[int, ...]

    @classmethod
    def of(cls, number: int, report: FunctionReport) -> "OneNetwork":
        """The summary of a report."""
        assert report.drive is not None  # all networks of the plugin say what their inputs deliver
        assert report.agreement is not None
        return cls(
            number, len(report.dropped), Carried.of(report.modules), Carried.of(report.drive),
            report.agreement.adjusted_rand, report.agreement.p_value, tuple(report.modules.labels.tolist()),
        )  # fmt: skip


def function_page(
    name: str,
    title: str,
    claim: str,
    task: str,
    *,
    quick: bool,
    rng: int,
    workers: Workers,
    progress: Callable[[str], object],
) -> Page:
    """The page of an ensemble trained on a task.

    Parameters
    ----------
    name, title, claim : str
    task : str
    quick, rng, workers, progress : see `fctoolbox.reproduce.make_page`

    Returns
    -------
    Page
    """
    sizes = QUICK if quick else FULL
    networks = Networks(task, sizes.n_networks, n_jobs=workers.n_jobs)
    first, found = _carried(networks, sizes, rng, workers, progress)
    progress(f"  lesions of {len(networks)} networks")
    lesions = lesion_ensemble(
        networks, [each.labels for each in found], n_random=sizes.n_nulls, rng=rng, n_jobs=workers.n_jobs
    )
    selective = {
        "module": np.array([_selectivity(each) for each in lesions.reports]),
        "random": np.array([_selectivity_by_chance(each) for each in lesions.reports]),
    }
    specialised = compare_samples(selective["module"], selective["random"], paired=True)
    return Page(
        name=name,
        title=title,
        claim=claim,
        found=(
            _of_lesions(lesions),
            _of_types(lesions, specialised),
            _of_modules(found),
            _of_variables(found),
        ),
        panels=(
            *_network_panels(first),
            *_ensemble_panels(found),
            *_lesion_panels(lesions, selective, specialised),
        ),
        tables=(_lesion_table(lesions), _variable_table(found), _network_table(found, lesions)),
        statistics={
            "task": task,
            "networks": [asdict(each) for each in found],
            "selectivity": {kind: values.tolist() for kind, values in selective.items()},
            "selectivity_test": specialised.to_dict(),
            "lesions": lesions.to_dict(),
        },
        notes=(
            f"{len(networks)} networks trained on {task} from different initial weights, each on fresh trials; "
            f"{sizes.n_nulls:,} exchanges of trials, and random sets of each kind; {sizes.n_restarts} restarts of the "
            "community detection.",
            "p of what a module carries comes from exchanging whole trials, corrected (maxT) over all modules and "
            "columns of a network. The strongest of several |r| is large by that alone, which this p takes into "
            "account and |r| does not.",
            "All trials share a course (waiting, stimulus, response), which gives |r| with outputs and targets by "
            "itself; exchanging trials keeps it, so that only the networks in brackets say more.",
            "A lesion sets the readout weights of a module's units to 0. Networks are the samples of all tests over "
            "the ensemble: each gives one number, the mean over its modules, and is its own partner.",
            "Accuracy counts all trials, and where a task has trials of no coherence these too, which nobody can know.",
            "The worst of several modules is low by that alone: beside it stands the worst of as many random sets.",
            "Which modules a network has, what random sets stand beside a lesion and how types of trials are told "
            "apart are choices of fctoolbox; the paper's own code and numbers were not at hand.",
        ),
        packages=first.system.provenance.packages,
        sources=(first.system.provenance.citation,),
    )  # fmt: skip


def _carried(
    networks: Sequence[RecurrentSystem], sizes: Sizes, rng: int, workers: Workers, progress: Callable[[str], object]
) -> tuple[FunctionReport, list[OneNetwork]]:
    """The whole report of the first network, and what is kept of each; a network to a thread."""
    networks[0]  # trains them all: here and not in a thread, so that it can be interrupted
    one_at_a_time = Lock()

    def of(number: int) -> tuple[FunctionReport | None, OneNetwork]:
        with one_at_a_time:
            progress(f"  network {number + 1} of {len(networks)}: what its modules carry")
            system = networks[number]
        report = function_of(
            system, lags=(0.0,), n_nulls=sizes.n_nulls, n_restarts=sizes.n_restarts,
            rng=np.random.default_rng([rng, number]),
        )  # fmt: skip
        return None if number else report, OneNetwork.of(number, report)

    reports, found = zip(*in_threads(of, range(len(networks)), n_threads(workers.n_jobs)), strict=True)
    first = reports[0]
    assert first is not None  # all the others are too large to be kept
    return first, list(found)


def _selectivity(report: LesionReport) -> float:
    """How unequally a lesion harms the types of trials: the largest less the smallest loss, mean over modules."""
    losses = report.intact[1:] - report.accuracy[:, 1:]
    return float(np.ptp(losses, axis=1).mean())


def _selectivity_by_chance(report: LesionReport) -> float:
    """The same of random sets of as many units."""
    losses = [report.intact[1:] - control.accuracy[:, 1:] for control in report.same_size]
    return float(np.mean([np.ptp(each, axis=1).mean() for each in losses]))


def _of_lesions(lesions: EnsembleLesions) -> str:
    intact, module = (lesions.accuracy[name][:, 0] for name in ("intact", "mean module"))
    sentence = (
        f"Over {lesions.n_networks} networks, accuracy is {spread(intact)}, and {spread(module)} without the output of "
        "a module (mean over a network's modules)"
    )
    for control, words in _CONTROLS.items():
        if f"mean {control}" in lesions.accuracy:
            beside = lesions.between("mean module", f"mean {control}")
            sentence += f"; without {words} {beside.mean[1]:.3f} ({_verdict(beside, 'less', 'more')})"
    return sentence + "."


def _verdict(beside: SampleComparison, lower: str, higher: str) -> str:
    """What a paired comparison says: how the first stands to the second."""
    paired = beside.paired
    p = None if paired is None else paired.p_value
    if p is None or p > LEVEL:
        return f"no clear difference, paired {p_in_words(p)}"
    d = "" if paired is None or paired.cohens_d is None else f", d = {paired.cohens_d:.2f}"
    return (
        f"the module's lesion leaves {lower if beside.difference < 0 else higher}, by {abs(beside.difference):.3f}; "
        f"paired {p_in_words(p)}{d}"
    )


def _of_types(lesions: EnsembleLesions, specialised: SampleComparison) -> str:
    types = ", ".join(lesions.types[1:])
    paired = specialised.paired
    p = None if paired is None else paired.p_value
    answer = "not clearly more unequally" if p is None or p > LEVEL else (
        "more unequally" if specialised.difference > 0 else "less unequally"
    )  # fmt: skip
    return (
        f"Types of trials ({types}): a module's lesion harms them {answer} than random sets of as many units do: the "
        f"losses differ by {specialised.mean[0]:.3f} beside {specialised.mean[1]:.3f} (paired {p_in_words(p)})."
    )


def _of_modules(found: Sequence[OneNetwork]) -> str:
    agreeing = sum(each.p_agreement <= LEVEL for each in found)
    return (
        f"Modules: {_range(each.activity.n_modules for each in found)} of the recurrent activity and "
        f"{_range(each.drive.n_modules for each in found)} of the input drive; they agree at an adjusted Rand index of "
        f"{spread([each.adjusted_rand for each in found])}, beyond exchanged units in {agreeing} of "
        f"{len(found)} networks."
    )


def _of_variables(found: Sequence[OneNetwork]) -> str:
    parts = [
        f"{name.replace('_', ' ')} {recurrent:.2f} and {drive:.2f} ({n_recurrent} and {n_drive} of {len(found)})"
        for name, recurrent, n_recurrent, drive, n_drive in _by_variable(found)
    ]
    return (
        "What they carry, as the mean over networks of the strongest |r|, for modules of the recurrent activity and of "
        f"the input drive (in brackets: networks where a module beats exchanged trials): {', '.join(parts)}."
    )


def _by_variable(found: Sequence[OneNetwork]) -> list[tuple[str, float, int, float, int]]:
    names = [n for n in found[0].activity.strongest if all(n in each.activity.strongest for each in found)]
    return [
        (
            name,
            float(np.mean([each.activity.strongest[name] for each in found])),
            sum(each.activity.p[name] <= LEVEL for each in found),
            float(np.mean([each.drive.strongest[name] for each in found])),
            sum(each.drive.p[name] <= LEVEL for each in found),
        )
        for name in names
    ]


def _range(counts: Iterable[int]) -> str:
    each = list(counts)
    return str(min(each)) if min(each) == max(each) else f"{min(each)} to {max(each)}"


def _network_panels(report: FunctionReport) -> list[Panel]:
    assert report.drive is not None
    assert report.system.activity.timeseries is not None
    panels = []
    for kind, series in (
        (report.modules, report.system.activity.timeseries),
        (report.drive, _drive_of(report.system)),
    ):
        used = kind.labels >= 0
        figure = matrix_figure(
            functional_connectivity(series[:, used]), kind.labels[used],
            title=f"Network 0: {kind.name}, {kind.n_modules} modules",
        )  # fmt: skip
        caption = f"Correlations of the {kind.name} of network 0, ordered by their own modules (squares)."
        panels.append(Panel(kind.name.replace(" ", "-"), figure, caption))
    caption = (
        "Network 0: r of the mean activity of each module with each variable; ∗ where it is beyond exchanged trials "
        f"(p corrected ≤ {LEVEL:g})."
    )
    return [*panels, Panel("carried", relations_figure(report.kinds, level=LEVEL), caption, wide=True)]


def _drive_of(system: RecurrentSystem) -> NDArray[Any]:
    return np.asarray(input_drive(system))


def _ensemble_panels(found: Sequence[OneNetwork]) -> list[Panel]:
    agreement = strips_figure(
        {"recurrent activity\nand input drive": [each.adjusted_rand for each in found]},
        ylabel="Adjusted Rand index", title=f"Do both have the same modules? {len(found)} networks",
    )  # fmt: skip
    modules = strips_figure(
        {
            "recurrent activity": [each.activity.n_modules for each in found],
            "input drive": [each.drive.n_modules for each in found],
        },
        ylabel="Modules", title=f"{len(found)} networks", paired=True,
    )  # fmt: skip
    names = [row[0] for row in _by_variable(found)]
    groups: dict[str, list[float]] = {}
    for name in names:
        word = name.replace("_", "\n")
        groups[f"{word}\n(rec.)"] = [each.activity.strongest[name] for each in found]
        groups[f"{word}\n(input)"] = [each.drive.strongest[name] for each in found]
    carried = strips_figure(
        groups, ylabel="Strongest |r| of a module", title=f"What modules carry, {len(found)} networks", width=10.8,
        colours=["#0072B2", "#E69F00"] * len(names),
    )  # fmt: skip
    return [
        Panel("n-modules", modules, "How many modules each network has; lines join the same network; bars: means."),
        Panel("agreement", agreement, "Modules of the recurrent activity beside those of the input drive: 1 where they "
              "are the same, 0 by chance."),
        Panel("carried-by-all", carried, "For each network and variable, the module that goes with it best: of the "
              "recurrent activity (blue) and of the input drive (orange).", wide=True),
    ]  # fmt: skip


def _lesion_panels(
    lesions: EnsembleLesions, selective: dict[str, NDArray[np.float64]], specialised: SampleComparison
) -> list[Panel]:
    short = {
        "intact": "whole\nnetwork", "mean module": "a module\n(mean)", "mean same size": "as many units\n(mean)",
        "mean same weight": "same weight\n(mean)", "worst module": "worst\nmodule",
        "worst same size": "worst of as\nmany units", "worst same weight": "worst of\nsame weight",
    }  # fmt: skip
    kept = [kind for kind in short if kind in lesions.accuracy]
    figure = strips_figure(
        {short[kind]: lesions.accuracy[kind][:, 0] for kind in kept}, ylabel="Accuracy", paired=True, width=10.8,
        title=f"Accuracy without the output of …, {lesions.n_networks} networks",
    )  # fmt: skip
    paired = specialised.paired
    selectivity = strips_figure(
        {"modules": selective["module"], "as many units": selective["random"]}, paired=True,
        ylabel="Largest less smallest loss", title=f"paired {p_in_words(None if paired is None else paired.p_value)}",
    )  # fmt: skip
    return [
        Panel("lesions", figure, "Accuracy over all trials of each network without the output of its modules, beside "
              "random sets of units; lines join the same network; bars: means.", wide=True),
        Panel("lesions-by-type", _types_figure(lesions), "The same by type of trial: the whole network, a module (mean "
              "over a network's modules), and random sets of as many units.", wide=True),
        Panel("selectivity", selectivity, "How unequally lesions harm the types of trials, mean over the modules of a "
              "network, beside random sets of as many units."),
        Panel("network-lesions", _network_figure(lesions.reports[0]), "Network 0: accuracy without each module, by "
              "type of trial; black lines: the whole network."),
    ]  # fmt: skip


def _types_figure(lesions: EnsembleLesions) -> "Figure":
    import matplotlib as mpl

    from fctoolbox.report.figures import STYLE, new_figure

    kinds = {"intact": "whole", "mean module": "module", "mean same size": "as many"}
    with mpl.rc_context(STYLE):
        figure = new_figure(height=3.0, width=10.8)
        places = figure.subplots(1, len(lesions.types), sharey=True, squeeze=False)[0]
        for k, (axes, name) in enumerate(zip(places, lesions.types, strict=True)):
            draw_strips(axes, {word: lesions.accuracy[kind][:, k] for kind, word in kinds.items()}, paired=True)
            axes.set_title(f"{name} trials" if k == 0 else name)
        places[0].set_ylabel("Accuracy")
    return figure


def _network_figure(report: LesionReport) -> "Figure":
    import matplotlib as mpl

    from fctoolbox.report.figures import STYLE, module_colours, new_figure

    with mpl.rc_context(STYLE):
        figure = new_figure(height=3.1)
        axes = figure.add_subplot()
        width = 0.8 / report.n_modules
        for module, colour in enumerate(module_colours(report.n_modules)):
            at = np.arange(len(report.types)) - 0.4 + width * (module + 0.5)
            axes.bar(at, report.accuracy[module], width=width * 0.9, color=colour,
                     label=f"{module} ({report.sizes[module]} units)")  # fmt: skip
        places = np.arange(len(report.types))
        axes.hlines(report.intact, places - 0.42, places + 0.42, "black", lw=1)
        axes.set_xticks(range(len(report.types)), report.types)
        axes.set_ylabel("Accuracy")
        axes.set_ylim(0, 1.03)
        figure.legend(frameon=False, loc="outside lower center", ncols=3, title="without module")
    return figure


def _lesion_table(lesions: EnsembleLesions) -> Table:
    rows = []
    for each in lesions.comparisons:
        s, paired = each.samples, each.samples.paired
        rows.append((
            f"{each.lesion}, beside {each.beside}", each.type, s.mean[0], s.mean[1], s.difference,
            None if paired is None else paired.t, None if paired is None else paired.p_value,
            None if paired is None else paired.cohens_d, s.t, s.p_value, s.cohens_d, s.cliffs_delta,
        ))  # fmt: skip
    columns = (
        "accuracy", "trials", "mean", "beside", "difference", "paired t", "p", "d of pairs", "Welch t", "p",
        "Cohen's d", "Cliff's δ",
    )  # fmt: skip
    return Table(
        "Lesions over the ensemble", columns, tuple(rows),
        "Networks are compared with themselves (paired). Welch's test of two samples stands beside it, because the "
        "paper compares two samples. No correction over rows.",
    )  # fmt: skip


def _variable_table(found: Sequence[OneNetwork]) -> Table:
    rows = tuple(
        (name.replace("_", " "), recurrent, n_recurrent, drive, n_drive)
        for name, recurrent, n_recurrent, drive, n_drive in _by_variable(found)
    )
    columns = ("variable", "|r|, recurrent", "networks beyond chance", "|r|, input drive", "networks beyond chance")
    return Table("What modules carry", columns, rows, "Strongest module of each network; mean over networks.")


def _network_table(found: Sequence[OneNetwork], lesions: EnsembleLesions) -> Table:
    rows = tuple(
        (
            each.network, float(lesions.accuracy["intact"][k, 0]), each.n_constant, each.activity.n_modules,
            each.drive.n_modules, each.adjusted_rand, each.p_agreement,
            float(lesions.accuracy["mean module"][k, 0]), float(lesions.accuracy["worst module"][k, 0]),
        )
        for k, each in enumerate(found)
    )  # fmt: skip
    columns = (
        "network", "accuracy", "constant units", "modules", "of the drive", "adjusted Rand", "p", "without a module",
        "without the worst",
    )  # fmt: skip
    return Table("Networks", columns, rows)
