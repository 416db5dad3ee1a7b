"""Blocks of dense files, and files that are not what they should be."""

import gzip
import struct
import zipfile

import nibabel
import numpy as np
import pytest
from fctoolbox_hcp import dense_files
from fctoolbox_hcp.dense_files import file_record, named_files, open_dense
from fctoolbox_hcp.structures import choose
from nibabel.cifti2 import BrainModelAxis, Cifti2Image, LabelAxis, ParcelsAxis, ScalarAxis, SeriesAxis
from nibabel.nifti2 import Nifti2Header

from fctoolbox.errors import InputError

AFFINE = np.array([[-2.0, 0, 0, 90], [0, 2, 0, -126], [0, 0, 2, -72], [0, 0, 0, 1]])
VERTICES = {"LEFT": [0, 1, 3, 4, 6], "RIGHT": [2, 3, 5]}


def grayordinates(order=("LEFT", "RIGHT")):
    cortices = [BrainModelAxis.from_surface(VERTICES[side], 7, name=f"CIFTI_STRUCTURE_CORTEX_{side}") for side in order]
    voxels = np.array([(10, 20, 30), (11, 20, 30), (10, 21, 30)])
    thalami = [
        BrainModelAxis(
            f"CIFTI_STRUCTURE_THALAMUS_{side}", voxel=voxels + shift, affine=AFFINE, volume_shape=(91, 109, 91)
        )
        for side, shift in (("LEFT", 0), ("RIGHT", 9))
    ]
    return cortices[0] + cortices[1] + thalami[0] + thalami[1]


AXIS = grayordinates()
N = len(AXIS)
VALUES = np.arange(N * N, dtype=np.float32).reshape(N, N) / 7


def written(path, values=VALUES, axes=(AXIS, AXIS)):
    image = Cifti2Image(np.asarray(values, dtype=np.float32), axes)
    image.update_headers()
    image.to_filename(path)
    return path


def parcels():
    return ParcelsAxis.from_brain_models([("A", AXIS[:2]), ("B", AXIS[2:4])])


@pytest.fixture
def dconn(tmp_path):
    return written(tmp_path / "a.dconn.nii")


@pytest.mark.parametrize("gap", [0, 3, dense_files._GAP_VALUES])
def test_a_block_is_what_nibabel_reads_in_any_order(dconn, gap, monkeypatch):
    monkeypatch.setattr(dense_files, "_GAP_VALUES", gap)
    file = open_dense(dconn, ["dconn"], "connectivity")
    assert (file.kind, file.shape, file.dtype) == ("dconn", (N, N), np.float32)
    for lines, within in [([0, 1, 2], [3, 4]), ([5, 0, 13], [12, 0, 7, 8, 1]), ([4], range(N)), ([], [])]:
        lines, within = np.array(lines, dtype=int), np.array(within, dtype=int)
        np.testing.assert_array_equal(file.read(lines, within), VALUES[np.ix_(within, lines)].T)
    assert file.peek(2, 5) == VALUES[5, 2]


def test_slope_and_intercept_are_applied(dconn):
    with dconn.open("r+b") as stream:
        stream.seek(176)  # scl_slope and scl_inter of NIfTI-2
        stream.write(struct.pack("<2d", 0.5, 1.0))
    read = open_dense(dconn, ["dconn"], "connectivity").read(np.arange(N), np.arange(N))
    np.testing.assert_allclose(read, VALUES.T * 0.5 + 1, rtol=1e-6)


def test_the_other_byte_order_is_read(dconn, tmp_path):
    content = dconn.read_bytes()
    offset = open_dense(dconn, ["dconn"], "connectivity").offset
    header = Nifti2Header(content[:540])
    size, code = struct.unpack("<2i", content[544:552])
    swapped = tmp_path / "big.dconn.nii"
    swapped.write_bytes(
        header.as_byteswapped(">").binaryblock
        + content[540:544]
        + struct.pack(">2i", size, code)
        + content[552:offset]
        + np.frombuffer(content[offset:], "<f4").astype(">f4").tobytes()
    )
    file = open_dense(swapped, ["dconn"], "connectivity")
    assert file.dtype == np.dtype(">f4")
    lines, within = np.array([1, 5, 2]), np.array([0, 9])
    np.testing.assert_array_equal(file.read(lines, within), VALUES[np.ix_(within, lines)].T)


def test_a_time_series_has_one_line_for_each_grayordinate(tmp_path):
    series = np.random.default_rng(0).standard_normal((6, N)).astype(np.float32)
    path = written(tmp_path / "a.dtseries.nii", series, (SeriesAxis(0, 0.72, 6), AXIS))
    file = open_dense(path, ["dtseries"], "timeseries")
    np.testing.assert_array_equal(file.read(np.array([3, 1]), np.arange(6)), series[:, [3, 1]].T)


