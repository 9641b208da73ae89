"""A watch tells every change once, in order, from any revision on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc
import pytest
from capacitybroker.v1 import capacity_service_pb2 as capacity
from capacitybroker.v1 import fleet_service_pb2 as service
from capacitybroker.v1 import planning_service_pb2 as planning

from broker.domain.faults import Fault, FaultReason
from broker.feed import FeedSettings
from tests import builders
from tests.transport.calls import claim, create, fleet, refusal
from tests.world import World, until, world

Change = tuple[int, str]


@asynccontextmanager
async def watching(served: World, start: int, parent: str = "tenants/-") -> AsyncIterator[list[Change]]:
    """Everything that a watch has told so far."""
    told: list[Change] = []
    call = served.capacity.WatchClaims(capacity.WatchClaimsRequest(parent=parent, start_revision=start))

    async def follow() -> None:
        async for message in call:
            told.extend((message.revision, c.name) for c in message.claims)

    task = asyncio.create_task(follow())
    try:
        yield told
    finally:
        call.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def history(served: World) -> list[Change]:
    events = await served.ledger.events(0, limit=10_000)
    return [(event.revision, str(c.name)) for event in events for c in event.claims]


async def test_it_resumes_at_every_revision_without_gap_or_duplicate(served: World) -> None:
    for n in range(6):
        await served.capacity.CreateClaim(create(claim(devices=8 + n)))
    await served.planning.RunPlan(planning.RunPlanRequest(request_id="p"))
    for start in range(1, await served.ledger.revision() + 2):
        async with watching(served, start) as told:
            await served.capacity.CreateClaim(create())
            expected = [change for change in await history(served) if change[0] >= start]
            await until(lambda: len(told) >= len(expected))  # noqa: B023 - used before the next round
            assert told[: len(expected)] == expected


async def test_it_tells_of_one_tenant_only(served: World) -> None:
    async with watching(served, 1, "tenants/borealis") as told:
        await served.capacity.CreateClaim(create())
        name = (await served.capacity.CreateClaim(create(parent="tenants/borealis"))).claim.name
        await until(lambda: told)
        assert {name for _, name in told} == {name}


async def test_it_says_how_far_it_is_when_nothing_happens(served: World) -> None:
    revision = await served.ledger.revision()
    call = served.capacity.WatchClaims(capacity.WatchClaimsRequest(parent="tenants/-", start_revision=revision + 1))
    async with asyncio.timeout(5):
        messages = [await anext(aiter(call)) for _ in range(3)]
    call.cancel()
    assert all(message.revision >= revision and not message.partial for message in messages)


async def test_what_others_do_is_progress_too(served: World) -> None:
    call = served.capacity.WatchClaims(capacity.WatchClaimsRequest(parent="tenants/borealis", start_revision=1))
    far = 0

    async def read() -> None:
        nonlocal far
        async for message in call:
            far = message.revision

    reading = asyncio.create_task(read())
    async with asyncio.timeout(5):
        while far < 50:
            await served.capacity.CreateClaim(create())
    call.cancel()
    await asyncio.gather(reading, return_exceptions=True)


async def test_a_large_revision_comes_in_bounded_messages(served: World) -> None:
    await asyncio.gather(*(served.capacity.CreateClaim(create()) for _ in range(450)))
    plan = (await served.planning.RunPlan(planning.RunPlanRequest(request_id="p"))).plan
    told: dict[int, list[tuple[int, bool]]] = {}
    async for message in served.capacity.WatchClaims(capacity.WatchClaimsRequest(parent="tenants/-", start_revision=1)):
        told.setdefault(message.revision, []).append((len(message.claims), message.partial))
        if message.revision >= int(plan.name.removeprefix("plans/")) and not message.partial:
            break
    # However many plans shared the work, all that changed is told, in messages of at most 200 claims.
    assert sum(count for messages in told.values() for count, _ in messages) >= 450
    for messages in told.values():
        assert max(count for count, _ in messages) <= 200
        assert [partial for _, partial in messages][-1] is False


async def test_a_slow_reader_is_cut_and_never_skipped() -> None:
    async with world(feed_settings=FeedSettings(backlog_events_max=3)) as w:
        await w.declare(builders.fleet())
        await until(lambda: w.feed.revision == 1)
        watch = w.feed.watch(0)
        seen: list[int] = []
        await anext(watch)
        reading = asyncio.ensure_future(anext(watch))
        await w.ask(builders.ask())
        seen.append((await reading).revision)
        for _ in range(10):
            await w.ask(builders.ask())
        await until(lambda: w.feed.revision == 12)

        async def read_on() -> None:
            async for changes in watch:
                seen.append(changes.revision)  # noqa: PERF401 - what came before the cut counts

        with pytest.raises(Fault) as cut:
            await read_on()
        assert cut.value.reason is FaultReason.WATCH_TOO_SLOW
        assert seen == [2, 3, 4, 5]


async def test_watches_are_limited() -> None:
    async with world(serve=True, feed_settings=FeedSettings(watchers_max=1, progress_seconds=0.05)) as w:
        await w.fleet.ApplyFleet(service.ApplyFleetRequest(fleet=fleet(), request_id="f"))
        first = w.capacity.WatchClaims(capacity.WatchClaimsRequest(parent="tenants/-"))
        await anext(aiter(first))
        await anext(aiter(first))
        second = w.capacity.WatchClaims(capacity.WatchClaimsRequest(parent="tenants/-"))
        refused = await refusal(anext(aiter(second)))
        assert refused[:2] == (grpc.StatusCode.RESOURCE_EXHAUSTED, "WATCH_LIMIT")
        first.cancel()


async def test_trimmed_history_is_told_not_skipped() -> None:
    async with world(log_events_max=5) as w:
        await w.declare(builders.fleet())
        for _ in range(10):
            await w.ask(builders.ask())
        watch = w.feed.watch(2)
        with pytest.raises(Fault) as trimmed:
            await anext(watch)
        assert trimmed.value.reason is FaultReason.COMPACTED
        assert trimmed.value.facts["oldest_revision"] == "7"
