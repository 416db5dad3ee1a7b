import types
from pathlib import Path

import nibabel
import numpy as np
import pytest
from fctoolbox_allen import own_runs
from fctoolbox_allen.grid import LabelGrid
from fctoolbox_allen.voxel import load_voxel
from fctoolbox_allen.voxel_choices import Choices
from fctoolbox_allen.voxel_miniature import write_model
from fctoolbox_allen.voxel_series import (
    Series,
    mean_connectivity,
    read_activity,
    read_series,
    recurrent_activity,
)

from fctoolbox import InputError
from fctoolbox.data import sha256_of

ROIS = np.array([3, 9, 4, 7])


@pytest.fixture
def save(tmp_path, rng):
    def to(**changes):
        arrays = {"rois": ROIS, "one": rng.standard_normal((50, 4)), "two": rng.standard_normal((60, 4)), **changes}
        path = tmp_path / "series.npz"
        np.savez(path, **{name: array for name, array in arrays.items() if array is not None})
        return path

    return to


def test_runs_by_name_and_regions_in_their_own_order(save):
    series = read_series(save(t_r=1.5), 9, Choices())
    assert series.rois.tolist() == ROIS.tolist()
    assert {name: run.shape for name, run in series.runs.items()} == {"one": (50, 4), "two": (60, 4)}
    assert series.t_r == 1.5
    assert read_series(save(t_r=1.5), 9, Choices(t_r=2.0)).t_r == 2.0


def test_constant_regions_are_dropped_and_named(save, rng):
    one = rng.standard_normal((50, 4))
    one[:, 1] = 5
    series = read_series(save(one=one), 9, Choices())
    assert series.rois.tolist() == [3, 4, 7]
    assert series.dropped == {9: "constant in run 'one' (outside the field of view?)"}
    assert series.runs["two"].shape == (60, 3)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rois": None}, "needs an array 'rois'"),
        ({"rois": ROIS * 1.0}, "needs an array 'rois'"),
        ({"rois": np.array([3, 3, 4, 7])}, "names a region twice"),
        ({"rois": np.array([3, 10, 4, 0])}, "'rois' names 10, 0, but the volume of regions has 1 … 9"),
        ({"n_rois": 100}, "made with n_rois=100, but n_rois is 15314: give n_rois=100"),
        ({"seed": 4}, "made with seed=4, but seed is 0"),
        ({"seed": np.array([0, 0])}, "series.npz: 'seed' is an array of shape (2,) and type int64; it must be a whole"),
        ({"n_rois": np.array("many")}, "series.npz: 'n_rois' is an array of shape () and type <U4; it must be a whole"),
        ({"n_rois": np.nan}, "series.npz: 'n_rois' is nan; it must be a whole number from 1"),
        ({"n_rois": 0}, "series.npz: 'n_rois' is 0; it must be a whole number from 1"),
        ({"seed": -1}, "series.npz: 'seed' is -1; it must be a whole number from 0"),
        ({"seed": 0.5}, "series.npz: 'seed' is 0.5; it must be a whole number from 0"),
        ({"t_r": np.array([1.0, 2.0])}, "series.npz: 't_r' is an array of shape (2,)"),
        ({"t_r": "1 s"}, "series.npz: 't_r' is an array of shape () and type <U3; it must be a positive number"),
        ({"t_r": np.inf}, "series.npz: 't_r' is inf; it must be a positive number of seconds"),
        ({"t_r": 0.0}, "series.npz: 't_r' is 0.0; it must be a positive number of seconds"),
        ({"one": None, "two": None}, "has no run: a (n_times, 4) array"),
        (
            {"one": np.zeros((4, 50))},
            "run 'one' has shape (4, 50), but (n_times, 4) was expected, a column for each region. Is it",
        ),
        ({"one": np.ones((2, 4))}, "run 'one' has 2 time points"),
        ({"one": np.full((50, 4), np.nan)}, "run 'one': region 3 has values that are not finite"),
        ({"one": np.array(["a"])}, "run 'one' has shape (1,)"),
    ],
)
def test_what_is_refused(save, changes, message):
    with pytest.raises(InputError) as caught:
        read_series(save(**changes), 9, Choices())
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("choices", "needed"),
    [
        (Choices(units="voxels"), r"voxels \(units=voxels\)"),
        (Choices(roi_volume="a.nii"), r"the regions of a\.nii"),
    ],
)
def test_series_of_drawn_regions_are_not_those_of_voxels_or_of_a_volume(save, choices, needed):
    with pytest.raises(InputError, match=rf"series\.npz holds .* n_rois=15314 and seed=0, but the units are {needed}"):
        read_series(save(n_rois=15314, seed=0), 9, choices)
    with pytest.raises(InputError, match="made with seed=0, but"):
        read_series(save(seed=0), 9, choices)
    assert read_series(save(), 9, choices).rois.tolist() == ROIS.tolist()


