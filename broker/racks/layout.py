"""Which domains each stay in a pool is on, for its whole time: a sweep in order of start.

What has started keeps its domains. The others get theirs in order of start, from what is free then: since all slices
are alike, a stay that fits by count at its start finds its slices, and nobody takes them before it ends. So what fits
by count in every slot is placed whole (``docs/domains.md``), and who comes later moves nothing that has started.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from heapq import heappop, heappush
from itertools import groupby
from typing import NamedTuple

from broker.domain.slots import Steps, Window
from broker.racks.seats import Free, Seats

__all__ = ["Layout", "Room", "Stay", "Unseated", "lay_out"]


class Room(NamedTuple):
    """The slices of a pool: what it has ever had by each slot, and how many of those are away."""

    per_domain: int
    ever: Steps
    away: Steps


class Stay(NamedTuple):
    """So many slices for one window; ``seats`` is where it is if it has started, empty while it may be anywhere."""

    key: str
    window: Window
    slices: int
    seats: Mapping[int, int] = {}


class Unseated(NamedTuple):
    """Who finds no place: it needs ``slices`` from ``slot`` on, and only ``free`` of them are."""

    key: str
    slot: int
    slices: int
    free: int


@dataclass(frozen=True, slots=True)
class Layout:
    """Where each stay is, and who has no place; ``displaced`` lost its domains, and has others if there were any."""

    seats: Mapping[str, Mapping[int, int]]
    displaced: frozenset[str] = frozenset()
    unseated: tuple[Unseated, ...] = ()


def lay_out(room: Room, stays: Iterable[Stay], now: int) -> Layout:
    """Domains for every stay that ends after slot ``now``; all are seated if they fit by count in every slot.

    Same input, same layout. Where they do not fit, those that have started come first, then who starts earlier.
    """
    sweep = _Sweep(room)
    waiting = [stay for stay in stays if stay.window.end > now]
    sweep.move_to(now)
    for stay in sorted((stay for stay in waiting if stay.seats), key=lambda stay: stay.key):
        sweep.keep(stay)
    waiting = [stay for stay in waiting if stay.key not in sweep.seats]
    turns = sorted(waiting, key=lambda stay: _turn(stay, now))
    starts = {slot: tuple(group) for slot, group in groupby(turns, key=lambda stay: max(now, stay.window.first))}
    changes = {slot for slot, _ in (*room.ever.steps, *room.away.steps) if slot > now}
    for slot in sorted({now} | changes | starts.keys()):
        sweep.move_to(slot)
        sweep.set_aside(slot)
        for stay in starts.get(slot, ()):
            sweep.seat(stay, slot)
    return Layout(sweep.seats, frozenset(sweep.displaced), tuple(sweep.unseated))


def _turn(stay: Stay, now: int) -> tuple[int, bool, int, str]:
    """Earlier starts first; of those that have started the displaced first; then large before small."""
    return max(now, stay.window.first), not stay.seats, -stay.slices, stay.key


@dataclass(slots=True)
class _Sweep:
    """What is free as the sweep comes by."""

    room: Room
    seats: dict[str, Seats] = field(default_factory=dict)
    displaced: set[str] = field(default_factory=set)
    unseated: list[Unseated] = field(default_factory=list)
    _free: Free = field(init=False)
    _had: int = 0
    _aside: list[Seats] = field(default_factory=list)
    _ends: list[tuple[int, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._free = Free(self.room.per_domain)

    def move_to(self, slot: int) -> None:
        """Let end what ends by ``slot``, and arrive what arrives."""
        while self._ends and self._ends[0][0] <= slot:
            self._free.give_back(self.seats[heappop(self._ends)[1]])
        had = self.room.ever.at(slot)
        self._free.grow(had - self._had)
        self._had = max(had, self._had)

    def keep(self, stay: Stay) -> None:
        """Let a stay that has started be where it is, or be displaced if that is not there, or not for it alone."""
        if self._free.has(stay.seats):
            self._take(stay, dict(stay.seats))
        else:
            self.displaced.add(stay.key)

    def seat(self, stay: Stay, slot: int) -> None:
        """Choose domains for a stay."""
        if stay.slices <= self._free.total:
            self._take(stay, self._free.fewest(stay.slices))
        else:
            self.unseated.append(Unseated(stay.key, slot, stay.slices, self._free.total))

    def set_aside(self, slot: int) -> None:
        """Let as many slices be away as are: of the highest domains that are free, and those stay away longest."""
        missing = self.room.away.at(slot) - sum(sum(seats.values()) for seats in self._aside)
        if missing > 0:
            gone = self._free.last(missing)
            self._free.take(gone)
            self._aside.append(gone)
        while missing < 0:
            back = self._aside.pop()
            kept = _all_but(back, -missing)
            if kept:
                self._aside.append(kept)
            back = {domain: n - kept.get(domain, 0) for domain, n in back.items()}
            self._free.give_back(back)
            missing += sum(back.values())

    def _take(self, stay: Stay, seats: Seats) -> None:
        self._free.take(seats)
        self.seats[stay.key] = seats
        heappush(self._ends, (stay.window.end, stay.key))


def _all_but(seats: Seats, slices: int) -> Seats:
    """What is left of seats without the last so many slices."""
    left = sum(seats.values()) - slices
    kept: Seats = {}
    for domain, n in seats.items():
        if left > 0:
            kept[domain] = min(n, left)
            left -= n
    return kept
