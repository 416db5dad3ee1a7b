import errno
import gzip

import numpy as np
import pytest
from fctoolbox_allen import bold
from fctoolbox_allen.bold import connectivity_of, group_connectivity, read_runs
from scipy import interpolate, ndimage, signal

from fctoolbox import InputError
from tests.plugins.allen.bold_files import AFFINE, IDS, N_TIMES, SHAPE, T_R, blocks, run_of, save, times

nibabel = pytest.importorskip("nibabel")
pytest.importorskip("nilearn")


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("FCTOOLBOX_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def labels(tmp_path):
    return save(tmp_path / "labels.nii.gz", blocks())


@pytest.fixture
def series(rng):
    return {label: 10 * rng.standard_normal(N_TIMES) for label in IDS}


@pytest.fixture
def run(tmp_path):
    def to(series, name="run", *, t_r=T_R, **options):
        data = run_of(series, blocks(), **options)
        return save(tmp_path / f"{name}.nii.gz", data, t_r=t_r)

    return to


def table(path, columns):
    header, values = "\t".join(columns), np.column_stack(list(columns.values()))
    lines = ["\t".join(f"{value:.17g}" for value in row) for row in values]
    path.write_text("\n".join([header, *lines]) + "\n")
    return path


def only(runs):
    (values,) = runs.series.values()
    return values


def filtered(values, low=0.01, high=0.1, t_r=T_R):
    """The reference: scipy alone; mean 0."""
    sections = signal.butter(5, [low, high], btype="bandpass", output="sos", fs=1 / t_r)
    through = signal.sosfiltfilt(sections, signal.detrend(values, axis=0), axis=0)
    return through - through.mean(axis=0)


def test_labels_are_found_by_id_and_never_by_position(labels, run, series):
    runs = read_runs([run(series)], labels, low=None, high=None, smoothing_fwhm=None)
    assert runs.rois.tolist() == sorted(IDS)
    assert runs.t_r == pytest.approx(T_R)
    for column, label in enumerate(runs.rois):
        np.testing.assert_allclose(only(runs)[:, column], signal.detrend(series[int(label)]), atol=1e-3)


def test_the_band_is_scipys(labels, run, series):
    runs = read_runs([run(series)], labels, smoothing_fwhm=None)
    expected = filtered(np.column_stack([series[int(label)] for label in runs.rois]))
    np.testing.assert_allclose(only(runs), expected, atol=1e-3)


def test_a_sine_in_the_band_survives_and_others_do_not(labels, run):
    frequencies = dict(zip(IDS, (0.05, 0.002, 0.3, 0.03), strict=True))
    sines = {label: 10 * np.sin(2 * np.pi * f * times()) for label, f in frequencies.items()}
    runs = read_runs([run(sines)], labels, smoothing_fwhm=None)
    middle = slice(100, -100)
    amplitude = dict(zip(runs.rois.tolist(), np.abs(only(runs)[middle]).max(axis=0), strict=True))
    assert amplitude[IDS[0]] == pytest.approx(10, rel=0.1)
    assert amplitude[IDS[3]] == pytest.approx(10, rel=0.1)
    assert amplitude[IDS[1]] < 0.5
    assert amplitude[IDS[2]] < 0.5


@pytest.mark.parametrize(("low", "high", "kept"), [(None, 0.1, 0.002), (0.01, None, 0.3)])
def test_a_side_of_the_band_can_be_open(labels, run, low, high, kept):
    sines = {label: 10 * np.sin(2 * np.pi * kept * times()) for label in IDS}
    runs = read_runs([run(sines)], labels, smoothing_fwhm=None, low=low, high=high)
    reference = signal.detrend(sines[IDS[0]])
    assert np.corrcoef(only(runs)[:, 0], reference)[0, 1] > 0.99


def test_a_confound_is_removed_exactly(labels, run, series, rng, tmp_path):
    confound = np.cumsum(rng.standard_normal(N_TIMES))
    table(tmp_path / "confounds.tsv", {"drift": confound})
    dirty = {label: values + 25 * k * confound for k, (label, values) in enumerate(series.items())}
    options = {"smoothing_fwhm": None, "confounds": [tmp_path / "confounds.tsv"]}
    clean, cleaned = read_runs([run(series)], labels, **options), read_runs([run(dirty, "dirty")], labels, **options)
    np.testing.assert_allclose(only(cleaned), only(clean), atol=5e-3)
    # What is left knows nothing of the confound within the band.
    regressor = filtered(confound)
    regressor -= regressor.mean()
    assert np.abs(regressor @ only(cleaned)).max() / np.linalg.norm(regressor) / np.linalg.norm(only(cleaned)) < 1e-4


def test_columns_of_the_confounds_can_be_chosen(labels, run, series, rng, tmp_path):
    one, two = rng.standard_normal((2, N_TIMES))
    table(tmp_path / "both.tsv", {"one": one, "two": two})
    table(tmp_path / "one.tsv", {"one": one})
    path = run(series)
    chosen = read_runs([path], labels, confounds=[tmp_path / "both.tsv"], columns=["one"])
    alone = read_runs([path], labels, confounds=[tmp_path / "one.tsv"])
    np.testing.assert_array_equal(only(chosen), only(alone))
    assert not np.allclose(only(read_runs([path], labels, confounds=[tmp_path / "both.tsv"])), only(alone))


def test_scrubbed_volumes_are_left_out_and_spoil_nothing(labels, run, series, tmp_path):
    frames = [40, 41, 100, 250]
    spoilt = {label: values.copy() for label, values in series.items()}
    for values in spoilt.values():
        values[frames] += 3000
    flags = np.isin(np.arange(N_TIMES), frames)
    kept = ~flags
    reference = read_runs([run(series)], labels, smoothing_fwhm=None, scrub=[frames])
    assert only(reference).shape == (N_TIMES - 4, len(IDS))
    assert reference.scrubbed == {"run": 4}
    path = run(spoilt, "spoilt")
    cleaned = read_runs([path], labels, smoothing_fwhm=None, scrub=[frames])
    np.testing.assert_allclose(only(cleaned), only(reference), atol=5e-3)
    # Unscrubbed, the same volumes ring through the band.
    assert np.abs(only(read_runs([path], labels, smoothing_fwhm=None))[kept] - only(reference)).max() > 100
    table(tmp_path / "flags.tsv", {"motion": np.ones(N_TIMES), "outlier": flags.astype(int)})
    table(tmp_path / "frames.tsv", {"frame": np.array(frames)})
    table(tmp_path / "scrub.tsv", {"scrub": flags.astype(int)})
    for scrub in ([flags], [tmp_path / "frames.tsv"], [tmp_path / "scrub.tsv"]):
        again = read_runs([path], labels, smoothing_fwhm=None, scrub=scrub)
        np.testing.assert_array_equal(only(again), only(cleaned))
    by_column = read_runs(
        [path], labels, smoothing_fwhm=None, confounds=[tmp_path / "flags.tsv"], columns=[], scrub="outlier"
    )
    np.testing.assert_array_equal(only(by_column), only(cleaned))


def test_volumes_left_out_at_the_ends_shift_nothing(labels, run, series):
    reference = read_runs([run(series)], labels, smoothing_fwhm=None, low=None, high=None, scrub=[[0, 1, 2, 299]])
    expected = np.column_stack([series[int(label)] for label in reference.rois])[3:299]
    np.testing.assert_allclose(only(reference), signal.detrend(expected, axis=0), atol=1e-3)
    filtering = read_runs([run(series)], labels, smoothing_fwhm=None, scrub=[[0, 1, 2, 299]])
    np.testing.assert_allclose(only(filtering), filtered(expected), atol=1e-3)


def test_scrubbing_is_a_spline_a_filter_and_a_regression(labels, run, series, rng, tmp_path):
    confound = rng.standard_normal(N_TIMES)
    table(tmp_path / "c.tsv", {"c": confound})
    out = [2, 60, 61, 62, 200]
    runs = read_runs([run(series)], labels, smoothing_fwhm=None, scrub=[out], confounds=[tmp_path / "c.tsv"])
    kept = np.setdiff1d(np.arange(N_TIMES), out)
    both = np.column_stack([*(series[int(label)] for label in runs.rois), confound])
    whole = filtered(interpolate.CubicSpline(kept, both[kept])(np.arange(N_TIMES)))[kept]
    whole -= whole.mean(axis=0)
    values, regressor = whole[:, :-1], whole[:, -1:]
    expected = values - regressor @ np.linalg.lstsq(regressor, values, rcond=None)[0]
    np.testing.assert_allclose(only(runs), expected, atol=2e-3)


def test_smoothing_is_a_gaussian_of_that_width_in_mm(labels, run, series):
    path = run(series)
    data = nibabel.load(path).get_fdata()
    sigma = 0.8 / np.sqrt(8 * np.log(2)) / np.array([0.4, 0.4, 0.5])
    centred = data - data.mean(axis=3, keepdims=True)
    smooth = ndimage.gaussian_filter(centred, (*sigma, 0), mode="constant")
    runs = read_runs([path], labels, low=None, high=None, smoothing_fwhm=0.8)
    expected = np.stack([smooth[blocks() == label].mean(axis=0) for label in runs.rois], axis=-1)
    np.testing.assert_allclose(only(runs), signal.detrend(expected, axis=0), atol=1e-3)
    rough = read_runs([path], labels, low=None, high=None, smoothing_fwhm=None)
    assert not np.allclose(only(runs), only(rough), atol=0.5)


def test_a_label_outside_the_field_of_view_is_dropped_and_named(labels, run, series, tmp_path):
    path = run(series)
    data = nibabel.load(path).get_fdata(dtype=np.float32)
    data[blocks() == 120] = 0
    data[blocks() == 44] = 812
    image = save(tmp_path / "cut.nii.gz", data, t_r=T_R)
    mask = np.ones(SHAPE, np.int8)
    mask[blocks() == 7] = 0
    # Smoothing would bring the neighbours' signal in: what was not measured stays out.
    runs = read_runs([image, path], labels, mask=save(tmp_path / "mask.nii.gz", mask), smoothing_fwhm=1.5)
    assert runs.rois.tolist() == [3]
    assert runs.dropped == {
        7: "outside the mask mask.nii.gz",
        44: "constant (run cut)",
        120: "outside the field of view (run cut)",
    }
    assert all(values.shape == (N_TIMES, 1) for values in runs.series.values())


def test_a_label_that_one_run_lacks_shifts_no_column_of_the_other(labels, run, series, tmp_path):
    path = run(series)
    data = nibabel.load(path).get_fdata(dtype=np.float32)
    data[blocks() == 7] = 0
    cut = save(tmp_path / "cut.nii.gz", data, t_r=T_R)
    runs = read_runs([path, cut], labels, smoothing_fwhm=None)
    assert runs.rois.tolist() == [3, 44, 120]
    for values in runs.series.values():
        expected = filtered(np.column_stack([series[label] for label in (3, 44, 120)]))
        np.testing.assert_allclose(values, expected, atol=1e-3)


def test_only_measured_voxels_are_averaged(labels, run, series, tmp_path):
    path = run(series)
    data = nibabel.load(path).get_fdata(dtype=np.float32)
    data[:8][blocks()[:8] == 120] = np.nan  # never measured there
    image = save(tmp_path / "half.nii.gz", data, t_r=T_R)
    options = {"low": None, "high": None, "smoothing_fwhm": None}
    half, whole = read_runs([image], labels, **options), read_runs([path], labels, **options)
    np.testing.assert_allclose(only(half), only(whole), atol=1e-3)


def test_values_that_are_not_finite_now_and_then_are_refused(labels, run, series, tmp_path):
    data = nibabel.load(run(series)).get_fdata(dtype=np.float32)
    data[5, 4, 4, 17] = np.nan
    with pytest.raises(InputError, match=r"gap: NaN or infinity in some volumes .* in 1 voxel of VISp"):
        read_runs([save(tmp_path / "gap.nii.gz", data, t_r=T_R)], labels, names={7: "VISp"})
    with pytest.raises(InputError, match=r"1 voxel of label 7; the first at \(5, 4, 4\) in volume 17 \(counted from 0"):
        read_runs([save(tmp_path / "gap.nii.gz", data, t_r=T_R)], labels)


def test_nothing_is_left_of_a_label_that_is_its_confound(labels, run, series, rng, tmp_path):
    confound = rng.standard_normal(N_TIMES)
    table(tmp_path / "confounds.tsv", {"global": confound})
    alone = {**series, 44: np.round(confound * 1e6) / 1e4}
    runs = read_runs([run(alone, baseline=0.0)], labels, smoothing_fwhm=None, confounds=[tmp_path / "confounds.tsv"])
    assert 44 in runs.rois  # to the float32 of the file something is left
    exact = {**series, 44: np.round(confound * 8)}
    table(tmp_path / "confounds.tsv", {"global": exact[44]})
    runs = read_runs(
        [run(exact, "exact", baseline=0.0)], labels, smoothing_fwhm=None, confounds=[tmp_path / "confounds.tsv"]
    )
    assert runs.dropped.get(44, "") in ("", "nothing is left of it after cleaning")


def test_labels_on_other_voxels_of_the_same_space(run, series, tmp_path):
    fine = np.repeat(np.repeat(np.repeat(blocks(), 2, axis=0), 2, axis=1), 2, axis=2)
    affine = AFFINE @ np.diag([0.5, 0.5, 0.5, 1])
    affine[:3, 3] -= 0.25 * np.array([0.4, 0.4, 0.5])
    path = run(series)
    options = {"low": None, "high": None}
    on_fine = read_runs([path], save(tmp_path / "fine.nii.gz", fine, affine=affine), **options)
    on_own = read_runs([path], save(tmp_path / "own.nii.gz", blocks()), **options)
    np.testing.assert_allclose(only(on_fine), only(on_own), atol=1e-9)


def test_a_second_reading_comes_from_the_cache(labels, run, series, monkeypatch, tmp_path):
    path = run(series)
    first = read_runs([path], labels)
    monkeypatch.setattr(bold, "region_series", None)
    again = read_runs([path], labels)
    np.testing.assert_array_equal(only(again), only(first))
    assert (again.rois.tolist(), again.dropped, again.t_r) == (first.rois.tolist(), first.dropped, first.t_r)
    others = (
        {"high": 0.09},
        {"scrub": [[5]]},
        {"mask": save(tmp_path / "mask.nii.gz", (blocks() != 7).astype(np.int8))},
    )
    for other in others:  # another setting is another result
        with pytest.raises(TypeError):
            read_runs([path], labels, **other)
    with pytest.raises(TypeError):
        read_runs([path], save(tmp_path / "other.nii.gz", blocks((7, 3, 120, 45))))


def test_a_damaged_cache_is_made_anew(labels, run, series, tmp_path):
    path = run(series)
    first = only(read_runs([path], labels))
    (kept,) = (tmp_path / "cache" / "allen" / "runs").glob("*.npz")
    kept.write_bytes(kept.read_bytes()[:500])
    np.testing.assert_array_equal(only(read_runs([path], labels)), first)


def test_runs_are_called_after_their_files(labels, run, series, rng, tmp_path):
    for folder in ("ses-1", "ses-2"):
        (tmp_path / folder).mkdir()
        run({**series, 7: 10 * rng.standard_normal(N_TIMES)}, f"{folder}/bold")
    runs = read_runs([tmp_path / "ses-1/bold.nii.gz", tmp_path / "ses-2/bold.nii.gz"], labels)
    assert list(runs.series) == ["ses-1/bold", "ses-2/bold"]
    with pytest.raises(InputError, match="was given twice"):
        read_runs([tmp_path / "ses-1/bold.nii.gz"] * 2, labels)


def test_the_group_is_the_mean_of_fisher_z(labels, run, rng):
    paths = [run({label: rng.standard_normal(N_TIMES) for label in IDS}, f"run-{k}") for k in range(3)]
    runs = read_runs(paths, labels)
    each = [np.corrcoef(values.T) for values in runs.series.values()]
    off = ~np.eye(len(IDS), dtype=bool)
    expected = np.tanh(np.mean([np.arctanh(r[off]) for r in each], axis=0))
    group = group_connectivity(runs)
    np.testing.assert_allclose(group[off], expected, atol=1e-12)
    np.testing.assert_array_equal(np.diagonal(group), 1)
    assert not np.allclose(group[off], np.mean([r[off] for r in each], axis=0), atol=1e-5)
    np.testing.assert_allclose(connectivity_of(runs.series["run-0"]), each[0], atol=1e-12)


def test_regions_with_one_series_have_no_fisher_z():
    values = np.random.default_rng(0).standard_normal((50, 2))
    same = bold.BoldRuns({"a": values[:, [0, 1, 0]]}, np.array([5, 6, 9]), {}, 1.0, {"a": 0}, {}, {9: "AUDp"})
    with pytest.raises(InputError, match=r"a: label 5 and AUDp have the same time series \(r = 1\)"):
        group_connectivity(same)


def test_the_header_says_the_repetition_time_in_its_own_unit(labels, series, tmp_path):
    data = run_of(series, blocks())
    in_ms = save(tmp_path / "ms.nii.gz", data, t_r=1200.0, unit="msec")
    assert read_runs([in_ms], labels).t_r == pytest.approx(1.2)
    silent = save(tmp_path / "silent.nii.gz", data)
    assert read_runs([silent], labels, t_r=1.5).t_r == 1.5
    with pytest.raises(
        InputError,
        match=r"silent: its header does not say the repetition time \(it has 1 without a unit of time\); give",
    ):
        read_runs([silent], labels)
    zero = save(tmp_path / "zero.nii.gz", data, t_r=1e-30)
    image = nibabel.load(zero)
    image.header.set_zooms((*image.header.get_zooms()[:3], 0))
    nibabel.save(image, tmp_path / "none.nii.gz")
    with pytest.raises(InputError, match=r"none: its header does not say the repetition time \(it has 0 s\); give it"):
        read_runs([tmp_path / "none.nii.gz"], labels)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"t_r": 2.0}, "run: its header says a repetition time of 1.2 s, but t_r is 2 s"),
        ({"t_r": -1.0}, "t_r is -1.0; it must be a positive number of seconds"),
        ({"high": 0.6}, r"high is 0.6 Hz, but run \(a volume every 1.2 s\) holds only frequencies between 0 and 0.41"),
        ({"low": 0.2}, "the band from low = 0.2 Hz to high = 0.1 Hz is empty"),
        ({"smoothing_fwhm": -1.0}, "smoothing_fwhm is -1.0; it must be a width in mm"),
        ({"confounds": []}, r"confounds has 0 entries, but there is 1 run \(run\): one for each is needed"),
        ({"scrub": [[1], [2]]}, "scrub has 2 entries, but there is 1 run"),
        ({"scrub": [[300]]}, "scrub of run names volume 300, but the volumes of run are 0 … 299, counted from 0"),
        ({"scrub": [np.ones(299, bool)]}, "scrub of run has 299 entries, but run has 300 volumes"),
        ({"scrub": [list(range(280))]}, "run: scrubbing leaves 20 of 300 volumes; at least 34 are needed"),
        ({"scrub": "outlier"}, "no confounds were given"),
    ],
)
def test_options_that_cannot_be_met(labels, run, series, options, message):
    with pytest.raises(InputError, match=message):
        read_runs([run(series)], labels, **options)


