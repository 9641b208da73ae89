"""What only a server can do wrong: lose history, forget functions, be weak, be slow, be full."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterator
from os import kill
from pathlib import Path

import pytest
from redis.asyncio import Redis
from redis.exceptions import AuthenticationError, ReadOnlyError, ResponseError
from redis.exceptions import ConnectionError as StoreGone

from broker.domain.claim import Cancelled
from broker.domain.faults import Fault, FaultReason
from broker.ledger.redis import RedisLedger, keys
from broker.ledger.redis.embedded import EmbeddedStore
from broker.ledger.redis.faults import translated
from broker.ledger.redis.library import library
from tests.builders import claim, key, placement
from tests.ledger.ledgers import Desk, open_redis

OK_REMEDY = re.compile(r"[A-Z].+")


@pytest.fixture
def own_store(tmp_path: Path) -> Iterator[EmbeddedStore]:
    """A server that the test may ruin."""
    with EmbeddedStore.start(tmp_path / "store") as store:
        yield store


async def test_a_market_is_only_made_on_request(valkey: str, market: str) -> None:
    with pytest.raises(Fault) as refused:
        await open_redis(valkey, market, create=False)
    assert refused.value.reason is FaultReason.SAFE_HALT
    made = await open_redis(valkey, market)
    again = await RedisLedger.open(valkey, market=market, new_id=lambda: "second", now=lambda: 9, create=True)
    assert (await again.snapshot()).incarnation == "first"
    await made.close()
    await again.close()


async def test_a_flushed_store_halts_the_broker_for_good(own_store: EmbeddedStore, market: str) -> None:
    ledger = await open_redis(own_store.url, market)
    await ledger.submit(claim(), key=key("r1"), at=0)
    client = Redis.from_url(own_store.url)
    await client.flushall()
    for _ in range(2):
        with pytest.raises(Fault) as refused:
            await ledger.snapshot()
        assert refused.value.reason is FaultReason.SAFE_HALT
        with pytest.raises(Fault) as refused:
            await ledger.submit(claim(), key=key("r1"), at=0)
        assert refused.value.reason is FaultReason.SAFE_HALT
        other = await open_redis(own_store.url, market)  # an operator made it anew: still not the market we knew
        await other.close()
    assert await client.exists(f"{keys.prefix(market)}live") == 0
    await ledger.close()
    await client.aclose()


@pytest.mark.parametrize(("field", "value"), [("revision", "1"), ("incarnation", "second")])
async def test_history_that_changes_halts_the_broker(valkey: str, market: str, field: str, value: str) -> None:
    ledger = await open_redis(valkey, market)
    desk = Desk(ledger)
    await desk.submit("atlas/run-1")
    await desk.submit("atlas/run-2")
    client = Redis.from_url(valkey)
    await client.hset(f"{keys.prefix(market)}meta", field, value)
    with pytest.raises(Fault) as refused:
        await ledger.revision()
    assert refused.value.reason is FaultReason.SAFE_HALT
    await ledger.close()
    await client.aclose()


async def test_a_market_without_its_head_is_not_made_anew(valkey: str, market: str) -> None:
    ledger = await open_redis(valkey, market)
    await ledger.submit(claim(), key=key("r1"), at=0)
    client = Redis.from_url(valkey)
    await client.delete(f"{keys.prefix(market)}meta")
    with pytest.raises(Fault) as refused:
        await open_redis(valkey, market)
    assert refused.value.reason is FaultReason.SAFE_HALT
    await ledger.close()
    await client.aclose()


async def test_a_record_of_a_later_format_halts(valkey: str, market: str) -> None:
    ledger = await open_redis(valkey, market)
    stored = (await ledger.submit(claim(), key=key("r1"), at=0)).claim
    client = Redis.from_url(valkey)
    await client.hset(f"{keys.prefix(market)}live", stored.name.key, '1\n[]\n{"v":2}')
    with pytest.raises(Fault) as refused:
        await ledger.claim(stored.name)
    assert refused.value.reason is FaultReason.SAFE_HALT
    await ledger.close()
    await client.aclose()


async def test_every_key_expires_or_is_on_the_permanent_list(valkey: str, market: str) -> None:
    ledger = await open_redis(valkey, market)
    desk = Desk(ledger)
    await desk.open_pools()
    placed = await desk.place(await desk.submit("atlas/run-1"), placement())
    await ledger.amend(placed, key=desk.key(), at=0)
    last = await ledger.claim(placed.name)
    await ledger.cancel(last.becomes(Cancelled(), at=0), key=desk.key(), at=0)
    await ledger.ask_plan(key=desk.key(), at=0, time_limit_seconds=None)
    client = Redis.from_url(valkey)
    permanent = {f"{keys.prefix(market)}{name}" for name in keys.PERMANENT}
    found = {raw.decode() async for raw in client.scan_iter(match=f"{keys.prefix(market)}*")}
    assert found & permanent
    for name in found - permanent:
        assert 24 * 3600 < await client.ttl(name) <= 25 * 3600, name
    await ledger.close()
    await client.aclose()


async def test_forgotten_functions_are_loaded_again(own_store: EmbeddedStore, market: str) -> None:
    ledger = await open_redis(own_store.url, market)
    client = Redis.from_url(own_store.url)
    await client.function_flush()
    assert (await ledger.submit(claim(), key=key("r1"), at=0)).claim.revision == 1
    assert library().function("submit").startswith("cb_")
    await ledger.close()
    await client.aclose()


async def test_old_events_are_compacted(valkey: str, market: str) -> None:
    ledger = await open_redis(valkey, market, log_events_max=10)
    desk = Desk(ledger)
    for _ in range(250):
        await ledger.ask_plan(key=desk.key(), at=0, time_limit_seconds=None)
    with pytest.raises(Fault) as refused:
        await ledger.events(0, limit=10)
    assert refused.value.reason is FaultReason.COMPACTED
    oldest = int(refused.value.facts["oldest_revision"])
    assert oldest > 100
    assert (await ledger.events(oldest - 1, limit=1))[0].revision == oldest
    await ledger.close()


@pytest.mark.parametrize(
    ("setting", "value"), [("appendonly", "no"), ("appendfsync", "everysec"), ("maxmemory-policy", "allkeys-lru")]
)
async def test_a_store_that_may_lose_changes_is_refused(own_store: EmbeddedStore, setting: str, value: str) -> None:
    client = Redis.from_url(own_store.url)
    await client.config_set(setting, value)
    await client.aclose()
    with pytest.raises(Fault) as refused:
        await open_redis(own_store.url, "m")
    assert refused.value.reason is FaultReason.SAFE_HALT
    assert setting in refused.value.message
    relaxed = await RedisLedger.open(
        own_store.url, market="m", new_id=lambda: "i", now=lambda: 0, create=True, durability="relaxed"
    )
    await relaxed.close()


async def test_a_full_store_refuses_changes_and_still_reads(own_store: EmbeddedStore, market: str) -> None:
    ledger = await open_redis(own_store.url, market)
    await ledger.submit(claim(), key=key("r1"), at=0)
    client = Redis.from_url(own_store.url)
    await client.config_set("maxmemory", 1)
    with pytest.raises(Fault) as refused:
        await ledger.submit(claim("atlas/run-2"), key=key("r2"), at=0)
    assert refused.value.reason is FaultReason.STORE_FULL
    assert len((await ledger.snapshot()).claims) == 1
    await client.config_set("maxmemory", 0)
    assert (await ledger.submit(claim("atlas/run-2"), key=key("r2"), at=0)).claim.revision == 2
    await ledger.close()
    await client.aclose()


def test_the_store_shares_the_session_but_not_the_terminal(own_store: EmbeddedStore) -> None:
    """The solver steps back for its own session only; Ctrl-C reaches the process group in the foreground."""
    assert os.getsid(own_store.pid) == os.getsid(0)
    assert os.getpgid(own_store.pid) == own_store.pid != os.getpgid(0)


async def test_a_store_that_hangs_is_given_up_in_time(own_store: EmbeddedStore, market: str) -> None:
    ledger = await open_redis(own_store.url, market, call_seconds_max=0.2)
    kill(own_store.pid, signal.SIGSTOP)
    try:
        with pytest.raises(Fault) as refused:
            await ledger.submit(claim(), key=key("r1"), at=0)
        assert refused.value.reason is FaultReason.STORE_UNAVAILABLE
    finally:
        kill(own_store.pid, signal.SIGCONT)
    settled = await ledger.submit(claim(), key=key("r1"), at=0)  # the outcome is settled by the same id
    assert settled.claim.revision == 1
    await ledger.close()


async def test_nobody_answers() -> None:
    with pytest.raises(Fault) as refused:
        await open_redis("redis://127.0.0.1:1", "m")
    assert refused.value.reason is FaultReason.STORE_UNAVAILABLE


@pytest.mark.parametrize(
    "error",
    [
        ResponseError("MISCONF Errors writing to the AOF file: No space left on device"),
        ResponseError("BUSY Redis is busy running a script"),
        ResponseError("NOREPLICAS Not enough good replicas to write."),
        ResponseError("WRONGTYPE Operation against a key holding the wrong kind of value"),
        ReadOnlyError("You can't write against a read only replica."),
        StoreGone("Error 111"),
        TimeoutError(),
        BrokenPipeError(),
    ],
    ids=str,
)
def test_every_error_of_the_store_becomes_a_fault_with_a_next_step(error: Exception) -> None:
    with pytest.raises(Fault) as refused, translated():
        raise error
    assert refused.value.reason is FaultReason.STORE_UNAVAILABLE
    assert OK_REMEDY.match(refused.value.remedy)


@pytest.mark.parametrize(
    "error",
    [
        ResponseError("WRONGTYPE Operation against {m}:live"),
        ResponseError("MISCONF Errors writing to /secret/aof"),
        StoreGone("Error 2 connecting to unix:///secret/store.sock. No such file or directory."),
        AuthenticationError("WRONGPASS for user secret"),
        OSError(2, "No such file or directory", "/secret/store.sock"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_what_the_store_said_is_for_the_log_only(error: Exception, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(Fault) as refused, translated():
        raise error
    told = f"{refused.value} {refused.value.message} {refused.value.remedy} {refused.value.facts}"
    assert not re.search(r"secret|WRONGTYPE|MISCONF|WRONGPASS|\{m\}|Error", told), told
    (logged,) = caplog.records
    assert (logged.levelname, str(error) in logged.getMessage()) == ("WARNING", True)


async def test_a_store_that_is_gone_is_told_without_its_address(
    own_store: EmbeddedStore, market: str, caplog: pytest.LogCaptureFixture
) -> None:
    ledger = await open_redis(own_store.url, market)
    own_store.kill()
    with pytest.raises(Fault) as refused:
        await ledger.snapshot()
    assert (refused.value.message, refused.value.facts) == ("the store cannot be reached", {})
    assert "the store cannot be reached: " in caplog.text
    await ledger.close()


def test_a_market_name_cannot_reach_into_another_market() -> None:
    for name in ("", "a}b", "a:b", "A", "-a", "a" * 64):
        with pytest.raises(ValueError, match="market name"):
            keys.prefix(name)
    assert keys.replay_key("m", "a:b", "c") != keys.replay_key("m", "a", "b:c")
