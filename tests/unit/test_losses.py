"""What a fleet insures against, as pools that are hit and what is left of them."""

from __future__ import annotations

from dataclasses import replace

from broker.domain.fleet import Delivery, Fleet, changes
from broker.domain.insurance import Insurance, LossKind
from broker.domain.losses import losses, outage
from broker.domain.slots import SLOT_SECONDS, Window
from tests.builders import fleet, pool

DAY = 24 * SLOT_SECONDS
ANY = Insurance("any", LossKind.ANY_ONE_POOL)
WEEK = Window(0, 168)


def insured(*insurance: Insurance) -> Fleet:
    late = pool("late", deliveries=(Delivery(8), Delivery(16, 2 * DAY), Delivery(-4, 3 * DAY)))
    return replace(fleet((pool("a"), pool("b"), late)), insurance=insurance)


def test_any_one_pool_is_one_loss_for_each_pool_and_all_others_take_over() -> None:
    found = losses(insured(ANY), 0)
    assert [loss.pools for loss in found] == [("a",), ("b",), ("late",)]
    assert [loss.covers for loss in found] == [{"b", "late"}, {"a", "late"}, {"a", "b"}]
    assert all(left.peak() == 0 for loss in found for _, left in loss.left)
    assert {loss.insurance for loss in found} == {"any"}


def test_pools_lost_together_are_one_loss_and_do_not_cover_each_other() -> None:
    (loss,) = losses(insured(Insurance("both", LossKind.POOLS_TOGETHER, ("a", "b"))), 0)
    assert loss.pools == ("a", "b")
    assert loss.covers == {"late"}


def test_named_covers_are_the_only_ones() -> None:
    (first, *_) = losses(insured(replace(ANY, covers=("b",))), 0)
    assert first.covers == {"b"}


def test_what_has_still_to_arrive_comes_later_and_what_leaves_leaves_in_time() -> None:
    (loss,) = losses(insured(Insurance("slow", LossKind.LATE_DELIVERY, ("late",), late_days=2)), DAY)
    ((_, left),) = loss.left
    assert [left.at(day * 24) for day in (0, 1, 2, 3, 4, 5)] == [8, 8, 8, 4, 20, 20]
    assert loss.covers == {"a", "b", "late"}


def test_what_has_arrived_is_not_late() -> None:
    (loss,) = losses(insured(Insurance("slow", LossKind.LATE_DELIVERY, ("late",), late_days=2)), 2 * DAY)
    ((_, left),) = loss.left
    assert left.over(WEEK) == insured().pools_by_id["late"].supply().over(WEEK)


def test_an_outage_takes_all_of_a_pool_and_no_more_than_its_window() -> None:
    made = insured()
    ((_, left),) = outage(made, made.pools_by_id["late"], Window(40, 50)).left
    assert [left.at(slot) for slot in (39, 40, 48, 49, 50, 72)] == [8, 0, 0, 0, 24, 20]


def test_insurance_is_a_part_of_the_fleet() -> None:
    (change,) = changes(insured(), insured(ANY))
    assert (change.resource, change.action) == ("insurance/any", "ADDED")
