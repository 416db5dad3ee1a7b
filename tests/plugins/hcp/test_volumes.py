import subprocess
import sys

import nibabel
import numpy as np
import pytest
from fctoolbox_hcp.human_parcellated import load
from fctoolbox_hcp.label_volumes import choose_labels, read_labels
from fctoolbox_hcp.volume_runs import Cleaning
from fctoolbox_hcp.volumes import hemispheres, is_volume, read_volumes
from scipy.signal import butter, filtfilt

import fctoolbox as fct

nilearn = pytest.importorskip("nilearn")

AFFINE = np.array([[-2.0, 0, 0, 20], [0, 2, 0, -20], [0, 0, 2, -10], [0, 0, 0, 1]])
SHAPE = (20, 20, 10)
NAMES = {3: "L_front", 5: "L_back", 9: "R_front", 11: "R_back", 20: "Left-Thalamus-Proper", 21: "Right-Thalamus-Proper"}
UNITS = ("L_front", "L_back", "R_front", "R_back")
PROVENANCE = fct.Provenance(citation="nobody", license="CC0-1.0")
N_TIMES = 60
OPEN = Cleaning(None, None, None)


def grid():
    labels = np.zeros(SHAPE, dtype=np.int16)
    # x runs to the left: high i is left.
    for key, where in {
        3: np.s_[14:18, 14:18, 2:5],
        5: np.s_[14:18, 2:6, 2:5],
        9: np.s_[2:6, 14:18, 2:5],
        11: np.s_[2:6, 2:6, 2:5],
        20: np.s_[11:13, 9:12, 4:6],
        21: np.s_[7:9, 9:12, 4:6],
    }.items():
        labels[where] = key
    return labels


@pytest.fixture
def study(tmp_path):
    """A label volume with names, two runs, and a tractogram, all written as a laboratory has them."""
    rng = np.random.default_rng(5)
    labels = grid()
    image = nibabel.Nifti1Image(labels, AFFINE)
    image.set_sform(AFFINE, code=4)
    image.to_filename(tmp_path / "labels.nii.gz")
    (tmp_path / "labels.tsv").write_text(
        "index\tname\tabbreviation\n" + "".join(f"{k}\t{v}\t{v[:3]}\n" for k, v in NAMES.items()), encoding="utf-8"
    )
    for run in (1, 2):
        data = 1000 + rng.standard_normal((*SHAPE, N_TIMES))
        shared = rng.standard_normal((2, N_TIMES))
        for key, which in ((3, 0), (9, 0), (5, 1), (11, 1)):
            data[labels == key] += 3 * shared[which]
        save_run(tmp_path / f"run-{run}.nii.gz", data)
    # Front areas end in the front of their thalamus, back ones in its back.
    lines = []
    for key, thalamus, y in ((3, 20, 11), (5, 20, 9), (9, 21, 11), (11, 21, 9)):
        voxels = np.argwhere(labels == key)
        ends = np.argwhere(labels == thalamus)
        ends = ends[ends[:, 1] == y]
        for _ in range(20):
            one, other = (each[rng.integers(len(each))] + rng.uniform(-0.4, 0.4, 3) for each in (voxels, ends))
            line = np.linspace(one, other, 12) @ AFFINE[:3, :3].T + AFFINE[:3, 3]
            lines.append(line[:: rng.choice([-1, 1])].astype(np.float32))
    lines.append(np.array([[0, 0, 900], [0, 0, 901]], dtype=np.float32))
    save_tracts(tmp_path / "tracts.tck", lines)
    return tmp_path


def save_run(path, data, *, t_r=2.0, affine=AFFINE, unit="sec"):
    image = nibabel.Nifti1Image(data.astype(np.float32), affine)
    image.header.set_zooms((2, 2, 2, t_r))
    image.header.set_xyzt_units("mm", unit)
    image.to_filename(path)
    return path


def save_tracts(path, lines):
    tractogram = nibabel.streamlines.Tractogram(lines, affine_to_rasmm=np.eye(4))
    nibabel.streamlines.save(tractogram, str(path))
    return path


def read(folder, *, runs=("run-1.nii.gz",), projection="tracts.tck", cleaning=OPEN, names="labels.tsv", **options):
    return read_volumes(
        "x",
        folder / "labels.nii.gz",
        [folder / run for run in runs],
        folder / projection,
        PROVENANCE,
        cleaning=cleaning,
        names=None if names is None else str(folder / names),
        **options,
    )


