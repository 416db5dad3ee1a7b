"""The weights of a trained network: found in the cache, or trained now and kept there.

One file per network, named by the hash of everything that defines it. It holds the last checkpoint of the
training, so a finished and an interrupted training differ only in whether the checkpoint solves the task.
"""

import hashlib
import importlib.metadata
import json
import threading
import warnings
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fctoolbox.data import cache_folder, written_whole
from fctoolbox.errors import InputError
from fctoolbox_ctrnn.network import CTRNN, PARAMETERS, initial_network
from fctoolbox_ctrnn.records import CHOICE
from fctoolbox_ctrnn.training import Checkpoint, Evaluation, Learner, Training
from fctoolbox_ctrnn.trials import Task, Trials, draw_trials

# Of the training code: raise it when the same recipe leads to other weights.
CODE_VERSION = 3

_IN_WORDS = ("n_units", "tau", "seed", "rule", "nonlinearity", "noise", "start_from")

# What fields of a task say where they say nothing; then they are no part of a recipe's definition.
_SAYS_NOTHING = {"options": "", "kind": CHOICE}

# What numbers are drawn for; each purpose has its own, so that more of one leave the others as they are.
_TRAINING, _VALIDATION, _FRESH, _WEIGHTS, _NOISE = range(5)


# Drawing silences neurogym's warnings, which Python does for all threads at once: two that overlap would leave the
# filters of one behind. Nothing is lost, for neurogym draws in Python and so one thread at a time.
_DRAWING = threading.Lock()


def _drawn(task: Task, n_trials: int, *, seed: Sequence[int]) -> Trials:
    with _DRAWING:
        return draw_trials(task, n_trials, seed=seed)


@dataclass(frozen=True, eq=False)
class Recipe:
    """All that defines a trained network.

    The number of steps that it may take does not: it only decides when to give up. Nor do the networks that are
    trained beside it, the threads, or the cores.

    Parameters
    ----------
    task : Task
    n_units : int
    tau : float
        Time constant in ms.
    seed : int
    training : Training
    rule, nonlinearity, noise, sign, mask
        See `CTRNN`.
    start_from : {"uniform", "orthogonal"}
        How recurrent weights begin, see `initial_network`.
    given : mapping of str to array
        Weights and biases to start from instead of random ones, by their names in `CTRNN`.
    """

    task: Task
    n_units: int
    tau: float = 100.0
    seed: int = 0
    training: Training = field(default_factory=Training)
    rule: str = "inside"
    nonlinearity: str = "relu"
    noise: float = 0.0
    start_from: str = "uniform"
    sign: ArrayLike | None = None
    mask: ArrayLike | None = None
    given: Mapping[str, ArrayLike] = field(default_factory=dict)

    def start(self) -> CTRNN:
        """The network before training.

        Raises
        ------
        InputError
            If given weights, sign or mask do not fit the task and the number of units, or an option is not usable.
        """
        return initial_network(
            self.n_units,
            len(self.task.columns),
            self.task.n_actions,
            alpha=self.task.dt / self.tau,
            rng=np.random.default_rng([self.seed, _WEIGHTS]),
            rule=self.rule,
            nonlinearity=self.nonlinearity,
            noise=self.noise,
            sign=self.sign,
            mask=self.mask,
            start=self.start_from,
            given=self.given,
        )

    def batch(self, step: int) -> Trials:
        """The trials of a training step."""
        return _drawn(self.task, self.training.n_trials, seed=(self.seed, _TRAINING, step))

    def validation(self) -> Trials:
        """The trials that decide whether the task is solved: none without coherence."""
        trials = _drawn(self.task, self.training.n_validation, seed=(self.seed, _VALIDATION))
        return trials.select(np.flatnonzero(trials.coherent))

    def fresh(self, n_trials: int) -> Trials:
        """Trials that neither training nor validation has seen."""
        return _drawn(self.task, n_trials, seed=(self.seed, _FRESH))

    def noise_of_step(self, step: int) -> np.random.Generator:
        """The generator of the recurrent noise in a training step."""
        return np.random.default_rng([self.seed, _NOISE, step])

    def learner(self, checkpoint: Checkpoint, validation: Trials) -> Learner:
        """The network at a checkpoint, with what it will see."""
        return Learner(checkpoint, self.batch, validation, self.noise_of_step)

    def definition(self) -> dict[str, Any]:
        """The recipe in words and numbers; arrays by their SHA-256."""
        words = {name: getattr(self, name) for name in _IN_WORDS}
        arrays = {"sign": self.sign, "mask": self.mask, **self.given}
        # As they enter: equal numbers of another type are the same recipe.
        as_numbers = {name: np.asarray(array, dtype=np.float32) for name, array in arrays.items() if array is not None}
        return {
            **words,
            # So that networks which were kept before there were these fields stay good.
            "task": {name: value for name, value in asdict(self.task).items() if value != _SAYS_NOTHING.get(name)},
            "training": asdict(self.training),
            "arrays": {name: _digest({name: array}) for name, array in as_numbers.items()},
        }

    def content_hash(self, device: str | None = None) -> str:
        """The SHA-256 of all that defines the network, trials included: a task's name promises nothing.

        Other devices than the processor round otherwise, and training magnifies that: their networks are others.
        """
        batch, validation = self.batch(0), self.validation()
        definition = {
            **self.definition(),
            "code": CODE_VERSION,
            "device": (device or "cpu").partition(":")[0],
            "torch": importlib.metadata.version("torch"),
            "trials": _digest(batch.arrays),
            "validation": _digest(validation.arrays),
        }
        return hashlib.sha256(json.dumps(definition, sort_keys=True).encode()).hexdigest()


