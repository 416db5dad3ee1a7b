"""A continuous-time recurrent network that can be stepped, read out and lesioned: numpy only."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fctoolbox.errors import InputError, suggestion

Floats = NDArray[np.floating[Any]]

RULES = ("inside", "outside")
STARTS = ("uniform", "orthogonal")  # of recurrent weights
NONLINEARITIES: dict[str, Callable[[Any], Any]] = {
    "relu": lambda drive: np.maximum(drive, 0),
    "tanh": np.tanh,
    "softplus": lambda drive: np.logaddexp(0, drive),
}

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
    """A continuous-time recurrent network with a linear readout, in Euler steps of length dt.

    With ``alpha = dt / tau`` and the drive ``d = W_in x + b_in + W_rec h + b_rec``, two rules are in use; they agree
    at alpha = 1:

    * ``"inside"``, ``h' = f((1 - alpha) h + alpha d)``: the leak is inside the nonlinearity, as in nn-brain's code
      (Yang & Wang 2020, doi:10.1016/j.neuron.2020.09.005). A unit is a potential that cannot leave f's range.
    * ``"outside"``, ``h' = (1 - alpha) h + alpha f(d)``, as in the equations of that paper and of most others. A unit
      is a rate that follows f of its drive.

    The outputs are ``W_out h + b_out``.

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
    rule : {"inside", "outside"}
    nonlinearity : {"relu", "tanh", "softplus"}
        f; softplus is log(1 + exp(d)).
    noise : float
        Standard deviation of the Gaussian noise that is added to each unit's drive at each time step, under both
        rules. The sigma_rec of Yang et al. 2019 (doi:10.1038/s41593-018-0310-2) is ``noise sqrt(alpha / 2)``.
    sign : (n_units,) array of ±1, optional
        Dale's law: the sign of all that a unit sends to other units (its outputs are free).
    mask : (n_units, n_units) array of bool, optional
        Where there is a connection, ``mask[i, j]`` from unit j to unit i; all else is 0 and stays 0 in training.

    Raises
    ------
    InputError
        If shapes disagree, a value is not finite, alpha is outside (0, 1], rule or nonlinearity are unknown, noise is
        negative, or w_rec breaks the sign or the mask.
    """

    w_in: Floats
    b_in: Floats
    w_rec: Floats
    b_rec: Floats
    w_out: Floats
    b_out: Floats
    alpha: float
    silent: tuple[int, ...] = ()
    rule: str = "inside"
    nonlinearity: str = "relu"
    noise: float = 0.0
    sign: NDArray[Any] | None = None
    mask: NDArray[Any] | None = None

    def __post_init__(self) -> None:
        if not 0 < self.alpha <= 1:
            raise InputError(f"alpha (dt / tau) is {self.alpha:g}; it must lie in (0, 1]")
        check_dynamics(self.rule, self.nonlinearity, self.noise)
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
        object.__setattr__(self, "sign", checked_sign(self.sign, self.n_units))
        object.__setattr__(self, "mask", checked_mask(self.mask, self.n_units))
        self._check_constraints()

    def _check_constraints(self) -> None:
        broken = np.zeros(self.w_rec.shape, dtype=bool)
        if self.sign is not None:
            broken |= self.w_rec * self.sign < 0
        if self.mask is not None:
            broken |= ~self.mask & (self.w_rec != 0)
        if broken.any():
            receiver, sender = np.argwhere(broken)[0].tolist()
            law = "mask" if self.mask is not None and not self.mask[receiver, sender] else "sign"
            raise InputError(
                f"w_rec[{receiver}, {sender}], from unit {sender} to unit {receiver}, is "
                f"{self.w_rec[receiver, sender]:g}, which {law} forbids; constrained(w_rec, sign, mask) makes it fit"
            )

    @property
    def n_units(self) -> int:
        """How many units there are."""
        return self.w_rec.shape[0]

    @property
    def parameters(self) -> dict[str, Floats]:
        """What training changes: weights and biases by name."""
        return {name: getattr(self, name) for name in PARAMETERS}

    def step(self, state: ArrayLike, inputs: ArrayLike) -> Floats:
        """The next state, without noise.

        Parameters
        ----------
        state : (…, n_units) array
        inputs : (…, n_inputs) array
            All of the task's inputs, fixation included.

        Returns
        -------
        (…, n_units) array
        """
        return self._follow(np.asarray(state), self.input_drive(inputs))

    def input_drive(self, inputs: ArrayLike) -> Floats:
        """What inputs (…, n_inputs) deliver to each unit, before recurrence: ``W_in x + b_in``, (…, n_units)."""
        drive: Floats = np.asarray(inputs) @ self.w_in.T + self.b_in
        return drive

    def _follow(self, state: Floats, external: Floats) -> Floats:
        drive = external + state @ self.w_rec.T + self.b_rec
        activate, alpha = NONLINEARITIES[self.nonlinearity], self.alpha
        if self.rule == "inside":
            following = activate((1 - alpha) * state + alpha * drive)
        else:
            following = (1 - alpha) * state + alpha * activate(drive)
        following[..., list(self.silent)] = 0
        return np.asarray(following)

    @property
    def output_weights(self) -> Floats:
        """``W_out``, (n_outputs, n_units)."""
        return self.w_out

    @property
    def output_bias(self) -> Floats:
        """``b_out``, (n_outputs,)."""
        return self.b_out

    def readout(self, state: ArrayLike) -> Floats:
        """The outputs (…, n_outputs) before any softmax, of a state (…, n_units)."""
        outputs: Floats = np.asarray(state) @ self.w_out.T + self.b_out
        return outputs

    def run(
        self, inputs: ArrayLike, state: ArrayLike | None = None, *, rng: int | np.random.Generator | None = None
    ) -> Floats:
        """The states after each time step.

        Parameters
        ----------
        inputs : (n_times, …, n_inputs) array
        state : (…, n_units) array, optional
            Before the first step; zero when left out.
        rng : int or numpy.random.Generator, optional
            Of the noise in the drive; without it the network runs as if its noise were 0.

        Returns
        -------
        (n_times, …, n_units) array
        """
        inputs = np.asarray(inputs, dtype=np.float64)
        following = np.zeros((*inputs.shape[1:-1], self.n_units)) if state is None else np.asarray(state)
        states = np.empty((*inputs.shape[:-1], self.n_units))
        noisy = np.random.default_rng(rng) if rng is not None and self.noise else None
        for k, now in enumerate(inputs):
            drive = self.input_drive(now)
            if noisy is not None:
                drive = drive + self.noise * noisy.standard_normal(drive.shape)
            states[k] = following = self._follow(following, drive)
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


def check_dynamics(rule: str, nonlinearity: str, noise: float) -> None:
    """Refuse a rule or a nonlinearity that there is not, or noise that is no size.

    Raises
    ------
    InputError
    """
    for what, value, known in (("rule", rule, RULES), ("nonlinearity", nonlinearity, tuple(NONLINEARITIES))):
        if value not in known:
            raise InputError(f"{what} is {value!r}; it must be {' or '.join(repr(each) for each in known)}")
    if not (np.isfinite(noise) and noise >= 0):
        raise InputError(f"noise is {noise!r}; it must be a standard deviation, finite and not negative")


def checked_sign(sign: ArrayLike | None, n_units: int) -> NDArray[np.int8] | None:
    """Signs of senders as (n_units,) array of ±1 that nobody can change, or None.

    Raises
    ------
    InputError
    """
    if sign is None:
        return None
    array = np.array(sign)
    if array.shape != (n_units,) or not np.isin(array, (-1, 1)).all():
        raise InputError(f"sign has shape {array.shape}; it must hold +1 or -1 for each of the {n_units} units")
    return _frozen(array.astype(np.int8))


def checked_mask(mask: ArrayLike | None, n_units: int) -> NDArray[np.bool_] | None:
    """Connections that exist as (n_units, n_units) array of bool that nobody can change, or None.

    Raises
    ------
    InputError
    """
    if mask is None:
        return None
    array = np.array(mask)
    if array.shape != (n_units, n_units) or not np.isin(array, (0, 1)).all():
        raise InputError(
            f"mask has shape {array.shape}; it must be true (or 1) or false (or 0) for each of the {n_units} × "
            f"{n_units} connections, mask[i, j] from unit j to unit i"
        )
    return _frozen(array.astype(bool))


def _frozen(array: NDArray[Any]) -> NDArray[Any]:
    array.flags.writeable = False
    return array


def constrained(w_rec: Floats, sign: NDArray[Any] | None, mask: NDArray[Any] | None) -> Floats:
    """The recurrent weights (n_units, n_units) that keep Dale's law and the mask: ``mask · |W| · sign(sender)``."""
    if sign is not None:
        w_rec = np.abs(w_rec) * sign.astype(w_rec.dtype)
    return w_rec if mask is None else np.where(mask, w_rec, w_rec.dtype.type(0))


