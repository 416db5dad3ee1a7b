"""The mouse at voxel scale: projections of the model of Knox et al. 2018 onto regions or voxels, and rsfMRI of these."""

import importlib
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fctoolbox.data import DataFile, cache_folder, fetch, sha256_of
from fctoolbox.errors import DataUnavailable, InputError, blamed_on, check_whole, listed, suggestion
from fctoolbox.system import (
    FileRecord,
    Floats,
    Geometry,
    InputProjection,
    LabelVolume,
    Provenance,
    RecurrentActivity,
    RecurrentSystem,
)
from fctoolbox_allen.ccf import HEMISPHERES, Structure, read_structures
from fctoolbox_allen.files import ANNOTATION, STRUCTURES
from fctoolbox_allen.grid import ORIENTATION, LabelGrid, mirror_of, partners, read_grid
from fctoolbox_allen.knox.masks import parts_of, read_mask, voxels_of
from fctoolbox_allen.knox.model import factored_projection
from fctoolbox_allen.knox.store import HOW_TO_OBTAIN, ModelFiles, find_file, find_model, open_store
from fctoolbox_allen.rois import N_ROIS, read_rois, voronoi_rois, write_rois

CITATION = (
    "Knox et al. 2018 Network Neuroscience 3:217-236 doi:10.1162/netn_a_00066 (voxel model); "
    "Oh et al. 2014 Nature 508:207-214 doi:10.1038/nature13186 (tracer data); "
    "Coletta et al. 2020 Science Advances 6:eabb7187 doi:10.1126/sciadv.abb7187 (nodes); "
    "Wang et al. 2020 Cell doi:10.1016/j.cell.2020.04.007 (CCFv3)"
)
LICENSE = "voxel model and CCFv3: Allen Institute Terms of Use (free for research, with citation); rsfMRI: your own"
MODEL_FILES = (STRUCTURES, ANNOTATION)
SYNTHETIC_MARK = "SYNTHETIC.txt"  # in the folder of a model that was made up
SERIES = "series.npz"
ALL = "all"
_UNITS = ("rois", "voxels")
_RESOLUTIONS = (100, 200)
_MATRICES = 3  # of n × n at once in an analysis: similarity, connectivity, and one more while working
_NO_VOXEL, _NO_UNIT = -1, -2
_NEARLY_ONE = 1 - 1e-7
_SERIES_WORDS = ("rois", "n_rois", "seed", "t_r")


@dataclass(frozen=True)
class Choices:
    """The options of the voxel sources; see `load_voxel`."""

    annotation: str | None = None
    structures: str | None = None
    sources: str = "Thalamus"
    targets: str = "Isocortex"
    hemisphere: str = "left"
    units: str = "rois"
    n_rois: int = N_ROIS
    roi_volume: str | None = None
    save_rois: str | None = None
    resolution: int = 100
    max_gb: float = 8.0
    series: str | None = None
    runs: str | Sequence[str | Path] | None = None
    mask: str | Path | None = None
    t_r: float | None = None
    confounds: str | Sequence[str | Path] | None = None
    columns: str | Sequence[str] | None = None
    scrub: Any = None
    low: float = 0.01
    high: float = 0.1
    smoothing_fwhm: float = 0.5
    seed: int = 0

    def __post_init__(self) -> None:
        for option, value, known in (
            ("hemisphere", self.hemisphere, HEMISPHERES),
            ("units", self.units, _UNITS),
            ("resolution", self.resolution, _RESOLUTIONS),
        ):
            if value not in known:
                words = [str(each) for each in known]
                raise InputError(f"{option} is {value!r}; it must be {' or '.join(words)}.{suggestion(str(value), words)}")
        if self.resolution != _RESOLUTIONS[0] and self.units == "rois":
            raise InputError(f"resolution={self.resolution} is for units=voxels; regions (units=rois) have n_rois instead")
        if self.units == "voxels" and self.roi_volume is not None:
            raise InputError("roi_volume is for units=rois, not for units=voxels")
        if self.series is not None and self.runs is not None:
            raise InputError("give the activity as one of series (regions' time series) and runs (NIfTI)")
        check_whole("n_rois", self.n_rois, 1)
        check_whole("seed", self.seed, 0)
        if not self.max_gb > 0:
            raise InputError(f"max_gb is {self.max_gb}; it must be a positive number of GB")


