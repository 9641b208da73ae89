"""The least that a durable answer can cost here: the same messages, no rules, one round trip to the same store."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from itertools import count
from typing import Any

import grpc
from capacitybroker.v1 import capacity_service_pb2 as pb
from capacitybroker.v1 import lease_service_pb2 as lease_pb
from capacitybroker.v1.capacity_service_pb2_grpc import CapacityServiceServicer, add_CapacityServiceServicer_to_server
from capacitybroker.v1.lease_service_pb2_grpc import LeaseServiceServicer, add_LeaseServiceServicer_to_server
from redis.asyncio import Redis

__all__ = ["run_reference"]


class _Reference(CapacityServiceServicer, LeaseServiceServicer):
    """Echoes claims and leases; a write is on disk before it is answered, as the store sees to that."""

    def __init__(self, store: Redis) -> None:
        self._store = store
        self._ids = count()

    async def CreateClaim(self, request: pb.CreateClaimRequest, context: Any) -> pb.CreateClaimResponse:
        """One write."""
        await self._store.set(f"reference:{next(self._ids) % 1_000}", request.SerializeToString())
        return pb.CreateClaimResponse(claim=request.claim)

    async def GetClaim(self, request: pb.GetClaimRequest, context: Any) -> pb.GetClaimResponse:
        """One read."""
        text = await self._store.get("reference:0")
        stored = pb.CreateClaimRequest.FromString(bytes(text)) if isinstance(text, bytes) else pb.CreateClaimRequest()
        return pb.GetClaimResponse(claim=stored.claim)

    async def RenewLease(self, request: lease_pb.RenewLeaseRequest, context: Any) -> lease_pb.RenewLeaseResponse:
        """One write."""
        await self._store.set(f"reference:{next(self._ids) % 1_000}", request.SerializeToString())
        return lease_pb.RenewLeaseResponse(lease=lease_pb.Lease(name=request.renewal.name))

    async def GetLease(self, request: lease_pb.GetLeaseRequest, context: Any) -> lease_pb.GetLeaseResponse:
        """One read."""
        await self._store.get("reference:0")
        return lease_pb.GetLeaseResponse(lease=lease_pb.Lease(name=request.name))


def run_reference(address: str, store_url: str, ready: Callable[[], None]) -> None:
    """Serve until SIGTERM."""
    asyncio.run(_serve(address, store_url, ready))


async def _serve(address: str, store_url: str, ready: Callable[[], None]) -> None:
    stopping = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopping.set)
    store = Redis.from_url(store_url, protocol=2)
    server = grpc.aio.server()
    add_CapacityServiceServicer_to_server(_Reference(store), server)  # type: ignore[abstract]
    add_LeaseServiceServicer_to_server(_Reference(store), server)  # type: ignore[abstract]
    server.add_insecure_port(address)
    await server.start()
    ready()
    await stopping.wait()
    await server.stop(1)
    await store.aclose()
