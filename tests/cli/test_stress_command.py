"""A stress report as people read it, and a plan that tells what insurance costs."""

from __future__ import annotations

import json

from capacitybroker import TIER_GUARANTEED, TIER_SPOT, TIER_STANDARD, PoolLoss
from capacitybroker.v1 import plan_pb2
from capacitybroker.v1 import planning_service_pb2 as planning
from typer.testing import CliRunner, Result

from broker.cli import app
from tests.client.broker_double import Script, answer, serving

REPORT = planning.StressTestResponse(
    losses=[
        PoolLoss(
            pool="pools/dc-a",
            supplied_devices=100,
            held_devices=80,
            tiers=[
                planning.TierLoss(tier=TIER_GUARANTEED, claims=3, served_again=2, uninsurable=1, devices=50),
                planning.TierLoss(tier=TIER_STANDARD, claims=4, served_again=4, devices=20),
                planning.TierLoss(tier=TIER_SPOT),
            ],
            refuges=[planning.Refuge(pool="pools/dc-b", devices=60)],
            giving_way=7,
            not_served=["tenants/t/claims/big"],
        ),
        PoolLoss(pool="pools/dc-b", supplied_devices=64),
    ]
)


def run(script: Script, *arguments: str) -> Result:
    with serving(script) as address:
        return CliRunner().invoke(app, [*arguments, "--address", address])


def test_a_line_for_each_pool_says_who_is_served_again_and_who_is_not() -> None:
    told = run(Script(StressTest=[answer(REPORT)]), "stress", "--for", "2d")
    assert told.exit_code == 0, told.output
    lines = told.stdout.splitlines()
    assert lines[0].startswith("If a pool were lost for 2d")
    (first,) = (line for line in lines if line.startswith("dc-a ") and "2 of 3" in line)
    assert "2 of 3 (1 uninsurable)" in first
    assert "4 of 4" in first
    assert "█" * 10 + "▓" * 4 + "·" * 6 in first
    assert first.rstrip().endswith("lost")
    (second,) = (line for line in lines if line.startswith("dc-b "))
    assert "·" * 20 in second
    assert "lost" not in second
    assert "dc-a: its work would take 60 of dc-b" in lines
    assert "dc-a: not served again: t/big" in lines


def test_window_and_pools_are_asked_for() -> None:
    script = Script(StressTest=[answer(REPORT)])
    run(script, "stress", "--for", "2d", "--pool", "dc-a", "--pool", "dc-b")
    (asked,) = script.requests
    assert asked.window.seconds == 2 * 24 * 3600
    assert list(asked.pools) == ["pools/dc-a", "pools/dc-b"]
    assert run(script, "stress", "--for", "soon").exit_code == 2


def test_programs_get_the_whole_report() -> None:
    told = json.loads(run(Script(StressTest=[answer(REPORT)]), "stress", "--output", "json").stdout)
    assert told["losses"][0]["refuges"] == [{"pool": "pools/dc-b", "devices": "60"}]


def test_a_broker_without_pools_says_so() -> None:
    assert "No pools" in run(Script(StressTest=[answer(planning.StressTestResponse())]), "stress").stdout


def test_a_plan_tells_what_its_insurance_costs() -> None:
    costs = [
        plan_pb2.LossCost(
            insurance="any", pools=["pools/dc-a"], at_most_microusd=3_000_000_000, hit=5, insured=4, uninsurable=1
        ),
        plan_pb2.LossCost(insurance="any", pools=["pools/dc-b"]),
    ]
    plan = plan_pb2.Plan(name="plans/9", insurance=costs)
    lines = run(
        Script(GetPlan=[answer(planning.GetPlanResponse(plan=plan))]), "plan-now", "--latest"
    ).stdout.splitlines()
    (line,) = (line for line in lines if "insured" in line)
    assert "any, dc-a: 4 of 5 guaranteed places have a berth, 1 could have none; room worth $3,000" in line
