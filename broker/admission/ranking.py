"""Every start of every way to serve a claim, ranked at once by what is left of its value after what it would use.

A start counts only if all devices are free for the whole run, and if enough is left for others.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from broker.admission.calendar import PLENTY, Calendar
from broker.admission.scan import NO_LIMIT, Limit, scan
from broker.domain.claim import Ask, Placement
from broker.domain.cut import in_pieces
from broker.domain.options import Option, Size, parts, share, sizes, with_bonus
from broker.domain.slots import Window
from broker.domain.terms import Terms

__all__ = ["Candidate", "Ranking", "legal", "placed"]

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Candidate:
    """Places for all parts of a claim that fit together, and what is left of its value, in micro-USD."""

    placements: tuple[Placement, ...]
    worth_microusd: int

    def is_at(self, places: Sequence[Placement]) -> bool:
        """Whether it is these devices, pools and times, part for part."""
        mine, theirs = (
            sorted((p.part, p.pool, p.devices, p.window) for p in some) for some in (self.placements, places)
        )
        return mine == theirs


@dataclass(frozen=True, slots=True)
class _Part:
    """The legal options of one part of a claim, as rows that the loop over starts takes."""

    ask: Ask
    number: int
    sizes: tuple[Size, ...]  # each option is a part of one
    rows: (
        Ints  # [ways, 6]: pool, devices, slots, first start, last start, punctual start; from the calendar's first slot
    )
    money: Floats  # [ways, 2]: value of a punctual start, what each slot of waiting costs

    @property
    def shape(self) -> bytes:
        """The same for parts that take the same devices in the same pools for as long."""
        return self.rows[:, :3].tobytes()


@dataclass(frozen=True, slots=True)
class _Starts:
    """The best start of each option of a part and what is left of its value there: -inf where it fits nowhere."""

    worth: Floats
    slot: Ints

    def best(self) -> int | None:
        """The option that is worth most; None when none fits."""
        best = int(self.worth.argmax()) if len(self.worth) else -1
        return best if best >= 0 and self.slot[best] >= 0 else None


class _Bounds(NamedTuple):
    """What each option of the parts of one shape is worth at most; at a slot, exactly, unless it is stale."""

    worth: Floats
    slot: Ints
    stale: NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Ranking:
    """Ranks places for claims under one quota; ``limit`` says what they must leave for others.

    They leave the berths of guaranteed work alone if they are ``sure``, guaranteed themselves.
    """

    calendar: Calendar
    quota: str
    terms: Terms
    limit: Limit = NO_LIMIT
    sure: bool = False

    def candidates(self, ask: Ask, *, most: int = 4) -> tuple[Candidate, ...]:
        """The best ways to serve a whole claim, best first, in pools that differ; empty when it fits nowhere.

        Each part goes where it is worth most beside the parts before it. The worth may be negative: then others are
        expected to make more of the capacity.
        """
        wanted = self._parts(ask)
        if not wanted:
            return ()
        starts = self._starts(wanted[0].rows, wanted[0].money)
        # Each further candidate of a claim in parts would cost as much again as the first.
        firsts = np.argsort(-starts.worth, kind="stable")[: most if len(wanted) == 1 else 1].tolist()
        found = (self._whole(wanted, first, starts) for first in firsts if starts.slot[first] >= 0)
        return tuple(sorted((whole for whole in found if whole), key=lambda whole: -whole.worth_microusd))

    def pinned(self, ask: Ask, places: Sequence[Placement]) -> Candidate | None:
        """The claim at these places, one for each part; None when they are no way to serve it, or not free."""
        wanted = self._parts(ask)
        if sorted(place.part for place in places) != list(range(len(wanted))):
            return None
        worth, placements = 0.0, list[Placement]()
        with self.calendar.beside(self.quota) as take:
            for part, place in zip(wanted, sorted(places, key=lambda place: place.part), strict=True):
                if (k := self._way_of(part, place)) is None:
                    return None
                row = part.rows[k].copy()
                row[3] = row[4] = place.window.first - self.calendar.window.first
                starts = self._starts(row[None], part.money[k : k + 1])
                if starts.best() is None:
                    return None
                worth += float(starts.worth[0])
                placements.append(self._placed(part, k, int(starts.slot[0])))
                take(placements[-1])
        return Candidate(tuple(placements), round(worth))

    def worth(self, way: Option) -> int | None:
        """What is left of the value of one legal option at its best start; None when it has no start."""
        starts = self._alone(way)
        return None if starts.best() is None else round(float(starts.worth[0]))

    def start(self, way: Option) -> int | None:
        """The best start of one option that has a latest one; None when it fits nowhere."""
        starts = self._alone(way)
        return None if starts.best() is None else self.calendar.window.first + int(starts.slot[0])

    def _alone(self, way: Option) -> _Starts:
        """The best start of one option."""
        assert way.latest is not None
        rows = self._rows([(way.pool, way.devices, way.slots, way.latest)], way.earliest)
        return self._starts(rows, self._money(rows, way.value_microusd))

    def _parts(self, ask: Ask) -> list[_Part]:
        """The legal options of each part."""
        window = self.calendar.window
        found = [size for size in sizes(ask, self.calendar.fleet) if _is_legal(size, ask, window)]
        whole = self._rows([(size.pool.id, size.devices, size.slots, size.latest) for size in found], ask.earliest)
        pieces = np.array([(*size.piece,) for size in found], np.int64).reshape(-1, 2)
        return [self._part(ask, n, tuple(found), whole, pieces) for n in range(parts(ask))]

    def _part(self, ask: Ask, n: int, found: tuple[Size, ...], whole: Ints, pieces: Ints) -> _Part:
        """Part ``n`` of the options that serve the whole claim; like `Size.part`, for all at once."""
        rows, count = whole.copy(), parts(ask)
        rows[:, 1] = in_pieces(share(whole[:, 1], n, count), pieces[:, 0], pieces[:, 1])
        value: Ints | int = share(ask.worth_microusd, n, count)
        if ask.preferred_pools or ask.on_loan:
            bonus = np.array([s.bonus_percent for s in found], np.int64)
            value = with_bonus(np.full(len(found), value), bonus)
        return _Part(ask, n, found, rows, self._money(rows, value))

    def _rows(self, ways: Sequence[tuple[str, int, int, int | None]], earliest: int) -> Ints:
        """Legal options as `_Part` has them, from pool, devices, slots and last start; the first start is punctual."""
        first, end = self.calendar.window.first, self.calendar.window.slots
        begin, pools = max(earliest - first, 0), self.calendar.pools
        rows = [
            (
                *(pools[pool], devices, slots, begin),
                *(end - slots if latest is None else min(latest - first, end - slots), begin),
            )
            for pool, devices, slots, latest in ways
        ]
        return np.array(rows, np.int64).reshape(len(rows), 6)

    def _money(self, rows: Ints, value: Ints | int) -> Floats:
        """What punctual starts are worth, where a longer option is late by as much from its start on; see `Terms`."""
        late, slots = value // self.terms.waiting, rows[:, 2]
        money = np.empty((len(rows), 2))
        money[:, 0], money[:, 1] = value - late * (slots - np.minimum.reduce(slots, initial=PLENTY)), late
        return money

    def _way_of(self, part: _Part, place: Placement) -> int | None:
        """The option that takes so much there and may start then."""
        slot = place.window.first - self.calendar.window.first
        alike = part.rows[:, :3] == (self.calendar.pools.get(place.pool, -1), place.devices, place.window.slots)
        for k in np.flatnonzero(alike.all(axis=1)).tolist():
            if part.rows[k, 3] <= slot <= part.rows[k, 4]:
                return int(k)
        return None

    def _whole(self, wanted: Sequence[_Part], first: int, starts: _Starts) -> Candidate | None:
        """The first part where it is, each other one where it is worth most beside those before it.

        ``starts`` are the best ones of the first part.
        """
        worth, placements = float(starts.worth[first]), [self._placed(wanted[0], first, int(starts.slot[first]))]
        if len(wanted) == 1:
            return Candidate(tuple(placements), round(worth))
        fresh = _Bounds(starts.worth.copy(), starts.slot.copy(), np.zeros(len(starts.slot), np.bool_))
        bounds = {wanted[0].shape: fresh}
        with self.calendar.beside(self.quota) as take:
            for part in wanted[1:]:
                take(placements[-1])
                self._mark(wanted[0].rows[:, 0], self.calendar.pools[placements[-1].pool], bounds.values())
                if part.shape not in bounds:
                    bounds[part.shape] = self._at_most(part, wanted[0], bounds[wanted[0].shape])
                known = bounds[part.shape]
                if (best := self._best(part, known)) is None:
                    return None
                worth += float(known.worth[best])
                placements.append(self._placed(part, best, int(known.slot[best])))
        return Candidate(tuple(placements), round(worth))

    def _best(self, part: _Part, known: _Bounds) -> int | None:
        """The option that is worth most as things are, up to the rounding of money; None when none fits.

        Placing takes room away and gives none, so what was known stays true as a bound: only options whose bound is the
        highest are looked at again (Minoux 1978, "Accelerated greedy algorithms").
        """
        rounding = self.calendar.window.slots + 2  # a slot of waiting costs whole micro-USD
        while (most := known.worth.max(initial=-np.inf)) > -np.inf:
            near = np.flatnonzero(known.worth >= most - rounding)
            fresh = near[~known.stale[near]]
            best = int(fresh[0] if len(fresh) else near[0])
            if len(fresh) and self._in_quota(part.rows[best], int(known.slot[best])):
                return best
            anew = self._starts(part.rows[best : best + 1], part.money[best : best + 1])
            known.worth[best], known.slot[best], known.stale[best] = anew.worth[0], anew.slot[0], False
        return None

    def _mark(self, pools: Ints, pool: int, bounds: Iterable[_Bounds]) -> None:
        """Options are stale where less may be had now that this pool has given room."""
        kind = self.calendar.kind if self.limit.above >= 0 else np.arange(len(self.calendar.kind))
        touched = kind[pools] == kind[pool]
        for known in bounds:
            known.stale[touched] = True

    def _at_most(self, part: _Part, smaller: _Part, known: _Bounds) -> _Bounds:
        """Bounds for a part of more devices, which cost no less."""
        worth = known.worth + np.maximum(0, part.money[:, 0] - smaller.money[:, 0])
        return _Bounds(worth, known.slot.copy(), np.ones(len(worth), np.bool_))

    def _in_quota(self, row: Ints, slot: int) -> bool:
        """Whether the quota has room for a start."""
        room = self.calendar.room[self.calendar.row_of(self.quota), slot : slot + row[2]]
        return bool((room >= row[1]).all())

    def _starts(self, rows: Ints, money: Floats) -> _Starts:
        worth, slot = np.empty(len(rows)), np.empty(len(rows), np.int64)
        quota = self.calendar.row_of(self.quota)
        board, berths = self.calendar.board, self.calendar.berths
        if self.sure and berths is not None:
            board = board._replace(free=_below(board.free, berths.ceiling, rows))
        scan(board, rows, money, quota, self.limit, worth, slot)
        return _Starts(worth, slot)

    def _placed(self, part: _Part, k: int, slot: int) -> Placement:
        """Option ``k`` at a slot of the calendar."""
        first = self.calendar.window.first
        way = part.sizes[k].part(part.ask, part.number)
        return placed(way, first + slot, self.calendar, latest=first + int(part.rows[k, 4]))


def _below(free: Ints, ceiling: Ints, rows: Ints) -> Ints:
    """What is free under a ceiling, as far as these options reach; anything elsewhere."""
    out = np.empty_like(free)
    if len(rows):
        span = slice(int(rows[:, 3].min()), int((rows[:, 4] + rows[:, 2]).max()))
        np.minimum(free[:, span], ceiling[: len(free), span], out=out[:, span])
    return out


def _is_legal(size: Size, ask: Ask, window: Window) -> bool:
    """Whether it can start and end in the window."""
    last = window.end - size.slots
    return max(ask.earliest, window.first) <= (last if size.latest is None else min(last, size.latest))


def legal(ways: Iterable[Option], window: Window) -> Iterator[Option]:
    """The options that can start and end in ``window``, with their starts cut to it."""
    for way in ways:
        if (starts := _starts_in(way, window)) is not None:
            yield way._replace(earliest=starts[0], latest=starts[1])


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


def _starts_in(way: Option, window: Window) -> tuple[int, int] | None:
    """First and last start of an option in a window; None where it has none."""
    last = window.end - way.slots
    last = last if way.latest is None else min(last, way.latest)
    first = max(way.earliest, window.first)
    return (first, last) if first <= last else None
