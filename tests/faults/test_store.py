"""The store dies, loses power, or comes back with less than it had: nothing acknowledged is lost, none is guessed."""

from __future__ import annotations

import random
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from redis.asyncio import Redis

from broker.app import open_market
from broker.domain.claim import Active, Committed
from broker.domain.faults import Fault, FaultReason
from broker.ledger.copy_file import write_copy
from broker.ledger.redis import keys
from broker.ledger.redis.copying import copy_lines, restore
from broker.ledger.redis.embedded import EmbeddedStore
from broker.ledger.redis.link import Link, StoreSettings
from broker.ledger.redis.verify import Verifier, verify
from broker.settings import ServeSettings
from broker.witness import Witness
from tests.builders import claim, key, placement, plan
from tests.conftest import Eventually
from tests.faults.catalogue import fault
from tests.faults.disk import Disk
from tests.faults.load import assert_sound, market_of
from tests.faults.toxic import toxic
from tests.ledger.ledgers import Desk, open_redis

HALF_MINUTE = 30.0


@fault(
    "F3",
    injected="kill -9 of the store under load, started again 0.5 s later, again and again (`--count 50`)",
    expected="nothing acknowledged is lost or doubled; UNAVAILABLE meanwhile; answers again within 3 s of the store",
)
async def test_killed_store_loses_nothing(tmp_path: Path, count: int, eventually: Eventually) -> None:
    store = EmbeddedStore.start(tmp_path / "store")
    ledger, load = await market_of(store.url)
    load.start()
    for _ in range(count):
        await eventually(partial(load.more, len(load.acknowledged) + 50), within=HALF_MINUTE)
        store.kill()
        killed = time.monotonic()
        refused = len(load.refusals)

        async def refusals(killed: float = killed, refused: int = refused) -> bool:
            return len(load.refusals) > refused and time.monotonic() - killed >= 0.5

        await eventually(refusals)
        store = EmbeddedStore.start(tmp_path / "store")
        ready, answered = time.monotonic(), len(load.acknowledged)
        await eventually(partial(load.more, answered + 1), within=HALF_MINUTE)
        assert time.monotonic() - ready <= 3.0
    await load.stop()
    with store:
        await assert_sound(ledger, load.acknowledged)
        await ledger.close()


