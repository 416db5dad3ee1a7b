"""Maps of the cortical surface: a value for each vertex, from a file or from neuromaps."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from xml.parsers.expat import ExpatError

import numpy as np
from numpy.typing import NDArray

from fctoolbox.errors import DataUnavailable, InputError, listed, suggestion
from fctoolbox.system import Surface
from fctoolbox_hcp.cifti import open_cifti
from fctoolbox_hcp.outputs import sides_of_vertices
from fctoolbox_hcp.structures import structures_of

Which = int | str
Paths = str | os.PathLike[str] | Sequence[str | os.PathLike[str]] | Mapping[str, str | os.PathLike[str]]

_ENDINGS = (".gii", ".nii", ".csv", ".tsv", ".txt")
_SIDES = ("left", "right")
_DENSITIES = {4_002: "4k", 7_842: "8k", 32_492: "32k", 163_842: "164k"}  # vertices of a hemisphere in fsLR


def read_map(source: Paths, surface: Surface, *, which: Which = 0) -> NDArray[np.float64]:
    """A value for each vertex of a surface, from a file.

    Parameters
    ----------
    source : path, or one for each hemisphere
        ``.dscalar.nii``; ``.func.gii`` or ``.shape.gii`` (two, or ``{"left": …, "right": …}``, where the surface has
        both hemispheres); or text with one number for each vertex, left before right (or likewise two files).
        "nan" stands for no value.
    surface : Surface
    which : int or str
        The map, counted from 0 or by name, in a file of several.

    Returns
    -------
    (n_vertices,) array
        NaN where there is no value: in the medial wall, and where the file has none.

    Raises
    ------
    InputError
        If a file cannot be read, has no such map, or is of another mesh.
    """
    sides = sides_of_vertices(surface)
    there = [side for side in _SIDES if (sides == side).any()]
    paths = _paths(source, there)
    values = np.full(len(sides), np.nan)
    if isinstance(paths, Path):
        if paths.name.endswith(".nii"):
            for side, its in _of_cifti(paths, {side: int((sides == side).sum()) for side in there}, which).items():
                values[sides == side] = its
        else:
            inside = np.isin(sides, there)
            # text lists the left hemisphere first, whatever the order of the surface
            order = np.concatenate([np.flatnonzero(sides == side) for side in there])
            values[order] = _of_file(paths, int(inside.sum()), None if len(there) > 1 else there[0], which)
        return values
    for side, path in paths.items():
        values[sides == side] = _of_file(path, int((sides == side).sum()), side, which)
    return values


def fetch_map(name: str, surface: Surface) -> NDArray[np.float64]:
    """A value for each vertex of a surface, from a neuromaps annotation.

    Parameters
    ----------
    name : str
        ``SOURCE/DESC`` or ``SOURCE/DESC/SPACE/DENSITY``, such as ``"hcps1200/myelinmap"``. Where neuromaps has it in
        several spaces, fsLR is taken. Other spaces and densities are brought to fsLR by neuromaps, which needs
        Workbench (wb_command) for that.
    surface : Surface
        In fsLR.

    Returns
    -------
    (n_vertices,) array
        NaN where there is no value: zeros and NaN of the file.

    Raises
    ------
    InputError
        If neuromaps is not installed, has no such annotation, or the surface is not in fsLR.
    DataUnavailable
        If it cannot be downloaded.
    """
    try:
        from neuromaps import datasets, transforms
    except ImportError as error:
        raise InputError(
            f"'{name}' is no file, and as the name of an annotation it needs neuromaps, which is not installed: "
            "pip install 'fctoolbox-hcp[neuromaps]', or give a file (.dscalar.nii, .func.gii, .shape.gii, .csv)"
        ) from error
    sides = sides_of_vertices(surface)
    there = {side: int((sides == side).sum()) for side in _SIDES if (sides == side).any()}
    density = {_DENSITIES.get(n) for n in there.values()}
    if len(density) != 1 or None in density:
        raise InputError(
            f"neuromaps' annotations are brought to fsLR, of {listed(_DENSITIES)} vertices a hemisphere, and this "
            f"surface has {listed(there.values())}; give a map of its own mesh as a file"
        )
    (wanted,) = density
    key = _annotation(name, datasets.available_annotations())
    try:
        files = datasets.fetch_annotation(**dict(zip(("source", "desc", "space", "den"), key, strict=True)), verbose=0)
        if key[2:] != ("fsLR", wanted):
            into = getattr(transforms, f"{key[2].lower()}_to_fslr")
            files = into(files, wanted)
    except (OSError, ValueError, RuntimeError, KeyError) as error:
        bring = "" if key[2:] == ("fsLR", wanted) else " Workbench (wb_command) is needed to bring it to fsLR."
        raise DataUnavailable(
            f"neuromaps could not bring {'/'.join(key)}: {' '.join(str(error).split())[:200]}.{bring} "
            "A map that you have as a file needs no connection"
        ) from error
    files = [files] if isinstance(files, str | os.PathLike) or not isinstance(files, Sequence) else list(files)
    arrays = [_gifti(each, f"neuromaps {'/'.join(key)}")[1][0] for each in files]
    found = dict(zip(_SIDES if len(arrays) == 2 else (_side_of(files[0]),), arrays, strict=True))
    values = np.full(len(sides), np.nan)
    for side, n_vertices in there.items():
        if side not in found:
            raise InputError(f"neuromaps has {'/'.join(key)} of the {listed(found)} hemisphere only")
        _check_length(found[side], n_vertices, f"neuromaps {'/'.join(key)}", side)
        values[sides == side] = found[side]
    values[values == 0] = np.nan  # neuromaps' files have zeros in the medial wall
    return values


def is_file(source: Paths) -> bool:
    """Whether a source names files, and not an annotation."""
    if not isinstance(source, str | os.PathLike):
        return True
    return Path(source).exists() or str(source).lower().endswith(_ENDINGS)


def _annotation(name: str, known: Sequence[tuple[str, ...]]) -> tuple[str, ...]:
    words = tuple(name.strip("/").split("/"))
    fitting = [tuple(key) for key in known if tuple(key[: len(words)]) == words]
    if not fitting:
        raise InputError(
            f"'{name}' is no file, and neuromaps has no annotation of that name."
            f"{suggestion(name, sorted({'/'.join(key[:2]) for key in known} | {'/'.join(key) for key in known}))} "
            "Write SOURCE/DESC or SOURCE/DESC/SPACE/DENSITY; neuromaps.datasets.available_annotations() lists them."
        )
    if len({key[:2] for key in fitting}) > 1:
        raise InputError(
            f"'{name}' stands for several annotations: {listed(sorted({'/'.join(key[:2]) for key in fitting}))}"
        )
    in_fslr = [key for key in fitting if key[2] == "fsLR"]
    return max(in_fslr or fitting, key=lambda key: key[3] == "32k")


def _paths(source: Paths, there: Sequence[str]) -> Path | dict[str, Path]:
    """A path for all, or one for each hemisphere of the surface."""
    if isinstance(source, str | os.PathLike):
        path = Path(source)
        if path.name.endswith(".gii"):
            if len(there) > 1:
                raise InputError(
                    f"{path} is a map of one hemisphere, and the system has both; give both files: "
                    '{"left": …, "right": …}'
                )
            return {there[0]: path}
        return path
    given = dict(source) if isinstance(source, Mapping) else dict(zip(_SIDES, source, strict=False))
    if strange := sorted(set(given) - set(_SIDES)):
        raise InputError(f"maps are given for {listed(strange)}; hemispheres are called 'left' and 'right'")
    if missing := [side for side in there if side not in given]:
        raise InputError(f"there is no map of the {listed(missing)} hemisphere, which the system has")
    return {side: Path(given[side]) for side in there}


def _of_file(path: Path, n_vertices: int, side: str | None, which: Which) -> NDArray[np.float64]:
    if not path.is_file():
        raise InputError(f"{path} is no file")
    if path.name.endswith(".gii"):
        names, maps, structure = *_gifti(path, path), _side_of(path)
        if structure and side and structure != side:
            raise InputError(f"{path} says that it is of the {structure} hemisphere, and was given for the {side} one")
        values = maps[_index(which, names, path)]
    else:
        values = _text(path)
    _check_length(values, n_vertices, path, side)
    return values


def _of_cifti(path: Path, n_vertices: Mapping[str, int], which: Which) -> dict[str, NDArray[np.float64]]:
    from nibabel.cifti2 import BrainModelAxis, ScalarAxis

    if not path.is_file():
        raise InputError(f"{path} is no file")
    image = open_cifti(path)
    rows, axis = (image.header.get_axis(dimension) for dimension in (0, 1))
    if not isinstance(rows, ScalarAxis) or not isinstance(axis, BrainModelAxis):
        raise InputError(f"{path} holds no maps of grayordinates; a .dscalar.nii does")
    structures = structures_of(axis, path)
    index = _index(which, [str(name) for name in rows.name], path)
    row: NDArray[np.float64] = np.asarray(image.dataobj[index], dtype=np.float64).ravel()
    found: dict[str, NDArray[np.float64]] = {}
    for side, n in n_vertices.items():
        structure = structures.get(f"CORTEX_{side.upper()}")
        if structure is None or structure.vertices is None:
            raise InputError(f"{path} has no CORTEX_{side.upper()}; its structures are {listed(structures)}")
        if structure.n_vertices != n:
            raise InputError(
                f"{path}: the mesh of {structure.name} has {structure.n_vertices} vertices, and the system's surface "
                f"{n}; a map must be of the same mesh"
            )
        values = np.full(n, np.nan)
        values[structure.vertices] = row[structure.rows]
        found[side] = values
    return found


def _gifti(source: Any, what: object) -> tuple[list[str], list[NDArray[np.float64]]]:
    """Names and values of the maps of a GIFTI file or image."""
    import nibabel
    from nibabel.filebasedimages import ImageFileError

    try:
        image = nibabel.load(source) if isinstance(source, str | os.PathLike) else source
    except (ImageFileError, ExpatError, ValueError, OSError, EOFError) as error:
        raise InputError(f"{what} cannot be read as a GIFTI map: {error}") from error
    if not isinstance(image, nibabel.GiftiImage):
        raise InputError(f"{what} is a {type(image).__name__}, not a GIFTI map")
    if not image.darrays or image.get_arrays_from_intent("NIFTI_INTENT_POINTSET"):
        raise InputError(f"{what} holds no map but {'a surface' if image.darrays else 'nothing'}")
    maps = [np.asarray(array.data, dtype=np.float64) for array in image.darrays]
    if maps[0].ndim == 2:  # some files keep several maps as columns of one array
        return [""] * maps[0].shape[1], list(maps[0].T)
    return [str((array.meta or {}).get("Name", "")) for array in image.darrays], maps


def _side_of(source: Any) -> str:
    """The hemisphere that a GIFTI file says it is of; empty if it does not."""
    import nibabel

    image = nibabel.load(source) if isinstance(source, str | os.PathLike) else source
    places = [image.meta, *(array.meta for array in image.darrays)]
    words = " ".join(str((meta or {}).get("AnatomicalStructurePrimary", "")) for meta in places).lower()
    return next((side for side in _SIDES if side in words), "")


def _text(path: Path) -> NDArray[np.float64]:
    try:
        values = np.loadtxt(path, dtype=np.float64, delimiter=None if path.name.endswith(".txt") else ",", ndmin=2)
    except (ValueError, OSError) as error:
        raise InputError(f"{path} is not a list of numbers, one for each vertex and no header: {error}") from error
    if min(values.shape) > 1:
        raise InputError(f"{path} has {values.shape[1]} columns; a map has one number for each vertex")
    return values.ravel()


def _index(which: Which, names: Sequence[str], path: object) -> int:
    if isinstance(which, str):
        if which not in names:
            raise InputError(f"{path} has no map named '{which}'.{suggestion(which, names)} It has: {listed(names)}.")
        return names.index(which)
    if isinstance(which, bool) or not 0 <= which < len(names):
        raise InputError(f"{path} has {len(names)} maps, counted from 0, and map {which} was asked for")
    return which


def _check_length(values: NDArray[Any], n_vertices: int, what: object, side: str | None) -> None:
    if len(values) != n_vertices:
        of = f"the {side} hemisphere" if side else "both hemispheres together"
        raise InputError(
            f"{what} has {len(values)} values, and the system's surface {n_vertices} vertices ({of}, medial wall "
            "included); a map must be of the same mesh"
        )
