import warnings
from types import SimpleNamespace

import numpy as np
import pytest

import fctoolbox as fct
from fctoolbox import InputError, consensus
from tests.partitions import planted, signed

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import bct


def noisy_copies(labels, n_copies, share, seed):
    rng = np.random.default_rng(seed)
    copies = np.tile(labels, (n_copies, 1))
    wrong = rng.random(copies.shape) < share
    copies[wrong] = rng.integers(0, labels.max() + 1, wrong.sum())
    return copies


def test_coassignment_by_hand():
    shares = fct.coassignment([[0, 0, 1], [4, 2, 2]])
    np.testing.assert_array_equal(shares, [[1, 0.5, 0], [0.5, 1, 0.5], [0, 0.5, 1]])


@pytest.mark.filterwarnings("ignore:Calling np.sum:DeprecationWarning")  # bctpy's
def test_coassignment_agrees_with_bctpy(rng):
    partitions = rng.integers(1, 5, (30, 25))
    ours = fct.coassignment(partitions)
    theirs = bct.agreement(partitions.T) / 30
    np.testing.assert_allclose(ours - np.eye(25), theirs, atol=1e-6)


def test_coassignment_of_more_units_than_a_block(rng):
    partitions = rng.integers(0, 4, (5, 1500))
    shares = fct.coassignment(partitions)
    np.testing.assert_array_equal(shares, shares.T)
    i, j = rng.integers(0, 1500, (2, 300))
    np.testing.assert_allclose(shares[i, j], (partitions[:, i] == partitions[:, j]).mean(axis=0), atol=1e-6)


def test_expected_coassignment_is_the_mean_over_shuffled_labels(rng):
    partitions = rng.integers(0, 3, (4, 12))
    assert fct.expected_coassignment([[0, 0, 1, 1]]) == pytest.approx(1 / 3)
    shuffled = [fct.coassignment(rng.permuted(partitions, axis=1)) for _ in range(400)]
    off_diagonal = ~np.eye(12, dtype=bool)
    assert fct.expected_coassignment(partitions) == pytest.approx(
        np.mean(shuffled, axis=0)[off_diagonal].mean(), abs=0.01
    )


def test_consensus_recovers_what_noisy_copies_share():
    labels = np.repeat([0, 1, 2], [20, 14, 9])
    copies = noisy_copies(labels, 40, 0.3, 0)
    found = fct.consensus_partition(copies, rng=0)
    np.testing.assert_array_equal(found.labels, labels)
    assert found.converged
    assert found.rounds >= 1
    assert found.agreement == pytest.approx(np.mean([fct.adjusted_rand(labels, each) for each in copies]))
    assert found.agreement < 0.8, "no single copy says it"
    assert found.threshold == pytest.approx(fct.expected_coassignment(copies))


def test_consensus_of_restarts_on_planted_communities():
    matrix, labels = planted((25, 20, 15), 3, inside=0.4, noise=0.5)
    restarts = fct.detect_communities(matrix, n_restarts=20, n_kicks=0, rng=0).restart_labels
    assert fct.adjusted_rand(fct.consensus_partition(restarts, rng=0).labels, labels) == 1


def test_consensus_of_equal_partitions_is_that_partition():
    labels = np.array([2, 2, 0, 0, 0, 1])
    found = fct.consensus_partition(np.tile(labels, (7, 1)), rng=0)
    np.testing.assert_array_equal(found.labels, [1, 1, 0, 0, 0, 2])
    assert (found.rounds, found.converged, found.agreement) == (0, True, 1.0)
    assert found.threshold == pytest.approx(fct.expected_coassignment([labels]))
    # The same communities under other numbers are the same partition.
    renamed = fct.consensus_partition([labels, (labels + 1) % 3], rng=0)
    assert renamed.rounds == 0


def test_partitions_without_anything_in_common_have_no_consensus(rng):
    # Two units share a community in 4 of 40 partitions on average; only chance lifts some of them above that.
    partitions = rng.integers(0, 10, (40, 60))
    found = fct.consensus_partition(partitions, rng=0)
    assert found.agreement < 0.1
    nothing = fct.consensus_partition(partitions, threshold=0.6, rng=0)
    assert nothing.labels.tolist() == list(range(60)), "nothing is shared by 60 %: every unit stands alone"
    assert nothing.threshold == 0.6


