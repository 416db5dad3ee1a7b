"""Parcels in a volume: 4-D runs through nilearn's labels masker, and streamlines that end in labelled voxels."""

from collections.abc import Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from fctoolbox.data import sha256_of
from fctoolbox.errors import InputError, listed
from fctoolbox.system import FileRecord, Geometry, LabelVolume, Provenance, RecurrentSystem
from fctoolbox.tables import check_exists
from fctoolbox_hcp.cifti import without_remarks
from fctoolbox_hcp.dense_files import named_files
from fctoolbox_hcp.label_volumes import LabelImage, choose_labels, parts_of, read_labels
from fctoolbox_hcp.parcel_activity import of_runs
from fctoolbox_hcp.parcel_projection import ParcelWeights, from_table, is_table
from fctoolbox_hcp.streamlines import explain_distance, is_tractogram, read_ends
from fctoolbox_hcp.volume_runs import Cleaning, cleaned

_LEAST_UNITS = 3
_SIDES = {"left": {"l", "lh", "left"}, "right": {"r", "rh", "right"}}


def is_volume(path: Path) -> bool:
    """Whether a file is a NIfTI (or other) image on a grid of voxels, and not CIFTI."""
    import nibabel
    from nibabel.spatialimages import SpatialImage

    check_exists(path)
    try:
        with without_remarks():
            image = nibabel.load(path)
    except Exception:  # noqa: BLE001  (who reads it as CIFTI says what is wrong with it)
        return False
    return isinstance(image, SpatialImage) and not isinstance(image, nibabel.Cifti2Image)


def read_volumes(
    name: str,
    labels: Path,
    runs: Sequence[Path],
    projection: Path,
    provenance: Provenance,
    *,
    cleaning: Cleaning | None = None,
    targets: str | None = None,
    sources: str = "THALAMUS",
    names: str | None = None,
    confounds: str | None = None,
    max_distance: float = 2.0,
    common: bool = False,
) -> RecurrentSystem:
    """A system from a label volume, 4-D runs, and a tractogram or a table.

    The time series of a parcel is the mean over its voxels (nilearn's NiftiLabelsMasker), without a straight line,
    frequencies outside the band and confounds (`nilearn.signal.clean`). Units are the parcels of `targets`, inputs the
    voxels of the labels in `sources`: a streamline counts where it joins a voxel of the one to a voxel of the other,
    each end for the nearest labelled voxel within `max_distance`.

    Parameters
    ----------
    name : str
        Of the system.
    labels : Path
        3-D, whole numbers, 0 for no parcel.
    runs : sequence of Path
        4-D.
    projection : Path
        Tractogram in mm of the same space, or a table of parcels × inputs.
    provenance : Provenance
    cleaning : Cleaning, optional
    targets, sources : str
        Names of labels, or words in them, separated by commas. All labels that are no sources are targets when left
        out.
    names : str, optional
        TSV with a column ``index`` and a column ``name``.
    confounds : str, optional
        A table for each run.
    max_distance : float
        mm.
    common : bool
        Keep the parcels that a table of the projection has too.

    Returns
    -------
    RecurrentSystem

    Raises
    ------
    InputError
        If a file cannot be used, or a name is not among the labels.
    """
    _check_installed()
    cleaning = cleaning or Cleaning()
    image = read_labels(labels, None if names is None else named_files(names, "names")[0])
    tables = () if confounds is None else named_files(confounds, "confounds")
    if tables and len(tables) != len(runs):
        raise InputError(f"confounds names {len(tables)} tables, but there are {len(runs)} runs; one each is needed")
    from_streamlines = not is_table(projection)
    if from_streamlines and not is_tractogram(projection):
        raise InputError(
            f"{projection} is neither a tractogram (TCK, TRK, TinyTrack) nor a table (CSV, TSV), which are what a "
            "label volume can be joined with"
        )
    inputs = choose_labels(image, sources, "sources") if from_streamlines else ()
    units = [each for each in (image.names if targets is None else choose_labels(image, targets, "targets"))
             if each not in inputs]  # fmt: skip
    if targets is not None and (both := set(choose_labels(image, targets, "targets")) & set(inputs)):
        raise InputError(f"{listed(image.names[each] for each in both)} is among the targets and among the sources")
    unit_names = tuple(image.names[each] for each in units)
    weights = (
        _joined(image, units, inputs, projection, max_distance)
        if from_streamlines
        else from_table(projection, unit_names, common=common)
    )
    series: list[NDArray[np.float64]] = []
    absent: dict[int, str] = {}
    interval = None
    for k, run in enumerate(runs):
        found, missing, interval = cleaned(image, units, run, cleaning, tables[k] if tables else None)
        series.append(found)
        absent.update({each: f"{why} in {run.name}" for each, why in missing.items() if each not in absent})
    activity = of_runs(series, [run.name for run in runs], absent, interval)
    left_out = {unit_names[k]: why for k, why in activity.absent.items()}
    left_out |= {unit_names[k]: f"not in {projection.name}" for k, place in enumerate(weights.places) if place is None}
    kept = np.array([k for k, unit in enumerate(unit_names) if unit not in left_out], dtype=np.int64)
    if len(kept) < _LEAST_UNITS:
        reasons = listed(f"{unit} ({why})" for unit, why in left_out.items())
        raise InputError(f"only {len(kept)} of the {len(units)} labels of {labels} can be used: {reasons}")
    chosen = tuple(unit_names[k] for k in kept)
    geometry = _geometry(image, [units[k] for k in kept])
    return RecurrentSystem(
        name=name,
        units=chosen,
        projection=weights.of(kept),
        activity=activity.of(kept),
        geometry=geometry,
        annotations={"hemisphere": hemispheres(chosen, geometry.positions)},
        provenance=replace(
            provenance,
            notes={**_notes(image, cleaning, tables), **activity.notes, **weights.notes, **provenance.notes},
            left_out=left_out,
            files=(*provenance.files, *(FileRecord(path.name, sha256_of(path)) for path in _tables(names, tables))),
            packages=tuple(dict.fromkeys((*provenance.packages, "nilearn"))),
        ),
    )


