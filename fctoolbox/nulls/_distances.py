"""The compiled loops behind distances along a mesh: straight lines across triangles, and shortest paths along them."""

# mypy: disable-error-code="untyped-decorator, no-untyped-call, no-untyped-def, assignment"

import numpy as np

from fctoolbox.compiled import compiled


@compiled()
def straight_lines(vertices, faces, across, most_crossed, rows, columns, lengths):
    """Straight lines from vertices across the triangles that lie behind the edges opposite to them.

    The triangles are folded out into the plane of the first, one after another, and a line is kept where it passes
    through all the edges between its ends: it is then a path on the mesh.

    Parameters
    ----------
    vertices : (n_vertices, 3) array
    faces : (n_faces, 3) integers
    across : (n_faces, 3) integers
        ``across[f, s]``: 3 times the face behind the edge opposite to corner s, plus that face's corner which does not
        lie on the edge; -1 where there is none.
    most_crossed : int
        Edges that a line may cross; up to 60.
    rows, columns, lengths : (n,) arrays
        Filled as far as they reach.

    Returns
    -------
    int
        How many lines there are, which may be more than n.
    """
    count = 0
    # One entry: the triangle and its corner ahead; the edge's ends, right and left, in the plane and as vertices; the
    # sector that is in sight; edges crossed.
    corner, crossed = np.empty(64, np.int64), np.empty(64, np.int64)
    ends, places, sight = np.empty((64, 2), np.int64), np.empty((64, 4)), np.empty((64, 4))
    for f in range(len(faces)):
        for s in range(3):
            apex, b, c = faces[f, s], faces[f, (s + 1) % 3], faces[f, (s + 2) % 3]
            if across[f, s] < 0:
                continue
            ab, ac = vertices[b] - vertices[apex], vertices[c] - vertices[apex]
            base = np.sqrt((ab * ab).sum())
            if base == 0.0:
                continue
            along = (ab * ac).sum() / base
            height = np.sqrt(max(0.0, (ac * ac).sum() - along * along))
            corner[0], crossed[0], top = across[f, s], 1, 1
            ends[0, 0], ends[0, 1] = b, c
            places[0, 0], places[0, 1], places[0, 2], places[0, 3] = base, 0.0, along, height
            sight[0] = places[0]
            while top > 0:
                top -= 1
                ahead, n_crossed = corner[top], crossed[top]
                right, left = ends[top, 0], ends[top, 1]
                rx, ry, lx, ly = places[top, 0], places[top, 1], places[top, 2], places[top, 3]
                r0, r1, l0, l1 = sight[top, 0], sight[top, 1], sight[top, 2], sight[top, 3]
                face, side = ahead // 3, ahead % 3
                d = faces[face, side]
                edge, other = vertices[left] - vertices[right], vertices[d] - vertices[right]
                length = np.sqrt((edge * edge).sum())
                if length == 0.0:
                    continue
                t = (edge * other).sum() / length
                h = np.sqrt(max(0.0, (other * other).sum() - t * t))
                ux, uy = (lx - rx) / length, (ly - ry) / length
                dx, dy = rx + t * ux + h * uy, ry + t * uy - h * ux  # beyond the edge, away from the apex
                # Left of the right border of what is in sight, and right of the left one.
                past_right, before_left = r0 * dy - r1 * dx, dx * l1 - dy * l0
                if past_right >= 0 and before_left >= 0 and d != apex:
                    if count < len(rows):
                        rows[count], columns[count], lengths[count] = apex, d, np.sqrt(dx * dx + dy * dy)
                    count += 1
                if n_crossed == most_crossed:
                    continue
                for k in range(3):
                    beyond = across[face, k]
                    if k == side or beyond < 0:
                        continue
                    if faces[face, k] == left and past_right > 0:  # the edge from right to d
                        ends[top, 0], ends[top, 1] = right, d
                        places[top, 0], places[top, 1], places[top, 2], places[top, 3] = rx, ry, dx, dy
                        sight[top, 0], sight[top, 1] = r0, r1
                        if before_left >= 0:
                            sight[top, 2], sight[top, 3] = dx, dy
                        else:
                            sight[top, 2], sight[top, 3] = l0, l1
                    elif faces[face, k] == right and before_left > 0:  # the edge from d to left
                        ends[top, 0], ends[top, 1] = d, left
                        places[top, 0], places[top, 1], places[top, 2], places[top, 3] = dx, dy, lx, ly
                        sight[top, 2], sight[top, 3] = l0, l1
                        if past_right >= 0:
                            sight[top, 0], sight[top, 1] = dx, dy
                        else:
                            sight[top, 0], sight[top, 1] = r0, r1
                    else:
                        continue
                    corner[top], crossed[top] = beyond, n_crossed + 1
                    top += 1
    return count


