"""The search for problems of one slot: never infeasible, never worse than its start, exact books, repeatable."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

from broker.optimiser.assignment import Assignment, Tally, best_rows, new_assignment, suits
from broker.optimiser.cells import exchange
from broker.optimiser.check import check
from broker.optimiser.columns import guide
from broker.optimiser.files import problem_from
from broker.optimiser.problem import Ints, Problem
from broker.optimiser.prune import prune
from broker.optimiser.report import Prices
from broker.optimiser.solve import solve
from broker.optimiser.stop import WorkLimit
from broker.optimiser.tables import Pruned, Tables, plan_of, tables

PLAIN: dict[str, Any] = {"format": "capacity-plan-problem/1", "slots": 1}


def random_problem(seed: int, requests: int, pools: int, tight: float) -> Problem:
    rng = np.random.default_rng(seed)
    asks = []
    for r in range(requests):
        options = [
            {
                "pool": str(p),
                "devices": int(rng.integers(1, 9)),
                "slots": 1,
                "start": [0, 0],
                "value": int(rng.integers(-3, 60)),
            }
            for p in rng.integers(0, pools, int(rng.integers(0, pools + 3)))
        ]
        asks.append({"id": str(r), "options": options})
    room = max(1, int(tight * 4.5 * requests / pools))
    market = [{"id": str(p), "capacity": [[0, room]], "unit_cost": int(rng.integers(0, 3))} for p in range(pools)]
    return problem_from({**PLAIN, "pools": market, "requests": asks})


def begun(problem: Problem, seed: int, price: float = 3.0) -> tuple[Tables, Pruned, Assignment]:
    pruned = prune(problem)
    t = tables(problem, pruned)
    zero = Prices.zero(problem)
    g = guide(t, Prices(zero.pools + price, zero.quotas, zero.reserves))
    return t, pruned, new_assignment(t, g, np.full(len(t.quota), -1, np.int64), seed)


def judged(problem: Problem, pruned: Pruned, rows: Ints) -> int:
    verdict = check(problem, plan_of(problem, pruned, rows, np.zeros(len(rows), np.int64)))
    assert verdict.ok, verdict
    return verdict.objective


def best_by_force(t: Tables) -> int:
    """The best total gain over all choices of rows."""
    best = 0
    ways = [[-1, *range(t.first[r], t.first[r + 1])] for r in range(len(t.quota))]
    for choice in itertools.product(*ways):
        rows = np.array([row for row in choice if row >= 0], np.int64)
        used = np.bincount(t.pool[rows], t.devices[rows], len(t.unit))
        if (used <= t.capacity[:, 0]).all():
            best = max(best, int((t.value[rows] - t.unit[t.pool[rows]] * t.devices[rows]).sum()))
    return best


@pytest.mark.parametrize("seed", range(12))
def test_every_plan_on_the_way_fits_and_is_priced_exactly(seed: int) -> None:
    problem = random_problem(seed, requests=30, pools=1 + seed % 6, tight=0.3 + 0.1 * (seed % 7))
    t, pruned, a = begun(problem, seed)
    for gone in (0.0, 0.3, 0.9, 1.0):
        exchange(a, 3_000, gone)
        assert judged(problem, pruned, a.row[a.at]) == a.tally[Tally.TOTAL]
        assert judged(problem, pruned, best_rows(a)) == a.tally[Tally.BEST]
        assert (a.free[:-1] >= 0).all()
        used = np.bincount(a.pool[a.at], a.devices[a.at], len(a.free))[:-1]
        assert (a.free[:-1] == t.capacity[:, 0] - used).all()
        assert (a.who[a.seat] == np.arange(len(a.at))).all()


@pytest.mark.parametrize("seed", range(8))
def test_it_is_never_worse_than_its_start(seed: int) -> None:
    problem = random_problem(seed, requests=25, pools=3, tight=0.5)
    t, _, first = begun(problem, seed)
    exchange(first, 5_000, 0.5)
    g = guide(t, Prices.zero(problem))
    second = new_assignment(t, g, best_rows(first), seed)
    assert second.tally[Tally.TOTAL] == first.tally[Tally.BEST]
    exchange(second, 2_000, 0.0)
    assert second.tally[Tally.BEST] >= first.tally[Tally.BEST]


@pytest.mark.parametrize("price", [0.0, 3.0, 50.0])
@pytest.mark.parametrize("seed", range(8))
def test_tiny_problems_are_solved_whatever_the_prices(seed: int, price: float) -> None:
    problem = random_problem(seed, requests=5, pools=2, tight=0.6)
    t, _, a = begun(problem, seed, price)
    exchange(a, 200_000, 0.0)
    assert a.tally[Tally.BEST] == best_by_force(t)


def test_the_same_seed_gives_the_same_plan() -> None:
    problem = random_problem(7, requests=40, pools=5, tight=0.6)
    plans = []
    for _ in range(2):
        _, _, a = begun(problem, seed=3)
        for k in range(5):
            exchange(a, 2_000, k / 5)
        plans.append((best_rows(a).tolist(), a.tally.tolist()))
    assert plans[0] == plans[1]


def ask(slots: int = 1, last: int = 0) -> dict[str, Any]:
    option = {"pool": "p", "devices": 1, "slots": slots, "start": [0, last], "value": 5}
    return {"id": "r", "options": [option]}


@pytest.mark.parametrize(
    "change",
    [
        {"slots": 2, "requests": [ask(slots=2)]},
        {"slots": 2, "requests": [ask(last=1)]},
        {"quotas": [{"id": "q", "limit": [[0, 1]]}], "requests": [{**ask(), "quota": "q"}]},
        {"pools": [{"id": "p", "capacity": [[0, 3]], "committed": [[0, 1]], "overage_cost": 2}]},
        {"requests": [{**ask(), "current": {"option": 0, "start": 0}, "move_cost": 1}]},
        {"requests": []},
    ],
)
def test_other_rules_do_not_suit(change: dict[str, Any]) -> None:
    plain = {**PLAIN, "pools": [{"id": "p", "capacity": [[0, 3]]}], "requests": [ask()]}
    for fields, expected in ((plain, True), ({**plain, **change}, False)):
        problem = problem_from(fields)
        assert suits(tables(problem, prune(problem))) is expected


def test_a_solve_deals_cells_and_does_so_the_same_way_twice() -> None:
    problem = random_problem(7, 90, 9, 0.75)
    first, second = (solve(problem, stop=WorkLimit(3_000), seed=3) for _ in range(2))
    assert first.report.rounds > 0
    assert first.report.refused == 0
    assert np.array_equal(first.plan.option, second.plan.option)
    assert (first.objective, first.bound) == (second.objective, second.bound)


def test_overage_in_slots_that_nobody_uses_changes_nothing() -> None:
    """There a gang would exceed what is paid for, and have a tariff of its own."""
    pools = [{"id": p, "capacity": [[0, 3]], "committed": [[0, 3], [1, 1]], "overage_cost": 2} for p in "pq"]
    options = [{"pool": p, "devices": 2, "slots": 1, "start": [0, 0], "value": 5 + n} for n, p in enumerate("pq")]
    requests = [{"id": f"r{n}", "options": options} for n in range(3)]
    problem = problem_from({**PLAIN, "slots": 2, "pools": pools, "requests": requests})
    t = tables(problem, prune(problem))
    assert suits(t)
    assert len(t.tariffs.pool) > len(t.unit)
    a = new_assignment(t, guide(t, Prices.zero(problem)), np.full(3, -1), 1)
    exchange(a, 10_000, 0.0)
    assert a.tally[Tally.BEST] == 11
