"""What time and change cost, in one place for the plan and for the answer at once."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from broker.domain.options import Option

__all__ = ["Due", "Terms", "due"]


@dataclass(frozen=True, slots=True)
class Terms:
    """What time and change cost: a slot of waiting ``value / waiting``, moving a placement ``value / moving``.

    A day of waiting costs a quarter of a per cent of a claim's value. Moving costs a fifth, so that planning again
    hardly moves anybody.
    """

    waiting: int = 10_000
    moving: int = 5

    def late_cost(self, way: Option) -> int:
        """Micro-USD for each slot that the work is done later than it could be."""
        return way.value_microusd // self.waiting


@dataclass(frozen=True, slots=True)
class Due:
    """When a part of a claim could start at the earliest and how long it takes at best; what is later costs."""

    slot: int
    slots: int

    def value(self, way: Option, late_cost: int) -> int:
        """What ``way`` is worth from its punctual starts: a longer option is late by as much from its start on."""
        return way.value_microusd - late_cost * (way.slots - self.slots)


def due(ways: Iterable[Option]) -> Due:
    """What counts as punctual for the part that these options serve."""
    ways = tuple(ways)
    return Due(min(way.earliest for way in ways), min(way.slots for way in ways))