def means(folder, run="run-1.nii.gz"):
    """Second implementation: mean over voxels, straight line off."""
    data = np.asarray(nibabel.load(folder / run).dataobj, dtype=np.float64)
    labels = grid()
    series = np.stack([data[labels == key].mean(axis=0) for key in (3, 5, 9, 11)], axis=1)
    t = np.arange(N_TIMES)
    return series - np.stack([np.polyval(np.polyfit(t, column, 1), t) for column in series.T], axis=1)


def test_series_are_detrended_means_over_voxels(study):
    system = read(study)
    assert system.units == UNITS
    np.testing.assert_allclose(system.activity.timeseries, means(study), atol=1e-4)
    assert system.activity.sampling_interval == 2.0
    assert system.annotations["hemisphere"] == ("left", "left", "right", "right")
    assert "nilearn" in system.provenance.packages


def test_band(study):
    system = read(study, cleaning=Cleaning(None, 0.02, 0.1))
    coefficients = butter(5, [0.02, 0.1], "bandpass", fs=0.5)
    expected = filtfilt(*coefficients, means(study), axis=0)
    r = [np.corrcoef(one, other)[0, 1] for one, other in zip(system.activity.timeseries.T, expected.T, strict=True)]
    assert min(r) > 0.98
    power = np.abs(np.fft.rfft(system.activity.timeseries, axis=0)) ** 2
    frequency = np.fft.rfftfreq(N_TIMES, 2.0)
    assert power[frequency > 0.15].sum() < 0.01 * power.sum()


def test_confounds_are_regressed_out(study):
    rng = np.random.default_rng(0)
    confound = rng.standard_normal((N_TIMES, 2))
    (study / "c.tsv").write_text("x\ty\n" + "".join(f"{a:.6f}\t{b:.6f}\n" for a, b in confound), encoding="utf-8")
    system = read(study, confounds=str(study / "c.tsv"))
    t = np.arange(N_TIMES)
    straight = confound - np.stack([np.polyval(np.polyfit(t, c, 1), t) for c in confound.T], axis=1)
    assert np.abs(straight.T @ system.activity.timeseries).max() < 1e-3
    design = np.column_stack([straight, np.ones(N_TIMES)])
    series = means(study)
    expected = series - design @ np.linalg.lstsq(design, series, rcond=None)[0]
    np.testing.assert_allclose(system.activity.timeseries, expected, atol=1e-4)


def test_runs_are_averaged_as_fisher_z(study):
    z = [
        np.arctanh(fct.functional_connectivity(means(study, run))[np.triu_indices(4, 1)])
        for run in ("run-1.nii.gz", "run-2.nii.gz")
    ]
    system = read(study, runs=("run-1.nii.gz", "run-2.nii.gz"))
    np.testing.assert_allclose(
        system.activity.connectivity[np.triu_indices(4, 1)], np.tanh(np.mean(z, axis=0)), atol=1e-6
    )


def test_streamlines_join_units_and_voxels(study):
    system = read(study)
    weights = system.projection.weights.toarray()
    assert weights.shape == (4, 24)
    assert weights.sum(axis=1).tolist() == [20, 20, 20, 20]
    assert system.projection.groups == ("Left-Thalamus-Proper",) * 12 + ("Right-Thalamus-Proper",) * 12
    assert system.projection.inputs[0] == "Left-Thalamus-Proper-11-9-4"
    row = [int(name.split("-")[-2]) for name in system.projection.inputs]  # j: back to front
    assert np.flatnonzero(weights[0]).tolist() == [k for k in np.flatnonzero(weights[0]) if row[k] == 11]
    assert {row[k] for k in np.flatnonzero(weights[1])} == {9}
    assert "80 of 81" in system.provenance.notes["Streamlines"].replace(",", "")
    similarity = fct.cosine_similarity(system.projection.weights)
    assert similarity[0, 1] == similarity[0, 2] == 0


