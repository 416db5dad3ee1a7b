import json

import nrrd
import numpy as np
import pytest
from fctoolbox_allen import ccf
from fctoolbox_allen.ccf import ids_within, kept_annotation, read_annotation, read_nrrd, read_structures
from fctoolbox_allen.files import ANNOTATION, STRUCTURES
from fctoolbox_allen.grid import read_grid
from fctoolbox_allen.voxel_miniature import _narrow_brain, write_annotation

from fctoolbox import InputError, cache_folder
from fctoolbox.data import sha256_of

LARGE_ID = 614454277  # the largest of the published ones: it fits neither 8 nor 16 bits


def write_volume(path, volume, spacing=25.0, **header):
    header = {"space directions": np.eye(3) * spacing, "space origin": np.zeros(3), **header}
    nrrd.write(str(path), volume, header=header, index_order="F")
    return path


def write_tree(path, *entries):
    path.write_text(json.dumps(list(entries)))
    return path


def entry(id, acronym, *ancestors, order=0):
    return {
        "id": id,
        "acronym": acronym,
        "name": acronym.lower(),
        "structure_id_path": [*ancestors, id],
        "rgb_triplet": [1, 2, 3],
        "graph_order": order,
    }


@pytest.fixture
def volume():
    """6 × 4 × 8 voxels; label 5 on the left, the large id on both sides."""
    volume = np.zeros((6, 4, 8), dtype=np.uint32)
    volume[0:3, 1, 1] = 5
    volume[5, 3, 2] = LARGE_ID
    volume[5, 3, 6:8] = LARGE_ID
    return volume


def test_sizes_and_centroids_by_hand(tmp_path, volume):
    annotation = read_annotation(write_volume(tmp_path / "a.nrrd", volume))
    assert annotation.labels.tolist() == [5, LARGE_ID]
    assert annotation.n_voxels.tolist() == [[3, 0], [1, 2]]
    assert annotation.midline == 100
    np.testing.assert_allclose(annotation.centroid({5}, "left"), [25, 25, 25])
    np.testing.assert_allclose(annotation.centroid({LARGE_ID}, "right"), [125, 75, 162.5])
    # A structure with parts is where their voxels are.
    np.testing.assert_allclose(annotation.centroid({5, LARGE_ID, 99}, "left"), [50, 37.5, 31.25])
    assert np.isnan(annotation.centroid({5}, "right")).all()


def test_left_is_the_half_with_the_smaller_third_index(tmp_path, volume):
    annotation = read_annotation(write_volume(tmp_path / "a.nrrd", volume))
    assert annotation.size({5}, "left") == 3
    assert annotation.size({5}, "right") == 0


def test_runs_count_what_masks_count(tmp_path, rng):
    volume = rng.integers(0, 4, size=(7, 5, 6)).astype(np.uint32)
    annotation = read_annotation(write_volume(tmp_path / "a.nrrd", volume, spacing=10.0))
    for i, label in enumerate(annotation.labels):
        for side, hemisphere in enumerate(("left", "right")):
            voxels = np.argwhere(volume == label)
            voxels = voxels[(voxels[:, 2] >= 3) == bool(side)]
            assert annotation.n_voxels[i, side] == len(voxels)
            np.testing.assert_allclose(annotation.centroid({label}, hemisphere), 10 * voxels.mean(axis=0))


