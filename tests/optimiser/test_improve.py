"""Improvement ends better than it began, never loses a promise, and stays in its own pools."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broker.optimiser.check import check
from broker.optimiser.construct import settle
from broker.optimiser.problem import Ints
from broker.optimiser.search import Tally, new_search
from broker.optimiser.tables import plan_of
from tests.optimiser.market import Market, assert_exact, crowded_with_promises, market

Document = dict[str, Any]


@pytest.fixture(scope="module")
def priced(crowd: Callable[..., Document]) -> Market:
    return market(crowd(11))


def test_it_keeps_its_books_and_finds_better_plans(priced: Market) -> None:
    calendar, total = priced.greedy()
    search = new_search(calendar, total, seed=3)
    for heat in (200.0, 20.0, 0.0):
        assert priced.improve(calendar, search, heat, 3_000) >= 3_000
        assert priced.judged(calendar.row, calendar.start) == search.tally[Tally.TOTAL]
        assert priced.judged(search.best_row, search.best_start) == search.tally[Tally.BEST]
        assert_exact(priced.problem, priced.t, calendar)
    assert search.tally[Tally.BEST] > total
    assert search.tried.sum() == search.tally[Tally.ROUND]
    assert search.tried.all()
    assert np.all(search.won <= search.tried)


def test_it_never_loses_a_promise(crowd: Callable[..., Document]) -> None:
    priced = market(crowded_with_promises(crowd(5, requests=90)))
    t = priced.t
    calendar, total = settle(t, t.now_row, t.now_start)
    search = new_search(calendar, total, seed=3)
    kept = first = int(t.promised[calendar.row >= 0].sum())
    for heat in (2_000.0, 200.0, 0.0, 0.0):
        priced.improve(calendar, search, heat, 3_000)
        now, best = (int(t.promised[row >= 0].sum()) for row in (calendar.row, search.best_row))
        assert kept <= now == first + search.tally[Tally.KEPT]
        assert now <= best == first + search.tally[Tally.BEST_KEPT]
        kept = now
    assert kept > first


@given(seed=st.integers(0, 10**9), heat=st.sampled_from([0.0, 5.0, 100.0]))
@settings(deadline=None, max_examples=50)
def test_small_markets_of_every_kind(seed: int, heat: float, tiny: Callable[[int], Document]) -> None:
    world = market(tiny(seed), steps=2)
    t = world.t
    calendar, total = settle(t, t.now_row, t.now_start)
    search = new_search(calendar, total, seed)
    for _ in range(8):
        world.improve(calendar, search, heat, 10)
        assert_exact(world.problem, t, calendar)
    ends = ((calendar.row, calendar.start, Tally.TOTAL), (search.best_row, search.best_start, Tally.BEST))
    for row, start, place in ends:
        verdict = check(world.problem, plan_of(world.problem, world.pruned, row, start))
        assert all("promised" in line for line in verdict.violations)
        assert verdict.objective == search.tally[place] - t.move.sum()


def test_without_heat_no_round_makes_the_plan_poorer(priced: Market) -> None:
    calendar, total = priced.greedy()
    search = new_search(calendar, total, seed=8)
    for _ in range(200):
        priced.improve(calendar, search, 0.0, 1)
        assert search.tally[Tally.TOTAL] >= total
        total = int(search.tally[Tally.TOTAL])
        assert search.tally[Tally.BEST] == total


def test_the_same_seed_takes_the_same_way(priced: Market) -> None:
    def run(seed: int) -> Ints:
        calendar, total = priced.greedy()
        priced.improve(calendar, new_search(calendar, total, seed), 100.0, 2_000)
        return np.concatenate((calendar.row, calendar.start[calendar.row >= 0]))

    assert np.array_equal(run(1), run(1))
    assert not np.array_equal(run(1), run(2))


@pytest.mark.parametrize("pools", [[0], [2], [0, 1]])
def test_a_search_stays_in_its_pools_and_with_its_requests(pools: list[int], priced: Market) -> None:
    t = priced.t
    calendar, total = priced.greedy()
    placed = calendar.row >= 0
    mine = np.where(placed, np.isin(t.pool[calendar.row], pools), np.arange(len(placed)) % 2 == 0)
    before, free = (calendar.row.copy(), calendar.start.copy()), calendar.free.copy()
    search = new_search(calendar, total, 4, np.array(pools), np.flatnonzero(mine))
    priced.improve(calendar, search, 300.0, 3_000)
    assert search.tally[Tally.BEST] >= total
    assert not np.array_equal(before[0], calendar.row)
    assert np.array_equal(before[0][~mine], calendar.row[~mine])
    assert np.array_equal(before[1][placed & ~mine], calendar.start[placed & ~mine])
    moved = mine & (calendar.row >= 0)
    assert np.isin(t.pool[calendar.row[moved]], pools).all()
    others = np.setdiff1d(np.arange(len(t.unit)), pools)
    assert np.array_equal(calendar.free[others], free[others])
    assert_exact(priced.problem, t, calendar)
    assert priced.judged(calendar.row, calendar.start) == search.tally[Tally.TOTAL]
