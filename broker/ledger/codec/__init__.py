"""How claims, fleets, plans and events are written down: JSON text, explicit, readable by the previous release.

Rules of the format. ``v`` is the format's version; a reader ignores fields and trailing list items that it does not
know, so adding some keeps the version, and anything else raises it. Defaults are left out. A record never carries the
revision that stored it: the ledger keeps that beside the text. Numbers are whole, up to 2^63-1.
"""

from __future__ import annotations

from collections.abc import Sequence

from broker.domain.bid_prices import BidPrices
from broker.domain.claim import Claim
from broker.domain.fleet import Fleet
from broker.domain.plan import PlanRecord
from broker.domain.snapshot import Event, Shortfall
from broker.ledger.codec import claims, events, fleets, plans, prices
from broker.ledger.codec.text import VERSION, loads, read, write

__all__ = [
    "VERSION",
    "decode_claim",
    "decode_event",
    "decode_fleet",
    "decode_plan",
    "decode_prices",
    "decode_shortfalls",
    "encode_claim",
    "encode_event",
    "encode_fleet",
    "encode_plan",
    "encode_prices",
    "encode_shortfalls",
]


def encode_claim(claim: Claim) -> str:
    """The claim as it is to be stored over its present revision, without the one it will get."""
    return write(claims.claim_record(claim, replaces=claim.revision))


def decode_claim(text: str | bytes, *, revision: int) -> Claim:
    """The claim that ``text`` describes, as stored by ``revision``; Faults: SAFE_HALT when it cannot be read."""
    return read(lambda: claims.claim_of(loads(text), revision), "claim")


def encode_fleet(fleet: Fleet) -> str:
    """The whole fleet."""
    return write(fleets.fleet_record(fleet))


def decode_fleet(text: str | bytes) -> Fleet:
    """The fleet that ``text`` describes; no text is the empty fleet; Faults: SAFE_HALT when it cannot be read."""
    return read(lambda: fleets.fleet_of(loads(text)), "fleet") if text else Fleet()


def encode_plan(plan: PlanRecord) -> str:
    """The plan without what the ledger adds: its revision and the number of skipped claims."""
    return write(plans.plan_record(plan))


def decode_plan(text: str | bytes, *, revision: int, skipped: int) -> PlanRecord:
    """The plan that ``text`` describes, in force since ``revision``; Faults: SAFE_HALT when it cannot be read."""
    return read(lambda: plans.plan_of(loads(text), revision, skipped), "plan")


def encode_prices(bid: BidPrices) -> bytes:
    """The bid prices, packed, without the revision that put them into force."""
    return prices.packed(bid)


def decode_prices(packed: bytes, *, revision: int) -> BidPrices:
    """The packed bid prices, in force since ``revision``; Faults: SAFE_HALT when they cannot be read."""
    return read(lambda: prices.unpacked(packed, revision), "price list")


def encode_shortfalls(shortfalls: Sequence[Shortfall]) -> str:
    """A list of ``[account, first, end, devices]``."""
    return write(events.shortfall_records(shortfalls))


def decode_shortfalls(text: str) -> tuple[Shortfall, ...]:
    """The shortfalls that ``text`` lists; Faults: SAFE_HALT when it cannot be read."""
    return read(lambda: events.shortfalls_of(loads(text)), "shortfall")


def encode_event(event: Event) -> str:
    """One event, the same text that the store's own functions put together."""
    return write(events.event_record(event))


def decode_event(text: str | bytes) -> Event:
    """The event that ``text`` describes; Faults: SAFE_HALT when it cannot be read."""
    return read(lambda: events.event_of(loads(text)), "event")
