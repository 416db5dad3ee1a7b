"""The structures of a CIFTI-2 file: which grayordinates are whose, found by name."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fctoolbox.data import fetch
from fctoolbox.errors import InputError, listed, suggestion
from fctoolbox_hcp import files
from fctoolbox_hcp.cifti import brain_models

_PREFIX = "CIFTI_STRUCTURE_"
_SIDES = ("LEFT", "RIGHT")


@dataclass(frozen=True, eq=False)
class Structure:
    """The grayordinates of one structure, in the order of their file.

    Parameters
    ----------
    name : str
        CIFTI's name without its prefix: ``"CORTEX_LEFT"``, ``"THALAMUS_RIGHT"``.
    rows : slice
        Where they are among the grayordinates of the file.
    vertices : (n,) integers or None
        Of the structure's mesh, counted from 0; None for voxels.
    n_vertices : int or None
        How many vertices the whole mesh has, the medial wall included.
    voxels : (n, 3) integers or None
        i, j, k in the volume; None for vertices.
    positions : (n, 3) array or None
        Centres of the voxels, mm in the space of the volume (MNI152); a CIFTI file does not say where vertices are.
    """

    name: str
    rows: slice
    vertices: NDArray[np.int64] | None = None
    n_vertices: int | None = None
    voxels: NDArray[np.int64] | None = None
    positions: NDArray[np.float64] | None = None

    def __len__(self) -> int:
        return int(self.rows.stop - self.rows.start)

    @property
    def hemisphere(self) -> str:
        """``"left"``, ``"right"``, or ``"none"`` for a structure in the middle."""
        side = self.name.rpartition("_")[2]
        return side.lower() if side in _SIDES else "none"

    @property
    def label(self) -> str:
        """The name for people: ``"left thalamus"``."""
        words = self.name.removesuffix("_LEFT").removesuffix("_RIGHT").replace("_", " ").lower()
        return words if self.hemisphere == "none" else f"{self.hemisphere} {words}"

    @property
    def names(self) -> tuple[str, ...]:
        """``cortex-left-VERTEX`` or ``thalamus-left-i-j-k`` of each grayordinate."""
        stem = self.name.lower().replace("_", "-")
        if self.vertices is not None:
            return tuple(f"{stem}-{vertex}" for vertex in self.vertices)
        assert self.voxels is not None  # a structure has one of the two
        return tuple(f"{stem}-{i}-{j}-{k}" for i, j, k in self.voxels)


def structures_of(axis: Any, what: object) -> dict[str, Structure]:
    """The structures that an axis of grayordinates lists, by name, whatever their order.

    Parameters
    ----------
    axis : nibabel.cifti2.BrainModelAxis
    what : object
        The file, for messages.

    Returns
    -------
    dict of str to Structure

    Raises
    ------
    InputError
        If a structure is listed in two pieces, or holds a vertex or voxel twice, or its voxels have no place in mm.
    """
    from nibabel.affines import apply_affine

    structures: dict[str, Structure] = {}
    for full_name, rows, model in axis.iter_structures():
        name = str(full_name).removeprefix(_PREFIX)
        if name in structures:
            raise InputError(f"{what} lists the grayordinates of {name} in two pieces, with others in between")
        start = rows.start or 0
        rows = slice(start, start + len(model))
        if full_name in model.nvertices:
            vertices, n_vertices = model.vertex.astype(np.int64), int(model.nvertices[full_name])
            _check_vertices(vertices, n_vertices, name, what)
            structures[name] = Structure(name, rows, vertices, n_vertices)
            continue
        voxels = model.voxel.astype(np.int64)
        _check_affine(axis.affine, name, what)
        if len(np.unique(voxels, axis=0)) < len(voxels):
            raise InputError(f"{what} lists a voxel of {name} twice")
        positions = apply_affine(axis.affine, voxels)
        structures[name] = Structure(name, rows, voxels=voxels, positions=positions)
    return structures


def choose(structures: Mapping[str, Structure], names: str | Iterable[str], what: object) -> tuple[Structure, ...]:
    """The structures of these names, in the order asked for.

    Parameters
    ----------
    structures : mapping of str to Structure
    names : str or sequence of str
        CIFTI names with or without prefix, in any case; several in one string are separated by commas.
        ``"THALAMUS"`` stands for ``THALAMUS_LEFT`` and ``THALAMUS_RIGHT``.
    what : object
        The file, for messages.

    Returns
    -------
    tuple of Structure

    Raises
    ------
    InputError
        If there is no such structure, or it is named twice.
    """
    words = names.split(",") if isinstance(names, str) else [str(name) for name in names]
    asked = [word.strip().upper().replace(" ", "_").replace("-", "_").removeprefix(_PREFIX) for word in words]
    asked = [name for name in asked if name]
    if not asked:
        raise InputError(f"no structure is named; {what} has {_all(structures)}")
    chosen: list[str] = []
    for name in asked:
        sides = [f"{name}_{side}" for side in _SIDES if f"{name}_{side}" in structures]
        chosen += [name] if name in structures else sides
        if name not in structures and not sides:
            whole = {each.removesuffix("_LEFT").removesuffix("_RIGHT") for each in structures}
            raise InputError(
                f"{what} has no structure {name}.{suggestion(name, [*structures, *sorted(whole)])} "
                f"It has {_all(structures)}.{_without_voxels(structures)}"
            )
    if twice := sorted({name for name in chosen if chosen.count(name) > 1}):
        raise InputError(f"{listed(twice)} is named more than once in '{','.join(words)}'")
    return tuple(structures[name] for name in chosen)


def check_apart(targets: Sequence[Structure], sources: Sequence[Structure]) -> None:
    """Refuse a structure that is to receive and to send.

    Raises
    ------
    InputError
    """
    if both := [each.name for each in targets if each in sources]:
        raise InputError(f"{listed(both)} is among the targets and among the sources; a structure can be one of them")


def template_axis() -> Any:
    """The 91,282 grayordinates of the HCP's standard space (fsLR-32k and 2 mm voxels), as nibabel's BrainModelAxis."""
    return brain_models(fetch(files.GRAYORDINATES))


def _all(structures: Mapping[str, Structure]) -> str:
    return listed(structures, most=30)


def _without_voxels(structures: Mapping[str, Structure]) -> str:
    if any(each.voxels is not None for each in structures.values()):
        return ""
    n = sum(map(len, structures.values()))
    return f" This is a file of the cortex only ({n:,} grayordinates); the HCP's files with the thalamus have 91,282."


def _check_vertices(vertices: NDArray[np.int64], n_vertices: int, name: str, what: object) -> None:
    if vertices.min() < 0 or vertices.max() >= n_vertices:
        raise InputError(
            f"{what}: {name} lists vertices from {vertices.min()} to {vertices.max()}, but its surface has only "
            f"{n_vertices} (0 to {n_vertices - 1})"
        )
    if len(np.unique(vertices)) < len(vertices):
        raise InputError(f"{what} lists a vertex of {name} twice")


def _check_affine(affine: Any, name: str, what: object) -> None:
    if affine is None or np.shape(affine) != (4, 4) or np.linalg.matrix_rank(np.asarray(affine)[:3, :3]) < 3:
        raise InputError(
            f"{what} does not say where the voxels of {name} are: its volume has no usable affine (from voxel to mm). "
            "Write it again from the file that it was made of, with wb_command -cifti-create-dense-from-template"
        )
