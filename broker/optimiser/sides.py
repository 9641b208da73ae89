"""Two searches at once, each on its own half of the pools.

What stands in a pool touches another pool only through quotas and reserves. So the pools are dealt into two halves, the
room that each quota and reserve has left is given to one of them, each half is improved by its own thread, and what is
left of the room is put together again: whatever both did fits, and the outcome does not depend on timing. Every deal is
another one, so that every pair of pools is on one side half of the time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from broker.optimiser.columns import ideals, ranked, second_thread
from broker.optimiser.improve import improve
from broker.optimiser.problem import Bools, Floats, Ints
from broker.optimiser.search import Rivals, Search, Tally, new_search
from broker.optimiser.state import Calendar, Guide
from broker.optimiser.tables import PLENTY, Tables

__all__ = ["Outcome", "Wishes", "improve_sides", "new_wishes"]

STAKE = 0.75  # power of its value by which a request is drawn for a move
SLICE = 2_000  # insertions between two questions whether it is enough


@dataclass(frozen=True, slots=True)
class Wishes:
    """What requests would like at given prices, in an empty market."""

    ideal: Floats  # [rows] reduced values
    ranked: Ints  # [rows] the rows of each request, best first
    top: Ints  # [requests] the best row of each, or -1
    peak: Floats  # [requests] the best of each; -inf without rows
    stakes: Floats  # [requests] running sums of how often each is drawn for a move
    near: Rivals


def new_wishes(t: Tables, g: Guide, near: Rivals, enough: Callable[[], bool]) -> Wishes:
    """The wishes at the prices of ``g``; ``Interrupted`` when it is enough meanwhile."""
    ideal = ideals(t, g, enough)
    rows = ranked(t, ideal)
    has = np.flatnonzero(np.diff(t.first))
    top, peak, worth = np.full(len(t.quota), -1), np.full(len(t.quota), -np.inf), np.zeros(len(t.quota))
    top[has] = rows[t.first[has]]
    peak[has] = ideal[top[has]]
    worth[has] = np.maximum(0.0, t.value[top[has]])
    return Wishes(ideal, rows, top, peak, np.cumsum(worth**STAKE + 1e-300), near)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a stretch of search did to a calendar and what its best plan was, counted from where it began."""

    gained: int
    kept: int  # promises
    best_gained: int
    best_kept: int
    best_row: Ints
    best_start: Ints
    rounds: int
    tried: int
    loss: Floats  # [2] as in ``Search``


def improve_sides(
    t: Tables,
    c: Calendar,
    g: Guide,
    wishes: Wishes,
    heat: float,
    tries: int,
    rng: np.random.Generator,
    waiting: Bools | None = None,
    mix: Sequence[float] | None = None,
    enough: Callable[[], bool] = lambda: False,
    to_end: bool = False,
) -> Outcome:
    """Improve the plan in ``c`` for about ``tries`` insertions on each side; one side where there is one pool.

    With ``waiting`` only those come in from outside, and who had to make room for them. ``mix`` says how often each
    ruin is tried. ``enough`` is asked every few milliseconds, on both threads, and ends it early. ``to_end`` plays even
    hopeless rounds to their end.
    """
    pools = rng.permutation(len(t.unit))
    out = np.ones(len(c.row), np.bool_) if waiting is None else waiting
    shares = None if mix is None else np.cumsum(mix)
    if len(pools) < 2:
        search = new_search(c, 0, int(rng.integers(2**31)), able=np.flatnonzero(out), mix=shares)
        tried = _search(t, c, g, wishes, search, heat, tries, enough, to_end)
        return _outcome(search.tally, search.best_row, search.best_start, tried, search.loss)
    deal = np.zeros(len(pools), np.int64)
    deal[pools[: len(pools) // 2]] = 1
    side, placed = rng.integers(0, 2, len(c.row)), np.flatnonzero(c.row >= 0)
    side[placed] = deal[t.pool[c.row[placed]]]
    books = _halves(t, c, rng)
    searches = [
        new_search(
            books[n], 0, int(rng.integers(2**31)), np.flatnonzero(deal == n), np.flatnonzero((side == n) & out), shares
        )
        for n in range(2)
    ]
    runs = [(t, books[n], g, wishes, searches[n], heat, tries, enough, to_end) for n in range(2)]
    second = second_thread().submit(_search, *runs[1])
    tried = _search(*runs[0]) + second.result()
    c.room[:] = books[0].room + books[1].room
    c.spare[:] = books[0].spare + books[1].spare
    row = np.where(side == 0, searches[0].best_row, searches[1].best_row)
    start = np.where(side == 0, searches[0].best_start, searches[1].best_start)
    return _outcome(searches[0].tally + searches[1].tally, row, start, tried, searches[0].loss + searches[1].loss)


def _search(
    t: Tables,
    c: Calendar,
    g: Guide,
    wishes: Wishes,
    search: Search,
    heat: float,
    tries: int,
    enough: Callable[[], bool],
    to_end: bool,
) -> int:
    """One side, slice by slice; returns how many insertions it tried."""
    w, done = wishes, 0
    while done < tries and not enough():
        now = min(SLICE, tries - done)
        done += int(improve(t, c, g, search, w.near, w.ideal, w.ranked, w.peak, w.stakes, heat, now, to_end))
    return done


def _outcome(tally: Ints, row: Ints, start: Ints, tried: int, loss: Floats) -> Outcome:
    return Outcome(
        gained=int(tally[Tally.TOTAL]),
        kept=int(tally[Tally.KEPT]),
        best_gained=int(tally[Tally.BEST]),
        best_kept=int(tally[Tally.BEST_KEPT]),
        best_row=row,
        best_start=start,
        rounds=int(tally[Tally.ROUND]),
        tried=tried,
        loss=loss,
    )


def _halves(t: Tables, c: Calendar, rng: np.random.Generator) -> tuple[Calendar, Calendar]:
    """The same books twice, but for the room that pools share, which goes to one side whole.

    Split in the middle, a large gang would find too little of its quota on either side. The reserves go together, as a
    guaranteed placement needs room in all of them. What nobody limits is plenty on both sides.

    Each search writes to its own pools and requests only, so they may write to the same arrays.
    """
    room = np.where(t.limit < PLENTY, rng.integers(0, 2, (len(c.room), 1)) * c.room, c.room // 2)
    spare = np.where(t.cover < PLENTY, rng.integers(0, 2) * c.spare, c.spare // 2)
    return c._replace(room=room, spare=spare), c._replace(room=c.room - room, spare=c.spare - spare)
