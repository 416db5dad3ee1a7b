"""Many networks trained together: in stacks, over threads, each with the weights that it would have alone."""

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import torch
from tqdm import tqdm

from fctoolbox.devices import torch_for
from fctoolbox.errors import InputError, check_whole, listed
from fctoolbox.threads import n_threads
from fctoolbox_ctrnn.scan import Workspace
from fctoolbox_ctrnn.training import Checkpoint, Learner, Outcome, advance_together, one_thread
from fctoolbox_ctrnn.trials import Trials
from fctoolbox_ctrnn.weights import Recipe, cached_path, failure, kept_path, read_checkpoint, write_checkpoint

# On a graphics card an operation costs its launch, whatever the number of networks.
_CHUNK_ON_CARD = 100


@dataclass(frozen=True, eq=False)
class _Training:
    """A network on its way: `number` is its place in the ensemble, `problem` why it will not get further.

    Up to step `there` its training is in its file already.
    """

    number: int
    recipe: Recipe
    path: Path
    checkpoint: Checkpoint
    validation: Trials | None = None
    problem: str = ""
    there: int = 0

    @property
    def learner(self) -> Learner:
        return self.recipe.learner(self.checkpoint, self.validation or self.recipe.validation())

    @property
    def solved(self) -> bool:
        return self.checkpoint.solves(self.recipe.training)

    def may_go_on(self, steps: int) -> bool:
        return not (self.solved or self.problem) and self.checkpoint.step + self.recipe.training.evaluate_every <= steps

    @property
    def kind(self) -> tuple[Any, ...]:
        """What the networks of a stack have in common."""
        network = self.checkpoint.network
        sizes = (*network.w_in.shape, len(network.w_out))
        return (
            *sizes,
            self.recipe.task.continuous,
            network.alpha,
            network.rule,
            network.nonlinearity,
            self.recipe.training,
        )


def train_ensemble(
    recipes: Sequence[Recipe],
    *,
    steps: int,
    n_jobs: int = 2,
    chunk_size: int = 10,
    device: str | None = None,
    keep_every: int | None = None,
) -> tuple[Checkpoint, ...]:
    """The networks that recipes lead to, from the cache where they are there, else trained together.

    Networks of one kind are trained as stacks of `chunk_size`, one stack per thread; a network that solves its task
    leaves its stack, and those that remain are stacked anew. A network's weights depend on its recipe alone, to the
    last bit, whatever is trained beside it. Every look at the validation trials leaves a file per
    network, so a training that was interrupted, or gave up, goes on from its last look.

    Parameters
    ----------
    recipes : sequence of Recipe
    steps : int
        How many to try at most, for each network.
    n_jobs : int
        Threads; -1 for all processors.
    chunk_size : int
        Networks in a stack; each takes some 12 MB of memory (100 units, 110 time steps, 64 trials).
    device : str, optional
        Where torch computes, such as ``"cuda"``; the processor when left out. Weights are kept apart for each.
    keep_every : int, optional
        Also keep the checkpoints at these steps, see `checkpoints`; a multiple of the steps between two looks.

    Returns
    -------
    tuple of Checkpoint
        In the order of the recipes; each solves its task.

    Raises
    ------
    InputError
        If a network does not solve its task within `steps` (with the learning curve), its loss explodes, all its
        units fall silent, or it cannot be kept. The others are trained and kept before that is said.
    """
    for recipe in recipes:
        _check_steps(recipe, steps, keep_every)

    def begun(number: int, recipe: Recipe, path: Path) -> _Training:
        checkpoint = found = read_checkpoint(path, recipe) or Checkpoint(recipe.start(), {})
        if keep_every is not None:
            checkpoint = _last_kept(found, recipe, path, keep_every)
        return _Training(number, recipe, path, checkpoint, there=found.step)

    done = _train_each(recipes, begun, steps, n_jobs, chunk_size, device, keep_every)
    _raise_problems(done, steps)
    return tuple(each.checkpoint for each in done)


