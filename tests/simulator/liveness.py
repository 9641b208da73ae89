"""Once nothing goes wrong any more: everything answers, everything owed is done, and plans come to rest."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from broker.domain.claim import Held
from broker.domain.faults import Fault
from broker.domain.snapshot import EventKind
from broker.ledger.lease_book import RETURN_MILLIS
from tests import builders
from tests.simulator.network import Unreachable
from tests.simulator.processes import ServerProcess
from tests.simulator.setting import TERMS

if TYPE_CHECKING:
    from tests.simulator.run import Simulation

__all__ = ["settle"]

RETURN_SECONDS = 10.0
PLAN_SECONDS = 20.0  # a planner that failed often waits for ten
LAPSE_SECONDS = (2 * TERMS.ttl + TERMS.margin + 2 * RETURN_MILLIS) / 1000
ROUNDS = 4


async def settle(sim: Simulation, living: Sequence[asyncio.Task[None]]) -> None:
    """Wait for all of that, and complain of what does not come (I13, I23)."""
    servers = sim.servers
    await _until(sim, "servers serve", RETURN_SECONDS, lambda: all(s.open and s.feed.down is None for s in servers))
    await _until(sim, "callers come to an end", RETURN_SECONDS, lambda: all(task.done() for task in living))
    for server in servers:
        await _probe(sim, server)
    await _until(sim, "a planner leads", RETURN_SECONDS, lambda: any(p.planner._fence for p in sim.planners))
    await _until(sim, "what is asked is planned", PLAN_SECONDS, lambda: _planned(sim))
    for client in sim.clients:
        client.renewing = False
    await _until(sim, "leases lapse", LAPSE_SECONDS, lambda: not sim.store.ledger._leases._entries)
    await _until(sim, "quotes lapse", RETURN_SECONDS, lambda: not _overdue_holds(sim))
    await _rest(sim)
    await _until(sim, "servers have seen all", RETURN_SECONDS, lambda: _told(sim))
    await _until(sim, "watchers have seen all", RETURN_SECONDS, lambda: _watched(sim))
    await asyncio.sleep(0.5)
    await _until(sim, "servers have seen all", RETURN_SECONDS, lambda: _told(sim))


async def _until(sim: Simulation, what: str, seconds: float, condition: Callable[[], object]) -> None:
    deadline = sim.loop.time() + seconds
    while not condition():
        if sim.loop.time() > deadline:
            sim.complain(f"not within {seconds:.0f} s: {what}")
            return
        await asyncio.sleep(0.1)


async def _probe(sim: Simulation, server: ServerProcess) -> None:
    """A claim comes, is seen, and goes, at the first attempt."""
    client = sim.clients[1]
    made, gone = client.request("CreateClaim"), client.request("CancelClaim")
    ask = builders.ask(4, 1, labels={"request": made.key.request_id})
    try:
        receipt = await server.desk.submit(client.tenant, "", ask, made.key)
        name = receipt.claim.name
        if (await server.desk.claim(name)).revision < receipt.claim.revision:
            sim.complain(f"{server.name} forgets {name}")
        await server.desk.cancel(name, etag="", key=gone.key)
    except (Fault, Unreachable) as fault:
        sim.complain(f"{server.name} refuses a valid call: {fault!r}")


def _planned(sim: Simulation) -> bool:
    """Whether the last plan has looked at all that anybody changed since."""
    log = sim.sightings.log
    asked = max((e.revision for e in log if e.kind is not EventKind.PLANNED), default=0)
    return any(e.plan is not None and not e.plan.repair and e.plan.based_on_revision >= asked for e in log[asked:])


def _overdue_holds(sim: Simulation) -> bool:
    """Whether anything is held for a quote whose time is over by every server's clock."""
    late = min(server.clock.seconds() for server in sim.servers)
    claims = sim.store.ledger._market.claims.values()
    return any(isinstance(claim.state, Held) and claim.state.until <= late for claim in claims)


async def _rest(sim: Simulation) -> None:
    """Planning again changes nothing, sooner or later."""
    await _until(sim, "what is asked is planned", PLAN_SECONDS, lambda: _planned(sim))
    changed = 1
    for _ in range(ROUNDS):
        client = sim.clients[0]
        request = client.request("RunPlan", scope="-")
        try:
            plan = await sim.servers[0].desk.run_plan(key=request.key, time_limit_seconds=1)
        except Fault as fault:
            sim.complain(f"no plan on demand: {fault!r}")
            return
        changed = len(sim.sightings.log[plan.revision - 1].claims)
        if not changed:
            return
    sim.complain(f"plans do not come to rest: the last of {ROUNDS} changed {changed} claims")


def _told(sim: Simulation) -> bool:
    return all(server.feed.revision == len(sim.sightings.log) for server in sim.servers)


def _watched(sim: Simulation) -> bool:
    return all(watcher.known >= len(sim.sightings.log) for watcher in sim.watchers)
