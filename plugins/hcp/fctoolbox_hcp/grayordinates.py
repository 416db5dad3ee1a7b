"""The voxels of the thalamus in the CIFTI space of 91,282 grayordinates."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fctoolbox.errors import InputError, listed
from fctoolbox_hcp.cifti import brain_models

_STRUCTURE = "CIFTI_STRUCTURE_THALAMUS_"


@dataclass(frozen=True, eq=False)
class ThalamusVoxels:
    """Voxels of one or both thalami, in the order of the file.

    Parameters
    ----------
    indices : (n_voxels, 3) integers
        i, j, k in the volume.
    positions : (n_voxels, 3) array
        Centres, mm in the space of the volume (MNI152).
    hemispheres : (n_voxels,) str
        ``"left"`` or ``"right"``.
    """

    indices: NDArray[np.int64]
    positions: NDArray[np.float64]
    hemispheres: NDArray[np.str_]

    def __len__(self) -> int:
        return len(self.indices)

    @property
    def names(self) -> tuple[str, ...]:
        """``thalamus-left-i-j-k``."""
        return tuple(
            f"thalamus-{side}-{i}-{j}-{k}" for side, (i, j, k) in zip(self.hemispheres, self.indices, strict=True)
        )


def read_thalamus(path: Path, hemispheres: Sequence[str] = ("left", "right")) -> ThalamusVoxels:
    """The thalamus voxels that a CIFTI-2 file lists, as its order has them.

    Parameters
    ----------
    path : Path
        Any dense CIFTI-2 file (``.dscalar.nii``, ``.dlabel.nii``, …).
    hemispheres : sequence of {"left", "right"}

    Returns
    -------
    ThalamusVoxels

    Raises
    ------
    InputError
        If the file is CIFTI-1 or no CIFTI at all, or has no thalamus of that side.
    """
    from nibabel.affines import apply_affine

    models = brain_models(path)
    structures = {str(name): model for name, _, model in models.iter_structures()}
    missing = [side for side in hemispheres if _STRUCTURE + side.upper() not in structures]
    if missing:
        raise InputError(f"{path} has no {listed(missing)} thalamus; its structures are {listed(structures)}")
    voxels = [structures[_STRUCTURE + side.upper()].voxel.astype(np.int64) for side in hemispheres]
    indices = np.concatenate(voxels)
    return ThalamusVoxels(
        indices,
        apply_affine(models.affine, indices),
        np.repeat(np.array(hemispheres, dtype=np.str_), [len(each) for each in voxels]),
    )
