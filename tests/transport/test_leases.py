"""Leases over the wire: taken when a claim's time has come, kept by renewing, given back, or lost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from capacitybroker.v1 import capacity_service_pb2 as capacity
from capacitybroker.v1 import claim_pb2, fleet_pb2
from capacitybroker.v1 import fleet_service_pb2 as fleets
from capacitybroker.v1 import lease_service_pb2 as pb
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from broker.ledger.fold import violations
from tests.transport.calls import claim, create, fleet, pool, refusal
from tests.world import NOON, World, world

HOUR = 3600
INVALID, PRECONDITION = grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.FAILED_PRECONDITION
Outcome = pb.LeaseOutcome.Outcome


@pytest.fixture
async def served() -> AsyncIterator[World]:
    """A broker on a real port, with one pool of 64 devices; no planner runs by itself."""
    async with world(serve=True) as made:
        await made.fleet.ApplyFleet(fleets.ApplyFleetRequest(fleet=fleet(), request_id="fleet"))
        yield made
        assert violations(await made.ledger.events(0, limit=1_000)) == ()


async def granted(served: World, **fields: Any) -> str:
    """Name of a claim that runs from now on, for four hours."""
    name = (await served.capacity.CreateClaim(create(claim(**fields)))).claim.name
    await served.plan()
    found = (await served.capacity.GetClaim(capacity.GetClaimRequest(name=name))).claim
    assert [place.start_time.seconds for place in found.placements] == [NOON]
    return name


def acquiring(name: str, **fields: Any) -> pb.AcquireLeaseRequest:
    """A request of its own for the lease of a claim."""
    return pb.AcquireLeaseRequest(**({"claim": name, "request_id": f"acquire-{name.rpartition('/')[2]}"} | fields))


async def leased(served: World, **fields: Any) -> pb.Lease:
    """The lease of a claim that runs from now on."""
    name = await granted(served)
    return (await served.leases.AcquireLease(acquiring(name, **fields))).lease


def renewal(lease: pb.Lease, **fields: Any) -> pb.LeaseRenewal:
    """What its holder sends."""
    return pb.LeaseRenewal(**({"name": lease.name, "token": lease.token} | fields))


async def renew(served: World, lease: pb.Lease, **fields: Any) -> pb.Lease:
    """The lease, renewed."""
    return (await served.leases.RenewLease(pb.RenewLeaseRequest(renewal=renewal(lease, **fields)))).lease


def seconds(span: Duration) -> float:
    return span.seconds + span.nanos / 1e9


def claim_of(lease: pb.Lease) -> str:
    return lease.name.removesuffix("/lease")


async def state(served: World, name: str) -> str:
    found = (await served.capacity.GetClaim(capacity.GetClaimRequest(name=name))).claim
    return claim_pb2.Claim.State.Name(found.state).removeprefix("STATE_")


async def test_a_lease_says_all_that_its_holder_has_to_know(served: World) -> None:
    lease = await leased(served, ttl=Duration(seconds=30))
    assert await state(served, claim_of(lease)) == "ACTIVE"
    assert lease.token.startswith(f"{lease.fencing_token}.")
    assert 29 < seconds(lease.time_left) <= 30
    assert (lease.ttl.seconds, lease.end_time.seconds) == (30, NOON + 4 * HOUR)
    assert 0 < seconds(lease.renew_after) < 15
    assert [(place.pool, place.devices) for place in lease.placements] == [("pools/dc-1", 8)]
    shown = (await served.leases.GetLease(pb.GetLeaseRequest(name=lease.name))).lease
    assert shown.token == ""
    assert shown.fencing_token == lease.fencing_token


async def test_a_holder_that_renews_keeps_its_lease_and_one_that_does_not_loses_it(served: World) -> None:
    kept, lost = await leased(served), await leased(served)
    for _ in range(4):
        await served.serve_for(30)
        assert seconds((await renew(served, kept)).time_left) > 59
    assert await state(served, claim_of(kept)) == "ACTIVE"
    gone = (await served.capacity.GetClaim(capacity.GetClaimRequest(name=claim_of(lost)))).claim
    assert (gone.state, gone.reasons[0].reason) == (claim_pb2.Claim.STATE_ENDED, claim_pb2.REASON_LEASE_EXPIRED)
    code, reason, _ = await refusal(renew(served, lost))
    assert (code, reason) == (PRECONDITION, "LEASE_EXPIRED")


async def test_a_lease_that_is_over_is_given_away_a_skew_and_a_grace_later(
    served: World,
) -> None:
    lease = await leased(served, ttl=Duration(seconds=10))
    skew_and_grace = served.leasing.terms.skew + served.leasing.terms.grace
    assert skew_and_grace >= 2_000
    await served.serve_for(10 + skew_and_grace // 1000 - 1)
    assert await state(served, claim_of(lease)) == "ACTIVE"
    await served.serve_for(3)
    assert await state(served, claim_of(lease)) == "ENDED"


async def test_what_is_released_is_free_at_once(served: World) -> None:
    whole = await granted(served, devices=64, gang=True)
    lease = (await served.leases.AcquireLease(acquiring(whole))).lease
    release = pb.ReleaseLeaseRequest(name=lease.name, token=lease.token, request_id="back")
    ended = (await served.leases.ReleaseLease(release)).claim
    assert (ended.state, ended.reasons[0].reason) == (claim_pb2.Claim.STATE_ENDED, claim_pb2.REASON_LEASE_RELEASED)
    assert (await served.leases.ReleaseLease(release)).claim == ended
    await granted(served, devices=64, gang=True)
    code, reason, _ = await refusal(renew(served, lease))
    assert (code, reason) == (PRECONDITION, "LEASE_RELEASED")


async def test_a_repeated_request_gets_the_same_token_and_another_one_a_later_one(served: World) -> None:
    name = await granted(served)
    first = (await served.leases.AcquireLease(acquiring(name))).lease
    again = (await served.leases.AcquireLease(acquiring(name))).lease
    assert (again.token, again.fencing_token) == (first.token, first.fencing_token)
    later = (await served.leases.AcquireLease(acquiring(name, request_id="another"))).lease
    assert later.fencing_token > first.fencing_token
    code, reason, _ = await refusal(renew(served, first))
    assert (code, reason) == (PRECONDITION, "LEASE_ENDED")
    # Who repeats the first request is told that nothing is left of what it gave: somebody else uses the devices.
    stale = (await served.leases.AcquireLease(acquiring(name))).lease
    assert (stale.token, seconds(stale.time_left)) == (first.token, 0)
    await renew(served, later)


async def test_tokens_are_refused_alike_whether_or_not_there_is_such_a_lease(served: World) -> None:
    lease, other = await leased(served), await leased(served)
    told = set()
    for name, token in (
        (lease.name, other.token),
        (lease.name, f"{lease.fencing_token}.{'0' * 32}"),
        (lease.name, "é" * 500),
        ("tenants/atlas/claims/none/lease", lease.token),
        ("tenants/nobody/claims/none/lease", "x"),
    ):
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await renew(served, lease, name=name, token=token)
        assert refused.value.code() is grpc.StatusCode.PERMISSION_DENIED
        told.add(refused.value.details())
    assert len(told) == 1
    assert "LEASE_TOKEN" in await refusal(renew(served, lease, token="1.x"))


async def test_many_are_renewed_in_one_call_each_with_its_own_outcome(served: World) -> None:
    kept, lost, forged = [await leased(served) for _ in range(3)]
    await served.leases.ReleaseLease(
        pb.ReleaseLeaseRequest(name=lost.name, token=lost.token, request_id="back"),
    )
    asked = [renewal(kept), renewal(lost), renewal(forged, token=kept.token)]
    answer = await served.leases.RenewLeases(pb.RenewLeasesRequest(renewals=asked))
    assert [one.outcome for one in answer.outcomes] == [
        Outcome.OUTCOME_RENEWED,
        Outcome.OUTCOME_ENDED,
        Outcome.OUTCOME_TOKEN_REFUSED,
    ]
    assert seconds(answer.outcomes[0].time_left) > 59


async def test_one_stream_keeps_leases(served: World) -> None:
    lease = await leased(served)
    call = served.leases.KeepLeases()
    for _ in range(3):
        await served.serve_for(45)
        await call.write(pb.KeepLeasesRequest(renewals=[renewal(lease)]))
        answer = await call.read()
        assert isinstance(answer, pb.KeepLeasesResponse)
        assert [one.outcome for one in answer.outcomes] == [Outcome.OUTCOME_RENEWED]
    await call.write(pb.KeepLeasesRequest())
    code, reason, _ = await refusal(call.read())
    assert (code, reason) == (INVALID, "FIELD_REQUIRED")


async def test_a_lease_never_outlives_its_claim(served: World) -> None:
    lease = await leased(served)
    served.now = NOON + 4 * HOUR - 20
    # Of the second that the server's clock shows, nearly all may be over: whoever comes next may begin a moment later.
    assert seconds((await renew(served, lease)).time_left) == pytest.approx(19.001)
    served.now += 20
    code, reason, facts = await refusal(renew(served, lease))
    assert (code, reason, facts["state"]) == (PRECONDITION, "LEASE_ENDED", "ACTIVE")
    await served.plan()
    assert await state(served, claim_of(lease)) == "ENDED"
    code, reason, facts = await refusal(renew(served, lease))
    assert (reason, facts["state"]) == ("LEASE_ENDED", "ENDED")


async def test_who_used_its_time_to_the_end_is_not_said_to_have_lost_its_lease(served: World) -> None:
    lease = await leased(served)
    served.now = NOON + 4 * HOUR
    await served.serve_for(63)
    assert await state(served, claim_of(lease)) == "ENDED", "no plan has looked at it since"
    over = (await served.capacity.GetClaim(capacity.GetClaimRequest(name=claim_of(lease)))).claim
    assert list(over.reasons) == []
    assert over.placements[0].end_time.seconds == NOON + 4 * HOUR
    code, reason, _ = await refusal(renew(served, lease))
    assert (code, reason) == (PRECONDITION, "LEASE_ENDED")


async def test_a_lease_that_nobody_could_renew_leaves_the_part_that_waits(served: World) -> None:
    """One part's time is over; the other has no place yet, behind work as far as a plan looks ahead."""
    eight = fleet(pool(deliveries=[fleet_pb2.Delivery(devices=8)]))
    await served.fleet.ApplyFleet(fleets.ApplyFleetRequest(fleet=eight, request_id="eight"))
    then = Timestamp(seconds=NOON + 4 * HOUR)
    long = claim(duration=Duration(seconds=332 * HOUR), earliest_start_time=then, latest_start_time=then, gang=True)
    behind = (await served.capacity.CreateClaim(create(long))).claim.name
    await served.plan()
    name = await granted(served, devices=16)
    await served.leases.AcquireLease(acquiring(name))
    served.now = NOON + 4 * HOUR
    await served.serve_for(63)
    assert await state(served, name) == "COMMITTED"
    code, reason, _ = await refusal(served.leases.AcquireLease(acquiring(name, request_id="again")))
    assert (code, reason) == (PRECONDITION, "LEASE_ENDED")
    await served.capacity.CancelClaim(capacity.CancelClaimRequest(name=behind, request_id="cancel"))
    await served.plan()
    both = (await served.capacity.GetClaim(capacity.GetClaimRequest(name=name))).claim.placements
    assert [place.start_time.seconds for place in both] == [NOON, NOON + 4 * HOUR]


