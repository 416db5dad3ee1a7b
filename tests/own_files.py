"""What a person might hand in: a small system as text, for the tests of tables and matrices."""

import numpy as np

UNITS = ("VISp", "VISl", "MOp", "SSp-n", "ACA", "FRP")
INPUTS = ("LGd", "LP", "VAL", "MD")
AREAS = ("V1", "V2", "M1")


def numbers(*shape):
    return np.random.default_rng(sum(shape)).standard_normal(shape)


WEIGHTS, POSITIONS = numbers(6, 4), numbers(6, 3)
CONNECTIVITY = np.corrcoef(numbers(6, 9))
TIMESERIES = numbers(20, 6)
DISTANCES = np.linalg.norm(POSITIONS[:, None] - POSITIONS, axis=2)


def text(values, rows=None, columns=None, *, delimiter=",", corner="", newline="\n"):
    """A table as a program would write it; corner None leaves the header without a cell above the names, as R does."""
    lines = [list(map(repr, map(float, line))) for line in np.asarray(values)]
    if rows is not None:
        lines = [[row, *line] for row, line in zip(rows, lines, strict=True)]
    if columns is not None:
        lines.insert(0, [*([corner] if rows is not None and corner is not None else []), *columns])
    return "".join(delimiter.join(line) + newline for line in lines)


def npz(path, **arrays):
    np.savez(path, **arrays)
    return path
