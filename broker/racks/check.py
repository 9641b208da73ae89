"""The judge of layouts: every broken rule in words. It shares no code with what makes them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence

from broker.racks.layout import Layout, Room, Stay

__all__ = ["violations"]


def violations(room: Room, stays: Iterable[Stay], layout: Layout, now: int) -> tuple[str, ...]:
    """What is wrong with a layout from slot ``now`` on; nothing is when every stay is whole, alone and unmoved."""
    out = {unseated.key for unseated in layout.unseated}
    present = [stay for stay in stays if stay.window.end > now]
    return (*_seats(room, present, layout, out, now), *_crowds(room, present, layout, now))


def _seats(room: Room, stays: Sequence[Stay], layout: Layout, out: set[str], now: int) -> Iterator[str]:
    for stay in stays:
        seats = layout.seats.get(stay.key, {})
        if stay.key in out:
            if seats:
                yield f"{stay.key}: seated and said not to be"
            continue
        if sum(seats.values()) != stay.slices:
            yield f"{stay.key}: {sum(seats.values())} slices of {stay.slices}"
        if stay.seats and stay.key not in layout.displaced and dict(stay.seats) != dict(seats):
            yield f"{stay.key}: has started and was moved"
        there = room.ever.at(max(now, stay.window.first))
        for domain, n in seats.items():
            if not 0 < n <= min(room.per_domain, there - domain * room.per_domain):
                yield f"{stay.key}: {n} slices of domain {domain}, which has not so many"


def _crowds(room: Room, stays: Sequence[Stay], layout: Layout, now: int) -> Iterator[str]:
    changes: dict[int, list[tuple[int, int]]] = defaultdict(list)
    for stay in stays:
        for domain, n in layout.seats.get(stay.key, {}).items():
            changes[domain] += [(max(now, stay.window.first), n), (stay.window.end, -n)]
    for domain, moves in changes.items():
        taken = 0
        for slot, n in sorted(moves):  # who leaves a slot leaves before others come
            taken += n
            if taken > room.per_domain:
                yield f"domain {domain} slot {slot}: {taken} slices taken of {room.per_domain}"
