"""Systems of vertices and voxels from dense files."""

from pathlib import Path

import nibabel
import numpy as np
import pytest
from fctoolbox_hcp import files, human_dense
from fctoolbox_hcp.dense_activity import open_activity
from fctoolbox_hcp.dense_files import open_dense
from fctoolbox_hcp.dense_miniature import load, small_space, write_dense
from fctoolbox_hcp.dense_space import DenseSpace, _by_side, _check_lies
from fctoolbox_hcp.enigma import read_connectivity
from fctoolbox_hcp.human_dense import Reading, read_dense
from nibabel.cifti2 import Cifti2Image
from scipy import sparse

import fctoolbox as fct
from fctoolbox import Provenance, edge_moments
from fctoolbox.chance import refusing_early
from fctoolbox.data import locate
from fctoolbox.errors import InputError

PROVENANCE = Provenance(citation="nobody", license="CC0-1.0", synthetic=True)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    return write_dense(tmp_path_factory.mktemp("dense"), full_size=False)


@pytest.fixture(scope="module")
def space(written):
    return small_space(written)


def read(written, space, projection=None, connectivity=None, **options):
    reading = Reading(**{"targets": "CORTEX_LEFT", "sources": "THALAMUS", **options})
    activity = open_activity([connectivity or written.connectivity], "connectivity")
    name = "small (synthetic)"
    return read_dense(name, space, projection or written.projection, activity, "connectivity", reading, PROVENANCE)


def test_too_many_units_for_a_null_are_refused_before_their_activity_is_read(written, space, monkeypatch):
    n_units = read(written, space).n_units

    def read_on(*_, **__):
        raise AssertionError("the activity is read")

    monkeypatch.setattr(human_dense, "read_connectivity", read_on)
    monkeypatch.setattr(edge_moments, "LARGE", n_units // 2 - 1)
    refused = rf"'projection' needs the distances .* 'small \(synthetic\)' has at least {n_units // 2}; use 'spin'"
    with pytest.raises(InputError, match=refused), refusing_early("projection"):
        read(written, space)
    # Half of them may yet turn out to have no activity.
    monkeypatch.setattr(edge_moments, "LARGE", n_units // 2)
    with pytest.raises(AssertionError, match="is read"), refusing_early("projection"):
        read(written, space)


def changed_projection(written, path, change):
    matrix = sparse.csr_array(sparse.load_npz(written.projection)).tolil()
    change(matrix)
    sparse.save_npz(path, matrix.tocsr())
    return path


def vertex_of(unit):
    return int(unit.rpartition("-")[2])


@pytest.mark.parametrize("targets", ["CORTEX_LEFT", "CORTEX_RIGHT", "CORTEX"])
def test_units_are_vertices_with_projection_connectivity_and_place(written, space, targets):
    system = read(written, space, targets=targets)
    whole = sparse.csr_array(sparse.load_npz(written.projection))
    r = np.tanh(np.asarray(nibabel.load(written.connectivity).dataobj))
    names = {"CORTEX": ("CORTEX_LEFT", "CORTEX_RIGHT")}.get(targets, (targets,))
    row = {name: each.rows.start + i for each in space.structures.values() for i, name in enumerate(each.names)}
    rows, columns = np.array([row[unit] for unit in system.units]), [row[name] for name in system.projection.inputs]
    weights = whole[rows][:, columns].toarray()
    np.testing.assert_array_equal(sparse.csr_array(system.projection.weights).toarray(), weights)
    assert weights.any(axis=1).all()
    off = ~np.eye(len(rows), dtype=bool)
    np.testing.assert_allclose(system.activity.connectivity[off], r[np.ix_(rows, rows)][off], atol=1e-6)
    assert len(system.projection.inputs) == len(columns) == 488
    assert set(system.projection.groups) == {"left thalamus", "right thalamus"}
    assert set(system.annotations["hemisphere"]) == {name.partition("_")[2].lower() for name in names}
    assert list(system.annotations["planted"]) == written.modules[rows].astype(str).tolist()
    surface, meshes = system.geometry.surface, [space.meshes[name] for name in names]
    assert len(surface.vertices) == sum(len(mesh.vertices) for mesh in meshes)
    first = {"left": 0, "right": len(meshes[0].vertices) if len(meshes) == 2 else 0}
    places = [
        first[side] + vertex_of(u) for u, side in zip(system.units, system.annotations["hemisphere"], strict=True)
    ]
    np.testing.assert_array_equal(surface.unit_of_vertex[places], np.arange(system.n_units))
    assert np.count_nonzero(surface.unit_of_vertex >= 0) == system.n_units
    np.testing.assert_array_equal(surface.vertices[places], system.geometry.positions)
    assert surface.sphere is not None


def test_voxels_can_be_units_and_vertices_inputs(written, space):
    system = read(written, space, targets="THALAMUS_LEFT", sources="CORTEX")
    assert system.geometry.surface is None
    thalamus = space.structures["THALAMUS_LEFT"]
    row = {name: i for i, name in enumerate(thalamus.names)}
    np.testing.assert_array_equal(system.geometry.positions, thalamus.positions[[row[unit] for unit in system.units]])
    assert set(system.annotations["hemisphere"]) == {"left"}
    assert set(system.annotations["planted"]) == {"none"}


def test_what_has_no_projection_is_never_read(written, space, tmp_path):
    values = np.asarray(nibabel.load(written.connectivity).dataobj).copy()
    axes = open_dense(written.connectivity, ["dconn"], "connectivity").axes
    bare = 7
    values[bare], values[:, bare] = np.nan, np.nan
    damaged = tmp_path / "SYNTHETIC_damaged.dconn.nii"
    Cifti2Image(values, axes).to_filename(damaged)

    def clear(matrix):
        matrix[bare], matrix[:, bare] = 0, 0

    projection = changed_projection(written, tmp_path / "SYNTHETIC_bare.npz", clear)
    system = read(written, space, projection, damaged)
    name = space.structures["CORTEX_LEFT"].names[bare]
    assert system.provenance.left_out[name] == "receives nothing: it has no projection from the sources"
    with pytest.raises(InputError, match=rf"SYNTHETIC_damaged.*: {name} \(number 7 of the file.*holds nan"):
        read(written, space, connectivity=damaged)


def test_all_that_are_left_out_are_named(written, space):
    system = read(written, space)
    left_out = system.provenance.left_out
    assert set(system.units) | set(left_out) == set(space.structures["CORTEX_LEFT"].names)
    assert len(left_out) == 572 - system.n_units > 0


def test_vertices_without_connectivity_are_left_out_too(written, space, tmp_path):
    values = np.asarray(nibabel.load(written.connectivity).dataobj).copy()
    axes = open_dense(written.connectivity, ["dconn"], "connectivity").axes
    system = read(written, space)
    row = space.structures["CORTEX_LEFT"].names.index(system.units[5])
    values[row], values[:, row] = 0, 0
    path = tmp_path / "SYNTHETIC_empty.dconn.nii"
    Cifti2Image(values, axes).to_filename(path)
    without = read(written, space, connectivity=path)
    assert without.units == (*system.units[:5], *system.units[6:])
    assert without.provenance.left_out[system.units[5]] == "has no connectivity (zeros only)"
    others = np.delete(np.arange(system.n_units), 5)
    kept = system.activity.connectivity[np.ix_(others, others)]
    np.testing.assert_array_equal(without.activity.connectivity, kept)
    np.testing.assert_array_equal(without.projection.weights.toarray(), system.projection.weights[others].toarray())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"targets": "CORTEX,THALAMUS_LEFT"}, "THALAMUS_LEFT is among the targets and among the sources"),
        ({"targets": "CORTEX_LETF"}, "targets: the space of grayordinates has no structure CORTEX_LETF. Did you mean"),
        ({"sources": "HIPPOCAMPUS"}, "sources: the space of grayordinates has no structure HIPPOCAMPUS"),
    ],
)
def test_wrong_structures_are_answered(written, space, options, message):
    with pytest.raises(InputError, match=message):
        read(written, space, **options)


