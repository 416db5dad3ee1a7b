"""A label for each unit of a surface, from a CIFTI label file of one's own."""

from pathlib import Path

import numpy as np

from fctoolbox.errors import InputError, listed
from fctoolbox.system import RecurrentSystem
from fctoolbox_hcp.dense_files import open_dense
from fctoolbox_hcp.outputs import sides_of_vertices, surface_of
from fctoolbox_hcp.parcellated import read_parcellation

_NONE = "none"


def read_labels(system: RecurrentSystem, path: Path) -> tuple[str, ...]:
    """The label that most of a unit's labelled vertices have.

    Parameters
    ----------
    system : RecurrentSystem
        Whose geometry is a surface.
    path : Path
        ``.dlabel.nii`` of the same mesh; of several maps the first is read.

    Returns
    -------
    tuple of str
        "none" for units without a labelled vertex, such as those that are voxels.

    Raises
    ------
    InputError
        If the file is of another kind or mesh, or labels none of the units.
    """
    if not path.name.endswith(".dlabel.nii"):
        raise InputError(
            f"{path} is no .dlabel.nii; make one of GIFTI labels with wb_command -cifti-create-label, or give a CSV or "
            "TSV with the columns unit and label"
        )
    surface = surface_of(system)
    sides = sides_of_vertices(surface)
    structures = open_dense(path, ("dlabel",), "systems").structures
    parcels = read_parcellation(path).parcels
    label = np.full(len(sides), -1)
    for side in ("left", "right"):
        here, name = np.flatnonzero(sides == side), f"CORTEX_{side.upper()}"
        if not len(here) or name not in structures:
            continue
        if structures[name].n_vertices != len(here):
            raise InputError(
                f"{path}: the mesh of {name} has {structures[name].n_vertices} vertices, and the system's surface "
                f"{len(here)}; resample the labels with wb_command -cifti-resample"
            )
        for k, parcel in enumerate(parcels):
            label[here[parcel.vertices.get(name, np.empty(0, dtype=np.int64))]] = k
    used = (label >= 0) & (surface.unit_of_vertex >= 0)
    if not used.any():
        raise InputError(f"{path} labels no unit of {system.name!r}; it has labels of {listed(structures)}")
    counts = np.zeros((system.n_units, len(parcels)), dtype=np.int64)
    np.add.at(counts, (surface.unit_of_vertex[used], label[used]), 1)
    most = counts.argmax(axis=1)
    return tuple(parcels[k].name if counts[unit, k] else _NONE for unit, k in enumerate(most.tolist()))
