"""Training: equal to a second implementation, and a function of nothing but its arguments."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from fctoolbox_ctrnn.network import PARAMETERS, initial_network
from fctoolbox_ctrnn.scan import Workspace
from fctoolbox_ctrnn.stack import Stack
from fctoolbox_ctrnn.training import Checkpoint, Evaluation, Learner, Training, advance, advance_together
from fctoolbox_ctrnn.trials import ENDED, Trials, draw_trials, read_task

from fctoolbox.errors import InputError

SHORT = Training(n_trials=5, evaluate_every=4)
TASK = read_task("GoNogo-v0", 50)


def start(alpha=0.5, n_units=12):
    return Checkpoint(initial_network(n_units, 3, 2, alpha=alpha, rng=np.random.default_rng(5)), {})


def batch(step):
    return draw_trials(TASK, SHORT.n_trials, seed=(step,))


def learner(checkpoint=None, trials=batch, validation=None, noise=None):
    return Learner(checkpoint or start(), trials, validation or batch(99), noise)


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
        # The decision is at the same time in all trials of this task: its last steps, which ask for a response.
        counting = np.where(trials.targets.any(axis=1), training.response_weight, 1)
        for now, target, weight in zip(*map(torch.from_numpy, (trials.inputs, trials.targets, counting)), strict=True):
            state = torch.relu((1 - alpha) * state + alpha * (given(now) + recurrent(state)))
            loss = loss + torch.nn.functional.cross_entropy(out(state), target) * weight / counting.sum()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, training.largest_gradient)
        optimizer.step()
        losses.append(loss.item())
    return {
        f"{k}_{n}": p.detach().numpy() for n, q in layers.items() for k, p in zip("wb", q.parameters(), strict=True)
    }, losses


@pytest.mark.parametrize(
    ("alpha", "largest", "weight"), [(0.5, 1.0, 1.0), (1.0, 1.0, 1.0), (0.5, 0.01, 1.0), (0.5, 1.0, 5.0)]
)
def test_it_is_adam_on_the_cross_entropy_of_every_time_step(alpha, largest, weight):
    training = replace(SHORT, largest_gradient=largest, response_weight=weight)
    with torch.random.fork_rng():
        expected, losses = reference(start(alpha).network, 4, training)
    reached = advance(learner(start(alpha)), training)
    for name in PARAMETERS:
        np.testing.assert_allclose(getattr(reached.network, name), expected[name], rtol=1e-3, atol=1e-5)
        assert not np.array_equal(getattr(reached.network, name), getattr(start(alpha).network, name))
    assert reached.curve[0].loss == pytest.approx(np.mean(losses), rel=1e-5)
    assert reached.curve[0].step == reached.step == 4


def test_two_stretches_are_one_to_the_last_bit():
    whole = advance(learner(), replace(SHORT, evaluate_every=6))
    parts = start()
    for _ in range(2):
        parts = advance(learner(parts), replace(SHORT, evaluate_every=3))
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

    short, padded = (advance(learner(trials=trials), SHORT) for trials in (batch, longer))
    assert padded.curve[0].loss == pytest.approx(short.curve[0].loss, rel=1e-6)
    np.testing.assert_allclose(padded.network.w_rec, short.network.w_rec, atol=1e-6)


def test_the_accuracy_is_that_of_the_numpy_network():
    validation = draw_trials(TASK, 60, seed=(7,))
    reached = advance(learner(validation=validation), replace(SHORT, evaluate_every=20))
    outputs = reached.network.readout(reached.network.run(validation.inputs))
    assert reached.curve[-1].accuracy == pytest.approx(validation.correct(outputs).mean())


def test_the_number_of_threads_and_global_state_stay_as_they_were():
    threads, random = torch.get_num_threads(), torch.get_rng_state()
    try:
        torch.set_num_threads(2)
        with torch.no_grad():  # somebody else's setting must neither stop it nor be changed
            reached = advance(learner(), SHORT)
            assert not torch.is_grad_enabled()
        assert torch.get_num_threads() == 2
        torch.set_num_threads(1)
        np.testing.assert_array_equal(reached.network.w_rec, advance(learner(), SHORT).network.w_rec)
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(torch.get_rng_state(), random)


def test_an_exploding_loss_is_said():
    with pytest.raises(InputError, match=r"exploded at step \d+: the loss is (nan|inf|.*e\+\d+), where 1000 is"):
        advance(learner(), replace(SHORT, learning_rate=1e30))
    with pytest.raises(InputError, match=r"step 0: the loss is 0\.\d+, where 0.1 is the most; try .* \(now 0.01\)"):
        advance(learner(), replace(SHORT, largest_loss=0.1))


def test_one_bad_batch_is_no_explosion():
    def one_bad(step):
        trials = batch(step)
        return replace(trials, inputs=trials.inputs * np.float32(1e5)) if step == 1 else trials

    few = replace(SHORT, learning_rate=1e-6)
    assert advance(learner(trials=one_bad), few).curve[0].loss > 1000 / 4

    def not_finite(step):
        trials = batch(step)
        return replace(trials, inputs=trials.inputs * np.float32(np.inf)) if step == 1 else trials

    with (
        pytest.raises(InputError, match=r"training exploded at step 1: the loss is nan"),
        np.errstate(invalid="ignore"),
    ):
        advance(learner(trials=not_finite), few)


def test_a_dead_network_is_said():
    net = start().network
    dead = replace(net, b_in=np.full(12, -100.0))
    with pytest.raises(InputError, match="the network is dead at step 4: all of its 12 units are silent in every"):
        advance(learner(Checkpoint(dead, {})), SHORT)


def test_one_network_s_ruin_does_not_touch_the_others():
    net = start().network
    dead = Checkpoint(replace(net, b_in=np.full(12, -100.0)), {})
    exploded = Checkpoint(replace(net, w_rec=net.w_rec * 1e6), {})
    fine, *ruined = advance_together(
        [learner(), learner(dead), learner(exploded)], replace(SHORT, evaluate_every=6), Workspace()
    )
    alone = advance(learner(), replace(SHORT, evaluate_every=6))
    assert [bool(each.problem) for each in (fine, *ruined)] == [False, True, True]
    # The last good ones are what remains.
    assert [each.checkpoint for each in ruined] == [dead, exploded]
    assert fine.checkpoint.curve[0].loss == pytest.approx(alone.curve[0].loss, rel=1e-5)
    np.testing.assert_allclose(fine.checkpoint.network.w_rec, alone.network.w_rec, atol=1e-6)


def test_a_stack_is_its_networks_one_by_one():
    # Other trials, of other lengths, at other steps of their training.
    def delayed(step):
        return draw_trials(read_task("ContextDecisionMaking-v0", 50), SHORT.n_trials, seed=(step, 3))

    sizes = {"n_units": 12, "n_inputs": 5, "n_outputs": 3}
    checkpoints = [Checkpoint(initial_network(**sizes, alpha=0.5, rng=np.random.default_rng(k)), {}) for k in range(3)]
    validations = [draw_trials(read_task("ContextDecisionMaking-v0", 50), n, seed=(n,)) for n in (70, 30, 129)]
    starts = [lambda step, k=k: delayed(100 * k + step) for k in range(3)]
    learners = [Learner(*each) for each in zip(checkpoints, starts, validations, strict=True)]
    learners[1] = replace(learners[1], checkpoint=advance(learners[1], SHORT))
    together = advance_together(learners, SHORT, Workspace())
    for each, outcome in zip(learners, together, strict=True):
        alone = advance(each, SHORT)
        assert not outcome.problem
        assert outcome.checkpoint.curve[-1].accuracy == pytest.approx(alone.curve[-1].accuracy, abs=1e-9)
        assert outcome.checkpoint.curve[-1].loss == pytest.approx(alone.curve[-1].loss, rel=1e-5)
        for name in PARAMETERS:
            np.testing.assert_allclose(
                getattr(outcome.checkpoint.network, name), getattr(alone.network, name), atol=1e-5
            )
        for name, moment in alone.moments.items():
            np.testing.assert_allclose(outcome.checkpoint.moments[name], moment, rtol=1e-3, atol=1e-6)
    assert together[1].checkpoint.step == 8


def constrained_start(n_units=12):
    rng = np.random.default_rng(8)
    sign, mask = np.repeat([1, -1], [9, 3]), rng.random((n_units, n_units)) < 0.6
    return Checkpoint(initial_network(n_units, 3, 2, alpha=0.5, rng=rng, sign=sign, mask=mask), {})


def test_dale_s_law_and_masks_hold_and_are_those_of_free_weights_behind_them():
    training = replace(SHORT, evaluate_every=25, learning_rate=0.03)
    begun = constrained_start()
    net, sign, mask = begun.network, begun.network.sign, begun.network.mask
    reached = advance(learner(begun), training).network
    assert not reached.w_rec[~mask].any()
    assert (reached.w_rec * sign >= 0).all()
    assert (reached.w_rec != net.w_rec)[mask].mean() > 0.7

    # A second implementation: autograd through mask · |W| · sign, torch's Adam on W.
    p = {name: torch.tensor(array, dtype=torch.float32, requires_grad=True) for name, array in net.parameters.items()}
    optimizer, crossed = torch.optim.Adam(list(p.values()), lr=training.learning_rate), 0
    for step in range(25):
        trials = batch(step)
        w_rec = torch.tensor(mask) * p["w_rec"].abs() * torch.tensor(sign)
        state, loss = torch.zeros(trials.n_trials, 12), 0.0
        for now, target in zip(torch.from_numpy(trials.inputs), torch.from_numpy(trials.targets), strict=True):
            state = torch.relu(0.5 * state + 0.5 * (now @ p["w_in"].T + p["b_in"] + state @ w_rec.T + p["b_rec"]))
            loss = loss + torch.nn.functional.cross_entropy(state @ p["w_out"].T + p["b_out"], target)
        optimizer.zero_grad()
        (loss / len(trials.targets)).backward()
        torch.nn.utils.clip_grad_norm_(list(p.values()), training.largest_gradient)
        optimizer.step()
        crossed += int(((p["w_rec"].detach().numpy() * sign < 0) & mask).sum())
    assert crossed > 0  # some weights met zero, so that turning back was needed
    effective = (torch.tensor(mask) * p["w_rec"].abs() * torch.tensor(sign)).detach().numpy()
    np.testing.assert_allclose(reached.w_rec, effective, atol=2e-4)
    np.testing.assert_allclose(reached.w_out, p["w_out"].detach().numpy(), atol=2e-4)


def test_constraints_survive_an_interruption():
    training = replace(SHORT, learning_rate=0.03)
    whole = advance(learner(constrained_start()), replace(training, evaluate_every=20))
    parts = constrained_start()
    for _ in range(4):
        parts = advance(learner(parts), replace(training, evaluate_every=5))
    np.testing.assert_array_equal(parts.network.w_rec, whole.network.w_rec)
    for name, moment in whole.moments.items():
        np.testing.assert_array_equal(parts.moments[name], moment)


def test_noise_is_drawn_for_each_network_and_step_alike():
    def noise(step):
        return np.random.default_rng([7, step])

    noisy = replace(start(), network=replace(start().network, noise=0.5))
    reached = advance(learner(noisy, noise=noise), SHORT)
    assert reached.curve == advance(learner(noisy, noise=noise), SHORT).curve
    assert reached.curve[0].loss != advance(learner(), SHORT).curve[0].loss
    longer = learner(trials=lambda step: draw_trials(read_task("GoNogo-v0", 25), SHORT.n_trials, seed=(step,)))
    beside = advance_together([learner(noisy, noise=noise), longer], SHORT, Workspace())[0].checkpoint
    np.testing.assert_allclose(beside.network.w_rec, reached.network.w_rec, atol=1e-6)
    # The numpy network with the same numbers in its drive answers alike.
    (rng,) = noise(4).spawn(1)
    trials = batch(99)
    drive = 0.5 * rng.standard_normal((*trials.targets.shape, 12), dtype=np.float32)
    state, net = np.zeros((trials.n_trials, 12)), reached.network
    outputs = np.empty((*trials.targets.shape, 2))
    for t, now in enumerate(trials.inputs):
        state = np.maximum(0.5 * state + 0.5 * (net.input_drive(now) + drive[t] + state @ net.w_rec.T + net.b_rec), 0)
        outputs[t] = net.readout(state)
    assert reached.curve[-1].accuracy == trials.correct(outputs).mean()


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


def test_a_long_gradient_is_cut_alike_in_every_stack(rng):
    networks = [start(n_units=8).network] * 60
    shapes = {name: each.shape[1:] for name, each in Stack(networks[:1], [{}], "cpu").parameters.items()}
    # Of all sizes: the order of a sum of like numbers seldom shows.
    sizes = {name: np.exp(2 * rng.standard_normal((60, 1, 1))) for name in shapes}
    drawn = {
        name: (rng.standard_normal((60, *shape)) * sizes[name] / np.sqrt(np.prod(shape))).astype(np.float32)
        for name, shape in shapes.items()
    }

    def moved(which):
        stack = Stack([networks[k] for k in which], [{}] * len(which), "cpu")
        gradients = {name: torch.tensor(each[which]) for name, each in drawn.items()}
        stack.descend_(gradients, np.ones(len(which), int), Workspace(), learning_rate=0.01, largest_gradient=1.0)
        return [stack.moments(k) for k in range(len(which))]

    alone = [moved([k])[0] for k in range(60)]
    for size in (2, 4, 6, 12, 60):
        for first in range(0, 60, size):
            for one, other in zip(moved(list(range(first, first + size))), alone[first:], strict=False):
                for name, moment in one.items():
                    np.testing.assert_array_equal(moment, other[name])
