"""Ensembles: each network as if it were alone, kept at each look, and every failure said once all are done."""

import threading
import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch
from fctoolbox_ctrnn import ensemble, weights
from fctoolbox_ctrnn.ensemble import checkpoints, networks_at, train_ensemble
from fctoolbox_ctrnn.network import PARAMETERS
from fctoolbox_ctrnn.training import Checkpoint, Training
from fctoolbox_ctrnn.trials import read_task
from fctoolbox_ctrnn.weights import Recipe, cached_path, kept_path, read_checkpoint, trained_network

from fctoolbox.errors import InputError

QUICK = Training(learning_rate=0.02, n_trials=16, evaluate_every=10, n_validation=60, in_a_row=2)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("FCTOOLBOX_CACHE", str(tmp_path))
    return tmp_path


@pytest.fixture(scope="module")
def recipes():
    task = read_task("GoNogo-v0", 100)
    return [Recipe(task, n_units=20, seed=seed, training=QUICK) for seed in range(5)]


@pytest.fixture
def another_cache(tmp_path, monkeypatch):
    folders = iter(range(100))
    return lambda: monkeypatch.setenv("FCTOOLBOX_CACHE", str(tmp_path / f"other-{next(folders)}"))


def alike(one, other):
    """To the last bit: training magnifies the least difference until the networks have nothing in common."""
    assert one.curve == other.curve
    for name in PARAMETERS:
        np.testing.assert_array_equal(getattr(one.network, name), getattr(other.network, name))


@pytest.mark.parametrize("layout", [{"n_jobs": 2, "chunk_size": 2}, {"n_jobs": 1, "chunk_size": 10}, {"n_jobs": 3}])
def test_an_ensemble_is_its_networks_one_by_one(recipes, another_cache, layout):
    together = train_ensemble(recipes, steps=1000, **layout)
    assert len({each.step for each in together}) > 1  # they leave their stacks at different times
    another_cache()
    for recipe, each in zip(recipes, together, strict=True):
        assert each.solves(QUICK)
        alike(each, trained_network(recipe, steps=1000))


@pytest.mark.parametrize("name", ["fctoolbox/PerceptualDecisionMaking-v0", "fctoolbox/ContextDecisionMaking-v0"])
def test_the_size_of_a_stack_changes_no_bit(another_cache, name):
    """Also where the longest trials of the others are longer; stacks of four and more are summed in other ways."""
    training = Training(evaluate_every=4, n_validation=40, accuracy=0.0, in_a_row=1, response_weight=5.0)
    recipes = [Recipe(read_task(name, 20), n_units=100, seed=seed, training=training) for seed in range(9)]
    alone = [trained_network(recipe, steps=4) for recipe in recipes]
    for size in (2, 4, 9):
        another_cache()
        for each, expected in zip(train_ensemble(recipes, steps=4, n_jobs=1, chunk_size=size), alone, strict=True):
            alike(each, expected)


def test_stacks_and_threads_change_no_bit_of_a_network(another_cache):
    task = read_task("fctoolbox/PerceptualDecisionMaking-v0", 20)
    training = replace(QUICK, n_trials=64, evaluate_every=15)
    some = [Recipe(task, n_units=32, seed=seed, training=training) for seed in range(5)]
    found = []
    for layout in ({"n_jobs": 1}, {"n_jobs": 2}, {"n_jobs": 5}):  # stacks of five; of two and three; of one
        another_cache()
        with pytest.raises(InputError, match="has not solved"):
            train_ensemble(some, steps=15, **layout)
        found.append([read_checkpoint(cached_path(recipe), recipe) for recipe in some])
    for kept in zip(*found, strict=True):
        for name in PARAMETERS:
            one, *others = (getattr(each.network, name) for each in kept)
            for other in others:
                np.testing.assert_array_equal(one, other)
        assert len({each.curve for each in kept}) == 1


