"""How soon a running broker finds other places for those who lost theirs, and how many of them.

    python -m bench.struck [--times 1] [--rounds 5] [--busy]

A broker of its own with the default fleet and 300 sample claims (``--times`` as many). Each round the pool that holds
most now is lost for a day, and comes back once all is planned again. ``--busy``: a plan of ten seconds is under way
when it is lost. Seconds are from the answer to the operator to the first plan that knows of the outage, as a client
sees it.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

from capacitybroker import BrokerError, Claim, Client, Plan, Tier, timestamp
from capacitybroker.v1.fleet_pb2 import Fleet, Maintenance

from bench.log import event_log
from broker.cli.clock import now
from broker.cli.fleet_file import default_fleet_text, fleet_from_text
from broker.cli.local_server import local_server
from broker.cli.sample_claims import sample_claims
from broker.ledger.fold import violations

__all__ = ["main"]

LOST = timedelta(hours=24)
PATIENCE_SECONDS = 60.0
POLL_SECONDS = 0.01
UNDER_WAY_SECONDS = 0.5  # of processor time that the solver has had by then


def _submit(client: Client, times: int) -> None:
    start = now().replace(minute=0, second=0, microsecond=0) + timedelta(hours=1)
    for seed in range(times):
        for asked in sample_claims(seed=seed, start=start):
            with suppress(BrokerError):  # some are made to be refused
                client.create_claim(asked.claim, tenant=asked.tenant, claim_id=f"{asked.id}-{seed}")


def _without(fleet: Fleet, name: str) -> Fleet:
    """The fleet with a pool that is away from now on."""
    struck = Fleet()
    struck.CopyFrom(fleet)
    pool = next(pool for pool in struck.pools if pool.id == name)
    devices = sum(delivery.devices for delivery in pool.deliveries)
    pool.maintenance.append(Maintenance(devices=devices, start_time=timestamp(now()), end_time=timestamp(now() + LOST)))
    return struck


def _busiest(client: Client) -> str:
    """The pool that holds most device-hours of the coming day."""
    pools = list(client.list_pools(start=now(), end=now() + LOST))
    return max(pools, key=lambda one: one.utilisation.granted_device_hours).pool.id


def _held(claims: Iterable[Claim], pool: str) -> dict[str, Claim]:
    """Who holds something of the pool in the coming day."""
    first, end = now().timestamp(), (now() + LOST).timestamp()
    return {
        claim.name: claim
        for claim in claims
        for place in claim.placements
        if place.pool == f"pools/{pool}" and place.start_time.seconds < end and place.end_time.seconds > first + 3600
    }


def _until(condition: Callable[[], bool], what: str) -> None:
    """Returns once ``condition()`` is true; ends the program when that takes too long."""
    end = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        if time.monotonic() > end:
            raise SystemExit(f"{what} within {PATIENCE_SECONDS:.0f} s")
        time.sleep(POLL_SECONDS)


def _next_plan(client: Client, revision: int) -> Plan:
    """The first plan that has looked at a revision."""
    plans = [client.get_plan()]

    def looked() -> bool:
        plans[0] = client.get_plan()
        return plans[0].based_on_revision >= revision

    _until(looked, "no plan came")
    return plans[0]


def _solver_seconds(planner: int) -> float:
    """Processor time that the planner's own processes have had so far."""
    children = (task / "children" for task in Path(f"/proc/{planner}/task").iterdir())
    ticks = 0
    for pid in [pid for file in children for pid in file.read_text().split()]:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def _round(client: Client, fleet: Fleet, planner: int, *, busy: bool) -> str:
    """Lose a pool, see what becomes of it, and have it back."""
    pool = _busiest(client)
    before = _held(client.list_claims(tenant="-"), pool)
    planning = threading.Thread(target=lambda: client.run_plan(time_limit=timedelta(seconds=10)))
    if busy:
        enough = _solver_seconds(planner) + UNDER_WAY_SECONDS
        planning.start()
        _until(lambda: _solver_seconds(planner) >= enough, "no plan was under way")
    revision = client.apply_fleet(_without(fleet, pool)).revision
    begun = time.monotonic()
    plan = _next_plan(client, revision)
    seconds = time.monotonic() - begun
    after = {claim.name: claim for claim in client.list_claims(tenant="-")}
    served = [name for name in before if after[name].placements]
    sure = [name for name, claim in before.items() if claim.tier == Tier.TIER_GUARANTEED]
    kept = [name for name in sure if after[name].placements]
    if busy:
        planning.join()
    client.apply_fleet(fleet)
    client.run_plan()
    return (
        f"{pool:14} {seconds:6.2f} s ({plan.solve_duration.ToMilliseconds():5} ms solved); "
        f"{len(before):4} lost a place, "
        f"{len(served):4} have one again, {len(kept):3} of {len(sure):3} guaranteed; {plan.moved} moved in all"
    )


def main() -> int:
    """Strike a broker as often as the command line says."""
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("--times", type=int, default=1)
    ask.add_argument("--rounds", type=int, default=5)
    ask.add_argument("--busy", action="store_true")
    args = ask.parse_args()
    with tempfile.TemporaryDirectory(prefix="struck-") as folder:
        directory = Path(folder)
        with local_server(directory) as server, Client(server.address, timeout=60) as client:
            fleet = fleet_from_text(default_fleet_text(), today=now())
            client.apply_fleet(fleet)
            _submit(client, args.times)
            client.run_plan(time_limit=timedelta(seconds=5))
            for _ in range(args.rounds):
                print(_round(client, fleet, server.pids["planner"], busy=args.busy), flush=True)
            events, _ = event_log(directory)
            broken = violations(events)
            print(f"{len(events)} revisions, {len(broken)} promises broken", *broken[:5], sep="\n  ")
    return int(bool(broken))


if __name__ == "__main__":
    sys.exit(main())
