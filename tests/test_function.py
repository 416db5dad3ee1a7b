import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

import fctoolbox as fct
from fctoolbox.agreement import adjusted_rand
from fctoolbox.function import function_of, input_drive, module_labels, relate
from fctoolbox.relation import module_activity
from tests.networks import decisions, with_variables


@pytest.fixture(scope="module")
def toy():
    return fct.load("toy", n_trials=40, n_times=2000, n_units=40, asymmetry=2.0)


@pytest.fixture(scope="module")
def found(toy):
    return function_of(toy, n_nulls=199, n_restarts=5, rng=0)


@pytest.fixture(scope="module")
def network():
    return decisions(np.random.default_rng(1))


@pytest.fixture(scope="module")
def of_network(network):
    return function_of(*network, n_nulls=199, n_restarts=5, rng=0)


def test_planted_modules_carry_what_was_planted(toy, found):
    planted = np.array([int(label) for label in toy.annotations["planted"]])
    assert adjusted_rand(found.modules.labels, planted) == 1
    assert found.modules.columns[:2] == ("stimulus", "cumulative_evidence")
    assert "inputs" not in " ".join(found.modules.columns)
    for column, community in enumerate((0, 1)):
        module = found.modules.labels[planted == community][0]
        assert np.abs(found.modules.r[:, column]).argmax() == module
        assert abs(found.modules.r[module, column]) > 0.7
        assert found.modules.p_corrected[module, column] == 1 / 200
    assert found.left_out.keys() == {"lesions"}
    assert "has no model" in found.left_out["lesions"]


def test_the_drive_has_the_same_modules_where_there_is_no_recurrence(found):
    assert found.drive.name == "input drive"
    assert found.agreement.adjusted_rand == 1
    assert found.agreement.p_value == 1 / 200
    assert found.agreement.n_units == 40
    assert "adjusted Rand index of 1.000" in found.sentence()


def test_what_stands_in_the_report_is_what_its_parts_give(toy, found):
    means = module_activity(toy.activity, found.modules.labels)
    assert found.modules.activity.tolist() == means.tolist()
    again = relate(means, toy.activity.variables["stimulus"], trials=toy.activity.trials, n_nulls=9, rng=0)
    np.testing.assert_allclose(again.r[0, :, 0], found.modules.r[:, 0], atol=1e-12)
    np.testing.assert_allclose(np.corrcoef(means.T, toy.activity.variables["stimulus"].T)[-1, :-1], again.r[0, :, 0])
    # Trials of 50 steps of 0.02 s: four lags on each side, up to a quarter of a trial.
    np.testing.assert_allclose(found.modules.relation.lags, np.arange(-4, 5) * 0.06)
    assert found.modules.relation.shortest == 4


def test_same_seed_same_report(toy):
    one, again = (function_of(toy, n_nulls=20, n_restarts=2, rng=5).to_dict() for _ in range(2))
    for each in (one, again):
        del each["provenance"]
    assert json.dumps(one) == json.dumps(again)


def test_a_network_with_lesions(network, of_network):
    system, module = network
    assert of_network.modules.found_on == "partition handed in"
    assert of_network.lesions.intact[0] == 1
    assert of_network.lesions.accuracy[0, 0] <= 0.6
    assert of_network.modules.strongest()[0] == 0
    assert "Accuracy is 1.000, and 0." in of_network.sentence()
    assert "against 1.000 without random sets" in of_network.sentence() or "against 0.99" in of_network.sentence()
    # Nobody ever chose to wait, and nothing is right but to wait before the end; the drive is that of the model.
    assert of_network.left_out == {"choice[0]": "constant"}
    assert {"output[0]", "coherence"} <= set(of_network.modules.columns)
    assert not any("period" in column for column in of_network.modules.columns)
    asked = function_of(system, module, variables=["period"], lags=[0.0], n_nulls=19, n_restarts=1, rng=0)
    assert asked.modules.columns == ("period",)


def test_noise_carries_nothing(rng):
    activity = fct.RecurrentActivity(
        rng.standard_normal((600, 12)),
        sampling_interval=0.1,
        trials=np.repeat(np.arange(30), 20),
        variables={"stimulus": rng.standard_normal((600, 2)), "choice": np.repeat(rng.permutation(30) % 2, 20)},
    )
    system = fct.RecurrentSystem(
        name="noise (synthetic)",
        units=tuple(f"u{i}" for i in range(12)),
        projection=fct.InputProjection(rng.standard_normal((12, 3))),
        activity=activity,
        provenance=fct.Provenance(citation="nobody", license="CC0-1.0", synthetic=True),
    )
    report = function_of(system, np.arange(12) % 3, n_nulls=199, rng=0)
    assert report.modules.p_corrected.min() > 0.05
    assert " 0 of 9 pairs" in report.sentence()
    assert "has no variable 'inputs'" in report.left_out["input drive"]
    assert report.drive is report.agreement is None


