"""Holds a thousand quotes under sixteen callers while plans are made all the time: none is broken, none sold twice.

    python -m bench.quotes [--quotes 1000] [--callers 16] [--seed 1]

Every caller quotes, holds, and then redeems, lets lapse (its hold is a second long) or cancels. A redeemed quote must
be exactly what was held, a late one must be answered with a fresh quote. In the end the whole log is folded again and
every rule is checked at every revision.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from capacitybroker import BrokerError, Claim, Client, Fleet, Pool
from capacitybroker.v1.claim_pb2 import TIER_GUARANTEED, TIER_SPOT, TIER_STANDARD
from capacitybroker.v1.fleet_pb2 import POOL_KIND_INTERNAL, Delivery, Silicon, SiliconSpeed, Tenant, WorkloadClass
from google.protobuf.duration_pb2 import Duration

from bench.log import event_log
from broker.cli.local_server import local_server
from broker.ledger.fold import violations

TENANTS = tuple(f"team-{n}" for n in range(8))
TIERS = (TIER_GUARANTEED, TIER_STANDARD, TIER_SPOT)
HOLD_SECONDS = 300
REFUSED = frozenset({"OFFER_GONE", "HOLD_LIMIT", "CONTENDED", "CLAIM_CLOSED"})
LAPSE_SECONDS = 20.0  # within which a hold of a second must be gone


def market() -> Fleet:
    """Two pools with too little for everybody."""
    speeds = [SiliconSpeed(silicon="b200", speed_percent=100)]
    pools = [
        Pool(
            id=f"dc-{n}", kind=POOL_KIND_INTERNAL, silicon="b200", domain_devices=8, deliveries=[Delivery(devices=512)]
        )
        for n in range(2)
    ]
    return Fleet(
        silicon=[Silicon(id="b200", family="blackwell")],
        workload_classes=[WorkloadClass(id="training", speeds=speeds)],
        pools=pools,
        tenants=[Tenant(id=tenant, quota_devices=400) for tenant in TENANTS],
    )


def wanted(rng: random.Random) -> Claim:
    """A gang that may or may not fit."""
    return Claim(
        workload_class="training",
        devices=rng.choice((4, 8, 16, 32, 64, 128)),
        gang=True,
        duration=Duration(seconds=3600 * rng.choice((1, 4, 12, 48))),
        tier=rng.choice(TIERS),
    )


class Caller:
    """One caller with its own connection; counts how its quotes ended, and what should not have happened."""

    def __init__(self, address: str, rng: random.Random, seen: Counter[str]) -> None:
        self._client = Client(address)
        self._rng, self._seen = rng, seen

    def quotes(self, count: int) -> None:
        """So many quotes, one after the other."""
        with self._client:
            for _ in range(count):
                try:
                    self._seen[self._one()] += 1
                except BrokerError as refused:
                    kind = "refused:" if refused.reason in REFUSED else "UNEXPECTED"
                    self._seen[f"{kind} {refused.reason}"] += 1

    def _one(self) -> str:
        fate = self._rng.random()
        lapses = fate > 0.9
        tenant, seconds = self._rng.choice(TENANTS), 1 if lapses else HOLD_SECONDS
        quote = self._client.quote_claim(wanted(self._rng), tenant=tenant, hold_for=seconds)
        if not quote.HasField("held"):
            return "nothing to hold"
        held = quote.held
        if fate < 0.2:
            self._client.cancel_claim(held.name)
            return "cancelled"
        if lapses:
            return self._lapse(held)
        made = self._client.redeem_quote(held.name)
        return "redeemed as held" if list(made.claim.placements) == list(held.placements) else "NOT AS HELD"

    def _lapse(self, held: Claim) -> str:
        end = time.monotonic() + LAPSE_SECONDS
        while self._client.get_claim(held.name).state == Claim.STATE_HELD:
            if time.monotonic() > end:
                return "HELD FOR TOO LONG"
            time.sleep(0.05)
        late = self._client.redeem_quote(held.name)
        return "SOLD AFTER ITS TIME" if late.HasField("claim") else "lapsed, quoted afresh"


def run(directory: Path, *, quotes: int, callers: int, seed: int) -> tuple[Counter[str], tuple[str, ...], int]:
    """How the quotes ended, every rule that the log breaks, and how many plans came into force meanwhile."""
    seen: Counter[str] = Counter()
    with local_server(directory, workers=2, plan_seconds=0.3, horizon_slots=14 * 24) as server:
        with Client(server.address) as operator:
            operator.apply_fleet(market())
            operator.run_plan()
        stop = threading.Event()
        planner = threading.Thread(target=_plan, args=(server.address, stop))
        planner.start()
        try:
            with ThreadPoolExecutor(callers) as pool:
                everybody = [Caller(server.address, random.Random(f"{seed}/{n}"), seen) for n in range(callers)]  # noqa: S311
                list(pool.map(lambda caller: caller.quotes(-(-quotes // callers)), everybody))
        finally:
            stop.set()
            planner.join()
        events, _ = event_log(directory)
    plans = sum(event.plan is not None for event in events)
    return seen, violations(events), plans


def _plan(address: str, stop: threading.Event) -> None:
    """Plan all the time, and ask for something that only a plan can place."""
    with Client(address, tenant=TENANTS[0]) as operator:
        rng = random.Random(0)  # noqa: S311
        while not stop.is_set():
            operator.create_claim(wanted(rng))
            operator.run_plan()


def main() -> int:
    """Print how the quotes ended; 1 if anything happened that must not."""
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("--quotes", type=int, default=1_000)
    ask.add_argument("--callers", type=int, default=16)
    ask.add_argument("--seed", type=int, default=1)
    args = ask.parse_args()
    begun = time.perf_counter()
    with tempfile.TemporaryDirectory() as directory:
        seen, broken, plans = run(Path(directory), quotes=args.quotes, callers=args.callers, seed=args.seed)
    for what, count in sorted(seen.items()):
        print(f"{count:6} {what}")
    print(f"{plans} plans meanwhile, {time.perf_counter() - begun:.0f} s; rules broken: {len(broken)}")
    for line in broken[:5]:
        print(line)
    return int(bool(broken) or any(what.isupper() or what.startswith("UNEXPECTED") for what in seen))


if __name__ == "__main__":
    sys.exit(main())
