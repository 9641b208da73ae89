"""The event log of a running broker, read past its back, to be judged by the rules of `broker.ledger.fold`."""

from __future__ import annotations

import asyncio
from pathlib import Path

from broker.domain.snapshot import Event, Snapshot
from broker.ledger.redis.ledger import RedisLedger

__all__ = ["event_log"]


def event_log(directory: Path) -> tuple[tuple[Event, ...], Snapshot]:
    """Every event since revision 1, and the live market after them, of the broker whose data is in ``directory``."""
    return asyncio.run(_read(directory))


async def _read(directory: Path) -> tuple[tuple[Event, ...], Snapshot]:
    def refuse() -> str:
        raise AssertionError("the market is there already")

    ledger = await RedisLedger.open(
        f"unix://{directory / 'data' / 'store.sock'}", market="main", new_id=refuse, now=lambda: 0, create=False
    )
    try:
        events: list[Event] = []
        while page := await ledger.events(len(events), limit=1_000):
            events += page
        return tuple(events), await ledger.snapshot()
    finally:
        await ledger.close()
