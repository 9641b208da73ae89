"""The store is killed under load: what was acknowledged is there, what was not happened once or not at all."""

from __future__ import annotations

import asyncio
from collections.abc import Sized
from functools import partial
from pathlib import Path

import pytest

from broker.domain.claim import Planned
from broker.domain.faults import Fault, FaultReason
from broker.ledger.fold import fold, violations
from broker.ledger.port import Ledger, Receipt
from broker.ledger.redis.embedded import EmbeddedStore
from tests.builders import claim, key, placement, plan
from tests.conftest import Eventually
from tests.ledger.ledgers import Desk, open_redis

ROUNDS = 3


async def submit_until_answered(ledger: Ledger, name: str, eventually: Eventually) -> Receipt:
    """Repeat one submit with the same request id until the store answers."""

    async def once() -> Receipt | None:
        try:
            return await ledger.submit(claim(name), key=key(name), at=0)
        except Fault as fault:
            if fault.reason is not FaultReason.STORE_UNAVAILABLE:
                raise
            return None

    return await eventually(once, within=20.0)


async def more_than(found: Sized, size: int) -> bool:
    """Whether it has grown beyond that."""
    return len(found) > size


async def test_what_was_acknowledged_survives_kill_9(tmp_path: Path, eventually: Eventually) -> None:
    store = EmbeddedStore.start(tmp_path / "store")
    ledger = await open_redis(store.url, "m")
    desk = Desk(ledger)
    await desk.open_pools({"dc-1": 100_000})
    fence = await desk.lead()
    acknowledged: dict[str, int] = {}

    async def client(number: int, turn: int) -> None:
        for i in range(60):
            name = f"atlas/run-{turn}-{number}-{i}"
            acknowledged[name] = (await submit_until_answered(ledger, name, eventually)).claim.revision

    async def planner() -> None:
        while True:
            try:
                claims = (await ledger.snapshot()).claims
                rows = [each.becomes(Planned((placement(),)), at=0) for each in claims if not each.placements]
                await ledger.commit(rows, plan(), fence=fence, at=0)
            except Fault as fault:
                assert fault.reason is FaultReason.STORE_UNAVAILABLE  # noqa: PT017 - a loop that may be refused
            await asyncio.sleep(0)

    planning = asyncio.create_task(planner())
    for turn in range(ROUNDS):
        clients = [asyncio.create_task(client(number, turn)) for number in range(8)]
        done = len(acknowledged)
        await eventually(partial(more_than, acknowledged, done + 50))
        store.kill()
        store = EmbeddedStore.start(tmp_path / "store")
        await asyncio.gather(*clients)
    planning.cancel()
    await asyncio.gather(planning, return_exceptions=True)

    with store:
        events = await ledger.events(0, limit=10_000)
        while more := await ledger.events(events[-1].revision, limit=10_000):
            events += more
        assert violations(events) == ()
        market, snapshot = fold(events), await ledger.snapshot()
        assert {found.name.key for found in snapshot.claims} == acknowledged.keys()
        assert market.claims == {found.name: found for found in snapshot.claims}
        first = {each.name.key: event.revision for event in reversed(events) for each in event.claims}
        assert first == acknowledged
        assert await ledger.lead("planner-1", ttl_millis=1) == fence
        await ledger.close()


def test_two_brokers_cannot_share_a_directory(tmp_path: Path) -> None:
    with EmbeddedStore.start(tmp_path) as store:
        assert store.alive
        with pytest.raises(Fault, match="another broker") as refused:
            EmbeddedStore.start(tmp_path, ready_seconds_max=0.05)
        assert refused.value.reason is FaultReason.SAFE_HALT
    assert not store.alive


def test_a_directory_is_fresh_until_a_market_was_made(tmp_path: Path) -> None:
    with EmbeddedStore.start(tmp_path) as store:
        assert store.fresh
        store.mark_used()
    with EmbeddedStore.start(tmp_path) as store:
        assert not store.fresh


async def test_a_long_path_gets_a_short_socket_and_keeps_it(tmp_path: Path) -> None:
    directory = tmp_path / ("d" * 120)
    with EmbeddedStore.start(directory) as store:
        url = store.url
        ledger = await open_redis(url, "m")
        await ledger.close()
        store.kill()
    with EmbeddedStore.start(directory) as store:
        assert store.url == url
        ledger = await open_redis(url, "m", create=False)
        await ledger.close()
