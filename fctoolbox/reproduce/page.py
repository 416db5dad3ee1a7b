"""What a reproduced figure consists of, and its files."""

import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fctoolbox.data import written_whole

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_PACKAGES = ("fctoolbox", "numpy", "scipy", "numba")


@dataclass(frozen=True, eq=False)
class Panel:
    """One picture of a page.

    Parameters
    ----------
    name : str
        Of its files: ``figures/PAGE-NAME.svg`` and ``.png``.
    figure : matplotlib Figure
    caption : str
    wide : bool
        Across the whole page.
    """

    name: str
    figure: "Figure"
    caption: str
    wide: bool = False


@dataclass(frozen=True)
class Table:
    """Numbers of a page.

    Parameters
    ----------
    title : str
    columns : sequence of str
    rows : sequence of sequences
        Numbers are shown with four digits after the point, None as a dash.
    caption : str
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]
    caption: str = ""


@dataclass(frozen=True, eq=False)
class Page:
    """A reproduced figure.

    Parameters
    ----------
    name : str
        ``"fig1"``.
    title : str
    claim : str
        What the paper says, in our words.
    found : sequence of str
        What was found here, with its numbers, whatever it is; the first sentence is the answer.
    panels : sequence of Panel
    tables : sequence of Table
    statistics : mapping
        All numbers, for programs: strings, numbers, lists and mappings of them.
    notes : sequence of str
        How it was done: sizes, choices, what differs from the paper.
    synthetic : bool
        Whether made-up data stand for real ones somewhere.
    packages : sequence of str
        Distributions that took part, beside our own.
    sources : sequence of str
        Citations of the data.
    """

    name: str
    title: str
    claim: str
    found: tuple[str, ...]
    panels: tuple[Panel, ...]
    tables: tuple[Table, ...] = ()
    statistics: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    synthetic: bool = False
    packages: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()


def save_page(page: Page, folder: Path, *, command: str = "") -> Path:
    """Write a page, its statistics and its figures; the path of the page.

    Parameters
    ----------
    page : Page
    folder : Path
        Made if need be.
    command : str
        What the user typed.

    Returns
    -------
    Path
        ``folder/NAME.html``, beside ``NAME.json`` and ``figures/``.
    """
    from fctoolbox.report.figures import rendered
    from fctoolbox.report.page import embedded, environment

    pictures = rendered({panel.name: panel.figure for panel in page.panels})
    versions = _versions(page.packages)
    content = {
        "figure": page.name,
        "title": page.title,
        "claim": page.claim,
        "found": list(page.found),
        "panels": [{"name": panel.name, "caption": panel.caption} for panel in page.panels],
        "statistics": page.statistics,
        "tables": [{"title": each.title, "columns": each.columns, "rows": each.rows} for each in page.tables],
        "notes": list(page.notes),
        "synthetic": page.synthetic,
        "provenance": {"command": command, "versions": versions, "sources": list(page.sources)},
    }
    # allow_nan=False: a NaN that got this far must stop here, not in somebody's parser.
    text = json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False)
    html = environment().get_template("reproduction.html.jinja").render(
        title=f"fctoolbox: {page.name}",
        page=page,
        figures={name: embedded(picture) for name, picture in pictures.items()},
        command=command,
        versions=versions,
    )  # fmt: skip
    for name, picture in pictures.items():
        for kind in ("svg", "png"):
            with written_whole(folder / "figures" / f"{page.name}-{name}.{kind}") as path:
                path.write_bytes(getattr(picture, kind))
    with written_whole(folder / f"{page.name}.json") as path:
        path.write_text(text + "\n", encoding="utf-8")
    with written_whole(folder / f"{page.name}.html") as path:
        path.write_text(html, encoding="utf-8")
    return folder / f"{page.name}.html"


def save_index(
    folder: Path, names: Sequence[str], failures: Mapping[str, str] | None = None, *, command: str = ""
) -> Path:
    """Write a page with the answer of each figure that the folder has, of earlier runs too; its path.

    Parameters
    ----------
    folder : Path
    names : sequence of str
        Of all figures there could be, in their order.
    failures : mapping of str to str
        The figures that could not be made, and why.
    command : str
        What the user typed.
    """
    from fctoolbox.report.page import environment

    failures = failures or {}
    files = [folder / f"{name}.json" for name in names if name not in failures]
    html = environment().get_template("reproductions.html.jinja").render(
        title="fctoolbox: figures reproduced",
        pages=[json.loads(file.read_text(encoding="utf-8")) for file in files if file.is_file()],
        failures=failures,
        command=command,
        versions=_versions(()),
    )  # fmt: skip
    with written_whole(folder / "index.html") as path:
        path.write_text(html, encoding="utf-8")
    return folder / "index.html"


def _versions(packages: Sequence[str]) -> dict[str, str]:
    found = {"python": platform.python_version()}
    for name in (*_PACKAGES, *packages):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found
