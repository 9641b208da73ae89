"""The columns of a request, one for each option row and start, and the best of them at given prices.

Prices come as running sums, so that a column costs two look-ups for its pool and two for its quota, and a whole row is
one pass over neighbouring numbers. This is where most of the time of a bound goes: 19 million columns a pass on a
market of 20,000 requests.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import NamedTuple

import numpy as np

from broker.compiled import compiled, inlined, vectorised
from broker.optimiser.problem import Floats, Ints
from broker.optimiser.report import Prices
from broker.optimiser.state import Guide, score
from broker.optimiser.tables import Tables
from broker.optimiser.tariffs import surcharges, tariff

__all__ = [
    "Columns",
    "Interrupted",
    "best_columns",
    "best_of_request",
    "best_start_of_row",
    "guide",
    "ideals",
    "ranked",
    "second_thread",
    "shared",
]

COLUMNS_SHARED_MIN = 400_000  # from which on two threads price the columns
COLUMNS_AT_ONCE = 4_000_000  # between two questions whether it is enough


class Interrupted(Exception):
    """Pricing ended early because it was told to; what it found so far is worth nothing."""


class Columns(NamedTuple):
    """The best column of each request at given prices."""

    worth: Floats  # [requests] its reduced value; -inf for a request without rows
    row: Ints  # [requests] or -1
    start: Ints  # [requests]


def guide(t: Tables, prices: Prices) -> Guide:
    """Running sums of prices and unit costs, with a plane for requests that count against reserves."""
    slots, w = t.capacity.shape[1], t.tariffs
    plain = (prices.pools + t.unit[:, None])[w.pool] + surcharges(w, prices.pools, t.over, t.committed)
    insured = np.zeros_like(prices.pools)
    for p in range(len(t.unit)):
        for k in range(t.watch_first[p], t.watch_first[p + 1]):
            insured[p] += prices.reserves[t.watch[k]] * t.times[k]
    sure = plain + insured[w.pool]
    pool = np.zeros((2, len(w.pool), slots + 1))
    np.cumsum(plain, axis=1, out=pool[0, :, 1:])
    np.cumsum(sure, axis=1, out=pool[1, :, 1:])
    quota = np.zeros((len(t.limit), slots + 1))
    np.cumsum(prices.quotas, axis=1, out=quota[:-1, 1:])
    return Guide(pool, quota, pool.reshape(-1), quota.reshape(-1))


@vectorised
def _best_value(
    pool: Floats,
    pool_at: int,
    quota: Floats,
    quota_at: int,
    value: float,
    devices: float,
    low: int,
    high: int,
    length: int,
    due: int,
    late: float,
) -> float:
    """The highest reduced value of one row: punctual starts want the least price, late ones pay for each slot.

    Running sums come flat, with the place where the row's begin. Unsigned indices and no slices: what numba adds for
    negative ones, and the reference counts of slices, would cost more than the sums.
    """
    best = -np.inf
    one = np.uint64(1)
    a, c = np.uint64(pool_at + low), np.uint64(quota_at + low)
    b, d = a + np.uint64(length), c + np.uint64(length)
    punctual = min(high, due) - low + 1
    if punctual > 0:
        least = np.inf
        for _ in range(punctual):
            price = (pool[b] - pool[a]) + (quota[d] - quota[c])
            least = price if price < least else least  # noqa: FURB136 - numba's min asks about NaN
            a, b, c, d = a + one, b + one, c + one, d + one
        best = value - devices * least
        low += punctual
    base = value - late * (low - due)
    for k in range(high - low + 1):
        worth = base - late * k - devices * ((pool[b] - pool[a]) + (quota[d] - quota[c]))
        best = worth if worth > best else best  # noqa: FURB136
        a, b, c, d = a + one, b + one, c + one, d + one
    return best


@inlined
def _best_of_row(t: Tables, g: Guide, request: int, row: int) -> float:
    """The highest reduced value of one row, what staying in place saves left out."""
    wide = g.quota.shape[1]
    return _best_value(
        g.pool_flat,
        (t.sure[request] * g.pool.shape[1] + tariff(t.tariffs, t.pool[row], t.devices[row])) * wide,
        g.quota_flat,
        t.quota[request] * wide,
        float(t.value[row]),
        float(t.devices[row]),
        t.low[row],
        t.high[row],
        t.length[row],
        t.due[row],
        float(t.late[row]),
    )


@inlined
def best_start_of_row(t: Tables, g: Guide, request: int, row: int) -> int:
    """The start of the highest reduced value of one row, without regard to room."""
    best, at = -np.inf, int(t.low[row])
    for start in range(t.low[row], t.high[row] + 1):
        worth = score(t, g, request, row, start)
        if worth > best:
            best, at = worth, start
    return at


@inlined
def best_of_request(t: Tables, g: Guide, request: int) -> tuple[float, int]:
    """The highest reduced value of a request and the row that has it: ``(-inf, -1)`` without rows."""
    best, best_row = -np.inf, -1
    for row in range(t.first[request], t.first[request + 1]):
        worth = _best_of_row(t, g, request, row)
        if worth > best:
            best, best_row = worth, row
    now = t.now_row[request]
    if now >= 0:
        worth = score(t, g, request, now, t.now_start[request])
        if worth > best:
            best, best_row = worth, now
    return best, best_row


@compiled
def _best_columns(t: Tables, g: Guide, worth: Floats, chosen: Ints, starts: Ints, begin: int, end: int) -> None:
    for request in range(begin, end):
        best, row = best_of_request(t, g, request)
        worth[request], chosen[request] = best, row
        starts[request] = best_start_of_row(t, g, request, row) if row >= 0 else 0


def best_columns(t: Tables, g: Guide, enough: Callable[[], bool] | None = None) -> Columns:
    """Price every column of every request, exactly.

    Large problems are priced by two threads, which changes nothing but the time: each request is priced by itself.
    ``enough`` is asked every few milliseconds of those; ``Interrupted`` is raised when it says so.
    """
    size = len(t.quota)
    found = Columns(np.empty(size), np.empty(size, np.int64), np.empty(size, np.int64))
    _in_parts(t, lambda begin, end: _best_columns(t, g, *found, begin, end), enough)
    return found


def _in_parts(t: Tables, price: Callable[[int, int], None], enough: Callable[[], bool] | None) -> None:
    """``price`` for all requests, from one to another; a large problem in parts, on two threads."""
    size = len(t.quota)
    if not shared(t):
        price(0, size)
        return
    parts = 2 * (1 + _columns(t) // COLUMNS_AT_ONCE)
    ends = [0, *np.searchsorted(t.first, np.arange(1, parts) * len(t.pool) // parts).tolist(), size]
    for k in range(0, parts, 2):
        rest = second_thread().submit(_part, price, ends[k + 1], ends[k + 2], enough)
        priced = _part(price, ends[k], ends[k + 1], enough)
        if not (rest.result() and priced):
            raise Interrupted


def _part(price: Callable[[int, int], None], begin: int, end: int, enough: Callable[[], bool] | None) -> bool:
    """Whether it was priced; each thread asks for itself, which is also how it learns to give way."""
    if enough is not None and enough():
        return False
    price(begin, end)
    return True


def _columns(t: Tables) -> int:
    return int((t.high - t.low + 1).sum())


def shared(t: Tables) -> bool:
    """Whether the columns are so many that a second thread saves more than it costs."""
    return _columns(t) >= COLUMNS_SHARED_MIN


@cache
def second_thread() -> ThreadPoolExecutor:
    """The one thread beside the caller's that a solve may use."""
    return ThreadPoolExecutor(1, thread_name_prefix="optimiser")