def test_modules_of_an_origin_report_find_their_units(toy):
    timeseries = toy.activity.timeseries.copy()
    timeseries[:, 3] = 7  # a constant unit, that the analysis leaves out
    system = replace(toy, activity=replace(toy.activity, timeseries=timeseries))
    origin = fct.analyse_origin(system, n_nulls=2, n_restarts=3, rng=0)
    labels = module_labels(system, origin)
    assert labels[3] == -1
    assert np.delete(labels, 3).tolist() == origin.communities.labels.tolist()
    report = function_of(system, origin, n_nulls=19, n_restarts=2, rng=0)
    assert report.modules.found_on == "similarity of input projections"
    assert [(each.unit, each.reason) for each in report.dropped] == [("unit-3", "constant")]
    # An analysis of fewer units gives labels that fit nowhere without their names.
    with pytest.raises(fct.InputError, match=r"labels of 39 units, and .* has 40; .* OriginReport"):
        module_labels(system, origin.communities)
    with pytest.raises(fct.InputError, match="the report is of other units"):
        module_labels(system.select_units(np.arange(20)), origin)


def test_constant_units_have_no_module(toy):
    timeseries = toy.activity.timeseries.copy()
    timeseries[:, [0, 9]] = 0
    system = replace(toy, activity=replace(toy.activity, timeseries=timeseries))
    labels = module_labels(system, n_restarts=2, rng=0)
    assert np.flatnonzero(labels < 0).tolist() == [0, 9]
    assert labels.max() == 3


def test_input_drive(network, toy):
    system, _ = network
    inputs = system.activity.variables["inputs"]
    expected = inputs @ system.model.inward.T
    np.testing.assert_allclose(input_drive(system), expected)
    # Without a model, inputs times projection: dense, sparse and factored.
    from scipy import sparse

    weights = system.projection.weights
    for each in (weights, sparse.csr_array(weights), fct.FactoredMatrix(weights @ np.eye(4), np.eye(4))):
        alike = replace(system, model=None, projection=fct.InputProjection(each))
        np.testing.assert_allclose(input_drive(alike), expected, atol=1e-12)
    with pytest.raises(fct.InputError, match=r"'inputs' of .* has 2 columns, but its projection has 4 inputs"):
        input_drive(replace(with_variables(system, inputs=inputs[:, :2]), model=None))
    with pytest.raises(fct.InputError, match="has no variable 'inputs'"):
        input_drive(with_variables(system, inputs=None))


def _activity(system, **changes):
    return replace(system, activity=replace(system.activity, **changes))


@pytest.mark.parametrize(
    ("change", "settings", "message"),
    [
        (lambda s: _activity(s, variables={}), {}, "has no variables; to know what its modules carry, its source must"),
        (lambda s: _activity(s, trials=None), {}, r"has variables \(inputs, stimulus, .* but no trials: time steps"),
        (
            lambda s: replace(s, activity=fct.RecurrentActivity(connectivity=np.eye(24))),
            {},
            "has a connectivity and no timeseries",
        ),
        (lambda s: s, {"variables": ["stimulis"]}, r"no variable 'stimulis'\. Did you mean 'stimulus'"),
        (lambda s: with_variables(s, flat=np.ones(720)), {"variables": ["flat"]}, r"are constant \(flat\)"),
        (lambda s: s, {"lags": [1.0]}, "does not fit into the shortest trial"),
        (lambda s: s, {"n_nulls": 0}, "n_nulls is 0"),
    ],
)
def test_bad_input(network, change, settings, message):
    system, module = network
    with pytest.raises(fct.InputError, match=message):
        function_of(change(system), module, **({"rng": 0} | settings))


def test_not_a_number_stops_at_the_door(network):
    with pytest.raises(fct.InputError, match="variable 'stimulus' has 1 value that is not finite"):
        with_variables(network[0], stimulus=np.array([np.nan, *range(719)]))


def test_continuous_outputs_have_relations_and_no_accuracy(network):
    system, module = network
    smooth = with_variables(system, target=np.sin(np.arange(720) / 7))
    report = function_of(smooth, module, n_nulls=19, n_restarts=1, rng=0)
    assert report.lesions is None
    assert "accuracy needs a choice among a few responses" in report.left_out["lesions"]


def test_importing_it_is_cheap():
    code = "import sys, fctoolbox.function; print('matplotlib' in sys.modules, 'sklearn' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]


def test_toy_trials_need_room():
    with pytest.raises(fct.InputError, match="trials need two planted communities"):
        fct.load("toy", n_trials=3)
    plain, trials = fct.load("toy", n_times=100), fct.load("toy", n_times=100, n_trials=10)
    assert plain.activity.trials is None
    assert len(np.unique(trials.activity.trials)) == 10
    assert plain.projection.weights.tolist() == trials.projection.weights.tolist()
