"""Networks given by their weights."""

import numpy as np
import pytest
from fctoolbox_ctrnn import CTRNN, from_weights
from fctoolbox_ctrnn.trials import draw_trials, read_task

from fctoolbox import analyse_origin
from fctoolbox.errors import InputError

RNG = np.random.default_rng(3)
W_IN, W_REC, W_OUT = RNG.standard_normal((8, 3)), RNG.standard_normal((8, 8)) / 4, RNG.standard_normal((3, 8))


def test_two_steps_by_hand():
    system = from_weights(
        [[1.0], [-1], [0.5]], [[0, 0, 2.0], [1, 0, 0], [0, 0, 0]], [[1.0, 1, 1]], b_rec=[0, 0, 1], inputs=[[1.0], [0]]
    )
    # h1 = relu(1, -1, 0.5 + 1); h2 = relu(2 * 1.5, 1, 1)
    np.testing.assert_array_equal(system.activity.timeseries, [[1, 0, 1.5], [3, 1, 1]])
    np.testing.assert_array_equal(system.activity.variables["output"], [[2.5], [5]])
    np.testing.assert_array_equal(system.activity.variables["inputs"], [[1], [0]])
    np.testing.assert_array_equal(system.projection.weights, [[1], [-1], [0.5]])


def test_trials_are_independent_and_one_after_the_other():
    inputs = RNG.standard_normal((6, 4, 3))
    system = from_weights(W_IN, W_REC, nonlinearity="tanh", alpha=0.3, rule="outside", inputs=inputs, dt=20)
    assert system.activity.trials.tolist() == np.repeat(np.arange(4), 6).tolist()
    assert system.activity.sampling_interval == 0.02
    assert set(system.activity.variables) == {"inputs"}
    for k in range(4):
        alone = from_weights(W_IN, W_REC, nonlinearity="tanh", alpha=0.3, rule="outside", inputs=inputs[:, k])
        np.testing.assert_allclose(system.activity.timeseries[6 * k : 6 * k + 6], alone.activity.timeseries, atol=1e-12)


def test_it_runs_on_noise_when_nothing_is_given_and_can_be_analysed():
    system, again, other = (from_weights(W_IN, W_REC, nonlinearity="tanh", rng=rng) for rng in (0, 0, 1))
    assert system.activity.timeseries.shape == (1000, 8)
    np.testing.assert_array_equal(system.activity.timeseries, again.activity.timeseries)
    assert not np.array_equal(system.activity.timeseries, other.activity.timeseries)
    assert "white Gaussian noise of standard deviation 1, 1,000 time steps" in system.provenance.notes["Activity"]
    report = analyse_origin(system, n_nulls=19, n_restarts=2, rng=0)
    assert -1 <= report.relationship.pearson_r <= 1


def test_trials_of_a_task_bring_their_variables():
    task = read_task("fctoolbox/PerceptualDecisionMaking-v0", 100)
    trials = draw_trials(task, 7, seed=(1,))
    system = from_weights(W_IN, W_REC, W_OUT, nonlinearity="tanh", trials=trials, input_names=task.columns, dt=100)
    known = system.activity.variables
    assert {"inputs", "stimulus", "cumulative_evidence", "output", "target", "choice", "coherence", "period"} <= set(
        known
    )
    assert known["stimulus"].shape == (7 * 22, 2)
    np.testing.assert_array_equal(known["inputs"], trials.end_to_end(trials.inputs))
    assert "of coherent trials" in system.provenance.notes["Accuracy in these trials"]
    assert system.provenance.notes["Periods"].startswith("0 fixation, 1 stimulus")
    without = from_weights(W_IN, W_REC, nonlinearity="tanh", trials=trials).activity.variables
    assert "choice" not in without
    assert without["target"].shape == (7 * 22, 3)
    assert without["stimulus"].shape == (7 * 22, 3)


def test_the_model_is_the_network():
    system = from_weights(W_IN, W_REC, W_OUT, alpha=0.5, nonlinearity="tanh", inputs=RNG.standard_normal((5, 3)))
    assert isinstance(system.model, CTRNN)
    np.testing.assert_allclose(system.model.run(system.activity.variables["inputs"]), system.activity.timeseries)
    lesioned = system.model.lesion([2]).run(system.activity.variables["inputs"])
    assert not lesioned[:, 2].any()


def test_its_arrays_are_nobody_elses():
    mine = W_IN.copy()
    system = from_weights(mine, W_REC, nonlinearity="tanh", rng=0)
    mine[:] = 0
    assert system.projection.weights.any()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"w_in": W_IN.T}, r"w_in has shape \(3, 8\), but it must be \(8, n_inputs\), .* 8 units. Is it transposed\?"),
        ({"w_in": W_IN[:7]}, r"w_in has shape \(7, 3\), but it must be \(8, n_inputs\)"),
        ({"w_rec": W_REC[:, :7]}, r"w_rec has shape \(8, 7\), but it must be square"),
        ({"w_out": W_OUT.T}, r"w_out has shape \(8, 3\), but it must be \(n_outputs, 8\), .* Is it transposed\?"),
        ({"b_in": np.zeros(3)}, r"b_in has shape \(3,\)"),
        ({"b_out": np.zeros(3)}, "b_out was given without w_out"),
        ({"w_in": W_IN * np.nan}, "w_in has values that are not finite"),
        ({"w_in": [[1, 2], [3]]}, "w_in cannot be read as an array of numbers"),
        ({"w_in": [["a"]]}, "w_in holds str.* values; it must be an array of real numbers"),
        ({"alpha": 0}, r"alpha .* must lie in \(0, 1\]"),
        ({"nonlinearity": "elu"}, "nonlinearity is 'elu'"),
        ({"inputs": np.zeros((5, 4))}, r"inputs have shape \(5, 4\), but the network has 3 inputs: .* time first"),
        ({"inputs": np.zeros(5)}, r"inputs have shape \(5,\)"),
        ({"inputs": np.full((5, 3), np.inf)}, "inputs have values that are not finite"),
        ({"inputs": np.array([["x"] * 3])}, "inputs hold str.* values"),
        ({"n_steps": 1}, "n_steps is 1; it must be a whole number of at least 2"),
        ({"dt": 0}, "dt is 0; it must be the duration of a time step in ms"),
        ({"input_names": ["a"]}, "input_names has 1 names, but the network has 3"),
        ({"units": ["a"]}, "units has 1 names, but the network has 8"),
        ({"w_rec": np.eye(8) * 1e9, "nonlinearity": "relu"}, "activity explodes: from time step [0-9]+ on"),
    ],
)
def test_bad_input(change, message):
    given = {"w_in": W_IN, "w_rec": W_REC, "nonlinearity": "tanh", **change}
    with np.errstate(over="ignore", invalid="ignore"), pytest.raises(InputError, match=message):
        from_weights(**given)


def test_too_few_outputs_for_the_trials_and_inputs_twice():
    trials = draw_trials(read_task("fctoolbox/PerceptualDecisionMaking-v0", 100), 30, seed=(1,))
    with pytest.raises(InputError, match="the trials want response 2, but the network has 2 outputs"):
        from_weights(W_IN, W_REC, W_OUT[:2], nonlinearity="tanh", trials=trials)
    with pytest.raises(InputError, match="give inputs or trials, not both"):
        from_weights(W_IN, W_REC, nonlinearity="tanh", trials=trials, inputs=trials.inputs)
