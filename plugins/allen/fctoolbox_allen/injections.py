"""Single tracer injections as inputs: which of them, and how much they send to each area."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fctoolbox.errors import InputError, listed, suggestion
from fctoolbox.system import InputProjection
from fctoolbox_allen.ccf import Structure
from fctoolbox_allen.experiments import MEASURES, Experiment, Export

SIDES = ("ipsi", "contra", "both")
_LEFT, _RIGHT, _BOTH = 1, 2, 3


@dataclass(frozen=True)
class Choice:
    """Which experiments are inputs, and what their weights are; see `fctoolbox_allen.experiment_source`."""

    structures: tuple[str, ...] = ("TH",)
    measure: str = "normalized_projection_volume"
    side: str = "ipsi"
    threshold: float = 0.0
    min_injection_volume: float = 0.0
    line: str = "all"

    def __post_init__(self) -> None:
        if not self.structures:
            raise InputError("structures names no structure; give acronyms such as TH, or VAL,VPM")
        for option, value, offered in (("measure", self.measure, tuple(MEASURES)), ("side", self.side, SIDES)):
            if value not in offered:
                raise InputError(
                    f"{option} is {value!r}; it must be one of {', '.join(offered)}." + suggestion(str(value), offered)
                )
        for option, number in (("threshold", self.threshold), ("min_injection_volume", self.min_injection_volume)):
            if isinstance(number, bool) or not isinstance(number, int | float) or not 0 <= number < np.inf:
                raise InputError(f"{option} is {number!r}; it must be a number of at least 0")


def chosen_experiments(export: Export, choice: Choice) -> tuple[tuple[Experiment, ...], tuple[str, ...]]:
    """The experiments of a choice, and the chosen structure that each was injected into, by its full name.

    Raises
    ------
    InputError
        If a structure is unknown, or no experiment is left.
    """
    unknown = [name for name in choice.structures if name not in export.structures]
    if unknown:
        raise InputError(
            f"structures is {listed(choice.structures)}, but the structure tree has no {listed(unknown)}."
            + suggestion(unknown[0], export.structures)
        )
    injected = [
        (experiment, next((name for name in choice.structures if _lies_in(experiment, name, export)), None))
        for experiment in export.experiments
    ]
    here = [(experiment, name) for experiment, name in injected if name is not None]
    lines = sorted({experiment.line for experiment, _ in here if experiment.line})
    if choice.line not in ("all", "wild-type", "cre", *lines):
        raise InputError(
            f"line is {choice.line!r}; it must be all, wild-type, cre, or one of: {listed(lines, most=30) or 'none'}."
            + suggestion(choice.line, lines)
        )
    kept = [
        (experiment, export.structures[name].name)
        for experiment, name in here
        if experiment.volume >= choice.min_injection_volume and _is_of_line(experiment, choice.line)
    ]
    if not kept:
        volumes = [experiment.volume for experiment, _ in here]
        raise InputError(
            f"none of the {len(here)} experiments with an injection into {listed(choice.structures)} is left with "
            f"line = {choice.line} and min_injection_volume = {choice.min_injection_volume:g} mm³"
            + (f" (they have {min(volumes):.3g} … {max(volumes):.3g} mm³)" if volumes else "")
        )
    return tuple(experiment for experiment, _ in kept), tuple(name for _, name in kept)


def injection_projection(
    areas: Sequence[Structure], export: Export, choice: Choice
) -> tuple[InputProjection, dict[str, str]]:
    """From single injections onto areas.

    The injection site itself is left out of every measure. An area that the table does not hold is made of its parts:
    volumes are added up, densities and energies averaged over pixels.

    Parameters
    ----------
    areas : sequence of Structure
    export : Export
    choice : Choice

    Returns
    -------
    InputProjection
        ``weights[i, j]``: from injection j onto area i. Groups are the chosen structures.
    dict of str to str
        Injections that are left out, and why.

    Raises
    ------
    InputError
        If no injection is left.
    """
    experiments, groups = chosen_experiments(export, choice)
    table = export.unionizes
    parts = [_parts(area, export) for area in areas]
    columns, names, kept_groups, left_out = [], [], [], {}
    order = np.argsort(table["experiment_id"], kind="stable")
    sorted_ids = table["experiment_id"][order]
    for experiment, group in zip(experiments, groups, strict=True):
        first, last = np.searchsorted(sorted_ids, [experiment.id, experiment.id + 1])
        rows = order[first:last]
        side = _hemisphere(rows, export, choice.side)
        if side is None:
            left_out[experiment.name] = "its injection site lies in neither hemisphere, or in both alike"
            continue
        rows = rows[(table["hemisphere_id"][rows] == side) & ~table["is_injection"][rows].astype(bool)]
        row_of = {int(table["structure_id"][row]): int(row) for row in rows}
        values = [_value(ids, row_of, table, choice.measure) for ids in parts]
        absent = [area.acronym for area, value in zip(areas, values, strict=True) if value is None]
        if absent:
            # Nothing was measured there (the area may be the injection site): that is not a weight of 0.
            left_out[experiment.name] = f"no unionize of {listed(absent, most=3)}"
            continue
        columns.append(values)
        names.append(experiment.name)
        kept_groups.append(group)
    if not columns:
        raise InputError(
            f"none of the {len(experiments)} experiments has a unionize for every area: "
            + listed((f"{name} ({reason})" for name, reason in left_out.items()), most=3)
        )
    weights = np.array(columns, dtype=float).T
    weights[weights < choice.threshold] = 0
    return InputProjection(weights, tuple(names), tuple(kept_groups)), left_out


def _hemisphere(rows: NDArray[np.intp], export: Export, side: str) -> int | None:
    """The hemisphere of the rows to take: that of the injection, the other one, or both together."""
    if side == "both":
        return _BOTH
    table = export.unionizes
    site = rows[table["is_injection"][rows].astype(bool)]
    left, right = (
        float(table["projection_volume"][site[table["hemisphere_id"][site] == each]].sum()) for each in (_LEFT, _RIGHT)
    )
    if left == right:
        return None
    injected = _LEFT if left > right else _RIGHT
    return injected if side == "ipsi" else _LEFT + _RIGHT - injected


def _value(
    ids: Sequence[int], row_of: Mapping[int, int], table: Mapping[str, NDArray[Any]], measure: str
) -> float | None:
    """The measure of a structure (its own row), or of all its parts that make it up."""
    whole, *parts = ids
    if whole in row_of:
        return float(table[measure][row_of[whole]])
    if not parts or any(part not in row_of for part in parts):
        return None
    rows = [row_of[part] for part in parts]
    values = table[measure][rows]
    if MEASURES[measure] == "sum":
        return float(values.sum())
    pixels = table["sum_pixels"][rows]
    return float((values * pixels).sum() / pixels.sum()) if pixels.sum() else None


def _parts(area: Structure, export: Export) -> list[int]:
    """The id of an area, and those of the structures right below it that the table holds."""
    held = set(np.unique(export.unionizes["structure_id"]).tolist())
    below = [
        structure.id
        for structure in export.structures.values()
        if len(structure.path) == len(area.path) + 1 and structure.lies_in(area) and structure.id in held
    ]
    return [area.id, *below]


def _lies_in(experiment: Experiment, acronym: str, export: Export) -> bool:
    return export.structures[experiment.structure].lies_in(export.structures[acronym])


def _is_of_line(experiment: Experiment, line: str) -> bool:
    if line in ("all", "wild-type", "cre"):
        return line == "all" or bool(experiment.line) == (line == "cre")
    return experiment.line == line
