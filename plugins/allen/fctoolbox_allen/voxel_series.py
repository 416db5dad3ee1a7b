"""What regions or voxels do: rsfMRI in NIfTI files, or time series that are there already."""

import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fctoolbox.errors import InputError, blamed_on, listed
from fctoolbox.system import Floats, RecurrentActivity
from fctoolbox_allen import own_runs
from fctoolbox_allen.grid import LabelGrid
from fctoolbox_allen.own_runs import OwnRuns
from fctoolbox_allen.voxel_choices import Choices

SERIES = "series.npz"
_NEARLY_ONE = 1 - 1e-7
_PERHAPS_ONE = 1 - 1e-4  # what float32 may leave of a correlation of 1
_SERIES_WORDS = ("rois", "n_rois", "seed", "t_r")
_BLOCK_ROWS = 2048


@dataclass(frozen=True, eq=False)
class Series:
    """Time series of regions.

    Parameters
    ----------
    rois : (n_rois,) integers
        Numbers in the volume of regions.
    runs : mapping of str to (n_times, n_rois) array
    dropped : mapping of int to str
        Regions that have none, and why.
    t_r : float, optional
        Seconds.
    notes : mapping of str to str
        What was done to them, and their files.
    """

    rois: NDArray[np.int64]
    runs: Mapping[str, Floats]
    dropped: Mapping[int, str] = field(default_factory=dict)
    t_r: float | None = None
    notes: Mapping[str, str] = field(default_factory=dict)


def read_activity(
    folder: Path, ids: NDArray[np.int64], volume: NDArray[np.int64], grid: LabelGrid, choices: Choices
) -> Series:
    """The time series of the units, from whichever of the three ways was chosen."""
    if choices.runs is not None:
        return _from_runs(ids, volume, grid, choices)
    path = folder / SERIES if choices.series is None else Path(choices.series).expanduser()
    if choices.series is None and not path.is_file():
        raise InputError(
            f"the voxel model says what projects where, not what units do: give rsfMRI in the space of the CCF as "
            f"runs (NIfTI), or time series of regions as series (.npz), or put {SERIES} into {folder}"
        )
    return read_series(path, int(volume.max()), choices)


def _from_runs(ids: NDArray[np.int64], volume: NDArray[np.int64], grid: LabelGrid, choices: Choices) -> Series:
    units = np.where(np.isin(volume, ids), volume, 0)
    if choices.units != "voxels":  # regions that reach over the midline keep to their side
        half = np.arange(volume.shape[2]) < grid.half
        units = np.where(half if choices.hemisphere == "left" else ~half, units, 0)
    assert choices.runs is not None
    own = OwnRuns(
        choices.runs,
        mask=choices.mask,
        t_r=choices.t_r,
        confounds=choices.confounds,
        columns=choices.columns,
        scrub=choices.scrub,
        low=choices.low,
        high=choices.high,
        smoothing_fwhm=choices.smoothing_fwhm,
    )
    paths = own_runs.found_paths("runs", own.runs)
    volume_name = "the regions" if choices.roi_volume is None else Path(choices.roi_volume).name
    called = {int(each): f"region {each}" for each in ids}
    found = own_runs.cleaned(own, paths, _stored_like(units, grid, paths[0]), volume_name, called)
    notes = {"Runs": own_runs.volumes_note(found), **own_runs.cleaning_notes(own, paths)}
    return Series(np.asarray(found.rois), found.series, found.dropped, found.t_r, notes)


def _stored_like(units: NDArray[np.int64], grid: LabelGrid, run: Path) -> Any:
    """The units as an image along the axes that the run is stored along; where each of them lies stays the same."""
    import nibabel
    from nibabel.orientations import io_orientation, ornt_transform

    image = nibabel.Nifti1Image(units.astype(np.int32), grid.ras_affine)
    try:
        stored = io_orientation(nibabel.load(run).affine)
    except (OSError, nibabel.filebasedimages.ImageFileError):
        return image  # whoever reads the runs says what is wrong with this one
    return image.as_reoriented(ornt_transform(io_orientation(image.affine), stored))


