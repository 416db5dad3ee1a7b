"""The synthetic template: its planted truth is found, and its null case holds none."""

import gzip

import numpy as np
import pytest
from fctoolbox_hcp import miniature
from fctoolbox_hcp.miniature import write_miniature

import fctoolbox as fct
from fctoolbox import cli
from fctoolbox.testing import check_source


def analysed(**options):
    return fct.analyse_origin(miniature.load(**options), null="permutation", n_nulls=199, n_restarts=5, rng=0)


@pytest.mark.parametrize("seed", range(3))
def test_planted_communities_are_found(seed):
    report = analysed(seed=seed)
    planted = np.unique(report.system.annotations["planted"], return_inverse=True)[1]
    assert report.communities.q >= fct.modularity(report.similarity, planted) - 1e-12
    assert report.induced.nulls[0].p_value == 1 / 200
    assert report.relationship.pearson_r > 0.5


def test_without_a_plant_the_relation_is_weaker_than_any_planted_one():
    planted = [analysed(seed=seed).relationship.pearson_r for seed in range(3)]
    unplanted = [analysed(planted=False, seed=seed).relationship.pearson_r for seed in range(6)]
    assert min(planted) > 0.5
    assert max(np.abs(unplanted)) < min(planted) / 2
    assert abs(np.mean(unplanted)) < 0.1


def test_communities_hold_neighbouring_areas():
    system = miniature.load()
    distance = np.linalg.norm(system.geometry.positions[:, None] - system.geometry.positions, axis=2)
    same = np.equal.outer(system.annotations["planted"], system.annotations["planted"])
    apart = ~np.eye(system.n_units, dtype=bool)
    assert distance[same & apart].mean() < 0.8 * distance[~same].mean()


def test_the_files_have_the_published_formats(tmp_path):
    paths, community = write_miniature(tmp_path)
    assert gzip.decompress(paths.streamlines.read_bytes())[:4] == (20).to_bytes(4, "little")
    assert paths.bundles.read_text().splitlines()[0] == "thalamus-L_m-1-autotrack"
    assert paths.area_names.read_text().count("\n") == 1
    assert paths.area_names.read_text().strip().split(",") == list(community)
    assert len(paths.area_of_vertex.read_text().split()) == 2 * 642
    matrix = np.loadtxt(paths.connectivity, delimiter=",")
    assert matrix.shape == (len(community), len(community))
    assert matrix.min() == 0
    assert matrix.max() > 1  # Fisher z, not r


def test_some_areas_have_no_streamlines_as_in_the_published_template(tmp_path):
    paths, community = write_miniature(tmp_path)
    assert len(paths.bundles.read_text().splitlines()) == len(community) - 6


def test_the_same_seed_writes_the_same_files(tmp_path):
    first, second, other = (tmp_path / name for name in ("first", "second", "other"))
    for folder, seed in ((first, 1), (second, 1), (other, 2)):
        folder.mkdir()
        write_miniature(folder, rng=seed)
    for path in first.iterdir():
        assert path.read_bytes() == (second / path.name).read_bytes(), path.name
    assert (first / "mini.tt.gz").read_bytes() != (other / "mini.tt.gz").read_bytes()


def test_it_says_that_it_is_synthetic_and_leaves_nothing_behind(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    system = miniature.load()
    assert system.name == "human-mini (synthetic)"
    assert system.provenance.synthetic
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("options", [{}, {"hemisphere": "both", "fwhm": 4.0}, {"planted": False}])
def test_it_keeps_the_contract(options):
    check_source("human-mini", **options)


def test_a_negative_seed_leaves_with_2_and_one_sentence(tmp_path, capsys):
    with pytest.raises(SystemExit, match="2"):
        cli.main(["run", "human-mini", "-o", "seed=-1", "--out", str(tmp_path)])
    assert capsys.readouterr().err == "Error: seed is -1; it must be a whole number of at least 0\n"
