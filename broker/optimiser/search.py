"""The memory of a local search: its randomness, who is left out, what a round moved, and the best plan so far."""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from broker.compiled import compiled, inlined
from broker.optimiser.problem import Floats, Ints
from broker.optimiser.state import Calendar, change
from broker.optimiser.tables import Tables

__all__ = ["Rivals", "Ruin", "Search", "Tally", "below", "new_search", "note", "random", "remember", "rivals", "shift"]

Seeds = NDArray[np.uint64]

BUCKETS = 32  # stretches of the horizon in which rivals are looked up


MIX = (0.25, 0.4, 0.1, 0.2, 0.05)  # of ruins


class Tally(IntEnum):
    """Places in ``Search.tally``."""

    ROUND = 0
    TOTAL = 1  # gains of the present plan
    BEST = 2  # gains of the best plan
    TOUCHED = 3  # requests touched in this round
    KEPT = 4  # promises kept, less those kept at the start of the search
    BEST_KEPT = 5
    BROKEN = 6  # promised requests with rows left out when the search last began
    STALE = 7  # requests in `stale`


class Search(NamedTuple):
    """Scratch space and memory of the search; ``seed`` alone decides its random choices."""

    seed: Seeds  # [1]
    pools: Ints  # pools that this search may change
    in_pools: Ints  # [pools] 1 for these, else 0
    out: Ints  # [requests] requests left out, in no order; the first out_count[0] count
    out_count: Ints  # [1]
    out_at: Ints  # [requests] where a request is in `out`, or -1
    touched: Ints  # [requests] requests that this round moved
    old_row: Ints  # [requests] where touched ones were, aligned with `touched`
    old_start: Ints  # [requests]
    mark: Ints  # [requests] the last round that touched a request
    low: Ints  # [pools] first slot that this round freed, in each pool
    high: Ints  # [pools] one past the last
    pick: Ints  # [requests] candidates of a recreate, or of an eviction
    key: Floats  # [requests] their order
    hope: Ints  # [requests] what those that this round took out were worth where they stood
    best_row: Ints  # [requests] the best plan so far, but for `stale`
    best_start: Ints  # [requests]
    stale: Ints  # [requests] requests moved since the best plan
    is_stale: Ints  # [requests]
    mix: Floats  # [len(Ruin)] how often each ruin is tried, as running sums up to 1
    tried: Ints  # [len(Ruin)] how often it was
    won: Ints  # [len(Ruin)] how often it made a plan that was accepted and better
    loss: Floats  # [2] of rounds that made the plan poorer: sum of logarithms of what they cost, and their number
    tally: Ints  # [len(Tally)]


def new_search(
    c: Calendar, total: int, seed: int, pools: Ints | None = None, able: Ints | None = None, mix: Floats | None = None
) -> Search:
    """A search that stands at the plan in ``c``, whose gains sum to ``total``; promises are counted from there.

    It changes only ``pools`` (all by default). Who is left out comes in only if among the requests ``able`` (all by
    default); who stands in its pools may move, go and come back.
    """
    size = len(c.row)
    pools = np.arange(len(c.taken)) if pools is None else pools
    in_pools = np.zeros(len(c.taken), np.int64)
    in_pools[pools] = 1
    out = np.flatnonzero(c.row < 0) if able is None else able[c.row[able] < 0]
    out_at = np.full(size, -1, np.int64)
    out_at[out] = np.arange(len(out))
    ints = [np.zeros(size, np.int64) for _ in range(8)]
    edges = [np.zeros(len(c.taken), np.int64) for _ in range(2)]
    tally = np.zeros(len(Tally), np.int64)
    tally[Tally.TOTAL] = tally[Tally.BEST] = total
    return Search(
        seed=np.array([(seed * 0x9E3779B97F4A7C15 + 0x1234567) % 2**64 | 1], np.uint64),
        pools=pools,
        in_pools=in_pools,
        out=np.concatenate((out, np.zeros(size - len(out), np.int64))),
        out_count=np.array([len(out)], np.int64),
        out_at=out_at,
        touched=ints[0],
        old_row=ints[1],
        old_start=ints[2],
        mark=ints[3],
        low=edges[0],
        high=edges[1],
        pick=ints[4],
        key=np.zeros(size),
        hope=ints[7],
        best_row=c.row.copy(),
        best_start=c.start.copy(),
        stale=ints[5],
        is_stale=ints[6],
        mix=np.cumsum(MIX) if mix is None else mix,
        tried=np.zeros(len(Ruin), np.int64),
        won=np.zeros(len(Ruin), np.int64),
        loss=np.zeros(2),
        tally=tally,
    )


