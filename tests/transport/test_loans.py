"""Work on loan over the wire: asked for, refused, quoted, and seen in what tenants hold."""

from __future__ import annotations

from typing import Any

import pytest_asyncio
from capacitybroker.v1 import capacity_service_pb2 as capacity
from capacitybroker.v1 import claim_pb2, quote_pb2
from capacitybroker.v1 import fleet_pb2 as fleets
from capacitybroker.v1 import fleet_service_pb2 as service
from capacitybroker.v1 import planning_service_pb2 as planning
from google.protobuf.timestamp_pb2 import Timestamp

from broker.domain.slots import SLOT_SECONDS
from tests.transport.calls import claim, create, fleet
from tests.world import NOON, World

ATLAS = fleets.Tenant(id="atlas", quota_devices=16, loan_devices=24)


@pytest_asyncio.fixture
async def lending(served: World) -> World:
    """A broker whose tenant atlas may hold 16 of 64 devices, and 24 more on loan."""
    declared = fleet(tenants=[ATLAS, fleets.Tenant(id="borealis")])
    await served.fleet.ApplyFleet(service.ApplyFleetRequest(fleet=declared, request_id="lending"))
    return served


def spot(**fields: Any) -> claim_pb2.Claim:
    """Sixteen devices at once, from now on."""
    return claim(**({"devices": 16, "gang": True, "tier": claim_pb2.TIER_SPOT} | fields))


async def planned(w: World) -> None:
    await w.planning.RunPlan(planning.RunPlanRequest(request_id=f"p-{await w.ledger.revision()}"))


async def test_what_is_on_loan_reads_back_and_is_served_beside_the_quota(lending: World) -> None:
    asked = [spot(), spot(on_loan=True)]
    made = [(await lending.capacity.CreateClaim(create(one))).claim for one in asked]
    assert [one.on_loan for one in made] == [False, True]
    await planned(lending)
    for one in made:
        (place,) = (await lending.capacity.GetClaim(capacity.GetClaimRequest(name=one.name))).claim.placements
        assert place.start_time.seconds == NOON, "neither had to wait for the other"


async def test_tenants_show_what_they_hold_of_their_quota_and_on_loan(lending: World) -> None:
    for one in (spot(on_loan=True), spot(earliest_start_time=Timestamp(seconds=NOON + 9 * SLOT_SECONDS))):
        await lending.capacity.CreateClaim(create(one))
    await planned(lending)
    atlas, borealis = (await lending.fleet.ListTenants(service.ListTenantsRequest())).tenants
    assert (atlas.name, atlas.tenant) == ("tenants/atlas", ATLAS)
    assert (atlas.quota_used_devices, atlas.quota_peak_devices) == (0, 16)
    assert (atlas.loan_used_devices, atlas.loan_peak_devices) == (16, 16)
    assert borealis == service.TenantStatus(name="tenants/borealis", tenant=fleets.Tenant(id="borealis"))
    later = service.ListTenantsRequest(start_time=Timestamp(seconds=NOON + 9 * SLOT_SECONDS))
    atlas = (await lending.fleet.ListTenants(later)).tenants[0]
    assert (atlas.quota_used_devices, atlas.loan_peak_devices) == (16, 0)


async def test_more_than_may_be_on_loan_waits_and_says_so(lending: World) -> None:
    deadline = Timestamp(seconds=NOON + 5 * SLOT_SECONDS)
    names = [
        (await lending.capacity.CreateClaim(create(spot(on_loan=True, deadline=deadline)))).claim.name for _ in range(2)
    ]
    await planned(lending)
    claims = [(await lending.capacity.GetClaim(capacity.GetClaimRequest(name=name))).claim for name in names]
    (waiting,) = [one for one in claims if not one.placements]
    assert [why.reason for why in waiting.reasons] == [claim_pb2.REASON_QUOTA_REACHED]
    assert "on loan" in waiting.reasons[0].message
    told = await lending.capacity.ExplainClaim(capacity.ExplainClaimRequest(name=waiting.name))
    assert told.walls[0].quota_free_devices == 8
    assert [holder.claim for holder in told.holders] == [one.name for one in claims if one.placements]


async def test_a_quote_says_that_it_could_be_had_on_loan(lending: World) -> None:
    wanted = spot(devices=24, deadline=Timestamp(seconds=NOON + 5 * SLOT_SECONDS), value_microusd=10**9)
    quote = await lending.capacity.QuoteClaim(capacity.QuoteClaimRequest(parent="tenants/atlas", claim=wanted))
    assert not quote.offers
    offers = {tuple(change.kind for change in offer.changes): offer for offer in quote.counter_offers}
    lent = offers[quote_pb2.Change.KIND_ON_LOAN,]
    assert lent.claim.on_loan
    taken = create(lent.claim, placements=lent.placements)
    made = (await lending.capacity.CreateClaim(taken)).claim
    assert [place.devices for place in made.placements] == [24]
