"""The books of the calendar are exact after any change, and so is the worth of each."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broker.optimiser.check import check
from broker.optimiser.columns import guide
from broker.optimiser.files import problem_from
from broker.optimiser.problem import Problem
from broker.optimiser.prune import prune
from broker.optimiser.report import Prices
from broker.optimiser.state import Calendar, change, empty_calendar, fits, gain, lift, place, score
from broker.optimiser.tables import Tables, plan_of, tables
from tests.optimiser.market import assert_exact

Document = dict[str, Any]


def column(t: Tables, draw: random.Random, request: int) -> tuple[int, int] | None:
    """A random column of a request."""
    first, end = int(t.first[request]), int(t.first[request + 1])
    if first == end:
        return None
    row = draw.randrange(first, end)
    return row, draw.randint(int(t.low[row]), int(t.high[row]))


def wander(t: Tables, c: Calendar, draw: random.Random, steps: int) -> int:
    """Random moves that have room; what they gain together."""
    total = 0
    for _ in range(steps):
        request = draw.randrange(len(t.quota))
        wish, old, old_start = column(t, draw, request), int(c.row[request]), int(c.start[request])
        if old >= 0 and draw.random() < 0.2:
            total += change(t, c, request, -1, 0)
        elif wish is not None:
            if old >= 0:
                lift(t, c, request)
            roomy = fits(t, c, request, *wish)
            if old >= 0:
                place(t, c, request, old, old_start)
            total += change(t, c, request, *wish) if roomy else 0
    return total


@given(seed=st.integers(0, 10**9))
@settings(deadline=None, max_examples=60)
def test_any_walk_keeps_the_books_and_the_worth_of_small_markets(seed: int, tiny: Callable[[int], Document]) -> None:
    problem = problem_from(tiny(seed))
    pruned = prune(problem)
    t = tables(problem, pruned)
    c = empty_calendar(t)
    total = wander(t, c, random.Random(seed), 12)
    assert_exact(problem, t, c)
    lenient = check(problem, plan_of(problem, pruned, c.row, c.start))
    assert all("promised" in line for line in lenient.violations)
    assert lenient.objective == total - t.move.sum()


@pytest.mark.parametrize("seed", range(3))
def test_any_walk_keeps_the_books_of_a_crowd(seed: int, medium: Problem) -> None:
    t = tables(medium, prune(medium))
    c, draw = empty_calendar(t), random.Random(seed)
    for _ in range(6):
        wander(t, c, draw, 60)
        assert_exact(medium, t, c)
    for request in np.flatnonzero(c.row >= 0):
        lift(t, c, int(request))
    assert_exact(medium, t, c)
    assert not c.taken.any()
    assert np.array_equal(c.free, t.capacity)


def test_a_gain_is_what_the_change_then_brings(medium: Problem) -> None:
    t = tables(medium, prune(medium))
    c, draw = empty_calendar(t), random.Random(4)
    wander(t, c, draw, 100)
    for request in np.flatnonzero(c.row < 0).tolist():
        wish = column(t, draw, request)
        if wish is not None and fits(t, c, request, *wish):
            told = gain(t, c, request, *wish)
            assert change(t, c, request, *wish) == told
            assert change(t, c, request, -1, 0) == -told


def test_at_zero_prices_a_score_is_the_gain_without_overage(crowd: Callable[..., Document]) -> None:
    document = crowd(2)
    del document["pools"][0]["overage_cost"]
    document["pools"][1]["unit_cost"] = 7
    problem = problem_from(document)
    t = tables(problem, prune(problem))
    c, g, draw = empty_calendar(t), guide(t, Prices.zero(problem)), random.Random(1)
    for request in range(len(t.quota)):
        wish = column(t, draw, request)
        if wish is not None:
            assert score(t, g, request, *wish) == gain(t, c, request, *wish)


WIDE, NARROW = [[0, 9]], [[0, 4]]
LIMITED_BY: dict[str, tuple[Document, Document, str]] = {
    "pool": ({"pools": [NARROW, WIDE]}, {}, "a"),
    "quota": ({"pools": [WIDE, WIDE], "quotas": [{"id": "q", "limit": NARROW}]}, {"quota": "q"}, "b"),
    "reserve": (
        {"pools": [WIDE, NARROW], "reserves": [{"lost": "a", "covers": ["b"]}]},
        {"guaranteed": True},
        "a",
    ),
}


@pytest.mark.parametrize("limit", LIMITED_BY)
@pytest.mark.parametrize(("devices", "free"), [(2, True), (3, False)])
def test_room_is_asked_of_pools_quotas_and_reserves(limit: str, devices: int, free: bool) -> None:
    """One stands in pool a with some devices; another with 2 comes, and 4 is the limit for both."""
    world, fields, where = LIMITED_BY[limit]
    option = {"slots": 2, "start": [0, 0], "value": 9}
    options = (option | {"pool": "a", "devices": devices}, option | {"pool": where, "devices": 2})
    document = {"format": "capacity-plan-problem/1", "slots": 3} | world
    document["pools"] = [{"id": name, "capacity": steps} for name, steps in zip("ab", world["pools"], strict=True)]
    document["requests"] = [{"id": f"r{n}", "options": [one]} | fields for n, one in enumerate(options)]
    problem = problem_from(document)
    t = tables(problem, prune(problem))
    c = empty_calendar(t)
    place(t, c, 0, 0, 0)
    assert fits(t, c, 1, 1, 0) is free
    lift(t, c, 0)
    assert fits(t, c, 1, 1, 0)
