"""How the relationship and the induced modularity come out under each null."""

from collections import Counter
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from fctoolbox import edge_moments
from fctoolbox.chunks import DERIVED
from fctoolbox.communities import detect_communities
from fctoolbox.counting import hearing
from fctoolbox.edge_moments import DensePairs
from fctoolbox.errors import InputError, suggestion
from fctoolbox.nulls.distances import distances_of
from fctoolbox.nulls.edges import EdgeStatistics
from fctoolbox.nulls.graph import nearest_graph, neighbours_of
from fctoolbox.nulls.moran import moran_labels
from fctoolbox.nulls.permutation import permutation
from fctoolbox.nulls.projection import check_projection, projection_modes
from fctoolbox.nulls.regrow import regrow
from fctoolbox.nulls.spin import MOST_ASSIGNED, Assignment, sphere_positions, spin, unit_hemispheres
from fctoolbox.nulls.variogram import check_variogram, variogram
from fctoolbox.quality import Quality, as_partitions, quality_of
from fctoolbox.system import Floats, Geometry, RecurrentSystem, Weights

# What each null keeps, and so what a small p is not due to; one sentence each, as the report says it.
CONTROLS_FOR = {
    "permutation": "Units change places at random: it controls for the sizes of the modules and the values of the "
    "matrices, and for nothing spatial, so that smooth maps beat it whether they are related or not.",
    "variogram": "Each module's map is replaced by one with the same variogram, and units are dealt out in the same "
    "numbers: it controls for the sizes of the modules and roughly for their smoothness, but its modules are less "
    "compact than real ones.",
    "spin": "The sphere is turned, and every unit takes the place of another: it controls for how smooth and how "
    "compact the modules are, as long as the maps look alike in all directions.",
    "moran": "Each module's map keeps its power in the spatial modes of the distances, and units are dealt out in the "
    "same numbers: it controls for the sizes of the modules and roughly for their smoothness.",
    "regrow": "Modules of the same sizes are grown elsewhere, as compact as the real ones: it controls for contiguity, "
    "and so asks whether these compact modules fit better than other compact ones.",
    "projection": "The projection is rearranged in space, each input as smooth as before and every two inputs as "
    "alike, and partitioned anew: it controls for all that depends on distance alone, and asks about these projections "
    "rather than this partition.",
}
NULLS = tuple(CONTROLS_FOR)
# Of spins of more units of a hemisphere than can each be given a place of its own.
NEAREST = (
    "Each unit takes the place of the nearest turned one, so that some are used several times and others never: the "
    "sizes of the modules change somewhat, and pairs of a unit with itself are left out."
)
# In words short enough for a sentence with numbers.
IN_SHORT = {
    "permutation": "the same modules placed on units at random",
    "variogram": "modules from maps with the same variogram",
    "spin": "modules turned on the sphere",
    "moran": "modules from maps with the same autocorrelation",
    "regrow": "modules of the same sizes grown elsewhere",
    "projection": "modules of rearranged projections",
}

_FEW = 50
_CALIBRATED = 60  # docs/explanation/nulls.md
_OF_DISTANCES = ("variogram", "moran", "projection")
REARRANGED = ("permutation", "spin", "projection")  # nulls that re-arrange pairs of units, and so speak of r

Labels = NDArray[Any]
Pairs = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Space:
    """What the nulls need to know of where the units are; None where they need it not, or nobody knows.

    Parameters
    ----------
    distances : (n_units, n_units) array or None
        mm; None where they would be too many.
    neighbours : (n_units, n_units) sparse array or None
    sphere : (n_units, 3) array or None
    hemispheres : (n_units,) str or None
    positions : (n_units, 3) array or None
        mm; of many units, in place of their distances.
    """

    distances: Floats | None = None
    neighbours: sparse.csr_array | None = None
    sphere: Floats | None = None
    hemispheres: tuple[str, ...] | None = None
    positions: Floats | None = None

    @property
    def has_distances(self) -> bool:
        """Whether it is known how far apart units are."""
        return self.distances is not None or self.positions is not None

    @property
    def assignment(self) -> Assignment:
        """How places are given out when the sphere is turned."""
        assert self.sphere is not None
        sides = ["one"] * len(self.sphere) if self.hemispheres is None else self.hemispheres
        return "hungarian" if max(Counter(sides).values()) <= MOST_ASSIGNED else "nearest"


def is_large(n_units: int) -> bool:
    """Whether there are so many pairs of units that they are looked at where they lie, and no list of them is made."""
    return n_units > edge_moments.LARGE


def null_names(null: str | Sequence[str], geometry: Geometry | None, n_units: int) -> tuple[str, ...]:
    """The nulls that are asked for, without repetition; ``"auto"`` becomes what the calibration recommends.

    Raises
    ------
    InputError
        If there is none, or none of that name.
    """
    names = (null,) if isinstance(null, str) else tuple(dict.fromkeys(null))
    if not names:
        raise InputError(f"null is empty; name one or several of: {', '.join(NULLS)}, or auto")
    for name in names:
        if name not in (*NULLS, "auto"):
            raise InputError(f"no null named '{name}'.{suggestion(name, NULLS)} There are: {', '.join(NULLS)}, auto.")
    return tuple(dict.fromkeys(recommended(geometry, n_units) if name == "auto" else name for name in names))


