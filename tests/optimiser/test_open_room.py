"""Open room is what it says it is: counted here one gang after the other."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from broker.domain.fleet import Delivery, Pool, PoolKind
from broker.domain.slots import Window
from broker.domain.snapshot import Snapshot
from broker.domain.terms import Terms
from broker.optimiser.compile import compile_problem
from broker.optimiser.open_room import LENGTHS, Racks, open_room, pool_rooms
from tests.builders import fleet

SLOTS = 200


def counted(free: list[int]) -> int:
    """Domain-hours of every gang that fits, one by one."""
    total = 0
    for length in LENGTHS:
        for start in range(len(free) - length + 1):
            size = 1
            while all(n >= size for n in free[start : start + length]):
                total += size * length
                size += 1
    return total


def steps(draw: st.DataObject) -> list[int]:
    levels = draw.draw(st.lists(st.tuples(st.integers(0, 5), st.integers(1, 90)), min_size=1, max_size=8))
    return [level for level, slots in levels for _ in range(slots)][:SLOTS]


@settings(deadline=None, max_examples=40)
@given(st.data())
def test_every_gang_that_fits_counts_as_the_domain_hours_it_would_use(draw: st.DataObject) -> None:
    free = steps(draw)
    assert int(open_room(np.array(free, np.int64))) == counted(free)


def test_rows_are_counted_apart() -> None:
    rows = np.array([[2] * SLOTS, [0, *[2] * (SLOTS - 1)]], np.int64)
    assert_array_equal(open_room(rows), [int(open_room(row)) for row in rows])
    assert open_room(rows)[0] > open_room(rows)[1]


def test_free_at_the_same_hours_side_by_side_is_more_than_in_turn_or_apart() -> None:
    week = LENGTHS[2]
    in_turn, apart = np.full(2 * week, 2), np.array([4] * week + [0] * week)
    assert in_turn.sum() == apart.sum()
    one, two = (int(open_room(row)) for row in (np.full(week, 4), np.full(week, 2)))
    assert one > 2 * two
    scattered = np.tile([4] * 12 + [0] * 12, 2 * week // 24)
    assert int(open_room(scattered)) == 0 < int(open_room(apart))


def pool(name: str, **cut: Any) -> Pool:
    return Pool(name, PoolKind.INTERNAL, "b200", 72, (Delivery(720),), **cut)


def test_only_pools_in_which_claims_have_racks_to_themselves_are_looked_at() -> None:
    pools = (
        pool("racks", tray_devices=4, spare_trays=2),
        pool("small-gangs", tray_devices=4, slice_trays=2),
        pool("counted"),
        Pool("nodes", PoolKind.INTERNAL, "b200", 8, (Delivery(720),), tray_devices=8),
    )
    compiled = compile_problem(Snapshot("i", 1, fleet(pools), ()), Window(0, 30 * 24), Terms())
    racks = Racks.of(compiled.snapshot.fleet, compiled.problem, 28 * 24)
    assert racks.devices.tolist() == [64, 0, 0, 0]
    free = compiled.problem.pools.capacity
    used = free.copy()
    used[0, 24:48] -= 65
    (room,) = pool_rooms(racks, compiled.problem, used, free)
    assert (room.pool, room.after_ppm, room.week_after_milli) == ("racks", 1_000_000, 10_000)
    assert 0 < room.before_ppm < 1_000_000
    weeks = 28 * 24 - 168 + 1
    assert room.week_before_milli == round(1000 * (10 - 2 * 48 / weeks))
