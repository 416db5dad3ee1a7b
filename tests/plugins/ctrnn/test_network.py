"""The network in numpy: closed forms of its dynamics, and lesions."""

import numpy as np
import pytest
from fctoolbox_ctrnn.network import CTRNN, PARAMETERS, initial_network

from fctoolbox.errors import InputError


def network(rng, n_units=6, *, alpha=0.2):
    return initial_network(n_units, 3, 2, alpha=alpha, rng=rng)


def lonely(*, alpha, bias=0.0):
    """One unit without recurrence, which receives its input as it is."""
    return CTRNN([[1.0]], [bias], [[0.0]], [0.0], [[2.0]], [0.5], alpha)


def test_one_step_by_hand():
    net = CTRNN(
        w_in=[[1.0], [-1.0]],
        b_in=[0.5, 0.0],
        w_rec=[[0.0, 2.0], [1.0, 0.0]],  # from unit 1 to unit 0: 2
        b_rec=[0.0, 0.25],
        w_out=[[1.0, 10.0]],
        b_out=[0.1],
        alpha=0.5,
    )
    # 0.5·1 + 0.5·(3 + 0.5 + 2·4) = 6.25 and 0.5·4 + 0.5·(-3 + 0.25 + 1) = 1.125
    state = net.step([1.0, 4.0], [3.0])
    np.testing.assert_allclose(state, [6.25, 1.125])
    np.testing.assert_allclose(net.readout(state), [6.25 + 11.25 + 0.1])
    # -0.5·20 drives the second below zero: rectified.
    assert net.step([0.0, 0.0], [20.0])[1] == 0


def test_the_leak_is_rectified_together_with_the_drive():
    # relu((1 - α) h + α d), not (1 - α) h + α relu(d): 0.8·1 + 0.2·(-2) = 0.4, where the other gives 0.8.
    np.testing.assert_allclose(lonely(alpha=0.2).step([1.0], [-2.0]), [0.4])


@pytest.mark.parametrize("alpha", [0.2, 1.0])
def test_constant_input_is_approached_exponentially(alpha):
    states = lonely(alpha=alpha, bias=1.0).run(np.full((30, 1), 2.0))
    np.testing.assert_allclose(states[:, 0], 3 * (1 - (1 - alpha) ** np.arange(1, 31)))


def test_without_input_activity_decays_with_the_time_constant():
    states = lonely(alpha=0.1).run(np.zeros((40, 1)), state=[5.0])
    np.testing.assert_allclose(states[:, 0], 5 * 0.9 ** np.arange(1, 41))


def test_a_run_is_its_steps_for_any_number_of_trials(rng):
    net, inputs = network(rng), rng.standard_normal((7, 4, 3))
    states = net.run(inputs)
    assert states.shape == (7, 4, 6)
    one = np.zeros(6)
    for k in range(7):
        one = net.step(one, inputs[k, 2])
        np.testing.assert_allclose(states[k, 2], one, rtol=1e-12)
    np.testing.assert_allclose(net.run(inputs[:, 2]), states[:, 2], rtol=1e-12)
    np.testing.assert_allclose(net.run(inputs[3:], states[2]), states[3:], rtol=1e-12)


def test_a_lesioned_network_is_the_network_without_these_units(rng):
    net, inputs = network(rng), rng.standard_normal((50, 3))
    lesioned, rest = net.lesion([1, 4]), [0, 2, 3, 5]
    smaller = CTRNN(
        net.w_in[rest], net.b_in[rest], net.w_rec[np.ix_(rest, rest)], net.b_rec[rest], net.w_out[:, rest],
        net.b_out, net.alpha,
    )  # fmt: skip
    states = lesioned.run(inputs)
    assert not states[:, [1, 4]].any()
    for name in ("w_in", "b_in", "w_rec", "b_rec"):  # whoever reads the weights sees the lesion too
        assert not getattr(lesioned, name)[[1, 4]].any()
    assert states.any()
    np.testing.assert_allclose(states[:, rest], smaller.run(inputs), rtol=1e-12)
    np.testing.assert_allclose(lesioned.readout(states), smaller.readout(states[:, rest]), rtol=1e-12)


def test_a_lesioned_unit_is_silent_whatever_the_state_was(rng):
    net = network(rng).lesion([2])
    state, other = np.ones(6), np.ones(6)
    other[2] = 100
    assert net.step(state, np.ones(3))[2] == 0
    np.testing.assert_array_equal(net.step(state, np.ones(3)), net.step(other, np.ones(3)))
    np.testing.assert_array_equal(net.readout(state), net.readout(other))


