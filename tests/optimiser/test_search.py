"""Construction, improvement and neighbourhoods keep exact books and never break a rule."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from broker.optimiser.check import check
from broker.optimiser.construct import insert_all, orders, settle
from broker.optimiser.files import problem_from
from broker.optimiser.improve import improve, new_search
from broker.optimiser.neighbourhood import Shape, reopen
from broker.optimiser.prices import Pricing, best_columns, guide, ideals
from broker.optimiser.problem import Floats, Ints, Problem
from broker.optimiser.prune import prune
from broker.optimiser.report import Prices
from broker.optimiser.state import Calendar, Guide, change, empty_calendar
from broker.optimiser.tables import Pruned, Tables, plan_of, tables

Document = dict[str, Any]


class Priced:
    """A problem with prices that mean something."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self.pruned: Pruned = prune(problem)
        self.t: Tables = tables(problem, self.pruned)
        pricing = Pricing(self.t, Prices.zero(problem))
        for _ in range(60):
            pricing.step(int(0.7 * pricing.best) if np.isfinite(pricing.best) else 0)
        self.g: Guide = guide(self.t, pricing.prices)
        self.ideal: Floats
        self.at: Ints
        self.ideal, self.at = ideals(self.t, self.g)

    def judged(self, row: Ints, start: Ints) -> int:
        """The objective of a valid plan; fails on an invalid one."""
        verdict = check(self.problem, plan_of(self.problem, self.pruned, row, start))
        assert verdict.violations == ()
        return verdict.objective

    def greedy(self) -> tuple[Calendar, int]:
        found = best_columns(self.t, self.g)
        calendar = empty_calendar(self.t)
        order = next(iter(orders(self.t, found.worth, found.row)))
        return calendar, int(insert_all(self.t, calendar, self.g, self.ideal, order))


@pytest.fixture(scope="module")
def priced(crowd: Callable[..., Document]) -> Priced:
    return Priced(problem_from(crowd(11)))


def room(t: Tables, c: Calendar) -> tuple[Ints, ...]:
    """Free room counted anew from the placements."""
    fresh = empty_calendar(t)
    for request in np.flatnonzero(c.row >= 0):
        change(t, fresh, int(request), int(c.row[request]), int(c.start[request]))
    return fresh.free, fresh.room, fresh.spare


def test_every_order_gives_a_valid_plan_worth_its_gains(priced: Priced) -> None:
    found = best_columns(priced.t, priced.g)
    for order in orders(priced.t, found.worth, found.row):
        assert sorted(order) == list(range(len(order)))
        calendar = empty_calendar(priced.t)
        total = insert_all(priced.t, calendar, priced.g, priced.ideal, order)
        assert priced.judged(calendar.row, calendar.start) == total > 0


def test_settling_keeps_a_plan_that_fits(priced: Priced) -> None:
    calendar, total = priced.greedy()
    again, same = settle(priced.t, calendar.row, calendar.start)
    assert same == total
    assert np.array_equal(again.row, calendar.row)


def test_settling_drops_what_does_not_fit(priced: Priced) -> None:
    first = np.where(np.diff(priced.t.first) > 0, priced.t.first[:-1], -1)
    start = np.where(first >= 0, priced.t.low[first], 0)
    calendar, total = settle(priced.t, first, start)
    assert (calendar.row >= 0).sum() < (first >= 0).sum()
    assert priced.judged(calendar.row, calendar.start) == total


def test_improvement_keeps_its_books(priced: Priced) -> None:
    calendar, total = priced.greedy()
    search = new_search(calendar, total, seed=3)
    for heat in (200.0, 20.0, 0.0):
        improve(priced.t, calendar, priced.g, search, priced.ideal, priced.at, heat, 3_000)
        assert priced.judged(calendar.row, calendar.start) == search.tally[1]
        assert priced.judged(search.best_row, search.best_start) == search.tally[2]
        out = np.sort(search.out[: search.out_count[0]])
        assert np.array_equal(out, np.flatnonzero(calendar.row < 0))
    assert search.tally[2] > total
    for kept, counted in zip(calendar[:3], room(priced.t, calendar), strict=True):
        assert np.array_equal(kept, counted)


def test_improvement_never_loses_a_promise(crowd: Callable[..., Document]) -> None:
    document = crowd(5, requests=90)
    for request in document["requests"][::3]:
        if request["options"]:
            request["options"][0]["value"] = 1
            request |= {"current": {"option": 0, "start": request["options"][0]["start"][0]}, "promised": True}
    market = Priced(problem_from(document))
    t, rng = market.t, np.random.default_rng(0)
    calendar, total = settle(t, t.now_row, t.now_start)
    search = new_search(calendar, total, seed=3)
    kept = first = int(t.promised[calendar.row >= 0].sum())
    for heat in (2_000.0, 200.0, 0.0, 0.0):
        improve(t, calendar, market.g, search, market.ideal, market.at, heat, 3_000)
        now, best = (int(t.promised[row >= 0].sum()) for row in (calendar.row, search.best_row))
        assert kept <= now == first + search.tally[4]
        assert now <= best == first + search.tally[5]
        kept = now
        again, _ = settle(t, search.best_row, search.best_start)
        reopen(t, again, market.g, market.ideal, Shape(), rng)
        assert t.promised[again.row >= 0].sum() >= best
    assert kept > first


def test_a_neighbourhood_gains_what_it_says_and_never_loses(priced: Priced) -> None:
    calendar, total = priced.greedy()
    rng = np.random.default_rng(0)
    shape = Shape(pools=2, free=16, rivals=8, columns=6, deterministic_seconds=0.05)
    for _ in range(4):
        gained = reopen(priced.t, calendar, priced.g, priced.ideal, shape, rng)
        assert gained >= 0
        total += gained
        assert priced.judged(calendar.row, calendar.start) == total
