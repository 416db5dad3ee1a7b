import numpy as np
import pytest

import fctoolbox as fct
from fctoolbox.resampling import draws_of_units, interval, redrawn


@pytest.fixture
def matrices(rng):
    weights = rng.standard_normal((14, 5))
    similarity = fct.cosine_similarity(weights)
    connectivity = fct.functional_connectivity(rng.standard_normal((60, 5)) @ (weights + 0.5).T)
    return similarity, connectivity, fct.detect_communities(similarity, n_restarts=3, rng=0).labels


def by_copies(draw, similarity, connectivity, labels, resolution):
    """The definition, copy by copy: pairs of two copies of one unit are left out of everything."""
    copies = np.repeat(np.arange(len(draw)), draw.astype(int))
    of_one = copies[:, None] == copies
    pairs = ~of_one & np.tri(len(copies), k=-1, dtype=bool)
    index = np.ix_(copies, copies)
    r = np.corrcoef(similarity[index][pairs], connectivity[index][pairs])[0, 1]
    counted = ~of_one | np.eye(len(copies), dtype=bool)
    together = labels[copies][:, None] == labels[copies]
    weights = np.where(of_one, 0, connectivity[index])
    parts, totals = [], []
    for part in (np.maximum(weights, 0), np.maximum(-weights, 0)):
        strength, total = part.sum(axis=1), part.sum()
        expected = np.where(counted, np.outer(strength, strength), 0)
        expected *= total / expected.sum()
        parts.append(((part - resolution * expected) * together).sum())
        totals.append(total)
    return r, parts[0] / totals[0] - parts[1] / sum(totals)


@pytest.mark.parametrize("resolution", [1.0, 1.4])
def test_every_unit_once_gives_the_statistics_themselves(matrices, resolution):
    similarity, connectivity, labels = matrices
    r, q = redrawn(np.ones((1, 14)), *matrices, resolution=resolution)
    pairs = np.triu_indices(14, 1)
    assert r[0] == pytest.approx(np.corrcoef(similarity[pairs], connectivity[pairs])[0, 1], abs=1e-12)
    assert q[0] == pytest.approx(fct.modularity(connectivity, labels, resolution=resolution), abs=1e-12)


@pytest.mark.parametrize("resolution", [1.0, 0.7])
@pytest.mark.parametrize("block", [5, 1024])
def test_copies_of_a_unit_are_no_pairs(matrices, resolution, block, monkeypatch):
    monkeypatch.setattr("fctoolbox.resampling._BLOCK", block)
    draws = draws_of_units(14, 20, 1)
    expected = [by_copies(draw, *matrices, resolution) for draw in draws]
    np.testing.assert_allclose(np.transpose(redrawn(draws, *matrices, resolution=resolution)), expected, atol=1e-12)


def test_units_that_are_not_drawn_do_not_count(matrices):
    similarity, connectivity, labels = matrices
    draw = np.zeros(14)
    draw[[1, 3, 4, 6, 9, 10]] = 1
    kept = np.flatnonzero(draw)
    part = np.ix_(kept, kept)
    np.testing.assert_allclose(
        redrawn(draw[None], similarity, connectivity, labels),
        redrawn(np.ones((1, 6)), similarity[part], connectivity[part], labels[kept]),
        atol=1e-12,
    )


def test_one_community_has_a_quality_of_zero_in_every_draw(matrices):
    similarity, connectivity, _ = matrices
    assert not redrawn(draws_of_units(14, 50, 0), similarity, connectivity, np.zeros(14, dtype=int))[1].any()


def test_single_precision_is_summed_in_double(matrices):
    similarity, connectivity, labels = matrices
    draws = draws_of_units(14, 10, 0)
    single = redrawn(draws, similarity.astype(np.float32), connectivity.astype(np.float32), labels)
    np.testing.assert_allclose(single, redrawn(draws, *matrices), atol=1e-6)


def test_what_a_draw_does_not_define_is_not_a_number(matrices):
    similarity, connectivity, labels = matrices
    two, same = np.zeros((2, 1, 14))
    two[0, [2, 5]] = 7
    same[0, :3] = 1
    flat = similarity.copy()
    flat[:3, :3] = 0.25
    assert np.isnan(redrawn(two, *matrices)).all()
    r, q = redrawn(same, flat, connectivity, labels)
    assert np.isnan(r[0])
    assert np.isfinite(q[0])
    none = redrawn(same, similarity, np.eye(14), labels)
    assert np.isnan(none).all()


def test_draws_have_as_many_units_as_there_are():
    draws = draws_of_units(9, 4000, 3)
    assert (draws.sum(axis=1) == 9).all()
    np.testing.assert_allclose(draws.mean(axis=0), 1, atol=0.06)
    np.testing.assert_allclose(draws.var(axis=0), 8 / 9, atol=0.08)
    np.testing.assert_array_equal(draws[:5], draws_of_units(9, 5, 3))


def test_interval():
    values = np.arange(101) / 100
    assert interval(values, 0.9) == pytest.approx((0.05, 0.95))
    assert interval(np.append(values, np.full(50, np.nan)), 0.9) == pytest.approx((0.05, 0.95))
    assert interval(np.append(values, np.full(150, np.nan)), 0.9) is None
    assert interval(np.array([1.0]), 0.9) is None


def test_intervals_cover_what_they_are_of():
    """Units with random weights, whose activity is driven through similar ones: r among many such units is known."""
    rng = np.random.default_rng(1)
    directions = rng.standard_normal((4, 10))

    def units(n):
        communities = rng.integers(0, 4, n)
        weights = rng.standard_normal((n, 10)) + 0.7 * directions[communities]
        driving = weights + rng.standard_normal(weights.shape)
        return fct.cosine_similarity(weights), fct.cosine_similarity(driving), communities

    def observed(n):
        return np.ravel(redrawn(np.ones((1, n)), *units(n)))

    n = 20
    r = observed(1200)[0]
    q = np.mean([observed(n)[1] for _ in range(300)])
    covered = []
    for _ in range(120):
        ends = [interval(values, 0.9) for values in redrawn(draws_of_units(n, 200, rng), *units(n))]
        covered.append([low <= true <= high for (low, high), true in zip(ends, (r, q), strict=True)])
    share = np.mean(covered, axis=0)
    assert (share > 0.85).all()
    assert (share < 1).all()
