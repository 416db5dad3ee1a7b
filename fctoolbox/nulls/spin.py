"""The null that turns the cortical sphere: where the units lie is random, how they lie to each other is not."""

from collections.abc import Callable, Sequence
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fctoolbox.errors import InputError, check_whole, listed, suggestion
from fctoolbox.nulls.distances import directions_on_sphere, members
from fctoolbox.randomness import generator
from fctoolbox.system import Floats, Surface
from fctoolbox.threads import blocks, in_threads, n_threads

Assignment = Literal["hungarian", "vasa", "nearest"]

_MIRROR = np.diag([-1.0, 1.0, 1.0])
MOST_ASSIGNED = 10_000  # units of a hemisphere: the costs of more fill gigabytes, and one null takes minutes
_BLOCK = 8  # rotations
_SPREAD = 1e-6  # shortest mean of a unit's directions: below it the unit surrounds the sphere and has no centre


def spin(
    sphere: ArrayLike,
    *,
    hemispheres: Sequence[str] | None = None,
    cortex: ArrayLike | None = None,
    n_nulls: int,
    rng: int | np.random.Generator | None = None,
    assignment: Assignment = "hungarian",
    n_jobs: int = 1,
) -> NDArray[np.int32]:
    """Random rotations of the sphere, as the unit whose value lands on each unit.

    ``values[orders]`` are the nulls of any values: labels, maps of numbers, or both axes of a matrix. Smoothness and
    contiguity stay as they are, up to the assignment of rotated to unrotated units, which with few and unequal parcels
    costs much of them (Yeo's networks on 119 Glasser areas: 0.50 of an area's five nearest neighbours share its label;
    nearest 0.49, hungarian 0.37, vasa 0.34, shuffled 0.15). The null asks whether the match
    with the other map depends on *where* on the sphere the values lie.

    **Medial wall.** Units that are not cortex never give a value and never receive one (``orders[k, i] == i`` there).
    With ``"nearest"`` a cortical unit on which the rotated wall would land takes the value of the cortical unit that
    is nearest in the rotated sphere: the wall is filled from its rim. With the two other assignments the values that
    land in the wall are given to the cortical units left free. No value is missing, and none comes from the wall.

    Parameters
    ----------
    sphere : (n_units, 3) array
        Vertices of the spherical surface, or parcels' centres on it (`sphere_positions`); around the origin.
    hemispheres : sequence of "left" or "right", optional
        Of each unit (`unit_hemispheres`). The right hemisphere's rotation mirrors the left's at x = 0, so that the
        symmetry of the two is kept, and values stay in their hemisphere. Left out, all units lie on one sphere.
    cortex : (n_units,) booleans, optional
        False for the medial wall; all units are cortex when left out.
    n_nulls : int
    rng : int, Generator or None
    assignment : {"hungarian", "vasa", "nearest"}
        ``"hungarian"``: each unit's value is used once, at the least sum of distances. ``"vasa"``: each once, where
        the unit whose nearest rotated unit is farthest chooses first. Both keep module sizes, for up to 10,000 units
        a hemisphere. ``"nearest"``: the nearest rotated unit, exactly; some values come twice and others
        never, so **sizes change**; for vertices.
    n_jobs : int
        Threads; the result does not depend on it. (``"hungarian"`` gains little from more than one.)

    Returns
    -------
    (n_nulls, n_units) integers
        ``orders[k, i]``: the unit whose value lands on unit i.

    Raises
    ------
    InputError
        If the positions do not lie on a sphere, an argument does not fit them, or there are too many units.

    References
    ----------
    Alexander-Bloch et al. 2018, NeuroImage 178:540 (rotations, nearest, mirrored hemispheres); Váša et al. 2018,
    Cerebral Cortex 28:281 (vasa); Markello & Misic 2021, NeuroImage 236:118052 (hungarian; a comparison).
    """
    check_whole("n_nulls", n_nulls, 1)
    turns = random_rotations(n_nulls, rng=rng)
    return spin_by(turns, sphere, hemispheres=hemispheres, cortex=cortex, assignment=assignment, n_jobs=n_jobs)


def random_rotations(n: int, *, rng: int | np.random.Generator | None = None) -> NDArray[np.float64]:
    """Rotations of space, each as likely as any other (the Haar measure of SO(3)).

    Parameters
    ----------
    n : int
    rng : int, Generator or None

    Returns
    -------
    (n, 3, 3) array

    References
    ----------
    Shoemake 1992, Graphics Gems III, p. 124: quaternions that are uniform on the 3-sphere rotate uniformly.
    """
    quaternions = generator(rng).standard_normal((n, 4))
    w, x, y, z = (quaternions / np.linalg.norm(quaternions, axis=1, keepdims=True)).T
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]
    return np.moveaxis(np.array(rows), -1, 0)


