"""Greedy plans that follow pools taken apart: large gangs first, where the relaxation has them stand.

The bound of ``apart.py`` comes with how much of each request stands in each pool. Rounded at random (Raghavan, Thompson
1987), that says which of the gangs that fill a pool come in, and where: what no order of a greedy plan hits upon but by
luck, and what a search hardly ever changes later.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from broker.optimiser.columns import second_thread
from broker.optimiser.construct import insert_until, settle
from broker.optimiser.problem import Floats, Ints
from broker.optimiser.sides import Wishes
from broker.optimiser.state import Calendar, Guide
from broker.optimiser.tables import Tables

__all__ = ["rounded"]

LARGE = 0.3  # of a pool: gangs whose pool is drawn
SURE = 0.75  # the share from which on a gang always stands; it never does where it lacks as much
BLUR = 0.5  # of the logarithm of keys of the order, at most


def rounded(
    t: Tables,
    g: Guide,
    wishes: Wishes,
    row: Ints,
    start: Ints,
    stands: Floats,
    rng: np.random.Generator,
    enough: Callable[[], bool],
) -> Iterator[tuple[Calendar, int]]:
    """Greedy plans and their gains without end, two at a time; those placed in ``row`` come before everybody.

    ``stands`` is how much of each request stands in each pool, [pools, requests]. ``enough`` is asked while a plan is
    made, and may leave it unfinished.
    """
    owner = np.repeat(np.arange(len(t.quota)), np.diff(t.first))
    is_large = np.zeros(len(t.quota), np.bool_)
    is_large[owner[t.devices > LARGE * t.capacity.max(axis=1)[t.pool]]] = True
    large = np.flatnonzero(is_large)
    levels = np.cumsum(stands[:, large], axis=0)

    def greedy(level: Floats, blur: Floats) -> tuple[Calendar, int]:
        pool = np.full(len(t.quota), -1)
        pool[large] = (level > levels).sum(axis=0)
        calendar, total = settle(t, row, start)
        ideal = np.where(t.pool == pool[owner], wishes.ideal, -np.inf)
        order = np.lexsort((-wishes.peak * blur, -t.promised))
        total += insert_until(t, calendar, g, ideal, order[is_large[order]], enough)
        return calendar, total + insert_until(t, calendar, g, wishes.ideal, order, enough)

    while True:
        levels_drawn = rng.uniform(1 - SURE, SURE, (2, len(large)))
        blurs = np.exp(rng.uniform(-BLUR, BLUR, (2, len(t.quota))))
        second = second_thread().submit(greedy, levels_drawn[1], blurs[1])
        yield greedy(levels_drawn[0], blurs[0])
        yield second.result()
