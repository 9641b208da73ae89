"""Exact search of a few columns, and the columns that a better plan may use."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from broker.optimiser.check import check
from broker.optimiser.columns import best_columns, guide
from broker.optimiser.exact import Exact, survivors
from broker.optimiser.files import problem_from
from broker.optimiser.model import Effort
from broker.optimiser.prices import Pricing
from broker.optimiser.prune import prune
from broker.optimiser.report import Prices
from broker.optimiser.tables import plan_of, tables

Document = dict[str, Any]


@pytest.mark.parametrize("seed", range(40))
def test_finds_the_optimum_among_the_survivors(
    seed: int, tiny: Callable[[int], Document], optimum: Callable[[Document], int | None]
) -> None:
    document = tiny(seed)
    best = optimum(document)
    problem = problem_from(document)
    pruned = prune(problem)
    t = tables(problem, pruned)
    nothing = (np.full(len(t.quota), -1, np.int64), np.zeros(len(t.quota), np.int64))
    pricing = Pricing(t, Prices.zero(problem))
    for _ in range(10):
        pricing.step(0)
    g = guide(t, pricing.prices)
    # The plan in hand may break promises, so no column is ruled out by its worth.
    columns = survivors(t, g, best_columns(t, g).worth, np.inf)
    assert columns is not None
    closed = Exact(t, columns, nothing).search(Effort(5.0, 1))
    assert (closed is None) == (best is None)
    if closed is not None and best is not None:
        verdict = check(problem, plan_of(problem, pruned, closed.row, closed.start))
        assert verdict.violations == ()
        assert verdict.objective == best
        assert closed.is_optimal
        assert closed.bound - t.move.sum() >= best - 1e-6


@pytest.mark.parametrize("seed", range(25))
def test_columns_that_are_dropped_are_in_no_better_plan(
    seed: int, tiny: Callable[[int], Document], optimum: Callable[[Document], int | None]
) -> None:
    document = tiny(seed)
    for request in document["requests"]:
        request.pop("promised", None)
    best = optimum(document)
    assert best is not None
    problem = problem_from(document)
    pruned = prune(problem)
    t = tables(problem, pruned)
    nothing = (np.full(len(t.quota), -1, np.int64), np.zeros(len(t.quota), np.int64))
    pricing = Pricing(t, Prices.zero(problem))
    for _ in range(60):
        pricing.step(0)
    g = guide(t, pricing.prices)
    short = pricing.best - (best - 1)  # a plan in hand that is not quite the best
    columns = survivors(t, g, best_columns(t, g).worth, short + 1e-6)
    assert columns is not None
    closed = Exact(t, columns, nothing).search(Effort(5.0, 1))
    assert closed is not None
    assert check(problem, plan_of(problem, pruned, closed.row, closed.start)).objective == best


def test_searching_on_never_loses_what_was_found(crowd: Callable[..., Document]) -> None:
    problem = problem_from(crowd(5, requests=40))
    pruned = prune(problem)
    t = tables(problem, pruned)
    nothing = (np.full(len(t.quota), -1, np.int64), np.zeros(len(t.quota), np.int64))
    rows = np.arange(len(t.pool))
    exact, found = Exact(t, (rows, t.low[rows]), nothing), []
    for seconds in (0.05, 0.2, 1.0):
        closed = exact.search(Effort(seconds, 1))
        if closed is not None:
            verdict = check(problem, plan_of(problem, pruned, closed.row, closed.start))
            assert all("promised" in line for line in verdict.violations)
            assert verdict.objective <= closed.bound
            found.append(verdict.objective)
    assert found
    assert found == sorted(found)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the system does not tell who catches signals")
def test_ctrl_c_stays_whose_it_was(tiny: Callable[[int], Document]) -> None:
    def caught() -> list[str]:
        return [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("Sig")]

    problem = problem_from(tiny(3))
    t = tables(problem, prune(problem))
    rows = np.arange(len(t.pool))
    nothing = (np.full(len(t.quota), -1, np.int64), np.zeros(len(t.quota), np.int64))
    before = caught()
    Exact(t, (rows, t.low[rows]), nothing).search(Effort(1.0, 1))
    assert caught() == before
