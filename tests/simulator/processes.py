"""Servers and planners: what `broker.app` runs in processes, here in labels of the loop, and who starts them again."""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Any, cast

from broker.desk import Desk, DeskTerms
from broker.domain.faults import Fault, Kind
from broker.feed import Changes, Feed, FeedSettings, Interest
from broker.leasing import Leasing
from broker.ledger.port import Ledger
from broker.optimiser.problem import Plan, Problem
from broker.optimiser.report import Earlier, Solved
from broker.optimiser.solve import solve
from broker.optimiser.stop import WorkLimit
from broker.optimiser.worker import SolverLost
from broker.planner import Planner, PlannerSettings
from broker.supplying import Supplying
from tests.simulator.loop import VirtualLoop
from tests.simulator.network import Network, Unreachable
from tests.simulator.setting import POLICY, TERMS, Clock
from tests.simulator.store import Remote, Store

__all__ = ["PlannerProcess", "Process", "ServerProcess", "Stream"]

SERVE_SECONDS = 2.0  # a call's deadline
LOOK_SECONDS = 0.5
FEED = FeedSettings(backlog_events_max=12, progress_seconds=1.0, batch_events=20, history_events=100)
DESK = DeskTerms(policy=POLICY, holds_max=3, plan_seconds_max=10.0)
PLANNING = PlannerSettings(
    solve_seconds=0.5,
    repair_seconds=0.3,
    horizon_slots=36,
    gather_millis=200,
    lease_millis=2_000,
    history_events=200,
)
IN_FLIGHT_MAX = 4  # messages of a stream that its reader has not taken


@dataclass
class Process:
    """What every process has: a name, a life with a number, and somebody who starts it again."""

    name: str
    loop: VirtualLoop
    rng: random.Random
    network: Network
    store: Store
    clock: Clock
    complain: Callable[[str], None]
    remote: Remote = field(init=False)
    label: str = ""
    alive: bool = False
    over: bool = False  # nobody starts it again
    _lives: count[int] = field(default_factory=lambda: count(1))

    def start(self) -> None:
        """Begin another life, unless it lives."""
        if self.alive or self.over:
            return
        self.label = f"{self.name}#{next(self._lives)}"
        self.alive = True
        self.remote = Remote(self.store, self.label)
        self.loop.spawn(self.label, self._live(self.label))

    def kill(self) -> None:
        """As kill -9 does; nobody starts it again by itself."""
        self.alive = False
        self.loop.kill_process(self.label)

    async def _live(self, label: str) -> None:
        try:
            await self.work()
        except Fault as fault:
            # A store that is away, or not to be trusted, ends a process; its supervisor starts another.
            if fault.reason.kind is not Kind.UNAVAILABLE:
                self.complain(f"{label} ended by {fault!r}")
        except asyncio.CancelledError:
            raise
        except BaseException as error:  # noqa: BLE001 - it is what is looked for
            if not self.loop.is_closed():
                self.complain(f"{label} ended by {error!r}")
        self.alive = False
        self.loop.kill_process(label)
        if self.loop.is_closed():
            return
        self.loop.call_later(self.rng.uniform(0.1, 0.5), self._again, label, context=self.loop.nobody)

    def _again(self, label: str) -> None:
        if self.label == label:
            self.start()

    async def work(self) -> None:
        """What it does while it lives."""
        raise NotImplementedError


class ServerProcess(Process):
    """What `broker.app` starts for a server, without its gRPC door."""

    desk: Desk
    leasing: Leasing
    supplying: Supplying
    feed: Feed
    new_id: Callable[[], str]
    open: bool = False

    async def work(self) -> None:
        """Serve until killed."""
        self.open = False
        ledger = cast(Ledger, self.remote)
        async with Feed(ledger, FEED) as feed:
            self.feed = feed
            self.desk = Desk(ledger, feed, self.clock.seconds, self.new_id, DESK)
            self.leasing = Leasing(ledger, feed, self.clock.seconds, TERMS)
            self.supplying = Supplying(ledger, feed, self.clock.seconds)
            self.open = True
            while True:
                feed.assert_following()
                if feed.down is None:
                    await self.desk.lapse()
                    with suppress(Fault):
                        await self.leasing.lapse()
                await asyncio.sleep(LOOK_SECONDS)

    def kill(self) -> None:
        """See `Process.kill`."""
        super().kill()
        self.open = False

    def take(self, call: Callable[[ServerProcess], Awaitable[Any]], answer: Callable[[object], None]) -> None:
        """A call arrives; what becomes of it goes back."""
        if not (self.alive and self.open):
            answer(Unreachable())
            return
        self.loop.spawn(self.label, self._serve(call, answer))

    async def _serve(self, call: Callable[[ServerProcess], Awaitable[Any]], answer: Callable[[object], None]) -> None:
        try:
            async with asyncio.timeout(SERVE_SECONDS):
                answer(await call(self))
        except TimeoutError:
            answer(Unreachable())
        except Fault as fault:
            answer(fault)
        except asyncio.CancelledError:
            raise
        except BaseException as error:  # noqa: BLE001 - it is what is looked for
            self.complain(f"{self.label}: a call ended by {error!r}")
            answer(Unreachable())

    def watch(self, stream: Stream) -> None:
        """A watch arrives."""
        if self.alive and self.open:
            self.loop.spawn(self.label, stream.pump(self))
        else:
            stream.end(Unreachable())


