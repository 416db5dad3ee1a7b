"""NIfTI images, opened; those that cannot be read are named."""

import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fctoolbox.errors import InputError
from fctoolbox.tables import check_exists


def open_image(path: Path) -> Any:
    """The nibabel image of a file; its data are not read yet.

    Raises
    ------
    InputError
        If it is no image, or not one of real numbers.
    """
    import nibabel
    from nibabel.filebasedimages import ImageFileError
    from nibabel.spatialimages import HeaderDataError

    check_exists(path)
    try:
        image: Any = nibabel.load(path)
    except (ImageFileError, HeaderDataError, ValueError, OSError, EOFError) as error:
        raise InputError(f"{path} cannot be read as a NIfTI image: {error}") from error
    if (kind := image.get_data_dtype()).kind not in "biuf":
        raise InputError(f"{path} holds colours or complex numbers ({kind}); real numbers are needed. Export them")
    return image


@contextmanager
def readable(name: str) -> Iterator[None]:
    """Turn what a damaged image raises while its data are read into an InputError."""
    try:
        yield
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise InputError(f"{name} is damaged, or was cut off: {error}. Copy or export it again") from error
