"""Whoever does all the harm, and makes it good again when told to."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from tests.simulator.setting import BOUNDARY
from tests.simulator.store import STORE

if TYPE_CHECKING:
    from tests.simulator.run import Simulation

__all__ = ["Nemesis"]

HURRY_EVERY = 12.0  # more than a ttl: so much may a clock be set forward within one
HURRY = 0.4


class Nemesis:
    """One fault after the other; several may overlap."""

    def __init__(self, simulation: Simulation, rng: random.Random) -> None:
        self._sim, self._rng, self._loop = simulation, rng, simulation.loop
        self._hurried = -HURRY_EVERY
        self._paused: set[str] = set()
        self._relented = False

    async def live(self, until: float) -> None:
        """Do harm until then."""
        setting = self._sim.setting
        while self._loop.awake() < until:
            await asyncio.sleep(self._rng.expovariate(1 / setting.fault_every))
            if self._loop.awake() < until and not self._relented:
                what = self._rng.choices(list(setting.faults), list(setting.faults.values()))[0]
                self._sim.trace.say("fault", what, getattr(self, what)() or "")

    def relent(self) -> None:
        """No more faults, and what can be mended is."""
        sim = self._sim
        self._relented = True
        sim.trace.say("no more faults")
        sim.network.heal()
        sim.store.up, sim.store.hangs_until = True, 0.0
        for label in list(self._paused):
            self._loop.continue_process(label)
        for process in sim.processes:
            process.start()
        for client in sim.clients:
            client.patient = True

    async def fail_over(self) -> None:
        """A replica takes over that knew less: whoever knew more halts, and answers nothing any more.

        Whoever knew no more than the replica is away: nobody can tell it that anything is missing. So is whoever was
        about to begin, and ended with its connection.
        """
        sim = self._sim
        head = len(sim.sightings.log)
        kept = self._rng.randrange(max(1, head - 10), max(2, head))
        self._relented = True
        sim.store.fail_over(sim.sightings.log, kept)
        sim.network.heal()
        for label in list(self._paused):
            self._loop.continue_process(label)
        knew = [process for process in sim.processes if process.alive and process.remote.seen > kept]
        for process in sim.processes:
            process.over = True
            if process not in knew:
                process.kill()
        sim.trace.say("failed over to", kept, "known to more", len(knew))
        await asyncio.sleep(5)  # whatever connections there are find out
        for process in knew:
            if process.alive and process.remote.halted is None:
                sim.complain(f"{process.label} knew revision {process.remote.seen} and goes on with a store at {kept}")
        answered = [len(request.answers) for request in sim.requests]
        await asyncio.sleep(5)
        for request, before in zip(sim.requests, answered, strict=False):
            if any(not isinstance(answer, Exception) for answer in request.answers[before:]):
                sim.complain(f"{request.method} {request.key.request_id} is answered by a market that lost history")

    # --- faults

    def crash_server(self) -> str:
        """A server is killed, and started again."""
        return self._crash(self._rng.choice(self._sim.servers).name)

    def crash_planner(self) -> str:
        """A planner is killed, and started again."""
        return self._crash(self._rng.choice(self._sim.planners).name)

    def _crash(self, name: str) -> str:
        process = next(process for process in self._sim.processes if process.name == name)
        if process.alive:
            self._paused.discard(process.label)
            process.kill()
            self._later(self._rng.uniform(0.1, 3), process.start)
        return name

    def pause(self) -> str:
        """A process stands still for a while, and knows nothing of it."""
        sim = self._sim
        label = self._rng.choice([*(process.label for process in sim.processes), *(c.name for c in sim.clients[:3])])
        seconds = self._rng.choice([0.5, 1.5, 3.0, 6.0])
        return self._stop(label, seconds)

    def _stop(self, label: str, seconds: float) -> str:
        if label in self._paused:
            return "already"
        self._paused.add(label)
        self._loop.stop_process(label)

        def go_on() -> None:
            if label in self._paused:
                self._paused.discard(label)
                self._loop.continue_process(label)

        self._later(seconds, go_on)
        return f"{label} {seconds}"

    def partition(self) -> str:
        """Two do not reach each other, or one does not reach the other."""
        sim = self._sim
        one = self._rng.choice([process.name for process in sim.processes])
        others = [STORE] if one.startswith("planner") else [STORE, *(c.name for c in sim.clients), "watcher-0"]
        other = self._rng.choice([others[0], self._rng.choice(others)])
        pair = (one, other) if self._rng.random() < 0.5 else (other, one)
        ways = sim.network.separate(*pair, both_ways=self._rng.random() < 0.6)
        self._later(self._rng.choice([0.5, 2.0, 6.0]), lambda: sim.network.cut.difference_update(ways))
        return " ".join(map(str, ways))

    def crash_store(self) -> None:
        """It is killed, and comes back with all that it acknowledged."""
        self._sim.store.crash()
        self._later(self._rng.choice([0.1, 0.5, 2.0, 4.0]), self._sim.store.restart)

    def hang_store(self) -> None:
        """It accepts commands, and executes them later."""
        self._sim.store.hangs_until = self._loop.time() + self._rng.choice([0.3, 1.5, 3.0])

    def set_clock(self) -> str:
        """The store's clock is set, forward or back."""
        seconds = self._rng.choice([-3600.0, -5.0, -1.0, 3.0, 60.0, 3600.0])
        self._sim.store_clock.ahead += seconds
        self._sim.sightings.shifted += seconds
        return str(seconds)

    def hurry_clock(self) -> str:
        """It is set forward by less than shows."""
        if self._loop.time() - self._hurried < HURRY_EVERY:
            return "not yet"
        self._hurried = self._loop.time()
        self._sim.store_clock.ahead += HURRY
        self._sim.sightings.shifted += HURRY
        self._sim.sightings.hurried += HURRY
        return str(HURRY)

    def servers_away(self) -> str:
        """All servers stand still."""
        seconds = self._rng.choice([1.0, 4.0, 12.0])
        return ", ".join(self._stop(server.label, seconds) for server in self._sim.servers)

    def leap(self) -> str:
        """The whole world stands still but for time: some minutes, or until the hour is about to turn."""
        now = self._sim.truth() - BOUNDARY
        turn = 3600 - now % 3600 - self._rng.uniform(0.5, 8)
        seconds = self._rng.choice([3.0, 60.0, turn, turn, turn])
        if seconds > 0:
            self._loop.leap(seconds)
        return str(seconds)

    def _later(self, seconds: float, what: Callable[[], object]) -> None:
        def unless_relented() -> None:
            if not self._relented:
                what()

        self._loop.call_later(seconds, partial(unless_relented), context=self._loop.nobody)
