"""Projections from streamlines, sparse matrices and dense connectomes, and what is wrong with others."""

import zipfile

import nibabel
import numpy as np
import pytest
from fctoolbox_hcp import files
from fctoolbox_hcp.cifti import brain_models
from fctoolbox_hcp.miniature import write_miniature
from fctoolbox_hcp.projection_files import read_projection
from fctoolbox_hcp.smoothing import Grayordinates, kernel_of
from fctoolbox_hcp.structures import choose, structures_of, template_axis
from fctoolbox_hcp.tinytrack import read_tinytrack_ends
from nibabel.streamlines import Tractogram
from scipy import sparse
from scipy.spatial import cKDTree

from fctoolbox.data import locate
from fctoolbox.errors import InputError


class Brain:
    """The small template's grayordinates, surfaces and streamlines."""

    def __init__(self, folder):
        self.paths, _ = write_miniature(folder)
        self.axis = brain_models(self.paths.grayordinates)
        self.structures = structures_of(self.axis, "mini")
        self.surfaces = {
            f"CORTEX_{side.upper()}": tuple(array.data for array in nibabel.load(path).darrays)
            for side, path in self.paths.cortex.items()
        }
        self.targets = choose(self.structures, "CORTEX_LEFT", "mini")
        self.sources = choose(self.structures, "THALAMUS", "mini")
        self.n = len(self.axis)
        self.rows, self.columns = (
            np.concatenate([np.arange(self.n)[each.rows] for each in chosen]) for chosen in (self.targets, self.sources)
        )

    def read(self, path, **options):
        options = {
            "targets": self.targets,
            "sources": self.sources,
            "surfaces": self.surfaces,
            "structures": self.structures,
            **options,
        }
        return read_projection(path, options.pop("targets"), options.pop("sources"), **options)

    def among(self):
        return Grayordinates.of(self.structures.values(), self.surfaces)


@pytest.fixture(scope="module")
def brain(tmp_path_factory):
    return Brain(tmp_path_factory.mktemp("mini"))


def dense(weights):
    return weights.toarray() if sparse.issparse(weights) else weights


def symmetric(brain, seed=0, density=0.02):
    half = sparse.random_array((brain.n, brain.n), density=density, rng=seed, dtype=np.float32)
    return sparse.csr_array(half + half.T)


def npz(path, matrix):
    sparse.save_npz(path, matrix)
    return path


def dconn(path, matrix, axes):
    from nibabel.cifti2 import Cifti2Image

    image = Cifti2Image(np.asarray(matrix, dtype=np.float32), axes)
    image.update_headers()
    image.to_filename(path)
    return path


def test_streamlines_without_smoothing_are_counted(brain):
    weights, notes = brain.read(brain.paths.streamlines, fwhm=0, max_distance=8.0, sources=brain.sources[:1])
    positions = brain.among().positions
    first, last = read_tinytrack_ends(brain.paths.streamlines)
    expected = np.zeros((brain.n, brain.n))
    near = [cKDTree(positions).query(end.astype(np.float32)) for end in (first, last)]
    for d1, i, d2, j in zip(*near[0], *near[1], strict=True):
        if max(d1, d2) <= 8:
            expected[i, j] += 1
            expected[j, i] += 1
    assert weights.dtype == np.float32
    np.testing.assert_array_equal(dense(weights), expected[brain.rows][:, brain.columns[: weights.shape[1]]])
    n_near = int(expected.sum() / 2)
    assert notes["Streamlines"].startswith(f"{n_near:,} of {len(first):,} ({n_near / len(first):.1%}) have both ends")
    assert notes["Smoothing"] == "none"


