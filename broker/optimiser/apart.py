"""A tighter bound from pools taken apart.

The relaxation of ``prices.py`` lets half of a gang stand in a pool, and fills what the other half leaves with others.
Here capacity is not priced once for all plans: each pool by itself is bounded over cases of what becomes of its large
gangs, and only what ties pools together is priced, that a request stands in one of them at most (a *rent* it pays
wherever it stands), quotas and reserves (Lagrangian decomposition; Guignard and Kim 1987). With cases ``c`` of pool
``p`` the bound

    sum of rents + sum of mu * limit + sum of nu * cover + sum over p of max over c of bound(p, c)

holds for any rents, ``mu`` and ``nu`` that are not negative. Rents and ``mu`` are improved by deflected subgradients,
as in ``prices.py``; ``nu`` stays.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from broker.optimiser.columns import best_columns, guide, second_thread
from broker.optimiser.problem import Floats
from broker.optimiser.report import Prices
from broker.optimiser.tables import Tables
from broker.optimiser.yards import Cases, Terms

__all__ = ["Apart"]

HOPE = 0.02  # of the distance between bound and plan, for a step of rents
INNER_HOPE = 0.2  # of that, for the prices of one pool
GROW_FIRST, GROW, GROW_EVERY = 10, 3, 5  # cases: before the first step, and later every so many steps
PATIENCE = 8  # steps without progress before hope shrinks
SHRINK = 0.6
DEFLECTION = 0.8  # share of the last direction that is kept
MEMORY = 0.9  # of where requests stood before, after a step (the volume algorithm; Barahona, Anbil 2000)
SMALL = 0.05  # share of its pool that a request counts for at least, when its rent moves
PAYS = 0.002  # of the distance between bound and plan: the progress that is worth PAYS_STEPS
PAYS_STEPS = 20
PAYS_HOPE = 2.0  # times the progress that pays
ROUNDING = 1e-9  # of all money in a bound: many times the error of its sums


class Apart:
    """A descent on the bound of pools taken apart; ``bound`` is the least so far, at most the one given."""

    def __init__(self, t: Tables, prices: Prices, bound: float) -> None:
        self.bound = bound
        self._t, self._prices = t, prices
        best = best_columns(t, guide(t, prices)).worth
        self._rents: Floats = np.where(np.isfinite(best), np.maximum(0.0, best), 0.0)
        self._quotas = prices.quotas.copy()
        self._best = (np.inf, self._rents, self._quotas)
        self._pools = [Cases(t, pool, prices.pools[pool]) for pool in range(len(t.unit))]
        self._reserves = float((prices.reserves * np.where(prices.reserves > 0, t.cover, 0)).sum())
        largest = np.zeros(len(t.quota))
        np.maximum.at(largest, np.repeat(np.arange(len(t.quota)), np.diff(t.first)), np.abs(t.value).astype(np.float64))
        self._money = float(largest.sum()) + 2 * float(t.move.sum()) + self._reserves
        self._rent_scale, self._quota_scale = _scales(t)
        self._rent_direction, self._quota_direction = np.zeros(len(t.quota)), np.zeros_like(self._quotas)
        self._hope, self._mark, self._idle, self._steps = 0.0, np.inf, 0, 0
        self.stands = np.zeros((len(self._pools), len(t.quota)))  # how much of each request stands in each pool
        self._checked = np.inf
        self.pays = any(pool.divisible for pool in self._pools)

    @property
    def columns(self) -> int:
        """Columns priced so far."""
        return sum(pool.columns for pool in self._pools)

    def step(self, floor: int, enough: Callable[[], bool]) -> None:
        """Bound every pool under the present terms, and move the terms; ``floor`` is the objective of some plan."""
        gap = max(1.0, self.bound - floor)
        self._hope = self._hope or HOPE * gap
        shares = (self._pools[::2], self._pools[1::2])
        other = second_thread().submit(self._bounded, shares[1], enough)
        done = self._bounded(shares[0], enough)
        if not (other.result() and done):
            return
        total = self._total()
        if total < self._best[0]:
            self._best = (total, self._rents, self._quotas)
            self.bound = min(self.bound, total + ROUNDING * (self._money + abs(total)))
        self._steps += 1
        if self._steps % PAYS_STEPS == 1:
            # While steps are long, a stretch without progress says little.
            self.pays = self._best[0] < self._checked - PAYS * gap or self._hope > PAYS_HOPE * PAYS * gap
            self._checked = self._best[0]
        self._control(total)

    def _bounded(self, pools: Sequence[Cases], enough: Callable[[], bool]) -> bool:
        """Bound some pools; False if it was cut short."""
        for pool in pools:
            terms = Terms(self._rents, self._books(pool), max(1.0, INNER_HOPE * self._hope))
            if self._steps == 0:
                pool.begin(terms)
            else:
                pool.again(terms)
            if self._steps % GROW_EVERY == 0:
                for _ in range(GROW if self._steps else GROW_FIRST):
                    if enough():
                        return False
                    pool.grow(terms)
            if enough():
                return False
        return True

    def _total(self) -> float:
        known = float(self._rents.sum()) + float((self._quotas * self._t.limit[:-1]).sum()) + self._reserves
        return known + sum(pool.bound for pool in self._pools) - float(self._t.move.sum())

    def _books(self, pool: Cases) -> Floats:
        """Running sums of quota prices, and once more with what the reserves cost in this pool."""
        t = self._t
        quotas, slots = t.limit.shape
        books = np.zeros((2, quotas, slots + 1))
        np.cumsum(self._quotas, axis=1, out=books[0, :-1, 1:])
        insured = np.zeros(slots)
        for k in range(t.watch_first[pool.number], t.watch_first[pool.number + 1]):
            insured += self._prices.reserves[t.watch[k]] * t.times[k]
        books[1] = books[0]
        books[1, :, 1:] += np.cumsum(insured)
        return books.reshape(2 * quotas, slots + 1)

    def _control(self, total: float) -> None:
        """Move the terms, or go back to the best ones when steps have led nowhere."""
        self._idle += 1
        if self._best[0] <= self._mark - 0.3 * self._hope:
            self._mark, self._idle = self._best[0], 0
        if self._idle >= PATIENCE:
            self._hope *= SHRINK
            self._mark, self._idle = self._best[0], 0
            _, self._rents, self._quotas = self._best
            self._rent_direction, self._quota_direction = np.zeros_like(self._rents), np.zeros_like(self._quotas)
        else:
            self._move(total - self._best[0] + self._hope)

    def _move(self, drop: float) -> None:
        """Step along the deflected subgradient, as far as would lower the bound by ``drop`` if it were linear."""
        t = self._t
        rents, held = np.ones(len(t.quota)), np.zeros((len(t.limit), t.limit.shape[1] + 1))
        self.stands *= MEMORY
        for pool in self._pools:
            request, found = pool.best
            self.stands[pool.number, request] += (1 - MEMORY) * found.asked
            rents[request] -= found.asked
            held += found.held
        quotas = t.limit[:-1] - np.cumsum(held, axis=1)[:-1, :-1]
        self._rent_direction = _downhill(rents, self._rents) + DEFLECTION * self._rent_direction
        self._quota_direction = _downhill(quotas, self._quotas) + DEFLECTION * self._quota_direction
        norm = float((self._rent_scale * self._rent_direction**2).sum())
        norm += float((self._quota_scale * self._quota_direction**2).sum())
        if norm > 0:
            step = drop / norm
            self._rents = np.maximum(0.0, self._rents - step * self._rent_scale * self._rent_direction)
            self._quotas = np.maximum(0.0, self._quotas - step * self._quota_scale * self._quota_direction)


def _downhill(slope: Floats, point: Floats) -> Floats:
    """The slope where the point can follow it: a price that cannot fall further takes no part."""
    followed: Floats = np.where((point <= 0) & (slope > 0), 0.0, slope)
    return followed


def _scales(t: Tables) -> tuple[Floats, Floats]:
    """How far rents and quota prices move for each unit of excess: as if it were spread over the room."""
    rents = np.zeros(len(t.quota))
    has = np.flatnonzero(np.diff(t.first))
    row = t.first[has]
    devices = t.devices[row].astype(np.float64)
    rents[has] = devices * t.length[row] * (devices / np.maximum(1, t.capacity[t.pool[row]].max(axis=1)) + SMALL)
    return rents, 1 / np.maximum(1.0, t.limit[:-1].astype(np.float64))
