"""A plan is put into force whole, by the planner that rules, and never beyond what there is."""

import asyncio
from dataclasses import replace

import pytest

from broker.domain.claim import Committed, Ended, Expired, Planned, Waiting
from broker.domain.faults import Fault, FaultReason
from broker.domain.fleet import Delivery
from broker.domain.slots import Window
from broker.ledger.port import Commit, Fence, Ledger
from tests.builders import AWAITING_PLAN, claim, fleet, placement, plan, pool
from tests.ledger.ledgers import Desk, FakeClock, granted


async def test_a_plan_places_claims_in_one_revision(ledger: Ledger, desk: Desk) -> None:
    await desk.open_pools({"dc-1": 16})
    one, two = await desk.submit("atlas/run-1"), await desk.submit("borealis/run-1")
    rows = [one.becomes(Planned((placement(),)), at=9), two.becomes(Committed((placement(),)), at=9)]
    commit = await ledger.commit(rows, plan(based_on_revision=3, placed=2), fence=await desk.lead(), at=9)
    assert (commit.revision, commit.skipped) == (4, ())
    snapshot = await ledger.snapshot()
    assert snapshot.claims == tuple(replace(row, revision=4, replaced=row.revision) for row in rows)
    assert await granted(ledger) == (16, 16, 16, 16, 0, 0)
    assert await granted(ledger, "tenants/atlas") == (8, 8, 8, 8, 0, 0)


async def test_a_plan_may_fill_a_pool_and_not_overfill_it(ledger: Ledger, desk: Desk) -> None:
    await desk.open_pools({"dc-1": 16})
    stored = [await desk.submit(f"atlas/run-{i}") for i in range(3)]
    fence = await desk.lead()
    rows = [each.becomes(Planned((placement(),)), at=0) for each in stored]
    with pytest.raises(Fault) as refused:
        await ledger.commit([stored[0].becomes(Planned((placement(devices=24),)), at=0)], plan(), fence=fence, at=0)
    assert refused.value.reason is FaultReason.OVERCOMMIT
    assert refused.value.facts == {"account": "pools/dc-1", "first_slot": "0", "excess_devices": "8"}
    assert await ledger.revision() == 4
    assert await granted(ledger) == (0,) * 6
    commit = await ledger.commit(rows, plan(), fence=fence, at=0)
    assert (commit.revision, commit.skipped) == (5, (stored[2].name,))
    assert await granted(ledger) == (16, 16, 16, 16, 0, 0)


async def test_back_to_back_placements_share_devices(ledger: Ledger, desk: Desk) -> None:
    await desk.open_pools({"dc-1": 8})
    await desk.place(await desk.submit("atlas/run-1"), placement(first=0, end=3))
    await desk.place(await desk.submit("atlas/run-2"), placement(first=3, end=6))
    assert await granted(ledger) == (8,) * 6


async def test_two_claims_swap_places_in_one_plan(ledger: Ledger, desk: Desk) -> None:
    await desk.open_pools({"dc-1": 8, "dc-2": 8})
    one = await desk.place(await desk.submit("atlas/run-1"), placement("dc-1"))
    two = await desk.place(await desk.submit("atlas/run-2"), placement("dc-2"))
    rows = [one.becomes(Planned((placement("dc-2"),)), at=0), two.becomes(Planned((placement("dc-1"),)), at=0)]
    assert (await ledger.commit(rows, plan(), fence=await desk.lead(), at=0)).skipped == ()


async def test_a_quota_bounds_a_tenant_over_all_pools(ledger: Ledger, desk: Desk) -> None:
    await desk.open_pools({"dc-1": 64, "dc-2": 64}, {"atlas": 12, "borealis": None})
    await desk.place(await desk.submit("atlas/run-1"), placement("dc-1"))
    with pytest.raises(Fault) as refused:
        await desk.place(await desk.submit("atlas/run-2"), placement("dc-2"))
    assert refused.value.facts["account"] == "tenants/atlas"
    await desk.place(await desk.submit("borealis/run-1"), placement("dc-2", devices=64))


