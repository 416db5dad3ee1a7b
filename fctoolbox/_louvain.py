"""The compiled loops behind communities: they read the matrix where it lies, and never form the quality matrix B.

``B_ij = f(w_ij) - null_weight · p_ij - Σ_r values_r vectors_ir vectors_jr`` with ``f(w) = plus · w`` for positive and
``minus · w`` for negative weights (Rubinov & Sporns 2011 in these terms: `fctoolbox.quality`). Diagonals are never
read. All of them release the interpreter lock, so threads run them side by side; all sums are in double precision.
"""

import numpy as np

from fctoolbox.compiled import REORDERED, compiled

# Gains below this share of Q are rounding; moving for them could go round in circles (bctpy uses the same bound).
GAIN_TOLERANCE = 1e-10


@compiled(inline="always")  # type: ignore[no-untyped-call]
def _pair(matrix, null, i, j, plus, minus, null_weight):  # type: ignore[no-untyped-def]
    """B_ij without its low-rank terms."""
    weight = np.float64(matrix[i, j])
    value = weight * plus if weight > 0 else weight * minus
    if null is not None:  # pruned by the compiler where there is none
        value -= null_weight * null[i, j]
    return value


@compiled(fastmath=REORDERED)  # type: ignore[no-untyped-call]
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


@compiled(fastmath=REORDERED)  # type: ignore[no-untyped-call]
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


@compiled(fastmath=REORDERED)  # type: ignore[no-untyped-call]
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


@compiled()  # type: ignore[no-untyped-call]
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


@compiled(fastmath=REORDERED)  # type: ignore[no-untyped-call]
def fill_table(matrix, null, plus, minus, null_weight, nodes, labels, table, start, stop):  # type: ignore[no-untyped-def]
    """Add ``Σ_{j in c, j != v} B_vj`` (low-rank terms aside) to ``table[c, v]``, over some nodes j.

    For the nodes v from `start` to `stop`.
    """
    width = 1024
    for j0 in range(start, stop, width):
        j1 = min(j0 + width, stop)
        for i in nodes:
            sums = table[labels[i]]
            if j0 <= i < j1:
                for j in range(j0, i):
                    sums[j] += _pair(matrix, null, i, j, plus, minus, null_weight)
                for j in range(i + 1, j1):
                    sums[j] += _pair(matrix, null, i, j, plus, minus, null_weight)
            else:
                for j in range(j0, j1):
                    sums[j] += _pair(matrix, null, i, j, plus, minus, null_weight)


@compiled(fastmath=REORDERED)  # type: ignore[no-untyped-call]
def _row(matrix, null, plus, minus, null_weight, node, values):  # type: ignore[no-untyped-def]
    """B of one node with all others (low-rank terms aside), into `values`: a loop of its own fills vector units."""
    for j in range(len(values)):
        values[j] = _pair(matrix, null, node, j, plus, minus, null_weight)
    values[node] = 0.0


@compiled(fastmath=REORDERED)  # type: ignore[no-untyped-call]
def _shift(values, losing, winning):  # type: ignore[no-untyped-def]
    for j in range(len(values)):
        losing[j] -= values[j]
    for j in range(len(values)):
        winning[j] += values[j]


@compiled()  # type: ignore[no-untyped-call]
def table_pass(  # type: ignore[no-untyped-def]
    matrix, null, plus, minus, null_weight, vectors, values, labels, sizes, mass, table, order
):
    """Visit each node once, as `scan_pass`, with the table of `fill_table` at hand; it is kept up to date.

    A visit costs as many steps as there are modules, and only a move reads a row of the matrix: passes in which
    little moves, the many last ones, are almost free.
    """
    rank = len(values)
    pull, row = np.empty(rank), np.empty(len(labels))
    moves = 0
    for node in order:
        home = labels[node]
        stay = table[home, node]
        for r in range(rank):
            pull[r] = values[r] * vectors[node, r]
            stay -= pull[r] * (mass[r, home] - vectors[node, r])
        best, best_gain = home, GAIN_TOLERANCE / 2
        for module in range(len(sizes)):
            gain = (table[module, node] if sizes[module] > 0 else 0.0) - stay
            for r in range(rank):
                gain -= pull[r] * mass[r, module]
            if gain > best_gain and module != home:
                best, best_gain = module, gain
        if best != home and (sizes[best] > 0 or sizes[home] > 1):
            _move(node, best, vectors, labels, sizes, mass)
            _row(matrix, null, plus, minus, null_weight, node, row)
            _shift(row, table[home], table[best])
            if sizes[home] == 0:
                table[home] = 0.0
            moves += 1
    return moves


