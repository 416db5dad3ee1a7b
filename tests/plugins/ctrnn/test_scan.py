"""The fused scan: its gradients are those of autograd, its states those of the network in numpy."""

import itertools

import numpy as np
import pytest
import torch
from fctoolbox_ctrnn.network import NONLINEARITIES, PARAMETERS, RULES, initial_network
from fctoolbox_ctrnn.scan import Dynamics, Workspace, loss_and_gradients, scan

from fctoolbox.errors import InputError

FUNCTIONS = {"relu": torch.relu, "tanh": torch.tanh, "softplus": torch.nn.functional.softplus}
KINDS = [Dynamics(0.2, rule, f) for rule, f in itertools.product(RULES, NONLINEARITIES)]
E, T, B, N, I, K = 3, 30, 4, 12, 5, 3  # noqa: E741

every_kind = pytest.mark.parametrize("dynamics", KINDS, ids=lambda kind: f"{kind.rule}-{kind.nonlinearity}")


@pytest.fixture
def drawn():
    return torch.Generator().manual_seed(0)


def parameters(drawn, dtype=torch.float64):
    shapes = {
        "w_in": (E, I, N), "b_in": (E, 1, N), "w_rec": (E, N, N), "b_rec": (E, 1, N), "w_out": (E, N, K),
        "b_out": (E, 1, K),
    }  # fmt: skip
    return {name: torch.randn(shape, generator=drawn, dtype=dtype) / 3 for name, shape in shapes.items()}


def step_by_step(drive, w_rec, dynamics):
    """The recurrence as it is written down, for autograd; w_rec stacked."""
    f, a = FUNCTIONS[dynamics.nonlinearity], dynamics.alpha
    state, states = torch.zeros_like(drive[0]), []
    for now in drive:
        if dynamics.rule == "inside":
            state = f((1 - a) * state + a * (now + state @ w_rec))
        else:
            state = (1 - a) * state + a * f(now + state @ w_rec)
        states.append(state)
    return torch.stack(states)


@every_kind
@pytest.mark.parametrize(("noisy", "weighted"), [(False, False), (True, False), (False, True)])
def test_loss_and_gradients_are_those_of_autograd(drawn, dynamics, noisy, weighted):
    given = parameters(drawn)
    inputs = torch.randn(E, T, B, I, generator=drawn, dtype=torch.float64)
    targets = torch.randint(-1, K, (E, T, B), generator=drawn)
    noise = torch.randn(E, T, B, N, generator=drawn, dtype=torch.float64) if noisy else None
    weights = torch.rand(E, T, B, generator=drawn, dtype=torch.float64) + 0.1 if weighted else None
    workspace = Workspace(torch.float64)
    for _ in range(2):  # the second time in used buffers
        losses, gradients = loss_and_gradients(
            given, inputs, targets, dynamics, workspace, noise=noise, weights=weights
        )

    p = {name: each.clone().requires_grad_() for name, each in given.items()}
    drive = torch.einsum("etbi,ein->tebn", inputs, p["w_in"]) + p["b_in"] + p["b_rec"]
    states = step_by_step(drive if noise is None else drive + noise.transpose(0, 1), p["w_rec"], dynamics)
    outputs = (states @ p["w_out"] + p["b_out"]).transpose(0, 1)
    each = torch.nn.functional.cross_entropy(
        outputs.flatten(0, 2), targets.flatten(), ignore_index=-1, reduction="none"
    ).view(E, -1)
    counting = (targets != -1).flatten(1) * (1 if weights is None else weights.flatten(1))
    expected = (each * counting).sum(1) / counting.sum(1)
    torch.testing.assert_close(losses, expected, rtol=1e-9, atol=0)
    for name, slope in zip(p, torch.autograd.grad(expected.sum(), list(p.values())), strict=True):
        assert slope.abs().max() > 1e-4
        torch.testing.assert_close(gradients[name], slope, rtol=1e-8, atol=1e-10)


@every_kind
def test_a_scan_is_the_network_s_states(dynamics, rng):
    net = initial_network(
        N, I, K, alpha=dynamics.alpha, rng=rng, rule=dynamics.rule, nonlinearity=dynamics.nonlinearity
    )
    inputs = rng.standard_normal((T, B, I))
    drive = torch.from_numpy(net.input_drive(inputs) + net.b_rec)[:, None]
    states = scan(drive, torch.tensor(net.w_rec)[None], dynamics)
    np.testing.assert_allclose(states[:, 0].numpy(), net.run(inputs), rtol=1e-7, atol=1e-9)


