"""The annotation at the resolution of the voxel model, and its symmetry.

The 100 µm grid is every fourth voxel of the 25 µm one, from the first (not the middle of each block of four): only so
do the masks have as many voxels as the model's factors have rows and columns. Voxel i then lies at i times 100 µm.
"""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fctoolbox.errors import InputError
from fctoolbox_allen.ccf import read_nrrd, spacing_of

SPACING_UM = 100.0
ORIENTATION = "PIR"
LEAST_AGREEMENT = 0.9


@dataclass(frozen=True, eq=False)
class LabelGrid:
    """Structure ids on a grid with axes AP, DV and ML.

    Parameters
    ----------
    labels : (ni, nj, nk) integers
        0 outside the brain. The left half has the smaller ML.
    spacing : float
        µm.
    """

    labels: NDArray[np.int64]
    spacing: float = SPACING_UM

    @property
    def half(self) -> int:
        """The first index along ML that the model counts as right."""
        return self.labels.shape[2] // 2

    @property
    def affine(self) -> NDArray[np.float64]:
        """(4, 4), from indices to AP, DV and ML in mm."""
        return np.diag([self.spacing / 1000] * 3 + [1.0])

    @property
    def ras_affine(self) -> NDArray[np.float64]:
        """(4, 4), from indices to mm right, anterior and superior of the first voxel, as NIfTI wants it."""
        affine = np.zeros((4, 4))
        step = self.spacing / 1000
        affine[0, 2], affine[1, 0], affine[2, 1], affine[3, 3] = step, -step, -step, 1
        return affine


@dataclass(frozen=True)
class Mirror:
    """The plane between the hemispheres: voxel z lies opposite of ``total - z``.

    Parameters
    ----------
    total : int
        Twice the index of the plane along ML.
    agreement : float
        Share of the brain's voxels that have the label of the voxel opposite.
    """

    total: int
    agreement: float


def read_grid(path: Path) -> LabelGrid:
    """Read an annotation volume at 100 µm, or at a finer spacing, of which every so manieth voxel is taken.

    Raises
    ------
    InputError
        If the file is not such a volume, or 100 µm is no multiple of its spacing.
    """
    volume, header = read_nrrd(path)
    if volume.ndim != 3 or volume.dtype.kind not in "iu":
        raise InputError(
            f"{path.name} holds {volume.dtype} values in {volume.ndim} dimensions; structure ids in 3 were expected"
        )
    spacing = spacing_of(header.get("space directions"), path)
    factor = round(SPACING_UM / spacing)
    if factor < 1 or abs(factor * spacing - SPACING_UM) > 1e-6 * SPACING_UM:
        raise InputError(
            f"{path.name} has voxels of {spacing:g} µm; the model needs the annotation at 100 µm, or at 10, 25 or 50"
        )
    return LabelGrid(np.ascontiguousarray(volume[::factor, ::factor, ::factor], dtype=np.int64))


def mirror_of(grid: LabelGrid) -> Mirror:
    """The plane about which the labels are most symmetric, among those next to the middle of the grid.

    Raises
    ------
    InputError
        If fewer than 90 % of the brain's voxels have the label of the voxel opposite.
    """
    n = grid.labels.shape[2]
    best = max((Mirror(total, _agreement(grid.labels, total)) for total in (n, n - 1, n - 2)), key=_by_agreement)
    if best.agreement < LEAST_AGREEMENT:
        raise InputError(
            f"the annotation is not symmetric: {best.agreement:.1%} of its voxels have the label of the voxel opposite "
            f"(at least {LEAST_AGREEMENT:.0%} are needed), so that the right hemisphere cannot stand for the left; "
            "take hemisphere=right, or the annotation that the model was made with"
        )
    return best


def partners(grid: LabelGrid, mirror: Mirror, voxels: NDArray[np.int64]) -> NDArray[np.int64]:
    """The voxels opposite.

    Parameters
    ----------
    grid : LabelGrid
    mirror : Mirror
    voxels : (n_voxels, 3) integers

    Returns
    -------
    (n_voxels, 3) integers
        -1 along ML where there is none on the grid.
    """
    opposite = voxels.copy()
    z = mirror.total - voxels[:, 2]
    opposite[:, 2] = np.where((z >= 0) & (z < grid.labels.shape[2]), z, -1)
    return opposite


def within(grid: LabelGrid, ids: Collection[int]) -> NDArray[np.bool_]:
    """Which voxels have one of these labels."""
    return np.isin(grid.labels, list(ids))


def _by_agreement(mirror: Mirror) -> float:
    return mirror.agreement


def _agreement(labels: NDArray[np.int64], total: int) -> float:
    n = labels.shape[2]
    z = np.arange(max(0, total - n + 1), min(n, total + 1))
    one, other = labels[:, :, z], labels[:, :, total - z]
    brain = (one > 0) | (other > 0)
    n_brain = int(np.count_nonzero(brain))
    return int(np.count_nonzero((one == other) & brain)) / n_brain if n_brain else 0.0
