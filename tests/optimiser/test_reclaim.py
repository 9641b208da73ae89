"""Who is on loan ends in the stead of who is within its quota, where that costs hardly more."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broker.domain.claim import Claim, Committed, Preemption, Tier
from broker.domain.preemption import WHOLE, outranks
from broker.optimiser.check import check
from broker.optimiser.compile import Compiled
from broker.optimiser.problem import Plan
from broker.optimiser.reclaim import STEAD_PERCENT, loss
from broker.optimiser.room import Room
from broker.optimiser.spare import claim_of, gives_way, rank, spare
from broker.optimiser.takeover import make_way
from tests.builders import claim, fleet, placement
from tests.optimiser.test_giving_way import ENDS, NOW, OUT, STAYS, market, plan, run, wants


def lent(name: str, devices: int = 8, end: int = 20, **fields: Any) -> Claim:
    """A spot gang that runs on loan since slot 0."""
    return run(name, devices, end, on_loan=True, **fields)


def test_among_equals_who_is_on_loan_ends() -> None:
    compiled = market(run("a/1"), lent("a/2"), wants("b/1"))
    assert spare(compiled, plan(ENDS, STAYS, (0, 1))).option.tolist() == [STAYS, ENDS, 0]
    assert spare(compiled, plan(STAYS, ENDS, (0, 1))).option.tolist() == [STAYS, ENDS, 0]
    assert spare(compiled, plan(ENDS, ENDS, (0, 1))).option.tolist() == [STAYS, ENDS, 0]
    assert make_way(compiled, plan(STAYS, STAYS, OUT)).option.tolist() == [STAYS, ENDS, 0]


def test_who_is_worth_more_by_the_hour_stays_on_loan_or_not() -> None:
    compiled = market(run("a/1", rate=100), lent("a/2", rate=101), wants("b/1", rate=999))
    assert spare(compiled, plan(ENDS, STAYS, (0, 1))).option.tolist() == [ENDS, STAYS, 0]


def test_nobody_loses_much_for_being_on_loan() -> None:
    """Each device loses the same by ending, and so many more of them end."""

    def ends(percent: int) -> list[int]:
        compiled = market(
            run("a/1", 100, rate=100),
            lent("a/2", percent, rate=100),
            wants("b/1", 100, rate=999),
            supply=fleet({"dc-1": 100 + percent}),
        )
        return [int(option) for option in spare(compiled, plan(ENDS, STAYS, (0, 1))).option]

    assert ends(100 + STEAD_PERCENT) == [STAYS, ENDS, 0]
    assert ends(100 + STEAD_PERCENT + 3) == [ENDS, STAYS, 0]


def test_lost_work_counts() -> None:
    compiled = market(run("a/1"), lent("a/2", preemption=Preemption(0, 1, 0)), wants("b/1"))
    assert spare(compiled, plan(ENDS, STAYS, (0, 1))).option.tolist() == [ENDS, STAYS, 0]


def test_only_who_is_in_the_same_pool_can_end_instead() -> None:
    there = lent("a/2", forbidden_pools=("dc-1",))
    there = replace(there, state=Committed((placement("dc-2", devices=8, end=20),)))
    seeker = wants("b/1", 8, forbidden_pools=("dc-2",))
    other = wants("b/2", 8, forbidden_pools=("dc-1",), state=None)
    compiled = market(run("a/1"), there, seeker, other, supply=fleet({"dc-1": 8, "dc-2": 8}))
    assert compiled.requests[1].ends is not None
    assert spare(compiled, plan(ENDS, STAYS, (0, 1), OUT)).option.tolist() == [ENDS, STAYS, 0, OUT]


def test_as_few_as_are_enough_end_instead() -> None:
    three = [lent(f"a/{n}", 4) for n in (2, 3, 4)]
    compiled = market(run("a/1", 8), *three, wants("b/1", 8), supply=fleet({"dc-1": 20}))
    after = spare(compiled, plan(ENDS, *[STAYS] * 3, (0, 1)))
    assert after.option[0] == STAYS
    assert sorted(after.option[1:4].tolist()) == [STAYS, ENDS, ENDS]


def test_where_they_are_not_enough_nobody_ends_in_vain() -> None:
    compiled = market(run("a/1", 8), lent("a/2", 4), wants("b/1", 8), supply=fleet({"dc-1": 12}))
    assert spare(compiled, plan(ENDS, STAYS, (0, 1))).option.tolist() == [ENDS, STAYS, 0]


@pytest.mark.parametrize("terms", [Preemption(12, 1, 1), Preemption(0, 19, 1)])
def test_who_may_not_be_told_yet_is_not(terms: Preemption) -> None:
    compiled = market(run("a/1"), lent("a/2", preemption=terms), wants("b/1"))
    assert spare(compiled, plan(ENDS, STAYS, (0, 1))).option.tolist() == [ENDS, STAYS, 0]


def test_who_was_told_twice_is_firm_on_loan_as_well() -> None:
    ran = tuple(placement(first=n, end=n + 1, left_ppm=WHOLE - 1) for n in (0, 1))
    told = replace(lent("a/2"), ran=ran, state=Committed((placement(first=2, end=20),)))
    compiled = market(run("a/1"), told, wants("b/1"))
    assert spare(compiled, plan(ENDS, STAYS, (0, 1))).option.tolist() == [ENDS, STAYS, 0]


def test_who_ends_instead_gains_nothing_by_the_same_plan() -> None:
    both = lent("a/2", 16, end=20, gang=False, value_microusd=16 * 20)
    both = replace(both, state=Committed((placement(devices=8, end=20),)))
    supply = fleet({"dc-1": 16, "dc-2": 8}, {"a": None, "b": None}, {"a": 16})
    compiled = market(run("a/1"), both, wants("b/1"), supply=supply)
    assert [(one.claim, one.part) for one in compiled.requests] == [(0, 0), (1, 0), (1, 1), (2, 0)]
    gains = plan(ENDS, STAYS, (1, 0), (0, 1))
    assert check(compiled.problem, gains).ok
    assert spare(compiled, gains).option.tolist() == [STAYS, ENDS, OUT, 0]


def test_a_quota_is_not_freed_by_what_is_beside_it() -> None:
    """The seeker lacks quota, not devices; to end what its tenant has on loan would not help."""
    supply = fleet({"dc-1": 64}, {"b": 8, "a": None}, {"b": 8})
    compiled = market(run("b/1"), lent("b/2"), wants("b/3"), supply=supply)
    assert compiled.problem.quotas.ids == ("b/loans", "b")
    assert compiled.problem.requests.quota.tolist() == [1, 0, 1]
    assert make_way(compiled, plan(STAYS, STAYS, OUT)).option.tolist() == [ENDS, STAYS, 0]


def test_what_may_not_be_lent_any_longer_stays_and_nothing_is_added() -> None:
    compiled = market(lent("a/1"), claim("a/2", devices=8, tier=Tier.SPOT, on_loan=True, earliest=NOW, gang=True))
    (row,) = compiled.problem.quotas.limit.tolist()
    assert row == [8] * 16 + [0] * 24
    after = make_way(compiled, plan(STAYS, OUT))
    assert check(compiled.problem, after).ok


def random_market(draw: random.Random) -> Compiled:
    """A few runs, on loan or not, and who seeks a place; all in one or two pools."""
    pools = {f"dc-{n}": draw.randint(8, 24) for n in (1, 2)}
    room, claims = dict(pools), list[Claim]()
    for n in range(draw.randint(2, 8)):
        pool, devices = draw.choice(list(pools)), draw.randint(1, 8)
        if room[pool] < devices:
            continue
        room[pool] -= devices
        terms = Preemption(draw.choice([0, 0, 9]), draw.randint(1, 3), draw.choice([0, 1, 3]))
        make = draw.choice([run, lent])
        one = make(f"a/{n}", devices, draw.randint(8, 20), rate=draw.choice([10, 10, 20]), preemption=terms)
        claims.append(replace(one, state=Committed((replace(one.placements[0], pool=pool),))))
    for n in range(draw.randint(1, 4)):
        tier = draw.choice([Tier.STANDARD, Tier.STANDARD, Tier.GUARANTEED, Tier.SPOT])
        rate = draw.choice([11, 12, 25, 99])
        claims.append(wants(f"b/{n}", draw.randint(1, 12), draw.randint(1, 6), rate=rate, tier=tier))
    return market(*claims, supply=fleet(pools))


def random_plan(draw: random.Random, compiled: Compiled) -> Plan:
    """A plan that keeps the rules and is no better than chance."""
    made = plan(*[STAYS if one.stays else OUT for one in compiled.requests])
    room = Room(compiled.problem, made)
    for row, one in enumerate(compiled.requests):
        if one.ends is not None and draw.random() < 0.6:
            room.put(row, -1)
            made.option[row] = ENDS
            room.put(row, 1)
    for row, one in enumerate(compiled.requests):
        option = draw.randrange(len(one.options))
        if one.seeks and (start := room.soonest(row, option)) is not None:
            made.option[row], made.start[row] = option, start
            room.put(row, 1)
    return made


@settings(deadline=None, max_examples=300)
@given(seed=st.integers(0, 10**9))
def test_nobody_within_its_quota_ends_where_one_on_loan_would_do(seed: int) -> None:
    draw = random.Random(seed)
    compiled = random_market(draw)
    before = random_plan(draw, compiled)
    assert check(compiled.problem, before).ok
    after = make_way(compiled, before)
    assert check(compiled.problem, after).ok
    ending, problem = gives_way(compiled, after), compiled.problem
    takers = [
        claim_of(compiled, row) for row, one in enumerate(compiled.requests) if one.seeks and after.option[row] >= 0
    ]
    for row in ending:
        mine = claim_of(compiled, row)
        assert any(outranks(taker, mine) for taker in takers)
        if mine.ask.on_loan:
            continue
        for other in lendable(compiled, after, row):
            if 100 * loss(problem, other) <= (100 + STEAD_PERCENT) * loss(problem, row):
                assert not stands_in(compiled, after, row, other), (str(mine.name), other)


def lendable(compiled: Compiled, after: Plan, row: int) -> list[int]:
    """Who runs on loan where ``row`` does, could end, does not, and is worth no more by the device-hour."""
    pool = compiled.requests[row].options[0].pool
    return [
        other
        for other, one in enumerate(compiled.requests)
        if one.ends is not None
        and after.option[other] == STAYS
        and claim_of(compiled, other).ask.on_loan
        and one.options[0].pool == pool
        and rank(claim_of(compiled, other)) <= rank(claim_of(compiled, row))
    ]


def stands_in(compiled: Compiled, after: Plan, row: int, other: int) -> bool:
    """Whether ``row`` could stay if ``other`` ended, and everybody else were where he is."""
    trial = Plan(after.option.copy(), after.start.copy())
    trial.option[row], trial.option[other] = STAYS, ENDS
    return check(compiled.problem, trial).ok
