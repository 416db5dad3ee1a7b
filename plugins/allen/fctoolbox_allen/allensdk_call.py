"""The real AllenSDK, called in an environment of its own (`allensdk_export.py`), where an export is not there yet."""

import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

from fctoolbox.data import cache_folder
from fctoolbox.errors import DataUnavailable, InputError, listed, suggestion
from fctoolbox_allen.ccf import ids_within, read_structures
from fctoolbox_allen.experiments import RECORD, Export, read_export

SCRIPT = Path(__file__).with_name("allensdk_export.py")
RESOLUTIONS = (10, 25, 50, 100)  # µm, of the annotation; the script offers the same


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


def _is_within(acronym: str, export: Export) -> bool:
    """Whether the export covers a structure. One that the tree lacks is covered: no server would have it either."""
    if acronym not in export.structures:
        return True
    return any(
        export.structures[acronym].id in ids_within(export.structures, covered)
        for covered in export.record["structures"]
    )
