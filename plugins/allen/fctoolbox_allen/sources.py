"""What a user loads: the options, the files, and where the data come from."""

from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, fields, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from fctoolbox.errors import InputError, check_whole, listed
from fctoolbox.system import Provenance, RecurrentSystem
from fctoolbox_allen.ccf import Annotation, Structure, kept_annotation, read_annotation, read_structures
from fctoolbox_allen.experiments import reference_files
from fctoolbox_allen.files import ANNOTATION, PUBLISHED, SCANS, STRUCTURES, Files, fetched_files
from fctoolbox_allen.oh2014 import (
    RECURRENT,
    Connectome,
    Division,
    find_division,
    input_divisions,
    read_connectome,
    read_divisions,
)
from fctoolbox_allen.own_runs import PACKAGES as BOLD_PACKAGES
from fctoolbox_allen.own_runs import OwnRuns, read_own
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
_POSITIONS = (
    "centroids of the voxels of one side in CCFv3; left is the half with the smaller ML, as the Allen Institute "
    "defines it (BrainGlobe calls it right)"
)


@dataclass(frozen=True)
class Choices:
    """The options of the regional mouse sources; see `load_regional`."""

    sources: str = "Thalamus"
    hemisphere: str = "left"
    scan: int | str = "all"
    p_value: float | None = None
    own: OwnRuns | None = None


