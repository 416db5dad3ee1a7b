"""Tables of numbers as gzipped text, read as a stream."""

import importlib
import threading
import zlib
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from fctoolbox.errors import InputError, blamed_on

_BLOCK = 2**19  # bytes of text: what was inflated is still in the processor's cache when it is parsed
_GZIP = b"\x1f\x8b"
_MOST_IN_ROW = 2**27  # bytes of a first row; the longest published one has 11 MB
_SHOWN = 24


class Stopped(Exception):
    """Reading was given up because it was asked to."""


def count_columns(path: Path) -> int:
    """How many values the first row of a table has.

    Raises
    ------
    InputError
        If the file cannot be read, is damaged, or has no row.
    """
    n_bytes, n_commas = 0, 0
    with closing(_blocks(path, lambda _: None, threading.Event())) as blocks:
        for text, end in blocks:
            newline = text.find(b"\n", 0, end)
            n_commas += text.count(b",", 0, end if newline < 0 else newline)
            n_bytes += end
            if newline >= 0:
                return n_commas + 1
            if n_bytes > _MOST_IN_ROW:
                raise InputError(f"{path} is no table of numbers: its first row does not end")
    raise InputError(f"{path} is empty; rows of numbers with commas between them were expected")


def stream_rows(
    path: Path,
    n_columns: int,
    write: Callable[[NDArray[np.float32]], object],
    *,
    progress: Callable[[int], object] = lambda _: None,
    stop: threading.Event | None = None,
) -> int:
    """Read a table of numbers from beginning to end, and hand its values over in pieces.

    A value reads as it does with ``np.loadtxt`` and ``astype(float32)``.

    Parameters
    ----------
    path : Path
        Values with commas between them, one row a line, as ``np.savetxt(…, delimiter=",")`` writes them; gzipped
        or plain.
    n_columns : int
        That every row must have.
    write : callable
        Is given the values of all rows one after the other, some at a time; it must copy what it keeps.
    progress : callable
        Is told how many bytes of the file have been read.
    stop : threading.Event, optional
        Gives up when it is set.

    Returns
    -------
    int
        How many rows there are.

    Raises
    ------
    InputError
        If the file cannot be read, is damaged or cut off, a row has another number of values, or one of them is no
        finite number: with its row and column, from 1.
    Stopped
    """
    from fctoolbox_allen.knox import _text

    stop = stop or threading.Event()
    values = np.empty(_BLOCK // 2 + _SHOWN, dtype=np.float32)  # a digit and a comma are the least that a value takes
    column, n_values = 0, 0
    with closing(_blocks(path, progress, stop)) as blocks:
        for text, end in blocks:
            characters = np.frombuffer(text, dtype=np.uint8)
            n, column, outcome, place = _text.parse(characters, 0, end, values, column, n_columns, _text.POWERS)
            try:
                write(values[:n])
                n_values += n
                if outcome != _text.GOOD:
                    raise InputError(_complaint(path, outcome, n_values, n_columns, bytes(text[place:end])))
            except InputError:
                # A damaged archive often gives odd text long before its checksum at the end tells.
                _check_archive(path, stop)
                raise
    if column:
        raise InputError(_too_few(path, n_values, n_columns))
    return n_values // n_columns


def _check_archive(path: Path, stop: threading.Event) -> None:
    """Refuse a gzipped file that is not what its checksum says; a plain one has none."""
    with _opened(path) as (stream, raw):
        while stream is not raw and stream.read(_BLOCK):
            if stop.is_set():
                raise Stopped


def _complaint(path: Path, outcome: int, n_values: int, n_columns: int, rest: bytes) -> str:
    from fctoolbox_allen.knox import _text

    row, column = n_values // n_columns + 1, n_values % n_columns + 1
    found = rest.split(b",")[0].split(b"\n")[0].strip().decode("utf-8", "replace")
    shown = found if len(found) <= _SHOWN else f"{found[:_SHOWN]}…"
    if outcome == _text.TOO_FEW:
        return _too_few(path, n_values + 1, n_columns)
    if outcome == _text.TOO_MANY:
        return f"{path}: row {row:,} has more than the {n_columns:,} values that were expected"
    what = "too large for a 32-bit number" if outcome == _text.NOT_FINITE else "no finite number"
    return f"{path}: row {row:,}, column {column:,} holds {shown!r}, which is {what}"


def _too_few(path: Path, n_values: int, n_columns: int) -> str:
    row, column = n_values // n_columns + 1, n_values % n_columns
    return f"{path}: row {row:,} has {column:,} values instead of {n_columns:,}"


def _blocks(
    path: Path, progress: Callable[[int], object], stop: threading.Event
) -> Generator[tuple[bytearray, int], None, None]:
    """Pieces of the text that end after a separator, and where they end; each is good until the next is asked for."""
    with _opened(path) as (stream, raw):
        block, rest, at_end = bytearray(_BLOCK), b"", False
        while not at_end:
            if stop.is_set():
                raise Stopped
            block[: len(rest)] = rest
            filled = _fill(stream, block, len(rest))
            progress(raw.tell())
            at_end = filled < len(block)
            if at_end and filled and block[filled - 1] not in b"\n,":
                block[filled : filled + 1] = b"\n"
                filled += 1
            end = block.rfind(b",", 0, filled) + 1
            end = max(end, block.rfind(b"\n", end, filled) + 1)
            rest = bytes(block[end:filled])
            if not end and not at_end:
                raise InputError(f"{path} is no table of numbers with commas between them")
            if end:
                yield block, end


def _fill(stream: IO[bytes], block: bytearray, filled: int) -> int:
    """Read on behind what is filled already; how much is filled then."""
    with memoryview(block) as view:
        while filled < len(block):
            n = stream.readinto(view[filled:])  # type: ignore[attr-defined]
            if not n:
                break
            filled += n
    return filled


@contextmanager
def _opened(path: Path) -> Iterator[tuple[Any, IO[bytes]]]:
    """The text as a stream, and the file below it."""
    inflate, damaged = _inflater()
    with blamed_on(f"{path} cannot be read"), path.open("rb") as raw:
        is_gzip = raw.read(2) == _GZIP
        raw.seek(0)
        try:
            if is_gzip:
                with inflate(raw, "rb") as stream:
                    yield stream, raw
            else:
                yield raw, raw
        except damaged as error:
            raise InputError(
                f"{path} is damaged or was not downloaded to its end ({path.stat().st_size:,} bytes; "
                f"{' '.join(str(error).split())}): fetch it again"
            ) from error


def _inflater() -> tuple[Callable[..., Any], tuple[type[BaseException], ...]]:
    """What opens a gzipped file, and what it raises when the file is damaged."""
    import gzip

    damaged: tuple[type[BaseException], ...] = (EOFError, zlib.error, gzip.BadGzipFile)
    try:  # by name: type checkers need not have it
        igzip, isal_zlib = importlib.import_module("isal.igzip"), importlib.import_module("isal.isal_zlib")
    except ImportError:  # the standard library's takes twice as long
        return gzip.open, damaged
    return igzip.open, (*damaged, isal_zlib.error)
