# /// script
# requires-python = ">=3.10,<3.12"
# dependencies = ["allensdk==2.16.2"]
# ///
"""Export tracer experiments, their unionizes, the annotation and the structure tree by the real AllenSDK.

AllenSDK needs numpy < 1.24 and pandas 1.5.3, so this is no module of fctoolbox: it runs in an environment of its own,

    uv run --script allensdk_export.py --out FOLDER --structures TH --resolution 25

and leaves files that need neither AllenSDK nor pandas (see `fctoolbox_allen.experiments.read_export`). What was
received stays in FOLDER/cache, so that no request is made twice, however often it is interrupted. The last line that
it prints is JSON: {"done": …} or {"error": …, "again": whether another try may do, "unknown": [structures]}.
"""

import argparse
import contextlib
import datetime
import errno
import hashlib
import importlib.metadata
import json
import os
import platform
import shutil
import socket
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

SCHEMA = 1
NRRD_MAGIC = b"NRRD000"
INTEGERS = ("structure_id", "hemisphere_id", "is_injection")
MEASURES = (
    "projection_volume",
    "projection_density",
    "projection_energy",
    "normalized_projection_volume",
    "sum_pixels",
)
OF_DISK = {
    getattr(errno, name)
    for name in (
        "ENOSPC",
        "EDQUOT",
        "EFBIG",
        "EROFS",
        "EIO",
        "EACCES",
        "EPERM",
        "ENOENT",
        "EISDIR",
        "ENOTDIR",
        "EEXIST",
    )
    if hasattr(errno, name)
}
KEPT_OF_EXPERIMENT = (
    "id",
    "structure_id",
    "structure_abbrev",
    "injection_structures",
    "injection_volume",
    "injection_x",
    "injection_y",
    "injection_z",
    "transgenic_line",
    "product_id",
    "gender",
    "strain",
    "specimen_name",
)


class Refused(Exception):
    """What came from the server, or the disk, cannot be used.

    `again` says whether another try may do, `unknown` which structures are the reason.
    """

    def __init__(self, text: str, *, again: bool = False, unknown: Sequence[str] = ()) -> None:
        super().__init__(text)
        self.again, self.unknown = again, list(unknown)


@contextlib.contextmanager
def asking_for(what: str, *paths: Path) -> Iterator[None]:
    """Turn whatever fails into one sentence; files that it would leave behind broken are removed."""
    try:
        yield
    except Refused:
        _remove(paths)
        raise
    except KeyboardInterrupt:
        _remove(paths)
        raise
    except Exception as error:
        _remove(paths)
        raise Refused(f"{what}: {_in_words(error)}", again=not _is_of_disk(error)) from error


