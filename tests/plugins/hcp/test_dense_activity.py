"""Connectivity of grayordinates from dense connectomes, runs and group PCA."""

import numpy as np
import pytest
from fctoolbox_hcp import dense_activity
from fctoolbox_hcp.dense_activity import open_activity, read_connectivity
from fctoolbox_hcp.structures import choose, structures_of
from nibabel.cifti2 import BrainModelAxis, Cifti2Image, SeriesAxis

from fctoolbox.errors import InputError

N_LEFT, N_RIGHT = 40, 30
AXIS = BrainModelAxis.from_surface(np.arange(N_LEFT), 50, name="CIFTI_STRUCTURE_CORTEX_LEFT") + (
    BrainModelAxis.from_surface(np.arange(N_RIGHT) + 5, 50, name="CIFTI_STRUCTURE_CORTEX_RIGHT")
)
N = len(AXIS)


def written(path, values, axes=(AXIS, AXIS)):
    image = Cifti2Image(np.asarray(values, dtype=np.float32), axes)
    image.update_headers()
    image.to_filename(path)
    return path


def series_file(path, series):
    return written(path, series, (SeriesAxis(0, 0.72, len(series)), AXIS))


def correlated(rng, n_times=60):
    return rng.standard_normal((n_times, 5)) @ rng.standard_normal((5, N)) + rng.standard_normal((n_times, N))


def fisher_z(r):
    z = np.arctanh(r * (1 - np.eye(len(r))))
    np.fill_diagonal(z, 8.3)
    return z


def targets(names="CORTEX_LEFT"):
    return choose(structures_of(AXIS, "the space"), names, "the space")


def read(paths, kind, names="CORTEX_LEFT", **options):
    return read_connectivity(open_activity(paths, kind), targets(names), kind=kind, **options)


@pytest.fixture
def r(rng):
    return np.corrcoef(correlated(rng).T)


@pytest.mark.parametrize("rows", [7, 128])
@pytest.mark.parametrize("names", ["CORTEX_LEFT", "CORTEX_RIGHT", "CORTEX_RIGHT,CORTEX_LEFT"])
def test_fisher_z_of_a_structure_becomes_r(tmp_path, r, names, rows, monkeypatch):
    monkeypatch.setattr(dense_activity, "_ROWS", rows)
    path = written(tmp_path / "z.dconn.nii", fisher_z(r))
    index = np.concatenate([np.arange(N)[each.rows] for each in targets(names)])
    found = read([path], "connectivity", names)
    np.testing.assert_allclose(found.matrix, r[np.ix_(index, index)], atol=1e-6)
    assert found.matrix.dtype == np.float32
    assert not found.matrix.flags.writeable
    assert found.kept.all()
    assert found.notes["Connectivity"] == "z.dconn.nii: Fisher z, brought back to r by tanh"


@pytest.mark.parametrize("diagonal", [0, 1.5, np.inf, np.nan])
def test_the_diagonal_of_the_file_means_nothing(tmp_path, r, diagonal):
    z = fisher_z(r)
    np.fill_diagonal(z, diagonal)
    found = read([written(tmp_path / "z.dconn.nii", z)], "connectivity")
    np.testing.assert_array_equal(np.diagonal(found.matrix), 1)


def test_only_the_wanted_grayordinates_are_read(tmp_path, r):
    z = fisher_z(r)
    keep = np.arange(N_LEFT) % 3 == 0
    z[1], z[:, 1] = np.nan, np.nan  # not wanted
    found = read([written(tmp_path / "z.dconn.nii", z)], "connectivity", keep=keep)
    np.testing.assert_allclose(found.matrix, r[:N_LEFT, :N_LEFT][np.ix_(keep, keep)], atol=1e-6)
    with pytest.raises(InputError, match=r"z\.dconn\.nii: cortex-left-1 \(number 1 of the file.*holds nan"):
        read([tmp_path / "z.dconn.nii"], "connectivity", keep=np.arange(N_LEFT) != 0)


def test_the_wrong_scale_is_noticed(tmp_path, r):
    with pytest.raises(InputError, match=r"ones on its diagonal, so it holds Pearson r.*Use scale=pearson-r"):
        read([written(tmp_path / "r.dconn.nii", r)], "connectivity")
    found = read([tmp_path / "r.dconn.nii"], "connectivity", scale="pearson-r")
    np.testing.assert_allclose(found.matrix, r[:N_LEFT, :N_LEFT], atol=1e-6)
    big = fisher_z(r)
    big[3, 7] = big[7, 3] = 1.3
    with pytest.raises(InputError, match=r"cortex-left-3 has 1\.3, which is no Pearson r.*use scale=fisher-z"):
        read([written(tmp_path / "z.dconn.nii", big)], "connectivity", scale="pearson-r")
    with pytest.raises(InputError, match="scale is 'z'; it must be"):
        read([tmp_path / "z.dconn.nii"], "connectivity", scale="z")


@pytest.mark.parametrize("scale", ["fisher-z", "pearson-r"])
def test_connectomes_are_averaged_as_fisher_z(tmp_path, rng, scale):
    both = [np.corrcoef(correlated(rng).T) for _ in range(2)]
    stored = [fisher_z(r) if scale == "fisher-z" else r for r in both]
    paths = [written(tmp_path / f"{i}.dconn.nii", values) for i, values in enumerate(stored)]
    expected = np.tanh((fisher_z(both[0]) + fisher_z(both[1])) / 2)
    np.fill_diagonal(expected, 1)
    found = read(paths, "connectivity", scale=scale)
    np.testing.assert_allclose(found.matrix, expected[:N_LEFT, :N_LEFT], atol=1e-6)
    assert "mean of Fisher z over 2 dense connectomes" in found.notes["Connectivity"]


