"""Trials: seeded, whole, and of any task that can be learned by supervision."""

import neurogym
import numpy as np
import pytest
import torch
from fctoolbox_ctrnn.recording import accuracy_in_words
from fctoolbox_ctrnn.task import ALL_RULES_ID, DESIGNS, GO_NOGO_ID, TASK_ID
from fctoolbox_ctrnn.trials import ENDED, Trials, draw_trials, known_tasks, read_task
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


class Clumsy(Unseedable):
    """A task that raises whatever its own code raises."""

    def value(self):
        raise ValueError("low >= high")


neurogym.register("fctoolbox-tests/Clumsy-v0", entry_point=Clumsy)
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
        ("PerceptualDecisionMakingDelayResponse-v0", ("input-0", "input-1", "input-2"), 3),  # names nothing
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


@pytest.mark.parametrize("name", ["GoNogo-v0", VARIABLE, "yang19.anti-v0"])
def test_more_trials_are_the_same_and_others(name):
    described = task(name)
    first, longer = draw_trials(described, 6, seed=(3, 1)), draw_trials(described, 9, seed=(3, 1))
    np.testing.assert_array_equal(longer.select(np.arange(6)).targets[: len(first.targets)], first.targets)


@pytest.mark.parametrize("name", [*DESIGNS, "GoNogo-v0", VARIABLE, "yang19.anti-v0"])
def test_the_seed_decides(name):
    described = task(name, dt=20)
    first, again, other = (draw_trials(described, 6, seed=seed) for seed in [(3, 1), (3, 1), (3, 2)])
    np.testing.assert_array_equal(first.inputs, again.inputs)
    np.testing.assert_array_equal(first.targets, again.targets)
    assert first.inputs.shape != other.inputs.shape or not np.array_equal(first.inputs, other.inputs)
    assert first.conditions.keys() == again.conditions.keys()
    for name, values in first.conditions.items():
        np.testing.assert_array_equal(values, again.conditions[name])


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


def test_the_decision_is_a_period_or_the_steps_with_a_response():
    # neurogym's and ours: the period of that name, also where the right answer is to fixate.
    drawn = draw_trials(task("fctoolbox/Yang19-dms-v0", 20), 40, seed=(3,))
    for k in range(40):
        first, end = drawn.periods["decision"][k]
        assert np.flatnonzero(drawn.deciding[:, k]).tolist() == list(range(first, end))
    fixating = (drawn.targets <= 0).all(axis=0)
    assert fixating.any()
    assert drawn.deciding[:, fixating].any(axis=0).all()
    assert draw_trials(task(VARIABLE), 5, seed=(3,)).deciding.any(axis=0).all()
    np.testing.assert_array_equal(by_hand().deciding, by_hand().targets > 0)  # it names no periods


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
        ("Reaching1D-v0", r"wants response \d+, but it offers only 0 … 2"),
        ("PulseDecisionMaking-v0", r"cue0 of task .* lasts 10 ms, less than one time step of 100 ms.*at most 10\)"),
        ("ToneDetection-v0", r"'ToneDetection-v0' cannot be made with only a time step: dt=100 must be smaller"),
        (
            "fctoolbox-tests/Clumsy-v0",
            r"'fctoolbox-tests/Clumsy-v0' cannot draw a trial at time steps of 100 ms: low >= h",
        ),
        ("fctoolbox-tests/Unseedable-v0", r"random numbers that its seed\(\) does not reach"),
        ("fctoolbox-tests/NotFinite-v0", r"presents values that are not finite"),
    ],
)
def test_tasks_that_cannot_be_learned_are_refused(name, message):
    with pytest.raises(InputError, match=message):
        task(name)


def test_our_tasks_come_first():
    known = known_tasks()
    assert known[: len(DESIGNS)] == tuple(DESIGNS)
    assert known[0] == TASK_ID
    assert {"GoNogo-v0", "yang19.dm1-v0"} <= set(known[len(DESIGNS) :])
    assert len(set(known)) == len(known)
    with pytest.raises(InputError, match=r"Did you mean 'fctoolbox/Yang19-dlygo-v0'\? There are: fctoolbox/Percep"):
        task("fctoolbox/Yang19-delygo-v0")


