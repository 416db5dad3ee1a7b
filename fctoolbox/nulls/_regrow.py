"""The compiled loops behind regrow: cells grown over a graph, sizes made exact, boundaries brought to a length.

A graph is ``indptr, indices`` (those of a csr array, symmetric). A *cell* is one contiguous piece of a module; the
first `n_large` cells grow and exchange units, the others (crumbs) are placed once and stay. Everything works on
`label`, the cell of each unit, and draws from one generator; no function holds the interpreter lock.
"""

import numpy as np

from fctoolbox._louvain import _compiled

_STEPS_PER_EDGE = 4  # keys of the queue, in mean edge lengths: only speed depends on it
_CROWDED = 64  # cells up to this size are searched whole before a unit is kept in them
_PARTNERS = 40  # units tried for the second half of an exchange
_BLOBS = 30  # places tried for a crumb


@_compiled()  # type: ignore[no-untyped-call]
def spread(indptr, indices, lengths, width, n_buckets, seeds, offsets, owner, distance):  # type: ignore[no-untyped-def]
    """The cell whose seed is nearest to each unit, all paths from seed c being shorter by ``offsets[c]``.

    Dijkstra from all seeds at once, with a circular queue of buckets of `width` (Dial 1969); units are visited again
    when a shorter path turns up, so that the result is exact whatever the width.
    """
    n = len(indptr) - 1
    for i in range(n):
        owner[i] = -1
        distance[i] = np.inf
    order = np.argsort(-offsets)
    start = -offsets[order[0]]
    head = np.full(n_buckets, -1, dtype=np.int32)
    capacity = n + 2 * len(seeds)
    following = np.empty(capacity, dtype=np.int32)
    entry_unit = np.empty(capacity, dtype=np.int32)
    entry_key = np.empty(capacity, dtype=np.float64)
    free = -1  # entries that have been taken out are used again
    used, waiting, sown, bucket = 0, 0, 0, 0
    while waiting > 0 or sown < len(seeds):
        if waiting == 0:  # far ahead of the last unit: no need to walk through empty buckets
            bucket = max(bucket, int((-offsets[order[sown]] - start) / width))
        limit = start + (bucket + 1) * width
        if used + len(seeds) > len(following):
            following = np.concatenate((following, np.empty_like(following)))
            entry_unit = np.concatenate((entry_unit, np.empty_like(entry_unit)))
            entry_key = np.concatenate((entry_key, np.empty_like(entry_key)))
        while sown < len(seeds) and -offsets[order[sown]] < limit:
            cell = order[sown]
            sown += 1
            unit = seeds[cell]
            if -offsets[cell] < distance[unit]:
                distance[unit] = -offsets[cell]
                owner[unit] = cell
                if free >= 0:
                    entry, free = free, following[free]
                else:
                    entry = used
                    used += 1
                slot = bucket % n_buckets
                entry_unit[entry], entry_key[entry], following[entry] = unit, distance[unit], head[slot]
                head[slot] = entry
                waiting += 1
        slot = bucket % n_buckets
        while head[slot] >= 0:
            entry = head[slot]
            head[slot] = following[entry]
            unit, key = entry_unit[entry], entry_key[entry]
            following[entry], free = free, entry
            waiting -= 1
            if key > distance[unit]:
                continue
            if used + indptr[unit + 1] - indptr[unit] > len(following):  # units visited again and again
                following = np.concatenate((following, np.empty_like(following)))
                entry_unit = np.concatenate((entry_unit, np.empty_like(entry_unit)))
                entry_key = np.concatenate((entry_key, np.empty_like(entry_key)))
            for k in range(indptr[unit], indptr[unit + 1]):
                other = indices[k]
                reached = key + lengths[k]
                if reached < distance[other]:
                    distance[other] = reached
                    owner[other] = owner[unit]
                    if free >= 0:
                        entry, free = free, following[free]
                    else:
                        entry = used
                        used += 1
                    goal = max(bucket, int((reached - start) / width)) % n_buckets
                    entry_unit[entry], entry_key[entry], following[entry] = other, reached, head[goal]
                    head[goal] = entry
                    waiting += 1
        bucket += 1


