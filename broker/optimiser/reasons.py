"""Why a request is not in the plan: one dominant cause each, with the facts that show it.

It reads the plan and the prices, and needs no solver, so it runs in any process.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

import numpy as np

from broker.optimiser.problem import Bools, Floats, Ints, Plan, Problem
from broker.optimiser.report import Prices

COLUMNS_AT_ONCE = 1_000_000
PLENTY = np.int64(2**60)

__all__ = ["Cause", "Unplaced", "explain"]


class Cause(StrEnum):
    """The dominant cause, from the most final to the most passing."""

    NO_OPTION = "NO_OPTION"  # nothing eligible was offered
    NEVER_FITS = "NEVER_FITS"  # no start would have room in an empty market
    COST_EXCEEDS_VALUE = "COST_EXCEEDS_VALUE"  # it costs more than it is worth wherever it could run
    QUOTA = "QUOTA"  # some start has room in its pool, but not in its quota; without a start: it never has
    RESERVE = "RESERVE"  # some start has room in its pool and quota, but the insurance needs it
    NO_CONTIGUOUS_ROOM = "NO_CONTIGUOUS_ROOM"  # it would pay the prices, yet no start has room throughout
    OUTBID = "OUTBID"  # it is worth less than what others pay for the room


@dataclass(frozen=True, slots=True)
class Unplaced:
    """One request without a placement, and the facts at its best start; ``-1`` where there is no such start."""

    request: int  # row in Requests
    cause: Cause
    option: int  # counted from the request's first option
    pool: int  # row in Pools
    start: int
    devices: int  # needed throughout
    free: int  # least free devices of the pool over the run
    value: int  # less lateness
    price: float  # unit cost and prices of what the run would occupy


class _Columns(NamedTuple):
    """Every start of every option of some requests that are left out, as columns of equal length."""

    request: Ints  # position among those requests
    row: Ints
    start: Ints
    end: Ints
    value: Ints  # less lateness
    price: Floats
    free: Ints  # least free devices of the pool over the run
    legal: Bools  # an empty market could hold it
    beyond_quota: Bools  # an empty pool could hold it, but never its quota
    pays: Bools  # worth more than its unit cost, and overage where nothing is committed
    pool: Bools  # the pool has room beside the plan
    quota: Bools  # so has the quota
    spare: Bools  # so has the insurance


class _Least:
    """The least level over any run of slots, two look-ups each: a sparse table (Bender and Farach-Colton 2000)."""

    def __init__(self, table: Ints) -> None:
        levels = [table]
        width = 1
        while 2 * width <= table.shape[1]:
            wider = levels[-1].copy()
            wider[:, :-width] = np.minimum(levels[-1][:, :-width], levels[-1][:, width:])
            levels.append(wider)
            width *= 2
        self._levels = np.stack(levels)
        lengths = np.arange(table.shape[1] + 1)
        self._level = np.frexp(np.maximum(1, lengths).astype(np.float64))[1].astype(np.int64) - 1

    def over(self, line: Ints, start: Ints, end: Ints) -> Ints:
        """The least level of each line from start to end; ends exceed starts."""
        level = self._level[end - start]
        least: Ints = np.minimum(self._levels[level, line, start], self._levels[level, line, end - (1 << level)])
        return least


class _Market:
    """Room and prices beside a plan, ready to be asked for many runs at once."""

    def __init__(self, problem: Problem, plan: Plan) -> None:
        pools, slots = len(problem.pools.ids), problem.slots
        o, requests = problem.options, problem.requests
        placed = np.flatnonzero(plan.option >= 0)
        row = o.first[placed] + plan.option[placed]
        start, end, devices = plan.start[placed], plan.start[placed] + o.slots[row], o.devices[row]

        def load(line: Ints, lines: int, mark: Bools) -> Ints:
            change = np.zeros((lines, slots + 1), np.int64)
            np.add.at(change, (line[mark], start[mark]), devices[mark])
            np.subtract.at(change, (line[mark], end[mark]), devices[mark])
            running: Ints = np.cumsum(change, axis=1)[:, :-1]
            return running

        everyone = np.ones(len(placed), np.bool_)
        quota = requests.quota[placed]
        plenty = np.full((1, slots), PLENTY, np.int64)
        self.pool = _Least(problem.pools.capacity - load(o.pool[row], pools, everyone))
        held = load(quota, len(problem.quotas.ids), quota >= 0)
        self.quota = _Least(np.concatenate((problem.quotas.limit - held, plenty)))
        sure = load(o.pool[row], pools, requests.guaranteed[placed])
        spare = np.full((pools, slots), PLENTY, np.int64)
        for reserve in problem.reserves:
            span, covers = slice(reserve.first_slot, reserve.end_slot), list(reserve.covers)
            room = (problem.pools.capacity[covers, span] - sure[covers, span]).sum(axis=0) - sure[reserve.lost, span]
            for p in {reserve.lost, *covers}:
                times = (reserve.lost == p) + covers.count(p)
                spare[p, span] = np.minimum(spare[p, span], room // times)
        self.spare = _Least(spare)

    def has_room(self, problem: Problem, request: Ints, row: Ints, start: Ints, end: Ints) -> tuple[Ints, Bools, Bools]:
        """Least free devices of the pool, and whether quota and insurance have room, for each run."""
        o, requests = problem.options, problem.requests
        devices = o.devices[row]
        quota = np.where(requests.quota[request] >= 0, requests.quota[request], len(problem.quotas.ids))
        spare = np.ones(len(row), np.bool_)
        if problem.reserves:
            spare = ~requests.guaranteed[request] | (self.spare.over(o.pool[row], start, end) >= devices)
        return self.pool.over(o.pool[row], start, end), self.quota.over(quota, start, end) >= devices, spare


def explain(problem: Problem, plan: Plan, prices: Prices) -> tuple[Unplaced, ...]:
    """The dominant cause for each request that the plan leaves out, in the order of requests.

    The plan must be one that ``check`` accepts, of this problem or of the problem that the prices are for.
    """
    out = np.flatnonzero(plan.option < 0)
    now, empty = _Market(problem, plan), _Market(problem, Plan.empty(len(plan.option)))
    sums = _Sums(problem, prices)
    counts = np.zeros(len(plan.option) + 1, np.int64)
    starts = np.maximum(0, _last_start(problem) - _first_start(problem) + 1)
    np.add.at(counts, np.repeat(np.arange(len(plan.option)), np.diff(problem.options.first)) + 1, starts)
    total = np.cumsum(counts)
    found: list[Unplaced] = []
    begin = 0
    while begin < len(out):
        # As many requests at a time as keep the columns in tens of megabytes.
        before = total[out[begin:] + 1] - total[out[begin]]
        end = begin + max(1, int(np.searchsorted(before, COLUMNS_AT_ONCE)))
        part = out[begin:end]
        found += _explain(problem, part, _columns(problem, part, now, empty, sums))
        begin = end
    return tuple(found)


class _Sums:
    """Running sums of costs and prices by class, pool and quota."""

    def __init__(self, problem: Problem, prices: Prices) -> None:
        cost = np.repeat(problem.pools.unit_cost[:, None].astype(np.float64), problem.slots, axis=1)
        cost += np.where(problem.pools.committed <= 0, problem.pools.overage_cost[:, None], 0)
        plain = np.maximum(prices.pools + problem.pools.unit_cost[:, None], cost)
        sure = plain.copy()
        for n, reserve in enumerate(problem.reserves):
            for p in (reserve.lost, *reserve.covers):
                sure[p] += prices.reserves[n]
        self.cost = _running(cost)
        self.pool = np.stack((_running(plain), _running(sure)))
        self.quota = _running(np.concatenate((prices.quotas, np.zeros((1, problem.slots)))))


def _running(table: Floats) -> Floats:
    return np.concatenate((np.zeros((len(table), 1)), np.cumsum(table, axis=1)), axis=1)


def _first_start(problem: Problem) -> Ints:
    return np.maximum(0, problem.options.earliest)


def _last_start(problem: Problem) -> Ints:
    return np.minimum(problem.options.latest, problem.slots - problem.options.slots)


def _columns(problem: Problem, part: Ints, now: _Market, empty: _Market, sums: _Sums) -> _Columns:
    o = problem.options
    counts = np.diff(o.first)[part]
    position = np.repeat(np.arange(len(part)), counts)
    rows = o.first[part][position] + np.arange(len(position)) - np.repeat(np.cumsum(counts) - counts, counts)
    low = _first_start(problem)[rows]
    many = np.maximum(0, _last_start(problem)[rows] - low + 1)
    row = np.repeat(rows, many)
    start = np.repeat(low, many) + np.arange(len(row)) - np.repeat(np.cumsum(many) - many, many)
    end, request = start + o.slots[row], np.repeat(position, many)
    who = part[request]
    pool, devices, plane = o.pool[row], o.devices[row], problem.requests.guaranteed[who].astype(np.int64)
    value = o.value[row] - o.late_cost[row] * np.maximum(0, start - o.due[row])
    quota = problem.requests.quota[who]  # -1 is the last row, which is free
    price = sums.pool[plane, pool, end] - sums.pool[plane, pool, start] + sums.quota[quota, end]
    price -= sums.quota[quota, start]
    free, quota_room, spare_room = now.has_room(problem, who, row, start, end)
    most, quota_ever, spare_ever = empty.has_room(problem, who, row, start, end)
    return _Columns(
        *(request, row, start, end, value, devices * price, free),
        legal=(most >= devices) & quota_ever & spare_ever,
        beyond_quota=(most >= devices) & ~quota_ever,
        pays=value > devices * (sums.cost[pool, end] - sums.cost[pool, start]),
        pool=free >= devices,
        quota=quota_room,
        spare=spare_room,
    )


def _explain(problem: Problem, part: Ints, columns: _Columns) -> list[Unplaced]:
    """Reduce the columns of each request to its cause and its best column."""

    def some(mark: Bools) -> Bools:
        return np.bincount(columns.request[mark], minlength=len(part)) > 0

    paying = columns.legal & columns.pays
    net = np.where(columns.legal, columns.value - columns.price, -np.inf)
    begin = np.searchsorted(columns.request, np.arange(len(part) + 1)).tolist()
    legal, pays, beyond_quota = some(columns.legal), some(paying), some(columns.beyond_quota)
    roomy = some(paying & columns.pool & columns.quota & columns.spare)
    quota = some(paying & columns.pool & ~columns.quota)
    spare = some(paying & columns.pool & columns.quota & ~columns.spare)
    options = np.diff(problem.options.first)[part]
    found: list[Unplaced] = []
    for n, request in enumerate(part.tolist()):
        if not legal[n]:
            cause = Cause.QUOTA if beyond_quota[n] else Cause.NEVER_FITS if options[n] else Cause.NO_OPTION
            found.append(Unplaced(request, cause, -1, -1, -1, 0, 0, 0, 0.0))
            continue
        at = begin[n] + int(np.argmax(net[begin[n] : begin[n + 1]]))
        tests = (
            (not pays[n], Cause.COST_EXCEEDS_VALUE),
            (roomy[n], Cause.OUTBID),
            (spare[n], Cause.RESERVE),
            (quota[n], Cause.QUOTA),
            (net[at] > 0, Cause.NO_CONTIGUOUS_ROOM),
        )
        cause = next((cause for holds, cause in tests if holds), Cause.OUTBID)
        found.append(_unplaced(problem, columns, request, cause, at))
    return found


def _unplaced(problem: Problem, columns: _Columns, request: int, cause: Cause, at: int) -> Unplaced:
    o, row = problem.options, int(columns.row[at])
    return Unplaced(
        request=request,
        cause=cause,
        option=row - int(o.first[request]),
        pool=int(o.pool[row]),
        start=int(columns.start[at]),
        devices=int(o.devices[row]),
        free=int(columns.free[at]),
        value=int(columns.value[at]),
        price=float(columns.price[at]),
    )
