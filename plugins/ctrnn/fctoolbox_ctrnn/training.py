"""One stretch of training: from one checkpoint to the next, the same whenever and wherever it is resumed.

Nothing here keeps state: the next checkpoint is a function of the last one and of the trials of each step, so
an interrupted training continues to bit-identical weights. Torch's random numbers are not used at all.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from fctoolbox.errors import InputError
from fctoolbox_ctrnn.network import CTRNN, PARAMETERS
from fctoolbox_ctrnn.trials import ENDED, Trials

Parameters = dict[str, torch.Tensor]


@dataclass(frozen=True)
class Training:
    """How networks are trained.

    Learning rate and loss are those of nn-brain (Yang & Wang 2020). Batches of 64 (16 there) and the bound on
    the gradient make the default task converge for every seed that was tried; see the README.

    Parameters
    ----------
    learning_rate : float
        Of Adam.
    n_trials : int
        In each step's batch.
    largest_gradient : float
        Euclidean norm to which longer gradients are cut.
    evaluate_every : int
        Steps between two looks at the validation trials, at each of which a checkpoint is kept.
    n_validation : int
        Trials drawn to validate with; those without coherence are left out.
    accuracy : float
        Share of the validation trials to be answered correctly. Fresh trials shall reach 0.95: the margin is for
        the luck in finding a good moment, by which networks that stopped at 0.95 fell short of it.
    in_a_row : int
        How many successive looks must find that accuracy; the learning curve is jagged.
    """

    learning_rate: float = 0.01
    n_trials: int = 64
    largest_gradient: float = 1.0
    evaluate_every: int = 50
    n_validation: int = 1250
    accuracy: float = 0.97
    in_a_row: int = 2


@dataclass(frozen=True)
class Evaluation:
    """What a look at the validation trials found; `loss` is the mean over the steps since the last look."""

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
    moments: dict[str, NDArray[np.float32]]
    curve: tuple[Evaluation, ...] = ()

    @property
    def step(self) -> int:
        """How many steps have been taken."""
        return self.curve[-1].step if self.curve else 0

    def solves(self, training: Training) -> bool:
        """Whether the last looks all found the accuracy that is wanted."""
        last = self.curve[-training.in_a_row :]
        return len(last) == training.in_a_row and all(look.accuracy >= training.accuracy for look in last)


def advance(
    checkpoint: Checkpoint, trials_of_step: Callable[[int], Trials], validation: Trials, training: Training
) -> Checkpoint:
    """Train for ``training.evaluate_every`` steps, then look at the validation trials.

    The loss is the cross-entropy of every time step of every trial with the target; the state starts at 0 in
    each trial.

    Parameters
    ----------
    checkpoint : Checkpoint
    trials_of_step : callable
        The batch of a step, which is counted from 0 over all of the training.
    validation : Trials
    training : Training

    Returns
    -------
    Checkpoint

    Raises
    ------
    InputError
        If the loss is no longer finite.
    """
    with _one_thread(), torch.enable_grad():
        parameters = _tensors(checkpoint.network)
        optimizer = _adam(parameters, checkpoint, training)
        losses = []
        for step in range(checkpoint.step, checkpoint.step + training.evaluate_every):
            loss = _loss(parameters, trials_of_step(step), checkpoint.network.alpha)
            if not torch.isfinite(loss):
                raise InputError(f"training diverged at step {step}: the loss is {loss.item()}; try another seed")
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(list(parameters.values()), training.largest_gradient)
            optimizer.step()
            losses.append(loss.item())
        with torch.no_grad():
            outputs = _outputs(parameters, torch.from_numpy(validation.inputs), checkpoint.network.alpha).numpy()
    look = Evaluation(step + 1, float(np.mean(losses)), float(validation.correct(outputs).mean()))
    trained: dict[str, Any] = {name: tensor.detach().numpy() for name, tensor in parameters.items()}
    return Checkpoint(
        replace(checkpoint.network, **trained), _moments(parameters, optimizer), (*checkpoint.curve, look)
    )


def activity(parameters: Parameters, inputs: torch.Tensor, alpha: float) -> torch.Tensor:
    """The states (n_times, n_trials, n_units) to which inputs (n_times, n_trials, n_inputs) lead from 0."""
    n_units = len(parameters["w_rec"])
    # Leak and recurrence act on the same state, so they are one matrix: half the operations of a time step.
    onto_itself = ((1 - alpha) * torch.eye(n_units, dtype=torch.float32) + alpha * parameters["w_rec"]).T
    drive = alpha * (inputs @ parameters["w_in"].T + parameters["b_in"] + parameters["b_rec"])
    state = torch.zeros(inputs.shape[1], n_units, dtype=torch.float32)
    states = []
    for now in drive:
        state = torch.relu(torch.addmm(now, state, onto_itself))
        states.append(state)
    return torch.stack(states)


def _outputs(parameters: Parameters, inputs: torch.Tensor, alpha: float) -> torch.Tensor:
    return activity(parameters, inputs, alpha) @ parameters["w_out"].T + parameters["b_out"]


def _loss(parameters: Parameters, trials: Trials, alpha: float) -> torch.Tensor:
    outputs = _outputs(parameters, torch.from_numpy(trials.inputs), alpha)
    return torch.nn.functional.cross_entropy(
        outputs.flatten(0, 1), torch.from_numpy(trials.targets).flatten(), ignore_index=ENDED
    )


def _tensors(network: CTRNN) -> Parameters:
    return {
        name: torch.tensor(array, dtype=torch.float32, requires_grad=True) for name, array in network.parameters.items()
    }


def _adam(parameters: Parameters, checkpoint: Checkpoint, training: Training) -> torch.optim.Adam:
    optimizer = torch.optim.Adam(list(parameters.values()), lr=training.learning_rate)
    if checkpoint.step:
        state = {
            k: {
                "step": torch.tensor(float(checkpoint.step), dtype=torch.float32),
                **{
                    moment: torch.tensor(checkpoint.moments[f"{moment}_{name}"]) for moment in ("exp_avg", "exp_avg_sq")
                },
            }
            for k, name in enumerate(PARAMETERS)
        }
        optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
    return optimizer


def _moments(parameters: Parameters, optimizer: torch.optim.Adam) -> dict[str, NDArray[np.float32]]:
    state: dict[torch.Tensor, dict[str, Any]] = optimizer.state
    return {
        f"{moment}_{name}": state[tensor][moment].numpy()
        for moment in ("exp_avg", "exp_avg_sq")
        for name, tensor in parameters.items()
    }


@contextmanager
def _one_thread() -> Iterator[None]:
    # Sums split over threads are added in another order: the weights would depend on the number of cores.
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
