"""Regions of about equal size: Voronoi cells within the major divisions, or a label volume that was given.

Coletta et al. 2020 (Science Advances 6:eabb7187) resample the voxel model to 15,314 nodes "by a Voronoi diagram". How
its seeds were placed is not in what we could read, so this is our reading: seeds are voxels drawn at random, in each
division and hemisphere in proportion to its voxels; a voxel belongs to the nearest seed of its division and side.
"""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fctoolbox.data import written_whole
from fctoolbox.errors import InputError, check_whole
from fctoolbox_allen.ccf import read_nrrd
from fctoolbox_allen.grid import LabelGrid

N_ROIS = 15_314  # Coletta et al. 2020, for the whole brain
MINIATURE_N_ROIS = 1_000  # its brain has some 5,200 voxels
_MOST_UINT16 = 2**16 - 1


def voronoi_rois(
    voxels: NDArray[np.int64], groups: NDArray[np.int64], *, n_rois: int, rng: int | np.random.Generator
) -> NDArray[np.int64]:
    """The region of each voxel: that of the nearest seed of its group.

    Parameters
    ----------
    voxels : (n_voxels, 3) integers
        Indices on a grid with the same spacing along all axes.
    groups : (n_voxels,) integers
        Division and side, from 0; no region reaches over two.
    n_rois : int
        In all groups together; each has at least one.
    rng : int or Generator
        Same number, same regions.

    Returns
    -------
    (n_voxels,) integers
        From 1; numbered group by group, in the order of the seeds in the grid.

    Raises
    ------
    InputError
        If there are more regions than voxels, or fewer than groups.

    References
    ----------
    Coletta et al. 2020, Science Advances 6:eabb7187 (the scheme; seeds and weighting are our reading).
    """
    from scipy.spatial import cKDTree

    check_whole("n_rois", n_rois, 1)
    sizes = np.bincount(groups)
    seeds_of = _shares(sizes, n_rois)
    rngs = np.random.default_rng(rng).spawn(len(sizes))
    rois = np.empty(len(voxels), dtype=np.int64)
    first = 1
    for group, (n_seeds, draw) in enumerate(zip(seeds_of, rngs, strict=True)):
        members = np.flatnonzero(groups == group)
        seeds = np.sort(draw.choice(len(members), n_seeds, replace=False))
        points = voxels[members].astype(np.float64)
        rois[members] = first + cKDTree(points[seeds]).query(points)[1]
        first += n_seeds
    return rois


def _shares(sizes: NDArray[np.int64], n: int) -> list[int]:
    """`n` dealt out in proportion to the sizes, at least one each, by largest remainders."""
    if n > sizes.sum() or n < len(sizes):
        raise InputError(
            f"n_rois is {n:,}; it must lie between {len(sizes)}, the number of divisions and sides, and "
            f"{int(sizes.sum()):,}, the number of voxels"
        )
    exact = sizes * (n / sizes.sum())
    shares = np.maximum(1, np.floor(exact)).astype(np.int64)
    while (missing := n - int(shares.sum())) > 0:
        shares[np.argsort(shares - exact, kind="stable")[: min(missing, len(shares))]] += 1
    while shares.sum() > n:  # where many have their one of nothing
        shares[np.argmax(np.where(shares > 1, shares - exact, -np.inf))] -= 1
    return [int(each) for each in shares]


