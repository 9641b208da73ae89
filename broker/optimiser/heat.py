"""How hot a search begins."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from broker.optimiser.sides import Wishes, improve_sides
from broker.optimiser.state import Calendar, Guide
from broker.optimiser.tables import Tables

__all__ = ["first_heat"]

HEAT = 0.12  # first temperature, of what a round that makes the plan poorer costs


def first_heat(
    t: Tables,
    calendar: Calendar,
    g: Guide,
    wishes: Wishes,
    tries: int,
    seed: int,
    enough: Callable[[], bool],
) -> tuple[float, int]:
    """The first temperature: a share of what a round that makes the plan poorer costs, middling in its logarithm.

    Measured by ``tries`` insertions without heat on a copy of the plan, before the search begins, with every round
    played to its end. How many they were is returned too.
    """
    books = calendar._replace(**{name: part.copy() for name, part in calendar._asdict().items()})
    rng = np.random.default_rng(seed)
    tried = improve_sides(t, books, g, wishes, 0.0, tries, rng, enough=enough, to_end=True)
    if not tried.loss[1]:
        return 1.0, tried.tried
    return HEAT * math.exp(tried.loss[0] / tried.loss[1]), tried.tried
