"""A design: what is drawn for a trial, and which inputs and responses follow from it."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from fctoolbox.errors import InputError, suggestion
from fctoolbox_ctrnn.plans import Conditions, Floats, Integers, Plan
from fctoolbox_ctrnn.timing import Duration, check_steps, drawn_steps, in_words

FIXATION, DECISION = "fixation", "decision"
# A condition: whether the stimuli tell the answer. Where they do not, it is a matter of luck.
DECIDABLE = "decidable"

Places = Mapping[str, int | range]


@dataclass(frozen=True)
class Schedule:
    """How a task is best learned, where nobody asks for something else.

    The weight is that of Yang et al. 2019; the learning rate is between theirs (0.001) and nn-brain's (0.01): with
    0.01 decisions by context are never learned, with 0.001 most tasks take two to four times as many steps. From
    uniform recurrent weights one seed of four had not learned to match to sample in 16,000 steps; from orthogonal
    ones all had in 900.

    Parameters
    ----------
    learning_rate, response_weight
        See `fctoolbox_ctrnn.training.Training`.
    start : str
        Of the recurrent weights, see `fctoolbox_ctrnn.network.initial_network`.
    steps : int
        How many to try at most.
    share_of_ideal : float
        What training aims at: the share of an ideal observer's accuracy. The last percents of a noisy task, or of one
        with fine differences, take ten times the steps of the rest.
    """

    learning_rate: float = 0.003
    response_weight: float = 5.0
    start: str = "orthogonal"
    steps: int = 20_000
    share_of_ideal: float = 0.95


# For tasks as easy as nn-brain's own example: a weight of 5 would not be needed.
AS_NN_BRAIN = Schedule(learning_rate=0.01, response_weight=1.0, start="uniform", steps=2000, share_of_ideal=0.98)


@dataclass(frozen=True, eq=False, kw_only=True)
class Design(ABC):
    """What the trials of a task are made of.

    A fixation cue, input 0, is 1 in all periods but the last one, the decision, which alone may ask for a response.

    Parameters
    ----------
    timing : mapping of str to duration
        Of each period in their order: ms, or a distribution (see `changed_timing`).
    noise : float
        Its standard deviation at each time step is ``noise / sqrt(dt)``, with dt in ms, so that what can be
        integrated from a trial does not depend on dt.
    """

    timing: Mapping[str, Duration]
    noise: float

    paper: ClassVar[tuple[str, str]]
    # Conditions that the answer depends on and noise may hide; none where it hardly can (see `ideal_accuracy`).
    hidden: ClassVar[tuple[str, ...]] = ()
    schedule: ClassVar[Schedule] = Schedule()

    @property
    @abstractmethod
    def inputs(self) -> Places:
        """The name of each input, or of each group of inputs, and its column."""

    @property
    def constant(self) -> tuple[str, ...]:
        """The inputs that are the same at all times of all trials."""
        return ()

    @property
    @abstractmethod
    def responses(self) -> Places:
        """The name of each response, or of each group of them, and its number."""

    @property
    @abstractmethod
    def levels(self) -> dict[str, tuple[Any, ...]]:
        """What each condition is drawn from, with equal probability and independently."""

    @abstractmethod
    def plan(self, conditions: Conditions, dt: int, rng: np.random.Generator) -> Plan:
        """Trials of these conditions; only durations are drawn.

        Parameters
        ----------
        conditions : mapping of str to (n_trials,) array
            As `draw` gives them.
        dt : int
            Time step in ms.
        rng : numpy.random.Generator
        """

    @property
    def changeable(self) -> tuple[str, ...]:
        """The periods whose duration is an option."""
        return self.periods

    @property
    def timing_in_words(self) -> str:
        """Each period's duration."""
        return in_words(self.timing)

    def check(self, task: str, dt: int) -> None:
        """Refuse periods that are too short for the time step; `task` is its name, for the message."""
        check_steps(task, self.timing, dt, needed=DECISION)

    @property
    def periods(self) -> tuple[str, ...]:
        """Their names, in their order."""
        return tuple(self.timing)

    @property
    def n_inputs(self) -> int:
        """How many inputs there are, the cue included."""
        return _count(self.inputs)

    @property
    def n_responses(self) -> int:
        """How many responses there are, fixation included."""
        return _count(self.responses)

    def draw(self, n_trials: int, rng: np.random.Generator, **chosen: Any) -> dict[str, Any]:
        """The conditions of some trials, (n_trials,) each; those that are chosen are not drawn.

        Raises
        ------
        InputError
            If a condition is unknown, or what is chosen is none of its levels.
        """
        for name, value in chosen.items():
            if name not in self.levels:
                near = suggestion(name, self.levels)
                raise InputError(f"no condition '{name}'.{near} There are: {', '.join(self.levels)}")
            if value not in self.levels[name]:
                raise InputError(f"{name} is {value!r}; it must be one of {', '.join(map(str, self.levels[name]))}")
        # All are drawn, so that choosing one leaves the others as they are.
        drawn = {name: rng.choice(np.array(levels), n_trials) for name, levels in self.levels.items()}
        return drawn | {name: np.full(n_trials, value) for name, value in chosen.items()}

    def nothing(self, n_trials: int) -> Floats:
        """(n_trials, n_periods, n_inputs) zeros."""
        return np.zeros((n_trials, len(self.periods), self.n_inputs), dtype=np.float32)

    def cue(self, n_trials: int) -> Floats:
        """The same with the fixation cue."""
        means = self.nothing(n_trials)
        means[:, :-1, 0] = 1
        return means

    def planned(self, conditions: Conditions, means: Floats, noise: Floats, dt: int, rng: np.random.Generator) -> Plan:
        """A plan that wants the conditions' ``target`` in the last period."""
        n_trials = len(means)
        durations = [drawn_steps(duration, n_trials, dt, rng) for duration in self.timing.values()]
        responses = np.zeros((n_trials, len(durations)), dtype=np.int64)
        responses[:, -1] = conditions["target"]
        return Plan(self.periods, np.column_stack(durations), means, noise, responses, conditions)


def ring(places: Integers, n_places: int) -> Floats:
    """(n_trials, n_places) distance in rad of each place on a ring from the trial's, which is counted from 1."""
    steps = np.abs(np.arange(1, n_places + 1) - places[:, None])
    distances: Floats = np.minimum(steps, n_places - steps) * (2 * np.pi / n_places)
    return distances


def _count(places: Places) -> int:
    return sum(len(where) if isinstance(where, range) else 1 for where in places.values())
