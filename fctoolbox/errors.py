"""The errors a user can cause, and therefore repair."""

import difflib
from collections.abc import Iterable, Sequence


class InputError(ValueError):
    """What was handed in cannot be used; the message says where, why and what to do."""


class DataUnavailable(InputError):
    """A source's file is neither in the mirror nor in the cache, and cannot be downloaded."""


class PluginError(InputError):
    """A plugin breaks its contract."""


def listed(names: Iterable[object], *, most: int = 8) -> str:
    """The first names, comma-separated, and how many more there are."""
    names = [str(name) for name in names]
    shown = ", ".join(names[:most])
    return shown if len(names) <= most else f"{shown} … and {len(names) - most} more"


def suggestion(name: str, known: Sequence[str]) -> str:
    """``" Did you mean 'x'?"`` when a known name is close to `name`, else an empty string."""
    lowered = {each.lower(): each for each in reversed(known)}
    close = difflib.get_close_matches(name.lower(), lowered, n=1, cutoff=0.6)
    return f" Did you mean '{lowered[close[0]]}'?" if close else ""
