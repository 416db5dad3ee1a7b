"""The tasks of neurogym, and those that others register with it: what they present and ask for, trial by trial."""

import inspect
import json
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import gymnasium
import neurogym
import numpy as np
from neurogym.core import TrialEnv
from numpy.typing import NDArray

from fctoolbox.errors import InputError, suggestion
from fctoolbox_ctrnn.choices import read_mapping
from fctoolbox_ctrnn.moments import MARGIN, held, windows_of
from fctoolbox_ctrnn.plans import ENDED, Floats
from fctoolbox_ctrnn.records import CHOICE, TIMING, VALUES, Task, Trials, columns_of
from fctoolbox_ctrnn.tasks import DESIGNS
from fctoolbox_ctrnn.timing import Duration, changed_timing, in_words

# What neurogym calls the coherence in percent; and the answer, which we tell as the target.
_COHERENCE, _ANSWER = "coh", "ground_truth"
_TRIED = 20  # trials that are drawn to see whether a task can be learned


def known_tasks() -> tuple[str, ...]:
    """The ids of all tasks that come with this package (first) or with neurogym."""
    native = [name for name, spec in gymnasium.envs.registry.items() if "neurogym." in str(spec.entry_point)]
    return *DESIGNS, *sorted(native)


def read_task(name: str, dt: int, timing: Mapping[str, Any] | None, options: Mapping[str, Any]) -> Task:
    """As `fctoolbox_ctrnn.trials.read_task`, for a task that is not ours."""
    written, mapping = read_mapping("task_options", options)
    for own in ("dt", "timing"):
        if own in (mapping or {}):
            raise InputError(f"task_options names {own}, which is an option of its own; give it there")
    given = "" if written is None else json.dumps(mapping, sort_keys=True)
    changed = _changes(name, dt, timing, given)
    environment = _environment(name, dt, changed, given).unwrapped
    observed, actions = environment.observation_space, environment.action_space
    if not isinstance(observed, gymnasium.spaces.Box) or len(observed.shape) != 1:
        raise InputError(f"task '{name}' presents {observed}; a network needs one number per input and time step")
    discrete = isinstance(actions, gymnasium.spaces.Discrete)
    if not discrete and not (isinstance(actions, gymnasium.spaces.Box) and len(actions.shape) == 1):
        raise InputError(f"task '{name}' asks for {actions}; ctrnn learns distinct responses, or one number per output")
    columns = columns_of(getattr(observed, "name", None) or {}, observed.shape[0])
    _check_steps(name, dt, environment.timing)
    n_outputs = int(actions.n) if discrete else actions.shape[0]
    if not n_outputs:
        raise InputError(f"task '{name}' asks for {actions}, which is no output at all")
    timing_in_words = in_words(environment.timing)
    task = Task(name, dt, columns, n_outputs, timing_in_words, tuple(changed.items()), options=given)
    task = task if discrete else replace(task, kind=VALUES)
    once, again = (draw_trials(task, _TRIED, seed=(0,)) for _ in range(2))
    if not all(np.array_equal(array, again.arrays[what]) for what, array in once.arrays.items()):
        raise InputError(
            f"task '{name}' draws random numbers that its seed() does not reach, so no training on it could "
            "be repeated; it must draw them from the environment's rng"
        )
    return replace(task, kind=_kind(task, once))


def _kind(task: Task, trials: Trials) -> str:
    """Whether the only thing that trials ask for is when to respond; trials that ask for nothing are refused."""
    if trials.values is not None:
        if not np.ptp(trials.end_to_end(trials.values), axis=0).any():
            raise InputError(
                f"task '{task.name}' wants the same outputs at all time steps of {_TRIED} trials: there is nothing to "
                "learn; if you changed its timing, see whether a response is left"
            )
        return VALUES
    wanted = np.unique(trials.targets[trials.response_times, np.arange(_TRIED)])
    if len(wanted) > 1:
        return CHOICE
    asks = trials.targets > 0
    if not wanted[0] or asks[0].any():
        when = f"response {wanted[0]} from the first time step on" if wanted[0] else "no response"
        raise InputError(
            f"task '{task.name}' asks for {when} in {_TRIED} trials, so that a network would be right without having "
            "learned anything. Choose a task with two answers or more, or with a moment to respond; if you changed its "
            "timing, see whether a decision is left"
        )
    begins = (asks[1:] & ~asks[:-1]).sum(axis=0)
    if begins.max() > 1 or len(np.unique(trials.targets[asks])) > 1:
        raise InputError(
            f"task '{task.name}' asks for several responses in a trial and always ends with {wanted[0]}: neither the "
            "last response nor its moment says whether it was learned. Choose a task with one response in a trial, or "
            "whose trials end with different ones"
        )
    return TIMING