@_compiled()  # type: ignore[no-untyped-call]
def _rough_lengths(indptr, indices, lengths, roughness, n_patches, rng):  # type: ignore[no-untyped-def]
    """Edge lengths times ``exp(roughness · z)``: z is part noise of each unit, part that of a patch around it."""
    n = len(indptr) - 1
    seeds = np.empty(n_patches, dtype=np.int64)
    for p in range(n_patches):
        seeds[p] = int(rng.random() * n)
    patch = np.empty(n, dtype=np.int32)
    distance = np.empty(n)
    width, n_buckets = _buckets(lengths)
    spread(indptr, indices, lengths, width, n_buckets, seeds, np.zeros(n_patches), patch, distance)
    of_patch = np.empty(n_patches)
    for p in range(n_patches):
        of_patch[p] = rng.standard_normal()
    z = np.empty(n)
    for i in range(n):
        z[i] = roughness * np.sqrt(0.5) * rng.standard_normal()
        if patch[i] >= 0:
            z[i] += roughness * np.sqrt(0.5) * of_patch[patch[i]]
    rough = np.empty(len(lengths))
    for i in range(n):
        for k in range(indptr[i], indptr[i + 1]):
            rough[k] = lengths[k] * np.exp((z[i] + z[indices[k]]) / 2)
    return rough


@_compiled()  # type: ignore[no-untyped-call]
def _buckets(lengths):  # type: ignore[no-untyped-def]
    width = lengths.mean() / _STEPS_PER_EDGE
    return width, int(lengths.max() / width) + 3


@_compiled()  # type: ignore[no-untyped-call]
def _shuffled(values, rng):  # type: ignore[no-untyped-def]
    for i in range(len(values) - 1, 0, -1):
        j = int(rng.random() * (i + 1))
        values[i], values[j] = values[j], values[i]


@_compiled()  # type: ignore[no-untyped-call]
def _place_crumbs(indptr, indices, cells, members, starts, label, rng):  # type: ignore[no-untyped-def]
    """Put each crumb somewhere in its piece of the graph, as a compact blob that touches none of its module."""
    n_large, module, size, piece = cells
    n = len(label)
    blob = np.empty(max(1, size.max()), dtype=np.int64)
    seen = np.full(n, -1, dtype=np.int64)
    stamp = 0
    for cell in range(n_large, len(size)):
        first, count = starts[piece[cell]], starts[piece[cell] + 1] - starts[piece[cell]]
        placed = False
        for attempt in range(2 * _BLOBS):
            unit = members[first + int(rng.random() * count)]
            if label[unit] >= 0:
                continue
            stamp += 1
            blob[0] = unit
            seen[unit] = stamp
            filled, looked, clean = 1, 0, True
            while looked < filled:
                for k in range(indptr[blob[looked]], indptr[blob[looked] + 1]):
                    other = indices[k]
                    if label[other] < 0 and seen[other] != stamp and filled < size[cell]:
                        seen[other] = stamp
                        blob[filled] = other
                        filled += 1
                    elif label[other] >= 0 and module[label[other]] == module[cell]:
                        clean = False
                looked += 1
            if filled == size[cell] and (clean or attempt >= _BLOBS):
                for i in range(filled):
                    label[blob[i]] = cell
                placed = True
                break
        if not placed:  # no room in one place
            left = size[cell]
            shift = int(rng.random() * count)
            for i in range(count):
                unit = members[first + (i + shift) % count]
                if left > 0 and label[unit] < 0:
                    label[unit] = cell
                    left -= 1


@_compiled()  # type: ignore[no-untyped-call]
def _draw_seeds(graph, cells, members, starts, label, rng):  # type: ignore[no-untyped-def]
    """A free unit for each large cell, pieces of one module not side by side if that can be had by exchanging seeds."""
    indptr, indices, lengths = graph
    n_large, module, size, piece = cells
    seeds = np.full(n_large, -1, dtype=np.int64)
    taken = np.zeros(len(label), dtype=np.bool_)
    for cell in range(n_large):
        first, count = starts[piece[cell]], starts[piece[cell] + 1] - starts[piece[cell]]
        for attempt in range(count + 100):
            # At random at first; then one after the other, so that it comes to an end.
            i = int(rng.random() * count) if attempt < 100 else attempt - 100
            unit = members[first + i]
            if label[unit] < 0 and not taken[unit]:
                seeds[cell] = unit
                taken[unit] = True
                break
    alone = True
    for cell in range(n_large):
        for other in range(cell):
            alone &= module[cell] != module[other]
    if alone:
        return seeds
    owner, distance = np.empty(len(label), dtype=np.int32), np.empty(len(label))
    width, n_buckets = _buckets(lengths)
    spread(indptr, indices, lengths, width, n_buckets, seeds, np.zeros(n_large), owner, distance)
    near = np.zeros((n_large, n_large), dtype=np.bool_)
    for i in range(len(label)):
        for k in range(indptr[i], indptr[i + 1]):
            if owner[i] >= 0 and owner[indices[k]] >= 0:
                near[owner[i], owner[indices[k]]] = True
    holder = np.arange(n_large)  # holder[cell]: whose seed it takes
    best, fewest = holder.copy(), n_large * n_large
    for attempt in range(60):
        conflicts = 0
        for cell in range(n_large):
            for other in range(cell):
                conflicts += module[cell] == module[other] and near[holder[cell], holder[other]]
        if conflicts < fewest:
            fewest = conflicts
            best[:] = holder
        if fewest == 0:
            break
        for cell in range(n_large - 1, 0, -1):  # a shuffle that stays within the pieces of the graph
            other = int(rng.random() * (cell + 1))
            if piece[cell] == piece[other]:
                holder[cell], holder[other] = holder[other], holder[cell]
    return seeds[best]


