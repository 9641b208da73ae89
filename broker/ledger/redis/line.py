"""A line to the server, open only once its functions are known to be ours.

The server keeps them in the same file as the data, without a digest: one flipped bit in it is another program.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from redis.asyncio import BlockingConnectionPool, Connection, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ResponseError

from broker.ledger.redis.library import library

__all__ = ["command", "connect"]

log = logging.getLogger(__name__)


def connect(url: str, *, connections: int, seconds_max: float, spoilt: Callable[[], None]) -> Redis:
    """A client without retries, as only the ledger knows what may be repeated, and without timeouts of its own.

    ``spoilt`` is told of each line on which the functions were not ours, and had to be replaced.

    With a socket timeout redis-py sends through ``asyncio.wait_for``, which on Python 3.11 may swallow a cancellation.
    """

    async def greet(line: Connection) -> None:
        """Whatever may have happened to the server since the last line was opened, it also ended that line."""
        try:
            await line.on_connect()
            if await _spoilt(line):
                log.error("the store's functions were damaged or edited, and are replaced; look at its disk and users")
                spoilt()
                await _ask(line, "FUNCTION", "LOAD", "REPLACE", library().code)
        except BaseException:
            with suppress(Exception):
                await line.disconnect(nowait=True)
            raise

    pool = BlockingConnectionPool.from_url(
        url,
        max_connections=connections,
        timeout=None,
        socket_timeout=None,
        socket_connect_timeout=seconds_max,
        retry=Retry(NoBackoff(), 0),
        protocol=2,  # on RESP3 redis-py no longer notices that an idle connection was closed
        redis_connect_func=greet,
    )
    return Redis.from_pool(pool)


async def command(client: Redis, *args: str | int | bytes) -> Any:
    """What the server answers to one command, as redis-py gives it."""
    return await client.execute_command(*args)  # type: ignore[no-untyped-call] # redis-py leaves it untyped


async def _spoilt(line: Connection) -> bool:
    """Whether the server has functions under our name that are not ours; none at all are loaded when first called."""
    try:
        listed = await _ask(line, "FUNCTION", "LIST", "LIBRARYNAME", library().name, "WITHCODE")
    except ResponseError as refusal:
        if "unknown command" in str(refusal).lower():
            return False  # a server so old that it has no functions, as whoever asks for its version will say
        raise
    try:
        told = [dict(zip(found[::2], found[1::2], strict=True)) for found in listed]
        return any(one[b"library_code"] != library().code.encode() for one in told)
    except (TypeError, ValueError, KeyError):
        return False  # no store at all: whoever calls it meets as much nonsense, and says so


async def _ask(line: Connection, *args: str) -> Any:
    await line.send_command(*args)
    return await line.read_response()
