"""Every start of every way to serve a claim, ranked at once by what is left of its value after what it would use.

A start counts only if all devices are free for the whole run, and if the pool is not fuller than it may be. All pools
that take the same devices for the same time are looked at together, as running sums over a stretch of starts; a pool
drops out once no later start could be worth more than its best, since prices are never negative and waiting only costs.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from broker.admission.calendar import Calendar
from broker.domain.claim import Ask, Placement
from broker.domain.options import Option, options, parts
from broker.domain.slots import Window
from broker.domain.terms import Due, Terms, due

__all__ = ["Candidate", "Ranking", "legal", "placed"]

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

STRETCH = 384  # starts looked at first; each further stretch is twice as long


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
    """The legal options of one part of a claim, and what is punctual among them."""

    ways: tuple[Option, ...]
    punctual: Due

    def way_of(self, pool: str, devices: int, slots: int) -> Option | None:
        """The option that takes so much there."""
        return next((way for way in self.ways if (way.pool, way.devices, way.slots) == (pool, devices, slots)), None)


@dataclass(frozen=True, slots=True)
class _Stretch:
    """Starts from ``first`` to ``last`` of options that take ``devices`` for ``slots``, in the pools ``rows``."""

    ways: Sequence[Option]
    rows: Ints
    first: int
    last: int
    slots: int
    devices: int

    @property
    def window(self) -> Window:
        """All slots that any of them would use."""
        return Window(self.first, self.last + self.slots)

    def runs(self, levels: Floats | Ints) -> Floats | Ints:
        """[rows, starts] sums over each run, of [rows, slots of the window]."""
        sums = np.zeros((levels.shape[0], levels.shape[1] + 1), levels.dtype)
        np.cumsum(levels, axis=1, out=sums[:, 1:])
        return sums[:, self.slots :] - sums[:, : -self.slots]


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
        firsts = sorted(self._starts(wanted[0], wanted[0].ways, ()), key=lambda start: -start.worth)
        found = (self._whole(wanted, [_pinned(first.way, first.slot)]) for first in firsts[:most])
        return tuple(sorted((whole for whole in found if whole), key=lambda whole: -whole.worth_microusd))

    def pinned(self, ask: Ask, places: Sequence[Placement]) -> Candidate | None:
        """The claim at these places, one for each part; None when they are no way to serve it, or not free."""
        wanted = self._parts(ask)
        if sorted(place.part for place in places) != list(range(len(wanted))):
            return None
        pins = []
        for part, place in zip(wanted, sorted(places, key=lambda place: place.part), strict=True):
            way = part.way_of(place.pool, place.devices, place.window.slots)
            if way is None or way.latest is None or not way.earliest <= place.window.first <= way.latest:
                return None
            pins.append(_pinned(way, place.window.first))
        return self._whole(wanted, pins)

    def worth(self, way: Option) -> int | None:
        """What is left of the value of one legal option at its best start; None when it has no start."""
        alone = _Part((way,), due((way,)))
        return next((round(start.worth) for start in self._starts(alone, alone.ways, ())), None)

    def _parts(self, ask: Ask) -> list[_Part]:
        """The legal options of each part."""
        ways = tuple(legal(options(ask, self.calendar.fleet), self.calendar.window))
        mine = (tuple(way for way in ways if way.part == part) for part in range(parts(ask)))
        return [_Part(own, due(own) if own else Due(0, 0)) for own in mine]

    def _whole(self, wanted: Sequence[_Part], pins: Sequence[Option]) -> Candidate | None:
        """Each part where it is worth most beside those before it, the first ones where they are pinned."""
        worth, placements = 0.0, list[Placement]()
        for n, part in enumerate(wanted):
            ways = pins[n : n + 1] or part.ways
            best = max(self._starts(part, ways, placements), key=lambda start: start.worth, default=None)
            if best is None:
                return None
            worth += best.worth
            way = part.way_of(best.way.pool, best.way.devices, best.way.slots)
            assert way is not None
            placements.append(placed(way, best.slot, self.calendar, placements))
        return Candidate(tuple(placements), round(worth))

    def _starts(self, part: _Part, ways: Sequence[Option], beside: Sequence[Placement]) -> Iterator[_Start]:
        """The best start of each of some options of a part that has any."""
        for _, alike in groupby(sorted(ways, key=_shape), key=_shape):
            yield from self._best(list(alike), part.punctual, beside)

    def _best(self, ways: list[Option], punctual: Due, beside: Sequence[Placement]) -> Iterator[_Start]:
        """The best start of each of some options of one shape."""
        devices, slots, earliest, latest = _shape(ways[0])
        late = np.array([self.terms.late_cost(way) for way in ways], np.float64)
        value = np.array([punctual.value(way, self.terms.late_cost(way)) for way in ways], np.float64)
        rows = np.array([self.calendar.pools[way.pool] for way in ways])
        floor = self.calendar.unit[rows] * float(devices * slots)  # no start costs less
        best, at = np.full(len(ways), -np.inf), np.zeros(len(ways), np.int64)
        left, first, length = np.arange(len(ways)), earliest, STRETCH
        while len(left) and first <= latest:
            last = min(latest, first + length - 1)
            stretch = _Stretch([ways[k] for k in left], rows[left], first, last, slots, devices)
            waited = np.maximum(0, np.arange(first, last + 1) - punctual.slot)
            worth = value[left, None] - late[left, None] * waited - self._cost(stretch, beside)
            worth[~self._open(stretch, beside)] = -np.inf
            top = worth.argmax(axis=1)
            peak = worth[np.arange(len(left)), top]
            better = peak > best[left]
            best[left[better]], at[left[better]] = peak[better], first + top[better]
            first, length = last + 1, length * 2
            most = value - late * max(0, first - punctual.slot) - floor
            left = left[most[left] > best[left]]
        for k, way in enumerate(ways):
            if best[k] > -np.inf:
                yield _Start(float(best[k]), way, int(at[k]))

    def _cost(self, stretch: _Stretch, beside: Sequence[Placement]) -> Floats:
        """[rows, starts] money for what a run uses: running cost, bid prices and overage."""
        span, slots = self.calendar.span(stretch.window), stretch.slots
        sums = self.calendar.price[stretch.rows, span.start : span.stop + 1]
        price = sums[:, slots:] - sums[:, :-slots]
        quota = self.calendar.quotas.get(self.tenant)
        if quota is not None and self.calendar.priced:
            mine = self.calendar.quota_price[quota, span.start : span.stop + 1]
            price = price + (mine[slots:] - mine[:-slots])
        cost: Floats = stretch.devices * price
        overage = self.calendar.overage[stretch.rows]
        if overage.any():
            lent = self._lent(stretch, beside)
            over = np.clip(lent + stretch.devices - self.calendar.paid[stretch.rows, span], 0, stretch.devices)
            cost += stretch.runs(over) * overage[:, None]
        return cost

    def _open(self, stretch: _Stretch, beside: Sequence[Placement]) -> Bools:
        """[rows, starts] whether the devices are free for the whole run, and the pool does not get too full."""
        span = self.calendar.span(stretch.window)
        free = self.calendar.free[stretch.rows, span]
        for k, taken in self._taken_from(stretch, beside):
            free[k] -= taken
        full = free < stretch.devices
        quota = self.calendar.quotas.get(self.tenant)
        if quota is not None:
            full |= self.calendar.room[quota, span] - _taken(beside, stretch.window) < stretch.devices
        is_open: Bools = stretch.runs(full.astype(np.int64)) == 0
        if self.use_percent < 100:
            supply = self.calendar.supply[stretch.rows, span]
            spare = self.use_percent * supply - 100 * self._lent(stretch, beside)
            is_open &= stretch.runs(spare) >= 100 * stretch.devices * stretch.slots
        return is_open

    def _lent(self, stretch: _Stretch, beside: Sequence[Placement]) -> Ints:
        """[rows, slots of the window] what is in use, the parts placed already included."""
        lent = self.calendar.lent[stretch.rows, self.calendar.span(stretch.window)]
        for k, taken in self._taken_from(stretch, beside):
            lent[k] += taken
        return lent

    @staticmethod
    def _taken_from(stretch: _Stretch, beside: Sequence[Placement]) -> Iterator[tuple[int, Ints]]:
        for k, way in enumerate(stretch.ways):
            here = [placement for placement in beside if placement.pool == way.pool]
            if here:
                yield k, _taken(here, stretch.window)


def legal(ways: Iterable[Option], window: Window) -> Iterator[Option]:
    """The options that can start and end in ``window``, with their starts cut to it."""
    for way in ways:
        ends = [end for end in (way.latest, window.end - way.slots) if end is not None]
        first, last = max(way.earliest, window.first), min(ends)
        if first <= last:
            yield replace(way, earliest=first, latest=last)


def placed(way: Option, slot: int, calendar: Calendar, beside: Sequence[Placement] = ()) -> Placement:
    """The placement of a legal option at a start, what it adds to the bill, and what it uses of what is paid for."""
    window = Window(slot, slot + way.slots)
    row, span = calendar.pools[way.pool], calendar.span(window)
    lent = calendar.lent[row, span] + _taken([p for p in beside if p.pool == way.pool], window)
    paid = int(np.clip(calendar.paid[row, span] - lent, 0, way.devices).sum())
    over = way.devices * way.slots - paid if calendar.overage[row] else 0
    contract = calendar.fleet.contract_of(way.pool)
    assert way.latest is not None
    return Placement(
        way.pool,
        way.devices,
        window,
        way.latest,
        way.part,
        way.silicon,
        cost_microusd=int(calendar.unit[row]) * way.devices * way.slots + int(calendar.overage[row]) * over,
        paid_microusd=paid * contract.committed_price_microusd if contract is not None else 0,
    )


def _pinned(way: Option, slot: int) -> Option:
    """The option with that start only."""
    return replace(way, earliest=slot, latest=slot)


def _shape(way: Option) -> tuple[int, int, int, int]:
    assert way.latest is not None
    return way.devices, way.slots, way.earliest, way.latest


def _taken(placements: Iterable[Placement], window: Window) -> Ints:
    """Devices that placements take in each slot of a window."""
    taken = np.zeros(window.slots, np.int64)
    for placement in placements:
        first = max(0, placement.window.first - window.first)
        taken[first : max(first, placement.window.end - window.first)] += placement.devices
    return taken
