"""How hot a search begins."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from broker.optimiser.sides import Wishes, improve_sides
from broker.optimiser.state import Calendar, Guide
from broker.optimiser.tables import Tables

__all__ = ["first_heat"]

HEAT = 0.15  # first temperature, of what a round that makes the plan poorer costs, at so many rounds for each request
HEAT_ROUNDS = 70.0
HEAT_POWER = 0.2  # by which it rises with the rounds that the budget has for each request


def first_heat(
    t: Tables,
    calendar: Calendar,
    g: Guide,
    wishes: Wishes,
    tries: int,
    seed: int,
    spent: Callable[[int], float],
    enough: Callable[[], bool],
) -> tuple[float, int]:
    """The first temperature: a share of what a round that makes the plan poorer costs, middling in its logarithm.

    Measured by ``tries`` insertions without heat on a copy of the plan, before the search begins. The more rounds there
    will be for each request, the hotter they may begin: what a large budget spoils it has the time to mend. ``spent``
    says what share of the budget is gone after so many insertions; they are returned too.
    """
    books = calendar._replace(**{name: part.copy() for name, part in calendar._asdict().items()})
    begun = spent(0)
    tried = improve_sides(t, books, g, wishes, 0.0, tries, np.random.default_rng(seed), enough=enough, to_end=True)
    if not tried.loss[1]:
        return 1.0, tried.tried
    gone = spent(tried.tried)
    rounds = tried.rounds * (1 - gone) / max(1e-9, gone - begun) / len(t.quota)
    loss = math.exp(tried.loss[0] / tried.loss[1])
    return float(HEAT * max(1.0, rounds / HEAT_ROUNDS) ** HEAT_POWER * loss), tried.tried
