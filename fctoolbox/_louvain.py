"""The compiled loops behind communities: they read the matrix where it lies, and never form the quality matrix B.

``B_ij = f(w_ij) - null_weight · p_ij - Σ_r values_r vectors_ir vectors_jr`` with ``f(w) = plus · w`` for positive and
``minus · w`` for negative weights (Rubinov & Sporns 2011 in these terms: `fctoolbox.quality`). Diagonals are never
read. All of them release the interpreter lock, so threads run them side by side; all sums are in double precision.
"""

import numpy as np
from numba import njit

# Gains below this share of Q are rounding; moving for them could go round in circles (bctpy uses the same bound).
GAIN_TOLERANCE = 1e-10
# Sums may be taken in another order (vector units), but NaN and infinity keep their meaning.
_REORDERED = {"reassoc", "contract", "nsz", "arcp"}


def _compiled(**options):  # type: ignore[no-untyped-def]
    def compiled(function):  # type: ignore[no-untyped-def]
        try:
            return njit(cache=True, nogil=True, **options)(function)
        except RuntimeError:  # no folder that compiled code could be kept in: it is compiled anew in each process
            return njit(nogil=True, **options)(function)

    return compiled


@_compiled(inline="always")  # type: ignore[no-untyped-call]
def _pair(matrix, null, i, j, plus, minus, null_weight):  # type: ignore[no-untyped-def]
    """B_ij without its low-rank terms."""
    weight = np.float64(matrix[i, j])
    value = weight * plus if weight > 0 else weight * minus
    if null is not None:  # pruned by the compiler where there is none
        value -= null_weight * null[i, j]
    return value


@_compiled(fastmath=_REORDERED)  # type: ignore[no-untyped-call]
def strengths(matrix, start, stop, positive, negative):  # type: ignore[no-untyped-def]
    """Sums of the positive and negative weights of rows `start` to `stop`, written into (n,) arrays.

    A row with NaN or infinity gets a sum that is not finite.
    """
    n = matrix.shape[0]
    for i in range(start, stop):
        above, below = 0.0, 0.0
        for j in range(n):
            weight = np.float64(matrix[i, j]) if j != i else 0.0
            above += weight if weight > 0 else 0.0
            below -= 0.0 if weight > 0 else weight  # NaN is not above 0
        positive[i] = above
        negative[i] = below


@_compiled(fastmath=_REORDERED)  # type: ignore[no-untyped-call]
def asymmetry(matrix, top, left, size):  # type: ignore[no-untyped-def]
    """Largest ``|a_ij - a_ji|`` and largest ``|a_ij|`` of one block of `size` rows and columns."""
    n = matrix.shape[0]
    bottom, right = min(top + size, n), min(left + size, n)
    apart, scale = 0.0, 0.0
    height, width = 16, 64  # of the tiles that are compared, each with its mirror image, in the fastest cache
    for j0 in range(left, right, width):
        for i0 in range(top, bottom, height):
            for j in range(j0, min(j0 + width, right)):
                for i in range(i0, min(i0 + height, bottom, j)):
                    one, other = np.float64(matrix[j, i]), np.float64(matrix[i, j])
                    apart = max(apart, abs(one - other))
                    scale = max(scale, abs(one))
    return apart, scale


@_compiled(fastmath=_REORDERED)  # type: ignore[no-untyped-call]
def within(matrix, null, plus, minus, null_weight, partitions, start, stop, sums):  # type: ignore[no-untyped-def]
    """Add ``Σ_{i<j} B_ij [c_i = c_j]`` of rows `start` to `stop`, for each partition, to `sums`.

    A tile of the matrix is read once for all partitions.
    """
    n = matrix.shape[0]
    height, width = 16, 256
    tile = np.empty((height, width))
    for i0 in range(start, stop, height):
        i1 = min(i0 + height, stop)
        for j0 in range(i0, n, width):
            j1 = min(j0 + width, n)
            for i in range(i0, i1):
                for j in range(j0, j1):
                    tile[i - i0, j - j0] = _pair(matrix, null, i, j, plus, minus, null_weight) if j > i else 0.0
            for k in range(len(partitions)):
                labels = partitions[k, j0:j1]
                total = 0.0
                for i in range(i1 - i0):
                    own = partitions[k, i0 + i]
                    values = tile[i]
                    for j in range(j1 - j0):
                        total += values[j] if labels[j] == own else 0.0
                sums[k] += total


