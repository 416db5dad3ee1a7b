"""Time series of the parcels of a label volume, from 4-D runs; averaged and cleaned by nilearn."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fctoolbox.errors import InputError, listed
from fctoolbox.randomness import python_random_kept
from fctoolbox.similarity import constant_units
from fctoolbox.tables import read_table
from fctoolbox_hcp.label_volumes import LabelImage, open_image

_SECONDS = {"sec": 1.0, "msec": 1e-3, "usec": 1e-6}
_SAME_TR = 1e-3
_LEAST_TIMES = 20  # to be filtered
_NOTHING_LEFT = 1e-9


@dataclass(frozen=True)
class Cleaning:
    """What is done to each run after a straight line was taken off.

    Parameters
    ----------
    t_r : float or None
        Seconds between two volumes; the header's when None.
    low, high : float or None
        The band that is kept, Hz.
    """

    t_r: float | None = None
    low: float | None = 0.01
    high: float | None = 0.1


def cleaned(
    image: LabelImage, units: Sequence[int], path: Path, cleaning: Cleaning, confounds: Path | None
) -> tuple[NDArray[np.float64], dict[int, str], float | None]:
    """The cleaned series of the parcels of one run.

    Returns
    -------
    (n_times, n_units) array
        Zeros where there is none.
    dict of int to str
        Units without, and why.
    float or None
        Seconds between two volumes.

    Raises
    ------
    InputError
        If the run or its table cannot be used, or no parcel was measured.
    """
    with python_random_kept():  # some modules that nilearn imports draw from it
        from nilearn.signal import clean

    run = open_image(path)
    if len(run.shape) != 4 or run.shape[3] < 3:
        raise InputError(f"{path} has the shape {run.shape}; a run has four dimensions, the last of them time")
    t_r = _repetition_time(run, path, cleaning.t_r)
    n_times = run.shape[3]
    _check_band(cleaning, t_r, n_times, path)
    regressors = None if confounds is None else _confounds(confounds, n_times, path)
    raw, absent = _means(image, units, run, path)
    for k in np.flatnonzero(constant_units(raw)).tolist():
        absent.setdefault(k, "constant")
    if len(absent) == len(units):
        reasons = listed(dict.fromkeys(absent.values()))
        raise InputError(
            f"none of the {len(units)} labels of {image.path} was measured in {path}: {reasons}. Are both in the same "
            "space? Look at one over the other"
        )
    filtered = cleaning.low is not None or cleaning.high is not None
    series = clean(
        raw,
        detrend=True,
        standardize=None,
        confounds=regressors,
        filter="butterworth" if filtered else False,
        low_pass=cleaning.high,
        high_pass=cleaning.low,
        t_r=t_r,
    )
    series = np.asarray(series, dtype=np.float64)
    # What is left of a series that the confounds explain is rounding, and would correlate with anything.
    for k in np.flatnonzero(series.std(axis=0) <= _NOTHING_LEFT * raw.std(axis=0)).tolist():
        absent.setdefault(k, "nothing is left of it after cleaning")
    series[:, list(absent)] = 0
    return series, absent, t_r


def _means(image: LabelImage, units: Sequence[int], run: Any, path: Path) -> tuple[NDArray[np.float64], dict[int, str]]:
    """The mean over the voxels of each unit, without each voxel's own mean; by nilearn's masker."""
    import nibabel

    with python_random_kept():
        from nilearn.image import resample_img
        from nilearn.maskers import NiftiLabelsMasker

    kept = np.where(np.isin(image.labels, units), image.labels, 0).astype(np.int32)
    labels = nibabel.Nifti1Image(kept, image.affine)
    if labels.shape != run.shape[:3] or not np.allclose(labels.affine, run.affine, atol=1e-4):
        labels = resample_img(labels, target_affine=run.affine, target_shape=run.shape[:3], interpolation="nearest",
                              force_resample=True, copy_header=True)  # fmt: skip
    on_grid = np.round(np.asarray(labels.dataobj)).astype(np.int32)
    try:
        data = np.asarray(run.dataobj, dtype=np.float32)
    except (OSError, EOFError, ValueError) as error:
        raise InputError(f"{path} is damaged, or was cut off: {error}. Copy or export it again") from error
    finite = np.isfinite(data)
    always, ever = np.asarray(finite.all(axis=3)), np.asarray(finite.any(axis=3))
    if (gaps := ever & ~always & (on_grid > 0)).any():
        names = listed(image.names[int(each)] for each in np.unique(on_grid[gaps]))
        raise InputError(
            f"{path}: {np.count_nonzero(gaps):,} voxels of {names} are NaN or infinite in some volumes and not in "
            "others. Nothing is filled in: leave these voxels out of the labels"
        )
    # Without its mean float32 keeps the digits of the fluctuations; voxels that are never finite take no part.
    data = np.where(always[..., None], data, np.float32(0))
    data -= data.mean(axis=3, dtype=np.float64, keepdims=True).astype(np.float32)
    on_grid[~always] = 0
    raw = np.zeros((run.shape[3], len(units)))
    absent = {k: "no voxel was measured" for k, each in enumerate(units) if not (on_grid == each).any()}
    if len(absent) == len(units):
        return raw, absent
    masker = NiftiLabelsMasker(
        labels_img=nibabel.Nifti1Image(on_grid, run.affine), standardize=None, resampling_target=None, reports=False
    )
    found = np.asarray(masker.fit_transform(nibabel.Nifti1Image(data, run.affine)), dtype=np.float64)
    place = {each: k for k, each in enumerate(units)}
    for column, label in masker.region_ids_.items():
        if column != "background":
            raw[:, place[int(label)]] = found[:, int(column)]
    return raw, absent


def _repetition_time(run: Any, path: Path, given: float | None) -> float | None:
    unit = run.header.get_xyzt_units()[1] if hasattr(run.header, "get_xyzt_units") else "unknown"
    said = float(run.header.get_zooms()[3]) * _SECONDS.get(unit, 0.0)
    if given is None:
        return said if 0 < said < np.inf else None
    if isinstance(given, bool) or not 0 < given < np.inf:
        raise InputError(f"t_r is {given!r}; it must be a positive number of seconds")
    if 0 < said < np.inf and abs(said - given) > _SAME_TR * given:
        raise InputError(
            f"{path}: its header says a repetition time of {said:g} s, but t_r is {given:g} s. Leave t_r out where the "
            "header is right; where it is wrong, correct it"
        )
    return float(given)


def _check_band(cleaning: Cleaning, t_r: float | None, n_times: int, path: Path) -> None:
    low, high = cleaning.low, cleaning.high
    if low is None and high is None:
        return
    if t_r is None:
        raise InputError(f"the header of {path} does not say its repetition time; give it in seconds as t_r=")
    for option, value in (("low", low), ("high", high)):
        if value is not None and not 0 < value < 0.5 / t_r:
            raise InputError(
                f"{option} is {value:g} Hz, but {path} (a volume every {t_r:g} s) holds only frequencies between 0 and "
                f"{0.5 / t_r:g} Hz; give one of these, or 0 to leave that side of the band open"
            )
    if low is not None and high is not None and low >= high:
        raise InputError(f"the band from low = {low:g} Hz to high = {high:g} Hz is empty; low must be less")
    if n_times < _LEAST_TIMES:
        raise InputError(f"{path} has {n_times} volumes; to filter it, at least {_LEAST_TIMES} are needed")


def _confounds(path: Path, n_times: int, run: Path) -> NDArray[np.float64]:
    values: NDArray[np.float64] = np.asarray(read_table(path).values, dtype=np.float64)
    if len(values) != n_times:
        raise InputError(f"{path} has {len(values)} rows, but {run} has {n_times} volumes")
    return values
