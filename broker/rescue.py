"""Rescue: guaranteed work that lost its pool goes where the insurance kept room, and other work there gives way.

It finds a plan before the optimiser looks: what it saves is promised from then on, so that no better plan drops it.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from broker.domain.claim import Tier
from broker.domain.losses import losses
from broker.domain.slots import SLOT_SECONDS
from broker.optimiser.compile import Compiled, Lifted
from broker.optimiser.problem import Plan

__all__ = ["Rescue", "rescue"]

Ints = NDArray[np.int64]

PLENTY = 2**60  # of devices, where there is no quota
ROUNDS_MAX = 50  # in which those who found no place are asked first
TIERS = (Tier.GUARANTEED, Tier.STANDARD, Tier.SPOT)


@dataclass(frozen=True, slots=True)
class Rescue:
    """A plan in which guaranteed work has a place again, and whose promises it lifts."""

    plan: Plan
    lifted: Lifted


def rescue(compiled: Compiled) -> Rescue | None:
    """Places for guaranteed work that lost its own; None where nothing is insured or nothing was lost.

    Whoever loses least by it gives way: spot before standard, spot on loan first of all, less worth before more; and
    nobody in a pool that the insurance does not name.
    """
    fleet = compiled.snapshot.fleet
    lost = [r for r, request in enumerate(compiled.requests) if request.short and _tier(compiled, r) is TIERS[0]]
    if not fleet.insurance or not lost:
        return None
    book = _Book(compiled)
    covers = {pool for loss in losses(fleet, compiled.horizon.first * SLOT_SECONDS) for pool in loss.covers}
    rest = []
    for r, request in enumerate(compiled.requests):
        if request.stays and not request.short:
            if _tier(compiled, r) is TIERS[0] or request.options[0].pool not in covers:
                book.take(r, 0, book.stay(r))
            else:
                rest.append(r)
                book.expect(r)
    saved = _saved(book, lost)
    yields = set[int]()
    for r in sorted(rest, key=lambda r: _turn(compiled, r)):
        if book.fits(r, 0, book.stay(r)):
            book.take(r, 0, book.stay(r))
        else:
            yields.add(r)
    requests, first = compiled.requests, compiled.horizon.first
    starts = {(requests[r].claim, requests[r].part): first + int(book.start[r]) for r in saved}
    parts = frozenset((requests[r].claim, requests[r].part) for r in yields)
    return Rescue(Plan(book.option, book.start), Lifted(parts, starts))


def _saved(book: _Book, lost: list[int]) -> list[int]:
    """Those for whom the book now has a place: in each round, those who found none in the last are asked first."""
    order = sorted(lost, key=lambda r: (len(book.pools_of(r)), -book.size(r)))
    began = book.copy()
    best, most = began, list[int]()
    for _ in range(ROUNDS_MAX):
        turn, saved, failed = began.copy(), list[int](), list[int]()
        for r in order:
            place = turn.soonest(r)
            if place is None:
                failed.append(r)
            else:
                turn.take(r, *place)
                saved.append(r)
        if not most or len(saved) > len(most):
            best, most = turn, saved
        if not failed:
            break
        order = failed + [r for r in order if r not in set(failed)]
    book.become(best)
    return most


class _Book:
    """Room of pools and quotas beside what is taken, and the plan that takes it."""

    def __init__(self, compiled: Compiled) -> None:
        self.compiled, problem = compiled, compiled.problem
        plenty = np.full((1, problem.slots), PLENTY, np.int64)
        self._room: Ints = np.concatenate((problem.pools.capacity, problem.quotas.limit, plenty))
        self._others = np.zeros_like(self._room)  # what those hold who may have to give way
        self.option = np.full(len(compiled.requests), -1, np.int64)
        self.start = np.zeros(len(compiled.requests), np.int64)

    def copy(self) -> _Book:
        """The same, apart."""
        other = object.__new__(_Book)
        other.compiled, other._others = self.compiled, self._others
        other.become(self)
        return other

    def become(self, other: _Book) -> None:
        """What the other is now."""
        self._room, self.option, self.start = other._room.copy(), other.option.copy(), other.start.copy()

    def stay(self, r: int) -> int:
        """The present start."""
        return int(self.compiled.problem.requests.current_start[r])

    def size(self, r: int) -> int:
        """Device-slots of the first option."""
        o = self.compiled.problem.options
        return int(o.devices[o.first[r]] * o.slots[o.first[r]])

    def pools_of(self, r: int) -> Collection[int]:
        """Every pool that could serve it."""
        o = self.compiled.problem.options
        return set(o.pool[o.first[r] : o.first[r + 1]].tolist())

    def fits(self, r: int, k: int, start: int) -> bool:
        """Whether pool and quota have room."""
        rows, devices, slots = self._needs(r, k)
        return bool((self._room[rows, start : start + slots] >= devices).all())

    def take(self, r: int, k: int, start: int) -> None:
        """Place it there."""
        rows, devices, slots = self._needs(r, k)
        self._room[rows, start : start + slots] -= devices
        self.option[r], self.start[r] = k, start

    def expect(self, r: int) -> None:
        """Count the place of somebody who keeps it if nobody needs it."""
        rows, devices, slots = self._needs(r, 0)
        self._others[rows, self.stay(r) : self.stay(r) + slots] += devices

    def soonest(self, r: int) -> tuple[int, int] | None:
        """The option that starts first; among those the one for which others give least way, then the least share."""
        o, problem = self.compiled.problem.options, self.compiled.problem
        best, least = None, (problem.slots, 0, 0.0)
        for k in range(int(o.first[r + 1] - o.first[r])):
            row = o.first[r] + k
            rows, devices, slots = self._needs(r, k)
            low, high = int(o.earliest[row]), min(int(o.latest[row]), least[0])
            if low > high:
                continue
            short = (self._room[rows, low : high + slots] < devices).any(axis=0)
            sums = np.concatenate(([0], np.cumsum(short)))
            free = np.flatnonzero(sums[slots:] == sums[: len(sums) - slots])
            if len(free):
                start = low + int(free[0])
                span = slice(start, start + slots)
                over = np.maximum(0, self._others[rows, span] + devices - self._room[rows, span])
                share = devices * slots / max(1, int(problem.pools.capacity[o.pool[row]].max()))
                found = (start, int(over.sum()), share)
                if found < least:
                    best, least = (k, start), found
        return best

    def _needs(self, r: int, k: int) -> tuple[list[int], int, int]:
        problem = self.compiled.problem
        row = int(problem.options.first[r]) + k
        # -1, no quota, is the last row.
        quota = int(problem.requests.quota[r])
        rows = [int(problem.options.pool[row]), len(problem.pools.ids) + quota if quota >= 0 else len(self._room) - 1]
        return rows, int(problem.options.devices[row]), int(problem.options.slots[row])


def _turn(compiled: Compiled, r: int) -> tuple[int, bool, float]:
    """In which order they are let stay."""
    on_loan = compiled.snapshot.claims[compiled.requests[r].claim].ask.on_loan
    return TIERS.index(_tier(compiled, r)), on_loan, -_density(compiled, r)


def _tier(compiled: Compiled, r: int) -> Tier:
    return compiled.snapshot.claims[compiled.requests[r].claim].ask.tier


def _density(compiled: Compiled, r: int) -> float:
    """What each device-hour of it is worth."""
    way = compiled.requests[r].options[0]
    return way.value_microusd / (way.devices * way.slots)
