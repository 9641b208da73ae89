"""What a round puts back: the requests that it took out, and rivals that were left out and could use the room.

A round that has little hope of being accepted is left there and then: when what the plan is worth by now, and what
everybody still to be put back was worth before, is too little together. Newcomers, or better places than before, could
make up for it, but hardly ever do: on a crowded market of 20,000 requests three quarters to nine tenths of all
insertions were of such rounds, and one or two in a hundred of the rounds that would have been accepted are lost.
"""

from __future__ import annotations

import numpy as np

from broker.compiled import inlined
from broker.optimiser.construct import best_start
from broker.optimiser.picks import arrange, first_of
from broker.optimiser.problem import Floats, Ints
from broker.optimiser.search import BUCKETS, Rivals, Search, Tally, below, random, shift
from broker.optimiser.state import Calendar, Guide, gain
from broker.optimiser.tables import Tables

__all__ = ["recreate"]


@inlined
def _hope(t: Tables, c: Calendar, s: Search) -> int:
    """What those whom this round took out were worth where they stood: together, and each in ``Search.hope``."""
    total = 0
    for k in range(s.tally[Tally.TOUCHED]):
        request = s.touched[k]
        s.hope[request] = 0
        if c.row[request] < 0 and s.old_row[k] >= 0:
            s.hope[request] = max(0, gain(t, c, request, s.old_row[k], s.old_start[k]))
            total += s.hope[request]
    return total


@inlined
def _candidates(t: Tables, c: Calendar, s: Search, near: Rivals, tries: int) -> int:
    """Collect what this round took out, and a sample of what was out before and could use the room that fell free."""
    n, slots = 0, t.capacity.shape[1]
    for k in range(s.tally[Tally.TOUCHED]):
        if c.row[s.touched[k]] < 0:
            s.pick[n] = s.touched[k]
            n += 1
    taken = n
    for p in s.pools:
        if s.low[p] >= s.high[p]:
            continue
        first = near.first[p * BUCKETS + s.low[p] * BUCKETS // slots]
        count = near.first[p * BUCKETS + (s.high[p] - 1) * BUCKETS // slots + 1] - first
        for _ in range(min(count, tries)):
            request = near.request[first + below(s.seed, count)]
            if s.out_at[request] >= 0 and c.row[request] < 0 and s.mark[request] != s.tally[Tally.ROUND]:
                # Marked as seen, so that it is picked once; the mark of a touched request is the round itself.
                s.mark[request] = s.tally[Tally.ROUND]
                s.pick[n] = request
                n += 1
    for k in range(taken, n):
        s.mark[s.pick[k]] = 0
    return n


@inlined
def _rank(t: Tables, s: Search, peak: Floats, n: int) -> None:
    """Queue candidates by one of several keys, blurred so that no round repeats another; promises first."""
    kind = random(s.seed)
    blur = 0.4 * random(s.seed)
    for k in range(n):
        request = s.pick[k]
        row = t.first[request]
        size = float(t.devices[row] * t.length[row]) if row < t.first[request + 1] else 1.0
        if kind < 0.35:
            key = peak[request]
        elif kind < 0.65:
            key = peak[request] / size
        elif kind < 0.85:
            key = size
        else:
            key = random(s.seed)
        key *= 1.0 + blur * (random(s.seed) - 0.5)
        s.key[k] = -key if t.promised[request] == 0 else -1e25 * (1.0 + max(0.0, key))
    arrange(s, n)


@inlined
def _put(t: Tables, c: Calendar, g: Guide, s: Search, ideal: Floats, ranked: Ints, request: int, banned: int) -> None:
    """Place a request where its reduced value is highest, if that gains or is promised.

    One that was out before this round looks only where room fell free: elsewhere it had its chance.
    """
    best, best_row, best_at = -np.inf, -1, -1
    newcomer = s.mark[request] != s.tally[Tally.ROUND]
    for k in range(t.first[request], t.first[request + 1]):
        row = ranked[k]
        if ideal[row] <= best:
            break
        if row == banned:
            continue
        p = t.pool[row]
        if s.in_pools[p] == 0:
            continue
        if newcomer and (t.low[row] >= s.high[p] or t.high[row] + t.length[row] <= s.low[p] or s.low[p] >= s.high[p]):
            continue
        worth, start = best_start(t, c, g, request, row)
        if worth > best:
            best, best_row, best_at = worth, row, start
    if best_row >= 0 and (t.promised[request] == 1 or gain(t, c, request, best_row, best_at) > 0):
        shift(t, c, s, request, best_row, best_at)


@inlined
def recreate(
    t: Tables,
    c: Calendar,
    g: Guide,
    s: Search,
    near: Rivals,
    ideal: Floats,
    ranked: Ints,
    peak: Floats,
    tries: int,
    least: float,
) -> int:
    """Put back what profits, in a random one of several orders; returns how many insertions were tried.

    ``least`` is what the plan must be worth in the end to be accepted; no round is left early at ``-inf``.
    """
    hope = _hope(t, c, s)
    if s.tally[Tally.TOTAL] + hope < least:
        return 0
    n = _candidates(t, c, s, near, tries)
    _rank(t, s, peak, n)
    for k in range(n):
        if s.tally[Tally.TOTAL] + hope < least:
            return k
        request = first_of(s, n - k)
        if s.mark[request] == s.tally[Tally.ROUND]:
            hope -= s.hope[request]
        banned = -1
        if random(s.seed) < 0.1 and t.first[request + 1] > t.first[request]:
            banned = t.first[request] + below(s.seed, t.first[request + 1] - t.first[request])
        _put(t, c, g, s, ideal, ranked, request, banned)
    return n
