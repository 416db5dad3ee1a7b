"""Trained continuous-time recurrent networks as fctoolbox sources.

Importing this package imports neither torch nor neurogym; they are imported when a network is loaded.
"""

from fctoolbox.plugins import Source, hookimpl
from fctoolbox_ctrnn.source import CITATION, LICENSE, SPECIES, load


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
