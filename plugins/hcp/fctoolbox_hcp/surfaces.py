"""Cortical meshes from GIFTI files, and where on them the areas lie."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.parsers.expat import ExpatError

import numpy as np
from numpy.typing import NDArray

from fctoolbox.errors import InputError, listed
from fctoolbox.system import Surface


@dataclass(frozen=True, eq=False)
class Mesh:
    """One hemisphere.

    Parameters
    ----------
    vertices : (n_vertices, 3) array
        mm.
    faces : (n_faces, 3) integers
    sphere : (n_vertices, 3) array
        The same vertices on the spherical surface.
    """

    vertices: NDArray[np.float64]
    faces: NDArray[np.int64]
    sphere: NDArray[np.float64]


def read_mesh(cortex: Path, sphere: Path) -> Mesh:
    """A hemisphere's mesh and its sphere.

    Raises
    ------
    InputError
        If a file is no GIFTI surface, or the two have different vertices.
    """
    vertices, faces = _read_gifti(cortex)
    on_sphere, _ = _read_gifti(sphere)
    if on_sphere.shape != vertices.shape:
        raise InputError(f"{cortex.name} has {len(vertices)} vertices, but {sphere.name} has {len(on_sphere)}")
    return Mesh(vertices, faces, on_sphere)


def joined_surface(
    meshes: Mapping[str, Mesh],
    area_of_vertex: Mapping[str, NDArray[np.int64]],
    unit_of_area: NDArray[np.int64],
) -> Surface:
    """The meshes of one or two hemispheres as one surface.

    Parameters
    ----------
    meshes : mapping of "left" or "right" to Mesh
    area_of_vertex : mapping of "left" or "right" to (n_vertices,) integers
        -1 where there is no area.
    unit_of_area : (n_areas,) integers
        -1 for areas that are no units.

    Returns
    -------
    Surface

    Raises
    ------
    InputError
        If a mesh and its areas have different numbers of vertices.
    """
    for side, mesh in meshes.items():
        if len(mesh.vertices) != len(area_of_vertex[side]):
            raise InputError(
                f"the {side} surface has {len(mesh.vertices)} vertices, but there are areas for "
                f"{len(area_of_vertex[side])}: surface and parcellation must have the same mesh"
            )
    sizes = [len(mesh.vertices) for mesh in meshes.values()]
    firsts = np.cumsum([0, *sizes[:-1]])
    areas = np.concatenate([area_of_vertex[side] for side in meshes])
    return Surface(
        vertices=np.concatenate([mesh.vertices for mesh in meshes.values()]),
        faces=np.concatenate([mesh.faces + first for mesh, first in zip(meshes.values(), firsts, strict=True)]),
        # one more entry, for the areas numbered -1: no area, no unit
        unit_of_vertex=np.append(unit_of_area, -1)[areas],
        sphere=np.concatenate([mesh.sphere for mesh in meshes.values()]),
        hemispheres=tuple(np.repeat(list(meshes), sizes)),
    )


def centroids(surface: Surface, units: Sequence[str]) -> NDArray[np.float64]:
    """The mean position of each unit's vertices, mm.

    The mean of a folded sheet lies beneath it, so a centroid is no point of the surface.

    Parameters
    ----------
    surface : Surface
    units : sequence of str

    Returns
    -------
    (n_units, 3) array

    Raises
    ------
    InputError
        If a unit has no vertex.
    """
    inside = surface.unit_of_vertex >= 0
    unit_of_vertex = surface.unit_of_vertex[inside]
    n_vertices = np.bincount(unit_of_vertex, minlength=len(units))
    if not n_vertices.all():
        raise InputError(f"no vertex of the surface belongs to {listed(np.array(units)[n_vertices == 0])}")
    sums = [np.bincount(unit_of_vertex, axis, minlength=len(units)) for axis in surface.vertices[inside].T]
    return np.stack(sums, axis=1) / n_vertices[:, None]


def _read_gifti(path: Path) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    import nibabel
    from nibabel.filebasedimages import ImageFileError

    try:
        image = nibabel.load(path)
    except (ImageFileError, ExpatError, ValueError, OSError, EOFError) as error:
        raise InputError(f"{path} cannot be read as a GIFTI surface: {error}") from error
    if not isinstance(image, nibabel.GiftiImage):
        raise InputError(f"{path} is a {type(image).__name__}, not a GIFTI surface")
    points = image.get_arrays_from_intent("NIFTI_INTENT_POINTSET")
    triangles = image.get_arrays_from_intent("NIFTI_INTENT_TRIANGLE")
    if len(points) != 1 or len(triangles) != 1:
        raise InputError(
            f"{path} has {len(points)} sets of points and {len(triangles)} of triangles; a surface has one of each"
        )
    return points[0].data.astype(np.float64), triangles[0].data.astype(np.int64)
