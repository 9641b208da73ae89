"""A first plan before anything is pruned or priced, so that there soon is one however large the problem.

What stands stays where it fits; everybody else, the most valuable first, goes where most is left of the value after
unit costs and lateness.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from broker.optimiser.columns import guide, ideals
from broker.optimiser.construct import insert_until, settle
from broker.optimiser.prices import proven
from broker.optimiser.problem import Plan, Problem
from broker.optimiser.report import Prices
from broker.optimiser.tables import Tables, plan_of, uncut

__all__ = ["Opening", "opening"]


class Opening(NamedTuple):
    """A first plan, in the numbering of the problem; money is in the unit of the tables."""

    plan: Plan
    gains: int
    bound: float  # what free capacity for everybody would be worth


def opening(problem: Problem, whole: Tables, enough: Callable[[], bool]) -> Opening:
    """A greedy plan and a first bound, from the tables of the problem as it came.

    ``enough`` is asked now and then, and ends the plan early.
    """
    free = Prices.zero(problem)
    g = guide(whole, free)
    ideal = ideals(whole, g)
    has = np.flatnonzero(np.diff(whole.first))
    peak = np.maximum.reduceat(ideal, whole.first[has]) if len(has) else np.zeros(0)
    order = has[np.lexsort((-peak, -whole.promised[has]))]
    calendar, total = settle(whole, whole.now_row, whole.now_start)
    total += insert_until(whole, calendar, g, ideal, order, enough)
    plan = plan_of(problem, uncut(problem), calendar.row, calendar.start)
    return Opening(plan, total, proven(whole, free, peak))