def main(arguments: Sequence[str] | None = None) -> int:
    """Export; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--out", type=Path, required=True, help="folder of the export")
    parser.add_argument("--structures", default="TH", help="acronyms of the injected structures, comma-separated")
    parser.add_argument("--resolution", type=int, choices=(10, 25, 50, 100), default=25, help="of the annotation, µm")
    parser.add_argument("--server", help="address of the Allen API and its files, where it is another than AllenSDK's")
    parser.add_argument("--timeout", type=float, default=120.0, help="seconds to wait for an answer")
    asked = parser.parse_args(arguments)
    socket.setdefaulttimeout(asked.timeout)
    try:
        done = export(asked)
    except Refused as error:
        sys.stdout.write(json.dumps({"error": str(error), "again": error.again, "unknown": error.unknown}) + "\n")
        return 2
    sys.stdout.write(json.dumps({"done": done}) + "\n")
    return 0


def export(asked: argparse.Namespace) -> dict[str, Any]:
    """Write the folder; `export.json` comes last, and only a folder that has it is whole."""
    import numpy as np
    from allensdk.api.api import Api
    from tqdm import tqdm

    if asked.server:
        Api.download_url = asked.server  # the caches' base_uri does not reach the address of the annotation
    # Here, because they are where AllenSDK takes its time.
    from allensdk.core.mouse_connectivity_cache import MouseConnectivityCache
    from allensdk.core.reference_space_cache import ReferenceSpaceCache

    cache = asked.out / "cache"
    with asking_for(f"{cache} cannot be written"):
        cache.mkdir(parents=True, exist_ok=True)
        connectivity = MouseConnectivityCache(
            resolution=asked.resolution,
            manifest_file=str(_sound_manifest(cache / "connectivity" / "manifest.json")),
            base_uri=asked.server,
        )
        space = ReferenceSpaceCache(
            asked.resolution,
            "annotation/ccf_2017",
            manifest=str(_sound_manifest(cache / "space" / "manifest.json")),
            base_uri=asked.server,
        )
    tree_file = _sound_json(cache / "connectivity" / "structures.json", "id")
    with asking_for("the structure tree", tree_file):
        tree = connectivity.get_structure_tree()
        _check_json(tree_file, "id")
    acronyms = [acronym.strip() for acronym in asked.structures.split(",") if acronym.strip()]
    known = tree.get_id_acronym_map()
    unknown = [acronym for acronym in acronyms if acronym not in known]
    if unknown or not acronyms:
        raise Refused(
            f"the structure tree has no {', '.join(map(repr, unknown)) or 'structure without a name'}", unknown=unknown
        )

    listing = _sound_json(cache / "connectivity" / "experiments.json", "data_set_id")
    with asking_for("the list of experiments", listing):
        experiments = connectivity.get_experiments(injection_structure_ids=[known[acronym] for acronym in acronyms])
        _check_json(listing, "data_set_id")
    if not experiments:
        raise Refused(f"there is no experiment with an injection into {', '.join(acronyms)}")
    experiments = sorted(experiments, key=lambda experiment: experiment["id"])

    tables = []
    for experiment in tqdm(experiments, desc="experiments", unit="experiment", disable=None):
        tables.append(_unionizes(connectivity, cache, int(experiment["id"])))

    volume_file = cache / "space" / "annotation" / "ccf_2017" / f"annotation_{asked.resolution}.nrrd"
    if volume_file.exists() and not _is_nrrd(volume_file):
        volume_file.unlink()  # a page of HTML that came in its place, or half a file
    with asking_for("the annotation", volume_file):
        volume, header = space.get_annotation_volume()
        spacing = np.asarray(header["space directions"], dtype=float)
        if volume.ndim != 3 or volume.dtype.kind not in "iu" or not np.allclose(spacing, asked.resolution * np.eye(3)):
            raise Refused(
                f"the annotation is a volume of {volume.dtype} with shape {volume.shape} and spacing "
                f"{spacing.tolist()}; structure ids every {asked.resolution} µm were expected"
            )

    files = {
        "structures": "structures.json",
        "experiments": "experiments.json",
        "unionizes": "unionizes.npz",
        "annotation": f"annotation_{asked.resolution}.nrrd",
    }
    out = {key: asked.out / name for key, name in files.items()}
    columns = {"experiment_id": [np.full(len(table["structure_id"]), table["id"]) for table in tables]}
    columns |= {name: [table[name] for table in tables] for name in (*INTEGERS, *MEASURES)}
    with asking_for(f"{asked.out} cannot be written"):
        _written(out["structures"], lambda path: shutil.copyfile(tree_file, path))
        kept = [{key: experiment.get(key) for key in KEPT_OF_EXPERIMENT} for experiment in experiments]
        _written(out["experiments"], lambda path: path.write_text(json.dumps(kept, indent=1), encoding="utf-8"))
        _written(
            out["unionizes"], lambda path: _save(path, {name: np.concatenate(parts) for name, parts in columns.items()})
        )
        _written(out["annotation"], lambda path: shutil.copyfile(volume_file, path))
        record = {
            "schema": SCHEMA,
            "structures": acronyms,
            "resolution": asked.resolution,
            "server": asked.server or connectivity.api.api_url,
            # Python 3.10 has no datetime.UTC.
            "made": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),  # noqa: UP017
            "versions": {
                "python": platform.python_version(),
                **{name: importlib.metadata.version(name) for name in ("allensdk", "numpy", "pandas")},
            },
            "n_experiments": len(experiments),
            "files": {key: {"name": name, "sha256": _sha256(out[key])} for key, name in files.items()},
        }
        text = json.dumps(record, indent=1)
        _written(asked.out / "export.json", lambda path: path.write_text(text, encoding="utf-8"))
    return {"experiments": len(experiments), "folder": str(asked.out)}


def _unionizes(connectivity: Any, cache: Path, experiment_id: int) -> dict[str, Any]:
    """The columns that are kept of an experiment's unionizes, read from the part of it that was finished before."""
    import numpy as np

    part = cache / "parts" / f"{experiment_id}.npz"
    with contextlib.suppress(Exception), np.load(part) as arrays:
        return {name: arrays[name] for name in arrays.files}
    table_file = cache / "connectivity" / f"experiment_{experiment_id}" / "structure_unionizes.csv"
    # Without a part the table may have been cut off while it was written, and nothing in it would say so.
    _remove([part, table_file])
    with asking_for(f"the unionizes of experiment {experiment_id}", table_file, part):
        table = connectivity.get_experiment_structure_unionizes(experiment_id)
        missing = [name for name in (*INTEGERS, *MEASURES) if name not in table.columns]
        if missing or not len(table):
            raise Refused(
                f"the unionizes of experiment {experiment_id}: {len(table)} rows came"
                + (f", without {', '.join(missing)}" if missing else "")
            )
        kept = {name: table[name].to_numpy(dtype=np.int64) for name in INTEGERS}
        kept |= {name: table[name].to_numpy(dtype=np.float64) for name in MEASURES}
        odd = [name for name in MEASURES if not np.isfinite(kept[name]).all()]
        if odd:
            raise Refused(f"the unionizes of experiment {experiment_id}: {odd[0]} has values that are not finite")
        kept["id"] = np.int64(experiment_id)
        part.parent.mkdir(exist_ok=True)
        _written(part, lambda path: _save(path, kept))
    return kept


