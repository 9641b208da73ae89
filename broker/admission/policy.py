"""When the broker answers at once, and when a claim waits for the next plan.

Answering at once is final, so it is for claims that leave the planner its choices: small ones, where there is plenty.
Prices say what capacity is worth to those who asked before; thresholds keep room for those of a higher tier who have
not asked yet, and large gangs wait because no price keeps contiguous room for them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from broker.admission.calendar import Calendar
from broker.admission.ranking import Candidate
from broker.domain.claim import Ask, Placement, Tier

__all__ = ["Policy"]

USE_PERCENT = MappingProxyType({Tier.GUARANTEED: 100, Tier.STANDARD: 85, Tier.SPOT: 60})


@dataclass(frozen=True, slots=True)
class Policy:
    """Which claims are answered at once.

    ``use_percent`` is how much of a pool may be in use, over the time of the claim and with it, for each tier;
    ``gang_percent`` is the largest share of a pool that a claim may take without waiting for a plan.
    """

    at_once: bool = True
    use_percent: Mapping[Tier, int] = field(default_factory=lambda: USE_PERCENT)
    gang_percent: int = 5

    def answers(self, ask: Ask, candidate: Candidate, calendar: Calendar) -> bool:
        """Whether this candidate may be granted without a plan."""
        if not self.at_once or not calendar.priced or candidate.worth_microusd <= 0:
            return False
        return all(
            self._is_small(p, calendar) and self._leaves_room(ask.tier, p, calendar) for p in candidate.placements
        )

    def _is_small(self, placement: Placement, calendar: Calendar) -> bool:
        supply = calendar.supply[calendar.pools[placement.pool], calendar.span(placement.window)]
        return 100 * placement.devices <= self.gang_percent * int(supply.max(initial=0))

    def _leaves_room(self, tier: Tier, placement: Placement, calendar: Calendar) -> bool:
        row, span = calendar.pools[placement.pool], calendar.span(placement.window)
        used = int(calendar.lent[row, span].sum()) + placement.devices * placement.window.slots
        return 100 * used <= self.use_percent[tier] * int(calendar.supply[row, span].sum())
