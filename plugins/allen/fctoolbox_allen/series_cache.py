"""The cache of cleaned series, one file for each run and way of cleaning it."""

import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fctoolbox.chunks import content_key
from fctoolbox.data import cache_folder, sha256_of, written_whole
from fctoolbox.errors import InputError, blamed_on

# Part of the name of what is kept: raise it when the same files and settings shall give other numbers.
_VERSION = 1


def kept_path(path: Path, labels: Any, mask: Any, *settings: Any) -> Path:
    """Where the series of a run are kept: named after the content of its file, labels, mask and all settings."""
    import nilearn

    volumes = [None if each is None else (np.asarray(each.dataobj), each.affine) for each in (labels, mask)]
    key = content_key((_VERSION, nilearn.__version__, sha256_of(path), volumes, settings))
    return cache_folder() / "allen" / "runs" / f"{key[:32]}.npz"


def kept_series(path: Path) -> tuple[NDArray[np.int64], NDArray[np.float64], dict[int, str]] | None:
    """Labels, their series, and why others have none, as `keep_series` left them; None where it did not.

    Raises
    ------
    InputError
        If what is there is damaged, and cannot be removed.
    """
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


def keep_series(path: Path, ids: NDArray[np.int64], series: NDArray[np.float64], dropped: Mapping[int, str]) -> None:
    """Keep labels, their series (n_times, n_rois), and why others have none.

    Raises
    ------
    InputError
        If the cache cannot be written.
    """
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
