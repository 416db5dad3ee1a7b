"""The source: what a loaded network holds."""

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from fctoolbox_ctrnn import ensemble, export_weights, fctoolbox_sources, load_ensemble, weights
from fctoolbox_ctrnn.recording import numbers_in_words, variables
from fctoolbox_ctrnn.source import load
from fctoolbox_ctrnn.task import TASK_ID
from fctoolbox_ctrnn.trials import Trials

from fctoolbox.errors import InputError
from fctoolbox.plugins import load_source
from fctoolbox.testing import ContractError, check_source

QUICK = {"dt": 100, "n_units": 40, "n_trials": 60}
(SOURCE,) = fctoolbox_sources()


@pytest.fixture(scope="module")
def trained():
    return load_source(SOURCE, **QUICK)


@pytest.fixture(scope="module")
def untrained():
    return load_source(SOURCE, trained=False, **QUICK)


def test_the_contract_is_kept(trained):
    check_source(SOURCE, **QUICK)
    check_source(SOURCE, trained=False, **QUICK)


def test_the_contract_leaves_torchs_random_numbers_alone(untrained):
    def load():
        torch.rand(1)
        return untrained

    source = replace(SOURCE, load=load)
    with pytest.raises(ContractError, match="global random state is left alone: load changed torch's global"):
        check_source(source)


def test_the_default_task_is_ours():
    assert SOURCE.options["task"] == TASK_ID
    assert not SOURCE.synthetic


def test_it_solves_the_task_on_fresh_trials(trained):
    choice, target, coherence = (trained.activity.variables[name] for name in ("choice", "target", "coherence"))
    last = np.flatnonzero(np.diff(trained.activity.trials, append=-1))
    right = (choice[last] * target[last]).sum(axis=1)
    coherent = coherence[last, 0] > 0
    assert len(last) == 60
    assert right[coherent].mean() >= 0.9
    assert trained.provenance.notes["Accuracy on fresh trials"].startswith(f"{right[coherent].mean():.3f} of coherent")


def test_the_system_says_what_it_is(trained, untrained):
    assert "ctrnn (n_units=40" in trained.name
    assert "trained=false" not in trained.name
    assert "trained=false" in untrained.name
    assert trained.units[:2] == ("unit-0", "unit-1")
    assert trained.provenance.options == {**SOURCE.options, **QUICK}
    notes = trained.provenance.notes
    assert notes["Task"].startswith(f"{TASK_ID}: fixation 100 ms, stimulus 2000 ms")
    assert "steps of 64 trials" in notes["Training"]
    assert untrained.provenance.notes["Training"] == "none: initial weights"
    assert "6.4 %: " in notes["Accuracy on fresh trials"]
    assert trained.provenance.species == "none (artificial network)"
    assert "doi:10.1016/j.neuron.2020.09.005" in trained.provenance.citation


def test_activity_is_the_model_run_on_the_trials(trained):
    activity, model = trained.activity, trained.model
    assert activity.timeseries.shape == (60 * 22, 40)
    assert activity.sampling_interval == 0.1
    np.testing.assert_array_equal(activity.trials, np.repeat(np.arange(60), 22))
    cue = np.tile(np.repeat([1.0, 0.0], [21, 1]), 60)[:, None]
    inputs = np.hstack([cue, activity.variables["stimulus"]]).reshape(60, 22, 3).swapaxes(0, 1)
    states = model.run(inputs)
    np.testing.assert_allclose(activity.timeseries.reshape(60, 22, 40).swapaxes(0, 1), states, atol=1e-12)
    outputs = np.exp(model.readout(activity.timeseries))
    np.testing.assert_allclose(activity.variables["output"], outputs / outputs.sum(axis=1, keepdims=True))


def test_inputs_that_enter_the_cosine_are_an_option_and_are_recorded(trained):
    assert trained.projection.inputs == ("stimulus-1", "stimulus-2")
    np.testing.assert_array_equal(trained.projection.weights, trained.model.w_in[:, 1:])
    both = load_source(SOURCE, inputs="all", **QUICK)
    assert both.projection.inputs == ("fixation", "stimulus-1", "stimulus-2")
    np.testing.assert_array_equal(both.projection.weights, both.model.w_in)
    np.testing.assert_array_equal(both.activity.timeseries, trained.activity.timeseries)
    assert (both.provenance.options["inputs"], trained.provenance.options["inputs"]) == ("all", "stimulus")
    assert both.provenance.notes["Inputs in the projection"] == "fixation, stimulus-1, stimulus-2"
    assert trained.provenance.notes["Inputs in the projection"] == "stimulus-1, stimulus-2"
    assert trained.provenance.notes["Inputs of the network"] == "fixation, stimulus-1, stimulus-2"


