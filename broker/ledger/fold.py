"""The market as its events tell it, and the promises that those events broke.

Knows nothing of any store: what a ledger answers must equal what its events fold to.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from functools import cache
from types import MappingProxyType

from broker.domain.claim import Claim, ClaimName, Committed, Placement, Tier
from broker.domain.fleet import Fleet
from broker.domain.preemption import outranks
from broker.domain.slots import Window, slot_of
from broker.domain.snapshot import Event, EventKind, Shortfall
from broker.ledger.books import Books
from broker.ledger.promises import broken_promises, gives_way, supply_lost

__all__ = ["Market", "fold", "violations"]


class Market:
    """Fleet, claims and books after some events."""

    def __init__(self) -> None:
        self.revision = 0
        self.fleet = Fleet()
        self.fleet_revision = 0
        self.books = Books()
        self._claims: dict[ClaimName, Claim] = {}

    @property
    def claims(self) -> Mapping[ClaimName, Claim]:
        """Every claim, live or closed."""
        return MappingProxyType(self._claims)

    def apply(self, event: Event) -> None:
        """Take the next event in; trusts it (see `violations`)."""
        if event.fleet is not None:
            self.fleet, self.fleet_revision = event.fleet, event.revision
            self.books.set_limits(event.fleet.limits())
        for claim in event.claims:
            before = self._claims.get(claim.name)
            self.books.replace(before.holds() if before else (), claim.holds())
            self._claims[claim.name] = claim
        self.revision = event.revision


def fold(events: Iterable[Event]) -> Market:
    """The market after ``events``, which start at revision 1."""
    market = Market()
    for event in events:
        market.apply(event)
    return market


def violations(events: Iterable[Event], *, promises: bool = True) -> tuple[str, ...]:
    """One sentence for each promise that the log breaks; ``events`` start at revision 1.

    Checked at every revision: revisions are dense; only a fleet event makes or deepens a shortfall, and it names every
    one it leaves; a gang claim is wholly there or not at all; a claim is created once, replaced only while live, once
    in a revision, and never by a plan that was made from another version of it. That much any ledger sees to. Whoever
    makes room for a new claim keeps what was promised to it; that the desk sees to.

    With ``promises`` also what only a planner can keep: what a plan told a claim, later plans stand by (see
    `broker.ledger.promises`), unless supply was lost in the state before the event or in the one the plan looked at.
    """
    log = tuple(events)
    market = Market()
    out: list[str] = []
    for event in log:
        out += [f"revision {event.revision}: {broken}" for broken in _broken(market, event)]
        if event.kind is EventKind.SUBMITTED:
            # Nobody had lost anything: who makes room keeps all that was promised.
            out += [f"revision {event.revision}: {broken}" for broken in _broken_by_moves(market, event)]
        if promises and event.kind is EventKind.PLANNED:
            out += [f"revision {event.revision}: {broken}" for broken in _broken_by_plan(market, event, log)]
        market.apply(event)
        if event.kind is EventKind.FLEET_APPLIED:
            left = market.books.shortfalls(from_slot=slot_of(event.at))
            if left != event.shortfalls:
                out.append(f"revision {event.revision}: leaves shortfalls {left}, names {event.shortfalls}")
    return tuple(out)


def _broken(market: Market, event: Event) -> Iterator[str]:
    """What the event, on top of the market before it, breaks."""
    if event.revision != market.revision + 1:
        yield f"follows revision {market.revision}"
    if len({claim.name for claim in event.claims}) != len(event.claims):
        yield "holds the same claim twice"
    for claim in event.claims:
        yield from _broken_by_claim(market.claims.get(claim.name), claim, event)
    before = [hold for claim in event.claims if (old := market.claims.get(claim.name)) for hold in old.holds()]
    after = [hold for claim in event.claims for hold in claim.holds()]
    worst = market.books.overdrawn(before, after, from_slot=slot_of(event.at))
    if worst is not None:
        yield f"{worst.account} lends {worst.devices} more than it may in {worst.window}"


def _broken_by_claim(before: Claim | None, claim: Claim, event: Event) -> Iterator[str]:
    if claim.revision != event.revision:
        yield f"{claim.name} says revision {claim.revision}"
    if claim.ask.gang and len(claim.placements) > 1:
        yield f"{claim.name} is a gang in {len(claim.placements)} parts"
    if event.kind is EventKind.SUBMITTED and claim == event.claims[0]:
        if before is not None:
            yield f"{claim.name} is created a second time"
    elif before is None:
        yield f"{claim.name} is replaced but was never created"
    elif not before.live:
        yield f"{claim.name} is replaced after it was closed"
    elif before.created_at != claim.created_at:
        yield f"{claim.name} is replaced by a claim of another time"
    elif event.kind in (EventKind.PLANNED, EventKind.SUBMITTED) and before.ask != claim.ask:
        yield f"{claim.name} is placed for an ask that had been amended"


def _broken_by_moves(market: Market, event: Event) -> Iterator[str]:
    """What those who made room for a new claim were told otherwise."""
    for claim in event.claims[1:]:
        before = market.claims.get(claim.name)
        if before is not None:
            yield from broken_promises(before, claim, lambda _: False)


def _broken_by_plan(market: Market, event: Event, log: tuple[Event, ...]) -> Iterator[str]:
    """What the plan's event, on top of the market before it, breaks of what claims had been told."""
    slot = slot_of(event.at)
    based_on = event.plan.based_on_revision if event.plan is not None else 0

    @cache
    def supply(revision: int) -> tuple[Fleet, tuple[Shortfall, ...]]:
        then = market if revision == market.revision else fold(log[:revision])
        return then.fleet, then.books.shortfalls(from_slot=slot)

    def lifted(claim: Claim) -> Callable[[Placement], bool]:
        # What was lost when the plan was made may be back by now, as callers come and go while it is made.
        seen = [market.revision, *([based_on] if claim.revision <= based_on < market.revision else [])]
        return lambda placement: any(supply_lost(claim, placement, *supply(revision), slot) for revision in seen)

    for claim in event.claims:
        before = market.claims.get(claim.name)
        if before is not None:
            yield from broken_promises(before, claim, lifted(before), slot=slot)
    yield from _needless(market, event, slot)


