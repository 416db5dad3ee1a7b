"""Thalamus voxels."""

import numpy as np
import pytest
from fctoolbox_atlases import load_atlas
from fctoolbox_hcp.files import GRAYORDINATES
from fctoolbox_hcp.grayordinates import read_thalamus
from fctoolbox_hcp.miniature import write_miniature

from fctoolbox.data import locate
from fctoolbox.errors import InputError


@pytest.fixture(scope="module")
def paths(tmp_path_factory):
    return write_miniature(tmp_path_factory.mktemp("mini"))[0]


def test_voxels_lie_where_their_indices_say(paths):
    voxels = read_thalamus(paths.grayordinates)
    i, j, k = voxels.indices.T
    np.testing.assert_allclose(voxels.positions, np.stack([90 - 2 * i, 2 * j - 126, 2 * k - 72], axis=1))


def test_left_is_left(paths):
    voxels = read_thalamus(paths.grayordinates)
    assert (voxels.positions[voxels.hemispheres == "left", 0] < 0).all()
    assert (voxels.positions[voxels.hemispheres == "right", 0] > 0).all()
    assert voxels.names[0] == "thalamus-left-{}-{}-{}".format(*voxels.indices[0])
    assert len(set(voxels.names)) == len(voxels)


def test_one_side_is_part_of_both(paths):
    both, right = read_thalamus(paths.grayordinates), read_thalamus(paths.grayordinates, ("right",))
    np.testing.assert_array_equal(both.indices[both.hemispheres == "right"], right.indices)
    assert set(right.hemispheres) == {"right"}


def test_a_file_without_a_thalamus(tmp_path):
    from nibabel.cifti2 import BrainModelAxis, Cifti2Image, ScalarAxis

    cortex = BrainModelAxis.from_surface(np.arange(9), 9, name="CIFTI_STRUCTURE_CORTEX_LEFT")
    path = tmp_path / "cortex.dscalar.nii"
    Cifti2Image(np.ones((1, 9), dtype=np.float32), (ScalarAxis(["ones"]), cortex)).to_filename(path)
    with pytest.raises(InputError, match="has no left thalamus; its structures are CIFTI_STRUCTURE_CORTEX_LEFT"):
        read_thalamus(path, ("left",))


@pytest.mark.mirror
def test_the_published_grayordinates():
    path = locate(GRAYORDINATES)
    if path is None:
        pytest.skip("ones.dscalar.nii is not in FCTOOLBOX_MIRROR")
    voxels = read_thalamus(path)
    atlas = load_atlas("cifti-91282")
    rows = atlas.rows("structure", ["CIFTI_STRUCTURE_THALAMUS_LEFT", "CIFTI_STRUCTURE_THALAMUS_RIGHT"])
    counts = [int((voxels.hemispheres == side).sum()) for side in ("left", "right")]
    assert counts == [1288, 1248] == atlas["count"][rows].tolist()
    # the two thalami touch at the midline
    assert voxels.positions[voxels.hemispheres == "left", 0].max() <= 0
    assert voxels.positions[voxels.hemispheres == "right", 0].min() >= 0
