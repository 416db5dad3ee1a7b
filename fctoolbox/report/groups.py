"""Files of a comparison of groups of inputs: JSON, TSV, a page, and its figures."""

import csv
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fctoolbox.data import written_whole
from fctoolbox.errors import blamed_on
from fctoolbox.groups import STATISTICS, WHERE, Estimate, GroupComparison, HighestTest
from fctoolbox.origin import software
from fctoolbox.report.figures import STYLE, WIDTH, Picture, new_figure, rendered
from fctoolbox.report.page import METHODS, POLICIES, dropped_view, embedded, environment, provenance_view
from fctoolbox.report.write import save_dropped

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

NAMES = ("groups", "groups-dealt", "groups-reach")
_MARKS = {"own": ("o", "#0072B2", "#0072B2"), "common": ("s", "#D55E00", "white")}  # shape, line, inside
_AXES = {"r": "Similarity–connectivity correlation r", "q": "Induced modularity Q*"}
_SHORT = {"own": "own units", "common": "common units"}
_MAX_REACH = 80  # units whose names can still be read
_CAPTIONS = {
    "groups": "Each group's r and induced Q* (points) with the interval from drawing the units anew (lines): on the "
    "units that it reaches, and on those that all groups reach. In brackets: inputs, and units reached. The order is "
    "that of r on own units.",
    "groups-dealt": "The lead over the highest of the others (line), and what it is after inputs were dealt anew to "
    "groups of the same sizes (bars).",
    "groups-reach": "The units that each group reaches (filled). Those below the line are common to all.",
}
_POLICIES = {
    **POLICIES,
    "bootstrap": "drawn anew for intervals",
    "n_bootstrap": "draws of units",
    "level": "level of the intervals",
    "permutation": "dealt anew for p",
    "n_permutations": "deals of inputs",
}
_METHODS = (*METHODS, "Snijders & Borgatti 1999, Connections 22:161–170 (bootstrap of units)")


def save_groups(comparison: GroupComparison, folder: Path, *, command: str = "") -> Path:
    """Write a comparison of groups; the path of its page.

    Parameters
    ----------
    comparison : GroupComparison
    folder : Path
        Made if need be. Files of an earlier comparison are replaced, each whole; figures that this one lacks go.
    command : str
        What the user typed.

    Returns
    -------
    Path
        ``folder/groups.html``, beside ``groups.json``, ``groups.tsv`` and ``figures/``.
    """
    pictures = rendered(group_figures(comparison))
    # allow_nan=False: a NaN that got this far must stop here, not in somebody's parser.
    content = json.dumps(comparison.to_dict(command=command), indent=1, ensure_ascii=False, allow_nan=False)
    page = groups_page(comparison, pictures, command=command)
    with written_whole(folder / "groups.json") as path:
        path.write_text(content + "\n", encoding="utf-8")
    with written_whole(folder / "groups.tsv") as path, path.open("w", encoding="utf-8", newline="") as stream:
        csv.writer(stream, delimiter="\t", lineterminator="\n").writerows(_table(comparison))
    save_dropped(comparison.dropped, folder)
    for name in NAMES:
        for kind in ("svg", "png"):
            target = folder / "figures" / f"{name}.{kind}"
            if name in pictures:
                with written_whole(target) as path:
                    path.write_bytes(getattr(pictures[name], kind))
            else:
                with blamed_on(f"{target} cannot be removed"):
                    target.unlink(missing_ok=True)
    with written_whole(folder / "groups.html") as path:
        path.write_text(page, encoding="utf-8")
    return folder / "groups.html"


def groups_page(comparison: GroupComparison, pictures: Mapping[str, Picture], *, command: str = "") -> str:
    """The HTML of a comparison of groups, self-contained."""
    system = comparison.system
    provenance = system.provenance
    return environment().get_template("groups.html.jinja").render(
        title=f"fctoolbox: {system.name}, by group",
        comparison=comparison,
        places=[(where, WHERE[where]) for where in comparison.places],
        statistics=STATISTICS,
        system={
            "name": system.name,
            "synthetic": provenance.synthetic,
            **dropped_view(comparison.dropped),
            **provenance_view(system),
        },
        policies={_POLICIES.get(name, name): value for name, value in comparison.policies.items()},
        figures={name: embedded(picture) for name, picture in pictures.items()},
        captions=_CAPTIONS,
        command=command or comparison.call,
        versions=software(system),
        methods=_METHODS,
    )  # fmt: skip


def group_figures(comparison: GroupComparison) -> "dict[str, Figure]":
    """All figures of a comparison by name, in reading order."""
    import matplotlib as mpl

    with mpl.rc_context(STYLE):
        figures = {"groups": _scores_figure(comparison), "groups-dealt": _dealt_figure(comparison)}
        some_unreached = any(group.unreached for group in comparison.compared)
        if some_unreached and comparison.system.n_units <= _MAX_REACH:
            figures["groups-reach"] = _reach_figure(comparison)
        return figures


_COLUMNS = ("value", "low", "high", "rank", "behind", "behind_low", "behind_high")


def _table(comparison: GroupComparison) -> list[list[Any]]:
    """A row for each group on each set of units; empty cells where there is no number."""
    numbers = [name if column == "value" else f"{name}_{column}" for name in STATISTICS for column in _COLUMNS]
    rows: list[list[Any]] = [
        ["group", "n_inputs", "units", "n_units", *numbers, "spearman_rho", "n_communities", "reason"]
    ]
    for group in comparison.groups:
        for where in WHERE:
            score = getattr(group, where)
            if score is None:
                reason = group.reason or "too few units are reached by all groups"
                rows.append([group.name, group.n_inputs, where, *[""] * (len(numbers) + 3), reason])
                continue
            cells = [getattr(getattr(score, name), column) for name in STATISTICS for column in _COLUMNS]
            n_units, n_communities = len(score.units), score.communities.n
            rows.append([group.name, group.n_inputs, where, n_units, *cells, score.spearman_rho, n_communities, ""])
    return [["" if cell is None else cell for cell in row] for row in rows]


