"""The tensors of several networks side by side, and steps of gradient descent that overwrite them."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from fctoolbox_ctrnn.network import CTRNN, PARAMETERS
from fctoolbox_ctrnn.scan import Tensors, Workspace

_BETAS = (0.9, 0.999)
_EPSILON = 1e-8

Moments = dict[str, NDArray[np.float32]]


class Stack:
    """Parameters of networks of one size, and Adam's running means of their gradients.

    Parameters
    ----------
    networks : sequence of CTRNN
    moments : sequence of mapping of str to array
        ``exp_avg`` and ``exp_avg_sq`` of each parameter of each network; empty before its first step.
    device : str
    """

    def __init__(self, networks: Sequence[CTRNN], moments: Sequence[Moments], device: str) -> None:
        def stacked(arrays: list[NDArray[Any]]) -> torch.Tensor:
            # Transposed, vectors with a first axis of 1: see scan.py.
            whole = np.stack([array.T if array.ndim == 2 else array[None] for array in arrays])
            return torch.from_numpy(whole.astype(np.float32, order="C")).to(device)

        def moment(which: str, name: str) -> torch.Tensor:
            nothing = np.zeros_like(getattr(networks[0], name))
            return stacked([each.get(f"{which}_{name}", nothing) for each in moments])

        self.parameters: Tensors = {name: stacked([getattr(n, name) for n in networks]) for name in PARAMETERS}
        self._means: Tensors = {name: moment("exp_avg", name) for name in PARAMETERS}
        self._squares: Tensors = {name: moment("exp_avg_sq", name) for name in PARAMETERS}
        self._mask = self._sign = None
        if any(n.mask is not None for n in networks):
            self._mask = stacked([np.ones(n.w_rec.shape) if n.mask is None else n.mask for n in networks])
        if any(n.sign is not None for n in networks):
            # 0 where a network's senders are free.
            self._sign = stacked([np.zeros(n.n_units) if n.sign is None else n.sign for n in networks]).mT

    def descend_(
        self,
        gradients: Tensors,
        steps: NDArray[np.integer[Any]],
        workspace: Workspace,
        *,
        learning_rate: float,
        largest_gradient: float,
    ) -> None:
        """A step of Adam (Kingma & Ba 2015, arXiv:1412.6980), by gradients that are overwritten.

        Parameters
        ----------
        gradients : dict of tensor
        steps : (n_networks,) array
            The number of this step for each network, from 1.
        workspace : Workspace
        learning_rate : float
        largest_gradient : float
            Euclidean norm to which each network's gradient is cut.
        """
        if self._mask is not None:
            gradients["w_rec"].mul_(self._mask)
        _cut_(gradients, largest_gradient)

        def per_network(values: NDArray[Any]) -> torch.Tensor:
            return torch.from_numpy(values.astype(np.float32))[:, None, None].to(workspace.device)

        fast, slow = _BETAS
        rate, root = per_network(learning_rate / (1 - fast**steps)), per_network(np.sqrt(1 - slow**steps))
        for name, gradient in gradients.items():
            mean, square = self._means[name], self._squares[name]
            mean.lerp_(gradient, 1 - fast)
            square.mul_(slow).addcmul_(gradient, gradient, value=1 - slow)
            change = torch.sqrt(square, out=workspace.buffer("change", *square.shape))
            torch.div(mean, change.div_(root).add_(_EPSILON), out=change)
            self.parameters[name].sub_(change.mul_(rate))
        if self._sign is not None:
            self._reflect_(self._sign)

    def _reflect_(self, sign: torch.Tensor) -> None:
        """Turn back the weights that crossed zero against Dale's law, and their momentum with them.

        This is training of W in ``|W| · sign(sender)``, seen in the weights that act.
        """
        crossed = self.parameters["w_rec"] * sign < 0
        for each in (self.parameters["w_rec"], self._means["w_rec"]):
            each.copy_(torch.where(crossed, -each, each))

    def network(self, e: int) -> dict[str, NDArray[np.float32]]:
        """The parameters of one network."""
        return _arrays(self.parameters, e)

    def moments(self, e: int) -> Moments:
        """The moments of one network."""
        kinds = {"exp_avg": self._means, "exp_avg_sq": self._squares}
        return {f"{kind}_{name}": array for kind, t in kinds.items() for name, array in _arrays(t, e).items()}


def _arrays(tensors: Tensors, e: int) -> dict[str, NDArray[np.float32]]:
    def own(name: str, stacked: torch.Tensor) -> NDArray[np.float32]:
        array: NDArray[np.float32] = stacked[e].cpu().numpy()
        return np.array(array[0] if name.startswith("b_") else array.T, order="C")

    return {name: own(name, stacked) for name, stacked in tensors.items()}


def _cut_(gradients: Tensors, largest: float) -> None:
    """Shorten each network's gradient to that Euclidean norm."""
    # One after the other: torch adds the rows of a matrix in an order that depends on how many columns it has, and
    # training makes of the last digit another network.
    squares = sum(each.square().sum((1, 2)) for each in gradients.values())
    factor = torch.clamp(largest / (torch.as_tensor(squares).sqrt() + 1e-6), max=1)[:, None, None]
    for each in gradients.values():
        each.mul_(factor)
