"""Work beyond a quota, on loan: told as stories, each judged from the log as well."""

from __future__ import annotations

from dataclasses import replace

from broker.domain.claim import Ask, ClaimName, Committed, Ended, Planned, Tier, Waiting
from broker.domain.preemption import PREEMPTIONS_MAX, preemptions
from broker.domain.reason import Reason
from tests.builders import fleet
from tests.planner.giving_way import broken, pass_hours, reasons, running, settled, spot, urgent
from tests.world import World, until, world

DAY = 24


async def told(w: World, *names: ClaimName) -> list[int]:
    """How many times each was told to give way."""
    return [preemptions(await w.claim(name)) for name in names]


async def start(w: World, name: ClaimName) -> int:
    """The slot in which it starts, counted from now."""
    (place,) = (await w.claim(name)).placements
    return place.window.first - w.slot


async def test_what_others_leave_idle_is_used_on_loan() -> None:
    async with world() as w:
        await w.declare(fleet({"dc-1": 64}, {"atlas": 16, "borealis": 48}, {"atlas": 32}))
        own = await w.ask(spot(16, 4))
        beyond = await w.ask(spot(16, 4))
        lent = await w.ask(spot(32, 4, on_loan=True))
        await settled(w)
        assert {await start(w, own), await start(w, beyond)} == {0, 4}, "the quota is as hard as ever"
        assert await start(w, lent) == 0
        assert await broken(w) == ()


async def test_more_than_may_be_on_loan_waits_whatever_is_free() -> None:
    async with world() as w:
        await w.declare(fleet({"dc-1": 64}, {"atlas": 16, "borealis": None}, {"atlas": 32}))
        first = await w.ask(spot(32, 4, on_loan=True, deadline=w.slot + 5))
        second = await w.ask(spot(8, 4, on_loan=True, deadline=w.slot + 5, rate=1))
        stranger = await w.ask(spot(8, 4, on_loan=True), "borealis")
        await settled(w)
        assert await start(w, first) == 0
        for name in (second, stranger):
            claim = await w.claim(name)
            assert isinstance(claim.state, Waiting)
            assert reasons(claim) == [Reason.QUOTA_REACHED]
            assert "on loan" in claim.because[0].message


async def test_what_runs_on_loan_gives_way_to_who_has_the_quota_and_goes_on_later() -> None:
    async with world() as w:
        await w.declare(fleet({"dc-1": 64}, {"atlas": 0, "borealis": 64}, {"atlas": 64}))
        (lent,) = await running(w, spot(64, 24, on_loan=True), hours=4)
        rich = await w.ask(urgent(64, 4, by=w.slot + 8), "borealis")
        await settled(w)
        (place,), (taken,) = (await w.claim(lent)).placements, (await w.claim(rich)).placements
        assert place.window.end == taken.window.first == w.slot + 1
        assert reasons(await w.claim(lent)) == [Reason.PREEMPTED]
        await pass_hours(w, 32)
        over = await w.claim(lent)
        assert isinstance(over.state, Ended)
        assert sum(p.window.slots for p in (*over.ran, *over.placements)) == 24
        held = [hold for hold in over.holds() if hold.account.startswith("tenants")]
        assert {hold.account for hold in held} == {"tenants/atlas/loans"}, "what it ran is on loan as well"
        assert await broken(w) == ()


async def test_it_gives_way_before_spot_work_within_its_quota_that_is_worth_as_much() -> None:
    for order in (1, -1):
        async with world() as w:
            await w.declare(fleet({"dc-1": 64}, {"atlas": 32, "borealis": None}, {"atlas": 32}))
            both = [spot(32, DAY), spot(32, DAY, on_loan=True)][::order]
            own, lent = (await running(w, *both))[::order]
            wanted = await w.ask(urgent(32, 4, by=w.slot + 6), "borealis")
            await settled(w)
            assert await told(w, own, lent) == [0, 1]
            assert (await w.claim(wanted)).placements
            assert await broken(w) == ()


async def test_a_loan_that_is_worth_more_stays() -> None:
    async with world() as w:
        await w.declare(fleet({"dc-1": 64}, {"atlas": 32, "borealis": None}, {"atlas": 32}))
        own, lent = await running(w, spot(32, DAY, rate=2), spot(32, DAY, rate=5, on_loan=True))
        await w.ask(urgent(32, 4, by=w.slot + 6), "borealis")
        await settled(w)
        assert await told(w, own, lent) == [1, 0]
        assert await broken(w) == ()


