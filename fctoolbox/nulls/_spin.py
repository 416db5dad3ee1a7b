"""The compiled loops behind spins: nearest points of a rotated sphere, and Váša's greedy assignment."""

# mypy: disable-error-code="untyped-decorator, no-untyped-call, no-untyped-def"

import numpy as np

from fctoolbox.compiled import compiled


@compiled()
def nearest_after_rotation(points, rotations, starts, neighbours, sequence, parents, units, orders):
    """Fill ``orders[k, units[v]]`` with the unit whose rotated point is nearest to point v.

    The nearest of points on a unit sphere has the largest scalar product, so it solves a linear programme over their
    convex hull: from any vertex, going to the best neighbour along the hull's edges until none is better ends at
    the nearest point, exactly. The walk begins where that of a neighbour of v ended, a step or two away.

    Parameters
    ----------
    points : (n, 3) array
        Of length 1.
    rotations : (n_nulls, 3, 3) array
    starts, neighbours : (n + 1,) and (n_edges,) integers
        The hull's edges, as in a CSR matrix.
    sequence, parents : (n,) integers
        The points in an order in which each comes after its parent; the first has a parent of -1 or less.
    units : (n,) integers
    orders : (n_nulls, n_units) integers
    """
    n = len(points)
    found = np.empty(n, np.int64)
    for k in range(len(rotations)):
        r = rotations[k]
        for v in sequence:
            x, y, z = points[v, 0], points[v, 1], points[v, 2]
            # Rather than all points, the one that asks is rotated, backwards.
            qx = r[0, 0] * x + r[1, 0] * y + r[2, 0] * z
            qy = r[0, 1] * x + r[1, 1] * y + r[2, 1] * z
            qz = r[0, 2] * x + r[1, 2] * y + r[2, 2] * z
            here = found[parents[v]] if parents[v] >= 0 else v
            best = qx * points[here, 0] + qy * points[here, 1] + qz * points[here, 2]
            while True:
                there = here
                for e in range(starts[here], starts[here + 1]):
                    w = neighbours[e]
                    product = qx * points[w, 0] + qy * points[w, 1] + qz * points[w, 2]
                    if product > best:
                        best, there = product, w
                if there == here:
                    break
                here = there
            found[v] = here
            orders[k, units[v]] = units[here]


@compiled()
def farthest_first(costs):
    """Váša's assignment: again and again, the row whose cheapest free column is dearest takes that column.

    Parameters
    ----------
    costs : (n, n) array

    Returns
    -------
    (n,) integers
        The column of each row; each column once.
    """
    n = len(costs)
    column_of = np.full(n, -1)
    taken = np.zeros(n, np.bool_)
    cheapest = np.empty(n, np.int64)
    for i in range(n):
        cheapest[i] = np.argmin(costs[i])
    for _ in range(n):
        row, dearest = -1, -1.0
        for i in range(n):
            if column_of[i] < 0 and costs[i, cheapest[i]] > dearest:
                row, dearest = i, costs[i, cheapest[i]]
        column = cheapest[row]
        column_of[row], taken[column] = column, True
        for i in range(n):
            if column_of[i] < 0 and cheapest[i] == column:
                best = -1
                for j in range(n):
                    if not taken[j] and (best < 0 or costs[i, j] < costs[i, best]):
                        best = j
                cheapest[i] = best
    return column_of
