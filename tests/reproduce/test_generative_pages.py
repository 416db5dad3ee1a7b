"""The pages about input weights, small: what they say must be what they computed."""

import json
from dataclasses import replace
from types import SimpleNamespace

import pytest

import fctoolbox as fct
from fctoolbox import detect_communities
from fctoolbox.chunks import Workers
from fctoolbox.errors import InputError
from fctoolbox.generative import module_counts, sign_model_q
from fctoolbox.reproduce import fig2, figS4, figS5, figS7, figS8
from fctoolbox.reproduce.page import save_page


def made(module, folder, name):
    page = module.make(quick=True, rng=0, workers=Workers(), progress=lambda _: None)
    save_page(page, folder)
    assert {each.name for each in folder.iterdir()} == {f"{name}.html", f"{name}.json", "figures"}
    return page, json.loads((folder / f"{name}.json").read_text("utf-8"))["statistics"]


@pytest.fixture(autouse=True)
def _few_restarts(monkeypatch):
    def search(matrix, **options):
        return detect_communities(matrix, **options | {"n_restarts": 2, "n_kicks": 3})

    for module in (figS4, figS5, figS7, figS8, module_counts):
        monkeypatch.setattr(module, "detect_communities", search)


@pytest.fixture
def toy_for_mouse(monkeypatch):
    for page in (figS5, figS7):
        monkeypatch.setattr(page, "or_miniature", lambda *_: fct.load("toy", n_units=24, n_inputs=8, n_times=50))


def test_noise_through_a_projection(monkeypatch, tmp_path):
    monkeypatch.setattr(fig2, "N_SAMPLES", (50, 100, 1000))
    monkeypatch.setattr(fig2, "N_UNITS", 30)
    page, statistics = made(fig2, tmp_path, "fig2")
    linear, *_ = statistics["curves"]
    assert f"{sum(row[-1] for row in linear['r']) / 10:.3f}" in page.found[0]
    assert max(map(abs, statistics["unrelated_r"])) < 0.3
    assert not page.synthetic


def test_signs_and_sizes(monkeypatch, tmp_path):
    monkeypatch.setattr(figS4, "N_UNITS", 20)
    page, statistics = made(figS4, tmp_path, "figS4")
    assert statistics["largest_deviation"] < 1e-12
    assert f"{sign_model_q(20, 0.5):.4f}" in page.found[0]
    assert "0 with none" in page.found[3]


def test_six_rules(monkeypatch, tmp_path):
    monkeypatch.setattr(figS8, "N_UNITS", 40)
    page, statistics = made(figS8, tmp_path, "figS8")
    assert all(max(row) == row[3] for row in statistics["q"])
    assert "not its best modules" in page.found[0]
    again = figS8.make(quick=True, rng=0, workers=Workers(), progress=lambda _: None)
    assert again.statistics == page.statistics


@pytest.mark.usefixtures("toy_for_mouse")
def test_inputs_and_modules(monkeypatch, tmp_path):
    monkeypatch.setattr(figS7, "N_UNITS", 30)
    monkeypatch.setattr(figS7, "N_INPUTS", (1, 2, 5, 10))
    page, statistics = made(figS7, tmp_path, "figS7")
    assert statistics["own"]["n_modules"] == [2, 5]
    assert statistics["mouse"]["n_inputs"] == [5, 8]
    assert page.synthetic


@pytest.mark.usefixtures("toy_for_mouse")
def test_modules_and_their_inputs(monkeypatch, tmp_path):
    asked = []

    def network(name, **options):
        asked.append((name, options))
        return fct.load("toy", n_units=20, n_inputs=4, n_times=50, seed=options["network"])

    monkeypatch.setattr(figS5, "load", network)
    monkeypatch.setattr(figS5, "installed", lambda: SimpleNamespace(sources={"ctrnn": None}))
    page, statistics = made(figS5, tmp_path, "figS5")
    assert asked[0] == ("ctrnn", {"network": 0, "networks": 6, "n_jobs": 1, "trained": False})
    assert [options["network"] for _, options in asked] == [*range(6)] * 2
    assert len(statistics["networks, trained"]) == 6
    assert len(statistics["mouse, weights shuffled"]) <= 20
    assert f"p = {statistics['mouse']['p_value']:.2g}" in page.found[0]


@pytest.mark.usefixtures("toy_for_mouse")
def test_without_networks_the_page_says_so(monkeypatch, tmp_path):
    monkeypatch.setattr(figS5, "installed", lambda: SimpleNamespace(sources={}))
    page, statistics = made(figS5, tmp_path, "figS5")
    assert set(statistics) == {"mouse", "mouse, weights shuffled"}
    assert any("no source named 'ctrnn'" in note for note in page.notes)


def test_a_single_module_has_no_input_of_its_own(monkeypatch):
    one = fct.load("toy", n_units=20, n_inputs=4, n_times=50)
    alike = replace(one, name="synthetic, alike", projection=fct.InputProjection(abs(one.projection.weights) * 0 + 1))
    monkeypatch.setattr(figS5, "or_miniature", lambda *_: alike)
    with pytest.raises(InputError, match="synthetic, alike form a single module"):
        figS5.make(quick=True, rng=0, workers=Workers(), progress=lambda _: None)
