"""Any prices prove a bound, and the descent makes them prove better ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broker.optimiser import columns
from broker.optimiser.columns import Interrupted, best_columns, guide
from broker.optimiser.files import problem_from
from broker.optimiser.prices import Pricing, proven
from broker.optimiser.problem import Problem
from broker.optimiser.prune import prune
from broker.optimiser.report import Prices
from broker.optimiser.tables import TooLargeError, tables

Document = dict[str, Any]


@given(seed=st.integers(0, 10**9), scale=st.floats(0, 40))
@settings(deadline=None, max_examples=60)
def test_any_prices_bound_every_plan(
    seed: int, scale: float, tiny: Callable[[int], Document], optimum: Callable[[Document], int | None]
) -> None:
    document = tiny(seed)
    best = optimum(document)
    problem = problem_from(document)
    t = tables(problem, prune(problem))
    rng = np.random.default_rng(seed)
    zero = Prices.zero(problem)
    prices = Prices(*(scale * rng.random(part.shape) for part in (zero.pools, zero.quotas, zero.reserves)))
    bound = proven(t, prices, best_columns(t, guide(t, prices)).worth)
    pricing = Pricing(t, prices)
    for _ in range(20):
        pricing.step(best if best is not None else 0)
    if best is not None:
        assert bound >= best
        assert pricing.best >= best
    assert pricing.best <= bound
    assert min(part.min(initial=0) for part in (pricing.prices.pools, pricing.prices.quotas)) >= 0


def test_the_descent_tightens_the_bound(medium: Problem) -> None:
    pricing = Pricing(tables(medium, prune(medium)), Prices.zero(medium))
    first = pricing.step(0)
    for _ in range(200):
        pricing.step(int(0.8 * pricing.best))
    assert pricing.best < 0.95 * first


def test_the_largest_money_is_counted_in_a_larger_unit(crowd: Callable[..., Document]) -> None:
    document = crowd(1)
    for request in document["requests"]:
        for option in request["options"]:
            option["value"] = option["late_cost"] = 2**53 - 1
            option["due"] = -(2**53) + 1
    problem = problem_from(document)
    t = tables(problem, prune(problem))
    assert t.money > 1
    assert np.all(t.value.astype(object) * t.money >= 2**53 - 1)
    assert np.all(t.late.astype(object) * t.money < 2**53)


def test_devices_beyond_64_bits_are_refused(crowd: Callable[..., Document]) -> None:
    document = crowd(1)
    document["pools"][0]["capacity"] = [[0, 2**53 - 1]]
    for request in document["requests"]:
        for option in request["options"]:
            option["devices"] = 2**53 - 1
    problem = problem_from(document)
    with pytest.raises(TooLargeError):
        prune(problem)


def test_a_step_cut_short_changes_nothing(medium: Problem, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(columns, "COLUMNS_SHARED_MIN", 1)
    monkeypatch.setattr(columns, "COLUMNS_AT_ONCE", 50)
    t = tables(medium, prune(medium))
    cut, whole = Pricing(t, Prices.zero(medium)), Pricing(t, Prices.zero(medium))
    for k in range(6):
        answers = iter([False] * k + [True] * 100)
        with pytest.raises(Interrupted):
            cut.step(0, lambda answers=answers: next(answers))  # type: ignore[misc]
        assert cut.passes == k
        assert cut.step(0, lambda: False) == whole.step(0)
    assert cut.best == whole.best
