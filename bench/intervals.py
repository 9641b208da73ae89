"""CP-SAT as the textbook has it: an optional interval for each option, one cumulative for each pool and each quota.

A capacity that changes over time is a constant one less fixed intervals that fill the difference. Where devices above
the committed ones cost extra, what fills a slot is a variable: what it gives way is overage, and is paid for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from ortools.sat.python import cp_model

from bench.answer import Answer, Journal
from bench.cores import cores
from broker.optimiser.problem import Ints, Plan, Problem

__all__ = ["OPTIONS_MAX", "intervals"]

OPTIONS_MAX = 150_000  # beyond, building the model alone takes longer than a minute
PROVEN = (cp_model.OPTIMAL, cp_model.FEASIBLE)


@dataclass
class _Choices:
    """The variables of each option that could ever run, and the money that they move."""

    model: cp_model.CpModel
    row: list[int] = field(default_factory=list)
    take: list[cp_model.IntVar] = field(default_factory=list)
    start: list[cp_model.IntVar] = field(default_factory=list)
    interval: list[cp_model.IntervalVar] = field(default_factory=list)
    terms: list[cp_model.IntVar] = field(default_factory=list)
    money: list[int] = field(default_factory=list)
    constant: int = 0

    def pay(self, term: cp_model.IntVar, money: int) -> None:
        """Add ``money`` times ``term`` to the objective."""
        if money:
            self.terms.append(term)
            self.money.append(money)


def intervals(problem: Problem, seconds: float, seed: int, journal: Journal) -> Answer:
    """CP-SAT on all cores that the process may use; a bound counts with status OPTIMAL or FEASIBLE only."""
    if len(problem.options.pool) > OPTIONS_MAX:
        return journal.answer(f"too large: {len(problem.options.pool):,} options")
    choices = _build(problem)
    solver = cp_model.CpSolver()
    solver.parameters.num_workers = cores()
    solver.parameters.random_seed = seed % 2**31
    left = seconds - journal.seconds()
    if left <= 0:
        return journal.answer("no time left after building the model")
    solver.parameters.max_time_in_seconds = left
    status = solver.solve(choices.model, _Listener(problem, choices, journal))
    if status not in PROVEN:
        return journal.answer(f"no plan: {solver.status_name(status).lower()}")
    journal.plan(_plan(problem, choices, solver.value))
    journal.bound(float(solver.best_objective_bound))
    return journal.answer()


class _Listener(cp_model.CpSolverSolutionCallback):
    """Tells the journal of each better plan."""

    def __init__(self, problem: Problem, choices: _Choices, journal: Journal) -> None:
        super().__init__()
        self._problem, self._choices, self._journal = problem, choices, journal

    def on_solution_callback(self) -> None:
        """Called by CP-SAT."""
        self._journal.plan(_plan(self._problem, self._choices, self.value))
        self._journal.bound(float(self.best_objective_bound))


def _plan(problem: Problem, choices: _Choices, value: Callable[[cp_model.IntVar], int]) -> Plan:
    plan = Plan.empty(len(problem.requests.ids))
    first = problem.options.first
    for row, take, start in zip(choices.row, choices.take, choices.start, strict=True):
        if value(take):
            request = int(np.searchsorted(first, row, side="right")) - 1
            plan.option[request], plan.start[request] = row - first[request], value(start)
    return plan


def _build(problem: Problem) -> _Choices:
    choices = _Choices(cp_model.CpModel())
    for r in range(len(problem.requests.ids)):
        _request(problem, choices, r)
    row = np.array(choices.row, np.int64)
    o, pools, requests = problem.options, problem.pools, problem.requests
    request = np.searchsorted(o.first, row, side="right") - 1
    pool, devices, sure = o.pool[row], o.devices[row], requests.guaranteed[request]
    for p in range(len(pools.ids)):
        mine = np.flatnonzero(pool == p)
        if pools.overage_cost[p] > 0 and (pools.committed[p] < pools.capacity[p]).any():
            _with_overage(problem, choices, p, mine, devices[mine])
        else:
            _limit(choices, mine, devices[mine], pools.capacity[p])
    for q in range(len(problem.quotas.ids)):
        mine = np.flatnonzero(requests.quota[request] == q)
        _limit(choices, mine, devices[mine], problem.quotas.limit[q])
    for reserve in problem.reserves:
        times = np.bincount([reserve.lost, *reserve.covers], minlength=len(pools.ids))
        mine = np.flatnonzero(sure & (times[pool] > 0))
        load = devices[mine] * times[pool[mine]]
        level = np.full(problem.slots, int(load.sum()), np.int64)
        window = slice(reserve.first_slot, reserve.end_slot)
        level[window] = np.minimum(level[window], pools.capacity[list(reserve.covers), window].sum(axis=0))
        _limit(choices, mine, load, level)
    total = cp_model.LinearExpr.weighted_sum(choices.terms, choices.money)
    choices.model.maximize(total + choices.constant)
    return choices


def _request(problem: Problem, choices: _Choices, request: int) -> None:
    """The options of one request, of which at most one is taken; exactly one if it is promised.

    The hint is to serve nobody: without any, CP-SAT has been seen to find no plan for 500 requests in ten seconds.
    """
    o, model = problem.options, choices.model
    now, move = int(problem.requests.current_option[request]), int(problem.requests.move_cost[request])
    choices.constant -= move if now >= 0 else 0
    taken = []
    for row in range(int(o.first[request]), int(o.first[request + 1])):
        length, devices, pool = int(o.slots[row]), int(o.devices[row]), int(o.pool[row])
        low, high = max(0, int(o.earliest[row])), min(int(o.latest[row]), problem.slots - length)
        if high < low or devices > int(problem.pools.capacity[pool].max(initial=0)):
            continue
        take, start = model.new_bool_var(""), model.new_int_var(low, high, "")
        model.add_hint(take, False)
        model.add_hint(start, low)
        taken.append(take)
        choices.row.append(row)
        choices.take.append(take)
        choices.start.append(start)
        choices.interval.append(model.new_optional_fixed_size_interval_var(start, length, take, ""))
        choices.pay(take, int(o.value[row]) - int(problem.pools.unit_cost[pool]) * devices * length)
        if (due := int(o.due[row])) < high and o.late_cost[row] > 0:
            late = model.new_int_var(0, high - due, "")
            model.add_hint(late, 0)
            model.add(late >= start - due).only_enforce_if(take)
            choices.pay(late, -int(o.late_cost[row]))
        if row - o.first[request] == now and move:
            kept = model.new_bool_var("")
            model.add_hint(kept, False)
            model.add_implication(kept, take)
            model.add(start == int(problem.requests.current_start[request])).only_enforce_if(kept)
            choices.pay(kept, move)
    if problem.requests.promised[request]:
        model.add_exactly_one(taken)
    elif len(taken) > 1:
        model.add_at_most_one(taken)


def _limit(choices: _Choices, mine: Ints, load: Ints, level: Ints) -> None:
    """In every slot, the load of the intervals is within the level; its changes are filled by fixed intervals."""
    if not len(mine):
        return
    top = int(level.max(initial=0))
    edges = [0, *(np.flatnonzero(np.diff(level)) + 1).tolist(), len(level)]
    fill, filled = [], []
    for begin, end in pairwise(edges):
        if level[begin] < top:
            fill.append(choices.model.new_fixed_size_interval_var(begin, end - begin, ""))
            filled.append(top - int(level[begin]))
    _cumulative(choices, mine, load, fill, filled, top)


def _with_overage(problem: Problem, choices: _Choices, p: int, mine: Ints, load: Ints) -> None:
    """As `_limit`, where each slot is filled down to what is committed unless more is paid for."""
    if not len(mine):
        return
    model, cost = choices.model, int(problem.pools.overage_cost[p])
    level = problem.pools.capacity[p]
    top = int(level.max())
    fill, filled = [], []
    for slot, capacity in enumerate(level.tolist()):
        paid = min(capacity, int(problem.pools.committed[p, slot]))
        amount = model.new_int_var(top - capacity, top - paid, "")
        model.add_hint(amount, top - paid)
        choices.pay(amount, cost)
        choices.constant -= cost * (top - paid)
        fill.append(model.new_fixed_size_interval_var(slot, 1, ""))
        filled.append(amount)
    _cumulative(choices, mine, load, fill, filled, top)


def _cumulative(
    choices: _Choices,
    mine: Ints,
    load: Ints,
    fill: list[cp_model.IntervalVar],
    filled: Sequence[cp_model.IntVar | int],
    top: int,
) -> None:
    chosen = [choices.interval[k] for k in mine.tolist()]
    choices.model.add_cumulative([*chosen, *fill], [*load.tolist(), *filled], top)
