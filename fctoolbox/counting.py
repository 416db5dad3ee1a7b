"""How many units there will be: said by a source on its way, heard by whoever has no use for so many."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

Listener = Callable[[str, int], None]

_listener: ContextVar[Listener | None] = ContextVar("listener", default=None)


def announce_units(name: str, at_least: int) -> None:
    """Say how many units a system will have, before the long work on the rest of it.

    For sources that know the number long before they are done. Whoever asked for the system may refuse it then
    (with an `InputError`, which is to be left to pass); else nothing happens.

    Parameters
    ----------
    name : str
        Of the system.
    at_least : int
        As few as there can still be.
    """
    listener = _listener.get()
    if listener is not None:
        listener(name, at_least)


@contextmanager
def hearing(listener: Listener) -> Iterator[None]:
    """A block in which what is announced is heard.

    Parameters
    ----------
    listener : callable
        Takes the name of a system and the least number of its units; raises `InputError` to refuse it.
    """
    token = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(token)
