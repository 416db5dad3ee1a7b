"""Single tracer experiments of the Allen Mouse Brain Connectivity Atlas as inputs of the mouse cortex.

The real AllenSDK fetches them in an environment of its own (`allensdk_export.py`) into an export folder; what is here
reads that folder and needs no AllenSDK.
"""

import json
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
from numpy.typing import NDArray

from fctoolbox.data import cache_folder, sha256_of
from fctoolbox.errors import DataUnavailable, InputError, blamed_on, listed, suggestion
from fctoolbox.system import InputProjection
from fctoolbox_allen.ccf import Structure, ids_within, read_structures

SCHEMA = 1
SCRIPT = Path(__file__).with_name("allensdk_export.py")
RECORD = "export.json"
RESOLUTIONS = (10, 25, 50, 100)  # µm, of the annotation; the script offers the same
# Of a set of structures: the sum, or the mean over their pixels (density and energy are per pixel).
MEASURES = {
    "normalized_projection_volume": "sum",
    "projection_volume": "sum",
    "projection_density": "mean",
    "projection_energy": "mean",
}
SIDES = ("ipsi", "contra", "both")
_LEFT, _RIGHT, _BOTH = 1, 2, 3
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


@dataclass(frozen=True)
class Choice:
    """Which experiments are inputs, and what their weights are; see `fctoolbox_allen.experiment_source`."""

    structures: tuple[str, ...] = ("TH",)
    measure: str = "normalized_projection_volume"
    side: str = "ipsi"
    threshold: float = 0.0
    min_injection_volume: float = 0.0
    line: str = "all"

    def __post_init__(self) -> None:
        if not self.structures:
            raise InputError("structures names no structure; give acronyms such as TH, or VAL,VPM")
        for option, value, offered in (("measure", self.measure, tuple(MEASURES)), ("side", self.side, SIDES)):
            if value not in offered:
                raise InputError(
                    f"{option} is {value!r}; it must be one of {', '.join(offered)}." + suggestion(str(value), offered)
                )
        for option, number in (("threshold", self.threshold), ("min_injection_volume", self.min_injection_volume)):
            if isinstance(number, bool) or not isinstance(number, int | float) or not 0 <= number < np.inf:
                raise InputError(f"{option} is {number!r}; it must be a number of at least 0")


def export_experiments(
    folder: Path,
    structures: Sequence[str] = ("TH",),
    *,
    resolution: int = 25,
    server: str | None = None,
    timeout: float = 120.0,
) -> Path:
    """Let the real AllenSDK export the experiments with an injection into some structures.

    It runs by ``uv run --script`` in an environment of its own (0.9 GB, made once, by uv). What was received is kept
    in the folder's ``cache``, so that a second call, or one after an interruption, repeats no request.

    Parameters
    ----------
    folder : Path
    structures : sequence of str
        Acronyms; injections into their parts belong to them.
    resolution : {10, 25, 50, 100}
        Of the annotation, µm.
    server : str, optional
        Address of the Allen API and its files, where it is another than AllenSDK's own.
    timeout : float
        Seconds to wait for an answer of the server.

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    InputError
        If `resolution` or `server` is none, or the structure tree lacks a structure.
    DataUnavailable
        If uv, its environment or the server cannot be had, or answer what cannot be used. Nothing half-written is left.
    """
    _check_request(resolution, server)
    uv = find_uv()
    command = [
        uv,
        "run",
        "--script",
        "--quiet",
        str(SCRIPT),
        "--out",
        str(folder),
        "--structures",
        ",".join(structures),
    ]
    command += ["--resolution", str(int(resolution)), "--timeout", str(timeout)]
    command += ["--server", server] if server else []
    done = subprocess.run(
        command,
        stdout=subprocess.PIPE,
        # On a terminal the progress is for the person there, elsewhere it is kept for the message.
        stderr=None if sys.stderr.isatty() else subprocess.PIPE,
        text=True,
        check=False,
    )
    try:
        answer = json.loads(done.stdout.strip().splitlines()[-1])
    except (IndexError, ValueError):
        answer = {}
    if unknown := answer.get("unknown"):
        raise InputError(
            f"structures is {listed(structures)}, but the structure tree has no {listed(unknown)}."
            + suggestion(str(unknown[0]), _acronyms_received(folder))
        )
    if "error" in answer:
        raise DataUnavailable(
            f"AllenSDK could not export {listed(structures)}: {answer['error']}. What had been received before is kept "
            f"in {folder / 'cache'}" + ("; run again to go on" if answer.get("again") else "")
        )
    if done.returncode or "done" not in answer:
        said = " ".join((done.stderr or "").split())[-400:]
        raise DataUnavailable(
            f"AllenSDK did not run in its own environment ({' '.join(command[:4])}): {said or 'it said nothing'}. It "
            "needs Python 3.10 or 3.11 and a package index; or run fctoolbox_allen/allensdk_export.py on another "
            "machine and name its folder as export"
        )
    return folder


