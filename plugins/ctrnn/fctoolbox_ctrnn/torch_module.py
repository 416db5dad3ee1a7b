"""A recurrent network that was built with torch, wherever it was trained, as a system."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from fctoolbox.errors import InputError, listed
from fctoolbox.system import InputProjection, Model, Provenance, RecurrentSystem
from fctoolbox_ctrnn.from_weights import SPECIES, check_dt, check_states
from fctoolbox_ctrnn.gated import GRU, LSTM, Gated
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

_GATED: Mapping[str, type[Gated]] = {"GRU": GRU, "LSTM": LSTM}
# Of float32 outputs, relative to the largest: how far a module may be from its linear layer.
_CLOSE = 1e-4


class _Layer(NamedTuple):
    name: str
    rnn: torch.nn.RNNBase


class _Run(NamedTuple):
    """What went into the recurrent layer, what it did, and what the module answered, (n_times, n_trials, k) each."""

    inputs: Floats
    states: Floats
    outputs: Floats | None


def from_torch(
    module: torch.nn.Module,
    inputs: ArrayLike | torch.Tensor | None = None,
    *,
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
    """A torch network, run on inputs.

    The module is a ``torch.nn.RNN``, ``GRU`` or ``LSTM`` of one layer and one direction, or holds exactly one such
    layer; it is run whole, in evaluation mode, and left as it was. Units are those of the recurrent layer, their
    activity its output h, and inputs what that layer receives. The input projection of a GRU or an LSTM holds the
    input weights of all gates side by side: each input once for each gate.

    Parameters
    ----------
    module : torch.nn.Module
    inputs : (n_times, n_inputs) or (n_times, n_trials, …) array or tensor, optional
        What to run it on, time first also where the layer has ``batch_first``. A tensor is handed on as it is (a module
        may begin with an embedding of whole numbers), arrays in the type of the layer's weights.
    trials : Trials, optional
        What to run it on instead; see `from_weights`. With neither, the network runs on white noise.
    n_steps : int
        Of that noise.
    rng : int, Generator or None
        Of that noise.
    input_names, units : sequence of str, optional
        Names of what the recurrent layer receives, and of its units.
    dt : float, optional
        Duration of a time step in ms.
    name, citation, license : str

    Returns
    -------
    RecurrentSystem
        With `model`: a `CTRNN` with alpha 1 for an RNN, else a `GRU` or `LSTM` of `fctoolbox_ctrnn.gated`. Where the
        module's output is that of a linear layer on the recurrent one, the model has it as its readout. The
        variable ``output`` is the module's output, or, with `trials`, its softmax.

    Raises
    ------
    InputError
        If the module has no recurrent weights, or several layers or directions of them, a weight is not finite, or it
        cannot be run on these inputs.
    """
    layer = _recurrent_layer(module)
    weights = _weights(layer)
    check_dt(dt)
    run = _run(module, layer, _prepared(inputs, trials, layer, n_steps, rng))
    check_states(run.states)
    words = _words(run, inputs, trials)
    readout = _readout(module, run)
    model = _model(layer, weights, readout)
    columns = named(input_names, layer.rnn.input_size, "input_names", "input")
    notes = {"Network": _network_in_words(module, layer, readout), "Inputs": ", ".join(columns)}
    if trials is None:
        activity = activity_on_inputs(run.inputs, run.states, run.outputs, dt=dt)
    else:
        activity = activity_in_trials(trials, run.states, run.outputs, columns=_columns_of(trials, columns), dt=dt)
        notes |= numbers_in_words(trials)
        if run.outputs is not None:
            notes["Accuracy in these trials"] = accuracy_in_words(trials, run.outputs, dt=dt)
    return RecurrentSystem(
        name=name,
        units=named(units, layer.rnn.hidden_size, "units", "unit"),
        projection=_projection(weights["w_in"], columns, type(model)),
        activity=activity,
        model=model,
        provenance=Provenance(
            citation=citation,
            license=license,
            species=SPECIES,
            notes=own_notes(words, notes),
            packages=("fctoolbox-ctrnn", "torch"),
        ),
    )


def _recurrent_layer(module: torch.nn.Module) -> _Layer:
    if not isinstance(module, torch.nn.Module):
        raise InputError(f"from_torch takes a torch.nn.Module, not {type(module).__name__}; for arrays: from_weights")
    layers = [_Layer(name, each) for name, each in module.named_modules() if isinstance(each, torch.nn.RNNBase)]
    if not layers:
        cells = [name for name, each in module.named_modules() if isinstance(each, torch.nn.RNNCellBase)]
        hint = (
            f"its {listed(map(repr, cells))} is a single cell, whose loop stands in your code: from_weights takes its "
            "weights"
            if cells
            else "it needs a torch.nn.RNN, GRU or LSTM; from_weights takes the weights of any other"
        )
        raise InputError(f"{type(module).__name__} is a torch model without recurrent weights that can be read: {hint}")
    if len(layers) > 1:
        raise InputError(
            f"{type(module).__name__} holds {len(layers)} recurrent layers ({listed(each.name for each in layers)}); "
            "hand over one of them, with what it receives as inputs"
        )
    (layer,) = layers
    rnn, kind = layer.rnn, type(layer.rnn).__name__
    for what, n in (("layers", rnn.num_layers), ("directions", 1 + rnn.bidirectional)):
        if n > 1:
            raise InputError(f"this {kind} has {n} {what}; from_torch reads one layer in one direction")
    if rnn.proj_size:
        raise InputError(f"this {kind} projects its state to {rnn.proj_size} values (proj_size), which are no units")
    if rnn.mode not in ("RNN_TANH", "RNN_RELU", *_GATED):
        raise InputError(f"this {kind} is of an unknown kind ({rnn.mode}); from_torch reads RNN, GRU and LSTM")
    return layer


def _weights(layer: _Layer) -> dict[str, Floats]:
    names = {"w_in": "weight_ih_l0", "w_rec": "weight_hh_l0", "b_in": "bias_ih_l0", "b_rec": "bias_hh_l0"}
    n_rows = len(_parameter(layer, "weight_ih_l0"))
    weights = {}
    for name, in_torch in names.items():
        tensor = getattr(layer.rnn, in_torch, None)  # there are no biases with bias=False
        weights[name] = np.zeros(n_rows) if tensor is None else _array(tensor)
        if not np.isfinite(weights[name]).all():
            raise InputError(f"{in_torch} has values that are not finite (NaN or infinity): did the training diverge?")
    return weights


def _prepared(
    inputs: Any, trials: "Trials | None", layer: _Layer, n_steps: int, rng: int | np.random.Generator | None
) -> torch.Tensor:
    """What to run the module on, in the layer's own order of axes."""
    weight = _parameter(layer, "weight_hh_l0")
    if isinstance(inputs, torch.Tensor) and trials is None and layer.name:
        tensor = inputs.detach().to(weight.device)
        if tensor.ndim < 2:
            shape = tuple(tensor.shape)
            raise InputError(f"inputs have shape {shape}; they must be (n_times, n_trials, …), time first")
    else:
        if isinstance(inputs, torch.Tensor):
            inputs = _array(inputs)
        # What a module with layers before the recurrent one receives, only the module knows.
        n_inputs = layer.rnn.input_size if not layer.name or trials is inputs is None else _n_inputs(inputs, trials)
        given, _ = presented(inputs, trials, n_inputs=n_inputs, n_steps=n_steps, rng=rng)
        tensor = torch.from_numpy(given).to(weight.device, weight.dtype)
    return tensor.transpose(0, 1) if layer.rnn.batch_first else tensor


