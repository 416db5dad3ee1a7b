"""The recurrence of many networks over time, forwards and backwards: two operations per time step, all in place.

Automatic differentiation would keep a fresh tensor for each operation of each time step. Here the states of all time
steps lie in one buffer that is overwritten in every training step, gradients are written by hand, and the networks of
a stack share each operation: for 20 networks of 100 units several times faster than one network at a time.

Stacked weights are transposed, (n_networks, n_senders, n_receivers), and stacked biases are (n_networks, 1, n).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.autograd.function import once_differentiable

from fctoolbox_ctrnn.network import check_dynamics
from fctoolbox_ctrnn.trials import ENDED

Tensors = dict[str, torch.Tensor]


@dataclass(frozen=True)
class Dynamics:
    """How states follow one another; see `CTRNN` for the two rules.

    Parameters
    ----------
    alpha : float
        dt / tau.
    rule : {"inside", "outside"}
    nonlinearity : {"relu", "tanh", "softplus"}

    Raises
    ------
    InputError
        If rule or nonlinearity are unknown.
    """

    alpha: float
    rule: str = "inside"
    nonlinearity: str = "relu"

    def __post_init__(self) -> None:
        check_dynamics(self.rule, self.nonlinearity, 0.0)

    @property
    def inside(self) -> bool:
        """Whether the leak is inside the nonlinearity."""
        return self.rule == "inside"

    @property
    def gain(self) -> float:
        """What the drive is multiplied by before the nonlinearity."""
        return self.alpha if self.inside else 1.0

    def onto_itself(self, w_rec: torch.Tensor, out: torch.Tensor) -> torch.Tensor:
        """What the last state is multiplied by before the nonlinearity, from stacked recurrent weights."""
        # Inside, leak and recurrence act on the same state, so they are one matrix: half the operations of a step.
        torch.mul(w_rec, self.gain, out=out)
        if self.inside:
            out.diagonal(dim1=1, dim2=2).add_(1 - self.alpha)
        return out

    def activate_(self, drive: torch.Tensor) -> None:
        """f(drive), in its place."""
        if self.nonlinearity == "relu":
            drive.clamp_min_(0)
        elif self.nonlinearity == "tanh":
            drive.tanh_()
        else:
            torch.ops.aten.softplus.out(drive, 1, 20, out=drive)

    def differentiate_(self, gradient: torch.Tensor, activated: torch.Tensor) -> None:
        """The gradient before f from the one after it, in its place; `activated` is f(drive)."""
        aten = torch.ops.aten
        if self.nonlinearity == "relu":
            aten.threshold_backward.grad_input(gradient, activated, 0, grad_input=gradient)
        elif self.nonlinearity == "tanh":
            aten.tanh_backward.grad_input(gradient, activated, grad_input=gradient)
        else:
            # The slope of log(1 + exp(d)) is 1 - exp(-f(d)).
            gradient.mul_(torch.expm1(-activated).neg_())


class Workspace:
    """Buffers by name, which grow when they must and are otherwise used again.

    A fresh tensor of some megabytes costs more in page faults than the arithmetic on it. What a buffer holds is
    undefined until it is written to, and lost when the same name is asked for again.

    Parameters
    ----------
    dtype : torch.dtype
    device : str
    """

    def __init__(self, dtype: torch.dtype = torch.float32, device: str = "cpu") -> None:
        self.dtype, self.device = dtype, device
        self._kept: Tensors = {}

    def buffer(self, name: str, *shape: int, dtype: torch.dtype | None = None) -> torch.Tensor:
        """A contiguous tensor of that shape."""
        size, kept = math.prod(shape), self._kept.get(name)
        if kept is None or len(kept) < size:
            kept = self._kept[name] = torch.empty(size, dtype=dtype or self.dtype, device=self.device)
        return kept[:size].view(shape)


def loss_and_gradients(
    parameters: Tensors,
    inputs: torch.Tensor,
    targets: torch.Tensor,
    dynamics: Dynamics,
    workspace: Workspace,
    *,
    noise: torch.Tensor | None = None,
    weights: torch.Tensor | None = None,
    lengths: Sequence[int] | None = None,
    values: torch.Tensor | None = None,
) -> tuple[torch.Tensor, Tensors]:
    """The cross-entropy of every time step with its target, and its gradient, for each network of a stack.

    With `values`, the squared distance of the outputs from these instead, averaged over outputs. The state starts at 0
    in each trial; all of a stack's networks see as many trials and time steps.

    Parameters
    ----------
    parameters : dict of tensor
        Stacked ``w_in``, ``b_in``, ``w_rec``, ``b_rec``, ``w_out``, ``b_out``.
    inputs : (n_networks, n_times, n_trials, n_inputs) tensor
    targets : (n_networks, n_times, n_trials) integer tensor
        -1 after a trial's end.
    dynamics : Dynamics
    workspace : Workspace
        The gradients lie in it: they are good until the next call.
    noise : (n_networks, n_times, n_trials, n_units) tensor, optional
        Added to the drive.
    weights : (n_networks, n_times, n_trials) tensor, optional
        How much each time step counts; all alike when left out.
    lengths : sequence of int, optional
        How many time steps are each network's own; what follows fills up to the longest. Sums run over these alone:
        with zeros behind them they would be rounded otherwise, and training magnifies that until the weights are
        others.
    values : (n_networks, n_times, n_trials, n_outputs) tensor, optional
        What is wanted of continuous outputs; of `targets`, only the trials' ends count then.

    Returns
    -------
    losses : (n_networks,) tensor
        Weighted mean over the time steps that are not after a trial's end.
    gradients : dict of tensor
        As `parameters`.
    """
    n_trials = inputs.shape[2]
    steps = inputs.flatten(1, 2)
    activated, states, kept = _forward(parameters, steps, noise, n_trials, dynamics, workspace)
    gradients = {name: workspace.buffer(f"gradient {name}", *each.shape) for name, each in parameters.items()}

    counting = None if weights is None else weights.flatten(1, 2)
    rows = [length * n_trials for length in lengths or [inputs.shape[1]] * len(inputs)]
    outputs, flat_targets = _readout(parameters, kept, workspace), targets.flatten(1, 2)
    if values is None:
        losses, slope = _cross_entropy(outputs, flat_targets, counting, rows)
    else:
        losses, slope = _squared_error(outputs, values.flatten(1, 2), flat_targets, counting, rows)

    flat = workspace.buffer("flat", *kept.shape)
    torch.bmm(slope, parameters["w_out"].transpose(1, 2), out=flat)
    arriving = workspace.buffer("arriving", *states.shape)
    arriving.copy_(_time_first(flat, n_trials))
    back = workspace.buffer("back", *parameters["w_rec"].shape)
    back.copy_(workspace.buffer("onto itself", *parameters["w_rec"].shape).transpose(1, 2))
    _backward_(arriving, activated, back, dynamics, workspace.buffer("carried", *states.shape[1:]))
    _time_first(flat, n_trials).copy_(arriving)

    for e, n in enumerate(rows):
        torch.mm(kept[e, :n].T, slope[e, :n], out=gradients["w_out"][e])
        torch.sum(slope[e, :n], 0, keepdim=True, out=gradients["b_out"][e])
        torch.mm(kept[e, : n - n_trials].T, flat[e, n_trials:n], out=gradients["w_rec"][e])
        torch.mm(steps[e, :n].T, flat[e, :n], out=gradients["w_in"][e])
        torch.sum(flat[e, :n], 0, keepdim=True, out=gradients["b_in"][e])
    for name in ("w_rec", "w_in", "b_in"):
        gradients[name].mul_(dynamics.gain)
    gradients["b_rec"].copy_(gradients["b_in"])
    return losses, gradients


def run_stack(
    parameters: Tensors,
    inputs: torch.Tensor,
    dynamics: Dynamics,
    workspace: Workspace,
    *,
    noise: torch.Tensor | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """What each network of a stack answers.

    Parameters
    ----------
    parameters, inputs, dynamics, workspace, noise
        As in `loss_and_gradients`.

    Returns
    -------
    outputs : (n_networks, n_times, n_trials, n_outputs) tensor
    states : (n_networks, n_times, n_trials, n_units) tensor
        Both lie in the workspace.
    """
    _, _, kept = _forward(parameters, inputs.flatten(1, 2), noise, inputs.shape[2], dynamics, workspace)
    outputs = _readout(parameters, kept, workspace)
    return outputs.view(*inputs.shape[:3], -1), kept.view(*inputs.shape[:3], -1)


def _readout(parameters: Tensors, kept: torch.Tensor, workspace: Workspace) -> torch.Tensor:
    outputs = workspace.buffer("outputs", *kept.shape[:2], parameters["w_out"].shape[2])
    return torch.baddbmm(parameters["b_out"], kept, parameters["w_out"], out=outputs)


def _forward(
    parameters: Tensors,
    steps: torch.Tensor,
    noise: torch.Tensor | None,
    n_trials: int,
    dynamics: Dynamics,
    workspace: Workspace,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """f(drive) and states, time first (n_times, n_networks, n_trials, n_units), and states network first."""
    n_networks, n_rows, n_units = *steps.shape[:2], parameters["w_rec"].shape[1]
    flat = workspace.buffer("flat", n_networks, n_rows, n_units)
    bias = (parameters["b_in"] + parameters["b_rec"]).mul_(dynamics.gain)
    torch.baddbmm(bias, steps, parameters["w_in"] * dynamics.gain, out=flat)
    if noise is not None:
        flat.add_(noise.flatten(1, 2), alpha=dynamics.gain)
    shape = (n_rows // n_trials, n_networks, n_trials, n_units)
    activated = workspace.buffer("activated", *shape)
    activated.copy_(_time_first(flat, n_trials))
    states = activated if dynamics.inside else workspace.buffer("states", *shape)
    matrix = dynamics.onto_itself(parameters["w_rec"], workspace.buffer("onto itself", *parameters["w_rec"].shape))
    _forward_(activated, states, matrix, dynamics)
    kept = workspace.buffer("kept", n_networks, n_rows, n_units)
    _time_first(kept, n_trials).copy_(states)
    return activated, states, kept


def _time_first(flat: torch.Tensor, n_trials: int) -> torch.Tensor:
    """A view (n_times, n_networks, n_trials, n) of (n_networks, n_times · n_trials, n)."""
    return flat.view(len(flat), -1, n_trials, flat.shape[2]).transpose(0, 1)


def _forward_(drive: torch.Tensor, states: torch.Tensor, matrix: torch.Tensor, dynamics: Dynamics) -> None:
    """f(drive + recurrence) in place of the drive, and the states; inside, they are the same tensor."""
    before = None
    for now, state in zip(drive.unbind(0), states.unbind(0), strict=True):
        if before is not None:
            now.baddbmm_(before, matrix)
        dynamics.activate_(now)
        if not dynamics.inside:
            if before is None:
                torch.mul(now, dynamics.alpha, out=state)
            else:
                torch.lerp(before, now, dynamics.alpha, out=state)
        before = state


def _backward_(
    gradient: torch.Tensor, activated: torch.Tensor, back: torch.Tensor, dynamics: Dynamics, carried: torch.Tensor
) -> None:
    """From the loss's gradient by each state directly to that by what f was applied to, in its place.

    `carried` is scratch of one time step's shape.
    """
    pairs = list(zip(gradient.unbind(0), activated.unbind(0), strict=True))[::-1]
    if dynamics.inside:
        later = None
        for now, value in pairs:
            if later is not None:
                now.baddbmm_(later, back)
            dynamics.differentiate_(now, value)
            later = now
        return
    carried.zero_()
    later = None
    for now, value in pairs:
        carried.mul_(1 - dynamics.alpha).add_(now)
        if later is not None:
            carried.baddbmm_(later, back)
        torch.mul(carried, dynamics.alpha, out=now)
        dynamics.differentiate_(now, value)
        later = now


def _cross_entropy(
    outputs: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor | None, rows: Sequence[int]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Weighted mean loss of each network, and its gradient by the outputs (n_networks, n, n_outputs)."""
    shares, live = torch.log_softmax(outputs, -1), _counting(outputs, targets, weights)
    right = targets.clamp_min(0).unsqueeze(-1)
    losses = -_sums(shares.gather(2, right).squeeze(-1) * live, rows)
    slope = shares.exp_()
    slope.scatter_add_(2, right, torch.full_like(slope[..., :1], -1))
    return losses, slope.mul_(live.unsqueeze(-1))


