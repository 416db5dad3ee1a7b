"""Remake the region table of the atlas ``allen-ccf`` from the Allen structure tree and annotation volume.

python atlases/build/allen_ccf.py [--mirror FOLDER] [--out regions.tsv]

The files are looked for by hash in the mirror and the cache, and downloaded otherwise. They are read by the
readers of fctoolbox-allen, which has to be installed.
"""

import argparse
import csv
import io
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from fctoolbox_allen.ccf import (
    HEMISPHERES,
    Annotation,
    Structure,
    ids_within,
    read_annotation,
    read_structures,
)
from fctoolbox_allen.files import ANNOTATION, STRUCTURES

from fctoolbox.data import fetch

TABLE = Path(__file__).parents[1] / "fctoolbox_atlases" / "allen-ccf" / "regions.tsv"
FILES = (STRUCTURES, ANNOTATION)
HEADER = (
    "id",
    "acronym",
    "name",
    "division",
    "parent",
    "hemisphere",
    "n_voxels",
    "ap_um",
    "dv_um",
    "ml_um",
    "rgb",
)
# The twelve major divisions of grey matter, as the Allen Institute lists them.
DIVISIONS = ("Isocortex", "OLF", "HPF", "CTXsp", "STR", "PAL", "TH", "HY", "MB", "P", "MY", "CB")


def build() -> str:
    """The table, as the text of a TSV file."""
    structures = read_structures(fetch(STRUCTURES))
    annotation = read_annotation(fetch(ANNOTATION))
    unknown = set(annotation.labels.tolist()) - {structure.id for structure in structures.values()}
    if unknown:
        raise ValueError(f"the annotation has labels that the structure tree lacks: {sorted(unknown)}")
    text = io.StringIO(newline="")
    table = csv.writer(text, delimiter="\t", lineterminator="\n")
    table.writerow(HEADER)
    table.writerows(rows(structures, annotation))
    return text.getvalue()


def rows(structures: Mapping[str, Structure], annotation: Annotation) -> Iterator[tuple[object, ...]]:
    """A row for each structure and hemisphere with voxels; those of a structure's parts are its own."""
    by_id = {structure.id: structure for structure in structures.values()}
    divisions = [structures[acronym] for acronym in DIVISIONS]
    for structure in structures.values():
        ids = ids_within(structures, structure.acronym)
        division = next((each.name for each in divisions if structure.lies_in(each)), "")
        parent = by_id[structure.path[-2]].acronym if len(structure.path) > 1 else ""
        for hemisphere in HEMISPHERES:
            n_voxels = annotation.size(ids, hemisphere)
            if n_voxels:
                centroid = [f"{um:.1f}" for um in annotation.centroid(ids, hemisphere)]
                colour = "#{:02x}{:02x}{:02x}".format(*structure.rgb)
                named = (structure.id, structure.acronym, structure.name, division, parent)
                yield (*named, hemisphere, n_voxels, *centroid, colour)


def main() -> None:
    """Write the table."""
    parser = argparse.ArgumentParser(description="Remake the region table of the atlas allen-ccf.")
    parser.add_argument("--mirror", help="folder with copies of the files (default: FCTOOLBOX_MIRROR)")
    parser.add_argument("--out", type=Path, default=TABLE, help="where to write (default: into the package)")
    arguments = parser.parse_args()
    if arguments.mirror:
        os.environ["FCTOOLBOX_MIRROR"] = arguments.mirror
    text = build()
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(text, encoding="utf-8", newline="\n")
    print(f"{arguments.out}: {text.count(chr(10)) - 1} rows, {len(text.encode()):,} bytes")


if __name__ == "__main__":
    main()
