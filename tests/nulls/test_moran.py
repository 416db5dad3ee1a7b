import sys
import warnings

import numpy as np
import pytest
from scipy import sparse
from scipy.optimize import linear_sum_assignment

from fctoolbox import InputError
from fctoolbox.nulls import permutation
from fctoolbox.nulls.distances import euclidean_distances
from fctoolbox.nulls.moran import (
    MoranEigenvectors,
    inverse_distances,
    moran,
    moran_by_angles,
    moran_by_signs,
    moran_eigenvectors,
    moran_labels,
)


@pytest.fixture
def positions(rng):
    return rng.standard_normal((61, 3))


@pytest.fixture
def distances(positions):
    return euclidean_distances(positions)


@pytest.fixture
def basis(distances):
    return moran_eigenvectors(inverse_distances(distances))


@pytest.fixture
def maps(positions, rng):
    return np.vstack([positions.T, rng.standard_normal(61)]) + 3


def morans_i(maps, weights):
    centred = maps - maps.mean(axis=-1, keepdims=True)
    products = np.einsum("...i,ij,...j->...", centred, weights, centred)
    return weights.shape[0] / weights.sum() * products / (centred**2).sum(axis=-1)


class TestEigenvectors:
    def test_by_hand(self):
        # a ring of 4: the eigenvectors are its Fourier modes, with cos 2πk/4 times the two neighbours
        ring = np.roll(np.eye(4), 1, axis=0) + np.roll(np.eye(4), -1, axis=0)
        found = moran_eigenvectors(ring)
        np.testing.assert_allclose(found.values, [0, 0, -2], atol=1e-12)
        np.testing.assert_allclose(np.abs(found.vectors[:, 2]), 0.5)

    def test_definition(self, distances, basis):
        weights = inverse_distances(distances)
        n = len(weights)
        centring = np.eye(n) - 1 / n
        np.testing.assert_allclose(
            centring @ weights @ centring @ basis.vectors, basis.vectors * basis.values, atol=1e-10
        )
        np.testing.assert_allclose(basis.vectors.T @ basis.vectors, np.eye(n - 1), atol=1e-12)
        np.testing.assert_allclose(basis.vectors.sum(axis=0), 0, atol=1e-12)
        assert (np.diff(basis.values) <= 0).all()
        np.testing.assert_allclose(morans_i(basis.vectors.T, weights), basis.values * n / weights.sum())

    def test_only_the_symmetric_part_off_the_diagonal_counts(self, distances, basis, rng):
        weights = inverse_distances(distances)
        skew = rng.standard_normal(weights.shape)
        odd = weights + skew - skew.T
        np.fill_diagonal(odd, 7)
        np.testing.assert_allclose(moran_eigenvectors(odd).values, basis.values, atol=1e-10)
        np.testing.assert_allclose(moran_eigenvectors(sparse.csr_array(weights)).vectors, basis.vectors, atol=1e-12)

    def test_nothing_is_lost_where_eigenvalues_are_zero(self, maps):
        pairs = np.zeros((61, 61))  # a single edge: all but two eigenvalues are (nearly) zero
        pairs[3, 4] = pairs[4, 3] = 1
        null = moran(maps, weights=pairs, n_nulls=3, rng=0)
        np.testing.assert_allclose(null.var(axis=-1), np.tile(maps.var(axis=-1), (3, 1)))


