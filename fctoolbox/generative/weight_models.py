"""Weights that differ in sign, in size, or in both, and the modules that they make."""

from collections.abc import Sequence
from itertools import product
from math import prod

import numpy as np
from numpy.typing import NDArray

from fctoolbox.errors import InputError, check_whole
from fctoolbox.generative._projection import Projection, dense_weights_of

SIX_RULES = (
    "both positive, first at least as large",
    "both positive, second larger",
    "both negative, first at least as large",
    "both negative, second larger",
    "first positive, second negative",
    "first negative, second positive",
)


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
    one, other = (int(size) for size in _dealt([1 - share, share], n_units))  # in the order of `sign_model`, for ties
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
    weights = dense_weights_of(projection)
    if weights.shape[1] != 2:
        raise InputError(
            f"the six rules are for 2 inputs, but the projection has {weights.shape[1]}; choose two of them "
            "(InputProjection.select_inputs)"
        )
    first, second = weights[:, 0] >= 0, weights[:, 1] >= 0
    larger = weights[:, 0] >= weights[:, 1]
    same = np.where(first, 0, 2) + np.where(larger, 0, 1)
    return np.asarray(np.where(first == second, same, np.where(first, 4, 5)), dtype=np.intp)


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
