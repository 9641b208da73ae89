"""Who keeps a place where a pool has less than its claims hold, and who has to leave: as few as the rule lets.

Where devices are missing, placements are kept in this order, each as far as it still fits beside those before it: by
tier, guaranteed first, and spot work on loan last; within a tier who would lose most for each device-hour that it
takes, which is what the claim is worth an hour and once more the share of its time that it has run; then who started
first. What is only kept for a quote comes last. Elsewhere, and at other times, nobody loses a place.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from broker.admission.calendar import Calendar
from broker.admission.ranking import Ranking, legal, placed
from broker.domain.bid_prices import BidPrices
from broker.domain.claim import Claim, ClaimName, Held, Hold, Placement, Tier
from broker.domain.fleet import Fleet
from broker.domain.options import parts
from broker.domain.preemption import ways, ways_elsewhere
from broker.domain.slots import Window
from broker.domain.terms import Terms

__all__ = ["Loss", "leave", "losses", "refuges"]

Ints = NDArray[np.int64]

KEPT_FIRST = (Tier.GUARANTEED, Tier.STANDARD, Tier.SPOT)


@dataclass(frozen=True, slots=True)
class Loss:
    """A placement that its claim loses, and where that part of it could be served instead, if that is known."""

    claim: Claim
    placement: Placement
    refuge: Placement | None = None


def losses(claims: Iterable[Claim], fleet: Fleet, slot: int) -> tuple[Loss, ...]:
    """The placements that lose their place from ``slot`` on, those that weigh most first; the same on every machine."""
    by_pool: dict[str, list[Loss]] = {}
    for claim in claims:
        for placement in claim.placements:
            if placement.window.end > slot:
                by_pool.setdefault(placement.pool, []).append(Loss(claim, placement))
    out = [loss for pool, held in by_pool.items() for loss in _lost(held, pool, fleet, slot)]
    return tuple(sorted(out, key=lambda loss: _turn(loss, slot)))


def leave(claims: Iterable[Claim], fleet: Fleet, slot: int) -> frozenset[tuple[ClaimName, int]]:
    """Claims and parts that lose their place from ``slot`` on."""
    return frozenset((one.claim.name, one.placement.part) for one in losses(claims, fleet, slot))


def refuges(
    lost: Sequence[Loss], claims: Iterable[Claim], fleet: Fleet, window: Window, prices: BidPrices | None, terms: Terms
) -> tuple[Loss, ...]:
    """The same with a refuge for each who finds one, in their order, while everybody else stays where he is.

    No room is left for others, and nobody moves to make any: a plan does better. What was kept for a quote finds none.
    """
    leaving = {(one.claim.name, one.placement.part) for one in lost}
    holds = (
        hold
        for claim in claims
        for placement in claim.placements
        if (claim.name, placement.part) not in leaving
        for hold in _holds(claim, placement)
    )
    calendar = Calendar(fleet, holds, window, prices)
    return tuple(replace(one, refuge=_refuge(one, calendar, terms)) for one in lost)


def _refuge(one: Loss, calendar: Calendar, terms: Terms) -> Placement | None:
    """The best free place for what was lost, which counts as used from then on."""
    if isinstance(one.claim.state, Held):
        return None
    ranking, ask = Ranking(calendar, one.claim.quota, terms), one.claim.ask
    has_begun = bool(one.claim.ran) or one.placement.window.first < calendar.window.first
    if parts(ask) == 1 and not has_begun:
        whole = ranking.candidates(ask, most=1)
        found = whole[0].placements[0] if whole else None
    else:
        found = _part_alone(one, ranking)
    for hold in _holds(one.claim, found) if found is not None else ():
        calendar.take(hold)
    return found


def _part_alone(one: Loss, ranking: Ranking) -> Placement | None:
    """The best free place for one part of several, or for what is left of one; others stay where they are."""
    calendar, slot = ranking.calendar, ranking.calendar.window.first
    whole = [way for way in ways(one.claim, calendar.fleet, slot) if way.part == one.placement.part]
    left = ways_elsewhere(one.claim, one.placement, whole, calendar.fleet, slot)
    worths = [(worth, way) for way in legal(left, calendar.window) if (worth := ranking.worth(way)) is not None]
    if not worths:
        return None
    _, best = max(worths, key=lambda found: found[0])
    start = ranking.start(best)
    assert start is not None
    assert best.latest is not None
    return placed(best, start, calendar, latest=best.latest)


def _holds(claim: Claim, placement: Placement) -> tuple[Hold, ...]:
    accounts = (f"pools/{placement.pool}", claim.account)
    return tuple(Hold(account, placement.window, placement.devices) for account in accounts)


def _lost(held: list[Loss], pool: str, fleet: Fleet, slot: int) -> Iterator[Loss]:
    """Who has to leave one pool."""
    end = max(one.placement.window.end for one in held)
    declared = fleet.pool(pool)
    supply = declared.supply().over(Window(slot, end)) if declared is not None else [0] * (end - slot)
    free = np.array(supply, np.int64)
    short = free < _use(held, slot, end)
    if not short.any():
        return
    for one in sorted(held, key=lambda one: _turn(one, slot)):
        span = _span(one, slot)
        missing = short[span]
        if (free[span][missing] >= one.placement.devices).all():
            free[span] -= missing * one.placement.devices
        else:
            yield one


def _use(held: list[Loss], slot: int, end: int) -> Ints:
    """Devices held in each slot."""
    use = np.zeros(end - slot, np.int64)
    for one in held:
        use[_span(one, slot)] += one.placement.devices
    return use


def _span(one: Loss, slot: int) -> slice:
    return slice(max(0, one.placement.window.first - slot), one.placement.window.end - slot)


def _turn(one: Loss, slot: int) -> tuple[bool, int, bool, int, int, str, int]:
    """In which order placements are kept."""
    claim, window = one.claim, one.placement.window
    ran = min(max(0, slot - window.first), window.slots)
    hourly = claim.ask.worth_microusd // (claim.ask.devices * claim.ask.slots)
    weighs = hourly * (window.slots + ran) // window.slots
    held = isinstance(claim.state, Held)
    tier = KEPT_FIRST.index(claim.ask.tier), claim.ask.on_loan
    return held, *tier, -weighs, window.first, claim.name.key, one.placement.part
