"""Whole trials of a task, drawn so that the same seed always gives the same ones."""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import gymnasium
import neurogym
import numpy as np
from neurogym.core import TrialEnv
from numpy.typing import NDArray

from fctoolbox.errors import InputError, suggestion
from fctoolbox_ctrnn.task import TASK_ID

Floats = NDArray[np.floating[Any]]
Integers = NDArray[np.integer[Any]]

# The target of time steps after a trial's end: trials of one batch may differ in length.
ENDED = -1
FIXATION = "fixation"


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
    """

    name: str
    dt: int
    columns: tuple[str, ...]
    n_actions: int
    timing: str

    @property
    def stimulus_columns(self) -> tuple[int, ...]:
        """Index of every input but the fixation cue."""
        return tuple(j for j, column in enumerate(self.columns) if column != FIXATION)


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
    """

    inputs: Floats
    targets: Integers
    coherence: Floats | None = None

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
    def coherent(self) -> NDArray[np.bool_]:
        """(n_trials,) whether a trial's stimulus tells the answer: all but those of coherence 0."""
        return np.ones(self.n_trials, dtype=bool) if self.coherence is None else self.coherence != 0

    def select(self, index: NDArray[Any]) -> "Trials":
        """The trials at `index`."""
        return Trials(
            self.inputs[:, index],
            self.targets[:, index],
            None if self.coherence is None else self.coherence[index],
        )

    def choices(self, outputs: Floats) -> Integers:
        """(n_trials,) the strongest of the outputs (n_times, n_trials, n_actions) at the time of response."""
        return np.asarray(outputs[self.response_times, np.arange(self.n_trials)].argmax(axis=-1))

    def correct(self, outputs: Floats) -> NDArray[np.bool_]:
        """(n_trials,) whether that choice is the target."""
        chosen: NDArray[np.bool_] = self.choices(outputs) == self.targets[self.response_times, np.arange(self.n_trials)]
        return chosen

    def end_to_end(self, values: NDArray[Any]) -> NDArray[Any]:
        """Values (n_times, n_trials, …) of each time step, one trial after the other: (sum of lengths, …)."""
        joined: NDArray[Any] = values.swapaxes(0, 1)[self.targets.T != ENDED]
        return joined


def read_task(name: str, dt: int) -> Task:
    """What a neurogym task presents and asks for.

    Parameters
    ----------
    name : str
        neurogym's id, or ours.
    dt : int
        Duration of a time step in ms.

    Raises
    ------
    InputError
        If there is no such task, it cannot be learned by supervision, or its seed does not determine it.
    """
    environment = _environment(name, dt).unwrapped
    observed, actions = environment.observation_space, environment.action_space
    if not isinstance(observed, gymnasium.spaces.Box) or len(observed.shape) != 1:
        raise InputError(f"task '{name}' presents {observed}; a network needs one number per input and time step")
    if not isinstance(actions, gymnasium.spaces.Discrete):
        raise InputError(f"task '{name}' asks for {actions}; ctrnn learns tasks with a few distinct responses only")
    task = Task(name, dt, _columns(observed), int(actions.n), _timing(environment.timing))
    once, again = (draw_trials(task, 20, seed=(0,)) for _ in range(2))
    if not np.array_equal(once.inputs, again.inputs):
        raise InputError(
            f"task '{name}' draws random numbers that its seed() does not reach, so no training on it could "
            "be repeated; it must draw them from the environment's rng"
        )
    return task