def _squared_error(
    outputs: torch.Tensor,
    values: torch.Tensor,
    targets: torch.Tensor,
    weights: torch.Tensor | None,
    rows: Sequence[int],
) -> tuple[torch.Tensor, torch.Tensor]:
    """As `_cross_entropy`, of the squared distance from values (n_networks, n, n_outputs), averaged over outputs."""
    live, away = _counting(outputs, targets, weights), outputs.sub_(values)
    losses = _sums(away.square().mean(-1) * live, rows)
    return losses, away.mul_(2 / away.shape[-1]).mul_(live.unsqueeze(-1))


def _counting(outputs: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor | None) -> torch.Tensor:
    """(n_networks, n) the share of each time step in the loss: 0 after a trial's end."""
    live = (targets != ENDED).to(outputs.dtype)
    if weights is not None:
        live.mul_(weights)
    return live / live.sum(1, keepdim=True)


def _sums(each: torch.Tensor, rows: Sequence[int]) -> torch.Tensor:
    return torch.stack([own[:n].sum() for own, n in zip(each, rows, strict=True)])


def scan(drive: torch.Tensor, w_rec: torch.Tensor, dynamics: Dynamics) -> torch.Tensor:
    """The states to which a drive leads from 0, differentiable by autograd: for losses of your own.

    Parameters
    ----------
    drive : (n_times, n_networks, n_trials, n_units) tensor
        All but the recurrence: ``W_in x`` and both biases, and noise if there is any.
    w_rec : (n_networks, n_units, n_units) tensor
        ``w_rec[k, i, j]`` is from unit j to unit i of network k.
    dynamics : Dynamics

    Returns
    -------
    (n_times, n_networks, n_trials, n_units) tensor

    Examples
    --------
    The mean activity as a loss, of one network of 2 units over 3 time steps of 1 trial:

    >>> import torch
    >>> w_rec = torch.zeros(1, 2, 2, requires_grad=True)
    >>> states = scan(torch.ones(3, 1, 1, 2), w_rec, Dynamics(alpha=0.5))
    >>> states[:, 0, 0, 0].tolist()
    [0.5, 0.75, 0.875]
    >>> states.mean().backward()
    >>> w_rec.grad.shape
    torch.Size([1, 2, 2])
    """
    states: torch.Tensor = Scan.apply(drive, w_rec.transpose(1, 2), dynamics)  # type: ignore[no-untyped-call]
    return states


