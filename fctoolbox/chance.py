"""How the relationship and the induced modularity come out under each null."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fctoolbox.communities import detect_communities
from fctoolbox.errors import InputError, suggestion
from fctoolbox.nulls.distances import distances_of
from fctoolbox.nulls.edges import EdgeStatistics
from fctoolbox.nulls.projection import check_projection, projection_modes
from fctoolbox.quality import modularities
from fctoolbox.system import Floats, Geometry, RecurrentSystem, Weights

# What each null keeps, and so what a small p is not due to; one sentence each, as the report says it.
CONTROLS_FOR = {
    "permutation": "Units change places at random: it controls for the sizes of the modules and the values of the "
    "matrices, and for nothing spatial, so that smooth maps beat it whether they are related or not.",
    "spin": "The sphere is turned, and every unit takes the place of another: it controls for how smooth and how "
    "compact the modules are, as long as the maps look alike in all directions.",
    "variogram": "Each module's map is replaced by one with the same variogram, and units are dealt out in the same "
    "numbers: it controls for the sizes of the modules and roughly for their smoothness, but its modules are less "
    "compact than real ones.",
    "moran": "Each module's map keeps its power in the spatial modes of the distances, and units are dealt out in the "
    "same numbers: it controls for the sizes of the modules and roughly for their smoothness.",
    "regrow": "Modules of the same sizes are grown elsewhere, as compact as the real ones: it controls for contiguity, "
    "and so asks whether these compact modules fit better than other compact ones.",
    "projection": "The projection is rearranged in space, each input as smooth as before and every two inputs as "
    "alike, and partitioned anew: it controls for all that depends on distance alone, and asks about these projections "
    "rather than this partition.",
}
NULLS = tuple(CONTROLS_FOR)
# In words short enough for a sentence with numbers.
IN_SHORT = {
    "permutation": "the same modules placed on units at random",
    "spin": "modules turned on the sphere",
    "variogram": "modules from maps with the same variogram",
    "moran": "modules from maps with the same autocorrelation",
    "regrow": "modules of the same sizes grown elsewhere",
    "projection": "modules of rearranged projections",
}
_OF_PROJECTION = {"n_restarts": 1, "n_kicks": 5}


@dataclass(frozen=True, eq=False)
class Space:
    """What the nulls need to know of where the units are; None where they need it not, or nobody knows.

    Parameters
    ----------
    distances : (n_units, n_units) array or None
        mm.
    neighbours : (n_units, n_units) sparse array or None
    sphere : (n_units, 3) array or None
    hemispheres : (n_units,) str or None
    """

    distances: Floats | None = None
    neighbours: object | None = None
    sphere: Floats | None = None
    hemispheres: tuple[str, ...] | None = None


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
    """The null that the calibration recommends: ``projection`` where distances are known, else ``permutation``."""
    return "projection" if geometry is not None and n_units >= 10 else "permutation"


def space_of(system: RecurrentSystem, models: Sequence[str]) -> Space:
    """Check, before anything that takes long, that the geometry has what the nulls need; and take it out.

    Raises
    ------
    InputError
        If it has not; the message says what is missing.
    """
    from fctoolbox.nulls.graph import neighbours_of
    from fctoolbox.nulls.spin import sphere_positions
    from fctoolbox.nulls.variogram import check_variogram

    geometry, n_units = system.geometry, system.n_units
    spatial = [model for model in models if model != "permutation"]
    known = geometry is not None and (geometry.positions is not None or geometry.distances is not None)
    distances = distances_of(geometry, system.name) if known or spatial else None
    if "variogram" in models and distances is not None:
        check_variogram(distances)
    if "projection" in models:
        check_projection(n_units)
    neighbours = neighbours_of(geometry, n_units, system.name) if "regrow" in models and geometry else None
    sphere = hemispheres = None
    if "spin" in models:
        surface = None if geometry is None else geometry.surface
        if surface is None or surface.sphere is None:
            raise InputError(
                f"the null 'spin' turns the units on a sphere, and {system.name!r} has no surface with a sphere; "
                "use 'regrow' or 'projection', which need positions or distances only"
            )
        sphere, hemispheres = sphere_positions(surface, n_units)
    return Space(distances, neighbours, sphere, hemispheres)


def statistics_of(model: str, space: Space) -> tuple[str, ...]:
    """What a null says something about: ``q``, and where it re-arranges pairs of units ``r`` and ``partial_r``."""
    pairs = ("r",) if space.distances is None else ("r", "partial_r")
    return ("q", *pairs) if model in ("permutation", "spin", "projection") else ("q",)


def null_statistics(
    model: str,
    labels: NDArray[np.intp],
    similarity: Floats,
    connectivity: Floats,
    weights: Weights,
    space: Space,
    *,
    resolution: float,
    n_nulls: int,
    rng: np.random.Generator,
) -> NDArray[np.float64]:
    """The statistics of `statistics_of` under each null; (n_nulls, n_statistics)."""
    from fctoolbox.nulls.moran import moran_labels
    from fctoolbox.nulls.permutation import permutation
    from fctoolbox.nulls.regrow import regrow
    from fctoolbox.nulls.spin import spin
    from fctoolbox.nulls.variogram import variogram

    settings = {"n_nulls": n_nulls, "rng": rng}
    if model in ("permutation", "spin"):
        orders = (
            permutation(np.arange(len(labels)), **settings)
            if model == "permutation"
            else spin(space.sphere, hemispheres=space.hemispheres, **settings)
        )
        edges = EdgeStatistics.of(connectivity, space.distances)
        pairs = [_of_pairs(edges, similarity[np.ix_(order, order)]) for order in orders]
        partitions = labels[orders]
    elif model == "projection":
        modes = projection_modes(weights, distances=space.distances)
        edges = EdgeStatistics.of(connectivity, space.distances)
        pairs, found = [], []
        for _ in range(n_nulls):
            surrogate = modes.similarity(rng)
            pairs.append(_of_pairs(edges, surrogate))
            found.append(detect_communities(surrogate, resolution=resolution, rng=rng, **_OF_PROJECTION).labels)
        partitions = np.stack(found)
    else:
        pairs = [()] * n_nulls
        if labels.max() == 0:  # one module: there is nothing to arrange
            partitions = np.tile(labels, (n_nulls, 1))
        elif model == "variogram":
            partitions = variogram(labels, distances=space.distances, **settings)
        elif model == "moran":
            partitions = moran_labels(labels, distances=space.distances, **settings)
        else:
            partitions = regrow(labels, neighbours=space.neighbours, **settings)
    q = modularities(connectivity, partitions, resolution=resolution)
    return np.column_stack([q, np.array(pairs)])


def _of_pairs(edges: EdgeStatistics, similarity: Floats) -> tuple[float, ...]:
    r = edges.pearson_r(similarity)
    return (r,) if edges.basis is None else (r, edges.partial_r(similarity))
