"""Remake the region table of the atlas ``allen-ccf`` from the Allen structure tree and annotation volume.

python atlases/build/allen_ccf.py [--mirror FOLDER] [--out regions.tsv]

The files are looked for by hash in the mirror and the cache, and downloaded otherwise. They are read by the
readers of fctoolbox-allen, which has to be installed.
"""

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
from fctoolbox_atlases.remake import remake, table_text

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
    return table_text(HEADER, rows(structures, annotation))


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
    remake("allen-ccf", build, TABLE)


if __name__ == "__main__":
    main()