def read_rois(path: Path, grid: LabelGrid) -> NDArray[np.int64]:
    """The labels of a region volume (NIfTI or NRRD) on the grid of the annotation.

    Parameters
    ----------
    path : Path
        Whole numbers, 0 where there is no region. A NIfTI's axes may run in any order and direction; an NRRD's must
        be those of the annotation.
    grid : LabelGrid

    Returns
    -------
    (ni, nj, nk) integers

    Raises
    ------
    InputError
        If the volume is not on that grid, or holds other numbers.
    """
    if not path.is_file():
        raise InputError(f"roi_volume is {path}, which is no file")
    is_nrrd = path.suffix == ".nrrd"
    labels = np.asarray(read_nrrd(path)[0], dtype=np.float64) if is_nrrd else _read_nifti(path, grid)
    if labels.shape != grid.labels.shape:
        raise InputError(
            f"{path.name} has {_by(labels.shape)} voxels along AP, DV and ML, but the annotation at "
            f"{grid.spacing:g} µm has {_by(grid.labels.shape)}: resample it to the CCF at that spacing (nearest voxel)"
        )
    whole = np.rint(labels)
    if not np.isfinite(labels).all() or (whole != labels).any() or whole.min() < 0:
        raise InputError(f"{path.name} is no volume of regions: its voxels must be whole numbers from 0")
    if not whole.any():
        raise InputError(f"{path.name} has no region: all of its voxels are 0")
    return whole.astype(np.int64)


def _read_nifti(path: Path, grid: LabelGrid) -> NDArray[np.float64]:
    import nibabel
    from nibabel.orientations import apply_orientation, axcodes2ornt, io_orientation, ornt_transform

    try:
        image = nibabel.load(path)
        volume = np.asarray(image.dataobj, dtype=np.float64)
    except (nibabel.filebasedimages.ImageFileError, OSError, EOFError, ValueError) as error:
        raise InputError(f"{path} was not read as a NIfTI volume: {error}") from error
    if volume.ndim == 4 and volume.shape[3] == 1:
        volume = volume[..., 0]
    if volume.ndim != 3:
        raise InputError(f"{path.name} has {volume.ndim} dimensions; a volume of regions has 3")
    step = nibabel.affines.voxel_sizes(image.affine)
    if not np.allclose(step, grid.spacing / 1000, rtol=1e-3):
        raise InputError(
            f"{path.name} has voxels of {_by(round(float(each), 4) for each in step)} mm, but the annotation of "
            f"{grid.spacing / 1000:g} mm: resample it to the CCF at that spacing (nearest voxel)"
        )
    turn = ornt_transform(io_orientation(image.affine), axcodes2ornt(tuple("PIR")))
    return np.asarray(apply_orientation(volume, turn), dtype=np.float64)


def write_rois(path: Path, labels: NDArray[np.int64], grid: LabelGrid) -> Path:
    """Write a region volume as NIfTI in the space of the CCF.

    x runs to the right, y to the front and z upwards, in mm from the first voxel of the annotation (x = ML,
    y = -AP, z = -DV), so that it lies over the CCF in programs that heed the file's affine.

    Parameters
    ----------
    path : Path
        Ends in .nii or .nii.gz.
    labels : (ni, nj, nk) integers
    grid : LabelGrid

    Returns
    -------
    Path

    Raises
    ------
    InputError
        If the name ends otherwise, or the file cannot be written.
    """
    import nibabel

    if not path.name.endswith((".nii", ".nii.gz")):
        raise InputError(f"a volume of regions is written as NIfTI: {path.name} must end in .nii or .nii.gz")
    kind = np.uint16 if labels.max() <= _MOST_UINT16 else np.int32
    image = nibabel.Nifti1Image(labels.astype(kind), grid.ras_affine)
    image.set_sform(grid.ras_affine, code=2)  # aligned to another image: the template
    image.set_qform(grid.ras_affine, code=2)
    image.header.set_xyzt_units("mm")
    image.header["descrip"] = b"Allen CCFv3 regions; x=ML y=-AP z=-DV mm"
    # The temporary name keeps the last suffix only, and nibabel goes by both.
    with written_whole(path) as temporary:
        plain = temporary.with_name(f"{temporary.name}.nii{'.gz' if path.suffix == '.gz' else ''}")
        try:
            nibabel.save(image, plain)
            plain.replace(temporary)
        finally:
            plain.unlink(missing_ok=True)
    return path


def _by(numbers: Iterable[object]) -> str:
    return " × ".join(map(str, numbers))
