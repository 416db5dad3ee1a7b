from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.distance import cdist

import fctoolbox as fct
from fctoolbox import InputError
from fctoolbox.chance import CONTROLS_FOR, IN_SHORT, NULLS, Question, Space, null_names, null_statistics, space_of
from fctoolbox.chunks import content_key
from fctoolbox.nulls.edges import EdgeStatistics
from fctoolbox.nulls.graph import nearest_graph
from fctoolbox.quality import quality_of

SPATIAL = [name for name in NULLS if name != "permutation"]


@pytest.fixture(scope="module")
def question():
    """Units on a sphere, with a projection and an FC that are smooth, and planted to be related."""
    rng = np.random.default_rng(0)
    where = rng.standard_normal((60, 3))
    where *= 50 / np.linalg.norm(where, axis=1, keepdims=True)
    distances = cdist(where, where)
    values, vectors = np.linalg.eigh(np.exp(-((distances / 25) ** 2) / 2))
    weights = np.maximum((vectors * np.sqrt(np.maximum(values, 0))) @ rng.standard_normal((60, 8)), 0) + 0.05
    signal = rng.standard_normal((400, 8)) @ (weights - weights.mean(axis=0)).T
    connectivity = fct.functional_connectivity(signal + 0.3 * rng.standard_normal(signal.shape))
    similarity = fct.cosine_similarity(weights)
    labels = fct.detect_communities(similarity, n_restarts=5, rng=0).labels
    space = Space(distances, nearest_graph(distances), where, None)
    return Question(labels, similarity, connectivity, weights, space)


@pytest.mark.parametrize("model", NULLS)
def test_a_planted_relation_is_found_by_every_null(model, question):
    observed = fct.modularity(question.connectivity, question.labels)
    values = null_statistics(model, question, n_nulls=19, rng=np.random.default_rng(1))
    assert values.shape == (19, 3 if model in ("permutation", "spin", "projection") else 1)
    assert (values[:, 0] < observed).all()
    if values.shape[1] == 3:
        edges = EdgeStatistics.of(question.connectivity, question.space.distances)
        assert (values[:, 1] < edges.pearson_r(question.similarity)).all()
        assert (values[:, 2] < edges.partial_r(question.similarity)).all()


@pytest.mark.parametrize("model", NULLS)
def test_same_rng_same_nulls(model, question):
    one, other, third = (
        null_statistics(model, question, n_nulls=4, rng=np.random.default_rng(seed)) for seed in (5, 5, 6)
    )
    np.testing.assert_array_equal(one, other)
    assert not np.array_equal(one, third)


def test_what_keeps_space_is_harder_to_beat(question):
    mean = {
        model: null_statistics(model, question, n_nulls=30, rng=np.random.default_rng(2))[:, 0].mean()
        for model in NULLS
    }
    assert mean["permutation"] < min(mean["variogram"], mean["moran"]) < mean["regrow"]
    assert mean["permutation"] < min(mean["spin"], mean["projection"])


def test_without_distances_r_alone_is_compared(question):
    flat = replace(question, space=Space())
    assert null_statistics("permutation", flat, n_nulls=3, rng=np.random.default_rng(0)).shape == (3, 2)


def test_every_null_has_its_words():
    assert set(CONTROLS_FOR) == set(IN_SHORT) == set(NULLS)
    for words in CONTROLS_FOR.values():
        assert words.endswith(".")
        assert "controls for" in words


def test_names():
    geometry = fct.Geometry(positions=np.random.default_rng(0).standard_normal((20, 3)))
    assert null_names("auto", geometry, 20) == ("projection",)
    assert null_names("auto", None, 20) == ("permutation",)
    assert null_names("auto", geometry, 9) == ("permutation",)
    assert null_names(["spin", "auto", "projection", "spin"], geometry, 20) == ("spin", "projection")
    with pytest.raises(InputError, match=r"no null named 'spinn'\. Did you mean 'spin'"):
        null_names("spinn", None, 20)
    with pytest.raises(InputError, match="null is empty"):
        null_names([], None, 20)


@pytest.mark.parametrize("model", SPATIAL)
def test_a_spatial_null_without_geometry_says_what_is_missing(model):
    system = fct.load("toy", n_units=20, n_inputs=8, n_times=100)
    nowhere = replace(system, geometry=None)
    with pytest.raises(InputError, match=r"(positions|sphere)"):
        space_of(nowhere, [model])
    with pytest.raises(InputError, match=r"(positions|sphere)"):
        fct.analyse_origin(nowhere, null=model, n_nulls=5, n_restarts=1, rng=0)


def test_a_permutation_needs_no_geometry_and_uses_one_for_distance():
    system = fct.load("toy", n_units=20, n_inputs=8, n_times=100)
    settings = {"n_nulls": 5, "n_restarts": 1, "rng": 0}
    somewhere = fct.analyse_origin(system, **settings)
    nowhere = fct.analyse_origin(replace(system, geometry=None), **settings)
    assert nowhere.relationship.partial_r is None
    assert nowhere.relationship.by_distance == ()
    assert nowhere.relationship.nulls[0].mean == pytest.approx(somewhere.relationship.nulls[0].mean, abs=1e-12)
    assert -1 <= somewhere.relationship.partial_r <= 1
    assert sum(each.n_pairs for each in somewhere.relationship.by_distance) == 190
    assert "distances are not known" in nowhere.caution()


def test_auto_says_what_it_took():
    system = fct.load("toy", n_units=20, n_inputs=8, n_times=100)
    report = fct.analyse_origin(system, null="auto", n_nulls=5, n_restarts=1, rng=0)
    assert [test.model for test in report.induced.nulls] == ["projection"]
    assert "projection" in report.controls()
    taken = report.policies["null"]
    assert taken.startswith("auto: projection, as distances are known; calibrated for 60 units and more")
    many = fct.load("toy", n_units=60, n_inputs=8, n_times=100)
    report = fct.analyse_origin(many, null="auto", n_nulls=5, n_restarts=1, rng=0)
    assert report.policies["null"] == "auto: projection, as distances are known"


def test_what_was_prepared_changes_no_null_and_no_key(question):
    prepared = replace(question, quality=quality_of(question.connectivity))
    one, other = (
        null_statistics("permutation", each, n_nulls=3, rng=np.random.default_rng(0)) for each in (question, prepared)
    )
    np.testing.assert_array_equal(one, other)
    assert content_key(prepared) == content_key(question)
    other_weights = question.weights.copy()
    other_weights[0, 0] += 1
    changed = (
        {"weights": other_weights},
        {"labels": question.labels[::-1].copy()},
        {"connectivity": question.connectivity * 0.5},
        {"resolution": 1.1},
        {"space": replace(question.space, positions=np.zeros((60, 3)))},
    )
    assert len({content_key(question), *(content_key(replace(question, **each)) for each in changed)}) == 6