class Scan(torch.autograd.Function):
    """`scan` with stacked (transposed) recurrent weights, as an operation of autograd; differentiable once."""

    @staticmethod
    def forward(ctx: Any, drive: torch.Tensor, w_rec: torch.Tensor, dynamics: Dynamics) -> torch.Tensor:
        """The states."""
        activated = (drive * dynamics.gain).contiguous()
        states = activated if dynamics.inside else torch.empty_like(activated)
        matrix = dynamics.onto_itself(w_rec, torch.empty_like(w_rec, memory_format=torch.contiguous_format))
        _forward_(activated, states, matrix, dynamics)
        ctx.save_for_backward(activated, states, matrix)
        ctx.dynamics = dynamics
        return states

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, None]:
        """Gradients by the drive and by the weights."""
        activated, states, matrix = ctx.saved_tensors
        dynamics: Dynamics = ctx.dynamics
        # autograd may hand the same gradient to others: it is copied, not overwritten.
        gradient = gradients[0].clone(memory_format=torch.contiguous_format)
        _backward_(gradient, activated, matrix.transpose(1, 2), dynamics, torch.empty_like(gradient[0]))
        by_weights = torch.einsum("tebi,tebj->eij", states[:-1], gradient[1:]) * dynamics.gain
        return gradient * dynamics.gain, by_weights, None