def test_an_end_counts_for_the_nearest_labelled_voxel(study):
    # From the middle of a unit's voxel to 1.4 mm beside a thalamus voxel, and to 2.6 mm beside it.
    one = AFFINE[:3, :3] @ np.array([15, 15, 3]) + AFFINE[:3, 3]
    voxel = AFFINE[:3, :3] @ np.array([12, 9, 4]) + AFFINE[:3, 3]
    for distance, kept in ((1.4, True), (2.6, False)):
        save_tracts(study / "two.tck", [np.array([one, voxel - [distance, 0, 0]], dtype=np.float32)])
        if not kept:
            with pytest.raises(fct.InputError, match=r"none of the 1 streamlines.*joins Left-Thalamus.*within 2 mm"):
                read(study, projection="two.tck")
            continue
        weights = read(study, projection="two.tck").projection
        assert weights.inputs[int(weights.weights.toarray()[0].argmax())] == "Left-Thalamus-Proper-12-9-4"
        assert weights.weights.sum() == 1


def test_geometry(study):
    system = read(study)
    centre = AFFINE[:3, :3] @ np.array([15.5, 15.5, 3]) + AFFINE[:3, 3]
    np.testing.assert_allclose(system.geometry.positions[0], centre)
    volume = system.geometry.volume
    assert volume.orientation == "LAS"
    assert (volume.unit_of_voxel == 0).sum() == (grid() == 3).sum()
    assert set(volume.unit_of_voxel[grid() == 20]) == {-2}
    assert set(volume.unit_of_voxel[grid() == 0]) == {-1}


def test_a_table_in_place_of_a_tractogram(study):
    lines = ["parcel\ta\tb\tc", *(f"{name}\t{k}\t1\t{k % 2}" for k, name in reversed(list(enumerate(UNITS))))]
    (study / "t.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    system = read(study, projection="t.tsv", targets=",".join(UNITS))
    assert np.asarray(system.projection.weights)[:, 0].tolist() == [0, 1, 2, 3]
    with pytest.raises(fct.InputError, match=r"t.tsv lacks 2 of the 6 parcels: 'Left-Thalamus-Proper'"):
        read(study, projection="t.tsv")


def test_labels_on_another_grid(study):
    fine = np.array([[-1.0, 0, 0, 20.5], [0, 1, 0, -20.5], [0, 0, 1, -10.5], [0, 0, 0, 1]])
    image = nibabel.Nifti1Image(np.kron(grid(), np.ones((2, 2, 2), dtype=np.int16)), fine)
    coarse = read(study)
    image.to_filename(study / "labels.nii.gz")
    system = read(study)
    np.testing.assert_allclose(system.activity.timeseries, coarse.activity.timeseries, atol=1e-4)
    np.testing.assert_allclose(system.geometry.positions, coarse.geometry.positions)


def test_the_source_takes_volumes(study):
    system = fct.load(
        "human-parcellated",
        parcellation=str(study / "labels.nii.gz"),
        names=str(study / "labels.tsv"),
        timeseries=str(study / "run-*.nii.gz"),
        projection=str(study / "tracts.tck"),
        low=0.0,
        high=0.0,
    )
    assert system.units == UNITS
    np.testing.assert_array_equal(
        system.activity.connectivity, read(study, runs=("run-1.nii.gz", "run-2.nii.gz")).activity.connectivity
    )
    assert {each.name for each in system.provenance.files} == {
        "labels.nii.gz", "labels.tsv", "run-1.nii.gz", "run-2.nii.gz", "tracts.tck",
    }  # fmt: skip
    labels, tracts = str(study / "labels.nii.gz"), str(study / "tracts.tck")
    with pytest.raises(fct.InputError, match="is a label volume, with which the activity is timeseries="):
        load(parcellation=labels, connectivity=labels, projection=tracts)
    for option in ({"fwhm": 6.0}, {"scale": "fisher-z"}, {"surface": tracts}):
        with pytest.raises(fct.InputError, match=f"{next(iter(option))} belongs with CIFTI files"):
            load(parcellation=labels, timeseries=str(study / "run-*.nii.gz"), projection=tracts, **option)
    with pytest.raises(fct.InputError, match=r"there is no file .*labels.ni\. Did you mean .*labels.nii.gz"):
        load(parcellation=str(study / "labels.ni"), timeseries=str(study / "run-*.nii.gz"))


# Names


def test_names_of_labels(study):
    image = read_labels(study / "labels.nii.gz", study / "labels.tsv")
    assert dict(image.names) == NAMES
    assert choose_labels(image, "THALAMUS", "sources") == (20, 21)
    assert choose_labels(image, "l_back, R", "targets") == (5, 9, 11)
    with pytest.raises(fct.InputError, match=r"targets names 'l_frnt', .*Did you mean 'L_front'"):
        choose_labels(image, "L_frnt", "targets")
    assert read_labels(study / "labels.nii.gz", None).names[9] == "label-9"
    system = read(study, names=None, sources="label-20,label-21")
    assert system.units == ("label-3", "label-5", "label-9", "label-11")
    assert system.annotations["hemisphere"] == ("left", "left", "right", "right")


def test_sides_by_name_or_place():
    names = ["7Networks_LH_Vis_1", "ctx-rh-insula", "Left-Caudate", "Brain-Stem", "L_to_R"]
    places = np.array([[1.0, 0, 0], [-1, 0, 0], [1, 0, 0], [2, 0, 0], [-1, 0, 0]])
    assert hemispheres(names, places) == ("left", "right", "left", "right", "left")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("number\tword\n3\ta\n", "needs one called 'index' and one called 'name'"),
        ("index\tname\n3\ta\nx\tb\n", "row 3: 'x' and 'b'; a whole number and a name are needed"),
        ("index\tname\n3\ta\n3\tb\n", "row 3: index 3 occurs twice"),
        ("index\tname\n3\ta\n", "has no name for 5 of the 6 labels"),
        ("index\tname\n" + "".join(f"{k}\tsame\n" for k in NAMES), "uses same for more than one label"),
    ],
)
def test_names_that_cannot_be_used(study, text, message):
    (study / "labels.tsv").write_text(text, encoding="utf-8")
    with pytest.raises(fct.InputError, match=message):
        read(study)