def _scores_figure(comparison: GroupComparison) -> "Figure":
    groups, n_units = comparison.compared, comparison.system.n_units
    figure = new_figure(height=0.95 + 0.3 * len(groups), width=2 * WIDTH)
    panels = figure.subplots(1, len(STATISTICS), sharey=True)
    shown = comparison.places
    for axes, statistic in zip(panels, _AXES, strict=True):
        axes.axvline(0, color="#999999", lw=0.8, zorder=0)
        for k, where in enumerate(shown):
            shape, colour, inside = _MARKS[where]
            for y, group in enumerate(groups):
                score = getattr(group, where)
                if score is not None:
                    line = y + (0.17 * (2 * k - 1) if len(shown) > 1 else 0)
                    _draw_estimate(axes, getattr(score, statistic), line, shape, colour, inside)
            axes.plot([], [], marker=shape, color=colour, mfc=inside, ms=4.5, lw=1.4, label=_label(comparison, where))
        # Every other row on grey, so that the eye finds the name.
        for y in range(1, len(groups), 2):
            axes.axhspan(y - 0.5, y + 0.5, color="#f2f4f6", lw=0, zorder=-1)
        axes.set_ylim(len(groups) - 0.5, -0.5)
        axes.set_xlabel(_AXES[statistic])
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
    panels[0].set_yticks(
        range(len(groups)), [f"{group.name} ({group.n_inputs}, {n_units - len(group.unreached)})" for group in groups]
    )
    for tick, group in zip(panels[0].get_yticklabels(), groups, strict=True):
        tick.set_fontsize(min(8.0, 400 / len(groups)))
        if group.name == comparison.highest:
            tick.set_fontweight("bold")
    figure.legend(*panels[0].get_legend_handles_labels(), frameon=False, loc="outside lower center", ncols=2)
    return figure


def _label(comparison: GroupComparison, where: str) -> str:
    return f"the {len(comparison.common_units):,} units that all reach" if where == "common" else WHERE[where]


def _draw_estimate(axes: "Axes", estimate: Estimate, y: float, shape: str, colour: str, inside: str) -> None:
    if estimate.low is not None and estimate.high is not None:
        axes.plot([estimate.low, estimate.high], [y, y], color=colour, lw=1.4, solid_capstyle="butt", zorder=2)
    axes.plot([estimate.value], [y], marker=shape, ms=4.5, color=colour, mfc=inside, mew=1.1, zorder=3)


def _dealt_figure(comparison: GroupComparison) -> "Figure":
    tests = [each for each in comparison.tests if each.where in comparison.places]
    n_rows = len(tests) // len(STATISTICS)
    figure = new_figure(height=0.5 + 1.5 * n_rows, width=2 * WIDTH)
    panels = figure.subplots(n_rows, len(STATISTICS), squeeze=False).ravel()
    for axes, each in zip(panels, tests, strict=True):
        _draw_deals(axes, each)
    figure.legend(*panels[0].get_legend_handles_labels(), frameon=False, loc="outside lower center", ncols=2)
    return figure


def _draw_deals(axes: "Axes", each: HighestTest) -> None:
    values = each.test.values
    low, high = min(float(values.min()), each.lead), max(float(values.max()), each.lead)
    margin = 0.04 * (high - low) or 1e-3
    axes.hist(
        values, bins=list(np.linspace(low - margin, high + margin, 41)), color="#999999", label="inputs dealt anew"
    )
    axes.axvline(each.lead, color="#D55E00", lw=2, label="observed")
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    axes.set_xlabel(f"{each.group} − highest of the others: {STATISTICS[each.statistic]}")
    axes.set_title(f"{_SHORT[each.where]}: {each.lead:+.3f}, p = {each.test.p_value:.2g}")


def _reach_figure(comparison: GroupComparison) -> "Figure":
    # Units along the rows: their names are read from left to right.
    groups, units = comparison.compared, comparison.system.units
    missed = {unit: sum(unit in group.unreached for group in groups) for unit in units}
    order = sorted(units, key=lambda unit: -missed[unit])
    reached = np.array([[unit not in group.unreached for group in groups] for unit in order])
    figure = new_figure(height=1.3 + 0.13 * len(units), width=max(WIDTH, 1.2 + 0.17 * len(groups)))
    axes = figure.add_subplot()
    y, x = np.nonzero(reached)
    axes.scatter(x, y, marker="s", s=22, c="#0072B2", lw=0)
    y, x = np.nonzero(~reached)
    axes.scatter(x, y, marker="s", s=18, facecolors="white", edgecolors="#bbbbbb", linewidths=0.7)
    n_missed = sum(count > 0 for count in missed.values())
    axes.axhline(n_missed - 0.5, color="#D55E00", lw=1)
    axes.set_xticks(range(len(groups)), [group.name for group in groups], rotation=90)
    axes.set_yticks(range(len(order)), order, fontsize=min(7.0, 500 / len(order)))
    axes.set_xlim(-0.7, len(groups) - 0.3)
    axes.set_ylim(len(order) - 0.4, -0.6)
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)
    return figure
