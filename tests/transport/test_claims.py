"""A claim over the wire: asked, read back, listed, changed, withdrawn, asked again."""

from __future__ import annotations

import asyncio

import grpc
from capacitybroker.v1 import capacity_service_pb2 as capacity
from capacitybroker.v1 import claim_pb2
from capacitybroker.v1 import fleet_service_pb2 as fleet_service
from capacitybroker.v1 import planning_service_pb2 as planning
from google.protobuf.duration_pb2 import Duration
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.timestamp_pb2 import Timestamp

from broker.domain.slots import SLOT_SECONDS
from tests.transport.calls import claim, create, refusal
from tests.world import NOON, World


async def test_what_was_asked_reads_back(served: World) -> None:
    asked = claim(
        devices=16,
        silicon=[claim_pb2.SiliconChoice(silicon="blackwell", devices=24, duration=Duration(seconds=7200))],
        gang=True,
        whole_domains=True,
        min_domain_devices=8,
        min_devices=8,
        max_devices=32,
        earliest_start_time=Timestamp(seconds=NOON + SLOT_SECONDS),
        latest_start_time=Timestamp(seconds=NOON + 40 * SLOT_SECONDS),
        deadline=Timestamp(seconds=NOON + 80 * SLOT_SECONDS),
        preferred_pools=["pools/dc-1"],
        tier=claim_pb2.TIER_GUARANTEED,
        value_microusd=10**15 - 1,
        labels={"team": "αβγ 🚀", "odd": "%s{0.__class__}\r\n*1\r\n$8\r\nFLUSHALL"},
    )
    stored = (await served.capacity.CreateClaim(create(asked))).claim
    read = (await served.capacity.GetClaim(capacity.GetClaimRequest(name=stored.name))).claim
    for field in claim_pb2.Claim.DESCRIPTOR.fields[:18]:
        if field.name != "name":
            assert getattr(read, field.name) == getattr(asked, field.name), field.name
    assert stored.state == claim_pb2.Claim.STATE_WAITING
    assert stored.reasons[0].reason == claim_pb2.REASON_AWAITING_PLAN


async def test_the_terms_of_giving_way_read_back_and_the_usual_ones_are_not_spelt_out(served: World) -> None:
    def hours(count: int) -> Duration:
        return Duration(seconds=count * SLOT_SECONDS)

    terms = claim_pb2.Preemption(min_run=hours(4), notice=hours(2), checkpoint_interval=hours(3))
    for given, told in ((terms, terms), (claim_pb2.Preemption(notice=hours(1)), None), (None, None)):
        asked = claim(tier=claim_pb2.TIER_SPOT, preemption=given)
        stored = (await served.capacity.CreateClaim(create(asked))).claim
        assert (stored.preemption if stored.HasField("preemption") else None) == told


async def test_who_gives_way_is_told_what_it_keeps_and_what_is_left(served: World) -> None:
    def hours(count: int) -> Duration:
        return Duration(seconds=count * SLOT_SECONDS)

    async def made(**fields: object) -> str:
        return (await served.capacity.CreateClaim(create(claim(devices=64, gang=True, **fields)))).claim.name

    async def planned(passed: int) -> None:
        served.now += passed * SLOT_SECONDS
        await served.planning.RunPlan(planning.RunPlanRequest(request_id=f"p-{served.now}"))

    terms = claim_pb2.Preemption(checkpoint_interval=hours(1))
    long = await made(tier=claim_pb2.TIER_SPOT, duration=hours(20), preemption=terms)
    await planned(0)
    await made(tier=claim_pb2.TIER_GUARANTEED, duration=hours(4), deadline=Timestamp(seconds=NOON + 9 * SLOT_SECONDS))
    await planned(2)
    told = (await served.capacity.GetClaim(capacity.GetClaimRequest(name=long))).claim
    assert (told.state, told.reasons[0].reason) == (claim_pb2.Claim.STATE_COMMITTED, claim_pb2.REASON_PREEMPTED)
    (place,) = told.placements
    done = (place.end_time.seconds - place.start_time.seconds) // SLOT_SECONDS
    assert place.left_ppm == 1_000_000 * (20 - done) // 20
    await planned(2)
    later = (await served.capacity.GetClaim(capacity.GetClaimRequest(name=long))).claim
    assert list(later.runs) == [place]
    assert [p.left_ppm for p in later.placements] == [0]


