"""One pool by itself, in one case of what becomes of its large gangs, priced slot by slot.

A case says of each large gang that it stands in this pool within some starts, that it does not, or nothing. Who is to
stand takes room wherever it starts, and others lose the starts which that rules out. The rest is a Lagrangian bound as
in ``prices.py``, small enough for thousands of cases a second.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from broker.compiled import compiled, inlined, vectorised
from broker.optimiser.problem import Floats, Ints
from broker.optimiser.tables import Tables
from broker.optimiser.tariffs import surcharge

__all__ = [
    "IMPOSSIBLE",
    "OPEN",
    "OUT",
    "SERVED",
    "Found",
    "Scratch",
    "Yard",
    "descend",
    "new_found",
    "new_scratch",
    "new_yard",
]

IMPOSSIBLE = -np.inf
PATIENCE = 6  # steps without progress before hope shrinks
SHRINK = 0.6
ASTRAY = 3.0  # hopes above the best bound at which the descent goes back to the best prices
DEFLECTION = 0.9  # share of the last direction that is kept
OPEN, SERVED, OUT = 0, 1, -1  # what a case says of a gang


class Yard(NamedTuple):
    """One pool and the rows that could stand in it; a present placement is a row of its own."""

    request: Ints  # [requests here] number in the tables
    first: Ints  # [requests here + 1] where the rows of each begin
    devices: Ints  # [rows]
    length: Ints
    low: Ints
    high: Ints
    due: Ints
    value: Floats  # less unit cost
    late: Floats
    size: Ints  # [rows] which of ``sizes`` it has
    sizes: Ints  # devices of the tariffs of this pool, 0 for the plain one
    book: Ints  # [requests here] row of the prices it pays beside those of the pool
    gang: Ints  # [requests here] number among the large gangs of this pool, or -1
    room: Ints  # [slots]
    paid: Ints  # [slots]
    over: float


class Scratch(NamedTuple):
    """Arrays to work in."""

    taken: Ints  # [slots] by gangs wherever they start
    sure: Ints  # [gangs, 3] first slot, end and devices of what each of them takes
    runs: Ints  # [runs, 3] row, first and last start
    run_first: Ints  # [requests here + 1]
    sums: Floats  # [books * sizes * (slots + 1)]
    used: Floats  # [slots + 1]
    many: Floats  # [sizes, slots + 1] changes of how many of each size stand
    direction: Floats  # [slots]
    point: Floats  # [slots]


class Found(NamedTuple):
    """A solution of the relaxation: the mean of the last steps."""

    stands: Floats  # [gangs, 3] how much of each stands here; the same times start, and times its square
    asked: Floats  # [requests here] how much of each stands here
    held: Floats  # [quotas + 1, slots + 1] changes of the devices in use from slot to slot


def new_yard(t: Tables, pool: int, large: float) -> Yard:
    """The pool by itself; gangs that take more than ``large`` of its most devices are large."""
    owner = np.repeat(np.arange(len(t.quota)), np.diff(t.first))
    stays = np.flatnonzero(t.now_row >= 0)
    stays = stays[t.pool[t.now_row[stays]] == pool]
    rows = np.concatenate((np.flatnonzero(t.pool == pool), t.now_row[stays]))
    saved = np.concatenate((np.zeros(len(rows) - len(stays), np.int64), t.move[stays]))
    low, high = t.low[rows], t.high[rows]
    if len(stays):
        low[-len(stays) :] = high[-len(stays) :] = t.now_start[stays]
    order = np.argsort(owner[rows], kind="stable")
    rows, saved, low, high = rows[order], saved[order], low[order], high[order]
    request, first = np.unique(owner[rows], return_index=True)
    least = np.minimum.reduceat(t.devices[rows], first) if len(rows) else np.zeros(0, np.int64)
    big = least > large * t.capacity[pool].max(initial=0)
    worth = t.value[rows].astype(np.float64) - (t.unit[pool] * t.devices[rows] * t.length[rows]).astype(np.float64)
    sizes = np.append(0, t.tariffs.devices[t.tariffs.first[pool] : t.tariffs.first[pool + 1]])
    return Yard(
        request=request,
        first=np.append(first, len(rows)).astype(np.int64),
        devices=t.devices[rows],
        length=t.length[rows],
        low=low,
        high=high,
        due=t.due[rows],
        value=worth + saved,
        late=t.late[rows].astype(np.float64),
        size=np.where(t.devices[rows] > t.tariffs.plain[pool], np.searchsorted(sizes, t.devices[rows]), 0),
        sizes=sizes,
        book=t.quota[request] + len(t.limit) * t.sure[request],
        gang=np.where(big, np.cumsum(big) - 1, -1),
        room=t.capacity[pool].copy(),
        paid=t.committed[pool].copy(),
        over=float(t.over[pool]),
    )


def new_scratch(y: Yard, books: int) -> Scratch:
    """Room for the work on one pool."""
    slots, gangs = len(y.room), int((y.gang >= 0).sum())
    return Scratch(
        taken=np.zeros(slots, np.int64),
        sure=np.zeros((gangs, 3), np.int64),
        runs=np.zeros((int((y.high - y.low + 1).sum()), 3), np.int64),
        run_first=np.zeros(len(y.request) + 1, np.int64),
        sums=np.zeros(books * len(y.sizes) * (slots + 1)),
        used=np.zeros(slots + 1),
        many=np.zeros((len(y.sizes), slots + 1)),
        direction=np.zeros(slots),
        point=np.zeros(slots),
    )


def new_found(y: Yard, quotas: int) -> Found:
    """Nothing found yet."""
    gangs = int((y.gang >= 0).sum())
    return Found(np.zeros((gangs, 3)), np.zeros(len(y.request)), np.zeros((quotas, len(y.room) + 1)))


@inlined
def _span(y: Yard, said: Ints, request: int, row: int) -> tuple[int, int]:
    """The starts of a row that the case allows; the first above the last where there are none."""
    gang = y.gang[request]
    if gang < 0:
        return y.low[row], y.high[row]
    if said[gang, 0] == OUT:
        return 1, 0
    return max(y.low[row], said[gang, 1]), min(y.high[row], said[gang, 2])


@compiled
def _take(y: Yard, said: Ints, s: Scratch) -> bool:
    """Write down the slots that served gangs take wherever they start; False where they do not fit together."""
    s.taken[:] = 0
    s.sure[:] = 0
    for request in range(len(y.request)):
        gang = y.gang[request]
        if gang < 0 or said[gang, 0] != SERVED:
            continue
        begin, end, devices = -1, len(y.room), -1
        for row in range(y.first[request], y.first[request + 1]):
            low, high = _span(y, said, request, row)
            if low <= high:
                begin, end = max(begin, high), min(end, low + y.length[row])
                devices = y.devices[row] if devices < 0 else min(devices, y.devices[row])
        if devices < 0:
            return False
        if begin < end:
            s.sure[gang, 0], s.sure[gang, 1], s.sure[gang, 2] = begin, end, devices
            for slot in range(begin, end):
                s.taken[slot] += devices
    for slot in range(len(y.room)):  # noqa: SIM110 - numba compiles no generator
        if s.taken[slot] > y.room[slot]:
            return False
    return True


@inlined
def _free(y: Yard, s: Scratch, gang: int, slot: int) -> int:
    """What gangs that surely stand leave of a slot, to a gang also what it takes itself."""
    free: int = y.room[slot] - s.taken[slot]
    if gang >= 0 and s.sure[gang, 0] <= slot < s.sure[gang, 1]:
        free += s.sure[gang, 2]
    return free


@inlined
def _cut_row(y: Yard, s: Scratch, gang: int, row: int, low: int, high: int, n: int) -> int:
    """Append the runs of starts that are left to a row between two of them; returns how many there are then."""
    blocked, following = low - 1, False
    for slot in range(low, high + y.length[row]):
        start = slot - y.length[row] + 1
        if _free(y, s, gang, slot) < y.devices[row]:
            blocked, following = slot, False
            if slot >= high:
                break
        elif start > blocked:
            if not following:
                s.runs[n, 0], s.runs[n, 1] = row, start
                following = True
                n += 1
            s.runs[n - 1, 2] = start
    return n


@compiled
def _cut(y: Yard, said: Ints, s: Scratch) -> bool:
    """List the runs of starts that are left; False where a gang that is to stand has none."""
    n = 0
    for request in range(len(y.request)):
        s.run_first[request] = n
        gang = y.gang[request]
        for row in range(y.first[request], y.first[request + 1]):
            low, high = _span(y, said, request, row)
            if low <= high:
                n = _cut_row(y, s, gang, row, low, high, n)
        if gang >= 0 and said[gang, 0] == SERVED and s.run_first[request] == n:
            return False
    s.run_first[len(y.request)] = n
    return True


@vectorised
def _best_of_run(
    sums: Floats, at: int, low: int, high: int, length: int, due: int, value: float, devices: float, late: float
) -> float:
    """The highest reduced value of a run of starts: as in ``columns.py``, with one row of running sums."""
    best = -np.inf
    one = np.uint64(1)
    a = np.uint64(at + low)
    b = a + np.uint64(length)
    punctual = min(high, due) - low + 1
    if punctual > 0:
        least = np.inf
        for _ in range(punctual):
            price = sums[b] - sums[a]
            least = price if price < least else least  # noqa: FURB136 - numba's min asks about NaN
            a, b = a + one, b + one
        best = value - devices * least
        low += punctual
    base = value - late * (low - due)
    for k in range(high - low + 1):
        worth = base - late * k - devices * (sums[b] - sums[a])
        best = worth if worth > best else best  # noqa: FURB136
        a, b = a + one, b + one
    return best


@inlined
def _best_start(y: Yard, sums: Floats, at: int, row: int, low: int, high: int) -> int:
    """The start of the highest reduced value in a run."""
    best, start = -np.inf, low
    for k in range(low, high + 1):
        worth = -y.devices[row] * (sums[at + k + y.length[row]] - sums[at + k]) - y.late[row] * max(0, k - y.due[row])
        if worth > best:
            best, start = worth, k
    return start


@compiled
def _priced(y: Yard, said: Ints, s: Scratch, rents: Floats, weight: float, found: Found) -> float:
    """What the best choices at the present sums are worth above the rents of their requests, and what they use."""
    total, wide, quotas = 0.0, len(y.room) + 1, found.held.shape[0]
    for request in range(len(y.request)):
        base = y.book[request] * len(y.sizes)
        best, run = -np.inf, -1
        for k in range(s.run_first[request], s.run_first[request + 1]):
            row = s.runs[k, 0]
            low, high, devices = s.runs[k, 1], s.runs[k, 2], float(y.devices[row])
            at = (base + y.size[row]) * wide
            worth = _best_of_run(s.sums, at, low, high, y.length[row], y.due[row], y.value[row], devices, y.late[row])
            if worth > best:
                best, run = worth, k
        best -= rents[y.request[request]]
        gang = y.gang[request]
        if run < 0 or (best <= 0 and (gang < 0 or said[gang, 0] != SERVED)):
            continue
        total += best
        row = s.runs[run, 0]
        start = _best_start(y, s.sums, (base + y.size[row]) * wide, row, s.runs[run, 1], s.runs[run, 2])
        end, quota = start + y.length[row], y.book[request] % quotas
        s.used[start] += y.devices[row]
        s.used[end] -= y.devices[row]
        s.many[y.size[row], start] += 1
        s.many[y.size[row], end] -= 1
        found.asked[request] += weight
        found.held[quota, start] += weight * y.devices[row]
        found.held[quota, end] -= weight * y.devices[row]
        if gang >= 0:
            found.stands[gang, 0] += weight
            found.stands[gang, 1] += weight * start
            found.stands[gang, 2] += weight * start * start
    return total


@compiled
def _sum_up(y: Yard, s: Scratch, books: Floats) -> float:
    """Running sums of the point and of each book; returns what the pool's room is worth at the point."""
    wide, flat = len(y.room) + 1, 0.0
    for slot in range(wide - 1):
        flat += s.point[slot] * y.paid[slot] + (y.room[slot] - y.paid[slot]) * max(0.0, s.point[slot] - y.over)
    for book in range(books.shape[0]):
        for size in range(len(y.sizes)):
            total, at = 0.0, (book * len(y.sizes) + size) * wide
            s.sums[at] = 0.0
            for slot in range(wide - 1):
                total += s.point[slot] + surcharge(s.point[slot], y.over, y.paid[slot], y.sizes[size])
                s.sums[at + slot + 1] = total + books[book, slot + 1]
    return flat