@pytest.mark.parametrize("name", [*DESIGNS, "GoNogo-v0", VARIABLE, "yang19.dm1-v0", "yang19.dms-v0"])
def test_trials_tell_their_conditions_and_periods(name):
    drawn = draw_trials(task(name, dt=20), 12, seed=(0,))
    lengths = (drawn.targets != ENDED).sum(axis=0)
    assert all(values.shape == (12,) for values in drawn.conditions.values())
    wanted = np.where(drawn.targets > 0, drawn.targets, 0).max(axis=0)
    np.testing.assert_array_equal(drawn.conditions["target"], wanted)
    assert all(steps.shape == (12, 2) for steps in drawn.periods.values())
    np.testing.assert_array_equal(max(steps[:, 1].tolist() for steps in drawn.periods.values()), lengths)
    # Periods follow one another from 0 to the trial's end.
    durations = sum(steps[:, 1] - steps[:, 0] for steps in drawn.periods.values())
    np.testing.assert_array_equal(durations, lengths)
    first, last = drawn.periods["decision"].T
    for k in range(12):
        assert (drawn.targets[first[k] : last[k], k] == wanted[k]).all()
    chosen = drawn.select(np.array([3, 1]))
    assert chosen.conditions["target"].tolist() == [wanted[3], wanted[1]]
    assert chosen.periods["decision"].tolist() == [[first[3], last[3]], [first[1], last[1]]]


def test_neurogym_s_conditions_keep_their_names():
    drawn = draw_trials(task("ContextDecisionMaking-v0"), 12, seed=(0,))
    assert drawn.conditions.keys() == {"other_choice", "context", "coh_1", "coh_2", "target"}
    assert drawn.coherence is None
    drawn = draw_trials(task("PerceptualDecisionMaking-v0"), 12, seed=(0,))
    assert drawn.conditions.keys() == {"coherence", "target"}
    np.testing.assert_array_equal(drawn.coherence, drawn.conditions["coherence"])


def test_trials_that_luck_decides_are_known_in_tasks_without_coherence_of_their_own():
    drawn = draw_trials(task(ALL_RULES_ID, dt=20), 2000, seed=(0,))
    assert drawn.coherence is None
    np.testing.assert_array_equal(drawn.coherent, drawn.conditions["decidable"])
    undecided = set(drawn.conditions["rule"][~drawn.coherent])
    assert undecided == {"multidm", "multidlydm"}
    assert drawn.select(np.flatnonzero(drawn.coherent)).coherent.all()
    outputs = np.eye(read_task(ALL_RULES_ID, 20).n_actions)[drawn.targets]
    outputs[:, ~drawn.coherent] = 0  # fixating: wrong
    words = accuracy_in_words(drawn, outputs, dt=20)
    assert words == f"1.000 of the trials whose stimuli tell the answer ({drawn.coherent.mean():.3f} of all)"


@pytest.mark.parametrize("name", [TASK_ID, VARIABLE])
def test_timing_is_an_option(name):
    described = read_task(name, 20, timing={"delay": 300, "stimulus": ("uniform", [400, 800])})
    assert dict(described.changed) == {"delay": 300, "stimulus": ("uniform", (400, 800))}
    assert "stimulus 400–800 ms, delay 300 ms" in described.timing
    drawn = draw_trials(described, 60, seed=(0,))
    lengths = {period: steps[:, 1] - steps[:, 0] for period, steps in drawn.periods.items()}
    assert set(lengths["delay"]) == {15}
    assert len(set(lengths["stimulus"])) > 5
    assert lengths["stimulus"].min() >= 20
    assert lengths["stimulus"].max() <= 40
    assert described != read_task(name, 20)
    assert hash(described) == hash(read_task(name, 20, timing={"delay": 300, "stimulus": ("uniform", (400, 800))}))


def test_no_changes_are_the_task_itself():
    for name in (TASK_ID, VARIABLE):
        assert read_task(name, 20, timing={}) == read_task(name, 20)


