import os
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pytest
from fctoolbox_hcp import files
from fctoolbox_hcp.cifti import open_cifti, read_labels
from fctoolbox_hcp.dense_miniature import small_space
from fctoolbox_hcp.human_parcellated import Reading, load, networks, read_parcellated
from fctoolbox_hcp.parcellated import averaging, places_by_name, read_parcellation
from fctoolbox_hcp.parcellated_miniature import write_parcellated
from nibabel.cifti2 import BrainModelAxis, Cifti2Image, LabelAxis, ParcelsAxis, SeriesAxis

import fctoolbox as fct
from fctoolbox.data import locate
from fctoolbox.testing import check_source

PROVENANCE = fct.Provenance(citation="nobody", license="CC0-1.0")


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    return write_parcellated(tmp_path_factory.mktemp("parcels"))


@pytest.fixture(scope="module")
def read(written):
    space = small_space(written.dense)

    def of(*, projection=written.dense.projection, paths=written.ptseries, option="timeseries", **options):
        parcellation = options.pop("parcellation", written.parcellation)
        paths = [paths] if isinstance(paths, Path) else paths
        return read_parcellated("x", space, projection, paths, option, parcellation, Reading(**options), PROVENANCE)

    return of


def save(path, values, axes):
    Cifti2Image(np.asarray(values, dtype=np.float32), axes).to_filename(path)
    return path


def connectivity(system):
    activity = system.activity
    if activity.connectivity is None:
        return fct.functional_connectivity(activity.timeseries)
    return np.tanh(activity.connectivity) if activity.scale == "fisher-z" else activity.connectivity


def off_diagonal(matrix):
    return matrix[~np.eye(len(matrix), dtype=bool)]


def test_a_parcellation_by_hand(written):
    keys, table = read_labels(written.parcellation)
    axis = open_cifti(written.parcellation).header.get_axis(1)
    parcels = read_parcellation(written.parcellation)
    assert parcels.names == tuple(table[key][0] for key in range(1, len(table)))
    assert parcels.names[0].startswith("R_")  # the right hemisphere has the first keys
    first = keys == 1
    structure = axis.name[first][0].removeprefix("CIFTI_STRUCTURE_")
    assert parcels.parcels[0].vertices[structure].tolist() == axis.vertex[first].tolist()
    assert len(parcels.parcels[-1].voxels) == (keys == len(table) - 1).sum()


@pytest.mark.parametrize("what", ["pconn", "pdconn"])
def test_the_axis_of_another_file_gives_the_same_parcels(written, what):
    ours = {p.name: p for p in read_parcellation(written.parcellation).parcels}
    theirs = read_parcellation(getattr(written, what))
    assert theirs.names != tuple(ours)
    for parcel in theirs.parcels:
        same = ours[parcel.name]
        assert {n: v.tolist() for n, v in parcel.vertices.items()} == {n: v.tolist() for n, v in same.vertices.items()}
        assert parcel.voxels.tolist() == same.voxels.tolist()


def test_every_file_gives_the_same_system(written, read):
    system = read()
    assert system.n_units == 25
    assert all(unit.startswith("L_m-") for unit in system.units)
    assert system.annotations["hemisphere"] == ("left",) * 25
    for path in (written.pdconn, written.table):
        other = read(projection=path)
        assert other.units == system.units
        assert other.projection.inputs == system.projection.inputs
        weights = system.projection.weights
        weights = weights.toarray() if hasattr(weights, "toarray") else weights
        np.testing.assert_allclose(np.asarray(other.projection.weights), weights, rtol=1e-6)
    np.testing.assert_allclose(connectivity(read(paths=written.dense.timeseries)), connectivity(system), atol=1e-6)
    one = read(paths=written.ptseries[:1])
    assert one.activity.sampling_interval == 0.72
    dense = read(paths=written.dense.timeseries[:1])
    np.testing.assert_allclose(dense.activity.timeseries, one.activity.timeseries, rtol=1e-6)


