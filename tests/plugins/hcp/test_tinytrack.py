"""The TinyTrack reader, against files packed by hand and against a decoder that goes point by point."""

import gzip
import struct

import numpy as np
import pytest
from fctoolbox_hcp.files import STREAMLINES
from fctoolbox_hcp.tinytrack import read_tinytrack, read_tinytrack_ends, write_tinytrack

from fctoolbox.data import locate
from fctoolbox.errors import InputError

AFFINE = np.array([[-1.25, 0, 0, 78], [0, -1.25, 0, 76], [0, 0, 1.25, -50], [0, 0, 0, 1]])
# MATLAB-4 type codes: thousands 0 (little endian), tens = 0 double, 1 single, 2 int32, 4 uint16, 5 uint8
CODES = {"f4": 10, "i4": 20, "u2": 40, "u1": 50}


def matlab4(name, kind, values):
    values = np.atleast_2d(np.asarray(values, dtype="<" + kind))
    label = name.encode() + b"\0"
    head = struct.pack("<5i", CODES[kind], *values.shape, 0, len(label))
    return head + label + values.tobytes(order="F")


def packed(start, steps):
    return struct.pack("<I3i", 3 + 3 * len(steps), *start) + np.array(steps, dtype=np.int8).tobytes()


def file_of(path, *lines, clusters=None, affine=AFFINE, without=""):
    clusters = range(len(lines)) if clusters is None else clusters
    records = {
        "dimension": matlab4("dimension", "i4", [[125, 151, 108]]),
        "voxel_size": matlab4("voxel_size", "f4", [[1.25, 1.25, 1.25]]),
        "trans_to_mni": matlab4("trans_to_mni", "f4", affine.reshape(1, 16)),
        "report": matlab4("report", "u1", [list(b" made by hand ")]),
        "cluster": matlab4("cluster", "u2", np.array(list(clusters))[:, None]),
        "track": matlab4("track", "u1", np.frombuffer(b"".join(lines), dtype=np.uint8)[:, None]),
    }
    path.write_bytes(gzip.compress(b"".join(record for name, record in records.items() if name != without)))
    return path


def decoded(path):
    """The same file, read point by point with plain integers."""
    content, at, records = gzip.decompress(path.read_bytes()), 0, {}
    sizes = {10: "<f4", 20: "<i4", 40: "<u2", 50: "u1"}
    while at < len(content):
        code, rows, columns, _, n_label = struct.unpack_from("<5i", content, at)
        label = content[at + 20 : at + 20 + n_label - 1].decode()
        at += 20 + n_label
        records[label] = np.frombuffer(content, sizes[code], rows * columns, at)
        at += rows * columns * records[label].itemsize
    affine, track, lines, at = (
        records["trans_to_mni"].reshape(4, 4).astype(float),
        records["track"].tobytes(),
        [],
        0,
    )
    while at < len(track):
        (n,) = struct.unpack_from("<I", track, at)
        points = [list(struct.unpack_from("<3i", track, at + 4))]
        for step in struct.iter_unpack("<3b", track[at + 16 : at + 13 + n]):
            points.append([a + b for a, b in zip(points[-1], step, strict=True)])
        lines.append(np.array(points) / 32 @ affine[:3, :3].T + affine[:3, 3])
        at += n + 13
    return lines, records["cluster"]


def test_a_streamline_packed_by_hand(tmp_path):
    path = file_of(tmp_path / "one.tt.gz", packed((320, 640, 960), [(32, 0, 0), (0, -64, 0), (0, 0, 1)]))
    tractogram = read_tinytrack(path)
    voxels = np.array([(10, 20, 30), (11, 20, 30), (11, 18, 30), (11, 18, 30 + 1 / 32)])
    np.testing.assert_allclose(tractogram.points, voxels * (-1.25, -1.25, 1.25) + (78, 76, -50), atol=1e-12)
    assert tractogram.offsets.tolist() == [0, 4]


def test_steps_add_up_beyond_int8(tmp_path):
    # 100 steps of 127/32 voxel: a sum in int8 would come back as something between -4 and 4 voxels
    path = file_of(tmp_path / "far.tt.gz", packed((0, 0, 0), [(127, -128, 127)] * 100), affine=np.eye(4))
    first, last = read_tinytrack(path).ends
    np.testing.assert_allclose(last - first, np.array([[127, -128, 127]]) * 100 / 32)


