"""A network as a system: trained, then run on fresh trials."""

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fctoolbox.errors import InputError, check_whole
from fctoolbox.system import InputProjection, Provenance, RecurrentActivity, RecurrentSystem
from fctoolbox_ctrnn.network import CTRNN

if TYPE_CHECKING:  # these import neurogym and torch, which listing sources must not
    from fctoolbox_ctrnn.trials import Task, Trials
    from fctoolbox_ctrnn.weights import Recipe

TAU = 100.0  # ms
SPECIES = "none (artificial network)"
PACKAGES = ("torch", "neurogym")
LICENSE = "BSD-3-Clause"
CITATION = (
    "network: Yang & Wang 2020, Neuron 107:1048, doi:10.1016/j.neuron.2020.09.005; "
    "tasks: Molano-Mazón et al. 2022, NeuroGym, doi:10.31234/osf.io/aqc9n; "
    "analysis: Tanner et al. 2023, arXiv:2310.20601"
)

Floats = NDArray[np.floating[Any]]


def load(
    *,
    task: str = "fctoolbox/PerceptualDecisionMaking-v0",
    n_units: int = 100,
    dt: int = 20,
    seed: int = 0,
    steps: int = 2000,
    trained: bool = True,
    n_trials: int = 200,
    inputs: str = "stimulus",
) -> RecurrentSystem:
    """A continuous-time recurrent network, trained until it solves a task and then run on fresh trials.

    Rectified units with a time constant of 100 ms and a linear readout (see `CTRNN`). The state starts at 0
    in each trial, in training and afterwards. The same options give the same system.

    Parameters
    ----------
    task : str
        A neurogym task with distinct responses and a ground truth. The default is perceptual decision-making
        with a fixation cue that lasts until the decision.
    n_units : int
    dt : int
        Duration of a time step in ms, at most 100.
    seed : int
        Of the initial weights and of all trials.
    steps : int
        How many training steps to try at most, counted in whole fifties; the default task takes 300 to 900.
    trained : bool
        False gives the network before training.
    n_trials : int
        Fresh trials to run it on.
    inputs : {"stimulus", "all"}
        Which inputs the projection holds, and thereby which enter the cosine similarity: all but the fixation
        cue, or all. The network itself always receives all.

    Returns
    -------
    RecurrentSystem
        With `model`, a `CTRNN`, and the variables, over all time steps of all trials (n_times, k):
        ``stimulus``; ``cumulative_evidence``, the integral over the trial so far of each stimulus, or of
        stimulus 1 minus stimulus 2 where there are exactly two (stimulus × s); ``output``, the softmax of the
        readout; ``target``, one-hot, the right response at each time step; ``choice``, one-hot, the response
        given when one was asked for, throughout the trial; ``coherence`` (percent) in tasks that have it.

    Raises
    ------
    InputError
        If an option is not usable, or the network does not solve the task within `steps`: 0.97 of some
        validation trials with coherence, twice in a row, so that fresh ones reach 0.95.
    """
    for name, value, least in (
        ("n_units", n_units, 3),
        ("dt", dt, 1),
        ("seed", seed, 0),
        ("steps", steps, 1),
        ("n_trials", n_trials, 2),
    ):
        check_whole(name, value, least)
    if dt > TAU:
        raise InputError(f"dt is {dt} ms; it must not exceed the units' time constant of {TAU:g} ms")
    if inputs not in ("stimulus", "all"):
        raise InputError(f"inputs is {inputs!r}; it must be 'stimulus' or 'all'")

    from fctoolbox_ctrnn.trials import read_task
    from fctoolbox_ctrnn.weights import Recipe, trained_network

    recipe = Recipe(read_task(task, dt), n_units, TAU, seed)
    columns = recipe.task.stimulus_columns if inputs == "stimulus" else tuple(range(len(recipe.task.columns)))
    if not columns:
        raise InputError(f"task '{task}' has no input but the fixation cue; use inputs='all'")
    if not trained:
        return _system(recipe, recipe.start(), columns, n_trials, training="none: initial weights")
    checkpoint = trained_network(recipe, steps=steps)
    settings, last = recipe.training, checkpoint.curve[-1]
    training = (
        f"{last.step} steps of {settings.n_trials} trials (Adam, learning rate {settings.learning_rate:g}), "
        f"until {settings.accuracy:g} or more of the validation trials were right at "
        f"{settings.in_a_row} looks in a row"
    )
    return _system(recipe, checkpoint.network, columns, n_trials, training=training)


