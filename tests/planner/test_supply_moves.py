"""Whatever happens to supply, in whatever order: no device is lent twice, and what was promised stands while it can."""

from __future__ import annotations

import asyncio
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from broker.domain.claim import Tier
from broker.domain.faults import Fault
from broker.domain.slots import SLOT_SECONDS
from broker.domain.supply import Drain, Growth, LateDelivery, Outage, Recovery, SupplyChange
from broker.ledger.fold import fold, violations
from tests.builders import ask, fleet
from tests.world import NOON, World, world

HOURS = st.integers(0, 48)
SOME = st.sampled_from([0, 0, 8, 24, 40])
POOLS = ("dc-1", "dc-2")

changes = st.one_of(
    st.builds(lambda at, hours, n: Outage(at, at + 3600 * hours, n), HOURS, st.integers(1, 30), SOME),
    st.builds(Recovery, HOURS),
    st.builds(Drain, HOURS, st.sampled_from([0, 8, 8, 16])),
    st.builds(Growth, HOURS, st.sampled_from([8, 16])),
)
steps = st.one_of(
    st.tuples(st.just("ask"), st.integers(1, 6), st.integers(1, 30), st.sampled_from(Tier), st.integers(0, 20)),
    st.tuples(st.just("change"), changes, st.sampled_from(POOLS)),
    st.tuples(st.sampled_from(["repair", "repair", "plan", "hour"])),
)


def dated(change: SupplyChange, hour: int) -> SupplyChange:
    """The change so many hours from the present one as it says."""
    start = hour * SLOT_SECONDS
    match change:
        case Outage(at, until, devices):
            return Outage(start + at * 3600, start + at * 3600 + until - at, devices)
        case Recovery(at):
            return Recovery(start + at * 3600)
        case Drain(at, devices):
            return Drain(start + at * 3600, devices)
        case Growth(at, devices):
            return Growth(start + at * 3600, devices)
        case LateDelivery():
            return change


async def step(w: World, what: tuple[Any, ...]) -> None:
    match what:
        case ("ask", eights, hours, tier, wait):
            worth = eights * 8 * hours * 1_000_000
            await w.ask(ask(eights * 8, hours, gang=True, tier=tier, value_microusd=worth, latest=w.slot + wait))
        case ("change", change, pool):
            try:
                await w.supplying.change(pool, dated(change, w.slot), etag="", key=w.key("-"), dry_run=False)
            except Fault:
                return
        case ("hour",):
            w.now += SLOT_SECONDS
        case ("repair",):
            fence = await w.ledger.lead("test", ttl_millis=60_000)
            assert fence is not None
            await w.planner.repair(fence)
        case _:
            await w.plan()


async def run(story: list[tuple[Any, ...]]) -> None:
    async with world() as w:
        w.now, w.solver.work = NOON, 60
        await w.declare(fleet({"dc-1": 64, "dc-2": 32}))
        for eights in (4, 3, 2, 1):
            await step(w, ("ask", eights, 12 * eights, [*Tier][eights % 3], 4))
        await w.plan()
        for what in story:
            await step(w, what)
        await step(w, ("repair",))
        await w.plan()
        events = await w.ledger.events(0, limit=10_000)
        assert violations(events) == ()
        assert fold(events).books.shortfalls(from_slot=w.slot) == (), "what was short is repaired"


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(steps, max_size=10))
def test_nothing_that_happens_to_supply_breaks_a_promise(story: list[tuple[Any, ...]]) -> None:
    asyncio.run(run(story))