async def test_a_plan_leaves_what_is_in_use_alone(served: World) -> None:
    lease = await leased(served)
    for _ in range(2):
        await served.capacity.CreateClaim(create(claim(devices=64)))
        await served.plan()
        served.now += HOUR
        assert await state(served, claim_of(lease)) == "ACTIVE"
        await renew(served, lease)


async def test_in_use_is_neither_cancelled_nor_changed(served: World) -> None:
    lease = await leased(served)
    cancel = capacity.CancelClaimRequest(name=claim_of(lease), request_id="cancel")
    code, reason, _ = await refusal(served.capacity.CancelClaim(cancel))
    assert (code, reason) == (PRECONDITION, "CLAIM_LEASED")
    await renew(served, lease)


async def test_supply_that_is_lost_ends_the_lease_and_the_claim_is_planned_again(served: World) -> None:
    lease = await leased(served)
    empty = fleet(pool(deliveries=[]))
    await served.fleet.ApplyFleet(fleets.ApplyFleetRequest(fleet=empty, request_id="lost"))
    await served.plan()
    assert await state(served, claim_of(lease)) == "DISPLACED"
    code, reason, facts = await refusal(renew(served, lease))
    assert (code, reason, facts["state"]) == (PRECONDITION, "LEASE_ENDED", "DISPLACED")