@_compiled()  # type: ignore[no-untyped-call]
def null_sums(partitions, vectors, values):  # type: ignore[no-untyped-def]
    """``Σ_c Σ_r values_r (Σ_{i in c} vectors_ir)²`` of each partition."""
    sums = np.zeros(len(partitions))
    n, rank = vectors.shape
    for k in range(len(partitions)):
        mass = np.zeros((partitions[k].max() + 1, rank))
        for i in range(n):
            for r in range(rank):
                mass[partitions[k, i], r] += vectors[i, r]
        for r in range(rank):
            for c in range(len(mass)):
                sums[k] += values[r] * mass[c, r] ** 2
    return sums


@_compiled(fastmath=_REORDERED)  # type: ignore[no-untyped-call]
def fill_table(matrix, null, plus, minus, null_weight, labels, table, start, stop):  # type: ignore[no-untyped-def]
    """``table[c, v] = Σ_{j in c, j != v} B_vj`` (low-rank terms aside) for the nodes `start` to `stop`."""
    n = matrix.shape[0]
    width = 1024
    for j0 in range(start, stop, width):
        j1 = min(j0 + width, stop)
        table[:, j0:j1] = 0.0
        for i in range(n):
            sums = table[labels[i]]
            if j0 <= i < j1:
                for j in range(j0, i):
                    sums[j] += _pair(matrix, null, i, j, plus, minus, null_weight)
                for j in range(i + 1, j1):
                    sums[j] += _pair(matrix, null, i, j, plus, minus, null_weight)
            else:
                for j in range(j0, j1):
                    sums[j] += _pair(matrix, null, i, j, plus, minus, null_weight)


@_compiled(fastmath=_REORDERED)  # type: ignore[no-untyped-call]
def _shift(matrix, null, plus, minus, null_weight, node, losing, winning):  # type: ignore[no-untyped-def]
    for j in range(node):
        value = _pair(matrix, null, node, j, plus, minus, null_weight)
        losing[j] -= value
        winning[j] += value
    for j in range(node + 1, matrix.shape[0]):
        value = _pair(matrix, null, node, j, plus, minus, null_weight)
        losing[j] -= value
        winning[j] += value


@_compiled()  # type: ignore[no-untyped-call]
def table_pass(  # type: ignore[no-untyped-def]
    matrix, null, plus, minus, null_weight, vectors, values, labels, sizes, mass, table, order
):
    """Visit each node once, as `scan_pass`, with the table of `fill_table` at hand; it is kept up to date.

    A visit costs as many steps as there are modules, and only a move reads a row of the matrix: passes in which
    little moves, the many last ones, are almost free.
    """
    rank = len(values)
    pull = np.empty(rank)
    moves = 0
    for node in order:
        home = labels[node]
        stay = table[home, node]
        for r in range(rank):
            pull[r] = values[r] * vectors[node, r]
            stay -= pull[r] * (mass[home, r] - vectors[node, r])
        best, best_gain, empty = home, GAIN_TOLERANCE / 2, -1
        for module in range(len(table)):
            if sizes[module] == 0:
                empty = module
                continue
            gain = table[module, node] - stay
            for r in range(rank):
                gain -= pull[r] * mass[module, r]
            if gain > best_gain and module != home:
                best, best_gain = module, gain
        if empty >= 0 and sizes[home] > 1 and -stay > best_gain:
            best = empty
        if best != home:
            labels[node] = best
            sizes[home] -= 1
            sizes[best] += 1
            for r in range(rank):
                mass[home, r] -= vectors[node, r]
                mass[best, r] += vectors[node, r]
            _shift(matrix, null, plus, minus, null_weight, node, table[home], table[best])
            moves += 1
    return moves


