"""Markets and stores that a fault test may ruin."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

from broker.ledger.redis.embedded import EmbeddedStore

_markets = count(1)


@pytest.fixture
def market() -> str:
    """Name of a market that no other test uses."""
    return f"fault-{next(_markets)}"


@pytest.fixture
def own_store(tmp_path: Path) -> Iterator[EmbeddedStore]:
    """A server that the test may ruin."""
    with EmbeddedStore.start(tmp_path / "store") as store:
        yield store
