"""A live claim changes only from the version that its changer saw, and only ever gives capacity up."""

import asyncio
from dataclasses import replace

import pytest

from broker.domain.claim import Cancelled, Claim, Ended, Placement, Planned, Waiting
from broker.domain.faults import Fault, FaultReason
from broker.ledger.port import Ledger
from tests.builders import AWAITING_PLAN, ask, placement, plan
from tests.ledger.ledgers import Desk, granted


async def test_an_amended_claim_replaces_the_one_before(ledger: Ledger, desk: Desk) -> None:
    stored = await desk.submit("atlas/run-1")
    receipt = await ledger.amend(replace(stored, ask=ask(devices=16)), key=desk.key(), at=5)
    assert (receipt.claim.revision, receipt.claim.ask.devices) == (2, 16)
    assert await ledger.claim(stored.name) == receipt.claim


async def test_an_old_version_may_not_replace_a_new_one(ledger: Ledger, desk: Desk) -> None:
    stored = await desk.submit("atlas/run-1")
    await ledger.amend(stored, key=desk.key(), at=0)
    with pytest.raises(Fault) as refused:
        await ledger.amend(stored, key=desk.key(), at=0)
    assert refused.value.reason is FaultReason.CONTENDED
    assert refused.value.facts == {"held_revision": "1", "present_revision": "2"}


async def test_what_was_never_stored_cannot_be_amended(ledger: Ledger, desk: Desk) -> None:
    stored = await desk.submit("atlas/run-1")
    with pytest.raises(Fault) as refused:
        await ledger.amend(replace(stored, name=replace(stored.name, id="run-2")), key=desk.key(), at=0)
    assert refused.value.reason is FaultReason.CLAIM_NOT_FOUND


async def test_cancelling_gives_back_what_is_not_used(ledger: Ledger, desk: Desk) -> None:
    await desk.open_pools()
    placed = await desk.place(await desk.submit("atlas/run-1"), placement(devices=8, first=0, end=4))
    assert await granted(ledger) == (8, 8, 8, 8, 0, 0)
    used = placement(devices=8, first=0, end=1)
    receipt = await ledger.cancel(placed.becomes(Cancelled((used,)), at=3600), key=desk.key(), at=3600)
    assert await granted(ledger) == (8, 0, 0, 0, 0, 0)
    assert await granted(ledger, "tenants/atlas") == (8, 0, 0, 0, 0, 0)
    assert (await ledger.snapshot()).claims == ()
    assert await ledger.claim(placed.name) == receipt.claim


async def test_a_closed_claim_stays_closed(ledger: Ledger, desk: Desk) -> None:
    stored = await desk.submit("atlas/run-1")
    closed = (await ledger.cancel(stored.becomes(Cancelled(), at=0), key=desk.key(), at=0)).claim
    with pytest.raises(Fault) as refused:
        await ledger.amend(closed.becomes(Waiting((AWAITING_PLAN,)), at=0), key=desk.key(), at=0)
    assert refused.value.reason is FaultReason.CLAIM_CLOSED
    with pytest.raises(Fault) as refused:
        await desk.submit("atlas/run-1")
    assert refused.value.reason is FaultReason.CLAIM_EXISTS


@pytest.mark.parametrize(
    "wished",
    [
        placement(devices=9, first=0, end=4),
        placement(devices=8, first=0, end=5),
        placement(devices=8, first=1, end=5),
        placement(pool="dc-2", devices=1, first=0, end=1),
    ],
    ids=["more devices", "longer", "later", "elsewhere"],
)
async def test_an_amendment_gains_nothing(ledger: Ledger, desk: Desk, wished: Placement) -> None:
    await desk.open_pools({"dc-1": 64, "dc-2": 64})
    placed = await desk.place(await desk.submit("atlas/run-1"), placement(devices=8, first=0, end=4))
    before = await ledger.revision()
    with pytest.raises(Fault) as refused:
        await ledger.amend(replace(placed, state=Planned((wished,))), key=desk.key(), at=0)
    assert refused.value.reason is FaultReason.OVERCOMMIT
    assert await ledger.revision() == before
    assert await granted(ledger) == (8, 8, 8, 8, 0, 0)


