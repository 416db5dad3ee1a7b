"""The contract that every source keeps; plugin authors run it in their own tests."""

import pickle
import random
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from itertools import pairwise
from operator import attrgetter
from pathlib import Path, PurePath
from typing import Any

import numpy as np
from scipy import sparse

from fctoolbox.errors import InputError
from fctoolbox.origin import analyse_origin
from fctoolbox.plugins import Source, find_source, load_source
from fctoolbox.system import FactoredMatrix, RecurrentSystem


class ContractError(AssertionError):
    """A source breaks the contract; the message lists every clause that it breaks."""


def check_source(source: str | Source, **options: Any) -> tuple[str, ...]:
    """Check that a source keeps the contract.

    It loads the system twice and analyses it once, with few restarts and nulls.

    Parameters
    ----------
    source : str or Source
        An installed source's name, or a Source that need not be installed.
    **options
        Passed to its load function.

    Returns
    -------
    tuple of str
        The clauses that were checked.

    Raises
    ------
    ContractError
        If any is broken; all that are broken are listed.

    Examples
    --------
    >>> from fctoolbox.testing import check_source
    >>> len(check_source("toy")) > 5
    True
    """
    source = find_source(source) if isinstance(source, str) else source
    states = [_random_states()]
    system = load_source(source, **options)
    states.append(_random_states())
    again = load_source(source, **options)
    states.append(_random_states())
    clauses: dict[str, Callable[[], Iterator[str]]] = {
        "the source is described": lambda: _described(source),
        "global random state is left alone": lambda: _untouched(states),
        "loading twice gives the same system": lambda: _same(system, again),
        "the system is described": lambda: _system_described(source, system),
        "files are those that the source names": lambda: _files(source, system, options),
        "arrays are read-only": lambda: _read_only(system),
        "enough units receive input and vary": lambda: _analysable(system),
    }
    broken = [f"{clause}: {complaint}" for clause, check in clauses.items() for complaint in check()]
    if broken:
        raise ContractError(f"source '{source.name}' breaks its contract:\n  " + "\n  ".join(broken))
    return tuple(clauses)


def _described(source: Source) -> Iterator[str]:
    if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", source.name):
        yield f"name '{source.name}' must be lower case words joined by hyphens"
    for what in ("summary", "citation", "license"):
        if not getattr(source, what).strip():
            yield f"{what} is empty"
    if "\n" in source.summary or len(source.summary) > 120:
        yield "summary must be one line of at most 120 characters"
    for file in source.files:
        if not re.fullmatch(r"[0-9a-f]{64}", file.sha256) or file.size <= 0:
            yield f"file {file.name} needs a SHA-256 of 64 hexadecimal digits and its size in bytes"


def _random_states() -> dict[str, bytes]:
    states: dict[str, Any] = {"numpy's": np.random.get_state(), "Python's": random.getstate()}  # noqa: NPY002  (looked at, not used)
    if torch := sys.modules.get("torch"):  # only where the source has imported it
        states["torch's"] = torch.get_rng_state().numpy()
    return {whose: pickle.dumps(state) for whose, state in states.items()}


def _untouched(states: Sequence[dict[str, bytes]]) -> Iterator[str]:
    changed = (whose for before, after in pairwise(states) for whose in before if before[whose] != after[whose])
    for whose in dict.fromkeys(changed):
        yield f"load changed {whose} global random state; draw from a generator of its own, made from a seed"


def _arrays(system: RecurrentSystem) -> dict[str, Any]:
    weights, activity, geometry = system.projection.weights, system.activity, system.geometry
    arrays: dict[str, Any] = {
        "activity.timeseries": activity.timeseries,
        "activity.connectivity": activity.connectivity,
        "activity.trials": activity.trials,
        **{f"activity.variables['{name}']": values for name, values in activity.variables.items()},
    }
    if isinstance(weights, FactoredMatrix):
        arrays |= {"weights.left": weights.left, "weights.right": weights.right}
    elif isinstance(weights, sparse.csr_array):
        arrays |= {
            "weights.data": weights.data,
            "weights.indices": weights.indices,
            "weights.indptr": weights.indptr,
        }
    else:
        arrays["weights"] = weights
    if geometry is not None:
        arrays |= {"geometry.positions": geometry.positions, "geometry.distances": geometry.distances}
        if geometry.surface is not None:
            arrays["geometry.surface.unit_of_vertex"] = geometry.surface.unit_of_vertex
        if geometry.volume is not None:
            arrays["geometry.volume.unit_of_voxel"] = geometry.volume.unit_of_voxel
    return {name: array for name, array in arrays.items() if array is not None}


def _same(system: RecurrentSystem, again: RecurrentSystem) -> Iterator[str]:
    words = ("name", "units", "annotations", "projection.inputs", "projection.groups", "provenance.notes")
    for what in words:
        if attrgetter(what)(system) != attrgetter(what)(again):
            yield f"{what} differs"
    first, second = _arrays(system), _arrays(again)
    for name in dict.fromkeys([*first, *second]):
        if not np.array_equal(first.get(name, ()), second.get(name, ())):
            yield f"{name} differs: give the source a seed option with a default"


def _system_described(source: Source, system: RecurrentSystem) -> Iterator[str]:
    if not system.name.startswith(source.name):
        yield f"the system is named '{system.name}'; its name must begin with the source's"
    if source.synthetic != system.provenance.synthetic:
        yield f"source.synthetic is {source.synthetic}, but provenance.synthetic is {system.provenance.synthetic}"
    for what in ("citation", "license"):
        if not getattr(system.provenance, what).strip():
            yield f"provenance.{what} is empty"


def _files(source: Source, system: RecurrentSystem, options: Mapping[str, Any]) -> Iterator[str]:
    promised = {file.sha256 for file in source.files}
    for file in system.provenance.files:
        if file.sha256 not in promised and not source.synthetic and not _given(file.name, options):
            yield f"provenance names {file.name} ({file.sha256[:12]}…), which is not among source.files"


def _given(name: str, options: Mapping[str, Any]) -> bool:
    """Whether an option names this file, a pattern that it fits, or a folder that holds it."""
    values = [each for value in options.values() for each in (value if isinstance(value, list | tuple) else [value])]
    words = [word.strip() for each in values if isinstance(each, str | Path) for word in str(each).split(",")]
    paths = [Path(word).expanduser() for word in words if word]
    file = PurePath(name).name
    return any(fnmatchcase(file, path.name) or (path.is_dir() and any(path.rglob(file))) for path in paths)


def _read_only(system: RecurrentSystem) -> Iterator[str]:
    for name, array in _arrays(system).items():
        if array.flags.writeable:
            yield f"{name} can be written to"


def _analysable(system: RecurrentSystem) -> Iterator[str]:
    try:
        report = analyse_origin(system, null="permutation", n_nulls=19, n_restarts=2, rng=0)
    except InputError as error:
        yield f"it cannot be analysed: {error}"
        return
    if report.system.n_units < system.n_units / 2 and system.model is None:
        yield f"only {report.system.n_units} of {system.n_units} units receive input and vary"
    if not np.isfinite(report.relationship.pearson_r):
        yield "the relationship of similarity and connectivity is undefined"
