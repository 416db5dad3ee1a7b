"""A synthetic system whose communities are known, and its null case, in which there are none."""

import numpy as np

from fctoolbox.errors import InputError, check_whole
from fctoolbox.plugins import Source, hookimpl
from fctoolbox.system import Geometry, InputProjection, Provenance, RecurrentActivity, RecurrentSystem

_CITATION = "none: synthetic data made by fctoolbox (model: Tanner et al. 2023, arXiv:2310.20601)"


def load(
    *,
    planted: bool = True,
    n_units: int = 80,
    n_inputs: int = 40,
    n_communities: int = 4,
    n_times: int = 2000,
    asymmetry: float = 1.0,
    noise: float = 0.5,
    seed: int = 0,
) -> RecurrentSystem:
    """Units that share a direction of their input weights, and activity driven through these weights.

    Unit i of community c receives ``w_i = asymmetry * d_c + e_i``, with all entries of d and e standard normal.
    Independent noise passes through the weights, so the functional connectivity of the noiseless activity
    equals the cosine similarity of the weights (in expectation).

    Parameters
    ----------
    planted : bool
        False gives the null case: no shared directions, and activity driven through *other* weights,
        so that similarity and functional connectivity are unrelated.
    n_units, n_inputs, n_communities, n_times : int
    asymmetry : float
        Strength of the shared direction.
    noise : float
        Standard deviation of each unit's private noise, relative to its driven activity.
    seed : int

    Returns
    -------
    RecurrentSystem
        The planted community of each unit is the annotation ``planted`` (one community in the null case).
    """
    for name, value, least in (
        ("n_units", n_units, 3),
        ("n_inputs", n_inputs, 1),
        ("n_times", n_times, 3),
        ("seed", seed, 0),
        ("n_communities", n_communities, 1),
    ):
        check_whole(name, value, least)
    if noise < 0:
        raise InputError(f"noise is {noise}; it must be 0 or more")
    if not 1 <= n_communities <= n_units:
        raise InputError(f"n_communities is {n_communities}; it must lie between 1 and n_units ({n_units})")
    rng = np.random.default_rng(seed)
    communities = np.sort(np.arange(n_units) % n_communities) if planted else np.zeros(n_units, dtype=int)
    directions = rng.standard_normal((n_communities, n_inputs))
    weights = rng.standard_normal((n_units, n_inputs)) + (asymmetry * directions[communities] if planted else 0)
    driving = weights if planted else rng.standard_normal((n_units, n_inputs))
    drive = rng.standard_normal((n_times, n_inputs)) @ (driving / np.linalg.norm(driving, axis=1, keepdims=True)).T
    positions = rng.standard_normal((n_units, 3))
    return RecurrentSystem(
        name="toy (synthetic, planted communities)" if planted else "toy (synthetic, no communities)",
        units=tuple(f"unit-{i}" for i in range(n_units)),
        projection=InputProjection(weights),
        activity=RecurrentActivity(drive + noise * rng.standard_normal(drive.shape), sampling_interval=1.0),
        geometry=Geometry(positions=50 * positions / np.linalg.norm(positions, axis=1, keepdims=True)),
        annotations={"planted": tuple(str(c) for c in communities)},
        provenance=Provenance(citation=_CITATION, license="CC0-1.0", species="none (synthetic)", synthetic=True),
    )


@hookimpl
def fctoolbox_sources() -> list[Source]:
    """The toy."""
    return [
        Source(
            "toy",
            load,
            "synthetic: planted communities with a known answer; planted=false for the null case",
            _CITATION,
            "CC0-1.0",
            species="none (synthetic)",
            synthetic=True,
        )
    ]
