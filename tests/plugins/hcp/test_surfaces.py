"""Meshes, and where the areas lie on them."""

import nibabel
import numpy as np
import pytest
from fctoolbox_hcp.miniature import write_miniature
from fctoolbox_hcp.surfaces import Mesh, centroids, joined_surface, read_mesh

from fctoolbox import Surface
from fctoolbox.errors import InputError

TETRAHEDRON = np.array([(0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1)], dtype=float)
FACES = np.array([(0, 2, 1), (0, 1, 3), (0, 3, 2), (1, 2, 3)])


def mesh(shift=0.0):
    return Mesh(TETRAHEDRON + np.array([shift, 0, 0]), FACES, TETRAHEDRON)


@pytest.fixture(scope="module")
def paths(tmp_path_factory):
    return write_miniature(tmp_path_factory.mktemp("mini"))[0]


def test_faces_of_the_second_half_follow_those_of_the_first():
    areas = {"left": np.array([0, 0, 1, -1]), "right": np.array([2, -1, 2, 3])}
    surface = joined_surface({"left": mesh(), "right": mesh(9)}, areas, np.array([1, -1, 0, 2]))
    np.testing.assert_array_equal(surface.faces[4:], FACES + 4)
    np.testing.assert_array_equal(surface.vertices[surface.faces[4:]], mesh(9).vertices[FACES])
    # areas 0, 2 and 3 are units 1, 0 and 2; area 1 is no unit
    assert surface.unit_of_vertex.tolist() == [1, 1, -1, -1, 0, -1, 0, 2]
    assert surface.hemispheres == ("left",) * 4 + ("right",) * 4
    np.testing.assert_array_equal(surface.sphere, np.concatenate([TETRAHEDRON, TETRAHEDRON]))


def test_a_centroid_is_the_mean_of_an_areas_vertices():
    surface = Surface(TETRAHEDRON + 1, FACES, np.array([0, 1, 1, -1]))
    np.testing.assert_allclose(centroids(surface, ["a", "b"]), [(1, 1, 1), (1.5, 1.5, 1)])


def test_an_area_without_vertices_is_named():
    surface = Surface(TETRAHEDRON, FACES, np.array([0, 0, 2, -1]))
    with pytest.raises(InputError, match="no vertex of the surface belongs to L_b"):
        centroids(surface, ["L_a", "L_b", "L_c"])


def test_mesh_and_parcellation_must_have_the_same_vertices():
    with pytest.raises(InputError, match="the left surface has 4 vertices, but there are areas for 3"):
        joined_surface({"left": mesh()}, {"left": np.array([0, 0, 0])}, np.array([0]))


@pytest.mark.parametrize("side", ["left", "right"])
def test_the_miniature_is_a_closed_surface_with_its_outside_out(paths, side):
    half = read_mesh(paths.cortex[side], paths.sphere[side])
    edges = np.sort(half.faces[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2), axis=1)
    _, times = np.unique(edges, axis=0, return_counts=True)
    assert (times == 2).all()
    assert len(half.vertices) - len(times) + len(half.faces) == 2  # Euler: a sphere
    corners = half.vertices[half.faces]
    volume = np.linalg.det(corners).sum() / 6
    assert volume == pytest.approx(4 / 3 * np.pi * 33 * 75 * 50, rel=0.05)
    np.testing.assert_allclose(np.linalg.norm(half.sphere, axis=1), 100, rtol=1e-6)
    assert (half.vertices[:, 0] < 0).all() == (side == "left")


def test_surface_and_sphere_belong_together(paths, tmp_path):
    small = tmp_path / "small.gii"
    arrays = [
        nibabel.gifti.GiftiDataArray(TETRAHEDRON.astype(np.float32), intent="NIFTI_INTENT_POINTSET"),
        nibabel.gifti.GiftiDataArray(FACES.astype(np.int32), intent="NIFTI_INTENT_TRIANGLE"),
    ]
    nibabel.GiftiImage(darrays=arrays).to_filename(small)
    with pytest.raises(InputError, match=r"mini_lh\.gii has 642 vertices, but small\.gii has 4"):
        read_mesh(paths.cortex["left"], small)


def test_other_files_are_refused(paths, tmp_path):
    points_only, text = tmp_path / "points.gii", tmp_path / "text.gii"
    array = nibabel.gifti.GiftiDataArray(TETRAHEDRON.astype(np.float32), intent="NIFTI_INTENT_POINTSET")
    nibabel.GiftiImage(darrays=[array]).to_filename(points_only)
    text.write_text("not a surface")
    with pytest.raises(InputError, match=r"points\.gii has 1 sets of points and 0 of triangles"):
        read_mesh(points_only, points_only)
    with pytest.raises(InputError, match=r"text\.gii cannot be read as a GIFTI surface"):
        read_mesh(text, text)
    with pytest.raises(InputError, match="is a Cifti2Image, not a GIFTI surface"):
        read_mesh(paths.grayordinates, paths.grayordinates)
