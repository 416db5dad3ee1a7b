"""When a response is in time, in tasks whose trials all ask for the same one."""

import numpy as np
from numpy.typing import NDArray

from fctoolbox_ctrnn.plans import ENDED, Floats, Integers

# neurogym's margin for a produced interval, in all of its tasks of timing: a share of it, and some ms.
MARGIN, MARGIN_MS = 0.2, 25.0
# An input has changed where its step is so many times the trial's typical (median) one, which is its noise.
_BEYOND_NOISE = 6.0


def held(targets: Integers) -> Integers:
    """Targets (n_times, n_trials) in which the response is wanted from its moment to the end of the trial.

    neurogym ends a trial with the response, and what its ground truth says afterwards is never seen. A network that is
    trained on whole trials goes on; the moment of a response that lasts can be learned by cross-entropy, and one that
    lasts a single time step hardly: next to it the same answer would be wrong.
    """
    after = (targets > 0).cumsum(axis=0) > 0
    held_on: Integers = np.where(after & (targets != ENDED), targets.max(axis=0), targets)
    return held_on


def windows_of(inputs: Floats, targets: Integers, dt: int) -> NDArray[np.int64]:
    """(n_trials, 2) the first time step at which the response is right, and the one after the last.

    Where the inputs change at the moment that is asked for, as long as the task asks for the response. Where nothing
    tells the moment, an interval must be produced: the time since the inputs last changed, within 20 % and 25 ms
    either side, which is the margin within which neurogym's tasks of timing give a reward.

    Parameters
    ----------
    inputs : (n_times, n_trials, n_inputs) array
    targets : (n_times, n_trials) integers
        Each trial asks for a response once, and not at its first time step.
    dt : int
        Duration of a time step in ms.
    """
    windows = np.empty((targets.shape[1], 2), dtype=np.int64)
    for k, wanted in enumerate(targets.T):
        n_times = int((wanted != ENDED).sum())
        asked = np.flatnonzero(wanted > 0)
        first, end = int(asked[0]), int(asked[-1]) + 1
        steps = np.abs(np.diff(inputs[:n_times, k], axis=0)).max(axis=1)
        changes = np.flatnonzero(steps > _BEYOND_NOISE * np.median(steps)) + 1
        if first not in changes:
            since = int(changes[changes < first].max(initial=0))
            margin = int((MARGIN * (first - since) * dt + MARGIN_MS) / dt)
            first, end = max(first - margin, 0), min(first + margin + 1, n_times)
        windows[k] = first, end
    return windows
