"""fctoolbox-allen: the mouse cortex as fctoolbox sources."""

from fctoolbox.plugins import Source, hookimpl
from fctoolbox_allen import experiment_source
from fctoolbox_allen.files import PUBLISHED, SCANS
from fctoolbox_allen.sources import ALL, CITATION, LICENSE, load_miniature, load_regional
from fctoolbox_allen.voxel import CITATION as VOXEL_CITATION
from fctoolbox_allen.voxel import LICENSE as VOXEL_LICENSE
from fctoolbox_allen.voxel import MODEL_FILES, load_voxel, load_voxel_miniature


@hookimpl
def fctoolbox_sources() -> list[Source]:
    """The mouse by areas and by voxels, and their synthetic miniatures."""
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
        Source(
            "mouse-voxel",
            load_voxel,
            "regions or voxels of the mouse brain, inputs by voxels (Knox 2018), your own rsfMRI; needs model=FOLDER",
            VOXEL_CITATION,
            VOXEL_LICENSE,
            species="mouse",
            files=MODEL_FILES,
            miniature="mouse-voxel-mini",
            every_group={"sources": ALL},
        ),
        Source(
            "mouse-voxel-mini",
            load_voxel_miniature,
            "synthetic: mouse-voxel in miniature, in the same file formats, with planted modules",
            "none: synthetic data made by fctoolbox",
            "CC0-1.0",
            species="mouse (synthetic)",
            synthetic=True,
            every_group={"sources": ALL},
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
