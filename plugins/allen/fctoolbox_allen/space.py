"""Whether two images lie in one space: asked before anything is computed from both.

Coordinates are those of NIfTI: x grows to the right, y to the front, z upwards, in mm.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fctoolbox.errors import InputError, listed

# Voxels may be of any size (labels of 25 µm, runs of 0.4 mm), but two views of one brain are about as large: a factor
# of 10 is the trick of enlarged headers, with which software for human brains takes those of rodents.
_MOST_RATIO = 6.0
# From bulb to brain stem a mouse brain is less than 20 mm long; ten times a hemisphere's cortex is more than 50 mm.
_LONGEST_BRAIN_MM = 30.0
_TRUE_SIZE = (
    "Give all files their true size: with nibabel, divide the first three rows of the affine by {factor:,} (the how-to "
    "page 'Your own mouse rsfMRI' shows how)"
)
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
            raise InputError(
                f"{self.name}: its affine is no map from voxels to mm: {affine.tolist()}. Correct its header, or "
                "export it again"
            )

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
    def extent(self) -> NDArray[np.float64]:
        """Size of the field of view along each axis, mm."""
        return np.asarray(self.spacing * np.array(self.shape))

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
    """Refuse two grids that are not in one space: axes, handedness, size, field of view.

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
    small, large = sorted((reference, other), key=_longest)
    ratio = _longest(large) / _longest(small)
    if ratio > _MOST_RATIO:
        factor = 10 ** max(1, round(float(np.log10(ratio))))
        raise InputError(
            f"{large.name} is {_mm(large.extent)} mm large (voxels of {_mm(large.spacing)} mm), but {small.name} is "
            f"{_mm(small.extent)} mm (voxels of {_mm(small.spacing)} mm): about {factor:,} times. {_enlarged(factor)} "
            + _TRUE_SIZE.format(factor=factor)
        )
    low = np.maximum(reference.box[0], other.box[0])
    high = np.minimum(reference.box[1], other.box[1])
    smaller = min(float(np.prod(np.diff(grid.box, axis=0))) for grid in (reference, other))
    overlap = float(np.prod(np.clip(high - low, 0, None))) / smaller
    if overlap < _LEAST_OVERLAP:
        raise InputError(
            f"{other.name} and {reference.name} are not in one space: their fields of view share {overlap:.0%} of the "
            f"smaller one. x, y, z run over {_ranges(other)} mm in {other.name} and {_ranges(reference)} mm in "
            f"{reference.name}. Register the runs to the template of the labels first (where that was done, one of the "
            "two headers has lost its origin)"
        )


def check_size(labelled: NDArray[np.bool_], grid: Grid) -> None:
    """Refuse labels that are too large for a mouse, as in files whose headers all are enlarged.

    Two enlarged files agree with each other, but a smoothing of 0.5 mm would be one of 0.05 mm.

    Parameters
    ----------
    labelled : (ni, nj, nk) array of bool
    grid : Grid
        Of the labels.

    Raises
    ------
    InputError
    """
    spans = [np.flatnonzero(labelled.any(axis=tuple({0, 1, 2} - {axis}))) for axis in range(3)]
    long = [float(np.ptp(span) + 1) * mm if span.size else 0.0 for span, mm in zip(spans, grid.spacing, strict=True)]
    if max(long) > _LONGEST_BRAIN_MM:
        factor = 10 if max(long) < 1000 else 1000
        raise InputError(
            f"{grid.name}: its labels are {_mm(np.array(long))} mm large, but a mouse brain is less than 20 mm long. "
            f"{_enlarged(factor)} {_TRUE_SIZE.format(factor=factor)}"
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
            "of them if left and right were exchanged: one of the two is mirrored. Look at one over the other, and "
            "correct the header or the data of the wrong one"
        )
    if covered < _LEAST_COVERED:
        raise InputError(
            f"{grid.name} has signal in only {covered:.0%} of the voxels of {labels} (its values are the same in all "
            "volumes elsewhere). Are both in one space? Look at one over the other; where the run is meant to cover "
            "little, use labels of that part only"
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
            "named right; x grows to the right). Names or header are mirrored: correct the wrong one"
        )
    midline = (left + right) / 2
    wrong = [name for name, x in x_of.items() if (x < midline) != (side_of[name] == "left")]
    if wrong:
        raise InputError(
            f"{labels}: {listed(f'{name}, named {side_of[name]},' for name in wrong)} "
            f"{'lies' if len(wrong) == 1 else 'lie'} on the other side of the midline (x = {midline:.2f} mm). Correct "
            "the table of names, or the volume"
        )


def _longest(grid: Grid) -> float:
    return float(grid.extent.max())


def _enlarged(factor: int) -> str:
    if factor == 10:
        return "Its header seems enlarged ×10, as is done for software that expects human brains."
    return "Is its header in µm?" if factor == 1000 else "Is its header enlarged, or in another unit than mm?"


def _mm(values: NDArray[np.float64]) -> str:
    return " × ".join(f"{value:.3g}" for value in values)


def _ranges(grid: Grid) -> str:
    return ", ".join(f"{low:.3g} … {high:.3g}" for low, high in grid.box.T)