def networks_at(
    recipes: Sequence[Recipe], step: int, *, n_jobs: int = 2, chunk_size: int = 10, device: str | None = None
) -> tuple[Checkpoint, ...]:
    """The networks after so many steps of their training, whether they solve their task by then or not.

    Parameters
    ----------
    recipes : sequence of Recipe
    step : int
        A multiple of the steps between two looks.
    n_jobs, chunk_size, device
        As in `train_ensemble`.

    Returns
    -------
    tuple of Checkpoint
        In the order of the recipes; a network that had solved its task before as it was then, at an earlier step.

    Raises
    ------
    InputError
        If `step` is no such multiple, or a loss explodes or a network dies before it.
    """
    for recipe in recipes:
        _check_steps(recipe, step, None)
        between = recipe.training.evaluate_every
        if step % between:
            raise InputError(f"step is {step}; it must be a multiple of the steps between two looks, {between}")

    def begun(number: int, recipe: Recipe, path: Path) -> _Training:
        found = read_checkpoint(path, recipe) or Checkpoint(recipe.start(), {})
        if found.step <= step:
            return _Training(number, recipe, path, found, there=found.step)
        earlier = range(step, 0, -recipe.training.evaluate_every)
        kept = (read_checkpoint(kept_path(path, each), recipe) for each in earlier)
        nearest = next((each for each in kept if each is not None), Checkpoint(recipe.start(), {}))
        return _Training(number, recipe, path, nearest, there=found.step)

    every = recipes[0].training.evaluate_every if recipes else None
    done = _train_each(recipes, begun, step, n_jobs, chunk_size, device, every)
    _raise_problems(done, step, unsolved_too=False)
    return tuple(each.checkpoint for each in done)


def _train_each(
    recipes: Sequence[Recipe],
    begun: Callable[[int, Recipe, Path], _Training],
    steps: int,
    n_jobs: int,
    chunk_size: int,
    device: str | None,
    keep_every: int | None,
) -> list[_Training]:
    """In the order of the recipes; equal ones are trained once."""
    check_whole("chunk_size", chunk_size, 1)
    n_jobs, where = n_threads(n_jobs), device or "cpu"
    if where != "cpu":
        torch_for(where)
        n_jobs, chunk_size = 1, max(chunk_size, _CHUNK_ON_CARD)
    known: dict[Path, _Training] = {}
    order = []
    for number, recipe in enumerate(recipes):
        path = cached_path(recipe, device)
        order.append(path)
        if path not in known:
            known[path] = begun(number, recipe, path)
    with one_thread():
        done = _train(list(known.values()), steps, n_jobs, chunk_size, where, keep_every)
    by_path = {each.path: each for each in done}
    return [by_path[path] for path in order]


def checkpoints(recipe: Recipe, *, steps: int, every: int = 50, device: str | None = None) -> tuple[Checkpoint, ...]:
    """The network along its training: before it, at each multiple of `every` steps, and when the task is solved.

    Parameters
    ----------
    recipe : Recipe
    steps : int
        How many to try at most.
    every : int
        A multiple of the steps between two looks, ``recipe.training.evaluate_every``.
    device : str, optional
        As in `train_ensemble`.

    Returns
    -------
    tuple of Checkpoint
        In the order of their `step`; the first has step 0.

    Raises
    ------
    InputError
        As `train_ensemble`, or if `every` is no such multiple.
    """
    (last,) = train_ensemble([recipe], steps=steps, n_jobs=1, device=device, keep_every=every)
    path = cached_path(recipe, device)
    along = [read_checkpoint(kept_path(path, step), recipe) for step in range(every, last.step, every)]
    return (Checkpoint(recipe.start(), {}), *(each for each in along if each is not None), last)


def _check_steps(recipe: Recipe, steps: int, keep_every: int | None) -> None:
    between = recipe.training.evaluate_every
    check_whole("steps", steps, 1)
    if steps < between:
        raise InputError(
            f"steps is {steps}; it must be at least {between}, the steps between two looks at whether the network "
            "solves the task"
        )
    if keep_every is not None and (keep_every < 1 or keep_every % between):
        raise InputError(f"checkpoints are kept at looks, every {between} steps; {keep_every} is no multiple of that")


def _last_kept(checkpoint: Checkpoint, recipe: Recipe, path: Path, every: int) -> Checkpoint:
    """Where to go on from, so that none of the checkpoints to be kept is missing: the training is repeated else."""
    kept = Checkpoint(recipe.start(), {})
    for step in range(every, checkpoint.step, every):
        following = read_checkpoint(kept_path(path, step), recipe)
        if following is None:
            return kept
        kept = following
    return checkpoint


def _train(
    begun: Sequence[_Training],
    steps: int,
    n_jobs: int,
    chunk_size: int,
    device: str,
    keep_every: int | None,
) -> list[_Training]:
    active = [replace(each, validation=each.recipe.validation()) for each in begun if each.may_go_on(steps)]
    done = {each.number: each for each in begun}
    stopped = threading.Event()
    workspaces: SimpleQueue[Workspace] = SimpleQueue()
    for _ in range(n_jobs):
        workspaces.put(Workspace(device=device))

    def stretch(stack: Sequence[_Training]) -> list[_Training]:
        workspace = workspaces.get()
        try:
            learners = [each.learner for each in stack]
            outcomes = advance_together(learners, stack[0].recipe.training, workspace, stopped=stopped.is_set)
        finally:
            workspaces.put(workspace)
        return [_kept(each, outcome, keep_every) for each, outcome in zip(stack, outcomes, strict=bool(outcomes))]

    with _progress(active, steps, len(begun)) as report, _threads(n_jobs, stopped) as run:
        while active:
            for stack in run(stretch, _stacks(active, n_jobs, chunk_size)):
                done.update({each.number: each for each in stack})
                report(stack)
            active = [done[each.number] for each in active if done[each.number].may_go_on(steps)]
    return list(done.values())


