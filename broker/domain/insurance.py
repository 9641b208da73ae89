"""What guaranteed work survives: declared in the fleet, one insurance for each thing that may be lost."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

__all__ = ["Insurance", "LossKind"]


class LossKind(StrEnum):
    """What is lost: each pool by itself, the named pools all at once, or time until their deliveries come."""

    ANY_ONE_POOL = "ANY_ONE_POOL"
    POOLS_TOGETHER = "POOLS_TOGETHER"
    LATE_DELIVERY = "LATE_DELIVERY"


@dataclass(frozen=True, slots=True)
class Insurance:
    """Guaranteed work has somewhere to go after this loss; no ``covers``: any pool that can serve it may take over."""

    id: str
    loss: LossKind
    pools: tuple[str, ...] = ()
    late_days: int = 0
    covers: tuple[str, ...] = ()