def test_units_that_are_always_alone_stay_alone():
    copies = noisy_copies(np.repeat([0, 1, 2], [12, 11, 10]), 30, 0.1, 0)
    alone = np.tile(np.arange(10, 16), (30, 1))
    for seed in range(3):
        found = fct.consensus_partition(np.hstack([copies, alone]), rng=seed)
        np.testing.assert_array_equal(found.labels, np.repeat(np.arange(9), [12, 11, 10, 1, 1, 1, 1, 1, 1]))
        assert found.rounds == 1


def test_coassignment_of_single_units_takes_no_room(rng):
    partitions = np.tile(np.arange(2000), (2000, 1))  # a column for each community would take 32 GB
    partitions[:500, 0] = 1
    expected = np.eye(2000)
    expected[0, 1] = expected[1, 0] = 0.25
    np.testing.assert_array_equal(fct.coassignment(partitions), expected)


def test_same_rng_same_consensus_whatever_the_threads():
    copies = noisy_copies(np.repeat([0, 1, 2], 12), 15, 0.6, 2)
    one = fct.consensus_partition(copies, rng=4)
    other = fct.consensus_partition(copies, rng=4, n_jobs=3)
    np.testing.assert_array_equal(one.labels, other.labels)
    assert one.rounds == other.rounds


def rounds_of(monkeypatch, found, partitions, **options):
    """A consensus over rounds whose partitions are given; what each round was handed."""
    handed = []

    def detect(shares, **settings):
        handed.append((shares.copy(), settings))
        return SimpleNamespace(restart_labels=np.array(found[min(len(handed), len(found)) - 1]))

    monkeypatch.setattr(consensus, "detect_communities", detect)
    return fct.consensus_partition(partitions, **options), handed


def test_each_round_partitions_what_the_last_one_shares_above_its_own_chance(monkeypatch):
    given, first, last = (
        [[0, 0, 0, 0, 0, 1], [0, 0, 0, 0, 1, 1]],
        [[0, 0, 0, 1, 1, 2], [0, 1, 1, 0, 2, 2]],
        [[0] * 6] * 2,
    )
    source = np.random.default_rng(0)
    found, handed = rounds_of(monkeypatch, [first, last], given, rng=source, resolution=0.7, n_restarts=9, n_jobs=3)
    assert (found.rounds, found.converged, found.labels.tolist()) == (2, True, [0] * 6)
    assert found.threshold == pytest.approx(fct.expected_coassignment(given))
    for (shares, settings), partitions in zip(handed, (given, first), strict=True):
        expected = fct.coassignment(partitions) - np.eye(6)
        expected[expected <= fct.expected_coassignment(partitions)] = 0
        np.testing.assert_array_equal(shares, expected)
        assert settings == {"objective": "modularity", "resolution": 0.7, "n_restarts": 9, "rng": source, "n_jobs": 3}


def test_a_consensus_that_is_not_reached_says_so(monkeypatch):
    monkeypatch.setattr(consensus, "_MAX_ROUNDS", 3)
    apart = [[0, 0, 1, 1], [0, 0, 0, 1]]
    found, _ = rounds_of(monkeypatch, [apart], apart)
    assert (found.rounds, found.converged) == (3, False)


def test_a_share_no_higher_than_the_threshold_is_none():
    # Together in one of two, as by chance; in one of three, where single precision rounds up.
    assert fct.consensus_partition([[0, 1], [0, 0]], rng=0).labels.tolist() == [0, 1]
    thirds = [[0, 0, 1, 2], [0, 1, 2, 2], [0, 1, 2, 3]]
    assert fct.consensus_partition(thirds, threshold=1 / 3, rng=0).labels.tolist() == [0, 1, 2, 3]
    assert fct.consensus_partition(thirds, threshold=0.3, rng=0).labels.tolist() == [0, 0, 1, 1]


def hierarchy():
    """4 communities of 12 units, in 2 pairs."""
    small, large = np.repeat(np.arange(4), 12), np.repeat(np.arange(2), 24)
    matrix = 0.5 * (small[:, None] == small) + 0.3 * (large[:, None] == large) - 0.05 + 0.1 * signed(48, 0)
    return matrix, small, large


