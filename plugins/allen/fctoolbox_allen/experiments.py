"""Single tracer experiments of the Allen Mouse Brain Connectivity Atlas, read from the export folder that holds them.

The real AllenSDK makes the folder in an environment of its own (`fctoolbox_allen.allensdk_call`); what is here needs no
AllenSDK.
"""

import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fctoolbox.data import sha256_of
from fctoolbox.errors import InputError, blamed_on, listed
from fctoolbox_allen.ccf import Structure, read_structures

SCHEMA = 1
RECORD = "export.json"
# Of a set of structures: the sum, or the mean over their pixels (density and energy are per pixel).
MEASURES = {
    "normalized_projection_volume": "sum",
    "projection_volume": "sum",
    "projection_density": "mean",
    "projection_energy": "mean",
}
_COLUMNS = ("experiment_id", "structure_id", "hemisphere_id", "is_injection", "sum_pixels", *MEASURES)


@dataclass(frozen=True)
class Experiment:
    """One tracer injection.

    Parameters
    ----------
    id : int
        Of the experiment in the Allen atlas.
    structure : str
        Acronym of the structure that was injected above all.
    volume : float
        Of the injection, mm³.
    line : str
        The transgenic line; empty for wild type.
    """

    id: int
    structure: str
    volume: float
    line: str

    @property
    def name(self) -> str:
        """Structure and number, as in ``"LGd 100140756"``."""
        return f"{self.structure} {self.id}"


@dataclass(frozen=True, eq=False)
class Export:
    """What an export folder holds.

    Parameters
    ----------
    folder : Path
    record : mapping
        Of `export.json`: structures, resolution, server, versions, files.
    experiments : tuple of Experiment
        Ascending by id.
    structures : mapping of str to Structure
        The structure tree.
    unionizes : mapping of str to (n_rows,) array
        Columns of the table of unionizes.
    """

    folder: Path
    record: Mapping[str, Any]
    experiments: tuple[Experiment, ...]
    structures: Mapping[str, Structure]
    unionizes: Mapping[str, NDArray[Any]]


def read_export(folder: str | Path) -> Export:
    """Read an export folder.

    Parameters
    ----------
    folder : path
        With `export.json` and the files that it names.

    Raises
    ------
    InputError
        If a file is missing, altered, or not what it should be.
    """
    folder = Path(folder)
    record = _read_record(folder)
    structures = read_structures(_file(folder, record, "structures"))
    path = _file(folder, record, "experiments")
    acronym_of = {structure.id: acronym for acronym, structure in structures.items()}
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))
        experiments = tuple(
            Experiment(
                int(row["id"]),
                acronym_of[int(row["structure_id"])],
                float(row["injection_volume"]),
                str(row["transgenic_line"] or ""),
            )
            for row in sorted(rows, key=lambda row: int(row["id"]))
        )
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{path} is no list of experiments (each with id, structure_id, injection_volume and transgenic_line): "
            f"{type(error).__name__} {error}"
        ) from error
    return Export(folder, record, experiments, structures, _read_unionizes(_file(folder, record, "unionizes")))


def reference_files(folder: Path) -> dict[str, Path]:
    """The annotation and the structure tree of an export, by the names that `fctoolbox_allen.files.Files` has."""
    record = _read_record(folder)
    return {key: _file(folder, record, key) for key in ("annotation", "structures")}


def _read_record(folder: Path) -> dict[str, Any]:
    path = folder / RECORD
    if not path.is_file():
        raise InputError(
            f"{folder} is no export: it has no {RECORD}. Where an export was interrupted, run it again; it goes on"
        )
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        if record["schema"] != SCHEMA:
            raise InputError(f"{path} has schema {record['schema']}; this version reads {SCHEMA}. Export again")
        for key in ("structures", "experiments", "unionizes", "annotation"):
            record["files"][key]["name"], record["files"][key]["sha256"]
        return {"resolution": 25, **record, "structures": [str(each) for each in record["structures"]]}
    except (ValueError, KeyError, TypeError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path} is not the record of an export: {type(error).__name__} {error}") from error


def _file(folder: Path, record: Mapping[str, Any], key: str) -> Path:
    """A file of an export, proven to be the one that was exported."""
    about = record["files"][key]
    path = folder / Path(str(about["name"])).name
    with blamed_on(f"{path}, which {RECORD} names, cannot be read"):
        path.stat()
    if sha256_of(path) != about["sha256"]:
        raise InputError(
            f"{path} is not the file that was exported (another SHA-256). Remove {folder / RECORD} and export again"
        )
    return path


def _read_unionizes(path: Path) -> dict[str, NDArray[Any]]:
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as arrays:
            table = {name: arrays[name] for name in _COLUMNS}
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(f"{path} is no table of unionizes: {type(error).__name__} {error}") from error
    lengths = {array.shape for array in table.values()}
    if len(lengths) != 1 or any(array.ndim != 1 for array in table.values()):
        raise InputError(f"{path}: its columns have the shapes {listed(sorted(lengths))}; one length was expected")
    for name in ("sum_pixels", *MEASURES):
        if not (np.isfinite(table[name]) & (table[name] >= 0)).all():
            raise InputError(f"{path}: {name} has values that are negative or not finite")
    return table
