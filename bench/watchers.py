"""How soon a thousand watches hear of a change, and whether each hears everything once.

    python -m bench.watchers [--watchers 1000] [--tenants 40] [--rate 50] [--seconds 10]
    python -m bench.watchers --watchers 100 --dead 900 --seconds 30
    python -m bench.watchers --history 10000 [--step 500]

Starts a store and one server process. The watches share a few connections, each watches one tenant, and claims of all
tenants are asked for at a fixed rate; a delivery takes from the moment that its request is due until the watch has the
message. One watch in a hundred follows all tenants. With ``--history`` that many changes are made first, and then
watched from every step-th revision on. A gap is a change that a watch was not told of, a duplicate one that it was told
of twice; either is a fault, and the exit status is 1. ``--dead`` watches more never read a byte: nobody else may
notice.
"""

from __future__ import annotations

import argparse
import asyncio
import re
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from statistics import quantiles
from typing import TYPE_CHECKING

import grpc
from capacitybroker import TIER_STANDARD, Claim, Fleet, Pool, duration
from capacitybroker.v1.capacity_service_pb2 import CreateClaimRequest, WatchClaimsRequest
from capacitybroker.v1.capacity_service_pb2_grpc import CapacityServiceStub
from capacitybroker.v1.fleet_pb2 import POOL_KIND_INTERNAL, Delivery, Silicon, SiliconSpeed, Tenant, WorkloadClass
from capacitybroker.v1.fleet_service_pb2 import ApplyFleetRequest
from capacitybroker.v1.fleet_service_pb2_grpc import FleetServiceStub

from bench.cores import cores
from bench.flood import Flood, opened, prepared
from bench.served import broker

if TYPE_CHECKING:
    from capacitybroker.v1.capacity_service_pb2_grpc import CapacityServiceAsyncStub

WATCHES_PER_CHANNEL = 125
BROAD = 100  # one watch in so many follows all tenants
AT_ONCE = 32  # requests under way while history is made
SETTLE_SECONDS_MAX = 45.0  # after the last request, until every watch has heard of it
RESUME_SECONDS_MAX = 60.0


@dataclass(slots=True)
class Heard:
    """What one watch was told: how often each revision came, and when it came first."""

    tenant: str  # "-": all
    times: Counter[int] = field(default_factory=Counter)
    at: dict[int, float] = field(default_factory=dict)
    far: int = 0


@dataclass(slots=True)
class Sent:
    """The change that a request made: whose claim, and when it was due."""

    tenant: str
    due: float


def rss_kib(pid: int) -> int:
    """Memory that a process holds now; 0 where the system does not say."""
    status = Path("/proc") / str(pid) / "status"
    found = re.search(r"^VmRSS:\s+(\d+) kB", status.read_text(), re.MULTILINE) if status.is_file() else None
    return int(found[1]) if found else 0


class Market:
    """A served market, and who asks it for claims."""

    def __init__(self, address: str, tenants: int) -> None:
        self.channel = grpc.aio.insecure_channel(address)
        self._stub = CapacityServiceStub(self.channel)
        self.tenants = [f"t-{n}" for n in range(tenants)]
        self._asked = 0
        self.sent: dict[int, Sent] = {}

    async def declare(self) -> int:
        """A fleet; its revision."""
        supply = Pool(
            id="dc-1", kind=POOL_KIND_INTERNAL, silicon="b200", domain_devices=8, deliveries=[Delivery(devices=65_536)]
        )
        speeds = [SiliconSpeed(silicon="b200", speed_percent=100)]
        fleet = Fleet(
            silicon=[Silicon(id="b200", family="blackwell")],
            workload_classes=[WorkloadClass(id="training", speeds=speeds)],
            pools=[supply],
            tenants=[Tenant(id=tenant) for tenant in self.tenants],
        )
        return (
            await FleetServiceStub(self.channel).ApplyFleet(ApplyFleetRequest(fleet=fleet, request_id="f"))
        ).revision

    async def ask(self, due: float) -> None:
        """One more claim, of the next tenant in turn."""
        number = self._asked
        self._asked += 1
        tenant = self.tenants[number % len(self.tenants)]
        asked = Claim(workload_class="training", devices=8, duration=duration(hours=4), tier=TIER_STANDARD)
        request = CreateClaimRequest(parent=f"tenants/{tenant}", claim=asked, request_id=f"watchers-{number}")
        self.sent[(await self._stub.CreateClaim(request)).claim.revision] = Sent(tenant, due)


