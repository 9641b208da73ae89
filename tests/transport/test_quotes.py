"""Quotes over the wire: told, held, redeemed as quoted, lapsed; offers taken; waiting claims explained."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any, cast

import grpc
import pytest
from capacitybroker.v1 import capacity_service_pb2 as capacity
from capacitybroker.v1 import claim_pb2, quote_pb2
from capacitybroker.v1 import fleet_pb2 as fleets
from capacitybroker.v1 import fleet_service_pb2 as fleet_service
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from broker.domain.slots import SLOT_SECONDS
from broker.domain.snapshot import Event
from broker.ledger.fold import violations
from broker.ledger.port import Ledger
from tests.transport.calls import claim, create, fleet, pool, refusal
from tests.world import NOON, World, until, world


@pytest.fixture
async def served() -> AsyncIterator[World]:
    async with world(serve=True, at_once=True) as made:
        await made.fleet.ApplyFleet(fleet_service.ApplyFleetRequest(fleet=fleet(), request_id="f"))
        await until(lambda: made.feed.outlook.fleet.pools)
        yield made


def quote(message: claim_pb2.Claim, *, hold: int = 0, **fields: object) -> capacity.QuoteClaimRequest:
    request = capacity.QuoteClaimRequest(parent="tenants/atlas", claim=message, **fields)  # type: ignore[arg-type]
    if hold:
        request.hold_for.CopyFrom(Duration(seconds=hold))
        request.request_id = request.request_id or f"q-{create().request_id}"
    return request


def redeem(name: str, request_id: str = "r") -> capacity.RedeemQuoteRequest:
    return capacity.RedeemQuoteRequest(name=name, request_id=request_id)


async def seen(served: World) -> None:
    """Wait until the desk knows all that the ledger does."""
    await until(lambda: served.feed.revision == served.ledger._market.revision)


async def test_a_quote_tells_what_could_be_had_and_stores_nothing(served: World) -> None:
    told = await served.capacity.QuoteClaim(quote(claim(devices=16, gang=True)))
    (offer,) = told.offers
    assert [(p.pool, p.devices) for p in offer.placements] == [("pools/dc-1", 16)]
    assert offer.start_time.seconds == NOON
    assert told.revision == 1
    assert not told.HasField("held")
    assert not told.counter_offers
    assert (await served.ledger.snapshot()).claims == ()


async def test_an_offer_that_is_taken_is_granted_as_offered(served: World) -> None:
    (offer,) = (
        await served.capacity.QuoteClaim(quote(claim(devices=48, gang=True, tier=claim_pb2.TIER_GUARANTEED)))
    ).offers
    taken = (await served.capacity.CreateClaim(create(offer.claim, placements=offer.placements))).claim
    assert [(p.pool, p.devices, p.start_time, p.end_time) for p in taken.placements] == [
        (p.pool, p.devices, p.start_time, p.end_time) for p in offer.placements
    ]
    code, reason, _ = await refusal(served.capacity.CreateClaim(create(offer.claim, placements=offer.placements)))
    assert (code, reason) == (grpc.StatusCode.FAILED_PRECONDITION, "OFFER_GONE")
    assert len((await served.ledger.snapshot()).claims) == 1


def at(hour: int) -> Timestamp:
    return Timestamp(seconds=NOON + hour * SLOT_SECONDS)


async def test_an_offer_tells_who_would_start_later_for_it_and_is_granted_so(served: World) -> None:
    large = fleet(pool(deliveries=[fleets.Delivery(devices=200)]))
    await served.fleet.ApplyFleet(fleet_service.ApplyFleetRequest(fleet=large, request_id="g"))
    await served.plan()
    await until(lambda: served.feed.outlook.prices is not None)
    small = {"devices": 10, "gang": True, "tier": claim_pb2.TIER_GUARANTEED, "duration": Duration(seconds=7200)}
    theirs = claim(earliest_start_time=at(4), latest_start_time=at(9), **small)
    for n in range(20):
        parent = ["tenants/atlas", "tenants/borealis"][n % 2]
        assert (await served.capacity.CreateClaim(create(theirs, parent=parent))).claim.placements
        await seen(served)
    mine = claim(earliest_start_time=at(4), latest_start_time=at(4), **small)
    told = await served.capacity.QuoteClaim(quote(mine, hold=60))
    (offer,) = told.offers
    assert not told.HasField("held"), "what others must make room for cannot be kept aside"
    (move,) = offer.moves
    assert (move.pool, move.devices) == ("pools/dc-1", 10)
    assert at(4).seconds == move.start_time.seconds < move.new_start_time.seconds <= at(9).seconds
    assert not move.claim or move.claim.startswith("tenants/atlas/"), "claims of others are not named"
    taken = (await served.capacity.CreateClaim(create(mine, placements=offer.placements))).claim
    assert [p.start_time.seconds for p in taken.placements] == [at(4).seconds]
    starts = [
        p.start_time.seconds
        for c in (await served.capacity.ListClaims(capacity.ListClaimsRequest(parent="tenants/-", page_size=99))).claims
        for p in c.placements
    ]
    assert sorted(starts) == [at(4).seconds] * 20 + [move.new_start_time.seconds]
    assert violations(await served.ledger.events(0, limit=1_000)) == ()


async def test_placements_that_nobody_offered_are_refused(served: World) -> None:
    (offer,) = (await served.capacity.QuoteClaim(quote(claim(devices=16, gang=True)))).offers
    forged = claim_pb2.Placement()
    forged.CopyFrom(offer.placements[0])
    forged.devices = 8
    before = await served.ledger.revision()
    _, reason, _ = await refusal(served.capacity.CreateClaim(create(offer.claim, placements=[forged])))
    assert reason == "OFFER_GONE"
    forged.end_time.seconds += 60
    _, reason, _ = await refusal(served.capacity.CreateClaim(create(offer.claim, placements=[forged])))
    assert reason == "DURATION_GRANULARITY"
    assert await served.ledger.revision() == before


async def test_what_is_held_counts_as_used_and_is_redeemed_as_quoted(served: World) -> None:
    wanted = claim(devices=40, gang=True, tier=claim_pb2.TIER_GUARANTEED)
    told = await served.capacity.QuoteClaim(quote(wanted, hold=300))
    assert told.held.state == claim_pb2.Claim.STATE_HELD
    assert told.held.hold_expire_time.seconds == NOON + 300
    await seen(served)
    other = await served.capacity.QuoteClaim(quote(wanted))
    assert other.offers[0].start_time.seconds >= told.held.placements[0].end_time.seconds
    served.now += 299
    made = (await served.capacity.RedeemQuote(redeem(told.held.name))).claim
    assert made.state == claim_pb2.Claim.STATE_COMMITTED
    assert list(made.placements) == list(told.held.placements)
    again = (await served.capacity.RedeemQuote(redeem(told.held.name))).claim
    assert again == made
    _, reason, _ = await refusal(served.capacity.RedeemQuote(redeem(told.held.name, "other")))
    assert reason == "NOT_HELD"


@pytest.mark.parametrize("lapsed", [False, True])
async def test_after_its_time_a_quote_is_answered_with_a_fresh_one(served: World, lapsed: bool) -> None:
    wanted = claim(devices=40, gang=True, tier=claim_pb2.TIER_GUARANTEED)
    held = (await served.capacity.QuoteClaim(quote(wanted, hold=300))).held
    served.now += 300
    await seen(served)
    if lapsed:
        assert await served.desk.lapse() == 1
        assert await served.desk.lapse() == 0
        await seen(served)
    told = await served.capacity.RedeemQuote(redeem(held.name))
    assert not told.HasField("claim")
    assert bool(told.offers) or bool(told.counter_offers)
    if lapsed:
        assert told.offers[0].start_time.seconds < held.placements[0].end_time.seconds
        now = (await served.capacity.GetClaim(capacity.GetClaimRequest(name=held.name))).claim
        assert now.state == claim_pb2.Claim.STATE_EXPIRED
        assert now.reasons[0].reason == claim_pb2.REASON_QUOTE_LAPSED
    assert violations(await served.ledger.events(0, limit=100)) == ()


async def test_the_same_hold_again_is_the_same_hold(served: World) -> None:
    request = quote(claim(devices=40, gang=True), hold=60)
    first, again = [await served.capacity.QuoteClaim(request) for _ in range(2)]
    assert first.held == again.held
    assert len((await served.ledger.snapshot()).claims) == 1


async def test_a_tenant_holds_a_few_quotes_only(served: World) -> None:
    for _ in range(16):
        await served.capacity.QuoteClaim(quote(claim(devices=1, gang=True), hold=60))
    await seen(served)
    code, reason, _ = await refusal(served.capacity.QuoteClaim(quote(claim(devices=1, gang=True), hold=60)))
    assert (code, reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "HOLD_LIMIT")
    served.now += 60
    assert (await served.capacity.QuoteClaim(quote(claim(devices=1, gang=True), hold=60))).HasField("held")


async def test_a_plan_leaves_what_is_held_alone(served: World) -> None:
    held = (await served.capacity.QuoteClaim(quote(claim(devices=40, gang=True), hold=60))).held
    await served.capacity.CreateClaim(create(claim(devices=64, gang=True, tier=claim_pb2.TIER_GUARANTEED)))
    await served.plan()
    now = (await served.capacity.GetClaim(capacity.GetClaimRequest(name=held.name))).claim
    assert now == held
    assert violations(await served.ledger.events(0, limit=100)) == ()


async def test_a_hold_can_be_cancelled_but_not_changed(served: World) -> None:
    held = (await served.capacity.QuoteClaim(quote(claim(devices=40, gang=True), hold=60))).held
    held.devices = 8
    change = capacity.UpdateClaimRequest(claim=held, request_id="u")
    change.update_mask.paths.append("devices")
    _, reason, _ = await refusal(served.capacity.UpdateClaim(change))
    assert reason == "CLAIM_HELD"
    gone = await served.capacity.CancelClaim(capacity.CancelClaimRequest(name=held.name, request_id="c"))
    assert gone.claim.state == claim_pb2.Claim.STATE_CANCELLED


async def test_counter_offers_say_how_the_claim_gives_way(served: World) -> None:
    await served.capacity.CreateClaim(create(claim(devices=60, gang=True, tier=claim_pb2.TIER_GUARANTEED)))
    await served.plan()
    await seen(served)
    soon = Timestamp(seconds=NOON + SLOT_SECONDS)
    wanted = claim(devices=8, gang=True, tier=claim_pb2.TIER_GUARANTEED, latest_start_time=soon)
    told = await served.capacity.QuoteClaim(quote(wanted))
    assert not told.offers
    kinds = {offer.changes[0].kind: offer for offer in told.counter_offers}
    assert quote_pb2.Change.KIND_LATER in kinds
    assert kinds[quote_pb2.Change.KIND_FEWER_DEVICES].changes[0].amount == 4
    for offer in told.counter_offers:
        assert offer.placements
    fewer = kinds[quote_pb2.Change.KIND_FEWER_DEVICES]
    taken = (await served.capacity.CreateClaim(create(fewer.claim, placements=fewer.placements))).claim
    assert taken.placements[0].devices == 4


class _Behind:
    """A ledger whose events, once it is ``held``, arrive only when somebody asks how far it is."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger, self._asked, self.held = ledger, asyncio.Event(), False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._ledger, name)

    async def revision(self) -> int:
        if self.held:
            self._asked.set()
        return await self._ledger.revision()

    async def events(self, after: int, **limits: int) -> Sequence[Event]:
        found = await self._ledger.events(after, **limits)
        if self.held:
            await self._asked.wait()
        return found


