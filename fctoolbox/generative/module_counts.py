"""How many modules there are, and how good, by the number of inputs."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fctoolbox.communities import detect_communities
from fctoolbox.errors import InputError, check_whole
from fctoolbox.generative._projection import Projection, dense_weights_of
from fctoolbox.randomness import generator
from fctoolbox.similarity import cosine_similarity, units_without_input
from fctoolbox.system import Floats


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
    weights, rng = dense_weights_of(projection), generator(rng)
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