async def test_output_only_fields_of_a_caller_are_ignored(served: World) -> None:
    forged = claim(
        name="tenants/borealis/claims/x",
        state=claim_pb2.Claim.STATE_COMMITTED,
        placements=[claim_pb2.Placement(pool="pools/dc-1", devices=64)],
        revision=99,
    )
    stored = (await served.capacity.CreateClaim(create(forged))).claim
    assert stored.name.startswith("tenants/atlas/claims/")
    assert (stored.state, len(stored.placements)) == (claim_pb2.Claim.STATE_WAITING, 0)


async def test_a_plan_places_it_and_the_pool_shows_it(served: World) -> None:
    name = (await served.capacity.CreateClaim(create(claim(devices=48, gang=True)))).claim.name
    plan = (await served.planning.RunPlan(planning.RunPlanRequest(request_id="p"))).plan
    assert (plan.claims, plan.placed) == (1, 1)
    assert plan.objective_microusd <= plan.bound_microusd
    placed = (await served.capacity.GetClaim(capacity.GetClaimRequest(name=name))).claim
    assert [p.devices for p in placed.placements] == [48]
    pool = (await served.fleet.GetPool(fleet_service.GetPoolRequest(name="pools/dc-1"))).pool
    assert pool.utilisation.granted_device_hours == 48 * 4
    assert pool.utilisation.peak_granted_devices == 48
    assert (await served.planning.GetPlan(planning.GetPlanRequest(name=plan.name))).plan == plan


async def test_a_repeated_request_has_one_effect_and_the_first_answer(served: World) -> None:
    request = create(claim(deadline=Timestamp(seconds=NOON + 10 * SLOT_SECONDS)), request_id="same")
    answers = await asyncio.gather(*(served.capacity.CreateClaim(request) for _ in range(50)))
    assert len({answer.claim.name for answer in answers}) == 1
    # Hours later the same claim could no longer be asked for; its repetition is still answered.
    served.now += 20 * SLOT_SECONDS
    assert (await served.capacity.CreateClaim(request)).claim == answers[0].claim
    listed = await served.capacity.ListClaims(capacity.ListClaimsRequest(parent="tenants/-"))
    assert len(listed.claims) == 1


async def test_a_request_id_means_one_thing(served: World) -> None:
    await served.capacity.CreateClaim(create(request_id="same"))
    other = await refusal(served.capacity.CreateClaim(create(claim(devices=9), request_id="same")))
    assert other[:2] == (grpc.StatusCode.INVALID_ARGUMENT, "REQUEST_ID_REUSED")
    name = (await served.capacity.CreateClaim(create())).claim.name
    method = await refusal(served.capacity.CancelClaim(capacity.CancelClaimRequest(name=name, request_id="same")))
    assert method[:2] == (grpc.StatusCode.INVALID_ARGUMENT, "REQUEST_ID_REUSED")
    neighbour = await served.capacity.CreateClaim(create(parent="tenants/borealis", request_id="same"))
    assert neighbour.claim.name.startswith("tenants/borealis/")


async def test_a_name_is_taken_once(served: World) -> None:
    await served.capacity.CreateClaim(create(claim_id="run-1"))
    again = await refusal(served.capacity.CreateClaim(create(claim_id="run-1")))
    assert again[:2] == (grpc.StatusCode.ALREADY_EXISTS, "CLAIM_EXISTS")


async def test_an_amendment_keeps_a_place_that_still_fits(served: World) -> None:
    stored = (await served.capacity.CreateClaim(create(claim(earliest_start_time=_in_hours(5), gang=True)))).claim
    await served.planning.RunPlan(planning.RunPlanRequest(request_id="p"))
    held = (await served.capacity.GetClaim(capacity.GetClaimRequest(name=stored.name))).claim
    changed = (await _update(served, held.name, ["value_microusd"], value_microusd=1)).claim
    assert (changed.value_microusd, list(changed.placements)) == (1, list(held.placements))
    grown = (await _update(served, held.name, ["devices"], devices=32)).claim
    assert grown.state == claim_pb2.Claim.STATE_WAITING
    assert grown.reasons[0].reason == claim_pb2.REASON_AMENDED


