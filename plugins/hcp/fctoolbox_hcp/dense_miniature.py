"""Synthetic dense connectomes in the real file formats: small ones for tests, and one of true size."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from fctoolbox.data import written_whole
from fctoolbox.errors import InputError, check_whole, suggestion
from fctoolbox.system import Provenance, RecurrentSystem
from fctoolbox_hcp import miniature
from fctoolbox_hcp.dense_activity import Kind, open_activity
from fctoolbox_hcp.dense_space import DenseSpace, published_space
from fctoolbox_hcp.human_dense import PACKAGES, Reading, read_dense
from fctoolbox_hcp.structures import Structure, structures_of, template_axis
from fctoolbox_hcp.surfaces import read_mesh

CITATION = "none: synthetic data made by fctoolbox-hcp, in the file formats of human-dense"
LICENSE = "CC0-1.0"

_NAME = "human-dense-mini (synthetic)"
_SIDES = ("LEFT", "RIGHT")
_N_MODULES = 7
_N_SMOOTH = 24
_LENGTH = 25.0  # mm, over which the smooth part of the activity changes
_PARTS = (1.0, 0.6, 0.6)  # of modules, smooth fields and noise in the activity
_N_NOISE = 40
_N_TIMES = 120
_N_RUNS = 2
_STREAMLINES = 14  # of a vertex, on average
_SPREAD = 2.5  # mm around a module's place in the thalamus
_SHARE_BARE = 0.05  # of the vertices, which have no streamline
_LARGEST_R = 0.999999  # the HCP's Fisher z ends there, on the diagonal too
_ALIGNED = 16
_CONNECTOME_INTENT = (3001, "ConnDense")
_SERIES_INTENT = (3002, "ConnDenseSeries")

Floats = NDArray[np.float64]
Rng = np.random.Generator


@dataclass(frozen=True)
class DenseFiles:
    """What `write_dense` writes.

    Parameters
    ----------
    connectivity : Path
        ``.dconn.nii`` of Fisher z.
    projection : Path
        Sparse matrix of streamline counts in CIFTI order, symmetric, ``.npz``.
    timeseries : sequence of Path
        ``.dtseries.nii``, two runs; none at full size.
    pca : Path or None
        ``.dtseries.nii`` whose rows are components; none at full size.
    grayordinates : Path or None
        ``.dscalar.nii`` that lists them; none at full size, where they are the HCP's.
    midthickness, sphere : mapping of str to Path
        ``.surf.gii`` of each cortex; none at full size, where they are the HCP's.
    modules : (n,) integers
        The planted module of each vertex of the left, then of the right cortex.
    """

    connectivity: Path
    projection: Path
    modules: NDArray[np.int64]
    timeseries: tuple[Path, ...] = ()
    pca: Path | None = None
    grayordinates: Path | None = None
    midthickness: Mapping[str, Path] | None = None
    sphere: Mapping[str, Path] | None = None


def load(
    *,
    activity: str = "connectivity",
    targets: str = "CORTEX_LEFT",
    sources: str = "THALAMUS",
    fwhm: float | None = None,
    planted: bool = True,
    seed: int = 0,
) -> RecurrentSystem:
    """Write small dense files to a temporary folder and read them as those of ``human-dense`` are read.

    Parameters
    ----------
    activity : {"connectivity", "timeseries", "pca"}
        Which of the files the connectivity is read from.
    targets, sources, fwhm
        As for ``human-dense``.
    planted : bool
        False sends each vertex to any place in the thalamus, so that its inputs say nothing about the modules of the
        functional connectivity.
    seed : int

    Returns
    -------
    RecurrentSystem
        The module of each vertex is the annotation ``planted``.
    """
    check_whole("seed", seed, 0)
    kinds: dict[str, Kind] = {"connectivity": "connectivity", "timeseries": "timeseries", "pca": "pca"}
    if activity not in kinds:
        raise InputError(
            f"activity is {activity!r}.{suggestion(str(activity), kinds)} It must be one of {', '.join(kinds)}."
        )
    with TemporaryDirectory(prefix="human-dense-mini-") as folder:
        written = write_dense(Path(folder), full_size=False, planted=planted, rng=seed)
        assert written.pca is not None  # the small one has all files
        paths = {"connectivity": (written.connectivity,), "timeseries": written.timeseries, "pca": (written.pca,)}
        provenance = Provenance(
            citation=CITATION,
            license=LICENSE,
            species="none (synthetic)",
            notes={"Synthetic": "made up by fctoolbox-hcp; no brain was measured"},
            synthetic=True,
            packages=PACKAGES,
        )
        return read_dense(
            _NAME,
            small_space(written),
            written.projection,
            open_activity(paths[activity], kinds[activity]),
            kinds[activity],
            Reading(targets, sources, fwhm=fwhm),
            provenance,
        )


def small_space(written: DenseFiles) -> DenseSpace:
    """The grayordinates and surfaces of small files, with the annotation ``planted``."""
    from fctoolbox_hcp.cifti import brain_models

    assert written.grayordinates is not None
    assert written.midthickness is not None
    assert written.sphere is not None
    structures = structures_of(brain_models(written.grayordinates), written.grayordinates)
    meshes = {name: read_mesh(path, written.sphere[name]) for name, path in written.midthickness.items()}
    n = max(each.rows.stop for each in structures.values())
    planted = np.full(n, "none", dtype="U8")
    planted[: len(written.modules)] = written.modules.astype(str)
    return DenseSpace(structures, meshes, {"planted": planted})


def write_dense(folder: Path, *, full_size: bool = True, planted: bool = True, rng: int | Rng = 0) -> DenseFiles:
    """Write a synthetic dense connectome and a projection, with planted modules on the surface.

    At full size the grayordinates and surfaces are the HCP's; ``SYNTHETIC.dconn.nii`` has its 91,282 × 91,282 numbers,
    33 GB, of which only those within the left cortex are written: the rest is a hole in the file that reads as zeros
    and takes no room (3.5 GB do). The left cortex receives streamlines from both thalami.

    Parameters
    ----------
    folder : Path
    full_size : bool
        False writes a brain of 1,100 vertices, all files and all numbers of them.
    planted : bool
        See `load`.
    rng : int or Generator

    Returns
    -------
    DenseFiles
    """
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(rng)
    if full_size:
        return _write_large(folder, planted, rng)
    return _write_small(folder, planted, rng)


def _write_large(folder: Path, planted: bool, rng: Rng) -> DenseFiles:
    axis = template_axis()
    space = published_space(())
    left, right = (space.structures[f"CORTEX_{side}"] for side in _SIDES)
    modules = np.concatenate([_modules(space.meshes[each.name].sphere[each.vertices]) for each in (left, right)])
    signals = _signals(space.meshes[left.name].vertices[left.vertices], modules[: len(left)], rng)
    written = DenseFiles(folder / "SYNTHETIC.dconn.nii", folder / "SYNTHETIC_streamlines.npz", modules)
    with written_whole(written.connectivity) as path:
        _write_connectome(path, axis, left, signals)
    _write_streamlines(written.projection, space.structures, modules, (left,), planted, rng)
    return written


def _write_small(folder: Path, planted: bool, rng: Rng) -> DenseFiles:
    half = miniature._make_half()
    names = {f"CORTEX_{side}": side.lower() for side in _SIDES}
    written = DenseFiles(
        connectivity=folder / "SYNTHETIC.dconn.nii",
        projection=folder / "SYNTHETIC_streamlines.npz",
        modules=np.array([], dtype=np.int64),
        timeseries=tuple(folder / f"SYNTHETIC_run-{run + 1}.dtseries.nii" for run in range(_N_RUNS)),
        pca=folder / "SYNTHETIC_groupPCA.dtseries.nii",
        grayordinates=folder / "SYNTHETIC.dscalar.nii",
        midthickness={
            name: folder / f"SYNTHETIC.{side[0].upper()}.midthickness.surf.gii" for name, side in names.items()
        },
        sphere={name: folder / f"SYNTHETIC.{side[0].upper()}.sphere.surf.gii" for name, side in names.items()},
    )
    assert written.grayordinates is not None
    miniature._write_grayordinates(written.grayordinates, half)
    for name, side in names.items():
        sphere = miniature._SPHERE_RADIUS * miniature._on_side(half.sphere, side)
        faces = miniature._faces(half, side)
        miniature._write_gifti(written.midthickness[name], miniature._cortex(half, side), faces)  # type: ignore[index]
        miniature._write_gifti(written.sphere[name], sphere, faces)  # type: ignore[index]
    space = small_space(written)
    cortices = [space.structures[name] for name in names]
    modules = np.concatenate([_modules(space.meshes[each.name].sphere[each.vertices]) for each in cortices])
    positions = space.positions_of(list(space.structures.values()))
    n_voxels = len(positions) - len(modules)
    everywhere = np.concatenate([modules, rng.integers(0, _N_MODULES, n_voxels)])
    signals = _signals(positions, everywhere, rng)
    _write_activity(written, signals, rng)
    _write_streamlines(written.projection, space.structures, modules, cortices, planted, rng)
    return replace(written, modules=modules)


def _modules(sphere: Floats) -> NDArray[np.int64]:
    """Patches around points spread evenly over a hemisphere: all vertices nearest to one of them."""
    seeds = miniature._fibonacci_sphere(_N_MODULES)
    return np.asarray(np.argmax(sphere @ seeds.T, axis=1), dtype=np.int64)


def _signals(positions: Floats, modules: NDArray[np.int64], rng: Rng) -> NDArray[np.float32]:
    """(n, k) rows of length one, whose products are the correlations: modules, smooth fields, noise."""
    waves = rng.standard_normal((3, _N_SMOOTH)) / _LENGTH
    smooth = np.cos(positions @ waves + rng.uniform(0, 2 * np.pi, _N_SMOOTH)) * np.sqrt(2 / _N_SMOOTH)
    noise = rng.standard_normal((len(positions), _N_NOISE)) / np.sqrt(_N_NOISE)
    parts = [share * part for share, part in zip(_PARTS, (np.eye(_N_MODULES)[modules], smooth, noise), strict=True)]
    signals = np.concatenate(parts, axis=1)
    return np.asarray(signals / np.linalg.norm(signals, axis=1, keepdims=True), dtype=np.float32)


def _write_activity(written: DenseFiles, signals: NDArray[np.float32], rng: Rng) -> None:
    from nibabel.cifti2 import SeriesAxis

    from fctoolbox_hcp.cifti import brain_models

    assert written.grayordinates is not None
    axis = brain_models(written.grayordinates)
    _write_image(written.connectivity, _fisher_z(signals @ signals.T), (axis, axis), _CONNECTOME_INTENT)
    for path in written.timeseries:
        series = rng.standard_normal((_N_TIMES, signals.shape[1])) @ signals.T
        # as scanners give it: thousands, and other ones in each voxel
        series = 10_000 + 500 * rng.standard_normal(len(signals)) + 100 * series
        _write_image(path, series, (SeriesAxis(0, 0.72, _N_TIMES), axis), _SERIES_INTENT)
    assert written.pca is not None
    components = signals.T * rng.uniform(1, 5, len(signals))
    _write_image(written.pca, components, (SeriesAxis(0, 1, len(components)), axis), _SERIES_INTENT)


def _fisher_z(correlation: NDArray[np.floating[Any]]) -> NDArray[np.floating[Any]]:
    return np.asarray(np.arctanh(np.clip(correlation, -_LARGEST_R, _LARGEST_R, out=correlation), out=correlation))


def _write_image(path: Path, values: Any, axes: tuple[Any, Any], intent: tuple[int, str]) -> None:
    from nibabel.cifti2 import Cifti2Image

    image = Cifti2Image(np.asarray(values, dtype=np.float32), axes)
    image.update_headers()
    image.nifti_header.set_intent(intent[0], name=intent[1], allow_unknown=True)
    with written_whole(path) as temporary:
        image.to_filename(temporary)


def _write_connectome(path: Path, axis: Any, structure: Structure, signals: NDArray[np.float32]) -> None:
    """A dense connectome of the right size, in which only the numbers within one structure are written."""
    from nibabel.cifti2 import Cifti2Header, Cifti2Image
    from nibabel.cifti2.parse_cifti2 import Cifti2Extension
    from tqdm import tqdm

    n = len(axis)
    header = Cifti2Header.from_axes((axis, axis))
    nothing = np.lib.stride_tricks.as_strided(np.zeros(1, np.float32), shape=(n, n), strides=(0, 0))
    image = Cifti2Image(nothing, header)
    image.update_headers()
    nifti = image.nifti_header.copy()
    nifti.set_data_dtype(np.float32)
    nifti.extensions.append(Cifti2Extension(32, header.to_xml()))
    nifti.set_data_shape((1, 1, 1, 1, n, n))
    nifti.set_intent(_CONNECTOME_INTENT[0], name=_CONNECTOME_INTENT[1], allow_unknown=True)
    nifti["magic"] = b"n+2"
    size = int(nifti.sizeof_hdr) + 4 + nifti.extensions.get_sizeondisk()
    offset = -(-size // _ALIGNED) * _ALIGNED
    nifti["vox_offset"] = offset
    with path.open("wb") as stream:
        nifti.write_to(stream)
        stream.truncate(offset + 4 * n * n)
        first = structure.rows.start
        bar = tqdm(range(0, len(structure), 256), desc="synthetic connectome", unit="block", delay=2, disable=None)
        for start in bar:
            block = np.asarray(_fisher_z(signals[start : start + 256] @ signals.T), dtype="<f4")
            for row, values in enumerate(block, start=start):
                stream.seek(offset + 4 * ((first + row) * n + first))
                stream.write(values.data)


def _write_streamlines(
    path: Path,
    structures: Mapping[str, Structure],
    modules: NDArray[np.int64],
    cortices: Sequence[Structure],
    planted: bool,
    rng: Rng,
) -> None:
    """Counts between cortex and thalamus: the vertices of a module end around one place on each side."""
    thalami = [structures[f"THALAMUS_{side}"] for side in _SIDES]
    n = max(each.rows.stop for each in structures.values())
    first = cortices[0].rows.start
    chosen = np.concatenate([np.arange(each.rows.start, each.rows.stop) for each in cortices])
    bare = rng.uniform(size=len(chosen)) < _SHARE_BARE
    blocks: list[Any] = []
    for thalamus in thalami:
        assert thalamus.positions is not None
        seeds = thalamus.positions[np.linspace(0, len(thalamus) - 1, 2 * _N_MODULES + 1).astype(int)[1::2]]
        own = modules[chosen - first] if planted else rng.integers(0, _N_MODULES, len(chosen))
        counts = rng.poisson(_STREAMLINES / len(thalami), len(chosen))
        counts[bare] = 0
        vertices = np.repeat(np.arange(len(chosen)), counts)
        ends = seeds[own[vertices]] + rng.normal(0, _SPREAD, (len(vertices), 3))
        blocks.append((chosen[vertices], thalamus.rows.start + _nearest(thalamus.positions, ends)))
    rows, columns = (np.concatenate(each) for each in zip(*blocks, strict=True))
    half = sparse.coo_array((np.ones(len(rows), dtype=np.float32), (rows, columns)), shape=(n, n)).tocsr()
    with written_whole(path) as temporary:
        sparse.save_npz(temporary, sparse.csr_matrix(half + half.T))


def _nearest(positions: Floats, ends: Floats) -> NDArray[np.int64]:
    from scipy.spatial import cKDTree

    tree: Any = cKDTree(positions)
    return np.asarray(tree.query(ends)[1], dtype=np.int64)
