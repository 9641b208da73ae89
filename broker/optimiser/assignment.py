"""The books of a search for problems of one slot: requests are items, pools are knapsacks (generalised assignment).

``cells`` searches in them. A choice is a row of a request, or leaving it out; what a choice is short of the request's
best one, at the prices of capacity, is what it costs.
"""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple

import numpy as np

from broker.optimiser.columns import ideals, ranked
from broker.optimiser.problem import Floats, Ints
from broker.optimiser.search import Seeds
from broker.optimiser.state import Guide
from broker.optimiser.tables import PLENTY, Tables

__all__ = ["CELL", "PARTS", "WAYS", "Assignment", "Tally", "best_rows", "new_assignment", "suits"]

CHOICES = 20  # rows of a request that are considered, besides leaving it out
PARTS = 5  # pools in a cell, at most
CELL = 32  # requests in a cell, at most
WAYS = 12  # rows of a request in a cell, at most


class Tally(IntEnum):
    """Places in ``Assignment.tally``."""

    TOTAL = 0  # gains of the present plan
    BEST = 1  # gains of the best plan
    STALE = 2  # requests in `stale`
    NODES = 3  # of all trees
    CELLS = 4


class Assignment(NamedTuple):
    """A plan under way and the best one so far, as choices; one choice of each request is to be left out."""

    seed: Seeds  # [1]
    first: Ints  # [requests + 1] choice where the choices of each request begin, best first
    row: Ints  # [choices] or -1
    pool: Ints  # [choices] a last pool without a limit for those left out
    devices: Ints  # [choices]
    gain: Ints  # [choices] money
    short: Floats  # [choices] money below the best choice of the request, at the prices that guide
    at: Ints  # [requests] present choice
    best_at: Ints  # [requests] choice in the best plan so far, for those in `stale`
    stale: Ints  # [requests] requests moved since the best plan
    is_stale: Ints  # [requests]
    free: Ints  # [pools + 1]
    price: Floats  # [pools + 1] of a device
    seats: Ints  # [pools + 2] where the seats of each pool begin
    taken: Ints  # [pools + 1]
    who: Ints  # [seats] the request on a seat
    seat: Ints  # [requests]
    inside: Ints  # [pools + 1] 1: in the cell
    parts: Ints  # [PARTS + 1] the pools of the cell
    ask: Ints  # [CELL] its requests, those with the most to lose first
    width: Ints  # [CELL] how many ways each has
    way: Ints  # [CELL, WAYS] choices, cheapest first
    cost: Floats  # [CELL, WAYS] money below the cheapest
    least: Floats  # [CELL + 1] money for the room that requests from here on fill at least
    most: Floats  # [CELL + 1] and at most
    turn: Ints  # [CELL] way tried last
    spent: Floats  # [CELL] cost of the ways above
    found: Ints  # [CELL] choices of the best other plan of the cell
    scale: Floats  # [1] unit of the temperature
    tally: Ints  # [len(Tally)]


def suits(t: Tables) -> bool:
    """Whether the problem has one slot in effect, and no rules but the capacity of pools."""
    if not len(t.pool):
        return False
    slot = int(t.low[0])
    one = (t.length == 1).all() and (t.low == slot).all() and (t.high == slot).all()
    plain = not t.cover.size and (t.quota == len(t.limit) - 1).all() and not t.promised.any() and not t.move.any()
    return bool(one and plain and ((t.over == 0) | (t.committed[:, slot] >= t.capacity[:, slot])).all())


