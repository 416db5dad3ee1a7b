import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy import sparse
from scipy.integrate import dblquad
from scipy.stats import multivariate_normal, spearmanr

import fctoolbox as fct
from fctoolbox import InputError
from fctoolbox.generative import (
    SIX_RULES,
    connectivity_by_samples,
    difference_model,
    difference_model_q,
    expected_connectivity,
    module_inputs,
    modules_by_chosen_inputs,
    modules_by_inputs,
    sample_connectivity,
    sign_difference_model,
    sign_model,
    sign_model_q,
    six_rules,
)

PAIRS = np.triu_indices(100, 1)


def best(weights, **options):
    return fct.detect_communities(fct.cosine_similarity(weights), **{"n_restarts": 5, "rng": 0} | options)


def r_of(one, other):
    return np.corrcoef(one[PAIRS], other[PAIRS])[0, 1]


# Noise through a projection


@pytest.mark.parametrize(("n_inputs", "expected"), [(2, 0.9999), (10, 0.9993), (100, 0.9903)])
def test_linear_units_show_the_cosine(rng, n_inputs, expected):
    weights = rng.standard_normal((100, n_inputs))
    curve = connectivity_by_samples(weights, (20, 200, 5000), n_draws=3, rng=1)
    assert curve.limit == pytest.approx(1, abs=1e-12)
    assert (np.diff(curve.r, axis=1) > 0).all()
    assert curve.r[:, -1].mean() == pytest.approx(expected, abs=0.003)


def test_infinitely_many_samples_of_linear_units_are_the_cosine_itself(rng):
    weights = rng.standard_normal((30, 4))
    np.testing.assert_array_equal(expected_connectivity(weights), fct.cosine_similarity(weights))
    apart = [
        np.abs(sample_connectivity(weights, n, rng=2) - fct.cosine_similarity(weights)).max() for n in (100, 100_000)
    ]
    assert apart[1] < 0.02 < apart[0]


@pytest.mark.parametrize("cosine", [-0.8, -0.3, 0.4, 0.9])
def test_rectified_units_against_an_integral(cosine):
    density = multivariate_normal(cov=[[1, cosine], [cosine, 1]]).pdf
    product, _ = dblquad(lambda y, x: x * y * density([x, y]), 0, 8, 0, 8, epsabs=1e-7, epsrel=1e-6)
    expected = (product - 1 / (2 * np.pi)) / (1 / 2 - 1 / (2 * np.pi))
    weights = np.array([[1, 0], [cosine, np.sqrt(1 - cosine**2)]])
    assert expected_connectivity(weights, nonlinearity="relu")[0, 1] == pytest.approx(expected, abs=1e-5)


def test_rectified_units_keep_the_order_and_not_the_values(rng):
    weights = rng.standard_normal((100, 3))
    cosine = fct.cosine_similarity(weights)
    expected = expected_connectivity(weights, nonlinearity="relu")
    assert spearmanr(cosine[PAIRS], expected[PAIRS]).statistic == pytest.approx(1)
    assert 0.95 < r_of(cosine, expected) < 0.999
    np.testing.assert_allclose(sample_connectivity(weights, 50_000, nonlinearity="relu", rng=3), expected, atol=0.03)
    opposite = expected_connectivity([[1.0, 2.0], [-2.0, -4.0]], nonlinearity="relu")
    assert opposite[0, 1] == pytest.approx(-1 / (np.pi - 1))


def test_another_projection_shows_nothing(rng):
    one, other = rng.standard_normal((2, 100, 10))
    assert abs(r_of(fct.cosine_similarity(one), sample_connectivity(other, 5000, rng=4))) < 0.1


def test_strength_of_a_unit_does_not_matter(rng):
    weights = rng.standard_normal((20, 5))
    stronger = weights * rng.uniform(0.1, 10, (20, 1))
    for nonlinearity in ("linear", "relu"):
        options = {"nonlinearity": nonlinearity, "rng": 5}
        np.testing.assert_allclose(
            sample_connectivity(stronger, 500, **options), sample_connectivity(weights, 500, **options), atol=1e-10
        )


