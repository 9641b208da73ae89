"""Every start of every way to serve a claim, ranked at once by what is left of its value after what it would use.

A start counts only if all devices are free for the whole run. All pools that take the same devices for the same time
are looked at together, as running sums over a stretch of starts; a pool drops out once no later start could be worth
more than its best, since prices are never negative and waiting only costs.
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

__all__ = ["Candidate", "candidates", "legal", "placed"]

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

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


def candidates(ask: Ask, tenant: str, calendar: Calendar, terms: Terms, *, most: int = 4) -> tuple[Candidate, ...]:
    """The best ways to serve a whole claim now, best first, in pools that differ; empty when it fits nowhere.

    Each part goes where it is worth most beside the parts before it. The worth may be negative: then others are
    expected to make more of the capacity.
    """
    ways = [
        list(legal((way for way in options(ask, calendar.fleet) if way.part == part), calendar.window))
        for part in range(parts(ask))
    ]
    firsts = sorted(_starts(ways[0], tenant, calendar, terms, ()), key=lambda start: -start.worth)
    found = (_whole(first, ways[1:], tenant, calendar, terms) for first in firsts[:most])
    return tuple(sorted((whole for whole in found if whole), key=lambda whole: -whole.worth_microusd))


def _whole(
    first: _Start, others: Sequence[Sequence[Option]], tenant: str, calendar: Calendar, terms: Terms
) -> Candidate | None:
    """The first part where it is, and each other one where it is worth most beside those before it."""
    worth, placements = first.worth, [placed(first.way, first.slot, calendar)]
    for ways in others:
        best = max(_starts(ways, tenant, calendar, terms, placements), key=lambda start: start.worth, default=None)
        if best is None:
            return None
        worth += best.worth
        placements.append(placed(best.way, best.slot, calendar, placements))
    return Candidate(tuple(placements), round(worth))


def legal(ways: Iterable[Option], window: Window) -> Iterator[Option]:
    """The options that can start and end in ``window``, with their starts cut to it."""
    for way in ways:
        ends = [end for end in (way.latest, window.end - way.slots) if end is not None]
        first, last = max(way.earliest, window.first), min(ends)
        if first <= last:
            yield replace(way, earliest=first, latest=last)


def placed(way: Option, slot: int, calendar: Calendar, beside: Sequence[Placement] = ()) -> Placement:
    """The placement of an option at a start, with what it adds to the bill and what it uses of what is paid for."""
    window = Window(slot, slot + way.slots)
    row, span = calendar.pools[way.pool], calendar.span(window)
    lent = calendar.lent[row, span] + _taken(beside, way.pool, window)
    paid = np.clip(calendar.paid[row, span] - lent, 0, way.devices).sum()
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
        cost_microusd=int(calendar.unit[row] * way.devices * way.slots + calendar.overage[row] * over),
        paid_microusd=int(paid * contract.committed_price_microusd) if contract is not None else 0,
    )


def _starts(
    ways: Sequence[Option], tenant: str, calendar: Calendar, terms: Terms, beside: Sequence[Placement]
) -> Iterator[_Start]:
    """The best start of each of some legal options that has any."""
    if not ways:
        return
    punctual = due(ways)
    for _, alike in groupby(sorted(ways, key=_shape), key=_shape):
        yield from _best(list(alike), punctual, tenant, calendar, terms, beside)


def _shape(way: Option) -> tuple[int, int, int, int]:
    assert way.latest is not None
    return way.devices, way.slots, way.earliest, way.latest


def _best(
    ways: list[Option],
    punctual: Due,
    tenant: str,
    calendar: Calendar,
    terms: Terms,
    beside: Sequence[Placement],
) -> Iterator[_Start]:
    """The best start of each of some options of one shape."""
    devices, slots, earliest, latest = _shape(ways[0])
    late = np.array([terms.late_cost(way) for way in ways], np.float64)
    value = np.array([punctual.value(way, int(cost)) for way, cost in zip(ways, late, strict=True)], np.float64)
    rows = np.array([calendar.pools[way.pool] for way in ways])
    floor = calendar.unit[rows] * float(devices * slots)  # no start costs less
    best, at = np.full(len(ways), -np.inf), np.zeros(len(ways), np.int64)
    open_rows, first, stretch = np.arange(len(ways)), earliest, STRETCH
    while len(open_rows) and first <= latest:
        last = min(latest, first + stretch - 1)
        here = rows[open_rows]
        waited = np.maximum(0, np.arange(first, last + 1) - punctual.slot)
        worth = value[open_rows, None] - late[open_rows, None] * waited
        worth -= devices * _price(calendar, here, tenant, first, last, slots)
        if calendar.overage[here].any():
            worth -= _overage(calendar, here, first, last, slots, devices, ways, open_rows, beside)
        open_starts = _open(calendar, here, tenant, first, last, slots, devices, [ways[k] for k in open_rows], beside)
        worth[~open_starts] = -np.inf
        top = worth.argmax(axis=1)
        peak = worth[np.arange(len(here)), top]
        better = peak > best[open_rows]
        best[open_rows[better]], at[open_rows[better]] = peak[better], first + top[better]
        first, stretch = last + 1, stretch * 2
        most = value - late * max(0, first - punctual.slot) - floor
        open_rows = open_rows[most[open_rows] > best[open_rows]]
    for k, way in enumerate(ways):
        if best[k] > -np.inf:
            yield _Start(float(best[k]), way, int(at[k]))


def _price(calendar: Calendar, rows: Ints, tenant: str, first: int, last: int, slots: int) -> Floats:
    """[rows, starts] money for each device over a run."""
    low, high = first - calendar.window.first, last - calendar.window.first + 1
    sums = calendar.price[rows, low : high + slots]
    price: Floats = sums[:, slots:] - sums[:, :-slots]
    quota = calendar.quotas.get(tenant)
    if quota is not None and calendar.priced:
        mine = calendar.quota_price[quota, low : high + slots]
        price = price + (mine[slots:] - mine[:-slots])
    return price


def _open(
    calendar: Calendar,
    rows: Ints,
    tenant: str,
    first: int,
    last: int,
    slots: int,
    devices: int,
    ways: Sequence[Option],
    beside: Sequence[Placement],
) -> NDArray[np.bool_]:
    """[rows, starts] whether the devices are free, in the pool and in the quota, for the whole run."""
    low, end = first - calendar.window.first, last - calendar.window.first + slots
    free = calendar.free[rows, low:end]
    window = Window(first, last + slots)
    for k, way in enumerate(ways):
        if any(placement.pool == way.pool for placement in beside):
            free[k] -= _taken(beside, way.pool, window)
    full = free < devices
    quota = calendar.quotas.get(tenant)
    if quota is not None:
        full |= calendar.room[quota, low:end] - _taken(beside, None, window) < devices
    blocked = np.zeros((len(rows), full.shape[1] + 1), np.int32)
    np.cumsum(full, axis=1, out=blocked[:, 1:])
    is_open: NDArray[np.bool_] = blocked[:, slots:] == blocked[:, :-slots]
    return is_open


def _overage(
    calendar: Calendar,
    rows: Ints,
    first: int,
    last: int,
    slots: int,
    devices: int,
    ways: Sequence[Option],
    open_rows: Ints,
    beside: Sequence[Placement],
) -> Floats:
    """[rows, starts] money for what a run uses above what is paid for."""
    low, end = first - calendar.window.first, last - calendar.window.first + slots
    lent = calendar.lent[rows, low:end]
    window = Window(first, last + slots)
    for k, n in enumerate(open_rows):
        lent[k] += _taken(beside, ways[n].pool, window)
    over = np.clip(lent + devices - calendar.paid[rows, low:end], 0, devices)
    sums = np.zeros((len(rows), over.shape[1] + 1))
    np.cumsum(over, axis=1, out=sums[:, 1:])
    money: Floats = (sums[:, slots:] - sums[:, :-slots]) * calendar.overage[rows, None]
    return money


def _taken(beside: Sequence[Placement], pool: str | None, window: Window) -> Ints:
    """Devices that placements take in each slot of a window, in one pool or in all."""
    taken = np.zeros(window.slots, np.int64)
    for placement in beside:
        if pool in (None, placement.pool):
            first = max(0, placement.window.first - window.first)
            taken[first : max(first, placement.window.end - window.first)] += placement.devices
    return taken
