"""What guaranteed work would lose, and where else it could be: the same start, in another pool or of another size."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from broker.domain.claim import Ask, Claim, ClaimName, Placement, Tier
from broker.domain.fleet import Fleet
from broker.domain.options import Option, options, resumed
from broker.domain.slots import Window

__all__ = ["Berth", "Stake", "stakes", "stakes_at"]


class Berth(NamedTuple):
    """Devices of a pool for a window."""

    pool: str
    devices: int
    window: Window


@dataclass(frozen=True, slots=True)
class Stake:
    """One guaranteed placement and all places it could have from the same start on, where it is first."""

    name: ClaimName
    part: int
    refuges: tuple[Berth, ...]

    @property
    def key(self) -> tuple[ClaimName, int]:
        """Unique in the market."""
        return self.name, self.part


def stakes(claims: Iterable[Claim], fleet: Fleet) -> Iterator[Stake]:
    """The stakes of all guaranteed claims."""
    for claim in claims:
        if claim.ask.tier is Tier.GUARANTEED and claim.placements:
            yield from stakes_at(claim.name, claim.ask, claim.placements, fleet)


def stakes_at(
    name: ClaimName,
    ask: Ask,
    placements: Iterable[Placement],
    fleet: Fleet,
    ways: Sequence[Option] | None = None,
) -> Iterator[Stake]:
    """The stakes of a claim at these places; ``ways`` are its options, if they are known already."""
    ways = options(ask, fleet) if ways is None else ways
    for place in placements:
        mine = [way for way in ways if way.part == place.part]
        here = Berth(place.pool, place.devices, place.window)
        whole = next((w.slots for w in mine if (w.pool, w.devices) == here[:2]), place.window.slots)
        elsewhere = (_berth(way, whole, place.window) for way in mine)
        in_time = (b for b in elsewhere if ask.deadline is None or b.window.end <= max(ask.deadline, place.window.end))
        yield Stake(name, place.part, tuple(dict.fromkeys((here, *in_time))))


def _berth(way: Option, whole: int, window: Window) -> Berth:
    """Room for all that is left of a placement, whenever it is lost.

    What runs faster there ends earlier, but may have to begin as late as just before the end.
    """
    slots = resumed(way, whole, window.slots)
    return Berth(way.pool, way.devices, Window(window.first, max(window.end, window.first + slots)))
