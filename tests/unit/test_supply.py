"""What happens to a pool, hour by hour; hours that are over stay as they were."""

from __future__ import annotations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from broker.domain.faults import Fault, FaultReason
from broker.domain.fleet import Delivery, Maintenance, Pool
from broker.domain.slots import Window
from broker.domain.supply import Drain, Growth, LateDelivery, Outage, Recovery, SupplyChange, supplied
from tests.builders import pool

HOUR = 3600
NOW = 10 * HOUR + 1_200  # twenty past ten


def levels(made: Pool, first: int = 8, end: int = 16) -> list[int]:
    return made.supply().over(Window(first, end))


def after(change: SupplyChange, before: Pool | None = None) -> list[int]:
    return levels(supplied(before or pool("dc-1", 64), change, now=NOW))


def refused(change: SupplyChange, before: Pool | None = None) -> FaultReason:
    with pytest.raises(Fault) as told:
        supplied(before or pool("dc-1", 64), change, now=NOW)
    return told.value.reason


def test_an_outage_takes_every_hour_that_it_touches() -> None:
    assert after(Outage(NOW, 12 * HOUR + 1, devices=24)) == [64, 64, 40, 40, 40, 64, 64, 64]


def test_an_outage_of_all_takes_what_is_delivered_meanwhile_too() -> None:
    growing = pool(deliveries=(Delivery(64), Delivery(8, 12 * HOUR)))
    assert after(Outage(NOW, 14 * HOUR), growing) == [64, 64, 0, 0, 0, 0, 72, 72]


def test_outages_of_some_devices_add_up_and_never_fall_below_nothing() -> None:
    once = supplied(pool("dc-1", 64), Outage(NOW, 14 * HOUR, devices=40), now=NOW)
    assert after(Outage(12 * HOUR, 15 * HOUR, devices=40), once) == [64, 64, 24, 24, 0, 0, 24, 64]


def test_what_is_back_is_back_from_the_next_hour_and_later_maintenance_stays() -> None:
    away = pool(maintenance=(Maintenance(64, 9 * HOUR, 14 * HOUR), Maintenance(8, 15 * HOUR, 16 * HOUR)))
    assert after(Recovery(NOW), away) == [64, 0, 0, 64, 64, 64, 64, 56]


def test_an_outage_that_has_not_begun_is_over_when_it_is_back_then() -> None:
    away = pool(maintenance=(Maintenance(64, 12 * HOUR, 14 * HOUR),))
    assert after(Recovery(12 * HOUR), away) == [64] * 8


def test_devices_leave_for_good_with_the_hour() -> None:
    assert after(Drain(12 * HOUR + 60, devices=16)) == [64, 64, 64, 64, 48, 48, 48, 48]


def test_a_pool_that_is_drained_gets_no_more() -> None:
    growing = pool(deliveries=(Delivery(64), Delivery(-8, 11 * HOUR), Delivery(8, 14 * HOUR)))
    assert after(Drain(12 * HOUR), growing) == [64, 64, 64, 56, 0, 0, 0, 0]


def test_a_drain_leaves_what_a_later_one_takes() -> None:
    shrinking = pool(deliveries=(Delivery(64), Delivery(-60, 14 * HOUR)))
    assert after(Drain(12 * HOUR, devices=4), shrinking)[-1] == 0
    assert refused(Drain(12 * HOUR, devices=5), shrinking) is FaultReason.QUANTITY_OUT_OF_RANGE


def test_a_delivery_comes_later() -> None:
    growing = pool(deliveries=(Delivery(32), Delivery(16, 12 * HOUR), Delivery(16, 13 * HOUR)))
    assert after(LateDelivery(12 * HOUR, 14 * HOUR + 1), growing) == [32, 32, 32, 32, 32, 48, 48, 64]


def test_a_delivery_that_should_be_there_already_is_away_until_it_comes() -> None:
    growing = pool(deliveries=(Delivery(32), Delivery(16, 9 * HOUR)))
    assert after(LateDelivery(9 * HOUR, 13 * HOUR), growing) == [32, 48, 32, 32, 32, 48, 48, 48]


def test_devices_arrive_with_the_next_hour() -> None:
    assert after(Growth(NOW, 8)) == [64, 64, 64, 72, 72, 72, 72, 72]


@pytest.mark.parametrize(
    "change", [Outage(9 * HOUR, 12 * HOUR), Drain(9 * HOUR + 3_599), Growth(8 * HOUR, 8), Recovery(5 * HOUR)]
)
def test_hours_that_are_over_are_closed(change: SupplyChange) -> None:
    away = pool("dc-1", 64, maintenance=(Maintenance(8, 3 * HOUR, 12 * HOUR),))
    assert refused(change, away) is FaultReason.SLOT_CLOSED


@pytest.mark.parametrize("change", [Outage(NOW, 12 * HOUR, 65), Drain(NOW, 65)])
def test_no_more_devices_go_than_there_are(change: SupplyChange) -> None:
    assert refused(change) is FaultReason.QUANTITY_OUT_OF_RANGE


def test_a_delivery_must_be_one_and_come_later() -> None:
    growing = pool(deliveries=(Delivery(32), Delivery(16, 12 * HOUR), Delivery(-40, 13 * HOUR)))
    assert refused(LateDelivery(11 * HOUR, 14 * HOUR), growing) is FaultReason.DELIVERY_NOT_FOUND
    assert refused(LateDelivery(13 * HOUR, 14 * HOUR), growing) is FaultReason.DELIVERY_NOT_FOUND
    assert refused(LateDelivery(12 * HOUR, 12 * HOUR), growing) is FaultReason.WINDOW_EMPTY
    assert refused(LateDelivery(12 * HOUR, 14 * HOUR), growing) is FaultReason.QUANTITY_OUT_OF_RANGE


def test_what_is_declared_of_one_pool_has_an_end() -> None:
    worn = pool(maintenance=tuple(Maintenance(1, n * HOUR, n * HOUR + 1) for n in range(1_000)))
    assert refused(Outage(NOW, 12 * HOUR), worn) is FaultReason.TOO_MANY_ITEMS


moments = st.integers(0, 20 * HOUR)
some = st.integers(0, 80)
changes = st.one_of(
    st.builds(lambda at, slots, n: Outage(at, at + slots, n), moments, st.integers(1, 9 * HOUR), some),
    st.builds(Recovery, moments),
    st.builds(Drain, moments, some),
    st.builds(Growth, moments, st.integers(1, 80)),
    st.builds(lambda at, later: LateDelivery(at * HOUR, at * HOUR + later), st.integers(8, 14), moments),
)


@given(st.lists(changes, max_size=6), st.integers(0, 20 * HOUR))
def test_no_change_rewrites_the_past_or_takes_more_than_there_is(made: list[SupplyChange], now: int) -> None:
    present = pool(deliveries=(Delivery(64), Delivery(16, 9 * HOUR), Delivery(16, 13 * HOUR)))
    for change in made:
        try:
            later = supplied(present, change, now=now)
        except Fault:
            continue
        past = now // HOUR
        assume(past > 0)
        assert levels(later, 0, past) == levels(present, 0, past)
        there = 0
        for delivery in sorted(later.deliveries, key=lambda d: d.at or 0):
            there += delivery.devices
            assert there >= 0
        present = later