def test_without_a_parcellation_that_of_the_series_is_taken(written, read):
    system, other = read(), read(parcellation=None)
    assert set(other.units) == set(system.units)
    order = [other.units.index(unit) for unit in system.units]
    np.testing.assert_allclose(other.geometry.positions[order], system.geometry.positions)
    np.testing.assert_allclose(connectivity(other)[np.ix_(order, order)], connectivity(system), atol=1e-12)


def test_runs_are_averaged_as_fisher_z(written, read):
    z = [np.arctanh(off_diagonal(connectivity(read(paths=path)))) for path in written.ptseries]
    np.testing.assert_allclose(off_diagonal(read().activity.connectivity), np.tanh(np.mean(z, axis=0)), atol=1e-12)


def test_a_dense_connectome_is_averaged_over_pairs(written, read):
    system = read(paths=written.dense.connectivity, option="connectivity")
    assert system.activity.scale == "fisher-z"
    image = open_cifti(written.dense.connectivity)
    z = np.asarray(image.dataobj)
    keys, table = read_labels(written.parcellation)
    key_of = {name: key for key, (name, _) in table.items()}
    for i, j in ((0, 1), (3, 17), (24, 2)):
        block = z[np.ix_(keys == key_of[system.units[i]], keys == key_of[system.units[j]])]
        assert system.activity.connectivity[i, j] == pytest.approx(block.mean(), rel=1e-5)


def test_scale_of_a_connectivity(written, read, tmp_path):
    image = open_cifti(written.pconn)
    axes = [image.header.get_axis(k) for k in range(2)]
    r = np.asarray(image.dataobj)
    with np.errstate(divide="ignore"):
        z = np.arctanh(r)  # infinite on the diagonal, which is never used
    as_z = save(tmp_path / "z.pconn.nii", 2 * z, axes)
    system = read(paths=as_z, option="connectivity", scale="fisher-z")
    expected = read(paths=written.pconn, option="connectivity")
    np.testing.assert_allclose(
        off_diagonal(system.activity.connectivity),
        2 * np.arctanh(off_diagonal(expected.activity.connectivity)),
        rtol=1e-5,
    )
    with pytest.raises(fct.InputError, match=r"z.pconn.nii has .* between .*no Pearson r.*scale=fisher-z"):
        read(paths=as_z, option="connectivity")
    with pytest.raises(fct.InputError, match="ones on its diagonal, so it holds Pearson r"):
        read(paths=written.pconn, option="connectivity", scale="fisher-z")
    with pytest.raises(fct.InputError, match=r"scale is 'fisher'\. Did you mean 'fisher-z'"):
        read(paths=written.pconn, option="connectivity", scale="fisher")


def test_several_connectivities_are_averaged_as_fisher_z(written, read, tmp_path):
    image = open_cifti(written.pconn)
    axes = [image.header.get_axis(k) for k in range(2)]
    r = np.asarray(image.dataobj)
    half = save(tmp_path / "half.pconn.nii", np.where(np.eye(len(r)), 1, r / 2), axes)
    one = off_diagonal(connectivity(read(paths=written.pconn, option="connectivity")))
    both = off_diagonal(connectivity(read(paths=[written.pconn, half], option="connectivity")))
    np.testing.assert_allclose(both, np.tanh((np.arctanh(one) + np.arctanh(one / 2)) / 2), atol=1e-6)


def test_the_places_of_units_that_are_left(written, read, tmp_path):
    path = renamed(written, tmp_path, lambda name: name.replace("L_m-3_", "L_m-3x_"))
    system, fewer = read(), read(paths=path, option="connectivity", common=True)
    kept = [system.units.index(unit) for unit in fewer.units]
    np.testing.assert_array_equal(fewer.geometry.positions, system.geometry.positions[kept])
    expected = system.select_units(kept).geometry.surface.unit_of_vertex
    np.testing.assert_array_equal(fewer.geometry.surface.unit_of_vertex, expected)
    weights, all_weights = (np.asarray(each.projection.weights.todense()) for each in (fewer, system))
    np.testing.assert_array_equal(weights, all_weights[kept])


