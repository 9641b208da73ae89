"""Loops that others have had, re-created: here each ends, with everybody told at most as often as may be.

They are named after the issues that tell of them. Where a queue has a guarantee its work is of the standard tier here,
where it lives on what others leave it is spot.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from broker.domain.claim import Ask, Claim, ClaimName, Tier
from broker.domain.fleet import Tenant
from broker.domain.preemption import preemptions
from broker.domain.snapshot import Event, EventKind
from tests.builders import ask, fleet
from tests.planner.giving_way import broken, pass_hours, reasons, running, settled, spot, urgent
from tests.world import World, world

DAY = 24


async def claims(w: World, names: Sequence[ClaimName]) -> list[Claim]:
    return [await w.claim(name) for name in names]


async def served(w: World, name: ClaimName) -> bool:
    claim = await w.claim(name)
    return bool(claim.placements)


async def told(w: World, names: Sequence[ClaimName]) -> int:
    """How many times any of these gave way."""
    return sum(preemptions(claim) for claim in await claims(w, names))


async def plans(w: World) -> list[Event]:
    return [event for event in await w.ledger.events(0, limit=10_000) if event.kind is EventKind.PLANNED]


async def test_kueue_2821_who_was_evicted_does_not_slip_in_before_the_evictor() -> None:
    """A claim of low rank that is older than the one it gave way to came back first, and gave way again, for ever."""
    async with world() as w:
        await w.declare(fleet({"dc-1": 64}))
        low = await running(w, spot(40, DAY), tenant="atlas")
        high = await w.ask(urgent(64, 12, by=w.slot + 16), "borealis")
        await settled(w)
        (place,) = (await w.claim(high)).placements
        assert place.window.first == w.slot + 1
        await pass_hours(w, 30)
        assert (await w.claim(high)).placements == (place,)
        assert await told(w, low) == 1
        assert await broken(w) == ()


async def test_kueue_3779_what_its_owner_makes_again_does_not_evict_or_return_before_its_turn() -> None:
    """Best-effort work was made again by its controller as soon as it was evicted, and was let in again each time."""
    async with world() as w:
        await w.declare(fleet({"dc-1": 300}))
        effort = await running(w, spot(100, DAY), spot(100, DAY), tenant="atlas")
        effort += await running(w, spot(50, DAY), spot(50, DAY), tenant="borealis")
        sure = [await w.ask(urgent(50, 12, by=w.slot + 16), "borealis")]
        await settled(w)
        sure.append(await w.ask(urgent(100, 12, by=w.slot + 16), "borealis"))
        for _ in range(12):
            known = {claim.name for claim in await claims(w, effort) if claim.ran}
            before = len(effort)
            await pass_hours(w, 1)
            for claim in await claims(w, effort[:before]):
                if claim.ran and claim.name not in known:
                    effort.append(await w.ask(claim.ask, claim.name.tenant))
        assert [await served(w, name) for name in sure] == [True, True]
        assert await told(w, effort) <= 3
        assert await broken(w) == ()


async def test_kueue_6947_who_can_never_be_served_evicts_nobody_and_blocks_nobody() -> None:
    """A claim larger than its queue took turns with one that fitted: the borrower gave way for ever, and none ran."""
    async with world() as w:
        supply = fleet({"dc-1": 4}, {"atlas": 3, "borealis": None})
        await w.declare(supply)
        (borrower,) = await running(w, spot(2, DAY), tenant="borealis")
        too_much = await w.ask(ask(4, 6, gang=True, value_microusd=10**12))
        await pass_hours(w, 2)
        assert await told(w, [borrower]) == 0, "nobody would have had its place"
        fits = await w.ask(urgent(3, 6, by=w.slot + 10))
        await pass_hours(w, 24)
        assert await served(w, fits)
        assert not await served(w, too_much)
        assert await told(w, [borrower]) == 1
        assert await broken(w) == ()


async def test_kueue_7101_claims_of_several_sizes_do_not_make_small_ones_flap() -> None:
    """Four pairs ran; then came six, five, four and three, and pairs were evicted and let in again by the dozen."""
    async with world() as w:
        await w.declare(fleet({"dc-1": 8}))
        pairs = await running(w, *[spot(2, DAY) for _ in range(4)], tenant="atlas")
        for size in (6, 5, 4, 3):
            await w.ask(urgent(size, 6, by=w.slot + 12), "borealis")
            await settled(w)
        after = len(await plans(w))
        assert await told(w, pairs) <= 4
        await pass_hours(w, 40)
        assert max([preemptions(claim) for claim in await claims(w, pairs)]) <= 2
        changes = [event for event in (await plans(w))[after:] if any(_told_in(event))]
        assert len(changes) <= 4
        assert await broken(w) == ()


async def test_kueue_14543_two_that_could_each_have_evicted_the_other_do_not() -> None:
    """After targets of its own queue had been put back, a claim evicted another one that then evicted it."""
    async with world() as w:
        await w.declare(fleet({"dc-1": 64}, {"atlas": None, "borealis": None}))
        runs = await running(w, spot(16, 2 * DAY), spot(16, 2 * DAY), tenant="atlas")
        runs += await running(w, spot(16, 2 * DAY), spot(16, 2 * DAY), tenant="borealis")
        comers: list[ClaimName] = []
        for hour in range(8):
            tenant = ("atlas", "borealis")[hour % 2]
            comers.append(await w.ask(urgent(16, 3, by=w.slot + 8), tenant))
            comers.append(await w.ask(spot(16, 3, rate=50), tenant))
            await pass_hours(w, 1)
        assert await told(w, runs) > 0
        assert {preemptions(claim) for claim in await claims(w, comers) if claim.ask.tier is Tier.STANDARD} == {0}
        assert await broken(w) == ()
        await pass_hours(w, 10)
        seen = len(await plans(w))
        await pass_hours(w, 10)
        assert not [name for event in (await plans(w))[seen:] for name in _told_in(event)], "all is quiet"


async def test_armada_5071_who_was_marked_to_go_does_not_stay_while_another_goes_instead() -> None:
    """A job marked as preempted was scheduled again in the same round, and later one went that should have stayed."""
    async with world() as w:
        supply = fleet({"dc-1": 64})
        await w.declare(supply)
        dear, cheap = await running(w, spot(32, DAY, rate=4), spot(32, DAY, rate=2))
        waiting = [await w.ask(spot(32, DAY, rate=3)) for _ in range(3)]
        rich = await w.ask(urgent(32, 6, by=w.slot + 9), "borealis")
        await settled(w)
        assert await told(w, [cheap]) == 1
        assert await told(w, [dear]) == 0
        (place,) = (await w.claim(rich)).placements
        for name in waiting:
            for other in (await w.claim(name)).placements:
                assert other.window.first >= place.window.end
        await pass_hours(w, 2)
        assert await told(w, [dear]) == 0
        assert reasons(await w.claim(dear)) == []
        assert await broken(w) == ()


async def test_a_quota_that_one_tenant_fills_itself_is_freed_by_its_own_spot_work() -> None:
    async with world() as w:
        supply = fleet({"dc-1": 64}, {"atlas": 32, "borealis": None})
        assert supply.tenants[0] == Tenant("atlas", 32)
        await w.declare(supply)
        (own,) = await running(w, spot(32, DAY), tenant="atlas")
        (other,) = await running(w, spot(32, DAY), tenant="borealis")
        wanted = await w.ask(urgent(32, 4, by=w.slot + 6), "atlas")
        await settled(w)
        assert await served(w, wanted)
        assert (await told(w, [own]), await told(w, [other])) == (1, 0), "the other would not have freed the quota"
        assert await broken(w) == ()


def _told_in(event: Event) -> list[ClaimName]:
    """Who learns by the event that it gives way."""
    return [
        claim.name
        for claim in event.claims
        if any(p.left_ppm and p.window.end > event.at // 3600 for p in claim.placements)
    ]


async def test_claims_that_come_every_hour_for_two_days_end_in_rest() -> None:
    async with world() as w:
        await w.declare(fleet({"dc-1": 48, "dc-2": 16}))
        # Room for who is expected changes as it is learnt who comes; that is another story.
        w.planner.settings = replace(w.planner.settings, keeps=dict.fromkeys(Tier, 0.0))

        def wish(hour: int) -> Ask:
            size, length = 8 * (1 + hour % 4), 3 + hour % 5
            return spot(size, 4 * length) if hour % 3 else urgent(size, length, by=w.slot + length + 2)

        names = []
        for hour in range(48):
            names.append(await w.ask(wish(hour), ("atlas", "borealis")[hour % 2]))
            await pass_hours(w, 1)
        assert await told(w, names) > 3
        assert await broken(w) == ()
