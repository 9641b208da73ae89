"""Who gives way, to whom, and on what terms: told as stories, each judged from the log as well."""

from __future__ import annotations

from dataclasses import replace

import pytest

from broker.domain.claim import Active, Cancelled, Claim, Committed, Ended, Planned, Preemption, Tier, Waiting
from broker.domain.faults import Fault, FaultReason
from broker.domain.preemption import PREEMPTIONS_MAX, WHOLE, preemptions
from broker.domain.reason import Reason
from broker.domain.slots import SLOT_SECONDS
from broker.optimiser.problem import Plan, Problem
from broker.optimiser.report import Solved
from tests.builders import ask, fleet
from tests.planner.giving_way import broken, pass_hours, reasons, running, settled, spot, urgent
from tests.world import World, world


async def told(w: World, *claims: Claim) -> list[bool]:
    """Which of them give way now."""
    return [any(p.left_ppm for p in (await w.claim(claim.name)).placements) for claim in claims]


async def test_what_runs_gives_way_to_who_could_not_be_served_and_goes_on_later() -> None:
    async with world() as w:
        await w.declare(fleet({"dc-1": 64}))
        (long,) = await running(w, spot(64, 24), hours=4)
        began = (await w.claim(long)).placements[0].window.first
        rich = await w.ask(urgent(64, 4, by=w.slot + 8), "borealis")
        await settled(w)
        loser, (taken,) = await w.claim(long), (await w.claim(rich)).placements
        (place,) = loser.placements
        assert isinstance(loser.state, Committed)
        assert reasons(loser) == [Reason.PREEMPTED]
        facts = loser.because[0].facts
        assert (facts["by_tier"], facts["times"], facts["end_unix_seconds"]) == (
            "STANDARD",
            "1",
            str(place.window.end * SLOT_SECONDS),
        )
        assert "by" not in facts, "it is another tenant's"
        assert place.window.first == began
        assert place.window.end == w.slot + 1 == taken.window.first
        await pass_hours(w, 1)
        left = await w.claim(long)
        assert left.ran == (place,)
        assert not isinstance(left.state, Committed)
        await pass_hours(w, 6)
        (again,) = (await w.claim(long)).placements
        assert again.window.first >= taken.window.end
        assert again.window.slots == 24 - place.window.slots
        await pass_hours(w, 26)
        over = await w.claim(long)
        assert isinstance(over.state, Ended)
        assert sum(p.window.slots for p in (*over.ran, *over.placements)) == 24
        assert await broken(w) == ()


async def test_who_gives_way_has_its_reason_and_no_wall_to_climb() -> None:
    async with world() as w:
        await w.declare(fleet({"dc-1": 64}))
        (long,) = await running(w, spot(64, 24))
        await w.ask(urgent(64, 4, by=w.slot + 8))
        await settled(w)
        claim, wall, offer, _ = await w.desk.explain(long)
        assert reasons(claim) == [Reason.PREEMPTED]
        assert (wall, offer) == (None, None)


async def test_it_names_who_takes_the_place_only_to_the_same_tenant() -> None:
    async with world() as w:
        await w.declare(fleet({"dc-1": 64}))
        (long,) = await running(w, spot(64, 24))
        rich = await w.ask(urgent(64, 4, by=w.slot + 8))
        await settled(w)
        assert (await w.claim(long)).because[0].facts["by"] == str(rich)


async def test_nobody_is_told_before_the_least_run_is_over() -> None:
    async with world() as w:
        await w.declare(fleet({"dc-1": 64}))
        (long,) = await running(w, spot(64, 48, min_run=6), hours=2)
        first = (await w.claim(long)).placements[0].window.first
        rich = await w.ask(urgent(64, 4, by=w.slot + 20))
        while w.slot < first + 6:
            await settled(w)
            assert not reasons(await w.claim(long))
            assert not (await w.claim(rich)).placements
            await pass_hours(w, 1)
        assert reasons(await w.claim(long)) == [Reason.PREEMPTED]
        assert (await w.claim(long)).placements[0].window.slots == 7
        assert (await w.claim(rich)).placements
        assert await broken(w) == ()


