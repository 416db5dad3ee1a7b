"""Time and memory of one call, each measured in a process of its own."""

import argparse
import multiprocessing
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_MARKS = {True: "✓", False: "✗", None: "–"}


@dataclass(frozen=True)
class Cost:
    """What a call took.

    Parameters
    ----------
    seconds : float
    peak : float
        Highest memory during the call, beyond what the process held before it and without the page cache; GB.
    result : object
    """

    seconds: float
    peak: float
    result: Any


@dataclass(frozen=True)
class Row:
    """One line of the table: a claim, its bar, and what was measured; `holds` is None where nothing could be."""

    work: str
    bar: str
    measured: str
    holds: bool | None


def cost(function: Callable[[], Any]) -> Cost:
    """Run a function once and say what it took (Linux)."""
    before = _memory()
    watcher = _Watcher()
    started = time.perf_counter()
    result = function()
    seconds = time.perf_counter() - started
    return Cost(seconds, max(0.0, watcher.stop() - before), result)


class _Watcher:
    """The highest private memory, looked at every 20 ms."""

    def __init__(self) -> None:
        import threading

        self._done, self._peak = threading.Event(), 0.0
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def _watch(self) -> None:
        while not self._done.wait(0.02):
            self._peak = max(self._peak, _memory())

    def stop(self) -> float:
        self._done.set()
        self._thread.join()
        return max(self._peak, _memory())


def _memory() -> float:
    """Private memory, without the pages of mapped files; GB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon:")) / 1e6


def median_seconds(function: Callable[[], Any], repeats: int) -> float:
    """Median wall time of several calls."""
    seconds = []
    for _ in range(repeats):
        started = time.perf_counter()
        function()
        seconds.append(time.perf_counter() - started)
    return sorted(seconds)[len(seconds) // 2]


def main(title: str, measurements: Sequence[Callable[[], list[Row]]]) -> int:
    """Run the measurements that were asked for (all of them by default) and print the table."""
    by_name = {function.__name__: function for function in measurements}
    parser = argparse.ArgumentParser(description=title)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"which: {', '.join(by_name)} (default: all)")
    names = parser.parse_args().names or list(by_name)
    if unknown := [name for name in names if name not in by_name]:
        parser.error(f"no measurement named {', '.join(unknown)}; there are: {', '.join(by_name)}")
    context = multiprocessing.get_context("spawn")
    rows: list[Row] = []
    print(f"# {title}\n", flush=True)
    print("| work | bar | measured | |\n|---|---|---|---|", flush=True)
    for name in names:
        with ProcessPoolExecutor(1, mp_context=context) as pool:
            found = pool.submit(by_name[name]).result()
        for row in found:
            print(f"| {row.work} | {row.bar} | {row.measured} | {_MARKS[row.holds]} |", flush=True)
        rows += found
    return 0 if all(row.holds is None or row.holds for row in rows) else 1
