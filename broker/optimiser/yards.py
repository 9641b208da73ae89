"""The plans of one pool divided into cases, ever further where they are worth most."""

from __future__ import annotations

import math
from heapq import heapify, heappop, heappush
from itertools import count
from typing import NamedTuple

import numpy as np

from broker.optimiser.cases import IMPOSSIBLE, OUT, SERVED, Found, descend, new_found, new_scratch, new_yard
from broker.optimiser.problem import Floats, Ints
from broker.optimiser.tables import Tables

__all__ = ["Cases", "Terms"]

LARGE = 0.5  # of a pool: gangs that cases decide on
STEPS_FIRST, STEPS, STEPS_AGAIN = 80, 30, 16  # of prices: of the whole pool, of a new case, of one under new terms
UNDECIDED = 0.5  # how much less a choice of starts decides than one of being served
CASES_MAX = 120


class Terms(NamedTuple):
    """What holds for one pool while its prices are sought."""

    rents: Floats  # [requests] of the tables: what each must earn in this pool
    books: Floats  # [books, slots + 1] running sums of what is paid beside the price of the pool
    hope: float  # for steps of its prices


class _Case(NamedTuple):
    said: Ints
    prices: Floats
    bound: float
    found: Found


class Cases:
    """Cases that together hold every plan of one pool; ``bound`` holds for all of them under the last terms."""

    def __init__(self, t: Tables, pool: int, prices: Floats) -> None:
        self.number = pool
        self._yard = new_yard(t, pool, LARGE)
        self._quotas = len(t.limit)
        self._scratch = new_scratch(self._yard, 2 * self._quotas)
        self._gangs = np.flatnonzero(self._yard.gang >= 0)
        self._order, self._open = count(), list[tuple[float, int, _Case]]()
        self.columns = 0  # priced so far
        self._width = int((self._yard.high - self._yard.low + 1).sum()) + len(self._yard.room)
        said = np.zeros((len(self._gangs), 3), np.int64)
        said[:, 2] = len(self._yard.room)
        self._push(_Case(said, prices.copy(), math.inf, new_found(self._yard, self._quotas)))

    @property
    def divisible(self) -> bool:
        """Whether there is a large gang to decide on."""
        return bool(len(self._gangs))

    @property
    def bound(self) -> float:
        """No plan of this pool is worth more under the last terms."""
        return self._open[0][2].bound

    @property
    def best(self) -> tuple[Ints, Found]:
        """The requests that could stand here, and how much of each does in the case that is worth most."""
        return self._yard.request, self._open[0][2].found

    def begin(self, terms: Terms) -> None:
        """Price the pool undivided."""
        case = heappop(self._open)[2]
        self._push(self._priced(case, terms, STEPS_FIRST))

    def grow(self, terms: Terms) -> None:
        """Divide the case that is worth most, if it leaves anything undecided."""
        case = self._open[0][2]
        parts = self._divided(case) if len(self._open) < CASES_MAX else []
        if not parts:
            return
        heappop(self._open)
        for said in parts:
            part = self._priced(case._replace(said=said), terms, STEPS)
            self._push(part._replace(bound=min(part.bound, case.bound)))

    def again(self, terms: Terms) -> None:
        """Bounds under new terms: of all cases at their prices, of those that are worth most at better ones."""
        fresh = [self._priced(case, terms, 1)._replace(found=case.found) for _, _, case in self._open]
        self._open = [(-case.bound, next(self._order), case) for case in fresh]
        heapify(self._open)
        better = set[int]()
        while self._open[0][1] not in better:
            case = self._priced(heappop(self._open)[2], terms, STEPS_AGAIN)
            better.add(self._push(case))

    def _push(self, case: _Case) -> int:
        number = next(self._order)
        if case.bound > IMPOSSIBLE:
            heappush(self._open, (-case.bound, number, case))
        return number

    def _priced(self, case: _Case, terms: Terms, steps: int) -> _Case:
        prices, found = case.prices.copy(), new_found(self._yard, self._quotas)
        bound = descend(
            self._yard, case.said, self._scratch, prices, terms.rents, terms.books, steps, terms.hope, found
        )
        self.columns += steps * self._width
        return _Case(case.said, prices, float(bound), found)

    def _divided(self, case: _Case) -> list[Ints]:
        """Two cases instead of one, by the large gang about which most money is undecided."""
        y, best, parts = self._yard, 0.0, list[Ints]()
        for request in self._gangs.tolist():
            gang, row = int(y.gang[request]), int(y.first[request])
            inside, starts, squares = case.found.stands[gang].tolist()
            worth = float(y.value[row : y.first[request + 1]].max())
            if case.said[gang, 0] != SERVED and worth * min(inside, 1 - inside) > best:
                best, parts = worth * min(inside, 1 - inside), _served_or_not(case.said, gang)
            if inside > 1e-3:
                middle = starts / inside
                spread = math.sqrt(max(0.0, squares / inside - middle * middle))
                undecided = worth * UNDECIDED * inside * min(1.0, 2 * spread / float(y.length[row]))
                if undecided > best:
                    best, parts = undecided, _early_or_late(case.said, gang, math.floor(middle))
        return parts


def _served_or_not(said: Ints, gang: int) -> list[Ints]:
    served, out = said.copy(), said.copy()
    served[gang, 0], out[gang, 0] = SERVED, OUT
    return [served, out]


def _early_or_late(said: Ints, gang: int, middle: int) -> list[Ints]:
    early, late = said.copy(), said.copy()
    early[gang, 2] = min(said[gang, 2], middle)
    late[gang, 1] = max(said[gang, 1], middle + 1)
    return [early, late]
