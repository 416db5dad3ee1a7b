"""When a response is in time, in tasks whose trials all ask for the same one."""

import numpy as np
from numpy.typing import NDArray

from fctoolbox_ctrnn.plans import ENDED, Floats, Integers

# neurogym's margin for a produced interval: a share of it, which is an argument of its tasks, and some ms.
MARGIN, MARGIN_MS = 0.2, 25.0
# An input that changes in more than this share of the steps is noisy, and has changed where a step is so many times
# its typical (median) one: 5.4 standard deviations of a normal one.
_NOISY, _BEYOND_NOISE = 0.2, 8.0


def held(targets: Integers) -> Integers:
    """Targets (n_times, n_trials) in which the response is wanted from its moment to the end of the trial.

    neurogym ends a trial with the response, and what its ground truth says afterwards is never seen. A network that is
    trained on whole trials goes on; the moment of a response that lasts can be learned by cross-entropy, and one that
    lasts a single time step hardly: next to it the same answer would be wrong.
    """
    after = (targets > 0).cumsum(axis=0) > 0
    held_on: Integers = np.where(after & (targets != ENDED), targets.max(axis=0), targets)
    return held_on


def windows_of(inputs: Floats, targets: Integers, dt: int, *, margin: float = MARGIN) -> NDArray[np.int64]:
    """(n_trials, 2) the first time step at which the response is right, and the one after the last.

    Where the inputs change at the moment that is asked for, as long as the task asks for the response. Where nothing
    tells the moment, an interval must be produced: the time since the inputs last changed, within a share of it and
    25 ms either side, which is the margin within which neurogym's tasks of timing give a reward. In a trial that asks
    for no response, both are n_times.

    Parameters
    ----------
    inputs : (n_times, n_trials, n_inputs) array
    targets : (n_times, n_trials) integers
        What counts is the first moment at which a trial asks for a response.
    dt : int
        Duration of a time step in ms.
    margin : float
        That share.
    """
    windows = np.full((targets.shape[1], 2), len(targets), dtype=np.int64)
    for k, wanted in enumerate(targets.T):
        asked = np.flatnonzero(wanted > 0)
        if not asked.size:
            continue
        n_times, first = int((wanted != ENDED).sum()), int(asked[0])
        still = np.flatnonzero(wanted[first:] <= 0)
        end = first + int(still[0]) if still.size else len(wanted)
        changes = _changes(inputs[:n_times, k])
        if first not in changes:
            since = int(changes[changes < first].max(initial=0))
            steps = int((margin * (first - since) * dt + MARGIN_MS) / dt)
            first, end = max(first - steps, 0), min(first + steps + 1, n_times)
        windows[k] = first, end
    return windows


def _changes(inputs: Floats) -> NDArray[np.intp]:
    """The time steps at which any of the inputs (n_times, n_inputs) is another than before, by more than its noise."""
    steps = np.abs(np.diff(inputs, axis=0))
    moving = steps > 0
    noise = [
        np.median(own[where]) if where.mean() > _NOISY else 0.0 for own, where in zip(steps.T, moving.T, strict=True)
    ]
    return np.flatnonzero((moving & (steps > _BEYOND_NOISE * np.array(noise))).any(axis=1)) + 1