@pytest.mark.parametrize(("spacing", "factor"), [(25.0, 4), (50.0, 2), (100.0, 1), (150.0, 1)])
def test_the_coarse_grid_is_where_its_affine_says(tmp_path, spacing, factor, rng):
    volume = rng.integers(0, 2**31, size=(8, 8, 16)).astype(np.uint32)
    annotation = read_annotation(write_volume(tmp_path / "a.nrrd", volume, spacing))
    assert annotation.grid.shape == tuple(n // factor for n in volume.shape)
    for index in np.ndindex(annotation.grid.shape):
        position = annotation.affine[:3, :3] @ index + annotation.affine[:3, 3]
        assert annotation.grid[index] == volume[tuple((position / spacing).astype(int))]


def test_an_odd_width_has_no_midline(tmp_path):
    path = write_volume(tmp_path / "a.nrrd", np.ones((4, 4, 5), dtype=np.uint32))
    with pytest.raises(InputError, match="5 voxels from left to right, so no midline"):
        read_annotation(path)


@pytest.mark.parametrize("directions", [np.diag([25.0, 25.0, 10.0]), np.diag([-25.0, -25.0, -25.0])])
def test_the_spacing_must_be_one(tmp_path, directions):
    path = write_volume(tmp_path / "a.nrrd", np.ones((4, 4, 4), np.uint32), **{"space directions": directions})
    with pytest.raises(InputError, match="'space directions' must be one spacing in µm"):
        read_annotation(path)


def test_a_header_without_spacing(tmp_path):
    nrrd.write(str(tmp_path / "a.nrrd"), np.ones((4, 4, 4), np.uint32))
    with pytest.raises(InputError, match="'space directions' must be one spacing in µm"):
        read_annotation(tmp_path / "a.nrrd")


@pytest.mark.parametrize("values", [np.ones((4, 4, 4)), np.ones((4, 4), np.uint32)])
def test_other_volumes_are_refused(tmp_path, values):
    nrrd.write(str(tmp_path / "a.nrrd"), values)
    with pytest.raises(InputError, match="structure ids in 3 were expected"):
        read_annotation(tmp_path / "a.nrrd")


def test_what_is_no_nrrd_is_refused(tmp_path):
    (tmp_path / "a.nrrd").write_bytes(b"<html>")
    with pytest.raises(InputError, match="was not read as an NRRD volume"):
        read_annotation(tmp_path / "a.nrrd")


def test_a_summary_is_kept_by_content(tmp_path, volume, monkeypatch):
    path = write_volume(tmp_path / "a.nrrd", volume)
    first = kept_annotation(path)
    other = kept_annotation(write_volume(tmp_path / "b.nrrd", np.roll(volume, 1, axis=0)))
    assert not np.array_equal(first.sums, other.sums)
    monkeypatch.setattr(ccf, "read_annotation", lambda path: pytest.fail("it was read again"))
    again = kept_annotation(path)
    for name in ("labels", "n_voxels", "sums", "midline", "grid", "affine"):
        np.testing.assert_array_equal(getattr(again, name), getattr(first, name))
        assert np.asarray(getattr(again, name)).dtype == np.asarray(getattr(first, name)).dtype


@pytest.mark.parametrize("damage", [b"", b"PK half a file", None])
def test_a_damaged_summary_is_made_anew(tmp_path, volume, damage):
    path = write_volume(tmp_path / "a.nrrd", np.roll(volume, 2, axis=1))
    first = kept_annotation(path)
    (kept,) = (cache_folder() / "allen").glob(f"*{sha256_of(path)[:16]}*.npz")
    kept.write_bytes(kept.read_bytes()[:-100] if damage is None else damage)
    np.testing.assert_array_equal(kept_annotation(path).sums, first.sums)


def test_structures_come_parents_first_and_know_their_parts(tmp_path):
    path = write_tree(
        tmp_path / "tree.json",
        entry(3, "leaf", 1, 2, order=2),
        entry(1, "root", order=0),
        entry(2, "branch", 1, order=1),
        entry(LARGE_ID, "other", 1, order=3),
    )
    structures = read_structures(path)
    assert list(structures) == ["root", "branch", "leaf", "other"]
    assert structures["leaf"].lies_in(structures["branch"])
    assert not structures["branch"].lies_in(structures["leaf"])
    assert ids_within(structures, "branch") == {2, 3}
    assert ids_within(structures, "root") == {1, 2, 3, LARGE_ID}
    with pytest.raises(InputError, match="the structure tree has no 'leef'"):
        ids_within(structures, "leef")


@pytest.mark.parametrize("text", ["[1]", '{"a": 1}', '[{"id": 1}]', '[{"id": "x", "graph_order": 1}]'])
def test_what_is_no_tree_is_refused(tmp_path, text):
    path = tmp_path / "tree.json"
    path.write_text(text)
    with pytest.raises(InputError, match=r"tree\.json is not an Allen structure tree"):
        read_structures(path)


@pytest.mark.parametrize(
    ("n", "message"), [(-1, r"it is not whole \("), (200, r"it is not whole \("), (0, "it is empty")]
)
def test_a_tree_that_was_cut_off_is_told(tmp_path, miniature, n, message):
    path = tmp_path / "tree.json"
    path.write_bytes(miniature.structures.read_bytes().rstrip()[:n])
    with pytest.raises(InputError, match=message) as caught:
        read_structures(path)
    assert f"{path} is cut off, damaged or another file" in str(caught.value)
    assert str(caught.value).endswith("fetch it again")


def test_a_page_in_place_of_the_tree_is_told(tmp_path):
    path = tmp_path / "tree.json"
    path.write_text("<html>")
    with pytest.raises(InputError, match=r"tree\.json is cut off, damaged or another file: it is no JSON"):
        read_structures(path)
    with pytest.raises(InputError, match=r"nowhere\.json cannot be read"):
        read_structures(tmp_path / "nowhere.json")


@pytest.fixture(params=["read_annotation", "read_grid"])
def read_volume(request):
    return {"read_annotation": read_annotation, "read_grid": read_grid}[request.param]


@pytest.mark.parametrize("n", [20, 200, 400, 3000, -12, -9, -4, -1])
def test_an_annotation_that_was_cut_off_is_told(tmp_path, n, read_volume):
    path = tmp_path / "annotation.nrrd"
    write_annotation(path, _narrow_brain())
    read_volume(path)
    path.write_bytes(path.read_bytes()[:n])
    with pytest.raises(InputError) as caught:
        read_volume(path)
    assert str(caught.value).startswith(f"{path} is cut off or damaged: ")
    assert str(caught.value).endswith("; fetch it again")


def test_an_annotation_that_was_altered_is_told(tmp_path, read_volume):
    path = tmp_path / "annotation.nrrd"
    write_annotation(path, _narrow_brain())
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 255
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"annotation\.nrrd is cut off or damaged: .*; fetch it again"):
        read_volume(path)
    path.write_bytes(b"")
    with pytest.raises(InputError, match=r"was not read as an NRRD volume: it is empty; fetch it again"):
        read_volume(path)
    with pytest.raises(InputError, match=r"nowhere\.nrrd cannot be read"):
        read_volume(tmp_path / "nowhere.nrrd")


