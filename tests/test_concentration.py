import numpy as np
import pytest
from scipy.stats import ttest_ind

from fctoolbox import concentration
from fctoolbox.chance import Space
from fctoolbox.concentration import concentrations, edge_t, null_concentrations, similarity_to_networks

N_UNITS, N_INPUTS = 60, 9


@pytest.fixture
def directions(rng):
    rows = rng.standard_normal((N_UNITS, N_INPUTS))
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@pytest.fixture
def labels(rng):
    return rng.permutation(np.repeat([0, 1, 2, 3], [30, 20, 8, 2]))


def one_by_one(directions, labels):
    """The definitions, unit for unit."""
    similarity = directions @ directions.T
    rows = []
    for i, own in enumerate(labels):
        mine = [similarity[i, j] for j in range(len(labels)) if j != i and labels[j] == own]
        rows.append((np.mean(mine), np.mean(similarity[i, labels != own])))
    return np.array(rows)


def test_two_networks_of_two_units_by_hand():
    # Units 0 and 1 point the same way, 2 and 3 are at right angles to them and opposite each other.
    directions = np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, -1.0]])
    labels = np.array([0, 0, 1, 1])
    assert similarity_to_networks(directions, labels).tolist() == [[1, 0], [1, 0], [-1, 0], [-1, 0]]
    assert concentrations(directions, labels[None], 2).tolist() == [[1, -1]]
    # With unit 2 in the first network: 1, 0 and 0 within (mean 1/3), 0, 0 and -1 to the other (mean -1/3).
    assert concentrations(directions, np.array([[0, 0, 0, 1]]), 2)[0, 0] == pytest.approx(2 / 3)


def test_means_are_those_of_the_similarity(directions, labels):
    expected = one_by_one(directions, labels)
    np.testing.assert_allclose(similarity_to_networks(directions, labels), expected, atol=1e-13)
    own_minus_others = [np.diff(expected[labels == network][:, ::-1]).mean() for network in range(4)]
    np.testing.assert_allclose(concentrations(directions, labels[None], 4)[0], own_minus_others, atol=1e-13)


def test_blocks_change_nothing(directions, labels, rng, monkeypatch):
    partitions = np.stack([rng.permutation(labels) for _ in range(7)])
    whole = concentrations(directions, partitions, 4), similarity_to_networks(directions, labels)
    monkeypatch.setattr(concentration, "_COLUMNS", 2)
    monkeypatch.setattr(concentration, "_INDICATORS", 3 * 4 * N_UNITS)
    np.testing.assert_allclose(concentrations(directions, partitions, 4), whole[0], atol=1e-13)
    np.testing.assert_allclose(similarity_to_networks(directions, labels), whole[1], atol=1e-13)


def test_single_precision_directions(directions, labels):
    single = directions.astype(np.float32)
    np.testing.assert_allclose(
        concentrations(single, labels[None], 4), concentrations(directions, labels[None], 4), atol=1e-6
    )


def test_a_network_of_one_unit_or_of_all_has_no_value(directions):
    labels = np.zeros((2, N_UNITS), dtype=int)
    labels[0, 0] = 1
    values = concentrations(directions, labels, 2)
    assert np.isnan(values).tolist() == [[False, True], [True, True]]


@pytest.mark.parametrize("n_inputs", [N_INPUTS, 100])  # fewer inputs than units, and more
def test_t_is_that_of_scipy(rng, labels, n_inputs):
    rows = rng.standard_normal((N_UNITS, n_inputs)) + 0.4
    directions = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    similarity = directions @ directions.T
    for network, (t, n_within, n_between) in enumerate(edge_t(directions, labels)):
        inside = labels == network
        within = similarity[np.ix_(inside, inside)][np.triu_indices(inside.sum(), 1)]
        between = similarity[np.ix_(inside, ~inside)].ravel()
        assert (n_within, n_between) == (len(within), len(between))
        assert t == pytest.approx(ttest_ind(within, between).statistic, rel=1e-9)


def test_t_without_spread_is_none():
    assert np.isnan(edge_t(np.ones((6, 1)), np.array([0, 0, 0, 1, 1, 1]))[:, 0]).all()


def test_permutation_keeps_sizes_and_averages_to_nothing(directions, labels):
    rng = np.random.default_rng(1)
    nulls = null_concentrations("permutation", directions, labels, Space(), n_nulls=2000, rng=rng)
    # Over all arrangements, a unit's mean similarity within and to others are the same.
    spread = nulls.std(axis=0) / np.sqrt(len(nulls))
    assert (np.abs(nulls.mean(axis=0)) < 4 * spread).all()
