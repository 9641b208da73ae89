"""The layout of a pool as its claims stand, and what of it becomes fixed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from broker.domain.claim import Active, Claim, ClaimName, Committed, DomainSpan, Placement, Planned
from broker.domain.cut import Cut
from broker.domain.fleet import Fleet, Pool
from broker.domain.slots import Steps
from broker.racks.layout import Layout, Room, Stay, lay_out
from broker.racks.seats import seats_of, spans_of

__all__ = ["PoolLayout", "layout_of", "room_of", "settled", "stay_key", "stays_of"]


@dataclass(frozen=True, slots=True)
class PoolLayout:
    """Where the claims of one pool are, and would be."""

    pool: str
    cut: Cut
    room: Room
    layout: Layout

    def domains(self, key: str) -> tuple[DomainSpan, ...]:
        """Where one stay is; nothing if it has no place."""
        return spans_of(self.layout.seats.get(key, {}), self.cut.slice_devices)


def layout_of(pool: Pool, claims: Iterable[Claim], now: int) -> PoolLayout | None:
    """The layout of what the claims hold of a pool from slot ``now`` on; None where its domains are not told apart."""
    if (cut := pool.cut) is None:
        return None
    room = room_of(pool, cut)
    return PoolLayout(pool.id, cut, room, lay_out(room, stays_of(pool, cut, claims), now))


def room_of(pool: Pool, cut: Cut) -> Room:
    """The slices of a pool over time; a domain that left for good is away for ever."""
    most, ever = 0, []
    for slot, devices in pool.delivered().steps:
        most = max(most, devices // cut.slice_devices)
        ever.append((slot, most))
    had, there = Steps(tuple(ever)), pool.supply()
    slots = sorted({slot for slot, _ in (*had.steps, *there.steps)})
    away = tuple((slot, had.at(slot) - there.at(slot) // cut.slice_devices) for slot in slots)
    return Room(cut.per_domain, had, Steps(away))


def stays_of(pool: Pool, cut: Cut, claims: Iterable[Claim]) -> Iterator[Stay]:
    """What live claims hold of a pool."""
    for claim in claims:
        for placement in claim.placements if claim.live else ():
            if placement.pool == pool.id:
                slices = -(-placement.devices // cut.slice_devices)
                seats = seats_of(placement.domains, cut.slice_devices)
                yield Stay(stay_key(claim.name, placement), placement.window, slices, seats)


def stay_key(name: ClaimName, placement: Placement) -> str:
    """Names one placement among all; their order is that of names."""
    return f"{name.key}#{placement.part}"


def settled(fleet: Fleet, claims: Iterable[Claim], now: int) -> dict[ClaimName, Claim]:
    """The claims with a placement that has started by slot ``now`` and has no domains yet, or lost them: now with them.

    Nothing is settled before it starts, so that who is granted later never finds its place taken by who starts later.
    """
    claims = tuple(claims)
    layouts = {pool.id: found for pool in fleet.pools if (found := layout_of(pool, claims, now)) is not None}
    out = {}
    for claim in claims:
        if not isinstance(claim.state, Planned | Committed | Active):
            continue
        places = tuple(_settled(claim, placement, layouts, now) for placement in claim.placements)
        if places != claim.placements:
            out[claim.name] = replace(claim, state=replace(claim.state, placements=places))
    return out


def _settled(claim: Claim, placement: Placement, layouts: dict[str, PoolLayout], now: int) -> Placement:
    found = layouts.get(placement.pool)
    if found is None or not placement.window.first <= now < placement.window.end:
        return placement
    key = stay_key(claim.name, placement)
    if placement.domains and key not in found.layout.displaced:
        return placement
    return replace(placement, domains=found.domains(key))
