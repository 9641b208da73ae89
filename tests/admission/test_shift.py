"""Others make room within what they were told, and nobody is worse off than that."""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broker.admission.calendar import Calendar
from broker.admission.ranking import Ranking
from broker.admission.scan import Limit
from broker.admission.shift import SHIFTED_MAX, Room, room
from broker.domain.claim import Ask, Claim, ClaimName, Committed, Placement, Planned, Tier
from broker.domain.faults import Fault, FaultReason
from broker.domain.options import option_of
from broker.domain.slots import Window
from broker.domain.terms import Terms
from broker.ledger.fold import violations
from broker.ledger.promises import broken_promises
from tests.admission.test_ranking import FIRST, SLOTS, TERMS, random_calendar
from tests.builders import ask, fleet
from tests.world import until, world

POOL = fleet({"dc-1": 16})


def planned(n: int, first: int, latest: int, *, devices: int = 16, slots: int = 4, earliest: int = FIRST) -> Claim:
    asked = ask(devices, slots, earliest=earliest, gang=True, value_microusd=1_000)
    place = Placement("dc-1", devices, Window(first, first + slots), latest, silicon="b200")
    return Claim(ClaimName("other", f"c-{n}"), asked, Planned((place,)), 0, 0, n + 1)


def market(claims: Iterable[Claim]) -> Calendar:
    return Calendar(POOL, (hold for claim in claims for hold in claim.holds()), Window(FIRST, FIRST + SLOTS))


def found(claims: list[Claim], asked: Ask, *, firm: int = FIRST) -> Room | None:
    return room(Ranking(market(claims), "atlas", Terms()), asked, claims, firm=firm)


def test_a_claim_with_time_gives_way_to_one_without() -> None:
    one = planned(0, FIRST + 2, FIRST + 30)
    made = found([one], ask(16, 4, earliest=FIRST + 2, latest=FIRST + 3, value_microusd=10**6, gang=True))
    assert made is not None
    assert made.candidate.placements[0].window.first in (FIRST + 2, FIRST + 3)
    ((claim, (place,)),) = made.shifts
    assert claim == one
    assert place.window.first >= made.candidate.placements[0].window.end
    assert (place.latest, place.devices) == (FIRST + 30, 16)


def test_nobody_moves_later_than_told_or_once_frozen_or_firm() -> None:
    asked = ask(16, 4, earliest=FIRST + 2, latest=FIRST + 3, value_microusd=10**6, gang=True)
    assert found([planned(0, FIRST + 2, FIRST + 5)], asked) is None
    assert found([planned(0, FIRST + 2, FIRST + 30)], asked, firm=FIRST + 2) is None
    one = planned(0, FIRST + 2, FIRST + 30)
    assert found([one.becomes(Committed(one.placements), at=0)], asked) is None


def test_nobody_waits_for_somebody_who_is_worth_less_than_the_wait() -> None:
    one = planned(0, FIRST + 2, FIRST + 30)
    assert found([one], ask(16, 4, earliest=FIRST + 2, latest=FIRST + 2, value_microusd=10**6, gang=True)) is not None
    dear = Terms(waiting=1)
    cheap = ask(16, 4, earliest=FIRST + 2, latest=FIRST + 2, value_microusd=1_000, gang=True)
    assert room(Ranking(market([one]), "atlas", dear), cheap, [one], firm=FIRST) is None


def test_a_claim_may_also_start_sooner() -> None:
    one = planned(0, FIRST + 10, FIRST + 12)
    made = found([one], ask(16, 6, earliest=FIRST + 10, latest=FIRST + 10, value_microusd=10**6, gang=True))
    assert made is not None
    ((_, (place,)),) = made.shifts
    assert FIRST < place.window.first <= FIRST + 6