def recommended(geometry: Geometry | None, n_units: int) -> str:
    """The null that the calibration recommends: ``projection`` where distances are known, else ``permutation``.

    It needs the distances of all pairs; of many units ``spin`` where there is a sphere, else ``regrow``.
    """
    if geometry is None or n_units < 10:
        return "permutation"
    if not is_large(n_units):
        return "projection"
    return "spin" if geometry.surface is not None and geometry.surface.sphere is not None else "regrow"


def chosen(null: str | Sequence[str], models: Sequence[str], n_units: int) -> str:
    """Which nulls were compared with, in words; and why, where that was left to us."""
    if "auto" not in ((null,) if isinstance(null, str) else null):
        return ", ".join(models)
    if is_large(n_units):
        why = next(words for model, words in _WHY_OF_MANY.items() if model in models)
    elif "projection" in models:
        why = "as distances are known"
    else:
        why = "as there are no distances, or fewer than 10 units"
    if "projection" in models and n_units < _CALIBRATED:
        why += f"; calibrated for {_CALIBRATED} units and more: with fewer it may reject somewhat too often"
    return f"auto: {', '.join(models)}, {why}"


_WHY_OF_MANY = {
    "spin": "as there is a sphere, and too many units for 'projection'",
    "regrow": "as neighbours are known and no sphere is, and too many units for 'projection'",
    "permutation": "as it is not known where the units are",
}


def space_of(system: RecurrentSystem, models: Sequence[str]) -> Space:
    """Check, before anything that takes long, that the geometry has what the nulls need; and take it out.

    Raises
    ------
    InputError
        If it has not; the message says what is missing.
    """
    geometry, n_units = system.geometry, system.n_units
    known = geometry is not None and (geometry.positions is not None or geometry.distances is not None)
    needed = [model for model in models if model in _OF_DISTANCES]
    if is_large(n_units):
        return _space_of_many(system, models, needed)
    distances = distances_of(geometry, system.name) if known or needed else None
    if distances is not None and "variogram" in models:
        check_variogram(distances)
    if "projection" in models:
        check_projection(n_units)
    neighbours = None
    if "regrow" in models:
        # A few areas touch too few others for there to be many partitions like theirs: then the nearest are neighbours.
        if distances is not None and n_units < _FEW:
            neighbours = nearest_graph(distances)
        else:
            neighbours = neighbours_of(geometry, n_units, system.name)
    return Space(distances, neighbours, *_sphere_of(system, models))


def _space_of_many(system: RecurrentSystem, models: Sequence[str], needed: Sequence[str]) -> Space:
    """The same without distances of all pairs, of which there would be gigabytes."""
    geometry, n_units = system.geometry, system.n_units
    if needed:
        raise InputError(_too_many(needed[0], system.name, f"has {n_units:,}"))
    neighbours = neighbours_of(geometry, n_units, system.name) if "regrow" in models else None
    positions = None if geometry is None else geometry.positions
    return Space(None, neighbours, *_sphere_of(system, models), positions=positions)


def refusing_early(null: str | Sequence[str]) -> AbstractContextManager[None]:
    """A block in which a source that announces more units than a null can have is interrupted, before it is loaded.

    Parameters
    ----------
    null : str or sequence of str
        As of `analyse_origin`. What ``"auto"`` becomes, there is for any number of units.

    Raises
    ------
    InputError
        In the block, as `space_of` would later.
    """
    needed = [name for name in ((null,) if isinstance(null, str) else null) if name in _OF_DISTANCES]

    def refuse(name: str, at_least: int) -> None:
        if needed and is_large(at_least):
            raise InputError(_too_many(needed[0], name, f"has at least {at_least:,}"))

    return hearing(refuse)


def _too_many(null: str, name: str, has: str) -> str:
    return (
        f"the null '{null}' needs the distances of all pairs of units, which can be had of up to "
        f"{edge_moments.LARGE:,} units, and {name!r} {has}; use 'spin' (where there is a surface with a sphere) or "
        "'regrow'"
    )


def _sphere_of(system: RecurrentSystem, models: Sequence[str]) -> tuple[Floats | None, tuple[str, ...] | None]:
    """Where the units are on the sphere, and the hemisphere of each; None where no null asks."""
    if "spin" not in models:
        return None, None
    surface = None if system.geometry is None else system.geometry.surface
    if surface is None or surface.sphere is None:
        others = "'regrow', which needs" if is_large(system.n_units) else "'regrow' or 'projection', which need"
        raise InputError(
            f"the null 'spin' turns the units on a sphere, and {system.name!r} has no surface with a sphere; "
            f"use {others} positions or distances only"
        )
    return sphere_positions(surface, system.n_units), unit_hemispheres(surface, system.n_units)


