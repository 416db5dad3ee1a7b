import json
import re
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from scipy.stats import kstest

import fctoolbox as fct
from fctoolbox import _group_deals, _group_scores, groups
from fctoolbox.chunks import Workers
from tests.conftest import make_system

NO_CACHE = Workers(cache=False)


def quick(system, **settings):
    defaults = {"n_bootstrap": 50, "n_permutations": 19, "n_restarts": 3, "rng": 0, "workers": NO_CACHE}
    return fct.compare_groups(system, **(defaults | settings))


def grouped(rng, sizes, *, n_units=12, driver=None, noise=0.3, silent=None, modular=False):
    """Activity driven by the inputs of one group (or of none of them); `silent` {group: units it does not reach}."""
    labels = [name for name, size in sizes.items() for _ in range(size)]
    weights = rng.standard_normal((n_units, len(labels)))
    if modular:  # units of a community share a direction of the driver's weights
        of_driver = [label == driver for label in labels]
        directions = rng.standard_normal((4, sum(of_driver)))
        weights[:, of_driver] = 0.4 * weights[:, of_driver] + directions[np.arange(n_units) % 4]
    for name, units in (silent or {}).items():
        weights[np.ix_(units, [label == name for label in labels])] = 0
    of_driver = [label == driver for label in labels]
    driving = weights[:, of_driver] if driver else rng.standard_normal((n_units, 4))
    drive = rng.standard_normal((600, driving.shape[1])) @ driving.T
    activity = drive + noise * rng.standard_normal(drive.shape)
    inputs = tuple(f"{label}-{k}" for k, label in enumerate(labels))
    return make_system(
        rng,
        n_units=n_units,
        projection=fct.InputProjection(weights, inputs, labels),
        activity=fct.RecurrentActivity(activity),
    )


SIZES = {"thal": 5, "pons": 4, "stri": 6}


@pytest.fixture
def driven(rng):
    return grouped(rng, SIZES, driver="thal")


@pytest.fixture
def sparse(rng):
    """Two groups that do not reach all of the 14 units."""
    return grouped(rng, SIZES | {"olf": 3}, n_units=14, driver="thal", silent={"stri": [0, 1], "olf": [0, 1, 2, 3, 4]})


def alone(system, name):
    chosen = np.flatnonzero([group == name for group in system.projection.groups])
    return replace(system, projection=system.projection.select_inputs(chosen))


def by_name(comparison):
    return {group.name: group for group in comparison.groups}


def values(comparison):
    """All numbers by group, where and statistic."""
    return {
        (group.name, where, statistic): [
            getattr(getattr(getattr(group, where), statistic), field)
            for field in ("value", "low", "high", "rank", "behind", "behind_low", "behind_high")
        ]
        for group in comparison.compared
        for where in ("own", "common")
        for statistic in ("r", "q")
        if getattr(group, where) is not None
    }


def same(one, other, tolerance=1e-9):
    assert one.keys() == other.keys()
    for key, numbers in one.items():
        for a, b in zip(numbers, other[key], strict=True):
            assert a == b if a is None else a == pytest.approx(b, abs=tolerance), key


# --- each group as it is alone --------------------------------------------------------------------------


def test_every_group_is_analysed_as_it_would_be_alone(sparse):
    compared = by_name(quick(sparse, rng=7))
    assert set(compared) == {*SIZES, "olf"}
    for name, group in compared.items():
        report = fct.analyse_origin(alone(sparse, name), n_nulls=1, n_restarts=3, rng=7)
        assert group.own.units == report.system.units
        assert group.own.r.value == pytest.approx(report.relationship.pearson_r, abs=1e-12)
        assert group.own.spearman_rho == pytest.approx(report.relationship.spearman_rho, abs=1e-12)
        assert group.own.q.value == pytest.approx(report.induced.q, abs=1e-12)
        np.testing.assert_array_equal(group.own.communities.labels, report.communities.labels)


