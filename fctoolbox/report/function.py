"""Files of what modules carry: JSON, tables, a page, and its figures."""

import csv
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fctoolbox.data import written_whole
from fctoolbox.errors import blamed_on
from fctoolbox.function import FunctionReport, LesionReport, ModuleRelations
from fctoolbox.origin import software
from fctoolbox.report.figures import STYLE, WIDTH, Picture, module_colours, new_figure, rendered
from fctoolbox.report.page import METHODS, POLICIES, dropped_view, embedded, environment, provenance_view

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FIGURES = ("function-r", "function-lags", "function-lesions")
NAMES = (
    "function.json", "function.tsv", "function-lesions.tsv", "function.html",
    *(f"figures/{name}.{kind}" for name in FIGURES for kind in ("svg", "png")),
)  # fmt: skip
_CAPTIONS = {
    "function-r": "Pearson r of the mean activity of each module (rows; in brackets: units) with each variable "
    "(columns), over all time steps of all trials. Stars: p of exchanging trials, corrected over all of them (maxT), "
    "at most 0.05 (*), 0.01 (**), 0.001 (***).",
    "function-lags": "The same when the module is read later (positive lag) or earlier than the variable; a line for "
    "each module, where the variable still varies in trials cut for the lag. Dashed: the mean over all exchanges of "
    "trials, which is what the course shared by all trials gives.",
    "function-lesions": "Accuracy without the output of each module (large points), for each type of trial, beside "
    "lesions of random sets of units (mean and 95 % of them): of the same number, and of the same total output weight. "
    "Line: the whole network. Dotted: all units lesioned.",
}
_POLICIES = {**POLICIES, "modules": "modules of", "n_nulls": "nulls", "correction": "correction of p"}
_LEVELS = (0.05, 0.01, 0.001)
_COLUMNS = (
    "modules_of", "module", "n_units", "variable", "lag_seconds", "r", "expected_r", "p", "p_corrected", "p_any_lag",
)  # fmt: skip
_LESION_COLUMNS = (
    "module", "n_units", "output_weight", "trials", "n_trials", "intact", "accuracy", "control", "n_random",
    "control_accuracy", "control_low", "control_high", "p",
)  # fmt: skip
_CONTROLS = (("same size", "#9a9a9a", "s"), ("same output weight", "#c79a00", "D"))


def save_function(report: FunctionReport, folder: Path, *, command: str = "") -> Path:
    """Write what modules carry; the path of its page.

    Parameters
    ----------
    report : FunctionReport
    folder : Path
        Made if need be. Files of an earlier one are replaced, each whole; those that this one lacks go.
    command : str
        What the user typed.

    Returns
    -------
    Path
        ``folder/function.html``, beside ``function.json``, ``function.tsv``, ``figures/function-r`` and
        ``function-lags`` (SVG, PNG), and with lesions ``function-lesions.tsv`` and their figure.
    """
    pictures = rendered(function_figures(report))
    # allow_nan=False: a NaN that got this far must stop here, not in somebody's parser.
    content = json.dumps(report.to_dict(command=command), indent=1, ensure_ascii=False, allow_nan=False)
    page = function_page(report, pictures, command=command)
    remove_function(folder)
    _write(folder / "function.json", content + "\n")
    _write_table(folder / "function.tsv", _COLUMNS, _rows(report))
    if report.lesions is not None:
        _write_table(folder / "function-lesions.tsv", _LESION_COLUMNS, _lesion_rows(report.lesions))
    for name, picture in pictures.items():
        for kind, image in (("svg", picture.svg), ("png", picture.png)):
            with written_whole(folder / "figures" / f"{name}.{kind}") as path:
                path.write_bytes(image)
    _write(folder / "function.html", page)
    return folder / "function.html"


def remove_function(folder: Path) -> None:
    """Remove the files of an earlier report, which would be taken for one of the report beside them."""
    for name in NAMES:
        with blamed_on(f"{folder / name} cannot be removed"):
            (folder / name).unlink(missing_ok=True)


def function_page(report: FunctionReport, pictures: dict[str, Picture], *, command: str = "") -> str:
    """The HTML of what modules carry, self-contained."""
    system = report.system
    provenance = system.provenance
    return environment().get_template("function.html.jinja").render(
        title=f"fctoolbox: what the modules of {system.name} carry",
        report=report,
        kinds=[_view(kind) for kind in report.kinds],
        lesions=None if report.lesions is None else _lesions_view(report.lesions),
        system={
            "name": system.name,
            "synthetic": provenance.synthetic,
            **provenance_view(system),
            **dropped_view(report.dropped),
        },
        policies={_POLICIES.get(name, name): value for name, value in report.policies.items() if name != "lags"},
        figures=[(embedded(picture), _CAPTIONS[name]) for name, picture in pictures.items()],
        command=command or report.call,
        versions=software(system),
        methods=METHODS,
    )  # fmt: skip


