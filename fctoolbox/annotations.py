"""Annotations of one's own: a label for each unit, from a file."""

from dataclasses import replace
from pathlib import Path

from fctoolbox.data import sha256_of
from fctoolbox.errors import InputError, listed
from fctoolbox.matrices import read_labels
from fctoolbox.plugins import installed
from fctoolbox.system import FileRecord, RecurrentSystem

_TABLES = (".csv", ".tsv", ".txt")
_FILES = (*_TABLES, ".nii", ".nii.gz", ".gii", ".npy", ".npz", ".mat", ".xlsx")


def is_file(annotation: str) -> bool:
    """Whether this is meant as a file, and not as an annotation's name."""
    return annotation.lower().endswith(_FILES) or Path(annotation).expanduser().is_file()


def annotated(system: RecurrentSystem, path: str | Path) -> RecurrentSystem:
    """The system with one annotation more, which has the name of a file.

    Parameters
    ----------
    system : RecurrentSystem
    path : str or Path
        CSV or TSV with a unit and a label column; or a file of labels that the system's source can read
        (`Source.read_labels`), such as a ``.dlabel.nii`` for cortical surfaces.

    Returns
    -------
    RecurrentSystem

    Raises
    ------
    InputError
        If the file cannot be read, or is of a kind that this system's source knows nothing of.
    """
    file = Path(path).expanduser()
    if not file.is_file():
        raise InputError(f"there is no file {file}, nor an annotation of that name. {_known(system)}")
    sources = installed().sources
    source = sources.get(system.provenance.source)
    if file.name.lower().endswith(_TABLES):
        labels = tuple(read_labels(file, system.units, system.n_units).tolist())
    elif source is not None and source.read_labels is not None:
        labels = tuple(source.read_labels(system, file))
    else:
        able = [name for name, each in sources.items() if each.read_labels is not None]
        raise InputError(
            f"{file} is no table, and {system.name!r} has no other files of labels: give a CSV or TSV with the columns "
            f"unit and label. Label files of surfaces are read for: {listed(able, most=20) or 'no installed source'}. "
            + _known(system)
        )
    record = FileRecord(file.name, sha256_of(file))
    return replace(
        system,
        annotations={**system.annotations, file.name: labels},
        provenance=replace(system.provenance, files=(*system.provenance.files, record)),
    )


def _known(system: RecurrentSystem) -> str:
    return f"Annotations that it has: {', '.join(system.annotations) or 'none'}."
