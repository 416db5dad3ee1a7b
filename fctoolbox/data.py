"""Where the files of a source are found, or fetched from, and proven to be the right ones."""

import hashlib
import os
import shutil
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

from fctoolbox.errors import DataUnavailable, blamed_on
from fctoolbox.system import FileRecord

_CONNECT_SECONDS = 10
# What a broken connection loses at most; the rest is kept and continued.
_CHUNK = 2**16


@dataclass(frozen=True)
class DataFile:
    """A published file, named by its address and its content.

    Parameters
    ----------
    name : str
        As published.
    url : str
    sha256 : str
        64 hexadecimal digits.
    size : int
        Bytes.
    how_to_obtain : str
        For files behind a login: what a person has to do.
    """

    name: str
    url: str
    sha256: str
    size: int
    how_to_obtain: str = ""

    @property
    def record(self) -> FileRecord:
        """What a system's provenance keeps of the file."""
        return FileRecord(self.name, self.sha256)


def cache_folder() -> Path:
    """Where fetched files and trained networks are kept: ``FCTOOLBOX_CACHE``, or the platform's cache folder."""
    if folder := os.environ.get("FCTOOLBOX_CACHE"):
        return Path(folder).expanduser()
    from platformdirs import user_cache_path

    return user_cache_path("fctoolbox")


def locate(file: DataFile) -> Path | None:
    """The file in the mirror (``FCTOOLBOX_MIRROR``, searched by hash) or in the cache; None when in neither."""
    if mirror := os.environ.get("FCTOOLBOX_MIRROR"):
        folder = Path(mirror).expanduser()
        if not folder.is_dir():
            warnings.warn(f"FCTOOLBOX_MIRROR names {mirror}, which is not a folder; it is ignored", stacklevel=2)
        else:
            with blamed_on(f"FCTOOLBOX_MIRROR names {mirror}, which cannot be searched"):
                found = _search(folder, file)
            if found:
                return found
    cached = _cached_path(file)
    return cached if cached.is_file() and sha256_of(cached) == file.sha256 else None


def fetch(file: DataFile) -> Path:
    """The path of a verified copy of the file, downloaded if need be.

    A download goes to a partial file that a later call continues, is hashed, and only then gets its name.

    Parameters
    ----------
    file : DataFile

    Returns
    -------
    Path

    Raises
    ------
    DataUnavailable
        If it is neither in the mirror nor in the cache, and cannot be downloaded.
    """
    found = locate(file)
    if found is not None:
        return found
    if file.how_to_obtain:
        raise DataUnavailable(
            f"{file.name} cannot be downloaded without you: {file.how_to_obtain.rstrip('.')}. "
            "Then let FCTOOLBOX_MIRROR name its folder."
        )
    import pooch

    target = _cached_path(file)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        pooch.get_logger().setLevel("WARNING")
        pooch.retrieve(
            file.url,
            f"sha256:{file.sha256}",
            fname=target.name,
            path=target.parent,
            downloader=partial(_download, size=file.size),
        )
    # requests' errors are OSErrors; pooch reports a wrong hash as ValueError
    except (OSError, ValueError) as error:
        mirror = os.environ.get("FCTOOLBOX_MIRROR") or "not set"
        raise DataUnavailable(
            f"{file.name} is in neither the mirror (FCTOOLBOX_MIRROR={mirror}) "
            f"nor the cache ({target.parent}), and could not be downloaded from {file.url}: {_brief(error)}. "
            "Put a copy into a folder of your own and name that folder in FCTOOLBOX_MIRROR."
        ) from error
    return target


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file's content, as hexadecimal digits."""
    with blamed_on(f"{path} cannot be read"):
        status = Path(path).stat()
        return _sha256(Path(path), status.st_size, status.st_mtime_ns)


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """A temporary name to write to, which becomes `path` only when the block ends well.

    Raises
    ------
    InputError
        If the system refuses: no such folder can be made, the disk is full.
    """
    with blamed_on(f"{path} cannot be written"):
        path.parent.mkdir(parents=True, exist_ok=True)
        with NamedTemporaryFile(dir=path.parent, prefix=f".{path.stem}-", suffix=path.suffix, delete=False) as stream:
            temporary = Path(stream.name)
        try:
            yield temporary
            temporary.chmod(0o666 & ~_umask())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


@lru_cache(maxsize=4096)
def _sha256(path: Path, size: int, modified: int) -> str:  # noqa: ARG001  (size and time are the memory's key)
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _cached_path(file: DataFile) -> Path:
    # The hash in the folder's name lets two versions of one file live side by side.
    return cache_folder() / "files" / file.sha256[:12] / file.name


def _search(folder: Path, file: DataFile) -> Path | None:
    # Those of the right name first; only files of the right size are hashed.
    paths = sorted(
        (path for path in folder.rglob("*") if path.is_file()), key=lambda path: (path.name != file.name, path)
    )
    for path in paths:
        if path.stat().st_size == file.size and sha256_of(path) == file.sha256:
            return path
    if paths and paths[0].name == file.name:
        warnings.warn(
            f"{paths[0]} in the mirror is not the {file.name} that is wanted (another SHA-256: altered, "
            "half-written or another version); it is ignored",
            stacklevel=3,
        )
    return None


def _brief(error: Exception) -> str:
    text = " ".join(str(error).split())
    if "NameResolution" in text or "Max retries" in text or "Connection" in type(error).__name__:
        return "no connection to that host"
    return text[:200]


def _download(url: str, output_file: str, _pooch: Any, *, size: int) -> None:
    """Download to a partial file beside the target, going on from where an earlier try ended."""
    import requests
    from tqdm import tqdm

    part = Path(output_file).parent / "download.part"
    done = part.stat().st_size if part.exists() else 0
    # Compressed on the way, neither the length nor the range that the server speaks of would be those of the file.
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={done}-"} if done else {})
    with requests.get(url, headers=headers, stream=True, timeout=_CONNECT_SECONDS) as response:
        if response.status_code == 416:  # nothing left to send: the partial file is whole, or not ours
            total = done
        else:
            response.raise_for_status()
            if response.status_code != 206:
                done = 0
            total = done + int(response.headers.get("Content-Length", size - done))
            bar = tqdm(total=total, initial=done, unit="B", unit_scale=True, desc=Path(url).name, disable=None)
            # However the connection ends, what came is kept, and its size is looked at below.
            with part.open("ab" if done else "wb") as stream, bar, suppress(requests.RequestException):
                for chunk in response.iter_content(_CHUNK):
                    stream.write(chunk)
                    bar.update(len(chunk))
    if part.stat().st_size < total:
        raise OSError(f"the connection ended after {part.stat().st_size} of {total} bytes; run again to continue")
    # A partial file that turns out wrong must not be continued for ever: it is moved, and pooch checks the hash.
    shutil.move(part, output_file)
