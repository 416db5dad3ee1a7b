"""Figure 1: modules of networks trained on perceptual decision-making."""

from collections.abc import Callable

from fctoolbox.chunks import Workers
from fctoolbox.reproduce.function_pages import function_page
from fctoolbox.reproduce.networks import DECISIONS
from fctoolbox.reproduce.page import Page

CLAIM = (
    "the modules of functional connectivity in a trained recurrent network are groups of units that belong together in "
    "what they do: they carry quantities of the task, those of the recurrent activity others than those of the input "
    "drive alone, and cutting a module off the outputs costs the network its answers to particular trials."
)


def make(*, quick: bool, rng: int, workers: Workers, progress: Callable[[str], object]) -> Page:
    """The page (see `fctoolbox.reproduce.make_page`)."""
    return function_page(
        "fig1", "What modules of trained networks carry: perceptual decision-making", CLAIM, DECISIONS,
        quick=quick, rng=rng, workers=workers, progress=progress,
    )  # fmt: skip
