"""Prices and a proven bound from the Lagrangian relaxation of the plan.

Capacity, quotas and reserves are priced instead of enforced; what remains falls apart into one choice for each
request, its best column at these prices. With ``pi`` the prices a column pays, ``lam`` those of pools:

    bound = sum max(0, best column) + sum g(lam) + sum mu * limit + sum nu * cover
    g(lam) = lam * committed + (capacity - committed) * max(0, lam - overage)

bounds every plan from above, whatever the non-negative prices, so overage never needs a variable. Prices are improved
by projected subgradient (Held, Wolfe and Crowder 1974) with a deflected direction (Camerini, Fratta and Maffioli 1975)
and steps towards an adaptive level (Goffin and Kiwiel 1999, following Polyak 1969).
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import NamedTuple

import numpy as np

from broker.optimiser.compiled import compiled
from broker.optimiser.problem import Floats, Ints
from broker.optimiser.report import Prices
from broker.optimiser.state import Guide, score
from broker.optimiser.tables import PLENTY, Tables

# Measured on traces and synthetic markets: less memory stalls at the kink of zero prices, more overshoots for long.
FIRST_HOPE = 0.2  # of the distance between the first bound and the first plan
PATIENCE = 20  # steps without progress before hope shrinks
SHRINK = 0.7
ASTRAY = 3.0  # hopes above the best bound at which the descent goes back to the best prices
DEFLECTION = 0.95  # share of the last direction that is kept
COLUMNS_SHARED_MIN = 100_000  # from which on two threads price the columns


__all__ = ["Columns", "Pricing", "best_columns", "guide", "ideals", "proven"]


class Columns(NamedTuple):
    """The best column of each request at given prices."""

    worth: Floats  # [requests] its reduced value; -inf for a request without rows
    row: Ints  # [requests] or -1
    start: Ints  # [requests]


def guide(t: Tables, prices: Prices) -> Guide:
    """Running sums of prices and unit costs, with a plane for requests that count against reserves."""
    slots = t.capacity.shape[1]
    plain = prices.pools + t.unit[:, None]
    sure = plain.copy()
    for p in range(len(t.unit)):
        for k in range(t.watch_first[p], t.watch_first[p + 1]):
            sure[p] += prices.reserves[t.watch[k]] * t.times[k]
    pool = np.zeros((2, len(t.unit), slots + 1))
    np.cumsum(plain, axis=1, out=pool[0, :, 1:])
    np.cumsum(sure, axis=1, out=pool[1, :, 1:])
    quota = np.zeros((len(t.limit), slots + 1))
    np.cumsum(prices.quotas, axis=1, out=quota[:-1, 1:])
    return Guide(pool, quota)


@compiled
def _best_of_row(t: Tables, g: Guide, request: int, row: int) -> tuple[float, int]:
    """The best start of one row, without regard to room."""
    best, at = -np.inf, t.low[row]
    length, devices = t.length[row], float(t.devices[row])
    value, due, late = float(t.value[row]), t.due[row], float(t.late[row])
    pool, quota = g.pool[t.sure[request], t.pool[row]], g.quota[t.quota[request]]
    for start in range(t.low[row], t.high[row] + 1):
        price = pool[start + length] - pool[start] + quota[start + length] - quota[start]
        worth = value - devices * price - late * max(0, start - due)
        if worth > best:
            best, at = worth, start
    if row == t.now_row[request]:
        now = t.now_start[request]
        worth = score(t, g, request, row, now)
        if worth > best:
            best, at = worth, now
    return best, at


@compiled
def _best_columns(t: Tables, g: Guide, worth: Floats, chosen: Ints, starts: Ints, begin: int, end: int) -> None:
    for request in range(begin, end):
        best, best_row, best_start = -np.inf, -1, 0
        for row in range(t.first[request], t.first[request + 1]):
            value, start = _best_of_row(t, g, request, row)
            if value > best:
                best, best_row, best_start = value, row, start
        worth[request], chosen[request], starts[request] = best, best_row, best_start


def best_columns(t: Tables, g: Guide, split: int = 0) -> Columns:
    """Price every column of every request; exact, with two look-ups a column.

    Requests from ``split`` on are priced by a second thread, which changes nothing but the time: each request is priced
    by itself.
    """
    size = len(t.quota)
    found = Columns(np.empty(size), np.empty(size, np.int64), np.empty(size, np.int64))
    if not split:
        _best_columns(t, g, *found, 0, size)
        return found
    rest = _second_thread().submit(_best_columns, t, g, *found, split, size)
    _best_columns(t, g, *found, 0, split)
    rest.result()
    return found


@cache
def _second_thread() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(1, thread_name_prefix="prices")


def _middle(t: Tables) -> int:
    """The request that halves the columns; 0 where a second thread costs more than it saves."""
    columns = np.concatenate(([0], np.cumsum(t.high - t.low + 1)))[t.first]
    return int(np.searchsorted(columns, columns[-1] / 2)) if columns[-1] >= COLUMNS_SHARED_MIN else 0


@compiled
def _ideals(t: Tables, g: Guide, best: Floats, at: Ints) -> None:
    for request in range(len(t.quota)):
        for row in range(t.first[request], t.first[request + 1]):
            best[row], at[row] = _best_of_row(t, g, request, row)


def ideals(t: Tables, g: Guide) -> tuple[Floats, Ints]:
    """The best reduced value of each row and the start that has it, without regard to room."""
    best, at = np.empty(len(t.pool)), np.empty(len(t.pool), np.int64)
    _ideals(t, g, best, at)
    return best, at


@compiled
def _loads(t: Tables, found: Columns, used: Ints, held: Ints, sure: Ints) -> None:
    """Add up what the best columns would occupy; the arrays have one slot more than the horizon."""
    for request in range(len(t.quota)):
        if found.worth[request] > 0:
            row, start = found.row[request], found.start[request]
            p, devices, end = t.pool[row], t.devices[row], found.start[request] + t.length[row]
            used[p, start] += devices
            used[p, end] -= devices
            held[t.quota[request], start] += devices
            held[t.quota[request], end] -= devices
            if t.sure[request] == 1:
                for k in range(t.watch_first[p], t.watch_first[p + 1]):
                    sure[t.watch[k], start] += devices * t.times[k]
                    sure[t.watch[k], end] -= devices * t.times[k]


def proven(t: Tables, prices: Prices, worth: Floats) -> float:
    """The bound that prices prove, given the best reduced values at them, rounded outward.

    Every sum here and in the running sums of prices has an error of at most a few units in the last place for each
    of its terms; the margin added covers that many times over.
    """
    lam = prices.pools
    kept = np.where(prices.reserves > 0, t.cover, 0)
    parts = (
        np.maximum(0.0, worth),
        lam * t.committed,
        (t.capacity - t.committed) * np.maximum(0.0, lam - t.over[:, None]),
        prices.quotas * t.limit[:-1],
        prices.reserves * kept,
    )
    total = sum(float(part.sum()) for part in parts) - float(t.move.sum())
    size = sum(float(np.abs(part).sum()) for part in parts) + float(t.move.sum())
    rows = float(np.abs(t.value).max(initial=0)) + _dearest(t, prices)
    terms = 4.0 * (sum(part.size for part in parts) + lam.shape[1] + 8)
    margin = (size * terms + rows * len(worth) * (lam.shape[1] + 8)) * float(np.finfo(np.float64).eps)
    return float(total + margin)


def _dearest(t: Tables, prices: Prices) -> float:
    """The largest money that enters one column's reduced value."""
    reserves = float(prices.reserves.sum()) * float(t.times.max(initial=0))
    pools = float((prices.pools + t.unit[:, None]).sum(axis=1).max(initial=0.0))
    quotas = float(prices.quotas.sum(axis=1).max(initial=0.0))
    late = float((t.late * np.maximum(0, t.high - t.due)).max(initial=0))
    return float(t.devices.max(initial=0)) * (pools + quotas + reserves) + late


