import itertools
import subprocess
import sys
import warnings

import networkx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fctoolbox import InputError, communities, cosine_similarity, detect_communities, modularity
from fctoolbox.communities import _quality_matrix, modularities

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import bct


def signed(n, seed, density=1.0):
    rng = np.random.default_rng(seed)
    matrix = np.triu(rng.standard_normal((n, n)) * (rng.random((n, n)) < density), 1)
    return matrix + matrix.T


def set_partitions(n):
    """All partitions of n units as labels (restricted growth strings)."""
    labels = [0] * n

    def grow(i, used):
        if i == n:
            yield tuple(labels)
            return
        for label in range(used + 1):
            labels[i] = label
            yield from grow(i + 1, max(used, label + 1))

    yield from grow(1, 1)


def test_two_triangles_and_an_edge():
    graph = networkx.barbell_graph(3, 0)
    matrix = networkx.to_numpy_array(graph)
    assert modularity(matrix, [0, 0, 0, 1, 1, 1]) == pytest.approx(5 / 14, abs=1e-15)


def test_unsigned_agrees_with_networkx(rng):
    matrix = np.abs(signed(20, 1))
    labels = rng.integers(0, 4, 20)
    communities = [set(np.flatnonzero(labels == c)) for c in np.unique(labels)]
    for resolution in (0.5, 1.0, 1.7):
        expected = networkx.algorithms.community.modularity(
            networkx.from_numpy_array(matrix), communities, resolution=resolution
        )
        assert modularity(matrix, labels, resolution=resolution) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("n", [6, 30, 80])
@pytest.mark.parametrize("resolution", [1.0, 0.6, 1.5])
def test_quality_agrees_with_bctpy_on_its_own_partition(n, resolution):
    for seed in range(5):
        matrix = signed(n, seed, density=0.7)
        labels, q = bct.community_louvain(matrix, gamma=resolution, B="negative_asym", seed=seed)
        assert modularity(matrix, labels, resolution=resolution) == pytest.approx(q, abs=1e-12)


def test_formula_term_by_term(rng):
    # Rubinov & Sporns 2011, written out as the double sum.
    matrix, labels = signed(9, 3), rng.integers(0, 3, 9)
    positive, negative = np.maximum(matrix, 0), np.maximum(-matrix, 0)
    plus, minus = positive.sum(), negative.sum()
    total = 0.0
    for i, j in itertools.product(range(9), repeat=2):
        if labels[i] == labels[j]:
            total += (positive[i, j] - positive[i].sum() * positive[j].sum() / plus) / plus
            total -= (negative[i, j] - negative[i].sum() * negative[j].sum() / minus) / (plus + minus)
    assert modularity(matrix, labels) == pytest.approx(total, abs=1e-14)


@pytest.mark.parametrize(("negative", "expected"), [(50, 0.7525252525), (25, 0.365), (10, 0.113)])
def test_sign_model(negative, expected):
    # FACTS C4: n = 100 units with one input of weight ±1.
    weights = np.ones((100, 1))
    weights[:negative] = -1
    found = detect_communities(cosine_similarity(weights), n_restarts=5, rng=0)
    assert found.q == pytest.approx(expected, abs=1e-9 if negative == 50 else 5e-4)
    assert set(found.sizes) == {negative, 100 - negative}


def test_sign_model_without_negative_weights_is_exactly_one_module():
    found = detect_communities(cosine_similarity(np.ones((100, 3))), n_restarts=5, rng=0)
    assert found.q == 0
    assert found.n == 1


def test_one_module_has_exactly_no_modularity(rng):
    for seed in range(20):
        assert modularity(signed(17, seed), np.zeros(17, dtype=int)) == 0


def test_best_of_gaussian_projections(rng):
    # FACTS C4: mean best Q* for 100 units and Gaussian weights.
    for n_inputs, expected in ((2, 0.573), (10, 0.349), (100, 0.222)):
        q = [
            detect_communities(cosine_similarity(rng.standard_normal((100, n_inputs))), n_restarts=5, rng=i).q
            for i in range(4)
        ]
        assert np.mean(q) == pytest.approx(expected, abs=0.03)


def test_the_diagonal_does_not_matter_and_nothing_is_changed(rng):
    matrix, labels = signed(15, 0), rng.integers(0, 3, 15)
    with_diagonal = matrix + 7 * np.eye(15)
    before = with_diagonal.copy()
    assert modularity(with_diagonal, labels) == modularity(matrix, labels)
    assert detect_communities(with_diagonal, n_restarts=3, rng=0).q == detect_communities(matrix, n_restarts=3, rng=0).q
    np.testing.assert_array_equal(with_diagonal, before)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.floats(1e-6, 1e6))
def test_invariances(seed, scale):
    rng = np.random.default_rng(seed)
    matrix, labels, order = signed(12, seed), rng.integers(0, 4, 12), rng.permutation(12)
    q = modularity(matrix, labels)
    assert modularity(matrix[np.ix_(order, order)], labels[order]) == pytest.approx(q, abs=1e-13)
    assert modularity(scale * matrix, labels) == pytest.approx(q, abs=1e-13)
    assert modularity(matrix, [f"module {3 - label}" for label in labels]) == pytest.approx(q, abs=1e-13)


def test_many_partitions_at_once(rng):
    matrix, partitions = signed(14, 2), rng.integers(0, 5, (40, 14))
    np.testing.assert_allclose(
        modularities(matrix, partitions), [modularity(matrix, each) for each in partitions], atol=1e-15
    )


