"""Parts of a claim that share pool and time, read as one."""

from __future__ import annotations

from capacitybroker import Claim, Offer, Placement

__all__ = ["together"]


def together(claim: Claim | Offer) -> list[Placement]:
    """The placements with equal pool and times added up, in the order in which they first appear."""
    found: dict[tuple[str, int, int], Placement] = {}
    for placement in claim.placements:
        key = placement.pool, placement.start_time.seconds, placement.end_time.seconds
        if key not in found:
            found[key] = Placement()
            found[key].CopyFrom(placement)
            continue
        same = found[key]
        same.devices += placement.devices
        same.cost_microusd += placement.cost_microusd
        same.paid_microusd += placement.paid_microusd
    return list(found.values())
