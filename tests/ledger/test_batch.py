"""Commands that travel together: each gets its own answer, and whoever waits when all is over is told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError

from broker.ledger.redis.batch import Batches


@pytest.fixture
async def client(valkey: str) -> AsyncIterator[Redis]:
    found = Redis.from_url(valkey, protocol=2)
    yield found
    await found.aclose()


async def a_client_blocks(client: Redis) -> None:
    """Return once the server has a client that waits for something."""
    for _ in range(1_000):
        if (await client.info("clients"))["blocked_clients"]:
            return


async def test_each_command_gets_its_own_answer(client: Redis) -> None:
    batches = Batches(client, seconds_max=5)
    found = await asyncio.gather(*(batches.send("ECHO", str(n)) for n in range(300)))
    assert found == [str(n).encode() for n in range(300)]
    await batches.close()


async def test_a_refused_command_fails_alone(client: Redis) -> None:
    batches = Batches(client, seconds_max=5)
    found = await asyncio.gather(
        *(batches.send(name, "a") for name in ("ECHO", "NOSUCH", "ECHO", "ECHO")), return_exceptions=True
    )
    assert [found[n] for n in (0, 2, 3)] == [b"a"] * 3
    assert isinstance(found[1], ResponseError)
    await batches.close()


async def test_whoever_gives_up_takes_nobody_along(client: Redis) -> None:
    batches = Batches(client, seconds_max=5)
    calls = [asyncio.create_task(batches.send("ECHO", str(n))) for n in range(20)]
    await asyncio.sleep(0)
    for call in calls[::2]:
        call.cancel()
    found = await asyncio.gather(*calls[1::2])
    assert found == [str(n).encode() for n in range(1, 20, 2)]
    await batches.close()


async def test_a_store_that_does_not_answer_in_time_fails_those_aboard_and_not_the_next(client: Redis) -> None:
    batches = Batches(client, seconds_max=0.2)
    with pytest.raises(TimeoutError):
        await batches.send("BLPOP", "no-such-list", 0)
    assert await batches.send("ECHO", "a") == b"a"
    await batches.close()


async def test_who_waits_behind_a_batch_without_an_answer_is_told_with_it(client: Redis) -> None:
    batches = Batches(client, seconds_max=0.2)
    stuck = asyncio.create_task(batches.send("BLPOP", "no-such-list", 0))
    await a_client_blocks(client)
    behind = [asyncio.create_task(batches.send("BLPOP", "no-such-list", 0)) for _ in range(200)]
    found = await asyncio.gather(stuck, *behind, return_exceptions=True)
    assert all(isinstance(one, TimeoutError) for one in found)
    await batches.close()


async def test_who_waits_behind_a_broken_line_is_answered_on_another(client: Redis, valkey: str) -> None:
    other = Redis.from_url(valkey, protocol=2)
    batches = Batches(client, seconds_max=5)
    stuck = asyncio.create_task(batches.send("BLPOP", "no-such-list", 0))
    await a_client_blocks(other)
    behind = asyncio.create_task(batches.send("ECHO", "a"))
    await asyncio.sleep(0)
    await other.client_kill_filter(_type="normal", skipme=True)
    with pytest.raises(RedisConnectionError):
        await stuck
    assert await behind == b"a"
    await batches.close()
    await other.aclose()


async def test_commands_asked_for_together_travel_together(client: Redis) -> None:
    batches = Batches(client, seconds_max=5)
    await batches.send("ECHO", "there is a line now")
    before = (await client.info("stats"))["total_reads_processed"]
    await asyncio.gather(*(batches.send("ECHO", str(n)) for n in range(60)))
    assert (await client.info("stats"))["total_reads_processed"] - before < 10
    await batches.close()


async def test_whoever_waits_at_the_end_is_told_at_once_and_nothing_is_sent_any_more(client: Redis) -> None:
    batches = Batches(client, seconds_max=60)
    calls = [asyncio.create_task(batches.send("BLPOP", "no-such-list", 0)) for _ in range(3)]
    await asyncio.sleep(0)
    calls.append(asyncio.create_task(batches.send("ECHO", "late")))
    await asyncio.sleep(0)
    async with asyncio.timeout(5):
        await batches.close()
        found = await asyncio.gather(*calls, return_exceptions=True)
    assert all(isinstance(one, ConnectionError) for one in found)
    with pytest.raises(ConnectionError):
        await batches.send("ECHO", "a")
