"""A continuous-time recurrent network that can be stepped, read out and lesioned: numpy only."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fctoolbox.errors import InputError

Floats = NDArray[np.floating[Any]]

_SHAPES = {
    "w_in": ("n_units", "n_inputs"),
    "b_in": ("n_units",),
    "w_rec": ("n_units", "n_units"),
    "b_rec": ("n_units",),
    "w_out": ("n_outputs", "n_units"),
    "b_out": ("n_outputs",),
}
PARAMETERS = tuple(_SHAPES)


@dataclass(frozen=True, eq=False)
class CTRNN:
    """A continuous-time recurrent network of rectified units with a linear readout.

    ``h' = relu((1 - alpha) h + alpha (W_in x + b_in + W_rec h + b_rec))`` and ``y = W_out h + b_out``: one
    Euler step of length dt, with ``alpha = dt / tau`` (Yang & Wang 2020, doi:10.1016/j.neuron.2020.09.005).

    Parameters
    ----------
    w_in : (n_units, n_inputs) array
    b_in : (n_units,) array
    w_rec : (n_units, n_units) array
        ``w_rec[i, j]`` is from unit j to unit i.
    b_rec : (n_units,) array
    w_out : (n_outputs, n_units) array
    b_out : (n_outputs,) array
    alpha : float
        In (0, 1].
    silent : tuple of int
        Lesioned units: their state is 0 after every step.

    Raises
    ------
    InputError
        If shapes disagree, a value is not finite or alpha is outside (0, 1].
    """

    w_in: Floats
    b_in: Floats
    w_rec: Floats
    b_rec: Floats
    w_out: Floats
    b_out: Floats
    alpha: float
    silent: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if not 0 < self.alpha <= 1:
            raise InputError(f"alpha (dt / tau) is {self.alpha:g}; it must lie in (0, 1]")
        sizes: dict[str, int] = {}
        for name, dimensions in _SHAPES.items():
            array = np.array(getattr(self, name), dtype=np.float64)
            expected = tuple(sizes.setdefault(d, n) for d, n in zip(dimensions, array.shape, strict=False))
            if array.ndim != len(dimensions) or array.shape != expected:
                shape = ", ".join(f"{d} = {sizes[d]}" for d in dimensions)
                raise InputError(f"{name} has shape {array.shape}, but it must be ({shape})")
            if not np.isfinite(array).all():
                raise InputError(f"{name} has values that are not finite (NaN or infinity)")
            array.flags.writeable = False
            object.__setattr__(self, name, array)

    @property
    def n_units(self) -> int:
        """How many units there are."""
        return self.w_rec.shape[0]

    @property
    def parameters(self) -> dict[str, Floats]:
        """What training changes: weights and biases by name."""
        return {name: getattr(self, name) for name in PARAMETERS}

    def step(self, state: ArrayLike, inputs: ArrayLike) -> Floats:
        """The next state.

        Parameters
        ----------
        state : (…, n_units) array
        inputs : (…, n_inputs) array
            All of the task's inputs, fixation included.

        Returns
        -------
        (…, n_units) array
        """
        state = np.asarray(state)
        drive = np.asarray(inputs) @ self.w_in.T + self.b_in + state @ self.w_rec.T + self.b_rec
        following = np.maximum((1 - self.alpha) * state + self.alpha * drive, 0)
        following[..., list(self.silent)] = 0
        return following

    def readout(self, state: ArrayLike) -> Floats:
        """The outputs (…, n_outputs) before any softmax, of a state (…, n_units)."""
        outputs: Floats = np.asarray(state) @ self.w_out.T + self.b_out
        return outputs

    def run(self, inputs: ArrayLike, state: ArrayLike | None = None) -> Floats:
        """The states after each time step.

        Parameters
        ----------
        inputs : (n_times, …, n_inputs) array
        state : (…, n_units) array, optional
            Before the first step; zero when left out.

        Returns
        -------
        (n_times, …, n_units) array
        """
        inputs = np.asarray(inputs, dtype=np.float64)
        following = np.zeros((*inputs.shape[1:-1], self.n_units)) if state is None else np.asarray(state)
        states = np.empty((*inputs.shape[:-1], self.n_units))
        for k, now in enumerate(inputs):
            states[k] = following = self.step(following, now)
        return states

    def lesion(self, units: Sequence[int]) -> "CTRNN":
        """Another network, in which `units` are silent: no input, no recurrence, no output.

        Raises
        ------
        InputError
            If there is no such unit.
        """
        index = np.asarray(units, dtype=np.intp) if len(units) == 0 else np.asarray(units)
        if index.dtype.kind not in "iu":
            raise InputError(f"lesion takes numbers of units, 0 … {self.n_units - 1}, not {index.dtype.name}")
        silenced = sorted({*self.silent, *index.tolist()})
        unknown = [unit for unit in silenced if not 0 <= unit < self.n_units]
        if unknown:
            raise InputError(f"there is no unit {unknown[0]} to lesion; units are 0 … {self.n_units - 1}")
        lesioned: dict[str, Any] = {name: array.copy() for name, array in self.parameters.items()}
        for name in ("w_in", "b_in", "w_rec", "b_rec"):
            lesioned[name][silenced] = 0
        for name in ("w_rec", "w_out"):
            lesioned[name][:, silenced] = 0
        return replace(self, silent=tuple(silenced), **lesioned)


def initial_network(n_units: int, n_inputs: int, n_outputs: int, *, alpha: float, rng: np.random.Generator) -> CTRNN:
    """A network before training, as PyTorch's linear layers start: uniform in ±1 / sqrt(number of senders).

    Values are rounded to float32, in which training goes on.

    Parameters
    ----------
    n_units, n_inputs, n_outputs : int
    alpha : float
        dt / tau.
    rng : numpy.random.Generator

    Returns
    -------
    CTRNN
    """

    def uniform(n_senders: int, *shape: int) -> Floats:
        bound = 1 / np.sqrt(n_senders)
        return rng.uniform(-bound, bound, shape).astype(np.float32)

    return CTRNN(
        w_in=uniform(n_inputs, n_units, n_inputs),
        b_in=uniform(n_inputs, n_units),
        w_rec=uniform(n_units, n_units, n_units),
        b_rec=uniform(n_units, n_units),
        w_out=uniform(n_units, n_outputs, n_units),
        b_out=uniform(n_units, n_outputs),
        alpha=alpha,
    )