def test_variables_by_hand():
    # Two trials of 3 and 2 steps of 100 ms; outputs favour response 2, then 1.
    inputs = np.array([[[1, 0.5, 0.25], [1, 0, 1]], [[1, 0.5, 0.75], [0, 1, 0]], [[0, 0, 0], [0, 0, 0]]], dtype=float)
    trials = Trials(inputs, np.array([[0, 0], [0, 1], [2, -1]]), np.array([12.8, 0.0]))
    outputs = np.zeros((3, 2, 3))
    outputs[2, 0, 2] = outputs[1, 1, 1] = np.log(2)
    known = variables(trials, outputs, columns=("fixation", "a", "b"), dt=100)
    joined = {name: trials.end_to_end(values) for name, values in known.items()}
    np.testing.assert_array_equal(joined["stimulus"], [[0.5, 0.25], [0.5, 0.75], [0, 0], [0, 1], [1, 0]])
    np.testing.assert_allclose(joined["cumulative_evidence"][:, 0], [0.025, 0, 0, -0.1, 0], atol=1e-12)
    np.testing.assert_allclose(joined["output"][2], [0.25, 0.25, 0.5])
    assert joined["target"].argmax(axis=1).tolist() == [0, 0, 2, 0, 1]
    assert joined["choice"].argmax(axis=1).tolist() == [2, 2, 2, 1, 1]
    assert joined["coherence"][:, 0].tolist() == [12.8, 12.8, 12.8, 0, 0]
    assert (joined["choice"].sum(axis=1) == 1).all()


def test_evidence_of_three_stimuli_is_kept_apart():
    inputs = np.ones((4, 2, 4))
    trials = Trials(inputs, np.zeros((4, 2), dtype=int))
    known = variables(trials, np.zeros((4, 2, 2)), columns=("fixation", "a", "b", "c"), dt=20)
    np.testing.assert_allclose(known["cumulative_evidence"][-1], np.full((2, 3), 0.08))
    assert "coherence" not in known


def test_periods_and_conditions_by_hand():
    targets = np.array([[0, 0], [0, 1], [1, -1]])
    trials = Trials(
        np.zeros((3, 2, 1)),
        targets,
        conditions={"target": [1, 1], "rule": np.array(["go", "anti"]), "place": np.array([4, 2]), "odd": [np.nan, 0]},
        periods={"wait": np.array([[0, 1], [0, 0]]), "go": np.array([[1, 3], [0, 2]])},
    )
    known = variables(trials, None, columns=("fixation",), dt=None)
    assert set(known) == {"inputs", "target", "period", "rule", "place"}
    joined = {name: trials.end_to_end(values) for name, values in known.items()}
    assert joined["period"][:, 0].tolist() == [0, 1, 1, 1, 1]
    assert joined["rule"].tolist() == [[0, 1]] * 3 + [[1, 0]] * 2
    assert joined["place"][:, 0].tolist() == [4, 4, 4, 2, 2]
    assert numbers_in_words(trials) == {"Periods": "0 wait, 1 go", "Columns of 'rule'": "0 anti, 1 go"}


def test_the_evidence_starts_anew_in_each_trial(trained):
    stimulus, evidence = (trained.activity.variables[name] for name in ("stimulus", "cumulative_evidence"))
    difference = (stimulus[:, 0] - stimulus[:, 1]).reshape(60, 22)
    np.testing.assert_allclose(evidence.reshape(60, 22), difference.cumsum(axis=1) * 0.1, atol=1e-9)
    assert not evidence.reshape(60, 22)[:, 0].any()


def test_other_seeds_are_other_networks(untrained):
    other = load(seed=1, trained=False, **QUICK)
    assert not np.array_equal(other.projection.weights, untrained.projection.weights)
    assert not np.array_equal(other.activity.variables["stimulus"], untrained.activity.variables["stimulus"])


def test_training_changes_the_network_but_not_its_trials(trained, untrained):
    np.testing.assert_array_equal(trained.activity.variables["stimulus"], untrained.activity.variables["stimulus"])
    assert not np.array_equal(trained.projection.weights, untrained.projection.weights)


