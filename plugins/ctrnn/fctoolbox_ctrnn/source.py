"""A network as a system: trained, then run on fresh trials."""

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fctoolbox import plugins
from fctoolbox.data import sha256_of
from fctoolbox.errors import InputError, check_whole, listed
from fctoolbox.system import FileRecord, InputProjection, Provenance, RecurrentSystem
from fctoolbox_ctrnn.choices import MAPPINGS, Options, check_options, read_mapping
from fctoolbox_ctrnn.from_weights import SPECIES, check_states
from fctoolbox_ctrnn.network import CTRNN, PARAMETERS
from fctoolbox_ctrnn.recording import accuracy_in_words, activity_in_trials, numbers_in_words

if TYPE_CHECKING:  # these import neurogym and torch, which listing sources must not
    from fctoolbox_ctrnn.export import StoredNetwork
    from fctoolbox_ctrnn.training import Checkpoint, Training
    from fctoolbox_ctrnn.trials import Task
    from fctoolbox_ctrnn.weights import Recipe

PACKAGES = ("torch", "neurogym")
LICENSE = "BSD-3-Clause"
CITATION = (
    "network: Yang & Wang 2020, Neuron 107:1048, doi:10.1016/j.neuron.2020.09.005; "
    "tasks: Molano-Mazón et al. 2022, NeuroGym, doi:10.31234/osf.io/aqc9n; "
    "analysis: Tanner et al. 2023, arXiv:2310.20601"
)
# Of one seed many numbers are drawn; these purposes stand beside those of a recipe.
_MASK, _RECURRENT_NOISE = 100, 101
# What training shall reach at most, so that it ends.
_ACCURACY = 0.97
_THREADS = 2  # to train in
_OF_THE_NETWORK = ("task", "timing", "task_options", "dt", "tau", "n_units", "rule", "nonlinearity", "noise")
# The options that mean something to a network that is taken as it is.
_OF_RUNNING = ("seed", "network", "weights", "n_trials", "inputs")

Floats = NDArray[np.floating[Any]]