@_compiled()  # type: ignore[no-untyped-call]
def _balance(graph, seeds, size, label, n_steps, tolerance, rng):  # type: ignore[no-untyped-def]
    """Voronoi cells of about the sizes asked for: each seed gets a head start, raised where its cell is too small."""
    indptr, indices, lengths = graph
    n, n_large = len(label), len(seeds)
    owner, distance = np.empty(n, dtype=np.int32), np.empty(n)
    best_owner, least = np.empty(n, dtype=np.int32), np.inf
    width, n_buckets = _buckets(lengths)
    edge = lengths.mean()
    offsets = np.zeros(n_large)
    for cell in range(n_large):
        offsets[cell] = 0.5 * edge * np.sqrt(size[cell] / np.pi)
    count, border = np.empty(n_large), np.empty(n_large)
    for _ in range(n_steps):
        spread(indptr, indices, lengths, width, n_buckets, seeds, offsets, owner, distance)
        count[:], border[:] = 0, 0
        gap = np.zeros(n_large)
        for cell in range(n_large):
            if owner[seeds[cell]] != cell:  # overrun by a neighbour
                gap[cell] = -offsets[cell] - distance[seeds[cell]]
                owner[seeds[cell]] = cell
        for i in range(n):
            if owner[i] < 0 or label[i] >= n_large:
                continue
            count[owner[i]] += 1
            for k in range(indptr[i], indptr[i + 1]):
                if owner[indices[k]] != owner[i]:
                    border[owner[i]] += 1
                    break
        wrong = 0.0
        for cell in range(n_large):
            wrong += abs(size[cell] - count[cell])
            step = 1.4 * edge * (size[cell] - count[cell]) / max(1.0, border[cell])
            most = edge * abs(np.sqrt(size[cell]) - np.sqrt(count[cell])) + 0.1 * edge
            offsets[cell] += max(-most, min(most, step)) + gap[cell]
        if wrong < least:
            least = wrong
            best_owner[:] = owner
        if wrong <= tolerance * n:
            break
    for i in range(n):
        if label[i] < n_large:
            label[i] = best_owner[i]


@_compiled()  # type: ignore[no-untyped-call]
def _inner_seeds(graph, label, seeds):  # type: ignore[no-untyped-def]
    """The unit of each large cell that is farthest from its border: a step towards rounder cells (Lloyd 1982)."""
    indptr, indices, lengths = graph
    n = len(label)
    rim = np.empty(n, dtype=np.int64)
    n_rim = 0
    for i in range(n):
        for k in range(indptr[i], indptr[i + 1]):
            if label[indices[k]] != label[i]:
                rim[n_rim] = i
                n_rim += 1
                break
    if n_rim == 0:
        return
    owner, distance = np.empty(n, dtype=np.int32), np.empty(n)
    width, n_buckets = _buckets(lengths)
    spread(indptr, indices, lengths, width, n_buckets, rim[:n_rim], np.zeros(n_rim), owner, distance)
    deepest = np.full(len(seeds), -1.0)
    for i in range(n):
        if label[i] < len(seeds) and np.isfinite(distance[i]) and distance[i] > deepest[label[i]]:
            deepest[label[i]] = distance[i]
            seeds[label[i]] = i


