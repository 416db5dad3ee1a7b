"""Trained weights: learned once, kept, verified, and continued after an interruption."""

from dataclasses import replace

import numpy as np
import pytest
from fctoolbox_ctrnn import ensemble, weights
from fctoolbox_ctrnn.network import PARAMETERS
from fctoolbox_ctrnn.training import Training
from fctoolbox_ctrnn.trials import read_task
from fctoolbox_ctrnn.weights import Recipe, cached_path, read_checkpoint, trained_network

from fctoolbox.errors import InputError

QUICK = Training(learning_rate=0.02, n_trials=16, evaluate_every=10, n_validation=60, in_a_row=3)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("FCTOOLBOX_CACHE", str(tmp_path))
    return tmp_path


@pytest.fixture(scope="module")
def recipe():
    return Recipe(read_task("GoNogo-v0", 100), n_units=20, seed=1, training=QUICK)


def same(one, other):
    for name in PARAMETERS:
        np.testing.assert_array_equal(getattr(one.network, name), getattr(other.network, name))
    assert one.curve == other.curve
    assert one.moments.keys() == other.moments.keys()
    for name, moment in one.moments.items():
        np.testing.assert_array_equal(moment, other.moments[name])


def no_training(*_, **__):
    raise AssertionError("it trains")


def test_training_stops_when_the_task_is_solved(recipe):
    learned = trained_network(recipe, steps=1000)
    assert learned.step < 1000
    assert [look.accuracy >= 0.97 for look in learned.curve[-3:]] == [True] * 3
    assert not all(look.accuracy >= 0.97 for look in learned.curve[-4:-1])  # and not later
    trials = recipe.fresh(300)
    assert trials.correct(learned.network.readout(learned.network.run(trials.inputs))).mean() > 0.9
    assert learned.curve[0].accuracy < 0.97
    start = recipe.start()
    assert trials.correct(start.readout(start.run(trials.inputs))).mean() < 0.7


def test_a_trained_network_is_not_trained_again(recipe, monkeypatch):
    learned = trained_network(recipe, steps=1000)
    monkeypatch.setattr(ensemble, "advance_together", no_training)
    same(trained_network(recipe, steps=1000), learned)
    same(trained_network(recipe, steps=5000), learned)


def test_an_interrupted_training_goes_on_to_the_same_bits(recipe, monkeypatch, tmp_path):
    whole = trained_network(recipe, steps=1000)
    monkeypatch.setenv("FCTOOLBOX_CACHE", str(tmp_path / "interrupted"))
    taken = []

    def interrupted(self, step, _batch=Recipe.batch):
        if step == 23 and step not in taken:
            taken.append(step)
            raise KeyboardInterrupt
        taken.append(step)
        return _batch(self, step)

    monkeypatch.setattr(Recipe, "batch", interrupted)
    with pytest.raises(KeyboardInterrupt):
        trained_network(recipe, steps=1000)
    assert read_checkpoint(cached_path(recipe), recipe).step == 20
    taken[:] = [23]
    same(trained_network(recipe, steps=1000), whole)
    # Step 0 is drawn for the hash; what was learned before the last checkpoint is not learned again.
    assert sorted(set(taken))[:3] == [0, 20, 21]


def test_failing_to_learn_shows_the_curve_and_what_to_change(recipe):
    with pytest.raises(InputError) as failure:
        trained_network(recipe, steps=25)
    message = str(failure.value)
    assert message.startswith("the network has not solved 'GoNogo-v0' after 25 steps: accuracy 0.")
    assert "0.97 at 3 looks in a row is wanted, one every 10 steps" in message
    header, *rows = message.splitlines()[1:-1]
    assert header.split() == ["step", "loss", "accuracy"]
    assert [int(row.split()[0]) for row in rows] == [10, 20]
    assert all(0 < float(row.split()[1]) < 5 and 0 <= float(row.split()[2]) <= 1 for row in rows)
    advice = "Raise steps (training goes on from where it is), or try another seed (now 1), more n_units (now 20)"
    assert advice in message


def test_more_steps_continue_a_training_that_gave_up(recipe, monkeypatch, tmp_path):
    with pytest.raises(InputError):
        trained_network(recipe, steps=25)
    continued = trained_network(recipe, steps=1000)
    monkeypatch.setenv("FCTOOLBOX_CACHE", str(tmp_path / "other"))
    same(continued, trained_network(recipe, steps=1000))


def test_fewer_steps_than_it_took_fail_even_when_the_network_is_there(recipe):
    learned = trained_network(recipe, steps=1000)
    with pytest.raises(InputError, match="has not solved 'GoNogo-v0' after 20 steps"):
        trained_network(recipe, steps=20)
    same(trained_network(recipe, steps=learned.step), learned)


def test_a_long_curve_is_thinned_but_keeps_its_end(recipe):
    with pytest.raises(InputError) as failure:
        trained_network(replace(recipe, training=replace(QUICK, evaluate_every=1, accuracy=1.1)), steps=50)
    steps = [int(row.split()[0]) for row in str(failure.value).splitlines()[2:-1]]
    assert len(steps) <= 20
    assert steps[-1] == 50


