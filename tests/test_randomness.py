import random

import numpy as np
import pytest

from fctoolbox import InputError
from fctoolbox.nulls import permutation
from fctoolbox.randomness import generator, python_random_kept


def test_a_generator_is_taken_as_it_is():
    rng = np.random.default_rng(0)
    assert generator(rng) is rng


@pytest.mark.parametrize("seed", [7, np.int64(7), np.uint8(7), 2**70])
def test_a_whole_number_is_a_seed(seed):
    assert generator(seed).random() == np.random.default_rng(int(seed)).random()


def test_none_draws_a_new_one_each_time():
    assert generator(None).random() != generator(None).random()


NO_RNG = [1.5, True, np.True_, "7", -1, np.random.RandomState(0), [1, 2], np.array([1, 2])]


@pytest.mark.parametrize("rng", NO_RNG, ids=lambda rng: type(rng).__name__)
@pytest.mark.parametrize("draw", [generator, lambda rng: permutation([1, 2, 3], n_nulls=2, rng=rng)])
def test_anything_else_is_refused(rng, draw):
    with pytest.raises(InputError, match=r"^rng is .*; it must be a whole number of at least 0, a numpy\.random\.Gen"):
        draw(rng)


def test_pythons_generator_goes_on_where_it_was():
    random.seed(3)
    expected = random.Random(3)
    with python_random_kept():
        random.random()
    assert random.random() == expected.random()


def test_pythons_generator_is_kept_through_an_error():
    random.seed(3)
    state = random.getstate()
    with pytest.raises(ZeroDivisionError), python_random_kept():
        random.random() / 0
    assert random.getstate() == state