# What is wrong with volumes


def test_what_is_no_label_volume(study, tmp_path):
    assert is_volume(study / "labels.nii.gz")
    assert not is_volume(study / "labels.tsv")
    path = study / "labels.nii.gz"
    image = nibabel.Nifti1Image(grid() / 2, AFFINE)
    image.to_filename(path)
    with pytest.raises(fct.InputError, match="not whole numbers"):
        read(study)
    nibabel.Nifti1Image(0 * grid(), AFFINE).to_filename(path)
    with pytest.raises(fct.InputError, match="holds no label"):
        read(study)
    nibabel.Nifti1Image(grid()[0], AFFINE).to_filename(path)
    with pytest.raises(fct.InputError, match="a label volume has three dimensions"):
        read(study)
    image = nibabel.Nifti1Image(grid(), None)
    image.to_filename(path)
    with pytest.raises(fct.InputError, match="does not say where its voxels are"):
        read(study)


def change(study, index, value):
    data = np.array(nibabel.load(study / "run-1.nii.gz").get_fdata())
    data[index] = value
    save_run(study / "run-1.nii.gz", data)


def test_voxels_that_are_not_finite(study):
    change(study, np.s_[14, 14, 2], np.nan)  # of 48 voxels of L_front: left out of the mean
    data = nibabel.load(study / "run-2.nii.gz").get_fdata()
    assert data.shape == (*SHAPE, N_TIMES)
    assert np.isfinite(read(study).activity.timeseries).all()
    change(study, np.s_[14, 15, 2, 4], np.inf)
    with pytest.raises(fct.InputError, match="1 voxels of L_front are NaN or infinite in some volumes"):
        read(study)


def test_parcels_that_were_not_measured(study):
    change(study, np.s_[14:18, 14:18, 2:5], 800.0)
    system = read(study)
    assert system.provenance.left_out == {"L_front": "constant in run-1.nii.gz"}
    assert system.units == UNITS[1:]
    change(study, np.s_[14:18, 2:6, 2:5], np.nan)
    with pytest.raises(fct.InputError, match=r"only 2 of the 4 labels .*L_back \(no voxel was measured in run-1"):
        read(study)
    change(study, np.s_[:], 5.0)
    with pytest.raises(fct.InputError, match=r"none of the 4 labels .* was measured in .*run-1.*same space"):
        read(study)


