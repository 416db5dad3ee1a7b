"""The compiled loops behind regrow: a graph split into cells of exact sizes, boundaries brought to a length.

A graph is ``indptr, indices`` (those of a csr array, symmetric). A *cell* is one contiguous piece of a module; the
first `n_large` cells grow and exchange units, the others (crumbs) are placed once and stay. Everything works on
`label`, the cell of each unit, and draws from one generator; no function holds the interpreter lock.
"""

import numpy as np

from fctoolbox.compiled import compiled

_CROWDED = 64  # cells up to this size are searched whole before a unit is kept in them
_PARTNERS = 40  # units tried for the second half of an exchange
_BLOBS = 30  # places tried for a crumb


@compiled()  # type: ignore[no-untyped-call]
def _longer(values, length):  # type: ignore[no-untyped-def]
    longer = np.empty(length, dtype=values.dtype)
    longer[: len(values)] = values
    return longer


@compiled()  # type: ignore[no-untyped-call]
def _spread(graph, seeds, region, inside, passable, owner, distance):  # type: ignore[no-untyped-def]
    """The seed nearest to each unit of a region, and how far it is; crumbs may be passed through.

    Dijkstra from all seeds at once, with a circular queue of buckets (Dial 1969). Units are visited again when a
    shorter path turns up, so that the result is exact whatever the width of the buckets.
    """
    indptr, indices, lengths = graph[0], graph[1], graph[2]
    width, n_buckets = graph[3], graph[4]
    distance[:] = np.inf
    head = np.full(n_buckets, -1, dtype=np.int32)
    following = np.empty(len(seeds) + 1024, dtype=np.int32)
    entry_unit, entry_key = np.empty(len(following), dtype=np.int32), np.empty(len(following))
    free, used, waiting, bucket = -1, 0, 0, 0  # entries that have been taken out are used again
    for i in range(len(seeds)):
        distance[seeds[i]], owner[seeds[i]] = 0.0, i
        entry_unit[used], entry_key[used], following[used] = seeds[i], 0.0, head[0]
        head[0] = used
        used += 1
        waiting += 1
    while waiting > 0:
        slot = bucket % n_buckets
        while head[slot] >= 0:
            entry = head[slot]
            head[slot] = following[entry]
            unit, key = entry_unit[entry], entry_key[entry]
            following[entry], free = free, entry
            waiting -= 1
            if key > distance[unit]:
                continue
            if used + indptr[unit + 1] - indptr[unit] > len(following):
                n_entries = 2 * used + indptr[unit + 1] - indptr[unit]
                following = _longer(following, n_entries)
                entry_unit = _longer(entry_unit, n_entries)
                entry_key = _longer(entry_key, n_entries)
            for k in range(indptr[unit], indptr[unit + 1]):
                other = indices[k]
                reached = key + lengths[k]
                if reached < distance[other] and (region[other] == inside or passable[other]):
                    distance[other] = reached
                    owner[other] = owner[unit]
                    if free >= 0:
                        entry, free = free, following[free]
                    else:
                        entry = used
                        used += 1
                    goal = max(bucket, int(reached / width)) % n_buckets
                    entry_unit[entry], entry_key[entry], following[entry] = other, reached, head[goal]
                    head[goal] = entry
                    waiting += 1
        bucket += 1


@compiled()  # type: ignore[no-untyped-call]
def roughened(indptr, indices, lengths, roughness, n_patches, rng):  # type: ignore[no-untyped-def]
    """The graph with lengths times ``exp(roughness · z)``: z is noise of each unit, and of a patch around it.

    Returned with the width and number of the queue's buckets, as `split` and `recombine` take it.
    """
    n = len(indptr) - 1
    seeds = np.empty(n_patches, dtype=np.int64)
    for p in range(n_patches):
        seeds[p] = int(rng.random() * n)
    patch, everywhere = np.full(n, -1, dtype=np.int32), np.zeros(n, dtype=np.int32)
    width, n_buckets = _buckets(lengths)
    smooth = (indptr, indices, lengths, width, n_buckets)
    _spread(smooth, seeds, everywhere, 0, np.ones(n, dtype=np.bool_), patch, np.empty(n))
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
    width, n_buckets = _buckets(rough)
    return indptr, indices, rough, width, n_buckets


