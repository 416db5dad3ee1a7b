"""A synthetic voxel model, written in the published files' formats: in miniature, or as large as the real one.

What is planted: the targets lie in six modules, the same on both sides; each thalamic experiment projects into one of
them, and regions of a module share a signal. Experiments of other divisions project into patches that have nothing to
do with the modules. As in the published files: `%.18e` with commas, gzip in one member, no header; weights that add up
to 1 for each source voxel and are zero outside its division; most of nodes exactly zero.
"""

import json
import shutil
import zlib
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from fctoolbox_atlases import load_atlas
from numpy.typing import NDArray

from fctoolbox.data import fetch, written_whole
from fctoolbox.errors import blamed_on
from fctoolbox.system import RecurrentSystem
from fctoolbox_allen.ccf import read_structures
from fctoolbox_allen.files import ANNOTATION, STRUCTURES
from fctoolbox_allen.grid import SPACING_UM, LabelGrid, mirror_of, partners, read_grid
from fctoolbox_allen.knox.masks import MaskParams
from fctoolbox_allen.knox.store import NAMES
from fctoolbox_allen.miniature import write_structures
from fctoolbox_allen.rois import MINIATURE_N_ROIS, N_ROIS
from fctoolbox_allen.voxel import SYNTHETIC_MARK, world_of
from fctoolbox_allen.voxel_choices import Choices
from fctoolbox_allen.voxel_series import SERIES
from fctoolbox_allen.voxel_units import Parcels, World, parcels_of, side_of, unit_volume

DIVISIONS = (315, 698, 1089, 703, 477, 803, 549, 1097, 313, 771, 354, 512)
THALAMUS = 549
RIGHT, BOTH = 2, 3
N_MODULES = 6
N_EXPERIMENTS = 428  # of the published model
_N_MINIATURE = 96
_LEAST_EXPERIMENTS = 8  # of a division
_N_RUNS, _N_TIMES, _T_R = 4, 300, 1.0
_NARROWER = 4  # times that the miniature's brain is narrower than the real one
_SHAPE = (33, 20, 28)
_RADIUS_UM = 600.0 / _NARROWER
# A value is one of these levels, so that its text is looked up and not worked out: 0, and logarithmic steps of 0.04 %.
_N_LEVELS = 2**16
_SMALLEST, _LARGEST = 1e-9, 10.0
_N_PATCHES, _IN_PATCHES = 500, 0.2
_ROW_VALUES = 2**19  # values turned into text together
_COMPRESSION = 6


def write_model(
    folder: str | Path,
    *,
    rng: int | np.random.Generator = 0,
    full_size: bool = False,
    choices: Choices | None = None,
    n_threads: int = 2,
) -> NDArray[np.int64]:
    """Write annotation, tree, the model's four files and time series of its regions into a folder.

    Parameters
    ----------
    folder : str or Path
        What is there already is replaced only when all of it is written.
    rng : int or Generator
        Same number, same content.
    full_size : bool
        On the published annotation, with the published shapes (226,346 × 428 and 428 × 448,962; 7.2 GB of text, about
        0.6 GB compressed); else in a brain a quarter as wide.
    choices : Choices, optional
        Whose units get time series; when left out, the defaults of ``mouse-voxel`` (15,314 regions) in full size, and
        of ``mouse-voxel-mini`` (1,000) else.
    n_threads : int
        That compress.

    Returns
    -------
    (ni, nj, nk) integers
        The planted module of each target voxel, -1 elsewhere.

    Raises
    ------
    InputError
        If the brain does not have the units of the choices, or the folder cannot be written.
    DataUnavailable
        If the full size is wanted, and the published annotation or tree cannot be had.
    """
    folder = Path(folder).expanduser()
    choices = choices or Choices(n_rois=N_ROIS if full_size else MINIATURE_N_ROIS)
    with _filled_whole(folder) as temporary:
        return _write_in(temporary, np.random.default_rng(rng), full_size, choices, n_threads)