@compiled()  # type: ignore[no-untyped-call]
def _move(node, module, vectors, labels, sizes, mass):  # type: ignore[no-untyped-def]
    home = labels[node]
    labels[node] = module
    sizes[home] -= 1
    sizes[module] += 1
    for r in range(len(mass)):
        mass[r, home] = mass[r, home] - vectors[node, r] if sizes[home] > 0 else 0.0
        mass[r, module] += vectors[node, r]


@compiled(fastmath=REORDERED)  # type: ignore[no-untyped-call]
def _gains(sums, mass, pull):  # type: ignore[no-untyped-def]
    """Take the low-rank terms off the sums, in place; the largest of what is left."""
    for r in range(len(pull)):
        weight, column = pull[r], mass[r]
        for module in range(len(sums)):
            sums[module] -= weight * column[module]
    largest = -np.inf
    for module in range(len(sums)):
        largest = max(largest, sums[module])
    return largest


@compiled()  # type: ignore[no-untyped-call]
def scan_pass(  # type: ignore[no-untyped-def]
    matrix, null, plus, minus, null_weight, vectors, values, labels, sizes, mass, order
):
    """Visit each node once and move it where Q gains most; `labels`, `sizes` and `mass` are changed in place.

    A visit reads the node's row of the matrix, and memory for the sums of one row is all that it needs. An empty
    module is a module like any other, with nothing in it: leaving for one is how a new module comes about.

    Parameters
    ----------
    matrix : (n, n) array
    null : (n, n) array or None
    plus, minus, null_weight : float
    vectors : (n, rank) array
    values : (rank,) array
    labels : (n,) integers below n_modules
    sizes : (n_modules,) integers
        Nodes in each module; 0 in empty ones.
    mass : (rank, n_modules) array
        Sum of the vectors of each module.
    order : (n,) integers
        The order of the visits.

    Returns
    -------
    int
        How many nodes moved.
    """
    n, rank = len(labels), len(values)
    pull, row = np.empty(rank), np.empty(n)
    sums = np.empty(len(sizes))
    moves = 0
    for node in order:
        home = labels[node]
        _row(matrix, null, plus, minus, null_weight, node, row)
        sums[:] = 0.0
        for j in range(n):
            sums[labels[j]] += row[j]
        stay = sums[home]
        for r in range(rank):
            pull[r] = values[r] * vectors[node, r]
            stay -= pull[r] * (mass[r, home] - vectors[node, r])
        sums[home] = -1e300
        largest = _gains(sums, mass, pull)
        if largest - stay > GAIN_TOLERANCE / 2:
            best = 0
            while sums[best] != largest:
                best += 1
            if sizes[best] > 0 or sizes[home] > 1:
                _move(node, best, vectors, labels, sizes, mass)
                moves += 1
    return moves


@compiled()  # type: ignore[no-untyped-call]
def gather(matrix, units):  # type: ignore[no-untyped-def]
    """``matrix[np.ix_(units, units)]``, several times faster."""
    chosen = np.empty((len(units), len(units)), matrix.dtype)
    for i in range(len(units)):
        row = matrix[units[i]]
        for j in range(len(units)):
            chosen[i, j] = row[units[j]]
    return chosen


@compiled()  # type: ignore[no-untyped-call]
def between(matrix, null, plus, minus, null_weight, labels, n_modules):  # type: ignore[no-untyped-def]
    """``Σ_{i in a, j in b, i != j} B_ij`` (low-rank terms aside), (n_modules, n_modules)."""
    n = matrix.shape[0]
    sums, row = np.zeros((n_modules, n_modules)), np.empty(n)
    for i in range(n):
        _row(matrix, null, plus, minus, null_weight, i, row)
        own = sums[labels[i]]
        for j in range(n):
            own[labels[j]] += row[j]
    return sums
