"""Moves that keep whole domains free: few, only of who may move, inside what was told, for nothing, and to rest."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from broker.domain.claim import Ask, Claim, ClaimName, Committed, Past, Placement, Planned, Tier, Waiting
from broker.domain.fleet import (
    CommittedLevel,
    Contract,
    Delivery,
    Fleet,
    Pool,
    PoolKind,
    Silicon,
    Tenant,
    WorkloadClass,
)
from broker.domain.insurance import Insurance, LossKind
from broker.domain.options import options
from broker.domain.reason import Reason
from broker.domain.slots import Window
from broker.domain.snapshot import Snapshot
from broker.domain.terms import Terms
from broker.ledger.promises import broken_promises
from broker.optimiser.check import check
from broker.optimiser.compile import Compiled, compile_problem
from broker.optimiser.defragment import GAIN_LEAST, Defragmented, Leeway, defragment, movable
from broker.optimiser.open_room import Racks
from broker.optimiser.outcome import outcome
from broker.optimiser.problem import Plan
from broker.optimiser.room import Room
from tests.builders import AWAITING_PLAN

SLOTS, FREEZE = 260, 2
RACK = 72


def racks(name: str, count: int, **fields: Any) -> Pool:
    """A pool of whole racks."""
    usual = {"unit_cost_microusd": 400_000, "tray_devices": 4}
    return Pool(name, PoolKind.INTERNAL, "b200", RACK, (Delivery(RACK * count),), **(usual | fields))


def market(pools: tuple[Pool, ...], contract: str = "", quota: int | None = None, **fields: Any) -> Fleet:
    paid = (Contract("c", contract, committed=(CommittedLevel(RACK),), overage_price_microusd=10_000_000),)
    return Fleet(
        silicon=(Silicon("b200"),),
        workload_classes=(WorkloadClass("training", {"b200": 100}),),
        pools=pools,
        contracts=paid if contract else (),
        tenants=(Tenant("a", quota), Tenant("b", None)),
        **fields,
    )


def gang(devices: int, slots: int, earliest: int = 0, **fields: Any) -> Ask:
    """A gang worth six dollars for each device-hour."""
    usual: dict[str, Any] = {"gang": True, "tier": Tier.STANDARD, "value_microusd": 6_000_000 * devices * slots}
    return Ask("training", devices, slots, earliest, **(usual | fields))


def posed(fleet: Fleet, *claims: Claim, slots: int = SLOTS) -> Compiled:
    return compile_problem(Snapshot("i", 1, fleet, claims), Window(0, slots), Terms())


def after(compiled: Compiled, kept: Defragmented) -> list[Claim]:
    """The claims, once that is in force."""
    why = dict.fromkeys(range(len(compiled.requests)), AWAITING_PLAN)
    decided = outcome(compiled, kept.plan, why, freeze_slots=FREEZE, at=0, defragmented=kept.moved)
    by_name = {claim.name: claim for claim in (*compiled.snapshot.claims, *decided.changed)}
    return [by_name[claim.name] for claim in compiled.snapshot.claims]


def room(compiled: Compiled, plan: Plan) -> int:
    """Open room that the plan leaves, in all pools."""
    found = Racks.of(compiled.snapshot.fleet, compiled.problem, Leeway().slots)
    free = Room(compiled.problem, plan).of_pools()
    return sum(int(found.room(pool, free[pool])) for pool in np.flatnonzero(found.devices).tolist())


def worth(compiled: Compiled, plan: Plan) -> int:
    """The objective, if moves as such cost nothing."""
    requests = replace(compiled.problem.requests, move_cost=np.zeros_like(compiled.problem.requests.move_cost))
    return check(replace(compiled.problem, requests=requests), plan).objective


class Case(NamedTuple):
    """A random market, and how far a plan may go."""

    compiled: Compiled
    leeway: Leeway


def case(draw: random.Random) -> Case:
    """Claims at random places with room; some run or are firm, some wait, some were moved before."""
    pools = [racks(f"hall-{n}", draw.randint(2, 6), spare_trays=2 * n) for n in range(draw.choice((1, 2)))]
    pools += [Pool("nodes", PoolKind.INTERNAL, "b200", 8, (Delivery(8 * draw.randint(2, 12)),), tray_devices=8)]
    insured = (Insurance("any", LossKind.ANY_ONE_POOL),) if draw.random() < 0.2 else ()
    quota = RACK * draw.randint(2, 8) if draw.random() < 0.3 else None
    fleet = market(tuple(pools), draw.choice(("", "hall-0")), quota, insurance=insured)
    free = {pool.id: np.array(pool.supply().over(Window(0, SLOTS))) for pool in pools}
    held = np.zeros(SLOTS, np.int64)
    claims = []
    for n in range(draw.randint(1, 12)):
        first = draw.randint(-10, 200)
        size, slots = draw.choice((8, 16, RACK, RACK, 2 * RACK)), draw.choice((5, 12, 24, 60))
        tier, whole = draw.choice(list(Tier)), draw.random() < 0.3
        asked = gang(size, slots, max(0, first - draw.choice((0, 0, 10, 100))), tier=tier, whole_domains=whole)
        claim = Claim(ClaimName(draw.choice("ab"), f"c{n:02}"), asked, Waiting((AWAITING_PLAN,)), 0, 0, 1)
        ways = options(asked, fleet)
        if ways and draw.random() < 0.9:
            way, end = draw.choice(ways), first + slots
            span, own = slice(max(0, first), end), claim.name.tenant == "a" and quota is not None
            limit = quota or 0
            fits = (free[way.pool][span] >= way.devices).all() and (held[span] + way.devices <= limit).all()
            if end > 0 and (fits if own else (free[way.pool][span] >= way.devices).all()):
                free[way.pool][span] -= way.devices
                held[span] += way.devices if own else 0
                state = Committed if first <= FREEZE or draw.random() < 0.2 else Planned
                latest = first + draw.choice((0, 5, 50, 200)) if state is Planned else max(0, first)
                place = Placement(way.pool, way.devices, Window(max(0, first), end), latest, 0, "b200")
                claim = replace(claim, state=state((place,)))
                if draw.random() < 0.1:
                    claim = replace(claim, past=(Past("PLANNED", Reason.DEFRAGMENTED, 0, 1),))
        claims.append(claim)
    leeway = Leeway(draw.choice((1, 2, 3, 50)), later=draw.choice((0, 0, 30)))
    return Case(posed(fleet, *claims), leeway)


@settings(deadline=None, max_examples=300)
@given(seed=st.integers(0, 10**9))
def test_whoever_is_moved_may_be_and_the_others_stay(seed: int) -> None:
    compiled, leeway = case(random.Random(seed))
    plan = compiled.problem.in_force() or Plan.empty(len(compiled.requests))
    kept = defragment(compiled, plan, leeway, freeze_slots=FREEZE)
    differ = np.flatnonzero((kept.plan.option != plan.option) | (kept.plan.start != plan.start)).tolist()
    assert sorted(kept.moved) == differ
    assert len(kept.moved) <= leeway.moves
    assert check(compiled.problem, kept.plan).violations == check(compiled.problem, plan).violations
    for before, now in zip(compiled.snapshot.claims, after(compiled, kept), strict=True):
        assert list(broken_promises(before, now, lambda _: False, slot=0)) == []
        if before.placements == now.placements or before.firm:
            continue
        assert type(before.state) is Planned
        assert type(now.state) is Planned
        assert not any(past.reason is Reason.DEFRAGMENTED for past in before.past)
        assert not (compiled.snapshot.fleet.insurance and before.ask.tier is Tier.GUARANTEED)
        assert [why.reason for why in now.because] == [Reason.DEFRAGMENTED]
        for old, new in zip(before.placements, now.placements, strict=True):
            assert max(before.ask.earliest, FREEZE + 1) <= new.window.first <= old.latest
            assert old.window.first > FREEZE
            assert new.window.end <= old.window.end + leeway.later


@settings(deadline=None, max_examples=300)
@given(seed=st.integers(0, 10**9))
def test_room_only_grows_and_nothing_is_lost_but_what_may_be(seed: int) -> None:
    compiled, leeway = case(random.Random(seed))
    plan = compiled.problem.in_force() or Plan.empty(len(compiled.requests))
    kept = defragment(compiled, plan, leeway, freeze_slots=FREEZE)
    least = GAIN_LEAST * RACK * 16 // 18 * len(kept.moved)
    assert room(compiled, kept.plan) - room(compiled, plan) >= least
    assert all(one.after_ppm >= 0 for one in kept.rooms)
    late = compiled.problem.options.late_cost[compiled.problem.options.first[list(kept.moved)]].sum()
    assert worth(compiled, plan) - worth(compiled, kept.plan) <= late * leeway.later


@settings(deadline=None, max_examples=200)
@given(seed=st.integers(0, 10**9))
def test_planning_again_comes_to_rest(seed: int) -> None:
    """At once, unless there were as many moves as may be; and nobody ever moves twice."""
    compiled, leeway = case(random.Random(seed))
    once = set[ClaimName]()
    for _ in range(len(compiled.snapshot.claims) + 1):
        plan = compiled.problem.in_force() or Plan.empty(len(compiled.requests))
        kept = defragment(compiled, plan, leeway, freeze_slots=FREEZE)
        assert defragment(compiled, plan, leeway, freeze_slots=FREEZE).moved == kept.moved
        names = [compiled.snapshot.claims[compiled.requests[row].claim].name for row in kept.moved]
        assert not once & set(names)
        once |= set(names)
        compiled = posed(compiled.snapshot.fleet, *after(compiled, kept))
        if len(kept.moved) < leeway.moves:
            break
    again = compiled.problem.in_force() or Plan.empty(len(compiled.requests))
    assert defragment(compiled, again, leeway, freeze_slots=FREEZE).moved == ()


def every_move(compiled: Compiled, plan: Plan) -> Iterator[Plan]:
    """Every start of every way of everybody who may move, if it ends no later than now."""
    options = compiled.problem.options
    for row in movable(compiled, plan, FREEZE):
        first = int(options.first[row])
        end = int(plan.start[row] + options.slots[first])
        for at in range(first, int(options.first[row + 1])):
            latest = min(int(options.latest[at]), end - int(options.slots[at]))
            for start in range(max(FREEZE + 1, int(options.earliest[at])), latest + 1):
                other = Plan(plan.option.copy(), plan.start.copy())
                other.option[row], other.start[row] = at - first, start
                yield other


@settings(deadline=None, max_examples=60)
@given(seed=st.integers(0, 10**9))
def test_one_move_makes_as_much_room_as_any_move_could(seed: int) -> None:
    compiled, _ = case(random.Random(seed))
    plan = compiled.problem.in_force() or Plan.empty(len(compiled.requests))
    found = defragment(compiled, plan, Leeway(1), freeze_slots=FREEZE).plan
    before, after = room(compiled, plan), room(compiled, found)
    for other in every_move(compiled, plan):
        if room(compiled, other) > max(after, before + GAIN_LEAST * RACK) and worth(compiled, other) >= worth(
            compiled, plan
        ):
            assert check(compiled.problem, other).violations != ()


@settings(deadline=None, max_examples=60)
@given(seed=st.integers(0, 10**9))
def test_what_is_told_of_rooms_is_what_there_is(seed: int) -> None:
    compiled, leeway = case(random.Random(seed))
    plan = compiled.problem.in_force() or Plan.empty(len(compiled.requests))
    kept = defragment(compiled, plan, leeway, freeze_slots=FREEZE)
    nobody = Plan.empty(len(compiled.requests))
    if len(kept.rooms) == 1:
        parts = [room(compiled, one) * 1_000_000 // room(compiled, nobody) for one in (plan, kept.plan)]
        assert parts == [kept.rooms[0].before_ppm, kept.rooms[0].after_ppm]
    assert [one.pool for one in kept.rooms] == [p.id for p in compiled.snapshot.fleet.pools if p.id != "nodes"]


def test_without_moves_or_without_racks_nothing_is_moved() -> None:
    hole = ask_behind_a_hole()
    for fleet, leeway, moves in (
        (market((racks("hall", 2),)), Leeway(), 1),
        (market((racks("hall", 2),)), Leeway(0), 0),
        (market((racks("hall", 2, slice_trays=9),)), Leeway(), 0),
        (market((racks("hall", 2, tray_devices=0),)), Leeway(), 0),
    ):
        compiled = posed(fleet, hole)
        plan = compiled.problem.in_force()
        assert plan is not None
        kept = defragment(compiled, plan, leeway, freeze_slots=FREEZE)
        assert len(kept.moved) == moves
        assert (kept.plan is plan) is not moves


def ask_behind_a_hole() -> Claim:
    """A claim that could as well start two days sooner, in the hall."""
    place = Placement("hall", 2 * RACK, Window(60, 90), 200, silicon="b200")
    return Claim(ClaimName("a", "c"), gang(2 * RACK, 30, forbidden_pools=("cellar",)), Planned((place,)), 0, 0, 1)


def test_who_could_only_be_moved_to_a_later_end_stays_unless_that_may_be() -> None:
    """A rack for two days at either side of a day that is taken: joined, they would be three on end."""
    fleet = market((racks("hall", 1),))
    place = Placement("hall", RACK, Window(48, 60), 200, silicon="b200")
    middle = Claim(ClaimName("a", "c"), gang(RACK, 12, 48), Planned((place,)), 0, 0, 1)
    rest = Placement("hall", RACK, Window(100, 250), 100, silicon="b200")
    others = Claim(ClaimName("a", "d"), gang(RACK, 150), Committed((rest,)), 0, 0, 1)
    compiled = posed(fleet, middle, others)
    plan = compiled.problem.in_force()
    assert plan is not None
    assert defragment(compiled, plan, Leeway(), freeze_slots=FREEZE).moved == ()
    kept = defragment(compiled, plan, Leeway(later=40), freeze_slots=FREEZE)
    assert kept.moved == (0,)
    assert kept.plan.start[0] == 88, "it touches what comes after it"


def test_quota_and_contract_hold() -> None:
    """There is room where the claim could start sooner, but its tenant uses its quota, or the room is overage."""
    mine = ask_behind_a_hole()
    other = Placement("cellar", 2 * RACK, Window(0, 60), 0, silicon="b200")
    others = Claim(ClaimName("a", "d"), gang(2 * RACK, 60), Committed((other,)), 0, 0, 1)
    pools = (racks("hall", 2), racks("cellar", 2))
    for fleet, claims, moves in (
        (market(pools, quota=2 * RACK), (mine, others), 0),
        (market(pools, quota=4 * RACK), (mine, others), 1),
    ):
        compiled = posed(fleet, *claims)
        plan = compiled.problem.in_force()
        assert plan is not None
        assert len(defragment(compiled, plan, Leeway(), freeze_slots=FREEZE).moved) == moves
    paid = Contract(
        "c", "hall", committed=(CommittedLevel(0), CommittedLevel(2 * RACK, 60 * 3600)), overage_price_microusd=10**7
    )
    compiled = posed(replace(market((racks("hall", 2),)), contracts=(paid,)), mine)
    plan = compiled.problem.in_force()
    assert plan is not None
    assert defragment(compiled, plan, Leeway(), freeze_slots=FREEZE).moved == ()
