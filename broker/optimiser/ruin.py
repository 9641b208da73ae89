"""What a round takes out of the plan.

*Force* clears room for a request that is left out, at one of its better starts, by evicting what is worth least there;
*window* empties a stretch of one pool or of several; *scatter* takes out a random few.
"""

from __future__ import annotations

import numpy as np

from broker.optimiser.columns import best_start_of_row
from broker.optimiser.compiled import compiled
from broker.optimiser.problem import Floats
from broker.optimiser.search import Search, Tally, below, random, shift
from broker.optimiser.state import Calendar, Guide, fits, score
from broker.optimiser.tables import Tables

__all__ = ["force", "scatter", "sort_picks", "window"]


@compiled
def sort_picks(s: Search, n: int) -> None:
    """Sort the first ``n`` picks by their keys, least first; they are few."""
    for k in range(1, n):
        key, request, at = s.key[k], s.pick[k], k
        while at > 0 and s.key[at - 1] > key:
            s.key[at], s.pick[at] = s.key[at - 1], s.pick[at - 1]
            at -= 1
        s.key[at], s.pick[at] = key, request


@compiled
def _evictable(t: Tables, c: Calendar, g: Guide, s: Search, row: int, start: int) -> int:
    """Pick what stands in the way of a placement and is not promised, least worth a device-slot first, give or take."""
    n, end = 0, start + t.length[row]
    request = c.head[t.pool[row]]
    while request >= 0:
        old, began = c.row[request], c.start[request]
        if began < end and began + t.length[old] > start and t.promised[request] == 0:
            worth = t.value[old] + 0.5 * score(t, g, request, old, began)
            s.key[n] = worth / float(t.devices[old] * t.length[old]) * (0.6 + 0.8 * random(s.seed))
            s.pick[n] = request
            n += 1
        request = c.after[request]
    return n


@compiled
def _clear(t: Tables, c: Calendar, g: Guide, s: Search, row: int, start: int) -> None:
    """Evict from the pool of a row until it has the devices from ``start`` on, or nobody else can go."""
    p, devices, end = t.pool[row], t.devices[row], start + t.length[row]
    short = 0
    for slot in range(start, end):
        short += int(c.free[p, slot] < devices)
    if short == 0:
        return
    n = _evictable(t, c, g, s, row, start)
    sort_picks(s, n)
    for k in range(n):
        request = s.pick[k]
        old, began = c.row[request], c.start[request]
        useful = False
        for slot in range(max(start, began), min(end, began + t.length[old])):
            if c.free[p, slot] < devices:
                useful = True
                short -= int(c.free[p, slot] + t.devices[old] >= devices)
        if useful:
            shift(t, c, s, request, -1, 0)
        if short == 0:
            return


@compiled
def _broken_promise(t: Tables, s: Search) -> int:
    """A promised request that is left out, or -1."""
    first = below(s.seed, s.out_count[0])
    for k in range(s.out_count[0]):
        request = s.out[(first + k) % s.out_count[0]]
        if t.promised[request] == 1 and t.first[request] < t.first[request + 1]:
            return int(request)
    return -1


@compiled
def _left_out(t: Tables, s: Search, peak: Floats) -> int:
    """A request to force in: the best of a few that are left out, or a promised one; -1 when there is none."""
    best, request = -np.inf, -1
    for _ in range(1 + below(s.seed, 4)):
        candidate = s.out[below(s.seed, s.out_count[0])]
        if peak[candidate] > best:
            best, request = peak[candidate], candidate
    if s.tally[Tally.BROKEN] > 0 and random(s.seed) < 0.5:
        promised = _broken_promise(t, s)
        request = promised if promised >= 0 else request
    return request


@compiled
def force(t: Tables, c: Calendar, g: Guide, s: Search, ideal: Floats, peak: Floats) -> None:
    """Place a request that is left out at one of its better starts, evicting what stands there."""
    request = _left_out(t, s, peak)
    if request < 0:
        return
    best, chosen = -np.inf, -1
    first = t.first[request]
    spread = 0.3 * abs(peak[request]) + 0.1 * float(t.value[first])
    for row in range(first, t.first[request + 1]):
        worth = ideal[row] + spread * random(s.seed)
        if worth > best:
            best, chosen = worth, row
    if chosen < 0:
        return
    if random(s.seed) < 0.5:
        start = t.low[chosen] + below(s.seed, t.high[chosen] - t.low[chosen] + 1)
    else:
        start = best_start_of_row(t, g, request, chosen)
    _clear(t, c, g, s, chosen, start)
    if fits(t, c, request, chosen, start):
        shift(t, c, s, request, chosen, start)


@compiled
def _empty(t: Tables, c: Calendar, s: Search, pool: int, low: int, high: int, share: float) -> None:
    """Take out a share of what stands in a pool between two slots."""
    request = c.head[pool]
    while request >= 0:
        following = c.after[request]
        start = c.start[request]
        if start < high and start + t.length[c.row[request]] > low and random(s.seed) < share:
            shift(t, c, s, request, -1, 0)
        request = following


@compiled
def window(t: Tables, c: Calendar, s: Search, size: int) -> None:
    """Empty a stretch of one pool or of several, about ``size`` placements in all."""
    slots = t.capacity.shape[1]
    middle = below(s.seed, slots)
    wide = 1 + int(slots * 0.25 * random(s.seed) ** 2)
    share = 0.3 + 0.7 * random(s.seed)
    for _ in range(1 + below(s.seed, 3)):
        if s.tally[Tally.TOUCHED] < size:
            _empty(t, c, s, s.pools[below(s.seed, len(s.pools))], middle - wide, middle + wide, share)


@compiled
def scatter(t: Tables, c: Calendar, s: Search, size: int) -> None:
    """Take out about ``size`` placements from anywhere in a pool."""
    pool = s.pools[below(s.seed, len(s.pools))]
    request = c.head[pool]
    count = 0
    while request >= 0:
        count += 1
        request = c.after[request]
    request = c.head[pool]
    while request >= 0:
        following = c.after[request]
        if random(s.seed) * count < size:
            shift(t, c, s, request, -1, 0)
        request = following