async def test_an_offer_is_not_gone_because_the_market_is_behind(served: World) -> None:
    whole, part = claim(devices=64, gang=True, tier=claim_pb2.TIER_GUARANTEED), claim(devices=8, gang=True)
    (offer,) = (await served.capacity.QuoteClaim(quote(part))).offers
    served.feed.ledger = cast(Ledger, behind := _Behind(served.ledger))
    (first,) = (await served.capacity.QuoteClaim(quote(whole))).offers
    in_the_way = (await served.capacity.CreateClaim(create(whole, placements=first.placements))).claim
    await seen(served)
    behind.held = True
    await served.capacity.CancelClaim(capacity.CancelClaimRequest(name=in_the_way.name, request_id="c"))
    made = (await served.capacity.CreateClaim(create(offer.claim, placements=offer.placements))).claim
    assert [(p.pool, p.start_time) for p in made.placements] == [(p.pool, p.start_time) for p in offer.placements]


async def test_a_waiting_claim_is_explained_and_the_way_round_works(served: World) -> None:
    big = claim(devices=60, gang=True, tier=claim_pb2.TIER_GUARANTEED)
    blocker = (await served.capacity.CreateClaim(create(big, parent="tenants/borealis"))).claim
    soon = Timestamp(seconds=NOON + SLOT_SECONDS)
    small = claim(
        devices=8, gang=True, latest_start_time=soon, tier=claim_pb2.TIER_GUARANTEED, value_microusd=1_000_000
    )
    waits = (await served.capacity.CreateClaim(create(small))).claim
    await served.plan()
    await seen(served)
    why = await served.capacity.ExplainClaim(capacity.ExplainClaimRequest(name=waits.name))
    assert why.claim.state == claim_pb2.Claim.STATE_WAITING
    assert why.reason.reason in {claim_pb2.REASON_NO_CONTIGUOUS_ROOM, claim_pb2.REASON_OUTBID}
    assert (why.walls[0].needed_devices, why.walls[0].free_devices) == (8, 4)
    assert [(holder.claim, holder.devices) for holder in why.holders] == [("", 60)]
    assert len(why.changes) == 1
    assert [past.reason for past in why.past] == [claim_pb2.REASON_AWAITING_PLAN]
    taken = (await served.capacity.CreateClaim(create(why.offer.claim, placements=why.offer.placements))).claim
    assert taken.placements
    served_one = await served.capacity.ExplainClaim(capacity.ExplainClaimRequest(name=blocker.name))
    assert not served_one.HasField("reason")
    assert not served_one.walls


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"hold_for": Duration(seconds=901), "request_id": "q"}, "DURATION_OUT_OF_RANGE"),
        ({"hold_for": Duration(seconds=-1), "request_id": "q"}, "DURATION_OUT_OF_RANGE"),
        ({"hold_for": Duration(), "request_id": "q"}, "DURATION_OUT_OF_RANGE"),
        ({"hold_for": Duration(seconds=60)}, "REQUEST_ID_REQUIRED"),
        ({"max_offers": -1}, "QUANTITY_OUT_OF_RANGE"),
        ({"parent": "tenants/-"}, "NAME_MALFORMED"),
        ({"claim": claim_pb2.Claim()}, "QUANTITY_REQUIRED"),
    ],
)
async def test_bad_questions_are_refused(served: World, fields: dict[str, object], reason: str) -> None:
    request = capacity.QuoteClaimRequest(**({"parent": "tenants/atlas", "claim": claim()} | fields))  # type: ignore[arg-type]
    code, found, _ = await refusal(served.capacity.QuoteClaim(request))
    assert (code, found) == (grpc.StatusCode.INVALID_ARGUMENT, reason)
    assert await served.ledger.revision() == 1


async def test_quotes_with_the_longest_names_lapse_too(served: World) -> None:
    for last in "ab":
        await served.capacity.QuoteClaim(quote(claim(devices=1, gang=True), hold=60, claim_id="x" * 62 + last))
    served.now += 60
    await seen(served)
    assert await served.desk.lapse() == 2


async def test_a_hold_is_replayed_when_nothing_can_be_quoted_any_more(served: World) -> None:
    soon = Timestamp(seconds=NOON + SLOT_SECONDS)
    request = quote(claim(devices=1, gang=True, latest_start_time=soon), hold=60)
    first = await served.capacity.QuoteClaim(request)
    served.now += 10 * SLOT_SECONDS
    again = await served.capacity.QuoteClaim(request)
    assert (again.held, list(again.offers)) == (first.held, [])
