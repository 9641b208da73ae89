"""What every solver of the comparison is and gives: one interface for ours and for the others.

A solver is ``solver(problem, seconds, seed, journal) -> Answer``. It tells the journal of every plan as it finds it,
so that whoever watches keeps the best one even when the solver has to be killed.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

from broker.optimiser.check import check
from broker.optimiser.problem import Plan, Problem

__all__ = ["Answer", "Journal", "Point", "Solver"]

ROUNDED = 1e-6  # relative tolerance of the solvers that count in floating point


@dataclass(frozen=True, slots=True)
class Point:
    """The best plan and the best bound so far, some seconds after the problem was in memory."""

    seconds: float
    objective: int
    bound: float | None


@dataclass(frozen=True, slots=True)
class Answer:
    """The best plan, if any, its worth, and a proven bound, if any; ``note`` says why one is missing."""

    plan: Plan | None
    objective: int | None
    bound: float | None
    trajectory: tuple[Point, ...]
    note: str = ""


class Journal:
    """Plans and bounds of one solve as they come, judged by the public checker; the clock starts when it is made.

    A plan that breaks a rule counts for nothing, and the answer says so. A bound counts once there is a plan: solvers
    that found nothing have been seen to report 0. ``told`` hears of each step, and whether the judge has seen its plan.
    """

    def __init__(self, problem: Problem, told: Callable[[Point, bool], None] | None = None) -> None:
        self._problem, self._told = problem, told
        self._began = time.perf_counter()
        self._points: list[Point] = []
        self._best: tuple[int, Plan] | None = None
        self._shown: int | None = None  # judged or said
        self._bound = math.inf
        self._broken = ""

    def seconds(self) -> float:
        """Since the journal was opened."""
        return time.perf_counter() - self._began

    def plan(self, plan: Plan) -> None:
        """A solver found this; it is kept if it is the best and breaks no rule."""
        verdict = check(self._problem, plan)
        if not verdict.ok:
            self._broken = f"breaks a rule: {verdict.violations[0]}"
        elif self._best is None or verdict.objective > self._best[0]:
            self._best = verdict.objective, plan
            self._show(verdict.objective)

    def bound(self, bound: float) -> None:
        """No plan is worth more."""
        if math.isfinite(bound) and bound < self._bound:
            self._bound = bound
            self._show(None)

    def progress(self, objective: int, bound: float) -> None:
        """What a solver says that it has, without showing the plan; the plan must follow."""
        self._bound = min(bound, self._bound)
        self._show(objective)

    def answer(self, note: str = "") -> Answer:
        """The best of what was told."""
        objective, plan = self._best or (None, None)
        bound = self._bound if plan is not None and math.isfinite(self._bound) else None
        if objective is not None and bound is not None and bound < objective:
            if bound < objective - ROUNDED * abs(objective):
                note = note or f"bound {bound} below its own plan"
            bound = float(objective)
        return Answer(plan, objective, bound, tuple(self._points), note or self._broken)

    def _show(self, objective: int | None) -> None:
        if objective is not None:
            self._shown = objective if self._shown is None else max(objective, self._shown)
        if self._shown is not None:
            bound = self._bound if math.isfinite(self._bound) else None
            point = Point(self.seconds(), self._shown, bound)
            self._points.append(point)
            if self._told is not None:
                self._told(point, self._best is not None and self._best[0] >= self._shown)


Solver = Callable[[Problem, float, int, Journal], Answer]
