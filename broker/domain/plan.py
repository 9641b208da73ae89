"""What one run of the planner decided and proved."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from broker.domain.slots import Window

__all__ = ["LossCost", "PlanRecord", "PoolPrice", "PoolRoom"]


@dataclass(frozen=True, slots=True)
class PoolPrice:
    """What one more device-hour in a pool would have added, in micro-USD: mean and peak over the horizon."""

    pool: str
    mean_microusd: int
    peak_microusd: int


@dataclass(frozen=True, slots=True)
class LossCost:
    """What being insured against one loss costs at the plan's prices, and how the guaranteed placements it hits stand.

    ``mean_microusd`` is the value given up for each device-hour that would be lost; in all it is ``at_most_microusd``
    or less. Of ``hit`` placements ``insured`` have a place to go, ``uninsurable`` could have none even in empty pools.
    """

    insurance: str
    pools: tuple[str, ...]
    mean_microusd: int
    at_most_microusd: int
    hit: int
    insured: int
    uninsurable: int


@dataclass(frozen=True, slots=True)
class PoolRoom:
    """Room for gangs of whole domains in a pool, before and after claims were moved for it.

    Of all such gangs that might come in the coming weeks so many millionths would fit, by their domain-hours; and so
    many thousandths of domains stay free for a week from any hour, on average.
    """

    pool: str
    before_ppm: int
    after_ppm: int
    week_before_milli: int
    week_after_milli: int


@dataclass(frozen=True, slots=True)
class PlanRecord:
    """The outcome of a planning cycle; ``revision`` is the one that put it into force, 0 before."""

    based_on_revision: int
    horizon: Window
    optimal: bool
    objective_microusd: int
    bound_microusd: int
    solve_millis: int
    claims: int
    placed: int
    moved: int
    created_at: int  # Unix seconds
    reasons: Mapping[str, int] = field(default_factory=dict)  # dominant reason -> claims
    prices: tuple[PoolPrice, ...] = ()
    insurance: tuple[LossCost, ...] = ()
    skipped: int = 0
    revision: int = 0
    rooms: tuple[PoolRoom, ...] = ()
    defragmented: int = 0  # placements moved so that whole domains stay free
    repair: bool = False  # made at once, for those who lost their places to an outage and for nobody else
