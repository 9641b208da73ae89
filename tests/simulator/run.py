"""One seed: a market is made, everything goes wrong for a while, then nothing does, and all of it is judged."""

from __future__ import annotations

import asyncio
import gc
import logging
import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from itertools import count
from typing import TypeVar

from broker.domain.fleet import Fleet
from broker.domain.insurance import Insurance, LossKind
from broker.domain.snapshot import Event
from broker.feed import Interest
from broker.ledger.port import RequestKey
from tests import builders
from tests.simulator.checkers import broken_by_log, broken_by_requests, broken_by_servers, broken_by_state
from tests.simulator.clients import Client, Request
from tests.simulator.liveness import settle
from tests.simulator.loop import VirtualLoop, run_in
from tests.simulator.nemesis import Nemesis
from tests.simulator.network import Network
from tests.simulator.processes import PlannerProcess, Process, ServerProcess
from tests.simulator.setting import BOUNDARY, Clock, Setting, Trace
from tests.simulator.store import Store
from tests.simulator.uses import Uses
from tests.simulator.watchers import Watcher
from tests.simulator.witness import Sightings

__all__ = ["Outcome", "Simulation", "simulate"]

COMPLAINTS_MAX = 20
P = TypeVar("P", bound=Process)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a seed: the promises that were broken, and a digest of all that happened."""

    seed: int
    broken: tuple[str, ...]
    digest: str
    revisions: int
    steps: int
    trace: tuple[str, ...] = ()


@dataclass
class Simulation:
    """All parts of one run."""

    seed: int
    keep: int = 0
    broken: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        rng = random.Random(self.seed)
        self.setting = setting = Setting.of(rng)
        self.rng = rng
        self.loop = VirtualLoop(random.Random(rng.random()))
        self.trace = Trace(self.truth, self.keep)
        self.network = Network(self.loop, random.Random(rng.random()), setting)
        self.store_clock = Clock(self.truth, rate=rng.uniform(0.97, 1.03))
        self.store = Store(
            self.network, self.store_clock, log_events_max=setting.log_events_max, token_key=rng.randbytes(32)
        )
        self.sightings = Sightings(self.truth, self.trace, self.complain)
        self.store.witness = self.sightings
        self.uses = Uses(self.truth, self.sightings.supply, self.complain)
        ids = map("c-{:04d}".format, count())
        self.servers = [self._process(ServerProcess, f"server-{n}") for n in range(setting.servers)]
        for server in self.servers:
            server.new_id = ids.__next__
        self.planners = [self._process(PlannerProcess, f"planner-{n}") for n in range(setting.planners)]
        self.requests: list[Request] = []
        self.clients = [self._client(n) for n in range(setting.clients)]
        self.watchers = [self._watcher(n) for n in range(4)]

    def truth(self) -> float:
        """True Unix seconds."""
        return BOUNDARY - self.setting.before_boundary + self.loop.time()

    def complain(self, what: str) -> None:
        """A promise was broken."""
        self.trace.say("BROKEN", what)
        if len(self.broken) < COMPLAINTS_MAX:
            self.broken.append(what)

    @property
    def processes(self) -> list[Process]:
        """Servers and planners."""
        return [*self.servers, *self.planners]

    def _process(self, kind: type[P], name: str) -> P:
        clock = Clock(self.truth, ahead=self.rng.uniform(-0.45, 0.45))
        rng = random.Random(self.rng.random())
        return kind(name, self.loop, rng, self.network, self.store, clock, self.complain)

    def _client(self, n: int) -> Client:
        clock = Clock(self.truth, ahead=self.rng.uniform(-1, 1), rate=self.rng.uniform(0.98, 1.02))
        tenant = ("atlas", "borealis")[n % 2]
        return Client(
            f"client-{n}", tenant, random.Random(self.rng.random()), self.network, self.servers, clock, self.uses,
            self.trace, self.setting, self.complain, self.requests, operator=n < 2,
        )  # fmt: skip

    def _watcher(self, n: int) -> Watcher:
        interest = [
            Interest(),
            Interest(tenant="atlas"),
            Interest(tenant="borealis", states=frozenset({"COMMITTED", "ACTIVE"})),
            Interest(),
        ][n]
        rng = random.Random(self.rng.random())
        return Watcher(f"watcher-{n}", rng, self.network, self.servers, interest, slow=n == 3, begin=n % 2)

    def fleet(self) -> Fleet:
        """What there is to be had."""
        made = builders.fleet({"dc-1": 61, "dc-2": 40}, {"atlas": None, "borealis": 72})
        if not self.setting.insured:
            return made
        return replace(made, insurance=(Insurance("any", LossKind.ANY_ONE_POOL),))

    async def main(self) -> None:
        """The whole run."""
        setting = self.setting
        self.trace.say(setting)
        self.store.do("apply_fleet", self.fleet(), key=_key(), at=int(self.truth()))
        for process in self.processes:
            process.start()
        for watcher in self.watchers:
            self.loop.spawn(watcher.name, watcher.live())
        living = [self.loop.spawn(client.name, client.live(setting.seconds)) for client in self.clients]
        nemesis = Nemesis(self, random.Random(self.rng.random()))
        torment = self.loop.spawn("nemesis", nemesis.live(setting.seconds))
        while self.loop.awake() < setting.seconds:  # noqa: ASYNC110 - time passes in leaps
            await asyncio.sleep(1)
        if setting.stale_failover:
            await nemesis.fail_over()
            self.judge()
        else:
            nemesis.relent()
            await settle(self, living)
            self.judge()
            for broken in (*broken_by_state(self.store.ledger, self.log), *broken_by_servers(self.servers, self.log)):
                self.complain(broken)
        torment.cancel()

    @property
    def log(self) -> list[Event]:
        """Every revision so far."""
        return self.sightings.log

    def judge(self) -> None:
        """What only the whole run shows."""
        found = [*broken_by_log(self.log), *broken_by_requests(self.requests, self.sightings)]
        for watcher in self.watchers:
            found += watcher.broken(self.log)
        for broken in found:
            self.complain(broken)


def simulate(seed: int, *, keep: int = 0, also: Callable[[Simulation], None] = lambda _: None) -> Outcome:
    """What becomes of a seed; ``keep`` so many lines of its trace."""
    logging.disable(logging.CRITICAL)
    _sweep()
    made = Simulation(seed, keep)
    also(made)
    try:
        run_in(made.loop, made.main())
    except Exception as error:  # noqa: BLE001 - a run that does not come to its end is a finding
        made.complain(f"the run ended by {error!r}")
    finally:
        gc.enable()
        logging.disable(logging.NOTSET)
    for unexpected in made.loop.unexpected:
        made.complain(unexpected)
    return Outcome(
        seed,
        tuple(made.broken),
        made.trace.digest(),
        len(made.sightings.log),
        made.loop.steps,
        tuple(made.trace.lines),
    )


def _sweep() -> None:
    """Nothing of an earlier run is found during this one: what it left half-way would come to its end in our midst."""
    gc.collect()
    if not gc.get_freeze_count():
        gc.freeze()  # what is always there need not be looked at each time
    gc.disable()


def _key() -> RequestKey:
    return RequestKey("-", "ApplyFleet", "opening", "digest")
