"""A small synthetic brain in parcels, written in all the file formats that parcels come in."""

from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fctoolbox.data import written_whole
from fctoolbox.errors import InputError, check_whole, suggestion
from fctoolbox.similarity import functional_connectivity
from fctoolbox.system import Provenance, RecurrentSystem
from fctoolbox_hcp import miniature
from fctoolbox_hcp.dense_miniature import DenseFiles, small_space, write_dense
from fctoolbox_hcp.human_parcellated import PACKAGES, Reading, read_parcellated
from fctoolbox_hcp.parcellated import averaging, read_parcellation

CITATION = "none: synthetic data made by fctoolbox-hcp, in the formats of parcellated CIFTI-2 files"
LICENSE = "CC0-1.0"
_NAME = "human-parcellated-mini (synthetic)"
_INTENTS = {
    "dlabel": (3007, "ConnDenseLabel"),
    "pconn": (3003, "ConnParcels"),
    "ptseries": (3004, "ConnParcelSries"),
    "pdconn": (3009, "ConnParcelDense"),
}
_ACTIVITIES = ("ptseries", "pconn", "dtseries", "dconn")
_PROJECTIONS = ("sparse", "pdconn", "table")


@dataclass(frozen=True)
class ParcelFiles:
    """What `write_parcellated` writes.

    Parameters
    ----------
    dense : DenseFiles
        Grayordinates, surfaces, and the files that the others are the means and sums of.
    parcellation : Path
        ``.dlabel.nii``; the right hemisphere has the first keys, as in the official Glasser labels.
    ptseries : sequence of Path
        Two runs.
    pconn : Path
        Pearson r, with the parcels in an order of its own.
    pdconn : Path
        Counts of streamlines, parcels × grayordinates.
    table : Path
        TSV of the same from the thalamus voxels, with names.
    planted : mapping of str to str
        The module that most of a parcel's vertices have.
    """

    dense: DenseFiles
    parcellation: Path
    ptseries: tuple[Path, ...]
    pconn: Path
    pdconn: Path
    table: Path
    planted: dict[str, str]


def load(
    *,
    activity: str = "ptseries",
    projection: str = "sparse",
    targets: str = "CORTEX_LEFT",
    sources: str = "THALAMUS",
    fwhm: float | None = None,
    planted: bool = True,
    seed: int = 0,
) -> RecurrentSystem:
    """Write small parcellated files to a temporary folder and read them as those of ``human-parcellated`` are read.

    Parameters
    ----------
    activity : {"ptseries", "pconn", "dtseries", "dconn"}
        Which of the files the activity is read from.
    projection : {"sparse", "pdconn", "table"}
        Which of the files the projection is read from.
    targets, sources, fwhm
        As for ``human-parcellated``.
    planted : bool
        False sends each vertex to any place in the thalamus, so that inputs say nothing about the modules of the
        functional connectivity.
    seed : int

    Returns
    -------
    RecurrentSystem
        The module of each parcel is the annotation ``planted``.
    """
    check_whole("seed", seed, 0)
    for option, value, known in (("activity", activity, _ACTIVITIES), ("projection", projection, _PROJECTIONS)):
        if value not in known:
            raise InputError(
                f"{option} is {value!r}.{suggestion(str(value), known)} It must be one of {', '.join(known)}."
            )
    with TemporaryDirectory(prefix="human-parcellated-mini-") as folder:
        written = write_parcellated(Path(folder), planted=planted, rng=seed)
        paths = {
            "ptseries": written.ptseries,
            "pconn": (written.pconn,),
            "dtseries": written.dense.timeseries,
            "dconn": (written.dense.connectivity,),
        }
        projections = {"sparse": written.dense.projection, "pdconn": written.pdconn, "table": written.table}
        provenance = Provenance(
            citation=CITATION,
            license=LICENSE,
            species="none (synthetic)",
            notes={"Synthetic": "made up by fctoolbox-hcp; no brain was measured"},
            synthetic=True,
            packages=PACKAGES,
        )
        system = read_parcellated(
            _NAME,
            small_space(written.dense),
            projections[projection],
            paths[activity],
            "connectivity" if activity.endswith("conn") else "timeseries",
            written.parcellation,
            Reading(targets, sources, fwhm=fwhm),
            provenance,
        )
    labels = tuple(written.planted.get(unit, "none") for unit in system.units)
    return replace(system, annotations={**system.annotations, "planted": labels})