def test_empty_rows_are_left_out_and_an_empty_structure_is_refused(tmp_path, r):
    z = fisher_z(r)
    z[4], z[:, 4] = 0, 0
    path = written(tmp_path / "z.dconn.nii", z)
    found = read([path], "connectivity")
    assert np.flatnonzero(~found.kept).tolist() == [4]
    others = np.delete(np.arange(N_LEFT), 4)
    np.testing.assert_allclose(found.matrix, r[np.ix_(others, others)], atol=1e-6)
    assert found.reason == "has no connectivity (zeros only)"
    whole = written(tmp_path / "whole.dconn.nii", fisher_z(r))
    for paths in ([path, whole], [whole, path]):
        assert np.flatnonzero(~read(paths, "connectivity").kept).tolist() == [4]
    written(path, np.zeros((N, N)))
    with pytest.raises(InputError, match=r"only zeros between the grayordinates asked for \(cortex-left-0, …\)"):
        read([path], "connectivity")


def test_a_run_gives_its_correlations(tmp_path, rng):
    series = 10_000 + correlated(rng)
    found = read([series_file(tmp_path / "run.dtseries.nii", series)], "timeseries", "CORTEX_RIGHT,CORTEX_LEFT")
    index = np.r_[N_LEFT:N, 0:N_LEFT]
    np.testing.assert_allclose(found.matrix, np.corrcoef(series.T)[np.ix_(index, index)], atol=1e-3)
    np.testing.assert_array_equal(found.matrix, found.matrix.T)


@pytest.mark.parametrize("tile", [11, 2048])
def test_runs_are_correlated_one_by_one_and_averaged_as_fisher_z(tmp_path, rng, tile, monkeypatch):
    monkeypatch.setattr(dense_activity, "_TILE", tile)
    runs = [correlated(rng, n_times) for n_times in (50, 80, 30)]
    paths = [series_file(tmp_path / f"{i}.dtseries.nii", run) for i, run in enumerate(runs)]
    found = read(paths, "timeseries")
    expected = np.tanh(np.mean([fisher_z(np.corrcoef(run.T)) for run in runs], axis=0))[:N_LEFT, :N_LEFT]
    np.fill_diagonal(expected, 1)
    np.testing.assert_allclose(found.matrix, expected, atol=1e-5)
    np.testing.assert_array_equal(found.matrix, found.matrix.T)
    assert "(50, 80, 30 time points); mean of Fisher z over 3 runs" in found.notes["Connectivity"]
    # a run twice is that run
    once, twice = read(paths[:1], "timeseries"), read([paths[0], paths[0]], "timeseries")
    np.testing.assert_allclose(once.matrix, twice.matrix, atol=1e-6)


def test_what_is_constant_in_one_run_is_left_out(tmp_path, rng):
    runs = [correlated(rng), correlated(rng)]
    runs[1][:, 2] = 7
    paths = [series_file(tmp_path / f"{i}.dtseries.nii", run) for i, run in enumerate(runs)]
    found = read(paths, "timeseries")
    assert np.flatnonzero(~found.kept).tolist() == [2]
    assert found.matrix.shape == (N_LEFT - 1, N_LEFT - 1)
    assert found.reason == "is constant"
    with pytest.raises(InputError, match=r"is constant in all grayordinates asked for \(cortex-left-0, …\)"):
        read([series_file(tmp_path / "flat.dtseries.nii", np.ones((9, N)))], "timeseries")


def test_a_group_pca_gives_the_correlations_of_the_data_it_stands_for(tmp_path, rng):
    data = correlated(rng)
    data -= data.mean(axis=0)
    _, singular, directions = np.linalg.svd(data, full_matrices=False)
    components = singular[:, None] * directions
    path = series_file(tmp_path / "groupPCA.dtseries.nii", components)
    found = read([path], "pca")
    np.testing.assert_allclose(found.matrix, np.corrcoef(data.T)[:N_LEFT, :N_LEFT], atol=1e-5)
    # the sign of a component means nothing, so its mean over components does not either
    turned = components * rng.choice([-1, 1], len(components))[:, None]
    series_file(path, turned)
    np.testing.assert_allclose(read([path], "pca").matrix, found.matrix, atol=1e-6)
    with pytest.raises(InputError, match=r"groupPCA\.dtseries\.nii is a group PCA by its name.*pca= instead"):
        open_activity([path], "timeseries")


def test_activity_that_makes_no_sense_is_refused(tmp_path, rng):
    short = series_file(tmp_path / "short.dtseries.nii", correlated(rng, 2))
    with pytest.raises(InputError, match=r"short\.dtseries\.nii has 2 time points; a correlation needs at least 3"):
        open_activity([short], "timeseries")
    with pytest.raises(InputError, match="pca names 2 files; a group PCA is one file"):
        open_activity([short, short], "pca")
    uneven = written(tmp_path / "a.dconn.nii", np.zeros((N_LEFT, N)), (AXIS[:N_LEFT], AXIS))
    with pytest.raises(InputError, match="other grayordinates along its rows than along its columns"):
        open_activity([uneven], "connectivity")