def trained_network(recipe: Recipe, *, steps: int) -> Checkpoint:
    """The network that a recipe leads to, from the cache if it is there: an ensemble of one, see `train_ensemble`.

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
    # Ensembles are made of the recipes and files that are defined here.
    from fctoolbox_ctrnn.ensemble import train_ensemble

    (checkpoint,) = train_ensemble([recipe], steps=steps, n_jobs=1)
    return checkpoint


def cached_path(recipe: Recipe, device: str | None = None) -> Path:
    """Where the network of a recipe is kept; the processor's when device is left out."""
    return cache_folder() / "ctrnn" / f"{recipe.content_hash(device)}.npz"


def kept_path(path: Path, step: int) -> Path:
    """Where a checkpoint along the way to the one at `path` is kept."""
    return path.with_name(f"{path.stem}-{step}{path.suffix}")


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
            replace(recipe.start(), **{name: arrays[name] for name in PARAMETERS}),
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


def write_checkpoint(path: Path, checkpoint: Checkpoint, recipe: Recipe) -> None:
    """Keep a checkpoint.

    Raises
    ------
    InputError
        If it cannot be kept.
    """
    curve = np.array([(look.step, look.loss, look.accuracy) for look in checkpoint.curve], dtype=np.float64)
    arrays: dict[str, Any] = {
        **{name: array.astype(np.float32) for name, array in checkpoint.network.parameters.items()},
        **checkpoint.moments,
        "curve": curve,
        "content_hash": np.array(path.stem),
        "recipe": np.array(json.dumps(recipe.definition(), sort_keys=True)),  # for a person who looks inside
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


def failure(checkpoint: Checkpoint, recipe: Recipe, steps: int) -> str:
    """That the task was not solved: with the learning curve, and what to try."""
    training, task = recipe.training, recipe.task
    curve = [look for look in checkpoint.curve if look.step <= steps]
    # Twenty rows show a curve; all those of a long training would bury the advice.
    every = max(1, -(-len(curve) // 20))
    shown = curve[::-1][::every][::-1]
    what = "R²" if task.continuous else "accuracy"
    weight = "" if task.continuous else f" or a larger response_weight (now {training.response_weight:g})"
    table = "\n".join(f"  {look.step:>6}  {look.loss:>8.4f}  {look.accuracy:>8.3f}" for look in shown)
    return (
        f"the network has not solved '{task.name}' after {steps} steps: {what} {curve[-1].accuracy:.3f} "
        f"on validation trials, and {training.accuracy:g} at {training.in_a_row} looks in a row is wanted, one "
        f"every {training.evaluate_every} steps.\n    step      loss  {what:>8}\n{table}\n"
        f"Raise steps (training goes on from where it is), or try another seed (now {recipe.seed}), more "
        f"n_units (now {recipe.n_units}), another dt (now {task.dt} ms), a smaller learning_rate (now "
        f"{training.learning_rate:g}){weight}; trained=false gives the untrained network."
    )
