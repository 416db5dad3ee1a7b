"""Functional connectivity of units that receive nothing but noise through a projection."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from fctoolbox.errors import InputError, check_whole, listed
from fctoolbox.generative._projection import Projection, check_driven, weights_of
from fctoolbox.randomness import generator
from fctoolbox.similarity import constant_units, cosine_similarity, functional_connectivity
from fctoolbox.system import FactoredMatrix, Floats, Weights

Nonlinearity = Literal["linear", "relu"]


@dataclass(frozen=True, eq=False)
class SampleCurve:
    """How well functional connectivity shows the similarity of inputs, as noise is sampled for longer.

    Parameters
    ----------
    n_samples : sequence of int
    r : (n_draws, len(n_samples)) array
        Correlation of similarity and functional connectivity over all pairs of units.
    limit : float
        The same after infinitely many samples: 1 for linear units.
    """

    n_samples: tuple[int, ...]
    r: NDArray[np.float64]
    limit: float


def sample_connectivity(
    projection: Projection,
    n_samples: int,
    *,
    nonlinearity: Nonlinearity = "linear",
    rng: int | np.random.Generator | None = None,
) -> Floats:
    """Functional connectivity of units that receive independent noise through a projection, without recurrence.

    ``FC = corr(f(x W^T))`` with `n_samples` rows of standard normal x, and f the identity or rectification.

    Parameters
    ----------
    projection : RecurrentSystem, InputProjection or (n_units, n_inputs) array
    n_samples : int
        At least 3.
    nonlinearity : {"linear", "relu"}
    rng : int, Generator or None

    Returns
    -------
    (n_units, n_units) array

    Raises
    ------
    InputError
        If a unit receives no input, or a rectified unit was silent in all samples.

    References
    ----------
    Tanner et al. 2023, arXiv:2310.20601 (noise through input projections).
    """
    weights = weights_of(projection)
    check_whole("n_samples", n_samples, 3)
    _check_nonlinearity(nonlinearity)
    check_driven(weights)
    noise = generator(rng).standard_normal((n_samples, weights.shape[1]))
    drive = _through(noise, weights)
    if nonlinearity == "relu":
        np.maximum(drive, 0, out=drive)
        if len(silent := np.flatnonzero(constant_units(drive))):
            raise InputError(
                f"rectified units [{listed(silent)}] were silent in all {n_samples} samples, so that they have no "
                "correlation; raise n_samples"
            )
    return functional_connectivity(drive)


def expected_connectivity(projection: Projection, *, nonlinearity: Nonlinearity = "linear") -> Floats:
    """Functional connectivity as in `sample_connectivity`, after infinitely many samples.

    For linear units it is the cosine similarity c itself. For rectified ones it is
    ``(√(1 − c²) + c (π − arccos c) − 1) / (π − 1)``: c = 1 and 0 stay what they are, and c = −1 becomes −0.467.

    Parameters
    ----------
    projection : RecurrentSystem, InputProjection or (n_units, n_inputs) array
    nonlinearity : {"linear", "relu"}

    Returns
    -------
    (n_units, n_units) array

    Raises
    ------
    InputError
        If a unit receives no input.

    References
    ----------
    The second moment of rectified normals is the arc-cosine kernel of Cho & Saul 2009, NeurIPS 22:342; the
    correlation is derived from it in docs/explanation/generative.md.

    Examples
    --------
    >>> weights = np.array([[1.0, 0.0], [0.0, 2.0], [-3.0, 0.0]])
    >>> expected_connectivity(weights, nonlinearity="relu").round(3)[0].tolist()
    [1.0, 0.0, -0.467]
    """
    _check_nonlinearity(nonlinearity)
    cosine = cosine_similarity(weights_of(projection))
    if nonlinearity == "linear":
        return cosine
    return np.asarray((np.sqrt(1 - cosine**2) + cosine * (np.pi - np.arccos(cosine)) - 1) / (np.pi - 1))


def connectivity_by_samples(
    projection: Projection,
    n_samples: Sequence[int],
    *,
    nonlinearity: Nonlinearity = "linear",
    n_draws: int = 20,
    rng: int | np.random.Generator | None = None,
) -> SampleCurve:
    """How functional connectivity out of noise approaches the similarity of inputs, by the number of samples.

    Parameters
    ----------
    projection : RecurrentSystem, InputProjection or (n_units, n_inputs) array
    n_samples : sequence of int
    nonlinearity : {"linear", "relu"}
    n_draws : int
        Of the noise, at each number of samples.
    rng : int, Generator or None

    Returns
    -------
    SampleCurve

    Raises
    ------
    InputError
        As in `sample_connectivity`; or if the similarity is the same for every pair of units.
    """
    weights, rng = weights_of(projection), generator(rng)
    check_whole("n_draws", n_draws, 1)
    if not len(n_samples):
        raise InputError("n_samples is empty; name one number of samples or several")
    pairs = np.triu_indices(weights.shape[0], 1)
    similarity = cosine_similarity(weights)[pairs]
    if not len(similarity) or np.ptp(similarity) < 1e-12:
        raise InputError(
            "the cosine similarity is the same for every pair of units, so there is nothing to relate "
            "(only one input, or too few units?)"
        )
    limit = expected_connectivity(weights, nonlinearity=nonlinearity)[pairs]
    r = [
        [
            _correlation(similarity, sample_connectivity(weights, n, nonlinearity=nonlinearity, rng=rng)[pairs])
            for n in n_samples
        ]
        for _ in range(n_draws)
    ]
    return SampleCurve(tuple(n_samples), np.array(r), _correlation(similarity, limit))


def _check_nonlinearity(nonlinearity: str) -> None:
    if nonlinearity not in ("linear", "relu"):
        raise InputError(f"nonlinearity is {nonlinearity!r}; it must be 'linear' or 'relu'")


def _through(noise: NDArray[np.float64], weights: Weights) -> NDArray[np.float64]:
    if isinstance(weights, FactoredMatrix):
        return np.asarray((noise @ weights.right.T) @ weights.left.T)
    if isinstance(weights, np.ndarray):
        return np.asarray(noise @ weights.T)
    return np.ascontiguousarray((weights @ noise.T).T)


def _correlation(one: Floats, other: Floats) -> float:
    return float(np.corrcoef(one, other)[0, 1])
