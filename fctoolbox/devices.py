"""Graphics cards and their like, through torch, where somebody asks for one."""

from importlib import import_module
from typing import Any

from fctoolbox.errors import InputError


def torch_for(device: str) -> Any:
    """The torch module, once it is known to compute in double precision there.

    Raises
    ------
    InputError
        If torch is not installed, or has no such device.
    """
    try:
        torch = import_module("torch")
    except ImportError as error:
        raise InputError(
            f"device={device!r} uses torch, which is not installed: pip install torch, or leave device out"
        ) from error
    try:
        torch.zeros(1, dtype=torch.float64, device=device)
    except (RuntimeError, AssertionError, TypeError) as error:
        reason = str(error).strip().splitlines()[0]
        raise InputError(
            f"torch cannot use device={device!r} here ({reason}); leave device out for the processor"
        ) from error
    return torch
