import numpy as np
import pytest

from fctoolbox import InputError
from fctoolbox.nulls import significance


def test_by_hand():
    test = significance(4.0, [1.0, 2.0, 3.0, 4.0, 5.0], model="m")
    assert test.p_value == 3 / 6
    assert (test.n, test.mean) == (5, 3.0)
    assert test.sd == pytest.approx(np.sqrt(2.5))
    assert test.z == pytest.approx(1 / np.sqrt(2.5))
    assert test.to_dict() == {"model": "m", "n": 5, "mean": 3.0, "sd": test.sd, "z": test.z, "p_value": 0.5}


def test_p_is_never_zero_and_never_above_one():
    assert significance(9.0, np.zeros(99), model="m").p_value == 1 / 100
    assert significance(-9.0, np.zeros(99), model="m").p_value == 1


def test_nulls_equal_up_to_rounding_count():
    assert significance(0.1 + 0.2, [0.3] * 9, model="m").p_value == 1


def test_without_spread_there_is_no_z():
    assert significance(1.0, [0.5, 0.5, 0.5], model="m").z is None
    assert significance(1.0, [0.1 + 0.2, 0.3], model="m").z is None
    assert significance(1.0, [0.5], model="m").z is None


def test_p_is_uniform_when_the_observed_is_a_null():
    rng = np.random.default_rng(0)
    p = [significance(draw[0], draw[1:], model="m").p_value for draw in rng.standard_normal((2000, 20))]
    assert np.mean(np.array(p) <= 0.05) == pytest.approx(0.05, abs=0.02)
    assert np.mean(p) == pytest.approx(0.525, abs=0.03)


def test_nan_does_not_travel():
    with pytest.raises(InputError, match="not finite in 1 of 2"):
        significance(1.0, [np.nan, 1.0], model="m")
    with pytest.raises(InputError, match="not finite"):
        significance(np.nan, [1.0], model="m")
    with pytest.raises(InputError, match="one value each"):
        significance(1.0, [], model="m")
