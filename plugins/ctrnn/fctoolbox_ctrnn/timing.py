"""How long the periods of a trial last: a number of ms, or a distribution to draw one from."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fctoolbox.errors import InputError, suggestion

# neurogym's spelling: ms, or the name of a distribution and its arguments (all in ms).
Duration = float | tuple[str, tuple[float, ...]]
Timing = Mapping[str, Duration]

LONGEST = 60_000.0  # ms; a longer period is a slip of the unit
UNIFORM, CHOICE, EXPONENTIAL = "uniform", "choice", "truncated_exponential"
_FORMS = (
    "a number of ms, several numbers to choose from, ('uniform', (least, most)) or "
    "('truncated_exponential', (mean, least, most))"
)


def changed_timing(task: str, periods: Sequence[str], changes: Mapping[str, Any]) -> dict[str, Duration]:
    """The changes to a task's timing, in one spelling.

    Parameters
    ----------
    task : str
        For the message.
    periods : sequence of str
        Those that can be changed.
    changes : mapping of str to duration
        A number of ms, several numbers to choose from with equal probability, ``("uniform", (least, most))``
        or ``("truncated_exponential", (mean, least, most))``.

    Raises
    ------
    InputError
        If a period is unknown, or its duration is none of these, negative, or longer than a minute.
    """
    if not isinstance(changes, Mapping):
        raise InputError(f"timing is {changes!r}; it must name periods, as in {{{next(iter(periods), '')!r}: 500}}")
    spelt = {}
    for period, given in changes.items():
        if period not in periods:
            near = suggestion(str(period), periods)
            raise InputError(
                f"timing names period {period!r}, which task '{task}' does not have or does not let change.{near} "
                f"There are: {', '.join(periods)}"
            )
        spelt[period] = _spelt(f"timing: {period} of task '{task}'", given)
    return spelt


def check_steps(task: str, timing: Timing, dt: int, *, needed: str) -> None:
    """Refuse periods that can be shorter than one time step, but for those that are left out (0 ms).

    Parameters
    ----------
    task : str
        For the message.
    timing : mapping of str to duration
    dt : int
        Time step in ms.
    needed : str
        The period that cannot be left out.

    Raises
    ------
    InputError
    """
    for period, duration in timing.items():
        shortest = min((each for each in bounds(duration) if each > 0 or period == needed), default=dt)
        if shortest < dt:
            raise InputError(
                f"{period} of task '{task}' can last {shortest:g} ms, less than one time step of {dt} ms; "
                "make dt smaller or the period longer"
            )


def bounds(duration: Duration) -> tuple[float, ...]:
    """Durations in ms, the shortest and the longest possible one among them."""
    if not isinstance(duration, tuple):
        return (duration,)
    name, arguments = duration
    return arguments[1:] if name == EXPONENTIAL else arguments


def drawn_steps(duration: Duration, n_trials: int, dt: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """(n_trials,) whole time steps; what is left of the last one is cut off."""
    if not isinstance(duration, tuple):
        return np.full(n_trials, int(duration // dt))
    name, arguments = duration
    if name == UNIFORM:
        times = rng.uniform(arguments[0], arguments[1], n_trials)
    elif name == CHOICE:
        times = rng.choice(arguments, n_trials)
    else:
        # By the inverse of the distribution's function, so that each trial takes one random number.
        mean, least, most = arguments
        share = rng.random(n_trials) * -np.expm1(-(most - least) / mean)
        times = least - mean * np.log1p(-share)
    steps: NDArray[np.int64] = (times // dt).astype(np.int64)
    return steps


def in_words(timing: Mapping[str, Any]) -> str:
    """Each period's duration, for people."""
    return ", ".join(f"{period} {_words(duration)}" for period, duration in timing.items())


def _words(duration: Any) -> str:
    if isinstance(duration, (int, float)):
        return f"{duration:g} ms"
    if callable(duration):
        # neurogym's; a distribution's repr would hold a memory address, which differs from run to run.
        if all(hasattr(duration, name) for name in ("vmean", "vmin", "vmax")):
            return _words((EXPONENTIAL, (duration.vmean, duration.vmin, duration.vmax)))
        return "drawn for each trial"
    if isinstance(duration, tuple) and duration and duration[0] in (UNIFORM, CHOICE, EXPONENTIAL):
        name, arguments = duration[0], [f"{each:g}" for each in duration[1]]
        if name == UNIFORM:
            return f"{'–'.join(arguments)} ms"
        if name == CHOICE:
            return f"{'/'.join(arguments)} ms"
        return f"{'–'.join(arguments[1:])} ms (exponential, mean {arguments[0]} ms)"
    return str(duration)


def _spelt(what: str, given: Any) -> Duration:
    if _is_time(given):
        return _checked(what, (given,))[0]
    if isinstance(given, Sequence) and not isinstance(given, str) and len(given):
        if all(map(_is_time, given)):
            return CHOICE, _checked(what, tuple(given))
        name, *rest = given
        arguments = tuple(rest[0]) if len(rest) == 1 and isinstance(rest[0], Sequence) else ()
        if arguments and all(map(_is_time, arguments)):
            if name == CHOICE:
                return CHOICE, _checked(what, arguments)
            n_wanted = {UNIFORM: 2, EXPONENTIAL: 3}.get(name)
            if n_wanted == len(arguments) and arguments[-2] < arguments[-1]:
                checked = _checked(what, arguments)
                if name == UNIFORM or checked[0] > 0:
                    return name, checked
    raise InputError(f"{what} is {given!r}; it must be {_FORMS}")


def _is_time(value: object) -> bool:
    return isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)


def _checked(what: str, times: tuple[Any, ...]) -> tuple[float, ...]:
    for time in times:
        if not (math.isfinite(time) and 0 <= time <= LONGEST):
            raise InputError(f"{what} is {time} ms; it must be from 0 to {LONGEST:g} ms")
    return tuple(time.item() if isinstance(time, np.generic) else time for time in times)
