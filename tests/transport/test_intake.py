"""Calls are taken in many at once, with this release of gRPC; all of them count, and a server that stops takes none."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import grpc
import pytest
from capacitybroker.v1.capacity_service_pb2 import GetClaimRequest, WatchClaimsRequest
from capacitybroker.v1.capacity_service_pb2_grpc import CapacityServiceStub

from broker.transport import intake, server
from tests.builders import fleet
from tests.transport.calls import create
from tests.world import until, world

MANY = 300
ALL = WatchClaimsRequest(parent="tenants/atlas")


def test_the_release_that_is_installed_lets_us_take_calls_in() -> None:
    """Else servers answer a third less: see ADR 21 before a release that does not is allowed in pyproject.toml."""
    assert intake.usable(intake.cygrpc.AioServer)


async def test_all_are_answered_while_it_serves_and_none_once_it_has_stopped() -> None:
    async with world() as w:
        await w.declare(fleet())
        served = server.Server(w.desk, w.leasing, w.feed)
        address = f"127.0.0.1:{await served.start('127.0.0.1:0')}"
        assert served._intake.open
        async with grpc.aio.insecure_channel(address) as channel:
            stub = CapacityServiceStub(channel)
            made = await asyncio.gather(*(stub.CreateClaim(create()) for _ in range(MANY)))
            assert len({answer.claim.name for answer in made}) == MANY
            await served.stop(1)
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await stub.GetClaim(GetClaimRequest(name=made[0].claim.name), timeout=5)
            assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
        assert not served._intake.open


@pytest.mark.parametrize("own", [{"gone": ()}, {"_handle_rpc": ("otherwise",)}])
async def test_a_release_with_other_names_or_parameters_answers_all_the_same(
    own: dict[str, tuple[str, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(intake, "OWN", own)
    async with world() as w:
        await w.declare(fleet())
        served = server.Server(w.desk, w.leasing, w.feed)
        address = f"127.0.0.1:{await served.start('127.0.0.1:0')}"
        assert not served._intake.open
        async with grpc.aio.insecure_channel(address) as channel:
            await asyncio.gather(*(CapacityServiceStub(channel).CreateClaim(create()) for _ in range(32)))
        await served.stop(1)


async def test_calls_beyond_the_most_at_once_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "CALLS_MAX", 4)
    refused: list[grpc.StatusCode] = []

    async def watch(stub: CapacityServiceStub) -> None:
        try:
            await cast("grpc.aio.UnaryStreamCall[Any, Any]", stub.WatchClaims(ALL)).read()
        except grpc.aio.AioRpcError as error:
            refused.append(error.code())

    async with world() as w:
        await w.declare(fleet())
        served = server.Server(w.desk, w.leasing, w.feed)
        address = f"127.0.0.1:{await served.start('127.0.0.1:0')}"
        async with grpc.aio.insecure_channel(address) as channel:
            watches = [asyncio.create_task(watch(CapacityServiceStub(channel))) for _ in range(20)]
            await until(lambda: len(refused) >= 12)  # gRPC takes in one more at a time, of which it counts as many
            assert set(refused) == {grpc.StatusCode.RESOURCE_EXHAUSTED}
            for task in watches:
                task.cancel()
            await asyncio.gather(*watches, return_exceptions=True)
        await served.stop(0)
