import itertools
import warnings

import joblib
import networkx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fctoolbox import InputError, LowRankNull, detect_communities, modularities, modularity, quality
from tests.partitions import planted, signed, written_out

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import bct

OBJECTIVES = ("negative_asym", "negative_sym", "modularity", "uniform")


def weights_for(objective, n, seed):
    return np.abs(signed(n, seed)) if objective == "modularity" else signed(n, seed)


def test_two_triangles_and_an_edge():
    matrix = networkx.to_numpy_array(networkx.barbell_graph(3, 0))
    assert modularity(matrix, [0, 0, 0, 1, 1, 1]) == pytest.approx(5 / 14, abs=1e-15)


def test_unsigned_agrees_with_networkx(rng):
    matrix = np.abs(signed(20, 1))
    labels = rng.integers(0, 4, 20)
    communities = [set(np.flatnonzero(labels == c)) for c in np.unique(labels)]
    for resolution in (0.5, 1.0, 1.7):
        expected = networkx.algorithms.community.modularity(
            networkx.from_numpy_array(matrix), communities, resolution=resolution
        )
        for objective in ("negative_asym", "negative_sym", "modularity"):
            ours = modularity(matrix, labels, objective=objective, resolution=resolution)
            assert ours == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("resolution", [1.0, 0.6, 0.0])
def test_formula_term_by_term(objective, resolution, rng):
    matrix = weights_for(objective, 11, 3) + 5 * np.eye(11)
    for n_modules in (1, 3, 11):
        labels = rng.integers(0, n_modules, 11)
        expected = written_out(matrix, labels, objective, resolution)
        assert modularity(matrix, labels, objective=objective, resolution=resolution) == pytest.approx(
            expected, abs=1e-13
        )


@pytest.mark.parametrize("resolution", [1.0, 0.7])
def test_a_null_of_ones_own_term_by_term(resolution, rng):
    matrix, null = signed(12, 1), signed(12, 2) + np.diag(rng.random(12))
    vectors, values = rng.standard_normal((12, 3)), np.array([0.3, -0.2, 0.1])
    low_rank = LowRankNull(vectors, values)
    for labels in (rng.integers(0, 3, 12), np.zeros(12, dtype=int)):
        assert modularity(matrix, labels, objective=null, resolution=resolution) == pytest.approx(
            written_out(matrix, labels, null, resolution), abs=1e-13
        )
        assert modularity(matrix, labels, objective=low_rank, resolution=resolution) == pytest.approx(
            written_out(matrix, labels, (vectors * values) @ vectors.T, resolution), abs=1e-13
        )


def test_the_named_objectives_are_nulls_too(rng):
    matrix, labels = np.abs(signed(15, 0)), rng.integers(0, 4, 15)
    strength = matrix.sum(axis=1)
    null = np.outer(strength, strength) / strength.sum()
    plain = modularity(matrix, labels, objective="modularity")
    assert modularity(matrix, labels, objective=null) == pytest.approx(plain, abs=1e-14)
    low_rank = LowRankNull(strength, 1 / strength.sum())
    assert modularity(matrix, labels, objective=low_rank) == pytest.approx(plain, abs=1e-14)
    uniform = modularity(matrix, labels, objective="uniform", resolution=0.4)
    assert modularity(matrix, labels, objective=1 - np.eye(15), resolution=0.4) == pytest.approx(uniform, abs=1e-14)


@pytest.mark.parametrize("n", [6, 30, 80])
@pytest.mark.parametrize("resolution", [1.0, 0.6, 1.5])
def test_agrees_with_bctpy_on_its_own_partition(n, resolution):
    for seed in range(5):
        for objective in ("negative_asym", "negative_sym", "modularity"):
            matrix = signed(n, seed, density=0.7)
            matrix = np.abs(matrix) if objective == "modularity" else matrix
            labels, q = bct.community_louvain(matrix, gamma=resolution, B=objective, seed=seed)
            assert modularity(matrix, labels, objective=objective, resolution=resolution) == pytest.approx(q, abs=1e-12)


