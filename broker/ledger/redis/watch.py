"""Looks again and again whether the store may still be trusted, while a process uses it."""

from __future__ import annotations

import asyncio

from broker.domain.faults import Fault, FaultReason
from broker.ledger.redis.link import Durability, Link
from broker.ledger.redis.start import check_server

__all__ = ["watch_settings"]

SECONDS = 3.0


async def watch_settings(link: Link, durability: Durability, *, seconds: float = SECONDS) -> None:
    """Until cancelled: halt this process once the store could lose what it acknowledged, or drop keys to make room."""
    while True:
        await asyncio.sleep(seconds)
        try:
            await check_server(link.client, durability, seconds_max=link.settings.call_seconds_max)
        except Fault as fault:
            if fault.reason is FaultReason.SAFE_HALT:
                link.halt(fault)
                return
