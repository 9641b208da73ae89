"""Spares whoever need not give way, and says to whom the others do.

The optimiser weighs money alone, so it may end a spot claim for the sake of another one, or because running it costs
more than it is worth. Neither is a reason to take a place back. So all who gain by the plan are put aside, and come
back in the order of what their device-hours are worth; before those that may take its place come no more, whoever was
to give way stays if it fits. Where work on loan can give way in the stead of other spot work, it does (`reclaim`). Spot
claims come last, and get what is left.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction

import numpy as np

from broker.domain.claim import Claim, Tier
from broker.domain.preemption import PREEMPTIONS_MAX, outranks, preemptions
from broker.domain.reason import Because, Reason
from broker.domain.slots import SLOT_SECONDS
from broker.optimiser.compile import Compiled
from broker.optimiser.problem import Plan, Problem
from broker.optimiser.reclaim import lent, reclaim
from broker.optimiser.room import Room

__all__ = ["claim_of", "gives_way", "preempted", "rank", "spare"]


def gives_way(compiled: Compiled, plan: Plan) -> list[int]:
    """Rows of what ends sooner by the plan than it was told."""
    return [row for row, request in enumerate(compiled.requests) if request.ends is not None and plan.option[row] > 0]


def spare(compiled: Compiled, plan: Plan) -> Plan:
    """The plan in which only those give way who would be in the way of whoever may take their place and nobody else.

    A claim that gives way gains nothing by the same plan. Who finds no room now gets the first place that is worth it.
    """
    ending = gives_way(compiled, plan)
    if not ending:
        return plan
    gaining = [row for row in range(len(plan.option)) if _gains(compiled, plan, row)]
    after = Plan(plan.option.copy(), plan.start.copy())
    after.option[gaining] = -1
    room = Room(compiled.problem, after)
    on_loan = lent(compiled)
    waiting = sorted(gaining, key=lambda row: rank(claim_of(compiled, row)), reverse=True)
    for row in sorted(ending, key=lambda row: rank(claim_of(compiled, row)), reverse=True):
        loser = claim_of(compiled, row)
        while waiting and outranks(claim_of(compiled, waiting[0]), loser):
            _place(compiled, plan, after, room, waiting.pop(0))
        room.put(row, -1)
        after.option[row] = 0 if room.fits(row, 0, int(after.start[row])) else plan.option[row]
        room.put(row, 1)
        if on_loan and after.option[row] and not loser.ask.on_loan:
            reclaim(compiled, after, room, row, on_loan)
    told = {compiled.requests[row].claim for row in gives_way(compiled, after)}
    for row in waiting:
        if compiled.requests[row].claim not in told:
            _place(compiled, plan, after, room, row)
    return after


def rank(claim: Claim) -> tuple[bool, Fraction, bool]:
    """Higher tiers first, among them who is worth most by the device-hour, and among equals who is not on loan."""
    ask = claim.ask
    return ask.tier is not Tier.SPOT, Fraction(ask.worth_microusd, ask.devices * ask.slots), not ask.on_loan


def claim_of(compiled: Compiled, row: int) -> Claim:
    """The claim that a row is a part of."""
    return compiled.snapshot.claims[compiled.requests[row].claim]


def _place(compiled: Compiled, plan: Plan, after: Plan, room: Room, row: int) -> None:
    """Give a row that has no place the first that it can have."""
    for option, start in _places(compiled, plan, room, row):
        if room.fits(row, option, start):
            after.option[row], after.start[row] = option, start
            room.put(row, 1)
            return


def preempted(compiled: Compiled, plan: Plan, row: int) -> Because:
    """Why what this row stands for ends sooner, in words and numbers; names only claims of the same tenant."""
    request = compiled.requests[row]
    ends = request.ends
    assert ends is not None
    claim = claim_of(compiled, row)
    takers = list(_takers(compiled, plan, row))
    tiers = [tier.value for tier in Tier if any(taker.ask.tier is tier for taker in takers)]
    facts = {
        "pool": f"pools/{ends.pool}",
        "end_unix_seconds": str(ends.window.end * SLOT_SECONDS),
        "left_ppm": str(ends.left_ppm),
        "by_tier": ",".join(tiers),
        "times": str(preemptions(claim) + 1),
        "times_most": str(PREEMPTIONS_MAX),
    }
    if own := [str(taker.name) for taker in takers if taker.name.tenant == claim.name.tenant]:
        facts["by"] = ",".join(own)
    message = f"It gives way to claims of a higher tier in {ends.pool}; what is left of it waits for another place."
    return Because(Reason.PREEMPTED, message, facts)


def _takers(compiled: Compiled, plan: Plan, row: int) -> Iterator[Claim]:
    """Whoever of a higher tier gains what this row would have used, in the order of the plan's rows."""
    problem = compiled.problem
    options, now = problem.options, problem.requests
    at = np.minimum(options.first[:-1] + np.maximum(plan.option, 0), len(options.pool) - 1)  # a row may have no way
    first, end = (int(plan.start[row] + options.slots[options.first[row] + k]) for k in (plan.option[row], 0))
    gains = (plan.option >= 0) & ((plan.option != now.current_option) | (plan.start != now.current_start))
    here = (options.pool[at] == options.pool[at[row]]) | ((now.quota >= 0) & (now.quota == now.quota[row]))
    meets = (plan.start < end) & (first < plan.start + options.slots[at])
    for other in np.flatnonzero(gains & here & meets).tolist():
        claim = claim_of(compiled, other)
        if claim.ask.tier is not Tier.SPOT:
            yield claim


def _gains(compiled: Compiled, plan: Plan, row: int) -> bool:
    """Whether a row gets what it had not, and may do without."""
    free = not compiled.problem.requests.promised[row]
    return free and plan.option[row] >= 0 and _moves(compiled.problem, plan, row)


def _moves(problem: Problem, plan: Plan, row: int) -> bool:
    now = problem.requests
    return bool(plan.option[row] != now.current_option[row] or plan.start[row] != now.current_start[row])


def _places(compiled: Compiled, plan: Plan, room: Room, row: int) -> Iterator[tuple[int, int]]:
    """Where a row may be, in order of preference: as planned, where it is, or as soon as there is room."""
    yield int(plan.option[row]), int(plan.start[row])
    problem = compiled.problem
    if compiled.snapshot.fleet.insurance and problem.requests.guaranteed[row]:
        return  # it has a berth where it was planned, perhaps not elsewhere
    if problem.requests.current_option[row] >= 0:
        yield int(problem.requests.current_option[row]), int(problem.requests.current_start[row])
    for option in range(int(problem.options.first[row + 1] - problem.options.first[row])):
        start = room.soonest(row, option)
        if start is not None:
            yield option, start
