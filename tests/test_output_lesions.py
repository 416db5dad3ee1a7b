from dataclasses import replace

import numpy as np
import pytest

import fctoolbox as fct
from fctoolbox.ensemble_lesions import lesion_ensemble
from fctoolbox.output_lesions import lesion_modules, responses_of
from tests.networks import decisions, with_variables


@pytest.fixture(scope="module")
def network():
    return decisions(np.random.default_rng(1))


@pytest.fixture(scope="module")
def found(network):
    system, module = network
    return lesion_modules(system, module, n_random=300, rng=0)


def test_the_module_that_carries_the_output_is_found(found):
    assert found.types == ("all", "target 1", "target 2")
    assert found.n_trials == (60, 30, 30)
    assert found.intact.tolist() == [1, 1, 1]
    # Without it the tiny weights of the others choose, alike in all trials but for noise: no better than chance.
    assert found.accuracy[0, 0] <= 0.6
    assert found.accuracy[1:].tolist() == [[1, 1, 1]] * 2
    assert found.sizes == (8, 8, 8)
    np.testing.assert_allclose(found.output_weights, [16, 0, 0], atol=0.2)


def test_random_sets_of_its_size_do_no_such_harm(found):
    control = found.same_size[0]
    assert control.accuracy.shape == (300, 3)
    assert set(control.n_units.tolist()) == {8}
    assert control.accuracy[:, 0].mean() > 0.99  # some of the carriers are nearly always left
    assert control.tests[0].p_value == 1 / 301
    # A lesion that changes nothing is at most as harmful as any.
    assert found.same_size[1].tests[0].p_value == 1


def test_random_sets_of_its_weight_hold_the_same_units(found):
    # All of the output weight is in that module: sets with as much must hold it, and do the same harm.
    control = found.same_weight[0]
    assert len(control.accuracy) == 300
    assert control.accuracy[:, 0].max() <= 0.7
    assert control.tests[0].p_value > 0.01


def test_sets_have_the_weight_they_should(rng):
    system, module = decisions(rng)
    weights = rng.standard_normal((3, 24))
    system = replace(system, model=replace(system.model, output_weights=weights))
    strength = np.abs(weights).sum(axis=0)
    found = lesion_modules(system, module, n_random=200, rng=0)
    np.testing.assert_allclose(found.output_weights, [strength[module == k].sum() for k in range(3)])
    assert all(len(control.accuracy) == 200 for control in found.same_weight)
    sizes = np.concatenate([control.n_units for control in found.same_weight])
    assert len(np.unique(sizes)) > 3


def test_same_weight_sets_are_within_five_percent(rng):
    from fctoolbox.output_lesions import _same_size, _same_weight

    strength = rng.uniform(0.1, 2, 40)
    pool = np.arange(3, 40)
    sets = _same_weight(12.0, strength, pool, 500, rng)
    assert sets.shape == (500, 40)
    assert np.abs(sets @ strength - 12).max() <= 0.6
    assert not sets[:, :3].any()
    assert 0.2 < sets[:, 3:].mean() < 0.6
    assert len(np.unique(sets, axis=0)) > 490
    assert len(_same_weight(0.0, strength, pool, 5, rng)) == 0
    assert len(_same_weight(1000.0, strength, pool, 5, rng)) == 0
    sizes = _same_size(7, pool, 40, 500, rng)
    assert (sizes.sum(axis=1) == 7).all()
    assert not sizes[:, :3].any()
    # Each unit as often as any other.
    np.testing.assert_allclose(sizes[:, 3:].mean(axis=0), 7 / 37, atol=0.09)


