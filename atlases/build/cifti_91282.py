"""Remake the table of the atlas ``cifti-91282`` from a CIFTI-2 file of the 91,282 grayordinates.

python atlases/build/cifti_91282.py [--mirror FOLDER] [--out regions.tsv]

The file is looked for by hash in the mirror and the cache, and downloaded otherwise. It is read by the
readers of fctoolbox-hcp, which has to be installed.
"""

import argparse
import csv
import io
import os
from collections.abc import Iterator
from pathlib import Path

from fctoolbox_hcp.cifti import brain_models
from fctoolbox_hcp.files import GRAYORDINATES

from fctoolbox.data import fetch

TABLE = Path(__file__).parents[1] / "fctoolbox_atlases" / "cifti-91282" / "regions.tsv"
FILES = (GRAYORDINATES,)
HEADER = ("structure", "hemisphere", "kind", "count", "offset")


def build() -> str:
    """The table, as the text of a TSV file."""
    text = io.StringIO(newline="")
    table = csv.writer(text, delimiter="\t", lineterminator="\n")
    table.writerow(HEADER)
    table.writerows(rows())
    return text.getvalue()


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
    parser = argparse.ArgumentParser(description="Remake the region table of the atlas cifti-91282.")
    parser.add_argument("--mirror", help="folder with copies of the files (default: FCTOOLBOX_MIRROR)")
    parser.add_argument("--out", type=Path, default=TABLE, help="where to write (default: into the package)")
    arguments = parser.parse_args()
    if arguments.mirror:
        os.environ["FCTOOLBOX_MIRROR"] = arguments.mirror
    text = build()
    arguments.out.write_text(text, encoding="utf-8", newline="\n")
    print(f"{arguments.out}: {text.count(chr(10)) - 1} rows, {len(text.encode()):,} bytes")


if __name__ == "__main__":
    main()
