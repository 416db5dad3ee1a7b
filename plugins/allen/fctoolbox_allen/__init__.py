"""fctoolbox-allen: the mouse cortex as fctoolbox sources."""

from fctoolbox.plugins import Source, hookimpl
from fctoolbox_allen import experiment_source
from fctoolbox_allen.files import PUBLISHED, SCANS
from fctoolbox_allen.sources import CITATION, LICENSE, load_miniature, load_regional


@hookimpl
def fctoolbox_sources() -> list[Source]:
    """The mouse by areas, and its synthetic miniature."""
    return [
        Source(
            "mouse-regional",
            load_regional,
            "20 isocortical areas, inputs from 35 thalamic nuclei (Oh 2014), rsfMRI of 53 scans",
            CITATION,
            LICENSE,
            species="mouse",
            files=PUBLISHED,
            miniature="mouse-mini",
        ),
        Source(
            "mouse-mini",
            load_miniature,
            "synthetic: mouse-regional in miniature, in the same file formats, with planted modules",
            "none: synthetic data made by fctoolbox",
            "CC0-1.0",
            species="mouse (synthetic)",
            synthetic=True,
        ),
        Source(
            "mouse-experiments",
            experiment_source.load_experiments,
            "20 isocortical areas, inputs are single tracer injections (Allen atlas, by AllenSDK), rsfMRI of 53 scans",
            experiment_source.CITATION,
            experiment_source.LICENSE,
            species="mouse",
            files=(SCANS,),
            miniature="mouse-experiments-mini",
        ),
        Source(
            "mouse-experiments-mini",
            experiment_source.load_miniature,
            "synthetic: mouse-experiments in miniature, in the same file formats, with planted modules",
            "none: synthetic data made by fctoolbox",
            "CC0-1.0",
            species="mouse (synthetic)",
            synthetic=True,
        ),
    ]