async def test_notice_is_as_long_as_agreed() -> None:
    async with world() as w:
        await w.declare(fleet({"dc-1": 64}))
        (long,) = await running(w, spot(64, 48, notice=5))
        rich = await w.ask(urgent(64, 4, by=w.slot + 20))
        await settled(w)
        assert (await w.claim(long)).placements[0].window.end == w.slot + 5
        assert (await w.claim(rich)).placements[0].window.first == w.slot + 5
        await pass_hours(w, 4)
        assert (await w.claim(long)).ran == ()
        await pass_hours(w, 1)
        assert len((await w.claim(long)).ran) == 1
        assert await broken(w) == ()


async def test_notice_that_leaves_too_little_time_helps_nobody_and_is_not_given() -> None:
    async with world() as w:
        await w.declare(fleet({"dc-1": 64}))
        (long,) = await running(w, spot(64, 48, notice=5))
        await w.ask(urgent(64, 4, by=w.slot + 8))
        await pass_hours(w, 3)
        assert reasons(await w.claim(long)) == []


async def test_who_has_just_saved_its_work_gives_way_first() -> None:
    async with world() as w:
        await w.declare(fleet({"dc-1": 128}))
        stale, fresh = await running(w, spot(64, 48, checkpoint=20), spot(64, 48, checkpoint=6), hours=5)
        await w.ask(urgent(64, 4, by=w.slot + 6))
        await settled(w)
        assert await told(w, await w.claim(stale), await w.claim(fresh)) == [False, True]
        assert (await w.claim(fresh)).placements[0].left_ppm == WHOLE * 42 // 48


async def test_without_checkpoints_a_run_that_is_cut_short_is_lost() -> None:
    async with world() as w:
        await w.declare(fleet({"dc-1": 64}))
        (long,) = await running(w, spot(64, 10, checkpoint=0))
        await w.ask(urgent(64, 4, by=w.slot + 6))
        await pass_hours(w, 6)
        claim = await w.claim(long)
        assert claim.ran[0].left_ppm == WHOLE
        assert claim.placements[0].window.slots == 10


async def test_work_that_would_be_lost_is_weighed_against_what_it_makes_room_for() -> None:
    async with world() as w:
        await w.declare(fleet({"dc-1": 64}))
        (long,) = await running(w, spot(64, 40, checkpoint=0), hours=30)
        await w.ask(urgent(64, 4, by=w.slot + 6, rate=12))
        await settled(w)
        assert reasons(await w.claim(long)) == [], "30 hours of work are worth more than 4 at six times the rate"


async def test_after_two_times_it_is_as_firm_as_any_other() -> None:
    async with world() as w:
        await w.declare(fleet({"dc-1": 64}))
        (long,) = await running(w, spot(64, 40))
        served = []
        for _ in range(PREEMPTIONS_MAX + 2):
            served.append(await w.ask(urgent(64, 2, by=w.slot + 4), "borealis"))
            await pass_hours(w, 6)
        assert [bool((await w.claim(name)).ran or (await w.claim(name)).placements) for name in served] == [
            True,
            True,
            False,
            False,
        ]
        assert preemptions(await w.claim(long)) == PREEMPTIONS_MAX
        assert await broken(w) == ()


async def test_nobody_gives_way_to_spot_however_rich() -> None:
    async with world() as w:
        await w.declare(fleet({"dc-1": 64}))
        (long,) = await running(w, spot(64, 24))
        poor = await w.ask(urgent(64, 2, by=w.slot + 4, rate=1))
        rich = await w.ask(spot(64, 4, rate=10_000, deadline=w.slot + 8), "borealis")
        await settled(w)
        assert reasons(await w.claim(long)) == []
        assert not (await w.claim(rich)).placements
        assert not (await w.claim(poor)).placements