def read_series(path: Path, n_known: int, choices: Choices) -> Series:
    """Time series of regions from an .npz file; see `load_voxel`.

    Raises
    ------
    InputError
        If the file is not one, or was made for other regions.
    """
    with blamed_on(f"{path} cannot be read"):
        try:
            with path.open("rb") as stream, np.load(stream, allow_pickle=False) as content:
                arrays = {name: np.asarray(content[name]) for name in content.files}
        except (ValueError, EOFError, zipfile.BadZipFile, AttributeError, TypeError) as error:
            raise InputError(f"{path} is no .npz file of arrays: {error}") from error
    if "rois" not in arrays or arrays["rois"].ndim != 1 or arrays["rois"].dtype.kind not in "iu":
        raise InputError(f"{path.name} needs an array 'rois': the number of each column's region in the volume")
    rois = arrays["rois"].astype(np.int64)
    if len(np.unique(rois)) < len(rois):
        raise InputError(f"{path.name}: 'rois' names a region twice")
    _check_made_for(arrays, path.name, choices)
    if strange := [int(each) for each in rois if not 1 <= each <= n_known]:
        raise InputError(
            f"{path.name}: 'rois' names {listed(strange)}, but the volume of regions has 1 … {n_known:,}: the series "
            "belong to other regions (roi_volume, or n_rois and seed)"
        )
    runs = {name: array for name, array in arrays.items() if name not in _SERIES_WORDS}
    if not runs:
        raise InputError(f"{path.name} has no run: a (n_times, {len(rois)}) array of any name")
    dropped: dict[int, str] = {}
    for name, run in runs.items():
        dropped |= {
            roi: why for roi, why in _checked_run(run, rois, f"{path.name}, run '{name}'", name) if roi not in dropped
        }
    kept = ~np.isin(rois, list(dropped))
    t_r = choices.t_r
    if t_r is None and "t_r" in arrays:
        t_r = _number(arrays, "t_r", path.name, "a positive number of seconds", lambda seconds: seconds > 0)
    return Series(rois[kept], {name: run[:, kept].astype(np.float32) for name, run in runs.items()}, dropped, t_r)


def _number(
    arrays: Mapping[str, NDArray[Any]], key: str, name: str, what: str, is_allowed: Callable[[float], bool]
) -> float:
    """One number of the file, which must be `what`."""
    found = arrays[key]
    if found.ndim or found.dtype.kind not in "fiu":
        raise InputError(
            f"{name}: '{key}' is an array of shape {found.shape} and type {found.dtype}; it must be {what}"
        )
    value = found.item()
    if not (np.isfinite(value) and is_allowed(value)):
        raise InputError(f"{name}: '{key}' is {value}; it must be {what}")
    return value  # type: ignore[no-any-return]


def _check_made_for(arrays: Mapping[str, NDArray[Any]], name: str, choices: Choices) -> None:
    """Refuse series that were made for other regions than those chosen, as far as the file says."""
    made: dict[str, int] = {}
    for option, known, what in (
        ("n_rois", lambda value: value >= 1 and value % 1 == 0, "a whole number from 1"),
        ("seed", lambda value: value >= 0 and value % 1 == 0, "a whole number from 0"),
    ):
        if option in arrays:
            made[option] = int(_number(arrays, option, name, what, known))
    if made and (choices.units == "voxels" or choices.roi_volume is not None):
        # The numbers of both begin at 1: read as the other's, they would name the wrong places and nobody would know.
        regions = " and ".join(f"{option}={value}" for option, value in made.items())
        needed = "voxels (units=voxels)" if choices.units == "voxels" else f"the regions of {choices.roi_volume}"
        raise InputError(
            f"{name} holds series of regions made with {regions}, but the units are {needed}: give series of these, "
            f"in a file without {' and '.join(made)}, or take the regions of the file (units=rois, {regions}, no "
            "roi_volume)"
        )
    for option, value in made.items():
        if value != (chosen := getattr(choices, option)):
            raise InputError(
                f"{name} holds series of regions made with {option}={value}, but {option} is {chosen}: give "
                f"{option}={value}, or series of these regions"
            )


