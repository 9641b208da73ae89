"""HiGHS and SCIP on the time-indexed mixed-integer programme: a 0-1 variable for each start of each option.

In each slot, what runs in a pool, or for a quota, sums up to its limit at most. That is the form that these solvers
know best how to tighten: a shorter one, with variables for what runs that change by what starts and ends, took them
fifty times as long on 50 requests. It is also long: 500 requests make four million entries.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path

import numpy as np
from ortools.math_opt.python import mathopt

from bench.answer import Answer, Journal
from bench.programme import Programme
from broker.optimiser.problem import Floats, Ints, Plan, Problem

__all__ = ["ENTRIES_MAX", "highs", "scip"]

ENTRIES_MAX = 6_000_000  # of the matrix
LARGEST_MONEY = 1e6  # the objective is scaled down to what the solvers' tolerances are made for
CLOSE = 1e-9  # relative gap that counts as proven
ROUNDED = 1e-9  # relative error of a bound in the solver's log
PROVEN = (mathopt.TerminationReason.OPTIMAL, mathopt.TerminationReason.FEASIBLE)


@dataclass(frozen=True, slots=True)
class _Starts:
    """Starts of options that could run in the empty market, one column of the programme each."""

    request: Ints
    row: Ints
    start: Ints


@dataclass(frozen=True, slots=True)
class _Model:
    problem: Problem
    starts: _Starts
    model: mathopt.Model
    scale: float
    constant: int

    def plan(self, chosen: Ints) -> Plan:
        """The plan of the chosen columns."""
        chosen = chosen[chosen < len(self.starts.row)]
        plan = Plan.empty(len(self.problem.requests.ids))
        request = self.starts.request[chosen]
        plan.option[request] = self.starts.row[chosen] - self.problem.options.first[request]
        plan.start[request] = self.starts.start[chosen]
        return plan

    def money(self, objective: float) -> float:
        """An objective of the model in the money of the problem."""
        return objective / self.scale + self.constant


def highs(problem: Problem, seconds: float, seed: int, journal: Journal) -> Answer:
    """HiGHS through MathOpt. It may overrun its limit; until it ends, its plans come from a file that it writes."""
    with tempfile.TemporaryDirectory() as folder:
        found = Path(folder) / "found"
        params = mathopt.SolveParameters(random_seed=seed % 2**31)
        params.highs.string_options["mip_improving_solution_file"] = str(found)
        params.highs.bool_options["mip_improving_solution_report_sparse"] = True
        model = _model(problem)
        if isinstance(model, str):
            return journal.answer(model)
        return _run(
            model, seconds, journal, mathopt.SolverType.HIGHS, params, msg_cb=partial(_heard, model, journal, found)
        )


def scip(problem: Problem, seconds: float, seed: int, journal: Journal) -> Answer:
    """SCIP through MathOpt, which runs it on one core."""
    model = _model(problem)
    if isinstance(model, str):
        return journal.answer(model)
    events = mathopt.CallbackRegistration(
        events={mathopt.Event.MIP_SOLUTION}, mip_solution_filter=mathopt.VariableFilter(skip_zero_values=True)
    )
    params = mathopt.SolveParameters(random_seed=seed % 2**31)
    called = partial(_called, model, journal)
    return _run(model, seconds, journal, mathopt.SolverType.GSCIP, params, callback_reg=events, cb=called)


def _run(
    model: _Model,
    seconds: float,
    journal: Journal,
    solver: mathopt.SolverType,
    params: mathopt.SolveParameters,
    **callbacks: object,
) -> Answer:
    left = seconds - journal.seconds()
    if left <= 0:
        return journal.answer("no time left after building the model")
    params.time_limit = timedelta(seconds=left)
    params.relative_gap_tolerance = CLOSE  # HiGHS would stop at 1e-4 of sums in the millions
    result = mathopt.solve(model.model, solver, params=params, **callbacks)
    if result.termination.reason not in PROVEN:
        return journal.answer(f"no plan: {result.termination.reason.name.lower()}")
    journal.plan(model.plan(_ones(result.variable_values())))
    journal.bound(model.money(result.termination.objective_bounds.dual_bound))
    return journal.answer()


def _ones(values: dict[mathopt.Variable, float]) -> Ints:
    return np.array([variable.id for variable, value in values.items() if value > 0.5], np.int64)


def _called(model: _Model, journal: Journal, data: mathopt.CallbackData) -> mathopt.CallbackResult:
    """SCIP found a plan."""
    if data.solution is not None:
        journal.plan(model.plan(_ones(data.solution)))
        if data.mip_stats is not None and data.mip_stats.HasField("dual_bound"):
            journal.bound(model.money(data.mip_stats.dual_bound))
    return mathopt.CallbackResult()


def _heard(model: _Model, journal: Journal, found: Path, lines: Sequence[str]) -> None:
    """HiGHS wrote lines of its log, and perhaps a plan into its file."""
    for line in lines:
        bound = _bound_in(line)
        if bound is None:
            continue
        chosen = _last_plan(found)
        if chosen is not None:
            journal.plan(model.plan(chosen))
        bound = model.money(bound)
        journal.bound(bound + ROUNDED * abs(bound))


def _bound_in(line: str) -> float | None:
    """The best bound in a line of the progress table: the number after the share of explored nodes."""
    match = re.match(r"\s*(?:[A-Za-z]\s)?\s*\d+\s+\d+\s+\d+\s+[\d.]+%\s+(\S+)\s+\S+\s+\S+", line)
    try:
        return float(match[1]) if match else None
    except ValueError:
        return None


def _last_plan(found: Path) -> Ints | None:
    """Columns at 1 in the last plan that is wholly in the file: after a count (negative: sparse), value and column."""
    if not found.is_file():
        return None
    for block in reversed(found.read_text().split("Objective")):
        head, *lines = block.split("# Columns ")[-1].splitlines() or [""]
        if not re.fullmatch(r"-\d+", head) or len(lines) < -int(head):
            continue
        pairs = [line.split() for line in lines[: -int(head)]]
        if pairs and len(pairs[-1]) == 2:
            return np.array([int(column) for value, column in pairs if float(value) > 0.5], np.int64)
    return None


def _model(problem: Problem) -> _Model | str:
    """The programme, or why there is none."""
    o, requests, pools = problem.options, problem.requests, problem.pools
    spans = np.maximum(0, np.minimum(o.latest, problem.slots - o.slots) - np.maximum(0, o.earliest) + 1)
    if (entries := int((spans * (1 + 2 * o.slots)).sum())) > ENTRIES_MAX:
        return f"too large: {entries:,} matrix entries"
    starts = _starts(problem)
    programme = Programme()
    worth = _worth(problem, starts)
    take = programme.variables(np.ones(len(worth)), worth, whole=True)
    least = requests.promised.astype(np.float64)
    programme.entries(programme.rows(least, np.ones(len(least)))[starts.request], take, 1.0)
    column, slot = _running(problem, starts)
    row = starts.row[column]
    devices = o.devices[row].astype(np.float64)
    within = _at_most(programme, np.where(pools.overage_cost[:, None] > 0, _paid(problem), pools.capacity))
    programme.entries(within[o.pool[row], slot], column, devices)
    _overage(problem, programme, within)
    quota = requests.quota[starts.request[column]]
    some = quota >= 0
    limit = _at_most(programme, problem.quotas.limit)
    programme.entries(limit[quota[some], slot[some]], column[some], devices[some])
    sure = requests.guaranteed[starts.request[column]]
    for reserve in problem.reserves:
        times = np.bincount([reserve.lost, *reserve.covers], minlength=len(pools.ids))[o.pool[row]]
        some = sure & (times > 0) & (slot >= reserve.first_slot) & (slot < reserve.end_slot)
        room = _at_most(programme, pools.capacity[list(reserve.covers)].sum(axis=0))
        programme.entries(room[slot[some]], column[some], devices[some] * times[some])
    model, scale = programme.model(largest=LARGEST_MONEY)
    return _Model(problem, starts, model, scale, -int(requests.move_cost[requests.current_option >= 0].sum()))


def _at_most(programme: Programme, level: Ints) -> Ints:
    """Rows in the shape of their upper bounds."""
    return programme.rows(np.full(level.size, -np.inf), level.ravel().astype(np.float64)).reshape(level.shape)


def _paid(problem: Problem) -> Ints:
    return np.minimum(problem.pools.committed, problem.pools.capacity)


def _overage(problem: Problem, programme: Programme, within: Ints) -> None:
    """Variables that take pools above what is committed, up to their capacity, at a cost."""
    most = problem.pools.capacity - _paid(problem)
    pool, slot = np.nonzero((most > 0) & (problem.pools.overage_cost[:, None] > 0))
    cost = problem.pools.overage_cost[pool].astype(np.float64)
    above = programme.variables(most[pool, slot].astype(np.float64), -cost)
    programme.entries(within[pool, slot], above, -1.0)


def _running(problem: Problem, starts: _Starts) -> tuple[Ints, Ints]:
    """Each column once for each slot that it runs in, and that slot."""
    length = problem.options.slots[starts.row]
    column = np.repeat(np.arange(len(length)), length)
    since = np.arange(len(column)) - np.repeat(np.cumsum(length) - length, length)
    return column, starts.start[column] + since


def _starts(problem: Problem) -> _Starts:
    o, capacity = problem.options, problem.pools.capacity
    request = np.repeat(np.arange(len(problem.requests.ids)), np.diff(o.first))
    rows, found = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    for k in range(len(o.pool)):
        length = int(o.slots[k])
        low, high = max(0, int(o.earliest[k])), min(int(o.latest[k]), problem.slots - length)
        if high < low:
            continue
        short = np.concatenate(([0], np.cumsum(capacity[o.pool[k], low : high + length] < o.devices[k])))
        legal = low + np.flatnonzero(short[length:] == short[:-length])
        rows.append(np.full(len(legal), k))
        found.append(legal)
    row = np.concatenate(rows)
    return _Starts(request[row], row, np.concatenate(found))


def _worth(problem: Problem, starts: _Starts) -> Floats:
    """Value less unit cost and lateness, and the move that is saved."""
    o, requests, row = problem.options, problem.requests, starts.row
    worth = o.value[row] - problem.pools.unit_cost[o.pool[row]] * o.devices[row] * o.slots[row]
    worth -= o.late_cost[row] * np.maximum(0, starts.start - o.due[row])
    same = requests.current_option[starts.request] == row - o.first[starts.request]
    same &= requests.current_start[starts.request] == starts.start
    return (worth + np.where(same, requests.move_cost[starts.request], 0)).astype(np.float64)