async def test_an_amended_count_counts_for_silicon_that_named_none(served: World) -> None:
    asked = claim(
        devices=64,
        gang=True,
        silicon=[claim_pb2.SiliconChoice(silicon="b200")],
        earliest_start_time=_in_hours(5),
        latest_start_time=_in_hours(90),
    )
    stored = (await served.capacity.CreateClaim(create(asked))).claim
    changed = (await _update(served, stored.name, ["devices"], devices=32)).claim
    assert changed.value_microusd * 2 == stored.value_microusd, "worth by the tier's rate, as nobody said otherwise"
    await served.planning.RunPlan(planning.RunPlanRequest(request_id="p"))
    held = (await served.capacity.GetClaim(capacity.GetClaimRequest(name=stored.name))).claim
    assert [p.devices for p in held.placements] == [32]
    sooner = (await _update(served, held.name, ["latest_start_time"], latest_start_time=_in_hours(10))).claim
    assert [p.latest_start_time for p in sooner.placements] == [_in_hours(10)]


async def test_a_committed_claim_changes_in_value_and_labels_only(served: World) -> None:
    name = (await served.capacity.CreateClaim(create())).claim.name
    await served.planning.RunPlan(planning.RunPlanRequest(request_id="p"))
    refused = await refusal(_update(served, name, ["devices"], devices=16))
    assert refused[:2] == (grpc.StatusCode.FAILED_PRECONDITION, "CLAIM_COMMITTED")
    assert (await _update(served, name, ["labels"], labels={"a": "b"})).claim.labels == {"a": "b"}


async def test_a_stale_etag_is_refused(served: World) -> None:
    stored = (await served.capacity.CreateClaim(create())).claim
    await _update(served, stored.name, ["value_microusd"], value_microusd=5)
    stale = await refusal(_update(served, stored.name, ["value_microusd"], value_microusd=6, etag=stored.etag))
    assert stale[:2] == (grpc.StatusCode.ABORTED, "ETAG_MISMATCH")
    cancel = capacity.CancelClaimRequest(name=stored.name, etag=stored.etag, request_id="c")
    assert (await refusal(served.capacity.CancelClaim(cancel)))[1] == "ETAG_MISMATCH"


async def test_a_withdrawn_claim_stays_withdrawn(served: World) -> None:
    name = (await served.capacity.CreateClaim(create())).claim.name
    cancelled = await served.capacity.CancelClaim(capacity.CancelClaimRequest(name=name, request_id="c1"))
    assert cancelled.claim.state == claim_pb2.Claim.STATE_CANCELLED
    again = await served.capacity.CancelClaim(capacity.CancelClaimRequest(name=name, request_id="c2"))
    assert again.claim == cancelled.claim
    closed = await refusal(_update(served, name, ["devices"], devices=9))
    assert closed[:2] == (grpc.StatusCode.FAILED_PRECONDITION, "CLAIM_CLOSED")


async def test_pages_are_complete_and_belong_to_their_list(served: World) -> None:
    names = {(await served.capacity.CreateClaim(create(claim_id=f"run-{n}"))).claim.name for n in range(7)}
    await served.capacity.CreateClaim(create(parent="tenants/borealis"))
    seen: list[str] = []
    token = ""
    while True:
        request = capacity.ListClaimsRequest(parent="tenants/atlas", page_size=3, page_token=token)
        page = await served.capacity.ListClaims(request)
        seen += [found.name for found in page.claims]
        token = page.next_page_token
        if not token:
            break
    assert seen == sorted(names)
    request = capacity.ListClaimsRequest(parent="tenants/atlas", page_size=3)
    token = (await served.capacity.ListClaims(request)).next_page_token
    foreign = capacity.ListClaimsRequest(parent="tenants/borealis", page_token=token)
    assert (await refusal(served.capacity.ListClaims(foreign)))[1] == "PAGE_TOKEN"


async def test_lists_can_be_limited_to_states(served: World) -> None:
    kept = (await served.capacity.CreateClaim(create())).claim.name
    gone = (await served.capacity.CreateClaim(create())).claim.name
    await served.capacity.CancelClaim(capacity.CancelClaimRequest(name=gone, request_id="c"))
    request = capacity.ListClaimsRequest(parent="tenants/-", states=[claim_pb2.Claim.STATE_CANCELLED])
    assert [c.name for c in (await served.capacity.ListClaims(request)).claims] == [gone] != [kept]


def _in_hours(hours: int) -> Timestamp:
    return Timestamp(seconds=NOON + hours * SLOT_SECONDS)


def _update(
    served: World, name: str, paths: list[str], **fields: object
) -> grpc.aio.UnaryUnaryCall[capacity.UpdateClaimRequest, capacity.UpdateClaimResponse]:
    return served.capacity.UpdateClaim(
        capacity.UpdateClaimRequest(
            claim=claim(name=name, **fields), update_mask=FieldMask(paths=paths), request_id=served.ids()
        )
    )
