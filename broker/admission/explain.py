"""Why a claim is not served: the walls it meets, who stands behind them, and the smallest way round."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from broker.admission.calendar import Calendar
from broker.admission.changes import Change, least_changes
from broker.admission.policy import Policy
from broker.admission.ranking import Ranking, legal
from broker.domain.claim import Ask, Claim, ClaimName, Tier
from broker.domain.options import Option, options
from broker.domain.reason import ALONE, LENT, Because, Reason
from broker.domain.slots import Window

__all__ = ["Explanation", "Holder", "Wall", "explain"]

Ints = NDArray[np.int64]

WALLS_MAX = 8
HOLDERS_MAX = 10


@dataclass(frozen=True, slots=True)
class Wall:
    """What stands in the way in one pool, where it is nearest to giving way.

    ``window`` is the stretch in which something is lacking, or the whole run when nothing is. ``quota_free`` is None
    for a tenant without a quota; for work on loan it is what may still be lent. ``price`` is what the run costs, and
    what others are expected to make of the pool and of the quota, beside the claim's ``value``.
    """

    reason: Reason
    pool: str
    window: Window
    needed: int
    free: int
    quota_free: int | None
    value_microusd: int
    price_microusd: int


@dataclass(frozen=True, slots=True)
class Holder:
    """Who holds capacity at a wall, and until which slot; ``name`` is None where it may not be told."""

    name: ClaimName | None
    tier: Tier
    pool: str
    devices: int
    until: int


@dataclass(frozen=True, slots=True)
class Explanation:
    """One dominant reason, and what is behind it; ``changes`` is the smallest set that lets the claim in, or empty."""

    because: Because
    walls: tuple[Wall, ...]
    holders: tuple[Holder, ...]
    changes: tuple[Change, ...]


def explain(policy: Policy, ask: Ask, tenant: str, calendar: Calendar, claims: Iterable[Claim]) -> Explanation | None:
    """Why the ask does not fit as it is; None when it does. Only the tenant's own claims are named."""

    def fits(asked: Ask) -> bool:
        return bool(policy.offers(asked, tenant, calendar, most=1))

    if fits(ask):
        return None
    walls = tuple(sorted(_walls(policy, ask, tenant, calendar), key=_distance))[:WALLS_MAX]
    smallest = next(least_changes(ask, fits, latest_slot=calendar.window.end), ())
    holders = tuple(_holders(walls[:1], tenant, ask.quota(tenant), claims))
    limit = calendar.fleet.quotas.get(ask.quota(tenant))
    alone = not holders or (limit is not None and bool(walls) and walls[0].needed > limit)
    return Explanation(_because(walls, on_loan=ask.on_loan, alone=alone), walls, holders, smallest)


def _distance(wall: Wall) -> tuple[bool, int, int]:
    """How far a wall is from giving way: first whether it ever can, then devices, then money."""
    free = wall.free if wall.quota_free is None else min(wall.free, wall.quota_free)
    return wall.reason is Reason.EXCEEDS_CAPACITY, max(0, wall.needed - free), wall.price_microusd


def _walls(policy: Policy, ask: Ask, tenant: str, calendar: Calendar) -> Iterator[Wall]:
    """One for each pool that could serve a part of the claim."""
    seen: set[str] = set()
    for way in legal(options(ask, calendar.fleet), calendar.window):
        if way.pool not in seen:
            seen.add(way.pool)
            yield _wall(policy, way, ask.quota(tenant), calendar, ask.tier)


def _wall(policy: Policy, way: Option, name: str, calendar: Calendar, tier: Tier) -> Wall:
    """The wall at the start where most devices are free all the time."""
    assert way.latest is not None
    whole = Window(way.earliest, way.latest + way.slots)
    row, span, quota = calendar.pools[way.pool], calendar.span(whole), calendar.row_of(name)
    free = calendar.free[row, span]
    room = np.minimum(free, calendar.room[quota, span])
    best = int(_throughout(room, way.slots).argmax())
    run = slice(best, best + way.slots)
    lacking = np.flatnonzero(room[run] < way.devices)
    first, last = (int(lacking[0]), int(lacking[-1])) if len(lacking) else (0, way.slots - 1)
    start = whole.first + best
    others = calendar.price_of(way.pool, way.devices, Window(start, start + way.slots), name)
    return Wall(
        reason=_reason(policy, way, name, calendar, tier),
        pool=way.pool,
        window=Window(start + first, start + last + 1),
        needed=way.devices,
        free=max(0, int(free[run].min())),
        quota_free=None if quota == calendar.row_of("") else max(0, int(calendar.room[quota, span][run].min())),
        value_microusd=way.value_microusd,
        price_microusd=round(others) + int(calendar.unit[row]) * way.devices * way.slots,
    )


