"""Twice and five times the calls that a server can answer, a tenant that floods, and clients that all come at once.

    python -m bench.overload [--seconds 4] [--rounds 3] [--times 2 5] [--clients 400] [--flood]

A real server process over a store that has every write on disk before it answers. First its peak: CreateClaim, one call
after the other from so many callers as answer the most. Then open load, between two looks at the peak each time, since
the machine's speed changes within minutes: ``--clients`` clients whose new claims come at random moments, together so
many times the peak. Each does as the Python client does: it has no more under way than its concurrency limit, stays
away as long as it was asked to, and repeats at most a tenth; of what waits in it the oldest goes first that has enough
time left. What is answered once the load has ended does not count. Beside them a holder renews leases all the time.
Then the load is half the peak: how long until nothing is refused and answers are as quick as before. With ``--flood``
the clients do as they please instead and send whatever comes. Printed too: what is left to a tenant that asks for a
fifth of the peak while another sends ten times as much.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import tempfile
import time
from collections import defaultdict, deque
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from statistics import median, quantiles

from capacitybroker import Client
from capacitybroker._concurrency import ConcurrencyLimit
from capacitybroker.v1.capacity_service_pb2 import CreateClaimRequest
from capacitybroker.v1.fleet_pb2 import Tenant
from capacitybroker.v1.lease_service_pb2 import LeaseRenewal, RenewLeaseRequest

from bench.answers import price_market
from bench.flood import LATE, LOST, OK, Call, Flood, Said, in_turn, opened, prepared
from bench.leases import leased
from bench.served import broker, claim_message, small_fleet

CONNECTIONS = 32
DEADLINE = 1.0
OVERLOADED = 8  # RESOURCE_EXHAUSTED
TICK = 0.002
RENEWALS = 50  # a second
BACK_SECONDS = 10
CLOSED = (32, 64, 128)  # callers
CLAIMS_MAX = 10_000_000  # of a tenant: nobody is to be refused for any other reason


def creating(tenant: str, seconds: float = DEADLINE) -> Call:
    """A new claim, but for its request id, that may take so long."""
    request = CreateClaimRequest(parent=f"tenants/{tenant}", claim=claim_message())
    number = CreateClaimRequest.DESCRIPTOR.fields_by_name["request_id"].number
    method = "/capacitybroker.v1.CapacityService/CreateClaim"
    return prepared(method, request.SerializeToString(), id_field=number, seconds=seconds)


def renewing(name: str, token: str) -> Call:
    """A renewal."""
    body = RenewLeaseRequest(renewal=LeaseRenewal(name=name, token=token)).SerializeToString()
    return prepared("/capacitybroker.v1.LeaseService/RenewLease", body, seconds=5.0)


@dataclass(frozen=True, slots=True)
class Wanted:
    """A claim that somebody wants, and the id it is asked for with."""

    came: float
    request_id: str
    again: int = 0


@dataclass(slots=True)
class Caller:
    """One client: the claims that wait in it, when it may send again, how many at once, and what it owes."""

    flood: Flood
    polite: bool
    limit: ConcurrencyLimit = field(default_factory=ConcurrencyLimit)
    waiting: deque[Wanted] = field(default_factory=deque)
    quiet_until: float = 0.0
    tenths: int = 100
    woken: bool = False  # whether it will look again once it need not be quiet

    def may_send(self) -> bool:
        """Whether a call may begin now; it is under way then."""
        return not self.polite or self.limit.enter(0.0)


@dataclass(slots=True)
class Load:
    """Calls of one kind at a rate, from many clients, while it runs."""

    tenant: str
    callers: list[Caller]
    rate: float
    rng: random.Random
    said: Said = field(default_factory=Said)  # until it ends
    whole: list[float] = field(default_factory=list)  # seconds from when a claim came until it was granted or not
    unsent: int = 0  # claims that a client kept to itself until it was too late
    sent: int = 0
    ends: float = 0.0
    calls: dict[int, Call] = field(default_factory=dict)  # by tenths of a second that they may take

    async def run(self, seconds: float, tag: str) -> None:
        """Claims come at random moments, and wait in their client for as long as they may, the oldest first."""
        self.calls = {tenths: creating(self.tenant, tenths / 10) for tenths in range(1, round(10 * DEADLINE) + 1)}
        due = time.perf_counter()
        self.ends, came = due + seconds, 0
        while (now := time.perf_counter()) < self.ends:
            while due <= now:
                due += self.rng.expovariate(self.rate)
                came += 1
                caller = self.rng.choice(self.callers)
                caller.waiting.append(Wanted(now, f"{tag}-{came}"))
                self._go_on(caller)
            await asyncio.sleep(TICK)
        await asyncio.sleep(DEADLINE + 0.2)
        for caller in self.callers:
            self.unsent += sum(wanted.came < self.ends - DEADLINE for wanted in caller.waiting)
            caller.waiting.clear()

    def _go_on(self, caller: Caller) -> None:
        """Send what may be sent now."""
        now = time.perf_counter()
        if now >= self.ends:
            return
        if caller.quiet_until > now:
            if not caller.woken:
                caller.woken = True
                pause = caller.quiet_until - now + self.rng.uniform(0, 0.1)
                asyncio.get_running_loop().call_later(pause, self._wake, caller)
            return
        while caller.waiting and caller.may_send():
            if caller.polite and (pause := caller.limit.pause(now)):
                asyncio.get_running_loop().call_later(pause, self._send_first, caller)
            else:
                self._send_first(caller)

    def _wake(self, caller: Caller) -> None:
        caller.woken = False
        self._go_on(caller)

    def _send_first(self, caller: Caller) -> None:
        """Of those that wait, the first that has enough time left; its client has a place for it."""
        began = time.perf_counter()
        while caller.waiting:
            wanted = caller.waiting.popleft()
            left = wanted.came + DEADLINE - began
            hopeless = caller.polite and began > wanted.came and left <= caller.limit.takes("CreateClaim")
            if not hopeless and (call := self.calls.get(int(10 * left))) is not None:
                self.sent += 1
                if not caller.flood.send(call, wanted.request_id, partial(self._told, caller, wanted, began)):
                    self._told(caller, wanted, began, LOST, 0.0)
                return
            self.unsent += 1
        if caller.polite:
            caller.limit.leave()

    def _told(self, caller: Caller, wanted: Wanted, began: float, code: int, seconds: float) -> None:
        now = began + seconds
        if now < self.ends:
            self.said.note(code, seconds)
            if code == OK:
                self.whole.append(now - wanted.came)
        if code == OK:
            caller.tenths = min(100, caller.tenths + 1)
            caller.limit.answered("CreateClaim", caller.flood.late, began, now)
        elif caller.polite:
            caller.limit.refused(began, now)
            if code == OVERLOADED:
                self._stay_away(caller, wanted)
        if caller.polite:
            caller.limit.leave()
        self._go_on(caller)

    def _stay_away(self, caller: Caller, wanted: Wanted) -> None:
        pause = caller.flood.pushback
        caller.quiet_until = time.perf_counter() + pause
        pause += self.rng.uniform(0, min(5.0, 0.1 * 2**wanted.again))
        if caller.tenths >= 10 and pause < DEADLINE:
            caller.tenths -= 10
            again = Wanted(wanted.came, wanted.request_id, wanted.again + 1)
            asyncio.get_running_loop().call_later(pause, self._come_back, caller, again)

    def _come_back(self, caller: Caller, wanted: Wanted) -> None:
        caller.waiting.append(wanted)
        self._go_on(caller)


class Bench:
    """One server, and what is sent to it."""

    def __init__(self, floods: list[Flood], args: argparse.Namespace) -> None:
        self.floods, self.args, self.rng = floods, args, random.Random(1)  # noqa: S311 - arrivals
        self._tags = 0

    def tag(self) -> str:
        """Request ids that were never used."""
        self._tags += 1
        return f"overload-{self._tags}"

    def callers(self, tenant: str, clients: int, *, polite: bool) -> list[Caller]:
        """Clients of one tenant; tenants share no connections."""
        floods = self.floods[::2] if tenant == "atlas" else self.floods[1::2]
        return [Caller(floods[n % len(floods)], polite) for n in range(clients)]

    def load(self, tenant: str, rate: float, callers: list[Caller]) -> Load:
        """Calls of one tenant, at so many a second."""
        return Load(tenant, callers, rate, self.rng)

    async def closed(self, callers: int) -> Said:
        """One call after the other from each."""
        return await in_turn(self.floods, creating("atlas"), self.tag(), callers, self.args.seconds)

    async def renewals(self, lease: tuple[str, str], leave: asyncio.Event) -> Said:
        """A lease that is renewed all the time."""
        said, call = Said(), renewing(*lease)
        while not leave.is_set():
            self.floods[0].send(call, "", said.note)
            await asyncio.sleep(1 / RENEWALS)
        await asyncio.sleep(1)
        return said

    async def give_up(self) -> None:
        """Who has waited too long goes away, all the time."""
        while True:
            for flood in self.floods:
                flood.give_up()
            await asyncio.sleep(0.01)


def shown(said: Said, seconds: float) -> str:
    """Rate and times of what was answered and of what was refused."""
    parts = []
    for code, name in ((OK, "answered"), (OVERLOADED, "refused")):
        took = said.seconds.get(code, [])
        if len(took) > 1:
            cuts = quantiles(took, n=100)
            parts.append(
                f"{name} {len(took) / seconds:,.0f}/s, p50 {1e3 * median(took):.0f} ms, p99 {1e3 * cuts[98]:.0f} ms"
            )
    others = said.count() - said.count(OK, OVERLOADED)
    return "; ".join(parts) + f"; late or lost {others / seconds:,.0f}/s"


async def overloaded(bench: Bench, callers: int, calm: float, lease: tuple[str, str]) -> None:
    """Each multiple of the peak between two looks at the peak itself, as often as there are rounds."""
    clients = bench.callers("atlas", bench.args.clients, polite=not bench.args.flood)
    parts: dict[float, list[float]] = defaultdict(list)
    peak = await peak_now(bench, callers)
    await calm_again(bench, clients, peak, calm, "half the peak")
    for _ in range(bench.args.rounds):
        for times in bench.args.times:
            good = await burdened(bench, clients, times, peak, lease)
            await calm_again(bench, clients, peak, calm, "afterwards half of it")
            before, peak = peak, await peak_now(bench, callers)
            parts[times].append(2 * good / (before + peak))
    for times, found in parts.items():
        each = ", ".join(f"{part:.2f}" for part in found)
        print(f"{times:g} x peak: goodput {median(found):.2f} of the peak before and after ({each})", flush=True)


async def peak_now(bench: Bench, callers: int) -> float:
    """Calls answered a second, one after the other from each of so many callers."""
    said = await bench.closed(callers)
    return said.count(OK) / float(bench.args.seconds)


async def burdened(bench: Bench, clients: list[Caller], times: float, peak: float, lease: tuple[str, str]) -> float:
    """So many times the peak, and a lease that is renewed meanwhile; calls answered a second."""
    seconds, load, leave = bench.args.seconds, bench.load("atlas", times * peak, clients), asyncio.Event()
    renewals = asyncio.create_task(bench.renewals(lease, leave))
    await load.run(seconds, bench.tag())
    leave.set()
    kept = await renewals
    print(f"{times:g} x {peak:,.0f}/s: {shown(load.said, seconds)}", flush=True)
    print(
        f"    sent {load.sent / seconds:,.0f}/s, kept back {load.unsent / seconds:,.0f}/s; "
        f"p50 {1e3 * median(load.whole):.0f} ms since they came; "
        f"renewals {kept.count(OK)}, refused {kept.count(OVERLOADED)}, late or lost {kept.count(LATE, LOST)}"
    )
    return load.said.count(OK) / float(seconds)


async def calm_again(bench: Bench, clients: list[Caller], peak: float, calm: float, what: str) -> None:
    """Half the peak, until nothing is refused and answers are as quick as when nobody waited."""
    begun = time.perf_counter()
    while (seconds := time.perf_counter() - begun) < BACK_SECONDS:
        after = bench.load("atlas", peak / 2, clients)
        await asyncio.wait_for(after.run(0.5, bench.tag()), 10)
        took = after.said.seconds.get(OK, [])
        if took and not after.unsent and after.said.count() == len(took) and median(took) <= 2 * calm:
            break
    print(f"    {what}: as without load after {seconds:.1f} s; {shown(after.said, 0.5)}", flush=True)


async def fairness(bench: Bench, peak: float) -> None:
    """One tenant alone, and beside one that sends ten times as much whatever it is told."""
    alone = bench.load("atlas", peak / 5, bench.callers("atlas", 20, polite=True))
    await alone.run(bench.args.seconds, bench.tag())
    beside, flooding = (
        bench.load("atlas", peak / 5, alone.callers),
        bench.load("borealis", 2 * peak, bench.callers("borealis", 20, polite=False)),
    )
    await asyncio.gather(beside.run(bench.args.seconds, bench.tag()), flooding.run(bench.args.seconds, bench.tag()))
    rate = beside.said.count(OK) / max(1, alone.said.count(OK))
    p99 = [quantiles(load.said.seconds.get(OK, [0.0, 0.0]), n=100)[98] for load in (beside, alone)]
    print(f"alone:  {shown(alone.said, bench.args.seconds)}")
    print(f"beside: {shown(beside.said, bench.args.seconds)}")
    print(f"floods: {shown(flooding.said, bench.args.seconds)}")
    print(f"beside one that floods: {rate:.2f} of the rate alone, p99 {p99[0] / p99[1]:.1f} times", flush=True)


async def measured(address: str, lease: tuple[str, str], args: argparse.Namespace) -> None:
    """All of it, over the same connections."""
    floods = await opened(address, CONNECTIONS)
    bench = Bench(floods, args)
    giving_up = asyncio.create_task(bench.give_up())
    await asyncio.sleep(0.2)
    await bench.closed(32)  # warms up
    widths: dict[int, Said] = {}
    for callers in CLOSED:
        widths[callers] = said = await bench.closed(callers)
        print(f"{callers} callers: {shown(said, args.seconds)}", flush=True)
    best = max(widths, key=lambda callers: widths[callers].count(OK))
    await overloaded(bench, best, median(widths[best].seconds[OK]), lease)
    await fairness(bench, widths[best].count(OK) / args.seconds)
    giving_up.cancel()
    for flood in floods:
        flood.close()


def main() -> int:
    """Print one line for each figure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--times", type=float, nargs="+", default=[2.0, 5.0])
    parser.add_argument("--clients", type=int, default=400)
    parser.add_argument("--flood", action="store_true")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory, broker(Path(directory), claims_max=CLAIMS_MAX) as (address, _):
        store = f"unix://{directory}/data/store.sock"
        with Client(address) as client:
            fleet = small_fleet()
            fleet.tenants.append(Tenant(id="borealis"))
            client.apply_fleet(fleet)
        asyncio.run(price_market(store))
        (lease,) = asyncio.run(leased(store, 1, 3_600_000))
        asyncio.run(measured(address, lease, args))
    return 0


if __name__ == "__main__":
    sys.exit(main())
