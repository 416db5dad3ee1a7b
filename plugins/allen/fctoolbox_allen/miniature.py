"""A synthetic mouse in miniature, written in the file formats of the published data.

Names, ids and places of the structures are real (from the atlas allen-ccf); weights, time series and the
shapes of the structures are made up. What is planted: areas of a community receive from the same thalamic
nuclei, and are driven through them. What is copied from the published files are their traps: rows are
sources, p-values of zero weights are the text '#NUM!', ACA and RSP stand twice among the columns, an acronym
ends in a blank.
"""

import json
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from fctoolbox_atlases import Atlas, load_atlas
from numpy.typing import NDArray

from fctoolbox_allen.files import Files
from fctoolbox_allen.rsfmri import HEMISPHERES, ROIS

N_SCANS = 6
N_TIMES = 160
# Community: its areas, and the thalamic nuclei that project into them.
COMMUNITIES = {
    "visual": ("VISp VISl VISal VISam RSPagl RSPd RSPv", "LGd LP LD AV"),
    "somatomotor": ("SSp-n SSp-bfd SSp-ll SSp-m SSp-ul SSp-tr SSs MOp MOs", "VAL VM VPL VPM PO"),
    "prefrontal": ("FRP ACAd ACAv ORBl ORBm ORBvl AId AIp AIv ILA", "MD RE PVT CM"),
    "auditory": ("AUDp TEa ECT PERI", "MGd MGv SPFp"),
}
# Regions by division, named as Oh et al. 2014 name them. 'SUM ' ends in a blank there, too, and is not in the
# connectome.
_OTHERS = {
    "Striatum": "CP ACB OT LSr",
    "Pallidum": "GPe SI MS BST",
    "Olfactory Areas": "MOB AON PIR COAp TR",
    "Hippocampal Formation": "CA1 CA3 DG ENTl",
    "Cortical Subplate": "CLA EPd BLA LA",
    "Hypothalamus": "LHA VMH ZI ARH",
    "Midbrain": "SCs ICc VTA PAG",
    "Pons": "PB PRNr LDT",
    "Medulla": "SPVI GRN MV",
    "Cerebellar Cortex": "SIM CUL",
    "Cerebellar Nuclei": "FN DN",
}
_NOT_IN_CONNECTOME = ("Hypothalamus", "SUM ")
_N_RECEIVING_FROM = {"Striatum": 14, "Olfactory Areas": 12}
# Voxels as wide as this put the midline (5700 µm) between two of them.
_SPACING_UM = 150
_SHAPE = (88, 54, 76)
_BRAIN_RADIUS_UM = 600.0


def planted_community(area: str) -> str:
    """The community that an area was planted in."""
    return next(
        name
        for name, (areas, _) in COMMUNITIES.items()
        if any(each == area or each.startswith(area) for each in areas.split())
    )


def write_files(folder: Path, *, rng: int | np.random.Generator) -> Files:
    """Write one of each file into a folder.

    Parameters
    ----------
    folder : Path
    rng : int or Generator
        Same number, same content.

    Returns
    -------
    Files
    """
    rng = np.random.default_rng(rng)
    folder.mkdir(parents=True, exist_ok=True)
    atlas = load_atlas("allen-ccf")
    files = Files(
        weights=folder / "Suppl_Table_3_nature13186-s4.xlsx",
        divisions=folder / "nature13186-s2.xlsx",
        scans=folder / "ZBold_emp.pkl",
        structures=folder / "tree.json",
        annotation=folder / "annotation_150.nrrd",
    )
    regions = sorted(region for regions in divisions().values() for region in regions)
    weights = planted_weights(regions, rng)
    write_weights(files.weights, regions, weights, rng)
    write_divisions(files.divisions, atlas)
    write_scans(files.scans, planted_scans(regions, weights, rng))
    write_structures(files.structures, atlas)
    write_annotation(files.annotation, atlas)
    return files


def divisions() -> dict[str, tuple[str, ...]]:
    """Divisions of the brain, and those of their regions that the miniature has."""
    cortex = [area for areas, _ in COMMUNITIES.values() for area in areas.split()]
    thalamus = [nucleus for _, nuclei in COMMUNITIES.values() for nucleus in nuclei.split()]
    others = {name: tuple(regions.split()) for name, regions in _OTHERS.items()}
    return {"Isocortex": tuple(cortex), "Thalamus": tuple(thalamus), **others}


