"""The null of the claim itself: other projections, as smooth as the real ones and as alike to each other."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from fctoolbox.errors import InputError
from fctoolbox.system import FactoredMatrix, Floats, Weights

_MIN_UNITS = 10
_KNOTS = 16


@dataclass(frozen=True, eq=False)
class ProjectionModes:
    """A projection as spatial modes, whose signs can be drawn anew.

    With W = 1 μᵀ + M C, where μ holds the mean of each input over units and the columns of M are orthonormal spatial
    modes, a surrogate is ``W' = 1 μᵀ + M S C`` with random signs S = diag(±1), the same for all inputs. So every
    input keeps its mean and its power in each mode (how smooth it is), and every two inputs keep their covariance;
    what is lost is where on the map it all happens. Cosine similarities need ``C Cᵀ`` and ``C μ`` alone.

    Parameters
    ----------
    modes : (n_units, n_modes) array
        M.
    gram : (n_modes, n_modes) array
        C Cᵀ.
    level : (n_modes,) array
        C μ.
    floor : float
        μᵀ μ.
    """

    modes: NDArray[np.float64]
    gram: NDArray[np.float64]
    level: NDArray[np.float64]
    floor: float

    def similarity(self, rng: np.random.Generator) -> NDArray[np.float64]:
        """Cosine similarity of one surrogate projection; (n_units, n_units)."""
        return self._similarity(rng.choice([-1.0, 1.0], len(self.level)))

    def _similarity(self, signs: NDArray[np.float64]) -> NDArray[np.float64]:
        signed = self.modes * signs
        drift = signed @ self.level
        products = signed @ self.gram @ signed.T + drift[:, None] + drift[None, :] + self.floor
        length = np.sqrt(np.maximum(np.diagonal(products), 0))
        # A surrogate row of (almost) no length has no direction; it is alike to nothing.
        scale = np.where(length > 1e-9 * length.max(), 1 / np.maximum(length, np.finfo(float).tiny), 0)
        cosine = np.clip(products * scale[:, None] * scale[None, :], -1, 1)
        similarity: NDArray[np.float64] = (cosine + cosine.T) / 2
        np.fill_diagonal(similarity, 1)
        return similarity


def projection_modes(weights: Weights, *, distances: Floats) -> ProjectionModes:
    """Take a projection apart into the spatial modes of its own covariance.

    A piecewise linear function of distance (16 knots at equally spaced quantiles) is fitted to the covariance of the
    units' inputs, and the modes are the eigenvectors of that function. In the basis
    that the projection itself asks for, everything that depends on distance alone is kept by the surrogates; a basis
    of another scale (such as that of inverse distances) loses some of it, and lets unrelated smooth maps pass for
    related.

    Parameters
    ----------
    weights : (n_units, n_inputs) array, scipy.sparse array or FactoredMatrix
    distances : (n_units, n_units) array
        mm.

    Returns
    -------
    ProjectionModes
        Drawing from it takes n_units³ operations, whatever the number of inputs.

    Raises
    ------
    InputError
        If the distances do not fit, there are fewer than 10 units, or every input reaches all units alike.

    References
    ----------
    Wagner & Dray 2015, Methods Ecol Evol 6:1169 (randomising the signs of spatial modes); here with modes fitted to the
    projection, and joint over its columns.
    """
    n_units = weights.shape[0]
    if distances.shape != (n_units, n_units):
        raise InputError(f"distances have shape {distances.shape}, but the projection has {n_units} units")
    if n_units < _MIN_UNITS:
        raise InputError(
            f"the null 'projection' needs at least {_MIN_UNITS} units to have spatial modes, and there are {n_units}"
        )
    products, mean_products, floor = _products(weights)
    # X = W - 1 μᵀ, so X Xᵀ = W Wᵀ - (W μ) 1ᵀ - 1 (W μ)ᵀ + μᵀμ; and X μ = W μ - μᵀμ 1.
    covariance = products - mean_products[:, None] - mean_products[None, :] + floor
    if np.trace(covariance) <= 1e-12 * np.trace(products):
        raise InputError("every input reaches all units alike, so there is nothing to rearrange")
    modes = _modes(_by_distance(covariance, np.asarray(distances, dtype=np.float64)))
    gram = modes.T @ covariance @ modes
    level = modes.T @ (mean_products - floor)
    return ProjectionModes(modes, (gram + gram.T) / 2, level, floor)


def check_projection(n_units: int) -> None:
    """Refuse too few units; cheap, so that it comes before anything that is not.

    Raises
    ------
    InputError
    """
    if n_units < _MIN_UNITS:
        raise InputError(
            f"the null 'projection' needs at least {_MIN_UNITS} units to have spatial modes, and there are {n_units}"
        )


def _products(weights: Weights) -> tuple[NDArray[np.float64], NDArray[np.float64], float]:
    """W Wᵀ, W μ and μᵀ μ, on the scale of the largest weight."""
    if isinstance(weights, FactoredMatrix):
        left = np.asarray(weights.left, dtype=np.float64)
        right = np.asarray(weights.right, dtype=np.float64)
        gram = right @ right.T
        products = left @ gram @ left.T
        mean_left = left.mean(axis=0)
        along, floor = left @ (gram @ mean_left), float(mean_left @ gram @ mean_left)
    elif sparse.issparse(weights):
        rows = sparse.csr_array(weights, dtype=np.float64)
        mean = np.asarray(rows.mean(axis=0)).ravel()
        products, along, floor = (rows @ rows.T).toarray(), rows @ mean, float(mean @ mean)
    else:
        dense = np.asarray(weights, dtype=np.float64)
        mean = dense.mean(axis=0)
        products, along, floor = dense @ dense.T, dense @ mean, float(mean @ mean)
    scale = np.diagonal(products).max()
    if not scale > 0:
        raise InputError("the projection holds zeros only")
    return products / scale, along / scale, floor / float(scale)


def _by_distance(covariance: NDArray[np.float64], distances: NDArray[np.float64]) -> NDArray[np.float64]:
    """The matrix K of a function of distance that comes nearest to a covariance, once both are centred.

    Centring (each input has its mean taken off) adds to the covariance of two units something that is no function of
    their distance, so the function is fitted to J K J, with J the centring matrix, and not to averages over pairs.
    """
    n = len(covariance)
    apart = distances[np.triu_indices(n, 1)]
    n_knots = max(2, min(_KNOTS, len(apart) // 10))
    knots = np.unique(np.quantile(apart, np.linspace(0, 1, n_knots)))
    if knots[-1] == 0:
        raise InputError("all units lie at one place; the null 'projection' needs distances")
    off_diagonal = 1 - np.eye(n)
    hats = [np.interp(distances, knots, unit) * off_diagonal for unit in np.eye(len(knots))]
    centred = [_centred(hat) for hat in (*hats, np.eye(n))]  # the last: what a unit shares with itself alone
    products = np.array([[np.vdot(one, other) for other in centred] for one in centred])
    heights = np.linalg.lstsq(products, [np.vdot(one, covariance) for one in centred], rcond=1e-10)[0]
    return np.asarray(sum(height * hat for height, hat in zip(heights[:-1], hats, strict=True)))


def _centred(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    rows = matrix.mean(axis=1)
    return np.asarray(matrix - rows[:, None] - rows[None, :] + rows.mean())


def _modes(kernel: NDArray[np.float64]) -> NDArray[np.float64]:
    """Eigenvectors of a symmetric matrix among the vectors of mean zero."""
    n = len(kernel)
    # An orthonormal basis of the vectors of mean zero (Helmert), so that the constant vector is no mode.
    basis = np.linalg.qr(np.column_stack([np.ones(n), np.eye(n)[:, : n - 1]]))[0][:, 1:]
    _, vectors = np.linalg.eigh(basis.T @ kernel @ basis)
    return np.asarray(basis @ vectors)
