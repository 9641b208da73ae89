"""Each of the five ruins finds what others miss, breaks no promise, keeps exact books, and can be undone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from broker.optimiser.construct import settle
from broker.optimiser.problem import Ints
from broker.optimiser.search import Ruin, Tally, new_search
from broker.optimiser.state import Calendar
from tests.optimiser.market import Market, assert_exact, crowded_with_promises, market, only

Document = dict[str, Any]
FORBIDDING = -1e18  # heat at which no change of the money is accepted: every round ends as if it had lost
EVERY_KIND = pytest.mark.parametrize("kind", list(Ruin), ids=lambda kind: kind.name.lower())


@pytest.fixture(scope="module")
def priced(crowd: Callable[..., Document]) -> Market:
    return market(crowd(11))


@pytest.fixture(scope="module")
def promised(crowd: Callable[..., Document]) -> Market:
    return market(crowded_with_promises(crowd(5, requests=90)))


def plan(c: Calendar) -> tuple[Ints, Ints]:
    return c.row.copy(), np.where(c.row >= 0, c.start, 0)


@EVERY_KIND
def test_books_and_worth_are_exact_after_every_round(kind: Ruin, priced: Market) -> None:
    calendar, total = priced.greedy()
    search = new_search(calendar, total, seed=3, mix=only(kind))
    touched = 0
    for n in range(60):
        priced.improve(calendar, search, 300.0 if n % 2 else 0.0, 1)
        touched += int(search.tally[Tally.TOUCHED])
        assert_exact(priced.problem, priced.t, calendar)
        assert priced.judged(calendar.row, calendar.start) == search.tally[Tally.TOTAL]
        assert set(search.out[: search.out_count[0]]) == set(np.flatnonzero(calendar.row < 0))
    assert touched > 60
    assert search.tried.tolist() == [60 * (other == kind) for other in Ruin]
    assert search.won[kind] <= 60


@EVERY_KIND
def test_a_round_that_is_not_accepted_leaves_everything_where_it_was(kind: Ruin, priced: Market) -> None:
    calendar, total = priced.greedy()
    undone = 0
    for seed in range(60):
        search = new_search(calendar, total, seed=seed, mix=only(kind))
        before = plan(calendar)
        priced.improve(calendar, search, FORBIDDING, 1, to_end=True)
        assert search.tally[Tally.TOTAL] == total
        assert_exact(priced.problem, priced.t, calendar)
        if search.tally[Tally.STALE] == 0:  # nothing was accepted, not even a change that costs nothing
            assert all(np.array_equal(a, b) for a, b in zip(before, plan(calendar), strict=True))
            undone += int(search.tally[Tally.TOUCHED] > 0)
    assert undone > 5


@EVERY_KIND
def test_rounds_left_early_are_never_poorer_and_spare_insertions(kind: Ruin, priced: Market) -> None:
    """The same rounds from the same plan, left early and played to the end: never poorer, exact, for less work."""
    calendar, total = priced.greedy()
    spared = 0
    for seed in range(60):
        (row, start), tried = plan(calendar), []
        for to_end in (False, True):
            books, worth = settle(priced.t, row, start)
            search = new_search(books, worth, seed=seed, mix=only(kind))
            tried.append(priced.improve(books, search, 0.0, 1, to_end))
            assert search.tally[Tally.TOTAL] >= worth == total
            assert_exact(priced.problem, priced.t, books)
            if search.tally[Tally.TOTAL] == worth and search.tally[Tally.STALE] == 0:
                assert all(np.array_equal(a, b) for a, b in zip((row, start), plan(books), strict=True))
        spared += tried[1] - tried[0]
    assert spared > 0


@EVERY_KIND
def test_promises_outlive_every_round(kind: Ruin, promised: Market) -> None:
    t = promised.t
    calendar, total = settle(t, t.now_row, t.now_start)
    search = new_search(calendar, total, seed=3, mix=only(kind))
    kept = first = int(t.promised[calendar.row >= 0].sum())
    for heat in (5_000.0, 500.0, 0.0):
        for _ in range(20):
            promised.improve(calendar, search, heat, 1)
            now = int(t.promised[calendar.row >= 0].sum())
            assert kept <= now == first + search.tally[Tally.KEPT]
            kept = now
        assert_exact(promised.problem, t, calendar)
    assert int(t.promised[search.best_row >= 0].sum()) == first + search.tally[Tally.BEST_KEPT] == kept


def crossing(**newcomer: Any) -> Document:
    """One who stands where another could earn, and could stand elsewhere for the same money."""
    option = {"devices": 4, "slots": 3, "start": [0, 0], "value": 50}
    return {
        "format": "capacity-plan-problem/1",
        "slots": 3,
        "pools": [{"id": name, "capacity": [[0, 4]]} for name in "ab"],
        "requests": [
            {"id": "old", "options": [option | {"pool": "a"}, option | {"pool": "b"}]},
            {"id": "new", "options": [option | {"pool": "a"} | newcomer]},
        ],
    }


@EVERY_KIND
def test_one_who_can_stand_elsewhere_makes_room(kind: Ruin) -> None:
    world = market(crossing(), steps=1)
    calendar, total = settle(world.t, np.array([0, -1]), np.zeros(2, np.int64))
    search = new_search(calendar, total, seed=1, mix=only(kind))
    world.improve(calendar, search, 0.0, 300)
    assert calendar.row.tolist() == search.best_row.tolist() == [1, 2]
    assert search.won[kind] == 1
    assert world.judged(calendar.row, calendar.start) == 100


@EVERY_KIND
def test_nobody_is_put_in_at_a_loss(kind: Ruin) -> None:
    document = crossing(value=11)
    document["pools"][0]["unit_cost"] = 1  # the newcomer would pay 12
    world = market(document, steps=1)
    calendar, total = settle(world.t, np.array([1, -1]), np.zeros(2, np.int64))
    search = new_search(calendar, total, seed=1, mix=only(kind))
    world.improve(calendar, search, 0.0, 300)
    assert calendar.row.tolist() == [1, -1]


def test_force_evicts_only_as_much_as_it_needs() -> None:
    """Ten small ones fill a pool; a richer one that needs the room of four replaces four, the cheapest or nearly."""
    option = {"pool": "a", "slots": 2, "start": [0, 0]}
    small = [{"id": f"s{n}", "options": [option | {"devices": 1, "value": 10 + n}]} for n in range(10)]
    rich = {"id": "rich", "options": [option | {"devices": 4, "value": 500}]}
    document: Document = {"format": "capacity-plan-problem/1", "slots": 2, "requests": [*small, rich]}
    world = market(document | {"pools": [{"id": "a", "capacity": [[0, 10]]}]}, steps=1)
    calendar, total = settle(world.t, np.append(np.arange(10), -1), np.zeros(11, np.int64))
    search = new_search(calendar, total, seed=1, mix=only(Ruin.FORCE))
    world.improve(calendar, search, 0.0, 1)
    assert calendar.row[10] == 10
    assert (calendar.row[:10] >= 0).sum() == 6
    world.improve(calendar, search, 0.0, 600)
    assert (calendar.row[:10] >= 0).tolist() == [False] * 4 + [True] * 6


def test_a_large_gang_takes_over_the_quota_of_small_ones() -> None:
    """Small ones hold all of a quota in one pool; a richer gang of the same quota wants the other, which is free."""
    option = {"slots": 2, "start": [0, 0]}
    small = [
        {"id": f"s{n}", "quota": "q", "options": [option | {"pool": "a", "devices": 1, "value": 10}]} for n in range(4)
    ]
    rich = {"id": "rich", "quota": "q", "options": [option | {"pool": "b", "devices": 3, "value": 500}]}
    document: Document = {
        "format": "capacity-plan-problem/1",
        "slots": 2,
        "pools": [{"id": name, "capacity": [[0, 4]]} for name in "ab"],
        "quotas": [{"id": "q", "limit": [[0, 4]]}],
        "requests": [*small, rich],
    }
    world = market(document, steps=1)
    calendar, total = settle(world.t, np.append(np.arange(4), -1), np.zeros(5, np.int64))
    search = new_search(calendar, total, seed=1, mix=only(Ruin.FORCE))
    world.improve(calendar, search, 0.0, 600)
    assert calendar.row[4] == 4
    assert (calendar.row[:4] >= 0).sum() == 1
    assert world.judged(calendar.row, calendar.start) == 510
