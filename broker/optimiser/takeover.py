"""Places for those whom the search left without one, where spot claims that run may give way to them.

To end a spot claim sooner gains nothing by itself, and to place who fits nowhere is impossible by itself; a search that
looks for one gain at a time may not see that both together pay. So each that is left out, the highest in rank first, is
tried at the few starts where the end of a run would let it in, with those ended first that lose least for each device.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from broker.domain.preemption import outranks
from broker.optimiser.compile import Compiled
from broker.optimiser.problem import Ints, Plan, Problem
from broker.optimiser.room import Room
from broker.optimiser.spare import claim_of, rank

__all__ = ["take_over"]

ROWS_MAX = 200  # tried after one plan
STARTS_MAX = 8  # of one way to serve a row


class _Change(NamedTuple):
    """A row served so, once these end sooner, and what that is worth."""

    worth: int
    option: int
    start: int
    ending: tuple[int, ...]


def take_over(compiled: Compiled, plan: Plan, *, but: frozenset[int] = frozenset()) -> Plan:
    """The plan, with places for rows left out (none for ``but``) whenever they are worth more than what they end.

    Guaranteed claims are left to the search where a reserve counts them.
    """
    ends = [row for row, request in enumerate(compiled.requests) if request.ends is not None and plan.option[row] == 0]
    seeking = [row for row in _left_out(compiled, plan) if row not in but]
    if not ends or not seeking:
        return plan
    after = Plan(plan.option.copy(), plan.start.copy())
    room = Room(compiled.problem, after)
    for row in seeking[:ROWS_MAX]:
        may = [other for other in ends if after.option[other] == 0]
        best = max(_changes(compiled, room, row, may), default=None)
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
    counted = (
        compiled.problem.requests.guaranteed if compiled.problem.reserves else np.zeros(len(plan.option), np.bool_)
    )
    rows = (
        row
        for row, request in enumerate(compiled.requests)
        if request.seeks and plan.option[row] < 0 and not counted[row]
    )
    return sorted(rows, key=lambda row: rank(claim_of(compiled, row)), reverse=True)


def _changes(compiled: Compiled, room: Room, row: int, may: Sequence[int]) -> Iterator[_Change]:
    problem, seeker = compiled.problem, claim_of(compiled, row)
    for option in range(len(compiled.requests[row].options)):
        at = int(problem.options.first[row]) + option
        pool, quota = problem.options.pool[at], problem.requests.quota[row]
        here = [
            other
            for other in may
            if (
                problem.options.pool[problem.options.first[other]] == pool
                or 0 <= quota == problem.requests.quota[other]
            )
            and outranks(seeker, claim_of(compiled, other))
        ]
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
    """The row at that start, with as little lost to others as seen; None where no number of them is enough."""
    options = problem.options
    at = int(options.first[row]) + option
    span = slice(start, start + int(options.slots[at]))
    lent = {other: _freed(problem, row, at, other, span) for other in may}
    lack = int(options.devices[at]) - room.free_of(row, option)[:, span]
    ending: list[int] = []
    for other in sorted(may, key=lambda other: _loss(problem, other) / int(options.devices[options.first[other]])):
        if (lack <= 0).all():
            break
        if (lent[other][lack > 0] > 0).any():
            lack -= lent[other]
            ending.append(other)
    if (lack > 0).any():
        return None
    for other in sorted(ending, key=lambda other: -_loss(problem, other)):
        if (lack + lent[other] <= 0).all():
            lack += lent[other]
            ending.remove(other)
    late = int(options.late_cost[at]) * max(0, start - int(options.due[at]))
    pool = options.pool[at]
    most = int(problem.pools.unit_cost[pool] + problem.pools.overage_cost[pool])
    cost = late + most * int(options.devices[at] * options.slots[at]) + sum(_loss(problem, other) for other in ending)
    return _Change(int(options.value[at]) - cost, option, start, tuple(ending))


def _loss(problem: Problem, row: int) -> int:
    """What ending sooner takes from a row."""
    first = problem.options.first[row]
    return int(problem.options.value[first] - problem.options.value[first + 1])


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