def _check_request(resolution: object, server: object) -> None:
    if resolution not in RESOLUTIONS:
        raise InputError(f"resolution is {resolution!r}; it must be one of {', '.join(map(str, RESOLUTIONS))} (µm)")
    if server is None:
        return
    try:
        parts = urlsplit(server) if isinstance(server, str) else None
        is_address = parts is not None and parts.scheme in ("http", "https") and bool(parts.hostname)
        _ = parts and parts.port  # raises where it is no number
    except ValueError:
        is_address = False
    if not is_address:
        raise InputError(
            f"server is {server!r}; it must be an address that begins with http:// or https://, such as "
            "http://api.brain-map.org. Leave it out for AllenSDK's own"
        )


def _acronyms_received(folder: Path) -> list[str]:
    """Of the structure tree that a failed export has got already; none without it."""
    try:
        return list(read_structures(folder / "cache" / "connectivity" / "structures.json"))
    except (OSError, InputError):
        return []


def find_uv() -> str:
    """Where uv is.

    Raises
    ------
    DataUnavailable
        If it is not installed.
    """
    try:
        from uv import find_uv_bin
    except ImportError:
        found = shutil.which("uv")
    else:
        found = find_uv_bin()
    if not found:
        raise DataUnavailable(
            "AllenSDK runs in an environment of its own, which uv makes, and uv is not installed: "
            "pip install 'fctoolbox-allen[allensdk]'. Or export on another machine, and name the folder as export"
        )
    return str(found)


def kept_export(
    folder: str | Path | None, structures: Sequence[str], *, resolution: int = 25, server: str | None = None
) -> Export:
    """The export of a folder, made if it is not there or lacks one of the structures.

    Parameters
    ----------
    folder : path, optional
        In the cache when left out.
    structures : sequence of str
    resolution : int
        Of an annotation that is not there yet.
    server : str, optional
        See `export_experiments`.

    Raises
    ------
    InputError
        If `resolution` or `server` is none, a structure is unknown, or a file of the export is not what it should be.
    DataUnavailable
        If the export cannot be made.
    """
    _check_request(resolution, server)
    path = cache_folder() / "allen" / "export" if folder is None else Path(folder)
    if (path / RECORD).is_file():
        export = read_export(path)
        missing = [name for name in structures if not _is_within(name, export)]
        if not missing:
            return export
        structures = [*export.record["structures"], *missing]
        resolution = int(export.record["resolution"])
    return read_export(export_experiments(path, structures, resolution=resolution, server=server))


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


def chosen_experiments(export: Export, choice: Choice) -> tuple[tuple[Experiment, ...], tuple[str, ...]]:
    """The experiments of a choice, and the chosen structure that each was injected into, by its full name.

    Raises
    ------
    InputError
        If a structure is unknown, or no experiment is left.
    """
    unknown = [name for name in choice.structures if name not in export.structures]
    if unknown:
        raise InputError(
            f"structures is {listed(choice.structures)}, but the structure tree has no {listed(unknown)}."
            + suggestion(unknown[0], export.structures)
        )
    injected = [
        (experiment, next((name for name in choice.structures if _lies_in(experiment, name, export)), None))
        for experiment in export.experiments
    ]
    here = [(experiment, name) for experiment, name in injected if name is not None]
    lines = sorted({experiment.line for experiment, _ in here if experiment.line})
    if choice.line not in ("all", "wild-type", "cre", *lines):
        raise InputError(
            f"line is {choice.line!r}; it must be all, wild-type, cre, or one of: {listed(lines, most=30) or 'none'}."
            + suggestion(choice.line, lines)
        )
    kept = [
        (experiment, export.structures[name].name)
        for experiment, name in here
        if experiment.volume >= choice.min_injection_volume and _is_of_line(experiment, choice.line)
    ]
    if not kept:
        volumes = [experiment.volume for experiment, _ in here]
        raise InputError(
            f"none of the {len(here)} experiments with an injection into {listed(choice.structures)} is left with "
            f"line = {choice.line} and min_injection_volume = {choice.min_injection_volume:g} mm³"
            + (f" (they have {min(volumes):.3g} … {max(volumes):.3g} mm³)" if volumes else "")
        )
    return tuple(experiment for experiment, _ in kept), tuple(name for _, name in kept)


