"""Networks built with torch: the same numbers as torch's own, step by step."""

import numpy as np
import pytest
import torch
from fctoolbox_ctrnn import from_torch
from fctoolbox_ctrnn.gated import GRU, LSTM
from fctoolbox_ctrnn.trials import draw_trials, read_task

from fctoolbox.errors import InputError
from fctoolbox.plugins import Source
from fctoolbox.testing import check_source

N, K, T = 9, 4, 12


@pytest.fixture(autouse=True)
def _seeded():
    with torch.random.fork_rng():
        torch.manual_seed(5)
        yield


class Net(torch.nn.Module):
    def __init__(self, kind=torch.nn.GRU, *, batch_first=False, encoder=None, n_inputs=3):
        super().__init__()
        self.encoder = encoder or torch.nn.Identity()
        self.core = kind(n_inputs, N, batch_first=batch_first)
        self.drop = torch.nn.Dropout(0.5)
        self.out = torch.nn.Linear(N, 3)

    def forward(self, x):
        states, last = self.core(self.encoder(x))
        return self.out(self.drop(states)), last


LAYERS = {
    "tanh": lambda **o: torch.nn.RNN(3, N, **o),
    "relu": lambda **o: torch.nn.RNN(3, N, nonlinearity="relu", **o),
    "gru": lambda **o: torch.nn.GRU(3, N, **o),
    "lstm": lambda **o: torch.nn.LSTM(3, N, **o),
}


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("kind", LAYERS)
def test_activity_and_model_are_torchs_own_output_step_by_step(kind, batch_first, bias):
    layer = LAYERS[kind](batch_first=batch_first, bias=bias).double()
    inputs = torch.randn(T, K, 3, dtype=torch.float64)
    with torch.no_grad():
        expected = layer(inputs.transpose(0, 1) if batch_first else inputs)[0]
    expected = (expected.transpose(0, 1) if batch_first else expected).numpy()
    system = from_torch(layer, inputs)
    assert system.activity.trials.tolist() == np.repeat(np.arange(K), T).tolist()
    np.testing.assert_allclose(system.activity.timeseries.reshape(K, T, N).swapaxes(0, 1), expected, atol=1e-14)
    np.testing.assert_allclose(system.model.run(inputs.numpy()), expected, atol=1e-12)
    state = np.zeros((K, getattr(system.model, "n_states", N)))
    for now, then in zip(inputs.numpy(), expected, strict=True):
        state = system.model.step(state, now)
        np.testing.assert_allclose(state[:, :N], then, atol=1e-12)
    assert "output" not in system.activity.variables


@pytest.mark.parametrize(("kind", "gates", "n"), [("gru", GRU.gates, 3), ("lstm", LSTM.gates, 4)])
def test_the_input_weights_of_gates_stand_side_by_side(kind, gates, n):
    layer = LAYERS[kind]()
    system = from_torch(layer, rng=0, input_names=("a", "b", "c"))
    assert system.projection.inputs == tuple(f"{gate}: {name}" for gate in gates for name in "abc")
    weights = layer.weight_ih_l0.detach().numpy()
    for k in range(n):
        np.testing.assert_array_equal(system.projection.weights[:, 3 * k : 3 * k + 3], weights[N * k : N * k + N])
    # What reaches the new state: the third gate of both.
    drive = system.model.input_drive(np.eye(3)) - system.model.input_drive(np.zeros((3, 3)))
    np.testing.assert_allclose(drive, weights[2 * N : 3 * N].T, atol=1e-7)


@pytest.mark.parametrize("kind", [torch.nn.RNN, torch.nn.GRU, torch.nn.LSTM])
def test_a_module_is_run_whole_without_dropout_and_its_readout_found(kind):
    net = Net(kind, batch_first=True, encoder=torch.nn.Linear(5, 3))
    net.train()
    net.drop.eval()
    system = from_torch(net, np.random.default_rng(0).standard_normal((T, K, 5)))
    assert (net.training, net.core.training, net.drop.training) == (True, True, False)
    assert not net.core._forward_hooks
    assert system.activity.variables["inputs"].shape == (T * K, 3)
    np.testing.assert_array_equal(system.model.output_weights, net.out.weight.detach().numpy())
    outputs = system.model.readout(system.activity.timeseries)
    np.testing.assert_allclose(system.activity.variables["output"], outputs, atol=1e-6)
    assert "a linear readout" in system.provenance.notes["Network"]


def test_a_readout_that_is_none_is_not_taken_for_one():
    class Squashed(Net):
        def forward(self, x):
            return torch.tanh(self.out(self.core(x)[0]))

    system = from_torch(Squashed(), rng=0)
    assert system.model.output_weights is None
    assert system.activity.variables["output"].shape == (1000, 3)
    with pytest.raises(InputError, match="no linear readout"):
        system.model.readout(np.zeros(N))


