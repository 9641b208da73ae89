"""A plan leaves room for claims of a higher tier that are expected, and says so to those who wait for it."""

from __future__ import annotations

from broker.domain.claim import Tier, Waiting
from broker.domain.reason import Reason
from broker.domain.slots import SLOT_SECONDS
from broker.ledger.fold import violations
from tests.builders import ask, fleet
from tests.world import world


async def test_a_plan_leaves_room_for_who_is_expected() -> None:
    """45 devices more each hour, for a day each: most of the market will be theirs."""
    async with world() as made:
        await made.declare(fleet({"dc-1": 1_000, "dc-2": 400}))
        for _ in range(30):
            made.now += SLOT_SECONDS
            await made.ask(ask(45, 24, gang=True, tier=Tier.GUARANTEED, earliest=made.slot))
            await made.plan()
        long = await made.ask(ask(16, 168, gang=True, tier=Tier.SPOT, earliest=made.slot))
        short = await made.ask(ask(16, 2, gang=True, tier=Tier.SPOT, earliest=made.slot))
        record = await made.plan()
        state = (await made.claim(long)).state
        assert isinstance(state, Waiting)
        assert state.because[0].reason is Reason.ROOM_KEPT
        assert record.reasons[Reason.ROOM_KEPT] == 1
        assert not record.optimal
        assert (await made.claim(short)).placements
        assert violations(await made.ledger.events(0, limit=1_000)) == ()


async def test_a_planner_that_begins_learns_from_the_events_before_it() -> None:
    async with world() as made:
        await made.declare(fleet({"dc-1": 100}))
        for _ in range(30):
            made.now += SLOT_SECONDS
            await made.ask(ask(10, 24, gang=True, tier=Tier.GUARANTEED, earliest=made.slot))
        late = await made.ask(ask(10, 168, gang=True, tier=Tier.SPOT, earliest=made.slot))
        await made.plan()
        assert not (await made.claim(late)).placements
        assert made.planner.demand.known
