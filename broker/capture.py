"""Keeps the last planning problem and its plan as public files, so that anyone can replay what the planner saw."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from broker.optimiser.files import write_plan, write_problem
from broker.optimiser.problem import Problem
from broker.optimiser.report import Solved

__all__ = ["capture_into"]


def capture_into(folder: Path) -> Callable[[Problem, Solved], None]:
    """Writes ``problem.json.gz`` and ``plan.json`` into ``folder`` after each cycle; no reader sees half a file."""
    folder.mkdir(parents=True, exist_ok=True)

    def capture(problem: Problem, solved: Solved) -> None:
        fresh = folder / "fresh.problem.json.gz", folder / "fresh.plan.json"
        write_problem(problem, fresh[0])
        write_plan(problem, solved, fresh[1])
        fresh[0].replace(folder / "problem.json.gz")
        fresh[1].replace(folder / "plan.json")

    return capture