def _kept(training: _Training, outcome: Outcome, keep_every: int | None) -> _Training:
    after = replace(training, checkpoint=outcome.checkpoint, problem=outcome.problem)
    if after.checkpoint.step > training.checkpoint.step:
        if keep_every is not None and after.checkpoint.step % keep_every == 0:
            write_checkpoint(kept_path(after.path, after.checkpoint.step), after.checkpoint, after.recipe)
        if after.checkpoint.step > after.there:  # what is trained again for its checkpoints replaces nothing further on
            write_checkpoint(after.path, after.checkpoint, after.recipe)
    return replace(after, validation=None) if after.solved else after


def _stacks(active: Sequence[_Training], n_jobs: int, chunk_size: int) -> list[list[_Training]]:
    """Networks of one kind, as many to a stack as leave no thread idle and chunk_size allows."""
    kinds: dict[tuple[Any, ...], list[_Training]] = {}
    for each in active:
        kinds.setdefault(each.kind, []).append(each)
    stacks = []
    for members in kinds.values():
        n_stacks = -(-len(members) // chunk_size)
        n_stacks = min(len(members), -(-n_stacks // n_jobs) * n_jobs)
        bounds = [k * len(members) // n_stacks for k in range(n_stacks + 1)]
        stacks += [members[start:stop] for start, stop in pairwise(bounds)]
    return stacks


Run = Callable[[Callable[[Sequence[_Training]], list[_Training]], list[list[_Training]]], Iterator[list[_Training]]]


@contextmanager
def _threads(n_jobs: int, stopped: threading.Event) -> Iterator[Run]:
    """A map over Python threads; torch has one thread in each."""
    if n_jobs == 1:
        yield lambda task, stacks: map(task, stacks)
        return
    # The number of torch's threads is each thread's own; grad mode too, which advance_together sets.
    with ThreadPoolExecutor(n_jobs, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        try:
            yield lambda task, stacks: pool.map(task, stacks)
        except BaseException:
            stopped.set()  # before the pool waits for what is running
            pool.shutdown(wait=True, cancel_futures=True)
            raise


@contextmanager
def _progress(active: Sequence[_Training], steps: int, n_networks: int) -> Iterator[Callable[[list[_Training]], None]]:
    """A bar over the steps of all networks; those that a solved network does not need are taken off it."""
    before = {each.number: each.checkpoint.step for each in active}
    n_solved = n_networks - len(active)
    total = steps * len(active)
    with tqdm(total=total, initial=sum(before.values()), desc="training", unit="step", disable=None) as bar:

        def report(stack: list[_Training]) -> None:
            nonlocal n_solved, total
            for each in stack:
                bar.update(each.checkpoint.step - before[each.number])
                before[each.number] = each.checkpoint.step
                if each.solved:
                    n_solved += 1
                    total -= steps - each.checkpoint.step
            bar.total = total
            accuracies = [each.checkpoint.curve[-1].accuracy for each in stack if each.checkpoint.curve]
            bar.set_postfix(solved=f"{n_solved}/{n_networks}", accuracy=f"{max(accuracies, default=0):.3f}")

        yield report


def _raise_problems(trained: Sequence[_Training], steps: int, *, unsolved_too: bool = True) -> None:
    trained = list({each.path: each for each in trained}.values())

    def problem(each: _Training) -> str:
        if each.problem:
            return f"seed {each.recipe.seed}: {each.problem}" if len(trained) > 1 else each.problem
        return failure(each.checkpoint, each.recipe, steps)

    def fails(each: _Training) -> bool:
        return bool(each.problem) or (unsolved_too and (not each.solved or each.checkpoint.step > steps))

    failed = [each for each in trained if fails(each)]
    if not failed:
        return
    more = ""
    if len(trained) > 1:
        seeds = listed(each.recipe.seed for each in failed)
        others = "the others are trained and kept, and come from the cache" if len(failed) < len(trained) else ""
        more = f"\n{len(failed)} of {len(trained)} networks failed (seeds {seeds}){others and '; '}{others}"
    raise InputError(problem(failed[0]) + more)
