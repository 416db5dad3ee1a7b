"""A synthetic laboratory in miniature: rsfMRI runs, the labels of an atlas, their names, a mask and confounds.

The areas do what the miniature's connectome makes them do (`fctoolbox_allen.miniature`), so that `mouse-mini` finds in
these runs what was planted. Head movements are added to all voxels, and two volumes of each run are spoilt: the
confounds' tables tell which.
"""

from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from fctoolbox_atlases import load_atlas
from numpy.typing import NDArray

from fctoolbox_allen.ccf import ids_within, read_structures
from fctoolbox_allen.miniature import (
    N_TIMES,
    divisions,
    planted_scans,
    planted_weights,
    write_annotation,
    write_structures,
)
from fctoolbox_allen.rsfmri import HEMISPHERES, ROIS

N_RUNS = 3
T_R = 1.0
_SPACING_MM = 0.3
_EVERY = 2  # of the annotation's voxels, along each axis
_BASELINE, _AMPLITUDE, _NOISE = 8000.0, 80.0, 40.0
_RIGHT_FROM = 100  # labels of the right hemisphere, so that left and right have other numbers
_SPOILT = (40, 97)


@dataclass(frozen=True)
class RunFiles:
    """What `write_runs` wrote."""

    runs: tuple[Path, ...]
    confounds: tuple[Path, ...]
    labels: Path
    label_names: Path
    mask: Path


def write_runs(folder: str | Path, *, rng: int = 0, n_runs: int = N_RUNS) -> RunFiles:
    """Write the files of a laboratory into a folder.

    Parameters
    ----------
    folder : path
    rng : int
        That of the miniature whose connectome drives the areas: ``mouse-mini -o seed=…``.
    n_runs : int
        At most `fctoolbox_allen.miniature.N_SCANS`.

    Returns
    -------
    RunFiles
        ``sub-01_bold.nii.gz``, ``sub-01_confounds.tsv``, … ``labels.nii.gz``, ``labels.tsv`` and ``mask.nii.gz``.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    labels, brain, names = _labels()
    affine = _affine(labels.shape)
    files = RunFiles(
        runs=tuple(folder / f"sub-{k + 1:02}_bold.nii.gz" for k in range(n_runs)),
        confounds=tuple(folder / f"sub-{k + 1:02}_confounds.tsv" for k in range(n_runs)),
        labels=folder / "labels.nii.gz",
        label_names=folder / "labels.tsv",
        mask=folder / "mask.nii.gz",
    )
    _save(files.labels, labels, affine)
    _save(files.mask, brain.astype(np.int16), affine)
    rows = [f"{label}\t{acronym}\t{hemisphere}" for label, (acronym, hemisphere) in names.items()]
    files.label_names.write_text("\n".join(["id\tacronym\themisphere", *rows]) + "\n", encoding="utf-8")
    generator = np.random.default_rng(rng)
    regions = sorted(region for each in divisions().values() for region in each)
    # The miniature draws its weights first, so these are the same.
    scans = planted_scans(regions, planted_weights(regions, generator), generator)
    for path, table, series in zip(files.runs, files.confounds, scans.values(), strict=False):
        movement = np.cumsum(generator.standard_normal((N_TIMES, 2)), axis=0)
        movement -= movement.mean(axis=0)
        _save(path, _run(labels, brain, names, series, movement, generator), affine, t_r=T_R)
        spoilt = np.isin(np.arange(N_TIMES), _SPOILT).astype(int)
        lines = [f"{x:.6f}\t{y:.6f}\t{flag}" for (x, y), flag in zip(movement, spoilt, strict=True)]
        table.write_text("\n".join(["trans_x\ttrans_y\toutlier", *lines]) + "\n", encoding="utf-8")
    return files


def _labels() -> tuple[NDArray[np.int16], NDArray[np.bool_], dict[int, tuple[str, str]]]:
    """Label volume (right, front, up), the brain, and the area and hemisphere of each label."""
    import nrrd

    with TemporaryDirectory() as temporary:
        tree, annotation = Path(temporary) / "tree.json", Path(temporary) / "annotation.nrrd"
        atlas = load_atlas("allen-ccf")
        write_structures(tree, atlas)
        write_annotation(annotation, atlas)
        structures = read_structures(tree)
        volume, _ = nrrd.read(str(annotation), index_order="F")
    # From AP, DV, ML (back, down, right) to right, front, up.
    volume = volume.transpose(2, 0, 1)[::_EVERY, ::-_EVERY, ::-_EVERY]
    left = np.arange(volume.shape[0]) < volume.shape[0] // 2
    labels, names = np.zeros(volume.shape, np.int16), {}
    for number, area in enumerate(dict.fromkeys(ROIS), start=1):
        there = np.isin(volume, list(ids_within(structures, area)))
        for hemisphere, side in (("left", left), ("right", ~left)):
            label = number + _RIGHT_FROM * (hemisphere == "right")
            labels[there & side[:, None, None]] = label
            names[label] = (area, hemisphere)
    return labels, volume > 0, names


def _affine(shape: tuple[int, ...]) -> NDArray[np.float64]:
    affine = np.diag([_SPACING_MM] * 3 + [1.0])
    affine[:3, 3] = -0.5 * (np.array(shape) - 1) * _SPACING_MM
    return affine


def _run(
    labels: NDArray[np.int16],
    brain: NDArray[np.bool_],
    names: dict[int, tuple[str, str]],
    series: NDArray[np.float64],
    movement: NDArray[np.float64],
    rng: np.random.Generator,
) -> NDArray[np.int16]:
    data = np.zeros((*labels.shape, N_TIMES), np.float32)
    data[brain] = _BASELINE + _NOISE * rng.standard_normal((int(brain.sum()), N_TIMES))
    for label, (area, hemisphere) in names.items():
        column = HEMISPHERES.index(hemisphere) * len(ROIS) + ROIS.index(area)
        data[labels == label] += _AMPLITUDE * series[:, column]
    data[brain] += 20 * movement.sum(axis=1)
    data[np.ix_(*(np.arange(n) for n in labels.shape), np.array(_SPOILT))] *= 1.5
    return np.round(data).astype(np.int16)


def _save(path: Path, data: NDArray[np.int16], affine: NDArray[np.float64], *, t_r: float | None = None) -> None:
    import nibabel

    image = nibabel.Nifti1Image(data, affine)
    image.header.set_xyzt_units("mm", "sec" if t_r else None)
    if t_r:
        image.header.set_zooms((*image.header.get_zooms()[:3], t_r))
    nibabel.save(image, path)
