"""Our tasks: trial by trial as neurogym's where its cue is unchanged, and right where they differ."""

import hashlib
import warnings
from dataclasses import replace

import neurogym
import numpy as np
import pytest
from fctoolbox_ctrnn.plans import rendered
from fctoolbox_ctrnn.task import ALL_RULES_ID, DESIGNS, GO_NOGO_ID, TASK_ID
from fctoolbox_ctrnn.tasks import design_of
from fctoolbox_ctrnn.tasks.yang19 import RULES, bump
from scipy.stats import chi2_contingency

from fctoolbox.errors import InputError

DT = 20
N = 40
CONTEXT_ID = "fctoolbox/ContextDecisionMaking-v0"
MATCH_ID = "fctoolbox/DelayMatchSample-v0"
REACHES = [rule for rule in RULES if rule.endswith(("go", "anti"))]
MATCHES = ["dms", "dnms", "dmc", "dnmc"]
DECISIONS = [rule for rule in RULES if rule not in REACHES + MATCHES]
# neurogym's cue lasts until the decision in these only.
CUE_UNCHANGED = [GO_NOGO_ID, MATCH_ID, *(f"fctoolbox/Yang19-{rule}-v0" for rule in REACHES)]


def drawn(name, n_trials, *, seed=0, **chosen):
    """A plan without noise, and its trials."""
    rng = np.random.default_rng(seed)
    design = replace(design_of(name, DT), noise=0.0)
    plan = design.plan(design.draw(n_trials, rng, **chosen), DT, rng)
    return plan, *rendered(plan, rng)


