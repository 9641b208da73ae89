"""Exact search of a few columns, and the columns that a better plan may use."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from broker.optimiser.check import check
from broker.optimiser.columns import best_columns, guide
from broker.optimiser.exact import close, survivors
from broker.optimiser.files import problem_from
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
    closed = close(t, columns, nothing, 5.0, 1, lambda: False)
    assert (closed is None) == (best is None)
    if closed is not None and best is not None:
        verdict = check(problem, plan_of(problem, pruned, closed.row, closed.start))
        assert verdict.violations == ()
        assert verdict.objective == best
        assert closed.bound - t.move.sum() >= best - 1e-6
