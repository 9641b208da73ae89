"""Room that a plan must leave for claims of a higher tier that nobody has made yet.

A plan of what is known fills the coming days with whatever waits. What it gives to somebody new is withheld where those
worth more are expected to need it: the rule of answers at once, applied to what a plan would grant.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from broker.domain.claim import Tier
from broker.optimiser.compile import Compiled
from broker.optimiser.problem import Ints, Plan

__all__ = ["withhold"]

Floats = NDArray[np.float64]

LAST_FIRST = (Tier.SPOT, Tier.STANDARD)


def withhold(compiled: Compiled, plan: Plan, kept: Mapping[Tier, Floats]) -> tuple[Plan, frozenset[int]]:
    """The plan without those of its new placements that leave too little, and the rows of these.

    ``kept`` is what claims of a tier leave free, [pools, slots], the same for all pools of a silicon: over the time of
    a placement that much is free on average on all pools of the silicon together. Who holds a place keeps it. Those of
    the lowest tier, and among them those furthest ahead, are withheld first; what they leave counts as free for others.
    """
    problem = compiled.problem
    silicon = [pool.silicon for pool in compiled.snapshot.fleet.pools]
    kind = np.array([silicon.index(name) for name in silicon], np.int64)
    free = _free(compiled, plan)
    option, gone = plan.option.copy(), set[int]()
    for row in _in_turn(compiled, plan):
        tier = compiled.snapshot.claims[compiled.requests[row].claim].ask.tier
        at = problem.options.first[row] + option[row]
        pool, devices = int(problem.options.pool[at]), int(problem.options.devices[at])
        span = slice(int(plan.start[row]), int(plan.start[row] + problem.options.slots[at]))
        left = free[kind == kind[pool], span].sum(axis=0)
        if float((left - kept[tier][pool, span]).sum()) < 0:
            option[row] = -1
            gone.add(row)
            free[pool, span] += devices
    return Plan(option, plan.start), frozenset(gone)


def _in_turn(compiled: Compiled, plan: Plan) -> list[int]:
    """Rows of new placements, the first to be withheld first."""
    rows = []
    for row, request in enumerate(compiled.requests):
        tier = compiled.snapshot.claims[request.claim].ask.tier
        if plan.option[row] >= 0 and request.placement is None and tier in LAST_FIRST:
            rows.append((LAST_FIRST.index(tier), -int(plan.start[row]), row))
    return [row for _, _, row in sorted(rows)]


def _free(compiled: Compiled, plan: Plan) -> Ints:
    """Devices free beside the plan, [pools, slots]."""
    problem = compiled.problem
    free: Ints = problem.pools.capacity.copy()
    for row in np.flatnonzero(plan.option >= 0).tolist():
        at = problem.options.first[row] + plan.option[row]
        start, slots = int(plan.start[row]), int(problem.options.slots[at])
        free[problem.options.pool[at], start : start + slots] -= problem.options.devices[at]
    return free
