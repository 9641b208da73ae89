"""Room for one more claim by moving others that have not started, inside what they were promised; nobody is dropped.

A claim fits nowhere, and yet there may be room: those who are planned but not yet frozen may start at another time, or
in another pool that serves them as well, no later than they were told. So all of them are lifted, and laid down again
together with the new one, in one of a few orders; the first order in which everyone finds a place is kept. Sorting by
deadline, by size and by slack, then at random around those, is semi-greedy (Hart and Shogan 1987, "Semi-greedy
heuristics: an empirical study").
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from broker.compiled import compiled

__all__ = ["Anything", "Bookings", "Limit", "Place", "Ways", "warm"]

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

NOWHERE = -1
ORDERS = 8  # ways to lay down again, before the new claim has to wait; thirty served no more on public traces


class Ways(NamedTuple):
    """How claims may be served; the ways of claim ``c`` are the rows ``first[c]:first[c + 1]``.

    A row is pool, devices, slots, first start, last start; slots count from the first of the calendar.
    """

    first: Ints
    rows: Ints


class Place(NamedTuple):
    """One row of the ways of a claim, and its start."""

    row: int
    start: int


class Limit(NamedTuple):
    """What using a run of slots is charged, in running sums one entry longer than the calendar; the most it may be."""

    charge: Floats
    budget: float


Anything = Callable[[Ints], Limit | None]  # free devices [pools, slots] to the limit there; None: no limit


@compiled
def _earliest(
    free: Ints, rows: Ints, first: int, end: int, now: int, last: int, charge: Floats, budget: float, found: Ints
) -> None:
    """The place that ends first, in the fullest pool among equals; ``found`` is its row and start, or -1 and -1."""
    found[0], found[1] = -1, -1
    soonest, tightest = 2**60, 0.0
    for k in range(first, end):
        p, devices, slots = rows[k, 0], rows[k, 1], rows[k, 2]
        begin = max(now, rows[k, 3])
        blocked, entered = begin - 1, begin
        for s in range(begin, min(last, rows[k, 4]) + 1):
            if s + slots > soonest:
                break
            while entered < s + slots:
                if free[p, entered] < devices:
                    blocked = entered
                entered += 1
            if blocked >= s or charge[s + slots] - charge[s] > budget:
                continue
            left = 0
            for slot in range(s, s + slots):
                left += free[p, slot] - devices
            spare = left / slots
            if s + slots < soonest or spare < tightest:
                soonest, tightest = s + slots, spare
                found[0], found[1] = k, s
            break


@compiled
def _laid(free: Ints, rows: Ints, bounds: Ints, order: Ints, charge: Floats, found: Ints, laid: Ints) -> bool:
    """Whether all claims find a place, one after the other; takes their room from ``free``.

    A row of ``bounds`` is the first row of a claim, the end of its rows, and the first start that it may have; one of
    ``laid`` is the row and start that it got.
    """
    for k in range(len(order)):
        c = order[k]
        _earliest(free, rows, bounds[c, 0], bounds[c, 1], bounds[c, 2], bounds[c, 3], charge, 1.0, found)
        if found[0] < 0:
            return False
        laid[c, 0], laid[c, 1] = found[0], found[1]
        for slot in range(found[1], found[1] + rows[found[0], 2]):
            free[rows[found[0], 0], slot] -= rows[found[0], 1]
    return True


class Bookings:
    """Who has which place on a board of free devices, and who may still be moved.

    ``free`` is [pools, slots] and belongs to the bookings from then on. With ``elsewhere`` a claim that may move may go
    to any pool that serves it, as a plan may decide too; without, only its start moves. What starts up to
    ``freeze_slots`` after now is firm.
    """

    def __init__(self, free: Ints, ways: Ways, *, elsewhere: bool = True, freeze_slots: int = 0, seed: int = 1) -> None:
        self.free, self.ways = free, ways
        self.row = np.full(len(ways.first) - 1, NOWHERE, np.int64)
        self.start = np.zeros_like(self.row)
        self.moves = 0
        self._elsewhere, self.freeze_slots = elsewhere, freeze_slots
        self._rng = np.random.default_rng(seed)
        self._nothing = np.zeros(free.shape[1] + 1)

    def place(self, claim: int, now: int, *, last: int | None = None, limit: Limit | None = None) -> Place | None:
        """Where the claim would end first, at ``last`` the latest and within the limit, as the others are."""
        found = np.empty(2, np.int64)
        charge, budget = limit or (self._nothing, 1.0)
        first, end = int(self.ways.first[claim]), int(self.ways.first[claim + 1])
        until = self.free.shape[1] if last is None else last
        _earliest(self.free, self.ways.rows, first, end, now, until, charge, budget, found)
        return Place(int(found[0]), int(found[1])) if found[0] >= 0 else None

    def take(self, claim: int, place: Place) -> None:
        """Give the claim a place that is free."""
        assert self.row[claim] == NOWHERE
        self.row[claim], self.start[claim] = place
        self._count(self.free, place, 1)

    def allows(self, limit: Anything | None, place: Place) -> bool:
        """Whether the limit allows a place that is free, on the board as it is; None: whatever is free."""
        return limit is None or self._allowed(limit, self.free, place)

    def movable(self, now: int) -> Ints:
        """The claims whose places are not firm yet."""
        found: Ints = np.flatnonzero((self.row >= 0) & (self.start > now + self.freeze_slots))
        return found

    def make_room(
        self, claim: int, now: int, *, last: int | None = None, limit: Anything | None = None, orders: int = ORDERS
    ) -> bool:
        """Whether the claim has a place now, for which others may have moved; if not, nothing has changed.

        ``limit`` is asked of the board as it would be without the claim.
        """
        others = self.movable(now)
        if not len(others):
            return False
        lifted = self.free.copy()
        for other in others:
            self._count(lifted, Place(int(self.row[other]), int(self.start[other])), -1)
        until = self.free.shape[1] if last is None else last
        bounds = self._bounds(others, claim, now, until)
        found, laid = np.empty(2, np.int64), np.empty((len(others) + 1, 2), np.int64)
        first, end = bounds[-1, :2]
        _earliest(lifted, self.ways.rows, first, end, now, until, self._nothing, 1.0, found)
        if found[0] < 0:
            return False
        for order in self._orders(np.append(others, claim), now, orders):
            free = lifted.copy()
            if not _laid(free, self.ways.rows, bounds, order, self._nothing, found, laid):
                continue
            mine = Place(int(laid[-1, 0]), int(laid[-1, 1]))
            if limit is None or self._within(limit, free, mine):
                self.settle(others, laid[:-1], free)
                self.row[claim], self.start[claim] = mine
                return True
        return False

    def settle(self, claims: Ints, places: Ints, free: Ints) -> None:
        """Let these claims have these rows and starts, where ``free`` is what is left then."""
        self.moves += int(((self.row[claims] != places[:, 0]) | (self.start[claims] != places[:, 1])).sum())
        self.row[claims], self.start[claims] = places.T
        self.free[:] = free

    def _bounds(self, others: Ints, claim: int, now: int, until: int) -> Ints:
        """For each claim that is laid down, its first row, the end of its rows, its first start and its last."""
        first, end = self.ways.first[others], self.ways.first[others + 1]
        if not self._elsewhere:
            first, end = self.row[others], self.row[others] + 1
        soonest = np.full_like(others, now + 1 + self.freeze_slots)
        rows = np.stack((first, end, soonest, np.full_like(others, self.free.shape[1])), axis=1)
        mine = [(self.ways.first[claim], self.ways.first[claim + 1], now, until)]
        return np.concatenate((rows, np.array(mine, np.int64)))

    def _orders(self, claims: Ints, now: int, most: int) -> Iterator[Ints]:
        """Orders to lay claims down in: by last start, by devices, by work, by slack, and at random."""
        first = self.ways.first[claims]
        rows = self.ways.rows
        last = np.maximum.reduceat(np.append(rows[:, 4], 0), _spans(first, self.ways.first[claims + 1]))[::2]
        devices, slots = rows[first, 1], rows[first, 2]
        known = (last, -(devices * len(self._nothing) + slots), -devices * slots, 2 * (last - now) - slots)
        for n in range(most):
            if n < len(known):
                yield np.argsort(known[n], kind="stable")
            else:
                draws = self._rng.random((2, len(claims)))
                yield np.argsort((last - now) * (0.5 + draws[0]) - 20 * devices * draws[1])

    def _within(self, limit: Anything, free: Ints, place: Place) -> bool:
        """Whether the limit allows the place, on the board as it would be without the claim."""
        self._count(free, place, -1)
        found = self._allowed(limit, free, place)
        self._count(free, place, 1)
        return found

    def _allowed(self, limit: Anything, free: Ints, place: Place) -> bool:
        found, end = limit(free), place.start + int(self.ways.rows[place.row, 2])
        return found is None or bool(found.charge[end] - found.charge[place.start] <= found.budget)

    def _count(self, free: Ints, place: Place, sign: int) -> None:
        pool, devices, slots = self.ways.rows[place.row, :3]
        free[pool, place.start : place.start + slots] -= sign * devices


def _spans(first: Ints, end: Ints) -> Ints:
    """Pairs of bounds in one column, as ``reduceat`` takes them; every other result is of a span between two claims."""
    return np.stack((first, end), axis=1).reshape(-1)


def warm() -> None:
    """Load the loops, or compile them on a machine that never ran them, so that no caller waits for that."""
    ways = Ways(np.array([0, 1, 2], np.int64), np.array([[0, 1, 1, 0, 1], [0, 1, 1, 0, 1]], np.int64))
    bookings = Bookings(np.array([[0, 1, 1]], np.int64), ways)
    bookings.take(0, Place(0, 1))
    bookings.make_room(1, 0)