def initial_network(
    n_units: int,
    n_inputs: int,
    n_outputs: int,
    *,
    alpha: float,
    rng: np.random.Generator,
    rule: str = "inside",
    nonlinearity: str = "relu",
    noise: float = 0.0,
    sign: ArrayLike | None = None,
    mask: ArrayLike | None = None,
    start: str = "uniform",
    given: Mapping[str, ArrayLike] | None = None,
) -> CTRNN:
    """A network before training, as PyTorch's linear layers start: uniform in ±1 / sqrt(number of senders).

    Recurrent weights can start as a random orthogonal matrix instead (one of the starts in the code of Yang et al.
    2019, there of half the size): activity, and with it the gradient, neither grows nor fades from step to step, so
    that what lies a second back can be learned from. Under Dale's law there is no such matrix.

    Values are rounded to float32, in which training goes on. Under Dale's law the weights of the rarer sign are
    multiplied so that excitation and inhibition balance on average (Song et al. 2016,
    doi:10.1371/journal.pcbi.1004792): activity would explode otherwise.

    Parameters
    ----------
    n_units, n_inputs, n_outputs : int
    alpha : float
        dt / tau.
    rng : numpy.random.Generator
    rule, nonlinearity, noise, sign, mask
        See `CTRNN`.
    start : {"uniform", "orthogonal"}
        Of the recurrent weights.
    given : mapping of str to array, optional
        Weights and biases to start from instead, by their names in `CTRNN`.

    Returns
    -------
    CTRNN

    Raises
    ------
    InputError
        If what is given has another name or shape than the network's, or breaks the sign or the mask; or there is no
        such start.
    """

    def uniform(n_senders: int, *shape: int) -> Floats:
        bound = 1 / np.sqrt(n_senders)
        return rng.uniform(-bound, bound, shape).astype(np.float32)

    signs, connections = checked_sign(sign, n_units), checked_mask(mask, n_units)
    drawn: dict[str, Any] = {
        "w_in": uniform(n_inputs, n_units, n_inputs),
        "b_in": uniform(n_inputs, n_units),
        "w_rec": uniform(n_units, n_units, n_units),
        "b_rec": uniform(n_units, n_units),
        "w_out": uniform(n_units, n_outputs, n_units),
        "b_out": uniform(n_units, n_outputs),
    }
    check_start(start, signs)
    if start == "orthogonal":
        # Drawn last: the other weights are those of the other start.
        q, r = np.linalg.qr(rng.standard_normal((n_units, n_units)))
        drawn["w_rec"] = (q * np.sign(np.diag(r))).astype(np.float32)
    drawn["w_rec"] = constrained(drawn["w_rec"] * _balance(signs), signs, connections)
    sizes = {"n_units": n_units, "n_inputs": n_inputs, "n_outputs": n_outputs}
    for name, value in (given or {}).items():
        if name not in _SHAPES:
            raise InputError(f"there are no weights named {name!r}.{suggestion(name, _SHAPES)} {', '.join(_SHAPES)}")
        array, shape = np.array(value, dtype=np.float32), tuple(sizes[d] for d in _SHAPES[name])
        if array.shape != shape:
            words = ", ".join(f"{d} = {n}" for d, n in zip(_SHAPES[name], shape, strict=True))
            raise InputError(f"the given {name} has shape {array.shape}, but the network and its task want ({words})")
        drawn[name] = array
    return CTRNN(**drawn, alpha=alpha, rule=rule, nonlinearity=nonlinearity, noise=noise, sign=signs, mask=connections)


def check_start(start: str, sign: NDArray[Any] | None) -> None:
    """Refuse a start of the recurrent weights that does not exist, or not under Dale's law.

    Raises
    ------
    InputError
    """
    if start not in STARTS:
        raise InputError(f"start is {start!r}; it must be {' or '.join(map(repr, STARTS))}")
    if start == "orthogonal" and sign is not None:
        raise InputError("start is 'orthogonal', which no matrix is whose units only excite or only inhibit: 'uniform'")


def _balance(sign: NDArray[Any] | None) -> Floats:
    """(n_units,) factors of the senders' weights: as much inhibition as excitation."""
    if sign is None or abs(int(sign.sum())) == len(sign):
        return np.ones(1, dtype=np.float32)
    n_positive = int((sign > 0).sum())
    share = n_positive / (len(sign) - n_positive)
    factors = np.where(sign > 0, max(1.0, 1 / share), max(1.0, share))
    return factors.astype(np.float32)