def test_lesions_add_up_and_leave_the_network_as_it_was(rng):
    net = network(rng)
    before = {name: array.copy() for name, array in net.parameters.items()}
    assert net.lesion([3]).lesion(np.array([1])).silent == (1, 3)
    assert net.lesion([]).silent == ()
    for name in PARAMETERS:
        np.testing.assert_array_equal(getattr(net, name), before[name])
        np.testing.assert_array_equal(getattr(net.lesion([1, 3]), name), getattr(net.lesion([3]).lesion([1]), name))


@pytest.mark.parametrize(
    ("units", "message"),
    [
        ([6], "there is no unit 6 to lesion; units are 0 … 5"),
        ([-1], "there is no unit -1 to lesion"),
        ([True, False, False, False, False, False], "lesion takes numbers of units, 0 … 5, not bool"),
    ],
)
def test_lesions_of_units_that_are_not_there(rng, units, message):
    with pytest.raises(InputError, match=message):
        network(rng).lesion(units)


def test_initial_weights_are_uniform_within_the_bound_of_pytorch_s_layers(rng):
    net = initial_network(200, 4, 50, alpha=0.2, rng=rng)
    for name, bound in (("w_in", 0.5), ("w_rec", 200**-0.5), ("w_out", 200**-0.5)):
        array = getattr(net, name)
        assert np.abs(array).max() <= bound * (1 + 1e-6)
        assert array.std() == pytest.approx(bound / np.sqrt(3), rel=0.05)
        np.testing.assert_array_equal(array, array.astype(np.float32))
    assert 0.45 < np.abs(net.b_in).max() <= 0.5
    assert 0.06 < np.abs(net.b_rec).max() <= 200**-0.5


def test_a_network_checks_itself(rng):
    net = network(rng)
    assert not any(array.flags.writeable for array in net.parameters.values())
    parts = dict(net.parameters)
    with pytest.raises(InputError, match=r"w_rec has shape \(6, 5\), but it must be \(n_units = 6, n_units = 6\)"):
        CTRNN(**{**parts, "w_rec": net.w_rec[:, :5]}, alpha=0.2)
    with pytest.raises(InputError, match=r"w_out has shape \(6, 2\), but it must be \(n_outputs = 6, n_units = 6\)"):
        CTRNN(**{**parts, "w_out": net.w_out.T}, alpha=0.2)
    with pytest.raises(InputError, match="b_rec has values that are not finite"):
        CTRNN(**{**parts, "b_rec": np.full(6, np.nan)}, alpha=0.2)
    for alpha in (0, 1.5):
        with pytest.raises(InputError, match=r"alpha \(dt / tau\) is .*; it must lie in \(0, 1\]"):
            CTRNN(**parts, alpha=alpha)


def test_the_leak_may_be_outside():
    # (1 - α) h + α relu(d): 0.8·1 + 0.2·0 and 0.8·1 + 0.2·3.
    net = CTRNN([[1.0]], [0.0], [[0.0]], [0.0], [[2.0]], [0.5], 0.2, rule="outside")
    np.testing.assert_allclose(net.step([[1.0], [1.0]], [[-2.0], [3.0]]), [[0.8], [1.4]])


@pytest.mark.parametrize(("nonlinearity", "expected"), [("relu", 0.6), ("tanh", np.tanh(0.6)), ("softplus", 1.0374879)])
def test_nonlinearities_by_hand(nonlinearity, expected):
    net = CTRNN([[1.0]], [0.0], [[0.0]], [0.0], [[2.0]], [0.5], 0.2, nonlinearity=nonlinearity)
    np.testing.assert_allclose(net.step([0.0], [3.0]), [expected])
    assert net.lesion([0]).step([0.0], [3.0]) == 0  # softplus of nothing is not nothing


def test_noise_enters_the_drive(rng):
    quiet = CTRNN([[1.0]], [0.0], [[0.0]], [0.0], [[2.0]], [0.5], 0.2, nonlinearity="tanh")
    noisy = CTRNN([[1.0]], [0.0], [[0.0]], [0.0], [[2.0]], [0.5], 0.2, nonlinearity="tanh", noise=0.1)
    inputs = np.zeros((4000, 1))
    np.testing.assert_array_equal(noisy.run(inputs), quiet.run(inputs))
    states = noisy.run(inputs, rng=3)
    np.testing.assert_array_equal(states, noisy.run(inputs, rng=np.random.default_rng(3)))
    # An autoregression h' = 0.8 h + 0.2 · 0.1 ξ, for tanh is the identity here.
    assert states.std() == pytest.approx(0.02 / np.sqrt(1 - 0.8**2), rel=0.1)
    assert not np.array_equal(states, quiet.run(inputs, rng=3))


