"""What a plan leaves of pools and quotas, kept as the plan changes."""

from __future__ import annotations

import numpy as np

from broker.optimiser.problem import Ints, Plan, Problem

__all__ = ["Room"]

PLENTY = 2**60  # devices where there is no quota


class Room:
    """Devices free beside a plan, in each slot; whoever changes the plan says so by `put`."""

    def __init__(self, problem: Problem, plan: Plan) -> None:
        self.problem, self._plan = problem, plan
        self._free: Ints = problem.pools.capacity.copy()
        self._quota: Ints = problem.quotas.limit.copy()
        for row in np.flatnonzero(plan.option >= 0).tolist():
            self.put(row, 1)

    def put(self, row: int, sign: int) -> None:
        """Take (1) or give back (-1) what the plan gives to a row."""
        options, option = self.problem.options, int(self._plan.option[row])
        at = options.first[row] + option
        span = slice(int(self._plan.start[row]), int(self._plan.start[row] + options.slots[at]))
        self._free[options.pool[at], span] -= sign * options.devices[at]
        if (quota := self.problem.requests.quota[row]) >= 0:
            self._quota[quota, span] -= sign * options.devices[at]

    def fits(self, row: int, option: int, start: int) -> bool:
        """Whether there is room for a row that has none now."""
        options = self.problem.options
        at = options.first[row] + option
        return bool((self.free(row, option)[start : start + int(options.slots[at])] >= options.devices[at]).all())

    def soonest(self, row: int, option: int) -> int | None:
        """The first start with room, if serving it then is worth what it costs."""
        options = self.problem.options
        at = int(options.first[row]) + option
        slots, devices = int(options.slots[at]), int(options.devices[at])
        low, high = int(options.earliest[at]), min(int(options.latest[at]), self.problem.slots - slots)
        if high < low:
            return None
        taken = np.concatenate(([0], np.cumsum(self.free(row, option) < devices)))
        starts = np.flatnonzero(taken[low + slots : high + slots + 1] == taken[low : high + 1])
        if not len(starts):
            return None
        start = low + int(starts[0])
        pool = options.pool[at]
        most = self.problem.pools.unit_cost[pool] + self.problem.pools.overage_cost[pool]
        cost = int(most) * devices * slots + int(options.late_cost[at]) * max(0, start - int(options.due[at]))
        return start if int(options.value[at]) > cost else None

    def free(self, row: int, option: int) -> Ints:
        """Devices free for a row that has none now, in each slot."""
        least: Ints = self.free_of(row, option).min(axis=0)
        return least

    def of_pools(self) -> Ints:
        """Devices free in each pool and slot; a view."""
        return self._free

    def of_quota(self, row: int) -> Ints | None:
        """What is left of a row's quota in each slot, a view; None without one."""
        quota = self.problem.requests.quota[row]
        return self._quota[quota] if quota >= 0 else None

    def free_of(self, row: int, option: int) -> Ints:
        """The same, once for what its pool leaves and once for its quota."""
        options, quota = self.problem.options, self.problem.requests.quota[row]
        pool: Ints = self._free[options.pool[options.first[row] + option]]
        return np.vstack([pool, self._quota[quota] if quota >= 0 else np.full_like(pool, PLENTY)])
