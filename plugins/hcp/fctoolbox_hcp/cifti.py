"""CIFTI-2 files: what they hold, and what is wrong with those that cannot be read."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from xml.parsers.expat import ExpatError

import numpy as np
from numpy.typing import NDArray

from fctoolbox.errors import InputError


def open_cifti(path: Path) -> Any:
    """A CIFTI-2 image, its data still on disk.

    Parameters
    ----------
    path : Path

    Returns
    -------
    nibabel.Cifti2Image

    Raises
    ------
    InputError
        If the file is CIFTI-1, or no CIFTI file at all, or its voxels have no volume.
    """
    import nibabel
    from nibabel.filebasedimages import ImageFileError
    from nibabel.spatialimages import HeaderDataError

    try:
        with without_remarks():
            image = nibabel.load(path)
    except AttributeError as error:
        if "volume" not in str(error):
            raise
        # nibabel trips over a volume that is not there
        raise InputError(
            f"{path} lists voxels (of the thalamus, …) but not the volume that they are counted in: without an affine "
            "they have no place in mm. Write it again with wb_command -cifti-create-dense-from-template"
        ) from error
    except (ImageFileError, HeaderDataError, ExpatError, ValueError, OSError, EOFError) as error:
        if "CIFTI-2" in str(error):
            kind = ".".join(path.name.split(".")[-2:])
            raise InputError(
                f"{path} is a CIFTI-1 file; only CIFTI-2 can be read. Convert it with Connectome Workbench: "
                f"wb_command -file-convert -cifti-version-convert {path.name} 2 NEW.{kind}"
            ) from error
        raise InputError(f"{path} cannot be read as a CIFTI-2 file: {error}") from error
    if not isinstance(image, nibabel.Cifti2Image):
        hint = ""
        if isinstance(image, nibabel.Nifti1Image):
            hint = ". The source human-parcellated reads volumes, with a label volume as parcellation="
        raise InputError(f"{path} is a {type(image).__name__}, not a CIFTI-2 file{hint}")
    return image


def brain_models(path: Path) -> Any:
    """The axis of grayordinates of a dense CIFTI-2 file.

    Parameters
    ----------
    path : Path
        ``.dscalar.nii``, ``.dlabel.nii``, ``.dtseries.nii`` or ``.dconn.nii``.

    Returns
    -------
    nibabel.cifti2.BrainModelAxis

    Raises
    ------
    InputError
        If the file cannot be read, or is parcellated.
    """
    from nibabel.cifti2 import BrainModelAxis

    image = open_cifti(path)
    for dimension in range(image.ndim):
        axis = image.header.get_axis(dimension)
        if isinstance(axis, BrainModelAxis):
            return axis
    raise InputError(f"{path} has no axis of grayordinates; it is parcellated, and a dense file is needed")


def read_labels(path: Path) -> tuple[NDArray[np.int64], dict[int, tuple[str, tuple[float, ...]]]]:
    """The first map of a CIFTI-2 label file (``.dlabel.nii``).

    Parameters
    ----------
    path : Path

    Returns
    -------
    (n_grayordinates,) integers
        The key of each grayordinate.
    dict of int to (str, four float)
        Name and colour (red, green, blue, alpha, 0 to 1) of each key.

    Raises
    ------
    InputError
        If the file cannot be read or holds no labels.
    """
    from nibabel.cifti2 import LabelAxis

    image = open_cifti(path)
    axis = image.header.get_axis(0)
    if not isinstance(axis, LabelAxis):
        raise InputError(f"{path} holds no labels; a label file ends in .dlabel.nii")
    # int64, whatever the file stores: keys go beyond 127 and 255
    return np.asarray(image.dataobj[0]).astype(np.int64), dict(axis.label[0])


@contextmanager
def without_remarks() -> Iterator[None]:
    """Keep nibabel from remarking on headers while it reads one."""
    # CIFTI leaves the voxel size of its NIfTI header empty, which nibabel remarks upon each time.
    logger = logging.getLogger("nibabel.global")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