def test_a_task_per_trial_lets_the_shared_periods_change():
    described = read_task(ALL_RULES_ID, 20, timing={"decision": 300})
    assert described.timing == "each rule's own, decision 300 ms"
    drawn = draw_trials(described, 60, seed=(0,))
    assert set((drawn.periods["decision"] @ [-1, 1]).tolist()) == {15}


@pytest.mark.parametrize(
    ("name", "timing", "message"),
    [
        (
            TASK_ID,
            {"stimulsu": 5},
            r"names period 'stimulsu', which task .*Did you mean 'stimulus'\?",
        ),
        (TASK_ID, {"stimulus": -5}, r"timing: stimulus of task '.*' is -5 ms; it must be from 0 to 60000 ms"),
        (TASK_ID, {"stimulus": 10}, r"stimulus of task '.*' can last 10 ms, less than one time step of 20 ms"),
        (GO_NOGO_ID, {"decision": 0}, r"decision of task '.*' can last 0 ms, less than one time step of 20 ms"),
        (
            ALL_RULES_ID,
            {"delay": 500},
            r"period 'delay', which task .* does not let change.*fixation",
        ),
        (ALL_RULES_ID, {"decision": 10}, r"decision of task '.*' can last 10 ms"),
        (
            "GoNogo-v0",
            {"delya": 5},
            r"names period 'delya'.*Did you mean 'delay'\? There are: fixation, stim",
        ),
        ("GoNogo-v0", {"delay": -5}, r"timing: delay of task 'GoNogo-v0' is -5 ms"),
        # neurogym's function sets the delay itself, and takes a changed fixation for the whole timing.
        ("yang19.dlygo-v0", {"delay": 300}, r"does not take this timing: .* delay 500 ms, .*instead of"),
        (
            "yang19.dm1-v0",
            {"fixation": 300},
            r"does not take this timing: .* stimulus 500 ms, .*instead of",
        ),
    ],
)
def test_timing_that_a_task_cannot_have_is_refused(name, timing, message):
    with pytest.raises(InputError, match=message):
        read_task(name, 20, timing=timing)


def test_timing_of_others_leaves_a_decision_and_whole_steps():
    with pytest.raises(InputError, match=r"asks for no response in 20 trials.* see whether a decision is left"):
        read_task("DelayComparison-v0", 100, timing={"decision": 0})
    with pytest.raises(InputError, match=r"decision of task 'DelayComparison-v0' lasts 10 ms, less than one time step"):
        read_task("DelayComparison-v0", 100, timing={"decision": 10})


def test_durations_that_neurogym_draws_are_told_in_words():
    words = read_task("PostDecisionWager-v0", 20).timing
    assert "delay 1200–1800 ms (exponential, mean 1350 ms), pre_sure drawn for each trial" in words


def test_rules_are_a_stimulus_only_where_there_are_several():
    alone, mixed = read_task("fctoolbox/Yang19-dm1-v0", 20), read_task(ALL_RULES_ID, 20)
    assert alone.stimulus_columns == tuple(range(1, 33))
    assert mixed.stimulus_columns == tuple(range(1, 53))
    # What is said to be constant is; all else changes.
    for described in (alone, mixed, read_task("fctoolbox/ContextDecisionMaking-v0", 20)):
        drawn = draw_trials(described, 400, seed=(1,))
        values = drawn.inputs[drawn.targets != ENDED]
        changing = [c for c, spread in zip(described.columns, np.ptp(values, axis=0), strict=True) if spread > 0]
        assert set(described.columns) - set(changing) == set(described.constant)


@pytest.mark.parametrize("dt", [0, -20, 2.5, True])
def test_the_time_step_is_a_whole_number_of_ms(dt):
    with pytest.raises(InputError, match=r"dt is .*; it must be a whole number of at least 1"):
        read_task(TASK_ID, dt)


def test_a_time_step_longer_than_the_decision_is_refused():
    with pytest.raises(InputError, match=r"fixation of task '.*' can last 100 ms, less than one time step of 200 ms"):
        read_task(TASK_ID, 200)
