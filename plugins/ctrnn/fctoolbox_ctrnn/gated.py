"""Gated networks, GRU and LSTM, that can be stepped, read out and lesioned: numpy only.

The equations are PyTorch's, so that its weights fit (their sources: Cho et al. 2014, arXiv:1406.1078; Hochreiter &
Schmidhuber 1997, doi:10.1162/neco.1997.9.8.1735).
"""

import operator
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fctoolbox.errors import InputError

Floats = NDArray[np.floating[Any]]


@dataclass(frozen=True, eq=False)
class Gated(ABC):
    """A recurrent network with gates, and a linear readout of its units.

    Parameters
    ----------
    w_in : (n_gates · n_units, n_inputs) array
        The gates one below the other, in the order of `gates`.
    b_in : (n_gates · n_units,) array
    w_rec : (n_gates · n_units, n_units) array
    b_rec : (n_gates · n_units,) array
    w_out : (n_outputs, n_units) array, optional
    b_out : (n_outputs,) array, optional
    silent : tuple of int
        Lesioned units: their state is 0 after every step.
    """

    w_in: Floats
    b_in: Floats
    w_rec: Floats
    b_rec: Floats
    w_out: Floats | None = None
    b_out: Floats | None = None
    silent: tuple[int, ...] = ()

    gates: ClassVar[tuple[str, ...]]
    candidate: ClassVar[str]  # what becomes part of the state; the other gates say how much of it

    def __post_init__(self) -> None:
        n_units = np.shape(self.w_rec)[-1]
        n_rows, n_inputs = len(self.gates) * n_units, np.shape(self.w_in)[-1]
        n_outputs = 0 if self.w_out is None else len(self.w_out)
        shapes = {
            "w_in": (n_rows, n_inputs),
            "b_in": (n_rows,),
            "w_rec": (n_rows, n_units),
            "b_rec": (n_rows,),
            "w_out": (n_outputs, n_units),
            "b_out": (n_outputs,),
        }
        for name, shape in shapes.items():
            if getattr(self, name) is None:
                continue
            array = np.array(getattr(self, name), dtype=np.float64)
            if array.shape != shape or not np.isfinite(array).all():
                raise InputError(
                    f"{name} has shape {array.shape}; it must be {shape}, {len(self.gates)} gates of {n_units} units, "
                    "and finite"
                )
            array.flags.writeable = False
            object.__setattr__(self, name, array)

    @property
    def n_units(self) -> int:
        """How many units there are."""
        return self.w_rec.shape[1]

    @property
    @abstractmethod
    def n_states(self) -> int:
        """How many numbers the state of the network has."""

    @abstractmethod
    def step(self, state: ArrayLike, inputs: ArrayLike) -> Floats:
        """The next state (…, n_states) from a state and inputs (…, n_inputs)."""

    @property
    def output_weights(self) -> Floats | None:
        """``W_out``, (n_outputs, n_units); None without a readout."""
        return self.w_out

    @property
    def output_bias(self) -> Floats | None:
        """``b_out``, (n_outputs,); None without a readout."""
        return self.b_out

    def readout(self, state: ArrayLike) -> Floats:
        """The outputs (…, n_outputs) of a state (…, n_states).

        Raises
        ------
        InputError
            If the network has no readout.
        """
        if self.w_out is None or self.b_out is None:
            raise InputError("this network has no linear readout of its units")
        outputs: Floats = np.asarray(state)[..., : self.n_units] @ self.w_out.T + self.b_out
        return outputs

    def input_drive(self, inputs: ArrayLike) -> Floats:
        """What inputs (…, n_inputs) deliver to each unit's candidate state, before gates and recurrence."""
        k = self.gates.index(self.candidate)
        rows = slice(k * self.n_units, (k + 1) * self.n_units)
        drive: Floats = np.asarray(inputs) @ self.w_in[rows].T + self.b_in[rows]
        return drive

    def run(self, inputs: ArrayLike) -> Floats:
        """The states of the units (n_times, …, n_units) on inputs (n_times, …, n_inputs), from 0."""
        inputs = np.asarray(inputs, dtype=np.float64)
        state: Floats = np.zeros((*inputs.shape[1:-1], self.n_states))
        states = np.empty((*inputs.shape[:-1], self.n_units))
        for k, now in enumerate(inputs):
            state = self.step(state, now)
            states[k] = state[..., : self.n_units]
        return states

    def lesion(self, units: Sequence[int]) -> "Gated":
        """Another network, in which `units` are silent.

        Raises
        ------
        InputError
            If there is no such unit.
        """
        silent = sorted({*self.silent, *(operator.index(unit) for unit in units)})
        if unknown := [unit for unit in silent if not 0 <= unit < self.n_units]:
            raise InputError(f"there is no unit {unknown[0]} to lesion; units are 0 … {self.n_units - 1}")
        return replace(self, silent=tuple(silent))

    def _drives(self, state: Floats, inputs: ArrayLike) -> tuple[list[Floats], list[Floats]]:
        """What inputs and what recurrence deliver to each gate."""
        given = np.asarray(inputs) @ self.w_in.T + self.b_in
        recurrent = state @ self.w_rec.T + self.b_rec
        n = len(self.gates)
        return np.split(given, n, axis=-1), np.split(recurrent, n, axis=-1)


