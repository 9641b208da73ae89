"""The judge agrees with the rules read aloud, and each rule is allowed, just allowed and forbidden."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.optimiser.check import check
from broker.optimiser.files import problem_from
from broker.optimiser.problem import Plan

Document = dict[str, Any]
Placement = tuple[int, int] | None


def world(*requests: Document, **more: Any) -> Document:
    base: Document = {"format": "capacity-plan-problem/1", "slots": 4, "pools": [{"id": "a", "capacity": [[0, 4]]}]}
    rows = [{"id": f"r{n}", **request} for n, request in enumerate(requests)]
    return base | more | {"requests": rows}


def option(**fields: Any) -> Document:
    return {"pool": "a", "devices": 2, "slots": 2, "start": [0, 3], "value": 10} | fields


@given(seed=st.integers(0, 10**9))
def test_agrees_with_the_rules_read_aloud(
    seed: int,
    tiny: Callable[[int], Document],
    choices: Callable[[Document, Document], list[Placement]],
    worth: Callable[[Document, list[Placement]], tuple[bool, int]],
    chosen: Callable[[list[Placement]], Plan],
) -> None:
    document = tiny(seed)
    draw = random.Random(seed)
    plan = [draw.choice(choices(document, request)) for request in document["requests"]]
    verdict = check(problem_from(document), chosen(plan))
    assert (verdict.ok, verdict.objective) == worth(document, plan)


@pytest.mark.parametrize(("devices", "ok"), [(2, True), (4, True), (5, False)])
def test_capacity(devices: int, ok: bool, chosen: Callable[[list[Placement]], Plan]) -> None:
    problem = problem_from(world({"options": [option(devices=devices)]}))
    assert check(problem, chosen([(0, 0)])).ok is ok


@pytest.mark.parametrize(("limit", "ok"), [(5, True), (4, True), (3, False)])
def test_quota_counts_all_pools(limit: int, ok: bool, chosen: Callable[[list[Placement]], Plan]) -> None:
    pools = [{"id": name, "capacity": [[0, 4]]} for name in "ab"]
    requests = [{"quota": "q", "options": [option()]}, {"quota": "q", "options": [option(pool="b")]}]
    problem = problem_from(world(*requests, pools=pools, quotas=[{"id": "q", "limit": [[0, limit]]}]))
    assert check(problem, chosen([(0, 0), (0, 1)])).ok is ok


@pytest.mark.parametrize(("room", "ok"), [(3, True), (2, True), (1, False)])
def test_reserve_covers_guaranteed_work(room: int, ok: bool, chosen: Callable[[list[Placement]], Plan]) -> None:
    pools = [{"id": "a", "capacity": [[0, 4]]}, {"id": "b", "capacity": [[0, room]]}]
    request = {"guaranteed": True, "options": [option()]}
    reserves = [{"lost": "a", "covers": ["b"]}]
    problem = problem_from(world(request, pools=pools, reserves=reserves))
    assert check(problem, chosen([(0, 0)])).ok is ok
    relaxed = problem_from(world(request | {"guaranteed": False}, pools=pools, reserves=reserves))
    assert check(relaxed, chosen([(0, 0)])).ok


@pytest.mark.parametrize(("start", "objective"), [(0, 10), (1, 10), (2, 7)])
def test_lateness(start: int, objective: int, chosen: Callable[[list[Placement]], Plan]) -> None:
    problem = problem_from(world({"options": [option(due=1, late_cost=3)]}))
    assert check(problem, chosen([(0, start)])).objective == objective


@pytest.mark.parametrize(("committed", "objective"), [(3, 10), (2, 10), (1, 0)])
def test_overage(committed: int, objective: int, chosen: Callable[[list[Placement]], Plan]) -> None:
    pools = [{"id": "a", "capacity": [[0, 4]], "committed": [[0, committed]], "overage_cost": 5}]
    problem = problem_from(world({"options": [option()]}, pools=pools))
    assert check(problem, chosen([(0, 0)])).objective == objective


@pytest.mark.parametrize(("plan", "objective"), [((0, 0), 10), ((0, 1), 6), (None, -4)])
def test_move_cost(plan: Placement, objective: int, chosen: Callable[[list[Placement]], Plan]) -> None:
    request = {"options": [option()], "current": {"option": 0, "start": 0}, "move_cost": 4}
    assert check(problem_from(world(request)), chosen([plan])).objective == objective


@pytest.mark.parametrize(("plan", "ok"), [((0, 0), True), ((0, 2), True), (None, False)])
def test_a_promise_keeps_some_placement(plan: Placement, ok: bool, chosen: Callable[[list[Placement]], Plan]) -> None:
    request = {"options": [option()], "current": {"option": 0, "start": 0}, "promised": True}
    assert check(problem_from(world(request)), chosen([plan])).ok is ok


@pytest.mark.parametrize("plan", [(1, 0), (0, 3), (0, 2**62), (0, -1)])
def test_impossible_choices_are_violations(plan: Placement, chosen: Callable[[list[Placement]], Plan]) -> None:
    verdict = check(problem_from(world({"options": [option()]})), chosen([plan]))
    assert not verdict.ok
    assert verdict.objective == 0


def test_prices_exactly_beyond_64_bits(chosen: Callable[[list[Placement]], Plan]) -> None:
    large = 2**53 - 1
    pools = [{"id": "a", "capacity": [[0, large]], "unit_cost": large}]
    problem = problem_from(world({"options": [option(devices=large)]}, pools=pools))
    assert check(problem, chosen([(0, 0)])).objective == 10 - 2 * large * large


def test_a_plan_for_another_problem_is_an_error() -> None:
    with pytest.raises(ValueError, match="2 requests"):
        check(problem_from(world({"options": [option()]})), Plan(np.zeros(2, np.int64), np.zeros(2, np.int64)))
