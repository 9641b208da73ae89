"""Insuring a plan keeps its other rules: nobody moves back to where somebody else now is."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from broker.admission.policy import Policy
from broker.domain.claim import Planned, Tier
from broker.domain.insurance import Insurance, LossKind
from broker.domain.slots import Window
from broker.domain.snapshot import Snapshot
from broker.domain.terms import Terms
from broker.insured import insured
from broker.optimiser.check import check
from broker.optimiser.compile import compile_problem
from broker.optimiser.problem import Plan
from tests.builders import claim, fleet, placement

SUPPLY = replace(
    fleet({"a": 128, "b": 256}, {"atlas": 64, "borealis": None}), insurance=(Insurance("any", LossKind.ANY_ONE_POOL),)
)
HELD = (  # name, tier, pool, devices, slot where it is, and slot where the plan has it
    ("atlas/one", Tier.GUARANTEED, "a", 48, 1, 25),
    ("atlas/two", Tier.GUARANTEED, "a", 48, 49, 1),
    ("atlas/three", Tier.STANDARD, "a", 48, 73, 49),
    ("borealis/four", Tier.GUARANTEED, "b", 256, 25, 25),  # which leaves nothing for one after a loss
)


def test_who_is_not_insured_where_the_plan_has_it_does_not_return_to_a_place_that_was_given_away() -> None:
    """One's old place is two's by the plan, and two's own is three's: atlas may not have more than one at a time."""
    claims = tuple(
        claim(
            name,
            state=Planned((placement(pool, devices, first, first + 24, latest=80),)),
            devices=devices,
            slots=24,
            gang=True,
            tier=tier,
            earliest=1,
            latest=80,
        )
        for name, tier, pool, devices, first, _ in HELD
    )
    compiled = compile_problem(Snapshot("i", 1, SUPPLY, claims), Window(0, 120), Terms())
    planned = Plan(np.array([1, 1, 1, 0]), np.array([one[-1] for one in HELD]))  # way 0 is to stay
    rules = replace(compiled.problem, reserves=())
    assert check(rules, planned).ok
    assert check(rules, insured(compiled, planned, Policy()).plan).ok
