"""The errors a user can cause, and therefore repair."""

import difflib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager


class InputError(ValueError):
    """What was handed in cannot be used; the message says where, why and what to do."""


class DataUnavailable(InputError):
    """A source's file is neither in the mirror nor in the cache, and cannot be downloaded."""


class PluginError(InputError):
    """A plugin breaks its contract."""


@contextmanager
def blamed_on(what: str) -> Iterator[None]:
    """Turn what the system says about a path that the user named into an InputError that begins with `what`."""
    try:
        yield
    except OSError as error:
        raise InputError(f"{what}: {error.strerror or error}") from error


def listed(names: Iterable[object], *, most: int = 8) -> str:
    """The first names, comma-separated, and how many more there are."""
    words = [str(name) for name in names]
    shown = ", ".join(words[:most])
    return shown if len(words) <= most else f"{shown} … and {len(words) - most} more"


def counted(number: int, one: str, several: str | None = None) -> str:
    """``"1 run"``, ``"2 runs"``: a number and what it counts."""
    return f"{number:,} {one if number == 1 else several or f'{one}s'}"


def check_whole(option: str, value: object, least: int) -> None:
    """Refuse an option that is not a whole number of at least `least`.

    Raises
    ------
    InputError
    """
    if isinstance(value, bool) or not hasattr(value, "__index__") or value < least:  # type: ignore[operator]
        raise InputError(f"{option} is {value!r}; it must be a whole number of at least {least}")


def nearest(name: str, known: Iterable[str]) -> str:
    """The known name that is spelt most like `name`; empty when none is close."""
    lowered = {each.lower(): each for each in reversed(list(known))}
    close = difflib.get_close_matches(name.lower(), lowered, n=1, cutoff=0.6)
    return lowered[close[0]] if close else ""


def suggestion(name: str, known: Iterable[str]) -> str:
    """``" Did you mean 'x'?"`` when a known name is close to `name`, else an empty string."""
    near = nearest(name, known)
    return f" Did you mean '{near}'?" if near else ""