def test_every_group_is_partitioned_with_the_draws_of_an_analysis_of_its_own(sparse, monkeypatch):
    seeds = []

    def seen(similarity, *, rng, **settings):
        seeds.append((rng.bit_generator.seed_seq.spawn_key, rng.bit_generator.seed_seq.n_children_spawned))
        return fct.detect_communities(similarity, rng=rng, **settings)

    monkeypatch.setattr(_group_scores, "detect_communities", seen)
    monkeypatch.setattr("fctoolbox.origin.detect_communities", seen)
    quick(sparse, n_permutations=1)
    of_groups = seeds[:7]  # 4 on their own units, and 3 that have others in common
    seeds.clear()
    fct.analyse_origin(alone(sparse, "pons"), n_nulls=1, n_restarts=1, rng=0)
    assert of_groups == [seeds[0]] * 7 == [((0,), 0)] * 7


def test_on_common_units_every_group_is_analysed_on_the_same(sparse):
    comparison = quick(sparse, rng=7)
    assert comparison.common_units == sparse.units[5:]
    for name, group in by_name(comparison).items():
        part = alone(sparse, name).select_units(np.arange(5, 14))
        report = fct.analyse_origin(part, n_nulls=1, n_restarts=3, rng=7)
        assert group.common.units == comparison.common_units
        assert group.common.r.value == pytest.approx(report.relationship.pearson_r, abs=1e-12)
        assert group.common.q.value == pytest.approx(report.induced.q, abs=1e-12)


def test_units_that_a_group_misses_are_named(sparse):
    compared = by_name(quick(sparse))
    assert compared["olf"].unreached == sparse.units[:5]
    assert compared["stri"].unreached == sparse.units[:2]
    assert compared["thal"].unreached == ()


def test_a_group_does_not_depend_on_the_others(sparse):
    all_of_them = by_name(quick(sparse))
    two = by_name(quick(sparse, leave_out=["pons", "stri"]))
    for name in ("thal", "olf"):
        for statistic in ("r", "q"):
            one, other = (getattr(each[name].own, statistic) for each in (all_of_them, two))
            assert (one.value, one.low, one.high) == (other.value, other.low, other.high)


@pytest.mark.parametrize("kind", ["sparse", "factored"])
def test_projections_of_other_kinds_give_the_same(sparse, kind):
    from scipy.sparse import csr_array

    weights = sparse.projection.weights
    other = csr_array(weights) if kind == "sparse" else fct.FactoredMatrix(weights, np.eye(weights.shape[1]))
    projection = fct.InputProjection(other, sparse.projection.inputs, sparse.projection.groups)
    same(values(quick(sparse)), values(quick(replace(sparse, projection=projection))))


def test_constant_units_and_those_without_input_are_left_out_of_all(driven):
    weights, timeseries = driven.projection.weights.copy(), driven.activity.timeseries.copy()
    weights[2] = 0
    timeseries[:, 4] = 1
    projection = fct.InputProjection(weights, driven.projection.inputs, driven.projection.groups)
    system = replace(driven, projection=projection, activity=fct.RecurrentActivity(timeseries))
    comparison = quick(system)
    assert [(each.unit, each.reason) for each in comparison.dropped] == [
        ("u2", "receives no input"), ("u4", "constant")
    ]  # fmt: skip
    assert all(group.own.units == comparison.system.units for group in comparison.groups)
    with pytest.raises(fct.InputError, match=r"units \[u4\] are constant"):
        quick(system, constant_units="error")


def test_fisher_z_is_brought_back(driven):
    r = fct.functional_connectivity(driven.activity.timeseries)
    z = np.arctanh(np.where(np.eye(12), 0, r))
    as_r = quick(replace(driven, activity=fct.RecurrentActivity(connectivity=r)))
    as_z = quick(replace(driven, activity=fct.RecurrentActivity(connectivity=z, scale="fisher-z")))
    same(values(as_r), values(as_z))
    assert as_z.policies["fc_scale"] == "fisher-z, brought to r by tanh"


# --- invariances ----------------------------------------------------------------------------------------