def test_streamlines_are_smoothed_with_6_mm_unless_told_otherwise(brain):
    options = {"max_distance": 8.0, "sources": brain.sources[:1]}
    weights, notes = brain.read(brain.paths.streamlines, **options)
    six, _ = brain.read(brain.paths.streamlines, fwhm=6.0, **options)
    np.testing.assert_array_equal(weights, six)
    counts = dense(brain.read(brain.paths.streamlines, fwhm=0, **options)[0])
    kernels = [kernel_of([each], brain.among(), 6.0).toarray() for each in (brain.targets[0], brain.sources[0])]
    # in this brain nothing but the left thalamus is joined to the left cortex, and the thalami lie far apart
    expected = kernels[0][:, brain.rows] @ counts @ kernels[1][:, brain.columns[: counts.shape[1]]].T
    np.testing.assert_allclose(weights, expected, atol=1e-5)
    assert "FWHM 6 mm" in notes["Smoothing"]
    assert "all structures" in notes["Smoothing"]


@pytest.mark.parametrize("kind", ["tck", "trk"])
def test_formats_agree(brain, tmp_path, kind):
    first, last = read_tinytrack_ends(brain.paths.streamlines)
    path = tmp_path / f"same.{kind}"
    pairs = Tractogram(list(np.stack([first, last], axis=1)), affine_to_rasmm=np.eye(4))
    nibabel.streamlines.save(pairs, str(path))
    ours, _ = brain.read(path, max_distance=8.0, sources=brain.sources[:1])
    theirs, _ = brain.read(brain.paths.streamlines, max_distance=8.0, sources=brain.sources[:1])
    np.testing.assert_allclose(ours, theirs, atol=1e-4 * theirs.max())


def test_the_chosen_structures_alone_get_ends_that_are_nearer_to_others(brain, tmp_path):
    """An end beside the right thalamus: its own when all compete, the left one's when only that is there."""
    left, right = brain.sources
    middle = (left.positions[np.argmax(left.positions[:, 0])] + right.positions[np.argmin(right.positions[:, 0])]) / 2
    middle[0] += 0.5
    vertex = brain.surfaces["CORTEX_LEFT"][0][brain.targets[0].vertices[5]]
    path = tmp_path / "one.tck"
    inside = np.array([vertex, left.positions[0]])
    nibabel.streamlines.save(Tractogram([np.array([vertex, middle]), inside], affine_to_rasmm=np.eye(4)), str(path))
    options = {"sources": (left,), "fwhm": 0, "max_distance": 50.0}
    assert brain.read(path, **options)[0].sum() == 1
    weights, notes = brain.read(path, **options, grayordinates="chosen")
    assert weights.sum() == 2
    smooth = brain.read(path, **{**options, "fwhm": 6.0}, grayordinates="chosen")
    assert smooth[0].sum(dtype=np.float64) == pytest.approx(2, rel=1e-6)
    assert "chosen structures only" in smooth[1]["Smoothing"]


@pytest.mark.parametrize("form", ["csr", "csc", "coo"])
def test_a_symmetric_matrix_is_taken_as_it_is(brain, tmp_path, form):
    matrix = symmetric(brain)
    weights, notes = brain.read(npz(tmp_path / "a.npz", matrix.asformat(form)))
    np.testing.assert_array_equal(dense(weights), matrix.toarray()[brain.rows][:, brain.columns])
    assert notes["Projection matrix"] == "symmetric"
    assert "Smoothing" not in notes


@pytest.mark.parametrize("part", [sparse.triu, sparse.tril])
@pytest.mark.parametrize("fwhm", [None, 6.0])
@pytest.mark.parametrize("names", [("CORTEX_LEFT", "THALAMUS"), ("CORTEX_RIGHT", "CORTEX_LEFT,THALAMUS_LEFT")])
def test_half_a_matrix_stands_for_both_halves(brain, tmp_path, part, fwhm, names):
    targets, sources = (choose(brain.structures, each, "mini") for each in names)
    matrix = symmetric(brain)
    whole, _ = brain.read(npz(tmp_path / "a.npz", matrix), targets=targets, sources=sources, fwhm=fwhm)
    half, notes = brain.read(npz(tmp_path / "b.npz", part(matrix)), targets=targets, sources=sources, fwhm=fwhm)
    np.testing.assert_allclose(dense(half), dense(whole), rtol=1e-6)
    assert notes["Projection matrix"].startswith("one half")


