"""The system of a group: what its subjects have in common, on average."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
from scipy import sparse

from fctoolbox.chunks import content_key
from fctoolbox.errors import InputError, listed
from fctoolbox.similarity import connectivity_of, constant_units
from fctoolbox.system import (
    FactoredMatrix,
    Floats,
    Geometry,
    InputProjection,
    Provenance,
    RecurrentActivity,
    RecurrentSystem,
    Weights,
)

Averaging = Literal["share", "sum"]
IN_WORDS = {
    "share": "each subject's projection as a share of its total, so that all count alike; mean over subjects",
    "sum": "mean of the subjects' projections as they are, so that stronger ones count for more",
}
_LEAST_UNITS = 3
_IN_DOUBLE = 5000  # units up to which sums are kept in float64 whatever the subjects have
_BLOCK = 1024


def group_system(
    systems: Mapping[str, RecurrentSystem] | Iterable[tuple[str, RecurrentSystem]],
    *,
    projection: Averaging = "share",
    name: str = "",
) -> RecurrentSystem:
    """The mean of several subjects' systems, over the units and inputs that all of them have.

    Connectivity is tanh of the mean Fisher z: ``tanh(mean(arctanh r))``. Projections are averaged as shares of each
    subject's total, ``mean(W_i / t_i) · mean(t)`` with ``t_i = Σ|W_i|``: how many streamlines a subject has depends
    on how many were tracked, and says nothing about its connections.

    Parameters
    ----------
    systems : mapping of str to RecurrentSystem, or iterable of pairs
        By subject. An iterable is read one by one, so that no two systems need to be in memory.
    projection : {"share", "sum"}
        ``"sum"`` averages the projections as they are.
    name : str
        Of the group's system; made of the first one's when left out.

    Returns
    -------
    RecurrentSystem
        In the first subject's order. Units that are missing, or constant, in any subject are in
        ``provenance.left_out`` with the subjects that lack them. The geometry is that of the subjects where they
        have the same one; else positions and distances are averaged, and a surface or volume is left out.

    Raises
    ------
    InputError
        If too few units are present in all, or a subject cannot be averaged; its name comes first.
    """
    mean = GroupMean(projection)
    for subject, system in systems.items() if isinstance(systems, Mapping) else systems:
        mean.add(subject, system)
    return mean.system(name)


@dataclass(eq=False)
class GroupMean:
    """Sums over the subjects that were added so far; see `group_system`.

    A subject that is refused leaves them as they were.

    Parameters
    ----------
    averaging : {"share", "sum"}
    """

    averaging: Averaging = "share"
    subjects: list[str] = field(default_factory=list, init=False)
    _name: str = field(default="", init=False)
    _groups: dict[str, str] = field(default_factory=dict, init=False)
    _units: tuple[str, ...] = field(default=(), init=False)
    _inputs: tuple[str, ...] = field(default=(), init=False)
    _z: Any = field(default=None, init=False)
    _weights: Any = field(default=None, init=False)
    _totals: list[float] = field(default_factory=list, init=False)
    _geometry: Geometry | None = field(default=None, init=False)
    _same_geometry: bool = field(default=True, init=False)
    _annotations: dict[str, dict[str, str]] = field(default_factory=dict, init=False)
    # Of each subject, its units, with the reason where one is left out; one dictionary for subjects that agree.
    _named: dict[str, dict[str, str]] = field(default_factory=dict, init=False)
    _seen_inputs: set[str] = field(default_factory=set, init=False)
    _provenances: list[Provenance] = field(default_factory=list, init=False)
    _projections: set[str] = field(default_factory=set, init=False)

    def __post_init__(self) -> None:
        if self.averaging not in IN_WORDS:
            raise InputError(f"projection is {self.averaging!r}; it must be 'share' or 'sum'")

    @property
    def one_projection(self) -> bool:
        """Whether all subjects have the same projection, so that only their activity differs."""
        return len(self.subjects) > 1 and len(self._projections) == 1

    def add(self, subject: str, system: RecurrentSystem) -> None:
        """Add a subject.

        Raises
        ------
        InputError
            If it cannot be averaged; nothing was added then.
        """
        if subject in self.subjects:
            raise InputError(f"subject '{subject}' occurs twice")
        varying, absent = _varying(system)
        has = set(varying.units)
        units = tuple(unit for unit in self._units if unit in has) if self.subjects else varying.units
        its_inputs = set(varying.projection.inputs)
        inputs = tuple(each for each in self._inputs if each in its_inputs) if self.subjects else tuple(
            varying.projection.inputs
        )  # fmt: skip
        if self.subjects:
            self._check_numbered(subject, varying)
        if len(units) < _LEAST_UNITS or not inputs:
            what = "units" if len(units) < _LEAST_UNITS else "inputs"
            theirs, its = (self._units, varying.units) if what == "units" else (self._inputs, varying.projection.inputs)
            raise InputError(
                f"subject '{subject}' has too few {what} in common with {listed(self.subjects, most=3)} "
                f"({len(units) if what == 'units' else len(inputs)}). It has {listed(its, most=4)}; they have "
                f"{listed(theirs, most=4)}. Names must be the same in all subjects"
            )
        r = connectivity_of(varying.activity)
        here = _places(varying.units, units)
        _check_finite_z(r, here, units, subject)
        weights, total = _scaled(varying.projection.weights, self.averaging, subject)
        columns = _places(varying.projection.inputs, inputs)
        weights = _selected(weights, here, columns)
        kept = _places(self._units, units) if self.subjects else None
        if isinstance(weights, FactoredMatrix) and self.subjects:
            self._check_factors(subject, weights, kept, _places(self._inputs, inputs))
        self._sum_z(r, here, kept)
        self._sum_weights(weights, kept, inputs)
        geometry = None if varying.geometry is None else varying.geometry.select_units(here, varying.n_units)
        self._meet_geometry(geometry, kept)
        named = dict.fromkeys(varying.units, "") | absent
        equal = (each for each in self._named.values() if list(each.items()) == list(named.items()))
        self._named[subject] = next(equal, named)
        self._annotate(varying)
        if not self.subjects:
            self._name = system.name
            if system.projection.groups is not None:
                self._groups = dict(zip(system.projection.inputs, system.projection.groups, strict=True))
        self._units, self._inputs = units, inputs
        self._totals.append(total)
        self._seen_inputs |= its_inputs
        self._provenances.append(system.provenance)
        self._projections.add(content_key((varying.units, varying.projection.inputs, varying.projection.weights)))
        self.subjects.append(subject)

    def system(self, name: str = "") -> RecurrentSystem:
        """The mean of the subjects that were added.

        Raises
        ------
        InputError
            If there is none.
        """
        if not self.subjects:
            raise InputError("there is no subject to average")
        n = len(self.subjects)
        connectivity = self._z / n
        for rows in _blocks(len(connectivity)):
            np.tanh(connectivity[rows], out=connectivity[rows])
        np.fill_diagonal(connectivity, 1)
        connectivity.flags.writeable = False
        weights = self._weights
        if not isinstance(weights, FactoredMatrix):
            weights = weights * (float(np.mean(self._totals)) / n if self.averaging == "share" else 1 / n)
        left_out = self._left_out()
        groups = tuple(self._groups[each] for each in self._inputs) if self._groups else None
        annotations = {
            each: tuple(labels[unit] for unit in self._units)
            for each, labels in self._annotations.items()
            if all(unit in labels for unit in self._units)
        }
        provenance = _joined(self._provenances, self._notes(left_out), left_out)
        title = name or f"{self._name}, mean of {n} subjects"
        return RecurrentSystem(
            name=title if not provenance.synthetic or "synthetic" in title else f"{title} (synthetic)",
            units=self._units,
            projection=InputProjection(weights, self._inputs, groups),
            activity=RecurrentActivity(connectivity=connectivity),
            geometry=self._geometry,
            annotations=annotations,
            provenance=provenance,
        )

    def _check_numbered(self, subject: str, system: RecurrentSystem) -> None:
        # Inputs without names are called by their numbers, which mean the same only where there are as many.
        its = system.projection.inputs
        numbered = all(each == f"input-{j}" for j, each in enumerate(its))
        if numbered and len(its) != len(self._seen_inputs):
            raise InputError(
                f"subject '{subject}' has {len(its)} inputs without names, but {self.subjects[0]} has "
                f"{len(self._seen_inputs)}: which of them are the same is not known; name them in the files"
            )

    def _check_factors(self, subject: str, weights: FactoredMatrix, kept: Any, columns: Any) -> None:
        mine = self._weights
        known = FactoredMatrix(mine.left[kept], mine.right[:, columns]) if isinstance(mine, FactoredMatrix) else None
        if known is None or not _same(known, weights):
            raise InputError(
                f"subject '{subject}' has a factored projection that differs from that of {self.subjects[0]}; such "
                "can be averaged only where they are the same"
            )

    def _sum_z(self, r: Floats, here: Any, kept: Any) -> None:
        dtype = np.float64 if len(here) <= _IN_DOUBLE else r.dtype
        z = np.zeros((len(here), len(here)), dtype) if kept is None else self._z
        if kept is not None and len(kept) < len(z):
            z = z[np.ix_(kept, kept)]
        for rows in _blocks(len(here)):
            part = r[np.ix_(here[rows], here)].astype(dtype)
            part[_diagonal(rows, len(here))] = 0
            z[rows] += np.arctanh(part, out=part)
        self._z = z

    def _sum_weights(self, weights: Any, kept: Any, inputs: tuple[str, ...]) -> None:
        if kept is None or isinstance(weights, FactoredMatrix):
            self._weights = weights
            return
        mine = _selected(self._weights, kept, _places(self._inputs, inputs))
        if sparse.issparse(mine) != sparse.issparse(weights):
            mine, weights = (each.toarray() if sparse.issparse(each) else each for each in (mine, weights))
        self._weights = mine + weights

    def _meet_geometry(self, its: Geometry | None, kept: Any) -> None:
        if kept is None:
            self._geometry = its
            return
        mine = None if self._geometry is None else self._geometry.select_units(kept, len(self._units))
        self._same_geometry = self._same_geometry and _same(mine, its)
        n = len(self.subjects)
        self._geometry = mine if self._same_geometry else _mean_geometry(mine, its, n / (n + 1))

    def _left_out(self) -> dict[str, str]:
        """Units that some subjects have and others have not, and why."""
        order = dict.fromkeys(unit for its in self._named.values() for unit in its)
        missing = [unit for unit in order if unit not in set(self._units)] if len(order) > len(self._units) else []
        reasons: dict[str, dict[str, list[str]]] = {unit: {} for unit in missing}
        for subject, its in self._named.items():
            for unit in missing:
                if unit not in its:
                    reasons[unit].setdefault("not there", []).append(subject)
                elif its[unit]:
                    reasons[unit].setdefault(its[unit], []).append(subject)
        return {unit: self._why(reasons[unit]) for unit in missing}

    def _why(self, reasons: Mapping[str, list[str]]) -> str:
        return "; ".join(
            reason if len(subjects) == len(self.subjects) else f"{reason} in {listed(subjects, most=4)}"
            for reason, subjects in reasons.items()
        )

    def _annotate(self, system: RecurrentSystem) -> None:
        its = {name: dict(zip(system.units, labels, strict=True)) for name, labels in system.annotations.items()}
        if not self.subjects:
            self._annotations = its
            return
        # Of each unit the label that all subjects give it; an annotation that misses one for a unit goes in the end.
        self._annotations = {
            name: {unit: label for unit, label in labels.items() if its[name].get(unit) == label}
            for name, labels in self._annotations.items()
            if name in its
        }

    def _notes(self, left_out: Mapping[str, str]) -> dict[str, str]:
        n = len(self.subjects)
        notes = {
            "Group": f"{n} subjects: {listed(self.subjects)}",
            "Group connectivity": "tanh of the mean of the subjects' Fisher z",
            "Group projection": "the same in all subjects" if self.one_projection else IN_WORDS[self.averaging],
        }
        if left_out:
            notes["Units of the group"] = f"those of all subjects; {len(left_out)} others are left out"
        gone = len(self._seen_inputs) - len(self._inputs)
        if gone:
            notes["Inputs of the group"] = f"those of all subjects; {gone} others are left out"
        if not self._same_geometry:
            notes["Geometry of the group"] = "positions and distances averaged: the subjects' geometries differ"
        return notes


def _varying(system: RecurrentSystem) -> tuple[RecurrentSystem, dict[str, str]]:
    """The system without units that never change, and these."""
    activity = system.activity
    absent = {unit: reason for unit, reason in system.provenance.left_out.items() if unit not in system.units}
    if activity.connectivity is None and activity.timeseries is not None:
        constant = constant_units(activity.timeseries)
        if constant.any():
            absent |= {system.units[i]: "constant" for i in np.flatnonzero(constant)}
            if (~constant).sum() < _LEAST_UNITS:
                raise InputError(f"all but {(~constant).sum()} of its units are constant")
            system = system.select_units(~constant)
    return system, absent


def _places(names: tuple[str, ...], wanted: tuple[str, ...]) -> Any:
    if names == wanted:
        return np.arange(len(names))
    index = {name: i for i, name in enumerate(names)}
    return np.array([index[name] for name in wanted], dtype=np.intp)


def _blocks(n: int) -> list[slice]:
    return [slice(start, min(start + _BLOCK, n)) for start in range(0, n, _BLOCK)]


def _diagonal(rows: slice, n: int) -> Any:
    return np.arange(rows.start, rows.stop)[:, None] == np.arange(n)[None, :]


def _check_finite_z(r: Floats, here: Any, units: tuple[str, ...], subject: str) -> None:
    for rows in _blocks(len(here)):
        same = (np.abs(r[np.ix_(here[rows], here)]) >= 1) & ~_diagonal(rows, len(here))
        if same.any():
            i, j = (int(each) for each in np.argwhere(same)[0])
            i += rows.start
            raise InputError(
                f"subject '{subject}': {units[i]} and {units[j]} have r = {r[here[i], here[j]]:g}, so that their "
                "Fisher z is infinite and has no mean. Have they the same time series? Leave one of them out"
            )


def _scaled(weights: Weights, averaging: Averaging, subject: str) -> tuple[Any, float]:
    """The weights as they are summed, and their total."""
    if isinstance(weights, FactoredMatrix):
        return weights, 1.0  # the same in all subjects, or refused
    total = float(abs(weights).sum(dtype=np.float64))
    if total == 0:
        raise InputError(f"subject '{subject}' has a projection of zeros only")
    return (weights / total if averaging == "share" else weights), total


def _selected(weights: Any, rows: Any, columns: Any) -> Any:
    if isinstance(weights, FactoredMatrix):
        return FactoredMatrix(weights.left[rows], weights.right[:, columns])
    return weights[rows][:, columns]


def _same(one: Any, other: Any) -> bool:
    """Whether two geometries, or parts of them, are equal; what is no unit (-1, -2) is not told apart."""
    if one is None or other is None or isinstance(one, str | tuple):
        return one == other if isinstance(one, str | tuple) else one is other
    if isinstance(one, np.ndarray):
        if one.dtype.kind in "iu":
            one, other = np.maximum(one, -1), np.maximum(other, -1)
        return np.array_equal(one, other)
    return all(_same(getattr(one, part), getattr(other, part)) for part in one.__dataclass_fields__)


def _mean_geometry(one: Geometry | None, other: Geometry | None, share: float) -> Geometry | None:
    if one is None or other is None:
        return None
    parts = {}
    for what in ("positions", "distances"):
        mine, its = getattr(one, what), getattr(other, what)
        if mine is not None and its is not None:
            parts[what] = share * mine + (1 - share) * its
    return Geometry(**parts, axes=one.axes) if parts else None


def _joined(provenances: list[Provenance], notes: dict[str, str], left_out: dict[str, str]) -> Provenance:
    """What the group's report says of where it comes from; notes are those that all subjects share."""
    first, *others = provenances
    shared = {label: text for label, text in first.notes.items() if all(p.notes.get(label) == text for p in others)}
    options = {
        name: value for name, value in first.options.items() if all(p.options.get(name) == value for p in others)
    }
    return replace(
        first,
        citation="; ".join(dict.fromkeys(p.citation for p in provenances)),
        license="; ".join(dict.fromkeys(p.license for p in provenances)),
        files=tuple(dict.fromkeys(file for p in provenances for file in p.files)),
        options=options,
        notes={**notes, **shared},
        left_out=left_out,
        synthetic=any(p.synthetic for p in provenances),
        packages=tuple(dict.fromkeys(package for p in provenances for package in p.packages)),
    )
