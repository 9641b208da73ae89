"""Offers, explanations and what quotes ask for, on the wire."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from capacitybroker.v1 import capacity_service_pb2 as pb
from capacitybroker.v1 import claim_pb2, quote_pb2
from google.protobuf.duration_pb2 import Duration

from broker.admission.changes import Change
from broker.admission.expected import Expected
from broker.admission.explain import Explanation, Holder, Wall
from broker.admission.quote import Move, Offer, Quote
from broker.domain.claim import Claim, Past, Placement
from broker.domain.faults import Fault, FaultReason
from broker.domain.slots import SLOT_SECONDS, Window
from broker.transport.asks import DEVICES_MAX, ITEMS_MAX, at_most, quantity
from broker.transport.claims import asked_message, claim_message, placement_message, reason_message, reason_value
from broker.transport.expected import expected_message
from broker.transport.names import pool_id
from broker.transport.times import check_signs, moment, seconds_of, slot_moment

__all__ = ["explanation_message", "hold_seconds", "lapsed_message", "offers_wanted", "places", "quote_message"]

ExpectedOf = Callable[[Offer], Expected | None]  # when a claim that takes an offer is expected to start

OFFERS_DEFAULT, OFFERS_MAX = 4, 8
HOLD_SECONDS_MAX = 900


def offers_wanted(asked: int) -> int:
    """How many offers to make."""
    if asked < 0:
        raise Fault(
            FaultReason.QUANTITY_OUT_OF_RANGE,
            "max_offers is negative",
            remedy=f"Leave it out or send 1 to {OFFERS_MAX}.",
            field="max_offers",
        )
    return min(asked or OFFERS_DEFAULT, OFFERS_MAX)


def hold_seconds(value: Duration) -> int:
    """How long a quote is held: whole seconds, rounded up."""
    check_signs(value, "hold_for")
    seconds = value.seconds + (value.nanos > 0)
    if not 0 < seconds <= HOLD_SECONDS_MAX:
        raise Fault(
            FaultReason.DURATION_OUT_OF_RANGE,
            f"A quote is held for up to {HOLD_SECONDS_MAX // 60} minutes",
            remedy="Send a shorter hold_for, or leave it out to be told only.",
            field="hold_for",
            facts={"max_seconds": str(HOLD_SECONDS_MAX)},
        )
    return seconds


def places(messages: Sequence[claim_pb2.Placement]) -> tuple[Placement, ...]:
    """Where the caller takes up an offer; what it would cost is for the broker to say."""
    at_most(ITEMS_MAX, messages, "placements")
    return tuple(_place(message) for message in messages)


def _place(message: claim_pb2.Placement) -> Placement:
    first, end = (
        _slot(seconds_of(value, field, up=False), field)
        for value, field in ((message.start_time, "placements.start_time"), (message.end_time, "placements.end_time"))
    )
    if first >= end:
        raise Fault(
            FaultReason.WINDOW_EMPTY,
            "A placement ends after it starts",
            remedy="Send the placements of an offer as they were.",
            field="placements",
        )
    devices = quantity(message.devices, "placements.devices", most=DEVICES_MAX)
    return Placement(pool_id(message.pool, "placements.pool"), devices, Window(first, end), first, message.part)


def _slot(seconds: int, field: str) -> int:
    if seconds % SLOT_SECONDS:
        raise Fault(
            FaultReason.DURATION_GRANULARITY,
            "Placements start and end on the hour",
            remedy="Send the placements of an offer as they were.",
            field=field,
        )
    return seconds // SLOT_SECONDS


def quote_message(quote: Quote, held: Claim | None, expected: ExpectedOf) -> pb.QuoteClaimResponse:
    """A quote, and the claim that holds it."""
    return pb.QuoteClaimResponse(
        offers=[_offer(offer, expected(offer)) for offer in quote.offers],
        counter_offers=[_offer(offer, expected(offer)) for offer in quote.counter_offers],
        held=claim_message(held) if held is not None else None,
        revision=quote.revision,
    )


def lapsed_message(quote: Quote, expected: ExpectedOf) -> pb.RedeemQuoteResponse:
    """A fresh quote, for one that was not redeemed in time."""
    return pb.RedeemQuoteResponse(
        offers=[_offer(offer, expected(offer)) for offer in quote.offers],
        counter_offers=[_offer(offer, expected(offer)) for offer in quote.counter_offers],
    )


def explanation_message(
    claim: claim_pb2.Claim,
    past: Iterable[Past],
    found: Explanation | None,
    offer: Offer | None,
    expected: Expected | None,
    revision: int,
) -> pb.ExplainClaimResponse:
    """Everything that is known about why a claim is not served; ``expected`` is of the offer."""
    message = pb.ExplainClaimResponse(claim=claim, past=[_past(each) for each in past], revision=revision)
    if claim.reasons:
        message.reason.CopyFrom(claim.reasons[0])
    if found is not None:
        message.walls.extend(_wall(wall) for wall in found.walls)
        message.holders.extend(_holder(holder) for holder in found.holders)
        message.changes.extend(_change(change) for change in found.changes)
        # What is true now, like the walls; what the last plan said is in the claim.
        message.reason.CopyFrom(reason_message(found.because))
    if offer is not None:
        message.offer.CopyFrom(_offer(offer, expected))
    return message


def _offer(offer: Offer, expected: Expected | None) -> quote_pb2.Offer:
    first, latest = offer.starts
    return quote_pb2.Offer(
        claim=asked_message(offer.ask),
        placements=[placement_message(placement) for placement in offer.placements],
        changes=[_change(change) for change in offer.changes],
        cost_microusd=offer.cost_microusd,
        paid_microusd=offer.paid_microusd,
        price_microusd=offer.price_microusd,
        start_time=slot_moment(first),
        latest_start_time=slot_moment(latest),
        expected_start=expected_message(expected) if expected is not None else None,
        moves=[_move(move) for move in offer.moves],
    )


def _move(move: Move) -> quote_pb2.Move:
    return quote_pb2.Move(
        claim=str(move.name) if move.name is not None else "",
        pool=f"pools/{move.pool}",
        devices=move.devices,
        start_time=slot_moment(move.before),
        new_start_time=slot_moment(move.after),
    )


def _change(change: Change) -> quote_pb2.Change:
    return quote_pb2.Change(kind=quote_pb2.Change.Kind.Value(f"KIND_{change.kind}"), amount=change.amount)


def _wall(wall: Wall) -> quote_pb2.Wall:
    return quote_pb2.Wall(
        reason=reason_value(wall.reason),
        pool=f"pools/{wall.pool}",
        start_time=slot_moment(wall.window.first),
        end_time=slot_moment(wall.window.end),
        needed_devices=wall.needed,
        free_devices=wall.free,
        quota_free_devices=wall.quota_free,
        value_microusd=wall.value_microusd,
        price_microusd=wall.price_microusd,
    )


def _holder(holder: Holder) -> quote_pb2.Holder:
    return quote_pb2.Holder(
        claim=str(holder.name) if holder.name is not None else "",
        tier=claim_pb2.Tier.Value(f"TIER_{holder.tier}"),
        pool=f"pools/{holder.pool}",
        devices=holder.devices,
        end_time=slot_moment(holder.until),
    )


def _past(past: Past) -> quote_pb2.Past:
    return quote_pb2.Past(
        state=claim_pb2.Claim.State.Value(f"STATE_{past.state}"),
        reason=reason_value(past.reason) if past.reason is not None else claim_pb2.REASON_UNSPECIFIED,
        state_time=moment(past.at),
        revision=past.revision,
    )