async def test_supply_that_steps_is_met_slot_by_slot(ledger: Ledger, desk: Desk) -> None:
    late = pool(deliveries=(Delivery(8), Delivery(8, at=2 * 3600)))
    await ledger.apply_fleet(fleet((late,)), key=desk.key(), at=0)
    stored = await desk.submit("atlas/run-1")
    with pytest.raises(Fault) as refused:
        await desk.place(stored, placement(devices=16, first=1, end=4))
    assert refused.value.facts["first_slot"] == "1"
    await desk.place(stored, placement(devices=16, first=2, end=4))


async def test_hours_gone_by_are_counted_and_not_refused(ledger: Ledger, desk: Desk) -> None:
    await desk.open_pools({"dc-1": 4})
    stored = await desk.submit("atlas/run-1")
    late = stored.becomes(Ended((placement(devices=8, first=0, end=2),)), at=2 * 3600)
    with pytest.raises(Fault) as refused:
        await ledger.commit([late], plan(), fence=await desk.lead(), at=3600)
    assert refused.value.facts["first_slot"] == "1"
    await ledger.commit([late], plan(), fence=await desk.lead(), at=2 * 3600)
    assert await granted(ledger) == (8, 8, 0, 0, 0, 0)


async def test_an_unknown_pool_lends_nothing(ledger: Ledger, desk: Desk) -> None:
    await desk.open_pools()
    with pytest.raises(Fault) as refused:
        await desk.place(await desk.submit("atlas/run-1"), placement("nowhere", devices=1))
    assert refused.value.reason is FaultReason.OVERCOMMIT


async def test_claims_that_changed_meanwhile_are_skipped(ledger: Ledger, desk: Desk) -> None:
    await desk.open_pools()
    kept, changed = await desk.submit("atlas/run-1"), await desk.submit("atlas/run-2")
    await ledger.amend(changed, key=desk.key(), at=0)
    unknown = claim("atlas/run-9", revision=1)
    rows = [each.becomes(Planned((placement(),)), at=0) for each in (changed, kept, unknown)]
    commit = await ledger.commit(rows, plan(), fence=await desk.lead(), at=0)
    assert commit.skipped == (changed.name, unknown.name)
    assert await granted(ledger) == (8, 8, 8, 8, 0, 0)
    assert (await ledger.plan(None)).skipped == 2


async def test_skipping_is_settled_before_room_is_counted(ledger: Ledger, desk: Desk) -> None:
    await desk.open_pools({"dc-1": 8})
    holder = await desk.place(await desk.submit("atlas/run-1"), placement())
    waiting = await desk.submit("atlas/run-2")
    await ledger.amend(holder, key=desk.key(), at=0)  # so the plan's idea of moving it away is stale
    rows = [
        holder.becomes(Waiting((AWAITING_PLAN,)), at=0),
        waiting.becomes(Planned((placement(),)), at=0),
    ]
    with pytest.raises(Fault) as refused:
        await ledger.commit(rows, plan(), fence=await desk.lead(), at=0)
    assert refused.value.reason is FaultReason.OVERCOMMIT


async def test_who_finds_his_room_taken_is_skipped_and_the_rest_of_the_plan_stands(ledger: Ledger, desk: Desk) -> None:
    await desk.open_pools({"dc-1": 24, "dc-2": 8})
    mover = await desk.place(await desk.submit("atlas/mover"), placement("dc-1"))
    first, second, third = [await desk.submit(f"atlas/run-{n}") for n in range(3)]
    quick = claim("borealis/quick")
    took = quick.becomes(Planned((placement("dc-1", 12),)), at=0)
    await ledger.submit(quick, key=desk.key(scope="borealis"), at=0, candidates=[took])
    rows = [
        first.becomes(Planned((placement("dc-1", 16),)), at=0),
        second.becomes(Planned((placement("dc-1", 12),)), at=0),
        mover.becomes(Planned((placement("dc-2"),)), at=0),
        third.becomes(Planned((placement("dc-1", 1),)), at=0),
    ]
    commit = await ledger.commit(rows, plan(), fence=await desk.lead(), at=0)
    assert commit.skipped == (first.name, third.name)
    assert await granted(ledger, "pools/dc-1", end=1) == (24,)
    assert await granted(ledger, "pools/dc-2", end=1) == (8,)
    (event,) = await ledger.events(commit.revision - 1, limit=1)
    assert [changed.name for changed in event.claims] == [second.name, mover.name]


