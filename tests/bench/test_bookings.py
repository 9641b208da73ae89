"""Making room: nobody is dropped, everybody stays inside his promise, and no pool is ever overfull."""

from __future__ import annotations

import numpy as np
import pytest

from bench.bookings import Bookings, Limit, Place, Ways
from broker.optimiser.problem import Ints


def ways(*claims: list[tuple[int, int, int, int, int]]) -> Ways:
    """The ways of some claims; each is pool, devices, slots, first start, last start."""
    first = np.cumsum([0, *(len(rows) for rows in claims)])
    return Ways(first.astype(np.int64), np.array([row for rows in claims for row in rows], np.int64))


def board(*levels: int, slots: int = 8) -> Ints:
    """So many free devices in each pool, all the time."""
    return np.repeat(np.array([levels], np.int64).T, slots, axis=1)


def test_who_can_wait_makes_room_for_who_cannot() -> None:
    bookings = Bookings(board(4), ways([(0, 4, 2, 1, 6)], [(0, 4, 3, 1, 1)]))
    bookings.take(0, Place(0, 1))
    assert bookings.place(1, 0) is None
    assert bookings.make_room(1, 0)
    assert (bookings.start.tolist(), bookings.moves) == ([4, 1], 1)


def test_what_is_firm_stays() -> None:
    bookings = Bookings(board(4), ways([(0, 4, 2, 1, 6)], [(0, 4, 3, 1, 1)]), freeze_slots=1)
    bookings.take(0, Place(0, 1))
    assert not bookings.make_room(1, 0)
    assert bookings.start[0] == 1


@pytest.mark.parametrize("elsewhere", [True, False])
def test_other_pools_only_where_that_is_allowed(elsewhere: bool) -> None:
    bookings = Bookings(board(4, 4), ways([(0, 4, 8, 0, 0), (1, 4, 4, 1, 1)], [(1, 4, 3, 2, 2)]), elsewhere=elsewhere)
    bookings.free[0, 0] = 0  # it cannot have been planned there
    bookings.take(0, Place(1, 1))
    bookings.ways.rows[0] = 0, 4, 4, 1, 1
    assert bookings.make_room(1, 0) is elsewhere
    assert bookings.row[0] == (0 if elsewhere else 1)


def test_a_limit_is_kept_on_the_board_as_it_becomes() -> None:
    bookings = Bookings(board(4), ways([(0, 4, 2, 1, 6)], [(0, 4, 3, 1, 1)]))
    bookings.take(0, Place(0, 1))
    asked: list[int] = []

    def dear(free: Ints) -> Limit:
        asked.append(int(free.sum()))
        return Limit(np.arange(9.0), 2.9)

    assert not bookings.make_room(1, 0, limit=dear)
    assert set(asked) == {4 * 8 - 4 * 2}
    assert (bookings.start[0], bookings.moves) == (1, 0)
    assert bookings.make_room(1, 0, limit=lambda _: Limit(np.arange(9.0), 3.0))


@pytest.mark.parametrize("seed", range(30))
@pytest.mark.parametrize("elsewhere", [True, False])
def test_promises_on_random_boards(seed: int, elsewhere: bool) -> None:
    rng = np.random.default_rng(seed)
    slots, freeze = 24, int(rng.integers(0, 3))
    supply = rng.integers(2, 9, (3, 1)) + np.zeros((3, slots), np.int64)
    claims = []
    for _ in range(60):
        devices, length, asked = rng.integers(1, 7), rng.integers(1, 7), rng.integers(0, 16)
        last = min(int(asked + rng.integers(0, 9)), slots - int(length))
        pools = rng.permutation(3)[: rng.integers(1, 4)]
        claims.append([(int(p), int(devices), int(length), int(asked), last) for p in pools])
    claims.sort(key=lambda rows: rows[0][3])
    bookings = Bookings(supply.copy(), ways(*claims), elsewhere=elsewhere, freeze_slots=freeze, seed=seed)
    made = 0
    for claim, rows in enumerate(claims):
        now, before = rows[0][3], (bookings.row.copy(), bookings.start.copy())
        place = bookings.place(claim, now)
        if place is not None:
            bookings.take(claim, place)
        elif bookings.make_room(claim, now):
            made += 1
        else:
            assert np.array_equal((bookings.row, bookings.start), before), f"seed {seed}"
        told(bookings, supply, before, now + freeze, f"seed {seed}, claim {claim}", elsewhere=elsewhere)
    assert bookings.moves >= made


def told(bookings: Bookings, supply: Ints, before: tuple[Ints, Ints], firm: int, at: str, *, elsewhere: bool) -> None:
    """Who had a place has one that he was promised, and what is free is what others do not use."""
    row, start, rows = bookings.row, bookings.start, bookings.ways.rows
    had = np.flatnonzero(before[0] >= 0)
    assert (row[had] >= 0).all(), at
    moved = had[(row[had] != before[0][had]) | (start[had] != before[1][had])]
    assert (np.minimum(before[1], start)[moved] > firm).all(), at
    assert elsewhere or (row[had] == before[0][had]).all(), at
    used = np.zeros_like(supply)
    for claim in np.flatnonzero(row >= 0):
        assert bookings.ways.first[claim] <= row[claim] < bookings.ways.first[claim + 1], at
        pool, devices, length, first, last = rows[row[claim]]
        assert first <= start[claim] <= last, at
        used[pool, start[claim] : start[claim] + length] += devices
    assert (used <= supply).all(), at
    assert (bookings.free == supply - used).all(), at
