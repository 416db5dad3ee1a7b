import importlib.util
import sys
import warnings

import numpy as np
import pytest
from brainsmash.mapgen.base import Base
from brainsmash.mapgen.sampled import Sampled

from fctoolbox import Geometry, InputError
from fctoolbox.nulls import _variogram_space as space_module
from fctoolbox.nulls import euclidean_distances, permutation, variogram
from fctoolbox.nulls._variogram_engines import Loops, Torch
from fctoolbox.nulls._variogram_space import shares_of, space_of
from fctoolbox.nulls.distances import distances_of
from fctoolbox.nulls.variogram import (
    Nearest,
    _Draws,
    _surrogates,
    check_variogram,
    nearest_units,
    variogram_surrogates,
)

variogram_module = sys.modules["fctoolbox.nulls.variogram"]
KERNELS = ("exp", "gaussian", "invdist", "uniform")
N = 90


@pytest.fixture
def positions(rng):
    """On a sphere."""
    points = rng.standard_normal((N, 3))
    return points / np.linalg.norm(points, axis=1, keepdims=True)


@pytest.fixture
def distances(positions):
    return euclidean_distances(positions)


@pytest.fixture
def rough(rng, distances):
    """A map with an exponential covariance, which variogram surrogates are made for."""
    return np.linalg.cholesky(np.exp(-distances / 0.5)) @ rng.standard_normal(N)


@pytest.fixture
def communities(rng, distances):
    """Compact ones, each around a unit."""
    return np.unique(np.argmin(distances[:, rng.choice(N, 5, replace=False)], axis=1), return_inverse=True)[1]


def sampled(distances, n_neighbours):
    """All rows sorted, and the nearest without the unit itself."""
    index = np.argsort(distances, axis=1)
    lengths = np.take_along_axis(distances, index, axis=1)
    return lengths, index, Nearest(index[:, 1 : n_neighbours + 1], lengths[:, 1 : n_neighbours + 1])


def base_draws(seed, n_nulls):
    """What brainsmash's Base draws, when each surrogate is a batch."""
    permutations, noise = [], []
    for each in np.random.RandomState(seed).randint(np.iinfo(np.int32).max, size=n_nulls):
        random = np.random.RandomState(each)
        permutations.append(random.random_sample((N, 1)).argsort(axis=0).T)
        noise.append(random.randn(N, 1).T)
    return _Draws(np.array(permutations), np.array(noise), np.empty((n_nulls, 0), int))


def sampled_draws(seed, n_nulls, n_rows):
    """What brainsmash's Sampled draws."""
    found = []
    for each in np.random.RandomState(seed).randint(np.iinfo(np.int32).max, size=n_nulls):
        random = np.random.RandomState(each)
        order, rows = random.permutation(N)[None], random.choice(N, size=n_rows, replace=False)
        found.append((order, random.randn(1, N), rows))
    return _Draws(*(np.array(each) for each in zip(*found, strict=True)))


def dense_space(distances, kernel="exp"):
    return space_of(distances, shares_of(None, distances), kernel, 25, 25, 0, 1)


def neighbour_difference(maps, distances):
    """Mean squared difference to the nearest neighbour, over that to any unit; 1 for noise."""
    nearest = np.argsort(distances, axis=1)[:, 1]
    maps = np.atleast_2d(maps)
    return ((maps - maps[:, nearest]) ** 2).mean() / (2 * maps.var(axis=1).mean())


# --- a second implementation ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("resample", [False, True])
@pytest.mark.parametrize("kernel", KERNELS)
def test_equals_brainsmash_given_its_draws(rough, distances, kernel, resample):
    theirs = Base(rough, distances, kernel=kernel, resample=resample, seed=3)(n=5)
    backend = Loops(dense_space(distances, kernel), 2)
    ours = _surrogates(backend, rough[None], base_draws(3, 5), resample=resample)
    np.testing.assert_allclose(ours.maps[:, 0], theirs, rtol=0, atol=1e-10)
    base = Base(rough, distances)
    np.testing.assert_allclose(backend.space.lags, base.h, atol=1e-13)
    for k in range(5):
        np.testing.assert_allclose(
            ours.fitted[k, 0], base.compute_smooth_variogram(np.ma.masked_invalid(theirs[k])), atol=1e-10
        )
    np.testing.assert_allclose(ours.target[0, 0], base.compute_smooth_variogram(base.x), atol=1e-10)


