"""The best possible observer: closed forms of two alternatives, and what noise cannot hide."""

import numpy as np
import pytest
from fctoolbox_ctrnn.ideal import N_TRIALS, ideal_accuracy
from fctoolbox_ctrnn.task import ALL_RULES_ID, GO_NOGO_ID, TASK_ID
from fctoolbox_ctrnn.tasks.yang19 import RULES, bump
from fctoolbox_ctrnn.trials import draw_trials, read_task
from scipy.special import ndtr

CONTEXT_ID = "fctoolbox/ContextDecisionMaking-v0"


def closed_form(coherences, stimulus):
    """Over all coherences, when two stimuli 0.5 ± c / 200 with noise of 1 / sqrt(ms) each last some ms."""
    return ndtr(np.array(coherences) / 100 * np.sqrt(stimulus / 2)).mean()


@pytest.mark.parametrize(
    ("name", "timing", "coherences", "stimulus"),
    [
        (TASK_ID, {}, [6.4, 12.8, 25.6, 51.2], 2000),
        (TASK_ID, {"stimulus": 100}, [6.4, 12.8, 25.6, 51.2], 100),
        (CONTEXT_ID, {}, [5, 15, 50], 750),
        (CONTEXT_ID, {"stimulus": 200}, [5, 15, 50], 200),
    ],
)
@pytest.mark.parametrize("dt", [10, 50])
def test_two_alternatives_have_a_closed_form(name, timing, coherences, stimulus, dt):
    expected = closed_form(coherences, stimulus)
    found = ideal_accuracy(read_task(name, dt, timing=timing))
    assert found == pytest.approx(expected, abs=4 * np.sqrt(expected * (1 - expected) / N_TRIALS))


def test_an_observer_who_integrates_the_stimuli_reaches_it():
    task = read_task(TASK_ID, 20, timing={"stimulus": 200})
    trials = draw_trials(task, 8000, seed=(0,))
    evidence = trials.inputs[..., 1:].sum(axis=0)
    right = (1 + evidence.argmax(axis=-1) == trials.conditions["target"])[trials.coherent]
    assert ideal_accuracy(task) == pytest.approx(right.mean(), abs=0.02)


@pytest.mark.parametrize("rule", ["dm1", "ctxdm2", "multidm"])
def test_an_observer_of_yang_s_decisions_who_knows_the_places_reaches_it(rule):
    # A second implementation, on whole noisy trials: compare the inputs along the difference of the two bumps.
    task = read_task(f"fctoolbox/Yang19-{rule}-v0", 20)
    trials = draw_trials(task, 6000, seed=(1,))
    told = trials.conditions
    along = bump(told["place_1"]) - bump(told["place_2"])
    counted = {"dm1": [1], "ctxdm2": [2], "multidm": [1, 2]}[rule]
    evidence = sum((trials.inputs[..., 1 + 16 * (m - 1) : 1 + 16 * m].sum(axis=0) * along).sum(axis=1) for m in counted)
    answers = np.where(evidence > 0, told["place_1"], told["place_2"])
    right = (answers == told["target"])[trials.coherent].mean()
    # Two modalities are weighed better by Bayes than by their sum.
    assert right - 0.02 < ideal_accuracy(task) < right + (0.03 if rule == "multidm" else 0.02)


def test_longer_stimuli_leave_less_doubt():
    found = [ideal_accuracy(read_task(CONTEXT_ID, 20, timing={"stimulus": ms})) for ms in (100, 400, 1600, 6400)]
    assert found == sorted(found)
    assert found[-1] > 0.99


def test_of_a_task_per_trial_it_is_the_mean():
    each = [ideal_accuracy(read_task(f"fctoolbox/Yang19-{rule}-v0", 20)) for rule in RULES]
    assert ideal_accuracy(read_task(ALL_RULES_ID, 20)) == pytest.approx(np.mean(each))
    assert 0.95 < np.mean(each) < 1


@pytest.mark.parametrize("name", [GO_NOGO_ID, "fctoolbox/Yang19-go-v0", "GoNogo-v0"])
def test_elsewhere_it_is_1(name):
    assert ideal_accuracy(read_task(name, 20)) == 1
