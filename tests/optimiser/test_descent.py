"""The steps of a solve: each leaves the best plan no worse than it found it, and ends with its budget."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from broker.optimiser.check import check
from broker.optimiser.descent import Descent
from broker.optimiser.files import problem_from
from broker.optimiser.prune import prune
from broker.optimiser.stop import AnyOf, Cancelled, WorkLimit
from tests.optimiser.market import crowded_with_promises

Document = dict[str, Any]


@pytest.mark.parametrize("promises", [False, True])
def test_orders_only_get_better(promises: bool, crowd: Callable[..., Document]) -> None:
    document = crowd(5, requests=90)
    problem = problem_from(crowded_with_promises(document) if promises else document)
    seen: list[int] = []
    descent = Descent(problem, prune(problem), WorkLimit(6_000), 3, lambda objective, _: seen.append(objective))
    descent.settle([])
    descent.price()
    before, work = len(seen), descent.work
    kept = (problem.requests.promised & (descent.plan().option >= 0)).sum()
    descent.order()
    assert work < descent.work < 0.2 * 6_000 + work
    if not promises:
        assert len(seen) > before
        assert seen == sorted(seen)
    assert (problem.requests.promised & (descent.plan().option >= 0)).sum() >= kept
    assert all("promised" in line for line in check(problem, descent.plan()).violations)


def test_every_step_ends_when_told(crowd: Callable[..., Document]) -> None:
    problem = problem_from(crowd(5, requests=90))
    told = False
    stop = AnyOf(WorkLimit(10**9), Cancelled(lambda: told))
    descent = Descent(problem, prune(problem), stop, 3, lambda *_: None)
    descent.settle([])
    told = True
    for step in (descent.price, descent.order, descent.close, descent.deal, descent.improve):
        before = descent.work
        step()
        assert descent.work - before < 1_000
    assert check(problem, descent.plan()).ok