def load(
    *,
    task: str = "fctoolbox/PerceptualDecisionMaking-v0",
    timing: Mapping[str, Any] | str | None = None,
    task_options: Mapping[str, Any] | str | None = None,
    n_units: int = 100,
    dt: int = 20,
    tau: float = 100.0,
    rule: str = "inside",
    nonlinearity: str = "relu",
    noise: float = 0.0,
    dale: float | None = None,
    sparsity: float = 0.0,
    seed: int = 0,
    network: int = 0,
    networks: int | None = None,
    n_jobs: int | None = None,
    steps: int | None = None,
    accuracy: float | None = None,
    learning_rate: float | None = None,
    response_weight: float | None = None,
    start: str | None = None,
    trained: bool = True,
    checkpoint: int | None = None,
    initial: str = "",
    weights: str = "",
    device: str = "cpu",
    n_trials: int = 200,
    inputs: str = "stimulus",
) -> RecurrentSystem:
    """A continuous-time recurrent network, trained until it solves a task and then run on fresh trials.

    By default rectified units with a time constant of 100 ms; a linear readout (see `CTRNN`). The state starts at 0
    in each trial, in training and afterwards. The same options give the same system.

    Parameters
    ----------
    task : str
        A task with a ground truth for whole trials: ours, or one of neurogym. The default is perceptual
        decision-making with a fixation cue that lasts until the decision.
    timing : mapping of str to duration, optional
        Periods of the task that shall last otherwise: ms, several numbers of ms to choose from, ``("uniform", (least,
        most))`` or ``("truncated_exponential", (mean, least, most))``; on the command line as JSON.
    task_options : mapping of str to value, optional
        What else a task of neurogym shall be made with, by the names of its own arguments, such as ``{"sigma": 0.5}``;
        on the command line as JSON.
    n_units : int
    dt : int
        Duration of a time step in ms, at most tau.
    tau : float
        The units' time constant in ms.
    rule : {"inside", "outside"}
        Whether the leak is inside the nonlinearity; see `CTRNN`.
    nonlinearity : {"relu", "tanh", "softplus"}
    noise : float
        Of each unit at each time step, in training and afterwards: a standard deviation, see `CTRNN`.
    dale : float, optional
        Dale's law: the share of units that excite all others; they come first, and the rest inhibit.
    sparsity : float
        The share of recurrent connections that do not exist, from 0 to below 1, drawn from the seed.
    seed : int
        Of the initial weights and of all trials.
    network : int
        Which network of an ensemble: network k is that of the seed ``seed + k``.
    networks : int, optional
        How many networks are trained together if this one is not in the cache. It changes no number: each network
        depends on its own seed alone.
    n_jobs : int, optional
        Threads in which they are trained; -1 for all processors. It changes no number either. By default 2.
    steps : int, optional
        How many training steps to try at most, counted in whole fifties. By default 2,000 for perceptual
        decision-making (which takes 300 to 900) and go/no-go, else 20,000.
    accuracy : float, optional
        Share of validation trials to be answered rightly, twice in a row, for training to stop. By default 0.97 for
        perceptual decision-making and go/no-go, else 95 % of what an ideal observer reaches. Continuous outputs have
        no accuracy: training stops at an R² of 0.95.
    learning_rate : float, optional
        Of Adam. By default 0.01 for perceptual decision-making and go/no-go, else 0.003.
    response_weight : float, optional
        How much a time step of the decision counts in the loss beside one before it. By default 1 for perceptual
        decision-making, go/no-go, and tasks of timing or with continuous outputs, else 5.
    start : {"uniform", "orthogonal"}, optional
        How recurrent weights begin, see `initial_network`. By default orthogonal, but uniform for perceptual
        decision-making, go/no-go, and with `dale`.
    trained : bool
        False gives the network before training.
    checkpoint : int, optional
        The network after so many steps of its training, solved or not: 0, or a multiple of 50 up to the step at which
        it solves its task.
    initial : str
        An NPZ file of weights to start training from, any of ``w_in``, ``b_in``, ``w_rec``, ``b_rec``, ``w_out``,
        ``b_out``.
    weights : str
        An NPZ file with a network that is taken as it is, see `export_weights`; nothing is trained.
    device : str
        Where torch trains: ``cpu``, or a graphics card, such as ``cuda``.
    n_trials : int
        Fresh trials to run it on.
    inputs : {"stimulus", "all"}
        Which inputs the projection holds, and thereby which enter the cosine similarity: all but the fixation
        cue and those that never change in the task, or all. The network itself always receives all.

    Returns
    -------
    RecurrentSystem
        With `model`, a `CTRNN`, and the variables, over all time steps of all trials (n_times, k):
        ``inputs``, all of them; ``stimulus``; ``cumulative_evidence``, the integral over the trial so far of each
        stimulus, or of stimulus 1 minus stimulus 2 where there are exactly two (stimulus × s); ``output``, the softmax
        of the readout; ``target``, one-hot, the right response at each time step; ``choice``, one-hot, the response
        given when one was asked for (the first one where only the moment matters), throughout the trial; ``coherence``
        (percent) in tasks that have it; ``period``, the number of the period; and the task's other conditions. Where
        outputs are continuous, ``output`` and ``target`` are these and what is wanted of them, without ``choice``.

    Raises
    ------
    InputError
        If an option is not usable, or the network does not solve the task within `steps`: reach `accuracy` on some
        validation trials with coherence, twice in a row, so that fresh ones are at most a little below; or an R² of
        0.95 where outputs are continuous.
    """
    given: Options = dict(locals())
    stored = _stored(given)
    used = given if stored is None else given | _of_file(stored, given)
    check_options(used)

    from fctoolbox_ctrnn.weights import Recipe

    the_task = _read_task(used)
    columns = the_task.stimulus_columns if inputs == "stimulus" else tuple(range(len(the_task.columns)))
    if not columns:
        raise InputError(f"task '{the_task.name}' has no input but the fixation cue; use inputs='all'")
    if stored is not None:
        found = stored.network
        _check_fit(found, the_task, used)
        path = Path(weights).expanduser()
        digest = sha256_of(path)
        files: tuple[FileRecord, ...] = (FileRecord(path.name, digest),)
        training = f"none here: the weights are those of {weights} (SHA-256 {digest[:12]}…)"
        recipe = Recipe(the_task, used["n_units"], used["tau"], seed + network)
    else:
        files = ()
        recipe = _recipe(the_task, used, network)
        found, training = _network(recipe, the_task, used)
    options = {name: used[name] for name in _OF_THE_NETWORK}
    # How many are trained together, and by how many threads, is no property of the network.
    options |= {"networks": None, "n_jobs": None}
    return _system(recipe, found, columns, n_trials, training=training, options=options, files=files)


