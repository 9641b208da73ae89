"""What a process knows of the events that it wrote is what everybody else reads of them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from redis.asyncio import Redis

from broker.domain.claim import Planned
from broker.ledger.codec import encode_claim
from broker.ledger.redis import keys, written
from broker.ledger.redis.written import Written
from tests.builders import claim, key, placement
from tests.ledger.ledgers import Desk, open_redis


async def test_others_read_what_the_writer_knows(valkey: str, market: str) -> None:
    writer, reader = await open_redis(valkey, market), await open_redis(valkey, market)
    desk = Desk(writer)
    await desk.open_pools({"dc-1": 64})
    asked = claim("atlas/run-1", labels={"für": 'wen "auch" immer'})
    there = asked.becomes(Planned((placement(),)), at=3)
    granted = await writer.submit(asked, key=key("r1"), at=3, candidates=[there])
    waiting = await writer.submit(claim("atlas/run-2"), key=key("r2"), at=4)
    known, read = await writer.events(1, limit=10), await reader.events(1, limit=10)
    assert known == read == await writer.events(1, limit=10)
    assert [event.claims for event in known] == [(granted.claim,), (waiting.claim,)]
    await writer.close()
    await reader.close()


async def test_the_text_is_the_one_that_the_store_makes(
    valkey: str, market: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = await open_redis(valkey, market)
    stored = (await ledger.submit(claim("atlas/run-1"), key=key("r1"), at=7)).claim
    async with Redis.from_url(valkey) as client:
        log: Any = await client.xrange(keys.log_key(market))
    own = Written()
    own.submitted(stored, encode_claim(replace(stored, revision=0)), 7)
    monkeypatch.setattr(written, "decode_event", lambda _: pytest.fail("it was read from its text"))
    assert own.event(log[0][1][b"event"]).claims == (stored,)
    await ledger.close()
