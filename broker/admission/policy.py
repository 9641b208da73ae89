"""When the broker answers at once, and when a claim waits for the next plan.

Answering at once is final, so it is for claims that leave the planner its choices: small ones, where there is plenty.
Prices say what capacity is worth to those who asked before; room is kept for those of a higher tier who are expected to
ask, and large gangs wait because no price keeps contiguous room for them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from broker.admission.calendar import Calendar
from broker.admission.demand import ABOVE, KEEPS
from broker.admission.ranking import Candidate, Ranking
from broker.admission.scan import NO_LIMIT, Limit
from broker.admission.shift import Room, room
from broker.admission.stakes import stakes_at
from broker.domain.claim import Ask, Claim, ClaimName, Placement, Tier
from broker.domain.options import options
from broker.domain.terms import Terms

__all__ = ["Policy"]


@dataclass(frozen=True, slots=True)
class Policy:
    """Which claims are answered at once.

    Standard and spot leave ``keeps`` times free what those worth more are expected to use who come later. Until enough
    is known of them, a claim is granted at once while its pool is in use to ``standard_percent`` and ``spot_percent``
    over its time, itself included; offers, like plans, keep no room then. ``gang_percent`` is the largest share of a
    pool that a claim may take without waiting for a plan.
    """

    at_once: bool = True
    standard_percent: int = 80
    spot_percent: int = 40
    keeps: Mapping[Tier, float] = field(default_factory=lambda: KEEPS)
    gang_percent: int = 5
    terms: Terms = field(default_factory=Terms)

    def offers(self, ask: Ask, tenant: str, calendar: Calendar, *, most: int = 4) -> tuple[Candidate, ...]:
        """Places that the claim may have if it insists, best first: more than others are expected to make of them."""
        found = self._offers(ask, tenant, calendar, self._kept(ask.tier, calendar), most)
        return _insured(ask, tenant, calendar, found)

    def at(
        self, ask: Ask, tenant: str, calendar: Calendar, places: Sequence[Placement]
    ) -> tuple[Placement, ...] | None:
        """These places of the claim as it may have them, with what they cost; None when it may not have them now."""
        found = self._ranking(ask, tenant, calendar, self._kept(ask.tier, calendar)).pinned(ask, places)
        if found is None or found.worth_microusd <= 0 or not _insured(ask, tenant, calendar, (found,)):
            return None
        return found.placements

    def grants(self, ask: Ask, tenant: str, calendar: Calendar) -> tuple[Candidate, ...]:
        """Places that the claim is given without a plan, best first."""
        if not self.at_once or not calendar.priced:
            return ()
        found = self._offers(ask, tenant, calendar, self._limit(ask.tier, calendar))
        small = tuple(c for c in found if all(self._is_small(placement, calendar) for placement in c.placements))
        return _insured(ask, tenant, calendar, small)

    def room(self, ask: Ask, tenant: str, calendar: Calendar, claims: Iterable[Claim], *, firm: int) -> Room | None:
        """Where the claim is given a place without a plan because others move for it, if it fits nowhere as they are.

        ``claims`` are all that are live; what starts up to slot ``firm`` stays where it is. Nobody moves for spot work.
        """
        if not self.at_once or not calendar.priced or ask.tier is Tier.SPOT:
            return None
        if calendar.berths is not None:
            # Whoever moves may lose his berth.
            claims = (claim for claim in claims if claim.ask.tier is not Tier.GUARANTEED)
        ranking = self._ranking(ask, tenant, calendar, self._limit(ask.tier, calendar))
        found = room(ranking, ask, claims, firm=firm)
        if found is None or not self._is_small(found.candidate.placements[0], calendar):
            return None
        return found if _insured(ask, tenant, calendar, (found.candidate,)) else None

    def _offers(self, ask: Ask, tenant: str, calendar: Calendar, limit: Limit, most: int = 4) -> tuple[Candidate, ...]:
        found = self._ranking(ask, tenant, calendar, limit).candidates(ask, most=most)
        return tuple(one for one in found if one.worth_microusd > 0)

    def _ranking(self, ask: Ask, tenant: str, calendar: Calendar, limit: Limit) -> Ranking:
        return Ranking(calendar, ask.quota(tenant), self.terms, limit, ask.tier is Tier.GUARANTEED)

    def _kept(self, tier: Tier, calendar: Calendar) -> Limit:
        """What a claim of the tier must leave for others, whoever gives it a place."""
        if tier is Tier.GUARANTEED or not calendar.expects:
            return NO_LIMIT
        return Limit(above=ABOVE[tier], times=self.keeps[tier])

    def _limit(self, tier: Tier, calendar: Calendar) -> Limit:
        """What it must leave where no plan has looked."""
        if tier is Tier.GUARANTEED or calendar.expects:
            return self._kept(tier, calendar)
        return Limit(percent=self.spot_percent if tier is Tier.SPOT else self.standard_percent)

    def _is_small(self, placement: Placement, calendar: Calendar) -> bool:
        supply = calendar.supply[calendar.pools[placement.pool], calendar.span(placement.window)]
        return 100 * placement.devices <= self.gang_percent * int(np.maximum.reduce(supply, initial=0))


def _insured(ask: Ask, tenant: str, calendar: Calendar, found: tuple[Candidate, ...]) -> tuple[Candidate, ...]:
    """Those with which guaranteed work is as well insured as without."""
    berths = calendar.berths
    if berths is None or ask.tier is not Tier.GUARANTEED or not found:
        return found
    name, ways = ClaimName(tenant, ""), options(ask, calendar.fleet)
    return tuple(c for c in found if berths.fits(tuple(stakes_at(name, ask, c.placements, calendar.fleet, ways))))