def hemispheres(names: Sequence[str], positions: Any) -> tuple[str, ...]:
    """The side of each parcel, by a word of its name (L, lh, left …), else by where it lies."""
    found = []
    for name, position in zip(names, positions, strict=True):
        words = parts_of(name)
        said = [side for side, marks in _SIDES.items() if words & marks]
        found.append(said[0] if len(said) == 1 else "left" if position[0] < 0 else "right")
    return tuple(found)


def _check_installed() -> None:
    if find_spec("nilearn") is None:
        raise InputError("volumes need nilearn, which is not installed: pip install 'fctoolbox-hcp[volumes]'")


def _joined(
    image: LabelImage, units: Sequence[int], inputs: Sequence[int], path: Path, max_distance: float
) -> ParcelWeights:
    """Streamlines between units and voxels of the inputs."""
    from nibabel.affines import apply_affine
    from scipy.spatial import cKDTree

    voxels = np.argwhere(image.labels != 0)
    label = image.labels[tuple(voxels.T)]
    ends = read_ends(path)
    tree: Any = cKDTree(apply_affine(image.affine, voxels))
    distance, nearest = tree.query(ends.reshape(-1, 3))
    near = (distance <= max_distance).reshape(-1, 2).all(axis=1)
    ends_at = nearest.reshape(-1, 2)[near]
    columns = np.flatnonzero(np.isin(label, inputs))
    columns = columns[np.argsort([list(inputs).index(each) for each in label[columns]], kind="stable")]
    column_of = np.full(len(voxels), -1)
    column_of[columns] = np.arange(len(columns))
    row_of = {each: k for k, each in enumerate(units)}
    unit_of = np.array([row_of.get(int(each), -1) for each in label])
    counts = sparse.coo_array((len(units), len(columns))).tocsr()
    for one, other in ((0, 1), (1, 0)):
        rows, places = unit_of[ends_at[:, one]], column_of[ends_at[:, other]]
        joins = (rows >= 0) & (places >= 0)
        counts = counts + sparse.csr_array(
            (np.ones(int(joins.sum())), (rows[joins], places[joins])), shape=counts.shape
        )
    median = float(np.median(distance))
    if not counts.sum():
        raise InputError(
            f"none of the {len(ends):,} streamlines of {path} joins {listed(image.names[i] for i in inputs)} to "
            f"another label ({int(near.sum()):,} have both ends within {max_distance:g} mm of a labelled voxel; the "
            f"median distance is {median:.1f} mm): {explain_distance(ends, median)}"
        )
    names = tuple(
        f"{image.names[int(label[each])]}-{i}-{j}-{k}" for each in columns for i, j, k in [voxels[each].tolist()]
    )
    groups = tuple(image.names[int(label[each])] for each in columns)
    notes = {
        "Streamlines": f"{int(near.sum()):,} of {len(ends):,} have both ends within {max_distance:g} mm of a labelled "
        f"voxel and count for the nearest ones; {int(counts.sum()):,} of them join a unit and an input; no smoothing"
    }
    return ParcelWeights(counts, tuple(range(len(units))), names, groups, notes)


def _geometry(image: LabelImage, units: Sequence[int]) -> Geometry:
    from nibabel import aff2axcodes
    from nibabel.affines import apply_affine

    row_of = {each: k for k, each in enumerate(units)}
    ids = np.unique(image.labels)
    number = np.array([-1 if each == 0 else row_of.get(int(each), -2) for each in ids])
    of_voxel = number[np.searchsorted(ids, image.labels)]
    inside = np.argwhere(of_voxel >= 0)
    unit = of_voxel[tuple(inside.T)]
    places = apply_affine(image.affine, inside)
    counts = np.bincount(unit, minlength=len(units))
    positions = np.stack([np.bincount(unit, axis, minlength=len(units)) for axis in places.T], axis=1) / counts[:, None]
    orientation = "".join(aff2axcodes(image.affine))
    return Geometry(positions=positions, volume=LabelVolume(of_voxel, image.affine, orientation))


def _tables(names: str | None, tables: Sequence[Path]) -> tuple[Path, ...]:
    return (*(() if names is None else named_files(names, "names")), *tables)


def _notes(image: LabelImage, cleaning: Cleaning, tables: Sequence[Path]) -> dict[str, str]:
    low, high = (f"{each:g}" if each is not None else "open" for each in (cleaning.low, cleaning.high))
    band = "no filter" if cleaning.low is None and cleaning.high is None else f"band {low} to {high} Hz (Butterworth)"
    regressed = f", {len(tables)} tables of confounds regressed out" if tables else ", no confounds"
    return {
        "Parcels": f"{len(image.names)} labels of {image.path.name}",
        "Cleaning": f"mean over voxels, straight line removed, {band}{regressed} (nilearn)",
        "Space": "labels, runs and streamlines are compared in mm without a warp",
    }
