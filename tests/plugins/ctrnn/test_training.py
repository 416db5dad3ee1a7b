"""Training: equal to a second implementation, and a function of nothing but its arguments."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from fctoolbox_ctrnn.network import PARAMETERS, initial_network
from fctoolbox_ctrnn.training import Checkpoint, Evaluation, Training, activity, advance
from fctoolbox_ctrnn.trials import ENDED, Trials, draw_trials, read_task

from fctoolbox.errors import InputError

SHORT = Training(n_trials=5, evaluate_every=4)
TASK = read_task("GoNogo-v0", 50)


def start(alpha=0.5, n_units=12):
    return Checkpoint(initial_network(n_units, 3, 2, alpha=alpha, rng=np.random.default_rng(5)), {})


def batch(step):
    return draw_trials(TASK, SHORT.n_trials, seed=(step,))


def tensors(network, *, grad=False):
    return {
        name: torch.tensor(array, dtype=torch.float32, requires_grad=grad) for name, array in network.parameters.items()
    }


@pytest.mark.parametrize("alpha", [0.2, 1.0])
def test_numpy_reproduces_torch_to_float32_accuracy(alpha):
    net = initial_network(100, 3, 3, alpha=alpha, rng=np.random.default_rng(0))
    inputs = draw_trials(read_task("fctoolbox/PerceptualDecisionMaking-v0", 20), 10, seed=(0,)).inputs
    states = activity(tensors(net), torch.from_numpy(inputs), alpha).numpy()
    assert states.max() > 0.1
    np.testing.assert_allclose(net.run(inputs), states, rtol=1e-5, atol=1e-6)


def reference(net, n_steps, training):
    """The same training as torch's modules would have it, term by term."""
    n_units, alpha = net.n_units, net.alpha
    given, recurrent, out = (
        torch.nn.Linear(3, n_units),
        torch.nn.Linear(n_units, n_units),
        torch.nn.Linear(n_units, 2),
    )
    layers = {"in": given, "rec": recurrent, "out": out}
    with torch.no_grad():
        for name, layer in layers.items():
            layer.weight[:] = torch.tensor(getattr(net, f"w_{name}"))
            layer.bias[:] = torch.tensor(getattr(net, f"b_{name}"))
    parameters = [value for layer in layers.values() for value in layer.parameters()]
    optimizer = torch.optim.Adam(parameters, lr=training.learning_rate)
    losses = []
    for step in range(n_steps):
        trials = batch(step)
        state, loss = torch.zeros(trials.n_trials, n_units), 0.0
        for now, target in zip(torch.from_numpy(trials.inputs), torch.from_numpy(trials.targets), strict=True):
            state = torch.relu((1 - alpha) * state + alpha * (given(now) + recurrent(state)))
            loss = loss + torch.nn.functional.cross_entropy(out(state), target) / len(trials.targets)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, training.largest_gradient)
        optimizer.step()
        losses.append(loss.item())
    return {
        f"{k}_{n}": p.detach().numpy() for n, q in layers.items() for k, p in zip("wb", q.parameters(), strict=True)
    }, losses


@pytest.mark.parametrize(("alpha", "largest"), [(0.5, 1.0), (1.0, 1.0), (0.5, 0.01)])
def test_it_is_adam_on_the_cross_entropy_of_every_time_step(alpha, largest):
    training = replace(SHORT, largest_gradient=largest)
    with torch.random.fork_rng():
        expected, losses = reference(start(alpha).network, 4, training)
    reached = advance(start(alpha), batch, batch(99), training)
    for name in PARAMETERS:
        np.testing.assert_allclose(getattr(reached.network, name), expected[name], rtol=1e-3, atol=1e-5)
        assert not np.array_equal(getattr(reached.network, name), getattr(start(alpha).network, name))
    assert reached.curve[0].loss == pytest.approx(np.mean(losses), rel=1e-5)
    assert reached.curve[0].step == reached.step == 4


def test_two_stretches_are_one_to_the_last_bit():
    whole = advance(start(), batch, batch(99), replace(SHORT, evaluate_every=6))
    parts = start()
    for _ in range(2):
        parts = advance(parts, batch, batch(99), replace(SHORT, evaluate_every=3))
    for name in PARAMETERS:
        np.testing.assert_array_equal(getattr(parts.network, name), getattr(whole.network, name))
    for name, moment in whole.moments.items():
        np.testing.assert_array_equal(parts.moments[name], moment)
    assert [look.step for look in parts.curve] == [3, 6]
    assert parts.curve[1].accuracy == whole.curve[0].accuracy


def test_what_follows_a_trial_s_end_is_not_learned():
    def longer(step):
        trials = batch(step)
        noise = np.full((7, *trials.inputs.shape[1:]), 3.0, dtype=np.float32)
        return Trials(
            np.concatenate([trials.inputs, noise]),
            np.concatenate([trials.targets, np.full((7, trials.n_trials), ENDED)]),
        )

    short, padded = (advance(start(), trials, batch(99), SHORT) for trials in (batch, longer))
    assert padded.curve[0].loss == pytest.approx(short.curve[0].loss, rel=1e-6)
    np.testing.assert_allclose(padded.network.w_rec, short.network.w_rec, atol=1e-6)


def test_the_accuracy_is_that_of_the_numpy_network():
    validation = draw_trials(TASK, 60, seed=(7,))
    reached = advance(start(), batch, validation, replace(SHORT, evaluate_every=20))
    outputs = reached.network.readout(reached.network.run(validation.inputs))
    assert reached.curve[-1].accuracy == pytest.approx(validation.correct(outputs).mean())


def test_the_number_of_threads_and_global_state_stay_as_they_were():
    threads, random = torch.get_num_threads(), torch.get_rng_state()
    try:
        torch.set_num_threads(2)
        with torch.no_grad():  # somebody else's setting must neither stop it nor be changed
            reached = advance(start(), batch, batch(99), SHORT)
            assert not torch.is_grad_enabled()
        assert torch.get_num_threads() == 2
        torch.set_num_threads(1)
        np.testing.assert_array_equal(reached.network.w_rec, advance(start(), batch, batch(99), SHORT).network.w_rec)
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(torch.get_rng_state(), random)


def test_divergence_is_said_and_not_kept():
    with pytest.raises(InputError, match=r"training diverged at step \d+: the loss is (nan|inf)"):
        advance(start(), batch, batch(99), replace(SHORT, learning_rate=1e30))


def test_a_task_is_solved_when_looks_in_a_row_say_so():
    def after(*accuracies):
        curve = tuple(Evaluation(50 * (k + 1), 0.1, accuracy) for k, accuracy in enumerate(accuracies))
        return replace(start(), curve=curve).solves(Training())

    assert after(0.97, 0.97)
    assert after(0.1, 0.98, 0.98)
    assert not after(0.99)
    assert not after(0.99, 0.969)
    assert not after(0.98, 0.98, 0.96, 0.98)
    assert not after()
