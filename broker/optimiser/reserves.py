"""What a fleet insures, as reserve rows of the problem: they lead the optimiser to insured plans, and price it.

A row counts devices slot by slot. It does not see that a gang cannot be split, or that a claim runs on some silicon
only; whoever has no berth is left out of the plan afterwards (`broker.insured`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from broker.domain.claim import Ask, Tier
from broker.domain.fleet import Fleet
from broker.domain.losses import Loss, losses
from broker.domain.options import options
from broker.domain.slots import SLOT_SECONDS, Window
from broker.optimiser.problem import Bools, Ints, Reserve

__all__ = ["needs", "reserves"]

Needs = Mapping[str, int]  # pool -> devices that a claim takes of it


def needs(ask: Ask, fleet: Fleet) -> Needs:
    """By pool the fewest devices that would serve a claim; empty unless it counts against reserves.

    What only one pool can ever hold cannot be insured.
    """
    if ask.tier is not Tier.GUARANTEED:
        return {}
    found: dict[str, int] = {}
    for way in options(ask, fleet):
        if way.part == 0 and way.devices <= fleet.pools_by_id[way.pool].supply().peak():
            found[way.pool] = min(way.devices, found.get(way.pool, way.devices))
    return found if len(found) > 1 else {}


def reserves(
    fleet: Fleet, horizon: Window, wants: Sequence[Needs], capacity: Ints, load: Ints
) -> tuple[tuple[Reserve, ...], tuple[Loss, ...]]:
    """The rows, and the loss that each is for.

    ``wants`` is what each guaranteed claim needs, ``load`` what guaranteed work holds, [pools, slots]. What is promised
    is always a plan: a row says nothing of slots in which the work that is there is not insured already.
    """
    rows = {pool.id: row for row, pool in enumerate(fleet.pools)}
    found = [
        (reserve, loss)
        for loss in losses(fleet, horizon.first * SLOT_SECONDS)
        for reserve in _rows(loss, rows, wants, capacity, load, horizon)
    ]
    return tuple(reserve for reserve, _ in found), tuple(loss for _, loss in found)


def _rows(
    loss: Loss, rows: Mapping[str, int], wants: Sequence[Needs], capacity: Ints, load: Ints, horizon: Window
) -> Iterator[Reserve]:
    covers = tuple(rows[pool] for pool, times in _covers(loss, wants).items() for _ in range(times))
    if not covers:
        return
    lost = [rows[pool] for pool in loss.pools]
    left = np.array([steps.over(horizon) for _, steps in loss.left], np.int64)
    # A row cannot say that a part of a pool stays.
    gone = (np.minimum(left, capacity[lost]) == 0).all(axis=0) & capacity[lost].any(axis=0)
    room = (capacity - load)[list(covers)].sum(axis=0) - load[lost].sum(axis=0)
    for first, end in _runs(gone & (room >= 0)):
        yield Reserve(lost[0], covers, first, end, tuple(lost[1:]))


def _covers(loss: Loss, wants: Sequence[Needs]) -> dict[str, int]:
    """Pools that take over, and how many lost devices at least one of theirs replaces, for whoever it may be."""
    worth: dict[str, int] = {}
    for need in wants:
        mine = [need[pool] for pool in loss.pools if pool in need]
        for pool in need.keys() & (loss.covers - set(loss.pools)) if mine else ():
            worth[pool] = min(worth.get(pool, min(mine)), min(mine) // need[pool])
    return {pool: times for pool, times in sorted(worth.items()) if times}


def _runs(mark: Bools) -> Iterator[tuple[int, int]]:
    """First and end of each run of marked slots."""
    edges = np.flatnonzero(np.diff(np.concatenate(([0], mark.astype(np.int8), [0]))))
    yield from zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True)
