import itertools
import math
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fctoolbox as fct
from fctoolbox import InputError

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import bct

MEASURES = (fct.adjusted_rand, fct.adjusted_mutual_information, fct.variation_of_information, fct.z_rand)
partitions = st.lists(st.integers(0, 3), min_size=6, max_size=30)


def pairs_together(labels):
    return {pair for pair in itertools.combinations(range(len(labels)), 2) if labels[pair[0]] == labels[pair[1]]}


def test_z_rand_of_known_partitions():
    # Values of the reference implementation (FACTS C2).
    halves = np.repeat([0, 1], 100)
    assert fct.z_rand(halves, 1 - halves) == pytest.approx(140.356688476182, abs=1e-9)
    one, other = [0, 0, 0, 1, 1, 1, 2, 1, 1, 2, 0], [2, 0, 3, 3, 1, 0, 2, 1, 3, 1, 2]
    assert fct.z_rand(one, other) == pytest.approx(-0.06593804733957866, abs=1e-12)


@pytest.mark.parametrize(
    ("one", "other"), [([0, 0, 1, 1, 2], [0, 1, 1, 1, 0]), ([0, 0, 0, 1, 1, 2], [0, 0, 1, 1, 2, 2])]
)
def test_z_rand_is_the_z_score_among_all_relabellings(one, other):
    together = pairs_together(one)
    counts = [len(together & pairs_together(order)) for order in itertools.permutations(other)]
    expected = (len(together & pairs_together(other)) - np.mean(counts)) / np.std(counts)
    assert fct.z_rand(one, other) == pytest.approx(expected, abs=1e-12)


def test_z_rand_of_many_units_does_not_overflow(rng):
    labels = rng.integers(0, 7, 91_282)
    assert fct.z_rand(labels, labels) > 1000
    assert abs(fct.z_rand(labels, rng.permutation(labels))) < 6


def test_z_rand_is_undefined_just_where_relabelling_changes_nothing():
    shapes = (
        [0, 0, 1, 1, 1],
        [0, 0, 0, 0, 1],
        [0, 0, 0, 1, 2],
        [0, 0, 1, 1, 2, 2],
        [0, 0, 0, 0, 0, 1],
        [0, 0, 0, 1, 1, 1],
    )
    for one, other in itertools.product(shapes, repeat=2):
        if len(one) == len(other):
            together = pairs_together(one)
            counts = {len(together & pairs_together(order)) for order in itertools.permutations(other)}
            if len(counts) > 1:
                assert math.isfinite(fct.z_rand(one, other))
            else:
                with pytest.raises(InputError, match="random relabelling never changes"):
                    fct.z_rand(one, other)


def test_partitions_of_many_small_communities_need_no_table_of_all_pairs_of_them(rng):
    labels = rng.permutation(91_282) // 2  # a table of 45,641 × 45,641 communities would take 16 GB
    assert fct.variation_of_information(labels, labels) == 0
    assert fct.z_rand(labels, labels) > 1000


@pytest.mark.parametrize(("one", "other"), [([0, 0, 1, 1], [0, 1, 0, 1]), ([0, 0, 0, 1, 1, 2], [0, 0, 1, 1, 2, 2])])
def test_adjusted_rand_against_its_definition(one, other):
    together = pairs_together(one)
    counts = [len(together & pairs_together(order)) for order in itertools.permutations(other)]
    most = (len(together) + len(pairs_together(other))) / 2
    observed = len(together & pairs_together(other))
    expected = (observed - np.mean(counts)) / (most - np.mean(counts))
    assert fct.adjusted_rand(one, other) == pytest.approx(expected, abs=1e-12)


@settings(max_examples=40, deadline=None)
@given(partitions, st.integers(0, 1000))
def test_variation_of_information_agrees_with_bctpy_and_is_a_metric(one, seed):
    rng = np.random.default_rng(seed)
    other, third = rng.integers(0, 3, len(one)), rng.integers(0, 4, len(one))
    ours = fct.variation_of_information(one, other)
    theirs, _ = bct.partition_distance(np.array(one) + 1, other + 1)
    assert ours == pytest.approx(theirs, abs=1e-12)
    assert fct.variation_of_information(other, one) == pytest.approx(ours, abs=1e-12)
    assert 0 <= ours <= 1 + 1e-12
    assert ours <= fct.variation_of_information(one, third) + fct.variation_of_information(third, other) + 1e-12


