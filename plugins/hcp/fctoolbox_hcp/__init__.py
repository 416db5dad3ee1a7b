"""Human thalamocortical connectomes and functional connectivity of the Human Connectome Project."""

from fctoolbox.plugins import Source, hookimpl
from fctoolbox_hcp import files, miniature, template


@hookimpl
def fctoolbox_sources() -> list[Source]:
    """The human template, and its miniature."""
    return [
        Source(
            "human-template",
            template.load,
            "119 left Glasser areas × 1,288 thalamus voxels: template streamlines and HCP functional connectivity",
            template.CITATION,
            template.LICENSE,
            species="human",
            files=files.ALL,
            miniature="human-mini",
        ),
        Source(
            "human-mini",
            miniature.load,
            "synthetic: a small template with planted communities, written and read in the human file formats",
            miniature.CITATION,
            miniature.LICENSE,
            species="none (synthetic)",
            synthetic=True,
        ),
    ]