def test_the_order_of_inputs_groups_and_units_changes_nothing(sparse, rng):
    settings = {"n_restarts": 10, "n_permutations": 1}
    expected = quick(sparse, **settings)
    for _ in range(2):
        order = rng.permutation(sparse.projection.n_inputs)
        turned = replace(sparse, projection=sparse.projection.select_inputs(order))
        same(values(expected), values(quick(turned, **settings)))
        units = rng.permutation(sparse.n_units)
        same(values(expected), values(quick(sparse.select_units(units), **settings)))


def test_the_order_of_inputs_deals_the_same(sparse, rng):
    order = rng.permutation(sparse.projection.n_inputs)
    turned = replace(sparse, projection=sparse.projection.select_inputs(order))
    for one, other in zip(quick(sparse).tests, quick(turned).tests, strict=True):
        np.testing.assert_allclose(one.test.values, other.test.values, atol=1e-9)


def test_names_of_groups_do_not_matter(driven):
    new = {"thal": "b", "pons": "a", "stri": "c"}
    projection = driven.projection
    renamed = fct.InputProjection(projection.weights, projection.inputs, [new[each] for each in projection.groups])
    one, other = values(quick(driven)), values(quick(replace(driven, projection=renamed)))
    same({(new[name], *rest): numbers for (name, *rest), numbers in one.items()}, other)


def test_same_rng_same_comparison_whatever_the_workers(sparse):
    def content(**settings):
        result = quick(sparse, n_permutations=25, n_restarts=1, **settings).to_dict()
        del result["provenance"]["seconds"]
        return result

    here = content(rng=3)
    assert here == content(rng=3, workers=Workers(2, cache=False))
    assert here["groups"] != content(rng=4)["groups"]


# --- ranks, differences, what common units cost ---------------------------------------------------------


def test_ranks_and_differences(sparse):
    comparison = quick(sparse)
    for where in ("own", "common"):
        for statistic in ("r", "q"):
            ranked = comparison.ranked(statistic, where)
            estimates = [getattr(getattr(group, where), statistic) for group in ranked]
            assert [each.rank for each in estimates] == list(range(1, len(ranked) + 1))
            assert sorted((each.value for each in estimates), reverse=True) == [each.value for each in estimates]
            assert [each.behind for each in estimates] == [estimates[0].value - each.value for each in estimates]
            assert estimates[0].behind_low is None
            for each in estimates[1:]:
                assert each.behind_low <= each.behind_high
    assert [group.own.r.rank for group in comparison.groups] == [1, 2, 3, 4]


def test_draws_are_the_same_for_all_groups(driven):
    """Two groups of the same weights differ by nothing, in every draw."""
    projection = driven.projection
    weights = np.hstack([projection.weights, projection.weights[:, :5]])
    twins = fct.InputProjection(
        weights,
        [*projection.inputs, *(f"twin-{j}" for j in range(5))],
        [*projection.groups, *["twin"] * 5],
    )
    compared = by_name(quick(replace(driven, projection=twins)))
    first, second = sorted((compared["thal"], compared["twin"]), key=lambda group: group.own.r.rank)
    assert (first.own.r.low, first.own.r.high) == pytest.approx((second.own.r.low, second.own.r.high), abs=1e-12)
    assert (second.own.r.behind_low, second.own.r.behind_high) == pytest.approx((0, 0), abs=1e-9)


def test_what_common_units_cost(sparse):
    comparison = quick(sparse)
    assert [(each.group, each.n_common) for each in comparison.without] == [("olf", 12), ("stri", 14)]
    less = quick(sparse, leave_out=["olf"])
    assert (len(less.common_units), less.left_out) == (12, ("olf",))
    assert quick(sparse, leave_out=["olf", "stri"]).without == ()


def test_a_group_that_alone_costs_nothing_is_named_after_the_one_that_hides_it():
    reached = {"a": np.ones(5, bool), "b": np.array([0, 0, 1, 1, 1], bool), "c": np.array([0, 1, 1, 1, 1], bool)}
    reached["d"] = reached["a"]
    assert list(groups._without(reached)) == [groups.Without("b", 4), groups.Without("c", 5)]


