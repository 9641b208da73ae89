"""Greedy plans are valid, worth their gains, and keep what they were given as far as it fits."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from typing import Any

import numpy as np
import pytest

from broker.optimiser import construct
from broker.optimiser.columns import best_columns
from broker.optimiser.construct import insert_all, insert_until, orders, settle
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


@pytest.mark.parametrize("questions", [1, 3, 10**6])
def test_inserting_can_be_ended_early(questions: int, priced: Market, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(construct, "SLICE", 5)
    order = next(iter(orders(priced.t, priced.wishes.peak, priced.wishes.top)))
    calendar, asked = empty_calendar(priced.t), count(1)
    total = insert_until(priced.t, calendar, priced.g, priced.ideal, order, lambda: next(asked) >= questions)
    assert priced.judged(calendar.row, calendar.start) == total
    whole = empty_calendar(priced.t)
    insert_all(priced.t, whole, priced.g, priced.ideal, order[: 5 * questions])
    assert np.array_equal(calendar.row, whole.row)


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
