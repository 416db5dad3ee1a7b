"""Resting-state fMRI in NIfTI files: the cleaned time series of the regions of a label volume, run by run.

Reading, smoothing, averaging and cleaning are nilearn's; what it would pass over in silence is refused or named
here: values that are not finite, regions outside the field of view, labels in another space.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fctoolbox.errors import InputError, counted, listed
from fctoolbox.similarity import functional_connectivity
from fctoolbox_allen.cleaning import check_settings, cleaned_series
from fctoolbox_allen.confounds import kept_volumes, read_confounds, regressors_of
from fctoolbox_allen.extraction import MASKED, measured_voxels, region_series, unmeasured_labels
from fctoolbox_allen.label_volumes import Atlas, called, on_grid, read_atlas, read_mask
from fctoolbox_allen.nifti import readable
from fctoolbox_allen.run_files import RunFile, check_different, check_each, names_of_runs, open_run, repetition_time
from fctoolbox_allen.series_cache import keep_series, kept_path, kept_series
from fctoolbox_allen.space import Grid, check_covered, check_same_space, grid_of

_NOTHING_LEFT = 1e-9


@dataclass(frozen=True, eq=False)
class BoldRuns:
    """Cleaned time series of one or more runs.

    Parameters
    ----------
    series : mapping of str to (n_times, n_rois) array
        By the name of the run. Scrubbed volumes are not in it.
    rois : (n_rois,) integers
        Their labels, ascending: those that all runs have.
    dropped : mapping of int to str
        Labels that are left out, and why.
    t_r : float
        Seconds between two volumes.
    scrubbed : mapping of str to int
        How many volumes of each run were left out.
    grids : mapping of str to Grid
        The voxels of each run.
    names : mapping of int to str
        What messages call the labels; ``"label 7"`` where it says nothing.
    """

    series: Mapping[str, NDArray[np.float64]]
    rois: NDArray[np.int64]
    dropped: Mapping[int, str]
    t_r: float
    scrubbed: Mapping[str, int]
    grids: Mapping[str, Grid]
    names: Mapping[int, str] = field(default_factory=dict)


# The cache's keys hold the name of this class and of its module: where either changes, all runs are cleaned anew.
@dataclass(frozen=True)
class Cleaning:
    """What is done to each run; see `read_runs`."""

    low: float | None = 0.01
    high: float | None = 0.1
    smoothing_fwhm: float | None = 0.5


def read_runs(
    paths: Sequence[str | Path],
    labels: Any,
    *,
    mask: Any = None,
    t_r: float | None = None,
    low: float | None = 0.01,
    high: float | None = 0.1,
    smoothing_fwhm: float | None = 0.5,
    confounds: Sequence[str | Path] | None = None,
    columns: Sequence[str] | None = None,
    scrub: str | Sequence[Any] | None = None,
    names: Mapping[int, str] | None = None,
    labels_name: str = "the labels",
) -> BoldRuns:
    """Mean time series of the regions of a label volume, cleaned by nilearn.

    In this order: smoothing, mean over the voxels of each label that were measured, straight line and frequencies
    outside the band removed from signal and confounds (Butterworth of order 5, forth and back; scrubbed volumes are
    interpolated for it), scrubbed volumes left out, confounds regressed out.

    Parameters
    ----------
    paths : sequence of path
        4-D NIfTI images, one for each run.
    labels : path or nibabel image
        3-D, whole numbers, 0 for the background. Its voxels may differ from those of the runs; its space may not.
    mask : path or nibabel image, optional
        3-D; only voxels where it is not 0 are used.
    t_r : float, optional
        Seconds between two volumes; the header's when left out.
    low, high : float, optional
        Hz, the band that is kept; None leaves that side open.
    smoothing_fwhm : float, optional
        Of the Gaussian, mm.
    confounds : sequence of path, optional
        One table (TSV or CSV, with a header) for each run, one row for each volume.
    columns : sequence of str, optional
        Of the confounds, those to regress out; all but the one for scrubbing when left out.
    scrub : str or sequence, optional
        The column of the confounds that is 1 for a volume to be left out; or, for each run, one bool for each volume,
        the volumes' numbers (from 0), or a table: numbers in a column ``frame``, or 0 and 1 in a column ``scrub``.
    names : mapping of int to str, optional
        What messages call the labels, such as the area that each stands for.
    labels_name : str
        What messages call the labels together, where they are no file.

    Returns
    -------
    BoldRuns

    Raises
    ------
    InputError
        If an image has another number of dimensions, space or repetition time than it should, a table another length,
        or a value is not finite where it counts.

    References
    ----------
    nilearn; Lindquist et al. 2019, Human Brain Mapping 40:2358-2376 (why confounds are filtered too).
    """
    check_installed()
    run_names = names_of_runs(paths)
    cleaning = Cleaning(low, high, smoothing_fwhm)
    atlas = read_atlas(labels, labels_name, names or {})
    mask_volume = None if mask is None else read_mask(mask)
    check_each("confounds", confounds, run_names)
    if scrub is not None and not isinstance(scrub, str):
        check_each("scrub", scrub, run_names)
    if (columns is not None or isinstance(scrub, str)) and confounds is None:
        option = "scrub" if isinstance(scrub, str) else "columns"
        raise InputError(f"{option} names a column of the confounds, but no confounds were given; give their tables")

    from tqdm import tqdm

    runs = []
    for k, (name, path) in enumerate(zip(run_names, map(Path, paths), strict=True)):
        image = open_run(path)
        spent, n_times = repetition_time(image, name, t_r), image.shape[3]
        check_settings(low, high, smoothing_fwhm, t_r=spent, n_times=n_times, name=name)
        table = None if confounds is None else read_confounds(Path(confounds[k]), n_times, name)
        kept = kept_volumes(scrub if isinstance(scrub, str) or scrub is None else scrub[k], table, n_times, name)
        runs.append(RunFile(name, path, image, spent, regressors_of(table, columns, scrub, kept, name), kept))
    # Before the first of them is read: cleaning many takes hours.
    for run in runs:
        _check_space(run.grid, atlas, mask_volume)
    check_different(runs)
    found = {run.name: _cleaned(run, atlas, mask_volume, cleaning) for run in tqdm(runs, desc="runs", disable=None)}
    return _joined(found, atlas, None if mask_volume is None else mask_volume[1], runs[0].t_r)


def check_installed() -> None:
    """Refuse to go on without nilearn and nibabel.

    Raises
    ------
    InputError
        With the command that installs them.
    """
    missing = [name for name in ("nilearn", "nibabel") if find_spec(name) is None]
    if missing:
        raise InputError(
            f"rsfMRI runs need {listed(missing)}, which is not installed: pip install 'fctoolbox-allen[bold]'"
        )


def connectivity_of(series: NDArray[np.float64]) -> NDArray[np.float64]:
    """Pearson r between the regions of one run: (n_rois, n_rois), ones on the diagonal."""
    return np.asarray(functional_connectivity(series), dtype=np.float64)


def group_connectivity(runs: BoldRuns) -> NDArray[np.float64]:
    """The mean of the runs' Fisher z, as r: tanh(mean(arctanh r)); (n_rois, n_rois), ones on the diagonal.

    Raises
    ------
    InputError
        If two regions have the same series, so that z is infinite.
    """
    total = np.zeros((len(runs.rois), len(runs.rois)))
    for name, series in runs.series.items():
        r = connectivity_of(series)
        np.fill_diagonal(r, 0)
        same = np.argwhere(np.abs(r) >= 1)
        if same.size:
            i, j = same[0]
            raise InputError(
                f"{name}: {called(runs.names, runs.rois[i])} and {called(runs.names, runs.rois[j])} have the same "
                f"time series (r = {r[i, j]:.0f}), so that their Fisher z is infinite. Leave one of them out; or do "
                "the confounds leave nothing?"
            )
        total += np.arctanh(r)
    group: NDArray[np.float64] = np.tanh(total / len(runs.series))
    np.fill_diagonal(group, 1)
    return group


@dataclass(frozen=True, eq=False)
class _CleanedRun:
    """The series of one run's labels `ids`, and why others have none."""

    ids: NDArray[np.int64]
    series: NDArray[np.float64]
    dropped: Mapping[int, str]
    n_scrubbed: int
    grid: Grid


