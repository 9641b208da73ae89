"""LeaseService: decode, one call, encode."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from capacitybroker.v1 import lease_service_pb2 as pb
from capacitybroker.v1 import lease_service_pb2_grpc as pb_grpc
from grpc.aio import ServicerContext

from broker.leasing import Lease, Leasing
from broker.transport.claims import claim_message
from broker.transport.leases import lease_message, outcome_message, renewal, renewals, token_of, ttl_millis
from broker.transport.names import claim_name, lease_name
from broker.transport.requests import replay_key

__all__ = ["LeaseService"]

Context = ServicerContext[Any, Any]


@dataclass(frozen=True, slots=True)
class LeaseService(pb_grpc.LeaseServiceServicer):
    """What holders call."""

    leasing: Leasing

    async def AcquireLease(self, request: pb.AcquireLeaseRequest, context: Context) -> pb.AcquireLeaseResponse:
        """Take a lease."""
        name = claim_name(request.claim, "claim")
        ttl = ttl_millis(request.ttl, "ttl") if request.HasField("ttl") else 0
        lease = await self.leasing.acquire(name, ttl_millis=ttl, key=replay_key(request, name.tenant))
        return pb.AcquireLeaseResponse(lease=self._told(lease))

    async def GetLease(self, request: pb.GetLeaseRequest, context: Context) -> pb.GetLeaseResponse:
        """A claim's lease."""
        return pb.GetLeaseResponse(lease=self._told(await self.leasing.lease(lease_name(request.name))))

    async def RenewLease(self, request: pb.RenewLeaseRequest, context: Context) -> pb.RenewLeaseResponse:
        """Let one lease last."""
        name, token, ttl = renewal(request.renewal, "renewal")
        return pb.RenewLeaseResponse(lease=self._told(await self.leasing.renew(name, token, ttl_millis=ttl)))

    async def RenewLeases(self, request: pb.RenewLeasesRequest, context: Context) -> pb.RenewLeasesResponse:
        """Let many leases last."""
        done = await self.leasing.renew_all(renewals(request.renewals))
        return pb.RenewLeasesResponse(outcomes=[outcome_message(one) for one in done])

    async def KeepLeases(
        self, request_iterator: AsyncIterator[pb.KeepLeasesRequest], context: Context
    ) -> AsyncIterator[pb.KeepLeasesResponse]:
        """Let leases last, message by message."""
        async for request in request_iterator:
            done = await self.leasing.renew_all(renewals(request.renewals))
            yield pb.KeepLeasesResponse(outcomes=[outcome_message(one) for one in done])

    async def ReleaseLease(self, request: pb.ReleaseLeaseRequest, context: Context) -> pb.ReleaseLeaseResponse:
        """Give a lease back."""
        name, token = lease_name(request.name), token_of(request.token, "token")
        claim = await self.leasing.release(name, token, key=replay_key(request, name.tenant))
        return pb.ReleaseLeaseResponse(claim=claim_message(claim))

    def _told(self, lease: Lease) -> pb.Lease:
        return lease_message(lease, now=self.leasing.now(), margin_millis=self.leasing.terms.skew)