def _check_steps(name: str, dt: int, timing: Mapping[str, Any]) -> None:
    """Refuse periods of another's task that are shorter than a time step: what they show would never be seen."""
    short = {period: ms for period, ms in timing.items() if isinstance(ms, (int, float)) and 0 < ms < dt}
    if short:
        period, ms = min(short.items(), key=lambda each: each[1])
        raise InputError(
            f"{period} of task '{name}' lasts {ms:g} ms, less than one time step of {dt} ms, so that the network would "
            f"never see it; make dt smaller (at most {ms:g}) or the period longer (timing)"
        )


def draw_trials(task: Task, n_trials: int, seed: Sequence[int]) -> Trials:
    """As `fctoolbox_ctrnn.trials.draw_trials`, for a task that is not ours: one trial after the other."""
    # An environment of its own for each call: some tasks carry blocks or schedules from trial to trial.
    environment = _environment(task.name, task.dt, dict(task.changed), task.options)
    with _neurogym_quiet():
        _seed(environment, np.random.SeedSequence(seed), task)
        drawn = [_trial(environment, task) for _ in range(n_trials)]
    n_times = max(len(each.truth) for each in drawn)
    inputs = np.zeros((n_times, n_trials, len(task.columns)), dtype=np.float32)
    targets = np.full((n_times, n_trials), ENDED)
    values = np.zeros((n_times, n_trials, task.n_actions), dtype=np.float32) if task.continuous else None
    for k, each in enumerate(drawn):
        inputs[: len(each.inputs), k] = each.inputs
        if values is None:
            targets[: len(each.truth), k] = each.truth
        else:
            targets[: len(each.truth), k], values[: len(each.truth), k] = 0, each.truth
    for array, verb in ((inputs, "presents"), (values, "wants")):
        if array is not None and not np.isfinite(array).all():
            raise InputError(f"task '{task.name}' {verb} values that are not finite (NaN or infinity)")
    if targets.max() >= task.n_actions or targets.min() < ENDED:
        raise InputError(
            f"task '{task.name}' wants response {targets.max()}, but it offers only 0 … {task.n_actions - 1}"
        )
    conditions = _in_all([each.conditions for each in drawn])
    if values is None:
        conditions["target"] = np.array([each.truth[each.truth > 0][-1:].sum() for each in drawn])
    periods = {name: steps for name, steps in _in_all([each.periods for each in drawn]).items() if steps.ndim == 2}
    trials = Trials(inputs, targets, conditions.get("coherence"), conditions, periods, values=values)
    if task.kind != TIMING:
        return trials
    margin = float(getattr(environment.unwrapped, "prod_margin", MARGIN))
    return replace(trials, targets=held(targets), windows=windows_of(inputs, targets, task.dt, margin=margin))


def _seed(environment: Any, sequence: np.random.SeedSequence, task: Task) -> None:
    # neurogym's generators are numpy's RandomState, which takes 32 bits.
    environment.get_wrapper_attr("seed")(int(sequence.generate_state(1)[0]))
    now = environment.unwrapped
    # A task may hold generators that its seed() leaves alone (AnnubesEnv), and may have drawn its first block before
    # anybody could seed it (HierarchicalReasoning).
    own = [name for name, value in vars(now).items() if isinstance(value, np.random.Generator)]
    for name, child in zip(own, sequence.spawn(len(own)), strict=True):
        setattr(now, name, np.random.default_rng(child))
    if callable(begin := getattr(now, "new_block", None)) and not _needs_arguments(begin):
        with _blamed_on_its_code(task):
            begin()


def _needs_arguments(function: Callable[..., object]) -> bool:
    parameters = inspect.signature(function).parameters.values()
    return any(
        each.default is each.empty and each.kind not in (each.VAR_POSITIONAL, each.VAR_KEYWORD) for each in parameters
    )


