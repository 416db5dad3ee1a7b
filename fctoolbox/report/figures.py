"""The figures of a report, one panel each, at the width of a paper's column."""

import io
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fctoolbox.chance import is_large
from fctoolbox.nulls import NullTest
from fctoolbox.origin import OriginReport
from fctoolbox.report.dense import block_means, draw_joint
from fctoolbox.system import Floats

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

NAMES = ("similarity", "connectivity", "relationship", "induced-q", "modules", "slices", "null-r", "null-partial-r")
WIDTH = 3.5  # inches
STYLE = {
    "font.size": 8,
    "axes.titlesize": 9,
    "axes.labelsize": 8,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "svg.fonttype": "path",
    "svg.hashsalt": "fctoolbox",  # the same figure gives the same file
    "figure.dpi": 100,
}
# Okabe & Ito's colours first: told apart with any colour vision; then Paul Tol's muted ones.
_COLOURS = (
    "#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442", "#332288",
    "#999933", "#882255", "#44AA99", "#AA4499", "#DDCC77", "#117733", "#88CCEE", "#CC6677",
)  # fmt: skip
_DPI = 300
_MAX_NAMED_TICKS = 45
_MAX_SCATTER_EDGES = 3000
_LEAST_WIDTH = 0.03  # of a picture's side, for a module to have its number beside it


def module_colours(n: int) -> list[str]:
    """A colour for each module, in the order of their labels; they repeat beyond 16."""
    return [_COLOURS[i % len(_COLOURS)] for i in range(n)]


def report_figures(report: OriginReport, names: Collection[str] = NAMES) -> "dict[str, Figure]":
    """The figures of a report by name, in reading order; those of `names` that it has."""
    import matplotlib as mpl

    from fctoolbox.report.places import modules_figure, slices_figure, volume_of

    draw: dict[str, Callable[[], Figure]] = {
        "similarity": lambda: _matrix_figure(report, report.similarity, "Similarity of input projections", "Cosine"),
        "connectivity": lambda: _matrix_figure(
            report, report.connectivity, "Functional connectivity", "Pearson r", signed=True
        ),
        "relationship": lambda: _relationship_figure(report),
        "induced-q": lambda: _null_figure(
            report.induced.nulls, report.induced.q, "Induced modularity Q*", best=report.induced.q_best
        ),
        "modules": lambda: modules_figure(report),
    }
    if volume_of(report) is not None:
        draw["slices"] = lambda: slices_figure(report)
    if report.relationship.nulls:
        draw["null-r"] = lambda: _null_figure(
            report.relationship.nulls, report.relationship.pearson_r, "Similarity–connectivity correlation r"
        )
    if report.relationship.partial_nulls and report.relationship.partial_r is not None:
        partial_r = report.relationship.partial_r
        draw["null-partial-r"] = lambda: _null_figure(
            report.relationship.partial_nulls, partial_r, "Similarity–connectivity correlation r, without distance"
        )
    with mpl.rc_context(STYLE):
        return {name: figure() for name, figure in draw.items() if name in names}


@dataclass(frozen=True)
class Picture:
    """A figure as the bytes of an SVG and of a PNG file."""

    svg: bytes
    png: bytes


def rendered(figures: "Mapping[str, Figure]") -> dict[str, Picture]:
    """The figures as files; the same figure gives the same bytes."""
    import matplotlib as mpl

    pictures = {}
    with mpl.rc_context(STYLE):
        for name, figure in figures.items():
            svg, png = io.BytesIO(), io.BytesIO()
            figure.savefig(svg, format="svg", dpi=_DPI, metadata={"Date": None})
            figure.savefig(png, format="png", dpi=_DPI)
            pictures[name] = Picture(svg.getvalue(), png.getvalue())
    return pictures


