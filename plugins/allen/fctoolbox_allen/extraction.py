"""The mean series of the labelled regions of one run, over the voxels that were measured."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fctoolbox.errors import InputError, counted, listed
from fctoolbox_allen.label_volumes import called

MASKED = "outside the mask"


def measured_voxels(
    data: NDArray[np.float32], of_voxel: NDArray[np.int64], name: str, names: Mapping[int, str]
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Voxels whose signal changes, and voxels that are empty; `data` is centred, and what was not measured made 0.

    Raises
    ------
    InputError
        If a labelled voxel is finite in some volumes only.
    """
    finite = np.isfinite(data)
    always, ever = finite.all(axis=3), finite.any(axis=3)
    gaps = ever & ~always & (of_voxel != 0)
    if gaps.any():
        voxel = tuple(int(i) for i in np.argwhere(gaps)[0])
        frame = int(np.argmin(finite[voxel]))
        regions = listed(called(names, each) for each in np.unique(of_voxel[gaps]))
        raise InputError(
            f"{name}: NaN or infinity in some volumes and numbers in others, in {counted(int(gaps.sum()), 'voxel')} of "
            f"{regions}; the first at {voxel} in volume {frame} (counted from 0). Nothing is filled in: leave these "
            "voxels out with a mask"
        )
    data[~always] = 0
    silent = ~always | ~data.any(axis=3)
    changes = always & (np.ptp(data, axis=3) > 0)
    # Everything below is linear and removes the mean anyhow; without it float32 keeps the digits of the fluctuations.
    data -= data.mean(axis=3, dtype=np.float64, keepdims=True).astype(np.float32)
    data[~changes] = 0
    return np.asarray(changes), np.asarray(silent)


def unmeasured_labels(
    ids: NDArray[np.int64],
    of_voxel: NDArray[np.int64],
    in_mask: NDArray[np.bool_],
    measured: NDArray[np.bool_],
    silent: NDArray[np.bool_],
) -> dict[int, str]:
    """Labels without a measured voxel, and the reason."""
    reasons = (
        (np.ones(of_voxel.shape, bool), "no voxel on the grid of the run (too small, or outside the field of view)"),
        (in_mask, MASKED),
        (in_mask & ~silent, "outside the field of view"),
        (in_mask & measured, "constant"),
    )
    dropped: dict[int, str] = {}
    for where, reason in reasons:
        absent = ids[~np.isin(ids, of_voxel[where])]
        dropped = dict.fromkeys((int(each) for each in absent), reason) | dropped
    return dict(sorted(dropped.items()))


def region_series(
    data: NDArray[np.float32],
    image: Any,
    of_voxel: NDArray[np.int64],
    used: NDArray[np.bool_],
    smoothing_fwhm: float | None,
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Labels and their mean series (n_times, n_labels), by nilearn's masker; columns are found by label."""
    import nibabel
    from nilearn.maskers import NiftiLabelsMasker

    masker = NiftiLabelsMasker(
        labels_img=nibabel.Nifti1Image(np.where(used, of_voxel, 0).astype(np.int32), image.affine),
        smoothing_fwhm=smoothing_fwhm or None,
        standardize=None,
        resampling_target=None,
        reports=False,
    )
    series = np.asarray(masker.fit_transform(nibabel.Nifti1Image(data, image.affine)), dtype=np.float64)
    label_of = {int(column): int(label) for column, label in masker.region_ids_.items() if column != "background"}
    found = np.array([label_of[column] for column in range(series.shape[1])])
    order = np.argsort(found)
    return found[order], series[:, order]