async def follow(stub: CapacityServiceAsyncStub, heard: Heard, start: int, last: int = 0) -> None:
    """Note what a watch tells, up to revision ``last`` or (0) until cancelled."""
    call = stub.WatchClaims(WatchClaimsRequest(parent=f"tenants/{heard.tenant}", start_revision=start))
    async for message in call:
        if message.claims:
            heard.times[message.revision] += 1
            heard.at.setdefault(message.revision, time.perf_counter())
        heard.far = message.revision
        if last and heard.far >= last and not message.partial:
            call.cancel()
            return


async def settled(condition: Callable[[], bool]) -> None:
    """Wait until it holds, but not for ever: what was not told by then is a gap."""
    end = time.perf_counter() + SETTLE_SECONDS_MAX
    while not condition() and time.perf_counter() < end:  # noqa: ASYNC110 - any condition will do
        await asyncio.sleep(0.05)


def faults(heard: Heard, sent: dict[int, Sent], start: int) -> tuple[int, int]:
    """Gaps and duplicates of one watch from a revision on."""
    wanted = {revision for revision, one in sent.items() if revision >= start and heard.tenant in ("-", one.tenant)}
    strange = set(heard.times) - wanted
    return len(wanted - set(heard.times)), sum(heard.times.values()) - len(heard.times) + len(strange)


