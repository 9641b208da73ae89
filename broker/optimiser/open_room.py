"""How much room there is for whole domains: of the gangs that might still come, those that would fit.

A gang of whole domains needs them in one pool, at once, for its whole time. As many domain-hours can be of great use or
of none: it matters whether they are free side by side and one after the other. So gangs of every size up to the pool,
for a day, three, a week and two, at every hour of the coming weeks, are counted by the domain-hours that each would
use; those that fit are the *open room*.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from broker.domain.fleet import Fleet, Pool
from broker.domain.plan import PoolRoom
from broker.optimiser.problem import Ints, Problem

__all__ = ["LENGTHS", "Racks", "open_room", "pool_rooms"]

DAY, WEEK = 24, 168
LENGTHS = (DAY, 3 * DAY, WEEK, 2 * WEEK)  # slots, ascending
MILLION = 1_000_000


class Racks(NamedTuple):
    """By pool: devices of a domain of several trays that claims can have whole; 0 where there is none."""

    devices: Ints
    slots: int  # the coming weeks, counted from the first slot of the problem

    @staticmethod
    def of(fleet: Fleet, problem: Problem, slots: int) -> Racks:
        """Those of a problem's pools."""
        return Racks(np.array([_devices(pool) for pool in fleet.pools], np.int64), min(slots, problem.slots))

    def free(self, pool: int, devices: Ints) -> Ints:
        """Whole domains in so many devices, in each of the coming slots."""
        domains: Ints = np.maximum(0, devices[..., : self.slots]) // self.devices[pool]
        return domains

    def room(self, pool: int, devices: Ints) -> Ints:
        """Open room of so many free devices of a pool, in devices."""
        room: Ints = open_room(self.free(pool, devices)) * self.devices[pool]
        return room


def _devices(pool: Pool) -> int:
    cut = pool.cut
    several = cut is not None and cut.per_domain == 1 and cut.slice_trays > 1
    return cut.slice_devices if cut is not None and several else 0


def open_room(domains: Ints) -> Ints:
    """Domain-hours of all gangs that would fit, one sum for each row of free domains by slot.

    Where ``n`` domains stay free for so long, gangs of 1 to ``n`` would fit: ``n (n + 1) / 2`` domains in all.
    """
    total = np.zeros(domains.shape[:-1], np.int64)
    for length, least in _stretches(domains):
        total += length * (least * (least + 1) // 2).sum(axis=-1, dtype=np.int64)
    return total


def _stretches(domains: Ints) -> list[tuple[int, Ints]]:
    """For each length that is no longer than all slots: what stays free for so long, from each start on."""
    found, least, have = [], domains, 1
    for length in LENGTHS:
        if length > domains.shape[-1]:
            break
        while have < length:
            step = min(have, length - have)
            least = np.minimum(least[..., :-step], least[..., step:])
            have += step
        found.append((length, least))
    return found


def pool_rooms(racks: Racks, problem: Problem, before: Ints, after: Ints) -> tuple[PoolRoom, ...]:
    """What is told of the room in each pool with racks, by the devices free before and after, [pools, slots]."""
    found = []
    for pool in np.flatnonzero(racks.devices).tolist():
        empty = int(racks.room(pool, problem.pools.capacity[pool]))
        if empty:
            was, now = (int(racks.room(pool, free[pool])) * MILLION // empty for free in (before, after))
            weeks = (_week_milli(racks.free(pool, free[pool])) for free in (before, after))
            found.append(PoolRoom(problem.pools.ids[pool], was, now, *weeks))
    return tuple(found)


def _week_milli(domains: Ints) -> int:
    """Thousandths of domains that stay free for a week, from a start of the coming weeks on average."""
    least = dict(_stretches(domains)).get(WEEK)
    return 0 if least is None else round(1000 * float(least.mean()))