def test_where_no_single_group_costs_units_the_one_that_reaches_fewest_goes_first():
    reached = {name: np.ones(6, bool) for name in "abcde"}
    reached["a"][0] = reached["c"][[0, 1]] = reached["d"][1] = False
    assert list(groups._without(reached)) == [
        groups.Without("c", 4), groups.Without("a", 5), groups.Without("d", 6)
    ]  # fmt: skip


def test_groups_too_small_are_listed_and_cost_nothing(rng):
    sizes = SIZES | {"single": 1, "far": 3, "flat": 2}
    system = grouped(rng, sizes, n_units=12, driver="thal", silent={"far": range(3, 12), "single": range(6)})
    weights = system.projection.weights.copy()
    weights[:, [group == "flat" for group in system.projection.groups]] = 1
    projection = fct.InputProjection(weights, system.projection.inputs, system.projection.groups)
    comparison = quick(replace(system, projection=projection))
    compared = by_name(comparison)
    assert [group.name for group in comparison.groups[3:]] == ["far", "flat", "single"]
    assert compared["single"].reason == "it has a single input, from which all units receive the same pattern"
    assert compared["far"].reason == "it reaches 3 units, and at least 4 are needed"
    assert "is 1 for every pair of units" in compared["flat"].reason
    assert all(compared[name].own is None for name in ("single", "far", "flat"))
    assert comparison.common_units == system.units
    assert "3 groups of inputs are compared (3 more cannot be)" in comparison.sentence()
    with pytest.raises(fct.InputError, match="'far' cannot be the highest, because it is not compared: it reaches 3"):
        quick(system, highest="far")


def test_where_all_reach_all_units_own_and_common_are_one(driven):
    comparison = quick(driven, highest="thal")
    assert comparison.places == ("own",)
    numbers = values(comparison)
    for name, where, statistic in numbers:
        assert numbers[name, where, statistic] == numbers[name, "own", statistic]
    said = comparison.sentence()
    assert said.count("the highest r is that of") == 1
    assert "On all 12 units, which each reaches, the highest r" in said
    assert "common units" not in comparison.chance()
    for own, common in zip(comparison.tests[:2], comparison.tests[2:], strict=True):
        np.testing.assert_array_equal(own.test.values, common.test.values)


def test_too_few_common_units_leave_the_own_ones(rng):
    silent = {"thal": range(6), "pons": range(5, 12)}
    comparison = quick(grouped(rng, SIZES, silent=silent))
    assert comparison.common_units == ()
    assert all(group.common is None for group in comparison.groups)
    assert {each.where for each in comparison.tests} == {"own"}
    assert "Too few units are reached by all of them" in comparison.sentence()
    json.dumps(comparison.to_dict(), allow_nan=False)


# --- is the highest higher than chance makes it? --------------------------------------------------------


@pytest.mark.parametrize("highest", ["thal", None])
def test_a_planted_group_wins(rng, highest):
    system = grouped(rng, {"thal": 6, "pons": 6, "stri": 6, "hyp": 6}, n_units=20, driver="thal", modular=True)
    comparison = quick(system, highest=highest, n_permutations=99)
    assert [comparison.ranked(statistic, "own")[0].name for statistic in ("r", "q")] == ["thal", "thal"]
    assert len(comparison.tests) == 4
    for each in comparison.tests:
        assert each.group == "thal"
        assert each.lead > 0
        assert each.test.p_value <= (0.03 if each.statistic == "r" else 0.1)
    best = comparison.groups[0].own.r
    assert best.low > 0.5
    assert all(group.own.r.behind_low > 0 for group in comparison.groups[1:])


def test_naming_the_wrong_group_helps_nobody(rng):
    system = grouped(rng, {"thal": 5, "pons": 5, "stri": 5}, n_units=16, driver="thal")
    comparison = quick(system, highest="pons")
    for each in comparison.tests:
        assert (each.group, each.second) == ("pons", "thal")
        assert each.lead < 0
        assert each.test.p_value > 0.3


