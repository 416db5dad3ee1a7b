"""A person's own matrices, matched by the names of their units, as a system."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fctoolbox.data import sha256_of
from fctoolbox.errors import InputError, blamed_on, listed, nearest
from fctoolbox.system import (
    FileRecord,
    Floats,
    Geometry,
    InputProjection,
    Provenance,
    RecurrentActivity,
    RecurrentSystem,
    Scale,
    check_symmetric,
)
from fctoolbox.tables import Table, check_exists, read_table, text_rows, unit_header

_LABEL_HEADERS = ("label", "labels", "community", "module", "cluster")
_GROUP_FILE = (("input", "source", "name"), ("group", "division", "label"))
_NO_LABEL = ("", "nan", "na", "n/a", "none", "null")  # what programs write where there is none


def read_system(
    projection: str | Path,
    *,
    connectivity: str | Path | None = None,
    timeseries: str | Path | None = None,
    positions: str | Path | None = None,
    distances: str | Path | None = None,
    fisher_z: bool = False,
    transposed: bool = False,
    common: bool = False,
    sampling_interval: float | None = None,
    name: str = "",
    groups: str | Path | None = None,
) -> RecurrentSystem:
    """A system from a person's own files.

    Units are matched by name, in any order; where a file has no names, by position. The projection's order of units
    is kept.

    Parameters
    ----------
    projection : path
        (n_units, n_inputs): rows are the units that receive, columns the inputs that send.
    connectivity : path, optional
        (n_units, n_units).
    timeseries : path, optional
        (n_times, n_units): time runs along the rows.
    positions : path, optional
        (n_units, 3), in mm.
    distances : path, optional
        (n_units, n_units), in mm.
    fisher_z : bool
        The connectivity holds Fisher z, not r.
    transposed : bool
        The projection's rows are the inputs.
    common : bool
        Analyse the units that all files share, instead of refusing files that disagree.
    sampling_interval : float, optional
        Seconds between two rows of the timeseries.
    name : str
        Of the system; the projection's file name when left out.
    groups : path, optional
        CSV or TSV with an input and a group column: the group (division, cell type) of each of the projection's inputs.

    Returns
    -------
    RecurrentSystem

    Raises
    ------
    InputError
        Names the file, the row and the column, and says what to do.
    """
    if (connectivity is None) == (timeseries is None):
        raise InputError("give the activity as one of a connectivity file and a timeseries file")
    tables = {"projection": read_table(projection)}
    if transposed:
        tables["projection"] = tables["projection"].transposed
    for what, path in (
        ("connectivity", connectivity),
        ("timeseries", timeseries),
        ("positions", positions),
        ("distances", distances),
    ):
        if path is not None:
            tables[what] = read_table(path)
    for what in ("connectivity", "distances"):
        if what in tables:
            tables[what] = _square(tables[what], what)
    if "timeseries" in tables:  # units along axis 0, like everywhere else, until all are matched
        _refuse_connectivity(tables["timeseries"])
        tables["timeseries"] = tables["timeseries"].transposed
    _refuse_transposed(tables)
    units, notes = (_shared_units if common else _equal_units)(tables)
    matched = {what: _in_order(table, what, units) for what, table in tables.items()}
    named = dict.fromkeys(name for table in tables.values() for name in table.rows or ())
    inputs = tables["projection"].columns or ()
    group_of = None if groups is None else read_groups(groups, inputs, projection)
    geometry = None
    if "positions" in matched or "distances" in matched:
        with _about(tables, "positions", "distances"):
            geometry = Geometry(positions=matched.get("positions"), distances=matched.get("distances"))
    scale: Scale = "fisher-z" if fisher_z else "pearson-r"
    with _about(tables, "connectivity", "timeseries"):
        activity = RecurrentActivity(
            timeseries=matched["timeseries"].T if "timeseries" in matched else None,
            connectivity=matched.get("connectivity"),
            scale=scale,
            sampling_interval=sampling_interval,
        )
    paths = [*(table.path for table in tables.values()), *([] if groups is None else [Path(groups)])]
    files = [FileRecord(path.name, sha256_of(path)) for path in paths]
    return RecurrentSystem(
        name=name or tables["projection"].path.stem,
        units=units,
        projection=InputProjection(matched["projection"], inputs, group_of),
        activity=activity,
        geometry=geometry,
        provenance=Provenance(
            citation="your own data",
            license="not stated",
            files=tuple(dict.fromkeys(files)),  # one file may hold several of the matrices
            notes=notes,
            left_out={name: "not in all files" for name in named if name not in units},
        ),
    )


def read_connectivity(path: str | Path) -> tuple[Floats, tuple[str, ...] | None]:
    """A square matrix from a file, rows and columns in one order, and the names of its units (None without).

    Raises
    ------
    InputError
        See `read_table`; also if it is not square, or rows and columns name different units.
    """
    table = _square(read_table(path), "connectivity")
    return table.values, table.rows


def read_labels(path: str | Path, units: Sequence[str] | None, n_units: int) -> NDArray[np.str_]:
    """The label of each unit, from a CSV or TSV with a unit and a label column.

    Parameters
    ----------
    path : str or Path
    units : sequence of str or None
        Names of the units, in the order wanted; without them, the file's own order is taken.
    n_units : int

    Returns
    -------
    (n_units,) array of str

    Raises
    ------
    InputError
        If a unit is missing, unknown or named twice, or a label is empty.
    """
    file = Path(path)
    with blamed_on(f"{file} cannot be read"):
        check_exists(file)
        rows = text_rows(file)
    head = [cell.lower() for cell in rows[0]]
    unit_column = unit_header(head)
    label_column = next((head.index(word) for word in _LABEL_HEADERS if word in head), None)
    if unit_column is not None and label_column is not None:
        rows = rows[1:]
    elif len(head) == 2:
        unit_column, label_column = 0, 1
        if len(rows) == n_units + 1 and rows[0][0] not in (units or ()):
            rows = rows[1:]  # a header in words of its own
    else:
        raise InputError(
            f"{file} has the columns {listed(rows[0])}; it needs one called 'unit' and one called 'label', "
            "or exactly two columns: unit, label"
        )
    assert unit_column is not None
    assert label_column is not None
    labels: dict[str, str] = {}
    for number, row in enumerate(rows, start=1):
        if len(row) != len(head):
            raise InputError(f"{file}: entry {number} has {len(row)} cells instead of {len(head)}: {listed(row)}")
        unit, label = row[unit_column], row[label_column]
        if label.lower() in _NO_LABEL:
            raise InputError(f"{file}: unit '{unit}' has no label (entry {number}); give every unit a community")
        if unit in labels:
            raise InputError(f"{file}: unit '{unit}' occurs twice (entry {number})")
        labels[unit] = label
    if units is None:
        if len(labels) != n_units:
            raise InputError(f"{file} has {len(labels)} labels, but the connectivity has {n_units} units")
        return np.array(list(labels.values()))
    _refuse_disagreement({"connectivity": tuple(units), "labels": tuple(labels)}, {"labels": file})
    return np.array([labels[unit] for unit in units])


def read_groups(path: str | Path, inputs: Sequence[str], projection: str | Path) -> tuple[str, ...]:
    """The group of each input, from a CSV or TSV with an input and a group column; matched by name, in any order.

    Parameters
    ----------
    path : str or Path
    inputs : sequence of str
        Names of the projection's inputs, in the order wanted.
    projection : str or Path
        Where these names stand, for messages.

    Returns
    -------
    (n_inputs,) tuple of str

    Raises
    ------
    InputError
        If the projection names no inputs, or one is missing, unknown or named twice, or has no group.
    """
    file = Path(path)
    if not inputs:
        raise InputError(
            f"{file} gives groups to inputs by name, but {projection} names none: write the names of the inputs into "
            "its header"
        )
    with blamed_on(f"{file} cannot be read"):
        check_exists(file)
        rows = text_rows(file)
    head = [cell.lower() for cell in rows[0]]
    columns = [next((head.index(word) for word in words if word in head), None) for words in _GROUP_FILE]
    if None not in columns:
        rows = rows[1:]
    elif len(head) == 2:
        columns = [0, 1]
        if rows[0][0] not in inputs:
            rows = rows[1:]  # a header in words of its own
    else:
        raise InputError(
            f"{file} has the columns {listed(rows[0])}; it needs one called 'input' and one called 'group', "
            "or exactly two columns: input, group"
        )
    groups: dict[str, str] = {}
    for number, row in enumerate(rows, start=1):
        if len(row) != len(head):
            raise InputError(f"{file}: entry {number} has {len(row)} cells instead of {len(head)}: {listed(row)}")
        name, group = (row[column] for column in columns if column is not None)
        if group.lower() in _NO_LABEL:
            raise InputError(f"{file}: input '{name}' has no group (entry {number}); give every input one")
        if name in groups:
            raise InputError(f"{file}: input '{name}' occurs twice (entry {number})")
        groups[name] = group
    if missing := [name for name in inputs if name not in groups]:
        raise InputError(
            f"{file} has no group for {len(missing)} of the {len(inputs)} inputs of {projection}: "
            f"{_with_near_misses(missing, [name for name in groups if name not in set(inputs)])}. Add them, or correct "
            "the names."
        )
    if unknown := [name for name in groups if name not in set(inputs)]:
        raise InputError(f"{file} names inputs that {projection} has not: {listed(map(repr, unknown))}")
    return tuple(groups[name] for name in inputs)


def _square(table: Table, what: str) -> Table:
    if table.values.shape[0] != table.values.shape[1]:
        raise InputError(f"{table.path}: the {what} has shape {table.values.shape}, but it must be square")
    rows, columns, values = table.rows or table.columns, table.columns or table.rows, table.values
    if rows is not None and columns is not None and rows != columns:
        if odd := sorted(set(rows) ^ set(columns)):
            raise InputError(
                f"{table.path}: rows and columns of the {what} must name the same units; these differ: {listed(odd)}"
            )
        values = values[:, _order(columns, rows)]
    check_symmetric(values, f"{table.path}: the {what}", rows)
    return Table(values, rows, rows, table.path)


def _refuse_connectivity(timeseries: Table) -> None:
    # Correlating the rows of a connectivity works without an error, and means nothing.
    values = timeseries.values
    if len(values) == values.shape[1] and np.allclose(values, values.T, rtol=1e-6, atol=0):
        raise InputError(
            f"{timeseries.path} was given as a timeseries, but it is a symmetric matrix of {len(values)} × "
            f"{len(values)}; give it with --connectivity"
        )


def _order(names: Sequence[str], wanted: Sequence[str]) -> list[int]:
    index = {name: i for i, name in enumerate(names)}
    return [index[name] for name in wanted]


def _equal_units(tables: dict[str, Table]) -> tuple[tuple[str, ...], dict[str, str]]:
    """The units, which all files must share, and notes on how they were matched."""
    named = {what: table.rows for what, table in tables.items() if table.rows is not None}
    _refuse_disagreement(named, {what: table.path for what, table in tables.items()})
    units = next(iter(named.values()), tuple(f"unit-{i}" for i in range(len(tables["projection"].values))))
    for what, table in tables.items():
        if len(table.values) != len(units):
            raise InputError(
                f"{table.path}: the {what} has {len(table.values)} units, but {len(units)} were expected "
                f"({_sizes(tables)}). Without names in every file, units are matched by position."
            )
    unnamed = [what for what in tables if what not in named]
    return units, {"Units matched by position": f"{listed(unnamed)} without names"} if unnamed else {}


def _shared_units(tables: dict[str, Table]) -> tuple[tuple[str, ...], dict[str, str]]:
    """The units that all files have, and no notes."""
    unnamed = [str(table.path) for table in tables.values() if table.rows is None]
    if unnamed:
        raise InputError(
            f"--common needs the names of the units in every file, but there are none in {listed(unnamed)}"
        )
    first, *others = (table.rows or () for table in tables.values())
    shared = set(first).intersection(*others)
    if not shared:
        compared = "; ".join(f"{what}: {listed(table.rows or (), most=4)}" for what, table in tables.items())
        raise InputError(f"the files have no unit in common; {compared}")
    return tuple(name for name in first if name in shared), {}


def _in_order(table: Table, what: str, units: tuple[str, ...]) -> Floats:
    if table.rows is None or table.rows == units:
        return table.values
    order = _order(table.rows, units)
    return table.values[np.ix_(order, order)] if what in ("connectivity", "distances") else table.values[order]


def _sizes(tables: dict[str, Table]) -> str:
    return ", ".join(f"{what} {len(table.values)}" for what, table in tables.items())


def _refuse_transposed(tables: dict[str, Table]) -> None:
    projection = tables["projection"]
    for what, other in tables.items():
        # The timeseries is kept here with its units along axis 0, as it is not in its file.
        if what == "timeseries" and _fits_transposed(other, projection):
            raise InputError(
                f"{other.path} seems to be transposed: it has shape {other.values.T.shape}, but time must run along "
                f"the rows, with one column for each of the {len(projection.values)} units"
            )
        if what != "projection" and _fits_transposed(projection, other):
            raise InputError(
                f"{projection.path} seems to be transposed: its columns, not its rows, are the units of the {what}. "
                "Rows must be the units that receive, columns the inputs that send; "
                "transpose the file, or say --transposed."
            )


def _fits_transposed(table: Table, other: Table) -> bool:
    """Whether a table's columns, and not its rows, are the units of another: by name, else by number."""
    if other.rows is not None and table.columns is not None:
        as_rows, as_columns = (len(set(names or ()) & set(other.rows)) for names in (table.rows, table.columns))
        return as_columns > as_rows and as_columns > len(other.rows) / 2
    return len(table.values) != len(other.values) == table.values.shape[1]


