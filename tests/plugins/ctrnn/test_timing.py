"""Durations: one spelling, closed forms of their distributions, and what is refused."""

import numpy as np
import pytest
from fctoolbox_ctrnn.timing import bounds, changed_timing, check_steps, drawn_steps, in_words

from fctoolbox.errors import InputError

N = 20_000


@pytest.mark.parametrize(
    ("given", "spelt"),
    [
        (500, 500),
        (np.int64(500), 500),
        ([200, 400], ("choice", (200, 400))),
        (("choice", [200, 400]), ("choice", (200, 400))),
        (["uniform", [200, 500]], ("uniform", (200, 500))),
        (("truncated_exponential", (600, 300, 3000)), ("truncated_exponential", (600, 300, 3000))),
    ],
)
def test_durations_have_one_spelling(given, spelt):
    assert changed_timing("task", ("delay",), {"delay": given}) == {"delay": spelt}
    # … which is a spelling as well, and one that neurogym reads
    assert changed_timing("task", ("delay",), {"delay": spelt}) == {"delay": spelt}


def test_durations_are_cut_to_whole_steps():
    rng = np.random.default_rng(0)
    assert drawn_steps(110, 3, 20, rng).tolist() == [5, 5, 5]
    steps = drawn_steps(("uniform", (200, 500)), N, 20, rng)
    counts = np.bincount(steps, minlength=26)
    assert counts[:10].sum() == counts[25:].sum() == 0
    assert np.abs(counts[10:25] / N - 1 / 15).max() < 4 * np.sqrt(1 / 15 / N)
    assert set(drawn_steps(("choice", (200, 400, 600)), 100, 20, rng)) == {10, 20, 30}


def test_the_truncated_exponential_has_its_mean_and_bounds():
    mean, least, most = 600.0, 300.0, 1500.0
    times = drawn_steps(("truncated_exponential", (mean, least, most)), N, 1, np.random.default_rng(0)) + 0.5
    span = most - least
    # The memoryless distribution from `least` on, cut at `most`.
    expected = least + mean - span / np.expm1(span / mean)
    assert times.min() >= least
    assert times.max() <= most + 0.5
    assert times.mean() == pytest.approx(expected, abs=4 * times.std() / np.sqrt(N))
    half = least - mean * np.log(1 + 0.5 * np.expm1(-span / mean))
    assert (times < half).mean() == pytest.approx(0.5, abs=4 * np.sqrt(0.25 / N))


def test_durations_in_words():
    timing = {"a": 0, "b": ("uniform", (200, 500)), "c": ("choice", (1, 2)), "d": ("truncated_exponential", (6, 3, 30))}
    assert in_words(timing) == "a 0 ms, b 200–500 ms, c 1/2 ms, d 3–30 ms (exponential, mean 6 ms)"


def test_bounds():
    assert bounds(5) == (5,)
    assert bounds(("truncated_exponential", (600, 300, 3000))) == (300, 3000)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"dealy": 5},
            r"period 'dealy', which task 'it' does not have .*Did you mean 'delay'\? There are: delay",
        ),
        ({"delay": -1}, r"timing: delay of task 'it' is -1 ms; it must be from 0 to 60000 ms"),
        ({"delay": float("nan")}, r"is nan ms; it must be from 0"),
        ({"delay": float("inf")}, r"is inf ms; it must be from 0"),
        ({"delay": 60_001}, r"is 60001 ms; it must be from 0"),
        ({"delay": [100, -5]}, r"is -5 ms; it must be from 0"),
        ({"delay": ("uniform", (100, 1e6))}, r"is 1000000\.0 ms; it must be from 0"),
        ({"delay": ("uniform", (500, 200))}, r"is \('uniform', \(500, 200\)\); it must be a number of ms, several"),
        ({"delay": ("uniform", (500,))}, r"it must be a number of ms, several"),
        ({"delay": ("truncated_exponential", (0, 3, 30))}, r"it must be a number of ms, several"),
        ({"delay": ("gamma", (3, 30))}, r"it must be a number of ms, several"),
        ({"delay": []}, r"it must be a number of ms, several"),
        ({"delay": "500"}, r"it must be a number of ms, several"),
        ({"delay": True}, r"it must be a number of ms, several"),
        ({"delay": None}, r"it must be a number of ms, several"),
        (500, r"timing is 500; it must name periods, as in \{'delay': 500\}"),
    ],
)
def test_other_durations_are_refused(changes, message):
    with pytest.raises(InputError, match=message):
        changed_timing("it", ("delay", "decision"), changes)


def test_periods_shorter_than_a_step_are_refused_unless_left_out():
    check_steps("it", {"delay": 0, "decision": 20}, 20, needed="decision")
    check_steps("it", {"delay": ("choice", (0, 20)), "decision": 20}, 20, needed="decision")
    with pytest.raises(InputError, match=r"delay of task 'it' can last 10 ms, less than one time step of 20 ms; m"):
        check_steps("it", {"delay": ("uniform", (10, 500)), "decision": 20}, 20, needed="decision")
    with pytest.raises(InputError, match=r"decision of task 'it' can last 0 ms, less than one"):
        check_steps("it", {"delay": 0, "decision": 0}, 20, needed="decision")