def test_confounds_that_do_not_fit(labels, run, series, tmp_path, rng):
    path, confounds = run(series), tmp_path / "c.tsv"
    columns = {"x": rng.standard_normal(N_TIMES), "y": rng.standard_normal(N_TIMES)}

    def refused(message, **options):
        with pytest.raises(InputError, match=message):
            read_runs([path], labels, confounds=[confounds], **options)

    table(confounds, {name: values[:-1] for name, values in columns.items()})
    refused(r"c\.tsv has 299 rows below its header, but run has 300 volumes")
    table(confounds, columns)
    refused(r"c\.tsv has no column 'X'\. Did you mean 'x'\? It has: x, y", columns=["X"])
    refused("row 1, column 'x' is '.*'; 1 .leave this volume out. or 0 is needed", scrub="x")
    confounds.write_text(confounds.read_text().replace("y\n", "y\nn/a\tn/a\n", 1).rsplit("\n", 2)[0] + "\n")
    refused("row 1, column 'x' is 'n/a', but a finite number is needed")
    table(confounds, {f"c{k}": values for k, values in enumerate(rng.standard_normal((298, N_TIMES)))})
    refused(r"run: .*c\.tsv has 298 confounds to regress out of 300 volumes, and at most 297 leave something")
    confounds.write_text("x\ty\n1\t2\n1\n")
    refused(r"c\.tsv, row 2 has 1 cell, but its header has 2")
    confounds.write_text("x\n1\n")
    refused(r"c\.tsv has 1 row below its header, but run has 300 volumes: one row for each volume")
    confounds.write_bytes(gzip.compress(b"x"))
    refused(r"c\.tsv is no text in UTF-8; a table")
    confounds.write_text("1\t2\n" * 300)
    refused("has no header")
    confounds.unlink()
    refused("cannot be read: No such file")


