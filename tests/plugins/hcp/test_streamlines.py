"""Ends of streamlines of three formats, and the grayordinates that they join."""

import gzip
import struct

import nibabel
import numpy as np
import pytest
from fctoolbox_hcp.streamlines import explain_distance, is_tractogram, join, read_ends
from fctoolbox_hcp.tinytrack import write_tinytrack
from nibabel.streamlines import Field, Tractogram, TrkFile

from fctoolbox.errors import InputError

AFFINE = np.array([[-1.25, 0, 0, 78], [0, -1.25, 0, 76], [0, 0, 1.25, -50], [0, 0, 0, 1]])


def lines(n=50, seed=0):
    rng = np.random.default_rng(seed)
    starts = rng.uniform(-60, 60, (n, 1, 3))
    return [start + np.cumsum(rng.normal(0, 1, (rng.integers(1, 30), 3)), axis=0) for start in starts]


def tck(path, streamlines):
    nibabel.streamlines.save(Tractogram(streamlines, affine_to_rasmm=np.eye(4)), str(path))
    return path


def trk(path, streamlines, affine=AFFINE, order="LPS", **header):
    header = {Field.VOXEL_TO_RASMM: affine, Field.VOXEL_SIZES: (1.25,) * 3, Field.DIMENSIONS: (125, 151, 108), **header}
    header[Field.VOXEL_ORDER] = order
    TrkFile(Tractogram(streamlines, affine_to_rasmm=np.eye(4)), header=header).save(str(path))
    return path


def patched(path, offset, content):
    whole = bytearray(path.read_bytes())
    whole[offset : offset + len(content)] = content
    path.write_bytes(whole)
    return path


def ends_of(streamlines):
    return np.array([(line[0], line[-1]) for line in streamlines])


def written(tmp_path, kind, streamlines):
    if kind == "tck":
        return tck(tmp_path / "a.tck", streamlines)
    if kind == "trk":
        return trk(tmp_path / "a.trk", streamlines)
    path = tmp_path / "a.tt.gz"
    write_tinytrack(path, streamlines, [0] * len(streamlines), affine=AFFINE, dimension=(125, 151, 108))
    return path


@pytest.mark.parametrize(("kind", "tolerance"), [("tck", 1e-5), ("trk", 1e-4), ("tt.gz", 1.25 / 64 + 1e-5)])
def test_the_ends_of_each_format(tmp_path, kind, tolerance):
    expected = lines()
    path = written(tmp_path, kind, expected)
    assert is_tractogram(path)
    np.testing.assert_allclose(read_ends(path), ends_of(expected), atol=tolerance)
    assert read_ends(path).dtype == np.float32


@pytest.mark.parametrize("kind", ["tck", "trk", "tt.gz"])
def test_the_content_says_what_a_file_is_not_its_name(tmp_path, kind):
    path = written(tmp_path, kind, lines()).rename(tmp_path / "tractogram")
    np.testing.assert_allclose(read_ends(path), ends_of(lines()), atol=0.03)


def test_more_streamlines_than_are_kept_at_a_time(tmp_path, monkeypatch):
    monkeypatch.setattr("fctoolbox_hcp.streamlines._BLOCK", 16)
    for n in (15, 16, 17, 50):
        expected = lines(n)
        np.testing.assert_allclose(read_ends(tck(tmp_path / "a.tck", expected)), ends_of(expected), atol=1e-5)


def test_left_is_left_whatever_the_order_of_the_voxels(tmp_path):
    line = [np.array([(-30.0, 10, 20), (-31, 11, 21)])]
    ras = np.diag([2.0, 2, 2, 1])
    ras[:3, 3] = -90, -126, -72
    for affine, order in ((AFFINE, "LPS"), (ras, "RAS")):
        np.testing.assert_allclose(read_ends(trk(tmp_path / "a.trk", line, affine, order))[0], line[0], atol=1e-4)


def test_scalars_and_properties_of_a_trk_file_are_passed_over(tmp_path):
    expected = lines(5)
    tractogram = Tractogram(
        expected,
        data_per_point={"fa": [np.ones((len(line), 1)) for line in expected]},
        data_per_streamline={"weight": np.arange(5.0)[:, None]},
        affine_to_rasmm=np.eye(4),
    )
    TrkFile(tractogram, header={Field.VOXEL_TO_RASMM: AFFINE, Field.VOXEL_ORDER: "LPS"}).save(str(tmp_path / "a.trk"))
    np.testing.assert_allclose(read_ends(tmp_path / "a.trk"), ends_of(expected), atol=1e-4)


@pytest.mark.parametrize("kind", ["tck", "trk", "tt.gz"])
@pytest.mark.parametrize("share", [0.5, 0.97])
def test_part_of_a_file_is_refused(tmp_path, kind, share):
    path = written(tmp_path, kind, lines())
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(InputError, match="cut short"):
        read_ends(path)