def test_structures_are_found_in_a_file_that_lists_right_before_left(tmp_path):
    turned = grayordinates(("RIGHT", "LEFT"))
    path = written(tmp_path / "turned.dconn.nii", VALUES, (turned, turned))
    file = open_dense(path, ["dconn"], "connectivity")
    ours = choose(dense_files.structures_of(AXIS, "ours"), "CORTEX,THALAMUS_LEFT", "ours")
    assert file.rows_of(ours, "connectivity").tolist() == [3, 4, 5, 6, 7, 0, 1, 2, 8, 9, 10]


def test_grayordinates_are_matched_by_vertex_and_voxel(dconn):
    file = open_dense(dconn, ["dconn"], "connectivity")
    fewer = BrainModelAxis.from_surface([1, 6], 7, name="CIFTI_STRUCTURE_CORTEX_LEFT")
    (left,) = choose(dense_files.structures_of(fewer, "ours"), "CORTEX_LEFT", "ours")
    assert file.rows_of([left], "connectivity").tolist() == [1, 4]
    fewer = BrainModelAxis.from_surface([2, 5], 7, name="CIFTI_STRUCTURE_CORTEX_RIGHT")
    (right,) = choose(dense_files.structures_of(fewer, "ours"), "CORTEX_RIGHT", "ours")
    assert file.rows_of([right], "connectivity").tolist() == [5, 7]
    other = BrainModelAxis.from_surface([1, 2, 5], 7, name="CIFTI_STRUCTURE_CORTEX_LEFT")
    (left,) = choose(dense_files.structures_of(other, "ours"), "CORTEX_LEFT", "ours")
    with pytest.raises(InputError, match=r"a\.dconn\.nii lacks 2 of the 3 grayordinates of CORTEX_LEFT"):
        file.rows_of([left], "connectivity")
    finer = BrainModelAxis.from_surface([1, 6], 9, name="CIFTI_STRUCTURE_CORTEX_LEFT")
    (left,) = choose(dense_files.structures_of(finer, "ours"), "CORTEX_LEFT", "ours")
    with pytest.raises(InputError, match="has CORTEX_LEFT as a mesh of 7 vertices, but 9 vertices are expected"):
        file.rows_of([left], "connectivity")


def test_a_file_of_the_cortex_only_has_no_thalamus(tmp_path):
    cortex = AXIS[:8]
    file = open_dense(written(tmp_path / "a.dconn.nii", VALUES[:8, :8], (cortex, cortex)), ["dconn"], "connectivity")
    thalamus = choose(dense_files.structures_of(AXIS, "ours"), "THALAMUS", "ours")
    with pytest.raises(InputError, match=r"no structure THALAMUS_LEFT.*It has CORTEX_LEFT, CORTEX_RIGHT.*cortex only"):
        file.rows_of(thalamus, "connectivity")


@pytest.mark.parametrize("missing", [1, 40, N * N * 4])
def test_a_file_cut_short_is_found_before_it_is_read(dconn, missing):
    content = dconn.read_bytes()
    dconn.write_bytes(content[:-missing])
    with pytest.raises(InputError, match=rf"a\.dconn\.nii is cut short: .* 14 × 14 numbers, {len(content):,} bytes"):
        open_dense(dconn, ["dconn"], "connectivity")


def test_a_huge_file_cut_short_is_found_at_once(dconn):
    # a hole of 33 GB takes no room; the header says 91,282 × 91,282 numbers
    file = open_dense(dconn, ["dconn"], "connectivity")
    huge = dense_files.DenseFile(dconn, "dconn", (range(91_282), range(91_282)), file.dtype, file.offset)
    with dconn.open("r+b") as stream:
        stream.truncate(33_000_000_000)
    with pytest.raises(InputError, match=r"is cut short: .*33,3[23]\d,.* but it has 33,000,000,000 \(99\.0%\)"):
        dense_files._check_whole(huge)


def test_a_file_that_shrinks_while_it_is_read_is_noticed(dconn):
    file = open_dense(dconn, ["dconn"], "connectivity")
    dconn.write_bytes(dconn.read_bytes()[:-8])
    with pytest.raises(InputError, match="ended while it was being read"):
        file.read(np.array([N - 1]), np.arange(N))


