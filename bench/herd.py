"""The store is away for half a minute, and then everybody renews in the same second.

    python -m bench.herd [--holders 5000] [--away-seconds 30] [--ttl 60]

A real server process and its store. So many holders, each with a lease of its own, on a hundred connections; their
renewals are answered one after the other first (the peak). Then the store is killed and stays away; when it is back all
of them send their renewal at once, and repeat with full jitter what was refused or not answered, as the Python client
does. Printed: leases lost, how long until all were renewed, and the rate of that beside the peak.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import signal
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import grpc
from capacitybroker import Client
from capacitybroker.v1 import lease_service_pb2 as pb
from capacitybroker.v1.lease_service_pb2_grpc import LeaseServiceStub

from bench.away import OPTIONS
from bench.leases import Lease, leased
from bench.served import READY_SECONDS, free_port, small_fleet
from broker.app import open_market, run_server
from broker.ledger.redis.embedded import EmbeddedStore
from broker.processes import Children
from broker.settings import ServeSettings

CONNECTIONS, PEAK_CALLERS, PEAK_SECONDS, TIMEOUT = 100, 64, 6.0, 10.0
LOST = (grpc.StatusCode.FAILED_PRECONDITION, grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.NOT_FOUND)


@dataclass(slots=True)
class Herd:
    """Holders, and what became of their renewals."""

    stubs: list[LeaseServiceStub]
    leases: list[Lease]
    rng: random.Random
    lost: int = 0
    repeats: int = 0

    async def renew(self, number: int) -> None:
        """One holder's renewal, until it is answered or its lease is over."""
        name, token = self.leases[number]
        request = pb.RenewLeaseRequest(renewal=pb.LeaseRenewal(name=name, token=token))
        for failures in range(1, 1_000):
            try:
                await self.stubs[number % len(self.stubs)].RenewLease(request, timeout=TIMEOUT)  # type: ignore[misc]
            except grpc.aio.AioRpcError as error:
                if error.code() in LOST:
                    self.lost += 1
                    return
                self.repeats += 1
                await asyncio.sleep(self.rng.uniform(0, min(5.0, 0.1 * 2**failures)))
            else:
                return

    async def peak(self) -> float:
        """Renewals a second, from as many callers as answer the most."""
        done, end = 0, time.perf_counter() + PEAK_SECONDS

        async def one(number: int) -> None:
            nonlocal done
            while time.perf_counter() < end:
                await self.renew(number)
                done += 1

        await asyncio.gather(*(one(n) for n in range(PEAK_CALLERS)))
        return done / PEAK_SECONDS


async def measured(address: str, directory: Path, store: EmbeddedStore, args: argparse.Namespace) -> int:
    """The whole story; how many leases were lost."""
    leases = await leased(store.url, args.holders, int(1000 * args.ttl))
    own = ("grpc.use_local_subchannel_pool", 1)
    channels = [grpc.aio.insecure_channel(address, options=[*OPTIONS, own]) for _ in range(CONNECTIONS)]
    await asyncio.gather(*(channel.channel_ready() for channel in channels))
    herd = Herd([LeaseServiceStub(channel) for channel in channels], leases, random.Random(1))  # noqa: S311 - jitter
    peak = await herd.peak()
    print(f"peak: {peak:,.0f} renewals/s from {PEAK_CALLERS} callers", flush=True)
    await asyncio.gather(*(herd.renew(n) for n in range(len(leases))))
    with suppress(ProcessLookupError):
        os.kill(store.pid, signal.SIGKILL)
    await asyncio.sleep(args.away_seconds)
    back = EmbeddedStore.start(directory / "data")
    try:
        herd.repeats, begun = 0, time.perf_counter()
        await asyncio.gather(*(herd.renew(n) for n in range(len(leases))))
        span = time.perf_counter() - begun
    finally:
        back.stop()
    rate = (len(leases) - herd.lost) / span
    print(
        f"{len(leases):,} holders after {args.away_seconds:.0f} s without a store: {herd.lost} leases lost, "
        f"all renewed in {span:.1f} s ({span / args.ttl:.2f} of the ttl) with {herd.repeats:,} repeats; {rate:,.0f}/s, "
        f"{rate / peak:.2f} of the peak"
    )
    for channel in channels:
        await channel.close()
    return herd.lost


def main() -> int:
    """Exit status 1 if a lease was lost."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--holders", type=int, default=5_000)
    parser.add_argument("--away-seconds", type=float, default=30.0)
    parser.add_argument("--ttl", type=float, default=60.0)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, free_port() as port:
        directory = Path(name)
        settings = ServeSettings(listen=f"127.0.0.1:{port}", data_dir=directory / "data")
        store = EmbeddedStore.start(directory / "data")
        asyncio.run(open_market(settings, store.url, create=True))
        store.mark_used()
        children = Children()
        try:
            children.start("server", partial(run_server, settings, store.url))
            children.wait_ready(READY_SECONDS)
            with Client(settings.listen) as client:
                client.apply_fleet(small_fleet())
            return int(asyncio.run(measured(settings.listen, directory, store, args)) > 0)
        finally:
            children.stop()
            store.stop()


if __name__ == "__main__":
    sys.exit(main())
