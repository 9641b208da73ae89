"""What an answer costs: deciding a claim in process, and CreateClaim and GetClaim beside a bare reference.

    python -m bench.answers [--rounds 5] [--seconds 3] [--callers 32] [--workers 2]

First a claim is decided a few thousand times on a calendar of 5,000 live claims, 32 pools and 26 weeks of hours. Then a
real server process over a store that has every write on disk before it answers is called by 32 callers, each with a
connection of its own, in turn with ``--workers`` such processes behind one address (0: without), and with a reference
on the same store: a bare grpc.aio server of the same messages that makes one round trip to the store for each call, a
write for CreateClaim. Ratios are of the medians over the rounds.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from functools import partial
from itertools import count
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import grpc
import numpy as np
from capacitybroker import Client
from capacitybroker.v1.capacity_service_pb2 import CreateClaimRequest, GetClaimRequest
from capacitybroker.v1.capacity_service_pb2_grpc import CapacityServiceStub

from bench.isolated import peak_mib
from bench.reference import run_reference
from bench.served import READY_SECONDS, claim_message, free_port, small_fleet
from broker.admission.demand import Demand
from broker.admission.outlook import Outlook
from broker.admission.policy import Policy
from broker.app import open_market, run_server
from broker.desk import DeskTerms
from broker.domain.bid_prices import BidPrices
from broker.domain.claim import Ask, Claim, ClaimName, Placement, Planned, Tier, Waiting
from broker.domain.fleet import Delivery, Fleet, Pool, PoolKind, Silicon, Tenant, WorkloadClass
from broker.domain.plan import PlanRecord
from broker.domain.slots import SLOT_SECONDS, Window
from broker.domain.snapshot import Event, EventKind, Snapshot
from broker.ledger.redis import RedisLedger
from broker.ledger.redis.embedded import EmbeddedStore
from broker.processes import Children
from broker.settings import ServeSettings

CLAIMS, POOLS, SLOTS, TENANTS = 5_000, 32, 26 * 168, 20
DECISIONS = 3_000
REFERENCE, FIRST = "reference", "first"


def live_market(rng: random.Random) -> tuple[Snapshot, BidPrices]:
    """Claims placed wherever there was room, and prices where pools are more than 70 % full."""
    kinds = ("b200", "gb300", "mtia")
    pools = tuple(
        Pool(
            f"p{n}", PoolKind.INTERNAL, kinds[n % 3], 8, (Delivery(rng.choice((256, 512, 2048))),), unit_cost_microusd=1
        )
        for n in range(POOLS)
    )
    fleet = Fleet(
        silicon=tuple(Silicon(kind) for kind in kinds),
        workload_classes=(WorkloadClass("training", dict(zip(kinds, (100, 150, 60), strict=True))),),
        pools=pools,
        tenants=tuple(Tenant(f"t{n}", 20_000) for n in range(TENANTS)),
    )
    free = {pool.id: np.full(SLOTS, pool.supply().peak()) for pool in pools}
    claims: list[Claim] = []
    while len(claims) < CLAIMS:
        pool, devices = rng.choice(pools), gang(rng)
        slots = rng.randint(24, 672)
        first = rng.randint(0, SLOTS - slots)
        if (free[pool.id][first : first + slots] >= devices).all():
            free[pool.id][first : first + slots] -= devices
            place = Placement(pool.id, devices, Window(first, first + slots), first, silicon=pool.silicon)
            name = ClaimName(f"t{rng.randrange(TENANTS)}", f"c{len(claims)}")
            claims.append(Claim(name, ask(rng), Planned((place,)), 0, 0, 1))
    prices = {
        pool.id: tuple(int(4e6 * max(0.0, 0.3 - left / pool.supply().peak())) for left in free[pool.id].tolist())
        for pool in pools
    }
    return Snapshot("bench", 1, fleet, tuple(claims)), BidPrices(0, prices)


def gang(rng: random.Random) -> int:
    """Devices: most few, some many."""
    return int(min(256, 8 * rng.paretovariate(1.1)))


def ask(rng: random.Random, *, is_gang: bool = True) -> Ask:
    """Something that somebody may want."""
    return Ask(
        workload_class="training",
        devices=gang(rng),
        slots=rng.randint(2, 200),
        earliest=rng.randint(0, 1_000),
        tier=rng.choice(list(Tier)),
        value_microusd=0,
        gang=is_gang,
        deadline=rng.choice((None, None, 3_000)),
    )


def known_demand(fleet: Fleet, rng: random.Random) -> Demand:
    """What a few days of such claims teach."""
    demand = Demand(fleet)
    for slot in range(72):
        claims = tuple(Claim(ClaimName("t0", f"{slot}-{n}"), ask(rng), Waiting(()), 0, 0) for n in range(2))
        demand.apply(Event(slot, EventKind.SUBMITTED, slot * SLOT_SECONDS, claims))
    return demand


def decide(rng: random.Random) -> None:
    """Print how long a decision takes, and what the market takes of memory."""
    snapshot, prices = live_market(rng)
    before = peak_mib()
    calendar = Outlook(snapshot, prices).calendar(0)
    size = sum(part.nbytes for part in calendar.board) / 2**20
    policy = Policy()
    calendar.expect(known_demand(snapshot.fleet, rng), 0)
    for what, is_gang in (("gangs", True), ("in up to four parts", False)):
        seconds = []
        for _ in range(DECISIONS):
            asked, tenant = ask(rng, is_gang=is_gang), f"t{rng.randrange(TENANTS)}"
            begun = time.perf_counter()
            policy.grants(asked, tenant, calendar)
            seconds.append(time.perf_counter() - begun)
        cuts = quantiles(seconds[100:], n=100)
        print(f"decide, {what:20} p50 {1e3 * cuts[49]:.2f} ms, p99 {1e3 * cuts[98]:.2f} ms", flush=True)
    print(
        f"calendar of {POOLS} pools x {SLOTS} hours: {size:.0f} MiB; process at most {peak_mib()} MiB ({before} before)"
    )


class Round:
    """Rates and times of one kind of call, by server."""

    def __init__(self) -> None:
        self.rate: dict[str, list[float]] = defaultdict(list)
        self.worst: dict[str, list[float]] = defaultdict(list)

    def add(self, server: str, seconds: list[float], span: float) -> None:
        """One stretch of calls."""
        self.rate[server].append(len(seconds) / span)
        self.worst[server].append(quantiles(seconds, n=100)[98])

    def show(self, what: str) -> None:
        """Medians, and their ratios to the reference."""
        rate = {server: median(found) for server, found in self.rate.items()}
        worst = {server: median(found) for server, found in self.worst.items()}
        for server, calls in rate.items():
            print(f"{what:12} {server:10} {calls:6,.0f}/s, p99 {1e3 * worst[server]:5.1f} ms", end="")
            if server != REFERENCE:
                ratios = calls / rate[REFERENCE], worst[server] / worst[REFERENCE]
                print("; of the reference {:.2f} of the rate, {:.2f} of the p99".format(*ratios), end="")
            print(flush=True)


async def stretch(address: str, call: Callable[[Any], Awaitable[Any]], *, callers: int, seconds: float) -> list[float]:
    """Callers, connected already, that each send one call after the other; how long each took."""
    took: list[float] = []

    async def one(stub: Any, end: float) -> None:
        while (begun := time.perf_counter()) < end:
            await call(stub)
            took.append(time.perf_counter() - begun)

    own = [("grpc.use_local_subchannel_pool", 1)]
    channels = [grpc.aio.insecure_channel(address, options=own) for _ in range(callers)]
    try:
        await asyncio.gather(*(channel.channel_ready() for channel in channels))
        end = time.perf_counter() + seconds
        await asyncio.gather(*(one(CapacityServiceStub(channel), end) for channel in channels))
    finally:
        for channel in channels:
            await channel.close()
    return took


async def price_market(store_url: str, market: str = "main") -> None:
    """Put an empty plan with prices into force, so that the server answers at once."""
    ledger = await RedisLedger.open(store_url, market=market, new_id=lambda: "x", now=lambda: 0, create=False)
    fence = await ledger.lead("bench", ttl_millis=1_000)
    assert fence is not None
    record = PlanRecord(0, Window(0, 1), True, 0, 0, 0, 0, 0, 0, 0)
    await ledger.commit([], record, fence=fence, at=int(time.time()), prices=BidPrices(0))
    await ledger.close()


async def measure(addresses: dict[str, str], name: str, args: argparse.Namespace) -> None:
    """All in turn, so that a slow minute of the machine is slow for each."""
    ids = count()

    async def create(stub: Any) -> None:
        request = CreateClaimRequest(parent="tenants/atlas", claim=claim_message(), request_id=f"answers-{next(ids)}")
        await stub.CreateClaim(request)

    async def get(stub: Any) -> None:
        await stub.GetClaim(GetClaimRequest(name=name))

    for what, call in (("CreateClaim", create), ("GetClaim", get)):
        seen = Round()
        for turn in range(args.rounds + 1):
            for server, address in addresses.items():
                took = await stretch(address, call, callers=args.callers, seconds=args.seconds)
                if turn:  # the first round warms up
                    seen.add(server, took, args.seconds)
        seen.show(what)


def main() -> int:
    """Print one line for each figure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--callers", type=int, default=32)
    parser.add_argument("--workers", type=int, default=2)
    args = parser.parse_args()
    decide(random.Random(1))  # noqa: S311 - claims, not secrets
    with tempfile.TemporaryDirectory() as directory, ExitStack() as running:
        store = running.enter_context(EmbeddedStore.start(Path(directory) / "data"))
        ports = [running.enter_context(free_port()) for _ in range(3)]
        one, several, reference = (f"127.0.0.1:{port}" for port in ports)
        children = Children()
        running.callback(children.stop)
        brokers = {"broker": ("main", one, 1)}
        if args.workers:
            brokers[f"{args.workers} workers"] = ("several", several, args.workers)
        for name, (market, address, workers) in brokers.items():
            settings = ServeSettings(
                listen=address,
                data_dir=Path(directory) / "data",
                market=market,
                desk=DeskTerms(claims_max=1_000_000),
            )
            asyncio.run(open_market(settings, store.url, create=True))
            for number in range(workers):
                children.start(f"{name}-{number}", partial(run_server, settings, store.url))
        children.start(REFERENCE, partial(run_reference, reference, store.url))
        children.wait_ready(READY_SECONDS)
        for market, address, _ in brokers.values():
            with Client(address, tenant="atlas") as client:
                client.apply_fleet(small_fleet())
                asyncio.run(price_market(store.url, market))
                client.create_claim(claim_message(), claim_id=FIRST)
        addresses = {name: address for name, (_, address, _) in brokers.items()} | {REFERENCE: reference}
        asyncio.run(measure(addresses, f"tenants/atlas/claims/{FIRST}", args))
    return 0


if __name__ == "__main__":
    sys.exit(main())
