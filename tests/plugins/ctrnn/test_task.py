"""The task: closed forms of its cue, timing, evidence and answers."""

import warnings
from statistics import NormalDist

import neurogym
import numpy as np
import pytest
from fctoolbox_ctrnn.task import TASK_ID, Perceptual, PerceptualDecisionMaking


def trials(n_trials, *, seed=0, **options):
    task = PerceptualDecisionMaking(**options)
    task.seed(seed)
    for _ in range(n_trials):
        trial = task.new_trial()
        yield trial, task.ob, task.gt


def delayed(delay, **options):
    return Perceptual(timing={**Perceptual().timing, "delay": delay}, **options)


@pytest.mark.parametrize("dt", [10, 20, 100])
def test_a_trial_has_its_periods(dt):
    _, observations, targets = next(trials(1, dt=dt))
    assert len(observations) == len(targets) == 2200 // dt


@pytest.mark.parametrize("delay", [0, 300])
def test_the_cue_lasts_until_the_decision(delay):
    for _, observations, _ in trials(20, dt=20, design=delayed(delay)):
        until = (100 + 2000 + delay) // 20
        assert (observations[:until, 0] == 1).all()
        assert (observations[until:, 0] == 0).all()


def test_without_noise_the_stimuli_differ_by_the_coherence():
    for trial, observations, _ in trials(40, dt=100, design=delayed(200, noise=0)):
        stronger, weaker = 1 + trial["ground_truth"], 2 - trial["ground_truth"]
        during = observations[1:21]
        np.testing.assert_allclose(during[:, stronger], 0.5 + trial["coh"] / 200, rtol=1e-6)
        np.testing.assert_allclose(during[:, weaker], 0.5 - trial["coh"] / 200, rtol=1e-6)
        assert not observations[[0, *range(21, 24)], 1:].any()


def test_the_answer_is_the_stronger_stimulus_and_is_wanted_in_the_decision_only():
    for trial, observations, targets in trials(40, dt=100, design=Perceptual(coherences=(51.2,))):
        stronger = 1 + int(observations[:, 1:].sum(axis=0).argmax())
        assert not targets[:-1].any()
        assert targets[-1] == stronger == 1 + trial["ground_truth"]


@pytest.mark.parametrize("dt", [20, 100])
def test_an_ideal_observer_is_as_good_at_any_time_step(dt):
    # The integral of the difference over 2 s is normal with mean 0.02 c and variance 2 · 2000 / 1000² s², c in percent.
    coherence, n_trials = 3.2, 2000
    expected = NormalDist().cdf(0.02 * coherence / np.sqrt(2 * 2000 / 1e6))
    drawn = trials(n_trials, dt=dt, design=Perceptual(coherences=(coherence,)))
    right = [np.diff(x[:, 1:].sum(axis=0))[0] * (2 * t["ground_truth"] - 1) > 0 for t, x, _ in drawn]
    assert np.mean(right) == pytest.approx(expected, abs=4 * np.sqrt(expected * (1 - expected) / n_trials))


@pytest.mark.parametrize("dt", [20, 100])
def test_noise_is_white_with_the_design_s_size(dt):
    drawn = trials(100, dt=dt, design=Perceptual(coherences=(0.0,), noise=0.7))
    noise = np.array([x[100 // dt : 2100 // dt, 1:] - 0.5 for _, x, _ in drawn])
    assert noise.std() == pytest.approx(0.7 / np.sqrt(dt), rel=0.05)
    assert abs(np.corrcoef(noise[:, :-1].ravel(), noise[:, 1:].ravel())[0, 1]) < 4 / np.sqrt(noise.size)
    assert abs(np.corrcoef(noise[..., 0].ravel(), noise[..., 1].ravel())[0, 1]) < 4 / np.sqrt(noise.size / 2)


def test_choices_and_coherences_are_equally_frequent():
    n_trials = 3000
    drawn = [trial for trial, _, _ in trials(n_trials, dt=100)]
    for key, levels in (("ground_truth", (0, 1)), ("coh", Perceptual().coherences)):
        counts = np.array([sum(trial[key] == level for trial in drawn) for level in levels])
        share = 1 / len(levels)
        assert counts.sum() == n_trials
        assert np.abs(counts / n_trials - share).max() < 4 * np.sqrt(share * (1 - share) / n_trials)


def test_a_trial_can_be_asked_for():
    task = PerceptualDecisionMaking(dt=100)
    trial = task.new_trial(ground_truth=1, coh=12.8)
    assert (trial["ground_truth"], trial["coh"], task.gt[-1]) == (1, 12.8, 2)


@pytest.mark.parametrize("name", [TASK_ID, f"fctoolbox_ctrnn.task:{TASK_ID}"])
def test_neurogym_makes_it(name):
    task = neurogym.make(name, dt=20)
    task.unwrapped.seed(1)
    task.unwrapped.new_trial()
    assert task.unwrapped.ob.shape == (110, 3)
    assert isinstance(task.unwrapped, PerceptualDecisionMaking)


def test_it_can_be_acted_in():
    task = neurogym.make(TASK_ID, dt=100)
    observation, _ = task.reset(seed=0, options={"no_step": True})
    assert observation.shape == (3,)
    answer = int(task.unwrapped.gt[-1])
    rewards = [task.step(0)[1] for _ in range(20)]
    assert rewards == [0] * 20
    assert task.step(1)[1] == -0.1
    _, reward, _, _, info = task.step(answer)
    assert (reward, info["new_trial"], info["performance"]) == (1, True, 1)
    wrong = 3 - int(task.unwrapped.gt[-1])
    for _ in range(21):
        task.step(0)
    _, reward, _, _, info = task.step(wrong)
    assert (reward, info["new_trial"], info["performance"]) == (0, True, 0)


def test_only_the_cue_differs_from_neurogym_s_own():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # gymnasium, about neurogym's metadata
        theirs = neurogym.make("PerceptualDecisionMaking-v0", dt=20).unwrapped
    ours = PerceptualDecisionMaking(dt=20)
    for task in (ours, theirs):
        task.seed(7)
        task.new_trial()
    np.testing.assert_array_equal(ours.ob[:, 1:], theirs.ob[:, 1:])
    np.testing.assert_array_equal(ours.gt, theirs.gt)
    # The reason for a task of our own: since 2.1 neurogym's cue ends with the first period.
    assert theirs.ob[:, 0].sum() == 5
    assert ours.ob[:, 0].sum() == 105