@fault(
    "F4",
    injected="power lost under load: the store is killed and its file cut where it was last synced (`--count 50`)",
    expected="appendfsync always: nothing acknowledged is lost",
)
async def test_power_loss_loses_nothing(
    tmp_path: Path, count: int, eventually: Eventually, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = Disk.made(tmp_path, monkeypatch)
    store = disk.start()
    ledger, load = await market_of(store.url)
    load.start()
    for _ in range(count):
        await eventually(partial(load.more, len(load.acknowledged) + 50), within=HALF_MINUTE)
        disk.lose_power(store)
        store = disk.start()
    await load.stop()
    with store:
        await assert_sound(ledger, load.acknowledged)
        await ledger.close()


async def test_power_loss_is_one_where_the_store_acknowledges_first(
    tmp_path: Path, eventually: Eventually, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The test above can fail: with everysec, which the broker refuses, the same fault loses what was acknowledged."""
    disk = Disk.made(tmp_path, monkeypatch)
    store = disk.start()
    ledger, load = await market_of(store.url)
    client = Redis.from_url(store.url)
    await client.config_set("appendfsync", "everysec")
    load.start()
    await eventually(partial(load.more, 300), within=HALF_MINUTE)
    acknowledged = dict(load.acknowledged)
    lost = disk.lose_power(store)
    await load.stop()
    await ledger.close()
    await client.aclose()
    assert lost > 0
    with disk.start() as store:
        again = await open_redis(store.url, "m", create=False)
        assert await again.revision() < max(acknowledged.values())
        await again.close()


@fault("F4", injected="appendfsync everysec, or no append-only file", expected="the broker refuses to start: SAFE_HALT")
@pytest.mark.parametrize(("setting", "value"), [("appendfsync", "everysec"), ("appendonly", "no")])
async def test_a_store_that_acknowledges_first_is_refused(tmp_path: Path, setting: str, value: str) -> None:
    with EmbeddedStore.start(tmp_path / "store") as store:
        client = Redis.from_url(store.url)
        await client.config_set(setting, value)
        await client.aclose()
        with pytest.raises(Fault) as refused:
            await open_market(ServeSettings(data_dir=tmp_path), store.url, create=True)
        assert refused.value.reason is FaultReason.SAFE_HALT


async def _filled(directory: Path) -> tuple[int, Path]:
    """A store with twenty claims, stopped: its revision and its append-only file."""
    with EmbeddedStore.start(directory) as store:
        ledger, load = await market_of(store.url)
        for n in range(20):
            await load.once(f"atlas/run-{n}")
        revision = await ledger.revision()
        await ledger.close()
    (file,) = (directory / "appendonlydir").glob("*.incr.aof")
    return revision, file


@fault(
    "F5",
    injected="the last 1 to 64 bytes of the append-only file are gone",
    expected="the torn change is dropped whole",
)
@pytest.mark.parametrize("torn", [1, 2, 17, 64])
async def test_torn_tail_is_dropped_whole(tmp_path: Path, torn: int) -> None:
    revision, file = await _filled(tmp_path / "store")
    with file.open("r+b") as held:
        held.truncate(file.stat().st_size - torn)
    with EmbeddedStore.start(tmp_path / "store") as store:
        ledger = await open_redis(store.url, "m", create=False)
        assert await ledger.revision() == revision - 1
        await assert_sound(ledger, {})
        witness = Witness(tmp_path, "m")  # what was seen before is remembered outside of the store
        witness.note("first", revision)
        with pytest.raises(Fault) as refused:
            witness.check("first", revision - 1)
        assert refused.value.reason is FaultReason.SAFE_HALT
        await ledger.close()


@fault(
    "F5",
    injected="one bit of the append-only file is flipped, anywhere",
    expected="the store does not start, or the market is halted; in the last change: as if that were torn off",
)
async def test_flipped_bit_is_never_believed(tmp_path: Path, count: int, seed: int) -> None:
    directory, rng = tmp_path / "store", random.Random(seed)
    _, file = await _filled(directory)
    whole = file.read_bytes()
    with EmbeddedStore.start(directory) as store:
        ledger = await open_redis(store.url, "m", create=False)
        good = await verify(ledger.link)
        await ledger.close()
    whole = file.read_bytes()
    for _ in range(4 * count):
        spoilt = bytearray(whole)
        spoilt[rng.randrange(len(spoilt))] ^= 1 << rng.randrange(8)
        file.write_bytes(spoilt)
        try:
            store = EmbeddedStore.start(directory)
        except Fault as refused:
            assert refused.reason is FaultReason.SAFE_HALT  # noqa: PT017 - it may also start
            continue
        with store:
            link = Link(store.url, market="m", settings=StoreSettings())
            try:
                await link.load()
                verdict = await verify(link)
                earlier = verdict.revision < good.revision  # which the witness beside the store refuses
                assert verdict.kept == good.kept or verdict.wrong or earlier, "another market was believed"
            except Fault as refused:
                assert refused.reason is FaultReason.SAFE_HALT  # noqa: PT017 - or it is told by the verdict
            finally:
                await link.close()


@fault(
    "F5",
    injected="a letter of the store's functions is another one in the append-only file: the store runs another program",
    expected="the functions are replaced before the first call on a new line",
)
async def test_damaged_functions_are_replaced(tmp_path: Path) -> None:
    revision, file = await _filled(tmp_path / "store")
    whole = file.read_bytes()
    file.write_bytes(whole.replace(b"return body(keys, args)", b"return bndy(keys, args)"))
    assert file.read_bytes() != whole
    with EmbeddedStore.start(tmp_path / "store") as store:
        ledger = await open_redis(store.url, "m", create=False)
        assert await ledger.revision() == revision
        await assert_sound(ledger, {})
        await ledger.close()


@fault(
    "F6",
    injected="an event taken out of the middle of the log",
    expected="the market is halted: the log is dropped from the front only",
)
async def test_hole_in_the_log_halts(tmp_path: Path) -> None:
    await _filled(tmp_path / "store")
    with EmbeddedStore.start(tmp_path / "store") as store:
        client = Redis.from_url(store.url)
        assert await client.xdel(keys.log_key("m"), "9-0") == 1
        await client.aclose()
        ledger = await open_redis(store.url, "m", create=False)
        for look in (verify(ledger.link), ledger.events(7, limit=9)):
            with pytest.raises(Fault) as refused:
                await look
            assert refused.value.reason is FaultReason.SAFE_HALT
        await ledger.close()


@fault(
    "F8",
    injected="FLUSHALL, FLUSHDB, another database, an empty store behind the same address",
    expected="SAFE_HALT, also for a broker started anew with --create; never a market in which all is free",
)
@pytest.mark.parametrize("wiped", ["FLUSHALL", "FLUSHDB", "SELECT", "EMPTY"])
async def test_wiped_store_halts(tmp_path: Path, wiped: str) -> None:
    settings = ServeSettings(data_dir=tmp_path / "broker", market="m")
    with EmbeddedStore.start(tmp_path / "store") as store, EmbeddedStore.start(tmp_path / "empty") as empty:
        async with toxic(store.url) as line:
            ledger, load = await market_of(line.url)
            await load.once("atlas/run-1")
            Witness(settings.data_dir, "m").note("first", await ledger.revision())
            url = line.url
            if wiped == "SELECT":
                url = f"{line.url}/1"
            elif wiped == "EMPTY":
                line.target = empty.url.removeprefix("unix://")
                line.cut()
            else:
                client = Redis.from_url(store.url)
                await (client.flushall() if wiped == "FLUSHALL" else client.flushdb())
                await client.aclose()
            if wiped != "SELECT":
                with pytest.raises(Fault) as refused:
                    await load.once("atlas/run-2")
                assert refused.value.reason is FaultReason.SAFE_HALT
            with pytest.raises(Fault) as refused:
                await open_market(settings, url, create=True)
            assert refused.value.reason is FaultReason.SAFE_HALT
            client = Redis.from_url(url)
            assert not await client.exists(f"{keys.prefix('m')}meta")
            await client.aclose()
            await ledger.close()


@fault(
    "F8",
    injected="FLUSHALL, and the market restored from its export",
    expected="the same digest, another incarnation; leases go on, repeated requests are answered as before",
)
async def test_wiped_store_is_restored_from_its_export(tmp_path: Path) -> None:
    with EmbeddedStore.start(tmp_path / "store") as store:
        ledger, load = await market_of(store.url)
        stored = await load.once("atlas/run-1")
        for n in range(2, 30):
            await load.once(f"atlas/run-{n}")
        active = replace(stored, state=Active((placement(),)))
        lease = await ledger.acquire(active, key=key("lease"), at=0, ttl_millis=9_000, margin_millis=0)
        await ledger.commit([], plan(), fence=await Desk(ledger).lead(), at=0)
        before, kept = await verify(ledger.link), await ledger.plan(None)
        await write_copy(tmp_path / "copy.gz", copy_lines(ledger.link))
        await ledger.close()
        client = Redis.from_url(store.url)
        await client.flushall()
        await client.aclose()
        link = Link(store.url, market="m", settings=StoreSettings())
        await link.load()
        copy = await restore(link, tmp_path / "copy.gz", incarnation="second", recovery_millis=60_000, now_millis=1)
        with pytest.raises(Fault):
            await restore(link, tmp_path / "copy.gz", incarnation="third", recovery_millis=0, now_millis=1)
        await link.close()
        again = await open_redis(store.url, "m", create=False)
        after = await verify(again.link)
        assert (after.kept, after.told, copy.digest) == (before.kept, before.kept, before.kept)
        assert after.wrong == ()
        assert (await again.snapshot()).incarnation == "second"
        assert again.token_key == ledger.token_key
        assert await again.plan(None) == kept
        repeated = await again.submit(
            claim("atlas/run-1"),
            key=key("atlas/run-1"),
            at=0,
            candidates=[claim("atlas/run-1").becomes(Committed((placement(),)), at=0)],
        )
        assert (repeated.replayed, repeated.claim.revision) == (True, stored.revision)
        found = await again.lease(stored.name)
        assert found is not None
        assert (found.fence, found.ttl_millis, found.millis_left) == (lease.claim.revision, 9_000, 9_000)
        assert await Verifier(again.link).once() == ""
        await assert_sound(again, {})
        await again.close()


@fault(
    "F12",
    injected="no space left for the append-only file, under load",
    expected="UNAVAILABLE, nothing acknowledged that is not on disk; goes on once there is space",
)
async def test_full_disk_acknowledges_nothing(
    tmp_path: Path, eventually: Eventually, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = Disk.made(tmp_path, monkeypatch)
    store = disk.start()
    ledger, load = await market_of(store.url)
    load.start()
    await eventually(partial(load.more, 50), within=HALF_MINUTE)
    disk.full.touch()

    async def gone() -> bool:
        return not store.alive

    await eventually(gone)  # with appendfsync always it does not go on without a disk
    done = len(load.acknowledged)
    for _ in range(2):
        store = disk.start()
        await eventually(gone, within=HALF_MINUTE)
    assert len(load.acknowledged) == done
    disk.full.unlink()
    store = disk.start()
    await eventually(partial(load.more, done + 50), within=HALF_MINUTE)
    await load.stop()
    with store:
        await assert_sound(ledger, load.acknowledged)
        await ledger.close()
