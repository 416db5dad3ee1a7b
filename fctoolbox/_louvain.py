"""The one compiled loop: each node in turn goes to the module where it adds most."""

import numpy as np
from numba import njit

# Gains below this are rounding; moving for them could go round in circles (bctpy uses the same bound).
GAIN_TOLERANCE = 1e-10


def _compiled(function):  # type: ignore[no-untyped-def]
    try:
        return njit(cache=True, nogil=True)(function)
    except RuntimeError:  # no folder that the compiled code could be kept in: it is compiled anew in each process
        return njit(nogil=True)(function)


@_compiled
def move_nodes(quality, labels, order):  # type: ignore[no-untyped-def]
    """Visit each node once and move it where Q gains most; `labels` is changed in place.

    Parameters
    ----------
    quality : (n, n) array
        Symmetric B, with ``Q = sum_ij B_ij [c_i = c_j]``.
    labels : (n,) integers in 0 … n - 1
    order : (n,) integers
        The order of the visits.

    Returns
    -------
    int
        How many nodes moved.
    """
    n = len(labels)
    sizes = np.zeros(n, dtype=np.int64)
    for label in labels:
        sizes[label] += 1
    to_module = np.zeros(n)
    moves = 0
    for node in order:
        home = labels[node]
        to_module[:] = 0.0
        for other in range(n):
            to_module[labels[other]] += quality[node, other]
        stay = to_module[home] - quality[node, node]
        best, best_gain = home, GAIN_TOLERANCE / 2
        empty = -1
        for module in range(n):
            if sizes[module] == 0:
                empty = module
            elif module != home and to_module[module] - stay > best_gain:
                best, best_gain = module, to_module[module] - stay
        if empty >= 0 and sizes[home] > 1 and -stay > best_gain:
            best = empty
        if best != home:
            labels[node] = best
            sizes[home] -= 1
            sizes[best] += 1
            moves += 1
    return moves
