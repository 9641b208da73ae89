"""Markets with prices, and their books counted anew by whoever does not trust the search."""

from __future__ import annotations

from typing import Any

import numpy as np

from broker.optimiser.check import check
from broker.optimiser.columns import best_columns, guide, ideals, ranked
from broker.optimiser.construct import insert_all, orders
from broker.optimiser.files import problem_from
from broker.optimiser.improve import improve
from broker.optimiser.prices import Pricing
from broker.optimiser.problem import Floats, Ints, Problem
from broker.optimiser.prune import prune
from broker.optimiser.report import Prices
from broker.optimiser.search import Ruin, Search, rivals
from broker.optimiser.sides import Wishes
from broker.optimiser.state import Calendar, empty_calendar
from broker.optimiser.tables import Tables, plan_of, tables

Document = dict[str, Any]
Books = tuple[Ints, Ints, Ints]
STEPS = 60  # of the descent, unless told


class Market:
    """A problem in the arrays of the search, with prices that mean something."""

    def __init__(self, problem: Problem, steps: int = STEPS) -> None:
        self.problem = problem
        self.pruned = prune(problem)
        self.t: Tables = tables(problem, self.pruned)
        pricing = Pricing(self.t, Prices.zero(problem))
        for _ in range(steps):
            pricing.step(int(0.7 * pricing.best) if np.isfinite(pricing.best) else 0)
        self.prices = pricing.prices
        self.g = guide(self.t, pricing.prices)
        self.ideal = ideals(self.t, self.g)
        self.wishes = self._wishes()

    def _wishes(self) -> Wishes:
        rows, has = ranked(self.t, self.ideal), np.diff(self.t.first) > 0
        top, peak = np.full(len(has), -1), np.full(len(has), -np.inf)
        top[has] = rows[self.t.first[:-1][has]]
        peak[has] = self.ideal[top[has]]
        return Wishes(self.ideal, rows, top, peak, np.cumsum(np.ones(len(has))), rivals(self.t))

    def judged(self, row: Ints, start: Ints) -> int:
        """The objective of a valid plan; fails on an invalid one."""
        verdict = check(self.problem, plan_of(self.problem, self.pruned, row, start))
        assert verdict.violations == ()
        return verdict.objective

    def greedy(self) -> tuple[Calendar, int]:
        """A plan made in one order, and its gains."""
        found = best_columns(self.t, self.g)
        calendar = empty_calendar(self.t)
        order = next(iter(orders(self.t, found.worth, found.row)))
        return calendar, int(insert_all(self.t, calendar, self.g, self.ideal, order))

    def improve(self, c: Calendar, search: Search, heat: float, tries: int, to_end: bool = False) -> int:
        """Rounds of improvement; one round when ``tries`` is 1."""
        w = self.wishes
        guides = (w.near, w.ideal, w.ranked, w.peak, w.stakes)
        return int(improve(self.t, c, self.g, search, *guides, heat, tries, to_end))


def market(document: Document, steps: int = STEPS) -> Market:
    return Market(problem_from(document), steps)


def only(kind: Ruin) -> Floats:
    """The mix of a search that knows one ruin."""
    return (np.arange(len(Ruin)) >= kind).astype(np.float64)


def recount(problem: Problem, t: Tables, c: Calendar) -> Books:
    """Free room of pools, quotas and reserves, counted from the placements as the rules are said."""
    free, room = problem.pools.capacity.astype(np.int64), t.limit.copy()
    sure = np.zeros_like(free)
    for r in np.flatnonzero(c.row >= 0):
        row = c.row[r]
        span = slice(c.start[r], c.start[r] + t.length[row])
        free[t.pool[row], span] -= t.devices[row]
        room[problem.requests.quota[r], span] -= t.devices[row]
        if problem.requests.guaranteed[r]:
            sure[t.pool[row], span] += t.devices[row]
    spare = t.cover.copy()
    for n, reserve in enumerate(problem.reserves):
        spare[n] -= sure[reserve.lost] + sure[list(reserve.covers)].sum(axis=0)
    return free, room, spare


def assert_exact(problem: Problem, t: Tables, c: Calendar) -> None:
    """The room left is that of the placements, and each pool lists exactly who stands in it, from when to when."""
    for kept, counted in zip((c.free, c.room, c.spare), recount(problem, t, c), strict=True):
        assert np.array_equal(kept, counted)
    for p in range(len(t.unit)):
        first, taken = int(t.seats[p]), int(c.taken[p])
        assert 0 <= taken <= t.seats[p + 1] - first
        listed = {(int(c.who[k]), int(c.begin[k]), int(c.end[k])) for k in range(first, first + taken)}
        here = [r for r in np.flatnonzero(c.row >= 0).tolist() if t.pool[c.row[r]] == p]
        assert len(here) == taken
        assert listed == {(r, int(c.start[r]), int(c.start[r] + t.length[c.row[r]])) for r in here}
        assert all(c.who[c.seat[r]] == r for r in here)
        assert all(c.pool[r] == p and c.stop[r] == c.start[r] + t.length[c.row[r]] for r in here)
    assert (c.pool[c.row < 0] == -1).all()


def crowded_with_promises(document: Document) -> Document:
    """Every third request of a market promised and worth next to nothing."""
    for request in document["requests"][::3]:
        if request["options"]:
            request["options"][0]["value"] = 1
            request |= {"current": {"option": 0, "start": request["options"][0]["start"][0]}, "promised": True}
    return document
