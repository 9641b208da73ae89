"""Backfill gives what is idle after a plan to claims that it left out, and takes nothing from anybody."""

from __future__ import annotations

import random

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from broker.admission.demand import Demand
from broker.admission.policy import Policy
from broker.backfill import backfill
from broker.domain.claim import Committed, Tier
from broker.domain.slots import Window
from broker.domain.snapshot import Snapshot
from broker.domain.terms import Terms
from broker.optimiser.check import check
from broker.optimiser.compile import compile_problem
from broker.optimiser.problem import Plan
from tests.builders import claim, fleet, placement

SLOTS = 24
EVERYTHING = Policy(standard_percent=100, spot_percent=100)  # nothing is known of demand: all that is free may be had


@settings(deadline=None)
@given(seed=st.integers(0, 10**9))
def test_it_adds_to_a_plan_what_fits_beside_it(seed: int) -> None:
    draw = random.Random(seed)
    tiers = [draw.choice(list(Tier)) for _ in range(draw.randint(1, 12))]
    claims = tuple(
        claim(
            f"{draw.choice(['atlas', 'borealis'])}/run-{n:02}",
            devices=draw.randint(1, 40),
            slots=draw.randint(1, 9),
            gang=draw.random() < 0.7,
            earliest=draw.randint(0, 15),
            deadline=draw.choice([None, 20]),
            tier=tier,
            on_loan=tier is Tier.SPOT and draw.random() < 0.7,
        )
        for n, tier in enumerate(tiers)
    )
    supply = fleet({"dc-1": 40, "dc-2": 25}, {"atlas": 30, "borealis": None}, {"atlas": 20, "borealis": 30})
    compiled = compile_problem(Snapshot("i", 1, supply, claims), Window(0, SLOTS), Terms())
    rows = len(compiled.requests)
    after = backfill(compiled, Plan(np.full(rows, -1), np.zeros(rows, np.int64)), EVERYTHING, Demand(supply))
    assert check(compiled.problem, after).violations == ()
    again = backfill(compiled, after, EVERYTHING, Demand(supply))
    assert (again.option == after.option).all(), "what still fits was left out"
    assert (again.start == after.start).all()
    by_claim: dict[int, set[bool]] = {}
    for row, request in enumerate(compiled.requests):
        by_claim.setdefault(request.claim, set()).add(bool(after.option[row] >= 0))
    assert all(len(placed) <= 1 for placed in by_claim.values()), "a claim has all of its parts or none"


def test_the_highest_tier_comes_first() -> None:
    claims = (
        claim("atlas/a", devices=40, slots=4, gang=True, tier=Tier.SPOT, value_microusd=10**9),
        claim("atlas/b", devices=40, slots=4, gang=True, tier=Tier.GUARANTEED, deadline=4),
    )
    supply = fleet({"dc-1": 40})
    compiled = compile_problem(Snapshot("i", 1, supply, claims), Window(0, SLOTS), Terms())
    plan = backfill(compiled, Plan(np.full(2, -1), np.zeros(2, np.int64)), EVERYTHING, Demand(supply))
    assert plan.option.tolist() == [0, 0]
    assert plan.start.tolist() == [4, 0]


def test_what_will_be_left_of_a_claim_that_gives_way_is_for_the_next_plan() -> None:
    ends = placement("dc-1", 8, 0, 3, left_ppm=500_000)
    claims = (claim("atlas/a", devices=8, slots=6, gang=True, tier=Tier.SPOT, state=Committed((ends,))),)
    supply = fleet({"dc-1": 40})
    compiled = compile_problem(Snapshot("i", 1, supply, claims), Window(4, 4 + SLOTS), Terms())
    rows = [request.placement for request in compiled.requests]
    assert None in rows, "nothing is left to place"
    before = Plan(np.array([-1 if at is None else 0 for at in rows]), np.zeros(len(rows), np.int64))
    after = backfill(compiled, before, EVERYTHING, Demand(supply))
    assert (after.option == before.option).all()
