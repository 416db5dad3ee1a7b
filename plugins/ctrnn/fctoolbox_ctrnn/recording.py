"""What a network did on some inputs: its activity, and the variables beside it. Imports numpy only."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fctoolbox.errors import InputError, check_whole
from fctoolbox.randomness import generator
from fctoolbox.system import RecurrentActivity

if TYPE_CHECKING:  # it imports neurogym, which networks from elsewhere do not need
    from fctoolbox_ctrnn.trials import Trials

Floats = NDArray[np.floating[Any]]

FIXATION = "fixation"
# Conditions that are variables already: the response wanted stands in "target" at each time step.
_TOLD_OTHERWISE = ("target", "decidable", "coherence")


def activity_in_trials(
    trials: "Trials", states: Floats, outputs: Floats | None, *, columns: Sequence[str], dt: float | None
) -> RecurrentActivity:
    """The states in trials, one trial after the other, with `variables`.

    Parameters
    ----------
    trials : Trials
    states : (n_times, n_trials, n_units) array
    outputs : (n_times, n_trials, n_outputs) array, optional
        Of the readout, before any softmax; the number of a response is its column.
    columns : sequence of str
        What each input is.
    dt : float or None
        Duration of a time step in ms.

    Raises
    ------
    InputError
        If the trials want a response for which there is no output.
    """
    wanted = int(trials.targets.max())
    if outputs is not None and trials.values is not None and trials.values.shape[-1] != outputs.shape[-1]:
        raise InputError(
            f"the trials want {trials.values.shape[-1]} continuous outputs, but the network has {outputs.shape[-1]}; "
            "w_out needs a row for each"
        )
    if outputs is not None and wanted >= outputs.shape[-1]:
        raise InputError(
            f"the trials want response {wanted}, but the network has {outputs.shape[-1]} outputs (0 … "
            f"{outputs.shape[-1] - 1}); w_out needs a row for each response, fixation (0) included"
        )
    numbers = np.broadcast_to(np.arange(trials.n_trials), trials.targets.shape)
    known = variables(trials, outputs, columns=columns, dt=dt)
    return RecurrentActivity(
        timeseries=trials.end_to_end(states),
        sampling_interval=None if dt is None else dt / 1000,
        trials=trials.end_to_end(numbers),
        variables={name: trials.end_to_end(values) for name, values in known.items()},
    )


def activity_on_inputs(
    inputs: Floats, states: Floats, outputs: Floats | None, *, dt: float | None
) -> RecurrentActivity:
    """The states on inputs without any task, one trial after the other, with the variables ``inputs`` and ``output``.

    Parameters
    ----------
    inputs : (n_times, n_trials, n_inputs) array
    states : (n_times, n_trials, n_units) array
    outputs : (n_times, n_trials, n_outputs) array, optional
    dt : float or None
        Duration of a time step in ms.
    """

    def joined(values: Floats) -> Floats:
        return values.swapaxes(0, 1).reshape(-1, *values.shape[2:])

    known = {"inputs": inputs} | ({} if outputs is None or not outputs.shape[-1] else {"output": outputs})
    n_times, n_trials = states.shape[:2]
    return RecurrentActivity(
        timeseries=joined(states),
        sampling_interval=None if dt is None else dt / 1000,
        trials=np.repeat(np.arange(n_trials), n_times),
        variables={name: joined(values) for name, values in known.items()},
    )


def variables(
    trials: "Trials", outputs: Floats | None, *, columns: Sequence[str], dt: float | None
) -> dict[str, Floats]:
    """What the experiment set and the network answered, each (n_times, n_trials, k).

    ``inputs``, all of them; ``stimulus``, all but the fixation cue; ``cumulative_evidence``, the integral over the
    trial so far of each stimulus, or of stimulus 1 minus stimulus 2 where there are exactly two (stimulus × s;
    stimulus × time steps where dt is not known); ``output``, the softmax of the readout; ``target``, one-hot, the
    right response at each time step; ``choice``, one-hot, the response given when one was asked for (the first one in
    tasks of timing), throughout the trial; ``coherence`` (percent); ``period``, the number of the period, from 0 in the
    order of `Trials.periods`; and each condition of the trials: its number, or one-hot in alphabetical order where it
    is a word. In tasks with continuous outputs, ``output`` and ``target`` are these and what is wanted of them, and
    there is no ``choice``.
    """
    inputs = trials.inputs.astype(np.float64)
    known: dict[str, Floats] = {"inputs": inputs}
    stimulus = inputs[..., [j for j, column in enumerate(columns) if column != FIXATION]]
    if stimulus.shape[-1]:
        evidence = stimulus[..., :1] - stimulus[..., 1:] if stimulus.shape[-1] == 2 else stimulus
        known["stimulus"] = stimulus
        known["cumulative_evidence"] = evidence.cumsum(axis=0) * (1 if dt is None else dt / 1000)
    answered, constant = _answered(trials, outputs)
    known |= answered
    if trials.coherence is not None:
        constant["coherence"] = trials.coherence[:, None]
    if trials.periods:
        known["period"] = _period(trials)[..., None]
    constant |= {name: values for name, values in _conditions(trials).items() if name not in (*known, *constant)}
    n_times = len(inputs)
    return known | {name: np.broadcast_to(values, (n_times, *values.shape)) for name, values in constant.items()}


def _answered(trials: "Trials", outputs: Floats | None) -> tuple[dict[str, Floats], dict[str, Floats]]:
    """What is wanted and answered at each time step, and the choice of each trial (n_trials, n_actions)."""
    if trials.values is not None:
        known: dict[str, Floats] = {"target": trials.values}
        return (known if outputs is None else known | {"output": outputs}), {}
    one_hot = np.eye(int(trials.targets.max()) + 1 if outputs is None else outputs.shape[-1])
    # Time steps after a trial's end have target -1; they are cut off when trials are joined.
    known = {"target": one_hot[trials.targets]}
    if outputs is None:
        return known, {}
    return {"output": _softmax(outputs), **known}, {"choice": one_hot[trials.choices(outputs)]}


def _period(trials: "Trials") -> Floats:
    """(n_times, n_trials) the number of the period that each time step is in."""
    steps = np.arange(len(trials.targets))[:, None]
    number = np.zeros(trials.targets.shape)
    for k, bounds in enumerate(trials.periods.values()):
        number[(steps >= bounds[:, 0]) & (steps < bounds[:, 1])] = k
    return number


def _conditions(trials: "Trials") -> dict[str, Floats]:
    found: dict[str, Floats] = {}
    for name, values in trials.conditions.items():
        array = np.asarray(values)
        if name in _TOLD_OTHERWISE or array.ndim != 1:
            continue
        if array.dtype.kind in "US":
            found[name] = (array[:, None] == np.unique(array)).astype(np.float64)
        elif array.dtype.kind in "biuf" and np.isfinite(array).all():
            found[name] = array[:, None].astype(np.float64)
    return found


def numbers_in_words(trials: "Trials") -> dict[str, str]:
    """What the numbers in variables stand for: periods, and conditions that are words."""
    words = {"Periods": list(trials.periods)} if trials.periods else {}
    for name, values in trials.conditions.items():
        array = np.asarray(values)
        if array.dtype.kind in "US" and len(np.unique(array)) > 1:
            words[f"Columns of '{name}'"] = np.unique(array).tolist()
    return {what: ", ".join(f"{k} {name}" for k, name in enumerate(names)) for what, names in words.items()}


def accuracy_in_words(trials: "Trials", outputs: Floats, *, dt: float | None) -> str:
    """The share of right choices, by coherence where there is one; of continuous outputs, R²."""
    if trials.values is not None:
        return f"none, for the outputs are continuous; R² {trials.score(outputs):.3f}"
    correct, coherence = trials.correct(outputs), trials.coherence
    more = _of_several(trials) if trials.windows is None else _of_moments(trials, outputs, dt)
    if coherence is None and trials.coherent.all():
        return f"{correct.mean():.3f}{more}"
    if coherence is None:
        told = f"{correct[trials.coherent].mean():.3f}" if trials.coherent.any() else "none"
        return f"{told} of the trials whose stimuli tell the answer ({correct.mean():.3f} of all){more}"
    shares = ", ".join(f"{c:g} %: {correct[coherence == c].mean():.3f}" for c in np.unique(coherence))
    coherent = correct[trials.coherent]
    return f"{f'{coherent.mean():.3f}' if coherent.size else 'none'} of coherent trials ({shares}){more}"


def _of_several(trials: "Trials") -> str:
    """That only the last response of a trial is judged, where a trial asks for several."""
    asks = trials.targets > 0
    most = int((asks[1:] & ~asks[:-1]).sum(axis=0).max(initial=0) + asks[:1].any())
    return f"; of the up to {most} responses of a trial, the last one is judged" if most > 1 else ""


def _of_moments(trials: "Trials", outputs: Floats, dt: float | None) -> str:
    """How long the windows are in which a response is right, and on which side of them the others are."""
    assert trials.windows is not None
    responds = trials.choices(outputs) > 0
    when, (first, end) = trials.first_responses(outputs), trials.windows.T
    early, late = (float(np.mean(responds & side)) for side in (when < first, when >= end))
    lengths = (end - first)[end > first] * (dt or 1)
    shortest, longest = (f"{each:g}" for each in ((lengths.min(), lengths.max()) if lengths.size else (0, 0)))
    length = shortest if shortest == longest else f"{shortest} to {longest}"
    return (
        f" of trials answered in time, within {length} {'time steps' if dt is None else 'ms'} (too early {early:.3f}, "
        f"too late {late:.3f}, never {float(np.mean(~responds)):.3f})"
    )


def presented(
    inputs: ArrayLike | None,
    trials: "Trials | None",
    *,
    n_inputs: int,
    n_steps: int,
    rng: int | np.random.Generator | None,
) -> tuple[Floats, str]:
    """What a network is to be run on, (n_times, n_trials, n_inputs), and that in words.

    Parameters
    ----------
    inputs : (n_times, n_inputs) or (n_times, n_trials, n_inputs) array, optional
    trials : Trials, optional
        Instead of `inputs`. With neither, white Gaussian noise of standard deviation 1 in one trial of `n_steps`.
    n_inputs : int
        Of the network.
    n_steps : int
    rng : int, Generator or None

    Raises
    ------
    InputError
        If both are given, the shape is another one, or a value is not finite.
    """
    if inputs is not None and trials is not None:
        raise InputError("give inputs or trials, not both: trials hold their own inputs")
    if trials is None and inputs is None:
        check_whole("n_steps", n_steps, 2)
        noise = generator(rng).standard_normal((n_steps, 1, n_inputs))
        return noise, f"white Gaussian noise of standard deviation 1, {n_steps:,} time steps"
    what = "inputs" if trials is None else "the inputs of trials"
    array = given = np.asarray(inputs if trials is None else trials.inputs)
    if array.dtype.kind not in "fiub":
        raise InputError(f"{what} hold {array.dtype.name} values; they must be real numbers")
    array = array.astype(np.float64)
    if array.ndim == 2:
        array = array[:, None]
    if array.ndim != 3 or array.shape[2] != n_inputs or 0 in array.shape:
        raise InputError(
            f"{what} have shape {given.shape}, but the network has "
            f"{n_inputs} inputs: they must be (n_times, {n_inputs}) or (n_times, n_trials, {n_inputs}), time first"
        )
    if not np.isfinite(array).all():
        raise InputError(f"{what} have values that are not finite (NaN or infinity)")
    kind = "given inputs" if trials is None else "given trials"
    return array, f"{kind}: {array.shape[1]:,} of {array.shape[0]:,} time steps"


def named(names: Sequence[str], n: int, what: str, default: str) -> tuple[str, ...]:
    """The names given, or numbered ones.

    Raises
    ------
    InputError
        If there are not n of them.
    """
    chosen = tuple(map(str, names)) or tuple(f"{default}-{j}" for j in range(n))
    if len(chosen) != n:
        raise InputError(f"{what} has {len(chosen)} names, but the network has {n}")
    return chosen


def own_notes(presented_words: str, more: Mapping[str, str]) -> dict[str, str]:
    """What a reader must know of a network from elsewhere."""
    return {"Activity": f"the network run on {presented_words}; its state is 0 at the start of each trial", **more}


def _softmax(outputs: Floats) -> Floats:
    shares = np.exp(outputs - outputs.max(axis=-1, keepdims=True))
    softmax: Floats = shares / shares.sum(axis=-1, keepdims=True)
    return softmax