def load_regional(
    *,
    sources: str = "Thalamus",
    hemisphere: str = "left",
    scan: int | str = "all",
    p_value: float | None = None,
    runs: str | Sequence[str | Path] | None = None,
    labels: str | Path | None = None,
    label_names: str | Path | None = None,
    mask: str | Path | None = None,
    t_r: float | None = None,
    confounds: str | Sequence[str | Path] | None = None,
    columns: str | Sequence[str] | None = None,
    scrub: Any = None,
    low: float = 0.01,
    high: float = 0.1,
    smoothing_fwhm: float = 0.5,
    export: str | Path | None = None,
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
    runs : str or sequence of path, optional
        Your own rsfMRI instead of the published scans: 4-D NIfTI files, names or patterns separated by commas.
    labels, label_names, mask, t_r, confounds, columns, scrub, low, high, smoothing_fwhm
        Belong to `runs`: see `fctoolbox_allen.own_runs.OwnRuns`, and the how-to page "Your own mouse rsfMRI".
    export : path, optional
        Take annotation and structure tree from a folder that `mouse-experiments` exported, not the published files.

    Returns
    -------
    RecurrentSystem
        20 areas; with `runs`, those that labels and connectome share. Annotations: hemisphere, division, group
        (visual areas, …) and full name.

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
    own = _own(runs, labels, label_names, mask, t_r, confounds, columns, scrub, low, high, smoothing_fwhm)
    choices = Choices(sources, hemisphere, scan, p_value, own)
    if export is not None:
        files = replace(files, **reference_files(Path(export)))
        unused = {STRUCTURES.sha256, ANNOTATION.sha256}
        provenance = replace(
            provenance,
            files=tuple(file for file in provenance.files if file.sha256 not in unused),
            notes={"Annotation": f"annotation and structure tree of the export {export}"},
        )
    return read_system(files, kept_annotation(files.annotation), choices, "mouse-regional", provenance)


def load_miniature(
    *,
    sources: str = "Thalamus",
    hemisphere: str = "left",
    scan: int | str = "all",
    p_value: float | None = None,
    runs: str | Sequence[str | Path] | None = None,
    labels: str | Path | None = None,
    label_names: str | Path | None = None,
    mask: str | Path | None = None,
    t_r: float | None = None,
    confounds: str | Sequence[str | Path] | None = None,
    columns: str | Sequence[str] | None = None,
    scrub: Any = None,
    low: float = 0.01,
    high: float = 0.1,
    smoothing_fwhm: float = 0.5,
    export: str | Path | None = None,
    seed: int = 0,
) -> RecurrentSystem:
    """A synthetic stand-in for `load_regional`, written in the same file formats and read in the same way.

    Parameters
    ----------
    sources, hemisphere, scan, p_value, runs, labels, label_names, mask, t_r, confounds, columns, scrub, low, high, \
smoothing_fwhm, export
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
        if export is not None:
            files = replace(files, **reference_files(Path(export)))
        own = _own(runs, labels, label_names, mask, t_r, confounds, columns, scrub, low, high, smoothing_fwhm)
        choices = Choices(sources, hemisphere, scan, p_value, own)
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
    if choices.own is not None:
        return _with_own_runs(structures, connectome, divisions, annotation, choices, choices.own, name, provenance)
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
        annotations=area_annotations(areas, choices.hemisphere),
        provenance=replace(
            provenance, notes={**provenance.notes, **_notes(areas, acronyms, scans, divisions, choices)}
        ),
    )


def area_annotations(areas: tuple[Area, ...], hemisphere: str) -> dict[str, tuple[str, ...]]:
    """Hemisphere, division, group and full name of each area."""
    return {
        "hemisphere": (hemisphere,) * len(areas),
        "division": ("Isocortex",) * len(areas),
        "group": tuple(area.group for area in areas),
        "name": tuple(area.structure.name for area in areas),
    }


def _own(runs: str | Sequence[str | Path] | None, *settings: Any) -> OwnRuns | None:
    """The options of a laboratory's own runs; None without runs."""
    if runs is not None:
        return OwnRuns(runs, *settings)
    given = [
        field.name
        for field, value in zip(fields(OwnRuns)[1:], settings, strict=True)
        if value != (None if field.default is MISSING else field.default)
    ]
    if given:
        belong = "belongs" if len(given) == 1 else "belong"
        raise InputError(f"{listed(given)} {belong} to runs of your own: name their files with runs")
    return None


def _with_own_runs(
    structures: Mapping[str, Structure],
    connectome: Connectome,
    divisions: tuple[Division, ...],
    annotation: Annotation,
    choices: Choices,
    own: OwnRuns,
    name: str,
    provenance: Provenance,
) -> RecurrentSystem:
    """As `read_system`, with the areas and the activity of a laboratory's own runs."""
    if choices.scan != "all":
        raise InputError(f"scan is {choices.scan!r}, a number of a published scan, but runs of your own were given")
    activity = read_own(own, choices.hemisphere, structures, connectome.regions)
    areas = cortical_areas(activity.areas, structures, connectome)
    sums = [f"{area.structure.acronym} = {' + '.join(area.regions)}" for area in areas if len(area.regions) > 1]
    notes = {
        **_weights_notes(divisions, choices),
        "Areas": f"sums of their parts: {listed(sums) or 'none'}",
        **activity.notes,
        "Positions": _POSITIONS,
    }
    return RecurrentSystem(
        name=f"{name} (synthetic)" if provenance.synthetic else name,
        units=activity.areas,
        projection=joint_projection(areas, divisions, connectome),
        activity=activity.activity,
        geometry=area_geometry(areas, choices.hemisphere, structures, annotation),
        annotations=area_annotations(areas, choices.hemisphere),
        provenance=replace(
            provenance,
            notes={**provenance.notes, **notes},
            left_out=activity.left_out,
            files=tuple(file for file in provenance.files if file.sha256 != SCANS.sha256),
            packages=tuple(dict.fromkeys((*provenance.packages, *BOLD_PACKAGES))),
        ),
    )


def _weights_notes(divisions: tuple[Division, ...], choices: Choices) -> dict[str, str]:
    notes = {
        "Weights": "normalised connection strength, ipsilateral (injected on the right; used for either side)"
        + ("" if choices.p_value is None else f", 0 where p > {choices.p_value:g}")
    }
    if choices.sources != ALL:
        return notes
    several = ", ".join(f"{each.name} ({len(each.regions)})" for each in divisions)
    return notes | {
        "Divisions": f"{len(divisions)}: {several}. {RECURRENT} is left out: its weights are the areas' own recurrent "
        "connections, not an input"
    }


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
    return _weights_notes(divisions, choices) | {
        "Areas": f"sums of their parts: {listed(sums)}; left out as not isocortex: {listed(others)}; "
        "repeated columns of ACA and RSP left out",
        "Scans": f"{len(scans)}, of {' or '.join(map(str, lengths))} volumes at 1 s, anaesthetised "
        "(medetomidine and isoflurane); "
        + ("Pearson r averaged over scans" if len(scans) > 1 else "Pearson r of this scan"),
        "Positions": _POSITIONS,
    }
