"""Several listeners of one server: one address, one pulse for each, one tally, and all of them drain."""

from __future__ import annotations

from contextlib import AsyncExitStack

import grpc
import pytest
from capacitybroker.v1.capacity_service_pb2 import GetClaimRequest
from capacitybroker.v1.capacity_service_pb2_grpc import CapacityServiceStub

from broker.transport.guard import Guard
from broker.transport.server import Server
from tests.builders import fleet
from tests.transport.calls import create
from tests.world import world

CONNECTIONS = 48  # that all of them have the same listener of three is as likely as 1 in 10**22


async def test_each_connection_is_answered_by_the_same_market_whichever_listener_it_has() -> None:
    async with world() as w, AsyncExitStack() as open_:
        await w.declare(fleet())
        guard = Guard()
        server = Server(w.desk, w.leasing, w.feed, guard, listeners=3)
        address = f"127.0.0.1:{await server.start('127.0.0.1:0')}"
        own = [("grpc.use_local_subchannel_pool", 1)]
        channels = [
            await open_.enter_async_context(grpc.aio.insecure_channel(address, options=own)) for _ in range(CONNECTIONS)
        ]
        made = await CapacityServiceStub(channels[0]).CreateClaim(create(claim_id="one"))
        for channel in channels:
            found = await CapacityServiceStub(channel).GetClaim(GetClaimRequest(name=made.claim.name))
            assert found.claim.name == made.claim.name
        assert guard.tally.calls[("GetClaim", "OK")] == CONNECTIONS
        await server.stop(1)
        for channel in channels:
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await CapacityServiceStub(channel).GetClaim(GetClaimRequest(name=made.claim.name), timeout=5)
            assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
