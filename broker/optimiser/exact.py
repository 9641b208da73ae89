"""Small problems solved exactly, and columns that no better plan can use.

Reduced-value fixing (Dantzig, Fulkerson and Johnson 1954): at any prices, a plan that uses a column is worth at most
the bound less what the column is short of its request's best. Columns that fall below the plan in hand are dropped, and
what is left is often small enough for CP-SAT, with that plan as hint.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from broker.compiled import compiled
from broker.optimiser.model import Effort, Programme
from broker.optimiser.problem import Floats, Ints
from broker.optimiser.state import Guide, score
from broker.optimiser.tables import Tables

__all__ = ["COLUMNS_MAX", "TERMS_MAX", "Closed", "Exact", "survivors"]

COLUMNS_MAX = 12_000
TERMS_MAX = 300_000


class Closed(NamedTuple):
    """The best plan that the exact search found, as rows; its bound in the money of the tables; whether that is all."""

    row: Ints
    start: Ints
    bound: float
    is_optimal: bool


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


class Exact:
    """A search of columns, and of those of a plan in hand, that can be taken up again with more effort."""

    def __init__(self, t: Tables, columns: tuple[Ints, Ints], best: tuple[Ints, Ints]) -> None:
        self._owner = np.repeat(np.arange(len(t.quota)), np.diff(t.first))
        placed = np.flatnonzero(best[0] >= 0)
        pairs = np.concatenate((np.stack(columns), np.stack((best[0][placed], best[1][placed]))), axis=1)
        self._columns, where = np.unique(pairs, axis=1, return_inverse=True)
        self._hint = where.ravel()[len(columns[0]) :]
        row, start = self._columns
        self._programme = Programme(t, self._owner[row], row, start, t.promised == 1)
        self._size = len(t.quota)

    def search(self, effort: Effort) -> Closed | None:
        """Search from the best plan known; None when nothing was proven or found in time.

        The bound holds for plans that keep every promise and use these columns only; any other such plan is no better
        than the plan in hand. Promises are kept, so ``None`` may mean that they cannot be kept together.
        """
        found = self._programme.search(self._hint, effort)
        if found is None:
            return None
        self._hint = found.chosen
        row, start = np.full(self._size, -1, np.int64), np.zeros(self._size, np.int64)
        used = self._owner[self._columns[0][found.chosen]]
        row[used], start[used] = self._columns[:, found.chosen]
        return Closed(row, start, found.bound, found.is_optimal)
