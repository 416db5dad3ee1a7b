import itertools
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import lfilter
from scipy.stats import binom, pearsonr

import fctoolbox as fct
from fctoolbox.relation import TrialSpans, module_activity, relate


def smooth(rng, n_trials, length, n_columns=1, memory=0.95):
    """Trials of autocorrelated noise, end to end: neighbouring time steps are nearly the same."""
    noise = lfilter([1], [1, -memory], rng.standard_normal((n_trials, length + 100, n_columns)), axis=1)
    return noise[:, 100:].reshape(-1, n_columns)


def numbers(lengths):
    return np.repeat(np.arange(len(lengths)), lengths)


def by_hand(modules, variable, spans, lag, order=None):
    """r of trials cut out one by one, with numpy: the second implementation."""
    order = range(len(spans)) if order is None else order
    one, other = [], []
    for trial, partner in enumerate(order):
        m, v = modules[slice(*spans[trial])], variable[slice(*spans[partner])]
        n = len(m) - abs(lag)
        one.append(m[max(0, lag) : max(0, lag) + n])
        other.append(v[max(0, -lag) : max(0, -lag) + n])
    return np.corrcoef(np.concatenate(one), np.concatenate(other))[0, 1]


def test_module_activity_is_the_mean_of_its_units():
    timeseries = np.array([[1.0, 3.0, 10.0, 7.0], [0.0, 2.0, 20.0, 7.0], [5.0, 5.0, 30.0, 9.0]])
    means = module_activity(fct.RecurrentActivity(timeseries), [0, 0, 1, -1])
    assert means.tolist() == [[2, 10], [1, 20], [5, 30]]
    assert module_activity(timeseries, [1, 1, 0, -1]).tolist() == means[:, ::-1].tolist()


def test_a_module_that_is_the_variable(rng):
    variable = smooth(rng, 30, 20, 2)
    found = relate(
        np.column_stack([variable[:, 0], -3 * variable[:, 1] + 5]), variable, trials=numbers([20] * 30), rng=0
    )
    np.testing.assert_allclose(np.diagonal(found.r[0]), [1, -1], atol=1e-12)
    assert np.diagonal(found.p[0]).tolist() == [1 / 1001] * 2
    assert np.diagonal(found.p_corrected[0]).tolist() == [1 / 1001] * 2


@pytest.mark.parametrize("lag", [-4, 0, 3])
def test_a_planted_lag_is_found(lag, rng):
    # White noise: any other lag has r near 0.
    variable = rng.standard_normal((40, 30))
    module = np.roll(variable, lag, axis=1)  # what wraps around is cut off again at that lag
    lags = np.arange(-6, 7) * 0.02
    found = relate(
        module.ravel(),
        variable.ravel(),
        trials=numbers([30] * 40),
        sampling_interval=0.02,
        lags=lags,
        n_nulls=199,
        rng=0,
    )
    best = np.abs(found.r[:, 0, 0]).argmax()
    assert lags[best] == pytest.approx(lag * 0.02)
    assert found.r[best, 0, 0] == pytest.approx(1)
    assert found.p_any_lag[0, 0] == 1 / 200
    assert np.sort(np.abs(found.r[:, 0, 0]))[-2] < 0.2


def test_lags_never_reach_into_another_trial(rng):
    # Each trial is one value throughout; only a lag over the border would mix values.
    values = rng.permutation(50).astype(float)
    series = np.repeat(values, 8)
    found = relate(series, series, trials=numbers([8] * 50), sampling_interval=1, lags=[-6, 0, 6], n_nulls=50, rng=0)
    np.testing.assert_allclose(found.r.ravel(), 1, atol=1e-12)


@pytest.mark.parametrize("lag", [-3, 0, 2])
def test_r_and_its_exchanges_equal_numpys(lag, rng):
    lengths = [7, 5, 7, 5, 9]  # the last is of a length of its own
    spans = [(end - n, end) for n, end in zip(lengths, np.cumsum(lengths), strict=True)]
    modules, variable = rng.standard_normal((33, 2)), rng.standard_normal((33, 3))
    found = relate(
        modules, variable, trials=numbers(lengths), sampling_interval=0.1, lags=[lag * 0.1], n_nulls=2000, rng=1
    )
    orders = [
        [*(a, b, c, d, 4)]
        for (a, c), (b, d) in itertools.product(itertools.permutations([0, 2]), itertools.permutations([1, 3]))
    ]
    for i, j in np.ndindex(2, 3):
        exact = np.array([by_hand(modules[:, i], variable[:, j], spans, lag, order) for order in orders])
        assert found.r[0, i, j] == pytest.approx(exact[0], abs=1e-12)
        assert found.expected[0, i, j] == pytest.approx(exact.mean(), abs=1e-12)
        away = np.abs(exact - exact.mean())
        share = np.mean(away >= away[0] - 1e-12)  # of the four possible exchanges
        assert found.p[0, i, j] == pytest.approx(share, abs=4 * np.sqrt(0.25 / 2000))
    assert (found.n_trials, found.n_fixed, found.n_possible) == (5, 1, 4)
    assert len(found.doubts()) == 2
    assert "1 of 5 trials" in found.doubts()[0]
    assert "4 ways only" in found.doubts()[1]


