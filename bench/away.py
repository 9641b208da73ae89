"""Everybody holds a lease, and the broker and its store go away: what becomes of the leases.

    python -m bench.away [--holders 5000] [--away-seconds 600] [--ttl 60]

A whole broker (store, server, planner) on this machine. Holders have a lease on every device there is, renew as they
are told to, and count from when they sent what was answered. Then the broker is killed, store and all, stays away, and
starts again on its data. Holders go on asking, with backoff and jitter, and stop using what their last answer no longer
covers. All the time somebody else asks for the same devices. Printed: leases that ended early, devices given to two,
and how long after the broker's return it had renewed all.
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
from dataclasses import dataclass, field
from pathlib import Path
from statistics import quantiles

import grpc
from capacitybroker import TIER_GUARANTEED, Claim, Client, duration
from capacitybroker.v1 import capacity_service_pb2 as capacity
from capacitybroker.v1 import lease_service_pb2 as pb
from capacitybroker.v1.capacity_service_pb2_grpc import CapacityServiceStub
from capacitybroker.v1.lease_service_pb2_grpc import LeaseServiceStub

from bench.leases import leased
from bench.log import event_log
from bench.served import small_fleet
from broker.cli.local_server import local_server
from broker.domain.claim import Ended
from broker.ledger.fold import fold, violations

CHANNELS, PAUSE_MAX = 20, 10.0
# A broker that restarts is back in seconds; gRPC would wait minutes. As in the client.
OPTIONS = [
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 5_000),
    ("grpc.max_reconnect_backoff_ms", 2_000),
]


@dataclass(slots=True)
class Holder:
    """One lease, and when (monotonic seconds) its holder last had an answer."""

    name: str
    token: str
    renew_after: float
    ended: bool = False
    stopped: int = 0  # times that it had to stop using its devices
    until: float = 0.0
    renewed_at: list[float] = field(default_factory=list)


def asked() -> Claim:
    """A device for two days, while all of them are held."""
    claim = Claim(workload_class="training", devices=1, duration=duration(hours=48), tier=TIER_GUARANTEED)
    claim.latest_start_time.FromSeconds(int(time.time()) + 24 * 3600)
    return claim


async def take(directory: Path, holders: int, ttl: float) -> list[Holder]:
    """A lease on each device there is, for claims that run already."""
    began = time.monotonic()
    leases = await leased(f"unix://{directory / 'data' / 'store.sock'}", holders, int(1000 * ttl))
    return [Holder(name, token, ttl / 3, until=began + ttl - 1) for name, token in leases]


async def keep(stub: LeaseServiceStub, holder: Holder, margin: float, leave: asyncio.Event, rng: random.Random) -> None:
    """Renew until told to leave or the lease has ended."""
    pause, failures = holder.renew_after * rng.random(), 0
    request = pb.RenewLeaseRequest(renewal=pb.LeaseRenewal(name=holder.name, token=holder.token))
    while not leave.is_set():
        with suppress(TimeoutError):
            await asyncio.wait_for(leave.wait(), pause)
            return
        sent = time.monotonic()
        holder.stopped += sent > holder.until
        try:
            got = (await stub.RenewLease(request, timeout=5)).lease  # type: ignore[misc]
        except grpc.aio.AioRpcError as error:
            if error.code() in (grpc.StatusCode.FAILED_PRECONDITION, grpc.StatusCode.PERMISSION_DENIED):
                holder.ended = True
                return
            failures += 1
            pause = rng.uniform(0, min(PAUSE_MAX, 0.5 * 2**failures))
            continue
        failures, pause = 0, got.renew_after.ToMilliseconds() / 1000
        holder.until = sent + got.time_left.ToMilliseconds() / 1000 - margin
        holder.renewed_at.append(time.monotonic())


async def envy(address: str, leave: asyncio.Event) -> tuple[int, int]:
    """Somebody who wants the same devices, all the time: how often they got some, and how often no answer."""
    got = refused = 0
    async with grpc.aio.insecure_channel(address, options=OPTIONS) as channel:
        stub = CapacityServiceStub(channel)
        for n in range(10**6):
            if leave.is_set():
                break
            request = capacity.CreateClaimRequest(parent="tenants/atlas", claim=asked(), request_id=f"envy-{n}")
            try:
                got += bool((await stub.CreateClaim(request, timeout=5)).claim.placements)
            except grpc.aio.AioRpcError:
                refused += 1
            with suppress(TimeoutError):
                await asyncio.wait_for(leave.wait(), 1.0)
    return got, refused


async def held(
    directory: Path, address: str, restart: asyncio.Event, returned: asyncio.Event, args: argparse.Namespace
) -> list[Holder]:
    """Leases before, while and after the broker is away."""
    holders = await take(directory, args.holders, args.ttl)
    print(f"{len(holders):,} leases of {args.ttl:.0f} s are held", flush=True)
    leave, rng = asyncio.Event(), random.Random(1)  # noqa: S311 - jitter
    channels = [grpc.aio.insecure_channel(address, options=OPTIONS) for _ in range(CHANNELS)]
    stubs = [LeaseServiceStub(channel) for channel in channels]
    keeping = [asyncio.create_task(keep(stubs[n % CHANNELS], h, 1.0, leave, rng)) for n, h in enumerate(holders)]
    envious = asyncio.create_task(envy(address, leave))
    await asyncio.sleep(args.ttl / 2)
    restart.set()
    await returned.wait()
    back = time.monotonic()
    await asyncio.sleep(args.ttl)
    leave.set()
    await asyncio.gather(*keeping)
    got, refused = await envious
    for channel in channels:
        await channel.close()
    again = [min((at for at in h.renewed_at if at > back), default=back + 1e9) - back for h in holders]
    cuts = quantiles(again, n=100)
    print(
        f"renewed after the broker's return: half {cuts[49]:.1f} s, 99 of 100 {cuts[98]:.1f} s, all {max(again):.1f} s"
    )
    print(f"ended early: {sum(h.ended for h in holders)}; stopped for a while: {sum(h.stopped > 0 for h in holders)}")
    print(f"others asked for the same devices and got {got}; {refused} of their calls found no broker")
    return holders


async def run(directory: Path, args: argparse.Namespace) -> int:
    """The whole story."""
    restart, returned = asyncio.Event(), asyncio.Event()
    with local_server(directory, horizon_slots=7 * 24) as server:
        address = server.address
        with Client(address) as operator:
            fleet = small_fleet()
            fleet.pools[0].deliveries[0].devices = args.holders
            operator.apply_fleet(fleet)
        holding = asyncio.create_task(held(directory, address, restart, returned, args))
        await asyncio.wait({holding, asyncio.create_task(restart.wait())}, return_when=asyncio.FIRST_COMPLETED)
        if holding.done():
            holding.result()
        for pid in {_parent(pid) for pid in server.pids.values()} | set(server.pids.values()):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    print(f"killed broker and store; away for {args.away_seconds:.0f} s", flush=True)
    await asyncio.sleep(args.away_seconds)
    with local_server(directory, listen=address, horizon_slots=7 * 24):
        returned.set()
        holders = await holding
        events = (await asyncio.to_thread(event_log, directory))[0]
    broken = violations(events)
    early = sum(isinstance(c.state, Ended) for c in fold(events).claims.values())
    print(f"claims ended: {early}; promises and rules broken in {len(events):,} revisions: {len(broken)}")
    return int(bool(broken) or early > 0 or any(holder.ended for holder in holders))


def _parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def main() -> int:
    """Exit status 1 if a lease ended early or a rule was broken."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--holders", type=int, default=5_000)
    parser.add_argument("--away-seconds", type=float, default=600.0)
    parser.add_argument("--ttl", type=float, default=60.0)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        return asyncio.run(run(Path(directory), args))


if __name__ == "__main__":
    sys.exit(main())
