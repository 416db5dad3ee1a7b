import numpy as np
import pytest

from fctoolbox import InputError
from fctoolbox.nulls import permutation


def test_rows_are_rearrangements():
    values = np.array([0, 0, 1, 2, 2, 2])
    nulls = permutation(values, n_nulls=50, rng=0)
    assert nulls.shape == (50, 6)
    np.testing.assert_array_equal(np.sort(nulls, axis=1), np.tile(np.sort(values), (50, 1)))


def test_every_arrangement_is_equally_likely():
    nulls = permutation(np.arange(3), n_nulls=6000, rng=1)
    counts = np.unique(nulls, axis=0, return_counts=True)[1]
    assert len(counts) == 6
    assert counts.min() > 850  # 1000 ± 29 expected; 5 standard deviations


def test_same_rng_same_nulls_and_one_null_keeps_its_axis():
    np.testing.assert_array_equal(
        permutation(np.arange(9), n_nulls=4, rng=7), permutation(np.arange(9), n_nulls=4, rng=7)
    )
    assert permutation(np.arange(9), n_nulls=1, rng=0).shape == (1, 9)


def test_names_can_be_permuted():
    assert set(permutation(np.array(["a", "b"]), n_nulls=3, rng=0).ravel().tolist()) == {"a", "b"}


def test_bad_input():
    with pytest.raises(InputError, match="n_nulls is 0"):
        permutation(np.arange(3), n_nulls=0)
    with pytest.raises(InputError, match=r"\(2, 2\)"):
        permutation(np.eye(2), n_nulls=1)