def test_zeros_that_are_stored_are_no_weights(brain, tmp_path):
    matrix = symmetric(brain).tocoo()
    lower = matrix.coords[0] > matrix.coords[1]
    matrix.data[lower] = 0
    weights, notes = brain.read(npz(tmp_path / "a.npz", matrix))
    np.testing.assert_array_equal(dense(weights), symmetric(brain).toarray()[brain.rows][:, brain.columns])
    assert notes["Projection matrix"].startswith("one half")


@pytest.mark.parametrize("fwhm", [None, 6.0])
def test_a_matrix_with_a_direction_says_nothing_until_it_is_known(brain, tmp_path, fwhm):
    matrix = sparse.random_array((brain.n, brain.n), density=0.02, rng=0, dtype=np.float32)
    path = npz(tmp_path / "a.npz", matrix)
    with pytest.raises(InputError, match=r"not symmetric .*direction='rows' if row i holds what grayordinate i"):
        brain.read(path, fwhm=fwhm)
    by_rows, notes = brain.read(path, direction="rows", fwhm=fwhm)
    by_columns, _ = brain.read(path, direction="columns", fwhm=fwhm)
    kernels = [np.eye(brain.n)[index] for index in (brain.rows, brain.columns)]
    if fwhm:
        kernels = [kernel_of(chosen, brain.among(), fwhm).toarray() for chosen in (brain.targets, brain.sources)]
    np.testing.assert_allclose(dense(by_rows), kernels[0] @ matrix.toarray() @ kernels[1].T, atol=1e-6)
    np.testing.assert_allclose(dense(by_columns), kernels[0] @ matrix.toarray().T @ kernels[1].T, atol=1e-6)
    assert notes["Projection matrix"] == "rows hold what a grayordinate receives"


def test_one_direction_that_is_there_is_the_one_that_is_taken(brain, tmp_path):
    matrix = sparse.lil_array((brain.n, brain.n), dtype=np.float32)
    block = np.random.default_rng(0).uniform(1, 2, (len(brain.columns), len(brain.rows)))
    matrix[np.ix_(brain.columns, brain.rows)] = block
    matrix[3, 2] = matrix[2, 700] = 1  # neither triangle is empty
    weights, notes = brain.read(npz(tmp_path / "a.npz", matrix.tocsr()))
    np.testing.assert_allclose(dense(weights), block.T, rtol=1e-6)
    assert notes["Projection matrix"].startswith("only one direction is filled (targets are columns)")


def test_the_wanted_block_alone_will_do(brain, tmp_path):
    block = symmetric(brain)[brain.rows][:, brain.columns]
    path = npz(tmp_path / "a.npz", block)
    weights, notes = brain.read(path)
    np.testing.assert_array_equal(dense(weights), block.toarray())
    with pytest.raises(InputError, match="smoothing needs the whole matrix"):
        brain.read(path, fwhm=6.0)
    with pytest.raises(InputError, match=r"direction is 'columns', but .* so it is known: leave it out"):
        brain.read(path, direction="columns")
    with pytest.raises(InputError, match="sources × targets: transpose it"):
        brain.read(npz(path, block.T.tocsr()))


def test_integers_do_not_overflow(brain, tmp_path):
    i, j = int(brain.rows[0]), int(brain.columns[0])
    ends = np.array([[i, j] * 200, [j, i] * 200])
    matrix = sparse.coo_array((np.ones(400, dtype=np.int8), tuple(ends)), shape=(brain.n, brain.n))
    weights, _ = brain.read(npz(tmp_path / "a.npz", matrix), sources=brain.sources[:1])
    assert dense(weights)[0, 0] == 200