class Ruin(IntEnum):
    """Ways to take placements out; places in ``Search.mix``."""

    FORCE = 0
    MOVE = 1
    AROUND = 2
    WINDOW = 3
    SCATTER = 4


class Rivals(NamedTuple):
    """Who could use room, by pool and stretch of the horizon."""

    first: Ints  # [pools * BUCKETS + 1] where the requests of each stretch begin
    request: NDArray[np.int32]  # [rows]


def rivals(t: Tables) -> Rivals:
    """Every row under the pool and the stretch in which the middle of its window lies."""
    first = np.zeros(len(t.unit) * BUCKETS + 1, np.int64)
    request = np.empty(len(t.pool), np.int32)
    _sort_rivals(t, first, request)
    return Rivals(first, request)


@compiled
def _sort_rivals(t: Tables, first: Ints, request: NDArray[np.int32]) -> None:
    """A counting sort: count each stretch, make running sums, fill from the back."""
    slots = t.capacity.shape[1]
    for row in range(len(t.pool)):
        middle = min(slots - 1, (t.low[row] + t.high[row] + t.length[row]) // 2)
        first[t.pool[row] * BUCKETS + middle * BUCKETS // slots] += 1
    for k in range(1, len(first)):
        first[k] += first[k - 1]
    for owner in range(len(t.quota) - 1, -1, -1):
        for row in range(t.first[owner + 1] - 1, t.first[owner] - 1, -1):
            middle = min(slots - 1, (t.low[row] + t.high[row] + t.length[row]) // 2)
            stretch = t.pool[row] * BUCKETS + middle * BUCKETS // slots
            first[stretch] -= 1
            request[first[stretch]] = owner


@inlined
def random(seed: Seeds) -> float:
    """The next number in [0, 1) (xorshift64*, Vigna 2016)."""
    x = seed[0]
    x ^= x >> np.uint64(12)
    x ^= x << np.uint64(25)
    x ^= x >> np.uint64(27)
    seed[0] = x
    return float((x * np.uint64(0x2545F4914F6CDD1D)) >> np.uint64(11)) / 9007199254740992.0


@inlined
def below(seed: Seeds, n: int) -> int:
    """A random whole number from 0 to n - 1."""
    return min(n - 1, int(random(seed) * n))


@inlined
def shift(t: Tables, c: Calendar, s: Search, request: int, row: int, start: int) -> None:
    """Change a placement and remember what it was, once a round; room that falls free is noted."""
    old, old_start = c.row[request], c.start[request]
    if s.mark[request] != s.tally[Tally.ROUND]:
        s.mark[request] = s.tally[Tally.ROUND]
        n = s.tally[Tally.TOUCHED]
        s.touched[n], s.old_row[n], s.old_start[n] = request, old, old_start
        s.tally[Tally.TOUCHED] += 1
    if old >= 0:
        p, end = t.pool[old], old_start + t.length[old]
        if s.low[p] >= s.high[p]:
            s.low[p], s.high[p] = old_start, end
        else:
            s.low[p], s.high[p] = min(s.low[p], old_start), max(s.high[p], end)
    s.tally[Tally.TOTAL] += change(t, c, request, row, start)


@inlined
def note(c: Calendar, s: Search, request: int) -> None:
    """Keep the lists of requests left out, and of those moved since the best plan, in step with the calendar."""
    at, n = s.out_at[request], s.out_count[0]
    if c.row[request] < 0 and at < 0:
        s.out[n], s.out_at[request] = request, n
        s.out_count[0] += 1
    elif c.row[request] >= 0 and at >= 0:
        last = s.out[n - 1]
        s.out[at], s.out_at[last], s.out_at[request] = last, at, -1
        s.out_count[0] -= 1
    if s.is_stale[request] == 0:
        s.is_stale[request] = 1
        s.stale[s.tally[Tally.STALE]] = request
        s.tally[Tally.STALE] += 1


@inlined
def remember(c: Calendar, s: Search) -> None:
    """Make the present plan the best one."""
    s.tally[Tally.BEST], s.tally[Tally.BEST_KEPT] = s.tally[Tally.TOTAL], s.tally[Tally.KEPT]
    for k in range(s.tally[Tally.STALE]):
        request = s.stale[k]
        s.best_row[request], s.best_start[request] = c.row[request], c.start[request]
        s.is_stale[request] = 0
    s.tally[Tally.STALE] = 0