def new_assignment(t: Tables, g: Guide, row: Ints, seed: int) -> Assignment:
    """A search that stands at the plan ``row``, which must fit, guided by prices; ``suits`` must hold."""
    requests, pools, slot = len(t.quota), len(t.unit), int(t.low[0])
    first, rows = _choices(t, g, row)
    owner = np.repeat(np.arange(requests), np.diff(first))
    pool = np.where(rows < 0, pools, t.pool[rows])
    devices = np.where(rows < 0, 0, t.devices[rows])
    late = t.late[rows] * np.maximum(0, slot - t.due[rows])
    gain = np.where(rows < 0, 0, t.value[rows] - late - t.unit[t.pool[rows]] * devices)
    price = np.append(g.pool[0, :pools, slot + 1] - g.pool[0, :pools, slot] - t.unit, 0.0)
    reduced = gain - price[pool] * devices
    at = np.flatnonzero(rows == row[owner])
    total = int(gain[at].sum())
    seats, taken, who, seat = _seating(pool, at, pools + 1)
    return Assignment(
        seed=np.array([(seed * 0x9E3779B97F4A7C15 + 0x1234567) % 2**64 | 1], np.uint64),
        first=first,
        row=rows,
        pool=pool,
        devices=devices,
        gain=gain,
        short=np.maximum.reduceat(reduced, first[:-1])[owner] - reduced,
        at=at,
        best_at=at.copy(),
        stale=np.zeros(requests, np.int64),
        is_stale=np.zeros(requests, np.int64),
        free=np.append(t.capacity[:, slot], PLENTY) - _sums(pool[at], devices[at], pools + 1),
        price=price,
        seats=seats,
        taken=taken,
        who=who,
        seat=seat,
        inside=np.zeros(pools + 1, np.int64),
        parts=np.zeros(PARTS + 1, np.int64),
        ask=np.zeros(CELL, np.int64),
        width=np.zeros(CELL, np.int64),
        way=np.zeros((CELL, WAYS), np.int64),
        cost=np.zeros((CELL, WAYS)),
        least=np.zeros(CELL + 1),
        most=np.zeros(CELL + 1),
        turn=np.zeros(CELL, np.int64),
        spent=np.zeros(CELL),
        found=np.zeros(CELL, np.int64),
        scale=np.array([_scale(reduced, first)]),
        tally=np.array([total, total, 0, 0, 0], np.int64),
    )


def _choices(t: Tables, g: Guide, row: Ints) -> tuple[Ints, Ints]:
    """Where the choices of each request begin; the best rows at these prices, its present one among them, and -1."""
    rows = ranked(t, ideals(t, g))
    owner = np.repeat(np.arange(len(t.quota)), np.diff(t.first))
    kept = (np.arange(len(rows)) - t.first[owner] < CHOICES) | (rows == row[owner])
    first = np.append(0, np.cumsum(np.bincount(owner[kept], minlength=len(t.quota)) + 1))
    chosen = np.full(int(first[-1]), -1, np.int64)
    chosen[np.setdiff1d(np.arange(len(chosen)), first[1:] - 1)] = rows[kept]
    return first, chosen


def _scale(reduced: Floats, first: Ints) -> float:
    """What it costs to take a request's second choice, middling among those where it costs anything."""
    begin = first[:-1][np.diff(first) > 1]
    loss = reduced[begin] - reduced[begin + 1]
    return float(np.median(loss[loss > 0])) if (loss > 0).any() else 1.0


def _seating(pool: Ints, at: Ints, pools: int) -> tuple[Ints, Ints, Ints, Ints]:
    """Seats for whoever could come to each pool, and those who stand there on the first of them."""
    seats = np.append(0, np.cumsum(np.bincount(pool, minlength=pools)))
    taken = np.bincount(pool[at], minlength=pools)
    order = np.argsort(pool[at], kind="stable")
    place = np.arange(len(at)) + np.repeat(seats[:-1] - np.cumsum(taken) + taken, taken)
    who, seat = np.zeros(int(seats[-1]), np.int64), np.zeros(len(at), np.int64)
    who[place], seat[order] = order, place
    return seats, taken, who, seat


def _sums(keys: Ints, amounts: Ints, size: int) -> Ints:
    out = np.zeros(size, np.int64)
    np.add.at(out, keys, amounts)
    return out


def best_rows(a: Assignment) -> Ints:
    """The rows of the best plan, -1 for requests left out."""
    rows: Ints = a.row[np.where(a.is_stale == 1, a.best_at, a.at)]
    return rows