def test_network_k_is_that_of_seed_k(untrained):
    one, other = load(trained=False, network=2, seed=1, **QUICK), load(trained=False, seed=3, **QUICK)
    np.testing.assert_array_equal(one.activity.timeseries, other.activity.timeseries)
    assert not np.array_equal(one.activity.timeseries, untrained.activity.timeseries)


def test_an_ensemble_is_its_networks_one_by_one(monkeypatch, tmp_path, trained):
    monkeypatch.setenv("FCTOOLBOX_CACHE", str(tmp_path / "together"))
    together = load_ensemble(2, **QUICK)
    assert len(list((tmp_path / "together" / "ctrnn").iterdir())) == 2
    monkeypatch.setattr(ensemble, "write_checkpoint", None)  # nothing is trained any more
    from_cache = load_source(SOURCE, network=1, networks=2, **QUICK)
    assert from_cache.name == together[1].name == "ctrnn (n_units=40, dt=100, network=1, n_trials=60)"
    np.testing.assert_array_equal(from_cache.activity.timeseries, together[1].activity.timeseries)
    assert together[0].provenance.notes == trained.provenance.notes
    assert together[0].provenance.options == trained.provenance.options
    for name in ("w_in", "w_rec", "w_out"):
        one, other = getattr(together[0].model, name), getattr(trained.model, name)
        np.testing.assert_allclose(one, other, atol=1e-2)


def test_the_first_of_several_trains_them_all(monkeypatch, tmp_path):
    monkeypatch.setenv("FCTOOLBOX_CACHE", str(tmp_path))
    easy = {**QUICK, "task": "fctoolbox/GoNogo-v0"}
    load(network=1, networks=3, **easy)
    assert len(list((tmp_path / "ctrnn").iterdir())) == 3
    monkeypatch.setattr(ensemble, "write_checkpoint", None)  # nothing is trained any more
    assert len(load_ensemble(3, **easy)) == 3


def test_threads_to_train_in_are_those_asked_for_and_no_property_of_the_network(monkeypatch, tmp_path):
    monkeypatch.setenv("FCTOOLBOX_CACHE", str(tmp_path))
    easy = {**QUICK, "task": "fctoolbox/GoNogo-v0"}
    asked = []

    def train(recipes, *, n_jobs, **settings):
        asked.append((len(recipes), n_jobs))
        return train_ensemble(recipes, n_jobs=n_jobs, **settings)

    train_ensemble = ensemble.train_ensemble
    monkeypatch.setattr(ensemble, "train_ensemble", train)
    threaded = load_source(SOURCE, networks=2, n_jobs=3, **easy)
    assert asked == [(2, 3), (1, 1)]
    again = load_source(SOURCE, networks=2, **easy)
    assert threaded.provenance.options == again.provenance.options
    assert threaded.name == again.name


def test_checkpoints_lead_from_the_untrained_network_to_the_trained_one(monkeypatch, tmp_path):
    monkeypatch.setenv("FCTOOLBOX_CACHE", str(tmp_path))
    easy = {**QUICK, "task": "fctoolbox/GoNogo-v0"}
    start, middle, end = (load(checkpoint=step, **easy) for step in (0, 50, 100))
    np.testing.assert_array_equal(start.model.w_rec, load(trained=False, **easy).model.w_rec)
    np.testing.assert_array_equal(end.model.w_rec, load(**easy).model.w_rec)
    assert np.abs(middle.model.w_rec - start.model.w_rec).max() > 1e-3
    assert np.abs(middle.model.w_rec - end.model.w_rec).max() > 1e-3
    assert middle.provenance.notes["Training"].startswith("50 steps of 64 trials")
    assert "a checkpoint on the way" in middle.provenance.notes["Training"]
    with pytest.raises(InputError, match="checkpoint is 5000, but this network had solved its task after 100 steps"):
        load(checkpoint=5000, **easy)
    with pytest.raises(InputError, match="checkpoint is 60; there is one every 50 steps"):
        load(checkpoint=60, **easy)


