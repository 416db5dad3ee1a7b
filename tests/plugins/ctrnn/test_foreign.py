"""Tasks of neurogym and others that ask when to respond, or for continuous outputs; and those made with options."""

import neurogym
import numpy as np
import pytest
import torch
from fctoolbox_ctrnn import ensemble, export_weights, from_weights, load_ensemble
from fctoolbox_ctrnn.moments import held, windows_of
from fctoolbox_ctrnn.recording import accuracy_in_words, variables
from fctoolbox_ctrnn.scan import Dynamics, Workspace, loss_and_gradients
from fctoolbox_ctrnn.training import Training
from fctoolbox_ctrnn.trials import ENDED, Trials, draw_trials, known_tasks, read_task, schedule_of
from fctoolbox_ctrnn.weights import Recipe, trained_network
from neurogym.core import TrialEnv

import fctoolbox as fct
from fctoolbox.errors import InputError
from fctoolbox.output_lesions import lesion_modules

INTERVALS, CUED, REACHING = "ReadySetGo-v0", "DelayMatchSampleDistractor1D-v0", "ReachingDelayResponse-v0"
ANNUBES = {"session": {"v": 0.5, "a": 0.5}, "catch_prob": 0.5}


class Odd(TrialEnv):
    """Two outputs or two responses, whose ground truth a test sets."""

    continuous, truth = False, (0, 1)

    def __init__(self, dt=100, truth=None):
        super().__init__(dt=dt)
        self.timing = {"first": 300, "second": 300}
        self.truth = self.truth if truth is None else truth
        spaces = neurogym.spaces
        self.observation_space = spaces.Box(-np.inf, np.inf, shape=(1,), dtype=np.float32)
        self.action_space = spaces.Box(-9, 9, shape=(2,), dtype=np.float32) if self.continuous else spaces.Discrete(2)

    def _new_trial(self):
        self.add_period(["first", "second"])
        self.add_ob(self.rng.random(), "second")
        for period, truth in zip(("first", "second"), self.truth, strict=True):
            self.set_groundtruth(truth, period)
        return {}


class OddValues(Odd):
    """The same with two continuous outputs."""

    continuous, truth = True, ([0, 1], [1, 0])


class OddShapes(Odd):
    """A ground truth and observations of shapes that a test sets."""

    def __init__(self, dt=100, shape=(6,), n_times=6, outputs=None):
        super().__init__(dt)
        self.shape, self.n_times = shape, n_times
        if outputs is not None:
            self.action_space = neurogym.spaces.Box(-9, 9, shape=tuple(outputs), dtype=np.float32)

    def _new_trial(self):
        super()._new_trial()
        self.ob, self.gt = np.zeros((self.n_times, 1)), np.zeros(self.shape)
        return {}


class Draws(Odd):
    """What is right, or a block, is drawn from elsewhere."""

    _elsewhere = np.random.default_rng(0)
    blocks = 0

    def _new_trial(self):
        super()._new_trial()
        self.set_groundtruth(int(self._elsewhere.integers(2)), "second")
        return {}


class Blocks(Odd):
    """A block that cannot be begun without saying which."""

    def new_block(self, number):
        raise AssertionError(f"nobody knows block {number}")


class BadBlocks(Odd):
    """A block that raises whatever its code raises."""

    def new_block(self):
        raise RuntimeError("no block")


class Catch(Odd):
    """One trial of fifty asks for nothing."""

    def _new_trial(self):
        super()._new_trial()
        if self.rng.random() < 0.02:
            self.set_groundtruth(0, "second")
        return {}


class Needy(Odd):
    """It cannot be made without an option, and its periods can change."""

    def __init__(self, loudness, dt=100, timing=None):
        super().__init__(dt)
        self.timing.update(timing or {})


class Sequences(Odd):
    """Two responses, one after the other."""

    def __init__(self, dt=100, pause=False):
        super().__init__(dt)
        self.action_space = neurogym.spaces.Discrete(3)
        self.gap = pause

    def _new_trial(self):
        super()._new_trial()
        truth = [0, 1, 0, 0, 0, 1] if self.gap else [0, 2, 2, 2, 1, 1]
        self.gt[:] = truth
        return {}


for _kind in (Odd, OddValues, OddShapes, Draws, Blocks, BadBlocks, Catch, Needy, Sequences):
    neurogym.register(f"fctoolbox-tests/{_kind.__name__}-v0", entry_point=_kind)


def answering(trials, steps):
    """Outputs that fixate, and respond from one time step of each trial on; never where it is None."""
    outputs = np.zeros((*trials.targets.shape, 2))
    outputs[..., 0] = 0.5
    for k, step in enumerate(steps):
        if step is not None:
            outputs[step:, k, 1] = 1
    return outputs


# What tasks are