@_compiled()  # type: ignore[no-untyped-call]
def _change(indptr, indices, module, label, unit, cell):  # type: ignore[no-untyped-def]
    """How many more edges join two modules once the unit belongs to `cell`."""
    before, after = 0, 0
    for k in range(indptr[unit], indptr[unit + 1]):
        other = module[label[indices[k]]]
        before += other != module[label[unit]]
        after += other != module[cell]
    return after - before


@_compiled()  # type: ignore[no-untyped-call]
def _touches(indptr, indices, module, label, unit, cell):  # type: ignore[no-untyped-def]
    """Whether the unit, once in `cell`, would join it to another piece of its module."""
    for k in range(indptr[unit], indptr[unit + 1]):
        other = label[indices[k]]
        if other != cell and other != label[unit] and module[other] == module[cell]:
            return True
    return False


@_compiled()  # type: ignore[no-untyped-call]
def _holds_together(indptr, indices, label, count, unit, marks):  # type: ignore[no-untyped-def]
    """Whether the unit's cell stays in one piece without it.

    Seen locally: its neighbours there are joined directly or by a common neighbour. Small cells are searched whole,
    so that no move that would do is refused; in large ones some are (round a hole), which only costs another try.
    """
    mark, root, queue, stamp = marks
    cell = label[unit]
    stamp[0] += 1
    now = stamp[0]
    first = indptr[unit]
    n_own, last = 0, -1
    for k in range(first, indptr[unit + 1]):
        other = indices[k]
        if label[other] == cell:
            mark[other] = now
            root[other] = other
            n_own += 1
            last = other
    if n_own <= 1:
        return True
    if count[cell] <= _CROWDED:
        stamp[0] += 1
        now = stamp[0]
        mark[unit] = now
        mark[last] = now
        queue[0] = last
        filled, looked = 1, 0
        while looked < filled:
            for k in range(indptr[queue[looked]], indptr[queue[looked] + 1]):
                other = indices[k]
                if label[other] == cell and mark[other] != now:
                    mark[other] = now
                    queue[filled] = other
                    filled += 1
            looked += 1
        return filled == count[cell] - 1
    n_parts = n_own
    for k in range(first, indptr[unit + 1]):
        one = indices[k]
        if label[one] != cell:
            continue
        for h in range(indptr[one], indptr[one + 1]):
            other = indices[h]
            if label[other] != cell or other == unit:
                continue
            a = one
            while root[a] != a:
                a = root[a]
            if mark[other] != now:  # reached for the first time: it belongs to whoever reached it
                mark[other] = now
                root[other] = a
                continue
            b = other
            while root[b] != b:
                b = root[b]
            if a != b:
                root[a] = b
                n_parts -= 1
        if n_parts == 1:
            return True
    return n_parts == 1


@_compiled()  # type: ignore[no-untyped-call]
def _flows(interface, excess, flow):  # type: ignore[no-untyped-def]
    """Units that each cell has to hand to each other, along the widest interfaces that join all cells (a tree)."""
    n = len(excess)
    flow[:] = 0
    parent = np.full(n, -1, dtype=np.int64)
    width = np.full(n, -1, dtype=np.int64)
    order = np.empty(n, dtype=np.int64)
    done = np.zeros(n, dtype=np.bool_)
    for step in range(n):  # Prim
        chosen = -1
        for cell in range(n):
            if not done[cell] and (chosen < 0 or width[cell] > width[chosen]):
                chosen = cell
        done[chosen] = True
        order[step] = chosen
        for cell in range(n):
            if not done[cell] and interface[chosen, cell] > 0 and interface[chosen, cell] > width[cell]:
                width[cell] = interface[chosen, cell]
                parent[cell] = chosen
    left = excess.copy()
    for step in range(n - 1, -1, -1):
        cell = order[step]
        if parent[cell] >= 0:
            left[parent[cell]] += left[cell]
            if left[cell] > 0:
                flow[cell, parent[cell]] = left[cell]
            else:
                flow[parent[cell], cell] = -left[cell]


