"""The promises of the front door: valid at any moment, never worse than the hint, repeatable, bounded."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from itertools import count, pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broker.optimiser import columns, construct, sides
from broker.optimiser.check import check
from broker.optimiser.files import problem_from
from broker.optimiser.problem import Plan, Problem, Status
from broker.optimiser.report import Progress
from broker.optimiser.solve import solve
from broker.optimiser.stop import AnyOf, Cancelled, Stop, WorkLimit

Document = dict[str, Any]
Placement = tuple[int, int] | None


class Never:
    """A stop rule that lets nothing happen."""

    def spent(self, work: int) -> float:  # noqa: ARG002 - whatever was done
        return 1.0


def same(a: Plan, b: Plan) -> bool:
    return np.array_equal(a.option, b.option) and np.array_equal(a.start, b.start)


@given(seed=st.integers(0, 10**9))
@settings(deadline=None, max_examples=60)
def test_tiny_problems_are_solved_to_the_optimum(
    seed: int, tiny: Callable[[int], Document], optimum: Callable[[Document], int | None]
) -> None:
    document = tiny(seed)
    best = optimum(document)
    problem = problem_from(document)
    solved = solve(problem, stop=WorkLimit(4_000), seed=seed)
    verdict = check(problem, solved.plan)
    assert solved.objective == verdict.objective <= solved.bound
    assert solved.report.refused == 0
    if best is None:
        assert solved.report.promises_broken > 0
        assert all("promised" in line for line in verdict.violations)
    else:
        assert verdict.ok
        assert solved.objective == best
        assert solved.status is Status.OPTIMAL


@given(seed=st.integers(0, 10**6), work=st.integers(1, 400))
@settings(deadline=None, max_examples=25)
def test_valid_and_bounded_whenever_it_is_stopped(seed: int, work: int, crowd: Callable[..., Document]) -> None:
    problem = problem_from(crowd(seed, requests=40))
    seen: list[Progress] = []
    solved = solve(problem, stop=WorkLimit(work), seed=seed, on_progress=seen.append)
    verdict = check(problem, solved.plan)
    assert verdict.violations == ()
    assert solved.objective == verdict.objective
    assert math.isfinite(solved.bound)
    assert solved.bound >= solved.objective
    assert solved.report.refused == 0
    assert all(a.objective <= b.objective and a.bound >= b.bound for a, b in pairwise(seen))


@pytest.mark.parametrize("stop", [Never(), AnyOf(Cancelled(lambda: True))])
def test_a_spent_budget_still_gives_a_valid_plan(stop: Stop, medium: Problem) -> None:
    solved = solve(medium, stop=stop, seed=1)
    assert check(medium, solved.plan).ok
    assert solved.bound >= solved.objective


@given(questions=st.integers(1, 4_000))
@settings(deadline=None, max_examples=40)
def test_a_solve_may_be_cancelled_at_any_question(questions: int, crowd: Callable[..., Document]) -> None:
    problem, asked = problem_from(crowd(3, requests=80)), count()
    stop = AnyOf(WorkLimit(4_000), Cancelled(lambda: next(asked) >= questions))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(columns, "COLUMNS_SHARED_MIN", 1)  # as large problems are priced: in parts
        patch.setattr(columns, "COLUMNS_AT_ONCE", 500)
        patch.setattr(sides, "SLICE", 50)
        patch.setattr(construct, "SLICE", 10)
        solved = solve(problem, stop=stop, seed=1)
    # A thread that prices goes on asking until the other one has its turn.
    assert next(asked) < questions + 400
    assert check(problem, solved.plan).ok
    assert solved.report.refused == 0
    assert solved.objective <= solved.bound < math.inf


def test_the_same_seed_and_work_give_the_same_plan(medium: Problem) -> None:
    first, second = (solve(medium, stop=WorkLimit(1_500), seed=5) for _ in range(2))
    assert same(first.plan, second.plan)
    assert (first.objective, first.bound, first.report.work) == (second.objective, second.bound, second.report.work)


@given(seed=st.integers(0, 10**9))
@settings(deadline=None, max_examples=25)
def test_never_worse_than_a_valid_hint(
    seed: int,
    tiny: Callable[[int], Document],
    choices: Callable[[Document, Document], list[Placement]],
    chosen: Callable[[list[Placement]], Plan],
) -> None:
    document = tiny(seed)
    problem = problem_from(document)
    draw = random.Random(seed)
    hint = chosen([draw.choice(choices(document, request)) for request in document["requests"]])
    verdict = check(problem, hint)
    solved = solve(problem, stop=Never(), seed=1, hint=hint)
    if verdict.ok:
        assert check(problem, solved.plan).ok
        assert solved.objective >= verdict.objective


def test_planning_again_from_its_own_plan_changes_nothing_or_improves(medium: Problem) -> None:
    first = solve(medium, stop=WorkLimit(1_000), seed=2)
    again = solve(medium, stop=WorkLimit(200), seed=9, hint=first.plan)
    assert same(again.plan, first.plan) or again.objective > first.objective


def test_a_plan_proven_best_is_a_fixed_point(tiny: Callable[[int], Document]) -> None:
    for seed in range(15):
        problem = problem_from(tiny(seed))
        first = solve(problem, stop=WorkLimit(4_000), seed=2)
        again = solve(problem, stop=WorkLimit(4_000), seed=3, hint=first.plan)
        assert same(again.plan, first.plan)


def test_a_hint_for_another_problem_is_an_error(medium: Problem) -> None:
    with pytest.raises(ValueError, match="hint for 1 requests"):
        solve(medium, stop=WorkLimit(1), seed=1, hint=Plan.empty(1))


def test_promised_requests_outlive_richer_ones(crowd: Callable[..., Document]) -> None:
    document = crowd(4)
    for request in document["requests"][:12]:
        if request["options"]:
            option = request["options"][0]
            request |= {"current": {"option": 0, "start": option["start"][0]}, "move_cost": 5}
            option |= {"value": 1, "devices": 1}
            request["promised"] = True
    problem = problem_from(document)
    solved = solve(problem, stop=WorkLimit(800), seed=1)
    assert check(problem, solved.plan).violations == ()
    assert solved.report.promises_broken == 0
    assert (solved.plan.option[problem.requests.promised] >= 0).all()


def test_a_promise_survives_the_loss_of_its_pool() -> None:
    option = {"devices": 2, "slots": 2, "start": [0, 2], "value": 3}
    document = {
        "format": "capacity-plan-problem/1",
        "slots": 4,
        "pools": [{"id": "lost", "capacity": [[0, 0]]}, {"id": "left", "capacity": [[0, 2]]}],
        "requests": [
            {
                "id": "kept",
                "options": [option | {"pool": "lost"}, option | {"pool": "left"}],
                "current": {"option": 0, "start": 0},
                "move_cost": 50,
                "promised": True,
            },
            {"id": "rich", "options": [option | {"pool": "left", "slots": 4, "start": [0, 0], "value": 900}]},
        ],
    }
    problem = problem_from(document)
    solved = solve(problem, stop=WorkLimit(200), seed=1)
    assert check(problem, solved.plan).violations == ()
    assert solved.plan.option.tolist() == [1, -1]


def test_promises_that_cannot_all_be_kept_are_counted() -> None:
    option = {"pool": "a", "devices": 2, "slots": 2, "start": [0, 0], "value": 3}
    request = {"options": [option], "current": {"option": 0, "start": 0}, "promised": True}
    document = {
        "format": "capacity-plan-problem/1",
        "slots": 2,
        "pools": [{"id": "a", "capacity": [[0, 4]]}],
        "requests": [request | {"id": f"r{n}"} for n in range(3)],
    }
    problem = problem_from(document)
    solved = solve(problem, stop=WorkLimit(100), seed=1)
    assert solved.report.promises_broken == 1
    assert solved.status is Status.FEASIBLE
    assert len(check(problem, solved.plan).violations) == 1


def test_a_promise_that_fits_nowhere_is_counted() -> None:
    option = {"pool": "a", "devices": 2, "slots": 2, "start": [0, 0], "value": 3}
    request = {"id": "r", "options": [option], "current": {"option": 0, "start": 0}, "promised": True}
    pools = [{"id": name, "capacity": [[0, 1]]} for name in "ab"]
    document = {"format": "capacity-plan-problem/1", "slots": 2, "pools": pools, "requests": [request]}
    solved = solve(problem_from(document), stop=WorkLimit(20), seed=1)
    assert (solved.report.promises_broken, solved.objective, solved.status) == (1, 0, Status.FEASIBLE)


def test_an_empty_problem_is_solved() -> None:
    document = {"format": "capacity-plan-problem/1", "slots": 3, "pools": [], "requests": []}
    solved = solve(problem_from(document), stop=WorkLimit(10), seed=1)
    assert (solved.objective, solved.status) == (0, Status.OPTIMAL)