def test_activity_that_lacks_the_targets_is_found_before_the_projection_is_read(written, space, tmp_path, monkeypatch):
    monkeypatch.setattr(human_dense, "read_projection", lambda *_, **__: pytest.fail("the projection was read"))
    axis = open_dense(written.connectivity, ["dconn"], "connectivity").axes[0]
    right = axis[space.structures["CORTEX_RIGHT"].rows]
    path = tmp_path / "right.dconn.nii"
    Cifti2Image(np.zeros((len(right), len(right)), dtype=np.float32), (right, right)).to_filename(path)
    with pytest.raises(InputError, match=r"right\.dconn\.nii \(connectivity\) has no structure CORTEX_LEFT"):
        read(written, space, connectivity=path)


def test_a_surface_of_another_mesh_is_refused(space):
    left = space.structures["CORTEX_LEFT"]
    mesh = space.meshes["CORTEX_LEFT"]
    short = type(mesh)(mesh.vertices[:-1], mesh.faces[:4], mesh.sphere[:-1])
    with pytest.raises(InputError, match=r"surface of CORTEX_LEFT has 641 vertices.* mesh of 642"):
        DenseSpace({"CORTEX_LEFT": left}, {"CORTEX_LEFT": short})


def test_a_surface_says_which_side_it_is(written, tmp_path):
    paths = []
    for side in ("Right", "Left"):
        image = nibabel.load(written.midthickness[f"CORTEX_{side.upper()}"])
        image.darrays[0].meta["AnatomicalStructurePrimary"] = f"Cortex{side}"
        paths.append(tmp_path / f"{side}.surf.gii")
        image.to_filename(paths[-1])
    assert _by_side(paths) == {"right": paths[0], "left": paths[1]}
    unsaid = list(written.midthickness.values())
    assert _by_side(unsaid) == {"left": unsaid[0], "right": unsaid[1]}
    with pytest.raises(InputError, match="both of the left cortex"):
        _by_side([paths[1], paths[1]])