def test_a_sweep_finds_both_levels_of_a_hierarchy():
    matrix, small, large = hierarchy()
    gammas = np.linspace(0.2, 2.0, 10)
    sweep = fct.resolution_sweep(matrix, gammas, n_restarts=6, rng=0)
    agreement = np.array([[fct.adjusted_rand(labels, level) for level in (small, large)] for labels in sweep.labels])
    assert agreement[:, 0].max() == 1
    assert agreement[:, 1].max() == 1
    assert (np.diff(sweep.n_communities[agreement.max(axis=1) == 1]) >= 0).all()
    assert sweep.stability[agreement.max(axis=1) == 1].min() > 0.99
    assert sweep.n_communities[sweep.most_stable] in (2, 4)
    for k, gamma in enumerate(gammas):
        assert sweep.q[k] == pytest.approx(fct.modularity(matrix, sweep.labels[k], resolution=gamma), abs=1e-13)
        beside = [sweep.labels[j] for j in (k - 1, k + 1) if 0 <= j < 10]
        expected = np.mean([fct.adjusted_rand(sweep.labels[k], each) for each in beside])
        assert sweep.persistence[k] == pytest.approx(expected, abs=1e-12)


def test_a_sweep_searches_as_it_is_asked_to():
    matrix = signed(40, 0)
    options = {"objective": "negative_sym", "n_restarts": 3, "n_kicks": 0}
    sweep = fct.resolution_sweep(matrix, [0.8, 1.3], rng=5, **options)
    source = np.random.default_rng(5)
    found = [fct.detect_communities(matrix, resolution=gamma, rng=source, **options) for gamma in (0.8, 1.3)]
    np.testing.assert_array_equal(sweep.labels, [each.labels for each in found])
    assert sweep.stability.tolist() == [fct.mean_agreement(each.restart_labels) for each in found]


def test_noise_is_less_stable_than_structure():
    matrix, *_ = hierarchy()
    order = np.random.default_rng(0)
    noise = np.zeros_like(matrix)
    above = np.triu_indices(48, 1)
    noise[above] = order.permutation(matrix[above])
    settings = {"n_restarts": 10, "n_kicks": 0, "rng": 0}
    structured = fct.resolution_sweep(matrix, [1.0], **settings)
    assert fct.resolution_sweep(noise + noise.T, [1.0], **settings).stability[0] < structured.stability[0] - 0.3
    assert structured.persistence.tolist() == [1.0]


def test_the_most_stable_resolution_is_never_a_trivial_one():
    sweep = fct.ResolutionSweep(
        resolutions=np.arange(5.0),
        labels=np.array([[0] * 6, [0, 0, 0, 1, 1, 1], [0, 0, 1, 1, 2, 2], [0, 0, 1, 1, 2, 2], [0, 1, 2, 3, 4, 5]]),
        q=np.zeros(5),
        n_communities=np.array([1, 2, 3, 3, 6]),
        stability=np.array([1.0, 0.9, 0.95, 0.95, 1.0]),
        persistence=np.array([0.5, 0.9, 0.7, 0.7, 0.5]),
    )
    assert sweep.most_stable == 2
    one = np.ones(1)
    trivial = fct.ResolutionSweep(one, np.zeros((1, 6), dtype=int), one, np.ones(1, dtype=int), one, one)
    with pytest.raises(InputError, match="no resolution gave more than one"):
        _ = trivial.most_stable


def test_bad_input():
    for partitions, message in (
        ([0, 1, 1], r"shape \(3,\); they need \(n_partitions, n_units\)"),
        (np.zeros((0, 4)), "n_partitions"),
        ([[0, np.nan, 1]], "NaN"),
    ):
        for function in (fct.coassignment, fct.expected_coassignment, fct.consensus_partition):
            with pytest.raises(InputError, match=message):
                function(partitions)
    for threshold in (1.5, 1.0, -0.1):
        with pytest.raises(InputError, match=f"threshold is {threshold}"):
            fct.consensus_partition([[0, 1], [0, 0]], threshold=threshold)
    with pytest.raises(InputError, match=r"n_restarts is 0"):
        fct.consensus_partition([[0, 1], [0, 0]], n_restarts=0)
    for gammas in ([], [1.0, 0.5], [1.0, 1.0], [1.0, np.nan], 1.0):
        with pytest.raises(InputError, match="increasing finite numbers"):
            fct.resolution_sweep(signed(5, 0), gammas)