@settings(deadline=None)
@given(seed=st.integers(0, 10**9), limit=st.sampled_from([Limit(), Limit(80), Limit(above=0, times=1.0)]))
def test_whoever_moves_keeps_all_that_was_promised_and_nothing_is_lent_twice(seed: int, limit: Limit) -> None:
    draw = random.Random(seed)
    calendar = random_calendar(draw)
    claims = crowd(draw, calendar)
    wanted = ask(
        draw.choice([4, 8, 16]),
        draw.randint(1, 10),
        gang=True,
        earliest=FIRST + draw.randint(0, 20),
        value_microusd=10**6,
        deadline=FIRST + draw.choice([25, 40]),
    )
    before = [calendar.free.copy(), calendar.room.copy(), calendar.lent.copy()]
    firm = FIRST + draw.randint(0, 3)
    made = room(Ranking(calendar, "atlas", TERMS, limit), wanted, claims, firm=firm)
    assert all(
        (was == now).all() for was, now in zip(before, (calendar.free, calendar.room, calendar.lent), strict=True)
    )
    if made is None:
        return
    (place,) = made.candidate.placements
    assert option_of(wanted, calendar.fleet, place) is not None
    assert len(made.shifts) <= SHIFTED_MAX
    assert {claim.name for claim, _ in made.shifts} <= {claim.name for claim in claims}
    for shift in made.moved(0):
        (old,) = (claim for claim in claims if claim.name == shift.name)
        assert list(broken_promises(old, shift, lambda _: False)) == []
        assert all(p.window.first > firm for p in shift.placements if p not in old.placements)
        for hold in old.holds():
            calendar.give_back(hold)
        for hold in shift.holds():
            calendar.take(hold)
    with calendar.beside("atlas") as take:
        take(place)
        for was, now in zip(before[:2], (calendar.free, calendar.room), strict=True):
            assert (now >= np.minimum(was, 0)).all(), "more is lent than there is, and more than before"


def crowd(draw: random.Random, calendar: Calendar) -> list[Claim]:
    """Claims with time to spare, wherever there is room; they are on the calendar then."""
    claims: list[Claim] = []
    for n in range(40):
        asked = ask(
            draw.choice([4, 8, 12]),
            draw.randint(1, 8),
            gang=True,
            earliest=FIRST + draw.randint(0, 30),
            value_microusd=9,
        )
        best = Ranking(calendar, "other", Terms()).candidates(asked, most=1)
        if best:
            (place,) = best[0].placements
            loose = replace(place, latest=place.window.first + 20)
            claims.append(Claim(ClaimName("other", f"c-{n}"), asked, Planned((loose,)), 0, 0, n + 1))
            for hold in claims[-1].holds():
                calendar.take(hold)
    return claims


async def test_a_call_is_granted_at_once_where_another_claim_can_start_later() -> None:
    async with world(at_once=True) as w:
        await w.declare(fleet({"dc-1": 160}))
        await w.plan()  # an empty plan: prices
        await until(lambda: w.feed.outlook.prices is not None)
        first = w.slot + 3
        strict = ask(8, 20, gang=True, earliest=first, latest=first, value_microusd=10**9, tier=Tier.GUARANTEED)
        loose = await w.ask(replace(strict, latest=first + 100, value_microusd=10**6))
        for _ in range(19):
            await until(lambda: w.feed.revision == w.ledger._market.revision)
            await w.ask(strict, "borealis")
        await until(lambda: w.feed.revision == w.ledger._market.revision)
        (before,) = (await w.claim(loose)).placements
        assert before.window.first == first
        name = await w.ask(strict)
        (place,) = (await w.claim(name)).placements
        moved = await w.claim(loose)
        assert place.window.first == first
        assert moved.placements[0].window.first >= place.window.end
        assert moved.revision == (await w.claim(name)).revision
        log = await w.ledger.events(0, limit=1_000)
        assert violations(log) == ()


async def test_a_repeated_request_makes_no_room_for_itself() -> None:
    async with world(at_once=True) as w:
        await w.declare(fleet({"dc-1": 160}))
        await w.plan()
        await until(lambda: w.feed.outlook.prices is not None)
        first = w.slot + 3
        strict = ask(8, 20, gang=True, earliest=first, latest=first, value_microusd=10**9, tier=Tier.GUARANTEED)
        loose, key = replace(strict, latest=first + 100), w.key()
        stored = await w.desk.submit("atlas", "mine", loose, key)
        for _ in range(19):
            await until(lambda: w.feed.revision == w.ledger._market.revision)
            await w.ask(strict, "borealis")
        await until(lambda: w.feed.revision == w.ledger._market.revision)
        again = await w.desk.submit("atlas", "mine", loose, key)
        assert (again.claim, again.replayed) == (stored.claim, True)
        with pytest.raises(Fault) as refused:
            await w.desk.submit("atlas", "mine", strict, w.key())
        assert refused.value.reason is FaultReason.CLAIM_EXISTS
