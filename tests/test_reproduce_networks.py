"""The pages about networks, on networks without training whose modules do what they were made for."""

import json
import threading
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from fctoolbox import ensemble_lesions
from fctoolbox.chunks import Workers
from fctoolbox.errors import DataUnavailable
from fctoolbox.plugins import find_source
from fctoolbox.reproduce import brains, draw, fig3, function_pages, make_page, networks, reproduce
from tests.networks import decisions

N = 3


class MadeUp:
    """In place of trained networks: three, alike but for their noise; before training with more of it."""

    def __init__(self, task, n, trained=True, n_jobs=1):
        MadeUp.n_jobs = n_jobs
        self.noise = 0.05 if trained else 0.5

    def __len__(self):
        return N

    def __getitem__(self, k):
        if k >= N:
            raise IndexError
        system, _ = decisions(np.random.default_rng(k), noise=self.noise, n_trials=30, length=8)
        # Sources are noted when a system is loaded; these come without one.
        return replace(system, provenance=replace(system.provenance, packages=("fctoolbox",)))


@pytest.fixture
def small(monkeypatch):
    for module in (function_pages, fig3):
        monkeypatch.setattr(module, "Networks", MadeUp)
        monkeypatch.setattr(module, "QUICK", module.Sizes(N, 40, 3))
    monkeypatch.setattr(fig3, "BRAINS", {"mouse": "toy"})


def test_what_modules_carry_and_what_their_loss_costs(small, tmp_path):
    said = []
    assert reproduce(["fig1"], tmp_path, quick=True, progress=said.append) == {}
    content = json.loads((tmp_path / "fig1.json").read_text())
    numbers = content["statistics"]
    accuracy = {name: np.array(values) for name, values in numbers["lesions"]["accuracy"].items()}
    # One module carries the output: without it the network guesses, without random units it does not.
    np.testing.assert_allclose(accuracy["intact"][:, 0], 1)
    assert (accuracy["worst module"][:, 0] < 0.75).all()
    assert (accuracy["worst same size"][:, 0] > 0.9).all()
    # Without recurrence the activity is its inputs, and both have the same modules.
    assert [each["adjusted_rand"] for each in numbers["networks"]] == [1, 1, 1]
    for each in numbers["networks"]:
        assert each["activity"]["strongest"]["choice"] > 0.9
        assert each["activity"]["p"]["choice"] <= 0.5
    assert content["found"][0].startswith("Over 3 networks, accuracy is 1.000 ± 0.000 (1.000 to 1.000), and ")
    assert "adjusted Rand index of 1.000 ± 0.000" in content["found"][2]
    assert said[1].strip() == "network 1 of 3: what its modules carry"
    assert {panel["name"] for panel in content["panels"]} >= {"lesions", "carried", "agreement"}


def test_the_same_seed_gives_the_same_page_and_another_one_does_not(small):
    one, same, other = (make_page("figS1", quick=True, rng=rng) for rng in (0, 0, 1))
    assert json.dumps(one.statistics) == json.dumps(same.statistics) != json.dumps(other.statistics)
    assert one.name == "figS1"


@pytest.mark.parametrize("name", ["fig1", "figS1"])
def test_threads_change_no_number_and_each_has_a_network_of_its_own(small, monkeypatch, name):
    alone = make_page(name, quick=True)

    def met(task):
        all_at_once = threading.Barrier(N, timeout=20)  # broken if they came one after the other

        def wait_and_do(*args, **settings):
            all_at_once.wait()
            return task(*args, **settings)

        return wait_and_do

    monkeypatch.setattr(function_pages, "function_of", met(function_pages.function_of))
    monkeypatch.setattr(ensemble_lesions, "lesion_modules", met(ensemble_lesions.lesion_modules))
    together = make_page(name, quick=True, workers=Workers(N))
    assert MadeUp.n_jobs == N  # those who train
    assert json.dumps(together.statistics) == json.dumps(alone.statistics)
    assert together.found == alone.found
    assert together.tables == alone.tables


