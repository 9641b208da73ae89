"""A whole broker inside the test's process: memory ledger, desk, feed, planner, and a real gRPC server if wanted."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import grpc
from capacitybroker.v1.capacity_service_pb2_grpc import CapacityServiceStub
from capacitybroker.v1.fleet_service_pb2_grpc import FleetServiceStub
from capacitybroker.v1.lease_service_pb2_grpc import LeaseServiceStub
from capacitybroker.v1.planning_service_pb2_grpc import PlanningServiceStub

from broker.admission.policy import Policy
from broker.desk import Desk, DeskTerms
from broker.domain.claim import Ask, Claim, ClaimName
from broker.domain.fleet import Fleet
from broker.domain.plan import PlanRecord
from broker.domain.slots import SLOT_SECONDS
from broker.feed import Feed, FeedSettings
from broker.leasing import Leasing
from broker.ledger.memory import MemoryLedger
from broker.ledger.port import RequestKey
from broker.optimiser.problem import Plan, Problem
from broker.optimiser.report import Earlier, Solved
from broker.optimiser.worker import SolverLost
from broker.planner import Planner, PlannerSettings
from broker.supplying import Supplying
from broker.transport.door import Door
from broker.transport.guard import Guard
from broker.transport.load import Limits, Load
from broker.transport.server import Server

if TYPE_CHECKING:
    # Types of the stubs, which have one class at run time for both kinds of channel.
    from capacitybroker.v1.capacity_service_pb2_grpc import CapacityServiceAsyncStub
    from capacitybroker.v1.fleet_service_pb2_grpc import FleetServiceAsyncStub
    from capacitybroker.v1.lease_service_pb2_grpc import LeaseServiceAsyncStub
    from capacitybroker.v1.planning_service_pb2_grpc import PlanningServiceAsyncStub

__all__ = ["PATIENT", "InlineSolver", "LostSolver", "World", "until", "world"]

DAY = 24 * SLOT_SECONDS
NOON = 20_000 * DAY + DAY // 2  # some day in 2024, on the hour


async def until(condition: Callable[[], object], *, within: float = 30.0) -> None:
    """Polls until ``condition()`` is true; fails after ``within`` seconds."""
    async with asyncio.timeout(within):
        while not condition():  # noqa: ASYNC110 - any condition will do, so nobody can be told to set an event
            await asyncio.sleep(0.002)


@dataclass(slots=True)
class InlineSolver:
    """Solves on a thread of this process, by work and not by time, so that the same problem gives the same plan."""

    work: int = 300
    tamper: Callable[[Problem, Solved], Solved] = lambda _problem, solved: solved

    async def solve(
        self, problem: Problem, *, seconds: float, seed: int, hint: Plan | None, earlier: Earlier | None = None
    ) -> Solved:
        """See `broker.planner.Solver`."""
        from broker.optimiser.solve import solve
        from broker.optimiser.stop import WorkLimit

        assert seconds > 0
        solved = await asyncio.to_thread(
            solve, problem, stop=WorkLimit(self.work), seed=seed, hint=hint, earlier=earlier
        )
        return self.tamper(problem, solved)


class LostSolver:
    """Dies of everything."""

    async def solve(self, *_: object, **__: object) -> Solved:
        """See `broker.planner.Solver`."""
        raise SolverLost("gone")


@dataclass(slots=True)
class World:
    """The broker's parts, its clock (``now``, Unix seconds, stands still unless moved) and the stubs to call it."""

    ledger: MemoryLedger
    feed: Feed
    desk: Desk
    leasing: Leasing
    planner: Planner
    solver: InlineSolver
    address: str = ""
    now: int = NOON
    later: float = 0.0  # seconds by which the clock of leases is ahead of this machine's
    ids: Callable[[], str] = field(default_factory=lambda: map("c-{:04d}".format, itertools.count()).__next__)
    capacity: CapacityServiceAsyncStub = field(init=False)
    fleet: FleetServiceAsyncStub = field(init=False)
    leases: LeaseServiceAsyncStub = field(init=False)
    planning: PlanningServiceAsyncStub = field(init=False)
    channel: grpc.aio.Channel = field(init=False)

    @property
    def slot(self) -> int:
        """The present hour."""
        return self.now // SLOT_SECONDS

    def key(self, tenant: str = "atlas", method: str = "Test") -> RequestKey:
        """Identity of one more mutation."""
        return RequestKey(tenant, method, f"r-{self.ids()}", "digest")

    async def declare(self, fleet: Fleet) -> None:
        """Put a fleet into force."""
        await self.supplying.apply_fleet(fleet, etag="", key=self.key("-"), dry_run=False)

    @property
    def supplying(self) -> Supplying:
        """The front office for operators."""
        return Supplying(self.ledger, self.feed, self.desk.now)

    async def ask(self, asked: Ask, tenant: str = "atlas") -> ClaimName:
        """Submit a claim; its slots count from 1970, its earliest from now when 0."""
        return (await self.desk.submit(tenant, "", asked, self.key(tenant))).claim.name

    async def plan(self) -> PlanRecord:
        """One planning cycle, in force."""
        fence = await self.ledger.lead("test", ttl_millis=60_000)
        assert fence is not None
        return await self.planner.cycle(fence, seconds=1.0)

    async def claim(self, name: ClaimName) -> Claim:
        """A claim as it is now."""
        return await self.ledger.claim(name)

    async def serve_for(self, seconds: float) -> None:
        """Time of leases that passes at once, while a server looks at the clock as often as it should."""
        for _ in range(round(seconds)):
            self.later += 1
            await self.leasing.lapse()


