"""The first plan: valid whenever it is cut short, worth what it says, and it keeps what stands."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broker.optimiser.check import check
from broker.optimiser.files import problem_from
from broker.optimiser.opening import opening
from broker.optimiser.problem import Plan, Problem
from broker.optimiser.tables import Tables, tables, uncut

Document = dict[str, Any]


def opened(problem: Problem, questions: int = 10**9) -> tuple[Tables, Plan, int, float]:
    """The plan when the answer to so many questions is that it is not enough yet."""
    whole, asked = tables(problem, uncut(problem)), count()
    return whole, *opening(problem, whole, lambda: next(asked) >= questions)


@given(seed=st.integers(0, 10**9), questions=st.integers(0, 2))
@settings(deadline=None, max_examples=80)
def test_it_is_valid_and_worth_what_it_says(seed: int, questions: int, tiny: Callable[[int], Document]) -> None:
    problem = problem_from(tiny(seed))
    whole, plan, total, bound = opened(problem, questions)
    verdict = check(problem, plan)
    assert all("promised" in line for line in verdict.violations)
    assert verdict.objective == total - whole.move.sum()
    assert verdict.objective <= bound


def test_a_crowd_is_served_in_part_at_once(medium: Problem) -> None:
    _, plan, total, _ = opened(medium)
    assert check(medium, plan).ok
    assert total > 0
    assert 0 < (plan.option >= 0).sum() < len(medium.requests.ids)


@pytest.mark.parametrize(
    "never",
    [
        {"start": [0, 0], "slots": 5},
        {"start": [3, 9], "slots": 2},
        {"start": [0, 3], "slots": 1, "devices": 5},
    ],
)
def test_options_that_no_plan_could_use_are_left_alone(never: Document) -> None:
    option = {"pool": "a", "devices": 1, "value": 9}
    document = {
        "format": "capacity-plan-problem/1",
        "slots": 4,
        "pools": [{"id": "a", "capacity": [[0, 4]]}],
        "requests": [
            {"id": "never", "options": [option | never]},
            {"id": "sure", "options": [option | {"start": [0, 9], "slots": 4}]},
        ],
    }
    problem = problem_from(document)
    _, plan, total, _ = opened(problem)
    assert check(problem, plan).ok
    assert np.flatnonzero(plan.option >= 0).tolist() == [1]
    assert total == 9


def test_what_stands_stays() -> None:
    option = {"pool": "a", "devices": 1, "slots": 1, "start": [0, 1]}
    document = {
        "format": "capacity-plan-problem/1",
        "slots": 2,
        "pools": [{"id": "a", "capacity": [[0, 1]]}],
        "requests": [
            {"id": "now", "options": [option | {"value": 1}], "current": {"option": 0, "start": 1}},
            {"id": "rich", "options": [option | {"value": 9}]},
            {"id": "richer", "options": [option | {"value": 10}]},
        ],
    }
    _, plan, total, _ = opened(problem_from(document))
    assert plan.option.tolist() == [0, -1, 0]
    assert plan.start[[0, 2]].tolist() == [1, 0]
    assert total == 11
