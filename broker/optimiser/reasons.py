"""Why a request is not in the plan: one dominant cause each, with the facts that show it.

It reads the plan and the prices, and needs no solver, so it runs in any process.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from broker.optimiser.problem import Bools, Floats, Ints, Plan, Problem
from broker.optimiser.report import Prices

PLENTY = np.int64(2**60)
REMEMBERED_MAX = 2_000  # counts of blocked slots, one for each line and number of devices asked for

Counts = NDArray[np.int32]

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


class _Run(NamedTuple):
    """One option of a request that is left out, every start from ``low`` to ``high`` inside the horizon."""

    row: int  # in Options
    pool: int
    devices: int
    length: int  # slots
    low: int
    high: int
    value: int
    due: int
    late: int  # money per slot started after due
    quota: int  # -1 is the last line of quotas, which has plenty
    sure: bool  # counts against reserves


class _Room:
    """Lines of free devices by slot, asked whether a number of devices has room over each run of a length."""

    def __init__(self, table: Ints) -> None:
        self.table = table
        self._least = table.min(axis=1, initial=PLENTY).tolist()
        self._blocked: dict[tuple[int, int], Counts] = {}

    def over(self, line: int, run: _Run) -> Bools | None:
        """Whether the line has the devices throughout, for each start of the run; None: at every start."""
        if self._least[line] >= run.devices:
            return None
        blocked = self._blocked.get((line, run.devices))
        if blocked is None:
            if len(self._blocked) >= REMEMBERED_MAX:
                self._blocked.clear()
            blocked = np.zeros(self.table.shape[1] + 1, np.int32)
            np.cumsum(self.table[line] < run.devices, out=blocked[1:])
            self._blocked[line, run.devices] = blocked
        ends = slice(run.low + run.length, run.high + run.length + 1)
        free: Bools = blocked[ends] == blocked[run.low : run.high + 1]
        return free


class _Market:
    """Room beside a plan, ready to be asked about every start of an option at once."""

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
        self.pool = _Room(problem.pools.capacity - load(o.pool[row], pools, everyone))
        held = load(quota, len(problem.quotas.ids), quota >= 0)
        self.quota = _Room(np.concatenate((problem.quotas.limit - held, plenty)))
        sure = load(o.pool[row], pools, requests.guaranteed[placed])
        spare = np.full((pools, slots), PLENTY, np.int64)
        for reserve in problem.reserves:
            span, covers = slice(reserve.first_slot, reserve.end_slot), list(reserve.covers)
            lost = [reserve.lost, *reserve.beside]
            room = (problem.pools.capacity[covers, span] - sure[covers, span]).sum(axis=0)
            room -= sure[lost, span].sum(axis=0)
            for p in {*lost, *covers}:
                times = reserve.times(p)
                spare[p, span] = np.minimum(spare[p, span], room // times)
        self.spare = _Room(spare)

    def rooms(self, run: _Run) -> tuple[Bools | None, Bools | None, Bools | None]:
        """Whether the pool, the quota and the insurance have room, for each start; None: at every start."""
        spare = self.spare.over(run.pool, run) if run.sure else None
        return self.pool.over(run.pool, run), self.quota.over(run.quota, run), spare

    def free(self, run: _Run, start: int) -> int:
        """Least free devices of the pool over one run."""
        return int(self.pool.table[run.pool, start : start + run.length].min())


class _Sums:
    """Running sums of costs and prices by class, pool and quota."""

    def __init__(self, problem: Problem, prices: Prices) -> None:
        cost = np.repeat(problem.pools.unit_cost[:, None].astype(np.float64), problem.slots, axis=1)
        cost += np.where(problem.pools.committed <= 0, problem.pools.overage_cost[:, None], 0)
        plain = np.maximum(prices.pools + problem.pools.unit_cost[:, None], cost)
        sure = plain.copy()
        for n, reserve in enumerate(problem.reserves):
            for p in (reserve.lost, *reserve.beside, *reserve.covers):
                sure[p] += prices.reserves[n]
        self.cost = _running(cost)
        self.pool = np.stack((_running(plain), _running(sure)))
        self.quota = _running(np.concatenate((prices.quotas, np.zeros((1, problem.slots)))))
        self._slots = np.arange(problem.slots + 1)

    def price(self, run: _Run) -> Floats:
        """Unit cost and prices of each start."""
        price = _span(self.pool[int(run.sure), run.pool], run)
        if run.quota >= 0:
            price += _span(self.quota[run.quota], run)
        price *= run.devices
        return price

    def value(self, run: _Run) -> Floats | float:
        """The value of each start less lateness; one number where no start is late."""
        if run.late == 0 or run.high <= run.due:
            return float(run.value)
        late = np.maximum(0.0, self._slots[run.low : run.high + 1] - float(run.due))
        value: Floats = run.value - run.late * late
        return value

    def costs(self, run: _Run) -> Floats:
        """Unit cost, and overage where nothing is committed, of each start."""
        return _span(self.cost[run.pool], run) * run.devices


class _Seen:
    """What the starts of one request's options show, taken together."""

    def __init__(self) -> None:
        self.beyond_quota = False  # an empty pool could hold one that its quota never has
        self.pays = False  # one is worth more than its unit cost, and overage where nothing is committed
        self.roomy = False  # one of those has room
        self.quota = False  # one of those lacks room in its quota alone
        self.spare = False  # one of those lacks room in the insurance alone
        self.best = -math.inf  # the highest worth at these prices
        self.run: _Run | None = None
        self.start = -1
        self.price = 0.0

    def look(self, run: _Run, now: _Market, empty: _Market, sums: _Sums) -> None:
        """Take in every start of one option."""
        pool, quota, spare = empty.rooms(run)
        legal = _both(_both(pool, quota), spare)
        if legal is not None and not legal.any():
            self.beyond_quota |= quota is not None and _any(_both(pool, ~quota))
            return
        value, price = sums.value(run), sums.price(run)
        net = value - price
        if legal is not None:
            net[~legal] = -np.inf
        at = int(net.argmax())
        if net[at] > self.best:
            self.best, self.run, self.start, self.price = float(net[at]), run, run.low + at, float(price[at])
        paying = _both(value > sums.costs(run), legal)
        if _any(paying):
            self.pays = True
            if not self.roomy:
                self._find_room(paying, *now.rooms(run))

    def _find_room(self, paying: Bools | None, pool: Bools | None, quota: Bools | None, spare: Bools | None) -> None:
        left = _both(paying, pool)
        if quota is not None:
            self.quota |= _any(_both(left, ~quota))
            left = _both(left, quota)
        if spare is not None:
            self.spare |= _any(_both(left, ~spare))
            left = _both(left, spare)
        self.roomy = _any(left)

    def cause(self) -> Cause:
        """The dominant cause, given that some start is legal."""
        tests = (
            (not self.pays, Cause.COST_EXCEEDS_VALUE),
            (self.roomy, Cause.OUTBID),
            (self.spare, Cause.RESERVE),
            (self.quota, Cause.QUOTA),
            (self.best > 0, Cause.NO_CONTIGUOUS_ROOM),
        )
        return next((cause for holds, cause in tests if holds), Cause.OUTBID)


