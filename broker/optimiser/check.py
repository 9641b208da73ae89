"""The judge: whether a plan keeps every rule, and its exact worth. It knows no solver.

``docs/optimiser.md`` states the rules and the objective; this file is their second statement, in numpy, and shares
no code with what makes plans.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

import numpy as np

from broker.optimiser.problem import Bools, Ints, Plan, Problem

__all__ = ["Verdict", "check"]

VIOLATIONS_MAX = 1_000
SAFE = float(2**62)


@dataclass(frozen=True, slots=True)
class Verdict:
    """Every broken rule in words (the first 1,000), and the objective as an exact integer."""

    violations: tuple[str, ...]
    objective: int

    @property
    def ok(self) -> bool:
        """Whether the plan keeps every rule."""
        return not self.violations


@dataclass(frozen=True, slots=True)
class _Placed:
    """The placements of a plan that name a legal option and start, as columns."""

    request: Ints
    row: Ints  # row in Options
    start: Ints
    end: Ints


def check(problem: Problem, plan: Plan) -> Verdict:
    """Judge a plan; a placement with an impossible option or start is a violation and is worth nothing.

    Raises ``ValueError`` when the plan is not for as many requests as the problem has.
    """
    size = len(problem.requests.ids)
    if plan.option.shape != (size,) or plan.start.shape != (size,):
        raise ValueError(f"a plan for {plan.option.shape[0]} requests, the problem has {size}")
    placed, bad = _legal(problem, plan)
    used = _books(problem, placed, problem.options.pool[placed.row], len(problem.pools.ids))
    found = islice(_violations(problem, plan, placed, used, bad), VIOLATIONS_MAX)
    return Verdict(tuple(found), _objective(problem, plan, placed, used, bad))


def _legal(problem: Problem, plan: Plan) -> tuple[_Placed, Bools]:
    """The legal placements, and a mark for each request with an illegal one."""
    options = problem.options
    counts = np.diff(options.first)
    bad = plan.option >= counts
    request = np.flatnonzero((plan.option >= 0) & ~bad)
    row = options.first[request] + plan.option[request]
    start = plan.start[request]
    inside = (start >= np.maximum(0, options.earliest[row])) & (start <= options.latest[row])
    # Compared without adding, so that no start can overflow.
    inside &= start <= problem.slots - options.slots[row]
    bad[request[~inside]] = True
    row, start = row[inside], start[inside]
    return _Placed(request[inside], row, start, start + options.slots[row]), bad


def _books(problem: Problem, placed: _Placed, place: Ints, places: int) -> Ints:
    """Devices by place and slot; Python integers where int64 could overflow."""
    devices = problem.options.devices[placed.row]
    small = float(devices.sum(dtype=np.float64)) < SAFE
    change = np.zeros((places, problem.slots + 1), np.int64 if small else object)
    amounts = devices if small else devices.astype(object)
    np.add.at(change, (place, placed.start), amounts)
    np.subtract.at(change, (place, placed.end), amounts)
    running: Ints = np.cumsum(change, axis=1)[:, :-1]
    return running


def _only(placed: _Placed, mark: Bools) -> _Placed:
    return _Placed(placed.request[mark], placed.row[mark], placed.start[mark], placed.end[mark])


def _violations(problem: Problem, plan: Plan, placed: _Placed, used: Ints, bad: Bools) -> Iterator[str]:
    ids = problem.requests.ids
    for r in np.flatnonzero(bad):
        yield f"{ids[r]}: no such option or start: option {plan.option[r]}, start {plan.start[r]}"
    for r in np.flatnonzero(problem.requests.promised & ((plan.option < 0) | bad)):
        yield f"{ids[r]}: promised, yet not placed"
    for p, t in np.argwhere(used > problem.pools.capacity):
        room = problem.pools.capacity[p, t]
        yield f"pool {problem.pools.ids[p]} slot {t}: {used[p, t]} devices used, capacity {room}"
    quota = problem.requests.quota[placed.request]
    bound = _only(placed, quota >= 0)
    held = _books(problem, bound, problem.requests.quota[bound.request], len(problem.quotas.ids))
    for q, t in np.argwhere(held > problem.quotas.limit):
        yield f"quota {problem.quotas.ids[q]} slot {t}: {held[q, t]} held, limit {problem.quotas.limit[q, t]}"
    yield from _broken_reserves(problem, placed)


def _broken_reserves(problem: Problem, placed: _Placed) -> Iterator[str]:
    sure = _only(placed, problem.requests.guaranteed[placed.request])
    load = _books(problem, sure, problem.options.pool[sure.row], len(problem.pools.ids))
    for n, reserve in enumerate(problem.reserves):
        covers = np.array(reserve.covers, np.int64)
        room = (problem.pools.capacity[covers] - load[covers]).sum(axis=0)
        lost = load[[reserve.lost, *reserve.beside]].sum(axis=0)
        for t in range(reserve.first_slot, reserve.end_slot):
            if lost[t] > room[t]:
                name = problem.pools.ids[reserve.lost]
                yield f"reserve {n} (lost {name}) slot {t}: {lost[t]} guaranteed, room {room[t]}"


def _objective(problem: Problem, plan: Plan, placed: _Placed, used: Ints, bad: Bools) -> int:
    options, pools, requests = problem.options, problem.pools, problem.requests
    late = np.maximum(0, placed.start - options.due[placed.row])
    above = np.maximum(0, used - pools.committed)
    now = requests.current_option >= 0
    kept = ~bad & (plan.option == requests.current_option) & (plan.start == requests.current_start)
    return (
        _sum(options.value[placed.row])
        - _dot(options.late_cost[placed.row], late)
        - _dot(pools.unit_cost, _rows(used))
        - _dot(pools.overage_cost, _rows(above))
        - _sum(requests.move_cost[now & ~kept])
    )


def _rows(table: Ints) -> Ints:
    """The sum of each row, in Python integers where int64 could overflow."""
    small = table.dtype != object and float(table.sum(dtype=np.float64)) < SAFE
    sums: Ints = (table if small else table.astype(object)).sum(axis=1)
    return sums


def _sum(values: Ints) -> int:
    return _dot(values, np.ones(len(values), np.int64))


def _dot(a: Ints, b: Ints) -> int:
    """The exact sum of products, in int64 where that is safe and in Python integers elsewhere."""
    if object not in (a.dtype, b.dtype) and np.abs(a).astype(np.float64) @ np.abs(b).astype(np.float64) < SAFE:
        return int(a @ b)
    return sum(int(x) * int(y) for x, y in zip(a, b, strict=True))
