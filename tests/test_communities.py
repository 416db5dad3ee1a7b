import os
import subprocess
import sys
import warnings

import joblib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fctoolbox import (
    InputError,
    LowRankNull,
    chunks,
    communities,
    cosine_similarity,
    detect_communities,
    modularities,
    modularity,
)
from fctoolbox._louvain import scan_pass
from fctoolbox.chunks import Workers
from fctoolbox.communities import _louvain, _Modules
from fctoolbox.quality import Quality, quality_of
from tests.partitions import planted, set_partitions, signed

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import bct


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


def test_best_of_gaussian_projections(rng):
    # FACTS C4: mean best Q* for 100 units and Gaussian weights.
    for n_inputs, expected in ((2, 0.573), (10, 0.349), (100, 0.222)):
        q = [
            detect_communities(cosine_similarity(rng.standard_normal((100, n_inputs))), n_restarts=5, rng=i).q
            for i in range(4)
        ]
        assert np.mean(q) == pytest.approx(expected, abs=0.03)


@pytest.mark.parametrize("n", [3, 5, 7, 8])
def test_no_partition_at_all_is_better(n):
    partitions = np.array(list(set_partitions(n)))
    for seed in range(50):
        matrix = signed(n, seed, density=1.0 if seed % 2 else 0.6) + 0.1 * (seed % 3)
        best = modularities(matrix, partitions).max()
        assert detect_communities(matrix, n_restarts=20, rng=seed).q == pytest.approx(best, abs=1e-12)


@pytest.mark.parametrize("objective", ["negative_sym", "modularity", "uniform", "array", "low rank"])
def test_no_partition_is_better_by_any_objective(objective, rng):
    partitions = np.array(list(set_partitions(6)))
    for seed in range(15):
        matrix = np.abs(signed(6, seed)) if objective == "modularity" else signed(6, seed)
        nulls = {"array": np.abs(signed(6, seed + 99)), "low rank": LowRankNull(rng.random((6, 2)), [1.0, -0.5])}
        options = {"objective": nulls.get(objective, objective), "resolution": 0.8}
        best = modularities(matrix, partitions, **options).max()
        found = detect_communities(matrix, n_restarts=20, rng=seed, **options)
        assert found.q == pytest.approx(best, abs=1e-12)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.floats(1e-3, 1e3))
def test_invariances_of_the_best_partition(seed, scale):
    # At this size the search finds the optimum, so the optimum's invariances are the search's.
    rng = np.random.default_rng(seed)
    matrix, order = signed(9, seed), rng.permutation(9)
    found = detect_communities(matrix, n_restarts=10, rng=0)
    assert detect_communities(scale * matrix, n_restarts=10, rng=1).q == pytest.approx(found.q, abs=1e-12)
    shuffled = detect_communities(matrix[np.ix_(order, order)], n_restarts=10, rng=2)
    assert shuffled.q == pytest.approx(found.q, abs=1e-12)
    assert sorted(shuffled.sizes) == sorted(found.sizes)
    twice = detect_communities(np.kron(matrix, np.ones((2, 2))), n_restarts=10, rng=3)
    assert twice.q >= found.q - 1e-12  # the doubled partition is one of its partitions


def single_moves(matrix, found, **options):
    for unit in range(len(matrix)):
        for module in range(found.n + 1):
            labels = found.labels.copy()
            labels[unit] = module
            yield modularity(matrix, labels, **options)


@pytest.mark.parametrize("n_kicks", [0, 3])
@pytest.mark.parametrize("objective", ["negative_asym", "negative_sym", "uniform"])
def test_no_single_move_gains(objective, n_kicks):
    matrix = signed(40, 5)
    options = {"objective": objective, "resolution": 0.6}
    found = detect_communities(matrix, n_restarts=1, n_kicks=n_kicks, rng=0, **options)
    assert found.converged
    assert max(single_moves(matrix, found, **options)) <= found.q + 1e-9


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_no_single_move_gains_in_a_search_that_starts_without_a_table(dtype):
    # Above 512 units the first passes read rows of the matrix; the table is made once there are few modules.
    matrix, labels = planted((200, 160, 130, 70), 1, inside=0.1, outside=-0.03, noise=0.5)
    matrix = matrix.astype(dtype)
    found = detect_communities(matrix, n_restarts=2, n_kicks=1, rng=0)
    assert found.q >= modularity(matrix, labels) - 1e-12
    rng = np.random.default_rng(0)
    for unit in rng.integers(0, 560, 40):
        for module in range(found.n + 1):
            moved = found.labels.copy()
            moved[unit] = module
            assert modularity(matrix, moved) <= found.q + 1e-9


