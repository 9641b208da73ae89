"""The pruned problem as flat arrays that machine code can walk.

Everything here is read-only once built. Requests without a quota share one last quota row without a limit, so that the
hot loops have no special case.

Money whose sums could leave 64 bits is counted in a larger unit, a power of two: values rounded up and costs rounded
down, so that no plan looks worse than it is and a bound in this money stays a bound. The judge prices the outcome in
the problem's own money.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from broker.compiled import of_one_type
from broker.optimiser.problem import Floats, Ints, Options, Plan, Problem
from broker.optimiser.tariffs import Tariffs, new_tariffs

__all__ = ["PLENTY", "Pruned", "Tables", "TooLargeError", "plan_of", "rows_of", "tables", "uncut"]

PLENTY = np.int64(2**60)  # room where there is no limit
LARGEST_SUM = 2.0**60  # of money, in the unit of the tables
UNIT_BITS_MAX = 60


class TooLargeError(ValueError):
    """The problem's devices would overflow 64-bit integers; money never does, it is counted in a larger unit."""


@dataclass(frozen=True, slots=True)
class Pruned:
    """Options cut into runs: every start from ``earliest`` to ``latest`` is legal in the empty market."""

    options: Options
    origin: Ints  # [rows] row in the options of the whole problem
    money: int | None = None  # unit of the tables where it is known, and devices are known to be countable


@of_one_type(
    *("pool", "devices", "length", "low", "high", "value", "due", "late"),
    *("quota", "sure", "promised", "now_row", "now_start", "move"),
)
class Tables(NamedTuple):
    """Columns of pools, requests and pruned option rows; money is in units of ``money``.

    The columns of rows are views of one block, and so are those of requests: all that a search asks about a row lies
    in one line of the processor's cache.
    """

    first: Ints  # [requests + 1] row where the rows of each request begin
    pool: Ints  # [rows]
    devices: Ints  # [rows]
    length: Ints  # [rows] slots
    low: Ints  # [rows] every start from low to high is legal in the empty market
    high: Ints  # [rows]
    value: Ints  # [rows]
    due: Ints  # [rows]
    late: Ints  # [rows] money per slot started after due
    quota: Ints  # [requests]
    sure: Ints  # [requests] 1: counts against reserves
    promised: Ints  # [requests] 1: to be placed before any money counts
    now_row: Ints  # [requests] row of the present placement, or -1
    now_start: Ints  # [requests]
    move: Ints  # [requests] saved by keeping the present placement
    capacity: Ints  # [pools, slots]
    committed: Ints  # [pools, slots], at most the capacity
    unit: Ints  # [pools]
    over: Ints  # [pools]
    tariffs: Tariffs
    limit: Ints  # [quotas + 1, slots]
    holder_first: Ints  # [quotas + 2] where the requests of each quota begin
    holder: Ints  # [requests] in the order of their quotas
    cover: Ints  # [reserves, slots] capacity of the covering pools; plenty outside the reserve's slots
    watch_first: Ints  # [pools + 1] row where the reserves that watch each pool begin
    watch: Ints  # [watches] row in cover
    times: Ints  # [watches] how often a device in the pool counts
    seats: Ints  # [pools + 1] where the seats of each pool begin: one for each request that could stand there
    money: int  # of the problem's money in one unit here; 1 unless sums would overflow


