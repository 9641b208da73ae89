"""Who ends sooner for whom: runs that are spared, and those that are taken over."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from broker.domain.claim import Claim, Committed, Planned, Preemption, Tier
from broker.domain.fleet import Fleet
from broker.domain.insurance import Insurance, LossKind
from broker.domain.reason import Reason
from broker.domain.slots import Window
from broker.domain.snapshot import Snapshot
from broker.domain.terms import Terms
from broker.optimiser.check import check
from broker.optimiser.compile import Compiled, compile_problem
from broker.optimiser.problem import Plan
from broker.optimiser.room import Room
from broker.optimiser.spare import gives_way, preempted, spare
from broker.optimiser.takeover import take_over
from tests.builders import claim, fleet, placement

NOW = 4
STAYS, ENDS, OUT = 0, 1, -1


def run(name: str, devices: int = 8, end: int = 20, *, rate: int = 1, **fields: Any) -> Claim:
    """A spot gang that has run since slot 0 and saves its work every hour."""
    asked: dict[str, Any] = {"slots": end, "gang": True, "tier": Tier.SPOT, "preemption": Preemption(0, 1, 1)}
    state = Committed((placement(devices=devices, end=end),))
    return claim(name, state=state, devices=devices, **(asked | {"value_microusd": rate * devices * end} | fields))


def wants(name: str, devices: int = 8, slots: int = 4, *, rate: int = 9, **fields: Any) -> Claim:
    """A standard gang that has to start within two hours."""
    asked = {"gang": True, "earliest": NOW, "latest": NOW + 2, "value_microusd": rate * devices * slots}
    return claim(name, devices=devices, slots=slots, **(asked | fields))


def market(*claims: Claim, supply: Fleet | None = None) -> Compiled:
    """The claims in order of name, as a plan made in slot 4 sees them; money does not depend on time."""
    stored = tuple(sorted(claims, key=lambda one: one.name))
    snapshot = Snapshot("i", 1, supply or fleet({"dc-1": 16}), stored)
    return compile_problem(snapshot, Window(NOW, NOW + 40), Terms(waiting=10**9), slot=NOW)


def plan(*rows: int | tuple[int, int]) -> Plan:
    """An option for each row, and a start where it is not the first slot."""
    pairs = [(row, 0) if isinstance(row, int) else row for row in rows]
    return Plan(np.array([option for option, _ in pairs]), np.array([start for _, start in pairs]))


def test_an_end_is_offered_only_where_somebody_who_may_take_it_seeks_a_place() -> None:
    def offered(*others: Claim) -> list[bool]:
        supply = fleet({"dc-1": 16, "dc-2": 16})
        return [r.ends is not None for r in market(run("a/1"), *others, supply=supply).requests[:1]]

    assert offered(wants("b/1")) == [True]
    assert offered() == [False]
    assert offered(wants("b/1", tier=Tier.SPOT)) == [False]
    assert offered(wants("b/1", forbidden_pools=("dc-1",))) == [False]
    placed = Planned((placement("dc-2", first=6, end=10, latest=6),))
    assert offered(wants("b/1", state=placed)) == [False]


def test_ending_sooner_is_worth_what_is_done_and_what_will_be_but_for_the_wait() -> None:
    problem = market(run("a/1"), wants("b/1")).problem
    assert problem.options.value[:2].tolist() == [8 * 20, 8 * (5 + (20 - 5 - 6))]
    assert problem.requests.move_cost[0] == 0
    assert problem.requests.promised[0]


def test_whoever_fits_beside_those_who_may_take_its_place_stays() -> None:
    compiled = market(run("a/1"), run("a/2"), wants("b/1"))
    after = spare(compiled, plan(ENDS, ENDS, (0, 1)))
    assert sorted(after.option[:2].tolist()) == [STAYS, ENDS]
    assert after.option[2] == 0


def test_the_dearest_is_spared_first() -> None:
    compiled = market(run("a/1", rate=3), run("a/2", rate=2), wants("b/1"))
    assert spare(compiled, plan(ENDS, ENDS, (0, 1))).option[:2].tolist() == [STAYS, ENDS]


@pytest.mark.parametrize("other", [wants("b/2", tier=Tier.SPOT, rate=99), wants("b/2", rate=1)])
def test_nobody_ends_for_spot_nor_for_who_is_worth_no_more(other: Claim) -> None:
    compiled = market(run("a/1", 16), wants("b/1", 16), other)
    after = spare(compiled, plan(ENDS, OUT, (0, 1)))
    assert after.option.tolist() == [STAYS, OUT, OUT]
    assert check(compiled.problem, after).ok


def test_who_is_put_aside_gets_the_first_place_with_room() -> None:
    late = wants("b/2", tier=Tier.SPOT, rate=99, latest=None)
    compiled = market(run("a/1", 16), wants("b/1", 16), late)
    after = spare(compiled, plan(ENDS, OUT, (0, 1)))
    assert (after.option[2], after.start[2]) == (0, 16)


@pytest.mark.parametrize(("insurance", "place"), [((), 1), ((Insurance("any", LossKind.ANY_ONE_POOL),), OUT)])
def test_who_is_insured_goes_where_it_was_planned_or_waits(insurance: tuple[Insurance, ...], place: int) -> None:
    supply = replace(fleet({"dc-1": 16, "dc-2": 16}), insurance=insurance)
    poor = wants("b/2", 16, rate=1, tier=Tier.GUARANTEED)
    compiled = market(run("a/1", 16), poor, supply=supply)
    after = spare(compiled, plan(ENDS, (0, 1)))
    assert after.option.tolist() == [STAYS, place]


def test_a_spot_claim_that_was_to_move_into_the_place_stays_where_it_is() -> None:
    there = Planned((placement(devices=16, first=24, end=28, latest=30),))
    moving = wants("b/2", 16, tier=Tier.SPOT, latest=None, state=there)
    compiled = market(run("a/1", 16), wants("b/1", 16), moving)
    after = spare(compiled, plan(ENDS, OUT, (1, 1)))
    assert (after.option.tolist(), after.start[2]) == ([STAYS, OUT, 0], 20)


def test_a_claim_that_gives_way_gains_nothing_by_the_same_plan() -> None:
    whole = run("a/1", 8)
    parts = replace(whole, ask=replace(whole.ask, devices=16, gang=False, value_microusd=16 * 20))
    compiled = market(parts, wants("b/1", 8), supply=fleet({"dc-1": 8, "dc-2": 8}))
    assert [request.part for request in compiled.requests[:2]] == [0, 1]
    gains = plan(ENDS, (1, 0), (0, 1))
    assert check(compiled.problem, gains).ok
    assert spare(compiled, gains).option.tolist() == [ENDS, OUT, 0]


def test_a_plan_in_which_nobody_ends_sooner_is_left_alone() -> None:
    compiled = market(run("a/1"), wants("b/1"))
    found = plan(STAYS, 0)
    assert spare(compiled, found) is found
    assert gives_way(compiled, found) == []


def test_who_was_left_out_takes_over_what_costs_least() -> None:
    compiled = market(run("a/1", rate=3), run("a/2", rate=2), wants("b/1"))
    after = take_over(compiled, plan(STAYS, STAYS, OUT))
    assert after.option.tolist() == [STAYS, ENDS, 0]
    assert after.start[2] == 1
    assert check(compiled.problem, after).ok


def test_no_more_are_ended_than_must() -> None:
    small = [run(f"a/{n}", 4, rate=1) for n in range(2)]
    compiled = market(*small, run("a/9", 8, rate=2), wants("b/1", 8))
    assert take_over(compiled, plan(STAYS, STAYS, STAYS, OUT)).option.tolist() == [ENDS, ENDS, STAYS, 0]
    compiled = market(*small, run("a/9", 8, rate=2), wants("b/1", 10, rate=50))
    assert sum(take_over(compiled, plan(STAYS, STAYS, STAYS, OUT)).option == ENDS) == 3 - 1


@pytest.mark.parametrize(
    "seeker",
    [
        wants("b/1", 16, rate=1),  # worth no more by the hour
        wants("b/1", 16, slots=1, rate=2),  # worth less than the hours that are lost
        wants("b/1", 16, latest=NOW),  # notice is longer than it can wait
        wants("b/1", 16, tier=Tier.SPOT, rate=99),
    ],
)
def test_who_takes_nothing_over(seeker: Claim) -> None:
    compiled = market(run("a/1", 16), seeker, wants("b/2", 16, latest=NOW))
    assert take_over(compiled, plan(STAYS, OUT, OUT)).option.tolist() == [STAYS, OUT, OUT]


def test_those_of_whom_the_room_is_kept_take_nothing_over() -> None:
    compiled = market(run("a/1", 16), wants("b/1", 16))
    assert take_over(compiled, plan(STAYS, OUT), but=frozenset({1})).option.tolist() == [STAYS, OUT]


def test_a_quota_is_taken_over_as_a_pool_is() -> None:
    supply = fleet({"dc-1": 16, "dc-2": 16}, {"a": 8, "b": None})
    compiled = market(run("a/1"), run("b/1"), wants("a/2", forbidden_pools=("dc-1",)), wants("b/2"), supply=supply)
    by_id = dict(zip(compiled.problem.requests.ids, range(4), strict=True))
    found = Plan(np.full(4, OUT), np.zeros(4, np.int64))
    found.option[[by_id["a/1#0"], by_id["b/1#0"]]] = STAYS
    after = take_over(compiled, found)
    assert after.option[by_id["a/2#0"]] == 0
    assert after.option[by_id["a/1#0"]] == ENDS
    assert after.option[by_id["b/1#0"]] == STAYS
    assert check(compiled.problem, after).ok


def test_the_reason_names_times_and_tiers_and_only_claims_of_its_tenant() -> None:
    compiled = market(run("a/1"), run("a/2"), wants("a/3", 4), wants("b/1", 4, tier=Tier.GUARANTEED))
    why = preempted(compiled, plan(ENDS, STAYS, (0, 1), (0, 1)), 0)
    assert why.reason is Reason.PREEMPTED
    assert why.facts == {
        "pool": "pools/dc-1",
        "end_unix_seconds": str(5 * 3600),
        "left_ppm": "750000",
        "by_tier": "GUARANTEED,STANDARD",
        "times": "1",
        "times_most": "2",
        "by": "tenants/a/claims/3",
    }


def test_room_follows_the_plan() -> None:
    compiled = market(run("a/1"), wants("b/1", 12))
    found = plan(STAYS, OUT)
    room = Room(compiled.problem, found)
    assert not room.fits(1, 0, 1)
    assert room.soonest(1, 0) is None
    room.put(0, -1)
    found.option[0] = ENDS
    room.put(0, 1)
    assert room.fits(1, 0, 1)
    assert room.soonest(1, 0) == 1
