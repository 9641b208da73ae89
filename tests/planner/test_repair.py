"""Supply that is lost under live grants: who has to leave finds another place at once, and hears of it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest

from broker.domain.claim import Ask, ClaimName, Committed, Displaced, Expired, Planned, Tier, Waiting
from broker.domain.faults import Fault, FaultReason
from broker.domain.fleet import Delivery
from broker.domain.reason import Reason
from broker.domain.slots import SLOT_SECONDS, Window
from broker.domain.snapshot import Event
from broker.domain.supply import Growth, Outage, Recovery, SupplyChange
from broker.domain.terms import Terms
from broker.ledger.fold import violations
from broker.optimiser.check import check
from broker.optimiser.compile import compile_problem
from broker.optimiser.problem import Plan, Problem, Reserve
from broker.optimiser.report import Earlier, Solved
from broker.repair import repair as repair_of
from broker.repair import unreserved
from broker.supplying import Supplied
from tests.builders import ask, fleet, pool
from tests.world import LostSolver, World, until, world

DAY = 24 * SLOT_SECONDS


def gang(devices: int, slots: int, **fields: object) -> Ask:
    return ask(devices, slots, **{"gang": True, "value_microusd": devices * slots * 6_000_000, **fields})


async def change(w: World, change: SupplyChange, pool: str = "dc-1", *, dry_run: bool = False) -> Supplied:
    return await w.supplying.change(pool, change, etag="", key=w.key("-"), dry_run=dry_run)


async def repair(w: World) -> None:
    fence = await w.ledger.lead("test", ttl_millis=60_000)
    assert fence is not None
    await w.planner.repair(fence)


async def broken(w: World) -> tuple[str, ...]:
    return violations(await w.ledger.events(0, limit=10_000))


async def test_who_has_to_leave_is_told_where_from_when_and_where_to() -> None:
    async with world() as w:
        await w.declare(fleet({"dc-1": 64, "dc-2": 64}))
        name = await w.ask(gang(32, 48, preferred_pools=("dc-1",), latest=w.slot + 3))
        await w.plan()
        await change(w, Outage(w.now, w.now + DAY))
        await repair(w)
        claim = await w.claim(name)
        assert isinstance(claim.state, Planned | Committed)
        (place,) = claim.placements
        assert place.pool == "dc-2"
        (why,) = claim.because
        assert why.reason is Reason.SUPPLY_LOST
        assert why.facts == {
            "pool": "pools/dc-1",
            "from_unix_seconds": str(w.now),
            "until_unix_seconds": str(w.now + DAY),
            "new_pool": "pools/dc-2",
            "new_start_unix_seconds": str(place.window.first * SLOT_SECONDS),
        }
        await w.plan()
        assert await w.claim(name) == claim, "it is told as long as it stays where it went"
        assert await broken(w) == ()


async def test_who_finds_no_place_is_displaced_and_told_how_long_the_devices_are_away() -> None:
    async with world() as w:
        await w.declare(fleet({"dc-1": 64}))
        name = await w.ask(gang(32, 10, latest=w.slot))
        await w.plan()
        await change(w, Outage(w.now, w.now + 6 * SLOT_SECONDS))
        await repair(w)
        state = (await w.claim(name)).state
        assert isinstance(state, Displaced)
        assert state.because[0].reason is Reason.SUPPLY_LOST
        assert state.because[0].facts["until_unix_seconds"] == str(w.now + 6 * SLOT_SECONDS)
        assert "new_pool" not in state.because[0].facts


async def test_only_as_many_leave_as_must_and_guaranteed_last() -> None:
    async with world() as w:
        await w.declare(fleet({"dc-1": 64, "dc-2": 16}))
        tiers = [Tier.SPOT, Tier.GUARANTEED, Tier.STANDARD, Tier.STANDARD]
        names = [await w.ask(gang(16, 48, tier=tier, forbidden_pools=("dc-2",))) for tier in tiers]
        await w.plan()
        before = {name: await w.claim(name) for name in names}
        assert all(claim.placements for claim in before.values())
        told = await change(w, Outage(w.now, w.now + DAY, devices=16))
        assert [loss.claim.name for loss in told.touched] == [names[0]]
        await repair(w)
        after = {name: await w.claim(name) for name in names}
        assert [name for name in names if before[name] != after[name]] == [names[0]]


async def test_guaranteed_work_comes_before_dearer_work_that_is_not() -> None:
    """There is one refuge, for one of them."""
    async with world() as w:
        await w.declare(fleet({"dc-1": 64, "dc-2": 32}))
        sure = await w.ask(gang(32, 24, tier=Tier.GUARANTEED, latest=w.slot, preferred_pools=("dc-1",)))
        dear = await w.ask(gang(32, 24, latest=w.slot, preferred_pools=("dc-1",), value_microusd=10**14))
        await w.plan()
        assert {(await w.claim(name)).placements[0].pool for name in (sure, dear)} == {"dc-1"}
        await change(w, Outage(w.now, w.now + DAY))
        await repair(w)
        assert [p.pool for p in (await w.claim(sure)).placements] == ["dc-2"]
        assert isinstance((await w.claim(dear)).state, Displaced)


async def test_spot_work_elsewhere_gives_way_and_what_was_promised_stays() -> None:
    async with world() as w:
        await w.declare(fleet({"dc-1": 32, "dc-2": 64}))
        when = {"earliest": w.slot + 4, "latest": w.slot + 4}
        sure = await w.ask(gang(32, 24, tier=Tier.GUARANTEED, **when, forbidden_pools=("dc-2",)))
        plain = await w.ask(gang(32, 24, **when, forbidden_pools=("dc-1",)))
        spot = await w.ask(gang(32, 24, tier=Tier.SPOT, **when, value_microusd=10**9, forbidden_pools=("dc-1",)))
        await w.plan()
        stays = await w.claim(plain)
        assert (await w.claim(spot)).placements
        # Its caller would not mind the other pool, after all.
        await w.desk.amend(sure, lambda asked: replace(asked, forbidden_pools=()), etag="", key=w.key())
        await change(w, Outage(w.now, w.now + 2 * DAY))
        await repair(w)
        assert [p.pool for p in (await w.claim(sure)).placements] == ["dc-2"]
        assert await w.claim(plain) == stays
        assert isinstance((await w.claim(spot)).state, Displaced)
        assert await broken(w) == ()


async def test_who_waits_is_not_heard_of_in_a_repair() -> None:
    async with world() as w:
        await w.declare(fleet({"dc-1": 64, "dc-2": 64}))
        await w.ask(gang(32, 48, preferred_pools=("dc-1",), latest=w.slot + 3))
        await w.plan()
        waits = await w.ask(gang(8, 4))
        before = await w.claim(waits)
        assert isinstance(before.state, Waiting)
        await change(w, Outage(w.now, w.now + DAY))
        await repair(w)
        assert await w.claim(waits) == before
        record = await w.ledger.plan(None)
        assert record.repair
        assert record.bound_microusd >= record.objective_microusd
        assert not (await w.plan()).repair
        assert (await w.claim(waits)).placements


async def test_what_a_quote_kept_aside_is_let_go_first() -> None:
    async with world(at_once=True) as w:
        await w.declare(fleet({"dc-1": 64}))
        await w.plan()
        _, receipt = await w.desk.hold("atlas", "trial", gang(32, 4), w.key(), seconds=600)
        assert receipt is not None
        spot = await w.ask(gang(32, 4, tier=Tier.SPOT))
        await w.plan()
        stays = await w.claim(spot)
        assert stays.placements
        await change(w, Outage(w.now, w.now + DAY, devices=32))
        await repair(w)
        assert isinstance((await w.claim(ClaimName("atlas", "trial"))).state, Expired)
        assert await w.claim(spot) == stays


async def test_a_lease_ends_with_the_place_and_the_next_one_begins_with_the_new_place() -> None:
    async with world() as w:
        await w.declare(fleet({"dc-1": 64, "dc-2": 64}))
        lost = await w.ask(gang(64, 10, latest=w.slot + 2, preferred_pools=("dc-1",)))
        stays = await w.ask(gang(32, 10, latest=w.slot, forbidden_pools=("dc-1",)))
        await w.plan()
        leases = {name: await w.leasing.acquire(name, ttl_millis=0, key=w.key()) for name in (lost, stays)}
        await change(w, Outage(w.now, w.now + 2 * SLOT_SECONDS))
        await repair(w)
        claim = await w.claim(lost)
        assert isinstance(claim.state, Planned | Committed)
        with pytest.raises(Fault) as refused:
            await w.leasing.renew(lost, leases[lost].token, ttl_millis=0)
        assert refused.value.reason is FaultReason.LEASE_ENDED
        assert (await w.leasing.renew(stays, leases[stays].token, ttl_millis=0)).millis_left > 0
        w.now = claim.placements[0].window.first * SLOT_SECONDS
        await w.serve_for(70)
        again = await w.leasing.acquire(lost, ttl_millis=0, key=w.key())
        assert again.fence > leases[lost].fence
        assert [place.pool for place in again.usable] == [claim.placements[0].pool]
        assert await broken(w) == ()


async def test_nothing_to_repair_makes_no_plan() -> None:
    async with world() as w:
        await w.declare(fleet({"dc-1": 64}))
        await w.ask(gang(32, 48))
        await w.plan()
        await change(w, Outage(w.now, w.now + DAY, devices=32))
        revision = await w.ledger.revision()
        await repair(w)
        assert await w.ledger.revision() == revision


async def test_devices_that_others_replace_at_once_disturb_nobody() -> None:
    async with world() as w:
        await w.declare(fleet({"dc-1": 64}))
        name = await w.ask(gang(64, 48))
        await w.plan()
        held, at = await w.claim(name), w.now + 2 * SLOT_SECONDS
        swapped = pool("dc-1", 64, deliveries=(Delivery(64), Delivery(-8, at), Delivery(8, at)))
        await w.declare(fleet((swapped,)))
        await w.plan()
        assert await w.claim(name) == held


async def test_what_is_back_is_used_again() -> None:
    async with world() as w:
        await w.declare(fleet({"dc-1": 64}))
        name = await w.ask(gang(32, 10, latest=w.slot + 5))
        await w.plan()
        await change(w, Outage(w.now, w.now + 30 * DAY))
        await repair(w)
        assert isinstance((await w.claim(name)).state, Displaced)
        w.now += 3 * SLOT_SECONDS
        await change(w, Recovery(w.now))
        await w.plan()
        assert (await w.claim(name)).placements


class Slow:
    """A solver that takes its time over plans of everything, and none over repairs."""

    def __init__(self, w: World) -> None:
        self.w, self.kinds, self.stopped = w, list[str](), 0

    async def solve(
        self, problem: Problem, *, seconds: float, seed: int, hint: Plan | None, earlier: Earlier | None = None
    ) -> Solved:
        self.kinds.append("repair" if earlier is not None else "plan")
        try:
            if earlier is None:
                await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.stopped += 1
            raise
        return await self.w.solver.solve(problem, seconds=seconds, seed=seed, hint=hint, earlier=earlier)


async def test_a_plan_under_way_is_dropped_for_who_lost_his_place() -> None:
    async with world() as w:
        await w.declare(fleet({"dc-1": 64, "dc-2": 64}))
        name = await w.ask(gang(32, 48, preferred_pools=("dc-1",), latest=w.slot + 3))
        await w.plan()
        slow = Slow(w)
        w.planner.solver = slow
        run = asyncio.create_task(w.planner.run())
        try:
            await w.ledger.lead("test", ttl_millis=0)
            await w.ask(gang(8, 4))
            await until(lambda: slow.kinds == ["plan"])
            await change(w, Growth(w.now, 8), "dc-2")
            await change(w, Outage(w.now, w.now + DAY))
            await until(lambda: slow.kinds == ["plan", "plan"])
            assert slow.stopped == 1
            assert [p.pool for p in (await w.claim(name)).placements] == ["dc-2"]
        finally:
            run.cancel()
            await asyncio.gather(run, return_exceptions=True)


class Meanwhile:
    """A ledger in which something happens once, just after its events were read by whoever would plan for them."""

    def __init__(self, ledger: Any, happens: Callable[[], Awaitable[object]]) -> None:
        self._ledger, self._happens, self._happened = ledger, happens, False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._ledger, name)

    async def events(self, after: int, *, limit: int, wait_millis: int = 0) -> tuple[Event, ...]:
        found: tuple[Event, ...] = await self._ledger.events(after, limit=limit, wait_millis=wait_millis)
        if found and limit > 1_000 and not wait_millis and not self._happened:
            self._happened = True
            await self._happens()
        return found


async def test_what_is_lost_just_before_a_plan_begins_is_repaired_first() -> None:
    async with world() as w:
        await w.declare(fleet({"dc-1": 64, "dc-2": 64}))
        name = await w.ask(gang(32, 48, preferred_pools=("dc-1",), latest=w.slot + 3))
        await w.plan()
        slow = Slow(w)
        w.planner.solver = slow
        w.planner.ledger = Meanwhile(w.ledger, lambda: change(w, Outage(w.now, w.now + DAY)))
        await w.ledger.lead("test", ttl_millis=0)
        await w.ask(gang(8, 4))
        run = asyncio.create_task(w.planner.run())
        try:
            await until(lambda: slow.kinds == ["plan", "plan"])
            assert [p.pool for p in (await w.claim(name)).placements] == ["dc-2"]
        finally:
            run.cancel()
            await asyncio.gather(run, return_exceptions=True)


async def test_first_aid_needs_no_solver() -> None:
    """There is one refuge for two; making room for the other would take a solver."""
    async with world() as w:
        await w.declare(fleet({"dc-1": 64, "dc-2": 32}))
        tiers = (Tier.STANDARD, Tier.GUARANTEED)
        plain, sure = [
            await w.ask(gang(32, 24, tier=tier, latest=w.slot, preferred_pools=("dc-1",), value_microusd=10**12))
            for tier in tiers
        ]
        await w.plan()
        w.planner.solver = LostSolver()
        await change(w, Outage(w.now, w.now + DAY))
        await repair(w)
        assert [p.pool for p in (await w.claim(sure)).placements] == ["dc-2"]
        assert isinstance((await w.claim(plain)).state, Displaced)
        assert await broken(w) == ()


@pytest.mark.parametrize("latest", [0, 100], ids=["latest start is over", "latest start to come"])
async def test_first_aid_is_for_what_is_left_of_work_that_runs(latest: int) -> None:
    async with world() as w:
        await w.declare(fleet({"dc-1": 64, "dc-2": 64}))
        end = w.slot + 12
        name = await w.ask(
            gang(64, 10, preferred_pools=("dc-1",), earliest=w.slot, latest=w.slot + latest, deadline=end)
        )
        await w.plan()
        w.now += 3 * SLOT_SECONDS
        await w.plan()
        w.planner.solver = LostSolver()
        told = await change(w, Outage(w.now, w.now + DAY))
        (refuge,) = [loss.refuge for loss in told.touched]
        await repair(w)
        (there,) = (await w.claim(name)).placements
        assert refuge is not None
        assert (there.pool, there.window) == (refuge.pool, refuge.window) == ("dc-2", Window(w.slot, w.slot + 7))
        assert await broken(w) == ()


async def test_a_solver_that_lies_about_a_repair_is_not_believed() -> None:
    def tamper(problem: Problem, solved: Solved) -> Solved:
        stays = Plan(problem.requests.current_option, problem.requests.current_start)
        return replace(solved, plan=stays, objective=10**18)

    async with world() as w:
        await w.declare(fleet({"dc-1": 64}))
        name = await w.ask(gang(64, 10, latest=w.slot))
        await w.plan()
        await change(w, Outage(w.now, w.now + DAY))
        w.solver.tamper = tamper
        await repair(w)
        assert isinstance((await w.claim(name)).state, Displaced)
        assert await broken(w) == ()


async def test_what_was_kept_for_the_loss_of_a_pool_is_used_when_it_comes() -> None:
    async with world() as w:
        await w.declare(fleet({"dc-1": 64, "dc-2": 64}))
        name = await w.ask(gang(64, 10, tier=Tier.GUARANTEED, latest=w.slot, preferred_pools=("dc-1",)))
        await w.plan()
        await change(w, Outage(w.now, w.now + DAY))
        compiled = compile_problem(await w.ledger.snapshot(), Window(w.slot, w.slot + 48), Terms())
        kept = replace(compiled.problem, reserves=(Reserve(1, (0,), 0, compiled.problem.slots),))
        task = repair_of(unreserved(replace(compiled, problem=kept)), None, Terms())
        assert task is not None
        assert task.complete
        assert check(task.market, task.aid.plan).ok
        assert not check(kept, task.aid.plan).ok, "dc-1 could not hold it if dc-2 went as well"
        assert (await w.claim(name)).placements[0].pool == "dc-1"