@pytest.mark.parametrize("resample", [False, True])
@pytest.mark.parametrize("kernel", KERNELS)
def test_equals_brainsmash_with_sampled_rows(rough, distances, kernel, resample):
    lengths, index, nearest = sampled(distances, 50)
    theirs = Sampled(rough, lengths, index, ns=30, knn=50, kernel=kernel, resample=resample, seed=3)(n=5)
    backend = Loops(space_of(nearest, shares_of(None, nearest), kernel, 70, 25, 30, 1), 2)
    ours = _surrogates(backend, rough[None], sampled_draws(3, 5, 30), resample=resample)
    np.testing.assert_allclose(ours.maps[:, 0], theirs, rtol=0, atol=1e-10)


def test_single_precision_read_only_and_on_disk(rough, distances, tmp_path):
    settings = {"n_nulls": 5, "rng": 0}
    found = variogram_surrogates(rough, distances=distances, **settings).maps
    np.save(tmp_path / "distances.npy", distances.astype(np.float32))
    mapped = np.load(tmp_path / "distances.npy", mmap_mode="r")
    np.testing.assert_allclose(variogram_surrogates(rough, distances=mapped, **settings).maps, found, atol=1e-4)


def test_other_settings_are_those_of_brainsmash(rough, distances):
    theirs = Base(rough, distances, deltas=np.array([0.05, 0.3, 1.0]), pv=60, nh=12, seed=1)(n=4)
    backend = Loops(space_of(distances, (0.05, 0.3, 1.0), "exp", 60, 12, 0, 1), 1)
    np.testing.assert_allclose(
        _surrogates(backend, rough[None], base_draws(1, 4), resample=False).maps[:, 0], theirs, atol=1e-10
    )


@pytest.mark.filterwarnings("ignore:the variograms of the surrogates")
def test_the_original_can_be_called(rough, distances, communities):
    seed = int(np.random.default_rng(5).integers(2**31, size=1)[0])
    theirs = Base(rough, distances, resample=True, seed=seed)(n=10)
    found = variogram_surrogates(rough, distances=distances, n_nulls=10, rng=5, resample=True, engine="brainsmash")
    np.testing.assert_array_equal(found.maps, theirs)
    backend = Loops(dense_space(distances), 1)
    np.testing.assert_allclose(found.fitted, backend.variograms(backend.space.pairs, theirs.T[None])[0])

    lengths, index, nearest = sampled(distances, 60)
    theirs = Sampled(rough, lengths, index, ns=40, knn=60, seed=seed)(n=1)
    found = variogram_surrogates(rough, distances=nearest, n_nulls=1, rng=5, n_rows=40, engine="brainsmash")
    np.testing.assert_array_equal(found.maps, theirs[None])
    assert found.error.shape == (1,)


@pytest.mark.parametrize("device", ["cpu", "cuda"])
@pytest.mark.parametrize("rows", [0, 40])
def test_torch_gives_the_same_numbers(rough, distances, device, rows):
    if importlib.util.find_spec("torch") is None:
        pytest.skip("torch is not installed")
    import torch

    if device == "cuda" and not torch.cuda.is_available():
        pytest.skip("no GPU")
    where = sampled(distances, 60)[2] if rows else distances
    settings = {"distances": where, "n_nulls": 6, "rng": 0, "n_rows": rows or 500}
    stack = np.stack([rough, rough**2])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        ours, theirs = variogram_surrogates(stack, **settings), variogram_surrogates(stack, device=device, **settings)
    for name in ("maps", "error", "lags", "target", "fitted"):
        np.testing.assert_allclose(getattr(theirs, name), getattr(ours, name), atol=1e-9)


# --- formulas ------------------------------------------------------------------------------------------------------


def test_the_variogram_is_its_formula(rough, distances):
    space = dense_space(distances)
    i, j = np.triu_indices(N, 1)
    near = distances[i, j] < np.percentile(distances[i, j], 25)
    i, j = i[near], j[near]
    lags = np.linspace(distances[i, j].min(), distances[i, j].max(), 25)
    np.testing.assert_array_equal(space.lags, lags)
    weights = np.exp(-((2.68 * (distances[i, j] - lags[:, None]) / (3 * (lags[1] - lags[0]))) ** 2) / 2)
    maps = np.stack([rough, rough**2, np.arange(N)])
    expected = np.stack([weights @ (x[i] - x[j]) ** 2 / 2 / weights.sum(axis=1) for x in maps])
    np.testing.assert_allclose(Loops(space, 1).variograms(space.pairs, maps.T[None])[0], expected, rtol=1e-12)