def test_fewer_streamlines_than_the_header_says_are_refused(tmp_path):
    path = tck(tmp_path / "a.tck", lines(20))
    path.write_bytes(path.read_bytes().replace(b"0000000020", b"0000000021"))
    with pytest.raises(InputError, match=r"holds 20 streamlines, but its header says 21: it was cut short"):
        read_ends(path)
    whole = lines(20)
    path = trk(tmp_path / "a.trk", whole)
    last = 4 + 12 * len(whole[-1])
    path.write_bytes(path.read_bytes()[:-last])
    with pytest.raises(InputError, match=r"holds 19 streamlines, but its header says 20"):
        read_ends(path)


def test_a_count_of_none_is_no_promise(tmp_path):
    path = tck(tmp_path / "a.tck", lines(20))
    path.write_bytes(path.read_bytes().replace(b"0000000020", b"0000000000"))
    assert len(read_ends(path)) == 20


def test_a_trk_header_without_affine_is_refused(tmp_path):
    path = patched(trk(tmp_path / "a.trk", lines(3)), 440, b"\0" * 64)
    with pytest.raises(InputError, match=r"no affine \(vox_to_ras\).*write it again with the reference image"):
        read_ends(path)


def test_a_trk_header_without_order_is_refused(tmp_path):
    path = patched(trk(tmp_path / "a.trk", lines(3)), 948, b"\0" * 4)
    with pytest.raises(InputError, match="does not say how the axes run"):
        read_ends(path)


@pytest.mark.parametrize("kind", ["tck", "trk"])
def test_an_empty_tractogram_is_refused(tmp_path, kind):
    with pytest.raises(InputError, match="holds no streamlines"):
        read_ends(written(tmp_path, kind, []))


def test_ends_that_are_not_finite_are_named(tmp_path):
    path = trk(tmp_path / "a.trk", [np.ones((3, 3))] * 4)
    patched(path, 1000 + 2 * (4 + 36) + 4, struct.pack("<f", np.nan))
    with pytest.raises(InputError, match=r"1 streamlines, the first of them number 2 .* not finite"):
        read_ends(path)


def test_packed_and_other_files_are_told_apart(tmp_path):
    path = tmp_path / "a.tck.gz"
    path.write_bytes(gzip.compress(tck(tmp_path / "a.tck", lines(3)).read_bytes()))
    with pytest.raises(InputError, match=r"packed tractogram: unpack it first \(gunzip a.tck.gz\)"):
        is_tractogram(path)
    other = tmp_path / "other"
    for content in (b"", b"PK\x03\x04", b"some text that is long enough", gzip.compress(b"\0" * 500)):
        other.write_bytes(content)
        assert not is_tractogram(other)
    with pytest.raises(InputError, match="is no tractogram that can be read: TCK, TRK and TinyTrack"):
        read_ends(other)
    with pytest.raises(InputError, match="cannot be read: No such file"):
        is_tractogram(tmp_path / "none.tck")


def test_each_end_counts_for_the_nearest_grayordinate_within_the_distance():
    positions = np.array([(0.0, 0, 0), (10, 0, 0), (12, 0, 0)])
    ends = np.array(
        [
            [(0, 1, 0), (10.9, 0, 0)],  # 0 and 1
            [(11.1, 0, 0), (0, 0, 2)],  # 2 and 0, just within
            [(0, 0, 2.01), (10, 0, 0)],  # too far
            [(0, 0, 0), (0, 0, 1)],  # both ends at 0
        ],
        dtype=np.float32,
    )
    joined = join(ends, positions, 2.0)
    np.testing.assert_array_equal(joined.counts.toarray(), [[2, 1, 1], [1, 0, 0], [1, 0, 0]])
    assert (joined.n_kept, joined.n_streamlines) == (3, 4)
    assert joined.counts.sum() == 2 * joined.n_kept


def test_counts_are_those_of_all_distances_written_out():
    rng = np.random.default_rng(0)
    positions, ends = rng.uniform(0, 30, (200, 3)), rng.uniform(0, 30, (500, 2, 3)).astype(np.float32)
    distances = np.linalg.norm(ends[:, :, None] - positions, axis=3)
    expected = np.zeros((200, 200))
    for (i, j), near in zip(distances.argmin(axis=2), distances.min(axis=2), strict=True):
        if near.max() <= 3:
            expected[i, j] += 1
            expected[j, i] += 1
    joined = join(ends, positions, 3.0)
    assert expected.sum() > 20
    np.testing.assert_array_equal(joined.counts.toarray(), expected)
    assert joined.median_distance == pytest.approx(np.median(distances.min(axis=2)))
    # neither the direction of a streamline nor threads matter
    again = join(ends[:, ::-1], positions, 3.0, n_jobs=2)
    np.testing.assert_array_equal(again.counts.toarray(), expected)


def test_what_is_probably_wrong_with_the_space():
    rng = np.random.default_rng(0)
    mni = rng.uniform(-70, 70, (100, 2, 3)).astype(np.float32)
    assert "look like voxels" in explain_distance(mni / 2 + 45, 30.0)
    assert "look like metres" in explain_distance(mni / 1000, 60.0)
    assert "not in MNI space" in explain_distance(mni * 1.5, 8.0)
    assert "max_distance" in explain_distance(mni, 3.0)
