"""Every start of every way to serve a claim, ranked at once by what is left of its value after what it would use.

A start counts only if all devices are free for the whole run, and if the pool does not get fuller than it may be.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from broker.admission.calendar import Calendar
from broker.admission.scan import scan
from broker.domain.claim import Ask, Placement
from broker.domain.options import Option, options, parts
from broker.domain.slots import Window
from broker.domain.terms import Due, Terms, due

__all__ = ["Candidate", "Ranking", "legal", "placed"]


@dataclass(frozen=True, slots=True)
class Candidate:
    """Places for all parts of a claim that fit together, and what is left of its value, in micro-USD."""

    placements: tuple[Placement, ...]
    worth_microusd: int


@dataclass(frozen=True, slots=True)
class _Start:
    """The best start of one option."""

    worth: float
    way: Option
    slot: int


@dataclass(frozen=True, slots=True)
class _Part:
    """The options of one part of a claim with the first and last start of each, and what is punctual among them."""

    ways: tuple[Option, ...]
    starts: tuple[tuple[int, int], ...]
    punctual: Due

    def way_of(self, pool: str, devices: int, slots: int) -> tuple[Option, tuple[int, int]] | None:
        """The option that takes so much there, and its starts."""
        for way, starts in zip(self.ways, self.starts, strict=True):
            if (way.pool, way.devices, way.slots) == (pool, devices, slots):
                return way, starts
        return None


@dataclass(frozen=True, slots=True)
class Ranking:
    """Ranks places for claims of one tenant.

    ``use_percent`` is how much of a pool may be in use over the time of a placement, itself included.
    """

    calendar: Calendar
    tenant: str
    terms: Terms
    use_percent: int = 100

    def candidates(self, ask: Ask, *, most: int = 4) -> tuple[Candidate, ...]:
        """The best ways to serve a whole claim, best first, in pools that differ; empty when it fits nowhere.

        Each part goes where it is worth most beside the parts before it. The worth may be negative: then others are
        expected to make more of the capacity.
        """
        wanted = self._parts(ask)
        firsts = sorted(self._starts(wanted[0]), key=lambda start: -start.worth)
        # Each further candidate of a claim in parts would cost as much again as the first.
        found = (self._whole(wanted, first, firsts) for first in firsts[: most if len(wanted) == 1 else 1])
        return tuple(sorted((whole for whole in found if whole), key=lambda whole: -whole.worth_microusd))

    def pinned(self, ask: Ask, places: Sequence[Placement]) -> Candidate | None:
        """The claim at these places, one for each part; None when they are no way to serve it, or not free."""
        wanted = self._parts(ask)
        if sorted(place.part for place in places) != list(range(len(wanted))):
            return None
        worth, placements = 0.0, list[Placement]()
        with self.calendar.beside(self.tenant) as take:
            for part, place in zip(wanted, sorted(places, key=lambda place: place.part), strict=True):
                found = part.way_of(place.pool, place.devices, place.window.slots)
                if found is None or not found[1][0] <= place.window.first <= found[1][1]:
                    return None
                start = (place.window.first, place.window.first)
                best = next(self._starts(_Part((found[0],), (start,), part.punctual)), None)
                if best is None:
                    return None
                worth += best.worth
                placements.append(placed(best.way, best.slot, self.calendar, latest=found[1][1]))
                take(placements[-1])
        return Candidate(tuple(placements), round(worth))

    def worth(self, way: Option) -> int | None:
        """What is left of the value of one legal option at its best start; None when it has no start."""
        assert way.latest is not None
        alone = _Part((way,), ((way.earliest, way.latest),), due((way,)))
        return next((round(start.worth) for start in self._starts(alone)), None)

    def _parts(self, ask: Ask) -> list[_Part]:
        """The legal options of each part."""
        window = self.calendar.window
        mine: list[list[tuple[Option, tuple[int, int]]]] = [[] for _ in range(parts(ask))]
        for way in options(ask, self.calendar.fleet):
            if (starts := _starts_in(way, window)) is not None:
                mine[way.part].append((way, starts))
        return [_part(tuple(way for way, _ in own), tuple(starts for _, starts in own)) for own in mine]

    def _whole(self, wanted: Sequence[_Part], first: _Start, known: list[_Start]) -> Candidate | None:
        """The first part where it is, each other one where it is worth most beside those before it.

        ``known`` are the best starts of the first part.
        """
        worth, placements = 0.0, list[Placement]()
        with self.calendar.beside(self.tenant) as take:
            for n, part in enumerate(wanted):
                if n:
                    take(placements[-1])
                    known = self._after(part, known, placements)
                best = max(known, key=lambda start: start.worth, default=None) if n else first
                if best is None:
                    return None
                worth += best.worth
                latest = next(last for way, (_, last) in zip(part.ways, part.starts, strict=True) if way is best.way)
                placements.append(placed(best.way, best.slot, self.calendar, latest=latest))
        return Candidate(tuple(placements), round(worth))

    def _after(self, part: _Part, known: list[_Start], placements: Sequence[Placement]) -> list[_Start]:
        """The best starts of a part, given those of the one before it, which was placed meanwhile.

        Placing takes room away and gives none, so in other pools what was best still is, if the quota has room there.
        """
        taken = {placement.pool for placement in placements}
        same = {(way.pool, way.devices, way.slots): way for way in part.ways}
        if any((start.way.pool, start.way.devices, start.way.slots) not in same for start in known):
            return list(self._starts(part))
        left = [start for start in known if start.way.pool not in taken]
        found = [_Start(s.worth, same[s.way.pool, s.way.devices, s.way.slots], s.slot) for s in left]
        again = [k for k, way in enumerate(part.ways) if way.pool in taken]
        found += self._starts(
            _Part(tuple(part.ways[k] for k in again), tuple(part.starts[k] for k in again), part.punctual)
        )
        best = max(found, key=lambda start: start.worth, default=None)
        return found if best is None or self._in_quota(best) else list(self._starts(part))

    def _in_quota(self, start: _Start) -> bool:
        """Whether the tenant's quota has room for a start."""
        span = self.calendar.span(Window(start.slot, start.slot + start.way.slots))
        room = self.calendar.room[self.calendar.quotas.get(self.tenant, -1), span]
        return bool((room >= start.way.devices).all())

    def _starts(self, part: _Part) -> Iterator[_Start]:
        """The best start of each option of a part that has any."""
        if not part.ways:
            return
        origin, rows = self.calendar.window.first, self.calendar.pools
        punctual, late_cost = part.punctual, self.terms.late_cost
        ways = np.array(
            [
                (rows[way.pool], way.devices, way.slots, first - origin, last - origin, punctual.slot - origin)
                for way, (first, last) in zip(part.ways, part.starts, strict=True)
            ],
            np.int64,
        )
        late = [late_cost(way) for way in part.ways]
        value = [punctual.value(way, cost) for way, cost in zip(part.ways, late, strict=True)]
        worth, start = np.empty(len(ways)), np.empty(len(ways), np.int64)
        money = np.array((value, late), np.float64).T.copy()
        quota = self.calendar.quotas.get(self.tenant, -1)
        scan(self.calendar.board, ways, money, quota, self.use_percent, worth, start)
        for way, left, at in zip(part.ways, worth.tolist(), start.tolist(), strict=True):
            if at >= 0:
                yield _Start(left, way, origin + at)