@pytest.mark.parametrize(("highest", "silent"), [("b", False), (None, False), ("b", True)])
def test_exchangeable_groups_have_a_uniform_p(highest, silent, monkeypatch):
    # Any partition will do, if observed and dealt groups get it in the same way.
    def halves(similarity, **_settings):
        labels = (np.linalg.eigh(similarity)[1][:, -1] > 0).astype(np.intp)
        return SimpleNamespace(labels=labels, n=2, sizes=(1, 1), q=0.0)

    for module in (_group_scores, _group_deals):
        monkeypatch.setattr(module, "detect_communities", halves)
    rng, found = np.random.default_rng(5), {}
    for _ in range(100):
        system = grouped(rng, {"a": 3, "b": 4, "c": 2}, n_units=9)
        if silent:  # inputs that reach few units, wherever they are
            weights = system.projection.weights * (rng.random((9, 9)) < 0.55)
            projection = fct.InputProjection(weights, system.projection.inputs, system.projection.groups)
            system = replace(system, projection=projection)
        comparison = quick(system, highest=highest, n_permutations=24, n_bootstrap=2)
        for each in comparison.tests:
            spread = each.test.p_value - rng.random() / 25  # p is a multiple of 1 / 25
            found.setdefault((each.where, each.statistic), []).append(spread)
    assert len(found[("own", "r")]) == 100
    for where in found:
        if len(found[where]) >= 50:
            assert kstest(found[where], "uniform").pvalue > 0.01, where


def test_dealt_groups_have_the_sizes_and_the_inputs_of_the_real_ones(sparse, monkeypatch):
    dealt = []

    def seen(_deal, part, units, _rng):
        dealt.append((part.inputs, units))
        return 0.0, 0.0

    monkeypatch.setattr(_group_deals, "_of_dealt", seen)
    deal = _group_deals.Deal(sparse.projection, (3, 5, 4, 6), np.arange(14) > 4, np.eye(14), 1.0)
    result = _group_deals.dealt_statistics(deal, n_nulls=5, rng=np.random.default_rng(0))
    assert result.shape == (5, 2, 2, 4)
    own = [inputs for inputs, units in dealt if units[:5].any()]
    assert [len(inputs) for inputs in own[:4]] == [3, 5, 4, 6]
    assert sorted(name for inputs in own[:4] for name in inputs) == sorted(sparse.projection.inputs)
    assert own[0] != own[4]


def test_dealt_groups_are_scored_on_the_common_units_that_they_reach(driven):
    common = np.arange(12) > 4
    connectivity = fct.functional_connectivity(driven.activity.timeseries)
    deal = _group_deals.Deal(driven.projection, (5, 4, 6), common, connectivity, 1.0)
    among = connectivity[np.ix_(common, common)]
    cut = _group_deals.Deal(driven.projection.select_units(common), (5, 4, 6), np.ones(7, bool), among, 1.0)
    one, other = (_group_deals.dealt_statistics(each, n_nulls=4, rng=np.random.default_rng(0)) for each in (deal, cut))
    np.testing.assert_allclose(one[:, 1, 0], other[:, 0, 0], atol=1e-12)
    np.testing.assert_array_equal(other[:, 0], other[:, 1])
    assert not np.allclose(one[:, 0, 0], one[:, 1, 0])


def test_a_dealt_group_that_defines_nothing_is_the_lowest():
    rng = np.random.default_rng(0)
    weights = np.zeros((6, 4))
    weights[:3, 0] = weights[:, 1] = weights[:, 2] = 1
    weights[:, 3] = rng.random(6)
    connectivity = fct.cosine_similarity(rng.standard_normal((6, 3)))
    deal = _group_deals.Deal(fct.InputProjection(weights), (4,), np.ones(6, bool), connectivity, 1.0)
    every = np.ones(6, bool)
    for inputs, units in (([0], weights[:, 0] > 0), ([1, 2], every)):
        assert _group_deals._of_dealt(deal, deal.projection.select_inputs(np.array(inputs)), units, rng) == (-1, -1)
    assert _group_deals._of_dealt(deal, deal.projection, every, rng)[0] > -1


