"""Whether two images lie in one space: asked before anything is computed from both.

Coordinates are those of NIfTI: x grows to the right, y to the front, z upwards, in mm.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fctoolbox.errors import InputError, listed

# Two grids of one space may differ in resolution, but a factor of 10 is the scanner's trick of enlarged headers.
_MOST_RATIO = 6.0
# Of the smaller field of view, how much the other must hold; partial coverage is common, other places are not.
_LEAST_OVERLAP = 0.5
_LEAST_COVERED = 0.25
_CLEARLY = 0.2


@dataclass(frozen=True, eq=False)
class Grid:
    """The voxels of an image, and where they are.

    Parameters
    ----------
    name : str
        What messages call the image.
    shape : three int
    affine : (4, 4) array
        From voxel indices to mm, x to the right, y to the front and z upwards.

    Raises
    ------
    InputError
        If the affine is not one.
    """

    name: str
    shape: tuple[int, int, int]
    affine: NDArray[np.float64]

    def __post_init__(self) -> None:
        affine = np.asarray(self.affine, dtype=float)
        if affine.shape != (4, 4) or not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3])) < 1e-12:
            raise InputError(f"{self.name}: its affine is no map from voxels to mm: {affine.tolist()}")

    @property
    def axis_codes(self) -> str:
        """Where each axis leads, as in ``"RAS"``."""
        import nibabel

        return "".join(nibabel.aff2axcodes(self.affine))

    @property
    def spacing(self) -> NDArray[np.float64]:
        """Size of a voxel along each axis, mm."""
        return np.asarray(np.linalg.norm(self.affine[:3, :3], axis=0))

    @property
    def box(self) -> NDArray[np.float64]:
        """(2, 3): lowest and highest x, y and z of the field of view, mm."""
        corners = np.stack(np.meshgrid(*[(-0.5, n - 0.5) for n in self.shape], indexing="ij"), axis=-1).reshape(-1, 3)
        places = corners @ self.affine[:3, :3].T + self.affine[:3, 3]
        return np.stack([places.min(axis=0), places.max(axis=0)])

    @property
    def axis_of_sides(self) -> int:
        """The axis that runs between left and right."""
        return next(axis for axis, letter in enumerate(self.axis_codes) if letter in "LR")

    def equals(self, other: "Grid") -> bool:
        """Whether both have the same voxels, to a hundredth of their size."""
        return self.shape == other.shape and bool(
            np.allclose(self.affine, other.affine, rtol=0, atol=0.01 * float(self.spacing.min()))
        )


def grid_of(image: Any, name: str) -> Grid:
    """The grid of a nibabel image, time left out."""
    return Grid(name, tuple(int(n) for n in image.shape[:3]), image.affine)  # type: ignore[arg-type]


def check_same_space(reference: Grid, other: Grid) -> None:
    """Refuse two grids that are not in one space: axes, handedness, size of voxels, field of view.

    Other voxels in the same space pass: the labels are brought onto those of the run.

    Raises
    ------
    InputError
        In words: mirrored, turned, enlarged, or elsewhere.
    """
    one, another = reference.axis_codes, other.axis_codes
    if one != another:
        differ = [(a, b) for a, b in zip(one, another, strict=True) if a != b]
        if all({a, b} == {"L", "R"} for a, b in differ):
            what = "one is the mirror image of the other from left to right, and hemispheres may be exchanged"
        elif np.linalg.det(reference.affine[:3, :3]) * np.linalg.det(other.affine[:3, :3]) < 0:
            what = "their axes lead elsewhere and one of them is mirrored"
        else:
            what = "their axes lead elsewhere"
        raise InputError(
            f"{other.name} has the axes {another}, but {reference.name} has {one}: {what}. Where both headers are "
            "right, store both as RAS (nibabel.as_closest_canonical, or fslreorient2std) and look at one over the "
            "other before you go on"
        )
    ratio = other.spacing / reference.spacing
    if ratio.max() > _MOST_RATIO or ratio.min() < 1 / _MOST_RATIO:
        raise InputError(
            f"{other.name} has voxels of {_mm(other.spacing)} mm, but {reference.name} of {_mm(reference.spacing)} mm. "
            "Is one of the headers enlarged (as for software that expects human brains), or in µm?"
        )
    low = np.maximum(reference.box[0], other.box[0])
    high = np.minimum(reference.box[1], other.box[1])
    smaller = min(float(np.prod(np.diff(grid.box, axis=0))) for grid in (reference, other))
    overlap = float(np.prod(np.clip(high - low, 0, None))) / smaller
    if overlap < _LEAST_OVERLAP:
        raise InputError(
            f"{other.name} and {reference.name} are not in one space: their fields of view share {overlap:.0%} of the "
            f"smaller one. x, y, z run over {_ranges(other)} mm in the one and {_ranges(reference)} mm in the other. "
            "Register the run to the template of the labels first"
        )


def check_covered(labelled: NDArray[np.bool_], measured: NDArray[np.bool_], grid: Grid, labels: str) -> None:
    """Refuse labels that lie where the run measured nothing, above all where their mirror image would fit.

    A whole brain is so symmetric that this cannot see it mirrored; a slab, a surface coil or one hemisphere is not.

    Parameters
    ----------
    labelled, measured : (ni, nj, nk) arrays of bool
        Voxels with a label, and voxels whose signal changes, both on the run's grid.
    grid : Grid
        Of the run.
    labels : str
        What messages call the labels.

    Raises
    ------
    InputError
    """
    if not labelled.any():
        return  # nothing to compare; whoever asks names what is missing
    covered = float(measured[labelled].mean())
    if covered >= 1 - _CLEARLY:
        return
    mirrored = float(measured[np.flip(labelled, axis=grid.axis_of_sides)].mean())
    if mirrored > covered + _CLEARLY:
        raise InputError(
            f"{grid.name} has signal in {covered:.0%} of the voxels of {labels}, but would have it in {mirrored:.0%} "
            "of them if left and right were exchanged: one of the two is mirrored. Correct its header or its data"
        )
    if covered < _LEAST_COVERED:
        raise InputError(
            f"{grid.name} has signal in only {covered:.0%} of the voxels of {labels}. Are both in one space? Look at "
            "one over the other; where the run is meant to cover little, use labels of that part only"
        )


def check_sides(x_of: Mapping[str, float], side_of: Mapping[str, str], labels: str) -> None:
    """Refuse labels that are named after the other side of the brain than the one they lie on.

    Parameters
    ----------
    x_of : mapping of str to float
        Mean x of the voxels of each label, mm.
    side_of : mapping of str to str
        ``"left"`` or ``"right"`` of each label. With one side only there is nothing to compare with.
    labels : str
        What messages call the labels.

    Raises
    ------
    InputError
    """
    means = {side: [x_of[name] for name in x_of if side_of[name] == side] for side in ("left", "right")}
    if not all(means.values()):
        return
    left, right = float(np.mean(means["left"])), float(np.mean(means["right"]))
    if left >= right:
        raise InputError(
            f"{labels}: what is named left lies on the right (mean x {left:.2f} mm, against {right:.2f} mm of what is "
            "named right; x grows to the right). Names or header are mirrored"
        )
    midline = (left + right) / 2
    wrong = [name for name, x in x_of.items() if (x < midline) != (side_of[name] == "left")]
    if wrong:
        raise InputError(
            f"{labels}: {listed(f'{name} ({side_of[name]})' for name in wrong)} lies on the other side of the midline "
            f"(x = {midline:.2f} mm)"
        )


def _mm(values: NDArray[np.float64]) -> str:
    return " × ".join(f"{value:.3g}" for value in values)


def _ranges(grid: Grid) -> str:
    return ", ".join(f"{low:.3g} … {high:.3g}" for low, high in grid.box.T)
