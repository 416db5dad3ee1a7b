"""What input weights alone make: functional connectivity out of noise, and modules out of signs and sizes.

All functions take plain matrices, so that a thalamocortical projection will do as well as a network's input weights.
The paper's text was not at hand when this was written: noise through a projection is its model, but the sign,
difference and sign-difference models, the six rules and the relation of modules to inputs are built from a description
in words, and their closed forms are derived here (docs/explanation/generative.md).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from math import prod
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fctoolbox.communities import Communities, detect_communities
from fctoolbox.errors import InputError, check_whole, listed
from fctoolbox.nulls.significance import NullTest, significance
from fctoolbox.randomness import generator
from fctoolbox.similarity import constant_units, cosine_similarity, functional_connectivity, units_without_input
from fctoolbox.system import FactoredMatrix, Floats, InputProjection, RecurrentSystem, Weights

Nonlinearity = Literal["linear", "relu"]
Projection: TypeAlias = "RecurrentSystem | InputProjection | Weights | ArrayLike"

SIX_RULES = (
    "both positive, first at least as large",
    "both positive, second larger",
    "both negative, first at least as large",
    "both negative, second larger",
    "first positive, second negative",
    "first negative, second positive",
)
_MOST_VALUES = 2**27  # of a factored projection that is multiplied out: 1 GB


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


@dataclass(frozen=True, eq=False)
class ModuleCounts:
    """How many modules there are, and how good, by the number of inputs.

    Parameters
    ----------
    n_inputs : sequence of int
    n_modules : (n_draws, len(n_inputs)) integers
    q : (n_draws, len(n_inputs)) array
        Q* of the best partition of the cosine similarity.
    n_units : (n_draws, len(n_inputs)) integers
        Units that receive any of the inputs.
    """

    n_inputs: tuple[int, ...]
    n_modules: NDArray[np.intp]
    q: NDArray[np.float64]
    n_units: NDArray[np.intp]


@dataclass(frozen=True, eq=False)
class ModuleInputs:
    """Which inputs each module prefers or avoids.

    Parameters
    ----------
    profile : (n_modules, n_inputs) array
        Mean weight of the module's units, each unit's weights at length 1 and each input standardised over units.
    strongest : sequence of (int, int)
        For each module the input with the largest entry of its profile in size, and the entry's sign.
    matched : sequence of (int, int) or None
        The same where no two modules may have the same input and sign, at the largest sum; None for modules left over.
    strength : float
        Mean size of the matched entries.
    null : NullTest
        The strength under permuted modules.
    """

    profile: NDArray[np.float64]
    strongest: tuple[tuple[int, int], ...]
    matched: tuple[tuple[int, int] | None, ...]
    strength: float
    null: NullTest

    @property
    def n_unique(self) -> int:
        """How many modules share their strongest input and sign with no other module."""
        return sum(self.strongest.count(each) == 1 for each in self.strongest)


# Noise through a projection


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
    weights = _weights(projection)
    check_whole("n_samples", n_samples, 3)
    _check_nonlinearity(nonlinearity)
    _check_driven(weights)
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
    cosine = cosine_similarity(_weights(projection))
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
    weights, rng = _weights(projection), generator(rng)
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


# Numbers of inputs and of modules


def modules_by_inputs(
    n_units: int,
    n_inputs: Sequence[int],
    *,
    n_draws: int = 20,
    n_restarts: int = 100,
    rng: int | np.random.Generator | None = None,
    n_jobs: int = 1,
) -> ModuleCounts:
    """Modules in the cosine similarity of random weights (independent standard normals), by the number of inputs.

    Nothing is planted in such weights: this is what modules have to exceed before they say anything of a projection
    with as many units and inputs.

    Parameters
    ----------
    n_units : int
    n_inputs : sequence of int
    n_draws, n_restarts : int
        Projections at each number of inputs, and restarts of each search.
    rng : int, Generator or None
    n_jobs : int
        Threads of the search; the result does not depend on it.

    Returns
    -------
    ModuleCounts
    """
    check_whole("n_units", n_units, 3)
    rng = generator(rng)
    _check_counts(n_inputs, n_draws)
    return _counted(n_inputs, n_draws, n_restarts, rng, n_jobs, lambda k: rng.standard_normal((n_units, k)))


def modules_by_chosen_inputs(
    projection: Projection,
    n_inputs: Sequence[int],
    *,
    n_draws: int = 20,
    n_restarts: int = 100,
    rng: int | np.random.Generator | None = None,
    n_jobs: int = 1,
) -> ModuleCounts:
    """Modules in the cosine similarity of some inputs of a projection, drawn at random without replacement.

    Units that receive none of the drawn inputs take no part in that draw.

    Parameters
    ----------
    projection : RecurrentSystem, InputProjection or (n_units, n_inputs) array
    n_inputs : sequence of int
    n_draws, n_restarts : int
        Draws of inputs at each number, and restarts of each search.
    rng : int, Generator or None
    n_jobs : int
        Threads of the search; the result does not depend on it.

    Returns
    -------
    ModuleCounts

    Raises
    ------
    InputError
        If more inputs are asked than there are, or fewer than 3 units receive any of those drawn.
    """
    weights, rng = _dense(projection), generator(rng)
    _check_counts(n_inputs, n_draws)
    if max(n_inputs) > weights.shape[1]:
        raise InputError(f"n_inputs asks for {max(n_inputs)} inputs; the projection has {weights.shape[1]}")

    def drawn(k: int) -> Floats:
        chosen = weights[:, np.sort(rng.choice(weights.shape[1], k, replace=False))]
        chosen = chosen[~units_without_input(chosen)]
        if len(chosen) < 3:
            raise InputError(f"only {len(chosen)} units receive any of {k} inputs drawn at random; draw more inputs")
        return chosen

    return _counted(n_inputs, n_draws, n_restarts, rng, n_jobs, drawn)


# Signs and sizes


def sign_model(n_units: int, share_negative: float | Sequence[float]) -> NDArray[np.float64]:
    """Weights that differ in sign only: 1 or −1.

    Parameters
    ----------
    n_units : int
        At least 3.
    share_negative : float or sequence of float
        Of the units, for each input. Signs onto different inputs are independent: units are dealt to the patterns in
        proportion to the product of the shares, by largest remainder.

    Returns
    -------
    (n_units, n_inputs) array

    Examples
    --------
    >>> sign_model(4, 0.25).ravel().tolist()
    [1.0, 1.0, 1.0, -1.0]
    """
    check_whole("n_units", n_units, 3)
    shares = _shares(share_negative)
    patterns = list(product((1.0, -1.0), repeat=len(shares)))
    sizes = _dealt([_chance(pattern, shares) for pattern in patterns], n_units)
    return np.repeat(np.array(patterns), sizes, axis=0)


def sign_model_q(n_units: int, share_negative: float) -> float:
    """Q* of the modules of `sign_model` with one input: those with a positive weight, and those with a negative one.

    With n₁ of n units negative, n₂ = n − n₁ and v = n₁(n₁−1) + n₂(n₂−1):
    ``Q* = 1 − [(n₁(n₁−1))² + (n₂(n₂−1))²] / v² + n₁ n₂ / (n (n−1))``.

    Parameters
    ----------
    n_units : int
        At least 3.
    share_negative : float

    Returns
    -------
    float

    Examples
    --------
    >>> round(sign_model_q(100, 0.5), 4)
    0.7525
    """
    check_whole("n_units", n_units, 3)
    (share,) = _shares(share_negative)
    one, other = (int(size) for size in _dealt([share, 1 - share], n_units))
    within = one * (one - 1), other * (other - 1)
    return 1 - (within[0] ** 2 + within[1] ** 2) / sum(within) ** 2 + one * other / (n_units * (n_units - 1))


def difference_model(n_units: int, ratio: float, *, n_inputs: int = 2) -> NDArray[np.float64]:
    """Positive weights that differ in size only: 1 from the input that a unit prefers, `ratio` from all others.

    Parameters
    ----------
    n_units : int
        At least 3; shared out evenly among the inputs.
    ratio : float
        From 0 (an input each) to 1 (no difference).
    n_inputs : int
        At least 2, at most `n_units`.

    Returns
    -------
    (n_units, n_inputs) array

    Examples
    --------
    >>> difference_model(4, 0.5).tolist()
    [[1.0, 0.5], [1.0, 0.5], [0.5, 1.0], [0.5, 1.0]]
    """
    sizes = _difference_sizes(n_units, ratio, n_inputs)
    weights = np.full((n_inputs, n_inputs), float(ratio))
    np.fill_diagonal(weights, 1)
    return np.repeat(weights, sizes, axis=0)


def difference_model_q(n_units: int, ratio: float, *, n_inputs: int = 2) -> float:
    """Q* of the modules of `difference_model`: the units that prefer one input, or all units where that is better.

    With b the ratio, k inputs and n_g units each, units that prefer different inputs have the cosine
    ``c = (2b + (k−2)b²) / (1 + (k−1)b²)``; and with ``K_g = n_g(n_g−1) + c n_g(n−n_g)``, s = Σ K_g,
    ``Q* = max(0, Σ n_g(n_g−1) / s − Σ K_g² / s²)``. For k groups of m units that is
    ``(m−1) / (m−1 + (k−1)cm) − 1/k``.

    Parameters
    ----------
    n_units : int
        At least 3.
    ratio : float
    n_inputs : int

    Returns
    -------
    float

    Notes
    -----
    Between few and uneven groups the best partition may be another one: this is then a lower bound.

    Examples
    --------
    >>> [round(difference_model_q(100, ratio), 4) for ratio in (0, 0.2, 0.5, 1)]
    [0.5, 0.2182, 0.0506, 0.0]
    """
    sizes = _difference_sizes(n_units, ratio, n_inputs)
    c = (2 * ratio + (n_inputs - 2) * ratio**2) / (1 + (n_inputs - 1) * ratio**2)
    within = sizes * (sizes - 1)
    strengths = within + c * sizes * (n_units - sizes)
    total = strengths.sum()
    return max(0.0, float(within.sum() / total - (strengths**2).sum() / total**2))


def sign_difference_model(
    n_units: int, share_negative: float | Sequence[float], ratio: float, *, n_inputs: int = 2
) -> NDArray[np.float64]:
    """Weights that differ in both: size as in `difference_model`, sign as in `sign_model`, independently.

    Parameters
    ----------
    n_units : int
        At least 3.
    share_negative : float or sequence of float
        Of the units, for all inputs or for each.
    ratio : float
    n_inputs : int

    Returns
    -------
    (n_units, n_inputs) array
        Its Q* has no closed form that we know of; search it with `detect_communities`.

    Examples
    --------
    >>> sign_difference_model(8, 0.5, 0.25)[:4].tolist()
    [[1.0, 0.25], [1.0, -0.25], [-1.0, 0.25], [-1.0, -0.25]]
    """
    _difference_sizes(n_units, ratio, n_inputs)
    shares = _shares(share_negative)
    shares = shares * n_inputs if len(shares) == 1 else shares
    if len(shares) != n_inputs:
        raise InputError(f"share_negative has {len(shares)} entries, but there are {n_inputs} inputs")
    kinds = list(product(range(n_inputs), product((1.0, -1.0), repeat=n_inputs)))
    sizes = _dealt([_chance(signs, shares) / n_inputs for _, signs in kinds], n_units)
    rows = [np.where(np.arange(n_inputs) == preferred, 1.0, ratio) * signs for preferred, signs in kinds]
    return np.repeat(np.array(rows), sizes, axis=0)


def six_rules(projection: Projection) -> NDArray[np.intp]:
    """Which of six rules each unit's two input weights follow: an index of `SIX_RULES`.

    The lines w₁ = 0, w₂ = 0 and w₁ = w₂ cut the plane into six sectors; a weight of 0 counts as positive. The rules
    name where a unit lies. They are not its module: as a partition they are worse than the best one.

    Parameters
    ----------
    projection : RecurrentSystem, InputProjection or (n_units, 2) array

    Returns
    -------
    (n_units,) integers, 0 to 5

    Raises
    ------
    InputError
        If there are not exactly two inputs.

    Examples
    --------
    >>> six_rules([[2, 1], [1, 2], [-1, -2], [-2, -1], [1, -1], [-1, 1]]).tolist()
    [0, 1, 2, 3, 4, 5]
    """
    weights = _dense(projection)
    if weights.shape[1] != 2:
        raise InputError(
            f"the six rules are for 2 inputs, but the projection has {weights.shape[1]}; choose two of them "
            "(InputProjection.select_inputs)"
        )
    first, second = weights[:, 0] >= 0, weights[:, 1] >= 0
    larger = weights[:, 0] >= weights[:, 1]
    same = np.where(first, 0, 2) + np.where(larger, 0, 1)
    return np.asarray(np.where(first == second, same, np.where(first, 4, 5)), dtype=np.intp)


# Modules and inputs


def module_inputs(
    projection: Projection,
    communities: Communities | ArrayLike,
    *,
    n_nulls: int = 1000,
    rng: int | np.random.Generator | None = None,
) -> ModuleInputs:
    """Which input each module prefers or avoids, and whether each has one of its own.

    Parameters
    ----------
    projection : RecurrentSystem, InputProjection or (n_units, n_inputs) array
    communities : Communities or (n_units,) labels
    n_nulls : int
        Permutations of the labels over units, which keep the modules' sizes.
    rng : int, Generator or None

    Returns
    -------
    ModuleInputs

    Raises
    ------
    InputError
        If the labels do not fit, there is one module only, or a unit receives no input.

    Notes
    -----
    Where the modules were found on the same weights, the null says that they differ in their inputs more than sets of
    units drawn at random; that is so of any partition that a search finds, also in random weights. What is informative
    is how many modules have an input of their own, and how many share it.
    """
    weights = _dense(projection)
    _check_driven(weights)
    check_whole("n_nulls", n_nulls, 1)
    labels = np.asarray(communities.labels if isinstance(communities, Communities) else communities)
    if labels.shape != (len(weights),):
        raise InputError(f"the labels have shape {labels.shape}, but the projection has {len(weights)} units")
    names, labels = np.unique(labels, return_inverse=True)
    if len(names) < 2:
        raise InputError("there is one module only, so that nothing can be its own; ask with at least two")
    rows = weights / np.abs(weights).max(axis=1, keepdims=True)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    rows -= rows.mean(axis=0)
    spread = rows.std(axis=0)
    rows /= np.where(spread > 1e-12, spread, np.inf)  # an input that all units receive alike prefers none
    members = (labels[:, None] == np.arange(len(names))).astype(np.float64)
    members /= members.sum(axis=0)
    profile = members.T @ rows
    matched, strength = _matched(profile)
    rng = generator(rng)
    nulls = [_matched(members.T @ rows[rng.permutation(len(rows))])[1] for _ in range(n_nulls)]
    return ModuleInputs(
        profile=profile,
        strongest=tuple(_signed(int(np.argmax(row)), profile.shape[1]) for row in np.hstack([profile, -profile])),
        matched=matched,
        strength=strength,
        null=significance(strength, nulls, model="permutation"),
    )


def _matched(profile: NDArray[np.float64]) -> tuple[tuple[tuple[int, int] | None, ...], float]:
    """Each module's own input and sign, at the largest sum of profiles; and their mean."""
    from scipy.optimize import linear_sum_assignment

    gains = np.hstack([profile, -profile])
    modules, inputs = linear_sum_assignment(gains, maximize=True)
    own = {int(m): _signed(int(j), profile.shape[1]) for m, j in zip(modules, inputs, strict=True)}
    return tuple(own.get(m) for m in range(len(profile))), float(gains[modules, inputs].mean())