def test_images_that_cannot_be_used(labels, run, series, tmp_path):
    path = run(series)
    data = run_of(series, blocks())

    def refused(message, image=path, volume=labels, **options):
        with pytest.raises(InputError, match=message):
            read_runs([image], volume, **options)

    refused(
        r"has the shape \(20, 24, 12\); a run has four dimensions", image=save(tmp_path / "3d.nii.gz", data[..., 0])
    )
    refused(r"labels must be a 3-D image", volume=path)
    refused("there is no file .*none.nii", image=tmp_path / "none.nii")
    refused("holds no label", volume=save(tmp_path / "zero.nii", np.zeros(SHAPE, np.int16)))
    refused("not whole numbers", volume=save(tmp_path / "float.nii", blocks() * np.float32(0.5)))
    refused("not finite", volume=save(tmp_path / "nan.nii", np.full(SHAPE, np.nan, np.float32)))
    colours = np.zeros((*SHAPE, 40), [("R", "u1"), ("G", "u1"), ("B", "u1")])
    refused("holds colours or complex numbers", image=save(tmp_path / "rgb.nii", colours, t_r=T_R))
    refused("holds colours or complex numbers", volume=save(tmp_path / "rgb3.nii", colours[..., 0]))
    refused("is a folder; a file is needed", mask=tmp_path)
    (tmp_path / "text.nii.gz").write_bytes(gzip.compress(b"no image"))
    refused("cannot be read as a NIfTI image", image=tmp_path / "text.nii.gz")
    (tmp_path / "cut.nii.gz").write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    refused("cut is damaged, or was cut off", image=tmp_path / "cut.nii.gz")
    mirrored = AFFINE.copy()
    mirrored[0] *= -1
    refused("mirror image of the other", image=save(tmp_path / "mirrored.nii.gz", data, affine=mirrored, t_r=T_R))
    refused("mirror image of the other", mask=save(tmp_path / "mask.nii", np.ones(SHAPE, np.int8), affine=mirrored))
    elsewhere = AFFINE.copy()
    elsewhere[1, 3] += 30
    refused("not in one space", image=save(tmp_path / "far.nii.gz", data, affine=elsewhere, t_r=T_R))
    refused("has 30 volumes; to filter it, at least 34", image=save(tmp_path / "short.nii.gz", data[..., :30], t_r=T_R))
    refused("signal in only 0% of the voxels", image=save(tmp_path / "empty.nii.gz", np.zeros_like(data), t_r=T_R))