def test_error_is_that_of_the_variogram_and_has_no_unit(rough, distances):
    found = variogram_surrogates(rough, distances=distances, n_nulls=8, rng=0)
    for k in range(8):
        apart = np.linalg.norm(found.fitted[k] - found.target) / np.linalg.norm(found.target)
        assert found.error[k] == pytest.approx(apart)
    scaled = variogram_surrogates(1e3 * rough - 5e4, distances=distances / 25, n_nulls=8, rng=0)
    np.testing.assert_allclose(scaled.error, found.error, rtol=1e-6)
    np.testing.assert_allclose(scaled.maps, 1e3 * found.maps, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(scaled.lags, found.lags / 25)


def test_a_regression_finds_a_line_and_the_best_level():
    x = np.array([[[0.0, 1, 2, 5]], [[3.0, 1, 1, 1]], [[2.0, 2, 2, 2]]])
    levels, alpha, beta = variogram_module._regression(x, 2 * x[0] + 1)
    assert (levels[0], alpha[0], beta[0]) == (0, pytest.approx(1), pytest.approx(2))
    levels, alpha, beta = variogram_module._regression(x[2:], 2 * x[0] + 1)
    assert (alpha[0], beta[0]) == (5, 0)  # a flat variogram says nothing of the slope


@pytest.mark.parametrize("kernel", KERNELS[:2] + KERNELS[3:])
def test_exactly_as_many_neighbours_where_distances_are_equal(kernel):
    grid = np.stack([*np.mgrid[:6, :6].reshape(2, -1), np.zeros(36)], axis=1)
    grid[1] = grid[0]  # two units at one place: each is the other's neighbour, and neither its own
    distances = euclidean_distances(grid)
    space = dense_space(distances, kernel)
    for level, count in enumerate(space.counts):
        weights = np.concatenate(
            [space.weights(distances[rows], rows, level) for rows in (slice(0, 16), slice(16, 36))]
        )
        assert ((weights > 0).sum(axis=1) == count).all()
        assert (np.diagonal(weights) == 0).all()
        np.testing.assert_allclose(weights.sum(axis=1), 1)
        for unit in range(36):
            kept = distances[unit][weights[unit] > 0]
            assert kept.max() <= np.delete(distances[unit], unit)[weights[unit][np.arange(36) != unit] == 0].min()
    assert space.weights(distances[:1], slice(0, 1), 0)[0, 1] > 0


# --- invariances ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rows", [0, 40])
def test_the_result_depends_on_rng_alone(rough, distances, monkeypatch, rows):
    where = sampled(distances, 60)[2] if rows else distances
    settings = {"distances": where, "n_rows": rows or 500}
    found = variogram_surrogates(rough, n_nulls=12, rng=7, **settings)
    monkeypatch.setattr(variogram_module, "_CHUNK_BYTES", 9 * 8 * N * 5)  # 5 at a time
    monkeypatch.setattr(space_module, "_ROWS_AT_ONCE", 32)
    again = variogram_surrogates(rough, n_nulls=12, rng=np.random.default_rng(7), n_jobs=3, **settings)
    fewer = variogram_surrogates(rough, n_nulls=4, rng=7, n_jobs=2, **settings)
    np.testing.assert_allclose(again.maps, found.maps, rtol=0, atol=1e-12)
    np.testing.assert_allclose(fewer.maps, found.maps[:4], rtol=0, atol=1e-12)
    np.testing.assert_array_equal(again.maps, variogram_surrogates(rough, n_nulls=12, rng=7, **settings).maps)


def test_a_stack_is_its_maps(rough, distances, rng):
    stack = np.stack([rough, rng.permutation(rough), np.exp(rough)])
    backend = Loops(dense_space(distances), 1)
    draws = _Draws(
        np.stack([[rng.permutation(N) for _ in range(3)] for _ in range(4)]), rng.standard_normal((4, 3, N)), None
    )
    together = _surrogates(backend, stack, draws, resample=True)
    for k in range(3):
        alone = _Draws(draws.permutations[:, k : k + 1], draws.noise[:, k : k + 1], None)
        found = _surrogates(backend, stack[k : k + 1], alone, resample=True)
        np.testing.assert_allclose(found.maps[:, 0], together.maps[:, k], atol=1e-12)
        np.testing.assert_allclose(found.fitted[:, 0], together.fitted[:, k], atol=1e-12)


def test_maps_drawn_jointly_keep_what_they_have_in_common(rough, distances):
    stack = np.stack([rough, rough, -2 * rough + 1])
    apart = variogram_surrogates(stack, distances=distances, n_nulls=3, rng=0)
    together = variogram_surrogates(stack, distances=distances, n_nulls=3, rng=0, jointly=True)
    assert apart.maps.shape == together.maps.shape == (3, 3, N)
    assert apart.error.shape == (3, 3)
    assert (apart.target.shape, apart.fitted.shape) == ((3, 25), (3, 3, 25))
    np.testing.assert_allclose(together.maps[:, 1], together.maps[:, 0])
    assert np.abs(np.corrcoef(apart.maps[0])[0, 1]) < 0.9
    alone = variogram_surrogates(rough, distances=distances, n_nulls=3, rng=0)
    np.testing.assert_allclose(alone.maps, together.maps[:, 0])


# --- what is kept and what is not ----------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:the variograms of the surrogates")
def test_values_are_kept_and_their_smoothness_too(rough, distances):
    found = variogram_surrogates(rough, distances=distances, n_nulls=25, rng=0, resample=True)
    np.testing.assert_array_equal(np.sort(found.maps, axis=1), np.tile(np.sort(rough), (25, 1)))
    centred = variogram_surrogates(rough, distances=distances, n_nulls=25, rng=0)
    np.testing.assert_allclose(centred.maps.mean(axis=1), 0, atol=1e-12)
    shuffled = permutation(rough, n_nulls=25, rng=0)
    for nulls in (found.maps, centred.maps):
        assert neighbour_difference(nulls, distances) < 0.75 * neighbour_difference(shuffled, distances)
        assert np.abs(np.corrcoef(rough, nulls)[0, 1:]).mean() < 0.4


def test_a_poor_fit_is_told(rough, distances, positions):
    assert np.median(variogram_surrogates(rough, distances=distances, n_nulls=19, rng=0).error) < 0.3
    with pytest.warns(UserWarning, match=r"differ from the observed one by \d+% \(median; more than 30% is poor\)"):
        found = variogram_surrogates(positions[:, 0], distances=distances, n_nulls=19, rng=0)
    assert np.median(found.error) > 0.3
    with pytest.warns(UserWarning, match=r"surrogates of 1 of the 2 maps \(first map 1\) differ"):
        variogram_surrogates(np.stack([rough, positions[:, 0]]), distances=distances, n_nulls=19, rng=0)


# --- partitions ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["dense", "nearest"])
def test_names_of_communities_are_names(communities, distances, kind):
    where = distances if kind == "dense" else nearest_units(distances, 60)
    nulls = variogram(communities, distances=where, n_nulls=6, rng=0)
    for names in (np.array([3, 1, 4, 0, 2]), np.array([40, -2, 7, 0, 9]), np.array(list("hazel"))):
        renamed = variogram(names[communities], distances=where, n_nulls=6, rng=0, n_jobs=2)
        np.testing.assert_array_equal(renamed, names[nulls])
    assert len({null.tobytes() for null in nulls}) == 6


def test_communities_keep_their_sizes_and_some_compactness(rng, communities, distances):
    nulls = variogram(communities, distances=distances, n_nulls=20, rng=0)
    sizes = np.bincount(communities)
    assert all((np.bincount(null, minlength=5) == sizes).all() for null in nulls)
    nearest = np.argsort(distances, axis=1)[:, 1:6]
    shuffled = permutation(communities, n_nulls=20, rng=0)
    shared = [
        np.mean([(each[nearest] == each[:, None]).mean() for each in partitions])
        for partitions in ([communities], nulls, shuffled)
    ]
    # Less compact than the observed partition, and far more than shuffled labels: as the docstring says.
    assert shared[1] > shared[2] + 0.15
    assert shared[1] < shared[0] - 0.1


def test_the_highest_values_are_dealt_with_first():
    fields = np.array([[9.0, 8, 1, 0], [7, 6, 5, 4]])
    np.testing.assert_array_equal(variogram_module._filled(fields, np.array([2, 2])), [0, 0, 1, 1])
    np.testing.assert_array_equal(variogram_module._filled(fields, np.array([1, 3])), [0, 1, 1, 1])
    np.testing.assert_array_equal(variogram_module._filled(fields, np.array([3, 1])), [0, 0, 1, 0])


def test_one_null_keeps_its_axis_and_same_rng_same_nulls(communities, distances):
    first = variogram(communities, distances=distances, n_nulls=1, rng=2)
    assert first.shape == (1, N)
    np.testing.assert_array_equal(first, variogram(communities, distances=distances, n_nulls=3, rng=2)[:1])


# --- the nearest units ---------------------------------------------------------------------------------------------


def test_nearest_units_are_the_nearest(positions, distances):
    found = nearest_units(positions, 20)
    _, _, expected = sampled(distances, 20)
    np.testing.assert_array_equal(found.indices, expected.indices)
    np.testing.assert_allclose(found.distances, expected.distances, rtol=1e-6)
    crowd = np.zeros((30, 3))
    crowd[20:] = positions[:10]
    near = nearest_units(crowd, 5)
    assert (near.indices != np.arange(30)[:, None]).all()
    assert (near.distances[:20] == 0).all()


@pytest.mark.parametrize(
    ("indices", "lengths", "message"),
    [
        ([[1, 2]], [[1.0]], r"have shape \(1, 2\) and distances \(1, 1\)"),
        ([[1.0], [0.0]], [[1.0], [1.0]], r"indices \(float64\)"),
        ([[1], [0]], [[1.0], [np.inf]], "not finite, first for unit 1"),
        ([[1, 2], [0, 2], [1, 0]], [[1.0, 2], [1, 2], [3, 2]], "rise along each row"),
        ([[1], [2]], [[1.0], [1.0]], r"must lie in 0 … 1"),
        ([[1], [1]], [[1.0], [0.0]], "among its own nearest units; leave out the first column"),
    ],
)
def test_bad_nearest(indices, lengths, message):
    with pytest.raises(InputError, match=message):
        Nearest(np.array(indices), np.array(lengths))


# --- bad input -----------------------------------------------------------------------------------------------------


def changed(distances, i, j, value, *, both=True):
    copy = distances.copy()
    copy[i, j] = value
    copy[j, i] = value if both else copy[j, i]
    return copy


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d[:, :40], r"distances have shape \(90, 40\), but there are 90"),
        (lambda d: changed(d, 3, 5, 9.0, both=False), r"not symmetric: \[3, 5\] is 9"),
        (lambda d: d + 0.5 * np.eye(N), "zeros on the diagonal"),
        (lambda d: changed(d, 3, 5, -1.0), "must be ≥ 0"),
        (lambda d: changed(d, 3, 5, np.nan), "hold NaN"),
        (lambda d: changed(d, 3, 5, np.inf), "infinity, first between units 3 and 5"),
        (lambda d: np.where(np.arange(N) // 80 == np.arange(N)[:, None] // 80, d, np.inf),
         r"2 pieces that nothing joins: 80 units \(with unit 0\), 10 units \(with unit 80\)"),
        (lambda d: 1 - np.eye(N), "the shortest 25 % of the distances, which are all 1 here"),
        (lambda d: np.zeros((N, N)), r"the 9 nearest neighbours .* those of 90 units lie at the same place"),
    ],
)  # fmt: skip
def test_bad_distances(rough, communities, distances, change, message):
    bad = change(distances)
    with pytest.raises(InputError, match=message):
        variogram_surrogates(rough, distances=bad, n_nulls=1)
    with pytest.raises(InputError, match=message):
        variogram(communities, distances=bad, n_nulls=1)
    if bad.shape == (N, N):
        with pytest.raises(InputError, match=message):
            check_variogram(bad)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"values": np.ones(N)}, "values that are not all equal"),
        ({"values": np.stack([np.arange(N), np.ones(N)])}, "not all equal; those of map 1 are"),
        ({"values": np.where(np.arange(N) == 4, np.nan, 1.0)}, "1 of the values are not finite"),
        ({"values": np.arange(N) * 1e200}, "their squares overflow"),
        ({"values": np.zeros((2, 2, N))}, r"values have shape \(2, 2, 90\)"),
        ({"values": ["a"] * N}, "values must be numbers; for the names of communities"),
        ({"values": np.arange(20)}, "but there are 20 values"),
        ({"n_nulls": 0}, "n_nulls is 0"),
        ({"rng": 1.5}, r"rng is 1\.5"),
        ({"n_jobs": 0}, "n_jobs is 0"),
        ({"neighbourhoods": (0.5, 1.5)}, r"neighbourhoods are 0.5, 1.5; they must be shares"),
        ({"neighbourhoods": (0.001,)}, "a neighbourhood of 0.001 of 90 units holds none"),
        ({"kernel": "gausian"}, "Did you mean 'gaussian'"),
        ({"percentile": 0}, "percentile is 0"),
        ({"n_lags": 2}, "n_lags is 2"),
        ({"engine": "numpy"}, "engine is 'numpy'"),
        ({"engine": "brainsmash", "jointly": True}, "leave these out"),
    ],
)
def test_bad_settings(rough, distances, settings, message):
    given = {"values": rough, "distances": distances, "n_nulls": 1} | settings
    with pytest.raises(InputError, match=message):
        variogram_surrogates(given.pop("values"), **given)