@compiled
def _ideals(t: Tables, g: Guide, best: Floats, begin: int, end: int) -> None:
    for request in range(begin, end):
        for row in range(t.first[request], t.first[request + 1]):
            best[row] = _best_of_row(t, g, request, row)
        now = t.now_row[request]
        if now >= 0:
            best[now] = max(best[now], score(t, g, request, now, t.now_start[request]))


def ideals(t: Tables, g: Guide, enough: Callable[[], bool] | None = None) -> Floats:
    """The best reduced value of each row, without regard to room; ``enough`` as in ``best_columns``."""
    best = np.empty(len(t.pool))
    _in_parts(t, lambda begin, end: _ideals(t, g, best, begin, end), enough)
    return best


@compiled
def _ranked(t: Tables, ideal: Floats, rows: Ints) -> None:
    for request in range(len(t.quota)):
        first = t.first[request]
        for row in range(first, t.first[request + 1]):
            at = row
            while at > first and ideal[rows[at - 1]] < ideal[row]:
                rows[at] = rows[at - 1]
                at -= 1
            rows[at] = row


def ranked(t: Tables, ideal: Floats) -> Ints:
    """The rows of each request in place of their own, best first."""
    rows = np.empty(len(t.pool), np.int64)
    _ranked(t, ideal, rows)
    return rows
