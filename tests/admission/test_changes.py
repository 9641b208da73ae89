"""What lets an ask in is as little as it says, and nothing of it can be left out."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from broker.admission.calendar import Calendar
from broker.admission.changes import Change, ChangeKind, changed, least_changes
from broker.admission.explain import explain
from broker.admission.policy import Policy
from broker.admission.quote import Offer, counter_offers, offers
from broker.domain.bid_prices import BidPrices
from broker.domain.claim import Ask, Hold, Planned, SiliconChoice, Tier
from broker.domain.reason import ALONE, LENT, Reason
from broker.domain.slots import Window
from tests.admission.test_ranking import FIRST, SLOTS, random_calendar
from tests.builders import ask, claim, fleet, placement

POLICY = Policy()


def hard_ask(draw: random.Random) -> Ask:
    """An ask that seldom fits."""
    earliest, tier = FIRST + draw.randint(0, 20), draw.choice(list(Tier))
    latest = draw.choice([None, earliest + draw.randint(0, 5)])
    return ask(
        devices=draw.randint(8, 60),
        slots=draw.randint(2, 30),
        earliest=earliest,
        latest=latest,
        deadline=draw.choice([None, earliest + draw.randint(2, 30)]),
        gang=draw.random() < 0.8,
        tier=tier,
        on_loan=tier is Tier.SPOT and draw.random() < 0.5,
        value_microusd=draw.choice([0, 100, 10_000, 10**6]),
        silicon=draw.choice([(), (SiliconChoice("mtia"),), (SiliconChoice("b200", draw.randint(1, 50)),)]),
        whole_domains=draw.random() < 0.2,
        min_domain_devices=draw.choice([0, 0, 8, 72]),
        forbidden_pools=draw.choice([(), ("pool-0",), ("pool-0", "pool-1")]),
    )


def dominates(one: Offer, other: Offer) -> bool:
    a, b = ({c.kind: c.amount for c in offer.changes} for offer in (one, other))
    return a != b and all(b.get(kind, 0) >= amount for kind, amount in a.items())


@settings(deadline=None)
@given(seed=st.integers(0, 10**9))
def test_counter_offers_can_be_taken_and_none_is_dominated(seed: int) -> None:
    draw = random.Random(seed)
    calendar, wanted = random_calendar(draw), hard_ask(draw)
    if offers(POLICY, wanted, "atlas", calendar):
        return
    instead = counter_offers(POLICY, wanted, "atlas", calendar)
    for offer in instead:
        assert offer.ask == changed(wanted, offer.changes)
        assert POLICY.at(offer.ask, "atlas", calendar, offer.placements) == offer.placements
        assert not any(dominates(other, offer) for other in instead)


@settings(deadline=None)
@given(seed=st.integers(0, 10**9))
def test_nothing_of_the_smallest_change_can_be_left_out(seed: int) -> None:
    draw = random.Random(seed)
    calendar, wanted = random_calendar(draw), hard_ask(draw)
    found = explain(POLICY, wanted, "atlas", calendar, ())
    assert (found is None) == bool(offers(POLICY, wanted, "atlas", calendar))
    if found is None or not found.changes:
        return
    assert offers(POLICY, changed(wanted, found.changes), "atlas", calendar)
    for change in found.changes:
        rest = tuple(other for other in found.changes if other is not change)
        assert not offers(POLICY, changed(wanted, rest), "atlas", calendar)
    if len(found.changes) == 1 and found.changes[0].kind is not ChangeKind.MORE_VALUE:
        less = Change(found.changes[0].kind, found.changes[0].amount - 1)
        assert not offers(POLICY, changed(wanted, (less,)), "atlas", calendar)


def test_no_change_is_needed_or_none_helps() -> None:
    wanted = ask(devices=4)
    assert len(list(least_changes(wanted, lambda _: False, latest_slot=99))) == 0
    for changes in least_changes(
        wanted, lambda asked: asked.devices == 1 and asked.tier is Tier.GUARANTEED, latest_slot=99
    ):
        assert changes == (Change(ChangeKind.FEWER_DEVICES, 3), Change(ChangeKind.HIGHER_TIER, 1))


def test_what_takes_three_changes_is_found() -> None:
    wanted = ask(devices=9, slots=9, tier=Tier.SPOT)

    def fits(asked: Ask) -> bool:
        return asked.devices <= 5 and asked.slots <= 7 and asked.tier is not Tier.SPOT

    (changes,) = least_changes(wanted, fits, latest_slot=99)
    assert {change.kind: change.amount for change in changes} == {
        ChangeKind.FEWER_DEVICES: 4,
        ChangeKind.SHORTER: 2,
        ChangeKind.HIGHER_TIER: 1,
    }


def walled(**asked: Any) -> tuple[Calendar, Ask]:
    """dc-1 has 64 devices, of which another tenant's claim holds 60 from the second hour to the tenth."""
    market = fleet({"dc-1": 64}, {"atlas": 32, "borealis": None})
    holds = claim("borealis/big", state=Planned((placement("dc-1", 60, 1, 10),))).holds()
    return Calendar(market, holds, Window(0, SLOTS)), ask(gang=True, **asked)


