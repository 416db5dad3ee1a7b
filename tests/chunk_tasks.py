"""Tasks for test_chunks.py, in a module that other processes can import.

`python tests/chunk_tasks.py LOG N STOP` computes N nulls in chunks of 10, keeping each, and waits for ever once STOP
chunks are done.
"""

import os
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

VALUES = np.arange(5.0)


STOP = 0


def lines(path):
    return Path(path).read_text().count("\n") if Path(path).exists() else 0


def shuffled(values, *, n_nulls, rng):
    return rng.permuted(np.tile(values, (n_nulls, 1)), axis=1)


def spawning(values, *, n_nulls, rng):
    """Draws from generators that it spawns itself, as a null may that uses another."""
    return np.stack([each.random(len(values)) for each in rng.spawn(n_nulls)])


def noted(values, *, log, seconds, n_nulls, rng):
    """Shuffled; says in a file that it was called, and in which process."""
    time.sleep(seconds if not STOP or lines(log) < STOP else 600)
    result = shuffled(values, n_nulls=n_nulls, rng=rng)
    with Path(log).open("a") as stream:
        stream.write(f"{os.getpid()} {result.tobytes().hex()[:32]}\n")
    return result


def several(values, *, n_restarts, rng):
    labels = shuffled(values, n_nulls=n_restarts, rng=rng).astype(np.int32)
    return labels, labels[:, 0] / 7


def impatient(values, *, after, n_nulls, rng):
    """Raises once the file `after` holds three lines or more."""
    if lines(after) >= 3:
        raise KeyboardInterrupt
    return noted(values, log=after, seconds=0, n_nulls=n_nulls, rng=rng)


def deadly(values, *, n_nulls, rng):
    os.kill(os.getpid(), 9)


def ragged(values, *, n_nulls, rng):
    return shuffled(values, n_nulls=n_nulls - 1, rng=rng)


def described(values, *, n_nulls, rng):
    return np.tile([type(values) is np.ndarray, values.flags.forc], (n_nulls, 1))


def silent(values, *, n_nulls, rng):
    pass


def undecided(values, *, n_nulls, rng):
    return shuffled(values, n_nulls=n_nulls, rng=rng).astype(np.float32 if n_nulls < 10 else np.float64)


def refusing(values, *, n_nulls, rng):
    from fctoolbox.errors import InputError

    raise InputError("nothing can be done with these values")


@dataclass(frozen=True)
class Sent:
    """Counts how often it leaves this process."""

    values: np.ndarray
    times: ClassVar[int] = 0

    def __reduce__(self):
        Sent.times += 1
        return Sent, (self.values,)


def receiving(values, *, n_nulls, rng):
    return shuffled(values.values, n_nulls=n_nulls, rng=rng)


if __name__ == "__main__":
    from fctoolbox import chunks
    from tests import chunk_tasks

    # A shell that starts things in the background has them ignore interruptions, and this process would inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    chunks._WORTH_SECONDS = 0
    log, n, chunk_tasks.STOP = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    chunks.in_chunks(
        chunk_tasks.noted,
        n=n,
        chunk_size=10,
        rng=7,
        what="nulls",
        arguments={"values": VALUES, "log": log, "seconds": 0.02},
    )