async def live(market: Market, address: str, pid: int, args: argparse.Namespace) -> bool:
    """Watches beside a steady rate of changes; whether each was told everything once."""
    start = await market.declare() + 1
    idle = rss_kib(pid)
    apart = [("grpc.use_local_subchannel_pool", 1)]  # a connection for each channel
    count = -(-args.watchers // WATCHES_PER_CHANNEL)
    channels = [grpc.aio.insecure_channel(address, apart) for _ in range(count)]
    stubs = [CapacityServiceStub(channel) for channel in channels]
    all_heard = [Heard("-" if n % BROAD == 0 else market.tenants[n % args.tenants]) for n in range(args.watchers)]
    tasks = [asyncio.create_task(follow(stubs[n % len(stubs)], heard, start)) for n, heard in enumerate(all_heard)]
    await settled(lambda: all(heard.far for heard in all_heard))  # each has said how far it is
    opened = rss_kib(pid)
    begun = time.perf_counter()
    asks = []
    for turn in range(int(args.rate * args.seconds)):
        due = begun + turn / args.rate
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        asks.append(asyncio.create_task(market.ask(due)))
    await asyncio.gather(*asks)
    last = max(market.sent)
    await settled(lambda: all(h.far >= last for h in all_heard) or any(task.done() for task in tasks))
    busy = rss_kib(pid)
    ended = [task for task in tasks if task.done()]
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    for channel in channels:
        await channel.close()
    print(f"server: {idle // 1024} MiB before, {opened // 1024} MiB with the watches open", end="")
    print(f" ({(opened - idle) / args.watchers:.0f} KiB each), {busy // 1024} MiB at the end", flush=True)
    return report(all_heard, market.sent, start) and not ended


def report(all_heard: list[Heard], sent: dict[int, Sent], start: int) -> bool:
    """Print how soon changes were told; whether all were, once each."""
    millis = [1000 * (at - sent[r].due) for heard in all_heard for r, at in heard.at.items() if r in sent]
    found = [faults(heard, sent, start) for heard in all_heard]
    gaps, duplicates = sum(gap for gap, _ in found), sum(twice for _, twice in found)
    marks = quantiles(millis, n=100) if len(millis) > 1 else [0.0] * 99
    print(f"{len(millis):,} deliveries of {len(sent):,} changes: p50 {marks[49]:.1f} ms", end="")
    print(f", p99 {marks[98]:.1f} ms; gaps {gaps}, duplicates {duplicates}", flush=True)
    return not (gaps or duplicates)


async def resumes(market: Market, events: int, step: int) -> bool:
    """Watches from every step-th revision of a history; whether each was told everything once."""
    await market.declare()
    begun = time.perf_counter()
    gate = asyncio.Semaphore(AT_ONCE)

    async def ask() -> None:
        async with gate:
            await market.ask(begun)

    await asyncio.gather(*(ask() for _ in range(events)))
    last = max(market.sent)
    print(f"{events:,} changes made in {time.perf_counter() - begun:.1f} s", flush=True)
    stub = CapacityServiceStub(market.channel)
    gaps = duplicates = told = 0
    starts = range(1, last + 1, step)
    begun = time.perf_counter()
    for start in starts:
        heard = Heard("-")
        async with asyncio.timeout(RESUME_SECONDS_MAX):
            await follow(stub, heard, start, last)
        gap, twice = faults(heard, market.sent, start)
        gaps, duplicates, told = gaps + gap, duplicates + twice, told + len(heard.times)
    seconds = time.perf_counter() - begun
    print(f"{len(starts)} resumes, {told:,} changes told in {seconds:.1f} s ({told / seconds:,.0f} a second)", end="")
    print(f"; gaps {gaps}, duplicates {duplicates}", flush=True)
    return not (gaps or duplicates)


async def deaf(address: str, count: int) -> list[Flood]:
    """So many watches of everything whose connections take nothing of any message."""
    connections = await opened(address, -(-count // WATCHES_PER_CHANNEL), reads=False)
    body = WatchClaimsRequest(parent="tenants/-").SerializeToString()
    watch = prepared("/capacitybroker.v1.CapacityService/WatchClaims", body, seconds=3_600.0)
    await asyncio.sleep(0.2)
    for n in range(count):
        connections[n % len(connections)].send(watch, "", lambda _code, _seconds: None)
    return connections


async def measured(address: str, pid: int, args: argparse.Namespace) -> bool:
    """Whichever measurement was asked for; whether it found no fault."""
    market = Market(address, args.tenants)
    before = rss_kib(pid)
    dead = await deaf(address, args.dead)
    try:
        if args.history:
            return await resumes(market, args.history, args.step)
        return await live(market, address, pid, args)
    finally:
        if dead:
            print(f"{args.dead} that never read; server: {before // 1024} MiB before them, ", end="")
            print(f"{rss_kib(pid) // 1024} MiB at the end", flush=True)
        for connection in dead:
            connection.close()
        await market.channel.close()


def main() -> int:
    """Print the figures; 1 when a watch missed something or heard it twice."""
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("--watchers", type=int, default=1_000)
    ask.add_argument("--tenants", type=int, default=40)
    ask.add_argument("--rate", type=float, default=50)
    ask.add_argument("--seconds", type=float, default=10)
    ask.add_argument("--dead", type=int, default=0)
    ask.add_argument("--history", type=int, default=0)
    ask.add_argument("--step", type=int, default=500)
    args = ask.parse_args()
    within = {
        "watchers": 1_000,
        "tenants": 1_000,
        "rate": 1_000,
        "seconds": 120,
        "dead": 999,
        "history": 100_000,
        "step": 100_000,
    }
    for name, most in within.items():
        if not (0 if name in ("dead", "history") else 1) <= getattr(args, name) <= most:
            ask.error(f"--{name} must be from 1 to {most}")
    paced = f"{args.watchers:,} watches of {args.tenants} tenants, {args.rate:g} changes/s for {args.seconds:g} s"
    print(f"{cores()} cores; " + (f"a history of {args.history:,}" if args.history else paced), flush=True)
    with tempfile.TemporaryDirectory() as directory, broker(Path(directory)) as (address, pid):
        return 0 if asyncio.run(measured(address, pid, args)) else 1


if __name__ == "__main__":
    sys.exit(main())
