"""One stretch of training of a stack of networks: from one checkpoint of each to its next.

Nothing here keeps state: a network's next checkpoint is a function of its last one and of its trials, whatever
networks are trained beside it, so an interrupted training continues as if nothing had happened. Torch's random numbers
are not used at all.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from fctoolbox.errors import InputError
from fctoolbox_ctrnn.network import CTRNN
from fctoolbox_ctrnn.scan import Dynamics, Workspace, loss_and_gradients, run_stack
from fctoolbox_ctrnn.stack import Moments, Stack
from fctoolbox_ctrnn.trials import ENDED, Trials

# Validation trials that go through the networks together: all of them would need some hundred MB of buffers.
_BLOCK = 64


@dataclass(frozen=True)
class Training:
    """How networks are trained.

    As they stand here, learning rate and loss are those of nn-brain (Yang & Wang 2020); tasks have their own, see
    `Schedule`. Batches of 64 (16 there) and the bound on the gradient make the default task converge for every
    seed that was tried; see the README.

    Parameters
    ----------
    learning_rate : float
        Of Adam.
    n_trials : int
        In each step's batch.
    response_weight : float
        How much a time step of the decision (see `Trials.deciding`) counts in the loss, beside one before it; 5 in
        Yang et al. 2019. Where the decision is a small part of the trial, a network that fixates throughout has
        next to no loss, and with a weight of 1 little to learn from.
    largest_gradient : float
        Euclidean norm to which longer gradients are cut.
    evaluate_every : int
        Steps between two looks at the validation trials, at each of which a checkpoint is kept.
    n_validation : int
        Trials drawn to validate with; those without coherence are left out.
    accuracy : float
        Share of the validation trials to be answered correctly. Fresh trials shall reach 0.95: the margin is for
        the luck in finding a good moment, by which networks that stopped at 0.95 fell short of it. In tasks with
        continuous outputs it is their R² (`Trials.score`).
    in_a_row : int
        How many successive looks must find that accuracy; the learning curve is jagged.
    largest_loss : float
        A training has exploded when the loss is beyond it in half of the steps between two looks, or is not finite
        once. Guessing costs the logarithm of the number of responses, some 1 to 3; single batches may cost more than
        a thousand times that, and training recovers.
    """

    learning_rate: float = 0.01
    n_trials: int = 64
    response_weight: float = 1.0
    largest_gradient: float = 1.0
    evaluate_every: int = 50
    n_validation: int = 1250
    accuracy: float = 0.97
    in_a_row: int = 2
    largest_loss: float = 1000.0


@dataclass(frozen=True)
class Evaluation:
    """What a look at the validation trials found; `loss` is the mean over the steps since the last look.

    `accuracy` is the share of right trials, or R² where outputs are continuous (`Trials.score`).
    """

    step: int
    loss: float
    accuracy: float


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """All that training needs to go on.

    Parameters
    ----------
    network : CTRNN
    moments : mapping of str to array
        Adam's running means, ``exp_avg`` and ``exp_avg_sq`` of each parameter; empty before the first step.
    curve : tuple of Evaluation
    """

    network: CTRNN
    moments: Moments
    curve: tuple[Evaluation, ...] = ()

    @property
    def step(self) -> int:
        """How many steps have been taken."""
        return self.curve[-1].step if self.curve else 0

    def solves(self, training: Training) -> bool:
        """Whether the last looks all found the accuracy that is wanted."""
        last = self.curve[-training.in_a_row :]
        return len(last) == training.in_a_row and all(look.accuracy >= training.accuracy for look in last)


@dataclass(frozen=True, eq=False)
class Learner:
    """A network in training, and all that it will see.

    Parameters
    ----------
    checkpoint : Checkpoint
    trials_of_step : callable
        The batch of a step, which is counted from 0 over all of the training.
    validation : Trials
    noise_of_step : callable, optional
        The generator of the noise in the drive at a step, for networks with noise.
    """

    checkpoint: Checkpoint
    trials_of_step: Callable[[int], Trials]
    validation: Trials
    noise_of_step: Callable[[int], np.random.Generator] | None = None


@dataclass(frozen=True, eq=False)
class Outcome:
    """Where a stretch of training led.

    Parameters
    ----------
    checkpoint : Checkpoint
        The last one to go on from: that before the stretch, where there is a problem.
    problem : str
        Why it is of no use to go on; empty when all is well.
    """

    checkpoint: Checkpoint
    problem: str = ""


def advance(learner: Learner, training: Training) -> Checkpoint:
    """Train one network for ``training.evaluate_every`` steps, then look at the validation trials.

    The loss is the cross-entropy of every time step of every trial with the target, or the squared error of
    continuous outputs; the state starts at 0 in each trial.

    Parameters
    ----------
    learner : Learner
    training : Training

    Returns
    -------
    Checkpoint

    Raises
    ------
    InputError
        If the loss explodes or the network dies.
    """
    with one_thread():
        (outcome,) = advance_together([learner], training, Workspace())
    if outcome.problem:
        raise InputError(outcome.problem)
    return outcome.checkpoint


def advance_together(
    learners: Sequence[Learner],
    training: Training,
    workspace: Workspace,
    *,
    stopped: Callable[[], bool] = lambda: False,
) -> list[Outcome]:
    """As `advance`, for networks of one size and one kind of dynamics as one batched program.

    Parameters
    ----------
    learners : sequence of Learner
        At any steps of their trainings.
    training : Training
    workspace : Workspace
    stopped : callable
        Asked before each step; if true, nothing is returned for any network.

    Returns
    -------
    list of Outcome
        One per network; an exploded or dead network does not touch the others.
    """
    first = learners[0].checkpoint.network
    dynamics = Dynamics(first.alpha, first.rule, first.nonlinearity)
    with torch.no_grad():
        checkpoints = [learner.checkpoint for learner in learners]
        stack = Stack([c.network for c in checkpoints], [c.moments for c in checkpoints], workspace.device)
        losses = []
        for k in range(training.evaluate_every):
            if stopped():
                return []
            losses.append(_take_step(stack, learners, k, dynamics, training, workspace))
        curves = torch.stack(losses).cpu().numpy().astype(np.float64)
        shares, alive = _look(stack, learners, dynamics, training, workspace)
        return [
            _outcome(stack, e, learner, curves[:, e], shares[e], alive[e], training)
            for e, learner in enumerate(learners)
        ]


def _take_step(
    stack: Stack, learners: Sequence[Learner], k: int, dynamics: Dynamics, training: Training, workspace: Workspace
) -> torch.Tensor:
    steps = [learner.checkpoint.step + k for learner in learners]
    batches = [learner.trials_of_step(step) for learner, step in zip(learners, steps, strict=True)]
    inputs, targets = _side_by_side(batches, workspace)
    noise = _noise(learners, [_generator(*each) for each in zip(learners, steps, strict=True)], batches, workspace)
    losses, gradients = loss_and_gradients(
        stack.parameters,
        inputs,
        targets,
        dynamics,
        workspace,
        noise=noise,
        weights=_weights(batches, training.response_weight, workspace),
        lengths=[len(batch.targets) for batch in batches],
        values=_values(batches, workspace),
    )
    stack.descend_(
        gradients,
        np.array(steps) + 1,
        workspace,
        learning_rate=training.learning_rate,
        largest_gradient=training.largest_gradient,
    )
    return losses


def _side_by_side(batches: Sequence[Trials], workspace: Workspace) -> tuple[torch.Tensor, torch.Tensor]:
    """Inputs and targets (n_networks, n_times, n_trials, …); the shorter and the fewer are followed by zeros and -1."""
    shape = (len(batches), *(max(batch.targets.shape[axis] for batch in batches) for axis in (0, 1)))
    inputs = workspace.buffer("inputs", *shape, batches[0].inputs.shape[-1])
    targets = workspace.buffer("targets", *shape, dtype=torch.long)
    if any(batch.targets.shape != shape[1:] for batch in batches):
        inputs.zero_()
        targets.fill_(ENDED)
    for e, batch in enumerate(batches):
        n_times, n_trials = batch.targets.shape
        inputs[e, :n_times, :n_trials] = torch.from_numpy(np.ascontiguousarray(batch.inputs, dtype=np.float32))
        targets[e, :n_times, :n_trials] = torch.from_numpy(np.ascontiguousarray(batch.targets))
    return inputs, targets


def _values(batches: Sequence[Trials], workspace: Workspace) -> torch.Tensor | None:
    """What is wanted of continuous outputs (n_networks, n_times, n_trials, n_outputs); the tasks of a stack agree."""
    wanted = [batch.values for batch in batches if batch.values is not None]
    if not wanted:
        return None
    shape = (len(batches), *(max(each.shape[axis] for each in wanted) for axis in range(3)))
    values = workspace.buffer("values", *shape).zero_()
    for e, each in enumerate(wanted):
        values[e, : each.shape[0], : each.shape[1]] = torch.from_numpy(each)
    return values


def _weights(batches: Sequence[Trials], response_weight: float, workspace: Workspace) -> torch.Tensor | None:
    """How much each time step counts (n_networks, n_times, n_trials); None where all count alike."""
    if response_weight == 1:
        return None
    shape = (len(batches), *(max(batch.targets.shape[axis] for batch in batches) for axis in (0, 1)))
    weights = workspace.buffer("weights", *shape).fill_(1)
    for e, batch in enumerate(batches):
        n_times, n_trials = batch.targets.shape
        counting = np.where(batch.deciding, np.float32(response_weight), np.float32(1))
        weights[e, :n_times, :n_trials] = torch.from_numpy(counting)
    return weights


def _generator(learner: Learner, step: int) -> np.random.Generator | None:
    if not learner.checkpoint.network.noise or learner.noise_of_step is None:
        return None
    return learner.noise_of_step(step)


def _noise(
    learners: Sequence[Learner],
    generators: Sequence[np.random.Generator | None],
    batches: Sequence[Trials],
    workspace: Workspace,
) -> torch.Tensor | None:
    if not any(generators):
        return None
    n_times, n_trials = (max(batch.targets.shape[axis] for batch in batches) for axis in (0, 1))
    n_units = learners[0].checkpoint.network.n_units
    noise = workspace.buffer("noise", len(batches), n_times, n_trials, n_units).zero_()
    for e, (learner, rng, batch) in enumerate(zip(learners, generators, batches, strict=True)):
        if rng is not None:
            # As many as the network's own trials need: how long the others' are must not matter.
            own = rng.standard_normal((*batch.targets.shape, n_units), dtype=np.float32)
            own *= np.float32(learner.checkpoint.network.noise)
            noise[e, : own.shape[0], : own.shape[1]] = torch.from_numpy(own)
    return noise


def _look(
    stack: Stack, learners: Sequence[Learner], dynamics: Dynamics, training: Training, workspace: Workspace
) -> tuple[list[float], list[bool]]:
    """Of each network, its score in the validation trials, and whether any unit is active."""
    generators = [_generator(each, each.checkpoint.step + training.evaluate_every) for each in learners]
    # A stream apart from that of the next training step.
    generators = [None if each is None else each.spawn(1)[0] for each in generators]
    sizes = [each.validation.n_trials for each in learners]
    n_outputs = stack.parameters["w_out"].shape[2]
    outputs = [np.empty((*each.validation.targets.shape, n_outputs), dtype=np.float32) for each in learners]
    alive = [False] * len(learners)
    block = max(_BLOCK, training.n_trials)
    for start in range(0, max(sizes), block):
        parts = [
            each.validation.select(np.arange(start, max(start, min(start + block, n))))
            for each, n in zip(learners, sizes, strict=True)
        ]
        inputs, _ = _side_by_side(parts, workspace)
        noise = _noise(learners, generators, parts, workspace)
        found, states = run_stack(stack.parameters, inputs, dynamics, workspace, noise=noise)
        for e, part in enumerate(parts):
            n_times, n_trials = part.targets.shape
            outputs[e][:, start : start + n_trials] = found[e, :n_times, :n_trials].cpu().numpy()
            alive[e] = alive[e] or bool(states[e].any())
    return [each.validation.score(out) for each, out in zip(learners, outputs, strict=True)], alive


def _outcome(
    stack: Stack, e: int, learner: Learner, losses: NDArray[Any], accuracy: float, alive: bool, training: Training
) -> Outcome:
    before = learner.checkpoint
    exploded = np.flatnonzero(~np.isfinite(losses))
    if not exploded.size and np.median(losses) > training.largest_loss:
        exploded = np.flatnonzero(losses > training.largest_loss)
    if exploded.size:
        step = before.step + int(exploded[0])
        return Outcome(
            before,
            f"training exploded at step {step}: the loss is {losses[exploded[0]]:.3g}, where {training.largest_loss:g} "
            f"is the most; try another seed or a smaller learning_rate (now {training.learning_rate:g})",
        )
    step = before.step + training.evaluate_every
    if not alive:
        return Outcome(
            before,
            f"the network is dead at step {step}: all of its {before.network.n_units} units are silent in every "
            "validation trial, and nothing can be learned any more; try another seed, a smaller learning_rate (now "
            f"{training.learning_rate:g}) or nonlinearity='softplus' (now {before.network.nonlinearity!r})",
        )
    look = Evaluation(step, float(losses.mean()), accuracy)
    trained: dict[str, Any] = stack.network(e)
    return Outcome(Checkpoint(replace(before.network, **trained), stack.moments(e), (*before.curve, look)))


@contextmanager
def one_thread() -> Iterator[None]:
    """Torch on one thread, as the weights demand; then as before.

    Sums split over threads are added in another order: the weights would depend on the number of cores.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
