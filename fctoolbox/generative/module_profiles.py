"""Which inputs each module prefers or avoids, and whether each module has one of its own."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fctoolbox.communities import Communities
from fctoolbox.errors import InputError, check_whole
from fctoolbox.generative._projection import Projection, check_driven, dense_weights_of
from fctoolbox.nulls.significance import NullTest, significance
from fctoolbox.randomness import generator


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
    weights = dense_weights_of(projection)
    check_driven(weights)
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