def _checked_run(run: NDArray[Any], rois: NDArray[np.int64], where: str, name: str) -> Iterator[tuple[int, str]]:
    """Refuse a run that cannot be used; the regions that are constant in it."""
    if run.ndim != 2 or run.shape[1] != len(rois) or run.dtype.kind not in "fiu":
        turned = " Is it transposed?" if run.ndim == 2 and run.shape[0] == len(rois) else ""
        raise InputError(
            f"{where} has shape {run.shape}, but (n_times, {len(rois)}) was expected, a column for each region.{turned}"
        )
    if len(run) < 3:
        raise InputError(f"{where} has {len(run)} time points; a correlation needs at least 3")
    bad = np.flatnonzero(~np.isfinite(run).all(axis=0))
    if bad.size:
        raise InputError(f"{where}: region {rois[bad[0]]} has values that are not finite (NaN or infinity)")
    for column in np.flatnonzero(np.ptp(run, axis=0) == 0):
        yield int(rois[column]), f"constant in run '{name}' (outside the field of view?)"


def recurrent_activity(series: Series, ids: NDArray[np.int64], choices: Choices) -> RecurrentActivity:
    """The runs one after the other, each a trial, in the order of `ids`, and the mean of their correlations."""
    order = np.argsort(series.rois)
    columns = order[np.searchsorted(series.rois[order], ids)]
    named = {name: np.asarray(run)[:, columns] for name, run in series.runs.items()}
    runs = list(named.values())
    return RecurrentActivity(
        timeseries=np.concatenate([_standardised(run) for run in runs]),
        connectivity=mean_connectivity(named, ids),
        sampling_interval=None if choices.scrub is not None else series.t_r,
        trials=np.repeat(np.arange(1, len(runs) + 1), [len(run) for run in runs]),
    )


def _standardised(run: Floats) -> Floats:
    # Runs of another gain or offset would otherwise differ by that more than by what the brain did.
    centred = run - run.mean(axis=0, dtype=np.float64)
    return np.asarray(centred / centred.std(axis=0), dtype=np.float32)


def mean_connectivity(runs: Mapping[str, Floats], rois: NDArray[np.int64]) -> NDArray[np.float32]:
    """Pearson r of each run, averaged as Fisher z and brought back to r; one block of rows at a time.

    Parameters
    ----------
    runs : mapping of str to (n_times, n_units) array
    rois : (n_units,) integers
        Numbers of the columns.

    Returns
    -------
    (n_units, n_units) float32 array

    Raises
    ------
    InputError
        If two columns of a run are the same, so that z is infinite.
    """
    units = {}
    for name, run in runs.items():
        centred = run - run.mean(axis=0, dtype=np.float64)
        units[name] = np.ascontiguousarray((centred / np.linalg.norm(centred, axis=0)).T, dtype=np.float32)
    n_units = len(rois)
    mean = np.empty((n_units, n_units), dtype=np.float32)
    for start in range(0, n_units, _BLOCK_ROWS):
        rows = slice(start, start + _BLOCK_ROWS)
        z: Any = np.float32(0)
        for name, each in units.items():
            r = each[rows] @ each.T
            _check_different(r, start, runs[name], rois, name)
            if len(units) > 1:
                z += np.arctanh(np.clip(r, -_NEARLY_ONE, _NEARLY_ONE))
        mean[rows] = r if len(units) == 1 else np.tanh(z / np.float32(len(units)))
    np.clip(mean, -1, 1, out=mean)
    np.fill_diagonal(mean, 1)
    return mean


def _check_different(r: NDArray[np.float32], start: int, run: Floats, rois: NDArray[np.int64], name: str) -> None:
    """Refuse a run in which two regions have the same series; `r` are its rows from `start` on."""
    # float32 finds who may be the same, float64 who is.
    for row, j in np.argwhere(np.triu(np.abs(r) >= _PERHAPS_ONE, k=start + 1)):
        i = start + row
        exact = np.corrcoef(run[:, [i, j]].T.astype(np.float64))[0, 1]
        if abs(exact) > _NEARLY_ONE:
            raise InputError(
                f"run '{name}': the regions {rois[i]} and {rois[j]} have the same time series (r = {exact:.0f}), so "
                "that their Fisher z is infinite. Were they filled from one another, or do the confounds leave nothing?"
            )
