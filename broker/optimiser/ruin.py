"""What a round takes out of the plan.

*Force* clears room for a request that is left out, in its quota and at one of its better starts, by evicting what is
worth least there; *move* does the same for one that stands, elsewhere; *around* thins what stands about one that is
taken out; *window* thins a stretch of one pool or of several; *scatter* takes out a random few.
"""

from __future__ import annotations

import numpy as np

from broker.compiled import inlined
from broker.optimiser.columns import best_start_of_row
from broker.optimiser.picks import arrange, first_of
from broker.optimiser.problem import Floats
from broker.optimiser.search import Ruin, Search, Tally, below, random, shift
from broker.optimiser.state import Calendar, Guide, fits, score
from broker.optimiser.tables import Tables

__all__ = ["ruin"]

WINDOW = 23.0  # placements taken out of a stretch, at most and roughly
AROUND = 20.0
SCATTER = 12.0


@inlined
def _pick(t: Tables, g: Guide, s: Search, request: int, row: int, start: int, n: int) -> None:
    """Make somebody the ``n``-th to go, by what a device-slot of theirs is worth, give or take."""
    worth = t.value[row] + 0.5 * score(t, g, request, row, start)
    s.key[n] = worth / float(t.devices[row] * t.length[row]) * (0.6 + 0.8 * random(s.seed))
    s.pick[n] = request


@inlined
def _in_pool(t: Tables, c: Calendar, g: Guide, s: Search, pool: int, begin: int, end: int) -> int:
    """Pick who stands in a stretch of a pool and is not promised."""
    n, first = 0, t.seats[pool]
    for seat in range(first, first + c.taken[pool]):
        if c.begin[seat] < end and c.end[seat] > begin:
            request = c.who[seat]
            if t.promised[request] == 0:
                _pick(t, g, s, request, c.row[request], c.begin[seat], n)
                n += 1
    return n


@inlined
def _holding(t: Tables, c: Calendar, g: Guide, s: Search, quota: int, begin: int, end: int) -> int:
    """Pick who holds a quota in a stretch, in any pool of this search, and is not promised."""
    n = 0
    for k in range(t.holder_first[quota], t.holder_first[quota + 1]):
        request = t.holder[k]
        # The pool first: a request of the other side may move meanwhile. Nothing here touches rows but those picked.
        pool = c.pool[request]
        is_here = pool >= 0 and s.in_pools[pool] == 1 and c.start[request] < end and c.stop[request] > begin
        if is_here and t.promised[request] == 0:
            _pick(t, g, s, request, c.row[request], c.start[request], n)
            n += 1
    return n


@inlined
def _clear(
    t: Tables, c: Calendar, g: Guide, s: Search, pool: int, quota: int, devices: int, begin: int, end: int
) -> None:
    """Evict from a pool, or with ``quota`` 0 or above from that quota, until it has the devices or nobody can go."""
    short = 0
    for slot in range(begin, end):
        room = c.free[pool, slot] if quota < 0 else c.room[quota, slot]
        short += int(room < devices)
    if short == 0:
        return
    n = _in_pool(t, c, g, s, pool, begin, end) if quota < 0 else _holding(t, c, g, s, quota, begin, end)
    arrange(s, n)
    for k in range(n):
        request = first_of(s, n - k)
        old, began = c.row[request], c.start[request]
        useful = False
        for slot in range(max(begin, began), min(end, began + t.length[old])):
            room = c.free[pool, slot] if quota < 0 else c.room[quota, slot]
            if room < devices:
                useful = True
                short -= int(room + t.devices[old] >= devices)
        if useful:
            shift(t, c, s, request, -1, 0)
        if short == 0:
            return


@inlined
def _broken_promise(t: Tables, s: Search) -> int:
    """A promised request that is left out, or -1."""
    first = below(s.seed, s.out_count[0])
    for k in range(s.out_count[0]):
        request = s.out[(first + k) % s.out_count[0]]
        if t.promised[request] == 1 and t.first[request] < t.first[request + 1]:
            return int(request)
    return -1


@inlined
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


@inlined
def _staked(s: Search, stakes: Floats) -> int:
    """A request drawn by its stake; ``stakes`` are running sums."""
    point = random(s.seed) * stakes[-1]
    low, high = 0, len(stakes) - 1
    while low < high:
        middle = (low + high) // 2
        if stakes[middle] > point:
            high = middle
        else:
            low = middle + 1
    return low


@inlined
def _placed(c: Calendar, s: Search, stakes: Floats) -> int:
    """A placed request in one of this search's pools, drawn by its stake; -1 when a few draws found none."""
    for _ in range(8):
        request = _staked(s, stakes)
        pool = c.pool[request]  # read once: a request of the other side may move meanwhile
        if pool >= 0 and s.in_pools[pool] == 1:
            return request
    return -1


