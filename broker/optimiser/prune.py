"""Drops what no plan can use: options that never fit, and starts that even an empty market could not hold.

Cutting a gang's window into runs of legal starts costs nothing and tightens the bound a lot: the relaxation prices
room by the device, so without the cut it would put a whale where its pool could never hold it.
"""

from __future__ import annotations

import numpy as np

from broker.optimiser.compiled import compiled
from broker.optimiser.problem import Bools, Ints, Options, Problem
from broker.optimiser.state import Calendar, blocked, empty_calendar
from broker.optimiser.tables import Pruned, Tables, tables

__all__ = ["prune"]


def prune(problem: Problem) -> Pruned:
    """The options that some plan may use, an option of several runs becoming several rows.

    A start is legal when, with nothing else placed, the pool has the devices in every slot of the run, and so has the
    quota, and so has every reserve that a guaranteed request in that pool would count against.
    """
    o = problem.options
    request = np.repeat(np.arange(len(o.first) - 1), np.diff(o.first))
    whole = Pruned(o, np.arange(len(o.pool)))
    t = tables(problem, whole)
    low = np.where(_worth(problem, request), np.maximum(0, o.earliest), problem.slots)
    high = np.minimum(o.latest, problem.slots - o.slots)
    market = empty_calendar(t)
    counts = np.zeros(len(o.pool), np.int64)
    nothing = np.zeros((2, 0), np.int64)
    _runs(t, market, request, low, high, counts, nothing, False)
    runs = np.zeros((2, int(counts.sum())), np.int64)
    _runs(t, market, request, low, high, counts, runs, True)
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
    return Pruned(cut, origin)


def _worth(problem: Problem, request: Ints) -> Bools:
    """Options that could ever raise the objective, or keep a promise."""
    o, requests = problem.options, problem.requests
    best = o.value.astype(np.float64)
    best -= o.late_cost.astype(np.float64) * np.maximum(0, o.earliest - o.due)
    best -= problem.pools.unit_cost[o.pool].astype(np.float64) * o.devices * o.slots
    best += np.where(requests.current_option >= 0, requests.move_cost, 0)[request]
    worth: Bools = (best > 0) | requests.promised[request]
    return worth


@compiled
def _runs(
    t: Tables, market: Calendar, request: Ints, low: Ints, high: Ints, counts: Ints, runs: Ints, fill: bool
) -> None:
    """Count the runs of legal starts of each row, or write down their first and last starts."""
    at = 0
    for row in range(len(low)):
        last_blocked, open_run = low[row] - 1, False
        counts[row] = 0
        # A window without a start has no slots to look at, whatever its length.
        end = high[row] + t.length[row] if low[row] <= high[row] else low[row]
        for slot in range(low[row], end):
            start = slot - t.length[row] + 1
            if blocked(t, market, request[row], row, slot):
                last_blocked, open_run = slot, False
                if slot >= high[row]:
                    break
            elif start > last_blocked:
                if not open_run:
                    open_run = True
                    counts[row] += 1
                    at += 1
                    if fill:
                        runs[0, at - 1] = start
                if fill:
                    runs[1, at - 1] = start
