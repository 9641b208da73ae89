"""Each cause of a refusal, where it is the cause and where it is not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from broker.optimiser.files import problem_from
from broker.optimiser.problem import Plan, Problem
from broker.optimiser.reasons import Cause, Unplaced, explain
from broker.optimiser.report import Prices

Document = dict[str, Any]


def ask(**fields: Any) -> Document:
    return {"pool": "a", "devices": 2, "slots": 2, "start": [0, 2], "value": 10} | fields


def only(requests: list[Document], placed: dict[int, tuple[int, int]], *, price: float = 0.0, **more: Any) -> Unplaced:
    """The reason for the one request that is left out."""
    base: Document = {"format": "capacity-plan-problem/1", "slots": 4, "pools": [{"id": "a", "capacity": [[0, 4]]}]}
    rows = [{"id": f"r{n}"} | request for n, request in enumerate(requests)]
    problem = problem_from(base | more | {"requests": rows})
    plan = Plan.empty(len(rows))
    for request, (option, start) in placed.items():
        plan.option[request], plan.start[request] = option, start
    zero = Prices.zero(problem)
    found = explain(problem, plan, Prices(zero.pools + price, zero.quotas, zero.reserves))
    assert len(found) == 1
    return found[0]


def test_no_option() -> None:
    assert only([{"options": []}], {}).cause is Cause.NO_OPTION


@pytest.mark.parametrize("fields", [{"devices": 5}, {"slots": 5}, {"start": [3, 3]}])
def test_never_fits(fields: Document) -> None:
    assert only([{"options": [ask(**fields)]}], {}).cause is Cause.NEVER_FITS


def test_a_quota_that_is_too_small_for_it_alone() -> None:
    quotas = [{"id": "q", "limit": [[0, 1]]}]
    found = only([{"quota": "q", "options": [ask()]}], {}, quotas=quotas)
    assert (found.cause, found.start) == (Cause.QUOTA, -1)


@pytest.mark.parametrize(("value", "cause"), [(12, Cause.COST_EXCEEDS_VALUE), (13, Cause.OUTBID)])
def test_cost_exceeds_value(value: int, cause: Cause) -> None:
    pools = [{"id": "a", "capacity": [[0, 4]], "unit_cost": 3}]
    found = only([{"options": [ask(value=value)]}], {}, pools=pools)
    assert (found.cause, found.price) == (cause, 12.0)


def test_quota_is_the_cause_when_only_it_is_full() -> None:
    requests = [{"quota": "q", "options": [ask(slots=4, start=[0, 0])]}, {"quota": "q", "options": [ask()]}]
    found = only(requests, {0: (0, 0)}, quotas=[{"id": "q", "limit": [[0, 3]]}])
    assert (found.cause, found.free) == (Cause.QUOTA, 2)


def test_reserve_is_the_cause_when_only_it_is_full() -> None:
    pools = [{"id": "a", "capacity": [[0, 4]]}, {"id": "b", "capacity": [[0, 3]]}]
    requests = [{"guaranteed": True, "options": [ask(slots=4, start=[0, 0])]}, {"guaranteed": True, "options": [ask()]}]
    reserves = [{"lost": "a", "covers": ["b"]}]
    assert only(requests, {0: (0, 0)}, pools=pools, reserves=reserves).cause is Cause.RESERVE
    requests[1]["guaranteed"] = False
    assert only(requests, {0: (0, 0)}, pools=pools, reserves=reserves).cause is Cause.OUTBID


@pytest.mark.parametrize(("price", "cause"), [(2.0, Cause.NO_CONTIGUOUS_ROOM), (3.0, Cause.OUTBID)])
def test_no_contiguous_room_only_when_it_would_pay(price: float, cause: Cause) -> None:
    requests = [{"options": [ask(devices=3, slots=1, start=[1, 1])]}, {"options": [ask(start=[0, 1])]}]
    found = only(requests, {0: (0, 1)}, price=price)
    assert found.cause is cause
    assert (found.devices, found.free, found.value, found.price) == (2, 1, 10, 4 * price)


def test_facts_name_the_best_start() -> None:
    found = only([{"options": [ask(start=[0, 0]), ask(value=20, due=0, late_cost=1)]}], {}, price=9.0)
    assert (found.request, found.option, found.pool, found.start) == (0, 1, 0, 0)
    assert found.cause is Cause.OUTBID


def test_agrees_with_itself_on_a_crowd(medium: Problem) -> None:
    everybody = explain(medium, Plan.empty(len(medium.requests.ids)), Prices.zero(medium))
    assert [line.request for line in everybody] == list(range(len(medium.requests.ids)))
    assert {line.cause for line in everybody} <= {Cause.NO_OPTION, Cause.OUTBID, Cause.NEVER_FITS}
    assert np.all([line.value >= 0 for line in everybody])