class Stream:
    """Messages of one watch on their way: in order, whole, until it breaks; its reader takes them one by one."""

    def __init__(self, network: Network, reader: str, start: int, interest: Interest) -> None:
        self._network, self._reader, self._start, self._interest = network, reader, start, interest
        self._arrived: asyncio.Queue[Changes | Exception] = asyncio.Queue()
        self._room = asyncio.Semaphore(IN_FLIGHT_MAX)
        self._last = 0.0
        self._under_way: deque[Changes | Exception] = deque()
        self.closed = self._dead = False

    async def take(self, seconds: float) -> Changes:
        """The next message; raises what ended the stream, TimeoutError when nothing came for so long."""
        async with asyncio.timeout(seconds):
            got = await self._arrived.get()
        if isinstance(got, Exception):
            raise got
        self._room.release()
        return got

    async def pump(self, server: ServerProcess) -> None:
        """The server's end of it."""
        changes = server.feed.watch(self._start, self._interest)
        try:
            async for change in changes:
                await self._room.acquire()
                if self.closed:
                    return
                self._send(server.name, change)
        except Fault as fault:
            self._send(server.name, fault)
        except asyncio.CancelledError:
            raise
        except BaseException as error:  # noqa: BLE001 - it is what is looked for
            server.complain(f"{server.label}: a watch ended by {error!r}")
        finally:
            await changes.aclose()  # type: ignore[attr-defined] # it is a generator

    def end(self, why: Exception) -> None:
        """It breaks."""
        self._arrived.put_nowait(why)

    def close(self) -> None:
        """Its reader has gone."""
        self.closed = True
        self._room.release()

    def _send(self, server: str, message: Changes | Exception) -> None:
        # As on one TCP connection: what is lost is sent again, nothing overtakes, nothing comes behind what never does.
        self._dead = self._dead or (server, self._reader) in self._network.cut
        if self._dead:
            return
        self._last = max(self._last, self._network.loop.time() + self._network.delay())
        self._under_way.append(message)
        self._network.loop.call_at(self._last, self._arrive, context=self._network.loop.nobody)

    def _arrive(self) -> None:
        self._arrived.put_nowait(self._under_way.popleft())


@dataclass
class SlowSolver:
    """The true solver with a unit of work, which takes some time, and now and then is lost or lies."""

    rng: random.Random
    network: Network

    async def solve(
        self, problem: Problem, *, seconds: float, seed: int, hint: Plan | None, earlier: Earlier | None = None
    ) -> Solved:
        """See `broker.planner.Solver`."""
        solved = solve(problem, stop=WorkLimit(1), seed=seed, hint=hint, earlier=earlier)
        if self.network.faulty:
            await asyncio.sleep(self.rng.uniform(0, seconds))
            if self.rng.random() < 0.05:
                raise SolverLost("lost")
            if self.rng.random() < 0.05:
                # It lies: everything that it places starts at once.
                return replace(solved, plan=Plan(solved.plan.option, solved.plan.start * 0))
        return solved


class PlannerProcess(Process):
    """What `broker.app` starts for a planner, with a solver beside it."""

    planner: Planner

    async def work(self) -> None:
        """Plan until killed."""
        solver = SlowSolver(self.rng, self.network)
        self.planner = Planner(cast(Ledger, self.remote), solver, self.clock.seconds, self.label, PLANNING)
        await self.planner.run()
