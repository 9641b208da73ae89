"""What a caller was told stays true: the planner's side of the bargain, told as stories."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import numpy as np
import pytest

from broker.domain.claim import (
    Ask,
    Cancelled,
    Committed,
    Displaced,
    Ended,
    Expired,
    Planned,
    Tier,
    Waiting,
)
from broker.domain.faults import Fault, FaultReason
from broker.domain.fleet import CommittedLevel as Level
from broker.domain.fleet import Contract, Delivery, Maintenance, Pool, PoolKind
from broker.domain.reason import Reason
from broker.domain.slots import SLOT_SECONDS
from broker.ledger.fold import violations
from broker.optimiser.problem import Plan, Problem
from broker.optimiser.report import Solved
from broker.optimiser.worker import SolverLost
from tests.builders import ask, fleet, pool
from tests.world import World, until, world


def gang(devices: int, slots: int, **fields: object) -> Ask:
    return ask(devices, slots, **{"gang": True, "value_microusd": devices * slots * 6_000_000, **fields})


async def broken(w: World) -> tuple[str, ...]:
    return violations(await w.ledger.events(0, limit=10_000))


async def test_a_gang_is_whole_in_one_pool_or_waits() -> None:
    async with world() as w:
        await w.declare(fleet({"dc-1": 64, "dc-2": 64}))
        names = [await w.ask(gang(48, 10, deadline=w.slot + 12)) for _ in range(3)]
        await w.plan()
        claims = [await w.claim(name) for name in names]
        served = [claim for claim in claims if claim.placements]
        assert len(served) == 2
        assert all(sum(p.devices for p in claim.placements) == 48 for claim in served)
        assert {len({p.pool for p in claim.placements}) for claim in served} == {1}
        assert await broken(w) == ()


async def test_what_is_no_gang_may_come_in_parts() -> None:
    async with world() as w:
        await w.declare(fleet({"dc-1": 16, "dc-2": 16}))
        name = await w.ask(ask(32, 10, deadline=w.slot + 12, value_microusd=10**10))
        await w.plan()
        claim = await w.claim(name)
        assert sum(p.devices for p in claim.placements) == 32
        assert {p.pool for p in claim.placements} == {"dc-1", "dc-2"}


async def test_whole_domains_are_whole() -> None:
    racks = Pool("rack", PoolKind.INTERNAL, "b200", 72, (Delivery(72 * 8),))
    async with world() as w:
        await w.declare(fleet((pool("dc-1", 8_192), racks)))
        name = await w.ask(gang(512, 24, whole_domains=True, min_domain_devices=72))
        await w.plan()
        (placed,) = (await w.claim(name)).placements
        assert (placed.pool, placed.devices) == ("rack", 576)


async def test_a_planned_claim_is_never_dropped_for_a_better_one() -> None:
    async with world() as w:
        await w.declare(fleet({"dc-1": 64}))
        modest = await w.ask(gang(64, 10, latest=w.slot + 24))
        await w.plan()
        until = (await w.claim(modest)).placements[0].latest
        await w.ask(gang(64, 10, deadline=w.slot + 12, value_microusd=10**14))
        await w.plan()
        (placed,) = (await w.claim(modest)).placements
        assert placed.window.first <= until


async def test_spot_gives_way_and_is_told_why() -> None:
    async with world() as w:
        await w.declare(fleet({"dc-1": 64}))
        spot = await w.ask(gang(64, 10, tier=Tier.SPOT, earliest=w.slot + 3, deadline=w.slot + 14, value_microusd=1000))
        await w.plan()
        assert isinstance((await w.claim(spot)).state, Planned)
        rich = await w.ask(gang(64, 10, tier=Tier.GUARANTEED, earliest=w.slot + 3, deadline=w.slot + 14))
        await w.plan()
        assert (await w.claim(rich)).placements
        state = (await w.claim(spot)).state
        assert isinstance(state, Displaced)
        assert state.because[0].reason in (Reason.OUTBID, Reason.NO_CONTIGUOUS_ROOM)


async def test_a_committed_claim_keeps_its_place_to_the_hour() -> None:
    async with world() as w:
        await w.declare(fleet({"dc-1": 64, "dc-2": 64}))
        first = await w.ask(gang(40, 10, tier=Tier.SPOT))
        await w.plan()
        before = await w.claim(first)
        assert isinstance(before.state, Committed), "it starts within the hour"
        for _ in range(4):
            await w.ask(gang(64, 10, tier=Tier.GUARANTEED, deadline=w.slot + 20, value_microusd=10**13))
        await w.plan()
        assert (await w.claim(first)).placements == before.placements


async def test_planning_again_changes_nothing() -> None:
    async with world() as w:
        await w.declare(fleet({"dc-1": 64, "dc-2": 32}))
        for n in range(30):
            await w.ask(gang(8 * (1 + n % 6), 3 + n % 9, earliest=w.slot + n % 5))
        await w.plan()
        before = (await w.ledger.snapshot()).claims
        again = await w.plan()
        assert again.moved == 0
        assert (await w.ledger.snapshot()).claims == before


async def test_time_commits_ends_and_expires() -> None:
    async with world() as w:
        await w.declare(fleet({"dc-1": 8}))
        served = await w.ask(gang(8, 4, earliest=w.slot + 3))
        await w.plan()
        assert isinstance((await w.claim(served)).state, Planned)
        late = await w.ask(gang(8, 6, deadline=w.slot + 8, value_microusd=1))
        await w.plan()
        assert isinstance((await w.claim(late)).state, Waiting)
        w.now += 2 * SLOT_SECONDS
        await w.plan()
        assert isinstance((await w.claim(served)).state, Committed)
        w.now += 12 * SLOT_SECONDS
        await w.plan()
        assert isinstance((await w.claim(served)).state, Ended)
        expired = (await w.claim(late)).state
        assert isinstance(expired, Expired)
        assert expired.because[0].reason is Reason.WINDOW_PASSED
        assert await broken(w) == ()


async def test_lost_supply_displaces_as_few_as_it_must_and_guaranteed_last() -> None:
    async with world() as w:
        await w.declare(fleet({"dc-1": 64}))
        sure = await w.ask(gang(32, 48, tier=Tier.GUARANTEED, earliest=w.slot + 4, latest=w.slot + 4))
        plain = await w.ask(gang(32, 48, earliest=w.slot + 4, latest=w.slot + 4, value_microusd=10**10))
        await w.plan()
        half = pool("dc-1", 64, maintenance=(Maintenance(32, w.now, w.now + 30 * 24 * SLOT_SECONDS),))
        await w.declare(fleet((half,)))
        await w.plan()
        assert (await w.claim(sure)).placements
        state = (await w.claim(plain)).state
        assert isinstance(state, Displaced)
        assert state.because[0].reason is Reason.SUPPLY_LOST
        await w.declare(fleet({"dc-1": 64}))
        await w.plan()
        assert (await w.claim(plain)).placements, "the devices are back in time"
        assert await broken(w) == ()


async def test_a_pool_that_leaves_the_fleet_displaces_what_it_had() -> None:
    async with world() as w:
        await w.declare(fleet({"dc-1": 64}))
        name = await w.ask(gang(32, 48, earliest=w.slot + 4))
        await w.plan()
        await w.declare(fleet({"dc-9": 8}))
        await w.plan()
        assert isinstance((await w.claim(name)).state, Displaced)
        assert await broken(w) == ()


async def test_paid_capacity_is_used_before_money_is_spent() -> None:
    rent = Pool("rent", PoolKind.CONTRACTED, "b200", 8, (Delivery(64),))
    own = pool("own", 64, unit_cost_microusd=500_000)
    contract = Contract(
        "c", "rent", committed=(Level(32),), committed_price_microusd=4_000_000, overage_price_microusd=9_000_000
    )
    async with world() as w:
        await w.declare(replace(fleet((own, rent)), contracts=(contract,)))
        paid = await w.ask(gang(32, 10, value_microusd=10**9, deadline=w.slot + 10))
        more = await w.ask(gang(32, 10, value_microusd=10**9, deadline=w.slot + 10))
        await w.plan()
        (first,), (second,) = (await w.claim(paid)).placements, (await w.claim(more)).placements
        assert {first.pool, second.pool} == {"rent", "own"}, "overage costs more than running our own"
        rented = first if first.pool == "rent" else second
        assert (rented.cost_microusd, rented.paid_microusd) == (0, 32 * 10 * 4_000_000)


async def test_cancelling_a_running_claim_frees_the_rest() -> None:
    async with world() as w:
        await w.declare(fleet({"dc-1": 64}))
        name = await w.ask(gang(64, 10))
        await w.plan()
        w.now += 3 * SLOT_SECONDS
        await w.desk.cancel(name, etag="", key=w.key())
        state = (await w.claim(name)).state
        assert isinstance(state, Cancelled)
        assert [p.window.end for p in state.placements] == [w.slot]
        other = await w.ask(gang(64, 10, deadline=w.slot + 10))
        await w.plan()
        assert (await w.claim(other)).placements
        assert await broken(w) == ()


async def test_an_elastic_claim_takes_what_there_is() -> None:
    async with world() as w:
        await w.declare(fleet({"dc-1": 16}))
        name = await w.ask(gang(32, 10, min_devices=8, max_devices=64))
        await w.plan()
        (placed,) = (await w.claim(name)).placements
        assert placed.devices <= 16
        assert placed.devices * placed.window.slots >= 32 * 10, "the work is the same"


async def test_a_quota_holds_over_all_pools() -> None:
    async with world() as w:
        await w.declare(fleet({"dc-1": 64, "dc-2": 64}, tenants={"atlas": 64}))
        names = [await w.ask(gang(48, 10, deadline=w.slot + 11)) for _ in range(2)]
        await w.plan()
        states = [(await w.claim(name)).state for name in names]
        waiting = [state for state in states if isinstance(state, Waiting)]
        assert [state.because[0].reason for state in waiting] == [Reason.QUOTA_REACHED]


async def test_a_quota_that_shrinks_stops_nobody_else() -> None:
    async with world() as w:
        await w.declare(fleet({"dc-1": 128}, tenants={"atlas": 64, "borealis": None}))
        held = await w.ask(gang(64, 10, earliest=w.slot + 3))
        await w.plan()
        await w.declare(fleet({"dc-1": 128}, tenants={"atlas": 32, "borealis": None}))
        more = await w.ask(gang(8, 5, deadline=w.slot + 12))
        other = await w.ask(gang(64, 10, deadline=w.slot + 20), tenant="borealis")
        await w.plan()
        assert (await w.claim(held)).placements, "what it holds it keeps"
        assert (await w.claim(other)).placements
        placed = (await w.claim(more)).placements
        assert not placed or placed[0].window.end <= w.slot + 13
        assert await broken(w) == ()


async def test_a_shorter_horizon_keeps_what_lies_beyond_it() -> None:
    async with world() as w:
        await w.declare(fleet({"dc-1": 64}))
        far = await w.ask(gang(64, 10, earliest=w.slot + 200))
        await w.plan()
        w.planner.settings = replace(w.planner.settings, horizon_slots=168)
        before = (await w.claim(far)).placements
        near = await w.ask(gang(64, 10))
        await w.plan()
        assert (await w.claim(far)).placements == before
        assert (await w.claim(near)).placements


async def test_a_large_plan_comes_into_force_in_steps() -> None:
    async with world() as w:
        await w.declare(fleet({"dc-1": 64}))
        w.planner.settings = replace(w.planner.settings, commit_claims_max=4)
        names = [await w.ask(gang(8, 10)) for _ in range(10)]
        for _ in range(3):
            await w.plan()
        reasons = [why.reason for name in names for why in (await w.claim(name)).because]
        assert Reason.AWAITING_PLAN not in reasons
        assert await broken(w) == ()


async def test_no_claim_starts_long_before_its_plan_is_there() -> None:
    async with world() as w:
        await w.declare(fleet({"dc-1": 64}))
        w.now += SLOT_SECONDS - 60
        name = await w.ask(gang(8, 10))
        fence = await w.ledger.lead("test", ttl_millis=60_000)
        assert fence is not None
        await w.planner.cycle(fence, seconds=600.0)
        (placed,) = (await w.claim(name)).placements
        assert placed.window.first * SLOT_SECONDS >= w.now + 540


async def test_a_new_leader_owes_no_old_time_limits() -> None:
    limits: list[float] = []
    async with world() as w:
        await w.declare(fleet({"dc-1": 64}))
        await w.ledger.ask_plan(key=w.key("-"), at=w.now, time_limit_seconds=600)
        await w.plan()
        await w.ledger.ask_plan(key=w.key("-"), at=w.now, time_limit_seconds=7)
        solve = w.solver.solve

        async def noted(problem: Problem, *, seconds: float, seed: int, hint: Plan | None) -> Solved:
            limits.append(seconds)
            return await solve(problem, seconds=seconds, seed=seed, hint=hint)

        w.planner.solver = type("Noting", (), {"solve": staticmethod(noted)})()
        run = asyncio.create_task(w.planner.run())
        await until(lambda: limits)
        run.cancel()
        await asyncio.gather(run, return_exceptions=True)
        assert limits[0] == 7, "what no plan has answered is owed, what one has is not"
        assert await w.ledger.lead("another", ttl_millis=1) is not None, "a planner that stops lets go of its lease"


async def test_a_standby_that_stops_takes_nothing_from_a_leader_whose_lease_has_just_lapsed() -> None:
    async with world() as w:
        leads = await w.ledger.lead("leader", ttl_millis=6_000)
        run = asyncio.create_task(w.planner.run())
        await asyncio.sleep(0)  # it has asked, and stands by
        await asyncio.sleep(0)
        w.later = 7.0
        run.cancel()
        await asyncio.gather(run, return_exceptions=True)
        assert await w.ledger.lead("leader", ttl_millis=6_000) == leads


async def test_a_failing_solver_is_tried_again_with_patience() -> None:
    calls: list[float] = []
    async with world() as w:
        await w.declare(fleet({"dc-1": 64}))

        async def lost(problem: Problem, *, seconds: float, seed: int, hint: Plan | None) -> Solved:
            calls.append(seconds)
            if len(calls) < 3:
                raise SolverLost("gone")
            return await w.solver.solve(problem, seconds=seconds, seed=seed, hint=hint)

        w.planner.solver = type("Losing", (), {"solve": staticmethod(lost)})()
        name = await w.ask(gang(8, 10))
        run = asyncio.create_task(w.planner.run())
        served = False
        async with asyncio.timeout(20):
            while not served:
                served = bool((await w.claim(name)).placements)
                await asyncio.sleep(0.005)
        run.cancel()
        await asyncio.gather(run, return_exceptions=True)
        assert len(calls) >= 3


@pytest.mark.parametrize("lie", ["two in one place", "a start outside the window", "a better objective"])
async def test_a_lying_solver_changes_nothing(lie: str) -> None:
    def tamper(problem: Problem, solved: Solved) -> Solved:
        if lie == "a better objective":
            return replace(solved, objective=solved.objective + 1)
        option = np.zeros_like(solved.plan.option)
        start = problem.options.earliest[problem.options.first[:-1]] + (0 if lie == "two in one place" else 10_000)
        return replace(solved, plan=Plan(option, start))

    async with world() as w:
        await w.declare(fleet({"dc-1": 64}))
        for _ in range(2):
            await w.ask(gang(64, 10, deadline=w.slot + 11))
        w.solver.tamper = tamper
        before = await w.ledger.snapshot()
        with pytest.raises(Fault) as refused:
            await w.plan()
        assert refused.value.reason is FaultReason.OVERCOMMIT
        assert await w.ledger.snapshot() == before


async def test_a_claim_that_changed_while_it_was_planned_is_left_alone() -> None:
    async with world() as w:
        await w.declare(fleet({"dc-1": 64}))
        name = await w.ask(gang(64, 10))
        other = await w.ask(gang(32, 10))
        loop_solve = w.solver.solve

        async def cancel_meanwhile(problem: Problem, *, seconds: float, seed: int, hint: Plan | None) -> Solved:
            solved = await loop_solve(problem, seconds=seconds, seed=seed, hint=hint)
            await w.desk.cancel(name, etag="", key=w.key())
            return solved

        w.planner.solver = type("Racing", (), {"solve": staticmethod(cancel_meanwhile)})()
        done = await w.plan()
        assert done.skipped == 1
        assert isinstance((await w.claim(name)).state, Cancelled)
        assert (await w.claim(other)).placements
        assert await broken(w) == ()
