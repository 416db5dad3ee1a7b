"""How often the best possible observer answers a task rightly, given its noise."""

from functools import cache
from itertools import product

import numpy as np
from numpy.typing import NDArray

from fctoolbox_ctrnn.plans import Floats, Plan
from fctoolbox_ctrnn.tasks import design_of
from fctoolbox_ctrnn.tasks.design import DECIDABLE, Design
from fctoolbox_ctrnn.tasks.yang19 import AllRules
from fctoolbox_ctrnn.trials import Task

N_TRIALS = 1000


@cache
def ideal_accuracy(task: Task) -> float:
    """The share of trials that no network can surpass, of those whose stimulus tells the answer.

    The observer knows the design and all conditions but those that the answer depends on, which it weighs by
    their likelihood given the noisy inputs (Bayes). It is the mean over 1,000 trials, always the same ones. An
    accuracy that training shall reach must be lower.

    Parameters
    ----------
    task : Task

    Returns
    -------
    float
        1 in tasks whose answer the noise hardly hides, and in those that are not ours: there it is not known.
    """
    design = design_of(task.name, task.dt, dict(task.changed))
    if design is None:
        return 1.0
    parts = design.designs.values() if isinstance(design, AllRules) else (design,)
    return float(np.mean([_accuracy(part, task.dt) if part.hidden else 1.0 for part in parts]))


def _accuracy(design: Design, dt: int) -> float:
    rng = np.random.default_rng(0)
    conditions = design.draw(N_TRIALS, rng)
    seed = rng.integers(2**32)

    def plan(**hidden: object) -> Plan:
        # The same durations in all plans: they do not tell the answer.
        known = {**conditions, **{name: np.full(N_TRIALS, value) for name, value in hidden.items()}}
        return design.plan(known, dt, np.random.default_rng(seed))

    shown = plan()
    # What a period's inputs tell is their mean over its time steps.
    size = shown.noise / np.sqrt(np.maximum(shown.durations, 1))[..., None]
    tells = (size > 0) & (shown.durations > 0)[..., None]
    noise = rng.standard_normal(size.shape)
    fits: list[Floats] = []
    targets = []
    for levels in product(*(design.levels[name] for name in design.hidden)):
        other = plan(**dict(zip(design.hidden, levels, strict=True)))
        away = np.divide(shown.means - other.means, size, out=np.zeros(size.shape), where=tells) + noise
        fits.append(np.where(_decidable(other), -(away**2).sum(axis=(1, 2)) / 2, -np.inf))
        targets.append(other.conditions["target"])
    likelihood = np.exp(np.array(fits) - np.max(fits, axis=0))
    of_response = np.zeros((N_TRIALS, design.n_responses))
    for each, target in zip(likelihood, targets, strict=True):
        of_response[np.arange(N_TRIALS), target] += each
    chosen = of_response.max(axis=1) / of_response.sum(axis=1)
    return float(chosen[_decidable(shown)].mean())


def _decidable(plan: Plan) -> NDArray[np.bool_]:
    return np.asarray(plan.conditions.get(DECIDABLE, np.ones(len(plan.means), dtype=bool)), dtype=bool)