def test_whatever_holds_a_projection(rng, system):
    weights = rng.standard_normal((12, 4)) * (rng.random((12, 4)) < 0.7)
    weights[:, 0] += 1
    left = rng.standard_normal((12, 3))
    right = rng.standard_normal((3, 6))
    expected = sample_connectivity(weights, 200, rng=6)
    for each in (fct.InputProjection(weights), sparse.csr_array(weights), weights.tolist()):
        np.testing.assert_allclose(sample_connectivity(each, 200, rng=6), expected, atol=1e-12)
    factored = fct.FactoredMatrix(left, right)
    np.testing.assert_allclose(
        sample_connectivity(factored, 200, rng=6), sample_connectivity(left @ right, 200, rng=6), atol=1e-10
    )
    np.testing.assert_allclose(
        sample_connectivity(system, 200, rng=6), sample_connectivity(system.projection.weights, 200, rng=6)
    )
    found = [module_inputs(each, np.arange(12) % 3, n_nulls=5, rng=7) for each in (factored, left @ right)]
    np.testing.assert_allclose(found[0].profile, found[1].profile, atol=1e-10)


# Signs and sizes


@pytest.mark.parametrize(("share", "expected"), [(0.5, 0.7525), (0.25, 0.3655), (0.1, 0.1129), (0.01, 0.01), (0, 0)])
def test_sign_model_at_100_units(share, expected):
    found = best(sign_model(100, share))
    assert sign_model_q(100, share) == pytest.approx(expected, abs=5e-5)
    assert found.q == pytest.approx(sign_model_q(100, share), abs=1e-12)
    assert found.n == (2 if share else 1)


@settings(deadline=None, max_examples=50)
@given(n=st.integers(3, 30), share=st.floats(0, 1))
@example(n=4, share=0.125)  # half a unit
def test_sign_model_is_the_best_partition(n, share):
    weights = sign_model(n, share)
    assert abs((weights < 0).sum() - share * n) <= 0.5 + 1e-6
    expected = sign_model_q(n, share)
    assert best(weights).q == pytest.approx(expected, abs=1e-12)
    assert fct.modularity(fct.cosine_similarity(weights), weights[:, 0] > 0) == pytest.approx(expected, abs=1e-12)
    assert sign_model_q(n, 1 - (weights < 0).mean()) == pytest.approx(expected, abs=1e-12)


def test_two_independent_signs_by_hand():
    # m units in each of four directions: 3/4 of positive weights, and the negative ones' expectation m / (4 (2m − 1))
    found = best(sign_model(100, [0.5, 0.5]))
    assert found.n == 4
    assert found.q == pytest.approx(3 / 4 + 25 / (4 * 49), abs=1e-12)


@settings(deadline=None, max_examples=40)
@given(m=st.integers(4, 12), n_inputs=st.integers(2, 4), ratio=st.floats(0, 1))
def test_difference_model_is_the_best_partition(m, n_inputs, ratio):
    weights = difference_model(m * n_inputs, ratio, n_inputs=n_inputs)
    expected = difference_model_q(m * n_inputs, ratio, n_inputs=n_inputs)
    assert best(weights).q == pytest.approx(expected, abs=1e-12)
    similarity = fct.cosine_similarity(weights)
    preferred = np.arange(m * n_inputs) // m
    assert max(0, fct.modularity(similarity, preferred)) == pytest.approx(expected, abs=1e-12)
    c = similarity[0, -1]
    assert expected == pytest.approx(max(0, (m - 1) / (m - 1 + (n_inputs - 1) * c * m) - 1 / n_inputs), abs=1e-12)


@pytest.mark.parametrize(("n_units", "n_inputs"), [(7, 2), (20, 3), (101, 5)])
def test_difference_model_in_uneven_groups(n_units, n_inputs):
    weights = difference_model(n_units, 0.1, n_inputs=n_inputs)
    similarity = fct.cosine_similarity(weights)
    assert fct.modularity(similarity, weights.argmax(axis=1)) == pytest.approx(
        difference_model_q(n_units, 0.1, n_inputs=n_inputs), abs=1e-12
    )


