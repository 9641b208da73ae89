"""Whether a watch can be resumed at every revision of a history that is being trimmed.

    python -m bench.resume [--history 10000] [--told 20] [--whole 250]

A store of its own keeps so many events. The history is made, and then a watch is resumed at every revision from the
first on, while every second resume a new claim pushes the oldest event out. A watch below the oldest event must be
refused and name that event; any other must tell its own revision first and then one after the other: as many as
``--told``, and at every ``--whole``-th revision all up to the newest, across the boundary between history and what
comes in meanwhile. A gap, a duplicate or a wrong boundary is a fault, and the exit status is 1.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from itertools import count
from pathlib import Path

from bench.cores import cores
from broker.domain.claim import Ask, Claim, ClaimName, Tier, Waiting
from broker.domain.faults import Fault, FaultReason
from broker.domain.reason import Because, Reason
from broker.feed import Feed, FeedSettings
from broker.ledger.port import RequestKey
from broker.ledger.redis import RedisLedger
from broker.ledger.redis.embedded import EmbeddedStore
from broker.ledger.redis.link import StoreSettings

__all__ = ["Resumes", "main", "resumed"]

BATCH = 25  # events that a watch reads of history at once
AT_ONCE = 64  # claims under way while history is made
SECONDS_MAX = 30.0  # of one watch
WAITING = Waiting((Because(Reason.AWAITING_PLAN, "No plan has looked at the claim yet."),))


class Resumes:
    """What the watches came to: how many told what they must, were refused as they must, or neither."""

    def __init__(self) -> None:
        self.told = self.whole = self.refused = self.changes = 0
        self.faults: list[int] = []


async def _submit(ledger: RedisLedger, number: int) -> None:
    ask = Ask(workload_class="training", devices=8, slots=4, earliest=0, tier=Tier.STANDARD, value_microusd=0)
    claim = Claim(ClaimName("atlas", f"c-{number}"), ask, WAITING, 0, 0)
    await ledger.submit(claim, key=RequestKey("atlas", "CreateClaim", f"r-{number}", ""), at=0)


async def resumed(ledger: RedisLedger, feed: Feed, start: int, wanted: int | None) -> list[int] | Fault:
    """What a watch from ``start`` on tells, ``wanted`` revisions or all up to now; or why it was refused."""
    told: list[int] = []
    end = await _end(ledger, start, wanted)
    watch = feed.watch(start)
    try:
        async with asyncio.timeout(SECONDS_MAX):
            async for changes in watch:
                if changes.claims:
                    told.append(changes.revision)
                if changes.revision >= end:
                    break
    except Fault as fault:
        return fault
    finally:
        await watch.aclose()  # type: ignore[attr-defined] # it is a generator
    return told


async def _end(ledger: RedisLedger, start: int, wanted: int | None) -> int:
    newest = await ledger.revision()
    return newest if wanted is None else min(newest, start + wanted - 1)


async def _oldest(ledger: RedisLedger) -> int:
    """The oldest event that the store has; it drops events some at a time."""
    try:
        return (await ledger.events(0, limit=1))[0].revision
    except Fault as trimmed:
        return int(trimmed.facts["oldest_revision"])


async def _run(url: str, args: argparse.Namespace) -> Resumes:
    ledger = await RedisLedger.open(
        url,
        market="main",
        new_id=lambda: "resume",
        now=lambda: 0,
        create=True,
        settings=StoreSettings(log_events_max=args.history),
    )
    numbers, seen = count(), Resumes()
    for _ in range(0, args.history, AT_ONCE):
        await asyncio.gather(*(_submit(ledger, next(numbers)) for _ in range(AT_ONCE)))
    async with Feed(ledger, FeedSettings(batch_events=BATCH)) as feed:
        for start in range(1, await ledger.revision() + 1):
            if start % 2:
                await _submit(ledger, next(numbers))
            wanted = None if start % args.whole == 0 else args.told
            found = await resumed(ledger, feed, start, wanted)
            # Nobody else commits, so the end is now what it was for the watch.
            must = range(start, await _end(ledger, start, wanted) + 1)
            _judge(seen, await _oldest(ledger), must, found, whole=wanted is None)
    await ledger.close()
    return seen


def _judge(seen: Resumes, oldest: int, must: range, found: list[int] | Fault, *, whole: bool) -> None:
    if isinstance(found, Fault):
        named = found.facts.get("oldest_revision")
        good = must.start < oldest and found.reason is FaultReason.COMPACTED and named == str(oldest)
        seen.refused += good
    else:
        good = must.start >= oldest and found == list(must)
        seen.told, seen.whole, seen.changes = seen.told + good, seen.whole + whole, seen.changes + len(found)
    if not good:
        seen.faults.append(must.start)


def main() -> int:
    """Print what the watches came to; 1 when any missed something, heard it twice or met a wrong boundary."""
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("--history", type=int, default=10_000)
    ask.add_argument("--told", type=int, default=20)
    ask.add_argument("--whole", type=int, default=250)
    args = ask.parse_args()
    if not (64 <= args.history <= 100_000 and args.told > 0 and args.whole > 0):
        ask.error("--history must be from 64 to 100000, --told and --whole positive")
    print(f"{cores()} cores; a history of {args.history:,} events, the oldest trimmed all the time", flush=True)
    begun = time.perf_counter()
    with tempfile.TemporaryDirectory() as directory, EmbeddedStore.start(Path(directory) / "data") as store:
        seen = asyncio.run(_run(store.url, args))
    print(
        f"{seen.told + seen.refused + len(seen.faults):,} resumes: {seen.told:,} told {seen.changes:,} changes"
        f" ({seen.whole} of them to the newest), {seen.refused:,} refused as trimmed; {len(seen.faults)} faults"
        f" {seen.faults[:5] or ''}; {time.perf_counter() - begun:.0f} s"
    )
    return 1 if seen.faults else 0


if __name__ == "__main__":
    sys.exit(main())