def tables(problem: Problem, pruned: Pruned) -> Tables:
    """Flat arrays of a pruned problem; ``TooLargeError`` when 64 bits cannot hold sums of its devices."""
    if pruned.money is None:
        _refuse_floods(problem)
    money = _money_unit(problem) if pruned.money is None else pruned.money
    o, requests, pools = pruned.options, problem.requests, problem.pools
    now_row = _now_rows(problem, pruned)
    committed = np.minimum(pools.committed, pools.capacity).astype(np.int64)
    over = pools.overage_cost // money
    plenty = np.full((1, problem.slots), PLENTY, np.int64)
    watch_first, watch, times = _watches(problem)
    value, late = (-(-o.value // money), o.late_cost // money) if money > 1 else (o.value, o.late_cost)
    quota = np.where(requests.quota >= 0, requests.quota, len(problem.quotas.ids))
    holders = np.bincount(quota, minlength=len(problem.quotas.ids) + 1)
    return Tables(
        first=o.first,
        **_block(
            pool=o.pool,
            devices=o.devices,
            length=o.slots,
            low=o.earliest,
            high=o.latest,
            value=value,
            due=o.due,
            late=late,
        ),
        **_block(
            quota=quota,
            sure=requests.guaranteed,
            promised=requests.promised,
            now_row=now_row,
            now_start=requests.current_start,
            move=np.where(requests.current_option >= 0, requests.move_cost // money, 0),
        ),
        capacity=np.ascontiguousarray(pools.capacity, np.int64),
        committed=committed,
        unit=pools.unit_cost // money,
        over=over,
        tariffs=new_tariffs(o.pool, o.devices, pools.capacity, committed, over),
        limit=np.concatenate((problem.quotas.limit, plenty)),
        holder_first=np.append(0, np.cumsum(holders)),
        holder=np.argsort(quota, kind="stable"),
        cover=_cover(problem),
        watch_first=watch_first,
        watch=watch,
        times=times,
        seats=_seats(o, len(pools.ids)),
        money=money,
    )


def uncut(problem: Problem) -> Pruned:
    """Every option as one row, with the starts that lie within the horizon; there may be none."""
    o = problem.options
    low, high = np.maximum(0, o.earliest), np.minimum(o.latest, problem.slots - o.slots)
    return Pruned(replace(o, earliest=low, latest=high), np.arange(len(o.pool)))


def _block(**columns: NDArray[np.int64] | NDArray[np.bool_]) -> dict[str, Ints]:
    """The same columns as views of one block, a row after the other."""
    block = np.empty((len(next(iter(columns.values()))), len(columns)), np.int64)
    for k, column in enumerate(columns.values()):
        block[:, k] = column
    return {name: block[:, k] for k, name in enumerate(columns)}


def _seats(o: Options, pools: int) -> Ints:
    """Room in the list of each pool for every request that has a row there; runs of one option count once."""
    size = len(o.first) - 1
    owner = np.repeat(np.arange(size, dtype=np.int32), np.diff(o.first))
    new = np.ones(len(owner), np.bool_)
    # Rows of a request with the same pool are neighbours as a rule; where they are not, a seat more does no harm.
    new[1:] = (owner[1:] != owner[:-1]) | (o.pool[1:] != o.pool[:-1])
    count = np.bincount(o.pool[new], minlength=pools)
    return np.concatenate((np.zeros(1, np.int64), np.cumsum(count))).astype(np.int64)


def _refuse_floods(problem: Problem) -> None:
    """Raise ``TooLargeError`` when devices held, or wanted by everybody who could ever fit, exceed 64-bit sums."""
    o, capacity = problem.options, problem.pools.capacity
    wanted = _largest(problem, np.minimum(o.devices, capacity.max(initial=0)).astype(np.float64))
    if float(wanted.sum() + capacity.sum(dtype=np.float64)) > float(PLENTY) / 8:
        raise TooLargeError("devices of this problem exceed 64-bit sums; count them in larger units")


def _money_unit(problem: Problem) -> int:
    """The least power of two in which no sum of money that a search may form leaves 64 bits."""
    o, pools, requests = problem.options, problem.pools, problem.requests
    reach = np.maximum(0.0, np.minimum(o.latest, problem.slots).astype(np.float64) - o.due)
    swing = _largest(problem, np.abs(o.value.astype(np.float64)) + o.late_cost * reach)
    cost = (pools.unit_cost.astype(np.float64) + pools.overage_cost) @ pools.capacity.astype(np.float64).sum(axis=1)
    moves = np.where(requests.current_option >= 0, requests.move_cost, 0).astype(np.float64)
    total = 2 * float(swing.sum() + cost + moves.sum())
    bits = math.ceil(math.log2(total / LARGEST_SUM)) if total > LARGEST_SUM else 0
    return 1 << min(bits, UNIT_BITS_MAX)


def _largest(problem: Problem, amount: Floats) -> Floats:
    """The largest amount among the options of each request."""
    largest = np.zeros(len(problem.requests.ids))
    np.maximum.at(largest, np.repeat(np.arange(len(largest)), np.diff(problem.options.first)), amount)
    return largest


def _now_rows(problem: Problem, pruned: Pruned) -> Ints:
    plan = Plan(problem.requests.current_option, problem.requests.current_start)
    return rows_of(problem, pruned, plan)


def rows_of(problem: Problem, pruned: Pruned, plan: Plan) -> Ints:
    """The pruned row of each placement of a plan; -1 where there is none, or where no plan could use it."""
    found = np.full(len(problem.requests.ids), -1, np.int64)
    options = problem.options
    wanted = np.where(plan.option >= 0, options.first[:-1] + plan.option, -1)
    wanted[plan.option >= np.diff(options.first)] = -1
    request = np.repeat(np.arange(len(found)), np.diff(pruned.options.first))
    start = plan.start[request]
    hit = (pruned.origin == wanted[request]) & (pruned.options.earliest <= start) & (start <= pruned.options.latest)
    rows = np.flatnonzero(hit)
    found[request[rows]] = rows
    return found


def plan_of(problem: Problem, pruned: Pruned, row: Ints, start: Ints) -> Plan:
    """The plan, in the numbering of the whole problem, of a choice of pruned rows."""
    placed = row >= 0
    option = np.full(len(row), -1, np.int64)
    option[placed] = pruned.origin[row[placed]] - problem.options.first[:-1][placed]
    return Plan(option, np.where(placed, start, 0))


def _cover(problem: Problem) -> Ints:
    cover = np.full((len(problem.reserves), problem.slots), PLENTY, np.int64)
    for n, reserve in enumerate(problem.reserves):
        span = slice(reserve.first_slot, reserve.end_slot)
        cover[n, span] = problem.pools.capacity[list(reserve.covers), span].sum(axis=0)
    return cover


def _watches(problem: Problem) -> tuple[Ints, Ints, Ints]:
    counts, watch, times = [0], [], []
    for p in range(len(problem.pools.ids)):
        for n, reserve in enumerate(problem.reserves):
            often = reserve.times(p)
            if often:
                watch.append(n)
                times.append(often)
        counts.append(len(watch))
    return np.array(counts, np.int64), np.array(watch, np.int64), np.array(times, np.int64)
