"""Volumes of whole numbers: the labels of an atlas, and masks."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fctoolbox.errors import InputError, listed
from fctoolbox_allen.nifti import open_image, readable
from fctoolbox_allen.space import Grid, check_size, grid_of


@dataclass(frozen=True, eq=False)
class Atlas:
    """A label volume, and what messages call it and its labels.

    Parameters
    ----------
    image : nibabel image
        3-D, whole numbers.
    name : str
        Of the volume.
    ids : (n_labels,) integers
        Its labels, ascending.
    names : mapping of int to str
        Of labels; ``"label 7"`` where it says nothing.
    """

    image: Any
    name: str
    ids: NDArray[np.int64]
    names: Mapping[int, str]

    def sorted_out(self, dropped: Mapping[int, str]) -> str:
        """The labels that were dropped for each reason."""
        reasons = dict.fromkeys(dropped.values())
        return "; ".join(
            f"{listed(called(self.names, each) for each, why in dropped.items() if why == reason)} ({reason})"
            for reason in reasons
        )


def read_atlas(labels: Any, labels_name: str, names: Mapping[int, str]) -> Atlas:
    """The atlas of a label volume; `labels` and `labels_name` are those of `label_volume`.

    Raises
    ------
    InputError
        If it is no label volume, holds no label, or is too large for a mouse.
    """
    image, name = label_volume(labels, labels_name)
    ids = _label_ids(image, name)
    check_size(np.asarray(image.dataobj) != 0, grid_of(image, name))
    return Atlas(image, name, ids, names)


def read_mask(mask: Any) -> tuple[Any, str]:
    """The mask, and what messages call it.

    Raises
    ------
    InputError
        If it is no volume of whole numbers, or 0 everywhere.
    """
    image, name = label_volume(mask, "the mask")
    if not np.asarray(image.dataobj).any():
        raise InputError(f"{name} is 0 everywhere, so that it leaves nothing; a mask is not 0 inside the brain")
    return image, name


def label_volume(source: Any, what: str) -> tuple[Any, str]:
    """A 3-D image of whole numbers with its data read, and what messages call it.

    Parameters
    ----------
    source : path or nibabel image
    what : str
        What it holds; its name where it is no file.

    Raises
    ------
    InputError
        If it cannot be read, has another number of dimensions, or other values.
    """
    import nibabel

    named = isinstance(source, str | Path)
    image, name = (open_image(Path(source)), Path(source).name) if named else (source, what)
    if len(image.shape) == 4 and image.shape[3] == 1:
        image = image.slicer[..., 0]
    if len(image.shape) != 3:
        raise InputError(f"{name} has the shape {image.shape}; {what} must be a 3-D image")
    with readable(name):
        data = np.asarray(image.dataobj)
    if not np.isfinite(data).all():
        raise InputError(
            f"{name} has values that are not finite (NaN or infinity); {what} must be whole numbers, 0 outside"
        )
    if (data != np.round(data)).any() or np.abs(data).max(initial=0) >= 2**31:
        raise InputError(
            f"{name} has values that are not whole numbers below 2³¹. Are those really {what}? What was resampled must "
            "be made again with the nearest neighbour, and a map of probabilities needs a threshold"
        )
    return nibabel.Nifti1Image(data.astype(np.int32), image.affine), name


def on_grid(volume: Any, image: Any, grid: Grid, name: str) -> NDArray[np.int64]:
    """A label volume on the run's voxels: the nearest voxel's label."""
    moved: NDArray[np.int64]
    if grid.equals(grid_of(volume, name)):
        moved = np.asarray(volume.dataobj, dtype=np.int64)
        return moved
    from nilearn.image import resample_img

    resampled = resample_img(
        volume,
        target_affine=image.affine,
        target_shape=grid.shape,
        interpolation="nearest",
        copy_header=True,
        force_resample=True,
    )
    moved = np.round(np.asarray(resampled.dataobj)).astype(np.int64)
    return moved


def called(names: Mapping[int, str], label: Any) -> str:
    """What messages call a label: its name, or ``"label 7"``."""
    return names.get(int(label), f"label {label}")


def _label_ids(image: Any, name: str) -> NDArray[np.int64]:
    ids: NDArray[np.int64] = np.unique(np.asarray(image.dataobj)).astype(np.int64)
    ids = ids[ids != 0]
    if not ids.size:
        raise InputError(f"{name} holds no label: all its voxels are 0; each region needs a number of its own")
    return ids
