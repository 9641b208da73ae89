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
from broker.domain.claim import Ask, Claim, Placement, Tier
from broker.domain.terms import Terms

__all__ = ["Policy"]


@dataclass(frozen=True, slots=True)
class Policy:
    """Which claims are answered at once.

    Standard and spot leave ``keeps`` times free what those worth more are expected to use who come later. Until enough
    is known of them a pool may be in use to ``standard_percent`` and ``spot_percent`` over the time of such a claim,
    itself included. ``gang_percent`` is the largest share of a pool that a claim may take without waiting for a plan.
    """

    at_once: bool = True
    standard_percent: int = 80
    spot_percent: int = 40
    keeps: Mapping[Tier, float] = field(default_factory=lambda: KEEPS)
    gang_percent: int = 5
    terms: Terms = field(default_factory=Terms)

    def offers(self, ask: Ask, tenant: str, calendar: Calendar, *, most: int = 4) -> tuple[Candidate, ...]:
        """Places that the claim may have if it insists, best first: more than others are expected to make of them."""
        ranking = Ranking(calendar, tenant, self.terms, self._limit(ask.tier, calendar))
        return tuple(found for found in ranking.candidates(ask, most=most) if found.worth_microusd > 0)

    def at(
        self, ask: Ask, tenant: str, calendar: Calendar, places: Sequence[Placement]
    ) -> tuple[Placement, ...] | None:
        """These places of the claim as it may have them, with what they cost; None when it may not have them now."""
        found = Ranking(calendar, tenant, self.terms, self._limit(ask.tier, calendar)).pinned(ask, places)
        return found.placements if found is not None and found.worth_microusd > 0 else None

    def grants(self, ask: Ask, tenant: str, calendar: Calendar) -> tuple[Candidate, ...]:
        """Places that the claim is given without a plan, best first."""
        if not self.at_once or not calendar.priced:
            return ()
        found = self.offers(ask, tenant, calendar)
        return tuple(c for c in found if all(self._is_small(placement, calendar) for placement in c.placements))

    def room(self, ask: Ask, tenant: str, calendar: Calendar, claims: Iterable[Claim], *, firm: int) -> Room | None:
        """Where the claim is given a place without a plan because others move for it, if it fits nowhere as they are.

        ``claims`` are all that are live; what starts up to slot ``firm`` stays where it is. Nobody moves for spot work.
        """
        if not self.at_once or not calendar.priced or ask.tier is Tier.SPOT:
            return None
        found = room(Ranking(calendar, tenant, self.terms, self._limit(ask.tier, calendar)), ask, claims, firm=firm)
        return found if found is not None and self._is_small(found.candidate.placements[0], calendar) else None

    def _limit(self, tier: Tier, calendar: Calendar) -> Limit:
        """What a claim of the tier must leave for others."""
        if tier is Tier.GUARANTEED:
            return NO_LIMIT
        if calendar.expects:
            return Limit(above=ABOVE[tier], times=self.keeps[tier])
        return Limit(percent=self.spot_percent if tier is Tier.SPOT else self.standard_percent)

    def _is_small(self, placement: Placement, calendar: Calendar) -> bool:
        supply = calendar.supply[calendar.pools[placement.pool], calendar.span(placement.window)]
        return 100 * placement.devices <= self.gang_percent * int(np.maximum.reduce(supply, initial=0))
