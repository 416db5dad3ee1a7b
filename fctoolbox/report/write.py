"""Which files a report consists of."""

import csv
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fctoolbox.data import written_whole
from fctoolbox.errors import blamed_on
from fctoolbox.origin import SCHEMA, OriginReport
from fctoolbox.report.figures import NAMES, Picture, rendered, report_figures
from fctoolbox.report.nifti import write_labels
from fctoolbox.report.page import comparison_page, folder_names, report_page
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
        each voxel, counted from 1; 0 is no unit.
    """
    pictures = rendered(report_figures(report))
    _save_parts(report, folder, pictures, command)
    return _write_text(folder / "report.html", report_page(report, pictures, command=command))


def save_comparison(reports: Sequence[OriginReport], folder: Path, *, command: str = "") -> Path:
    """Write several reports, each into a folder of its own, and one page with a column for each; its path.

    ``folder/report.json`` holds ``{"schema": 1, "comparison": [report, …]}``.
    """
    pictures = [rendered(report_figures(report)) for report in reports]
    contents = []
    names = folder_names(reports)
    for name, report, its_pictures in zip(names, reports, pictures, strict=True):
        content = _save_parts(report, folder / name, its_pictures, command)
        _write_text(folder / name / "report.html", report_page(report, its_pictures, command=command))
        content["communities"]["labels"] = f"{name}/labels.tsv"
        contents.append(content)
    _write_json(folder / "report.json", {"schema": SCHEMA, "comparison": contents})
    return _write_text(folder / "report.html", comparison_page(reports, pictures, command=command))


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
    _save_volumes(report, folder)
    for name, picture in pictures.items():
        for kind, content_of in (("svg", picture.svg), ("png", picture.png)):
            with written_whole(folder / "figures" / f"{name}.{kind}") as path:
                path.write_bytes(content_of)
    _remove(folder / "figures" / f"{name}.{kind}" for name in NAMES if name not in pictures for kind in ("svg", "png"))
    return content


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
