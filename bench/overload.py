"""Twice and five times the calls that a server can answer, a tenant that floods, and clients that all come at once.

    python -m bench.overload [--seconds 6] [--times 2 5] [--clients 400] [--flood]

A real server process over a store that has every write on disk before it answers. First its peak: CreateClaim, one call
after the other from so many callers as answer the most. Then open load: ``--clients`` clients whose new claims come at
random moments, together half the peak and then so many times the peak. Each does as the Python client does: it has no
more under way than its concurrency limit, stays away as long as it was asked to, and repeats at most a tenth. Beside
them a holder renews leases all the time. Last the load is half the peak again: how long until nothing is refused and
answers are as quick as before. With ``--flood`` the clients do as they please instead and send whatever comes. Printed
too: what is left to a tenant that asks for a fifth of the peak while another sends ten times as much.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import tempfile
import time
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median, quantiles

from capacitybroker import Client
from capacitybroker._concurrency import ConcurrencyLimit
from capacitybroker.v1.capacity_service_pb2 import CreateClaimRequest
from capacitybroker.v1.fleet_pb2 import Tenant
from capacitybroker.v1.lease_service_pb2 import LeaseRenewal, RenewLeaseRequest

from bench.answers import price_market
from bench.flood import LATE, LOST, OK, Call, Flood, Said, opened, prepared
from bench.leases import leased
from bench.served import broker, claim_message, small_fleet

CONNECTIONS = 32
DEADLINE = 1.0
OVERLOADED = 8  # RESOURCE_EXHAUSTED
TICK = 0.002
RENEWALS = 50  # a second
BACK_SECONDS, CALM_SECONDS = 10, 3
CLOSED = (32, 64, 128)  # callers
CLAIMS_MAX = 10_000_000  # of a tenant: nobody is to be refused for any other reason


def creating(tenant: str) -> Call:
    """A new claim, but for its request id."""
    request = CreateClaimRequest(parent=f"tenants/{tenant}", claim=claim_message())
    number = CreateClaimRequest.DESCRIPTOR.fields_by_name["request_id"].number
    method = "/capacitybroker.v1.CapacityService/CreateClaim"
    return prepared(method, request.SerializeToString(), id_field=number, seconds=DEADLINE)


def renewing(name: str, token: str) -> Call:
    """A renewal."""
    body = RenewLeaseRequest(renewal=LeaseRenewal(name=name, token=token)).SerializeToString()
    return prepared("/capacitybroker.v1.LeaseService/RenewLease", body, seconds=5.0)


@dataclass(slots=True)
class Caller:
    """One client: the claims that wait in it, when it may send again, how many at once, and what it owes."""

    flood: Flood
    polite: bool
    limit: ConcurrencyLimit = field(default_factory=ConcurrencyLimit)
    waiting: deque[float] = field(default_factory=deque)  # when each came
    quiet_until: float = 0.0
    tenths: int = 100
    woken: bool = False  # whether it will look again once it need not be quiet

    def may_send(self) -> bool:
        """Whether a call may begin now; it is under way then."""
        return self.limit.enter(0.0) or not self.polite


@dataclass(slots=True)
class Load:
    """Calls of one kind at a rate, from many clients, while it runs."""

    call: Call
    callers: list[Caller]
    rate: float
    rng: random.Random
    said: Said = field(default_factory=Said)
    unsent: int = 0  # new claims that a client kept to itself for longer than it would wait
    sent: int = 0

    async def run(self, seconds: float, tag: str) -> None:
        """Claims come at random moments, and wait in their client for as long as they may."""
        begun = due = time.perf_counter()
        while (now := time.perf_counter()) < begun + seconds:
            while due <= now:
                due += self.rng.expovariate(self.rate)
                caller = self.rng.choice(self.callers)
                caller.waiting.append(now)
                self._go_on(caller, tag)
            await asyncio.sleep(TICK)
        await asyncio.sleep(DEADLINE + 0.2)
        for caller in self.callers:
            self.unsent += len(caller.waiting)
            caller.waiting.clear()

    def _go_on(self, caller: Caller, tag: str) -> None:
        """Send what may be sent now."""
        now = time.perf_counter()
        while caller.waiting and caller.waiting[0] < now - DEADLINE:
            caller.waiting.popleft()
            self.unsent += 1
        if caller.quiet_until > now:
            if not caller.woken:
                caller.woken = True
                pause = caller.quiet_until - now + self.rng.uniform(0, 0.1)
                asyncio.get_running_loop().call_later(pause, self._wake, caller, tag)
            return
        while caller.waiting and caller.may_send():
            caller.waiting.popleft()
            self._send(caller, tag)

    def _wake(self, caller: Caller, tag: str) -> None:
        caller.woken = False
        self._go_on(caller, tag)

    def _send(self, caller: Caller, tag: str, request_id: str = "", again: int = 0) -> None:
        self.sent += 1
        request_id, began = request_id or f"{tag}-{self.sent}", time.perf_counter()

        def told(code: int, seconds: float) -> None:
            self.said.note(code, seconds)
            if code == OK:
                caller.tenths = min(100, caller.tenths + 1)
                caller.limit.answered("CreateClaim", began, began + seconds)
            elif caller.polite:
                caller.limit.refused(began, began + seconds)
                if code == OVERLOADED:
                    self._stay_away(caller, request_id, tag, again)
            if caller.polite:
                caller.limit.leave()
            self._go_on(caller, tag)

        if not caller.flood.send(self.call, request_id, told):
            told(LOST, 0.0)

    def _stay_away(self, caller: Caller, request_id: str, tag: str, again: int) -> None:
        pause = caller.flood.pushback
        caller.quiet_until = time.perf_counter() + pause
        pause += self.rng.uniform(0, min(5.0, 0.1 * 2**again))
        if caller.tenths >= 10 and pause < DEADLINE:
            caller.tenths -= 10
            asyncio.get_running_loop().call_later(pause, self._repeat, caller, tag, request_id, again + 1)

    def _repeat(self, caller: Caller, tag: str, request_id: str, again: int) -> None:
        if caller.may_send():  # else somebody else of its client has the place, and it would wait too long
            self._send(caller, tag, request_id, again)


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
        return Load(creating(tenant), callers, rate, self.rng)

    async def closed(self, callers: int) -> Said:
        """One call after the other from each."""
        said, call, tag, sent = Said(), creating("atlas"), self.tag(), 0
        end = time.perf_counter() + self.args.seconds

        def go(flood: Flood) -> None:
            nonlocal sent
            sent += 1

            def told(code: int, seconds: float) -> None:
                said.note(code, seconds)
                if time.perf_counter() < end:
                    go(flood)

            flood.send(call, f"{tag}-{sent}", told)

        for n in range(callers):
            go(self.floods[n % len(self.floods)])
        await asyncio.sleep(self.args.seconds + DEADLINE + 0.2)
        return said

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


async def overloaded(bench: Bench, peak: float, calm: float, lease: tuple[str, str]) -> None:
    """Each multiple of the peak, and half of it afterwards."""
    args = bench.args
    clients = bench.callers("atlas", args.clients, polite=not args.flood)
    before = bench.load("atlas", peak / 2, clients)
    await before.run(CALM_SECONDS, bench.tag())
    print(f"half the peak: {shown(before.said, CALM_SECONDS)}", flush=True)
    for times in args.times:
        load = bench.load("atlas", times * peak, clients)
        leave = asyncio.Event()
        renewals = asyncio.create_task(bench.renewals(lease, leave))
        await load.run(args.seconds, bench.tag())
        leave.set()
        kept = await renewals
        good = load.said.count(OK) / args.seconds
        print(f"{times} x peak: {good / peak:.2f} of the peak; {shown(load.said, args.seconds)}", flush=True)
        print(
            f"         sent {load.sent / args.seconds:,.0f}/s, kept back {load.unsent / args.seconds:,.0f}/s; "
            f"renewals {kept.count(OK)}, refused {kept.count(OVERLOADED)}, late or lost {kept.count(LATE, LOST)}"
        )
        begun = time.perf_counter()
        while (seconds := time.perf_counter() - begun) < BACK_SECONDS:
            after = bench.load("atlas", peak / 2, clients)
            await asyncio.wait_for(after.run(0.5, bench.tag()), 10)
            took = after.said.seconds.get(OK, [])
            if took and after.said.count() == len(took) and median(took) <= 2 * calm:
                break
        print(f"         as before after {seconds:.1f} s, at half the peak", flush=True)


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
    peak, calm = 0.0, 0.0
    for callers in CLOSED:
        said = await bench.closed(callers)
        rate = said.count(OK) / args.seconds
        print(f"{callers} callers: {shown(said, args.seconds)}", flush=True)
        if rate > peak:
            peak, calm = rate, median(said.seconds[OK])
    await overloaded(bench, peak, calm, lease)
    await fairness(bench, peak)
    giving_up.cancel()
    for flood in floods:
        flood.close()


def main() -> int:
    """Print one line for each figure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=6.0)
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