def test_a_parcel_that_the_confounds_explain_is_left_out(study):
    series = means(study)
    change(study, np.s_[14:18, 14:18, 2:5], 1000 + series[:, 0])
    (study / "c.tsv").write_text("a\tb\n" + "".join(f"{x!r}\t{k % 3}\n" for k, x in enumerate(series[:, 0].tolist())))
    system = read(study, confounds=str(study / "c.tsv"))
    reason = system.provenance.left_out.get("L_front", "")
    # float32 of the run keeps 7 digits: what is left is at most rounding, and mostly named
    assert reason.startswith("nothing is left") or system.activity.timeseries[:, 0].std() < 1e-4


@pytest.mark.parametrize(
    ("cleaning", "message"),
    [
        (Cleaning(None, 0.01, 0.3), r"high is 0.3 Hz, but .* holds only frequencies between 0 and 0.25 Hz"),
        (Cleaning(None, 0.1, 0.1), "the band from low = 0.1 Hz to high = 0.1 Hz is empty"),
        (Cleaning(0.72, None, None), "its header says a repetition time of 2 s, but t_r is 0.72 s"),
        (Cleaning(-1.0, None, None), "t_r is -1.0; it must be a positive number"),
    ],
)
def test_bands_and_times_that_are_not_possible(study, cleaning, message):
    with pytest.raises(fct.InputError, match=message):
        read(study, cleaning=cleaning)


def test_a_header_without_time(study):
    data = nibabel.load(study / "run-1.nii.gz").get_fdata()
    save_run(study / "run-1.nii.gz", data, unit="unknown")
    assert read(study).activity.sampling_interval is None
    with pytest.raises(fct.InputError, match="does not say its repetition time; give it in seconds as t_r="):
        read(study, cleaning=Cleaning())
    assert read(study, cleaning=Cleaning(2.0)).activity.sampling_interval == 2.0


def test_other_wrong_files(study):
    (study / "c.tsv").write_text("a\tb\n" + "1.5\t2.5\n" * 7, encoding="utf-8")
    with pytest.raises(fct.InputError, match=r"c.tsv has 7 rows, but .*run-1.nii.gz has 60 volumes"):
        read(study, confounds=str(study / "c.tsv"))
    with pytest.raises(fct.InputError, match="confounds names 1 tables, but there are 2 runs"):
        read(study, runs=("run-1.nii.gz", "run-2.nii.gz"), confounds=str(study / "c.tsv"))
    with pytest.raises(fct.InputError, match="a run has four dimensions"):
        read(study, runs=("labels.nii.gz",))
    with pytest.raises(fct.InputError, match="neither a tractogram"):
        read(study, projection="run-1.nii.gz")
    with pytest.raises(fct.InputError, match="Left-Thalamus-Proper is among the targets and among the sources"):
        read(study, targets="L_front,L_back,R_front,Left-Thalamus-Proper")
    image = nibabel.load(study / "run-1.nii.gz")
    image.set_sform(None, code=0)
    image.set_qform(None, code=0)
    image.to_filename(study / "nowhere.nii.gz")
    with pytest.raises(fct.InputError, match=r"nowhere\.nii\.gz does not say where its voxels are"):
        read(study, runs=("nowhere.nii.gz",))
    with (study / "run-1.nii.gz").open("rb") as stream:
        start = stream.read(20_000)
    (study / "run-1.nii.gz").write_bytes(start)
    with pytest.raises(fct.InputError, match="is damaged, or was cut off"):
        read(study)


def test_planted_in_volumes_is_found(study):
    """Front and back: the modules of both."""
    system = read(study, runs=("run-1.nii.gz", "run-2.nii.gz"))
    r = system.activity.connectivity
    assert r[0, 2] > 0.9
    assert abs(r[0, 1]) < 0.4


def test_whoever_seeded_pythons_generator_does_not_notice(study):
    """Some modules that nilearn imports draw from it; only a fresh interpreter imports them."""
    program = (
        "import random, sys\n"
        "from fctoolbox_hcp.human_parcellated import load\n"
        "state = random.getstate()\n"
        "run, labels, names, tracts = sys.argv[1:]\n"
        "load(timeseries=run, parcellation=labels, names=names, projection=tracts, low=0, high=0)\n"
        "assert 'nilearn' in sys.modules and random.getstate() == state\n"
    )
    files = [str(study / name) for name in ("run-1.nii.gz", "labels.nii.gz", "labels.tsv", "tracts.tck")]
    subprocess.run([sys.executable, "-c", program, *files], check=True, timeout=300)