def test_smoothing_a_matrix_is_smoothing_its_streamlines(brain, tmp_path):
    positions = brain.among().positions
    first, last = (end.astype(np.float32) for end in read_tinytrack_ends(brain.paths.streamlines))
    (d1, i), (d2, j) = (cKDTree(positions).query(end) for end in (first, last))
    near = np.maximum(d1, d2) <= 8
    one_way = sparse.coo_array((np.ones(near.sum()), (i[near], j[near])), shape=(brain.n, brain.n)).tocsr()
    path = npz(tmp_path / "a.npz", one_way + one_way.T)
    for grayordinates in ("all", "chosen"):
        ours, notes = brain.read(path, fwhm=6.0, grayordinates=grayordinates, sources=brain.sources[:1])
        if grayordinates == "all":
            theirs, _ = brain.read(brain.paths.streamlines, max_distance=8.0, sources=brain.sources[:1])
            np.testing.assert_allclose(ours, theirs, atol=1e-6)
        assert "FWHM 6 mm" in notes["Smoothing"]


@pytest.mark.parametrize("swapped", [False, True])
def test_a_dense_connectome_goes_by_name_not_by_place(brain, tmp_path, swapped):
    matrix = np.random.default_rng(0).uniform(0, 1, (brain.n, brain.n)).astype(np.float32)
    matrix += matrix.T
    order = np.arange(brain.n)
    if swapped:  # right before left, cortex last
        order = np.concatenate([order[brain.structures[name].rows] for name in [*brain.structures][::-1]])
    axis = brain.axis[order]
    path = dconn(tmp_path / "a.dconn.nii", matrix[np.ix_(order, order)], (axis, axis))
    weights, notes = brain.read(path)
    np.testing.assert_array_equal(weights, matrix[np.ix_(brain.rows, brain.columns)])
    assert notes["Projection matrix"] == "symmetric"


def test_a_dense_connectome_with_a_direction(brain, tmp_path):
    matrix = np.random.default_rng(0).uniform(0, 1, (brain.n, brain.n)).astype(np.float32)
    path = dconn(tmp_path / "a.dconn.nii", matrix, (brain.axis, brain.axis))
    with pytest.raises(InputError, match="not symmetric"):
        brain.read(path)
    np.testing.assert_array_equal(brain.read(path, direction="rows")[0], matrix[np.ix_(brain.rows, brain.columns)])
    np.testing.assert_array_equal(brain.read(path, direction="columns")[0], matrix.T[np.ix_(brain.rows, brain.columns)])
    with pytest.raises(InputError, match=r"fwhm is 6, but .* is a dense matrix"):
        brain.read(path, fwhm=6.0)


def test_a_file_that_is_none_of_these_is_refused(brain, tmp_path):
    path = tmp_path / "a.dconn.nii"
    path.write_text("some text, and no header of any kind")
    with pytest.raises(InputError, match=r"a.dconn.nii is nothing that a projection can be read from: a tractogram"):
        brain.read(path)
    nibabel.save(nibabel.Nifti1Image(np.zeros((3, 3, 3)), np.eye(4)), tmp_path / "a.nii")
    with pytest.raises(InputError, match=r"a.nii is a Nifti1Image, not a CIFTI-2 file"):
        brain.read(tmp_path / "a.nii")
    with pytest.raises(InputError, match=r"but projection needs .dconn.nii"):
        brain.read(brain.paths.grayordinates)
    with pytest.raises(InputError, match=r"none.npz cannot be read"):
        brain.read(tmp_path / "none.npz")


@pytest.mark.parametrize(
    ("size", "known"),
    [(59_412, "the cortex only, both sides without"), (29_696, "the left cortex only"), (1234, "1,234 weights;")],
)
def test_a_matrix_of_another_size_is_refused(brain, tmp_path, size, known):
    path = npz(tmp_path / "a.npz", sparse.csr_array((size, size), dtype=np.float32))
    with pytest.raises(InputError, match=rf"{known}.*it needs all {brain.n:,} × {brain.n:,} grayordinates"):
        brain.read(path)


