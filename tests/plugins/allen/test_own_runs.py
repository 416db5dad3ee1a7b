import os
import subprocess
import sys
from dataclasses import replace

import nibabel
import numpy as np
import pytest
from fctoolbox_allen import fctoolbox_sources
from fctoolbox_allen.own_runs import OwnRuns, found_paths, read_label_names, read_own
from fctoolbox_allen.runs_miniature import T_R, write_runs
from fctoolbox_allen.sources import load_miniature, load_regional

from fctoolbox import InputError, analyse_origin
from fctoolbox.cli import main
from fctoolbox.plugins import load_source
from fctoolbox.testing import check_source

pytest.importorskip("nilearn")
SOURCES = {source.name: source for source in fctoolbox_sources()}


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    return write_runs(tmp_path_factory.mktemp("lab"), n_runs=2)


@pytest.fixture(scope="module")
def own(lab):
    return OwnRuns(lab.runs, lab.labels, lab.label_names, confounds=lab.confounds, scrub="outlier")


@pytest.fixture
def read(structures, connectome):
    return lambda own, hemisphere="left": read_own(own, hemisphere, structures, connectome.regions)


@pytest.fixture(scope="module")
def options(lab):
    """As on the command line."""
    folder = lab.labels.parent
    return {
        "runs": f"{folder}/sub-*_bold.nii.gz",
        "labels": str(lab.labels),
        "label_names": str(lab.label_names),
        "confounds": f"{folder}/sub-*_confounds.tsv",
        "scrub": "outlier",
    }


def relabelled(lab, tmp_path, change):
    image = nibabel.load(lab.labels)
    path = tmp_path / "labels.nii.gz"
    nibabel.save(nibabel.Nifti1Image(change(np.asarray(image.dataobj)).astype(np.int32), image.affine), path)
    return path


def test_a_laboratory_s_runs_are_the_activity(options):
    system = load_source(SOURCES["mouse-mini"], **options)
    assert system.n_units == 20
    assert system.activity.timeseries.shape == (2 * 158, 20)
    assert np.unique(system.activity.trials).tolist() == [1, 2]
    assert system.activity.sampling_interval is None  # two volumes of each run are scrubbed
    assert system.provenance.left_out == dict.fromkeys(("AON", "COAp", "TR"), "not isocortex")
    assert "sub-02_bold: 158 volumes (2 scrubbed)" in system.provenance.notes["Scans"]
    assert {"nilearn", "nibabel"} <= set(system.provenance.packages)
    assert set(system.annotations) == {"hemisphere", "division", "group", "name", "planted"}


def test_what_was_planted_is_found_in_the_runs_of_both_hemispheres(options):
    for hemisphere in ("left", "right"):
        system = load_miniature(**options, hemisphere=hemisphere)
        report = analyse_origin(system, n_nulls=19, rng=0)
        assert report.relationship.pearson_r > 0.6
        assert report.induced.q > 0.1
        assert (system.geometry.positions[:, 2] < 5.7).all() == (hemisphere == "left")


def test_movements_hide_it_where_they_are_not_removed(options):
    without = {name: value for name, value in options.items() if name not in ("confounds", "scrub")}
    dirty = analyse_origin(load_miniature(**without), n_nulls=19, rng=0)
    assert dirty.induced.q < 0.05
    assert load_miniature(**without).activity.sampling_interval == T_R


def test_inputs_that_drive_nothing_explain_nothing(options):
    report = analyse_origin(load_miniature(**options, sources="Midbrain"), n_nulls=19, rng=0)
    assert abs(report.relationship.pearson_r) < 0.3


def test_the_contract_is_kept(options):
    assert check_source(SOURCES["mouse-mini"], **options)


def test_whoever_seeded_pythons_generator_does_not_notice(options, tmp_path):
    """Some modules that nilearn imports draw from it; only a fresh interpreter imports them, to clean runs anew."""
    program = (
        "import random, sys\n"
        "from fctoolbox_allen.sources import load_miniature\n"
        "state = random.getstate()\n"
        "load_miniature(**dict(word.split('=', 1) for word in sys.argv[1:]))\n"
        "assert 'nilearn.maskers' in sys.modules and random.getstate() == state\n"
    )
    words = [f"{name}={value}" for name, value in options.items()]
    fresh = {**os.environ, "FCTOOLBOX_CACHE": str(tmp_path)}
    subprocess.run([sys.executable, "-c", program, *words], check=True, timeout=300, env=fresh)


def test_a_report_can_be_saved(options, tmp_path):
    system = load_source(SOURCES["mouse-mini"], **options)
    assert analyse_origin(system, n_nulls=5, n_restarts=2, rng=0).save(tmp_path / "out").is_file()


