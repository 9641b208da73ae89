"""Expected starts over the wire: told with answers and offers, scored once claims have started."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from capacitybroker.v1 import capacity_service_pb2 as capacity
from capacitybroker.v1 import claim_pb2, expected_pb2
from capacitybroker.v1 import fleet_service_pb2 as fleet_service
from capacitybroker.v1 import planning_service_pb2 as planning
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.timestamp_pb2 import Timestamp

from broker.domain.slots import SLOT_SECONDS
from broker.feed import Feed, FeedSettings
from tests.transport.calls import claim, create, fleet, refusal
from tests.world import NOON, World, until, world

WAITING, PLANNED, FIRM = (
    expected_pb2.ExpectedStart.BASIS_WAITING,
    expected_pb2.ExpectedStart.BASIS_PLANNED,
    expected_pb2.ExpectedStart.BASIS_FIRM,
)


def hour(count: int) -> Timestamp:
    """So many hours after noon."""
    return Timestamp(seconds=NOON + count * SLOT_SECONDS)


@pytest.fixture
async def served() -> AsyncIterator[World]:
    async with world(serve=True, at_once=True) as made:
        await made.fleet.ApplyFleet(fleet_service.ApplyFleetRequest(fleet=fleet(), request_id="f"))
        await until(lambda: made.feed.outlook.fleet.pools)
        yield made


async def planned(served: World) -> None:
    """A plan is in force, and the feed has seen it."""
    revision = (await served.plan()).revision
    await until(lambda: served.feed.revision >= revision)


async def test_a_waiting_claim_is_told_a_range_inside_its_window(served: World) -> None:
    made = await served.capacity.CreateClaim(create(claim(earliest_start_time=hour(2), latest_start_time=hour(12))))
    told = made.expected_start
    assert (told.basis, told.past_starts) == (WAITING, 0)
    assert not told.HasField("started_percent")
    assert told.earliest_time == hour(2)
    assert told.earliest_time.seconds <= told.p50_time.seconds <= told.p80_time.seconds <= hour(12).seconds
    read = (await served.capacity.GetClaim(capacity.GetClaimRequest(name=made.claim.name))).claim
    listed = (await served.capacity.ListClaims(capacity.ListClaimsRequest(parent="tenants/atlas"))).claims[0]
    explained = (await served.capacity.ExplainClaim(capacity.ExplainClaimRequest(name=made.claim.name))).claim
    assert read.expected_start == listed.expected_start == explained.expected_start == told


async def test_the_first_answer_is_repeated_to_the_letter_with_what_is_expected_now(served: World) -> None:
    request = create(claim(latest_start_time=hour(12)))
    first = await served.capacity.CreateClaim(request)
    served.now += 4 * SLOT_SECONDS
    again = await served.capacity.CreateClaim(request)
    assert again.claim == first.claim
    assert again.expected_start.earliest_time == hour(4)


async def test_planned_and_firm_claims_are_told_so_and_started_ones_nothing(served: World) -> None:
    later = await served.capacity.CreateClaim(create(claim(earliest_start_time=hour(8), latest_start_time=hour(12))))
    soon = await served.capacity.CreateClaim(create(claim(latest_start_time=hour(0))))
    await planned(served)

    async def expected(made: capacity.CreateClaimResponse) -> claim_pb2.Claim:
        return (await served.capacity.GetClaim(capacity.GetClaimRequest(name=made.claim.name))).claim

    told = (await expected(later)).expected_start
    assert (told.basis, told.p50_time, told.p80_time) == (PLANNED, hour(8), hour(8))
    assert (await expected(soon)).expected_start.basis == FIRM
    served.now += SLOT_SECONDS
    assert not (await expected(soon)).HasField("expected_start")


async def test_an_offer_says_when_it_would_start(served: World) -> None:
    request = capacity.QuoteClaimRequest(parent="tenants/atlas", claim=claim(gang=True))
    (offer,) = (await served.capacity.QuoteClaim(request)).offers
    assert offer.expected_start.basis == FIRM
    assert offer.expected_start.p80_time == offer.start_time
    request.claim.earliest_start_time.CopyFrom(hour(6))
    (offer,) = (await served.capacity.QuoteClaim(request)).offers
    assert (offer.expected_start.basis, offer.expected_start.p50_time) == (PLANNED, hour(6))


async def test_starts_are_scored_against_what_was_told(served: World) -> None:
    for _ in range(3):
        await served.capacity.CreateClaim(create(claim(latest_start_time=hour(0))))
    await planned(served)
    served.now += 2 * SLOT_SECONDS
    await planned(served)
    found = (await served.planning.GetCalibration(planning.GetCalibrationRequest())).calibrations
    assert [each.basis for each in found] == [*[WAITING] * 4, PLANNED, FIRM]
    assert [each.waited.seconds // SLOT_SECONDS for each in found] == [0, 1, 6, 24, 0, 0]
    scored = [(each.starts, each.inside_p80, each.by_p50) for each in found if each.starts]
    assert scored == [(3, 3, 3), (3, 3, 3)]


@pytest.mark.parametrize(
    ("log_events_max", "waiting", "firm"),
    [
        (1_000, 4, 4),
        (6, 2, 3),  # what the second claim was told when it was made is no longer known
    ],
)
async def test_a_server_that_starts_anew_learns_from_the_events_that_are_kept(
    log_events_max: int, waiting: int, firm: int
) -> None:
    def starts(feed: Feed) -> list[int]:
        return [each.starts for each in feed.outlook.expected.calibration() if not each.waited]

    async with world(serve=True, log_events_max=log_events_max) as made:

        async def one_more() -> None:
            await made.capacity.CreateClaim(create(claim(latest_start_time=Timestamp(seconds=made.now))))
            await planned(made)
            made.now += 2 * SLOT_SECONDS

        await made.fleet.ApplyFleet(fleet_service.ApplyFleetRequest(fleet=fleet(), request_id="f"))
        for _ in range(4):
            await one_more()
        await planned(made)
        assert starts(made.feed) == [4, 0, 4]
        async with Feed(made.ledger, FeedSettings(history_batch_events=2)) as other:
            await until(lambda: starts(other) == [waiting, 0, firm])
            await one_more()
            await planned(made)
            # From here on both learn the same.
            await until(lambda: starts(other) == [waiting + 1, 0, firm + 1])
            assert starts(made.feed) == [5, 0, 5]


async def test_nobody_may_set_it(served: World) -> None:
    made = await served.capacity.CreateClaim(create())
    mask = FieldMask(paths=["expected_start"])
    _, reason, _ = await refusal(
        served.capacity.UpdateClaim(
            capacity.UpdateClaimRequest(claim=made.claim, update_mask=mask, request_id="set-expected")
        )
    )
    assert reason == "FIELD_IMMUTABLE"