def _signed(index: int, n_inputs: int) -> tuple[int, int]:
    return (index, 1) if index < n_inputs else (index - n_inputs, -1)


def _counted(
    n_inputs: Sequence[int], n_draws: int, n_restarts: int, rng: np.random.Generator, n_jobs: int, draw: Any
) -> ModuleCounts:
    from tqdm import tqdm

    found = np.empty((3, n_draws, len(n_inputs)))
    with tqdm(total=n_draws * len(n_inputs), desc="projections", delay=2, disable=None, leave=False) as bar:
        for column, k in enumerate(n_inputs):
            for row in range(n_draws):
                similarity = cosine_similarity(draw(k))
                communities = detect_communities(similarity, n_restarts=n_restarts, rng=rng, n_jobs=n_jobs)
                found[:, row, column] = communities.n, communities.q, len(similarity)
                bar.update()
    return ModuleCounts(tuple(n_inputs), found[0].astype(np.intp), found[1], found[2].astype(np.intp))


def _check_counts(n_inputs: Sequence[int], n_draws: int) -> None:
    if not len(n_inputs):
        raise InputError("n_inputs is empty; name one number of inputs or several")
    for k in n_inputs:
        check_whole("n_inputs", k, 1)
    check_whole("n_draws", n_draws, 1)


