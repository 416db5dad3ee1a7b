"""A small synthetic template in the real one's file formats, for tests and for machines without the data."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fctoolbox.errors import check_whole
from fctoolbox.system import Provenance, RecurrentSystem
from fctoolbox_hcp.template import PACKAGES, TemplatePaths, read_template
from fctoolbox_hcp.thalamus import CENTRES
from fctoolbox_hcp.tinytrack import write_tinytrack

CITATION = "none: synthetic data made by fctoolbox-hcp, in the file formats of the human template"
LICENSE = "CC0-1.0"

_NAME = "human-mini (synthetic)"
_SIDES = {"left": "L_", "right": "R_"}
_N_COMMUNITIES = 4
_N_SEEDS = 28
_N_WITHOUT_STREAMLINES = 3  # as in the real template, some areas have none
_MEDIAL = 0.8  # seeds that look this much towards the midline are the medial wall
_SUBDIVISIONS = 3

# A brain of roughly human size, mm; the left half.
_HALF_CENTRE = np.array([-35.0, -18.0, 15.0])
_HALF_AXES = np.array([33.0, 75.0, 50.0])
_SPHERE_RADIUS = 100.0
_THALAMUS_AXES = np.array([6.0, 11.0, 7.0])
_TARGET_AXES = np.array([0.0, 6.0, 4.0])

_VOLUME_AFFINE = np.array([[-2.0, 0, 0, 90], [0, 2, 0, -126], [0, 0, 2, -72], [0, 0, 0, 1]])
_VOLUME_SHAPE = (91, 109, 91)
_TRACK_AFFINE = np.array([[-1.25, 0, 0, 78], [0, -1.25, 0, 76], [0, 0, 1.25, -50], [0, 0, 0, 1]])
_TRACK_SHAPE = (125, 151, 108)

_N_TIMES = 400
_SHARED = 2.0  # of a community's activity, relative to each area's own: r = 0.8, Fisher z = 1.1 within communities
_SHARE_FAR = 0.1  # of the streamlines, which end outside the thalamus

Floats = NDArray[np.float64]
Rng = np.random.Generator


@dataclass(frozen=True, eq=False)
class _Half:
    """The left hemisphere: a mesh on the unit sphere, the area of each vertex, the community of each area."""

    sphere: Floats
    faces: NDArray[np.int64]
    area_of_vertex: NDArray[np.int64]
    communities: NDArray[np.int64]


def load(
    *,
    hemisphere: str = "left",
    fwhm: float = 0.0,
    max_distance: float = 2.0,
    planted: bool = True,
    seed: int = 0,
) -> RecurrentSystem:
    """Write a synthetic template to a temporary folder and read it as the real one is read.

    Parameters
    ----------
    hemisphere, fwhm, max_distance
        As for ``human-template``.
    planted : bool
        False ends the streamlines anywhere in the thalamus, so that they say nothing about the communities of
        the functional connectivity.
    seed : int

    Returns
    -------
    RecurrentSystem
        The community of each area is the annotation ``planted``.
    """
    check_whole("seed", seed, 0)
    with TemporaryDirectory(prefix="human-mini-") as folder:
        paths, community = write_miniature(Path(folder), planted=planted, rng=seed)
        provenance = Provenance(
            citation=CITATION,
            license=LICENSE,
            species="none (synthetic)",
            notes={"Synthetic": "made up by fctoolbox-hcp; no brain was measured"},
            synthetic=True,
            packages=PACKAGES,
        )
        system = read_template(paths, _NAME, provenance, hemisphere=hemisphere, fwhm=fwhm, max_distance=max_distance)
    labels = tuple(str(community[unit]) for unit in system.units)
    return replace(system, annotations={**system.annotations, "planted": labels})


def write_miniature(
    folder: Path, *, planted: bool = True, rng: int | Rng = 0
) -> tuple[TemplatePaths, Mapping[str, int]]:
    """Write all files of a small template.

    Parameters
    ----------
    folder : Path
    planted : bool
        See `load`.
    rng : int or Generator

    Returns
    -------
    TemplatePaths
    mapping of str to int
        The planted community of each area.
    """
    rng = np.random.default_rng(rng)
    half = _make_half()
    numbers = range(1, len(half.communities) + 1)
    # Hyphens in names are a trap of the real list of bundles (thalamus-L_9-46d-autotrack).
    areas = {side: [f"{initial}m-{number}" for number in numbers] for side, initial in _SIDES.items()}
    community = {area: int(c) for names in areas.values() for area, c in zip(names, half.communities, strict=True)}
    paths = TemplatePaths(
        streamlines=folder / "mini.tt.gz",
        bundles=folder / "mini.tt.gz.txt",
        connectivity=folder / "funcMatrix_ctx_mini.csv",
        area_names=folder / "funcLabels_ctx_mini.csv",
        area_of_vertex=folder / "mini_conte69.csv",
        cortex={side: folder / f"mini_{side[0]}h.gii" for side in _SIDES},
        sphere={side: folder / f"mini_{side[0]}h_sphere.gii" for side in _SIDES},
        grayordinates=folder / "mini.dscalar.nii",
    )
    _write_parcellation(paths, half, areas)
    for side in _SIDES:
        _write_gifti(paths.cortex[side], _cortex(half, side), _faces(half, side))
        _write_gifti(paths.sphere[side], _SPHERE_RADIUS * _on_side(half.sphere, side), _faces(half, side))
    _write_grayordinates(paths.grayordinates, half)
    _write_connectivity(paths.connectivity, np.array([*community.values()]), rng)
    _write_streamlines(paths, half, areas, planted, rng)
    return paths, community


def _make_half() -> _Half:
    sphere, faces = _icosphere(_SUBDIVISIONS)
    seeds = _fibonacci_sphere(_N_SEEDS)
    nearest = np.argmax(sphere @ seeds.T, axis=1)
    is_area = seeds[:, 0] < _MEDIAL
    number = np.where(is_area, np.cumsum(is_area) - 1, -1)
    # Communities are sectors of the hemisphere as seen from its side, so each holds neighbouring areas.
    angle = np.arctan2(seeds[is_area, 2], seeds[is_area, 1])
    communities = np.argsort(np.argsort(angle)) * _N_COMMUNITIES // is_area.sum()
    return _Half(sphere, faces, number[nearest], communities)


def _on_side(points: Floats, side: str) -> Floats:
    return points if side == "left" else points * (-1.0, 1.0, 1.0)


def _cortex(half: _Half, side: str) -> Floats:
    return _on_side(_HALF_CENTRE + _HALF_AXES * half.sphere, side)


def _faces(half: _Half, side: str) -> NDArray[np.int64]:
    # A mirrored triangle turns inside out unless its corners are listed the other way round.
    return half.faces if side == "left" else half.faces[:, ::-1]


def _write_parcellation(paths: TemplatePaths, half: _Half, areas: Mapping[str, list[str]]) -> None:
    paths.area_names.write_text(",".join(areas["left"] + areas["right"]) + "\n", encoding="utf-8")
    left = half.area_of_vertex + 1
    right = np.where(left > 0, left + len(areas["left"]), 0)
    np.savetxt(paths.area_of_vertex, np.concatenate([left, right]), fmt="%d")


def _write_connectivity(path: Path, community: NDArray[np.int64], rng: Rng) -> None:
    shared = rng.standard_normal((_N_TIMES, _N_COMMUNITIES))
    activity = _SHARED * shared[:, community] + rng.standard_normal((_N_TIMES, len(community)))
    correlation = np.corrcoef(activity.T)
    np.fill_diagonal(correlation, 0)
    # As published: Fisher z, negative values set to zero.
    np.savetxt(path, np.arctanh(correlation).clip(min=0), fmt="%.5g", delimiter=",")


def _write_streamlines(
    paths: TemplatePaths, half: _Half, areas: Mapping[str, list[str]], planted: bool, rng: Rng
) -> None:
    bundles: list[str] = []
    lines: list[Floats] = []
    clusters: list[int] = []
    for side, names in areas.items():
        cortex = _cortex(half, side)
        for number, area in enumerate(names[:-_N_WITHOUT_STREAMLINES]):
            target = _target(half.communities[number], side, planted, rng)
            vertices = np.flatnonzero(half.area_of_vertex == number)
            for vertex in rng.choice(vertices, rng.integers(15, 60)):
                lines.append(_line(_thalamic_end(target, side, rng), cortex[vertex], rng))
                clusters.append(len(bundles))
            bundles.append(f"thalamus-{area}-autotrack")
    paths.bundles.write_text("\n".join(bundles) + "\n", encoding="utf-8")
    write_tinytrack(
        paths.streamlines,
        lines,
        clusters,
        affine=_TRACK_AFFINE,
        dimension=_TRACK_SHAPE,
        report="Synthetic streamlines of fctoolbox-hcp.",
    )


def _target(community: int, side: str, planted: bool, rng: Rng) -> Floats:
    """The point in the thalamus around which an area's streamlines end."""
    angle = 2 * np.pi * (community / _N_COMMUNITIES if planted else rng.uniform())
    offset = _TARGET_AXES * (0, np.cos(angle), np.sin(angle))
    target: Floats = np.array(CENTRES[side]) + offset + rng.normal(0, 1, 3)
    return target