async def test_an_amendment_may_keep_or_give_up_holds(ledger: Ledger, desk: Desk) -> None:
    await desk.open_pools()
    placed = await desk.place(await desk.submit("atlas/run-1"), placement(devices=8, first=0, end=4))
    parts = (placement(devices=3, first=1, end=3), placement(devices=2, first=2, end=4, part=1))
    await ledger.amend(placed.becomes(Planned(parts), at=0), key=desk.key(), at=0)
    assert await granted(ledger) == (0, 3, 5, 2, 0, 0)


@pytest.mark.parametrize("slots", [255, 256, 257, 600])
async def test_long_windows_are_booked_whole(ledger: Ledger, desk: Desk, slots: int) -> None:
    await desk.open_pools()
    await desk.place(await desk.submit("atlas/run-1"), placement(devices=8, first=250, end=250 + slots))
    levels = await granted(ledger, first=200, end=1000)
    assert levels == (0,) * 50 + (8,) * slots + (0,) * (750 - slots)


async def test_one_of_many_changes_at_once_wins(ledger: Ledger, desk: Desk) -> None:
    await desk.open_pools()
    placed = await desk.place(await desk.submit("atlas/run-1"), placement(devices=8, first=0, end=4))
    revision, fence = await ledger.revision(), await desk.lead()

    async def change(i: int) -> Claim | Fault:
        try:
            if i % 2:
                return (await ledger.amend(placed, key=desk.key(), at=0)).claim
            return (await ledger.cancel(placed.becomes(Cancelled(), at=0), key=desk.key(), at=0)).claim
        except Fault as fault:
            return fault

    moved = placed.becomes(Planned((placement(devices=8, first=2, end=6),)), at=0)
    commit, outcomes = await asyncio.gather(
        ledger.commit([moved], plan(), fence=fence, at=0), asyncio.gather(*(change(i) for i in range(8)))
    )
    won = [outcome for outcome in outcomes if isinstance(outcome, Claim)]
    assert len(won) + (not commit.skipped) == 1
    assert all(o.reason is FaultReason.CONTENDED for o in outcomes if isinstance(o, Fault))
    assert await ledger.revision() == revision + len(won) + 1


async def test_a_claim_ends_by_a_plan_and_keeps_what_it_used(ledger: Ledger, desk: Desk) -> None:
    await desk.open_pools()
    place = placement(devices=8, first=0, end=4)
    placed = await desk.place(await desk.submit("atlas/run-1"), place)
    await ledger.commit([placed.becomes(Ended((place,)), at=14400)], plan(), fence=await desk.lead(), at=14400)
    assert (await ledger.snapshot()).claims == ()
    assert await granted(ledger) == (8, 8, 8, 8, 0, 0)
    assert isinstance((await ledger.claim(placed.name)).state, Ended)


async def test_a_claim_knows_which_state_its_last_change_found_it_in(ledger: Ledger, desk: Desk) -> None:
    await desk.open_pools()
    stored = await desk.submit("atlas/run-1")
    assert (stored.replaced, stored.state_name_before) == (0, "")
    placed = await desk.place(stored, placement())
    assert (placed.replaced, placed.state_name_before) == (stored.revision, "WAITING")
    changed = replace(placed, ask=replace(placed.ask, labels={"a": "b"}))
    amended = (await ledger.amend(changed, key=desk.key(), at=0)).claim
    assert (amended.replaced, amended.state_name_before) == (placed.revision, "PLANNED")
    gone = await ledger.cancel(amended.becomes(Cancelled(), at=0), key=desk.key(), at=0)
    assert (gone.claim.replaced, gone.claim.state_name_before) == (amended.revision, "PLANNED")
    told = [event.claims[0].state_name_before for event in await ledger.events(1, limit=10)]
    assert told == ["", "WAITING", "PLANNED", "PLANNED"]