@pytest.mark.parametrize("objective", ["negative_asym", "negative_sym", "modularity"])
def test_one_module_has_exactly_no_modularity(objective):
    for seed in range(20):
        matrix = weights_for(objective, 17, seed)
        assert modularity(matrix, np.full(17, 3), objective=objective) == 0


def test_only_negative_weights():
    matrix = -np.abs(signed(8, 0))
    labels = np.arange(8)
    for objective in ("negative_asym", "negative_sym"):
        assert modularity(matrix, labels, objective=objective) == pytest.approx(
            written_out(matrix, labels, objective), abs=1e-14
        )


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.floats(1e-6, 1e6), st.sampled_from(["negative_asym", "negative_sym", "modularity"]))
def test_invariances(seed, scale, objective):
    rng = np.random.default_rng(seed)
    matrix, labels, order = weights_for(objective, 12, seed), rng.integers(0, 4, 12), rng.permutation(12)
    q = modularity(matrix, labels, objective=objective)
    again = modularity(matrix[np.ix_(order, order)], labels[order], objective=objective)
    assert again == pytest.approx(q, abs=1e-13)
    assert modularity(scale * matrix, labels, objective=objective) == pytest.approx(q, abs=1e-13)
    names = [f"module {3 - label}" for label in labels]
    assert modularity(matrix, names, objective=objective) == pytest.approx(q, abs=1e-13)
    # Each unit twice, the two of a pair unconnected: all strengths double, and no share changes.
    twice = np.kron(matrix, np.ones((2, 2)))
    assert modularity(twice, np.repeat(labels, 2), objective=objective) == pytest.approx(q, abs=1e-13)


@pytest.mark.parametrize("power", [-1000, -600, -200, 200, 600, 1000])
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_very_small_and_very_large_weights(objective, power, rng):
    matrix, labels, scale = weights_for(objective, 12, 0), rng.integers(0, 3, 12), 2.0**power
    options, scaled = {"objective": objective, "resolution": 0.8}, {"objective": objective, "resolution": 0.8}
    if objective == "uniform":
        scaled["resolution"] *= scale  # γ is a weight
    # A power of two changes no digit.
    assert modularity(scale * matrix, labels, **scaled) == modularity(matrix, labels, **options)
    expected = detect_communities(matrix, n_restarts=3, rng=0, **options)
    found = detect_communities(scale * matrix, n_restarts=3, rng=0, **scaled)
    np.testing.assert_array_equal(found.restart_q, expected.restart_q)


@pytest.mark.parametrize("n", [14, 300])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_many_partitions_at_once(n, dtype, rng, monkeypatch):
    matrix, partitions = signed(n, 2).astype(dtype), rng.integers(0, 5, (40, n))
    one_by_one = [written_out(matrix, each, "negative_asym") for each in partitions[:3]]
    together = modularities(matrix, partitions)
    np.testing.assert_allclose(together[:3], one_by_one, atol=1e-14)
    np.testing.assert_array_equal(modularities(matrix, partitions, n_jobs=2), together)
    monkeypatch.setattr(quality, "_LABEL_BYTES", 7 * 2 * n)  # a few partitions for each pass over the matrix
    np.testing.assert_array_equal(modularities(matrix, partitions), together)
    for most in (2**15 - 1, 2**15, 2**15 + 9):  # a short integer counts to the first
        many = np.where(partitions[:1] == 3, most, partitions[:1])
        assert quality.quality_of(matrix).of(many)[0] == pytest.approx(together[0], abs=1e-14)