def _thalamic_end(target: Floats, side: str, rng: Rng) -> Floats:
    above = np.array(CENTRES[side]) + np.array([0, 0, _THALAMUS_AXES[2] + 5])
    return above if rng.uniform() < _SHARE_FAR else target + rng.normal(0, 1.5, 3)


def _line(thalamic: Floats, cortical: Floats, rng: Rng) -> Floats:
    """An arc of points about 1 mm apart, that begins at either end."""
    along = np.linspace(0, 1, 2 + int(np.linalg.norm(cortical - thalamic)))[:, None]
    arc = thalamic + along * (cortical - thalamic) + along * (1 - along) * rng.normal(0, 10, 3)
    return arc if rng.uniform() < 0.5 else arc[::-1]


def _write_gifti(path: Path, vertices: Floats, faces: NDArray[np.int64]) -> None:
    from nibabel.gifti import GiftiDataArray, GiftiImage

    arrays = [
        GiftiDataArray(vertices.astype(np.float32), intent="NIFTI_INTENT_POINTSET", datatype="NIFTI_TYPE_FLOAT32"),
        GiftiDataArray(faces.astype(np.int32), intent="NIFTI_INTENT_TRIANGLE", datatype="NIFTI_TYPE_INT32"),
    ]
    GiftiImage(darrays=arrays).to_filename(path)


