"""The human template: thalamic streamline ends and functional connectivity of Glasser's cortical areas."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from numbers import Real
from pathlib import Path

import numpy as np
from fctoolbox_atlases import load_atlas
from numpy.typing import NDArray

from fctoolbox.data import fetch
from fctoolbox.errors import InputError, listed, suggestion
from fctoolbox.system import Geometry, InputProjection, Provenance, RecurrentActivity, RecurrentSystem
from fctoolbox_hcp import files
from fctoolbox_hcp.enigma import read_area_of_vertex, read_connectivity, read_names
from fctoolbox_hcp.grayordinates import ThalamusVoxels, read_thalamus
from fctoolbox_hcp.surfaces import centroids, joined_surface, read_mesh
from fctoolbox_hcp.thalamus import (
    count_ends,
    hemisphere_of,
    read_bundle_areas,
    smoothed_counts,
    thalamic_ends,
)
from fctoolbox_hcp.tinytrack import Tractogram, read_tinytrack

_SIDES = {"left": ("left",), "right": ("right",), "both": ("left", "right")}

CITATION = (
    "Sydnor et al. 2025, Nature Neuroscience 28:1772–1786, doi:10.1038/s41593-025-01991-6 (thalamocortical "
    "streamlines); Yeh 2022, Nature Communications 13:4933, doi:10.1038/s41467-022-32595-4 (HCP1065 "
    "template); Larivière et al. 2021, Nature Methods 18:698–700, doi:10.1038/s41592-021-01186-4 (ENIGMA "
    "Toolbox: connectivity, surfaces); Van Essen et al. 2013, NeuroImage 80:62–79, "
    "doi:10.1016/j.neuroimage.2013.05.041 and Glasser et al. 2013, NeuroImage 80:105–124, "
    "doi:10.1016/j.neuroimage.2013.04.127 (HCP data and grayordinates); Glasser et al. 2016, Nature "
    "536:171–178, doi:10.1038/nature18933 (cortical areas); Yeo et al. 2011, Journal of Neurophysiology "
    "106:1125–1165, doi:10.1152/jn.00338.2011 (seven networks); Ji et al. 2019, NeuroImage 185:35–57, "
    "doi:10.1016/j.neuroimage.2018.10.006 (Cole-Anticevic networks). Acknowledge: data were provided in part "
    "by the Human Connectome Project, WU-Minn Consortium (1U54MH091657)."
)
PACKAGES = ("nibabel",)
LICENSE = (
    "WU-Minn HCP open access data use terms (all are derived from HCP data). Connectivity, parcellation and "
    "surfaces: files of the ENIGMA Toolbox, BSD-3-Clause; list of grayordinates: MIT; streamlines "
    "(PennLINC): no licence file in their repository, so cite them and do not redistribute them"
)


@dataclass(frozen=True)
class TemplatePaths:
    """Where the files of a template lie.

    Parameters
    ----------
    streamlines : Path
        TinyTrack.
    bundles : Path
        The area of each bundle of streamlines.
    connectivity, area_names : Path
        Fisher z between areas, and their names.
    area_of_vertex : Path
        The area of each vertex, left hemisphere first.
    cortex, sphere : mapping of "left" or "right" to Path
        GIFTI surfaces.
    grayordinates : Path
        A CIFTI-2 file that lists the thalamus voxels.
    """

    streamlines: Path
    bundles: Path
    connectivity: Path
    area_names: Path
    area_of_vertex: Path
    cortex: Mapping[str, Path]
    sphere: Mapping[str, Path]
    grayordinates: Path


def load(*, hemisphere: str = "left", fwhm: float = 0.0, max_distance: float = 2.0) -> RecurrentSystem:
    """Streamline ends of each Glasser area on the thalamus voxels, with the HCP's functional connectivity.

    Parameters
    ----------
    hemisphere : {"left", "right", "both"}
        With ``"both"`` the voxels of both thalami are inputs; an area's streamlines end only on its own side,
        so areas of different hemispheres have a similarity of zero.
    fwhm : float
        Of a Gaussian that smooths the counts over the thalamus, mm.
    max_distance : float
        Streamlines that end farther from every thalamus voxel are left out, mm.

    Returns
    -------
    RecurrentSystem
        119 areas × 1,288 voxels (left), 119 × 1,248 (right) or 238 × 2,536 (both).

    Raises
    ------
    InputError
        If an option is not possible.
    """
    sides = sides_of(hemisphere)
    used = {
        "streamlines": files.STREAMLINES,
        "bundles": files.BUNDLES,
        "connectivity": files.CONNECTIVITY,
        "area_names": files.AREA_NAMES,
        "area_of_vertex": files.AREA_OF_VERTEX,
        "grayordinates": files.GRAYORDINATES,
    }
    cortex = {side: files.CORTEX[side] for side in sides}
    sphere = {side: files.SPHERE[side] for side in sides}
    paths = TemplatePaths(
        **{role: fetch(file) for role, file in used.items()},
        cortex={side: fetch(file) for side, file in cortex.items()},
        sphere={side: fetch(file) for side, file in sphere.items()},
    )
    provenance = Provenance(
        citation=CITATION,
        license=LICENSE,
        species="human",
        files=tuple(file.record for file in (*used.values(), *cortex.values(), *sphere.values())),
        notes=_published_notes(sides),
        packages=PACKAGES,
    )
    system = read_template(
        paths, "human-template", provenance, hemisphere=hemisphere, fwhm=fwhm, max_distance=max_distance
    )
    atlas = load_atlas("glasser-360")
    rows = atlas.rows("name", list(system.units))
    networks = {name: tuple(label or "none" for label in atlas[name][rows]) for name in ("yeo7", "cole_anticevic")}
    return replace(system, annotations={**system.annotations, **networks})


def read_template(
    paths: TemplatePaths,
    name: str,
    provenance: Provenance,
    *,
    hemisphere: str,
    fwhm: float,
    max_distance: float,
) -> RecurrentSystem:
    """A system from files in the formats of the template.

    Parameters
    ----------
    paths : TemplatePaths
    name : str
        Of the system.
    provenance : Provenance
        Notes on what was read are added to it.
    hemisphere, fwhm, max_distance
        See `load`.

    Returns
    -------
    RecurrentSystem
        With the annotation ``hemisphere``. Areas whose streamlines all end too far away keep a row of zeros.

    Raises
    ------
    InputError
        If an option is not possible, a file cannot be read, or two of them do not belong together.
    """
    sides = sides_of(hemisphere)
    _check_length("fwhm", fwhm, zero_allowed=True)
    _check_length("max_distance", max_distance, zero_allowed=False)
    areas = read_bundle_areas(paths.bundles)
    units = tuple(area for area in areas if hemisphere_of(area) in sides)
    voxels = read_thalamus(paths.grayordinates, sides)
    counts, n_streamlines = _count(read_tinytrack(paths.streamlines), areas, units, voxels, max_distance)
    if not counts.any():
        raise InputError(f"none of {n_streamlines} streamlines ends within {max_distance:g} mm of a thalamus voxel")
    connectivity = read_connectivity(paths.connectivity, paths.area_names)
    geometry = _geometry(paths, units, sides)
    notes = {
        "Streamlines": (
            f"{int(counts.sum()):,} of {n_streamlines:,} ({counts.sum() / n_streamlines:.1%}) end within "
            f"{max_distance:g} mm of a CIFTI thalamus voxel and count for the nearest one; the others are "
            "left out"
        ),
        "Smoothing": f"Gaussian, FWHM {fwhm:g} mm, over the thalamus voxels of each side" if fwhm else "none",
        **provenance.notes,
    }
    return RecurrentSystem(
        name=name,
        units=units,
        projection=InputProjection(
            smoothed_counts(counts, voxels, fwhm),
            voxels.names,
            tuple(f"{side} thalamus" for side in voxels.hemispheres),
        ),
        activity=RecurrentActivity(connectivity=connectivity.between(units), scale="fisher-z"),
        geometry=geometry,
        annotations={"hemisphere": tuple(hemisphere_of(unit) for unit in units)},
        provenance=replace(provenance, notes=notes),
    )


def sides_of(hemisphere: str) -> tuple[str, ...]:
    """The sides that the option names.

    Raises
    ------
    InputError
    """
    if hemisphere not in _SIDES:
        raise InputError(
            f"hemisphere is {hemisphere!r}.{suggestion(str(hemisphere), list(_SIDES))} It must be one of "
            f"{listed(_SIDES)}."
        )
    return _SIDES[hemisphere]


def _check_length(option: str, value: object, *, zero_allowed: bool) -> None:
    number = float(value) if isinstance(value, Real) else np.nan
    if not (np.isfinite(number) and (number > 0 or (zero_allowed and number == 0))):
        kind = "number of mm, 0 for none" if zero_allowed else "positive number of mm"
        raise InputError(f"{option} is {value!r}; it must be a {kind}")


def _count(
    tractogram: Tractogram,
    areas: tuple[str, ...],
    units: tuple[str, ...],
    voxels: ThalamusVoxels,
    max_distance: float,
) -> tuple[NDArray[np.float64], int]:
    """Counts (n_units, n_voxels), and how many streamlines the units have altogether."""
    ends = thalamic_ends(tractogram, areas)
    row = {unit: index for index, unit in enumerate(units)}
    row_of_bundle = np.array([row.get(area, -1) for area in areas], dtype=np.int64)
    side_of_bundle = np.array([hemisphere_of(area) for area in areas])
    of_units = row_of_bundle[tractogram.clusters] >= 0
    bundles = tractogram.clusters[of_units]
    counts = count_ends(
        ends[of_units],
        side_of_bundle[bundles],
        row_of_bundle[bundles],
        voxels,
        n_rows=len(units),
        max_distance=max_distance,
    )
    return counts, len(bundles)


def _geometry(paths: TemplatePaths, units: tuple[str, ...], sides: tuple[str, ...]) -> Geometry:
    areas = read_names(paths.area_names)
    missing = [unit for unit in units if unit not in areas]
    if missing:
        raise InputError(
            f"{paths.area_names.name} does not name {listed(missing)}, which {paths.bundles.name} "
            f"does.{suggestion(missing[0], areas)}"
        )
    row = {unit: index for index, unit in enumerate(units)}
    surface = joined_surface(
        {side: read_mesh(paths.cortex[side], paths.sphere[side]) for side in sides},
        _on_own_side(read_area_of_vertex(paths.area_of_vertex, len(areas)), areas),
        np.array([row.get(area, -1) for area in areas], dtype=np.int64),
    )
    return Geometry(positions=centroids(surface, units), surface=surface)


def _on_own_side(
    area_of_vertex: Mapping[str, NDArray[np.int64]], areas: tuple[str, ...]
) -> dict[str, NDArray[np.int64]]:
    """The area of each vertex, -1 where it is one of the other hemisphere."""
    # ENIGMA's right half is the left one plus 180: where only the left is medial wall (0), it says 180, L_p24.
    side_of_area = np.array([*map(hemisphere_of, areas), "none"])
    return {side: np.where(side_of_area[numbers] == side, numbers, -1) for side, numbers in area_of_vertex.items()}


def _published_notes(sides: tuple[str, ...]) -> dict[str, str]:
    notes = {
        "Counts": (
            "the template was tracked on one group average, curated by hand and thinned out: how many "
            "streamlines an area has is not the strength of its connection; where in the thalamus they end "
            "is what the data show"
        ),
        "Areas": "119 of the 180 areas of each hemisphere; the template has no streamlines of the others",
        "Connectivity": "group mean of Fisher z, in which the publishers set negative values to zero",
        "Positions": "centroids of the areas' vertices on conte69, which lie beneath the folded surface",
        "Space": "streamlines (MNI152 2009a) and CIFTI voxels (MNI152 of FSL) are compared without a warp",
    }
    if len(sides) == 2:
        notes["Two hemispheres"] = (
            "an area's streamlines end on its own side only, so similarity between the hemispheres is zero "
            "by construction"
        )
    if "right" in sides:
        notes["Right hemisphere"] = (
            "ENIGMA's parcellation of the right hemisphere is the left one, vertex by vertex: it differs from "
            "the official Glasser parcellation at 5,532 of 29,716 vertices, and its centroids by up to 7 mm. "
            "The surface and the positions here are ENIGMA's; the network annotations are those of the official "
            "areas"
        )
    return notes
