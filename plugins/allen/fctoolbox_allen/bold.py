"""Resting-state fMRI in NIfTI files: the cleaned time series of the regions of a label volume, run by run.

Reading, smoothing, averaging and cleaning are nilearn's; what it would pass over in silence is refused or named
here: values that are not finite, regions outside the field of view, labels in another space.
"""

import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fctoolbox.chunks import content_key
from fctoolbox.data import cache_folder, sha256_of, written_whole
from fctoolbox.errors import InputError, blamed_on, listed
from fctoolbox.similarity import functional_connectivity
from fctoolbox.tables import check_exists
from fctoolbox_allen.confounds import LEAST_TIMES, counted, kept_volumes, read_confounds, regressors_of
from fctoolbox_allen.space import Grid, check_covered, check_same_space, check_size, grid_of

# Part of the name of what is kept: raise it when the same files and settings shall give other numbers.
_VERSION = 1
_SAME_TR = 1e-3
_NOTHING_LEFT = 1e-9
_MASKED = "outside the mask"
_SECONDS = {"sec": 1.0, "msec": 1e-3, "usec": 1e-6}


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
    run_names = _run_names(paths)
    cleaning = Cleaning(low, high, smoothing_fwhm)
    atlas = _atlas(labels, labels_name, names or {})
    mask_volume = None if mask is None else _mask(mask)
    _check_each("confounds", confounds, run_names)
    if scrub is not None and not isinstance(scrub, str):
        _check_each("scrub", scrub, run_names)
    if (columns is not None or isinstance(scrub, str)) and confounds is None:
        option = "scrub" if isinstance(scrub, str) else "columns"
        raise InputError(f"{option} names a column of the confounds, but no confounds were given; give their tables")

    from tqdm import tqdm

    jobs = []
    for k, (name, path) in enumerate(zip(run_names, map(Path, paths), strict=True)):
        image = _four_dimensional(path)
        spent, n_times = _repetition_time(image, name, t_r), image.shape[3]
        _check_band(cleaning, spent, n_times, name)
        table = None if confounds is None else read_confounds(Path(confounds[k]), n_times, name)
        kept = kept_volumes(scrub if isinstance(scrub, str) or scrub is None else scrub[k], table, n_times, name)
        jobs.append(_Job(name, path, image, spent, regressors_of(table, columns, scrub, kept, name), kept))
    # Before the first of them is read: cleaning many takes hours.
    for job in jobs:
        _check_space(job.grid, atlas, mask_volume)
    _check_different(jobs)
    found = {job.name: _cleaned(job, atlas, mask_volume, cleaning) for job in tqdm(jobs, desc="runs", disable=None)}
    return _joined(found, atlas, None if mask_volume is None else mask_volume[1], jobs[0].t_r)


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


def label_volume(source: Any, what: str) -> tuple[Any, str]:
    """A 3-D image of whole numbers with its data read, and what messages call it.

    Parameters
    ----------
    source : path or nibabel image
    what : str
        What it holds; its name where it is no file.

    Raises
    ------
    InputError
        If it cannot be read, has another number of dimensions, or other values.
    """
    import nibabel

    named = isinstance(source, str | Path)
    image, name = (_open(Path(source)), Path(source).name) if named else (source, what)
    if len(image.shape) == 4 and image.shape[3] == 1:
        image = image.slicer[..., 0]
    if len(image.shape) != 3:
        raise InputError(f"{name} has the shape {image.shape}; {what} must be a 3-D image")
    with _readable(name):
        data = np.asarray(image.dataobj)
    if not np.isfinite(data).all():
        raise InputError(
            f"{name} has values that are not finite (NaN or infinity); {what} must be whole numbers, 0 outside"
        )
    if (data != np.round(data)).any() or np.abs(data).max(initial=0) >= 2**31:
        raise InputError(
            f"{name} has values that are not whole numbers below 2³¹. Are those really {what}? What was resampled must "
            "be made again with the nearest neighbour, and a map of probabilities needs a threshold"
        )
    return nibabel.Nifti1Image(data.astype(np.int32), image.affine), name


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
                f"{name}: {_called(runs.names, runs.rois[i])} and {_called(runs.names, runs.rois[j])} have the same "
                f"time series (r = {r[i, j]:.0f}), so that their Fisher z is infinite. Leave one of them out; or do "
                "the confounds leave nothing?"
            )
        total += np.arctanh(r)
    group: NDArray[np.float64] = np.tanh(total / len(runs.series))
    np.fill_diagonal(group, 1)
    return group


