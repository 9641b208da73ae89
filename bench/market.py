"""A planning problem as those see it who answer one request after the other."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bench.bookings import Ways
from bench.forecast import Arrivals
from broker.optimiser.problem import Floats, Ints, Problem

__all__ = ["RANKS", "Market", "tiers"]

RANKS = 3
NEVER = 2**40


@dataclass(frozen=True, slots=True)
class Market:
    """Columns by request; ``ways`` leaves out options without a legal start, ``option`` names those that are left."""

    problem: Problem
    ways: Ways
    option: Ints  # [ways] counted from the first option of the request
    money: Ints  # [ways] value
    asked: Ints  # first start of any way; NEVER without one
    latest: Ints  # last start of any way
    devices: Ints
    slots: Ints  # of the longest way
    value: Ints  # of the best way
    rank: Ints  # 0 for who is worth most a device-slot

    @staticmethod
    def of(problem: Problem) -> Market:
        """The market of a problem."""
        o, count = problem.options, len(problem.requests.ids)
        owner = np.repeat(np.arange(count), np.diff(o.first))
        last = np.minimum(o.latest, problem.slots - o.slots)
        legal = np.flatnonzero(last >= o.earliest)
        columns = (o.pool, o.devices, o.slots, o.earliest, last)
        rows = np.stack([column[legal] for column in columns], axis=1).astype(np.int64)
        owner = owner[legal]
        asked = np.full(count, NEVER)
        latest, devices, slots, value = most = np.zeros((4, count), np.int64)
        np.minimum.at(asked, owner, rows[:, 3])
        for column, values in zip(most, (rows[:, 4], rows[:, 1], rows[:, 2], o.value[legal]), strict=True):
            np.maximum.at(column, owner, values)
        first = np.searchsorted(owner, np.arange(count + 1)).astype(np.int64)
        ways, option, money = Ways(first, rows), legal - o.first[owner], o.value[legal]
        return Market(problem, ways, option, money, asked, latest, devices, slots, value, tiers(problem))

    @property
    def room(self) -> Ints:
        """Devices that cost nothing more: what is paid for, where more has a price."""
        pools = self.problem.pools
        paid = np.where(pools.overage_cost[:, None] > 0, pools.committed, pools.capacity)
        room: Ints = np.minimum(paid, pools.capacity).astype(np.int64)
        return room

    def options(self, claim: int) -> tuple[Ints, Ints]:
        """Copies of a request's ways, and the value of each."""
        rows = slice(self.ways.first[claim], self.ways.first[claim + 1])
        return self.ways.rows[rows].copy(), self.money[rows]

    def arrivals(self, until: int) -> Arrivals:
        """Who has asked before this slot."""
        known = np.flatnonzero(self.asked < until)
        return Arrivals(self.asked[known], self.devices[known], self.slots[known], self.rank[known], until)

    def worth(self) -> Floats:
        """What a device-slot is worth on average, by rank."""
        work = np.bincount(self.rank[self.rank >= 0], (self.devices * self.slots)[self.rank >= 0], RANKS)
        value = np.bincount(self.rank[self.rank >= 0], self.value[self.rank >= 0], RANKS)
        worth: Floats = value / np.maximum(1, work)
        return worth


def tiers(problem: Problem) -> Ints:
    """For each request, 0 for those worth most a device-slot, 1 for the middle, 2 for the rest; -1 without options."""
    o = problem.options
    worth = np.full(len(problem.requests.ids), -1.0)
    for request in np.flatnonzero(np.diff(o.first)):
        rows = slice(o.first[request], o.first[request + 1])
        worth[request] = (o.value[rows] / (o.devices[rows] * o.slots[rows])).max()
    levels = np.sort(np.unique(np.round(worth[worth > 0], 2)))[::-1]
    tier = np.searchsorted(-levels, -worth - 0.005)
    return np.where(worth > 0, np.minimum(tier, RANKS - 1), -1)
