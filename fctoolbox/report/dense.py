"""Pictures of matrices with more units than a picture has pixels."""

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fctoolbox.system import Floats

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from fctoolbox.edge_moments import JointHistogram

_MOST_PIXELS = 1200  # of a side: what a column's width holds at the resolution of a paper


@dataclass(frozen=True, eq=False)
class BlockMeans:
    """A matrix seen from afar: each pixel is the mean over pairs of two different units.

    Parameters
    ----------
    means : (n_pixels, n_pixels) array
    size : int
        Units along a side of a pixel (the largest; some have one fewer).
    """

    means: NDArray[np.float64]
    size: int


def block_means(matrix: Floats, order: NDArray[np.intp], most: int = _MOST_PIXELS) -> BlockMeans:
    """The means of a matrix whose units are put in an order, over blocks of neighbours in that order.

    The matrix is read once, some rows at a time, and no part of it is copied that is larger than a row of pixels.

    Parameters
    ----------
    matrix : (n_units, n_units) array
        Its diagonal is not used.
    order : (n_units,) integers
    most : int
        Pixels of a side, at most; a pixel has two units or more.
    """
    n_units = len(order)
    n_pixels = max(1, min(most, n_units // 2))
    edges = np.linspace(0, n_units, n_pixels + 1).astype(np.intp)
    sizes = np.diff(edges)
    means = np.empty((n_pixels, n_pixels))
    diagonal = np.diagonal(matrix)[order].astype(np.float64)
    for pixel, (start, stop) in enumerate(itertools.pairwise(edges)):
        sums = matrix[order[start:stop]].sum(axis=0, dtype=np.float64)
        means[pixel] = np.add.reduceat(sums[order], edges[:-1])
        means[pixel, pixel] -= diagonal[start:stop].sum()
    means /= sizes[:, None] * sizes - np.diag(sizes)
    return BlockMeans(means, int(sizes.max()))


def draw_joint(axes: "Axes", joint: "JointHistogram") -> Any:
    """How many pairs fall on each cell of a grid, in colours of their logarithm."""
    from matplotlib.colors import LogNorm

    counts: Any = np.ma.masked_equal(joint.counts.T, 0)  # type: ignore[no-untyped-call]
    cells = axes.pcolormesh(
        joint.similarity_edges, joint.connectivity_edges, counts, cmap="cividis", norm=LogNorm(), rasterized=True
    )
    # The grid covers all that a correlation can be; shown is where there are pairs.
    for edges, axis, limit in (
        (joint.similarity_edges, 1, axes.set_xlim),
        (joint.connectivity_edges, 0, axes.set_ylim),
    ):
        used = np.flatnonzero(joint.counts.any(axis=axis))
        limit(edges[used[0]], edges[used[-1] + 1])
    return cells