def test_the_wall_is_told_with_its_numbers() -> None:
    calendar, wanted = walled(devices=8, slots=4, latest=3, tier=Tier.GUARANTEED)
    others = [claim("borealis/big", state=Planned((placement("dc-1", 60, 1, 10),)))]
    found = explain(POLICY, wanted, "atlas", calendar, others)
    assert found is not None
    assert found.because.reason is Reason.NO_CONTIGUOUS_ROOM
    (wall,) = found.walls
    assert (wall.pool, wall.window, wall.needed, wall.free, wall.quota_free) == ("dc-1", Window(1, 4), 8, 4, 32)
    (holder,) = found.holders
    assert (holder.name, holder.devices, holder.until) == (None, 60, 10)
    assert found.changes == (Change(ChangeKind.LATER, 7),)
    mine = explain(POLICY, wanted, "borealis", calendar, others)
    assert mine is not None
    assert mine.holders[0].name == others[0].name


def test_each_kind_of_wall_has_its_reason() -> None:
    late = {"earliest": 12, "slots": 4}
    for fields, reason in (
        ({"devices": 40}, Reason.QUOTA_REACHED),
        ({"devices": 65}, Reason.EXCEEDS_CAPACITY),
        ({"devices": 30, "tier": Tier.SPOT, "earliest": 7, "latest": 7}, Reason.NO_CONTIGUOUS_ROOM),
        ({"devices": 8, "min_domain_devices": 72}, Reason.NO_ELIGIBLE_POOL),
    ):
        calendar, wanted = walled(**(late | fields))
        found = explain(POLICY, wanted, "atlas", calendar, ())
        assert found is not None
        assert found.because.reason is reason, fields


def test_room_that_is_kept_is_a_wall() -> None:
    calendar, wanted = walled(devices=4, tier=Tier.SPOT, earliest=7, latest=7, slots=2)
    assert explain(POLICY, wanted, "atlas", calendar, ()) is None
    calendar.wanted[:], calendar.expects = 64, True
    found = explain(POLICY, wanted, "atlas", calendar, ())
    assert found is not None
    assert found.because.reason is Reason.ROOM_KEPT


def crowded(quota: int, busy: int) -> Calendar:
    """A pool of 64 in which others use some all the time, and one of 8 that is idle."""
    market = fleet({"dc-1": 64, "dc-2": 8}, {"atlas": quota})
    return Calendar(market, [Hold("pools/dc-1", Window(0, SLOTS), busy)], Window(0, SLOTS))


def test_a_pool_that_could_never_hold_the_claim_does_not_speak_for_one_that_is_busy() -> None:
    wanted = ask(devices=32, gang=True, tier=Tier.GUARANTEED, latest=2, value_microusd=10**9)
    found = explain(POLICY, wanted, "atlas", crowded(quota=64, busy=60), ())
    assert found is not None
    assert found.because.reason is Reason.NO_CONTIGUOUS_ROOM
    assert {wall.pool: wall.reason for wall in found.walls}["dc-2"] is Reason.EXCEEDS_CAPACITY


def test_a_quota_that_could_never_hold_the_claim_comes_before_room_that_may_come() -> None:
    wanted = ask(devices=32, gang=True, tier=Tier.GUARANTEED, latest=2, value_microusd=10**9)
    own = (claim("atlas/one", state=Planned((placement("dc-1", 16, 0, 4),))),)
    found = explain(POLICY, wanted, "atlas", crowded(quota=24, busy=60), own)
    assert found is not None
    assert (found.because.reason, found.because.message) == (Reason.QUOTA_REACHED, ALONE)


def test_the_price_at_a_wall_is_what_it_costs_to_run_and_more() -> None:
    market = fleet({"dc-1": 64}, {"atlas": 64})
    market = replace(market, pools=tuple(replace(pool, unit_cost_microusd=10**6) for pool in market.pools))
    wanted = ask(devices=8, slots=4, gang=True, tier=Tier.STANDARD, latest=2, value_microusd=10**6)
    found = explain(POLICY, wanted, "atlas", Calendar(market, (), Window(0, SLOTS)), ())
    assert found is not None
    assert found.because.reason is Reason.COST_EXCEEDS_VALUE
    assert found.walls[0].price_microusd == 8 * 4 * 10**6 > found.walls[0].value_microusd