def load_ensemble(n: int, *, n_jobs: int = _THREADS, **options: Any) -> tuple[RecurrentSystem, ...]:
    """Networks that differ in their seeds only, trained together.

    Parameters
    ----------
    n : int
        How many: those of the seeds ``seed`` to ``seed + n - 1``.
    n_jobs : int
        Threads to train in; -1 for all processors. It changes no number.
    **options
        Of ``fctoolbox.load("ctrnn")``; see `load`.

    Returns
    -------
    tuple of RecurrentSystem
        The same systems as ``fctoolbox.load("ctrnn", network=k, **options)`` for k = 0 … n - 1.

    Raises
    ------
    InputError
        As `load`. Networks that were trained before one failed are kept.
    """
    check_whole("n", n, 1)
    for name in ("network", "networks", "weights"):
        if options.pop(name, None):
            raise InputError(f"load_ensemble(n) takes no {name}: it loads networks 0 … n - 1 of one recipe")
    source = plugins.find_source("ctrnn")
    unknown = [name for name in options if name not in source.options]
    if not unknown and options.get("trained", True):
        _train_together(n, {**source.options, **options}, n_jobs)
    return tuple(plugins.load_source(source, network=k, **options) for k in range(n))


def _read_task(options: Options) -> "Task":
    """The task that options name; they hold its timing and options as JSON afterwards."""
    from fctoolbox_ctrnn.trials import read_task

    given = {}
    for name, argument in (("timing", "timing"), ("task_options", "options")):
        options[name], mapping = read_mapping(name, options[name])
        if mapping is not None:
            given[argument] = mapping
    return read_task(options["task"], options["dt"], **given)


def _stored(options: Options) -> "StoredNetwork | None":
    if not options["weights"]:
        return None
    from fctoolbox_ctrnn.export import read_weights

    return read_weights(Path(options["weights"]).expanduser())


def _of_file(stored: "StoredNetwork", options: Options) -> Options:
    """What the file of a network says in place of options; one that says otherwise was asked for in vain."""
    network, told = stored.network, stored.trained_on
    of_file: Options = {
        **told,
        "n_units": network.n_units,
        "rule": network.rule,
        "nonlinearity": network.nonlinearity,
        "noise": network.noise,
    }
    of_file["tau"] = float(told["dt"] if "dt" in told else options["dt"]) / network.alpha
    for name, parameter in inspect.signature(load).parameters.items():
        value, expected = options[name], of_file.get(name, parameter.default)
        if name in MAPPINGS:  # however they are written
            value, expected = (read_mapping(name, each)[1] for each in (value, expected))
        free = name in _OF_RUNNING or (name in ("task", "dt", *MAPPINGS) and "task" not in told)
        if not free and value not in (parameter.default, expected):
            has = f", which has {name}={of_file[name]}" if name in of_file else ""
            raise InputError(
                f"{name} is {value!r}, but weights={options['weights']} brings a network that is taken as it is{has}; "
                f"leave {name} out"
            )
    return of_file


def _check_fit(network: CTRNN, task: "Task", options: Options) -> None:
    for what, has, wants in (
        ("inputs", network.w_in.shape[1], len(task.columns)),
        ("outputs", len(network.w_out), task.n_actions),
    ):
        if has != wants:
            raise InputError(
                f"the network of {options['weights']} has {has} {what}, but task '{task.name}' wants {wants}; name "
                "its own task, or run it on trials of your own with from_weights"
            )