def _system(
    recipe: "Recipe", network: CTRNN, columns: tuple[int, ...], n_trials: int, *, training: str
) -> RecurrentSystem:
    task, trials = recipe.task, recipe.fresh(n_trials)
    states = network.run(trials.inputs)
    outputs = network.readout(states)
    known = variables(task, trials, outputs)
    numbers = np.broadcast_to(np.arange(n_trials), trials.targets.shape)
    inputs = tuple(task.columns[j] for j in columns)
    return RecurrentSystem(
        name="ctrnn",
        units=tuple(f"unit-{i}" for i in range(network.n_units)),
        projection=InputProjection(network.w_in[:, columns], inputs),
        activity=RecurrentActivity(
            timeseries=trials.end_to_end(states),
            sampling_interval=task.dt / 1000,
            trials=trials.end_to_end(numbers),
            variables={name: trials.end_to_end(values) for name, values in known.items()},
        ),
        model=network,
        provenance=Provenance(
            citation=CITATION,
            license=LICENSE,
            species=SPECIES,
            packages=PACKAGES,
            notes={
                "Task": f"{task.name}: {task.timing}; time steps of {task.dt} ms",
                "Training": training,
                "Accuracy on fresh trials": accuracy_in_words(trials, outputs),
                "Inputs in the projection": ", ".join(inputs),
                "Inputs of the network": ", ".join(task.columns),
                "Mind": "one network is one draw: compare seeds, and networks before training (trained=false), before "
                "anything is said about what training does",
            },
        ),
    )


def variables(task: "Task", trials: "Trials", outputs: Floats) -> dict[str, Floats]:
    """What the experiment set and the network answered, each (n_times, n_trials, k); see `load`."""
    stimulus = trials.inputs[..., task.stimulus_columns].astype(np.float64)
    evidence = stimulus[..., :1] - stimulus[..., 1:] if stimulus.shape[-1] == 2 else stimulus
    one_hot = np.eye(task.n_actions)
    constant: dict[str, Floats] = {"choice": one_hot[trials.choices(outputs)]}
    if trials.coherence is not None:
        constant["coherence"] = trials.coherence[:, None]
    throughout = {name: np.broadcast_to(values, (len(outputs), *values.shape)) for name, values in constant.items()}
    return {
        "stimulus": stimulus,
        "cumulative_evidence": evidence.cumsum(axis=0) * task.dt / 1000,
        "output": _softmax(outputs),
        # Time steps after a trial's end have target -1; they are cut off when trials are joined.
        "target": one_hot[trials.targets],
        **throughout,
    }


def accuracy_in_words(trials: "Trials", outputs: Floats) -> str:
    """The share of right choices, by coherence where there is one."""
    correct, coherence = trials.correct(outputs), trials.coherence
    if coherence is None:
        return f"{correct.mean():.3f}"
    shares = ", ".join(f"{c:g} %: {correct[coherence == c].mean():.3f}" for c in np.unique(coherence))
    coherent = correct[trials.coherent]
    return f"{f'{coherent.mean():.3f}' if coherent.size else 'none'} of coherent trials ({shares})"


def _softmax(outputs: Floats) -> Floats:
    shares = np.exp(outputs - outputs.max(axis=-1, keepdims=True))
    softmax: Floats = shares / shares.sum(axis=-1, keepdims=True)
    return softmax