def _refuse_disagreement(named: dict[str, tuple[str, ...]], paths: dict[str, Path]) -> None:
    """Refuse files whose units differ, listing the names that do not match, with near misses."""
    if len(named) < 2:
        return
    (reference, known), *others = named.items()
    for what, names in others:
        theirs, ours = set(names), set(known)
        unknown = [name for name in names if name not in ours]
        missing = [name for name in known if name not in theirs]
        if unknown or missing:
            parts = []
            if unknown:
                parts.append(f"only in the {what}: {_with_near_misses(unknown, missing)}")
            if missing:
                parts.append(f"only in the {reference}: {listed([repr(name) for name in missing])}")
            common = "" if "labels" in paths else ", or keep the units that all files share with --common"
            files = " and ".join(str(paths[each]) for each in (reference, what) if each in paths)
            raise InputError(
                f"{files}: the units of the {what} and the {reference} do not match; {'; '.join(parts)}. "
                f"Please correct the names{common}."
            )


def _with_near_misses(names: list[str], known: list[str]) -> str:
    # Only those that are shown are compared: each comparison costs, and files may differ in every name.
    shown = [(name, nearest(name, known)) for name in names[:8]]
    hints = [f"'{name}'" + (f" (did you mean '{near}'?)" if near else "") for name, near in shown]
    return listed([*hints, *names[8:]])


@contextmanager
def _about(tables: dict[str, Table], *which: str) -> Iterator[None]:
    """Put the names of the files before what is wrong with their content."""
    try:
        yield
    except InputError as error:
        paths = ", ".join(str(tables[what].path) for what in which if what in tables)
        raise InputError(f"{paths}: {error}") from error