def test_damaged_and_other_archives_are_refused(brain, tmp_path):
    path = npz(tmp_path / "a.npz", symmetric(brain))
    whole = path.read_bytes()
    for share in (0.3, 0.99):
        path.write_bytes(whole[: int(share * len(whole))])
        with pytest.raises(InputError, match=r"is no whole NPZ file .* was it cut short"):
            brain.read(path)
    damaged = bytearray(whole)
    damaged[len(whole) // 2 : len(whole) // 2 + 200] = b"\0" * 200
    path.write_bytes(damaged)
    with pytest.raises(InputError, match="is no whole NPZ file"):
        brain.read(path)
    np.savez(path, weights=np.eye(3))
    with pytest.raises(InputError, match=r"holds weights, but no sparse matrix; write it with scipy.sparse.save_npz"):
        brain.read(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("HCP.dconn.nii", b"")
    with pytest.raises(InputError, match=r"is a ZIP archive: unpack it \(unzip\) and name HCP.dconn.nii"):
        brain.read(path)


@pytest.mark.parametrize(("value", "kind"), [(np.nan, "not finite"), (np.inf, "not finite"), (-1.0, "negative")])
@pytest.mark.parametrize("is_dense", [False, True])
def test_weights_that_are_none_are_named(brain, tmp_path, value, kind, is_dense):
    matrix = symmetric(brain).toarray()
    i, j = brain.rows[7], brain.columns[11]
    matrix[i, j] = matrix[j, i] = value
    if is_dense:
        path = dconn(tmp_path / "a.dconn.nii", matrix, (brain.axis, brain.axis))
    else:
        path = npz(tmp_path / "a.npz", sparse.csr_array(matrix))
    vertex, voxel = brain.targets[0].names[7], brain.sources[0].names[11]
    wanted = rf"1 weights are {kind}, the first between {voxel} and {vertex}"
    if is_dense and kind == "not finite":
        wanted = "every number must be finite"
    with pytest.raises(InputError, match=wanted):
        brain.read(path)


def test_what_smoothing_would_spread_is_refused_wherever_it_is(brain, tmp_path):
    matrix = symmetric(brain).tolil()
    right = brain.structures["CORTEX_RIGHT"].rows.start
    matrix[right, right + 1] = matrix[right + 1, right] = -1
    path = npz(tmp_path / "a.npz", matrix.tocsr())
    assert brain.read(path)[0].min() >= 0
    with pytest.raises(InputError, match="smoothing would spread them"):
        brain.read(path, fwhm=6.0)


def test_structures_without_any_weight_are_refused_and_voxels_without_are_counted(brain, tmp_path):
    matrix = symmetric(brain).tolil()
    matrix[:, brain.columns[:3]] = 0
    matrix[brain.columns[:3]] = 0
    _, notes = brain.read(npz(tmp_path / "a.npz", matrix.tocsr()))
    assert notes["Empty sources"] == f"3 of {len(brain.columns):,} sources have no weight (THALAMUS_LEFT 3)"
    left = brain.structures["THALAMUS_LEFT"].rows
    matrix[:, left] = 0
    matrix[left] = 0
    path = npz(tmp_path / "a.npz", matrix.tocsr())
    with pytest.raises(InputError, match=r"no weight at all for THALAMUS_LEFT: leave it out of sources, or look"):
        brain.read(path)
    brain.read(path, sources=brain.sources[1:])
    with pytest.raises(InputError, match=r"no weight at all for THALAMUS_RIGHT: leave it out of sources$"):
        brain.read(brain.paths.streamlines, max_distance=8.0, fwhm=0)


def moved(brain, path, move):
    ends = move(np.stack(read_tinytrack_ends(brain.paths.streamlines), axis=1))
    nibabel.streamlines.save(Tractogram(list(ends), affine_to_rasmm=np.eye(4)), str(path))
    return path


def test_streamlines_in_another_space_are_refused(brain, tmp_path):
    voxels = moved(brain, tmp_path / "voxels.tck", lambda ends: (ends + (90, 126, 72)) / 2)
    with pytest.raises(
        InputError, match=r"none of the [\d,]+ streamlines .* the median distance .* is \d\d\.\d mm: .*look like voxels"
    ):
        brain.read(voxels, max_distance=0.5)
    far = moved(brain, tmp_path / "far.tck", lambda ends: 2 * ends)
    with pytest.raises(InputError, match="probably not in MNI space: warp the streamlines"):
        brain.read(far)


def test_streamlines_between_other_structures_are_told_which(brain):
    with pytest.raises(InputError, match=r"none of them joins THALAMUS_RIGHT and CORTEX_LEFT; they join .*THALAMUS"):
        brain.read(brain.paths.streamlines, max_distance=8.0, sources=brain.sources[1:])


def test_options_that_cannot_be(brain, tmp_path):
    path = brain.paths.streamlines
    for option, value, message in (
        ("fwhm", -1, "fwhm is -1; it must be a number of mm, 0 for none"),
        ("max_distance", 0, "max_distance is 0; it must be a positive number of mm"),
        ("epsilon", 1.0, "epsilon is 1.0; it must lie between 0 and 1"),
        ("grayordinates", "choosen", r"grayordinates is 'choosen'. Did you mean 'chosen'\?"),
        ("direction", "row", r"direction is 'row'. Did you mean 'rows'\?"),
        ("direction", "rows", "holds streamlines, which have none: leave it out"),
        ("surfaces", {"CORTEX_LEFT": brain.surfaces["CORTEX_LEFT"]}, "there is no surface for CORTEX_RIGHT"),
    ):
        with pytest.raises(InputError, match=message):
            brain.read(path, **{option: value})


def test_grayordinates_of_another_mesh_are_refused(brain):
    from dataclasses import replace

    other = replace(brain.targets[0], vertices=brain.targets[0].vertices[::-1])
    with pytest.raises(InputError, match=r"CORTEX_LEFT has .* all must be of one mesh and one grid"):
        brain.read(brain.paths.streamlines, targets=(other,))
    unknown = replace(brain.targets[0], name="CEREBELLUM_LEFT")
    with pytest.raises(InputError, match=r"has no CEREBELLUM_LEFT.* It has CORTEX_LEFT"):
        brain.read(brain.paths.streamlines, targets=(unknown,))


@pytest.mark.mirror
def test_the_real_template_on_all_grayordinates():
    needed = (files.GRAYORDINATES, files.STREAMLINES, *files.MIDTHICKNESS.values())
    if not all(map(locate, needed)):
        pytest.skip("FCTOOLBOX_MIRROR does not have the data")
    structures = structures_of(template_axis(), "template")
    surfaces = {
        f"CORTEX_{side.upper()}": tuple(array.data for array in nibabel.load(locate(file)).darrays)
        for side, file in files.MIDTHICKNESS.items()
    }
    targets, sources = choose(structures, "CORTEX_LEFT", "template"), choose(structures, "THALAMUS", "template")
    path, options = locate(files.STREAMLINES), {"surfaces": surfaces, "structures": structures}
    weights, notes = read_projection(path, targets, sources, **options)
    assert weights.shape == (29_696, 2_536)
    assert notes["Streamlines"].startswith("6,787 of 29,611 (22.9%)")
    assert "2,109 of them join" in notes["Streamlines"]
    assert notes["Empty targets"].startswith("15,286 of 29,696")
    chosen, notes = read_projection(path, targets, sources, **options, grayordinates="chosen")
    assert chosen.sum(dtype=np.float64) == pytest.approx(2_193, rel=1e-6)
    assert notes["Empty targets"].startswith("15,373 of 29,696")
    assert notes["Empty sources"].startswith("1,148 of 2,536")
