from __future__ import annotations

import numpy as np
import pytest

from bench.generator import Synthetic, synthetic
from bench.outage import Limits, Outage, busiest, insured, ordeal, struck
from broker.optimiser.check import check
from broker.optimiser.problem import Plan, Problem
from broker.optimiser.solve import solve
from broker.optimiser.stop import WorkLimit

LIMITS = Limits(lambda: WorkLimit(1_000), lambda: WorkLimit(1_000))


def market(name: str) -> Problem:
    return synthetic(Synthetic.parse(name))


@pytest.mark.parametrize("name", ["XS:1.1:3", "S:1.1:1", "S:1.1:3", "S:1.5:1"])
def test_insured_guaranteed_work_is_served_again_after_the_loss_of_the_busiest_pool(name: str) -> None:
    seen = ordeal(insured(market(name)), LIMITS, seed=1)
    assert seen.violations == ()
    assert seen.guaranteed_served == seen.guaranteed > 0
    assert seen.evicted > 0
    assert 0 <= seen.recovered <= 1
    assert 0 <= seen.moved <= 1


def test_of_guaranteed_work_that_can_run_in_one_pool_only_as_much_is_served_as_can_be() -> None:
    seen = ordeal(insured(market("XS:1.1:1")), LIMITS, seed=1)
    assert seen.guaranteed_served == seen.guaranteed_possible < seen.guaranteed


def test_every_pool_is_insured_by_all_the_others() -> None:
    reserves = insured(market("XS:1.1:1")).reserves
    assert [reserve.lost for reserve in reserves] == [0, 1, 2, 3]
    assert reserves[1].covers == (0, 2, 3)
    assert {(reserve.first_slot, reserve.end_slot) for reserve in reserves} == {(0, 48)}


def test_the_pool_is_lost_where_it_holds_most() -> None:
    problem = market("S:1.1:1")
    plan = solve(problem, stop=WorkLimit(300), seed=1).plan
    outage = busiest(problem, plan)
    assert outage.end - outage.first == 24
    held = _held(problem, plan)
    assert held[outage.pool].sum() == held.sum(axis=1).max()
    sums = [held[outage.pool, first : first + 24].sum() for first in range(problem.slots - 23)]
    assert sums[outage.first] == max(sums)


def test_an_outage_takes_the_pool_and_promises_what_is_guaranteed() -> None:
    problem = market("XS:1.1:3")
    plan = solve(problem, stop=WorkLimit(300), seed=1).plan
    broken = struck(problem, plan, Outage(1, 10, 34))
    assert not broken.pools.capacity[1, 10:34].any()
    assert not broken.pools.committed[1, 10:34].any()
    assert (np.delete(broken.pools.capacity, 1, 0) == np.delete(problem.pools.capacity, 1, 0)).all()
    requests = broken.requests
    assert (requests.promised == (requests.guaranteed & (plan.option >= 0))).all()
    assert not requests.move_cost[plan.option < 0].any()
    assert (requests.move_cost[plan.option >= 0] > 0).all()
    standing = struck(problem, plan, Outage(1, 0, 0))
    assert check(standing, plan).objective == check(problem, plan).objective  # who stays pays nothing


def _held(problem: Problem, plan: Plan) -> np.ndarray[tuple[int, int], np.dtype[np.int64]]:
    held = np.zeros((len(problem.pools.ids), problem.slots), np.int64)
    o = problem.options
    for request in np.flatnonzero(plan.option >= 0):
        row = o.first[request] + plan.option[request]
        held[o.pool[row], plan.start[request] : plan.start[request] + o.slots[row]] += o.devices[row]
    return held
