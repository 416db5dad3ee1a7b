"""What the pages about input weights share: their words about the paper, and curves with their spread."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes

DERIVED = (
    "The models and closed forms of this page are derived from a description of the figure in words, not from the "
    "paper's own equations: see docs/explanation/generative.md."
)


def summary(values: ArrayLike) -> str:
    """Mean and range, as in a sentence."""
    values = np.asarray(values, dtype=np.float64)
    return f"{values.mean():.3f} (from {values.min():.3f} to {values.max():.3f})".replace("-", "−")


def draw_spread(
    axes: "Axes", x: Sequence[float], values: NDArray[Any], *, label: str, colour: str, line: str = "-"
) -> None:
    """The mean over draws (n_draws, len(x)) as a line, and their whole range as a band."""
    axes.fill_between(x, values.min(axis=0), values.max(axis=0), color=colour, alpha=0.18, linewidth=0)
    axes.plot(x, values.mean(axis=0), line, color=colour, label=label, marker="o", markersize=2.5, linewidth=1)


def spread_rows(x: Sequence[float], values: NDArray[Any], *start: object) -> list[tuple[object, ...]]:
    """Rows of a table: what they start with, x, and the mean, least and largest of the draws."""
    return [
        (*start, each, float(column.mean()), float(column.min()), float(column.max()))
        for each, column in zip(x, values.T, strict=True)
    ]
