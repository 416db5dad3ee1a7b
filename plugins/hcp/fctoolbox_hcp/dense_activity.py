"""Functional connectivity of grayordinates, from a dense connectome, time series or a group PCA."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from fctoolbox.errors import InputError
from fctoolbox.similarity import constant_units, cosine_similarity, functional_connectivity
from fctoolbox_hcp.dense_files import Block, DenseFile, open_dense
from fctoolbox_hcp.structures import Structure

Kind = Literal["connectivity", "timeseries", "pca"]
Scale = Literal["fisher-z", "pearson-r"]

_FILE_KINDS = {"connectivity": ("dconn",), "timeseries": ("dtseries",), "pca": ("dtseries",)}
_ROWS = 128  # read, checked and brought to r while they are in the cache
_TILE = 2048
_LARGEST_R = np.float32(1 - 1e-7)
_TOLERANCE = 1e-6
_MIN_TIMES = 3


@dataclass(frozen=True, eq=False)
class DenseConnectivity:
    """Pearson r between grayordinates.

    Parameters
    ----------
    matrix : (n_kept, n_kept) array of float32
        Read-only, ones on the diagonal.
    kept : (n,) array of bool
        Which of the grayordinates asked for have a connectivity.
    reason : str
        Why the others have none.
    notes : mapping of str to str
    """

    matrix: Block
    kept: NDArray[np.bool_]
    reason: str = ""
    notes: dict[str, str] = field(default_factory=dict)


def open_activity(paths: Sequence[Path], kind: Kind) -> tuple[DenseFile, ...]:
    """Files of connectivity, time series or group PCA, their headers read and their sizes checked.

    Raises
    ------
    InputError
        See `open_dense`.
    """
    if kind == "pca" and len(paths) > 1:
        raise InputError(f"pca names {len(paths)} files; a group PCA is one file")
    for path in paths:
        if kind == "timeseries" and "grouppca" in path.name.lower():
            raise InputError(
                f"{path} is a group PCA by its name: its rows are components, not moments, and must not be centred. "
                "Give it with pca= instead of timeseries="
            )
    files = tuple(open_dense(path, _FILE_KINDS[kind], kind) for path in paths)
    for file in files:
        if kind == "connectivity" and file.axes[0] != file.axes[1]:
            raise InputError(f"{file.path} has other grayordinates along its rows than along its columns")
        if kind == "timeseries" and file.shape[0] < _MIN_TIMES:
            raise InputError(f"{file.path} has {file.shape[0]} time points; a correlation needs at least {_MIN_TIMES}")
    return files


def read_connectivity(
    files: Sequence[DenseFile],
    targets: Sequence[Structure],
    *,
    kind: Kind,
    scale: Scale = "fisher-z",
    keep: NDArray[np.bool_] | None = None,
) -> DenseConnectivity:
    """Pearson r between the grayordinates of the targets; nothing else of the files is kept in memory.

    A group PCA ``X`` (components × grayordinates) stands for the whole data ``Y`` as ``XᵀX ≈ YᵀY``, where ``Y`` was
    already centred over time (Smith et al. 2014). Its components have no mean to be taken off, so
    ``r_ij = x_i · x_j / (|x_i| |x_j|)``. Several runs, or several connectomes, are averaged as Fisher z.

    Parameters
    ----------
    files : sequence of DenseFile
        From `open_activity`.
    targets : sequence of Structure
    kind : {"connectivity", "timeseries", "pca"}
    scale : {"fisher-z", "pearson-r"}
        Of dense connectomes; the HCP's hold Fisher z.
    keep : (n,) array of bool, optional
        Which grayordinates of the targets are wanted, all of them together counted in the order of `targets`. The
        others are not read.

    Returns
    -------
    DenseConnectivity
        `kept` counts those wanted.

    Raises
    ------
    InputError
        If a file lacks a grayordinate, holds a number that is not finite, or is of the other scale.

    Notes
    -----
    The result takes 4 n² bytes: 3.5 GB for 29,696 vertices. Time series take 4 n bytes for each moment beside it.

    References
    ----------
    Smith et al. 2014, NeuroImage 101:738-749, doi:10.1016/j.neuroimage.2014.07.051 (group PCA).
    """
    if scale not in ("fisher-z", "pearson-r"):
        raise InputError(f"scale is {scale!r}; it must be 'fisher-z' (the HCP's dense connectomes) or 'pearson-r'")
    names = [name for structure in targets for name in structure.names]
    wanted = np.arange(len(names)) if keep is None else np.flatnonzero(keep)
    rows = [file.rows_of(targets, kind)[wanted] for file in files]
    where = _Where(names, wanted)
    return (
        _of_connectomes(files, rows, scale, where) if kind == "connectivity" else _of_series(files, rows, kind, where)
    )


@dataclass(frozen=True, eq=False)
class _Where:
    """Words for the rows of a result, from one of them on."""

    names: Sequence[str]
    wanted: NDArray[np.int64]
    first: int = 0

    def __call__(self, row: int) -> str:
        return str(self.names[self.wanted[self.first + row]])


def _of_connectomes(
    files: Sequence[DenseFile], rows: Sequence[NDArray[np.int64]], scale: Scale, where: _Where
) -> DenseConnectivity:
    from tqdm import tqdm

    for file, lines in zip(files, rows, strict=True):
        _check_diagonal(file, lines, scale)
    n = len(rows[0])
    matrix = np.empty((n, n), dtype=np.float32)
    silent = np.zeros(n, dtype=bool)
    with tqdm(total=n, desc="functional connectivity", unit="row", delay=2, disable=None) as bar:
        for start in range(0, n, _ROWS):
            block = slice(start, min(start + _ROWS, n))
            for number, (file, lines) in enumerate(zip(files, rows, strict=True)):
                here = replace(where, first=start)
                part = file.read(lines[block], lines, ignore=np.arange(n)[block], where=here)
                if scale == "pearson-r":
                    _check_range(part, file, here)
                silent[block] |= ~part.any(axis=1)
                if len(files) > 1 and scale == "pearson-r":
                    np.arctanh(np.clip(part, -_LARGEST_R, _LARGEST_R, out=part), out=part)
                if number == 0:
                    total = part
                else:
                    total += part
            if len(files) > 1:
                total /= len(files)
            matrix[block] = np.tanh(total, out=total) if len(files) > 1 or scale == "fisher-z" else total
            bar.update(block.stop - block.start)
    if silent.all():
        raise InputError(
            f"{files[0].path} holds only zeros between the grayordinates asked for ({where(0)}, …): it is empty there"
        )
    if silent.any():
        matrix = matrix[np.ix_(~silent, ~silent)]
    words = "Fisher z, brought back to r by tanh" if scale == "fisher-z" else "Pearson r"
    notes = {"Connectivity": f"{_listed(files)}: {words}" + _averaged(files, "dense connectomes")}
    return DenseConnectivity(_sealed(matrix), ~silent, "has no connectivity (zeros only)", notes)


def _of_series(
    files: Sequence[DenseFile], rows: Sequence[NDArray[np.int64]], kind: Kind, where: _Where
) -> DenseConnectivity:
    # One row for each grayordinate, as on disk.
    runs = [
        file.read(lines, np.arange(file.shape[0]), where=where, progress=file.path.name)
        for file, lines in zip(files, rows, strict=True)
    ]
    silent = np.any([~run.any(axis=1) if kind == "pca" else constant_units(run.T) for run in runs], axis=0)
    if silent.all():
        raise InputError(
            f"{files[0].path} is constant in all grayordinates asked for ({where(0)}, …): it is empty there"
        )
    if silent.any():
        runs = [run[~silent] for run in runs]
    if kind == "pca":
        matrix = cosine_similarity(runs[0])
        words = f"cosine between the {files[0].shape[0]:,} components of {_listed(files)}, a group PCA"
    else:
        matrix = functional_connectivity(runs[0].T) if len(runs) == 1 else _mean_correlation(runs)
        times = ", ".join(f"{len(run.T):,}" for run in runs)
        words = f"Pearson r of the time series in {_listed(files)} ({times} time points){_averaged(files, 'runs')}"
    return DenseConnectivity(_sealed(matrix), ~silent, "is constant", {"Connectivity": words})


def _mean_correlation(runs: list[Block]) -> Block:
    """The tanh of the mean over runs of Fisher z, a tile at a time."""
    from tqdm import tqdm

    for number, run in enumerate(runs):
        centred = run - run.mean(axis=1, keepdims=True, dtype=np.float64).astype(np.float32)
        centred /= np.linalg.norm(centred, axis=1, keepdims=True)
        runs[number] = centred
    n = len(runs[0])
    matrix = np.empty((n, n), dtype=np.float32)
    tiles = [slice(start, min(start + _TILE, n)) for start in range(0, n, _TILE)]
    pairs = [(one, two) for index, one in enumerate(tiles) for two in tiles[index:]]
    for one, two in tqdm(pairs, desc="functional connectivity", unit="tile", delay=2, disable=None):
        z = np.zeros((one.stop - one.start, two.stop - two.start), dtype=np.float32)
        for run in runs:
            z += np.arctanh(np.clip(run[one] @ run[two].T, -_LARGEST_R, _LARGEST_R))
        matrix[one, two] = np.tanh(z / len(runs))
        matrix[two, one] = matrix[one, two].T
    return matrix


def _check_diagonal(file: DenseFile, lines: NDArray[np.int64], scale: Scale) -> None:
    """Pearson r has ones there; Fisher z has infinity, or what its makers put in its place."""
    some = lines[:: max(1, len(lines) // 16)]
    diagonal = np.array([file.peek(int(line), int(line)) for line in some])
    if scale == "fisher-z" and np.allclose(diagonal, 1, atol=_TOLERANCE):
        raise InputError(
            f"{file.path} has ones on its diagonal, so it holds Pearson r, but scale is 'fisher-z' (what the HCP's "
            "dense connectomes hold). Use scale=pearson-r"
        )


def _check_range(part: Block, file: DenseFile, where: _Where) -> None:
    row = int(np.abs(part).max(axis=1).argmax())
    largest = float(np.abs(part[row]).max())
    if largest > 1 + _TOLERANCE:
        raise InputError(
            f"{file.path}: {where(row)} has {largest:.4g}, which is no Pearson r. If the file holds Fisher z, as the "
            "HCP's do, use scale=fisher-z"
        )


def _sealed(matrix: NDArray[np.floating]) -> Block:
    sealed = matrix.astype(np.float32, copy=False)
    np.fill_diagonal(sealed, 1)
    np.clip(sealed, -1, 1, out=sealed)
    sealed.flags.writeable = False
    return sealed


def _listed(files: Sequence[DenseFile]) -> str:
    first = files[0].path.name
    return first if len(files) == 1 else f"{first} and {len(files) - 1} more"


def _averaged(files: Sequence[DenseFile], what: str) -> str:
    return f"; mean of Fisher z over {len(files)} {what}" if len(files) > 1 else ""
