"""What a placed claim is told: whether its places may still move, until when, and what an amendment leaves of it."""

from __future__ import annotations

from dataclasses import replace

from broker.domain.claim import Ask, Claim, Committed, Placement, Planned, Waiting
from broker.domain.fleet import Fleet
from broker.domain.options import option_of
from broker.domain.reason import Because, Reason

__all__ = ["amended", "firm", "promised"]


def firm(placements: tuple[Placement, ...]) -> tuple[Placement, ...]:
    """The placements at starts that no longer move."""
    return tuple(replace(placement, latest=placement.window.first) for placement in placements)


def promised(
    placements: tuple[Placement, ...], lacking: tuple[Because, ...] = (), *, firm: bool = False, freeze: int
) -> Planned | Committed:
    """Committed when ``firm`` or when any part starts by slot ``freeze``; else its starts may still move."""
    if firm or min(placement.window.first for placement in placements) <= freeze:
        return Committed(tuple(replace(p, latest=p.window.first) for p in placements), lacking)
    return Planned(placements, lacking)


def amended(claim: Claim, ask: Ask, fleet: Fleet, *, at: int) -> Claim:
    """The claim, not yet committed, with another ask: it keeps the places that the new ask allows.

    None, where it is no longer on loan or was not before: another account would have to lend them.
    """
    kept = tuple(
        replace(placement, latest=min(placement.latest, placement.latest if way.latest is None else way.latest))
        for placement in claim.placements
        if ask.on_loan is claim.ask.on_loan and (way := option_of(ask, fleet, placement)) is not None
    )
    changed = replace(claim, ask=ask)
    if len(kept) == len(claim.placements):
        return replace(changed, state=Planned(kept, claim.because)) if kept else changed
    because = (Because(Reason.AMENDED, "The amended claim no longer fits the placement it had."),)
    return changed.becomes(Planned(kept, because) if kept else Waiting(because), at=at)
