"""What would happen if a pool were lost now: who would be served again, where, and who would give way.

No optimiser is asked, so a planning cycle may do better: it may also let somebody start later. Guaranteed work goes
first and takes what room it needs from all others; those keep what is left, and then the rest of who was hit follows.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from broker.admission.berths import Berths
from broker.admission.ranking import legal
from broker.admission.stakes import Berth, Stake, stakes_at
from broker.domain.claim import Claim, ClaimName, Placement, Tier
from broker.domain.faults import Fault, FaultReason
from broker.domain.fleet import Fleet, Pool
from broker.domain.losses import losses, outage
from broker.domain.options import options
from broker.domain.slots import SLOT_SECONDS, Window

__all__ = ["PoolLoss", "Stress", "TierLoss", "stress", "uninsurable"]

STARTS_MAX = 64  # looked at for whether a claim could be insured at all
NAMES_MAX = 100
AHEAD_SLOTS = 26 * 168


@dataclass(frozen=True, slots=True)
class TierLoss:
    """Claims of a tier that hold the pool, those served again, those that no other could hold; devices at most."""

    tier: Tier
    claims: int
    again: int
    uninsurable: int
    devices: int


@dataclass(frozen=True, slots=True)
class PoolLoss:
    """What the loss of one pool would do; ``refuges`` are the devices that those who go would take of other pools."""

    pool: str
    supplied: int
    held: int
    tiers: tuple[TierLoss, ...]
    refuges: Mapping[str, int]
    giving_way: int
    not_served: tuple[ClaimName, ...]  # guaranteed


@dataclass(frozen=True, slots=True)
class Stress:
    """The loss of each pool by itself over ``window``; true for a revision."""

    losses: tuple[PoolLoss, ...]
    window: Window
    revision: int


def stress(fleet: Fleet, claims: Iterable[Claim], window: Window, pools: Sequence[str], revision: int) -> Stress:
    """What each of these pools (none: every pool) would take with it. Fault: POOL_NOT_FOUND."""
    for id_ in pools:
        if id_ not in fleet.pools_by_id:
            raise Fault(
                FaultReason.POOL_NOT_FOUND,
                f"The fleet has no pool '{id_}'",
                remedy="List the pools to see which there are.",
                field="pools",
            )
    held = {
        claim.name: (claim, tuple(stakes_at(claim.name, claim.ask, claim.placements, fleet)))
        for claim in claims
        if claim.live and any(place.window.end > window.first for place in claim.placements)
    }
    chosen = (pool for pool in fleet.pools if not pools or pool.id in pools)
    return Stress(tuple(_lost(fleet, pool, held, window) for pool in chosen), window, revision)


def uninsurable(fleet: Fleet, claims: Iterable[Claim], now: int) -> tuple[ClaimName, ...]:
    """Live guaranteed claims that could have no berth after some loss, wherever and whenever they ran from now on.

    At most a hundred are named; ``now`` is a slot.
    """
    if not fleet.insurance:
        return ()
    window = Window(now, now + AHEAD_SLOTS)
    berths = Berths(fleet, losses(fleet, now * SLOT_SECONDS), window)
    sure = (claim for claim in claims if claim.live and claim.ask.tier is Tier.GUARANTEED)
    found = (claim.name for claim in sure if not _insurable(claim, fleet, berths))
    return tuple(name for name, _ in zip(found, range(NAMES_MAX), strict=False))


def _insurable(claim: Claim, fleet: Fleet, berths: Berths) -> bool:
    if claim.placements:
        return all(map(berths.insurable, stakes_at(claim.name, claim.ask, claim.placements, fleet)))
    return any(map(berths.insurable, _possible(claim, fleet, berths.window)))


def _possible(claim: Claim, fleet: Fleet, window: Window) -> Iterator[Stake]:
    """The stakes of the first part of a claim at some of the starts that it may have."""
    for way in legal((way for way in options(claim.ask, fleet) if way.part == 0), window):
        assert way.latest is not None
        for first in range(way.earliest, way.latest + 1, max(1, (way.latest - way.earliest) // STARTS_MAX)):
            place = Placement(way.pool, way.devices, Window(first, first + way.slots), first)
            yield from stakes_at(claim.name, claim.ask, (place,), fleet)


Held = Mapping[ClaimName, tuple[Claim, tuple[Stake, ...]]]


def _lost(fleet: Fleet, pool: Pool, held: Held, window: Window) -> PoolLoss:
    loss = outage(fleet, pool, window)
    hit = {
        name
        for name, (claim, _) in held.items()
        if any(_hits(p.pool, p.window, pool, window) for p in claim.placements)
    }
    end = max((b.window.end for name in hit for stake in held[name][1] for b in stake.refuges), default=window.end)
    whole = Window(window.first, max(end, window.end))
    sure = [stake for claim, stakes in held.values() if claim.ask.tier is Tier.GUARANTEED for stake in stakes]
    others = (
        stake.refuges[0]
        for name, (claim, stakes) in held.items()
        if claim.ask.tier is not Tier.GUARANTEED and name not in hit
        for stake in stakes
    )
    berths = Berths(fleet, (loss,), whole, sure, others)
    (standing,) = berths.standings()
    goes = {stake.key: berth for stake, berth in standing.berths}
    giving_way = 0
    for tier, is_hit in ((Tier.STANDARD, False), (Tier.SPOT, False), (Tier.STANDARD, True), (Tier.SPOT, True)):
        for name, (claim, stakes) in held.items():
            if claim.ask.tier is tier and (name in hit) is is_hit:
                found = {stake.key: berths.seated(stake) for stake in stakes if _left(stake, window)}
                goes |= {key: berth for key, berth in found.items() if berth is not None}
                giving_way += not is_hit and None in found.values()
    sure_of = {name for name in hit if held[name][0].ask.tier is Tier.GUARANTEED}
    # Guaranteed work that is not in the pool stays.
    at_stake = {name: [s for s in held[name][1] if _left(s, window)] for name in hit - sure_of}
    at_stake |= {name: [s for s in held[name][1] if _hits(*s.refuges[0][::2], pool, window)] for name in sure_of}
    back = {name for name in hit if all(stake.key in goes for stake in at_stake[name])}
    moved = [
        (stake.refuges[0], goes[stake.key])
        for name in hit
        for stake in held[name][1]
        if stake.key in goes and goes[stake.key] != stake.refuges[0]
    ]
    lost = sorted(name for name in hit - back if held[name][0].ask.tier is Tier.GUARANTEED)
    return PoolLoss(
        pool.id,
        supplied=max(pool.supply().over(window)),
        held=_peak((b for name in hit for b in _of(held[name][1], pool, window)), window),
        tiers=tuple(_tier(tier, hit, back, held, berths, pool, window) for tier in Tier),
        refuges=_refuges(moved, whole),
        giving_way=giving_way,
        not_served=tuple(lost[:NAMES_MAX]),
    )


def _tier(
    tier: Tier, hit: set[ClaimName], back: set[ClaimName], held: Held, berths: Berths, pool: Pool, window: Window
) -> TierLoss:
    mine = [name for name in hit if held[name][0].ask.tier is tier]
    never = sum(not all(map(berths.insurable, held[name][1])) for name in mine if name not in back)
    here = chain.from_iterable(_of(held[name][1], pool, window) for name in mine)
    return TierLoss(tier, len(mine), sum(name in back for name in mine), never, _peak(here, window))


def _of(stakes: Iterable[Stake], pool: Pool, window: Window) -> Iterator[Berth]:
    """Where they are, of what is in the pool in the window."""
    return (stake.refuges[0] for stake in stakes if _hits(stake.refuges[0].pool, stake.refuges[0].window, pool, window))


def _hits(where: str, when: Window, pool: Pool, window: Window) -> bool:
    return where == pool.id and when.first < window.end and window.first < when.end


def _left(stake: Stake, window: Window) -> bool:
    """Whether anything is still to be served of it."""
    return stake.refuges[0].window.end > window.first


def _refuges(moved: Iterable[tuple[Berth, Berth]], whole: Window) -> dict[str, int]:
    by_pool: dict[str, list[Berth]] = {}
    for _, berth in moved:
        by_pool.setdefault(berth.pool, []).append(berth)
    return {pool: _peak(berths, whole) for pool, berths in by_pool.items()}


def _peak(berths: Iterable[Berth], window: Window) -> int:
    """Most devices at once in the window."""
    change: NDArray[np.int64] = np.zeros(window.slots + 1, np.int64)
    for berth in berths:
        first, end = max(berth.window.first, window.first), min(berth.window.end, window.end)
        if first < end:
            change[first - window.first] += berth.devices
            change[end - window.first] -= berth.devices
    return int(np.cumsum(change).max(initial=0))
