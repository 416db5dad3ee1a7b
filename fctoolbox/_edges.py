"""The compiled loops over pairs of units: they read the matrices where they lie, and make nothing n × n.

All of them release the interpreter lock, so that threads run them side by side. Diagonals are never read, but for
pairs of a rearranged matrix that have the same source, which `take_repeats_off` removes again.
"""

import numpy as np

from fctoolbox.compiled import REORDERED, compiled

CLASSES = 256  # of distance: a byte
SUMMED = 1024  # values that are summed in single precision, where the matrices are of that
LANES = 8  # rows that share one reading of an order
GRID = 1_000_000  # steps per unit of the grid on which values are ranked
SLACK = 1e-4 * GRID  # of a correlation that rounding has brought beyond 1


@compiled(fastmath=REORDERED | {"nnan"})  # type: ignore[no-untyped-call]
def farthest(positions, start, stop):  # type: ignore[no-untyped-def]
    """Largest squared distance of the units from `start` to `stop` to any later one; positions are (3, n)."""
    x, y, z = positions[0], positions[1], positions[2]
    largest = np.float32(0)
    for i in range(start, stop):
        for j in range(i + 1, positions.shape[1]):
            across, along, up = x[i] - x[j], y[i] - y[j], z[i] - z[j]
            largest = max(largest, across * across + along * along + up * up)
    return largest


@compiled(fastmath=REORDERED)  # type: ignore[no-untyped-call]
def _classes(positions, scale, i, left, right, found):  # type: ignore[no-untyped-def]
    """The distance class of unit i with the units from `left` to `right`."""
    x, y, z = positions[0], positions[1], positions[2]
    for j in range(left, right):
        across, along, up = x[i] - x[j], y[i] - y[j], z[i] - z[j]
        found[j - left] = np.uint8(np.int32(np.sqrt(across * across + along * along + up * up) * scale))


@compiled(fastmath=REORDERED)  # type: ignore[no-untyped-call]
def moments(  # type: ignore[no-untyped-def]
    similarity, connectivity, positions, scale, centre_s, centre_f, top, left, sums, extremes
):
    """Add the sums of one tile's pairs (i < j) to those of their distance classes.

    Parameters
    ----------
    similarity : (height, width) array
        The tile; its corner is the pair (top, left).
    connectivity : (n, n) array
    positions : (3, n) array or None
        None puts all pairs into the first class.
    scale : float
        Classes per mm.
    centre_s, centre_f : float
        Taken off the values, so that little is lost where they are large beside their spread.
    sums : (CLASSES, 6) array
        Of 1, s, f, s², f² and s f.
    extremes : (2,) array
        Smallest and largest s, as far as they are known.
    """
    height, width = similarity.shape
    apart = np.zeros(width, np.uint8)
    low, high = extremes
    for a in range(height):
        i = top + a
        first = max(i + 1 - left, 0)
        if positions is not None:  # pruned by the compiler where there are none
            _classes(positions, scale, i, left + first, left + width, apart[first:])
        one, other = similarity[a], connectivity[i]
        for b in range(first, width):
            s, f = np.float64(one[b]) - centre_s, np.float64(other[left + b]) - centre_f
            low, high = s if s < low else low, s if s > high else high
            own = sums[apart[b]]
            own[0] += 1.0
            own[1] += s
            own[2] += f
            own[3] += s * s
            own[4] += f * f
            own[5] += s * f
    extremes[0], extremes[1] = low, high


@compiled()  # type: ignore[no-untyped-call]
def _cell(value):  # type: ignore[no-untyped-def]
    """The cell of a value in [-1, 1] on the grid (rounding beyond it allowed); -1 for any other, NaN included."""
    place = (np.float64(value) + 1.0) * GRID + 0.5
    if not -SLACK <= place <= 2.0 * GRID + SLACK:
        return np.int64(-1)
    return np.int64(min(max(place, 0.0), 2.0 * GRID))


@compiled()  # type: ignore[no-untyped-call]
def count_cells(matrix, start, stop, counts):  # type: ignore[no-untyped-def]
    """Count the pairs (i < j) of rows `start` to `stop` in each cell of the grid; how many lie beyond it."""
    beyond = 0
    for i in range(start, stop):
        row = matrix[i]
        for j in range(i + 1, len(row)):
            cell = _cell(row[j])
            if cell < 0:
                beyond += 1
            else:
                counts[cell] += 1
    return beyond


