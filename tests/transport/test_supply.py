"""Supply that moves, over the wire: what is told before, who is touched, and what becomes of him."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
from capacitybroker.v1 import capacity_service_pb2 as capacity
from capacitybroker.v1 import claim_pb2
from capacitybroker.v1 import fleet_pb2 as fleets
from capacitybroker.v1 import fleet_service_pb2 as service
from capacitybroker.v1 import planning_service_pb2 as planning
from capacitybroker.v1 import supply_pb2 as supply
from google.protobuf.timestamp_pb2 import Timestamp

from broker.ledger.fold import violations
from tests.transport.calls import claim, create, fleet, pool, refusal
from tests.world import NOON, World

HOUR = 3600


def at(hours: int) -> Timestamp:
    return Timestamp(seconds=NOON + hours * HOUR)


def outage(request_id: str, **fields: Any) -> service.ChangeSupplyRequest:
    lost = supply.Outage(end_time=at(24))
    return service.ChangeSupplyRequest(name="pools/dc-1", outage=lost, request_id=request_id, **fields)


async def placed(w: World, tenant: str = "atlas", devices: int = 32, **fields: Any) -> str:
    """A gang that must start soon, planned."""
    asked = claim(devices=devices, gang=True, latest_start_time=at(3), **fields)
    made = (await w.capacity.CreateClaim(create(asked, parent=f"tenants/{tenant}"))).claim.name
    await w.planning.RunPlan(planning.RunPlanRequest(request_id=f"plan-{made.rsplit('/')[-1]}"))
    return made


async def read(w: World, name: str) -> claim_pb2.Claim:
    return (await w.capacity.GetClaim(capacity.GetClaimRequest(name=name))).claim


async def repaired(w: World, name: str) -> claim_pb2.Claim:
    """The claim once its planner has told it what became of it."""
    async with asyncio.timeout(10):
        while True:
            found = await read(w, name)
            if found.reasons:
                return found
            await asyncio.sleep(0.005)


async def two_pools(w: World) -> None:
    declared = fleet(pool(), pool(id="dc-2", deliveries=[fleets.Delivery(devices=32)]))
    await w.fleet.ApplyFleet(service.ApplyFleetRequest(fleet=declared, request_id="two"))


async def test_what_an_outage_would_do_is_told_and_not_done(served: World) -> None:
    await two_pools(served)
    spot = await placed(served, tier=claim_pb2.TIER_SPOT, forbidden_pools=["pools/dc-2"])
    sure = await placed(served, "borealis", tier=claim_pb2.TIER_GUARANTEED, forbidden_pools=["pools/dc-2"])
    revision = await served.ledger.revision()
    told = await served.fleet.ChangeSupply(outage("dry", validate_only=True))
    assert [change.resource for change in told.changes] == ["pools/dc-1"]
    assert [(short.resource, short.devices) for short in told.shortfalls] == [("pools/dc-1", 64)]
    assert [one.claim for one in told.touched] == [sure, spot], "most guaranteed first"
    assert [one.tier for one in told.touched] == [claim_pb2.TIER_GUARANTEED, claim_pb2.TIER_SPOT]
    assert [one.placement.devices for one in told.touched] == [32, 32]
    assert [one.state for one in told.touched] == [(await read(served, name)).state for name in (sure, spot)]
    assert not any(one.HasField("refuge") for one in told.touched), "it starts too late when the devices are back"
    assert told.touched_count == 2
    assert (told.revision, await served.ledger.revision()) == (revision, revision)
    assert (await served.fleet.GetFleet(service.GetFleetRequest())).etag == told.etag


async def test_other_tenants_are_not_named_to_a_tenant(served: World) -> None:
    mine = await placed(served)
    await placed(served, "borealis")
    told = await served.fleet.ChangeSupply(outage("dry", validate_only=True, viewer="tenants/atlas"))
    assert {one.claim for one in told.touched} == {mine, ""}
    everybody = await served.fleet.ChangeSupply(outage("all", validate_only=True, viewer="tenants/-"))
    assert all(one.claim for one in everybody.touched)


async def test_who_is_touched_is_told_where_there_is_room_and_goes_there(served: World) -> None:
    await two_pools(served)
    name = await placed(served, preferred_pools=["pools/dc-1"])
    assert (await read(served, name)).placements[0].pool == "pools/dc-1"
    done = await served.fleet.ChangeSupply(outage("real"))
    assert [(one.claim, one.refuge.pool) for one in done.touched] == [(name, "pools/dc-2")]
    found = await repaired(served, name)
    assert found.placements[0].pool == "pools/dc-2"
    (why,) = found.reasons
    assert why.reason == claim_pb2.REASON_SUPPLY_LOST
    assert why.facts["new_pool"] == "pools/dc-2"
    explained = await served.capacity.ExplainClaim(capacity.ExplainClaimRequest(name=name))
    assert not explained.walls, "nothing stands in its way"
    assert violations(await served.ledger.events(0, limit=1_000)) == ()


async def test_two_operators_do_not_overwrite_each_other(served: World) -> None:
    known = (await served.fleet.GetFleet(service.GetFleetRequest())).etag
    first = await served.fleet.ChangeSupply(outage("one", etag=known))
    assert first.etag != known
    for call in (
        served.fleet.ChangeSupply(outage("two", etag=known)),
        served.fleet.ChangeSupply(outage("dry", etag=known, validate_only=True)),
        served.fleet.ApplyFleet(service.ApplyFleetRequest(fleet=fleet(), etag=known, request_id="three")),
    ):
        code, reason, facts = await refusal(call)
        assert (code, reason) == (grpc.StatusCode.ABORTED, "ETAG_MISMATCH")
        assert facts["present_revision"] == first.etag
    applied = service.ApplyFleetRequest(fleet=fleet(), etag=first.etag, request_id="four")
    last = await served.fleet.ApplyFleet(applied)
    assert last.etag == (await served.fleet.GetFleet(service.GetFleetRequest())).etag


async def test_changes_without_an_etag_add_up_whoever_makes_them(served: World) -> None:
    grow = [
        service.ChangeSupplyRequest(
            name="pools/dc-1", growth=supply.Growth(start_time=at(n), devices=8), request_id=f"g-{n}"
        )
        for n in range(5)
    ]
    await asyncio.gather(*(served.fleet.ChangeSupply(request) for request in grow))
    status = (await served.fleet.GetPool(service.GetPoolRequest(name="pools/dc-1", start_time=at(5)))).pool
    assert status.utilisation.levels[0].supplied_devices == 64 + 40


async def test_a_repeated_change_is_made_once(served: World) -> None:
    known = (await served.fleet.GetFleet(service.GetFleetRequest())).etag
    request = service.ChangeSupplyRequest(name="pools/dc-1", drain=supply.Drain(), etag=known, request_id="twice")
    first = await served.fleet.ChangeSupply(request)
    again = await served.fleet.ChangeSupply(request)
    assert again == first, "nothing is there any more that could be drained"


async def test_a_repeated_change_touches_nobody_else(served: World) -> None:
    for _ in range(2):
        await placed(served)
    drain = supply.Drain(start_time=at(0), devices=32)
    request = service.ChangeSupplyRequest(name="pools/dc-1", drain=drain, request_id="twice")
    first = await served.fleet.ChangeSupply(request)
    again = await served.fleet.ChangeSupply(request)
    assert len(first.touched) == 1
    assert {one.claim for one in again.touched} <= {one.claim for one in first.touched}, "or nobody, once planned anew"
    for told in (first, again):
        del told.touched[:]
        told.ClearField("touched_count")
    assert again == first


async def test_an_outage_ends_a_drain_does_not_and_a_delivery_comes_late(served: World) -> None:
    async def now(hours: int = 1) -> int:
        status = await served.fleet.GetPool(service.GetPoolRequest(name="pools/dc-1", start_time=at(hours)))
        return status.pool.utilisation.levels[0].supplied_devices

    async def change(**fields: Any) -> None:
        name = f"r-{served.ids()}"
        await served.fleet.ChangeSupply(service.ChangeSupplyRequest(name="pools/dc-1", request_id=name, **fields))

    await change(outage=supply.Outage(end_time=at(24), devices=24))
    assert await now() == 40
    await change(recovery=supply.Recovery())
    assert await now() == 64
    await change(drain=supply.Drain(devices=8))
    assert await now() == await now(1_000) == 56
    await change(growth=supply.Growth(start_time=at(10), devices=16))
    await change(late_delivery=supply.LateDelivery(delivery_time=at(10), new_delivery_time=at(20)))
    assert [await now(hours) for hours in (11, 19, 20)] == [56, 56, 72]
