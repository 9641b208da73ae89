"""A server with too much to do: what it refuses, what it says then, and what it answers all the same."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import cast

import grpc
import pytest
from capacitybroker.v1 import (
    capacity_service_pb2,
    fleet_service_pb2,
    lease_service_pb2,
    planning_service_pb2,
)
from capacitybroker.v1 import capacity_service_pb2 as capacity
from capacitybroker.v1 import lease_service_pb2 as leases
from capacitybroker.v1.capacity_service_pb2_grpc import CapacityServiceStub
from capacitybroker.v1.fleet_service_pb2_grpc import FleetServiceStub
from capacitybroker.v1.lease_service_pb2_grpc import LeaseServiceStub
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from broker.telemetry.audit import Audit
from broker.transport.guard import Guard
from broker.transport.load import Limits, Load
from broker.transport.methods import METHODS
from broker.transport.pulse import Shares, keep_pulse
from broker.transport.server import Server
from tests.builders import fleet
from tests.transport.calls import create, refusal
from tests.world import PATIENT, World, until, world

# Room for what is urgent only.
BUSY = Limits(running_least=0, running_max=0, urgent_more=8, waiting_max=0, late_seconds=30.0)


class Exhausted(Shares):
    """Nobody has anything left of his share."""

    def take(self, who: str) -> bool:  # noqa: ARG002 - whoever it is
        return False


class Named(Shares):
    """Remembers who came."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def take(self, who: str) -> bool:
        self.names.append(who)
        return True


@asynccontextmanager
async def served(w: World, guard: Guard) -> AsyncIterator[grpc.aio.Channel]:
    """A second server over the same market."""
    server = Server(w.desk, w.leasing, w.feed, guard)
    address = f"127.0.0.1:{await server.start('127.0.0.1:0')}"
    try:
        async with grpc.aio.insecure_channel(address) as channel:
            yield channel
    finally:
        await server.stop(0)


async def test_a_claim_is_refused_with_a_delay_and_a_renewal_is_answered() -> None:
    guard = Guard(load=Load(BUSY))
    async with world() as w, served(w, guard) as channel:
        found = await refusal(CapacityServiceStub(channel).CreateClaim(create()))
        assert found[:2] == (grpc.StatusCode.RESOURCE_EXHAUSTED, "OVERLOADED")
        assert await w.ledger.revision() == 0
        renewal = leases.LeaseRenewal(name="tenants/atlas/claims/one/lease", token="7.forged")
        call = LeaseServiceStub(channel).RenewLease(leases.RenewLeaseRequest(renewal=renewal))
        assert (await refusal(call))[1] == "LEASE_TOKEN"
    assert guard.tally.calls == {("CreateClaim", "OVERLOADED"): 1, ("RenewLease", "LEASE_TOKEN"): 1}
    assert (guard.load.running, guard.load.heavy) == (0, 0)


async def test_the_delay_is_told_as_retry_info() -> None:
    async with world() as w, served(w, Guard(load=Load(BUSY))) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await CapacityServiceStub(channel).GetClaim(capacity.GetClaimRequest(name="tenants/atlas/claims/one"))
    status = rpc_status.from_call(cast("grpc.Call", refused.value))
    assert status is not None
    retry = error_details_pb2.RetryInfo()
    assert any(detail.Unpack(retry) for detail in status.details)
    millis = retry.retry_delay.ToMilliseconds()
    assert 50 <= millis <= 8_000
    assert ("grpc-retry-pushback-ms", str(millis)) in tuple(refused.value.trailing_metadata())


async def test_what_is_sent_away_unread_is_told_the_same_and_a_renewal_is_read() -> None:
    guard = Guard(load=Load(PATIENT))
    guard.load.by_peer = Exhausted()
    async with world() as w, served(w, guard) as channel:
        found = await refusal(CapacityServiceStub(channel).CreateClaim(create()))
        assert found[:2] == (grpc.StatusCode.RESOURCE_EXHAUSTED, "OVERLOADED")
        watch = CapacityServiceStub(channel).WatchClaims(capacity.WatchClaimsRequest(parent="tenants/atlas"))
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await watch.read()
        assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        renewal = leases.LeaseRenewal(name="tenants/atlas/claims/one/lease", token="7.forged")
        call = LeaseServiceStub(channel).RenewLease(leases.RenewLeaseRequest(renewal=renewal))
        assert (await refusal(call))[1] == "LEASE_TOKEN"
    assert guard.tally.calls == {
        ("CreateClaim", "OVERLOADED"): 1,
        ("WatchClaims", "OVERLOADED"): 1,
        ("RenewLease", "LEASE_TOKEN"): 1,
    }


