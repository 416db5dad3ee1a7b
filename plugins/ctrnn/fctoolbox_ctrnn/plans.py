"""Plans of trials whose inputs are constant within each period, but for white noise."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]
Integers = NDArray[np.integer[Any]]
Conditions = Mapping[str, NDArray[Any]]

# The target of time steps after a trial's end: trials of one batch may differ in length.
ENDED = -1


@dataclass(frozen=True, eq=False)
class Plan:
    """What is presented and wanted in each period of some trials.

    Parameters
    ----------
    periods : tuple of str
    durations : (n_trials, n_periods) integers
        Time steps; 0 where a trial has no such period.
    means : (n_trials, n_periods, n_inputs) array
    noise : (n_trials, n_periods, n_inputs) array
        Standard deviation of the noise at each time step.
    responses : (n_trials, n_periods) integers
        The right response throughout a period, 0 to fixate.
    conditions : mapping of str to (n_trials,) array
        What was drawn for each trial, and what follows from it.
    """

    periods: tuple[str, ...]
    durations: Integers
    means: Floats
    noise: Floats
    responses: Integers
    conditions: Conditions

    @property
    def steps(self) -> dict[str, Integers]:
        """(n_trials, 2) of each period: its first time step, and the one after its last."""
        ends = self.durations.cumsum(axis=1)
        both = np.stack([ends - self.durations, ends], axis=-1)
        return {period: both[:, k] for k, period in enumerate(self.periods)}


def rendered(plan: Plan, rng: np.random.Generator) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """The trials of a plan, side by side; shorter ones are followed by zeros.

    Parameters
    ----------
    plan : Plan
    rng : numpy.random.Generator
        Of the noise; a plan without noise draws nothing.

    Returns
    -------
    inputs : (n_times, n_trials, n_inputs) float32 array
    targets : (n_times, n_trials) integers
        -1 after a trial's end.
    """
    n_trials, n_periods = plan.durations.shape
    means, noise = (values.astype(np.float32, copy=False) for values in (plan.means, plan.noise))
    alike = bool((plan.durations == plan.durations[:1]).all())
    if alike:  # then all can be repeated and added to in one go, several times faster than picking time steps
        inputs = np.repeat(means.swapaxes(0, 1), plan.durations[0], axis=0)
        targets = np.repeat(plan.responses.T, plan.durations[0], axis=0)
    else:
        ends = plan.durations.cumsum(axis=1)
        # (n_times, n_trials) the period each time step is in; n_periods after the end.
        now = (np.arange(ends[:, -1].max())[:, None, None] >= ends).sum(axis=-1)
        trial, after = np.arange(n_trials), np.zeros((n_trials, 1, means.shape[-1]), dtype=np.float32)
        inputs = np.concatenate([means, after], axis=1)[trial, now]
        targets = np.column_stack([plan.responses, np.full(n_trials, ENDED)])[trial, now]
    for period in range(n_periods):
        noisy = np.flatnonzero(noise[:, period].any(axis=0))
        if not noisy.size:
            continue
        columns = slice(noisy[0], noisy[-1] + 1)
        size = noise[:, period, columns]
        if alike:
            first, steps = plan.durations[0, :period].sum(), plan.durations[0, period]
            drawn = rng.standard_normal((steps, *size.shape), dtype=np.float32)
            inputs[first : first + steps, :, columns] += drawn * size
        else:
            step, of = np.nonzero(now == period)
            drawn = rng.standard_normal((step.size, size.shape[1]), dtype=np.float32)
            inputs[step, of, columns] += drawn * size[of]
    return inputs, targets.astype(np.int64, copy=False)