def test_a_test_chosen_by_looking_takes_the_looking_into_account(rng):
    system = grouped(rng, SIZES)
    looked = quick(system, n_permutations=60)
    named = quick(system, n_permutations=60, highest=looked.ranked("r")[0].name)
    one, other = looked.tests[0], named.tests[0]
    assert (one.group, one.second, one.lead) == (other.group, other.second, other.lead)
    assert (one.test.values >= 0).all()
    assert one.test.p_value > other.test.p_value


# --- words and bad input --------------------------------------------------------------------------------


def test_the_words_hold_the_numbers(sparse):
    comparison = quick(sparse, highest="thal")
    best = comparison.groups[0].own.r
    assert f"the highest r is that of thal ({best.value:.3f}, 95 % interval {best.low:.3f} to" in comparison.sentence()
    assert "On the 9 units that all reach" in comparison.sentence()
    assert f"p = {comparison.tests[0].test.p_value:.2g}" in comparison.chance()
    assert "The lead of thal over the highest of the others" in comparison.chance()
    assert "No group was named beforehand" in quick(sparse).chance()
    assert "14 units" in comparison.caution()
    assert repr(comparison) == "<GroupComparison of 'made up (synthetic)': 4 groups, highest r 'thal'>"
    assert comparison.sentence() in comparison._repr_html_().replace("&#x27;", "'")


def test_a_named_group_further_down_is_named_with_its_place(sparse):
    comparison = quick(sparse)
    last = comparison.groups[-1]
    said = quick(sparse, highest=last.name).sentence()
    assert f"; {last.name} is no. 4, {last.own.r.value:.3f})" in said


def test_the_call_repeats_the_comparison(sparse):
    call = quick(sparse, highest="thal", leave_out=["olf"]).call
    assert call.startswith("fct.compare_groups(system, highest='thal', leave_out=('olf',), n_bootstrap=50,")
    again = eval(call, {"fct": fct, "system": sparse})
    same(values(again), values(quick(sparse, leave_out=["olf"])))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"highest": "tahl"}, "highest names 'tahl', which is no group of .* Did you mean 'thal'\\? There are: pons, "),
        ({"leave_out": ["strii"]}, "leave_out names 'strii', which is no group of .* Did you mean 'stri'"),
        ({"leave_out": ["thal"], "highest": "thal"}, "'thal' is to be left out and cannot be the highest"),
        ({"leave_out": ["thal", "stri"]}, "has 1 once thal, stri is left out: pons"),
        ({"level": 95}, "level is 95; it must lie between 0 and 1"),
        ({"n_bootstrap": 1}, "n_bootstrap is 1"),
        ({"n_permutations": 0}, "n_permutations is 0"),
        ({"constant_units": "keep"}, "constant_units is 'keep'"),
    ],
)
def test_settings_that_cannot_be_used(driven, settings, message):
    with pytest.raises(fct.InputError, match=message):
        quick(driven, **settings)


def test_a_system_without_groups_cannot_be_compared(system, driven):
    with pytest.raises(fct.InputError, match="the inputs of 'made up \\(synthetic\\)' belong to no groups"):
        quick(system)
    one = fct.InputProjection(driven.projection.weights, groups=["all"] * 15)
    with pytest.raises(fct.InputError, match=r"needs at least 2 groups of inputs, and .* has 1: all"):
        quick(replace(driven, projection=one))


def test_fewer_than_two_groups_that_can_be_compared_say_why(rng):
    system = grouped(rng, {"thal": 4, "pons": 1, "stri": 2}, silent={"stri": range(2, 12)})
    with pytest.raises(fct.InputError) as error:
        quick(system)
    assert re.search(
        r"1 of the 3 groups .* can be compared.*pons: it has a single.*stri: it reaches 2", str(error.value)
    )
