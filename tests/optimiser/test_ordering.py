"""Blurred orders: every plan is valid, promises go first, and the same seed gives the same plans."""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from typing import Any

import numpy as np
import pytest

from broker.optimiser.ordering import blurred
from broker.optimiser.problem import Ints
from tests.optimiser.market import Market, assert_exact, crowded_with_promises, market

Document = dict[str, Any]


@pytest.fixture(scope="module")
def priced(crowd: Callable[..., Document]) -> Market:
    return market(crowd(11))


def plans(world: Market, count: int, placed: Ints | None = None) -> list[tuple[Ints, int]]:
    size = len(world.t.quota)
    row = np.full(size, -1, np.int64) if placed is None else placed
    found = blurred(
        world.t, world.g, world.wishes, row, np.zeros(size, np.int64), np.random.default_rng(4), lambda: False
    )
    made = []
    for calendar, total in islice(found, count):
        assert_exact(world.problem, world.t, calendar)
        if placed is None:
            assert world.judged(calendar.row, calendar.start) == total
        made.append((calendar.row, total))
    return made


def test_every_plan_is_valid_and_they_differ(priced: Market) -> None:
    made = plans(priced, 8)
    assert len({total for _, total in made}) > 1


def test_the_same_seed_gives_the_same_plans(priced: Market) -> None:
    for (one, _), (other, _) in zip(plans(priced, 6), plans(priced, 6), strict=True):
        assert np.array_equal(one, other)


def test_they_soon_beat_the_order_they_began_with(priced: Market) -> None:
    _, greedy = priced.greedy()
    assert max(total for _, total in plans(priced, 30)) > greedy


def test_promises_come_before_worth(crowd: Callable[..., Document]) -> None:
    world = market(crowded_with_promises(crowd(11)))
    promised = world.t.promised == 1
    placed = np.full(len(promised), -1)
    best = blurred(world.t, world.g, world.wishes, placed, placed, np.random.default_rng(4), lambda: False)
    for calendar, _ in islice(best, 4):
        served = calendar.row >= 0
        assert served[promised].mean() > 0.8  # of requests that are worth next to nothing