def test_what_the_inputs_deliver(rng):
    net, inputs = network(rng), rng.standard_normal((5, 3))
    np.testing.assert_allclose(net.input_drive(inputs), inputs @ net.w_in.T + net.b_in)
    assert net.output_weights is net.w_out
    assert net.output_bias is net.b_out


def test_dale_s_law_and_a_mask_at_the_start():
    rng, sign = np.random.default_rng(0), np.repeat([1, -1], [160, 40])
    mask = np.random.default_rng(1).random((200, 200)) < 0.2
    net = initial_network(200, 3, 2, alpha=0.2, rng=rng, sign=sign, mask=mask)
    assert (net.w_rec * sign >= 0).all()
    assert ((net.w_rec != 0) == mask).all()
    # Excitation and inhibition of a unit balance on average.
    assert abs(net.w_rec.sum()) < 0.05 * np.abs(net.w_rec).sum()
    assert np.abs(net.w_rec[:, 160:]).max() == pytest.approx(4 / np.sqrt(200), rel=0.01)
    for only in (1, -1):
        one = initial_network(20, 3, 2, alpha=0.2, rng=rng, sign=np.full(20, only))
        assert (one.w_rec * only >= 0).all()
        assert np.isfinite(one.w_rec).all()
    lesioned = net.lesion([0])
    np.testing.assert_array_equal(lesioned.sign, sign)
    np.testing.assert_array_equal(lesioned.mask, mask)


def test_free_weights_are_as_ever():
    nets = [initial_network(6, 3, 2, alpha=0.2, rng=np.random.default_rng(0), **o) for o in ({}, {"rule": "outside"})]
    for name in PARAMETERS:
        np.testing.assert_array_equal(getattr(nets[0], name), getattr(nets[1], name))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rule": "between"}, "rule is 'between'; it must be 'inside' or 'outside'"),
        ({"nonlinearity": "step"}, "nonlinearity is 'step'; it must be 'relu' or 'tanh' or 'softplus'"),
        ({"noise": -0.1}, "noise is -0.1; it must be a standard deviation"),
        ({"noise": np.nan}, "noise is nan; it must be a standard deviation"),
        ({"sign": [1, 1]}, r"sign has shape \(2,\); it must hold \+1 or -1 for each of the 6 units"),
        ({"sign": [1, 1, 0, 1, 1, 1]}, r"sign has shape \(6,\); it must hold \+1 or -1"),
        ({"mask": np.ones((6, 5))}, r"mask has shape \(6, 5\); it must be true \(or 1\) or false"),
        ({"mask": np.full((6, 6), 0.5)}, r"mask has shape \(6, 6\); it must be true"),
        ({"mask": ~np.eye(6, dtype=bool)}, r"w_rec\[0, 0\], from unit 0 to unit 0, is .*, which mask forbids; constr"),
        ({"sign": [1] * 6}, r"w_rec\[\d, \d\], from unit \d to unit \d, is -0\.\d+, which sign forbids"),
    ],
)
def test_bad_dynamics_and_constraints(rng, changes, message):
    net = network(rng)
    with pytest.raises(InputError, match=message):
        CTRNN(**net.parameters, alpha=0.2, **changes)


def test_recurrent_weights_may_start_orthogonal():
    def begun(**options):
        return initial_network(40, 3, 2, alpha=0.2, rng=np.random.default_rng(4), **options)

    orthogonal, uniform = begun(start="orthogonal"), begun()
    np.testing.assert_allclose(orthogonal.w_rec @ orthogonal.w_rec.T, np.eye(40), atol=1e-5)
    for name in ("w_in", "b_in", "b_rec", "w_out", "b_out"):
        np.testing.assert_array_equal(getattr(orthogonal, name), getattr(uniform, name))
    # Of all rotations alike: no sign of an eigenvalue or a diagonal is preferred.
    traces = [
        np.trace(initial_network(9, 1, 1, alpha=1, rng=np.random.default_rng(k), start="orthogonal").w_rec)
        for k in range(400)
    ]
    assert abs(np.mean(traces)) < 0.15
    assert np.var(traces) == pytest.approx(1, abs=0.25)
    with pytest.raises(InputError, match="start is 'diagonal'; it must be 'uniform' or 'orthogonal'"):
        begun(start="diagonal")
    with pytest.raises(InputError, match="no matrix is whose units only excite or only inhibit"):
        begun(start="orthogonal", sign=np.repeat([1, -1], 20))
