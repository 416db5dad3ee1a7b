"""Work shared among threads; compiled loops release the interpreter lock, so that they run side by side."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from fctoolbox.errors import InputError

Part = TypeVar("Part")
Result = TypeVar("Result")


def n_threads(n_jobs: int) -> int:
    """Threads that `n_jobs` asks for; -1 stands for all processors.

    Raises
    ------
    InputError
    """
    if isinstance(n_jobs, bool) or not hasattr(n_jobs, "__index__") or n_jobs == 0:
        raise InputError(f"n_jobs is {n_jobs!r}; it must be the number of threads, or -1 for all")
    from joblib import cpu_count

    return int(n_jobs) if n_jobs > 0 else max(1, int(cpu_count()) + 1 + int(n_jobs))


def blocks(n: int, size: int) -> list[slice]:
    """0 … n in pieces."""
    return [slice(start, min(start + size, n)) for start in range(0, n, size)]


def in_threads(
    task: Callable[[Part], Result], parts: Sequence[Part], n_jobs: int, what: str | None = None
) -> Iterator[Result]:
    """Results in the order of the parts; with progress, if it is said of what."""
    from tqdm import tqdm

    silent = True if what is None else None
    with ThreadPoolExecutor(n_jobs) as pool:
        results = pool.map(task, parts) if n_jobs > 1 and len(parts) > 1 else map(task, parts)
        yield from tqdm(results, total=len(parts), desc=what, unit="block", delay=2, disable=silent, leave=False)