@dataclass(frozen=True, eq=False)
class _Trial:
    inputs: Floats
    truth: NDArray[Any]  # (n_times,) responses, or (n_times, n_outputs) values
    conditions: dict[str, Any]
    periods: dict[str, tuple[int, int]]


def _trial(environment: Any, task: Task) -> _Trial:
    now = environment.unwrapped
    with _blamed_on_its_code(task):
        told = environment.get_wrapper_attr("new_trial")() or {}
        observations, truth = np.asarray(now.ob), np.asarray(now.gt)
    n_times = len(observations) if observations.ndim else 0
    expected = (n_times, task.n_actions) if task.continuous else (n_times,)
    if not n_times or truth.shape != expected or truth.dtype.kind not in "iufb":
        raise InputError(
            f"task '{task.name}' has a trial of {n_times} time steps with a ground truth of shape {truth.shape}; it "
            f"must be {'a number for each output' if task.continuous else 'one response'} at each time step, {expected}"
        )
    # Arrays and objects are left out: what is told by one number or word can tell trials apart.
    plain = {name: value for name, value in told.items() if isinstance(value, (str, int, float, np.generic))}
    conditions = {name: value for name, value in plain.items() if name not in (_COHERENCE, _ANSWER)}
    if isinstance(plain.get(_COHERENCE), (int, float, np.number)):
        conditions["coherence"] = float(plain[_COHERENCE])
    periods = {name: (first, now.end_ind[name]) for name, first in now.start_ind.items()}
    return _Trial(observations, truth, conditions, periods)


@contextmanager
def _blamed_on_its_code(task: Task) -> Iterator[None]:
    try:
        yield
    except (AttributeError, NotImplementedError) as error:
        raise InputError(
            f"task '{task.name}' defines no observations and ground truth for a whole trial ({error}), so a "
            "network cannot be trained on it by supervision"
        ) from error
    except Exception as error:  # others' code: whatever goes wrong in it
        raise InputError(
            f"task '{task.name}' cannot draw a trial at time steps of {task.dt} ms"
            f"{' with this timing' if task.changed else ''}: {error}. Try another dt"
        ) from error


def _in_all(each: Sequence[Mapping[str, Any]]) -> dict[str, NDArray[Any]]:
    """What every trial tells: a task's trials need not all tell the same."""
    names = [name for name in each[0] if all(name in other for other in each)]
    return {name: np.array([other[name] for other in each]) for name in names}


def _changes(name: str, dt: int, timing: Mapping[str, Any] | None, options: str) -> dict[str, Duration]:
    if timing is None:
        return {}
    known = _environment(name, dt, {}, options).unwrapped.timing
    changes = changed_timing(name, tuple(known), timing)
    wanted = in_words({**known, **changes})
    got = in_words(_environment(name, dt, changes, options).unwrapped.timing)
    if got != wanted:
        raise InputError(f"task '{name}' does not take this timing: it would have {got} instead of {wanted}")
    return changes


def _environment(name: str, dt: int, changed: Mapping[str, Duration], options: str) -> Any:
    given = json.loads(options) if options else {}
    if changed:
        given["timing"] = dict(changed)
    with _neurogym_quiet():
        try:
            environment = neurogym.make(name, dt=dt, **given)
        except (gymnasium.error.Error, ImportError) as error:
            tasks = known_tasks()
            raise InputError(
                f"no task '{name}'.{suggestion(name, tasks)} There are: {', '.join(tasks)}; "
                "and those that you register with neurogym (module:id has the module imported first)."
            ) from error
        except Exception as error:  # others' code: whatever goes wrong in it
            with_what = " and ".join(("a time step", *given)) if given else "only a time step"
            raise InputError(
                f"task '{name}' cannot be made with {with_what}: {error}. What else it takes is given as task_options"
            ) from error
    if not isinstance(environment.unwrapped, TrialEnv):
        raise InputError(f"task '{name}' is not made of trials (it is no neurogym.core.TrialEnv)")
    return environment


@contextmanager
def _neurogym_quiet() -> Iterator[None]:
    # neurogym 2.3 declares no render modes and reaches through gymnasium's wrappers in ways that gymnasium
    # deprecates; the warnings about that are addressed to neurogym, not to our user.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        warnings.simplefilter("ignore", DeprecationWarning)
        yield
