"""Branching lowers the bound and never below a plan."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broker.optimiser.branch import Branching
from broker.optimiser.columns import Interrupted
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


def three_that_fill_a_pool(extra: Document | None = None) -> Document:
    """Gangs of six in a pool of ten: only one at a time, where the relaxation has one and two thirds."""
    request: Document = {"quota": None, "options": [
        {"pool": "p", "devices": 6, "slots": 4, "start": [0, 1], "value": 600}
    ]}  # fmt: skip
    return {
        "format": "capacity-plan-problem/1",
        "slots": 5,
        "pools": [{"id": "p", "capacity": [[0, 10]]}],
        "quotas": [],
        "requests": [{"id": f"r{n}", **request, **(extra or {})} for n in range(3)],
    }


@given(seed=st.integers(0, 10**9), steps=st.integers(1, 60))
@settings(deadline=None, max_examples=60)
def test_no_plan_is_worth_more_than_the_bound(
    seed: int, steps: int, tiny: Callable[[int], Document], optimum: Callable[[Document], int | None]
) -> None:
    document = tiny(seed)
    best = optimum(document)
    t, pricing = rooted(problem_from(document), steps)
    for floor in {0, best or 0}:
        tree, before = Branching(t, pricing.prices, pricing.best), pricing.best
        for _ in range(12):
            if not tree.pays:
                break
            tree.grow(floor, lambda: False)
            assert tree.bound <= before
            before = tree.bound
        if best is not None:
            assert max(tree.bound, floor) >= best


def test_it_proves_what_the_relaxation_cannot() -> None:
    t, pricing = rooted(problem_from(three_that_fill_a_pool()), 200)
    assert pricing.best > 990, "the relaxation spreads the gangs"
    tree = Branching(t, pricing.prices, pricing.best)
    while tree.pays and tree.bound > 601:
        tree.grow(600, lambda: False)
    assert 600 <= tree.bound <= 601


def test_a_present_placement_that_is_given_up_costs_its_move_in_every_part() -> None:
    document = three_that_fill_a_pool({"current": {"option": 0, "start": 0}, "move_cost": 900})
    t, pricing = rooted(problem_from(document), 200)
    tree, best = Branching(t, pricing.prices, pricing.best), 600 - 2 * 900
    while tree.pays and tree.bound > best + 1:
        tree.grow(best, lambda: False)
    assert best <= tree.bound < pricing.best - 100


def test_a_part_cut_short_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    t, pricing = rooted(problem_from(three_that_fill_a_pool()), 20)
    tree = Branching(t, pricing.prices, pricing.best)
    tree.grow(0, lambda: False)
    known, passes = tree.bound, tree.passes

    def interrupted(*_: object) -> None:
        raise Interrupted

    with monkeypatch.context() as patch:
        patch.setattr(Pricing, "step", interrupted)
        with pytest.raises(Interrupted):
            tree.grow(0, lambda: True)
    assert (tree.bound, tree.passes) == (known, passes)
    tree.grow(0, lambda: False)
    assert tree.bound <= known


def test_small_gangs_are_not_branched_on() -> None:
    document = three_that_fill_a_pool()
    document["pools"][0]["capacity"] = [[0, 100]]
    t, pricing = rooted(problem_from(document), 3)
    assert not Branching(t, pricing.prices, pricing.best).pays
