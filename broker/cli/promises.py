"""Remembers what a broker promised, and notices when it does not keep it."""

from __future__ import annotations

from dataclasses import dataclass, field

from capacitybroker import TIER_SPOT, Claim, Placement

from broker.cli.show import word

__all__ = ["Promises"]

HOLDING = (Claim.STATE_PLANNED, Claim.STATE_COMMITTED, Claim.STATE_ACTIVE, Claim.STATE_ENDED)
FIRM = (Claim.STATE_COMMITTED, Claim.STATE_ACTIVE)


@dataclass(slots=True)
class Promises:
    """Feed it every state of every claim, in order; ``broken`` says in words what was promised and not kept.

    A claim of tier guaranteed or standard that once held capacity keeps as much, for as long, until it ends or is
    withdrawn; it never starts later than the placement said it might, and never moves once it is committed. What is
    only held for a quote is promised when it is redeemed.
    """

    broken: list[str] = field(default_factory=list)
    _last: dict[str, Claim] = field(default_factory=dict)
    _latest: dict[str, int] = field(default_factory=dict)

    def observe(self, claim: Claim) -> None:
        """The claim as it is now."""
        if claim.tier != TIER_SPOT and claim.state != Claim.STATE_HELD:
            before = self._last.get(claim.name)
            if before is not None:
                self.broken += [f"{claim.name}: {fault}" for fault in self._faults(before, claim)]
            if claim.placements:
                self._remember(claim)

    def _remember(self, claim: Claim) -> None:
        self._last[claim.name] = claim
        promised = max(placement.latest_start_time.seconds for placement in claim.placements)
        self._latest[claim.name] = min(promised, self._latest.get(claim.name, promised))

    def _faults(self, before: Claim, after: Claim) -> list[str]:
        """What ``after`` does not keep of what ``before`` promised."""
        if after.state == Claim.STATE_CANCELLED:
            return []
        if after.state not in HOLDING or not after.placements:
            return [f"held {_devices(before):,} devices, then it was {word(Claim.State, after.state)}"]
        faults = []
        if not after.max_devices and _devices(after) < _devices(before) and _pools(after) == _pools(before):
            faults.append(f"held {_devices(before):,} devices, then {_devices(after):,}")
        start = max(placement.start_time.seconds for placement in after.placements)
        if start > self._latest[after.name]:
            faults.append(f"was to start by {self._latest[after.name]}, then at {start} (Unix time)")
        if start < after.earliest_start_time.seconds:
            faults.append(f"was not to start before {after.earliest_start_time.seconds}, then at {start} (Unix time)")
        if before.state in FIRM and _places(after) != _places(before):
            faults.append("was moved after it was committed")
        return faults


def _devices(claim: Claim) -> int:
    return sum(placement.devices for placement in claim.placements)


def _pools(claim: Claim) -> set[str]:
    return {placement.pool for placement in claim.placements}


def _places(claim: Claim) -> list[tuple[str, int, int, int]]:
    return sorted(_place(placement) for placement in claim.placements)


def _place(placement: Placement) -> tuple[str, int, int, int]:
    return placement.pool, placement.devices, placement.start_time.seconds, placement.end_time.seconds
