"""Every solver of the comparison by name: ours, four queues, and three textbook models on solvers that are not ours."""

from __future__ import annotations

import time
from functools import partial

from bench.answer import Answer, Journal, Solver
from bench.baselines import ORDERS, greedy
from broker.optimiser.problem import Problem
from broker.optimiser.report import Progress

__all__ = ["OURS", "SOLVERS", "get_ready"]

OURS = "ours"


def ours(problem: Problem, seconds: float, seed: int, journal: Journal) -> Answer:
    """The optimiser of this project."""
    from broker.optimiser.solve import solve
    from broker.optimiser.stop import SecondsLimit

    def show(progress: Progress) -> None:
        journal.progress(progress.objective, progress.bound)

    solved = solve(problem, stop=SecondsLimit(seconds, time.perf_counter), seed=seed, on_progress=show)
    journal.bound(solved.bound)
    journal.plan(solved.plan)
    return journal.answer()


def queue(order: str, problem: Problem, seconds: float, seed: int, journal: Journal) -> Answer:  # noqa: ARG001 - it ends
    """Requests in one order, each where it gains most."""
    journal.plan(greedy(problem, ORDERS[order](problem)))
    return journal.answer()


def intervals(problem: Problem, seconds: float, seed: int, journal: Journal) -> Answer:
    """CP-SAT with optional intervals."""
    from bench.intervals import intervals as solver

    return solver(problem, seconds, seed, journal)


def highs(problem: Problem, seconds: float, seed: int, journal: Journal) -> Answer:
    """HiGHS on the time-indexed programme."""
    from bench.timeindexed import highs as solver

    return solver(problem, seconds, seed, journal)


def scip(problem: Problem, seconds: float, seed: int, journal: Journal) -> Answer:
    """SCIP on the time-indexed programme."""
    from bench.timeindexed import scip as solver

    return solver(problem, seconds, seed, journal)


SOLVERS: dict[str, Solver] = {
    OURS: ours,
    **{order.replace(" ", "-"): partial(queue, order) for order in ORDERS},
    "cp-sat": intervals,
    "highs": highs,
    "scip": scip,
}


def get_ready(solver: str) -> None:
    """Load and compile what the solver needs, so that the clock measures solving."""
    if solver == OURS:
        from broker.optimiser.warm import warm

        warm()
    elif solver.replace("-", " ") in ORDERS:
        from bench.generator import Synthetic, synthetic

        problem = synthetic(Synthetic("XS", 1.0, 1))
        greedy(problem, ORDERS[solver.replace("-", " ")](problem))