def test_too_few_steps_to_look_once(recipe):
    with pytest.raises(InputError, match="steps is 9; it must be at least 10"):
        trained_network(recipe, steps=9)


def altered(path, content):
    changed = bytearray(content)
    # Inside the stored numbers of the recurrent weights: the archive itself stays readable.
    where = content.index(b"w_rec.npy") + 600
    changed[where] ^= 1
    path.write_bytes(changed)


@pytest.mark.parametrize(
    "damage",
    [
        altered,
        lambda path, content: path.write_bytes(content[: len(content) // 2]),
        lambda path, content: path.write_bytes(b""),
        lambda path, content: path.write_bytes(b"not an archive"),
        lambda path, content: np.savez(path, w_in=np.zeros(3)),
    ],
    ids=["altered", "half", "empty", "foreign", "incomplete"],
)
def test_a_file_that_is_not_as_written_is_trained_anew(recipe, damage):
    learned = trained_network(recipe, steps=1000)
    path = cached_path(recipe)
    damage(path, path.read_bytes())
    with pytest.warns(UserWarning, match="half-written or altered; it is ignored, and the network trained anew"):
        same(trained_network(recipe, steps=1000), learned)
    same(read_checkpoint(path, recipe), learned)


def test_consistent_numbers_that_training_did_not_write_are_refused(recipe):
    trained_network(recipe, steps=1000)
    path = cached_path(recipe)
    with np.load(path) as stored:
        arrays = dict(stored)
    arrays["w_out"] = arrays["w_out"] + 1
    np.savez(path, **arrays)
    with pytest.warns(UserWarning, match="altered"):
        assert read_checkpoint(path, recipe) is None


def test_another_network_s_file_is_refused(recipe):
    other = replace(recipe, seed=2)
    trained_network(other, steps=1000)
    cached_path(other).rename(cached_path(recipe))
    with pytest.warns(UserWarning, match="altered"):
        assert read_checkpoint(cached_path(recipe), recipe) is None


def test_pickles_are_not_read(recipe):
    path = cached_path(recipe)
    path.parent.mkdir(parents=True)
    np.savez(path, digest=np.array([{}], dtype=object))
    with pytest.warns(UserWarning, match="altered"):
        assert read_checkpoint(path, recipe) is None


def test_all_that_defines_the_weights_is_in_their_name(recipe, monkeypatch):
    changes = [
        {},
        {"seed": 2},
        {"n_units": 21},
        {"tau": 200.0},
        {"training": replace(QUICK, learning_rate=0.01)},
        {"training": replace(QUICK, in_a_row=2)},
        {"training": replace(QUICK, largest_loss=10.0)},
        {"rule": "outside"},
        {"nonlinearity": "tanh"},
        {"noise": 0.1},
        {"sign": np.repeat([1, -1], [16, 4])},
        {"mask": ~np.eye(20, dtype=bool)},
        {"given": {"b_out": np.zeros(2)}},
        {"given": {"b_rec": np.zeros(20)}},
        {"task": read_task("GoNogo-v0", 50)},
        {"task": read_task("fctoolbox/PerceptualDecisionMaking-v0", 100)},
        {"task": read_task("PerceptualDecisionMaking-v0", 100)},
    ]
    hashes = [replace(recipe, **change).content_hash() for change in changes]
    assert recipe.content_hash() == hashes[0]
    hashes.append(recipe.content_hash("cuda:1"))
    assert hashes[-1] == recipe.content_hash("cuda")
    assert hashes[0] == recipe.content_hash("cpu")
    monkeypatch.setattr(weights, "CODE_VERSION", -1)
    hashes.append(recipe.content_hash())
    monkeypatch.undo()
    # The same name and options, but other trials: what a new version of a task would do.
    monkeypatch.setattr(Recipe, "validation", lambda self: self.fresh(60))
    hashes.append(recipe.content_hash())
    assert len(set(hashes)) == len(hashes)


def test_trials_for_different_purposes_differ(recipe):
    inputs = [recipe.batch(0), recipe.batch(1), recipe.validation(), recipe.fresh(60)]
    targets = [trials.targets[-1, :16].tolist() for trials in inputs]
    assert len({tuple(each) for each in targets}) == 4


def test_validation_leaves_out_trials_without_coherence():
    task = read_task("fctoolbox/PerceptualDecisionMaking-v0", 100)
    validation = Recipe(task, 10, training=QUICK).validation()
    assert 30 < validation.n_trials < 60
    assert (validation.coherence > 0).all()


def test_a_folder_that_cannot_be_written_to(recipe, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setenv("FCTOOLBOX_CACHE", str(tmp_path / "file"))
    with pytest.raises(
        InputError,
        match=r"the network cannot be kept: .*file/ctrnn/.* cannot be written: .*; name another folder in FCTOOLBOX",
    ):
        trained_network(recipe, steps=1000)


def test_nothing_but_the_network_is_left_in_the_cache(recipe, cache):
    trained_network(recipe, steps=1000)
    assert list(cache.rglob("*.*")) == [cached_path(recipe)]
