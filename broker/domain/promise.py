"""What a placed claim is told: whether its places may still move, and until when."""

from __future__ import annotations

from dataclasses import replace

from broker.domain.claim import Committed, Placement, Planned
from broker.domain.reason import Because

__all__ = ["promised"]


def promised(
    placements: tuple[Placement, ...], lacking: tuple[Because, ...] = (), *, firm: bool = False, freeze: int
) -> Planned | Committed:
    """Committed when ``firm`` or when any part starts by slot ``freeze``; else its starts may still move."""
    if firm or min(placement.window.first for placement in placements) <= freeze:
        return Committed(tuple(replace(p, latest=p.window.first) for p in placements), lacking)
    return Planned(placements, lacking)
