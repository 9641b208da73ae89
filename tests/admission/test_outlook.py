"""The warm calendar is at every event what a cold one would be."""

from __future__ import annotations

import random

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from broker.admission.calendar import Calendar
from broker.admission.outlook import AHEAD_SLOTS, SPARE_SLOTS, Outlook
from broker.domain.bid_prices import BidPrices
from broker.domain.claim import Cancelled, Claim, Held, Planned, State, Waiting
from broker.domain.fleet import Fleet
from broker.domain.slots import Window
from broker.domain.snapshot import Event, EventKind, Snapshot
from tests.builders import AWAITING_PLAN, claim, fleet, placement

AHEAD = 40


def random_event(draw: random.Random, revision: int) -> Event:
    if draw.random() < 0.1:
        changed = fleet({"dc-1": draw.randint(0, 60), "dc-2": 30}, {"atlas": draw.choice([None, 9]), "b": 40})
        return Event(revision, EventKind.FLEET_APPLIED, 0, fleet=changed)
    return Event(revision, EventKind.PLANNED, 0, claims=tuple(random_claim(draw) for _ in range(draw.randint(0, 3))))


def random_claim(draw: random.Random) -> Claim:
    first = draw.randint(0, 60)
    place = placement(draw.choice(["dc-1", "dc-2", "gone"]), draw.randint(1, 9), first, first + draw.randint(1, 30))
    states: list[State] = [Planned((place,)), Held((place,), 9), Waiting((AWAITING_PLAN,)), Cancelled((place,))]
    state = draw.choice(states)
    return claim(f"{draw.choice(['atlas', 'b'])}/run-{draw.randint(1, 6)}", state=state)


def same(warm: Calendar, cold: Calendar) -> bool:
    names = ("supply", "free", "open", "lent", "room", "paid", "price", "quota_price")
    return warm.window == cold.window and all(np.array_equal(getattr(warm, n), getattr(cold, n)) for n in names)


@settings(deadline=None)
@given(seed=st.integers(0, 10**9))
def test_a_warm_calendar_is_what_a_cold_one_would_be(seed: int) -> None:
    draw = random.Random(seed)
    outlook = Outlook(Snapshot("i", 0, fleet({"dc-1": 64, "dc-2": 30}), ()), ahead_slots=AHEAD)
    first = 0
    for revision in range(1, 20):
        outlook.apply(random_event(draw, revision))
        if draw.random() < 0.2:
            outlook.set_prices(BidPrices(draw.randint(0, 9), {"dc-1": tuple(range(draw.randint(0, 99)))}))
        first += draw.choice([0, 0, 1, 30, 200])
        warm = outlook.calendar(first)
        cold = Outlook(Snapshot("i", revision, outlook.fleet, tuple(outlook.claims.values())), outlook.prices)
        holds = [hold for one in cold.claims.values() for hold in one.holds()]
        assert same(warm, Calendar(outlook.fleet, holds, warm.window, outlook.prices))
        assert warm.window.first <= first
        assert {one.name for one in outlook.held} == {
            c.name for c in outlook.claims.values() if isinstance(c.state, Held)
        }
        assert warm.window.end >= first + AHEAD


def test_the_clock_alone_seldom_makes_a_new_one() -> None:
    outlook = Outlook(Snapshot("i", 0, Fleet(), ()))
    known = outlook.calendar(10)
    assert outlook.calendar(10 + SPARE_SLOTS - 1) is known
    assert outlook.calendar(10 + SPARE_SLOTS) is not known
    assert outlook.calendar(9).window == Window(9, 9 + AHEAD_SLOTS + SPARE_SLOTS)
