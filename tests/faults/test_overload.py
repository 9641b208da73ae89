"""Too much to do: everybody at once, everybody again, and watchers that never read."""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import signal
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import grpc
import pytest
from capacitybroker import Client
from capacitybroker.v1 import capacity_service_pb2 as capacity
from capacitybroker.v1.capacity_service_pb2_grpc import CapacityServiceStub
from capacitybroker.v1.fleet_service_pb2 import ApplyFleetRequest
from capacitybroker.v1.fleet_service_pb2_grpc import FleetServiceStub
from capacitybroker.v1.lease_service_pb2_grpc import LeaseServiceStub

from bench.answers import price_market
from bench.flood import OK, Flood, opened, prepared
from bench.herd import Herd
from bench.leases import leased
from bench.overload import Bench
from bench.served import READY_SECONDS, free_port, small_fleet
from broker.app import open_market, run_server
from broker.ledger.redis.embedded import EmbeddedStore
from broker.processes import Children
from broker.settings import ServeSettings
from broker.transport.guard import Guard
from broker.transport.server import Server
from tests.faults.catalogue import fault
from tests.transport.calls import create, fleet
from tests.world import World, world

HOLDERS = 300


class Served:
    """A server process and its store."""

    def __init__(self, directory: Path, address: str) -> None:
        self.directory = directory
        self.settings = ServeSettings(listen=address, data_dir=directory / "data")
        self.store = EmbeddedStore.start(directory / "data")
        asyncio.run(open_market(self.settings, self.store.url, create=True))
        self.store.mark_used()
        self.children = Children()
        self.children.start("server", partial(run_server, self.settings, self.store.url))
        self.children.wait_ready(READY_SECONDS)
        with Client(address) as client:
            client.apply_fleet(small_fleet())
        asyncio.run(price_market(self.store.url))


@pytest.fixture
def served() -> Iterator[Served]:
    with tempfile.TemporaryDirectory() as directory, free_port() as port:
        made = Served(Path(directory), f"127.0.0.1:{port}")
        try:
            yield made
        finally:
            made.children.stop()
            made.store.stop()


async def closed(connections: list[Flood]) -> None:
    """They have ended."""
    for connection in connections:
        connection.close()
    await until(lambda: not any(connection.open for connection in connections))


async def until(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    """Polls until it is so."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - any condition will do
            await asyncio.sleep(0.01)


@fault(
    "F28",
    injected="store killed under 300 holders, who all renew in the same moment when it is back",
    expected="no lease lost, all renewed in half a ttl",
)
def test_everybody_renews_at_once(served: Served) -> None:
    async def story() -> Herd:
        leases = await leased(served.store.url, HOLDERS, 60_000)
        channels = [grpc.aio.insecure_channel(served.settings.listen, [("grpc.use_local_subchannel_pool", 1)])] * 10
        herd = Herd([LeaseServiceStub(channel) for channel in channels], leases, random.Random(1))
        os.kill(served.store.pid, signal.SIGKILL)
        await until(lambda: not served.store.alive)
        served.store = EmbeddedStore.start(served.directory / "data")
        async with asyncio.timeout(30):
            await asyncio.gather(*(herd.renew(n) for n in range(HOLDERS)))
        await channels[0].close()
        return herd

    assert asyncio.run(story()).lost == 0


@fault(
    "F29",
    injected="clients that send several times what the server can answer and heed no refusal, then half of it",
    expected="renewals go on; within 10 s of the storm nothing is refused",
)
def test_after_a_storm_all_is_as_before(served: Served) -> None:
    async def story() -> None:
        floods = await opened(served.settings.listen, 8)
        await until(lambda: all(flood.send(STATUS, "", lambda *_: None) for flood in floods))
        bench = Bench(floods, argparse.Namespace(seconds=2.0))
        giving_up = asyncio.create_task(bench.give_up())
        (lease,) = await leased(served.store.url, 1, 600_000)
        peak = (await bench.closed(32)).count(OK) / 2.0
        leave = asyncio.Event()
        renewals = asyncio.create_task(bench.renewals(lease, leave))
        await bench.load("atlas", 3 * peak, bench.callers("atlas", 50, polite=False)).run(3.0, bench.tag())
        leave.set()
        kept = await renewals
        assert kept.count(OK) == kept.count()
        async with asyncio.timeout(10 + 5):
            while True:
                after = bench.load("atlas", peak / 4, bench.callers("atlas", 50, polite=True))
                await after.run(0.5, bench.tag())
                if after.said.count() and after.said.count() == after.said.count(OK):
                    break
        giving_up.cancel()
        await asyncio.gather(giving_up, return_exceptions=True)
        await closed(floods)

    asyncio.run(story())


@asynccontextmanager
async def listening(w: World, guard: Guard) -> AsyncIterator[tuple[str, grpc.aio.Channel]]:
    """A server over a market."""
    server = Server(w.desk, w.leasing, w.feed, guard)
    address = f"127.0.0.1:{await server.start('127.0.0.1:0')}"
    try:
        async with grpc.aio.insecure_channel(address) as channel:
            yield address, channel
    finally:
        await server.stop(0)  # gRPC would wait at the end of the process for a server that was left


STATUS = prepared("/grpc.health.v1.Health/Check", b"", seconds=5)


@fault(
    "F30",
    injected="20 watchers whose connections take nothing of any message, beside one that reads",
    expected="the reader is told everything; the others lose their places, and nothing is kept for them",
)
async def test_watchers_that_never_read_are_ended_and_others_do_not_notice() -> None:
    guard = Guard(unread_seconds_max=0.3)
    async with world() as w, listening(w, guard) as (address, channel):
        await FleetServiceStub(channel).ApplyFleet(ApplyFleetRequest(fleet=fleet(), request_id="fleet"))
        dead = await opened(address, 2, reads=False)
        body = capacity.WatchClaimsRequest(parent="tenants/-").SerializeToString()
        watch = prepared("/capacitybroker.v1.CapacityService/WatchClaims", body, seconds=60)
        for n in range(20):
            assert dead[n % 2].send(watch, "", lambda *_: None)
        stub, start = CapacityServiceStub(channel), await w.ledger.revision() + 1
        reading = stub.WatchClaims(capacity.WatchClaimsRequest(parent="tenants/-", start_revision=start))
        told: list[int] = []

        async def read() -> None:
            async for message in reading:
                told.extend(claim.revision for claim in message.claims)

        reader = asyncio.create_task(read())
        made = [(await stub.CreateClaim(create())).claim.revision for _ in range(40)]
        await until(lambda: told == made)
        await until(lambda: guard.tally.calls.get(("WatchClaims", "CANCELLED")) == 20)
        assert w.feed.watches == 1
        assert reader.cancelled() is reader.done() is False
        reader.cancel()
        await closed(dead)
