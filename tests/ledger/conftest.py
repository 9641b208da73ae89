"""Every promise of the port is tested on both ledgers; what only one of them can do has a file of its own."""

from __future__ import annotations

from collections.abc import AsyncIterator
from itertools import count

import pytest

from broker.ledger.memory import MemoryLedger
from broker.ledger.port import Ledger
from tests.ledger.ledgers import Desk, FakeClock, open_redis

_markets = count(1)


@pytest.fixture
def market() -> str:
    """Name of a market that no other test uses."""
    return f"test-{next(_markets)}"


@pytest.fixture(params=["memory", "redis"])
async def ledger(request: pytest.FixtureRequest, market: str) -> AsyncIterator[Ledger]:
    """An empty ledger of either make."""
    made: Ledger
    if request.param == "memory":
        made = MemoryLedger(incarnation="first", monotonic=FakeClock())
    else:
        made = await open_redis(request.getfixturevalue("valkey"), market)
    yield made
    await made.close()


@pytest.fixture
def desk(ledger: Ledger) -> Desk:
    """The ledger with short ways to drive it."""
    return Desk(ledger)
