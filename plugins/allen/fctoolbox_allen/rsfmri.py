"""Resting-state fMRI of lightly anaesthetised mice: Grandjean et al., as selected by Rabuffo et al. 2025."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fctoolbox.errors import InputError, listed, suggestion
from fctoolbox.safe_pickle import load_array_pickle

# Columns of one hemisphere; the right hemisphere comes first, then the left. The file does not store this
# order. ACA and RSP stand in it twice, which proves it: only columns of the same name correlate with r = 1.
_ORDER = (
    "FRP MOp SSp-n SSp-bfd SSp-ll SSp-m SSp-ul SSp-tr SSs AUDp VISal VISam VISl VISp ACA ACA ORB AI RSP RSP "
    "TEa ECT AON COAp TR"
)
ROIS = tuple(_ORDER.split())
HEMISPHERES = ("right", "left")
SAMPLING_INTERVAL = 1.0  # seconds
_IDENTICAL = 1e-6

Scans = Mapping[int, NDArray[np.float64]]


def read_scans(path: Path) -> Scans:
    """The time series of every scan, by its number.

    Parameters
    ----------
    path : Path
        A pickle of a dictionary from scan number (text) to a (n_times, 50) array; see `ROIS`.

    Returns
    -------
    mapping of int to (n_times, 50) array
        In the order of their numbers.

    Raises
    ------
    InputError
        If the pickle holds anything but arrays, or its columns are not the 50 regions in the known order.
    """
    content = load_array_pickle(path)
    if not isinstance(content, dict) or not content or not all(str(key).isdecimal() for key in content):
        raise InputError(
            f"{path.name} holds a {type(content).__name__}; a dictionary of scans '1', '2', … was expected"
        )
    scans = {int(key): np.asarray(content[key]) for key in sorted(content, key=int)}
    for number, timeseries in scans.items():
        _check_scan(timeseries, f"{path.name}, scan {number}")
    return {number: timeseries.astype(np.float64) for number, timeseries in scans.items()}


def choose_scans(scans: Scans, scan: int | str) -> Scans:
    """All scans (``"all"``), or the one of that number.

    Raises
    ------
    InputError
        If there is none of that number.
    """
    if scan == "all":
        return scans
    number = int(scan) if str(scan).isdecimal() else 0  # scans count from 1
    if number not in scans:
        raise InputError(f"scan is {scan!r}; it must be 'all' or one of the scans {min(scans)} … {max(scans)}")
    return {number: scans[number]}


def choose_areas(scans: Scans, hemisphere: str) -> tuple[tuple[str, ...], Scans]:
    """The areas of one hemisphere, each once, and the scans cut to them.

    Returns
    -------
    tuple of str
        Acronyms.
    mapping of int to (n_times, n_areas) array

    Raises
    ------
    InputError
        If the hemisphere is neither ``"left"`` nor ``"right"``.
    """
    if hemisphere not in HEMISPHERES:
        raise InputError(
            f"hemisphere is {hemisphere!r}; it must be 'left' or 'right'." + suggestion(str(hemisphere), HEMISPHERES)
        )
    areas = tuple(dict.fromkeys(ROIS))
    columns = [HEMISPHERES.index(hemisphere) * len(ROIS) + ROIS.index(area) for area in areas]
    return areas, {number: timeseries[:, columns] for number, timeseries in scans.items()}


def mean_connectivity(scans: Scans) -> NDArray[np.float64]:
    """Pearson r of each scan, averaged over scans: (n_areas, n_areas), ones on the diagonal."""
    mean: NDArray[np.float64] = np.mean(
        [np.corrcoef(timeseries, rowvar=False) for timeseries in scans.values()], axis=0
    )
    return mean


def _check_scan(timeseries: NDArray[Any], where: str) -> None:
    n_rois = len(ROIS) * len(HEMISPHERES)
    if timeseries.ndim != 2 or timeseries.shape[1] != n_rois or timeseries.dtype.kind not in "fiu":
        transposed = " Is it transposed?" if timeseries.ndim == 2 and timeseries.shape[0] == n_rois else ""
        raise InputError(
            f"{where}: it has shape {timeseries.shape}, but (n_times, {n_rois}) was expected: 25 regions of "
            f"the right hemisphere, then 25 of the left ({listed(ROIS, most=3)}).{transposed}"
        )
    if not np.isfinite(timeseries).all():
        raise InputError(f"{where}: it has values that are not finite (NaN or infinity)")
    constant = np.flatnonzero(np.ptp(timeseries, axis=0) == 0)
    if constant.size:
        raise InputError(
            f"{where}: column {constant[0]} ({_roi(constant[0])}) is constant, so it correlates with nothing"
        )
    _check_order(np.corrcoef(timeseries, rowvar=False), where)


def _check_order(connectivity: NDArray[Any], where: str) -> None:
    names = np.array([_roi(column) for column in range(connectivity.shape[0])])
    same = names[:, None] == names
    wrong = np.argwhere(same != (connectivity > 1 - _IDENTICAL))
    if wrong.size:
        i, j = wrong[0]
        expected = "it must be 1, because they are the same region twice" if same[i, j] else "these regions differ"
        raise InputError(
            f"{where}: columns {i} ({names[i]}) and {j} ({names[j]}) correlate with r = "
            f"{connectivity[i, j]:.6f}, but {expected}. The columns are not in the expected order: 25 of the "
            "right hemisphere, then 25 of the left."
        )


def _roi(column: int) -> str:
    return f"{ROIS[column % len(ROIS)]} {HEMISPHERES[column // len(ROIS)]}"