async def test_who_only_ran_before_is_skipped_like_any_other_who_finds_his_room_taken(
    ledger: Ledger, desk: Desk
) -> None:
    """What a claim had until it gave way keeps no room."""
    await desk.open_pools({"dc-1": 8})
    run = placement(end=2, left_ppm=500_000)
    gave_way = await desk.place(await desk.submit("atlas/run-1"), run)
    waits = replace(gave_way.becomes(Waiting((AWAITING_PLAN,)), at=2 * 3600), ran=(run,))
    fence = await desk.lead()
    await ledger.commit([waits], plan(), fence=fence, at=2 * 3600)
    waits, other = await ledger.claim(waits.name), await desk.submit("atlas/run-2")
    await desk.place(await desk.submit("borealis/run-1"), placement(first=3, end=4))
    rows = [
        waits.becomes(Planned((placement(first=3, end=5),)), at=0),
        other.becomes(Planned((placement(first=4, end=6),)), at=0),
    ]
    assert (await ledger.commit(rows, plan(), fence=fence, at=2 * 3600)).skipped == (waits.name,)
    assert await granted(ledger) == (8, 8, 0, 8, 8, 8)
    again = waits.becomes(Planned((placement(first=6, end=8),)), at=0)
    assert (await ledger.commit([again], plan(), fence=fence, at=2 * 3600)).skipped == ()
    assert await granted(ledger, end=8) == (8, 8, 0, 8, 8, 8, 8, 8)


async def test_a_claim_can_expire_by_a_plan(ledger: Ledger, desk: Desk) -> None:
    stored = await desk.submit("atlas/run-1")
    await ledger.commit([stored.becomes(Expired((AWAITING_PLAN,)), at=0)], plan(), fence=await desk.lead(), at=0)
    assert (await ledger.snapshot()).claims == ()
    page = await ledger.claims(tenant="atlas", after=None, limit=10)
    assert isinstance(page.claims[0].state, Expired)


async def test_a_claim_may_not_be_named_twice(ledger: Ledger, desk: Desk) -> None:
    stored = await desk.submit("atlas/run-1")
    with pytest.raises(ValueError, match="twice"):
        await ledger.commit([stored, stored], plan(), fence=await desk.lead(), at=0)


@pytest.mark.parametrize(
    ("devices", "end", "reason"),
    [
        (0, 4, FaultReason.QUANTITY_OUT_OF_RANGE),
        (2**31, 4, FaultReason.QUANTITY_OUT_OF_RANGE),
        (1, 90_000, FaultReason.DURATION_OUT_OF_RANGE),
    ],
)
async def test_holds_that_cannot_be_booked_are_refused(
    ledger: Ledger, desk: Desk, devices: int, end: int, reason: FaultReason
) -> None:
    stored = await desk.submit("atlas/run-1")
    with pytest.raises(Fault) as refused:
        await desk.place(stored, placement(devices=devices, end=end))
    assert refused.value.reason is reason


async def test_an_unlimited_account_still_counts_right(ledger: Ledger, desk: Desk) -> None:
    most = 2**31 - 1
    await desk.open_pools({"dc-1": 2**40, "dc-2": 2**40})
    await desk.place(await desk.submit("atlas/run-1"), placement("dc-1", devices=most))
    assert await granted(ledger, end=1) == (most,)
    with pytest.raises(Fault) as refused:
        await desk.place(await desk.submit("atlas/run-2"), placement("dc-2", devices=1))
    assert refused.value.facts["account"] == "tenants/atlas"


