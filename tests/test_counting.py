import pytest

from fctoolbox import InputError
from fctoolbox.counting import announce_units, hearing


def test_where_nobody_hears_nothing_happens():
    announce_units("a system", 10**6)


def test_who_asked_last_hears_and_nobody_afterwards():
    outer, inner = [], []
    with hearing(lambda *said: outer.append(said)):
        with hearing(lambda *said: inner.append(said)):
            announce_units("one", 3)
        announce_units("two", 4)
    announce_units("three", 5)
    assert (inner, outer) == ([("one", 3)], [("two", 4)])


def test_a_refusal_passes_and_is_the_last_of_it():
    def refuse(name, at_least):
        raise InputError(f"{name} has {at_least}")

    with pytest.raises(InputError, match="one has 3"), hearing(refuse):
        announce_units("one", 3)
    announce_units("one", 3)