def _n_inputs(inputs: ArrayLike | None, trials: "Trials | None") -> int:
    shape = np.shape(inputs if trials is None else trials.inputs)  # type: ignore[arg-type]
    return int(shape[-1]) if shape else 0


def _run(module: torch.nn.Module, layer: _Layer, tensor: torch.Tensor) -> _Run:
    seen: list[tuple[Any, Any]] = []
    hook = layer.rnn.register_forward_hook(lambda _, given, result: seen.append((given[0], result[0])))
    try:
        with torch.no_grad(), _evaluating(module):
            answer = module(tensor)
    except (RuntimeError, ValueError, TypeError, IndexError) as error:
        where = f"; its recurrent layer '{layer.name}' can be handed over alone" if layer.name else ""
        raise InputError(
            f"{type(module).__name__} cannot be run on inputs of shape {tuple(tensor.shape)} and type {tensor.dtype}"
            f"{where}. It says: {error}"
        ) from error
    finally:
        hook.remove()
    if len(seen) != 1 or not all(isinstance(each, torch.Tensor) and each.ndim == 3 for each in seen[0]):
        raise InputError(
            f"{type(module).__name__} does not run its recurrent layer '{layer.name}' once over all time steps of all "
            f"trials (it was called {len(seen)} times); hand over that layer, with what it receives as inputs"
        )
    given, states = seen[0]
    # A layer alone answers with its states, which are no outputs.
    answer = answer[0] if isinstance(answer, tuple | list) and answer else answer
    is_output = layer.name and isinstance(answer, torch.Tensor) and answer.ndim == 3
    outputs = answer if is_output and answer.shape[:2] == states.shape[:2] else None
    return _Run(*(None if each is None else _time_first(each, layer) for each in (given, states, outputs)))  # type: ignore[arg-type]


