"""A choice of columns as a CP-SAT model: the exact problem, for as many columns as it can bear.

A column is one start of one option row. Whole problems are searched so when few columns still matter.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from ortools.sat.python import cp_model

from broker.optimiser.problem import Bools, Ints
from broker.optimiser.tables import Tables

__all__ = ["Choice", "Effort", "Programme"]

LARGEST_SUM = 2.0**60  # of money in one model
WHOLE_FLOATS = 2.0**53  # floats hold every integer below
ROUNDING = 2.0**-51


@dataclass(frozen=True, slots=True)
class Choice:
    """The chosen columns, an upper bound on the worth of any choice in the money of the tables, and if that is all."""

    chosen: Ints  # rows of the column arrays
    bound: float
    is_optimal: bool


@dataclass(frozen=True, slots=True)
class Effort:
    """How long CP-SAT may take: deterministic time of one worker, and a question asked 50 times a second."""

    deterministic_seconds: float
    seed: int
    enough: Callable[[], bool] | None = None


@dataclass(frozen=True, slots=True)
class _Limit:
    """At most ``room`` devices, or devices above ``paid`` at a cost each."""

    columns: Ints
    devices: Ints
    room: int
    paid: int
    cost: int


class Programme:
    """The choice of at most one column for each request, of one column where ``must`` says so; built once."""

    def __init__(self, t: Tables, request: Ints, row: Ints, start: Ints, must: Bools) -> None:
        self._model = model = cp_model.CpModel()
        self._take = take = [model.new_bool_var("") for _ in range(len(row))]
        self._is_possible = not len(np.setdiff1d(np.flatnonzero(must), request))
        worth = _worth(t, request, row, start)
        order = np.argsort(request, kind="stable")
        for group in np.split(order, np.flatnonzero(np.diff(request[order])) + 1):
            if must[request[group]].any():
                model.add_exactly_one([take[k] for k in group])
            elif len(group) > 1:
                model.add_at_most_one([take[k] for k in group])
        above: list[cp_model.IntVar] = []
        costs: list[int] = []
        dearest = float(np.abs(worth).astype(np.float64).sum())
        for limit in _limits(t, request, row, start):
            load = cp_model.LinearExpr.weighted_sum([take[k] for k in limit.columns], limit.devices.tolist())
            model.add(load <= limit.room)
            if limit.cost > 0:
                most = max(0, limit.room - limit.paid)
                over = model.new_int_var(0, most, "")
                dearest += float(limit.cost) * most
                model.add(load - over <= limit.paid)
                above.append(over)
                costs.append(limit.cost)
        # In a larger unit where CP-SAT's sums would overflow: worth rounded up and costs down, so the bound stays one.
        self._unit = max(1, math.ceil(dearest / LARGEST_SUM))
        money = (-(-worth // self._unit)).tolist() + [-(cost // self._unit) for cost in costs]
        model.maximize(cp_model.LinearExpr.weighted_sum(take + above, money))

    def search(self, hint: Ints, effort: Effort) -> Choice | None:
        """The best choice found, from the columns ``hint``, which fit together.

        None when no choice is possible, or when CP-SAT found nothing in time: its bound counts only with status
        OPTIMAL or FEASIBLE.
        """
        if not self._is_possible:
            return None
        self._model.clear_hints()  # type: ignore[no-untyped-call]
        hinted = np.zeros(len(self._take), np.bool_)
        hinted[hint] = True
        for k, mark in enumerate(hinted.tolist()):
            self._model.add_hint(self._take[k], mark)
        return _run(self._model, self._take, self._unit, effort)


def _run(model: cp_model.CpModel, take: list[cp_model.IntVar], unit: int, effort: Effort) -> Choice | None:
    solver = cp_model.CpSolver()
    # Its own handler would take Ctrl-C away from the process, and leave it deadly afterwards.
    solver.parameters.catch_sigint_signal = False
    solver.parameters.num_workers = 1
    solver.parameters.random_seed = effort.seed % 2**31
    solver.parameters.max_deterministic_time = effort.deterministic_seconds
    done = threading.Event()

    def watch(enough: Callable[[], bool]) -> None:
        while not done.wait(0.02):
            if enough():
                solver.stop_search()

    watcher = threading.Thread(target=watch, args=(effort.enough,), daemon=True) if effort.enough else None
    if watcher is not None:
        watcher.start()
    try:
        status = solver.solve(model)
    finally:
        done.set()
        if watcher is not None:
            watcher.join()
    if status not in (cp_model.OPTIMAL, cp_model.FEASIBLE):
        return None
    chosen = np.array([k for k, variable in enumerate(take) if solver.boolean_value(variable)], np.int64)
    bound = float(solver.best_objective_bound)
    bound = unit * (bound + ROUNDING * abs(bound) if abs(bound) >= WHOLE_FLOATS else bound)
    return Choice(chosen, bound, status == cp_model.OPTIMAL)


def _worth(t: Tables, request: Ints, row: Ints, start: Ints) -> Ints:
    """The exact gain of each column, overage left out."""
    worth = t.value[row] - t.unit[t.pool[row]] * t.devices[row] * t.length[row]
    worth -= t.late[row] * np.maximum(0, start - t.due[row])
    return worth + np.where((row == t.now_row[request]) & (start == t.now_start[request]), t.move[request], 0)


def _limits(t: Tables, request: Ints, row: Ints, start: Ints) -> Iterator[_Limit]:
    """Every limit that the columns together could break, or that costs money above a level."""
    slots = t.capacity.shape[1]
    everyone = np.arange(len(row))
    devices = t.devices[row]
    for p in range(len(t.unit)):
        mine = everyone[t.pool[row] == p]
        yield from _by_slot(mine, devices, start, t.length[row], t.capacity[p], t.committed[p], int(t.over[p]))
    nothing = np.zeros(slots, np.int64)
    for q in range(len(t.limit) - 1):
        mine = everyone[t.quota[request] == q]
        yield from _by_slot(mine, devices, start, t.length[row], t.limit[q], nothing, 0)
    for n in range(len(t.cover)):
        times = np.zeros(len(t.unit), np.int64)
        for p in range(len(t.unit)):
            watched = slice(t.watch_first[p], t.watch_first[p + 1])
            times[p] = t.times[watched][t.watch[watched] == n].sum()
        often = times[t.pool[row]] * t.sure[request]
        yield from _by_slot(everyone[often > 0], devices * often, start, t.length[row], t.cover[n], nothing, 0)


def _by_slot(
    mine: Ints, devices: Ints, start: Ints, length: Ints, room: Ints, paid: Ints, cost: int
) -> Iterator[_Limit]:
    """One limit for each slot that the columns could fill, or in which they could cost something."""
    if not len(mine):
        return
    first, last = start[mine], start[mine] + length[mine]
    low, high = int(first.min()), int(last.max())
    for slot in range(low, high):
        inside = mine[(first <= slot) & (slot < last)]
        load = devices[inside]
        free, bought = int(room[slot]), int(paid[slot])
        price = cost if int(load.sum()) > bought else 0
        if len(inside) and (int(load.sum()) > free or price):
            yield _Limit(inside, load, free, bought, price)
