"""First prices, by sweeps over the requests: the incremental subgradient method (Nedić and Bertsekas 2001).

A full subgradient asks every request for its best column before any price moves. Requests are many and alike, so a
twentieth of them says nearly as much: a sweep prices one block of requests after another, replaces what they asked for
last time in the books of demand, and moves all prices after each block. Forty sweeps reach what takes the full method
some four hundred passes. A step raises the price of a slot by its relative excess demand, on the scale of what demand
is worth a device-slot, times a step size that falls geometrically from 1 / blocks to a five-hundredth of it.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from broker.compiled import compiled, inlined
from broker.optimiser.columns import best_of_request, best_start_of_row, guide, second_thread, shared
from broker.optimiser.problem import Floats, Ints
from broker.optimiser.report import Prices
from broker.optimiser.state import Guide
from broker.optimiser.tables import PLENTY, Tables
from broker.optimiser.tariffs import surcharge, tariff

__all__ = ["Sweep"]

BLOCKS = 20
LAST_STEP = 0.002  # of the first


class Sweep:
    """Prices under way; ``prices`` is where they stand after the last sweep."""

    def __init__(self, t: Tables, start: Prices, seed: int) -> None:
        self._t = t
        self._lam, self._mu, self._nu = start.pools.copy(), start.quotas.copy(), start.reserves.copy()
        self._guide = guide(t, start)
        size, slots = len(t.quota), t.capacity.shape[1]
        self._row, self._start = np.full(size, -1, np.int64), np.zeros(size, np.int64)
        self._wish = (np.zeros(size, np.int64), np.zeros(size, np.int64))
        self._used = np.zeros((len(t.tariffs.pool), slots), np.int64)
        self._held = np.zeros(t.limit.shape, np.int64)
        self._sure = np.zeros(t.cover.shape, np.int64)
        self._scale = _worth_of_demand(t)
        self._rng = np.random.default_rng(seed)
        self._shared = shared(t)

    @property
    def prices(self) -> Prices:
        """A copy of the present prices."""
        return Prices(self._lam.copy(), self._mu.copy(), self._nu.copy())

    def run(self, progress: float, enough: Callable[[], bool] | None = None) -> None:
        """One sweep in a fresh random order; ``progress`` from 0 to 1 decides how small its steps are.

        ``enough`` is asked before each block; the sweep ends there when it says so.
        """
        step = self._scale * LAST_STEP ** min(1.0, progress) / BLOCKS
        order = self._rng.permutation(len(self._row))
        for block in np.array_split(order, BLOCKS):
            if enough is not None and enough():
                return
            # Neighbours in memory are priced one after the other.
            block.sort()
            self._ask(block)
            _demand(self._t, block, self._row, self._start, *self._wish, self._used, self._held, self._sure)
            _move(self._t, self._guide, self._used, self._held, self._sure, self._lam, self._mu, self._nu, step)

    def _ask(self, block: Ints) -> None:
        if not self._shared:
            _wishes(self._t, self._guide, block, *self._wish)
            return
        half = len(block) // 2
        rest = second_thread().submit(_wishes, self._t, self._guide, block[half:], *self._wish)
        _wishes(self._t, self._guide, block[:half], *self._wish)
        rest.result()


def _worth_of_demand(t: Tables) -> float:
    """What a device-slot that is asked for is worth, on average: the scale of prices."""
    rows = t.first[:-1][np.diff(t.first) > 0]
    size = float((t.devices[rows] * t.length[rows]).sum(dtype=np.float64))
    return float(np.maximum(0, t.value[rows]).sum(dtype=np.float64)) / size if size else 0.0


@compiled
def _wishes(t: Tables, g: Guide, block: Ints, wish_row: Ints, wish_start: Ints) -> None:
    """What each request of a block would take at these prices; row -1 when nothing is worth its price."""
    for request in block:
        worth, row = best_of_request(t, g, request)
        wish_row[request] = row if worth > 0 else -1
        if worth > 0:
            wish_start[request] = best_start_of_row(t, g, request, row)


@compiled
def _count(t: Tables, request: int, row: int, start: int, sign: int, used: Ints, held: Ints, sure: Ints) -> None:
    p, q, devices = t.pool[row], t.quota[request], sign * t.devices[row]
    paid_by = tariff(t.tariffs, p, t.devices[row])
    for slot in range(start, start + t.length[row]):
        used[paid_by, slot] += devices
        held[q, slot] += devices
    if t.sure[request] == 1:
        for k in range(t.watch_first[p], t.watch_first[p + 1]):
            for slot in range(start, start + t.length[row]):
                sure[t.watch[k], slot] += devices * t.times[k]


@compiled
def _demand(
    t: Tables,
    block: Ints,
    row: Ints,
    start: Ints,
    wish_row: Ints,
    wish_start: Ints,
    used: Ints,
    held: Ints,
    sure: Ints,
) -> None:
    """Replace what a block asked for last time by what it asks for now."""
    for request in block:
        if row[request] == wish_row[request] and (row[request] < 0 or start[request] == wish_start[request]):
            continue
        if row[request] >= 0:
            _count(t, request, row[request], start[request], -1, used, held, sure)
        row[request], start[request] = wish_row[request], wish_start[request]
        if row[request] >= 0:
            _count(t, request, row[request], start[request], 1, used, held, sure)


@inlined
def _taken(t: Tables, used: Ints, pool: int, slot: int, is_paid: bool) -> float:
    """Devices of a pool that are asked for; of what is paid for alone, no gang takes more than that."""
    total = used[pool, slot]
    for n in range(t.tariffs.first[pool], t.tariffs.first[pool + 1]):
        gangs, devices = used[n, slot] // t.tariffs.devices[n], t.tariffs.devices[n]
        total += gangs * (min(devices, t.committed[pool, slot]) if is_paid else devices)
    return float(total)


@inlined
def _sum_up(t: Tables, g: Guide, n: int, lam: Floats, nu: Floats) -> None:
    """The running sums of one tariff."""
    p, devices = t.tariffs.pool[n], t.tariffs.devices[n]
    total = sure_total = 0.0
    for slot in range(lam.shape[1]):
        price = lam[p, slot] + t.unit[p] + surcharge(lam[p, slot], float(t.over[p]), t.committed[p, slot], devices)
        total += price
        for k in range(t.watch_first[p], t.watch_first[p + 1]):
            price += nu[t.watch[k], slot] * t.times[k]
        sure_total += price
        g.pool[0, n, slot + 1] = total
        g.pool[1, n, slot + 1] = sure_total


@compiled
def _move(
    t: Tables, g: Guide, used: Ints, held: Ints, sure: Ints, lam: Floats, mu: Floats, nu: Floats, step: float
) -> None:
    """Move every price by its relative excess demand, and bring the running sums of prices up to date."""
    slots = lam.shape[1]
    for n in range(len(nu)):
        for slot in range(slots):
            if t.cover[n, slot] < PLENTY:
                room = float(t.cover[n, slot])
                nu[n, slot] = max(0.0, nu[n, slot] + step * (sure[n, slot] - room) / max(1.0, room))
    for p in range(len(lam)):
        least = 0.1 * max(1.0, t.capacity[p].mean())
        for slot in range(slots):
            room = float(t.capacity[p, slot])
            offered = room if lam[p, slot] > t.over[p] else float(t.committed[p, slot])
            taken = _taken(t, used, p, slot, lam[p, slot] <= t.over[p])
            lam[p, slot] = max(0.0, lam[p, slot] + step * (taken - offered) / max(room, least))
    for n in range(len(t.tariffs.pool)):
        _sum_up(t, g, n, lam, nu)
    for q in range(len(mu)):
        total = 0.0
        for slot in range(slots):
            room = float(t.limit[q, slot])
            mu[q, slot] = max(0.0, mu[q, slot] + step * (held[q, slot] - room) / max(1.0, room))
            total += mu[q, slot]
            g.quota[q, slot + 1] = total
