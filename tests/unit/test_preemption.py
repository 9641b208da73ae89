"""The terms of giving way, one by one."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.domain.claim import Active, Claim, Committed, Held, Planned, Preemption, Tier
from broker.domain.preemption import (
    MARGIN_PERCENT,
    PREEMPTIONS_MAX,
    RETURN_SLOTS,
    WHOLE,
    counted_slots,
    cut,
    ended,
    left_before,
    outranks,
    preemptions,
    stopped,
    ways,
    ways_on,
)
from tests.builders import claim, fleet, placement

RATE = 2_000_000


def spot(slots: int = 24, first: int = 0, *, ran: int = 0, **fields: Any) -> Claim:
    """A spot gang that runs from ``first`` on, having given way ``ran`` times before."""
    asked: dict[str, Any] = {
        "devices": 8,
        "slots": slots,
        "tier": Tier.SPOT,
        "gang": True,
        "value_microusd": RATE * 8 * slots,
        "preemption": Preemption(2, 3, 4),
    }
    made = claim(state=Committed((placement(first=first, end=first + slots),)), **(asked | fields))
    runs = tuple(placement(first=n, end=n + 1, left_ppm=WHOLE // (n + 2)) for n in range(ran))
    return replace(made, ran=runs)


def test_it_runs_for_its_notice_and_keeps_what_it_saved() -> None:
    one = spot()
    after = cut(one, one.placements[0], 6)
    assert after is not None
    assert (after.window.first, after.window.end) == (0, 9)
    assert after.left_ppm == -(-WHOLE * (24 - 8) // 24)


@pytest.mark.parametrize(
    ("one", "slot"),
    [
        (spot(tier=Tier.STANDARD), 6),
        (spot(first=6), 6),  # committed, and about to run
        (spot(), 1),  # its least run is not over
        (spot(), 21),  # it ends by then anyhow
        (spot(ran=PREEMPTIONS_MAX), 6),
        (replace(spot(), state=Planned(spot().placements)), 6),
        (replace(spot(), state=Held(spot().placements, until=0)), 6),
        (replace(spot(), state=Committed((*spot().placements, placement(part=1, end=9, left_ppm=1)))), 6),
    ],
)
def test_who_may_not_be_told(one: Claim, slot: int) -> None:
    assert cut(one, one.placements[0], slot) is None


@pytest.mark.parametrize("slot", [2, 20])
def test_the_first_and_the_last_slot_in_which_it_may_be_told(slot: int) -> None:
    one = spot()
    assert cut(one, one.placements[0], slot) is not None


def test_parts_that_end_together_were_told_together() -> None:
    told = tuple(placement(part=part, end=9, left_ppm=5) for part in range(3))
    assert preemptions(replace(spot(), state=Committed(told))) == 1
    assert preemptions(replace(spot(ran=2), state=Committed(told))) == 3


def test_a_run_that_goes_on_starts_from_what_was_left() -> None:
    one = spot(ran=1)
    assert left_before(one, 0) == WHOLE // 2
    assert left_before(one, 1) == WHOLE
    after = cut(one, one.placements[0], 6)
    assert after is not None
    assert after.left_ppm == -(-(WHOLE // 2) * (24 - 8) // 24)


def test_what_is_left_takes_less_time_and_only_its_deadline_binds_it() -> None:
    one = spot(ran=1, latest=3, deadline=100)
    (way,) = ways(one, fleet(), 50)
    assert (way.slots, way.latest, way.value_microusd) == (12, 88, RATE * 8 * 12)
    (never_told,) = ways(spot(latest=3), fleet(), 50)
    assert (never_told.slots, never_told.latest) == (24, 3)


def test_the_latest_start_of_a_run_that_was_lost_whole_no_longer_binds_it_either() -> None:
    lost = replace(spot(latest=3), ran=(placement(end=9, left_ppm=WHOLE),))
    assert [(way.slots, way.latest, way.value_microusd) for way in ways(lost, fleet(), 50)] == [
        (24, None, RATE * 8 * 24)
    ]


def test_what_is_left_if_its_notice_is_cut_short() -> None:
    one = spot(ran=1)
    told = cut(one, one.placements[0], 6)
    assert told is not None
    one = replace(one, state=Committed((told,)))
    assert [way.slots for way in ways_on(one, told, fleet(), 8)] == [12 * (24 - 8) // 24]
    assert [way.slots for way in ways_on(one, told, fleet(), 7)] == [12 * (24 - 4) // 24]
    assert ways_on(one, replace(told, part=1), fleet(), 7) == ()


def test_a_run_whose_notice_is_over_counts_before_anybody_says_so() -> None:
    one = replace(spot(), state=Committed((placement(end=9, left_ppm=WHOLE // 4),)))
    assert [way.slots for way in ways(one, fleet(), 8)] == [24]
    assert [way.slots for way in ways(one, fleet(), 9)] == [6]


@given(slots=st.integers(2, 4_000), data=st.data())
def test_millionths_never_cost_an_hour_nor_save_one(slots: int, data: st.DataObject) -> None:
    kept = data.draw(st.integers(0, slots - 1))
    one = spot(slots, preemption=Preemption(0, 1, 1))
    left = -(-WHOLE * (slots - kept) // slots)
    (way,) = ways(replace(one, ran=(placement(left_ppm=left),)), fleet(), 0)
    assert way.slots == slots - kept


def test_a_device_hour_must_be_worth_a_margin_more() -> None:
    least = RATE * (100 + MARGIN_PERCENT) // 100
    taker = claim(devices=4, slots=3, value_microusd=least * 12)
    assert outranks(taker, spot())
    assert not outranks(claim(devices=4, slots=3, value_microusd=least * 12 - 1), spot())
    assert not outranks(replace(spot(), ask=replace(spot().ask, value_microusd=10**14)), spot())
    assert not outranks(taker, claim(devices=4, slots=3, value_microusd=1))


def test_what_is_left_counts_but_for_the_time_it_waits_unless_its_deadline_is_missed() -> None:
    place = spot().placements[0]
    assert counted_slots(spot(), place, 9) == 8 + (24 - 9 - RETURN_SLOTS)
    assert counted_slots(spot(deadline=24), place, 9) == 8
    assert counted_slots(spot(deadline=25), place, 9) == 8 + (24 - 9 - RETURN_SLOTS)
    assert counted_slots(spot(), place, 20) == 20


@given(slot=st.integers(0, 12), checkpoint=st.integers(0, 5))
def test_stopping_early_loses_no_more_than_the_time_since_the_last_checkpoint(slot: int, checkpoint: int) -> None:
    one = spot(preemption=Preemption(0, 3, checkpoint))
    told = cut(one, one.placements[0], 6)
    assert told is not None
    early = ended(one, told, slot)
    assert early.window.end == min(told.window.end, max(1, slot))
    done = early.window.slots
    kept = done // checkpoint * checkpoint if checkpoint else 0
    assert 0 <= early.left_ppm - WHOLE * (24 - kept) // 24 <= 1


def test_who_stops_at_once_was_told_all_the_same() -> None:
    one = spot(ran=1)
    told = placement(part=1, end=4, left_ppm=5)
    both = replace(one, ran=(*one.ran, ended(one, told, 1)))
    assert preemptions(both) == 2


def test_only_who_has_nothing_else_to_use_goes_on_after_its_holder_stopped() -> None:
    one = spot()
    told = cut(one, one.placements[0], 6)
    assert told is not None
    active = replace(one, state=Active((told,)))
    after = stopped(active, 7)
    assert isinstance(after, Committed)
    assert after.placements[0].window.end == 7
    assert stopped(one, 7) is None
    other = placement(part=1, first=0, end=20)
    assert stopped(replace(one, state=Active((told, other))), 7) is None
    assert stopped(replace(one, state=Active((told, other))), 20) is not None