def spin_by(
    rotations: Floats,
    sphere: ArrayLike,
    *,
    hemispheres: Sequence[str] | None = None,
    cortex: ArrayLike | None = None,
    assignment: Assignment = "hungarian",
    n_jobs: int = 1,
) -> NDArray[np.int32]:
    """Where given rotations of the left hemisphere bring the units; see `spin`.

    Parameters
    ----------
    rotations : (n_nulls, 3, 3) array
        ``rotations[k] @ position`` is where null k brings a unit of the left hemisphere, or of the only sphere.
    sphere, hemispheres, cortex, assignment, n_jobs
        As for `spin`.

    Returns
    -------
    (n_nulls, n_units) integers
    """
    points = directions_on_sphere(sphere)
    n_units = len(points)
    mirrored = _right_of(hemispheres, n_units)
    used = _cortex_of(cortex, n_units)
    if assignment not in get_args(Assignment):
        raise InputError(
            f"no assignment named {assignment!r}.{suggestion(str(assignment), get_args(Assignment))} "
            f"There are: {', '.join(get_args(Assignment))}."
        )
    turns: NDArray[np.float64] = np.ascontiguousarray(rotations, dtype=np.float64)
    if turns.ndim != 3 or turns.shape[1:] != (3, 3):
        raise InputError(f"the rotations have shape {turns.shape}; they need (n_nulls, 3, 3)")
    orders = np.tile(np.arange(n_units, dtype=np.int32), (len(turns), 1))
    for side, own in ((used & ~mirrored, turns), (used & mirrored, _MIRROR @ turns @ _MIRROR)):
        units = np.flatnonzero(side)
        if len(units):
            task = _task(assignment, points[units], own, units, orders)
            for _ in in_threads(task, blocks(len(turns), _BLOCK), n_threads(n_jobs), "spins"):
                pass
    return orders


def sphere_positions(surface: Surface, n_units: int) -> NDArray[np.float64]:
    """The centre of each unit on the spherical surface.

    It is the mean direction of the unit's vertices, at the sphere's radius. (The mean of the vertices themselves
    lies within the sphere, the deeper the larger the unit, and would give large parcels a wrong distance to all.)

    Parameters
    ----------
    surface : Surface
        With a sphere.
    n_units : int

    Returns
    -------
    (n_units, 3) array
        In the units of the sphere.

    Raises
    ------
    InputError
        If the surface has no sphere, or a unit no vertex or no centre.
    """
    if surface.sphere is None:
        raise InputError("a spin needs the spherical surface, and this surface has none: add `sphere` to it")
    inside, unit_of_vertex = members(surface, n_units)
    sphere = np.asarray(surface.sphere, dtype=np.float64)
    directions = directions_on_sphere(sphere)[inside]
    sums = np.stack([np.bincount(unit_of_vertex, axis, minlength=n_units) for axis in directions.T], axis=1)
    means = sums / np.bincount(unit_of_vertex, minlength=n_units)[:, None]
    lengths = np.linalg.norm(means, axis=1)
    if len(centreless := np.flatnonzero(lengths < _SPREAD)):
        raise InputError(f"units {listed(centreless)} surround the whole sphere, so they have no centre on it")
    radius = float(np.linalg.norm(sphere, axis=1).mean())
    return np.asarray(radius * means / lengths[:, None])


def unit_hemispheres(surface: Surface, n_units: int) -> tuple[str, ...]:
    """The hemisphere of each unit: that of its vertices, or, where the surface does not say, of their mean x.

    Parameters
    ----------
    surface : Surface
    n_units : int

    Returns
    -------
    tuple of "left" or "right"

    Raises
    ------
    InputError
        If a unit has no vertex, or vertices in both hemispheres.
    """
    inside, unit_of_vertex = members(surface, n_units)
    if surface.hemispheres is None:
        along = np.asarray(surface.vertices[inside, 0], dtype=np.float64)
        rightness = np.sign(np.bincount(unit_of_vertex, along, minlength=n_units))
    else:
        side = np.where(np.array(surface.hemispheres)[inside] == "right", 1.0, -1.0)
        rightness = np.bincount(unit_of_vertex, side, minlength=n_units) / np.bincount(unit_of_vertex)
        if len(both := np.flatnonzero(np.abs(rightness) < 1)):
            raise InputError(f"units {listed(both)} have vertices in both hemispheres; a spin needs them apart")
    return tuple("right" if each >= 0 else "left" for each in rightness)