@_compiled()  # type: ignore[no-untyped-call]
def _make_exact(graph, cells, label, count, marks, order):  # type: ignore[no-untyped-def]
    """Hand units over borders until every cell has its size: first those that shorten the boundary.

    Only if nothing else helps are units handed over that break a cell up or join two pieces of a module.
    """
    indptr, indices, _ = graph
    n_large, module, size, _ = cells
    n = len(label)
    interface = np.empty((n_large, n_large), dtype=np.int64)
    flow = np.empty((n_large, n_large), dtype=np.int64)
    ways = np.zeros(n_large, dtype=np.int64)
    strictness = 0
    for _ in range(1000):
        excess = count[:n_large] - size[:n_large]
        if not excess.any():
            return
        interface[:] = 0
        for i in range(n):
            if label[i] < n_large:
                for k in range(indptr[i], indptr[i + 1]):
                    if label[indices[k]] < n_large:
                        interface[label[i], label[indices[k]]] += 1
        for cell in range(n_large):
            interface[cell, cell] = 0
        _flows(interface, excess, flow)
        moved = 0
        for i in range(n):
            unit = order[i]
            cell = label[unit]
            if cell >= n_large or count[cell] <= 1:
                continue
            goal = -1
            for k in range(indptr[unit], indptr[unit + 1]):
                other = label[indices[k]]
                if other < n_large and other != cell and flow[cell, other] > 0:
                    ways[other] += 1
                    if goal < 0 or ways[other] > ways[goal]:
                        goal = other
            for k in range(indptr[unit], indptr[unit + 1]):
                if label[indices[k]] < n_large:
                    ways[label[indices[k]]] = 0
            if goal < 0:
                continue
            change = _change(indptr, indices, module, label, unit, goal)
            if strictness < 2 and change > 2 * strictness:
                continue
            if strictness < 3 and _touches(indptr, indices, module, label, unit, goal):
                continue
            if strictness < 4 and not _holds_together(indptr, indices, label, count, unit, marks):
                continue
            label[unit] = goal
            count[cell] -= 1
            count[goal] += 1
            flow[cell, goal] -= 1
            moved += 1
            if strictness >= 2 and moved >= 1 + n // 1000:
                break
        strictness = 0 if moved else strictness + 1
        if strictness > 4:
            break
    for i in range(n):  # cells that crumbs cut off from each other: sizes come before contiguity
        cell = label[order[i]]
        if cell < n_large and count[cell] > size[cell]:
            for other in range(n_large):
                if count[other] < size[other] and cells[3][other] == cells[3][cell]:
                    label[order[i]] = other
                    count[cell] -= 1
                    count[other] += 1
                    break


@_compiled()  # type: ignore[no-untyped-call]
def _on_border(indptr, indices, n_large, label, unit):  # type: ignore[no-untyped-def]
    for k in range(indptr[unit], indptr[unit + 1]):
        if label[indices[k]] < n_large and label[indices[k]] != label[unit]:
            return True
    return False


@_compiled()  # type: ignore[no-untyped-call]
def _hand_over(indptr, indices, n_large, label, count, unit, cell, border, place, n_border):  # type: ignore[no-untyped-def]
    """Give the unit to the cell, and keep the list of units at a border."""
    count[label[unit]] -= 1
    count[cell] += 1
    label[unit] = cell
    for k in range(indptr[unit] - 1, indptr[unit + 1]):
        other = unit if k < indptr[unit] else indices[k]
        if label[other] >= n_large:
            continue
        there = _on_border(indptr, indices, n_large, label, other)
        if there and place[other] < 0:
            place[other] = n_border
            border[n_border] = other
            n_border += 1
        elif not there and place[other] >= 0:
            n_border -= 1
            moved = border[n_border]
            border[place[other]] = moved
            place[moved] = place[other]
            place[other] = -1
    return n_border


