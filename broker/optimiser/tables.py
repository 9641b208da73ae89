"""The pruned problem as flat arrays that machine code can walk.

Everything here is read-only once built. Requests without a quota share one last quota row without a limit, so that the
hot loops have no special case.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from broker.optimiser.problem import Ints, Options, Plan, Problem

__all__ = ["PLENTY", "Pruned", "Tables", "TooLargeError", "plan_of", "rows_of", "tables"]

PLENTY = np.int64(2**60)  # room where there is no limit
LARGEST_OBJECTIVE = 2.0**61


class TooLargeError(ValueError):
    """The problem's money or devices would overflow 64-bit integers."""


@dataclass(frozen=True, slots=True)
class Pruned:
    """Options cut into runs: every start from ``earliest`` to ``latest`` is legal in the empty market."""

    options: Options
    origin: Ints  # [rows] row in the options of the whole problem


class Tables(NamedTuple):
    """Columns of pools, requests and pruned option rows."""

    first: Ints  # [requests + 1] row where the rows of each request begin
    pool: Ints  # [rows]
    devices: Ints  # [rows]
    length: Ints  # [rows] slots
    low: Ints  # [rows] every start from low to high is legal in the empty market
    high: Ints  # [rows]
    value: Ints  # [rows]
    due: Ints  # [rows]
    late: Ints  # [rows] money per slot started after due
    quota: Ints  # [requests]
    sure: Ints  # [requests] 1: counts against reserves
    bonus: Ints  # [requests] worth of keeping a promise, above everything else together; 0 without a promise
    now_row: Ints  # [requests] row of the present placement, or -1
    now_start: Ints  # [requests]
    move: Ints  # [requests] saved by keeping the present placement
    capacity: Ints  # [pools, slots]
    committed: Ints  # [pools, slots], at most the capacity
    unit: Ints  # [pools]
    over: Ints  # [pools]
    limit: Ints  # [quotas + 1, slots]
    cover: Ints  # [reserves, slots] capacity of the covering pools; plenty outside the reserve's slots
    watch_first: Ints  # [pools + 1] row where the reserves that watch each pool begin
    watch: Ints  # [watches] row in cover
    times: Ints  # [watches] how often a device in the pool counts


def tables(problem: Problem, pruned: Pruned) -> Tables:
    """Flat arrays of a pruned problem; ``TooLargeError`` when 64 bits cannot hold its sums."""
    bonus = _bonus(problem)
    o, requests, pools = pruned.options, problem.requests, problem.pools
    now_row = _now_rows(problem, pruned)
    plenty = np.full((1, problem.slots), PLENTY, np.int64)
    watch_first, watch, times = _watches(problem)
    return Tables(
        *(o.first, o.pool, o.devices, o.slots, o.earliest, o.latest, o.value, o.due, o.late_cost),
        quota=np.where(requests.quota >= 0, requests.quota, len(problem.quotas.ids)).astype(np.int64),
        sure=requests.guaranteed.astype(np.int64),
        bonus=np.where(requests.promised, bonus, 0).astype(np.int64),
        now_row=now_row,
        now_start=requests.current_start.astype(np.int64),
        move=np.where(requests.current_option >= 0, requests.move_cost, 0).astype(np.int64),
        capacity=np.ascontiguousarray(pools.capacity, np.int64),
        committed=np.minimum(pools.committed, pools.capacity).astype(np.int64),
        unit=pools.unit_cost,
        over=pools.overage_cost,
        limit=np.concatenate((problem.quotas.limit, plenty)),
        cover=_cover(problem),
        watch_first=watch_first,
        watch=watch,
        times=times,
    )


def _bonus(problem: Problem) -> int:
    """More than any two plans can differ by; also the place that refuses what 64 bits cannot hold."""
    o, pools, requests = problem.options, problem.pools, problem.requests
    reach = np.maximum(0.0, np.minimum(o.latest, problem.slots).astype(np.float64) - o.due)
    swing = np.abs(o.value.astype(np.float64)) + o.late_cost * reach
    request = np.repeat(np.arange(len(requests.ids)), np.diff(o.first))
    largest = np.zeros(len(requests.ids))
    np.maximum.at(largest, request, swing)
    cost = (pools.unit_cost.astype(np.float64) + pools.overage_cost) @ pools.capacity.astype(np.float64).sum(axis=1)
    total = float(largest.sum() + cost + requests.move_cost.astype(np.float64).sum())
    promises = int(requests.promised.sum())
    devices = float(o.devices.astype(np.float64).sum() + pools.capacity.astype(np.float64).sum())
    if (2 * total + 2) * (promises + 2) > LARGEST_OBJECTIVE or devices > float(PLENTY) / 8:
        raise TooLargeError("money or devices of this problem exceed 64-bit sums; choose a larger money unit")
    return int(2 * total) + 2 if promises else 0


def _now_rows(problem: Problem, pruned: Pruned) -> Ints:
    plan = Plan(problem.requests.current_option, problem.requests.current_start)
    return rows_of(problem, pruned, plan)


def rows_of(problem: Problem, pruned: Pruned, plan: Plan) -> Ints:
    """The pruned row of each placement of a plan; -1 where there is none, or where no plan could use it."""
    found = np.full(len(problem.requests.ids), -1, np.int64)
    options = problem.options
    wanted = np.where(plan.option >= 0, options.first[:-1] + plan.option, -1)
    wanted[plan.option >= np.diff(options.first)] = -1
    request = np.repeat(np.arange(len(found)), np.diff(pruned.options.first))
    start = plan.start[request]
    hit = (pruned.origin == wanted[request]) & (pruned.options.earliest <= start) & (start <= pruned.options.latest)
    rows = np.flatnonzero(hit)
    found[request[rows]] = rows
    return found


def plan_of(problem: Problem, pruned: Pruned, row: Ints, start: Ints) -> Plan:
    """The plan, in the numbering of the whole problem, of a choice of pruned rows."""
    placed = row >= 0
    option = np.full(len(row), -1, np.int64)
    option[placed] = pruned.origin[row[placed]] - problem.options.first[:-1][placed]
    return Plan(option, np.where(placed, start, 0))


def _cover(problem: Problem) -> Ints:
    cover = np.full((len(problem.reserves), problem.slots), PLENTY, np.int64)
    for n, reserve in enumerate(problem.reserves):
        span = slice(reserve.first_slot, reserve.end_slot)
        cover[n, span] = problem.pools.capacity[list(reserve.covers), span].sum(axis=0)
    return cover


def _watches(problem: Problem) -> tuple[Ints, Ints, Ints]:
    counts, watch, times = [0], [], []
    for p in range(len(problem.pools.ids)):
        for n, reserve in enumerate(problem.reserves):
            often = (reserve.lost == p) + reserve.covers.count(p)
            if often:
                watch.append(n)
                times.append(often)
        counts.append(len(watch))
    return np.array(counts, np.int64), np.array(watch, np.int64), np.array(times, np.int64)