def _time_first(tensor: torch.Tensor, layer: _Layer) -> Floats:
    array = _array(tensor)
    return array.swapaxes(0, 1) if layer.rnn.batch_first else array


@contextmanager
def _evaluating(module: torch.nn.Module) -> Iterator[None]:
    """Without dropout; afterwards each part of the module is in the mode in which it was."""
    before = {each: each.training for each in module.modules()}
    module.eval()
    try:
        yield
    finally:
        for each, training in before.items():
            each.training = training


def _readout(module: torch.nn.Module, run: _Run) -> tuple[Floats, Floats] | None:
    """The weights from the states to the module's outputs, if these are what a linear layer makes of them."""
    n_units = run.states.shape[-1]
    linear = [each for each in module.modules() if isinstance(each, torch.nn.Linear) and each.in_features == n_units]
    if run.outputs is None or not np.isfinite(run.outputs).all():
        return None
    for each in linear:
        w_out = _array(each.weight)
        b_out = np.zeros(len(w_out)) if each.bias is None else _array(each.bias)
        if len(w_out) == run.outputs.shape[-1]:
            apart = np.abs(run.states @ w_out.T + b_out - run.outputs).max()
            if apart <= _CLOSE * max(1.0, float(np.abs(run.outputs).max())):
                return w_out, b_out
    return None


def _model(layer: _Layer, weights: dict[str, Floats], readout: tuple[Floats, Floats] | None) -> Model:
    gated = _GATED.get(layer.rnn.mode)
    w_out, b_out = readout or (None, None)
    if gated is not None:
        return gated(w_out=w_out, b_out=b_out, **weights)  # type: ignore[arg-type]
    n_units = layer.rnn.hidden_size
    return CTRNN(
        **weights,  # type: ignore[arg-type]
        w_out=np.zeros((0, n_units)) if w_out is None else w_out,
        b_out=np.zeros(0) if b_out is None else b_out,
        alpha=1.0,
        nonlinearity=layer.rnn.mode.partition("_")[2].lower(),
    )


def _projection(w_in: Floats, columns: tuple[str, ...], kind: type) -> InputProjection:
    if not issubclass(kind, Gated):
        return InputProjection(w_in, columns)
    beside = np.hstack(np.split(w_in, len(kind.gates)))
    return InputProjection(beside, tuple(f"{gate}: {column}" for gate in kind.gates for column in columns))


def _columns_of(trials: "Trials", columns: tuple[str, ...]) -> tuple[str, ...]:
    """What the trials' inputs are, which may be other than those of the recurrent layer behind an encoder."""
    n_inputs = trials.inputs.shape[-1]
    return columns if len(columns) == n_inputs else tuple(f"input-{j}" for j in range(n_inputs))


def _words(run: _Run, inputs: object, trials: "Trials | None") -> str:
    n_times, n_trials = run.states.shape[:2]
    if trials is None and inputs is None:
        return f"white Gaussian noise of standard deviation 1, {n_times:,} time steps"
    return f"given {'inputs' if trials is None else 'trials'}: {n_trials:,} of {n_times:,} time steps"


def _network_in_words(module: torch.nn.Module, layer: _Layer, readout: object) -> str:
    rnn = layer.rnn
    within = f" '{layer.name}' of {type(module).__name__}" if layer.name else ""
    kind = f"{len(_GATED[rnn.mode].gates)} gates" if rnn.mode in _GATED else str(rnn.nonlinearity)
    known = "a linear readout" if readout else "no linear readout was found"
    return f"torch.nn.{type(rnn).__name__}{within} ({kind}); {known}"


def _parameter(layer: _Layer, name: str) -> torch.Tensor:
    parameter: torch.Tensor = getattr(layer.rnn, name)
    return parameter


def _array(tensor: torch.Tensor) -> Floats:
    array: Floats = tensor.detach().cpu().numpy().astype(np.float64)
    return array
