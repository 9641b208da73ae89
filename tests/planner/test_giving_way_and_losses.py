"""Giving way where pools are lost, guaranteed work is insured, and racks are told apart."""

from __future__ import annotations

from dataclasses import replace

import pytest

from broker.domain.claim import ClaimName, Displaced, DomainSpan, Tier
from broker.domain.fleet import Delivery, Pool, PoolKind
from broker.domain.insurance import Insurance, LossKind
from broker.domain.preemption import WHOLE, preemptions
from broker.domain.reason import Reason
from broker.domain.slots import SLOT_SECONDS
from broker.optimiser.problem import Problem
from broker.optimiser.report import Solved
from tests.builders import fleet
from tests.planner.giving_way import broken, pass_hours, reasons, running, settled, spot, urgent
from tests.world import LostSolver, World, world

LENGTH = 24


async def repair(w: World) -> None:
    fence = await w.ledger.lead("test", ttl_millis=60_000)
    assert fence is not None
    await w.planner.repair(fence)


async def told_in_dc_1(w: World, **fields: int) -> ClaimName:
    """A spot claim that has run in the only large pool for five hours, and has just been told to give way."""
    await w.declare(fleet({"dc-1": 64, "dc-2": 8}))
    (long,) = await running(w, spot(64, LENGTH, notice=6, **fields), hours=5)
    await w.ask(urgent(64, 4, by=w.slot + 14))
    await settled(w)
    assert preemptions(await w.claim(long)) == 1
    return long


@pytest.mark.parametrize("repaired", [True, False])
@pytest.mark.parametrize("checkpoint", [1, 2, 0])
async def test_who_gives_way_and_loses_its_pool_goes_on_elsewhere_with_all_that_is_left(
    repaired: bool, checkpoint: int
) -> None:
    async with world() as w:
        long = await told_in_dc_1(w, checkpoint=checkpoint)
        w.now += 2 * SLOT_SECONDS
        await w.declare(fleet({"dc-1": 8, "dc-2": 64}))
        if repaired:
            solver, w.planner.solver = w.planner.solver, LostSolver()  # there is room
            await repair(w)
            w.planner.solver = solver
        await w.plan()
        after = await w.claim(long)
        (ran,), (there,) = after.ran, after.placements
        saved = ran.window.slots // checkpoint * checkpoint if checkpoint else 0
        assert there.pool == "dc-2"
        assert there.window.slots == LENGTH - saved
        assert 0 <= ran.left_ppm - WHOLE * (LENGTH - saved) // LENGTH <= 2
        assert preemptions(after) == 1
        await settled(w)
        assert await broken(w) == ()


async def test_who_lost_its_pool_while_it_ran_is_not_told_where_it_runs_on() -> None:
    async with world() as w:
        await w.declare(fleet({"dc-1": 64, "dc-2": 8}))
        (long,) = await running(w, spot(64, LENGTH), hours=5)
        began = (await w.claim(long)).placements[0].window.first
        await w.declare(fleet({"dc-1": 8, "dc-2": 64}))
        await w.plan()
        (there,) = (await w.claim(long)).placements
        assert there.window.slots == LENGTH - (there.window.first - began), "it runs on for what is left of it"
        await pass_hours(w, 2)
        urgently = await w.ask(urgent(64, 4, by=w.slot + 8))
        await settled(w)
        assert (await w.claim(long)).placements[0].window == there.window
        assert not (await w.claim(urgently)).placements
        assert await broken(w) == ()


