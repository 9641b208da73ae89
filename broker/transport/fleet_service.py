"""FleetService: decode, one call, encode."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

from capacitybroker.v1 import fleet_service_pb2 as pb
from capacitybroker.v1 import fleet_service_pb2_grpc as pb_grpc
from grpc.aio import ServicerContext

from broker.desk import Desk
from broker.domain.faults import Fault, FaultReason
from broker.domain.fleet import Fleet, Pool
from broker.domain.slots import Window, slot_at_or_after, slot_of
from broker.racks.pool import layout_of
from broker.supplying import Supplying, pool_not_found
from broker.transport.fleets import fleet
from broker.transport.layouts import layout_message
from broker.transport.names import claim_path, pool_id, tenant_id
from broker.transport.pools import (
    change_message,
    fleet_message,
    pool_status,
    shortfall_message,
    tenant_status,
    touched_message,
)
from broker.transport.requests import PageTokens, checked_etag, page_size, replay_key
from broker.transport.supplies import supply_change
from broker.transport.times import seconds_of

__all__ = ["FleetService"]

Context = ServicerContext[Any, Any]

WINDOW_SLOTS_MAX = 26 * 168
WEEK_SLOTS = 168


@dataclass(frozen=True, slots=True)
class FleetService(pb_grpc.FleetServiceServicer):
    """What operators call."""

    desk: Desk
    supplying: Supplying

    async def ApplyFleet(self, request: pb.ApplyFleetRequest, context: Context) -> pb.ApplyFleetResponse:
        """Make the fleet as declared."""
        key, etag = replay_key(request, None), checked_etag(request.etag)
        if not request.HasField("fleet"):
            raise Fault(FaultReason.FIELD_REQUIRED, "fleet is required", remedy="Declare the fleet.", field="fleet")
        declared = fleet(request.fleet)
        done = await self.supplying.apply_fleet(declared, etag=etag, key=key, dry_run=request.validate_only)
        return pb.ApplyFleetResponse(
            changes=[change_message(change) for change in done.changes],
            shortfalls=[shortfall_message(shortfall) for shortfall in done.applied.shortfalls],
            revision=done.applied.revision,
            etag=str(done.fleet_revision),
            touched=[touched_message(loss, None) for loss in done.touched],
            touched_count=done.touched_count,
            uninsurable=map(claim_path, await self.desk.uninsurable(declared)),
        )

    async def ChangeSupply(self, request: pb.ChangeSupplyRequest, context: Context) -> pb.ChangeSupplyResponse:
        """Change what one pool has."""
        key, pool, etag = replay_key(request, None), pool_id(request.name), checked_etag(request.etag)
        viewer = tenant_id(request.viewer, "viewer", wildcard=True) if request.viewer else None
        change = supply_change(request, self.supplying.now())
        done = await self.supplying.change(pool, change, etag=etag, key=key, dry_run=request.validate_only)
        return pb.ChangeSupplyResponse(
            changes=[change_message(change) for change in done.changes],
            shortfalls=[shortfall_message(shortfall) for shortfall in done.applied.shortfalls],
            touched=[touched_message(loss, viewer) for loss in done.touched],
            touched_count=done.touched_count,
            revision=done.applied.revision,
            etag=str(done.fleet_revision),
        )

    async def GetFleet(self, request: pb.GetFleetRequest, context: Context) -> pb.GetFleetResponse:
        """The fleet in force."""
        declared, revision = await self.desk.fleet()
        return pb.GetFleetResponse(fleet=fleet_message(declared), etag=str(revision))

    async def GetPool(self, request: pb.GetPoolRequest, context: Context) -> pb.GetPoolResponse:
        """One pool and its use."""
        declared, window, balances = await self.desk.pools(_window(request))
        pool = _named(request.name, declared)
        return pb.GetPoolResponse(pool=pool_status(pool, declared, window, balances))

    async def GetPoolLayout(self, request: pb.GetPoolLayoutRequest, context: Context) -> pb.GetPoolLayoutResponse:
        """Which domains of a pool its claims are on."""
        window, now = _window(request), slot_of(self.desk.now())
        pool = _named(request.name, (await self.desk.fleet())[0])
        claims = tuple(self.desk.market.outlook.claims.values())
        found = await asyncio.to_thread(layout_of, pool, claims, now)
        if found is None:
            raise Fault(
                FaultReason.DOMAINS_UNKNOWN,
                f"The domains of pool '{pool.id}' are not told apart",
                remedy="Declare its tray_devices.",
                field="name",
            )
        return layout_message(found, claims, window or Window(now, now + WEEK_SLOTS), now)

    async def ListPools(self, request: pb.ListPoolsRequest, context: Context) -> pb.ListPoolsResponse:
        """All pools and their use."""
        tokens = PageTokens(self.desk.ledger.token_key, ("pools",))
        after, size = tokens.read(request.page_token), page_size(request.page_size)
        declared, window, balances = await self.desk.pools(_window(request))
        pools = sorted((pool for pool in declared.pools if pool.id > after), key=lambda pool: pool.id)
        return pb.ListPoolsResponse(
            pools=[pool_status(pool, declared, window, balances) for pool in pools[:size]],
            next_page_token=tokens.token(pools[size - 1].id) if len(pools) > size else "",
        )

    async def ListTenants(self, request: pb.ListTenantsRequest, context: Context) -> pb.ListTenantsResponse:
        """All tenants and what they hold."""
        declared, _, balances = await self.desk.pools(_window(request))
        tenants = sorted(declared.tenants, key=lambda tenant: tenant.id)
        return pb.ListTenantsResponse(tenants=[tenant_status(tenant, balances) for tenant in tenants])


def _named(name: str, declared: Fleet) -> Pool:
    wanted = pool_id(name)
    pool = declared.pool(wanted)
    if pool is None:
        raise pool_not_found(wanted)
    return pool


def _window(
    request: pb.GetPoolRequest | pb.ListPoolsRequest | pb.ListTenantsRequest | pb.GetPoolLayoutRequest,
) -> Window | None:
    """The window of utilisation; None: a week from now."""
    if not request.HasField("start_time"):
        if request.HasField("end_time"):
            raise Fault(
                FaultReason.FIELD_REQUIRED,
                "end_time needs a start_time",
                remedy="Send both, or neither for the week from now.",
                field="start_time",
            )
        return None
    first = slot_of(seconds_of(request.start_time, "start_time", up=False))
    if not request.HasField("end_time"):
        return Window(first, first + WEEK_SLOTS)
    end = slot_at_or_after(seconds_of(request.end_time, "end_time", up=True))
    if not first < end <= first + WINDOW_SLOTS_MAX:
        raise Fault(
            FaultReason.WINDOW_EMPTY,
            f"The window is from 1 to {WINDOW_SLOTS_MAX} hours",
            remedy="Correct start_time and end_time.",
            field="end_time",
        )
    return Window(first, end)
