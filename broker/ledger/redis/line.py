"""A line to the server, open only once its functions are known to be ours.

The server keeps them in the same file as the data, without a digest: one flipped bit in it is another program.
"""

from __future__ import annotations

import logging
from contextlib import suppress
from typing import Any

from redis.asyncio import BlockingConnectionPool, Connection, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from broker.ledger.redis.library import library

__all__ = ["command", "connect"]

log = logging.getLogger(__name__)


def connect(url: str, *, connections: int, seconds_max: float) -> Redis:
    """A client without retries, as only the ledger knows what may be repeated, and without timeouts of its own.

    With a socket timeout redis-py sends through ``asyncio.wait_for``, which on Python 3.11 may swallow a cancellation.
    """
    pool = BlockingConnectionPool.from_url(
        url,
        max_connections=connections,
        timeout=None,
        socket_timeout=None,
        socket_connect_timeout=seconds_max,
        retry=Retry(NoBackoff(), 0),
        protocol=2,  # on RESP3 redis-py no longer notices that an idle connection was closed
        redis_connect_func=_greet,
    )
    return Redis.from_pool(pool)


async def command(client: Redis, *args: str | int | bytes) -> Any:
    """What the server answers to one command, as redis-py gives it."""
    return await client.execute_command(*args)  # type: ignore[no-untyped-call] # redis-py leaves it untyped


async def _greet(line: Connection) -> None:
    """Whatever may have happened to the server since the last line was opened, it also ended that line."""
    try:
        await line.on_connect()
        if await _spoilt(line):
            log.error("the store's functions were damaged or edited, and are replaced; look at its disk and its users")
            await _ask(line, "FUNCTION", "LOAD", "REPLACE", library().code)
    except BaseException:
        with suppress(Exception):
            await line.disconnect(nowait=True)
        raise


async def _spoilt(line: Connection) -> bool:
    """Whether the server has functions under our name that are not ours; none at all are loaded when first called."""
    listed = await _ask(line, "FUNCTION", "LIST", "LIBRARYNAME", library().name, "WITHCODE")
    try:
        told = [dict(zip(found[::2], found[1::2], strict=True)) for found in listed]
        return any(one[b"library_code"] != library().code.encode() for one in told)
    except (TypeError, ValueError, KeyError):
        return False  # no store at all: whoever calls it meets as much nonsense, and says so


async def _ask(line: Connection, *args: str) -> Any:
    await line.send_command(*args)
    return await line.read_response()