def _check_nonlinearity(nonlinearity: str) -> None:
    if nonlinearity not in ("linear", "relu"):
        raise InputError(f"nonlinearity is {nonlinearity!r}; it must be 'linear' or 'relu'")


def _check_driven(weights: Weights) -> None:
    if len(silent := np.flatnonzero(units_without_input(weights))):
        raise InputError(f"units [{listed(silent)}] receive no input; leave them out of the projection")


def _shares(share_negative: float | Sequence[float]) -> tuple[float, ...]:
    shares = np.atleast_1d(np.asarray(share_negative, dtype=np.float64))
    if shares.ndim != 1 or not len(shares) or not ((shares >= 0) & (shares <= 1)).all():
        raise InputError(f"share_negative is {share_negative!r}; it must be from 0 to 1, for each input")
    return tuple(shares.tolist())


def _chance(signs: Sequence[float], shares: Sequence[float]) -> float:
    return prod(share if sign < 0 else 1 - share for sign, share in zip(signs, shares, strict=True))


def _dealt(shares: Sequence[float], n_units: int) -> NDArray[np.intp]:
    """Whole numbers of units in these proportions, by largest remainder."""
    exact = np.round(np.array(shares) * n_units, 9)  # 0.1 * 30 is 3
    sizes = np.floor(exact).astype(np.intp)
    left = n_units - int(sizes.sum())
    sizes[np.argsort(sizes - exact, kind="stable")[:left]] += 1
    return sizes


