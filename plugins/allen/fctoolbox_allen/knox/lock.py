"""One process at a time: a lock that the system takes back when its holder ends, however it ends."""

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from fctoolbox.errors import blamed_on


@contextmanager
def one_at_a_time(path: Path, doing: str) -> Iterator[bool]:
    """Wait until no other process holds the lock of this name, and hold it.

    Parameters
    ----------
    path : Path
        Of the lock's file, which is there only while somebody holds or awaits it.
    doing : str
        What the other process does, for the warning that says what is waited for.

    Yields
    ------
    bool
        False where the system or the disk knows no locks, and others may be at work.

    Raises
    ------
    InputError
        If the file cannot be written.
    """
    try:
        import fcntl
    except ImportError:  # Windows
        yield False
        return
    said = False
    while True:
        with blamed_on(f"{path} cannot be written"):
            path.parent.mkdir(parents=True, exist_ok=True)
            stream = path.open("ab")
        with stream:  # closing it gives the lock back
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if not said:
                    warnings.warn(f"another process {doing}; waiting for it to end", stacklevel=4)
                said = True
                fcntl.flock(stream, fcntl.LOCK_EX)
            except OSError:  # some network disks
                yield False
                return
            if not _is_still(stream.fileno(), path):  # the one before us took the file away: a new one counts
                continue
            try:
                yield True
                return
            finally:
                path.unlink(missing_ok=True)


def _is_still(descriptor: int, path: Path) -> bool:
    with suppress(OSError):
        return os.path.samestat(os.fstat(descriptor), path.stat())
    return False