@compiled()  # type: ignore[no-untyped-call]
def _buckets(lengths):  # type: ignore[no-untyped-def]
    """Width and number of buckets: narrower than most edges, though not so many as to fill the memory."""
    longest = lengths.max()
    width = max(0.5 / (1 / lengths).mean(), longest / 4096)
    return width, int(longest / width) + 3


@compiled()  # type: ignore[no-untyped-call]
def place_crumbs(indptr, indices, cells, members, starts, label, rng):  # type: ignore[no-untyped-def]
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


@compiled()  # type: ignore[no-untyped-call]
def _is_whole(indptr, indices, units, size, region, inside, passable, seen, queue):  # type: ignore[no-untyped-def]
    """Whether the `size` units of a region that are among `units` are contiguous, by way of crumbs or without."""
    seen[:] = False
    for unit in units:
        if region[unit] == inside:
            queue[0] = unit
            break
    seen[queue[0]] = True
    filled, looked, found = 1, 0, 0
    while looked < filled:
        unit = queue[looked]
        looked += 1
        found += not passable[unit]
        for k in range(indptr[unit], indptr[unit + 1]):
            other = indices[k]
            if not seen[other] and (region[other] == inside or passable[other]):
                seen[other] = True
                queue[filled] = other
                filled += 1
    return found == size


