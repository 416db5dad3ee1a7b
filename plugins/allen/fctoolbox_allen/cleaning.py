"""What is removed from the series of a run: drift, frequencies outside the band, scrubbed volumes, confounds."""

import numpy as np
from numpy.typing import NDArray

from fctoolbox.errors import InputError, counted
from fctoolbox_allen.confounds import LEAST_TIMES


def check_settings(
    low: float | None, high: float | None, smoothing_fwhm: float | None, *, t_r: float, n_times: int, name: str
) -> None:
    """Refuse a band that a run does not hold, a width that is none, and a run that is too short to filter.

    Parameters
    ----------
    low, high : float, optional
        Hz; None leaves that side open.
    smoothing_fwhm : float, optional
        mm.
    t_r : float
        Seconds between two volumes of the run.
    n_times : int
        How many it has.
    name : str
        What messages call it.

    Raises
    ------
    InputError
    """
    nyquist = 0.5 / t_r
    for option, value in (("low", low), ("high", high)):
        if value is not None and not 0 < value < nyquist:
            raise InputError(
                f"{option} is {value:g} Hz, but {name} (a volume every {t_r:g} s) holds only frequencies between 0 and "
                f"{nyquist:g} Hz; give one of these, or 0 to leave that side of the band open"
            )
    if low is not None and high is not None and low >= high:
        raise InputError(f"the band from low = {low:g} Hz to high = {high:g} Hz is empty; low must be less")
    if smoothing_fwhm is not None and not 0 <= smoothing_fwhm < np.inf:
        raise InputError(f"smoothing_fwhm is {smoothing_fwhm!r}; it must be a width in mm, 0 for none")
    if (low is not None or high is not None) and n_times < LEAST_TIMES:
        raise InputError(
            f"{name} has {counted(n_times, 'volume')}; to filter it, at least {LEAST_TIMES} are needed. Is it a run of "
            "its own, or a test of the scanner?"
        )


def cleaned_series(
    series: NDArray[np.float64],
    t_r: float,
    *,
    low: float | None,
    high: float | None,
    regressors: NDArray[np.float64] | None,
    kept: NDArray[np.int64] | None,
) -> NDArray[np.float64]:
    """Detrended, filtered, scrubbed, free of the confounds, and with a mean of 0.

    Parameters
    ----------
    series : (n_times, n_rois) array
    t_r : float
        Seconds between two volumes.
    low, high : float, optional
        Hz, the band that is kept; None leaves that side open.
    regressors : (n_times, n_regressors) array, optional
    kept : (n_kept,) integers, optional
        The volumes that are not scrubbed; all when None.

    Returns
    -------
    (n_kept, n_rois) array
    """
    from nilearn.signal import clean
    from scipy.interpolate import CubicSpline

    is_filtered = low is not None or high is not None
    band = {
        "detrend": True,
        "filter": "butterworth" if is_filtered else False,
        "low_pass": high,
        "high_pass": low,
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