def test_areas_are_in_the_order_of_the_tree_whatever_the_labels_are(own, read, lab, tmp_path):
    names = read_label_names(lab.label_names)
    shuffled = np.random.default_rng(0).permutation([label.id for label in names]) + 500
    new = dict(zip((label.id for label in names), shuffled.tolist(), strict=True))
    table = tmp_path / "names.csv"
    lines = [f"{label.side[:1].upper()},{new[label.id]},{label.name}" for label in names]
    table.write_text("side,index,region\n" + "\n".join(lines) + "\n")
    labels = relabelled(lab, tmp_path, lambda volume: np.vectorize(lambda each: new.get(int(each), 0))(volume))
    expected = read(own)
    found = read(replace(own, labels=labels, label_names=table))
    assert found.areas == expected.areas
    np.testing.assert_array_equal(found.activity.timeseries, expected.activity.timeseries)


def test_layers_go_into_their_area(own, read, lab, structures, connectome, tmp_path):
    table = tmp_path / "names.tsv"
    text = lab.label_names.read_text()
    (row,) = [line for line in text.splitlines() if line.endswith("VISp\tleft")]
    number = int(row.split("\t")[0])
    layer = [acronym for acronym in structures if acronym.startswith("VISp") and acronym[4:5].isdigit()]
    if not layer:
        pytest.skip("the miniature's tree has no layers")
    table.write_text(text.replace(row, f"901\t{layer[0]}\tleft\n902\t{layer[1]}\tleft"))

    def split(volume):
        upper = np.arange(volume.shape[2]) % 2 == 0
        return np.where(volume == number, np.where(upper, 901, 902), volume)

    labels = relabelled(lab, tmp_path, split)
    found, expected = read(replace(own, labels=labels, label_names=table)), read(own)
    column = expected.areas.index("VISp")
    np.testing.assert_allclose(found.activity.timeseries[:, column], expected.activity.timeseries[:, column], atol=1e-9)


def test_without_names_labels_are_allen_ids_and_sides_are_halves(own, read, lab, structures, tmp_path):
    names = {label.id: structures[label.name].id for label in read_label_names(lab.label_names)}
    labels = relabelled(lab, tmp_path, lambda volume: np.vectorize(lambda each: names.get(int(each), 0))(volume))
    for hemisphere in ("left", "right"):
        found = read(replace(own, labels=labels, label_names=None), hemisphere)
        expected = read(own, hemisphere)
        assert found.areas == expected.areas
        np.testing.assert_allclose(found.activity.connectivity, expected.activity.connectivity, atol=0.05)
    one_half = relabelled(
        lab,
        tmp_path,
        lambda volume: np.where(volume < 100, np.vectorize(lambda each: names.get(int(each), 0))(volume), 0),
    )
    with pytest.raises(InputError, match="labels have no sides, and are not symmetric either"):
        read(replace(own, labels=one_half, label_names=None))


def test_names_on_the_wrong_side_are_refused(own, read, lab, tmp_path):
    table = tmp_path / "names.tsv"
    swapped = {"left": "right", "right": "left"}
    lines = [
        "\t".join([*line.split("\t")[:2], swapped.get(line.split("\t")[2], "hemisphere")])
        for line in lab.label_names.read_text().splitlines()
    ]
    table.write_text("\n".join(lines) + "\n")
    with pytest.raises(InputError, match="what is named left lies on the right"):
        read(replace(own, label_names=table))


def test_labels_that_are_a_mirror_image_are_refused(own, read, lab, tmp_path):
    image = nibabel.load(lab.labels)
    affine = np.diag([-1.0, 1, 1, 1]) @ image.affine
    nibabel.save(nibabel.Nifti1Image(np.asarray(image.dataobj), affine), tmp_path / "mirrored.nii.gz")
    with pytest.raises(InputError, match="what is named left lies on the right"):
        read(replace(own, labels=tmp_path / "mirrored.nii.gz"))
    names = tmp_path / "names.tsv"
    names.write_text(lab.label_names.read_text().replace("left", "x").replace("right", "left").replace("x", "right"))
    with pytest.raises(InputError, match=r"has the axes RAS, but mirrored.nii.gz has LAS"):
        read(replace(own, labels=tmp_path / "mirrored.nii.gz", label_names=names))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"labels": None}, "runs need labels"),
        ({"labels": "nowhere.nii"}, "there is no file nowhere.nii"),
        ({"runs": "nowhere/*.nii.gz"}, r"runs: no file is called like nowhere/\*.nii.gz"),
        ({"runs": ""}, "runs names no file"),
        ({"label_names": None}, "labels have no sides, and are not symmetric either"),
        ({"confounds": None, "scrub": "outlier.tsv"}, "there is no file outlier.tsv"),
        (
            {"confounds": None, "scrub": "outlier"},
            "scrub is 'outlier', and there is no such file. Where it is a",
        ),
        ({"t_r": 2.0}, "its header says a repetition time of 1 s, but t_r is 2 s"),
    ],
)
def test_options_that_cannot_be_met(own, read, changes, message):
    with pytest.raises(InputError, match=message):
        read(replace(own, **changes))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("number\tacronym\n1\tVISp\n", "needs a header with the columns id and acronym"),
        ("id\tacronym\none\tVISp\n", "row 1: the id is 'one'; a whole number is needed"),
        ("id\tacronym\themisphere\n1\tVISp\tup\n", "row 1: the hemisphere is 'up'; it must be left or right"),
        ("id\tacronym\n1\tVISp\n1\tMOp\n", "the id 1 stands in more than one row"),
        ("id\tacronym\n1\tVISp\n1\tMOp\n2\tA\n2\tB\n", "the ids 1, 2 stand in more than one row"),
    ],
)
def test_tables_of_names_that_cannot_be_used(text, message, tmp_path):
    path = tmp_path / "names.tsv"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        read_label_names(path)


