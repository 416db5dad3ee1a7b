"""The correlation of two matrices over pairs of units, and what distance has to do with it."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fctoolbox.errors import InputError
from fctoolbox.system import Floats

N_KNOTS = 10  # intervals between deciles


@dataclass(frozen=True)
class DistanceBin:
    """The relationship among pairs of units that are about equally far apart.

    Parameters
    ----------
    shortest, longest : float
        mm.
    n_pairs : int
    pearson_r : float or None
        None where one of the two is the same for all pairs.
    """

    shortest: float
    longest: float
    n_pairs: int
    pearson_r: float | None


@dataclass(frozen=True, eq=False)
class EdgeStatistics:
    """Correlations with one matrix over the pairs of units, for many others; distance is regressed out once.

    Parameters
    ----------
    connectivity : (n_units, n_units) array
    distances : (n_units, n_units) array, optional
        mm.
    """

    rows: NDArray[np.intp]
    columns: NDArray[np.intp]
    centred: NDArray[np.float64]
    basis: NDArray[np.float64] | None
    residual: NDArray[np.float64] | None

    @classmethod
    def of(cls, connectivity: Floats, distances: Floats | None = None) -> "EdgeStatistics":
        """Prepare the statistics of one functional connectivity."""
        rows, columns = np.triu_indices(len(connectivity), 1)
        values = np.asarray(connectivity[rows, columns], dtype=np.float64)
        if distances is None:
            return cls(rows, columns, _unit(values - values.mean()), None, None)
        basis = _distance_basis(np.asarray(distances, dtype=np.float64)[rows, columns])
        residual = values - basis @ (basis.T @ values)
        if np.linalg.norm(residual) <= 1e-9 * np.linalg.norm(values - values.mean()):
            residual = np.zeros_like(values)  # a function of distance, and nothing else
        return cls(rows, columns, _unit(values - values.mean()), basis, _unit(residual))

    def pearson_r(self, similarity: Floats) -> float:
        """Pearson correlation over pairs."""
        values = np.asarray(similarity[self.rows, self.columns], dtype=np.float64)
        return float(_unit(values - values.mean()) @ self.centred)

    def partial_r(self, similarity: Floats) -> float:
        """Pearson correlation of what a smooth function of distance leaves of either; 0 where nothing is left."""
        if self.basis is None or self.residual is None:
            raise InputError("a correlation without the part of distance needs distances")
        values = np.asarray(similarity[self.rows, self.columns], dtype=np.float64)
        left = values - self.basis @ (self.basis.T @ values)
        if np.linalg.norm(left) <= 1e-9 * np.linalg.norm(values - values.mean()):
            return 0.0
        return float(_unit(left) @ self.residual)


def partial_correlation(similarity: Floats, connectivity: Floats, distances: Floats) -> float:
    """Correlation of two matrices over pairs of units, with distance taken out of both.

    Both are regressed on a continuous, piecewise linear function of distance with knots at its deciles, so that any
    smooth dependence on distance goes, not a linear one alone; the residuals are correlated.

    Parameters
    ----------
    similarity, connectivity : (n_units, n_units) arrays
        Symmetric; their diagonals are not used.
    distances : (n_units, n_units) array
        mm.

    Returns
    -------
    float
        In [-1, 1]; 0 where one of them is a function of distance and nothing else.

    References
    ----------
    Smouse, Long & Sokal 1986, Syst Zool 35:627 (partial Mantel statistic), with a spline instead of a line.
    """
    return EdgeStatistics.of(connectivity, distances).partial_r(similarity)


def correlation_by_distance(
    similarity: Floats, connectivity: Floats, distances: Floats, *, n_bins: int = 5
) -> tuple[DistanceBin, ...]:
    """Correlation of two matrices among pairs of units that are about equally far apart.

    Parameters
    ----------
    similarity, connectivity, distances : (n_units, n_units) arrays
    n_bins : int
        Of equally many pairs, from the nearest to the farthest.

    Returns
    -------
    tuple of DistanceBin
    """
    pairs = np.triu_indices(len(similarity), 1)
    apart, one, other = (
        np.asarray(matrix, dtype=np.float64)[pairs] for matrix in (distances, similarity, connectivity)
    )
    bins = []
    for group in np.array_split(np.argsort(apart, kind="stable"), n_bins):
        if len(group):
            r = None
            if len(group) > 2 and min(np.ptp(one[group]), np.ptp(other[group])) > 1e-12:
                r = float(np.corrcoef(one[group], other[group])[0, 1])
            bins.append(DistanceBin(float(apart[group].min()), float(apart[group].max()), len(group), r))
    return tuple(bins)


def _distance_basis(apart: NDArray[np.float64]) -> NDArray[np.float64]:
    """Orthonormal functions of distance, (n_pairs, ≤ 11): hats at the deciles, which sum to 1."""
    knots = np.unique(np.quantile(apart, np.linspace(0, 1, N_KNOTS + 1)))
    if len(knots) < 2:
        return np.full((len(apart), 1), 1 / np.sqrt(len(apart)))
    return orthonormal(hats(apart, knots))


def hats(apart: NDArray[np.float64], knots: NDArray[np.float64]) -> NDArray[np.float64]:
    """Continuous functions of distance, linear between the knots, each 1 at one knot and 0 at all others."""
    return np.stack([np.interp(apart, knots, unit) for unit in np.eye(len(knots))], axis=1)


def orthonormal(columns: NDArray[np.float64]) -> NDArray[np.float64]:
    """A basis of what the columns span."""
    basis, sizes, _ = np.linalg.svd(columns, full_matrices=False)
    return np.asarray(basis[:, sizes > 1e-10 * sizes[0]])


def _unit(values: NDArray[np.float64]) -> NDArray[np.float64]:
    length = np.linalg.norm(values)
    return values / length if length > 0 else values