def test_centroids_and_surface(written, read):
    system = read()
    surface = system.geometry.surface
    for k in (0, 7, 24):
        np.testing.assert_allclose(
            surface.vertices[surface.unit_of_vertex == k].mean(axis=0), system.geometry.positions[k], rtol=1e-9
        )
    assert (surface.unit_of_vertex == -1).any()  # the medial wall
    both = read(targets="CORTEX")
    assert set(both.annotations["hemisphere"]) == {"left", "right"}
    assert (both.geometry.positions[:, 0] < 0).tolist() == [side == "left" for side in both.annotations["hemisphere"]]
    assert set(both.annotations["structure"]) == {"CORTEX_LEFT", "CORTEX_RIGHT"}


def test_planted_is_found_and_not_in_noise():
    found = fct.analyse_origin(fct.load("human-parcellated-mini"), n_nulls=99, n_restarts=3, rng=0)
    assert found.relationship.nulls[0].p_value == found.induced.nulls[0].p_value == 0.01
    assert found.relationship.pearson_r > 0.8
    none = fct.analyse_origin(fct.load("human-parcellated-mini", planted=False), n_nulls=99, n_restarts=3, rng=0)
    assert none.relationship.nulls[0].p_value > 0.05
    assert abs(none.relationship.pearson_r) < 0.2


@pytest.mark.parametrize("options", [{}, {"activity": "dconn", "projection": "table", "targets": "CORTEX"}])
def test_the_miniature_keeps_the_contract(options):
    check_source("human-parcellated-mini", **options)


@pytest.mark.parametrize("option", ["activity", "projection"])
def test_the_miniature_refuses_unknown_words(option):
    with pytest.raises(fct.InputError, match=f"{option} is 'pcon'"):
        fct.load("human-parcellated-mini", **{option: "pcon"})


# Names


def test_names_are_matched_exactly_or_without_roi():
    assert places_by_name(["L_V1", "R_V2_ROI"], ["R_V2", "L_V1_ROI", "L_V2_ROI"], "x").tolist() == [1, 0]
    assert places_by_name(["a", "b"], ["b"], "x", common=True).tolist() == [-1, 0]
    with pytest.raises(fct.InputError, match=r"x lacks 1 of the 2 parcels: 'L_V2' \(did you mean 'L_V2a'\?\)"):
        places_by_name(["L_V1", "L_V2"], ["L_V1", "L_V2a"], "x")
    with pytest.raises(fct.InputError, match="x has none of the 2 parcels; they are called a, b, there c"):
        places_by_name(["a", "b"], ["c"], "x")


def renamed(written, tmp_path, change):
    image = open_cifti(written.pconn)
    axis = image.header.get_axis(0)
    axis.name[:] = [change(str(name)) for name in axis.name]
    return save(tmp_path / "renamed.pconn.nii", image.dataobj, (axis, axis))


def test_parcels_that_match_nothing(written, read, tmp_path):
    path = renamed(written, tmp_path, lambda name: name.replace("L_m-3_", "L_m-3x_"))
    with pytest.raises(fct.InputError, match=r"lacks 1 of the 25 parcels: 'L_m-3_ROI' \(did you mean 'L_m-3x_ROI'"):
        read(paths=path, option="connectivity")
    system = read(paths=path, option="connectivity", common=True)
    assert system.n_units == 24
    assert system.provenance.left_out == {"L_m-3_ROI": "not in renamed.pconn.nii"}


def test_files_that_leave_out_roi_are_matched(written, read, tmp_path):
    path = renamed(written, tmp_path, lambda name: name.removesuffix("_ROI"))
    system = read(paths=path, option="connectivity")
    expected = read(paths=written.pconn, option="connectivity")
    np.testing.assert_array_equal(system.activity.connectivity, expected.activity.connectivity)


