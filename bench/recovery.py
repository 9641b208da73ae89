"""How long a market is away after its store died, and how long a large plan holds everybody up.

    python -m bench.recovery [--leases 100000] [--rows 10000] [--rounds 3]

On a store of its own with every write on disk. *Restart*: so many claims, each with a lease; the store is killed and
started again; seconds until it is up, and until a lease is renewed, with every lease still there. *Rebuild*: the market
is exported and restored into an empty store, and verified; the digests are the same. *Halt*: a ledger whose store comes
back with less than it had; seconds until it refuses. *Plan*: a commit of so many rows; how long the store's own clock
says that it was busy with it.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from bench.ledger import claim_number, fleet_for, placed_claim, plan_of
from broker.domain.claim import Active, Claim, Committed
from broker.domain.faults import Fault, FaultReason
from broker.ledger.copy_file import write_copy
from broker.ledger.port import Renewal, RequestKey
from broker.ledger.redis import RedisLedger
from broker.ledger.redis.copying import copy_lines, restore
from broker.ledger.redis.embedded import EmbeddedStore
from broker.ledger.redis.link import Link, StoreSettings
from broker.ledger.redis.verify import verify

AT_ONCE = 200
TTL_MILLIS = 600_000


async def opened(url: str, market: str = "main") -> RedisLedger:
    """The market's ledger, made if need be."""
    patient = StoreSettings(call_seconds_max=10.0, bulk_seconds_max=60.0)  # with a busy machine: the store is measured
    return await RedisLedger.open(
        url, market=market, new_id=lambda: "bench", now=lambda: 0, create=True, settings=patient
    )


async def leased(ledger: RedisLedger, number: int) -> list[Claim]:
    """So many claims, each with a lease."""
    gate = asyncio.Semaphore(AT_ONCE)

    async def one(n: int) -> Claim:
        waiting = claim_number(n)
        places = placed_claim(waiting, n).placements
        async with gate:
            key = RequestKey(waiting.name.tenant, "CreateClaim", f"create-{n}", "d")
            placed = waiting.becomes(Committed(places), at=0)
            stored = (await ledger.submit(waiting, key=key, at=0, candidates=[placed], must_fit=True)).claim
            key = RequestKey(waiting.name.tenant, "Acquire", f"acquire-{n}", "d")
            active = stored.becomes(Active(places), at=0)
            done = await ledger.acquire(active, key=key, at=0, ttl_millis=TTL_MILLIS, margin_millis=0)
        return done.claim

    await ledger.apply_fleet(fleet_for(number), key=RequestKey("-", "ApplyFleet", "fleet", "d"), at=0)
    made: list[Claim] = []
    for first in range(0, number, 2_000):
        made += await asyncio.gather(*(one(n) for n in range(first, min(number, first + 2_000))))
    return made


async def restarts(directory: Path, number: int, rounds: int) -> None:
    """The store is killed with so many leases in it."""
    store = EmbeddedStore.start(directory / "data")
    ledger = await opened(store.url)
    claims = await leased(ledger, number)
    back: list[float] = []
    for _ in range(rounds):
        store.kill()
        start = time.perf_counter()
        store = EmbeddedStore.start(directory / "data")
        up = time.perf_counter() - start
        while True:
            try:
                await ledger.renew([Renewal(claims[0].name, claims[0].revision)])
                break
            except Fault:
                await asyncio.sleep(0.005)
        back.append(time.perf_counter() - start)
        print(f"restart with {number:,} leases: store up after {up:.2f} s, first OK after {back[-1]:.2f} s", flush=True)
    lost = 0
    for first in range(0, number, 1_000):
        asked = [Renewal(each.name, each.revision) for each in claims[first : first + 1_000]]
        lost += sum(left is None for left in await ledger.renew(asked))
    print(f"  median {median(back):.2f} s; {lost} leases lost")
    await rebuilt(directory, ledger)
    await ledger.close()
    store.stop()