def _task(
    assignment: Assignment,
    points: NDArray[np.float64],
    turns: NDArray[np.float64],
    units: NDArray[np.intp],
    orders: NDArray[np.int32],
) -> Callable[[slice], None]:
    """What writes some rows of `orders`, for the units of one hemisphere."""
    if assignment == "nearest":
        return _nearest_task(points, turns, units, orders)
    if len(units) > MOST_ASSIGNED:
        raise InputError(
            f"the assignment '{assignment}' is for up to {MOST_ASSIGNED:,} units of a hemisphere, and there are "
            f"{len(units):,}; use 'nearest' for vertices, or the null 'regrow' where sizes must be kept"
        )
    solve = _columns_hungarian if assignment == "hungarian" else _columns_vasa

    def assign(rows: slice) -> None:
        from scipy.spatial.distance import cdist

        for k in range(rows.start, rows.stop):
            orders[k, units] = units[solve(cdist(points, points @ turns[k].T))]

    return assign


def _nearest_task(
    points: NDArray[np.float64], turns: NDArray[np.float64], units: NDArray[np.intp], orders: NDArray[np.int32]
) -> Callable[[slice], None]:
    from scipy.sparse.csgraph import breadth_first_order

    from fctoolbox.nulls._spin import nearest_after_rotation

    hull = _hull(points)
    if hull is None:
        return _tree_task(points, turns, units, orders)
    sequence, parents = breadth_first_order(hull, 0, directed=False)

    def walk(rows: slice) -> None:
        nearest_after_rotation(points, turns[rows], hull.indptr, hull.indices, sequence, parents, units, orders[rows])

    return walk


def _tree_task(
    points: NDArray[np.float64], turns: NDArray[np.float64], units: NDArray[np.intp], orders: NDArray[np.int32]
) -> Callable[[slice], None]:
    from scipy.spatial import cKDTree

    tree = cKDTree(points)

    def search(rows: slice) -> None:
        for k in range(rows.start, rows.stop):
            orders[k, units] = units[tree.query(points @ turns[k])[1]]

    return search


def _hull(points: NDArray[np.float64]) -> Any:
    """The edges of the convex hull; None if they do not join all points (too few, in a plane, or at one place)."""
    from scipy.sparse import coo_array
    from scipy.spatial import ConvexHull, QhullError

    if len(points) < 4:
        return None
    try:
        hull = ConvexHull(points)
    except QhullError:
        return None
    if len(hull.vertices) < len(points):
        return None
    a, b, c = hull.simplices.T
    edges = (np.concatenate([a, b, c]), np.concatenate([b, c, a]))
    one_way = coo_array((np.ones(len(edges[0])), edges), shape=(len(points),) * 2).tocsr()
    return (one_way + one_way.T).tocsr()


def _columns_hungarian(costs: NDArray[np.float64]) -> NDArray[np.intp]:
    from scipy.optimize import linear_sum_assignment

    columns: NDArray[np.intp] = linear_sum_assignment(costs)[1]
    return columns


def _columns_vasa(costs: NDArray[np.float64]) -> NDArray[np.intp]:
    from fctoolbox.nulls._spin import farthest_first

    columns: NDArray[np.intp] = farthest_first(costs)
    return columns


def _right_of(hemispheres: Sequence[str] | None, n_units: int) -> NDArray[np.bool_]:
    if hemispheres is None:
        return np.zeros(n_units, dtype=bool)
    sides = np.array(list(map(str, hemispheres)))
    if len(sides) != n_units:
        raise InputError(f"hemispheres has {len(sides)} entries, but the sphere has {n_units} units")
    if strange := sorted(set(sides.tolist()) - {"left", "right"}):
        raise InputError(f"hemispheres holds {listed(map(repr, strange))}; it may hold 'left' and 'right'")
    return np.asarray(sides == "right")


def _cortex_of(cortex: ArrayLike | None, n_units: int) -> NDArray[np.bool_]:
    if cortex is None:
        return np.ones(n_units, dtype=bool)
    mask = np.asarray(cortex)
    if mask.shape != (n_units,) or mask.dtype != bool:
        raise InputError(
            f"cortex has shape {mask.shape} and holds {mask.dtype.name}; it needs True or False for each of the "
            f"{n_units} units"
        )
    if not mask.any():
        raise InputError("cortex is False for every unit, so there is nothing to spin")
    return mask