def test_offers_keep_no_room_where_a_plan_would_keep_none() -> None:
    wanted = ask(devices=60, gang=True, tier=Tier.SPOT, latest=2, value_microusd=10**12)
    calendar = Calendar(fleet({"dc-1": 64}), (), Window(0, SLOTS), BidPrices(0))
    assert not POLICY.grants(wanted, "atlas", calendar)
    assert POLICY.offers(wanted, "atlas", calendar)
    assert explain(POLICY, wanted, "atlas", calendar, ()) is None


def test_fewer_devices_do_not_make_a_rigid_claim_elastic() -> None:
    rigid = ask(devices=8, min_devices=8, max_devices=8)
    assert not changed(rigid, (Change(ChangeKind.FEWER_DEVICES, 3),)).elastic
    elastic = changed(ask(devices=8, min_devices=4, max_devices=16), (Change(ChangeKind.FEWER_DEVICES, 5),))
    assert (elastic.min_devices, elastic.devices, elastic.max_devices) == (3, 3, 16)


def lending(*, quota: int, loans: int | None, **asked: Any) -> tuple[Calendar, Ask]:
    """All 64 devices are free, and nobody is expected to want them; only limits of the tenant stand in the way."""
    market = fleet({"dc-1": 64}, {"atlas": quota}, {} if loans is None else {"atlas": loans})
    usual: dict[str, Any] = {"devices": 16, "gang": True, "tier": Tier.SPOT, "latest": 2, "value_microusd": 10**9}
    return Calendar(market, (), Window(0, SLOTS)), ask(**(usual | asked))


def test_spot_work_beyond_its_quota_is_told_that_it_may_be_on_loan() -> None:
    calendar, wanted = lending(quota=8, loans=16)
    found = explain(POLICY, wanted, "atlas", calendar, ())
    assert found is not None
    assert (found.because.reason, found.because.message) == (Reason.QUOTA_REACHED, ALONE)
    assert found.walls[0].quota_free == 8
    kinds = {offer.changes: offer.ask for offer in counter_offers(POLICY, wanted, "atlas", calendar)}
    assert kinds[Change(ChangeKind.ON_LOAN, 1),].on_loan
    assert (Change(ChangeKind.FEWER_DEVICES, 8),) in kinds


def test_where_nothing_else_helps_a_loan_is_the_smallest_change() -> None:
    calendar, wanted = lending(quota=0, loans=16)
    found = explain(POLICY, wanted, "atlas", calendar, ())
    assert found is not None
    assert found.changes == (Change(ChangeKind.ON_LOAN, 1),)


def test_nobody_is_told_of_loans_that_cannot_be_had() -> None:
    cases: tuple[dict[str, Any], ...] = ({"loans": 8}, {"loans": None}, {"loans": 16, "tier": Tier.STANDARD})
    for fields in cases:
        calendar, wanted = lending(quota=0, **fields)
        offered = counter_offers(POLICY, wanted, "atlas", calendar)
        assert (ChangeKind.ON_LOAN,) not in [tuple(c.kind for c in offer.changes) for offer in offered], fields


def test_a_loan_that_is_used_up_is_a_wall_of_its_own_and_the_quota_a_way_round() -> None:
    calendar, wanted = lending(quota=16, loans=20, on_loan=True)
    lent = claim("atlas/lent", tier=Tier.SPOT, on_loan=True, state=Planned((placement("dc-1", 8, 0, 10),)))
    own = claim("atlas/own", state=Planned((placement("dc-1", 1, 0, 10),)))
    for hold in lent.holds():
        calendar.take(hold)
    found = explain(POLICY, wanted, "atlas", calendar, (lent, own))
    assert found is not None
    assert (found.because.reason, found.because.message) == (Reason.QUOTA_REACHED, LENT)
    assert found.walls[0].quota_free == 12
    assert [holder.name for holder in found.holders] == [lent.name], "what counts against the quota is not in the way"
    offered = {offer.changes: offer.ask for offer in counter_offers(POLICY, wanted, "atlas", calendar)}
    assert not offered[Change(ChangeKind.WITHIN_QUOTA, 1),].on_loan


def test_a_higher_tier_is_never_on_loan() -> None:
    up = changed(ask(tier=Tier.SPOT, on_loan=True), (Change(ChangeKind.HIGHER_TIER, 1),))
    assert (up.tier, up.on_loan) == (Tier.STANDARD, False)
    both = (Change(ChangeKind.HIGHER_TIER, 1), Change(ChangeKind.ON_LOAN, 1))
    assert not changed(ask(tier=Tier.SPOT), both).on_loan
