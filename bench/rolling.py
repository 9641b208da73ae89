"""Planning anew on the way: all that is known, and a shuffle of past days in place of who is to come."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bench.market import RANKS, Market
from broker.admission.make_room import Bookings, Place
from broker.optimiser.problem import Ints, Options, Plan, Pools, Problem, Quotas, Requests
from broker.optimiser.solve import solve
from broker.optimiser.stop import WorkLimit

__all__ = ["Replanning"]

DAY = 24  # slots of the past that stay together
WORK = 300  # units of the solver, about a millisecond each
ROW = ("pool", "devices", "slots", "first start", "last start", "value", "request")


@dataclass(frozen=True, slots=True)
class Replanning:
    """Plans again every so many slots; ``reach`` slots ahead, days of the past are dealt out at random."""

    every: int
    reach: int = 96
    work: int = WORK

    def plan(
        self, market: Market, bookings: Bookings, waiting: Ints, now: int, past: Sequence[tuple[Market, int]]
    ) -> None:
        """Move who is not firm, and let waiting claims in where the plan does, if the plan keeps all promises.

        ``past`` are markets and how many of their slots are history. Of the last rank only those are let in who start
        before the next plan.
        """
        held = bookings.movable(now)
        claims = np.concatenate((held, waiting))
        if not len(claims):
            return
        free = bookings.free.copy()
        for claim in held:
            _lift(free, market, int(bookings.row[claim]), int(bookings.start[claim]))
        rows = np.concatenate(
            [*self._ours(market, bookings, claims, now), *self._theirs(market, past, now, len(claims))]
        )
        count = int(rows[-1, 6]) + 1 if len(rows) else 0
        problem = _problem(rows, max(count, len(claims)), free[:, now:])
        own = market.ways.first[held]
        current = problem.requests.current_option
        current[: len(held)] = bookings.row[held] - own
        problem.requests.current_start[: len(held)] = bookings.start[held] - now
        problem.requests.promised[: len(held)] = True
        plan = solve(problem, stop=WorkLimit(self.work), seed=now + 1, hint=_stay(current, problem)).plan
        option, start = plan.option[: len(claims)], plan.start[: len(claims)] + now
        if (option[: len(held)] < 0).any():
            return
        row = market.ways.first[claims] + option
        for at, begin in zip(row[: len(held)], start[: len(held)], strict=True):
            _lift(free, market, int(at), int(begin), -1)
        bookings.settle(held, np.stack((row, start), axis=1)[: len(held)], free)
        for claim, way, at, begin in zip(
            waiting, option[len(held) :], row[len(held) :], start[len(held) :], strict=True
        ):
            if way >= 0 and (market.rank[claim] < RANKS - 1 or begin < now + self.every):
                bookings.take(int(claim), Place(int(at), int(begin)))

    def _ours(self, market: Market, bookings: Bookings, claims: Ints, now: int) -> list[Ints]:
        """The ways of the claims that are known; ways that are over keep their place, with no start left."""
        found = []
        for n, claim in enumerate(claims):
            soonest = bookings.freeze_slots + 1 if bookings.row[claim] >= 0 else 0
            rows = market.ways.rows[market.ways.first[claim] : market.ways.first[claim + 1]].copy()
            rows[:, 3] = np.maximum(rows[:, 3] - now, soonest)
            rows[:, 4] -= now
            found.append(
                np.column_stack(
                    (rows, market.money[market.ways.first[claim] : market.ways.first[claim + 1]], np.full(len(rows), n))
                )
            )
        return found

    def _theirs(self, market: Market, past: Sequence[tuple[Market, int]], now: int, first: int) -> list[Ints]:
        """The ways of those who may come; who came in the hours of a day that is drawn comes again, in turn."""
        rng = np.random.default_rng(now + 1)
        left = market.problem.slots - now
        days = [(m, day) for m, seen in past for day in range(seen // DAY)]
        found = list[Ints]()
        if not days:
            return found
        for ahead in range(0, min(left, self.reach), DAY):
            source, day = days[rng.integers(len(days))]
            shift = now % DAY
            hours = source.asked - day * DAY
            for claim in np.flatnonzero((hours >= 0) & (hours < DAY)):
                begin = ahead + (int(hours[claim]) - shift) % DAY + 1
                rows = source.ways.rows[source.ways.first[claim] : source.ways.first[claim + 1]].copy()
                rows[:, 3:] += begin - source.asked[claim]
                rows[:, 4] = np.minimum(rows[:, 4], left - rows[:, 2])
                rows = rows[rows[:, 4] >= rows[:, 3]]
                if len(rows):
                    value = source.value[claim]
                    found.append(np.column_stack((rows, np.full(len(rows), value), np.full(len(rows), first))))
                    first += 1
        return found


def _lift(free: Ints, market: Market, row: int, start: int, sign: int = 1) -> None:
    pool, devices, slots = market.ways.rows[row, :3]
    free[pool, start : start + slots] += sign * devices


def _problem(rows: Ints, count: int, free: Ints) -> Problem:
    """The rows of options as a problem of so many requests."""
    nothing, slots = np.zeros(len(free), np.int64), free.shape[1]
    pools = Pools(tuple(f"p{n}" for n in range(len(free))), free.copy(), free.copy(), nothing, nothing)
    first = np.searchsorted(rows[:, 6], np.arange(count + 1)).astype(np.int64)
    pool, devices, length, earliest, latest, value = (np.ascontiguousarray(rows[:, n]) for n in range(6))
    options = Options(first, pool, devices, length, earliest, latest, value, latest.copy(), np.zeros_like(pool))
    flags = np.zeros((2, count), np.bool_)
    away = np.full((3, count), -1, np.int64)
    requests = Requests(
        tuple(f"r{n}" for n in range(count)),
        away[0],
        flags[0],
        flags[1],
        away[1],
        np.zeros_like(away[2]),
        np.zeros(count, np.int64),
    )
    quotas = Quotas((), np.zeros((0, slots), np.int64))
    return Problem(slots, 1, pools, quotas, requests, options, ())


def _stay(current: Ints, problem: Problem) -> Plan:
    """Everyone where he is."""
    return Plan(current.copy(), problem.requests.current_start.copy())