@inlined
def _most(t: Tables, request: int, row: int, start: int) -> int:
    """What a placement adds to the objective at most: ``gain`` without overage."""
    worth: int = t.value[row] - t.unit[t.pool[row]] * t.devices[row] * t.length[row] + t.move[request]
    worth -= t.late[row] * max(0, start - t.due[row])
    return worth


@inlined
def _push_in(
    t: Tables, c: Calendar, g: Guide, s: Search, ideal: Floats, peak: Floats, request: int, not_in: int, need: float
) -> None:
    """Place a request at one of its better starts outside a pool, evicting what stands there.

    Nothing happens where that could not bring the money in ``need``, even if everybody evicted came back.
    """
    best, chosen = -np.inf, -1
    first = t.first[request]
    spread = 0.3 * abs(peak[request]) + 0.1 * float(t.value[first])
    for row in range(first, t.first[request + 1]):
        worth = ideal[row] + spread * random(s.seed)
        able = s.in_pools[t.pool[row]] == 1 and t.pool[row] != not_in
        if able and worth > best and _most(t, request, row, 0) >= need:
            best, chosen = worth, row
    if chosen < 0:
        return
    if random(s.seed) < 0.5:
        start = t.low[chosen] + below(s.seed, t.high[chosen] - t.low[chosen] + 1)
    else:
        start = best_start_of_row(t, g, request, chosen)
    if _most(t, request, chosen, start) < need:
        return
    devices, end = t.devices[chosen], start + t.length[chosen]
    if t.quota[request] < len(t.limit) - 1:
        _clear(t, c, g, s, 0, t.quota[request], devices, start, end)
    _clear(t, c, g, s, t.pool[chosen], -1, devices, start, end)
    if fits(t, c, request, chosen, start):
        shift(t, c, s, request, chosen, start)


@inlined
def ruin(
    t: Tables, c: Calendar, g: Guide, s: Search, ideal: Floats, peak: Floats, stakes: Floats, kind: int, least: float
) -> None:
    """Take out some placements in one of the five ways; nobody is pushed in where ``least`` is then out of reach."""
    request, not_in = -1, -1
    if kind == Ruin.FORCE:
        if s.out_count[0] > 0:
            request = _left_out(t, s, peak)
    elif kind in (Ruin.MOVE, Ruin.AROUND):
        moved = _placed(c, s, stakes)
        if moved >= 0:
            row, start = c.row[moved], c.start[moved]
            shift(t, c, s, moved, -1, 0)
            if kind == Ruin.MOVE:
                request, not_in = moved, t.pool[row] if random(s.seed) < 0.7 else -1
            else:
                wide = int(t.length[row] * random(s.seed))
                _thin(t, c, s, t.pool[row], start - wide, start + t.length[row] + wide, AROUND * random(s.seed))
    elif kind == Ruin.WINDOW:
        _window(t, c, s, WINDOW)
    else:
        _thin(t, c, s, s.pools[below(s.seed, len(s.pools))], 0, t.capacity.shape[1], SCATTER)
    if request >= 0:
        _push_in(t, c, g, s, ideal, peak, request, not_in, least - s.tally[Tally.TOTAL])


@inlined
def _inside(t: Tables, c: Calendar, s: Search, pool: int, low: int, high: int) -> int:
    """Pick what stands in a pool between two slots."""
    n, first = 0, t.seats[pool]
    for seat in range(first, first + c.taken[pool]):
        if c.begin[seat] < high and c.end[seat] > low:
            s.pick[n] = c.who[seat]
            n += 1
    return n


@inlined
def _thin(t: Tables, c: Calendar, s: Search, pool: int, low: int, high: int, size: float) -> None:
    """Take out about ``size`` placements from a pool between two slots, or all where there are fewer."""
    n = _inside(t, c, s, pool, low, high)
    for k in range(n):
        if random(s.seed) * n < size:
            shift(t, c, s, s.pick[k], -1, 0)


@inlined
def _window(t: Tables, c: Calendar, s: Search, most: float) -> None:
    """Thin a stretch of one pool or of several, by up to ``most`` placements in all."""
    slots = t.capacity.shape[1]
    middle = below(s.seed, slots)
    wide = 1 + int(slots * 0.25 * random(s.seed) ** 2)
    pools = 1 + below(s.seed, 3)
    size = (3.0 + (most - 3.0) * random(s.seed)) / pools
    for _ in range(pools):
        _thin(t, c, s, s.pools[below(s.seed, len(s.pools))], middle - wide, middle + wide, size)
