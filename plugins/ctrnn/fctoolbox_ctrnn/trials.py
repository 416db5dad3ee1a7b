"""Whole trials of a task, drawn so that the same seed always gives the same ones."""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import gymnasium
import neurogym
import numpy as np
from neurogym.core import TrialEnv
from numpy.typing import NDArray

from fctoolbox.errors import InputError, check_whole, suggestion
from fctoolbox_ctrnn.plans import ENDED as ENDED
from fctoolbox_ctrnn.plans import Floats, Integers, rendered
from fctoolbox_ctrnn.tasks import DESIGNS, design_of
from fctoolbox_ctrnn.tasks.design import DECIDABLE, DECISION, FIXATION, Design, Places, Schedule
from fctoolbox_ctrnn.timing import Duration, changed_timing, in_words

# What neurogym calls the coherence in percent; and the answer, which we tell as the target.
_COHERENCE, _ANSWER = "coh", "ground_truth"
_TRIED = 20  # trials that are drawn to see whether a task can be learned


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
    """

    name: str
    dt: int
    columns: tuple[str, ...]
    n_actions: int
    timing: str
    changed: tuple[tuple[str, Duration], ...] = ()
    constant: tuple[str, ...] = ()

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
    """

    inputs: Floats
    targets: Integers
    coherence: Floats | None = None
    conditions: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    periods: Mapping[str, Integers] = field(default_factory=dict)

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


def known_tasks() -> tuple[str, ...]:
    """The ids of all tasks that come with this package (first) or with neurogym."""
    native = [name for name, spec in gymnasium.envs.registry.items() if "neurogym." in str(spec.entry_point)]
    return *DESIGNS, *sorted(native)


def read_task(name: str, dt: int, *, timing: Mapping[str, Any] | None = None) -> Task:
    """What a neurogym task presents and asks for.

    Parameters
    ----------
    name : str
        neurogym's id, or ours.
    dt : int
        Duration of a time step in ms.
    timing : mapping of str to duration, optional
        Periods that shall last otherwise than the task has it: a number of ms, several numbers to choose from,
        ``("uniform", (least, most))`` or ``("truncated_exponential", (mean, least, most))``.

    Raises
    ------
    InputError
        If there is no such task, it cannot be learned by supervision, its seed does not determine it, or the
        timing is not usable.
    """
    check_whole("dt", dt, 1)
    design = design_of(name, dt, timing)
    if design is not None:
        changed = changed_timing(name, design.changeable, timing or {})
        columns = _columns(design.inputs, design.n_inputs)
        constant = tuple(column for column in columns if column in design.constant)
        return Task(name, dt, columns, design.n_responses, design.timing_in_words, tuple(changed.items()), constant)
    changed = _changes(name, dt, timing)
    environment = _environment(name, dt, changed).unwrapped
    observed, actions = environment.observation_space, environment.action_space
    if not isinstance(observed, gymnasium.spaces.Box) or len(observed.shape) != 1:
        raise InputError(f"task '{name}' presents {observed}; a network needs one number per input and time step")
    if not isinstance(actions, gymnasium.spaces.Discrete):
        raise InputError(f"task '{name}' asks for {actions}; ctrnn learns tasks with a few distinct responses only")
    columns = _columns(getattr(observed, "name", None) or {}, observed.shape[0])
    _check_steps(name, dt, environment.timing)
    task = Task(name, dt, columns, int(actions.n), in_words(environment.timing), tuple(changed.items()))
    once, again = (draw_trials(task, _TRIED, seed=(0,)) for _ in range(2))
    if not np.array_equal(once.inputs, again.inputs):
        raise InputError(
            f"task '{name}' draws random numbers that its seed() does not reach, so no training on it could "
            "be repeated; it must draw them from the environment's rng"
        )
    wanted = np.unique(once.targets[once.response_times, np.arange(_TRIED)])
    if len(wanted) == 1:
        what = f"response {wanted[0]}" if wanted[0] else "no response"
        raise InputError(
            f"task '{name}' asks for {what} in the end of each of {_TRIED} trials; accuracy is that of a trial's last "
            "response, so a network would be right without having learned when to respond. Choose a task with two "
            "answers or more; if you changed its timing, see whether a decision is left"
        )
    return task


def _check_steps(name: str, dt: int, timing: Mapping[str, Any]) -> None:
    """Refuse periods of another's task that are shorter than a time step: what they show would never be seen."""
    short = {period: ms for period, ms in timing.items() if isinstance(ms, (int, float)) and 0 < ms < dt}
    if short:
        period, ms = min(short.items(), key=lambda each: each[1])
        raise InputError(
            f"{period} of task '{name}' lasts {ms:g} ms, less than one time step of {dt} ms, so that the network would "
            f"never see it; make dt smaller (at most {ms:g}) or the period longer (timing)"
        )


def draw_trials(task: Task, n_trials: int, *, seed: Sequence[int]) -> Trials:
    """Whole trials; the same seed gives the same ones, whatever was drawn before.

    Those of our tasks are drawn all at once, others one after the other.

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
    design = _design(task)
    return _drawn_one_by_one(task, n_trials, seed) if design is None else _drawn_at_once(design, task, n_trials, seed)


def schedule_of(task: Task) -> Schedule:
    """How a task is best learned; that of others' tasks is the one that most of ours share."""
    design = _design(task)
    return Schedule() if design is None else design.schedule


@cache
def _design(task: Task) -> Design | None:
    return design_of(task.name, task.dt, dict(task.changed))