def test_one_and_many_share_the_cache(recipes, monkeypatch):
    alone = trained_network(recipes[3], steps=1000)
    together = train_ensemble(recipes, steps=1000)
    assert together[3].curve == alone.curve

    def no_training(*_, **__):
        raise AssertionError("it trains")

    monkeypatch.setattr(ensemble, "advance_together", no_training)
    for recipe, each in zip(recipes, together, strict=True):
        np.testing.assert_array_equal(trained_network(recipe, steps=1000).network.w_rec, each.network.w_rec)
    backwards = train_ensemble([*recipes[::-1], recipes[0]], steps=1000)  # in the order asked for, twice if need be
    assert [each.curve for each in backwards] == [each.curve for each in (*together[::-1], together[0])]


def test_networks_of_several_kinds_are_stacked_apart(recipes, another_cache):
    mixed = [
        recipes[0],
        replace(recipes[1], n_units=15),
        replace(recipes[2], rule="outside", nonlinearity="tanh"),
        replace(recipes[0], seed=7, sign=np.repeat([1, -1], [16, 4])),
        replace(recipes[0], noise=0.05),
        replace(recipes[4], task=read_task("GoNogo-v0", 50)),
    ]
    together = train_ensemble(mixed, steps=1000)
    another_cache()
    for recipe, each in zip(mixed, together, strict=True):
        alike(each, trained_network(recipe, steps=1000))
    assert (together[3].network.w_rec * together[3].network.sign >= 0).all()


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_an_interrupted_ensemble_goes_on(recipes, monkeypatch, another_cache, n_jobs):
    whole = train_ensemble(recipes, steps=1000)
    another_cache()

    def interrupted(self, step, _batch=Recipe.batch):
        if step == 23 and self.seed == 2:
            raise KeyboardInterrupt
        return _batch(self, step)

    with monkeypatch.context() as patch:
        patch.setattr(Recipe, "batch", interrupted)
        with pytest.raises(KeyboardInterrupt):
            train_ensemble(recipes[2:3] + recipes[:2], steps=1000, n_jobs=n_jobs, chunk_size=2)
    assert read_checkpoint(cached_path(recipes[2]), recipes[2]).step == 20
    for each, expected in zip(train_ensemble(recipes, steps=1000), whole, strict=True):
        alike(each, expected)


def test_threads_and_settings_of_torch_stay_as_they_were(recipes):
    before, random, running = torch.get_num_threads(), torch.get_rng_state(), threading.active_count()
    try:
        torch.set_num_threads(2)
        train_ensemble(recipes[:2], steps=1000, n_jobs=2, chunk_size=1)
        assert torch.get_num_threads() == 2
        assert torch.is_grad_enabled()
    finally:
        torch.set_num_threads(before)
    assert torch.equal(torch.get_rng_state(), random)
    assert threading.active_count() <= running + 1  # tqdm's monitor


def test_filters_of_warnings_stay_as_they_were(recipes):
    before = list(warnings.filters)
    train_ensemble(recipes, steps=1000, n_jobs=4, chunk_size=1)
    assert warnings.filters == before


def test_failures_are_said_when_the_others_are_done(recipes):
    hopeless = replace(recipes[1], training=replace(QUICK, accuracy=1.1))
    # A network whose units all start far below threshold.
    dead = replace(recipes[2], given={"b_in": np.full(20, -50.0)})
    exploding = replace(recipes[3], given={"w_rec": np.full((20, 20), 50.0)})
    with pytest.raises(InputError) as failure:
        train_ensemble([recipes[0], hopeless, dead, exploding], steps=300)
    first, last = str(failure.value).splitlines()[0], str(failure.value).splitlines()[-1]
    assert first.startswith("the network has not solved 'GoNogo-v0' after 300 steps: accuracy")
    assert last == ("3 of 4 networks failed (seeds 1, 2, 3); the others are trained and kept, and come from the cache")
    with pytest.raises(InputError, match=r"\n2 of 2 networks failed \(seeds 1, 2\)$"):
        train_ensemble([hopeless, dead], steps=300)
    assert read_checkpoint(cached_path(recipes[0]), recipes[0]).solves(QUICK)
    assert read_checkpoint(cached_path(hopeless), hopeless).step == 300
    with pytest.raises(InputError, match=r"^seed 2: the network is dead at step 10"):
        train_ensemble([recipes[0], dead], steps=300)
    with pytest.raises(InputError, match=r"^training exploded at step 0: the loss is (nan|inf|.*e)"):
        trained_network(exploding, steps=300)