@_compiled()  # type: ignore[no-untyped-call]
def _exchange(graph, cells, label, count, marks, length, target, n_attempts, n_more, rng):  # type: ignore[no-untyped-def]
    """Exchanges of units between adjacent cells that keep sizes and pieces, until the boundary has its length.

    An exchange is taken if it brings the length no farther from the target than it is, or than half a per cent.
    """
    indptr, indices, _ = graph
    n_large, module = cells[0], cells[1]
    n = len(label)
    border, place = np.empty(n, dtype=np.int64), np.full(n, -1, dtype=np.int64)
    n_border = 0
    for i in range(n):
        if label[i] < n_large and _on_border(indptr, indices, n_large, label, i):
            place[i] = n_border
            border[n_border] = i
            n_border += 1
    slack = 0.005 * target
    for attempt in range(n_attempts):
        if n_border == 0 or (abs(length - target) <= slack and attempt >= n_more):
            break
        unit = border[int(rng.random() * n_border)]
        own = label[unit]
        goal = label[indices[indptr[unit] + int(rng.random() * (indptr[unit + 1] - indptr[unit]))]]
        if goal == own or goal >= n_large or module[own] == module[goal] or count[own] <= 1:
            continue
        allowed = max(abs(length - target), slack)
        first = _change(indptr, indices, module, label, unit, goal)
        if length > target + slack and first > 2:
            continue
        if _touches(indptr, indices, module, label, unit, goal):
            continue
        if not _holds_together(indptr, indices, label, count, unit, marks):
            continue
        n_border = _hand_over(indptr, indices, n_large, label, count, unit, goal, border, place, n_border)
        done = False
        for _ in range(_PARTNERS):
            other = border[int(rng.random() * n_border)]
            if label[other] != goal or other == unit:
                continue
            beside = False
            for k in range(indptr[other], indptr[other + 1]):
                beside |= label[indices[k]] == own
            if not beside:
                continue
            second = _change(indptr, indices, module, label, other, own)
            if abs(length + first + second - target) > allowed:
                continue
            if _touches(indptr, indices, module, label, other, own):
                continue
            if not _holds_together(indptr, indices, label, count, other, marks):
                continue
            n_border = _hand_over(indptr, indices, n_large, label, count, other, own, border, place, n_border)
            length += first + second
            done = True
            break
        if not done:
            n_border = _hand_over(indptr, indices, n_large, label, count, unit, own, border, place, n_border)
    return length


@_compiled()  # type: ignore[no-untyped-call]
def boundary(indptr, indices, module):  # type: ignore[no-untyped-def]
    """Number of edges between two modules, from the module of each unit."""
    twice = 0
    for i in range(len(module)):
        for k in range(indptr[i], indptr[i + 1]):
            twice += module[i] != module[indices[k]]
    return twice // 2


@_compiled()  # type: ignore[no-untyped-call]
def pieces(indptr, indices, module, piece):  # type: ignore[no-untyped-def]
    """Number of connected pieces of modules; the piece of each unit is written into `piece`."""
    n = len(module)
    queue = np.empty(n, dtype=np.int64)
    piece[:] = -1
    found = 0
    for start in range(n):
        if piece[start] >= 0:
            continue
        piece[start] = found
        queue[0] = start
        filled, looked = 1, 0
        while looked < filled:
            for k in range(indptr[queue[looked]], indptr[queue[looked] + 1]):
                other = indices[k]
                if piece[other] < 0 and module[other] == module[start]:
                    piece[other] = found
                    queue[filled] = other
                    filled += 1
            looked += 1
        found += 1
    return found


@_compiled()  # type: ignore[no-untyped-call]
def grow_once(graph, cells, members, starts, target, roughness, n_rounder, n_attempts, n_more, rng):  # type: ignore[no-untyped-def]
    """One partition: (n_units,) modules, their boundary length, and the number of their pieces.

    `members[starts[p] : starts[p + 1]]` are the units of piece p of the graph. With `n_attempts` 0 the boundary is
    left as it has grown.
    """
    indptr, indices, lengths = graph
    n_large, module, size, _ = cells
    n = len(indptr) - 1
    label = np.full(n, -1, dtype=np.int32)
    _place_crumbs(indptr, indices, cells, members, starts, label, rng)
    seeds = _draw_seeds(graph, cells, members, starts, label, rng)
    grown_over = (indptr, indices, lengths)
    if roughness > 0:
        rough = _rough_lengths(indptr, indices, lengths, roughness, min(n, 8 * n_large + 8), rng)
        grown_over = (indptr, indices, rough)
    for step in range(n_rounder + 1):
        last = step == n_rounder
        _balance(grown_over, seeds, size, label, 16 if last else 6, 0.01 if last else 0.05, rng)
        if not last:
            _inner_seeds(grown_over, label, seeds)
    count = np.zeros(len(size), dtype=np.int64)
    for i in range(n):
        if label[i] < 0:  # behind crumbs that nothing grows through
            label[i] = 0
        count[label[i]] += 1
    marks = (
        np.zeros(n, dtype=np.int64), np.zeros(n, dtype=np.int64), np.zeros(n, dtype=np.int64),
        np.zeros(1, dtype=np.int64),
    )  # fmt: skip
    order = np.arange(n)
    _shuffled(order, rng)
    _make_exact(graph, cells, label, count, marks, order)
    of_unit = module[label]
    length = boundary(indptr, indices, of_unit)
    if n_attempts > 0:
        length = _exchange(graph, cells, label, count, marks, length, target, n_attempts, n_more, rng)
        of_unit = module[label]
    return of_unit, length, pieces(indptr, indices, of_unit, label)
