"""What the ledger costs on this machine: a submit, a commit of N rows, a snapshot of N claims.

Run as ``python -m bench.ledger [N]``; starts a store of its own, with every write on disk before it is acknowledged.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median, quantiles

from broker.domain.claim import Ask, Claim, ClaimName, Placement, Planned, Tier, Waiting
from broker.domain.fleet import Delivery, Fleet, Pool, PoolKind, Tenant
from broker.domain.plan import PlanRecord
from broker.domain.slots import Window
from broker.ledger.codec import decode_claim, encode_claim
from broker.ledger.port import Ledger, RequestKey
from broker.ledger.redis import RedisLedger
from broker.ledger.redis.embedded import EmbeddedStore

TENANTS = 40
POOLS = 16
HORIZON_SLOTS = 336
COMMITS = 5


async def main(rows: int) -> None:
    """Print one line for each figure."""
    with tempfile.TemporaryDirectory() as directory, EmbeddedStore.start(Path(directory)) as store:
        ledger = await RedisLedger.open(store.url, market="bench", new_id=lambda: "bench", now=lambda: 0, create=True)
        await ledger.apply_fleet(fleet_for(rows), key=RequestKey("-", "ApplyFleet", "fleet", "d"), at=0)
        await _submits(ledger, rows)
        await _commits(ledger, rows)
        await _reads(ledger, rows)
        await ledger.close()


async def _submits(ledger: Ledger, rows: int) -> None:
    async def one(i: int) -> None:
        await ledger.submit(
            claim_number(i), key=RequestKey(f"tenant-{i % TENANTS}", "CreateClaim", f"r-{i}", "d"), at=0
        )

    alone = min(500, rows)
    seconds = [await _seconds(lambda i=i: one(i)) for i in range(alone)]  # type: ignore[misc] # bound per turn
    _print("submit, one at a time", f"p50 {_millis(median(seconds))}, p99 {_millis(quantiles(seconds, n=100)[98])}")
    start = time.perf_counter()
    for first in range(alone, rows, 32):
        await asyncio.gather(*(one(i) for i in range(first, min(first + 32, rows))))
    if rows > alone:
        _print("submit, 32 at once", f"{(rows - alone) / (time.perf_counter() - start):,.0f}/s")


async def _commits(ledger: RedisLedger, rows: int) -> None:
    fence = await ledger.lead("bench", ttl_millis=600_000)
    assert fence is not None
    client = ledger._link.client  # noqa: SLF001 - only the server's own clock tells how long it was blocked
    for turn in range(COMMITS):
        claims = [placed_claim(claim, i + turn) for i, claim in enumerate((await ledger.snapshot()).claims)]
        await client.config_resetstat()
        seconds = await _seconds(lambda claims=claims: ledger.commit(claims, plan_of(rows), fence=fence, at=0))  # type: ignore[misc]
        stats = (await client.info("commandstats"))["cmdstat_fcall"]
        what = "first" if turn == 0 else "every claim moves"
        blocked = f"{stats['usec'] / 1000:.1f} ms"
        _print(f"commit of {rows:,} rows, {what}", f"round trip {_millis(seconds)}, server blocked {blocked}")
    same = (await ledger.snapshot()).claims
    await client.config_resetstat()
    seconds = await _seconds(lambda: ledger.commit(same, plan_of(rows), fence=fence, at=0))
    stats = (await client.info("commandstats"))["cmdstat_fcall"]
    blocked = f"{stats['usec'] / 1000:.1f} ms"
    _print(f"commit of {rows:,} rows, none moves", f"round trip {_millis(seconds)}, server blocked {blocked}")


async def _reads(ledger: RedisLedger, rows: int) -> None:
    client = ledger._link.client  # noqa: SLF001
    await client.config_resetstat()
    seconds = await _seconds(ledger.snapshot)
    stats = (await client.info("commandstats"))["cmdstat_fcall_ro"]
    blocked = f"{stats['usec'] / 1000:.1f} ms"
    _print(f"snapshot of {rows:,} claims", f"round trip {_millis(seconds)}, server blocked {blocked}")
    texts = [encode_claim(claim) for claim in (await ledger.snapshot()).claims]
    start = time.perf_counter()
    for text in texts:
        decode_claim(text, revision=1)
    _print(f"decoding {rows:,} claims", f"{_millis(time.perf_counter() - start)}, {len(texts[0].encode())} bytes each")
    _print("balances over two weeks", _millis(await _seconds(lambda: ledger.balances(Window(0, HORIZON_SLOTS)))))


def fleet_for(rows: int) -> Fleet:
    """Room for so many claims."""
    supply = (Delivery(rows * 64),)
    pools = tuple(Pool(f"dc-{i}", PoolKind.INTERNAL, "b200", 8, supply) for i in range(POOLS))
    return Fleet(pools=pools, tenants=tuple(Tenant(f"tenant-{i}", rows * 640) for i in range(TENANTS)))


def claim_number(i: int) -> Claim:
    """The i-th claim, which waits."""
    ask = Ask(
        "training", 64, 48, 0, Tier.STANDARD, 123_456_789_012, gang=True, deadline=300, labels={"run": f"run-{i}"}
    )
    return Claim(ClaimName(f"tenant-{i % TENANTS}", f"claim-{i:06}"), ask, Waiting(()), 0, 0)


def placed_claim(claim: Claim, i: int) -> Claim:
    """The claim in the i-th of places that are all different."""
    first = i * 7 % (HORIZON_SLOTS - 48)
    place = Placement(
        f"dc-{i % POOLS}", 64, Window(first, first + 48), first + 6, silicon="b200", cost_microusd=987_654_321
    )
    return replace(claim, state=Planned((place,)))


def plan_of(rows: int) -> PlanRecord:
    """A plan that moves so many claims."""
    return PlanRecord(0, Window(0, HORIZON_SLOTS), True, 1, 1, 1, rows, rows, rows, 0)


async def _seconds(call: Callable[[], Awaitable[object]]) -> float:
    start = time.perf_counter()
    await call()
    return time.perf_counter() - start


def _millis(seconds: float) -> str:
    return f"{seconds * 1000:.1f} ms"


def _print(what: str, figure: str) -> None:
    print(f"{what:42}{figure}")


def _rows(arguments: Sequence[str]) -> int:
    return int(arguments[0]) if arguments else 10_000


if __name__ == "__main__":
    asyncio.run(main(_rows(sys.argv[1:])))