def test_given_weights_are_where_training_starts(recipes):
    w_rec = np.eye(20) * 0.5
    recipe = replace(recipes[0], given={"w_rec": w_rec})
    np.testing.assert_array_equal(recipe.start().w_rec, w_rec)
    np.testing.assert_array_equal(recipe.start().w_in, recipes[0].start().w_in)
    assert not np.array_equal(trained_network(recipe, steps=1000).network.w_rec, w_rec)
    with pytest.raises(InputError, match=r"given w_rec has shape \(19, 20\), but .* want \(n_units = 20, n_units = 20"):
        train_ensemble([replace(recipe, given={"w_rec": w_rec[1:]})], steps=1000)
    with pytest.raises(InputError, match=r"the given w_out has shape \(20, 2\), .* \(n_outputs = 2, n_units = 20\)"):
        replace(recipe, given={"w_out": np.zeros((20, 2))}).start()
    with pytest.raises(InputError, match=r"there are no weights named 'wrec'\. Did you mean 'w_rec'?"):
        replace(recipe, given={"wrec": w_rec}).start()


def test_checkpoints_along_training(recipes, cache):
    last = trained_network(recipes[0], steps=1000)
    along = checkpoints(recipes[0], steps=1000, every=20)  # repeated, for the file holds only the end
    steps = [each.step for each in along]
    assert steps == [*range(0, last.step, 20), last.step]
    assert along[-1].curve == last.curve
    np.testing.assert_array_equal(along[-1].network.w_rec, last.network.w_rec)
    np.testing.assert_array_equal(along[0].network.w_rec, recipes[0].start().w_rec)
    for each in along[1:]:
        assert each.curve == last.curve[: len(each.curve)]
    files = {path.name for path in cache.rglob("*.npz")}
    path = cached_path(recipes[0])
    assert files == {path.name, *(kept_path(path, step).name for step in range(20, last.step + 1, 20))}


def test_a_network_halfway_need_not_solve_its_task(recipes, monkeypatch):
    hopeless = [replace(each, training=replace(QUICK, accuracy=1.1)) for each in recipes[:3]]
    at_40 = networks_at(hopeless, 40)
    assert [each.step for each in at_40] == [40] * 3
    with pytest.raises(InputError, match="has not solved"):
        train_ensemble(hopeless, steps=60)
    # Behind the end of what is there, before it, and from the files alone.
    for each, now in zip(networks_at(hopeless, 40), at_40, strict=True):
        alike(each, now)
    assert [len(each.curve) for each in networks_at(hopeless, 20)] == [2] * 3
    assert read_checkpoint(cached_path(hopeless[0]), hopeless[0]).step == 60  # it is not taken back
    monkeypatch.setattr(ensemble, "advance_together", None)
    for each, now in zip(networks_at(hopeless, 40), at_40, strict=True):
        alike(each, now)
    with pytest.raises(InputError, match="step is 45; it must be a multiple of the steps between two looks, 10"):
        networks_at(hopeless, 45)


def test_a_network_that_was_solved_before_comes_as_it_was(recipes):
    (solved,) = train_ensemble(recipes[:1], steps=1000)
    (late,) = networks_at(recipes[:1], 1000)
    alike(late, solved)
    (early,) = networks_at(recipes[:1], 10)  # which no file holds: trained again, and the end stays
    assert early.step == 10
    alike(read_checkpoint(cached_path(recipes[0]), recipes[0]), solved)
    exploding = replace(recipes[3], given={"w_rec": np.full((20, 20), 50.0)})
    with pytest.raises(InputError, match="exploded at step"):
        networks_at([exploding], 50)


