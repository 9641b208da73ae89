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
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median

from bench.ledger import claim_number, fleet_for, placed_claim, plan_of
from broker.domain.claim import Active, Committed
from broker.domain.faults import Fault, FaultReason
from broker.domain.snapshot import Event, EventKind
from broker.ledger.codec import encode_event
from broker.ledger.copy_file import FORMAT, Line, write_copy
from broker.ledger.port import Renewal, RequestKey
from broker.ledger.redis import RedisLedger
from broker.ledger.redis.copying import copy_lines, restore
from broker.ledger.redis.embedded import EmbeddedStore
from broker.ledger.redis.link import Link, StoreSettings
from broker.ledger.redis.verify import verify

AT_ONCE = 200
TTL_MILLIS = 600_000
PATIENT = StoreSettings(call_seconds_max=10.0, bulk_seconds_max=60.0)  # with a busy machine: the store is measured


async def opened(url: str, market: str = "main") -> RedisLedger:
    """The market's ledger, made if need be."""
    return await RedisLedger.open(
        url, market=market, new_id=lambda: "bench", now=lambda: 0, create=True, settings=PATIENT
    )


async def history(number: int) -> AsyncIterator[Line]:
    """A copy of a market with so many claims, each placed by one event and leased by the next."""
    about = {"format": FORMAT, "market": "main", "revision": 2 * number + 1, "image": 0, "fleet": "", "epoch": "0"}
    yield (
        "market",
        about | {"fleet_revision": 0, "schema": "1", "token_key": "00", "created_at": "0", "lease_time": "0"},
    )
    yield "event", encode_event(Event(1, EventKind.FLEET_APPLIED, 0, fleet=fleet_for(number))).encode()
    for n in range(number):
        waiting, revision = claim_number(n), 2 * n + 2
        places = placed_claim(waiting, n).placements
        stored = replace(waiting, state=Committed(places), revision=revision)
        yield "event", encode_event(Event(revision, EventKind.SUBMITTED, 0, claims=(stored,))).encode()
        active = replace(stored.becomes(Active(places), at=0), revision=revision + 1, replaced=revision)
        yield "event", encode_event(Event(revision + 1, EventKind.LEASED, 0, claims=(active,))).encode()
        yield "lease", waiting.name.key, revision + 1, TTL_MILLIS, TTL_MILLIS


async def restored(directory: Path, file: Path) -> EmbeddedStore:
    """A store with the file's market."""
    store = EmbeddedStore.start(directory)
    link = Link(store.url, market="main", settings=PATIENT)
    await link.load()
    await restore(link, file, incarnation="bench", recovery_millis=0, now_millis=0)
    await link.close()
    return store


async def restarts(directory: Path, number: int, rounds: int) -> None:
    """The store is killed with so many leases in it."""
    await write_copy(directory / "history", history(number))
    store = await restored(directory / "data", directory / "history")
    ledger = await opened(store.url)
    leases = [Renewal(claim_number(n).name, 2 * n + 3) for n in range(number)]
    back: list[float] = []
    for _ in range(rounds):
        store.kill()
        start = time.perf_counter()
        store = EmbeddedStore.start(directory / "data")
        up = time.perf_counter() - start
        while True:
            try:
                await ledger.renew(leases[:1])
                break
            except Fault:
                await asyncio.sleep(0.005)
        back.append(time.perf_counter() - start)
        print(f"restart with {number:,} leases: store up after {up:.2f} s, first OK after {back[-1]:.2f} s", flush=True)
    lost = 0
    for first in range(0, number, 1_000):
        lost += sum(left is None for left in await ledger.renew(leases[first : first + 1_000]))
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
    store = await restored(directory / "new", file)
    back = time.perf_counter()
    link = Link(store.url, market="main", settings=PATIENT)
    verdict, before = await verify(link), await verify(ledger.link)
    verified = time.perf_counter()
    same = verdict.kept == verdict.told == before.kept and not verdict.wrong
    print(f"rebuild from it: restore {back - exported:.1f} s, verify {(verified - back) / 2:.1f} s, same: {same}")
    await link.close()
    store.stop()


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