@inlined
def _beyond(y: Yard, s: Scratch, slot: int) -> float:
    """Devices that the gangs of a slot take beyond what is paid for, each by itself."""
    total = 0.0
    for size in range(1, len(y.sizes)):
        if slot > 0:
            s.many[size, slot] += s.many[size, slot - 1]
        total += s.many[size, slot] * max(0, y.sizes[size] - y.paid[slot])
    return total


@compiled
def _move(y: Yard, s: Scratch, drop: float) -> None:
    """Step along the deflected subgradient, as far as would lower the bound by ``drop`` if it were linear."""
    norm, used = 0.0, 0.0
    for slot in range(len(y.room)):
        used += s.used[slot]
        beyond = _beyond(y, s, slot)
        slope = y.room[slot] - used if s.point[slot] > y.over else y.paid[slot] - used + beyond
        if s.point[slot] <= 0 and slope > 0:
            slope = 0.0
        s.direction[slot] = slope + DEFLECTION * s.direction[slot]
        norm += s.direction[slot] ** 2 / max(1, y.room[slot])
    if norm > 0:
        for slot in range(len(y.room)):
            s.point[slot] = max(0.0, s.point[slot] - drop / norm * s.direction[slot] / max(1, y.room[slot]))


@inlined
def _copy(target: Floats, source: Floats) -> None:
    for k in range(len(source)):
        target[k] = source[k]


@compiled
def descend(
    y: Yard,
    said: Ints,
    s: Scratch,
    prices: Floats,
    rents: Floats,
    books: Floats,
    steps: int,
    hope: float,
    found: Found,
) -> float:
    """The least bound on one case that some steps from ``prices`` prove, which become the best ones.

    ``rents`` are what each request of the tables must earn here; ``books`` running sums of what is paid beside the
    prices. ``found``, empty before, gets what stands here. ``IMPOSSIBLE`` when no plan is such a case.
    """
    if not (_take(y, said, s) and _cut(y, said, s)):
        return IMPOSSIBLE
    _copy(s.point, prices)
    s.direction[:] = 0
    best = mark = least = np.inf
    idle, half = 0, steps // 2
    for step in range(steps):
        s.used[:] = 0
        s.many[:] = 0
        bound = _sum_up(y, s, books)
        bound += _priced(y, said, s, rents, 1 / (steps - half) if step >= half else 0.0, found)
        if bound < best:
            best = bound
            _copy(prices, s.point)
        mark, idle = min(mark, bound) if step == 0 else mark, idle + 1
        if bound < least:
            least, idle = bound, 0
        if best <= mark - 0.5 * hope:
            mark, idle = best, 0
        elif idle >= PATIENCE:
            hope *= SHRINK
            mark, idle, least = best, 0, np.inf
            if bound > best + ASTRAY * hope:
                _copy(s.point, prices)
                s.direction[:] = 0
                continue
        if step < steps - 1:
            _move(y, s, max(0.0, bound - best + hope))
    return best
