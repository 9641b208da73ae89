"""Who is on loan gives way in the stead of spot work within its quota, where that costs hardly more.

A search that weighs money alone picks either. What is used beyond a quota was lent until somebody needs it, so it goes
first among those that are worth as much.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice

from broker.domain.claim import Claim
from broker.optimiser.compile import Compiled
from broker.optimiser.problem import Plan, Problem
from broker.optimiser.room import Room

__all__ = ["lent", "loss", "reclaim"]

STEAD_PERCENT = 20  # by which more may be lost when who is on loan ends instead
TRIED_MAX = 64  # on loan, for one run that would end


def lent(compiled: Compiled) -> list[int]:
    """Rows of what runs on loan and may end sooner, those first that lose least for each device."""
    problem = compiled.problem
    rows = (
        row for row, one in enumerate(compiled.requests) if one.ends is not None and _claim(compiled, row).ask.on_loan
    )
    return sorted(rows, key=lambda row: loss(problem, row) / int(problem.options.devices[problem.options.first[row]]))


def reclaim(compiled: Compiled, plan: Plan, room: Room, row: int, on_loan: Sequence[int]) -> None:
    """Let a run within its quota stay that would end, if others ``on_loan`` can end instead; changes plan and room.

    They are as few as are enough, in the same pool, and worth no more by the device-hour: whoever may take the place of
    the one may take theirs.
    """
    start, ended = int(plan.start[row]), list[int]()
    room.put(row, -1)
    for other in _may(compiled, plan, row, on_loan):
        if room.fits(row, 0, start):
            break
        _turn(plan, room, other, 1)
        ended.append(other)
    stays = room.fits(row, 0, start)
    plan.option[row] = 0 if stays else 1
    room.put(row, 1)
    for other in reversed(ended):
        room.put(other, -1)
        plan.option[other] = 0 if not stays or room.fits(other, 0, int(plan.start[other])) else 1
        room.put(other, 1)
    lost = sum(loss(compiled.problem, other) for other in ended if plan.option[other] == 1)
    if stays and 100 * lost > (100 + STEAD_PERCENT) * loss(compiled.problem, row):
        for other in ended:
            _turn(plan, room, other, 0)
        _turn(plan, room, row, 1)


def loss(problem: Problem, row: int) -> int:
    """What ending sooner takes from a row."""
    first = problem.options.first[row]
    return int(problem.options.value[first] - problem.options.value[first + 1])


def _may(compiled: Compiled, plan: Plan, row: int, on_loan: Sequence[int]) -> Iterator[int]:
    options, most = compiled.problem.options, _hourly(_claim(compiled, row))
    pool = options.pool[options.first[row]]
    may = (
        other
        for other in on_loan
        if plan.option[other] == 0
        and options.pool[options.first[other]] == pool
        and _hourly(_claim(compiled, other)) <= most
    )
    return islice(may, TRIED_MAX)


def _turn(plan: Plan, room: Room, row: int, option: int) -> None:
    room.put(row, -1)
    plan.option[row] = option
    room.put(row, 1)


def _claim(compiled: Compiled, row: int) -> Claim:
    return compiled.snapshot.claims[compiled.requests[row].claim]


def _hourly(claim: Claim) -> float:
    return claim.ask.worth_microusd / (claim.ask.devices * claim.ask.slots)
