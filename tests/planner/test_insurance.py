"""Guaranteed work survives what the fleet insures it against; what that costs is told."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from broker.domain.claim import Ask, ClaimName, Committed, Displaced, Planned, Tier, Waiting
from broker.domain.fleet import Fleet, Maintenance
from broker.domain.insurance import Insurance, LossKind
from broker.domain.reason import Reason
from broker.domain.slots import SLOT_SECONDS
from broker.domain.supply import Outage
from broker.ledger.fold import violations
from tests.builders import ask, fleet
from tests.world import World, until, world

ANY = Insurance("any", LossKind.ANY_ONE_POOL)
THREE = {"a": 64, "b": 64, "c": 32}


def gang(devices: int, slots: int = 24, **fields: object) -> Ask:
    rate = 6_000_000 if fields.get("tier") is not Tier.GUARANTEED else 12_000_000
    return ask(devices, slots, **{"gang": True, "value_microusd": devices * slots * rate, **fields})


def sure(devices: int, slots: int = 24, **fields: object) -> Ask:
    return gang(devices, slots, tier=Tier.GUARANTEED, **fields)


def insured(pools: dict[str, int], *insurance: Insurance) -> Fleet:
    return replace(fleet(pools), insurance=insurance or (ANY,))


def without(made: Fleet, pool: str, first: int, slots: int = 24) -> Fleet:
    """The same fleet with one pool away."""
    gone = Maintenance(1_000, first * SLOT_SECONDS, (first + slots) * SLOT_SECONDS)
    return replace(made, pools=tuple(replace(p, maintenance=(gone,)) if p.id == pool else p for p in made.pools))


async def at_now(w: World, asked: Ask) -> ClaimName:
    """A claim that starts in the next hour or never."""
    return await w.ask(replace(asked, earliest=w.slot + 1, latest=w.slot + 1))


@pytest.fixture
async def running() -> AsyncIterator[tuple[World, ClaimName, list[ClaimName]]]:
    """A guaranteed claim that fills a pool, and standard claims that fill what is kept for it."""
    async with world() as w:
        await w.declare(insured({"a": 64, "b": 64}))
        first = await at_now(w, sure(64, forbidden_pools=()))
        others = [await at_now(w, gang(32)), await at_now(w, gang(32, deadline=w.slot + 26))]
        await w.plan()
        assert (await w.claim(first)).placements
        assert all([(await w.claim(name)).placements for name in others])
        w.now += 7 * SLOT_SECONDS
        yield w, first, others


async def test_guaranteed_work_waits_if_it_had_nowhere_to_go_and_other_work_does_not() -> None:
    async with world() as w:
        await w.declare(insured({"a": 64, "b": 64}))
        names = [await at_now(w, sure(64)) for _ in range(2)]
        await w.plan()
        claims = [await w.claim(name) for name in names]
        assert [bool(claim.placements) for claim in claims].count(True) == 1
        (waits,) = (claim for claim in claims if not claim.placements)
        assert isinstance(waits.state, Waiting)
        assert waits.because[0].reason is Reason.RESERVED
        other = await at_now(w, gang(64))
        await w.plan()
        assert (await w.claim(other)).placements


async def test_a_gang_waits_though_there_are_devices_enough_in_pieces() -> None:
    async with world() as w:
        await w.declare(insured({"a": 64, "b": 32, "c": 32}))
        wide = await at_now(w, sure(48, forbidden_pools=()))
        narrow = await at_now(w, sure(32))
        record = await w.plan()
        assert (await w.claim(narrow)).placements
        # No other pool could hold it even if it were empty, so that it waits for nothing.
        assert (await w.claim(wide)).placements
        assert sum(cost.uninsurable for cost in record.insurance) == 1


async def test_a_loss_is_answered_in_one_plan_and_other_work_gives_way(
    running: tuple[World, ClaimName, list[ClaimName]],
) -> None:
    w, first, others = running
    before = await w.claim(first)
    (place,) = before.placements
    made = await w.ledger.fleet()
    await w.declare(without(made, place.pool, w.slot))
    await w.plan()
    after = await w.claim(first)
    (there,) = after.placements
    assert there.pool != place.pool
    assert isinstance(after.state, Committed)
    assert (there.window.first, there.window.end) == (w.slot, place.window.end), "it runs on for what is left of it"
    later, never = [await w.claim(name) for name in others]
    assert later.placements[0].window.first >= w.slot + 17, "one could wait"
    assert later.because[0].reason is Reason.SUPPLY_LOST
    assert later.because[0].facts["new_start_unix_seconds"] == str(later.placements[0].window.first * SLOT_SECONDS)
    assert isinstance(never.state, Displaced), "the other had a deadline"
    assert never.because[0].reason is Reason.SUPPLY_LOST
    assert never.because[0].message.split()[0] in ("It", "Pool")
    assert violations(await w.ledger.events(0, limit=1_000)) == ()


async def test_without_insurance_nobody_gives_way(running: tuple[World, ClaimName, list[ClaimName]]) -> None:
    w, first, others = running
    (place,) = (await w.claim(first)).placements
    made = replace(await w.ledger.fleet(), insurance=())
    await w.declare(without(made, place.pool, w.slot))
    await w.plan()
    there = (await w.claim(first)).placements
    assert not there or there[0].window.first >= w.slot + 17, "at best it waits until the others are done"
    kept = [name for name in others if (await w.claim(name)).placements]
    assert kept == others


async def test_who_has_to_leave_is_as_told_before_and_nobody_leaves_who_fits() -> None:
    """What has nearly done counts again, though the other is worth more."""
    async with world() as w:
        await w.declare(insured({"a": 64, "b": 8}))
        old = await w.ask(gang(32, value_microusd=32 * 24 * 6_000_000, deadline=w.slot + 25))
        await w.plan()
        w.now += 20 * SLOT_SECONDS
        new = await w.ask(gang(32, value_microusd=32 * 24 * 7_000_000, deadline=w.slot + 25))
        await w.plan()
        w.now += SLOT_SECONDS
        await w.plan()
        lost = Outage(w.now, w.now + 24 * SLOT_SECONDS, devices=32)
        told = await w.supplying.change("a", lost, etag="", key=w.key("-"), dry_run=False)
        assert [one.claim.name for one in told.touched] == [new]
        await w.plan()
        assert isinstance((await w.claim(old)).state, Committed)
        assert isinstance((await w.claim(new)).state, Displaced)


async def test_only_pools_that_cover_have_to_give_way() -> None:
    async with world() as w:
        only_c = replace(ANY, covers=("c",))
        await w.declare(insured({"a": 32, "b": 32, "c": 32}, only_c))
        first = await at_now(w, sure(32, forbidden_pools=("b", "c")))
        beside = await at_now(w, gang(32, forbidden_pools=("a", "c")))
        in_cover = await at_now(w, gang(32, forbidden_pools=("a", "b")))
        await w.plan()
        assert [(await w.claim(n)).placements[0].pool for n in (first, beside, in_cover)] == ["a", "b", "c"]


async def test_pools_lost_together_and_a_late_delivery() -> None:
    both = Insurance("both", LossKind.POOLS_TOGETHER, ("a", "b"))
    async with world() as w:
        await w.declare(insured({"a": 32, "b": 32, "c": 32}, both))
        names = [await at_now(w, sure(32)) for _ in range(2)]
        await w.plan()
        assert [bool((await w.claim(name)).placements) for name in names].count(True) == 1


async def test_a_plan_tells_what_the_insurance_costs() -> None:
    async with world() as w:
        await w.declare(insured({"a": 64, "b": 64}))
        for _ in range(12):
            await w.ask(sure(16, 24, earliest=w.slot + 1, latest=w.slot + 1))
        record = await w.plan()
        assert [(cost.insurance, cost.pools) for cost in record.insurance] == [("any", ("a",)), ("any", ("b",))]
        held = sum(cost.hit for cost in record.insurance)
        assert held == 4 == sum(cost.insured for cost in record.insurance)
        # Four more could run for a day without it: that is what is given up, at most.
        assert sum(cost.at_most_microusd for cost in record.insurance) > 0
        assert (await w.ledger.plan(None)).insurance == record.insurance
        await w.declare(fleet({"a": 64, "b": 64}))
        assert (await w.plan()).insurance == ()


async def test_planning_again_changes_nothing_and_new_work_keeps_old_berths() -> None:
    async with world() as w:
        await w.declare(insured(THREE))
        names = [await w.ask(sure(16, 30, earliest=w.slot + 2, latest=w.slot + 20)) for _ in range(10)]
        await w.plan()
        before = [(await w.claim(name)).placements for name in names]
        assert any(before)
        record = await w.plan()
        assert [(await w.claim(name)).placements for name in names] == before
        assert all(cost.insured + cost.uninsurable == cost.hit for cost in record.insurance)
        for _ in range(10):
            await w.ask(sure(16, 30, earliest=w.slot + 2, latest=w.slot + 9, value_microusd=10**12))
        record = await w.plan()
        assert all(cost.insured + cost.uninsurable == cost.hit for cost in record.insurance)


async def test_at_once_only_what_leaves_everybody_a_berth() -> None:
    async with world(at_once=True) as w:
        await w.declare(insured({"a": 320, "b": 320}))
        await w.plan()
        await until(lambda: w.feed.outlook.prices is not None)
        at = {"earliest": w.slot + 2, "latest": w.slot + 2}
        states = []
        for _ in range(30):
            name = await w.ask(sure(16, **at))
            states.append((await w.claim(name)).state)
            await until(lambda: w.feed.revision == w.ledger._market.revision)
        assert sum(isinstance(state, Planned) for state in states) == 20, "half of the devices are kept"
        assert isinstance(states[-1], Waiting)
        claim, found, _, _ = await w.desk.explain(name)
        assert found is not None
        assert found.because.reason is Reason.RESERVED
        quote = await w.desk.quote("atlas", sure(16, **at))
        assert quote.offers == ()
        spot = await w.ask(gang(16, tier=Tier.STANDARD, **at))
        assert isinstance((await w.claim(spot)).state, Planned), "other work gives way, so it may be there"
        assert claim.because


async def test_a_claim_that_leaves_gives_its_berth_back_at_once() -> None:
    async with world(at_once=True) as w:
        await w.declare(insured({"a": 320, "b": 320}))
        await w.plan()
        await until(lambda: w.feed.outlook.prices is not None)
        at = {"earliest": w.slot + 2, "latest": w.slot + 2}
        names = [await w.ask(sure(16, **at)) for _ in range(20)]
        await until(lambda: w.feed.revision == w.ledger._market.revision)
        late = await w.ask(sure(16, **at))
        assert isinstance((await w.claim(late)).state, Waiting)
        await w.desk.cancel(names[0], etag="", key=w.key())
        await until(lambda: w.feed.revision == w.ledger._market.revision)
        assert isinstance((await w.claim(await w.ask(sure(16, **at)))).state, Planned)
