"""Which voxels are the units and the sources of a system at voxel scale."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fctoolbox.errors import InputError, counted, listed, suggestion
from fctoolbox.system import Geometry, LabelVolume
from fctoolbox_allen.ccf import Structure
from fctoolbox_allen.grid import ORIENTATION, LabelGrid, mirror_of, partners
from fctoolbox_allen.knox.masks import parts_of
from fctoolbox_allen.rois import read_rois, voronoi_rois
from fctoolbox_allen.voxel_choices import RESOLUTIONS, Choices

ALL = "all"
_MATRICES = 3  # of n × n at once in an analysis: similarity, connectivity, and one more while working
_NO_VOXEL, _NO_UNIT = -1, -2


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
        return np.asarray(self.grid.labels[tuple(voxels.T)])

    def division_of(self, voxels: NDArray[np.int64]) -> NDArray[np.int64]:
        """The id of the division that each voxel of the target mask lies in."""
        return _looked_up(self.labels(voxels), self.divisions)

    def source_divisions(self) -> NDArray[np.int64]:
        """The id of the division that each voxel of the source mask lies in."""
        return _looked_up(self.labels(self.sources), self.divisions)

    def by_id(self) -> dict[int, Structure]:
        """The structures by id."""
        return {structure.id: structure for structure in self.structures.values()}


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
        block = choices.resolution // RESOLUTIONS[0]
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
    """The parcels of the volume that can be units.

    Raises
    ------
    InputError
        If there are fewer than three, or too many for the memory.
    """
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
            f"{counted(len(ids), 'unit lies', 'units lie')} in {choices.targets} ({choices.hemisphere}), "
            "and at least 3 are needed; take more regions (n_rois), larger targets, or another volume of regions"
        )
    _check_memory(len(ids), choices)
    members = np.flatnonzero(usable & np.isin(of_target, ids))
    parcel = np.searchsorted(ids, of_target[members])
    names = _unit_names(world, ids, members, parcel, choices, width=len(str(largest - 1)))
    lost = np.flatnonzero(mostly & (n_usable == 0))
    return Parcels(
        ids, names, members, parcel, {f"{choices.units[:-1]}-{each}": "no voxel of it has a partner" for each in lost}
    )


def _unit_names(
    world: World,
    ids: NDArray[np.int64],
    members: NDArray[np.int64],
    parcel: NDArray[np.int64],
    choices: Choices,
    *,
    width: int,
) -> tuple[str, ...]:
    if choices.units == "voxels":
        first = np.unique(parcel, return_index=True)[1]
        return voxel_names(world, world.targets[members[first]])
    by_id = world.by_id()
    divisions = _most_common(world.division_of(world.targets[members]), parcel)
    return tuple(
        f"{by_id[int(division)].acronym}-{number:0{width}d}" for division, number in zip(divisions, ids, strict=True)
    )


@dataclass(frozen=True, eq=False)
class Units:
    """The units of the system, and what is known of each."""

    names: tuple[str, ...]
    members: NDArray[np.int64]  # target voxels
    unit_of_member: NDArray[np.int64]
    voxels: NDArray[np.int64]  # of the members
    annotations: dict[str, tuple[str, ...]]

    @classmethod
    def of(cls, world: World, parcels: Parcels, kept: NDArray[np.bool_]) -> "Units":
        """Those of the candidates that are kept."""
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
            volume=LabelVolume(unit_of_voxel, grid.affine, ORIENTATION, space="Allen CCFv3"),
            axes=("AP (mm)", "DV (mm)", "ML (mm)"),
        )


def _check_memory(n_units: int, choices: Choices) -> None:
    needed = _MATRICES * n_units**2 * np.dtype(np.float32).itemsize / 1e9
    if needed <= choices.max_gb:
        return
    most = int(np.sqrt(choices.max_gb * 1e9 / _MATRICES / np.dtype(np.float32).itemsize))
    instead = (
        "take fewer regions (n_rois)" if choices.units == "rois" else "take resolution=200, or regions (units=rois)"
    )
    raise InputError(
        f"{n_units:,} units need about {needed:.1f} GB ({_MATRICES} matrices of units × units in float32), and "
        f"max_gb={choices.max_gb:g} allows {most:,} units: {instead}, smaller targets, or raise max_gb if the machine "
        "has the memory"
    )


def find_sources(choices: Choices, world: World) -> tuple[Structure, ...]:
    """The structures that the inputs lie in; ``"all"``: the divisions that hold no target."""
    if choices.sources != ALL:
        return find_structures("sources", choices.sources, world.structures)
    by_id = world.by_id()
    targets = find_structures("targets", choices.targets, world.structures)
    holding = {world.divisions.get(structure.id) for structure in targets}
    present = dict.fromkeys(world.divisions.values())
    return tuple(by_id[each] for each in present if each not in holding)


def source_rows(world: World, sources: tuple[Structure, ...], choices: Choices) -> tuple[NDArray[np.int64], list[str]]:
    """The model's rows that lie in the chosen structures, and the structure that each belongs to."""
    whole = parts_of([structure.id for structure in sources], world.structures)
    labels = world.labels(world.sources)
    on_right = world.sources[:, 2] >= world.grid.half
    rows = np.flatnonzero(np.isin(labels, list(whole)) & on_right)
    if not len(rows):
        raise InputError(f"sources={choices.sources}: the model has no source voxel there")
    by_id = world.by_id()
    return rows, [by_id[whole[int(label)]].name for label in labels[rows]]


def voxel_names(world: World, voxels: NDArray[np.int64]) -> tuple[str, ...]:
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
    found = np.array([table[int(each)] for each in distinct], dtype=np.int64)
    return np.asarray(found[inverse.ravel()])


def _most_common(values: NDArray[np.int64], unit: NDArray[np.int64]) -> NDArray[np.int64]:
    """The value that most members of each unit have; the smallest of several."""
    distinct, code = np.unique(values, return_inverse=True)
    pairs, counts = np.unique(unit * len(distinct) + code.ravel(), return_counts=True)
    units, codes = np.divmod(pairs, len(distinct))
    order = np.lexsort((codes, -counts, units))
    first = np.unique(units[order], return_index=True)[1]
    return np.asarray(distinct[codes[order][first]])
