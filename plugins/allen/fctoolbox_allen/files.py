"""The published files that the mouse sources read: where they are, and what proves them right."""

from dataclasses import dataclass
from pathlib import Path

from fctoolbox.data import DataFile, fetch

_GITHUB = "https://raw.githubusercontent.com"
_OH2014 = f"{_GITHUB}/benfulcher/mouseStructuralConnectivity/a2429d1082a81fbdcbea2261fb03e6ac8fc20048/Data"
_RSFMRI = f"{_GITHUB}/grabuffo/Multiscale_Brain_Criticality/917f9561545fbd902c8662ff7591ac63745b7801/data"
_CCF = f"{_GITHUB}/MorphoNeuralNetworks/Mouse_whole_brain_dynamics_Qian/4941d0d7f635dbda4d344c2325f9d224b3b60fd5/Data"

WEIGHTS = DataFile(
    "Suppl_Table_3_nature13186-s4.xlsx",
    f"{_OH2014}/Suppl_Table_3_nature13186-s4.xlsx",
    "c5c2a640873c07f4f52ed4fdceae8cee68d4acae8e1a1015a2c77b18b4b3c756",
    1_570_536,
)
DIVISIONS = DataFile(
    "nature13186-s2.xlsx",
    f"{_OH2014}/nature13186-s2.xlsx",
    "2bdc599b969db4fcbcfbe27138732050e009f5de7e3e486a1c172cb5d5bc08d5",
    90_654,
)
SCANS = DataFile(
    "ZBold_emp.pkl",
    f"{_RSFMRI}/Empirical_fMRI/ZBold_emp.pkl",
    "5cce4d32ca2b7da9f009ff7da742a4c01b20117d5975fdb8781fce566c8c62d0",
    3_395_138,
)
STRUCTURES = DataFile(
    "tree.json",
    f"{_CCF}/tree.json",
    "8cab6243e7916e386b82eb1bf3c3eb2d3904ead4b67172a5e6e2d32e5221931f",
    707_519,
)
ANNOTATION = DataFile(
    "annotation_25.nrrd",
    f"{_CCF}/annotation_25.nrrd",
    "c620cbcc562183e4dcd40250d440130501781f74b41de35b1c1bdabace290c42",
    4_035_363,
)


@dataclass(frozen=True)
class Files:
    """One of each file that a regional mouse system is read from: published, or paths of copies at hand.

    Parameters
    ----------
    weights : Path
        Supplementary table 3 of Oh et al. 2014 (.xlsx): the connectome.
    divisions : Path
        Supplementary table 1 of Oh et al. 2014 (.xlsx): the division of every region.
    scans : Path
        Time series of every rsfMRI scan (.pkl).
    structures : Path
        The Allen structure tree (.json).
    annotation : Path
        The CCFv3 annotation volume (.nrrd).
    """

    weights: Path
    divisions: Path
    scans: Path
    structures: Path
    annotation: Path


PUBLISHED = (WEIGHTS, DIVISIONS, SCANS, STRUCTURES, ANNOTATION)


def fetched_files() -> Files:
    """Verified copies of the published files, downloaded if need be.

    Raises
    ------
    DataUnavailable
        If one is neither in the mirror nor in the cache, and cannot be downloaded.
    """
    return Files(
        weights=fetch(WEIGHTS),
        divisions=fetch(DIVISIONS),
        scans=fetch(SCANS),
        structures=fetch(STRUCTURES),
        annotation=fetch(ANNOTATION),
    )
