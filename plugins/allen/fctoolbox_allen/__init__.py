"""fctoolbox-allen: the mouse cortex as fctoolbox sources."""

from fctoolbox.plugins import Source, hookimpl
from fctoolbox_allen.files import PUBLISHED
from fctoolbox_allen.sources import ALL, CITATION, LICENSE, load_miniature, load_regional


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
            every_group={"sources": ALL},
        ),
        Source(
            "mouse-mini",
            load_miniature,
            "synthetic: mouse-regional in miniature, in the same file formats, with planted modules",
            "none: synthetic data made by fctoolbox",
            "CC0-1.0",
            species="mouse (synthetic)",
            synthetic=True,
            every_group={"sources": ALL},
        ),
    ]
