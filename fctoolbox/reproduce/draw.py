"""What several pages draw: values of many networks beside each other, and what is said of them in words."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fctoolbox.report.figures import STYLE, WIDTH, mark_modules, module_colours, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from fctoolbox.function import ModuleRelations

_JITTER = 0.13


def spread(values: ArrayLike, digits: int = 3) -> str:
    """Mean ± standard deviation and the range, in words."""
    each = np.asarray(values, dtype=np.float64)
    sd = each.std(ddof=1) if len(each) > 1 else 0.0
    return f"{each.mean():.{digits}f} ± {sd:.{digits}f} ({each.min():.{digits}f} to {each.max():.{digits}f})"


def p_in_words(p: float | None) -> str:
    """``p = 0.012``; "p not defined" where there is none."""
    return "p not defined" if p is None else f"p = {p:.2g}"


def strips_figure(
    groups: Mapping[str, ArrayLike],
    *,
    ylabel: str,
    title: str,
    paired: bool = False,
    width: float = WIDTH,
    colours: Sequence[str] | None = None,
) -> "Figure":
    """A column of points for each group of values; lines join the values of a network where they are paired."""
    import matplotlib as mpl

    with mpl.rc_context(STYLE):
        figure = new_figure(height=3.1, width=width)
        axes = figure.add_subplot()
        draw_strips(axes, groups, paired=paired, colours=colours)
        axes.set_ylabel(ylabel)
        axes.set_title(title)
    return figure


def draw_strips(
    axes: "Axes", groups: Mapping[str, ArrayLike], *, paired: bool = False, colours: Sequence[str] | None = None
) -> None:
    """Points of each group, and its mean as a black bar."""
    values: list[NDArray[np.float64]] = [np.asarray(each, dtype=np.float64) for each in groups.values()]
    if paired:
        axes.plot(range(len(values)), np.array(values), color="#cccccc", lw=0.6, zorder=1)
    for k, (each, colour) in enumerate(zip(values, colours or module_colours(len(values)), strict=True)):
        # Spread by rank and not at random: the same values give the same picture.
        place = np.argsort(np.argsort(each, kind="stable"))
        aside = np.zeros(len(each)) if paired else (place * 0.618 % 1 - 0.5) * 2 * _JITTER
        axes.scatter(k + aside, each, s=14, color=colour, alpha=0.8, lw=0, zorder=2)
        axes.hlines(each.mean(), k - 0.28, k + 0.28, color="black", lw=1.6, zorder=3)
    if all((each == each.round()).all() for each in values) and np.ptp(np.concatenate(values)) > 1:  # counts
        axes.yaxis.get_major_locator().set_params(integer=True)
    axes.set_xticks(range(len(values)), list(groups))
    axes.set_xlim(-0.6, len(values) - 0.4)


def matrix_figure(matrix: NDArray[np.floating[Any]], labels: NDArray[np.integer[Any]], *, title: str) -> "Figure":
    """A correlation matrix, its rows ordered by module, with a square around each."""
    import matplotlib as mpl

    order = np.argsort(labels, kind="stable")
    ordered = matrix[np.ix_(order, order)].astype(np.float64)
    diagonal = np.eye(len(order), dtype=bool)
    with mpl.rc_context(STYLE):
        figure = new_figure(height=3.1)
        axes = figure.add_subplot()
        image = axes.imshow(
            np.where(diagonal, np.nan, ordered), vmin=-1, vmax=1, interpolation="nearest",
            cmap=mpl.colormaps["RdBu_r"].with_extremes(bad="#bbbbbb"),
        )  # fmt: skip
        mark_modules(axes, labels[order], dark=True)
        figure.colorbar(image, ax=axes, label="Pearson r", shrink=0.85).outline.set_visible(False)
        axes.set_title(title)
        axes.set_xlabel(f"{len(order)} units, by module")
        axes.set_xticks([])
        axes.set_yticks([])
    return figure


def relations_figure(kinds: Sequence["ModuleRelations"], *, level: float) -> "Figure":
    """R of each module with each variable, side by side for each kind of modules; a star where p is small."""
    import matplotlib as mpl

    with mpl.rc_context(STYLE):
        rows = max(kind.n_modules for kind in kinds)
        figure = new_figure(height=1.5 + 0.32 * rows, width=10.8)
        places = figure.subplots(1, len(kinds), squeeze=False)[0]
        for axes, kind in zip(places, kinds, strict=True):
            image = axes.imshow(kind.r, vmin=-1, vmax=1, cmap="RdBu_r", aspect="auto")
            axes.set_xticks(range(len(kind.columns)), kind.columns, rotation=40, ha="right")
            axes.set_yticks(range(kind.n_modules), [f"{k} ({n} units)" for k, n in enumerate(kind.sizes)])
            for module, column in np.argwhere(kind.p_corrected <= level):
                axes.annotate("∗", (column, module), ha="center", va="center", fontsize=7)
            axes.set_title(f"Modules of the {kind.name}")
        figure.colorbar(image, ax=places, label="r", shrink=0.85).outline.set_visible(False)
    return figure
