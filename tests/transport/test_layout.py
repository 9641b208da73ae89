"""Which domains claims are on, over the wire."""

from __future__ import annotations

from typing import Any

import grpc
import pytest
from capacitybroker.v1 import capacity_service_pb2 as capacity
from capacitybroker.v1 import fleet_pb2 as fleets
from capacitybroker.v1 import fleet_service_pb2 as service
from capacitybroker.v1 import planning_service_pb2 as planning
from google.protobuf.timestamp_pb2 import Timestamp

from tests.transport.calls import claim, create, fleet, pool, refusal
from tests.world import NOON, World, until

HOUR = 3600


def racks(**fields: Any) -> fleets.Pool:
    """Two racks that are given out in thirds, and one that comes tomorrow."""
    deliveries = [
        fleets.Delivery(devices=144),
        fleets.Delivery(devices=72, start_time=Timestamp(seconds=NOON + 86_400)),
    ]
    cut = {"tray_devices": 4, "slice_trays": 6}
    return pool(**({"domain_devices": 72, "deliveries": deliveries} | cut | fields))


async def apply(w: World, *pools: fleets.Pool) -> None:
    request = service.ApplyFleetRequest(fleet=fleet(*pools), request_id=f"r-{w.ids()}")
    await w.fleet.ApplyFleet(request)


async def layout(w: World, **fields: Any) -> service.GetPoolLayoutResponse:
    return await w.fleet.GetPoolLayout(service.GetPoolLayoutRequest(name="pools/dc-1", **fields))


async def plan(w: World) -> None:
    await w.planning.RunPlan(planning.RunPlanRequest(request_id=f"p-{w.ids()}"))
    revision = await w.ledger.revision()
    await until(lambda: w.feed.revision >= revision)


async def test_a_layout_says_who_is_where_and_who_would_be(served: World) -> None:
    await apply(served, racks())
    later = Timestamp(seconds=NOON + 3 * HOUR)
    await served.capacity.CreateClaim(create(claim(devices=30, gang=True), claim_id="now"))
    await served.capacity.CreateClaim(create(claim(devices=72, gang=True, earliest_start_time=later), claim_id="later"))
    await plan(served)
    found = await layout(served)
    assert (found.slice_devices, found.slices_per_domain, found.domains, found.slices_away) == (24, 3, 3, 0)
    here, then = found.stays
    assert (here.claim, here.fixed) == ("tenants/atlas/claims/now", True)
    assert [(s.first_domain, s.domains, s.devices) for s in here.domains] == [(0, 1, 48)]
    assert (then.claim, then.fixed, then.start_time) == ("tenants/atlas/claims/later", False, later)
    assert [(s.first_domain, s.domains, s.devices) for s in then.domains] == [(1, 1, 72)]
    told = (await served.capacity.GetClaim(capacity.GetClaimRequest(name=here.claim))).claim.placements[0]
    assert list(told.domains) == list(here.domains)


async def test_a_layout_is_of_the_window_asked_for(served: World) -> None:
    away = fleets.Maintenance(
        devices=72, start_time=Timestamp(seconds=NOON + 9 * HOUR), end_time=Timestamp(seconds=NOON + 12 * HOUR)
    )
    await apply(served, racks(maintenance=[away]))
    await served.capacity.CreateClaim(create(claim(devices=24, gang=True)))
    await plan(served)
    window = {"start_time": Timestamp(seconds=NOON + 4 * HOUR), "end_time": Timestamp(seconds=NOON + 9 * HOUR)}
    assert await layout(served, **window) == service.GetPoolLayoutResponse(
        slice_devices=24, slices_per_domain=3, domains=2
    )
    window["end_time"] = Timestamp(seconds=NOON + 10 * HOUR)
    assert (await layout(served, **window)).slices_away == 3


async def test_a_pool_whose_domains_are_not_told_apart_has_no_layout(served: World) -> None:
    code, reason, _ = await refusal(layout(served))
    assert (code, reason) == (grpc.StatusCode.FAILED_PRECONDITION, "DOMAINS_UNKNOWN")
    missing = served.fleet.GetPoolLayout(service.GetPoolLayoutRequest(name="pools/none"))
    assert (await refusal(missing))[1] == "POOL_NOT_FOUND"


@pytest.mark.parametrize(
    "fields",
    [
        {"tray_devices": 5},
        {"tray_devices": 0, "slice_trays": 6},
        {"tray_devices": 0, "slice_trays": 0, "spare_trays": 1},
        {"spare_trays": 13},
        {"slice_trays": 0, "spare_trays": 18},
        {"slice_trays": 19},
    ],
)
async def test_domains_that_make_no_slice_are_refused(served: World, fields: dict[str, int]) -> None:
    code, reason, _ = await refusal(apply(served, racks(**fields)))
    assert (code, reason) == (grpc.StatusCode.INVALID_ARGUMENT, "FLEET_INVALID")


async def test_a_pool_is_not_cut_otherwise_while_claims_hold_it(served: World) -> None:
    await apply(served, racks())
    made = await served.capacity.CreateClaim(create(claim(devices=24, gang=True)))
    await plan(served)
    code, reason, _ = await refusal(apply(served, racks(slice_trays=2)))
    assert (code, reason) == (grpc.StatusCode.FAILED_PRECONDITION, "POOL_IN_USE")
    await apply(served, racks(site="another hall"))
    await served.capacity.CancelClaim(capacity.CancelClaimRequest(name=made.claim.name, request_id="c"))
    revision = await served.ledger.revision()
    await until(lambda: served.feed.revision >= revision)
    await apply(served, racks(slice_trays=2))
