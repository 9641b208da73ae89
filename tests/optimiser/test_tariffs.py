"""A gang that is larger than what is paid for pays its own overage, in the relaxation as in a plan."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.optimiser.apart import Apart
from broker.optimiser.files import problem_from
from broker.optimiser.prices import Pricing
from broker.optimiser.prune import prune
from broker.optimiser.report import Prices
from broker.optimiser.sweep import Sweep
from broker.optimiser.tables import Tables, tables
from broker.optimiser.tariffs import in_pools, new_tariffs, surcharge, surcharges, tariff

Document = dict[str, Any]
OVERAGE = 50


def market(*requests: tuple[int, int], paid: int = 5) -> Document:
    """Requests of some devices and value, for a slot in a pool of ten of which five are paid for."""
    return {
        "format": "capacity-plan-problem/1",
        "slots": 1,
        "pools": [{"id": "p", "capacity": [[0, 10]], "committed": [[0, paid]], "overage_cost": OVERAGE}],
        "quotas": [],
        "requests": [
            {
                "id": f"r{n}",
                "quota": None,
                "options": [{"pool": "p", "devices": devices, "slots": 1, "start": [0, 0], "value": value}],
            }
            for n, (devices, value) in enumerate(requests)
        ],
    }


def settled(document: Document) -> tuple[Tables, Pricing]:
    problem = problem_from(document)
    t = tables(problem, prune(problem))
    pricing = Pricing(t, Prices.zero(problem))
    for _ in range(300):
        pricing.step(0)
    return t, pricing


@given(
    gangs=st.lists(st.integers(1, 30), max_size=6),
    paid=st.integers(0, 30),
    spare=st.integers(0, 30),
    price=st.floats(0, 2 * OVERAGE),
)
def test_together_gangs_pay_no_more_than_what_is_paid_for_is_worth_and_their_overage(
    gangs: list[int], paid: int, spare: int, price: float
) -> None:
    """The inequality that keeps the bound valid, whatever the price."""
    room = max(paid, sum(gangs)) + spare
    pay = sum(devices * (price + surcharge(price, float(OVERAGE), paid, devices)) for devices in gangs)
    worth = paid * price + (room - paid) * max(0.0, price - OVERAGE)
    assert pay <= worth + OVERAGE * max(0, sum(gangs) - paid) + 1e-6


def test_half_a_gang_does_not_fit_into_what_is_paid_for() -> None:
    """Eight devices where five are paid for cost 150 of the 200 that they are worth; in halves they would cost less."""
    t, pricing = settled(market((8, 200)))
    assert pricing.best == pytest.approx(50, abs=1)
    pools = Apart(t, pricing.prices, pricing.best)
    pools.step(50, lambda: False)
    assert 50 <= pools.bound <= 51


def test_whom_the_overage_costs_more_than_he_is_worth_stays_out_of_the_bound() -> None:
    _, pricing = settled(market((8, 140), (4, 90)))
    assert pricing.best == pytest.approx(90, abs=1)


def test_beside_a_gang_that_exceeds_what_is_paid_for_others_pay_overage_too() -> None:
    _, pricing = settled(market((8, 2000), (1, 60), (1, 40)))
    assert pricing.best == pytest.approx(2000 - 3 * OVERAGE + 60 - OVERAGE, abs=2)


def test_sweeps_find_such_prices_too() -> None:
    problem = problem_from(market((8, 200), (8, 190), (5, 100)))
    t = tables(problem, prune(problem))
    sweep = Sweep(t, Prices.zero(problem), seed=1)
    for n in range(100):
        sweep.run(n / 100)
    pricing = Pricing(t, sweep.prices)
    pricing.step(100)
    assert 100 <= pricing.best < 110


def test_only_sizes_that_exceed_what_is_paid_for_have_a_tariff() -> None:
    """In pool 0 everything is paid for, in pool 1 eight and later four devices of ten; no plan holds twelve."""
    capacity, committed = np.array([[10, 10], [10, 10]]), np.array([[10, 10], [8, 4]])
    pool, devices = np.array([0, 1, 1, 1, 1, 1]), np.array([9, 9, 4, 5, 9, 12])
    w = new_tariffs(pool, devices, capacity, committed, np.array([3, 3]))
    assert w.pool.tolist() == [0, 1, 1, 1]
    assert w.devices.tolist() == [0, 0, 5, 9]
    assert [tariff(w, int(p), int(d)) for p, d in zip(pool, devices, strict=True)][:5] == [0, 3, 1, 2, 3]
    assert surcharges(w, np.ones((2, 2)), np.array([3, 3]), committed)[2:] == pytest.approx(
        np.array([[0, 2 * 1 / 5], [2 * 1 / 9, 2 * 5 / 9]])
    )


def test_without_overage_or_with_all_paid_for_there_are_plain_tariffs_alone() -> None:
    capacity = np.full((2, 3), 10)
    w = new_tariffs(np.array([0, 1]), np.array([9, 9]), capacity, np.array([[5] * 3, [10] * 3]), np.array([0, 7]))
    assert w.pool.tolist() == [0, 1]


def test_gangs_take_what_is_paid_for_and_no_more_of_it() -> None:
    w = new_tariffs(np.array([0]), np.array([8]), np.array([[10, 10]]), np.array([[5, 5]]), np.array([3]))
    used = np.array([[1, 2], [8, 16]])
    assert in_pools(w, used, np.array([[5, 5]]), np.array([[True, False]])).tolist() == [[1 + 5, 2 + 16]]
