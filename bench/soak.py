"""A whole broker in steady use: what it holds of memory, files and tasks must not grow, and no rule may break.

    python -m bench.soak [--minutes 30] [--warm-minutes 2] [--callers 6] [--pause 0.05]

Callers create, quote, read, amend and cancel claims, renew leases, watch, and ask for what is not there; the planner
plans. Every ten seconds memory (RSS), open files and threads of each process are read from the system, and the tasks of
the server's loop from its metrics. Printed: each process's slope of memory after the warm-up, its files and threads
then and at the end, refusals by reason, what `broker.ledger.fold` finds wrong in the log, and whether the audit record
is whole.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import sys
import tempfile
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from capacitybroker import TIER_SPOT, TIER_STANDARD, BrokerError, Claim, Client, duration

from bench.leases import Lease, leased
from bench.log import event_log
from bench.served import free_port, small_fleet
from bench.watchers import rss_kib
from broker.cli.local_server import local_server
from broker.ledger.fold import violations
from broker.telemetry.verify import verified

SAMPLE_SECONDS = 10.0
LEASES = 200
SLOPE_MIB_MAX = 0.5  # a minute


@dataclass(slots=True)
class Process:
    """What one process held, sample by sample."""

    at: list[float] = field(default_factory=list)
    mib: list[float] = field(default_factory=list)
    files: list[int] = field(default_factory=list)
    threads: list[int] = field(default_factory=list)

    def add(self, at: float, pid: int) -> None:
        """One sample."""
        self.at.append(at)
        self.mib.append(rss_kib(pid) / 1024)
        self.files.append(len(list(Path(f"/proc/{pid}/fd").iterdir())))
        self.threads.append(len(list(Path(f"/proc/{pid}/task").iterdir())))

    def slope(self) -> float:
        """MiB a minute, by least squares."""
        mean_at, mean = sum(self.at) / len(self.at), sum(self.mib) / len(self.mib)
        spread = sum((at - mean_at) ** 2 for at in self.at)
        return 60 * sum((at - mean_at) * (mib - mean) for at, mib in zip(self.at, self.mib, strict=True)) / spread


def some_claim(rng: random.Random) -> Claim:
    """What somebody may want, most of it soon over."""
    return Claim(
        workload_class="training",
        devices=rng.choice((8, 16, 64, 256)),
        duration=duration(hours=rng.randint(1, 48)),
        tier=rng.choice((TIER_STANDARD, TIER_SPOT)),
    )


def call_all_day(
    address: str,
    number: int,
    leases: list[Lease],
    args: argparse.Namespace,
    leave: threading.Event,
    said: Counter[str],
) -> None:
    """One caller: its claims come and go, its leases stay."""
    rng = random.Random(number)  # noqa: S311 - claims, not secrets
    with Client(address, tenant="atlas") as client:
        while not leave.wait(args.pause):
            try:
                claim = client.create_claim(some_claim(rng))
            except BrokerError as refused:
                said[refused.reason or type(refused).__name__] += 1
                continue
            try:
                client.get_claim(claim.name)
                if rng.random() < 0.1:
                    client.quote_claim(some_claim(rng), hold_for=5 if rng.random() < 0.3 else None)
                if rng.random() < 0.1:
                    claim.value_microusd = 5
                    client.update_claim(claim, ["value_microusd"])
                if rng.random() < 0.05:
                    next(iter(client.list_claims(page_size=50)), None)
                if rng.random() < 0.1:
                    client.get_claim(f"gone-{number}")
                client.renew_lease(*rng.choice(leases))
                said["renewed"] += 1
            except BrokerError as refused:
                said[refused.reason or type(refused).__name__] += 1
            # Whatever was refused meanwhile: were it left, all that is kept of claims would grow with them.
            with suppress(BrokerError):
                client.cancel_claim(claim.name)
                said["cancelled"] += 1


def watch_all_day(address: str, leave: threading.Event, said: Counter[str]) -> None:
    """Watches come and go too."""
    while not leave.is_set():
        with Client(address, tenant="atlas") as client, suppress(BrokerError):
            for n, change in enumerate(client.watch_claims(progress=True)):
                said["told"] += len(change.claims)
                if leave.is_set() or n >= 1_000:
                    break


def tasks(port: int) -> int:
    """Of the server's loop."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        lines = answer.read().decode().splitlines()
    return int(float(next(line.split()[1] for line in lines if line.startswith("broker_tasks "))))


def sampled(pids: Mapping[str, int], port: int, args: argparse.Namespace) -> tuple[dict[str, Process], list[int]]:
    """Samples after the warm-up, until the time is over."""
    seen, counts = {name: Process() for name in pids}, []
    begun = time.monotonic()
    while (now := time.monotonic() - begun) < 60 * args.minutes:
        if now >= 60 * args.warm_minutes:
            counts.append(tasks(port))
            for name, pid in pids.items():
                seen[name].add(now, pid)
        time.sleep(SAMPLE_SECONDS)
    return seen, counts


def judged(seen: dict[str, Process], counts: list[int]) -> bool:
    """Print what each process held; whether nothing grew."""
    flat = True
    for name, process in seen.items():
        slope = process.slope()
        # The store keeps the log, up to a million events, and what each request was answered, for a day.
        flat = flat and (name == "store" or slope < SLOPE_MIB_MAX)
        print(
            f"{name:9} {process.mib[0]:.0f} to {process.mib[-1]:.0f} MiB, {slope:+.2f} MiB/min; files "
            f"{process.files[0]} to {process.files[-1]}, at most {max(process.files)}; threads {process.threads[0]} to "
            f"{process.threads[-1]}, at most {max(process.threads)}"
        )
    print(f"tasks of the server: {counts[0]} to {counts[-1]}, at most {max(counts)}", flush=True)
    return flat


def main() -> int:
    """Exit status 1 if memory grew or a rule was broken."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--warm-minutes", type=float, default=2.0)
    parser.add_argument("--callers", type=int, default=6)
    parser.add_argument("--pause", type=float, default=0.05)
    args = parser.parse_args()
    leave, said = threading.Event(), Counter[str]()
    with free_port() as port:
        pass  # the metrics take it for themselves
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        os.environ["BROKER_METRICS"] = f"127.0.0.1:{port}"
        with local_server(directory, horizon_slots=14 * 24) as server:
            with Client(server.address) as operator:
                operator.apply_fleet(small_fleet())
            store = f"unix://{directory / 'data' / 'store.sock'}"
            leases = asyncio.run(leased(store, LEASES, 6 * 3_600_000))
            jobs = [
                threading.Thread(target=call_all_day, args=(server.address, n, leases, args, leave, said))
                for n in range(args.callers)
            ]
            jobs.append(threading.Thread(target=watch_all_day, args=(server.address, leave, said)))
            for job in jobs:
                job.start()
            try:
                seen, counts = sampled(server.pids, port, args)
            finally:
                leave.set()
                for job in jobs:
                    job.join()
            flat = judged(seen, counts)
            events, _ = event_log(directory)
        broken = violations(events)
        print(f"{len(events):,} revisions; " + ", ".join(f"{what} {count:,}" for what, count in said.most_common()))
        records = verified(directory / "data" / "audit")
        print(f"rules broken: {len(broken)}; audit: {sum(file.records for file in records):,} records, ", end="")
        print("whole" if not any(file.wrong for file in records) else "NOT WHOLE")
    return int(bool(broken) or not flat or any(file.wrong for file in records))


if __name__ == "__main__":
    sys.exit(main())
