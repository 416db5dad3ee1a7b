"""Remake the table of the atlas ``cifti-91282`` from a CIFTI-2 file of the 91,282 grayordinates.

python atlases/build/cifti_91282.py [--mirror FOLDER] [--out regions.tsv]

The file is looked for by hash in the mirror and the cache, and downloaded otherwise. It is read by the
readers of fctoolbox-hcp, which has to be installed.
"""

from collections.abc import Iterator
from pathlib import Path

from fctoolbox_atlases.remake import remake, table_text
from fctoolbox_hcp.cifti import brain_models
from fctoolbox_hcp.files import GRAYORDINATES

from fctoolbox.data import fetch

TABLE = Path(__file__).parents[1] / "fctoolbox_atlases" / "cifti-91282" / "regions.tsv"
FILES = (GRAYORDINATES,)
HEADER = ("structure", "hemisphere", "kind", "count", "offset")


def build() -> str:
    """The table, as the text of a TSV file."""
    return table_text(HEADER, rows())


def rows() -> Iterator[tuple[object, ...]]:
    """One row for each structure, in the order of the file."""
    offset = 0
    for name, _, model in brain_models(fetch(GRAYORDINATES)).iter_structures():
        side = str(name).rsplit("_", 1)[1].lower()
        hemisphere = side if side in ("left", "right") else "midline"
        kind = "surface" if model.surface_mask.all() else "volume"
        yield str(name), hemisphere, kind, len(model), offset
        offset += len(model)


def main() -> None:
    """Write the table."""
    remake("cifti-91282", build, TABLE)


if __name__ == "__main__":
    main()
