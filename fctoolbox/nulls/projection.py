"""The null of the claim itself: other projections, as smooth as the real ones and as alike to each other."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from fctoolbox.errors import InputError
from fctoolbox.system import FactoredMatrix, Floats, Weights

_MIN_UNITS = 10
_KNOTS = 16
_STRENGTH_ROUNDS = 4
_SIMULATED = 400
_NEAR = 0.05  # of all pairs
_TRIALS = 6
_HALVINGS = 4


@dataclass(frozen=True, eq=False)
class ProjectionModes:
    """A projection as spatial modes, whose signs can be drawn anew.

    With G the normal scores of the weights, all inputs ranked together, and M orthonormal spatial modes, a surrogate
    is ``M S Mᵀ G`` with random signs S = diag(±1), the same for all inputs; then the weights are given back in that
    order. So every input keeps its mean score and its power in each mode (how strong and how smooth it is), every two
    inputs keep the covariance of their scores, the weights are the same set (each in units of its input); what is
    lost is where on the map it all happens.

    Parameters
    ----------
    modes : (n_units, n_modes) array
        M.
    coefficients : (n_modes, n_varying) array
        Mᵀ G, of the inputs that do not reach all units alike.
    mean : (n_varying,) array
        Mean score of each of them, which no sign changes.
    ascending : (n_units * n_varying,) array
        All their weights, in units of their input, in ascending order.
    floor, scale : (n_inputs,) array
        A weight is ``floor + scale × the weight in units of its input``; the scale of an input that reaches all
        units alike is 0.
    """

    modes: NDArray[np.float64]
    coefficients: NDArray[np.float64]
    mean: NDArray[np.float64]
    ascending: NDArray[np.float64]
    floor: NDArray[np.float64]
    scale: NDArray[np.float64]

    def weights(self, signs: NDArray[np.float64]) -> NDArray[np.float64]:
        """The surrogate projection with these signs of the modes; (n_units, n_inputs)."""
        scores = self.modes @ (np.asarray(signs)[:, None] * self.coefficients) + self.mean
        # Scores that are equal but for rounding keep their order, so that no signs changed is nothing changed.
        order = np.argsort(np.round(scores, 9), axis=None, kind="stable")
        drawn = np.empty(scores.size)
        drawn[order] = self.ascending
        varies = self.scale > 0
        surrogate = np.tile(self.floor, (len(scores), 1))
        surrogate[:, varies] += drawn.reshape(scores.shape) * self.scale[varies]
        return surrogate

    def similarity(self, rng: np.random.Generator) -> NDArray[np.float64]:
        """Cosine similarity of one surrogate projection; (n_units, n_units).

        A unit that receives nothing in it has no direction, and is alike to no other.
        """
        return _cosine(self.weights(_signs(self, rng)))


def _signs(modes: ProjectionModes, rng: np.random.Generator) -> NDArray[np.float64]:
    return rng.choice([-1.0, 1.0], len(modes.coefficients))


def _cosine(weights: NDArray[np.float64]) -> NDArray[np.float64]:
    length = np.linalg.norm(weights, axis=1)
    unit = weights / np.where(length > 0, length, 1)[:, None]
    similarity: NDArray[np.float64] = np.clip(unit @ unit.T, -1, 1)
    np.fill_diagonal(similarity, 1)
    return similarity


def projection_modes(weights: Weights, *, distances: Floats) -> ProjectionModes:
    """Take a projection apart into the spatial modes of its own covariance.

    A piecewise linear function of distance (16 knots at equally spaced quantiles) is fitted to the covariance of the
    units' scores, and the modes are the eigenvectors of that function. In the basis that the projection itself asks
    for, everything that depends on distance alone is kept by the surrogates; a basis of another scale (such as that
    of inverse distances) loses some of it, and lets unrelated smooth maps pass for related.

    Signs are drawn for normal scores, because weights are skewed: a few strong ones would decide what the modes are.
    The scores come from one ranking of all weights, each in units of its input: its root mean square above the floor,
    as far as inputs differ in it by more than smooth maps of one strength would.
    A ranking within each input would bend every smooth map in its own way, and so put power into fine modes, which
    drawn signs then turn into roughness: surrogates would be rougher than real maps. Weights that are equal, such as
    the zeros of a sparse projection, are put in the order that the units around them suggest, with as
    much noise as makes the nearest 5 % of pairs as similar in surrogates as in the projection.

    Parameters
    ----------
    weights : (n_units, n_inputs) array, scipy.sparse array or FactoredMatrix
        Sparse and factored weights are written out.
    distances : (n_units, n_units) array
        mm.

    Returns
    -------
    ProjectionModes
        A surrogate takes n_units² × n_inputs operations.

    Raises
    ------
    InputError
        If the distances do not fit, there are fewer than 10 units, or every input reaches all units alike.

    References
    ----------
    Wagner & Dray 2015, Methods Ecol Evol 6:1169 (randomising the signs of spatial modes); here with modes fitted to
    the projection, joint over its columns, and back to the weights by rank, as Theiler et al. 1992, Physica D 58:77, do
    in time.
    """
    n_units = weights.shape[0]
    if distances.shape != (n_units, n_units):
        raise InputError(f"distances have shape {distances.shape}, but the projection has {n_units} units")
    check_projection(n_units)
    dense = _dense(weights)
    varies = np.ptp(dense, axis=0) > 0
    if not varies.any():
        raise InputError("every input reaches all units alike, so there is nothing to rearrange")
    apart = np.asarray(distances, dtype=np.float64)
    floor = _floor(dense)
    above = (dense - floor)[:, varies]
    scale = np.zeros(dense.shape[1])
    scale[varies] = _strengths(above, apart)
    above /= scale[varies]
    ascending = np.sort(above, axis=None)

    def fitted(noise: float) -> ProjectionModes:
        scores = _scores(above, apart, noise)
        mean = scores.mean(axis=0)
        scores -= mean
        modes = _modes(_by_distance(scores, apart).alike)
        return ProjectionModes(modes, modes.T @ scores, mean, ascending, floor, scale)

    if (np.diff(ascending) > 0).all():
        return fitted(0)
    return _as_alike_nearby(fitted, dense, apart)


def _as_alike_nearby(
    fitted: Callable[[float], ProjectionModes], dense: NDArray[np.float64], distances: NDArray[np.float64]
) -> ProjectionModes:
    """The modes whose surrogates have neighbours about as alike as in the projection.

    What equal weights hide is unknown. Where they are a map that was cut off, their surroundings say it, and no noise
    is the best answer; where they are the zeros of rare counts, a map as smooth as its surroundings is too smooth.
    """
    pairs = np.triu_indices(len(distances), 1)
    near = distances[pairs] <= np.quantile(distances[pairs], _NEAR)

    def alike(weights: NDArray[np.float64]) -> float:
        return float(_cosine(weights[:, varies])[pairs][near].mean())

    varies = np.ptp(dense, axis=0) > 0
    wanted = alike(dense)

    def reached(modes: ProjectionModes) -> float:
        rng = np.random.default_rng(0)
        return float(np.mean([alike(modes.weights(_signs(modes, rng))) for _ in range(_TRIALS)]))

    best = fitted(0)
    if reached(best) <= wanted:
        return best
    low, high = 0.0, 1.0
    for _ in range(_HALVINGS):
        noise = (low + high) / 2
        best = fitted(noise)
        low, high = (noise, high) if reached(best) > wanted else (low, noise)
    return best


def _floor(weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """The least weight of each input if several units share it (nothing, or a threshold), and otherwise 0."""
    least = weights.min(axis=0)
    return np.where((weights == least).sum(axis=0) > 1, least, 0.0)


def _strengths(above: NDArray[np.float64], distances: NDArray[np.float64]) -> NDArray[np.float64]:
    """The unit of each input: how strong it is, as far as inputs differ by more than smooth maps of one strength do.

    A smooth map over few units is strong or weak by chance, and surrogates must be free to be so too. How much log
    strengths vary by chance is found from simulated maps, and the observed ones are shrunk towards each other by it.
    """
    strength = np.log(np.sqrt((above**2).mean(axis=0)))
    apart, observed = strength - strength.mean(), float(strength.var())
    kept = 0.0
    for _ in range(_STRENGTH_ROUNDS if observed > 0 else 0):
        # From no difference upwards: maps that are measured in units of their own vary too little to be a measure.
        drawn = _alike(above / np.exp(kept * apart), distances)
        kept = max(0.0, 1 - float(np.log(np.sqrt((drawn**2).mean(axis=0))).var()) / observed)
        if kept == 0:
            break
    return np.asarray(np.exp(strength.mean() + kept * apart))


def _alike(weights: NDArray[np.float64], distances: NDArray[np.float64]) -> NDArray[np.float64]:
    """Maps drawn from the covariance of these, of one strength, none of them without any weight."""
    scores = _scores(weights, distances)
    covariance = _by_distance(scores - scores.mean(axis=0), distances)
    # Known but for a constant, since means were taken off: the farthest units are taken to have nothing in common.
    values, vectors = np.linalg.eigh(covariance.alike - covariance.far)
    root = vectors * np.sqrt(np.maximum(values, 0))
    spread = np.sqrt((root**2).sum(axis=1, keepdims=True) + covariance.own)
    rng = np.random.default_rng(0)  # the same for the same projection
    maps = root @ rng.standard_normal((len(values), _SIMULATED))
    maps += np.sqrt(covariance.own) * rng.standard_normal(maps.shape)
    order = np.argsort(maps / spread, axis=None)
    drawn = np.empty(maps.size)
    drawn[order] = np.quantile(weights, (np.arange(maps.size) + 0.5) / maps.size)
    drawn = drawn.reshape(maps.shape)
    return drawn[:, drawn.any(axis=0)]


def _scores(weights: NDArray[np.float64], distances: NDArray[np.float64], noise: float = 0.0) -> NDArray[np.float64]:
    """Normal scores from one ranking of all weights; equal weights are ordered by what surrounds them.

    Each map is smoothed by the covariance of all, and equal weights take its order: a map goes on below its floor
    about as smoothly as above it. As much noise as signal is assumed, since equal scores are a map that was flattened.
    `noise` times what a unit shares with no other is added to that order.
    """
    from scipy.special import ndtri
    from scipy.stats import rankdata

    flat = weights.ravel()
    scores: NDArray[np.float64] = ndtri((rankdata(flat) - 0.5) / flat.size).reshape(weights.shape)
    if len(np.unique(flat)) == flat.size:
        return scores
    mean = scores.mean(axis=0)
    centred = scores - mean
    covariance = _by_distance(centred, distances)
    values, vectors = np.linalg.eigh(covariance.alike)
    values = np.maximum(values, 0)
    share = values / (values + np.mean(centred**2))
    expected = vectors @ (share[:, None] * (vectors.T @ centred)) + mean
    if noise:
        drawn = np.random.default_rng(0).standard_normal(expected.shape)  # the same for the same projection
        expected = expected + noise * np.sqrt(covariance.own) * drawn
    ordered = np.empty(flat.size)
    ordered[np.lexsort((expected.ravel(), flat))] = ndtri((np.arange(flat.size) + 0.5) / flat.size)
    return ordered.reshape(weights.shape)


def _dense(weights: Weights) -> NDArray[np.float64]:
    if isinstance(weights, FactoredMatrix):
        return np.asarray(weights.left, dtype=np.float64) @ np.asarray(weights.right, dtype=np.float64)
    if isinstance(weights, sparse.csr_array):
        return np.asarray(weights.toarray(), dtype=np.float64)
    return np.asarray(weights, dtype=np.float64)


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


class _Covariance(NamedTuple):
    """Covariance of two units as a function of their distance."""

    alike: NDArray[np.float64]  # (n_units, n_units); on the diagonal, that of the nearest
    own: float  # the variance that a unit shares with no other, at least 0
    far: float  # the covariance of the farthest


def _by_distance(scores: NDArray[np.float64], distances: NDArray[np.float64]) -> _Covariance:
    """The function of distance that comes nearest to the covariance of units over inputs, once both are centred.

    Centring (each input has its mean taken off) adds to the covariance of two units something that is no function of
    their distance, so the function is fitted to J K J, with J the centring matrix, and not to averages over pairs.
    """
    n, n_inputs = scores.shape
    apart = distances[np.triu_indices(n, 1)]
    n_knots = max(2, min(_KNOTS, len(apart) // 10))
    knots = np.unique(np.quantile(apart, np.linspace(0, 1, n_knots)))
    if knots[-1] == 0:
        raise InputError("all units lie at one place; the null 'projection' needs distances")
    off_diagonal = 1 - np.eye(n)
    hats = [np.interp(distances, knots, unit) * off_diagonal for unit in np.eye(len(knots))]
    centred = [_centred(hat) for hat in (*hats, np.eye(n))]  # the last: the variance of a unit
    products = np.array([[np.vdot(one, other) for other in centred] for one in centred])
    covariance = scores @ scores.T / n_inputs
    heights = np.linalg.lstsq(products, [np.vdot(one, covariance) for one in centred], rcond=1e-10)[0]
    alike = sum(height * hat for height, hat in zip(heights[:-1], hats, strict=True)) + heights[0] * np.eye(n)
    return _Covariance(np.asarray(alike), max(0.0, float(heights[-1] - heights[0])), float(heights[-2]))


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
