"""Whole trials of a task, drawn so that the same seed always gives the same ones."""

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np

from fctoolbox.errors import InputError, check_whole
from fctoolbox_ctrnn import foreign
from fctoolbox_ctrnn.foreign import known_tasks as known_tasks
from fctoolbox_ctrnn.plans import ENDED as ENDED
from fctoolbox_ctrnn.plans import rendered
from fctoolbox_ctrnn.records import CHOICE, Task, Trials, columns_of
from fctoolbox_ctrnn.tasks import design_of
from fctoolbox_ctrnn.tasks.design import Design, Schedule
from fctoolbox_ctrnn.timing import changed_timing

__all__ = ["ENDED", "Task", "Trials", "draw_trials", "known_tasks", "read_task", "schedule_of"]


def read_task(
    name: str, dt: int, *, timing: Mapping[str, Any] | None = None, options: Mapping[str, Any] | None = None
) -> Task:
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
    options : mapping of str to value, optional
        What else neurogym's task shall be made with, by the names of its own arguments. Ours have none.

    Raises
    ------
    InputError
        If there is no such task, it cannot be learned by supervision, its seed does not determine it, or the
        timing or the options are not usable.
    """
    check_whole("dt", dt, 1)
    design = design_of(name, dt, timing)
    if design is None:
        return foreign.read_task(name, dt, timing, options or {})
    if options:
        raise InputError(
            f"task '{name}' takes no options of its own ({', '.join(options)}), only timing: "
            f"{', '.join(design.changeable)}"
        )
    changed = changed_timing(name, design.changeable, timing or {})
    columns = columns_of(design.inputs, design.n_inputs)
    constant = tuple(column for column in columns if column in design.constant)
    return Task(name, dt, columns, design.n_responses, design.timing_in_words, tuple(changed.items()), constant)


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
    if design is None:
        return foreign.draw_trials(task, n_trials, seed)
    rng = np.random.default_rng(seed)
    plan = design.plan(design.draw(n_trials, rng), task.dt, rng)
    inputs, targets = rendered(plan, rng)
    return Trials(inputs, targets, plan.conditions.get("coherence"), plan.conditions, plan.steps)


def schedule_of(task: Task) -> Schedule:
    """How a task is best learned; that of others' tasks is the one that most of ours share."""
    design = _design(task)
    if design is not None:
        return design.schedule
    # Where only the moment matters, a weight would make up for answers that come too early.
    return Schedule() if task.kind == CHOICE else Schedule(response_weight=1.0)


@cache
def _design(task: Task) -> Design | None:
    return design_of(task.name, task.dt, dict(task.changed))