class GRU(Gated):
    """``h' = (1 - z) n + z h`` with ``n = tanh(W x + b + r (W h + b))`` and the gates r and z."""

    gates: ClassVar[tuple[str, ...]] = ("reset", "update", "new")
    candidate: ClassVar[str] = "new"

    @property
    def n_states(self) -> int:
        """One per unit."""
        return self.n_units

    def step(self, state: ArrayLike, inputs: ArrayLike) -> Floats:
        """The next state (…, n_units) from a state (…, n_units) and inputs (…, n_inputs)."""
        state = np.asarray(state)
        given, recurrent = self._drives(state, inputs)
        reset, update = (_sigmoid(given[k] + recurrent[k]) for k in (0, 1))
        following: Floats = (1 - update) * np.tanh(given[2] + reset * recurrent[2]) + update * state
        following[..., list(self.silent)] = 0
        return following


class LSTM(Gated):
    """``c' = f c + i g`` and ``h' = o tanh(c')`` with the gates i, f and o; h is the activity of the units."""

    gates: ClassVar[tuple[str, ...]] = ("input", "forget", "cell", "output")
    candidate: ClassVar[str] = "cell"

    @property
    def n_states(self) -> int:
        """Two per unit: h of all units, then c of all."""
        return 2 * self.n_units

    def step(self, state: ArrayLike, inputs: ArrayLike) -> Floats:
        """The next state (…, 2 n_units), h and then c of all units, from such a state and inputs (…, n_inputs).

        Raises
        ------
        InputError
            If the state lacks c.
        """
        state = np.asarray(state)
        if state.shape[-1] != self.n_states:
            raise InputError(
                f"the state of an LSTM of {self.n_units} units is its activity and its cells, (…, {self.n_states}), "
                f"not {state.shape}; run(inputs) starts them both at 0"
            )
        h, c = np.split(state, 2, axis=-1)
        given, recurrent = self._drives(h, inputs)
        admit, forget, cell, show = (one + other for one, other in zip(given, recurrent, strict=True))
        following = _sigmoid(forget) * c + _sigmoid(admit) * np.tanh(cell)
        both: Floats = np.concatenate([_sigmoid(show) * np.tanh(following), following], axis=-1)
        both[..., [unit + part for unit in self.silent for part in (0, self.n_units)]] = 0
        return both


def _sigmoid(values: Floats) -> Floats:
    # By tanh: exp(-x) would overflow.
    gate: Floats = 0.5 * (1 + np.tanh(values / 2))
    return gate