def test_tables(written, read, tmp_path):
    lines = written.table.read_text(encoding="utf-8").splitlines()
    shuffled = tmp_path / "t.tsv"
    shuffled.write_text("\n".join([lines[0], *lines[:0:-1]]) + "\n", encoding="utf-8")
    np.testing.assert_array_equal(
        read(projection=shuffled).projection.weights, read(projection=written.table).projection.weights
    )
    dropped = next(k for k, line in enumerate(lines) if line.startswith("L_m-5_"))
    shuffled.write_text("\n".join(lines[:dropped] + lines[dropped + 1 :]) + "\n", encoding="utf-8")
    with pytest.raises(fct.InputError, match=r"t.tsv lacks 1 of the 25 parcels: 'L_m-5_ROI'"):
        read(projection=shuffled)
    assert read(projection=shuffled, common=True).provenance.left_out == {"L_m-5_ROI": "not in t.tsv"}
    turned = zip(*(line.split("\t") for line in lines), strict=True)
    shuffled.write_text("\n".join("\t".join(row) for row in turned) + "\n", encoding="utf-8")
    with pytest.raises(fct.InputError, match="is transposed: its columns are the parcels"):
        read(projection=shuffled)
    shuffled.write_text("\n".join("\t".join(line.split("\t")[1:]) for line in lines[1:]) + "\n", encoding="utf-8")
    with pytest.raises(fct.InputError, match="does not name its rows"):
        read(projection=shuffled)


# Files that are not what they should be


def labels(written, tmp_path, *, keys=None, table=None, axis=None, maps=("a",)):
    image = open_cifti(written.parcellation)
    known, its = read_labels(written.parcellation)
    keys = known if keys is None else keys
    axis = image.header.get_axis(1) if axis is None else axis
    values = np.repeat(keys[None], len(maps), axis=0)
    return save(tmp_path / "own.dlabel.nii", values, (LabelAxis(list(maps), table or its), axis))


def test_a_label_used_twice(written, read, tmp_path):
    _, table = read_labels(written.parcellation)
    table[30] = (table[29][0], table[30][1])
    with pytest.raises(fct.InputError, match=r"own.dlabel.nii uses the labels L_m-\d+_ROI for more than one parcel"):
        read(parcellation=labels(written, tmp_path, table=table))
    table[30] = (table[29][0].removesuffix("_ROI"), table[30][1])
    with pytest.raises(fct.InputError, match="for more than one parcel"):
        read(parcellation=labels(written, tmp_path, table=table))


def test_labels_without_names_or_places(written, read, tmp_path):
    keys, table = read_labels(written.parcellation)
    name = table.pop(2)[0]
    with pytest.raises(fct.InputError, match="uses the keys 2, which its label table does not name"):
        read(parcellation=labels(written, tmp_path, table=dict(table)))
    table[2], table[99] = ("???", (0, 0, 0, 0)), ("L_nowhere", (0, 0, 0, 1))
    parcels = read_parcellation(labels(written, tmp_path, table=table, maps=("first", "second")))
    assert name not in parcels.names
    assert "L_nowhere" not in parcels.names
    assert parcels.notes["Labels without grayordinates"].startswith("1 of the table")
    assert parcels.notes["Map of labels"].startswith("'first', the first of 2")
    with pytest.raises(fct.InputError, match="labels no grayordinate"):
        read(parcellation=labels(written, tmp_path, keys=0 * keys))


def test_a_cortex_only_parcellation_has_no_volume(written, read, tmp_path):
    axis = open_cifti(written.parcellation).header.get_axis(1)
    cortex = np.flatnonzero(axis.surface_mask)
    keys, _ = read_labels(written.parcellation)
    path = labels(written, tmp_path, keys=keys[cortex], axis=axis[cortex])
    assert read(parcellation=path).n_units == 25
    with pytest.raises(fct.InputError, match=r"no parcels in THALAMUS_LEFT, THALAMUS_RIGHT; .*covers the cortex alone"):
        read(parcellation=path, targets="THALAMUS", sources="CORTEX_LEFT")


