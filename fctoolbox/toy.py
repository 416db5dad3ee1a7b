"""A synthetic system whose communities are known, and its null case, in which there are none."""

import numpy as np

from fctoolbox.errors import InputError, check_whole
from fctoolbox.plugins import Source, hookimpl
from fctoolbox.system import Floats, Geometry, InputProjection, Provenance, RecurrentActivity, RecurrentSystem

_TRIAL_STEP = 0.02  # s
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
    n_trials: int = 0,
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
    n_trials : int
        0 gives one long recording. Else `n_times` is cut into that many trials of one length, as if animals decided
        which of two stimuli is stronger: in each trial the input pattern of the first community carries a noisy
        stimulus of either sign, that of the second its sum so far, and the activity has trials and the variables
        ``stimulus``, ``cumulative_evidence``, ``choice``, ``target`` (both one-hot), ``coherence`` (signed) and
        ``inputs``. Needs two planted communities.

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
        ("n_trials", n_trials, 0),
    ):
        check_whole(name, value, least)
    if n_trials and (not planted or n_communities < 2 or n_trials < 2 or n_times % n_trials or n_times < 4 * n_trials):
        raise InputError(
            f"n_trials is {n_trials}; trials need two planted communities, two trials or more, and an n_times "
            f"({n_times}) that is a multiple of them, with at least 4 time steps for each"
        )
    if noise < 0:
        raise InputError(f"noise is {noise}; it must be 0 or more")
    if not 1 <= n_communities <= n_units:
        raise InputError(f"n_communities is {n_communities}; it must lie between 1 and n_units ({n_units})")
    rng = np.random.default_rng(seed)
    communities = np.sort(np.arange(n_units) % n_communities) if planted else np.zeros(n_units, dtype=int)
    directions = rng.standard_normal((n_communities, n_inputs))
    weights = rng.standard_normal((n_units, n_inputs)) + (asymmetry * directions[communities] if planted else 0)
    driving = weights if planted else rng.standard_normal((n_units, n_inputs))
    inputs = rng.standard_normal((n_times, n_inputs))
    variables: dict[str, Floats] = {}
    if n_trials:
        variables = _decisions(n_times, n_trials, rng)
        for name, direction in zip(("stimulus", "cumulative_evidence"), directions, strict=False):
            values = variables[name]
            inputs += 2 * values / values.std() * direction / np.linalg.norm(direction)
        variables["inputs"] = inputs
    drive = inputs @ (driving / np.linalg.norm(driving, axis=1, keepdims=True)).T
    positions = rng.standard_normal((n_units, 3))
    return RecurrentSystem(
        name="toy (synthetic, planted communities)" if planted else "toy (synthetic, no communities)",
        units=tuple(f"unit-{i}" for i in range(n_units)),
        projection=InputProjection(weights),
        activity=RecurrentActivity(
            drive + noise * rng.standard_normal(drive.shape),
            sampling_interval=_TRIAL_STEP if n_trials else 1.0,
            trials=np.repeat(np.arange(n_trials), n_times // n_trials) if n_trials else None,
            variables=variables,
        ),
        geometry=Geometry(positions=50 * positions / np.linalg.norm(positions, axis=1, keepdims=True)),
        annotations={"planted": tuple(str(c) for c in communities)},
        provenance=Provenance(citation=_CITATION, license="CC0-1.0", species="none (synthetic)", synthetic=True),
    )


def _decisions(n_times: int, n_trials: int, rng: np.random.Generator) -> dict[str, Floats]:
    """The stimulus of each trial, of either sign and three strengths, its sum so far, and a choice by it."""
    length = n_times // n_trials
    coherence = rng.choice([-0.5, -0.25, -0.125, 0.125, 0.25, 0.5], size=n_trials)
    stimulus = coherence[:, None] + rng.standard_normal((n_trials, length))
    evidence = stimulus.cumsum(axis=1) * _TRIAL_STEP

    def throughout(values: Floats) -> Floats:
        return np.asarray(np.repeat(values, length, axis=0))

    return {
        "stimulus": stimulus.reshape(-1, 1),
        "cumulative_evidence": evidence.reshape(-1, 1),
        "choice": throughout(np.eye(2)[(evidence[:, -1] > 0).astype(int)]),
        "target": throughout(np.eye(2)[(coherence > 0).astype(int)]),
        "coherence": throughout(coherence[:, None]),
    }


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