def test_variation_of_information_by_hand():
    for seed in range(50):  # never below 0 by rounding
        rng = np.random.default_rng(seed)
        labels = rng.integers(0, 9, 100)
        assert 0 <= fct.variation_of_information(labels, rng.permutation(9)[labels]) < 1e-12
    assert fct.variation_of_information([0, 0, 1, 1], [0, 1, 0, 1]) == pytest.approx(2 * math.log(2) / math.log(4))
    assert fct.variation_of_information([0, 0, 0, 0], [0, 1, 2, 3]) == pytest.approx(1)


@settings(max_examples=30, deadline=None)
@given(partitions, st.integers(0, 1000))
def test_names_and_the_order_of_units_do_not_matter(one, seed):
    rng = np.random.default_rng(seed)
    one, other, order = np.array(one), rng.integers(0, 3, len(one)), rng.permutation(len(one))
    for measure in MEASURES:
        try:
            value = measure(one, other)
        except InputError:
            assert measure is fct.z_rand, "undefined for a single community, among others"
            continue
        assert math.isfinite(value)
        assert measure([f"c{3 - label}" for label in one], other.astype(float)) == pytest.approx(value, abs=1e-9)
        assert measure(one[order], other[order]) == pytest.approx(value, abs=1e-9)


def test_the_same_partition_and_independent_ones(rng):
    labels = rng.integers(0, 5, 2000)
    assert fct.adjusted_rand(labels, labels) == 1
    assert fct.adjusted_mutual_information(labels, labels) == pytest.approx(1)
    assert fct.variation_of_information(labels, labels) == 0
    independent = rng.integers(0, 5, 2000)
    assert abs(fct.adjusted_rand(labels, independent)) < 0.01
    assert abs(fct.adjusted_mutual_information(labels, independent)) < 0.01
    assert abs(fct.z_rand(labels, independent)) < 6


def test_mean_agreement(rng):
    rows = rng.integers(0, 3, (6, 40))
    rows[3] = rows[0]
    expected = np.mean([fct.adjusted_rand(one, other) for one, other in itertools.combinations(rows, 2)])
    assert fct.mean_agreement(rows) == pytest.approx(expected, abs=1e-12)
    assert fct.mean_agreement(rows[:1]) == 1
    assert fct.mean_agreement(np.zeros((5, 4), dtype=int)) == 1


def test_bad_partitions():
    for measure in MEASURES:
        with pytest.raises(InputError, match="of 4 and 3 units"):
            measure([0, 0, 1, 1], [0, 1, 1])
        with pytest.raises(InputError, match=r"shape \(1, 4\)"):
            measure([[0, 0, 1, 1]], [0, 1, 1, 1])
        with pytest.raises(InputError, match="NaN"):
            measure([0, 0, 1, np.nan], [0, 1, 1, 1])
        for missing in (None, np.nan):  # as a column of a table with gaps holds them
            with pytest.raises(InputError, match="labels hold None or NaN"):
                measure(np.array(["a", "a", "b", missing], dtype=object), [0, 1, 1, 1])
    for trivial in ([0, 0, 0, 0], [0, 1, 2, 3]):
        with pytest.raises(InputError, match="one community, or only single units"):
            fct.z_rand([0, 0, 1, 1], trivial)
    for sizes, odd in (((2, 2), 4), ((3, 3, 3), 9), ((7, 7, 7), 21)):
        one, other = np.repeat(np.arange(len(sizes)), sizes), np.arange(odd) == 1
        with pytest.raises(InputError, match="random relabelling never changes"):
            fct.z_rand(one, other)
    with pytest.raises(InputError, match="4 units or more"):
        fct.z_rand([0, 0, 1], [0, 1, 1])
    with pytest.raises(InputError, match="single unit"):
        fct.variation_of_information([0], [0])
    with pytest.raises(InputError, match="n_partitions, n_units"):
        fct.mean_agreement([0, 1])