@pytest.mark.parametrize(("late", "told"), [(0.0, None), (0.0372, "37")])
async def test_an_answer_says_how_late_it_is(monkeypatch: pytest.MonkeyPatch, late: float, told: str | None) -> None:
    monkeypatch.setattr(Load, "late", lambda _load, _tenant, waited: late + waited)
    async with world() as w, served(w, Guard(load=Load(PATIENT))) as channel:
        call = CapacityServiceStub(channel).ListClaims(capacity.ListClaimsRequest(parent="tenants/atlas"))
        await call
        assert dict(await call.trailing_metadata()).get("capacitybroker-late-ms") == told


async def test_every_call_gives_its_place_back_however_it_ends() -> None:
    guard = Guard(load=Load(Limits(running_least=4, running_max=4, late_seconds=30.0)))
    async with world() as w, served(w, guard) as channel:
        stub = CapacityServiceStub(channel)
        for _ in range(3):
            await refusal(stub.GetClaim(capacity.GetClaimRequest(name="tenants/atlas/claims/one")))
            await stub.ListClaims(capacity.ListClaimsRequest(parent="tenants/atlas"))
    assert guard.load.running == 0


def test_what_keeps_or_gives_back_a_lease_is_urgent_and_claims_are_not() -> None:
    urgent = {name for name, method in METHODS.items() if method.lane.name == "URGENT"}
    assert urgent == {"RenewLease", "RenewLeases", "KeepLeases", "ReleaseLease"}


def test_every_method_of_the_api_has_a_row_and_no_other() -> None:
    files = (capacity_service_pb2, fleet_service_pb2, lease_service_pb2, planning_service_pb2)
    services = [service for file in files for service in file.DESCRIPTOR.services_by_name.values()]
    assert {method.name for service in services for method in service.methods} == set(METHODS)


async def test_names_that_no_tenant_has_are_one_and_what_operators_change_is_apart() -> None:
    guard = Guard(load=Load(PATIENT))
    guard.load.by_tenant = Named()
    async with world() as w, served(w, guard) as channel:
        await w.declare(fleet())
        stub = CapacityServiceStub(channel)
        await stub.CreateClaim(create())
        for name in ("made-up-1", "made-up-2"):
            await refusal(stub.CreateClaim(create(parent=f"tenants/{name}")))
        operator = FleetServiceStub(channel)
        await operator.ListPools(fleet_service_pb2.ListPoolsRequest())
        await refusal(operator.ChangeSupply(fleet_service_pb2.ChangeSupplyRequest(name="pools/none")))
    assert guard.load.by_tenant.names == ["atlas", "?", "?", "-", "-!"]


def audit_of(directory: Path) -> bytes:
    """All that is on record."""
    return b"".join(path.read_bytes() for path in directory.glob("*.audit"))


async def test_what_is_refused_is_summed_under_names_of_tenants_only(tmp_path: Path) -> None:
    audit = Audit(tmp_path, "server-1", lambda: 0)
    async with world() as w, served(w, Guard(load=Load(BUSY), audit=audit)) as channel:
        await w.declare(fleet())
        for name in ("atlas", "made-up-1", "made-up-2"):
            await refusal(CapacityServiceStub(channel).CreateClaim(create(parent=f"tenants/{name}")))
    audit.close()
    told = audit_of(tmp_path)
    assert b"atlas" in told
    assert b"made-up" not in told


async def test_a_call_that_took_long_is_told_at_the_next_beat() -> None:
    """The beat after it would else tell of a server that has nothing to do."""
    beats: list[float] = []
    late = asyncio.Event()

    async def call() -> None:
        if len(beats) < 3:
            await late.wait()

    def beat(lag: float) -> None:
        beats.append(lag)
        if len(beats) == 3:
            late.set()

    pulse = asyncio.create_task(keep_pulse(beat, call))
    await until(lambda: len(beats) >= 4)
    pulse.cancel()
    await asyncio.gather(pulse, return_exceptions=True)
    assert beats[3] > beats[1] > 0