def _check_space(grid: Grid, atlas: Atlas, mask: tuple[Any, str] | None) -> None:
    check_same_space(grid_of(atlas.image, atlas.name), grid)
    if mask is not None:
        check_same_space(grid_of(*mask), grid)


def _cleaned(run: RunFile, atlas: Atlas, mask: tuple[Any, str] | None, cleaning: Cleaning) -> _CleanedRun:
    """One run, from the cache if the same was done before."""
    name, image, grid, ids = run.name, run.image, run.grid, atlas.ids
    mask_image, mask_name = (None, None) if mask is None else mask
    n_scrubbed = 0 if run.kept is None else image.shape[3] - run.kept.size
    kept_at = kept_path(run.path, atlas.image, mask_image, run.t_r, cleaning, run.regressors, run.kept)
    known = kept_series(kept_at)
    if known is not None:
        return _CleanedRun(*known, n_scrubbed, grid)
    of_voxel = on_grid(atlas.image, image, grid, atlas.name)
    in_mask = np.ones(grid.shape, bool) if mask is None else on_grid(mask_image, image, grid, mask[1]) != 0
    with readable(name):
        # Written to below: of an uncompressed file this is a copy-on-write map, of others an array of our own.
        data = np.asarray(image.dataobj, dtype=np.float32)
    measured, silent = measured_voxels(data, np.where(in_mask, of_voxel, 0), name, atlas.names)
    check_covered((of_voxel != 0) & in_mask, measured, grid, atlas.name)
    dropped = unmeasured_labels(ids, of_voxel, in_mask, measured, silent)
    if len(dropped) == len(ids):
        raise InputError(
            f"{name}: none of the {counted(len(ids), 'label')} of {atlas.name} was measured: "
            f"{atlas.sorted_out(_with_mask(dropped, mask_name))}. Look at run, labels and mask one over the other"
        )
    found, series = region_series(data, image, of_voxel, in_mask & measured, cleaning.smoothing_fwhm)
    series = cleaned_series(
        series, run.t_r, low=cleaning.low, high=cleaning.high, regressors=run.regressors, kept=run.kept
    )
    spread = series.std(axis=0)
    empty = spread <= _NOTHING_LEFT * np.median(spread)
    dropped |= dict.fromkeys((int(each) for each in found[empty]), "nothing is left of it after cleaning")
    keep_series(kept_at, found[~empty], series[:, ~empty], dropped)
    return _CleanedRun(found[~empty], series[:, ~empty], dropped, n_scrubbed, grid)