@every_kind
def test_the_scan_s_own_gradient_for_any_loss(drawn, dynamics):
    drive = torch.randn(6, 2, 3, 4, generator=drawn, dtype=torch.float64, requires_grad=True)
    w_rec = torch.randn(2, 4, 4, generator=drawn, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda d, w: scan(d, w, dynamics), (drive, w_rec))
    weight = torch.randn(6, 2, 3, 4, generator=drawn, dtype=torch.float64)
    mine = torch.autograd.grad((scan(drive, w_rec, dynamics) * weight).sum(), (drive, w_rec))
    by_autograd = torch.autograd.grad(
        (step_by_step(drive, w_rec.transpose(1, 2), dynamics) * weight).sum(), (drive, w_rec)
    )
    for one, other in zip(mine, by_autograd, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-8, atol=1e-10)


def test_the_scan_leaves_what_it_is_given(drawn):
    drive, w_rec = torch.randn(4, 1, 2, 3, generator=drawn), torch.randn(1, 3, 3, generator=drawn)
    before = drive.clone(), w_rec.clone()
    drive.requires_grad_()
    states = scan(drive, w_rec.requires_grad_(), Dynamics(1.0))  # gain 1: nothing may be shared with the drive
    gradient = torch.ones_like(states)
    states.backward(gradient)
    torch.testing.assert_close((drive.detach(), w_rec.detach()), before, rtol=0, atol=0)
    assert (gradient == 1).all()


@pytest.mark.parametrize("nonlinearity", NONLINEARITIES)
def test_both_rules_agree_without_a_leak(drawn, nonlinearity):
    drive, w_rec = torch.randn(9, 1, 2, 3, generator=drawn), torch.randn(1, 3, 3, generator=drawn)
    inside, outside = (scan(drive, w_rec, Dynamics(1.0, rule, nonlinearity)) for rule in RULES)
    torch.testing.assert_close(inside, outside)
    leaky = [scan(drive, w_rec, Dynamics(0.3, rule, nonlinearity)) for rule in RULES]
    assert (leaky[0] - leaky[1]).abs().max() > 0.01


def test_a_network_does_not_feel_the_others_of_its_stack(drawn):
    given = parameters(drawn)
    inputs = torch.randn(E, T, B, I, generator=drawn, dtype=torch.float64)
    targets = torch.randint(0, K, (E, T, B), generator=drawn)
    losses, gradients = loss_and_gradients(given, inputs, targets, KINDS[0], Workspace(torch.float64))
    inputs[0] = torch.nan  # a network that explodes
    alone = {name: each[1:2] for name, each in given.items()}
    for parts, e in ((given, 1), (alone, 0)):
        seen = (inputs, targets) if parts is given else (inputs[1:2], targets[1:2])
        loss, slope = loss_and_gradients(parts, *seen, KINDS[0], Workspace(torch.float64))
        torch.testing.assert_close(loss[e], losses[1])
        for name in PARAMETERS:
            torch.testing.assert_close(slope[name][e], gradients[name][1])


def test_trials_of_one_step_have_no_recurrence(drawn):
    given = parameters(drawn)
    inputs, targets = torch.randn(E, 1, B, I, dtype=torch.float64, generator=drawn), torch.zeros(E, 1, B, dtype=int)
    _, gradients = loss_and_gradients(given, inputs, targets, KINDS[1], Workspace(torch.float64))
    assert not gradients["w_rec"].any()
    assert gradients["w_in"].any()


def test_buffers_are_used_again_and_grow():
    workspace = Workspace()
    first = workspace.buffer("a", 3, 4)
    assert workspace.buffer("a", 2, 5).data_ptr() == first.data_ptr()
    assert workspace.buffer("b", 3, 4).data_ptr() != first.data_ptr()
    assert workspace.buffer("a", 5, 5).shape == (5, 5)


def test_unknown_dynamics():
    with pytest.raises(InputError, match="rule is 'between'; it must be 'inside' or 'outside'"):
        Dynamics(0.2, "between")
    with pytest.raises(InputError, match="nonlinearity is 'sigmoid'; it must be 'relu' or 'tanh' or 'softplus'"):
        Dynamics(0.2, nonlinearity="sigmoid")
