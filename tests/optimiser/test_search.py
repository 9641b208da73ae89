"""A search remembers who is out and what was best, draws evenly, and knows who could use room."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from broker.optimiser.search import BUCKETS, Ruin, Tally, below, new_search, random, rivals
from broker.optimiser.state import empty_calendar
from tests.optimiser.market import Market, market

Document = dict[str, Any]


@pytest.fixture(scope="module")
def priced(crowd: Callable[..., Document]) -> Market:
    return market(crowd(11))


def test_it_begins_at_the_plan_it_is_given(priced: Market) -> None:
    calendar, total = priced.greedy()
    search = new_search(calendar, total, seed=1)
    out = search.out[: search.out_count[0]]
    assert np.array_equal(out, np.flatnonzero(calendar.row < 0))
    assert np.array_equal(np.flatnonzero(search.out_at >= 0), out)
    assert np.array_equal(search.best_row, calendar.row)
    assert search.tally[Tally.TOTAL] == search.tally[Tally.BEST] == total
    assert search.in_pools.all()
    assert len(search.mix) == len(Ruin)
    assert search.mix[-1] == pytest.approx(1.0)
    assert np.all(np.diff(search.mix) >= 0)


def test_it_is_told_its_pools_and_its_requests(priced: Market) -> None:
    calendar, total = priced.greedy()
    mine = np.flatnonzero(np.arange(len(calendar.row)) % 2 == 0)
    search = new_search(calendar, total, seed=1, pools=np.array([2]), able=mine)
    assert search.in_pools.tolist() == [0, 0, 1]
    assert set(search.out[: search.out_count[0]]) == {r for r in mine if calendar.row[r] < 0}


def test_draws_are_even_in_range_and_repeatable(priced: Market) -> None:
    calendar = empty_calendar(priced.t)
    first, again, other = (new_search(calendar, 0, seed=seed).seed for seed in (5, 5, 6))
    drawn = [random(first) for _ in range(4_000)]
    assert drawn == [random(again) for _ in range(4_000)]
    assert drawn[:5] != [random(other) for _ in range(5)]
    assert min(drawn) >= 0
    assert max(drawn) < 1
    assert np.allclose(np.histogram(drawn, bins=8, range=(0, 1))[0], 500, atol=100)
    assert {below(first, 3) for _ in range(200)} == {0, 1, 2}


def test_every_row_is_a_rival_once_in_its_pool_and_the_middle_of_its_window(priced: Market) -> None:
    t, near = priced.t, rivals(priced.t)
    slots = t.capacity.shape[1]
    listed = [
        (place, int(request))
        for place in range(len(t.unit) * BUCKETS)
        for request in near.request[near.first[place] : near.first[place + 1]]
    ]
    rows = [
        (int(t.pool[k] * BUCKETS + min(slots - 1, (t.low[k] + t.high[k] + t.length[k]) // 2) * BUCKETS // slots), r)
        for r in range(len(t.quota))
        for k in range(t.first[r], t.first[r + 1])
    ]
    assert sorted(listed) == sorted(rows)


def test_the_best_plan_is_the_present_one_but_for_what_is_stale(priced: Market) -> None:
    calendar, total = priced.greedy()
    search = new_search(calendar, total, seed=3)
    for _ in range(60):
        priced.improve(calendar, search, 400.0, 1)
        stale = search.stale[: search.tally[Tally.STALE]]
        assert set(stale) == set(np.flatnonzero(search.is_stale))
        settled = np.setdiff1d(np.flatnonzero(calendar.row >= 0), stale)
        assert np.array_equal(search.best_row[settled], calendar.row[settled])
        assert np.array_equal(search.best_start[settled], calendar.start[settled])
    assert priced.judged(search.best_row, search.best_start) == search.tally[Tally.BEST] > total