def _needless(market: Market, event: Event, slot: int) -> Iterator[str]:
    """Who gives way by a plan though it could have stayed, had nobody gained by it who may not take its place.

    Who was to take a place may have gone while the plan was made; then nothing is said.
    """
    olds = {claim.name: old for claim in event.claims if (old := market.claims.get(claim.name)) is not None}
    told = [
        (old, was, new)
        for claim in event.claims
        if (old := olds.get(claim.name)) is not None
        for was in old.placements
        for new in claim.placements
        if was.part == new.part and gives_way(old, was, new, slot)
    ]
    if not told or (event.plan is not None and event.plan.skipped):
        return
    before = [hold for old in olds.values() for hold in old.holds()]
    for claim, was, new in told:
        after = [hold for one in event.claims for hold in _without_gains(olds.get(one.name), one, claim).holds()]
        rest = replace(was, window=Window(new.window.end, was.window.end))
        stays = replace(claim, ran=(), state=Committed((rest,))).holds()
        if market.books.overdrawn(before, [*after, *stays], from_slot=slot) is None:
            yield f"{claim.name} gives way in {was.pool} {rest.window} to nobody who may take its place"


def _without_gains(before: Claim | None, after: Claim, loser: Claim) -> Claim:
    """A claim that may not take the loser's place, with no more than it had; any other as it is.

    So are those of a higher tier that had a place: whoever takes that may push them on, within what they were told.
    """
    moved = before is not None and before.placements and after.ask.tier is not Tier.SPOT
    if before is None or moved or outranks(after, loser):
        return after
    had = {(p.part, p.pool, p.devices, p.window.first) for p in before.placements}
    kept = tuple(p for p in after.placements if (p.part, p.pool, p.devices, p.window.first) in had)
    return replace(after, state=Committed(kept))