@compiled()
def _search(starts, neighbours, lengths, source, limit, most, best, reached, keys, heap, waiting, touched):
    """Dijkstra's search from one vertex, until `most` vertices are reached or the next is farther than `limit`.

    The vertices reached are written into `reached`, nearest first, and their distances into `keys`; their
    number comes back. `best` is infinity everywhere, before and after; the rest is memory to work in.
    """
    best[source] = 0.0
    touched[0], n_touched, n_reached = source, 1, 0
    heap[0], waiting[0], size = 0.0, source, 1
    while size > 0 and n_reached < most:
        nearest, v = heap[0], waiting[0]
        size -= 1
        key, vertex, i = heap[size], waiting[size], 0
        while True:
            child = 2 * i + 1
            if child + 1 < size and heap[child + 1] < heap[child]:
                child += 1
            if child >= size or heap[child] >= key:
                break
            heap[i], waiting[i] = heap[child], waiting[child]
            i = child
        heap[i], waiting[i] = key, vertex
        if nearest > best[v]:  # a shorter way was found after this one had been put down
            continue
        if nearest > limit:
            break
        reached[n_reached], keys[n_reached] = v, nearest
        n_reached += 1
        for e in range(starts[v], starts[v + 1]):
            w = neighbours[e]
            through = nearest + lengths[e]
            if through < best[w]:
                if best[w] == np.inf:
                    touched[n_touched] = w
                    n_touched += 1
                best[w] = through
                i = size
                size += 1
                while i > 0 and heap[(i - 1) // 2] > through:
                    heap[i], waiting[i] = heap[(i - 1) // 2], waiting[(i - 1) // 2]
                    i = (i - 1) // 2
                heap[i], waiting[i] = through, w
    for k in range(n_touched):
        best[touched[k]] = np.inf
    return n_reached


@compiled()
def _memory(n, n_links):
    return (
        np.full(n, np.inf),
        np.empty(n, np.int64),
        np.empty(n),
        np.empty(n_links + 1),
        np.empty(n_links + 1, np.int64),
        np.empty(n, np.int64),
    )


@compiled()
def paths_to_all(starts, neighbours, lengths, sources, distances):
    """Fill ``distances[k, j]`` with the length of the shortest path from ``sources[k]`` to j."""
    n = len(starts) - 1
    best, reached, keys, heap, waiting, touched = _memory(n, len(lengths))
    for k in range(len(sources)):
        count = _search(starts, neighbours, lengths, sources[k], np.inf, n, best, reached, keys, heap, waiting, touched)
        for r in range(count):
            distances[k, reached[r]] = keys[r]


@compiled()
def paths_to_nearest(starts, neighbours, lengths, sources, distances, index):
    """Fill row k with the vertices that are nearest to ``sources[k]``, itself first, and their distances."""
    n = len(starts) - 1
    best, reached, keys, heap, waiting, touched = _memory(n, len(lengths))
    most = index.shape[1]
    for k in range(len(sources)):
        count = _search(
            starts, neighbours, lengths, sources[k], np.inf, most, best, reached, keys, heap, waiting, touched
        )
        for r in range(count):
            distances[k, r], index[k, r] = keys[r], reached[r]


@compiled()
def paths_within(starts, neighbours, lengths, sources, limit):
    """How many vertices are within `limit` of each source; which, one source after another; their distances."""
    n = len(starts) - 1
    best, reached, keys, heap, waiting, touched = _memory(n, len(lengths))
    counts = np.empty(len(sources), np.int64)
    index, distances, total = np.empty(64 * len(sources), np.int32), np.empty(64 * len(sources), np.float32), 0
    for k in range(len(sources)):
        count = _search(starts, neighbours, lengths, sources[k], limit, n, best, reached, keys, heap, waiting, touched)
        counts[k] = count
        if total + count > len(index):
            index = np.append(index[:total], np.empty(2 * total + count, np.int32))
            distances = np.append(distances[:total], np.empty(2 * total + count, np.float32))
        for r in range(count):
            index[total + r], distances[total + r] = reached[r], keys[r]
        total += count
    return counts, index[:total], distances[:total]