@contextmanager
def _filled_whole(folder: Path) -> Iterator[Path]:
    """A temporary folder, whose files come into `folder` only when the block ends well."""
    with blamed_on(f"{folder} cannot be written"):
        made = [each for each in (folder, *folder.parents) if not each.exists()]
        folder.mkdir(parents=True, exist_ok=True)
        try:
            with TemporaryDirectory(dir=folder, prefix=".") as name:
                yield Path(name)
                for path in sorted(Path(name).iterdir()):
                    path.replace(folder / path.name)
        except BaseException:
            with suppress(OSError):  # one of them may have got other files meanwhile
                for each in made:
                    each.rmdir()
            raise


def _write_in(
    folder: Path, rng: np.random.Generator, full_size: bool, choices: Choices, n_threads: int
) -> NDArray[np.int64]:
    if full_size:
        shutil.copyfile(fetch(STRUCTURES), folder / "tree.json")
        grid = read_grid(fetch(ANNOTATION))
    else:
        write_structures(folder / "tree.json", load_atlas("allen-ccf"))
        grid = _narrow_brain()
    masks = MaskParams(DIVISIONS, RIGHT), MaskParams(DIVISIONS, BOTH)
    world = world_of(read_structures(folder / "tree.json"), grid, *masks)
    parcels = _parcels(world, choices)  # what cannot be met is said before the long work
    write_annotation(folder / "annotation_100.nrrd", grid)
    for name, mask in zip(NAMES[2:], masks, strict=True):
        content = {"structure_ids": list(mask.structure_ids), "hemisphere_id": mask.hemisphere_id}
        (folder / name).write_text(json.dumps(content, indent=2), encoding="utf-8")
    division = world.source_divisions()
    modules = _modules(world)
    centres, of_experiment = _experiments(world, division, N_EXPERIMENTS if full_size else _N_MINIATURE, rng)
    words = _levels()
    write_table(
        folder / NAMES[0], _weight_rows(world, division, centres, of_experiment), len(centres), words, n_threads
    )
    write_table(folder / NAMES[1], _node_rows(world, modules, of_experiment, rng), len(world.targets), words, n_threads)
    write_series(folder / SERIES, parcels, modules, choices, rng)
    (folder / SYNTHETIC_MARK).write_text(
        "Synthetic data made by fctoolbox (CC0-1.0): a model and time series with planted modules, in the formats of "
        "the voxel model of Knox et al. 2018. Nothing here was measured.\n",
        encoding="utf-8",
    )
    volume = np.full(world.grid.labels.shape, -1, dtype=np.int64)
    volume[tuple(world.targets.T)] = modules
    return volume


def planted_modules(system: RecurrentSystem, modules: NDArray[np.int64]) -> tuple[str, ...]:
    """The planted module that most voxels of each unit lie in."""
    assert system.geometry is not None
    assert system.geometry.volume is not None
    unit = system.geometry.volume.unit_of_voxel
    counts = np.zeros((system.n_units, N_MODULES), dtype=np.int64)
    np.add.at(counts, (unit[unit >= 0], modules[unit >= 0]), 1)
    return tuple(f"planted-{module}" for module in counts.argmax(axis=1))


def write_annotation(path: Path, grid: LabelGrid) -> None:
    """Write an annotation volume as the Allen Institute does."""
    import nrrd

    nrrd.write(
        str(path),
        grid.labels.astype(np.uint32),
        header={
            "space": "left-posterior-superior",
            "space directions": np.diag([grid.spacing] * 3),
            "space origin": np.zeros(3),
            "kinds": ["domain"] * 3,
            "encoding": "gzip",
        },
        index_order="F",
    )


def _narrow_brain() -> LabelGrid:
    """The centroids of the real structures drawn together, and each voxel the nearest one's; symmetric."""
    from scipy.spatial import cKDTree

    atlas = load_atlas("allen-ccf")
    leaves = ~np.isin(atlas["acronym"], atlas["parent"]) & (atlas["hemisphere"] == "right")
    centroids = np.stack([atlas["ap_um"], atlas["dv_um"], atlas["ml_um"]], axis=-1)[leaves] / _NARROWER
    ids = np.append(atlas["id"][leaves], 0)  # what is far from all has the index past the last one
    voxels = np.moveaxis(np.indices(_SHAPE), 0, -1) * SPACING_UM
    _, nearest = cKDTree(centroids).query(voxels, distance_upper_bound=_RADIUS_UM)
    labels = ids[nearest].astype(np.int64)
    half = _SHAPE[2] // 2
    # As in the real one, voxel z lies opposite of n - z; the first has no partner.
    labels[:, :, 1:half] = labels[:, :, :half:-1]
    labels[:, :, 0] = 0
    return LabelGrid(labels)