def test_a_parcellation_of_another_mesh(written, read, tmp_path):
    vertices = {"CIFTI_STRUCTURE_CORTEX_LEFT": np.array([1, 50_000])}
    names = ["a", "b", "c"]
    axis = ParcelsAxis(
        names, [np.empty((0, 3), int)] * 3, [vertices] * 3, nvertices={"CIFTI_STRUCTURE_CORTEX_LEFT": 64_984}
    )
    path = save(tmp_path / "164k.ptseries.nii", np.zeros((5, 3)), (SeriesAxis(0, 1, 5), axis))
    with pytest.raises(fct.InputError, match=r"parcel 'a' has vertex 50000 of CORTEX_LEFT.*another mesh"):
        read(parcellation=path)


def test_other_wrong_files(written, read):
    with pytest.raises(fct.InputError, match="holds grayordinates; say which parcels they belong to"):
        read(paths=written.dense.timeseries, parcellation=None)
    with pytest.raises(fct.InputError, match="names files of parcels and of grayordinates"):
        read(paths=[written.ptseries[0], written.dense.timeseries[0]])
    with pytest.raises(fct.InputError, match=r"\.ptseries\.nii .*but connectivity needs"):
        read(paths=written.ptseries, option="connectivity")
    with pytest.raises(fct.InputError, match="CORTEX_LEFT is among the targets and among the sources"):
        read(sources="CORTEX_LEFT")
    with pytest.raises(fct.InputError, match="Did you mean 'CORTEX_LEFT'"):
        read(targets="CORTX_LEFT")


def test_a_constant_parcel_is_left_out_in_every_run(written, read, tmp_path):
    image = open_cifti(written.ptseries[1])
    axes = [image.header.get_axis(k) for k in range(2)]
    series = np.array(np.asarray(image.dataobj))
    system = read()
    k = list(axes[1].name).index(system.units[4])
    series[:, k] = 7
    broken = save(tmp_path / "run.ptseries.nii", series, axes)
    two = read(paths=[written.ptseries[0], broken])
    assert two.provenance.left_out == {system.units[4]: "constant in run.ptseries.nii"}
    kept = [i for i in range(25) if i != 4]
    assert two.units == tuple(system.units[i] for i in kept)
    one = fct.analyse_origin(read(paths=broken), n_nulls=9, n_restarts=2, rng=0)
    assert [each.unit for each in one.dropped] == [system.units[4]]


def test_not_finite_is_named(written, read, tmp_path):
    image = open_cifti(written.pconn)
    axes = [image.header.get_axis(k) for k in range(2)]
    r = np.array(np.asarray(image.dataobj))
    k = list(axes[0].name).index("L_m-5_ROI")
    r[k, :] = r[:, k] = np.nan
    with pytest.raises(fct.InputError, match="parcel 'L_m-"):
        read(paths=save(tmp_path / "nan.pconn.nii", r, axes), option="connectivity")


def test_glasser_names_have_networks():
    assert networks(("L_V1_ROI", "R_4"))["yeo7"] == ("Visual", "Somatomotor")
    assert networks(("L_V1_ROI", "mine")) == {}


def test_averaging_by_hand():
    parcel = np.array([0, 2, -1, 0, 2, 2])
    values = np.array([1.0, 2, 100, 3, 4, 6])
    assert (averaging(parcel, 3) @ values).tolist() == [2, 0, 4]
    assert (averaging(parcel, 3, total=True) @ values).tolist() == [4, 0, 12]


def test_without_files_it_says_what_is_needed():
    with pytest.raises(fct.InputError, match="needs your own files: give the activity as one of connectivity="):
        load()
    with pytest.raises(fct.InputError, match="one of connectivity="):
        load(connectivity="a", timeseries="b")


