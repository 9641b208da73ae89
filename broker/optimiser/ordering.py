"""Better orders for the greedy plan: the keys of the best order so far, blurred again and again.

Which gang comes first decides what the search can still reach, so it is worth a little of the budget. A plan for each
vector of keys is the decoder of a random-key search (Bean 1994); here the only parent is the best vector.
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

__all__ = ["blurred"]

BLURS = (0.05, 0.1, 0.2, 0.4, 0.8)  # of the logarithm of an order's keys


def blurred(
    t: Tables,
    g: Guide,
    wishes: Wishes,
    row: Ints,
    start: Ints,
    rng: np.random.Generator,
    enough: Callable[[], bool],
) -> Iterator[tuple[Calendar, int]]:
    """Greedy plans and their gains without end, two at a time; those placed in ``row`` come before everybody.

    ``enough`` is asked while a plan is made, and may leave it unfinished.
    """
    key = np.where(wishes.top >= 0, wishes.peak, -np.inf)
    best = -1

    def greedy(key: Floats) -> tuple[Calendar, int]:
        calendar, total = settle(t, row, start)
        order = np.lexsort((-key, -t.promised))
        return calendar, total + insert_until(t, calendar, g, wishes.ideal, order, enough)

    while True:
        tried = [
            np.where(key > 0, key * np.exp(rng.choice(BLURS) * rng.standard_normal(len(key))), key) for _ in range(2)
        ]
        second = second_thread().submit(greedy, tried[1])
        found = [greedy(tried[0]), second.result()]
        for (_, total), keys in zip(found, tried, strict=True):
            if total > best:
                best, key = total, keys
        yield from found