def test_sign_difference_model_holds_both():
    signs_only = sign_difference_model(100, [0.5, 0.3], 1)
    np.testing.assert_array_equal(np.abs(signs_only), 1)
    np.testing.assert_allclose((signs_only < 0).mean(axis=0), [0.5, 0.3], atol=0.02)
    sizes_only = sign_difference_model(100, 0, 0.4)
    np.testing.assert_array_equal(sizes_only, difference_model(100, 0.4))
    both = sign_difference_model(800, 0.5, 0.4)
    assert np.corrcoef(both[:, 0] < 0, np.abs(both[:, 0]) == 1)[0, 1] == pytest.approx(0, abs=1e-12)
    assert len(np.unique(both, axis=0)) == 8


# Six rules


WEIGHT = st.one_of(st.just(0.0), st.floats(-1e3, 1e3, allow_subnormal=False), st.sampled_from([-1.0, 1.0]))


@given(pair=st.tuples(WEIGHT, WEIGHT), exponent=st.integers(-20, 20))
def test_six_rules_cover_every_pair(pair, exponent):
    (rule,) = six_rules([pair])
    first, second = pair
    holds = (
        first >= 0 and second >= 0 and first >= second,
        first >= 0 and second >= 0 and first < second,
        first < 0 and second < 0 and first >= second,
        first < 0 and second < 0 and first < second,
        first >= 0 and second < 0,
        first < 0 and second >= 0,
    )
    assert [i for i, each in enumerate(holds) if each] == [rule]
    assert len(SIX_RULES) == 6
    assert six_rules([(first * 2.0**exponent, second * 2.0**exponent)])[0] == rule


def test_six_rules_are_not_the_best_modules(rng):
    for _ in range(3):
        weights = rng.standard_normal((100, 2))
        assert fct.modularity(fct.cosine_similarity(weights), six_rules(weights)) < best(weights).q - 0.1


# Numbers of inputs and of modules


def test_modules_of_random_weights():
    found = modules_by_inputs(100, (2, 3, 10, 100), n_draws=3, n_restarts=5, rng=8)
    np.testing.assert_allclose(found.q.mean(axis=0), [0.573, 0.495, 0.349, 0.222], atol=0.03)
    assert (found.n_modules[:, 0] == 3).all()
    assert set(found.n_modules.ravel()) <= {3, 4, 5}
    again = modules_by_inputs(100, (2, 3, 10, 100), n_draws=3, n_restarts=5, rng=8)
    np.testing.assert_array_equal(found.q, again.q)


def test_no_better_modules_in_noise_than_in_a_random_projection(rng):
    chance = modules_by_inputs(60, (10,), n_draws=20, n_restarts=5, rng=9).q
    for _ in range(3):
        noise = fct.functional_connectivity(rng.standard_normal((10, 60)))
        weights = rng.standard_normal((60, 10)) * rng.uniform(0.5, 2, (60, 1))
        assert best(weights).q < chance.max() + 0.02
        assert fct.modularity(noise, best(weights).labels) < chance.mean() / 2


def test_chosen_inputs_of_a_projection(rng):
    weights = np.abs(rng.standard_normal((30, 6))) * (rng.random((30, 6)) < 0.5)
    weights[:, 0] += 0.1
    found = modules_by_chosen_inputs(weights, (2, 6), n_draws=4, n_restarts=5, rng=10)
    np.testing.assert_allclose(found.q[:, 1], best(weights).q, atol=1e-3)
    assert (found.n_units[:, 1] == 30).all()
    assert (found.n_units[:, 0] <= 30).all()
    assert found.n_units[:, 0].min() < 30


# Modules and inputs


def test_each_module_has_the_input_that_made_it():
    weights = difference_model(40, 0.2, n_inputs=4)
    found = module_inputs(weights, best(weights), n_nulls=99, rng=11)
    assert sorted(found.matched) == [(j, 1) for j in range(4)]
    assert found.n_unique == 4
    assert found.null.p_value == 0.01
    # A group of a quarter stands √3 standard deviations above the mean.
    assert found.strength == pytest.approx(np.sqrt(3))


def test_two_signs_of_one_input_are_two_inputs():
    found = module_inputs(sign_model(20, 0.5), np.repeat([0, 1], 10), n_nulls=9, rng=12)
    assert found.strongest == found.matched == ((0, 1), (0, -1))
    np.testing.assert_allclose(found.profile, [[1], [-1]])