def load_voxel(
    *,
    model: str | None = None,
    annotation: str | None = None,
    structures: str | None = None,
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
    structures : str, optional
        Structure tree. When left out: the model folder's tree.json or structures.json, else the published one.
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
        are then checked. When neither this nor `runs` is given: the model folder's series.npz.
    runs : str or sequence of path, optional
        Your own rsfMRI in the space of the CCF: 4-D NIfTI files, names or patterns with commas between them.
    mask, t_r, confounds, columns, scrub, low, high, smoothing_fwhm
        Belong to `runs`; as for ``mouse-regional``.
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
    n_rois: int = 1000,
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


@dataclass(frozen=True, eq=False)
class World:
    """The space that the model and the activity share.

    Parameters
    ----------
    grid : LabelGrid
    structures : mapping of str to Structure
    sources, targets : (n, 3) integers
        Voxels of the model's rows and columns.
    divisions : mapping of int to int
        The target mask's structure that each structure belongs to.
    """

    grid: LabelGrid
    structures: Mapping[str, Structure]
    sources: NDArray[np.int64]
    targets: NDArray[np.int64]
    divisions: Mapping[int, int]

    def labels(self, voxels: NDArray[np.int64]) -> NDArray[np.int64]:
        """Structure id of each voxel."""
        return self.grid.labels[tuple(voxels.T)]

    def division_of(self, voxels: NDArray[np.int64]) -> NDArray[np.int64]:
        """The id of the division that each voxel of the target mask lies in."""
        return _looked_up(self.labels(voxels), self.divisions)

    def source_divisions(self) -> NDArray[np.int64]:
        """The id of the division that each voxel of the source mask lies in."""
        return _looked_up(self.labels(self.sources), self.divisions)

    def by_id(self) -> dict[int, Structure]:
        """The structures by id."""
        return {structure.id: structure for structure in self.structures.values()}


@dataclass(frozen=True, eq=False)
class Series:
    """Time series of regions.

    Parameters
    ----------
    rois : (n_rois,) integers
        Numbers in the volume of regions.
    runs : mapping of str to (n_times, n_rois) array
    dropped : mapping of int to str
        Regions that have none, and why.
    t_r : float, optional
        Seconds.
    """

    rois: NDArray[np.int64]
    runs: Mapping[str, Floats]
    dropped: Mapping[int, str] = field(default_factory=dict)
    t_r: float | None = None


def read_world(folder: Path, model: ModelFiles, choices: Choices) -> tuple[World, tuple[FileRecord, ...]]:
    """Annotation, tree and masks, and records of those that were fetched."""
    tree, tree_record = _beside(folder, choices.structures, "structures", STRUCTURES, "tree.json", "structures.json")
    volume, volume_record = _beside(
        folder, choices.annotation, "annotation", ANNOTATION, "annotation_100.nrrd", "annotation_25.nrrd"
    )
    structures, grid = read_structures(tree), read_grid(volume)
    source_mask, target_mask = read_mask(model.source_mask), read_mask(model.target_mask)
    world = World(
        grid,
        structures,
        voxels_of(grid, structures, source_mask),
        voxels_of(grid, structures, target_mask),
        parts_of(target_mask.structure_ids, structures),
    )
    return world, tuple(record for record in (tree_record, volume_record) if record is not None)


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
    sources = _find_sources(choices, world)
    side = side_of(world, choices)
    volume = unit_volume(world, side, choices)
    if choices.save_rois is not None:
        write_rois(Path(choices.save_rois).expanduser(), volume, world.grid)
    parcels = parcels_of(world, side, volume, choices)
    series = _activity(folder, parcels, volume, world.grid, choices, keep)
    kept = np.isin(parcels.ids, series.rois)
    if np.count_nonzero(kept) < 3:
        raise InputError(
            f"the time series name {np.count_nonzero(kept)} of the {len(kept):,} units of {choices.targets} "
            f"({choices.hemisphere}); do their numbers belong to another volume of regions?"
        )
    left_out = parcels.left_out | {
        parcels.names[i]: series.dropped.get(int(parcels.ids[i]), "has no time series") for i in np.flatnonzero(~kept)
    }
    units = _Units.of(world, side, parcels, kept)

    source_voxels, source_groups = _source_rows(world, sources, choices)
    store = open_store(model, n_sources=len(world.sources), n_targets=len(world.targets), folder=keep)
    weights = factored_projection(
        store, source_voxels, side.column[units.members], units.unit_of_member, len(units.names)
    )
    synthetic = (folder / SYNTHETIC_MARK).is_file()
    return RecurrentSystem(
        name=f"{name} (synthetic)" if synthetic else name,
        units=units.names,
        projection=InputProjection(
            weights, _voxel_names(world, world.sources[source_voxels]), tuple(source_groups)
        ),
        activity=_recurrent_activity(series, parcels.ids[kept], choices),
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
            packages=("pynrrd", "nibabel"),
        ),
    )