def test_no_file_no_archive_and_no_pickle(tmp_path, save):
    with pytest.raises(InputError, match="cannot be read: No such file"):
        read_series(tmp_path / "none.npz", 9, Choices())
    (tmp_path / "text.npz").write_text("1,2")
    with pytest.raises(InputError, match=r"is no \.npz file of arrays"):
        read_series(tmp_path / "text.npz", 9, Choices())
    with pytest.raises(InputError, match=r"is no \.npz file of arrays"):
        read_series(save(one=np.array([{"a": 1}], dtype=object)), 9, Choices())
    with pytest.raises(InputError, match=r"says what projects where, not what units do: give rsfMRI"):
        read_activity(
            tmp_path / "empty", ROIS, np.zeros((1, 1, 1), dtype=int), LabelGrid(np.ones((1, 1, 1))), Choices()
        )


def test_fc_is_the_mean_of_fisher_z(rng):
    runs = [rng.standard_normal((40, 6)) @ rng.standard_normal((6, 6)) for _ in range(3)]
    z = [np.arctanh(np.corrcoef(run.T) - np.eye(6)) for run in runs]
    expected = np.tanh(np.mean(z, axis=0)) + np.eye(6)
    np.testing.assert_allclose(mean_connectivity(dict(enumerate(runs)), np.arange(6)), expected, atol=1e-6)
    np.testing.assert_allclose(mean_connectivity({0: runs[0]}, np.arange(6)), np.corrcoef(runs[0].T), atol=1e-6)


def test_a_run_of_another_gain_changes_nothing(rng):
    runs = [rng.standard_normal((40, 6)) for _ in range(2)]
    scaled = [runs[0], 1000 + 50 * runs[1]]
    found, expected = (mean_connectivity(dict(enumerate(each)), np.arange(6)) for each in (scaled, runs))
    np.testing.assert_allclose(found, expected, atol=1e-5)
    series = [Series(np.arange(6), dict(enumerate(each))) for each in (runs, scaled)]
    one, other = (recurrent_activity(each, np.arange(6), Choices()) for each in series)
    np.testing.assert_allclose(one.timeseries, other.timeseries, atol=1e-3)


@pytest.mark.parametrize("gain", [1, -3])
@pytest.mark.parametrize("n_runs", [1, 2])
def test_two_regions_with_the_same_series_are_refused(rng, monkeypatch, gain, n_runs):
    monkeypatch.setattr("fctoolbox_allen.voxel_series._BLOCK_ROWS", 2)
    runs = {name: rng.standard_normal((400, 5)).astype(np.float32) for name in ("one", "two")[:n_runs]}
    last = list(runs)[-1]
    runs[last][:, 4] = gain * runs[last][:, 2] + 3e-3 * runs[last][:, 0]
    series = Series(np.arange(10, 15), runs)
    found = recurrent_activity(series, np.arange(10, 15), Choices()).connectivity  # nearly the same will do
    assert np.isfinite(found).all()
    runs[last][:, 4] = gain * runs[last][:, 2]
    sign = "" if gain > 0 else "-"
    message = rf"run '{last}': the regions 12 and 14 have the same time series \(r = {sign}1\)"
    with pytest.raises(InputError, match=message):
        recurrent_activity(series, np.arange(10, 15), Choices())


def test_units_are_matched_by_number(save):
    series = read_series(save(t_r=1.0), 9, Choices())
    activity = recurrent_activity(series, np.array([4, 9]), Choices())
    run = series.runs["one"][:, [2, 1]]
    np.testing.assert_allclose(activity.timeseries[:50], (run - run.mean(axis=0)) / run.std(axis=0), atol=1e-5)
    assert activity.trials.tolist() == [1] * 50 + [2] * 60
    assert activity.sampling_interval == 1.0
    assert recurrent_activity(series, np.array([4, 9]), Choices(runs="a.nii", scrub="spikes")).sampling_interval is None


@pytest.fixture
def seen(monkeypatch, rng):
    """What is handed over to the reader of runs."""
    seen = {}

    def read_runs(paths, labels, **options):
        seen.update(options, paths=paths, labels=np.asarray(labels.dataobj), affine=labels.affine)
        return types.SimpleNamespace(
            rois=np.array([2, 5]),
            series={"a": rng.standard_normal((9, 2))},
            dropped={6: "outside"},
            t_r=0.5,
            scrubbed={"a": 2},
        )

    monkeypatch.setattr(own_runs, "read_runs", read_runs)
    monkeypatch.setattr(own_runs, "found_paths", lambda option, given: [Path(f"{option}:{given}")])
    monkeypatch.setattr(own_runs, "sha256_of", lambda path: "0123456789abcdef")
    return seen