async def test_spot_that_a_higher_tier_would_have_let_in_waits_or_finds_another_place() -> None:
    """Money alone would end both that run: one for the urgent claim, one for the rich spot claim beside it."""
    async with world() as w:
        await w.declare(fleet({"dc-1": 128}))
        one, other = await running(w, spot(64, 24), spot(64, 24))
        await w.ask(urgent(64, 4, by=w.slot + 8), "borealis")
        rich = await w.ask(spot(64, 4, rate=1_000), "borealis")
        await settled(w)
        assert sorted(await told(w, await w.claim(one), await w.claim(other))) == [False, True]
        (place,) = (await w.claim(rich)).placements
        assert place.window.first >= w.slot + 5
        assert await broken(w) == ()


async def test_nobody_gives_way_to_who_can_be_served_without() -> None:
    async with world() as w:
        await w.declare(fleet({"dc-1": 64}))
        (long,) = await running(w, spot(64, 24))
        later = await w.ask(urgent(64, 4, by=w.slot + 40))
        await settled(w)
        assert reasons(await w.claim(long)) == []
        assert (await w.claim(later)).placements[0].window.first >= w.slot + 22


async def test_only_as_many_give_way_as_must() -> None:
    async with world() as w:
        await w.declare(fleet({"dc-1": 96}))
        names = await running(w, *[spot(16, 24) for _ in range(6)])
        await w.ask(urgent(40, 4, by=w.slot + 6))
        await settled(w)
        assert sum(await told(w, *[await w.claim(name) for name in names])) == 3
        assert await broken(w) == ()


async def test_a_claim_that_is_committed_and_does_not_run_stays() -> None:
    async with world() as w:
        await w.declare(fleet({"dc-1": 64}))
        name = await w.ask(spot(64, 24))
        await w.plan()
        assert isinstance((await w.claim(name)).state, Committed)
        await w.ask(urgent(64, 4, by=w.slot + 8))
        await settled(w)
        assert reasons(await w.claim(name)) == []


async def test_the_lease_of_a_claim_that_gives_way_lasts_as_long_as_its_notice() -> None:
    async with world() as w:
        await w.declare(fleet({"dc-1": 64}))
        (long,) = await running(w, spot(64, 24, notice=2))
        lease = await w.leasing.acquire(long, ttl_millis=0, key=w.key())
        await w.ask(urgent(64, 4, by=w.slot + 12))
        await settled(w)
        claim = await w.claim(long)
        assert isinstance(claim.state, Active)
        assert reasons(claim) == [Reason.PREEMPTED]
        w.now = claim.placements[0].window.end * SLOT_SECONDS - 10
        renewed = await w.leasing.renew(long, lease.token, ttl_millis=0)
        assert 0 < renewed.millis_left <= 10_000
        w.now += 10
        await settled(w)
        with pytest.raises(Fault) as refused:
            await w.leasing.renew(long, lease.token, ttl_millis=0)
        assert refused.value.reason is FaultReason.LEASE_ENDED
        assert isinstance((await w.claim(long)).state, Waiting | Planned | Committed)
        assert await broken(w) == ()