def test_many_trials_need_no_doubts(rng):
    found = relate(rng.standard_normal(60), rng.standard_normal(60), trials=numbers([3] * 20), n_nulls=100, rng=0)
    assert found.doubts() == ()
    assert found.n_possible is None


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 999), scale=st.floats(0.01, 100), shift=st.floats(-100, 100))
def test_scale_shift_and_the_order_of_trials_change_nothing(seed, scale, shift):
    rng = np.random.default_rng(seed)
    modules, variable = rng.standard_normal((10, 6, 2)), rng.standard_normal((10, 6, 1))
    order = rng.permutation(10)
    trials = numbers([6] * 10)
    found, again = (
        relate(m.reshape(60, 2), v.reshape(60, 1), trials=trials, sampling_interval=1, lags=[0, 2], n_nulls=10, rng=0)
        for m, v in ((modules, variable), (scale * modules[order] + shift, variable[order] * scale - shift))
    )
    np.testing.assert_allclose(again.r, found.r, atol=1e-9)
    np.testing.assert_allclose(again.expected, found.expected, atol=1e-9)


def test_a_course_that_all_trials_share_is_no_evidence(rng):
    # Module and variable both ramp up in each trial, and know nothing of each other's trials.
    ramp = np.linspace(0, 3, 25)
    module, variable = (np.tile(ramp, 40) + 0.3 * rng.standard_normal(1000) for _ in range(2))
    found = relate(module, variable, trials=numbers([25] * 40), n_nulls=500, rng=0)
    assert found.r[0, 0, 0] > 0.8
    assert found.expected[0, 0, 0] == pytest.approx(found.r[0, 0, 0], abs=0.01)
    assert found.p[0, 0, 0] > 0.05


def test_noise_is_found_as_often_as_p_says_and_time_steps_would_always_find_it():
    n_repeats, n_trials, length = 300, 24, 50
    p, naive = [], []
    for repeat in range(n_repeats):
        rng = np.random.default_rng(repeat)
        module, variable = smooth(rng, n_trials, length), smooth(rng, n_trials, length)
        p.append(relate(module, variable, trials=numbers([length] * n_trials), n_nulls=99, rng=rng).p[0, 0, 0])
        naive.append(pearsonr(module[:, 0], variable[:, 0]).pvalue)
    for level in (0.05, 0.2, 0.5):
        low, high = binom.ppf([0.001, 0.999], n_repeats, level)
        assert low <= np.count_nonzero(np.array(p) <= level) <= high
    # 1,200 time steps that are not independent: the usual p finds something more often than not.
    assert np.mean(np.array(naive) <= 0.05) > 0.5


def test_corrected_p_over_many_columns_of_noise():
    n_repeats = 150
    found = []
    for repeat in range(n_repeats):
        rng = np.random.default_rng(10_000 + repeat)
        columns = smooth(rng, 16, 20, 5)
        columns[:, 1] = -columns[:, 0]  # as the two columns of a choice
        found.append(relate(smooth(rng, 16, 20, 3), columns, trials=numbers([20] * 16), n_nulls=99, rng=rng))
    assert np.count_nonzero([each.p_corrected.min() <= 0.05 for each in found]) <= binom.ppf(0.999, n_repeats, 0.05)
    assert np.mean([each.p.min() <= 0.05 for each in found]) > 0.2  # what it corrects
    assert all((each.p_corrected >= each.p - 1e-12).all() for each in found[:20])


def test_the_best_of_many_lags_of_noise_is_no_finding():
    n_repeats, lags = 150, np.arange(-5, 6.0)
    found = []
    for repeat in range(n_repeats):
        rng = np.random.default_rng(20_000 + repeat)
        module, variable = rng.standard_normal((2, 15 * 16))
        trials = numbers([16] * 15)
        found.append(relate(module, variable, trials=trials, sampling_interval=1, lags=lags, n_nulls=99, rng=rng))
    assert np.count_nonzero([each.p_any_lag[0, 0] <= 0.05 for each in found]) <= binom.ppf(0.999, n_repeats, 0.05)
    assert np.mean([each.p.min() <= 0.05 for each in found]) > 0.2  # of the best lag, had nobody counted the others


def test_same_seed_same_p(rng):
    module, variable = smooth(rng, 12, 10), smooth(rng, 12, 10)
    one, again, other = (
        relate(module, variable, trials=numbers([10] * 12), n_nulls=200, rng=seed).p for seed in (3, 3, 4)
    )
    assert one.tolist() == again.tolist()
    assert one.tolist() != other.tolist()