def _difference_sizes(n_units: int, ratio: float, n_inputs: int) -> NDArray[np.intp]:
    check_whole("n_inputs", n_inputs, 2)
    check_whole("n_units", n_units, max(3, n_inputs))
    if not 0 <= ratio <= 1:
        raise InputError(f"ratio is {ratio!r}; it must be from 0 (an input each) to 1 (no difference)")
    return _dealt([1 / n_inputs] * n_inputs, n_units)


def _weights(projection: Projection) -> Weights:
    if isinstance(projection, RecurrentSystem):
        return projection.projection.weights
    if isinstance(projection, InputProjection):
        return projection.weights
    return InputProjection(projection).weights  # checks shape and values


def _dense(projection: Projection) -> NDArray[np.float64]:
    weights = _weights(projection)
    if weights.shape[0] * weights.shape[1] > _MOST_VALUES:
        raise InputError(
            f"the projection has {weights.shape[0]} × {weights.shape[1]} weights, which are too many to look at one by "
            "one; use a regional system, or choose inputs (InputProjection.select_inputs)"
        )
    if isinstance(weights, FactoredMatrix):
        return np.asarray(weights.left, dtype=np.float64) @ weights.right
    return np.asarray(weights if isinstance(weights, np.ndarray) else weights.toarray(), dtype=np.float64)


def _through(noise: NDArray[np.float64], weights: Weights) -> NDArray[np.float64]:
    if isinstance(weights, FactoredMatrix):
        return np.asarray((noise @ weights.right.T) @ weights.left.T)
    if isinstance(weights, np.ndarray):
        return np.asarray(noise @ weights.T)
    return np.ascontiguousarray((weights @ noise.T).T)


def _correlation(one: Floats, other: Floats) -> float:
    return float(np.corrcoef(one, other)[0, 1])
