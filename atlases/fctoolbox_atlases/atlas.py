"""What an atlas holds, and how it is read."""

import csv
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fctoolbox.errors import InputError, suggestion

_FOLDER = Path(__file__).parent


@dataclass(frozen=True, eq=False)
class Atlas:
    """A table of regions, one row each, and where it comes from.

    Parameters
    ----------
    name : str
    space : str
        The space and unit of its coordinates.
    version, citation, license : str
    columns : mapping of str to (n_regions,) array
        Columns of strings, integers or floats, as ``atlas.toml`` declares them. A missing float is NaN,
        a missing string is empty.
    """

    name: str
    space: str
    version: str
    citation: str
    license: str
    columns: Mapping[str, NDArray[Any]]

    def __len__(self) -> int:
        return len(next(iter(self.columns.values())))

    def __getitem__(self, column: str) -> NDArray[Any]:
        if column not in self.columns:
            raise InputError(
                f"atlas '{self.name}' has no column '{column}'.{suggestion(column, list(self.columns))} "
                f"It has: {', '.join(self.columns)}."
            )
        return self.columns[column]

    def rows(self, column: str, values: list[str]) -> NDArray[np.intp]:
        """The row of each value of a column whose values are unique, in the order asked for.

        Raises
        ------
        InputError
            If a value is not in the table, or the column's values repeat.
        """
        known = [str(each) for each in self[column]]
        if len(set(known)) < len(known):
            raise InputError(f"column '{column}' of atlas '{self.name}' repeats values, so it cannot find rows")
        index = {each: row for row, each in enumerate(known)}
        missing = [value for value in values if value not in index]
        if missing:
            raise InputError(f"atlas '{self.name}' has no {column} '{missing[0]}'.{suggestion(missing[0], known)}")
        return np.array([index[value] for value in values], dtype=np.intp)


def atlas_names() -> tuple[str, ...]:
    """The atlases that are installed."""
    return tuple(sorted(path.parent.name for path in _FOLDER.glob("*/atlas.toml")))


def load_atlas(name: str) -> Atlas:
    """Read an atlas.

    Parameters
    ----------
    name : str
        One of `atlas_names`.

    Returns
    -------
    Atlas

    Raises
    ------
    InputError
        If there is none of that name.

    Examples
    --------
    >>> len(load_atlas("glasser-360"))
    360
    """
    if name not in atlas_names():
        raise InputError(
            f"no atlas named '{name}'.{suggestion(name, atlas_names())} Installed: {', '.join(atlas_names())}."
        )
    folder = _FOLDER / name
    about = tomllib.loads((folder / "atlas.toml").read_text(encoding="utf-8"))
    return Atlas(
        name=name,
        columns=_read_table(folder / "regions.tsv", about["columns"]),
        **{key: about[key] for key in ("space", "version", "citation", "license")},
    )


def _read_table(path: Path, columns: Mapping[str, Mapping[str, str]]) -> dict[str, NDArray[Any]]:
    with path.open(encoding="utf-8", newline="") as stream:
        header, *rows = csv.reader(stream, delimiter="\t")
    if header != list(columns):
        raise InputError(f"{path.name} has the columns {header}, but atlas.toml declares {list(columns)}")
    table = dict(zip(header, zip(*rows, strict=True), strict=True))
    return {name: _typed(table[name], kind["type"]) for name, kind in columns.items()}


def _typed(values: tuple[str, ...], kind: str) -> NDArray[Any]:
    if kind == "float":
        column = np.array([float(value) if value else np.nan for value in values])
    else:
        # int64 throughout: labels above 127 have wrapped around in other people's int8
        column = np.array(values, dtype={"str": np.str_, "int": np.int64}[kind])
    column.flags.writeable = False
    return column
