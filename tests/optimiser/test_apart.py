"""Pools taken apart lower the bound, and never below a plan."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from broker.optimiser.apart import Apart
from broker.optimiser.files import problem_from
from broker.optimiser.prices import Pricing
from broker.optimiser.problem import Problem
from broker.optimiser.prune import prune
from broker.optimiser.report import Prices
from broker.optimiser.tables import Tables, tables

Document = dict[str, Any]


def rooted(problem: Problem, steps: int) -> tuple[Tables, Pricing]:
    """The problem's tables, and prices after some steps."""
    t = tables(problem, prune(problem))
    pricing = Pricing(t, Prices.zero(problem))
    for _ in range(steps):
        pricing.step(0)
    return t, pricing


def bound_after(t: Tables, pricing: Pricing, floor: int, steps: int) -> float:
    pools = Apart(t, pricing.prices, pricing.best)
    for _ in range(steps):
        pools.step(floor, lambda: False)
    return pools.bound


def three_that_fill_a_pool(pools: str = "p", **extra: object) -> Document:
    """Gangs of six in pools of ten: only one at a time in each, where the relaxation has one and two thirds."""
    options = [{"pool": p, "devices": 6, "slots": 4, "start": [0, 1], "value": 600} for p in pools]
    return {
        "format": "capacity-plan-problem/1",
        "slots": 5,
        "pools": [{"id": p, "capacity": [[0, 10]]} for p in pools],
        "quotas": [{"id": "q", "limit": [[0, 10]]}],
        "requests": [{"id": f"r{n}", "quota": None, "options": options, **extra} for n in range(3)],
    }


@given(seed=st.integers(0, 10**9), steps=st.integers(1, 60))
@settings(deadline=None, max_examples=100)
def test_no_plan_is_worth_more_than_the_bound(
    seed: int, steps: int, tiny: Callable[[int], Document], optimum: Callable[[Document], int | None]
) -> None:
    document = tiny(seed)
    best = optimum(document)
    t, pricing = rooted(problem_from(document), steps)
    for floor in {0, best or 0}:
        pools, before = Apart(t, pricing.prices, pricing.best), pricing.best
        for _ in range(12):
            pools.step(floor, lambda: False)
            assert pools.bound <= before
            before = pools.bound
        if best is not None:
            assert pools.bound >= best


def test_it_proves_what_the_relaxation_cannot() -> None:
    t, pricing = rooted(problem_from(three_that_fill_a_pool()), 200)
    assert pricing.best > 990, "the relaxation spreads the gangs"
    assert 600 <= bound_after(t, pricing, 600, 120) <= 601


def test_who_could_stand_in_two_pools_stands_in_one() -> None:
    document = three_that_fill_a_pool("ab")
    document["requests"] = document["requests"][:1]
    t, pricing = rooted(problem_from(document), 1)
    pools = Apart(t, pricing.prices, 10_000)
    for _ in range(60):
        pools.step(600, lambda: False)
    assert 600 <= pools.bound <= 601


def test_pools_share_what_a_quota_allows() -> None:
    document = three_that_fill_a_pool("ab", quota="q")
    t, pricing = rooted(problem_from(document), 200)
    assert 600 <= bound_after(t, pricing, 600, 200) < 1050, "apart, the pools would hold 1,200"


def test_a_present_placement_that_is_given_up_costs_its_move() -> None:
    document = three_that_fill_a_pool(current={"option": 0, "start": 0}, move_cost=900)
    t, pricing = rooted(problem_from(document), 200)
    best = 600 - 2 * 900
    assert best <= bound_after(t, pricing, best, 150) <= best + 1


def test_a_step_cut_short_proves_nothing() -> None:
    t, pricing = rooted(problem_from(three_that_fill_a_pool()), 20)
    pools = Apart(t, pricing.prices, pricing.best)
    pools.step(600, lambda: True)
    assert pools.bound == pricing.best


def test_it_pays_only_with_large_gangs_and_while_the_bound_falls() -> None:
    document = three_that_fill_a_pool()
    t, pricing = rooted(problem_from(document), 50)
    pools = Apart(t, pricing.prices, pricing.best)
    paid = []
    for _ in range(200):
        paid.append(pools.pays)
        pools.step(600, lambda: False)
    assert paid[0]
    assert not pools.pays
    document["pools"][0]["capacity"] = [[0, 100]]
    t, pricing = rooted(problem_from(document), 3)
    assert not Apart(t, pricing.prices, pricing.best).pays
