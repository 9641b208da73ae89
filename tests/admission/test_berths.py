"""Berths: after every loss by itself, each guaranteed placement has a whole place of its own to go to."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from broker.admission.berths import Berths
from broker.admission.stakes import Berth, Stake, stakes
from broker.domain.claim import Claim, Planned, Tier
from broker.domain.fleet import Delivery, Fleet
from broker.domain.insurance import Insurance, LossKind
from broker.domain.losses import losses
from broker.domain.slots import SLOT_SECONDS, Window
from tests.builders import claim, fleet, placement, pool

ANY = Insurance("any", LossKind.ANY_ONE_POOL)
HOURS = Window(0, 24)


def insured(pools: dict[str, int], *insurance: Insurance, quota: int | None = None) -> Fleet:
    return replace(fleet(pools, {"atlas": quota}), insurance=insurance or (ANY,))


def sure(name: str, where: str, devices: int, first: int = 0, end: int = 4, **asked: object) -> Claim:
    """A guaranteed gang at a place."""
    place = placement(where, devices, first, end)
    fields: dict[str, Any] = {"gang": True, "tier": Tier.GUARANTEED} | asked
    return claim(f"atlas/{name}", state=Planned((place,)), devices=devices, slots=end - first, **fields)


def berths(made: Fleet, *claims: Claim) -> Berths:
    return Berths(made, losses(made, 0), HOURS, stakes(claims, made))


def stake(made: Fleet, one: Claim) -> Stake:
    (found,) = stakes((one,), made)
    return found


def uncovered(found: Berths) -> set[str]:
    return {stake.name.id for standing in found.standings() for stake in standing.without}


def test_a_place_is_insured_if_another_pool_has_room_for_all_of_it() -> None:
    made = insured({"a": 64, "b": 32})
    assert uncovered(berths(made, sure("x", "a", 32))) == set()
    assert berths(made).fits((stake(made, sure("x", "a", 32)),))
    assert not berths(made).fits((stake(made, sure("x", "a", 33)),))


def test_a_gang_finds_no_berth_in_pieces_though_there_are_devices_enough() -> None:
    made = insured({"a": 64, "b": 32, "c": 32})
    assert not berths(made).fits((stake(made, sure("x", "a", 48)),))


def test_pools_are_not_lost_at_once_so_berths_of_different_losses_share_their_room() -> None:
    made = insured({"a": 32, "b": 32, "c": 32})
    assert berths(made, sure("x", "a", 32)).admit(stake(made, sure("y", "b", 32)))
    assert uncovered(berths(made, sure("x", "a", 32), sure("y", "b", 32))) == set()


def test_pools_that_are_lost_together_need_room_for_both() -> None:
    both = Insurance("both", LossKind.POOLS_TOGETHER, ("a", "b"))
    made = insured({"a": 32, "b": 32, "c": 32}, both)
    assert not berths(made, sure("x", "a", 32)).fits((stake(made, sure("y", "b", 8)),))
    assert berths(made, sure("x", "a", 24)).fits((stake(made, sure("y", "b", 8)),))


def test_whoever_stays_takes_no_berth_of_another() -> None:
    made = insured({"a": 32, "b": 32})
    found = berths(made, sure("x", "a", 24))
    assert not found.fits((stake(made, sure("y", "b", 16)),))
    assert found.fits((stake(made, sure("y", "b", 8)),))
    assert found.ceiling[1, :4].tolist() == [8] * 4
    assert found.ceiling[1, 4] == 32


def test_the_claims_of_one_answer_are_counted_beside_each_other() -> None:
    made = insured({"a": 32, "b": 32})
    two = tuple(stake(made, sure(name, "a", 20)) for name in "xy")
    assert berths(made).fits(two[:1])
    assert not berths(made).fits(two)


def test_who_comes_later_may_have_others_go_elsewhere_but_takes_nobodys_berth() -> None:
    made = insured({"a": 32, "b": 32, "c": 32})
    found = berths(made, sure("x", "a", 32))
    still = found.still()
    assert found.admit(stake(made, sure("y", "b", 32)))
    assert not found.admit(stake(made, sure("z", "c", 8)))
    assert uncovered(found) == set()
    assert {s.name.id for standing in still.standings() for s, _ in standing.berths} == {"x"}
    assert {berth.pool for standing in found.standings() for s, berth in standing.berths if s.name.id == "x"} == {"c"}


def test_what_is_dropped_gives_its_berth_back() -> None:
    made = insured({"a": 32, "b": 32})
    x, y = sure("x", "a", 32), sure("y", "b", 8)
    found = berths(made, x)
    assert not found.fits((stake(made, y),))
    found.drop(x.name, 0)
    found.drop(x.name, 0)
    assert found.fits((stake(made, y),))
    assert (found.ceiling == berths(made).ceiling).all()


def test_a_copy_does_not_see_what_comes_later() -> None:
    made = insured({"a": 32, "b": 32})
    found = berths(made)
    still = found.still()
    found.take(stake(made, sure("x", "a", 32)))
    assert still.fits((stake(made, sure("y", "b", 8)),))
    assert not found.fits((stake(made, sure("y", "b", 8)),))


def test_only_those_who_are_named_take_over() -> None:
    made = insured({"a": 32, "b": 32, "c": 32}, replace(ANY, covers=("c",)))
    found = berths(made, sure("x", "a", 32), sure("y", "b", 32))
    assert {berth.pool for standing in found.standings() for _, berth in standing.berths} == {"c"}


def test_a_late_delivery_leaves_who_fits_into_what_is_there() -> None:
    late = pool("late", deliveries=(Delivery(32), Delivery(32, 3600)))
    made = replace(
        fleet((late, pool("b", 16))), insurance=(Insurance("slow", LossKind.LATE_DELIVERY, ("late",), late_days=1),)
    )
    assert uncovered(berths(made, sure("x", "late", 32, 2, 6))) == set()
    found = berths(made, sure("x", "late", 32, 2, 6), sure("y", "late", 16, 2, 6))
    assert uncovered(found) == set()
    assert uncovered(berths(made, sure("x", "late", 32, 2, 6), sure("y", "late", 24, 2, 6))) == {"y"}


def test_the_tenant_needs_quota_for_the_berth_too() -> None:
    """On slower silicon twice the time is needed, and the quota is short then."""
    made = insured({"a": 32, "b": 32}, quota=32)
    assert not berths(made, sure("x", "a", 24)).fits((stake(made, sure("y", "a", 16, 2, 6)),))


def test_work_that_no_other_pool_could_hold_is_told_apart() -> None:
    made = insured({"a": 64, "b": 32})
    (standing, _) = berths(made, sure("x", "a", 48)).standings()
    assert [s.name.id for s in standing.uninsurable] == ["x"]
    assert standing.without == ()
    assert not berths(made).insurable(stake(made, sure("x", "a", 48)))


def test_a_berth_ends_by_the_deadline() -> None:
    made = insured({"a": 32, "slow": 32})
    slow = replace(
        made,
        silicon=(*made.silicon, replace(made.silicon[0], id="old")),
        workload_classes=(replace(made.workload_classes[0], speed_percent={"b200": 100, "old": 50}),),
        pools=(made.pools[0], replace(made.pools[1], silicon="old")),
    )
    in_time, late = sure("x", "a", 8, deadline=8), sure("x", "a", 8, deadline=7)
    assert stake(slow, in_time).refuges[1:] == (Berth("slow", 8, Window(0, 8)),)
    assert stake(slow, late).refuges[1:] == ()


def test_who_finds_nothing_in_one_order_is_asked_first_in_the_next() -> None:
    """The two that fit into one pool only must not find it taken by those with a choice."""
    made = insured({"a": 96, "b": 48, "c": 48})
    claims = [sure(f"n{n}", "a", devices) for n, devices in enumerate((32, 32, 16, 16))]
    assert uncovered(berths(made, *claims)) == set()


@settings(deadline=None)
@given(st.data())
def test_after_every_loss_everybody_fits_who_was_let_in(data: st.DataObject) -> None:
    """Whatever is let in one by one, the berths of each loss and the work that stays fit into what is left."""
    names = ("a", "b", "c", "d")
    sizes = {name: data.draw(st.integers(8, 64), label=name) for name in names}
    together = Insurance("pair", LossKind.POOLS_TOGETHER, ("a", "b"))
    made = insured(sizes, *data.draw(st.sampled_from([(ANY,), (ANY, together), (together,)])))
    found = berths(made)
    inside: dict[str, Claim] = {}
    for n in range(data.draw(st.integers(1, 14))):
        if inside and data.draw(st.integers(0, 4)) == 0:
            gone = inside.pop(data.draw(st.sampled_from(sorted(inside))))
            found.drop(gone.name, 0)
            continue
        first = data.draw(st.integers(0, 20))
        where, devices = data.draw(st.sampled_from(names)), data.draw(st.integers(1, 48))
        one = sure(f"n{n}", where, devices, first, first + data.draw(st.integers(1, 4)))
        if found.fits((stake(made, one),)):
            found.take(stake(made, one))
            inside[f"n{n}"] = one
        elif found.admit(stake(made, one)):
            inside[f"n{n}"] = one
    for standing in found.standings():
        assert standing.without == standing.uninsurable == ()
        gone_pools = set(standing.loss.pools)
        use = {name: np.zeros(24, np.int64) for name in names}
        goes = {s.name.id: berth for s, berth in standing.berths}
        for name, one in inside.items():
            (place,) = one.placements
            assert (place.pool in gone_pools) == (name in goes)
            berth = goes.get(name) or Berth(place.pool, place.devices, place.window)
            assert (berth.devices, berth.window) == (place.devices, place.window)
            use[berth.pool][berth.window.first : berth.window.end] += berth.devices
        assert all(not use[name].any() for name in gone_pools)
        assert all(use[name].max() <= sizes[name] for name in names)


def test_days_late_count_from_now() -> None:
    late = pool("late", deliveries=(Delivery(32, SLOT_SECONDS),))
    made = replace(
        fleet((late, pool("b", 8))), insurance=(Insurance("slow", LossKind.LATE_DELIVERY, ("late",), late_days=1),)
    )
    assert not Berths(made, losses(made, 0), HOURS).fits((stake(made, sure("x", "late", 16, 2, 6)),))
    assert Berths(made, losses(made, SLOT_SECONDS), HOURS).fits((stake(made, sure("x", "late", 16, 2, 6)),))