def statistics_of(model: str, space: Space) -> tuple[str, ...]:
    """What a null says something about: ``q``, and where it re-arranges pairs of units ``r`` and ``partial_r``."""
    pairs = ("r", "partial_r") if space.has_distances else ("r",)
    return ("q", *pairs) if model in REARRANGED else ("q",)


def chunk_size(model: str, n_units: int) -> int:
    """Nulls of one chunk: few enough to be lost without regret, and many enough to be worth one look at the matrix."""
    return 32 if is_large(n_units) and model in REARRANGED else 100


@dataclass(frozen=True, eq=False)
class Question:
    """What is compared with nulls, and all they need to know.

    Parameters
    ----------
    labels : (n_units,) integers
        Communities of the similarity.
    similarity, connectivity : (n_units, n_units) arrays
    weights : (n_units, n_inputs) array, sparse array or FactoredMatrix
        The input projection.
    space : Space
    resolution : float
    quality : Quality, optional
        Of the connectivity, where it has been checked before.
    pairs : DensePairs, optional
        The same, of many units.
    """

    labels: NDArray[np.intp]
    similarity: Floats = field(metadata=DERIVED)  # from the weights
    connectivity: Floats
    weights: Weights
    space: Space
    resolution: float = 1.0
    quality: Quality | None = field(default=None, metadata=DERIVED)
    pairs: DensePairs | None = field(default=None, metadata=DERIVED)


def null_statistics(model: str, question: Question, *, n_nulls: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """The statistics of `statistics_of` under each null.

    Parameters
    ----------
    model : str
        One of `NULLS`.
    question : Question
    n_nulls : int
    rng : Generator

    Returns
    -------
    (n_nulls, n_statistics) array
    """
    partitions, pairs = _DRAWN.get(model, _of_labels)(model, question, n_nulls, rng)
    quality = question.quality or quality_of(question.connectivity, resolution=question.resolution)
    q = quality.of(as_partitions(partitions, len(question.labels), ndim=2))
    return np.column_stack([q, pairs])


def _of_orders(model: str, question: Question, n_nulls: int, rng: np.random.Generator) -> tuple[Labels, Pairs]:
    orders = _orders(model, question.space, len(question.labels), n_nulls, rng)
    if is_large(len(question.labels)):
        dense = question.pairs or DensePairs.of(question.connectivity, question.space.positions)
        return question.labels[orders], dense.spun(question.similarity, orders)
    edges = EdgeStatistics.of(question.connectivity, question.space.distances)
    pairs = [_of_pairs(edges, question.similarity[np.ix_(order, order)]) for order in orders]
    return question.labels[orders], np.array(pairs)


def _orders(model: str, space: Space, n_units: int, n_nulls: int, rng: np.random.Generator) -> NDArray[Any]:
    if model == "permutation":
        return permutation(np.arange(n_units), n_nulls=n_nulls, rng=rng)
    assert space.sphere is not None
    return spin(space.sphere, hemispheres=space.hemispheres, n_nulls=n_nulls, rng=rng, assignment=space.assignment)


def _of_projections(_: str, question: Question, n_nulls: int, rng: np.random.Generator) -> tuple[Labels, Pairs]:
    distances = question.space.distances
    assert distances is not None
    modes = projection_modes(question.weights, distances=distances)
    edges = EdgeStatistics.of(question.connectivity, distances)
    partitions, pairs = [], []
    for _k in range(n_nulls):
        surrogate = modes.similarity(rng)
        pairs.append(_of_pairs(edges, surrogate))
        found = detect_communities(surrogate, resolution=question.resolution, n_restarts=1, n_kicks=5, rng=rng)
        partitions.append(found.labels)
    return np.stack(partitions), np.array(pairs)


def _of_labels(model: str, question: Question, n_nulls: int, rng: np.random.Generator) -> tuple[Labels, Pairs]:
    labels, space, nothing = question.labels, question.space, np.empty((n_nulls, 0))
    if labels.max() == 0:  # one module looks the same however it is arranged
        return np.tile(labels, (n_nulls, 1)), nothing
    if model == "regrow":
        return regrow(labels, neighbours=space.neighbours, n_nulls=n_nulls, rng=rng), nothing
    assert space.distances is not None
    if model == "variogram":
        return variogram(labels, distances=space.distances, n_nulls=n_nulls, rng=rng), nothing
    return moran_labels(labels, distances=space.distances, n_nulls=n_nulls, rng=rng), nothing


_DRAWN = {"permutation": _of_orders, "spin": _of_orders, "projection": _of_projections}


def _of_pairs(edges: EdgeStatistics, similarity: Floats) -> tuple[float, ...]:
    r = edges.pearson_r(similarity)
    return (r,) if edges.basis is None else (r, edges.partial_r(similarity))
