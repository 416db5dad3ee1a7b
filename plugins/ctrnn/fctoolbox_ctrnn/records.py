"""A task, and whole trials of it, as arrays."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fctoolbox.errors import InputError
from fctoolbox_ctrnn.plans import ENDED, Floats, Integers
from fctoolbox_ctrnn.tasks.design import DECIDABLE, DECISION, FIXATION, Places
from fctoolbox_ctrnn.timing import Duration

CHOICE, TIMING, VALUES = "choice", "timing", "values"


@dataclass(frozen=True)
class Task:
    """A task that a network can be trained on.

    Parameters
    ----------
    name : str
        neurogym's id.
    dt : int
        Duration of a time step in ms.
    columns : tuple of str
        What each input is.
    n_actions : int
        How many responses there are, fixation (0) included.
    timing : str
        Duration of each period, in words.
    changed : tuple of (str, duration)
        The periods that last otherwise than the task has it.
    constant : tuple of str
        Inputs that are the same at all times of all trials.
    options : str
        What neurogym's task was made with beside its time step and timing, as JSON; empty where with nothing.
    kind : {"choice", "timing", "values"}
        What a network is to learn: which response, judged by a trial's last one; *when* to give the only response that
        there is; or continuous outputs, for which there is no accuracy.
    """

    name: str
    dt: int
    columns: tuple[str, ...]
    n_actions: int
    timing: str
    changed: tuple[tuple[str, Duration], ...] = ()
    constant: tuple[str, ...] = ()
    options: str = ""
    kind: str = CHOICE

    @property
    def continuous(self) -> bool:
        """Whether what is wanted are values of the outputs, and no responses."""
        return self.kind == VALUES

    @property
    def stimulus_columns(self) -> tuple[int, ...]:
        """Index of every input but the fixation cue and those that never change, whose weights tell nothing."""
        return tuple(j for j, column in enumerate(self.columns) if column not in (FIXATION, *self.constant))


@dataclass(frozen=True, eq=False)
class Trials:
    """Whole trials side by side, each starting at time 0; shorter ones are followed by zeros.

    Parameters
    ----------
    inputs : (n_times, n_trials, n_inputs) float32 array
    targets : (n_times, n_trials) integers
        The right response at each time step, 0 to fixate; -1 after the trial's end.
    coherence : (n_trials,) array or None
        Percent; None in tasks that have none.
    conditions : mapping of str to (n_trials,) array
        What the experiment set for each trial, by the task's own names, and ``target``, the response wanted in
        the end (0 to fixate). In our tasks also ``coherence``, ``rule``, places and whatever else was drawn.
    periods : mapping of str to (n_trials, 2) integers
        The first time step of each period and the one after its last; equal where a trial has no such period.
    windows : (n_trials, 2) integers or None
        In tasks of timing, the first time step at which a response is right and the one after the last; both n_times
        where none is.
    values : (n_times, n_trials, n_outputs) float32 array or None
        In tasks with continuous outputs, what is wanted of each; `targets` are 0 then.
    """

    inputs: Floats
    targets: Integers
    coherence: Floats | None = None
    conditions: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    periods: Mapping[str, Integers] = field(default_factory=dict)
    windows: Integers | None = None
    values: Floats | None = None

    def __post_init__(self) -> None:
        shape = np.shape(self.targets)
        if self.windows is not None:
            object.__setattr__(self, "windows", _checked_windows(self.windows, shape))
        if self.values is None:
            return
        object.__setattr__(self, "values", np.asarray(self.values))
        if self.windows is not None or np.max(self.targets, initial=0) > 0:
            raise InputError(
                "trials with values have no responses: leave windows out, and targets 0 (-1 after the end)"
            )
        if np.ndim(self.values) != 3 or np.shape(self.values)[:2] != shape or not np.size(self.values):
            raise InputError(
                f"values have shape {np.shape(self.values)}; they must be (n_times, n_trials, n_outputs), and targets "
                f"are {shape}"
            )
        if not np.isfinite(self.values).all():
            raise InputError("values hold some that are not finite (NaN or infinity)")

    @property
    def arrays(self) -> dict[str, NDArray[Any]]:
        """All that a network is shown, or judged by."""
        all_of_them = {"inputs": self.inputs, "targets": self.targets, "windows": self.windows, "values": self.values}
        return {name: array for name, array in all_of_them.items() if array is not None}

    @property
    def n_trials(self) -> int:
        """How many trials there are."""
        return self.targets.shape[1]

    @property
    def response_times(self) -> Integers:
        """(n_trials,) the last time step that asks for a response, or the last one of all where none does."""
        steps = np.arange(len(self.targets))[:, None]
        responding = np.where(self.targets > 0, steps, -1).max(axis=0)
        last = np.where(self.targets != ENDED, steps, -1).max(axis=0)
        return np.where(responding >= 0, responding, last)

    @property
    def deciding(self) -> NDArray[np.bool_]:
        """(n_times, n_trials) the time steps of the decision; where no period is called so, those with a response."""
        if DECISION not in self.periods:
            return self.targets > 0
        steps, (first, end) = np.arange(len(self.targets))[:, None], self.periods[DECISION].T
        within: NDArray[np.bool_] = (steps >= first) & (steps < end)
        return within

    @property
    def coherent(self) -> NDArray[np.bool_]:
        """(n_trials,) whether a trial's stimulus tells the answer: all but those of coherence 0."""
        if DECIDABLE in self.conditions:
            return np.asarray(self.conditions[DECIDABLE], dtype=bool)
        return np.ones(self.n_trials, dtype=bool) if self.coherence is None else self.coherence != 0

    def select(self, index: NDArray[Any]) -> "Trials":
        """The trials at `index`."""
        return Trials(
            self.inputs[:, index],
            self.targets[:, index],
            None if self.coherence is None else self.coherence[index],
            {name: values[index] for name, values in self.conditions.items()},
            {name: steps[index] for name, steps in self.periods.items()},
            None if self.windows is None else self.windows[index],
            None if self.values is None else self.values[:, index],
        )

    def choices(self, outputs: Floats) -> Integers:
        """(n_trials,) the response that each trial is judged by, from outputs (n_times, n_trials, n_actions).

        The strongest output at the time of response; in tasks of timing the first response, 0 where there is none.

        Raises
        ------
        InputError
            If the task's outputs are continuous.
        """
        self._check_responses()
        steps = self.response_times if self.windows is None else self.first_responses(outputs)
        return np.asarray(outputs[steps, np.arange(self.n_trials)].argmax(axis=-1))

    def first_responses(self, outputs: Floats) -> Integers:
        """(n_trials,) the first time step at which another output than fixation's is the strongest, else the last one.

        Raises
        ------
        InputError
            If the task's outputs are continuous.
        """
        self._check_responses()
        within = self.targets != ENDED
        responds = (outputs.argmax(axis=-1) > 0) & within
        return np.where(responds.any(axis=0), responds.argmax(axis=0), within.sum(axis=0) - 1)

    def correct(self, outputs: Floats) -> NDArray[np.bool_]:
        """(n_trials,) whether that choice is the target, and comes in time where that is asked.

        Raises
        ------
        InputError
            If the task's outputs are continuous.
        """
        right: NDArray[np.bool_] = self.choices(outputs) == self.targets[self.response_times, np.arange(self.n_trials)]
        if self.windows is None:
            return right
        when, (first, end) = self.first_responses(outputs), self.windows.T
        in_time: NDArray[np.bool_] = (first == end) | ((when >= first) & (when < end))
        return right & in_time

    def score(self, outputs: Floats) -> float:
        """Share of the trials that are answered correctly; of continuous outputs, R².

        R² is 1 minus the mean squared error over all time steps and outputs, divided by the wanted outputs' variance
        about the mean of each, to six digits.
        """
        if self.values is None:
            return float(np.mean(self.correct(outputs)))
        wanted, got = (self.end_to_end(each).astype(np.float64) for each in (self.values, outputs))
        variation = float(((wanted - wanted.mean(axis=0)) ** 2).sum())
        if not variation:
            raise InputError("the values that are wanted never change, so that none of their variance can be explained")
        # In single precision outputs depend, in their last digits, on what was run beside them; a training that stops
        # by this number must not.
        return round(1 - float(((got - wanted) ** 2).sum()) / variation, 6)

    def _check_responses(self) -> None:
        if self.values is not None:
            raise InputError(
                "the task's outputs are continuous: there is no choice that could be right, and so no accuracy; look "
                "at R² (score), or at the outputs beside the variable 'target'"
            )

    def end_to_end(self, values: NDArray[Any]) -> NDArray[Any]:
        """Values (n_times, n_trials, …) of each time step, one trial after the other: (sum of lengths, …)."""
        joined: NDArray[Any] = values.swapaxes(0, 1)[self.targets.T != ENDED]
        return joined