def test_some_units_among_all_have_the_same_weights_and_nulls(rng):
    null, units = signed(20, 1), np.array([3, 4, 8, 15])
    for objective in ("negative_asym", null, LowRankNull(rng.random((20, 2)), [1, 2])):
        whole = quality.quality_of(signed(20, 0), objective)
        part = whole.among(units)
        np.testing.assert_array_equal(part.matrix, whole.matrix[units][:, units])
        np.testing.assert_array_equal(part.vectors, whole.vectors[units])
        assert (part.null is None) == (whole.null is None)
        if part.null is not None:
            np.testing.assert_array_equal(part.null, null[units][:, units])


def test_how_many_threads(monkeypatch):
    monkeypatch.setattr(joblib, "cpu_count", lambda: 6)
    assert [quality.n_threads(n_jobs) for n_jobs in (1, 9, -1, -2, -6, -9, np.int64(2))] == [1, 9, 6, 5, 1, 1, 2]


def test_single_precision_is_summed_in_double(rng):
    matrix = (signed(400, 0) + 0.5).astype(np.float32)
    labels = rng.integers(0, 6, 400)
    assert modularity(matrix, labels) == pytest.approx(modularity(matrix.astype(float), labels), abs=1e-14)


@pytest.mark.parametrize(
    "changed",
    [
        np.asfortranarray,
        lambda m: m.astype(">f8"),
        lambda m: np.kron(m, np.ones((2, 2)))[::2, ::2],
        lambda m: m.astype(np.int64),
        lambda m: m.astype(np.float16),
        lambda m: m.tolist(),
    ],
    ids=["columns first", "big-endian", "strided", "integers", "half precision", "lists"],
)
def test_any_layout_and_number_type(changed, rng):
    matrix, labels = np.round(4 * signed(20, 0)), rng.integers(0, 3, 20)
    assert modularity(changed(matrix), labels) == pytest.approx(modularity(matrix, labels), abs=1e-14)


def test_a_read_only_memory_map_is_read_in_place(tmp_path, rng, monkeypatch):
    matrix = signed(50, 0).astype(np.float32)
    np.save(tmp_path / "matrix.npy", matrix)
    mapped = np.load(tmp_path / "matrix.npy", mmap_mode="r")
    checked, *_ = quality._checked(mapped, "the matrix", 1, overwrite=False)
    assert np.shares_memory(checked, mapped)
    columns_first = np.asfortranarray(matrix)
    assert np.shares_memory(quality._checked(columns_first, "the matrix", 1, overwrite=False)[0], columns_first)
    labels = rng.integers(0, 3, 50)
    assert modularity(mapped, labels) == modularity(matrix, labels)
    assert detect_communities(mapped, n_restarts=2, rng=0).q == detect_communities(matrix, n_restarts=2, rng=0).q
    np.testing.assert_array_equal(np.load(tmp_path / "matrix.npy"), matrix)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_triangles_that_differ_by_rounding_are_averaged(dtype, rng):
    matrix = signed(30, 0).astype(dtype)
    noisy = matrix + 1e-6 * rng.standard_normal((30, 30)).astype(dtype)
    before, labels = noisy.copy(), rng.integers(0, 3, 30)
    mean = (noisy + noisy.T) / 2
    assert modularity(noisy, labels) == pytest.approx(modularity(mean, labels), abs=1e-15)
    found = detect_communities(noisy, n_restarts=2, rng=0)
    np.testing.assert_array_equal(noisy, before)
    own = detect_communities(noisy, n_restarts=2, rng=0, overwrite=True)
    assert own.q == found.q
    np.testing.assert_array_equal(noisy, mean)
    below = -np.abs(before)
    assert modularity(below, labels) == pytest.approx(modularity((below + below.T) / 2, labels), abs=1e-15)
    noisy[0, 1] += 1e-6
    noisy.flags.writeable = False
    with pytest.raises(InputError, match="overwrite=True, but the matrix is read-only"):
        detect_communities(noisy, n_restarts=2, rng=0, overwrite=True)