def test_each_streamline_begins_at_its_own_start(tmp_path):
    lines = [
        packed((32, 0, 0), [(1, 2, 3)] * 5),
        packed((-64, 0, 0), []),
        packed((0, 96, 0), [(-1, 0, 0)] * 2),
    ]
    tractogram = read_tinytrack(file_of(tmp_path / "three.tt.gz", *lines, affine=np.eye(4)))
    first, last = tractogram.ends
    assert np.diff(tractogram.offsets).tolist() == [6, 1, 3]
    np.testing.assert_array_equal(first, [(1, 0, 0), (-2, 0, 0), (0, 3, 0)])
    np.testing.assert_array_equal(last, [(1 + 5 / 32, 10 / 32, 15 / 32), (-2, 0, 0), (-2 / 32, 3, 0)])


def test_the_affine_is_stored_row_by_row(tmp_path):
    affine = np.array([[0, 2.0, 0, 5], [3, 0, 0, 6], [0, 0, 4, 7], [0, 0, 0, 1]])
    path = file_of(tmp_path / "turned.tt.gz", packed((32, 64, 96), []), affine=affine)
    np.testing.assert_array_equal(read_tinytrack(path).points, [(2 * 2 + 5, 3 * 1 + 6, 4 * 3 + 7)])


def test_bundles_above_255_keep_their_number(tmp_path):
    path = file_of(tmp_path / "many.tt.gz", packed((0, 0, 0), []), packed((0, 0, 0), []), clusters=[127, 40_000])
    assert read_tinytrack(path).clusters.tolist() == [127, 40_000]


def test_what_was_written_is_read(tmp_path, rng):
    lines = [np.cumsum(rng.uniform(-4, 4, (n, 3)), axis=0) for n in (1, 2, 50, 7)]
    path = tmp_path / "round.tt.gz"
    write_tinytrack(path, lines, [3, 0, 300, 3], affine=AFFINE, dimension=(125, 151, 108))
    tractogram = read_tinytrack(path)
    assert tractogram.clusters.tolist() == [3, 0, 300, 3]
    assert np.diff(tractogram.offsets).tolist() == [1, 2, 50, 7]
    # rounded to 1/32 voxel each, without an error that grows along the streamline
    assert np.abs(tractogram.points - np.concatenate(lines)).max() <= 1.25 / 64 + 1e-9


def test_writing_what_was_read_changes_nothing(tmp_path, rng):
    first, second = tmp_path / "a.tt.gz", tmp_path / "b.tt.gz"
    lines = [np.cumsum(rng.uniform(-4, 4, (20, 3)), axis=0) for _ in range(5)]
    write_tinytrack(first, lines, range(5), affine=AFFINE, dimension=(125, 151, 108))
    tractogram = read_tinytrack(first)
    again = np.split(tractogram.points, tractogram.offsets[1:-1])
    write_tinytrack(second, again, tractogram.clusters, affine=AFFINE, dimension=(125, 151, 108))
    assert first.read_bytes() == second.read_bytes()
    assert first.read_bytes()[4:8] == bytes(4)  # no time stamp


def test_the_writer_keeps_the_published_layout(tmp_path, rng):
    path = tmp_path / "layout.tt.gz"
    lines = [np.cumsum(rng.uniform(-4, 4, (30, 3)), axis=0) for _ in range(4)]
    write_tinytrack(path, lines, [0, 1, 1, 2], affine=AFFINE, dimension=(125, 151, 108))
    expected, clusters = decoded(path)
    tractogram = read_tinytrack(path)
    np.testing.assert_array_equal(tractogram.points, np.concatenate(expected))
    np.testing.assert_array_equal(tractogram.clusters, clusters)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 0.999])
def test_a_file_cut_short_is_refused(tmp_path, rng, share):
    path = file_of(tmp_path / "whole.tt.gz", *[packed((0, 0, 0), rng.integers(-9, 9, (40, 3)))] * 20)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(InputError, match=r"whole\.tt\.gz"):
        read_tinytrack(path)


def test_a_record_cut_short_is_refused(tmp_path):
    path = file_of(tmp_path / "inner.tt.gz", packed((0, 0, 0), [(1, 1, 1)] * 9))
    path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes())[:-5]))
    with pytest.raises(InputError, match="damaged one"):
        read_tinytrack(path)


@pytest.mark.parametrize(
    "content",
    [b"not a gzip file", gzip.compress(b"not MATLAB records", mtime=0), gzip.compress(b"", mtime=0)],
    ids=["no gzip", "no records", "empty"],  # the same in every process that shares the tests
)
def test_other_files_are_refused(tmp_path, content):
    path = tmp_path / "other.tt.gz"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"other\.tt\.gz"):
        read_tinytrack(path)


