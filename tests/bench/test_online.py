"""The policies of the bench: what they serve fits, and keeping room serves those above."""

from __future__ import annotations

import numpy as np
import pytest

from bench.bookings import Bookings, Limit
from bench.market import Market, tiers
from bench.policies import POLICIES, Policy, serve
from bench.rolling import Replanning
from broker.optimiser.files import problem_from
from broker.optimiser.problem import Ints, Problem


def rush() -> Problem:
    """Spot first, then what is worth more; one pool of ten."""
    requests = [
        {
            "id": f"r{n}",
            "options": [
                {"pool": "a", "devices": 2, "slots": 4, "start": [n // 5, n // 5 + 1], "value": [8, 40][n // 5]}
            ],
        }
        for n in range(10)
    ]
    pools = [{"id": "a", "capacity": [[0, 10]]}]
    return problem_from({"format": "capacity-plan-problem/1", "slots": 8, "pools": pools, "requests": requests})


def test_tiers_are_by_worth() -> None:
    assert tiers(rush()).tolist() == [1] * 5 + [0] * 5


def test_keeping_room_serves_those_above() -> None:
    market = Market.of(rush())
    assert serve(market, POLICIES["first come"]).value == 5 * 8
    assert serve(market, Policy(percent=(100, 40, 40))).value == 2 * 8 + 3 * 40


@pytest.mark.parametrize("name", POLICIES)
def test_every_policy_serves_somebody_with_and_without_a_past(name: str) -> None:
    market = Market.of(rush())
    assert serve(market, POLICIES[name]).value > 0
    assert serve(market, POLICIES[name], market).value > 0


def crowd(seed: int) -> Market:
    """Forty requests that may run in either of two pools, within a day."""
    rng = np.random.default_rng(seed)
    requests = []
    for n in range(40):
        asked, devices, slots = (int(rng.integers(0, 12)), int(rng.integers(1, 5)), int(rng.integers(1, 6)))
        way = {"devices": devices, "slots": slots, "start": [asked, asked + int(rng.integers(0, 7))]}
        worth = int(rng.choice([1, 2, 5])) * devices * slots
        options = [{"pool": pool, "value": worth, **way} for pool in ("a", "b")]
        requests.append({"id": f"r{n}", "options": options})
    pools = [{"id": pool, "capacity": [[0, 6]]} for pool in ("a", "b")]
    return Market.of(
        problem_from({"format": "capacity-plan-problem/1", "slots": 24, "pools": pools, "requests": requests})
    )


def half_full(market: Market, now: int) -> tuple[Bookings, Ints]:
    """A place for half of those who have asked by now, and all of these."""
    bookings = Bookings(market.room, market.ways, freeze_slots=1)
    known = np.flatnonzero(market.asked <= now)
    for claim in known[: len(known) // 2]:
        place = bookings.place(int(claim), int(market.asked[claim]))
        if place is not None:
            bookings.take(int(claim), place)
    return bookings, known


@pytest.mark.parametrize("seed", range(5))
def test_planning_again_lets_nobody_in_who_leaves_too_little(seed: int) -> None:
    market, now = crowd(seed), 3
    bookings, known = half_full(market, now)
    held = np.flatnonzero(bookings.row >= 0)
    waiting = known[(bookings.row[known] < 0) & (market.latest[known] >= now)]
    no_room = Limit(np.zeros(market.problem.slots + 1), -1.0)
    Replanning(every=6, work=20).plan(market, bookings, waiting, now, [(market, 24)], lambda _: lambda _free: no_room)
    assert np.array_equal(np.flatnonzero(bookings.row >= 0), held), f"seed {seed}"


@pytest.mark.parametrize("seed", range(5))
def test_planning_again_drops_nobody_and_moves_only_who_is_not_firm(seed: int) -> None:
    market, now = crowd(seed), 3
    bookings, known = half_full(market, now)
    row, start, movable = bookings.row.copy(), bookings.start.copy(), bookings.movable(now)
    waiting = known[(row[known] < 0) & (market.latest[known] >= now)]
    Replanning(every=6, work=20).plan(market, bookings, waiting, now, [(crowd(seed + 100), 24)], lambda _: None)
    firm = np.setdiff1d(np.flatnonzero(row >= 0), movable)
    at = f"seed {seed}"
    assert np.array_equal((bookings.row[firm], bookings.start[firm]), (row[firm], start[firm])), at
    assert (bookings.row[movable] >= 0).all(), at
    assert (bookings.start[movable] > now + 1).all(), at
    placed = np.flatnonzero(bookings.row >= 0)
    chosen = market.ways.rows[bookings.row[placed]]
    assert (bookings.start[placed] <= chosen[:, 4]).all(), at
    used = np.zeros_like(market.room)
    for (pool, devices, slots, *_), begin in zip(chosen, bookings.start[placed], strict=True):
        used[pool, begin : begin + slots] += devices
    assert np.array_equal(bookings.free, market.room - used), at
    assert (bookings.free >= 0).all(), at
