"""The mouse at voxel scale: the voxel model of Knox et al. 2018 onto regions or voxels, and their rsfMRI."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fctoolbox.data import DataFile, cache_folder, fetch, sha256_of
from fctoolbox.errors import DataUnavailable, InputError, check_whole, listed
from fctoolbox.system import FileRecord, InputProjection, Provenance, RecurrentSystem
from fctoolbox_allen.ccf import Structure, read_structures
from fctoolbox_allen.experiments import reference_files
from fctoolbox_allen.files import ANNOTATION, STRUCTURES
from fctoolbox_allen.grid import LabelGrid, read_grid
from fctoolbox_allen.knox.masks import MaskParams, check_sides, parts_of, read_mask, voxels_of
from fctoolbox_allen.knox.model import factored_projection
from fctoolbox_allen.knox.store import HOW_TO_OBTAIN, ModelFiles, find_file, find_model, open_store
from fctoolbox_allen.rois import MINIATURE_N_ROIS, N_ROIS, write_rois
from fctoolbox_allen.voxel_choices import Choices
from fctoolbox_allen.voxel_series import Series, read_activity, recurrent_activity
from fctoolbox_allen.voxel_units import (
    Side,
    Units,
    World,
    find_sources,
    parcels_of,
    side_of,
    source_rows,
    unit_volume,
    voxel_names,
)

CITATION = (
    "Knox et al. 2018 Network Neuroscience 3:217-236 doi:10.1162/netn_a_00066 (voxel model); "
    "Oh et al. 2014 Nature 508:207-214 doi:10.1038/nature13186 (tracer data); "
    "Coletta et al. 2020 Science Advances 6:eabb7187 doi:10.1126/sciadv.abb7187 (nodes); "
    "Wang et al. 2020 Cell doi:10.1016/j.cell.2020.04.007 (CCFv3)"
)
LICENSE = "voxel model and CCFv3: Allen Institute Terms of Use (free for research, with citation); rsfMRI: your own"
MODEL_FILES = (STRUCTURES, ANNOTATION)
SYNTHETIC_MARK = "SYNTHETIC.txt"  # in the folder of a model that was made up


def load_voxel(
    *,
    model: str | None = None,
    annotation: str | None = None,
    tree: str | None = None,
    export: str | Path | None = None,
    sources: str = "Thalamus",
    targets: str = "Isocortex",
    hemisphere: str = "left",
    units: str = "rois",
    n_rois: int = N_ROIS,
    roi_volume: str | None = None,
    save_rois: str | None = None,
    resolution: int = 100,
    max_gb: float = 8.0,
    series: str | None = None,
    runs: str | Sequence[str | Path] | None = None,
    mask: str | Path | None = None,
    t_r: float | None = None,
    confounds: str | Sequence[str | Path] | None = None,
    columns: str | Sequence[str] | None = None,
    scrub: Any = None,
    low: float = 0.01,
    high: float = 0.1,
    smoothing_fwhm: float = 0.5,
    seed: int = 0,
) -> RecurrentSystem:
    """Regions or voxels of the mouse brain, what projects into them voxel by voxel, and their rsfMRI.

    Parameters
    ----------
    model : str
        Folder with the published files of the voxel model: weights.csv.gz, nodes.csv.gz, source_mask_params.json,
        target_mask_params.json. They are converted once (about 1.2 GB in the cache).
    annotation : str, optional
        Annotation volume of 2017 at 100 µm, or at 25 µm, of which every fourth voxel is taken. When left out: the
        model folder's annotation_100.nrrd or annotation_25.nrrd, else the published one at 25 µm.
    tree : str, optional
        Structure tree. When left out: the model folder's tree.json or structures.json, else the published one.
    export : path, optional
        Take annotation and structure tree from a folder that `mouse-experiments` exported.
    sources, targets : str
        Structures of the tree by acronym or name, several with commas between them (then by acronym). ``"all"``
        sources are all divisions of the model in which no targets lie.
    hemisphere : {"left", "right"}
        Of the units. The model's sources are on the right; for units on the left each voxel receives what the voxel
        opposite receives, and voxels without one in the target structures are left out.
    units : {"rois", "voxels"}
    n_rois : int
        Regions of the whole brain (see `fctoolbox_allen.rois`); the targets have their share of them.
    roi_volume : str, optional
        A label volume on the grid of the annotation (NIfTI or NRRD), in place of regions of our own. A region is a
        unit if at least half of its voxels in the hemisphere lie in the targets.
    save_rois : str, optional
        Where to write the volume of regions (.nii.gz); the names of units end in its numbers.
    resolution : {100, 200}
        µm, of units that are voxels; at 200 a unit is the voxels of one division in a block of 2 × 2 × 2.
    max_gb : float
        Refuse units whose matrices would need more memory.
    series : str, optional
        Time series that are there already (.npz): ``rois`` (numbers in the volume of regions) and a
        (n_times, n_rois) array for each run; optionally ``t_r`` (s), and ``n_rois`` and ``seed`` of the regions, which
        are then checked; not for voxels or a `roi_volume`. When neither this nor `runs` is given: the model folder's
        series.npz.
    runs : str or sequence of path, optional
        Your own rsfMRI in the space of the CCF: 4-D NIfTI files, names or patterns with commas between them.
    mask, t_r, confounds, columns, scrub, low, high, smoothing_fwhm
        Belong to `runs`, without which they are refused (but for `t_r`, which series may have); as for
        ``mouse-regional``.
    seed : int
        Of the regions.

    Returns
    -------
    RecurrentSystem
        Annotations: hemisphere, division, group and area (that most of a unit's voxels belong to).

    Raises
    ------
    InputError
        If an option cannot be met, files do not fit each other, or the units are too many for the memory.
    DataUnavailable
        If a file cannot be had.

    References
    ----------
    Knox et al. 2018, Network Neuroscience; Coletta et al. 2020, Science Advances.
    """
    options = {name: value for name, value in locals().items() if name != "model"}
    if model is None:
        raise DataUnavailable(f"mouse-voxel needs the files of the voxel model: {HOW_TO_OBTAIN}")
    folder = Path(str(model)).expanduser()
    return read_voxel_system(folder, Choices(**options), "mouse-voxel", cache_folder() / "allen")


def load_voxel_miniature(
    *,
    sources: str = "Thalamus",
    targets: str = "Isocortex",
    hemisphere: str = "left",
    units: str = "rois",
    n_rois: int = MINIATURE_N_ROIS,
    resolution: int = 100,
    max_gb: float = 8.0,
    seed: int = 0,
) -> RecurrentSystem:
    """A synthetic stand-in for `load_voxel`: a brain four times narrower, in the same file formats.

    Parameters
    ----------
    sources, targets, hemisphere, units, n_rois, resolution, max_gb
        See `load_voxel`.
    seed : int
        Of the regions and of the made-up factors and time series.

    Returns
    -------
    RecurrentSystem
        The planted module of each unit is the annotation ``planted``.
    """
    from fctoolbox_allen.voxel_miniature import planted_modules, write_model

    check_whole("seed", seed, 0)

    choices = Choices(
        sources=sources,
        targets=targets,
        hemisphere=hemisphere,
        units=units,
        n_rois=n_rois,
        resolution=resolution,
        max_gb=max_gb,
        seed=seed,
    )
    with TemporaryDirectory() as temporary:
        folder = Path(temporary)
        modules = write_model(folder / "model", rng=seed, choices=choices)
        system = read_voxel_system(folder / "model", choices, "mouse-voxel-mini", folder / "store")
    return replace(system, annotations={**system.annotations, "planted": planted_modules(system, modules)})


def read_world(folder: Path, model: ModelFiles, choices: Choices) -> tuple[World, tuple[FileRecord, ...]]:
    """Annotation, tree and masks, and records of those that were fetched."""
    tree, volume, records = _reference(folder, choices)
    masks = read_mask(model.source_mask), read_mask(model.target_mask)
    check_sides(*masks)
    return world_of(read_structures(tree), read_grid(volume), *masks), records


def world_of(
    structures: Mapping[str, Structure], grid: LabelGrid, source_mask: MaskParams, target_mask: MaskParams
) -> World:
    """The space that masks describe."""
    return World(
        grid,
        structures,
        voxels_of(grid, structures, source_mask),
        voxels_of(grid, structures, target_mask),
        parts_of(target_mask.structure_ids, structures),
    )


def read_voxel_system(folder: Path, choices: Choices, name: str, keep: Path) -> RecurrentSystem:
    """Read a model's folder, and put the system together.

    Parameters
    ----------
    folder : Path
        With the model's files.
    choices : Choices
    name : str
        Of the source.
    keep : Path
        Where the converted factors are kept.
    """
    model = find_model(folder)
    world, records = read_world(folder, model, choices)
    sources = find_sources(choices, world)
    side = side_of(world, choices)
    volume = unit_volume(world, side, choices)
    if choices.save_rois is not None:
        write_rois(Path(choices.save_rois).expanduser(), volume, world.grid)
    with _regions_named(choices):
        parcels = parcels_of(world, side, volume, choices)
        series = read_activity(folder, parcels.ids, volume, world.grid, choices)
    kept = np.isin(parcels.ids, series.rois)
    if np.count_nonzero(kept) < 3:
        raise InputError(_why_few(np.count_nonzero(kept), parcels.ids, series, choices))
    left_out = parcels.left_out | {
        parcels.names[i]: series.dropped.get(int(parcels.ids[i]), "has no time series") for i in np.flatnonzero(~kept)
    }
    units = Units.of(world, parcels, kept)

    source_voxels, source_groups = source_rows(world, sources, choices)
    store = open_store(model, n_sources=len(world.sources), n_targets=len(world.targets), folder=keep)
    weights = factored_projection(
        store, source_voxels, side.column[units.members], units.unit_of_member, len(units.names)
    )
    synthetic = (folder / SYNTHETIC_MARK).is_file()
    return RecurrentSystem(
        name=f"{name} (synthetic)" if synthetic else name,
        units=units.names,
        projection=InputProjection(weights, voxel_names(world, world.sources[source_voxels]), tuple(source_groups)),
        activity=recurrent_activity(series, parcels.ids[kept], choices),
        geometry=units.geometry(world.grid),
        annotations={"hemisphere": (choices.hemisphere,) * len(units.names), **units.annotations},
        provenance=Provenance(
            citation="none: synthetic data made by fctoolbox" if synthetic else CITATION,
            license="CC0-1.0" if synthetic else LICENSE,
            species="mouse (synthetic)" if synthetic else "mouse",
            files=records,
            notes=_notes(choices, side, weights.left.shape[1], store.weights.shape[1], series, len(source_voxels))
            | ({} if synthetic else {"Model files": listed(f"{file} {sha}" for file, sha in store.sha256.items())}),
            synthetic=synthetic,
            left_out=left_out,
            packages=("pynrrd", "nibabel", *(("nilearn",) if choices.runs is not None else ())),
        ),
    )


@contextmanager
def _regions_named(choices: Choices) -> Iterator[None]:
    """Say where the regions were written, when nothing but they came of the call."""
    try:
        yield
    except InputError as error:
        if choices.save_rois is None:
            raise
        written = Path(choices.save_rois).expanduser()
        raise type(error)(f"{str(error).removesuffix('.')}. The regions were written to {written}") from error


def _why_few(n_kept: int, ids: NDArray[np.int64], series: Series, choices: Choices) -> str:
    units = f"of the {len(ids):,} units of {choices.targets} ({choices.hemisphere})"
    have = "has" if n_kept == 1 else "have"
    dropped = {int(each): series.dropped[int(each)] for each in ids if int(each) in series.dropped}
    without = "has" if len(dropped) == 1 else "have"
    if n_kept + len(dropped) < 3:
        return (
            f"the time series name {n_kept + len(dropped)} {units}, and at least 3 are needed; do their numbers "
            "belong to another volume of regions?"
        )
    reasons = listed(f"{each}: {why}" for each, why in dropped.items())
    return (
        f"{n_kept} {units} {have} time series of use, and at least 3 are needed; {len(dropped):,} {without} none: "
        f"{reasons}"
    )


def _notes(
    choices: Choices, side: Side, n_used: int, n_experiments: int, series: Series, n_sources: int
) -> dict[str, str]:
    n_chosen = int(np.count_nonzero(side.chosen))
    if side.agreement is None:
        mirrored = "none: the model's own hemisphere"
    else:
        mirrored = (
            "sources exist on the right only; each voxel on the left receives what the voxel opposite receives "
            f"({side.agreement:.1%} of the annotation's voxels have the label of the voxel opposite); "
            f"{side.n_without:,} of {n_chosen:,} voxels without one in the targets are left out"
        )
    if choices.units == "voxels":
        units = f"voxels of {choices.resolution} µm"
    elif choices.roi_volume is not None:
        units = f"regions of {Path(choices.roi_volume).name} ({sha256_of(Path(choices.roi_volume).expanduser())[:12]}…)"
    else:
        units = (
            f"Voronoi cells, {choices.n_rois:,} in the whole brain, seeds drawn in each division and hemisphere in "
            f"proportion to its voxels (seed {choices.seed}; our reading of Coletta et al. 2020)"
        )
    reference = {} if choices.export is None else {"Annotation": f"of the export {choices.export}, as its tree"}
    lengths = [f"{name}: {len(run)}" for name, run in series.runs.items()]
    return {
        "Weights": f"voxel model, {n_sources:,} source voxels through {n_used} of {n_experiments} experiments; "
        "a unit's row is the mean over its voxels",
        **reference,
        "Mirroring": mirrored,
        "Regions": units,
        "Scans": f"{len(lengths)} (volumes: {listed(lengths)}); mean of their Fisher z, as r",
        **series.notes,
    }


def _reference(folder: Path, choices: Choices) -> tuple[Path, Path, tuple[FileRecord, ...]]:
    """The structure tree, the annotation, and records of those that were fetched."""
    if choices.export is not None:
        files = reference_files(Path(choices.export).expanduser())
        return files["structures"], files["annotation"], ()
    tree, of_tree = _beside(folder, choices.tree, "tree", STRUCTURES, "tree.json", "structures.json")
    volume, of_volume = _beside(
        folder, choices.annotation, "annotation", ANNOTATION, "annotation_100.nrrd", "annotation_25.nrrd"
    )
    return tree, volume, tuple(record for record in (of_tree, of_volume) if record is not None)


def _beside(
    folder: Path, given: str | None, option: str, published: DataFile, *names: str
) -> tuple[Path, FileRecord | None]:
    """The file that was given, one in the model's folder, or the published one (and then its record)."""
    if given is not None:
        path = Path(given).expanduser()
        if not path.is_file():
            raise InputError(f"{option} is {given}, which is no file")
        return path, None
    found = find_file(folder, *names)
    return (found, None) if found is not None else (fetch(published), published.record)