def _checked_windows(windows: ArrayLike, shape: tuple[int, ...]) -> Integers:
    """Windows of trials with targets of this shape (n_times, n_trials), as an array; any others are refused."""
    array = np.asarray(windows)
    if array.shape != (shape[1], 2) or array.dtype.kind not in "iu":
        raise InputError(
            f"windows are {array.dtype.name} of shape {array.shape}; they must be whole numbers, ({shape[1]}, 2): of "
            "each trial the first time step at which a response is right, and the one after the last"
        )
    bad = np.flatnonzero((array[:, 0] < 0) | (array[:, 0] > array[:, 1]) | (array[:, 1] > shape[0]))
    if bad.size:
        raise InputError(
            f"the window of trial {bad[0]} is {array[bad[0]].tolist()}; it must begin before it ends, from 0 to the "
            f"{shape[0]} time steps of the trials"
        )
    return array


def columns_of(names: Places, n_inputs: int) -> tuple[str, ...]:
    """What each of `n_inputs` is, from the names of places or ranges of them; numbered where there is no name."""
    columns = [f"input-{j}" for j in range(n_inputs)]
    for name, where in names.items():
        places = np.atleast_1d(where).tolist()
        for k, j in enumerate(places):
            columns[j] = name if len(places) == 1 else f"{name}-{k + 1}"
    return tuple(columns)
