"""The files of runs, opened and checked before the first of them is read: cleaning many takes hours."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fctoolbox.data import sha256_of
from fctoolbox.errors import InputError, counted, listed
from fctoolbox_allen.nifti import open_image
from fctoolbox_allen.space import Grid, grid_of

_SAME_TR = 1e-3
_SECONDS = {"sec": 1.0, "msec": 1e-3, "usec": 1e-6}


@dataclass(frozen=True, eq=False)
class RunFile:
    """A run that is to be cleaned; its data are not read yet.

    Parameters
    ----------
    name : str
        What messages call it.
    path : Path
    image : nibabel image
        4-D.
    t_r : float
        Seconds between two volumes.
    regressors : (n_times, n_regressors) array, optional
        What is regressed out.
    kept : (n_kept,) integers, optional
        The volumes that are not scrubbed; all when None.
    """

    name: str
    path: Path
    image: Any
    t_r: float
    regressors: NDArray[np.float64] | None
    kept: NDArray[np.int64] | None

    @property
    def grid(self) -> Grid:
        """Its voxels."""
        return grid_of(self.image, self.name)


def names_of_runs(paths: Sequence[str | Path]) -> list[str]:
    """The files' names without their endings; with their folders, where they alone would repeat.

    Raises
    ------
    InputError
        If there is no run, or one twice.
    """
    if not paths:
        raise InputError("no run was given")
    parts = [Path(path).parts for path in paths]
    for depth in range(1, max(map(len, parts)) + 1):
        names = ["/".join(each[-depth:]).removesuffix(".gz").removesuffix(".nii") for each in parts]
        if len(set(names)) == len(names):
            return names
    twice = next(name for name, count in Counter(names).items() if count > 1)
    raise InputError(f"the run {twice} was given twice; leave it out once")


def open_run(path: Path) -> Any:
    """The nibabel image of a run.

    Raises
    ------
    InputError
        If it cannot be read, or has no time.
    """
    image = open_image(path)
    if len(image.shape) != 4 or image.shape[3] < 2:
        raise InputError(
            f"{path} has the shape {image.shape}; a run has four dimensions, the last of them time. Is it a mean "
            "image, or an anatomical one?"
        )
    return image


def repetition_time(image: Any, name: str, t_r: float | None) -> float:
    """Seconds between two volumes, where header and option agree.

    Raises
    ------
    InputError
        If they do not, or neither says it.
    """
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


def check_different(runs: Sequence[RunFile]) -> None:
    """Refuse runs of different repetition times, and a run that is the copy of another.

    Raises
    ------
    InputError
    """
    slow, fast = max(runs, key=lambda run: run.t_r), min(runs, key=lambda run: run.t_r)
    if slow.t_r - fast.t_r > _SAME_TR * fast.t_r:
        raise InputError(
            f"the runs differ in their repetition time: {slow.name} has {slow.t_r:g} s, {fast.name} has "
            f"{fast.t_r:g} s. Analyse them apart, or correct the header that is wrong"
        )
    sizes = Counter(run.path.stat().st_size for run in runs)
    first: dict[str, str] = {}
    for run in runs:
        if sizes[run.path.stat().st_size] > 1 and first.setdefault(sha256_of(run.path), run.name) != run.name:
            raise InputError(
                f"{first[sha256_of(run.path)]} and {run.name} are the same run: their files are equal to the last "
                "byte. Leave one of them out"
            )


def check_each(option: str, given: Sequence[Any] | None, names: Sequence[str]) -> None:
    """Refuse an option that has not one entry for each run.

    Raises
    ------
    InputError
    """
    if given is not None and len(given) != len(names):
        raise InputError(
            f"{option} has {counted(len(given), 'entry', 'entries')}, but there {'is' if len(names) == 1 else 'are'} "
            f"{counted(len(names), 'run')} ({listed(names)}): one for each is needed, in the same order"
        )
