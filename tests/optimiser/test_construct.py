"""Greedy plans are valid, worth their gains, and keep what they were given as far as it fits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from broker.optimiser.columns import best_columns
from broker.optimiser.construct import insert_all, orders, settle
from broker.optimiser.state import empty_calendar
from tests.optimiser.market import Market, assert_exact, market

Document = dict[str, Any]


@pytest.fixture(scope="module")
def priced(crowd: Callable[..., Document]) -> Market:
    return market(crowd(11))


def test_every_order_gives_a_valid_plan_worth_its_gains(priced: Market) -> None:
    found = best_columns(priced.t, priced.g)
    for order in orders(priced.t, found.worth, found.row):
        assert sorted(order) == list(range(len(order)))
        calendar = empty_calendar(priced.t)
        total = insert_all(priced.t, calendar, priced.g, priced.ideal, order)
        assert priced.judged(calendar.row, calendar.start) == total > 0
        assert_exact(priced.problem, priced.t, calendar)


def test_settling_keeps_a_plan_that_fits(priced: Market) -> None:
    calendar, total = priced.greedy()
    again, same = settle(priced.t, calendar.row, calendar.start)
    assert same == total
    assert np.array_equal(again.row, calendar.row)


def test_settling_drops_what_does_not_fit(priced: Market) -> None:
    first = np.where(np.diff(priced.t.first) > 0, priced.t.first[:-1], -1)
    start = np.where(first >= 0, priced.t.low[first], 0)
    calendar, total = settle(priced.t, first, start)
    assert (calendar.row >= 0).sum() < (first >= 0).sum()
    assert priced.judged(calendar.row, calendar.start) == total
    assert_exact(priced.problem, priced.t, calendar)