def test_too_few_units_or_only_one_community(distances):
    for function in (variogram_surrogates, variogram):
        with pytest.raises(InputError, match="at least 15 units to fit a variogram, and there are 5: too few pairs"):
            function(np.arange(5), distances=distances[:5, :5], n_nulls=1)
    with pytest.raises(InputError, match="at least 15 units"):
        check_variogram(nearest_units(distances[:10], 3))
    with pytest.raises(InputError, match="a single community"):
        variogram(np.ones(N), distances=distances, n_nulls=1)
    with pytest.raises(InputError, match=r"labels have shape \(2, 90\)"):
        variogram(np.ones((2, N)), distances=distances, n_nulls=1)
    with pytest.raises(InputError, match="but there are 20 labels"):
        variogram(np.arange(20), distances=distances, n_nulls=1)
    with pytest.raises(InputError, match="n_nulls is 0"):
        variogram(np.arange(N) % 3, distances=distances, n_nulls=0)


def test_too_many_units_at_one_place(positions, rough):
    crowd = positions.copy()
    crowd[-11:] = crowd[-11]
    for where in (euclidean_distances(crowd), nearest_units(crowd, 33)):
        with pytest.raises(
            InputError, match=r"the 9 nearest .* of 11 units .* \(the first is unit 79, counted from 0\)"
        ):
            check_variogram(where)
        with pytest.raises(InputError, match="lie at the same place"):
            variogram_surrogates(rough, distances=where, n_nulls=1)
    crowd[-10:] = positions[-10:]
    crowd[-1] = crowd[0]
    for where in (euclidean_distances(crowd), nearest_units(crowd, 33)):
        check_variogram(where)
        with pytest.raises(InputError, match="'invdist' is infinite between units at the same place"):
            variogram_surrogates(rough, distances=where, n_nulls=1, kernel="invdist")


