"""Plans made greedily at given prices.

A request goes where its reduced value is highest among the starts that have room, so it takes what others want least.
Several orders are tried and the best plan is kept: none of them wins everywhere.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from broker.compiled import compiled, inlined
from broker.optimiser.problem import Floats, Ints
from broker.optimiser.state import Calendar, Guide, blocked, change, empty_calendar, fits, gain
from broker.optimiser.tables import Tables
from broker.optimiser.tariffs import tariff

__all__ = ["SLICE", "best_start", "insert", "insert_all", "insert_until", "orders", "settle"]

SLICE = 2_000  # insertions between two questions whether it is enough


@inlined
def best_start(t: Tables, c: Calendar, g: Guide, request: int, row: int) -> tuple[float, int]:
    """The start of a row with room and the highest reduced value: ``(-inf, -1)`` when none has room.

    A run is looked at from its last slot backwards: a slot without room rules out every start up to it, so that a
    crowded window costs a look or two for each length of the run (Boyer and Moore 1977 on text).
    """
    best, at = -np.inf, -1
    length, high, devices = t.length[row], t.high[row], float(t.devices[row])
    value, due, late = float(t.value[row]), t.due[row], float(t.late[row])
    plane, p, q = t.sure[request], tariff(t.tariffs, t.pool[row], t.devices[row]), t.quota[request]
    now = t.now_start[request] if row == t.now_row[request] else -1
    start = clear = t.low[row]
    while start <= high:
        end = start + length
        slot = end - 1
        while slot >= clear and not blocked(t, c, request, row, slot):
            slot -= 1
        open_until, clear = clear, end
        if slot >= open_until:
            start = slot + 1
            continue
        price = g.pool[plane, p, end] - g.pool[plane, p, start] + g.quota[q, end] - g.quota[q, start]
        worth = value - devices * price
        if start > due:
            worth -= late * (start - due)
        if start == now:
            worth += t.move[request]
        if worth > best:
            best, at = worth, start
        start += 1
    return best, at


@inlined
def insert(t: Tables, c: Calendar, g: Guide, ideal: Floats, request: int) -> int:
    """Place a request where its reduced value is highest, if that gains or is promised; returns the gain.

    ``ideal`` are the reduced values of rows in an empty market.
    """
    best, best_row, best_at = -np.inf, -1, -1
    for row in range(t.first[request], t.first[request + 1]):
        if ideal[row] > best:
            worth, start = best_start(t, c, g, request, row)
            if worth > best:
                best, best_row, best_at = worth, row, start
    if best_row < 0 or (t.promised[request] == 0 and gain(t, c, request, best_row, best_at) <= 0):
        return 0
    return change(t, c, request, best_row, best_at)


@compiled
def insert_all(t: Tables, c: Calendar, g: Guide, ideal: Floats, order: Ints) -> int:
    """Insert requests in order, those already placed left alone; returns what they gain together."""
    total = 0
    for request in order:
        if c.row[request] < 0:
            total += insert(t, c, g, ideal, request)
    return total


def insert_until(t: Tables, c: Calendar, g: Guide, ideal: Floats, order: Ints, enough: Callable[[], bool]) -> int:
    """``insert_all``, but that ``enough`` is asked now and then, and may end it there."""
    total = 0
    for done in range(0, len(order), SLICE):
        total += int(insert_all(t, c, g, ideal, order[done : done + SLICE]))
        if enough():
            break
    return total


@compiled
def _settle(t: Tables, c: Calendar, row: Ints, start: Ints, order: Ints) -> int:
    total = 0
    for request in order:
        if row[request] >= 0 and c.row[request] < 0 and fits(t, c, request, row[request], start[request]):
            total += change(t, c, request, row[request], start[request])
    return total


def settle(t: Tables, row: Ints, start: Ints) -> tuple[Calendar, int]:
    """A calendar with the given placements, those dropped that have no room; promises come first, then worth.

    Returns the calendar and the sum of gains.
    """
    c = empty_calendar(t)
    worth = np.where(row >= 0, t.value[row] if len(t.value) else 0, 0)
    order = np.lexsort((-worth, -t.promised))
    return c, int(_settle(t, c, row, start, order))


def orders(t: Tables, worth: Floats, row: Ints) -> Iterator[Ints]:
    """Orders to insert requests in, given the best column of each: promises first in all of them."""
    has = row >= 0
    size = np.ones(len(row))
    size[has] = np.maximum(1, t.devices[row[has]] * t.length[row[has]])
    value = np.zeros(len(row))
    value[has] = t.value[row[has]]
    worth = np.where(has, worth, -np.inf)
    for key in (worth, worth / size, value / size, worth / np.sqrt(size)):
        yield np.lexsort((-key, -t.promised))
