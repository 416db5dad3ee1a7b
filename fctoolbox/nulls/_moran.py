"""The compiled loop that turns scores into communities of given sizes."""

# mypy: disable-error-code="untyped-decorator, no-untyped-call, no-untyped-def"

import numpy as np

from fctoolbox.compiled import compiled


@compiled()
def sized_assignment(scores, sizes):
    """The partition with communities of the given sizes whose units' scores have the largest sum.

    A transportation problem, solved exactly by successive shortest paths: every unit starts where it scores most;
    then one unit after another leaves the crowded communities for those with room, along the chain of moves between
    communities that costs least.

    Parameters
    ----------
    scores : (n_communities, n_units) array
    sizes : (n_communities,) integers
        Their sum is n_units.

    Returns
    -------
    (n_units,) integers
    """
    m, n = scores.shape
    labels = np.empty(n, np.int64)
    room = sizes.copy()
    for u in range(n):
        best = 0
        for c in range(1, m):
            if scores[c, u] > scores[best, u]:
                best = c
        labels[u] = best
        room[best] -= 1
    loss = np.empty((m, m))  # of the cheapest move from one community to another
    mover = np.empty((m, m), np.int64)
    stale = np.ones(m, np.bool_)
    distance, before = np.empty(m), np.empty(m, np.int64)
    while room.min() < 0:
        for a in range(m):
            if stale[a]:
                loss[a] = np.inf
        for u in range(n):
            a = labels[u]
            if stale[a]:
                for b in range(m):
                    cost = scores[a, u] - scores[b, u]
                    if b != a and cost < loss[a, b]:
                        loss[a, b], mover[a, b] = cost, u
        stale[:] = False
        for c in range(m):
            distance[c] = 0.0 if room[c] < 0 else np.inf
            before[c] = -1
        for _ in range(m - 1):  # Bellman and Ford: moves may also win
            for a in range(m):
                for b in range(m):
                    # A hair's breadth, so that rounding closes no circle.
                    if room[b] >= 0 and distance[a] + loss[a, b] < distance[b] - 1e-12:
                        distance[b], before[b] = distance[a] + loss[a, b], a
        goal = -1
        for c in range(m):
            if room[c] > 0 and (goal < 0 or distance[c] < distance[goal]):
                goal = c
        room[goal] -= 1
        while before[goal] >= 0:
            a = before[goal]
            labels[mover[a, goal]] = goal
            stale[a], stale[goal] = True, True
            goal = a
        room[goal] += 1
    return labels