async def test_fifty_at_once_leave_one_holder(served: World) -> None:
    name = await granted(served)
    asked = [served.leases.AcquireLease(acquiring(name, request_id=f"r-{n}")) for n in range(50)]
    answers = await asyncio.gather(*asked, return_exceptions=True)
    refused = [answer for answer in answers if isinstance(answer, grpc.aio.AioRpcError)]
    # Who loses too many races is told so.
    assert {error.code() for error in refused} <= {grpc.StatusCode.ABORTED}
    leases = [answer.lease for answer in answers if isinstance(answer, pb.AcquireLeaseResponse)]
    assert len({lease.fencing_token for lease in leases}) == len(leases)
    last = max(leases, key=lambda lease: lease.fencing_token)
    answer = await served.leases.RenewLeases(pb.RenewLeasesRequest(renewals=[renewal(last)]))
    assert answer.outcomes[0].outcome == Outcome.OUTCOME_RENEWED
    for lease in leases:
        if lease != last:
            answer = await served.leases.RenewLeases(pb.RenewLeasesRequest(renewals=[renewal(lease)]))
            assert answer.outcomes[0].outcome == Outcome.OUTCOME_ENDED


async def test_what_cannot_be_leased(served: World) -> None:
    asked = claim(earliest_start_time=Timestamp(seconds=NOON + 5 * HOUR))
    later = (await served.capacity.CreateClaim(create(asked))).claim
    code, reason, _ = await refusal(served.leases.AcquireLease(acquiring(later.name)))
    assert (code, reason) == (PRECONDITION, "NOT_PLACED")
    await served.plan()
    code, reason, facts = await refusal(served.leases.AcquireLease(acquiring(later.name)))
    assert (code, reason) == (PRECONDITION, "LEASE_TOO_EARLY")
    assert int(facts["start_unix_seconds"]) == NOON + 5 * HOUR
    code, reason, _ = await refusal(served.leases.GetLease(pb.GetLeaseRequest(name=f"{later.name}/lease")))
    assert (code, reason) == (PRECONDITION, "LEASE_ENDED")


async def test_what_is_set_aside_for_a_tenant_is_told_with_its_leases_and_granted_to_nobody(served: World) -> None:
    floors = [fleet_pb2.Floor(tenant="atlas", devices=8), fleet_pb2.Floor(tenant="borealis", devices=16)]
    declared = fleet(pool(floors=floors))
    await served.fleet.ApplyFleet(fleets.ApplyFleetRequest(fleet=declared, request_id="floors"))
    assert (await served.fleet.GetFleet(fleets.GetFleetRequest())).fleet == declared
    await served.capacity.CreateClaim(create(claim(devices=64)))
    lease = await leased(served)
    assert [(safe.pool, safe.devices) for safe in lease.safe_capacity] == [("pools/dc-1", 8)]
    (status,) = (await served.fleet.ListPools(fleets.ListPoolsRequest())).pools
    assert status.utilisation.peak_granted_devices <= 64 - 8 - 16
    assert {level.supplied_devices for level in status.utilisation.levels} == {64 - 8 - 16}
