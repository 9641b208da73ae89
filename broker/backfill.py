"""Backfill: claims that a plan left out may have what is idle after it, by the rule of answers at once.

A plan does not know whose room is kept, so what it is not allowed to give to one may be had by another, or by the same
one at another hour. Those of the highest tier come first, among them the largest.
"""

from __future__ import annotations

import numpy as np

from broker.admission.berths import Berths
from broker.admission.calendar import Calendar
from broker.admission.demand import Demand
from broker.admission.policy import Policy
from broker.admission.stakes import stakes_at
from broker.domain.claim import Hold, Tier
from broker.domain.slots import Window
from broker.optimiser.compile import Compiled, option_at
from broker.optimiser.problem import Plan

__all__ = ["backfill"]

CLAIMS_MAX = 1_000  # looked at after one plan: a third of a millisecond each


def backfill(compiled: Compiled, plan: Plan, policy: Policy, demand: Demand, berths: Berths | None = None) -> Plan:
    """The plan, and places for claims that have none in it, where there is room that need not be kept.

    ``berths`` are those of the plan, and of what is placed here after. Claims of which only some parts are left out are
    left to the next plan; so is what is left of those that ran, or run until they have given way.
    """
    calendar = Calendar(compiled.snapshot.fleet, _holds(compiled, plan), compiled.horizon)
    calendar.expect(demand, compiled.horizon.first)
    calendar.berths = berths
    option, start = plan.option.copy(), plan.start.copy()
    for index, rows in _left_out(compiled, plan)[:CLAIMS_MAX]:
        claim = compiled.snapshot.claims[index]
        found = next(iter(policy.offers(claim.ask, claim.name.tenant, calendar, most=1)), None)
        if found is None or len(found.placements) != len(rows):
            continue
        for row, place in zip(rows, found.placements, strict=True):
            k = option_at(compiled, row, place)
            assert k is not None
            option[row], start[row] = k, place.window.first - compiled.horizon.first
            for account in (f"pools/{place.pool}", claim.account):
                calendar.take(Hold(account, place.window, place.devices))
        if berths is not None and claim.ask.tier is Tier.GUARANTEED:
            for stake in stakes_at(claim.name, claim.ask, found.placements, compiled.snapshot.fleet):
                berths.take(stake)
    return Plan(option, start)


def _left_out(compiled: Compiled, plan: Plan) -> list[tuple[int, list[int]]]:
    """Claims of which nothing is placed, with their rows in order of part."""
    rows: dict[int, list[int]] = {}
    placed = set[int]()
    for row, request in enumerate(compiled.requests):
        rows.setdefault(request.claim, []).append(row)
        claim = compiled.snapshot.claims[request.claim]
        if plan.option[row] >= 0 or claim.placements or claim.ran:
            placed.add(request.claim)
    tiers = list(Tier)

    def turn(index: int) -> tuple[int, int]:
        ask = compiled.snapshot.claims[index].ask
        return tiers.index(ask.tier), -ask.devices * ask.slots

    return [(index, rows[index]) for index in sorted(rows.keys() - placed, key=turn)]


def _holds(compiled: Compiled, plan: Plan) -> list[Hold]:
    """What the plan lends to whom."""
    found = []
    for row in np.flatnonzero(plan.option >= 0).tolist():
        request, claim = compiled.requests[row], compiled.snapshot.claims[compiled.requests[row].claim]
        way = request.options[int(plan.option[row])]
        first = compiled.horizon.first + int(plan.start[row])
        accounts = (f"pools/{way.pool}", claim.account)
        found += [Hold(account, Window(first, first + way.slots), way.devices) for account in accounts]
    return found
