"""What a user loads: the options, the files, and where the data come from."""

from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from fctoolbox.errors import check_whole, listed
from fctoolbox.system import Provenance, RecurrentSystem
from fctoolbox_allen.ccf import Annotation, kept_annotation, read_annotation, read_structures
from fctoolbox_allen.files import PUBLISHED, Files, fetched_files
from fctoolbox_allen.oh2014 import (
    RECURRENT,
    Connectome,
    Division,
    find_division,
    input_divisions,
    read_connectome,
    read_divisions,
)
from fctoolbox_allen.regional import Area, area_geometry, cortical_areas, joint_projection, scan_activity
from fctoolbox_allen.rsfmri import Scans, choose_areas, choose_scans, read_scans

CITATION = (
    "Oh et al. 2014 Nature 508:207-214 doi:10.1038/nature13186 (connectome); "
    "Grandjean et al. 2016 NeuroImage doi:10.1016/j.neuroimage.2016.08.013, doi:10.34973/1he1-5c70 (rsfMRI); "
    "Rabuffo et al. 2025 Multiscale Brain Dynamics at the Edge of Criticality (choice of scans and areas); "
    "Wang et al. 2020 Cell doi:10.1016/j.cell.2020.04.007 (CCFv3)"
)
LICENSE = (
    "connectome and CCFv3: Allen Institute Terms of Use (free for research, with citation); "
    "rsfMRI: CC-BY-4.0, as its README says; "
    "the repositories that the files come from carry no licence file"
)
PACKAGES = ("openpyxl", "pynrrd")
ALL = "all"


@dataclass(frozen=True)
class Choices:
    """The options of the regional mouse sources; see `load_regional`."""

    sources: str = "Thalamus"
    hemisphere: str = "left"
    scan: int | str = "all"
    p_value: float | None = None


def load_regional(
    *,
    sources: str = "Thalamus",
    hemisphere: str = "left",
    scan: int | str = "all",
    p_value: float | None = None,
) -> RecurrentSystem:
    """Isocortical areas of the mouse, what projects into them, and their activity at rest.

    Parameters
    ----------
    sources : str
        The division of the brain that the inputs belong to, as Oh et al. name it: Thalamus, Striatum,
        Hippocampal Formation, … Isocortex stands for the areas' own recurrent connections. An area that
        receives nothing from the division has a row of zeros. ``"all"``: the inputs of all divisions but Isocortex,
        each with its division as its group (for `compare_groups`).
    hemisphere : {"left", "right"}
        Of the areas. All tracers were injected on the right; the ipsilateral weights serve either side.
    scan : "all" or int
        The functional connectivity averaged over all 53 scans, or of the scan of that number.
    p_value : float, optional
        Weights that are less significant in the model of Oh et al. are set to 0; all are kept when left out.

    Returns
    -------
    RecurrentSystem
        20 areas. Annotations: hemisphere, division, group (visual areas, …) and full name.

    Raises
    ------
    InputError
        If an option cannot be met.
    DataUnavailable
        If a file cannot be had.

    References
    ----------
    Oh et al. 2014, Nature 508:207-214; Grandjean et al. 2016, NeuroImage; Wang et al. 2020, Cell.
    """
    files = fetched_files()
    provenance = Provenance(
        citation=CITATION,
        license=LICENSE,
        species="mouse",
        files=tuple(file.record for file in PUBLISHED),
        packages=PACKAGES,
    )
    choices = Choices(sources, hemisphere, scan, p_value)
    return read_system(files, kept_annotation(files.annotation), choices, "mouse-regional", provenance)


