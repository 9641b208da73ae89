"""A case of one pool: who must stand, who must not, and what that leaves to others."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numba import typeof

from broker.optimiser.cases import IMPOSSIBLE, OPEN, OUT, SERVED, Found, Yard, descend, new_found, new_scratch, new_yard
from broker.optimiser.files import problem_from
from broker.optimiser.problem import Floats
from broker.optimiser.prune import prune
from broker.optimiser.tables import tables

Document = dict[str, Any]
SLOTS = 6


def request(devices: int, slots: int, starts: tuple[int, int], value: int) -> Document:
    return {"devices": devices, "slots": slots, "start": list(starts), "value": value}


def yard(*requests: Document) -> Yard:
    """A pool of ten devices for six slots."""
    document = {
        "format": "capacity-plan-problem/1",
        "slots": SLOTS,
        "pools": [{"id": "p", "capacity": [[0, 10]]}],
        "quotas": [],
        "requests": [
            {"id": f"r{n}", "quota": None, "options": [{"pool": "p", **option}]} for n, option in enumerate(requests)
        ],
    }
    problem = problem_from(document)
    return new_yard(tables(problem, prune(problem)), 0, 0.5)


def bounded(y: Yard, *said: tuple[int, int, int], rents: Floats | None = None) -> tuple[float, Found]:
    found = new_found(y, 1)
    prices, books = np.zeros(SLOTS), np.zeros((2, SLOTS + 1))
    rents = np.zeros(len(y.request)) if rents is None else rents
    saying = np.array(said, np.int64).reshape(-1, 3)
    return descend(y, saying, new_scratch(y, 2), prices, rents, books, 200, 100.0, found), found


def test_only_gangs_above_the_share_are_large() -> None:
    assert yard(request(5, 1, (0, 0), 1), request(6, 1, (0, 0), 1)).gang.tolist() == [-1, 0]


def test_a_pool_of_any_size_needs_no_machine_code_of_its_own() -> None:
    small, large = yard(request(6, 4, (0, 2), 600)), yard(*(request(6, 4, (0, n % 3), 600) for n in range(9)))
    assert typeof(small) == typeof(large)  # type: ignore[no-untyped-call]


def test_an_open_gang_is_spread_and_one_that_is_out_is_gone() -> None:
    y = yard(request(6, 6, (0, 0), 600), request(8, 6, (0, 0), 640))
    spread, found = bounded(y, (OPEN, 0, 9), (OPEN, 0, 9))
    assert 900 < spread < 960
    assert found.stands[0, 0] > 0.5
    alone, found = bounded(y, (OPEN, 0, 9), (OUT, 0, 9))
    assert 600 <= alone < 601
    assert found.asked.tolist() == pytest.approx([1, 0])


def test_who_must_stand_leaves_no_room_for_others_wherever_it_starts() -> None:
    y = yard(request(6, 4, (0, 2), 600), request(5, 2, (0, 4), 500))
    # From 1 or 2 on, it takes slots 2 to 4: the other fits only before, from 0 on.
    both, found = bounded(y, (SERVED, 1, 2))
    assert 1100 <= both < 1101
    assert found.stands[0, 0] == pytest.approx(1)
    # From 0 on only, it takes slots 0 to 3: the other fits only after it.
    assert 1100 <= bounded(y, (SERVED, 0, 0))[0] < 1101
    # From 1 on only, it takes slots 1 to 4: the other fits nowhere.
    assert 600 <= bounded(y, (SERVED, 1, 1))[0] < 601


def test_who_must_stand_counts_even_where_its_rent_is_above_its_worth() -> None:
    y = yard(request(6, 4, (0, 2), 600))
    rents = np.array([700.0])
    assert -100 <= bounded(y, (SERVED, 0, 9), rents=rents)[0] < -99
    assert 0 <= bounded(y, (OPEN, 0, 9), rents=rents)[0] < 1


def test_two_that_never_fit_together_are_impossible() -> None:
    y = yard(request(6, 4, (0, 2), 600), request(6, 4, (0, 2), 600))
    assert bounded(y, (SERVED, 0, 9), (SERVED, 0, 9))[0] == IMPOSSIBLE
    assert bounded(y, (SERVED, 0, 9), (OPEN, 0, 9))[0] < 601


def test_a_gang_without_a_start_left_cannot_stand() -> None:
    y = yard(request(6, 4, (0, 2), 600))
    assert bounded(y, (SERVED, 3, 9))[0] == IMPOSSIBLE
    assert 0 <= bounded(y, (OPEN, 3, 9))[0] < 1
