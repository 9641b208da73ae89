from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest

from bench.answer import Answer, Journal, Point
from bench.baselines import ORDERS, greedy
from bench.generator import Synthetic, synthetic
from bench.solvers import SOLVERS
from broker.optimiser.check import check
from broker.optimiser.files import problem_from
from broker.optimiser.problem import Plan, Problem

EXACT = ("cp-sat", "highs", "scip")
QUEUES = tuple(name.replace(" ", "-") for name in ORDERS)
WORLDS = range(6)


def world(seed: int) -> Problem:
    """A tiny market with everything in it: lateness, overage, quotas, moves, promises and a reserve."""
    rng = random.Random(seed)
    slots = 12
    pools = [
        {
            "id": f"p{p}",
            "capacity": [[0, rng.randint(3, 8)], [rng.randint(1, 6), rng.randint(2, 8)]],
            "committed": [[0, rng.randint(0, 4)]],
            "unit_cost": rng.randint(0, 3),
            "overage_cost": rng.choice([0, 4]),
        }
        for p in range(3)
    ]
    requests = [request(rng, r, slots) for r in range(9)]
    return problem_from({
        "format": "capacity-plan-problem/1",
        "slots": slots,
        "pools": pools,
        "quotas": [{"id": "q", "limit": [[0, rng.randint(4, 9)], [6, rng.randint(2, 9)]]}],
        "requests": requests,
        "reserves": [{"lost": "p0", "covers": ["p1", "p0"], "slots": [2, 9]}, {"lost": "p1", "covers": ["p2"]}],
    })  # fmt: skip


def request(rng: random.Random, r: int, slots: int) -> dict[str, Any]:
    """One request; the first one holds a small placement that it was promised."""
    options: list[dict[str, Any]] = []
    for pool in rng.sample(range(3), rng.randint(1, 3)):
        low = rng.randint(0, 5)
        high = low + rng.randint(0, 4)
        option = {"pool": f"p{pool}", "devices": rng.randint(1, 4), "slots": rng.randint(1, slots - high)}
        cost = {"value": rng.randint(5, 200), "due": rng.randint(low, high), "late_cost": rng.randint(0, 9)}
        options.append(option | {"start": [low, high]} | cost)
    made: dict[str, Any] = {
        "id": f"r{r}",
        "quota": rng.choice(["q", None]),
        "guaranteed": rng.random() < 0.4,
        "options": options,
    }
    if r == 0:
        options[0] |= {"devices": 1, "slots": 1}
        made |= {"guaranteed": False}
    if r < 3:
        made |= {"current": {"option": 0, "start": options[0]["start"][0]}, "move_cost": rng.randint(0, 30)}
        made |= {"promised": r == 0}
    return made


def answer(solver: str, problem: Problem, seconds: float = 20.0) -> Answer:
    return SOLVERS[solver](problem, seconds, 1, Journal(problem))


@pytest.mark.parametrize("seed", WORLDS)
def test_three_models_on_three_solvers_agree_on_the_optimum(seed: int) -> None:
    problem = world(seed)
    answers = {solver: answer(solver, problem) for solver in EXACT}
    assert {found.note for found in answers.values()} == {""}
    assert len({found.objective for found in answers.values()}) == 1, answers
    for found in answers.values():
        assert found.objective is not None
        assert found.plan is not None
        assert check(problem, found.plan).ok
        assert found.bound == pytest.approx(found.objective, abs=0.01)


@pytest.mark.parametrize("seed", WORLDS)
@pytest.mark.parametrize("solver", QUEUES)
def test_a_queue_keeps_every_rule_and_proves_nothing(seed: int, solver: str) -> None:
    problem = world(seed)
    found, best = answer(solver, problem), answer("scip", problem)
    assert found.bound is None
    assert (found.plan is None) == bool(found.note)
    if found.objective is not None and best.objective is not None:
        assert found.objective <= best.objective


def test_ours_is_behind_the_same_interface() -> None:
    problem = world(1)
    ours, best = answer("ours", problem, 2.0), answer("scip", problem)
    assert ours.objective is not None
    assert ours.bound is not None
    assert best.objective is not None
    assert ours.objective <= best.objective <= ours.bound
    assert ours.trajectory[-1].objective == ours.objective


def test_queues_differ_in_order_alone() -> None:
    problem = synthetic(Synthetic("S", 1.1, 1))
    worth = {name: check(problem, greedy(problem, order(problem))) for name, order in ORDERS.items()}
    assert all(verdict.ok for verdict in worth.values())
    assert worth["first come"].objective < min(worth[name].objective for name in ORDERS if name != "first come")
    for order in ORDERS.values():
        assert sorted(order(problem).tolist()) == list(range(500))


@pytest.mark.parametrize("solver", ["highs", "scip"])
def test_what_is_too_large_is_said_before_it_is_built(solver: str) -> None:
    found = answer(solver, synthetic(Synthetic("M", 1.1, 1)))
    assert (found.plan, found.bound) == (None, None)
    assert found.note.startswith("too large")


def test_a_bound_without_a_plan_counts_for_nothing() -> None:
    journal = Journal(world(1))
    journal.bound(0.0)
    assert journal.answer("nothing found") == Answer(None, None, None, (), "nothing found")


def test_a_plan_that_breaks_a_rule_counts_for_nothing() -> None:
    problem = synthetic(Synthetic("XS", 1.1, 1))
    told: list[tuple[Point, bool]] = []
    journal = Journal(problem, lambda point, is_judged: told.append((point, is_judged)))
    first = Plan(np.zeros(50, np.int64), np.zeros(50, np.int64))
    journal.plan(first)
    assert journal.answer().note.startswith("breaks a rule")
    assert told == []
    journal.progress(7, 9.0)
    assert [is_judged for _, is_judged in told] == [False]
    journal.plan(Plan.empty(50))
    assert journal.answer().objective == 0
