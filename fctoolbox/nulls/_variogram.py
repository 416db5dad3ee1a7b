"""The compiled loops behind variograms; they release the interpreter lock, so threads run them side by side."""

import numpy as np

from fctoolbox.compiled import REORDERED, compiled

DEGREE = 5  # of the polynomials in which the weights of a pair are written, within a bin of distances


@compiled()  # type: ignore[no-untyped-call]
def count_near(distances, limit):  # type: ignore[no-untyped-def]
    """Number of pairs i < j closer than a limit."""
    count = 0
    for i in range(len(distances)):
        for j in range(i + 1, len(distances)):
            count += distances[i, j] < limit
    return count


@compiled()  # type: ignore[no-untyped-call]
def fill_near(distances, limit, first, second, lengths):  # type: ignore[no-untyped-def]
    """The pairs of `count_near`, written into arrays of their number."""
    p = 0
    for i in range(len(distances)):
        for j in range(i + 1, len(distances)):
            if distances[i, j] < limit:
                first[p], second[p], lengths[p] = i, j, distances[i, j]
                p += 1


@compiled(fastmath=REORDERED)  # type: ignore[no-untyped-call]
def moments(maps, first, second, offset, starts, sums):  # type: ignore[no-untyped-def]
    """``sums[bin, d, k] = Σ offset^d (x_i - x_j)²`` over the pairs (i, j) of a bin, for map k and d = 0 … 5.

    Parameters
    ----------
    maps : (n_units, n_maps) array
    first, second : (n_pairs,) integers
        Sorted by bin.
    offset : (n_pairs,) array
        Of the pair's distance from the centre of its bin.
    starts : (n_bins + 1,) integers
    sums : (n_bins, 6, n_maps) array
    """
    n_maps = maps.shape[1]
    for b in range(len(starts) - 1):
        s0, s1, s2, s3, s4, s5 = sums[b, 0], sums[b, 1], sums[b, 2], sums[b, 3], sums[b, 4], sums[b, 5]
        sums[b] = 0.0
        last = starts[b + 1] - 1
        # Four pairs at a time: the sums are read and written a quarter as often. Beyond the last, pairs count 0.
        for p in range(starts[b], last + 1, 4):
            q, r, s = min(p + 1, last), min(p + 2, last), min(p + 3, last)
            once, twice, thrice = np.float64(p + 1 <= last), np.float64(p + 2 <= last), np.float64(p + 3 <= last)
            x0, x1, x2, x3 = maps[first[p]], maps[first[q]], maps[first[r]], maps[first[s]]
            y0, y1, y2, y3 = maps[second[p]], maps[second[q]], maps[second[r]], maps[second[s]]
            t0, t1, t2, t3 = offset[p], offset[q], offset[r], offset[s]
            for k in range(n_maps):
                v0 = (x0[k] - y0[k]) ** 2
                v1 = (x1[k] - y1[k]) ** 2 * once
                v2 = (x2[k] - y2[k]) ** 2 * twice
                v3 = (x3[k] - y3[k]) ** 2 * thrice
                s0[k] += v0 + v1 + v2 + v3
                v0, v1, v2, v3 = v0 * t0, v1 * t1, v2 * t2, v3 * t3
                s1[k] += v0 + v1 + v2 + v3
                v0, v1, v2, v3 = v0 * t0, v1 * t1, v2 * t2, v3 * t3
                s2[k] += v0 + v1 + v2 + v3
                v0, v1, v2, v3 = v0 * t0, v1 * t1, v2 * t2, v3 * t3
                s3[k] += v0 + v1 + v2 + v3
                v0, v1, v2, v3 = v0 * t0, v1 * t1, v2 * t2, v3 * t3
                s4[k] += v0 + v1 + v2 + v3
                v0, v1, v2, v3 = v0 * t0, v1 * t1, v2 * t2, v3 * t3
                s5[k] += v0 + v1 + v2 + v3


@compiled(fastmath=REORDERED)  # type: ignore[no-untyped-call]
def smooth_nearest(maps, indices, weights, counts, start, smooth):  # type: ignore[no-untyped-def]
    """``smooth[l, start + i] = Σ_k weights[i, l, k] maps[indices[start + i, k]]`` over the counts[l] nearest.

    Parameters
    ----------
    maps : (n_units, n_maps) array
    indices : (n_units, n_neighbours) integers
    weights : (n_rows, n_levels, n_neighbours) array
    counts : (n_levels,) integers
    start : int
        The unit of the first row.
    smooth : (n_levels, n_units, n_maps) array
    """
    n_maps = maps.shape[1]
    for i in range(len(weights)):
        for level in range(len(counts)):
            sums = smooth[level, start + i]
            sums[:] = 0.0
            for k in range(counts[level]):
                values, weight = maps[indices[start + i, k]], weights[i, level, k]
                for m in range(n_maps):
                    sums[m] += weight * values[m]


@compiled()  # type: ignore[no-untyped-call]
def fill_communities(order, sizes, communities):  # type: ignore[no-untyped-def]
    """Give each unit to a community, in an order of all their pairs; a community that has its size takes no more.

    Parameters
    ----------
    order : (n_communities * n_units,) integers
        ``community * n_units + unit``, the best first.
    sizes : (n_communities,) integers
    communities : (n_units,) integers
        What is found.
    """
    n_units = len(communities)
    left = sizes.copy()
    communities[:] = -1
    for pair in order:
        community, unit = pair // n_units, pair % n_units
        if communities[unit] < 0 and left[community] > 0:
            communities[unit] = community
            left[community] -= 1
