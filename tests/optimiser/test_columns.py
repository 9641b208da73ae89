"""The best column of a request is the best of all its columns, found one by one from the prices themselves."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broker.optimiser import columns
from broker.optimiser.columns import Interrupted, best_columns, guide, ideals, ranked, second_thread, shared
from broker.optimiser.files import problem_from
from broker.optimiser.problem import Problem
from broker.optimiser.prune import prune
from broker.optimiser.report import Prices
from broker.optimiser.tables import Tables, tables

Document = dict[str, Any]


def some_prices(problem: Problem, seed: int, scale: float) -> Prices:
    """Random prices, a third of them zero."""
    rng, zero = np.random.default_rng(seed), Prices.zero(problem)
    shapes = [part.shape for part in (zero.pools, zero.quotas, zero.reserves)]
    return Prices(*(scale * np.maximum(0.0, rng.random(shape) - 0.33) for shape in shapes))


def worth(problem: Problem, t: Tables, prices: Prices, request: int, row: int, start: int) -> float:
    """What a column is worth at these prices, slot by slot."""
    p, q = int(t.pool[row]), int(problem.requests.quota[request])
    total = float(t.value[row] - t.late[row] * max(0, start - t.due[row]))
    for slot in range(start, start + int(t.length[row])):
        price = float(problem.pools.unit_cost[p] + prices.pools[p, slot])
        price += float(prices.quotas[q, slot]) if q >= 0 else 0.0
        for n, reserve in enumerate(problem.reserves):
            if problem.requests.guaranteed[request]:
                price += float(prices.reserves[n, slot]) * ((reserve.lost == p) + reserve.covers.count(p))
        total -= int(t.devices[row]) * price
        beyond = int(t.devices[row]) - min(problem.pools.committed[p, slot], problem.pools.capacity[p, slot])
        total -= max(0, beyond) * max(0.0, float(problem.pools.overage_cost[p] - prices.pools[p, slot]))
    stays = bool(row == t.now_row[request] and start == t.now_start[request])
    return total + (float(t.move[request]) if stays else 0.0)


def all_worths(problem: Problem, t: Tables, prices: Prices) -> list[dict[tuple[int, int], float]]:
    """Every column of every request with its worth."""
    return [
        {
            (row, start): worth(problem, t, prices, request, row, start)
            for row in range(t.first[request], t.first[request + 1])
            for start in range(t.low[row], t.high[row] + 1)
        }
        for request in range(len(t.quota))
    ]


def compare(problem: Problem, t: Tables, prices: Prices) -> None:
    """Best columns, ideals and ranks against all columns."""
    g = guide(t, prices)
    found, ideal = best_columns(t, g), ideals(t, g)
    rows = ranked(t, ideal)
    for request, every in enumerate(all_worths(problem, t, prices)):
        best = max(every.values(), default=-np.inf)
        assert found.worth[request] == pytest.approx(best)
        if every:
            chosen = (int(found.row[request]), int(found.start[request]))
            assert every[chosen] == pytest.approx(best)
        else:
            assert found.row[request] == -1
        mine = range(int(t.first[request]), int(t.first[request + 1]))
        for row in mine:
            assert ideal[row] == pytest.approx(max(w for (k, _), w in every.items() if k == row))
        order = rows[mine.start : mine.stop]
        assert sorted(order) == list(mine)
        assert np.all(np.diff(ideal[order]) <= 0)


@given(seed=st.integers(0, 10**9), scale=st.floats(0, 60))
@settings(deadline=None, max_examples=60)
def test_best_columns_of_small_markets(seed: int, scale: float, tiny: Callable[[int], Document]) -> None:
    problem = problem_from(tiny(seed))
    compare(problem, tables(problem, prune(problem)), some_prices(problem, seed, scale))


@pytest.mark.parametrize("scale", [0.0, 130.0])
def test_best_columns_of_a_crowd(scale: float, medium: Problem) -> None:
    compare(medium, tables(medium, prune(medium)), some_prices(medium, 5, scale))


def test_a_present_placement_is_worth_its_move_cost_more() -> None:
    """The better start is beaten by what a move would cost, and not by less."""
    pools = [{"id": "a", "capacity": [[0, 4]]}]
    option = {"pool": "a", "devices": 1, "slots": 1, "start": [0, 3], "value": 10, "due": 0, "late_cost": 2}
    for move, start in ((5, 0), (7, 3)):
        request = {"id": "r", "options": [option], "current": {"option": 0, "start": 3}, "move_cost": move}
        problem = problem_from({"format": "capacity-plan-problem/1", "slots": 4, "pools": pools, "requests": [request]})
        t = tables(problem, prune(problem))
        found = best_columns(t, guide(t, Prices.zero(problem)))
        assert (found.start[0], found.worth[0]) == (start, max(10, 4 + move))


@pytest.mark.parametrize("price", [best_columns, ideals])
def test_pricing_in_parts_can_be_ended(
    price: Callable[..., object], medium: Problem, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(columns, "COLUMNS_SHARED_MIN", 1)
    monkeypatch.setattr(columns, "COLUMNS_AT_ONCE", 200)
    t, asked = tables(medium, prune(medium)), count(1)
    with pytest.raises(Interrupted):
        price(t, guide(t, Prices.zero(medium)), lambda: next(asked) >= 3)
    assert next(asked) <= 5, "each thread asks before each part"


def test_two_threads_find_what_one_finds(medium: Problem, monkeypatch: pytest.MonkeyPatch) -> None:
    t = tables(medium, prune(medium))
    g = guide(t, some_prices(medium, 9, 80.0))
    alone = (*best_columns(t, g), ideals(t, g))
    assert not shared(t)
    monkeypatch.setattr(columns, "COLUMNS_SHARED_MIN", 1)
    assert shared(t)
    assert isinstance(second_thread(), ThreadPoolExecutor)
    for one, two in zip(alone, (*best_columns(t, g), ideals(t, g)), strict=True):
        assert np.array_equal(one, two)
