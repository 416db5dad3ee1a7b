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

    continuous = False

    def __init__(self, dt=100, truth=(0, 1), noise=0.0):
        super().__init__(dt=dt)
        self.timing = {"first": 300, "second": 300}
        self.truth, self.noise = truth, noise
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

    continuous = True


neurogym.register("fctoolbox-tests/Odd-v0", entry_point=Odd)
neurogym.register("fctoolbox-tests/OddValues-v0", entry_point=OddValues)


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
        ("Odd", (0, 0), r"asks for no response in the end of each of 20 trials, so that a network would be right"),
        ("Odd", (1, 1), r"asks for response 1 from its first time step on of each of 20 trials"),
        ("Odd", (1, 0), r"asks for response 1 from its first time step on of each of 20 trials"),
        ("OddValues", ([1, 2], [1, 2]), r"wants the same outputs at all time steps of 20 trials"),
        ("OddValues", ([1, 2], [1, np.nan]), r"wants values that are not finite"),
    ],
)
def test_nothing_to_learn(name, truth, message):
    with pytest.raises(InputError, match=message):
        read_task(f"fctoolbox-tests/{name}-v0", 100, options={"truth": truth})


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


def test_nothing_before_the_moment_is_the_whole_trial():
    targets = np.zeros((10, 1), dtype=int)
    targets[8] = 1
    assert windows_of(np.ones((10, 1, 1)), targets, 1000).tolist() == [[7, 10]]


def test_a_response_is_wanted_from_its_moment_on():
    targets = np.array([[0, 0], [2, 0], [0, 2], [0, ENDED]])
    assert held(targets).tolist() == [[0, 0], [2, 0], [2, 2], [2, ENDED]]


@pytest.mark.parametrize("name", [INTERVALS, "MotorTiming-v0", "OneTwoThreeGo-v0"])
def test_intervals_are_judged_with_the_margin_of_neurogym(name):
    task = read_task(name, 20)
    trials = draw_trials(task, 60, seed=(0,))
    asked = (trials.targets > 0).argmax(axis=0)
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
    assert "(too early 0.250, too late 0.250, never 0.250); lesions judge what is answered at a trial's end" in words
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


def test_ensembles_of_continuous_outputs_are_their_networks_one_by_one(monkeypatch, tmp_path):
    training = Training(evaluate_every=5, n_validation=20, accuracy=-9.0, in_a_row=1)
    recipes = [
        Recipe(read_task(name, 50), n_units=20, seed=seed, training=training)
        for name in (REACHING, "fctoolbox/GoNogo-v0")  # two outputs each: only what is wanted tells them apart
        for seed in range(3)
    ]
    monkeypatch.setenv("FCTOOLBOX_CACHE", str(tmp_path / "together"))
    together = ensemble.train_ensemble(recipes, steps=5)
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
    with pytest.raises(InputError, match=r"task_options is .* brings a network that is taken as it is"):
        fct.load("ctrnn", weights=str(path), task_options={"sigma": 1})


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