def function_figures(report: FunctionReport) -> "dict[str, Figure]":
    """All figures by name, in reading order."""
    import matplotlib as mpl

    with mpl.rc_context(STYLE):
        figures = {"function-r": _heat_figure(report)}
        if len(report.modules.relation.lags) > 1:
            figures["function-lags"] = _lag_figure(report)
        if report.lesions is not None:
            figures["function-lesions"] = _lesion_figure(report.lesions)
        return figures


def stars(p: float) -> str:
    """A star for each of 0.05, 0.01 and 0.001 that p does not exceed."""
    return "*" * sum(p <= level for level in _LEVELS)


def _heat_figure(report: FunctionReport) -> "Figure":
    kinds = report.kinds
    n_columns, n_rows = len(kinds[0].columns), [kind.n_modules for kind in kinds]
    figure = new_figure(
        height=1.5 + 0.27 * sum(n_rows) + 0.3 * (len(kinds) - 1), width=max(WIDTH, 1.6 + 0.36 * n_columns)
    )
    panels = figure.subplots(len(kinds), 1, squeeze=False, gridspec_kw={"height_ratios": n_rows})[:, 0]
    for axes, kind in zip(panels, kinds, strict=True):
        image = axes.imshow(kind.r, cmap="RdBu_r", vmin=-1, vmax=1, aspect="auto", interpolation="nearest")
        for (module, column), r in np.ndenumerate(kind.r):
            colour = "white" if abs(r) > 0.6 else "black"
            mark = stars(float(kind.p_corrected[module, column]))
            axes.text(column, module, mark, ha="center", va="center", fontsize=8, color=colour)
        axes.set_yticks(range(kind.n_modules), _names(kind))
        axes.set_xticks(range(n_columns), kind.columns if kind is kinds[-1] else [""] * n_columns, rotation=90)
        axes.set_title(f"Modules of the {kind.name}", loc="left")
        axes.tick_params(length=0)
        for spine in axes.spines.values():
            spine.set_visible(False)
    bar = figure.colorbar(image, ax=list(panels), label="Pearson r", shrink=0.8)
    bar.outline.set_visible(False)
    return figure


