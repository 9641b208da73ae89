"""A solver that is quick and honest, unless a claim's id says what it does to it."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from broker.optimiser.check import check
from broker.optimiser.problem import Plan, Problem, Status
from broker.optimiser.report import Prices, Progress, Report, Solved
from broker.optimiser.stop import Stop
from broker.optimiser.worker import Order

__all__ = ["bewitched"]


def bewitched(order: Order, _stop: Stop, _on_progress: Callable[[Progress], None]) -> Solved:
    """The first place that is free for each request; a claim such as ``hang-1`` makes it hang, and so on."""
    spells = {name.partition("/")[2].partition("-")[0] for name in order.problem.requests.ids}
    if "hang" in spells:
        threading.Event().wait()
    if "abort" in spells:
        os.abort()
    if "segv" in spells:
        os.kill(os.getpid(), signal.SIGSEGV)
    if "hunger" in spells:
        eaten = []
        while True:
            eaten.append(bytearray(64 << 20))
    solved = _greedy(order.problem)
    if "overbook" in spells:
        first = order.problem.options.first[:-1]
        return replace(solved, plan=Plan(np.zeros_like(solved.plan.option), order.problem.options.earliest[first]))
    if "boast" in spells:
        return replace(solved, objective=solved.objective + 1)
    if "evict" in spells:
        return replace(solved, plan=Plan.empty(len(solved.plan.option)), objective=0)
    return solved


def _greedy(problem: Problem) -> Solved:
    plan = problem.in_force() or Plan.empty(len(problem.requests.ids))
    first, earliest = problem.options.first, problem.options.earliest
    for row in np.flatnonzero(plan.option < 0).tolist():
        for option in range(int(first[row + 1] - first[row])):
            plan.option[row], plan.start[row] = option, earliest[first[row] + option]
            if check(problem, plan).ok:
                break
            plan.option[row] = -1
    placed = int((plan.option >= 0).sum())
    report = Report(0, 0.0, len(plan.option), placed, 0, 0, 0, 0, ())
    return Solved(plan, check(problem, plan).objective, 1e18, Prices.zero(problem), Status.FEASIBLE, report)