async def test_among_equals_that_wait_who_is_within_its_quota_comes_first() -> None:
    async with world() as w:
        await w.declare(fleet({"dc-1": 32}, {"atlas": 32}, {"atlas": 32}))
        lent = await w.ask(spot(32, 4, on_loan=True))
        await w.plan()
        own = await w.ask(spot(32, 4))
        await settled(w)
        assert (await start(w, lent), await start(w, own)) == (0, 4), "what is committed stays"
        more, mine = await w.ask(spot(32, 9, on_loan=True)), await w.ask(spot(32, 9))
        await settled(w)
        assert await start(w, mine) < await start(w, more)


async def test_what_runs_on_loan_takes_no_place_of_what_runs() -> None:
    async with world() as w:
        await w.declare(fleet({"dc-1": 64}, {"atlas": 64, "borealis": None}, {"borealis": 64}))
        (own,) = await running(w, spot(64, DAY, rate=1))
        dear = await w.ask(spot(64, 4, rate=99, on_loan=True, deadline=w.slot + 9), "borealis")
        await settled(w)
        assert await told(w, own) == [0]
        assert isinstance((await w.claim(dear)).state, Waiting)


async def test_a_loan_that_is_called_in_takes_nothing_back_at_once() -> None:
    async with world() as w:
        supply = fleet({"dc-1": 64}, {"atlas": 16, "borealis": None}, {"atlas": 32})
        await w.declare(supply)
        (lent,) = await running(w, spot(32, 8, on_loan=True))
        planned = await w.ask(spot(32, 4, on_loan=True, earliest=w.slot + 20))
        await settled(w)
        await w.declare(fleet({"dc-1": 64}, {"atlas": 16, "borealis": None}))
        more = await w.ask(spot(8, 4, on_loan=True))
        await settled(w)
        assert isinstance((await w.claim(lent)).state, Committed)
        assert isinstance((await w.claim(planned)).state, Planned)
        assert reasons(await w.claim(more)) == [Reason.QUOTA_REACHED]
        assert await broken(w) == ()
        await w.declare(supply)
        await settled(w)
        assert (await w.claim(more)).placements


async def test_whoever_becomes_firm_by_being_told_twice_is_firm_on_loan() -> None:
    async with world() as w:
        await w.declare(fleet({"dc-1": 32}, {"atlas": 0, "borealis": None}, {"atlas": 32}))
        (lent,) = await running(w, spot(32, 60, on_loan=True))
        for _ in range(4):
            await w.ask(urgent(32, 2, by=w.slot + 5), "borealis")
            await pass_hours(w, 12)
        assert await told(w, lent) == [PREEMPTIONS_MAX]
        assert await broken(w) == ()


async def test_claims_of_both_kinds_that_come_every_hour_end_in_rest() -> None:
    async with world() as w:
        await w.declare(fleet({"dc-1": 48, "dc-2": 16}, {"atlas": 24, "borealis": 48}, {"atlas": 40, "borealis": 16}))
        # Room for who is expected changes as it is learnt who comes; that is another story.
        w.planner.settings = replace(w.planner.settings, keeps=dict.fromkeys(Tier, 0.0))

        def wish(hour: int) -> Ask:
            size, length = 8 * (1 + hour % 3), 3 + hour % 5
            if hour % 3:
                return spot(size, 4 * length, on_loan=hour % 2 == 1)
            return urgent(size, length, by=w.slot + length + 2)

        names = []
        for hour in range(36):
            names.append(await w.ask(wish(hour), ("atlas", "borealis")[hour // 3 % 2]))
            await pass_hours(w, 1)
        claims = [await w.claim(name) for name in names]
        assert len([claim for claim in claims if claim.ask.on_loan and claim.holds()]) > 5
        assert sum(await told(w, *names)) > 1
        assert await broken(w) == ()


async def test_an_answer_at_once_may_be_a_loan() -> None:
    async with world(at_once=True) as w:
        await w.declare(fleet({"dc-1": 640}, {"atlas": 8}, {"atlas": 16}))
        await w.plan()
        await until(lambda: w.feed.outlook.prices is not None)
        asked = spot(16, 4, on_loan=True, deadline=w.slot + 5)
        claim = await w.claim(await w.ask(asked))
        assert claim.placements, "it was answered without a plan"
        assert not (await w.claim(await w.ask(asked))).placements
        assert not (await w.claim(await w.ask(replace(asked, on_loan=False)))).placements


async def test_what_is_idle_after_a_plan_is_lent_no_further_than_may_be() -> None:
    async with world() as w:
        await w.declare(fleet({"dc-1": 64}, {"atlas": 0}, {"atlas": 24}))
        for hour in range(3):
            # Claims of a higher tier are known to come, so what is left after a plan is given away by another rule.
            await w.ask(urgent(8, 2, by=w.slot + 4), "atlas")
            for _ in range(2):
                await w.ask(spot(16, 6 + hour, on_loan=True, rate=1 + hour))
            await pass_hours(w, 2)
        assert await broken(w) == ()
