"""How sure r and the induced modularity are, given that other units might have been recorded."""

import numpy as np
from numpy.typing import NDArray

from fctoolbox.randomness import generator
from fctoolbox.system import Floats
from fctoolbox.threads import blocks

_BLOCK = 1024  # columns of the matrices that are looked at together
_MIN_DISTINCT = 3  # units in a draw: with two there is a single pair
_ROUNDING = 1e-13
_FEWEST = 0.5  # share of the draws in which a statistic must be defined for it to have an interval


def draws_of_units(n_units: int, n_draws: int, rng: int | np.random.Generator | None) -> NDArray[np.float64]:
    """How often each unit is drawn, when as many as there are are drawn with replacement.

    Parameters
    ----------
    n_units, n_draws : int
    rng : int, Generator or None

    Returns
    -------
    (n_draws, n_units) array
        Whole numbers; each row sums to `n_units`.
    """
    return generator(rng).multinomial(n_units, np.full(n_units, 1 / n_units), size=n_draws).astype(np.float64)


def redrawn(
    draws: NDArray[np.float64],
    similarity: Floats,
    connectivity: Floats,
    labels: NDArray[np.intp],
    *,
    resolution: float = 1.0,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Pearson r and induced Q* of each draw of units.

    Two copies of one unit are no pair: they count neither in r, nor as a weight or an expected weight in Q*. What is
    expected is scaled to the sum of the weights, as it is where no unit is drawn twice, so that at γ = 1 a single
    community has Q* = 0. The partition is the one handed in, in every draw.

    Parameters
    ----------
    draws : (n_draws, n_units) array
        How often each unit is drawn. A row of ones gives the statistics of the matrices as they are.
    similarity, connectivity : (n_units, n_units) arrays
        Symmetric; their diagonals are not used.
    labels : (n_units,) integers
    resolution : float
        γ.

    Returns
    -------
    r, q : (n_draws,) arrays
        NaN where a draw does not define it: fewer than three different units, or one value for all pairs.

    References
    ----------
    Snijders & Borgatti 1999, Connections 22:161-170 (bootstrap of vertices).
    """
    n = len(labels)
    centre = [
        (matrix.sum(dtype=np.float64) - np.trace(matrix)) / (n * (n - 1)) for matrix in (similarity, connectivity)
    ]
    sums = np.zeros((6, len(draws)))
    strengths, within = np.zeros((2, *draws.shape)), np.zeros((2, len(draws)))
    for rows in blocks(n, _BLOCK):
        drawn, pair = draws[:, rows], np.ones((n, rows.stop - rows.start))
        pair[np.arange(rows.start, rows.stop), np.arange(rows.stop - rows.start)] = 0
        one, other = (
            (np.asarray(matrix[:, rows], dtype=np.float64) - mean) * pair
            for matrix, mean in zip((similarity, connectivity), centre, strict=True)
        )
        for k, matrix in enumerate((pair, one, other, one * one, other * other, one * other)):
            sums[k] += ((draws @ matrix) * drawn).sum(axis=1)
        weights = np.asarray(connectivity[:, rows], dtype=np.float64) * pair
        together = labels[:, None] == labels[rows]
        for k, part in enumerate((np.maximum(weights, 0), np.maximum(-weights, 0))):
            strengths[k][:, rows] = draws @ part
            within[k] += ((draws @ (part * together)) * drawn).sum(axis=1)
    enough = np.count_nonzero(draws, axis=1) >= _MIN_DISTINCT
    r, q = _correlation(sums), _quality(draws, strengths, within, labels, resolution)
    return np.where(enough, r, np.nan), np.where(enough, q, np.nan)


def interval(values: NDArray[np.float64], level: float) -> tuple[float, float] | None:
    """The middle share `level` of a statistic's values over the draws; None where too few draws define it."""
    defined = values[np.isfinite(values)]
    if len(defined) < max(2.0, _FEWEST * len(values)):
        return None
    low, high = np.quantile(defined, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def _correlation(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    n_pairs, one, other, one_squared, other_squared, product = sums
    with np.errstate(divide="ignore", invalid="ignore"):
        mean, other_mean = one / n_pairs, other / n_pairs
        variance, other_variance = one_squared / n_pairs - mean**2, other_squared / n_pairs - other_mean**2
        covariance = product / n_pairs - mean * other_mean
        # A variance that is rounding alone stands for a matrix with one value in all pairs.
        spread = (variance > 1e-12 * one_squared / n_pairs) & (other_variance > 1e-12 * other_squared / n_pairs)
        return np.where(spread, np.clip(covariance / np.sqrt(variance * other_variance), -1, 1), np.nan)


def _quality(
    draws: NDArray[np.float64],
    strengths: NDArray[np.float64],
    within: NDArray[np.float64],
    labels: NDArray[np.intp],
    resolution: float,
) -> NDArray[np.float64]:
    modules = np.eye(int(labels.max()) + 1)[labels]
    copies = draws**2 - draws  # ordered pairs of two different copies of a unit
    q = np.zeros((2, len(draws)))
    totals = np.zeros((2, len(draws)))
    for k, (strength, inside) in enumerate(zip(strengths, within, strict=True)):
        total = (draws * strength).sum(axis=1)
        twice = (copies * strength**2).sum(axis=1)
        expected_inside = (((draws * strength) @ modules) ** 2).sum(axis=1) - twice
        with np.errstate(divide="ignore", invalid="ignore"):
            part = inside / total - resolution * expected_inside / (total**2 - twice)
        q[k], totals[k] = np.where(total > 0, part, 0.0), total
    everything = totals.sum(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        both = q[0] - totals[1] / everything * q[1]
    both[np.abs(both) < _ROUNDING] = 0.0  # a single community, whose Q* is 0
    return np.where(everything > 0, both, np.nan)