@pytest.mark.parametrize("name", ["track", "cluster", "trans_to_mni"])
def test_a_missing_record_is_named(tmp_path, name):
    with pytest.raises(InputError, match=f"no record {name}; a TinyTrack file needs trans_to_mni, cluster, track"):
        read_tinytrack(file_of(tmp_path / "less.tt.gz", packed((0, 0, 0), []), without=name))


def test_as_many_bundle_numbers_as_streamlines(tmp_path):
    with pytest.raises(InputError, match=r"2 streamlines, but .* names the bundle of 3"):
        read_tinytrack(file_of(tmp_path / "odd.tt.gz", *[packed((0, 0, 0), [])] * 2, clusters=[0, 1, 1]))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            struct.pack("<I3i", 5, 0, 0, 0) + b"\0\0",
            "streamline 1 .* has 5 coordinates, which is no multiple of 3",
        ),
        (struct.pack("<I3i", 0, 0, 0, 0), "streamline 1 .* has 0 coordinates, which is no multiple of 3"),
        (struct.pack("<I3i", 300, 0, 0, 0), "has 300 coordinates, which is more than the record still holds"),
        (b"\3\0", "more than the record still holds"),
    ],
)
def test_damaged_lengths_are_named(tmp_path, line, message):
    with pytest.raises(InputError, match=message):
        read_tinytrack(file_of(tmp_path / "bad.tt.gz", packed((0, 0, 0), [(1, 1, 1)]), line))


def test_damage_anywhere_never_escapes_as_another_error(tmp_path, rng):
    path = file_of(tmp_path / "flipped.tt.gz", *[packed((0, 0, 0), [(1, 1, 1)] * 4)] * 3)
    whole = gzip.decompress(path.read_bytes())
    refused = 0
    for at in rng.integers(0, len(whole), 300):
        damaged = bytearray(whole)
        damaged[at] ^= int(rng.integers(1, 256))
        path.write_bytes(gzip.compress(bytes(damaged), compresslevel=1))
        try:
            read_tinytrack(path)
        except InputError:
            refused += 1
    assert refused > 50


def test_what_int8_cannot_hold_is_not_written(tmp_path):
    settings = {"affine": AFFINE, "dimension": (125, 151, 108)}
    path = tmp_path / "never.tt.gz"
    with pytest.raises(InputError, match=r"streamline 0 moves 8\.0 voxels from its point 0 .* add points between"):
        write_tinytrack(path, [np.array([(0, 0, 0), (10, 0, 0)])], [0], **settings)
    with pytest.raises(InputError, match="between 0 and 65535, but these do not: 65536"):
        write_tinytrack(path, [np.zeros((2, 3))], [65_536], **settings)
    with pytest.raises(InputError, match="1 streamlines, but 2 clusters"):
        write_tinytrack(path, [np.zeros((2, 3))], [0, 0], **settings)
    with pytest.raises(InputError, match="finite points in 3 columns"):
        write_tinytrack(path, [np.full((2, 3), np.nan)], [0], **settings)
    assert not path.exists()


@pytest.mark.mirror
def test_the_published_template():
    path = locate(STREAMLINES)
    if path is None:
        pytest.skip("the streamlines are not in FCTOOLBOX_MIRROR")
    tractogram = read_tinytrack(path)
    assert len(tractogram) == 29_611
    assert len(tractogram.points) == 1_906_976
    assert np.unique(tractogram.clusters).tolist() == list(range(238))
    lines, clusters = decoded(path)
    np.testing.assert_array_equal(tractogram.clusters, clusters)
    np.testing.assert_array_equal(tractogram.points, np.concatenate(lines))


def test_the_ends_alone_need_no_clusters(tmp_path):
    lines = (
        packed((320, 640, -32), [(127, -128, 5)] * 300),
        packed((1, 2, 3), []),
        packed((-7, 0, 9), [(1, 2, 3), (-1, 0, 0)]),
    )
    whole = read_tinytrack(file_of(tmp_path / "a.tt.gz", *lines))
    bare = file_of(tmp_path / "b.tt.gz", *lines, without="cluster")
    for ours, theirs in zip(read_tinytrack_ends(bare), whole.ends, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-12)
    with pytest.raises(InputError, match="has no record cluster"):
        read_tinytrack(bare)
    with pytest.raises(InputError, match="has no record trans_to_mni"):
        read_tinytrack_ends(file_of(tmp_path / "c.tt.gz", *lines, without="trans_to_mni"))