def test_a_shared_input_is_nobodys_own():
    weights = np.array([[1, 0.1, 0.0], [1, 0.1, 0.0], [1, 0.0, 0.1], [1, 0.0, 0.1], [0, 0.1, 0.1], [0, 0.1, 0.1]])
    weights = np.vstack([weights, weights])
    labels = np.tile([0, 0, 1, 1, 2, 2], 2)
    found = module_inputs(weights[:, :1] + [[0, 0.5]], labels, n_nulls=9, rng=13)
    assert found.strongest[0] == found.strongest[1]
    assert found.n_unique == 1
    assert None not in found.matched
    assert len(set(found.matched)) == 3


def test_more_modules_than_signed_inputs():
    found = module_inputs(sign_model(30, 0.5), np.repeat([0, 1, 2], 10), n_nulls=9, rng=14)
    assert found.matched.count(None) == 1


def test_arbitrary_modules_have_no_input_of_their_own(rng):
    p = [
        module_inputs(
            rng.standard_normal((40, 5)), rng.permutation(np.arange(40) % 4), n_nulls=49, rng=rng
        ).null.p_value
        for _ in range(60)
    ]
    assert 0.35 < np.mean(p) < 0.65
    assert np.mean(np.array(p) <= 0.1) < 0.25


def test_modules_and_inputs_by_any_name(rng):
    weights, labels = rng.standard_normal((30, 4)), np.arange(30) % 3
    one = module_inputs(weights, labels, n_nulls=20, rng=15)
    named = module_inputs(weights * rng.uniform(0.5, 2, (30, 1)), np.array(["a", "b", "c"])[labels], n_nulls=20, rng=15)
    np.testing.assert_allclose(one.profile, named.profile, atol=1e-10)
    np.testing.assert_allclose(one.null.values, named.null.values, atol=1e-10)
    unit = weights / np.linalg.norm(weights, axis=1)[:, None]
    by_hand = [((unit - unit.mean(axis=0)) / unit.std(axis=0))[labels == label].mean(axis=0) for label in range(3)]
    np.testing.assert_allclose(one.profile, by_hand, atol=1e-10)
    turned = module_inputs(-weights, labels, n_nulls=20, rng=15)
    assert turned.strength == pytest.approx(one.strength)


# Bad input


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: sample_connectivity(np.eye(3)[:, :2], 50), r"units \[2\] receive no input"),
        (lambda: sample_connectivity(np.eye(3), 2), "n_samples is 2; it must be a whole number of at least 3"),
        (lambda: sample_connectivity(np.eye(3), 50, nonlinearity="tanh"), "it must be 'linear' or 'relu'"),
        (lambda: sample_connectivity(np.eye(200), 3, nonlinearity="relu", rng=0), "silent in all 3 samples"),
        (lambda: sample_connectivity([[1, np.nan]], 50), "finite"),
        (lambda: connectivity_by_samples(np.ones((5, 1)), [50]), "the same for every pair"),
        (lambda: connectivity_by_samples(np.eye(3), []), "n_samples is empty"),
        (lambda: modules_by_inputs(10, []), "n_inputs is empty"),
        (lambda: modules_by_inputs(10, [0]), "n_inputs is 0"),
        (lambda: modules_by_chosen_inputs(np.ones((5, 2)), [3]), "asks for 3 inputs; the projection has 2"),
        (lambda: modules_by_chosen_inputs(np.eye(5), [1]), "only 1 units receive any of 1 inputs"),
        (lambda: sign_model(10, 1.5), "share_negative is 1.5; it must be from 0 to 1"),
        (lambda: sign_model_q(2, 0.5), "n_units is 2"),
        (lambda: difference_model(10, -0.1), r"ratio is -0.1; it must be from 0"),
        (lambda: difference_model(3, 0.5, n_inputs=4), "n_units is 3; it must be a whole number of at least 4"),
        (lambda: sign_difference_model(10, [0.1, 0.2, 0.3], 0.5), "has 3 entries, but there are 2 inputs"),
        (lambda: six_rules(np.ones((4, 3))), "six rules are for 2 inputs, but the projection has 3"),
        (lambda: module_inputs(np.eye(3), [0, 1]), "the projection has 3 units"),
        (lambda: module_inputs(np.eye(3), [1, 1, 1]), "one module only"),
        (lambda: module_inputs(np.eye(3)[:, :2], [0, 1, 1]), r"units \[2\] receive no input"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(InputError, match=message):
        call()
