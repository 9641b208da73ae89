"""Spot work that runs, work that cannot wait, and hours that pass."""

from __future__ import annotations

from typing import Any

from broker.domain.claim import Ask, Claim, ClaimName, Committed, Preemption, Tier
from broker.domain.preemption import PREEMPTIONS_MAX, preemptions
from broker.domain.reason import Reason
from broker.domain.slots import SLOT_SECONDS
from broker.ledger.fold import violations
from tests.builders import ask
from tests.world import World

__all__ = ["broken", "pass_hours", "reasons", "running", "settled", "spot", "urgent"]


def spot(
    devices: int, slots: int, *, rate: int = 2, min_run: int = 0, notice: int = 1, checkpoint: int = 1, **fields: Any
) -> Ask:
    """A gang worth so many dollars for each device-hour, which can go on from every hour unless told otherwise."""
    terms = Preemption(min_run, notice, checkpoint)
    value = rate * 1_000_000 * devices * slots
    usual = {"gang": True, "tier": Tier.SPOT, "preemption": terms, "value_microusd": value}
    return ask(devices, slots, **(usual | fields))


def urgent(devices: int, slots: int, *, by: int, rate: int = 12, **fields: Any) -> Ask:
    """A gang of the standard tier that is of use only if it has ended by slot ``by``."""
    usual = {"gang": True, "deadline": by, "value_microusd": rate * 1_000_000 * devices * slots}
    return ask(devices, slots, **(usual | fields))


async def broken(w: World) -> tuple[str, ...]:
    """What the log breaks."""
    return violations(await w.ledger.events(0, limit=10_000))


async def settled(w: World) -> None:
    """Plans; planning again changes nobody's place, and nobody was told more often than may be."""
    await w.plan()
    before = (await w.ledger.snapshot()).claims
    await w.plan()
    after = (await w.ledger.snapshot()).claims
    assert [(c.name, c.state_name, c.placements, c.ran) for c in after] == [
        (c.name, c.state_name, c.placements, c.ran) for c in before
    ]
    assert max((preemptions(claim) for claim in after), default=0) <= PREEMPTIONS_MAX


async def pass_hours(w: World, hours: int) -> None:
    """Hours in each of which it is planned, and planned again."""
    for _ in range(hours):
        w.now += SLOT_SECONDS
        await settled(w)


async def running(w: World, *asked: Ask, hours: int = 1, tenant: str = "atlas") -> list[ClaimName]:
    """Claims that have run for so long."""
    names = [await w.ask(one, tenant) for one in asked]
    await w.plan()
    await pass_hours(w, hours)
    for name in names:
        assert isinstance((await w.claim(name)).state, Committed)
    return names


def reasons(claim: Claim) -> list[Reason]:
    """Why it, or a part of it, holds no capacity."""
    return [why.reason for why in claim.because]
