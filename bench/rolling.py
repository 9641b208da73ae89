"""Planning anew on the way: all that is known, and a shuffle of past days in place of who is to come."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from bench.bookings import Anything, Bookings, Place
from bench.market import RANKS, Market
from broker.optimiser.problem import Ints, Options, Plan, Pools, Problem, Quotas, Requests
from broker.optimiser.solve import solve
from broker.optimiser.stop import WorkLimit

__all__ = ["WORK", "Replanning"]

DAY = 24  # slots of the past that stay together
WORK = 300  # units of the solver, about a millisecond each

Of = Callable[[int], Anything | None]  # a claim to its limit


@dataclass(frozen=True, slots=True)
class Replanning:
    """Plans again every so many slots; ``reach`` slots ahead, days of the past are dealt out at random."""

    every: int
    reach: int = 96
    work: int = WORK
    draw: int = 0  # another one, other days and another search

    def plan(
        self, market: Market, bookings: Bookings, waiting: Ints, now: int, past: Sequence[tuple[Market, int]], limit: Of
    ) -> None:
        """Move who is not firm, and let waiting claims in where the plan does, if the plan keeps all promises.

        ``past`` are markets and how many of their slots are history. Who is let in leaves others what the ``limit`` of
        that claim says, those worth most first; of the last rank only those are who start before the next plan.
        """
        held = bookings.movable(now)
        claims = np.concatenate((held, waiting))
        if not len(claims):
            return
        free = bookings.free.copy()
        _take(free, market, bookings.row[held], bookings.start[held], -1)
        ours = self._ours(market, bookings, claims, now)
        rows = np.concatenate([*ours, *self._theirs(market, past, now, len(claims))])
        problem = _problem(rows, int(rows[-1, 6]) + 1, free[:, now:])
        now_at, staying = problem.requests, len(held)
        now_at.current_option[:staying] = bookings.row[held] - market.ways.first[held]
        now_at.current_start[:staying] = bookings.start[held] - now
        now_at.promised[:staying] = True
        stay = Plan(now_at.current_option.copy(), now_at.current_start.copy())
        plan = solve(problem, stop=WorkLimit(self.work), seed=self._seed(now), hint=stay).plan
        option, start = plan.option[: len(claims)], plan.start[: len(claims)] + now
        if (option[:staying] < 0).any():
            return
        row = market.ways.first[claims] + option
        _take(free, market, row[:staying], start[:staying], 1)
        bookings.settle(held, np.stack((row, start), axis=1)[:staying], free)
        new = staying + np.flatnonzero(option[staying:] >= 0)
        rank = market.rank[claims]
        for n in new[np.lexsort((start[new], rank[new]))].tolist():
            claim, place = int(claims[n]), Place(int(row[n]), int(start[n]))
            if (place.start < now + self.every or rank[n] < RANKS - 1) and bookings.allows(limit(claim), place):
                bookings.take(claim, place)

    def _seed(self, now: int) -> int:
        return 1_000 * self.draw + now + 1

    def _ours(self, market: Market, bookings: Bookings, claims: Ints, now: int) -> list[Ints]:
        """The ways of the claims that are known: pool, devices, slots, first and last start, value, request.

        Ways that are over stay, without a start, so that the others keep their number.
        """
        found = []
        for n, claim in enumerate(claims):
            soonest = bookings.freeze_slots + 1 if bookings.row[claim] >= 0 else 0
            rows, money = market.options(int(claim))
            rows[:, 3] = np.maximum(rows[:, 3] - now, soonest)
            rows[:, 4] -= now
            found.append(np.column_stack((rows, money, np.full(len(rows), n))))
        return found

    def _theirs(self, market: Market, past: Sequence[tuple[Market, int]], now: int, first: int) -> list[Ints]:
        """The ways of those who may come; who came in the hours of a day that is drawn comes again, in turn."""
        rng = np.random.default_rng(self._seed(now))
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
                rows, money = source.options(int(claim))
                rows[:, 3:] += begin - source.asked[claim]
                rows[:, 4] = np.minimum(rows[:, 4], left - rows[:, 2])
                legal = rows[:, 4] >= rows[:, 3]
                if legal.any():
                    each = np.full(legal.sum(), first)
                    found.append(np.column_stack((rows[legal], money[legal], each)))
                    first += 1
        return found


def _take(free: Ints, market: Market, rows: Ints, starts: Ints, sign: int) -> None:
    """Count these places as used, or with -1 as free again."""
    for row, start in zip(rows, starts, strict=True):
        pool, devices, slots = market.ways.rows[row, :3]
        free[pool, start : start + slots] -= sign * devices


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
