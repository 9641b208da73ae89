"""Drops what no plan can use: options that never fit, and starts that even an empty market could not hold.

Cutting a gang's window into runs of legal starts costs nothing and tightens the bound a lot: the relaxation prices
room by the device, so without the cut it would put a whale where its pool could never hold it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from broker.optimiser.problem import Bools, Ints, Options, Problem

__all__ = ["Pruned", "legal_starts", "prune", "quota_row"]


@dataclass(frozen=True, slots=True)
class Pruned:
    """Options cut into runs: every start from ``earliest`` to ``latest`` is legal in the empty market."""

    options: Options
    origin: Ints  # [rows] row in the options of the whole problem


def prune(problem: Problem) -> Pruned:
    """The options that some plan may use, an option of several runs becoming several rows.

    A start is legal when, with nothing else placed, the pool has the devices in every slot of the run, and so has the
    quota, and so has every reserve that a guaranteed request in that pool would count against.
    """
    options = problem.options
    request = np.repeat(np.arange(len(options.first) - 1), np.diff(options.first))
    rows: list[Ints] = []
    first: list[Ints] = []
    last: list[Ints] = []
    worth = _worth(problem, request)
    for group in _groups(problem, request):
        kept = group[worth[group]]
        row, a, b = _runs(problem, kept, int(request[group[0]]))
        rows.append(row)
        first.append(a)
        last.append(b)
    empty = np.zeros(0, np.int64)
    origin = np.concatenate([empty, *rows])
    order = np.lexsort((np.concatenate([empty, *first]), origin))
    origin = origin[order]
    counts = np.bincount(request[origin], minlength=len(options.first) - 1)
    cut = Options(
        first=np.concatenate((np.zeros(1, np.int64), np.cumsum(counts))),
        pool=options.pool[origin],
        devices=options.devices[origin],
        slots=options.slots[origin],
        earliest=np.concatenate([empty, *first])[order],
        latest=np.concatenate([empty, *last])[order],
        value=options.value[origin],
        due=options.due[origin],
        late_cost=options.late_cost[origin],
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


def _groups(problem: Problem, request: Ints) -> list[Ints]:
    """Option rows that see the same room: same pool, quota and class, same devices and length."""
    o, requests = problem.options, problem.requests
    sure = requests.guaranteed if problem.reserves else np.zeros(len(requests.ids), np.bool_)
    keys = np.stack((o.pool, o.devices, o.slots, requests.quota[request], sure[request].astype(np.int64)))
    order = np.lexsort(keys)
    change = np.flatnonzero((np.diff(keys[:, order], axis=1) != 0).any(axis=0)) + 1
    return [group for group in np.split(order, change) if len(group)]


def _runs(problem: Problem, rows: Ints, request: int) -> tuple[Ints, Ints, Ints]:
    """The runs of legal starts inside the window of each row: ``(row, first, last)`` columns."""
    if not len(rows):
        return rows, rows, rows
    o = problem.options
    legal = legal_starts(problem, request, int(rows[0]))
    if not len(legal):
        return rows[:0], rows[:0], rows[:0]
    edge = np.flatnonzero(np.diff(legal, prepend=-2) > 1)
    begin, end = legal[edge], legal[np.append(edge[1:], len(legal)) - 1]
    lo, hi = o.earliest[rows], np.minimum(o.latest[rows], problem.slots - 1)
    a = np.searchsorted(end, lo)  # first run that ends at or after lo
    b = np.searchsorted(begin, hi, side="right")  # first run that begins after hi
    counts = np.maximum(0, b - a)
    at = np.repeat(np.arange(len(rows)), counts)
    run = np.arange(len(at)) - np.repeat(np.cumsum(counts) - counts, counts) + a[at]
    return rows[at], np.maximum(begin[run], lo[at]), np.minimum(end[run], hi[at])


def legal_starts(problem: Problem, request: int, row: int) -> Ints:
    """Every start, within the horizon and whatever the window, at which the empty market could hold an option."""
    o = problem.options
    pool, devices, length = int(o.pool[row]), int(o.devices[row]), int(o.slots[row])
    if length > problem.slots:
        return np.zeros(0, np.int64)
    blocked = problem.pools.capacity[pool] < devices
    quota = int(problem.requests.quota[request])
    if quota >= 0:
        blocked = blocked | (problem.quotas.limit[quota] < devices)
    if problem.requests.guaranteed[request]:
        for reserve in problem.reserves:
            times = (reserve.lost == pool) + reserve.covers.count(pool)
            if times:
                span = slice(reserve.first_slot, reserve.end_slot)
                room = problem.pools.capacity[list(reserve.covers), span].sum(axis=0)
                blocked = blocked.copy()
                blocked[span] |= room < times * devices
    before = np.concatenate((np.zeros(1, np.int64), np.cumsum(blocked)))
    starts: Ints = np.flatnonzero(before[length:] == before[: problem.slots + 1 - length])
    return starts


def quota_row(problem: Problem) -> Ints:
    """The quota of each request, requests without one sharing a last row."""
    quota = problem.requests.quota
    return np.where(quota >= 0, quota, len(problem.quotas.ids))