@compiled(fastmath=REORDERED)  # type: ignore[no-untyped-call]
def rank_products(  # type: ignore[no-untyped-def]
    similarity, connectivity, ranks_s, ranks_f, bins_s, bins_f, start, stop, joint
):
    """Sum of the products of two ranks, over the pairs of some rows; and the pairs counted in a joint histogram.

    `ranks_s` and `ranks_f` give the rank of each cell of the grid, `bins_s` and `bins_f` its place in the histogram.
    """
    total = 0.0
    for i in range(start, stop):
        one, other = similarity[i], connectivity[i]
        for j in range(i + 1, len(one)):
            s, f = _cell(one[j]), _cell(other[j])
            total += ranks_s[s] * ranks_f[f]
            joint[bins_s[s], bins_f[f]] += 1
    return total


@compiled(fastmath=REORDERED)  # type: ignore[no-untyped-call]
def _interleave(matrix, rows, centre, left, buffer):  # type: ignore[no-untyped-def]
    """Eight rows of a matrix, from column `left`, side by side: a column of theirs is then one reading."""
    a, b, c, d = matrix[rows[0]], matrix[rows[1]], matrix[rows[2]], matrix[rows[3]]
    e, f, g, h = matrix[rows[4]], matrix[rows[5]], matrix[rows[6]], matrix[rows[7]]
    for j in range(left, matrix.shape[1]):
        own = buffer[j]
        own[0], own[1], own[2], own[3] = a[j] - centre, b[j] - centre, c[j] - centre, d[j] - centre
        own[4], own[5], own[6], own[7] = e[j] - centre, f[j] - centre, g[j] - centre, h[j] - centre


@compiled(fastmath=REORDERED)  # type: ignore[no-untyped-call]
def _products(one, order, other, kinds, left, right, sums, tables):  # type: ignore[no-untyped-def]
    """Add Σ s, Σ s² and Σ s f over the columns from `left` to `right`; and Σ s of each lane and class to `tables`.

    Written out lane by lane: the compiler makes one vector of the eight, which it does not of a loop.
    """
    zero = one[0, 0] - one[0, 0]
    a1, b1, c1, d1, e1, f1, g1, h1 = zero, zero, zero, zero, zero, zero, zero, zero
    a2, b2, c2, d2, e2, f2, g2, h2 = zero, zero, zero, zero, zero, zero, zero, zero
    a3, b3, c3, d3, e3, f3, g3, h3 = zero, zero, zero, zero, zero, zero, zero, zero
    for j in range(left, right):
        s, t = one[order[j]], other[j]
        a, b, c, d, e, f, g, h = s[0], s[1], s[2], s[3], s[4], s[5], s[6], s[7]
        if kinds is not None:  # pruned by the compiler where there are none
            k = kinds[j]
            tables[0, k[0]] += a
            tables[1, k[1]] += b
            tables[2, k[2]] += c
            tables[3, k[3]] += d
            tables[4, k[4]] += e
            tables[5, k[5]] += f
            tables[6, k[6]] += g
            tables[7, k[7]] += h
        a1, b1, c1, d1, e1, f1, g1, h1 = a1 + a, b1 + b, c1 + c, d1 + d, e1 + e, f1 + f, g1 + g, h1 + h
        a2, b2, c2, d2 = a2 + a * a, b2 + b * b, c2 + c * c, d2 + d * d
        e2, f2, g2, h2 = e2 + e * e, f2 + f * f, g2 + g * g, h2 + h * h
        a3, b3, c3, d3 = a3 + a * t[0], b3 + b * t[1], c3 + c * t[2], d3 + d * t[3]
        e3, f3, g3, h3 = e3 + e * t[4], f3 + f * t[5], g3 + g * t[6], h3 + h * t[7]
    for one_sum in (a1, b1, c1, d1, e1, f1, g1, h1):
        sums[0] += one_sum
    for one_sum in (a2, b2, c2, d2, e2, f2, g2, h2):
        sums[1] += one_sum
    for one_sum in (a3, b3, c3, d3, e3, f3, g3, h3):
        sums[2] += one_sum