def test_a_surface_of_the_other_side_and_a_sphere_are_refused(space):
    left, right = (space.meshes[f"CORTEX_{side}"] for side in ("LEFT", "RIGHT"))
    sphere = type(left)(left.sphere - left.sphere.mean(axis=0), left.faces, left.sphere)
    _check_lies(left, "left", Path("a.surf.gii"))
    _check_lies(right, "right", Path("a.surf.gii"))
    with pytest.raises(InputError, match=r"surface: .*% of the vertices of a.surf.gii lie on the right .* left cortex"):
        _check_lies(right, "left", Path("a.surf.gii"))
    with pytest.raises(InputError, match=r"lie on the left of the middle, but it stands for the right cortex"):
        _check_lies(left, "right", Path("a.surf.gii"))
    with pytest.raises(InputError, match="no sphere and no inflated one"):
        _check_lies(sphere, "left", Path("a.surf.gii"))


@pytest.mark.mirror
def test_the_published_surfaces_lie_where_they_should():
    _needs_the_files()
    paths = {side: locate(file) for side, file in files.MIDTHICKNESS.items()}
    assert human_dense.published_space(tuple(paths.values())).meshes
    with pytest.raises(InputError, match=r"sphere.*midthickness surface"):
        human_dense.published_space((locate(files.SPHERE["left"]),))


def test_one_kind_of_activity_is_given():
    with pytest.raises(InputError, match="connectivity and pca are both given; the activity is one of"):
        human_dense.load(connectivity="a.dconn.nii", pca="b.dtseries.nii")
    with pytest.raises(InputError, match=r"timeseries is 'sub-\*\.dtseries\.nii', but no file has such a name"):
        human_dense.load(timeseries="sub-*.dtseries.nii")
    with pytest.raises(InputError, match="scale is 'z'; it must be 'fisher-z'"):
        human_dense.load(scale="z")


@pytest.mark.parametrize("activity", ["connectivity", "timeseries", "pca"])
def test_planted_modules_are_found(activity):
    system = load(activity=activity)
    report = fct.analyse_origin(system, null="spin", n_nulls=39, n_restarts=2, rng=0)
    assert report.relationship.pearson_r > 0.5
    assert report.relationship.nulls[0].p_value <= 1 / 40
    assert report.induced.nulls[0].p_value <= 1 / 40


def test_nothing_is_found_where_nothing_is_planted():
    report = fct.analyse_origin(load(planted=False), null="permutation", n_nulls=39, n_restarts=2, rng=0)
    assert abs(report.relationship.pearson_r) < 0.02
    assert report.relationship.nulls[0].p_value > 0.05


def test_a_group_pca_and_the_connectome_made_of_it_are_the_same_system():
    connectome, pca = (load(activity=activity) for activity in ("connectivity", "pca"))
    assert connectome.units == pca.units
    np.testing.assert_allclose(connectome.activity.connectivity, pca.activity.connectivity, atol=2e-6)
    with pytest.raises(InputError, match=r"activity is 'pcs'\. Did you mean 'pca'"):
        load(activity="pcs")


def _needs_the_files():
    if any(locate(file) is None for file in files.DENSE):
        pytest.skip("the files of the dense human are not in FCTOOLBOX_MIRROR")


@pytest.mark.mirror
def test_areal_connectivity_is_repeated_over_vertices_and_says_so():
    _needs_the_files()
    system = fct.load("human-dense", sources="THALAMUS_LEFT", fwhm=0)
    assert "NOT vertex data" in system.name
    assert "NOT vertex data" in system.provenance.notes["Connectivity"]
    areas = system.annotations["glasser"]
    published = read_connectivity(locate(files.CONNECTIVITY), locate(files.AREA_NAMES))
    some = np.arange(0, system.n_units, 97)
    expected = np.tanh(published.between([areas[i] for i in some]))
    same = np.array([[areas[i] == areas[j] for i in some] for j in some])
    expected[same] = 1
    np.testing.assert_allclose(system.activity.connectivity[np.ix_(some, some)], expected, atol=1e-6)
    assert all(area.startswith("L_") for area in areas)
    assert len(system.provenance.left_out) == 28_557


@pytest.mark.mirror
def test_the_published_space_agrees_with_itself():
    _needs_the_files()
    space = human_dense.published_space(())
    left = space.structures["CORTEX_LEFT"]
    yeo = space.labels["yeo7"][left.rows]
    names, counts = np.unique(yeo, return_counts=True)
    assert dict(zip(names.tolist(), counts.tolist(), strict=True)) == {
        "none": 385,
        "Visual": 4349,
        "Somatomotor": 5866,
        "Dorsal Attention": 3344,
        "Ventral Attention": 3334,
        "Limbic": 2161,
        "Frontoparietal": 3130,
        "Default": 7127,
    }
    areas = space.labels["glasser"]
    assert {area[:2] for area in areas[left.rows].tolist() if area != "none"} == {"L_"}
    visual = space.labels["cole_anticevic"][areas == "L_V1"]
    assert set(visual.tolist()) == {"Visual1"}
    centre = space.positions_of([left])[areas[left.rows] == "L_V1"].mean(axis=0)
    assert centre[1] < -75  # at the back