def write_parcellated(folder: Path, *, planted: bool = True, rng: int | np.random.Generator = 0) -> ParcelFiles:
    """Write a small brain in parcels.

    Parameters
    ----------
    folder : Path
    planted : bool
        See `load`.
    rng : int or Generator

    Returns
    -------
    ParcelFiles
    """
    from nibabel.cifti2 import LabelAxis, ParcelsAxis, SeriesAxis
    from scipy import sparse

    from fctoolbox_hcp.cifti import brain_models, open_cifti

    rng = np.random.default_rng(rng)
    dense = write_dense(folder, full_size=False, planted=planted, rng=rng)
    assert dense.grayordinates is not None  # the small one has all files
    axis = brain_models(dense.grayordinates)
    structures = small_space(dense).structures
    keys = np.zeros(len(axis), dtype=np.int64)
    names: dict[int, str] = {}
    area_of_vertex = miniature._make_half().area_of_vertex
    n_areas = int(area_of_vertex.max()) + 1
    # Right first, as the official Glasser labels have it.
    for first, initial, side in ((1, "R", "RIGHT"), (n_areas + 1, "L", "LEFT")):
        cortex, thalamus = structures[f"CORTEX_{side}"], structures[f"THALAMUS_{side}"]
        keys[cortex.rows] = first + area_of_vertex[cortex.vertices]
        names |= {first + area: f"{initial}_m-{area + 1}_ROI" for area in range(n_areas)}
        keys[thalamus.rows] = 2 * n_areas + first // n_areas + 1
        names[2 * n_areas + first // n_areas + 1] = f"{initial}_Thalamus"
    colours = rng.random((len(names) + 1, 3)).round(3)
    table: dict[int, Any] = {0: ("???", (1.0, 1.0, 1.0, 0.0))}
    table |= {key: (name, (*map(float, colours[key]), 1.0)) for key, name in sorted(names.items())}
    parcellation = folder / "SYNTHETIC.dlabel.nii"
    _write(parcellation, keys[None], (LabelAxis(["parcels"], table), axis), "dlabel")

    order = sorted(names, key=lambda key: (key * 7919) % 104729)  # an order that no other file has
    parcel = np.array([order.index(key) if key else -1 for key in keys.tolist()])
    models = [(names[key], axis[keys == key]) for key in order]
    parcels = ParcelsAxis.from_brain_models(models)
    mean = averaging(parcel, len(order))
    runs, r = [], []
    for path in dense.timeseries:
        image = open_cifti(path)
        series = np.asarray(image.dataobj) @ mean.T
        runs.append(folder / path.name.replace(".dtseries.", ".ptseries."))
        step = float(image.header.get_axis(0).step)
        _write(runs[-1], series, (SeriesAxis(0, step, len(series)), parcels), "ptseries")
        r.append(functional_connectivity(series))
    pconn, pdconn = folder / "SYNTHETIC.pconn.nii", folder / "SYNTHETIC.pdconn.nii"
    _write(pconn, np.mean(r, axis=0), (parcels, parcels), "pconn")
    counts = averaging(parcel, len(order), total=True) @ sparse.load_npz(dense.projection)
    _write(pdconn, counts.toarray(), (parcels, axis), "pdconn")
    voxels = [structures[f"THALAMUS_{side}"] for side in ("LEFT", "RIGHT")]
    columns = [name for each in voxels for name in each.names]
    values = np.hstack([counts.toarray()[:, each.rows] for each in voxels])
    tsv = folder / "SYNTHETIC_projection.tsv"
    rows = ["\t".join([names[key], *(f"{value:g}" for value in row)]) for key, row in zip(order, values, strict=True)]
    tsv.write_text("\n".join(["\t".join(["parcel", *columns]), *rows]) + "\n", encoding="utf-8")
    return ParcelFiles(dense, parcellation, tuple(runs), pconn, pdconn, tsv, _planted(parcellation, dense))


def _planted(parcellation: Path, dense: DenseFiles) -> dict[str, str]:
    parcels = read_parcellation(parcellation)
    cortices = [each for name, each in small_space(dense).structures.items() if name.startswith("CORTEX")]
    of = parcels.parcel_of(cortices)
    found: NDArray[Any] = np.array([np.bincount(dense.modules[of == k], minlength=1).argmax() if (of == k).any() else -1
                                    for k in range(len(parcels.names))])  # fmt: skip
    return {name: str(module) for name, module in zip(parcels.names, found, strict=True) if module >= 0}


def _write(path: Path, values: Any, axes: tuple[Any, Any], kind: str) -> None:
    from nibabel.cifti2 import Cifti2Image

    image = Cifti2Image(np.asarray(values, dtype=np.float32), axes)
    image.update_headers()
    code, name = _INTENTS[kind]
    image.nifti_header.set_intent(code, name=name, allow_unknown=True)
    with written_whole(path) as temporary:
        image.to_filename(temporary)