@pytest.mark.parametrize("procedure", ["singleton", "pair"])
class TestBothProcedures:
    def test_mean_and_variance_are_kept(self, maps, basis, procedure):
        nulls = moran(maps, eigenvectors=basis, n_nulls=20, rng=0, procedure=procedure)
        assert nulls.shape == (20, 4, 61)
        np.testing.assert_allclose(nulls.mean(axis=-1), np.tile(maps.mean(axis=-1), (20, 1)))
        np.testing.assert_allclose(nulls.var(axis=-1), np.tile(maps.var(axis=-1), (20, 1)))

    def test_morans_i_is_kept(self, maps, distances, basis, procedure):
        weights = inverse_distances(distances)
        observed, nulls = (
            morans_i(maps, weights),
            moran(maps, eigenvectors=basis, n_nulls=50, rng=0, procedure=procedure),
        )
        tolerance = 1e-12 if procedure == "singleton" else 0.15 * observed[:3].max()
        np.testing.assert_allclose(morans_i(nulls, weights), np.tile(observed, (50, 1)), atol=tolerance)

    def test_nulls_differ_from_the_map_and_have_no_preferred_direction(self, maps, basis, procedure):
        nulls = moran(maps[0], eigenvectors=basis, n_nulls=500, rng=0, procedure=procedure)
        r = np.corrcoef(maps[0], nulls)[0, 1:]
        assert abs(r.mean()) < 5 * r.std() / np.sqrt(500)
        assert np.abs(r).max() < 0.99

    def test_joint_keeps_covariances(self, maps, basis, procedure):
        joint = moran(maps, eigenvectors=basis, n_nulls=5, rng=0, procedure=procedure, joint=True)
        single = moran(maps, eigenvectors=basis, n_nulls=5, rng=0, procedure=procedure)
        for together, apart in zip(joint, single, strict=True):
            np.testing.assert_allclose(np.cov(together), np.cov(maps))
            assert not np.allclose(np.cov(apart), np.cov(maps), atol=0.05)

    def test_same_rng_same_nulls_and_one_null_keeps_its_axis(self, maps, distances, basis, procedure):
        one = moran(maps[0], distances=distances, n_nulls=1, rng=5, procedure=procedure)
        assert one.shape == (1, 61)
        many = moran(maps[:1], eigenvectors=basis, n_nulls=9, rng=5, procedure=procedure)
        np.testing.assert_allclose(many[:1, 0], one)

    def test_not_all_at_once(self, maps, basis, procedure, monkeypatch):
        whole = moran(maps, eigenvectors=basis, n_nulls=7, rng=5, procedure=procedure)
        monkeypatch.setattr(sys.modules["fctoolbox.nulls.moran"], "_BLOCK_VALUES", 500)
        np.testing.assert_allclose(moran(maps, eigenvectors=basis, n_nulls=7, rng=5, procedure=procedure), whole)

    def test_even_numbers_of_units(self, positions, procedure):
        distances = euclidean_distances(positions[:60])  # an odd number of components
        nulls = moran(positions[:60, 0], distances=distances, n_nulls=4, rng=0, procedure=procedure)
        np.testing.assert_allclose(nulls.var(axis=1), positions[:60, 0].var())


@pytest.fixture
def brainspace_moran():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip("brainspace.null_models.moran")