def test_accuracy_equals_a_readout_by_hand(network):
    system, module = network
    rng = np.random.default_rng(3)
    weights, bias = rng.standard_normal((3, 24)), np.array([0.3, -0.2, 0.1])
    system = replace(system, model=replace(system.model, output_weights=weights, output_bias=bias))
    found = lesion_modules(system, module, by="coherence", n_random=1, rng=0)
    last = np.arange(11, 720, 12)
    states, right = system.activity.timeseries[last], system.activity.variables["target"][last].argmax(axis=1)
    coherence = system.activity.variables["coherence"][last, 0]
    assert found.types == ("all", "coherence 0.5", "coherence 1")
    for k in range(3):
        without = weights.copy()
        without[:, module == k] = 0
        correct = (states @ without.T + bias).argmax(axis=1) == right
        expected = [correct.mean(), correct[coherence == 0.5].mean(), correct[coherence == 1].mean()]
        np.testing.assert_allclose(found.accuracy[k], expected)
    np.testing.assert_allclose(found.without_any[0], np.mean(right == 0))


def test_units_of_no_module_are_in_no_set(network):
    system, module = network
    some = np.where(module == 2, -1, module)
    found = lesion_modules(system, some, n_random=50, rng=0)
    assert found.sizes == (8, 8)
    # With all others out, the only set of eight is the module.
    alone = lesion_modules(system, np.where(module == 0, 0, -1), n_random=20, rng=0)
    for control in (alone.same_size[0], alone.same_weight[0]):
        assert (control.accuracy == alone.accuracy[0]).all()
    whole = lesion_modules(system, np.zeros(24, dtype=int), n_random=20, rng=0)
    assert whole.accuracy[0].tolist() == whole.without_any.tolist()
    assert whole.same_size[0].tests[0].p_value == 1  # there is one set of that size


def test_silenced_units_change_what_others_do():
    # The second module drives the carriers: cut off the output it costs nothing, silenced it does.
    rng = np.random.default_rng(5)
    system, module = decisions(rng, feedback=0.2)
    read = lesion_modules(system, module, n_random=3, rng=0)
    offset = -float((system.activity.timeseries[11::12] @ system.model.output_weights.T)[:, 1].mean())
    centred = replace(system.model, output_bias=np.array([-9.0, offset, -offset]))
    system = replace(system, model=centred)
    read, silenced = (lesion_modules(system, module, full=full, n_random=3, rng=0) for full in (False, True))
    assert silenced.intact.tolist() == read.intact.tolist()
    assert silenced.without_any.tolist() == read.without_any.tolist()
    assert read.accuracy[1, 0] == read.intact[0] > 0.9
    assert silenced.accuracy[1, 0] <= 0.6
    assert silenced.to_dict()["kind"] == "silenced"


def test_without_recurrence_both_lesions_are_one(network):
    system, module = network
    read, silenced = (lesion_modules(system, module, full=full, n_random=10, rng=0) for full in (False, True))
    np.testing.assert_allclose(silenced.accuracy, read.accuracy)
    for one, other in zip(silenced.same_size, read.same_size, strict=True):
        np.testing.assert_allclose(one.accuracy, other.accuracy)


def test_when_a_trial_is_answered():
    target = np.zeros((9, 3))
    target[[0, 1, 3, 4, 5, 6, 8], 0] = 1
    target[2, 1] = target[7, 2] = 1
    activity = fct.RecurrentActivity(np.zeros((9, 3)), trials=[0, 0, 0, 1, 1, 1, 2, 2, 2], variables={"target": target})
    responses = responses_of(activity, by="target", n_outputs=3, name="x")
    # Asked at once, never (then at the end), and before the end.
    assert responses.rows.tolist() == [2, 5, 7]
    assert responses.right.tolist() == [1, 0, 2]
    assert responses.types == ("all", "target 0", "target 1", "target 2")


def test_same_seed_same_sets(network):
    system, module = network
    one, again, other = (lesion_modules(system, module, n_random=40, rng=seed).to_dict() for seed in (1, 1, 2))
    assert one == again
    assert one != other


