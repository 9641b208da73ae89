"""Room to keep and prices to charge, from who asked before."""

from __future__ import annotations

import numpy as np

from bench.forecast import Arrivals, PriceLimit, RoomLimit, kept, scenario_prices


def hourly(devices: int, slots: int, *, rank: int = 0, seen: int = 48) -> Arrivals:
    """One request in each slot."""
    each = np.ones(seen, np.int64)
    return Arrivals(np.arange(seen), devices * each, slots * each, rank * each, seen)


def test_kept_grows_with_lead_up_to_what_is_usual() -> None:
    assert kept(hourly(2, 3), 1, 6).tolist() == [0, 2, 4, 6, 6, 6]


def test_nothing_is_kept_for_equals() -> None:
    assert not kept(hourly(2, 3), 0, 6).any()


def test_room_for_short_ones_before_long_ones() -> None:
    limit = RoomLimit(kept(hourly(2, 3), 1, 6), now=0, devices=1)(np.full((1, 6), 5, np.int64))
    assert limit.charge[3] - limit.charge[0] <= limit.budget
    assert limit.charge[6] - limit.charge[3] > limit.budget


def test_prices_fall_with_what_is_free_and_rise_with_lead() -> None:
    prices = scenario_prices(hourly(2, 3), np.array([5.0]), 8, 6, seed=1)
    assert (np.diff(prices, axis=1) <= 0).all()
    assert (np.diff(prices, axis=0) >= 0).all()
    assert prices[5, 6] == 5
    assert prices[5, 8] == 0


def test_a_price_is_for_each_device() -> None:
    prices = scenario_prices(hourly(2, 3), np.array([5.0]), 8, 6, seed=1)
    limit = PriceLimit(prices, now=2, devices=2, budget=9.0)(np.full((1, 6), 7, np.int64))
    assert limit.charge[:3].tolist() == [0, 0, 0]
    assert limit.charge[6] - limit.charge[5] == prices[3, 7] + prices[3, 6]
