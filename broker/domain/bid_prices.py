"""Bid prices: what a device-hour must earn to be worth giving away now."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

__all__ = ["BidPrices"]


@dataclass(frozen=True, slots=True)
class BidPrices:
    """Micro-USD for each device-slot of pools and of tenants' quotas, slot by slot from ``first`` on; never negative.

    They are the optimiser's prices of the plan of ledger revision ``revision`` (0 before it is in force): beyond their
    last slot, and for pools they do not know, they are 0.
    """

    first: int
    pools: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    tenants: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    revision: int = 0
