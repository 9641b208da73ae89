"""From the live market to a problem: what is promised stays promised, what cannot be is told apart."""

from __future__ import annotations

from typing import Any

from broker.domain.claim import Claim, Committed, Displaced, Planned, Tier
from broker.domain.fleet import Fleet, Maintenance
from broker.domain.reason import Reason
from broker.domain.slots import SLOT_SECONDS, Window
from broker.domain.snapshot import Snapshot
from broker.domain.terms import Terms
from broker.optimiser.check import check
from broker.optimiser.compile import Compiled, compile_problem
from broker.optimiser.outcome import outcome
from broker.optimiser.problem import Plan
from tests.builders import AWAITING_PLAN, claim, fleet, placement, pool

HORIZON = Window(100, 268)


def compiled(*claims: Claim, supply: Fleet | None = None) -> Compiled:
    return compile_problem(Snapshot("i", 7, supply or fleet({"dc-1": 64}), claims), HORIZON, Terms())


def starts(result: Compiled, request: int, option: int) -> tuple[int, int]:
    row = int(result.problem.options.first[request]) + option
    options = result.problem.options
    return int(options.earliest[row]) + HORIZON.first, int(options.latest[row]) + HORIZON.first


def test_a_waiting_claim_may_start_anywhere_in_its_window() -> None:
    result = compiled(claim(gang=True, slots=10, earliest=90, deadline=150))
    assert starts(result, 0, 0) == (100, 140)
    assert not result.problem.requests.promised[0]


def test_a_planned_claim_may_move_up_to_what_it_was_told() -> None:
    held = Planned((placement(first=120, end=130, latest=150),))
    result = compiled(claim(gang=True, slots=10, earliest=90, deadline=200, state=held))
    assert result.requests[0].stays
    assert starts(result, 0, 0) == (120, 120)
    assert starts(result, 0, 1) == (100, 150)
    assert result.problem.requests.promised[0]


def test_spot_is_promised_nothing_until_it_is_committed() -> None:
    held = (placement(first=120, end=130),)
    asked: dict[str, Any] = {"gang": True, "slots": 10, "tier": Tier.SPOT}
    assert not compiled(claim(state=Planned(held), **asked)).problem.requests.promised[0]
    assert compiled(claim(state=Committed(held), **asked)).problem.requests.promised[0]


def test_what_runs_stays_for_the_time_it_has_left() -> None:
    held = Committed((placement(first=90, end=110),))
    result = compiled(claim(gang=True, slots=20, state=held))
    assert result.requests[0].settled
    assert result.problem.options.slots.tolist() == [10]
    assert starts(result, 0, 0) == (100, 100)


def test_where_devices_were_lost_the_promise_is_lifted_and_every_way_is_open() -> None:
    away = Maintenance(32, at=110 * SLOT_SECONDS, until=115 * SLOT_SECONDS)
    supply = fleet((pool("dc-1", 64, maintenance=(away,)), pool("dc-2", 64)))
    lost = claim("atlas/lost", devices=64, gang=True, slots=20, state=Committed((placement("dc-1", 64, 105, 125),)))
    safe = claim("atlas/safe", devices=64, gang=True, slots=20, state=Committed((placement("dc-1", 64, 140, 160),)))
    result = compiled(lost, safe, supply=supply)
    assert [request.short for request in result.requests] == [True, False]
    assert result.problem.requests.promised.tolist() == [False, True]
    assert {option.pool for option in result.requests[0].options} == {"dc-1", "dc-2"}


def test_what_cannot_be_planned_is_told_apart() -> None:
    result = compiled(
        claim("atlas/a", gang=True, workload_class="astrology"),
        claim("atlas/b", gang=True, slots=10, deadline=105),
        claim("atlas/c", gang=True, slots=10, earliest=300, deadline=305),
        claim("atlas/d", gang=True, slots=10, earliest=300),
    )
    assert len(result.requests) == 0
    assert [result.barred[n].reason for n in range(4)] == [
        Reason.NO_ELIGIBLE_POOL,
        Reason.WINDOW_PASSED,
        Reason.WINDOW_TOO_SHORT,
        Reason.BEYOND_HORIZON,
    ]
    assert result.over == {1, 2}


def test_the_plan_in_force_is_a_plan_of_the_problem_and_changes_nobody() -> None:
    held = [Planned((placement(devices=32, first=110 + n, end=120 + n, latest=150),)) for n in range(2)]
    claims = [claim(f"atlas/{n}", devices=32, gang=True, slots=10, state=held[n]) for n in range(2)]
    result = compiled(*claims)
    requests = result.problem.requests
    plan = Plan(requests.current_option, requests.current_start)
    assert check(result.problem, plan).violations == ()
    assert outcome(result, plan, {}, freeze_slots=1, at=HORIZON.first * SLOT_SECONDS).changed == ()


def test_a_pool_that_is_gone_leaves_no_way_to_stay() -> None:
    lost = claim(gang=True, slots=10, state=Planned((placement("gone", first=110, end=120),)))
    result = compiled(lost)
    assert not result.requests[0].stays
    assert int(result.problem.requests.current_option[0]) == -1
    done = outcome(result, Plan.empty(1), {0: AWAITING_PLAN}, freeze_slots=1, at=0)
    (changed,) = done.changed
    assert isinstance(changed.state, Displaced)
    assert changed.state.because[0].reason is Reason.SUPPLY_LOST