@pytest.mark.parametrize("encoding", ["raw", "gzip", "bzip2"])
def test_volumes_of_other_encodings_and_in_two_files_are_read(tmp_path, encoding):
    values = np.arange(24, dtype=np.uint32).reshape(2, 3, 4)
    for name in ("a.nrrd", "a.nhdr"):
        nrrd.write(str(tmp_path / name), values, {"encoding": encoding})
        np.testing.assert_array_equal(read_nrrd(tmp_path / name)[0], values)
    for path in [each for each in tmp_path.iterdir() if each.suffix not in (".nhdr", ".nrrd")]:
        path.unlink()
    with pytest.raises(InputError, match=r"a\.nhdr was not read as an NRRD volume"):
        read_nrrd(tmp_path / "a.nhdr")


@pytest.mark.mirror
def test_published_annotation(published):
    annotation = kept_annotation(published(ANNOTATION))
    structures = read_structures(published(STRUCTURES))
    assert len(structures) == 1327
    assert annotation.labels.size == 671  # and 0 outside the brain
    assert annotation.grid.shape == (132, 80, 114)
    assert annotation.midline == 5700
    assert set(annotation.labels.tolist()) <= {structure.id for structure in structures.values()}
    assert annotation.size(ids_within(structures, "SUBd"), "left") == 0
