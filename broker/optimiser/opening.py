"""A first plan before anything is pruned or priced, so that there soon is one however large the problem.

What stands stays where it fits; everybody else, the most valuable first, goes where most is left of the value after
unit costs and lateness.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from broker.optimiser.columns import guide, ideals
from broker.optimiser.construct import insert_all, settle
from broker.optimiser.problem import Plan, Problem
from broker.optimiser.report import Prices
from broker.optimiser.tables import Tables, plan_of, uncut

__all__ = ["opening"]

SLICE = 2_000  # insertions between two questions


def opening(problem: Problem, whole: Tables, enough: Callable[[], bool]) -> tuple[Plan, int]:
    """A greedy plan, and its gains in the money of ``whole``, the tables of the problem as it came.

    ``enough`` is asked now and then, and ends it early.
    """
    g = guide(whole, Prices.zero(problem))
    ideal = ideals(whole, g)
    has = np.flatnonzero(np.diff(whole.first))
    peak = np.maximum.reduceat(ideal, whole.first[has]) if len(has) else np.zeros(0)
    order = has[np.lexsort((-peak, -whole.promised[has]))]
    calendar, total = settle(whole, whole.now_row, whole.now_start)
    for k in range(0, len(order), SLICE):
        if enough():
            break
        total += int(insert_all(whole, calendar, g, ideal, order[k : k + SLICE]))
    return plan_of(problem, uncut(problem), calendar.row, calendar.start), total
