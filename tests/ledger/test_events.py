"""Everything that happens can be watched: in order, without gap, from any revision that is still kept."""

import asyncio

import pytest

from broker.domain.claim import Cancelled, Planned
from broker.domain.faults import Fault, FaultReason
from broker.domain.snapshot import EventKind
from broker.ledger.fold import fold, violations
from broker.ledger.port import Ledger
from tests.builders import claim, fleet, key, placement, plan
from tests.ledger.ledgers import Desk


async def test_each_kind_of_change_is_an_event(ledger: Ledger, desk: Desk) -> None:
    await desk.open_pools({"dc-1": 64})
    one = await desk.submit("atlas/run-1")
    two = (await ledger.amend(one, key=desk.key(), at=2)).claim
    asked = desk.key()
    assert await ledger.ask_plan(key=asked, at=3, time_limit_seconds=30) == 4
    assert await ledger.ask_plan(key=asked, at=3, time_limit_seconds=30) == 4
    record = plan(based_on_revision=4, reasons={"OUTBID": 1})
    await ledger.commit([two.becomes(Planned((placement(),)), at=4)], record, fence=await desk.lead(), at=4)
    placed = await ledger.claim(one.name)
    closed = (await ledger.cancel(placed.becomes(Cancelled(), at=5), key=desk.key(), at=5)).claim
    events = await ledger.events(0, limit=100)
    assert [(event.revision, event.kind, event.at) for event in events] == [
        (1, EventKind.FLEET_APPLIED, 0),
        (2, EventKind.SUBMITTED, 0),
        (3, EventKind.AMENDED, 2),
        (4, EventKind.PLAN_ASKED, 3),
        (5, EventKind.PLANNED, 4),
        (6, EventKind.CANCELLED, 5),
    ]
    assert events[0].fleet == fleet({"dc-1": 64})
    assert [event.claims for event in events[1:3]] == [(one,), (two,)]
    assert events[3].time_limit_seconds == 30
    assert (events[4].claims, events[4].plan) == ((placed,), await ledger.plan(5))
    assert events[5].claims == (closed,)
    assert violations(events) == ()
    assert fold(events).claims == {closed.name: closed}


async def test_events_are_read_in_portions(ledger: Ledger, desk: Desk) -> None:
    for i in range(7):
        await desk.submit(f"atlas/run-{i}")
    assert [event.revision for event in await ledger.events(0, limit=3)] == [1, 2, 3]
    assert [event.revision for event in await ledger.events(3, limit=100)] == [4, 5, 6, 7]
    assert await ledger.events(7, limit=3) == ()


async def test_nobody_can_have_seen_the_future(ledger: Ledger) -> None:
    with pytest.raises(Fault) as refused:
        await ledger.events(1, limit=3)
    assert refused.value.reason is FaultReason.REVISION_AHEAD


async def test_a_reader_waits_for_the_next_event(ledger: Ledger) -> None:
    readers = [asyncio.create_task(ledger.events(0, limit=10, wait_millis=10_000)) for _ in range(3)]
    await asyncio.sleep(0)
    stored = (await ledger.submit(claim(), key=key("r1"), at=0)).claim
    for reader in readers:
        assert [event.claims for event in await reader] == [(stored,)]


async def test_waiting_ends(ledger: Ledger) -> None:
    assert await ledger.events(0, limit=10, wait_millis=20) == ()


async def test_a_reader_that_is_cut_off_disturbs_nobody(ledger: Ledger, desk: Desk) -> None:
    reader = asyncio.create_task(ledger.events(0, limit=10, wait_millis=10_000))
    await asyncio.sleep(0)
    reader.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reader
    await desk.submit("atlas/run-1")
    assert len(await ledger.events(0, limit=10, wait_millis=10_000)) == 1
