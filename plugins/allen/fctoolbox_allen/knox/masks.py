"""Which voxels the rows and columns of the model are."""

import json
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fctoolbox.errors import InputError, blamed_on, listed
from fctoolbox_allen.ccf import Structure
from fctoolbox_allen.grid import LabelGrid

SIDES = {1: "left", 2: "right", 3: "both"}
_OF_SOURCES, _OF_TARGETS = "right", "both"  # tracers were injected on the right, and reach both sides
_WORDS = {"right": "the right", "both": "both sides"}


@dataclass(frozen=True)
class MaskParams:
    """What a mask file says: the structures, and their side (1 left, 2 right, 3 both).

    Parameters
    ----------
    structure_ids : tuple of int
        Of the Allen structure tree; their parts belong to them.
    hemisphere_id : int
    file : Path, optional
        That says so, for messages.
    """

    structure_ids: tuple[int, ...]
    hemisphere_id: int
    file: Path | None = field(default=None, compare=False)


def read_mask(path: Path) -> MaskParams:
    """Read a mask file (``source_mask_params.json``, ``target_mask_params.json``).

    Raises
    ------
    InputError
        If the file is not one.
    """
    with blamed_on(f"{path} cannot be read"):
        text = path.read_bytes()
    try:
        content = json.loads(text)
        ids = content["structure_ids"]
        if not isinstance(ids, list):  # the text "315" would be read as three ids
            raise TypeError(f"structure_ids is {ids!r}, which is no list")
        mask = MaskParams(tuple(int(each) for each in ids), int(content["hemisphere_id"]), path)
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(
            f'{path} is no mask of the model, such as {{"structure_ids": [315, 549], "hemisphere_id": 2}}: '
            f"{type(error).__name__} {error}"
        ) from error
    if mask.hemisphere_id not in SIDES or not mask.structure_ids:
        raise InputError(
            f"{path} has hemisphere_id {mask.hemisphere_id} and {len(mask.structure_ids)} structure_ids; the "
            "first must be 1 (left), 2 (right) or 3 (both), and the second name structures"
        )
    return mask


def check_sides(source: MaskParams, target: MaskParams) -> None:
    """Refuse masks that are not those of the model: sources on the right, targets on both sides.

    Raises
    ------
    InputError
        With the file, the side it names, and the one that is due.
    """
    if (SIDES[source.hemisphere_id], SIDES[target.hemisphere_id]) == (_OF_TARGETS, _OF_SOURCES):
        raise InputError(
            f"{source.file} is the mask of the targets (hemisphere_id {source.hemisphere_id}: {_OF_TARGETS} sides), "
            f"and {target.file} that of the sources (hemisphere_id {target.hemisphere_id}: {_OF_SOURCES}): their names "
            "are exchanged"
        )
    for mask, what, due in ((source, "sources", _OF_SOURCES), (target, "targets", _OF_TARGETS)):
        side = SIDES[mask.hemisphere_id]
        if side != due:
            code = next(code for code, each in SIDES.items() if each == due)
            raise InputError(
                f"{mask.file} has hemisphere_id {mask.hemisphere_id} ({side}), but the model's {what} lie on "
                f"{_WORDS[due]} (hemisphere_id {code}): is it another mask?"
            )


def parts_of(ids: Collection[int], structures: Mapping[str, Structure]) -> dict[int, int]:
    """The structure among `ids` that each structure of the tree is, or is a part of; both by id.

    Raises
    ------
    InputError
        If the tree has no such structure.
    """
    wanted = set(ids)
    if unknown := sorted(wanted - {structure.id for structure in structures.values()}):
        raise InputError(f"the structure tree has no structure with the id {listed(unknown)}")
    found = {}
    for structure in structures.values():
        whole = next((each for each in reversed(structure.path) if each in wanted), None)
        if whole is not None:
            found[structure.id] = whole
    return found


@contextmanager
def _named(file: Path | None) -> Iterator[None]:
    """Say in which file the mistake is."""
    try:
        yield
    except InputError as error:
        if file is None:
            raise
        raise InputError(f"{file}: {error}; the mask and the structure tree must be of one atlas") from error


def voxels_of(grid: LabelGrid, structures: Mapping[str, Structure], mask: MaskParams) -> NDArray[np.int64]:
    """The voxels of a mask, in the order of the model's rows or columns.

    Parameters
    ----------
    grid : LabelGrid
    structures : mapping of str to Structure
        The structure tree.
    mask : MaskParams

    Returns
    -------
    (n_voxels, 3) integers
        Indices along AP, DV and ML; ML changes fastest, then DV (C order).

    Raises
    ------
    InputError
        If the tree lacks a structure of the mask.
    """
    with _named(mask.file):
        labels = list(parts_of(mask.structure_ids, structures))
    inside = np.isin(grid.labels, labels)
    half = grid.labels.shape[2] // 2
    if SIDES[mask.hemisphere_id] == "left":
        inside[:, :, half:] = False
    elif SIDES[mask.hemisphere_id] == "right":
        inside[:, :, :half] = False
    return np.argwhere(inside)
