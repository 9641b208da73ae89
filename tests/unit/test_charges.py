"""Overage is shared by all who use a pool, device by device, and nothing of it is lost or paid twice."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from broker.domain.claim import Planned
from broker.domain.fleet import CommittedLevel, Contract, Delivery, Pool, PoolKind
from broker.domain.slots import Window
from broker.domain.snapshot import Snapshot
from broker.domain.terms import Terms
from broker.optimiser.charges import charges
from broker.optimiser.check import check
from broker.optimiser.compile import compile_problem
from broker.optimiser.problem import Plan
from tests.builders import claim, fleet, placement


def test_charges_add_up_to_the_cost_of_the_plan() -> None:
    rent = Pool("rent", PoolKind.CONTRACTED, "b200", 8, (Delivery(64),), unit_cost_microusd=7)
    contract = Contract("c", "rent", committed=(CommittedLevel(24),), overage_price_microusd=10)
    world = replace(fleet((rent,)), contracts=(contract,))
    held = [(16, 0, 4), (16, 2, 6), (8, 1, 5)]
    claims = tuple(
        claim(f"atlas/{n}", state=Planned((placement("rent", devices, first, end),)), devices=devices, gang=True)
        for n, (devices, first, end) in enumerate(held)
    )
    compiled = compile_problem(Snapshot("i", 1, world, claims), Window(0, 24), Terms(waiting=10**9))
    requests = compiled.problem.requests
    plan = Plan(requests.current_option, requests.current_start)
    cost, paid = charges(compiled.problem, plan, np.array([3]))
    verdict = check(compiled.problem, plan)
    assert verdict.violations == ()
    value = int(compiled.problem.options.value[compiled.problem.options.first[:-1]].sum())
    assert int(cost.sum()) == value - verdict.objective
    used = np.zeros(24, np.int64)
    for devices, first, end in held:
        used[first:end] += devices
    assert abs(int(paid.sum()) - 3 * int(np.minimum(used, 24).sum())) <= len(held)


def test_what_is_not_placed_costs_nothing() -> None:
    world = fleet({"dc-1": 64})
    compiled = compile_problem(Snapshot("i", 1, world, (claim(gang=True),)), Window(0, 24), Terms(waiting=10**9))
    cost, paid = charges(compiled.problem, Plan.empty(1), np.array([0]))
    assert (cost.tolist(), paid.tolist()) == ([0], [0])