class TestAgainstBrainspace:
    def test_eigenvectors(self, brainspace_moran, distances, basis):
        weights = distances.copy()
        np.fill_diagonal(weights, 1)  # the custom; the same eigenvectors, and eigenvalues larger by 1
        theirs, values = brainspace_moran.compute_mem(1 / weights, tol=1e-4)  # it computes in single precision
        assert theirs.shape == basis.vectors.shape
        np.testing.assert_allclose(values - 1, basis.values, atol=1e-4)
        apart = np.abs(np.diff(basis.values)) > 0.05
        alone = np.append(apart, True) & np.append(True, apart)  # neighbours in the spectrum mix
        assert alone.sum() > 5
        np.testing.assert_allclose(np.abs((theirs * basis.vectors).sum(axis=0))[alone], 1, atol=1e-3)

    def test_same_signs(self, brainspace_moran, maps, basis):
        theirs = brainspace_moran.moran_randomization(maps.T, basis.vectors, n_rep=6, random_state=2)
        signs = np.random.RandomState(2).choice([-1.0, 1.0], size=(6, 60, 4))
        ours = moran_by_signs(maps, basis, signs.transpose(0, 2, 1))
        np.testing.assert_allclose(ours.transpose(0, 2, 1), theirs)

    def test_same_angles(self, brainspace_moran, maps, basis):
        theirs = brainspace_moran.moran_randomization(maps.T, basis.vectors, n_rep=6, procedure="pair", random_state=2)
        state = np.random.RandomState(2)
        coefficients = (maps - maps.mean(axis=1, keepdims=True)) @ basis.vectors
        for null in theirs:
            drawn = state.permutation(60)
            one, other = drawn[:30], drawn[30:]
            # it sets the angle where ours adds one
            angles = state.uniform(0, 2 * np.pi, size=(30, 4)).T - np.arctan2(
                coefficients[:, other], coefficients[:, one]
            )
            ours = moran_by_angles(maps, basis, angles[None], pairs=np.stack([one, other], axis=1).ravel())
            np.testing.assert_allclose(ours[0].T, null)

    def test_why_pairs_are_neighbours(self, brainspace_moran, maps, distances, basis):
        weights = inverse_distances(distances)
        theirs = brainspace_moran.moran_randomization(
            maps[0], basis.vectors, n_rep=200, procedure="pair", random_state=2
        )
        ours = moran(maps[0], eigenvectors=basis, n_nulls=200, rng=0, procedure="pair")
        observed, noise = morans_i(maps[0], weights), -1 / 60
        assert morans_i(theirs, weights).mean() == pytest.approx((observed + noise) / 2, rel=0.1)
        assert morans_i(ours, weights).mean() == pytest.approx(observed, rel=0.05)


class TestLabels:
    @pytest.fixture
    def labels(self, positions):
        return np.digitize(positions[:, 0], [-0.6, 0.2, 0.9])

    @pytest.mark.parametrize("procedure", ["singleton", "pair"])
    def test_sizes_are_kept(self, labels, distances, procedure):
        nulls = moran_labels(labels, distances=distances, n_nulls=20, rng=0, procedure=procedure)
        assert nulls.shape == (20, 61)
        np.testing.assert_array_equal(np.sort(nulls, axis=1), np.tile(np.sort(labels), (20, 1)))
        assert len(np.unique(nulls, axis=0)) == 20

    def test_labels_are_names(self, labels, basis):
        first = moran_labels(labels, eigenvectors=basis, n_nulls=10, rng=0)
        for names in (np.array([2, 0, 3, 1]), np.array([70, 5, 600, 9])):
            renamed = moran_labels(names[labels], eigenvectors=basis, n_nulls=10, rng=0)
            np.testing.assert_array_equal(renamed, names[first])

    def test_two_communities_are_the_highest_values_of_one_map(self, positions, basis):
        labels = (positions[:, 0] > 0.5).astype(int)
        maps = moran(labels, eigenvectors=basis, n_nulls=10, rng=0)
        highest = np.argsort(np.argsort(-maps, axis=1), axis=1) < labels.sum()
        np.testing.assert_array_equal(moran_labels(labels, eigenvectors=basis, n_nulls=10, rng=0), highest)

    def test_signs_of_the_eigenvectors_do_not_matter(self, labels, basis, rng):
        turned = MoranEigenvectors(basis.vectors * rng.choice([-1, 1], 60), basis.values)
        np.testing.assert_array_equal(
            moran_labels(labels, eigenvectors=basis, n_nulls=5, rng=0),
            moran_labels(labels, eigenvectors=turned, n_nulls=5, rng=0),
        )

    def test_more_compact_than_shuffled_labels_and_less_than_observed(self, positions, labels, distances):
        neighbours = np.argsort(distances, axis=1)[:, 1:6]

        def together(partitions):
            partitions = np.atleast_2d(partitions)
            return (partitions[:, neighbours] == partitions[:, :, None]).mean()

        nulls = moran_labels(labels, distances=distances, n_nulls=100, rng=0)
        shuffled = together(permutation(labels, n_nulls=100, rng=0))
        assert shuffled + 0.1 < together(nulls) < together(labels) - 0.05  # the warning in the docstring

    def test_the_assignment_is_the_best(self, rng):
        from fctoolbox.nulls._moran import sized_assignment

        for _ in range(20):
            sizes = rng.multinomial(40, [0.1, 0.2, 0.3, 0.4])
            scores = rng.standard_normal((4, 40)) + rng.standard_normal((4, 1))
            labels = sized_assignment(scores, sizes)
            np.testing.assert_array_equal(np.bincount(labels, minlength=4), sizes)
            places = np.repeat(np.arange(4), sizes)
            best = scores[places][linear_sum_assignment(-scores[places])].sum()
            assert scores[labels, np.arange(40)].sum() == pytest.approx(best)

    def test_ties_and_one_community(self, basis):
        from fctoolbox.nulls._moran import sized_assignment

        np.testing.assert_array_equal(np.bincount(sized_assignment(np.zeros((3, 9)), np.array([2, 3, 4]))), [2, 3, 4])
        np.testing.assert_array_equal(
            moran_labels(np.full(61, 4), eigenvectors=basis, n_nulls=2, rng=0), np.full((2, 61), 4)
        )
        every = moran_labels(np.arange(61), eigenvectors=basis, n_nulls=2, rng=0)
        np.testing.assert_array_equal(np.sort(every), np.tile(np.arange(61), (2, 1)))

    def test_bad_input(self, labels, basis):
        with pytest.raises(InputError, match="there are 9 labels, but the weights are of 61 units"):
            moran_labels(labels[:9], eigenvectors=basis, n_nulls=1)
        with pytest.raises(InputError, match=r"labels have shape \(1, 61\)"):
            moran_labels(labels[None], eigenvectors=basis, n_nulls=1)
        with pytest.raises(InputError, match="n_nulls is 0"):
            moran_labels(labels, eigenvectors=basis, n_nulls=0)