def test_every_task_of_neurogym_that_says_what_is_right_can_be_learned():
    refused = {}
    for name in known_tasks():
        try:
            read_task(name, 10, options=ANNUBES if name == "AnnubesEnv-v0" else None)
        except InputError as error:
            refused[name] = str(error)
    no_truth = {"Bandit-v0", "DawTwoStep-v0", "EconomicDecisionMaking-v0", "Null-v0"}
    angles = {"Reaching1D-v0", "Reaching1DWithSelfDistraction-v0"}  # their truth is where to be, not what to do
    assert set(refused) == no_truth | angles
    assert all("defines no observations and ground truth" in refused[name] for name in no_truth)
    assert all("wants response 6, but it offers only 0 … 2" in refused[name] for name in angles)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        (INTERVALS, "timing"),
        ("MotorTiming-v0", "timing"),
        ("OneTwoThreeGo-v0", "timing"),
        (CUED, "timing"),
        (REACHING, "values"),
        ("SpatialSuppressMotion-v0", "values"),
        ("GoNogo-v0", "choice"),
        ("fctoolbox/GoNogo-v0", "choice"),
    ],
)
def test_what_a_task_asks_for(name, kind):
    task = read_task(name, 20)
    assert (task.kind, task.continuous) == (kind, kind == "values")
    assert schedule_of(task).response_weight == (1 if kind != "choice" or name.startswith("fctoolbox") else 5)


@pytest.mark.parametrize(
    ("name", "truth", "message"),
    [
        ("Odd", (0, 0), r"asks for no response in 20 trials, so that a network would be right"),
        ("Odd", (1, 1), r"asks for response 1 from the first time step on in 20 trials"),
        ("Odd", (1, 0), r"asks for response 1 from the first time step on in 20 trials"),
        ("OddValues", ([1, 2], [1, 2]), r"wants the same outputs at all time steps of 20 trials"),
        ("OddValues", ([1, 2], [1, float("nan")]), r"wants values that are not finite"),
    ],
)
def test_nothing_to_learn(name, truth, message):
    with pytest.raises(InputError, match=message):
        read_task(f"fctoolbox-tests/{name}-v0", 100, options={"truth": truth})


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        (
            "OddShapes",
            {"shape": [6, 2]},
            r"trial of 6 time steps with a ground truth of shape \(6, 2\); it must be one r",
        ),
        (
            "OddShapes",
            {"shape": [5]},
            r"ground truth of shape \(5,\); it must be one response at each time step, \(6,\)",
        ),
        ("OddShapes", {"shape": [6], "outputs": [2]}, r"must be a number for each output at each time step, \(6, 2\)"),
        ("OddShapes", {"shape": [6], "outputs": [1]}, r"must be a number for each output at each time step, \(6, 1\)"),
        ("OddShapes", {"shape": [0], "n_times": 0}, r"a trial of 0 time steps"),
        ("OddShapes", {"outputs": [0]}, r"which is no output at all"),
        ("OddShapes", {"outputs": [2, 2]}, r"asks for Box.* ctrnn learns distinct responses, or one number per output"),
        ("Draws", None, r"draws random numbers that its seed\(\) does not reach"),
        ("BadBlocks", None, r"cannot draw a trial at time steps of 100 ms: no block"),
        ("Sequences", None, r"asks for several responses in a trial and always ends with 1: neither"),
        ("Sequences", {"pause": True}, r"asks for several responses in a trial and always ends with 1: neither"),
    ],
)
def test_odd_ground_truths(name, options, message):
    with pytest.raises(InputError, match=message):
        read_task(f"fctoolbox-tests/{name}-v0", 100, options=options)


def test_blocks_that_need_more_are_left_alone():
    assert read_task("fctoolbox-tests/Blocks-v0", 100).kind == "timing"


def test_options_and_timing_go_together():
    task = read_task("fctoolbox-tests/Needy-v0", 100, timing={"second": 500}, options={"loudness": 1})
    assert task.timing == "first 300 ms, second 500 ms"
    assert len(draw_trials(task, 2, seed=(0,)).targets) == 8


# When


def test_windows_by_hand():
    inputs, targets = np.zeros((20, 3, 2)), np.zeros((20, 3), dtype=int)
    inputs[4, :, 0] = 1  # what is last seen ends at step 5
    targets[15, 0] = 1  # produced: 10 steps of 100 ms after it, within 20 % and 25 ms, 2.25 steps
    targets[15:17, 1] = 1
    inputs[15:, 1, 1] = 1  # shown at that moment: as long as it is asked for
    targets[19:, 2] = 1
    windows = windows_of(inputs, targets, 100)
    assert windows.tolist() == [[13, 18], [15, 17], [16, 20]]  # the last one ends with its trial
    # Steps of 20 ms: 200 ms, of which 40 and 25 either side.
    assert windows_of(inputs, targets, 20)[0].tolist() == [12, 19]