async def test_a_repair_tells_nobody_to_give_way_and_the_plan_that_follows_does() -> None:
    async with world() as w:
        await w.declare(fleet({"dc-1": 64, "dc-2": 64}))
        (long,) = await running(w, spot(64, LENGTH, forbidden_pools=("dc-2",)))
        standard = await w.ask(urgent(64, 6, by=w.slot + 9, preferred_pools=("dc-2",)))
        await w.plan()
        before, asked = await w.claim(long), list[Problem]()

        def note(problem: Problem, solved: Solved) -> Solved:
            asked.append(problem)
            return solved

        w.solver.tamper = note
        await w.declare(fleet({"dc-1": 64, "dc-2": 8}))
        await repair(w)
        (problem,) = asked
        row = problem.requests.ids.index(f"{long.key}#0")
        assert problem.options.first[row + 1] - problem.options.first[row] == 1, "it can only stay"
        assert await w.claim(long) == before
        assert isinstance((await w.claim(standard)).state, Displaced)
        await settled(w)
        assert reasons(await w.claim(long)) == [Reason.PREEMPTED]
        (place,) = (await w.claim(standard)).placements
        assert place.window.first == (await w.claim(long)).placements[0].window.end
        assert await broken(w) == ()


async def test_work_that_is_insured_takes_a_place_only_where_it_has_a_berth() -> None:
    async with world() as w:
        insurance = (Insurance("any", LossKind.ANY_ONE_POOL),)
        await w.declare(replace(fleet({"dc-1": 64, "dc-2": 64}), insurance=insurance))
        sure = await w.ask(urgent(64, 30, by=w.slot + 40, tier=Tier.GUARANTEED, preferred_pools=("dc-1",)))
        (long,) = await running(w, spot(64, LENGTH, forbidden_pools=("dc-1",)))
        second = await w.ask(urgent(64, 4, by=w.slot + 8, tier=Tier.GUARANTEED))
        await settled(w)
        assert (await w.claim(sure)).placements
        assert not (await w.claim(second)).placements, "there is no third pool to go to"
        assert reasons(await w.claim(long)) == []
        third = await w.ask(urgent(64, 4, by=w.slot + 8))
        await settled(w)
        assert (await w.claim(third)).placements
        assert reasons(await w.claim(long)) == [Reason.PREEMPTED]
        assert await broken(w) == ()


async def test_where_who_was_to_take_a_place_has_no_berth_others_take_it() -> None:
    async with world() as w:
        insurance = (Insurance("any", LossKind.ANY_ONE_POOL),)
        await w.declare(replace(fleet({"dc-1": 64, "dc-2": 64}), insurance=insurance))
        await w.ask(urgent(64, 30, by=w.slot + 40, tier=Tier.GUARANTEED, forbidden_pools=("dc-2",)))
        (long,) = await running(w, spot(64, LENGTH, forbidden_pools=("dc-1",)))
        sure = await w.ask(urgent(64, 4, by=w.slot + 8, tier=Tier.GUARANTEED))
        await settled(w)
        assert reasons(await w.claim(sure)) == [Reason.RESERVED]
        other = await w.ask(urgent(64, 4, by=w.slot + 8))
        await settled(w)
        assert reasons(await w.claim(long)) == [Reason.PREEMPTED]
        assert (await w.claim(other)).placements
        assert await broken(w) == ()


async def test_racks_stay_those_that_were_told_until_notice_is_over_and_are_somebody_elses_then() -> None:
    async with world() as w:
        cut = {"tray_devices": 4, "spare_trays": 2}
        await w.declare(fleet((Pool("r", PoolKind.INTERNAL, "b200", 72, (Delivery(72 * 4),), **cut),)))  # type: ignore[arg-type]
        (long,) = await running(w, spot(256, LENGTH, notice=2))
        racks = (await w.claim(long)).placements[0].domains
        assert racks == (DomainSpan(0, 4, 64),)
        rich = await w.ask(urgent(256, 4, by=w.slot + 8))
        await settled(w)
        assert reasons(await w.claim(long)) == [Reason.PREEMPTED]
        assert (await w.claim(long)).placements[0].domains == racks
        await pass_hours(w, 2)
        assert [run.domains for run in (await w.claim(long)).ran] == [racks]
        assert (await w.claim(rich)).placements[0].domains == racks
        assert await broken(w) == ()
