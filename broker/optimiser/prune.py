"""Drops what no plan can use: options that never fit, and starts that even an empty market could not hold.

Cutting a gang's window into runs of legal starts costs nothing and tightens the bound a lot: the relaxation prices
room by the device, so without the cut it would put a whale where its pool could never hold it.
"""

from __future__ import annotations

import numpy as np

from broker.compiled import compiled, inlined
from broker.optimiser.problem import Bools, Ints, Options, Problem
from broker.optimiser.state import Calendar, blocked, empty_calendar
from broker.optimiser.tables import Pruned, Tables, tables, uncut

__all__ = ["prune"]


def prune(problem: Problem, whole: Tables | None = None) -> Pruned:
    """The options that some plan may use, an option of several runs becoming several rows.

    A start is legal when, with nothing else placed, the pool has the devices in every slot of the run, and so has the
    quota, and so has every reserve that a guaranteed request in that pool would count against. ``whole`` are the tables
    of the problem uncut, where they are known.
    """
    o = problem.options
    request = np.repeat(np.arange(len(o.first) - 1), np.diff(o.first))
    t = tables(problem, uncut(problem)) if whole is None else whole
    low = np.where(_worth(problem, request), t.low, problem.slots)
    high = t.high
    market = empty_calendar(t)
    counts = np.zeros(len(o.pool), np.int64)
    nothing = np.zeros((2, 0), np.int64)
    least = (_least(t.capacity), _least(t.limit), _least(t.cover))
    _runs(t, market, least, request, low, high, counts, nothing, False)
    runs = np.zeros((2, int(counts.sum())), np.int64)
    _runs(t, market, least, request, low, high, counts, runs, True)
    origin = np.repeat(np.arange(len(o.pool)), counts)
    kept = np.bincount(request[origin], minlength=len(o.first) - 1)
    cut = Options(
        first=np.concatenate((np.zeros(1, np.int64), np.cumsum(kept))).astype(np.int64),
        pool=o.pool[origin],
        devices=o.devices[origin],
        slots=o.slots[origin],
        earliest=runs[0],
        latest=runs[1],
        value=o.value[origin],
        due=o.due[origin],
        late_cost=o.late_cost[origin],
    )
    return Pruned(cut, origin, t.money)


def _worth(problem: Problem, request: Ints) -> Bools:
    """Options that could ever raise the objective, or keep a promise."""
    o, requests = problem.options, problem.requests
    best = o.value.astype(np.float64)
    best -= o.late_cost.astype(np.float64) * np.maximum(0, o.earliest - o.due)
    best -= problem.pools.unit_cost[o.pool].astype(np.float64) * o.devices * o.slots
    best += np.where(requests.current_option >= 0, requests.move_cost, 0)[request]
    worth: Bools = (best > 0) | requests.promised[request]
    return worth


def _least(room: Ints) -> Ints:
    """For each power of two, the least room of that many slots from each slot on: ``[powers, lines, slots]``."""
    levels = [room]
    while 2 ** len(levels) <= room.shape[1]:
        width = 2 ** (len(levels) - 1)
        half = levels[-1]
        # Windows that would reach past the end are never asked for.
        levels.append(np.minimum(half, np.concatenate((half[:, width:], half[:, :width]), axis=1)))
    return np.stack(levels)


@inlined
def _lowest(least: Ints, line: int, begin: int, end: int) -> int:
    """The least room of a line between two slots (a sparse table; Bender and Farach-Colton 2000)."""
    power = 0
    while 2 << power <= end - begin:
        power += 1
    lowest: int = min(least[power, line, begin], least[power, line, end - (1 << power)])
    return lowest


@inlined
def _roomy(t: Tables, least: tuple[Ints, Ints, Ints], request: int, row: int, begin: int, end: int) -> bool:
    """Whether an empty market has room for a row in every slot that its window touches."""
    p, devices = t.pool[row], t.devices[row]
    if _lowest(least[0], p, begin, end) < devices or _lowest(least[1], t.quota[request], begin, end) < devices:
        return False
    if t.sure[request] == 1:
        for k in range(t.watch_first[p], t.watch_first[p + 1]):
            if _lowest(least[2], t.watch[k], begin, end) < devices * t.times[k]:
                return False
    return True


@compiled
def _runs(
    t: Tables,
    market: Calendar,
    least: tuple[Ints, Ints, Ints],
    request: Ints,
    low: Ints,
    high: Ints,
    counts: Ints,
    runs: Ints,
    fill: bool,
) -> None:
    """Count the runs of legal starts of each row, or write down their first and last starts."""
    at = 0
    for row in range(len(low)):
        counts[row] = 0
        if low[row] > high[row]:
            continue
        if _roomy(t, least, request[row], row, low[row], high[row] + t.length[row]):
            counts[row] = 1
            if fill:
                runs[0, at], runs[1, at] = low[row], high[row]
        else:
            counts[row] = _cut(t, market, request[row], row, low[row], high[row], runs, at, fill)
        at += counts[row]


@compiled
def _cut(
    t: Tables, market: Calendar, request: int, row: int, low: int, high: int, runs: Ints, at: int, fill: bool
) -> int:
    """The number of runs of one row, slot by slot; written down from ``at`` on."""
    last_blocked, count, open_run = low - 1, 0, False
    for slot in range(low, high + t.length[row]):
        start = slot - t.length[row] + 1
        if blocked(t, market, request, row, slot):
            last_blocked, open_run = slot, False
            if slot >= high:
                break
        elif start > last_blocked:
            if not open_run:
                open_run = True
                count += 1
                if fill:
                    runs[0, at + count - 1] = start
            if fill:
                runs[1, at + count - 1] = start
    return count
