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

from collections.abc import Callable

import numpy as np

from broker.compiled import compiled
from broker.optimiser.columns import Columns, best_columns, guide
from broker.optimiser.problem import Floats, Ints
from broker.optimiser.report import Prices
from broker.optimiser.tables import PLENTY, Tables
from broker.optimiser.tariffs import in_pools, tariff

# Measured on traces and synthetic markets: less memory stalls at the kink of zero prices, more overshoots for long.
FIRST_HOPE = 0.2  # of the distance between the first bound and the first plan
NEAR_HOPE = 0.02  # the same, from prices that are nearly settled
PATIENCE = 20  # steps without progress before hope shrinks
SHRINK = 0.7
ASTRAY = 3.0  # hopes above the best bound at which the descent goes back to the best prices
DEFLECTION = 0.95  # share of the last direction that is kept

__all__ = ["Pricing", "proven"]


@compiled
def _loads(t: Tables, found: Columns, used: Ints, held: Ints, sure: Ints) -> None:
    """Add up what the best columns would occupy, by tariff; the arrays have one slot more than the horizon."""
    for request in range(len(t.quota)):
        if found.worth[request] > 0:
            row, start = found.row[request], found.start[request]
            p, devices, end = t.pool[row], t.devices[row], found.start[request] + t.length[row]
            paid_by = tariff(t.tariffs, p, devices)
            used[paid_by, start] += devices
            used[paid_by, end] -= devices
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
    pools = float((prices.pools + (t.unit + t.over)[:, None]).sum(axis=1).max(initial=0.0))
    quotas = float(prices.quotas.sum(axis=1).max(initial=0.0))
    late = float((t.late * np.maximum(0, t.high - t.due)).max(initial=0))
    return float(t.devices.max(initial=0)) * (pools + quotas + reserves) + late


class Pricing:
    """A descent on the bound that can be paused at any step; ``best`` is the bound proven so far.

    The level is ``best - hope``; hope shrinks when a stretch of steps brings no real progress, and a descent that has
    gone astray then returns to the best prices. One pass over all columns is one step.
    """

    def __init__(self, t: Tables, start: Prices, hope: float = FIRST_HOPE) -> None:
        self._t = t
        self.best = np.inf
        self.prices = start
        self.passes = 0
        self.found: Columns | None = None  # the best columns at the last prices
        self.columns = int((t.high - t.low + 1).sum())
        self._point = start
        self._first_hope = hope
        self._metric = _metric(t)
        self._direction: Floats = np.zeros(0)
        self._hope = np.inf
        self._mark = np.inf
        self._low = np.inf
        self._idle = 0

    def converged(self) -> bool:
        """Whether further steps would hardly move the bound."""
        return self._hope <= 1e-6 * max(1.0, abs(self.best))

    def move_to(self, point: Prices) -> None:
        """Go on from other prices, nearly settled ones, with a fresh and modest hope."""
        self._first_hope = NEAR_HOPE
        self._point, self._direction, self._hope = point, np.zeros(0), np.inf
        self._low, self._idle = np.inf, 0

    def step(self, floor: int, enough: Callable[[], bool] | None = None) -> float:
        """One step from the present point; ``floor`` is the objective of some plan. Returns the bound at the point.

        Raises ``Interrupted``, and nothing has changed, when ``enough`` says so meanwhile.
        """
        t = self._t
        g = guide(t, self._point)
        found = best_columns(t, g, enough)
        bound = proven(t, self._point, found.worth)
        self.passes += 1
        self.found = found
        if bound < self.best:
            self.best, self.prices = bound, self._point
        self._control(bound, floor)
        slope = _slope(t, self._point, found)
        self._move(bound, slope, floor)
        return bound

    def _control(self, bound: float, floor: int) -> None:
        if self._hope == np.inf:
            self._hope, self._mark = max(1.0, self._first_hope * (bound - floor)), bound
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
        metred = self._metric * slope
        norm = float(slope @ metred)
        if norm <= 0:
            return
        level = max(self.best - self._hope, float(floor))
        step = max(0.0, bound - level) / norm
        self._point = _unflat(np.maximum(0.0, point - step * metred), self._point)


def _metric(t: Tables) -> Floats:
    """One over the room of each priced slot: a price moves by the relative excess, whatever the size of the pool."""
    rooms = []
    for room in (t.capacity, t.limit[:-1], np.where(t.cover < PLENTY, t.cover, 1)):
        least = np.maximum(1.0, 0.1 * room.mean(axis=1, keepdims=True)) if room.size else 1.0
        rooms.append(np.maximum(least, room).ravel())
    return 1.0 / np.concatenate(rooms)


def _slope(t: Tables, prices: Prices, found: Columns) -> Floats:
    """A subgradient of the bound at these prices: room offered less room that the best columns would take."""
    slots = t.capacity.shape[1]
    by_tariff = np.zeros((len(t.tariffs.pool), slots + 1), np.int64)
    held = np.zeros((len(t.limit), slots + 1), np.int64)
    sure = np.zeros((len(t.cover), slots + 1), np.int64)
    _loads(t, found, by_tariff, held, sure)
    used = in_pools(t.tariffs, np.cumsum(by_tariff, axis=1)[:, :-1], t.committed, prices.pools <= t.over[:, None])
    offered = t.committed + (t.capacity - t.committed) * (prices.pools > t.over[:, None])
    reserves = np.where(t.cover < PLENTY, t.cover - np.cumsum(sure, axis=1)[:, :-1], 0)
    rows = (offered - used, t.limit[:-1] - np.cumsum(held, axis=1)[:-1, :-1], reserves)
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
