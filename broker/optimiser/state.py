"""The calendar while a plan is made: what is free, who sits where, and the exact worth of each change."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from broker.compiled import inlined, of_one_type
from broker.optimiser.problem import Floats, Ints
from broker.optimiser.tables import Tables
from broker.optimiser.tariffs import tariff

__all__ = [
    "Calendar",
    "Guide",
    "blocked",
    "change",
    "empty_calendar",
    "fits",
    "gain",
    "lift",
    "place",
    "score",
]


@of_one_type("row", "start", "stop", "pool", "seat", "who", "begin", "end")
class Calendar(NamedTuple):
    """Room left and placements made; changed in place, placements by ``place``, ``lift`` and ``change`` alone."""

    free: Ints  # [pools, slots] devices
    room: Ints  # [quotas + 1, slots] devices
    spare: Ints  # [reserves, slots] devices
    row: Ints  # [requests] or -1
    start: Ints  # [requests]
    stop: Ints  # [requests] one past the last slot; no meaning where it is not placed
    pool: Ints  # [requests] where it stands, or -1: never a pool of the other side, even while that one moves it
    seat: Ints  # [requests] where it is listed among those of its pool; no meaning where it is not placed
    taken: Ints  # [pools] seats taken: those from t.seats[pool] on
    who: Ints  # [seats] the request on a seat
    begin: Ints  # [seats] its first slot
    end: Ints  # [seats] one past its last slot


class Guide(NamedTuple):
    """Prices as running sums, so that a run of slots costs two look-ups."""

    pool: Floats  # [2, tariffs, slots + 1]; unit cost included; plane 1 is for guaranteed requests
    quota: Floats  # [quotas + 1, slots + 1]
    pool_flat: Floats  # the same numbers in one dimension
    quota_flat: Floats


def empty_calendar(t: Tables) -> Calendar:
    """Nobody placed."""
    requests, pools = len(t.quota), len(t.unit)
    places = np.zeros((requests, 5), np.int64)
    places[:, 0] = places[:, 3] = -1
    seats = np.zeros((int(t.seats[-1]), 3), np.int64)
    return Calendar(
        free=t.capacity.copy(),
        room=t.limit.copy(),
        spare=t.cover.copy(),
        row=places[:, 0],
        start=places[:, 1],
        stop=places[:, 2],
        pool=places[:, 3],
        seat=places[:, 4],
        taken=np.zeros(pools, np.int64),
        who=seats[:, 0],
        begin=seats[:, 1],
        end=seats[:, 2],
    )


@inlined
def score(t: Tables, g: Guide, request: int, row: int, start: int) -> float:
    """Reduced value of a placement: value less lateness, costs and the prices of what it occupies."""
    end = start + t.length[row]
    p, q, plane = tariff(t.tariffs, t.pool[row], t.devices[row]), t.quota[request], t.sure[request]
    price = g.pool[plane, p, end] - g.pool[plane, p, start] + g.quota[q, end] - g.quota[q, start]
    worth: float = float(t.value[row]) - t.devices[row] * price
    if start > t.due[row]:
        worth -= t.late[row] * (start - t.due[row])
    if row == t.now_row[request] and start == t.now_start[request]:
        worth += t.move[request]
    return worth


@inlined
def blocked(t: Tables, c: Calendar, request: int, row: int, slot: int) -> bool:
    """Whether one slot lacks the room for a placement of this row."""
    p, devices = t.pool[row], t.devices[row]
    if c.free[p, slot] < devices or c.room[t.quota[request], slot] < devices:
        return True
    if t.sure[request] == 1:
        for k in range(t.watch_first[p], t.watch_first[p + 1]):
            if c.spare[t.watch[k], slot] < devices * t.times[k]:
                return True
    return False


@inlined
def fits(t: Tables, c: Calendar, request: int, row: int, start: int) -> bool:
    """Whether the calendar has room for a placement in each of its slots."""
    for slot in range(start, start + t.length[row]):  # noqa: SIM110 - numba compiles no generator
        if blocked(t, c, request, row, slot):
            return False
    return True


@inlined
def gain(t: Tables, c: Calendar, request: int, row: int, start: int) -> int:
    """What adding a placement adds to the objective, in the money of the tables; it must not be placed yet."""
    p, devices, length = t.pool[row], t.devices[row], t.length[row]
    worth: int = t.value[row] - t.unit[p] * devices * length
    if start > t.due[row]:
        worth -= t.late[row] * (start - t.due[row])
    if row == t.now_row[request] and start == t.now_start[request]:
        worth += t.move[request]
    if t.over[p] > 0:
        above = 0
        for slot in range(start, start + length):
            paid = max(0, c.free[p, slot] - t.capacity[p, slot] + t.committed[p, slot])
            above += max(0, devices - paid)
        worth -= t.over[p] * above
    return worth


@inlined
def _occupy(t: Tables, c: Calendar, request: int, row: int, start: int, devices: int) -> None:
    p, q = t.pool[row], t.quota[request]
    for slot in range(start, start + t.length[row]):
        c.free[p, slot] -= devices
        c.room[q, slot] -= devices
    if t.sure[request] == 1:
        for k in range(t.watch_first[p], t.watch_first[p + 1]):
            n, amount = t.watch[k], devices * t.times[k]
            for slot in range(start, start + t.length[row]):
                c.spare[n, slot] -= amount


@inlined
def _sit(t: Tables, c: Calendar, request: int, row: int, start: int) -> None:
    p = t.pool[row]
    seat = t.seats[p] + c.taken[p]
    c.taken[p] += 1
    c.seat[request], c.who[seat] = seat, request
    c.begin[seat], c.end[seat] = start, start + t.length[row]


@inlined
def _rise(t: Tables, c: Calendar, request: int, pool: int) -> None:
    """Give up a seat; the last one of the pool moves up."""
    c.taken[pool] -= 1
    last, seat = t.seats[pool] + c.taken[pool], c.seat[request]
    moved = c.who[last]
    c.who[seat], c.begin[seat], c.end[seat] = moved, c.begin[last], c.end[last]
    c.seat[moved] = seat


@inlined
def lift(t: Tables, c: Calendar, request: int) -> None:
    """Take a placed request out, whatever that is worth."""
    row = c.row[request]
    _occupy(t, c, request, row, c.start[request], -t.devices[row])
    _rise(t, c, request, c.pool[request])
    c.row[request] = c.pool[request] = -1


@inlined
def place(t: Tables, c: Calendar, request: int, row: int, start: int) -> None:
    """Put a request that is out at ``(row, start)``, whatever that is worth; the room must be there."""
    _occupy(t, c, request, row, start, t.devices[row])
    _sit(t, c, request, row, start)
    c.row[request], c.pool[request] = row, t.pool[row]
    c.start[request], c.stop[request] = start, start + t.length[row]


@inlined
def change(t: Tables, c: Calendar, request: int, row: int, start: int) -> int:
    """Move a request to ``(row, start)``, or out with row -1; returns the exact change of the objective.

    The room must be there: the caller has asked ``fits`` of the calendar without this request.
    """
    delta = 0
    old = c.row[request]
    if old >= 0:
        old_start = c.start[request]
        lift(t, c, request)
        delta -= gain(t, c, request, old, old_start)
    if row >= 0:
        delta += gain(t, c, request, row, start)
        place(t, c, request, row, start)
    return delta
