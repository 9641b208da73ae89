"""Better plans by ruin and recreate at given prices.

A round takes a few placements out and puts what profits back, at the best reduced value with room; the outcome is
accepted by the exact objective under a falling temperature (Schrimpf et al. 2000; Christiaens and Vanden Berghe 2020).
Promises come before money: a round that keeps fewer of them than before is undone, one that keeps more stands.
Three ruins: *force* clears room for a request that is left out, at one of its better starts, by evicting what is worth
least there; *window* empties a stretch of one pool or of several; *scatter* takes out a random few.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from broker.optimiser.compiled import compiled
from broker.optimiser.construct import insert
from broker.optimiser.problem import Floats, Ints
from broker.optimiser.state import Calendar, Guide, change, fits, score
from broker.optimiser.tables import Tables

__all__ = ["Search", "improve", "new_search"]

Seeds = NDArray[np.uint64]


class Search(NamedTuple):
    """Scratch space and memory of the search; ``seed`` alone decides its random choices."""

    seed: Seeds  # [1]
    out: Ints  # [requests] requests left out, in no order; the first out_count[0] count
    out_count: Ints  # [1]
    out_at: Ints  # [requests] where a request is in `out`, or -1
    touched: Ints  # [requests] requests that this round moved
    old_row: Ints  # [requests] where touched ones were, aligned with `touched`
    old_start: Ints  # [requests]
    mark: Ints  # [requests] the last round that touched a request
    pick: Ints  # [requests] candidates of a recreate
    key: Floats  # [requests] their order
    best_row: Ints  # [requests] the best plan so far
    best_start: Ints  # [requests]
    tally: Ints  # [7] rounds, present total, best total, touched now, promises kept now and at best, promised ones out


def new_search(c: Calendar, total: int, seed: int) -> Search:
    """A search that stands at the plan in ``c``, whose gains sum to ``total``; promises are counted from there."""
    size = len(c.row)
    out = np.flatnonzero(c.row < 0)
    out_at = np.full(size, -1, np.int64)
    out_at[out] = np.arange(len(out))
    ints = [np.zeros(size, np.int64) for _ in range(5)]
    return Search(
        seed=np.array([(seed * 0x9E3779B97F4A7C15 + 0x1234567) % 2**64 | 1], np.uint64),
        out=np.concatenate((out, np.zeros(size - len(out), np.int64))),
        out_count=np.array([len(out)], np.int64),
        out_at=out_at,
        touched=ints[0],
        old_row=ints[1],
        old_start=ints[2],
        mark=ints[3],
        pick=ints[4],
        key=np.zeros(size),
        best_row=c.row.copy(),
        best_start=c.start.copy(),
        tally=np.array([0, total, total, 0, 0, 0, 0], np.int64),
    )


@compiled
def _random(seed: Seeds) -> float:
    """The next number in [0, 1) (xorshift64*, Vigna 2016)."""
    x = seed[0]
    x ^= x >> np.uint64(12)
    x ^= x << np.uint64(25)
    x ^= x >> np.uint64(27)
    seed[0] = x
    return float((x * np.uint64(0x2545F4914F6CDD1D)) >> np.uint64(11)) / 9007199254740992.0


@compiled
def _below(seed: Seeds, n: int) -> int:
    return min(n - 1, int(_random(seed) * n))


@compiled
def _shift(t: Tables, c: Calendar, s: Search, request: int, row: int, start: int) -> None:
    """Change a placement and remember what it was, once a round."""
    if s.mark[request] != s.tally[0]:
        s.mark[request] = s.tally[0]
        n = s.tally[3]
        s.touched[n], s.old_row[n], s.old_start[n] = request, c.row[request], c.start[request]
        s.tally[3] += 1
    s.tally[1] += change(t, c, request, row, start)


@compiled
def _note(c: Calendar, s: Search, request: int) -> None:
    """Keep the list of requests left out in step with the calendar."""
    at, n = s.out_at[request], s.out_count[0]
    if c.row[request] < 0 and at < 0:
        s.out[n], s.out_at[request] = request, n
        s.out_count[0] += 1
    elif c.row[request] >= 0 and at >= 0:
        last = s.out[n - 1]
        s.out[at], s.out_at[last], s.out_at[request] = last, at, -1
        s.out_count[0] -= 1


@compiled
def _cheapest(t: Tables, c: Calendar, g: Guide, s: Search, pool: int, slot: int) -> int:
    """The placement over a slot of a pool that is worth least a device-slot, give or take."""
    best, least = -1, np.inf
    request = c.head[pool]
    while request >= 0:
        row, start = c.row[request], c.start[request]
        if start <= slot < start + t.length[row] and t.promised[request] == 0:
            size = float(t.devices[row] * t.length[row])
            worth = (t.value[row] + 0.5 * score(t, g, request, row, start)) / size
            worth *= 0.6 + 0.8 * _random(s.seed)
            if worth < least:
                best, least = request, worth
        request = c.after[request]
    return best


@compiled
def _clear(t: Tables, c: Calendar, g: Guide, s: Search, row: int, start: int) -> None:
    """Evict from the pool of a row until it has the devices from ``start`` on, or nobody else can go."""
    p = t.pool[row]
    for slot in range(start, start + t.length[row]):
        while c.free[p, slot] < t.devices[row]:
            request = _cheapest(t, c, g, s, p, slot)
            if request < 0:
                return
            _shift(t, c, s, request, -1, 0)


@compiled
def _broken_promise(t: Tables, s: Search) -> int:
    """A promised request that is left out, or -1."""
    first = _below(s.seed, s.out_count[0])
    for k in range(s.out_count[0]):
        request: int = s.out[(first + k) % s.out_count[0]]
        if t.promised[request] == 1 and t.first[request] < t.first[request + 1]:
            return request
    return -1


@compiled
def _force(t: Tables, c: Calendar, g: Guide, s: Search, ideal: Floats, at: Ints) -> None:
    """Place a request that is left out at one of its better starts, evicting what stands there."""
    best, request = -np.inf, -1
    for _ in range(1 + _below(s.seed, 4)):
        candidate = s.out[_below(s.seed, s.out_count[0])]
        for row in range(t.first[candidate], t.first[candidate + 1]):
            if ideal[row] > best:
                best, request = ideal[row], candidate
    if s.tally[6] > 0 and _random(s.seed) < 0.5:
        promised = _broken_promise(t, s)
        request = promised if promised >= 0 else request
    if request < 0:
        return
    best, chosen = -np.inf, -1
    spread = 0.3 * abs(ideal[t.first[request]]) + 0.1 * float(t.value[t.first[request]])
    for row in range(t.first[request], t.first[request + 1]):
        worth = ideal[row] + spread * _random(s.seed)
        if worth > best:
            best, chosen = worth, row
    start = at[chosen]
    if _random(s.seed) < 0.5:
        start = t.low[chosen] + _below(s.seed, t.high[chosen] - t.low[chosen] + 1)
    _clear(t, c, g, s, chosen, start)
    if fits(t, c, request, chosen, start):
        _shift(t, c, s, request, chosen, start)


@compiled
def _empty(t: Tables, c: Calendar, s: Search, pool: int, low: int, high: int, share: float) -> None:
    """Take out a share of what stands in a pool between two slots."""
    request = c.head[pool]
    while request >= 0:
        following = c.after[request]
        start = c.start[request]
        if start < high and start + t.length[c.row[request]] > low and _random(s.seed) < share:
            _shift(t, c, s, request, -1, 0)
        request = following


@compiled
def _window(t: Tables, c: Calendar, s: Search, size: int) -> None:
    """Empty a stretch of one pool or of several, about ``size`` placements in all."""
    slots, pools = t.capacity.shape[1], len(t.unit)
    middle = _below(s.seed, slots)
    wide = 1 + int(slots * 0.25 * _random(s.seed) ** 2)
    share = 0.3 + 0.7 * _random(s.seed)
    for _ in range(1 + _below(s.seed, 3)):
        if s.tally[3] < size:
            _empty(t, c, s, _below(s.seed, pools), middle - wide, middle + wide, share)


@compiled
def _scatter(t: Tables, c: Calendar, s: Search, size: int) -> None:
    for _ in range(size):
        request = _below(s.seed, len(c.row))
        if c.row[request] >= 0:
            _shift(t, c, s, request, -1, 0)


@compiled
def _near(t: Tables, request: int, low: int, high: int) -> bool:
    """Whether some column of a request touches the slots of this round."""
    for row in range(t.first[request], t.first[request + 1]):
        if t.low[row] < high and t.high[row] + t.length[row] > low:
            return True
    return False


@compiled
def _candidates(t: Tables, c: Calendar, s: Search, tries: int) -> int:
    """Collect what this round took out, and a sample of what was out before and could use the room."""
    low, high, n = t.capacity.shape[1], 0, 0
    for k in range(s.tally[3]):
        request = s.touched[k]
        if s.old_row[k] >= 0:
            low = min(low, s.old_start[k])
            high = max(high, s.old_start[k] + t.length[s.old_row[k]])
        if c.row[request] < 0:
            s.pick[n] = request
            n += 1
    count = s.out_count[0]
    if count > 0:
        first = _below(s.seed, count)
        for k in range(min(count, tries)):
            request = s.out[(first + k) % count]
            if c.row[request] < 0 and s.mark[request] != s.tally[0] and _near(t, request, low, high):
                s.pick[n] = request
                n += 1
    return n


@compiled
def _order(t: Tables, s: Search, ideal: Floats, n: int) -> Ints:
    """Candidates by one of several keys, blurred so that no round repeats another."""
    kind = _random(s.seed)
    blur = 0.4 * _random(s.seed)
    for k in range(n):
        request = s.pick[k]
        row = t.first[request]
        best = np.max(ideal[row : t.first[request + 1]]) if row < t.first[request + 1] else 0.0
        size = float(t.devices[row] * t.length[row]) if row < t.first[request + 1] else 1.0
        if kind < 0.35:
            key = best
        elif kind < 0.65:
            key = best / size
        elif kind < 0.85:
            key = size
        else:
            key = _random(s.seed)
        key *= 1.0 + blur * (_random(s.seed) - 0.5)
        s.key[k] = -key if t.promised[request] == 0 else -1e25 * (1.0 + max(0.0, key))
    return np.argsort(s.key[:n])


@compiled
def _recreate(t: Tables, c: Calendar, g: Guide, s: Search, ideal: Floats, tries: int) -> int:
    n = _candidates(t, c, s, tries)
    order = _order(t, s, ideal, n)
    for k in order:
        request = s.pick[k]
        skipped = -1
        if _random(s.seed) < 0.1 and t.first[request + 1] > t.first[request]:
            skipped = t.first[request] + _below(s.seed, t.first[request + 1] - t.first[request])
        s.tally[1] += insert(t, c, g, ideal, request, skipped)
        if c.row[request] >= 0 and s.mark[request] != s.tally[0]:
            s.mark[request] = s.tally[0]
            last = s.tally[3]
            s.touched[last], s.old_row[last], s.old_start[last] = request, -1, 0
            s.tally[3] += 1
    return n


@compiled
def _undo(t: Tables, c: Calendar, s: Search, total: int) -> None:
    for k in range(s.tally[3]):
        change(t, c, s.touched[k], -1, 0)
    for k in range(s.tally[3]):
        if s.old_row[k] >= 0:
            change(t, c, s.touched[k], s.old_row[k], s.old_start[k])
    s.tally[1] = total


@compiled
def _kept(t: Tables, c: Calendar, s: Search) -> int:
    """Promises kept after this round, counted like ``tally``."""
    kept: int = s.tally[4]
    for k in range(s.tally[3]):
        if t.promised[s.touched[k]] == 1:
            kept += int(c.row[s.touched[k]] >= 0) - int(s.old_row[k] >= 0)
    return kept


@compiled
def _round(t: Tables, c: Calendar, g: Guide, s: Search, ideal: Floats, at: Ints, heat: float) -> int:
    """One ruin, one recreate, one verdict; returns how many insertions it tried."""
    s.tally[0] += 1
    s.tally[3] = 0
    before = s.tally[1]
    kind = _random(s.seed)
    if kind < 0.5 and s.out_count[0] > 0:
        _force(t, c, g, s, ideal, at)
    elif kind < 0.9:
        _window(t, c, s, 40)
    else:
        _scatter(t, c, s, 12)
    tried = _recreate(t, c, g, s, ideal, 60)
    kept = _kept(t, c, s)
    poorer = s.tally[1] <= before + heat * np.log(_random(s.seed) + 1e-12) and s.tally[1] != before
    if kept < s.tally[4] or (kept == s.tally[4] and poorer):
        _undo(t, c, s, before)
        return tried
    s.tally[4] = kept
    for k in range(s.tally[3]):
        _note(c, s, s.touched[k])
    if kept > s.tally[5] or (kept == s.tally[5] and s.tally[1] > s.tally[2]):
        s.tally[2], s.tally[5] = s.tally[1], kept
        s.best_row[:] = c.row
        s.best_start[:] = c.start
    return tried


@compiled
def improve(t: Tables, c: Calendar, g: Guide, s: Search, ideal: Floats, at: Ints, heat: float, tries: int) -> int:
    """Rounds until about ``tries`` insertions were tried; returns how many it was.

    ``heat`` is the loss, in money, that a round may make with probability 1/e. The best plan is in ``s``.
    """
    s.tally[6] = 0
    for k in range(s.out_count[0]):
        s.tally[6] += t.promised[s.out[k]]
    done = 0
    while done < tries:
        done += 5 + _round(t, c, g, s, ideal, at, heat)
    return done
