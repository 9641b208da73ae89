"""CreateClaim answers at once where there is plenty, and leaves to the planner what only a plan can decide."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from broker.domain.claim import Committed, Planned, Tier, Waiting
from broker.domain.slots import SLOT_SECONDS
from broker.ledger.fold import violations
from tests.builders import ask, fleet
from tests.world import World, until, world


@pytest.fixture
async def open_world() -> AsyncIterator[World]:
    async with world(at_once=True) as made:
        await made.declare(fleet({"dc-1": 1_000, "dc-2": 400}))
        await made.plan()
        await until(lambda: made.feed.outlook.prices is not None)
        yield made


async def test_nothing_is_promised_before_a_plan_has_priced_the_market() -> None:
    async with world(at_once=True) as made:
        await made.declare(fleet({"dc-1": 1_000}))
        name = await made.ask(ask(8, 4))
        assert isinstance((await made.claim(name)).state, Waiting)


async def test_a_small_claim_is_granted_in_the_same_call(open_world: World) -> None:
    stored = await open_world.claim(await open_world.ask(ask(8, 4, gang=True, earliest=open_world.slot + 9)))
    assert isinstance(stored.state, Planned)
    (place,) = stored.placements
    assert (place.devices, place.window.first) == (8, open_world.slot + 9)
    assert place.latest >= place.window.first


async def test_what_starts_soon_is_firm(open_world: World) -> None:
    stored = await open_world.claim(await open_world.ask(ask(8, 4, gang=True)))
    assert isinstance(stored.state, Committed)
    assert all(place.latest == place.window.first for place in stored.placements)


async def test_a_large_gang_waits_for_the_plan(open_world: World) -> None:
    name = await open_world.ask(ask(64, 4, gang=True))
    assert isinstance((await open_world.claim(name)).state, Waiting)
    await open_world.plan()
    assert (await open_world.claim(name)).placements


async def test_spot_leaves_room_for_those_above(open_world: World) -> None:
    slot = open_world.slot + 1
    for n in range(60):
        tier = [Tier.SPOT, Tier.STANDARD, Tier.GUARANTEED][n // 20]
        await open_world.ask(ask(50, 8, gang=True, tier=tier, earliest=slot, latest=slot), ["atlas", "borealis"][n % 2])
        await until(lambda: open_world.feed.revision == open_world.ledger._market.revision)
    claims = (await open_world.ledger.snapshot()).claims
    held = {tier: sum(p.devices for c in claims for p in c.placements if c.ask.tier is tier) for tier in Tier}
    assert held == {Tier.SPOT: 400, Tier.STANDARD: 400, Tier.GUARANTEED: 200}


async def test_room_is_kept_for_guaranteed_work_that_is_expected_as_far_as_it_will_need_it(open_world: World) -> None:
    """45 devices more each hour, for a day each: most of the market will be theirs, but not within the hour."""
    long_spot = ask(16, 168, gang=True, tier=Tier.SPOT)
    assert (await open_world.claim(await open_world.ask(long_spot))).placements
    for _ in range(30):
        open_world.now += SLOT_SECONDS
        await open_world.ask(ask(45, 24, gang=True, tier=Tier.GUARANTEED))
        await until(lambda: open_world.feed.revision == open_world.ledger._market.revision)
    late = replace(long_spot, earliest=open_world.slot)
    assert not (await open_world.claim(await open_world.ask(late))).placements
    assert (await open_world.claim(await open_world.ask(replace(late, slots=2)))).placements
    assert (await open_world.claim(await open_world.ask(replace(late, tier=Tier.GUARANTEED)))).placements


async def test_racing_callers_never_overbook(open_world: World) -> None:
    slot = open_world.slot + 1
    asks = [ask(50, 8, gang=True, tier=Tier.GUARANTEED, earliest=slot, latest=slot) for _ in range(40)]
    await asyncio.gather(*(open_world.ask(asked) for asked in asks))
    claims = (await open_world.ledger.snapshot()).claims
    assert sum(isinstance(c.state, Committed) for c in claims) == 20
    events = await open_world.ledger.events(0, limit=1_000)
    assert violations(events) == ()


async def test_a_grant_stands_in_the_next_plan(open_world: World) -> None:
    names = [await open_world.ask(ask(40, 30, gang=True, earliest=open_world.slot + 4)) for _ in range(12)]
    before = [await open_world.claim(name) for name in names]
    assert sum(bool(claim.placements) for claim in before) >= 10
    await open_world.ask(ask(900, 30, gang=True, tier=Tier.GUARANTEED, value_microusd=10**12))
    await open_world.plan()
    for old, name in zip(before, names, strict=True):
        if old.placements:
            assert (await open_world.claim(name)).placements
    assert violations(await open_world.ledger.events(0, limit=1_000)) == ()
