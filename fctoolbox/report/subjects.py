"""Files of an analysis of several subjects: JSON, TSV, a page and its figure, beside the report of their group."""

import csv
import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fctoolbox.data import written_whole
from fctoolbox.origin import software
from fctoolbox.report.figures import STYLE, WIDTH, Picture, new_figure, rendered
from fctoolbox.report.page import METHODS, embedded, environment, provenance_view
from fctoolbox.report.write import save_report
from fctoolbox.subjects import STATISTICS, SubjectResult, SubjectsReport

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_CAPTION = (
    "Each subject's r and induced Q* (points; filled where p ≤ 0.05 under every null), their mean (dashed), and those "
    "of the mean of all subjects' data (line)."
)
_AXES = {"r": "Similarity–connectivity correlation r", "partial_r": "r without distance", "q": "Induced modularity Q*"}
_POINT, _GROUP = "#0072B2", "#D55E00"
_MAX_NAMED = 60  # subjects whose names can still be read
_LEVEL = 0.05


def save_subjects(report: SubjectsReport, folder: Path, *, command: str = "") -> Path:
    """Write an analysis of several subjects; the path of its page.

    Parameters
    ----------
    report : SubjectsReport
    folder : Path
        Made if need be. Files of an earlier report are replaced, each whole.
    command : str
        What the user typed.

    Returns
    -------
    Path
        ``folder/subjects.html``, beside ``subjects.json``, ``subjects.tsv``, ``figures/subjects`` and the report of the
        group as `save_report` writes it.
    """
    pictures = rendered(subject_figures(report))
    # allow_nan=False: a NaN that got this far must stop here, not in somebody's parser.
    content = json.dumps(report.to_dict(command=command), indent=1, ensure_ascii=False, allow_nan=False)
    page = subjects_page(report, pictures, command=command)
    save_report(report.group, folder, command=command)
    with written_whole(folder / "subjects.json") as path:
        path.write_text(content + "\n", encoding="utf-8")
    with written_whole(folder / "subjects.tsv") as path, path.open("w", encoding="utf-8", newline="") as stream:
        csv.writer(stream, delimiter="\t", lineterminator="\n").writerows(_table(report))
    for name, picture in pictures.items():
        for kind in ("svg", "png"):
            with written_whole(folder / "figures" / f"{name}.{kind}") as path:
                path.write_bytes(getattr(picture, kind))
    with written_whole(folder / "subjects.html") as path:
        path.write_text(page, encoding="utf-8")
    return folder / "subjects.html"


def subjects_page(report: SubjectsReport, pictures: Mapping[str, Picture], *, command: str = "") -> str:
    """The HTML of an analysis of several subjects, self-contained."""
    system = report.group.system
    provenance = system.provenance
    statistics = {name: words for name, words in STATISTICS.items() if report.spread(name) is not None}
    return environment().get_template("subjects.html.jinja").render(
        title=f"fctoolbox: {system.name}, subject by subject",
        report=report,
        statistics=statistics,
        spreads={name: report.spread(name) for name in statistics},
        models=_models(report),
        level=_LEVEL,
        n_below={name: {model: sum(each.p_values.get(name, {}).get(model, 1) <= _LEVEL for each in report.results)
                        for model in _models(report)} for name in statistics},
        dropped={each.subject: _reasons(each) for each in report.results},
        system={
            "name": system.name,
            "synthetic": provenance.synthetic,
            **provenance_view(system),
            "files": (*report.files, *provenance.files),
        },
        figures={name: embedded(picture) for name, picture in pictures.items()},
        caption=_CAPTION,
        command=command or report.call,
        versions=software(system),
        methods=METHODS,
    )  # fmt: skip


def subject_figures(report: SubjectsReport) -> "dict[str, Figure]":
    """The figure of an analysis of several subjects, by name."""
    import matplotlib as mpl

    with mpl.rc_context(STYLE):
        return {"subjects": _figure(report)}


def _figure(report: SubjectsReport) -> "Figure":
    shown = [name for name in STATISTICS if report.spread(name) is not None]
    n = len(report.results)
    named = n <= _MAX_NAMED
    figure = new_figure(height=1.1 + (0.16 * n if named else 4), width=WIDTH * (0.5 + 0.6 * len(shown)))
    panels = figure.subplots(1, len(shown), sharey=True)
    for axes, statistic in zip(panels, shown, strict=True):
        _draw(axes, report, statistic)
    panels[0].set_ylim(n - 0.5, -0.5)
    if named:
        panels[0].set_yticks(range(n), [each.subject for each in report.results])
    else:
        panels[0].set_yticks([])
        panels[0].set_ylabel(f"{n:,} subjects, in the order of the table")
    figure.legend(*panels[0].get_legend_handles_labels(), frameon=False, loc="outside lower center", ncols=3)
    return figure


def _draw(axes: "Axes", report: SubjectsReport, statistic: str) -> None:
    spread = report.spread(statistic)
    assert spread is not None  # only those that there are are drawn
    axes.axvline(0, color="#999999", lw=0.8, zorder=0)
    axes.axvline(report.of_group.get(statistic, spread.mean), color=_GROUP, lw=1.6, zorder=1, label="mean of the data")
    axes.axvline(spread.mean, color=_POINT, lw=1, ls="--", zorder=1, label="mean over subjects")
    size = 4.5 if len(report.results) <= _MAX_NAMED else 2.5
    rows = [(y, each) for y, each in enumerate(report.results) if statistic in each.values]
    significant = np.array([_all_below(each, statistic) for _, each in rows])
    for chosen, inside in ((significant, _POINT), (~significant, "white")):
        x = [each.values[statistic] for (_, each), here in zip(rows, chosen, strict=True) if here]
        y = [row for (row, _), here in zip(rows, chosen, strict=True) if here]
        label = "subject" if inside == _POINT else None
        axes.plot(x, y, ls="none", marker="o", ms=size, color=_POINT, mfc=inside, mew=1, zorder=2, label=label)
    axes.set_xlabel(_AXES[statistic])
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)


def _all_below(result: SubjectResult, statistic: str) -> bool:
    p_values = result.p_values.get(statistic, {})
    return bool(p_values) and max(p_values.values()) <= _LEVEL


def _models(report: SubjectsReport) -> list[str]:
    return list(dict.fromkeys(model for each in report.results for tests in each.p_values.values() for model in tests))


def _reasons(result: SubjectResult) -> str:
    counts = Counter(result.dropped.values())
    return "; ".join(f"{count} × {reason}" for reason, count in counts.items())


def _table(report: SubjectsReport) -> list[list[Any]]:
    """A row for each subject, and one for the group; empty cells where there is no number."""
    models = _models(report)
    tests = [f"p_{name}_{model}" for name in STATISTICS for model in models]
    fixed = ["subject", "n_units", "n_inputs", "n_communities", *STATISTICS, "spearman_rho", "q_similarity", "q_best"]
    rows: list[list[Any]] = [[*fixed, *tests, "n_dropped", "dropped", "failure"]]
    for each in report.results:
        values = [each.values.get(name) for name in STATISTICS]
        p_values = [each.p_values.get(name, {}).get(model) for name in STATISTICS for model in models]
        rest = [each.spearman_rho, each.q_similarity, each.q_best]
        rows.append([each.subject, each.n_units, each.n_inputs, each.n_communities, *values, *rest, *p_values,
                     len(each.dropped), _reasons(each), ""])  # fmt: skip
    for subject, reason in report.failures.items():
        rows.append([subject, *[""] * (len(rows[0]) - 2), " ".join(reason.split())])
    return [["" if cell is None else cell for cell in row] for row in rows]
