"""Better plans by ruin and recreate at given prices.

A round takes a few placements out and puts what profits back, at the best reduced value with room; the outcome is
accepted by the exact objective under a falling temperature (Schrimpf et al. 2000; Christiaens and Vanden Berghe 2020).
Promises come before money: a round that keeps fewer of them than before is undone, one that keeps more stands.
"""

from __future__ import annotations

import numpy as np

from broker.compiled import compiled, inlined
from broker.optimiser.problem import Floats, Ints
from broker.optimiser.recreate import recreate
from broker.optimiser.ruin import ruin
from broker.optimiser.search import Rivals, Search, Tally, note, random, remember
from broker.optimiser.state import Calendar, Guide, lift, place
from broker.optimiser.tables import Tables

__all__ = ["improve"]

TRIES = 30  # looks for rivals in each pool with fresh room
ROUND = 5  # insertions that a round costs beside those that it tries


@inlined
def _undo(t: Tables, c: Calendar, s: Search, total: int) -> None:
    for k in range(s.tally[Tally.TOUCHED]):
        if c.row[s.touched[k]] >= 0:
            lift(t, c, s.touched[k])
    for k in range(s.tally[Tally.TOUCHED]):
        if s.old_row[k] >= 0:
            place(t, c, s.touched[k], s.old_row[k], s.old_start[k])
    s.tally[Tally.TOTAL] = total


@inlined
def _kept(t: Tables, c: Calendar, s: Search) -> int:
    """Promises kept after this round, counted like ``Tally.KEPT``."""
    kept = s.tally[Tally.KEPT]
    for k in range(s.tally[Tally.TOUCHED]):
        if t.promised[s.touched[k]] == 1:
            kept += int(c.row[s.touched[k]] >= 0) - int(s.old_row[k] >= 0)
    return int(kept)


@inlined
def _round(
    t: Tables,
    c: Calendar,
    g: Guide,
    s: Search,
    near: Rivals,
    ideal: Floats,
    ranked: Ints,
    peak: Floats,
    stakes: Floats,
    heat: float,
    to_end: bool,
) -> int:
    """One ruin, one recreate, one verdict; returns how many insertions it tried."""
    s.tally[Tally.ROUND] += 1
    s.tally[Tally.TOUCHED] = 0
    for p in s.pools:
        s.low[p] = s.high[p] = 0
    before = s.tally[Tally.TOTAL]
    draw, kind = random(s.seed), 0
    while kind < len(s.mix) - 1 and s.mix[kind] <= draw:
        kind += 1
    s.tried[kind] += 1
    least = before + heat * np.log(random(s.seed) + 1e-12)
    reach = -np.inf if to_end or s.tally[Tally.BROKEN] > 0 else least  # a promise is worth more than any loss
    ruin(t, c, g, s, ideal, peak, stakes, kind, reach)
    tried = recreate(t, c, g, s, near, ideal, ranked, peak, TRIES, reach)
    kept, total = _kept(t, c, s), s.tally[Tally.TOTAL]
    if total < before:
        s.loss[0] += np.log(float(before - total))
        s.loss[1] += 1.0
    poorer = total != before and total <= least
    if kept < s.tally[Tally.KEPT] or (kept == s.tally[Tally.KEPT] and poorer):
        _undo(t, c, s, before)
        return tried
    s.tally[Tally.KEPT] = kept
    s.won[kind] += int(total > before)
    for k in range(s.tally[Tally.TOUCHED]):
        note(c, s, s.touched[k])
    best = s.tally[Tally.BEST_KEPT]
    if kept > best or (kept == best and total > s.tally[Tally.BEST]):
        remember(c, s)
    return tried


@compiled
def improve(
    t: Tables,
    c: Calendar,
    g: Guide,
    s: Search,
    near: Rivals,
    ideal: Floats,
    ranked: Ints,
    peak: Floats,
    stakes: Floats,
    heat: float,
    tries: int,
    to_end: bool,
) -> int:
    """Rounds until about ``tries`` insertions were tried; returns how many it was.

    ``ideal`` are the reduced values of rows in an empty market, ``ranked`` the rows of each request by them,
    ``peak`` the best of each request. ``heat`` is the
    loss, in money, that a round may make with probability 1/e. ``to_end`` plays even hopeless rounds to their end, to
    see what they cost. The best plan is in ``s``.
    """
    s.tally[Tally.BROKEN] = 0
    for k in range(s.out_count[0]):
        request = s.out[k]
        s.tally[Tally.BROKEN] += t.promised[request] * int(t.first[request] < t.first[request + 1])
    done = 0
    while done < tries:
        done += ROUND + _round(t, c, g, s, near, ideal, ranked, peak, stakes, heat, to_end)
    return done