async def test_one_planner_leads_at_a_time(ledger: Ledger) -> None:
    first = await ledger.lead("planner-1", ttl_millis=60_000)
    assert first == Fence("first", 1)
    assert await ledger.lead("planner-2", ttl_millis=60_000) is None
    assert await ledger.lead("planner-1", ttl_millis=60_000) == first


async def test_a_deposed_planner_is_fenced(ledger: Ledger, desk: Desk) -> None:
    stored = await desk.submit("atlas/run-1")
    old = await ledger.lead("planner-1", ttl_millis=0)
    new = await ledger.lead("planner-2", ttl_millis=60_000)
    assert old is not None
    assert new == Fence("first", 2)
    for stale in (old, Fence("second", 2), Fence("first", 3)):
        with pytest.raises(Fault) as refused:
            await ledger.commit([stored], plan(), fence=stale, at=0)
        assert refused.value.reason is FaultReason.FENCED
    assert await ledger.revision() == 1
    await ledger.commit([stored], plan(), fence=new, at=0)


async def test_nobody_commits_before_somebody_leads(ledger: Ledger) -> None:
    with pytest.raises(Fault) as refused:
        await ledger.commit([], plan(), fence=Fence("first", 1), at=0)
    assert refused.value.reason is FaultReason.FENCED


async def test_the_last_hundred_plans_are_kept(ledger: Ledger, desk: Desk) -> None:
    with pytest.raises(Fault) as refused:
        await ledger.plan(None)
    assert refused.value.reason is FaultReason.PLAN_NOT_FOUND
    fence = await desk.lead()
    for i in range(102):
        await ledger.commit([], plan(objective_microusd=2**63 - 1 - i), fence=fence, at=0)
    assert await ledger.plan(None) == plan(objective_microusd=2**63 - 102, revision=102)
    assert await ledger.plan(3) == plan(objective_microusd=2**63 - 3, revision=3)
    for missing in (2, 103):
        with pytest.raises(Fault) as refused:
            await ledger.plan(missing)
        assert refused.value.reason is FaultReason.PLAN_NOT_FOUND


async def test_racing_plans_never_overfill(ledger: Ledger, desk: Desk) -> None:
    await desk.open_pools({"dc-1": 24})
    stored = [await desk.submit(f"atlas/run-{i}") for i in range(10)]
    fence = await desk.lead()

    async def one(i: int) -> Commit:
        return await ledger.commit([stored[i].becomes(Planned((placement(),)), at=0)], plan(), fence=fence, at=0)

    outcomes = await asyncio.gather(*map(one, range(10)), return_exceptions=True)
    assert sum(isinstance(outcome, Commit) for outcome in outcomes) == 3
    assert {outcome.reason for outcome in outcomes if isinstance(outcome, Fault)} == {FaultReason.OVERCOMMIT}
    assert await granted(ledger) == (24, 24, 24, 24, 0, 0)


async def test_a_large_plan_is_one_revision(ledger: Ledger, desk: Desk) -> None:
    await desk.open_pools({"dc-1": 10_000})
    stored = await asyncio.gather(*(desk.submit(f"atlas/run-{i:04}") for i in range(2_500)))
    rows = [each.becomes(Planned((placement(devices=4),)), at=0) for each in stored]
    revision = (await ledger.commit(rows, plan(), fence=await desk.lead(), at=0)).revision
    snapshot = await ledger.snapshot()
    assert len(snapshot.claims) == 2_500
    assert {each.revision for each in snapshot.claims} == {revision}
    assert await granted(ledger) == (10_000, 10_000, 10_000, 10_000, 0, 0)
    assert len((await ledger.events(revision - 1, limit=10))[0].claims) == 2_500


async def test_an_empty_market_balances(ledger: Ledger) -> None:
    assert await ledger.balances(Window(0, 4)) == (0, ())


def test_the_fake_clock_passes_only_when_told() -> None:
    assert FakeClock()() == 0.0