def test_what_is_not_installed(rough, distances, monkeypatch):
    monkeypatch.setitem(sys.modules, "brainsmash.mapgen.base", None)
    with pytest.raises(InputError, match=r"pip install 'fctoolbox\[brainsmash\]'"):
        variogram_surrogates(rough, distances=distances, n_nulls=1, engine="brainsmash")
    check_variogram(distances)  # which nothing else needs
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(InputError, match="device='cpu' uses torch, which is not installed: pip install torch"):
        variogram_surrogates(rough, distances=distances, n_nulls=1, device="cpu")


def test_a_device_that_is_not_there(rough, distances):
    pytest.importorskip("torch")
    with pytest.raises(InputError, match=r"torch cannot use device='abacus' here \(.*\); leave device out"):
        variogram_surrogates(rough, distances=distances, n_nulls=1, device="abacus")
    assert Torch(dense_space(distances), "cpu").n_jobs == 1


def test_distances():
    geometry = Geometry(positions=np.array([[0.0, 0, 0], [3, 4, 0], [0, 0, 2]]))
    np.testing.assert_allclose(distances_of(geometry, "x"), [[0, 5, 2], [5, 0, np.sqrt(29)], [2, np.sqrt(29), 0]])
    given = np.array([[0.0, 1, 2], [1, 0, 1], [2, 1, 0]])
    np.testing.assert_array_equal(distances_of(Geometry(distances=given), "x"), given)
    with pytest.raises(InputError, match="'x' has neither positions nor distances"):
        distances_of(None, "x")