def theirs(name, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # gymnasium, about neurogym's metadata
        return neurogym.make(name, dt=DT, **options)


def rings(name):
    """neurogym's environments of the two rings, which it alternates."""
    return theirs(name).get_wrapper_attr("envs")


class Scripted:
    """Random numbers that are known in advance, for tasks that draw whatever they are asked for."""

    def __init__(self, choices, sign=1):
        self.choices, self.sign = list(choices), sign

    def choice(self, *_, **__):
        return self.choices.pop(0)

    def randn(self, *shape):
        return np.zeros(shape)

    def uniform(self, _, most):
        return self.sign * most / 2


def same_trials(name, of_trial):
    """Whether neurogym, given a trial's conditions and durations by `of_trial`, presents and wants the same."""
    plan, inputs, targets = drawn(name, N)
    for k in range(N):
        condition = {key: values[k] for key, values in plan.conditions.items()}
        durations = {period: int(steps) * DT for period, steps in zip(plan.periods, plan.durations[k], strict=True)}
        task = of_trial(condition, durations)
        length = plan.durations[k].sum()
        assert len(task.ob) == len(task.gt) == length
        first = 0 if name in CUE_UNCHANGED else 1
        n_columns = task.ob.shape[1]
        np.testing.assert_allclose(
            inputs[:length, k, first:n_columns], task.ob[:, first:], rtol=1e-6, atol=1e-7, err_msg=str(condition)
        )
        np.testing.assert_array_equal(targets[:length, k], task.gt, err_msg=str(condition))


def test_perceptual_decisions_equal_neurogym_s():
    task = theirs("PerceptualDecisionMaking-v0", sigma=0).unwrapped

    def of_trial(condition, durations):
        task.timing.update(durations)
        task.new_trial(ground_truth=condition["target"] - 1, coh=condition["coherence"])
        return task

    same_trials(TASK_ID, of_trial)


def test_go_nogo_equals_neurogym_s():
    task = theirs("GoNogo-v0").unwrapped

    def of_trial(condition, durations):
        task.timing.update(durations)
        task.new_trial(ground_truth=condition["target"])
        return task

    same_trials(GO_NOGO_ID, of_trial)


def test_context_decisions_equal_neurogym_s():
    task = theirs("ContextDecisionMaking-v0", use_expl_context=True, sigma=0).unwrapped

    def of_trial(condition, durations):
        task.timing.update(durations)
        coherences = (condition["coherence"], condition["coherence_other"])
        one, two = coherences if condition["context"] == 1 else coherences[::-1]
        task.new_trial(
            ground_truth=condition["target"],
            other_choice=condition["other"],
            context=condition["context"] - 1,
            coh_1=one,
            coh_2=two,
        )
        return task

    same_trials(CONTEXT_ID, of_trial)


def test_matching_equals_neurogym_s():
    task = theirs("DelayMatchSample-v0", sigma=0).unwrapped

    def of_trial(condition, durations):
        task.timing.update(durations)
        trial = task.new_trial(ground_truth=condition["target"], sample_theta=task.theta[condition["sample"] - 1])
        assert trial["test_theta"] == pytest.approx(task.theta[condition["test"] - 1])
        return task

    same_trials(MATCH_ID, of_trial)


@pytest.mark.parametrize("rule", REACHES)
def test_yang_s_reaches_equal_neurogym_s(rule):
    tasks = rings(f"yang19.{rule}-v0")

    def of_trial(condition, durations):
        task = tasks[condition["ring"] - 1]
        task.unwrapped.timing.update(durations)
        task.new_trial(ground_truth=condition["target"] - 1)
        return task.unwrapped

    same_trials(f"fctoolbox/Yang19-{rule}-v0", of_trial)


@pytest.mark.parametrize("rule", DECISIONS)
def test_yang_s_decisions_equal_neurogym_s(rule):
    task = theirs(f"yang19.{rule}-v0", sigma=0).unwrapped

    def of_trial(condition, durations):
        task.timing.update(durations)
        script = [condition["place_1"] - 1, condition["place_2"] - 1]
        for modality in (1, 2):
            if f"strength_1_mod{modality}" in condition:
                strengths = [condition[f"strength_{k}_mod{modality}"] / 100 for k in (1, 2)]
                difference = strengths[0] - strengths[1]
                script += [strengths] if "dly" in rule else [abs(difference), np.sign(difference)]
        task.rng = Scripted(script, sign=1 if condition["coin"] == 1 else -1)
        task.new_trial()
        assert not task.rng.choices
        return task

    same_trials(f"fctoolbox/Yang19-{rule}-v0", of_trial)


@pytest.mark.parametrize("rule", MATCHES)
def test_yang_s_matches_equal_neurogym_s_but_for_its_fault(rule):
    tasks = rings(f"yang19.{rule}-v0")
    name = f"fctoolbox/Yang19-{rule}-v0"
    plan, inputs, targets = drawn(name, 10 * N)
    faulty = 0
    for k in range(10 * N):
        condition = {key: values[k] for key, values in plan.conditions.items()}
        task = tasks[condition["ring"] - 1]
        task.unwrapped.rng = Scripted(["", condition["sample"] - 1, condition.get("within_half", 0) - 1])
        task.new_trial(ground_truth="match" if condition["match"] else "non-match")
        if rule in ("dmc", "dnmc") and condition["sample"] == 9:
            # Asked for a match, neurogym shows a test from the other half, and the other way round.
            faulty += 1
            assert not np.array_equal(task.unwrapped.ob[:, 1:], inputs[:, k, 1:33])
            continue
        np.testing.assert_allclose(inputs[:, k, 1:33], task.unwrapped.ob[:, 1:], rtol=1e-6, atol=1e-7)
        np.testing.assert_array_equal(targets[:, k], task.unwrapped.gt)
    assert (faulty > 0) == (rule in ("dmc", "dnmc"))


@pytest.mark.parametrize(("rule", "match_means_go"), [("dmc", True), ("dnmc", False)])
def test_categories_are_halves_of_the_ring_for_samples_and_tests(rule, match_means_go):
    for sample in range(1, 17):
        plan, inputs, targets = drawn(f"fctoolbox/Yang19-{rule}-v0", 60, sample=sample)
        # Read off the inputs: where the two bumps are, and whether a response is wanted.
        both = inputs[:, :, 1:17] + inputs[:, :, 17:33]
        seen = {period: both[plan.steps[period][0, 0]].argmax(axis=-1) for period in ("sample", "test")}
        assert (seen["sample"] == sample - 1).all()
        same_half = (seen["sample"] >= 8) == (seen["test"] >= 8)
        assert 0 < same_half.sum() < 60
        np.testing.assert_array_equal(plan.conditions["match"], same_half)
        np.testing.assert_array_equal(targets[-1], np.where(same_half == match_means_go, seen["test"] + 1, 0))


@pytest.mark.parametrize("name", DESIGNS)
def test_the_cue_lasts_until_the_decision(name):
    plan, inputs, targets = drawn(name, 100)
    steps = np.arange(len(inputs))[:, None]
    first, last = plan.steps["decision"].T
    np.testing.assert_array_equal(inputs[:, :, 0], steps < first)
    assert not targets[steps < first].any()
    assert (first < last).all()
    np.testing.assert_array_equal(targets == -1, steps >= last)
    wanted = np.where(steps < last, targets, 0).max(axis=0)
    np.testing.assert_array_equal(wanted, plan.conditions["target"])
    # The response is wanted throughout the decision.
    np.testing.assert_array_equal(
        np.where((steps >= first) & (steps < last), targets, 0).sum(0), wanted * (last - first)
    )


@pytest.mark.parametrize("name", [name for name in DESIGNS if "Yang19" in name])
def test_the_rule_is_an_input_throughout_the_trial(name):
    plan, inputs, targets = drawn(name, 100)
    within = targets != -1
    rules = inputs[:, :, 33:]
    assert rules.shape[-1] == 20
    np.testing.assert_array_equal(rules.sum(axis=-1), within)
    for k, rule in enumerate(plan.conditions["rule"]):
        assert (rules[within[:, k], k].argmax(axis=-1) == RULES.index(rule)).all()
        assert name in (ALL_RULES_ID, f"fctoolbox/Yang19-{rule}-v0")


@pytest.mark.parametrize("name", DESIGNS)
def test_every_level_is_equally_frequent(name):
    n_trials = 8000
    design = design_of(name, DT)
    conditions = design.draw(n_trials, np.random.default_rng(1))
    assert conditions.keys() == design.levels.keys()
    for condition, levels in design.levels.items():
        counts = np.array([(conditions[condition] == level).sum() for level in levels])
        assert counts.sum() == n_trials
        share = 1 / len(levels)
        assert np.abs(counts / n_trials - share).max() < 4.5 * np.sqrt(share * (1 - share) / n_trials), condition


@pytest.mark.parametrize("name", [TASK_ID, CONTEXT_ID, "fctoolbox/Yang19-dmc-v0", "fctoolbox/Yang19-ctxdlydm1-v0"])
def test_conditions_are_independent(name):
    design = design_of(name, DT)
    conditions = design.draw(8000, np.random.default_rng(2))
    names = list(conditions)
    for i, one in enumerate(names):
        for other in names[:i]:
            codes = [np.unique(conditions[each], return_inverse=True)[1] for each in (one, other)]
            table = np.zeros([code.max() + 1 for code in codes])
            np.add.at(table, tuple(codes), 1)
            assert chi2_contingency(table).pvalue > 1e-3, (one, other)


def test_stimuli_are_bumps_around_their_place():
    # Closed form: 0.8 exp(-d² / 2) at d places from the middle, round the ring.
    bumps = bump(np.arange(1, 17))
    d = np.minimum(np.arange(16), 16 - np.arange(16))
    for place in range(16):
        np.testing.assert_allclose(bumps[place], np.roll(0.8 * np.exp(-(d**2) / 2), place))


def test_what_luck_decides_is_known():
    plan, inputs, _ = drawn("fctoolbox/Yang19-multidm-v0", 4000)
    told = plan.conditions
    equal = told["strength_1_mod1"] + told["strength_1_mod2"] == told["strength_2_mod1"] + told["strength_2_mod2"]
    np.testing.assert_array_equal(told["decidable"], ~equal)
    np.testing.assert_array_equal(told["coherence"] == 0, equal)
    assert equal.mean() == pytest.approx(8 / 64, abs=0.025)
    first = told["target"] == told["place_1"]
    assert first[equal].mean() == pytest.approx(0.5, abs=4 * np.sqrt(0.25 / equal.sum()))
    assert drawn("fctoolbox/Yang19-ctxdm1-v0", 200)[0].conditions["decidable"].all()


def test_a_task_per_trial_mixes_the_twenty():
    plan, inputs, targets = drawn(ALL_RULES_ID, 400)
    assert set(plan.conditions["rule"]) == set(RULES)
    for rule in RULES:
        own, _, _ = drawn(f"fctoolbox/Yang19-{rule}-v0", 5)
        trials = plan.conditions["rule"] == rule
        used = {period for period, steps in plan.steps.items() if (steps[trials, 1] > steps[trials, 0]).any()}
        assert used == {period for period, steps in own.steps.items() if (steps[:, 1] > steps[:, 0]).any()}
        if rule in REACHES:
            (k,) = np.flatnonzero(trials)[:1]
            place = 1 + inputs[:, k, 1:33].max(axis=0).argmax() % 16
            target = plan.conditions["target"][k]
            assert (target - place) % 16 == (8 if rule.endswith("anti") else 0)


# --- as environments ---


@pytest.mark.parametrize("name", DESIGNS)
def test_environments_present_the_design_s_trials(name):
    task = neurogym.make(name, dt=DT).unwrapped
    assert task.observation_space.shape == (task.design.n_inputs,)
    again = neurogym.make(f"fctoolbox_ctrnn.task:{name}", dt=DT).unwrapped
    other = neurogym.make(name, dt=DT).unwrapped
    for each, seed in ((task, 3), (again, 3), (other, 4)):
        each.seed(seed)
    trials = [task.new_trial() for _ in range(20)]
    assert trials != [other.new_trial() for _ in range(20)]
    task.seed(3)
    for trial in trials[:4]:
        assert trial == task.new_trial() == again.new_trial()
        np.testing.assert_array_equal(task.ob, again.ob)
        np.testing.assert_array_equal(task.gt, again.gt)
        first = task.start_ind["decision"]
        assert (task.ob[:first, 0] == 1).all()
        assert not task.ob[first:, 0].any()
        wanted = trial["ground_truth"] + (name == TASK_ID)  # whose names are neurogym's
        assert (task.gt[first:] == wanted).all()


@pytest.mark.parametrize("name", [name for name in DESIGNS if name not in (TASK_ID, GO_NOGO_ID, ALL_RULES_ID)])
def test_a_trial_can_be_asked_for(name):
    plan, inputs, targets = drawn(name, 3)
    task = neurogym.make(name, dt=DT).unwrapped
    task.design = replace(task.design, noise=0.0, timing=dict.fromkeys(task.design.timing, 10 * DT))
    plan = task.design.plan({key: plan.conditions[key] for key in task.design.levels}, DT, np.random.default_rng(0))
    inputs, targets = rendered(plan, np.random.default_rng(0))
    for k in range(3):
        told = task.new_trial(**{key: plan.conditions[key][k].item() for key in task.design.levels})
        np.testing.assert_array_equal(task.ob, inputs[:, k])
        np.testing.assert_array_equal(task.gt, targets[:, k])
        assert {key: told[key] for key in plan.conditions} == {key: v[k] for key, v in plan.conditions.items()}


def test_a_trial_that_does_not_exist_cannot_be_asked_for():
    task = neurogym.make(CONTEXT_ID, dt=DT).unwrapped
    with pytest.raises(InputError, match=r"no condition 'contxt'\. Did you mean 'context'\? There are: target, other"):
        task.new_trial(contxt=1)
    with pytest.raises(InputError, match=r"context is 0; it must be one of 1, 2"):
        task.new_trial(context=0)
    with pytest.raises(InputError, match=r"rule is 'goo'; it must be one of go, rtgo"):
        neurogym.make(ALL_RULES_ID, dt=DT).unwrapped.new_trial(rule="goo")


def test_go_nogo_equals_neurogym_s_for_the_same_seed():
    ours, their = neurogym.make(GO_NOGO_ID, dt=DT).unwrapped, theirs("GoNogo-v0").unwrapped
    for task in (ours, their):
        task.seed(7)
    for _ in range(30):
        assert ours.new_trial() == their.new_trial()
        np.testing.assert_array_equal(ours.ob, their.ob)
        np.testing.assert_array_equal(ours.gt, their.gt)


@pytest.mark.parametrize(
    ("name", "digest"),
    [(TASK_ID, "77a971e967142b44"), (GO_NOGO_ID, "4ab81b2cb07182fe")],
)
def test_trials_are_frozen(name, digest):
    # numpy promises that RandomState's stream never changes; what the other tasks draw from may.
    task = neurogym.make(name, dt=DT).unwrapped
    task.seed(2024)
    told = [[*task.new_trial().values(), *task.gt.tolist()] for _ in range(50)]
    assert hashlib.sha256(repr([[float(x) for x in row] for row in told]).encode()).hexdigest()[:16] == digest


def test_they_can_be_acted_in():
    task = neurogym.make("fctoolbox/Yang19-dms-v0", dt=100)
    task.reset(seed=0, options={"no_step": True})
    inner = task.unwrapped
    assert inner.gt.shape == (32,)
    seen = set()
    for _ in range(20):
        answer = int(inner.gt[-1])
        seen.add(answer > 0)
        for step in range(23):
            assert task.step(1 if step == 3 else 0)[1] == (-0.1 if step == 3 else 0)
        for _ in range(8 if answer == 0 else 0):
            assert task.step(0)[1] == 0
        _, reward, _, _, info = task.step(answer)
        assert (reward, info["new_trial"], info["performance"]) == (float(answer > 0), True, 1)
    assert seen == {True, False}


def test_a_missed_go_is_punished():
    task = neurogym.make(GO_NOGO_ID, dt=100)
    task.reset(seed=0, options={"no_step": True})
    for _ in range(10):
        go = int(task.unwrapped.gt[-1])
        rewards = [task.step(0)[1] for _ in range(14)]
        assert rewards == [0] * 14
        _, reward, _, _, info = task.step(0)
        assert (reward, info["new_trial"], info["performance"]) == (-0.5 * go, True, 1 - go)
