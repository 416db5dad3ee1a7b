"""The weights of a trained network: found in the cache, or trained now and kept there.

One file per network, named by the hash of everything that defines it. It holds the last checkpoint of the
training, so a finished and an interrupted training differ only in whether the checkpoint solves the task.
"""

import hashlib
import importlib.metadata
import json
import warnings
import zipfile
import zlib
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from fctoolbox.data import cache_folder, written_whole
from fctoolbox.errors import InputError
from fctoolbox_ctrnn.network import CTRNN, PARAMETERS, initial_network
from fctoolbox_ctrnn.training import Checkpoint, Evaluation, Training, advance
from fctoolbox_ctrnn.trials import Task, Trials, draw_trials

# Of the training code: raise it when the same recipe leads to other weights.
CODE_VERSION = 1

# What numbers are drawn for; each purpose has its own, so that more of one leave the others as they are.
_TRAINING, _VALIDATION, _FRESH, _WEIGHTS = range(4)


@dataclass(frozen=True)
class Recipe:
    """All that defines a trained network.

    The number of steps that it may take does not: it only decides when to give up.

    Parameters
    ----------
    task : Task
    n_units : int
    tau : float
        Time constant in ms.
    seed : int
    training : Training
    """

    task: Task
    n_units: int
    tau: float = 100.0
    seed: int = 0
    training: Training = field(default_factory=Training)

    def start(self) -> CTRNN:
        """The network before training."""
        return initial_network(
            self.n_units,
            len(self.task.columns),
            self.task.n_actions,
            alpha=self.task.dt / self.tau,
            rng=np.random.default_rng([self.seed, _WEIGHTS]),
        )

    def batch(self, step: int) -> Trials:
        """The trials of a training step."""
        return draw_trials(self.task, self.training.n_trials, seed=(self.seed, _TRAINING, step))

    def validation(self) -> Trials:
        """The trials that decide whether the task is solved: none without coherence."""
        trials = draw_trials(self.task, self.training.n_validation, seed=(self.seed, _VALIDATION))
        return trials.select(np.flatnonzero(trials.coherent))

    def fresh(self, n_trials: int) -> Trials:
        """Trials that neither training nor validation has seen."""
        return draw_trials(self.task, n_trials, seed=(self.seed, _FRESH))

    def content_hash(self) -> str:
        """The SHA-256 of all that defines the network, trials included: a task's name promises nothing."""
        batch, validation = self.batch(0), self.validation()
        definition = {
            **asdict(self),
            "code": CODE_VERSION,
            "torch": importlib.metadata.version("torch"),
            "trials": _digest({"inputs": batch.inputs, "targets": batch.targets}),
            "validation": _digest({"inputs": validation.inputs, "targets": validation.targets}),
        }
        return hashlib.sha256(json.dumps(definition, sort_keys=True).encode()).hexdigest()


def trained_network(recipe: Recipe, *, steps: int) -> Checkpoint:
    """The network that a recipe leads to, from the cache if it is there.

    Training goes on from where an earlier one was interrupted or gave up.

    Parameters
    ----------
    recipe : Recipe
    steps : int
        How many to try at most.

    Returns
    -------
    Checkpoint
        One that solves the task.

    Raises
    ------
    InputError
        If the network does not solve the task within `steps` (with the learning curve), or cannot be kept.
    """
    if steps < recipe.training.evaluate_every:
        raise InputError(
            f"steps is {steps}; it must be at least {recipe.training.evaluate_every}, the steps between two looks at "
            "whether the network solves the task"
        )
    path = cached_path(recipe)
    checkpoint = read_checkpoint(path, recipe) or Checkpoint(recipe.start(), {})
    if not checkpoint.solves(recipe.training):
        checkpoint = _train(checkpoint, recipe, path, steps)
    if not checkpoint.solves(recipe.training) or checkpoint.step > steps:
        raise InputError(_failure(checkpoint, recipe, steps))
    return checkpoint


