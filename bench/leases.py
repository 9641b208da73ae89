"""What keeping leases costs: RenewLease and GetLease beside a bare reference, a hundred in a call, and very many alive.

    python -m bench.leases [--rounds 5] [--seconds 3] [--callers 32] [--live 0] [--ttl 60] [--keep-seconds 60]

A real server process over a store that has every write on disk before it answers is called by 32 callers, each with a
connection of its own, in turn with a reference on the same store: a bare grpc.aio server of the same messages that
makes one round trip to the store for each call, a write for RenewLease. Ratios are of the medians over the rounds. With
``--live N`` so many leases are then kept alive on streams of a hundred at a time: how many renewals a second that
takes, which share of a processor server and store use, and how many leases were lost.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import ExitStack
from functools import partial
from itertools import cycle
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import grpc
from capacitybroker import Client
from capacitybroker.v1 import lease_service_pb2 as pb
from capacitybroker.v1.lease_service_pb2_grpc import LeaseServiceStub

from bench.answers import REFERENCE, Round, price_market
from bench.reference import run_reference
from bench.served import READY_SECONDS, free_port, small_fleet
from broker.app import open_market, run_server
from broker.domain.claim import Active, Ask, Claim, ClaimName, Committed, Placement, Tier, Waiting
from broker.domain.slots import Window, slot_of
from broker.leasing import LeaseTerms
from broker.ledger.port import RequestKey
from broker.ledger.redis import RedisLedger
from broker.ledger.redis.embedded import EmbeddedStore
from broker.processes import Children
from broker.settings import ServeSettings
from broker.tokens import token

CLAIMS, MANY = 3_200, 100
AT_ONCE = 256
Lease = tuple[str, str]  # name and token


async def leased(store_url: str, number: int, ttl_millis: int) -> list[Lease]:
    """So many claims of one device, each with a lease, put straight into the ledger."""
    at = int(time.time())
    ledger = await RedisLedger.open(store_url, market="main", new_id=lambda: "x", now=lambda: at, create=False)
    gate = asyncio.Semaphore(AT_ONCE)
    window = Window(slot_of(at), slot_of(at) + 48)
    place = Placement("dc-1", 1, window, window.first, silicon="b200")

    async def one(n: int) -> Lease:
        name = ClaimName("atlas", f"leased-{n}")
        ask = Ask("training", 1, 48, window.first, Tier.STANDARD, 1)
        claim = Claim(name, ask, Waiting(()), at, at)
        async with gate:
            key = RequestKey("atlas", "CreateClaim", f"create-{n}", "x")
            placed = claim.becomes(Committed((place,)), at=at)
            stored = (await ledger.submit(claim, key=key, at=at, candidates=[placed], must_fit=True)).claim
            active, key = stored.becomes(Active((place,)), at=at), RequestKey("atlas", "Acquire", f"acquire-{n}", "x")
            done = await ledger.acquire(active, key=key, at=at, ttl_millis=ttl_millis, margin_millis=0)
        return f"{name}/lease", token(ledger.token_key, name, done.claim.revision)

    leases = list(await asyncio.gather(*(one(n) for n in range(number))))
    await ledger.close()
    return leases


async def stretch(
    address: str, calls: Sequence[Callable[[Any], Awaitable[Any]]], *, seconds: float
) -> tuple[list[float], float]:
    """Callers, connected already, each with a kind of call of its own; how long each call took, and in all."""
    took: list[float] = []

    async def one(stub: Any, call: Callable[[Any], Awaitable[Any]], end: float) -> None:
        while (begun := time.perf_counter()) < end:
            await call(stub)
            took.append(time.perf_counter() - begun)

    own = [("grpc.use_local_subchannel_pool", 1)]
    channels = [grpc.aio.insecure_channel(address, options=own) for _ in calls]
    try:
        await asyncio.gather(*(channel.channel_ready() for channel in channels))
        begun = time.perf_counter()
        stubs = [LeaseServiceStub(channel) for channel in channels]
        await asyncio.gather(*(one(s, c, begun + seconds) for s, c in zip(stubs, calls, strict=True)))
        return took, time.perf_counter() - begun
    finally:
        for channel in channels:
            await channel.close()


def renewing(leases: Sequence[Lease]) -> Callable[[Any], Awaitable[Any]]:
    """Renews these leases in turn, one by one."""
    requests = cycle([pb.RenewLeaseRequest(renewal=pb.LeaseRenewal(name=n, token=t)) for n, t in leases])
    return lambda stub: stub.RenewLease(next(requests))


def renewing_many(leases: Sequence[Lease]) -> Callable[[Any], Awaitable[Any]]:
    """Renews all of these leases in one call."""
    request = pb.RenewLeasesRequest(renewals=[pb.LeaseRenewal(name=n, token=t) for n, t in leases])
    return lambda stub: stub.RenewLeases(request)


def getting(leases: Sequence[Lease]) -> Callable[[Any], Awaitable[Any]]:
    """Reads these leases in turn."""
    requests = cycle([pb.GetLeaseRequest(name=n) for n, _ in leases])
    return lambda stub: stub.GetLease(next(requests))


async def measure(addresses: dict[str, str], leases: list[Lease], args: argparse.Namespace) -> None:
    """All in turn, so that a slow minute of the machine is slow for each."""
    shares = [leases[n :: args.callers] for n in range(args.callers)]
    rates = {}
    for what, kind, size in (
        ("RenewLease", renewing, 1),
        ("GetLease", getting, 1),
        (f"{MANY} renewed", renewing_many, MANY),
    ):
        seen, halves = Round(), Round()
        for turn in range(args.rounds + 1):
            for server, address in addresses.items():
                if server == REFERENCE and size > 1:
                    continue
                calls = [kind(share[:size] if size > 1 else share) for share in shares]
                took, span = await stretch(address, calls, seconds=args.seconds)
                if turn:  # the first round warms up
                    seen.add(server, took, span)
                    halves.worst[server].append(median(took))
        rates[what] = median(seen.rate["broker"]) * size
        if size > 1:
            print(f"{what:12} broker     {rates[what]:6,.0f} leases/s, {rates[what] / rates['RenewLease']:.0f} times")
            continue
        seen.show(what)
        p50 = {server: median(found) for server, found in halves.worst.items()}
        print(f"{what:12} p50 of the reference {p50['broker'] / p50[REFERENCE]:.2f}", flush=True)


async def keep(address: str, leases: list[Lease], pids: dict[str, int], args: argparse.Namespace) -> None:
    """All leases alive for a while, each renewed three times in a ttl."""
    batches = [leases[n : n + MANY] for n in range(0, len(leases), MANY)]
    pause, end = args.ttl / 3, time.perf_counter() + args.keep_seconds
    renewed = lost = 0
    waits: list[float] = []

    async def holder(stub: Any, batch: list[Lease], share: float) -> None:
        nonlocal renewed, lost
        request = pb.KeepLeasesRequest(renewals=[pb.LeaseRenewal(name=n, token=t) for n, t in batch])
        sent: list[float] = []

        async def requests() -> AsyncIterator[pb.KeepLeasesRequest]:
            due = time.perf_counter() + pause * share
            while due < end:
                await asyncio.sleep(max(0.0, due - time.perf_counter()))
                sent.append(time.perf_counter())
                yield request
                due += pause

        async for answer in stub.KeepLeases(requests()):
            waits.append(time.perf_counter() - sent.pop(0))
            good = sum(one.outcome == pb.LeaseOutcome.OUTCOME_RENEWED for one in answer.outcomes)
            renewed, lost = renewed + good, lost + len(batch) - good

    used = {name: _cpu_seconds(pid) for name, pid in pids.items()}
    begun = time.perf_counter()
    channels = [grpc.aio.insecure_channel(address, options=[("grpc.use_local_subchannel_pool", n)]) for n in (0, 1)]
    stubs = cycle([LeaseServiceStub(channel) for channel in channels])
    await asyncio.gather(*(holder(next(stubs), b, n / len(batches)) for n, b in enumerate(batches)))
    span = time.perf_counter() - begun
    shares = {name: (_cpu_seconds(pid) - used[name]) / span for name, pid in pids.items()}
    print(
        f"{len(leases):,} leases of {args.ttl:.0f} s: {renewed / span:,.0f} renewals/s, {lost} lost, "
        f"p99 {1e3 * quantiles(waits, n=100)[98]:.0f} ms a hundred; "
        + ", ".join(f"{name} {100 * share:.0f} % of a core" for name, share in shares.items())
    )
    for channel in channels:
        await channel.close()


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def main() -> int:
    """Print one line for each figure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--callers", type=int, default=32)
    parser.add_argument("--live", type=int, default=0)
    parser.add_argument("--ttl", type=float, default=60.0)
    parser.add_argument("--keep-seconds", type=float, default=60.0)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory, ExitStack() as running:
        store = running.enter_context(EmbeddedStore.start(Path(directory) / "data"))
        address, reference = (f"127.0.0.1:{running.enter_context(free_port())}" for _ in range(2))
        data = Path(directory) / "data"
        settings = ServeSettings(listen=address, data_dir=data, leases=LeaseTerms(ttl_most=24 * 3_600_000))
        asyncio.run(open_market(settings, store.url, create=True))
        children = Children()
        running.callback(children.stop)
        children.start("broker", partial(run_server, settings, store.url))
        children.start(REFERENCE, partial(run_reference, reference, store.url))
        children.wait_ready(READY_SECONDS)
        with Client(address) as client:
            fleet = small_fleet()
            fleet.pools[0].deliveries[0].devices = max(65_536, 2 * args.live)
            client.apply_fleet(fleet)
        asyncio.run(price_market(store.url))
        leases = asyncio.run(leased(store.url, max(CLAIMS, args.live), 6 * 3_600_000))
        if args.rounds:
            asyncio.run(measure({"broker": address, REFERENCE: reference}, leases[:CLAIMS], args))
        if args.live:
            pids = {"server": children.pids["broker"], "store": store.pid}
            asyncio.run(keep(address, leases[: args.live], pids, args))
    return 0


if __name__ == "__main__":
    sys.exit(main())