# Client, server and planner share one thread here, so calls are late whenever a plan is made.
PATIENT = Limits(burst_seconds=30.0, late_seconds=30.0)


@asynccontextmanager
async def world(
    *,
    serve: bool = False,
    plan_by_itself: bool = False,
    feed_settings: FeedSettings | None = None,
    log_events_max: int = 1_000_000,
    at_once: bool = False,
    claims_max: int = 20_000,
    door: Door | None = None,
) -> AsyncIterator[World]:
    """A broker with nothing in it; ``serve`` opens a port, ``plan_by_itself`` starts the planner's loop.

    Only plans place claims, unless ``at_once``.
    """
    made: World
    ledger = MemoryLedger(
        incarnation="test", monotonic=lambda: time.monotonic() + made.later, log_events_max=log_events_max
    )
    solver = InlineSolver()
    settings = PlannerSettings(horizon_slots=14 * 24, gather_millis=1, lease_millis=60_000)
    async with Feed(ledger, feed_settings or FeedSettings(progress_seconds=0.05)) as feed:
        made = World(
            ledger,
            feed,
            Desk(
                ledger,
                feed,
                lambda: made.now,
                lambda: made.ids(),  # noqa: PLW0108 - made later
                DeskTerms(Policy(at_once=at_once), claims_max=claims_max),
            ),
            Leasing(ledger, feed, lambda: made.now),
            Planner(ledger, solver, lambda: made.now, "test", settings),
            solver,
        )
        planning = asyncio.create_task(made.planner.run()) if plan_by_itself else None
        server = Server(made.desk, made.leasing, feed, Guard(load=Load(PATIENT)), door) if serve else None
        if server is not None:
            made.address = f"127.0.0.1:{await server.start('127.0.0.1:0')}"
            made.channel = grpc.aio.insecure_channel(made.address)
            made.capacity = CapacityServiceStub(made.channel)
            made.fleet = FleetServiceStub(made.channel)
            made.leases = LeaseServiceStub(made.channel)
            made.planning = PlanningServiceStub(made.channel)
        try:
            yield made
        finally:
            if server is not None:
                await made.channel.close()
                await server.stop(0)
            if planning is not None:
                planning.cancel()
                await asyncio.gather(planning, return_exceptions=True)