@pytest.mark.parametrize("diagonal", [7.0, np.nan, np.inf])
def test_the_diagonal_does_not_matter_and_nothing_is_changed(diagonal, rng):
    matrix, labels = signed(15, 0), rng.integers(0, 3, 15)
    with_diagonal = matrix.copy()
    np.fill_diagonal(with_diagonal, diagonal)
    before = with_diagonal.copy()
    for objective in ("negative_asym", "uniform", np.ones((15, 15))):
        settings = {"objective": objective, "resolution": 0.5}
        assert modularity(with_diagonal, labels, **settings) == modularity(matrix, labels, **settings)
        ours, theirs = (detect_communities(m, n_restarts=3, rng=0, **settings).q for m in (with_diagonal, matrix))
        assert ours == theirs
    np.testing.assert_array_equal(with_diagonal, before)


def asymmetric():
    matrix = signed(6, 0)
    matrix[4, 2] += 1
    return matrix


def with_values(at, value):
    matrix = signed(6, 0)
    for i, j in at:
        matrix[i, j] = value
    return matrix


@pytest.mark.parametrize(
    ("matrix", "message"),
    [
        (np.ones((3, 4)), r"shape \(3, 4\), but it must be square"),
        (np.ones(4), r"shape \(4,\), but it must be square"),
        (asymmetric(), r"not symmetric: \[2, 4\] is .*, but \[4, 2\] is .*average it with its transpose"),
        (np.triu(np.ones((4, 4))), "not symmetric"),
        (with_values([(1, 3), (3, 1)], np.nan), "2 values that are not finite .* first at row 1, column 3"),
        (with_values([(5, 2)], np.inf), "1 value that is not finite .* first at row 5, column 2"),
        (np.asfortranarray(with_values([(5, 2)], np.nan)), "1 value that is not finite .* first at row 5, column 2"),
        (with_values([(0, 2), (4, 1)], -np.inf), "2 values that are not finite .* first at row 0, column 2"),
        (np.eye(4), "zero everywhere off the diagonal"),
        (np.ones((1, 1)), "holds a single unit; communities need 2"),
        (np.ones((0, 0)), "holds no units; communities need 2"),
        (np.ones((4, 4)) * 1e308, "their sum overflows"),
        (np.ones((4, 4)) * 1e-310, "so small that a double cannot hold their inverse"),
        (signed(4, 0) * 1j, "holds complex128 values"),
        (np.full((3, 3), "a"), "holds <U1 values"),
    ],
)
def test_bad_matrices(matrix, message):
    with pytest.raises(InputError, match=message):
        detect_communities(matrix, rng=0)
    with pytest.raises(InputError, match=message):
        modularity(matrix, np.zeros(len(matrix), dtype=int))


@pytest.mark.parametrize(
    ("objective", "message"),
    [
        ("negative_asymm", "no objective named 'negative_asymm'. Did you mean 'negative_asym'"),
        ("modularity", r"negative weights, the first at row 0, column .* use objective='negative_asym'"),
        (np.ones((4, 4)), r"the null has shape \(4, 4\), but the matrix has \(6, 6\)"),
        (np.triu(np.ones((6, 6))), "the null is not symmetric"),
        (np.diag([0.0, 0, np.nan, 0, 0, 0]), "the null's diagonal holds NaN"),
        (LowRankNull(np.ones(5)), "the null's vectors have 5 rows, but the matrix has 6 units"),
        (np.full((6, 6), 1e308), "the null's values are so large that their sum overflows"),
        (np.diag(np.full(6, -1e308)), "the null's values are so large that their sum overflows"),
        (LowRankNull(np.repeat([1e200, -1e200], 3)), "the null's values are so large that their sum overflows"),
    ],
    ids=["misspelt", "negative", "shape", "asymmetric", "nan", "rows", "large", "large diagonal", "large vectors"],
)
def test_bad_objectives(objective, message):
    with pytest.raises(InputError, match=message):
        detect_communities(signed(6, 0), objective=objective, rng=0)
    with pytest.raises(InputError, match=message):
        modularity(signed(6, 0), np.zeros(6), objective=objective)


