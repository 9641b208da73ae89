"""The market as of the newest event: who holds what until when, and the calendar of what is free."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from types import MappingProxyType

from broker.admission.berths import Berths
from broker.admission.calendar import Calendar
from broker.admission.demand import Demand
from broker.admission.expected import Expectations
from broker.admission.stakes import stakes
from broker.domain.bid_prices import BidPrices
from broker.domain.claim import Claim, ClaimName, Held, Hold
from broker.domain.fleet import Fleet
from broker.domain.losses import losses
from broker.domain.slots import SLOT_SECONDS, Window
from broker.domain.snapshot import Event, Snapshot

__all__ = ["AHEAD_SLOTS", "Outlook"]

AHEAD_SLOTS = 26 * 168
SPARE_SLOTS = 168  # a calendar is made anew once it has fallen that far behind the clock


class Outlook:
    """Live claims, fleet, prices, calendar, expected demand and expected starts, one event after the other."""

    def __init__(
        self,
        snapshot: Snapshot,
        prices: BidPrices | None = None,
        *,
        ahead_slots: int = AHEAD_SLOTS,
        expected: Expectations | None = None,
        demand: Demand | None = None,
    ) -> None:
        self.revision = snapshot.revision
        self.fleet: Fleet = snapshot.fleet
        self._claims: dict[ClaimName, Claim] = {claim.name: claim for claim in snapshot.claims}
        self._open = Counter(claim.name.tenant for claim in snapshot.claims)
        self._held = {claim.name for claim in snapshot.claims if isinstance(claim.state, Held)}
        self._prices, self._ahead = prices, ahead_slots
        self._calendar: Calendar | None = None
        self.expected = expected or Expectations()
        self._demand = demand or Demand(snapshot.fleet)
        self._expected_from = -1  # slot

    @property
    def claims(self) -> Mapping[ClaimName, Claim]:
        """Every live claim."""
        return MappingProxyType(self._claims)

    def open_claims(self, tenant: str) -> int:
        """How many live claims a tenant has."""
        return self._open[tenant]

    @property
    def held(self) -> tuple[Claim, ...]:
        """Every claim that keeps capacity aside for a quote."""
        return tuple(self._claims[name] for name in self._held)

    @property
    def prices(self) -> BidPrices | None:
        """The bid prices in force, as far as known here."""
        return self._prices

    @property
    def demand(self) -> Demand:
        """Who is expected to ask."""
        return self._demand

    @demand.setter
    def demand(self, learnt: Demand) -> None:
        self._demand, self._expected_from = learnt, -1

    def set_prices(self, prices: BidPrices | None) -> None:
        """Let these bid prices rule."""
        self._prices = prices
        if self._calendar is not None:
            self._calendar.set_prices(prices)

    def apply(self, event: Event) -> None:
        """Take the next event in."""
        self.revision = event.revision
        self.expected.apply(event)
        self._demand.apply(event)
        if event.fleet is not None:
            self.fleet, self._calendar = event.fleet, None
        for claim in event.claims:
            before = self._claims.get(claim.name)
            self._rebook(before.holds() if before is not None else (), claim.holds() if claim.live else ())
            self._reseat(before, claim)
            self._held.discard(claim.name)
            self._open[claim.name.tenant] += claim.live - (before is not None)
            if claim.live:
                self._claims[claim.name] = claim
            else:
                self._claims.pop(claim.name, None)
            if isinstance(claim.state, Held):
                self._held.add(claim.name)

    def calendar(self, first: int) -> Calendar:
        """What is free from slot ``first`` on; the same object as before unless the fleet or the clock moved on.

        Each hour it is told anew who is expected to ask.
        """
        known = self._calendar
        if known is None or not known.window.first <= first < known.window.first + SPARE_SLOTS:
            window = Window(first, first + self._ahead + SPARE_SLOTS)
            holds = (hold for claim in self._claims.values() for hold in claim.holds())
            self._calendar = known = Calendar(self.fleet, holds, window, self._prices)
            if self.fleet.insurance:
                known.berths = Berths(
                    self.fleet,
                    losses(self.fleet, first * SLOT_SECONDS),
                    window,
                    stakes(self._claims.values(), self.fleet),
                )
            self._expected_from = -1
        if first != self._expected_from:
            known.expect(self._demand, first)
            self._expected_from = first
        return known

    def _rebook(self, before: tuple[Hold, ...], after: tuple[Hold, ...]) -> None:
        if self._calendar is not None and before != after:
            for hold in before:
                self._calendar.give_back(hold)
            for hold in after:
                self._calendar.take(hold)

    def _reseat(self, before: Claim | None, after: Claim) -> None:
        """Give up the berths of a claim and find new ones, where its places changed."""
        berths = self._calendar.berths if self._calendar is not None else None
        if berths is None or (
            before is not None and before.live is after.live and before.placements == after.placements
        ):
            return
        for place in before.placements if before is not None else ():
            berths.drop(after.name, place.part)
        for stake in stakes((after,) if after.live else (), self.fleet):
            berths.take(stake)