def test_a_mask_without_any_label(labels, run, series, tmp_path):
    mask = save(tmp_path / "mask.nii.gz", (blocks() == 0).astype(np.int8))
    with pytest.raises(
        InputError, match=r"run: none of the 4 labels of labels\.nii\.gz was measured: label 3, AUDp, label 44, "
    ):
        read_runs([run(series)], labels, mask=mask, names={7: "AUDp"})
    with pytest.raises(InputError, match=r"label 120 \(outside the mask mask\.nii\.gz\)\. Look at"):
        read_runs([run(series)], labels, mask=mask)
    empty = save(tmp_path / "empty.nii.gz", np.zeros(SHAPE, np.int8))
    with pytest.raises(InputError, match=r"empty\.nii\.gz is 0 everywhere, so that it leaves nothing"):
        read_runs([run(series)], labels, mask=empty)


def test_runs_that_share_no_label_say_what_each_lacks(labels, run, series, tmp_path):
    data = nibabel.load(run(series)).get_fdata(dtype=np.float32)
    for name, gone in (("a", (3, 7)), ("b", (44, 120))):
        there = data.copy()
        there[np.isin(blocks(), gone)] = 7
        save(tmp_path / f"{name}.nii.gz", there, t_r=T_R)
    message = r"none of the 4 labels of labels\.nii\.gz was measured in all of the 2 runs: M, label 7 \(constant "
    with pytest.raises(InputError, match=message + r"\(run a\)\); label 44, label 120 \(constant \(run b\)\)"):
        read_runs([tmp_path / "a.nii.gz", tmp_path / "b.nii.gz"], labels, names={3: "M"})


