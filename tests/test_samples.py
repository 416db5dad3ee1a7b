import numpy as np
import pytest
from scipy import stats

import fctoolbox as fct
from fctoolbox.samples import cliffs_delta, compare_samples


@pytest.mark.parametrize("sizes", [(5, 5), (12, 7), (2, 30)])
def test_welch_equals_scipys(sizes, rng):
    a, b = rng.normal(0.3, 2, sizes[0]), rng.normal(0, 1, sizes[1])
    found, peer = compare_samples(a, b), stats.ttest_ind(a, b, equal_var=False)
    assert (found.t, found.df, found.p_value) == pytest.approx((peer.statistic, peer.df, peer.pvalue), rel=1e-10)
    assert found.paired is None
    assert found.n == sizes
    assert found.difference == pytest.approx(a.mean() - b.mean())


def test_paired_equals_scipys(rng):
    a = rng.normal(size=15)
    b = a + rng.normal(0.3, 0.2, 15)
    found, peer = compare_samples(a, b, paired=True), stats.ttest_rel(a, b)
    assert (found.paired.t, found.paired.p_value) == pytest.approx((peer.statistic, peer.pvalue), rel=1e-10)
    assert found.paired.p_value < found.p_value  # what pairs share is no noise
    assert found.paired.cohens_d == pytest.approx((a - b).mean() / (a - b).std(ddof=1))
    assert found.paired.rank_biserial == pytest.approx(-1, abs=0.2)


def test_effect_sizes_by_hand(rng):
    found = compare_samples([2.0, 3.0, 4.0], [0.0, 1.0, 2.0])
    assert found.cohens_d == 2
    assert found.cliffs_delta == pytest.approx(8 / 9)  # of 9 pairs one is a tie
    assert cliffs_delta([1, 2, 3], [4, 5]) == -1
    assert cliffs_delta([1, 1], [1, 1]) == 0
    a, b = rng.integers(0, 6, 40), rng.integers(0, 6, 30)
    assert cliffs_delta(a, b) == pytest.approx(np.sign(a[:, None] - b).mean())
    assert cliffs_delta(b, a) == -cliffs_delta(a, b)
    pooled = np.sqrt((39 * a.var(ddof=1) + 29 * b.var(ddof=1)) / 68)
    assert compare_samples(a, b).cohens_d == pytest.approx((a.mean() - b.mean()) / pooled)


def test_no_spread_gives_none_and_never_nan():
    found = compare_samples([0.5, 0.5], [0.1, 0.1], paired=True)
    assert (found.t, found.df, found.p_value, found.cohens_d) == (None,) * 4
    assert (found.paired.t, found.paired.p_value) == (None, None)
    assert found.cliffs_delta == 1
    single = compare_samples([1.0], [1.0, 2.0], paired=False)
    assert single.sd[0] is None
    assert single.t is None
    assert set(found.to_dict()) >= {"difference", "paired", "cliffs_delta"}


@pytest.mark.parametrize(
    ("a", "b", "message"),
    [
        ([], [1.0], "the first sample has shape"),
        ([1.0], [[1.0]], "the second sample has shape"),
        ([1.0, np.nan], [1.0, 2.0], "the first sample has 1 values that are not finite"),
        ([1.0, 2.0], [1.0], "have 2 and 1 values; in pairs each needs its partner"),
    ],
)
def test_bad_input(a, b, message):
    with pytest.raises(fct.InputError, match=message):
        compare_samples(a, b, paired=True)
