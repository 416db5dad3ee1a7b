"""Label maps as NIfTI files, which the viewers of the field open.

The format is written here because the core imports no nibabel: a header of 348 bytes, and the voxels.
"""

import gzip
import struct
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from scipy.spatial.transform import Rotation

from fctoolbox.data import written_whole
from fctoolbox.errors import InputError
from fctoolbox.system import Integers, LabelVolume

_OPPOSITE = dict(zip("RLAPSI", "LRPAIS", strict=True))
# sizeof_hdr, unused, dim_info; dim; intent, datatype, bitpix, slice_start; pixdim; vox_offset, scaling, slices, units;
# display and timing, unused; descrip, aux_file; qform and sform; intent_name, magic; no extension.
_HEADER = "<i35xB 8h 3f4h 8f 3fhBB 4f8x 80s24s 2h6f12f 16s4s 4x"
_DATA_STARTS = 352
_INT16, _INT32, _INTENT_LABEL, _UNITS_MM = 4, 8, 1002, 2
# "Aligned": coordinates of an anatomy that others are laid over, and not of a scanner.
_ALIGNED, _NOT_GIVEN = 2, 0
_LONGEST_AXIS = 2**15 - 1
_DESCRIPTION_BYTES = 79


def write_labels(path: Path, volume: LabelVolume, labels: Integers, *, description: str = "") -> Path:
    """Write a label for each voxel as NIfTI-1 (``.nii.gz``); the path.

    A voxel of unit u holds ``labels[u] + 1``, every other voxel 0. Voxels keep their indices; `ras_affine` leads them
    to mm. The same volume gives the same bytes.

    Parameters
    ----------
    path : Path
        Replaced when the new file is whole.
    volume : LabelVolume
    labels : (n_units,) integers
        From 0.
    description : str
        For the header, before the name of the space; 79 bytes remain of both.

    Returns
    -------
    Path

    Raises
    ------
    InputError
        If there is not a label ≥ 0 for each unit of the volume, an axis is too long for the format, or the file
        cannot be written.

    References
    ----------
    Cox et al. 2004, "A (sort of) new image data format standard: NIfTI-1", Human Brain Mapping 10:WE 97.
    """
    labels, grid = np.asarray(labels), volume.unit_of_voxel
    if labels.ndim != 1 or labels.dtype.kind not in "iu" or len(labels) <= grid.max(initial=-1):
        raise InputError(
            f"labels {labels.shape} of {labels.dtype.name}: a label map needs an integer for each of the volume's "
            f"{grid.max(initial=-1) + 1} units"
        )
    if not 0 <= labels.min(initial=0) <= labels.max(initial=0) < 2**31 - 1:
        raise InputError(f"labels reach from {labels.min()} to {labels.max()}; they must lie in 0 … 2147483646")
    if max(grid.shape) > _LONGEST_AXIS:
        raise InputError(f"the volume's grid is {grid.shape}; NIfTI-1 counts voxels along an axis to {_LONGEST_AXIS}")
    dtype = np.dtype("<i2" if labels.max(initial=0) < 2**15 - 1 else "<i4")
    # The last two, which the indices -1 and -2 pick, stand for what belongs to no unit.
    value_of_unit = np.append(labels.astype(np.int64) + 1, [0, 0]).astype(dtype)
    with (
        written_whole(path) as temporary,
        temporary.open("wb") as file,
        # Neither a time nor the temporary name goes into the file.
        gzip.GzipFile(filename="", fileobj=file, mode="wb", compresslevel=6, mtime=0) as stream,
    ):
        stream.write(_header(volume, dtype, description))
        for k in range(grid.shape[2]):  # the first index runs fastest
            stream.write(value_of_unit[grid[:, :, k]].tobytes(order="F"))
    return path


def ras_affine(volume: LabelVolume) -> NDArray[np.float64]:
    """From voxel indices to mm that grow to the right, to anterior and to superior, as NIfTI demands.

    The letters say where the grid's axes lead, the affine which coordinate grows along each; both together say
    where the coordinates of the volume's own space lead. These are put into another order and turned round where they
    lead to L, P or I; the origin remains. Of AP, DV and ML in the Allen CCF (PIR) become x = ML, y = −AP, z = −DV.

    Parameters
    ----------
    volume : LabelVolume

    Returns
    -------
    (4, 4) array
    """
    affine = volume.affine.astype(np.float64)
    ras = np.eye(4)
    for coordinate, leads in enumerate(coordinate_directions(volume)):
        row = next(i for i, letter in enumerate("RAS") if letter in (leads, _OPPOSITE[leads]))
        ras[row] = affine[coordinate] if leads in "RAS" else -affine[coordinate]
    return ras + 0.0  # no negative zeros


def coordinate_directions(volume: LabelVolume) -> str:
    """Where the coordinates of the volume's space grow to, a letter each: "PIR" for the Allen CCF."""
    directions = volume.affine[:3, :3] / np.linalg.norm(volume.affine[:3, :3], axis=0)
    # In a rotated grid each axis stands for the coordinate that it follows most, and no two for the same.
    coordinates, axes = linear_sum_assignment(-np.abs(directions))
    return "".join(
        volume.orientation[axis] if directions[coordinate, axis] > 0 else _OPPOSITE[volume.orientation[axis]]
        for coordinate, axis in zip(coordinates, axes, strict=True)
    )


def _header(volume: LabelVolume, dtype: np.dtype[np.signedinteger], description: str) -> bytes:
    affine = ras_affine(volume)
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    turned, quaternion, handedness = _rotation(affine[:3, :3] / spacing)
    space = f"{volume.space or 'space not named'} ({coordinate_directions(volume)}) as RAS mm"
    text = "; ".join(part for part in (description, space) if part).encode("ascii", "replace")[:_DESCRIPTION_BYTES]
    return struct.pack(
        _HEADER,
        348, 0,
        3, *volume.unit_of_voxel.shape, 1, 1, 1, 1,
        0, 0, 0, _INTENT_LABEL, _INT16 if dtype.itemsize == 2 else _INT32, 8 * dtype.itemsize, 0,
        handedness, *spacing, 0, 0, 0, 0,
        _DATA_STARTS, 1, 0, 0, 0, _UNITS_MM,
        0, 0, 0, 0,
        text, b"",
        _ALIGNED if turned else _NOT_GIVEN, _ALIGNED, *quaternion, *affine[:3, 3], *affine[:3].ravel(),
        b"", b"n+1\0",
    )  # fmt: skip


def _rotation(directions: NDArray[np.float64]) -> tuple[bool, NDArray[np.float64], float]:
    """Whether axes are at right angles; if so, b, c and d of the quaternion that turns RAS to them; ±1 if mirrored."""
    if not np.allclose(directions.T @ directions, np.eye(3), atol=1e-5):
        return False, np.zeros(3), 1.0  # a sheared grid has an sform only
    handedness = float(np.sign(np.linalg.det(directions)))
    quaternion = Rotation.from_matrix(directions * [1, 1, handedness]).as_quat(canonical=True)
    return True, quaternion[:3], handedness