@compiled()  # type: ignore[no-untyped-call]
def _smallest(values, k):  # type: ignore[no-untyped-def]
    """The k-th smallest value, k from 0 (Hoare's selection; np.partition takes seconds to compile)."""
    values = values.copy()
    low, high = 0, len(values) - 1
    while low < high:
        pivot = values[(low + high) // 2]
        i, j = low, high
        while i <= j:
            while values[i] < pivot:
                i += 1
            while values[j] > pivot:
                j -= 1
            if i <= j:
                values[i], values[j] = values[j], values[i]
                i += 1
                j -= 1
        if k <= j:
            high = j
        elif k >= i:
            low = i
        else:
            break
    return values[k]


@compiled()  # type: ignore[no-untyped-call]
def _units_of(label, cell, count):  # type: ignore[no-untyped-def]
    units = np.empty(count, dtype=np.int64)
    found = 0
    for i in range(len(label)):
        if label[i] == cell:
            units[found] = i
            found += 1
    return units


@compiled()  # type: ignore[no-untyped-call]
def split(graph, units, n_first, region, inside, fresh, passable, farthest, room, rng):  # type: ignore[no-untyped-def]
    """Split a region in two contiguous parts, the first with `n_first` units; the second becomes region `fresh`.

    Two seeds grow against each other: units are ranked by how much nearer they are to the first. Shortest paths to
    a seed never leave its part, so both parts are contiguous, except for units that lie behind a seed.
    """
    near, far, seen, queue, owner = room
    a = units[int(rng.random() * len(units))]
    _spread(graph, np.array([a]), region, inside, passable, owner, near)
    b = a
    if farthest:
        for unit in units:
            if np.isfinite(near[unit]) and near[unit] > near[b]:
                b = unit
    else:
        b = units[int(rng.random() * len(units))]
    _spread(graph, np.array([b]), region, inside, passable, owner, far)
    lead = np.empty(len(units))
    for i in range(len(units)):
        unit = units[i]
        both = np.isfinite(near[unit]) and np.isfinite(far[unit])
        lead[i] = near[unit] - far[unit] + 1e-9 * near[unit] if both else np.inf
    edge = _smallest(lead, n_first - 1)
    left = n_first
    for value in lead:
        left -= value < edge
    for i in range(len(units)):
        if lead[i] == edge:
            left -= 1
        if lead[i] > edge or (lead[i] == edge and left < 0):
            region[units[i]] = fresh
    indptr, indices = graph[0], graph[1]
    one = _is_whole(indptr, indices, units, n_first, region, inside, passable, seen, queue)
    return one and _is_whole(indptr, indices, units, len(units) - n_first, region, fresh, passable, seen, queue)


@compiled()  # type: ignore[no-untyped-call]
def _borders(indptr, indices, module, label, units, cell, other_cell):  # type: ignore[no-untyped-def]
    """Edges of two cells' units between modules, and between pieces of one module that should not touch."""
    between, touching = 0, 0
    for unit in units:
        own = label[unit]
        for k in range(indptr[unit], indptr[unit + 1]):
            beside = label[indices[k]]
            if beside == own:
                continue
            inner = beside in (cell, other_cell)
            weight = 1 if inner else 2  # inner edges are met twice
            if module[beside] != module[own]:
                between += weight
            else:
                touching += weight
    return between // 2, touching // 2


@compiled()  # type: ignore[no-untyped-call]
def recombine(graph, rough, cells, label, passable, room, length, touching, target, work, rng):  # type: ignore[no-untyped-def]
    """Join two adjacent cells and split them anew, again and again, where that brings the boundary nearer its target.

    Recombination (DeFord, Duchin & Solomon 2021), with parts of exactly the same sizes. Edges between two pieces of
    one module count against a split three times. With a target below 0 only these count. `work` is the number of
    units to be split in all.
    """
    indptr, indices = graph[0], graph[1]
    n_large, module, size = cells[0], cells[1], cells[2]
    for _ in range(4 * len(label)):
        aim = 0 if target < 0 else abs(length - target)
        if work <= 0 or (touching == 0 and aim <= 0.01 * target) or (touching == 0 and target < 0):
            break
        # A unit of a random cell, and a neighbour of it in another.
        cell = int(rng.random() * n_large)
        own = _units_of(label, cell, size[cell])
        other_cell = -1
        for _ in range(200):
            unit = own[int(rng.random() * len(own))]
            beside = label[indices[indptr[unit] + int(rng.random() * (indptr[unit + 1] - indptr[unit]))]]
            if beside < n_large and beside != cell and module[beside] != module[cell]:
                other_cell = beside
                break
        work -= len(own)
        if other_cell < 0:
            continue
        theirs = _units_of(label, other_cell, size[other_cell])
        units = np.empty(len(own) + len(theirs), dtype=np.int64)
        units[: len(own)], units[len(own) :] = own, theirs
        work -= len(theirs)
        before, before_touching = _borders(indptr, indices, module, label, units, cell, other_cell)
        for unit in theirs:
            label[unit] = cell
        # Seeds far apart are split across the long axis, which leaves the shortest border.
        farthest = length > target or rng.random() < 0.5
        whole = split(rough, units, size[cell], label, cell, other_cell, passable, farthest, room, rng)
        after, after_touching = _borders(indptr, indices, module, label, units, cell, other_cell)
        would = 0 if target < 0 else abs(length + after - before - target)
        if whole and would + 3 * (after_touching - before_touching) <= aim:
            length += after - before
            touching += after_touching - before_touching
        else:
            for unit in own:
                label[unit] = cell
            for unit in theirs:
                label[unit] = other_cell
    return length


@compiled()  # type: ignore[no-untyped-call]
def _touching(indptr, indices, module, label, unit):  # type: ignore[no-untyped-def]
    total = 0
    for k in range(indptr[unit], indptr[unit + 1]):
        other = label[indices[k]]
        total += other != label[unit] and module[other] == module[label[unit]]
    return total


@compiled()  # type: ignore[no-untyped-call]
def swap_crumbs(indptr, indices, cells, label, order, starts, rng):  # type: ignore[no-untyped-def]
    """Crumbs that touch their own module change places with others of their size, where that helps.

    Cell c has the units ``order[starts[c] : starts[c + 1]]``.
    """
    n_large, module, size, piece = cells
    n_cells = len(size)
    for one in range(n_large, n_cells):
        ours = order[starts[one] : starts[one + 1]]
        touching = 0
        for unit in ours:
            touching += _touching(indptr, indices, module, label, unit)
        if touching == 0:
            continue
        # Crumbs lie by falling size: those of the same size are neighbours in the list.
        low, high = one, one + 1
        while low > n_large and size[low - 1] == size[one]:
            low -= 1
        while high < n_cells and size[high] == size[one]:
            high += 1
        for _ in range(_BLOBS):
            other = low + int(rng.random() * (high - low))
            if other == one or piece[other] != piece[one] or module[other] == module[one]:
                continue
            theirs = order[starts[other] : starts[other + 1]]
            before, after = touching, 0
            for unit in theirs:
                before += _touching(indptr, indices, module, label, unit)
            label[ours], label[theirs] = other, one
            for unit in ours:
                after += _touching(indptr, indices, module, label, unit)
            for unit in theirs:
                after += _touching(indptr, indices, module, label, unit)
            if after < before:
                for i in range(len(ours)):
                    ours[i], theirs[i] = theirs[i], ours[i]
                break
            label[ours], label[theirs] = one, other


@compiled()  # type: ignore[no-untyped-call]
def _change(indptr, indices, module, label, unit, cell):  # type: ignore[no-untyped-def]
    """How many more edges join two modules once the unit belongs to `cell`."""
    before, after = 0, 0
    for k in range(indptr[unit], indptr[unit + 1]):
        other = module[label[indices[k]]]
        before += other != module[label[unit]]
        after += other != module[cell]
    return after - before


@compiled()  # type: ignore[no-untyped-call]
def _touches(indptr, indices, module, label, unit, cell):  # type: ignore[no-untyped-def]
    """Whether the unit, once in `cell`, would join it to another piece of its module."""
    for k in range(indptr[unit], indptr[unit + 1]):
        other = label[indices[k]]
        if other != cell and other != label[unit] and module[other] == module[cell]:
            return True
    return False


@compiled()  # type: ignore[no-untyped-call]
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


@compiled()  # type: ignore[no-untyped-call]
def _on_border(indptr, indices, n_large, label, unit):  # type: ignore[no-untyped-def]
    for k in range(indptr[unit], indptr[unit + 1]):
        if label[indices[k]] < n_large and label[indices[k]] != label[unit]:
            return True
    return False


@compiled()  # type: ignore[no-untyped-call]
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


@compiled()  # type: ignore[no-untyped-call]
def exchange(graph, cells, label, length, target, n_attempts, n_more, rng):  # type: ignore[no-untyped-def]
    """Exchanges of units between adjacent cells that keep sizes and pieces, until the boundary has its length.

    An exchange is taken if it brings the length no farther from the target than it is, or than half a per cent. In a
    boundary that is too long only units that do not lengthen it are tried first: most others come to nothing.
    """
    indptr, indices, _ = graph
    n_large, module = cells[0], cells[1]
    n = len(label)
    count = np.zeros(len(module), dtype=np.int64)
    for i in range(n):
        count[label[i]] += 1
    mark, queue = np.zeros(n, dtype=np.int64), np.empty(n, dtype=np.int64)
    marks = (mark, np.empty(n, dtype=np.int64), queue, np.zeros(1, dtype=np.int64))
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
        if length > target + slack and first > 0:
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


@compiled()  # type: ignore[no-untyped-call]
def boundary(indptr, indices, module):  # type: ignore[no-untyped-def]
    """Number of edges between two modules, from the module of each unit."""
    twice = 0
    for i in range(len(module)):
        for k in range(indptr[i], indptr[i + 1]):
            twice += module[i] != module[indices[k]]
    return twice // 2


@compiled()  # type: ignore[no-untyped-call]
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