def injection_projection(
    areas: Sequence[Structure], export: Export, choice: Choice
) -> tuple[InputProjection, dict[str, str]]:
    """From single injections onto areas.

    The injection site itself is left out of every measure. An area that the table does not hold is made of its parts:
    volumes are added up, densities and energies averaged over pixels.

    Parameters
    ----------
    areas : sequence of Structure
    export : Export
    choice : Choice

    Returns
    -------
    InputProjection
        ``weights[i, j]``: from injection j onto area i. Groups are the chosen structures.
    dict of str to str
        Injections that are left out, and why.

    Raises
    ------
    InputError
        If no injection is left.
    """
    experiments, groups = chosen_experiments(export, choice)
    table = export.unionizes
    parts = [_parts(area, export) for area in areas]
    columns, names, kept_groups, left_out = [], [], [], {}
    order = np.argsort(table["experiment_id"], kind="stable")
    sorted_ids = table["experiment_id"][order]
    for experiment, group in zip(experiments, groups, strict=True):
        first, last = np.searchsorted(sorted_ids, [experiment.id, experiment.id + 1])
        rows = order[first:last]
        side = _hemisphere(rows, export, choice.side)
        if side is None:
            left_out[experiment.name] = "its injection site lies in neither hemisphere, or in both alike"
            continue
        rows = rows[(table["hemisphere_id"][rows] == side) & ~table["is_injection"][rows].astype(bool)]
        row_of = {int(table["structure_id"][row]): int(row) for row in rows}
        values = [_value(ids, row_of, table, choice.measure) for ids in parts]
        absent = [area.acronym for area, value in zip(areas, values, strict=True) if value is None]
        if absent:
            # Nothing was measured there (the area may be the injection site): that is not a weight of 0.
            left_out[experiment.name] = f"no unionize of {listed(absent, most=3)}"
            continue
        columns.append(values)
        names.append(experiment.name)
        kept_groups.append(group)
    if not columns:
        raise InputError(
            f"none of the {len(experiments)} experiments has a unionize for every area: "
            + listed((f"{name} ({reason})" for name, reason in left_out.items()), most=3)
        )
    weights = np.array(columns, dtype=float).T
    weights[weights < choice.threshold] = 0
    return InputProjection(weights, tuple(names), tuple(kept_groups)), left_out


def _hemisphere(rows: NDArray[np.intp], export: Export, side: str) -> int | None:
    """The hemisphere of the rows to take: that of the injection, the other one, or both together."""
    if side == "both":
        return _BOTH
    table = export.unionizes
    site = rows[table["is_injection"][rows].astype(bool)]
    left, right = (
        float(table["projection_volume"][site[table["hemisphere_id"][site] == each]].sum()) for each in (_LEFT, _RIGHT)
    )
    if left == right:
        return None
    injected = _LEFT if left > right else _RIGHT
    return injected if side == "ipsi" else _LEFT + _RIGHT - injected


def _value(
    ids: Sequence[int], row_of: Mapping[int, int], table: Mapping[str, NDArray[Any]], measure: str
) -> float | None:
    """The measure of a structure (its own row), or of all its parts that make it up."""
    whole, *parts = ids
    if whole in row_of:
        return float(table[measure][row_of[whole]])
    if not parts or any(part not in row_of for part in parts):
        return None
    rows = [row_of[part] for part in parts]
    values = table[measure][rows]
    if MEASURES[measure] == "sum":
        return float(values.sum())
    pixels = table["sum_pixels"][rows]
    return float((values * pixels).sum() / pixels.sum()) if pixels.sum() else None


def _parts(area: Structure, export: Export) -> list[int]:
    """The id of an area, and those of the structures right below it that the table holds."""
    held = set(np.unique(export.unionizes["structure_id"]).tolist())
    below = [
        structure.id
        for structure in export.structures.values()
        if len(structure.path) == len(area.path) + 1 and structure.lies_in(area) and structure.id in held
    ]
    return [area.id, *below]


def _lies_in(experiment: Experiment, acronym: str, export: Export) -> bool:
    return export.structures[experiment.structure].lies_in(export.structures[acronym])


def _is_of_line(experiment: Experiment, line: str) -> bool:
    if line in ("all", "wild-type", "cre"):
        return line == "all" or bool(experiment.line) == (line == "cre")
    return experiment.line == line


def _is_within(acronym: str, export: Export) -> bool:
    """Whether the export covers a structure. One that the tree lacks is covered: no server would have it either."""
    if acronym not in export.structures:
        return True
    return any(
        export.structures[acronym].id in ids_within(export.structures, covered)
        for covered in export.record["structures"]
    )


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