def planted_weights(regions: list[str], rng: np.random.Generator) -> NDArray[np.float64]:
    """Weights **from row to column**, as in the file: sparse noise, strong thalamic input by community."""
    index = {region: i for i, region in enumerate(regions)}
    noise = rng.lognormal(sigma=1.0, size=(len(regions), len(regions)))
    weights = np.where(rng.random(noise.shape) < 0.5, 0.15 * noise, 0.0)
    np.fill_diagonal(weights, 0)
    cortex = [index[area] for area in divisions()["Isocortex"]]
    for areas, nuclei in COMMUNITIES.values():
        targets = [index[area] for area in areas.split()]
        sources = [index[nucleus] for nucleus in nuclei.split()]
        weights[np.ix_(sources, targets)] = rng.lognormal(sigma=0.6, size=(len(sources), len(targets)))
    for division, n_receiving in _N_RECEIVING_FROM.items():
        sources = [index[region] for region in divisions()[division]]
        # A trace onto some areas, nothing onto the others: their rows are all zero.
        weights[np.ix_(sources, cortex)] = 0
        weights[np.ix_(sources, cortex[:n_receiving])] = 0.01 * rng.random((len(sources), n_receiving))
    weights[cortex, index["CP"]] = rng.lognormal(sigma=0.3, size=len(cortex))
    weights[index["LGd"], index["VISp"]] = 1.5 * weights[index["LGd"]].max()
    return weights


def planted_scans(
    regions: list[str], weights: NDArray[np.float64], rng: np.random.Generator
) -> dict[str, NDArray[np.float64]]:
    """Z-scored time series (n_times, 50) of each scan: independent inputs through the weights, and noise."""
    thalamus = [regions.index(nucleus) for nucleus in divisions()["Thalamus"]]
    areas = list(dict.fromkeys(ROIS))
    members = [[i for i, region in enumerate(regions) if region == area] or _parts(area, regions) for area in areas]
    projection = np.array([weights[np.ix_(thalamus, each)].sum(axis=1) for each in members])
    projection /= np.maximum(np.linalg.norm(projection, axis=1, keepdims=True), 1e-12)
    columns = [areas.index(roi) for roi in ROIS]
    scans = {}
    for scan in range(1, N_SCANS + 1):
        # Both hemispheres share half of their input's variance.
        shared, *own = rng.standard_normal((1 + len(HEMISPHERES), N_TIMES, len(thalamus)))
        sides = [(shared + each) / np.sqrt(2) @ projection.T for each in own]
        noisy = [side + rng.standard_normal(side.shape) for side in sides]
        timeseries = np.hstack([side[:, columns] for side in noisy])
        scans[str(scan)] = (timeseries - timeseries.mean(axis=0)) / timeseries.std(axis=0)
    return scans


def write_weights(path: Path, regions: list[str], weights: NDArray[np.float64], rng: np.random.Generator) -> None:
    """Write supplementary table 3: ipsilateral and contralateral weights, and their p-values."""
    from openpyxl import Workbook

    book = Workbook(write_only=True)
    for side, values in {"ipsi": weights, "contra": 0.1 * weights}.items():
        p_values = np.where(values > 0, np.exp(-5 * values) * rng.random(values.shape), np.nan)
        _append_square(book.create_sheet(f"W_{side}"), regions, values)
        _append_square(book.create_sheet(f"PValue_{side}"), regions, p_values)
    book.save(path)