class Pricing:
    """A descent on the bound that can be paused at any step; ``best`` is the bound proven so far.

    The level is ``best - hope``; hope shrinks when a stretch of steps brings no real progress, and a descent that has
    gone astray then returns to the best prices. One pass over all columns is one step.
    """

    def __init__(self, t: Tables, start: Prices) -> None:
        self._t = t
        self.best = np.inf
        self.prices = start
        self.passes = 0
        self.columns = int((t.high - t.low + 1).sum())
        self._split = _middle(t)
        self._point = start
        self._direction: Floats = np.zeros(0)
        self._hope = np.inf
        self._mark = np.inf
        self._low = np.inf
        self._idle = 0

    def converged(self) -> bool:
        """Whether further steps would hardly move the bound."""
        return self._hope <= 1e-6 * max(1.0, abs(self.best))

    def step(self, floor: int) -> float:
        """One step from the present point; ``floor`` is the objective of some plan. Returns the bound at the point."""
        t = self._t
        g = guide(t, self._point)
        found = best_columns(t, g, self._split)
        bound = proven(t, self._point, found.worth)
        self.passes += 1
        if bound < self.best:
            self.best, self.prices = bound, self._point
        self._control(bound, floor)
        slope = _slope(t, self._point, found)
        self._move(bound, slope, floor)
        return bound

    def _control(self, bound: float, floor: int) -> None:
        if self._hope == np.inf:
            self._hope, self._mark = max(1.0, FIRST_HOPE * (bound - floor)), bound
        self._idle += 1
        if bound < self._low:
            self._low, self._idle = bound, 0
        if self.best <= self._mark - 0.5 * self._hope:
            self._mark, self._idle = self.best, 0
        elif self._idle >= PATIENCE:
            self._hope *= SHRINK
            self._mark, self._idle, self._low = self.best, 0, np.inf
            if bound > self.best + ASTRAY * self._hope:
                self._point = self.prices
                self._direction = np.zeros(0)

    def _move(self, bound: float, slope: Floats, floor: int) -> None:
        point = _flat(self._point)
        # A price that cannot fall further takes no part in the direction.
        slope = np.where((point <= 0) & (slope > 0), 0.0, slope)
        if self._direction.size:
            slope = slope + DEFLECTION * self._direction
        self._direction = slope
        norm = float(slope @ slope)
        if norm <= 0:
            return
        level = max(self.best - self._hope, float(floor))
        step = max(0.0, bound - level) / norm
        self._point = _unflat(np.maximum(0.0, point - step * slope), self._point)