def test_modules_that_begin_with_an_embedding_take_whole_numbers():
    net = Net(encoder=torch.nn.Embedding(6, 3))
    system = from_torch(net, torch.randint(0, 6, (T, K)))
    assert system.activity.timeseries.shape == (T * K, N)
    with pytest.raises(InputError, match=r"Net cannot be run on inputs of shape \(12, 4, 6\).*'core' can be"):
        from_torch(net, np.zeros((T, K, 6)))


def test_trials_of_a_task():
    task = read_task("fctoolbox/ContextDecisionMaking-v0", 100)
    trials = draw_trials(task, 12, seed=(1,))
    assert len(set((trials.targets >= 0).sum(axis=0))) > 1  # of different lengths
    net = Net(torch.nn.LSTM, n_inputs=len(task.columns))
    system = from_torch(net, trials=trials, input_names=task.columns, dt=100)
    known = system.activity.variables
    assert len(known["choice"]) == (trials.targets >= 0).sum()
    np.testing.assert_allclose(known["output"].sum(axis=1), 1)
    assert "Accuracy in these trials" in system.provenance.notes


def test_lesions_silence_units_and_what_they_send():
    for kind in ("gru", "lstm"):
        system = from_torch(LAYERS[kind](), rng=0, n_steps=40)
        inputs = system.activity.variables["inputs"]
        lesioned = system.model.lesion([1, 4]).lesion([0])
        assert lesioned.silent == (0, 1, 4)
        states = lesioned.run(inputs)
        assert not states[:, [0, 1, 4]].any()
        assert np.abs(states - system.activity.timeseries)[:, [2, 3, 5]].max() > 1e-3
        # The others are a network of their own.
        rows = [unit + N * gate for gate in range(len(lesioned.gates)) for unit in (2, 3, 5, 6, 7, 8)]
        kept = [2, 3, 5, 6, 7, 8]
        alone = type(lesioned)(
            lesioned.w_in[rows], lesioned.b_in[rows], lesioned.w_rec[np.ix_(rows, kept)], lesioned.b_rec[rows]
        )
        np.testing.assert_allclose(alone.run(inputs), states[:, kept], atol=1e-12)
        state = np.ones(lesioned.n_states)
        assert not lesioned.step(state, inputs[0]).reshape(-1, N)[:, [0, 1, 4]].any()
        with pytest.raises(InputError, match="there is no unit 9 to lesion; units are 0 … 8"):
            system.model.lesion([9])


def test_the_state_of_an_lstm_has_two_parts():
    with pytest.raises(InputError, match=r"its activity and its cells, \(…, 18\), not \(2, 9\)"):
        from_torch(LAYERS["lstm"](), rng=0).model.step(np.zeros((2, N)), np.zeros((2, 3)))


def test_a_torch_network_keeps_the_contract_of_sources():
    def load():
        with torch.random.fork_rng():
            torch.manual_seed(1)
            return from_torch(torch.nn.GRU(4, 20), rng=0, name="mine")

    check_source(Source("mine", load, "a GRU", "none", "none"))


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (lambda: torch.nn.Linear(3, 3), "Linear is a torch model without recurrent weights"),
        (lambda: torch.nn.Sequential(torch.nn.LSTMCell(3, 3)), "its '0' is a single cell, .* from_weights takes"),
        (
            lambda: torch.nn.GRU(3, N, num_layers=2),
            "this GRU has 2 layers; from_torch reads one layer in one",
        ),
        (lambda: torch.nn.RNN(3, N, bidirectional=True), "this RNN has 2 directions"),
        (lambda: torch.nn.LSTM(3, N, proj_size=2), "projects its state to 2 values"),
        (
            lambda: torch.nn.ModuleList([LAYERS["gru"](), LAYERS["lstm"]()]),
            "holds 2 recurrent layers .0, 1.; hand",
        ),
        (lambda: np.zeros((3, 3)), "from_torch takes a torch.nn.Module, not ndarray; for arrays: from_weights"),
    ],
)
def test_what_cannot_be_read(module, message):
    with pytest.raises(InputError, match=message):
        from_torch(module())


def test_weights_that_are_not_finite():
    layer = LAYERS["gru"]()
    with torch.no_grad():
        layer.weight_hh_l0[0, 0] = torch.nan
    with pytest.raises(InputError, match="weight_hh_l0 has values that are not finite"):
        from_torch(layer)


def test_a_loop_over_time_steps_is_refused():
    class Loop(Net):
        def forward(self, x):
            return torch.cat([self.core(now[None])[0] for now in x])

    with pytest.raises(InputError, match=r"does not run its recurrent layer 'core' once .* called 1000 times"):
        from_torch(Loop())


def test_wrong_inputs():
    with pytest.raises(InputError, match=r"inputs have shape \(5, 4\), but the network has 3 inputs"):
        from_torch(LAYERS["gru"](), np.zeros((5, 4)))
    with pytest.raises(InputError, match="inputs have values that are not finite"):
        from_torch(LAYERS["gru"](), torch.full((5, 3), torch.nan))


def test_global_random_state_is_left_alone():
    before = torch.get_rng_state()
    net = Net()
    torch.set_rng_state(before)
    from_torch(net, rng=0)
    assert torch.equal(before, torch.get_rng_state())