def _write_grayordinates(path: Path, half: _Half) -> None:
    from nibabel.cifti2 import BrainModelAxis, Cifti2Image, ScalarAxis

    vertices = np.flatnonzero(half.area_of_vertex >= 0)
    models: list[Any] = [
        BrainModelAxis.from_surface(vertices, len(half.sphere), name=f"CIFTI_STRUCTURE_CORTEX_{side.upper()}")
        for side in _SIDES
    ]
    grid = np.argwhere(np.ones(_VOLUME_SHAPE, dtype=bool))
    positions = grid @ _VOLUME_AFFINE[:3, :3].T + _VOLUME_AFFINE[:3, 3]
    for side in _SIDES:
        inside = (((positions - CENTRES[side]) / _THALAMUS_AXES) ** 2).sum(axis=1) <= 1
        models.append(
            BrainModelAxis(
                f"CIFTI_STRUCTURE_THALAMUS_{side.upper()}",
                voxel=grid[inside],
                affine=_VOLUME_AFFINE,
                volume_shape=_VOLUME_SHAPE,
            )
        )
    axis = sum(models[1:], start=models[0])
    image = Cifti2Image(np.ones((1, len(axis)), dtype=np.float32), (ScalarAxis(["ones"]), axis))
    image.update_headers()
    image.to_filename(path)


def _fibonacci_sphere(n_points: int) -> Floats:
    """Points spread evenly over the unit sphere, along a spiral from pole to pole."""
    x = 1 - 2 * (np.arange(n_points) + 0.5) / n_points
    angle = np.pi * (3 - np.sqrt(5)) * np.arange(n_points)
    radius = np.sqrt(1 - x**2)
    return np.column_stack([x, radius * np.cos(angle), radius * np.sin(angle)])


def _icosphere(subdivisions: int) -> tuple[Floats, NDArray[np.int64]]:
    """Vertices on the unit sphere (10 · 4ⁿ + 2) and triangles (20 · 4ⁿ), counter-clockwise from outside."""
    golden = (1 + np.sqrt(5)) / 2
    corners = np.array([(0, a, b) for a in (-1, 1) for b in (-golden, golden)])
    vertices = np.concatenate([np.roll(corners, shift, axis=1) for shift in range(3)])
    # The faces of an icosahedron are all triples of corners at mutual distance 2.
    near = np.isclose(np.linalg.norm(vertices[:, None] - vertices, axis=2), 2)
    triples = [
        (i, j, k)
        for i in range(12)
        for j in range(i + 1, 12)
        for k in range(j + 1, 12)
        if near[i, j] and near[j, k] and near[i, k]
    ]
    faces = np.array([_outwards(vertices, triple) for triple in triples])
    for _ in range(subdivisions):
        vertices, faces = _subdivided(vertices, faces)
    return vertices / np.linalg.norm(vertices, axis=1, keepdims=True), faces


def _outwards(vertices: Floats, triple: tuple[int, int, int]) -> tuple[int, int, int]:
    i, j, k = triple
    return triple if np.linalg.det(vertices[[i, j, k]]) > 0 else (i, k, j)


def _subdivided(vertices: Floats, faces: NDArray[np.int64]) -> tuple[Floats, NDArray[np.int64]]:
    """Each triangle becomes four, by the middles of its edges pushed out onto the sphere."""
    edges = np.sort(np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]), axis=1)
    unique, which = np.unique(edges, axis=0, return_inverse=True)
    middles = vertices[unique].mean(axis=1)
    middles *= np.linalg.norm(vertices[0]) / np.linalg.norm(middles, axis=1, keepdims=True)
    ij, jk, ki = which.reshape(3, -1) + len(vertices)
    i, j, k = faces.T
    quarters = [(i, ij, ki), (j, jk, ij), (k, ki, jk), (ij, jk, ki)]
    return np.concatenate([vertices, middles]), np.concatenate([np.column_stack(each) for each in quarters])
