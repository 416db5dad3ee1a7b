"""Continuous-time recurrent networks, trained here or brought along, as fctoolbox systems.

Importing this package imports neither torch nor neurogym; they are imported when a network is loaded.
"""

from typing import TYPE_CHECKING, Any

from fctoolbox.plugins import Source, hookimpl
from fctoolbox_ctrnn.export import export_weights, read_weights
from fctoolbox_ctrnn.from_weights import SPECIES, from_weights
from fctoolbox_ctrnn.network import CTRNN
from fctoolbox_ctrnn.source import CITATION, LICENSE, load, load_ensemble

if TYPE_CHECKING:
    from fctoolbox_ctrnn.torch_module import from_torch

__all__ = ["CTRNN", "export_weights", "from_torch", "from_weights", "load_ensemble", "read_weights"]


def __getattr__(name: str) -> Any:
    # torch takes seconds to import, and most who list sources need none of it.
    if name == "from_torch":
        from fctoolbox_ctrnn.torch_module import from_torch

        return from_torch
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


@hookimpl
def fctoolbox_sources() -> list[Source]:
    """The trained network."""
    return [
        Source(
            "ctrnn",
            load,
            "100 ReLU units, inputs from 2 stimuli: trained on perceptual decision-making, or another neurogym task",
            CITATION,
            LICENSE,
            species=SPECIES,
        )
    ]
