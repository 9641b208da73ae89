"""The fleet over the wire."""

from __future__ import annotations

from capacitybroker.v1 import fleet_pb2 as fleets
from capacitybroker.v1 import fleet_service_pb2 as service
from capacitybroker.v1 import planning_service_pb2 as planning
from google.protobuf.timestamp_pb2 import Timestamp

from tests.transport.calls import claim, create, fleet, pool
from tests.world import NOON, World


async def test_applying_the_same_fleet_again_changes_nothing(served: World) -> None:
    again = await served.fleet.ApplyFleet(service.ApplyFleetRequest(fleet=fleet(), request_id="again"))
    assert list(again.changes) == []


async def test_the_fleet_in_force_reads_back(served: World) -> None:
    rent = pool(
        id="rent",
        kind=fleets.POOL_KIND_CONTRACTED,
        maintenance=[
            fleets.Maintenance(devices=8, start_time=Timestamp(seconds=NOON), end_time=Timestamp(seconds=NOON + 60))
        ],
        unit_cost_microusd=5,
        site="elsewhere",
    )
    rented = fleets.Contract(
        id="c", pool="rent", committed=[fleets.CommittedLevel(devices=8)], overage_price_microusd=7
    )
    declared = fleet(pool(), rent, contracts=[rented], tenants=[fleets.Tenant(id="t", quota_devices=0, loan_devices=0)])
    await served.fleet.ApplyFleet(service.ApplyFleetRequest(fleet=declared, request_id="r"))
    assert (await served.fleet.GetFleet(service.GetFleetRequest())).fleet == declared


async def test_a_repeated_apply_says_again_what_it_changed(served: World) -> None:
    request = service.ApplyFleetRequest(fleet=fleet(pool(), pool(id="dc-2")), request_id="twice")
    first = await served.fleet.ApplyFleet(request)
    revision = await served.ledger.revision()
    assert [change.resource for change in first.changes] == ["pools/dc-2"]
    assert await served.fleet.ApplyFleet(request) == first
    await served.fleet.ApplyFleet(service.ApplyFleetRequest(fleet=request.fleet, request_id="thrice"))
    events = await served.ledger.events(revision, limit=100)
    assert all(event.fleet is None for event in events), "the fleet in force makes no revision"


async def test_validate_only_tells_and_keeps_its_hands_off(served: World) -> None:
    await served.capacity.CreateClaim(create(claim(devices=64, gang=True)))
    await served.planning.RunPlan(planning.RunPlanRequest(request_id="p"))
    smaller = fleet(pool(deliveries=[fleets.Delivery(devices=24)]))
    dry = await served.fleet.ApplyFleet(service.ApplyFleetRequest(fleet=smaller, validate_only=True, request_id="dry"))
    assert [(c.resource, c.action) for c in dry.changes] == [("pools/dc-1", service.FleetChange.ACTION_CHANGED)]
    assert [(s.resource, s.devices) for s in dry.shortfalls] == [("pools/dc-1", 40)]
    present = (await served.fleet.GetPool(service.GetPoolRequest(name="pools/dc-1"))).pool
    assert present.pool.deliveries[0].devices == 64
    real = await served.fleet.ApplyFleet(service.ApplyFleetRequest(fleet=smaller, request_id="real"))
    assert list(real.shortfalls) == list(dry.shortfalls)
    assert real.revision > dry.revision


async def test_pools_are_listed_in_pages(served: World) -> None:
    pools = [pool(id=f"dc-{n}") for n in (3, 1, 2)]
    await served.fleet.ApplyFleet(service.ApplyFleetRequest(fleet=fleet(*pools), request_id="three"))
    first = await served.fleet.ListPools(service.ListPoolsRequest(page_size=2))
    rest = await served.fleet.ListPools(service.ListPoolsRequest(page_size=2, page_token=first.next_page_token))
    assert [p.name for p in (*first.pools, *rest.pools)] == ["pools/dc-1", "pools/dc-2", "pools/dc-3"]
    assert rest.next_page_token == ""