async def rebuilt(directory: Path, ledger: RedisLedger) -> None:
    """Export, restore into an empty store, verify."""
    file, revision = directory / "copy", await ledger.revision()
    start = time.perf_counter()
    await write_copy(file, copy_lines(ledger.link))
    exported = time.perf_counter()
    print(f"export of {revision:,} events: {exported - start:.1f} s, {file.stat().st_size >> 20} MiB", flush=True)
    with EmbeddedStore.start(directory / "new") as store:
        link = Link(store.url, market="main", settings=StoreSettings(bulk_seconds_max=60.0))
        await link.load()
        copy = await restore(link, file, incarnation="second", recovery_millis=0, now_millis=0)
        restored = time.perf_counter()
        verdict = await verify(link)
        verified = time.perf_counter()
        same = verdict.kept == verdict.told == copy.digest and not verdict.wrong
        print(f"rebuild from it: restore {restored - exported:.1f} s, verify {verified - restored:.1f} s, same: {same}")
        await link.close()


async def halts(directory: Path, rounds: int) -> None:
    """The store comes back with less than it had."""
    took: list[float] = []
    for number in range(rounds):
        data = directory / f"halt-{number}"
        store = EmbeddedStore.start(data)
        ledger = await opened(store.url)
        for n in range(3):
            await ledger.ask_plan(key=RequestKey("-", "RunPlan", f"r-{n}", "d"), at=0, time_limit_seconds=None)
        store.kill()
        (file,) = (data / "appendonlydir").glob("*.incr.aof")
        whole = file.read_bytes()
        file.write_bytes(whole[: whole.rindex(b"*1\r\n$5\r\nMULTI")])
        with EmbeddedStore.start(data):
            start = time.perf_counter()
            while True:
                try:
                    await ledger.ask_plan(key=RequestKey("-", "RunPlan", "more", "d"), at=0, time_limit_seconds=None)
                    raise AssertionError("an earlier store was believed")
                except Fault as fault:
                    if fault.reason is FaultReason.SAFE_HALT:
                        break
                    await asyncio.sleep(0.005)
            took.append(time.perf_counter() - start)
        await ledger.close()
    print(f"SAFE_HALT on a store that lacks the last change: median {median(took):.3f} s, worst {max(took):.3f} s")


async def plans(directory: Path, rows: int, rounds: int) -> None:
    """Commits of so many rows, in one and in steps of three thousand as the planner sends them."""
    with EmbeddedStore.start(directory / "plans") as store:
        ledger = await opened(store.url)
        await ledger.apply_fleet(fleet_for(rows), key=RequestKey("-", "ApplyFleet", "fleet", "d"), at=0)
        for first in range(0, rows, AT_ONCE):
            made = (claim_number(n) for n in range(first, min(rows, first + AT_ONCE)))
            keyed = ((each, RequestKey(each.name.tenant, "CreateClaim", f"c-{each.name.id}", "d")) for each in made)
            await asyncio.gather(*(ledger.submit(each, key=key, at=0) for each, key in keyed))
        fence = await ledger.lead("bench", ttl_millis=3_600_000)
        assert fence is not None
        client = ledger.link.client
        for step in (rows, 3_000):
            busy: list[float] = []
            worked: list[float] = []
            for turn in range(rounds):
                claims = [placed_claim(each, i + turn) for i, each in enumerate((await ledger.snapshot()).claims)]
                for first in range(0, rows, step):
                    part, before = claims[first : first + step], await _worked_millis(ledger)
                    await client.config_resetstat()
                    await ledger.commit(part, plan_of(rows), fence=fence, at=0)
                    busy.append((await client.info("commandstats"))["cmdstat_fcall"]["usec"] / 1000)
                    worked.append(await _worked_millis(ledger) - before)
            how = f"commit of {rows:,} rows, {min(step, rows):,} at a time"
            print(f"{how}: store busy {median(busy):.0f} ms, worst {max(busy):.0f} ms by the clock, ", end="")
            print(f"{median(worked):.0f} ms, worst {max(worked):.0f} ms of its processor", flush=True)
        await ledger.close()


async def _worked_millis(ledger: RedisLedger) -> float:
    """Processor time of the store's main thread, which others on the machine do not lengthen."""
    told = await ledger.link.client.info("cpu")
    return 1000 * float(told["used_cpu_user_main_thread"] + told["used_cpu_sys_main_thread"])


async def main(arguments: Sequence[str]) -> None:
    """Print one line for each figure."""
    parser = argparse.ArgumentParser(prog="python -m bench.recovery")
    parser.add_argument("--leases", type=int, default=100_000)
    parser.add_argument("--rows", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as directory:
        await halts(Path(directory), asked.rounds)
        await plans(Path(directory), asked.rows, asked.rounds)
        await restarts(Path(directory), asked.leases, asked.rounds)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1:]))
