"""A planning problem as claims that come one by one, answered as a server does: by its policy on its outlook."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from bench.market import RANKS, Market
from broker.admission.outlook import Outlook
from broker.admission.policy import Policy
from broker.domain.bid_prices import BidPrices
from broker.domain.claim import Ask, Claim, ClaimName, SiliconChoice, Tier, Waiting
from broker.domain.fleet import (
    CommittedLevel,
    Contract,
    Delivery,
    Fleet,
    Pool,
    PoolKind,
    Silicon,
    Tenant,
    WorkloadClass,
)
from broker.domain.promise import promised
from broker.domain.slots import SLOT_SECONDS
from broker.domain.snapshot import Event, EventKind, Snapshot
from broker.optimiser.problem import Ints, Plan

__all__ = ["answered"]

MONEY = 10**6  # micro-USD for each unit of value
TIERS = (Tier.GUARANTEED, Tier.STANDARD, Tier.SPOT)
FREEZE = 1  # slots, as with the server
WORK, TENANT = "gang", "bench"


def answered(market: Market, policy: Policy, past: Market | None) -> tuple[Plan, int]:
    """Who got which place, and how often somebody moved; ``past`` is a market of the time just before."""
    began = past.problem.slots if past is not None else 0
    pool_silicon = _silicon(market)
    outlook = Outlook(Snapshot("bench", 0, _fleet(market, pool_silicon, began), ()), BidPrices(began))
    if past is not None:
        for number, slot, ask in _asks(past, pool_silicon, 0):
            outlook.demand.apply(_event(slot, _claim(number, ask, slot)))
    moves = 0
    for number, slot, ask in _asks(market, pool_silicon, began):
        events, moved = _answer(outlook, policy, _claim(number, ask, slot), slot)
        outlook.apply(events)
        moves += moved
    option, start = np.full((2, len(market.asked)), -1)
    for claim in outlook.claims.values():
        for place in claim.placements:
            number = int(claim.name.id)
            rows = np.arange(market.ways.first[number], market.ways.first[number + 1])
            pools = market.ways.rows[rows, 0]
            option[number] = market.option[rows[pools == int(place.pool)][0]]
            start[number] = place.window.first - began
    return Plan(option, start), moves


def _answer(outlook: Outlook, policy: Policy, claim: Claim, slot: int) -> tuple[Event, int]:
    """What a server would do at once, and how many others moved for it."""
    calendar, firm = outlook.calendar(slot), slot + FREEZE
    found = policy.grants(claim.ask, TENANT, calendar)
    if found:
        return _event(slot, claim.becomes(promised(found[0].placements, freeze=firm), at=claim.created_at)), 0
    room = policy.room(claim.ask, TENANT, calendar, outlook.claims.values(), firm=firm)
    if room is None:
        return _event(slot, claim), 0
    moved = room.moved(claim.created_at)
    granted = claim.becomes(promised(room.candidate.placements, freeze=firm), at=claim.created_at)
    return _event(slot, granted, *moved), len(moved)


def _event(slot: int, *claims: Claim) -> Event:
    return Event(0, EventKind.SUBMITTED, slot * SLOT_SECONDS, claims)


def _claim(number: int, ask: Ask, slot: int) -> Claim:
    at = slot * SLOT_SECONDS
    return Claim(ClaimName(TENANT, str(number)), ask, Waiting(()), at, at)


def _asks(market: Market, pool_silicon: Ints, began: int) -> Iterator[tuple[int, int, Ask]]:
    """Requests in the order in which they ask: number, slot and claim; without those that have no way at all."""
    for number in np.argsort(market.asked, kind="stable").tolist():
        rank = int(market.rank[number])
        if not 0 <= rank < RANKS:
            continue
        rows, _ = market.options(number)
        choices = {f"s{pool_silicon[pool]}": (devices, slots) for pool, devices, slots in rows[:, :3].tolist()}
        slot = began + int(market.asked[number])
        yield (
            number,
            slot,
            Ask(
                workload_class=WORK,
                devices=int(market.devices[number]),
                slots=int(market.slots[number]),
                earliest=slot,
                tier=TIERS[rank],
                value_microusd=int(market.value[number]) * MONEY,
                silicon=tuple(SiliconChoice(name, *size) for name, size in choices.items()),
                gang=True,
                latest=began + int(market.latest[number]),
                deadline=began + market.problem.slots,
            ),
        )


def _silicon(market: Market) -> Ints:
    """The kind of each pool: pools that serve the same requests in the same time are alike."""
    owner = np.repeat(np.arange(len(market.asked)), np.diff(market.ways.first))
    rows = np.column_stack((owner, market.ways.rows[:, 1:3]))
    kinds = [rows[market.ways.rows[:, 0] == pool].tobytes() for pool in range(len(market.room))]
    return np.array([kinds.index(kind) for kind in kinds], np.int64)


def _fleet(market: Market, pool_silicon: Ints, began: int) -> Fleet:
    pools, names = market.problem.pools, [f"s{kind}" for kind in pool_silicon]
    own, contracts = [], []
    for n, supply in enumerate(pools.capacity):
        steps = np.flatnonzero(np.diff(supply, prepend=0)).tolist()
        rises = np.diff(supply, prepend=0)
        deliveries = tuple(Delivery(int(rises[k]), None if k == 0 else (began + k) * SLOT_SECONDS) for k in steps)
        own.append(Pool(str(n), PoolKind.INTERNAL, names[n], 1, deliveries))
        if pools.overage_cost[n] > 0:
            paid = (CommittedLevel(int(pools.committed[n, 0])),)
            contracts.append(
                Contract(str(n), str(n), "", paid, overage_price_microusd=int(pools.overage_cost[n]) * MONEY)
            )
    silicon = tuple(Silicon(name) for name in dict.fromkeys(names))
    speed = {one.id: 100 for one in silicon}
    return Fleet(silicon, (WorkloadClass(WORK, speed),), tuple(own), tuple(contracts), (Tenant(TENANT),))
