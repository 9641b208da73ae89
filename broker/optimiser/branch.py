"""A tighter bound by branching on large gangs.

The relaxation lets a gang stand in several places by halves, and half of a gang that fills its pool leaves room that
none of the plans has. So the plans are divided by what becomes of such a gang, served or not, in which pool, before or
after a start, and each part gets prices and a bound of its own (branch and bound; Land and Doig 1960). The part with
the highest bound is divided next, and the highest bound of all parts holds for every plan.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from heapq import heappop, heappush
from itertools import count

import numpy as np

from broker.optimiser.columns import second_thread
from broker.optimiser.prices import Pricing
from broker.optimiser.problem import Ints
from broker.optimiser.report import Prices
from broker.optimiser.tables import Tables

__all__ = ["Branching"]

LARGE = 0.25  # of the pools that it could stand in at all: gangs that are branched on
PASSES = 30  # over all columns, for the prices of one part
HOPE = 0.1  # of the distance between bound and plan, for the steps of prices
PATIENCE = 20  # parts without progress
PROGRESS = 1e-4  # of the bound
ROUNDING = 2.0**-50
TOGETHER, APART = 1.5, 0.5  # how much more, or less, a choice of pools or of starts decides than one of being served

Spans = Mapping[int, tuple[int, int]]  # legal starts of rows that are cut; first above last: none
Wishes = dict[int, dict[tuple[int, int], float]]  # of each large gang: row and start, and how much of it stands there


@dataclass(frozen=True, slots=True)
class _Part:
    """Plans that serve all of some gangs and keep some rows within shorter spans; and what they are worth at most."""

    prices: Prices
    bound: float
    served: frozenset[int] = frozenset()
    spans: Spans = field(default_factory=dict)
    wishes: Wishes = field(default_factory=dict)


class Branching:
    """Divides the plans of a problem ever further; ``bound`` holds for those worth more than every ``floor`` given."""

    def __init__(self, t: Tables, prices: Prices, bound: float) -> None:
        self.bound, self.passes = bound, 0
        self._t, self._gangs = t, _large(t)
        self._order, self._idle, self._mark = count(), 0, bound
        self._open: list[tuple[float, int, _Part]] = []
        if len(self._gangs):
            self._push(_Part(prices, bound))

    @property
    def pays(self) -> bool:
        """Whether there is something to divide, and dividing has lowered the bound lately."""
        return bool(self._open) and self._idle < PATIENCE

    def grow(self, floor: int, enough: Callable[[], bool]) -> None:
        """Divide the part with the highest bound; ``Interrupted`` when ``enough`` says so: nothing is divided then.

        ``floor`` is the objective of some plan, in the money of the tables, as ``bound`` is.
        """
        part = self._open[0][2]
        if not part.wishes:
            part = self._priced(part, floor, enough)
            self.passes += PASSES
        # Where nothing is undecided, better prices are all that can lower the bound.
        parts = self._divided(part) or [part]
        others = [second_thread().submit(self._priced, other, floor, enough) for other in parts[1:]]
        found = [self._priced(parts[0], floor, enough), *(other.result() for other in others)]
        self.passes += len(found) * PASSES
        heappop(self._open)
        for one in found:
            if one.bound > floor:
                self._push(one)
        self.bound = min(self.bound, self._open[0][2].bound if self._open else float(floor))
        self._idle += 1
        if self.bound < self._mark - PROGRESS * abs(self._mark):
            self._idle, self._mark = 0, self.bound

    def _push(self, part: _Part) -> None:
        heappush(self._open, (-part.bound, next(self._order), part))

    def _priced(self, part: _Part, floor: int, enough: Callable[[], bool]) -> _Part:
        """The part with prices of its own, from those of the part that it came from."""
        t, prize = self._t, 3 * max(1, int(np.abs(self._t.value).max()))
        tables, prizes = _tables_of(t, part, prize), prize * len(part.served)
        pricing, stands = Pricing(tables, part.prices, HOPE), dict[int, dict[tuple[int, int], float]]()
        for n in range(PASSES):
            pricing.step(floor + prizes, enough)
            if n >= PASSES // 2:
                _count(pricing, self._gangs, stands, 1 / (PASSES - PASSES // 2))
        # Rounded outward: neither of the two may be a float exactly.
        bound = min(part.bound, pricing.best - prizes + ROUNDING * (abs(pricing.best) + prizes))
        return replace(part, prices=pricing.prices, bound=bound, wishes=stands)

    def _divided(self, part: _Part) -> list[_Part]:
        """Two parts that hold all plans of this one; none where every large gang knows what becomes of it."""
        best, parts = 0.0, list[_Part]()
        for gang, stands in part.wishes.items():
            worth = float(self._t.value[self._t.first[gang]])
            inside = sum(stands.values())
            if gang not in part.served and (undecided := worth * min(inside, 1 - inside)) > best:
                best, parts = undecided, self._served_or_not(part, gang)
            undecided, split = self._split(part, gang, stands)
            if worth * undecided > best:
                best, parts = worth * undecided, split()
        return parts

    def _rows(self, gang: int) -> range:
        return range(self._t.first[gang], self._t.first[gang + 1])

    def _served_or_not(self, part: _Part, gang: int) -> list[_Part]:
        never = dict.fromkeys(self._rows(gang), (1, 0))
        return [replace(part, served=part.served | {gang}), replace(part, spans={**part.spans, **never})]

    def _split(
        self, part: _Part, gang: int, stands: dict[tuple[int, int], float]
    ) -> tuple[float, Callable[[], list[_Part]]]:
        """How undecided a gang is between pools, or between starts in its favourite pool, and the parts of each."""
        t, by_pool = self._t, dict[int, float]()
        for (row, _), amount in stands.items():
            by_pool[t.pool[row]] = by_pool.get(t.pool[row], 0.0) + amount
        pool = max(by_pool, key=lambda p: by_pool[p])
        here = [(start, row, amount) for (row, start), amount in stands.items() if t.pool[row] == pool]
        mine, total = by_pool[pool], sum(by_pool.values())
        middle = sum(start * amount for start, _, amount in here) / mine
        spread = (sum(amount * (start - middle) ** 2 for start, _, amount in here) / mine) ** 0.5
        between = APART * mine * min(1.0, 2 * spread / float(t.length[here[0][1]]))
        if TOGETHER * min(mine, total - mine) >= between:
            return TOGETHER * min(mine, total - mine), lambda: self._pool_or_others(part, gang, pool)
        return between, lambda: self._early_or_late(part, gang, pool, int(middle))

    def _pool_or_others(self, part: _Part, gang: int, pool: int) -> list[_Part]:
        rows, pools = self._rows(gang), self._t.pool
        return [
            replace(part, spans={**part.spans, **{row: (1, 0) for row in rows if (pools[row] == pool) != inside}})
            for inside in (True, False)
        ]

    def _early_or_late(self, part: _Part, gang: int, pool: int, middle: int) -> list[_Part]:
        early, late = dict(part.spans), dict(part.spans)
        for row in self._rows(gang):
            if self._t.pool[row] == pool:
                first, last = part.spans.get(row, (int(self._t.low[row]), int(self._t.high[row])))
                early[row], late[row] = (first, min(last, middle)), (max(first, middle + 1), last)
        return [replace(part, spans=early), replace(part, spans=late)]


def _large(t: Tables) -> Ints:
    """Requests that take a large share of every pool that they could stand in."""
    share = t.devices / np.maximum(1, t.capacity.max(axis=1, initial=0))[t.pool]
    least = np.full(len(t.quota), np.inf)
    np.minimum.at(least, np.repeat(np.arange(len(t.quota)), np.diff(t.first)), share)
    return np.flatnonzero((least > LARGE) & (least < np.inf))


def _tables_of(t: Tables, part: _Part, prize: int) -> Tables:
    """The problem of a part: who is to be served brings a prize, which the bound is to be lowered by."""
    value, low, high = t.value.copy(), t.low.copy(), t.high.copy()
    for gang in part.served:
        value[t.first[gang] : t.first[gang + 1]] += prize
    for row, (first, last) in part.spans.items():
        if first <= last:
            low[row], high[row] = first, last
        else:
            value[row] = -1 - int(t.move.max(initial=0))  # worth less than nothing, whatever is saved by not moving
    return t._replace(value=value, low=low, high=high)


def _count(pricing: Pricing, gangs: Ints, stands: Wishes, amount: float) -> None:
    """Add where the gangs stood at the last prices: over several steps, a solution of the relaxation."""
    found = pricing.found
    assert found is not None
    for gang in gangs[found.worth[gangs] > 0].tolist():
        place = (int(found.row[gang]), int(found.start[gang]))
        known = stands.setdefault(gang, {})
        known[place] = known.get(place, 0.0) + amount
