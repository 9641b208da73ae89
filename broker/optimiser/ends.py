"""Rows that may end sooner: spot work that runs, in pools where a claim of a higher tier seeks a place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from broker.domain.claim import Claim, Placement, Tier
from broker.domain.fleet import Fleet
from broker.domain.preemption import counted_slots, cut, ways
from broker.domain.slots import Window
from broker.domain.snapshot import Snapshot
from broker.optimiser.request import Request

__all__ = ["with_ends"]


def with_ends(snapshot: Snapshot, slot: int, requests: Sequence[Request], horizon: Window) -> list[Request]:
    """The rows; those that may give way can end sooner in pools where others of a higher tier seek a place."""
    claims = snapshot.claims
    seeking = (r for r in requests if r.seeks and claims[r.claim].ask.tier is not Tier.SPOT)
    wanted = {way.pool for request in seeking for way in request.options}
    return [
        _with_end(claims[r.claim], r, snapshot.fleet, slot, horizon) if r.settled and r.options[0].pool in wanted else r
        for r in requests
    ]


def _with_end(claim: Claim, request: Request, fleet: Fleet, slot: int, horizon: Window) -> Request:
    """The row with a second option, to end sooner, if it may; what that loses makes it worth less."""
    assert request.placement is not None
    ends = cut(claim, request.placement, horizon.first)
    if ends is None or _runs_on(claim, request.placement, fleet, slot):
        return request
    (stay,), window = request.options, request.placement.window
    counted = counted_slots(claim, request.placement, ends.window.end)
    value = stay.value_microusd * counted // window.slots
    sooner = stay._replace(slots=ends.window.end - horizon.first, value_microusd=value)
    return replace(request, options=(stay, sooner), ends=ends)


def _runs_on(claim: Claim, placement: Placement, fleet: Fleet, slot: int) -> bool:
    """Whether it lost another pool while it ran and has the rest here: who lost a place so is not told to give way.

    Nor could be said what would be left: the share of the work that was done elsewhere is not on record.
    """
    here = placement.part, placement.pool, placement.devices
    return any(
        (way.part, way.pool, way.devices) == here and way.slots > placement.window.slots
        for way in ways(claim, fleet, slot)
    )