@pytest.mark.parametrize("n", [4, 6, 8])
def test_no_partition_at_all_is_better(n):
    partitions = np.array(list(set_partitions(n)))
    for seed in range(15):
        matrix = signed(n, seed)
        best = modularities(matrix, partitions).max()
        assert detect_communities(matrix, n_restarts=20, rng=seed).q == pytest.approx(best, abs=1e-12)


def test_no_single_move_gains(rng):
    matrix = signed(40, 5)
    found = detect_communities(matrix, n_restarts=1, rng=0)
    assert found.converged
    for unit in range(40):
        for module in range(found.n + 1):
            labels = found.labels.copy()
            labels[unit] = module
            assert modularity(matrix, labels) <= found.q + 1e-9


def test_never_below_bctpy():
    for seed in range(4):
        matrix = signed(60, seed)
        theirs = max(bct.community_louvain(matrix, B="negative_asym", seed=100 * seed + i)[1] for i in range(10))
        assert detect_communities(matrix, n_restarts=10, rng=seed).q >= theirs - 1e-6


def test_planted_communities_are_found(rng):
    planted = np.repeat(np.arange(4), [12, 9, 7, 5])
    matrix = np.where(planted[:, None] == planted, 0.8, -0.1) + 0.2 * signed(33, 0)
    found = detect_communities(matrix, n_restarts=10, rng=0)
    assert found.labels.tolist() == planted.tolist()  # labels are in order of size
    assert found.sizes == (12, 9, 7, 5)


def test_the_diagonal_choice_is_visible(rng):
    # The same FC with a unit diagonal left in place would score otherwise: the reason why the choice is fixed.
    timeseries = rng.standard_normal((60, 30))
    connectivity = np.corrcoef(timeseries.T)
    ours = detect_communities(connectivity, n_restarts=10, rng=0).q
    theirs = bct.community_louvain(connectivity, B="negative_asym", seed=0)[1]
    assert theirs > ours + 0.05


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_same_rng_same_partition(n_jobs):
    matrix = signed(50, 9)
    first = detect_communities(matrix, n_restarts=8, rng=3, n_jobs=1)
    again = detect_communities(matrix, n_restarts=8, rng=np.random.default_rng(3), n_jobs=n_jobs)
    np.testing.assert_array_equal(first.labels, again.labels)
    np.testing.assert_array_equal(first.restart_q, again.restart_q)
    assert first.q == first.restart_q.max()
    assert len(np.unique(first.restart_q.round(9))) > 1, "restarts that cannot differ are no restarts"


def test_global_random_state_is_left_alone():
    state = np.random.get_state()[1].copy()
    detect_communities(signed(10, 0), n_restarts=2, rng=0)
    np.testing.assert_array_equal(np.random.get_state()[1], state)


def test_quality_matrix_sums_to_the_modularity(rng):
    matrix, labels = signed(11, 4), rng.integers(0, 3, 11)
    quality = _quality_matrix(matrix, 1.3)
    same = labels[:, None] == labels
    assert quality[same].sum() == pytest.approx(modularity(matrix, labels, resolution=1.3), abs=1e-13)


@pytest.mark.parametrize(
    ("matrix", "message"),
    [
        (np.ones((3, 4)), r"shape \(3, 4\), but it must be square"),
        (np.array([[0.0, 1, 2], [1, 0, 3], [2, 5, 0]]), r"not symmetric: \[1, 2\] is 3, but \[2, 1\] is 5"),
        (np.array([[0.0, np.nan], [np.nan, 0]]), "2 values that are not finite"),
        (np.eye(4), "zero everywhere off the diagonal"),
        (np.ones((1, 1)), "single unit"),
    ],
)
def test_bad_matrices(matrix, message):
    with pytest.raises(InputError, match=message):
        detect_communities(matrix, rng=0)
    with pytest.raises(InputError, match=message):
        modularity(matrix, np.zeros(len(matrix), dtype=int))


def test_bad_labels_and_settings():
    matrix = signed(5, 0)
    with pytest.raises(InputError, match=r"shape \(4,\), but the matrix needs \(5,\)"):
        modularity(matrix, [0, 0, 1, 1])
    with pytest.raises(InputError, match="NaN"):
        modularity(matrix, [0, 0, 1, 1, np.nan])
    with pytest.raises(InputError, match="n_restarts is 0"):
        detect_communities(matrix, n_restarts=0)
    with pytest.raises(InputError, match="n_jobs is 0"):
        detect_communities(matrix, n_jobs=0)
    for resolution in (-1.0, np.nan):
        with pytest.raises(InputError, match="0 or more"):
            modularity(matrix, [0, 0, 1, 1, 1], resolution=resolution)
        with pytest.raises(InputError, match="0 or more"):
            detect_communities(matrix, resolution=resolution)


def test_without_a_folder_for_compiled_code():
    # A cluster's read-only installation and home: numba finds no place, and the loop is compiled in memory instead.
    code = (
        "import numba.core.caching as caching; caching.CacheImpl._locator_classes = []\n"
        "import numpy, fctoolbox; print(fctoolbox.detect_communities(1 - numpy.eye(4), n_restarts=1, rng=0).n)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.stdout.strip(), done.returncode) == ("1", 0), done.stderr


def test_a_search_that_is_cut_short_says_so(monkeypatch):
    monkeypatch.setattr(communities, "_MAX_ROUNDS", 0)
    assert not detect_communities(signed(10, 0), n_restarts=2, rng=0).converged
