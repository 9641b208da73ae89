"""A planning problem as claims that come one by one, answered as a server does: by a broker in this process."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass

import numpy as np

from bench.market import RANKS, Market
from bench.rolling import WORK
from broker.admission.demand import Demand
from broker.admission.policy import Policy
from broker.desk import Desk, DeskTerms
from broker.domain.claim import Ask, Claim, ClaimName, Placement, Preemption, SiliconChoice, Tier, Waiting
from broker.domain.faults import Fault
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
from broker.domain.slots import SLOT_SECONDS
from broker.domain.snapshot import Event, EventKind
from broker.feed import Feed
from broker.ledger.memory import MemoryLedger
from broker.ledger.port import Fence, RequestKey
from broker.optimiser.problem import Ints, Plan, Problem
from broker.optimiser.report import Earlier, Solved
from broker.optimiser.solve import solve
from broker.optimiser.stop import WorkLimit
from broker.planner import Planner, PlannerSettings

__all__ = ["answered"]

MONEY = 10**6  # micro-USD for each unit of value
TIERS = (Tier.GUARANTEED, Tier.STANDARD, Tier.SPOT)
CLASS, TENANT = "gang", "bench"


def answered(market: Market, policy: Policy, past: Market | None, *, every: int = 0, seed: int = 1) -> tuple[Plan, int]:
    """Who got which place, and how often somebody moved; ``past`` is a market of the time just before.

    ``every`` so many slots the planner plans (0: only once, before anybody asks).
    """
    return asyncio.run(_answered(market, policy, past, every, seed))


async def _answered(market: Market, policy: Policy, past: Market | None, every: int, seed: int) -> tuple[Plan, int]:
    began = past.problem.slots if past is not None else 0
    silicon = _silicon(market)
    run = await _Run.begun(policy, _fleet(market, silicon, began), market.problem.slots, seed)
    async with run.feed:
        await run.feed.learnt()
        await run.told()
        if past is not None:
            run.teach(_asks(past, silicon, 0))
        run.slot = began
        await run.plan()
        due = list(_asks(market, silicon, began))[::-1]
        for slot in range(began, began + market.problem.slots):
            run.slot = slot
            if every and (slot - began) % every == 0:
                await run.plan()
            while due and due[-1][1] == slot:
                number, _, ask = due.pop()
                await run.ask(number, ask)
        events = await run.ledger.events(0, limit=2**40)
    return _served(market, began, events)


def _served(market: Market, began: int, events: Sequence[Event]) -> tuple[Plan, int]:
    """The last places of each claim, and how often one changed."""
    places: dict[ClaimName, tuple[Placement, ...]] = {}
    moves = 0
    for event in events:
        for claim in event.claims:
            before = places.get(claim.name, ())
            places[claim.name] = claim.placements
            moves += bool(before) and _where(before) != _where(claim.placements)
    option, start = np.full((2, len(market.asked)), -1)
    for name, mine in places.items():
        for place in mine:
            number = int(name.id)
            rows = np.arange(market.ways.first[number], market.ways.first[number + 1])
            option[number] = market.option[rows[market.ways.rows[rows, 0] == int(place.pool)][0]]
            start[number] = place.window.first - began
    return Plan(option, start), moves


def _where(places: tuple[Placement, ...]) -> list[tuple[str, int]]:
    return [(place.pool, place.window.first) for place in places]


@dataclass(slots=True)
class _Run:
    """A broker in this process, at a virtual hour."""

    ledger: MemoryLedger
    feed: Feed
    desk: Desk
    planner: Planner
    fence: Fence
    slot: int

    @staticmethod
    async def begun(policy: Policy, fleet: Fleet, slots: int, seed: int) -> _Run:
        """At slot 0, with this fleet in force."""
        ledger = MemoryLedger(incarnation="bench", monotonic=time.monotonic)
        feed, settings = Feed(ledger), PlannerSettings(horizon_slots=slots, seed=seed)
        made: _Run

        def now() -> int:
            return made.slot * SLOT_SECONDS

        desk = Desk(ledger, feed, now, lambda: "unused", DeskTerms(policy))
        planner = Planner(ledger, _Inline(), now, "bench", settings, demand=Demand(fleet))
        fence = await ledger.lead("bench", ttl_millis=10**9)
        assert fence is not None
        made = _Run(ledger, feed, desk, planner, fence, 0)
        await ledger.apply_fleet(fleet, key=RequestKey("-", "Fleet", "1", "1"), at=0)
        return made

    def teach(self, asks: Iterator[tuple[int, int, Ask]]) -> None:
        """Let the broker have seen these claims."""
        for number, (_, slot, ask) in enumerate(asks, start=1):
            at = slot * SLOT_SECONDS
            claim = Claim(ClaimName(TENANT, str(number)), ask, Waiting(()), at, at)
            event = Event(number, EventKind.SUBMITTED, at, (claim,))
            self.feed.outlook.demand.apply(event)
            self.planner.demand.apply(event)
        self.planner.demand.revision = self.feed.revision

    async def plan(self) -> None:
        """One planning cycle."""
        await self.planner.cycle(self.fence, seconds=1)
        await self.told()

    async def ask(self, number: int, ask: Ask) -> None:
        """One claim, answered at once or left to the next plan."""
        with suppress(Fault):  # larger than any pool
            await self.desk.submit(TENANT, str(number), ask, RequestKey(TENANT, "Create", str(number), "1"))
        await self.told()

    async def told(self) -> None:
        """Once the feed has seen all that happened."""
        revision = await self.ledger.revision()
        while self.feed.revision < revision:  # noqa: ASYNC110 - the next turn of the loop, or the one after it
            await asyncio.sleep(0)


class _Inline:
    """Solves on a thread of this process, for as much work as policies of the bench are given."""

    async def solve(
        self,
        problem: Problem,
        *,
        seconds: float,  # noqa: ARG002
        seed: int,
        hint: Plan | None,
        earlier: Earlier | None = None,
    ) -> Solved:
        """See `broker.planner.Solver`."""
        return await asyncio.to_thread(solve, problem, stop=WorkLimit(WORK), seed=seed, hint=hint, earlier=earlier)


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
                workload_class=CLASS,
                devices=int(market.devices[number]),
                slots=int(market.slots[number]),
                earliest=slot,
                tier=TIERS[rank],
                value_microusd=int(market.value[number]) * MONEY,
                silicon=tuple(SiliconChoice(name, *size) for name, size in choices.items()),
                gang=True,
                latest=began + int(market.latest[number]),
                deadline=began + market.problem.slots,
                preemption=Preemption(min_run=market.problem.slots),  # answers are for good
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
    return Fleet(silicon, (WorkloadClass(CLASS, speed),), tuple(own), tuple(contracts), (Tenant(TENANT),))