def test_constraints_are_those_that_were_asked_for():
    options = {"trained": False, "dale": 0.75, "sparsity": 0.4, **QUICK}
    system = load(rule="outside", nonlinearity="softplus", noise=0.2, **options)
    model = system.model
    assert (model.rule, model.nonlinearity, model.noise, model.alpha) == ("outside", "softplus", 0.2, 1.0)
    assert (model.w_rec[:, :30] >= 0).all()
    assert (model.w_rec[:, 30:] <= 0).all()
    assert system.annotations["sends"] == ("excitation",) * 30 + ("inhibition",) * 10
    assert (model.w_rec == 0).mean() == pytest.approx(0.4, abs=0.03)
    again = load(rule="outside", nonlinearity="softplus", noise=0.2, **options)
    np.testing.assert_array_equal(system.activity.timeseries, again.activity.timeseries)
    quiet = load(rule="outside", nonlinearity="softplus", **options)
    assert np.abs(quiet.activity.timeseries - system.activity.timeseries).max() > 0.05
    other = load(rule="outside", nonlinearity="softplus", seed=1, **options)
    assert not np.array_equal(other.model.mask, model.mask)


def test_dt_and_tau_make_alpha():
    assert load(trained=False, tau=400.0, **QUICK).model.alpha == 0.25


def test_timing_is_an_option_in_python_and_in_json():
    one, other = (
        load_source(SOURCE, trained=False, timing=timing, **QUICK)
        for timing in ({"stimulus": 500}, '{"stimulus": 500}')
    )
    assert one.activity.timeseries.shape == (60 * 7, 40)
    assert one.name == other.name == 'ctrnn (timing={"stimulus": 500}, n_units=40, dt=100, trained=false, n_trials=60)'
    assert "stimulus 500 ms" in one.provenance.notes["Task"]


def test_all_rules_in_one_network():
    system = load(task="fctoolbox/Yang19-v0", trained=False, **QUICK)
    rules = system.activity.variables["rule"]
    assert (rules.sum(axis=1) == 1).all()
    assert rules.shape[1] > 10
    assert system.provenance.notes["Columns of 'rule'"].startswith("0 anti, ")


def test_training_starts_from_given_weights(tmp_path):
    first = load(trained=False, **QUICK)
    np.savez(tmp_path / "w.npz", w_rec=first.model.w_rec * 0.5)
    system = load(trained=False, initial=str(tmp_path / "w.npz"), **QUICK)
    np.testing.assert_allclose(system.model.w_rec, first.model.w_rec * 0.5)
    np.testing.assert_array_equal(system.model.w_in, first.model.w_in)
    np.savez(tmp_path / "x.npz", recurrent=first.model.w_rec)
    with pytest.raises(InputError, match="holds none of w_in, b_in, w_rec"):
        load(initial=str(tmp_path / "x.npz"), **QUICK)
    with pytest.raises(InputError, match=r"w_rec has shape \(40, 40\)"):
        load(initial=str(tmp_path / "w.npz"), trained=False, **{**QUICK, "n_units": 41})


def test_an_untrained_network_is_neither_trained_nor_kept(monkeypatch, tmp_path):
    monkeypatch.setenv("FCTOOLBOX_CACHE", str(tmp_path))
    monkeypatch.setattr(weights, "trained_network", None)
    load(trained=False, steps=50, **QUICK)
    assert not list(tmp_path.iterdir())


def test_other_tasks_of_neurogym_are_learned():
    system = load(task="GoNogo-v0", **QUICK)
    assert system.provenance.notes["Task"].startswith("GoNogo-v0: ")
    assert system.projection.inputs == ("nogo", "go")
    assert float(system.provenance.notes["Accuracy on fresh trials"]) >= 0.95
    assert system.activity.variables["choice"].shape == (60 * 15, 2)
    assert "coherence" not in system.activity.variables


def test_trials_of_different_lengths_are_joined_without_gaps():
    system = load(task="ContextDecisionMaking-v0", trained=False, **QUICK)
    lengths = np.bincount(system.activity.trials)
    assert len(lengths) == 60
    assert len(set(lengths)) > 1
    assert (system.activity.variables["target"].sum(axis=1) == 1).all()


