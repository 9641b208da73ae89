"""Loads and compiles everything that a solve may need, so that the first real one has its whole budget."""

from __future__ import annotations

import numpy as np

from broker.optimiser.apart import Apart
from broker.optimiser.assignment import new_assignment
from broker.optimiser.cells import exchange
from broker.optimiser.columns import best_columns, guide, ideals, ranked
from broker.optimiser.exact import survivors
from broker.optimiser.problem import Options, Pools, Problem, Quotas, Requests
from broker.optimiser.prune import prune
from broker.optimiser.report import Prices
from broker.optimiser.search import rivals
from broker.optimiser.sides import Wishes, improve_sides
from broker.optimiser.solve import solve
from broker.optimiser.state import empty_calendar
from broker.optimiser.stop import WorkLimit
from broker.optimiser.tables import tables

__all__ = ["warm"]


def warm() -> None:
    """Solve a tiny problem that walks through every step; seconds on a cold cache, a fraction of one on a warm one."""
    requests, slots = 40, 24
    rng = np.random.default_rng(1)
    devices = rng.integers(1, 5, requests)
    column = np.zeros(requests, np.int64)
    capacity = np.full((1, slots), 8, np.int64)
    problem = Problem(
        slots=slots,
        slot_hours=1,
        pools=Pools(("pool",), capacity, capacity // 2, column[:1], column[:1] + 1),
        quotas=Quotas(("quota",), capacity),
        requests=Requests(
            ids=tuple(str(r) for r in range(requests)),
            quota=column,
            guaranteed=column == 1,
            promised=column == 1,
            current_option=column - 1,
            current_start=column,
            move_cost=column,
        ),
        options=Options(
            first=np.arange(requests + 1),
            pool=column,
            devices=devices,
            slots=rng.integers(2, 9, requests),
            earliest=column,
            latest=column + 16,
            value=100 * devices + rng.integers(0, 400, requests),
            due=column + 16,
            late_cost=column,
        ),
        reserves=(),
    )
    solve(problem, stop=WorkLimit(300), seed=1)
    # A problem as small as this may be proven best before every step had its turn.
    t = tables(problem, prune(problem))
    prices = Prices.zero(problem)
    g = guide(t, prices)
    ideal = ideals(t, g)
    calendar = empty_calendar(t)
    wishes = Wishes(ideal, ranked(t, ideal), column, ideal, np.cumsum(np.ones(len(ideal))), rivals(t))
    improve_sides(t, calendar, g, wishes, 1.0, 100, rng)
    exchange(new_assignment(t, g, column - 1, 1), 100, 0.0)
    survivors(t, g, best_columns(t, g).worth, 1.0)
    Apart(t, prices, 1.0).step(0, lambda: False)
