"""Rendering a plan: what each time step holds, by a second implementation that goes through trials one by one."""

import numpy as np
import pytest
from fctoolbox_ctrnn.plans import ENDED, Plan, rendered


def plan(durations, *, noise=0.0, seed=0):
    rng = np.random.default_rng(seed)
    durations = np.array(durations)
    shape = (*durations.shape, 4)
    sizes = np.zeros(shape)
    sizes[:, 1, 1:3] = noise
    periods = tuple("abc"[: shape[1]])
    return Plan(periods, durations, rng.normal(size=shape), sizes, rng.integers(0, 3, shape[:2]), {})


ALIKE = [[2, 3, 1]] * 4
UNLIKE = [[2, 3, 1], [0, 4, 2], [1, 0, 3], [2, 3, 1]]


@pytest.mark.parametrize("durations", [ALIKE, UNLIKE])
def test_each_step_holds_what_its_period_does(durations):
    planned = plan(durations)
    inputs, targets = rendered(planned, np.random.default_rng(0))
    n_times = max(map(sum, durations))
    assert (inputs.shape, inputs.dtype, targets.shape) == ((n_times, 4, 4), np.float32, (n_times, 4))
    for k, steps in enumerate(durations):
        length = sum(steps)
        np.testing.assert_array_equal(inputs[:length, k], np.repeat(planned.means[k].astype(np.float32), steps, axis=0))
        np.testing.assert_array_equal(targets[:length, k], np.repeat(planned.responses[k], steps))
        assert not inputs[length:, k].any()
        assert (targets[length:, k] == ENDED).all()
        for j, period in enumerate(planned.periods):
            assert planned.steps[period][k].tolist() == [sum(steps[:j]), sum(steps[: j + 1])]


def test_a_plan_without_noise_draws_nothing():
    rng, untouched = np.random.default_rng(0), np.random.default_rng(0)
    rendered(plan(UNLIKE), rng)
    assert rng.random() == untouched.random()


@pytest.mark.parametrize("durations", [[[100, 400, 50]] * 40, [[100 + k, 400 - k, 50] for k in range(40)]])
def test_noise_is_white_and_where_it_belongs(durations):
    planned = plan(durations, noise=0.5)
    silent, _ = rendered(plan(durations), np.random.default_rng(0))
    noisy, _ = rendered(planned, np.random.default_rng(0))
    noise = noisy - silent
    for k, (before, during, _) in enumerate(durations):
        assert not noise[:before, k].any()
        assert not noise[before + during :, k].any()
        assert not noise[:, k][:, [0, 3]].any()
        assert noise[before : before + during, k, 1:3].all()
    inside = noise[140:490, :, 1:3]
    n = inside.size
    assert inside.std() == pytest.approx(0.5, abs=4 * 0.5 / np.sqrt(2 * n))
    assert inside.mean() == pytest.approx(0, abs=4 * 0.5 / np.sqrt(n))
    for one, other in (
        (inside[1:], inside[:-1]),
        (inside[:, 1:], inside[:, :-1]),
        (inside[..., 0], inside[..., 1]),
    ):
        assert abs(np.corrcoef(one.ravel(), other.ravel())[0, 1]) < 4 / np.sqrt(one.size)


def test_noise_may_differ_between_trials():
    durations = np.array([[1, 2000], [1, 2000]])
    for steps in (durations, durations + [[0, 0], [0, 1]]):
        sizes = np.zeros((2, 2, 2))
        sizes[0, 1, 0], sizes[1, 1, 1] = 0.5, 2
        planned = Plan(("a", "b"), steps, np.zeros((2, 2, 2)), sizes, np.zeros((2, 2), dtype=int), {})
        inputs, _ = rendered(planned, np.random.default_rng(0))
        np.testing.assert_allclose(inputs.std(axis=0), [[0.5, 0], [0, 2]], rtol=0.1)
