"""Figure S1: the question of figure 1, asked of networks trained on go/no-go."""

from collections.abc import Callable

from fctoolbox.chunks import Workers
from fctoolbox.reproduce.function_pages import function_page
from fctoolbox.reproduce.networks import GO_NOGO
from fctoolbox.reproduce.page import Page

CLAIM = (
    "what holds of networks that decide between two stimuli holds of networks that must respond to one stimulus and "
    "hold back at the other: modules carry quantities of the task, and their loss costs particular trials."
)


def make(*, quick: bool, rng: int, workers: Workers, progress: Callable[[str], object]) -> Page:
    """The page (see `fctoolbox.reproduce.make_page`)."""
    return function_page(
        "figS1", "What modules of trained networks carry: go/no-go", CLAIM, GO_NOGO,
        quick=quick, rng=rng, workers=workers, progress=progress,
    )  # fmt: skip