def test_runs_go_through_the_reader_of_bold(tmp_path, seen):
    """What is handed over: the units' volume in the space of the CCF, and the options."""
    grid = LabelGrid(np.ones((2, 2, 4), dtype=np.int64))
    volume = np.array([0, 2, 5, 6, 2, 2, 9, 6, 5, 5, 5, 5, 0, 0, 2, 2]).reshape(2, 2, 4)
    choices = Choices(runs="a*.nii", confounds="c.tsv", columns="x,y", low=0, mask="m.nii")
    series = read_activity(tmp_path, np.array([2, 5, 6]), volume, grid, choices)
    left = np.where(np.isin(volume, [2, 5, 6]) & (np.arange(4) < 2), volume, 0)
    np.testing.assert_array_equal(seen["labels"], left)
    np.testing.assert_allclose(seen["affine"], grid.ras_affine)
    assert seen["paths"] == [Path("runs:a*.nii")]
    assert (seen["confounds"], seen["columns"], seen["low"], seen["high"]) == (
        [Path("confounds:c.tsv")],
        ["x", "y"],
        None,
        0.1,
    )
    assert (series.rois.tolist(), series.dropped, series.t_r) == ([2, 5], {6: "outside"}, 0.5)
    assert series.notes == {
        "Runs": "a: 9 volumes (2 scrubbed)",
        "Cleaning": "smoothing 0.5 mm FWHM, detrended, 0 Hz to 0.1 Hz, confounds regressed out",
        "Own files": "runs:a*.nii (SHA-256 0123456789ab…), m.nii (SHA-256 0123456789ab…), "
        "confounds:c.tsv (SHA-256 0123456789ab…)",
    }


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, None),
        ({"scrub": "a.txt,b.txt"}, [Path("scrub:a.txt,b.txt")]),
        ({"scrub": "spikes*"}, [Path("scrub:spikes*")]),
        ({"scrub": "a.txt,b.txt", "confounds": "c.tsv"}, [Path("scrub:a.txt,b.txt")]),
        ({"scrub": "spikes", "confounds": "c.tsv"}, "spikes"),
        ({"scrub": ["a", "b"], "confounds": "c.tsv"}, ["a", "b"]),
    ],
)
def test_scrub_is_a_column_or_files(tmp_path, seen, options, expected):
    grid = LabelGrid(np.ones((1, 1, 4), dtype=np.int64))
    read_activity(tmp_path, np.array([2, 5]), np.array([[[2, 5, 2, 5]]]), grid, Choices(runs="a.nii", **options))
    assert seen["scrub"] == expected


def test_runs_may_be_stored_along_any_axes(tmp_path, monkeypatch):
    pytest.importorskip("nilearn")
    monkeypatch.setenv("FCTOOLBOX_CACHE", str(tmp_path / "cache"))
    model, regions = str(tmp_path / "model"), tmp_path / "rois.nii.gz"
    write_model(tmp_path / "model", choices=Choices(n_rois=1000), rng=0)
    load_voxel(model=model, n_rois=1000, save_rois=str(regions))
    image = nibabel.load(regions)
    number = np.asarray(image.dataobj).astype(int)
    signal = np.cumsum(np.random.default_rng(0).standard_normal((number.max() + 1, 60)), axis=1)
    run = nibabel.Nifti1Image((100 + signal[number]).astype(np.float32), image.affine)
    run.header.set_zooms((*image.header.get_zooms()[:3], 1.0))
    run.header.set_xyzt_units("mm", "sec")
    stored = {"as-regions": run, "canonical": nibabel.as_closest_canonical(run)}
    found = {}
    for name, each in stored.items():
        each.to_filename(tmp_path / f"{name}.nii.gz")
        path = str(tmp_path / f"{name}.nii.gz")
        found[name] = load_voxel(model=model, n_rois=1000, runs=path, smoothing_fwhm=0)
    one, other = found.values()
    assert nibabel.aff2axcodes(stored["canonical"].affine) == ("R", "A", "S") != nibabel.aff2axcodes(run.affine)
    assert one.units == other.units
    assert sha256_of(tmp_path / "canonical.nii.gz")[:12] in other.provenance.notes["Own files"]
    np.testing.assert_allclose(one.activity.connectivity, other.activity.connectivity, atol=1e-5)
    assert np.abs(one.activity.connectivity[np.triu_indices(one.n_units, 1)]).std() > 0.1
