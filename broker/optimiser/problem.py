"""The planning problem and its answer, as columns.

A problem of 100,000 requests has millions of options; one object for each would cost more than solving it. So every
field is a numpy column, and the options of request ``r`` are the rows ``first[r]:first[r + 1]`` of the option columns.
``docs/optimiser.md`` states the problem; ``files.py`` reads and writes its public JSON form.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "Bools",
    "Floats",
    "Ints",
    "Options",
    "Plan",
    "Pools",
    "Problem",
    "Quotas",
    "Requests",
    "Reserve",
    "Status",
    "levels",
]

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]

UNPLACED = -1


@dataclass(frozen=True, slots=True)
class Pools:
    """Where devices are; row ``p`` of each column is one pool."""

    ids: tuple[str, ...]
    capacity: Ints  # [pools, slots] devices
    committed: Ints  # [pools, slots] devices already paid for
    unit_cost: Ints  # [pools] money per device-slot used
    overage_cost: Ints  # [pools] more money per device-slot used above committed


@dataclass(frozen=True, slots=True)
class Quotas:
    """Limits on what a group of requests may hold at once, over all pools."""

    ids: tuple[str, ...]
    limit: Ints  # [quotas, slots] devices


@dataclass(frozen=True, slots=True)
class Options:
    """Ways to serve requests; ``first`` has one entry more than there are requests."""

    first: Ints  # [requests + 1] row where the options of each request begin
    pool: Ints  # [options] row in Pools
    devices: Ints  # [options]
    slots: Ints  # [options] length
    earliest: Ints  # [options] first legal start
    latest: Ints  # [options] last legal start; below `earliest`: no legal start
    value: Ints  # [options] money
    due: Ints  # [options] last start without lateness
    late_cost: Ints  # [options] money per slot started after `due`


@dataclass(frozen=True, slots=True)
class Requests:
    """What is asked for; row ``r`` of each column is one request."""

    ids: tuple[str, ...]
    quota: Ints  # [requests] row in Quotas, or -1
    guaranteed: Bools  # [requests] counts against reserves
    promised: Bools  # [requests] has a current placement and must keep some placement
    current_option: Ints  # [requests] its present option, counted from its first, or -1
    current_start: Ints  # [requests] its present start; no meaning without a present option
    move_cost: Ints  # [requests] money lost when it does not keep exactly that option and start


@dataclass(frozen=True, slots=True)
class Reserve:
    """Insurance: guaranteed devices in ``lost`` must fit into what guaranteed work leaves free in ``covers``.

    So must those in pools ``beside``, lost together with it. A pool may cover several times: so many devices in the
    lost pools are worth one of its own.
    """

    lost: int  # row in Pools
    covers: tuple[int, ...]  # rows in Pools
    first_slot: int
    end_slot: int
    beside: tuple[int, ...] = ()  # rows in Pools

    def times(self, pool: int) -> int:
        """How often a guaranteed device in a pool counts."""
        return (self.lost == pool) + self.beside.count(pool) + self.covers.count(pool)


@dataclass(frozen=True, slots=True)
class Problem:
    """Everything that the optimiser knows; all quantities are integers."""

    slots: int
    slot_hours: int
    pools: Pools
    quotas: Quotas
    requests: Requests
    options: Options
    reserves: tuple[Reserve, ...]

    def in_force(self) -> Plan | None:
        """The plan that holds now, as far as it still can; None where nobody has a place."""
        now = self.requests
        return Plan(now.current_option.copy(), now.current_start.copy()) if (now.current_option >= 0).any() else None


class Status(StrEnum):
    """How good a plan is known to be."""

    OPTIMAL = "OPTIMAL"
    FEASIBLE = "FEASIBLE"


@dataclass(frozen=True, slots=True)
class Plan:
    """One choice for each request: which of its options, and when; ``-1`` where it is not served."""

    option: Ints  # [requests] counted from the request's first option, or -1
    start: Ints  # [requests] no meaning where option is -1

    @staticmethod
    def empty(requests: int) -> Plan:
        """The plan that serves nobody."""
        return Plan(np.full(requests, UNPLACED, np.int64), np.zeros(requests, np.int64))

    def same(self, other: Plan) -> bool:
        """Whether both choose the same."""
        placed = self.option >= 0
        return bool((self.option == other.option).all() and (self.start == other.start)[placed].all())


def levels(steps: Iterable[tuple[int, int]], slots: int) -> Ints:
    """One level per slot from ``(slot, level)`` steps in order of slot; each level holds until the next step."""
    out = np.zeros(slots, np.int64)
    for slot, level in steps:
        if slot < slots:
            out[max(0, slot) :] = level
    return out
