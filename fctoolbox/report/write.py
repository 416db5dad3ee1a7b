"""Which files a report consists of."""

import csv
import json
import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fctoolbox.data import written_whole
from fctoolbox.errors import InputError, blamed_on
from fctoolbox.origin import SCHEMA, Dropped, OriginReport
from fctoolbox.plugins import installed
from fctoolbox.report.figures import NAMES, Picture, rendered, report_figures
from fctoolbox.report.nifti import write_labels
from fctoolbox.report.page import DROPPED, MOST_NAMED, comparison_page, folder_names, report_page
from fctoolbox.report.places import volume_of


def save_report(report: OriginReport, folder: Path, *, command: str = "") -> Path:
    """Write one report; the path of its page.

    Parameters
    ----------
    report : OriginReport
    folder : Path
        Made if need be. Files of an earlier report are replaced, each whole; figures that this one lacks go.
    command : str
        What the user typed.

    Returns
    -------
    Path
        ``folder/report.html``, beside ``report.json``, ``labels.tsv`` and ``figures/``. Where the geometry is a
        volume with units, also ``modules.nii.gz`` and ``units.nii.gz``: the module, and the place in ``labels.tsv``, of
        each voxel, counted from 1; 0 is no unit. Where more than 50 units were left out, ``dropped.tsv`` names them.
        And what the system's source writes (`Source.write_outputs`).

    Warns
    -----
    UserWarning
        If the source's own files cannot be written; all others are there then.
    """
    return _save_one(report, folder, rendered(report_figures(report)), command)[0]


def save_comparison(reports: Sequence[OriginReport], folder: Path, *, command: str = "") -> Path:
    """Write several reports, each into a folder of its own, and one page with a column for each; its path.

    ``folder/report.json`` holds ``{"schema": 1, "comparison": [report, …]}``.
    """
    pictures = [rendered(report_figures(report)) for report in reports]
    contents = []
    names = folder_names(reports)
    for name, report, its_pictures in zip(names, reports, pictures, strict=True):
        _, content = _save_one(report, folder / name, its_pictures, command)
        content["communities"]["labels"] = f"{name}/labels.tsv"
        contents.append(content)
    _write_json(folder / "report.json", {"schema": SCHEMA, "comparison": contents})
    return _write_text(folder / "report.html", comparison_page(reports, pictures, command=command))


def _save_one(
    report: OriginReport, folder: Path, pictures: Mapping[str, Picture], command: str
) -> tuple[Path, dict[str, Any]]:
    """All files of a report: the path of the page, and what report.json holds."""
    content = _save_parts(report, folder, pictures, command)
    outputs = [path.name for path in _outputs_of_source(report, folder)]
    page = report_page(report, pictures, command=command, outputs=outputs)
    return _write_text(folder / "report.html", page), content


def _outputs_of_source(report: OriginReport, folder: Path) -> list[Path]:
    """What the report's source writes of its own kind; if it fails, that is said, and nothing else is lost."""
    name = report.system.provenance.source
    source = installed().sources.get(name) if name else None
    if source is None or source.write_outputs is None:
        return []
    try:
        return [Path(path) for path in source.write_outputs(report, folder)]
    except Exception as error:  # noqa: BLE001  (whatever a plugin's code raises must not cost the report)
        why = " ".join(str(error).split()).rstrip(".")
        warnings.warn(
            f"source '{name}' could not write its own files into {folder}: "
            f"{why if isinstance(error, InputError) else f'{type(error).__name__}: {why}'}. All others are there.",
            stacklevel=2,
        )
        return []


def _save_parts(report: OriginReport, folder: Path, pictures: Mapping[str, Picture], command: str) -> dict[str, Any]:
    content = report.to_dict(command=command)
    _write_json(folder / "report.json", content)
    with written_whole(folder / "labels.tsv") as path, path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, delimiter="\t", lineterminator="\n")
        writer.writerow(["unit", "label", *report.system.annotations])
        writer.writerows(
            zip(
                report.system.units,
                report.communities.labels.tolist(),
                *report.system.annotations.values(),
                strict=True,
            )
        )
    save_dropped(report.dropped, folder)
    _save_volumes(report, folder)
    for name, picture in pictures.items():
        for kind, content_of in (("svg", picture.svg), ("png", picture.png)):
            with written_whole(folder / "figures" / f"{name}.{kind}") as path:
                path.write_bytes(content_of)
    _remove(folder / "figures" / f"{name}.{kind}" for name in NAMES if name not in pictures for kind in ("svg", "png"))
    return content


def save_dropped(dropped: Sequence[Dropped], folder: Path) -> None:
    """Write which units were left out, and why, where they are too many for the page."""
    target = folder / DROPPED
    if len(dropped) <= MOST_NAMED:
        _remove((target,))
        return
    with written_whole(target) as path, path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, delimiter="\t", lineterminator="\n")
        writer.writerow(["unit", "reason"])
        writer.writerows((each.unit, each.reason) for each in dropped)


def _save_volumes(report: OriginReport, folder: Path) -> None:
    modules, units = folder / "modules.nii.gz", folder / "units.nii.gz"
    volume = volume_of(report)
    if volume is None:
        _remove((modules, units))
        return
    write_labels(modules, volume, report.communities.labels, description="module + 1")
    write_labels(units, volume, np.arange(report.system.n_units), description="row of labels.tsv")


def _remove(paths: Iterable[Path]) -> None:
    # A file of an earlier report would be taken for one of this report.
    for path in paths:
        with blamed_on(f"{path} cannot be removed"):
            path.unlink(missing_ok=True)


def _write_json(path: Path, content: dict[str, Any]) -> None:
    # allow_nan=False: a NaN that got this far must stop here, not in somebody's parser.
    _write_text(path, json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def _write_text(path: Path, text: str) -> Path:
    with written_whole(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return path