def _recipe(task: "Task", options: Options, network: int) -> "Recipe":
    from fctoolbox_ctrnn.weights import Recipe

    n_units, seed, given = options["n_units"], options["seed"] + network, {}
    sign = mask = None
    if options["dale"] is not None:
        sign = np.where(np.arange(n_units) < round(options["dale"] * n_units), 1, -1)
    if options["sparsity"]:
        mask = np.random.default_rng([seed, _MASK]).random((n_units, n_units)) >= options["sparsity"]
    if options["initial"]:
        given = _initial(options["initial"])
    return Recipe(
        task,
        n_units,
        options["tau"],
        seed,
        _training(task, options),
        rule=options["rule"],
        nonlinearity=options["nonlinearity"],
        noise=options["noise"],
        start_from=_start(task, options),
        sign=sign,
        mask=mask,
        given=given,
    )


def _training(task: "Task", options: Options) -> "Training":
    from fctoolbox_ctrnn.training import Training
    from fctoolbox_ctrnn.trials import draw_trials, schedule_of

    schedule = schedule_of(task)
    learning_rate, weight = options["learning_rate"], options["response_weight"]
    if weight is not None and task.continuous and not draw_trials(task, 1, seed=(0,)).deciding.any():
        raise InputError(
            f"response_weight is {weight:g}, but task '{task.name}' has continuous outputs and no period 'decision', "
            "so that there are no time steps for it; leave it out"
        )
    return Training(
        learning_rate=schedule.learning_rate if learning_rate is None else learning_rate,
        response_weight=schedule.response_weight if weight is None else weight,
        accuracy=_wanted_accuracy(task, options["accuracy"]),
    )


def _start(task: "Task", options: Options) -> str:
    from fctoolbox_ctrnn.trials import schedule_of

    if options["start"] is not None:
        return str(options["start"])
    return "uniform" if options["dale"] is not None else schedule_of(task).start


def _most_steps(task: "Task", options: Options) -> int:
    from fctoolbox_ctrnn.trials import schedule_of

    return schedule_of(task).steps if options["steps"] is None else options["steps"]


def _wanted_accuracy(task: "Task", asked: float | None) -> float:
    from fctoolbox_ctrnn.ideal import ideal_accuracy
    from fctoolbox_ctrnn.trials import schedule_of

    if asked is not None and task.continuous:
        raise InputError(
            f"accuracy is {asked:g}, but the outputs of task '{task.name}' are continuous: there is no choice that "
            f"could be right. Leave it out: training ends at an R² of {schedule_of(task).share_of_ideal:g}"
        )
    best = ideal_accuracy(task)
    if asked is None:
        return min(_ACCURACY, round(schedule_of(task).share_of_ideal * best, 3))
    if asked > best:
        raise InputError(
            f"accuracy is {asked:g}, but the noise of task '{task.name}' lets an ideal observer reach {best:.3f} only"
        )
    return asked


def _initial(path: str) -> dict[str, Any]:
    from fctoolbox_ctrnn.export import read_arrays

    arrays = {name: array for name, array in read_arrays(Path(path).expanduser()).items() if name in PARAMETERS}
    if not arrays:
        raise InputError(f"initial: {path} holds none of {', '.join(PARAMETERS)}")
    return arrays


def _network(recipe: "Recipe", task: "Task", options: Options) -> tuple[CTRNN, str]:
    if not options["trained"] or options["checkpoint"] == 0:
        return recipe.start(), "none: initial weights"
    reached = _trained(recipe, task, options)
    last, settings = reached.curve[-1], recipe.training
    how = f"Adam, learning rate {settings.learning_rate:g}"
    if settings.response_weight != 1:
        how += f", time steps of the decision counted {settings.response_weight:g} times"
    words = f"{last.step} steps of {settings.n_trials} trials ({how})"
    if options["checkpoint"] is not None:
        how_good = "R² of the wanted outputs" if task.continuous else "of the validation trials right"
        return reached.network, f"{words}, a checkpoint on the way: {last.accuracy:.3f} {how_good}"
    of_what = "the wanted outputs' variance was explained" if task.continuous else "the validation trials were right"
    looks = f"at {settings.in_a_row} looks in a row"
    return reached.network, f"{words}, until {settings.accuracy:g} or more of {of_what} {looks}"


