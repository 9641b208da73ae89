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


@pytest.mark.parametrize(("taken", "free"), [(2, True), (3, False)])
def test_room_is_asked_of_pools_quotas_and_reserves(taken: int, free: bool) -> None:
    """Two requests of ``taken`` and 2 devices under one limit of 4, whichever limit it is."""
    option = {"slots": 2, "start": [0, 0], "value": 9}
    wide, narrow = [[0, 9]], [[0, 4]]
    pool, quota, reserve = (
        {"pools": [narrow, wide], "ask": {}, "at": "a"},
        {"pools": [wide, wide], "ask": {"quota": "q"}, "at": "b", "quotas": [{"id": "q", "limit": narrow}]},
        {"pools": [wide, narrow], "ask": {"guaranteed": True}, "at": "a", "reserves": [{"lost": "a", "covers": ["b"]}]},
    )
    for case in (pool, quota, reserve):
        places = zip((taken, 2), ("a", case["at"]), strict=True)
        document = {
            "format": "capacity-plan-problem/1",
            "slots": 3,
            "pools": [{"id": name, "capacity": steps} for name, steps in zip("ab", case["pools"], strict=True)],
            "requests": [
                {"id": f"r{n}", "options": [option | {"pool": where, "devices": devices}], **case["ask"]}
                for n, (devices, where) in enumerate(places)
            ],
        }
        problem = problem_from(document | {k: case[k] for k in ("quotas", "reserves") if k in case})
        t = tables(problem, prune(problem))
        c = empty_calendar(t)
        place(t, c, 0, 0, 0)
        assert fits(t, c, 1, 1, 0) is free
        lift(t, c, 0)
        assert fits(t, c, 1, 1, 0)