def test_an_ensemble(rng):
    networks = [decisions(each) for each in rng.spawn(6)]
    systems, partitions = zip(*networks, strict=True)
    found = lesion_ensemble(systems, partitions, n_random=60, rng=0)
    assert found.n_networks == 6
    assert found.types == ("all", "target 1", "target 2")
    alone = lesion_modules(systems[2], partitions[2], n_random=60, rng=np.random.default_rng(0).spawn(6)[2])
    assert found.accuracy["worst module"][2].tolist() == alone.accuracy.min(axis=0).tolist()
    assert found.accuracy["mean module"][2].tolist() == alone.accuracy.mean(axis=0).tolist()
    worst = np.min([control.accuracy for control in alone.same_size], axis=0).mean(axis=0)
    np.testing.assert_allclose(found.accuracy["worst same size"][2], worst)
    against = found.between("worst module", "worst same size")
    assert against.difference < -0.4
    assert against.paired.p_value < 0.001
    assert against.cliffs_delta == -1
    assert found.between("mean module", "intact", "target 2").n == (6, 6)
    with pytest.raises(fct.InputError, match="is not compared with 'nobody'"):
        found.between("mean module", "nobody")


def test_an_ensemble_without_modules_loses_no_more_than_by_chance(rng):
    # Readout weights spread over all units alike, and modules drawn at random: nothing to be found.
    systems, partitions = [], []
    for each in rng.spawn(12):
        system, module = decisions(each, noise=1.0)
        systems.append(replace(system, model=replace(system.model, output_weights=each.standard_normal((3, 24)))))
        partitions.append(each.permutation(module))
    found = lesion_ensemble(systems, partitions, n_random=100, rng=0)
    assert found.between("mean module", "mean same size").paired.p_value > 0.01
    assert found.between("worst module", "worst same size").paired.p_value > 0.01


def test_an_ensemble_needs_networks(network):
    system, module = network
    with pytest.raises(fct.InputError, match="there are 1 networks and 1 partitions"):
        lesion_ensemble([system], [module])
    with pytest.raises(fct.InputError, match="there are 2 networks and 1 partitions"):
        lesion_ensemble([system] * 2, [module])


def _readout(system, weights):
    return replace(system, model=replace(system.model, output_weights=weights))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: replace(s, model=None), "has no model, so that there is no readout to lesion; its source must give"),
        (lambda s: _readout(s, None), "has a model without output_weights"),
        (lambda s: _readout(s, np.ones((24, 3))), r"output_weights .* have shape \(24, 3\)"),
        (lambda s: _readout(s, np.full((3, 24), np.nan)), "they must be finite"),
        (lambda s: with_variables(s, target=None), "has no variable 'target'"),
        (
            lambda s: with_variables(s, target=np.linspace(0, 1, 720)),
            "accuracy needs a choice among a few responses: the variable 'target' .* must be one-hot",
        ),
        (lambda s: with_variables(s, target=np.eye(2)[np.arange(720) % 2]), "has 2 columns for 3 outputs"),
        (lambda s: replace(s, activity=fct.RecurrentActivity(s.activity.timeseries)), "no timeseries with trials"),
    ],
)
def test_what_is_missing(network, change, message):
    system, module = network
    with pytest.raises(fct.InputError, match=message):
        lesion_modules(change(system), module, n_random=5, rng=0)


def test_bad_types_of_trials(network):
    system, module = network
    with pytest.raises(fct.InputError, match=r"has no variable 'coherense'\. Did you mean 'coherence'"):
        lesion_modules(system, module, by="coherense", rng=0)
    with pytest.raises(fct.InputError, match="does not tell types of trials apart"):
        lesion_modules(system, module, by="output", rng=0)
    with pytest.raises(fct.InputError, match="has no variable 'inputs'"):
        lesion_modules(with_variables(system, inputs=None), module, full=True, n_random=1, rng=0)
    with pytest.raises(fct.InputError, match="n_random is 0"):
        lesion_modules(system, module, n_random=0)