def _slope(t: Tables, prices: Prices, found: Columns) -> Floats:
    """A subgradient of the bound at these prices: room offered less room that the best columns would take."""
    slots = t.capacity.shape[1]
    used = np.zeros((len(t.unit), slots + 1), np.int64)
    held = np.zeros((len(t.limit), slots + 1), np.int64)
    sure = np.zeros((len(t.cover), slots + 1), np.int64)
    _loads(t, found, used, held, sure)
    offered = t.committed + (t.capacity - t.committed) * (prices.pools > t.over[:, None])
    reserves = np.where(t.cover < PLENTY, t.cover - np.cumsum(sure, axis=1)[:, :-1], 0)
    rows = (offered - np.cumsum(used, axis=1)[:, :-1], t.limit[:-1] - np.cumsum(held, axis=1)[:-1, :-1], reserves)
    return np.concatenate([row.ravel() for row in rows]).astype(np.float64)


def _flat(prices: Prices) -> Floats:
    return np.concatenate((prices.pools.ravel(), prices.quotas.ravel(), prices.reserves.ravel()))


def _unflat(point: Floats, like: Prices) -> Prices:
    a = like.pools.size
    b = a + like.quotas.size
    return Prices(
        point[:a].reshape(like.pools.shape),
        point[a:b].reshape(like.quotas.shape),
        point[b:].reshape(like.reserves.shape),
    )
