"""Processes that are killed under load, one after the other: what is lost, done twice or missed, and how long it takes.

    python -m bench.chaos [--count 50] [--workers 2] [--planners 2] [--victims server planner store]

Callers with the client's usual retries create and cancel claims on a broker with two servers and two planners, others
watch. Each victim is killed (SIGKILL) so many times. Afterwards every answer is compared with the log: an acknowledged
change that is not in it is lost, a claim there that nobody was told of was made twice (unless a call failed), and a
watch must have told each change once and in order. The exit status is 1 if anything was lost, doubled or missed, if a
promise was broken, or if a call failed. The service is back once a call that begins after the kill has an answer:
creating a claim without any retry or, for a planner, a plan.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import statistics
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
from capacitybroker import BrokerError, Client, Fleet, duration
from capacitybroker.v1.capacity_service_pb2 import CreateClaimRequest
from capacitybroker.v1.capacity_service_pb2_grpc import CapacityServiceStub
from capacitybroker.v1.claim_pb2 import TIER_SPOT, TIER_STANDARD, Claim
from capacitybroker.v1.fleet_pb2 import Tenant

from bench.cores import cores
from bench.log import event_log
from bench.served import small_fleet
from broker.cli.local_server import LocalServer, local_server
from broker.domain.snapshot import EventKind
from broker.ledger.fold import violations

__all__ = ["Load", "back", "current", "main", "under_load"]

PATIENCE_SECONDS = 90.0
PLAN_SECONDS = 0.3
KEPT_MAX = 250  # claims of each tenant that stay: how long a plan takes is not to depend on how long this runs
TENANTS = ("atlas", "borealis", "cosmos", "dione")


@dataclass(slots=True)
class Load:
    """What callers were told, what failed, and what a watch told."""

    created: dict[str, int] = field(default_factory=dict)
    cancelled: set[str] = field(default_factory=set)
    failed: list[str] = field(default_factory=list)
    seen: list[tuple[int, str]] = field(default_factory=list)
    over: threading.Event = field(default_factory=threading.Event)

    def call(self, address: str, tenant: str) -> None:
        """Create claims, cancel two of three at once and the others when there are many, until it is over."""
        kept: deque[str] = deque()
        with Client(address, tenant=tenant) as client:
            for n in range(10**9):
                if self.over.wait(0.01):
                    return
                try:
                    made = client.create_claim(a_claim(n))
                    self.created[made.name] = made.revision
                    if n % 3 == 0:
                        kept.append(made.name)
                    if n % 3 or len(kept) > KEPT_MAX:
                        gone = made.name if n % 3 else kept.popleft()
                        client.cancel_claim(gone)
                        self.cancelled.add(gone)
                except BrokerError as error:
                    if error.reason not in {"CLAIM_CLOSED", "CONTENDED"}:
                        self.failed.append(f"{type(error).__name__}: {error}")

    def watch(self, address: str, start: int, last: Callable[[], int]) -> None:
        """Every change from ``start`` on, until it is over and revision ``last()`` was told."""
        with Client(address) as client:
            for change in client.watch_claims(start_revision=start, progress=True):
                self.seen.extend((change.revision, claim.name) for claim in change.claims)
                if self.over.is_set() and change.revision >= last() > 0:
                    return

    def judge(self, directory: Path, start: int, end: int) -> dict[str, int]:
        """Counts of what must not be; the watch began at revision ``start`` and was to hear of ``end``."""
        events = event_log(directory)[0]
        made = {str(e.claims[0].name) for e in events if e.kind is EventKind.SUBMITTED} - {"-"}
        mine = {name for name in made if "/probe-" not in name}
        gone = {str(e.claims[0].name) for e in events if e.kind is EventKind.CANCELLED}
        told = [(e.revision, str(claim.name)) for e in events if e.revision >= start for claim in e.claims]
        upto = max(end, self.seen[-1][0] if self.seen else 0)
        return {
            "lost": len(self.created.keys() - made) + len(self.cancelled - gone),
            "doubled": max(0, len(mine - self.created.keys()) - len(self.failed)),
            "missed or told twice": int(self.seen != [one for one in told if one[0] <= upto]),
            "promises broken": len(violations(events)),
            "failed calls": len(self.failed),
        }


def a_claim(n: int) -> Claim:
    """Small, and now and then too large to be granted at once."""
    return Claim(
        workload_class="training",
        devices=64 if n % 10 == 0 else 4,
        gang=True,
        duration=duration(hours=1 + n % 3),
        tier=TIER_STANDARD if n % 2 else TIER_SPOT,
    )


@contextmanager
def under_load(directory: Path, server: LocalServer, address: str = "") -> Iterator[Load]:
    """Callers of each tenant and a watch, on a broker with the small fleet; they have all ended at the end."""
    load, end = Load(), [0]
    reached = address or server.address
    with Client(reached, timeout=PATIENCE_SECONDS) as operator:
        start = operator.apply_fleet(_scarce()).revision + 1
        operator.run_plan()
        threads = [threading.Thread(target=load.call, args=(reached, tenant)) for tenant in TENANTS]
        threads.append(threading.Thread(target=load.watch, args=(reached, start, lambda: end[0])))
        for thread in threads:
            thread.start()
        try:
            until(lambda: len(load.created) >= 20)
            yield load
        finally:
            load.over.set()
            for thread in threads[:-1]:
                thread.join()
            # A last change, so that the watch has something to end with.
            last = operator.create_claim(a_claim(1), tenant=TENANTS[0])
            load.created[last.name] = end[0] = last.revision
            threads[-1].join(PATIENCE_SECONDS)
    broken = load.judge(directory, start, end[0])
    if any(broken.values()):
        raise AssertionError(f"{broken}; {load.failed[:3]}")


def _scarce() -> Fleet:
    """Too little for all."""
    fleet = small_fleet()
    fleet.pools[0].deliveries[0].devices = 512
    del fleet.tenants[:]
    fleet.tenants.extend(Tenant(id=tenant) for tenant in TENANTS)
    return fleet


def until(condition: Callable[[], object]) -> None:
    """Polls until it is so."""
    end = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError("it did not happen in time")
        time.sleep(0.01)


def told(directory: Path) -> dict[str, Any]:
    """What the broker says of itself."""
    said: dict[str, Any] = json.loads((directory / "ready.json").read_text(encoding="utf-8"))
    return said


def current(directory: Path, name: str) -> int:
    """The process of that name now."""
    return int(told(directory)["pids"][name])


def back(directory: Path, server: LocalServer, victim: str) -> float:
    """Kill the victim; seconds until the service is back."""
    pid = current(directory, victim)
    os.kill(pid, signal.SIGKILL)
    begun = time.monotonic()
    if victim.startswith("planner"):
        planned(server)
    else:
        until(lambda: answers(server.address))
    seconds = time.monotonic() - begun
    until(lambda: current(directory, victim) != pid and (victim == "store" or victim in told(directory)["ready"]))
    return seconds


def planned(server: LocalServer) -> float:
    """Ask for a plan; seconds until it is in force."""
    begun = time.monotonic()
    with Client(server.address, timeout=PATIENCE_SECONDS) as operator:
        operator.run_plan(timeout=PATIENCE_SECONDS)
    return time.monotonic() - begun


def answers(address: str) -> bool:
    """Whether a new caller can create a claim at the first attempt."""
    name = f"probe-{time.monotonic_ns()}"
    request = CreateClaimRequest(parent="tenants/dione", claim=a_claim(1), claim_id=name, request_id=name)
    with grpc.insecure_channel(address, options=(("grpc.use_local_subchannel_pool", 1),)) as channel:
        try:
            CapacityServiceStub(channel).CreateClaim(request, timeout=2)
        except grpc.RpcError:
            return False
    return True


def run(directory: Path, victims: Sequence[str], count: int, workers: int, planners: int) -> dict[str, list[float]]:
    """Seconds until the service was back, for each kill of each victim; raises AssertionError if anything broke."""
    seconds: dict[str, list[float]] = {}
    numbers = {"server": ["server-1", "server-2"][:workers], "planner": ["planner", "planner-2"][:planners]}
    with (
        local_server(
            directory, workers=workers, planners=planners, plan_seconds=PLAN_SECONDS, horizon_slots=7 * 24
        ) as server,
        under_load(directory, server) as load,
    ):
        for n in range(count):
            for victim in victims:
                names = numbers.get(victim, [victim])
                if victim == "planner":
                    seconds.setdefault("(a plan", []).append(planned(server))
                seconds.setdefault(victim, []).append(back(directory, server, names[n % len(names)]))
                more = len(load.created) + 20
                until(lambda more=more: len(load.created) >= more)  # type: ignore[misc]
        seconds["claims"] = [float(len(load.created))]
    return seconds


def main() -> int:
    """Print what came of it; 1 if anything was lost, doubled, missed or broken."""
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("--count", type=int, default=50)
    ask.add_argument("--workers", type=int, default=2)
    ask.add_argument("--planners", type=int, default=2)
    ask.add_argument("--victims", nargs="+", choices=["server", "planner", "store"])
    args = ask.parse_args()
    victims = args.victims or ["server", "planner", "store"]
    print(f"{cores()} cores; {args.workers} servers, {args.planners} planners, one store", flush=True)
    with tempfile.TemporaryDirectory() as directory:
        try:
            seconds = run(Path(directory), victims, args.count, args.workers, args.planners)
        except AssertionError as broken:
            print(f"broken: {broken}")
            return 1
    claims = int(seconds.pop("claims")[0])
    usual = seconds.pop("(a plan", [0.0])
    print(f"a plan, nobody killed: after {statistics.median(usual):.2f} s, at most {max(usual):.2f} s")
    for victim, times in seconds.items():
        print(
            f"{victim:8} killed {len(times):3}: back after {statistics.median(times):.2f} s, at most {max(times):.2f} s"
        )
    print(
        f"{claims:,} claims acknowledged: none lost, none made twice; no failed call; the watch told each change once"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
