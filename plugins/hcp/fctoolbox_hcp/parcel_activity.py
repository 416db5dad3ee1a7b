"""What parcels do: their time series, or the connectivity between them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from fctoolbox.errors import InputError, listed, suggestion
from fctoolbox.similarity import constant_units, functional_connectivity
from fctoolbox.system import RecurrentActivity
from fctoolbox_hcp.dense_files import DenseFile
from fctoolbox_hcp.parcellated import parcel_connectivity, parcel_names, parcel_series, places_by_name
from fctoolbox_hcp.structures import Structure

_LARGEST_R = 1 - 1e-7
_LEAST_UNITS = 3

Scale = Literal["fisher-z", "pearson-r"]


@dataclass(frozen=True, eq=False)
class Activity:
    """What was measured in parcels: a series or a connectivity, and why some have none.

    Parameters
    ----------
    timeseries : (n_times, n_parcels) array or None
    connectivity : (n_parcels, n_parcels) array or None
    scale : {"fisher-z", "pearson-r"}
    interval : float or None
        Seconds between two rows of the series.
    absent : mapping of int to str
        Parcels without, and why.
    notes : mapping of str to str
    """

    timeseries: NDArray[np.float64] | None = None
    connectivity: NDArray[np.float64] | None = None
    scale: Scale = "pearson-r"
    interval: float | None = None
    absent: Mapping[int, str] = field(default_factory=dict)
    notes: Mapping[str, str] = field(default_factory=dict)

    def of(self, kept: NDArray[np.int64]) -> RecurrentActivity:
        """The activity of these parcels."""
        series, matrix = self.timeseries, self.connectivity
        return RecurrentActivity(
            timeseries=None if series is None else series[:, kept],
            connectivity=None if matrix is None else matrix[np.ix_(kept, kept)],
            sampling_interval=None if series is None else self.interval,
            scale=self.scale,
        )


def read_activity(
    opened: Sequence[DenseFile],
    units: tuple[str, ...],
    parcel: NDArray[np.int64],
    targets: Sequence[Structure],
    parcellation: str,
    *,
    scale: str | None,
    common: bool,
) -> Activity:
    """What parcels do, from files of one kind.

    Parameters
    ----------
    opened : sequence of DenseFile
        ``.pconn.nii``, ``.dconn.nii``, ``.ptseries.nii`` or ``.dtseries.nii``.
    units : sequence of str
        The parcels.
    parcel : (n_grayordinates,) integers
        The unit of each grayordinate of the targets, -1 for none.
    targets : sequence of Structure
    parcellation : str
        Its name, for notes.
    scale : {"fisher-z", "pearson-r"} or None
        Of a connectivity; None stands for Pearson r between parcels, and Fisher z between grayordinates.
    common : bool
        Allow parcels that a file has not.

    Raises
    ------
    InputError
        If a file lacks a parcel, or holds another scale.
    """
    n = len(units)
    absent: dict[int, str] = {}
    parts: list[NDArray[np.float64]] = []
    kind = opened[0].kind
    for file in opened:
        if kind == "dtseries":
            parts.append(parcel_series(file, parcel, n, targets))
        elif kind == "dconn":
            parts.append(parcel_connectivity(file, parcel, n, targets))
        else:
            found = places_by_name(units, parcel_names(file), str(file.path), common=common)
            absent |= dict.fromkeys(np.flatnonzero(found < 0).tolist(), f"not in {file.path.name}")
            parts.append(_by_parcel(file, found))
    of_dense = f"; mean over the grayordinates of each parcel of {parcellation}" if kind.startswith("d") else ""
    files_ = listed(file.path.name for file in opened)
    if kind in ("pconn", "dconn"):
        known = _scale(scale, kind)
        for file, part in zip(opened, parts, strict=True):
            _check_scale(file, part, known, units)
        words = "Fisher z" if known == "fisher-z" else "Pearson r"
        if len(parts) > 1:
            z = [part if known == "fisher-z" else np.arctanh(np.clip(part, -_LARGEST_R, _LARGEST_R)) for part in parts]
            parts, known = [np.mean(z, axis=0)], "fisher-z"
            words += f", mean of Fisher z over {len(opened)} files"
        return Activity(connectivity=parts[0], scale=known, absent=absent,
                        notes={"Connectivity": f"{words} in {files_}{of_dense}"})  # fmt: skip
    return of_runs(parts, [file.path.name for file in opened], absent, _interval(opened[0]), of_dense)


def of_runs(
    series: Sequence[NDArray[np.float64]],
    names: Sequence[str],
    absent: Mapping[int, str],
    interval: float | None,
    remark: str = "",
) -> Activity:
    """The activity of one run as its series, of several as the mean of their Fisher z.

    Parameters
    ----------
    series : sequence of (n_times, n_parcels) array
    names : sequence of str
        Of the runs.
    absent : mapping of int to str
        Parcels that are not looked at.
    interval : float or None
        Seconds between two rows.
    remark : str
        Added to the note.
    """
    absent = dict(absent)
    times = ", ".join(f"{len(run):,}" for run in series)
    if len(series) == 1:
        notes = {"Connectivity": f"Pearson r of the time series in {names[0]} ({times} time points){remark}"}
        return Activity(timeseries=series[0], interval=interval, absent=absent, notes=notes)
    for run, name in zip(series, names, strict=True):
        for k in np.flatnonzero(constant_units(run)).tolist():
            absent.setdefault(k, f"constant in {name}")
    n = series[0].shape[1]
    kept = np.array([k for k in range(n) if k not in absent], dtype=np.int64)
    if len(kept) < _LEAST_UNITS:
        raise InputError(f"only {len(kept)} of {n} parcels vary in all of the runs {listed(names)}")
    z = np.mean([np.arctanh(np.clip(functional_connectivity(run[:, kept]), -_LARGEST_R, _LARGEST_R)) for run in series],
                axis=0)  # fmt: skip
    matrix = np.zeros((n, n))
    matrix[np.ix_(kept, kept)] = np.tanh(z)
    np.fill_diagonal(matrix, 1)
    notes = {
        "Connectivity": f"Pearson r of the time series in {listed(names)} ({times} time points), mean of Fisher z over "
        f"{len(series)} runs{remark}"
    }
    return Activity(connectivity=matrix, absent=absent, notes=notes)


def _by_parcel(file: DenseFile, places: NDArray[np.int64]) -> NDArray[np.float64]:
    """A connectivity or series of these parcels; zeros where the place is -1."""
    names = parcel_names(file)
    there = places[places >= 0]
    square = file.kind == "pconn"
    within = there if square else np.arange(file.shape[0])
    ignore = np.arange(len(there)) if square else None
    values = file.read(there, within, ignore=ignore, where=lambda row: f"parcel '{names[there[row]]}'")
    kept = np.flatnonzero(places >= 0)
    if square:
        matrix = np.zeros((len(places), len(places)))
        matrix[np.ix_(kept, kept)] = values
        return matrix
    series = np.zeros((file.shape[0], len(places)))
    series[:, kept] = values.T
    return series


def _scale(asked: str | None, kind: str) -> Scale:
    if asked not in (None, "fisher-z", "pearson-r"):
        raise InputError(
            f"scale is {asked!r}.{suggestion(str(asked), ['fisher-z', 'pearson-r'])} It must be "
            "'fisher-z' or 'pearson-r'"
        )
    return asked or ("fisher-z" if kind == "dconn" else "pearson-r")  # type: ignore[return-value]


def _check_scale(file: DenseFile, matrix: NDArray[np.float64], scale: Scale, units: Sequence[str]) -> None:
    flat = int(np.abs(matrix).argmax())
    i, j = divmod(flat, len(matrix))
    if scale == "pearson-r" and abs(matrix[i, j]) > 1 + 1e-6:
        raise InputError(
            f"{file.path} has {matrix[i, j]:.4g} between {units[i]} and {units[j]}, which is no Pearson r. If it holds "
            "Fisher z, use scale=fisher-z"
        )
    if scale == "fisher-z" and file.axes[0] == file.axes[1]:
        diagonal = [file.peek(k, k) for k in range(0, file.shape[0], max(1, file.shape[0] // 16))]
        if np.allclose(diagonal, 1, atol=1e-6):
            raise InputError(
                f"{file.path} has ones on its diagonal, so it holds Pearson r and not Fisher z. Use scale=pearson-r"
            )


def _interval(file: DenseFile) -> float | None:
    axis = file.axes[0]
    return float(axis.step) if str(axis.unit).upper() == "SECOND" and axis.step > 0 else None
