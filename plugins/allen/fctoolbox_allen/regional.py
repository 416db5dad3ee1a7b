"""The mouse cortex by areas: what projects into them, what they do, and where they are."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from fctoolbox.errors import InputError, listed
from fctoolbox.system import Geometry, InputProjection, LabelVolume, RecurrentActivity
from fctoolbox_allen.ccf import HEMISPHERES, Annotation, Structure, ids_within
from fctoolbox_allen.oh2014 import Connectome, Division
from fctoolbox_allen.rsfmri import SAMPLING_INTERVAL, Scans, mean_connectivity

_CORTEX = "Isocortex"
_OUTSIDE, _NO_UNIT = -1, -2


@dataclass(frozen=True)
class Area:
    """A cortical area as fMRI sees it, and the regions of the connectome that it consists of."""

    structure: Structure
    regions: tuple[str, ...]
    group: str


def cortical_areas(
    acronyms: tuple[str, ...], structures: Mapping[str, Structure], connectome: Connectome
) -> tuple[Area, ...]:
    """Those of the fMRI regions that are isocortex, with the regions of the connectome that they consist of.

    An area that the connectome does not hold is the sum of its parts: ACA = ACAd + ACAv. An area's group is
    the structure right below the isocortex that it belongs to (visual areas, somatosensory areas, …).

    Raises
    ------
    InputError
        If the tree or the connectome lacks an area.
    """
    unknown = [acronym for acronym in (*acronyms, _CORTEX) if acronym not in structures]
    if unknown:
        raise InputError(f"the structure tree has no {listed(unknown)}")
    cortex = structures[_CORTEX]
    names = {structure.id: structure.name for structure in structures.values()}
    return tuple(
        Area(
            structure=structures[acronym],
            regions=_parts(structures[acronym], structures, connectome),
            group=names[structures[acronym].path[len(cortex.path)]],
        )
        for acronym in acronyms
        if structures[acronym].lies_in(cortex)
    )


def area_projection(areas: tuple[Area, ...], division: Division, connectome: Connectome) -> InputProjection:
    """From the regions of a division onto each area: the sum over the area's regions."""
    index = {region: i for i, region in enumerate(connectome.regions)}
    sources = [index[region] for region in division.regions]
    weights = [
        connectome.weights[np.ix_([index[region] for region in area.regions], sources)].sum(axis=0) for area in areas
    ]
    return InputProjection(np.array(weights), division.regions, (division.name,) * len(sources))


def joint_projection(
    areas: tuple[Area, ...], divisions: tuple[Division, ...], connectome: Connectome
) -> InputProjection:
    """From the regions of several divisions onto each area; an input's group is its division."""
    regions = tuple(region for division in divisions for region in division.regions)
    groups = tuple(division.name for division in divisions for _ in division.regions)
    return replace(area_projection(areas, Division("several", regions), connectome), groups=groups)


def scan_activity(scans: Scans) -> RecurrentActivity:
    """The scans one after the other, each a trial, and the mean of their Pearson correlations."""
    return RecurrentActivity(
        timeseries=np.concatenate(list(scans.values())),
        connectivity=mean_connectivity(scans),
        sampling_interval=SAMPLING_INTERVAL,
        trials=np.repeat(list(scans), [len(timeseries) for timeseries in scans.values()]),
    )


def area_geometry(
    areas: tuple[Area, ...], hemisphere: str, structures: Mapping[str, Structure], annotation: Annotation
) -> Geometry:
    """Centroids of the areas of one hemisphere, and their voxels on a coarse grid, in mm.

    Raises
    ------
    InputError
        If an area has no voxel there.
    """
    labels = [ids_within(structures, area.structure.acronym) for area in areas]
    absent = [
        area.structure.acronym for area, ids in zip(areas, labels, strict=True) if not annotation.size(ids, hemisphere)
    ]
    if absent:
        raise InputError(f"the annotation has no voxel of {listed(absent)} in the {hemisphere} hemisphere")
    return Geometry(
        positions=np.array([annotation.centroid(ids, hemisphere) for ids in labels]) / 1000,
        volume=LabelVolume(
            unit_of_voxel=_unit_of_voxel(labels, hemisphere, annotation),
            affine=np.diag([1e-3, 1e-3, 1e-3, 1.0]) @ annotation.affine,
            orientation="PIR",
            space="Allen CCFv3",
        ),
        axes=("AP (mm)", "DV (mm)", "ML (mm)"),
    )


def _parts(area: Structure, structures: Mapping[str, Structure], connectome: Connectome) -> tuple[str, ...]:
    if area.acronym in connectome.regions:
        return (area.acronym,)
    parts = tuple(region for region in connectome.regions if region in structures and structures[region].lies_in(area))
    if not parts:
        raise InputError(f"the connectome has neither {area.acronym} ({area.name}) nor a part of it")
    return parts


def _unit_of_voxel(labels: list[frozenset[int]], hemisphere: str, annotation: Annotation) -> NDArray[np.int16]:
    unit_of_label = np.full(annotation.labels.size, _NO_UNIT, dtype=np.int16)
    for unit, ids in enumerate(labels):
        unit_of_label[np.isin(annotation.labels, list(ids))] = unit
    in_brain = annotation.grid > 0
    units = np.full(annotation.grid.shape, _OUTSIDE, dtype=np.int16)
    units[in_brain] = unit_of_label[np.searchsorted(annotation.labels, annotation.grid[in_brain])]
    ml = annotation.affine[2, 3] + annotation.affine[2, 2] * np.arange(units.shape[2])
    other_side = (ml < annotation.midline) != (hemisphere == HEMISPHERES[0])
    units[(units >= 0) & other_side] = _NO_UNIT
    return units