def _modules(world: World) -> NDArray[np.int64]:
    """The module of each target voxel: the nearest of six points, far from each other, on either side alike."""
    folded = _folded(world, world.targets)
    seeds = [int(np.argmin(folded[:, 0]))]
    cortex = np.flatnonzero(world.division_of(world.targets) == DIVISIONS[0])
    nearest = np.full(len(cortex), np.inf)
    for _ in range(N_MODULES):
        nearest = np.minimum(nearest, np.linalg.norm(folded[cortex] - folded[seeds[-1]], axis=1))
        seeds.append(int(cortex[np.argmax(nearest)]))
    distances = np.linalg.norm(folded[:, None, :] - folded[seeds[1:]][None], axis=-1)
    return np.asarray(distances.argmin(axis=1))


def _folded(world: World, voxels: NDArray[np.int64]) -> NDArray[np.float32]:
    """Voxels of the left brought over to the right."""
    opposite = partners(world.grid, mirror_of(world.grid), voxels)
    folded = voxels.copy()
    folded[:, 2] = np.maximum(voxels[:, 2], opposite[:, 2])
    return folded.astype(np.float32)


def _experiments(
    world: World, division: NDArray[np.int64], n: int, rng: np.random.Generator
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Where the injections are, and in which division; each has some."""
    sizes = np.array([np.count_nonzero(division == each) for each in DIVISIONS])
    counts = np.maximum(_LEAST_EXPERIMENTS, np.floor(n * sizes / sizes.sum())).astype(int)
    counts[counts.argmax()] += n - counts.sum()
    centres, of_experiment = [], []
    for each, count in zip(DIVISIONS, counts, strict=True):
        members = np.flatnonzero(division == each)
        centres.append(world.sources[np.sort(rng.choice(members, count, replace=False))])
        of_experiment.append(np.full(count, each))
    return np.concatenate(centres).astype(np.float32), np.concatenate(of_experiment)


def _levels() -> NDArray[np.uint8]:
    """The text of each level, as ``np.savetxt`` writes its value."""
    values = np.zeros(_N_LEVELS, dtype=np.float32)
    values[1:] = np.geomspace(_SMALLEST, _LARGEST, _N_LEVELS - 1)
    words = np.array([b"%.18e" % value for value in values.astype(float)])
    return words.view(np.uint8).reshape(_N_LEVELS, -1)


def _level_of(values: NDArray[np.float32]) -> NDArray[np.uint16]:
    step = np.float32(np.log(_LARGEST / _SMALLEST) / (_N_LEVELS - 2))
    with np.errstate(divide="ignore"):
        level = 1 + np.rint((np.log(values) - np.float32(np.log(_SMALLEST))) / step)
    return np.where(values > 0, np.clip(level, 1, _N_LEVELS - 1), 0).astype(np.uint16)


def _weight_rows(
    world: World, division: NDArray[np.int64], centres: NDArray[np.float32], of_experiment: NDArray[np.int64]
) -> Iterator[NDArray[np.uint16]]:
    """Levels of some rows of weights at a time: kernels around the injections of a voxel's own division."""
    n = len(centres)
    step = max(1, _ROW_VALUES // n)
    # As wide as leaves no voxel far from all, whatever the division's size.
    width = {
        each: (np.count_nonzero(division == each) / np.count_nonzero(of_experiment == each)) ** (1 / 3)
        for each in DIVISIONS
    }
    for start in range(0, len(division), step):
        rows = slice(start, start + step)
        kernel = np.zeros((len(division[rows]), n), dtype=np.float32)
        for each in np.unique(division[rows]):
            here, its = np.flatnonzero(division[rows] == each), np.flatnonzero(of_experiment == each)
            apart = world.sources[rows][here, None, :].astype(np.float32) - centres[its][None]
            squared = np.einsum("ijk,ijk->ij", apart, apart)
            squared -= squared.min(axis=1, keepdims=True)  # the nearest always counts
            part = np.exp(-squared / np.float32(2 * width[int(each)] ** 2))
            kernel[np.ix_(here, its)] = part / part.sum(axis=1, keepdims=True)
        yield _level_of(kernel)


def _node_rows(
    world: World, modules: NDArray[np.int64], of_experiment: NDArray[np.int64], rng: np.random.Generator
) -> Iterator[NDArray[np.uint16]]:
    """Levels of one row of nodes at a time: patches of the brain, and for the thalamus its module."""
    from scipy.spatial import cKDTree

    seeds = rng.choice(len(world.targets), min(_N_PATCHES, len(world.targets) // 8), replace=False)
    patch = cKDTree(world.targets[seeds]).query(world.targets)[1]
    thalamic = np.cumsum(of_experiment == THALAMUS) - 1
    for experiment, division in enumerate(of_experiment):
        on = (rng.random(len(seeds)) < _IN_PATCHES)[patch]
        strength = np.where(on, np.float32(1e-3), np.float32(0))
        if division == THALAMUS:
            own = modules == thalamic[experiment] % N_MODULES
            strength = np.where(own, np.float32(5e-2), np.float32(0.2) * strength)
        hit = np.flatnonzero(strength)
        values = np.zeros(len(patch), dtype=np.float32)
        values[hit] = strength[hit] * np.exp(rng.standard_normal(len(hit), dtype=np.float32))
        yield _level_of(values)[None]


def _parcels(world: World, choices: Choices) -> Parcels:
    """The units that the options choose."""
    side = side_of(world, choices)
    return parcels_of(world, side, unit_volume(world, side, choices), choices)


def write_series(
    path: Path, parcels: Parcels, modules: NDArray[np.int64], choices: Choices, rng: np.random.Generator
) -> None:
    """Write time series of units: a signal for each module, and noise."""
    counts = np.zeros((len(parcels.ids), N_MODULES))
    np.add.at(counts, (parcels.parcel_of_member, modules[parcels.members]), 1)
    share = (counts / counts.sum(axis=1, keepdims=True)).astype(np.float32)
    runs = {}
    for run in range(1, _N_RUNS + 1):
        signal = rng.standard_normal((_N_TIMES, N_MODULES), dtype=np.float32)
        noise = rng.standard_normal((_N_TIMES, len(parcels.ids)), dtype=np.float32)
        runs[f"run-{run}"] = signal @ share.T + np.float32(1.5) * noise
    drawn = choices.units == "rois" and choices.roi_volume is None
    made = {"n_rois": choices.n_rois, "seed": choices.seed} if drawn else {}
    with written_whole(path) as temporary:
        np.savez(temporary, allow_pickle=False, rois=parcels.ids, t_r=_T_R, **made, **runs)


def write_table(
    path: Path, rows: Iterable[NDArray[np.uint16]], n_columns: int, words: NDArray[np.uint8], n_threads: int = 2
) -> None:
    """Write levels as gzipped text, in threads that compress blocks on their own; the file has one member.

    Parameters
    ----------
    path : Path
    rows : iterable of (n_rows, n_columns) integers
        Levels.
    n_columns : int
    words : (n_levels, 24) bytes
        Of each level.
    n_threads : int
    """
    from fctoolbox_allen.knox import _text

    checksum, size = 0, 0
    waiting: deque[Future[bytes]] = deque()
    with written_whole(path) as temporary, temporary.open("wb") as stream, ThreadPoolExecutor(n_threads) as pool:
        stream.write(b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03")
        for block in rows:
            text = np.empty(block.size * _text.SLOT, dtype=np.uint8)
            _text.write(block.ravel(), words, n_columns, text)
            checksum, size = zlib.crc32(text.data, checksum), size + text.size
            waiting.append(pool.submit(_deflated, text))
            if len(waiting) > 2 * n_threads:
                stream.write(waiting.popleft().result())
        for each in waiting:
            stream.write(each.result())
        stream.write(b"\x03\x00")  # an empty last block
        stream.write(checksum.to_bytes(4, "little") + (size % 2**32).to_bytes(4, "little"))


def _deflated(text: NDArray[np.uint8]) -> bytes:
    """Raw deflate blocks that end on a byte, so that they can follow each other."""
    deflate = zlib.compressobj(_COMPRESSION, zlib.DEFLATED, -zlib.MAX_WBITS)
    return deflate.compress(text.data) + deflate.flush(zlib.Z_SYNC_FLUSH)
