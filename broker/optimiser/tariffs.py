"""What a gang pays that is larger than what is paid for.

Where a pool has fewer devices paid for than one gang takes, the rest of the gang is overage, whoever else is there. The
relaxation of ``prices.py`` would not say so: half of the gang fits into what is paid for. So at the price ``lam`` of a
slot with ``paid`` devices, a gang of ``d`` devices pays

    d * lam + max(0, d - paid) * max(0, overage - lam)

and takes ``min(d, paid)`` of what is paid for while ``lam`` is at most the overage. This is mixed-integer rounding
(Nemhauser and Wolsey 1990): with ``u`` devices in use, of which one gang at least exceeds ``paid``, the excesses of all
gangs sum to ``u - paid`` at most, so that together they pay no more than ``paid * lam`` and the plan's own overage. The
bound stays valid at any prices.

A *tariff* is a row of such prices for each device: each pool has a plain one, and one for each size that exceeds what
is paid for in some slot.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from broker.compiled import inlined
from broker.optimiser.problem import Bools, Floats, Ints

__all__ = ["Tariffs", "in_pools", "new_tariffs", "surcharge", "surcharges", "tariff"]


class Tariffs(NamedTuple):
    """The tariffs of all pools: first the plain ones, then those of the sizes of each pool, rising."""

    pool: Ints  # [tariffs]
    devices: Ints  # [tariffs] of a gang that pays it; 0 for plain ones
    first: Ints  # [pools + 1] where those of each pool begin
    plain: Ints  # [pools] devices up to which a row pays the plain one


def new_tariffs(pool: Ints, devices: Ints, capacity: Ints, committed: Ints, over: Ints) -> Tariffs:
    """The tariffs that rows with these pools and devices need; ``committed`` is at most the capacity."""
    pools = len(over)
    dear = (committed < capacity) & (over > 0)[:, None]
    plain = np.where(dear, committed, np.iinfo(np.int64).max).min(axis=1, initial=np.iinfo(np.int64).max)
    rows = np.flatnonzero((devices > plain[pool]) & (devices <= capacity.max(axis=1, initial=0)[pool]))
    sizes, size = np.unique(devices[rows], return_inverse=True)
    keys = np.unique(pool[rows] * max(1, len(sizes)) + size)
    owner = keys // max(1, len(sizes))
    return Tariffs(
        pool=np.concatenate((np.arange(pools), owner)),
        devices=np.concatenate((np.zeros(pools, np.int64), sizes[keys % max(1, len(sizes))])),
        first=pools + np.searchsorted(owner, np.arange(pools + 1)),
        plain=plain,
    )


@inlined
def tariff(w: Tariffs, pool: int, devices: int) -> int:
    """The tariff of a row; the plain one too for what no plan can hold."""
    if devices <= w.plain[pool]:
        return pool
    low, end = w.first[pool], w.first[pool + 1]
    high = end
    while low < high:
        middle = (low + high) // 2
        if w.devices[middle] < devices:
            low = middle + 1
        else:
            high = middle
    return low if low < end else pool


@inlined
def surcharge(price: float, over: float, paid: int, devices: int) -> float:
    """What each device of a gang pays in a slot beyond the price of the pool; nothing for the plain tariff."""
    if devices <= paid or price >= over:
        return 0.0
    return (over - price) * float(devices - paid) / float(devices)


def surcharges(w: Tariffs, prices: Floats, over: Ints, committed: Ints) -> Floats:
    """The same for every tariff and slot, at ``prices`` of [pools, slots]."""
    excess = np.maximum(0, w.devices[:, None] - committed[w.pool]) / np.maximum(1, w.devices)[:, None]
    extra: Floats = np.maximum(0.0, over[:, None] - prices)[w.pool] * excess
    return extra


def in_pools(w: Tariffs, used: Ints, committed: Ints, is_paid: Bools) -> Ints:
    """Devices in use by pool and slot, from those by tariff; where ``is_paid``, only what they take of paid ones."""
    total = used[: len(committed)].copy()
    for n in range(len(committed), len(w.pool)):
        p, devices = w.pool[n], w.devices[n]
        total[p] += used[n] // devices * np.where(is_paid[p], np.minimum(devices, committed[p]), devices)
    return total
