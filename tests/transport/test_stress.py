"""Insurance and the stress report over the wire."""

from __future__ import annotations

import pytest
from capacitybroker.v1 import capacity_service_pb2 as capacity
from capacitybroker.v1 import claim_pb2
from capacitybroker.v1 import fleet_pb2 as fleets
from capacitybroker.v1 import fleet_service_pb2 as service
from capacitybroker.v1 import planning_service_pb2 as planning
from google.protobuf.duration_pb2 import Duration

from tests.transport.calls import claim, create, fleet, pool, refusal
from tests.world import World, until

ANY = fleets.Insurance(id="any", loss=fleets.LOSS_KIND_ANY_ONE_POOL)
SURE = {"tier": claim_pb2.TIER_GUARANTEED, "gang": True}


def two_pools(*insurance: fleets.Insurance, second: int = 64) -> fleets.Fleet:
    other = pool(id="dc-2", deliveries=[fleets.Delivery(devices=second)])
    made = fleet(pool(), other)
    made.insurance.extend(insurance)
    return made


async def applied(w: World, made: fleets.Fleet, name: str) -> service.ApplyFleetResponse:
    return await w.fleet.ApplyFleet(service.ApplyFleetRequest(fleet=made, request_id=name))


async def planned(w: World, name: str) -> planning.RunPlanResponse:
    answer = await w.planning.RunPlan(planning.RunPlanRequest(request_id=name))
    await until(lambda: w.feed.revision >= int(answer.plan.name.removeprefix("plans/")))
    return answer


async def test_insurance_reads_back_and_its_change_is_told(served: World) -> None:
    late = fleets.Insurance(
        id="late", loss=fleets.LOSS_KIND_LATE_DELIVERY, pools=["dc-1"], late_days=3, covers=["dc-2"]
    )
    declared = two_pools(ANY, late)
    answer = await applied(served, declared, "insured")
    assert {change.resource for change in answer.changes} >= {"insurance/any", "insurance/late"}
    assert (await served.fleet.GetFleet(service.GetFleetRequest())).fleet == declared


WRONG = {
    "no pool of that name": fleets.Insurance(id="x", loss=fleets.LOSS_KIND_POOLS_TOGETHER, pools=["nowhere"]),
    "a pool twice": fleets.Insurance(id="x", loss=fleets.LOSS_KIND_POOLS_TOGETHER, pools=["dc-1", "dc-1"]),
    "no cover of that name": fleets.Insurance(id="x", loss=fleets.LOSS_KIND_ANY_ONE_POOL, covers=["nowhere"]),
    "pools of any pool": fleets.Insurance(id="x", loss=fleets.LOSS_KIND_ANY_ONE_POOL, pools=["dc-1"]),
    "no pools together": fleets.Insurance(id="x", loss=fleets.LOSS_KIND_POOLS_TOGETHER),
    "no days": fleets.Insurance(id="x", loss=fleets.LOSS_KIND_LATE_DELIVERY, pools=["dc-1"]),
    "days of no delivery": fleets.Insurance(id="x", loss=fleets.LOSS_KIND_ANY_ONE_POOL, late_days=1),
}


@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG)
async def test_insurance_that_says_nothing_is_refused(served: World, wrong: fleets.Insurance) -> None:
    _, found_reason, _ = await refusal(applied(served, two_pools(wrong), "wrong"))
    assert found_reason == "FLEET_INVALID"


@pytest.mark.parametrize(("kind", "reason"), [(fleets.LOSS_KIND_UNSPECIFIED, "ENUM_REQUIRED"), (99, "ENUM_UNKNOWN")])
async def test_a_loss_has_a_kind(served: World, kind: fleets.LossKind.ValueType, reason: str) -> None:
    _, found_reason, _ = await refusal(applied(served, two_pools(fleets.Insurance(id="x", loss=kind)), "kind"))
    assert found_reason == reason


async def test_a_stress_report_tells_who_would_be_served_again_and_where(served: World) -> None:
    await applied(served, two_pools(ANY), "insured")
    for _ in range(2):
        await served.capacity.CreateClaim(create(claim(devices=32, **SURE)))
    plan = (await planned(served, "plan")).plan
    assert [(cost.insurance, list(cost.pools)) for cost in plan.insurance] == [
        ("any", ["pools/dc-1"]),
        ("any", ["pools/dc-2"]),
    ]
    assert sum(cost.hit for cost in plan.insurance) == sum(cost.insured for cost in plan.insurance) == 2
    found = await served.planning.StressTest(planning.StressTestRequest())
    assert [loss.pool for loss in found.losses] == ["pools/dc-1", "pools/dc-2"]
    assert (found.end_time.seconds - found.start_time.seconds, found.revision) == (24 * 3600, served.feed.revision)
    sure = [tier for loss in found.losses for tier in loss.tiers if tier.tier == claim_pb2.TIER_GUARANTEED]
    assert sum(tier.claims for tier in sure) == sum(tier.served_again for tier in sure) == 2
    for loss in found.losses:
        held = loss.tiers[0].devices
        assert loss.held_devices == held
        assert [(r.pool, r.devices) for r in loss.refuges] == (
            [(other.pool, held) for other in found.losses if other is not loss] if held else []
        )
        assert not loss.not_served


async def test_what_nobody_could_hold_is_named(served: World) -> None:
    await applied(served, two_pools(second=16), "small")
    name = (await served.capacity.CreateClaim(create(claim(devices=32, **SURE)))).claim.name
    standard = (await served.capacity.CreateClaim(create(claim(devices=16, gang=True)))).claim.name
    await planned(served, "plan")
    placed = {
        one: (await served.capacity.GetClaim(capacity.GetClaimRequest(name=one))).claim.placements[0].pool
        for one in (name, standard)
    }
    found = await served.planning.StressTest(
        planning.StressTestRequest(window=Duration(seconds=3600), pools=["pools/dc-1"])
    )
    (loss,) = found.losses
    assert placed[name] == "pools/dc-1"
    assert list(loss.not_served) == [name]
    assert (loss.tiers[0].claims, loss.tiers[0].served_again, loss.tiers[0].uninsurable) == (1, 0, 1)
    dry = await served.fleet.ApplyFleet(
        service.ApplyFleetRequest(fleet=two_pools(ANY, second=16), request_id="dry", validate_only=True)
    )
    assert list(dry.uninsurable) == [name]
    assert list((await applied(served, two_pools(ANY), "wide")).uninsurable) == []


async def test_only_pools_that_there_are_can_be_lost(served: World) -> None:
    _, found_reason, _ = await refusal(served.planning.StressTest(planning.StressTestRequest(pools=["pools/nowhere"])))
    assert found_reason == "POOL_NOT_FOUND"
    _, found_reason, _ = await refusal(
        served.planning.StressTest(planning.StressTestRequest(window=Duration(seconds=1)))
    )
    assert found_reason == "DURATION_GRANULARITY"
