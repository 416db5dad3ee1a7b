"""The source `mouse-experiments`: single tracer injections as inputs, the published rsfMRI as activity."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from fctoolbox.data import fetch
from fctoolbox.errors import InputError, check_whole, listed
from fctoolbox.system import Provenance, RecurrentSystem
from fctoolbox_allen.allensdk_call import kept_export
from fctoolbox_allen.ccf import kept_annotation, read_annotation
from fctoolbox_allen.experiments import Export, read_export, reference_files
from fctoolbox_allen.files import SCANS
from fctoolbox_allen.injections import Choice, injection_projection
from fctoolbox_allen.oh2014 import Connectome
from fctoolbox_allen.regional import area_geometry, cortical_areas, scan_activity
from fctoolbox_allen.rsfmri import Scans, choose_areas, choose_scans, read_scans
from fctoolbox_allen.sources import area_annotations

CITATION = (
    "Oh et al. 2014 Nature 508:207-214 doi:10.1038/nature13186 and Harris et al. 2019 Nature 575:195-202 "
    "doi:10.1038/s41586-019-1716-z (tracer experiments); Grandjean et al. 2016 NeuroImage "
    "doi:10.1016/j.neuroimage.2016.08.013, doi:10.34973/1he1-5c70 (rsfMRI); Rabuffo et al. 2025 Multiscale Brain "
    "Dynamics at the Edge of Criticality (choice of scans and areas); Wang et al. 2020 Cell "
    "doi:10.1016/j.cell.2020.04.007 (CCFv3)"
)
LICENSE = (
    "tracer experiments and CCFv3: Allen Institute Terms of Use (free for research, with citation); rsfMRI: CC-BY-4.0, "
    "as its README says"
)
PACKAGES = ("pynrrd",)


def load_experiments(
    *,
    structures: str | Sequence[str] = "TH",
    measure: str = "normalized_projection_volume",
    side: str = "ipsi",
    hemisphere: str = "left",
    threshold: float = 0.0,
    min_injection_volume: float = 0.0,
    line: str = "all",
    scan: int | str = "all",
    export: str | Path | None = None,
    resolution: int = 25,
    server: str | None = None,
) -> RecurrentSystem:
    """Isocortical areas of the mouse, each single tracer injection an input, and their activity at rest.

    The first time, the real AllenSDK exports the experiments (an environment of 0.9 GB, one request for each
    experiment; it can be interrupted and goes on).

    Parameters
    ----------
    structures : str or sequence of str
        Acronyms of the injected structures, comma-separated; injections into their parts belong to them.
    measure : str
        What a weight is: ``normalized_projection_volume`` (volume of the projection over that of the injection),
        ``projection_volume`` (mm³), ``projection_density`` (share of the area's pixels that hold a projection) or
        ``projection_energy`` (density times intensity). The injection site is never counted.
    side : {"ipsi", "contra", "both"}
        The areas on the side of the injection, on the other one, or both hemispheres together.
    hemisphere : {"left", "right"}
        Whose activity and positions the areas have; the weights of one side serve either.
    threshold : float
        Smaller weights become 0, in the unit of `measure`. We know of no published threshold for areas, so none is
        applied by default: choose yours, and say which.
    min_injection_volume : float
        Injections smaller than this are left out, mm³. Here, too, none is applied by default.
    line : str
        ``all``, ``wild-type``, ``cre`` (all transgenic lines), or the name of one line.
    scan : "all" or int
        As `fctoolbox_allen.sources.load_regional`.
    export : path, optional
        Folder of the export; one in the cache when left out. What it lacks is fetched into it.
    resolution : {10, 25, 50, 100}
        Of the annotation of a new export, µm.
    server : str, optional
        Address of the Allen API and its files, where it is another than AllenSDK's own (a mirror).

    Returns
    -------
    RecurrentSystem
        20 areas. Inputs are called after structure and number of the experiment (``LGd 100140756``), their group is
        the structure of `structures` that they belong to.

    Raises
    ------
    InputError
        If an option cannot be met, or a file of the export is not what it should be.
    DataUnavailable
        If the export cannot be made.

    References
    ----------
    Oh et al. 2014, Nature 508:207-214; Harris et al. 2019, Nature 575:195-202.
    """
    choice = Choice(_acronyms(structures), measure, side, threshold, min_injection_volume, line)
    scans = read_scans(fetch(SCANS))
    found = kept_export(export, choice.structures, resolution=resolution, server=server)
    provenance = Provenance(
        citation=CITATION, license=LICENSE, species="mouse", files=(SCANS.record,), packages=PACKAGES
    )
    return read_system(found, scans, choice, hemisphere, scan, "mouse-experiments", provenance)


def load_miniature(
    *,
    structures: str | Sequence[str] = "TH",
    measure: str = "normalized_projection_volume",
    side: str = "ipsi",
    hemisphere: str = "left",
    threshold: float = 0.0,
    min_injection_volume: float = 0.0,
    line: str = "all",
    scan: int | str = "all",
    seed: int = 0,
) -> RecurrentSystem:
    """A synthetic stand-in for `load_experiments`: an export folder in the same formats, read in the same way.

    Parameters
    ----------
    structures, measure, side, hemisphere, threshold, min_injection_volume, line, scan
        See `load_experiments`.
    seed : int
        Of the made-up numbers.
    """
    check_whole("seed", seed, 0)
    from fctoolbox_allen.experiments_miniature import write_export
    from fctoolbox_allen.miniature import write_files

    choice = Choice(_acronyms(structures), measure, side, threshold, min_injection_volume, line)
    provenance = Provenance(
        citation="none: synthetic data made by fctoolbox",
        license="CC0-1.0",
        species="mouse (synthetic)",
        synthetic=True,
        packages=("openpyxl", *PACKAGES),
    )
    with TemporaryDirectory() as folder:
        files = write_files(Path(folder) / "files", rng=seed)
        export = read_export(write_export(Path(folder) / "export", files, rng=seed))
        scans = read_scans(files.scans)
        return read_system(export, scans, choice, hemisphere, scan, "mouse-experiments-mini", provenance)


def read_system(
    export: Export,
    scans: Scans,
    choice: Choice,
    hemisphere: str,
    scan: int | str,
    name: str,
    provenance: Provenance,
) -> RecurrentSystem:
    """The system of an export and of scans.

    Raises
    ------
    InputError
        If an option cannot be met.
    """
    acronyms, chosen = choose_areas(choose_scans(scans, scan), hemisphere)
    # Which structures have weights is asked where they are read; the areas only need a name to go by.
    areas = cortical_areas(acronyms, export.structures, Connectome(tuple(export.structures), np.zeros((0, 0))))
    projection, left_out = injection_projection([area.structure for area in areas], export, choice)
    units = tuple(area.structure.acronym for area in areas)
    is_area = [acronym in units for acronym in acronyms]
    annotation = reference_files(export.folder)["annotation"]
    summary = read_annotation(annotation) if provenance.synthetic else kept_annotation(annotation)
    return RecurrentSystem(
        name=f"{name} (synthetic)" if provenance.synthetic else name,
        units=units,
        projection=projection,
        activity=scan_activity({number: timeseries[:, is_area] for number, timeseries in chosen.items()}),
        geometry=area_geometry(areas, hemisphere, export.structures, summary),
        annotations=area_annotations(areas, hemisphere),
        provenance=replace(provenance, notes=_notes(projection.inputs, left_out, export, choice)),
    )


def _notes(inputs: Sequence[str], left_out: dict[str, str], export: Export, choice: Choice) -> dict[str, str]:
    side = {"ipsi": "on the side of the injection", "contra": "on the other side", "both": "both hemispheres together"}
    return {
        "Weights": f"{choice.measure}, {side[choice.side]}, without the injection site"
        + (f", 0 below {choice.threshold:g}" if choice.threshold else "; no threshold"),
        "Injections": f"{len(inputs)} into {listed(choice.structures)}, lines: {choice.line}, at least "
        f"{choice.min_injection_volume:g} mm³; left out: "
        + (listed(f"{name} ({reason})" for name, reason in left_out.items()) or "none"),
        "Export": _origin(export.record),
    }


def _origin(record: Mapping[str, Any]) -> str:
    """Where an export came from, when, and the hashes of its files, which no publication fixes."""
    if "server" not in record:
        return "synthetic"  # written anew for each load: the time in its archives changes their hashes
    files = listed(f"{file['name']} (SHA-256 {file['sha256'][:12]}…)" for file in record["files"].values())
    versions = ", ".join(f"{name} {version}" for name, version in record.get("versions", {}).items())
    return f"{record['server']}, {record.get('made', 'at an unknown time')}, by {versions or 'unknown'}; {files}"


def _acronyms(structures: str | Sequence[str]) -> tuple[str, ...]:
    words = structures.split(",") if isinstance(structures, str) else structures
    if not isinstance(words, Sequence) or not all(isinstance(word, str) for word in words):
        raise InputError(f"structures is {structures!r}; give acronyms such as TH, or VAL,VPM")
    return tuple(word.strip() for word in words if word.strip())
