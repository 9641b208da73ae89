"""What must be true of a store before a market is trusted to it."""

from __future__ import annotations

import asyncio
from typing import Any, cast

from redis.asyncio import Redis
from redis.exceptions import NoPermissionError, ResponseError

from broker.ledger.redis.faults import translated
from broker.ledger.redis.line import command
from broker.ledger.redis.link import Durability, safe_halt

__all__ = ["STRICT", "VERSION_LEAST", "check_server"]

VERSION_LEAST = (7, 0)
STRICT = (("appendonly", "yes"), ("appendfsync", "always"), ("maxmemory-policy", "noeviction"))


async def check_server(client: Redis, durability: Durability, *, seconds_max: float) -> None:
    """Faults: SAFE_HALT when the server is too old or, if ``durability`` is strict, could lose what it acknowledged."""
    with translated():
        async with asyncio.timeout(seconds_max):
            await _check(client, durability)


async def _check(client: Redis, durability: Durability) -> None:
    about = cast(dict[str, Any], await command(client, "INFO", "server"))
    version = str(about["redis_version"])
    if tuple(int(part) for part in version.split(".")[:2]) < VERSION_LEAST:
        raise safe_halt(f"the store speaks for Redis {version}", "Use Valkey, or Redis 7.0 or later")
    if durability == "relaxed":
        return
    try:
        found = cast(dict[str, str], await client.config_get(*(name for name, _ in STRICT)))
    except (NoPermissionError, ResponseError) as error:
        raise safe_halt(
            "the store does not say whether it keeps what it acknowledges",
            "Allow the broker CONFIG GET, or accept the risk with durability relaxed",
        ) from error
    for name, wanted in STRICT:
        present = _text(found.get(name, ""))
        if present != wanted:
            raise safe_halt(
                f"the store may lose acknowledged changes: {name} is {present or 'unknown'}, not {wanted}",
                f"Set {name} {wanted} in the store, or accept the risk with durability relaxed",
            )


def _text(value: object) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
