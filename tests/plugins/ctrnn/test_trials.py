"""Trials: seeded, whole, and of any task that can be learned by supervision."""

import neurogym
import numpy as np
import pytest
import torch
from fctoolbox_ctrnn.task import TASK_ID
from fctoolbox_ctrnn.trials import ENDED, Trials, draw_trials, read_task
from neurogym.core import TrialEnv

from fctoolbox.errors import InputError

VARIABLE = "ContextDecisionMaking-v0"  # its delay is drawn anew for each trial


def task(name=TASK_ID, dt=100):
    return read_task(name, dt)


class Unseedable(TrialEnv):
    """A task that draws from elsewhere."""

    _elsewhere = np.random.default_rng(0)

    def __init__(self, dt=100):
        super().__init__(dt=dt)
        self.timing = {"all": 300}
        self.observation_space = neurogym.spaces.Box(-np.inf, np.inf, shape=(1,), dtype=np.float32)
        self.action_space = neurogym.spaces.Discrete(2)

    def _new_trial(self):
        self.add_period("all")
        self.add_ob(self.value())
        self.set_groundtruth(1, "all")
        return {}

    def value(self):
        return self._elsewhere.standard_normal()


class NotFinite(Unseedable):
    """A task that presents NaN."""

    def value(self):
        return np.nan


neurogym.register("fctoolbox-tests/Unseedable-v0", entry_point=Unseedable)
neurogym.register("fctoolbox-tests/NotFinite-v0", entry_point=NotFinite)


def test_a_task_is_described():
    described = task(dt=20)
    assert described.columns == ("fixation", "stimulus-1", "stimulus-2")
    assert described.stimulus_columns == (1, 2)
    assert described.n_actions == 3
    assert described.timing == "fixation 100 ms, stimulus 2000 ms, delay 0 ms, decision 100 ms"


@pytest.mark.parametrize(
    ("name", "columns", "n_actions"),
    [
        ("GoNogo-v0", ("fixation", "nogo", "go"), 2),
        ("MotorTiming-v0", ("input-0", "input-1", "input-2", "input-3"), 2),  # names nothing
        (VARIABLE, ("fixation", "stim1_mod1", "stim2_mod1", "stim1_mod2", "stim2_mod2"), 3),
    ],
)
def test_neurogym_s_tasks_are_described(name, columns, n_actions):
    assert (task(name).columns, task(name).n_actions) == (columns, n_actions)


def test_the_second_modality_keeps_its_columns():
    # Yang's wrapper names 16 of 33 inputs, from the 18th on.
    columns = task("yang19.dm2-v0").columns
    assert len(columns) == len(set(columns)) == 33
    assert columns[0] == "fixation"


@pytest.mark.parametrize("name", [TASK_ID, "GoNogo-v0", VARIABLE, "yang19.anti-v0"])
def test_the_seed_decides(name):
    described = task(name)
    first, again, other = (draw_trials(described, 6, seed=seed) for seed in [(3, 1), (3, 1), (3, 2)])
    np.testing.assert_array_equal(first.inputs, again.inputs)
    np.testing.assert_array_equal(first.targets, again.targets)
    assert first.inputs.shape != other.inputs.shape or not np.array_equal(first.inputs, other.inputs)
    longer = draw_trials(described, 9, seed=(3, 1))
    np.testing.assert_array_equal(longer.select(np.arange(6)).targets[: len(first.targets)], first.targets)


def test_nobody_else_s_random_numbers_are_touched():
    state, torch_state = np.random.get_state(), torch.get_rng_state()
    draw_trials(task(), 5, seed=(0,))
    assert all(np.array_equal(a, b) for a, b in zip(state, np.random.get_state(), strict=True))
    assert torch.equal(torch_state, torch.get_rng_state())


def test_trials_of_different_lengths_stand_side_by_side():
    drawn = draw_trials(task(VARIABLE), 12, seed=(0,))
    lengths = (drawn.targets != ENDED).sum(axis=0)
    assert len(set(lengths)) > 1
    assert lengths.max() == len(drawn.targets)
    for k, length in enumerate(lengths):
        assert (drawn.targets[length:, k] == ENDED).all()
        assert not drawn.inputs[length:, k].any()
        assert drawn.inputs[:length, k].any(axis=1).any()
    joined = drawn.end_to_end(drawn.inputs)
    assert joined.shape == (lengths.sum(), 5)
    np.testing.assert_array_equal(joined[lengths[0] : lengths[:2].sum()], drawn.inputs[: lengths[1], 1])


def by_hand():
    targets = np.array([[0, 0, 2], [0, 0, 1], [1, 0, 0], [2, ENDED, 0], [ENDED, ENDED, 0]])
    return Trials(np.zeros((5, 3, 1), dtype=np.float32), targets, np.array([0.0, 6.4, -6.4]))


def test_the_response_is_read_when_one_is_asked_for_last():
    # The last step with a target other than fixation; the trial's last step where there is none.
    assert by_hand().response_times.tolist() == [3, 2, 1]


def test_choices_are_the_strongest_output_at_that_time():
    outputs = np.zeros((5, 3, 3))
    outputs[3, 0, 2] = outputs[2, 1, 1] = outputs[1, 2, 1] = 1
    outputs[4, :, 0] = 9  # later than the response: not looked at
    assert by_hand().choices(outputs).tolist() == [2, 1, 1]
    assert by_hand().correct(outputs).tolist() == [True, False, True]


def test_trials_without_coherence_are_known():
    assert by_hand().coherent.tolist() == [False, True, True]
    drawn = draw_trials(task(), 50, seed=(0,))
    assert set(drawn.coherence) == {0.0, 6.4, 12.8, 25.6, 51.2}
    assert draw_trials(task("GoNogo-v0"), 5, seed=(0,)).coherence is None
    assert draw_trials(task("GoNogo-v0"), 5, seed=(0,)).coherent.all()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("GoNoGo-v0", r"no task 'GoNoGo-v0'\. Did you mean 'GoNogo-v0'\? There are: fctoolbox/Percep"),
        ("nowhere.to.be.found:It-v0", r"no task 'nowhere\.to\.be\.found:It-v0'\. There are: "),
        ("", r"no task ''\. There are: "),
        ("CartPole-v1", r"task 'CartPole-v1' cannot be made with only a time step: .*'dt'"),
        ("Bandit-v0", r"task 'Bandit-v0' defines no observations and ground truth for a whole trial"),
        ("ReachingDelayResponse-v0", r"asks for Box.*a few distinct responses only"),
        ("Reaching1D-v0", r"wants response \d+, but it offers only 0 … 2"),
        ("fctoolbox-tests/Unseedable-v0", r"random numbers that its seed\(\) does not reach"),
        ("fctoolbox-tests/NotFinite-v0", r"presents values that are not finite"),
    ],
)
def test_tasks_that_cannot_be_learned_are_refused(name, message):
    with pytest.raises(InputError, match=message):
        task(name)
