"""Human thalamocortical connectomes and functional connectivity of the Human Connectome Project."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from fctoolbox.plugins import Source, hookimpl
from fctoolbox.system import RecurrentSystem
from fctoolbox_hcp import (
    dense_miniature,
    files,
    human_dense,
    human_parcellated,
    miniature,
    parcellated_miniature,
    template,
)


@hookimpl
def fctoolbox_sources() -> list[Source]:
    """The human as template, in vertices and in parcels, each with its miniature."""
    return [replace(source, write_outputs=_write_outputs, read_labels=_read_labels) for source in _sources()]


def _sources() -> list[Source]:
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
        Source(
            "human-dense",
            human_dense.load,
            "29,696 left vertices × 2,536 thalamus voxels: your dense connectome, runs or group PCA, and streamlines",
            human_dense.CITATION,
            human_dense.LICENSE,
            species="human",
            files=files.DENSE,
            miniature="human-dense-mini",
        ),
        Source(
            "human-dense-mini",
            dense_miniature.load,
            "synthetic: 572 vertices × 488 voxels with planted modules, written and read as dense CIFTI-2 files",
            dense_miniature.CITATION,
            dense_miniature.LICENSE,
            species="none (synthetic)",
            synthetic=True,
        ),
        Source(
            "human-parcellated",
            human_parcellated.load,
            "parcels of your own parcellation (CIFTI or label volume): your connectivity or runs, and streamlines",
            human_parcellated.CITATION,
            human_parcellated.LICENSE,
            species="human",
            files=human_parcellated.FILES,
            miniature="human-parcellated-mini",
        ),
        Source(
            "human-parcellated-mini",
            parcellated_miniature.load,
            "synthetic: a small brain in parcels with planted modules, written and read in all files of parcels",
            parcellated_miniature.CITATION,
            parcellated_miniature.LICENSE,
            species="none (synthetic)",
            synthetic=True,
        ),
    ]


def _write_outputs(report: Any, folder: Path) -> Sequence[Path]:
    """CIFTI and GIFTI files of a report whose units lie on a surface; none where they are voxels."""
    if report.system.geometry is None or report.system.geometry.surface is None:
        return ()
    from fctoolbox_hcp.outputs import write_outputs

    return write_outputs(report, folder)


def _read_labels(system: RecurrentSystem, path: Path) -> Sequence[str]:
    """Labels of units from a ``.dlabel.nii``."""
    from fctoolbox_hcp.unit_labels import read_labels

    return read_labels(system, path)