def legal(ways: Iterable[Option], window: Window) -> Iterator[Option]:
    """The options that can start and end in ``window``, with their starts cut to it."""
    for way in ways:
        if (starts := _starts_in(way, window)) is not None:
            yield replace(way, earliest=starts[0], latest=starts[1])


def placed(way: Option, slot: int, calendar: Calendar, *, latest: int) -> Placement:
    """The placement of an option at a start, what it adds to the bill, and what it uses of what is paid for."""
    window = Window(slot, slot + way.slots)
    row, contract = calendar.pools[way.pool], calendar.fleet.contract_of(way.pool)
    paid = over = 0
    if contract is not None:
        span = calendar.span(window)
        paid = int(np.clip(calendar.paid[row, span] - calendar.lent[row, span], 0, way.devices).sum())
        over = way.devices * way.slots - paid
    return Placement(
        way.pool,
        way.devices,
        window,
        latest,
        way.part,
        way.silicon,
        cost_microusd=int(calendar.unit[row]) * way.devices * way.slots + int(calendar.overage[row]) * over,
        paid_microusd=paid * contract.committed_price_microusd if contract is not None else 0,
    )


def _part(ways: tuple[Option, ...], starts: tuple[tuple[int, int], ...]) -> _Part:
    """What is punctual is the first start of any of them, and the shortest."""
    if not ways:
        return _Part((), (), Due(0, 0))
    return _Part(ways, starts, Due(min(first for first, _ in starts), min(way.slots for way in ways)))


def _starts_in(way: Option, window: Window) -> tuple[int, int] | None:
    """First and last start of an option in a window; None where it has none."""
    last = window.end - way.slots
    last = last if way.latest is None else min(last, way.latest)
    first = max(way.earliest, window.first)
    return (first, last) if first <= last else None
