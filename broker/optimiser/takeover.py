"""Places for those whom the search left without one, where spot claims that run may give way to them.

To end a spot claim sooner gains nothing by itself, and to place who fits nowhere is impossible by itself; a search that
looks for one gain at a time may not see that both together pay. So each that is left out, the highest in rank first, is
tried at the few starts where the end of a run would let it in, with those ended first that lose least for each device.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import NamedTuple

import numpy as np

from broker.domain.preemption import outranks
from broker.optimiser.compile import Compiled
from broker.optimiser.problem import Ints, Plan, Problem
from broker.optimiser.reclaim import loss
from broker.optimiser.room import Room
from broker.optimiser.spare import claim_of, rank, spare

__all__ = ["make_way", "take_over"]

ROWS_MAX = 100  # tried after one plan
STARTS_MAX = 4  # of one way to serve a row
ENDS_MAX = 64  # looked at for one way, those that lose least first


class _Change(NamedTuple):
    """A row served so, once these end sooner, and what that is worth."""

    worth: int
    option: int
    start: int
    ending: tuple[int, ...]


def make_way(compiled: Compiled, plan: Plan, *, but: frozenset[int] = frozenset()) -> Plan:
    """The plan in which those end sooner who stand in the way of a higher tier, and nobody else; none for ``but``.

    Who was to take a place may have been left out since, so that others may take it.
    """
    return spare(compiled, take_over(compiled, spare(compiled, plan), but=but))


def take_over(compiled: Compiled, plan: Plan, *, but: frozenset[int] = frozenset()) -> Plan:
    """The plan, with places for rows left out (none for ``but``) whenever they are worth more than what they end.

    Guaranteed claims are left to the search where they are insured: they need a berth as well.
    """
    rows = (row for row, request in enumerate(compiled.requests) if request.ends is not None and plan.option[row] == 0)
    ends = sorted(rows, key=lambda row: _loss_per_device(compiled.problem, row))
    seeking = [row for row in _left_out(compiled, plan) if row not in but]
    if not ends or not seeking:
        return plan
    after = Plan(plan.option.copy(), plan.start.copy())
    room, runs = Room(compiled.problem, after), _Runs(compiled, after, ends)
    for row in seeking[:ROWS_MAX]:
        best = max(_changes(compiled, room, row, runs), default=None)
        if best is None or best.worth <= 0:
            continue
        for other in best.ending:
            room.put(other, -1)
            after.option[other] = 1
            room.put(other, 1)
        after.option[row], after.start[row] = best.option, best.start
        room.put(row, 1)
    return after


def _left_out(compiled: Compiled, plan: Plan) -> list[int]:
    """Rows that seek a place and have none, the highest in rank first."""
    insured = bool(compiled.snapshot.fleet.insurance)
    counted = compiled.problem.requests.guaranteed & insured
    rows = (
        row
        for row, request in enumerate(compiled.requests)
        if request.seeks and plan.option[row] < 0 and not counted[row]
    )
    return sorted(rows, key=lambda row: rank(claim_of(compiled, row)), reverse=True)


class _Runs:
    """Those that may end sooner and do not yet, by pool and by quota, who loses least for each device first."""

    def __init__(self, compiled: Compiled, plan: Plan, ends: Sequence[int]) -> None:
        self._compiled, self._plan = compiled, plan
        self._in_pool: dict[int, list[int]] = {}
        self._in_quota: dict[int, list[int]] = {}
        problem = compiled.problem
        for row in ends:
            self._in_pool.setdefault(int(problem.options.pool[problem.options.first[row]]), []).append(row)
            self._in_quota.setdefault(int(problem.requests.quota[row]), []).append(row)

    def for_row(self, row: int, pool: int) -> list[int]:
        """Some whose place a row may take, in its quota if it has one, and in a pool."""
        quota, seeker = int(self._compiled.problem.requests.quota[row]), claim_of(self._compiled, row)
        own = self._in_quota.get(quota, []) if quota >= 0 else []
        may = (
            other
            for other in dict.fromkeys((*own[:ENDS_MAX], *self._in_pool.get(pool, ())))
            if self._plan.option[other] == 0 and outranks(seeker, claim_of(self._compiled, other))
        )
        return list(islice(may, ENDS_MAX))


def _changes(compiled: Compiled, room: Room, row: int, runs: _Runs) -> Iterator[_Change]:
    problem = compiled.problem
    for option in range(len(compiled.requests[row].options)):
        at = int(problem.options.first[row]) + option
        here = runs.for_row(row, int(problem.options.pool[at]))
        for start in _starts(problem, at, here):
            change = _change(problem, room, row, option, start, here)
            if change is not None:
                yield change


def _starts(problem: Problem, at: int, may: Sequence[int]) -> list[int]:
    """Starts worth a try: the first, and those at which somebody's run would have ended."""
    options = problem.options
    low, high = int(options.earliest[at]), int(options.latest[at])
    ends = {int(options.earliest[options.first[other]] + options.slots[options.first[other] + 1]) for other in may}
    return sorted(start for start in {low, *ends} if low <= start <= high)[:STARTS_MAX]


def _change(problem: Problem, room: Room, row: int, option: int, start: int, may: Sequence[int]) -> _Change | None:
    """The row at that start once those end that lose least and are enough (``may`` in order); None: all are not."""
    options = problem.options
    at = int(options.first[row]) + option
    span = slice(start, start + int(options.slots[at]))
    lack = int(options.devices[at]) - room.free_of(row, option)[:, span]
    if lack.max(initial=0) > sum(int(options.devices[options.first[other]]) for other in may):
        return None
    lent: dict[int, Ints] = {}
    for other in may:
        if (lack <= 0).all():
            break
        freed = _freed(problem, row, at, other, span)
        if (freed[lack > 0] > 0).any():
            lack -= freed
            lent[other] = freed
    if (lack > 0).any():
        return None
    ending = list(lent)
    for other in sorted(ending, key=lambda other: -loss(problem, other)):
        if (lack + lent[other] <= 0).all():
            lack += lent[other]
            ending.remove(other)
    late = int(options.late_cost[at]) * max(0, start - int(options.due[at]))
    pool = options.pool[at]
    most = int(problem.pools.unit_cost[pool] + problem.pools.overage_cost[pool])
    cost = late + most * int(options.devices[at] * options.slots[at]) + sum(loss(problem, other) for other in ending)
    return _Change(int(options.value[at]) - cost, option, start, tuple(ending))


def _loss_per_device(problem: Problem, row: int) -> float:
    return loss(problem, row) / int(problem.options.devices[problem.options.first[row]])


def _freed(problem: Problem, row: int, at: int, other: int, span: slice) -> Ints:
    """Devices that another would leave to a row, in each slot of the span: of its pool, and of its quota."""
    options = problem.options
    stay = int(options.first[other])
    begin, end = (int(options.earliest[stay] + options.slots[k]) for k in (stay + 1, stay))
    slots = np.arange(span.start, span.stop)
    devices = options.devices[stay] * ((begin <= slots) & (slots < end))
    quota = problem.requests.quota[row]
    mine, same = options.pool[stay] == options.pool[at], 0 <= quota == problem.requests.quota[other]
    freed: Ints = np.vstack([devices * bool(mine), devices * bool(same)])
    return freed
