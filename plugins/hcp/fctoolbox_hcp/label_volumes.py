"""Label volumes: which voxels belong to which parcel, and what the parcels are called."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fctoolbox.errors import InputError, listed, suggestion
from fctoolbox.tables import check_exists, text_rows

_INDEX_HEADERS = ("index", "id", "key", "value", "label_id")
_NAME_HEADERS = ("name", "label", "region", "parcel")


@dataclass(frozen=True, eq=False)
class LabelImage:
    """A 3-D volume of labels.

    Parameters
    ----------
    labels : (ni, nj, nk) integers
        0 is no parcel.
    affine : (4, 4) array
        To mm.
    names : mapping of int to str
        Of the labels that occur.
    path : Path
    """

    labels: NDArray[np.int64]
    affine: NDArray[np.float64]
    names: Mapping[int, str]
    path: Path


def read_labels(path: Path, names: Path | None) -> LabelImage:
    """A label volume and the names of its labels; ``label-7`` where there are none.

    Raises
    ------
    InputError
        If it is no such volume, does not say where its voxels are, or a label has no name, or that of another.
    """
    image = open_image(path)
    if len(image.shape) == 4 and image.shape[3] == 1:
        image = image.slicer[..., 0]
    if len(image.shape) != 3:
        raise InputError(f"{path} has the shape {image.shape}; a label volume has three dimensions")
    values = np.asarray(image.dataobj)
    if not np.isfinite(values).all() or (values != np.round(values)).any():
        raise InputError(f"{path} holds values that are not whole numbers. Are those labels? Resample to the nearest")
    labels = values.astype(np.int64)
    ids = [int(each) for each in np.unique(labels) if each != 0]
    if not ids:
        raise InputError(f"{path} holds no label: all its voxels are 0")
    known = {each: f"label-{each}" for each in ids} if names is None else _read_names(names)
    if missing := [each for each in ids if each not in known]:
        raise InputError(
            f"{names} has no name for {len(missing)} of the {len(ids)} labels of {path}: {listed(missing)}"
        )
    used = {each: known[each] for each in ids}
    if len(set(used.values())) < len(used):
        twice = sorted(name for name in set(used.values()) if list(used.values()).count(name) > 1)
        raise InputError(f"{names} uses {listed(twice)} for more than one label; each needs a name of its own")
    return LabelImage(labels, np.asarray(image.affine, dtype=np.float64), used, path)


def choose_labels(image: LabelImage, words: str, option: str) -> tuple[int, ...]:
    """The labels of these names; a word that is no name stands for the labels with that word in their name.

    ``THALAMUS`` is in ``Left-Thalamus-Proper``.

    Raises
    ------
    InputError
        If a word is in no name.
    """
    asked = [word.strip().lower() for word in words.split(",") if word.strip()]
    chosen: dict[int, None] = {}
    for word in asked:
        exact = [each for each, name in image.names.items() if name.lower() == word]
        parts = [each for each, name in image.names.items() if word in parts_of(name)]
        if not exact and not parts:
            raise InputError(
                f"{option} names '{word}', but no label of {image.path} is called so."
                f"{suggestion(word, image.names.values())} It has {listed(image.names.values(), most=20)}"
            )
        chosen |= dict.fromkeys(exact or parts)
    return tuple(chosen)


def parts_of(name: str) -> set[str]:
    """The words of a name, in lower case."""
    return set(re.split(r"[^a-z0-9]+", name.lower()))


def open_image(path: Path) -> Any:
    """An image on a grid of voxels, its data still on disk.

    Raises
    ------
    InputError
        If it cannot be read, holds no real numbers, or does not say where its voxels are.
    """
    import nibabel
    from nibabel.filebasedimages import ImageFileError
    from nibabel.spatialimages import HeaderDataError

    check_exists(path)
    try:
        image: Any = nibabel.load(path)
    except (ImageFileError, HeaderDataError, ValueError, OSError, EOFError) as error:
        raise InputError(f"{path} cannot be read as a NIfTI image: {error}") from error
    if image.get_data_dtype().kind not in "biuf":
        raise InputError(f"{path} holds colours or complex numbers; real numbers are needed")
    if hasattr(image.header, "get_sform") and not (image.header["sform_code"] or image.header["qform_code"]):
        raise InputError(
            f"{path} does not say where its voxels are (sform_code and qform_code are 0): it has no affine. Copy the "
            "header of the image that it was drawn on, with fslcpgeom for instance"
        )
    return image


def _read_names(path: Path) -> dict[int, str]:
    head, *rows = text_rows(path)
    words = [cell.strip().lower() for cell in head]
    columns = [next((words.index(each) for each in headers if each in words), None)
               for headers in (_INDEX_HEADERS, _NAME_HEADERS)]  # fmt: skip
    if None in columns:
        raise InputError(f"{path} has the columns {listed(head)}; it needs one called 'index' and one called 'name'")
    names: dict[int, str] = {}
    for number, row in enumerate(rows, start=2):
        index, name = (row[column] if column is not None and column < len(row) else "" for column in columns)
        if not re.fullmatch(r"-?\d+", index) or not name:
            raise InputError(f"{path}, row {number}: '{index}' and '{name}'; a whole number and a name are needed")
        if int(index) in names:
            raise InputError(f"{path}, row {number}: index {index} occurs twice")
        names[int(index)] = name
    return names
