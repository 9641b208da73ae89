"""What a claim could have now and what it would cost; and where it cannot have it, what it could have instead."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from broker.admission.calendar import Calendar
from broker.admission.changes import Change, changed, least_changes
from broker.admission.policy import Policy
from broker.admission.ranking import Candidate
from broker.admission.shift import Room
from broker.domain.claim import Ask, ClaimName, Placement

__all__ = ["Move", "Offer", "Quote", "counter_offers", "offer_of", "offers"]

COUNTER_OFFERS_MAX = 8


@dataclass(frozen=True, slots=True)
class Move:
    """Another claim that starts in slot ``after`` instead of ``before``; ``name`` is None where it may not be told."""

    name: ClaimName | None
    pool: str
    devices: int
    before: int
    after: int


@dataclass(frozen=True, slots=True)
class Offer:
    """Places that are free once these others have moved, for ``ask``: the ask that was made after ``changes``.

    Money in micro-USD.

    ``cost`` is new money. ``paid`` is what the take-or-pay capacity that it uses was paid, at contract rate. ``price``
    is what the capacity is expected to be worth to others, at bid prices.
    """

    ask: Ask
    placements: tuple[Placement, ...]
    worth_microusd: int  # the value that is left after all costs and prices
    price_microusd: int
    changes: tuple[Change, ...] = ()
    moves: tuple[Move, ...] = ()

    @property
    def cost_microusd(self) -> int:
        """New money."""
        return sum(placement.cost_microusd for placement in self.placements)

    @property
    def paid_microusd(self) -> int:
        """Worth, at contract rate, of what is paid already."""
        return sum(placement.paid_microusd for placement in self.placements)

    @property
    def starts(self) -> tuple[int, int]:
        """First slot at the earliest, and the latest that the broker may still move it to."""
        firsts = [placement.window.first for placement in self.placements]
        return min(firsts), max(placement.latest for placement in self.placements)


@dataclass(frozen=True, slots=True)
class Quote:
    """What could be had as asked, what instead where that is nothing, and the revision that both are true for."""

    offers: tuple[Offer, ...]
    counter_offers: tuple[Offer, ...]
    revision: int


def offers(policy: Policy, ask: Ask, tenant: str, calendar: Calendar, *, most: int = 4) -> tuple[Offer, ...]:
    """What the ask could have as it is, best first; each takes another pool."""
    return tuple(_offer(ask, found, tenant, calendar) for found in policy.offers(ask, tenant, calendar, most=most))


def offer_of(room: Room, ask: Ask, tenant: str, calendar: Calendar) -> Offer:
    """What the ask could have as it is if others, who are told so, start at other times."""
    found = _offer(ask, room.candidate, tenant, calendar)
    return replace(found, moves=tuple(_moves(room, tenant)))


def _moves(room: Room, tenant: str) -> Iterator[Move]:
    for claim, placements in room.shifts:
        name = claim.name if claim.name.tenant == tenant else None
        for before, after in zip(claim.placements, placements, strict=True):
            if before != after:
                yield Move(name, before.pool, before.devices, before.window.first, after.window.first)


def counter_offers(policy: Policy, ask: Ask, tenant: str, calendar: Calendar) -> tuple[Offer, ...]:
    """What the ask could have if it gave way; no offer gives way as far as another everywhere, and further once."""

    def fits(asked: Ask) -> bool:
        return bool(policy.offers(asked, tenant, calendar, most=1))

    def found() -> Iterator[Offer]:
        for changes in least_changes(ask, fits, latest_slot=calendar.window.end):
            asked = changed(ask, changes)
            (best,) = policy.offers(asked, tenant, calendar, most=1)
            yield _offer(asked, best, tenant, calendar, changes)

    return _undominated(tuple(found()))[:COUNTER_OFFERS_MAX]


def _undominated(offers: Sequence[Offer]) -> tuple[Offer, ...]:
    return tuple(offer for offer in offers if not any(_dominates(other, offer) for other in offers))


def _dominates(one: Offer, other: Offer) -> bool:
    """Whether ``one`` gives way nowhere more than ``other`` and somewhere less."""
    less, more = dict(_amounts(one)), dict(_amounts(other))
    return less != more and all(amount <= more.get(kind, 0) for kind, amount in less.items())


def _amounts(offer: Offer) -> Iterator[tuple[str, int]]:
    return ((change.kind.value, change.amount) for change in offer.changes)


def _offer(ask: Ask, found: Candidate, tenant: str, calendar: Calendar, changes: tuple[Change, ...] = ()) -> Offer:
    price = sum(calendar.price_of(p.pool, p.devices, p.window, ask.quota(tenant)) for p in found.placements)
    return Offer(ask, found.placements, found.worth_microusd, round(price), changes)