def test_blocks_of_trials_fit_together(rng, monkeypatch):
    module, variable = smooth(rng, 23, 6, 2), smooth(rng, 23, 6)
    whole = relate(module, variable, trials=numbers([6] * 23), n_nulls=50, rng=0)
    monkeypatch.setattr("fctoolbox.relation._BLOCK", 5)
    parts = relate(module, variable, trials=numbers([6] * 23), n_nulls=50, rng=0)
    np.testing.assert_allclose(parts.r, whole.r, atol=1e-12)
    np.testing.assert_allclose(parts.expected, whole.expected, atol=1e-12)
    assert parts.p.tolist() == whole.p.tolist()


def test_equal_trials_say_nothing():
    # All exchanges give what was observed: p is 1, and nothing warns of a division.
    series = np.tile([0.0, 1.0, 3.0], 6)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = relate(series, series, trials=numbers([3] * 6), n_nulls=50, rng=0)
    assert found.p[0, 0, 0] == found.p_corrected[0, 0, 0] == found.p_any_lag[0, 0] == 1


def test_spans():
    spans = TrialSpans.of([7, 7, 3, 3, 3, 9], 6)
    assert (spans.starts.tolist(), spans.lengths.tolist(), spans.n) == ([0, 2, 5], [2, 3, 1], 3)
    assert TrialSpans.of(numbers([4] * 5), 20).n_exchanges(1000) == 120
    assert TrialSpans.of(numbers([4] * 5), 20).n_exchanges(100) == 100


GOOD = {"modules": np.arange(12.0) % 5, "variable": np.arange(12.0) ** 2, "trials": numbers([4] * 3)}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"variable": np.ones(12)}, r"columns \[0\] of the variable are constant, so their correlation is undefined"),
        ({"modules": np.ones(12)}, r"columns \[0\] of the modules are constant"),
        ({"variable": np.array([np.nan, *range(11)])}, "variable has 1 value that is not finite"),
        ({"modules": np.array([*range(11), np.inf])}, "modules has 1 value that is not finite"),
        ({"variable": np.arange(11.0)}, "modules have 12 time steps, and the variable 11"),
        ({"trials": numbers([4] * 4)}, "one for each of the 12 time steps"),
        ({"trials": np.arange(12) / 2}, "must be whole numbers"),
        ({"trials": np.array([0, 0, 0, 1, 1, 1, 0, 0, 0, 2, 2, 2])}, r"trials \[0\] are in several places"),
        ({"trials": numbers([3, 4, 5])}, "none of the 3 trials has the length of another"),
        ({"lags": [0.1]}, "so they need the sampling_interval"),
        ({"lags": [0.05], "sampling_interval": 0.02}, "lags of 0.05 s are no whole multiples of the sampling interval"),
        ({"lags": [-3.0], "sampling_interval": 1.0}, "lag of -3 s does not fit into the shortest trial of 4 s"),
        ({"lags": []}, "one or more numbers of seconds"),
        ({"lags": [np.nan]}, "one or more numbers of seconds"),
        ({"n_nulls": 0}, "n_nulls is 0"),
        ({"rng": -1}, "rng is -1"),
        ({"variable": np.full(12, "a")}, "needed: numbers"),
    ],
)
def test_bad_input(changes, message):
    with pytest.raises(fct.InputError, match=message):
        relate(**(GOOD | {"n_nulls": 9, "rng": 0} | changes))


def test_constant_once_cut_for_a_lag(rng):
    # Only the last step of each trial differs, and a module that is read later loses it.
    late = np.tile([0.0, 0.0, 0.0, 1.0], 12) * np.repeat(rng.permutation(12), 4)
    both = np.column_stack([late, rng.standard_normal(48)])
    settings = {"trials": numbers([4] * 12), "sampling_interval": 1, "n_nulls": 99, "rng": 0}
    module = rng.standard_normal(48) + late
    found, alone = relate(module, both, **settings, lags=[0, 1]), relate(module, both, **settings)
    assert found.defined.tolist() == [[True, True], [False, True]]
    assert (found.r[1, 0, 0], found.expected[1, 0, 0], found.p[1, 0, 0], found.p_corrected[1, 0, 0]) == (0, 0, 1, 1)
    for name in ("r", "p", "p_corrected", "expected"):
        assert getattr(found, name)[0].tolist() == getattr(alone, name)[0].tolist()
    with pytest.raises(fct.InputError, match="variable are constant once trials are cut for a lag of 1 time steps"):
        relate(module, both, **settings, lags=[1])
    with pytest.raises(fct.InputError, match="modules are constant once trials are cut for a lag of -1 time steps"):
        relate(late, module, **settings, lags=[-1, 0])


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([0, 1], "a whole number for each of the 3 units"),
        ([0.0, 1.0, 1.0], "a whole number for each of the 3 units"),
        ([0, 2, 2], "numbered from 0 without gaps"),
        ([-1, -1, -1], "numbered from 0 without gaps"),
        ([0, 1, -2], "numbered from 0 without gaps"),
    ],
)
def test_bad_labels(labels, message):
    with pytest.raises(fct.InputError, match=message):
        module_activity(np.zeros((4, 3)), labels)


def test_no_timeseries():
    with pytest.raises(fct.InputError, match="there is connectivity only"):
        module_activity(fct.RecurrentActivity(connectivity=np.eye(3)), [0, 0, 1])