def _with_mask(dropped: Mapping[int, str], mask_name: str | None) -> dict[int, str]:
    """The reasons with the mask's name: not kept in the cache, where another file of the same content finds them."""
    return {label: f"{why} {mask_name}" if why == MASKED else why for label, why in dropped.items()}


def _joined(found: Mapping[str, _CleanedRun], atlas: Atlas, mask_name: str | None, t_r: float) -> BoldRuns:
    """The runs, cut to the labels that all of them have."""
    runs_of: dict[int, dict[str, list[str]]] = {}
    for name, run in found.items():
        for label, reason in _with_mask(run.dropped, mask_name).items():
            runs_of.setdefault(label, {}).setdefault(reason, []).append(name)
    dropped = {label: _why(reasons, len(found)) for label, reasons in runs_of.items()}
    rois = np.array([label for label in atlas.ids if int(label) not in dropped], dtype=np.int64)
    if not rois.size:
        raise InputError(
            f"none of the {counted(len(atlas.ids), 'label')} of {atlas.name} was measured in all of the "
            f"{counted(len(found), 'run')}: {atlas.sorted_out(dropped)}. Leave the runs out that cover little"
        )
    series = {name: run.series[:, np.searchsorted(run.ids, rois)] for name, run in found.items()}
    return BoldRuns(
        series=series,
        rois=rois,
        dropped=dict(sorted(dropped.items())),
        t_r=t_r,
        scrubbed={name: run.n_scrubbed for name, run in found.items()},
        grids={name: run.grid for name, run in found.items()},
        names=atlas.names,
    )


def _why(reasons: Mapping[str, Sequence[str]], n_runs: int) -> str:
    """Why a label has no series; with the runs' names, where it is not so in all of them."""
    return "; ".join(
        reason if len(runs) == n_runs else f"{reason} ({'run' if len(runs) == 1 else 'runs'} {listed(runs)})"
        for reason, runs in reasons.items()
    )