@compiled(fastmath=REORDERED)  # type: ignore[no-untyped-call]
def spun_sums(  # type: ignore[no-untyped-def]
    similarity, connectivity, positions, scale, orders, centre_s, centre_f, start, stop, sums, classes
):
    """Sums over the pairs (i < j) of rows `start` to `stop`, the similarity rearranged by each order.

    Eight rows at a time. They are laid side by side, so that one reading of an order serves eight pairs; rows of
    the connectivity, and the distance classes, are read once for all orders. Sums are of the matrices' own precision
    over eight short pieces of rows, and of double precision beyond.

    Parameters
    ----------
    similarity, connectivity : (n, n) arrays
    positions : (3, n) array or None
    scale : float
        Classes per mm.
    orders : (n_orders, n) integers
        ``similarity[order][:, order]`` is what is compared.
    centre_s, centre_f : float of the matrices' types
        Taken off the values.
    start, stop : int
        `start` a multiple of 8.
    sums : (n_orders, 3) array
        Σ s, Σ s², Σ s f are added to it.
    classes : (n_orders, CLASSES) array
        Σ s of each distance class is added to it, where there are positions.
    """
    n = len(connectivity)
    fixed, moved = np.empty((n, LANES), connectivity.dtype), np.empty((n, LANES), similarity.dtype)
    kinds = np.zeros((n, LANES), np.uint8)
    line = np.zeros(n, np.uint8)
    tables = np.zeros((LANES, CLASSES), similarity.dtype)
    rows = np.empty(LANES, np.int64)
    for top in range(start, stop, LANES):
        after = min(top + LANES, n)
        if after < n:
            for lane in range(LANES):
                rows[lane] = top + lane
            _interleave(connectivity, rows, centre_f, after, fixed)
        if positions is not None:
            for lane in range(after - top):
                _classes(positions, scale, top + lane, top, n, line)
                for j in range(top, n):
                    kinds[j, lane] = line[j - top]
        for k in range(len(orders)):
            order, own = orders[k], classes[k]
            if after < n:
                for lane in range(LANES):
                    rows[lane] = order[top + lane]
                _interleave(similarity, rows, centre_s, 0, moved)
                for left in range(after, n, SUMMED):
                    right = min(left + SUMMED, n)
                    if positions is None:
                        _products(moved, order, fixed, None, left, right, sums[k], tables)
                    else:
                        _products(moved, order, fixed, kinds, left, right, sums[k], tables)
                if positions is not None:
                    for lane in range(LANES):
                        for kind in range(CLASSES):
                            own[kind] += tables[lane, kind]
                            tables[lane, kind] = 0.0
            for i in range(top, after):  # the pairs among these eight
                for j in range(i + 1, after):
                    s = np.float64(similarity[order[i], order[j]] - centre_s)
                    sums[k, 0] += s
                    sums[k, 1] += s * s
                    sums[k, 2] += s * np.float64(connectivity[i, j] - centre_f)
                    if positions is not None:
                        own[kinds[j, i - top]] += s


@compiled()  # type: ignore[no-untyped-call]
def take_repeats_off(  # type: ignore[no-untyped-def]
    similarity, connectivity, positions, scale, order, centre_s, centre_f, sums, counts, of_s, of_f
):
    """Take the pairs whose units have the same source off the sums of `spun_sums`, and off the constant ones.

    Parameters
    ----------
    sums : (5,) array
        Of s, s², s f, f and f².
    counts, of_s, of_f : (CLASSES,) arrays
        Pairs, Σ s and Σ f of each distance class.
    """
    alike = np.argsort(order, kind="mergesort")  # the same sources side by side, in the order of the units
    kind = np.zeros(1, np.uint8)
    for a in range(len(order)):
        for b in range(a + 1, len(order)):
            source, i, j = order[alike[a]], alike[a], alike[b]
            if order[alike[b]] != source:
                break
            s, f = np.float64(similarity[source, source] - centre_s), np.float64(connectivity[i, j] - centre_f)
            if positions is not None:
                _classes(positions, scale, i, j, j + 1, kind)
            sums[0] -= s
            sums[1] -= s * s
            sums[2] -= s * f
            sums[3] -= f
            sums[4] -= f * f
            counts[kind[0]] -= 1.0
            of_s[kind[0]] -= s
            of_f[kind[0]] -= f


@compiled()  # type: ignore[no-untyped-call]
def mirror(matrix, top, bottom, left, right):  # type: ignore[no-untyped-def]
    """Copy what a block has above the diagonal to its place below, in tiles that stay in the fastest cache."""
    size = 32
    tile = np.empty((size, size + 1), matrix.dtype)
    for i0 in range(top, bottom, size):
        i1 = min(i0 + size, bottom)
        for j0 in range(left, right, size):
            j1 = min(j0 + size, right)
            for i in range(i0, i1):
                for j in range(j0, j1):
                    tile[j - j0, i - i0] = matrix[i, j]
            for j in range(j0, j1):
                for i in range(i0, min(i1, j)):
                    matrix[j, i] = tile[j - j0, i - i0]