def test_labels_of_the_other_words(own, read, lab, tmp_path):
    table = tmp_path / "names.tsv"
    table.write_text(lab.label_names.read_text().replace("VISp\t", "visP\t"))
    found = read(replace(own, label_names=table))
    assert found.left_out["visP"] == "not an acronym of the Allen structure tree. Did you mean 'VISp'?"
    assert "VISp" not in found.areas
    table.write_text("id\tacronym\themisphere\n1\tVISp\tleft\n2\tMOp\tL\n103\tSSp-n\tright\n")
    with pytest.raises(InputError, match="and 3 are needed"):
        read(replace(own, label_names=table))
    table.write_text("id\tacronym\n9999\tVISp\n")
    with pytest.raises(InputError, match="names none of the labels of"):
        read(replace(own, label_names=table))


def test_labels_that_merely_count_are_no_ids(own, read, lab, tmp_path):
    labels = relabelled(lab, tmp_path, lambda volume: np.where(volume > 100, volume - 100, volume))
    with pytest.raises(
        InputError, match=r"its 23 labels \(1, 2, .* are no ids of the Allen structure tree; give a table"
    ):
        read(replace(own, labels=labels, label_names=None))


def test_a_whole_and_its_part_cannot_both_be_labels(own, read, lab, tmp_path):
    table = tmp_path / "names.tsv"
    table.write_text(lab.label_names.read_text().replace("\tORB\t", "\tACAd\t"))
    with pytest.raises(InputError, match="ACAd is a part of ACA, and both are labels"):
        read(replace(own, label_names=table))


def test_patterns_and_names_stand_for_files(lab):
    folder = lab.labels.parent
    assert found_paths("runs", f"{folder}/sub-*_bold.nii.gz") == list(lab.runs)
    assert found_paths("runs", f"{lab.runs[1]}, {lab.runs[0]}") == [lab.runs[1], lab.runs[0]]
    assert found_paths("runs", [lab.runs[0]]) == [lab.runs[0]]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"labels": "labels.nii"}, "labels belongs to runs of your own: name their files with runs"),
        ({"low": 0.02, "t_r": 1.0}, "t_r, low belong to runs of your own"),
    ],
)
def test_options_of_runs_without_runs(given, message):
    with pytest.raises(InputError, match=message):
        load_miniature(**given)


def test_a_scan_of_the_published_ones_has_no_part_in_it(options):
    with pytest.raises(InputError, match="scan is 3, a number of a published scan, but runs of your own were given"):
        load_miniature(**options, scan=3)


def changed_run(lab, path, change):
    """The first run as 32-bit floats, with some of its voxels changed."""
    image = nibabel.load(lab.runs[0])
    data = np.asarray(image.dataobj, dtype=np.float32)
    change(data, np.asarray(nibabel.load(lab.labels).dataobj))
    saved = nibabel.Nifti1Image(data, image.affine)
    saved.header.set_xyzt_units("mm", "sec")
    saved.header.set_zooms((*saved.header.get_zooms()[:3], T_R))
    nibabel.save(saved, path)
    return path


def number_of(lab, acronym, side="left"):
    return next(each.id for each in read_label_names(lab.label_names) if (each.name, each.side) == (acronym, side))


def test_constant_areas_are_named_dropped_and_counted(lab, options, tmp_path, capsys):
    visp, mop = number_of(lab, "VISp"), number_of(lab, "MOp")

    def change(data, labels):
        data[labels == visp] = 512
        data[labels == mop] = np.nan

    run = changed_run(lab, tmp_path / "one_bold.nii.gz", change)
    words = [f"{key}={value}" for key, value in {**options, "confounds": lab.confounds[0], "runs": run}.items()]
    given = [word for each in words for word in ("-o", each)]
    main(["run", "mouse-mini", *given, "--n-nulls", "5", "--n-restarts", "2", "--out", str(tmp_path / "out")])
    said = " ".join(capsys.readouterr().out.split())
    assert "over 18 units" in said
    assert "5 of its units:" in said
    assert f"VISp (constant; label {visp})" in said
    assert f"MOp (outside the field of view; label {mop})" in said
    page = " ".join((tmp_path / "out" / "report.html").read_text().split())
    assert "labels.nii.gz; 18 areas; 5 left out: " in page
    assert f"VISp (constant; label {visp})" in page
    assert "1 run of your own, a volume every 1 s (one_bold: 158 volumes (2 scrubbed)); Pearson r" in page


