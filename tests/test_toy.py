import numpy as np
import pytest

import fctoolbox as fct
from fctoolbox.testing import check_source


def test_it_keeps_the_contract():
    check_source("toy")
    check_source("toy", planted=False)


def test_the_planted_communities_are_the_answer():
    system = fct.load("toy", n_communities=5, seed=3)
    report = fct.analyse_origin(system, n_nulls=99, n_restarts=5, rng=0)
    planted = np.array(report.system.annotations["planted"])
    same = planted[:, None] == planted
    assert ((report.communities.labels[:, None] == report.communities.labels) == same).all()
    assert report.induced.nulls[0].p_value == 0.01
    assert report.relationship.nulls[0].p_value == 0.01
    assert report.relationship.pearson_r > 0.95


def test_the_null_case_has_no_answer():
    p = []
    for seed in range(60):
        system = fct.load("toy", planted=False, n_units=30, n_inputs=10, n_times=300, seed=seed)
        report = fct.analyse_origin(system, n_nulls=19, n_restarts=1, rng=seed)
        p += [report.induced.nulls[0].p_value, report.relationship.nulls[0].p_value]
    # Uniform on 1/20 … 1: the mean of 120 such p is 0.525 ± 0.026, the share at 0.05 is 0.05 ± 0.02.
    assert np.mean(p) == pytest.approx(0.525, abs=0.11)
    assert np.mean(np.array(p) <= 0.05) < 0.13


def test_it_is_named_synthetic_and_refuses_nonsense():
    assert "synthetic" in fct.load("toy").name
    with pytest.raises(fct.InputError, match="n_communities is 9"):
        fct.load("toy", n_units=5, n_communities=9)
