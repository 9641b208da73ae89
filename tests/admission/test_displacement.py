"""Who has to leave a pool that lost devices, and where there is room for him."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from broker.admission.displacement import losses, refuges
from broker.domain.claim import Claim, Committed, Held, Planned, Tier
from broker.domain.fleet import Delivery, Fleet
from broker.domain.slots import Window
from broker.domain.terms import Terms
from tests.builders import claim, fleet, placement, pool

GUARANTEED, STANDARD, SPOT = Tier.GUARANTEED, Tier.STANDARD, Tier.SPOT


def held(name: str, devices: int, first: int, end: int, *, pool: str = "dc-1", **asked: Any) -> Claim:
    """A claim that holds this, worth a dollar a device-hour unless it says otherwise."""
    hours = devices * (end - first)
    state = Committed((placement(pool, devices, first, end),))
    asked = {"devices": devices, "slots": end - first, "gang": True, "value_microusd": hours * 1_000_000} | asked
    return claim(f"atlas/{name}", state=state, **asked)


def leavers(claims: list[Claim], supply: Fleet, slot: int = 0) -> list[str]:
    return [one.claim.name.id for one in losses(claims, supply, slot)]


def test_nobody_leaves_where_there_is_enough() -> None:
    claims = [held("a", 32, 0, 4), held("b", 32, 0, 4), held("c", 64, 4, 8)]
    assert leavers(claims, fleet({"dc-1": 64})) == []


def test_tiers_leave_in_turn_and_quotes_first() -> None:
    a, b, c = (held(tier.value, 16, 0, 4, tier=tier) for tier in (SPOT, GUARANTEED, STANDARD))
    quote = replace(held("quote", 16, 0, 4, tier=GUARANTEED), state=Held((placement(devices=16),), 600))
    told = ["GUARANTEED", "STANDARD", "SPOT", "quote"]  # most guaranteed first
    for fit in range(5):
        assert leavers([a, b, c, quote], fleet({"dc-1": 16 * fit})) == told[fit:]


def test_who_is_worth_more_an_hour_stays_however_large() -> None:
    small, large = held("small", 8, 0, 4, value_microusd=8 * 4 * 3), held("large", 32, 0, 4, value_microusd=32 * 4 * 2)
    assert leavers([small, large], fleet({"dc-1": 32})) == ["large"]


def test_work_that_has_run_for_long_counts_again() -> None:
    fresh, old = held("fresh", 32, 10, 20, value_microusd=32 * 10 * 15), held("old", 32, 1, 11, value_microusd=320 * 10)
    assert leavers([fresh, old], fleet({"dc-1": 32}), slot=10) == ["fresh"]
    assert leavers([replace(fresh, ask=replace(fresh.ask, value_microusd=320 * 20)), old], fleet({"dc-1": 32}), 10) == [
        "old"
    ]


def test_only_hours_that_are_short_decide() -> None:
    """The pool is short in hours 4 to 8 only."""
    away = pool("dc-1", 64, deliveries=(Delivery(64), Delivery(-32, 4 * 3600), Delivery(32, 8 * 3600)))
    claims = [held("before", 32, 0, 4), held("spot", 32, 2, 12, tier=SPOT), held("plain", 32, 5, 9)]
    assert leavers(claims, fleet((away,))) == ["spot"]


def test_what_is_over_is_no_loss() -> None:
    assert leavers([held("over", 32, 0, 4)], fleet({"dc-1": 0}), slot=4) == []


def test_a_pool_that_is_gone_loses_all() -> None:
    assert leavers([held("a", 8, 0, 4)], fleet({"dc-2": 64})) == ["a"]


def test_a_refuge_is_offered_once() -> None:
    claims = [held("a", 32, 0, 4, latest=0), held("b", 32, 0, 4, latest=0), held("there", 32, 0, 4, pool="dc-2")]
    after = fleet({"dc-1": 0, "dc-2": 64})
    found = refuges(losses(claims, after, 0), claims, after, Window(0, 100), None, Terms())
    assert [(one.claim.name.id, one.refuge and one.refuge.pool) for one in found] == [("a", "dc-2"), ("b", None)]


@st.composite
def markets(draw: st.DrawFn) -> tuple[list[Claim], Fleet, int]:
    """Claims that fitted into a pool of 100, and what is left of it."""
    claims: list[Claim] = []
    use = [0] * 24
    for n in range(draw(st.integers(0, 12))):
        first, devices = draw(st.integers(0, 20)), draw(st.integers(1, 50))
        end = draw(st.integers(first + 1, 24))
        if max(use[first:end]) + devices <= 100:
            use[first:end] = [level + devices for level in use[first:end]]
            held_there = (placement("dc-1", devices, first, end),)
            state = Planned(held_there) if draw(st.booleans()) else Committed(held_there)
            worth = draw(st.integers(1, 10)) * devices * (end - first) * 1_000
            tier = draw(st.sampled_from(Tier))
            claims.append(
                claim(f"atlas/{n}", state=state, tier=tier, devices=devices, slots=end - first, value_microusd=worth)
            )
    at, back = draw(st.integers(0, 20)), draw(st.integers(21, 30))
    lost = draw(st.integers(0, 100))
    left = pool(deliveries=(Delivery(100), Delivery(-lost, at * 3600), Delivery(lost, back * 3600)))
    return claims, fleet((left,)), draw(st.integers(0, 5))


@given(markets())
def test_those_who_stay_fit_and_nobody_leaves_who_could_have_stayed(market: tuple[list[Claim], Fleet, int]) -> None:
    claims, supply, slot = market
    gone = {one.claim.name for one in losses(claims, supply, slot)}
    room = supply.pools[0].supply().over(Window(0, 24))

    def fits(stay: list[Claim]) -> bool:
        holds = [p for one in stay for p in one.placements]
        return all(sum(p.devices for p in holds if t in p.window) <= room[t] for t in range(slot, 24))

    stay = [one for one in claims if one.name not in gone]
    assert fits(stay)
    for leaver in (one for one in claims if one.name in gone):
        weightier = [one for one in stay if _rank(one) <= _rank(leaver)]
        assert not fits([*weightier, leaver])


def _rank(one: Claim) -> int:
    return [GUARANTEED, STANDARD, SPOT].index(one.ask.tier)


def test_the_order_does_not_depend_on_how_claims_come() -> None:
    claims = [held(str(n), 8, n % 3, 6, tier=tier) for n, tier in enumerate([SPOT, STANDARD, GUARANTEED] * 4)]
    assert leavers(claims[::-1], fleet({"dc-1": 24})) == leavers(claims, fleet({"dc-1": 24}))
