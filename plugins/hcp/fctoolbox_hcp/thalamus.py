"""Where in the thalamus the streamlines of each cortical area end."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fctoolbox.errors import InputError
from fctoolbox_hcp.grayordinates import ThalamusVoxels
from fctoolbox_hcp.tinytrack import Tractogram

# Middle of each thalamus, mm in MNI space: the end of a streamline that is nearer to it is the thalamic one.
CENTRES = {"left": (-12.0, -19.0, 8.0), "right": (12.0, -19.0, 8.0)}

# The smoothing kernel is cut off where it falls below this share of its peak.
_KERNEL_FLOOR = 0.01
_FWHM_PER_SD = np.sqrt(8 * np.log(2))
_INITIALS = {"L_": "left", "R_": "right"}


def hemisphere_of(area: str) -> str:
    """``"left"`` or ``"right"``, from the area's name.

    Raises
    ------
    InputError
        If the name begins with neither ``L_`` nor ``R_``.
    """
    if area[:2] not in _INITIALS:
        raise InputError(f"area '{area}' belongs to no hemisphere: its name must begin with L_ or R_")
    return _INITIALS[area[:2]]


def read_bundle_areas(path: Path) -> tuple[str, ...]:
    """The cortical area of each bundle, from the list that accompanies the streamlines.

    Parameters
    ----------
    path : Path
        One line per bundle: ``thalamus-L_9-46d-autotrack`` is the bundle of area ``L_9-46d``.

    Raises
    ------
    InputError
        If a line has another form, or an area repeats.
    """
    areas: list[str] = []
    for number, line in enumerate(path.read_text(encoding="utf-8").split("\n"), start=1):
        name = line.strip()
        if not name:
            continue
        area = name.removeprefix("thalamus-").removesuffix("-autotrack")
        if name != f"thalamus-{area}-autotrack" or not area:
            raise InputError(f"{path}, line {number}: '{name}' should read 'thalamus-AREA-autotrack'")
        hemisphere_of(area)
        if area in areas:
            raise InputError(f"{path}, line {number}: area '{area}' was named before, in line {areas.index(area) + 1}")
        areas.append(area)
    return tuple(areas)


def thalamic_ends(tractogram: Tractogram, areas: tuple[str, ...]) -> NDArray[np.float64]:
    """The thalamic end of each streamline: the one nearer to the thalamus of its area's side.

    Parameters
    ----------
    tractogram : Tractogram
    areas : tuple of str
        The area of each bundle.

    Returns
    -------
    (n_streamlines, 3) array
        mm.

    Raises
    ------
    InputError
        If a streamline belongs to a bundle that has no area.
    """
    unknown = tractogram.clusters[tractogram.clusters >= len(areas)]
    if unknown.size:
        raise InputError(
            f"{unknown.size} streamlines belong to bundle {unknown[0]} or others that the list of "
            f"{len(areas)} bundles (counted from 0) does not name: the two files do not belong together"
        )
    # Where streamlines run in either direction, about half of them begin in the thalamus.
    centre_of_bundle = np.array([CENTRES[hemisphere_of(area)] for area in areas]).reshape(-1, 3)
    centre = centre_of_bundle[tractogram.clusters]
    first, last = tractogram.ends
    first_is_nearer = np.linalg.norm(first - centre, axis=1) < np.linalg.norm(last - centre, axis=1)
    return np.where(first_is_nearer[:, None], first, last)


def count_ends(
    ends: NDArray[np.float64],
    sides: NDArray[np.str_],
    rows: NDArray[np.int64],
    voxels: ThalamusVoxels,
    *,
    n_rows: int,
    max_distance: float,
) -> NDArray[np.float64]:
    """How many ends of each row have each voxel as their nearest one.

    Parameters
    ----------
    ends : (n_ends, 3) array
        mm.
    sides : (n_ends,) str
        Only voxels of an end's own side can receive it.
    rows : (n_ends,) integers
        The row that each end counts for.
    voxels : ThalamusVoxels
    n_rows : int
    max_distance : float
        mm; ends farther than this from the centre of every voxel are left out.

    Returns
    -------
    (n_rows, n_voxels) array
        Counts, 0 where there are none.
    """
    from scipy.spatial import cKDTree

    counts = np.zeros((n_rows, len(voxels)))
    for side in np.unique(voxels.hemispheres):
        columns = np.flatnonzero(voxels.hemispheres == side)
        here = np.flatnonzero(sides == side)
        tree: Any = cKDTree(voxels.positions[columns])
        distance, nearest = tree.query(ends[here])
        near = distance <= max_distance
        np.add.at(counts, (rows[here[near]], columns[nearest[near]]), 1)
    return counts


def smoothed_counts(counts: NDArray[np.float64], voxels: ThalamusVoxels, fwhm: float) -> NDArray[np.float64]:
    """Spread each count over the neighbouring thalamus voxels of its side; nothing is gained or lost.

    An end at voxel v adds ``exp(-d² / 2σ²) / Σ`` to the voxels at distance d of v, where
    σ = FWHM / √(8 ln 2), cut off at 1 % of the peak. Σ makes the shares of one end add up to 1, at the border
    of the thalamus too. This is connectome spatial smoothing (Mansour et al. 2022, NeuroImage 250:118930), on
    the thalamic side only.

    Parameters
    ----------
    counts : (n_rows, n_voxels) array
    voxels : ThalamusVoxels
    fwhm : float
        Full width at half maximum, mm; 0 leaves the counts as they are.

    Returns
    -------
    (n_rows, n_voxels) array
    """
    if fwhm == 0:
        return counts
    smoothed = np.zeros_like(counts)
    for side in np.unique(voxels.hemispheres):
        columns = np.flatnonzero(voxels.hemispheres == side)
        smoothed[:, columns] = counts[:, columns] @ _kernel(voxels.positions[columns], fwhm / _FWHM_PER_SD)
    return smoothed


def _kernel(positions: NDArray[np.float64], sd: float) -> NDArray[np.float64]:
    """Row v says where the ends at voxel v go; rows add up to 1."""
    from scipy.spatial.distance import cdist

    weights: NDArray[np.float64] = np.exp(-(cdist(positions, positions) ** 2) / (2 * sd**2))
    weights[weights < _KERNEL_FLOOR] = 0
    weights /= weights.sum(axis=1, keepdims=True)
    return weights