def _train(checkpoint: Checkpoint, recipe: Recipe, path: Path, steps: int) -> Checkpoint:
    training, validation = recipe.training, recipe.validation()
    with tqdm(total=steps, initial=checkpoint.step, desc="training", unit="step", disable=None) as bar:
        while not checkpoint.solves(training) and checkpoint.step + training.evaluate_every <= steps:
            checkpoint = advance(checkpoint, recipe.batch, validation, training)
            _write_checkpoint(path, checkpoint, recipe)
            bar.set_postfix(accuracy=f"{checkpoint.curve[-1].accuracy:.3f}", refresh=False)
            bar.update(training.evaluate_every)
    return checkpoint


def cached_path(recipe: Recipe) -> Path:
    """Where the network of a recipe is kept."""
    return cache_folder() / "ctrnn" / f"{recipe.content_hash()}.npz"


def read_checkpoint(path: Path, recipe: Recipe) -> Checkpoint | None:
    """The checkpoint in a file; None if there is none, or, with a warning, if it is not as it was written."""
    if not path.exists():
        return None
    try:
        # Opened here, because numpy leaves the file open when it cannot make sense of it.
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
        written = str(arrays.pop("digest"))
        checkpoint = Checkpoint(
            CTRNN(**{name: arrays[name] for name in PARAMETERS}, alpha=recipe.start().alpha),
            {name: array for name, array in arrays.items() if name.startswith("exp_avg")},
            tuple(Evaluation(int(step), loss, accuracy) for step, loss, accuracy in arrays["curve"].tolist()),
        )
        intact = written == _digest(arrays) and str(arrays["content_hash"]) == path.stem
    except (OSError, EOFError, ValueError, KeyError, TypeError, RuntimeError, zipfile.BadZipFile, zlib.error):
        intact = False
    if not intact:
        warnings.warn(f"{path} is half-written or altered; it is ignored, and the network trained anew", stacklevel=3)
        return None
    return checkpoint


def _write_checkpoint(path: Path, checkpoint: Checkpoint, recipe: Recipe) -> None:
    curve = np.array([(look.step, look.loss, look.accuracy) for look in checkpoint.curve], dtype=np.float64)
    arrays: dict[str, Any] = {
        **{name: array.astype(np.float32) for name, array in checkpoint.network.parameters.items()},
        **checkpoint.moments,
        "curve": curve,
        "content_hash": np.array(path.stem),
        "recipe": np.array(json.dumps(asdict(recipe), sort_keys=True)),  # for a person who looks inside
    }
    try:
        with written_whole(path) as temporary:
            np.savez(temporary, **arrays, digest=np.array(_digest(arrays)))
    except InputError as error:
        raise InputError(f"the network cannot be kept: {error}; name another folder in FCTOOLBOX_CACHE") from error


def _digest(arrays: dict[str, NDArray[Any]]) -> str:
    digest = hashlib.sha256()
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        digest.update(f"{name} {array.dtype.str} {array.shape}".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def _failure(checkpoint: Checkpoint, recipe: Recipe, steps: int) -> str:
    training, task = recipe.training, recipe.task
    curve = [look for look in checkpoint.curve if look.step <= steps]
    # Twenty rows show a curve; all those of a long training would bury the advice.
    every = max(1, -(-len(curve) // 20))
    shown = curve[::-1][::every][::-1]
    table = "\n".join(f"  {look.step:>6}  {look.loss:>8.4f}  {look.accuracy:>8.3f}" for look in shown)
    return (
        f"the network has not solved '{task.name}' after {steps} steps: accuracy {curve[-1].accuracy:.3f} "
        f"on coherent trials, and {training.accuracy:g} at {training.in_a_row} looks in a row is wanted, one "
        f"every {training.evaluate_every} steps.\n    step      loss  accuracy\n{table}\n"
        f"Raise steps (training goes on from where it is), or try another seed (now {recipe.seed}), more "
        f"n_units (now {recipe.n_units}) or another dt (now {task.dt} ms); trained=false gives the untrained "
        "network."
    )
