"""The paper's figures, found again: one page each, with what is claimed, and what was found here."""

from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path

from fctoolbox.chunks import Workers
from fctoolbox.errors import InputError, suggestion
from fctoolbox.reproduce.page import Page, Panel, Table, save_index, save_page

__all__ = ["FIGURES", "Page", "Panel", "Table", "make_page", "reproduce"]

# What each page asks; its module has `make(*, quick, rng, workers, progress) -> Page`.
FIGURES = {
    "fig1": "modules of trained networks: where they come from, and what they do",
    "fig2": "noise through a projection: does functional connectivity show the similarity of inputs?",
    "fig3": "trained networks, the mouse and the human, in one analysis",
    "figS1": "figure 1 again, on go/no-go",
    "figS4": "signs and sizes of input weights, and the modules that they make",
    "figS5": "does each module have an input of its own?",
    "figS7": "how many inputs, how many modules",
    "figS8": "two inputs: six rules for their weights",
}

Progress = Callable[[str], object]


def make_page(
    name: str, *, quick: bool = False, rng: int = 0, workers: Workers | None = None, progress: Progress | None = None
) -> Page:
    """One figure's page, computed.

    Parameters
    ----------
    name : str
        A key of `FIGURES`.
    quick : bool
        Fewer networks, nulls and draws: two minutes instead of most of an hour. The page says how many.
    rng : int
        Same number, same page.
    workers : Workers, optional
    progress : callable
        Is told what is being done.

    Returns
    -------
    Page

    Raises
    ------
    InputError
        If there is no such figure, or what it needs is not installed.
    """
    check_names([name])
    module = import_module(f"fctoolbox.reproduce.{name}")
    page: Page = module.make(quick=quick, rng=rng, workers=workers or Workers(), progress=progress or _silent)
    return page


def reproduce(
    names: Sequence[str],
    folder: str | Path,
    *,
    quick: bool = False,
    rng: int = 0,
    workers: Workers | None = None,
    progress: Progress | None = None,
    command: str = "",
) -> dict[str, str]:
    """Compute pages and write them: ``NAME.html``, ``NAME.json`` and figures each, and ``index.html``.

    Parameters
    ----------
    names : sequence of str
        Keys of `FIGURES`.
    folder : str or Path
    quick, rng, workers, progress
        See `make_page`.
    command : str
        What the user typed.

    Returns
    -------
    dict of str to str
        The figures that could not be made, and why. All others are written, each as soon as it is ready.

    Raises
    ------
    InputError
        If a name is unknown.
    """
    check_names(names)
    folder = Path(folder)
    failures = {}
    for name in dict.fromkeys(names):
        (progress or _silent)(f"{name}: {FIGURES[name]}")
        try:
            page = make_page(name, quick=quick, rng=rng, workers=workers, progress=progress)
        except InputError as error:  # the other figures need not suffer from data that this one lacks
            failures[name] = str(error)
            continue
        save_page(page, folder, command=command)
    save_index(folder, tuple(FIGURES), failures, command=command)
    return failures


def _silent(_: str) -> None:
    pass


def check_names(names: Sequence[str]) -> None:
    """Refuse figures that there are not.

    Raises
    ------
    InputError
    """
    if not names:
        raise InputError(f"name one figure or several of: {', '.join(FIGURES)}")
    for name in names:
        if name not in FIGURES:
            raise InputError(f"no figure '{name}'.{suggestion(name, FIGURES)} There are: {', '.join(FIGURES)}.")
