"""One solver on one problem, measured: what it found by when, what that is worth, and what it took."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from bench.answer import Journal, Point
from bench.isolated import STARTED, isolated
from bench.solvers import SOLVERS, get_ready
from bench.sources import Source, offered
from broker.optimiser.report import gap

__all__ = ["GRACE_SECONDS", "Measured", "measure"]

GRACE_SECONDS = 10.0  # beyond the limit, before a solver is killed


@dataclass(frozen=True, slots=True)
class Measured:
    """One run; ``objective`` is None without a plan that keeps the rules."""

    source: Source
    solver: str
    requests: int = 0
    options: int = 0
    offered: int = 0
    objective: int | None = None
    bound: float | None = None
    seconds: float = 0.0
    peak_mib: int = 0
    trajectory: tuple[Point, ...] = ()
    note: str = ""

    @property
    def gap(self) -> float | None:
        """Share of the bound that may still be missing."""
        return None if self.objective is None or self.bound is None else gap(self.objective, self.bound)

    @property
    def first_plan_seconds(self) -> float | None:
        """When it had a plan that serves anybody."""
        return next((point.seconds for point in self.trajectory if point.objective > 0), None)

    def seconds_to_gap(self, share: float) -> float | None:
        """When plan and bound were that close for the first time."""
        near = (p.seconds for p in self.trajectory if p.bound is not None and gap(p.objective, p.bound) <= share)
        return next(near, None)


def measure(
    source: Source, solver: str, *, seconds: float, seed: int, grace_seconds: float = GRACE_SECONDS
) -> Measured:
    """Run a solver in a fresh process; killed ``grace_seconds`` after its limit, it keeps what it had found."""
    ended = isolated(_solve, source, solver, seconds, seed, seconds=seconds + grace_seconds)
    if isinstance(ended.result, Measured):
        return replace(ended.result, peak_mib=ended.peak_mib)
    told = [post for post in ended.posted if isinstance(post, tuple)]
    seen = [point for point, is_judged in told if is_judged]  # what was only said counts for nothing
    empty = next((post for post in ended.posted if isinstance(post, Measured)), Measured(source, solver))
    return replace(
        empty,
        objective=seen[-1].objective if seen else None,
        bound=seen[-1].bound if seen else None,
        seconds=ended.seconds,
        peak_mib=ended.peak_mib,
        trajectory=tuple(point for point, _ in told),
        note=ended.trouble.strip().splitlines()[-1],
    )


def _solve(post: Callable[[Any], None], source: Source, solver: str, seconds: float, seed: int) -> Measured:
    get_ready(solver)
    problem = source.load()
    size = len(problem.requests.ids), len(problem.options.pool), offered(problem)
    empty = Measured(source, solver, *size)
    post(empty)
    post(STARTED)

    def told(point: Point, is_judged: bool) -> None:
        post((point, is_judged))

    journal = Journal(problem, told)
    answer = SOLVERS[solver](problem, seconds, seed, journal)
    return replace(
        empty,
        objective=answer.objective,
        bound=answer.bound,
        seconds=journal.seconds(),
        trajectory=answer.trajectory,
        note=answer.note,
    )