def _reason(policy: Policy, way: Option, quota: str, calendar: Calendar, tier: Tier) -> Reason:
    """What rules out every start of one option, tried in the order in which it would have to give way."""
    assert way.latest is not None
    row, span = calendar.pools[way.pool], calendar.span(Window(way.earliest, way.latest + way.slots))
    if _throughout(calendar.supply[row, span], way.slots).max() < way.devices:
        return Reason.EXCEEDS_CAPACITY
    if calendar.fleet.quotas.get(quota, way.devices) < way.devices:
        return Reason.QUOTA_REACHED  # and would be with nobody else there
    if _throughout(calendar.free[row, span], way.slots).max() < way.devices:
        return Reason.NO_CONTIGUOUS_ROOM
    worth = Ranking(calendar, quota, policy.terms).worth(way)
    if worth is None:
        return Reason.QUOTA_REACHED
    if worth > 0:
        return Reason.RESERVED if tier is Tier.GUARANTEED else Reason.ROOM_KEPT
    row_cost = int(calendar.unit[row]) * way.devices * way.slots
    return Reason.COST_EXCEEDS_VALUE if row_cost >= way.value_microusd else Reason.OUTBID


def _throughout(levels: Ints, slots: int) -> Ints:
    """For each start, what there is throughout a run."""
    least: Ints = sliding_window_view(levels, slots).min(axis=1)
    return least


def _because(walls: tuple[Wall, ...], *, on_loan: bool, alone: bool) -> Because:
    """The wall that is nearest to giving way, in one sentence; ``alone``: nobody holds anything there."""
    if not walls:
        return Because(Reason.NO_ELIGIBLE_POOL, "No pool has silicon and domains that the claim accepts in its window.")
    wall = walls[0]
    facts = {"pool": f"pools/{wall.pool}", "needed_devices": str(wall.needed), "free_devices": str(wall.free)}
    sentence = _SENTENCES[wall.reason]
    if wall.reason is Reason.QUOTA_REACHED and (on_loan or alone):
        sentence = LENT if on_loan else ALONE
    return Because(wall.reason, sentence.format(pool=wall.pool, needed=wall.needed, free=wall.free), facts)


_SENTENCES = {
    Reason.EXCEEDS_CAPACITY: "No pool, were it empty, has {needed:,} devices for the whole time within the window.",
    Reason.NO_CONTIGUOUS_ROOM: "No start has {needed:,} devices free for the whole time; at best {free:,} in {pool}.",
    Reason.QUOTA_REACHED: "The tenant's other claims use its quota at every start that has room.",
    Reason.ROOM_KEPT: "{pool} has {free:,} devices free, but they are kept for claims of a higher tier.",
    Reason.RESERVED: "{pool} has {free:,} devices free, but guaranteed work must have somewhere to go after a loss.",
    Reason.OUTBID: "Others are expected to make more of the capacity in {pool} than this claim offers.",
    Reason.COST_EXCEEDS_VALUE: "Running it costs more than it is worth, even in {pool}.",
}


def _holders(walls: Iterable[Wall], tenant: str, quota: str, claims: Iterable[Claim]) -> Iterator[Holder]:
    """Who holds most at the walls: in the pool or, where the quota is the wall, under that; others' names are kept."""
    found = [
        Holder(claim.name if claim.name.tenant == tenant else None, claim.ask.tier, p.pool, p.devices, p.window.end)
        for wall in walls
        for claim in claims
        for p in claim.placements
        if p.window.first < wall.window.end and wall.window.first < p.window.end
        if (claim.quota == quota if wall.reason is Reason.QUOTA_REACHED else p.pool == wall.pool)
    ]
    yield from sorted(found, key=lambda holder: (-holder.devices, holder.until))[:HOLDERS_MAX]