@dataclass(frozen=True, eq=False)
class _Atlas:
    """The label volume, its labels, and what messages call it and them."""

    image: Any
    name: str
    ids: NDArray[np.int64]
    names: Mapping[int, str]

    def sorted_out(self, dropped: Mapping[int, str]) -> str:
        """The labels that were dropped for each reason."""
        reasons = dict.fromkeys(dropped.values())
        return "; ".join(
            f"{listed(_called(self.names, each) for each, why in dropped.items() if why == reason)} ({reason})"
            for reason in reasons
        )


@dataclass(frozen=True, eq=False)
class _Job:
    """A run that is to be cleaned; its data are not read yet."""

    name: str
    path: Path
    image: Any
    t_r: float
    regressors: NDArray[np.float64] | None
    kept: NDArray[np.int64] | None

    @property
    def grid(self) -> Grid:
        return grid_of(self.image, self.name)


@dataclass(frozen=True, eq=False)
class _Run:
    """One run: series of the labels `ids`, and why others have none."""

    ids: NDArray[np.int64]
    series: NDArray[np.float64]
    dropped: Mapping[int, str]
    n_scrubbed: int
    grid: Grid


def _called(names: Mapping[int, str], label: Any) -> str:
    return names.get(int(label), f"label {label}")


def _atlas(labels: Any, labels_name: str, names: Mapping[int, str]) -> _Atlas:
    image, name = label_volume(labels, labels_name)
    ids = _label_ids(image, name)
    check_size(np.asarray(image.dataobj) != 0, grid_of(image, name))
    return _Atlas(image, name, ids, names)


def _mask(mask: Any) -> tuple[Any, str]:
    """The mask, and what messages call it."""
    image, name = label_volume(mask, "the mask")
    if not np.asarray(image.dataobj).any():
        raise InputError(f"{name} is 0 everywhere, so that it leaves nothing; a mask is not 0 inside the brain")
    return image, name


def _check_space(grid: Grid, atlas: _Atlas, mask: tuple[Any, str] | None) -> None:
    check_same_space(grid_of(atlas.image, atlas.name), grid)
    if mask is not None:
        check_same_space(grid_of(*mask), grid)


def _check_different(jobs: Sequence[_Job]) -> None:
    """Refuse runs of different repetition times, and a run that is the copy of another."""
    slow, fast = max(jobs, key=lambda job: job.t_r), min(jobs, key=lambda job: job.t_r)
    if slow.t_r - fast.t_r > _SAME_TR * fast.t_r:
        raise InputError(
            f"the runs differ in their repetition time: {slow.name} has {slow.t_r:g} s, {fast.name} has "
            f"{fast.t_r:g} s. Analyse them apart, or correct the header that is wrong"
        )
    sizes = Counter(job.path.stat().st_size for job in jobs)
    first: dict[str, str] = {}
    for job in jobs:
        if sizes[job.path.stat().st_size] > 1 and first.setdefault(sha256_of(job.path), job.name) != job.name:
            raise InputError(
                f"{first[sha256_of(job.path)]} and {job.name} are the same run: their files are equal to the last "
                "byte. Leave one of them out"
            )


def _cleaned(job: _Job, atlas: _Atlas, mask: tuple[Any, str] | None, cleaning: Cleaning) -> _Run:
    """One run, from the cache if the same was done before."""
    name, image, grid, ids = job.name, job.image, job.grid, atlas.ids
    mask_image, mask_name = (None, None) if mask is None else mask
    n_scrubbed = 0 if job.kept is None else image.shape[3] - job.kept.size
    kept_at = _kept_path(job.path, atlas.image, mask_image, job.t_r, cleaning, job.regressors, job.kept)
    known = _from_cache(kept_at)
    if known is not None:
        return _Run(*known, n_scrubbed, grid)
    of_voxel = _on_grid(atlas.image, image, grid, atlas.name)
    in_mask = np.ones(grid.shape, bool) if mask is None else _on_grid(mask_image, image, grid, mask[1]) != 0
    with _readable(name):
        # Written to below: of an uncompressed file this is a copy-on-write map, of others an array of our own.
        data = np.asarray(image.dataobj, dtype=np.float32)
    measured, silent = _measured(data, np.where(in_mask, of_voxel, 0), name, atlas.names)
    check_covered((of_voxel != 0) & in_mask, measured, grid, atlas.name)
    dropped = _unmeasured(ids, of_voxel, in_mask, measured, silent)
    if len(dropped) == len(ids):
        raise InputError(
            f"{name}: none of the {counted(len(ids), 'label')} of {atlas.name} was measured: "
            f"{atlas.sorted_out(_with_mask(dropped, mask_name))}. Look at run, labels and mask one over the other"
        )
    found, series = _extracted(data, image, of_voxel, in_mask & measured, cleaning.smoothing_fwhm)
    series = _filtered(series, job.t_r, cleaning, job.regressors, job.kept)
    spread = series.std(axis=0)
    empty = spread <= _NOTHING_LEFT * np.median(spread)
    dropped |= dict.fromkeys((int(each) for each in found[empty]), "nothing is left of it after cleaning")
    _keep(kept_at, found[~empty], series[:, ~empty], dropped)
    return _Run(found[~empty], series[:, ~empty], dropped, n_scrubbed, grid)