def test_a_copy_of_a_run_is_refused(labels, run, series, tmp_path):
    path = run(series)
    (tmp_path / "copy.nii.gz").write_bytes(path.read_bytes())
    with pytest.raises(InputError, match=r"run and copy are the same run: their files are equal"):
        read_runs([path, tmp_path / "copy.nii.gz"], labels)


def test_all_runs_are_checked_before_the_first_is_read(labels, run, series, monkeypatch, tmp_path):
    monkeypatch.setattr(bold, "_cleaned", None)
    elsewhere = AFFINE.copy()
    elsewhere[1, 3] += 30
    far = save(tmp_path / "far.nii.gz", run_of(series, blocks()), affine=elsewhere, t_r=T_R)
    with pytest.raises(InputError, match=r"far and labels\.nii\.gz are not in one space"):
        read_runs([run(series), far], labels)


def test_files_that_all_are_enlarged_are_refused(series, tmp_path):
    enlarged = np.diag([10.0, 10, 10, 1]) @ AFFINE
    run = save(tmp_path / "run.nii.gz", run_of(series, blocks()), affine=enlarged, t_r=T_R)
    labels = save(tmp_path / "big.nii.gz", blocks(), affine=enlarged)
    with pytest.raises(InputError, match=r"big\.nii\.gz: its labels are 56 × 76 × 30 mm large, but a mouse .* ×10"):
        read_runs([run], labels)


