"""Sweeps give prices that prove bounds like any others, only better ones, in a few passes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broker.optimiser import columns
from broker.optimiser.columns import best_columns, guide
from broker.optimiser.files import problem_from
from broker.optimiser.prices import proven
from broker.optimiser.problem import Problem
from broker.optimiser.prune import prune
from broker.optimiser.report import Prices
from broker.optimiser.sweep import Sweep
from broker.optimiser.tables import Tables, tables

Document = dict[str, Any]
SWEEPS = 40


def bound(t: Tables, prices: Prices) -> float:
    return proven(t, prices, best_columns(t, guide(t, prices)).worth)


def swept(t: Tables, start: Prices, sweeps: int = SWEEPS, seed: int = 1) -> Prices:
    """Prices after some sweeps of falling steps; never negative on the way."""
    sweep = Sweep(t, start, seed)
    for n in range(sweeps):
        sweep.run(n / sweeps)
        prices = sweep.prices
        assert min(part.min(initial=0.0) for part in (prices.pools, prices.quotas, prices.reserves)) >= 0
    return sweep.prices


@given(seed=st.integers(0, 10**9))
@settings(deadline=None, max_examples=40)
def test_prices_are_never_negative_and_bound_every_plan(
    seed: int, tiny: Callable[[int], Document], optimum: Callable[[Document], int | None]
) -> None:
    document = tiny(seed)
    problem = problem_from(document)
    t = tables(problem, prune(problem))
    prices, best = swept(t, Prices.zero(problem), sweeps=8, seed=seed), optimum(document)
    assert all(np.isfinite(part).all() for part in (prices.pools, prices.quotas, prices.reserves))
    if best is not None:
        assert bound(t, prices) >= best


@pytest.mark.parametrize("seed", [7, 11])
def test_forty_sweeps_tighten_the_bound_of_a_crowd(seed: int, crowd: Callable[..., Document]) -> None:
    problem = problem_from(crowd(seed))
    t, zero = tables(problem, prune(problem)), Prices.zero(problem)
    assert bound(t, swept(t, zero)) < 0.9 * bound(t, zero)


def market(limit: int, cover: int) -> Problem:
    """Twelve guaranteed requests of one quota, an ample pool, and a second pool that would cover for it."""
    option = {"pool": "a", "devices": 2, "slots": 2, "start": [0, 2]}
    requests = [
        {"id": f"r{n}", "quota": "q", "guaranteed": True, "options": [option | {"value": 100 + n}]} for n in range(12)
    ]
    document: Document = {"format": "capacity-plan-problem/1", "slots": 4, "requests": requests}
    document["pools"] = [{"id": "a", "capacity": [[0, 100]]}, {"id": "b", "capacity": [[0, cover]]}]
    document["quotas"] = [{"id": "q", "limit": [[0, limit]]}]
    document["reserves"] = [{"lost": "a", "covers": ["b"], "slots": [1, 4]}]
    return problem_from(document)


@pytest.mark.parametrize(
    ("limit", "cover", "scarce"), [(100, 100, set()), (6, 100, {"quotas"}), (100, 6, {"reserves"})]
)
def test_what_is_scarce_is_priced_and_nothing_else(limit: int, cover: int, scarce: set[str]) -> None:
    problem = market(limit, cover)
    t, zero = tables(problem, prune(problem)), Prices.zero(problem)
    prices = swept(t, zero)
    assert {name for name in ("pools", "quotas", "reserves") if getattr(prices, name).any()} == scarce
    assert not prices.reserves[:, 0].any()  # the reserve begins later
    assert (bound(t, prices) < 0.8 * bound(t, zero)) == bool(scarce)


def test_the_same_seed_gives_the_same_prices_on_one_thread_and_on_two(
    medium: Problem, monkeypatch: pytest.MonkeyPatch
) -> None:
    t, zero = tables(medium, prune(medium)), Prices.zero(medium)
    one = [swept(t, zero, sweeps=6, seed=seed).pools for seed in (1, 1, 2)]
    monkeypatch.setattr(columns, "COLUMNS_SHARED_MIN", 1)
    two = swept(t, zero, sweeps=6, seed=1).pools
    assert np.array_equal(one[0], one[1])
    assert np.array_equal(one[0], two)
    assert not np.array_equal(one[0], one[2])


def test_prices_handed_out_are_copies_and_the_start_stays(medium: Problem) -> None:
    t, zero = tables(medium, prune(medium)), Prices.zero(medium)
    sweep = Sweep(t, zero, seed=1)
    sweep.run(0.0)
    first = sweep.prices
    kept = first.pools.copy()
    sweep.run(0.0)
    assert np.array_equal(first.pools, kept)
    assert not np.array_equal(sweep.prices.pools, kept)
    assert not zero.pools.any()