def test_noise_is_no_change(rng):
    inputs, targets = np.zeros((100, 1, 3)), np.zeros((100, 1), dtype=int)
    inputs[20:30, 0, 1] = 1
    targets[80, 0] = 1
    expected = windows_of(inputs, targets, 20)
    assert expected.tolist() == [[80 - 11, 80 + 12]]  # 50 steps, a second, after the last change
    noisy = inputs + 0.05 * rng.standard_normal(inputs.shape)
    np.testing.assert_array_equal(windows_of(noisy, targets, 20), expected)


@pytest.mark.parametrize("dt", [10, 20, 50])
def test_a_clean_cue_is_seen_beside_noise(rng, dt):
    inputs, targets = np.zeros((3000 // dt, 20, 3)), np.zeros((3000 // dt, 20), dtype=int)
    go = 2000 // dt
    inputs[:go, :, 0] = 1  # the fixation cue
    inputs[500 // dt : 1500 // dt, :, 1] += 1
    inputs[..., 1:] += rng.standard_normal(inputs[..., 1:].shape) / np.sqrt(dt)  # neurogym's usual noise
    targets[go : go + 5] = 1
    assert windows_of(inputs, targets, dt).tolist() == [[go, go + 5]] * 20
    # Where nothing tells the moment: the interval since the cue, not since the last of the noise.
    targets[:] = 0
    targets[go + 500 // dt] = 1
    margin = int((0.2 * 500 + 25) / dt)
    assert windows_of(inputs, targets, dt).tolist() == [[go + 500 // dt - margin, go + 500 // dt + margin + 1]] * 20


def test_noise_of_one_period_is_no_moment_either(rng):
    inputs, targets = np.zeros((100, 1, 1)), np.zeros((100, 1), dtype=int)
    inputs[20:60, 0, 0] = 5 + 0.1 * rng.standard_normal(40)
    targets[80] = 1  # 20 steps after its end
    assert windows_of(inputs, targets, 20).tolist() == [[75, 86]]
    targets[80], targets[40] = 0, 1  # and amid the noise, 20 steps after its beginning
    assert windows_of(inputs, targets, 20).tolist() == [[35, 46]]
    targets[40], targets[80] = 0, 1
    inputs[90] = 9  # what comes later does not count
    assert windows_of(inputs, targets, 20).tolist() == [[75, 86]]


def test_padding_is_no_change_and_no_response():
    inputs, targets = np.zeros((12, 2, 1)), np.zeros((12, 2), dtype=int)
    inputs[:8, 0], inputs[:, 1] = 1, 1
    targets[8:, 0] = ENDED
    targets[6, 0] = targets[10, 1] = 1
    windows = windows_of(inputs, targets, 100)
    assert windows.tolist() == [[5, 8], [8, 12]]
    trials = Trials(inputs, held(targets), windows=windows)
    outputs = answering(trials, [8, 10])  # the first one answers when it is over
    assert trials.correct(outputs).tolist() == [False, True]
    assert trials.first_responses(outputs).tolist() == [7, 10]


def test_the_right_response_and_nothing_where_none_is_wanted():
    targets = np.array([[0, 0, 0], [1, 1, 0], [1, 1, 0]])
    trials = Trials(np.zeros((3, 3, 1)), targets, windows=windows_of(np.zeros((3, 3, 1)), targets, 100))
    assert trials.windows.tolist() == [[1, 2], [1, 2], [3, 3]]
    outputs = np.zeros((3, 3, 3))
    outputs[..., 0] = 0.5
    outputs[1, 0, 1] = outputs[1, 1, 2] = 1  # the second one: another response, in time
    assert trials.correct(outputs).tolist() == [True, False, True]
    outputs[2, 2, 1] = 1
    assert trials.correct(outputs).tolist() == [True, False, False]


def test_rare_catch_trials_are_right_without_a_response():
    task = read_task("fctoolbox-tests/Catch-v0", 100)
    trials = draw_trials(task, 400, seed=(0,))
    assert task.kind == "timing"
    catch = trials.conditions["target"] == 0
    assert 0 < catch.sum() < 40
    moments = [None if each else 3 for each in catch]
    assert trials.correct(answering(trials, moments)).all()
    assert trials.correct(answering(trials, [3] * 400)).tolist() == (~catch).tolist()


def test_nothing_before_the_moment_is_the_whole_trial():
    targets = np.zeros((10, 1), dtype=int)
    targets[8] = 1
    assert windows_of(np.ones((10, 1, 1)), targets, 1000).tolist() == [[7, 10]]
    targets[1] = 1  # the first one counts, and its window is within the trial
    assert windows_of(np.ones((10, 1, 1)), targets, 10).tolist() == [[0, 4]]
    shown = np.ones((10, 1, 1))
    shown[1:] = 2
    assert windows_of(shown, targets, 10).tolist() == [[1, 2]]


def test_a_response_is_wanted_from_its_moment_on():
    targets = np.array([[0, 0], [2, 0], [0, 2], [0, ENDED]])
    assert held(targets).tolist() == [[0, 0], [2, 0], [2, 2], [2, ENDED]]


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")  # neurogym's and gymnasium's own
@pytest.mark.parametrize("margin", [0.2, 0.05])
@pytest.mark.parametrize(("name", "later"), [(INTERVALS, 83), ("MotorTiming-v0", 0), ("OneTwoThreeGo-v0", 0)])
def test_windows_are_those_in_which_neurogym_rewards(name, margin, later):
    """ReadySetGo's code counts from the beginning of "set", and its ground truth from the end, 83 ms later."""
    task = read_task(name, 20, options={"prod_margin": margin})
    environment = neurogym.make(name, dt=20, prod_margin=margin).unwrapped
    seed = int(np.random.SeedSequence((5,)).generate_state(1)[0])
    environment.seed(seed)
    for first, end in draw_trials(task, 6, seed=(5,)).windows:
        environment.new_trial()
        rewarded = []
        for step in range(len(environment.gt)):
            environment.t, environment.t_ind, environment.performance = step * 20, step, 0
            environment._step(1)
            rewarded += [step] * environment.performance
        assert (first, end) == pytest.approx((rewarded[0] + later // 20, rewarded[-1] + 1 + later // 20), abs=1)


@pytest.mark.parametrize("name", [INTERVALS, "MotorTiming-v0", "OneTwoThreeGo-v0"])
def test_intervals_are_judged_with_the_margin_of_neurogym(name):
    task = read_task(name, 20)
    trials = draw_trials(task, 60, seed=(0,))
    asked = (trials.targets > 0).argmax(axis=0)
    for k, length in enumerate((trials.targets != ENDED).sum(axis=0)):
        assert (trials.targets[: asked[k], k] == 0).all()
        assert (trials.targets[asked[k] : length, k] == 1).all()  # held, as in `held`
    # What neurogym says: the interval that it measures or shows, in ms.
    told = {INTERVALS: "production", "MotorTiming-v0": "production", "OneTwoThreeGo-v0": "interval"}[name]
    interval = trials.conditions[told]
    margin = (0.2 * interval + 25) / 20
    first, end = trials.windows.T
    np.testing.assert_allclose(asked - first, margin, atol=1.3)  # whole steps
    np.testing.assert_allclose(end - 1 - asked, margin, atol=1.3)
    assert trials.correct(answering(trials, asked)).all()
    assert trials.correct(answering(trials, first)).all()
    assert trials.correct(answering(trials, end - 1)).all()
    assert not trials.correct(answering(trials, first - 1)).any()
    assert not trials.correct(answering(trials, end)).any()
    assert not trials.correct(answering(trials, [None] * 60)).any()
    # A response that came too early is not made good by what follows.
    twice = answering(trials, asked)
    twice[0, :, 1] = 1
    assert not trials.correct(twice).any()


def test_a_clock_does_not_produce_intervals():
    trials = draw_trials(read_task(INTERVALS, 20), 400, seed=(0,))
    begin = trials.periods["production"][:, 0]
    shares = [trials.correct(answering(trials, begin + steps)).mean() for steps in range(30, 80)]
    # Always after the same time c: right where |c - x| ≤ 0.2 x + 25, at best for x from 958 to 1500 of 800 to 1500 ms.
    assert max(shares) == pytest.approx((1500 - (0.8 * 1500 - 25 - 25) / 1.2) / 700, abs=0.05)
    lengths = begin - trials.periods["measure"][:, 0]
    assert trials.correct(answering(trials, begin + lengths)).mean() > 0.99  # after what was measured


def test_a_cued_moment_is_answered_while_it_lasts():
    task = read_task(CUED, 20)
    trials = draw_trials(task, 60, seed=(0,))
    starts = np.array([trials.periods[f"test{k}"][:, 0] for k in (1, 2, 3)])
    match = (trials.targets > 0).argmax(axis=0)
    assert (starts == match).any(axis=0).all()
    np.testing.assert_array_equal(trials.windows, np.column_stack([match, match + 25]))
    shares = [trials.correct(answering(trials, start)).mean() for start in starts]
    assert sum(shares) == pytest.approx(1)  # whoever guesses is right as often as that test is the match
    assert max(shares) < 0.5


def test_choices_and_words_of_timing():
    trials = draw_trials(read_task(INTERVALS, 20), 4, seed=(0,))
    first, end = trials.windows.T
    outputs = answering(trials, [first[0], first[1] - 1, end[2], None])
    assert trials.choices(outputs).tolist() == [1, 1, 1, 0]
    last = (trials.targets != ENDED).sum(axis=0)[3] - 1
    assert trials.first_responses(outputs).tolist() == [first[0], first[1] - 1, end[2], last]
    assert trials.score(outputs) == 0.25
    assert trials.select(np.array([0, 2])).correct(outputs[:, [0, 2]]).tolist() == [True, False]
    words = accuracy_in_words(trials, outputs, dt=20)
    assert words.startswith("0.250 of trials answered in time, within ")
    lengths = (end - first) * 20
    assert words.endswith(
        f"within {lengths.min()} to {lengths.max()} ms (too early 0.250, too late 0.250, never 0.250)"
    )
    assert f"within {lengths.min() // 20} to {lengths.max() // 20} time steps" in accuracy_in_words(
        trials, outputs, dt=None
    )
    alone = trials.select(np.array([0]))
    assert f"within {lengths[0]} ms (too early 0.000" in accuracy_in_words(alone, outputs[:, :1], dt=20)
    known = variables(trials, outputs, columns=("fixation", "ready", "set"), dt=20)
    assert known["choice"][0].argmax(axis=-1).tolist() == [1, 1, 1, 0]


def test_a_network_learns_when(monkeypatch, tmp_path):
    monkeypatch.setenv("FCTOOLBOX_CACHE", str(tmp_path))
    options = {"task": "MotorTiming-v0", "n_units": 50, "n_trials": 100, "dt": 50}
    system = fct.load("ctrnn", **options)
    words = system.provenance.notes["Accuracy on fresh trials"]
    assert float(words.split()[0]) >= 0.9
    untrained = fct.load("ctrnn", trained=False, **options).provenance.notes["Accuracy on fresh trials"]
    assert float(untrained.split()[0]) < 0.6
    with pytest.raises(InputError, match=r"in all 100 trials of .* the response that is wanted last is 1, which a net"):
        lesion_modules(system, np.arange(50) % 2)


def test_what_is_wanted_and_when_is_part_of_a_network_s_name(monkeypatch):
    def name(task):
        return Recipe(task, 5).content_hash()

    timing, values = read_task("MotorTiming-v0", 20), read_task("fctoolbox-tests/OddValues-v0", 100)
    before = name(timing), name(values)
    assert (name(timing), name(values)) == before
    monkeypatch.setattr("fctoolbox_ctrnn.moments.MARGIN_MS", 100.0)
    assert name(timing) != before[0]
    assert name(values) == before[1]
    monkeypatch.setattr(OddValues, "truth", ([0, 1], [-1, 0]))
    assert name(values) != before[1]


def test_networks_that_were_kept_before_stay_good():
    definition = Recipe(read_task("GoNogo-v0", 100), 5).definition()["task"]
    assert set(definition) == {"name", "dt", "columns", "n_actions", "timing", "changed", "constant"}
    timing = Recipe(read_task(INTERVALS, 20, options={"gain": 2}), 5).definition()["task"]
    assert timing["kind"] == "timing"
    assert timing["options"] == '{"gain": 2}'


# Continuous outputs


def test_values_are_trials_too():
    task = read_task(REACHING, 20)
    trials = draw_trials(task, 30, seed=(0,))
    assert trials.values.shape == (*trials.targets.shape, 2)
    lengths = (trials.targets != ENDED).sum(axis=0)
    assert len(set(lengths)) == 3  # its delay is one of three
    for k, length in enumerate(lengths):
        assert (trials.targets[:length, k] == 0).all()
        assert not trials.values[length:, k].any()
        # What is shown first is wanted at the end.
        assert trials.values[length - 1, k].tolist() == pytest.approx([1, trials.inputs[0, k, 1]])
    again = draw_trials(task, 30, seed=(0,))
    np.testing.assert_array_equal(again.values, trials.values)
    np.testing.assert_array_equal(trials.select(np.array([4])).values, trials.values[:, 4:5])
    assert "target" not in trials.conditions
    assert not trials.deciding[:, 0][: trials.periods["decision"][0, 0]].any()


def test_r_squared_by_hand():
    values = np.array([[[1.0, 0]], [[3.0, 0]], [[7.0, 7]]], dtype=np.float32)
    trials = Trials(np.zeros((3, 1, 1)), np.array([[0], [0], [ENDED]]), values=values)
    assert trials.score(values) == 1
    assert trials.score(np.full((3, 1, 2), [2.0, 0])) == 0  # the mean of each output
    assert trials.score(np.array([[[1.0, 0]], [[2, 0]], [[9, 9]]])) == pytest.approx(1 - 1 / 2)
    for ask in (trials.choices, trials.correct, trials.first_responses):
        with pytest.raises(InputError, match="continuous: there is no choice that could be right, and so no accuracy"):
            ask(values)
    assert accuracy_in_words(trials, values, dt=20) == "none, for the outputs are continuous; R² 1.000"


@pytest.mark.parametrize("weighted", [False, True])
def test_squared_error_and_its_gradients_are_those_of_autograd(weighted):
    drawn = torch.Generator().manual_seed(0)

    def random(*shape):
        return torch.randn(shape, generator=drawn, dtype=torch.float64)

    e, t, b, n, i, k = 2, 9, 3, 7, 2, 3
    given = {"w_in": random(e, i, n), "b_in": random(e, 1, n), "w_rec": random(e, n, n) / 3, "b_rec": random(e, 1, n),
             "w_out": random(e, n, k), "b_out": random(e, 1, k)}  # fmt: skip
    inputs, values = random(e, t, b, i), random(e, t, b, k)
    targets = torch.randint(-1, 1, (e, t, b), generator=drawn)
    weights = torch.rand(e, t, b, generator=drawn, dtype=torch.float64) + 0.1 if weighted else None
    workspace, dynamics = Workspace(torch.float64), Dynamics(0.2)
    for _ in range(2):
        losses, gradients = loss_and_gradients(
            given, inputs, targets, dynamics, workspace, weights=weights, values=values
        )
    p = {name: each.clone().requires_grad_() for name, each in given.items()}
    state, outputs = torch.zeros(e, b, n, dtype=torch.float64), []
    for now in range(t):
        drive = inputs[:, now] @ p["w_in"] + p["b_in"] + p["b_rec"] + state @ p["w_rec"]
        state = torch.relu(0.8 * state + 0.2 * drive)
        outputs.append(state @ p["w_out"] + p["b_out"])
    counting = (targets == 0) * (1 if weights is None else weights)
    away = ((torch.stack(outputs, 1) - values) ** 2).mean(-1)
    expected = (away * counting).sum((1, 2)) / counting.sum((1, 2))
    torch.testing.assert_close(losses, expected, rtol=1e-10, atol=0)
    for name, slope in zip(p, torch.autograd.grad(expected.sum(), list(p.values())), strict=True):
        torch.testing.assert_close(gradients[name], slope, rtol=1e-8, atol=1e-11)


@pytest.mark.parametrize("length", [3, 17, 40])
def test_what_fills_up_to_the_longest_changes_no_bit(length):
    drawn = torch.Generator().manual_seed(1)
    e, t, b, n, i, k = 2, 60, 5, 8, 2, 3
    shapes = {"w_in": (e, i, n), "b_in": (e, 1, n), "w_rec": (e, n, n), "b_rec": (e, 1, n), "w_out": (e, n, k),
              "b_out": (e, 1, k)}  # fmt: skip
    given = {name: torch.randn(shape, generator=drawn) / 3 for name, shape in shapes.items()}
    inputs, values = torch.randn(e, t, b, i, generator=drawn), torch.randn(e, t, b, k, generator=drawn)
    targets = torch.zeros(e, t, b, dtype=torch.long)
    inputs[0, length:], values[0, length:], targets[0, length:] = 0, 0, ENDED
    together, _ = loss_and_gradients(
        given, inputs, targets, Dynamics(0.2), Workspace(), values=values, lengths=[length, t]
    )
    own = {name: each[:1] for name, each in given.items()}
    alone, _ = loss_and_gradients(
        own, inputs[:1, :length], targets[:1, :length], Dynamics(0.2), Workspace(), values=values[:1, :length]
    )
    assert alone[0] == together[0]


def test_ensembles_of_continuous_outputs_are_their_networks_one_by_one(monkeypatch, tmp_path):
    training = Training(n_trials=1, evaluate_every=5, n_validation=20, accuracy=-9.0, in_a_row=1)
    recipes = [
        Recipe(read_task(name, 50), n_units=20, seed=seed, training=training)
        # Trials of any length; and tasks of equal sizes, of which only one has continuous outputs.
        for name in (REACHING, "fctoolbox-tests/Odd-v0", "fctoolbox-tests/OddValues-v0")
        for seed in range(5)
    ]
    assert len({len(recipe.batch(0).targets) for recipe in recipes[:5]}) > 1
    monkeypatch.setenv("FCTOOLBOX_CACHE", str(tmp_path / "together"))
    together = ensemble.train_ensemble(recipes, steps=5, n_jobs=1)
    monkeypatch.setenv("FCTOOLBOX_CACHE", str(tmp_path / "alone"))
    for recipe, each in zip(recipes, together, strict=True):
        alone = trained_network(recipe, steps=5)
        assert alone.curve == each.curve
        np.testing.assert_array_equal(alone.network.w_rec, each.network.w_rec)


def test_continuous_outputs_are_learned(monkeypatch, tmp_path):
    monkeypatch.setenv("FCTOOLBOX_CACHE", str(tmp_path))
    system = fct.load("ctrnn", task=REACHING, n_units=50, dt=50, n_trials=60)
    notes, known = system.provenance.notes, system.activity.variables
    assert float(notes["Accuracy on fresh trials"].rpartition(" ")[2]) > 0.9
    assert "until 0.95 or more of the wanted outputs' variance was explained at 2 looks" in notes["Training"]
    assert "choice" not in known
    away = known["output"] - known["target"]
    explained = 1 - (away**2).sum() / ((known["target"] - known["target"].mean(axis=0)) ** 2).sum()
    assert notes["Accuracy on fresh trials"].endswith(f"R² {explained:.3f}")
    # Modules by whether a unit's number is even: none that could be right or wrong.
    with pytest.raises(InputError, match=r"must be one-hot .*continuous"):
        lesion_modules(system, np.arange(50) % 2)
    with pytest.raises(InputError, match=r"accuracy is 0\.9, but the outputs .* continuous.*ends at an R² of 0\.95"):
        fct.load("ctrnn", task=REACHING, accuracy=0.9)
    with pytest.raises(InputError, match=r"has not solved .* after 50 steps: R² 0\.\d+ on validation"):
        fct.load("ctrnn", task=REACHING, n_units=5, dt=50, steps=50)


def test_own_networks_with_continuous_outputs(rng):
    trials = draw_trials(read_task(REACHING, 50), 5, seed=(0,))
    weights = rng.standard_normal((8, 2)), rng.standard_normal((8, 8)) / 4
    with pytest.raises(InputError, match=r"want 2 continuous outputs, but the network has 3"):
        from_weights(*weights, rng.standard_normal((3, 8)), trials=trials, dt=50)
    system = from_weights(*weights, rng.standard_normal((2, 8)), trials=trials, dt=50)
    assert system.provenance.notes["Accuracy in these trials"].startswith("none, for the outputs are continuous; R²")
    assert set(system.activity.variables) >= {"output", "target"}
    bare = from_weights(*weights, trials=trials, dt=50)
    np.testing.assert_array_equal(bare.activity.variables["target"], trials.end_to_end(trials.values))


def test_a_weight_of_the_decision_needs_one():
    with pytest.raises(InputError, match=r"response_weight is 5, but task 'SpatialSuppressMotion-v0' has continuous"):
        fct.load("ctrnn", task="SpatialSuppressMotion-v0", response_weight=5, checkpoint=50)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"windows": [[0, 1]]}, r"windows are int64 of shape \(1, 2\); they must be whole numbers, \(2, 2\)"),
        ({"windows": np.zeros((2, 3), dtype=int)}, r"windows are int64 of shape \(2, 3\); they must be"),
        ({"windows": np.full((2, 2), np.nan)}, r"windows are float64 of shape \(2, 2\); they must be whole numbers"),
        ({"windows": [[0, 2], [3, 1]]}, r"the window of trial 1 is \[3, 1\]; it must begin before it ends, from 0 to"),
        ({"windows": [[-1, 2], [0, 1]]}, r"the window of trial 0 is \[-1, 2\]"),
        ({"windows": [[0, 2], [0, 5]]}, r"the window of trial 1 is \[0, 5\]; .* from 0 to the 4 time steps"),
        ({"values": np.zeros((4, 2))}, r"values have shape \(4, 2\); they must be \(n_times, n_trials, n_outputs\)"),
        ({"values": np.zeros((2, 4, 3))}, r"values have shape \(2, 4, 3\); .* and targets are \(4, 2\)"),
        ({"values": np.zeros((4, 2, 0))}, r"values have shape \(4, 2, 0\)"),
        ({"values": np.full((4, 2, 1), np.nan)}, r"values hold some that are not finite"),
        ({"values": np.zeros((4, 2, 1)), "windows": [[0, 1], [0, 1]]}, r"have no responses: leave windows out"),
        ({"values": np.zeros((4, 2, 1)), "targets": np.ones((4, 2), dtype=int)}, r"have no responses: .* targets 0"),
    ],
)
def test_trials_of_one_s_own_are_checked(given, message):
    with pytest.raises(InputError, match=message):
        Trials(**{"inputs": np.zeros((4, 2, 1)), "targets": np.zeros((4, 2), dtype=int)} | given)


def test_lists_are_arrays_too():
    trials = Trials(np.zeros((2, 1, 1)), np.array([[0], [1]]), windows=[[1, 2]])
    assert trials.correct(np.eye(2)[[[0], [1]]]).tolist() == [True]
    values = Trials(np.zeros((2, 1, 1)), np.array([[0], [0]]), values=[[[0.0]], [[1.0]]])
    assert values.score(np.array([[[0.0]], [[1.0]]])) == 1
    with pytest.raises(InputError, match="never change, so that none of their variance can be explained"):
        Trials(np.zeros((2, 1, 1)), np.array([[0], [0]]), values=np.ones((2, 1, 1))).score(np.ones((2, 1, 1)))


# Options and seeds of others' tasks


def test_options_reach_the_task(monkeypatch, tmp_path):
    loud, quiet = (
        draw_trials(read_task("PerceptualDecisionMaking-v0", 100, options=options), 20, seed=(0,))
        for options in ({"sigma": 2.0}, {"sigma": 0.0})
    )
    assert np.ptp(np.diff(loud.inputs[2:10], axis=0)) > 1
    assert not np.diff(quiet.inputs[2:10], axis=0).any()
    task = read_task("PerceptualDecisionMaking-v0", 100, options={"sigma": 2.0})
    assert hash(task) != hash(read_task("PerceptualDecisionMaking-v0", 100))
    monkeypatch.setenv("FCTOOLBOX_CACHE", str(tmp_path))
    given = {"task": "GoNogo-v0", "task_options": '{"rewards": {"fail": -2}}', "n_units": 20, "dt": 100}
    system = fct.load("ctrnn", trained=False, n_trials=10, **given)
    assert 'made with {"rewards": {"fail": -2}}' in system.provenance.notes["Task"]
    path = export_weights(system, tmp_path / "network.npz")
    again = fct.load("ctrnn", weights=str(path), n_trials=10)
    np.testing.assert_array_equal(again.activity.timeseries, system.activity.timeseries)
    assert again.provenance.notes["Task"] == system.provenance.notes["Task"]
    once_more = export_weights(again, tmp_path / "again.npz")  # it says so too
    assert 'made with {"rewards"' in fct.load("ctrnn", weights=str(once_more), n_trials=10).provenance.notes["Task"]
    same = fct.load("ctrnn", weights=str(path), task_options={"rewards": {"fail": np.int64(-2)}}, n_trials=10)
    np.testing.assert_array_equal(same.activity.timeseries, system.activity.timeseries)
    bare = tmp_path / "bare.npz"  # of somebody else: it says nothing of a task
    np.savez(bare, w_in=np.ones((6, 4)), w_rec=np.eye(6) / 2, w_out=np.ones((2, 6)))
    found = fct.load("ctrnn", weights=str(bare), task="AnnubesEnv-v0", task_options=ANNUBES, n_trials=5)
    assert found.provenance.options["task_options"] is not None
    with pytest.raises(InputError, match=r"task_options is .* brings a network that is taken as it is"):
        fct.load("ctrnn", weights=str(path), task_options={"sigma": 1})


def test_the_order_of_options_does_not_matter():
    one, other = (
        read_task("PerceptualDecisionMaking-v0", 100, options=options)
        for options in ({"sigma": 0.5, "dim_ring": 2}, {"dim_ring": np.int64(2), "sigma": np.float32(0.5)})
    )
    assert one == other
    assert hash(one) == hash(other)
    assert read_task("PerceptualDecisionMaking-v0", 100, options={"cohs": np.array([0, 50])}).options == (
        '{"cohs": [0, 50]}'
    )


def test_an_ensemble_has_options_of_its_task():
    options = {"task": "AnnubesEnv-v0", "task_options": ANNUBES, "trained": False, "n_units": 10, "n_trials": 5}
    first, second = load_ensemble(2, **options)
    assert first.activity.variables["inputs"].shape[1] == 4
    assert not np.array_equal(first.activity.timeseries, second.activity.timeseries)


@pytest.mark.parametrize(
    ("task", "options", "message"),
    [
        ("GoNogo-v0", {"sgma": 1}, r"cannot be made with a time step and sgma: .*unexpected keyword argument 'sgma'"),
        ("AnnubesEnv-v0", None, r"with only a time step: .*'session' and 'catch_prob'.* given as task_options"),
        ("fctoolbox/GoNogo-v0", {"sigma": 1}, r"takes no options of its own \(sigma\), only timing: fixation, stim"),
        ("GoNogo-v0", "sigma", r"""task_options is 'sigma', which is no JSON .* write it like '{"sigma": 0\.5}'"""),
        ("GoNogo-v0", [1], r"task_options is \[1\]; it must name arguments of neurogym's task, as in"),
        ("GoNogo-v0", 0, r"task_options is 0; it must name arguments of neurogym's task, as in"),
        ("GoNogo-v0", np.array([1, 2]), r"task_options is array\(\[1, 2\]\); it must name arguments of neurogym's"),
        ("GoNogo-v0", {"sigma": 1, 2: 3}, r"task_options is .*; it must name arguments of neurogym's task, as in"),
        ("GoNogo-v0", {"sigma": {1, 2}}, r"task_options is .*; it must name arguments of neurogym's task, as in"),
        ("GoNogo-v0", '{"dt": 50}', r"task_options names dt, which is an option of its own"),
        ("GoNogo-v0", '{"timing": {"delay": 50}}', r"task_options names timing, which is an option of its own"),
    ],
)
def test_options_that_a_task_cannot_have(task, options, message):
    with pytest.raises(InputError, match=message):
        fct.load("ctrnn", task=task, task_options=options, trained=False)


@pytest.mark.parametrize(("name", "options"), [("AnnubesEnv-v0", ANNUBES), ("HierarchicalReasoning-v0", None)])
def test_seeds_reach_what_a_task_keeps_to_itself(name, options):
    task = read_task(name, 20, options=options)
    one, again, other = (draw_trials(task, 30, seed=seed) for seed in [(3,), (3,), (4,)])
    np.testing.assert_array_equal(one.inputs, again.inputs)
    np.testing.assert_array_equal(one.targets, again.targets)
    assert one.inputs.shape != other.inputs.shape or not np.array_equal(one.inputs, other.inputs)
    assert not np.array_equal(one.targets.max(axis=0), other.targets.max(axis=0))  # of its own generator, or block