def test_a_full_disk_leaves_no_half_file(labels, run, series, monkeypatch, tmp_path):
    path, savez = run(series), np.savez

    def half(target, **arrays):
        savez(target, **arrays)
        target.write_bytes(target.read_bytes()[:200])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(np, "savez", half)
    with pytest.raises(InputError, match=r"npz cannot be written: No space left on device\. The cleaned .*CACHE"):
        read_runs([path], labels)
    assert not any(each.is_file() for each in (tmp_path / "cache").rglob("*"))
    monkeypatch.setattr(np, "savez", savez)
    assert only(read_runs([path], labels)).shape == (N_TIMES, len(IDS))


def test_a_cache_that_cannot_be_written(labels, run, series, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("FCTOOLBOX_CACHE", str(tmp_path / "file"))
    with pytest.raises(InputError, match=r"cannot be written: .*make room or give the right to write, or name another"):
        read_runs([run(series)], labels)


def test_a_damaged_cache_that_cannot_be_removed(labels, run, series, monkeypatch, tmp_path):
    path = run(series)
    read_runs([path], labels)
    (kept,) = (tmp_path / "cache" / "allen" / "runs").glob("*.npz")
    kept.write_bytes(b"")

    def refuse(self, missing_ok=False):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(type(kept), "unlink", refuse)
    with pytest.raises(InputError, match=r"is damaged, and cannot be made anew: Permission denied"):
        read_runs([path], labels)


def test_tables_for_scrubbing_are_named(labels, run, series, tmp_path):
    path, listing = run(series), tmp_path / "out.tsv"
    for text, message in (
        ("volume\n4\n", r"out\.tsv has in its header: volume; to scrub run it needs a column 'frame'"),
        ("frame\n4\n300\n", r"out\.tsv names volume 300, but the volumes of run are 0 … 299"),
        ("frame\n4\n4.5\n", r"out\.tsv, row 2: the frame is '4.5'; the number of a volume"),
        ("scrub\n" + "0\n" * 301, r"out\.tsv has 301 entries, but run has 300 volumes"),
    ):
        listing.write_text(text)
        with pytest.raises(InputError, match=message):
            read_runs([path], labels, scrub=[listing])


def test_without_nilearn_it_is_said_how_to_get_it(labels, run, series, monkeypatch):
    monkeypatch.setattr(bold, "find_spec", lambda name: None if name == "nilearn" else name)
    with pytest.raises(
        InputError, match=r"need nilearn, which is not installed: pip install 'fctoolbox-allen\[bold\]'"
    ):
        read_runs([run(series)], labels)


def test_runs_of_different_repetition_times_are_refused(labels, run, series):
    with pytest.raises(InputError, match=r"differ in their repetition time: b has 1.5 s, a has 1.2 s"):
        read_runs([run(series, "a"), run(series, "b", t_r=1.5)], labels)


def test_a_half_that_was_measured_on_the_other_side(run, series, tmp_path):
    data = nibabel.load(run(series)).get_fdata(dtype=np.float32)
    data[10:] = 0
    left = blocks()
    left[10:] = 0
    labels = save(tmp_path / "left.nii.gz", left)
    assert read_runs([save(tmp_path / "a.nii.gz", data, t_r=T_R)], labels).rois.tolist() == sorted(IDS)
    with pytest.raises(InputError, match=r"b has signal in 0% .* would have it in 100% of them if left and right"):
        read_runs([save(tmp_path / "b.nii.gz", data[::-1], t_r=T_R)], labels)