def test_global_random_state_is_left_alone():
    numpy_state, torch_state = np.random.get_state(), torch.get_rng_state()
    load(task="GoNogo-v0", **{**QUICK, "n_units": 41})
    assert all(np.array_equal(a, b) for a, b in zip(numpy_state, np.random.get_state(), strict=True))
    assert torch.equal(torch_state, torch.get_rng_state())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_units": -5}, "n_units is -5; it must be a whole number of at least 3"),
        ({"n_units": 10.5}, "n_units is 10.5; it must be a whole number"),
        ({"seed": True}, "seed is True; it must be a whole number"),
        ({"dt": 0}, "dt is 0; it must be a whole number of at least 1"),
        ({"dt": 101}, "dt is 101 ms; it must not exceed the units' time constant of 100 ms"),
        ({"seed": -1}, "seed is -1; it must be a whole number of at least 0"),
        ({"steps": 0}, "steps is 0; it must be a whole number of at least 1"),
        ({"steps": 49}, "steps is 49; it must be at least 50"),
        ({"n_trials": 1}, "n_trials is 1; it must be a whole number of at least 2"),
        ({"inputs": "fixation"}, "inputs is 'fixation'; it must be 'stimulus' or 'all'"),
        ({"networks": 5, "network": 5}, "network is 5, but networks is 5: they are numbered 0 … 4"),
        ({"n_jobs": 0}, "n_jobs is 0; it must be the number of threads, or -1 for all"),
        ({"networks": 0}, "networks is 0; it must be a whole number of at least 1"),
        ({"network": -1}, "network is -1; it must be a whole number of at least 0"),
        ({"checkpoint": -50}, "checkpoint is -50; it must be a whole number of at least 0"),
        ({"checkpoint": 50, "trained": False}, "trained=false is the network before training; checkpoint"),
        ({"tau": 0}, "tau is 0; it must be a time in ms"),
        ({"accuracy": 1.5}, "accuracy is 1.5; it must be in (0, 1]"),
        ({"learning_rate": 1e-300}, "learning_rate is 1e-300; it must be above 1e-7, up to 1"),
        ({"learning_rate": "small"}, "learning_rate is 'small'; it must be above 1e-7, up to 1"),
        ({"response_weight": -5}, "response_weight is -5; it must be above 0.001, up to 1000"),
        ({"start": "diagonal"}, "start is 'diagonal'; it must be 'uniform' or 'orthogonal'"),
        ({"start": "orthogonal", "dale": 0.8}, "start is 'orthogonal', which no matrix is whose units only excite"),
        ({"steps": 10.5}, "steps is 10.5; it must be a whole number"),
        ({"sparsity": 1}, "sparsity is 1; it must be from 0 to below 1"),
        ({"sparsity": "many"}, "sparsity is 'many'; it must be from 0 to below 1"),
        ({"dale": 1.2}, "dale is 1.2; it must be the share of units that excite, from 0 to 1, or none"),
        ({"rule": "between"}, "rule is 'between'; it must be 'inside' or 'outside'"),
        ({"nonlinearity": "elu"}, "nonlinearity is 'elu'; it must be 'relu'"),
        ({"noise": -1.0}, "noise is -1.0; it must be"),
        ({"timing": "stimulus=5"}, "timing is 'stimulus=5', which is no JSON"),
        ({"timing": {"stimulis": 500}}, "timing names period 'stimulis', which task"),
        ({"initial": "nowhere.npz"}, "nowhere.npz cannot be read: No such file"),
        ({"weights": "nowhere.npz"}, "nowhere.npz cannot be read: No such file"),
        ({"task": "GoNoGo-v0"}, "no task 'GoNoGo-v0'. Did you mean 'GoNogo-v0'?"),
        ({"unit": 3}, "source 'ctrnn' has no option 'unit'. Did you mean 'n_units'?"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(InputError) as failure:
        load_source(SOURCE, **options)
    assert str(failure.value).startswith(message)


def test_an_ensemble_has_options_of_networks_only():
    for options, message in (
        ({"n": 0}, "n is 0; it must be a whole number of at least 1"),
        ({"n": 2, "network": 1}, "load_ensemble.n. takes no network"),
        ({"n": 2, "weights": "a.npz"}, "load_ensemble.n. takes no weights"),
        ({"n": 2, "unit": 3}, "source 'ctrnn' has no option 'unit'"),
        ({"n": 2, "dt": 0}, "dt is 0"),
    ):
        with pytest.raises(InputError, match=message):
            load_ensemble(**options)


def test_failing_to_learn_is_an_error_with_the_learning_curve():
    with pytest.raises(InputError, match=r"has not solved 'fctoolbox/Perc(.|\n)*step +loss +accuracy\n +50 +0\.\d+"):
        load(steps=50, **QUICK)


def test_describing_the_source_imports_no_heavy_library():
    code = (
        "import sys, fctoolbox_ctrnn; fctoolbox_ctrnn.fctoolbox_sources()[0].options; "
        "heavy = {'torch', 'neurogym', 'gymnasium', 'matplotlib'} & set(sys.modules); "
        "sys.exit(str(heavy) if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_what_training_shall_reach_lies_below_what_noise_allows():
    from fctoolbox_ctrnn.ideal import ideal_accuracy
    from fctoolbox_ctrnn.source import _wanted_accuracy
    from fctoolbox_ctrnn.trials import read_task

    decisions, context = (
        read_task(f"fctoolbox/{name}-v0", 20) for name in ("PerceptualDecisionMaking", "ContextDecisionMaking")
    )
    assert _wanted_accuracy(decisions, None) == 0.97
    assert _wanted_accuracy(read_task("fctoolbox/GoNogo-v0", 20), None) == 0.97
    assert _wanted_accuracy(read_task("fctoolbox/Yang19-dms-v0", 20), None) == 0.95
    assert _wanted_accuracy(context, None) == pytest.approx(0.95 * ideal_accuracy(context), abs=1e-3)
    assert ideal_accuracy(context) < 0.97
    assert _wanted_accuracy(context, 0.9) == 0.9
    with pytest.raises(InputError, match=r"accuracy is 0.97, but .*lets an ideal observer reach 0.9\d\d only"):
        _wanted_accuracy(context, 0.97)


@pytest.mark.parametrize(
    ("task", "learning_rate", "response_weight", "steps"),
    [
        ("fctoolbox/PerceptualDecisionMaking-v0", 0.01, 1, 2000),
        ("fctoolbox/GoNogo-v0", 0.01, 1, 2000),
        ("fctoolbox/ContextDecisionMaking-v0", 0.003, 5, 20_000),
        ("fctoolbox/Yang19-dms-v0", 0.003, 5, 20_000),
        ("DelayComparison-v0", 0.003, 5, 20_000),
    ],
)
def test_a_task_says_how_it_is_best_learned(task, learning_rate, response_weight, steps):
    from fctoolbox_ctrnn.source import _most_steps, _start, _training
    from fctoolbox_ctrnn.trials import read_task

    left_out = dict.fromkeys(("accuracy", "learning_rate", "response_weight", "steps"))
    the_task = read_task(task, 20)
    found = _training(the_task, left_out)
    assert (found.learning_rate, found.response_weight) == (learning_rate, response_weight)
    assert _most_steps(the_task, left_out) == steps
    assert _start(the_task, {"start": None, "dale": None}) == ("uniform" if steps == 2000 else "orthogonal")
    assert _start(the_task, {"start": None, "dale": 0.8}) == "uniform"
    assert _start(the_task, {"start": "uniform", "dale": None}) == "uniform"
    asked = {"accuracy": 0.6, "learning_rate": 0.5, "response_weight": 2.0, "steps": 50}
    found = _training(the_task, asked)
    assert (found.accuracy, found.learning_rate, found.response_weight) == (0.6, 0.5, 2.0)
    assert _most_steps(the_task, asked) == 50


def test_a_report_says_how_the_decision_counted():
    with pytest.raises(InputError, match=r"a larger response_weight .now 3."):
        load(steps=50, response_weight=3.0, **QUICK)
    system = load(task="GoNogo-v0", response_weight=3.0, learning_rate=0.02, accuracy=0.8, **QUICK)
    assert "learning rate 0.02, time steps of the decision counted 3 times" in system.provenance.notes["Training"]


def test_the_page_says_which_inputs_never_change_and_which_have_no_names():
    rule = load(task="fctoolbox/Yang19-go-v0", trained=False, **QUICK)
    assert rule.projection.weights.shape == (QUICK["n_units"], 32)
    assert "20 of them never change in this task" in rule.provenance.notes["Inputs of the network"]
    nameless = load(task="PerceptualDecisionMakingDelayResponse-v0", trained=False, **QUICK)
    assert "the task gives them no names" in nameless.provenance.notes["Inputs of the network"]
    two = load(task="DualDelayMatchSample-v0", trained=False, **QUICK)
    assert two.provenance.notes["Accuracy on fresh trials"].endswith(
        "; of the up to 2 responses of a trial, the last one is judged"
    )


def test_a_network_from_a_file_names_it_with_its_hash(tmp_path):
    from fctoolbox.data import sha256_of

    path = tmp_path / "network.npz"
    export_weights(load(trained=False, **QUICK), path)
    (record,) = load(weights=str(path)).provenance.files
    assert (record.name, record.sha256) == ("network.npz", sha256_of(path))
