"""What a claim was told when it was placed, and whether a plan, or making room for another claim, kept it.

Promises bind the broker alone: a caller may change or withdraw a claim at any time, and supply that is lost lifts the
promises that were made on it, and those of work that gives way to who is insured.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from broker.domain.claim import Claim, Placement, Planned, Tier
from broker.domain.fleet import Fleet
from broker.domain.snapshot import Shortfall

__all__ = ["Lifted", "broken_promises", "supply_lost"]

Lifted = Callable[[Placement], bool]


def broken_promises(before: Claim, after: Claim, lifted: Lifted) -> Iterator[str]:
    """What a plan that makes ``after`` of ``before`` breaks; ``lifted``: whether supply for a placement was lost.

    - A part that is placed stays placed. Of a spot claim only once it is committed.
    - A part never moves to a start after the latest that it was told, nor is it told a later one.
    - Nothing starts before its ask allows.
    - A committed claim stays so until it ends, with its parts where they are; more may be added. What is held for a
      quote stays where it is as well.
    """
    if before.placements == after.placements and type(before.state) is type(after.state):
        return
    firm = before.firm
    held = {placement.part: placement for placement in before.placements}
    served = {placement.part: placement for placement in after.placements}
    for part, old in held.items():
        for broken in _broken_for_part(before, old, served.get(part)):
            if not lifted(old):
                yield f"{after.name} part {part} {broken}"
    for part, new in served.items():
        if part not in held and new.window.first < after.ask.earliest:
            yield f"{after.name} part {part} starts in slot {new.window.first}, before {after.ask.earliest}"
    loose = isinstance(after.state, Planned)
    if firm and loose and not any(lifted(old) for old in held.values()):
        yield f"{after.name} was committed and may move again"


def _broken_for_part(claim: Claim, old: Placement, new: Placement | None) -> Iterator[str]:
    """What replacing the placement ``old`` of ``claim`` by ``new`` (None: nothing) breaks."""
    firm = claim.firm
    if new is None:
        if firm or claim.ask.tier is not Tier.SPOT:
            yield f"loses its place in {old.pool} {old.window}"
        return
    where = (old.pool, old.silicon, old.devices, old.window)
    moved = where != (new.pool, new.silicon, new.devices, new.window)
    if firm and moved:
        yield f"is committed to {old.pool} {old.window} and moves to {new.pool} {new.window}"
        return
    if moved and new.window.first > old.latest:
        yield f"moves to slot {new.window.first}, and was told {old.latest} at the latest"
    elif new.latest > old.latest:
        yield f"is told slot {new.latest} at the latest, and was told {old.latest} before"
    if moved and new.window.first < claim.ask.earliest:
        yield f"moves to slot {new.window.first}, before {claim.ask.earliest}"


def supply_lost(claim: Claim, placement: Placement, fleet: Fleet, short: tuple[Shortfall, ...], slot: int) -> bool:
    """Whether the placement's pool has left, or it or the tenant's quota is ``short`` under it from ``slot`` on.

    Where the fleet is insured, work of lower tiers also makes room for guaranteed work of a pool that is short.
    """
    if fleet.pool(placement.pool) is None:
        return True
    covers = any(not insurance.covers or placement.pool in insurance.covers for insurance in fleet.insurance)
    if covers and claim.ask.tier is not Tier.GUARANTEED and any(lack.account.startswith("pools/") for lack in short):
        return True
    accounts = f"pools/{placement.pool}", f"tenants/{claim.name.tenant}"
    first, end = max(placement.window.first, slot), placement.window.end
    return any(lack.account in accounts and lack.window.first < end and first < lack.window.end for lack in short)
