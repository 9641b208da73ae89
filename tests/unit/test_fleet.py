"""Supply over time, and what differs between two fleets."""

from __future__ import annotations

from dataclasses import replace

from broker.domain.fleet import CommittedLevel, Contract, Delivery, FleetChange, Maintenance, changes
from broker.domain.slots import SLOT_SECONDS, Window
from tests.builders import fleet, pool

HOUR = SLOT_SECONDS


def test_a_late_arrival_counts_from_the_next_whole_hour() -> None:
    supply = pool(deliveries=(Delivery(16), Delivery(8, at=2 * HOUR + 1))).supply()
    assert supply.over(Window(0, 5)) == [16, 16, 16, 24, 24]


def test_maintenance_takes_every_hour_that_it_touches() -> None:
    supply = pool(deliveries=(Delivery(16),), maintenance=(Maintenance(8, at=HOUR + 1, until=2 * HOUR + 1),)).supply()
    assert supply.over(Window(0, 5)) == [16, 8, 8, 16, 16]


def test_more_in_maintenance_than_there_is_leaves_nothing() -> None:
    supply = pool(deliveries=(Delivery(8),), maintenance=(Maintenance(16, at=0, until=HOUR),)).supply()
    assert supply.over(Window(0, 2)) == [0, 8]


def test_a_committed_level_holds_until_the_next() -> None:
    paid = Contract("c", "p", committed=(CommittedLevel(8, at=3 * HOUR), CommittedLevel(4))).paid()
    assert paid.over(Window(0, 5)) == [4, 4, 4, 8, 8]


def test_changes_name_what_differs_and_nothing_else() -> None:
    before, after = fleet({"dc-1": 8, "dc-2": 8}), fleet({"dc-2": 16, "dc-3": 8})
    assert changes(before, after) == (
        FleetChange("pools/dc-1", "REMOVED"),
        FleetChange("pools/dc-2", "CHANGED"),
        FleetChange("pools/dc-3", "ADDED"),
    )
    assert changes(after, replace(after)) == ()


def test_every_pool_and_every_quota_is_an_account() -> None:
    limits = fleet({"dc-1": 8}, tenants={"atlas": 5, "borealis": None}).limits()
    assert {name: limit.at(0) for name, limit in limits.items()} == {"pools/dc-1": 8, "tenants/atlas": 5}


def test_what_may_be_on_loan_is_an_account_of_its_own() -> None:
    lending = fleet({}, tenants={"atlas": 5, "borealis": None}, loans={"borealis": 3, "atlas": 0})
    assert {name: limit.at(0) for name, limit in lending.limits().items()} == {
        "tenants/atlas": 5,
        "tenants/atlas/loans": 0,
        "tenants/borealis/loans": 3,
    }