def draw_trials(task: Task, n_trials: int, *, seed: Sequence[int]) -> Trials:
    """Whole trials; the same seed gives the same ones, whatever was drawn before.

    Parameters
    ----------
    task : Task
    n_trials : int
    seed : sequence of int ≥ 0

    Raises
    ------
    InputError
        If the task's trials have no ground truth, or are not finite.
    """
    # An environment of its own for each call: some tasks carry blocks or schedules from trial to trial.
    environment = _environment(task.name, task.dt)
    drawn = []
    with _neurogym_quiet():
        # neurogym's generators are numpy's RandomState, which takes 32 bits.
        environment.get_wrapper_attr("seed")(int(np.random.SeedSequence(seed).generate_state(1)[0]))
        for _ in range(n_trials):
            drawn.append(_trial(environment, task))
    n_times = max(len(targets) for _, targets, _ in drawn)
    inputs = np.zeros((n_times, n_trials, len(task.columns)), dtype=np.float32)
    targets = np.full((n_times, n_trials), ENDED)
    for k, (observations, responses, _) in enumerate(drawn):
        inputs[: len(observations), k], targets[: len(responses), k] = observations, responses
    if not np.isfinite(inputs).all():
        raise InputError(f"task '{task.name}' presents values that are not finite (NaN or infinity)")
    if targets.max() >= task.n_actions or targets.min() < ENDED:
        raise InputError(
            f"task '{task.name}' wants response {targets.max()}, but it offers only 0 … {task.n_actions - 1}"
        )
    coherences = [coherence for _, _, coherence in drawn if coherence is not None]
    return Trials(inputs, targets, np.array(coherences) if len(coherences) == n_trials else None)


def _trial(environment: Any, task: Task) -> tuple[Floats, Integers, float | None]:
    try:
        trial = environment.get_wrapper_attr("new_trial")()
        observations, targets = environment.unwrapped.ob, environment.unwrapped.gt
    except (AttributeError, NotImplementedError) as error:
        raise InputError(
            f"task '{task.name}' defines no observations and ground truth for a whole trial ({error}), so a "
            "network cannot be trained on it by supervision"
        ) from error
    coherence = (trial or {}).get("coh")
    return observations, targets, float(coherence) if isinstance(coherence, (int, float, np.number)) else None


def _environment(name: str, dt: int) -> Any:
    with _neurogym_quiet():
        try:
            environment = neurogym.make(name, dt=dt)
        except (gymnasium.error.Error, ImportError) as error:
            tasks = _known_tasks()
            raise InputError(
                f"no task '{name}'.{suggestion(name, tasks)} There are: {', '.join(tasks)}; "
                "and those that you register with neurogym (module:id has the module imported first)."
            ) from error
        except (TypeError, AttributeError) as error:
            raise InputError(f"task '{name}' cannot be made with only a time step: {error}") from error
    if not isinstance(environment.unwrapped, TrialEnv):
        raise InputError(f"task '{name}' is not made of trials (it is no neurogym.core.TrialEnv)")
    return environment


def _known_tasks() -> list[str]:
    native = [name for name, spec in gymnasium.envs.registry.items() if "neurogym." in str(spec.entry_point)]
    return [TASK_ID, *sorted(native)]


def _columns(observed: Any) -> tuple[str, ...]:
    columns = [f"input-{j}" for j in range(observed.shape[0])]
    for name, where in (getattr(observed, "name", None) or {}).items():
        places = np.atleast_1d(where).tolist()
        for k, j in enumerate(places):
            columns[j] = name if len(places) == 1 else f"{name}-{k + 1}"
    return tuple(columns)


def _timing(timing: dict[str, Any]) -> str:
    def words(duration: Any) -> str:
        if isinstance(duration, (int, float)):
            return f"{duration:g} ms"
        # A distribution's repr would hold a memory address, which differs from run to run.
        return type(duration).__name__ if callable(duration) else str(duration)

    return ", ".join(f"{period} {words(duration)}" for period, duration in timing.items())


@contextmanager
def _neurogym_quiet() -> Iterator[None]:
    # neurogym 2.3 declares no render modes and reaches through gymnasium's wrappers in ways that gymnasium
    # deprecates; the warnings about that are addressed to neurogym, not to our user.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        warnings.simplefilter("ignore", DeprecationWarning)
        yield
