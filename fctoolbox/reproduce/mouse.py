"""The mouse for pages that need a real projection; its miniature where the data are not at hand."""

from collections.abc import Callable

from fctoolbox.errors import DataUnavailable
from fctoolbox.plugins import load
from fctoolbox.system import RecurrentSystem

REAL, MINIATURE = "mouse-regional", "mouse-mini"


def mouse(progress: Callable[[str], object]) -> RecurrentSystem:
    """``mouse-regional`` where its files are there or can be fetched, else ``mouse-mini``, which is synthetic."""
    try:
        return load(REAL)
    except DataUnavailable:
        progress(
            f"the files of {REAL} are not there (`fctoolbox fetch {REAL}` says how to get them); {MINIATURE} instead"
        )
        return load(MINIATURE)
