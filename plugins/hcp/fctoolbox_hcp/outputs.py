"""Modules, similarity to seeds and input strength as CIFTI-2 and GIFTI files, as wb_view opens them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from fctoolbox.data import written_whole
from fctoolbox.errors import InputError, blamed_on
from fctoolbox.origin import OriginReport
from fctoolbox.report.figures import module_colours
from fctoolbox.similarity import directions as directions_of
from fctoolbox.system import FactoredMatrix, Floats, RecurrentSystem, Surface, Weights

_LETTERS = {"left": "L", "right": "R"}
_NOWHERE = ("???", (0.0, 0.0, 0.0, 0.0))  # key 0: the medial wall, and what holds no unit; see-through
_LABELS, _SCALARS = (3007, "ConnDenseLabel"), (3006, "ConnDenseScalar")  # NIfTI intents of CIFTI-2


@dataclass(frozen=True, eq=False)
class Hemisphere:
    """The vertices of one hemisphere's mesh, and the unit of each.

    Parameters
    ----------
    side : {"left", "right"}
    vertices : (n_vertices,) integers
        Where they are among those of the surface, in the order of the hemisphere's own files.
    unit_of_vertex : (n_vertices,) integers
        -1 where there is none.
    """

    side: str
    vertices: NDArray[np.intp]
    unit_of_vertex: NDArray[np.intp]


def write_outputs(report: OriginReport, folder: Path) -> list[Path]:
    """Write the modules, and the maps behind them, for viewers of surfaces.

    * ``modules.dlabel.nii``, and ``modules.L.label.gii`` and ``modules.R.label.gii`` where there are units: the module
      of each vertex as label i + 1, in the colours of the report; 0 (``???``, see-through) holds no unit.
    * ``similarity_to_seed.dscalar.nii``: for each module a map of the cosine similarity to the input projection of its
      most central unit, the one with the highest mean similarity to the others; the map's name says which it is.
    * ``input_strength.dscalar.nii``: the sum of each unit's weights.

    The CIFTI files list the vertices that hold a unit and no others, so that no value is made up where there is none;
    label.gii files hold every vertex. Where units are areas, all vertices of an area have its value.

    Parameters
    ----------
    report : OriginReport
        Of a system whose geometry is a surface.
    folder : Path
        Files of an earlier report are replaced, each whole; those of a hemisphere without units go.

    Returns
    -------
    list of Path

    Raises
    ------
    InputError
        If the geometry is no surface, or no vertex holds a unit.
    """
    system, modules = report.system, report.communities.labels
    hemispheres = hemispheres_of(system)
    directions = directions_of(system.projection.weights)
    seeds = central_units(directions, modules)
    names = [f"module {module}, seed {system.units[seed]}" for module, seed in enumerate(seeds)]
    similarity: Any = directions[seeds] @ directions.T
    similarity = np.clip(similarity.toarray() if sparse.issparse(similarity) else similarity, -1, 1)
    strength = input_strength(system.projection.weights)[None]
    axis = _grayordinates(hemispheres)
    units = np.concatenate([each.unit_of_vertex[each.unit_of_vertex >= 0] for each in hemispheres])
    table = _table(report.communities.n)
    paths = [
        _write_labels(folder / "modules.dlabel.nii", modules[units] + 1, table, axis),
        _write_scalars(folder / "similarity_to_seed.dscalar.nii", similarity[:, units], names, axis),
        _write_scalars(folder / "input_strength.dscalar.nii", strength[:, units], ["input strength"], axis),
    ]
    sides = {each.side: each for each in hemispheres}
    for side, letter in _LETTERS.items():
        path = folder / f"modules.{letter}.label.gii"
        if side in sides:
            paths.append(_write_gifti(path, np.append(modules + 1, 0)[sides[side].unit_of_vertex], table, side))
        else:
            with blamed_on(f"{path} cannot be removed"):
                path.unlink(missing_ok=True)
    return paths


def hemispheres_of(system: RecurrentSystem) -> list[Hemisphere]:
    """The hemispheres on which there are units, left before right.

    Raises
    ------
    InputError
        If the geometry is no surface, or no vertex holds a unit.
    """
    surface = surface_of(system)
    sides = sides_of_vertices(surface)
    found = []
    for side in _LETTERS:
        vertices = np.flatnonzero(sides == side)
        units = np.maximum(surface.unit_of_vertex[vertices], -1).astype(np.intp)
        if (units >= 0).any():
            found.append(Hemisphere(side, vertices, units))
    if not found:
        raise InputError(f"no vertex of the surface of {system.name!r} holds a unit")
    return found


def surface_of(system: RecurrentSystem) -> Surface:
    """The surface of a system.

    Raises
    ------
    InputError
        If it has none.
    """
    geometry = system.geometry
    if geometry is None or geometry.surface is None:
        raise InputError(f"{system.name!r} has no surface, so there is nothing to draw a map on")
    return geometry.surface


def sides_of_vertices(surface: Surface) -> NDArray[np.str_]:
    """``"left"`` or ``"right"`` for each vertex."""
    if surface.hemispheres is not None:
        return np.array(surface.hemispheres)
    return np.where(surface.vertices[:, 0] < 0, "left", "right")


def central_units(directions: Floats | sparse.csr_array, labels: NDArray[np.intp]) -> list[int]:
    """Of each module the unit with the highest mean similarity to the others of it.

    Parameters
    ----------
    directions : (n_units, k) array or csr_array
        Rows of length 1.
    labels : (n_units,) integers
        Module of each unit, from 0.

    Returns
    -------
    list of int
    """
    units = []
    for module in range(int(labels.max()) + 1):
        members = np.flatnonzero(labels == module)
        own = directions[members]
        units.append(int(members[np.argmax(own @ own.sum(axis=0))]))  # the product with itself is 1 for each
    return units


def input_strength(weights: Weights) -> NDArray[np.float64]:
    """The sum of the weights of all inputs onto each unit; (n_units,) array."""
    if isinstance(weights, FactoredMatrix):
        return np.asarray(weights.left @ weights.right.sum(axis=1, dtype=np.float64), dtype=np.float64)
    return np.asarray(weights.sum(axis=1, dtype=np.float64), dtype=np.float64).ravel()


def _table(n_modules: int) -> dict[int, tuple[str, tuple[float, ...]]]:
    """Name and colour (red, green, blue, alpha) of each key."""
    from matplotlib.colors import to_rgba

    colours = [tuple(map(float, to_rgba(colour))) for colour in module_colours(n_modules)]
    return {0: _NOWHERE, **{k: (f"module {k - 1}", colour) for k, colour in enumerate(colours, start=1)}}


def _grayordinates(hemispheres: Sequence[Hemisphere]) -> Any:
    from nibabel.cifti2 import BrainModelAxis

    models = [
        BrainModelAxis.from_surface(
            np.flatnonzero(each.unit_of_vertex >= 0), len(each.vertices), name=f"CORTEX_{each.side.upper()}"
        )
        for each in hemispheres
    ]
    return sum(models[1:], start=models[0])


def _write_labels(path: Path, keys: NDArray[Any], table: dict[int, Any], axis: Any) -> Path:
    from nibabel.cifti2 import LabelAxis

    return _write_cifti(path, keys[None], LabelAxis(["modules"], [table]), axis, _LABELS)


def _write_scalars(path: Path, maps: Floats, names: Sequence[str], axis: Any) -> Path:
    from nibabel.cifti2 import ScalarAxis

    return _write_cifti(path, maps, ScalarAxis(list(names)), axis, _SCALARS)


def _write_cifti(path: Path, values: NDArray[Any], rows: Any, axis: Any, intent: tuple[int, str]) -> Path:
    from nibabel.cifti2 import Cifti2Header, Cifti2Image

    image = Cifti2Image(values.astype(np.float32), Cifti2Header.from_axes((rows, axis)))
    image.update_headers()
    # nibabel leaves "some connectivity file" there, and Workbench says so.
    image.nifti_header.set_intent(intent[0], name=intent[1], allow_unknown=True)
    with written_whole(path) as temporary:
        image.to_filename(temporary)
    return path


def _write_gifti(path: Path, keys: NDArray[Any], table: dict[int, Any], side: str) -> Path:
    from nibabel.gifti import GiftiDataArray, GiftiImage, GiftiLabel, GiftiLabelTable, GiftiMetaData

    labels = GiftiLabelTable()
    for key, (name, colour) in table.items():
        label = GiftiLabel(key, *colour)
        label.label = name
        labels.labels.append(label)
    array = GiftiDataArray(
        keys.astype(np.int32),
        intent="NIFTI_INTENT_LABEL",
        datatype="NIFTI_TYPE_INT32",
        meta=GiftiMetaData({"Name": "modules"}),
    )
    structure = GiftiMetaData({"AnatomicalStructurePrimary": f"Cortex{side.capitalize()}"})
    with written_whole(path) as temporary:
        GiftiImage(darrays=[array], labeltable=labels, meta=structure).to_filename(temporary)
    return path
