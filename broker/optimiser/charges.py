"""What placements cost, fairly split: overage in a slot is shared by all who use the pool then, device by device."""

from __future__ import annotations

import numpy as np

from broker.optimiser.problem import Floats, Ints, Plan, Problem

__all__ = ["charges"]


def charges(problem: Problem, plan: Plan, committed_price: Ints) -> tuple[Ints, Ints]:
    """For each request, the money its placement adds and the worth of paid-for capacity it uses; 0 where not placed.

    ``committed_price`` is, per pool, what a committed device-slot was paid (0 where nothing is committed by contract).
    """
    placed = np.flatnonzero(plan.option >= 0)
    row = problem.options.first[placed] + plan.option[placed]
    pool, devices = problem.options.pool[row], problem.options.devices[row]
    start = plan.start[placed]
    end = start + problem.options.slots[row]
    paid_share, over_share = _shares(problem, pool, devices, start, end)
    unit = problem.pools.unit_cost[pool] * (end - start)
    over = problem.pools.overage_cost[pool] * (over_share[pool, end] - over_share[pool, start])
    paid = committed_price[pool] * (paid_share[pool, end] - paid_share[pool, start])
    cost = np.zeros(len(plan.option), np.int64)
    worth = np.zeros(len(plan.option), np.int64)
    cost[placed] = devices * unit + np.rint(devices * over).astype(np.int64)
    worth[placed] = np.rint(devices * paid).astype(np.int64)
    return cost, worth


def _shares(problem: Problem, pool: Ints, devices: Ints, start: Ints, end: Ints) -> tuple[Floats, Floats]:
    """Prefix sums over slots, [pools, slots + 1]: the share of each used device-slot that is paid for, and the rest."""
    used = np.zeros((len(problem.pools.ids), problem.slots + 1), np.int64)
    np.add.at(used, (pool, start), devices)
    np.subtract.at(used, (pool, end), devices)
    used = np.cumsum(used[:, :-1], axis=1)
    paid = np.minimum(used, problem.pools.committed) / np.maximum(used, 1)
    paid[used == 0] = 1.0
    zero = np.zeros((len(used), 1))
    return np.hstack([zero, np.cumsum(paid, axis=1)]), np.hstack([zero, np.cumsum(1 - paid, axis=1)])
