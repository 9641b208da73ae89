"""The line to the store is slow, silent, half open or cut, or the store refuses: nobody waits long, none guesses."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator
from functools import partial

import pytest
from redis.asyncio import Redis

from broker.domain.claim import Active, Cancelled
from broker.domain.faults import Fault, FaultReason
from broker.ledger.port import Renewal
from broker.ledger.redis import RedisLedger, keys
from broker.ledger.redis.embedded import EmbeddedStore
from broker.ledger.redis.link import Link, StoreSettings
from broker.ledger.redis.watch import SECONDS, watch_settings
from tests.builders import claim, fleet, key, placement, plan
from tests.conftest import Eventually
from tests.faults.catalogue import fault
from tests.faults.load import Load, assert_sound
from tests.faults.toxic import Toxic, answering, toxic
from tests.ledger.ledgers import Desk, open_redis

PER_CALL = StoreSettings().call_seconds_max
SLACK = 0.75  # this machine is busy, too
AT_ONCE = 0.25


@pytest.fixture
async def line(valkey: str) -> AsyncIterator[Toxic]:
    async with toxic(valkey) as proxy:
        yield proxy


@pytest.fixture
async def ledger(line: Toxic, market: str) -> AsyncIterator[RedisLedger]:
    made = await open_redis(line.url, market, call_seconds_max=PER_CALL)
    yield made
    await made.close()


async def _refused(ledger: RedisLedger) -> tuple[FaultReason | None, float]:
    """How a read is answered, and how soon."""
    start, reason = time.monotonic(), None
    try:
        await ledger.revision()
    except Fault as found:
        reason = found.reason
    return reason, time.monotonic() - start


def test_a_call_waits_a_second_at_most() -> None:
    assert 0.25 <= PER_CALL <= 1.0


@fault("F13", injected="each reply 50 or 500 ms late", expected="calls take so much longer, and succeed")
@pytest.mark.parametrize("seconds", [0.05, 0.5])
async def test_slow_store_is_waited_for(line: Toxic, ledger: RedisLedger, seconds: float) -> None:
    await ledger.revision()
    line.latency = seconds
    start = time.monotonic()
    await asyncio.gather(*(ledger.submit(claim(f"atlas/run-{n}"), key=key(f"r{n}"), at=0) for n in range(100)))
    assert seconds <= time.monotonic() - start < 5 * seconds + SLACK
    assert await ledger.revision() == 100


@fault(
    "F13",
    injected="each reply 5 s late",
    expected="UNAVAILABLE within a second, after two such at once; answers again within 2 s; one effect each",
)
async def test_very_slow_store_is_given_up(line: Toxic, ledger: RedisLedger, eventually: Eventually) -> None:
    await ledger.submit(claim("atlas/run-0"), key=key("r0"), at=0)
    line.latency = 5.0
    for _ in range(2):
        start = time.monotonic()
        found = await asyncio.gather(
            *(ledger.submit(claim(f"atlas/run-{n}"), key=key(f"r{n}"), at=0) for n in range(200)),
            return_exceptions=True,
        )
        assert time.monotonic() - start < PER_CALL + SLACK
        assert {each.reason for each in found if isinstance(each, Fault)} == {FaultReason.STORE_UNAVAILABLE}
    reason, seconds = await _refused(ledger)
    assert (reason, seconds < AT_ONCE) == (FaultReason.STORE_UNAVAILABLE, True)
    line.latency = 0.0
    line.cut()
    start = time.monotonic()

    async def answered() -> bool:
        return (await _refused(ledger))[0] is None

    await eventually(answered, within=10.0)
    assert time.monotonic() - start < 2.0 + SLACK
    repeated = [await ledger.submit(claim(f"atlas/run-{n}"), key=key(f"r{n}"), at=0) for n in range(200)]
    assert await ledger.revision() == 200
    assert len({each.claim.revision for each in repeated}) == 200


@fault(
    "F14",
    injected="the store takes connections and never answers; requests are lost, or only replies (half open)",
    expected="each call ends within a second, the third at once; no task is left; answers again within 2 s",
)
@pytest.mark.parametrize("lost", ["requests", "replies", "both"])
async def test_hung_store_stalls_nobody(line: Toxic, ledger: RedisLedger, eventually: Eventually, lost: str) -> None:
    await ledger.revision()
    before = len(asyncio.all_tasks())
    line.requests_lost, line.replies_lost = lost != "replies", lost != "requests"
    for _ in range(2):
        reason, seconds = await _refused(ledger)
        assert reason is FaultReason.STORE_UNAVAILABLE
        assert seconds < PER_CALL + SLACK
    found = await asyncio.gather(*(_refused(ledger) for _ in range(50)))
    assert {reason for reason, _ in found} == {FaultReason.STORE_UNAVAILABLE}
    assert sum(seconds < AT_ONCE for _, seconds in found) >= 45  # some may look whether it answers again
    line.requests_lost = line.replies_lost = False
    line.cut()

    async def answered() -> bool:
        return (await _refused(ledger))[0] is None

    await eventually(answered, within=2.0 + SLACK)

    async def settled() -> bool:
        return len(asyncio.all_tasks()) <= before

    await eventually(settled)


@fault(
    "F14", injected="a read of much that never ends", expected="whoever reads or changes little is answered meanwhile"
)
async def test_much_at_a_time_holds_up_nobody(ledger: RedisLedger) -> None:
    stuck = asyncio.create_task(ledger.link._bulk.send("BLPOP", "no-such-list", 0))
    await asyncio.sleep(0)
    async with asyncio.timeout(PER_CALL):
        await ledger.submit(claim(), key=key("r1"), at=0)
    assert not stuck.done()
    stuck.cancel()
    await asyncio.gather(stuck, return_exceptions=True)


@fault("F17", injected="the line is cut at random under load, and led back", expected="nothing lost, one effect each")
async def test_flapping_line_loses_nothing(line: Toxic, market: str, seed: int, eventually: Eventually) -> None:
    ledger, rng = await open_redis(line.url, market), random.Random(seed)
    await Desk(ledger).open_pools({"dc-1": 1_000_000})
    load = Load(ledger)
    load.start()
    for _ in range(40):
        await eventually(partial(load.more, len(load.acknowledged) + rng.randrange(1, 20)), within=30.0)
        line.replies_lost = rng.random() < 0.3  # what was under way is done, and nobody hears of it
        await asyncio.sleep(0.005)
        line.cut()
        line.replies_lost = False
    await load.stop()
    assert load.refusals
    await assert_sound(ledger, load.acknowledged)
    await ledger.close()


@fault(
    "F18",
    injected="1, 10 or 30 of 100 packets to and from the store are lost, as a stream of TCP shows it: late, in order",
    expected="only latency: what is acknowledged is kept, once, and the line goes on",
)
@pytest.mark.parametrize("loss", [0.01, 0.1, 0.3])
async def test_lost_packets_cost_time_only(
    line: Toxic, valkey: str, market: str, loss: float, seed: int, eventually: Eventually
) -> None:
    ledger = await open_redis(line.url, market)
    await Desk(ledger).open_pools({"dc-1": 1_000_000})
    line.loss, line.rng = loss, random.Random(seed)
    load = Load(ledger)
    load.start()
    await eventually(partial(load.more, 100), within=30.0)
    await load.stop()
    await ledger.close()
    line.cut()  # what nobody waits for any more might still arrive
    direct = await open_redis(valkey, market, create=False)
    await assert_sound(direct, load.acknowledged)
    await direct.close()


REFUSALS = {
    b"-BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.": "STORE_UNAVAILABLE",
    b"-MISCONF Errors writing to the AOF file: No space left on device": "STORE_UNAVAILABLE",
    b"-LOADING Redis is loading the dataset in memory": "STORE_UNAVAILABLE",
    b"-READONLY You can't write against a read only replica.": "STORE_UNAVAILABLE",
    b"-NOREPLICAS Not enough good replicas to write.": "STORE_UNAVAILABLE",
    b"-MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.": "STORE_UNAVAILABLE",
    b"-CLUSTERDOWN The cluster is down": "STORE_UNAVAILABLE",
    b"-TRYAGAIN Multiple keys request during rehashing of slot": "STORE_UNAVAILABLE",
    b"-MOVED 3999 127.0.0.1:6381": "STORE_UNAVAILABLE",
    b"-ASK 3999 127.0.0.1:6381": "STORE_UNAVAILABLE",
    b"-NOAUTH Authentication required.": "STORE_UNAVAILABLE",
    b"-NOPERM User app has no permissions to run the 'fcall' command": "STORE_UNAVAILABLE",
    b"-ERR Function not found": "STORE_UNAVAILABLE",
    b"-NOSCRIPT No matching script. Please use EVAL.": "STORE_UNAVAILABLE",
    b"-WRONGTYPE Operation against a key holding the wrong kind of value": "STORE_UNAVAILABLE",
    b"-OOM command not allowed when used memory > 'maxmemory'.": "STORE_FULL",
    b"$5\r\nhello": "SAFE_HALT",
    b"*2\r\n:1\r\n:2": "SAFE_HALT",
    b"%garbage": "STORE_UNAVAILABLE",
}


@fault(
    "F16",
    injected="the store answers BUSY, MISCONF, LOADING, READONLY, NOREPLICAS, NOSCRIPT, OOM, MOVED and others",
    expected="UNAVAILABLE with its reason, RESOURCE_EXHAUSTED for OOM; never INTERNAL; none of its words are told",
)
@pytest.mark.parametrize("answer", REFUSALS, ids=lambda answer: answer.split(b" ")[0].decode().strip("-$"))
async def test_each_refusal_of_the_store_has_a_reason(answer: bytes) -> None:
    async with answering(answer + b"\r\n") as url:
        link = Link(url, market="m", settings=StoreSettings(call_seconds_max=0.5, bulk_seconds_max=0.5))
        for ask in (link.read, link.call):
            with pytest.raises(Fault) as refused:
                await ask("head")
            assert refused.value.reason.name == REFUSALS[answer]
            assert refused.value.remedy
            assert answer[1:12].decode() not in str(refused.value)
        await link.close()


@fault("F16", injected="SCRIPT and FUNCTION FLUSH", expected="functions are loaded again within the call, once")
async def test_forgotten_functions_are_loaded_again(valkey: str, ledger: RedisLedger) -> None:
    client = Redis.from_url(valkey)
    await client.function_flush()
    await client.aclose()
    assert (await ledger.submit(claim(), key=key("r1"), at=0)).claim.revision == 1


@fault(
    "F10",
    injected="maxmemory below what is used",
    expected="what is new RESOURCE_EXHAUSTED STORE_FULL; renewing, releasing, cancelling and reading work",
)
async def test_full_store_still_renews_and_gives_back(own_store: EmbeddedStore, market: str) -> None:
    ledger = await open_redis(own_store.url, market)
    desk = Desk(ledger)
    await desk.open_pools()
    one, two, three = [await desk.place(await desk.submit(f"atlas/run-{n}"), placement()) for n in range(3)]
    leases = []
    for each in (one, two):
        active = each.becomes(Active(each.placements), at=0)
        done = await ledger.acquire(active, key=desk.key(), at=0, ttl_millis=9_000, margin_millis=0)
        leases.append(done.claim)
    client = Redis.from_url(own_store.url)
    await client.config_set("maxmemory", 1)
    fence = await desk.lead()  # the planner goes on leading
    for attempt in (
        lambda: ledger.submit(claim("atlas/run-9"), key=desk.key(), at=0),
        lambda: ledger.amend(three, key=desk.key(), at=0),
        lambda: ledger.commit([three], plan(), fence=fence, at=0),
        lambda: ledger.apply_fleet(fleet({"dc-1": 1}), key=desk.key(scope="-"), at=0),
        lambda: ledger.acquire(
            three.becomes(Active(three.placements), at=0), key=desk.key(), at=0, ttl_millis=9_000, margin_millis=0
        ),
    ):
        revision = await ledger.revision()
        with pytest.raises(Fault) as refused:
            await attempt()
        assert refused.value.reason is FaultReason.STORE_FULL
        assert await ledger.revision() == revision
    assert await ledger.renew([Renewal(lease.name, lease.revision) for lease in leases]) == (9_000, 9_000)
    given_back = leases[0].becomes(Cancelled(), at=0)
    await ledger.release(given_back, fence=leases[0].revision, key=desk.key(), at=0)
    await ledger.cancel(three.becomes(Cancelled(), at=0), key=desk.key(), at=0)
    assert len((await ledger.snapshot()).claims) == 1
    await client.config_set("maxmemory", 0)
    await ledger.submit(claim("atlas/run-9"), key=desk.key(), at=0)
    await ledger.close()
    await client.aclose()


@fault(
    "F11",
    injected="maxmemory-policy allkeys-lru, appendfsync everysec or no append-only file, set while a broker runs",
    expected="SAFE_HALT within 10 s",
)
@pytest.mark.parametrize(
    ("setting", "value"), [("maxmemory-policy", "allkeys-lru"), ("appendfsync", "everysec"), ("appendonly", "no")]
)
async def test_settings_that_lose_keys_halt(
    own_store: EmbeddedStore, market: str, setting: str, value: str, eventually: Eventually
) -> None:
    assert SECONDS + PER_CALL < 10
    ledger = await open_redis(own_store.url, market)
    watch = asyncio.create_task(watch_settings(ledger.link, "strict", seconds=0.01))
    await ledger.submit(claim(), key=key("r1"), at=0)
    client = Redis.from_url(own_store.url)
    await client.config_set(setting, value)

    async def halted() -> bool:
        return (await _refused(ledger))[0] is FaultReason.SAFE_HALT

    await eventually(halted)
    await watch
    await ledger.close()
    await client.aclose()


HOUR_MILLIS = 3_600_000


@fault(
    "F19",
    injected="the store's clock leaps by 2 s, 120 s, an hour, to 1970 and to 2038, forth and back",
    expected="no lease ends sooner; it can be renewed; time goes on afterwards",
)
@pytest.mark.parametrize("leap", [2_100, -2_000, 120_000, -120_000, HOUR_MILLIS, -HOUR_MILLIS, -(10**12), 10**12])
async def test_leap_of_the_clock_ends_no_lease(valkey: str, market: str, leap: int) -> None:
    now = [1_790_000_000_000]
    ledger = await open_redis(valkey, market, lease_clock=lambda: now[0])
    desk = Desk(ledger)
    await desk.open_pools()
    stored = await desk.place(await desk.submit("atlas/run-1"), placement())
    active = stored.becomes(Active(stored.placements), at=0)
    await ledger.overdue(margin_millis=0, limit=9)
    now[0] += 11_000  # servers are back for good
    await ledger.overdue(margin_millis=0, limit=9)
    lease = (await ledger.acquire(active, key=desk.key(), at=0, ttl_millis=5_000, margin_millis=0)).claim
    now[0] += 1_000
    now[0] += leap
    assert await ledger.overdue(margin_millis=0, limit=9) == ()
    assert await ledger.renew([Renewal(lease.name, lease.revision)]) == (5_000,)
    for _ in range(40):
        now[0] += 1_000
        over = await ledger.overdue(margin_millis=0, limit=9)
    assert over == (lease.name,)
    await ledger.close()


@fault(
    "F19",
    injected="the store's clock is set back by an hour, and the planner that leads is gone",
    expected="another leads one ttl after it asked, not an hour later",
)
async def test_a_clock_set_back_keeps_no_planner_from_leading(valkey: str, market: str, eventually: Eventually) -> None:
    ledger = await open_redis(valkey, market)
    first = await ledger.lead("planner-1", ttl_millis=200)
    assert first is not None
    client = Redis.from_url(valkey)
    until = int(await client.hget(f"{keys.prefix(market)}meta", "leader_until") or 0)
    await client.hset(f"{keys.prefix(market)}meta", "leader_until", str(until + HOUR_MILLIS))  # as it looks then
    await client.aclose()
    assert await ledger.lead("planner-2", ttl_millis=200) is None

    async def leads() -> bool:
        fence = await ledger.lead("planner-2", ttl_millis=200)
        return fence is not None and fence.epoch == first.epoch + 1

    await eventually(leads)
    await ledger.close()