def find_structures(option: str, text: str, structures: Mapping[str, Structure]) -> tuple[Structure, ...]:
    """The structures that an option names: by acronym or full name, several with commas between them.

    Raises
    ------
    InputError
        If the tree has none of that name.
    """
    by_name = {structure.name: structure for structure in structures.values()} | dict(structures)
    words = [text] if text in by_name else [word.strip() for word in str(text).split(",") if word.strip()]
    for word in words:
        if word not in by_name:
            raise InputError(
                f"{option} is {text!r}, but the structure tree has no '{word}'.{suggestion(word, by_name)} "
                "Give acronyms or full names, such as Thalamus or VISp,VISl"
            )
    if not words:
        raise InputError(f"{option} is empty; give structures, such as Thalamus or VISp,VISl")
    return tuple(dict.fromkeys(by_name[word] for word in words))


def unit_volume(world: World, side: "Side", choices: Choices) -> NDArray[np.int64]:
    """The number of each voxel's unit, 0 where there is none, on the grid of the annotation."""
    grid, targets = world.grid, world.targets
    volume = np.zeros(grid.labels.shape, dtype=np.int64)
    if choices.units == "voxels":
        chosen = targets[side.chosen]
        block = choices.resolution // _RESOLUTIONS[0]
        divisions = world.division_of(chosen)
        key = np.column_stack([divisions, chosen // block])
        volume[tuple(chosen.T)] = 1 + np.unique(key, axis=0, return_inverse=True)[1].ravel()
        return volume
    if choices.roi_volume is not None:
        return read_rois(Path(choices.roi_volume).expanduser(), grid)
    _, groups = np.unique(2 * world.division_of(targets) + (targets[:, 2] >= grid.half), return_inverse=True)
    volume[tuple(targets.T)] = voronoi_rois(targets, groups.ravel(), n_rois=choices.n_rois, rng=choices.seed)
    return volume


@dataclass(frozen=True, eq=False)
class Side:
    """The target voxels of the chosen structures and hemisphere, and the column of nodes that each receives by.

    Parameters
    ----------
    on_side : (n_targets,) bool
        Of all structures.
    chosen : (n_targets,) bool
        Of the chosen ones.
    column : (n_targets,) integers
        -1 where there is none: not chosen, or without a partner.
    agreement : float or None
        Of the mirrored labels; None where nothing was mirrored.
    """

    on_side: NDArray[np.bool_]
    chosen: NDArray[np.bool_]
    column: NDArray[np.int64]
    agreement: float | None

    @property
    def n_without(self) -> int:
        """Chosen voxels without a partner."""
        return int(np.count_nonzero(self.chosen & (self.column < 0)))


def side_of(world: World, choices: Choices) -> Side:
    """The target voxels that the options choose."""
    targets = find_structures("targets", choices.targets, world.structures)
    hemisphere = choices.hemisphere
    grid, voxels = world.grid, world.targets
    left = voxels[:, 2] < grid.half
    on_side = left if hemisphere == "left" else ~left
    inside = np.isin(world.labels(voxels), _ids_of(targets, world.structures))
    chosen = inside & on_side
    if not chosen.any():
        raise InputError(
            f"targets: {listed(structure.acronym for structure in targets)} has no voxel among the model's targets "
            f"in the {hemisphere} hemisphere"
        )
    own = np.arange(len(voxels))
    if hemisphere == "right":
        return Side(on_side, chosen, np.where(chosen, own, -1), None)
    mirror = mirror_of(grid)
    # Padded by one, so that "no partner" (-1) finds nothing.
    column_at = np.full((*grid.labels.shape[:2], grid.labels.shape[2] + 1), -1)
    reached = inside & ~left
    column_at[tuple(voxels[reached].T)] = own[reached]
    column = column_at[tuple(partners(grid, mirror, voxels).T)]
    division = world.division_of(voxels)
    column[division[column] != division] = -1  # no averages across divisions
    return Side(on_side, chosen, np.where(chosen, column, -1), mirror.agreement)


@dataclass(frozen=True, eq=False)
class Parcels:
    """Candidates for units: their numbers in the volume, ascending, their names, and the voxels that they have.

    Parameters
    ----------
    ids : (n,) integers
    names : tuple of str
    members : (n_members,) integers
        Target voxels with a column, of these parcels.
    parcel_of_member : (n_members,) integers
    left_out : mapping of str to str
        Parcels that cannot be units, and why.
    """

    ids: NDArray[np.int64]
    names: tuple[str, ...]
    members: NDArray[np.int64]
    parcel_of_member: NDArray[np.int64]
    left_out: dict[str, str]


def parcels_of(world: World, side: Side, volume: NDArray[np.int64], choices: Choices) -> Parcels:
    of_target = volume[tuple(world.targets.T)]
    largest = int(of_target.max()) + 1
    there = np.bincount(of_target[side.on_side], minlength=largest)
    chosen = np.bincount(of_target[side.chosen], minlength=largest)
    usable = side.chosen & (side.column >= 0)
    n_usable = np.bincount(of_target[usable], minlength=largest)
    mostly = (2 * chosen >= there) & (chosen > 0)
    mostly[0] = False
    ids = np.flatnonzero(mostly & (n_usable > 0))
    if len(ids) < 3:
        raise InputError(
            f"{len(ids)} units lie in {choices.targets} ({choices.hemisphere}), and at least 3 are needed; take more "
            "regions (n_rois), larger targets, or another volume of regions"
        )
    _check_memory(len(ids), choices)
    members = np.flatnonzero(usable & np.isin(of_target, ids))
    parcel = np.searchsorted(ids, of_target[members])
    names = _unit_names(world, ids, members, parcel, choices)
    lost = np.flatnonzero(mostly & (n_usable == 0))
    return Parcels(
        ids, names, members, parcel, {f"{choices.units[:-1]}-{each}": "no voxel of it has a partner" for each in lost}
    )


def _unit_names(
    world: World, ids: NDArray[np.int64], members: NDArray[np.int64], parcel: NDArray[np.int64], choices: Choices
) -> tuple[str, ...]:
    if choices.units == "voxels":
        first = np.unique(parcel, return_index=True)[1]
        return _voxel_names(world, world.targets[members[first]])
    by_id = world.by_id()
    divisions = _most_common(world.division_of(world.targets[members]), parcel)
    width = len(str(ids.max()))
    return tuple(
        f"{by_id[int(division)].acronym}-{number:0{width}d}" for division, number in zip(divisions, ids, strict=True)
    )


@dataclass(frozen=True, eq=False)
class _Units:
    """The units of the system, and what is known of each."""

    names: tuple[str, ...]
    members: NDArray[np.int64]  # target voxels
    unit_of_member: NDArray[np.int64]
    voxels: NDArray[np.int64]  # of the members
    annotations: dict[str, tuple[str, ...]]

    @classmethod
    def of(cls, world: World, side: Side, parcels: Parcels, kept: NDArray[np.bool_]) -> "_Units":
        index = np.where(kept, np.cumsum(kept) - 1, -1)[parcels.parcel_of_member]
        members, unit = parcels.members[index >= 0], index[index >= 0]
        voxels = world.targets[members]
        by_id = world.by_id()
        leaves = [by_id[int(each)] for each in _most_common(world.labels(voxels), unit)]
        divisions = [by_id[world.divisions[leaf.id]] for leaf in leaves]
        return cls(
            tuple(name for name, is_kept in zip(parcels.names, kept, strict=True) if is_kept),
            members,
            unit,
            voxels,
            {
                "division": tuple(division.name for division in divisions),
                "group": tuple(
                    by_id[leaf.path[min(len(division.path), len(leaf.path) - 1)]].name
                    for leaf, division in zip(leaves, divisions, strict=True)
                ),
                "area": tuple(_area_of(leaf, by_id).acronym for leaf in leaves),
            },
        )

    def geometry(self, grid: LabelGrid) -> Geometry:
        """Centres and voxels, in mm."""
        n_units = len(self.names)
        counts = np.bincount(self.unit_of_member, minlength=n_units)
        centres = np.stack(
            [np.bincount(self.unit_of_member, weights=axis, minlength=n_units) / counts for axis in self.voxels.T],
            axis=1,
        )
        unit_of_voxel = np.where(grid.labels > 0, _NO_UNIT, _NO_VOXEL).astype(np.int32)
        unit_of_voxel[tuple(self.voxels.T)] = self.unit_of_member
        return Geometry(
            positions=centres * (grid.spacing / 1000),
            volume=LabelVolume(unit_of_voxel, grid.affine, ORIENTATION),
            axes=("AP (mm)", "DV (mm)", "ML (mm)"),
        )


def _check_memory(n_units: int, choices: Choices) -> None:
    needed = _MATRICES * n_units**2 * np.dtype(np.float32).itemsize / 1e9
    if needed <= choices.max_gb:
        return
    most = int(np.sqrt(choices.max_gb * 1e9 / _MATRICES / np.dtype(np.float32).itemsize))
    instead = "take fewer regions (n_rois)" if choices.units == "rois" else "take resolution=200, or regions (units=rois)"
    raise InputError(
        f"{n_units:,} units need about {needed:.1f} GB ({_MATRICES} matrices of units × units in float32), and "
        f"max_gb={choices.max_gb:g} allows {most:,} units: {instead}, smaller targets, or raise max_gb if the machine has "
        "the memory"
    )


def _find_sources(choices: Choices, world: World) -> tuple[Structure, ...]:
    """The structures that the inputs lie in; ``"all"``: the divisions that hold no target."""
    if choices.sources != ALL:
        return find_structures("sources", choices.sources, world.structures)
    by_id = world.by_id()
    targets = find_structures("targets", choices.targets, world.structures)
    holding = {world.divisions.get(structure.id) for structure in targets}
    present = dict.fromkeys(world.divisions.values())
    return tuple(by_id[each] for each in present if each not in holding)


def _source_rows(
    world: World, sources: tuple[Structure, ...], choices: Choices
) -> tuple[NDArray[np.int64], list[str]]:
    """The model's rows that lie in the chosen structures, and the structure that each belongs to."""
    whole = parts_of([structure.id for structure in sources], world.structures)
    labels = world.labels(world.sources)
    on_right = world.sources[:, 2] >= world.grid.half
    rows = np.flatnonzero(np.isin(labels, list(whole)) & on_right)
    if not len(rows):
        raise InputError(f"sources={choices.sources}: the model has no source voxel there")
    by_id = world.by_id()
    return rows, [by_id[whole[int(label)]].name for label in labels[rows]]


def _voxel_names(world: World, voxels: NDArray[np.int64]) -> tuple[str, ...]:
    """Structure and indices on the grid of each voxel."""
    by_id = world.by_id()
    return tuple(
        f"{by_id[int(label)].acronym}-{i}-{j}-{k}"
        for label, (i, j, k) in zip(world.labels(voxels), voxels.tolist(), strict=True)
    )


def _area_of(leaf: Structure, by_id: Mapping[int, Structure]) -> Structure:
    """The area that a layer belongs to; a structure that is no layer is its own."""
    parent = by_id[leaf.path[-2]] if len(leaf.path) > 1 else leaf
    layer = leaf.acronym.removeprefix(parent.acronym)
    return parent if layer != leaf.acronym and layer[:1].isdigit() else leaf


def _ids_of(chosen: tuple[Structure, ...], structures: Mapping[str, Structure]) -> list[int]:
    return list(parts_of([structure.id for structure in chosen], structures))


def _looked_up(labels: NDArray[np.int64], table: Mapping[int, int]) -> NDArray[np.int64]:
    distinct, inverse = np.unique(labels, return_inverse=True)
    return np.array([table[int(each)] for each in distinct], dtype=np.int64)[inverse.ravel()]


def _most_common(values: NDArray[np.int64], unit: NDArray[np.int64]) -> NDArray[np.int64]:
    """The value that most members of each unit have; the smallest of several."""
    distinct, code = np.unique(values, return_inverse=True)
    pairs, counts = np.unique(unit * len(distinct) + code.ravel(), return_counts=True)
    units, codes = np.divmod(pairs, len(distinct))
    order = np.lexsort((codes, -counts, units))
    first = np.unique(units[order], return_index=True)[1]
    return np.asarray(distinct[codes[order][first]])


# --- activity ---------------------------------------------------------------------------------------------------------


def _activity(
    folder: Path, parcels: Parcels, volume: NDArray[np.int64], grid: LabelGrid, choices: Choices, keep: Path
) -> Series:
    """The time series of the units, from whichever of the three ways was chosen."""
    if choices.runs is not None:
        return _from_runs(parcels, volume, grid, choices, keep)
    path = folder / SERIES if choices.series is None else Path(choices.series).expanduser()
    if choices.series is None and not path.is_file():
        raise InputError(
            f"the voxel model says what projects where, not what units do: give rsfMRI in the space of the CCF as "
            f"runs (NIfTI), or time series of regions as series (.npz), or put {SERIES} into {folder}"
        )
    return read_series(path, int(volume.max()), choices)


def _from_runs(
    parcels: Parcels, volume: NDArray[np.int64], grid: LabelGrid, choices: Choices, keep: Path
) -> Series:
    bold = importlib.import_module("fctoolbox_allen.bold")  # nilearn comes with it
    own = importlib.import_module("fctoolbox_allen.own_runs")
    units = np.where(np.isin(volume, parcels.ids), volume, 0)
    if choices.units != "voxels":  # regions that reach over the midline keep to their side
        half = np.arange(volume.shape[2]) < grid.half
        units = np.where(half if choices.hemisphere == "left" else ~half, units, 0)
    with TemporaryDirectory() as temporary:
        labels = write_rois(Path(temporary) / "units.nii.gz", units, grid)
        found = bold.read_runs(
            own.found_paths("runs", choices.runs),
            labels,
            mask=choices.mask,
            t_r=choices.t_r,
            low=choices.low or None,
            high=choices.high or None,
            smoothing_fwhm=choices.smoothing_fwhm,
            confounds=None if choices.confounds is None else own.found_paths("confounds", choices.confounds),
            columns=choices.columns.split(",") if isinstance(choices.columns, str) else choices.columns,
            scrub=choices.scrub,
        )
    return Series(np.asarray(found.rois), found.series, found.dropped, found.t_r)


def read_series(path: Path, n_known: int, choices: Choices) -> Series:
    """Time series of regions from an .npz file; see `load_voxel`.

    Raises
    ------
    InputError
        If the file is not one, or was made for other regions.
    """
    with blamed_on(f"{path} cannot be read"):
        try:
            with path.open("rb") as stream, np.load(stream, allow_pickle=False) as content:
                arrays = {name: np.asarray(content[name]) for name in content.files}
        except (ValueError, EOFError, zipfile.BadZipFile, AttributeError, TypeError) as error:
            raise InputError(f"{path} is no .npz file of arrays: {error}") from error
    if "rois" not in arrays or arrays["rois"].ndim != 1 or arrays["rois"].dtype.kind not in "iu":
        raise InputError(f"{path.name} needs an array 'rois': the number of each column's region in the volume")
    rois = arrays["rois"].astype(np.int64)
    if len(np.unique(rois)) < len(rois):
        raise InputError(f"{path.name}: 'rois' names a region twice")
    if strange := [int(each) for each in rois if not 1 <= each <= n_known]:
        raise InputError(
            f"{path.name}: 'rois' names {listed(strange)}, but the volume of regions has 1 … {n_known:,}: the series "
            "belong to other regions (roi_volume, or n_rois and seed)"
        )
    if choices.units == "rois" and choices.roi_volume is None:
        for option, value in (("n_rois", choices.n_rois), ("seed", choices.seed)):
            if option in arrays and int(arrays[option]) != value:
                raise InputError(
                    f"{path.name} holds series of regions made with {option}={int(arrays[option])}, but {option} is "
                    f"{value}: give {option}={int(arrays[option])}, or series of these regions"
                )
    runs = {name: array for name, array in arrays.items() if name not in _SERIES_WORDS}
    if not runs:
        raise InputError(f"{path.name} has no run: a (n_times, {len(rois)}) array of any name")
    dropped: dict[int, str] = {}
    for name, run in runs.items():
        dropped |= {roi: why for roi, why in _checked_run(run, rois, f"{path.name}, run '{name}'", name) if roi not in dropped}
    kept = ~np.isin(rois, list(dropped))
    t_r = choices.t_r if choices.t_r is not None else float(arrays["t_r"]) if "t_r" in arrays else None
    return Series(rois[kept], {name: run[:, kept].astype(np.float32) for name, run in runs.items()}, dropped, t_r)


def _checked_run(run: NDArray[Any], rois: NDArray[np.int64], where: str, name: str) -> Iterator[tuple[int, str]]:
    """Refuse a run that cannot be used; the regions that are constant in it."""
    if run.ndim != 2 or run.shape[1] != len(rois) or run.dtype.kind not in "fiu":
        turned = " Is it transposed?" if run.ndim == 2 and run.shape[0] == len(rois) else ""
        raise InputError(
            f"{where} has shape {run.shape}, but (n_times, {len(rois)}) was expected, a column for each region.{turned}"
        )
    if len(run) < 3:
        raise InputError(f"{where} has {len(run)} time points; a correlation needs at least 3")
    bad = np.flatnonzero(~np.isfinite(run).all(axis=0))
    if bad.size:
        raise InputError(f"{where}: region {rois[bad[0]]} has values that are not finite (NaN or infinity)")
    for column in np.flatnonzero(np.ptp(run, axis=0) == 0):
        yield int(rois[column]), f"constant in run '{name}' (outside the field of view?)"


def _recurrent_activity(series: Series, ids: NDArray[np.int64], choices: Choices) -> RecurrentActivity:
    order = np.argsort(series.rois)
    columns = order[np.searchsorted(series.rois[order], ids)]
    runs = [np.asarray(run)[:, columns] for run in series.runs.values()]
    return RecurrentActivity(
        timeseries=np.concatenate([_standardised(run) for run in runs]),
        connectivity=mean_connectivity(runs),
        sampling_interval=None if choices.scrub is not None else series.t_r,
        trials=np.repeat(np.arange(1, len(runs) + 1), [len(run) for run in runs]),
    )


def _standardised(run: Floats) -> Floats:
    # Runs of another gain or offset would otherwise differ by that more than by what the brain did.
    centred = run - run.mean(axis=0, dtype=np.float64)
    return np.asarray(centred / centred.std(axis=0), dtype=np.float32)


def mean_connectivity(runs: Sequence[Floats]) -> NDArray[np.float32]:
    """Pearson r of each run, averaged as Fisher z and brought back to r; one block of rows at a time.

    Parameters
    ----------
    runs : sequence of (n_times, n_units) array

    Returns
    -------
    (n_units, n_units) float32 array
    """
    units = []
    for run in runs:
        centred = run - run.mean(axis=0, dtype=np.float64)
        units.append(np.ascontiguousarray((centred / np.linalg.norm(centred, axis=0)).T, dtype=np.float32))
    n_units = len(units[0])
    mean = np.empty((n_units, n_units), dtype=np.float32)
    for start in range(0, n_units, 2048):
        rows = slice(start, start + 2048)
        if len(units) == 1:
            mean[rows] = units[0][rows] @ units[0].T
            continue
        z = sum(np.arctanh(np.clip(each[rows] @ each.T, -_NEARLY_ONE, _NEARLY_ONE)) for each in units)
        mean[rows] = np.tanh(np.asarray(z) / np.float32(len(units)))
    np.clip(mean, -1, 1, out=mean)
    np.fill_diagonal(mean, 1)
    return mean


# --- words ------------------------------------------------------------------------------------------------------------


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
    lengths = [f"{name}: {len(run)}" for name, run in series.runs.items()]
    return {
        "Weights": f"voxel model, {n_sources:,} source voxels through {n_used} of {n_experiments} experiments; "
        "a unit's row is the mean over its voxels",
        "Mirroring": mirrored,
        "Regions": units,
        "Scans": f"{len(lengths)} (volumes: {listed(lengths)}); mean of their Fisher z, as r",
    }


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
