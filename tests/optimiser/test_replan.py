"""Planning again keeps what stands and places who is new."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from broker.optimiser.check import check
from broker.optimiser.files import problem_from
from broker.optimiser.problem import Plan, Problem
from broker.optimiser.solve import Earlier, Prices, Solved, solve
from broker.optimiser.stop import WorkLimit

Document = dict[str, Any]


@pytest.fixture(scope="module")
def market(crowd: Callable[..., Document]) -> Problem:
    return problem_from(crowd(21, requests=120))


@pytest.fixture(scope="module")
def first(market: Problem) -> Solved:
    return solve(market, stop=WorkLimit(600), seed=1)


def standing(problem: Problem, plan: Plan, cost: int) -> Problem:
    now = replace(
        problem.requests,
        current_option=plan.option,
        current_start=plan.start,
        move_cost=np.full(len(plan.option), cost),
    )
    return replace(problem, requests=now)


def again(problem: Problem, plan: Plan, prices: Prices, fresh: np.ndarray[Any, Any]) -> Solved:
    solved = solve(standing(problem, plan, 5), stop=WorkLimit(600), seed=2, earlier=Earlier(plan, prices, fresh))
    assert solved.report.refused == 0
    return solved


def test_planning_the_same_again_changes_nothing(market: Problem, first: Solved) -> None:
    nobody = np.zeros(len(market.requests.ids), np.bool_)
    second = again(market, first.plan, first.prices, nobody)
    placed = first.plan.option >= 0
    assert np.array_equal(second.plan.option, first.plan.option)
    assert np.array_equal(second.plan.start[placed], first.plan.start[placed])
    assert second.report.moved == 0
    assert second.bound >= second.objective


def test_new_requests_find_room_and_the_plan_gains(market: Problem, first: Solved) -> None:
    placed = np.flatnonzero(first.plan.option >= 0)
    fresh = np.isin(np.arange(len(market.requests.ids)), placed[::10])
    left = Plan(np.where(fresh, -1, first.plan.option), first.plan.start)
    second = again(market, left, first.prices, fresh)
    problem = standing(market, left, 5)
    assert check(problem, second.plan).ok
    assert second.objective > check(problem, left).objective
    assert (second.plan.option[fresh] >= 0).mean() > 0.5
    untouched = left.option >= 0
    moved = untouched & ((second.plan.option != left.option) | (second.plan.start != left.start))
    assert moved.sum() <= 2 * fresh.sum()


def test_who_loses_his_place_is_placed_again_where_there_is_room(market: Problem, first: Solved) -> None:
    used = np.zeros(len(market.pools.ids))
    o, plan = market.options, first.plan
    for r in np.flatnonzero(plan.option >= 0):
        used[o.pool[o.first[r] + plan.option[r]]] += 1
    capacity = market.pools.capacity.copy()
    capacity[int(np.argmax(used)), :6] = 0
    smaller = replace(market, pools=replace(market.pools, capacity=capacity))
    nobody = np.zeros(len(market.requests.ids), np.bool_)
    second = again(smaller, plan, first.prices, nobody)
    assert check(standing(smaller, plan, 5), second.plan).ok
    assert second.objective > 0


def test_a_promise_that_lost_its_place_moves_nobody_where_there_is_room() -> None:
    """The displaced one fits elsewhere; whoever stands stays, though he would rather stand somewhere else."""
    option = {"devices": 2, "slots": 4, "start": [0, 4], "value": 50}
    document = {
        "format": "capacity-plan-problem/1",
        "slots": 8,
        "pools": [{"id": "lost", "capacity": [[0, 0]]}, {"id": "left", "capacity": [[0, 4]]}],
        "requests": [
            {
                "id": f"r{n}",
                "options": [option | {"pool": "lost", "value": 90}, option | {"pool": "left"}],
                "current": {"option": int(n > 0), "start": 4 if n else 0},
                "promised": True,
            }
            for n in range(2)
        ]
        + [{"id": "spot", "options": [option | {"pool": "left"}], "current": {"option": 0, "start": 4}}],
    }
    problem = problem_from(document)
    plan = Plan(problem.requests.current_option, problem.requests.current_start)
    earlier = Earlier(plan, Prices.zero(problem), np.zeros(3, np.bool_))
    second = solve(problem, stop=WorkLimit(200), seed=1, earlier=earlier)
    assert second.plan.option.tolist() == [1, 1, 0]
    assert second.plan.start.tolist() == [0, 4, 4]


def test_prices_of_another_market_are_refused(market: Problem, first: Solved) -> None:
    nobody = np.zeros(len(market.requests.ids), np.bool_)
    prices = Prices(first.prices.pools[:, 1:], first.prices.quotas, first.prices.reserves)
    with pytest.raises(ValueError, match="prices"):
        solve(market, stop=WorkLimit(10), seed=1, earlier=Earlier(first.plan, prices, nobody))
