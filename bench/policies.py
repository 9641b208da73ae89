"""Policies that answer requests one by one, without knowing who is still to come."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from bench.answered import answered
from bench.bookings import Anything, Bookings
from bench.forecast import Arrivals, PriceLimit, RoomLimit, kept, scenario_prices
from bench.market import RANKS, Market
from bench.rolling import Replanning
from broker.admission.demand import KEEPS
from broker.admission.policy import Policy as ServerPolicy
from broker.admission.scan import Board, Limit, scan
from broker.optimiser.check import check
from broker.optimiser.problem import Floats, Ints, Plan

__all__ = ["POLICIES", "Policy", "Served", "serve"]

WAITING = 1e-6  # of the value, for each slot: the first start wins, among equals the first pool
DAY = 24  # slots from one forecast to the next
FREEZE = 1  # what starts so soon is firm, as with the server


@dataclass(frozen=True, slots=True)
class Policy:
    """What a policy may do; the numbers are by rank, first that of those worth most.

    ``percent`` is how full a pool may get over the time of a request, itself included, by the loop of the server; all
    else is for policies without it. ``keep`` times what later comers worth more are expected to use stays free, and
    ``pay`` times its value is what a request may cost at scenario prices (0: whatever it costs). ``starts`` moves
    starts to make room, ``pools`` also goes to other pools. With ``waits`` a request without a place is looked at again
    in each slot while it can start, and the last rank is accepted only when it starts. ``every`` so many slots all that
    is known is planned anew, with a shuffle of past days for who is to come, another one for each ``draw``. With
    ``server`` its own code decides.
    """

    percent: tuple[int, int, int] | None = None
    keep: tuple[float, float, float] = (0, 0, 0)
    pay: tuple[float, float, float] = (0, 0, 0)
    starts: bool = False
    pools: bool = False
    waits: bool = False
    every: int = 0
    draw: int = 0
    server: ServerPolicy | None = None


KEEP = (0, 0.25, 1.4)  # chosen on the same jobs with other tiers drawn
SERVER = ServerPolicy(gang_percent=100)  # of a few nodes a pool, so that hardly any gang is a twentieth of one
POLICIES = {
    "a server": Policy(server=SERVER),
    "a server that expects nobody": Policy(server=replace(SERVER, keeps=dict.fromkeys(KEEPS, 0.0))),
    "a server, planned again every 6 slots": Policy(server=SERVER, every=6),
    "a server, planned again each hour": Policy(server=SERVER, every=1),
    "the same each hour, small claims at once only": Policy(server=ServerPolicy(), every=1),
    "first come": Policy(percent=(100, 100, 100)),
    "85 and 60 %": Policy(percent=(100, 85, 60)),
    "80 and 40 %": Policy(percent=(100, 80, 40)),
    "80 and 20 %": Policy(percent=(100, 80, 20)),
    "kept room": Policy(keep=KEEP),
    "make room: starts": Policy(starts=True),
    "kept room, make room: starts": Policy(keep=KEEP, starts=True),
    "kept room, make room: starts and pools": Policy(keep=KEEP, starts=True, pools=True),
    "kept room, waits": Policy(keep=KEEP, waits=True),
    "kept room, make room: starts, waits": Policy(keep=KEEP, starts=True, waits=True),
    "kept room, make room: both, waits": Policy(keep=KEEP, starts=True, pools=True, waits=True),
    "the same, planned again every 6 slots": Policy(keep=KEEP, starts=True, pools=True, waits=True, every=6),
    "scenario prices": Policy(pay=(0, 2, 1)),
    "scenario prices, make room: both, waits": Policy(pay=(0, 2, 1), starts=True, pools=True, waits=True),
}


@dataclass(frozen=True, slots=True)
class Served:
    """The value of who got a place, as the judge of plans counts it, and how often somebody was moved."""

    value: int
    moved: int


def serve(market: Market, policy: Policy, past: Market | None = None) -> Served:
    """Answer all requests of a market in order; ``past`` is what was known of others before."""
    if policy.server is not None:
        plan, moves = answered(market, policy.server, past, every=policy.every, seed=1 + policy.draw)
        return Served(_value(market, plan), moves)
    run = _Run(market, policy, past)
    row, start = _scanned(market, policy.percent) if policy.percent else run.all()
    placed = row >= 0
    return Served(_value(market, Plan(np.where(placed, market.option[row], -1), start)), run.bookings.moves)


def _value(market: Market, plan: Plan) -> int:
    verdict = check(market.problem, plan)
    assert verdict.ok, verdict
    return verdict.objective


class _Run:
    """One policy on its way through a market."""

    def __init__(self, market: Market, policy: Policy, past: Market | None) -> None:
        self.market, self.policy, self.past = market, policy, past
        self.bookings = Bookings(market.room, market.ways, elsewhere=policy.pools, freeze_slots=FREEZE)
        self._kept = np.zeros((RANKS, market.problem.slots))
        self._prices: Floats = np.zeros((0, 0))

    def all(self) -> tuple[Ints, Ints]:
        """The row of the ways, or -1, and the start of each request."""
        asked, waiting = self.market.asked, np.zeros(0, np.int64)
        for now in range(self.market.problem.slots):
            if now % DAY == 0:
                self._forecast(now)
            new = np.flatnonzero((asked == now) & (self.market.rank >= 0))
            if self.policy.every and now % self.policy.every == 0:
                self._replan(np.append(waiting, new), now)
            order = np.append(new, self._in_turn(waiting))
            order = order[self.bookings.row[order] < 0]
            left = [int(c) for c in order if not self._accepts(int(c), now)]
            if self.policy.waits:
                waiting = np.array([c for c in left if self.market.latest[c] > now], np.int64)
        return self.bookings.row, self.bookings.start

    def _replan(self, waiting: Ints, now: int) -> None:
        past = [(self.past, self.past.problem.slots)] if self.past is not None else []
        past.append((self.market, now))

        def limit(claim: int) -> Anything | None:
            return self._limit(claim, int(self.market.rank[claim]), now)

        again = Replanning(self.policy.every, draw=self.policy.draw)
        again.plan(self.market, self.bookings, waiting, now, past, limit)

    def _in_turn(self, waiting: Ints) -> Ints:
        """Those worth most first, among equals the largest."""
        work = self.market.devices[waiting] * self.market.slots[waiting]
        return waiting[np.lexsort((-work, self.market.rank[waiting]))]

    def _accepts(self, claim: int, now: int) -> bool:
        """Whether the claim has a place from now on."""
        rank = int(self.market.rank[claim])
        # The last rank is not worth a promise: it may have what is idle when it starts.
        patient = self.policy.waits and rank == RANKS - 1
        last = now if patient and self.market.latest[claim] > now else None
        limit = self._limit(claim, rank, now)
        place = self.bookings.place(claim, now, last=last, limit=limit(self.bookings.free) if limit else None)
        if place is not None:
            self.bookings.take(claim, place)
            return True
        return self.policy.starts and not patient and self.bookings.make_room(claim, now, last=last, limit=limit)

    def _limit(self, claim: int, rank: int, now: int) -> Anything | None:
        devices = int(self.market.devices[claim])
        if self.policy.pay[rank]:
            return PriceLimit(self._prices, now, devices, self.policy.pay[rank] * float(self.market.value[claim]))
        if self.policy.keep[rank]:
            return RoomLimit(self.policy.keep[rank] * self._kept[rank], now, devices)
        return None

    def _known(self, now: int) -> Arrivals:
        """Who asked before, here and in the past."""
        here = self.market.arrivals(now)
        if self.past is None:
            return here._replace(seen=max(1, now))
        before = self.past.arrivals(self.past.problem.slots)
        return before.followed_by(here)

    def _forecast(self, now: int) -> None:
        """Learn from who asked so far."""
        known, slots = self._known(now), self.market.problem.slots
        if any(self.policy.pay):
            devices = int(self.market.problem.pools.capacity.sum(axis=0).max())
            worth = (self.past or self.market).worth()  # terms that everyone knows
            worth[-1] = 0  # who is worth as little as the last rank loses nothing to it
            self._prices = scenario_prices(known, worth, devices, slots, seed=now + 1)
        self._kept = np.stack([kept(known, rank, slots) for rank in range(RANKS)])


def _scanned(market: Market, percent: tuple[int, int, int]) -> tuple[Ints, Ints]:
    """Each where it can start first, by the loop that answers claims in a server, and how full a pool may get."""
    b, found = _board(market), np.full((2, len(market.asked)), -1, np.int64)
    for claim in _in_order(market):
        rows = slice(market.ways.first[claim], market.ways.first[claim + 1])
        ways = np.concatenate((market.ways.rows[rows], market.ways.rows[rows, 3:4]), axis=1)
        value = market.money[rows].astype(np.float64)
        money: Floats = np.stack((value, value * WAITING), axis=1)
        worth, start = np.empty(len(ways)), np.empty(len(ways), np.int64)
        scan(b, ways, money, 0, Limit(percent[market.rank[claim]]), worth, start)
        best = int(worth.argmax())
        if start[best] >= 0 and worth[best] > 0:
            span = slice(start[best], start[best] + ways[best, 2])
            b.free[ways[best, 0], span] -= ways[best, 1]
            b.lent[ways[best, 0], span] += ways[best, 1]
            found[:, claim] = rows.start + best, start[best]
    return found[0], found[1]


def _board(market: Market) -> Board:
    """The empty market as the loop sees it; only overage has a price, and nobody has a quota."""
    pools = market.problem.pools
    supply, paid = pools.capacity.astype(np.int64), pools.committed.astype(np.int64)
    sums = np.zeros((len(supply), supply.shape[1] + 1))
    room = np.full((1, supply.shape[1]), 2**60)
    nothing = np.zeros(len(supply), np.int64)
    wanted = np.zeros((2, 1, supply.shape[1]))
    return Board(
        *(supply.copy(), np.zeros_like(supply), supply, paid, room, sums, sums[:1], nothing, pools.overage_cost),
        *(nothing, supply[:1], wanted, sums[:1]),
    )


def _in_order(market: Market) -> Iterator[int]:
    """Who can be served, in the order in which they ask."""
    return (int(c) for c in np.argsort(market.asked, kind="stable") if market.rank[c] >= 0)