def test_how_unequally_a_lesion_harms_types_of_trials():
    control = SimpleNamespace(accuracy=np.array([[0.9, 0.9, 0.9], [0.7, 0.9, 0.5], [0.1, 0.9, 0.5]]))
    report = SimpleNamespace(
        intact=np.array([1.0, 1.0, 1.0]),
        accuracy=np.array([[0.1, 1.0, 0.5], [0.8, 0.7, 0.9]]),
        same_size=(control, control),
    )
    assert function_pages._selectivity(report) == pytest.approx((0.5 + 0.2) / 2)
    assert function_pages._selectivity_by_chance(report) == pytest.approx((0 + 0.4 + 0.4) / 3)


def test_networks_before_and_after_training_and_a_brain(small, tmp_path):
    assert reproduce(["fig3"], tmp_path, quick=True) == {}
    content = json.loads((tmp_path / "fig3.json").read_text())
    before, after = (content["statistics"]["networks"][when] for when in ("before", "after"))
    assert len(before) == len(after) == N
    assert all(each["r"] > 0.9 for each in after)
    r = content["statistics"]["after_less_before"]["r"]
    assert r["difference"] == pytest.approx(np.mean([a["r"] - b["r"] for a, b in zip(after, before, strict=True)]))
    assert content["found"][0].startswith("Over 3 trained networks")
    # toy is synthetic: the page says so, on top and by name.
    assert content["synthetic"]
    assert any("no finding: toy" in note for note in content["notes"])
    assert content["found"][2].startswith("Mouse (toy (synthetic, planted communities), 80 units): r = 0.9")
    html = (tmp_path / "fig3.html").read_text()
    assert "Synthetic data stand for real ones" in html
    assert html.count("<img") == 3 + 2 * 4


def test_miniatures_stand_in_where_there_are_no_data(monkeypatch):
    toy = find_source("toy")

    def load():
        raise DataUnavailable("nowhere")

    sources = {"real": replace(toy, name="real", load=load, miniature="toy"), "toy": toy}
    monkeypatch.setattr(brains, "find_source", sources.__getitem__)
    said = []
    assert brains.or_miniature("real", said.append).provenance.source == "toy"
    assert said == ["the files of real are not there (`fctoolbox fetch real` says how to get them); toy instead"]
    sources["real"] = replace(sources["real"], miniature="")
    with pytest.raises(DataUnavailable, match="nowhere"):
        brains.or_miniature("real", said.append)


def test_networks_are_loaded_one_at_a_time_and_trained_together(monkeypatch):
    asked = []

    def load(source, **options):
        asked.append((source, options))
        return SimpleNamespace(model=object())

    monkeypatch.setattr(networks, "find_source", lambda name: name)
    monkeypatch.setattr(networks, "load_source", load)
    networks.Networks("a-task", 5, n_jobs=3)[0]
    assert asked.pop()[1]["n_jobs"] == 3
    some = networks.Networks("a-task", 5)
    assert len(some) == 5
    assert asked == []
    some[-1]
    some[1:3]
    assert [options["network"] for _, options in asked] == [4, 1, 2]
    assert asked[0] == ("ctrnn", {"task": "a-task", "network": 4, "trained": True, "networks": 5, "n_jobs": 1})
    assert len(list(some)) == 5
    asked.clear()
    networks.Networks("a-task", 5, trained=False)[0]
    assert asked == [("ctrnn", {"task": "a-task", "network": 0, "trained": False})]


def test_numbers_in_words():
    assert draw.spread([1, 2, 3]) == "2.000 ± 1.000 (1.000 to 3.000)"
    assert draw.spread([0.5], 1) == "0.5 ± 0.0 (0.5 to 0.5)"
    assert draw.p_in_words(0.0123) == "p = 0.012"
    assert draw.p_in_words(None) == "p not defined"