def test_checkpoints_are_kept_not_trained_again(recipes, monkeypatch):
    along = checkpoints(recipes[0], steps=1000, every=20)
    calls = []
    trained = ensemble.advance_together
    monkeypatch.setattr(ensemble, "advance_together", lambda *a, **k: calls.append(1) or trained(*a, **k))
    again = checkpoints(recipes[0], steps=1000, every=20)
    assert not calls
    assert [each.curve for each in again] == [each.curve for each in along]
    kept_path(cached_path(recipes[0]), 20).unlink()
    assert [each.curve for each in checkpoints(recipes[0], steps=1000, every=20)] == [each.curve for each in along]
    assert calls


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": 9}, "steps is 9; it must be at least 10"),
        ({"n_jobs": 0}, "n_jobs is 0; it must be the number of threads"),
        ({"chunk_size": 0}, "chunk_size is 0; it must be a whole number of at least 1"),
        ({"keep_every": 15}, "checkpoints are kept at looks, every 10 steps; 15 is no multiple of that"),
        ({"device": "abacus"}, "torch cannot use device='abacus' here"),
    ],
)
def test_bad_options(recipes, options, message):
    with pytest.raises(InputError, match=message):
        train_ensemble(recipes[:1], **{"steps": 100, **options})


def test_nobody_to_train():
    assert train_ensemble([], steps=100) == ()


@pytest.mark.parametrize(
    ("n", "n_jobs", "size", "sizes"),
    [
        (100, 2, 10, [10] * 10),
        (7, 2, 10, [3, 4]),
        (11, 2, 10, [5, 6]),
        (1, 2, 10, [1]),
        (25, 2, 10, [6, 6, 6, 7]),
        (3, 1, 2, [1, 2]),
    ],
)
def test_stacks_leave_no_thread_idle(recipes, n, n_jobs, size, sizes):
    untrained = Checkpoint(recipes[0].start(), {})
    begun = [ensemble._Training(k, recipes[0], cached_path(recipes[0]), untrained) for k in range(n)]
    stacks = ensemble._stacks(begun, n_jobs, size)
    assert sorted(map(len, stacks)) == sizes
    assert [each.number for stack in stacks for each in stack] == list(range(n))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no graphics card")
def test_a_graphics_card_learns_too(recipes):
    for each in train_ensemble(recipes, steps=1000, device="cuda"):
        assert each.solves(QUICK)
    assert weights.cached_path(recipes[0], "cuda") != weights.cached_path(recipes[0])


@pytest.mark.slow
def test_losses_fall_as_in_the_textbook_s_loop(recipes):
    """Other initial weights and trials: equal in distribution over networks."""
    n_steps, stretch = 40, 10
    training = replace(QUICK, learning_rate=0.01, largest_gradient=float("inf"), accuracy=1.1)
    ours = [replace(recipes[0], seed=50 + k, training=training) for k in range(8)]
    with pytest.raises(InputError, match="8 of 8 networks failed"):
        train_ensemble(ours, steps=n_steps)
    mine = np.array([[look.loss for look in read_checkpoint(cached_path(each), each).curve] for each in ours])
    with torch.random.fork_rng():
        torch.manual_seed(0)
        textbook = [textbook_losses(replace(recipes[0], seed=90 + k, training=training), n_steps) for k in range(8)]
    theirs = np.array(textbook).reshape(8, -1, stretch).mean(axis=2)
    assert mine.shape == theirs.shape == (8, 4)
    error = np.sqrt((mine.var(axis=0, ddof=1) + theirs.var(axis=0, ddof=1)) / 8)
    assert (np.abs(mine.mean(axis=0) - theirs.mean(axis=0)) < 3 * error).all()
    assert (mine[:, 0] - mine[:, -1] > 3 * error[-1]).all()  # they do fall


def textbook_losses(recipe, n_steps):
    given, recurrent, out = torch.nn.Linear(3, 20), torch.nn.Linear(20, 20), torch.nn.Linear(20, 2)
    parameters = [p for layer in (given, recurrent, out) for p in layer.parameters()]
    optimizer, losses = torch.optim.Adam(parameters, lr=recipe.training.learning_rate), []
    alpha = recipe.task.dt / recipe.tau
    for step in range(n_steps):
        trials = recipe.batch(step)
        state, outputs = torch.zeros(trials.n_trials, 20), []
        for now in torch.from_numpy(trials.inputs):
            state = torch.relu((1 - alpha) * state + alpha * (given(now) + recurrent(state)))
            outputs.append(out(state))
        targets = torch.from_numpy(trials.targets)
        loss = torch.nn.functional.cross_entropy(torch.stack(outputs).flatten(0, 1), targets.flatten(), ignore_index=-1)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses
