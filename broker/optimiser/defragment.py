"""Moves a few of those that are merely planned, so that whole domains stay free for gangs that may still come.

A plan serves what is known. What it leaves free of pools of racks may lie where no gang could use it: a few hours here,
another pool there. So once a plan is found, one placement after the other is moved to where the *open room*
(`broker.optimiser.open_room`) grows most, until as many have moved as may be or none would help. Only who holds a place
that may still move is moved, inside what it was told, to where it is worth as much and ends no later; each claim by one
plan at most.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from broker.domain.claim import Claim, Planned, Tier
from broker.domain.plan import PoolRoom
from broker.domain.reason import Reason
from broker.optimiser.compile import Compiled
from broker.optimiser.open_room import LENGTHS, Racks, pool_rooms
from broker.optimiser.problem import Bools, Ints, Plan, Problem
from broker.optimiser.request import Request
from broker.optimiser.room import Room

__all__ = ["Defragmented", "Leeway", "defragment", "movable"]

LOOKS_MAX = 400  # placements that are looked at closely for one move, those first that take up most room
ROWS_AT_ONCE = 64
# From this on, in domain-hours, a move is worth the trouble: room for a domain for a day, from any hour of a day.
GAIN_LEAST = LENGTHS[0] ** 2


class Leeway(NamedTuple):
    """How far a plan may go: moves, slots ahead that it looks, slots by which a placement may end later."""

    moves: int = 4
    slots: int = 4 * 168
    later: int = 0


@dataclass(frozen=True, slots=True)
class Defragmented:
    """A plan, the rows of it that were moved, and how much room that made, pool by pool."""

    plan: Plan
    moved: tuple[int, ...] = ()
    rooms: tuple[PoolRoom, ...] = ()


class _Move(NamedTuple):
    """What is gained by a move, and what breaks ties: who is worth more by it, starts sooner, and comes first."""

    gain: int
    worth: int
    sooner: int
    first: int
    row: int
    option: int
    start: int


def defragment(compiled: Compiled, plan: Plan, leeway: Leeway, *, freeze_slots: int) -> Defragmented:
    """The plan with at most so many moves more, each of which makes more room than before.

    Same input, same plan; one that made fewer moves than it might finds nothing to move in what it made. Whatever
    starts within ``freeze_slots`` of the first slot stays, and nothing comes to start there.
    """
    board = _Board(compiled, plan, leeway, freeze_slots)
    before = board.room.of_pools().copy()
    waiting = movable(compiled, plan, freeze_slots) if leeway.moves and board.racks.devices.any() else []
    moved: list[int] = []
    while len(moved) < leeway.moves and (move := board.best(waiting)) is not None:
        board.carry_out(move)
        waiting.remove(move.row)
        moved.append(move.row)
    rooms = pool_rooms(board.racks, compiled.problem, before, board.room.of_pools())
    return Defragmented(board.plan if moved else plan, tuple(moved), rooms)


def movable(compiled: Compiled, plan: Plan, freeze_slots: int) -> list[int]:
    """Rows that may be moved: merely planned, left by the plan where they are, and not moved for this before.

    Of a claim in parts none may be about to start. Where the fleet is insured, guaranteed work has its berths where it
    stands, and stays.
    """
    insured, now = bool(compiled.snapshot.fleet.insurance), compiled.problem.requests
    kept = (plan.option >= 0) & (plan.option == now.current_option) & (plan.start == now.current_start)
    rows: dict[int, list[int]] = defaultdict(list)
    for row, request in enumerate(compiled.requests):
        rows[request.claim].append(row)
    firm = compiled.horizon.first + freeze_slots
    found: list[int] = []
    for index, mine in rows.items():
        claim = compiled.snapshot.claims[index]
        if insured and claim.ask.tier is Tier.GUARANTEED:
            continue
        if _may_move(claim, [compiled.requests[row] for row in mine], firm):
            found += [row for row in mine if kept[row]]
    return found


def _may_move(claim: Claim, requests: Sequence[Request], firm: int) -> bool:
    if type(claim.state) is not Planned or any(place.window.first <= firm for place in claim.placements):
        return False
    before = (*(why.reason for why in claim.because), *(past.reason for past in claim.past))
    return Reason.DEFRAGMENTED not in before and not any(r.settled or r.short or r.ends for r in requests)


class _Board:
    """A plan, what it leaves free, and the room in that, kept as placements move."""

    def __init__(self, compiled: Compiled, plan: Plan, leeway: Leeway, freeze_slots: int) -> None:
        self.problem: Problem = compiled.problem
        self.plan = Plan(plan.option.copy(), plan.start.copy())
        self.room = Room(self.problem, self.plan)
        self.racks = Racks.of(compiled.snapshot.fleet, self.problem, leeway.slots)
        self._later, self._frozen = leeway.later, freeze_slots

    def best(self, rows: Iterable[int]) -> _Move | None:
        """The move of one of these that makes most room; None when none is worth the trouble."""
        best: _Move | None = None
        for most, row in self._lifted(rows)[:LOOKS_MAX]:
            least = GAIN_LEAST * int(self.racks.devices[self._pool(row, int(self.plan.option[row]))])
            if most < max(least, best.gain if best else 0):
                continue
            found = max(self._moves(row, most), default=None)
            if found is not None and found.gain >= least and (best is None or found > best):
                best = found
        return best

    def carry_out(self, move: _Move) -> None:
        """Let the row be where the move says."""
        self.room.put(move.row, -1)
        self.plan.option[move.row], self.plan.start[move.row] = move.option, move.start
        self.room.put(move.row, 1)

    def _lifted(self, rows: Iterable[int]) -> list[tuple[int, int]]:
        """Room that there would be if a row were gone, which no move of it exceeds: largest first, with the row."""
        by_pool: dict[int, list[int]] = defaultdict(list)
        for row in rows:
            pool = self._pool(row, int(self.plan.option[row]))
            if self.racks.devices[pool]:
                by_pool[pool].append(row)
        found = []
        for pool, mine in by_pool.items():
            free, options = self._soon(pool), self.problem.options
            at = options.first[mine] + self.plan.option[mine]
            now = int(self.racks.room(pool, free))
            for some in range(0, len(mine), ROWS_AT_ONCE):
                part = slice(some, some + ROWS_AT_ONCE)
                spans = _spans(self.plan.start[mine[part]], options.slots[at[part]], len(free))
                rooms = self.racks.room(pool, free + spans * options.devices[at[part], None])
                found += list(zip((rooms - now).tolist(), mine[part], strict=True))
        return sorted(found, key=lambda one: (-one[0], one[1]))

    def _moves(self, row: int, lifted: int) -> Iterator[_Move]:
        """The best move of a row to each of its ways; gone from where it is it leaves so much more room."""
        options, option, start = self.problem.options, int(self.plan.option[row]), int(self.plan.start[row])
        at = int(options.first[row]) + option
        self.room.put(row, -1)
        here = int(self._worth(row, option, np.array([start]))[0])
        least, end = here - self._later * int(options.late_cost[at]), start + int(options.slots[at]) + self._later
        moves = []
        for option in range(int(options.first[row + 1] - options.first[row])):
            starts = self._starts(row, option, start, end)
            worth = self._worth(row, option, starts)
            starts, worth = starts[worth >= least], worth[worth >= least]
            if len(starts):
                gains = lifted - self._taken(row, option, starts)
                k = int(np.lexsort((starts, -worth, -gains))[0])
                move = _Move(int(gains[k]), int(worth[k]) - here, -int(starts[k]), -row, row, option, int(starts[k]))
                moves.append(move)
        self.room.put(row, 1)
        yield from moves

    def _starts(self, row: int, option: int, now: int, end: int) -> Ints:
        """Starts with room that touch what else there is on either side, and the first and last of each run of starts.

        None ends after ``end``; what does not start sooner than ``now`` ends within the coming weeks, since it would be
        no gain to push it out of them.
        """
        options = self.problem.options
        at, pool = int(options.first[row]) + option, self._pool(row, option)
        slots, last = int(options.slots[at]), self.problem.slots
        low = max(int(options.earliest[at]), self._frozen + 1)
        high = min(int(options.latest[at]), end - slots, last - slots, max(now, self.racks.slots - slots))
        if high < low:
            return np.zeros(0, np.int64)
        free = self.room.of_pools()[pool, low : high + slots]
        blocked = free < options.devices[at]
        if (quota := self.room.of_quota(row)) is not None:
            blocked |= quota[low : high + slots] < options.devices[at]
        before = np.concatenate(([0], np.cumsum(blocked)))
        fits: Bools = before[slots:] == before[:-slots]
        steps = np.flatnonzero(free[1:] != free[:-1]) + 1
        touching = np.zeros(len(fits), np.bool_)
        for edges in (steps, steps - slots):
            touching[edges[(edges >= 0) & (edges < len(fits))]] = True
        touching[0] = touching[-1] = True
        touching[1:] |= fits[1:] != fits[:-1]
        touching[:-1] |= fits[1:] != fits[:-1]
        found: Ints = low + np.flatnonzero(fits & touching)
        return found

    def _worth(self, row: int, option: int, starts: Ints) -> Ints:
        """What the row adds to the objective from each start, moves apart; it is in no place now."""
        options, pools = self.problem.options, self.problem.pools
        at, pool = int(options.first[row]) + option, self._pool(row, option)
        devices, slots = int(options.devices[at]), int(options.slots[at])
        late = options.late_cost[at] * np.maximum(0, starts - options.due[at])
        worth: Ints = options.value[at] - late - pools.unit_cost[pool] * devices * slots
        if pools.overage_cost[pool]:
            used = pools.capacity[pool] - self.room.of_pools()[pool]
            above = np.maximum(0, used + devices - pools.committed[pool]) - np.maximum(0, used - pools.committed[pool])
            more = np.concatenate(([0], np.cumsum(above)))
            worth = worth - pools.overage_cost[pool] * (more[starts + slots] - more[starts])
        return worth

    def _taken(self, row: int, option: int, starts: Ints) -> Ints:
        """Room that the row would take from each start on."""
        options, pool = self.problem.options, self._pool(row, option)
        taken = np.zeros(len(starts), np.int64)
        if not self.racks.devices[pool]:
            return taken
        at, free = int(options.first[row]) + option, self._soon(pool)
        now = int(self.racks.room(pool, free))
        for some in range(0, len(starts), ROWS_AT_ONCE):
            part = slice(some, some + ROWS_AT_ONCE)
            spans = _spans(starts[part], np.full(len(starts[part]), options.slots[at]), len(free))
            taken[part] = now - self.racks.room(pool, free - spans * options.devices[at])
        return taken

    def _soon(self, pool: int) -> Ints:
        free: Ints = self.room.of_pools()[pool, : self.racks.slots]
        return free

    def _pool(self, row: int, option: int) -> int:
        return int(self.problem.options.pool[self.problem.options.first[row] + option])


def _spans(starts: Ints, slots: Ints, size: int) -> Bools:
    """One row for each window: which slots are in it."""
    slot = np.arange(size)
    inside: Bools = (starts[:, None] <= slot) & (slot < (starts + slots)[:, None])
    return inside
