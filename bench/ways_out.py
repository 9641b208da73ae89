"""Random asks that do not fit on a loaded calendar: what a quote and an explanation say would do, done through the API.

    python -m bench.ways_out [--asks 300] [--waiting 200] [--seed 1]

Each counter-offer is taken at once, and must be granted where it said, unless a plan came into force since the quote;
none may be dominated by another of the same quote. Each smallest change of a waiting claim must let it in, and must
not with any part of it left out.
"""

from __future__ import annotations

import argparse
import random
import re
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

from capacitybroker import BrokerError, Claim, Client, FailedPrecondition, InvalidArgument
from capacitybroker.v1.quote_pb2 import Change, Offer

from broker.admission.changes import Change as Step
from broker.admission.changes import ChangeKind, changed
from broker.admission.vetting import dated
from broker.cli.fleet_file import default_fleet_text, fleet_from_text
from broker.cli.local_server import local_server
from broker.cli.sample_claims import Asking, sample_claims
from broker.transport.asks import ask
from broker.transport.claims import asked_message

CATCH_UP_SECONDS = 10.0
DAYS = 28
ENOUGH = 100_000  # asks drawn, before there are as many as wanted that do not fit


class Caller:
    """Quotes on what is in force by now, takes offers and gives them back."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.seen: Counter[str] = Counter()
        self._revision = 0

    def quote(self, claim: Claim, tenant: str) -> tuple[list[Offer], list[Offer]]:
        """Offers for which nobody moves, and counter-offers, as of the last change of ours or later."""
        end = time.monotonic() + CATCH_UP_SECONDS
        while (told := self.client.quote_claim(claim, tenant=tenant)).revision < self._revision:
            if time.monotonic() > end:
                raise TimeoutError("the server has not heard of its own change")
        return list(told.offers), list(told.counter_offers)

    def take(self, offer: Offer, tenant: str) -> str:
        """Take an offer and cancel it; how that went."""
        made = self.client.create_claim(offer.claim, tenant=tenant, placements=offer.placements)
        same = [(p.pool, p.start_time, p.devices) for p in made.placements] == [
            (p.pool, p.start_time, p.devices) for p in offer.placements
        ]
        self.drop(made)
        return "granted as stated" if same else "GRANTED OTHERWISE"

    def drop(self, claim: Claim) -> None:
        """Cancel a claim."""
        self._revision = max(self._revision, self.client.cancel_claim(claim.name).revision)

    def counter_offers(self, asking: Asking) -> bool:
        """Take every counter-offer of an ask that does not fit; False if it does."""
        plan = self.client.get_plan().name
        offers, instead = self.quote(asking.claim, asking.tenant)
        if offers:
            return False
        self.seen["asks without a counter-offer"] += not instead
        for offer in instead:
            self.seen["DOMINATED"] += any(_dominates(other, offer) for other in instead)
            try:
                self.seen[f"counter-offers {self.take(offer, asking.tenant)}"] += 1
            except BrokerError as refused:
                planned = refused.reason == "OFFER_GONE" and self.client.get_plan().name != plan
                self.seen[f"counter-offers {'gone with a new plan' if planned else 'REFUSED ' + refused.reason}"] += 1
        return True

    def smallest_change(self, asking: Asking) -> bool:
        """Make what is said to be the smallest change, and all but one part of it; False if the claim does not wait."""
        made = self.client.create_claim(asking.claim, tenant=asking.tenant)
        try:
            if made.state != Claim.STATE_WAITING:
                return False
            found = self.client.explain_claim(made.name)
            if not found.changes:
                only_waits = self._fits(asking, ())
                self.seen["waiting claims without a change that helps"] += not only_waits
                return not only_waits
            self.seen["changes that admit"] += 1
            if not self._fits(asking, found.changes):
                self.seen["CHANGES THAT DO NOT ADMIT"] += 1
            for left_out in range(len(found.changes)):
                rest = [change for n, change in enumerate(found.changes) if n != left_out]
                self.seen["NOT SMALLEST"] += self._fits(asking, rest)
            return True
        finally:
            self.drop(made)

    def _fits(self, asking: Asking, changes: Sequence[Change]) -> bool:
        steps = tuple(Step(ChangeKind(Change.Kind.Name(c.kind).removeprefix("KIND_")), c.amount) for c in changes)
        asked = dated(ask(asking.claim), int(time.time()))
        offers, _ = self.quote(asked_message(changed(asked, steps)), asking.tenant)
        return any(not offer.moves for offer in offers)


def _dominates(one: Offer, other: Offer) -> bool:
    a, b = ({change.kind: change.amount for change in offer.changes} for offer in (one, other))
    return a != b and all(b.get(kind, 0) >= amount for kind, amount in a.items())


def _draws(seed: int, start: datetime) -> Iterator[Asking]:
    """Claims as teams would make them, hurried: with less time to start in than they would like."""
    rng = random.Random(seed)  # noqa: S311
    for n in range(ENOUGH):
        for asking in sample_claims(seed=seed + n, start=start, days=DAYS):
            if rng.random() < 0.5 and asking.claim.HasField("earliest_start_time"):
                late = asking.claim.earliest_start_time.ToDatetime(UTC) + timedelta(hours=rng.randint(0, 6))
                asking.claim.latest_start_time.FromDatetime(late)
            yield asking


def run(directory: Path, *, asks: int, waiting: int, seed: int) -> Counter[str]:
    """What became of so many asks that do not fit, and of so many claims that wait."""
    start = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) + timedelta(hours=1)
    with (
        local_server(directory, plan_seconds=3, horizon_slots=(DAYS + 28) * 24) as server,
        Client(server.address) as it,
    ):
        it.apply_fleet(fleet_from_text(default_fleet_text(), today=start))
        for load in range(2):  # the second half finds little room
            for asking in sample_claims(seed=1_000 + load, start=start, days=DAYS):
                with suppress(InvalidArgument, FailedPrecondition):  # some of the samples are wrong on purpose
                    it.create_claim(asking.claim, tenant=asking.tenant)
        it.run_plan()
        caller = Caller(it)
        for wanted, step in ((asks, caller.counter_offers), (waiting, caller.smallest_change)):
            draws, done = _draws(seed, start), 0
            while done < wanted:
                with suppress(InvalidArgument, FailedPrecondition):
                    done += step(next(draws))
        return caller.seen


def main() -> int:
    """Print what was seen; 1 if anything was that must not be."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--asks", type=int, default=300)
    options.add_argument("--waiting", type=int, default=200)
    options.add_argument("--seed", type=int, default=1)
    args = options.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        seen = run(Path(directory), asks=args.asks, waiting=args.waiting, seed=args.seed)
    print(f"{args.asks} asks that do not fit, {args.waiting} claims that wait")
    for what, count in sorted(seen.items()):
        print(f"{count:6,} {what}")
    return int(any(count and re.search("[A-Z]{3}", what) for what, count in seen.items()))


if __name__ == "__main__":
    sys.exit(main())