@pytest.mark.parametrize(
    ("name", "axes", "kinds", "message"),
    [
        ("a.dlabel.nii", (LabelAxis(["m"], [{0: ("???", (1, 1, 1, 0))}]), AXIS), ["dconn"], "human-parcellated"),
        ("a.dscalar.nii", (ScalarAxis(["m"]), AXIS), ["dconn"], r"is a \.dscalar\.nii \(maps of numbers"),
        ("a.dtseries.nii", (SeriesAxis(0, 1, 1), AXIS), ["dconn"], "Give it with timeseries="),
        ("a.dconn.nii", (AXIS, AXIS), ["dtseries"], r"connectivity needs \.dtseries\.nii .*Give it with connectivity="),
        ("a.pconn.nii", (parcels(), parcels()), ["dconn"], "Its units are parcels"),
        ("a.ptseries.nii", (SeriesAxis(0, 1, 3), parcels()), ["dtseries"], "Its units are parcels"),
    ],
)
def test_a_file_of_another_kind_is_named(tmp_path, name, axes, kinds, message):
    path = written(tmp_path / name, np.zeros([len(axis) for axis in axes]), axes)
    with pytest.raises(InputError, match=message):
        open_dense(path, kinds, "connectivity")


def test_packed_and_missing_files_are_named(dconn, tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.write(dconn)
    with gzip.open(tmp_path / "a.dconn.nii.gz", "wb") as stream:
        stream.write(dconn.read_bytes())
    with pytest.raises(InputError, match=r"a\.zip, which is a ZIP archive: unpack it"):
        open_dense(tmp_path / "a.zip", ["dconn"], "connectivity")
    with pytest.raises(InputError, match="which is compressed: unpack it"):
        open_dense(tmp_path / "a.dconn.nii.gz", ["dconn"], "connectivity")
    nibabel.save(nibabel.Nifti1Image(np.zeros((2, 2, 2, 3), dtype=np.float32), np.eye(4)), tmp_path / "bold.nii.gz")
    with pytest.raises(InputError, match=r"bold\.nii\.gz, which is a packed volume .*human-parcellated"):
        open_dense(tmp_path / "bold.nii.gz", ["dtseries"], "timeseries")
    with pytest.raises(InputError, match=r"connectivity names .*, which does not exist. Did you mean 'a\.dconn\.nii'"):
        open_dense(tmp_path / "aa.dconn.nii", ["dconn"], "connectivity")
    with pytest.raises(InputError, match="which is a folder"):
        open_dense(tmp_path, ["dconn"], "connectivity")


def test_voxels_without_a_volume_are_refused(dconn):
    content = dconn.read_bytes()
    start, stop = content.index(b"<Volume "), content.index(b"</Volume>") + len(b"</Volume>")
    blank = content[:start] + b" " * (stop - start) + content[stop:]
    dconn.write_bytes(blank)
    with pytest.raises(InputError, match=r"a\.dconn\.nii lists voxels .* but not the volume .*no place in mm"):
        open_dense(dconn, ["dconn"], "connectivity")


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_number_that_is_not_finite_is_named_with_its_row(tmp_path, bad):
    values = VALUES.copy()
    values[9, 4] = bad
    file = open_dense(written(tmp_path / "a.dconn.nii", values), ["dconn"], "connectivity")
    lines, within = np.array([1, 4]), np.array([8, 9])
    with pytest.raises(InputError, match=rf"row 1 \(number 4 of the file.*holds {bad} at position 9"):
        file.read(lines, within, where=lambda row: f"row {row}")
    # outside the block it does no harm; nor where it is to be ignored
    file.read(np.array([1, 2]), within)
    assert file.read(lines, within, ignore=np.array([0, 1])).tolist() == [[0, VALUES[9, 1]], [VALUES[8, 4], 0]]


def test_files_are_named_one_by_one_or_by_a_pattern(tmp_path):
    one, two = tmp_path / "run-1.nii", tmp_path / "run-2.nii"
    for path in (one, two):
        path.touch()
    assert named_files(f"{one}, {two}", "timeseries") == (one, two)
    assert named_files(f"{tmp_path}/run-*.nii", "timeseries") == (one, two)
    assert named_files([one, str(two)], "timeseries") == (one, two)
    comma = tmp_path / "a,b.nii"
    comma.touch()
    assert named_files(str(comma), "timeseries") == (comma,)
    with pytest.raises(InputError, match=r"timeseries is .*but no file has such a name"):
        named_files(f"{tmp_path}/sub-*.nii", "timeseries")
    with pytest.raises(InputError, match=r"timeseries names .*run-1\.nii more than once"):
        named_files(f"{one},{tmp_path}/run-?.nii", "timeseries")
    with pytest.raises(InputError, match="it needs the path of a file"):
        named_files(" ", "timeseries")


def test_a_large_file_is_known_by_its_header_size_and_time(tmp_path, monkeypatch):
    path = tmp_path / "a.dconn.nii"
    path.write_bytes(b"a" * 3_000_000)
    whole, note = file_record(path)
    assert note == ""
    monkeypatch.setattr(dense_files, "_HASHED_WHOLE", 1000)
    partial, note = file_record(path)
    assert note == "a.dconn.nii (0.0 GB): digest of its first megabyte, size and time of change"
    assert partial.sha256 != whole.sha256
    path.write_bytes(b"a" * 3_000_001)
    assert file_record(path)[0].sha256 != partial.sha256