def test_an_area_outside_the_mask_names_the_mask(own, read, lab, tmp_path):
    number = number_of(lab, "VISp")
    image = nibabel.load(lab.mask)
    inside = np.asarray(image.dataobj) * (np.asarray(nibabel.load(lab.labels).dataobj) != number)
    nibabel.save(nibabel.Nifti1Image(inside.astype(np.int16), image.affine), tmp_path / "brain.nii.gz")
    found = read(replace(own, mask=tmp_path / "brain.nii.gz"))
    assert found.left_out["VISp"] == f"outside the mask brain.nii.gz; label {number}"
    # The series come from the cache, the mask's name does not.
    (tmp_path / "brain.nii.gz").rename(tmp_path / "other.nii.gz")
    found = read(replace(own, mask=tmp_path / "other.nii.gz"))
    assert found.left_out["VISp"] == f"outside the mask other.nii.gz; label {number}"


def test_a_mask_that_leaves_too_little_says_which_areas(own, read, lab, tmp_path):
    image = nibabel.load(lab.labels)
    volume = np.asarray(image.dataobj)

    def masked(inside):
        nibabel.save(nibabel.Nifti1Image(inside.astype(np.int16), image.affine), tmp_path / "m.nii.gz")
        return replace(own, mask=tmp_path / "m.nii.gz")

    with pytest.raises(InputError, match=r"labels\.nii\.gz: 2 areas \(FRP, MOp\) were measured in all runs, and 3 are"):
        read(masked(np.isin(volume, [1, 2])))
    message = (
        r"none of the 20 labels of labels\.nii\.gz was measured: FRP \(label 1\), MOp .*\(outside the mask m\.nii\.gz\)"
    )
    with pytest.raises(InputError, match=message):
        read(masked(volume == 0))


def test_two_areas_with_one_series_are_named(own, read, lab, tmp_path):
    visp, mop = number_of(lab, "VISp"), number_of(lab, "MOp")

    def change(data, labels):
        data[labels == visp] = data[labels == mop].mean(axis=0)
        data[labels == mop] = data[labels == mop].mean(axis=0)

    alone = replace(own, confounds=None, scrub=None, smoothing_fwhm=0)
    run = changed_run(lab, tmp_path / "same.nii.gz", change)
    with pytest.raises(
        InputError, match=rf"same: MOp \(label {mop}\) and VISp \(label {visp}\) have the same time series"
    ):
        read(replace(alone, runs=[run]))


def test_a_layer_without_signal_is_named_by_area_and_labels(own, read, lab, structures, tmp_path):
    visp = number_of(lab, "VISp")
    layers = [each for each in structures if each.startswith("VISp") and each[4:5].isdigit()][:2]
    table = tmp_path / "names.tsv"
    rows = f"901\t{layers[0]}\tleft\n902\t{layers[1]}\tleft"
    table.write_text(lab.label_names.read_text().replace(f"{visp}\tVISp\tleft", rows))
    upper = np.arange(nibabel.load(lab.labels).shape[2]) % 2 == 0
    labels = relabelled(lab, tmp_path, lambda volume: np.where(volume == visp, np.where(upper, 901, 902), volume))

    def change(data, labels):
        data[labels == visp] = 512

    run = changed_run(lab, tmp_path / "run.nii.gz", change)
    given = replace(own, runs=[run], labels=labels, label_names=table, confounds=None, scrub=None)
    assert read(given).left_out["VISp"] == "constant; labels 901, 902"


@pytest.mark.mirror
def test_the_real_connectome_and_a_laboratory_s_runs(options, published):
    from fctoolbox_allen.files import PUBLISHED

    for file in PUBLISHED:
        published(file)
    system = load_source(SOURCES["mouse-regional"], **options)
    assert system.units == load_miniature(**options).units
    real = load_regional()
    index = [real.units.index(unit) for unit in system.units]
    np.testing.assert_array_equal(system.projection.weights, real.projection.weights[index])
    assert not any("ZBold" in file.name for file in system.provenance.files)


def test_a_label_goes_into_the_smallest_region_that_holds_it(own, structures, connectome):
    expected = read_own(own, "left", structures, connectome.regions)
    assert read_own(own, "left", structures, ("VIS", *connectome.regions)).areas == expected.areas
