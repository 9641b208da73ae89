"""Many promises and money beyond 64 bits: kept, exact, and bounded as anywhere else."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broker.optimiser import model, tables
from broker.optimiser.check import check
from broker.optimiser.files import problem_from
from broker.optimiser.problem import Options, Plan, Pools, Problem, Quotas, Requests
from broker.optimiser.solve import solve
from broker.optimiser.stop import WorkLimit

Document = dict[str, Any]
Placement = tuple[int, int] | None
RICH = 10**15


def uniform(requests: int, slots: int, pools: int, capacity: int, devices: int, length: int) -> Problem:
    """Requests of one size, an option in each pool at any start, all worth 10^15 and none promised."""
    rows, zero = requests * pools, np.zeros(requests, np.int64)
    room = np.full((pools, slots), capacity, np.int64)
    last = np.full(rows, slots - length)
    return Problem(
        slots=slots,
        slot_hours=1,
        pools=Pools(tuple(f"p{p}" for p in range(pools)), room, room, np.full(pools, 3), np.full(pools, 5)),
        quotas=Quotas((), np.zeros((0, slots), np.int64)),
        requests=Requests(
            tuple(f"r{r}" for r in range(requests)), zero - 1, zero > 0, zero > 0, zero - 1, zero, zero + 10**15
        ),
        options=Options(
            first=np.arange(0, rows + 1, pools),
            pool=np.tile(np.arange(pools), requests),
            devices=np.full(rows, devices),
            slots=np.full(rows, length),
            earliest=np.zeros(rows, np.int64),
            latest=last,
            value=np.full(rows, RICH),
            due=last,
            late_cost=np.zeros(rows, np.int64),
        ),
        reserves=(),
    )


def exact(problem: Problem, plan: Plan) -> int:
    """The worth of a plan of a uniform problem, in Python integers."""
    worth = 0
    for r in range(len(problem.requests.ids)):
        option, start = int(plan.option[r]), int(plan.start[r])
        now = int(problem.requests.current_option[r]), int(problem.requests.current_start[r])
        if option >= 0:
            row = int(problem.options.first[r]) + option
            worth += int(problem.options.value[row]) - 3 * int(
                problem.options.devices[row] * problem.options.slots[row]
            )
        if now[0] >= 0 and (option, start) != now:
            worth -= int(problem.requests.move_cost[r])
    return worth


def test_three_thousand_promises_outlive_rich_newcomers() -> None:
    promised, newcomers = 3_000, 300
    weeks, length = 26, 24
    problem = uniform(promised + newcomers, weeks * length, 2, 64 * 60, 64, length)
    old = np.arange(promised + newcomers) < promised
    place = np.arange(promised + newcomers)
    # All but 120 of the 3,120 places are promised.
    now = replace(
        problem.requests,
        promised=old,
        current_option=np.where(old, place % 2, -1),
        current_start=np.where(old, place // 2 % weeks * length, 0),
        move_cost=np.where(old, 1, 0),
    )
    value = np.where(np.repeat(old, 2), 1, RICH)
    problem = replace(problem, requests=now, options=replace(problem.options, value=value))
    solved = solve(problem, stop=WorkLimit(400), seed=1)
    assert check(problem, solved.plan).violations == ()
    assert solved.report.promises_broken == 0
    assert (solved.plan.option[old] >= 0).all()
    assert (solved.plan.option[~old] >= 0).sum() == 120
    assert solved.objective == exact(problem, solved.plan) <= solved.bound


@pytest.mark.parametrize(("requests", "slots", "capacity"), [(1_000, 24, 200), (20_000, 8, 10_000)])
def test_sums_of_money_beyond_64_bits_are_exact(requests: int, slots: int, capacity: int) -> None:
    problem = uniform(requests, slots, 1, capacity, 1, 4)
    solved = solve(problem, stop=WorkLimit(300), seed=1)
    assert solved.report.placed == requests
    assert solved.objective == requests * (RICH - 12) == exact(problem, solved.plan)
    assert solved.objective <= solved.bound <= 1.000001 * solved.objective


@given(seed=st.integers(0, 10**9), most=st.sampled_from([16.0, 64.0, 256.0]))
@settings(deadline=None, max_examples=60)
def test_a_larger_unit_keeps_bound_and_books_honest(
    seed: int, most: float, tiny: Callable[[int], Document], optimum: Callable[[Document], int | None]
) -> None:
    document = tiny(seed)
    best = optimum(document)
    problem = problem_from(document)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tables, "LARGEST_SUM", most)
        patch.setattr(model, "LARGEST_SUM", most / 2)
        solved = solve(problem, stop=WorkLimit(500), seed=seed)
    verdict = check(problem, solved.plan)
    assert solved.objective == verdict.objective <= solved.bound
    assert verdict.ok == (solved.report.promises_broken == 0)
    if best is not None:
        assert verdict.ok
        assert solved.bound >= best >= solved.objective


@given(seed=st.integers(0, 10**9))
@settings(deadline=None, max_examples=30)
def test_a_larger_unit_never_loses_to_a_hint(
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
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tables, "LARGEST_SUM", 32.0)
        solved = solve(problem, stop=WorkLimit(100), seed=1, hint=hint)
    if verdict.ok:
        assert check(problem, solved.plan).ok
        assert solved.objective >= verdict.objective