def explain(problem: Problem, plan: Plan, prices: Prices) -> tuple[Unplaced, ...]:
    """The dominant cause for each request that the plan leaves out, in the order of requests.

    The plan must be one that ``check`` accepts, of this problem or of the problem that the prices are for. Each option
    costs a few passes over its starts.
    """
    out = np.flatnonzero(plan.option < 0)
    now, empty = _Market(problem, plan), _Market(problem, Plan.empty(len(plan.option)))
    sums = _Sums(problem, prices)
    seen = {request: _Seen() for request in out.tolist()}
    for request, run in _runs(problem, out):
        seen[request].look(run, now, empty, sums)
    options = np.diff(problem.options.first)
    return tuple(_unplaced(problem, request, each, int(options[request]), now) for request, each in seen.items())


def _runs(problem: Problem, out: Ints) -> Iterator[tuple[int, _Run]]:
    """The options of some requests that have a start inside the horizon, with the row of the request."""
    o, requests = problem.options, problem.requests
    counts = np.diff(o.first)[out]
    request = np.repeat(out, counts)
    row = o.first[request] + np.arange(len(request)) - np.repeat(np.cumsum(counts) - counts, counts)
    low = np.maximum(0, o.earliest[row])
    high = np.minimum(o.latest[row], problem.slots - o.slots[row])
    some = low <= high
    request, row = request[some], row[some]
    columns = (row, o.pool[row], o.devices[row], o.slots[row], low[some], high[some], o.value[row], o.due[row])
    more = (o.late_cost[row], requests.quota[request], requests.guaranteed[request])
    lists = [column.tolist() for column in (*columns, *more)]
    for who, *fields in zip(request.tolist(), *lists, strict=True):
        yield who, _Run(*fields)


def _unplaced(problem: Problem, request: int, seen: _Seen, options: int, now: _Market) -> Unplaced:
    run = seen.run
    if run is None:
        cause = Cause.QUOTA if seen.beyond_quota else Cause.NEVER_FITS if options else Cause.NO_OPTION
        return Unplaced(request, cause, -1, -1, -1, 0, 0, 0, 0.0)
    return Unplaced(
        request=request,
        cause=seen.cause(),
        option=run.row - int(problem.options.first[request]),
        pool=run.pool,
        start=seen.start,
        devices=run.devices,
        free=now.free(run, seen.start),
        value=run.value - run.late * max(0, seen.start - run.due),
        price=seen.price,
    )


def _running(table: Floats) -> Floats:
    return np.concatenate((np.zeros((len(table), 1)), np.cumsum(table, axis=1)), axis=1)


def _span(sums: Floats, run: _Run) -> Floats:
    """What a running sum gains over each start of a run."""
    ends = slice(run.low + run.length, run.high + run.length + 1)
    gained: Floats = sums[ends] - sums[run.low : run.high + 1]
    return gained


def _both(a: Bools | None, b: Bools | None) -> Bools | None:
    """Both marks; None is a mark that holds everywhere."""
    return b if a is None else a if b is None else a & b


def _any(mark: Bools | None) -> bool:
    return mark is None or bool(mark.any())
