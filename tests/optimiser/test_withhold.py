"""What a plan withholds leaves enough for those who are expected; nothing that is held is taken."""

from __future__ import annotations

import random

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from broker.domain.claim import Claim, Planned, Tier
from broker.domain.slots import Window
from broker.domain.snapshot import Snapshot
from broker.domain.terms import Terms
from broker.optimiser.compile import Compiled, compile_problem
from broker.optimiser.problem import Floats, Plan
from broker.optimiser.withhold import withhold
from tests.builders import claim, fleet, placement

SLOTS = 24
POOLS = ("dc-1", "dc-2")


def crowd(draw: random.Random) -> list[Claim]:
    """Claims that wait, some that hold a place."""
    claims = []
    for n in range(draw.randint(1, 12)):
        devices, slots, first = draw.randint(1, 20), draw.randint(1, 8), draw.randint(0, SLOTS - 8)
        place = placement(draw.choice(POOLS), devices, first, first + slots)
        state = Planned((place,)) if draw.random() < 0.3 else None
        tier = draw.choice(list(Tier))
        claims.append(claim(f"atlas/run-{n:02}", state=state, devices=devices, slots=slots, gang=True, tier=tier))
    return claims


def planned(draw: random.Random, compiled: Compiled) -> Plan:
    """Everybody who holds a place in it, most others somewhere."""
    options, rows = compiled.problem.options, len(compiled.requests)
    option, start = np.full(rows, -1), np.zeros(rows, np.int64)
    for row, request in enumerate(compiled.requests):
        if request.placement is not None or draw.random() < 0.8:
            option[row] = 0 if request.placement is not None else draw.randrange(len(request.options))
            at = options.first[row] + option[row]
            start[row] = draw.randint(
                int(options.earliest[at]), min(int(options.latest[at]), SLOTS - options.slots[at])
            )
    return Plan(option, start)


def left(compiled: Compiled, plan: Plan) -> Floats:
    """Free devices of both pools together."""
    options = compiled.problem.options
    free: Floats = compiled.problem.pools.capacity.sum(axis=0).astype(np.float64)
    for row in np.flatnonzero(plan.option >= 0):
        at = options.first[row] + plan.option[row]
        free[plan.start[row] : plan.start[row] + options.slots[at]] -= options.devices[at]
    return free


@settings(deadline=None)
@given(seed=st.integers(0, 10**9))
def test_who_stays_leaves_enough_and_who_is_withheld_would_not(seed: int) -> None:
    draw = random.Random(seed)
    snapshot = Snapshot("i", 1, fleet(dict.fromkeys(POOLS, 60)), tuple(crowd(draw)))
    compiled = compile_problem(snapshot, Window(0, SLOTS), Terms())
    plan = planned(draw, compiled)
    kept = {tier: np.tile(np.sort([draw.uniform(0, 90) for _ in range(SLOTS)]), (2, 1)) for tier in Tier}
    after, gone = withhold(compiled, plan, kept)
    assert {row for row in range(len(plan.option)) if after.option[row] != plan.option[row]} == gone
    assert (after.start == plan.start).all()
    free, options = left(compiled, after), compiled.problem.options
    for row, request in enumerate(compiled.requests):
        tier = snapshot.claims[request.claim].ask.tier
        at = options.first[row] + plan.option[row]
        span = slice(int(plan.start[row]), int(plan.start[row] + options.slots[at]))
        if row in gone:
            assert request.placement is None
            assert tier is not Tier.GUARANTEED
            # Of those of lower tiers, and of its own further ahead, nobody else had to go before it did.
            assert left(compiled, plan)[span].sum() < kept[tier][0, span].sum()
        elif plan.option[row] >= 0 and request.placement is None and tier is not Tier.GUARANTEED:
            assert free[span].sum() >= kept[tier][0, span].sum() - 1e-6


def test_those_of_the_lowest_tier_and_furthest_ahead_give_way_first() -> None:
    claims = (
        claim("atlas/a", devices=30, slots=4, gang=True, tier=Tier.STANDARD),
        claim("atlas/b", devices=30, slots=4, gang=True, tier=Tier.SPOT),
    )
    compiled = compile_problem(Snapshot("i", 1, fleet({"dc-1": 60}), claims), Window(0, SLOTS), Terms())
    plan = Plan(np.zeros(2, np.int64), np.zeros(2, np.int64))
    kept = {tier: np.full((1, SLOTS), 20.0) for tier in Tier}
    after, gone = withhold(compiled, plan, kept)
    assert gone == {1}
    assert after.option.tolist() == [0, -1]