@pytest.mark.skipif(not shutil.which("wb_command") and "WB_COMMAND" not in os.environ, reason="no Connectome Workbench")
def test_workbench_gives_the_same_means(written, read, tmp_path):
    command = os.environ.get("WB_COMMAND", "wb_command")
    out = tmp_path / "wb.ptseries.nii"
    words = [command, "-cifti-parcellate", written.dense.timeseries[0], written.parcellation, "COLUMN", out]
    subprocess.run(list(map(str, words)), check=True, capture_output=True)
    theirs = open_cifti(out)
    names = [str(name) for name in theirs.header.get_axis(1).name]
    system = read(paths=written.dense.timeseries[:1])
    expected = np.asarray(theirs.dataobj)[:, places_by_name(system.units, names, "wb")]
    np.testing.assert_allclose(system.activity.timeseries, expected, rtol=1e-6)
    for path in (written.parcellation, written.ptseries[0], written.pconn, written.pdconn):
        subprocess.run([command, "-file-information", str(path)], check=True, capture_output=True)


@pytest.mark.mirror
def test_the_official_glasser_labels_count_right_first(tmp_path):
    mirror = Path(os.environ.get("FCTOOLBOX_MIRROR", "/nowhere")) / "human/hcp_geometry"
    found = sorted(mirror.glob("Q1-Q6_*Areas_Group_Colors.32k_fs_LR.dlabel.nii"))
    if not found or any(locate(file) is None for file in (files.GRAYORDINATES, files.STREAMLINES)):
        pytest.skip("the files are not in FCTOOLBOX_MIRROR")
    parcels = read_parcellation(found[0])
    assert parcels.names[:2] == ("R_V1_ROI", "R_MST_ROI")
    assert [len(parcels.names), sum(name[0] == "L" for name in parcels.names)] == [360, 180]
    assert all(set(p.vertices) == {f"CORTEX_{'LEFT' if p.name[0] == 'L' else 'RIGHT'}"} for p in parcels.parcels)
    axis = parcel_axis(parcels)
    rng = np.random.default_rng(0)
    values = rng.standard_normal((30, 360))
    series = save(tmp_path / "s.ptseries.nii", values, (SeriesAxis(0, 0.72, 30, "SECOND"), axis))
    system = load(timeseries=str(series), parcellation=str(found[0]), sources="THALAMUS_LEFT", fwhm=0.0)
    assert system.n_units == 180
    assert system.units[0] == "L_V1_ROI"
    assert system.annotations["yeo7"][0] == "Visual"
    assert system.annotations["hemisphere"] == ("left",) * 180
    assert system.geometry.positions[0] == pytest.approx([-11.5, -81.5, 1.7], abs=0.1)
    place = list(axis.name).index("L_V1_ROI")
    values = np.asarray(nibabel.load(series).dataobj)
    np.testing.assert_array_equal(system.activity.timeseries[:, 0], values[:, place])


def parcel_axis(parcels):
    """The same parcels in another order."""
    shuffled = [parcels.parcels[k] for k in np.random.default_rng(1).permutation(len(parcels.parcels))]
    models = []
    for parcel in shuffled:
        ((name, vertices),) = parcel.vertices.items()
        models.append((parcel.name, BrainModelAxis.from_surface(vertices, 32_492, name=f"CIFTI_STRUCTURE_{name}")))
    return ParcelsAxis.from_brain_models(models)


def test_the_system_says_what_was_read(read):
    system = replace(read())
    notes = system.provenance.notes
    assert notes["Parcels"].startswith("25 of the 52 of SYNTHETIC.dlabel.nii: those in CORTEX_LEFT, matched by name")
    assert "mean of Fisher z over 2 runs" in notes["Connectivity"]
    assert "summed over the grayordinates of each parcel" in notes["Projection"]