def load_miniature(
    *,
    sources: str = "Thalamus",
    hemisphere: str = "left",
    scan: int | str = "all",
    p_value: float | None = None,
    seed: int = 0,
) -> RecurrentSystem:
    """A synthetic stand-in for `load_regional`, written in the same file formats and read in the same way.

    Parameters
    ----------
    sources, hemisphere, scan, p_value
        See `load_regional`.
    seed : int
        Of the made-up weights and time series.

    Returns
    -------
    RecurrentSystem
        The planted community of each area is the annotation ``planted``.
    """
    check_whole("seed", seed, 0)
    from fctoolbox_allen.miniature import planted_community, write_files

    provenance = Provenance(
        citation="none: synthetic data made by fctoolbox",
        license="CC0-1.0",
        species="mouse (synthetic)",
        synthetic=True,
        packages=PACKAGES,
    )
    with TemporaryDirectory() as folder:
        files = write_files(Path(folder), rng=seed)
        choices = Choices(sources, hemisphere, scan, p_value)
        system = read_system(files, read_annotation(files.annotation), choices, "mouse-mini", provenance)
    planted = tuple(planted_community(unit) for unit in system.units)
    return replace(system, annotations={**system.annotations, "planted": planted})


def read_system(
    files: Files, annotation: Annotation, choices: Choices, name: str, provenance: Provenance
) -> RecurrentSystem:
    """Read the files, and put the system together.

    Parameters
    ----------
    files : Files
        The annotation among them has been read already.
    annotation : Annotation
    choices : Choices
    name : str
        Of the source.
    provenance : Provenance
        Notes on what was done are added to it.

    Raises
    ------
    InputError
        If a file is not what it should be, or an option cannot be met.
    """
    structures = read_structures(files.structures)
    connectome = read_connectome(files.weights, p_value=choices.p_value)
    divisions = _chosen_divisions(read_divisions(files.divisions), choices.sources, connectome)
    acronyms, scans = choose_areas(choose_scans(read_scans(files.scans), choices.scan), choices.hemisphere)
    areas = cortical_areas(acronyms, structures, connectome)
    units = tuple(area.structure.acronym for area in areas)
    is_area = [acronym in units for acronym in acronyms]
    scans = {number: timeseries[:, is_area] for number, timeseries in scans.items()}
    return RecurrentSystem(
        name=f"{name} (synthetic)" if provenance.synthetic else name,
        units=units,
        projection=joint_projection(areas, divisions, connectome),
        activity=scan_activity(scans),
        geometry=area_geometry(areas, choices.hemisphere, structures, annotation),
        annotations={
            "hemisphere": (choices.hemisphere,) * len(areas),
            "division": ("Isocortex",) * len(areas),
            "group": tuple(area.group for area in areas),
            "name": tuple(area.structure.name for area in areas),
        },
        provenance=replace(provenance, notes=_notes(areas, acronyms, scans, divisions, choices)),
    )


def _chosen_divisions(divisions: dict[str, Division], sources: str, connectome: Connectome) -> tuple[Division, ...]:
    if sources == ALL:
        return input_divisions(divisions, connectome)
    return (find_division(divisions, sources, connectome),)


def _notes(
    areas: tuple[Area, ...],
    acronyms: tuple[str, ...],
    scans: Scans,
    divisions: tuple[Division, ...],
    choices: Choices,
) -> dict[str, str]:
    sums = [f"{area.structure.acronym} = {' + '.join(area.regions)}" for area in areas if len(area.regions) > 1]
    units = {area.structure.acronym for area in areas}
    others = [acronym for acronym in acronyms if acronym not in units]
    lengths = sorted({len(timeseries) for timeseries in scans.values()})
    several = {
        "Divisions": f"{len(divisions)}: {', '.join(f'{each.name} ({len(each.regions)})' for each in divisions)}. "
        f"{RECURRENT} is left out: its weights are the areas' own recurrent connections, not an input"
    }
    return (several if choices.sources == ALL else {}) | {
        "Weights": "normalised connection strength, ipsilateral (injected on the right; used for either side)"
        + ("" if choices.p_value is None else f", 0 where p > {choices.p_value:g}"),
        "Areas": f"sums of their parts: {listed(sums)}; left out as not isocortex: {listed(others)}; "
        "repeated columns of ACA and RSP left out",
        "Scans": f"{len(scans)}, of {' or '.join(map(str, lengths))} volumes at 1 s, anaesthetised "
        "(medetomidine and isoflurane); "
        + ("Pearson r averaged over scans" if len(scans) > 1 else "Pearson r of this scan"),
        "Positions": "centroids of the voxels of one side in CCFv3; left is the half with the smaller ML, as "
        "the Allen Institute defines it (BrainGlobe calls it right)",
    }
