"""NIfTI runs, labels and masks that the tests write, on grids like those of a mouse scanner."""

import nibabel
import numpy as np

SHAPE = (20, 24, 12)
SPACING = (0.4, 0.4, 0.5)
AFFINE = np.diag([*SPACING, 1.0])
AFFINE[:3, 3] = -0.5 * (np.array(SHAPE) - 1) * SPACING
T_R = 1.2
N_TIMES = 300
IDS = (7, 3, 120, 44)  # neither in order nor without gaps


def blocks(ids=IDS, shape=SHAPE):
    """One block of voxels for each label, along y, from left to right through the brain."""
    labels = np.zeros(shape, np.int16)
    width = 20 // len(ids)
    for k, label in enumerate(ids):
        labels[3:17, 2 + k * width : 1 + (k + 1) * width, 3:9] = label
    return labels


def times(n_times=N_TIMES, t_r=T_R):
    return np.arange(n_times) * t_r


def run_of(series, labels, rng=None, *, baseline=1000.0):
    """A 4-D image in which each label's voxels follow its series (n_times, in the order of the mapping)."""
    n_times = len(next(iter(series.values())))
    data = np.zeros((*labels.shape, n_times), np.float32)
    inside = np.ones(labels.shape, bool)
    inside[[0, -1]] = inside[:, [0, -1]] = inside[:, :, [0, -1]] = False
    noise = np.random.default_rng(5) if rng is None else rng
    data[inside] = baseline + 0.01 * noise.standard_normal((int(inside.sum()), n_times))
    for label, values in series.items():
        data[labels == label] = baseline + np.asarray(values)
    return data


def save(path, data, *, affine=AFFINE, t_r=None, unit="sec"):
    image = nibabel.Nifti1Image(data, affine)
    image.header.set_xyzt_units("mm", unit if t_r else "unknown")
    if t_r:
        image.header.set_zooms((*image.header.get_zooms()[:3], t_r))
    nibabel.save(image, path)
    return path
