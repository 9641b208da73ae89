"""Small problems solved exactly, and columns that no better plan can use.

Reduced-value fixing (Dantzig, Fulkerson and Johnson 1954): at any prices, a plan that uses a column is worth at most
the bound less what the column is short of its request's best. Columns that fall below the plan in hand are dropped, and
what is left is often small enough for CP-SAT, with that plan as hint.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from broker.optimiser.compiled import compiled
from broker.optimiser.model import Effort, choose
from broker.optimiser.problem import Floats, Ints
from broker.optimiser.state import Guide, empty_calendar, score
from broker.optimiser.tables import Tables

__all__ = ["COLUMNS_MAX", "TERMS_MAX", "Closed", "close", "survivors"]

COLUMNS_MAX = 12_000
TERMS_MAX = 300_000


class Closed(NamedTuple):
    """The best plan that the exact search found, as rows, and its bound in the money of the tables."""

    row: Ints
    start: Ints
    bound: float


@compiled
def _survivors(t: Tables, g: Guide, worth: Floats, short: float, keep: Ints, kept_start: Ints, most: int) -> int:
    """Collect columns no further than ``short`` below the best of their request; -1 when there are more than fit."""
    n = 0
    for request in range(len(t.quota)):
        best = max(0.0, worth[request])
        for row in range(t.first[request], t.first[request + 1]):
            for start in range(t.low[row], t.high[row] + 1):
                if best - score(t, g, request, row, start) <= short:
                    if n >= most:
                        return -1
                    keep[n], kept_start[n] = row, start
                    n += 1
    return n


def survivors(t: Tables, g: Guide, worth: Floats, short: float) -> tuple[Ints, Ints] | None:
    """Columns ``(row, start)`` that a plan better than the one in hand may use; None when they are too many."""
    row, start = np.zeros(COLUMNS_MAX, np.int64), np.zeros(COLUMNS_MAX, np.int64)
    n = int(_survivors(t, g, worth, short, row, start, COLUMNS_MAX))
    if n < 0 or int(t.length[row[:n]].sum()) > TERMS_MAX:
        return None
    return row[:n].copy(), start[:n].copy()


def close(
    t: Tables,
    columns: tuple[Ints, Ints],
    best: tuple[Ints, Ints],
    effort_seconds: float,
    seed: int,
    enough: Callable[[], bool],
) -> Closed | None:
    """Search the columns exactly from the plan ``best``; None when nothing was proven or found in time.

    The bound holds for plans that keep every promise and use these columns only; any other such plan is no better than
    ``best``. Promises are kept, so ``None`` may mean that they cannot be kept together.
    """
    row, start = columns
    owner = np.repeat(np.arange(len(t.quota)), np.diff(t.first))
    placed = np.flatnonzero(best[0] >= 0)
    row = np.concatenate((row, best[0][placed]))
    start = np.concatenate((start, best[1][placed]))
    pairs, where = np.unique(np.stack((row, start)), axis=1, return_inverse=True)
    row, start = pairs[0], pairs[1]
    hint = where.ravel()[len(where.ravel()) - len(placed) :]
    effort = Effort(effort_seconds, seed, enough)
    found = choose(t, empty_calendar(t), owner[row], row, start, hint, t.promised == 1, effort)
    if found is None:
        return None
    chosen_row, chosen_start = np.full(len(t.quota), -1, np.int64), np.zeros(len(t.quota), np.int64)
    used = owner[row[found.chosen]]
    chosen_row[used], chosen_start[used] = row[found.chosen], start[found.chosen]
    return Closed(chosen_row, chosen_start, found.bound)
