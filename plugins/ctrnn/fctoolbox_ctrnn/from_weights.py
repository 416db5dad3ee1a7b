"""A network that is given by its weights, as a system."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fctoolbox.errors import InputError
from fctoolbox.system import InputProjection, Provenance, RecurrentSystem
from fctoolbox_ctrnn.network import CTRNN
from fctoolbox_ctrnn.recording import (
    accuracy_in_words,
    activity_in_trials,
    activity_on_inputs,
    named,
    numbers_in_words,
    own_notes,
    presented,
)

if TYPE_CHECKING:
    from fctoolbox_ctrnn.trials import Trials

Floats = NDArray[np.floating[Any]]

SPECIES = "none (artificial network)"


def from_weights(
    w_in: ArrayLike,
    w_rec: ArrayLike,
    w_out: ArrayLike | None = None,
    *,
    b_in: ArrayLike | None = None,
    b_rec: ArrayLike | None = None,
    b_out: ArrayLike | None = None,
    alpha: float = 1.0,
    rule: str = "inside",
    nonlinearity: str = "relu",
    noise: float = 0.0,
    sign: ArrayLike | None = None,
    mask: ArrayLike | None = None,
    inputs: ArrayLike | None = None,
    trials: "Trials | None" = None,
    n_steps: int = 1000,
    rng: int | np.random.Generator | None = None,
    input_names: Sequence[str] = (),
    units: Sequence[str] = (),
    dt: float | None = None,
    name: str = "own-network",
    citation: str = "your own network",
    license: str = "not stated",
) -> RecurrentSystem:
    """A network of any origin, run on inputs.

    ``h' = f((1 - alpha) h + alpha (W_in x + b_in + W_rec h + b_rec))``, with the default alpha of 1
    ``h' = f(W_in x + W_rec h + …)``; other choices in `CTRNN`. The state starts at 0 in each trial.

    Parameters
    ----------
    w_in : (n_units, n_inputs) array
        ``w_in[i, j]`` is from input j onto unit i.
    w_rec : (n_units, n_units) array
        ``w_rec[i, j]`` is from unit j to unit i.
    w_out : (n_outputs, n_units) array, optional
    b_in, b_rec : (n_units,) array, optional
        Zero when left out.
    b_out : (n_outputs,) array, optional
    alpha : float
        dt / tau, in (0, 1].
    rule, nonlinearity, noise, sign, mask
        See `CTRNN`.
    inputs : (n_times, n_inputs) or (n_times, n_trials, n_inputs) array, optional
        What to run it on.
    trials : Trials, optional
        What to run it on instead, from `fctoolbox_ctrnn.trials.draw_trials` or made of your own arrays; then the
        variables are those of ``load("ctrnn")``. With neither, the network runs on white noise.
    n_steps : int
        Of that noise.
    rng : int, Generator or None
        Of that noise, and of the recurrent noise.
    input_names, units : sequence of str, optional
        An input named ``fixation`` is a cue, no stimulus.
    dt : float, optional
        Duration of a time step in ms.
    name, citation, license : str

    Returns
    -------
    RecurrentSystem
        With `model`, a `CTRNN`.

    Raises
    ------
    InputError
        If shapes disagree, a value is not finite, or an option is not usable.

    Examples
    --------
    >>> import numpy as np
    >>> weights = np.random.default_rng(0).standard_normal((20, 23))
    >>> system = from_weights(weights[:, :3], weights[:, 3:] / 10, nonlinearity="tanh", rng=0)
    >>> system.activity.timeseries.shape
    (1000, 20)
    """
    model = _network(
        w_in, w_rec, w_out, b_in, b_rec, b_out,
        alpha=alpha, rule=rule, nonlinearity=nonlinearity, noise=noise, sign=sign, mask=mask,
    )  # fmt: skip
    check_dt(dt)
    columns = named(input_names, model.w_in.shape[1], "input_names", "input")
    names = named(units, model.n_units, "units", "unit")
    generator = np.random.default_rng(rng)
    given, words = presented(inputs, trials, n_inputs=len(columns), n_steps=n_steps, rng=generator)
    states = model.run(given, rng=generator)
    check_states(states)
    outputs = None if w_out is None else model.readout(states)
    notes = {"Network": f"{nonlinearity}, alpha {alpha:g}, leak {rule} the nonlinearity", "Inputs": ", ".join(columns)}
    if trials is None:
        activity = activity_on_inputs(given, states, outputs, dt=dt)
    else:
        activity = activity_in_trials(trials, states, outputs, columns=columns, dt=dt)
        notes |= numbers_in_words(trials)
        if outputs is not None:
            notes["Accuracy in these trials"] = accuracy_in_words(trials, outputs, dt=dt)
    return RecurrentSystem(
        name=name,
        units=names,
        projection=InputProjection(model.w_in, columns),
        activity=activity,
        model=model,
        provenance=Provenance(
            citation=citation,
            license=license,
            species=SPECIES,
            notes=own_notes(words, notes),
            packages=("fctoolbox-ctrnn",),
        ),
    )


def check_dt(dt: float | None) -> None:
    """Refuse a time step that is no duration.

    Raises
    ------
    InputError
    """
    if dt is not None and not (np.isfinite(dt) and dt > 0):
        raise InputError(f"dt is {dt!r}; it must be the duration of a time step in ms, or left out")


def check_states(states: Floats) -> None:
    """Refuse activity that grew beyond all bounds.

    Raises
    ------
    InputError
    """
    finite = np.isfinite(states).all(axis=tuple(range(1, states.ndim)))
    if not finite.all():
        raise InputError(
            f"the network's activity explodes: from time step {int(np.argmin(finite))} on it is not finite. Its "
            "recurrent weights are too large for this nonlinearity, alpha and rule; are they those that it was "
            "trained with?"
        )


def _network(
    w_in: ArrayLike,
    w_rec: ArrayLike,
    w_out: ArrayLike | None,
    b_in: ArrayLike | None,
    b_rec: ArrayLike | None,
    b_out: ArrayLike | None,
    **dynamics: Any,
) -> CTRNN:
    given: dict[str, Any] = {
        name: _numbers(value, name)
        for name, value in (
            ("w_in", w_in), ("w_rec", w_rec), ("w_out", w_out), ("b_in", b_in), ("b_rec", b_rec), ("b_out", b_out)
        )
        if value is not None
    }  # fmt: skip
    shape = given["w_rec"].shape
    if len(shape) != 2 or shape[0] != shape[1] or 0 in shape:
        raise InputError(f"w_rec has shape {shape}, but it must be square (n_units, n_units)")
    n_units = shape[0]
    of_units = {"w_in": ("n_inputs", 0), "w_out": ("n_outputs", 1)}
    for name, (other, axis) in of_units.items():
        shape = given[name].shape if name in given else (n_units, n_units)
        if len(shape) != 2 or shape[axis] != n_units or 0 in shape:
            wanted = f"({n_units}, {other})" if axis == 0 else f"({other}, {n_units})"
            transposed = " Is it transposed?" if len(shape) == 2 and shape[1 - axis] == n_units else ""
            raise InputError(
                f"{name} has shape {shape}, but it must be {wanted}, for w_rec is between {n_units} units.{transposed}"
            )
    if "w_out" not in given and "b_out" in given:
        raise InputError("b_out was given without w_out")
    given.setdefault("w_out", np.zeros((0, n_units)))
    for name, n in (("b_in", n_units), ("b_rec", n_units), ("b_out", len(given["w_out"]))):
        given.setdefault(name, np.zeros(n))
    return CTRNN(**given, **dynamics)


def _numbers(values: ArrayLike, name: str) -> Floats:
    try:
        array = np.asarray(values)
    except (RuntimeError, TypeError, ValueError) as error:  # rows of unequal length; torch tensors that are trained
        raise InputError(f"{name} cannot be read as an array of numbers: {error}") from error
    if array.dtype.kind not in "fiub":
        raise InputError(f"{name} holds {array.dtype.name} values; it must be an array of real numbers")
    return array.astype(np.float64)