async def test_a_holder_that_stops_early_or_falls_silent_loses_only_what_was_not_saved() -> None:
    async with world() as w:
        await w.declare(fleet({"dc-1": 64}))
        (long,) = await running(w, spot(64, 24, notice=4, checkpoint=2), hours=3)
        lease = await w.leasing.acquire(long, ttl_millis=0, key=w.key())
        await w.ask(urgent(64, 4, by=w.slot + 12))
        await settled(w)
        w.now += 2 * SLOT_SECONDS
        stopped = await w.leasing.release(long, lease.token, key=w.key())
        (ran,) = stopped.placements
        assert isinstance(stopped.state, Committed)
        assert ran.window.end == w.slot
        assert ran.left_ppm == -(-WHOLE * (24 - ran.window.slots // 2 * 2) // 24)
        await settled(w)
        assert (await w.claim(long)).ran == (ran,)
        assert await broken(w) == ()


async def test_a_plan_too_late_for_the_notice_that_it_gives_is_dropped() -> None:
    async with world() as w:
        await w.declare(fleet({"dc-1": 64}))
        (long,) = await running(w, spot(64, 24))
        await w.ask(urgent(64, 4, by=w.slot + 12))

        def slow(_: Problem, solved: Solved) -> Solved:
            w.now += 2 * SLOT_SECONDS
            return solved

        before = await w.claim(long)
        w.solver.tamper = slow
        with pytest.raises(Fault) as refused:
            await w.plan()
        assert refused.value.reason is FaultReason.OVERCOMMIT
        assert await w.claim(long) == before


async def test_who_gives_way_and_loses_its_pool_too_is_not_told_more_often_for_that() -> None:
    async with world() as w:
        await w.declare(fleet({"dc-1": 64, "dc-2": 64}))
        (long,) = await running(w, spot(64, 24, notice=6, forbidden_pools=("dc-2",)))
        await w.ask(urgent(64, 4, by=w.slot + 14, forbidden_pools=("dc-2",)))
        await settled(w)
        assert preemptions(await w.claim(long)) == 1
        await w.declare(fleet({"dc-1": 8, "dc-2": 64}))
        await w.plan()
        assert not (await w.claim(long)).placements
        assert preemptions(await w.claim(long)) == 1
        assert await broken(w) == ()


async def test_the_parts_of_a_claim_give_way_together_or_not_at_all_again_meanwhile() -> None:
    async with world() as w:
        await w.declare(fleet({"dc-1": 32}))
        (parts,) = await running(w, spot(32, 24, gang=False, notice=3))
        assert len((await w.claim(parts)).placements) == 4
        await w.ask(urgent(8, 4, by=w.slot + 8), "borealis")
        await settled(w)
        assert sum(p.left_ppm > 0 for p in (await w.claim(parts)).placements) == 1
        late = await w.ask(urgent(8, 4, by=w.slot + 8), "borealis")
        await settled(w)
        assert sum(p.left_ppm > 0 for p in (await w.claim(parts)).placements) == 1
        assert not (await w.claim(late)).placements
        await pass_hours(w, 30)
        assert isinstance((await w.claim(parts)).state, Ended)
        assert await broken(w) == ()


async def test_what_has_run_can_be_cancelled_but_no_longer_amended() -> None:
    async with world() as w:
        await w.declare(fleet({"dc-1": 64}))
        (long,) = await running(w, spot(64, 24))
        await w.ask(urgent(64, 20, by=w.slot + 24))
        await pass_hours(w, 2)
        claim = await w.claim(long)
        assert claim.ran
        with pytest.raises(Fault) as refused:
            await w.desk.amend(long, lambda asked: replace(asked, devices=32), etag="", key=w.key())
        assert refused.value.reason is FaultReason.CLAIM_COMMITTED
        gone = (await w.desk.cancel(long, etag="", key=w.key())).claim
        assert isinstance(gone.state, Cancelled)
        assert gone.ran == claim.ran


async def test_a_plan_that_ends_somebody_for_nothing_is_put_right() -> None:
    """The solver's word is not enough: whoever fits stays."""

    def cruel(problem: Problem, solved: Solved) -> Solved:
        ends = (problem.options.first[1:] - problem.options.first[:-1] > 1) & problem.requests.promised
        return replace(solved, plan=Plan(ends.astype(int) - (solved.plan.option < 0), solved.plan.start))

    async with world() as w:
        await w.declare(fleet({"dc-1": 64}))
        (long,) = await running(w, spot(64, 24))
        await w.ask(urgent(64, 2, by=w.slot + 4, rate=1))
        w.solver.tamper = lambda problem, solved: _judged(problem, cruel(problem, solved))
        await w.plan()
        assert reasons(await w.claim(long)) == []


def _judged(problem: Problem, solved: Solved) -> Solved:
    from broker.optimiser.check import check

    return replace(solved, objective=check(problem, solved.plan).objective)


async def test_terms_that_were_never_named_are_an_hour_and_nothing_kept() -> None:
    assert ask(8, 4, tier=Tier.SPOT).preemption == Preemption(min_run=0, notice=1, checkpoint=0)