def _save(path: Path, arrays: dict[str, Any]) -> None:
    import numpy as np

    with path.open("wb") as stream:  # numpy would add .npz to the temporary name
        np.savez_compressed(stream, **arrays)


def _written(path: Path, write: Callable[[Path], object]) -> None:
    """Write to a temporary name beside it, which becomes `path` only when all went well."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem}-")
    os.close(handle)
    temporary = Path(name)
    try:
        write(temporary)
        temporary.chmod(0o644)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _check_json(path: Path, key: str) -> None:
    """Refuse an answer that is no list of rows with that key (AllenSDK itself does not look)."""
    if not _is_rows(path, key):
        raise Refused(f"{path.name}: the server answered something that is not the list that was asked for", again=True)


def _sound_json(path: Path, key: str) -> Path:
    if path.exists() and not _is_rows(path, key):
        path.unlink()
    return path


def _sound_manifest(path: Path) -> Path:
    if path.exists():
        try:
            json.loads(path.read_text(encoding="utf-8"))["manifest"]
        except (ValueError, KeyError, TypeError):
            path.unlink()
    return path


def _is_rows(path: Path, key: str) -> bool:
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(rows, list) and len(rows) > 0 and all(isinstance(row, dict) and key in row for row in rows)


def _is_nrrd(path: Path) -> bool:
    import nrrd

    with path.open("rb") as stream:
        if stream.read(len(NRRD_MAGIC)) != NRRD_MAGIC:
            return False
    try:
        nrrd.read(str(path))
    except Exception:  # noqa: BLE001  (a file that was cut off raises whatever zlib or numpy run into)
        return False
    return True


def _in_words(error: Exception) -> str:
    kind, text = type(error).__name__, " ".join(str(error).split())[:200]
    if kind in ("JSONDecodeError", "NRRDError", "EmptyDataError", "ParserError"):
        return f"the server answered something else, perhaps a page of HTML ({kind}: {text})"
    if kind in ("IncompleteRead", "ChunkedEncodingError", "ContentTooShortError"):
        return f"the answer was cut off ({kind}: {text})"
    if kind in ("HTTPError",):
        return f"the server answered {text}"
    if isinstance(error, (TypeError, ValueError, KeyError, AttributeError)):
        return f"the server answered something else than the rows that were asked for ({kind}: {text})"
    if isinstance(error, OSError) and error.errno is not None and error.strerror:
        return error.strerror
    return f"{kind}: {text}"


def _is_of_disk(error: Exception) -> bool:
    """Whether the system refused a file, which another try would not change."""
    return isinstance(error, OSError) and error.errno in OF_DISK


def _remove(paths: Iterable[Path]) -> None:
    for path in paths:
        with contextlib.suppress(OSError):
            Path(path).unlink()


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        digest = hashlib.sha256()
        while block := stream.read(2**20):
            digest.update(block)
    return digest.hexdigest()


if __name__ == "__main__":
    sys.exit(main())
