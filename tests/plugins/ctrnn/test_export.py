"""Weights to a file and back."""

import numpy as np
import pytest
import torch
from fctoolbox_ctrnn import export_weights, fctoolbox_sources, from_torch, from_weights, read_weights
from fctoolbox_ctrnn.network import PARAMETERS

from fctoolbox.errors import InputError
from fctoolbox.plugins import load_source
from fctoolbox.testing import check_source

QUICK = {"dt": 100, "n_units": 30, "n_trials": 20}
(SOURCE,) = fctoolbox_sources()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "net.npz"


def system(**options):
    return load_source(SOURCE, trained=False, **{**QUICK, **options})


def test_a_network_comes_back_as_it_was(path):
    options = {"dale": 0.8, "sparsity": 0.2, "rule": "outside", "nonlinearity": "tanh", "noise": 0.1, "tau": 300.0}
    first = system(task="GoNogo-v0", timing={"stimulus": 400}, seed=4, **options)
    assert export_weights(first, path) == path
    again = load_source(SOURCE, weights=str(path), seed=4, n_trials=20)
    np.testing.assert_array_equal(again.activity.timeseries, first.activity.timeseries)
    for name in (*PARAMETERS, "sign", "mask"):
        np.testing.assert_array_equal(getattr(again.model, name), getattr(first.model, name))
    for name in ("alpha", "rule", "nonlinearity", "noise", "silent"):
        assert getattr(again.model, name) == getattr(first.model, name)
    for name in ("task", "timing", "dt", "tau", "n_units", "rule", "nonlinearity", "noise"):
        assert again.provenance.options[name] == pytest.approx(first.provenance.options[name])
    assert again.provenance.notes["Training"].startswith(f"none here: the weights are those of {path} (SHA-256 ")
    # What the options say that it was loaded with loads it again.
    same = load_source(SOURCE, **again.provenance.options)
    np.testing.assert_array_equal(same.activity.timeseries, first.activity.timeseries)
    assert same.name == again.name


def test_lesions_are_kept(path):
    lesioned = system().model.lesion([3, 5])
    export_weights(lesioned, path)
    assert read_weights(path).network.silent == (3, 5)
    assert not read_weights(path).trained_on


def test_the_file_is_plain_arrays(path):
    export_weights(system(), path)
    with np.load(path, allow_pickle=False) as stored:
        assert set(PARAMETERS) <= set(stored.files)
        assert {"alpha", "rule", "nonlinearity", "noise", "silent", "task", "dt", "tau"} <= set(stored.files)
        assert all(stored[name].dtype != object for name in stored.files)


def test_a_network_trained_elsewhere_needs_three_arrays(path):
    rng = np.random.default_rng(0)
    arrays = {"w_in": rng.standard_normal((12, 3)), "w_rec": rng.standard_normal((12, 12)) / 4}
    arrays["w_out"] = rng.standard_normal((3, 12))
    np.savez(path, **arrays)
    loaded = load_source(SOURCE, weights=str(path), dt=50, n_trials=10)
    assert (loaded.model.alpha, loaded.model.nonlinearity) == (1, "relu")
    assert loaded.provenance.options["tau"] == 50
    own = from_weights(**arrays, inputs=np.zeros((3, 3)))
    np.testing.assert_array_equal(own.model.w_rec, loaded.model.w_rec)
    check_source(SOURCE, weights=str(path), dt=50, n_trials=10)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_units": 31}, "n_units is 31, but weights=.*net.npz brings .*, which has n_units=30; leave n_units out"),
        ({"task": "GoNogo-v0"}, "task is 'GoNogo-v0', but weights=.*, which has task=fctoolbox/Perceptual"),
        ({"dt": 50}, "dt is 50, but .*, which has dt=100; leave dt out"),
        ({"trained": False}, "trained is False, but weights=.* taken as it is; leave trained out"),
        ({"dale": 0.5}, "dale is 0.5"),
        ({"networks": 3}, "networks is 3"),
        ({"timing": {"stimulus": 100}}, "timing is "),
    ],
)
def test_options_that_the_file_gainsays(path, options, message):
    export_weights(system(), path)
    with pytest.raises(InputError, match=message):
        load_source(SOURCE, weights=str(path), **options)


def test_a_network_that_does_not_fit_the_task(path):
    model = system().model
    export_weights(model, path)
    with pytest.raises(InputError, match="has 3 inputs, but task 'fctoolbox/Yang19-go-v0' wants 53"):
        load_source(SOURCE, weights=str(path), task="fctoolbox/Yang19-go-v0")
    np.savez(path, w_in=model.w_in, w_rec=model.w_rec, w_out=model.w_out[:2])
    with pytest.raises(InputError, match=r"has 2 outputs, but task .* wants 3"):
        load_source(SOURCE, weights=str(path))


def test_what_cannot_be_exported(path):
    with pytest.raises(InputError, match=r"must end in \.npz"):
        export_weights(system(), path.with_suffix(".txt"))
    with pytest.raises(InputError, match="only a CTRNN can be exported, and this has no model"):
        export_weights(system().select_units([0, 1, 2]), path)
    with torch.random.fork_rng():
        gated = from_torch(torch.nn.GRU(3, 5), rng=0)
    with pytest.raises(InputError, match="a model of the kind GRU"):
        export_weights(gated, path)
    with pytest.raises(InputError, match="cannot be written"):
        export_weights(system(), "/dev/null/net.npz")
    assert not list(path.parent.iterdir())


def test_files_that_are_no_networks(path):
    def refused(message):
        with pytest.raises(InputError, match=message):
            read_weights(path)

    path.write_bytes(b"PK\x03\x04 nothing")
    refused("is no NPZ file of plain arrays, or a damaged one")
    np.savez(path, w_in=np.zeros((3, 2)))
    refused("holds no w_rec and no w_out; it holds w_in")
    np.savez(path, w_in=np.array([{}], dtype=object), w_rec=np.zeros((3, 3)), w_out=np.zeros((1, 3)))
    refused("is no NPZ file of plain arrays")
    np.savez(path, w_in=np.zeros((3, 2)), w_rec=np.zeros((4, 4)), w_out=np.zeros((1, 3)))
    refused(r"net.npz: .* has shape")
    np.savez(path, w_in=np.zeros((3, 2)), w_rec=np.zeros((3, 3)), w_out=np.zeros((1, 3)), alpha="high")
    refused("net.npz: ")
    with path.open("wb") as stream:
        np.save(stream, np.zeros(3))
    refused("holds a single array")
