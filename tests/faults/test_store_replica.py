"""The store is replaced by one that lacks something: nobody who knows better believes it."""

from __future__ import annotations

import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from redis.asyncio import Redis

from broker.domain.claim import Active
from broker.domain.faults import Fault, FaultReason
from broker.ledger.redis.copying import accept
from broker.ledger.redis.embedded import EmbeddedStore
from broker.ledger.redis.link import Link, StoreSettings
from broker.witness import Witness
from tests.builders import claim, key, placement, plan
from tests.conftest import Eventually
from tests.faults.catalogue import fault
from tests.faults.load import market_of
from tests.faults.toxic import Toxic, toxic
from tests.ledger.ledgers import Desk, open_redis

HALF_MINUTE = 30.0


@asynccontextmanager
async def _pair(tmp_path: Path) -> AsyncIterator[tuple[EmbeddedStore, EmbeddedStore, Toxic]]:
    """A primary, a replica of it, and a line to the primary that can be led to the replica."""
    with EmbeddedStore.start(tmp_path / "a") as primary, EmbeddedStore.start(tmp_path / "b") as standby:
        async with toxic(primary.url) as line:
            yield primary, standby, line


async def _follow(primary: EmbeddedStore, standby: EmbeddedStore, eventually: Eventually) -> None:
    """The standby has all that the primary has, and then no longer hears of it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    one, two = Redis.from_url(primary.url), Redis.from_url(standby.url)
    await one.config_set("port", port)
    await two.replicaof("127.0.0.1", port)

    async def followed() -> bool:
        told = await two.info("replication")
        ours = await one.info("replication")
        return bool(told["master_link_status"] == "up" and told["slave_repl_offset"] == ours["master_repl_offset"])

    await eventually(followed, within=HALF_MINUTE)
    await two.replicaof("NO", "ONE")
    await one.aclose()
    await two.aclose()


@fault(
    "F6",
    injected="failover to a replica that lacks the last changes",
    expected="SAFE_HALT within 2 s for every process, also those that start later; accepted: another incarnation, "
    "no new leases while unknown ones may live",
)
async def test_failover_to_a_stale_replica_halts(tmp_path: Path, eventually: Eventually) -> None:
    async with _pair(tmp_path) as (primary, standby, line):
        ledger, load = await market_of(line.url)
        first = await load.once("atlas/run-1")
        await load.once("atlas/run-2")
        await _follow(primary, standby, eventually)
        await load.once("atlas/run-3")
        primary.kill()
        line.target = standby.url.removeprefix("unix://")
        line.cut()
        start = time.monotonic()
        with pytest.raises(Fault) as refused:
            await load.once("atlas/run-4")
        assert refused.value.reason is FaultReason.SAFE_HALT
        assert time.monotonic() - start <= 2.0
        with pytest.raises(Fault, match="is now at") as refused:  # one that never saw what is lost
            await open_redis(line.url, "m")
        assert refused.value.reason is FaultReason.SAFE_HALT

        link = Link(standby.url, market="m", settings=StoreSettings())
        await accept(link, incarnation="second", recovery_millis=60_000)
        await link.close()
        again = await open_redis(line.url, "m", lease_clock=lambda: 10**12)
        assert (await again.snapshot()).incarnation == "second"
        active = replace(first, state=Active((placement(),)))
        with pytest.raises(Fault) as refused:
            await again.acquire(active, key=key("lease"), at=0, ttl_millis=9_000, margin_millis=0)
        assert refused.value.reason is FaultReason.LEASE_HANDOVER
        with pytest.raises(Fault) as refused:
            await ledger.revision()  # whoever knew the first stays away
        assert refused.value.reason is FaultReason.SAFE_HALT
        await again.close()
        await ledger.close()


@fault(
    "F7",
    injected="split brain: the old primary comes back, with changes of its own, after the replica was accepted",
    expected="nobody who saw the new incarnation believes it; its planner's fence is refused",
)
async def test_split_brain_is_refused(tmp_path: Path, eventually: Eventually) -> None:
    async with _pair(tmp_path) as (primary, standby, line):
        old, load = await market_of(primary.url)
        fence = await Desk(old).lead()
        stored = await load.once("atlas/run-1")
        await _follow(primary, standby, eventually)
        link = Link(standby.url, market="m", settings=StoreSettings())
        await accept(link, incarnation="second", recovery_millis=0)
        await link.close()
        line.target = standby.url.removeprefix("unix://")
        new = await open_redis(line.url, "m")
        with pytest.raises(Fault) as refused:
            await new.commit([stored], plan(), fence=fence, at=0)
        assert refused.value.reason is FaultReason.FENCED
        await load.once("atlas/run-2")  # the old side does not know better
        line.target = primary.url.removeprefix("unix://")
        line.cut()

        async def halted() -> bool:
            try:
                await new.submit(claim("atlas/run-3"), key=key("r3"), at=0)
            except Fault as found:
                return found.reason is FaultReason.SAFE_HALT
            return False

        await eventually(halted)
        witness = Witness(tmp_path, "m")
        witness.note("second", 1)
        with pytest.raises(Fault):
            witness.check("first", 99)
        await new.close()
        await old.close()