def _trained(recipe: "Recipe", task: "Task", options: Options) -> "Checkpoint":
    from fctoolbox_ctrnn.weights import cached_path, read_checkpoint

    device, wanted = options["device"], options["checkpoint"]
    every = recipe.training.evaluate_every
    if wanted is not None and wanted % every:
        raise InputError(f"checkpoint is {wanted}; there is one every {every} steps: it must be a multiple of that")
    if options["networks"] is not None:
        known = read_checkpoint(cached_path(recipe, device), recipe)
        if known is None or not known.solves(recipe.training):
            _train_all([_recipe(task, options, k) for k in range(options["networks"])], task, options)
    (reached,) = _train_all([recipe], task, {**options, "n_jobs": 1})
    if wanted is not None and reached.step != wanted:
        raise InputError(
            f"checkpoint is {wanted}, but this network had solved its task after {reached.step} steps; it must be at "
            "most that"
        )
    return reached


def _train_all(recipes: "list[Recipe]", task: "Task", options: Options) -> "tuple[Checkpoint, ...]":
    """To the checkpoint that is wanted, or until they solve their task."""
    from fctoolbox_ctrnn.ensemble import networks_at, train_ensemble

    wanted, how = options["checkpoint"], {"n_jobs": options["n_jobs"] or _THREADS, "device": options["device"]}
    if wanted is None:
        return train_ensemble(recipes, steps=_most_steps(task, options), **how)
    if options["steps"] is not None and wanted > options["steps"]:
        raise InputError(f"checkpoint is {wanted}, but steps lets training go on for {options['steps']} only")
    return networks_at(recipes, wanted, **how)


def _train_together(n: int, options: Options, n_jobs: int) -> None:
    """Train the networks of an ensemble that are not in the cache."""
    check_options(options)
    task = _read_task(options)
    recipes = [_recipe(task, options, k) for k in range(n)]
    if options["checkpoint"] != 0:
        _train_all(recipes, task, {**options, "n_jobs": n_jobs})


def _inputs_in_words(task: "Task") -> str:
    words = ", ".join(task.columns)
    if task.constant:
        words += (
            f" ({len(task.constant)} of them never change in this task, and are no stimulus: {listed(task.constant)})"
        )
    if task.columns[0] == "input-0":
        words += " (the task gives them no names: if one of them is a fixation cue, it counts as a stimulus)"
    return words


def _system(
    recipe: "Recipe",
    network: CTRNN,
    columns: tuple[int, ...],
    n_trials: int,
    *,
    training: str,
    options: Options,
    files: tuple[FileRecord, ...],
) -> RecurrentSystem:
    task, trials = recipe.task, recipe.fresh(n_trials)
    states = network.run(trials.inputs, rng=np.random.default_rng([recipe.seed, _RECURRENT_NOISE]))
    check_states(states)
    outputs = network.readout(states)
    inputs = tuple(task.columns[j] for j in columns)
    signs = {} if network.sign is None else {"sends": tuple(np.where(network.sign > 0, "excitation", "inhibition"))}
    return RecurrentSystem(
        name="ctrnn",
        units=tuple(f"unit-{i}" for i in range(network.n_units)),
        projection=InputProjection(network.w_in[:, columns], inputs),
        activity=activity_in_trials(trials, states, outputs, columns=task.columns, dt=task.dt),
        annotations=signs,
        model=network,
        provenance=Provenance(
            citation=CITATION,
            license=LICENSE,
            species=SPECIES,
            packages=PACKAGES,
            files=files,
            options=options,
            notes={
                "Task": f"{task.name}: {task.timing}; time steps of {task.dt} ms"
                + (f"; made with {task.options}" if task.options else ""),
                "Training": training,
                "Accuracy on fresh trials": accuracy_in_words(trials, outputs, dt=task.dt),
                "Inputs in the projection": ", ".join(inputs),
                "Inputs of the network": _inputs_in_words(task),
                **numbers_in_words(trials),
                "Mind": "one network is one draw: compare seeds, and networks before training (trained=false), before "
                "anything is said about what training does",
            },
        ),
    )