def write_divisions(path: Path, atlas: Atlas) -> None:
    """Write supplementary table 1: name, division, size and place in the ontology of every region."""
    from openpyxl import Workbook

    book = Workbook(write_only=True)
    book.create_sheet("voxel_count_all ARA").append(
        ["id", "final selection", "ontology order", "acronym", "name", "voxel count"]
    )
    sheet = book.create_sheet("Voxel_Count_295_Structures")
    sheet.append(["ID", "Ontology order", "Acronym", "Name", "Major Region", "Voxel Count"])
    left = _left(atlas)
    order = {acronym: i for i, acronym in enumerate(left)}
    members = [(division, region) for division, regions in divisions().items() for region in regions]
    rows = [(division, region, left[region.strip()]) for division, region in [*members, _NOT_IN_CONNECTOME]]
    # Largest first, like the published table: the order of the rows is not the ontology's.
    for division, region, i in sorted(rows, key=lambda row: -int(atlas["n_voxels"][row[2]])):
        name, n_voxels = str(atlas["name"][i]), int(atlas["n_voxels"][i])
        sheet.append([int(atlas["id"][i]), order[region.strip()], region, name, division, n_voxels])
    book.save(path)


def write_scans(path: Path, scans: Mapping[str, Any]) -> None:
    """Write the time series as a pickle of protocol 3 that names numpy's modules as numpy 1 did."""
    content = pickle.dumps(scans, protocol=3)
    path.write_bytes(content.replace(b"cnumpy._core.multiarray\n", b"cnumpy.core.multiarray\n"))


def write_structures(path: Path, atlas: Atlas) -> None:
    """Write the structure tree, as far as the atlas knows it."""
    left = _left(atlas)
    path_of: dict[str, list[int]] = {"": []}
    entries = []
    for order, (acronym, i) in enumerate(left.items()):
        path_of[acronym] = [*path_of[str(atlas["parent"][i])], int(atlas["id"][i])]
        colour = str(atlas["rgb"][i]).removeprefix("#")
        entries.append(
            {
                "acronym": acronym,
                "rgb_triplet": list(bytes.fromhex(colour)),
                "graph_id": 1,
                "graph_order": order,
                "id": int(atlas["id"][i]),
                "name": str(atlas["name"][i]),
                "structure_id_path": path_of[acronym],
                "structure_set_ids": [],
            }
        )
    path.write_text(json.dumps(entries, indent=1), encoding="utf-8")


def write_annotation(path: Path, atlas: Atlas) -> None:
    """Write an annotation volume: a voxel belongs to the structure whose centroid is nearest on its side."""
    import nrrd
    from scipy.spatial import cKDTree

    has_parts = np.isin(atlas["acronym"], atlas["parent"])
    centroids = np.stack([atlas["ap_um"], atlas["dv_um"], atlas["ml_um"]], axis=-1)
    voxels = np.moveaxis(np.indices(_SHAPE), 0, -1) * float(_SPACING_UM)
    half = _SHAPE[2] // 2
    volume = np.zeros(_SHAPE, dtype=np.uint32)
    for hemisphere, side in {"left": slice(None, half), "right": slice(half, None)}.items():
        chosen = ~has_parts & (atlas["hemisphere"] == hemisphere)
        ids = np.append(atlas["id"][chosen], 0)
        # A voxel that is far from every centroid gets the index past the last one, which stands for
        # "outside".
        _, nearest = cKDTree(centroids[chosen]).query(voxels[:, :, side], distance_upper_bound=_BRAIN_RADIUS_UM)
        volume[:, :, side] = ids[nearest]
    nrrd.write(
        str(path),
        volume,
        header={
            "space": "left-posterior-superior",
            "space directions": np.diag([float(_SPACING_UM)] * 3),
            "space origin": np.zeros(3),
            "kinds": ["domain"] * 3,
            "encoding": "gzip",
        },
        index_order="F",
    )


def _append_square(sheet: Any, regions: list[str], values: NDArray[np.float64]) -> None:
    sheet.append([None, *regions])
    for region, row in zip(regions, values, strict=True):
        sheet.append([region, *("#NUM!" if np.isnan(value) else float(value) for value in row)])


def _left(atlas: Atlas) -> dict[str, int]:
    """Rows of the structures of the left hemisphere, by acronym, in the order of the ontology."""
    return {str(atlas["acronym"][i]): int(i) for i in np.flatnonzero(atlas["hemisphere"] == "left")}


def _parts(area: str, regions: list[str]) -> list[int]:
    # Parts are named after the whole (ACAd, ACAv); AON, COAp and TR are regions of their own, caught before.
    return [i for i, region in enumerate(regions) if region.startswith(area)]