def new_figure(height: float = WIDTH, width: float = WIDTH) -> "Figure":
    """An empty figure of a column's width (inches), without pyplot's global state."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def _matrix_figure(report: OriginReport, matrix: Floats, title: str, measure: str, *, signed: bool = False) -> "Figure":
    labels = report.communities.labels
    order = np.argsort(labels, kind="stable")
    picture, off_diagonal, said = _seen_whole(matrix, order) if is_large(len(order)) else _seen_each(matrix, order)
    figure = new_figure(height=3.1)
    axes = figure.add_subplot()
    # The scale ends at the 99th percentile, so that a few strong pairs do not bleach all others.
    limit = float(np.percentile(np.abs(off_diagonal), 99)) or 1.0
    # Functional connectivity is drawn in one map everywhere, also where a system has no negative values.
    signed = signed or off_diagonal.min() < 0
    last = len(order) - 0.5
    colours = {"cmap": _map("RdBu_r" if signed else "cividis"), "vmin": -limit if signed else 0, "vmax": limit}
    image = axes.imshow(picture, **colours, interpolation="nearest", extent=(-0.5, last, last, -0.5))
    beyond = "both" if off_diagonal.min() < -limit else "max"
    bar = figure.colorbar(
        image,
        ax=axes,
        label=measure,
        shrink=0.85,
        extend=beyond if np.abs(off_diagonal).max() > limit else "neither",
    )
    bar.outline.set_visible(False)
    axes.set_title(title)
    mark_modules(axes, labels[order], dark=signed)
    _name_units(axes, [report.system.units[i] for i in order], labels[order])
    if said:
        axes.set_xlabel(f"{axes.get_xlabel()}; {said}")
    return figure


def _seen_each(matrix: Floats, order: NDArray[np.intp]) -> tuple[Any, NDArray[np.float64], str]:
    """A pixel for each pair of units; and the values off the diagonal."""
    ordered = matrix[np.ix_(order, order)].astype(np.float64)
    # The diagonal takes part in nothing, so it is drawn grey.
    diagonal = np.eye(len(ordered), dtype=bool)
    return np.ma.array(ordered, mask=diagonal), ordered[~diagonal], ""  # type: ignore[no-untyped-call]


def _seen_whole(matrix: Floats, order: NDArray[np.intp]) -> tuple[Any, NDArray[np.float64], str]:
    """A pixel for the mean of many pairs; the means; and what a pixel is, in words."""
    seen = block_means(matrix, order)
    return seen.means, seen.means.ravel(), f"a pixel: mean of {seen.size} × {seen.size}"


def _map(name: str) -> Any:
    import matplotlib as mpl

    return mpl.colormaps[name].with_extremes(bad="#bbbbbb")


def mark_modules(axes: "Axes", labels: NDArray[np.integer[Any]], *, dark: bool) -> None:
    """A square around each module of a matrix whose rows are ordered by these labels."""
    from matplotlib.patches import Rectangle

    starts = np.flatnonzero(np.diff(labels, prepend=-1))
    for start, size in zip(starts, np.diff(starts, append=len(labels)), strict=True):
        axes.add_patch(
            Rectangle((start - 0.5, start - 0.5), size, size, fill=False, lw=1.1, ec="black" if dark else "white")
        )


def _name_units(axes: "Axes", units: list[str], labels: NDArray[np.intp]) -> None:
    colours = module_colours(int(labels.max()) + 1)
    if len(units) <= _MAX_NAMED_TICKS:
        size = min(7.0, 150 / len(units))
        axes.set_xticks(range(len(units)), units, rotation=90, fontsize=size)
        axes.set_yticks(range(len(units)), units, fontsize=size)
        ticks = [
            (tick, label)
            for side in (axes.get_xticklabels(), axes.get_yticklabels())
            for tick, label in zip(side, labels, strict=True)
        ]
        for tick, label in ticks:
            tick.set_color(_readable(colours[label]))
        axes.tick_params(length=0)
    else:
        starts = np.flatnonzero(np.diff(labels, prepend=-1))
        ends = np.append(starts[1:], len(labels))
        centres = (starts + ends - 1) / 2
        if is_large(len(labels)):  # the numbers of modules of a few units among many would stand on each other
            wide = ends - starts >= _LEAST_WIDTH * len(labels)
            starts, centres = starts[wide], centres[wide]
        axes.set_xticks(centres, [f"{label}" for label in labels[starts]])
        axes.set_yticks(centres, [f"{label}" for label in labels[starts]])
        axes.tick_params(length=0)
        axes.set_xlabel(f"{len(units):,} units, by module")
        axes.set_ylabel("Module")
    for spine in axes.spines.values():
        spine.set_visible(False)


def _readable(colour: str) -> tuple[float, float, float]:
    """The colour, darkened where it would be too light for text on white."""
    from matplotlib.colors import to_rgb

    red, green, blue = to_rgb(colour)
    luminance = 0.299 * red + 0.587 * green + 0.114 * blue
    factor = min(1.0, 0.55 / luminance)
    return red * factor, green * factor, blue * factor


def _relationship_figure(report: OriginReport) -> "Figure":
    figure = new_figure(height=3.1)
    axes = figure.add_subplot()
    n_units, joint = report.system.n_units, report.relationship.joint
    if joint is None:
        _draw_pairs(figure, axes, report)
    else:
        _count_bar(figure, axes, draw_joint(axes, joint))
    axes.set_xlabel("Cosine similarity of input projections")
    axes.set_ylabel("Functional connectivity (Pearson r)")
    axes.set_title(
        f"r = {report.relationship.pearson_r:.3f}, Spearman ρ = {report.relationship.spearman_rho:.3f}\n"
        f"{n_units * (n_units - 1) // 2:,} pairs of units"
    )
    return figure


def _draw_pairs(figure: "Figure", axes: "Axes", report: OriginReport) -> None:
    pairs = np.triu_indices(report.system.n_units, 1)
    similarity, connectivity = report.similarity[pairs], report.connectivity[pairs]
    labels = report.communities.labels
    within = labels[pairs[0]] == labels[pairs[1]]
    if len(similarity) <= _MAX_SCATTER_EDGES:
        axes.scatter(similarity[~within], connectivity[~within], s=7, c="#999999", lw=0, label="between modules")
        axes.scatter(similarity[within], connectivity[within], s=9, c="#0072B2", lw=0, label="within modules")
        figure.legend(frameon=False, loc="outside lower center", ncols=2, handletextpad=0.1)
    else:
        cells = axes.hexbin(similarity, connectivity, gridsize=45, bins="log", cmap="cividis", mincnt=1, lw=0)
        _count_bar(figure, axes, cells)


def _count_bar(figure: "Figure", axes: "Axes", cells: Any) -> None:
    figure.colorbar(cells, ax=axes, label="Pairs of units", shrink=0.85).outline.set_visible(False)


def _null_figure(tests: tuple[NullTest, ...], observed: float, what: str, *, best: float | None = None) -> "Figure":
    if len(tests) > 2:
        return _ridges(tests, observed, what, best)
    figure = new_figure(height=2.5)
    axes = figure.add_subplot()
    colours = ("#999999", "#56B4E9")
    lowest = min(float(test.values.min()) for test in tests)
    highest = max(float(test.values.max()) for test in tests)
    if highest - lowest < 1e-9:  # nulls without spread: one bar
        lowest, highest = lowest - 5e-4, highest + 5e-4
    bins = np.linspace(lowest, highest, 31)
    for test, colour in zip(tests, colours, strict=False):
        axes.hist(test.values, bins=bins, color=colour, alpha=0.75, label=f"{test.model} null (n = {test.n:,})")
    axes.axvline(observed, color="#D55E00", lw=2, label=f"observed {observed:.3f}")
    if best is not None:
        axes.axvline(best, color="black", lw=1.2, ls="--", label=f"best {best:.3f}")
    axes.locator_params(axis="x", nbins=5)  # more would run into each other where numbers are long
    axes.set_xlabel(what)
    axes.set_ylabel("Nulls")
    axes.set_title("\n".join(_verdict(test) for test in tests))
    axes.margins(x=0.08)
    figure.legend(*axes.get_legend_handles_labels(), frameon=False, loc="outside lower center", ncols=2)
    return figure


def _ridges(tests: tuple[NullTest, ...], observed: float, what: str, best: float | None) -> "Figure":
    """A row for each null: histograms of more than two on one axis cannot be told apart."""
    figure = new_figure(height=0.9 + 0.45 * len(tests))
    rows = figure.subplots(len(tests), sharex=True)
    shown = [observed, *([] if best is None else [best])]
    lowest = min(*shown, *(float(test.values.min()) for test in tests))
    highest = max(*shown, *(float(test.values.max()) for test in tests))
    margin = 0.04 * (highest - lowest or 1)
    bins = np.linspace(lowest - margin, highest + margin, 61)
    for axes, test in zip(rows, tests, strict=True):
        axes.hist(test.values, bins=bins, color="#999999", label="nulls")
        axes.axvline(observed, color="#D55E00", lw=2, label=f"observed {observed:.3f}")
        if best is not None:
            axes.axvline(best, color="black", lw=1.2, ls="--", label=f"best {best:.3f}")
        axes.set_yticks([])
        axes.spines["left"].set_visible(False)
        axes.set_ylabel(test.model, rotation=0, ha="right", va="center")
        axes.annotate(
            _verdict(test).partition(": ")[2], (1.01, 0.5), xycoords="axes fraction", va="center", fontsize="small"
        )
    rows[-1].set_xlabel(what)
    figure.legend(*rows[0].get_legend_handles_labels(), frameon=False, loc="outside lower center", ncols=3)
    return figure


def _verdict(test: NullTest) -> str:
    z = "no spread" if test.z is None else f"z = {test.z:.1f}"
    return f"{test.model}: {z}, p = {test.p_value:.2g}"
