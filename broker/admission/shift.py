"""Room for a claim that fits nowhere, by shifting a few others inside what they were told; nobody is dropped.

Who is planned and not yet frozen may start at another time in the same pool, no later than the latest start that it was
told. So for a few starts of the claim where least is missing, the fewest others that would free enough are lifted, the
claim is put down, and the others are laid down again, the largest first: an ejection chain of length one (Glover 1996,
"Ejection chains, reference structures and alternating path methods"). What the others lose by starting later is weighed
against what the claim is worth.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from broker.admission.calendar import Calendar
from broker.admission.ranking import Candidate, Ranking, placed
from broker.admission.scan import NO_LIMIT
from broker.domain.claim import Ask, Claim, Hold, Placement, Planned
from broker.domain.options import Option, parts, share, sizes
from broker.domain.slots import Window

__all__ = ["SHIFTED_MAX", "Room", "room"]

Ints = NDArray[np.int64]

SHIFTED_MAX = 8  # claims that move for one
STARTS_MAX = 2  # tried in each pool
MOVABLE_MAX = 500  # looked at in each pool
TRIES_MAX = 4  # in all, those first where least is missing


class Shift(NamedTuple):
    """Another claim, and all its placements as they would be."""

    claim: Claim
    placements: tuple[Placement, ...]


@dataclass(frozen=True, slots=True)
class Room:
    """Where a claim fits once these others have moved."""

    candidate: Candidate
    shifts: tuple[Shift, ...]

    def moved(self, at: int) -> tuple[Claim, ...]:
        """The others, as they are from Unix second ``at`` on."""
        return tuple(claim.becomes(Planned(placements, claim.because), at=at) for claim, placements in self.shifts)


class _Movable(NamedTuple):
    claim: Claim
    place: Placement


class _Try(NamedTuple):
    """A start of the claim, and the device-slots that are missing there."""

    missing: int
    place: Placement


def room(ranking: Ranking, ask: Ask, claims: Iterable[Claim], *, firm: int) -> Room | None:
    """The first way found in which the claim fits and is worth more than its delays cost others.

    Whatever starts up to slot ``firm`` stays where it is. Claims in several parts are not tried. The calendar is as it
    was when this returns.
    """
    calendar = ranking.calendar
    if parts(ask) != 1:
        return None
    spans = list(_spans(calendar, ask))
    if not spans:
        return None
    reach = Window(min(span.first for _, span in spans), max(span.end for _, span in spans))
    movable = _movable(calendar, claims, reach, firm)
    tries = (one for way, span in spans for one in _tries(calendar, way, span, movable.get(way.pool, ())))
    for one in sorted(tries, key=lambda one: one.missing)[:TRIES_MAX]:
        found = _moved(ranking, ask, one.place, movable[one.place.pool], firm)
        if found is not None:
            return found
    return None


def _spans(calendar: Calendar, ask: Ask) -> Iterator[tuple[Option, Window]]:
    """Each way to serve the claim, and all slots that it could use."""
    for size in sizes(ask, calendar.fleet):
        way = size.part(ask, 0)
        first = max(calendar.window.first, way.earliest)
        end = calendar.window.end if way.latest is None else min(calendar.window.end, way.latest + way.slots)
        if end - first >= way.slots:
            yield way, Window(first, end)


def _movable(calendar: Calendar, claims: Iterable[Claim], reach: Window, firm: int) -> dict[str, list[_Movable]]:
    """By pool: what uses any of these slots and may start elsewhere."""
    found: dict[str, list[_Movable]] = {}
    for claim in claims:
        if type(claim.state) is Planned:
            for place in claim.state.placements:
                window = place.window
                if firm < window.first < reach.end and reach.first < window.end <= calendar.window.end:
                    found.setdefault(place.pool, []).append(_Movable(claim, place))
    # Among thousands in one pool the first will do, and looking at all of them would keep other callers waiting.
    return {pool: some[:MOVABLE_MAX] for pool, some in found.items()}


def _tries(calendar: Calendar, way: Option, span: Window, movable: Sequence[_Movable]) -> Iterator[_Try]:
    """Starts at which enough would be free if all that can move were gone, those first where least is missing."""
    if not movable:
        return
    short = np.maximum(0, way.devices - calendar.free[calendar.pools[way.pool], calendar.span(span)])
    lacking, blocked = _over_runs(short, way.slots), _over_runs(short > _lifted(movable, span), way.slots)
    lacking[blocked > 0] = np.iinfo(np.int64).max
    for k in np.argsort(lacking, kind="stable")[:STARTS_MAX].tolist():
        if not blocked[k]:
            window = Window(span.first + k, span.first + k + way.slots)
            yield _Try(int(lacking[k]), Placement(way.pool, way.devices, window, window.first, silicon=way.silicon))


def _lifted(movable: Sequence[_Movable], span: Window) -> Ints:
    """Devices that could leave, for each slot."""
    table = np.array([(m.place.window.first, m.place.window.end, m.place.devices) for m in movable], np.int64)
    bounds = np.clip(table[:, :2] - span.first, 0, span.slots)
    change = np.bincount(bounds[:, 0], table[:, 2], span.slots + 1)
    change -= np.bincount(bounds[:, 1], table[:, 2], span.slots + 1)
    levels: Ints = np.cumsum(change[:-1]).astype(np.int64)
    return levels


def _over_runs(values: NDArray[np.generic], slots: int) -> Ints:
    """Sums over every run of so many slots."""
    sums = np.concatenate(([0], np.cumsum(values, dtype=np.int64)))
    runs: Ints = sums[slots:] - sums[:-slots]
    return runs


def _moved(ranking: Ranking, ask: Ask, place: Placement, movable: Sequence[_Movable], firm: int) -> Room | None:
    """The claim at that place and others moved for it, if that can be and is worth it."""
    with _undone(ranking.calendar) as book:
        away = _lift(ranking.calendar, place, movable, book)
        found = ranking.pinned(ask, (place,)) if away is not None else None
        if away is None or found is None or found.worth_microusd <= 0:
            return None
        book(found.placements[0], ranking.quota, 1)
        shifts, cost = [], 0
        for one in sorted(away, key=lambda one: -one.place.devices * one.place.window.slots):
            after = _laid(ranking, one, firm)
            if after is None:
                return None
            book(after, one.claim.quota, 1)
            shifts.append((one, after))
            cost += _delay_cost(ranking, one, after)
        if cost >= found.worth_microusd:
            return None
    return Room(found, _by_claim(shifts))


def _lift(calendar: Calendar, place: Placement, movable: Sequence[_Movable], book: _Book) -> list[_Movable] | None:
    """Those who leave so that the place is free, as few as may be; None when it would take too many."""
    short = place.devices - calendar.free[calendar.pools[place.pool], calendar.span(place.window)]
    away: list[_Movable] = []
    for one in sorted(movable, key=lambda one: -_overlap(one.place.window, place.window) * one.place.devices):
        if not (short > 0).any():
            break
        span = _within(one.place.window, place.window)
        if not (short[span] > 0).any():
            continue
        if len(away) == SHIFTED_MAX:
            return None
        book(one.place, one.claim.quota, -1)
        short[span] -= one.place.devices
        away.append(one)
    return None if (short > 0).any() else away


def _laid(ranking: Ranking, one: _Movable, firm: int) -> Placement | None:
    """The placement at its best start beside everything else; None when it has none."""
    way = _way(one, firm)
    if way.earliest > one.place.latest:
        return None
    at = replace(ranking, quota=one.claim.quota, limit=NO_LIMIT).start(way)
    return None if at is None else placed(way, at, ranking.calendar, latest=one.place.latest)


def _way(one: _Movable, firm: int) -> Option:
    """All starts that the placement may have, where it is."""
    ask, place = one.claim.ask, one.place
    value = share(ask.worth_microusd, place.part, parts(ask))
    first = max(ask.earliest, firm + 1)
    return Option(place.part, place.pool, place.silicon, place.devices, place.window.slots, first, place.latest, value)


def _delay_cost(ranking: Ranking, one: _Movable, after: Placement) -> int:
    late = max(0, after.window.first - one.place.window.first)
    return late * ranking.terms.late_cost(_way(one, 0))


def _by_claim(shifts: Sequence[tuple[_Movable, Placement]]) -> tuple[Shift, ...]:
    """One entry for each claim, with what stays of it; claims whose placements end up where they were are left out."""
    after: dict[str, Shift] = {}
    for one, place in shifts:
        claim, placements = after.get(one.claim.name.key, Shift(one.claim, one.claim.placements))
        placements = tuple(place if old.part == place.part else old for old in placements)
        after[claim.name.key] = Shift(claim, placements)
    return tuple(shift for shift in after.values() if shift.placements != shift.claim.placements)


def _overlap(one: Window, other: Window) -> int:
    return max(0, min(one.end, other.end) - max(one.first, other.first))


def _within(one: Window, other: Window) -> slice:
    """The slots of ``other``, counted from its first, that are in ``one``."""
    first = max(0, one.first - other.first)
    return slice(first, max(first, min(other.slots, one.end - other.first)))


class _Book:
    """Counts placements as used (1) or free (-1) on a calendar, and can take all of it back."""

    def __init__(self, calendar: Calendar) -> None:
        self._calendar = calendar
        self._done: list[tuple[Hold, int]] = []

    def __call__(self, place: Placement, quota: str, sign: int) -> None:
        for account in (f"pools/{place.pool}", f"tenants/{quota}"):
            hold = Hold(account, place.window, place.devices)
            self._count(hold, sign)
            self._done.append((hold, sign))

    def undo(self) -> None:
        """The calendar as it was."""
        for hold, sign in reversed(self._done):
            self._count(hold, -sign)

    def _count(self, hold: Hold, sign: int) -> None:
        if sign > 0:
            self._calendar.take(hold)
        else:
            self._calendar.give_back(hold)


@contextmanager
def _undone(calendar: Calendar) -> Iterator[_Book]:
    book = _Book(calendar)
    try:
        yield book
    finally:
        book.undo()