def test_bad_input(maps, distances, basis):
    keywords = {"distances": distances, "n_nulls": 1}
    for values, changes, message in [
        (maps[:, :9], {}, r"the maps have shape \(4, 9\), but the weights are of 61 units"),
        (maps[None], {}, r"shape \(1, 4, 61\); they need"),
        (np.where(maps == maps[1, 2], np.nan, maps), {}, "the array of maps has 1 value .* row 1, column 2"),
        (maps, {"distances": None}, "needs one of weights, distances and eigenvectors"),
        (maps, {"eigenvectors": basis}, "needs one of weights, distances and eigenvectors"),
        (maps, {"n_nulls": 0}, "n_nulls is 0"),
        (maps, {"procedure": "singelton"}, "no procedure named 'singelton'. Did you mean 'singleton'"),
        (maps, {"rng": -1}, "rng is -1"),
        (maps, {"distances": np.triu(distances)}, "distances is not symmetric"),
    ]:
        with pytest.raises(InputError, match=message):
            moran(values, **{**keywords, **changes})
    twins = distances.copy()
    twins[[3, 8], [8, 3]] = 0
    with pytest.raises(InputError, match=r"units 3 and 8 .* at the same place"):
        moran(maps, distances=twins, n_nulls=1)
    for weights, message in [
        (np.zeros((5, 5)), "all weights are zero"),
        (np.ones((5, 4)), r"shape \(5, 4\), but they must be square"),
        (np.ones((3, 3)), "for 4 to 20,000 units, and there are 3"),
        (np.full((5, 5), np.inf), "the weights has 20 values that are not finite"),
    ]:
        with pytest.raises(InputError, match=message):
            moran_eigenvectors(weights)
    with pytest.raises(InputError, match="do not all have a mean of zero"):
        MoranEigenvectors(np.eye(4), np.ones(4))
    with pytest.raises(InputError, match=r"shape \(4, 4\) and the eigenvalues \(3,\)"):
        MoranEigenvectors(np.eye(4), np.ones(3))