def test_bad_low_rank_nulls():
    for vectors, values, message in (
        (np.ones((2, 3, 4)), 1.0, r"need \(n_units, rank\)"),
        ([1.0, np.nan], 1.0, "not finite"),
        (np.ones((5, 2)), 1.0, "each of its 2 vectors"),
        (np.ones(5), np.inf, "one finite value"),
    ):
        with pytest.raises(InputError, match=message):
            LowRankNull(vectors, values)


def test_bad_labels_and_settings():
    matrix = signed(5, 0)
    with pytest.raises(InputError, match=r"shape \(4,\), but the matrix needs \(5,\)"):
        modularity(matrix, [0, 0, 1, 1])
    with pytest.raises(InputError, match=r"shape \(5,\), but the matrix needs \(n_partitions, 5\)"):
        modularities(matrix, [0, 0, 1, 1, 1])
    with pytest.raises(InputError, match="NaN"):
        modularity(matrix, [0, 0, 1, 1, np.nan])
    for missing in (None, float("nan")):
        with pytest.raises(InputError, match="labels hold None or NaN"):
            modularity(matrix, np.array(["a", "a", "b", "b", missing], dtype=object))
    with pytest.raises(InputError, match="n_jobs is 0"):
        modularity(matrix, [0, 0, 1, 1, 1], n_jobs=0)
    for resolution in (-1.0, np.nan, "1", None, [1.0, 2.0]):
        with pytest.raises(InputError, match="0 or more"):
            modularity(matrix, [0, 0, 1, 1, 1], resolution=resolution)
        with pytest.raises(InputError, match="0 or more"):
            detect_communities(matrix, resolution=resolution)


def test_blocks_meet_without_gaps_or_overlaps(monkeypatch):
    # Several blocks of each kind, whatever their sizes.
    matrix, labels = planted((150, 80, 70), 0)
    expected = written_out(matrix, labels, "negative_asym")
    for size in (32, 100, 300, 1024):
        monkeypatch.setattr(quality, "_BLOCK", size)
        assert modularity(matrix, labels) == pytest.approx(expected, abs=1e-13)
        broken = matrix.copy()
        broken[299, 31] += 1
        with pytest.raises(InputError, match=r"\[31, 299\]"):
            modularity(broken, labels)
    for i, j in itertools.product((0, 15, 16, 255, 256, 299), repeat=2):
        if i != j:
            broken = matrix.copy()
            broken[i, j] = np.nan
            with pytest.raises(InputError, match=f"row {i}, column {j} "):
                modularity(broken, labels)


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_a_device_gives_the_same(device, rng):
    torch = pytest.importorskip("torch")
    if device == "cuda" and not torch.cuda.is_available():
        pytest.skip("there is no graphics card")
    partitions = rng.integers(0, 5, (12, 80))
    partitions[3] = 0
    null = np.abs(signed(80, 1))
    for objective in ("negative_asym", "uniform", null):
        matrix = signed(80, 0) + np.diag(np.full(80, np.nan))
        options = {"objective": objective, "resolution": 0.8}
        expected = modularities(matrix, partitions, **options)
        found = modularities(matrix, partitions, device=device, **options)
        np.testing.assert_allclose(found, expected, atol=1e-12)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(quality, "_BLOCK", 32)
            patch.setattr(quality, "_LABEL_BYTES", 8 * 5 * 80 * 3)
            np.testing.assert_allclose(modularities(matrix, partitions, device=device, **options), expected, atol=1e-12)


def test_a_device_that_is_not_there():
    pytest.importorskip("torch")
    with pytest.raises(InputError, match="torch cannot use device='no-such-device' here"):
        modularities(signed(6, 0), np.zeros((2, 6), dtype=int), device="no-such-device")
