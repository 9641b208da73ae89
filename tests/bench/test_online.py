"""The policies of the bench: what they serve fits, and keeping room serves those above."""

from __future__ import annotations

import pytest

from bench.market import Market, tiers
from bench.policies import POLICIES, Policy, serve
from broker.optimiser.files import problem_from
from broker.optimiser.problem import Problem


def rush() -> Problem:
    """Spot first, then what is worth more; one pool of ten."""
    requests = [
        {
            "id": f"r{n}",
            "options": [
                {"pool": "a", "devices": 2, "slots": 4, "start": [n // 5, n // 5 + 1], "value": [8, 40][n // 5]}
            ],
        }
        for n in range(10)
    ]
    pools = [{"id": "a", "capacity": [[0, 10]]}]
    return problem_from({"format": "capacity-plan-problem/1", "slots": 8, "pools": pools, "requests": requests})


def test_tiers_are_by_worth() -> None:
    assert tiers(rush()).tolist() == [1] * 5 + [0] * 5


def test_keeping_room_serves_those_above() -> None:
    market = Market.of(rush())
    assert serve(market, POLICIES["first come"]).value == 5 * 8
    assert serve(market, Policy(percent=(100, 40, 40))).value == 2 * 8 + 3 * 40


@pytest.mark.parametrize("name", POLICIES)
def test_every_policy_serves_somebody_with_and_without_a_past(name: str) -> None:
    market = Market.of(rush())
    assert serve(market, POLICIES[name]).value > 0
    assert serve(market, POLICIES[name], market).value > 0