def _drawn_at_once(design: Design, task: Task, n_trials: int, seed: Sequence[int]) -> Trials:
    rng = np.random.default_rng(seed)
    plan = design.plan(design.draw(n_trials, rng), task.dt, rng)
    inputs, targets = rendered(plan, rng)
    return Trials(inputs, targets, plan.conditions.get("coherence"), plan.conditions, plan.steps)


def _drawn_one_by_one(task: Task, n_trials: int, seed: Sequence[int]) -> Trials:
    # An environment of its own for each call: some tasks carry blocks or schedules from trial to trial.
    environment = _environment(task.name, task.dt, dict(task.changed))
    drawn = []
    with _neurogym_quiet():
        # neurogym's generators are numpy's RandomState, which takes 32 bits.
        environment.get_wrapper_attr("seed")(int(np.random.SeedSequence(seed).generate_state(1)[0]))
        for _ in range(n_trials):
            drawn.append(_trial(environment, task))
    n_times = max(len(each.targets) for each in drawn)
    inputs = np.zeros((n_times, n_trials, len(task.columns)), dtype=np.float32)
    targets = np.full((n_times, n_trials), ENDED)
    for k, each in enumerate(drawn):
        inputs[: len(each.inputs), k], targets[: len(each.targets), k] = each.inputs, each.targets
    if not np.isfinite(inputs).all():
        raise InputError(f"task '{task.name}' presents values that are not finite (NaN or infinity)")
    if targets.max() >= task.n_actions or targets.min() < ENDED:
        raise InputError(
            f"task '{task.name}' wants response {targets.max()}, but it offers only 0 … {task.n_actions - 1}"
        )
    conditions = _in_all([each.conditions for each in drawn])
    conditions["target"] = np.array([each.targets[each.targets > 0][-1:].sum() for each in drawn])
    periods = {name: steps for name, steps in _in_all([each.periods for each in drawn]).items() if steps.ndim == 2}
    return Trials(inputs, targets, conditions.get("coherence"), conditions, periods)


@dataclass(frozen=True, eq=False)
class _Trial:
    inputs: Floats
    targets: Integers
    conditions: dict[str, Any]
    periods: dict[str, tuple[int, int]]


def _trial(environment: Any, task: Task) -> _Trial:
    now = environment.unwrapped
    try:
        told = environment.get_wrapper_attr("new_trial")() or {}
        observations, targets = now.ob, now.gt
    except (ValueError, TypeError, LookupError, ArithmeticError) as error:
        raise InputError(
            f"task '{task.name}' cannot draw a trial at time steps of {task.dt} ms"
            f"{' with this timing' if task.changed else ''}: {error}. Try another dt"
        ) from error
    except (AttributeError, NotImplementedError) as error:
        raise InputError(
            f"task '{task.name}' defines no observations and ground truth for a whole trial ({error}), so a "
            "network cannot be trained on it by supervision"
        ) from error
    # Arrays and objects are left out: what is told by one number or word can tell trials apart.
    plain = {name: value for name, value in told.items() if isinstance(value, (str, int, float, np.generic))}
    conditions = {name: value for name, value in plain.items() if name not in (_COHERENCE, _ANSWER)}
    if isinstance(plain.get(_COHERENCE), (int, float, np.number)):
        conditions["coherence"] = float(plain[_COHERENCE])
    periods = {name: (first, now.end_ind[name]) for name, first in now.start_ind.items()}
    return _Trial(observations, targets, conditions, periods)


def _in_all(each: Sequence[Mapping[str, Any]]) -> dict[str, NDArray[Any]]:
    """What every trial tells: a task's trials need not all tell the same."""
    names = [name for name in each[0] if all(name in other for other in each)]
    return {name: np.array([other[name] for other in each]) for name in names}


def _changes(name: str, dt: int, timing: Mapping[str, Any] | None) -> dict[str, Duration]:
    if timing is None:
        return {}
    known = _environment(name, dt, {}).unwrapped.timing
    changes = changed_timing(name, tuple(known), timing)
    wanted = in_words({**known, **changes})
    got = in_words(_environment(name, dt, changes).unwrapped.timing)
    if got != wanted:
        raise InputError(f"task '{name}' does not take this timing: it would have {got} instead of {wanted}")
    return changes


def _environment(name: str, dt: int, changed: Mapping[str, Duration]) -> Any:
    options = {"timing": dict(changed)} if changed else {}
    with _neurogym_quiet():
        try:
            environment = neurogym.make(name, dt=dt, **options)
        except (gymnasium.error.Error, ImportError) as error:
            tasks = known_tasks()
            raise InputError(
                f"no task '{name}'.{suggestion(name, tasks)} There are: {', '.join(tasks)}; "
                "and those that you register with neurogym (module:id has the module imported first)."
            ) from error
        except Exception as error:  # others' code: whatever goes wrong in it
            with_what = "a time step and timing" if options else "only a time step"
            raise InputError(f"task '{name}' cannot be made with {with_what}: {error}") from error
    if not isinstance(environment.unwrapped, TrialEnv):
        raise InputError(f"task '{name}' is not made of trials (it is no neurogym.core.TrialEnv)")
    return environment


def _columns(names: Places, n_inputs: int) -> tuple[str, ...]:
    columns = [f"input-{j}" for j in range(n_inputs)]
    for name, where in names.items():
        places = np.atleast_1d(where).tolist()
        for k, j in enumerate(places):
            columns[j] = name if len(places) == 1 else f"{name}-{k + 1}"
    return tuple(columns)


@contextmanager
def _neurogym_quiet() -> Iterator[None]:
    # neurogym 2.3 declares no render modes and reaches through gymnasium's wrappers in ways that gymnasium
    # deprecates; the warnings about that are addressed to neurogym, not to our user.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        warnings.simplefilter("ignore", DeprecationWarning)
        yield
