"""Somebody edits the store: it is noticed within a minute, by all, and the log is enough to begin again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis.asyncio import Redis

from broker.domain.claim import Active, Cancelled
from broker.domain.faults import Fault, FaultReason
from broker.ledger.copy_file import read_copy, write_copy
from broker.ledger.redis import RedisLedger, keys
from broker.ledger.redis.copying import copy_lines, load_copy, restore
from broker.ledger.redis.link import Link, StoreSettings
from broker.ledger.redis.verify import SECONDS, Verifier, verify
from tests.builders import placement
from tests.conftest import Eventually
from tests.faults.catalogue import fault
from tests.ledger.ledgers import Desk, open_redis

Edit = Callable[["Redis", str], Awaitable[object]]

KEY = "atlas/run-5"

EDITS: dict[str, Edit] = {
    "claim deleted": lambda store, at: store.hdel(f"{at}live", KEY),
    "claim edited": lambda store, at: store.hset(f"{at}live", KEY, b'3\n[]\n{"v":1}'),
    "claims gone": lambda store, at: store.delete(f"{at}live"),
    "claims are a string": lambda store, at: store.set(f"{at}live", "x"),
    "books gone": lambda store, at: store.delete(f"{at}granted"),
    "books edited": lambda store, at: store.hset(f"{at}granted", "pools/dc-1|0", b"\1\0\0\0" * 256),
    "books spoilt": lambda store, at: store.hset(f"{at}granted", "pools/dc-1|0", b"\1"),
    "books of nobody": lambda store, at: store.hset(f"{at}granted", "pools/dc-9|0", b"\1\0\0\0" * 256),
    "limits raised": lambda store, at: store.hset(f"{at}limits", "pools/dc-1", "[0,999]"),
    "limits gone": lambda store, at: store.delete(f"{at}limits"),
    "fleet gone": lambda store, at: store.delete(f"{at}fleet"),
    "log is a string": lambda store, at: store.set(f"{at}log", "x"),
    "head gone": lambda store, at: store.delete(f"{at}meta"),
}


@pytest.fixture
async def ledger(valkey: str, market: str) -> AsyncIterator[RedisLedger]:
    """A market with twelve claims, of which some are placed, one is leased and one is closed."""
    made = await open_redis(valkey, market)
    desk = Desk(made)
    await desk.open_pools({"dc-1": 640, "dc-2": 64}, {"atlas": 600, "borealis": None})
    for n in range(12):
        stored = await desk.submit(f"{'atlas' if n % 2 else 'borealis'}/run-{n}")
        if n % 3 == 1:
            await desk.place(stored, placement(first=250, end=270))
    one = (await made.snapshot()).claims[0]
    await made.cancel(one.becomes(Cancelled(), at=0), key=desk.key(), at=0)
    placed = next(each for each in (await made.snapshot()).claims if each.placements)
    active = placed.becomes(Active(placed.placements), at=0)
    await made.acquire(active, key=desk.key(), at=0, ttl_millis=9_000, margin_millis=0)
    yield made
    await made.close()


@fault(
    "F9",
    injected="a key deleted, a field edited or deleted, a wrong type: claims, books, limits, fleet, log, head",
    expected="SAFE_HALT within 60 s, for every process and those that start later",
)
@pytest.mark.parametrize("edit", EDITS)
async def test_edited_store_halts(
    valkey: str, market: str, ledger: RedisLedger, eventually: Eventually, edit: str
) -> None:
    assert SECONDS * 2 < 60
    other = await open_redis(valkey, market)
    verifier = Verifier(ledger.link, seconds=0.01)
    assert await verifier.once() == ""
    run = asyncio.create_task(verifier.run())
    client = Redis.from_url(valkey)
    await EDITS[edit](client, keys.prefix(market))

    async def halted() -> bool:
        for each in (ledger, other):
            try:
                await each.revision()
            except Fault as found:
                if found.reason is not FaultReason.SAFE_HALT:
                    return False
            else:
                return False
        return True

    await eventually(halted)
    run.cancel()
    await asyncio.gather(run, return_exceptions=True)
    with pytest.raises(Fault) as refused:
        await open_redis(valkey, market)
    assert refused.value.reason is FaultReason.SAFE_HALT
    await other.close()
    await client.aclose()


@fault("F9", injected="the same before any process begins", expected="found by folding the log when one begins")
@pytest.mark.parametrize("edit", ["claim edited", "claim deleted", "books edited", "limits raised"])
async def test_edited_store_is_found_by_who_begins(valkey: str, market: str, ledger: RedisLedger, edit: str) -> None:
    client = Redis.from_url(valkey)
    await EDITS[edit](client, keys.prefix(market))
    await client.aclose()
    try:
        wrong = await Verifier(ledger.link).once()
    except Fault as found:
        wrong = found.message
    assert wrong


async def test_a_market_in_use_is_found_to_be_right(ledger: RedisLedger) -> None:
    """No false alarm while others change everything all the time."""
    verifier = Verifier(ledger.link)
    desk, done = Desk(ledger), False

    async def busy() -> None:
        n = 100
        while not done:
            stored = await desk.submit(f"atlas/busy-{n}")
            if n % 2:
                stored = await desk.place(stored, placement(pool="dc-2", first=n % 700, end=n % 700 + 3))
            if n % 3:
                await ledger.cancel(stored.becomes(Cancelled(), at=0), key=desk.key(), at=0)
            n += 1

    desk._requests = iter(range(1_000, 10**9))  # type: ignore[assignment] # ids of its own
    callers = [asyncio.create_task(busy())]
    for _ in range(30):
        assert await verifier.once() == ""
    done = True
    await asyncio.gather(*callers)
    verdict = await verify(ledger.link)
    assert (verdict.wrong, verdict.kept) == ((), verdict.told)


@fault(
    "F9",
    injected="claims and books destroyed, the log whole: export, and restore elsewhere",
    expected="the digest of the market before the damage",
)
async def test_log_is_enough_to_begin_again(valkey: str, market: str, ledger: RedisLedger, tmp_path: Path) -> None:
    good = await verify(ledger.link)
    client = Redis.from_url(valkey)
    await client.delete(f"{keys.prefix(market)}live", f"{keys.prefix(market)}granted")
    await client.aclose()
    spoilt = await verify(ledger.link)
    assert spoilt.wrong
    assert spoilt.told == good.kept
    await write_copy(tmp_path / "copy", copy_lines(ledger.link))
    link = Link(valkey, market=f"{market}-b", settings=StoreSettings())
    await link.load()
    copy = await restore(link, tmp_path / "copy", incarnation="second", recovery_millis=0, now_millis=1)
    assert copy.digest == (await verify(link)).kept == good.kept
    await link.close()
    again = await open_redis(valkey, f"{market}-b", create=False)
    after = await verify(again.link)
    assert (after.wrong, after.kept) == ((), after.told)
    await again.close()


@fault("F8", injected="an export cut short, or changed by a byte", expected="restore refuses it and writes nothing")
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(where=st.floats(0, 1), flip=st.integers(0, 7), cut=st.booleans())
def test_spoilt_export_is_refused(tmp_path: Path, where: float, flip: int, cut: bool) -> None:
    async def lines() -> AsyncIterator[tuple[object, ...]]:
        head = {"format": 1, "image": 0, "fleet": "", "fleet_revision": 0, "revision": 2}
        yield ("market", head)
        for revision in (1, 2):
            yield ("event", b'{"v":1,"revision":%d,"kind":"PLAN_ASKED","at":0}' % revision)

    asyncio.run(write_copy(tmp_path / "copy", lines()))
    assert load_copy(tmp_path / "copy").image.revision == 2
    whole = bytearray((tmp_path / "copy").read_bytes())
    place = min(int(where * len(whole)), len(whole) - 2)  # the last byte is the end of a line
    if cut:
        del whole[place:]
    else:
        whole[place] ^= 1 << flip
    (tmp_path / "copy").write_bytes(whole)
    with pytest.raises(Fault) as refused:
        load_copy(tmp_path / "copy")
    assert refused.value.reason is FaultReason.SAFE_HALT


async def test_an_export_of_a_trimmed_log_restores_all_claims(valkey: str, market: str, tmp_path: Path) -> None:
    ledger = await open_redis(valkey, market, log_events_max=10)
    desk = Desk(ledger)
    await desk.open_pools()
    stored = [await desk.submit(f"atlas/run-{n}") for n in range(250)]
    await desk.place(stored[3], placement())
    before = await verify(ledger.link)
    assert (before.told, before.wrong) == ("", ())
    await write_copy(tmp_path / "early", copy_lines(ledger.link))
    await desk.submit("atlas/late")
    based = await verify(ledger.link, load_copy(tmp_path / "early").image)
    assert (based.wrong, based.kept) == ((), based.told)
    await write_copy(tmp_path / "copy", copy_lines(ledger.link))
    assert sum(line[0] == "claim" for line in read_copy(tmp_path / "copy")) == 251
    await ledger.close()
    link = Link(valkey, market=f"{market}-b", settings=StoreSettings())
    await link.load()
    await restore(link, tmp_path / "copy", incarnation="second", recovery_millis=0, now_millis=1)
    after = await verify(link)
    assert (after.kept, after.wrong) == (based.kept, ())
    await link.close()