@_compiled()  # type: ignore[no-untyped-call]
def scan_pass(  # type: ignore[no-untyped-def]
    matrix, null, plus, minus, null_weight, vectors, values, labels, sizes, mass, order
):
    """Visit each node once and move it where Q gains most; `labels`, `sizes` and `mass` are changed in place.

    A visit reads the node's row of the matrix, and memory for the sums of one row is all that it needs.

    Parameters
    ----------
    matrix : (n, n) array
    null : (n, n) array or None
    plus, minus, null_weight : float
    vectors : (n, rank) array
    values : (rank,) array
    labels : (n,) integers in 0 … n - 1
    sizes : (n,) integers
        Nodes in each module; as many entries as nodes, so that a move into an empty module finds one.
    mass : (n, rank) array
        Sum of the vectors of each module.
    order : (n,) integers
        The order of the visits.

    Returns
    -------
    int
        How many nodes moved.
    """
    n, rank = len(labels), len(values)
    pull = np.empty(rank)
    sums = np.zeros(n)
    # The modules in use, in a list that an emptied one leaves at once; `place` is where each of them stands.
    used, place, spare, n_used, n_spare = np.empty(n, np.int64), np.empty(n, np.int64), np.empty(n, np.int64), 0, 0
    for module in range(n - 1, -1, -1):
        if sizes[module] > 0:
            used[n_used], place[module] = module, n_used
            n_used += 1
        else:
            spare[n_spare] = module
            n_spare += 1
    moves = 0
    for node in order:
        home = labels[node]
        for j in range(node):
            sums[labels[j]] += _pair(matrix, null, node, j, plus, minus, null_weight)
        for j in range(node + 1, n):
            sums[labels[j]] += _pair(matrix, null, node, j, plus, minus, null_weight)
        stay = sums[home]
        for r in range(rank):
            pull[r] = values[r] * vectors[node, r]
            stay -= pull[r] * (mass[home, r] - vectors[node, r])
        best, best_gain = home, GAIN_TOLERANCE / 2
        for k in range(n_used):
            module = used[k]
            gain = sums[module] - stay
            for r in range(rank):
                gain -= pull[r] * mass[module, r]
            if gain > best_gain and module != home:
                best, best_gain = module, gain
            sums[module] = 0.0
        if sizes[home] > 1 and -stay > best_gain:  # then fewer than n modules are in use, and one is spare
            n_spare -= 1
            best = spare[n_spare]
            used[n_used], place[best] = best, n_used
            n_used += 1
        if best != home:
            labels[node] = best
            sizes[home] -= 1
            sizes[best] += 1
            for r in range(rank):
                mass[home, r] -= vectors[node, r]
                mass[best, r] += vectors[node, r]
            if sizes[home] == 0:
                n_used -= 1
                last = used[n_used]
                used[place[home]], place[last] = last, place[home]
                spare[n_spare] = home
                n_spare += 1
            moves += 1
    return moves


@_compiled()  # type: ignore[no-untyped-call]
def between(matrix, null, plus, minus, null_weight, labels, n_modules):  # type: ignore[no-untyped-def]
    """``Σ_{i in a, j in b, i != j} B_ij`` (low-rank terms aside), (n_modules, n_modules)."""
    n = matrix.shape[0]
    sums = np.zeros((n_modules, n_modules))
    for i in range(n):
        own = sums[labels[i]]
        for j in range(i):
            own[labels[j]] += _pair(matrix, null, i, j, plus, minus, null_weight)
        for j in range(i + 1, n):
            own[labels[j]] += _pair(matrix, null, i, j, plus, minus, null_weight)
    return sums