def _lag_figure(report: FunctionReport) -> "Figure":
    kind = report.modules
    n_columns = len(kind.columns)
    across = min(4, n_columns)
    down = -(-n_columns // across)
    figure = new_figure(height=0.55 + 1.25 * down, width=WIDTH * max(1, across / 2))
    panels = figure.subplots(down, across, squeeze=False, sharex=True, sharey=True)
    order = np.argsort(kind.relation.lags)
    for place, axes in enumerate(panels.ravel()):
        if place >= n_columns:
            axes.set_axis_off()
            continue
        axes.axhline(0, color="#bbbbbb", lw=0.6)
        axes.axvline(0, color="#bbbbbb", lw=0.6)
        known = order[kind.relation.defined[order, place]]
        lags = kind.relation.lags[known]
        for module, colour in enumerate(module_colours(kind.n_modules)):
            axes.plot(lags, kind.relation.expected[known, module, place], "--", color=colour, lw=0.7)
            axes.plot(
                lags, kind.relation.r[known, module, place], "-o", color=colour, ms=2, lw=1, label=f"module {module}"
            )
        axes.set_title(kind.columns[place], fontsize=8)
        if place % across == 0:
            axes.set_ylabel("Pearson r")
        if place + across >= n_columns:
            axes.set_xlabel("Lag (s)")
            axes.tick_params(labelbottom=True)
    handles, names = panels[0, 0].get_legend_handles_labels()
    figure.legend(handles, names, frameon=False, loc="outside lower center", ncols=min(6, len(names)))
    return figure


def _lesion_figure(lesions: LesionReport) -> "Figure":
    n_types = len(lesions.types)
    across = min(4, n_types)
    down = -(-n_types // across)
    figure = new_figure(height=0.6 + 1.9 * down, width=WIDTH * max(1, across / 2))
    panels = figure.subplots(down, across, squeeze=False, sharey=True)
    colours = module_colours(lesions.n_modules)
    for kind, axes in enumerate(panels.ravel()):
        if kind >= n_types:
            axes.set_axis_off()
            continue
        _draw_lesions(axes, lesions, kind, colours)
        if kind % across == 0:
            axes.set_ylabel("Accuracy")
    handles, names = panels[0, 0].get_legend_handles_labels()
    figure.legend(handles, names, frameon=False, loc="outside lower center", ncols=3)
    return figure


def _draw_lesions(axes: "Axes", lesions: LesionReport, kind: int, colours: Sequence[str]) -> None:
    axes.axhline(lesions.intact[kind], color="#444444", lw=0.9, label="whole network")
    axes.axhline(lesions.without_any[kind], color="#444444", lw=0.9, ls=":", label="all units lesioned")
    for shift, (label, colour, marker), controls in zip(
        (0.2, 0.4), _CONTROLS, (lesions.same_size, lesions.same_weight), strict=True
    ):
        said = False
        for module, control in enumerate(controls):
            if control is None:
                continue
            values = control.accuracy[:, kind]
            low, high = np.quantile(values, [0.025, 0.975])
            x, name = module + shift, "" if said else f"random, {label}"
            axes.plot([x, x], [low, high], color=colour, lw=2.2, solid_capstyle="butt")
            axes.plot([x], [values.mean()], marker, color=colour, ms=3.5, ls="none", label=name or None)
            said = True
    for module, colour in enumerate(colours):
        axes.plot([module], [lesions.accuracy[module, kind]], "o", color=colour, ms=6)
    axes.set_xticks(range(lesions.n_modules), [str(module) for module in range(lesions.n_modules)])
    axes.set_xlim(-0.4, lesions.n_modules - 0.3)
    axes.set_ylim(-0.04, 1.04)
    axes.set_xlabel("Module lesioned")
    axes.set_title(f"{lesions.types[kind]} ({lesions.n_trials[kind]} trials)", fontsize=8)


def _names(kind: ModuleRelations) -> list[str]:
    return [f"module {module} ({n})" for module, n in enumerate(kind.sizes)]


def _view(kind: ModuleRelations) -> dict[str, Any]:
    """A table of r at the lag nearest to 0, for the template."""
    return {
        "name": kind.name,
        "found_on": kind.found_on,
        "columns": kind.columns,
        "lag": float(kind.relation.lags[kind.relation.shortest]),
        "modules": [
            {
                "label": module,
                "colour": colour,
                "size": kind.sizes[module],
                "cells": [
                    {"r": float(r), "p": float(p), "stars": stars(float(p))}
                    for r, p in zip(kind.r[module], kind.p_corrected[module], strict=True)
                ],
            }
            for module, colour in enumerate(module_colours(kind.n_modules))
        ],
    }


def _lesions_view(lesions: LesionReport) -> dict[str, Any]:
    rows = [dict(zip(_LESION_COLUMNS, row, strict=True)) for row in _lesion_rows(lesions)]
    return {
        "rows": rows,
        "without_any": float(lesions.without_any[0]),
        "kind": "silenced throughout" if lesions.full else "cut off the outputs",
        "missing": [module for module, control in enumerate(lesions.same_weight) if control is None],
    }


def _rows(report: FunctionReport) -> Iterable[list[Any]]:
    for kind in report.kinds:
        relation = kind.relation
        for (k, module, column), r in np.ndenumerate(relation.r):
            if not relation.defined[k, column]:
                continue
            yield [
                kind.name, module, kind.sizes[module], kind.columns[column], float(relation.lags[k]), float(r),
                float(relation.expected[k, module, column]), float(relation.p[k, module, column]),
                float(relation.p_corrected[k, module, column]), float(relation.p_any_lag[module, column]),
            ]  # fmt: skip


def _lesion_rows(lesions: LesionReport) -> Iterable[list[Any]]:
    for module in range(lesions.n_modules):
        for kind, name in enumerate(lesions.types):
            own = [
                module, lesions.sizes[module], float(lesions.output_weights[module]), name, lesions.n_trials[kind],
                float(lesions.intact[kind]), float(lesions.accuracy[module, kind]),
            ]  # fmt: skip
            for (label, _, _), control in zip(
                _CONTROLS, (lesions.same_size[module], lesions.same_weight[module]), strict=True
            ):
                if control is None:
                    yield [*own, label, 0, "", "", "", ""]
                    continue
                values = control.accuracy[:, kind]
                low, high = (float(each) for each in np.quantile(values, [0.025, 0.975]))
                yield [*own, label, len(values), float(values.mean()), low, high, control.tests[kind].p_value]


def _write_table(target: Path, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    with written_whole(target) as path, path.open("w", encoding="utf-8", newline="") as stream:
        csv.writer(stream, delimiter="\t", lineterminator="\n").writerows([columns, *rows])


def _write(target: Path, text: str) -> None:
    with written_whole(target) as path:
        path.write_text(text, encoding="utf-8")