def _with_mask(dropped: Mapping[int, str], mask_name: str | None) -> dict[int, str]:
    """The reasons with the mask's name: not kept in the cache, where another file of the same content finds them."""
    return {label: f"{why} {mask_name}" if why == _MASKED else why for label, why in dropped.items()}


def _measured(
    data: NDArray[np.float32], of_voxel: NDArray[np.int64], name: str, names: Mapping[int, str]
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Voxels whose signal changes, and voxels that are empty; `data` is centred, and what was not measured made 0."""
    finite = np.isfinite(data)
    always, ever = finite.all(axis=3), finite.any(axis=3)
    gaps = ever & ~always & (of_voxel != 0)
    if gaps.any():
        voxel = tuple(int(i) for i in np.argwhere(gaps)[0])
        frame = int(np.argmin(finite[voxel]))
        regions = listed(_called(names, each) for each in np.unique(of_voxel[gaps]))
        raise InputError(
            f"{name}: NaN or infinity in some volumes and numbers in others, in {counted(int(gaps.sum()), 'voxel')} of "
            f"{regions}; the first at {voxel} in volume {frame} (counted from 0). Nothing is filled in: leave these "
            "voxels out with a mask"
        )
    data[~always] = 0
    silent = ~always | ~data.any(axis=3)
    changes = always & (np.ptp(data, axis=3) > 0)
    # Everything below is linear and removes the mean anyhow; without it float32 keeps the digits of the fluctuations.
    data -= data.mean(axis=3, dtype=np.float64, keepdims=True).astype(np.float32)
    data[~changes] = 0
    return np.asarray(changes), np.asarray(silent)


def _unmeasured(
    ids: NDArray[np.int64],
    of_voxel: NDArray[np.int64],
    in_mask: NDArray[np.bool_],
    measured: NDArray[np.bool_],
    silent: NDArray[np.bool_],
) -> dict[int, str]:
    """Labels without a measured voxel, and the reason."""
    reasons = (
        (np.ones(of_voxel.shape, bool), "no voxel on the grid of the run (too small, or outside the field of view)"),
        (in_mask, _MASKED),
        (in_mask & ~silent, "outside the field of view"),
        (in_mask & measured, "constant"),
    )
    dropped: dict[int, str] = {}
    for where, reason in reasons:
        absent = ids[~np.isin(ids, of_voxel[where])]
        dropped = dict.fromkeys((int(each) for each in absent), reason) | dropped
    return dict(sorted(dropped.items()))


def _extracted(
    data: NDArray[np.float32],
    image: Any,
    of_voxel: NDArray[np.int64],
    used: NDArray[np.bool_],
    smoothing_fwhm: float | None,
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Labels and their mean series (n_times, n_labels), by nilearn's masker; columns are found by label."""
    import nibabel
    from nilearn.maskers import NiftiLabelsMasker

    masker = NiftiLabelsMasker(
        labels_img=nibabel.Nifti1Image(np.where(used, of_voxel, 0).astype(np.int32), image.affine),
        smoothing_fwhm=smoothing_fwhm or None,
        standardize=None,
        resampling_target=None,
        reports=False,
    )
    series = np.asarray(masker.fit_transform(nibabel.Nifti1Image(data, image.affine)), dtype=np.float64)
    label_of = {int(column): int(label) for column, label in masker.region_ids_.items() if column != "background"}
    found = np.array([label_of[column] for column in range(series.shape[1])])
    order = np.argsort(found)
    return found[order], series[:, order]


def _filtered(
    series: NDArray[np.float64],
    t_r: float,
    cleaning: Cleaning,
    regressors: NDArray[np.float64] | None,
    kept: NDArray[np.int64] | None,
) -> NDArray[np.float64]:
    """Detrended, filtered, scrubbed, free of the confounds, and with a mean of 0."""
    from nilearn.signal import clean
    from scipy.interpolate import CubicSpline

    is_filtered = cleaning.low is not None or cleaning.high is not None
    band = {
        "detrend": True,
        "filter": "butterworth" if is_filtered else False,
        "low_pass": cleaning.high,
        "high_pass": cleaning.low,
        "t_r": t_r,
    }
    if kept is not None and not is_filtered:
        series, regressors, kept = series[kept], None if regressors is None else regressors[kept], None
    if kept is None:
        cleaned = clean(series, confounds=regressors, standardize=None, **band)
    else:
        # Not by nilearn's sample_mask: 0.14.1 inverts a list of volumes bit by bit, so that it interpolates the mirror
        # images of the scrubbed volumes and leaves the scrubbed ones themselves to the filter.
        both = series if regressors is None else np.hstack([series, regressors])
        whole = CubicSpline(kept, both[kept])(np.arange(kept[0], kept[-1] + 1))
        both = clean(whole, standardize=None, **band)[kept - kept[0]]
        series, rest = np.split(both, [series.shape[1]], axis=1)
        if regressors is None:
            cleaned = series
        else:
            cleaned = clean(series, confounds=rest, detrend=False, filter=False, standardize=None)
    # What is left of the mean is the filter's (and the confounds'), not the brain's.
    centred: NDArray[np.float64] = np.ascontiguousarray(cleaned - cleaned.mean(axis=0), dtype=np.float64)
    return centred


def _joined(found: Mapping[str, _Run], atlas: _Atlas, mask_name: str | None, t_r: float) -> BoldRuns:
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


def _open(path: Path) -> Any:
    import nibabel
    from nibabel.filebasedimages import ImageFileError
    from nibabel.spatialimages import HeaderDataError

    check_exists(path)
    try:
        image: Any = nibabel.load(path)
    except (ImageFileError, HeaderDataError, ValueError, OSError, EOFError) as error:
        raise InputError(f"{path} cannot be read as a NIfTI image: {error}") from error
    if (kind := image.get_data_dtype()).kind not in "biuf":
        raise InputError(f"{path} holds colours or complex numbers ({kind}); real numbers are needed. Export them")
    return image


def _four_dimensional(path: Path) -> Any:
    image = _open(path)
    if len(image.shape) != 4 or image.shape[3] < 2:
        raise InputError(
            f"{path} has the shape {image.shape}; a run has four dimensions, the last of them time. Is it a mean "
            "image, or an anatomical one?"
        )
    return image


@contextmanager
def _readable(name: str) -> Iterator[None]:
    """Turn what a damaged image raises while its data are read into an InputError."""
    try:
        yield
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise InputError(f"{name} is damaged, or was cut off: {error}. Copy or export it again") from error


def _label_ids(image: Any, name: str) -> NDArray[np.int64]:
    ids: NDArray[np.int64] = np.unique(np.asarray(image.dataobj)).astype(np.int64)
    ids = ids[ids != 0]
    if not ids.size:
        raise InputError(f"{name} holds no label: all its voxels are 0; each region needs a number of its own")
    return ids


def _on_grid(volume: Any, image: Any, grid: Grid, name: str) -> NDArray[np.int64]:
    """A label volume on the run's voxels: the nearest voxel's label."""
    on_grid: NDArray[np.int64]
    if grid.equals(grid_of(volume, name)):
        on_grid = np.asarray(volume.dataobj, dtype=np.int64)
        return on_grid
    from nilearn.image import resample_img

    moved = resample_img(
        volume,
        target_affine=image.affine,
        target_shape=grid.shape,
        interpolation="nearest",
        copy_header=True,
        force_resample=True,
    )
    on_grid = np.round(np.asarray(moved.dataobj)).astype(np.int64)
    return on_grid


def _repetition_time(image: Any, name: str, t_r: float | None) -> float:
    """Seconds between two volumes, where header and option agree."""
    if t_r is not None and not (isinstance(t_r, int | float) and not isinstance(t_r, bool) and 0 < t_r < np.inf):
        raise InputError(f"t_r is {t_r!r}; it must be a positive number of seconds")
    unit = image.header.get_xyzt_units()[1] if hasattr(image.header, "get_xyzt_units") else "unknown"
    number = float(image.header.get_zooms()[3])
    said = number * _SECONDS.get(unit, 0.0)  # without a unit the number means nothing
    if t_r is None:
        if not 0 < said < np.inf:
            what = f"{number:g} s" if unit in _SECONDS else f"{number:g} without a unit of time"
            raise InputError(
                f"{name}: its header does not say the repetition time (it has {what}); give it in seconds as t_r"
            )
        return said
    if 0 < said < np.inf and abs(said - t_r) > _SAME_TR * t_r:
        raise InputError(
            f"{name}: its header says a repetition time of {said:g} s, but t_r is {t_r:g} s. Leave t_r out where the "
            "header is right; where it is wrong, correct it"
        )
    return float(t_r)


def _check_band(cleaning: Cleaning, t_r: float, n_times: int, name: str) -> None:
    low, high, width = cleaning.low, cleaning.high, cleaning.smoothing_fwhm
    nyquist = 0.5 / t_r
    for option, value in (("low", low), ("high", high)):
        if value is not None and not 0 < value < nyquist:
            raise InputError(
                f"{option} is {value:g} Hz, but {name} (a volume every {t_r:g} s) holds only frequencies between 0 and "
                f"{nyquist:g} Hz; give one of these, or 0 to leave that side of the band open"
            )
    if low is not None and high is not None and low >= high:
        raise InputError(f"the band from low = {low:g} Hz to high = {high:g} Hz is empty; low must be less")
    if width is not None and not 0 <= width < np.inf:
        raise InputError(f"smoothing_fwhm is {width!r}; it must be a width in mm, 0 for none")
    if (low is not None or high is not None) and n_times < LEAST_TIMES:
        raise InputError(
            f"{name} has {counted(n_times, 'volume')}; to filter it, at least {LEAST_TIMES} are needed. Is it a run of "
            "its own, or a test of the scanner?"
        )


def _check_each(option: str, given: Sequence[Any] | None, names: Sequence[str]) -> None:
    if given is not None and len(given) != len(names):
        raise InputError(
            f"{option} has {counted(len(given), 'entry', 'entries')}, but there {'is' if len(names) == 1 else 'are'} "
            f"{counted(len(names), 'run')} ({listed(names)}): one for each is needed, in the same order"
        )


def _run_names(paths: Sequence[str | Path]) -> list[str]:
    """The files' names without their endings; with their folders, where they alone would repeat."""
    if not paths:
        raise InputError("no run was given")
    parts = [Path(path).parts for path in paths]
    for depth in range(1, max(map(len, parts)) + 1):
        names = ["/".join(each[-depth:]).removesuffix(".gz").removesuffix(".nii") for each in parts]
        if len(set(names)) == len(names):
            return names
    twice = next(name for name, count in Counter(names).items() if count > 1)
    raise InputError(f"the run {twice} was given twice; leave it out once")


def _kept_path(path: Path, labels: Any, mask: Any, *settings: Any) -> Path:
    import nilearn

    volumes = [None if each is None else (np.asarray(each.dataobj), each.affine) for each in (labels, mask)]
    key = content_key((_VERSION, nilearn.__version__, sha256_of(path), volumes, settings))
    return cache_folder() / "allen" / "runs" / f"{key[:32]}.npz"


def _from_cache(path: Path) -> tuple[NDArray[np.int64], NDArray[np.float64], dict[int, str]] | None:
    if not path.is_file():
        return None
    try:
        with path.open("rb") as stream, np.load(stream) as arrays:
            reasons = zip(arrays["dropped"].tolist(), arrays["reasons"].tolist(), strict=True)
            return arrays["ids"], arrays["series"], dict(reasons)
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        with _cache_blamed(), blamed_on(f"{path} is damaged, and cannot be made anew"):
            path.unlink()
        return None


def _keep(path: Path, ids: NDArray[np.int64], series: NDArray[np.float64], dropped: Mapping[int, str]) -> None:
    with _cache_blamed(), written_whole(path) as temporary:
        np.savez(
            temporary,
            ids=ids,
            series=series,
            dropped=np.array(list(dropped), dtype=np.int64),
            reasons=np.array(list(dropped.values()), dtype=str),
        )


@contextmanager
def _cache_blamed() -> Iterator[None]:
    """Say what to do where the cache cannot be written."""
    try:
        yield
    except InputError as error:
        raise InputError(
            f"{error}. The cleaned series of a run are kept there: make room or give the right to write, or name "
            "another folder with the environment variable FCTOOLBOX_CACHE"
        ) from error