def scanned_and_tabled(matrix, start, **options):
    """The same descent by scanning rows, and with the table of sums."""
    quality = quality_of(matrix, **options)
    scanned, tabled = _Modules(quality, start.copy()), _Modules(quality, start.copy())
    scanned._make_room = lambda: scanned._add(len(start) - len(scanned.sizes))
    for modules in (scanned, tabled):
        modules.settle(np.random.default_rng(1))
    assert scanned.table is None
    assert tabled.table is not None
    return scanned, tabled


def test_row_scans_and_the_table_make_the_same_moves():
    null = np.abs(signed(60, 4))
    cases = [(signed(60, 3), np.arange(60), null), (signed(60, 3), np.arange(60), "negative_asym")]
    # Of pairs that repel each other one unit moves out; of all in one, many (the table has room for 8 at a time).
    cases += [(signed(8, 3) - 2, start, "uniform") for start in (np.arange(8) // 2, np.zeros(8, dtype=int))]
    # Small ones, in which modules are emptied and taken up again in one pass.
    cases += [(signed(8, seed), np.arange(8), "negative_sym") for seed in range(300)]
    for matrix, start, objective in cases:
        scanned, tabled = scanned_and_tabled(matrix, start, objective=objective, resolution=0.9)
        same = scanned.labels[:, None] == scanned.labels
        np.testing.assert_array_equal(same, tabled.labels[:, None] == tabled.labels)
        np.testing.assert_array_equal(scanned.sizes, np.bincount(scanned.labels, minlength=len(matrix)))
        np.testing.assert_array_equal(scanned.mass[:, scanned.sizes == 0], 0)
        assert scanned.q == pytest.approx(tabled.q, abs=1e-13)
        assert scanned.moves == tabled.moves


def test_a_module_that_was_emptied_is_there_for_a_unit_that_leaves():
    # In turn 0, 2 and 3 join 1, the latter two for the sake of 0: then 1 leaves, into a module emptied in this pass.
    matrix = np.zeros((4, 4))
    for i, j, value in ((0, 1, 1.0), (0, 2, 0.9), (1, 2, -0.8), (0, 3, 0.9), (1, 3, -0.8)):
        matrix[i, j] = matrix[j, i] = value
    nothing, labels, sizes = np.zeros((4, 0)), np.arange(4), np.ones(4, dtype=int)
    order = np.array([0, 2, 3, 1])
    assert scan_pass(matrix, None, 1.0, 1.0, 0.0, nothing, np.zeros(0), labels, sizes, np.zeros((0, 4)), order) == 4
    assert labels[0] == labels[2] == labels[3] == 1
    assert labels[1] in (0, 2, 3)
    np.testing.assert_array_equal(sizes, np.bincount(labels, minlength=4))


def test_what_modules_are_to_each_other_is_the_same_from_rows_and_from_the_table(rng):
    labels, null = rng.integers(0, 9, 60), np.abs(signed(60, 4))
    for objective in ("negative_asym", null):
        quality = quality_of(signed(60, 3), objective)
        from_rows, from_table = _Modules(quality, labels), _Modules(quality, labels)
        from_table._make_room()
        for modules in (from_rows, from_table):
            modules._renumber()
        assert from_rows.table is None
        assert from_table.table is not None
        pairs = np.where(quality.matrix > 0, quality.plus, quality.minus) * quality.matrix
        pairs -= quality.null_weight * (0 if quality.null is None else quality.null)
        member = np.eye(9)[labels]
        expected = member.T @ (pairs - (quality.vectors * quality.values) @ quality.vectors.T) @ member
        np.testing.assert_allclose(from_rows._coarse().matrix, expected, atol=1e-15)
        coarse = from_table._coarse()
        np.testing.assert_allclose(coarse.matrix, expected, atol=1e-15)
        # Between them, Q differs as it does between units.
        one, other = rng.integers(0, 4, (2, 9))
        apart = np.diff(quality.of(np.array([one[labels], other[labels]])))
        np.testing.assert_allclose(np.diff(coarse.of(np.array([one, other]))), apart, atol=1e-14)


@pytest.mark.parametrize("n_jobs", [1, 3])
def test_what_is_kept_up_to_date_is_what_it_would_be_anew(n_jobs):
    quality = quality_of(signed(1300, 0).astype(np.float32), resolution=0.7)
    modules = _Modules(quality, np.random.default_rng(0).integers(0, 9, 1300), n_jobs)
    rng = np.random.default_rng(1)
    for step in (modules.settle, modules.merge, modules.settle, modules.refine, modules.settle):
        step(rng)
    anew = _Modules(quality, modules.labels.copy())
    anew._make_room()
    used = modules.sizes > 0
    assert modules.q == pytest.approx(quality.of(modules.labels[None])[0], abs=1e-13)
    np.testing.assert_array_equal(modules.sizes[used], anew.sizes[anew.sizes > 0])
    np.testing.assert_allclose(modules.mass[:, used], anew.mass[:, anew.sizes > 0], rtol=1e-10)
    np.testing.assert_allclose(modules.table[used], anew.table[anew.sizes > 0], atol=1e-15)


def test_the_best_of_a_crowd_of_small_modules():
    # More modules than the table would hold: 200 triangles in a ring, aggregated from sums between modules.
    matrix = np.kron(np.eye(200), 1 - np.eye(3))
    ends = np.arange(2, 600, 3)
    matrix[ends, (ends + 1) % 600] = matrix[(ends + 1) % 600, ends] = 0.01
    found = detect_communities(matrix, n_restarts=1, n_kicks=0, rng=0, resolution=40)
    assert found.n == 200
    assert set(found.sizes) == {3}


def test_small_gains_beside_a_heavy_weight():
    # Each triangle adds 3e-8 of Q, hundreds of times the bound below which gains are rounding.
    matrix = np.kron(np.eye(4), 1 - np.eye(3))
    matrix = np.pad(matrix, (0, 2))
    matrix[12, 13] = matrix[13, 12] = 1e8
    assert detect_communities(matrix, n_restarts=2, rng=0, resolution=0.5).n == 5


def test_modules_put_together_are_split():
    matrix, labels = planted((60, 50, 40, 30), 2, inside=0.5, outside=-0.1, noise=0.3)
    modules = _Modules(quality_of(matrix), np.array([0, 0, 1, 1])[labels])
    rng = np.random.default_rng(0)
    modules.settle(rng)
    assert sorted(modules.sizes[modules.sizes > 0]) == [70, 110], "single units cannot split them"
    assert modules.refine(rng)
    modules.settle(rng)
    np.testing.assert_array_equal(modules.labels[:, None] == modules.labels, labels[:, None] == labels)
    assert not modules.refine(rng)


def test_modules_too_large_to_be_copied_are_left_as_they_are(monkeypatch):
    matrix, labels = planted((20, 20), 2)
    modules = _Modules(quality_of(matrix), np.zeros(40, dtype=int))
    monkeypatch.setattr(communities, "_PART_BYTES", 40 * 40 * 8 - 1)
    assert not modules.refine(np.random.default_rng(0))
    monkeypatch.setattr(communities, "_PART_BYTES", 40 * 40 * 8)
    assert modules.refine(np.random.default_rng(0))


def test_planted_communities_are_found_by_every_restart():
    matrix, labels = planted((60,) * 17, 0, inside=0.25, outside=-0.02, noise=0.6)
    found = detect_communities(matrix, n_restarts=10, n_kicks=0, rng=0)
    assert (found.restart_q >= modularity(matrix, labels) - 1e-9).all()


def test_refinement_is_part_of_each_restart(monkeypatch):
    matrix, _ = planted((20,) * 40, 0, inside=0.8, outside=-0.02, noise=0.5)
    refined = detect_communities(matrix, n_restarts=4, n_kicks=0, rng=0).restart_q
    monkeypatch.setattr(_Modules, "refine", lambda self, rng: False)
    assert (refined > detect_communities(matrix, n_restarts=4, n_kicks=0, rng=0).restart_q + 1e-4).all()


def test_kicks_are_of_two_kinds():
    labels = np.repeat(np.arange(6), 300)
    few, all_over = [], 0
    for seed in range(60):
        kicked = communities._disturbed(labels, np.random.default_rng(seed)).reshape(6, 300)
        whole = [(module == module[0]).all() and (kicked == module[0]).sum() == 300 for module in kicked]
        if any(whole):
            few.append(6 - sum(whole))
        else:
            all_over += 1
            assert np.bincount(kicked[0]).max() > 120, "half of them at most are dealt out"
    assert set(few) == {1, 2, 3}
    assert 15 < all_over < 45
    np.testing.assert_array_equal(labels, np.repeat(np.arange(6), 300))


def test_kicks_only_help():
    matrix = signed(150, 2)
    without = detect_communities(matrix, n_restarts=8, n_kicks=0, rng=0)
    kicked = detect_communities(matrix, n_restarts=8, n_kicks=10, rng=0)
    assert (kicked.restart_q >= without.restart_q - 1e-12).all()
    assert kicked.restart_q.mean() > without.restart_q.mean()


def test_what_each_restart_found():
    matrix = signed(50, 9)
    found = detect_communities(matrix, n_restarts=6, rng=0)
    np.testing.assert_allclose(modularities(matrix, found.restart_labels), found.restart_q, atol=1e-15)
    assert found.restart_labels.shape == (6, 50)
    assert (found.passes > 10).all()  # each of 11 descents ends with a pass in which nothing moves
    assert (found.moves > 40).all()
    assert found.restart_converged.all()
    assert any(np.array_equal(found.labels, labels) for labels in found.restart_labels)
    for labels in found.restart_labels:
        sizes = np.bincount(labels)
        assert (np.diff(sizes) <= 0).all()
    with pytest.raises(ValueError, match="read-only"):
        found.labels[0] = 1


@pytest.mark.parametrize("objective", ["negative_asym", "low rank", "array"])
def test_units_without_weights_stand_alone(objective):
    matrix, labels = np.zeros((20, 20)), np.repeat([0, 1, 2, 3, 4, 5], [8, 8, 1, 1, 1, 1])
    matrix[:16, :16], _ = planted((8, 8), 0)
    matrix[17, 17] = np.nan  # the diagonal is no weight
    null = np.pad(np.full((16, 16), 0.1), (0, 4)) + np.eye(20)
    nulls = {"low rank": LowRankNull(np.repeat([0.3, 0], [16, 4])), "array": null}
    found = detect_communities(matrix, objective=nulls.get(objective, objective), n_restarts=6, rng=0)
    np.testing.assert_array_equal(found.restart_labels, np.tile(labels, (6, 1)))
    # Where the null expects them together, or they have weights without being expected, they are not set apart.
    null[16:, 16:] = -1
    assert detect_communities(matrix, objective=null, n_restarts=2, rng=0).n == 3
    assert detect_communities(1 - np.eye(6), objective=np.zeros((6, 6)), n_restarts=2, rng=0).n == 1
    assert detect_communities(1 - np.eye(6), resolution=0, n_restarts=2, rng=0).n == 1


def test_equal_restarts_give_the_first_of_them(monkeypatch):
    matrix = np.kron(np.eye(2), 1 - np.eye(4))
    runs = [communities._Run(np.repeat(order, 4), 0.5, True, 1, 1) for order in ([1, 0], [0, 1])]
    best = communities._best(quality_of(matrix), runs, 1)
    assert best.labels.tolist() == [0] * 4 + [1] * 4
    runs.append(communities._Run(np.arange(8), 0.4, True, 1, 1))
    for second, expected in ((0.5 + 1e-13, 0), (0.5 + 1e-9, 1)):  # better by rounding, and by more
        monkeypatch.setattr(Quality, "of", lambda self, partitions, n_jobs, q=second: np.array([0.5, q, 0.4]))
        best = communities._best(quality_of(matrix), runs[::2] + runs[1:2], 1)
        np.testing.assert_array_equal(best.labels, best.restart_labels[expected])
        assert best.q == best.restart_q[expected]


def test_progress_counts_passes_and_moves(capsys):
    seen = []
    found = _louvain(quality_of(signed(40, 0)), np.arange(40), np.random.default_rng(0), 1, seen.append, refined=True)
    assert len(seen) == found.passes
    assert sum(seen) == found.moves
    detect_communities(signed(10, 0), n_restarts=2, rng=0)
    assert capsys.readouterr().err == "", "silent where nobody watches"


def test_bad_settings():
    matrix = signed(5, 0)
    for options, message in (
        ({"n_restarts": 0}, "n_restarts is 0; it must be a whole number of at least 1"),
        ({"n_restarts": 2.5}, "n_restarts is 2.5"),
        ({"n_kicks": -1}, "n_kicks is -1; it must be a whole number of at least 0"),
        ({"n_jobs": 0}, "n_jobs is 0"),
        ({"rng": "7"}, "rng is '7'"),
    ):
        with pytest.raises(InputError, match=message):
            detect_communities(matrix, **options)


def test_never_below_bctpy():
    for seed in range(4):
        matrix = signed(60, seed)
        theirs = max(bct.community_louvain(matrix, B="negative_asym", seed=100 * seed + i)[1] for i in range(10))
        assert detect_communities(matrix, n_restarts=10, rng=seed).q >= theirs - 1e-6


def test_planted_communities_are_found():
    matrix, labels = planted((12, 9, 7, 5), 0)
    found = detect_communities(matrix, n_restarts=10, rng=0)
    assert found.labels.tolist() == labels.tolist()  # labels are in order of size
    assert found.sizes == (12, 9, 7, 5)


def test_the_diagonal_choice_is_visible(rng):
    # The same FC with a unit diagonal left in place would score otherwise: the reason why the choice is fixed.
    timeseries = rng.standard_normal((60, 30))
    connectivity = np.corrcoef(timeseries.T)
    ours = detect_communities(connectivity, n_restarts=10, rng=0).q
    theirs = bct.community_louvain(connectivity, B="negative_asym", seed=0)[1]
    assert theirs > ours + 0.05


@pytest.mark.parametrize("n_jobs", [1, 2, 20])
def test_same_rng_same_partition(n_jobs):
    matrix = signed(50, 9)
    first = detect_communities(matrix, n_restarts=8, rng=3, n_jobs=1)
    again = detect_communities(matrix, n_restarts=8, rng=np.random.default_rng(3), n_jobs=n_jobs)
    np.testing.assert_array_equal(first.labels, again.labels)
    np.testing.assert_array_equal(first.restart_q, again.restart_q)
    assert first.q == first.restart_q.max()
    assert len(np.unique(first.restart_q.round(9))) > 1, "restarts that cannot differ are no restarts"


@pytest.mark.parametrize("backend", ["multiprocessing", "loky"])
def test_restarts_stay_in_this_process_whatever_joblib_is_set_to(backend, monkeypatch):
    matrix, processes = signed(20, 0), set()
    search = communities._search
    monkeypatch.setattr(communities, "_search", lambda *parts: processes.add(os.getpid()) or search(*parts))
    with joblib.parallel_config(backend=backend):
        found = detect_communities(matrix, n_restarts=4, rng=0, n_jobs=2)
    assert processes == {os.getpid()}
    np.testing.assert_array_equal(found.restart_q, detect_communities(matrix, n_restarts=4, rng=0).restart_q)


def test_global_random_state_is_left_alone():
    state = np.random.get_state()[1].copy()
    detect_communities(signed(10, 0), n_restarts=2, rng=0)
    np.testing.assert_array_equal(np.random.get_state()[1], state)


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
    monkeypatch.undo()
    monkeypatch.setattr(_Modules, "settle", lambda self, rng: False)  # nothing merges, but units would have moved
    assert not detect_communities(signed(10, 0), n_restarts=2, rng=0).converged


def test_restarts_that_are_kept_are_the_same(rng, monkeypatch, tmp_path):
    monkeypatch.setenv("FCTOOLBOX_CACHE", str(tmp_path))
    monkeypatch.setattr(chunks, "_WORTH_SECONDS", 0)
    matrix = rng.standard_normal((40, 40))
    matrix += matrix.T
    plain = detect_communities(matrix, n_restarts=4, rng=7)
    search, calls = communities._search, []

    def interrupted(*given):
        calls.append(given)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return search(*given)

    monkeypatch.setattr(communities, "_search", interrupted)
    with pytest.raises(KeyboardInterrupt):
        detect_communities(matrix, n_restarts=4, rng=7, workers=Workers())
    kept = detect_communities(matrix, n_restarts=4, rng=7, workers=Workers(2))
    assert len(calls) == 3 + 2
    for name in ("labels", "restart_q", "restart_labels", "restart_converged", "passes", "moves"):
        np.testing.assert_array_equal(getattr(kept, name), getattr(plain, name))
    assert kept.q == plain.q
    detect_communities(matrix, n_restarts=4, n_kicks=3, rng=7, workers=Workers())
    assert len(calls) == 3 + 2 + 4  # other settings are other work
